"""Chapter 5, arms: which encoders are read, what is tuned with how many labels, and what goes on with captions or pairs."""

from __future__ import annotations

from dataclasses import dataclass

from clip_invariance.chapters.c4_dashcam import arms as dashcam_arms
from clip_invariance.chapters.c4_dashcam.arms import LABELS, LONGER, SCHEDULE, SILENT, TALKATIVE, VIEWS
from clip_invariance.chapters.c4_dashcam.measures import ASKED
from clip_invariance.chapters.c4_dashcam.training import Arm as DashcamArm
from clip_invariance.chapters.c5_recovery.measures import Encoder
from clip_invariance.chapters.c5_recovery.pictures import CAPTIONED, LOST, OTHERS
from clip_invariance.chapters.c5_recovery.training import Arm, train
from clip_invariance.chapters.c5_recovery.tuning import ALL, GoingOn, Pairs, Tuning
from clip_invariance.profiles import Profile, Scale, run_in
from clip_invariance.training.tuning import Method
from clip_invariance.units import Unit

UNTRAINED, ON_LABELS = dashcam_arms.UNTRAINED["small"], LABELS["small"]
BESIDE = Arm("views beside captions")
FIFTH, EVERYTHING = (Arm("rewritten captions", share=share) for share in (0.2, 1.0))
#: The fair rival of all specialists, made after C34's rule: as many labels as the ceiling had, for every task.
GENERALIST = Arm("labels", tasks=tuple(ASKED))

#: Encoders that are read.
ENCODERS: tuple[Encoder, ...] = (
    *(SILENT, TALKATIVE, UNTRAINED, ON_LABELS, VIEWS, LONGER),
    *(BESIDE, FIFTH, EVERYTHING, GENERALIST),
)
#: Those that no words were taught.
WORDLESS = (UNTRAINED, ON_LABELS, VIEWS, GENERALIST)


@dataclass(frozen=True)
class Budgets:
    """Labelled pictures in all: the two numbers that rules speak of, and all that the curves have."""

    few: int
    many: int
    curve: tuple[int, ...]


BUDGETS = Scale(
    usual=Budgets(few=32, many=512, curve=(8, 32, 128, 512, 2000)),
    quick=Budgets(few=32, many=512, curve=(32, 512)),
    smoke=Budgets(few=8, many=32, curve=(8, 32)),
)
#: Labelled pictures -> gradient steps and batch of one tuning. Few pictures are learned by heart in few steps.
LENGTHS = {8: (30, 32), 32: (50, 32), 128: (80, 32), 512: (120, 32), 2000: (160, 64)}
#: Steps of going on with captions, and of pulling pairs together; weight of the pull.
CAPTION_STEPS, PAIR_STEPS, PULL = 50, 50, 10.0


def encoders_of(profile: Profile) -> list[Encoder]:
    """The encoders that a profile reads."""
    return run_in(ENCODERS, profile)


def encoder_unit(arm: Encoder, profile: Profile, seed: int, device: str) -> Unit:
    """The training of an encoder: the very unit of chapter 4 where that trains it."""
    if isinstance(arm, DashcamArm):
        return dashcam_arms.train_unit(arm, profile, seed, device)
    return Unit(train, {"arm": arm, "schedule": SCHEDULE.at(profile), "seed": seed, "device": device})


def tunings(profile: Profile) -> list[Tuning]:
    """What a profile tunes with labels."""
    budgets = BUDGETS.at(profile)
    few, many, curve = budgets.few, budgets.many, budgets.curve
    frozen: tuple[Method, ...] = ("projection", "lora", "full")
    first = [
        Tuning(SILENT, "projection", "light", many),
        *(Tuning(SILENT, method, "light", n) for method in frozen[1:] for n in (few, many)),
        Tuning(SILENT, "lora", "pedestrian", many),
        Tuning(UNTRAINED, "scratch", "light", many),
        *(Tuning(SILENT, "full", task, many) for task in ("time", ALL)),
    ]
    later: list[tuple[Encoder, Method, str, int]] = [
        *((SILENT, method, task, n) for task in LOST for method in frozen for n in curve),
        *((UNTRAINED, "scratch", task, n) for task in LOST for n in curve),
        *((UNTRAINED, "lora", "light", n) for n in curve if n >= many),
        *((TALKATIVE, "lora", "light", n) for n in (few, many)),
        *((SILENT, "full", task, many) for task in (*CAPTIONED, *OTHERS)),
    ]
    every = dict.fromkeys([*first, *(Tuning(*what, since="standard") for what in later)])
    return run_in(every, profile)


def goings_on(profile: Profile) -> list[GoingOn]:
    """What goes on with captions; the control and the longer ones were added after the rule of C33."""
    budgets = BUDGETS.at(profile)
    arms = [
        *(GoingOn(n) for n in budgets.curve if n > budgets.few),
        GoingOn(budgets.many, mention=0.0, since="standard"),
        *(GoingOn(n, longer=True, since="standard") for n in budgets.curve if n >= budgets.many),
    ]
    return run_in(arms, profile, smoke="standard")


def pairs(profile: Profile) -> list[Pairs]:
    """Pulling pairs together, and the control without the pull."""
    many = BUDGETS.at(profile).many
    return run_in([Pairs(many, pull=0.0, since="standard"), Pairs(many, pull=PULL)], profile, smoke="standard")
