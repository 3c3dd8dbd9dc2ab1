"""Matched pairs against Gaussian cases with a known d', and the bootstrap against its textbook interval."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from clip_invariance.errors import UsageError
from clip_invariance.measure.bootstrap import bootstrap_mean
from clip_invariance.measure.counterfactual import _direction, compare_pairs, d_prime


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("true", [0.5, 2.0])
def test_d_prime_of_a_shift_among_unit_noise_is_its_length(true: float) -> None:
    a = normal(4000, 6)
    shift = true * torch.nn.functional.normalize(normal(6, seed=1), dim=0)
    assert d_prime(a, a + shift) == pytest.approx(true, rel=0.05)
    assert d_prime(a + shift, a) == pytest.approx(true, rel=0.05)  # a distance, not a direction
    assert d_prime(a, a + shift, discriminant=True) == pytest.approx(true, rel=0.05)


def test_d_prime_of_noise_is_zero_on_average_because_it_is_cross_fitted() -> None:
    """On the pairs that chose the direction, sixty pairs of noise in thirty dimensions would look like d' = 1."""
    fitted, same = [], []
    for seed in range(60):
        a, b = normal(60, 30, seed=2 * seed), normal(60, 30, seed=2 * seed + 1)
        direction = (b - a).mean(0)
        x, y = a @ direction, b @ direction
        same.append(float((y.mean() - x.mean()) / ((x.var() + y.var()) / 2).sqrt()))
        fitted.append(d_prime(a, b, seed=seed))
    assert np.mean(same) > 0.9
    assert abs(np.mean(fitted)) < 3 * np.std(fitted) / 60**0.5
    assert np.std(fitted) < 0.5


def test_discriminant_finds_a_small_change_among_large_variation() -> None:
    """The change is one along each of two axes, noise has deviation 10 and 0.5: d' = sqrt((1/10)^2 + (1/0.5)^2)."""
    a = normal(4000, 2) * torch.tensor([10.0, 0.5])
    b = a + 1
    assert d_prime(a, b) == pytest.approx(2 / (100 + 0.25) ** 0.5, rel=0.1)
    assert 1.5 < d_prime(a, b, discriminant=True) <= 2.05


def test_discriminant_of_more_columns_than_rows_is_the_same_direction() -> None:
    """Columns of zeros change nothing, but for the mean variance that the ridge is a share of."""
    a = normal(40, 8)
    b = a + 0.5
    for zeros in (0, 72):
        wide_a, wide_b = (torch.cat([x, torch.zeros(40, zeros)], dim=1).double() for x in (a, b))
        spread = torch.cat([wide_a - wide_a.mean(0), wide_b - wide_b.mean(0)])
        covariance = spread.mT @ spread / 80
        covariance += covariance.diagonal().mean() / 100 * torch.eye(8 + zeros)
        expected = torch.linalg.solve(covariance, (wide_b - wide_a).mean(0))
        torch.testing.assert_close(_direction(wide_a, wide_b, discriminant=True), expected)


def test_identical_pairs_are_exactly_zero() -> None:
    a = normal(50, 4)
    found = compare_pairs(a, a, torch.arange(50) % 2)
    assert (found.d_prime, found.distance, found.of_reference, found.of_unrelated) == (0, 0, 0, 0)
    assert found.cosine == pytest.approx(1)
    assert d_prime(a, a, discriminant=True) == 0


def test_distances_of_pairs_in_units_of_a_class_and_of_unrelated_pictures() -> None:
    reference = torch.arange(6000) % 2
    a = normal(6000, 3)
    a[:, 0] += 4.0 * reference
    found = compare_pairs(a, a + torch.tensor([0.0, 2.0, 0.0]), reference)
    assert found.distance == pytest.approx(2, abs=1e-5)
    assert found.of_reference == pytest.approx(2 / 4, abs=0.02)
    assert found.d_prime == pytest.approx(2, abs=0.1)
    noise = compare_pairs(a, a[torch.randperm(6000, generator=torch.Generator().manual_seed(1))], reference)
    assert noise.of_unrelated == pytest.approx(1, abs=0.02)  # a partner that has nothing to do with the picture


def test_a_large_common_mean_hides_differences_from_the_plain_cosine() -> None:
    a, b = normal(2000, 8), normal(2000, 8, seed=1)
    found = compare_pairs(a + 50, b + 50, torch.arange(2000) % 2)
    assert found.cosine > 0.99
    assert found.centred_cosine == pytest.approx(0, abs=0.03)


def test_errors() -> None:
    a = normal(10, 3)
    with pytest.raises(UsageError, match="four matched pairs"):
        d_prime(a[:3], a[:3])
    with pytest.raises(UsageError, match="four matched pairs"):
        d_prime(a, a[:, :2])
    with pytest.raises(UsageError, match="finite"):
        d_prime(a, a / 0)
    with pytest.raises(UsageError, match="no variation"):
        d_prime(torch.zeros(10, 2), torch.ones(10, 2))
    with pytest.raises(UsageError, match="10 pairs"):
        compare_pairs(a, a, torch.zeros(9, dtype=torch.long))
    with pytest.raises(UsageError, match="at least two"):
        compare_pairs(a, a, torch.zeros(10, dtype=torch.long))
    with pytest.raises(UsageError, match="constant"):
        compare_pairs(torch.ones(10, 3), torch.ones(10, 3), torch.arange(10) % 2)


def test_bootstrap_over_images_agrees_with_the_normal_interval_of_an_accuracy() -> None:
    right = np.arange(1000) < 800
    found = bootstrap_mean(right, seed=1)
    half = 1.96 * (0.8 * 0.2 / 1000) ** 0.5
    assert (found.value, found.n) == (0.8, 1000)
    assert found.low == pytest.approx(0.8 - half, abs=0.003)
    assert found.high == pytest.approx(0.8 + half, abs=0.003)
    assert found == bootstrap_mean(right, seed=1)
    with pytest.raises(UsageError, match="at least 20"):
        bootstrap_mean(right[:5])
    with pytest.raises(UsageError, match="finite"):
        bootstrap_mean(np.full(30, np.nan))
