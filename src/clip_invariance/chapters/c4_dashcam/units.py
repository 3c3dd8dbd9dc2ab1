"""Chapter 4, units: what a profile trains and measures. Every list below is one table of the notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pandas as pd

from clip_invariance.chapters.c4_dashcam import photographs
from clip_invariance.chapters.c4_dashcam.arms import LABELS, SILENT, TALKATIVE, arms_of, params, train_unit
from clip_invariance.chapters.c4_dashcam.measures import Amount, measure, measure_course, measure_pixels
from clip_invariance.chapters.c4_dashcam.story import tell
from clip_invariance.chapters.c4_dashcam.training import Arm
from clip_invariance.profiles import Profile, Scale
from clip_invariance.units import Unit
from clip_invariance.worlds.traffic_lights import SPLITS

AMOUNT = Scale(usual=Amount(2000, 2500, 600, (1, 4, 16, 64)), smoke=Amount(120, 120, 12, (1, 4)))
PHOTOGRAPHS = Scale(
    usual=photographs.Amount(most=2000, shots=(1, 4, 16, 64, 256)), smoke=photographs.Amount(most=32, shots=(1, 4))
)
#: Encoders whose answers about one pair are shown.
TOLD = (SILENT, TALKATIVE)
#: Encoders that are shown photographs in the place of the light.
PASTED = (SILENT, TALKATIVE, LABELS["small"])


def all_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Every unit below."""
    makers = (encoder_units, pixel_units, course_units, photograph_units, pasted_units)
    return [*(unit for make in makers for unit in make(profile, seeds, device)), *story_units(profile, device)]


def encoder_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """All measures of all encoders."""
    return [
        Unit(
            measure,
            {**params(arm, profile, seed, device), "amount": AMOUNT.at(profile)},
            {"encoder": train_unit(arm, profile, seed, device)},
        )
        for seed in range(seeds)
        for arm in arms_of(profile)
    ]


def pixel_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """The same measures on raw pixels."""
    sizes = dict.fromkeys(arm.light_size for arm in arms_of(profile))
    return [
        Unit(measure_pixels, {"light_size": size, "amount": AMOUNT.at(profile), "seed": seed, "device": device})
        for seed in range(seeds)
        for size in sizes
    ]


def _with_encoder(
    function: Callable[..., pd.DataFrame], arms: Iterable[Arm], amount: object, profile: Profile, seeds: int, device: str
) -> list[Unit]:  # fmt: skip
    """One unit for each arm and seed, of a function of an arm, an amount and the arm's encoder."""
    return [
        Unit(
            function,
            {"arm": arm, "amount": amount, "seed": seed, "device": device},
            {"encoder": train_unit(arm, profile, seed, device)},
        )
        for seed in range(seeds)
        for arm in arms
    ]


def course_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """What can be read at several moments of a training."""
    arms = [arm for arm in arms_of(profile) if arm.course]
    return _with_encoder(measure_course, arms, AMOUNT.at(profile), profile, seeds, device)


def story_units(profile: Profile, device: str) -> list[Unit]:
    """What two encoders, of the first seed, make of one matched pair."""
    return _with_encoder(tell, TOLD, AMOUNT.at(profile), profile, 1, device)


def photograph_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Photographs alone: few-shot probes on ImageNet features and on pixels."""
    amount = PHOTOGRAPHS.at(profile)
    needs: dict[str, Unit] = {
        split: Unit(photographs.encode, {"split": split, "most": amount.most, "device": device}) for split in SPLITS
    }
    return [
        Unit(photographs.read_alone, {"amount": amount, "seed": seed, "device": device}, needs) for seed in range(seeds)
    ]


def pasted_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Photographs in the place of the drawn light."""
    return _with_encoder(photographs.read_pasted, PASTED, PHOTOGRAPHS.at(profile), profile, seeds, device)
