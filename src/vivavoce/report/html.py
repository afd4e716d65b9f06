"""The report as one HTML file that needs nothing else: no script, font, image or style is fetched from anywhere."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TextIO

from vivavoce.examine.finding import SEVERITIES
from vivavoce.report import guard, preflight, words
from vivavoce.report.charts import line_plot
from vivavoce.report.figures import LinePlot, Plot, Plots
from vivavoce.report.heatmap import heat_map
from vivavoce.report.markup import Html, element, join
from vivavoce.report.schema import EvidenceData, FindingData, GuardData, ModelData, PreflightData, Report, RunData
from vivavoce.report.shell import banner, code_block, document, figure, section
from vivavoce.report.table import table
from vivavoce.report.text import module_cells

MODULES_UNFOLDED = 30  # rows of a table of modules that is shown at once


def write(report: Report, stream: TextIO, plots: Plots | None = None) -> None:
    """Write the page. `plots` come from `select_plots`; without them the page has words and tables only."""
    stream.write("<!doctype html>\n")
    stream.write(_document(report, plots or Plots()))
    stream.write("\n")


def _document(report: Report, plots: Plots) -> Html:
    sections = list(_sections(report, plots))
    return document(
        f"{words.headline(report)} · {report['run']['id'] or 'run'} · Vivavoce",
        "verdict",
        banner(report["run"]["id"], [(key, title) for key, title, _ in sections]),
        element("main", _verdict(report), *(section(*content) for content in sections)),
        _footer(report),
    )


def _footer(report: Report) -> Html:
    made_by = f"Vivavoce {report['run']['viva']}" if report["run"]["viva"] else "Vivavoce"
    return element("footer", element("p", f"{words.tally(report)}. Made by {made_by}; holds no samples of the data."))


def _verdict(report: Report) -> Html:
    """The first thing to read: what was concluded, why, and what to do next."""
    finding = words.primary(report)
    tone = finding["severity"] if finding else report["verdict"]
    return element(
        "section",
        element("p", _label(tone), class_="tone"),
        element("h1", words.headline(report)),
        element("p", finding["why"] if finding else report["reason"], class_="lead"),
        _others(report, finding),
        None
        if report["run"]["state"] == "finished"
        else element("p", words.sentence(words.state(report["run"])) + "."),
        element("dl", *(figure(name, value) for name, value in _figures(report)), class_="figures"),
        element("div", element("h2", "Next"), *map(_command, _commands(report)), class_="next"),
        id_="verdict",
        class_=f"verdict {tone}",
        tabindex=-1,
        aria_label="Verdict",
    )


def _label(tone: str) -> str:
    return tone.capitalize() if tone in SEVERITIES else "Verdict"


def _others(report: Report, finding: FindingData | None) -> Html | None:
    count = len(report["findings"]) - (finding is not None)
    if not count:
        return None
    noun = "finding" if count == 1 else "findings"
    return element("p", element("a", f"{count} {'more ' if finding else ''}{noun} below", href="#findings"))


def _figures(report: Report) -> Iterable[tuple[str, str]]:
    run = report["run"]
    yield "steps", f"{run['steps']:,}" + (" so far" if run["state"] == "running" else "")
    for name in ("train/loss", "val/loss"):
        if name in report["metrics"]:
            metric = report["metrics"][name]
            yield words.METRIC_TITLES[name], f"{words.number(metric['first'])} → {words.number(metric['last'])}"
    if run["overhead"] is not None:
        yield "cost of watching", words.cost(run)
    if run["device"]:
        yield "device", run["device"]


def _commands(report: Report) -> list[str]:
    """What to type next; this page is the HTML report already."""
    commands = words.next_commands(report, report["run"]["id"] or None)
    return [command for command in commands if "--format html" not in command] or ["viva runs"]


def _command(command: str) -> Html:
    return code_block(command, "Copy the command")


Section = tuple[str, str, list[Html]]


def _sections(report: Report, plots: Plots) -> Iterable[Section]:
    if report["findings"]:
        shown = [*plots.by_finding, *[None] * len(report["findings"])]
        yield "findings", "Findings", [_finding(f, shown[i]) for i, f in enumerate(report["findings"])]
    if "guard" in report:
        yield "guard", "Guard", [_guard(report["guard"])]
    if "preflight" in report:
        yield "preflight", "Preflight", [_preflight(report["preflight"])]
    if plots.general:
        yield "curves", "Curves", [_plot(plot) for plot in plots.general]
    if report["ruled_out"]:
        yield "ruled-out", "Ruled out", [_ruled_out(report)]
    yield "run", "The run", list(_run(report))


def _plot(plot: Plot, level: int = 3) -> Html:
    return line_plot(plot, level) if isinstance(plot, LinePlot) else heat_map(plot, level)


def _finding(finding: FindingData, plot: LinePlot | None) -> Html:
    question = words.QUESTIONS[finding["question"]]
    number = f"question {finding['question']}: {question}" if finding["question"] else question
    about = join(
        element("span", finding["severity"], class_="severity"),
        element("code", finding["slug"]),
        element("span", f"confidence {words.confidence(finding)}"),
        element("span", number),
    )
    return element(
        "article",
        element("h3", finding["title"]),
        element("p", about, class_="about"),
        None if finding["primary"] else element("p", finding["why"], class_="why"),  # the verdict has said it
        _places(finding),
        _plot(plot, 4) if plot else None,
        _evidence(finding["evidence"]),
        _excluded(finding),
        _remedies(finding),
        class_=f"finding {finding['severity']}",
    )


def _places(finding: FindingData) -> Html | None:
    entries = [("Where", words.where(finding["where"])), ("Hence also", ", ".join(finding["symptoms"]))]
    if "first_seen" in finding:
        entries.append(("First reported", f"at step {finding['first_seen']:,} while it ran"))
    shown = [figure(name, value) for name, value in entries if value]
    return element("dl", *shown, class_="places") if shown else None


def _evidence(evidence: list[EvidenceData]) -> Html | None:
    if not evidence:
        return None
    rows = [[item["name"], words.measured(item), _threshold(item), item["source"]] for item in evidence]
    return table("Evidence", ["measured", "value", "held against", "source"], rows, kind="evidence")


def _threshold(item: EvidenceData) -> str:
    return "" if item["threshold"] is None else words.with_unit(item["threshold"], item["unit"])


def _excluded(finding: FindingData) -> Html | None:
    if not finding["ruled_out"]:
        return None
    items = (element("li", element("code", item["slug"]), " ", item["because"]) for item in finding["ruled_out"])
    return join(element("h4", "What it is not"), element("ul", *items, class_="plain"))


def _remedies(finding: FindingData) -> Html | None:
    if not finding["remedies"]:
        return None
    items = (
        element(
            "li",
            element("p", words.sentence(remedy["title"])),
            code_block(remedy["edit"], f"Copy the edit: {remedy['title']}") if remedy["edit"] else None,
        )
        for remedy in finding["remedies"]
    )
    return join(element("h4", "What to try"), element("ol", *items, class_="remedies"))


def _guard(data: GuardData) -> Html:
    course = words.sentence(guard.course(data)) + "."
    rows = guard.rows(data)
    if not rows:
        return element("p", course)
    return table(course, ["act", "times", "when", "reason for the first"], rows)


def _preflight(data: PreflightData) -> Html:
    rows = [[name, sign, why] for sign, name, why in preflight.rows(data)]
    return table(words.sentence(preflight.course(data)), ["check", "result", "why"], rows)


def _ruled_out(report: Report) -> Html:
    rows = [[element("code", item["slug"]), item["because"]] for item in report["ruled_out"]]
    return table("Looked for, and excluded by the evidence", ["finding", "because"], rows)


def _run(report: Report) -> Iterable[Html]:
    run = report["run"]
    yield element("dl", *(figure(name, value) for name, value in _facts(run) if value), class_="facts")
    if report["metrics"]:
        rows = [
            [words.METRIC_TITLES.get(name, name), *(words.number(value) for value in _metric_cells(metric))]
            for name, metric in report["metrics"].items()
        ]
        yield table("Metrics", ["metric", "first", "last", "best", "at step"], rows, kind="numeric")
    yield from _tables(run)


def _metric_cells(metric: Any) -> list[Any]:
    return [metric[key] for key in ("first", "last", "best", "best_step")]


def _facts(run: RunData) -> Iterable[tuple[str, str]]:
    yield "Command", run["command"]
    yield "State", words.state(run)
    yield "Started", words.moment(run["started"])
    yield "Finished", words.moment(run["finished"])
    yield "Device", run["device"] or ""
    yield "PyTorch", run["torch"] or ""
    yield "Python", run["python"] or ""


def _network(model: ModelData) -> Html | None:
    """A model's modules with shapes, parameters and cost; folded up where they are many."""
    modules = model.get("modules", [])
    if not any(module["calls"] for module in modules):
        return None
    rows = [module_cells(module) for module in modules]
    rows.append(["all", "", "", f"{model['parameters']:,}", words.number(model.get("multiply_adds", 0))])
    caption = f"Modules of {model['name']}: shapes, parameters, and multiply-adds of a step's forward passes"
    content = table(caption, ["module", "input", "output", "parameters", "multiply-adds"], rows, kind="numeric")
    if len(rows) <= MODULES_UNFOLDED:
        return content
    return element("details", element("summary", f"{caption}: {len(modules):,} modules"), content)


