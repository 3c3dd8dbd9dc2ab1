"""Intervals over test images, where they are a larger source of uncertainty than seeds."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from clip_invariance.errors import UsageError
from clip_invariance.measure.statistics import CONFIDENCE, Estimate

#: Below this many images a percentile interval is too narrow; take more images, or more seeds and Student's t.
FEWEST = 20


def bootstrap_mean(values: ArrayLike, *, seed: int = 0, draws: int = 2000) -> Estimate:
    """Mean over test images of one model, with the percentile interval of the bootstrap (Efron 1979).

    Says how far other test images would change the number; nothing about other seeds.

    Args:
        values: (n,) one number per independent test image, for example whether it was classified right.
        draws: resamples of the images.

    Returns:
        ``n`` counts images, ``spread`` is their standard deviation.

    Raises:
        UsageError: for fewer than FEWEST images or a number that is not finite.
    """
    x = np.asarray(values, dtype=float)
    if x.ndim != 1 or x.size < FEWEST:
        raise UsageError(f"a bootstrap over images needs at least {FEWEST} of them, got shape {x.shape}")
    if not np.isfinite(x).all():
        raise UsageError("a bootstrap needs finite numbers")
    interval = stats.bootstrap(
        (x,), np.mean, n_resamples=draws, batch=100, method="percentile", confidence_level=CONFIDENCE, rng=seed
    ).confidence_interval
    return Estimate(float(x.mean()), float(interval.low), float(interval.high), int(x.size), float(x.std(ddof=1)))
