"""reattach: the graph whole again between parameters and loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import libcst as cst

from vivavoce.examine.finding import Finding
from vivavoce.record.run import Run
from vivavoce.remedy.changes import CannotEditError, Changes, open_source
from vivavoce.remedy.dropout import files_of
from vivavoce.remedy.optimizers import optimizers_of
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, Words
from vivavoce.remedy.rewriting import rewrite
from vivavoce.remedy.source import Source, method_of

MOST_CANDIDATES = 3
UNLIKELY = 9  # rank of a cut that is meant
CUTS = ("no_grad", "inference_mode")


class Reattach(Remedy):
    """Takes out a `detach()` or a `no_grad()` that stands in the way. Which one it is, a trial each shows."""

    name = "reattach"
    treats = ("no-gradient", "underfitting")
    rank = 2

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """Cuts inside the training, those in a network's own methods first."""
        count = 0
        for file in files_of(run):
            source = Source.read(file)
            lines = training_lines(run, file)
            for node in cuts(source, lines) if source is not None else ():
                if source is None or count == MOST_CANDIDATES:
                    return
                count += 1
                title = f"no {_name(source, node)} at line {source.line(node)}"
                yield Prescription(
                    self.name,
                    finding.slug,
                    title,
                    {},
                    {"file": file, "line": source.line(node), "end": list(source.end_place(node)), "lines": lines},
                )

    def apply(self, prescription: Prescription) -> None:
        """Let Python read the script without it."""
        rewrite(self, prescription)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """Take the call out, or the block's first line, and move the block to the left."""
        where = prescription.where
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            chosen = [n for n in cuts(source, where["lines"]) if list(source.end_place(n)) == list(where["end"])]
            if not chosen:
                raise CannotEditError("the place has changed")
            _remove(changes, source, chosen[0])
            return changes.edit()
        except CannotEditError as error:
            return Words(
                "keep the graph whole: no detach(), no_grad(), .data", str(error), where.get("file"), where.get("line")
            )


def training_lines(run: Run, file: str) -> list[int]:
    """Lines of backward passes and steps in a file."""
    sites = [loss.site for loss in run.losses.values() if loss.source == "backward"]
    sites += [optimizer.step_site for optimizer in run.optimizers.values()]
    return sorted({site.line for site in sites if site is not None and site.file == file})


def cuts(source: Source, lines: list[int]) -> list[cst.CSTNode]:
    """What cuts the graph in methods of networks or in functions that train, the likeliest first."""
    nodes: list[cst.CSTNode] = [call for call in source.methods("detach") if not call.args]
    nodes += [b for b in source.all(cst.With) if len(b.items) == 1 and _stops_gradients(source, b.items[0].item)]
    nodes += [a for a in source.all(cst.Attribute) if a.attr.value == "data" and _is_handed_on(source, a)]
    found = [(_likelihood(source, node, lines), source.span(node)[0], node) for node in nodes]
    return [node for rank, _, node in sorted(found, key=lambda item: item[:2]) if rank < UNLIKELY]


def _is_handed_on(source: Source, node: cst.CSTNode) -> bool:
    return isinstance(source.parent(node), (cst.Arg, cst.Return))


def _stops_gradients(source: Source, item: cst.BaseExpression) -> bool:
    return isinstance(item, cst.Call) and source.is_torch(item.func, *CUTS)


def _likelihood(source: Source, node: cst.CSTNode, lines: list[int]) -> int:
    """0 in a network's forward, 1 in its other methods, 2 in a function that trains; 9 elsewhere: evaluation, say."""
    function, owner = source.function(node), source.around(node, cst.ClassDef)
    if function is not None and function.name.value == "forward":
        return 0
    if function is not None and "eval" in function.name.value.lower():
        return UNLIKELY
    block = source.around(node, cst.With)
    if block is not None and any(_stops_gradients(source, item.item) for item in block.items):
        return UNLIKELY  # inside a block without gradients it changes nothing
    trains = any(_holds(source, function, line) for line in lines)
    if not trains and owner is None and function in called_in_training(source, lines):
        return 1
    if isinstance(node, cst.With) and trains:
        loop = source.around(node, cst.For, cst.While)
        behind = [line for line in lines if line > source.last_line(node)]
        return 2 if loop is not None and any(_holds(source, loop, line) for line in behind) else UNLIKELY
    if trains:
        return 2
    return 1 if owner is not None and not isinstance(node, cst.With) else UNLIKELY


