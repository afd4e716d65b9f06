"""The pages of the findings: shipped in the package, or beside it in a source checkout."""

from __future__ import annotations

import re
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent
_FOLDERS = (
    _PACKAGE / "docs" / "findings",  # an installed wheel
    _PACKAGE.parent.parent / "docs" / "findings",  # a source checkout: src/vivavoce/../../docs
)
_SLUG = re.compile(r"[a-z][a-z-]*")


def page(slug: str) -> str | None:
    """The page of a finding as Markdown, None where there is none."""
    if not _SLUG.fullmatch(slug):
        return None
    for folder in _FOLDERS:
        file = folder / f"{slug}.md"
        if file.is_file():
            return file.read_text(encoding="utf-8")
    return None


def slugs_with_pages() -> list[str]:
    """The slugs that have a page, in alphabetical order."""
    return sorted({file.stem for folder in _FOLDERS for file in folder.glob("*.md") if _SLUG.fullmatch(file.stem)})
