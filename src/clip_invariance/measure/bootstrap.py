"""Intervals over test images, where they are a source of uncertainty as large as seeds, or larger."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from clip_invariance.errors import UsageError
from clip_invariance.measure.statistics import CONFIDENCE, Estimate, mean_over_seeds, wilson

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


def share_of_images(share: float, images: int) -> tuple[float, float]:
    """Wilson's interval for a share of independent images, in [0, 1]; unlike the bootstrap's it is never of no length."""
    return wilson(round(share * images), images)


def accuracy_over_seeds_and_images(right: pd.DataFrame) -> Estimate:
    """Accuracy in percent when every seed is asked about the *same* images: other seeds and other images would move it.

    Half-lengths of Student's t interval over seeds and of Wilson's over images are added as squares. That is on the safe
    side, as what seed and image do together is counted in both.

    Args:
        right: one row for each seed, one column for each image, in [0, 1]: whether the image was classified right, or
            the share of its copies that were.
    """
    low, high = share_of_images(float(right.to_numpy().mean()), right.shape[1])
    return _both(mean_over_seeds(100 * right.mean(axis=1).to_numpy()), 100 * low, 100 * high)


def difference_over_seeds_and_images(a: pd.DataFrame, b: pd.DataFrame) -> Estimate:
    """Accuracy of ``a`` minus that of ``b`` in points, paired by seed and image; arguments as for the accuracy of one.

    Raises:
        UsageError: if the two do not cover the same seeds and images, or there are fewer than FEWEST images.
    """
    if set(a.index) != set(b.index) or set(a.columns) != set(b.columns):
        raise UsageError("arms that are compared must share their seeds and images")
    difference = 100 * (a - b.reindex(index=a.index, columns=a.columns))
    images = bootstrap_mean(difference.mean(axis=0).to_numpy())
    return _both(mean_over_seeds(difference.mean(axis=1).to_numpy()), images.low, images.high)


def _both(seeds: Estimate, low: float, high: float) -> Estimate:
    """The interval over seeds, widened by the one over images around the same mean."""
    below, above = (
        np.hypot(seeds.value - seeds.low, seeds.value - low),
        np.hypot(seeds.high - seeds.value, high - seeds.value),
    )
    low, high = seeds.value - float(below), seeds.value + float(above)
    return Estimate(seeds.value, low, high, seeds.n, seeds.spread, seeds.samples)
