"""One pass over all captions: how often each combination of values is named, and a fixed sample to look at closely."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from clip_invariance.audit.captions.factors import Factor, Factors
from clip_invariance.audit.captions.reading import Source

#: Captions kept for the lower bound of a gain, which needs their whole text; letters kept of each.
SAMPLE, _LETTERS = 65_536, 1000


@dataclass
class Tally:
    """What was counted.

    Attributes:
        patterns: bits of named values (see :meth:`Factors.bits`) -> captions, of those that are not empty.
        captions: all of them.
        empty: null or white space alone; they name nothing and are left out of every rate.
    """

    patterns: Counter[int] = field(default_factory=Counter)
    captions: int = 0
    empty: int = 0

    @property
    def read(self) -> int:
        """Captions that say something."""
        return self.captions - self.empty

    def having(self, bits: int) -> int:
        """Captions that name at least one of these values."""
        return sum(count for pattern, count in self.patterns.items() if pattern & bits)

    def having_both(self, one: int, other: int) -> int:
        """Captions that name at least one of each of two sets of values."""
        return sum(count for pattern, count in self.patterns.items() if pattern & one and pattern & other)

    def several(self, bits: int) -> int:
        """Captions that name more than one of these values."""
        return sum(count for pattern, count in self.patterns.items() if (pattern & bits).bit_count() > 1)


def bits_of(factors: Factors) -> dict[str, int]:
    """The bits of each factor's values together."""
    found: dict[str, int] = {}
    for bit, (factor, _) in enumerate(factors.bits()):
        found[factor] = found.get(factor, 0) | 1 << bit
    return found


def count(
    sources: Sequence[Source], factors: Factors, progress: Callable[[int, int], object]
) -> tuple[Tally, pl.Series]:
    """Read all captions once.

    Args:
        sources: the files.
        factors: what to look for.
        progress: told bytes and captions read since it was last told.

    Returns:
        The counts, and at most :data:`SAMPLE` captions, chosen by their place alone: the same for the same files.

    Raises:
        UsageError: for a file that cannot be read.
    """
    tally, sample = Tally(), _Sample()
    for source in sources:
        before = 0
        for batch in source.batches():
            captions = batch.captions
            said = captions.filter(captions.str.contains(r"\S").fill_null(False))
            patterns = factors.patterns(said).value_counts()
            tally.patterns.update(dict(zip(patterns["pattern"].to_list(), patterns["count"].to_list(), strict=True)))
            sample.add(said, tally.read)
            tally.captions += len(captions)
            tally.empty += len(captions) - len(said)
            progress(batch.done - before, len(captions))
            before = batch.done
        progress(source.size - before, 0)
    return tally, sample.taken()


class _Sample:
    """The captions whose place has the smallest hash."""

    def __init__(self) -> None:
        self.texts: list[pl.Series] = []
        self.hashes = np.empty(0, dtype=np.uint64)
        self.limit = np.iinfo(np.uint64).max

    def add(self, captions: pl.Series, first: int) -> None:
        hashes = _hash(np.arange(first, first + len(captions), dtype=np.uint64))
        chosen = np.flatnonzero(hashes <= self.limit)
        if len(chosen):
            self.texts.append(captions.gather(chosen).str.slice(0, _LETTERS))
            self.hashes = np.concatenate([self.hashes, hashes[chosen]])
        if len(self.hashes) > 2 * SAMPLE:
            self._shrink()

    def taken(self) -> pl.Series:
        """The sample, in the order of the files."""
        if len(self.hashes) > SAMPLE:
            self._shrink()
        return pl.concat(self.texts) if self.texts else pl.Series("captions", [], dtype=pl.String)

    def _shrink(self) -> None:
        kept = np.sort(np.argpartition(self.hashes, SAMPLE - 1)[:SAMPLE])
        self.texts = [pl.concat(self.texts).gather(kept)]
        self.hashes = self.hashes[kept]
        self.limit = self.hashes.max()


def _hash(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64: evenly spread, and the same everywhere."""
    mixed = numbers * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def slots(patterns: pl.Series, factors: Factors, factor: Factor) -> NDArray[np.int64]:
    """Which value of the factor each pattern names, (n,): -1 for none, the first in the file's order if several."""
    first = next(bit for bit, (name, _) in enumerate(factors.bits()) if name == factor.name)
    numbers = patterns.to_numpy()
    found = np.full(len(numbers), -1, dtype=np.int64)
    for value in reversed(range(len(factor.values))):
        found[(numbers >> np.uint64(first + value)) & np.uint64(1) == 1] = value
    return found
