"""Chapter 4's experiments: captions and pictures are what they say, and the numbers mean what their names say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
import torch

from clip_invariance.chapters.c4_dashcam import (
    figures,
    numbers,
    photographs,
    photographs_figures,
    story,
    story_figures,
    tables,
    units,
)
from clip_invariance.chapters.c4_dashcam.arms import (
    ARMS,
    BY_RATE,
    LABELS,
    LARGE,
    SILENT,
    SOMETIMES,
    TALKATIVE,
    UNTRAINED,
    arms_of,
    train_unit,
    train_units,
)
from clip_invariance.chapters.c4_dashcam.measures import (
    ASKED,
    Pictures,
    false_go_rate,
    matched_pictures,
    measured_pictures,
    read_pairs,
    read_scenes,
)
from clip_invariance.chapters.c4_dashcam.readers import Reader
from clip_invariance.chapters.c4_dashcam.training import SIZE, STUDIED, Arm, Schedule, captions_of, sample_scenes, train
from clip_invariance.errors import UsageError
from clip_invariance.marks.style import style
from clip_invariance.measure.statistics import Estimate, NamedValue
from clip_invariance.measure.tables import select
from clip_invariance.models import clip
from clip_invariance.profiles import PROFILES
from clip_invariance.rules.claims import load_claims
from clip_invariance.run.chapter import _with_params
from clip_invariance.run.store import describe
from clip_invariance.training import labels, views
from clip_invariance.training.augment import crop_and_colour
from clip_invariance.units import Unit, label
from clip_invariance.worlds import dashcam as world

SMOKE = PROFILES["smoke"]


TRAINED: dict[str, pd.DataFrame] = {}


def trained(unit: Unit) -> pd.DataFrame:
    """What a unit without needs returns, computed once."""
    if (name := describe(unit)) not in TRAINED:
        TRAINED[name] = unit.function(**unit.params)
    return TRAINED[name]


def ran(unit: Unit) -> pd.DataFrame:
    """The unit's table with its parameters as columns, what it needs included."""
    needed = {name: trained(need) for name, need in unit.needs.items()}
    return _with_params(unit, unit.function(**unit.params, **needed))


@pytest.fixture(scope="module")
def measured() -> dict[str, pd.DataFrame]:
    """One unit of each kind, as the smoke profile runs it."""
    torch.set_num_threads(1)
    by_arm = {unit.params["arm"]: unit for unit in units.encoder_units(SMOKE, 1, "cpu")}
    return {
        "captions": ran(by_arm[SILENT]),
        "labels": ran(by_arm[LABELS["small"]]),
        "pixels": ran(units.pixel_units(SMOKE, 1, "cpu")[0]),
        "course": ran(units.course_units(SMOKE, 1, "cpu")[0]),
        "story": ran(units.story_units(SMOKE, "cpu")[0]),
        "pasted": ran(units.pasted_units(SMOKE, 1, "cpu")[0]),
    }


