"""The programs that verdicts are measured on are usable: every fault applies, and every name is known."""

import sys
import tomllib
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"
sys.path.insert(0, str(BENCH))
collection = pytest.importorskip("_collection")
sys.path.remove(str(BENCH))

from vivavoce.examine import slugs  # noqa: E402

PROGRAMS = collection.load()
VARIANTS = collection.variants(PROGRAMS)
KNOWN = set(slugs.SLUGS)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.key)
def test_every_edit_matches_once_and_compiles(variant):
    changed = variant.source != variant.program.source
    assert changed == (variant.fault is not None)


def test_the_split_names_every_program_once():
    lists = tomllib.loads((BENCH / "programs" / "split.toml").read_text())
    named = lists["development"] + lists["report"]
    assert sorted(named) == sorted(path.stem for path in (BENCH / "programs").glob("*.py"))


def test_accepted_findings_and_symptoms_are_findings():
    named = {slug for program in PROGRAMS for fault in program.faults for slug in fault.accept + fault.symptoms}
    assert named <= KNOWN


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_healthy_is_better_than_trivial(program):
    assert program.metric.gain(program.metric.trivial, program.metric.healthy) > 0


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_scripts_and_faults_are_named_apart(program):
    names = [fault.name for fault in program.faults]
    assert len(names) == len(set(names))
    assert len({variant.digest for variant in collection.variants([program])}) == len(names) + 1


def test_an_edit_that_does_not_match_is_refused():
    fault = collection.Fault("broken", ("guessing",), (), (("no such text", ""),))
    with pytest.raises(collection.CollectionError, match="matches 0 times"):
        _ = collection.Variant(PROGRAMS[0], fault).source
