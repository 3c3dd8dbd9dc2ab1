"""Chapter 2's experiments: what is averaged is what they say, and the numbers mean what their names say."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from clip_invariance.chapters.c2_orbits import cost as orbit_cost
from clip_invariance.chapters.c2_orbits import figures as draw
from clip_invariance.chapters.c2_orbits import orbit_averaging
from clip_invariance.chapters.c2_orbits import sampling as orbit_sampling
from clip_invariance.chapters.c2_orbits import training as orbit_training
from clip_invariance.chapters.c2_orbits.orbits import (
    DIGITS,
    cut_at,
    example_pixels,
    orbit_features,
    perceptron,
    pictures,
    sampled_means,
    shifts,
    torus_net,
)
from clip_invariance.errors import UsageError
from clip_invariance.marks.style import style
from clip_invariance.measure.statistics import Estimate
from clip_invariance.models.orbit import OrbitModel, rotations
from clip_invariance.profiles import PROFILES
from clip_invariance.rules.claims import load_claims
from clip_invariance.training.orbits import averaged_logits, fit_orbits


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    """Every table of the smoke profile, with its parameters as columns."""
    smoke, lists = PROFILES["smoke"], {}
    lists["sampling"] = orbit_sampling.units(smoke, 2, "cpu")
    lists["training"] = orbit_training.units(smoke, 2, "cpu")
    lists["widths"] = orbit_training.width_units(smoke, 2, "cpu")
    lists["sizes"] = orbit_training.size_units(smoke, 2, "cpu")
    lists["cost"] = orbit_cost.units(smoke, 2, "cpu")
    torch.set_num_threads(1)
    return {
        name: pd.concat([unit.function(**unit.params).assign(**unit.params) for unit in units], ignore_index=True)
        for name, units in lists.items()
    }


@pytest.mark.parametrize("cut", ["linear", "deep"])
def test_training_averages_what_the_orbit_model_averages(cut: str) -> None:
    images, _ = pictures(DIGITS, "train", 5, 0, "cpu")
    net = cut_at(perceptron(DIGITS, 16, 0), cut)
    group = shifts(DIGITS, 2)
    expected = OrbitModel(net.before, net.after, group)(images)
    torch.testing.assert_close(averaged_logits(net, group.act(images)), expected, atol=1e-5, rtol=1e-5)


def test_both_cuts_are_the_same_network() -> None:
    images, _ = pictures(DIGITS, "test", 5, 0, "cpu")
    net = perceptron(DIGITS, 16, 1)
    torch.testing.assert_close(cut_at(net, "deep")(images), net(images))


def test_sampled_means_are_unbiased_and_their_error_is_that_of_independent_draws() -> None:
    values = torch.randn(50, 64, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = values - values.mean(1, keepdim=True)
    means = sampled_means(values, [1, 4, 16], torch.Generator().manual_seed(1))
    assert means.shape == (50, 64, 3, 3)
    assert means.mean(1).abs().max() < 1e-12  # every element stands once at every position
    ratio = means.square().mean((0, 1, 3)) / values.square().mean()
    torch.testing.assert_close(ratio, torch.tensor([1, 1 / 4, 1 / 16], dtype=torch.float64), atol=0.01, rtol=0.05)


def test_all_elements_without_replacement_leave_nothing_to_chance() -> None:
    values = torch.randn(3, 16, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    means = sampled_means(values, [16], torch.Generator().manual_seed(1), replacement=False)
    torch.testing.assert_close(means[:, :, 0], values.mean(1, keepdim=True).expand(-1, 16, -1))


def test_one_sample_of_the_orbit_is_data_augmentation() -> None:
    """With K = 1 nothing is averaged: the loop is the ordinary one on randomly moved pictures, whatever the head."""
    images, labels = pictures(DIGITS, "train", 64, 0, "cpu")
    orbits = shifts(DIGITS, 2).act(images)
    results = []
    for cut in ("linear", "deep"):
        net = cut_at(perceptron(DIGITS, 16, 0), cut)
        fit_orbits(net, orbits, labels, samples=1, steps=12, batch=16, rate=1e-2, seed=3)
        results.append(net(images))
    torch.testing.assert_close(*results)


def test_the_hard_invariant_net_is_invariant_to_shifts_and_not_to_turns() -> None:
    net = torus_net(0).double()
    images, _ = pictures(DIGITS, "test", 4, 0, "cpu")
    with torch.no_grad():
        features = orbit_features(net, shifts(DIGITS), images)
        turned = net.before(rotations(4).act(images, torch.tensor([1]))[:, 0].double())
    assert (features - features[:, :1]).abs().max() < 1e-12
    assert (turned - features[:, 0]).abs().max() > 1e-4


def test_an_experiment_repeats_to_the_last_digit() -> None:
    arm = ("8", "4", 32, 8, 1, 32, "cpu")
    pd.testing.assert_frame_equal(orbit_training.train_and_measure(*arm), orbit_training.train_and_measure(*arm))


def test_closed_sets_are_exact_and_others_are_not(tables: dict[str, pd.DataFrame]) -> None:
    worst = orbit_averaging.exactness_table(tables["sampling"]).set_index(["world", "group"])["largest_over_seeds"]
    exact = ["torus shifts", "quarter turns", "torus shifts and quarter turns", "frame of torus shifts"]
    assert worst[DIGITS][exact].max() < 1e-4  # hardly trained nets: the distance between classes is small
    assert worst[DIGITS][["shifts, zeros moving in", "crops", "twelve rotations, interpolated"]].min() > 0.01
    assert worst[DIGITS]["torus shifts, double precision"] < 1e-12


def test_the_bound_holds_with_a_linear_head_and_fails_with_a_deep_one(tables: dict[str, pd.DataFrame]) -> None:
    failures = tables["sampling"].query("metric == 'failures'").groupby("group")["value"].max()
    assert failures["linear"] == 0
    assert failures["deep"] > 0.2


def test_the_sampled_loss_falls_towards_the_orbit_loss(tables: dict[str, pd.DataFrame]) -> None:
    table = orbit_averaging.gap_table(tables["sampling"]).query("group == 'linear' and metric == 'loss'")
    gaps = table.sort_values("k")["value"]
    assert (gaps.diff().dropna() <= 1e-9).all()
    assert gaps.iloc[-1] >= 0


def test_slopes_are_those_of_the_theory(tables: dict[str, pd.DataFrame]) -> None:
    with_replacement = orbit_averaging.slope(tables["sampling"], DIGITS, True)
    assert with_replacement.value == pytest.approx(-0.5, abs=0.05)
    assert orbit_averaging.slope(tables["sampling"], DIGITS, False).value < with_replacement.value - 0.03


def test_passes_count_the_pictures_put_through_the_net(tables: dict[str, pd.DataFrame]) -> None:
    table = orbit_averaging.training_table(tables["training"]).set_index(["objective", "steps"])
    one, whole = table.loc[("1", 16), "passes"], table.loc[("all", 16), "passes"]
    assert whole == 16 * one == 16 * 16 * 32


def test_every_rule_of_the_chapter_names_a_value_that_is_measured(tables: dict[str, pd.DataFrame]) -> None:
    named = orbit_averaging.values(*(tables[name] for name in ("sampling", "training", "widths", "sizes")))
    assert all(isinstance(row.estimate, Estimate) and row.description for row in named)
    wanted = {c.value for claim in load_claims() if claim.chapter == "02" for c in claim.conditions}
    assert wanted <= {f"02.{row.name}" for row in named}
    assert len(wanted) >= 15


def test_the_decided_comparisons_have_equal_steps_and_equal_compute() -> None:
    for name in ("quick", "standard", "full"):
        shortest, *_, longest = orbit_training.BUDGETS[name]
        assert longest == orbit_training.GROUP_SIZE * shortest
        assert orbit_training.BUDGETS[name] == orbit_training.BUDGETS["quick"]
        assert all(steps > longest for steps in orbit_training.LONG[name])


def test_longer_trainings_decide_nothing() -> None:
    arm = {"net": "8", "objective": "1", "images": 1157, "metric": "orbit_loss", "group": "train", "seed": 0}
    table = pd.DataFrame([arm | {"steps": 2000, "value": 1.0}, arm | {"steps": 8000, "value": 0.5}])
    assert orbit_averaging.trained(table, "orbit_loss", "train", "1", "8").tolist() == [1.0]


def test_every_figure_draws_and_describes_itself(tables: dict[str, pd.DataFrame]) -> None:
    figures = {
        "orbit_pictures": example_pixels(),
        "exactness": orbit_averaging.exactness_table(tables["sampling"]),
        "deviation_by_samples": orbit_averaging.deviation_table(tables["sampling"]),
        "gap_by_samples": orbit_averaging.gap_table(tables["sampling"]),
        "orbit_loss_by_training": orbit_averaging.training_table(tables["training"]),
        "orbit_loss_by_width": orbit_averaging.width_table(tables["widths"]),
        "orbit_variance": orbit_averaging.share_table(tables["training"]),
        "test_time_averaging": orbit_averaging.test_time_table(tables["training"]),
        "accuracy_by_training_set": orbit_averaging.size_table(tables["sizes"]),
        "cost_of_invariance": orbit_averaging.cost_table(tables["cost"]),
    }
    with style("dark"):
        for name, data in figures.items():
            assert getattr(draw, name)(data).axes
            alt = getattr(draw, f"describe_{name}")(data)
            assert "nan" not in alt
            assert len(alt) > 60


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: shifts("faces"), "world='faces'"),
        (lambda: pictures(DIGITS, "validation", 3, 0, "cpu"), "split='validation'"),
        (lambda: cut_at(perceptron(DIGITS, 4, 0), "middle"), "cut='middle'"),
        (lambda: orbit_training.sample_count("0"), "objective='0'"),
        (lambda: orbit_training.sample_count("some"), "objective='some'"),
    ],
)
def test_bad_input_is_refused_naming_it(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=message):
        call()
