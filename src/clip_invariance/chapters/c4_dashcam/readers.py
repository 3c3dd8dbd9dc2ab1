"""Chapter 4, readers: an encoder, ours or any other, as far as the measures know it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from clip_invariance.measure.depths import backbone_and_embedding, depths
from clip_invariance.models import clip

if TYPE_CHECKING:
    from open_clip.model import CLIP


@dataclass(frozen=True)
class Reader:
    """An encoder, as far as the measures know it.

    Attributes:
        features: uint8 pictures (n, 3, h, w) -> depth -> (n, d), any number of depths. "embedding" must be one of
            them if there are texts.
        texts: texts -> (m, d) in the space of "embedding"; None for an encoder that knows no words.
    """

    features: Callable[[Tensor], Mapping[str, Tensor]]
    texts: Callable[[Sequence[str]], Tensor] | None = None


def clip_reader(model: CLIP, captions: Sequence[str]) -> Reader:
    """One of our CLIPs at four depths; ``captions`` say what it can put into words."""
    encoded = clip.encode_texts(model, captions)
    return Reader(
        lambda images: {str(depth): x for depth, x in depths(model, images, encoded).items()},
        partial(clip.encode_texts, model),
    )


def wordless_reader(model: CLIP) -> Reader:
    """The image tower alone, of an encoder that was trained without captions."""

    def features(images: Tensor) -> dict[str, Tensor]:
        backbone, embedding = backbone_and_embedding(model, images)
        return {"backbone": backbone, "embedding": embedding}

    return Reader(features)


def pixel_reader() -> Reader:
    """No encoder at all: the pixels, and the pixels without colour."""

    def features(images: Tensor) -> dict[str, Tensor]:
        pixels = images.float() / 255
        return {"pixels": pixels.flatten(1), "grey pixels": pixels.mean(1).flatten(1)}

    return Reader(features)
