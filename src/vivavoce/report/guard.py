"""What the guard did, for people: how often each act, when, and the reason for the first."""

from __future__ import annotations

from vivavoce.report import words
from vivavoce.report.schema import ActData, GuardData

GAVE_UP = "gave-up"


def course(guard: GuardData) -> str:
    """What became of the guard, in a line."""
    number = sum(act["act"] != GAVE_UP for act in guard["acts"])
    if not number and guard["gave_up"]:
        return f"it did not act: {words.plain(guard['gave_up'])}"
    if not number:
        said = "it never had to act"
    else:
        said = f"it acted {'once' if number == 1 else f'{number:,} times'}; findings are judged from the numbers as they were"
    return f"{said}; it gave up: {words.plain(guard['gave_up'])}" if guard["gave_up"] else said


def rows(guard: GuardData) -> list[tuple[str, str, str, str]]:
    """Each kind of act: its name, how often, at which steps, and the reason for the first of them."""
    kinds: dict[str, list[ActData]] = {}
    for act in guard["acts"]:
        kinds.setdefault(act["act"], []).append(act)
    return [_row(words.plain(kind), acts) for kind, acts in kinds.items() if kind != GAVE_UP]


def _row(kind: str, acts: list[ActData]) -> tuple[str, str, str, str]:
    when = words.step_range(acts[0]["step"], acts[-1]["step"])
    return kind, f"{len(acts):,} ×", when, words.sentence(words.plain(acts[0]["why"]))
