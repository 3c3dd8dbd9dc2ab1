"""Trifeature: shape, colour and texture are independent and each acts on the shape alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from clip_invariance.captions import CaptionPolicy
from clip_invariance.errors import UsageError
from clip_invariance.worlds.trifeature import FACTORS, SIZE, WORDS, Scenes, change, render, sample
from factored_checks import assert_factors_are_uniform_and_independent, assert_words_fit


def at_rest(scenes: Scenes) -> Scenes:
    """The same scenes without jitter: the shape upright in the middle, before white."""
    zero = torch.zeros(len(scenes))
    still = dict.fromkeys(scenes.nuisances, zero)
    return replace(scenes, nuisances={**still, "ground": zero + 1})


def every(factor: str, **given: int) -> Scenes:
    """One scene for each value of a factor, alike in everything else and without jitter."""
    return at_rest(sample(10, 0, given={"shape": 0, "colour": 0, "texture": 0, **given, factor: torch.arange(10)}))


def ground(images: torch.Tensor) -> torch.Tensor:
    """Where a picture shows its ground: the value of its first pixel in all channels, (n, size, size)."""
    return (images == images[:, :, :1, :1]).all(dim=1)


def test_factors_are_uniform_and_independent() -> None:
    assert {len(values) for values in FACTORS.values()} == {10}
    assert_factors_are_uniform_and_independent(FACTORS, sample(30_000, 1).labels)


def test_every_factor_has_words() -> None:
    assert_words_fit(FACTORS, WORDS)
    everything = [wording for values in WORDS.phrases.values() for one in values for wording in one]
    assert len(set(everything)) == len(everything)  # no word names a shape and a colour
    assert all(len(wordings) >= 2 for values in WORDS.phrases.values() for wordings in values)
    policy = CaptionPolicy(dict.fromkeys(FACTORS, 1.0), varied=False)
    assert list(policy.distribution(WORDS, {"shape": 8, "colour": 1, "texture": 0})) == ["an orange solid arrow"]


def test_a_picture_depends_on_its_own_columns_only() -> None:
    some = sample(300, 1)
    together = render(some)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    assert torch.equal(render(some[order]), together[order])
    assert torch.equal(render(some[17:18])[0], together[17])
    assert torch.equal(render(sample(300, 1)), together)
    assert not torch.equal(render(sample(300, 2)), together)


def test_given_changes_nothing_else() -> None:
    free, fixed = sample(200, 3), sample(200, 3, given={"shape": 4})
    assert set(fixed.labels["shape"].tolist()) == {4}
    assert torch.equal(free.labels["colour"], fixed.labels["colour"])
    assert all(torch.equal(column, fixed.nuisances[name]) for name, column in free.nuisances.items())


@pytest.mark.parametrize("factor", FACTORS)
def test_a_counterfactual_changes_one_column_and_every_picture(factor: str) -> None:
    some = sample(200, 4)
    value = (some.labels[factor] + 1) % 10
    other = change(some, factor, value)
    assert torch.equal(other.labels[factor], value)
    assert all(torch.equal(other.labels[name], some.labels[name]) for name in FACTORS if name != factor)
    assert other.nuisances == some.nuisances
    before, after = render(some), render(other)
    assert bool((before != after).flatten(1).any(dim=1).all())
    assert torch.equal(render(change(other, factor, some.labels[factor])), before)


@pytest.mark.parametrize("factor", ["colour", "texture"])
def test_colour_and_texture_stay_inside_the_shape(factor: str) -> None:
    some = sample(300, 5)
    other = change(some, factor, (some.labels[factor] + 1) % 10)
    before, after = render(some), render(other)
    assert torch.equal(ground(before), ground(after))


def test_the_shape_changes_nothing_where_both_shapes_are() -> None:
    square, circle = render(every("colour", shape=2)), render(every("colour", shape=0))
    middle = slice(SIZE // 2 - 6, SIZE // 2 + 6)
    assert torch.equal(square[:, :, middle, middle], circle[:, :, middle, middle])


def test_colours_are_what_they_are_called() -> None:
    colours = render(every("colour"))[:, :, SIZE // 2, SIZE // 2].tolist()
    named = dict(zip(FACTORS["colour"], colours, strict=True))
    assert named["red"][0] > 200 > 60 > max(named["red"][1:])
    assert named["green"][1] > 2 * max(named["green"][0], named["green"][2])
    assert named["blue"][2] > 2 * max(named["blue"][:2])
    assert len(set(named["grey"])) == 1


def test_shapes_differ_at_every_angle() -> None:
    shapes = every("shape")
    masks = []
    for turn in range(-45, 46, 5):
        turned = replace(shapes, nuisances={**shapes.nuisances, "turn": torch.full((10,), float(turn))})
        masks.append(~ground(render(turned)))
    angles = torch.stack(masks, dim=1).float().flatten(2)  # (shape, angle, pixels)
    for a in range(10):
        for b in range(a):
            both = angles[a] @ angles[b].T
            union = angles[a].sum(dim=1)[:, None] + angles[b].sum(dim=1) - both
            # Even the closest angles of the closest two shapes share less than nine tenths of their area.
            assert float((both / union).max()) < 0.9, (FACTORS["shape"][a], FACTORS["shape"][b])


def test_textures_have_light_and_dark_parts_and_differ() -> None:
    textures = render(every("texture", colour=6))[:, :, 16:32, 16:32].float().mean(dim=1)
    contrast = textures.flatten(1).std(dim=1)
    assert float(contrast[0]) == 0
    assert float(contrast[1:].min()) > 15
    distance = torch.cdist(textures.flatten(1), textures.flatten(1)) + 1e6 * torch.eye(10)
    assert float(distance.min()) > 15 * 16  # root mean square over 16 x 16 pixels: 15 grey levels


def test_shapes_keep_clear_of_the_edge_and_turn_counter_clockwise() -> None:
    images = render(sample(2_000, 6))
    assert bool(ground(images)[:, [0, -1]].all())
    assert bool(ground(images)[:, :, [0, -1]].all())

    arrow = at_rest(sample(1, 0, given={"shape": 8, "texture": 0}))
    left = replace(arrow, nuisances={**arrow.nuisances, "turn": torch.tensor([40.0])})
    head = (~ground(render(left)))[0, 8:17].float().sum(dim=0)
    assert float((head * torch.arange(SIZE)).sum() / head.sum()) < SIZE / 2 - 2


def test_edges_are_smooth_and_sizes_agree() -> None:
    some = sample(100, 7)
    small, large = render(some).float(), render(some, size=96).float()
    assert large.shape == (100, 3, 96, 96)
    # Only pixels on the borders of a texture or a shape differ.
    assert float((torch.nn.functional.avg_pool2d(large, 2) - small).abs().mean()) < 3


def test_no_scenes() -> None:
    assert render(sample(0, 0)).shape == (0, 3, SIZE, SIZE)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: sample(-1, 0), "n is -1"),
        (lambda: sample(2, 0, given={"size": 0}), "unknown factor 'size'"),
        (lambda: sample(2, 0, given={"shape": 10}), "shape=10: expected 0 to 9 (circle, triangle"),
        (lambda: change(sample(2, 0), "colour", torch.tensor([0, 11])), "colour=11: expected 0 to 9"),
        (lambda: change(sample(2, 0), "colour", torch.tensor([0.0, 1.0])), "colour has type torch.float32"),
        (lambda: render(sample(2, 0), size=8), "size is 8"),
        (lambda: render(Scenes({"shape": torch.zeros(1).long()}, {})), "factor colour is missing"),
    ],
)
def test_errors_are_named(build: Callable[[], object], says: str) -> None:
    with pytest.raises(UsageError) as error:
        build()
    assert says in str(error.value)
