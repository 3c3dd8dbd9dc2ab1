"""Chapter 1: which networks are trained, and for how long."""

from __future__ import annotations

from dataclasses import dataclass, field

from clip_invariance.profiles import Profile, Scale, run_in


@dataclass(frozen=True)
class Arm:
    """One network and what it is trained on. Arms that share a seed share their pictures.

    Attributes:
        architecture: one of ``models.convnets.ENCODERS``.
        support: where objects are in training: "one" place, "bottom" half, "everywhere", "places_<n>" (n scattered
            places), or "mixed" (even classes everywhere, odd ones in the bottom half: Biscione & Bowers 2021).
        labelling: what the labels say: "object" (place does not matter), "object_half" (upper and lower half are
            different classes), "object_side" (left and right half are), or "cell" (only place matters: the ceiling of
            the place probe).
        longer: training length and pictures as a multiple of the architecture's budget.
        since: the smallest profile that has this arm.
    """

    architecture: str
    support: str
    labelling: str = "object"
    longer: int = 1
    since: str = field(default="quick", compare=False)


@dataclass(frozen=True)
class Budget:
    """Training pictures, gradient steps, pictures per step, and peak learning rate."""

    images: int
    steps: int
    batch: int = 32
    rate: float = 3e-3


#: One pass over the pictures, three for the MLP: it is quick but learns slowly; the transformer is slow.
DEFAULT_BUDGET = Budget(images=8000, steps=250)
BUDGETS = {"mlp": Budget(images=9600, steps=900, rate=1e-3), "vit": Budget(images=6400, steps=200)}
#: Training length as a multiple of the budgets.
LENGTH = Scale(usual=1.0, smoke=0.01)
#: Pictures per test set.
TEST = Scale(usual=768, smoke=96)

#: Architectures with no invariance built in.
SOFT = ("zero_flatten", "mlp", "vit")
#: So much longer the transformer takes to use its positions. (In single runs of seed 100 it told an object's half after
#: 2,000 steps and did not after 1,000.)
PATIENCE = 10

#: Does the transformer use its positions, and does it reach the upper half when it does?
PATIENT = (
    Arm("vit", "everywhere", "object_half", longer=PATIENCE, since="standard"),
    Arm("vit", "bottom", longer=PATIENCE, since="standard"),
    Arm("vit", "bottom", "object_side", longer=PATIENCE, since="standard"),
)
#: The slow ones first, so that no run waits for one of them at its end. The quick profile has those that decide a claim.
ARMS = (
    *PATIENT,
    Arm("zero_pool_blur", "everywhere"),
    Arm("vit", "bottom"),
    Arm("vit", "one", since="standard"),
    Arm("vit", "everywhere", since="standard"),
    *(Arm("vit", f"places_{count}", since="standard") for count in (4, 16, 64)),
    Arm("vit", "everywhere", "object_half", since="standard"),
    Arm("vit", "mixed", since="standard"),
    Arm("torus_pool", "one"),
    Arm("torus_pool", "bottom"),
    Arm("zero_pool", "bottom"),
    Arm("zero_pool", "everywhere"),
    Arm("circular_pool", "everywhere"),
    Arm("aligned_pool", "everywhere"),
    *(Arm(net, support) for net in ("zero_flatten", "mlp") for support in ("one", "bottom", "everywhere")),
    Arm("zero_flatten", "everywhere", "object_half"),
    Arm("mlp", "everywhere", "object_half"),
    Arm("zero_flatten", "mixed"),
    Arm("torus_pool", "everywhere", since="standard"),
    Arm("zero_pool", "one", since="standard"),
    *(Arm(net, f"places_{count}", since="standard") for net in ("zero_flatten", "mlp") for count in (4, 16, 64)),
    Arm("torus_pool", "everywhere", "object_half", since="standard"),
    Arm("zero_flatten", "everywhere", "cell", since="standard"),
    Arm("mlp", "everywhere", "cell", since="standard"),
    Arm("zero_pool", "mixed", since="standard"),
    Arm("mlp", "mixed", since="standard"),
)


def budget(arm: Arm) -> Budget:
    """What an arm's training takes at full length."""
    usual = BUDGETS.get(arm.architecture, DEFAULT_BUDGET)
    return Budget(usual.images * arm.longer, usual.steps * arm.longer, usual.batch, usual.rate)


def arms(profile: Profile) -> list[Arm]:
    """The arms of a profile; smoke has the patient transformers too, so that every figure is drawn."""
    patient = run_in(PATIENT, profile, smoke="standard")
    return [*patient, *run_in((arm for arm in ARMS if arm not in PATIENT), profile)]
