"""Where things lie in an embedding: near their counterparts, inside or outside the span of the texts."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from clip_invariance.errors import UsageError


def alignment(a: Tensor, b: Tensor) -> float:
    """Mean squared distance of matched unit vectors, in [0, 4]; 0 is perfect (Wang and Isola 2020, alpha = 2).

    Args:
        a, b: (n, d), row i of one belongs to row i of the other: picture and caption, or picture and counterfactual.
    """
    if a.shape != b.shape:
        raise UsageError(f"alignment needs matched rows, got shapes {tuple(a.shape)} and {tuple(b.shape)}")
    return float((F.normalize(a.double(), dim=1) - F.normalize(b.double(), dim=1)).square().sum(1).mean())


def text_span(text_embeddings: Tensor, *, tolerance: float = 0.01) -> Tensor:
    """Orthonormal basis of the space that the texts span, all but exactly.

    Not centred: the score of a picture is its product with a text embedding, and two pictures have equal scores with
    every text if and only if their difference is orthogonal to the span of the embeddings themselves.

    Args:
        text_embeddings: (m, d).
        tolerance: relative to the largest singular value; directions with less are counted as outside. A nonlinear
            text encoder fills every dimension a little: the dimension of the span is a choice, report it.

    Returns:
        (d, rank), in order of falling singular value.

    Raises:
        UsageError: for no texts, all-zero embeddings, or a tolerance outside (0, 1).
    """
    if not 0 < tolerance < 1:
        raise UsageError(f"tolerance: must be between 0 and 1, got {tolerance}")
    if text_embeddings.ndim != 2 or not len(text_embeddings) or not bool(text_embeddings.any()):
        raise UsageError("text embeddings: need at least one that is not zero")
    _, singular, rows = torch.linalg.svd(text_embeddings.detach().double(), full_matrices=False)
    basis: Tensor = rows[singular > tolerance * singular[0]].mT
    return basis.to(text_embeddings.dtype)


def project_on_span(features: Tensor, text_embeddings: Tensor, *, tolerance: float = 0.01) -> tuple[Tensor, Tensor]:
    """Split features into what texts can read and what they cannot.

    Args:
        features: (n, d).
        text_embeddings: (m, d), see :func:`text_span`.

    Returns:
        (inside, outside), both (n, d): orthogonal, adding up to ``features``. No text tells two pictures apart that
        differ outside only.
    """
    if features.shape[1] != text_embeddings.shape[1]:
        raise UsageError(f"pictures have {features.shape[1]} dimensions, texts {text_embeddings.shape[1]}")
    basis = text_span(text_embeddings, tolerance=tolerance).to(features)
    inside = features @ basis @ basis.mT
    return inside, features - inside


def value_variance(features: Tensor, labels: Tensor) -> float:
    """Variance of the features between the values of a factor, summed over dimensions.

    Sampling noise moves the means of the values apart even where the factor does nothing; its expected part is
    subtracted (the moment estimate of one-way analysis of variance), so the estimate is unbiased and may be negative.

    Args:
        features: (n, d).
        labels: (n,) int64.

    Returns:
        sum over values of p_v |m_v - m|^2, in squared units of the features.

    Raises:
        UsageError: if lengths disagree, there is one value only, or no value twice.
    """
    if labels.shape != features.shape[:1]:
        raise UsageError(f"labels: {len(features)} rows of features, got shape {tuple(labels.shape)}")
    x = features.double() - features.double().mean(0)
    _, codes, counts = torch.unique(labels.to(x.device), return_inverse=True, return_counts=True)
    n, values = len(x), len(counts)
    if not 2 <= values < n:
        raise UsageError("labels: need at least two values, and one of them twice")
    means = x.new_zeros(values, x.shape[1]).index_add_(0, codes, x) / counts[:, None]
    within = float((x - means[codes]).square().sum()) / (n - values)
    return float((counts[:, None] * means.square()).sum()) / n - within * (values - 1) / n
