"""Chapter 4, training: encoders of dashcam pictures whose captions always name the car ahead, and their controls.

One function trains one encoder. Nothing that measures is imported here, so that measures can change without training
again; which encoders a profile trains stands in :mod:`chapters.c4_dashcam.arms`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import pandas as pd
import torch
from torch import Tensor

from clip_invariance.captions import CaptionPolicy, Captions
from clip_invariance.errors import UsageError
from clip_invariance.models import clip
from clip_invariance.training import encoders, labels, views
from clip_invariance.worlds import dashcam
from clip_invariance.worlds.dashcam import WORDS, Scenes

#: What an encoder is trained on: captions; labels of what captions may leave out; two views of each picture.
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


def scenes(n: int, seed: int, light_size: str) -> Scenes:
    """Random scenes with a small or a large light; the two are the same scenes otherwise.

    In half of them somebody crosses, in the others nobody is there. All factors are independent of one another.

    Raises:
        UsageError: for an unknown size of the light.
    """
    if light_size not in LIGHT_SIZES:
        raise UsageError(f"light_size={light_size!r}: choose one of {', '.join(LIGHT_SIZES)}")
    generator = torch.Generator().manual_seed(seed + _APART)
    weather = torch.randint(WEATHERS, (n,), generator=generator)
    pedestrian = NOBODY + (CROSSING - NOBODY) * torch.randint(2, (n,), generator=generator)
    drawn = dashcam.sample(n, seed, given={"weather": weather, "pedestrian": pedestrian})
    for name, factor in (("light_scale", LIGHT_SIZES[light_size]), ("pedestrian_scale", PEDESTRIAN)):
        drawn = dashcam.change(drawn, name, drawn.nuisances[name] * factor)
    return drawn


def policy(mention: float, filler: bool = False) -> CaptionPolicy:
    """Captions that name the car ahead, and light and pedestrian at a rate; with ``filler``, equally long without."""
    return CaptionPolicy(CAR | dict.fromkeys(STUDIED, mention), filler=STUDIED if filler else ())


def captions_of(shown: Scenes, mention: float, filler: bool, seed: int) -> Captions:
    """The captions that an encoder is trained with."""
    return policy(mention, filler).sample(WORDS, shown.labels, seed)


@lru_cache(maxsize=2)
def training_pictures(n: int, seed: int, light_size: str, device: str) -> tuple[Scenes, Tensor]:
    """Scenes and uint8 pictures (n, 3, SIZE, SIZE), drawn once for all arms that a process trains on them."""
    drawn = scenes(n, seed, light_size)
    return drawn, dashcam.render(drawn, size=SIZE, device=device)


def train(
    objective: Objective,
    mention: float,
    light_size: str,
    embed_dim: int,
    filler: bool,
    masked: bool,
    steps: int,
    keep_at: Sequence[int],
    images: int,
    seed: int,
    device: str,
) -> pd.DataFrame:
    """Train one encoder.

    Args:
        objective: "captions", "labels" (cross-entropy on light and pedestrian: the ceiling) or "views" (SimCLR).
        mention: rate at which captions mention the light, and independently the pedestrian.
        light_size: "small" or "large".
        embed_dim: width of the embedding.
        filler: replace an omitted mention by equally many words that say nothing.
        masked: pictures with equal captions are no negatives of one another.
        steps: gradient steps; 0 for the untrained control.
        keep_at: numbers of steps after which to keep the weights as well (captions only).
        images: training pictures.
        seed: of scenes, captions, initialisation and order.
        device: "cpu" or "cuda".

    Returns:
        see :func:`training.encoders.train`.

    Raises:
        UsageError: for an unknown objective or size of the light.
    """
    told = plan(objective, mention, light_size, embed_dim, filler, masked, steps, keep_at, images, seed, device)
    if told is not None:
        return encoders.fit(told)
    shown, pictures = training_pictures(images, seed, light_size, device)
    model = clip.create(TOWER, size=SIZE, embed_dim=embed_dim, seed=seed, device=device)
    clip.calibrate_batch_norm(model, pictures)
    if objective == "labels":
        wanted = {factor: shown.labels[factor] for factor in STUDIED}
        labels.fit(model, pictures, wanted, steps=steps, batch=BATCH, rate=RATE, seed=seed)
    elif objective == "views":
        views.fit(model, pictures, steps=steps, batch=BATCH, rate=RATE, seed=seed)
    else:
        raise UsageError(f"objective={objective!r}: choose captions, labels or views")
    return pd.DataFrame([{"step": steps, "weights": clip.weights(model, ["a"])}])


def plan(
    objective: Objective,
    mention: float,
    light_size: str,
    embed_dim: int,
    filler: bool,
    masked: bool,
    steps: int,
    keep_at: Sequence[int],
    images: int,
    seed: int,
    device: str,
) -> encoders.Plan | None:
    """How :func:`train` trains on captions; None for the controls without."""
    if objective != "captions":
        return None

    def data() -> tuple[Tensor, Captions]:
        shown, pictures = training_pictures(images, seed, light_size, device)
        return pictures, captions_of(shown, mention, filler, seed)

    return encoders.Plan(
        data,
        images=images,
        size=SIZE,
        tower=TOWER,
        embed_dim=embed_dim,
        steps=steps,
        batch=BATCH,
        rate=RATE,
        seed=seed,
        device=device,
        mask_duplicates=masked,
        keep_at=keep_at,
    )
