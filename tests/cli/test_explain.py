import pytest
from click.testing import CliRunner

from vivavoce.cli.explain import command
from vivavoce.examine.slugs import SLUGS
from vivavoce.report import pages


def call(*arguments):
    return CliRunner().invoke(command, list(arguments), prog_name="viva explain")


def test_all_findings_are_listed_once_under_their_question():
    lines = call().stdout.splitlines()
    listed = [line.split()[0] for line in lines if line.startswith("  ")]
    assert sorted(listed) == sorted(SLUGS)
    assert lines.index("Question 5: do gradients explode or vanish?") < next(
        index for index, line in enumerate(lines) if line.startswith("  exploding-gradients")
    )


def test_a_page_is_printed_as_it_is_in_a_pipe(tmp_path, monkeypatch):
    (tmp_path / "overfitting.md").write_text("# overfitting\n\n*Learned by heart*: ‖w‖ grew.\n", encoding="utf-8")
    monkeypatch.setattr(pages, "_FOLDERS", (tmp_path,))
    assert call("overfitting").stdout == "# overfitting\n\n*Learned by heart*: ‖w‖ grew.\n"


@pytest.mark.parametrize("slug", SLUGS)
def test_every_finding_can_be_explained(slug):
    result = call(slug)
    assert result.exit_code == 0
    assert result.stdout.strip()


@pytest.mark.parametrize(
    ("slug", "message"), [("overfiting", "did you mean 'overfitting'?"), ("../../secret", "no finding")]
)
def test_an_unknown_finding_is_a_usage_error(slug, message):
    result = call(slug)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Try 'viva explain --help'" in result.stderr


def test_pages_lie_where_a_wheel_or_a_checkout_has_them(tmp_path, monkeypatch):
    wheel, checkout = tmp_path / "wheel", tmp_path / "checkout"
    for folder, text in ((wheel, "from the wheel"), (checkout, "from the checkout")):
        folder.mkdir()
        (folder / "guessing.md").write_text(text)
    (checkout / "overfitting.md").write_text("only here")
    monkeypatch.setattr(pages, "_FOLDERS", (wheel, checkout))
    assert pages.page("guessing") == "from the wheel"
    assert pages.page("overfitting") == "only here"
    assert pages.page("../wheel/guessing") is None
    assert pages.slugs_with_pages() == ["guessing", "overfitting"]
