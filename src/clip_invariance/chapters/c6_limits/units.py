"""Chapter 6's units of work: every encoder is trained once and asked everything that its arm is there for."""

from __future__ import annotations

from clip_invariance.chapters.c6_limits.arms import CARDS, COLLAGES, TESTS, Arm, CardArm, arms
from clip_invariance.chapters.c6_limits.measures import measure, measure_cards, measure_pixels
from clip_invariance.chapters.c6_limits.training import train, train_cards
from clip_invariance.errors import UsageError
from clip_invariance.profiles import Profile
from clip_invariance.units import Unit, label


def all_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """All measures; one seed after the other, as arms of one seed share their pictures."""
    units = []
    for seed in range(seeds):
        how = {"tests": TESTS.at(profile), "seed": seed, "device": device}
        for arm in arms(profile):
            function = measure_cards if isinstance(arm, CardArm) else measure
            units.append(Unit(function, {"arm": arm, **how}, {"encoder": train_unit(arm, profile, seed, device)}))
        units.append(Unit(measure_pixels, how))
    return units


def train_unit(arm: Arm | CardArm, profile: Profile, seed: int, device: str) -> Unit:
    """The training of one arm from one seed.

    Raises:
        UsageError: for an arm that the profile does not train.
    """
    if arm not in arms(profile):
        raise UsageError(f"{label(arm)} is not trained in the profile {profile.name}")
    function, scale = (train_cards, CARDS) if isinstance(arm, CardArm) else (train, COLLAGES)
    return Unit(function, {"arm": arm, "scale": scale.at(profile), "seed": seed, "device": device})
