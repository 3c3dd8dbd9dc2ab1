"""How much a representation changes when something moves."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from clip_invariance.errors import UsageError


def class_distance(features: Tensor, labels: Tensor) -> float:
    """Root mean square distance between class means: the yardstick for changes of a representation.

    Args:
        features: (n, d).
        labels: (n,) class indices, at least two classes.

    Raises:
        UsageError: with fewer than two classes.
    """
    means = torch.stack([features[labels == c].double().mean(0) for c in labels.unique()])
    if len(means) < 2:
        raise UsageError("labels: a distance between classes needs at least two of them")
    return torch.pdist(means).square().mean().sqrt().item()


def shift_error(features: Tensor, shifted: Tensor, scale: float) -> Tensor:
    """Distance between the features of an image and of its shifted copy, in units of ``scale``.

    Args:
        features, shifted: (n, d), row i belongs to image i.
        scale: usually :func:`class_distance`.

    Returns:
        (n,) non-negative; 0 is exact invariance, 1 is as far as another class.
    """
    distance: Tensor = torch.linalg.vector_norm(features.double() - shifted.double(), dim=1)
    return distance / scale


def centred_cosine(a: Tensor, b: Tensor, mean: Tensor) -> Tensor:
    """Cosine between rows of ``a`` and ``b`` (n, d) after subtracting a mean feature (d,).

    Without centring, features behind a ReLU all point the same way and every cosine is near one.
    """
    return F.cosine_similarity(a - mean, b - mean, dim=1)


def consistency(logits: Tensor, shifted: Tensor) -> float:
    """Share of images that keep their predicted class when shifted, in [0, 1] (Zhang 2019)."""
    return (logits.argmax(1) == shifted.argmax(1)).float().mean().item()


def place_share(features: Tensor) -> float:
    """Share of the features' variance that comes from place, in [0, 1].

    Args:
        features: (items, places, d): the same items, each drawn at the same places.

    Returns:
        variance over places within an item, summed over features, divided by the variance over all rows.
    """
    x = features.double()
    within = (x - x.mean(1, keepdim=True)).square().sum()
    total = (x - x.mean((0, 1), keepdim=True)).square().sum()
    return (within / total).item()
