"""Chapter 5, training: encoders trained from the start with losses, captions or labels that keep more.

As in chapter 4, an :class:`Arm` is all that tells them apart, and nothing that measures is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pandas as pd
import torch

from clip_invariance.captions import CaptionPolicy, Captions
from clip_invariance.chapters.c4_dashcam.training import (
    BATCH,
    CAR,
    RATE,
    SIZE,
    TOWER,
    Schedule,
    captions_of,
    training_pictures,
)
from clip_invariance.errors import UsageError
from clip_invariance.models import clip
from clip_invariance.training import contrastive, encoders, labels
from clip_invariance.training.views import loss_of_views
from clip_invariance.worlds import dashcam
from clip_invariance.worlds.dashcam import WORDS, Scenes

_CHOICE = 800_000


@dataclass(frozen=True)
class Arm:
    """One encoder of the small light, otherwise trained as chapter 4's silent one.

    Attributes:
        objective: "rewritten captions", of which a share mentions everything; "views beside captions", a self-supervised
            term beside CLIP's loss (SLIP, Mu et al. 2022); "labels", cross-entropy on several factors at once.
        share: of the pictures whose caption is rewritten, each with this probability.
        tasks: factors to learn labels of.
        since: the smallest profile that trains it. No part of what it is.
    """

    objective: Literal["rewritten captions", "views beside captions", "labels"]
    share: float = 0.0
    tasks: tuple[str, ...] = ()
    since: str = field(default="standard", compare=False)


def rewritten(scenes: Scenes, share: float, seed: int) -> Captions:
    """Captions that name the car, some of them written again to mention everything in the picture."""
    plain = captions_of(scenes, 0.0, False, seed).strings()
    everything = CaptionPolicy(CAR | dict.fromkeys(dashcam.FACTORS, 1.0)).sample(WORDS, scenes.labels, seed).strings()
    draws = torch.rand(len(scenes), generator=torch.Generator().manual_seed(seed + _CHOICE))
    texts = [more if draw < share else less for less, more, draw in zip(plain, everything, draws.tolist(), strict=True)]
    place = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    return Captions(tuple(place), torch.tensor([place[text] for text in texts]))


def train(arm: Arm, schedule: Schedule, seed: int, device: str) -> pd.DataFrame:
    """Train one encoder; arguments and result as :func:`chapters.c4_dashcam.training.train`.

    With views beside the captions, a step costs about three times as much on the image side: the picture itself, for its
    caption, and two views of it.

    Raises:
        UsageError: for an unknown objective.
    """
    scenes, pictures = training_pictures(schedule.images, seed, "small", device)
    steps = schedule.steps
    if arm.objective == "rewritten captions":
        captions = rewritten(scenes, arm.share, seed)
        return encoders.train(pictures, captions, tower=TOWER, seed=seed, steps=steps, batch=BATCH, rate=RATE)
    model = clip.calibrate_batch_norm(clip.create(TOWER, size=SIZE, seed=seed, device=device), pictures)
    texts: tuple[str, ...] | list[str] = ["a"]
    if arm.objective == "views beside captions":
        captions = captions_of(scenes, 0.0, False, seed)
        views = loss_of_views(model, seed)
        contrastive.fit(model, pictures, captions, beside=views, steps=steps, batch=BATCH, rate=RATE, seed=seed)
        texts = captions.texts
    elif arm.objective == "labels":
        answers = {task: scenes.labels[task] for task in arm.tasks}
        labels.fit(model, pictures, answers, steps=steps, batch=BATCH, rate=RATE, seed=seed)
    else:
        raise UsageError(f"objective={arm.objective!r}: choose rewritten captions, views beside captions or labels")
    return pd.DataFrame([{"step": steps, "weights": clip.weights(model, texts)}])
