"""The lab of question 3: penalties against automatic differentiation, games that go on where they stopped, folders of users."""

from __future__ import annotations

import math
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import integrate, stats

from vivavoce.labs.gan import Gan
from vivavoce.labs.gan_game import Match, Terms
from vivavoce.labs.gan_judge import FEATURES, Features, Judge, heads
from vivavoce.labs.gan_networks import Critic, for_films, for_pictures, for_points
from vivavoce.labs.gan_proof import divergence_claims, jensen_shannon
from vivavoce.labs.gan_recipes import RECIPES, slope_penalty
from vivavoce.labs.gan_views import TILE, scatter
from vivavoce.labs.gan_worlds import CANVAS, FRAMES, as_bytes, as_tensor, moving, ring
from vivavoce.labs.lab import Context, LabError, Result

NETWORKS = {
    "points": (lambda random: for_points(4, random), (2,)),
    "small pictures": (lambda random: for_pictures(4, 1, 8, random), (1, 8, 8)),
    "pictures": (lambda random: for_pictures(4, 3, 32, random), (3, 32, 32)),
    "digits": (lambda random: for_pictures(4, 1, 28, random), (1, 28, 28)),
    "films": (lambda random: for_films(4, FRAMES, CANVAS, random), (1, FRAMES, CANVAS, CANVAS)),
}


def run(source: str | None = None, **options: object) -> Result:
    return Gan().run(source, Context(quick=True, options=options))


def make_critic(name: str) -> tuple[Critic, torch.Tensor]:
    make, shape = NETWORKS[name]
    random = torch.Generator().manual_seed(0)
    generator, critic = make(random)
    x = torch.randn(3, *shape, generator=random).double()
    assert generator(torch.randn(3, 4, generator=random)).shape == x.shape
    return critic.double(), x


# ---- slopes and losses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("wanted", [0.0, 1.0])
def test_slopes_and_the_penalty_on_them_are_those_of_automatic_differentiation(name: str, wanted: float) -> None:
    critic, x = make_critic(name)
    units: list[torch.Tensor] = []
    scores = critic(x, units)
    torch.testing.assert_close(scores, critic(x))
    penalty = slope_penalty(critic.slopes(units, x), wanted)
    parameters = list(critic.parameters())
    found = torch.autograd.grad(penalty, parameters, allow_unused=True, materialize_grads=True)

    inputs = x.clone().requires_grad_()
    (slopes,) = torch.autograd.grad(critic(inputs).sum(), inputs, create_graph=True)
    norms = slopes.flatten(1).norm(dim=1)
    expected = ((norms - 1) ** 2).mean() if wanted else 0.5 * (norms**2).mean()
    torch.testing.assert_close(penalty, expected)
    others = torch.autograd.grad(expected, parameters, allow_unused=True, materialize_grads=True)
    for own, other in zip(found, others, strict=True):
        torch.testing.assert_close(own, other)


def test_the_generators_costs_are_built_to_trick_the_critic() -> None:
    """Whatever the recipe: higher scores of what is made lower the generator's cost and raise the critic's."""
    torch.manual_seed(0)
    real, made = torch.randn(64), torch.randn(64)
    for recipe in RECIPES.values():
        assert recipe.generator(real, made + 0.1) < recipe.generator(real, made), recipe.name
        assert recipe.critic(real, made + 0.1) > recipe.critic(real, made), recipe.name


def test_the_vanilla_critics_cost_is_binary_cross_entropy() -> None:
    real, made = torch.randn(9), torch.randn(9)
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    expected = bce(real, torch.ones(9)) + bce(made, torch.zeros(9))
    torch.testing.assert_close(RECIPES["vanilla"].critic(real, made), expected)


def test_the_weight_falls_evenly_on_a_logarithmic_scale_and_the_rate_after_half() -> None:
    recipe = RECIPES["relativistic"]
    assert recipe.weight(0.5) == pytest.approx(math.sqrt(recipe.gamma[0] * recipe.gamma[1]))
    assert [recipe.pace(done) for done in (0.0, 0.5, 0.75, 1.0)] == pytest.approx([1, 1, 0.5, 0])


def test_jensen_shannon_is_scipys_integral() -> None:
    def density(x: float) -> float:
        p, q = stats.norm.pdf(x, 1.0), stats.norm.pdf(x)
        return float(0.5 * p * np.log(2 * p / (p + q)) + 0.5 * q * np.log(2 * q / (p + q)))

    assert jensen_shannon(1.0) == pytest.approx(integrate.quad(density, -9, 10)[0], rel=1e-6)
    assert jensen_shannon(0.0) == pytest.approx(0, abs=1e-12)


