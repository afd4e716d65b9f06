import base64
import hashlib
import io
import itertools
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from tests.report.samples import EXPLODING, NOTE, exploding_run, hostile_report_and_run, report_of
from vivavoce.record.entities import Loss, Parameter
from vivavoce.report import html
from vivavoce.report.plots import select_plots
from vivavoce.testing.runs import make_run

LARGEST_FILE = 1_500_000  # bytes


class Page(HTMLParser):
    """The elements of a page, and whether they are well nested."""

    VOID = frozenset({"meta", "link", "img", "br", "input", "hr"})

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.words, self.misplaced = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.misplaced.append(tag)

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def written(report, run=None):
    stream = io.StringIO()
    html.write(report, stream, select_plots(run, report) if run else None)
    return stream.getvalue()


@pytest.fixture(scope="module")
def text():
    run = exploding_run()
    return written(report_of(EXPLODING, NOTE, run=run), run)


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_the_page_is_well_nested(page):
    assert page.misplaced == []
    assert page.open == []


def test_nothing_is_fetched(page, text):
    for tag, attributes in page.elements:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            value = attributes.get(name, "")
            assert value.startswith(("data:", "#")) or not value or tag == "meta", (tag, name, value)
    assert not page.all("link")
    assert not re.search(r"@import|url\(", text)


def test_only_our_script_may_run(page, text):
    (policy,) = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_no_name_of_the_run_becomes_markup():
    report, run = hostile_report_and_run()
    text = written(report, run)
    assert text.count("<script") == 1
    assert "alert(1)" in text
    assert Page(text).misplaced == []


def test_the_page_can_be_heard(page):
    assert page.all("html")[0]["lang"] == "en"
    tags = [tag for tag, _ in page.elements]
    assert all(tag in tags for tag in ("header", "nav", "main", "footer"))
    levels = [int(tag[1]) for tag in tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert all(image["alt"] for image in page.all("img"))
    assert all(figure["aria-label"] for figure in page.all("div") if figure.get("role") == "img")


def test_ids_are_unique_and_links_lead_somewhere(page):
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"][1:] for link in page.all("a")} <= set(ids)


def test_each_plot_has_its_numbers_as_a_table(page):
    figures = len(page.all("figure"))
    assert figures == 5 + 2  # of the run, and one for each finding
    assert len([details for details in page.all("details") if details.get("class") == "numbers"]) == figures


def test_the_page_has_verdict_evidence_remedies_and_the_run(page):
    words = " ".join(page.words)
    for part in (
        "The gradients explode",
        "1.02 per step",
        "clip_grad_norm_(parameters, 0.9)",
        "finite, deviation 0.99",
        "viva repair train.py --length 100",
        "viva explain exploding-gradients",
        "It stopped while improving",
        "train.py --length 100",
    ):
        assert part in words


@pytest.mark.parametrize("outcome", ["healthy", "unknown", "no-training"])
def test_pages_without_findings_or_plots(outcome):
    run = make_run()
    report = report_of(outcome=outcome, reason="A plain sentence.", run=run)
    page = Page(written(report, run))
    assert page.misplaced == []
    assert "A plain sentence." in " ".join(page.words)


def test_the_page_of_a_long_run_of_a_large_network_stays_small():
    steps, count = np.arange(20_000), 300
    noise = np.random.default_rng(0).lognormal(size=(len(steps), count))
    sampled = steps[::20]
    run = make_run(
        entities=[
            Loss(id=0, source="backward"),
            *(
                Parameter(id=i, model=None, name=f"blocks.{i}.attention.weight", shape=(1,), dtype="f")
                for i in range(count)
            ),
        ],
        signals={
            ("train/loss", ("loss", 0)): (["loss"], steps, noise[:, 0]),
            ("gradient_norm", ("optimizer", 0)): (range(count), steps, noise),
            ("update_ratio", ("optimizer", 0)): (range(count), sampled, noise[sampled]),
        },
    )
    assert len(written(report_of(EXPLODING, NOTE, run=run), run).encode()) < LARGEST_FILE


def test_strange_series_are_drawn_all_the_same():
    values = [np.nan, np.inf, -np.inf, 1e308, -1e308, 0.0, 5e-324, 1.0]
    run = make_run(
        entities=[Loss(id=0, source="backward"), Parameter(id=0, model=None, name="w", shape=(1,), dtype="f")],
        signals={
            ("train/loss", ("loss", 0)): (["loss"], range(len(values)), values),
            ("gradient_norm", ("optimizer", 0)): ([0], range(len(values)), values),
            ("update_ratio", ("optimizer", 0)): ([0], range(len(values)), values),
            ("learning_rate", ("optimizer", 0)): ([0], [0], [[0.0]]),
        },
    )
    text = written(report_of(EXPLODING, run=run), run)
    assert not re.search(r'd="[^"]*(nan|inf)', text)
    assert Page(text).misplaced == []
