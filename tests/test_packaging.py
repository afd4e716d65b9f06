"""The wheel: what is in it, and that a fresh environment can use it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from vivavoce import __version__
from vivavoce.examine.slugs import SLUGS

ROOT = Path(__file__).parents[1]
BASE_DEPENDENCIES = {"torch", "numpy", "click", "rich", "libcst"}
TIMEOUT_SECONDS = 200


def call(*words: str | Path, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIVA_"))}
    result = subprocess.run(
        [*map(str, words)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        cwd=cwd,
        env=environment,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def fresh(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment with the wheel, which borrows its dependencies from this one."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=False)
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    purelib = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    target = Path(purelib)
    pip = [sys.executable, "-m", "pip", "--python", scripts / "python", "install", "--quiet", "--no-index", "--no-deps"]
    call(*pip, wheel, cwd=folder)
    (target / "borrowed.pth").write_text(
        f"{sysconfig.get_path('purelib')}\n"
    )  # a path line: .pth files there are not read
    return scripts


def test_contents(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"vivavoce/py.typed", "vivavoce/record/schema.sql", "vivavoce/report/schema-1.json"} <= names
    assert "vivavoce/labs/denoise/weights.safetensors" in names
    assert {f"vivavoce/docs/findings/{slug}.md" for slug in SLUGS} <= names
    modules = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*.py")}
    assert modules <= names
    assert {name.partition("/")[0] for name in names} == {"vivavoce", f"vivavoce-{__version__}.dist-info"}


def test_metadata(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    info = f"vivavoce-{__version__}.dist-info"
    metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
    required = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert {line.partition(">")[0].strip() for line in required} == BASE_DEPENDENCIES
    assert metadata["License-Expression"] == "Apache-2.0"
    assert f"{info}/licenses/LICENSE" in archive.namelist()


def test_command(fresh: Path, tmp_path: Path) -> None:
    assert __version__ in call(fresh / "viva", "--version", cwd=tmp_path)
    assert "run" in call(fresh / "viva", "--help", cwd=tmp_path)
    assert call(fresh / "viva", "explain", "guessing", cwd=tmp_path).strip()
    where = call(fresh / "python", "-c", "import vivavoce; print(vivavoce.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(fresh.parent), "the installed package is tested, not the source"


def test_a_run(fresh: Path, tmp_path: Path) -> None:
    call(fresh / "viva", "run", "--dir", tmp_path / "runs", ROOT / "examples" / "exploding_rnn.py", cwd=tmp_path)
    assert "exploding-gradients" in call(fresh / "viva", "report", "--dir", tmp_path / "runs", cwd=tmp_path)