def called_in_training(source: Source, lines: list[int]) -> list[cst.FunctionDef]:
    """The file's functions that are called where it trains, and those that these call."""
    functions = [node for node in source.all(cst.FunctionDef) if source.around(node, cst.ClassDef) is None]
    loops: list[cst.CSTNode] = [*source.all(cst.For), *source.all(cst.While)]
    places = [loop for loop in loops if any(_holds(source, loop, line) for line in lines)]
    reached: list[cst.FunctionDef] = []
    while places:
        place = places.pop()
        names = {call.func.value for call in source.all(cst.Call, place) if isinstance(call.func, cst.Name)}
        new = [f for f in functions if f.name.value in names and f not in reached]
        reached += new
        places += new
    return reached


def _holds(source: Source, node: cst.CSTNode | None, line: int) -> bool:
    return node is None or source.line(node) <= line <= source.last_line(node)


def _name(source: Source, node: cst.CSTNode) -> str:
    if isinstance(node, cst.With):
        return source.code(node.items[0].item)
    return f"{method_of(node)}()" if isinstance(node, cst.Call) else ".data"


def _remove(changes: Changes, source: Source, node: cst.CSTNode) -> None:
    if isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute):
        changes.replace(node, source.code(node.func.value))
    elif isinstance(node, cst.Attribute):
        changes.replace(node, source.code(node.value))
    elif isinstance(node, cst.With):
        _dedent(changes, source, node)


def _dedent(changes: Changes, source: Source, block: cst.With) -> None:
    """Take the first line of a block out, and move the others to its column."""
    first, last = source.line(block), source.last_line(block)
    column = source.span(block)[0] - source.line_start(first)
    body = getattr(block.body, "body", ())
    if not body or not isinstance(block.body, cst.IndentedBlock):
        raise CannotEditError("the block shares its first line")
    start = source.line(body[0])
    inner = source.span(body[0])[0] - source.line_start(start) - column
    if any("\n" in source.code(text) for text in source.all(cst.SimpleString, block)):
        raise CannotEditError("the block holds a text of several lines")
    changes.cut(source.line_start(first), source.line_start(start))
    for line in range(start, last + 1):
        begin = source.line_start(line)
        if (
            source.text[begin : begin + inner].strip() == ""
            and source.text[begin : source.line_start(line + 1)].strip()
        ):
            changes.cut(begin, begin + inner)


class MissingStep(Remedy):
    """`step()` for an optimizer that was made and never steps."""

    name = "missing-step"
    treats = ("parameters-not-optimized", "no-gradient")
    rank = 0

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """Where the source has an optimizer with `zero_grad()` or none at all, but no `step()`."""
        for file in files_of(run):
            source = Source.read(file)
            names = idle(source) if source is not None else []
            sites = [o.step_site for o in optimizers_of(run, finding) if o.step_site is not None]
            for name in names:
                if sites:
                    where: dict[str, Any] = {"file": file, "line": sites[0].line, "name": name}
                    yield Prescription(self.name, finding.slug, f"{name}.step()", {}, where)

    def apply(self, prescription: Prescription) -> None:
        """Let Python read the script with the line."""
        rewrite(self, prescription)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """Behind its own backward pass; else beside the step of another optimizer."""
        where = prescription.where
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            place = _place(source, where["name"], where["line"])
            changes.after(place, [f"{where['name']}.step()"])
            return changes.edit()
        except CannotEditError as error:
            return Words(
                f"{where['name']}.step() behind its backward pass", str(error), where.get("file"), where.get("line")
            )


def idle(source: Source) -> list[str]:
    """Variables that hold an optimizer which never steps in this file."""
    made = []
    for assign in source.all(cst.Assign):
        value = assign.value
        if isinstance(value, cst.Call) and any(
            name.startswith("torch.optim.") and "lr_scheduler" not in name for name in source.names(value.func)
        ):
            made.append(source.code(assign.targets[0].target))
    steps = [source.code(call) for call in source.methods("step")]
    return [
        name
        for name in dict.fromkeys(made)
        if not any(f"{name}.step(" in step or f".step({name}" in step for step in steps)
    ]


def _place(source: Source, name: str, line: int) -> cst.CSTNode:
    clears = [call for call in source.methods("zero_grad") if source.code(call.func) == f"{name}.zero_grad"]
    backward = source.methods("backward")
    behind = [b for b in backward if clears and source.span(b)[0] > source.span(clears[0])[0]]
    if behind:
        statement = source.statement(behind[0])
    else:
        steps = [call for call in source.calls_at(line) if method_of(call) == "step"]
        statement = source.statement(steps[0]) if steps else None
    if not isinstance(statement, cst.BaseSmallStatement):
        raise CannotEditError("where it should step cannot be told")
    return statement
