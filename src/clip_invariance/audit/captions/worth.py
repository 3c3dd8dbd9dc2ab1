"""What the mentions of each factor are worth at a batch size: an estimate and its bounds, from counts and a sample.

The theory page, section 7, defines the gain and proves what is used here:

* *at most* the mention rate times the entropy of the values, at any batch size;
* the *estimate* takes captions to say nothing but the factors of the file, with values independent of one another; which
  factors are named together is as counted;
* *at least*: all that captions say besides the factor is taken as known, so that only captions which agree in every other
  word are left to confuse. Knowing more of the rest never raises a gain, so this is the least.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clip_invariance.audit.captions.counting import Tally, bits_of, slots
from clip_invariance.audit.captions.factors import Factor, Factors, normalise
from clip_invariance.errors import UsageError
from clip_invariance.theory.gain import Policy, mention_gain

#: Pairs that the lower bound is averaged over, at least; mention sets that the estimate keeps, the most frequent ones.
_PAIRS, _SETS = 200_000, 1024
#: The value of a factor whose silence means that there is none.
NONE = "(none)"


@dataclass(frozen=True)
class Worth:
    """What a factor's mentions are worth.

    Attributes:
        factor: its name.
        named: captions that name a value.
        several: captions that name more than one; they count for each.
        entropy: of the values as named, nats; with "none" among them where silence means none.
        low, gain, high: nats, see above.
        order: 1 for the largest gain, None where there is none.
    """

    factor: str
    named: int
    several: int
    entropy: float
    low: float
    gain: float
    high: float
    order: int | None


def worths(tally: Tally, sample: pl.Series, factors: Factors, batch: int) -> list[Worth]:
    """What each factor is worth, the largest gain first.

    Args:
        tally: all counts.
        sample: captions for the lower bound.
        factors: what was looked for.
        batch: N.

    Raises:
        UsageError: for a batch below 2.
    """
    if batch < 2:
        raise UsageError(f"--batch {batch}: a contrast needs at least 2 pairs")
    bits, policy = bits_of(factors), policy_of(tally, factors)
    found = []
    patterns, texts = factors.patterns(sample), pl.DataFrame({"text": normalise(sample)})
    for factor in factors.factors:
        mine = bits[factor.name]
        informative = factor.name in policy.values and len(policy.values[factor.name]) > 1
        low = gain = high = entropy = 0.0
        if informative:
            entropy = policy.entropy(factor.name)
            high = policy.rate(factor.name) * entropy
            gain = mention_gain(policy, factor.name, batch)
            rest = texts.select(factor.rest("text"))["text"].str.replace_all(r"[ |]+", " ")
            values = policy.values[factor.name]
            low = _lower(slots(patterns, factors, factor), rest, _spread(values, tally, factors, factor), factor, batch)
        found.append(Worth(factor.name, tally.having(mine), tally.several(mine), entropy, low, gain, high, None))
    found.sort(key=lambda worth: (-worth.gain, worth.factor))
    return [
        Worth(**{**vars(worth), "order": number if worth.gain > 0 else None})
        for number, worth in enumerate(found, start=1)
    ]


def policy_of(tally: Tally, factors: Factors) -> Policy:
    """Captions as the theory has them: values as frequent as they are named, factors named together as counted.

    A factor whose silence means none is always named, with one value more. Factors that no caption names are not in it.
    """
    values: dict[str, list[float]] = {}
    silent_is_none = set()
    for factor in factors.factors:
        counts = [count for count in value_counts(tally, factors, factor) if count > 0]
        named = tally.having(bits_of(factors)[factor.name])
        if not counts:
            continue
        share = 1.0
        if factor.silence == "none":
            silent_is_none.add(factor.name)
            share = named / tally.read
        values[factor.name] = [share * count / sum(counts) for count in counts]
        if share < 1:
            values[factor.name].append(1 - share)
    bits = bits_of(factors)
    sets: dict[frozenset[str], float] = {}
    for pattern, count in tally.patterns.items():
        named_here = frozenset(name for name in values if name in silent_is_none or pattern & bits[name])
        sets[named_here] = sets.get(named_here, 0.0) + count
    kept = dict(sorted(sets.items(), key=lambda item: (-item[1], sorted(item[0])))[:_SETS])
    total = sum(kept.values())
    if not total:
        return Policy({}, {frozenset(): 1.0})
    return Policy(values, {named: count / total for named, count in kept.items()})


def value_counts(tally: Tally, factors: Factors, factor: Factor) -> list[int]:
    """How many captions name each value."""
    return [tally.having(1 << bit) for bit, (name, _) in enumerate(factors.bits()) if name == factor.name]


def _spread(probabilities: Sequence[float], tally: Tally, factors: Factors, factor: Factor) -> NDArray[np.float64]:
    """Probabilities for every value of the file, and "none" at the end where silence means it; 0 for what is never named."""
    counts = value_counts(tally, factors, factor)
    left = iter(probabilities)
    spread = [next(left) if count > 0 else 0.0 for count in counts]
    return np.array([*spread, *left])


def _lower(said: NDArray[np.int64], rest: pl.Series, chances: NDArray[np.float64], factor: Factor, batch: int) -> float:
    """The gain if everything else that captions say is known, by batches drawn from the sample.

    Args:
        said: (n,) value that each caption names, -1 for none.
        rest: (n,) all else that it says.
        chances: of the values.
        factor: for what its silence means.
        batch: N; the whole sample where that is smaller.
    """
    size = min(batch, len(said))
    if size < 2:
        return 0.0
    groups = rest.rank("dense").to_numpy().astype(np.int64)
    if factor.silence == "none":
        said = np.where(said < 0, len(chances) - 1, said)
    rng = np.random.default_rng(0)
    draws = [
        _gain_in_batch(said[chosen], groups[chosen], chances, rng)
        for chosen in (rng.choice(len(said), size, replace=False) for _ in range(math.ceil(_PAIRS / size)))
    ]
    mean = float(np.mean(draws))
    return mean if mean > 1e-12 else 0.0  # what rounding leaves of nothing


def _gain_in_batch(
    said: NDArray[np.int64], groups: NDArray[np.int64], chances: NDArray[np.float64], rng: np.random.Generator
) -> float:
    """Loss of one batch where captions of one group cannot be told apart, minus that where the factor's value is seen.

    A picture whose caption names no value has one at random.
    """
    drawn = rng.choice(len(chances), len(said), p=chances / chances.sum())
    seen = np.where(said < 0, drawn, said)
    _, group, size = np.unique(groups, return_inverse=True, return_counts=True)
    width = len(chances)
    silent = np.bincount(group, weights=said < 0, minlength=len(size))
    naming = np.bincount((group * width + said)[said >= 0], minlength=len(size) * width)
    having = np.bincount(group * width + seen, minlength=len(size) * width)
    chance = chances[seen]
    own = np.where(said < 0, 0.0, -np.log(chance))
    together = np.log(size[group])
    image = together - (np.log(silent[group] + naming[group * width + seen] / chance) - own)
    text = np.where(said < 0, 0.0, together - np.log(having[group * width + seen]))
    return float((image + text).mean() / 2)
