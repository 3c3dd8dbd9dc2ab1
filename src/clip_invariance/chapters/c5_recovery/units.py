"""Chapter 5, units: what a profile reads and tunes. Every list below is one table of :class:`tables.Measured`."""

from __future__ import annotations

from typing import Any

from clip_invariance.chapters.c4_dashcam.arms import SCHEDULE, SILENT, TALKATIVE
from clip_invariance.chapters.c5_recovery.arms import (
    BUDGETS,
    CAPTION_STEPS,
    LENGTHS,
    PAIR_STEPS,
    UNTRAINED,
    WORDLESS,
    encoder_unit,
    encoders_of,
    goings_on,
    pairs,
    tunings,
)
from clip_invariance.chapters.c5_recovery.measures import (
    Amount,
    Encoder,
    map_words,
    pixels_by_labels,
    probe_by_labels,
    read,
)
from clip_invariance.chapters.c5_recovery.pictures import TESTS, USUAL
from clip_invariance.chapters.c5_recovery.tuning import GoingOn, Tuning, go_on, pull_together, tune
from clip_invariance.profiles import Profile, Scale
from clip_invariance.units import Unit

AMOUNT = Scale(usual=Amount(pool=2000, test=1500), smoke=Amount(pool=64, test=40))
#: Pairs in a step.
PAIRS = 64
#: Where between the original weights and the tuned ones models are tested.
LINE = [0.0, 0.25, 0.5, 0.75, 1.0]


def all_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Every unit below."""
    makers = (read_units, probe_units, tune_units, caption_units, pair_units, map_units)
    return [unit for make in makers for unit in make(profile, seeds, device)]


def _needs(arm: Encoder, profile: Profile, seed: int, device: str) -> dict[str, Unit]:
    return {"encoder": encoder_unit(arm, profile, seed, device)}


def _where(profile: Profile, seed: int, device: str) -> dict[str, Any]:
    return {"amount": AMOUNT.at(profile), "seed": seed, "device": device}


def _steps(profile: Profile, usual: int) -> int:
    return Scale(usual=usual, smoke=2).at(profile)


def _tests_of(shifted: bool) -> list[str]:
    """Pictures as usual, and under shift for what a figure shows there."""
    return list(TESTS) if shifted else [USUAL]


def read_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Everything that probes and words read from frozen encoders."""
    return [
        Unit(
            read,
            {"arm": arm, "words": arm not in WORDLESS, "tests": _tests_of(arm == SILENT), **_where(profile, seed, device)},
            _needs(arm, profile, seed, device),
        )
        for seed in range(seeds)
        for arm in encoders_of(profile)
    ]  # fmt: skip


def probe_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Probes by number of labels: of the silent encoder, and of the network untrained, at every depth; of raw pixels."""
    budgets = {"budgets": BUDGETS.at(profile).curve}
    of_pixels = [Unit(pixels_by_labels, {**budgets, **_where(profile, seed, device)}) for seed in range(seeds)]
    return of_pixels + [
        Unit(
            probe_by_labels,
            {
                "arm": arm,
                **budgets,
                "every_depth": arm in (SILENT, UNTRAINED),
                "tests": _tests_of(arm in (SILENT, UNTRAINED)),
                **_where(profile, seed, device),
            },
            _needs(arm, profile, seed, device),
        )
        for seed in range(seeds)
        for arm in (SILENT, TALKATIVE, UNTRAINED)
    ]


def tune_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """All tunings with labels; those that the price is measured on are tested on the whole line of weights."""
    many = BUDGETS.at(profile).many
    lines = [Tuning(SILENT, method, "light", many) for method in ("lora", "full")]
    units = []
    for seed in range(seeds):
        for arm in tunings(profile):
            steps, batch = LENGTHS[arm.labels]
            params = {
                "arm": arm,
                "steps": _steps(profile, steps),
                "batch": batch,
                "shares": LINE if arm in lines else [1.0],
                "probed": arm.method == "full" and arm.labels == many,
                "words": arm.encoder not in WORDLESS,
                "tests": _tests_of(arm in lines),
                **_where(profile, seed, device),
            }
            units.append(Unit(tune, params, _needs(arm.encoder, profile, seed, device)))
    return units


def caption_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Going on with rewritten captions; in all but quick runs also with captions as they were, and for longer."""
    usual, longer = _steps(profile, CAPTION_STEPS), SCHEDULE.at(profile).steps
    shifted = GoingOn(BUDGETS.at(profile).many)
    return [
        Unit(
            go_on,
            {
                "arm": arm,
                "steps": longer if arm.longer else usual,
                "tests": _tests_of(arm == shifted),
                **_where(profile, seed, device),
            },
            _needs(SILENT, profile, seed, device),
        )
        for seed in range(seeds)
        for arm in goings_on(profile)
    ]


def pair_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Pulling pairs together that differ in the time of day, and (not in quick runs) the control without the pull."""
    return [
        Unit(
            pull_together,
            {"arm": arm, "steps": _steps(profile, PAIR_STEPS), "batch": PAIRS, **_where(profile, seed, device)},
            _needs(SILENT, profile, seed, device),
        )
        for seed in range(seeds)
        for arm in pairs(profile)
    ]


def map_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """One linear map between pictures and words."""
    return [
        Unit(
            map_words,
            {"arm": SILENT, "budgets": BUDGETS.at(profile).curve[-2:], **_where(profile, seed, device)},
            _needs(SILENT, profile, seed, device),
        )
        for seed in range(seeds)
    ]
