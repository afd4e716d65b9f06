"""`viva lab denoise`: the network, its tiles, its files, and the command."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from click.testing import CliRunner, Result
from PIL import Image, PngImagePlugin
from sklearn.datasets import load_sample_image

from vivavoce.cli import command
from vivavoce.labs.denoise import colour, pictures, png16, restore, train, weights
from vivavoce.labs.denoise.network import Denoiser
from vivavoce.labs.denoise.photos import Photos, load_folder
from vivavoce.labs.denoise.pictures import Picture
from vivavoce.labs.denoise.restore import Manner
from vivavoce.labs.lab import LabError

LARGEST_WEIGHTS = 2_000_000  # bytes in the wheel
LEVEL = 25.0


@pytest.fixture(scope="module")
def network() -> Denoiser:
    return weights.load()


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """(120, 152, 3), of low contrast so that hardly any noise is cut off at black and white."""
    part = load_sample_image("flower.jpg")[100:340, 200:504].reshape(120, 2, 152, 2, 3).mean((1, 3))
    return np.rint(70 + 0.4 * part).astype(np.uint8)


def noisy(photo: np.ndarray, level: float = LEVEL, kind: type = np.uint8) -> np.ndarray:
    scale = np.iinfo(kind).max / 255
    values = scale * (photo + level * np.random.default_rng(0).normal(size=photo.shape))
    return np.clip(np.rint(values), 0, np.iinfo(kind).max).astype(kind)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return -10 * np.log10(np.mean((a / 255 - b / 255) ** 2))


def run(*words: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(command, ["lab", "denoise", *words], prog_name="viva", input=stdin)


# the network


def test_the_shipped_weights_are_small_and_those_of_the_network() -> None:
    assert weights.SHIPPED.stat().st_size <= LARGEST_WEIGHTS
    assert sum(p.numel() for p in weights.load().parameters()) == sum(p.numel() for p in Denoiser().parameters())


def test_no_parameter_is_a_bias_so_the_answer_scales_with_the_question(network: Denoiser) -> None:
    image = torch.rand(2, 3, 16, 20, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        once, thrice = network(image, torch.full((2, 1, 1, 1), 0.1)), network(3 * image, torch.full((2, 1, 1, 1), 0.3))
    torch.testing.assert_close(thrice, 3 * once, rtol=1e-4, atol=1e-5)


def test_luma_is_grey_and_noise_stays_white() -> None:
    grey = torch.rand(1, 8, 8).expand(3, 8, 8)
    torch.testing.assert_close(colour.to_luma(grey), torch.cat([grey[:1], torch.zeros(2, 8, 8)]), atol=1e-6, rtol=0)
    image = torch.rand(3, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(colour.to_rgb(colour.to_luma(image)), image)
    basis = colour.to_luma(torch.eye(3, dtype=torch.float64)[:, :, None])[..., 0]
    torch.testing.assert_close(basis @ basis.T, colour.LEVEL_FACTOR**2 * torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize("channels", [1, 3])
def test_noise_is_removed(network: Denoiser, photo: np.ndarray, channels: int) -> None:
    truth = photo if channels == 3 else photo[..., 1:2]
    found = restore.restore(network, noisy(truth), LEVEL)
    assert psnr(found.pixels, truth) > psnr(noisy(truth), truth) + 5
    assert np.sqrt((found.removed**2).mean()) == pytest.approx(LEVEL, rel=0.2)


def test_no_pixel_changes_by_more_than_noise_could(network: Denoiser, photo: np.ndarray) -> None:
    clean = restore.restore(network, photo[..., :1], 1.0).pixels
    assert np.abs(clean.astype(int) - photo[..., :1]).max() <= 5
    assert np.array_equal(restore.restore(network, photo, 0.0).pixels, photo)


def test_a_picture_in_tiles_is_the_picture_at_once(
    network: Denoiser, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = noisy(photo, kind=np.uint16)
    whole = restore.restore(network, picture, LEVEL, Manner(exact=True))
    monkeypatch.setattr(restore, "TILE", 64)
    seen: list[float] = []
    tiled = restore.restore(network, picture, LEVEL, Manner(exact=True), advance=seen.append)
    assert np.abs(tiled.pixels.astype(int) - whole.pixels).max() <= 2
    np.testing.assert_allclose(tiled.removed, whole.removed, rtol=1e-3)
    assert len(seen) == 6
    assert sum(seen) == 120 * 152


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (2, 33), (17, 6)])
def test_any_size_is_a_picture(network: Denoiser, shape: tuple[int, int]) -> None:
    pixels = np.full((*shape, 3), 128, np.uint8)
    assert restore.restore(network, pixels, 10.0).pixels.shape == (*shape, 3)


def test_the_ensemble_is_the_mean_over_the_symmetries_of_the_square(network: Denoiser) -> None:
    image = torch.rand(1, 12, 20, generator=torch.Generator().manual_seed(1))
    expected = [
        back(restore.run(network, there(image), LEVEL, Manner(exact=True)))
        for there, back in (
            (lambda x, k=k, m=m: torch.rot90(x.flip(2) if m else x, k, (1, 2)),
             lambda x, k=k, m=m: torch.rot90(x, -k, (1, 2)).flip(2) if m else torch.rot90(x, -k, (1, 2)))
            for k in range(4) for m in (False, True)
        )
    ]  # fmt: skip
    found = restore.run(network, image, LEVEL, Manner(ensemble=True, exact=True))
    torch.testing.assert_close(found, torch.stack(expected).mean(0), atol=1e-5, rtol=0)


def test_bfloat16_is_nearly_float32_and_can_be_turned_off(
    network: Denoiser, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = torch.from_numpy(noisy(photo)[..., 0] / np.float32(255))[None]
    monkeypatch.setattr(restore, "has_fast_bfloat16", lambda: True)
    fast, exact = (restore.run(network, image, LEVEL, Manner(exact=exact)) for exact in (False, True))
    assert not torch.equal(fast, exact)
    scores = [psnr(255 * found.numpy()[0], photo[..., 0]) for found in (fast, exact)]
    assert scores[0] == pytest.approx(scores[1], abs=0.02)
    monkeypatch.setattr(restore, "has_fast_bfloat16", lambda: False)
    assert torch.equal(restore.run(network, image, LEVEL, Manner()), exact)


def test_the_level_is_estimated_from_parts_of_a_large_picture(
    photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = noisy(np.tile(photo, (3, 3, 1)), 20.0)
    whole = restore.estimate(picture)
    monkeypatch.setattr(restore, "ROWS_OF_LEVEL", 100)
    assert restore.estimate(picture) == pytest.approx(whole, abs=1.0)
    assert whole == pytest.approx(20, abs=1.5)


# files


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("bits", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("transparent", [False, True])
def test_pixels_and_alpha_survive(kind: str, bits: type, channels: int, transparent: bool) -> None:
    most = np.iinfo(bits).max
    values = np.random.default_rng(0).integers(0, most, (9, 7, 4), endpoint=True).astype(bits)
    picture = Picture(values[..., :channels], values[..., 3] if transparent else None, kind)
    found = pictures.read(pictures.write(picture, kind), "x")
    assert found.pixels.dtype == bits
    assert np.array_equal(found.pixels, picture.pixels)
    assert (found.alpha is None) == (not transparent)
    assert found.alpha is None or np.array_equal(found.alpha, values[..., 3])


@pytest.mark.parametrize("filtering", range(5))
def test_16_bit_png_of_others_is_read(filtering: int) -> None:
    """Lines written with each of the five filters of the specification; Pillow's own file for grey."""
    values = np.random.default_rng(filtering).integers(0, 65536, (6, 5, 3)).astype(np.uint16)
    data = _png_with_filter(values, filtering)
    assert np.array_equal(png16.decode(data).pixels, values)
    grey = io.BytesIO()
    Image.fromarray(values[..., 0]).save(grey, "PNG")
    assert np.array_equal(pictures.read(grey.getvalue(), "x").pixels[..., 0], values[..., 0])


