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
    caption_cosines,
    linear_cka,
    project_on_span,
    text_span,
    uniformity,
    value_variance,
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rotation(width: int) -> Tensor:
    return torch.linalg.qr(normal(width, width, seed=99))[0]


def test_caption_cosines_are_the_means_over_all_pairs() -> None:
    features, captions = normal(30, 5), torch.arange(30) % 4
    cosines = F.cosine_similarity(features[:, None], features[None], dim=2)
    same = captions[:, None] == captions
    found = caption_cosines(features, captions)
    assert found.within == pytest.approx(float(cosines[same & ~torch.eye(30, dtype=torch.bool)].mean()), abs=1e-6)
    assert found.between == pytest.approx(float(cosines[~same].mean()), abs=1e-6)


def test_collapse_to_one_point_per_caption_has_cosine_one_within() -> None:
    captions = torch.arange(40) % 4
    found = caption_cosines(7 * torch.eye(4)[captions], captions)
    assert found.within == pytest.approx(1)
    assert found.between == pytest.approx(0)


def test_alignment_of_equal_orthogonal_and_opposite_pairs() -> None:
    a = torch.eye(2)
    assert alignment(a, 3 * a) == pytest.approx(0)
    assert alignment(a, a.flip(0)) == pytest.approx(2)
    assert alignment(a, -a) == pytest.approx(4)


def test_uniformity_falls_from_zero_in_one_point_to_its_value_on_the_sphere() -> None:
    """In many dimensions two random directions are orthogonal: |u - v|^2 = 2, so uniformity tends to -2 t."""
    assert uniformity(torch.ones(10, 3)) == pytest.approx(0)
    assert uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(-8)
    assert uniformity(normal(400, 2000)) == pytest.approx(-4, abs=0.02)
    assert uniformity(normal(300, 8) + 3) > uniformity(normal(300, 8))


def test_cka_does_not_see_rotation_shift_or_scale() -> None:
    x = normal(200, 6)
    assert linear_cka(x, 5 * x @ rotation(6) + 3) == pytest.approx(1)
    assert linear_cka(x, normal(200, 9, seed=1)) < 0.2


def test_cka_sees_other_linear_maps_unlike_canonical_correlation() -> None:
    """One axis stretched a lot: the representation is now nearly one-dimensional, CKA tends to 1 / sqrt(d)."""
    x = normal(20_000, 4)
    stretched = x * torch.tensor([100.0, 1.0, 1.0, 1.0])
    assert linear_cka(x, stretched) == pytest.approx(0.5, abs=0.01)


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
    with pytest.raises(UsageError, match="two captions"):
        caption_cosines(torch.eye(3), torch.zeros(3, dtype=torch.long))
    with pytest.raises(UsageError, match="captions: 3 rows"):
        caption_cosines(torch.eye(3), torch.zeros(2, dtype=torch.long))
    with pytest.raises(UsageError, match="matched rows"):
        alignment(torch.eye(3), torch.eye(2))
    with pytest.raises(UsageError, match="two rows"):
        uniformity(torch.ones(1, 3))
    with pytest.raises(UsageError, match="3 and 2 rows"):
        linear_cka(torch.eye(3), torch.eye(2))
    with pytest.raises(UsageError, match="constant"):
        linear_cka(torch.ones(3, 2), torch.ones(3, 2))
    with pytest.raises(UsageError, match="tolerance"):
        text_span(torch.eye(3), tolerance=1.0)
    with pytest.raises(UsageError, match="not zero"):
        text_span(torch.zeros(3, 3))
    with pytest.raises(UsageError, match="3 dimensions, texts 2"):
        project_on_span(torch.eye(3), torch.eye(2))
    with pytest.raises(UsageError, match="two values"):
        value_variance(torch.eye(3), torch.zeros(3, dtype=torch.long))
