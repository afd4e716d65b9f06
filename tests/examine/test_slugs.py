from pathlib import Path

import pytest

from vivavoce.examine.catalogue import DETECTORS
from vivavoce.examine.slugs import SLUGS

PAGES = Path(__file__).parents[2] / "docs" / "findings"
HEADINGS = (
    "## What it means",
    "## How Viva decides",
    "## What it looks like",
    "## What to do",
    "## When it is not a fault",
    "## Further reading",
)


def test_every_slug_has_a_page_and_every_page_a_slug():
    assert {page.stem for page in PAGES.glob("*.md")} - {"README"} == set(SLUGS)


@pytest.mark.parametrize("slug", SLUGS)
def test_a_page_has_all_its_parts(slug):
    text = (PAGES / f"{slug}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# `{slug}`\n\n**{SLUGS[slug].title}.**")
    positions = [text.index(heading) for heading in HEADINGS]
    assert positions == sorted(positions)
    assert f"viva ▸ {slug}" in text
    examined = slug in {detector.slug for detector in DETECTORS}
    assert ("Not yet examined" in text) != examined


def test_the_index_names_every_slug():
    index = (PAGES / "README.md").read_text(encoding="utf-8")
    assert all(f"[`{slug}`]({slug}.md)" in index for slug in SLUGS)


def test_links_between_pages_lead_somewhere():
    for page in PAGES.glob("*.md"):
        for part in page.read_text(encoding="utf-8").split("](")[1:]:
            target = part.split(")")[0]
            assert (PAGES / target).exists(), f"{page.name} links to {target}"