def _png_with_filter(values: np.ndarray, kind: int) -> bytes:
    import struct
    import zlib

    flat = values.astype(">u2").view(np.uint8).reshape(len(values), -1).astype(int)
    left = np.pad(flat, ((0, 0), (6, 0)))[:, :-6]
    up = np.pad(flat, ((1, 0), (0, 0)))[:-1]
    corner = np.pad(flat, ((1, 0), (6, 0)))[:-1, :-6]
    guess = left + up - corner
    order = np.stack([left, up, corner])
    nearest = np.take_along_axis(order, np.abs(order - guess).argmin(0)[None], 0)[0]
    predicted = [0 * flat, left, up, (left + up) // 2, nearest][kind]
    lines = np.concatenate([np.full((len(flat), 1), kind), flat - predicted], 1) % 256
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines.astype(np.uint8).tobytes())), (b"IEND", b"")]
    return png16.SIGNATURE + b"".join(
        struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks
    )


def test_metadata_of_8_bit_files_is_kept(photo: np.ndarray) -> None:
    exif = Image.Exif()
    exif[271] = "a camera"
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "a flower")
    for kind, options in (("PNG", {"pnginfo": text}), ("JPEG", {"comment": b"hello"}), ("TIFF", {})):
        stream = io.BytesIO()
        Image.fromarray(photo).save(stream, kind, exif=exif, dpi=(300, 300), icc_profile=b"profile", **options)
        written = Image.open(io.BytesIO(pictures.write(pictures.read(stream.getvalue(), "x"), kind)))
        assert written.getexif()[271] == "a camera"
        assert written.info["icc_profile"] == b"profile"
        assert written.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        assert kind != "PNG" or written.text["Title"] == "a flower"
        assert kind != "JPEG" or written.info["comment"] == b"hello"


