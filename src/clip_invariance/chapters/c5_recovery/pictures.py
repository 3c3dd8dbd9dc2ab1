"""Chapter 5's pictures: a pool to label from, and tests as usual and under shift. None was trained on in chapter 4."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from clip_invariance.chapters.c4_dashcam.measures import Pictures, drawn
from clip_invariance.chapters.c4_dashcam.training import LIGHT_SIZES, sample_scenes
from clip_invariance.errors import UsageError
from clip_invariance.worlds import dashcam
from clip_invariance.worlds.dashcam import Scenes

#: What the captions of chapter 4's silent encoder leave out and this chapter brings back; what they say; what else is
#: in a picture.
LOST = ("light", "pedestrian")
CAPTIONED = ("car_colour", "body")
OTHERS = ("weather", "time", "place", "distance")

USUAL, FOG, DARK, CLOSE = "usual", "fog", "half the exposure", "light twice as wide"
#: Tests; all but the first show what no picture to train or tune on shows.
TESTS = (USUAL, FOG, DARK, CLOSE)
_FOGGY = 2
_POOL, _TEST, _OTHER_TIME = 500_000, 600_000, 700_000


@lru_cache(maxsize=1)
def pool_scenes(n: int, seed: int) -> Scenes:
    """The scenes that labels can be bought for."""
    return sample_scenes(n, seed + _POOL, "small")


@lru_cache(maxsize=1)
def pool(n: int, seed: int, device: str) -> Pictures:
    """The pictures of :func:`pool_scenes`; all their labels are known to us, and used only as far as a budget goes."""
    return drawn(pool_scenes(n, seed), device)


@lru_cache(maxsize=1)
def exams(n: int, seed: int, device: str) -> dict[str, Pictures]:
    """Name in TESTS -> n pictures; the four show the same scenes but for what the name says."""
    scenes = sample_scenes(n, seed + _TEST, "small")
    nuisances = scenes.nuisances
    wide = nuisances["light_scale"] * (LIGHT_SIZES["large"] / LIGHT_SIZES["small"])
    changed = {
        USUAL: scenes,
        FOG: dashcam.change(scenes, "weather", _FOGGY),
        DARK: dashcam.change(scenes, "exposure", nuisances["exposure"] / 2),
        CLOSE: dashcam.change(scenes, "light_scale", wide),
    }
    return {name: drawn(there, device) for name, there in changed.items()}


def at_another_time(scenes: Scenes, seed: int) -> Scenes:
    """The same scenes at another time of day each."""
    times = len(dashcam.FACTORS["time"])
    step = torch.randint(1, times, (len(scenes),), generator=torch.Generator().manual_seed(seed + _OTHER_TIME))
    return dashcam.change(scenes, "time", (scenes.labels["time"] + step) % times)


def subset(pictures: Pictures, which: Tensor) -> Pictures:
    """The pictures at some positions."""
    return Pictures(pictures.images[which], {f: v[which] for f, v in pictures.labels.items()})


def budget(labels: Mapping[str, Tensor], tasks: Sequence[str], n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Which n pictures get a label: all that a method may know, to fit and to choose its settings on.

    Both parts have equally many pictures of each class, as far as n allows; for several tasks, of the one with most
    classes. A larger budget holds the pictures of a smaller one.

    Args:
        labels: of the pool.
        tasks: what is labelled.
        n: labelled pictures, at least four.
        seed: of the choice.

    Returns:
        positions to fit on, about three quarters, and positions to validate on: together n different ones.

    Raises:
        UsageError: if the pool is too small, or there are fewer than four labels.
    """
    columns = {task: labels[task].cpu() for task in tasks}
    classes, codes = max(((int(column.max()) + 1, column) for column in columns.values()), key=lambda pair: pair[0])
    if not 4 <= n <= len(codes):
        raise UsageError(f"labels: {n} asked from a pool of {len(codes)} pictures, need 4 to {len(codes)}")
    order = torch.randperm(len(codes), generator=torch.Generator().manual_seed(seed))
    codes = codes[order]
    turn = torch.nn.functional.one_hot(codes).cumsum(0).gather(1, codes[:, None])[:, 0]
    order = order[torch.argsort(turn * classes + codes)]  # one of each class, then another of each, ...
    chosen = order[:n]
    cut = n - n // 4
    return chosen[:cut], chosen[cut:]
