"""Chapter 2: its units of work."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from clip_invariance.chapters.c2_orbits import arms, cost, measures, sampling
from clip_invariance.chapters.c2_orbits.arms import Arm
from clip_invariance.chapters.c2_orbits.training import train
from clip_invariance.profiles import Profile, Scale, run_in
from clip_invariance.units import Unit


def sampling_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """The averages of nets of both worlds after every training."""
    return _measured(arms.SAMPLED, profile, seeds, device, sampling.measure, arms.SAMPLED_TEST)


def training_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Objectives by training length in the wide net, and the longest training without any shifts."""
    return _measured(run_in(arms.TRAINED, profile), profile, seeds, device)


def width_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """One sample against the whole orbit by width; in two of the nets for longer, in smoke too, so that it is drawn."""
    chosen = [*run_in(arms.LONG, profile, smoke="standard"), *run_in(arms.BY_WIDTH, profile)]
    return _measured(chosen, profile, seeds, device)


def size_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Training-set sizes by what is done about place."""
    return _measured(run_in(arms.BY_SIZE, profile), profile, seeds, device)


def cost_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """One comparison of all methods per seed. Runs on the CPU whatever the device: times on a GPU mean something else."""
    del device
    size = {"test": arms.COST_TEST.at(profile), "repeats": arms.REPEATS.at(profile)}
    return [
        Unit(
            cost.compare,
            {**size, "seed": seed, "device": "cpu"},
            needs={name: _training(arm, profile, seed, "cpu") for name, arm in arms.PAID.items()},
        )
        for seed in range(seeds)
    ]


def all_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Every unit of the chapter."""
    makers = (sampling_units, training_units, width_units, size_units, cost_units)
    return [unit for make in makers for unit in make(profile, seeds, device)]


def _measured(
    chosen: Sequence[Arm],
    profile: Profile,
    seeds: int,
    device: str,
    measure: Callable[..., pd.DataFrame] = measures.measure,
    test: Scale[int] = arms.TEST,
) -> list[Unit]:
    return [
        Unit(
            measure,
            {"arm": arm, "test": test.at(profile), "seed": seed, "device": device},
            needs={"training": _training(arm, profile, seed, device)},
        )
        for arm in chosen
        for seed in range(seeds)
    ]


def _training(arm: Arm, profile: Profile, seed: int, device: str) -> Unit:
    return Unit(train, {"arm": arm, "full": arms.STEPS.at(profile), "seed": seed, "device": device})
