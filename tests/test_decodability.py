"""Probes reach the known optimum: scikit-learn's solution, and the Bayes accuracy of Gaussian classes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from clip_invariance.errors import UsageError
from clip_invariance.measure import decodability
from clip_invariance.measure.decodability import few_shot, fit_probes, knn_accuracy, probe_factors

CLASSES = {"colour": 2, "shape": 5, "place": 3}


def gaussian(n: int, seed: int, *, distance: float = 2.0, width: int = 12) -> tuple[Tensor, dict[str, Tensor]]:
    """Three factors, each moving the mean along directions of its own; unit noise in all directions.

    Any two values of a factor have means ``distance`` apart (corners of a simplex in the factor's own coordinates).
    """
    rng = torch.Generator().manual_seed(seed)
    features = torch.randn(n, width, generator=rng)
    labels, column = {}, 0
    for factor, count in CLASSES.items():
        labels[factor] = torch.randint(count, (n,), generator=rng)
        features[torch.arange(n), column + labels[factor]] += distance / math.sqrt(2)
        column += count
    return features, labels


def crossentropy(logits: Tensor, labels: Tensor) -> float:
    return float(torch.nn.functional.cross_entropy(logits.double(), labels))


@pytest.mark.parametrize("strength", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("factor", ["colour", "shape"])
def test_solution_is_that_of_scikit_learn_at_the_same_penalty(factor: str, strength: float) -> None:
    features, labels = gaussian(600, seed=0)
    scaled = (features - features.mean(0)) / features.std(0, correction=0)
    reference = LogisticRegression(C=strength, tol=1e-8, max_iter=10_000).fit(scaled.double(), labels[factor])
    probes = fit_probes(features.double(), {factor: labels[factor]}, strengths=[strength])
    ours = probes.logits(features)[factor].log_softmax(1).exp()
    np.testing.assert_allclose(ours, reference.predict_proba(scaled.double()), atol=3e-3)


def test_more_than_one_factor_and_penalty_at_once_gives_what_each_alone_gives() -> None:
    features, labels = gaussian(500, seed=1)
    together = fit_probes(features, labels)
    for factor in CLASSES:
        alone = fit_probes(features, {factor: labels[factor]})
        assert alone.strengths[factor] == together.strengths[factor]
        assert together.strengths[factor] in decodability.STRENGTHS
        torch.testing.assert_close(
            alone.logits(features)[factor], together.logits(features)[factor], atol=1e-2, rtol=1e-2
        )


@pytest.mark.parametrize("spread", [1.0, 30.0])
def test_every_step_decreases_the_loss_even_for_separable_classes(
    monkeypatch: pytest.MonkeyPatch, spread: float
) -> None:
    """The step length comes from a bound on the third derivative, not from a search: it must never overshoot."""
    features, labels = gaussian(200, seed=2, distance=spread)
    x = torch.cat([features.double(), torch.ones(200, 1)], 1)
    losses = []
    for steps in range(1, 25):
        monkeypatch.setattr(decodability, "MAX_STEPS", steps)
        weights = decodability.solve(x, labels["shape"][None], x.new_tensor([100.0]), classes=5, tolerance=0)[0]
        penalty = weights[:, :-1].square().sum() / (2 * 100.0 * 200)
        losses.append(crossentropy(x @ weights.mT, labels["shape"]) + float(penalty))
    assert losses[0] < math.log(5)
    assert all(b <= a + 1e-12 for a, b in itertools.pairwise(losses))


@pytest.mark.parametrize("distance", [1.0, 2.0, 3.0])
def test_two_gaussians_are_told_apart_as_well_as_bayes_allows(distance: float) -> None:
    """Unit Gaussians at a distance d': the best accuracy anybody can reach is Phi(d' / 2)."""
    train, labels = gaussian(3000, seed=3, distance=distance)
    test, answers = gaussian(8000, seed=4, distance=distance)
    accuracy = probe_factors(train, labels, test, answers)["colour"]
    assert accuracy == pytest.approx(norm.cdf(distance / 2), abs=0.015)


def test_log_odds_of_a_binary_factor_are_those_of_the_model() -> None:
    """For unit Gaussians the log odds are linear with slope d' along the mean difference; needed to set a threshold."""
    train, labels = gaussian(20_000, seed=5, distance=2.0)
    logits = fit_probes(train, {"colour": labels["colour"]}, strengths=[100.0]).logits(train)["colour"]
    truth = math.sqrt(2) * (train[:, 1] - train[:, 0])
    assert torch.corrcoef(torch.stack([logits[:, 1] - logits[:, 0], truth]))[0, 1] > 0.999
    assert float((logits[:, 1] - logits[:, 0]).std() / truth.std()) == pytest.approx(1, abs=0.05)


def test_shuffled_labels_stay_at_chance() -> None:
    """On average over shuffles: where features form clusters, one shuffle names whole clusters right or wrong."""
    train, labels = gaussian(1000, seed=6, distance=6.0)
    test, answers = gaussian(1000, seed=7, distance=6.0)
    honest = probe_factors(train, labels, test, answers)
    controls = [probe_factors(train, labels, test, answers, shuffle=True, seed=seed) for seed in range(20)]
    for factor, count in CLASSES.items():
        assert honest[factor] > 0.99
        assert np.mean([control[factor] for control in controls]) == pytest.approx(1 / count, abs=0.04)


