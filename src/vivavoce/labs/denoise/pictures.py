"""Pictures in files and streams: PNG, JPEG and TIFF, 8 and 16 bits, grey and colour, with their alpha and metadata."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from vivavoce.labs.denoise import png16
from vivavoce.labs.denoise.restore import Pixels
from vivavoce.labs.lab import LabError, require

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF"}
JPEG_QUALITY = 95
GREY_MODES = {"1": "L", "L": "L", "LA": "LA", "I;16": "I;16", "I;16B": "I;16", "I;16L": "I;16", "I": "I"}
COLOUR_MODES = {"RGB": "RGB", "RGBA": "RGBA", "P": "", "PA": "RGBA", "YCbCr": "RGB"}
TIFF_TAGS_KEPT = (270, 271, 272, 305, 306, 315, 33432)  # description, make, model, software, date, artist, copyright


@dataclass(frozen=True)
class Picture:
    """`pixels` (H, W, 1 or 3), uint8 or uint16; `alpha` (H, W) in the same range; `format` as Pillow names it."""

    pixels: Pixels
    alpha: Pixels | None
    format: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    chunks: tuple[tuple[bytes, bytes], ...] = ()  # of a PNG with 16 bits

    def with_pixels(self, pixels: Pixels) -> Picture:
        """The same picture with other colours."""
        return replace(self, pixels=pixels)


def read(data: bytes, name: str) -> Picture:
    """The picture in the bytes of a file. `name` is for messages. Raises LabError for what is no such picture."""
    try:
        if png16.is_png16(data):
            return _from_png16(png16.decode(data))
        if _is_deep_tiff(data):
            return _from_deep_tiff(data)
        return _from_pillow(data)
    except LabError as error:
        raise LabError(f"{name}: {error}") from None


def write(picture: Picture, kind: str) -> bytes:
    """The bytes of a file of the format `kind`. Raises LabError where it cannot hold the picture."""
    _check(picture, kind)
    if picture.pixels.dtype == np.uint16 and kind == "PNG":
        return png16.encode(png16.Png16(_together(picture).astype(np.uint16), picture.chunks))
    if picture.pixels.dtype == np.uint16:
        return _deep_tiff(picture)
    stream = io.BytesIO()
    image = require("PIL.Image").fromarray(
        _together(picture).squeeze(2) if _is_plain_grey(picture) else _together(picture)
    )
    image.save(stream, kind, **_options(picture, kind))
    return stream.getvalue()


def _check(picture: Picture, kind: str) -> None:
    if kind == "JPEG" and picture.alpha is not None:
        raise LabError("a JPEG holds no transparency: write a PNG or TIFF")
    if kind == "JPEG" and picture.pixels.dtype == np.uint16:
        raise LabError("a JPEG holds 8 bits a channel, the picture has 16: write a PNG or TIFF")


def _is_plain_grey(picture: Picture) -> bool:
    return picture.pixels.shape[2] == 1 and picture.alpha is None


def _together(picture: Picture) -> Pixels:
    """Colours and alpha in one array (H, W, 1 to 4)."""
    if picture.alpha is None:
        return picture.pixels
    joined: Pixels = np.concatenate([picture.pixels, picture.alpha[..., None]], axis=2)
    return joined


def _apart(pixels: Pixels) -> tuple[Pixels, Pixels | None]:
    channels = pixels.shape[2]
    return (pixels, None) if channels % 2 else (pixels[..., :-1], pixels[..., -1])


def _from_png16(found: png16.Png16) -> Picture:
    pixels, alpha = _apart(found.pixels)
    return Picture(pixels, alpha, "PNG", chunks=found.chunks)


def _from_pillow(data: bytes) -> Picture:
    pillow: Any = require("PIL.Image")
    pillow.MAX_IMAGE_PIXELS = None  # a picture of 100 megapixels is no attack here: the user named it
    try:
        image = pillow.open(io.BytesIO(data))
        if image.format not in set(FORMATS.values()):
            raise LabError(f"a PNG, JPEG or TIFF is expected, not a {image.format}")
        if getattr(image, "n_frames", 1) > 1:
            raise LabError(f"one picture is expected, the file holds {image.n_frames}")
        pixels = np.asarray(_converted(image))
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, LabError):
            raise
        problem = "is no picture" if "cannot identify" in str(error) else f"cannot be read: {error}"
        raise LabError(f"{problem} (a PNG, JPEG or TIFF is expected)") from None
    colours, alpha = _apart(pixels.reshape(*pixels.shape[:2], -1))
    return Picture(colours, alpha, image.format, _metadata(image))


def _converted(image: Any) -> Any:
    """The image with a mode of our kinds: grey or colour, with or without alpha."""
    mode = {**GREY_MODES, **COLOUR_MODES}.get(image.mode)
    if mode is None:
        raise LabError(f"grey or RGB pixels are expected, not {image.mode}: convert the picture first")
    if image.mode == "P":
        mode = "RGBA" if "transparency" in image.info else "RGB"
    if mode == "I":
        return _deep_grey(image)
    return image if image.mode == mode else image.convert(mode)


def _deep_grey(image: Any) -> Any:
    values = np.asarray(image)
    if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
        raise LabError("8 or 16 bits a channel are expected, not 32")
    return values.astype(np.uint16)


def _metadata(image: Any) -> dict[str, Any]:
    """What Pillow's `save` takes to write the same metadata again."""
    kept = {key: image.info[key] for key in ("icc_profile", "exif", "dpi") if image.info.get(key)}
    if image.format == "PNG":
        kept["text"] = dict(getattr(image, "text", {}))
    if image.format == "JPEG" and image.info.get("comment"):
        kept["comment"] = image.info["comment"]
    if image.format == "TIFF":
        kept["tags"] = {tag: image.tag_v2[tag] for tag in TIFF_TAGS_KEPT if tag in image.tag_v2}
    return kept


