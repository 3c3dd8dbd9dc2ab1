"""Chapter 1's experiments put objects where they say, and its rules can come out either way."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from clip_invariance.chapters.c1_places import figures as draw
from clip_invariance.chapters.c1_places import informative as homes
from clip_invariance.chapters.c1_places import numbers, training, units
from clip_invariance.chapters.c1_places import tables as figure_tables
from clip_invariance.chapters.c1_places.arms import ARMS, Arm, arms
from clip_invariance.chapters.c1_places.measures import measure
from clip_invariance.errors import UsageError
from clip_invariance.marks.marks import NOT_RUN
from clip_invariance.models.convnets import Classifier
from clip_invariance.profiles import PROFILES
from clip_invariance.rules.claims import load_claims
from clip_invariance.training.supervised import outputs
from clip_invariance.units import label
from clip_invariance.worlds import placed
from clip_invariance.worlds.canvas import everywhere, sample_factors
from clip_invariance.worlds.placed import CLASSES, MIDLINE, ONE_PLACE, SIZE


def test_the_mixed_arm_keeps_odd_objects_below_the_midline_and_even_ones_anywhere() -> None:
    _, factors = training.training_pictures("mixed", 400, 0, "cpu")
    restricted = factors.object % 2 == 1
    assert (factors.y[restricted] >= MIDLINE).all()
    assert 0.35 < (factors.y[~restricted] < MIDLINE).float().mean() < 0.65


def test_unseen_places_are_away_from_the_seen_one_also_around_the_edge() -> None:
    places = placed.away_from((0.0, 31.0), 4.0)(500, torch.Generator().manual_seed(0))
    gap = (places - torch.tensor([0.0, 31.0])).abs()
    assert torch.minimum(gap, SIZE - gap).norm(dim=1).min() >= 4.0


def test_the_upper_half_is_above_the_midline() -> None:
    assert placed.top_half(SIZE)(500, torch.Generator().manual_seed(0))[:, 1].max() < MIDLINE


def test_scattered_places_are_different_and_on_the_canvas() -> None:
    spots = placed.scattered(64, 3)
    assert len(spots.unique(dim=0)) == 64
    assert spots.min() >= 0
    assert spots.max() < SIZE


def test_labels_depend_on_place_only_where_they_should() -> None:
    factors = sample_factors(200, 0, SIZE, objects=CLASSES)
    assert torch.equal(training.label(factors, "object"), factors.object)
    halves = training.label(factors, "object_half")
    assert torch.equal(halves // CLASSES, (factors.y >= MIDLINE).long())
    assert training.label(factors, "cell").max() == 15
    assert torch.equal(training.label(factors, "object_side") // CLASSES, (factors.x >= MIDLINE).long())
    with pytest.raises(UsageError, match="labelling='colour'"):
        training.classes("colour")
    with pytest.raises(UsageError, match="support='left'"):
        training.places("left", 0)


def test_an_untrained_control_has_the_statistics_of_the_pictures_and_the_network_stays_as_it_was() -> None:
    torch.manual_seed(0)
    net = Classifier("zero_flatten", SIZE, CLASSES)
    pictures, _ = placed.draw(64, 0, everywhere(SIZE), "cpu")
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    seeing = training.calibrated(net, pictures)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())

    reached: list[torch.Tensor] = []
    layer = next(module for module in seeing.modules() if isinstance(module, torch.nn.BatchNorm2d))
    layer.register_forward_hook(lambda _module, _inputs, output: reached.append(output))
    outputs(seeing, pictures)
    assert torch.allclose(reached[0].mean((0, 2, 3)), torch.zeros(len(layer.weight)), atol=1e-4)
    assert torch.allclose(reached[0].std((0, 2, 3)), torch.ones(len(layer.weight)), atol=1e-2)


@pytest.mark.parametrize(("at_home", "share_below"), [(1.0, 1.0), (0.0, 0.0)])
def test_odd_objects_live_below_the_midline(
    monkeypatch: pytest.MonkeyPatch, at_home: float, share_below: float
) -> None:
    monkeypatch.setattr(homes, "NOISE", 0.0)
    images, objects = homes.noisy_pictures(200, at_home, 5, "cpu")
    factors = sample_factors(200, torch.Generator().manual_seed(5), SIZE, objects=CLASSES)
    assert torch.equal(factors.object, objects)
    object_pixels = (images.float() - placed.canvas("cpu").backgrounds(factors.background).float()).abs().sum((1, 3))
    angle = torch.arange(SIZE) * 2 * torch.pi / SIZE  # rows on a circle: the canvas is a torus
    height = torch.atan2((object_pixels * angle.sin()).sum(1), (object_pixels * angle.cos()).sum(1)) % (2 * torch.pi)
    below = height * SIZE / (2 * torch.pi) >= MIDLINE
    assert (
        abs(below[objects % 2 == 1].float().mean().item() - share_below) < 0.06
    )  # a centre on the line may round over


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_profiles_change_scale_never_arms_of_their_own(profile) -> None:
    assert arms(PROFILES["full"]) == list(ARMS)
    assert [arm for arm in ARMS if arm in arms(profile)] == arms(profile)
    assert Arm("torus_pool", "one") in arms(profile)
    assert set(arms(PROFILES["quick"])) <= set(arms(profile))


@pytest.mark.parametrize("net", ["torus_pool", "zero_flatten", "mlp"])
def test_a_network_from_its_table_answers_as_the_one_that_was_trained(
    monkeypatch: pytest.MonkeyPatch, net: str
) -> None:
    made: list[torch.nn.Module] = []
    to_bytes = training.to_bytes
    monkeypatch.setattr(training, "to_bytes", lambda one: made.append(one) or to_bytes(one))
    arm = Arm(net, "everywhere")
    table = training.train(arm, 0.01, 0, "cpu")
    pictures, _ = placed.draw(64, 9, everywhere(SIZE), "cpu")
    for one, untrained in zip(made, (True, False), strict=True):
        again = training.trained(table, arm, "cpu", untrained=untrained)
        assert torch.equal(outputs(one, pictures), outputs(again, pictures))
    assert not torch.equal(outputs(made[0], pictures), outputs(made[1], pictures))


def test_weights_of_another_network_are_refused() -> None:
    table = training.train(Arm("mlp", "everywhere"), 0.01, 0, "cpu")
    with pytest.raises(UsageError, match="these weights do not fit this Classifier"):
        training.trained(table, Arm("zero_pool", "everywhere"), "cpu")


def test_every_measurement_says_which_it_is() -> None:
    """One row for each metric, place and kind of object: nothing is averaged that nobody asked to average."""
    key = ["metric", "where", "objects", "x", "y"]
    for arm in (Arm("mlp", "bottom"), Arm("mlp", "everywhere"), Arm("mlp", "mixed")):
        rows = measure(training.train(arm, 0.01, 0, "cpu"), arm, 64, 0, "cpu")
        assert not rows.duplicated(key).any()


def test_one_place_is_a_point_of_the_map() -> None:
    assert all(coordinate in placed.GRID for coordinate in ONE_PLACE)


def tables(drop: float, profile: str = "quick") -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Made-up results in which every net loses ``drop`` at unseen places."""
    rows = []
    for unit in units.units(PROFILES[profile], 3, "cpu"):
        arm, seed = unit.params["arm"], unit.params["seed"]
        metrics = {
            ("accuracy", "seen", ""): 0.9, ("accuracy", "unseen", ""): 0.9 - drop, ("shift_error", "", ""): 1e-7 + drop,
            ("consistency", "", ""): 0.8, ("place_probe", "", ""): 0.5,
            ("accuracy", "below", "restricted"): 0.9, ("accuracy", "above", "restricted"): 0.9 - drop,
        }  # fmt: skip
        rows += [
            {"arm": label(arm), "seed": seed, "metric": metric, "where": where, "objects": objects,
             "value": value + (0.001 * seed if metric != "shift_error" else 0)}
            for (metric, where, objects), value in metrics.items()
        ]  # fmt: skip
    controls = [
        {"seed": seed, "metric": "place_probe", "arm": f"untrained {net}", "value": 0.3 + 0.01 * seed}
        for seed in range(3)
        for net in ("zero_flatten", "mlp")
    ]
    controls += [{"seed": seed, "metric": "place_probe", "arm": "pixels", "value": 0.5} for seed in range(3)]
    informative = [
        {"arm": label(unit.params["arm"]), "seed": seed, "world": world, "value": 0.5 + 0.01 * seed}
        for unit in homes.units(PROFILES["quick"], 3, "cpu")
        for seed in [unit.params["seed"]]
        for world in ("same world", "moved")
    ]
    return pd.DataFrame(rows), pd.DataFrame(controls), pd.DataFrame(informative)