@pytest.fixture(scope="module")
def invented(measured: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Tables of the standard profile with invented numbers: the same rows as measured ones, three seeds."""

    def noisy(rows: pd.DataFrame, level: float, seed: int) -> pd.Series:
        return level + 0.01 * pd.Series(torch.randn(len(rows), generator=torch.Generator().manual_seed(seed)).numpy())

    parts: dict[str, list[pd.DataFrame]] = {"table": [], "pixels": [], "course": [], "pasted": [], "alone": []}
    for seed in range(3):
        for arm in arms_of(PROFILES["standard"]):
            rows = measured["captions" if arm.objective == "captions" else "labels"]
            level = 0.5 + 0.4 * arm.mention + 0.2 * (arm.objective == "labels") * (1 - arm.mention)
            parts["table"].append(rows.assign(arm=label(arm), seed=seed, value=noisy(rows, level, seed)))
            if arm.course:
                rows = measured["course"]
                parts["course"].append(rows.assign(arm=label(arm), seed=seed, value=noisy(rows, level, seed)))
        for arm in units.PASTED:
            rows = measured["pasted"]
            parts["pasted"].append(rows.assign(arm=label(arm), seed=seed, value=noisy(rows, 0.7, seed)))
        for size in ("small", "large"):
            rows = measured["pixels"].assign(light_size=size, seed=seed)
            parts["pixels"].append(rows.assign(value=noisy(rows, 0.5, seed)))
        counts = [("probe", count) for count in (1, 4, 16, 64, 256, 0)] + [("nearest", 0)]
        alone = [
            {
                "depth": name,
                "metric": metric,
                "labels": count,
                "seed": seed,
                "photograph": photograph,
                "value": 0.9 + 0.001 * seed,
            }
            for name in photographs_figures.REPRESENTATIONS
            for metric, count in counts
            for photograph in (range(24) if count == 0 else [None])
        ]
        parts["alone"].append(pd.DataFrame(alone))
    return {name: pd.concat(rows, ignore_index=True) for name, rows in parts.items()}


def values_of(found: dict[str, pd.DataFrame], table: pd.DataFrame) -> list[NamedValue]:
    """All numbers of the chapter."""
    return [
        *numbers.values(table, found["pixels"]),
        *photographs_figures.values(found["alone"], found["pasted"]),
    ]


# ---------------------------------------------------------------- pictures and captions


def test_captions_name_the_car_and_mention_the_light_at_the_rate() -> None:
    shown = sample_scenes(2000, 0, "small")
    texts = captions_of(shown, 0.3, False, 0).strings()
    named = [any(f"a {state} light" in text for state in ("red", "green")) for text in texts]
    assert sum(named) / len(named) == pytest.approx(0.3, abs=0.04)
    vehicles = ("car", "sedan", "van", "minivan", "truck", "lorry")
    assert all(any(word in text.split() for word in vehicles) for text in texts)
    silent = captions_of(shown, 0.0, False, 0).texts
    assert not any("light" in text or "pedestrian" in text or "weather" in text for text in silent)


def test_fillers_make_silent_captions_as_long_as_talkative_ones() -> None:
    shown = sample_scenes(3000, 1, "small")

    def words(mention: float, filler: bool) -> float:
        texts = captions_of(shown, mention, filler, 0).strings()
        return sum(len(text.split()) for text in texts) / len(texts)

    assert words(0.0, True) == pytest.approx(words(1.0, False), abs=0.3)
    assert words(0.0, False) < words(1.0, False) - 5


def test_the_two_light_sizes_show_the_same_scenes() -> None:
    small, large = sample_scenes(200, 3, "small"), sample_scenes(200, 3, "large")
    assert all(torch.equal(small.labels[name], large.labels[name]) for name in small.labels)
    different = {name for name in small.nuisances if not torch.equal(small.nuisances[name], large.nuisances[name])}
    assert different == {"light_scale"}


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_no_factor_tells_another_one(seed: int) -> None:
    """The weather is drawn apart from the rest: the same random numbers must not decide the light as well."""
    labels = sample_scenes(4000, seed, "small").labels
    varied = [name for name in ASKED if len(labels[name].unique()) > 1]
    columns = torch.stack([labels[name].double() for name in varied])
    correlation = torch.corrcoef(columns) - torch.eye(len(varied))
    assert correlation.abs().max() < 0.08
    assert {"light", "pedestrian", "weather", "place", "distance"} <= set(varied)


def test_measured_scenes_have_somebody_crossing_or_nobody_and_numbered_labels() -> None:
    pictures = measured_pictures(200, 0, "small", "cpu")
    assert pictures.images.shape == (200, 3, SIZE, SIZE)
    for factor, values in ASKED.items():
        assert set(pictures.labels[factor].tolist()) <= set(range(len(values)))
    assert 0.3 < pictures.labels["pedestrian"].double().mean() < 0.7


def test_matched_pictures_differ_only_near_what_changed() -> None:
    red, green = matched_pictures(8, 0, "small", "cpu")["light"]
    changed = (red != green).any(1).double().mean((1, 2))
    assert changed.min() > 0
    assert changed.max() < 0.15


# ---------------------------------------------------------------- training


def test_labels_are_learned_and_nothing_else_is_asked() -> None:
    generator = torch.Generator().manual_seed(0)
    bright = torch.arange(64) % 2
    images = (60 * bright[:, None, None, None] + torch.randint(0, 100, (64, 3, 32, 32), generator=generator)).byte()
    model = clip.create("conv", size=32, embed_dim=8, seed=0)
    before = clip.encode_texts(model, ["a car"])
    labels.fit(model, images, {"bright": bright}, steps=12, batch=32, rate=5e-3, seed=0)
    x = clip.embed(model, images)
    means = torch.stack([x[bright == value].mean(0) for value in (0, 1)])
    apart = torch.linalg.vector_norm(means[0] - means[1])
    assert apart > 3 * (x - means[bright]).norm(dim=1).mean()
    torch.testing.assert_close(clip.encode_texts(model, ["a car"]), before)


def test_views_pull_two_views_of_a_picture_together() -> None:
    images = torch.randint(0, 256, (32, 3, 4, 4), generator=torch.Generator().manual_seed(0)).byte()
    images = images.repeat_interleave(8, 2).repeat_interleave(8, 3)
    model = clip.calibrate_batch_norm(clip.create("conv", size=32, embed_dim=8, seed=0), images)

    def similarity() -> float:
        """Cosine of two views of one picture, minus that of views of two pictures."""
        generator = torch.Generator().manual_seed(5)
        with torch.inference_mode():
            one, other = (
                model.eval().encode_image(crop_and_colour(clip.prepare(images), generator), normalize=True)
                for _ in range(2)
            )
        cosines = one @ other.T
        return float(cosines.diagonal().mean() - (cosines.sum() - cosines.trace()) / (32 * 31))

    before = similarity()
    views.fit(model, images, steps=15, batch=32, rate=3e-3, seed=0)
    assert similarity() > before + 0.1


def test_the_untrained_control_differs_from_the_trained_encoder_in_its_steps_only() -> None:
    assert replace(SILENT, course=False, length=0) == UNTRAINED["small"]
    schedule = Schedule(steps=4, images=300)
    assert (schedule.of(SILENT), schedule.of(UNTRAINED["small"])) == (4, 0)


def test_a_course_keeps_the_weights_of_the_way() -> None:
    schedule = Schedule(steps=400, images=1)
    assert schedule.kept(SILENT) == [100, 200]
    assert schedule.kept(Arm(length=3, course=True)) == [100, 200, 400, 800]
    assert schedule.kept(Arm()) == []


def test_every_profile_trains_the_same_arms_or_fewer() -> None:
    quick, standard, full = (arms_of(PROFILES[name]) for name in ("quick", "standard", "full"))
    assert set(quick) < set(standard) < set(full) == set(ARMS)
    for arm in quick:
        trainings = [train_unit(arm, PROFILES[profile], 0, "cpu").params for profile in ("quick", "standard", "full")]
        assert trainings[0] == trainings[1] == trainings[2]
    assert len(train_units(SMOKE, 2, "cpu")) == 2 * len(arms_of(SMOKE))


def test_rates_rise_and_are_those_of_their_arms() -> None:
    for light_size, arms in BY_RATE.items():
        assert list(arms) == sorted(arms)
        assert all(arm.mention == rate and arm.light_size == light_size for rate, arm in arms.items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"objective": "poems"}, "objective='poems'"), ({"light_size": "huge"}, "light_size='huge'")],
)
def test_bad_input_is_refused_naming_it(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        train(Arm(length=0, **changes), Schedule(steps=4, images=8), 0, "cpu")
    with pytest.raises(UsageError, match="not trained in the profile smoke"):
        train_unit(Arm(embed_dim=32), SMOKE, 0, "cpu")


# ---------------------------------------------------------------- measures


def test_false_go_rate_reads_the_curve_at_one_needless_stop_in_a_hundred() -> None:
    light = torch.tensor([1] * 100 + [0] * 10)
    greens = torch.arange(100.0)
    assert false_go_rate(torch.cat([greens, torch.full((10,), 200.0)]), light) == 0
    assert false_go_rate(torch.cat([greens, torch.full((10,), -1.0)]), light) == 1
    half = torch.tensor([200.0] * 5 + [50.0] * 5)
    assert false_go_rate(torch.cat([greens, half]), light) == 0.5
    blind = torch.rand(20000, generator=torch.Generator().manual_seed(0))
    assert false_go_rate(blind, torch.arange(20000) % 2) == pytest.approx(0.99, abs=0.005)
    assert false_go_rate(torch.zeros(20), torch.arange(20) % 2) == 1  # undecided: it would have to stop at every green
    with pytest.raises(UsageError, match="red and green"):
        false_go_rate(torch.zeros(3), torch.ones(3))


def knowing(word: str = "light") -> tuple[Reader, Pictures]:
    """An encoder of one factor: it reads the answer from the first pixel and puts it on one axis of its space."""
    n = 240
    generator = torch.Generator().manual_seed(0)
    labels = {f: torch.randint(len(values), (n,), generator=generator) for f, values in ASKED.items()}
    images = torch.zeros(n, 3, 4, 4, dtype=torch.uint8)
    images[:, 0, 0, 0] = labels[word].byte()

    def features(pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        answer = pictures[:, 0, 0, 0].float()
        noise = torch.randn(len(pictures), 3, generator=torch.Generator().manual_seed(1))
        return {"embedding": torch.cat([torch.stack([1 - answer, answer], 1), 0.1 * noise], dim=1)}

    def texts(said: Any) -> torch.Tensor:
        axes = torch.eye(5)
        rows = [axes[0] if "red light" in t else axes[1] if "green light" in t else axes[2] for t in said]
        return torch.stack(rows) + 0.01 * torch.arange(len(rows))[:, None] / len(rows)

    return Reader(features, texts), Pictures(images, labels)


def test_any_encoder_can_be_measured_and_what_it_knows_is_found() -> None:
    reader, pictures = knowing()
    rows = pd.DataFrame(read_scenes(reader, pictures[:120], pictures[120:], shots=[1, 4], seed=0))
    light = rows[rows["factor"] == "light"].set_index("metric")["value"]
    assert light["probe"] == light["knn"] == light["zero_shot"] == 1
    assert light["few_shot"].min() > 0.9
    assert light["false_go"].max() == 0
    assert 0.3 < light["shuffled"] < 0.7
    assert rows[(rows["factor"] == "place") & (rows["metric"] == "probe")]["value"].iloc[0] < 0.7
    cars = rows[rows["metric"] == "called_red"]
    assert len(cars) == 6
    assert cars["value"].between(0.2, 0.8).all()  # the car's colour does not tell the light's


def test_pairs_are_measured_in_units_of_the_car() -> None:
    _, pictures = knowing("car_colour")

    def features(images: torch.Tensor) -> dict[str, torch.Tensor]:
        jitter = torch.randn(len(images), 4, generator=torch.Generator().manual_seed(len(images)))
        return {"embedding": images[:, :, 0, 0].float() @ torch.eye(3, 4) + 0.01 * jitter}

    reader = Reader(features)
    still = torch.zeros(40, 3, 4, 4, dtype=torch.uint8)
    moved = still.clone()
    moved[:, 1, 0, 0] = 3
    rows = pd.DataFrame(read_pairs(reader, {"light": (still, moved)}, pictures, seed=0)).set_index("metric")["value"]
    yardstick = (torch.pdist(torch.arange(6.0)[:, None]) ** 2).mean().sqrt()
    assert rows["distance"] == pytest.approx(3 / float(yardstick), rel=0.02)
    assert rows["d_prime"] > 100


def test_measures_of_a_real_encoder_cover_every_depth(measured: dict[str, pd.DataFrame]) -> None:
    rows = measured["captions"]
    assert set(rows["depth"]) == {"backbone", "embedding", "span", "rest", "words"}
    assert rows["value"].notna().all()
    assert set(rows["metric"]) == {
        "probe", "knn", "few_shot", "shuffled", "zero_shot", "false_go", "called_red", "d_prime", "distance",
    }  # fmt: skip
    assert set(measured["labels"]["depth"]) == {"backbone", "embedding"}
    assert set(measured["pixels"]["depth"]) == {"pixels", "grey pixels"}


# ---------------------------------------------------------------- photographs


def test_light_boxes_hold_the_light_and_little_else() -> None:
    shown = sample_scenes(20, 5, "large")
    boxes = photographs.light_boxes(shown)
    masks = world.masks(shown, size=SIZE)["light"]
    for (left, top, right, bottom), mask in zip(boxes.int().tolist(), masks, strict=True):
        assert mask[top:bottom, left:right].sum() == mask.sum()
        assert mask[top:bottom, left].any()
        assert mask[top, left:right].any()
        assert mask[bottom - 1].any()
    height = boxes[:, 3] - boxes[:, 1]
    assert (height > 10).all()
    assert (height < 25).all()


def test_a_pasted_photograph_hides_the_drawn_light() -> None:
    """Two scenes that differ in the drawn light alone are the same picture once a photograph covers it."""
    images, labels = photographs.pasted("train", 1, 12, "small", 0, "cpu")
    assert images.shape == (12, 3, SIZE, SIZE)
    assert set(labels.tolist()) == {0, 1}
    shown = sample_scenes(30, 9, "small")
    boxes = photographs.light_boxes(shown).int().tolist()
    hidden = world.change(shown, "light_scale", 0.4)
    red, green = (world.render(world.change(hidden, "light", value), size=SIZE).int() for value in (0, 1))
    outside = (red - green).abs().amax(1)
    for (left, top, right, bottom), picture in zip(boxes, outside, strict=True):
        picture[max(top - 1, 0) : bottom + 1, max(left - 1, 0) : right + 1] = 0
        assert picture.max() <= 12  # of 255


def test_the_inventory_counts_every_photograph() -> None:
    table = photographs.inventory()
    assert table["photographs"].sum() + table["left_out"].sum() == 1484
    assert set(table["class"]) == {"red", "yellow", "green"}


# ---------------------------------------------------------------- summaries


def by_rate(accuracies: dict[float, list[float]], metric: str = "probe", depth: str = "embedding") -> pd.DataFrame:
    """A table with nothing but the small light's accuracy, one number per seed."""
    names = {"metric": metric, "depth": depth, "factor": "light", "labels": 0}
    return pd.DataFrame(
        [
            {"arm": label(BY_RATE["small"][rate]), "seed": seed, **names, "value": value}
            for rate, values in accuracies.items()
            for seed, value in enumerate(values)
        ]
    )


def test_the_middle_of_a_mixture_is_where_it_lies_between_the_ends() -> None:
    table = by_rate({0.0: [0.5, 0.6], 0.1: [0.6, 0.7], 1.0: [1.0, 1.0]})
    assert numbers.middle(table).tolist() == pytest.approx([20, 25])


def test_a_reversal_is_the_largest_loss_between_neighbouring_rates() -> None:
    rising = by_rate({0.0: [0.5, 0.5], 0.1: [0.6, 0.62], 1.0: [0.9, 0.9]})
    assert numbers.reversal(rising).value == pytest.approx(-11)
    dipping = by_rate({0.0: [0.5, 0.5], 0.1: [0.8, 0.8], 0.3: [0.7, 0.72], 1.0: [0.9, 0.9]})
    assert numbers.reversal(dipping).value == pytest.approx(9)
    unsure = by_rate(
        {0.0: [0.80, 0.80], 0.1: [0.77, 0.77], 1.0: [0.60, 0.90]}
    )  # loses 3, then 2 [-189, 193] on average
    assert numbers.reversal(unsure).high > 100


def test_what_is_kept_compares_the_silent_with_the_talkative_encoder() -> None:
    table = by_rate({0.0: [0.1, 0.2], 1.0: [0.5, 0.4]}, metric="distance")
    assert numbers.kept(table, "light").tolist() == pytest.approx([20, 50])


def test_arms_are_told_apart(invented: dict[str, pd.DataFrame]) -> None:
    table = invented["table"]
    counts = [len(select(table, arm=arm)) for arm in arms_of(PROFILES["standard"])]
    assert min(counts) > 0
    assert sum(counts) == len(table)
    assert select(table, arm=replace(SILENT, embed_dim=7)).empty


def test_every_rule_of_the_chapter_names_a_value_that_is_measured(invented: dict[str, pd.DataFrame]) -> None:
    table = invented["table"]
    named = values_of(invented, table)
    assert all(isinstance(value.estimate, Estimate) and value.description for value in named)
    assert len({value.name for value in named}) == len(named)
    rules = [c for claim in load_claims() if claim.chapter == "04" for c in claim.conditions]
    assert {c.value for c in rules} <= {f"04.{value.name}" for value in named}
    quick = select(table, arm=arms_of(PROFILES["quick"]))
    fewer = {f"04.{value.name}" for value in values_of(invented, quick)}
    assert {c.value for c in rules if c.role == "essential"} <= fewer


def test_known_answers_reach_the_values(invented: dict[str, pd.DataFrame]) -> None:
    table = invented["table"].copy()
    for arm, value in ((SILENT, 0.55), (SOMETIMES, 0.65), (TALKATIVE, 0.95), (LARGE, 0.75), (LABELS["small"], 0.97)):
        rows = select(table, arm=arm, metric="probe", depth="embedding", factor="light").index
        table.loc[rows, "value"] = value
    named = {value.name: value for value in values_of(invented, table)}
    expected = {"c29_gap_probe": 42, "c30_size": 20, "c30_mention": 40, "c30_word_beats_size": 20, "c31_middle": 25}
    for name, value in expected.items():
        assert named[name].estimate.value == pytest.approx(value), name
    assert named["c29_probe"].estimate.value == pytest.approx(55)


def test_a_new_rate_is_in_the_figure(invented: dict[str, pd.DataFrame], monkeypatch: pytest.MonkeyPatch) -> None:
    """One line in arms.py is all that it takes."""
    arm = Arm(mention=0.2)
    rows = select(invented["table"], arm=SOMETIMES).assign(arm=label(arm), value=0.7)
    table = pd.concat([invented["table"], rows], ignore_index=True)
    monkeypatch.setitem(BY_RATE["small"], 0.2, arm)
    drawn = tables.mention(table, invented["pixels"])
    assert select(drawn, panel="small light", mention=0.2)["value"].tolist() == pytest.approx([70] * 3)


def test_every_figure_draws_and_describes_itself(
    invented: dict[str, pd.DataFrame], measured: dict[str, pd.DataFrame]
) -> None:
    table, pixels = invented["table"], invented["pixels"]
    told = pd.concat([measured["story"], measured["story"].assign(arm=label(TALKATIVE))], ignore_index=True)
    drawn = {
        story_figures.SCENES: story.gallery(),
        story_figures.PAIR: story.with_pictures(told, (SILENT, TALKATIVE)),
        figures.MENTION: tables.mention(table, pixels),
        figures.MATCHED_PAIRS: tables.matched_pairs(table),
        figures.UNMENTIONED: tables.unmentioned(table, pixels),
        figures.LABELS_NEEDED: tables.labels_needed(table),
        figures.DECISION: tables.decision(table),
        figures.SIZE_AND_MENTION: tables.size_and_mention(table),
        figures.CONTROLS: tables.controls(table),
        figures.COURSE: tables.course(invented["course"]),
        photographs_figures.PHOTOGRAPHS_ALONE: photographs_figures.alone_table(invented["alone"]),
        photographs_figures.PHOTOGRAPHS_IN_SCENES: photographs_figures.pasted_table(invented["pasted"]),
    }
    with style("dark"):
        for spec, data in drawn.items():
            assert spec.draw(data).axes
            alt = spec.describe(data)
            assert "nan" not in alt
            assert len(alt) > 60


def test_candidate_captions_say_everything_once() -> None:
    texts = story.candidate_captions()
    assert len(set(texts)) == len(texts) == 72
    assert "a black car on the road at a red light and a pedestrian crossing" in texts
    assert STUDIED == ("light", "pedestrian")
