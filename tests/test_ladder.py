"""The reader ladder explains itself on representations whose content is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from clip_invariance.errors import UsageError
from clip_invariance.measure.ladder import (
    OUTCOMES,
    PROJECTION,
    READERS,
    budgets,
    climb,
    outcome,
    perceptron_accuracy,
    random_projection,
)

N = 800


def planted(kind: str, seed: int = 0, n: int = N) -> tuple[Tensor, Tensor]:
    """Features (n, 16) in which a bit is written openly, folded (the sign of a product), or not at all."""
    generator = torch.Generator().manual_seed(seed)
    x, bit = torch.randn(n, 16, generator=generator), torch.randint(2, (n,), generator=generator)
    sign = 2.0 * bit - 1
    if kind == "open":
        x[:, 0] = 1.5 * sign + 0.5 * x[:, 0]
    elif kind == "folded":
        x[:, 0] = x[:, 0].sign() * (1 + x[:, 0].abs())
        x[:, 1] = sign * x[:, 0].sign() * (1 + x[:, 1].abs())
    return x, bit


def read(kind: str) -> pd.DataFrame:
    (x, bit), (test, answer) = planted(kind, 0), planted(kind, 1)
    return pd.DataFrame(climb({"embedding": x}, {"bit": bit}, {"embedding": test}, {"bit": answer}, seed=0))


def right(table: pd.DataFrame, reader: str) -> float:
    return float(table.loc[table["metric"] == reader, "value"].item())


def test_what_is_written_openly_every_reader_finds() -> None:
    table = read("open")
    assert all(right(table, reader) > 0.9 for reader in READERS if reader != "words")
    assert all(abs(right(table, f"{reader}, permuted") - 0.5) < 0.1 for reader in READERS if reader != "words")


def test_what_is_folded_the_perceptron_alone_finds() -> None:
    """The bit is the sign of a product of two features: no straight cut is better than guessing."""
    table = read("folded")
    assert abs(right(table, "linear") - 0.5) < 0.08
    assert right(table, "perceptron") > 0.9


def test_what_is_not_there_nobody_finds() -> None:
    table = read("absent")
    assert all(abs(right(table, reader) - 0.5) < 0.08 for reader in READERS if reader != "words")


def test_a_random_projection_loses_what_its_width_says() -> None:
    """Of white features with a signal in one of 64 directions, projecting on k keeps a share k / 64 of its strength."""
    generator = torch.Generator().manual_seed(0)
    x, bit = torch.randn(4000, 64, generator=generator), torch.randint(2, (4000,), generator=generator)
    x[:, 0] += 2 * (2.0 * bit - 1)

    def d_prime(width: int) -> float:
        """Distance of the two means along the best direction, mean over projections."""
        ratios = []
        for seed in range(20):
            z = random_projection(x, width, seed)
            gap = z[bit == 1].mean(0) - z[bit == 0].mean(0)
            within = torch.cov(z[bit == 0].T) / 2 + torch.cov(z[bit == 1].T) / 2
            ratios.append(float(gap @ torch.linalg.solve(within, gap)))
        return float(np.mean(ratios)) ** 0.5

    whole = d_prime(64)
    assert whole == pytest.approx(4, rel=0.1)
    for width in (8, 16, 32):
        assert (d_prime(width) / whole) ** 2 == pytest.approx(width / 64, rel=0.35)


def test_a_random_projection_is_the_same_for_all_pictures() -> None:
    x = torch.randn(10, 6)
    assert torch.equal(random_projection(x, 3, 5)[4:], random_projection(x[4:], 3, 5))
    assert not torch.equal(random_projection(x, 3, 5), random_projection(x, 3, 6))
    with pytest.raises(UsageError, match="at least one column"):
        random_projection(x, 0, 0)


def test_the_projection_is_read_as_a_depth_of_its_own_and_as_wide_as_the_embedding() -> None:
    (x, bit), (test, answer) = planted("open", 0, 200), planted("open", 1, 200)
    known, asked = ({"backbone": part, "embedding": part[:, :4]} for part in (x, test))
    table = pd.DataFrame(climb(known, {"bit": bit}, asked, {"bit": answer}, seed=0))
    assert set(table["depth"]) == {"backbone", "embedding", PROJECTION}
    assert len(table) == 3 * 3 + 3  # readers by depths, and permuted labels at the embedding
    assert list(table.columns) == ["metric", "depth", "factor", "labels", "value"]


def test_permuted_labels_are_still_as_many_of_each_kind() -> None:
    x, _ = planted("open", n=40)
    with pytest.raises(UsageError, match="two classes"):
        perceptron_accuracy(x, {"bit": torch.zeros(40, dtype=torch.long)}, x, {"bit": torch.zeros(40)}, seed=0)


def series(level: float, *, spread: float = 0.01) -> pd.Series:
    return pd.Series(level + spread * np.array([-1.0, 0.5, 0.2, -0.4, 0.7]), index=range(5))


def same(level: float) -> dict[str, pd.Series]:
    return {reader: series(level) for reader in READERS if reader != "words"}


CHANCE = {reader: series(0.5, spread=-0.01) for reader in READERS if reader != "words"}


@pytest.mark.parametrize(
    ("now", "projected", "wanted"),
    [
        (same(0.5), same(0.5), "gone"),
        (same(0.5) | {"perceptron": series(0.8)}, same(0.8), "folded"),
        (same(0.9), same(0.9), "kept"),
        (same(0.7), same(0.7), "narrowed"),
        (same(0.7), same(0.85), "lessened"),
    ],
)
def test_outcomes_follow_intervals(now: dict[str, pd.Series], projected: dict[str, pd.Series], wanted: str) -> None:
    assert wanted in OUTCOMES
    before = {reader: series(0.9, spread=-0.01) for reader in now}
    assert outcome(now, CHANCE, before, projected) == wanted


def test_no_outcome_without_every_reader() -> None:
    lacking = {reader: samples for reader, samples in same(0.9).items() if reader != "perceptron"}
    with pytest.raises(UsageError, match="before: the reader 'perceptron' is missing"):
        outcome(same(0.9), CHANCE, lacking, same(0.9))


def test_budgets_end_with_all() -> None:
    assert budgets(2000) == [8, 32, 128, 512, 2000]
    assert budgets(128) == [8, 32, 128]