def _tables(run: RunData) -> Iterable[Html]:
    if run["models"]:
        models = [
            [m["name"], f"{m['parameters']:,}", f"{m['trainable']:,}", words.place(m["site"])] for m in run["models"]
        ]
        yield table("Models", ["model", "parameters", "trainable", "defined at"], models)
        yield from (network for model in run["models"] if (network := _network(model)))
    if run["optimizers"]:
        optimizers = [
            [
                o["class_name"],
                ", ".join(map(words.number, o["learning_rate"])),
                f"{o['parameters']:,}",
                words.place(o["site"]),
                words.place(o["step_site"]),
            ]
            for o in run["optimizers"]
        ]
        heads = ["optimizer", "learning rate at the end", "parameter tensors", "made at", "stepped at"]
        yield table("Optimizers", heads, optimizers)
    if run["loaders"]:
        loaders = [
            [
                loader["role"] or "unknown",
                words.number(loader["dataset_size"]),
                words.number(loader["batch_size"]),
                words.ORDERS[loader["shuffle"]],
                words.place(loader["site"]),
            ]
            for loader in run["loaders"]
        ]
        yield table("Data loaders", ["used for", "examples", "batch size", "order", "made at"], loaders)
    if run["losses"]:
        losses = [
            [
                loss["function"] or "loss",
                " × ".join(map(str, loss["prediction_shape"])),
                " × ".join(map(str, loss["target_shape"])),
                words.place(loss["site"]),
            ]
            for loss in run["losses"]
        ]
        yield table("Loss functions", ["function", "shape of predictions", "shape of targets", "called at"], losses)