def test_scale_shift_and_rotation_of_the_features_do_not_matter() -> None:
    train, labels = gaussian(800, seed=8)
    test, answers = gaussian(800, seed=9)
    rotation, _ = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(0)))
    plain = probe_factors(train, labels, test, answers)
    moved = probe_factors(50 * train + 7, labels, 50 * test + 7, answers)
    turned = probe_factors(train @ rotation, labels, test @ rotation, answers)
    for factor in CLASSES:
        assert moved[factor] == pytest.approx(plain[factor], abs=0.003)
        assert turned[factor] == pytest.approx(plain[factor], abs=0.02)  # the penalty feels which columns are scaled


@pytest.mark.parametrize("width", [300, 1500])
def test_wide_representations_keep_what_their_leading_axes_hold(width: int) -> None:
    """The factor sits in a low-dimensional signal, as in raw pixels; both the exact and the random axes find it."""
    signal, labels = gaussian(400, seed=10, distance=8.0)
    answers_signal, answers = gaussian(400, seed=11, distance=8.0)
    spread = torch.randn(12, width, generator=torch.Generator().manual_seed(0))
    probes = fit_probes(signal @ spread, labels)
    assert probes.axes.basis.shape == (width, decodability.WIDEST)
    torch.testing.assert_close(
        probes.axes.basis.mT @ probes.axes.basis, torch.eye(decodability.WIDEST), atol=1e-4, rtol=0
    )
    assert min(probes.accuracy(answers_signal @ spread, answers).values()) > 0.99


def test_constant_columns_and_pictures_as_bytes_are_fine() -> None:
    pictures = torch.randint(0, 100, (300, 3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    pictures[:, 1] = 17
    light = (pictures[:, 0, 0, 0] > 49).long()
    assert probe_factors(pictures, {"light": light}, pictures, {"light": light})["light"] > 0.95


def test_labels_need_not_be_consecutive_and_unseen_ones_count_as_wrong() -> None:
    train, labels = gaussian(600, seed=12, distance=8.0)
    renamed = {"colour": labels["colour"] * 70 - 9}
    assert probe_factors(train, renamed, train, renamed)["colour"] > 0.99
    unseen = {"colour": torch.full((600,), 3)}
    assert fit_probes(train, renamed).accuracy(train, unseen)["colour"] == 0


def test_few_shot_improves_with_labels_and_approaches_the_full_probe() -> None:
    train, labels = gaussian(1500, seed=13, distance=3.0)
    test, answers = gaussian(1500, seed=14, distance=3.0)
    table = few_shot(train, labels, test, answers, counts=(1, 4, 16, 128), draws=8)
    assert list(table.columns) == ["factor", "count", "draw", "accuracy"]
    assert len(table) == 3 * 4 * 8
    full = probe_factors(train, labels, test, answers)
    for factor, group in table.groupby("factor"):
        curve = group.groupby("count")["accuracy"].mean()
        assert curve.is_monotonic_increasing
        assert curve[1] > 1 / CLASSES[str(factor)] + 0.05
        assert curve[128] == pytest.approx(full[str(factor)], abs=0.03)


def test_nearest_neighbours_vote_by_cosine() -> None:
    train = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0], [0.2, 1.0]])
    labels = {"side": torch.tensor([0, 0, 1, 1, 1])}
    test = torch.tensor([[100.0, 1.0], [0.01, 0.5]])  # length does not matter
    for k in (1, 3):
        assert knn_accuracy(train, labels, test, {"side": torch.tensor([0, 1])}, k=k)["side"] == 1
    assert knn_accuracy(train, labels, test, {"side": torch.tensor([0, 1])}, k=5)["side"] == 0.5  # the majority
    assert knn_accuracy(train, labels, test, {"side": torch.tensor([0, 1])}, k=4)["side"] == 1  # 2:2, nearer ones win


def test_errors_name_the_factor() -> None:
    train, labels = gaussian(100, seed=15)
    with pytest.raises(UsageError, match=r"light: .*two classes"):
        fit_probes(train, labels | {"light": torch.zeros(100, dtype=torch.long)})
    with pytest.raises(UsageError, match=r"light: 100 rows .* \(99,\)"):
        fit_probes(train, {"light": torch.zeros(99, dtype=torch.long)})
    with pytest.raises(UsageError, match=r"colour.*finite"):
        fit_probes(torch.where(train > 2, torch.inf, train), labels)
    with pytest.raises(UsageError, match="place: no test labels"):
        fit_probes(train, labels).accuracy(train, {"colour": labels["colour"], "shape": labels["shape"]})
    with pytest.raises(UsageError, match="shape: 60 labels per class"):
        few_shot(train, {"shape": labels["shape"]}, train, labels, counts=(1, 60))
    with pytest.raises(UsageError, match="neighbours"):
        knn_accuracy(train, labels, train, labels, k=101)
    with pytest.raises(UsageError, match="strengths"):
        fit_probes(train, labels, strengths=[0.0])
