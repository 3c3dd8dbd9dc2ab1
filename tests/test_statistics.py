"""Intervals keep their promise, and pair what belongs together."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from clip_invariance.errors import UsageError
from clip_invariance.measure.bootstrap import accuracy_over_seeds_and_images, difference_over_seeds_and_images
from clip_invariance.measure.statistics import mean_over_seeds, paired_difference, percent_of, share_of_seeds, summarise


def test_the_interval_covers_the_truth_as_often_as_it_says_at_three_seeds_where_a_bootstrap_does_not() -> None:
    generator = np.random.default_rng(0)
    draws = generator.normal(size=(4000, 3))
    estimates = [mean_over_seeds(row) for row in draws]
    covered = np.mean([e.low <= 0 <= e.high for e in estimates])
    assert 0.94 < covered < 0.96

    resampled = draws[:, generator.integers(0, 3, (500, 3))].mean(axis=2)
    low, high = np.percentile(resampled, [2.5, 97.5], axis=1)
    assert np.mean((low <= 0) & (high >= 0)) < 0.85


def test_pairing_removes_what_the_arms_share() -> None:
    luck = pd.Series([0.1, 0.5, 0.9], index=[0, 1, 2])
    difference = paired_difference(luck + 0.2, luck[::-1])
    assert difference.value == pytest.approx(0.2)
    assert difference.high - difference.low < 1e-9


def test_pairs_need_the_same_seeds() -> None:
    with pytest.raises(UsageError, match="must share their seeds"):
        paired_difference(pd.Series([1.0, 2.0], index=[0, 1]), pd.Series([1.0, 2.0], index=[0, 2]))


@pytest.mark.parametrize("samples", [[1.0], [], [[1.0, 2.0]], [1.0, float("nan")]])
def test_no_interval_without_two_finite_numbers(samples: list[float]) -> None:
    with pytest.raises(UsageError, match="an interval needs"):
        mean_over_seeds(samples)


def test_rows_of_one_seed_count_once() -> None:
    table = pd.DataFrame({"arm": "a", "seed": [0, 0, 0, 1], "value": [1.0, 1.0, 1.0, 3.0]})
    row = summarise(table, ["arm"], "value").iloc[0]
    assert row["value"] == 2.0
    assert row["n"] == 2


def test_a_share_of_nothing_is_nothing_and_a_lost_seed_is_noticed() -> None:
    part, whole = pd.Series([1.0, 2.0, 0.0, 3.0]), pd.Series([4.0, 0.0, 0.0])
    assert percent_of(part, whole).tolist()[:3] == [25.0, 0.0, 0.0]
    with pytest.raises(UsageError, match="finite"):
        mean_over_seeds(percent_of(part, whole))


@pytest.mark.parametrize(
    ("right", "low", "high"),
    [  # Wilson 1927; the ends for 0 and 2 of 5 by hand: 0 to z²/(n + z²), and (p + z²/2n ± z√(p(1-p)/n + z²/4n²))/(1 + z²/n)
        ([False] * 5, 0.0, 43.448),
        ([True] * 5, 56.552, 100.0),
        ([True, False, True, False, False], 11.762, 76.928),
    ],
)
def test_a_share_of_seeds_stays_between_0_and_100_percent_and_is_never_certain(
    right: list[bool], low: float, high: float
) -> None:
    found = share_of_seeds(right)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-3), pytest.approx(high, abs=1e-3))
    assert found.value == 100 * sum(right) / 5
    assert found.samples == tuple(100.0 * answer for answer in right)


def test_a_share_of_seeds_takes_answers_of_numpy_and_nothing_but_answers() -> None:
    assert share_of_seeds(pd.Series([0.7, 0.5]).gt(0.6).to_numpy()).value == 50.0
    with pytest.raises(UsageError, match="at least two"):
        share_of_seeds([True])
    with pytest.raises(UsageError, match=r"yes or no from each, got 0\.7"):
        share_of_seeds([0.7, 0.5])  # type: ignore[list-item]


def test_an_estimate_keeps_the_numbers_it_was_made_from() -> None:
    assert mean_over_seeds([1.0, 3.0]).samples == (1.0, 3.0)


# ---------------------------------------------------------------- seeds that are asked about the same images


def asked(seeds: int, images: int, draw: np.random.Generator) -> pd.DataFrame:
    """Right or wrong where images differ in how hard they are, and seeds in how good they are; right in 0.7 on average."""
    hard, good = draw.choice([-0.25, 0.25], images), draw.choice([-0.04, 0.04], seeds)
    return pd.DataFrame((draw.random((seeds, images)) < 0.7 + hard + good[:, None]).astype(float))


def test_an_interval_over_seeds_alone_misses_other_images_and_the_one_over_both_does_not() -> None:
    draw = np.random.default_rng(0)
    tables = [asked(5, 100, draw) for _ in range(400)]
    both = [accuracy_over_seeds_and_images(table) for table in tables]
    alone = [mean_over_seeds(100 * table.mean(axis=1).to_numpy()) for table in tables]
    assert np.mean([e.low <= 70 <= e.high for e in both]) > 0.94
    assert np.mean([e.low <= 70 <= e.high for e in alone]) < 0.94


def test_all_right_in_every_seed_is_not_certainty() -> None:
    found = accuracy_over_seeds_and_images(pd.DataFrame(np.ones((5, 288))))
    assert found.value == 100
    assert 98 < found.low < 99


def test_a_difference_is_paired_by_image_and_seed() -> None:
    worse = asked(4, 100, np.random.default_rng(1))
    found = difference_over_seeds_and_images(worse + 0.1, worse.sample(frac=1, random_state=0))
    assert found.value == pytest.approx(10)
    assert found.high - found.low < 1e-6
    better = difference_over_seeds_and_images(asked(4, 100, np.random.default_rng(2)) * 0 + 1, worse)
    assert better.low < better.value < better.high
    with pytest.raises(UsageError, match="share their seeds and images"):
        difference_over_seeds_and_images(worse, worse.iloc[:, 1:])
