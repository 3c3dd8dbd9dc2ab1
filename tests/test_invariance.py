"""The measures mean what they say on representations where the answer is known."""

from __future__ import annotations

import pytest
import torch

from clip_invariance.errors import UsageError
from clip_invariance.measure.invariance import centred_cosine, class_distance, consistency, place_share, shift_error
from clip_invariance.measure.probes import linear_probe


def test_class_distance_is_the_distance_of_two_means() -> None:
    features = torch.tensor([[0.0, 0.0], [0.0, 2.0], [3.0, 5.0], [3.0, 5.0]])
    assert class_distance(features, torch.tensor([0, 0, 1, 1])) == pytest.approx(5.0)


def test_class_distance_needs_two_classes() -> None:
    with pytest.raises(UsageError, match="at least two"):
        class_distance(torch.zeros(2, 2), torch.zeros(2))


def test_shift_error_counts_in_class_distances() -> None:
    error = shift_error(torch.zeros(2, 2), torch.tensor([[3.0, 4.0], [0.0, 0.0]]), scale=10.0)
    assert error.tolist() == [0.5, 0.0]


def test_centring_tells_apart_what_a_common_offset_hides() -> None:
    a, b = torch.tensor([[101.0, 100.0]]), torch.tensor([[99.0, 100.0]])
    assert centred_cosine(a, b, torch.zeros(2)).item() > 0.99
    assert centred_cosine(a, b, torch.full((2,), 100.0)).item() == pytest.approx(-1.0)


def test_consistency_counts_kept_predictions() -> None:
    assert consistency(torch.eye(4), torch.eye(4)[[0, 1, 3, 2]]) == 0.5


def test_place_share_splits_the_variance() -> None:
    item, place = torch.randn(50, 1, 3), torch.randn(1, 20, 3)
    assert place_share(item.expand(50, 20, 3)) == pytest.approx(0.0, abs=1e-6)
    assert place_share(place.expand(50, 20, 3)) == pytest.approx(1.0, abs=1e-6)
    both = place_share(torch.cat([item.expand(50, 20, 3), place.expand(50, 20, 3)], dim=2))
    assert 0.3 < both < 0.7


def test_a_probe_reads_what_is_there_and_nothing_else() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (600,), generator=generator)
    noise = torch.randn(600, 8, generator=generator)
    signal = noise + 6 * torch.nn.functional.one_hot(labels, 8)
    assert linear_probe(signal[:400], labels[:400], signal[400:], labels[400:]) > 0.95
    assert linear_probe(noise[:400], labels[:400], noise[400:], labels[400:]) < 0.40


def test_a_wide_probe_is_narrowed_first() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (400,), generator=generator)
    wide = torch.randn(400, 1000, generator=generator) * 0.1 + labels[:, None] * torch.randn(1000, generator=generator)
    assert linear_probe(wide[:300], labels[:300], wide[300:], labels[300:]) > 0.95


def test_a_probe_needs_two_classes() -> None:
    with pytest.raises(UsageError, match="at least two classes"):
        linear_probe(torch.zeros(8, 2), torch.zeros(8), torch.zeros(2, 2), torch.zeros(2))
