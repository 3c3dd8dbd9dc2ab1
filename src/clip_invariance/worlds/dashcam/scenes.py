"""What decides a dashcam picture: the categorical factors that a caption may mention, and every nuisance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from clip_invariance.errors import UsageError
from clip_invariance.worlds.factored import Scenes, draw_labels

#: Categorical factor -> names of its values.
FACTORS: dict[str, tuple[str, ...]] = {
    "light": ("red", "green"),
    "pedestrian": ("none", "waiting", "crossing"),
    "car_colour": ("red", "blue", "green", "yellow", "white", "black"),
    "body": ("car", "van", "truck"),
    "distance": ("near", "far"),
    "weather": ("clear", "rain", "fog"),
    "time": ("day", "dusk", "night"),
    "place": ("city", "country"),
}


@dataclass(frozen=True)
class Range:
    """A nuisance: sampled uniformly from [low, high], may be set anywhere in [least, most]."""

    low: float
    high: float
    least: float
    most: float
    whole: bool = False


def _number(low: float, high: float, least: float | None = None, most: float | None = None) -> Range:
    return Range(low, high, low if least is None else least, high if most is None else most)


def _choice(count: int) -> Range:
    return Range(0, count - 1, 0, count - 1, whole=True)


BACKDROPS = 6
NOISE_SEEDS = 2**18
LEFT, RIGHT, OVERHEAD = 0, 1, 2

#: Nuisance -> its range. Lengths are metres, unless it says otherwise.
NUISANCES: dict[str, Range] = {
    "light_scale": _number(0.85, 1.2, 0.4, 6.0),  # 1: a housing 0.11 of the picture high, lamps two pixels wide at 64
    "light_side": _choice(3),  # 0: pole on the left, 1: pole on the right, 2: on an arm over the road
    "light_x": _number(0.0, 1.0),  # within the band that its side allows
    "light_height": _number(0.0, 1.0),  # 0: at the top of the picture, 1: near the horizon
    "light_housing": _choice(3),  # black, yellow, black on a board with a white rim
    "light_hue": _number(-1.0, 1.0),  # red towards orange, green towards blue
    "light_distance": _number(9.0, 14.0),  # where the pole stands (not the size: that is light_scale)
    "pedestrian_side": _choice(2),
    "pedestrian_x": _number(0.0, 1.0),  # from the middle of the road outwards
    "pedestrian_distance": _number(9.5, 11.5),
    "pedestrian_scale": _number(0.9, 1.15, 0.5, 3.0),
    "pedestrian_clothes": _choice(8),
    "pedestrian_stride": _choice(2),
    "car_depth": _number(0.0, 1.0),  # within near or far
    "car_offset": _number(-0.2, 0.2, -0.5, 0.5),
    "car_braking": _choice(2),
    "lane_offset": _number(-0.4, 0.4),  # of the camera in its lane
    "pitch": _number(-1.0, 1.0),  # of the camera: moves the horizon by up to 0.04 of the picture
    "backdrop": _choice(BACKDROPS),  # clouds, skyline, road surface
    "pan": _number(0.0, 1.0),  # of clouds and skyline
    "clutter": _choice(2**44),  # which trees and buildings stand where
    "roadside": _choice(2**22),  # which signs, lamps and parked cars
    "haze": _number(0.7, 1.3, 0.0, 3.0),  # multiplies the weather's haze
    "exposure": _number(0.85, 1.15, 0.3, 2.0),
    "blur": _number(0.0, 0.6, 0.0, 1.0),  # 1: the kernel [1 2 1] / 4 both ways
    "noise": _number(0.006, 0.025, 0.0, 0.2),  # standard deviation, full scale 1
    "noise_seed": _choice(NOISE_SEEDS),
}


def sample(n: int, seed: int, *, given: Mapping[str, int | float | Tensor] | None = None) -> Scenes:
    """Draw n scenes, every factor and nuisance independently and uniformly.

    What is given replaces what was drawn and touches nothing else, so that two calls that differ in ``given`` only give
    matched scenes.

    Args:
        n: number of scenes.
        seed: any integer.
        given: factor or nuisance -> its value, one for all scenes or a tensor (n,).

    Raises:
        UsageError: for an unknown name or a value out of range.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = draw_labels(FACTORS, n, generator, None)
    nuisances = {}
    for name, span in NUISANCES.items():
        if span.whole:
            nuisances[name] = torch.randint(int(span.high) + 1, (n,), generator=generator)
        else:
            nuisances[name] = span.low + (span.high - span.low) * torch.rand(n, generator=generator)
    scenes = Scenes(labels, nuisances)
    for name, value in (given or {}).items():
        scenes = change(scenes, name, value)
    return scenes


def change(scenes: Scenes, factor: str, value: int | float | Tensor) -> Scenes:
    """Matched counterfactuals: the same scenes with one factor (or nuisance) changed, the sensor noise included.

    Args:
        scenes: the scenes to start from; they stay as they are.
        factor: a name in FACTORS or NUISANCES.
        value: its new value, one for all scenes or a tensor (n,).

    Raises:
        UsageError: for an unknown name, a wrong shape or a value out of range.
    """
    if factor in FACTORS:
        old, whole, least, most = scenes.labels[factor], True, 0.0, len(FACTORS[factor]) - 1.0
        meaning = f" ({', '.join(FACTORS[factor])})"
    elif factor in NUISANCES:
        span = NUISANCES[factor]
        old, whole, least, most, meaning = scenes.nuisances[factor], span.whole, span.least, span.most, ""
    else:
        raise UsageError(f"unknown factor {factor!r}: choose from {', '.join((*FACTORS, *NUISANCES))}")
    new = torch.as_tensor(value, device=old.device)
    if new.ndim and new.shape != old.shape:
        raise UsageError(f"{factor} has shape {tuple(new.shape)}: expected one number, or one for each of {len(old)}")
    if whole and (new.is_floating_point() or new.is_complex()):
        raise UsageError(f"{factor} has type {new.dtype}: expected whole numbers")
    if new.numel() and not bool(((new >= least) & (new <= most)).all()):
        bad = new.reshape(-1)[~((new >= least) & (new <= most)).reshape(-1)][0].item()
        raise UsageError(f"{factor}={bad}: expected {least:g} to {most:g}{meaning}")
    column = new.to(old.dtype).expand_as(old).clone()
    if factor in FACTORS:
        return replace(scenes, labels={**scenes.labels, factor: column})
    return replace(scenes, nuisances={**scenes.nuisances, factor: column})
