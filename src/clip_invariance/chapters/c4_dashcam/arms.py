"""Chapter 4: which encoders each profile trains. Everything is an arm of :func:`chapters.c4_dashcam.training.train`."""

from __future__ import annotations

from dataclasses import dataclass

from clip_invariance.chapters.c4_dashcam.training import Objective, train
from clip_invariance.errors import UsageError
from clip_invariance.profiles import Profile
from clip_invariance.units import Unit


@dataclass(frozen=True)
class Arm:
    """One encoder; the arguments are those of :func:`dashcam_training.train`.

    Attributes:
        length: training steps, in multiples of the usual number; 0 is the untrained control.
        course: keep the weights at several moments of the training.
    """

    objective: Objective = "captions"
    mention: float = 0.0
    light_size: str = "small"
    embed_dim: int = 64
    filler: bool = False
    masked: bool = False
    length: int = 1
    course: bool = False


#: The encoder that the chapter is about: captions name the car and nothing else, the light has its usual size.
SILENT = Arm(course=True)
#: Its opposite: every caption mentions light and pedestrian.
TALKATIVE = Arm(mention=1.0, course=True)
UNTRAINED = {size: Arm(light_size=size, length=0) for size in ("small", "large")}
#: What a wider embedding shows of the light without any training. Added after the rules; none uses it.
UNTRAINED_WIDE = Arm(embed_dim=256, length=0)
LABELS = {size: Arm("labels", light_size=size) for size in ("small", "large")}
VIEWS = Arm("views")
LARGE = Arm(light_size="large")
SOMETIMES = Arm(mention=0.1)
#: Between the rates of the rules. Added after them.
SIX_IN_TEN = Arm(mention=0.6)
#: Captions that mention light and pedestrian at a rate, with time to learn what comes late.
PATIENT = {rate: Arm(mention=rate, length=3, course=True) for rate in (0.1, 0.3, 1.0)}

#: Controls of the silent encoder: one thing is changed in each.
CONTROLS = {
    "wider embedding": Arm(embed_dim=256),
    "equally long captions": Arm(filler=True),
    "equal captions no negatives": Arm(masked=True),
    "three times as long": Arm(length=3, course=True),
    "narrower embedding": Arm(embed_dim=16),
}

#: Enough for every condition of the chapter's claims.
_QUICK = (SILENT, SOMETIMES, TALKATIVE, LARGE, LABELS["small"], LABELS["large"], UNTRAINED["small"])
_STANDARD = (
    *_QUICK,
    *(Arm(mention=p) for p in (0.03, 0.3)),
    SIX_IN_TEN,
    *(Arm(mention=p, light_size="large") for p in (0.03, 0.1, 0.3, 0.6, 1.0)),
    VIEWS,
    UNTRAINED["large"],
    UNTRAINED_WIDE,
    *(arm for name, arm in CONTROLS.items() if name != "narrower embedding"),
    *PATIENT.values(),
)
_FULL = (
    *_STANDARD,
    *(Arm(mention=p, light_size=size) for p in (0.01, 0.05) for size in ("small", "large")),
    CONTROLS["narrower embedding"],
)
ARMS: dict[str, tuple[Arm, ...]] = {"smoke": _QUICK, "quick": _QUICK, "standard": _STANDARD, "full": _FULL}

#: Gradient steps and training pictures: as many in every profile but the one that only runs every line.
STEPS = {"smoke": 4, "quick": 400, "standard": 400, "full": 400}
IMAGES = {"smoke": 300, "quick": 12_000, "standard": 12_000, "full": 12_000}


def train_unit(arm: Arm, profile: str, seed: int, device: str) -> Unit:
    """The training of one arm from one seed.

    Raises:
        UsageError: for an arm that the profile does not train.
    """
    if arm not in ARMS[profile]:
        raise UsageError(f"{arm} is not trained in the profile {profile}")
    usual, steps = STEPS[profile], arm.length * STEPS[profile]
    return Unit(
        train,
        {
            "objective": arm.objective,
            "mention": arm.mention,
            "light_size": arm.light_size,
            "embed_dim": arm.embed_dim,
            "filler": arm.filler,
            "masked": arm.masked,
            "steps": steps,
            "keep_at": [at for at in (usual // 4, usual // 2, usual, 2 * usual) if at < steps] if arm.course else [],
            "images": IMAGES[profile],
            "seed": seed,
            "device": device,
        },
    )


def train_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """All trainings of a profile; one seed after the other, as arms of one seed share their pictures."""
    return [train_unit(arm, profile.name, seed, device) for seed in range(seeds) for arm in ARMS[profile.name]]
