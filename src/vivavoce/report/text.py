"""The report as text: the card at the end of a run, and the longer page of `viva report`."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vivavoce.report import guard, preflight, words
from vivavoce.report.schema import (
    EvidenceData,
    FindingData,
    GuardData,
    LoaderData,
    ModelData,
    ModuleData,
    OptimizerData,
    PreflightData,
    RemedyData,
    Report,
    RunData,
)

WIDEST = 120  # columns; longer lines are hard to read
FINDINGS_IN_FULL = 3
MODULES_IN_TEXT = 20
REMEDIES_ON_CARD = 3
LINES_OF_EDIT_ON_CARD = 4
LABEL_WIDTH = 5  # "where", "hence"

STYLES: dict[str, str] = {
    "critical": "bold red",
    "warning": "bold yellow",
    "note": "bold cyan",
    "healthy": "bold green",
    "unknown": "bold yellow",
    "no-training": "bold yellow",
}

_ASCII = str.maketrans(
    {"▸": ">", "·": "-", "–": "-", "—": "-", "‖": "|", "×": "x", "→": ">", "…": "~", "−": "-", "Δ": "d", "�": "?"}
)


def write_card(report: Report, stream: TextIO, width: int | None = None) -> None:
    """Write the card: verdict, why, where, what it is not, what to try, what to type.

    Colours only on a terminal, and not under NO_COLOR. `width` in columns; by default the terminal's, at most 120.
    """
    _print(_card(report), stream, width)


def write(report: Report, stream: TextIO, width: int | None = None) -> None:
    """Write the longer report: every finding with its evidence, the metrics, and what is known about the run."""
    _print(_page(report), stream, width)


def _print(parts: Iterable[RenderableType], stream: TextIO, width: int | None) -> None:
    console = Console(file=stream, highlight=False, markup=False, emoji=False, legacy_windows=False)
    console.width = width or min(console.width, WIDEST)
    with console.capture() as capture:
        for part in parts:
            console.print(part)
    text = "\n".join(line.rstrip() for line in capture.get().split("\n"))
    stream.write(_encodable(text, stream))
    stream.flush()


def _encodable(text: str, stream: TextIO) -> str:
    """The text itself where the stream can hold it; else signs are replaced, so that a report never fails to print."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_ASCII).encode(encoding, "replace").decode(encoding)
    return text


def _card(report: Report) -> Iterable[RenderableType]:
    yield from _verdict(report, _finding_on_card)
    if "guard" in report:
        yield _guard(report["guard"])
    yield _rows([("next", _commands(words.next_commands(report)))])
    yield _tally(report)


def _page(report: Report) -> Iterable[RenderableType]:
    run = report["run"]
    yield from _verdict(report, _finding_on_page)
    yield ""
    if "guard" in report:
        yield _guard(report["guard"])
        yield ""
    if "preflight" in report:
        yield _preflight(report["preflight"])
        yield ""
    for metric_name, metric in report["metrics"].items():
        yield _rows([(words.METRIC_TITLES[metric_name], Text(words.metric_line(metric)))], label_width=19)
    yield _rows(_facts(run), label_width=19)
    for model in run["models"]:
        yield from _network(model)
    yield ""
    yield _rows([("next", _commands(words.next_commands(report, run["id"] or None)))])
    yield _tally(report)


def _verdict(report: Report, in_full: Callable[[FindingData], Iterable[RenderableType]]) -> Iterable[RenderableType]:
    findings = report["findings"]
    if report["verdict"] != "findings":
        yield from _outcome(report)
    for finding in findings[:FINDINGS_IN_FULL]:
        yield from in_full(finding)
    for finding in findings[FINDINGS_IN_FULL:]:
        yield _one_line(finding)


def _outcome(report: Report) -> Iterable[RenderableType]:
    verdict = report["verdict"]
    yield _hanging(_head((words.OUTCOMES[verdict], STYLES.get(verdict, "bold")), words.plain(report["reason"])))
    losses = [
        f"{name.split('/')[0]} {words.metric_line(report['metrics'][name])}"
        for name in ("train/loss", "val/loss")
        if name in report["metrics"]
    ]
    if losses:
        yield _rows([("loss", Text("; ".join(losses)))])


def _finding_on_card(finding: FindingData) -> Iterable[RenderableType]:
    yield _finding_head(finding)
    rows = _account(finding)
    rows.append(("not", _ruled_out(finding)))
    rows.append(("try", _remedies(finding["remedies"][:REMEDIES_ON_CARD], LINES_OF_EDIT_ON_CARD)))
    yield _rows(rows)


