"""The diff against git itself, and how a patch is put in place."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from vivavoce.repair.errors import RepairError
from vivavoce.repair.patch import apply, base_of, diff
from vivavoce.repair.specification import Program

OLD = "".join(f"line {number}\n" for number in range(30))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (OLD, OLD.replace("line 7\n", "line 7\nnew\n").replace("line 25\n", "")),
        ("a\nb", "a\nc"),
        ("a\nb", "a\nb\n"),
        ("a\r\nb\r\n", "a\r\nnew\r\nb\r\n"),
        ("a\x0cb\n", "a\x0cb\nc\n"),
        ("x = 'ä\u2028'\n", "x = 'ö\u2028'\n"),
    ],
)
def test_git_apply_makes_the_new_file_of_the_old_one(tmp_path: Path, old: str, new: str) -> None:
    file = tmp_path / "sub" / "train.py"
    file.parent.mkdir()
    file.write_text(old, newline="")
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    base = base_of(Program((str(file.parent),), str(file.parent), "train.py"))
    assert base == tmp_path
    patch = diff({file: old}, {file: new}, base)
    subprocess.run(["git", "apply", "--whitespace=nowarn", "-"], cwd=tmp_path, input=patch.encode(), check=True)
    assert file.read_bytes().decode() == new


def test_a_file_that_did_not_change_is_not_in_the_diff(tmp_path: Path) -> None:
    assert diff({tmp_path / "a.py": OLD}, {tmp_path / "a.py": OLD}, tmp_path) == ""


def test_a_patch_is_put_in_place_with_the_files_permissions(tmp_path: Path) -> None:
    file, other = tmp_path / "a.py", tmp_path / "b.py"
    file.write_text("old\n")
    other.write_text("other\n")
    file.chmod(0o755)
    assert apply({file: "old\n", other: "other\n"}, {file: "new\n", other: "other\n"}) == [file]
    assert file.read_text() == "new\n"
    assert file.stat().st_mode & 0o777 == 0o755
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.py", "b.py"]


def test_a_file_that_was_changed_meanwhile_is_left_alone_and_so_are_the_others(tmp_path: Path) -> None:
    file, other = tmp_path / "a.py", tmp_path / "b.py"
    file.write_text("old\n")
    other.write_text("changed by the user\n")
    with pytest.raises(RepairError, match=r"b\.py has changed since the repair began: nothing was written"):
        apply({file: "old\n", other: "old\n"}, {file: "new\n", other: "new\n"})
    assert file.read_text() == "old\n"
