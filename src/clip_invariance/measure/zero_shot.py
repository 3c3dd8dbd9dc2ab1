"""Zero-shot classification: the class whose prompts are nearest to the picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from clip_invariance.errors import UsageError


def zero_shot_weights(encode: Callable[[Sequence[str]], Tensor], prompts: Sequence[Sequence[str]]) -> Tensor:
    """One unit vector per class from an ensemble of prompts (Radford et al. 2021, section 3.1.4).

    Args:
        encode: texts -> (n, d) embeddings, called once with all prompts.
        prompts: per class one or more prompts.

    Returns:
        (classes, d): the mean of the class's unit embeddings, scaled to unit length.

    Raises:
        UsageError: if there are fewer than two classes or one has no prompt.
    """
    if len(prompts) < 2:
        raise UsageError(f"prompts: a classifier needs at least two classes, got {len(prompts)}")
    for index, texts in enumerate(prompts):
        if isinstance(texts, str) or not texts:
            raise UsageError(f"prompts: class {index} needs a list of at least one prompt, got {texts!r}")
    embeddings = F.normalize(encode([text for texts in prompts for text in texts]), dim=1)
    means = [group.mean(0) for group in embeddings.split([len(texts) for texts in prompts])]
    return F.normalize(torch.stack(means), dim=1)


def zero_shot_scores(image_embeddings: Tensor, weights: Tensor) -> Tensor:
    """Cosine of every picture with every class.

    Args:
        image_embeddings: (n, d), any length.
        weights: (classes, d), see :func:`zero_shot_weights`.

    Returns:
        (n, classes) in [-1, 1].
    """
    if image_embeddings.shape[1] != weights.shape[1]:
        raise UsageError(f"pictures have {image_embeddings.shape[1]} dimensions, the classes {weights.shape[1]}")
    return F.normalize(image_embeddings, dim=1) @ F.normalize(weights, dim=1).mT


def zero_shot_accuracy(image_embeddings: Tensor, weights: Tensor, labels: Tensor) -> float:
    """Share of pictures whose nearest class is theirs, in [0, 1].

    Args:
        image_embeddings, weights: see :func:`zero_shot_scores`.
        labels: (n,) int64, row of ``weights``.

    Raises:
        UsageError: if lengths disagree or a label has no class.
    """
    if labels.shape != image_embeddings.shape[:1] or not len(labels):
        raise UsageError(f"labels: {len(image_embeddings)} pictures, labels of shape {tuple(labels.shape)}")
    if not 0 <= int(labels.min()) <= int(labels.max()) < len(weights):
        raise UsageError(f"labels: must be in 0 .. {len(weights) - 1}, got up to {int(labels.max())}")
    scores = zero_shot_scores(image_embeddings, weights)
    return float((scores.argmax(1) == labels.to(scores.device)).float().mean())
