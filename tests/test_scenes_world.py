"""The scenes of chapter 3: factors are independent, act where they should, and nothing else decides a picture."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from clip_invariance.captions import CaptionPolicy
from clip_invariance.errors import UsageError
from clip_invariance.worlds import scenes
from clip_invariance.worlds.scenes import FACTORS, SIZE, WORDS, change, render, sample
from factored_checks import assert_factors_are_uniform_and_independent, assert_words_fit


def lightness(images: torch.Tensor) -> torch.Tensor:
    return images.float().mean(dim=1)


def test_factors_are_uniform_and_independent() -> None:
    assert_factors_are_uniform_and_independent(FACTORS, sample(30_000, 0).labels)


def test_every_factor_has_words() -> None:
    assert_words_fit(FACTORS, WORDS)
    assert all(len(wordings) >= 2 for values in WORDS.phrases.values() for wordings in values)
    assert len(WORDS.templates) >= 3


def test_a_caption_says_what_is_in_the_picture() -> None:
    picture = sample(1, 0, given={"object": 0, "medium": 2, "place": 1, "size": 0, "background": 0, "rotation": 1})
    policy = CaptionPolicy(dict.fromkeys(FACTORS, 1.0), varied=False)
    assert policy.sample(WORDS, picture.labels, 0).strings() == [
        "a sketch of a small banana standing upright in the top right corner on a blue background"
    ]


def test_a_picture_depends_on_its_own_columns_only() -> None:
    some = sample(300, 1)
    together = render(some)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    assert torch.equal(render(some[order]), together[order])
    assert torch.equal(render(some[17:18])[0], together[17])
    assert torch.equal(render(sample(300, 1)), together)
    assert not torch.equal(render(sample(300, 2)), together)


def test_given_changes_nothing_else() -> None:
    free, fixed = sample(200, 3), sample(200, 3, given={"object": 0, "size": torch.arange(200) % 2})
    assert set(fixed.labels["object"].tolist()) == {0}
    assert torch.equal(fixed.labels["size"], torch.arange(200) % 2)
    for name in ("medium", "place", "background", "rotation"):
        assert torch.equal(free.labels[name], fixed.labels[name])
    for name, column in free.nuisances.items():
        assert torch.equal(column, fixed.nuisances[name])


@pytest.mark.parametrize("factor", FACTORS)
def test_a_counterfactual_changes_one_column_and_every_picture(factor: str) -> None:
    some = sample(120, 4)
    value = (some.labels[factor] + 1) % len(FACTORS[factor])
    other = change(some, factor, value)
    assert torch.equal(other.labels[factor], value)
    assert all(torch.equal(other.labels[name], some.labels[name]) for name in FACTORS if name != factor)
    assert other.nuisances == some.nuisances
    before, after = render(some), render(other)
    assert bool((before != after).flatten(1).any(dim=1).all())
    assert torch.equal(render(change(other, factor, some.labels[factor])), before)


@pytest.mark.parametrize("factor", ["object", "medium", "size", "rotation"])
def test_factors_of_the_object_leave_the_background_alone(factor: str) -> None:
    some = sample(150, 5, given={"place": 0})
    other = change(some, factor, (some.labels[factor] + 1) % len(FACTORS[factor]))
    differs = (render(some) != render(other)).any(dim=1)
    # Centres lie up to 19 pixels from the corner, and a large tilted object reaches at most 19 further.
    assert not bool(differs[:, 38:, :].any())
    assert not bool(differs[:, :, 38:].any())


def test_the_background_leaves_the_opaque_object_alone() -> None:
    some = sample(100, 6, given={"object": FACTORS["object"].index("burger"), "medium": 0, "size": 1, "rotation": 1})
    other = change(some, "background", (some.labels["background"] + 1) % 4)
    same = (render(some) == render(other)).all(dim=1)
    assert 150 < float(same.sum(dim=(1, 2)).float().mean()) < 700  # the burger: 25 pixels wide


def test_objects_lie_in_their_quadrant() -> None:
    some = sample(400, 7)
    difference = (render(some).int() - render(change(some, "object", (some.labels["object"] + 1) % 12)).int()).abs()
    weight = difference.sum(dim=1).float()
    line = torch.arange(SIZE) + 0.5
    total = weight.sum(dim=(1, 2))
    x, y = (weight.sum(dim=1) * line).sum(dim=1) / total, (weight.sum(dim=2) * line).sum(dim=1) / total
    assert float(((x > SIZE / 2) == (some.labels["place"] % 2 == 1)).float().mean()) > 0.98
    assert float(((y > SIZE / 2) == (some.labels["place"] // 2 == 1)).float().mean()) > 0.98


def test_nothing_wraps_around_the_edge() -> None:
    some = sample(300, 8, given={"place": 0, "size": 1})
    other = change(some, "object", (some.labels["object"] + 1) % 12)
    assert torch.equal(render(some)[:, :, -8:], render(other)[:, :, -8:])


def test_small_is_small() -> None:
    some = sample(200, 9, given={"rotation": 1})

    def area(size: int) -> float:
        at = change(some, "size", size)
        return float((render(at) != render(change(at, "object", (at.labels["object"] + 1) % 12))).any(dim=1).sum())

    assert 0.3 < area(0) / area(1) < 0.5  # (15 / 25) squared is 0.36


def test_rotation_is_counter_clockwise_first() -> None:
    tree = {"object": FACTORS["object"].index("tree"), "medium": 0, "size": 1, "place": 3}
    some = sample(50, 10, given=tree)

    def tip(rotation: int) -> float:
        """Where the upper half of the tree is, against the lower half, in pixels to the right."""
        at = change(some, "rotation", rotation)
        green = torch.clamp(120 - lightness(render(at)), min=0)
        line = torch.arange(SIZE).float()
        row = (green.sum(dim=2) * line).sum(dim=1) / green.sum(dim=(1, 2))
        upper = green * (line[None, :, None] < row[:, None, None])
        lower = green - upper
        right = [(part.sum(dim=1) * line).sum(dim=1) / part.sum(dim=(1, 2)) for part in (upper, lower)]
        return float((right[0] - right[1]).mean())

    assert tip(0) < -2 < tip(1) < 2 < tip(2)


def test_line_drawings_stand_out_from_every_background() -> None:
    for background in range(4):
        some = sample(200, 11, given={"medium": 2, "background": background})
        images = lightness(render(some)).flatten(1)
        usual = images.median(dim=1).values
        # Even the thin lines of small drawings are clearly darker than the ground.
        assert float((usual - images.min(dim=1).values).min()) > 40


def test_backgrounds_are_textured_and_of_four_colours() -> None:
    some = sample(200, 12, given={"size": 0, "place": 0})
    ground = torch.stack([render(change(some, "background", b))[:, :, 34:, 34:].float() for b in range(4)])
    assert float(ground.std(dim=(3, 4)).amax(dim=2).min()) > 1
    assert float(ground.std(dim=(3, 4)).mean()) > 4
    means = ground.mean(dim=(3, 4))  # (4, n, 3)
    centres = means.mean(dim=1)
    nearest = torch.cdist(means.flatten(0, 1), centres).argmin(dim=1).view(4, -1)
    assert float((nearest == torch.arange(4)[:, None]).float().mean()) > 0.99


def test_sizes_agree() -> None:
    some = sample(20, 13)
    small, large = render(some), render(some, size=96)
    assert large.shape == (20, 3, 96, 96)
    halved = torch.nn.functional.avg_pool2d(large.float(), 2)
    # The object is the same; the texture is drawn anew for each size.
    assert float((halved - small.float()).abs().mean()) < 20


def test_no_scenes() -> None:
    assert render(sample(0, 0)).shape == (0, 3, SIZE, SIZE)


def test_a_matched_change_of_size_keeps_the_place() -> None:
    some = sample(30, 14)
    small, large = (scenes._on_canvas(change(some, "size", size), 48, 4) for size in range(2))
    assert torch.equal(small.x, large.x)
    assert torch.equal(small.y, large.y)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: sample(-1, 0), "n is -1"),
        (lambda: sample(2, 0, given={"colour": 0}), "unknown factor 'colour'"),
        (lambda: sample(2, 0, given={"object": 12}), "object=12: expected 0 to 11 (banana, car"),
        (lambda: sample(2, 0, given={"object": torch.zeros(3).long()}), "object has shape (3,): expected one"),
        (lambda: change(sample(2, 0), "size", -1), "size=-1: expected 0 to 1 (small, large)"),
        (lambda: change(sample(2, 0), "x", 1.0), "x=1.0: expected -0.052"),
        (lambda: change(sample(2, 0), "width", 1), "unknown factor 'width'"),
        (lambda: render(sample(2, 0), size=8), "size is 8"),
        (lambda: render(scenes.Scenes({"object": torch.zeros(1).long()}, {})), "factor medium is missing"),
        (lambda: scenes.Scenes({"object": torch.zeros(1)}, {}), "expected int64"),
        (lambda: scenes.Scenes({"object": torch.zeros(1).long()}, {"x": torch.zeros(2)}), "x has shape (2,)"),
    ],
)
def test_errors_are_named(build: Callable[[], object], says: str) -> None:
    with pytest.raises(UsageError) as error:
        build()
    assert says in str(error.value)
