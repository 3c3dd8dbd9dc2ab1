"""Chapter 6, training: encoders of collages and of cards that differ in what their captions say.

The arms of one seed see the same pictures for as many steps, but for what one of their fields takes away or changes on
purpose: ``alone`` and ``cleaned`` some of the pictures, ``brief`` most of the steps, ``together`` the surroundings.
Nothing that measures is imported here, so that measures can change without training again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor

from clip_invariance.captions import NOISE, CaptionPolicy, Captions, Noise
from clip_invariance.errors import UsageError
from clip_invariance.models import clip, sentences
from clip_invariance.profiles import Profile
from clip_invariance.training import encoders
from clip_invariance.training import labels as label_training
from clip_invariance.units import Unit
from clip_invariance.worlds import cards, collages
from clip_invariance.worlds.factored import Scenes

Naming = Literal["object", "group"]
#: What teaches: captions, labels of everything, or labels of the thing and nothing else.
Objective = Literal["captions", "labels", "thing"]
#: The text tower: trained with the pictures, or a frozen one that knows the words of the language from elsewhere.
Text = Literal["trained", "frozen"]
CardNames = Literal["card", "digit", "both"]

BATCH, RATE = 64, 4e-3
EMBED_DIM = 64
TOWER: clip.Tower = "conv"
STEPS = {"smoke": 3, "quick": 300, "standard": 300, "full": 300}
#: Digits are learned later than things; their pictures are small, too.
CARD_STEPS = {"smoke": 3, "quick": 500, "standard": 500, "full": 500}
IMAGES = {"smoke": 200, "quick": 8000, "standard": 8000, "full": 8000}

#: What the supervised nets are taught.
TASKS = ("object", "part", "count", "background", "quality")
CARD_TASKS = ("digit", "card")
BACKGROUNDS = len(collages.FACTORS["background"])

#: Added to a seed: what is drawn apart must not repeat the numbers that decide the other factors.
_APART = 1_000_003


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

    def kept(self, images: int) -> int:
        """How many of the training pictures it sees; at least one batch."""
        share = 1 - self.noise_rate if self.cleaned else self.details if self.alone else 1.0
        return max(BATCH, round(share * images))


@dataclass(frozen=True)
class CardArm:
    """One encoder of cards.

    Attributes:
        names: what captions name: the colour of the "card", the "digit", or "both".
        objective: "captions", or "labels" for the supervised net.
        text: as in :class:`Arm`.
        trained: False for the untrained control.
    """

    names: CardNames = "card"
    objective: Literal["captions", "labels"] = "captions"
    text: Text = "trained"
    trained: bool = True


# ---------------------------------------------------------------- pictures


def usual_background(objects: Tensor) -> Tensor:
    """The background that each object usually has, int64 (n,): another one for each look-alike of a group."""
    return objects % BACKGROUNDS


def training_scenes(n: int, seed: int, together: float) -> Scenes:
    """Collages of which a share has the usual background of its thing; the others have any of them.

    The same scenes for every ``together``, but for the backgrounds.
    """
    drawn = collages.sample(n, seed)
    usual = torch.rand(n, generator=torch.Generator().manual_seed(seed + _APART)) < together
    background = torch.where(usual, usual_background(drawn.labels["object"]), drawn.labels["background"])
    return collages.change(drawn, "background", background)


@lru_cache(maxsize=2)
def training_pictures(n: int, seed: int, together: float, device: str) -> tuple[Scenes, Tensor]:
    """Scenes and uint8 pictures, drawn once for all arms that a process trains on them."""
    drawn = training_scenes(n, seed, together)
    return drawn, collages.render(drawn, device=device)


@lru_cache(maxsize=2)
def training_cards(n: int, seed: int, device: str) -> tuple[Scenes, Tensor]:
    """Cards of the training split and uint8 pictures, drawn once for all arms of a process."""
    drawn = cards.sample(n, seed)
    return drawn, cards.render(drawn, "train", device=device)


# ---------------------------------------------------------------- training


def train(
    *,
    naming: Naming,
    quality: bool,
    surroundings: bool,
    details: float,
    alone: bool,
    brief: bool,
    noise: str,
    noise_rate: float,
    cleaned: bool,
    together: float,
    objective: Objective,
    text: Text,
    trained: bool,
    images: int,
    steps: int,
    seed: int,
    device: str,
) -> pd.DataFrame:
    """Train one encoder of collages; see :class:`Arm`, and :func:`training.encoders.train` for the table."""
    arm = Arm(
        naming,
        quality,
        surroundings,
        details,
        alone,
        brief,
        noise,
        noise_rate,
        cleaned,
        together,
        objective,
        text,
        trained,
    )
    drawn, pictures = training_pictures(images, seed, together, device)
    kept = arm.kept(images)
    labels, pictures = {name: column[:kept] for name, column in collages.columns(drawn).items()}, pictures[:kept]
    if objective != "captions":
        tasks = TASKS if objective == "labels" else ("object",)
        return _fit_labels(pictures, {task: labels[task] for task in tasks}, steps if trained else 0, seed)
    captions = arm.policy().sample(collages.WORDS, labels, seed)
    steps = round(details * steps) if brief else steps
    return _fit_captions(pictures, captions, steps if trained else 0, seed, text)


def train_cards(
    *,
    names: CardNames,
    objective: Literal["captions", "labels"],
    text: Text,
    trained: bool,
    images: int,
    steps: int,
    seed: int,
    device: str,
) -> pd.DataFrame:
    """Train one encoder of cards; see :class:`CardArm`."""
    drawn, pictures = training_cards(images, seed, device)
    if objective == "labels":
        return _fit_labels(pictures, {task: drawn.labels[task] for task in CARD_TASKS}, steps if trained else 0, seed)
    captions = card_policy(names).sample(cards.WORDS, drawn.labels, seed)
    return _fit_captions(pictures, captions, steps if trained else 0, seed, text)


def card_policy(names: CardNames) -> CaptionPolicy:
    """Captions that name the card ("a number on a blue card"), the digit ("the number seven") or both."""
    return CaptionPolicy({"card": float(names != "digit"), "digit": float(names != "card")})


def width(text: Text) -> int:
    """Width of the embedding: a frozen text tower has its own."""
    return sentences.WIDTH if text == "frozen" else EMBED_DIM


def _fit_captions(pictures: Tensor, captions: Captions, steps: int, seed: int, text: Text) -> pd.DataFrame:
    options: dict[str, Any] = {"embed_dim": width(text)}
    if text == "frozen":
        options["frozen_text"] = sentences.encode(captions.texts).to(pictures.device)
    return encoders.train(pictures, captions, tower=TOWER, seed=seed, steps=steps, batch=BATCH, rate=RATE, **options)


def _fit_labels(pictures: Tensor, labels: Mapping[str, Tensor], steps: int, seed: int) -> pd.DataFrame:
    model = clip.create(TOWER, size=pictures.shape[-1], seed=seed, device=pictures.device.type)
    clip.calibrate_batch_norm(model, pictures)
    label_training.fit(model, pictures, labels, steps=steps, batch=BATCH, rate=RATE, seed=seed)
    return pd.DataFrame([{"step": steps, "weights": clip.weights(model, ["a"])}])


# ---------------------------------------------------------------- which encoders each profile trains


def _percent(share: float) -> str:
    """0.05 as "005"."""
    return f"{round(100 * share):03d}"


def noisy(kind: str, rate: float) -> str:
    """Name of the arm with such corrupted captions."""
    return f"{kind}_{_percent(rate)}" if rate else "plain"


def listed(share: float) -> str:
    """Name of the arm of which such a share of captions lists the parts."""
    return f"details_{_percent(share)}" if share else "plain"


def tied(together: float) -> str:
    """Name of the arm whose things and backgrounds go together so firmly."""
    return f"together_{_percent(together)}" if together else "plain"


#: Shares of corrupted captions, by kind: all kinds together in small steps, each alone in large ones.
NOISE_RATES: dict[str, tuple[float, ...]] = {"all": (0.2, 0.4, 0.6, 0.8)} | dict.fromkeys(NOISE, (0.4, 0.8))
SHARES = (0.01, 0.05, 0.2, 1.0)
ALONE = (0.05, 0.2)
TIES = (0.5, 0.75, 0.9, 1.0)

ARMS: dict[str, Arm] = {
    # Captions name the thing finely and nothing else: silent about parts, number, surroundings and quality.
    "plain": Arm(),
    # Captions name the group only, and whether the picture is sharp.
    "coarse": Arm(naming="group", quality=True),
    "labels": Arm(objective="labels"),
    "untrained": Arm(trained=False),
    **{listed(share): Arm(details=share) for share in SHARES},
    **{f"{listed(share)}_alone": Arm(details=share, alone=True) for share in ALONE},
    **{f"{listed(share)}_alone_brief": Arm(details=share, alone=True, brief=True) for share in ALONE},
    **{noisy(kind, rate): Arm(noise=kind, noise_rate=rate) for kind, rates in NOISE_RATES.items() for rate in rates},
    "cleaned_040": Arm(noise="all", noise_rate=0.4, cleaned=True),
    **{tied(together): Arm(together=together) for together in TIES},
    "together_090_named": Arm(together=0.9, surroundings=True),
    "together_090_labels": Arm(together=0.9, objective="labels"),
    "thing": Arm(objective="thing"),
    "together_090_thing": Arm(together=0.9, objective="thing"),
    "frozen": Arm(text="frozen"),
    "frozen_details_100": Arm(details=1.0, text="frozen"),
}
CARD_ARMS: dict[str, CardArm] = {
    "cards_silent": CardArm(),
    "cards_named": CardArm("digit"),
    "cards_both": CardArm("both"),
    "cards_labels": CardArm(objective="labels"),
    "cards_untrained": CardArm(trained=False),
    "cards_frozen_silent": CardArm(text="frozen"),
    "cards_frozen_named": CardArm("digit", text="frozen"),
}
#: Enough for every essential condition of the chapter's claims.
_QUICK = (
    *("plain", "coarse", "labels", listed(0.05), listed(1.0), noisy("all", 0.4), tied(0.9), "untrained"),
    *("cards_silent", "cards_named", "cards_untrained"),
)
#: And for every other one, so that a smoke run finds a value for every rule, and one arm of each other kind.
_SMOKE = (
    *_QUICK,
    *(noisy(kind, 0.4) for kind in NOISE),
    *("cleaned_040", tied(0.5), tied(0.75), tied(1.0), "together_090_labels"),
    *("details_005_alone", "together_090_thing", "frozen"),
)
_ALL = (*ARMS, *CARD_ARMS)
PROFILE_ARMS: dict[str, tuple[str, ...]] = {"smoke": _SMOKE, "quick": _QUICK, "standard": _ALL, "full": _ALL}


def train_unit(name: str, profile: Profile, seed: int, device: str) -> Unit:
    """The training of one arm from one seed.

    Raises:
        UsageError: for an arm that the profile does not train.
    """
    if name not in PROFILE_ARMS[profile.name]:
        raise UsageError(f"the arm {name} is not trained in the profile {profile.name}")
    scale = {"images": IMAGES[profile.name], "seed": seed, "device": device}
    if name in CARD_ARMS:
        return Unit(train_cards, {**asdict(CARD_ARMS[name]), **scale, "steps": CARD_STEPS[profile.name]})
    return Unit(train, {**asdict(ARMS[name]), **scale, "steps": STEPS[profile.name]})


def train_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """All trainings of a profile; one seed after the other, as arms of one seed share their pictures."""
    return [train_unit(name, profile, seed, device) for seed in range(seeds) for name in PROFILE_ARMS[profile.name]]
