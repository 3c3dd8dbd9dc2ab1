"""Means over seeds with intervals a reader can trust at three seeds as well as at ten."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from clip_invariance.errors import UsageError

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % interval.

    Attributes:
        value: mean over seeds.
        low, high: ends of the interval for that mean.
        n: number of seeds.
        spread: standard deviation over seeds (n - 1 in the denominator).
        samples: the ``n`` numbers themselves, by seed; empty where they are not kept.
    """

    value: float
    low: float
    high: float
    n: int
    spread: float
    samples: tuple[float, ...] = ()


#: What a number is. A share counts something out of a whole (pictures answered right), so that nothing below 0 or above
#: 100 % is possible; a ratio compares two numbers in percent, and may lie anywhere; a difference has a sign; a count is of
#: things; all else (a slope, a distance, d') is a number.
Kind = Literal["share", "ratio", "difference", "count", "number"]
#: The unit of a kind where nothing else is said.
UNITS: dict[Kind, str] = {"share": "%", "ratio": "%", "difference": "points", "count": "", "number": ""}


@dataclass(frozen=True)
class NamedValue:
    """A number that prose may quote and a claim's rule may use.

    Attributes:
        name: without the chapter, ``[a-z0-9_]+``.
        estimate: in ``unit``.
        unit: "%", "points", or "" for none.
        figure: the figure or table that shows it.
        description: one sentence.
        digits: decimals to print; None for as many as the interval's first digit.
        kind: what the number is.
    """

    name: str
    estimate: Estimate
    unit: str
    figure: str
    description: str
    digits: int | None = None
    kind: Kind = "number"


def mean_over_seeds(samples: ArrayLike) -> Estimate:
    """Mean of one number per seed, with Student's t interval.

    Why not a bootstrap over seeds: with three seeds a percentile bootstrap has ten distinct resamples and its nominal
    95 % interval covers the truth about three times in four; Student's t keeps its promise (``tests/test_statistics.py``
    measures both).

    Args:
        samples: shape (n,), one number per seed, n >= 2.

    Raises:
        UsageError: with fewer than two seeds (no interval exists) or a number that is not finite.
    """
    x = np.asarray(samples, dtype=float)
    if x.ndim != 1 or x.size < 2:
        raise UsageError(f"an interval needs one number from each of at least two seeds, got shape {x.shape}")
    if not np.isfinite(x).all():
        raise UsageError(f"an interval needs finite numbers, got {x.tolist()}")
    mean, spread = float(x.mean()), float(x.std(ddof=1))
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, x.size - 1)) * spread / x.size**0.5
    return Estimate(mean, mean - half, mean + half, int(x.size), spread, tuple(x.tolist()))


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's interval for a share of independent trials, in [0, 1]; it has a length even where all trials agree."""
    ends = stats.binomtest(successes, trials).proportion_ci(CONFIDENCE, "wilson")
    return float(ends.low), float(ends.high)


def share_of_seeds(right: Sequence[bool]) -> Estimate:
    """The share of seeds in which something happened, in percent, with Wilson's interval: every seed is one trial.

    Args:
        right: one answer per seed, at least two.

    Raises:
        UsageError: with fewer than two seeds, or an answer that is neither yes nor no.
    """
    if len(right) < 2:
        raise UsageError(f"a share of seeds needs at least two of them, got {len(right)}")
    if odd := [answer for answer in right if not isinstance(answer, (bool, np.bool_))]:
        raise UsageError(f"a share of seeds needs yes or no from each, got {odd[0]!r}")
    low, high = wilson(sum(map(bool, right)), len(right))
    samples = [100.0 * bool(answer) for answer in right]
    spread = float(np.std(samples, ddof=1))
    return Estimate(float(np.mean(samples)), 100 * low, 100 * high, len(samples), spread, tuple(samples))


def paired_difference(a: pd.Series, b: pd.Series) -> Estimate:
    """Mean of ``a - b`` over the seeds, both indexed by seed: arms that share a seed share data and initialisation.

    Raises:
        UsageError: if the two do not cover the same seeds.
    """
    if set(a.index) != set(b.index):
        raise UsageError(f"paired arms must share their seeds, got {sorted(a.index)} and {sorted(b.index)}")
    return mean_over_seeds((a - b.reindex(a.index)).to_numpy())


def percent_of(part: pd.Series, whole: pd.Series) -> pd.Series:
    """``part`` in percent of ``whole``, per seed; 0 where there is no whole, as in a run too small to find a difference.

    Args:
        part, whole: indexed by seed. Seeds of ``part`` that ``whole`` lacks give NaN.
    """
    whole = whole.reindex(part.index)
    return (100 * part / whole.where(whole != 0)).where(whole != 0, 0.0)


def summarise(table: pd.DataFrame, by: Sequence[str], column: str) -> pd.DataFrame:
    """Collapse a tidy table over seeds: one row per group with value, low, high, n.

    Rows of one seed within a group are averaged first, so that the interval is over seeds, not over rows.
    """
    per_seed = table.groupby([*by, "seed"], sort=False, observed=True)[column].mean().reset_index()
    rows = []
    for key, group in per_seed.groupby(list(by), sort=False, observed=True):
        estimate = mean_over_seeds(group[column].to_numpy())
        names = dict(zip(by, key if isinstance(key, tuple) else (key,), strict=True))
        rows.append({**names, "value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n})
    return pd.DataFrame(rows)


def digits_of(half_width: float) -> int:
    """Decimals so that half of an interval keeps one digit: 0.4 -> 1, 3 -> 0, 0.02 -> 2; 1 if there is no width."""
    if not half_width > 0 or not math.isfinite(half_width):
        return 1
    return min(max(-math.floor(math.log10(half_width)), 0), 4)
