"""Chapter 6's encoders: what teaches each, how large training is, and which of them each profile trains."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from clip_invariance.captions import NOISE, CaptionPolicy, Noise
from clip_invariance.errors import UsageError
from clip_invariance.profiles import Profile, Scale, run_in

Naming = Literal["object", "group"]
#: What teaches: captions, labels of everything, or labels of the thing and nothing else.
Objective = Literal["captions", "labels", "thing"]
#: The text tower: trained with the pictures, or a frozen one that knows the words of the language from elsewhere.
Text = Literal["trained", "frozen"]
CardNames = Literal["card", "digit", "both"]


@dataclass(frozen=True)
class Size:
    """How long one training is: pictures, gradient steps, pictures in a step, peak learning rate."""

    images: int
    steps: int
    batch: int = 64
    rate: float = 4e-3


COLLAGES = Scale(Size(images=8000, steps=300), smoke=Size(images=200, steps=3))
#: Digits are learned later than things; their pictures are small, too.
CARDS = Scale(Size(images=8000, steps=500), smoke=Size(images=200, steps=3))
#: Test pictures of each kind; probes are fitted on as many others.
TESTS = Scale(2000, smoke=100, full=4000)


@dataclass(frozen=True)
class Arm:
    """One encoder of collages.

    Attributes:
        naming: whether captions name the thing finely ("a taxi") or coarsely ("a car").
        quality: captions also say whether the picture is sharp or grainy.
        surroundings: captions also name the background.
        details: share of captions that list the parts ("with three lemons").
        alone: as many pictures as that share, and all of their captions list the parts: what the others take away.
        brief: that share of the steps, so that alone each picture is shown as often as among the others.
        noise: kind of the corrupted captions: one of :data:`captions.NOISE`, or "all", a third of each.
        noise_rate: their share.
        cleaned: the corrupted pairs are left out instead: the control for having fewer good captions.
        together: how firmly things and backgrounds go together in training, from 0 (not at all) to 1 (always).
        objective: "captions", or "labels" and "thing" for supervised nets.
        text: "trained", or "frozen" for a text tower that knows never-named words, too.
        trained: False for the untrained control.
        since: the smallest profile that trains it.
    """

    naming: Naming = "object"
    quality: bool = False
    surroundings: bool = False
    details: float = 0.0
    alone: bool = False
    brief: bool = False
    noise: str = ""
    noise_rate: float = 0.0
    cleaned: bool = False
    together: float = 0.0
    objective: Objective = "captions"
    text: Text = "trained"
    trained: bool = True
    since: str = field(default="quick", compare=False)

    def __post_init__(self) -> None:
        if self.noise not in ("", "all", *NOISE):
            raise UsageError(f"unknown noise {self.noise!r}: choose from all, {', '.join(NOISE)}")
        if not 0 <= self.together <= 1:
            raise UsageError(f"together is {self.together:g}: expected 0 to 1")

    def policy(self) -> CaptionPolicy:
        """What captions say, corrupted ones included."""
        mention = {self.naming: 1.0, "quality": float(self.quality), "background": float(self.surroundings)}
        rates: dict[Noise, float] = {}
        if self.noise and not self.cleaned:
            kinds = [kind for kind in NOISE if self.noise in (kind, "all")]
            rates = dict.fromkeys(kinds, self.noise_rate / len(kinds))
        return CaptionPolicy({**mention, "detail": 1.0 if self.alone else self.details}, noise=rates)

    def images(self, size: Size) -> int:
        """How many of the training pictures it sees; at least one batch."""
        share = 1 - self.noise_rate if self.cleaned else self.details if self.alone else 1.0
        return max(size.batch, round(share * size.images))

    def steps(self, size: Size) -> int:
        """How many gradient steps it takes."""
        return 0 if not self.trained else round(self.details * size.steps) if self.brief else size.steps


@dataclass(frozen=True)
class CardArm:
    """One encoder of cards.

    Attributes:
        names: what captions name: the colour of the "card", the "digit", or "both".
        objective: "captions", or "labels" for the supervised net.
        text, trained, since: as in :class:`Arm`.
    """

    names: CardNames = "card"
    objective: Literal["captions", "labels"] = "captions"
    text: Text = "trained"
    trained: bool = True
    since: str = field(default="quick", compare=False)

    def policy(self) -> CaptionPolicy:
        """Captions that name the card ("a number on a blue card"), the digit ("the number seven") or both."""
        return CaptionPolicy({"card": float(self.names != "digit"), "digit": float(self.names != "card")})

    def steps(self, size: Size) -> int:
        """How many gradient steps it takes."""
        return size.steps if self.trained else 0


# ---------------------------------------------------------------- the arms, by name

#: Captions name the thing finely and nothing else: silent about parts, number, surroundings and quality.
PLAIN = Arm()
#: Captions name the group only, and whether the picture is sharp.
COARSE = Arm(naming="group", quality=True)
LABELS, THING = Arm(objective="labels"), Arm(objective="thing")
UNTRAINED = Arm(trained=False)


def listed(share: float, *, alone: bool = False, brief: bool = False) -> Arm:
    """Of its captions such a share lists the parts."""
    return Arm(details=share, alone=alone, brief=brief)


RARE, DETAILED = listed(0.05), listed(1.0)
#: Text towers that know words which no caption uses.
FROZEN, FROZEN_DETAILED = Arm(text="frozen"), Arm(details=1.0, text="frozen")


def noisy(kind: str, rate: float) -> Arm:
    """Such a share of its captions is corrupted."""
    return Arm(noise=kind, noise_rate=rate) if rate else PLAIN


NOISY, CLEANED = noisy("all", 0.4), Arm(noise="all", noise_rate=0.4, cleaned=True)
#: How firmly things and backgrounds go together where they do.
FIRM = 0.9
TIED = Arm(together=FIRM)
TIED_NAMED, TIED_LABELS, TIED_THING = (
    replace(TIED, surroundings=True),
    replace(TIED, objective="labels"),
    replace(TIED, objective="thing"),
)

CARDS_SILENT, CARDS_NAMED, CARDS_BOTH = CardArm("card"), CardArm("digit"), CardArm("both")
CARDS_LABELS, CARDS_UNTRAINED = CardArm(objective="labels"), CardArm(trained=False)
CARDS_FROZEN_SILENT, CARDS_FROZEN_NAMED = CardArm(text="frozen"), CardArm("digit", text="frozen")

#: Shares of corrupted captions, by kind: all kinds together in small steps, each alone in large ones.
NOISE_RATES: dict[str, tuple[float, ...]] = {"all": (0.2, 0.4, 0.6, 0.8)} | dict.fromkeys(NOISE, (0.4, 0.8))
SHARES = (0.01, 0.05, 0.2, 1.0)
ALONE = (0.05, 0.2)
TIES = (0.5, 0.75, FIRM, 1.0)

A = TypeVar("A", Arm, CardArm)


def _later(arms: Iterable[A]) -> list[A]:
    """The arms, trained from the profile ``standard`` on."""
    return [replace(arm, since="standard") for arm in arms]


#: Those of ``quick`` are enough for every essential condition of the chapter's claims.
ARMS: tuple[Arm, ...] = (
    *(PLAIN, COARSE, LABELS, RARE, DETAILED, NOISY, TIED, UNTRAINED),
    *_later(listed(share) for share in SHARES if share not in (0.05, 1.0)),
    *_later(listed(share, alone=True, brief=brief) for brief in (False, True) for share in ALONE),
    *_later(noisy(kind, rate) for kind, rates in NOISE_RATES.items() for rate in rates if (kind, rate) != ("all", 0.4)),
    *_later(Arm(together=together) for together in TIES if together != FIRM),
    *_later((CLEANED, TIED_NAMED, TIED_LABELS, THING, TIED_THING, FROZEN, FROZEN_DETAILED)),
)
CARD_ARMS: tuple[CardArm, ...] = (
    *(CARDS_SILENT, CARDS_NAMED, CARDS_UNTRAINED),
    *_later((CARDS_BOTH, CARDS_LABELS, CARDS_FROZEN_SILENT, CARDS_FROZEN_NAMED)),
)
#: So that a smoke run finds a value for every rule, and one arm of each other kind.
_ALSO_IN_SMOKE: tuple[Arm, ...] = (
    *(noisy(kind, 0.4) for kind in NOISE),
    *(CLEANED, Arm(together=0.5), Arm(together=0.75), Arm(together=1.0), TIED_LABELS, TIED_THING),
    *(listed(0.05, alone=True), FROZEN),
)


def arms(profile: Profile) -> list[Arm | CardArm]:
    """What a profile trains."""
    more = _ALSO_IN_SMOKE if profile.name == "smoke" else ()
    return [*run_in(ARMS, profile), *more, *run_in(CARD_ARMS, profile)]