def test_metadata_of_16_bit_files_is_kept() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (20, 20, 3)).astype(np.uint16)
    chunks = ((b"iCCP", b"p\0\0x"), (b"tEXt", b"Title\0a flower"))
    found = pictures.read(png16.encode(png16.Png16(values, chunks)), "x")
    assert png16.decode(pictures.write(found, "PNG")).chunks == chunks
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, photometric="rgb", description="a flower", metadata=None, iccprofile=b"profile",
                     resolution=(300, 300), resolutionunit=2, extratags=[(271, "s", 0, "a camera", True)])  # fmt: skip
    written = pictures.write(pictures.read(stream.getvalue(), "x"), "TIFF")
    with tifffile.TiffFile(io.BytesIO(written)) as file:
        page = file.pages[0]
        assert page.description == "a flower"
        assert page.tags["Make"].value == "a camera"
        assert page.tags["InterColorProfile"].value == b"profile"
        assert page.tags["XResolution"].value == (300, 1)


def _bytes(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"hello", "is no picture"),
        (_bytes(Image.new("RGB", (20, 20)), "GIF"), "not a GIF"),
        (_bytes(Image.new("CMYK", (20, 20)), "JPEG"), "not CMYK"),
        (_bytes(Image.effect_noise((90, 90), 40), "PNG")[:900], "cannot be read"),
        (
            _bytes(Image.new("RGB", (20, 20)), "TIFF", save_all=True, append_images=[Image.new("RGB", (9, 9))]),
            "holds 2",
        ),
        (png16.encode(png16.Png16(np.zeros((9, 9, 3), np.uint16), ()))[:70], "damaged"),
    ],
)
def test_what_is_no_such_picture_is_one_line(data: bytes, message: str) -> None:
    with pytest.raises(LabError, match=message) as caught:
        pictures.read(data, "x.png")
    assert str(caught.value).startswith("x.png: ")
    assert "\n" not in str(caught.value)


# the command


def test_a_file_is_restored_and_said_so(tmp_path: Path, photo: np.ndarray) -> None:
    Image.fromarray(noisy(photo)).save(tmp_path / "photo.png")
    result = run(str(tmp_path / "photo.png"), "--page", str(tmp_path / "p.html"), "--json", str(tmp_path / "r.json"))
    assert result.exit_code == 0, result.stderr
    clean = np.asarray(Image.open(tmp_path / "photo-denoised.png"))
    assert psnr(clean, photo) > psnr(noisy(photo), photo) + 5
    found = json.loads((tmp_path / "r.json").read_text())["data"]["pictures"][0]
    assert found["noise"] == pytest.approx(LEVEL, abs=2)
    assert np.shape(found["map"]) == (4, 5)
    assert "noise (of 255)" in (tmp_path / "p.html").read_text()


