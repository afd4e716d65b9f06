"""What came of a game, to be looked at: losses and scores, samples as they grew, a sheet of samples, ways between them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vivavoce.labs.figures import Figure, Floats, Line, Pixels, XYPlot
from vivavoce.labs.gan_game import Diary, Match
from vivavoce.labs.gan_worlds import World, as_bytes
from vivavoce.labs.pictures import enlarged, tiled

Bytes = NDArray[np.uint8]

TILE = 112  # pixels a side of a scatter plot of points
REAL_COLOUR, MADE_COLOUR = (150, 154, 160, 150), (0, 114, 178, 255)  # grey; Okabe and Ito's blue
SHEET = 8  # samples a side
GROWN = 6  # samples whose growth is shown
WAYS, PLACES = 5, 9  # ways between two samples, and places on each
WIDEST = 640  # pixels that small pictures are enlarged to, about
POINTS = 1_500  # points in a scatter plot


def course(diary: Diary, key: str, title: str) -> list[Figure]:
    """Both losses and D's scores of real and made examples over the steps."""
    steps = diary.column("step")
    losses = XYPlot(
        f"{key}-losses",
        f"Costs: {title}",
        "Neither has to fall: what one player wins the other loses.",
        "step",
        "cost",
        [Line("critic", steps, diary.column("critic_loss")), Line("generator", steps, diary.column("generator_loss"))],
    )
    bands = [
        Line(f"D({name})", steps, diary.column(kind), diary.column(f"{kind}_low"), diary.column(f"{kind}_high"))
        for kind, name in (("real", "real"), ("made", "made"))
    ]
    scores = XYPlot(
        f"{key}-scores",
        f"What D says: {title}",
        "Median and middle half of D's scores of a batch, before the logistic function; where the bands part, D wins.",
        "step",
        "score",
        bands,
    )
    return [losses, scores]


def samples(match: Match, world: World, key: str, title: str) -> list[Figure]:
    """The pictures of a game that is over."""
    if world.centres is not None:
        return [_points(match, world, key, title)]
    found: list[Figure] = [_growth(match, key, title), _sheet(match, key, title), _ways(match, key, title)]
    if world.film:
        found.append(_film(match, key, title))
    return found


# points ------------------------------------------------------------------------------------------------------------------


def _points(match: Match, world: World, key: str, title: str) -> Figure:
    assert world.centres is not None
    real = world.draw(POINTS, torch.Generator().manual_seed(0)).numpy()
    reach = float(np.abs(world.centres).max()) * 1.25
    tiles = np.stack([scatter(real, made.numpy(), reach) for _, made in match.diary.shots])
    steps = ", ".join(f"{step:,}" for step, _ in match.diary.shots)
    return Pixels(
        f"{key}-growth",
        f"Samples as they grow: {title}",
        f"Grey: real points. Blue: points made from the same noise after {steps} steps.",
        f"{len(tiles)} scatter plots of made points over real ones",
        tiled(tiles, (len(tiles) + 1) // 2),
        "steps",
    )


def scatter(real: Floats, made: Floats, reach: float) -> Bytes:
    """Points (n, 2) as a picture (TILE, TILE, 4), from −reach to reach, y upwards; made ones over real ones."""
    tile = np.zeros((TILE, TILE, 4), np.uint8)
    tile[[0, -1]] = tile[:, [0, -1]] = (*REAL_COLOUR[:3], 90)
    for points, colour in ((real, REAL_COLOUR), (made, MADE_COLOUR)):
        place = ((points / reach + 1) / 2 * (TILE - 2)).astype(int)
        inside = ((place >= 0) & (place < TILE - 1)).all(1)
        for right, up in ((0, 0), (1, 0), (0, 1), (1, 1)):
            tile[TILE - 1 - place[inside, 1] - up, place[inside, 0] + right] = colour
    return tile


# pictures ----------------------------------------------------------------------------------------------------------------


def _growth(match: Match, key: str, title: str) -> Figure:
    shots = [_still(made[:GROWN]) for _, made in match.diary.shots]
    rows = np.concatenate([np.stack([shot[i] for shot in shots]) for i in range(len(shots[0]))])
    steps = ", ".join(f"{step:,}" for step, _ in match.diary.shots)
    return Pixels(
        f"{key}-growth",
        f"Samples as they grow: {title}",
        f"Each row is made from one noise, after {steps} steps.",
        f"{len(shots[0])} rows of {len(shots)} pictures that become clearer from left to right",
        _sized(rows, len(shots)),
        "steps",
    )


def _sheet(match: Match, key: str, title: str) -> Figure:
    made = _still(match.diary.shots[-1][1][: SHEET**2])
    return Pixels(
        f"{key}-sheet", f"Samples: {title}", "Not chosen: the first ones.", f"{len(made)} samples", _sized(made, SHEET)
    )


def _ways(match: Match, key: str, title: str) -> Figure:
    """Along great circles: noise in many dimensions lies near a sphere (White 2016)."""
    share = torch.linspace(0, 1, PLACES)[:, None]
    made = []
    with torch.no_grad():
        for a, b in zip(match.shown[:WAYS], match.shown[WAYS : 2 * WAYS], strict=True):
            angle = torch.arccos((a @ b / (a.norm() * b.norm())).clamp(-1, 1))
            noise = (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle)
            made.append(match.generator(noise))
    return Pixels(
        f"{key}-ways",
        f"From one sample to another: {title}",
        "The noise goes from one sample's to another's in even steps. A generator that learned by heart would jump.",
        f"{WAYS} rows of pictures, each changing gradually into another one",
        _sized(_still(torch.cat(made)), PLACES),
        "noise",
    )


def _film(match: Match, key: str, title: str) -> Figure:
    made = as_bytes(match.diary.shots[-1][1][: SHEET**2])  # (n, frames, height, width, channels)
    frames = np.stack([tiled(made[:, frame], SHEET) for frame in range(made.shape[1])])
    return Pixels(
        f"{key}-film",
        f"Samples in motion: {title}",
        "All frames of each sample, again and again.",
        f"{len(made)} films of moving digits, side by side",
        enlarged(frames, max(1, WIDEST // frames.shape[2])),
        milliseconds=150,
    )


def _still(made: Tensor) -> Bytes:
    """Pictures (n, height, width, channels); of a film the frame in the middle."""
    pictures = as_bytes(made)
    return pictures[:, pictures.shape[1] // 2] if pictures.ndim == 5 else pictures


def _sized(pictures: Bytes, columns: int) -> Bytes:
    """Small pictures in rows, enlarged by a whole number."""
    factor = max(1, WIDEST // (columns * pictures.shape[2]))
    return tiled(enlarged(pictures, factor), columns)
