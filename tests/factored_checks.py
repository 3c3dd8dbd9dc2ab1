"""Checks that hold for every world with named factors."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
from scipy.stats import chi2_contingency, chisquare
from torch import Tensor

from clip_invariance.captions import Vocabulary


def assert_factors_are_uniform_and_independent(
    factors: Mapping[str, tuple[str, ...]], labels: Mapping[str, Tensor]
) -> None:
    """Chi-square tests of each factor and each pair; a fixed seed makes the outcome certain."""
    for name, values in factors.items():
        assert chisquare(np.bincount(labels[name].numpy(), minlength=len(values))).pvalue > 1e-3, name
    for a, b in itertools.combinations(factors, 2):
        table = np.zeros((len(factors[a]), len(factors[b])))
        np.add.at(table, (labels[a].numpy(), labels[b].numpy()), 1)
        assert chi2_contingency(table).pvalue > 1e-3, (a, b)


def assert_words_fit(factors: Mapping[str, tuple[str, ...]], words: Vocabulary) -> None:
    """Every value has words, no wording names two values, and fillers are as long as what they stand for."""
    assert set(words.phrases) == set(factors) == set(words.fillers)
    for name, values in factors.items():
        wordings = words.phrases[name]
        assert len(wordings) == len(values), name
        flat = [wording for one in wordings for wording in one]
        assert len(set(flat)) == len(flat), name
        lengths = {len(wording.split()) for wording in flat}
        assert len(lengths) == 1, name
        assert {len(filler.split()) for filler in words.fillers[name]} == lengths, name
        said = {word for wording in flat for word in wording.split()} - {"a", "the", "of", "in", "at", "on"}
        assert not said & {word for filler in words.fillers[name] for word in filler.split()}, name
