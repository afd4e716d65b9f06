"""The lab on known truth, on sounds of every width, and on series."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from scipy.io import wavfile

from vivavoce.cli import command
from vivavoce.labs.fourier import Fourier
from vivavoce.labs.lab import Context
from vivavoce.labs.wav import open_sound

Call = Callable[..., Result]
RATE = 8_000


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(command, ["lab", "fourier", *arguments], prog_name="viva")


def as_json(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def tone(frequency: float = 440.0, seconds: float = 1.0) -> NDArray[np.float64]:
    noise = 0.01 * np.random.default_rng(0).standard_normal(round(RATE * seconds))
    t = np.arange(len(noise)) / RATE
    return np.asarray(0.5 * np.cos(2 * np.pi * frequency * t + 0.3) + noise)


def series(header: str, rows: list[str], name: str = "series.csv") -> str:
    Path(name).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return name


def test_every_claim_is_proved() -> None:
    before = torch.random.get_rng_state()
    result = Fourier().run(None, Context(quick=True))
    assert torch.equal(before, torch.random.get_rng_state())
    assert [claim.claim for claim in result.claims if claim.outcome == "does not hold"] == []
    assert len(result.claims) >= 12
    keys = {figure.key for figure in result.figures}
    assert keys >= {"bound", "order-loss", "order-spectrum", "learned-raw", "learned-features"}


def kinds() -> list[tuple[str, Any]]:
    x = np.stack([tone(), 0.5 * tone(1_000.0)], axis=1)
    return [
        ("uint8", np.round(x * 127 + 128).astype(np.uint8)),
        ("int16", np.round(x * 32767).astype(np.int16)),
        ("int32", np.round(x * 2147483647).astype(np.int32)),
        ("float32", x.astype(np.float32)),
        ("float64", x),
    ]


@pytest.mark.parametrize(("kind", "samples"), kinds(), ids=[kind for kind, _ in kinds()])
def test_sounds_of_every_width_are_read(call: Call, kind: str, samples: Any) -> None:
    wavfile.write("tone.wav", RATE, samples)
    data = as_json(call("tone.wav", "--channel", "1", "--json", "-"))["data"]
    (cycle,) = data["cycles"]
    low, high = cycle["frequency_interval"]
    assert low - 0.01 < 440 < high + 0.01
    assert cycle["amplitude"] == pytest.approx(0.5, abs=0.005)
    assert cycle["phase"] == pytest.approx(0.3, abs=0.01)


def test_24_bits_equal_scipy(tmp_path: Path) -> None:
    values = np.array([0, 1, -1, 2**23 - 1, -(2**23), 123456, -654321, 7], dtype="<i4")
    raw = values.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    form = struct.pack("<HHIIHHH", 0xFFFE, 2, RATE, RATE * 6, 6, 24, 22) + struct.pack("<HI", 24, 0)
    form += struct.pack("<H", 1) + b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"
    body = (
        b"WAVEfmt "
        + struct.pack("<I", len(form))
        + form
        + b"LIST\x03\0\0\0abc\0data"
        + struct.pack("<I", len(raw))
        + raw
    )
    path = tmp_path / "wide.wav"
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    ours = np.concatenate(list(open_sound(str(path)).blocks()))
    np.testing.assert_array_equal(ours.ravel() * 2**23, values)
    theirs = wavfile.read(path)[1]  # 24 bits in the upper bytes of 32
    np.testing.assert_array_equal(ours * 2.0**31, theirs)


def test_channels_are_averaged_unless_one_is_chosen(call: Call) -> None:
    x = np.stack([tone(440.0), tone(1_000.0)], axis=1)
    wavfile.write("two.wav", RATE, x)
    found = as_json(call("two.wav", "--json", "-"))
    assert sorted(round(c["frequency"]) for c in found["data"]["cycles"]) == [440, 1000]
    assert "2 channels: the mean of all" in found["notes"][-1]
    assert "--channel is 'mean' or a number from 1 to 2" in call("two.wav", "--channel", "3").stderr
    assert "--rate is for series" in call("two.wav", "--rate", "3").stderr


def test_an_excerpt_is_taken(call: Call) -> None:
    wavfile.write("two.wav", RATE, np.concatenate([tone(440.0), tone(1_000.0)]))
    found = as_json(call("two.wav", "--start", "1", "--length", "0.5", "--json", "-"))
    assert [round(c["frequency"]) for c in found["data"]["cycles"]] == [1000]
    assert "4,000 of 16,000 samples, from 1 s on" in found["notes"][0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no WAV file"),
        (b"ID3 an mp3 with another name", "is no WAV file"),
        (b"RIFF\0\0\0\0WAVE", "no description of its samples"),
        (b"RIFF\0\0\0\0WAVEfmt \x04\0\0\0abcd", "description has 4 bytes"),
        (b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 1, 1, 8000, 0, 2, 16), "it has no samples"),
        (b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 6, 1, 8000, 0, 1, 8), "kind 6 with 8 bits"),
        (b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 1, 0, 8000, 0, 0, 16), "0 channels"),
        (b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 1, 1, 8000, 0, 2, 16) + b"data\0\0\0\0", "holds no samples"),
    ],
)  # fmt: skip
def test_bad_sounds_are_one_line_and_exit_2(call: Call, content: bytes, message: str) -> None:
    Path("s.wav").write_bytes(content)
    result = call("s.wav")
    assert result.exit_code == 2
    assert message in result.stderr


def test_silence_and_nan_in_a_sound(call: Call) -> None:
    wavfile.write("s.wav", RATE, np.zeros(1_000, np.int16))
    assert "s.wav is constant: every sample is 0" in call("s.wav").stderr
    wavfile.write("s.wav", RATE, np.full(1_000, np.nan, np.float32))
    assert "not finite" in call("s.wav").stderr


def test_a_cut_off_sound_is_read_as_far_as_it_goes(call: Call) -> None:
    wavfile.write("s.wav", RATE, (tone() * 32767).astype(np.int16))
    Path("s.wav").write_bytes(Path("s.wav").read_bytes()[:9_001])
    assert as_json(call("s.wav", "--json", "-"))["data"]["samples"] == (9_001 - 44) // 2


def test_months_with_gaps(call: Call) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for month in range(360):
        value = 3 * np.cos(2 * np.pi * month / 12 + 0.5) + 0.1 * month + 0.2 * rng.standard_normal()
        if month not in (50, 51):
            rows.append(f"{1990 + month // 12}-{month % 12 + 1:02d}-01,{'' if month in (5, 99) else f'{value:.3f}'},x")
    found = as_json(call(series("date,ppm,site", rows), "--json", "-"))
    (cycle,) = found["data"]["cycles"]
    low, high = cycle["frequency_interval"]
    assert low < 1 / 365.2425 < high
    assert found["data"]["unit"] == "day"
    assert "4 samples are missing" in found["notes"][0]


def test_a_rate_makes_hertz_and_the_strongest_rebuild(call: Call) -> None:
    x = np.cos(2 * np.pi * 5 * np.arange(200) / 100) + 2
    file = series("value", [repr(float(v)) for v in x])
    data = as_json(call(file, "--rate", "100", "--strongest", "1", "--json", "-"))["data"]
    assert data["cycles"][0]["frequency"] == pytest.approx(5.0)
    assert data["strongest"]["share"] == pytest.approx(1.0)
    np.testing.assert_allclose(data["strongest"]["signal"], x, atol=1e-9)


def test_the_averaged_spectrum_covers_the_whole_file(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vivavoce.labs.fourier_file.MOST_SAMPLES", 1_000)
    x = np.sin(2 * np.pi * 0.1 * np.arange(20_000)) * (np.arange(20_000) > 10_000)
    x += 0.1 * np.random.default_rng(0).standard_normal(20_000)
    found = as_json(call(series("value", [f"{v:.5f}" for v in x]), "--json", "-"))
    assert found["data"]["cycles"] == []  # the excerpt is noise
    (density,) = [figure for figure in found["figures"] if figure["key"] == "density"]
    line = density["lines"][0]
    assert line["x"][int(np.argmax(line["y"]))] == pytest.approx(0.1, abs=0.001)


@pytest.mark.parametrize(
    ("header", "rows", "arguments", "message"),
    [
        ("value", ["1"] * 40, [], "is constant: every sample is 1"),
        ("value", ["1", "2"] * 5, [], "has 10 samples to work with; at least 16"),
        ("value", [], [], "has no rows of values"),
        ("value", ["1"] * 20 + ["x"], [], "row 22: value must be a finite number, not 'x'"),
        ("a,b", ["x,1"] * 20 + ["x,inf"], [], "row 22: b must be a finite number, not 'inf'"),
        ("a,b", ["x,1"] * 20 + ["x,-1e300"], [], "row 22: b is -1e300, beyond"),
        ("value", ["x"] * 20 + ["1"], [], "no column of numbers"),
        ("a,b", ["1,2"] * 30, [], "2 columns of numbers (a, b); name one with --column"),
        ("valeu,b", ["1,2"] * 30, ["--column", "value"], "no column 'value'; did you mean 'valeu'?"),
        ("time,value", [f"{n},1" for n in (0, 1, 1, *range(3, 30))], [], "row 4: time must rise"),
        ("time,value", [f"{n * n},1" for n in range(30)], [], "not evenly spaced"),
        ("time,value", [f"day {n},1" for n in range(30)], [], "row 2: time must be a number or a date"),
        ("value", [str(n % 7) for n in range(50)], ["--rate", "0"], "--rate must be positive"),
        ("value", [str(n % 7) for n in range(50)], ["--start", "-1"], "--start must not be negative"),
        ("value", [str(n % 7) for n in range(50)], ["--start", "60"], "has 0 samples"),
        ("value", [str(n % 7) for n in range(50)], ["--cycles", "-1"], "must not be negative"),
        ("value", ["nan"] * 40, [], "no column of numbers"),
    ],
)
def test_bad_series_are_one_line_and_exit_2(
    call: Call, header: str, rows: list[str], arguments: list[str], message: str
) -> None:
    result = call(series(header, rows), *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr


def test_noise_has_no_cycle_and_the_page_says_so(call: Call) -> None:
    rows = [f"{v:.4f}" for v in np.random.default_rng(1).standard_normal(500)]
    found = as_json(call(series("value", rows), "--json", "-"))
    assert "no cycle stands out" in found["answer"]
    assert found["claims"][0]["outcome"] == "does not hold"
    page = Path(".viva/labs/fourier.html").read_text(encoding="utf-8")
    assert "Spectrogram" in page
    assert "data:image/png" in page