def _finding_on_page(finding: FindingData) -> Iterable[RenderableType]:
    yield _finding_head(finding)
    rows = [("what", Text(words.plain(finding["title"]))), *_account(finding)]
    rows.append(("seen", _evidence(finding)))
    rows.append(("not", _ruled_out(finding)))
    rows.append(("try", _remedies(finding["remedies"], None)))
    yield _rows(rows)


def _account(finding: FindingData) -> list[tuple[str, RenderableType | None]]:
    symptoms = " · ".join(map(words.plain, finding["symptoms"]))
    return [
        ("why", Text(words.plain(finding["why"]))),
        ("where", _text_or_none(words.where(finding["where"]))),
        ("hence", _text_or_none(symptoms)),
    ]


def _finding_head(finding: FindingData) -> RenderableType:
    head = _head(
        (words.plain(finding["slug"]), "bold"),
        (finding["severity"], STYLES[finding["severity"]]),
        f"confidence {words.confidence(finding)}",
        f"question {finding['question']}" if finding["question"] else "",
    )
    return _hanging(head)


def _one_line(finding: FindingData) -> RenderableType:
    place = words.where(finding["where"])
    title = words.plain(finding["title"]) + (f" ({place})" if place else "")
    return _hanging(
        _head((words.plain(finding["slug"]), "bold"), (finding["severity"], STYLES[finding["severity"]]), title)
    )


def _head(*parts: str | tuple[str, str]) -> Text:
    text = Text.assemble(("viva ▸ ", "dim"))
    for index, part in enumerate(part for part in parts if part):
        text.append("   " if index else "")
        text.append(*((part,) if isinstance(part, str) else part))
    return text


