"""The torus canvas: objects are where they were asked to be, and nothing else decides what a picture looks like."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from clip_invariance.errors import UsageError
from clip_invariance.worlds.canvas import Canvas, Factors, bottom_half, matched_pairs, sample_factors, shift
from clip_invariance.worlds.openmoji import MEDIA, OBJECTS, DrawnObject

SIZE = 32
BALL = tuple(drawn for drawn in OBJECTS if drawn.name == "soccer ball")


@pytest.fixture(scope="module")
def canvas() -> Canvas:
    return Canvas(SIZE, 12, media=MEDIA)


@pytest.fixture(scope="module")
def plain() -> Canvas:
    """Without texture, so that a picture holds the object and nothing else."""
    return Canvas(SIZE, 12, contrast=0)


def centre_of_mass(weight: torch.Tensor) -> torch.Tensor:
    """Centre of n non-negative maps (n, size, size) on the torus: circular means of x and y, pixels, (n, 2)."""
    size = weight.shape[-1]
    turn = 2 * torch.pi * (torch.arange(size) + 0.5) / size
    wave = torch.polar(torch.ones(size), turn)
    along, down = (weight.sum(dim=1) * wave).sum(dim=1), (weight.sum(dim=2) * wave).sum(dim=1)
    return torch.stack([along, down], dim=1).angle() % (2 * torch.pi) * size / (2 * torch.pi)


def torus_distance(a: torch.Tensor, b: torch.Tensor, size: int = SIZE) -> torch.Tensor:
    apart = (a - b).abs() % size
    return torch.minimum(apart, size - apart)


def test_objects_lie_where_they_were_asked_to_be_also_across_the_seam() -> None:
    # A round object, so that its centre of mass is the centre of its box.
    ball = Canvas(SIZE, 12, objects=BALL, media=("full",), contrast=0)
    edge = torch.tensor([0.0, 0.3, 5.5, 15.9, 16.0, 27.25, 31.99])
    x, y = torch.meshgrid(edge, edge, indexing="ij")
    factors = sample_factors(49, 0, SIZE, objects=1, brightness=(1.0, 1.0))
    factors = replace(factors, x=x.flatten(), y=y.flatten())
    difference = (ball.render(factors).float() - ball.backgrounds(factors.background).float()).abs().sum(dim=1)
    error = torus_distance(centre_of_mass(difference), torch.stack([factors.x, factors.y], dim=1))
    assert float(error.max()) < 0.6


def test_every_object_moves_continuously_by_fractions_of_a_pixel(plain: Canvas) -> None:
    factors = replace(sample_factors(48, 1, SIZE, brightness=(1.0, 1.0)), object=torch.arange(48))
    start = replace(factors, x=torch.full((48,), 10.2), y=torch.full((48,), 10.2))
    _, moved = matched_pairs(start, {"x": 10.7})
    here, there = (centre_of_mass((plain.render(f).float() - 155).abs().sum(dim=1)) for f in (start, moved))
    step = there - here
    # Light and dark parts cancel within a pixel, so single objects are a little off, but not on average.
    assert float((step - torch.tensor([0.5, 0.0])).abs().max()) < 0.25
    assert float((step.mean(dim=0) - torch.tensor([0.5, 0.0])).abs().max()) < 0.03


def test_scale_brightness_and_rotation_do_what_they_say(plain: Canvas) -> None:
    at = sample_factors(48, 2, SIZE, scale=(1.0, 1.0), brightness=(1.0, 1.0), rotation=(0.0, 0.0))
    at = replace(at, object=torch.arange(48))

    def drawn(**change: float) -> torch.Tensor:
        return plain.render(matched_pairs(at, change)[1]).float()

    def area(images: torch.Tensor) -> torch.Tensor:
        return ((images - 155).abs().amax(dim=1) > 8).sum(dim=(1, 2)).float()

    assert 0.6 < float((area(drawn(scale=0.8)) / area(drawn())).mean()) < 0.8  # 0.8 squared is 0.64
    assert bool((drawn(brightness=0.5) <= drawn() + 1).all())


def test_rotation_is_counter_clockwise(plain: Canvas) -> None:
    index = [drawn.name for drawn in OBJECTS].index("evergreen tree")
    upright = sample_factors(1, 0, SIZE, scale=(1.0, 1.0), brightness=(1.0, 1.0), rotation=(0.0, 0.0))
    _, upright = matched_pairs(upright, {"object": index, "x": 16.0, "y": 16.0})

    def tip(rotation: float) -> float:
        """Where the tip of the tree is, in pixels from the left."""
        weight = (plain.render(matched_pairs(upright, {"rotation": rotation})[1]).float() - 155).abs().sum(dim=(0, 1))
        return float((weight[9:13].sum(dim=0) * torch.arange(SIZE)).sum() / weight[9:13].sum())

    assert tip(20.0) < tip(0.0) - 1 < tip(-20.0) - 2


def test_shifting_an_object_by_whole_pixels_is_a_torus_roll(plain: Canvas) -> None:
    factors = sample_factors(64, 3, SIZE)
    dx, dy = torch.randint(SIZE, (2, 64), generator=torch.Generator().manual_seed(0))
    # Quarters of a pixel, which survive the addition below exactly.
    factors = replace(factors, x=(factors.x * 4).floor() / 4, y=(factors.y * 4).floor() / 4)
    moved = replace(factors, x=(factors.x + dx) % SIZE, y=(factors.y + dy) % SIZE)
    assert torch.equal(plain.render(moved), shift(plain.render(factors), dx, dy))


def test_shift_is_the_torus_roll() -> None:
    images = torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    shifted = shift(images, torch.tensor([1, -2]), 3)
    for image, rolled, dx in zip(images, shifted, (1, -2), strict=True):
        assert torch.equal(rolled, torch.roll(image, (3, dx), dims=(1, 2)))


def test_a_picture_depends_on_its_own_factors_only(canvas: Canvas) -> None:
    factors = sample_factors(301, 4, SIZE, media=3)
    together = canvas.render(factors)
    order = torch.randperm(301, generator=torch.Generator().manual_seed(1))
    assert torch.equal(canvas.render(factors[order], batch=37), together[order])
    assert torch.equal(canvas.render(factors[7:8])[0], together[7])
    assert torch.equal(Canvas(SIZE, 12, media=MEDIA).render(factors), together)


def test_matched_pairs_differ_in_the_neighbourhood_of_the_object_only(canvas: Canvas) -> None:
    factors = sample_factors(200, 5, SIZE)
    other = (factors.object + 1) % len(OBJECTS)
    before, after = matched_pairs(factors, {"object": other, "brightness": 1.1})
    assert torch.equal(after.background, factors.background)
    differs = (canvas.render(before) != canvas.render(after)).any(dim=1)
    assert bool(differs.flatten(1).any(dim=1).all())
    centre = torch.arange(SIZE) + 0.5
    far = torch.maximum(
        torus_distance(centre[None, None, :], factors.x[:, None, None]),
        torus_distance(centre[None, :, None], factors.y[:, None, None]),
    )
    assert float(far[differs].max()) <= canvas.patch / 2 + 1


def test_media_differ_on_the_canvas(canvas: Canvas) -> None:
    factors = replace(sample_factors(48, 6, SIZE), object=torch.arange(48))
    full, flat, line = (canvas.render(matched_pairs(factors, {"medium": medium})[1]) for medium in range(3))
    for a, b in ((full, flat), (full, line), (flat, line)):
        assert bool((a != b).flatten(1).any(dim=1).all())


def test_seeds_reproduce_and_differ() -> None:
    first, again, other = (sample_factors(50, seed, SIZE).columns() for seed in (7, 7, 8))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["x"], other["x"])
    generator = torch.Generator().manual_seed(7)
    assert torch.equal(sample_factors(50, generator, SIZE).x, first["x"])


def test_places_are_restricted_as_asked() -> None:
    low = sample_factors(2000, 0, SIZE, where=bottom_half(SIZE))
    assert float(low.y.min()) >= SIZE / 2
    assert float(low.x.min()) < 1 < SIZE - 1 < float(low.x.max())
    spots = torch.tensor([[3.0, 4.0], [20.0, 21.0]])
    chosen = sample_factors(100, 0, SIZE, where=spots)
    assert set(zip(chosen.x.tolist(), chosen.y.tolist(), strict=True)) == {(3.0, 4.0), (20.0, 21.0)}


def test_backgrounds_are_stationary_varied_and_moderate(canvas: Canvas) -> None:
    pictures = canvas.backgrounds(torch.arange(8000)).float()
    # No place differs from another on average, nor in spread: what a random roll guarantees.
    mean, spread = pictures.mean(dim=(0, 1)), pictures.std(dim=0).mean(dim=0)
    assert float((mean - mean.mean()).abs().max()) < 1.5
    assert float((spread / spread.mean() - 1).abs().max()) < 0.05
    assert 100 < float(mean.mean()) < 200
    assert 10 < float(spread.mean()) < 40
    assert len(torch.unique(pictures[:1000].flatten(1), dim=0)) > 990


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("object", 48),
        ("x", 32.0),
        ("y", -0.1),
        ("y", float("nan")),
        ("scale", 1.3),
        ("scale", 0.0),
        ("rotation", 21.0),
        ("brightness", 2.1),
        ("medium", 3),
    ],
)
def test_a_factor_out_of_range_is_named(canvas: Canvas, name: str, value: float) -> None:
    _, wrong = matched_pairs(sample_factors(3, 0, SIZE), {name: value})
    with pytest.raises(UsageError, match=f"factor {name} is"):
        canvas.render(wrong)


def test_other_bad_input_is_named() -> None:
    factors = sample_factors(3, 0, SIZE)
    with pytest.raises(UsageError, match="unknown factor colour"):
        matched_pairs(factors, {"colour": 1})
    with pytest.raises(UsageError, match=r"factor x has shape \(2,\)"):
        replace(factors, x=torch.zeros(2))
    with pytest.raises(UsageError, match="factor object has type"):
        Factors(**{**factors.columns(), "object": torch.zeros(3)})
    with pytest.raises(UsageError, match=r"where has shape \(0, 2\)"):
        sample_factors(3, 0, SIZE, where=torch.zeros(0, 2))
    with pytest.raises(UsageError, match="does not fit a canvas of 32 pixels"):
        Canvas(SIZE, 24)
    with pytest.raises(UsageError, match=r"no drawing FFFFF.svg"):
        Canvas(SIZE, 12, objects=(DrawnObject("nothing", "FFFFF", "thing"),))


def test_no_pictures_are_no_pictures(canvas: Canvas) -> None:
    assert canvas.render(sample_factors(0, 0, SIZE)).shape == (0, 3, SIZE, SIZE)
    assert len(shift(torch.zeros(0, 3, 4, 4), 1, 1)) == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_draws_the_same_pictures(canvas: Canvas) -> None:
    factors = sample_factors(500, 9, SIZE, media=3)
    there = Canvas(SIZE, 12, media=MEDIA, device="cuda").render(factors).cpu()
    assert int((there.int() - canvas.render(factors).int()).abs().max()) <= 1
