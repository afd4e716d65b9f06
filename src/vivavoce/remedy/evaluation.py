"""eval-mode: the network is evaluated as it will be used, and trained as before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import libcst as cst

from vivavoce.examine.finding import Finding
from vivavoce.record.run import Run
from vivavoce.remedy.changes import CannotEditError, Changes, open_source
from vivavoce.remedy.dropout import files_of
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, Words
from vivavoce.remedy.rewriting import rewrite
from vivavoce.remedy.source import Source, method_of

STOPS = ("no_grad", "inference_mode")


class EvalMode(Remedy):
    """`model.eval()` before what is computed without gradients, `model.train()` behind it."""

    name = "eval-mode"
    treats = ("overfitting", "train-eval-mismatch")
    rank = 1

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        """Where a block or function without gradients calls the model, and nothing calls `eval()`."""
        for file in files_of(run):
            source = Source.read(file)
            names = _models(source, run) if source is not None else []
            if source is not None and any(_blocks(source, name) for name in names):
                where = {
                    "file": file,
                    "line": source.line(_blocks(source, names[0])[0]) if _blocks(source, names[0]) else None,
                    "models": names,
                }
                yield Prescription(self.name, finding.slug, "evaluate in evaluation mode", {}, where)
                return

    def apply(self, prescription: Prescription) -> None:
        """Let Python read the script with the lines: which calls are an evaluation is for the script to say."""
        rewrite(self, prescription)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        """Two lines around a block; in a function, one at its beginning and one behind each call of it."""
        where = prescription.where
        try:
            changes = Changes(source := open_source(sources, where.get("file")))
            for name in where["models"]:
                for block in _blocks(source, name):
                    _write(changes, source, block, name)
            return changes.edit()
        except CannotEditError as error:
            return Words(
                "model.eval() before the evaluation, model.train() behind it", str(error), where.get("file"), None
            )


def _models(source: Source, run: Run) -> list[str]:
    """Names that the models have in the source."""
    names = {
        call.func.value.value
        for call in source.methods("parameters")
        if isinstance(call.func, cst.Attribute) and isinstance(call.func.value, cst.Name)
    }
    names |= {
        source.code(call.func.value)
        for call in source.methods("parameters", "train")
        if isinstance(call.func, cst.Attribute)
    }
    names |= {model.name for model in run.models.values()}
    return sorted(name for name in names if name not in ("self", ""))


def _blocks(source: Source, name: str) -> list[cst.With | cst.FunctionDef]:
    """Blocks and functions without gradients that call the model and do not switch its mode."""
    found: list[cst.With | cst.FunctionDef] = []
    for call in source.all(cst.Call):
        if source.code(call.func) != name:
            continue
        for above in source.ancestors(call):
            if _without_gradients(source, above):
                assert isinstance(above, (cst.With, cst.FunctionDef))
                if above not in found and not _switches(source, above):
                    found.append(above)
                break
    return found


def _without_gradients(source: Source, node: cst.CSTNode) -> bool:
    if isinstance(node, cst.With):
        return any(isinstance(i.item, cst.Call) and source.is_torch(i.item.func, *STOPS) for i in node.items)
    if isinstance(node, cst.FunctionDef):
        return any(
            source.is_torch(d.decorator.func if isinstance(d.decorator, cst.Call) else d.decorator, *STOPS)
            for d in node.decorators
        )
    return False


def _switches(source: Source, node: cst.CSTNode) -> bool:
    function = node if isinstance(node, cst.FunctionDef) else source.function(node)
    return any(method_of(call) == "eval" for call in source.all(cst.Call, function or node))


def _write(changes: Changes, source: Source, block: cst.With | cst.FunctionDef, name: str) -> None:
    if isinstance(block, cst.With):
        changes.before(block, [f"{name}.eval()"])
        if not any(isinstance(node, cst.Return) for node in source.all(cst.Return, block)):
            changes.after(block, [f"{name}.train()"])
            return
        block_function = source.function(block)
        if block_function is None:
            raise CannotEditError("the block is left by return")
        block = block_function
    else:
        body = block.body.body if isinstance(block.body, cst.IndentedBlock) else ()
        if not body:
            raise CannotEditError("the function's body stands on its first line")
        first = body[0]
        statement = first.body[0] if isinstance(first, cst.SimpleStatementLine) else first
        changes.before(statement, [f"{name}.eval()"])
    _train_again(changes, source, name)


def _train_again(changes: Changes, source: Source, name: str) -> None:
    """Before the forward pass of each training step, where the script does not do so itself."""
    trains = [call for call in source.methods("train") if source.code(call.func) == f"{name}.train"]
    if any(source.around(call, cst.For, cst.While) or source.function(call) for call in trains):
        return
    backward = source.methods("backward")
    loop = source.around(backward[0], cst.For, cst.While) if backward else None
    body = loop.body.body if loop is not None and isinstance(loop.body, cst.IndentedBlock) else ()
    if not body:
        raise CannotEditError("the training loop is not seen")
    first = body[0]
    changes.before(first.body[0] if isinstance(first, cst.SimpleStatementLine) else first, [f"{name}.train()"])
