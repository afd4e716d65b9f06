import io
import os
import pty
import re

import pytest

from tests.report.samples import EXPLODING, HOSTILE, NOTE, SECOND, exploding_run, hostile_report_and_run, report_of
from vivavoce.report import text

ESCAPE = "\x1b"


def card(report, width=100):
    stream = io.StringIO()
    text.write_card(report, stream, width)
    return stream.getvalue()


def page(report, width=100):
    stream = io.StringIO()
    text.write(report, stream, width)
    return stream.getvalue()


def test_the_card_has_its_parts_in_order():
    lines = card(report_of(EXPLODING, path="run.db")).splitlines()
    assert lines[0] == "viva ▸ exploding-gradients   critical   confidence 0.97   question 5"
    labels = [match[1] for line in lines if (match := re.match(r"  (\w+) ", line))]
    assert labels == ["why", "where", "hence", "not", "try", "next"]
    assert "rnn.weight_hh_l0, steps 210–274, /home/me/train.py:57" in card(report_of(EXPLODING))
    assert lines[-1] == "viva ▸ 300 steps, overhead 1.4 % of 2 % allowed, recorded in run.db"


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_lines_fit_the_width_and_hang_under_their_first_word(width):
    written = card(report_of(EXPLODING), width)
    assert max(map(len, written.splitlines())) <= width
    why = written[written.index("  why") : written.index("  where")].splitlines()
    assert all(line.startswith(" " * 9) and line[9] != " " for line in why[1:])


def test_the_verdict_without_findings_says_why():
    assert "viva ▸ healthy   Nothing found." in card(report_of(outcome="healthy", reason="Nothing found."))
    assert "viva ▸ unknown   Too few." in card(report_of(outcome="unknown", reason="Too few."))
    assert "viva ▸ no training seen   None." in card(report_of(outcome="no-training", reason="None."))


def test_a_healthy_run_shows_its_notes_under_the_verdict():
    lines = card(report_of(NOTE, outcome="healthy", reason="Nothing grave.")).splitlines()
    assert lines[0].startswith("viva ▸ healthy")
    assert any(line.startswith("viva ▸ stopped-too-early   note") for line in lines)


def test_three_findings_in_full_and_the_others_on_a_line():
    findings = (EXPLODING, SECOND, SECOND.with_(slug="guessing"), SECOND.with_(slug="underfitting"))
    written = card(report_of(*findings))
    assert written.count("  why ") == 3
    assert "viva ▸ underfitting   warning   It learns by heart" in written


def test_long_edits_are_cut_on_the_card_and_whole_on_the_page():
    remedy = EXPLODING.remedies[0].__class__("long", "many lines", "\n".join(f"line{i}" for i in range(9)))
    report = report_of(EXPLODING.with_(remedies=(remedy,)))
    assert "line4" not in card(report)
    assert "…" in card(report)
    assert "line8" in page(report)


def test_the_page_adds_evidence_metrics_and_the_run():
    written = page(report_of(EXPLODING))
    assert "growth: 1.1 per step, held against 1.02 per step (closed form)" in written
    assert "loss at the end: NaN" in written
    assert re.search(r"validation loss +1\.5 → 1\.2 \(best 1\.2 at step 199\)", written)
    assert re.search(r"optimizer +SGD, learning rate 0\.01, made at /home/me/train\.py:41", written)


def test_a_run_that_goes_on_says_so():
    report = report_of(EXPLODING, run=exploding_run(finished=None, pid=os.getpid()))
    assert "still running" in page(report)
    assert "300 steps so far" in card(report)


def test_a_pipe_gets_no_colours_even_if_markup_is_in_the_text():
    finding = EXPLODING.with_(why="[bold red]brackets[/] :smile: stay")
    written = card(report_of(finding))
    assert ESCAPE not in written
    assert "[bold red]brackets[/] :smile: stay" in written


def test_control_characters_of_the_run_do_not_reach_the_terminal():
    assert "\x1b" in HOSTILE
    assert ESCAPE not in page(hostile_report_and_run()[0])


def written_to_terminal(report):
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w", encoding="utf-8") as stream:
        text.write_card(report, stream, 80)
        written = os.read(leader, 1 << 16).decode()
    os.close(leader)
    return written


def test_a_terminal_gets_colours_unless_no_color_is_set(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    report = report_of(NOTE.with_(remedies=()), outcome="healthy", reason="Fine.")
    assert "\x1b[1;32m" in written_to_terminal(report)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[\d;]*3[0-7]m", written_to_terminal(report))


def test_a_stream_that_knows_only_ascii_still_gets_the_card():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    text.write_card(report_of(EXPLODING), stream, 100)
    stream.flush()
    assert raw.getvalue().startswith(b"viva > exploding-gradients")
    assert b"steps 210-274" in raw.getvalue()
