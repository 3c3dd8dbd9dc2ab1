"""Chapter 2's experiments: what is averaged is what they say, and the numbers mean what their names say."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from clip_invariance.chapters.c2_orbits import arms, figures, numbers, training_figures, units
from clip_invariance.chapters.c2_orbits import tables as figure_tables
from clip_invariance.chapters.c2_orbits import training as orbit_training
from clip_invariance.chapters.c2_orbits.arms import LONGER, NARROW, Arm
from clip_invariance.chapters.c2_orbits.measures import measure
from clip_invariance.chapters.c2_orbits.orbits import (
    ARTWORK,
    DIGITS,
    cut_at,
    orbit_features,
    perceptron,
    pictures,
    sampled_means,
    shifts,
    torus_net,
)
from clip_invariance.errors import UsageError
from clip_invariance.marks.spec import FigureSpec
from clip_invariance.marks.style import style
from clip_invariance.measure.statistics import Estimate
from clip_invariance.models.orbit import OrbitModel, rotations
from clip_invariance.profiles import PROFILES
from clip_invariance.rules.claims import load_claims
from clip_invariance.run.store import describe
from clip_invariance.training.orbits import averaged_logits, fit_orbits
from clip_invariance.units import Unit, label


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    """Every table of the smoke profile, with its parameters as columns; each net is trained once."""
    torch.set_num_threads(1)
    nets: dict[str, pd.DataFrame] = {}

    def computed(unit: Unit) -> pd.DataFrame:
        if (key := describe(unit)) not in nets:
            nets[key] = unit.function(**unit.params, **{name: computed(need) for name, need in unit.needs.items()})
        return nets[key]

    makers = {
        "sampling": units.sampling_units, "training": units.training_units, "widths": units.width_units,
        "sizes": units.size_units, "cost": units.cost_units,
    }  # fmt: skip
    return {
        name: pd.concat(
            [
                computed(unit).assign(**{param: label(value) for param, value in unit.params.items()})
                for unit in make(PROFILES["smoke"], 2, "cpu")
            ],
            ignore_index=True,
        )
        for name, make in makers.items()
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
    arm = Arm("4", NARROW, images=32)

    def once() -> pd.DataFrame:
        return measure(orbit_training.train(arm, 8, 1, "cpu"), arm, 32, 1, "cpu")

    pd.testing.assert_frame_equal(once(), once())


def test_a_network_from_its_table_answers_as_the_one_that_was_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[torch.nn.Module] = []
    to_bytes = orbit_training.to_bytes
    monkeypatch.setattr(orbit_training, "to_bytes", lambda net: made.append(net) or to_bytes(net))
    images, _ = pictures(DIGITS, "test", 32, 0, "cpu")
    for arm in (
        Arm("1", NARROW, images=32),
        arms.PAID["torus"],
        arms.PAID["framed"],
        arms.sampled(ARTWORK, "untrained"),
    ):
        table = orbit_training.train(arm, 8, 0, "cpu")
        if arm.world == DIGITS:
            assert torch.equal(orbit_training.trained(table, arm, 0, "cpu")(images), made[-1](images))
        again = orbit_training.trained(table, arm, 0, "cpu").state_dict()
        assert all(torch.equal(again[name], tensor) for name, tensor in made[-1].state_dict().items())


def test_a_frame_shows_training_one_picture_of_each_orbit_whatever_was_drawn() -> None:
    arm = arms.PAID["framed"]
    images, _ = pictures(DIGITS, "train", 5, 0, "cpu")
    moved = shifts(DIGITS).act(images, torch.tensor([11]))[:, 0]
    assert torch.equal(orbit_training.orbits_of(arm, images), orbit_training.orbits_of(arm, moved))


def test_every_measurement_says_which_it_is(tables: dict[str, pd.DataFrame]) -> None:
    """Nothing is averaged that nobody asked to average."""
    for name, of in {
        "sampling": ["arm", "depth", "over", "k", "replacement"], "training": ["arm", "pictures", "k"],
        "widths": ["arm", "pictures", "k"], "sizes": ["arm", "pictures", "k"], "cost": ["method", "k"],
    }.items():  # fmt: skip
        assert not tables[name].duplicated(["seed", "metric", *of]).any()


def test_closed_sets_are_exact_and_others_are_not(tables: dict[str, pd.DataFrame]) -> None:
    worst = figure_tables.exactness_table(tables["sampling"]).set_index(["world", "group"])["largest_over_seeds"]
    exact = ["torus shifts", "quarter turns", "torus shifts and quarter turns", "frame of torus shifts"]
    assert worst[DIGITS][exact].max() < 1e-4  # hardly trained nets: the distance between classes is small
    assert worst[DIGITS][["shifts, zeros moving in", "crops", "twelve rotations, interpolated"]].min() > 0.01
    assert worst[DIGITS]["torus shifts, double precision"] < 1e-12


def test_the_bound_holds_with_a_linear_head_and_fails_with_a_deep_one(tables: dict[str, pd.DataFrame]) -> None:
    failures = tables["sampling"].query("metric == 'failures'").groupby("depth")["value"].max()
    assert failures["linear"] == 0
    assert failures["deep"] > 0.2


def test_the_sampled_loss_falls_towards_the_orbit_loss(tables: dict[str, pd.DataFrame]) -> None:
    table = figure_tables.gap_table(tables["sampling"]).query("group == 'linear' and metric == 'loss'")
    gaps = table.sort_values("k")["value"]
    assert (gaps.diff().dropna() <= 1e-9).all()
    assert gaps.iloc[-1] >= 0


def test_slopes_are_those_of_the_theory(tables: dict[str, pd.DataFrame]) -> None:
    with_replacement = numbers.slope(tables["sampling"], DIGITS, True).mean()
    assert with_replacement == pytest.approx(-0.5, abs=0.05)
    assert numbers.slope(tables["sampling"], DIGITS, False).mean() < with_replacement - 0.03


def test_passes_count_the_pictures_put_through_the_net(tables: dict[str, pd.DataFrame]) -> None:
    table = figure_tables.training_table(tables["training"]).set_index(["objective", "steps"])
    one, whole = table.loc[("1", 32), "passes"], table.loc[("all", 32), "passes"]
    assert whole == 16 * one == 16 * 32 * 32


def test_every_rule_of_the_chapter_names_a_value_that_is_measured(tables: dict[str, pd.DataFrame]) -> None:
    named = numbers.values(*(tables[name] for name in ("sampling", "training", "widths", "sizes")))
    assert all(isinstance(row.estimate, Estimate) and row.description for row in named)
    wanted = {c.value for claim in load_claims() if claim.chapter == "02" for c in claim.conditions}
    assert wanted <= {f"02.{row.name}" for row in named}
    assert len(wanted) >= 15


def test_the_decided_comparisons_have_equal_steps_and_equal_compute() -> None:
    shortest, *_, longest = arms.LENGTHS
    assert longest == arms.GROUP_SIZE * shortest
    assert numbers.SAME_COMPUTE in arms.TRAINED
    for name in ("quick", "standard", "full"):
        full = arms.STEPS.at(PROFILES[name])
        assert full * longest == arms.GROUP_SIZE * round(full * shortest)
        assert {unit.params["arm"].length for unit in units.training_units(PROFILES[name], 1, "cpu")} == set(
            arms.LENGTHS
        )
    assert all(arm.length > longest for arm in arms.LONG)


def test_longer_trainings_decide_nothing(tables: dict[str, pd.DataFrame]) -> None:
    widths = tables["widths"]
    longer = widths["arm"].isin([label(arm) for arm in arms.LONG])
    assert longer.any()
    other = widths.assign(value=widths["value"].where(~longer, 7 * widths["value"]))
    by_name = [
        {value.name: value.estimate.value for value in numbers.values(*(tables[n] if n else table for n in NAMES))}
        for table in (widths, other)
    ]
    differ = {name for name, value in by_name[0].items() if by_name[1][name] != value}
    assert differ == {"c10_regret_narrow_long", "c10_regret_wide_long"}
    assert all(arm.length == LONGER for arm in arms.LONG)


#: Tables of the numbers; the one in the place of "" is changed.
NAMES = ("sampling", "training", "", "sizes")


def test_every_figure_draws_and_describes_itself(tables: dict[str, pd.DataFrame]) -> None:
    declared = [*vars(figures).values(), *vars(training_figures).values()]
    specs = {spec.name: spec for spec in declared if isinstance(spec, FigureSpec)}
    drawn = {
        "orbit_pictures": figures.example_pixels(),
        "exactness": figure_tables.exactness_table(tables["sampling"]),
        "deviation_by_samples": figure_tables.deviation_table(tables["sampling"]),
        "gap_by_samples": figure_tables.gap_table(tables["sampling"]),
        "orbit_loss_by_training": figure_tables.training_table(tables["training"]),
        "orbit_loss_by_width": figure_tables.width_table(tables["widths"]),
        "orbit_variance": figure_tables.share_table(tables["training"]),
        "test_time_averaging": figure_tables.test_time_table(tables["training"]),
        "accuracy_by_training_set": figure_tables.size_table(tables["sizes"]),
        "cost_of_invariance": figure_tables.cost_table(tables["cost"]),
    }
    assert set(drawn) == set(specs)
    with style("dark"):
        for name, data in drawn.items():
            assert specs[name].draw(data).axes
            alt = specs[name].describe(data)
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
