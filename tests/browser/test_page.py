"""The HTML report in a real browser."""

import shutil

import pytest

from tests.report.samples import EXPLODING, NOTE, exploding_run, hostile_report_and_run, report_of
from vivavoce.report import html
from vivavoce.report.plots import select_plots

pytestmark = pytest.mark.browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NARROW, WIDE = 390, 1280  # CSS pixels
DARKEST_PAGE = 80  # of 255: a dark page is darker, a light one much lighter


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium browser was found")
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    run = exploding_run()
    return written(tmp_path_factory.mktemp("page"), report_of(EXPLODING, NOTE, run=run), run)


def written(folder, report, run):
    path = folder / "report.html"
    with path.open("w", encoding="utf-8") as stream:
        html.write(report, stream, select_plots(run, report))
    return path


@pytest.fixture
def open_page(browser, file):
    """A function that opens the report; whatever the page complains about or asks for fails the test."""
    troubles, contexts = [], []

    def open_page(path=file, **options):
        context = browser.new_context(**{"viewport": {"width": WIDE, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda request: _allowed(request.url, path) or troubles.append(request.url))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []


def _allowed(url, path):
    return url == path.as_uri() or url.startswith("data:")


def brightness(page):
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    channels = page.evaluate(
        """(colour) => {
            const canvas = document.createElement('canvas').getContext('2d');
            canvas.fillStyle = colour;
            canvas.fillRect(0, 0, 1, 1);
            return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
        }""",
        colour,
    )
    return sum(channels) / len(channels)


def test_the_page_loads_without_a_complaint_or_a_request(open_page):
    page = open_page()
    assert page.locator("h1").inner_text() == "The gradients explode"
    assert page.locator("figure").count() == 7


def test_the_system_sets_the_colour_scheme(open_page):
    assert brightness(open_page(color_scheme="light")) > 255 - DARKEST_PAGE
    assert brightness(open_page(color_scheme="dark")) < DARKEST_PAGE


def test_the_scheme_can_be_changed_by_keyboard_and_is_remembered(open_page):
    page = open_page(color_scheme="light")
    button = page.get_by_role("button", name="Dark")
    for _ in range(20):
        page.keyboard.press("Tab")
        if button.evaluate("button => button === document.activeElement"):
            break
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "true"
    assert brightness(page) < DARKEST_PAGE
    page.reload()
    assert brightness(page) < DARKEST_PAGE


def test_the_first_key_leads_past_the_navigation(open_page):
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the verdict"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "verdict"


@pytest.mark.parametrize("width", [NARROW, 768, WIDE])
def test_the_page_never_scrolls_sideways(open_page, width):
    page = open_page(viewport={"width": width, "height": 800})
    for details in page.locator("details").all():
        details.locator("summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_every_plot_opens_its_table_by_keyboard(open_page):
    page = open_page()
    for figure in page.locator("figure").all():
        figure.locator("summary").focus()
        page.keyboard.press("Enter")
        assert figure.locator("table").is_visible()
        assert figure.locator("tbody tr").count() > 1


def test_the_scale_of_the_loss_is_switched_even_without_javascript(open_page):
    page = open_page(java_script_enabled=False)
    loss = page.locator("#loss")
    loss.get_by_label("logarithmic").check()
    assert loss.locator(".frame.log").is_visible()
    assert not loss.locator(".frame.linear").is_visible()
    loss.get_by_label("linear").check()
    assert loss.locator(".frame.linear").is_visible()
    assert not loss.locator(".frame.log").is_visible()


def test_without_javascript_no_dead_button_is_shown(open_page):
    page = open_page(java_script_enabled=False)
    assert [button for button in page.locator("button").all() if button.is_visible()] == []
    assert page.locator("#loss .frame.linear path.line").first.is_visible()


def test_values_are_read_off_a_plot_by_pointer_and_by_keyboard(open_page):
    page = open_page()
    canvas = page.locator("#learning-rate .canvas")
    canvas.scroll_into_view_if_needed()
    canvas.hover()
    assert "SGD: 0.01" in canvas.locator(".tip").inner_text()

    chart = page.locator("#loss .canvas").locator("visible=true")
    chart.focus()
    page.keyboard.press("Home")
    assert chart.locator(".tip").inner_text() == "step 1\ntraining, mean of 6 steps: 2", "no validation before step 99"
    page.keyboard.press("End")
    assert chart.locator(".tip").is_visible()
    page.keyboard.press("Escape")
    assert not chart.locator(".tip").is_visible()


def test_cells_of_the_map_are_read_by_keyboard(open_page):
    page = open_page()
    canvas = page.locator("#gradient-map .canvas")
    canvas.focus()
    page.keyboard.press("ArrowRight")
    assert canvas.locator(".tip").inner_text().splitlines()[:2] == ["rnn.weight_ih_l0", "steps 0–1"]
    page.keyboard.press("ArrowDown")
    assert "rnn.weight_hh_l0" in canvas.locator(".tip").inner_text()


def test_a_hostile_name_runs_nothing(open_page, tmp_path):
    dialogs = []
    page = open_page(written(tmp_path, *hostile_report_and_run()))
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.reload()
    assert dialogs == []
    assert page.locator("script").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_axe_finds_no_barrier(open_page, scheme, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = open_page(color_scheme=scheme, viewport={"width": width, "height": 900})
    results = axe.Axe().run(page).response
    assert [(found["id"], [node["html"] for node in found["nodes"]]) for found in results["violations"]] == []
    assert len(results["passes"]) > 20  # it has looked


def test_motion_is_reduced_when_asked(open_page):
    page = open_page(reduced_motion="reduce")
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