@pytest.mark.parametrize(("drop", "holds"), [(0.0, True), (0.3, False)])
def test_claim_c02_stands_or_falls_with_the_drop_at_unseen_places(drop: float, holds: bool) -> None:
    values = {value.name: value.estimate for value in numbers.values(*tables(drop))}
    assert values["c02_drop_torus"].value == pytest.approx(100 * drop)
    assert (values["c02_drop_torus"].high < 2.0) == holds


def test_a_patient_transformer_says_whether_positions_end_its_reach() -> None:
    long = {value.name: value.estimate for value in numbers.values(*tables(0.3, "standard"))}
    assert long["c04_drop_vit_side"].value == pytest.approx(30)
    assert long["positions_vit_patient"].value == pytest.approx(90.1)
    short = {value.name for value in numbers.values(*tables(0.3, "quick"))}
    assert set(long) - short >= {"c04_drop_vit_patient", "c04_drop_vit_side", "positions_vit_usual"}


def test_the_patient_transformer_is_drawn_where_it_was_trained() -> None:
    places = tables(0.3, "standard")[0]
    data = figure_tables.positions_table(places)
    assert data.groupby(["panel", "half"]).size().to_dict() == {
        ("check", "both"): 2, ("reach", "above"): 3, ("reach", "below"): 3
    }  # fmt: skip
    assert "60 % above" in draw.describe_positions_and_reach(data)
    assert len(draw.positions_and_reach(data).axes) == 2
    nothing = figure_tables.positions_table(tables(0.3, "quick")[0])
    assert NOT_RUN in draw.describe_positions_and_reach(nothing)
    assert draw.positions_and_reach(nothing).axes
    heights = places[places["metric"] == "accuracy"].assign(metric="accuracy_map", y=2.0)
    patient, usual = (heights[heights["arm"].str.contains("longer=10") == longer] for longer in (True, False))
    assert len(patient)
    pd.testing.assert_frame_equal(figure_tables.height_profile(heights), figure_tables.height_profile(usual))
    shifted = places[~places["arm"].str.contains("longer=10")]
    pd.testing.assert_frame_equal(figure_tables.shift_errors(places), figure_tables.shift_errors(shifted))


def test_every_rule_of_the_chapter_finds_its_value() -> None:
    saved = {value.name for value in numbers.values(*tables(0.1))}
    needed = {
        condition.value.removeprefix("01.")
        for claim in load_claims()
        for condition in claim.conditions
        if condition.value.startswith("01.")
    }
    assert needed
    assert needed <= saved
