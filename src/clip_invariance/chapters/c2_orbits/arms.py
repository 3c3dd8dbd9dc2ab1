"""Chapter 2: which networks are trained on what, and for how long."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from clip_invariance.chapters.c2_orbits.orbits import ARTWORK, DIGITS, WIDTH
from clip_invariance.profiles import Scale

#: Objectives besides K, a number of samples: pictures as written or drawn, the whole orbit, or of each orbit the one
#: picture that its frame chooses.
NONE, WHOLE, FRAME = "none", "all", "frame"
#: Elements of the group of shifts by even numbers of pixels: small enough to train on all of it.
GROUP_SIZE = 16
#: All training digits, from nine forms.
ALL_IMAGES = 1157
NARROW = 8


@dataclass(frozen=True)
class Arm:
    """One network and what it is trained on.

    Attributes:
        objective: NONE, WHOLE, FRAME, or K as a number: which pictures of an orbit a step averages over.
        width: of the perceptron's hidden layers; 0 is a linear model.
        net: the perceptron, or the hard-invariant convolutional net.
        images: training pictures, a random choice of all.
        length: training length as a multiple of :data:`STEPS`; 0 leaves the net untrained.
        world: digits or drawings.
        spacing: pixels between neighbouring shifts of the orbit; 0 for as many as make 64 of them.
        batch: orbits per step.
        rate: peak learning rate.
        since: the smallest profile that has this arm.
    """

    objective: str
    width: int = WIDTH
    net: Literal["perceptron", "torus"] = "perceptron"
    images: int = ALL_IMAGES
    length: float = 1.0
    world: str = DIGITS
    spacing: int = 2
    batch: int = 32
    rate: float = 1e-2
    since: str = field(default="quick", compare=False)

    @property
    def training(self) -> str:
        """In words: "untrained", on "upright" pictures (as written or drawn), or on one random shift ("shifted")."""
        return "untrained" if self.length == 0 else "upright" if self.objective == NONE else "shifted"


#: Gradient steps of a training of length 1.
STEPS = Scale(usual=2000, smoke=32)
#: Test pictures of the trainings below; of the averages over 64 shifts; of the comparison of costs.
TEST = Scale(usual=640, smoke=64)
SAMPLED_TEST = Scale(usual=256, smoke=24, quick=96, full=512)
COST_TEST = Scale(usual=640, smoke=32, quick=320)
#: Timed calls, of which the median counts.
REPEATS = Scale(usual=9, smoke=1, quick=5)

#: The first and the last differ by as much as the whole orbit differs from one sample: equal compute.
LENGTHS = (1 / GROUP_SIZE, 1 / 4, 1.0)
OBJECTIVES = {WHOLE: "quick", "1": "quick", "2": "standard", "4": "quick", "8": "standard"}
#: Objectives by training length in the wide net, and the longest training without any shifts.
TRAINED = (
    *(Arm(objective, length=length, since=since) for objective, since in OBJECTIVES.items() for length in LENGTHS),
    Arm(NONE),
)

#: Four times the longest, in a wide and in a narrow net: which regret is a matter of time? No rule uses it.
LONGER = 4
LONG = tuple(
    Arm(objective, width, length=LONGER, since="standard") for width in (WIDTH, NARROW) for objective in (WHOLE, "1")
)
WIDTHS = {0: "quick", 4: "standard", NARROW: "quick", 16: "standard", 32: "full", 64: "standard", WIDTH: "quick"}
#: One sample against the whole orbit by width.
BY_WIDTH = tuple(Arm(objective, width, since=since) for width, since in WIDTHS.items() for objective in (WHOLE, "1"))

FEW = 64
SIZES = {FEW: "quick", 128: "standard", 256: "standard", ALL_IMAGES: "quick"}
#: The torus net has no shifts to learn, and each of its steps takes several times as long.
TORUS_LENGTH = 0.4
#: Training-set sizes: the hard-invariant net; averaged, augmented, and as written.
BY_SIZE = (
    *(Arm(NONE, net="torus", length=TORUS_LENGTH, images=size, since=since) for size, since in SIZES.items()),
    *(Arm(objective, images=size, since=since) for objective in (WHOLE, "1", NONE) for size, since in SIZES.items()),
)

#: World -> what its nets have in common whose averages over all 64 shifts are taken apart.
_WORLD = {
    ARTWORK: Arm(NONE, images=512, length=0.3, world=ARTWORK, spacing=0, batch=64, rate=2e-3),
    DIGITS: Arm(NONE, spacing=0, batch=64),
}


def sampled(world: str, training: str) -> Arm:
    """The net of a world after a training: "untrained", "upright" or "shifted" (see :attr:`Arm.training`)."""
    upright = _WORLD[world]
    return {"untrained": replace(upright, length=0), "upright": upright, "shifted": replace(upright, objective="1")}[
        training
    ]


TRAININGS = ("untrained", "upright", "shifted")
SAMPLED = tuple(sampled(world, training) for world in _WORLD for training in TRAININGS)

#: Ways to train for the comparison of costs, under all 64 shifts.
_PAID = Arm(NONE, length=0.6, spacing=0)
PAID = {
    "plain": _PAID,
    "augmented": replace(_PAID, objective="1"),
    "framed": replace(_PAID, objective=FRAME),
    "torus": replace(_PAID, net="torus", length=0.36),
}
