"""Chapter 6, training: encoders of collages and of cards that differ in what their captions say.

The arms of one seed see the same pictures for as many steps, but for what one of their fields takes away or changes on
purpose: ``alone`` and ``cleaned`` some of the pictures, ``brief`` most of the steps, ``together`` the surroundings.
Nothing that measures is imported here, so that measures can change without training again.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor

from clip_invariance.captions import Captions
from clip_invariance.chapters.c6_limits.arms import Arm, CardArm, Size, Text
from clip_invariance.models import clip, sentences
from clip_invariance.training import encoders
from clip_invariance.training import labels as label_training
from clip_invariance.worlds import cards, collages
from clip_invariance.worlds.factored import Scenes

if TYPE_CHECKING:
    from open_clip.model import CLIP

EMBED_DIM = 64
TOWER: clip.Tower = "conv"

#: What the supervised nets are taught.
TASKS = ("object", "part", "count", "background", "quality")
CARD_TASKS = ("digit", "card")
BACKGROUNDS = len(collages.FACTORS["background"])

#: Added to a seed: what is drawn apart must not repeat the numbers that decide the other factors.
_APART = 1_000_003


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


def train(*, arm: Arm, scale: Size, seed: int, device: str) -> pd.DataFrame:
    """Train one encoder of collages; see :func:`training.encoders.train` for the table."""
    scenes, pictures = training_pictures(scale.images, seed, arm.together, device)
    kept = arm.images(scale)
    labels, pictures = {name: column[:kept] for name, column in collages.columns(scenes).items()}, pictures[:kept]
    if arm.objective != "captions":
        tasks = TASKS if arm.objective == "labels" else ("object",)
        return _fit_labels(arm, scale, seed, pictures, {task: labels[task] for task in tasks})
    return _fit_captions(arm, scale, seed, pictures, arm.policy().sample(collages.WORDS, labels, seed))


def train_cards(*, arm: CardArm, scale: Size, seed: int, device: str) -> pd.DataFrame:
    """Train one encoder of cards."""
    scenes, pictures = training_cards(scale.images, seed, device)
    if arm.objective == "labels":
        return _fit_labels(arm, scale, seed, pictures, {task: scenes.labels[task] for task in CARD_TASKS})
    return _fit_captions(arm, scale, seed, pictures, arm.policy().sample(cards.WORDS, scenes.labels, seed))


def _fit_captions(arm: Arm | CardArm, scale: Size, seed: int, pictures: Tensor, captions: Captions) -> pd.DataFrame:
    options: dict[str, Any] = {"embed_dim": width(arm.text), "steps": arm.steps(scale)}
    if arm.text == "frozen":
        options["frozen_text"] = sentences.encode(captions.texts).to(pictures.device)
    return encoders.train(pictures, captions, tower=TOWER, seed=seed, batch=scale.batch, rate=scale.rate, **options)


def _fit_labels(
    arm: Arm | CardArm, scale: Size, seed: int, pictures: Tensor, labels: Mapping[str, Tensor]
) -> pd.DataFrame:
    model, steps = clip.create(TOWER, size=pictures.shape[-1], seed=seed, device=pictures.device.type), arm.steps(scale)
    clip.calibrate_batch_norm(model, pictures)
    label_training.fit(model, pictures, labels, steps=steps, batch=scale.batch, rate=scale.rate, seed=seed)
    return pd.DataFrame([{"step": steps, "weights": clip.weights(model, ["a"])}])


def width(text: Text) -> int:
    """Width of the embedding: a frozen text tower has its own."""
    return sentences.WIDTH if text == "frozen" else EMBED_DIM


def trained(encoder: pd.DataFrame, arm: Arm | CardArm, size: int, seed: int, device: str) -> CLIP:
    """The encoder from the table of its training; ``size`` is the side of its pictures."""
    return encoders.trained(encoder, tower=TOWER, size=size, seed=seed, embed_dim=width(arm.text), device=device)
