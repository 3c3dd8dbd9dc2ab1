"""The dashcam world: matched pairs, masks and areas, determinism, clear errors."""

from __future__ import annotations

import time

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from clip_invariance.captions import prompts
from clip_invariance.errors import UsageError
from clip_invariance.worlds import dashcam

N = 48
COUNTS = {factor: len(names) for factor, names in dashcam.FACTORS.items()}


@pytest.fixture(scope="module")
def scenes() -> dashcam.Scenes:
    return dashcam.sample(N, seed=1)


def other(scenes: dashcam.Scenes, factor: str) -> dashcam.Scenes:
    """The same scenes with the next value of a factor."""
    return dashcam.change(scenes, factor, (scenes.labels[factor] + 1) % COUNTS[factor])


def changed(before: dashcam.Scenes, after: dashcam.Scenes) -> Tensor:
    """Pixels that differ, bool (n, 64, 64)."""
    return (dashcam.render(before) != dashcam.render(after)).any(dim=1)


def dilated(mask: Tensor) -> Tensor:
    """One pixel further in all directions: as far as the blur reaches."""
    return F.max_pool2d(mask.float()[:, None], 3, 1, 1)[:, 0] > 0


@pytest.mark.parametrize("size", [16, 32, 64])
def test_pictures_are_uint8_of_the_size_asked_for(scenes: dashcam.Scenes, size: int) -> None:
    pictures = dashcam.render(scenes[:4], size=size)
    assert pictures.shape == (4, 3, size, size)
    assert pictures.dtype == torch.uint8
    assert pictures.float().std(dim=(1, 2, 3)).min() > 5


def test_sampling_is_uniform_and_independent_of_what_is_given() -> None:
    drawn = dashcam.sample(6000, seed=0)
    for factor, count in COUNTS.items():
        assert torch.bincount(drawn.labels[factor], minlength=count).min() > 6000 / count * 0.85, factor
    given = dashcam.sample(6000, seed=0, given={"light": 1, "light_scale": 2.0})
    assert (given.labels["light"] == 1).all()
    assert (given.nuisances["light_scale"] == 2).all()
    for name in ("pedestrian", "time"):
        assert torch.equal(given.labels[name], drawn.labels[name])
    assert torch.equal(given.nuisances["noise_seed"], drawn.nuisances["noise_seed"])
    assert not torch.equal(drawn.labels["light"], dashcam.sample(6000, seed=1).labels["light"])


def test_nuisances_stay_within_their_ranges() -> None:
    drawn = dashcam.sample(2000, seed=3).nuisances
    for name, span in dashcam.NUISANCES.items():
        assert span.low <= drawn[name].min() <= drawn[name].max() <= span.high, name
        assert len(drawn[name].unique()) > 1, name


def test_a_picture_depends_on_its_own_factors_only(scenes: dashcam.Scenes) -> None:
    together = dashcam.render(scenes)
    assert torch.equal(together, dashcam.render(scenes))
    one_by_one = torch.cat([dashcam.render(scenes[i : i + 1]) for i in range(N)])
    assert torch.equal(together, one_by_one)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    assert torch.equal(together[order], dashcam.render(scenes[order]))


def test_drawing_is_the_same_across_blocks() -> None:
    many = dashcam.sample(1100, seed=4)  # more than are drawn at once
    assert torch.equal(dashcam.render(many)[1000:], dashcam.render(many[1000:]))


