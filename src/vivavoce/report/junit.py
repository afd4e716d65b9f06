"""The report as JUnit XML: one test case a finding that was looked for, for gates that read test results."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import TextIO

from vivavoce.examine.slugs import SLUGS
from vivavoce.report import words
from vivavoce.report.schema import FindingData, Report

_FAILING = ("critical", "warning")
_UNDECIDED = ("unknown", "no-training")


def write(report: Report, stream: TextIO) -> None:
    """Write one test suite. Warnings and critical findings fail; an undecided examination is skipped, not passed."""
    suites = ElementTree.Element("testsuites", name="vivavoce")
    suites.append(_suite(report))
    ElementTree.indent(suites)
    stream.write("<?xml version='1.0' encoding='utf-8'?>\n")
    stream.write(ElementTree.tostring(suites, encoding="unicode") + "\n")


def _suite(report: Report) -> ElementTree.Element:
    cases = [_case(slug, report) for slug in _slugs(report)]
    counts = {
        "tests": len(cases),
        "failures": sum(case.find("failure") is not None for case in cases),
        "errors": 0,
        "skipped": sum(case.find("skipped") is not None for case in cases),
    }
    attributes = {"name": "viva", **{key: str(count) for key, count in counts.items()}}
    suite = ElementTree.Element("testsuite", attributes)
    if report["run"]["started"]:
        suite.set("timestamp", words.plain(report["run"]["started"]))
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in (("run", report["run"]["id"]), ("command", report["run"]["command"])):
        ElementTree.SubElement(properties, "property", name=name, value=words.plain(value))
    suite.extend(cases)
    return suite


def _slugs(report: Report) -> list[str]:
    """What was examined, else what is known to have been looked at: findings and what they ruled out."""
    seen = dict.fromkeys(report["examined"])
    for finding in report["findings"]:
        seen[finding["slug"]] = None
        seen.update(dict.fromkeys(item["slug"] for item in finding["ruled_out"]))
    return list(seen) or ["verdict"]


def _case(slug: str, report: Report) -> ElementTree.Element:
    question = SLUGS[slug].question if slug in SLUGS else 0
    case = ElementTree.Element("testcase", classname=f"viva.question-{question}", name=words.plain(slug), time="0")
    finding = next((finding for finding in report["findings"] if finding["slug"] == slug), None)
    if finding is not None:
        _report_finding(case, finding)
    elif report["verdict"] in _UNDECIDED:
        ElementTree.SubElement(case, "skipped", message=words.plain(report["reason"]))
    return case


def _report_finding(case: ElementTree.Element, finding: FindingData) -> None:
    if finding["severity"] in _FAILING:
        element = ElementTree.SubElement(
            case, "failure", type=finding["severity"], message=words.plain(finding["title"])
        )
    else:
        element = ElementTree.SubElement(case, "system-out")
    element.text = _account(finding)


def _account(finding: FindingData) -> str:
    lines = [finding["why"], words.where(finding["where"])]
    lines += [f"{item['name']}: {words.measured(item)}" for item in finding["evidence"]]
    lines += [f"try: {remedy['title']}\n{remedy['edit']}" for remedy in finding["remedies"]]
    return words.plain("\n".join(line for line in lines if line))
