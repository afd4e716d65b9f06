"""The report as SARIF 2.1.0, for code scanning: findings at the source lines that cause them.

Format: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TextIO

from vivavoce.examine.slugs import SLUGS
from vivavoce.report import words
from vivavoce.report.pages import page
from vivavoce.report.schema import FindingData, Report

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {"critical": "error", "warning": "warning", "note": "note"}
_HIGHEST_RANK = 100.0  # SARIF's rank runs from 0 to 100


def write(report: Report, stream: TextIO) -> None:
    """Write the findings that have a source line as results; the others as notifications of the same run."""
    json.dump(_log(report), stream, indent=2, allow_nan=False)
    stream.write("\n")


def _log(report: Report) -> dict[str, Any]:
    placed = [finding for finding in report["findings"] if _has_line(finding)]
    rules = list(dict.fromkeys(finding["slug"] for finding in report["findings"]))
    run = {
        "tool": {"driver": _driver(report, rules)},
        "invocations": [_invocation(report)],
        "results": [_result(finding, rules) for finding in placed],
        "columnKind": "unicodeCodePoints",
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _driver(report: Report, rules: list[str]) -> dict[str, Any]:
    driver: dict[str, Any] = {"name": "vivavoce", "rules": [_rule(slug) for slug in rules]}
    if report["run"]["viva"]:
        driver["version"] = report["run"]["viva"]
    return driver


def _rule(slug: str) -> dict[str, Any]:
    title = SLUGS[slug].title if slug in SLUGS else slug
    rule = {"id": slug, "shortDescription": {"text": title}, "help": {"text": f"viva explain {slug}"}}
    text = page(slug)
    if text is not None:
        rule["help"] = {"text": text, "markdown": text}
    return rule


def _invocation(report: Report) -> dict[str, Any]:
    run = report["run"]
    invocation: dict[str, Any] = {"executionSuccessful": True, "commandLine": run["command"]}
    if run["exit_code"] is not None:
        invocation["exitCode"] = run["exit_code"]
    unplaced = [finding for finding in report["findings"] if not _has_line(finding)]
    if unplaced:
        invocation["toolExecutionNotifications"] = [_notification(finding) for finding in unplaced]
    return invocation


def _notification(finding: FindingData) -> dict[str, Any]:
    return {
        "level": _LEVELS[finding["severity"]],
        "message": {"text": _message(finding)},
        "associatedRule": {"id": finding["slug"]},
    }


def _result(finding: FindingData, rules: list[str]) -> dict[str, Any]:
    return {
        "ruleId": finding["slug"],
        "ruleIndex": rules.index(finding["slug"]),
        "level": _LEVELS[finding["severity"]],
        "rank": finding["confidence"] * _HIGHEST_RANK,
        "message": {"text": _message(finding)},
        "locations": [_location(finding)],
    }


def _message(finding: FindingData) -> str:
    name = finding["where"]["parameter"] or finding["where"]["layer"]
    return words.plain(f"{finding['title']}: {finding['why']}" + (f" ({name})" if name else ""))


def _location(finding: FindingData) -> dict[str, Any]:
    where = finding["where"]
    location: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": _artifact(str(where["file"])),
            "region": {"startLine": where["line"]},
        }
    }
    name = where["parameter"] or where["layer"]
    if name:
        location["logicalLocations"] = [{"fullyQualifiedName": words.plain(name), "kind": "member"}]
    return location


def _artifact(file: str) -> dict[str, Any]:
    """Relative to the current folder where the file lies below it, as code scanning expects; else an absolute URI."""
    path = Path(file)
    if path.is_relative_to(Path.cwd()):
        relative = path.relative_to(Path.cwd())
        return {"uri": (Path("/") / relative).as_uri().removeprefix("file:///"), "uriBaseId": "%SRCROOT%"}
    return {"uri": path.as_uri() if path.is_absolute() else path.as_posix()}


def _has_line(finding: FindingData) -> bool:
    return finding["where"]["file"] is not None and (finding["where"]["line"] or 0) >= 1