@pytest.mark.parametrize("factor", list(dashcam.FACTORS))
def test_every_factor_is_visible_and_changes_nothing_else(scenes: dashcam.Scenes, factor: str) -> None:
    after = other(scenes, factor)
    for name in COUNTS:
        assert torch.equal(after.labels[name], scenes.labels[name]) == (name != factor)
    assert all(torch.equal(after.nuisances[name], scenes.nuisances[name]) for name in scenes.nuisances)
    difference = (dashcam.render(after).float() - dashcam.render(scenes).float()).abs().mean(dim=(1, 2, 3))
    # A parked or far car may be dark at night, but nothing is ever invisible.
    assert (difference > 0).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("light_side", 2), ("light_height", 1.0), ("light_housing", 1), ("light_hue", 1.0), ("car_offset", 0.2),
        ("lane_offset", 0.4), ("pitch", 1.0), ("backdrop", 0), ("pan", 0.5), ("clutter", 12345678), ("roadside", 1234),
        ("haze", 3.0), ("exposure", 2.0), ("blur", 1.0), ("noise", 0.2), ("noise_seed", 7), ("car_braking", 1),
        ("light_scale", 3.0), ("car_depth", 1.0), ("light_x", 1.0), ("light_distance", 14.0),
    ],
)  # fmt: skip
def test_every_nuisance_can_be_set(scenes: dashcam.Scenes, name: str, value: float) -> None:
    after = dashcam.change(scenes, name, value)
    assert changed(scenes, after).any(dim=(1, 2)).float().mean() > 0.3


def test_a_pedestrian_s_looks_change_only_the_pedestrian(scenes: dashcam.Scenes) -> None:
    walking = dashcam.change(scenes, "pedestrian", 2)
    masks = dashcam.masks(walking)["pedestrian"]
    for name in ("pedestrian_clothes", "pedestrian_stride"):
        value = (walking.nuisances[name] + 1) % 2
        after = dashcam.change(walking, name, value)
        allowed = dilated(masks | dashcam.masks(after)["pedestrian"])
        difference = changed(walking, after)
        assert difference.any()
        assert not (difference & ~allowed).any()


@pytest.mark.parametrize(
    ("factor", "owner"),
    [("light", "glow"), ("pedestrian", "pedestrian"), ("car_colour", "car"), ("body", "car"), ("distance", "car")],
)
def test_a_matched_pair_differs_only_where_its_factor_acts(scenes: dashcam.Scenes, factor: str, owner: str) -> None:
    after = other(scenes, factor)
    allowed = dilated(dashcam.masks(scenes)[owner] | dashcam.masks(after)[owner])
    difference = changed(scenes, after)
    assert not (difference & ~allowed).any()
    assert allowed.float().mean() < 0.5


def test_red_is_lit_above_and_green_below(scenes: dashcam.Scenes) -> None:
    rows = torch.arange(64.0)
    heights, colours = [], []
    for state in (0, 1):
        lit = dashcam.sample(N, 1, given={"light": state, "light_scale": 2.0, "weather": 0})
        lamp = dashcam.coverage(lit)["lamp"]
        heights.append((lamp.sum(2) * rows).sum(1) / lamp.sum(dim=(1, 2)))
        weight = lamp / lamp.sum(dim=(1, 2), keepdim=True)
        colours.append((dashcam.render(lit).float() * weight[:, None]).sum(dim=(2, 3)))
    assert (heights[0] < heights[1] - 4).all()
    assert (colours[0][:, 0] > colours[0][:, 1] + 40).all()
    assert (colours[1][:, 1] > colours[1][:, 0] + 40).all()


def test_areas_grow_with_light_scale(scenes: dashcam.Scenes) -> None:
    scales = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
    found = [dashcam.areas(dashcam.change(scenes, "light_scale", scale)) for scale in scales]
    for owner in ("light", "lamp"):
        area = torch.stack([areas[owner] for areas in found])
        assert (area[1:] > area[:-1]).all(), owner
        # An area grows with the square of the scale, the picture being large enough.
        assert torch.allclose(area[3] / area[1], torch.tensor(4.0), rtol=0.25), owner
    assert found[1]["light"].max() < 50
    assert found[1]["lamp"].max() < 5
    assert found[-1]["light"].min() > 300


def test_areas_are_those_of_the_things(scenes: dashcam.Scenes) -> None:
    areas, masks = dashcam.areas(scenes), dashcam.masks(scenes)
    for owner, area in areas.items():
        assert (area <= masks[owner].sum(dim=(1, 2)) + 1e-3).all(), owner
    assert (areas["pedestrian"][scenes.labels["pedestrian"] == 0] == 0).all()
    assert (areas["pedestrian"][scenes.labels["pedestrian"] > 0] > 8).all()
    near, far = (dashcam.areas(dashcam.change(scenes, "distance", value))["car"] for value in (0, 1))
    assert (near > 1.5 * far).all()
    half = dashcam.areas(scenes, size=32)
    assert torch.allclose(areas["car"] / half["car"], torch.tensor(4.0), rtol=0.15)


