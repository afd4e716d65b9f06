"""A catalogue of three tiny remedies, on the contract of `vivavoce.remedy`, for tests of the machinery around them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vivavoce.examine.finding import Finding
from vivavoce.record.run import Run
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, RemedyError, Words


class ZeroGrad(Remedy):
    name, treats, rank = "zero-grad", ("gradients-not-zeroed",), 1

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        site = next(iter(run.optimizers.values())).step_site
        assert site is not None
        yield Prescription(self.name, finding.slug, "clear the gradients", where={"file": site.file, "line": site.line})

    def apply(self, prescription: Prescription) -> None:
        from torch.optim.optimizer import register_optimizer_step_post_hook

        register_optimizer_step_post_hook(lambda optimizer, *_: optimizer.zero_grad())

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        path, line = Path(prescription.where["file"]), prescription.where["line"] - 1
        lines = sources[path].splitlines(keepends=True)
        match = re.match(r"(\s*)(\w+)\.step\(\)", lines[line])
        if match is None:
            return Words("call zero_grad() after step()", "the step is no plain statement", str(path), line + 1)
        lines.insert(line + 1, f"{match[1]}{match[2]}.zero_grad()\n")
        return Edit({path: "".join(lines)})


class LearningRate(Remedy):
    """Deliberately useless: a rate at which nothing is learned."""

    name, treats, rank = "learning-rate", ("gradients-not-zeroed", "learning-rate-too-high"), 2

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        yield Prescription(self.name, finding.slug, "learning rate 1e-9", {"factor": 1e-9})

    def apply(self, prescription: Prescription) -> None:
        from torch.optim.optimizer import register_optimizer_step_pre_hook

        def lower(optimizer: object, *_: object) -> None:
            for group in optimizer.param_groups:  # type: ignore[attr-defined]
                group["lr"] = prescription.numbers["factor"]

        register_optimizer_step_pre_hook(lower)

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        return Words("set the learning rate to 1e-9", "this remedy writes nothing")


class Impossible(Remedy):
    name, treats, rank = "impossible", ("gradients-not-zeroed",), 3

    def prescribe(self, run: Run, finding: Finding) -> Iterator[Prescription]:
        yield Prescription(self.name, finding.slug, "something else")

    def apply(self, prescription: Prescription) -> None:
        raise RemedyError("there is nothing to get hold of")

    def edit(self, prescription: Prescription, sources: Mapping[Path, str]) -> Edit | Words:
        return Words("do something else", "it cannot be written")


REMEDIES: tuple[Remedy, ...] = (ZeroGrad(), LearningRate(), Impossible())


def by_name(name: str) -> Remedy:
    return next(remedy for remedy in REMEDIES if remedy.name == name)


def plan(run: Run, findings: Sequence[Finding]) -> list[Prescription]:
    return [
        prescription
        for finding in findings
        if finding.severity != "note"
        for remedy in REMEDIES
        if finding.slug in remedy.treats
        for prescription in remedy.prescribe(run, finding)
    ]
