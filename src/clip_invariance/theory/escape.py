"""How fast two small towers begin to tell a factor's values apart, and what the noise of the gradient does to that.

Both towers are linear in fixed features and start small, so that scores are bilinear in what is learned. Near the start, or
near the best score that knows other factors, the modes of the covariance between picture and caption features grow
independently (Saxe, McClelland & Ganguli 2014, for the squared loss). The theory page, section 7, has the derivation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from clip_invariance.errors import UsageError
from clip_invariance.theory.gain import Policy, free_share


def mode_strength(policy: Policy, factor: str) -> float:
    """Largest singular value of the covariance between a factor's value and what captions say of it.

    Both as indicators, one for each value, in a caption all 0 if it does not name the factor: the mention rate times the
    largest eigenvalue of diag(p) - p p', which for two equally frequent values is 1/2.
    """
    policy.check(factor)
    p = np.asarray(policy.values[factor], dtype=np.float64)
    return policy.rate(factor) * float(np.linalg.eigvalsh(np.diag(p) - np.outer(p, p))[-1])


def escape_time(
    policy: Policy,
    factor: str,
    batch: int,
    rate: float,
    known: Iterable[str] | None = None,
    visibility: float = 1.0,
    start: float = 0.01,
) -> float:
    """Steps of gradient descent until a factor's mode has grown from ``start`` to 1, by the linearised dynamics.

    log(1/start) / (rate x visibility x mode strength x free share); infinite if captions never name the factor.

    Args:
        policy, batch: what captions say and how many pairs a batch has.
        factor: whose mode.
        rate: step size of plain gradient descent.
        known: factors that the towers know by then; by default all others that captions name, as they come first.
        visibility: size of the factor's indicator in the picture features, times the scale of the scores.
        start: size of the mode in both towers, within (0, 1).

    Raises:
        UsageError: for a rate or visibility that is not positive, or a start outside (0, 1).
    """
    if rate <= 0 or visibility <= 0:
        raise UsageError(f"rate and visibility must be positive, got {rate:g} and {visibility:g}")
    if not 0 < start < 1:
        raise UsageError(f"start must be within (0, 1), got {start:g}")
    strength = mode_strength(policy, factor)
    if strength == 0:
        return math.inf
    return -math.log(start) / (rate * visibility * strength * free_share(policy, factor, batch, known))


def noisy_growth(rate: float, signal: float, noise: float, batch: int) -> float:
    """Expected growth of the logarithm of a mode in one step, if each step multiplies it by 1 + rate x (noisy signal).

    To second order: rate x signal - rate^2 (noise / batch + signal^2) / 2.

    Args:
        rate: step size.
        signal: mean of the mode's relative gradient.
        noise: variance of the relative gradient of one pair; that of a batch is noise / batch.
        batch: pairs in a batch.
    """
    return rate * signal - rate**2 * (noise / batch + signal**2) / 2


def erasing_rate(signal: float, noise: float, batch: int) -> float:
    """The step size above which :func:`noisy_growth` is negative: the mode dies out although its mean gradient is right."""
    return 2 * signal / (noise / batch + signal**2)
