"""One CLIP on one world under one caption policy. Nothing here measures, so that an edit of a measure trains nothing again.

Which arms there are stands in :mod:`~clip_invariance.chapters.c3_captions.policies.arms`, which this module does not know:
another arm trains no other one again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import ModuleType
from typing import Literal

import pandas as pd
from torch import Tensor

from clip_invariance.captions import CaptionPolicy, Captions
from clip_invariance.models import clip
from clip_invariance.models.clip import Tower
from clip_invariance.training import encoders, labels
from clip_invariance.worlds import scenes, trifeature

World = Literal["scenes", "trifeature"]
WORLDS: dict[str, ModuleType] = {"scenes": scenes, "trifeature": trifeature}

#: Side of the pictures in pixels.
SIZE = 32

Kept = Literal["end", "ends", "course"]
#: After which shares of the training weights are kept, besides its end; those before it are the untrained encoder's.
KEPT: dict[Kept, tuple[float, ...]] = {
    "end": (),
    "ends": (0.0,),
    "course": (0.0, 1 / 30, 1 / 10, 1 / 5, 1 / 3, 2 / 3),
}


@dataclass(frozen=True)
class Arm:
    """One training, by what it does differently.

    Attributes:
        mentioned: the factors that every caption mentions.
        others: probability of mentioning each of the other factors, independently.
        filler: replace the mentions left out by as many words that tell nothing.
        world: where pictures come from.
        tower: image tower.
        augmented: crop and recolour pictures at random.
        masked: an equal caption is no negative.
        temperature: of the softmax; None learns it.
        embed_dim: width of the space that pictures and captions share.
        fewer: the training set is smaller by this factor; the number of steps is the same.
        longer: the training is longer by this factor.
        kept: when weights are kept, see :data:`KEPT`.
        labels: train by cross-entropy on the labels of what captions would mention. With ``others`` at 1 these are all
            factors: the supervised ceiling.
        since: the smallest profile that trains it.
    """

    mentioned: tuple[str, ...] = ("object",)
    others: float = 0.0
    filler: bool = False
    world: World = "scenes"
    tower: Tower = "conv"
    augmented: bool = False
    masked: bool = False
    temperature: float | None = None
    embed_dim: int = 64
    fewer: int = 1
    longer: int = 1
    kept: Kept = "end"
    labels: bool = False
    since: str = field(default="standard", compare=False)

    def captions(self) -> CaptionPolicy:
        """Which factors its captions mention how often."""
        rest = tuple(factor for factor in WORLDS[self.world].FACTORS if factor not in self.mentioned)
        mention = dict.fromkeys(rest, self.others) | dict.fromkeys(self.mentioned, 1.0)
        return CaptionPolicy(mention=mention, filler=rest if self.filler else ())


@dataclass(frozen=True)
class Size:
    """How much an arm without ``fewer`` and ``longer`` is trained: pictures, steps, and pictures in a step."""

    images: int
    steps: int
    batch: int = 128


def train(arm: Arm, scale: Size, seed: int, device: str) -> pd.DataFrame:
    """Train one encoder from scratch.

    Args:
        seed: of the pictures, the captions, the initialisation and the order.

    Returns:
        columns ``step``, ``weights``, see :func:`encoders.train`.

    Raises:
        UsageError: for an unknown factor, a probability outside [0, 1], or too few pictures for a batch.
    """
    planned = plan(arm, scale, seed, device)
    return encoders.fit(planned) if planned else _train_on_labels(arm, scale, seed, device)


def plan(arm: Arm, scale: Size, seed: int, device: str) -> encoders.Plan | None:
    """How :func:`train` trains on captions; None for labels, which are trained alone."""
    if arm.labels:
        return None
    world, images, steps = WORLDS[arm.world], scale.images // arm.fewer, scale.steps * arm.longer

    def data() -> tuple[Tensor, Captions]:
        drawn = world.sample(images, seed)
        captions = arm.captions().sample(world.WORDS, drawn.labels, seed)
        return world.render(drawn, size=SIZE, device=device), captions

    return encoders.Plan(
        data,
        images=images,
        size=SIZE,
        tower=arm.tower,
        embed_dim=arm.embed_dim,
        steps=steps,
        batch=scale.batch,
        rate=encoders.RATES[arm.tower],
        seed=seed,
        device=device,
        mask_duplicates=arm.masked,
        temperature=arm.temperature,
        augmented=arm.augmented,
        keep_at=sorted({round(share * steps) for share in KEPT[arm.kept]}),
    )


def _train_on_labels(arm: Arm, scale: Size, seed: int, device: str) -> pd.DataFrame:
    """Labels in the place of captions: the same image tower, pictures, steps and rate, a linear classifier per factor.

    The sum of the cross-entropies takes the place of the contrastive loss; the classifiers read the embedding. The text
    tower stays as it was initialised.
    """
    world, steps = WORLDS[arm.world], scale.steps * arm.longer
    drawn = world.sample(scale.images // arm.fewer, seed).to(device)
    pictures = world.render(drawn, size=SIZE, device=device)
    model = clip.create(arm.tower, size=SIZE, embed_dim=arm.embed_dim, seed=seed, device=device)
    targets = {factor: drawn.labels[factor] for factor in (world.FACTORS if arm.others else arm.mentioned)}
    labels.fit(model, pictures, targets, steps=steps, batch=scale.batch, rate=encoders.RATES[arm.tower], seed=seed)
    return pd.DataFrame([{"step": steps, "weights": clip.weights(model, ["a"])}])
