"""Training one CLIP on one world with one caption policy: what chapters 3 to 6 measure.

Training and measuring are separate units: an encoder is trained once, and whoever measures it says so in ``needs``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from torch import Tensor

from clip_invariance.captions import Captions
from clip_invariance.errors import UsageError
from clip_invariance.models import clip
from clip_invariance.models.clip import Tower
from clip_invariance.training import contrastive
from clip_invariance.training.augment import crop_and_colour

if TYPE_CHECKING:
    from open_clip.model import CLIP

#: Peak learning rates, the best of four (conv) and two (vit) at what captions name, after 300 steps of one run.
RATES: dict[Tower, float] = {"conv": 4e-3, "vit": 2e-3}


@dataclass(frozen=True)
class Plan:
    """One contrastive training, described but not begun: of itself (:func:`fit`), or together with others on a GPU.

    Attributes:
        data: draws the pictures, uint8 (images, 3, size, size) on the device, and their captions.
        images: number of pictures.
        size: their side in pixels.
        tower, embed_dim, steps, batch, rate, seed, device, mask_duplicates, temperature, augmented, keep_at: as for
            :func:`train` and :func:`training.contrastive.fit`.
    """

    data: Callable[[], tuple[Tensor, Captions]]
    images: int
    size: int
    tower: Tower
    embed_dim: int
    steps: int
    batch: int
    rate: float
    seed: int
    device: str
    mask_duplicates: bool = False
    temperature: float | None = None
    augmented: bool = False
    keep_at: Sequence[int] = ()


def fit(plan: Plan) -> pd.DataFrame:
    """Train as planned; see :func:`train` for the table."""
    images, captions = plan.data()
    return train(
        images,
        captions,
        tower=plan.tower,
        seed=plan.seed,
        steps=plan.steps,
        embed_dim=plan.embed_dim,
        keep_at=plan.keep_at,
        augmented=plan.augmented,
        rate=plan.rate,
        batch=plan.batch,
        mask_duplicates=plan.mask_duplicates,
        temperature=plan.temperature,
    )


def train(
    images: Tensor,
    captions: Captions,
    *,
    tower: Tower,
    seed: int,
    steps: int,
    embed_dim: int = 64,
    keep_at: Sequence[int] = (),
    augmented: bool = False,
    rate: float | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Train a CLIP from scratch and return its weights as a table that the store can keep.

    Args:
        images: uint8 (n, 3, size, size) on the device to train on.
        captions: one for each image.
        tower: image tower.
        seed: of the initialisation and of the order of the images.
        steps: gradient steps; 0 gives the untrained control (batch normalisation has seen the images).
        embed_dim: width of the shared space.
        keep_at: numbers of steps after which to keep the weights as well; the end is always kept.
        augmented: crop and recolour images at random in training.
        rate: peak learning rate; None for the tower's own in :data:`RATES`.
        options: for :func:`training.contrastive.fit`.

    Returns:
        one row for each number of steps: ``step``, ``weights`` (bytes, see :func:`models.clip.weights`).
    """
    model = clip.create(tower, size=images.shape[-1], embed_dim=embed_dim, seed=seed, device=images.device.type)
    clip.calibrate_batch_norm(model, images)
    rows: list[dict[str, object]] = []

    def keep(step: int, current: CLIP) -> None:
        rows.append({"step": step, "weights": clip.weights(current, captions.texts)})

    contrastive.fit(
        model,
        images,
        captions,
        steps=steps,
        seed=seed,
        rate=RATES[tower] if rate is None else rate,
        augment=crop_and_colour if augmented else None,
        watch=keep,
        watch_at=(*keep_at, steps),
        **options,
    )
    return pd.DataFrame(rows)


def trained(
    table: pd.DataFrame,
    *,
    tower: Tower,
    size: int,
    seed: int,
    embed_dim: int = 64,
    step: int | None = None,
    device: str = "cpu",
) -> CLIP:
    """The encoder from the table that :func:`train` returned, by default as it was at the end.

    Raises:
        UsageError: if the weights after that step were not kept.
    """
    steps = table.step.tolist()
    if step is not None and step not in steps:
        raise UsageError(f"weights after {step} steps were not kept: there are {', '.join(map(str, steps))}")
    content = table.weights.iloc[-1 if step is None else steps.index(step)]
    return clip.restore(tower, content, size=size, embed_dim=embed_dim, seed=seed, device=device)


def split(labels: Mapping[str, Tensor], first: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Labels of the first pictures and of the others: to fit probes on and to test them on."""
    return {k: v[:first] for k, v in labels.items()}, {k: v[first:] for k, v in labels.items()}
