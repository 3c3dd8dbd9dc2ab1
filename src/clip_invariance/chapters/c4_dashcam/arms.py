"""Chapter 4, arms: which encoders there are, from which profile on each is trained, and how much all of them see."""

from __future__ import annotations

from typing import Any

from clip_invariance.chapters.c4_dashcam.training import Arm, Schedule, train
from clip_invariance.errors import UsageError
from clip_invariance.profiles import Profile, Scale, run_in
from clip_invariance.units import Unit

#: The encoder that the chapter is about: captions name the car and nothing else, the light has its usual size.
SILENT = Arm(course=True)
#: Its opposite: every caption mentions light and pedestrian.
TALKATIVE = Arm(mention=1.0, course=True)
UNTRAINED = {"small": Arm(length=0), "large": Arm(light_size="large", length=0, since="standard")}
#: What a wider embedding shows of the light without any training. Added after the rules; none uses it.
UNTRAINED_WIDE = Arm(embed_dim=256, length=0, since="standard")
LABELS = {size: Arm("labels", light_size=size) for size in ("small", "large")}
VIEWS = Arm("views", since="standard")
LARGE = Arm(light_size="large")
SOMETIMES = Arm(mention=0.1)
#: Between the rates of the rules. Added after them.
SIX_IN_TEN = Arm(mention=0.6, since="standard")
#: Captions that mention light and pedestrian at a rate, with time to learn what comes late.
PATIENT = {rate: Arm(mention=rate, length=3, course=True, since="standard") for rate in (0.1, 0.3, 1.0)}

#: Controls of the silent encoder: one thing is changed in each.
CONTROLS = {
    "wider embedding": Arm(embed_dim=256, since="standard"),
    "equally long captions": Arm(filler=True, since="standard"),
    "equal captions no negatives": Arm(masked=True, since="standard"),
    "three times as long": Arm(length=3, course=True, since="standard"),
    "narrower embedding": Arm(embed_dim=16, since="full"),
}
LONGER = CONTROLS["three times as long"]

#: Light size -> mention rate -> the encoder whose captions mention light and pedestrian at that rate; rates rise.
BY_RATE: dict[str, dict[float, Arm]] = {
    "small": {
        0.0: SILENT,
        0.01: Arm(mention=0.01, since="full"),
        0.03: Arm(mention=0.03, since="standard"),
        0.05: Arm(mention=0.05, since="full"),
        0.1: SOMETIMES,
        0.3: Arm(mention=0.3, since="standard"),
        0.6: SIX_IN_TEN,
        1.0: TALKATIVE,
    },
    "large": {0.0: LARGE}
    | {
        rate: Arm(mention=rate, light_size="large", since="full" if rate in (0.01, 0.05) else "standard")
        for rate in (0.01, 0.03, 0.05, 0.1, 0.3, 0.6, 1.0)
    },
}

#: Every encoder that some profile trains.
ARMS: tuple[Arm, ...] = tuple(
    dict.fromkeys(
        [
            *(arm for arms in BY_RATE.values() for arm in arms.values()),
            *LABELS.values(),
            VIEWS,
            *UNTRAINED.values(),
            UNTRAINED_WIDE,
            *CONTROLS.values(),
            *PATIENT.values(),
        ]
    )
)

SCHEDULE = Scale(usual=Schedule(steps=400, images=12_000), smoke=Schedule(steps=4, images=300))


def arms_of(profile: Profile) -> list[Arm]:
    """The encoders that a profile trains: in ``quick``, enough for every condition of the chapter's claims."""
    return run_in(ARMS, profile)


def params(arm: Arm, profile: Profile, seed: int, device: str) -> dict[str, Any]:
    """The arguments of :func:`train`, of which measures take the same."""
    return {"arm": arm, "schedule": SCHEDULE.at(profile), "seed": seed, "device": device}


def train_unit(arm: Arm, profile: Profile, seed: int, device: str) -> Unit:
    """The training of one arm from one seed.

    Raises:
        UsageError: for an arm that the profile does not train.
    """
    if arm not in arms_of(profile):
        raise UsageError(f"{arm} is not trained in the profile {profile.name}: add it to ARMS")
    return Unit(train, params(arm, profile, seed, device))


def train_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """All trainings of a profile; one seed after the other, as arms of one seed share their pictures."""
    return [train_unit(arm, profile, seed, device) for seed in range(seeds) for arm in arms_of(profile)]
