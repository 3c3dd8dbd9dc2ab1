"""Chapter 3: the trainings, each one CLIP on one world under one caption policy. Nothing here measures.

An :class:`Arm` says what is different from the usual training. Measurements are other units that need these
(:mod:`clip_invariance.chapters.c3_captions.caption_policies`), so that an edit of a measure never trains an encoder again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Literal

import pandas as pd
from torch import Tensor

from clip_invariance.captions import CaptionPolicy, Captions
from clip_invariance.models import clip
from clip_invariance.models.clip import Tower
from clip_invariance.profiles import Profile
from clip_invariance.training import encoders, labels
from clip_invariance.units import Unit
from clip_invariance.worlds import scenes, trifeature

World = Literal["scenes", "trifeature"]
WORLDS: dict[str, ModuleType] = {"scenes": scenes, "trifeature": trifeature}

#: Side of the pictures in pixels.
SIZE = 32
EMBED_DIM = 64
#: Steps of most trainings. Chosen by what captions *name*: after 300 steps, captions of everything taught little of the
#: object and nothing of the place. Shapes and textures take three times as many.
STEPS = {"smoke": 3, "quick": 500, "standard": 500, "full": 500}
BATCH = {"smoke": 32, "quick": 128, "standard": 128, "full": 128}
IMAGES = {"smoke": 300, "quick": 12_000, "standard": 12_000, "full": 12_000}
#: Where weights are kept, as shares of the training: before it (the untrained encoder), and along the way.
UNTRAINED = (0.0,)
COURSE = (0.0, 1 / 30, 1 / 10, 1 / 5, 1 / 3, 2 / 3)


@dataclass(frozen=True)
class Arm:
    """One training, by what it does differently.

    Attributes:
        policy: the factors that every caption mentions, joined by "+".
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
        kept: shares of the training after which weights are kept, besides the end.
        labels: train by cross-entropy on the labels of what captions would mention. With ``others`` at 1 these are all
            factors: the supervised ceiling.
    """

    policy: str = "object"
    others: float = 0.0
    filler: bool = False
    world: World = "scenes"
    tower: Tower = "conv"
    augmented: bool = False
    masked: bool = False
    temperature: float | None = None
    embed_dim: int = EMBED_DIM
    fewer: int = 1
    longer: int = 1
    kept: tuple[float, ...] = ()
    labels: bool = False


#: The smallest set of trainings that shows the chapter's idea.
QUICK: dict[str, Arm] = {
    "object": Arm(kept=COURSE),
    "everything": Arm(others=1.0),
    "others at .1": Arm(others=0.1),
}
STANDARD: dict[str, Arm] = QUICK | {
    "object, background": Arm("object+background"),
    "background": Arm("background"),
    "others at .03": Arm(others=0.03),
    "others at .3": Arm(others=0.3),
    "filler words": Arm(filler=True),
    "duplicates masked": Arm(masked=True),
    "three times longer": Arm(longer=3, kept=COURSE),
    "everything, three times longer": Arm(others=1.0, longer=3),
    "filler words, three times longer": Arm(filler=True, longer=3),
    "duplicates masked, three times longer": Arm(masked=True, longer=3),
    "labels": Arm(others=1.0, labels=True),
    "labels of the object": Arm(labels=True),
    "labels of the object, three times longer": Arm(labels=True, longer=3),
    "width 256": Arm(embed_dim=256),
    "an eighth of the pictures": Arm(fewer=8),
    "object, augmented": Arm(augmented=True),
    "object, vit": Arm(tower="vit"),
    "object, vit, augmented": Arm(tower="vit", augmented=True),
    "object, background, augmented": Arm("object+background", augmented=True),
    "object, background, vit": Arm("object+background", tower="vit"),
    "object, background, vit, augmented": Arm("object+background", tower="vit", augmented=True),
    "trifeature shape": Arm("shape", world="trifeature", longer=3, kept=UNTRAINED),
    "trifeature colour": Arm("colour", world="trifeature", longer=3, kept=UNTRAINED),
    "trifeature texture": Arm("texture", world="trifeature", longer=3, kept=UNTRAINED),
    "trifeature shape, three times longer": Arm("shape", world="trifeature", longer=9),
}
FULL: dict[str, Arm] = STANDARD | {
    "object, medium": Arm("object+medium"),
    "object, place": Arm("object+place"),
    "others at .01": Arm(others=0.01),
    "temperature .07": Arm(temperature=0.07),
    "width 16": Arm(embed_dim=16),
    "trifeature labels": Arm("shape", others=1.0, world="trifeature", labels=True),
}
ARMS: dict[str, dict[str, Arm]] = {"smoke": STANDARD, "quick": QUICK, "standard": STANDARD, "full": FULL}


def units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """All trainings of a profile."""
    return [encoder(arm, profile, seed, device) for arm in ARMS[profile.name].values() for seed in range(seeds)]


def encoder(arm: Arm, profile: Profile, seed: int, device: str) -> Unit:
    """The training of one arm."""
    steps = STEPS[profile.name] * arm.longer
    common = {
        "world": arm.world,
        "images": IMAGES[profile.name] // arm.fewer,
        "size": SIZE,
        "tower": arm.tower,
        "embed_dim": arm.embed_dim,
        "steps": steps,
        "batch": BATCH[profile.name],
        "rate": encoders.RATES[arm.tower],
        "seed": seed,
        "device": device,
    }
    if arm.labels:
        factors = list(WORLDS[arm.world].FACTORS) if arm.others else arm.policy.split("+")
        return Unit(train_on_labels, common | {"factors": factors})
    names = ("policy", "others", "filler", "augmented", "masked", "temperature")
    keep_at = sorted({round(share * steps) for share in arm.kept})
    return Unit(train_on_captions, common | {name: asdict(arm)[name] for name in names} | {"keep_at": keep_at})


def train_on_captions(
    world: World,
    images: int,
    size: int,
    tower: Tower,
    embed_dim: int,
    steps: int,
    batch: int,
    rate: float,
    seed: int,
    device: str,
    policy: str,
    others: float,
    filler: bool,
    augmented: bool,
    masked: bool,
    temperature: float | None,
    keep_at: Sequence[int],
) -> pd.DataFrame:
    """Train one CLIP from scratch; see :class:`Arm` and :func:`encoders.train`.

    Args:
        seed: of the pictures, the captions, the initialisation and the order.

    Returns:
        columns ``step``, ``weights``.

    Raises:
        UsageError: for an unknown factor in ``policy``, a probability outside [0, 1], or too few pictures for a batch.
    """
    return encoders.fit(
        plan(
            world, images, size, tower, embed_dim, steps, batch, rate, seed, device,
            policy, others, filler, augmented, masked, temperature, keep_at,
        )
    )  # fmt: skip


def plan(
    world: World,
    images: int,
    size: int,
    tower: Tower,
    embed_dim: int,
    steps: int,
    batch: int,
    rate: float,
    seed: int,
    device: str,
    policy: str,
    others: float,
    filler: bool,
    augmented: bool,
    masked: bool,
    temperature: float | None,
    keep_at: Sequence[int],
) -> encoders.Plan:
    """How :func:`train_on_captions` trains."""

    def data() -> tuple[Tensor, Captions]:
        drawn = WORLDS[world].sample(images, seed)
        captions = caption_policy(world, policy, others, filler).sample(WORLDS[world].WORDS, drawn.labels, seed)
        return WORLDS[world].render(drawn, size=size, device=device), captions

    return encoders.Plan(
        data,
        images=images,
        size=size,
        tower=tower,
        embed_dim=embed_dim,
        steps=steps,
        batch=batch,
        rate=rate,
        seed=seed,
        device=device,
        mask_duplicates=masked,
        temperature=temperature,
        augmented=augmented,
        keep_at=keep_at,
    )


def caption_policy(world: World, policy: str, others: float, filler: bool) -> CaptionPolicy:
    """Captions that always mention the factors in ``policy`` and each other one with probability ``others``."""
    named = policy.split("+")
    rest = tuple(factor for factor in WORLDS[world].FACTORS if factor not in named)
    return CaptionPolicy(mention=dict.fromkeys(rest, others) | dict.fromkeys(named, 1.0), filler=rest if filler else ())


def train_on_labels(
    world: World,
    images: int,
    size: int,
    tower: Tower,
    embed_dim: int,
    steps: int,
    batch: int,
    rate: float,
    seed: int,
    device: str,
    factors: Sequence[str],
) -> pd.DataFrame:
    """Labels in the place of captions: the same image tower, pictures, steps and rate, a linear classifier per factor.

    The sum of the cross-entropies takes the place of the contrastive loss; the classifiers read the embedding.

    Args:
        factors: whose labels are used.

    Returns:
        columns ``step``, ``weights`` as :func:`train_on_captions`; the text tower is as it was initialised.
    """
    drawn = WORLDS[world].sample(images, seed).to(device)
    pictures = WORLDS[world].render(drawn, size=size, device=device)
    model = clip.create(tower, size=size, embed_dim=embed_dim, seed=seed, device=device)
    targets = {factor: drawn.labels[factor] for factor in factors}
    labels.fit(model, pictures, targets, steps=steps, batch=batch, rate=rate, seed=seed)
    return pd.DataFrame([{"step": steps, "weights": clip.weights(model, ["a"])}])
