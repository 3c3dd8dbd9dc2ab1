"""The encoders whose captions differ in their words. All take the same number of steps on scenes of the same seed.

Nothing is measured here, and which arms there are stands in :mod:`~clip_invariance.chapters.c3_captions.words.arms`: neither
another measure nor another arm trains anything again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from safetensors.torch import save as to_bytes
from torch import Tensor

from clip_invariance.captions import Captions
from clip_invariance.chapters.c3_captions.words.collection import (
    SIZE,
    CaptionKind,
    LabelKind,
    Marking,
    captions_of,
    collection,
    targets_of,
    two_sources,
)
from clip_invariance.models import clip, sentences
from clip_invariance.models.clip import Tower
from clip_invariance.training import encoders, labels
from clip_invariance.worlds import scenes

BATCH = 128


@dataclass(frozen=True)
class Arm:
    """One training, by what it does differently from captions that name the object of a plain collection.

    Attributes:
        captions: what they say, see :func:`collection.captions_of`.
        drawings: half of the pictures are line drawings, save those of held-out objects.
        marking: train on two sources of pictures instead, and say which captions a token marks.
        frozen_text: put a published sentence encoder in the place of a text tower trained from nothing.
        labels: train by cross-entropy on these in the place of captions, see :func:`collection.targets_of`.
        tower: image tower.
        augmented: crop and recolour pictures at random.
        trained: False for no training at all.
        since: the smallest profile that trains it.
    """

    captions: CaptionKind = "object"
    drawings: bool = False
    marking: Marking | None = None
    frozen_text: bool = False
    labels: LabelKind | None = None
    tower: Tower = "conv"
    augmented: bool = False
    trained: bool = True
    since: str = field(default="standard", compare=False)

    @property
    def embed_dim(self) -> int:
        """Width of the space that pictures and captions share."""
        return sentences.WIDTH if self.frozen_text else 64


@dataclass(frozen=True)
class Size:
    """Pictures, and steps of :data:`BATCH` of them."""

    images: int
    steps: int


def train(arm: Arm, scale: Size, seed: int, device: str) -> pd.DataFrame:
    """Train one encoder from scratch.

    Args:
        seed: of the pictures, the captions, the initialisation and the order.

    Returns:
        columns ``step``, ``weights``, see :func:`encoders.train`; after labels, ``head`` holds the safetensors of the linear
        layer that reads them.
    """
    if arm.labels:
        return _train_on_labels(arm.labels, scale, seed, device)
    images, captions = pictures_and_captions(arm, scale.images, seed, device)
    frozen: dict[str, Any] = {"frozen_text": sentences.encode(captions.texts).to(device)} if arm.frozen_text else {}
    return encoders.train(
        images,
        captions,
        tower=arm.tower,
        seed=seed,
        steps=scale.steps if arm.trained else 0,
        embed_dim=arm.embed_dim,
        augmented=arm.augmented,
        batch=BATCH,
        **frozen,
    )


def pictures_and_captions(arm: Arm, n: int, seed: int, device: str) -> tuple[Tensor, Captions]:
    """What an arm is trained on."""
    if arm.marking:
        return two_sources(arm.marking, n, seed, device)
    pictures = collection(n, seed, drawings=arm.drawings)
    return scenes.render(pictures, size=SIZE, device=device), captions_of(arm.captions, pictures.labels, seed)


def _train_on_labels(kind: LabelKind, scale: Size, seed: int, device: str) -> pd.DataFrame:
    pictures = collection(scale.images, seed)
    images = scenes.render(pictures, size=SIZE, device=device)
    model = clip.create("conv", size=SIZE, seed=seed, device=device)
    clip.calibrate_batch_norm(model, images)
    targets: dict[str, Tensor] = {kind: targets_of(kind, pictures.labels, seed)}
    head = labels.fit(model, images, targets, steps=scale.steps, batch=BATCH, rate=encoders.RATES["conv"], seed=seed)[
        kind
    ]
    layer = {name: tensor.cpu().contiguous() for name, tensor in head.state_dict().items()}
    return pd.DataFrame([{"step": scale.steps, "weights": clip.weights(model, ["a"]), "head": to_bytes(layer)}])
