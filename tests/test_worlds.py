"""What holds for every world: what it draws, and that with generators apart one column more changes no other."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import combinations

import pytest
import torch
from torch import Tensor

from clip_invariance.worlds import cards, collages, dashcam, scenes, trifeature
from clip_invariance.worlds.factored import Scenes, World, choice, jitter, real
from factored_checks import assert_factors_are_uniform_and_independent

WORLDS: dict[str, World] = {
    "scenes": scenes.WORLD,
    "trifeature": trifeature.WORLD,
    "collages": collages.WORLD,
    "cards": cards.WORLD,
    "dashcam": dashcam.WORLD,
}
#: Of the columns of 64 pictures from the seed 5, in alphabetical order: those that published results were drawn from.
DIGESTS = {
    "scenes": "c061261d8bf3",
    "trifeature": "9cf2eda1e317",
    "collages": "8d1870f011cc",
    "cards": "d61c6183f7c5",
    "dashcam": "42fdd5c54664",
}


def columns(drawn: Scenes) -> dict[str, Tensor]:
    return dict(sorted({**drawn.labels, **drawn.nuisances}.items()))


@pytest.mark.parametrize("name", WORLDS)
def test_the_numbers_drawn_are_those_of_published_results(name: str) -> None:
    digest = hashlib.sha256()
    for column, values in columns(WORLDS[name].sample(64, 5)).items():
        digest.update(column.encode() + values.numpy().tobytes())
    assert digest.hexdigest()[:12] == DIGESTS[name]


@pytest.mark.parametrize("name", WORLDS)
def test_with_generators_apart_a_column_more_changes_no_other(name: str) -> None:
    world = WORLDS[name]
    before = columns(world.sample(200, 7, apart=True))
    for more in (
        replace(world, factors={"new": ("no", "yes", "perhaps"), **world.factors}),
        replace(world, nuisances={"new": choice(5), **world.nuisances}),
        replace(world, nuisances={"new": real(0.0, 1.0), **world.nuisances}),
        replace(world, factors=dict(reversed(world.factors.items()))),
    ):
        after = columns(more.sample(200, 7, apart=True))
        assert all(torch.equal(after[column], values) for column, values in before.items())
        assert len(after.pop("new", torch.arange(200)).unique()) > 2
        assert after.keys() == before.keys()
    # Where columns take turns at one generator, a new factor redraws those that follow.
    more = replace(world, factors={"new": ("no", "yes"), **world.factors})
    shared, redrawn = columns(world.sample(200, 7)), columns(more.sample(200, 7))
    assert not any(torch.equal(shared[column], redrawn[column]) for column in world.factors)


@pytest.mark.parametrize("name", WORLDS)
def test_generators_apart_draw_independent_columns(name: str) -> None:
    world = WORLDS[name]
    drawn = world.sample(6000, 3, apart=True)
    assert_factors_are_uniform_and_independent(world.factors, drawn.labels)
    for column, span in world.nuisances.items():
        values = drawn.nuisances[column]
        assert span.low <= values.min() <= values.max() <= span.high, column
        assert values.double().mean() == pytest.approx((span.low + span.high) / 2, abs=0.03 * (span.high - span.low))
    assert not torch.equal(
        drawn.labels[next(iter(world.factors))], world.sample(6000, 4, apart=True).labels[next(iter(world.factors))]
    )
    real_ones = [values.double() for values in drawn.nuisances.values() if values.is_floating_point()]
    for one, other in combinations(real_ones, 2):
        assert abs(torch.corrcoef(torch.stack([one, other]))[0, 1]) < 0.06


@pytest.mark.parametrize("name", WORLDS)
def test_a_matched_change_changes_one_column_and_can_be_taken_back(name: str) -> None:
    world = WORLDS[name]
    before = world.sample(50, 1)
    for column, old in columns(before).items():
        span = world.nuisances.get(column) or choice(len(world.factors[column]))
        after = world.change(before, column, span.least)
        assert (columns(after)[column] == torch.tensor(span.least, dtype=old.dtype)).all()
        assert all(
            torch.equal(values, columns(after)[other]) for other, values in columns(before).items() if other != column
        )
        assert torch.equal(columns(world.change(after, column, old))[column], old)
    world.check(before)


def test_a_jitter_lies_on_both_sides_of_zero() -> None:
    values = jitter(0.25).draw(1000, torch.Generator().manual_seed(0))
    assert -0.25 <= values.min() < -0.2
    assert 0.2 < values.max() <= 0.25
