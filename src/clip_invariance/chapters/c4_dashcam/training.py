"""Chapter 4, training: one encoder of dashcam pictures whose captions always name the car ahead, or one of its controls.

An :class:`Arm` is all that tells one encoder from another; which arms there are stands in
:mod:`chapters.c4_dashcam.arms`. Nothing that measures is imported here, and no list of arms: a new measure or a new arm
trains nothing again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import pandas as pd
from torch import Generator, Tensor, randint

from clip_invariance.captions import CaptionPolicy, Captions
from clip_invariance.errors import UsageError
from clip_invariance.models import clip
from clip_invariance.training import encoders, labels, views
from clip_invariance.worlds import dashcam
from clip_invariance.worlds.dashcam import WORDS, Scenes

#: What an encoder is trained on: captions; labels of what captions may leave out (cross-entropy: the ceiling); two views
#: of each picture (SimCLR).
Objective = Literal["captions", "labels", "views"]

#: What every caption says; it says nothing else but what is under study.
CAR: dict[str, float] = {"car_colour": 1.0, "body": 1.0}
#: What captions mention at the rate under study, each independently of the other.
STUDIED = ("light", "pedestrian")
#: Times the light's usual size: four pixels for the lit lamp at 48 x 48, a light some way ahead, or sixteen.
LIGHT_SIZES = {"small": 1.5, "large": 3.0}
#: Times the pedestrian's usual size: someone close by. A smaller one not even labels teach so small a net so quickly.
PEDESTRIAN = 2.6
NOBODY, CROSSING = 0, 2
#: Clear weather or rain. What fog hides needs no caption to be lost.
WEATHERS = 2

SIZE = 48
#: The peak rate, of five (1.2e-3 to 1.2e-2), at which captions that always mention the light taught most of it in 400 steps.
BATCH, RATE = 128, 3e-3
TOWER: clip.Tower = "conv"

#: Added to a seed: what is drawn apart must not repeat the numbers that decide the other factors.
_APART = 1_000_003


@dataclass(frozen=True)
class Arm:
    """One encoder: how it differs from the one that the chapter is about, which is ``Arm()``.

    Attributes:
        objective: "captions", "labels" or "views".
        mention: rate at which captions mention the light, and independently the pedestrian.
        light_size: "small" or "large".
        embed_dim: width of the embedding.
        filler: replace an omitted mention by equally many words that say nothing.
        masked: pictures with equal captions are no negatives of one another.
        length: training steps, in multiples of the usual number; 0 is the untrained control.
        course: keep the weights at several moments of the training as well (captions only).
        since: the smallest profile that trains it: "quick", "standard" or "full". No part of what it is.
    """

    objective: Objective = "captions"
    mention: float = 0.0
    light_size: str = "small"
    embed_dim: int = 64
    filler: bool = False
    masked: bool = False
    length: int = 1
    course: bool = False
    since: str = field(default="quick", compare=False)


@dataclass(frozen=True)
class Schedule:
    """How much an encoder of the usual length sees.

    Attributes:
        steps: gradient steps.
        images: training pictures.
    """

    steps: int
    images: int

    def of(self, arm: Arm) -> int:
        """Gradient steps of an arm."""
        return arm.length * self.steps

    def kept(self, arm: Arm) -> list[int]:
        """Numbers of steps after which the weights of an arm are kept, the end left out."""
        usual, steps = self.steps, self.of(arm)
        return [at for at in (usual // 4, usual // 2, usual, 2 * usual) if at < steps] if arm.course else []


def sample_scenes(n: int, seed: int, light_size: str) -> Scenes:
    """Random scenes with a small or a large light; the two are the same scenes otherwise.

    In half of them somebody crosses, in the others nobody is there. All factors are independent of one another.

    Raises:
        UsageError: for an unknown size of the light.
    """
    if light_size not in LIGHT_SIZES:
        raise UsageError(f"light_size={light_size!r}: choose one of {', '.join(LIGHT_SIZES)}")
    generator = Generator().manual_seed(seed + _APART)
    weather = randint(WEATHERS, (n,), generator=generator)
    pedestrian = NOBODY + (CROSSING - NOBODY) * randint(2, (n,), generator=generator)
    scenes = dashcam.sample(n, seed, given={"weather": weather, "pedestrian": pedestrian})
    for name, factor in (("light_scale", LIGHT_SIZES[light_size]), ("pedestrian_scale", PEDESTRIAN)):
        scenes = dashcam.change(scenes, name, scenes.nuisances[name] * factor)
    return scenes


def policy(mention: float, filler: bool = False) -> CaptionPolicy:
    """Captions that name the car ahead, and light and pedestrian at a rate; with ``filler``, equally long without."""
    return CaptionPolicy(CAR | dict.fromkeys(STUDIED, mention), filler=STUDIED if filler else ())


def captions_of(scenes: Scenes, mention: float, filler: bool, seed: int) -> Captions:
    """The captions that an encoder is trained with."""
    return policy(mention, filler).sample(WORDS, scenes.labels, seed)


@lru_cache(maxsize=2)
def training_pictures(n: int, seed: int, light_size: str, device: str) -> tuple[Scenes, Tensor]:
    """Scenes and uint8 pictures (n, 3, SIZE, SIZE), drawn once for all arms that a process trains on them."""
    scenes = sample_scenes(n, seed, light_size)
    return scenes, dashcam.render(scenes, size=SIZE, device=device)


def train(arm: Arm, schedule: Schedule, seed: int, device: str) -> pd.DataFrame:
    """Train one encoder.

    Args:
        arm: which one.
        schedule: steps and pictures.
        seed: of scenes, captions, initialisation and order.
        device: "cpu" or "cuda".

    Returns:
        see :func:`training.encoders.train`.

    Raises:
        UsageError: for an unknown objective or size of the light.
    """
    on_captions = plan(arm, schedule, seed, device)
    if on_captions is not None:
        return encoders.fit(on_captions)
    scenes, pictures = training_pictures(schedule.images, seed, arm.light_size, device)
    model = clip.create(TOWER, size=SIZE, embed_dim=arm.embed_dim, seed=seed, device=device)
    clip.calibrate_batch_norm(model, pictures)
    steps = schedule.of(arm)
    if arm.objective == "labels":
        answers = {factor: scenes.labels[factor] for factor in STUDIED}
        labels.fit(model, pictures, answers, steps=steps, batch=BATCH, rate=RATE, seed=seed)
    elif arm.objective == "views":
        views.fit(model, pictures, steps=steps, batch=BATCH, rate=RATE, seed=seed)
    else:
        raise UsageError(f"objective={arm.objective!r}: choose captions, labels or views")
    return pd.DataFrame([{"step": steps, "weights": clip.weights(model, ["a"])}])


def plan(arm: Arm, schedule: Schedule, seed: int, device: str) -> encoders.Plan | None:
    """How :func:`train` trains on captions; None for the controls without."""
    if arm.objective != "captions":
        return None

    def data() -> tuple[Tensor, Captions]:
        scenes, pictures = training_pictures(schedule.images, seed, arm.light_size, device)
        return pictures, captions_of(scenes, arm.mention, arm.filler, seed)

    return encoders.Plan(
        data,
        images=schedule.images,
        size=SIZE,
        tower=TOWER,
        embed_dim=arm.embed_dim,
        steps=schedule.of(arm),
        batch=BATCH,
        rate=RATE,
        seed=seed,
        device=device,
        mask_duplicates=arm.masked,
        keep_at=schedule.kept(arm),
    )
