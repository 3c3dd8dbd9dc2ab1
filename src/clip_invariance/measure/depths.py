"""A CLIP's image representation at four depths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from open_clip.model import CLIP
from torch import Tensor

from clip_invariance.measure.geometry import project_on_span
from clip_invariance.models import clip

Depth = Literal["backbone", "embedding", "span", "rest"]
DEPTHS: tuple[Depth, ...] = get_args(Depth)


def depths(model: CLIP, images: Tensor, texts: Sequence[str]) -> dict[Depth, Tensor]:
    """What a probe may read.

    Args:
        model: in evaluation mode.
        images: uint8 (n, 3, h, w) on the model's device.
        texts: the captions that the model was trained with, or as many as tell what it can say.

    Returns:
        "backbone", the features before the projection; "embedding", the unit vector that is compared with texts;
        "span", its part inside the span of the text embeddings, all that language can reach; "rest", its other part.
        "span" and "rest" have the width of the embedding and add up to it.
    """
    embedding = clip.embed(model, images)
    inside, outside = project_on_span(embedding, clip.encode_texts(model, texts))
    return {"backbone": clip.backbone(model, images), "embedding": embedding, "span": inside, "rest": outside}