def test_theory_holds() -> None:
    claims, _ = divergence_claims(Context(quick=True))
    assert [claim.outcome for claim in claims] == ["holds"] * 3


# ---- games --------------------------------------------------------------------------------------------------------------


def small_match(steps: int, recipe: str = "relativistic") -> Match:
    world = ring()
    random = torch.Generator().manual_seed(0)
    terms = Terms("ring", recipe, steps, 16, 0)
    return Match(terms, RECIPES[recipe], world.players(random), world.draw, random, 8)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_plays(recipe: str) -> None:
    match = small_match(25, recipe)
    before = [p.clone() for p in match.generator.parameters()]
    diary = match.play()
    assert len(diary.looks) == 25
    assert np.isfinite(diary.column("generator_loss")).all()
    assert [step for step, _ in diary.shots][-1] == 25
    assert any(not torch.equal(a, b) for a, b in zip(before, match.generator.parameters(), strict=True))
    assert all(p.grad is not None for p in match.critic.parameters())


def test_a_game_goes_on_where_it_stopped_bit_for_bit(tmp_path: Path) -> None:
    whole, half = small_match(40), small_match(40)
    whole.play()
    for _ in range(20):
        half.turn()
    half._shoot()
    half.save(tmp_path / "state.pt")
    later = small_match(40)
    later.load(tmp_path / "state.pt")
    later.play()
    for a, b in zip(whole.generator.parameters(), later.generator.parameters(), strict=True):
        assert torch.equal(a, b)
    assert later.diary.column("critic_loss").tolist() == whole.diary.column("critic_loss").tolist()


def test_control_c_keeps_the_state_of_its_step(tmp_path: Path) -> None:
    whole, stopped = small_match(40), small_match(40)
    whole.play()

    def press(steps: float) -> None:
        if stopped.step == 7:
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            stopped.play(press, tmp_path / "state.pt")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    later = small_match(40)
    later.load(tmp_path / "state.pt")
    assert later.step == 7
    later.play()
    for a, b in zip(whole.generator.parameters(), later.generator.parameters(), strict=True):
        assert torch.equal(a, b)


def test_nothing_leaks_into_the_global_generator() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    small_match(5).play()
    run(data="digits", steps=20, recipe="relativistic")
    assert torch.equal(torch.rand(2), expected)


# ---- pictures -----------------------------------------------------------------------------------------------------------


def test_pictures_there_and_back() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 2), dtype=np.uint8)
    values = as_tensor(pictures)
    assert values.shape == (3, 2, 4, 5)
    assert float(values.min()) >= -1
    np.testing.assert_array_equal(as_bytes(values), pictures)


def test_digits_move_in_straight_lines_and_stay_whole() -> None:
    pictures = np.random.default_rng(1).integers(1, 256, (20, 8, 8), dtype=np.uint8)
    films = moving(pictures, np.random.default_rng(2))
    assert films.shape == (20, FRAMES, CANVAS, CANVAS)
    np.testing.assert_array_equal(np.sort(films[films > 0]), np.sort(np.repeat(pictures, FRAMES, 0).ravel()))
    for film, picture in zip(films, pictures, strict=True):
        for frame in film:
            top, left = (int(np.flatnonzero(frame.any(axis=1 - axis))[0]) for axis in (0, 1))
            np.testing.assert_array_equal(frame[top : top + 8, left : left + 8], picture)
    assert (films[:, 0] != films[:, -1]).any()


def test_points_lie_where_they_belong() -> None:
    tile = scatter(np.zeros((0, 2)), np.array([[-0.9, 0.9], [5.0, 0.0]]), 1.0)
    blue = np.argwhere((tile[..., 2] == 178) & (tile[..., 0] == 0))
    assert len(blue) == 4
    assert (blue[:, 0] < TILE / 4).all()  # up
    assert (blue[:, 1] < TILE / 4).all()  # left