def test_a_folder_is_restored_and_what_fails_is_left_out(tmp_path: Path, photo: np.ndarray) -> None:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.png", "deep/b.jpg", "deep/c.tif"):
        Image.fromarray(noisy(photo)).save(folder / name)
    (folder / "d.png").write_text("no picture")
    (folder / "notes.txt").write_text("no picture either")
    result = run(str(folder), "-o", str(tmp_path / "out"), "--noise", "25")
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.*")) == ["a.png", "b.jpg", "c.tif"]
    assert "d.png:isnopicture" in "".join(result.stdout.split()), "the name may be broken over two lines"
    again = run(str(folder), "-o", str(tmp_path / "out"))
    assert again.exit_code == 2
    assert "--force" in again.stderr


def test_a_stream_is_restored(photo: np.ndarray, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("-", "--noise", "25", stdin=_bytes(Image.fromarray(noisy(photo)), "PNG"))
    assert result.exit_code == 0, result.stderr
    clean = np.asarray(Image.open(io.BytesIO(result.stdout_bytes)))
    assert psnr(clean, photo) > psnr(noisy(photo), photo) + 5
    assert "What was found" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("photo.pgn",), "did you mean 'photo.png'?"),
        (("photo.png", "-o", "clean.bmp"), "ends in .png"),
        (("photo.png", "-o", "nowhere/clean.png"), "there is no folder nowhere"),
        (("photo.png", "-o", "photo.png"), "exists"),
        (("photo.png", "--noise", "much"), "auto or a number from 0 to 55"),
        (("photo.png", "--noise", "56"), "auto or a number from 0 to 55"),
        (("empty.png",), "is empty"),
        (("tiny.png",), "16×16"),
        (("alpha.png", "-o", "clean.jpg"), "no transparency"),
        (("folder",), "holds no picture"),
        (("folder", "-o", "-"), "takes one picture"),
        (("-o", "clean.png"), "without an INPUT"),
        (("photo.png", "-o", "-", "--json", "-"), "only one"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(
    words: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("L", (20, 20)).save("photo.png")
    Image.new("LA", (20, 20)).save("alpha.png")
    Image.new("L", (10, 10)).save("tiny.png")
    Path("empty.png").touch()
    Path("folder").mkdir()
    result = run(*words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.split("Error:")[1].strip().splitlines()) == 1


# the training


def test_grey_and_coloured_patches_have_the_noise_they_say() -> None:
    rgb = torch.full((2, 3, 64, 64), 0.5)
    batch = train.noisy_batch(
        rgb, torch.tensor([True, False]), torch.tensor([0.1, 0.1]), torch.Generator().manual_seed(0)
    )
    noise = batch.noisy - batch.clean
    assert noise[0, 0].std().item() == pytest.approx(0.1, rel=0.05)
    assert not noise[0, 1:].any()
    assert colour.to_rgb(noise[1]).std((1, 2)).tolist() == pytest.approx([0.1] * 3, rel=0.05)
    torch.testing.assert_close(batch.level.flatten(), torch.tensor([0.1, 0.1 * 3**-0.5]))


def test_patches_are_turned_parts_of_the_photographs() -> None:
    image = np.arange(8 * 9 * 3, dtype=np.uint8).reshape(8, 9, 3)
    found = Photos([image]).patches(20, 4, torch.Generator().manual_seed(0))
    parts = {
        turned.tobytes()
        for y in range(5) for x in range(6) for k in range(4)
        for turned in (np.rot90(image[y : y + 4, x : x + 4], k), np.rot90(image[y : y + 4, x : x + 4], k)[:, ::-1])
    }  # fmt: skip
    assert all((255 * patch).round().byte().permute(1, 2, 0).numpy().tobytes() in parts for patch in found)


def test_large_photographs_are_shrunk(tmp_path: Path) -> None:
    Image.new("RGB", (3300, 300)).save(tmp_path / "wide.png")
    Image.new("L", (60, 50)).save(tmp_path / "small.jpg")
    assert [image.shape for image in load_folder([str(tmp_path)]).images] == [(50, 60, 3), (60, 660, 3)]


def test_patches_show_detail_where_a_photograph_has_it() -> None:
    image = np.full((300, 300, 3), 128, np.uint8)
    image[:150] = np.random.default_rng(0).integers(256, size=(150, 300, 3), dtype=np.uint8)
    found = Photos([image]).patches(200, 16, torch.Generator().manual_seed(0))
    busy = (found.std((1, 2, 3)) > 0.05).float().mean().item()
    assert busy == pytest.approx(0.75, abs=0.1)  # 1 - 1/2 * 1/2: either of the two that were drawn
    softened = ((found.std((1, 2, 3)) > 0.05) & (found.std((1, 2, 3)) < 0.25)).float().mean().item()
    assert softened > 0.2  # cut from the photograph in a smaller size, where noise is averaged


def test_the_losses_count_only_the_channels_that_a_patch_has() -> None:
    clean = torch.zeros(2, 3, 4, 4)
    counts = torch.tensor([[1.0, 0, 0], [1, 1, 1]])[:, :, None, None]
    batch = train.Batch(clean, clean, torch.tensor([0.1, 0.2])[:, None, None, None], counts)
    found = torch.full_like(clean, 0.3)
    found[1] = 0.2  # the first patch is wrong by 0.3 in its one channel, the second by 0.2 in all three
    assert train.absolute(found, batch).item() == pytest.approx((0.3 + 3 * 0.2) / 4)
    low = 5 / 255
    assert train.squared(found, batch).item() == pytest.approx((0.09 / (0.1 + low) + 0.04 / (0.2 + low)) / 2)
    psnr = [-10 * np.log10(error) for error in (0.09, 0.04)]
    assert train.decibels(found, batch).item() == pytest.approx(-np.mean(psnr) * np.log(10) / 10, rel=1e-3)


def test_the_schedule_rises_and_falls() -> None:
    shares = [train.schedule(step, step / 1000) for step in range(1001)]
    assert np.argmax(shares) == pytest.approx(train.WARM_UP, abs=1)
    assert shares[0] < 0.01
    assert shares[-1] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "nowhere: there is no such file or folder"),
        ([".", "--minutes", "0"], "--minutes 0.0: a number above 0 is expected"),
        ([".", "--batch", "-1"], "--batch -1: a number above 0 is expected"),
        ([".", "--patch", "130"], "--patch 130: a multiple of 4 up to 128 is expected"),
        ([".", "--from", "none.safetensors"], "none.safetensors: there is no such file or folder"),
        ([".", "--device", "abacus"], "--device abacus: "),
        (["."], "0 photographs: 2 or more are expected"),
    ],
)
def test_bad_arguments_of_the_training(words, said, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        train.main([*words, "--work", "work"])
    assert left.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


def test_photographs_that_are_smaller_than_a_patch(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for index in range(2):
        Image.new("RGB", (70, 50)).save(f"{index}.png")
    with pytest.raises(SystemExit):
        train.main([".", "--work", "work"])
    assert "a photograph of 50 pixels on one side: 64 are expected (--patch)" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


def test_the_centre_of_a_small_photograph_is_what_there_is() -> None:
    image = np.arange(50 * 71 * 3, dtype=np.uint8).reshape(50, 71, 3)
    (found,) = Photos([image]).centres(192)
    assert found.shape == (3, 48, 48)
    np.testing.assert_array_equal((255 * found).round().byte().permute(1, 2, 0).numpy(), image[1:49, 11:59])


def test_a_training_that_was_stopped_goes_on_as_if_it_had_not_been(
    tmp_path: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "CHECKPOINT_STEPS", 1)
    monkeypatch.setattr(train, "VALIDATION_CROP", 64)
    (tmp_path / "photos").mkdir()
    for index in range(2):
        Image.fromarray(photo[index:]).save(tmp_path / "photos" / f"{index}.png")
    real = train.Training.save

    def stop_after_the_first(training: train.Training, path: Path) -> None:
        real(training, path)
        if training.step == 1 and path.parent.name == "stopped":
            raise KeyboardInterrupt

    monkeypatch.setattr(train.Training, "save", stop_after_the_first)
    words = [str(tmp_path / "photos"), "--steps", "2", "--batch", "1", "--device", "cpu", "--threads", "1", "--work"]
    assert train.main([*words, str(tmp_path / "whole")]) == 0
    with pytest.raises(KeyboardInterrupt):
        train.main([*words, str(tmp_path / "stopped")])
    assert train.main([*words, str(tmp_path / "stopped")]) == 0
    first, second = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "stopped"))
    assert first == second
    assert train.main([*words, str(tmp_path / "on"), "--from", str(tmp_path / "whole" / "weights.safetensors")]) == 0
