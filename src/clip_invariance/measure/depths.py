"""A CLIP's image representation at four depths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from clip_invariance.measure.geometry import project_on_span
from clip_invariance.models import clip

if TYPE_CHECKING:
    from open_clip.model import CLIP

Depth = Literal["backbone", "embedding", "span", "rest"]
DEPTHS: tuple[Depth, ...] = get_args(Depth)


def depths(model: CLIP, images: Tensor, texts: Sequence[str] | Tensor) -> dict[Depth, Tensor]:
    """What a probe may read.

    Args:
        model: in evaluation mode.
        images: uint8 (n, 3, h, w) on the model's device.
        texts: the captions that the model was trained with, or as many as tell what it can say; or their embeddings
            (m, d), so that who asks about several sets of images encodes the captions once.

    Returns:
        "backbone", the features before the projection; "embedding", the unit vector that is compared with texts;
        "span", its part inside the span of the text embeddings, all that language can reach; "rest", its other part.
        "span" and "rest" have the width of the embedding and add up to it.
    """
    backbone, embedding = backbone_and_embedding(model, images)
    spoken = texts if isinstance(texts, Tensor) else clip.encode_texts(model, texts)
    inside, outside = project_on_span(embedding, spoken)
    return {"backbone": backbone, "embedding": embedding, "span": inside, "rest": outside}


def backbone_and_embedding(model: CLIP, images: Tensor) -> tuple[Tensor, Tensor]:
    """What :func:`models.clip.backbone` and :func:`models.clip.embed` give, in one pass where the tower allows it."""
    from open_clip.timm_model import TimmModel

    if not isinstance(model.visual, TimmModel):
        return clip.backbone(model, images), clip.embed(model, images)
    pooled: list[Tensor] = []
    hook = model.visual.trunk.register_forward_hook(lambda _module, _input, output: pooled.append(output))
    try:
        embedding = clip.embed(model, images)
    finally:
        hook.remove()
    return torch.cat(pooled), embedding
