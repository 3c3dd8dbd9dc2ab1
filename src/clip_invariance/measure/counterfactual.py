"""Matched counterfactuals: the same picture with one factor changed. Does the representation notice?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from clip_invariance.errors import UsageError
from clip_invariance.measure.invariance import centred_cosine, class_distance


@dataclass(frozen=True)
class PairComparison:
    """How far apart the two pictures of a matched pair are, on average over pairs.

    Attributes:
        d_prime: see :func:`d_prime`; 0 is chance.
        distance: Euclidean, in units of the features.
        of_reference: ``distance`` over the distance between classes of the reference factor
            (:func:`clip_invariance.measure.invariance.class_distance`); 1 is as far as another class.
        of_unrelated: ``distance`` over the mean distance of two unrelated pictures; 0 is exact invariance.
        cosine: of the two feature vectors.
        centred_cosine: after subtracting the mean feature of all pictures. Plain cosines are near one wherever
            features share a large mean.
    """

    d_prime: float
    distance: float
    of_reference: float
    of_unrelated: float
    cosine: float
    centred_cosine: float


def compare_pairs(a: Tensor, b: Tensor, reference: Tensor, *, seed: int = 0) -> PairComparison:
    """All measures of matched pairs at once.

    Args:
        a, b: (n, d), row i of both differs in exactly one factor.
        reference: (n,) int64, values of another factor, the same in both pictures of a pair, whose distance between
            classes is the yardstick.
        seed: of the halves and of the unrelated partners.

    Raises:
        UsageError: for fewer than four pairs, shapes that disagree, one reference class, or a constant representation.
    """
    detectability = d_prime(a, b, seed=seed)
    a, b = a.double(), b.double()
    if reference.shape != a.shape[:1]:
        raise UsageError(f"reference: {len(a)} pairs, labels of shape {tuple(reference.shape)}")
    both = torch.cat([a, b])
    between_classes = class_distance(both, torch.cat([reference, reference]).to(a.device))
    order = torch.randperm(len(a), generator=torch.Generator().manual_seed(seed)).to(a.device)
    unrelated = float(torch.linalg.vector_norm(a[order] - a[order.roll(1)], dim=1).mean())
    if between_classes == 0 or unrelated == 0:
        raise UsageError("the representation is constant: distances of pairs have no yardstick")
    distance = float(torch.linalg.vector_norm(a - b, dim=1).mean())
    return PairComparison(
        d_prime=detectability,
        distance=distance,
        of_reference=distance / between_classes,
        of_unrelated=distance / unrelated,
        cosine=float(F.cosine_similarity(a, b, dim=1).mean()),
        centred_cosine=float(centred_cosine(a, b, both.mean(0)).mean()),
    )


def d_prime(a: Tensor, b: Tensor, *, discriminant: bool = False, seed: int = 0) -> float:
    """Detectability of a change along one direction (signal detection; Green and Swets 1966), cross-fitted.

        d' = (mean of b.w - mean of a.w) / sqrt((var of a.w + var of b.w) / 2)

    The direction w comes from one half of the pairs and is measured on the other half, then the other way round, and
    the two are averaged. Measured on the pairs that chose w, pure noise in d dimensions would look like
    d' of about sqrt(2 d / n); cross-fitted, its expectation is 0 and single results may be negative. The best
    threshold on w is right with probability Phi(d' / 2) for Gaussian projections.

    Args:
        a, b: (n, d), row i of both differs in exactly one factor.
        discriminant: False: w is the mean difference, m. True: w = (S + r I)^-1 m, Fisher's direction, with S the
            covariance within a and b and r a hundredth of its mean variance; it finds a small change that lies among
            large variation of other factors.
        seed: of the halves.

    Returns:
        0 where a and b are equal.

    Raises:
        UsageError: for fewer than four pairs, shapes that disagree, or features that are not finite.
    """
    if a.shape != b.shape or a.ndim != 2 or len(a) < 4:
        raise UsageError(f"need at least four matched pairs, got shapes {tuple(a.shape)} and {tuple(b.shape)}")
    a, b = a.detach().double(), b.detach().double()
    if not bool((a.sum() + b.sum()).isfinite()):
        raise UsageError("pairs: features must be finite numbers")
    order = torch.randperm(len(a), generator=torch.Generator().manual_seed(seed)).to(a.device)
    halves = order[: len(a) // 2], order[len(a) // 2 :]
    found = [
        _along(_direction(a[learn], b[learn], discriminant), a[measure], b[measure])
        for learn, measure in (halves, halves[::-1])
    ]
    return sum(found) / 2


def _direction(a: Tensor, b: Tensor, discriminant: bool) -> Tensor:
    difference = (b - a).mean(0)
    if not discriminant:
        return difference
    spread = torch.cat([a - a.mean(0), b - b.mean(0)]) / (2 * len(a)) ** 0.5  # X with S = X'X
    ridge = float(spread.square().sum(0).mean()) / 100
    if ridge == 0:
        return difference
    rows, columns = spread.shape
    if columns <= rows:
        covariance = spread.mT @ spread
        covariance.diagonal().add_(ridge)
        return cast(Tensor, torch.linalg.solve(covariance, difference))
    # Pixels: Woodbury's identity, (X'X + r I)^-1 m = (m - X' (X X' + r I)^-1 X m) / r, solves for rows, not columns.
    gram = spread @ spread.mT
    gram.diagonal().add_(ridge)
    return cast(Tensor, (difference - spread.mT @ torch.linalg.solve(gram, spread @ difference)) / ridge)


def _along(direction: Tensor, a: Tensor, b: Tensor) -> float:
    before, after = a @ direction, b @ direction
    gap = float(after.mean() - before.mean())
    spread = float(((before.var() + after.var()) / 2).sqrt())
    if gap == 0:
        return 0.0
    if spread == 0:
        raise UsageError("pairs: no variation along the change, d' is not defined")
    return gap / spread