def _options(picture: Picture, kind: str) -> dict[str, Any]:
    """The arguments of `save`: the metadata, as far as the format holds it, and a quality that adds no noise."""
    given = dict(picture.metadata)
    text, tags = given.pop("text", {}), given.pop("tags", {})
    if kind != "JPEG":
        given.pop("comment", None)
    if kind == "JPEG":
        given |= {"quality": JPEG_QUALITY, "subsampling": 0}
    if kind == "PNG" and text:
        given["pnginfo"] = _text_chunks(text)
    if kind == "TIFF":
        given |= {"compression": "tiff_deflate", "tiffinfo": tags} if tags else {"compression": "tiff_deflate"}
    return given


def _text_chunks(text: Mapping[str, str]) -> Any:
    info = require("PIL.PngImagePlugin").PngInfo()
    for key, value in text.items():
        info.add_itxt(key, value)
    return info


def _is_deep_tiff(data: bytes) -> bool:
    """A TIFF that Pillow cannot open with all its bits: 16 a channel, in more than one channel."""
    if data[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return False
    try:
        with require("tifffile").TiffFile(io.BytesIO(data)) as file:
            page = file.pages[0]
            return bool(page.bitspersample == 16)
    except (ValueError, IndexError, KeyError):
        return False


def _from_deep_tiff(data: bytes) -> Picture:
    try:
        with require("tifffile").TiffFile(io.BytesIO(data)) as file:
            page = file.pages[0]
            if len(file.pages) > 1:
                raise LabError(f"one picture is expected, the file holds {len(file.pages)}")
            values, planar = page.asarray(), int(page.planarconfig) == 2
            metadata = {"tifffile": _deep_tags(page)}
    except (ValueError, IndexError, KeyError) as error:
        if isinstance(error, LabError):
            raise
        raise LabError(f"cannot be read: {error}") from None
    if values.dtype != np.uint16:
        raise LabError(f"whole numbers of 8 or 16 bits are expected, not {values.dtype}")
    values = np.moveaxis(values, 0, -1) if planar and values.ndim == 3 else values
    values = values.reshape(*values.shape[:2], -1)
    if values.shape[2] > 4:
        raise LabError(f"grey or RGB pixels are expected, not {values.shape[2]} channels")
    pixels, alpha = _apart(np.ascontiguousarray(values))
    return Picture(pixels, alpha, "TIFF", metadata)


def _deep_tags(page: Any) -> dict[str, Any]:
    """What tifffile's writer takes to write the same metadata again."""
    tags: dict[str, Any] = {}
    if page.description:
        tags["description"] = page.description
    if "InterColorProfile" in page.tags:
        tags["iccprofile"] = bytes(page.tags["InterColorProfile"].value)
    if "XResolution" in page.tags and "YResolution" in page.tags:
        pairs = [page.tags[name].value for name in ("XResolution", "YResolution")]
        tags["resolution"] = tuple(above / below for above, below in pairs)
        tags["resolutionunit"] = int(page.tags["ResolutionUnit"].value) if "ResolutionUnit" in page.tags else 2
    extra = [(tag, page.tags[tag].value) for tag in TIFF_TAGS_KEPT if tag != 270 and tag in page.tags]
    tags["extratags"] = [(tag, "s", 0, value, True) for tag, value in extra if isinstance(value, str) and tag != 305]
    return tags


def _deep_tiff(picture: Picture) -> bytes:
    stream = io.BytesIO()
    values = _together(picture)
    require("tifffile").imwrite(
        stream,
        values.squeeze(2) if values.shape[2] == 1 else values,
        photometric="minisblack" if picture.pixels.shape[2] == 1 else "rgb",
        extrasamples=None if picture.alpha is None else ["unassalpha"],
        planarconfig=None if values.shape[2] == 1 else "contig",
        compression="zlib",
        predictor=True,
        metadata=None,
        **picture.metadata.get("tifffile", {}),
    )
    return stream.getvalue()
