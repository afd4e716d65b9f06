"""What every remedy runs through: strange runs it must survive, sources it must not break.

@pytest.mark.parametrize("case", STRANGE + HEALTHY, ids=lambda case: case.name)
@pytest.mark.parametrize("remedy", REMEDIES, ids=lambda remedy: remedy.name)
def test_conforms(remedy, case):
    check(remedy, case)
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from vivavoce.examine.finding import Finding, Where
from vivavoce.examine.slugs import SLUGS
from vivavoce.record.run import Run
from vivavoce.remedy.remedy import Edit, Prescription, Remedy, Words
from vivavoce.testing.detectors import Case

FILE = "/home/user/train.py"  # of the places in the cases' runs
STRANGE_SOURCES: tuple[str, ...] = (
    "",
    "\n",
    "x = 1",
    "import torch\r\nprint(torch.pi)\r\n",
    "def f(:\n",
    "\n" * 11 + "optimizer = make(**options)\n" + "\n" * 20 + "optimizer.step(); optimizer.zero_grad()\n",
    "\n" * 11 + "optimizer = getattr(torch.optim, name)(params)\n" + "\n" * 20 + "if True: optimizer.step()\n",
)


def check(remedy: Remedy, case: Case) -> None:
    """Raise AssertionError where a remedy breaks its contract on a case; what it raises itself passes through."""
    assert remedy.name
    assert remedy.treats
    assert set(remedy.treats) <= set(SLUGS), f"{remedy.name} treats what is no finding"
    run = case.make()
    seen: set[str] = set()
    for finding in findings(remedy):
        first, second = (list(remedy.prescribe(run, finding)) for _ in range(2))
        assert first == second, f"{remedy.name} does not prescribe the same twice"
        for prescription in first:
            check_prescription(remedy, finding, prescription)
            what = repr((prescription.numbers, prescription.where))
            for text in STRANGE_SOURCES if what not in seen else ():
                check_edit(remedy, prescription, text)
            seen.add(what)


def findings(remedy: Remedy) -> list[Finding]:
    """A finding of each kind that the remedy treats: with a place of the cases' runs, and without any."""
    places = (
        Where(),
        Where(file=FILE, line=12),
        Where(file=FILE, line=33, layer="layer1"),
        Where(file="gone.py", line=1),
    )
    return [
        Finding(slug, "critical", 0.9, SLUGS[slug].question, SLUGS[slug].title, "", place)
        for slug in remedy.treats
        for place in places
    ]


def check_prescription(remedy: Remedy, finding: Finding, prescription: Prescription) -> None:
    """A prescription names its remedy and finding, has a title, and travels as JSON."""
    assert prescription.remedy == remedy.name
    assert prescription.finding == finding.slug
    assert prescription.title
    assert "\n" not in prescription.title
    data = json.loads(json.dumps(asdict(prescription), allow_nan=False))
    assert Prescription(**data).title == prescription.title


def check_edit(remedy: Remedy, prescription: Prescription, text: str) -> None:
    """An edit of a source that may lack the place: it compiles and changes something, or says in words what to do."""
    path = Path(FILE)
    result = remedy.edit(prescription, {path: text})
    if isinstance(result, Words):
        assert result.text, f"{remedy.name} has no words"
        assert result.because, f"{remedy.name} does not say why it cannot be written"
        return
    assert isinstance(result, Edit)
    for file, new in result.files.items():
        assert new != text
        compile(new, str(file), "exec", dont_inherit=True)
        assert ("\r\n" in text) == ("\r\n" in new), f"{remedy.name} changes how lines end"


def plan_is_sound(plan: list[Prescription], run: Run) -> None:
    """No prescription twice, and each by a remedy of its finding."""
    from vivavoce.remedy.catalogue import by_name

    keys = [(p.remedy, repr(p.numbers), repr(p.where)) for p in plan]
    assert len(set(keys)) == len(keys), f"something is tried twice on run {run.meta}"
    assert all(p.finding in by_name(p.remedy).treats for p in plan)