def test_a_scene_looks_the_same_at_every_size(scenes: dashcam.Scenes) -> None:
    clean = scenes
    for name, value in {"noise": 0.0, "blur": 0.0, "pitch": 0.0, "weather": 0}.items():
        clean = dashcam.change(clean, name, value)
    small = dashcam.render(clean, size=32).float()
    large = F.avg_pool2d(dashcam.render(clean, size=64).float(), 2)
    pairs = zip(small.flatten(1), large.flatten(1), strict=True)
    assert min(float(torch.corrcoef(torch.stack(pair))[0, 1]) for pair in pairs) > 0.85


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("light", 2, "light=2: expected 0 to 1 .red, green"),
        ("light", 0.5, "whole numbers"),
        ("pedestrian", torch.tensor([0, 1]), "pedestrian has shape"),
        ("light_scale", 9.0, "light_scale=9.0: expected 0.4 to 6"),
        ("light_scale", float("nan"), "light_scale=nan"),
        ("colour", 0, "unknown factor 'colour'"),
    ],
)
def test_bad_values_are_named(scenes: dashcam.Scenes, name: str, value: float | Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dashcam.change(scenes, name, value)
    with pytest.raises(UsageError, match=message):
        dashcam.sample(N, 0, given={name: value})


def test_a_size_out_of_range_is_named(scenes: dashcam.Scenes) -> None:
    with pytest.raises(UsageError, match="size=8: expected 16 to 512"):
        dashcam.render(scenes, size=8)


def test_no_scene_no_picture() -> None:
    empty = dashcam.sample(0, 0)
    assert dashcam.render(empty).shape == (0, 3, 64, 64)
    assert dashcam.masks(empty)["car"].shape == (0, 64, 64)


def test_words_name_every_value_and_lengths_tell_nothing() -> None:
    assert set(dashcam.WORDS.phrases) == set(dashcam.FACTORS)
    for factor, names in dashcam.FACTORS.items():
        assert len(dashcam.WORDS.phrases[factor]) == len(names)
        assert all(len(wordings) >= 2 for wordings in dashcam.WORDS.phrases[factor])
        wordings = [w for value in dashcam.WORDS.phrases[factor] for w in value] + list(dashcam.WORDS.fillers[factor])
        assert len({len(wording.split()) for wording in wordings}) == 1, factor
    texts = [text for value in prompts(dashcam.WORDS, "light", given={"body": 1}) for text in value]
    assert "a van at a red light" in [text.replace(" on the road", "") for text in texts]


def test_drawing_is_not_slow() -> None:
    scenes = dashcam.sample(256, 0)
    dashcam.render(scenes[:1])
    start = time.process_time()
    dashcam.render(scenes)
    assert 256 / (time.process_time() - start) > 300  # some thousands on an idle core


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_draws_the_same_pictures(scenes: dashcam.Scenes) -> None:
    difference = dashcam.render(scenes).int() - dashcam.render(scenes, device="cuda").cpu().int()
    assert (difference.abs() > 2).float().mean() < 1e-3


def test_the_largest_pedestrian_is_drawn_as_sharply_as_in_a_picture_four_times_as_large() -> None:
    """Stretched from a smaller drawing, a large pedestrian is a ghost that the street shines through."""
    shown = dashcam.sample(40, seed=0, given={"pedestrian": 2, "time": 0, "weather": 0})
    for name, value in (("pedestrian_scale", 3.0), ("noise", 0.0), ("blur", 0.0)):
        shown = dashcam.change(shown, name, value)
    small, large = dashcam.render(shown, size=48), dashcam.render(shown, size=192)
    differs = (small.float() - F.avg_pool2d(large.float(), 4)).abs().mean(1)
    outside = ~dashcam.masks(shown, size=48)["pedestrian"]
    inside = F.max_pool2d(outside.float()[:, None], 5, 1, 2)[:, 0] == 0  # two pixels from the outline
    assert inside.sum() > 1000
    assert differs[inside].mean() < 13  # of 255; a ghost differs by 18
