"""Measures of an embedding's geometry, each against a case whose answer is known."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from clip_invariance.errors import UsageError
from clip_invariance.measure.decodability import probe_factors
from clip_invariance.measure.geometry import (
    alignment,
    project_on_span,
    text_span,
    value_variance,
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rotation(width: int) -> Tensor:
    return torch.linalg.qr(normal(width, width, seed=99))[0]


def test_alignment_of_equal_orthogonal_and_opposite_pairs() -> None:
    a = torch.eye(2)
    assert alignment(a, 3 * a) == pytest.approx(0)
    assert alignment(a, a.flip(0)) == pytest.approx(2)
    assert alignment(a, -a) == pytest.approx(4)


@settings(max_examples=25, deadline=None)
@given(texts=st.integers(1, 12), width=st.integers(1, 8), seed=st.integers(0, 1000))
def test_projection_splits_features_orthogonally_and_only_once(texts: int, width: int, seed: int) -> None:
    features, embeddings = normal(20, width, seed=seed).double(), normal(texts, width, seed=seed + 1).double()
    inside, outside = project_on_span(features, embeddings, tolerance=1e-9)
    torch.testing.assert_close(inside + outside, features)
    again, nothing = project_on_span(inside, embeddings, tolerance=1e-9)
    torch.testing.assert_close(again, inside)  # idempotent
    torch.testing.assert_close(nothing, torch.zeros_like(nothing))
    torch.testing.assert_close(outside @ embeddings.mT, torch.zeros(20, texts).double())  # no text reads the rest
    torch.testing.assert_close(features.norm(dim=1) ** 2, inside.norm(dim=1) ** 2 + outside.norm(dim=1) ** 2)
    assert text_span(embeddings, tolerance=1e-9).shape == (width, min(texts, width))


def test_tolerance_decides_what_counts_as_spanned() -> None:
    texts = torch.diag(torch.tensor([1.0, 0.1, 0.001]))
    assert [text_span(texts, tolerance=t).shape[1] for t in (0.5, 0.01, 0.0001)] == [1, 2, 3]


def test_equal_scores_do_not_mean_equal_pictures() -> None:
    """The counterexample to "same caption, same point": every text scores two pictures alike, a probe tells them apart."""
    texts = normal(50, 3) @ normal(3, 8, seed=1)  # fifty captions, three dimensions of eight
    light = torch.randint(2, (600,), generator=torch.Generator().manual_seed(0))
    _, unreadable = project_on_span(normal(1, 8, seed=2), texts)
    red, green = normal(600, 8, seed=3), normal(600, 8, seed=3) + 4 * F.normalize(unreadable, dim=1)
    torch.testing.assert_close(red @ texts.mT, green @ texts.mT, atol=1e-4, rtol=0)
    pictures = torch.where(light[:, None] == 1, green, red)
    inside, outside = project_on_span(pictures, texts)
    readable = [
        probe_factors(part[:400], {"light": light[:400]}, part[400:], {"light": light[400:]})["light"]
        for part in (pictures, inside, outside)
    ]
    assert readable[0] > 0.95
    assert readable[1] == pytest.approx(0.5, abs=0.1)
    assert readable[2] > 0.95


def test_value_variance_is_unbiased_where_a_factor_does_nothing() -> None:
    """Means of finite groups differ by chance; without the correction a useless factor would always have some variance."""
    naive, corrected = [], []
    for seed in range(200):
        x, labels = normal(60, 4, seed=seed), torch.arange(60) % 6
        means = torch.stack([x[labels == v].mean(0) for v in range(6)])
        naive.append(float((means - x.mean(0)).square().sum(1).mean()))
        corrected.append(value_variance(x, labels))
    assert sum(naive) / 200 == pytest.approx(4 * 5 / 60, abs=0.02)
    assert sum(corrected) / 200 == pytest.approx(0, abs=0.02)


def test_errors() -> None:
    with pytest.raises(UsageError, match="labels: 3 rows"):
        value_variance(torch.eye(3), torch.zeros(2, dtype=torch.long))
    with pytest.raises(UsageError, match="matched rows"):
        alignment(torch.eye(3), torch.eye(2))
    with pytest.raises(UsageError, match="tolerance"):
        text_span(torch.eye(3), tolerance=1.0)
    with pytest.raises(UsageError, match="not zero"):
        text_span(torch.zeros(3, 3))
    with pytest.raises(UsageError, match="3 dimensions, texts 2"):
        project_on_span(torch.eye(3), torch.eye(2))
    with pytest.raises(UsageError, match="two values"):
        value_variance(torch.eye(3), torch.zeros(3, dtype=torch.long))
