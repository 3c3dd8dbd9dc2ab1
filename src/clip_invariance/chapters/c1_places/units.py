"""Chapter 1: its units of work."""

from __future__ import annotations

from clip_invariance.chapters.c1_places import informative, red_green
from clip_invariance.chapters.c1_places.arms import LENGTH, TEST, arms
from clip_invariance.chapters.c1_places.measures import measure, measure_controls
from clip_invariance.chapters.c1_places.training import train
from clip_invariance.profiles import Profile
from clip_invariance.units import Unit


def units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Every arm of a profile, trained and measured."""
    length, test = LENGTH.at(profile), TEST.at(profile)
    return [
        Unit(
            measure,
            {"arm": arm, "test": test, "seed": seed, "device": device},
            needs={"training": Unit(train, {"arm": arm, "length": length, "seed": seed, "device": device})},
        )
        for arm in arms(profile)
        for seed in range(seeds)
    ]


def control_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """The place probe on what was never trained, and on shuffled cells."""
    return [Unit(measure_controls, {"test": TEST.at(profile), "seed": seed, "device": device}) for seed in range(seeds)]


def all_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Every unit of the chapter."""
    makers = (units, control_units, red_green.units, informative.units)
    return [unit for make in makers for unit in make(profile, seeds, device)]