def _hanging(text: Text) -> RenderableType:
    """Text whose second and later lines are indented under the first word after the mark."""
    mark, body = text.divide([len("viva ▸ ")])
    grid = Table.grid(padding=0)
    grid.add_column(width=len("viva ▸ "), no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(mark, body)
    return grid


def _rows(rows: Iterable[tuple[str, RenderableType | None]], label_width: int = LABEL_WIDTH) -> RenderableType:
    """Labels on the left, bodies wrapped with a hanging indent; rows without a body are left out."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=label_width, style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, body in rows:
        if body is not None:
            grid.add_row(label, body)
    return Padding(grid, (0, 0, 0, 2), expand=False)


def _text_or_none(text: str) -> Text | None:
    return Text(text) if text else None


def _ruled_out(finding: FindingData) -> Text | None:
    return _text_or_none(
        " · ".join(f"{words.plain(item['slug'])} ({words.plain(item['because'])})" for item in finding["ruled_out"])
    )


def _remedies(remedies: list[RemedyData], lines: int | None) -> RenderableType | None:
    """Numbered remedies, each with its edit as code below, cut after so many lines."""
    if not remedies:
        return None
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for index, remedy in enumerate(remedies, start=1):
        grid.add_row(str(index), Group(*_remedy(remedy, lines)))
    return grid


def _remedy(remedy: RemedyData, lines: int | None) -> Iterable[Text]:
    title, edit = words.plain(remedy["title"]), words.plain(remedy["edit"]).strip("\n")
    yield Text(title)
    if not edit or edit in title:
        return
    kept = edit.split("\n")[:lines]
    yield Text("\n".join(kept), style="cyan")
    if len(kept) < len(edit.split("\n")):
        yield Text("…", style="dim")


def _evidence(finding: FindingData) -> RenderableType | None:
    if not finding["evidence"]:
        return None
    return Group(*(_evidence_line(item) for item in finding["evidence"]))


def _evidence_line(item: EvidenceData) -> Text:
    line = Text(f"{words.plain(item['name'])}: ")
    line.append(words.measured(item), style="bold")
    if item["threshold"] is not None:
        line.append(f", held against {words.with_unit(item['threshold'], str(item['unit']))}")
    if item["source"]:
        line.append(f" ({words.plain(item['source'])})", style="dim")
    return line


def _network(model: ModelData) -> Iterable[RenderableType]:
    """A model's modules with shapes, parameters and cost; nothing where none was seen at work."""
    modules = model.get("modules", [])
    if not any(module["calls"] for module in modules):
        return
    grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    grid.add_column(f"modules of {words.plain(model['name'])}", overflow="fold")
    for head in ("input", "output", "parameters", "multiply-adds"):
        grid.add_column(head, justify="right", overflow="fold")
    for module in modules[:MODULES_IN_TEXT]:
        grid.add_row(*module_cells(module))
    total = words.number(model.get("multiply_adds", 0))
    grid.add_row("all", "", "", f"{model['parameters']:,}", total, style="bold")
    yield ""
    yield Padding(grid, (0, 0, 0, 2), expand=False)
    if len(modules) > MODULES_IN_TEXT:
        more = f"… and {len(modules) - MODULES_IN_TEXT:,} more modules: viva report --format html"
        yield Padding(Text(more, style="dim"), (0, 0, 0, 2))


def module_cells(module: ModuleData) -> list[str]:
    """Name and class, shapes of input and output, parameters, multiply-adds of the calls in a step."""
    name = (
        f"{words.plain(module['name'])} ({words.plain(module['class_name'])})"
        if module["name"]
        else words.plain(module["class_name"])
    )
    if module["calls"] > 1:
        name += f", {module['calls']:,} calls"
    shapes = [words.shape(module["input_shape"]), words.shape(module["output_shape"])]
    return [name, *shapes, f"{module['parameters']:,}", words.number(module["multiply_adds"])]


def _facts(run: RunData) -> list[tuple[str, RenderableType | None]]:
    return [
        ("command", _text_or_none(words.plain(run["command"]))),
        ("started", _text_or_none(words.moment(run["started"]))),
        ("state", Text(words.state(run))),
        *(
            (
                "model",
                Text(
                    f"{words.plain(model['name'])}, {model['trainable']:,} of {model['parameters']:,} parameters trained"
                ),
            )
            for model in run["models"]
        ),
        *(("optimizer", Text(optimizer_words(optimizer))) for optimizer in run["optimizers"]),
        *(("data loader", Text(loader_words(loader))) for loader in run["loaders"]),
    ]


def optimizer_words(optimizer: OptimizerData) -> str:
    """An optimizer on one line."""
    rates = ", ".join(words.number(rate) for rate in optimizer["learning_rate"])
    parts = [words.plain(optimizer["class_name"]), f"learning rate {rates}" if rates else ""]
    if optimizer["site"]:
        parts.append(f"made at {words.place(optimizer['site'])}")
    if optimizer["step_site"]:
        parts.append(f"stepped at {words.place(optimizer['step_site'])}")
    return ", ".join(part for part in parts if part)


def loader_words(loader: LoaderData) -> str:
    """A data loader on one line."""
    order = "" if loader["shuffle"] is None else words.ORDERS[loader["shuffle"]]
    size = f"{loader['dataset_size']:,} examples" if loader["dataset_size"] is not None else ""
    batch = f"batches of {loader['batch_size']:,}" if loader["batch_size"] is not None else ""
    return ", ".join(
        part for part in (words.plain(loader["role"] or ""), size, batch, order, words.place(loader["site"])) if part
    )


def _preflight(data: PreflightData) -> RenderableType:
    """The checks of a preflight: what became of each, its name, and why."""
    return _titled("preflight", preflight.course(data), preflight.rows(data))


def _guard(data: GuardData) -> RenderableType:
    """What the guard did: each kind of act, how often, when, and why first."""
    return _titled("guard", guard.course(data), guard.rows(data))


def _titled(title: str, course: str, rows: Sequence[tuple[str, ...]]) -> RenderableType:
    """A line with its table below; the last column holds sentences."""
    head = _hanging(_head((title, "bold"), course))
    if not rows:
        return head
    grid = Table.grid(padding=(0, 2, 0, 0))
    for index in range(len(rows[0])):
        grid.add_column(style="bold" if index == 0 else "", overflow="fold", no_wrap=index < len(rows[0]) - 1)
    for row in rows:
        grid.add_row(*map(Text, row))
    return Group(head, Padding(grid, (0, 0, 0, 2), expand=False))


def _commands(commands: list[str]) -> Text:
    return Text(" · ").join(Text(command, style="bold") for command in commands)


def _tally(report: Report) -> RenderableType:
    return _hanging(_head((words.tally(report), "dim")))


def to_string(report: Report, width: int = 100) -> str:
    """The longer report as plain text."""
    stream = io.StringIO()
    write(report, stream, width)
    return stream.getvalue()