def photos(folder: Path, count: int = 24, grey: bool = False) -> Path:
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for index in range(count):
        pixels = (
            rng.integers(0, 256, (20, 30), dtype=np.uint8)
            if grey
            else rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
        )
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def test_a_folder_is_learned_written_and_gone_on_with(tmp_path: Path) -> None:
    source = photos(tmp_path / "photos")
    (source / "broken.png").write_bytes(b"no picture")
    state, out = tmp_path / "state.pt", tmp_path / "out"
    out.mkdir()
    options = {"size": 16, "steps": 20, "checkpoint": str(state), "pictures": str(out)}
    result = run(str(source), **options)
    assert "24 pictures, 16 × 16, colour; 1 could not be read." in result.notes
    assert "how many quarters a picture was turned" in " ".join(result.notes)
    assert sorted(file.name for file in out.iterdir()) == [
        f"relativistic-{kind}.png" for kind in ("growth", "sheet", "ways")
    ]
    again = run(str(source), **options)
    assert again.data["games"]["relativistic"]["frechet"] == result.data["games"]["relativistic"]["frechet"]
    with pytest.raises(LabError, match="made with steps 20, not 21"):
        run(str(source), **{**options, "steps": 21})


def test_grey_pictures_are_learned_as_grey(tmp_path: Path) -> None:
    result = run(str(photos(tmp_path / "photos", grey=True)), size=8, steps=20)
    assert "24 pictures, 8 × 8, grey." in result.notes


def test_films_are_made_and_shown() -> None:
    result = run(data="video", steps=20)
    film = next(figure for figure in result.figures if figure.key == "relativistic-film")
    assert film.pixels.shape[0] == FRAMES  # type: ignore[union-attr]


def test_digits_are_judged_by_a_classifier() -> None:
    result = run(data="digits", steps=20, recipe="hinge")
    assert result.tables[0].heads == ["measure", "real, others", "hinge"]
    measures = {name: (real, made) for name, real, made in result.tables[0].rows}
    assert measures["classes"][0] == "10 of 10"
    real, made = map(float, measures["Fréchet"])
    assert real < made
    assert "right" in " ".join(result.notes)


def test_without_labels_features_come_from_turned_pictures() -> None:
    ramp = np.linspace(0, 200, 16)[:, None] + np.linspace(0, 50, 16)[None]
    noisy = ramp + np.random.default_rng(0).normal(0, 10, (80, 16, 16))
    examples = as_tensor(noisy.clip(0, 255).astype(np.uint8)[..., None])
    judge = Judge(examples, None, 0, quick=True)
    assert judge.features.accuracy > 0.9
    found = judge.real()
    assert len(found.cells()) == len(heads(0)) - 1, "no classes are counted"
    upside_down = judge.judge(examples[: judge.n].flip(2))
    assert upside_down.frechet > 5 * found.frechet


def test_features_of_films_see_motion() -> None:
    moving_, still = (torch.rand(64, 1, 4, 8, 8, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    still = still[:, :, :1].expand(-1, -1, 4, -1, -1)
    features, _ = Features(moving_, np.arange(64) % 2, 0, quick=True)(torch.cat([moving_, still]))
    assert features.shape == (128, 2 * FEATURES)
    assert (features[:64, FEATURES:] != 0).any(1).all()
    assert (features[64:, FEATURES:] == 0).all()


@pytest.mark.parametrize(
    ("source", "options", "why"),
    [
        (None, {"steps": 1}, "--steps must lie"),
        (None, {"data": "grid", "size": 8}, "--size is for digits"),
        (None, {"data": "digits", "size": 16}, "8 or 28"),
        (None, {"size": 9}, "--size must be one of"),
        (None, {"checkpoint": "none/state.pt"}, "there is no folder"),
        (None, {"checkpoint": "."}, "is a folder"),
        (None, {"pictures": "none"}, "there is no folder"),
        (None, {"checkpoint": "notes.txt", "steps": 20}, "cannot be read"),
        (None, {"checkpoint": "other.pt", "steps": 20}, "no state of this lab"),
        ("nothing", {}, "no such folder"),
        ("notes.txt", {}, "notes.txt: a file; a folder of pictures is expected"),
        ("few", {}, "at least 16 pictures"),
        ("few", {"size": 28}, "16, 32, 64"),
        ("unreadable", {}, "only 0 of 16"),
        ("few", {"data": "ring"}, "without INPUT"),
    ],
)
def test_bad_input_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str | None, options: dict[str, object], why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("no state")
    torch.save({"step": 3}, "other.pt")
    photos(Path("few"), 3)
    Path("unreadable").mkdir()
    for index in range(16):
        Path("unreadable", f"{index}.jpg").write_bytes(b"")
    with pytest.raises(LabError, match=why):
        run(source, **options)
