"""Chapter 3, core: trainings are what their arms say, measures mean what their names say, numbers follow from tables."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch

from clip_invariance.chapters.c3_captions.policies import arms, figures, geometry_figures, tables
from clip_invariance.chapters.c3_captions.policies.measures import (
    PIXELS,
    TEXTS,
    pixels,
    related,
    texts_of_span,
)
from clip_invariance.chapters.c3_captions.policies.numbers import values
from clip_invariance.chapters.c3_captions.policies.questions import FACTORS, OMITTED, variance_shares
from clip_invariance.chapters.c3_captions.policies.training import WORLDS, Arm
from clip_invariance.marks.marks import NOT_RUN
from clip_invariance.marks.spec import FigureSpec
from clip_invariance.marks.style import style
from clip_invariance.measure.depths import DEPTHS
from clip_invariance.measure.statistics import NamedValue
from clip_invariance.measure.tables import Row, row, select
from clip_invariance.profiles import PROFILES
from clip_invariance.rules.claims import load_claims
from clip_invariance.units import Unit, label
from clip_invariance.worlds import scenes, trifeature

SEEDS = 2
Tables = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]


# ---------------------------------------------------------------- trainings


def test_a_smaller_profile_runs_fewer_of_the_same_trainings() -> None:
    def trained(profile: str) -> set[str]:
        return {str(unit.needs["encoder"].params) for unit in arms.units(PROFILES[profile], 2, "cpu")}

    assert trained("quick") < trained("standard") < trained("full")


def test_every_arm_that_figures_name_is_trained() -> None:
    named = (tables.POLICIES, tables.CONTROLS, tables.SCALES, tables.SHAPES, arms.RATES, arms.FACTORIAL)
    assert {arm for each in named for arm in each.values()} <= set(arms.ARMS)
    assert set(arms.FACTORIAL.values()) <= set(arms.arms(PROFILES["standard"]))
    assert set(arms.SIMILAR) < set(arms.ARMS)


def test_captions_mention_what_the_arm_says_at_the_rate_it_says() -> None:
    drawn = scenes.sample(4000, 0)
    texts = Arm(others=0.3).captions().sample(scenes.WORDS, drawn.labels, 0).strings()
    backgrounds = [any(word in text for word in ("background", "backdrop")) for text in texts]
    assert sum(backgrounds) / len(texts) == pytest.approx(0.3, abs=0.03)
    nouns = [noun for wordings in scenes.WORDS.phrases["object"] for noun in wordings]
    assert all(any(noun in text for noun in nouns) for text in texts)


def test_filler_words_make_captions_as_long_as_captions_of_everything() -> None:
    labels = scenes.sample(2000, 0).labels

    def length(others: float, filler: bool) -> float:
        texts = Arm(others=others, filler=filler).captions().sample(scenes.WORDS, labels, 0).strings()
        return sum(len(text.split()) for text in texts) / len(texts)

    assert length(0.0, True) == pytest.approx(length(1.0, False), abs=1.0)
    assert length(0.0, False) < 3


def test_texts_that_define_the_span_name_every_object() -> None:
    drawn = scenes.sample(2000, 0)
    for arm in (Arm(), Arm(others=0.3), Arm(FACTORS)):
        texts = texts_of_span(arm, drawn, 0)
        assert len(texts) <= TEXTS
        for nouns in scenes.WORDS.phrases["object"]:
            assert any(noun in text for noun in nouns for text in texts), nouns


def test_pairs_share_what_their_name_says_and_nothing_else() -> None:
    drawn = scenes.sample(200, 0)
    partners = related("scenes", "object", drawn, 1)
    shared = {
        name: {f for f in FACTORS if bool((partner.labels[f] == drawn.labels[f]).any())}
        for name, partner in partners.items()
    }
    assert shared == {
        "caption": {"object"},
        "background": {"background"},
        "nothing": set(),
        "all but the caption": set(OMITTED),
    }
    for name, factor in (("caption", "object"), ("background", "background")):
        assert torch.equal(partners[name].labels[factor], drawn.labels[factor])
    matched = partners["all but the caption"]
    assert all(torch.equal(matched.nuisances[name], column) for name, column in drawn.nuisances.items())
    assert not any(torch.equal(partners["caption"].nuisances[name], drawn.nuisances[name]) for name in drawn.nuisances)


# ---------------------------------------------------------------- measures


def _run(arm: Arm, make: Callable[..., list[Unit]] = arms.units) -> pd.DataFrame:
    (unit,) = (unit for unit in make(PROFILES["smoke"], 1, "cpu") if unit.params["arm"] == arm)
    need = unit.needs["encoder"]
    table = unit.function(need.function(**need.params), **unit.params)
    return table.assign(arm=label(arm), seed=0)


@pytest.fixture(scope="module")
def smoke() -> pd.DataFrame:
    torch.set_num_threads(1)
    return pd.concat(
        [_run(arm) for arm in (arms.OBJECT, arms.LABELS, arms.LABELS_OF_OBJECT, arms.SHAPE)], ignore_index=True
    )


def test_an_encoder_is_read_at_every_depth_before_and_after_training(smoke: pd.DataFrame) -> None:
    rows = select(smoke, arm=arms.OBJECT)
    probes = rows[rows["metric"] == "probe"]
    assert set(probes["depth"]) == set(DEPTHS)
    assert len(probes) == 2 * len(DEPTHS) * len(FACTORS)
    assert set(rows["stage"]) == {"untrained", "trained"}
    accuracies = rows[rows["metric"].isin(["probe", "shuffled", "zero_shot", "head_here", "head_elsewhere"])]
    assert accuracies["value"].between(0, 1).all()
    assert set(rows[rows["metric"] == "zero_shot"]["factor"]) == set(FACTORS)
    assert (rows[rows["metric"] == "moved"]["value"] > 0).all()
    assert rows[rows["metric"] == "rank"]["value"].between(1, 64).all()


def test_the_background_of_an_untrained_encoder_can_be_read_and_moves_it_most(smoke: pd.DataFrame) -> None:
    """A known fact about this world: the background fills the picture, so no training is needed to see it."""
    untrained = select(smoke, arm=arms.OBJECT, stage="untrained", depth="embedding")
    by = untrained.set_index(["metric", "factor"])["value"]
    assert by["probe", "background"] > 0.9
    assert by["shuffled", "background"] < 0.5
    assert by["moved", "background"] == by["moved"].max()


def test_an_encoder_without_captions_has_no_span(smoke: pd.DataFrame) -> None:
    rows = select(smoke, arm=(arms.LABELS, arms.LABELS_OF_OBJECT))
    assert set(rows["depth"]) == {"backbone", "embedding"}
    assert "zero_shot" not in set(rows["metric"])


def test_trifeature_has_its_own_factors(smoke: pd.DataFrame) -> None:
    rows = select(smoke, arm=arms.SHAPE)
    assert set(rows[rows["metric"] == "probe"]["factor"]) == set(trifeature.FACTORS)
    assert "head_here" not in set(rows["metric"])


def test_a_training_is_followed_where_weights_were_kept() -> None:
    rows = _run(arms.OBJECT, arms.course_units)
    assert set(rows["step"]) == set(range(4))
    stages = rows.groupby("step")["stage"].unique().str[0].to_dict()
    assert stages == {0: "untrained", 1: "on the way", 2: "on the way", 3: "trained"}
    cosines = rows[rows["metric"] == "cosine"].set_index(["step", "factor"])["value"]
    assert cosines[0, "all but the caption"] > cosines[0, "nothing"]
    assert cosines.between(-1, 1).all()


def test_a_control_without_captions_is_followed_to_its_end() -> None:
    rows = _run(arms.LABELS_OF_OBJECT, arms.course_units)
    assert set(rows["step"]) == {arms.TRAINED.smoke.steps}
    assert set(rows["stage"]) == {"trained"}
    assert set(rows["metric"]) == {"probe", "cosine"}
    assert set(rows["depth"]) == {"embedding"}


def test_pixels_show_the_background_and_not_what_labels_were_shuffled_to() -> None:
    rows = pixels(PIXELS, "scenes", arms.MEASURED.smoke, 0, "cpu")
    by = rows.set_index(["metric", "factor"])["value"]
    assert by["probe", "background"] > 0.8
    assert by["probe", "object"] < 0.6


# ---------------------------------------------------------------- tables with known answers


def _chance(factor: str) -> float:
    return next(1 / len(world.FACTORS[factor]) for world in WORLDS.values() if factor in world.FACTORS)


def _at(factor: str, skill: float) -> float:
    """The accuracy that has this skill, in percent."""
    return _chance(factor) + (1 - _chance(factor)) * skill / 100


def _skill_of(arm: Arm, metric: str, depth: str, stage: str, factor: str) -> float:
    """What the made-up encoders know: mentioned 80; else 20 on the embedding, 10 in the span, nothing zero-shot.

    After the longest training half of that is left.
    """
    if stage == "untrained":
        return 0.0 if metric == "zero_shot" else 50.0
    named = 1.0 if factor in arm.mentioned else arm.others
    floor = {"zero_shot": 0.0}.get(metric, {"span": 10.0, "embedding": 20.0}.get(depth, 40.0)) / (1 + (arm.longer > 3))
    return floor + (80.0 - floor) * named


def _made_up(trained: Sequence[Arm]) -> Tables:
    measured, course = list[Row](), list[Row]()
    for arm, seed in itertools.product(trained, range(SEEDS)):
        of, wobble = {"arm": label(arm), "seed": seed}, 0.001 * seed
        for stage in ("trained",) if arm.kept == "end" else ("untrained", "trained"):
            measured += [of | one | {"stage": stage} for one in _made_up_encoder(arm, stage, seed, wobble)]
        if arm in arms.FOLLOWED:
            for step, stage in ((0, "untrained"), (100, "on the way"), (300, "trained")):
                course += [of | one | {"stage": stage, "step": step} for one in _made_up_moment(arm, stage, step)]
    raw = [row("probe", _at(f, 30.0), depth="pixels", factor=f) | {"seed": s} for s in range(SEEDS) for f in FACTORS]
    raw += [row(f"head_{where}", _at("object", value), depth="pixels", factor="object") | {"seed": s}
            for s in range(SEEDS) for where, value in (("here", 20.0), ("elsewhere", 5.0))]  # fmt: skip
    return pd.DataFrame(measured), pd.DataFrame(course), pd.DataFrame(raw).assign(arm="pixels", stage="")


def _made_up_encoder(arm: Arm, stage: str, seed: int, wobble: float) -> Iterator[Row]:
    for factor in WORLDS[arm.world].FACTORS:
        where = {"depth": "embedding", "factor": factor}
        for depth in ("backbone", "embedding") if arm.labels else DEPTHS:
            skill = _skill_of(arm, "probe", depth, stage, factor)
            yield row("probe", _at(factor, skill) + wobble, depth=depth, factor=factor)
        yield row("shuffled", _chance(factor), **where)
        yield row("zero_shot", _at(factor, _skill_of(arm, "zero_shot", "embedding", stage, factor)), **where)
        yield row("d_prime", 1.0 + seed, **where)
        for depth in ("embedding", "span"):
            explained = 0.6 if factor == "object" and stage == "trained" else 0.1
            yield row("variance", explained, depth=depth, factor=factor)
            away = 0.2 + 0.4 * ("background" in arm.mentioned) + 0.1 * (arm.tower == "vit") + wobble
            yield row("moved", away, depth=depth, factor=factor)
    yield row("rank", 24.0, depth="span")
    for place, skill in (("here", 60.0), ("elsewhere", 57.0 if stage == "trained" else 30.0)):
        yield row(f"head_{place}", _at("object", skill), depth="embedding", factor="object")


def _made_up_moment(arm: Arm, stage: str, step: int) -> Iterator[Row]:
    for shared, start, end in (
        ("caption", 0.1, 0.7), ("background", 0.9, 0.3), ("nothing", 0.0, 0.1), ("all but the caption", 0.9, 0.4),
    ):  # fmt: skip
        less = 0.2 if arm.labels and shared == "caption" else 0.0
        yield row("cosine", start + (end - less - start) * step / 300, depth="embedding", factor=shared)
    for factor in WORLDS[arm.world].FACTORS:
        for metric, depth in (("probe", "embedding"), ("probe", "span"), ("zero_shot", "embedding")):
            yield row(metric, _at(factor, _skill_of(arm, metric, depth, stage, factor)), depth=depth, factor=factor)


@pytest.fixture(scope="module", params=["quick", "full"])
def made_up(request: pytest.FixtureRequest) -> tuple[str, Tables]:
    return request.param, _made_up(arms.arms(PROFILES[request.param]))


@pytest.fixture(scope="module")
def whole() -> Tables:
    return _made_up(arms.ARMS)


@pytest.fixture(scope="module")
def numbers(whole: Tables) -> list[NamedValue]:
    return values(*whole)


def test_numbers_follow_from_the_tables(numbers: list[NamedValue]) -> None:
    number = {row.name: row.estimate.value for row in numbers}
    expected = {
        "c13_gap_gain": 0.5,  # caption minus nothing: .1 before, .6 after
        "c13_gain_over_background": 1.2,  # background minus nothing: .9 before, .2 after
        "c13_crossing": 0.3,
        "c13_gap_captions": 0.6,
        "c13_gap_labels": 0.4,
        "c13_captions_over_labels": 0.2,
        "c13_captions_over_labels_longer": 0.2,
        "c14_left_labels": 40.0,
        "kept_object_labels": 80.0,
        "kept_captions_over_labels": 0.0,
        "c14_left_span": 40.0,
        "c14_skill_span": 10.0,
        "c17_drop": 3.0 * 11 / 12,
        "c17_kept": 95.0,
        "c17_kept_untrained": 50.0,
        "c17_kept_over_untrained": 45.0,
        "c17_kept_pixels": 25.0,
        "tri_shape_unshared": 28.0,  # a skill of 20, where guessing gives 10 %
        "tri_shape_longer_unshared": 19.0,
        "tri_shape_lost": 9.0,
        "tri_shape_longer_unshared_span": 14.5,
        "c18_slope_zero_shot": 80.0,
        "c18_slope_probe": 60.0,
        "c18_below_untrained": 30.0,
        "c18_zero_shot_at_10": 8.0,  # a tenth of the way from 0 to 80
        "c18_zero_shot_at_30": 24.0,
        "c18_slope_probe_place": 60.0,
        "c25_gain_width": 0.0,
        "c19_filler": 60.0,
        "c19_masked": 60.0,
        "c25_closed_width": 0.0,
        "c25_closed_data": 0.0,
        "rank_object": 24.0,
        "omitted_untrained": 50.0,
    }
    assert {name: number[name] for name in expected} == pytest.approx(expected, abs=0.25)


def test_every_rule_of_this_half_has_its_number(numbers: list[NamedValue]) -> None:
    ids = {"C13", "C14", "C16", "C17", "C18", "C19", "C25"}
    rules = {c.value.removeprefix("03.") for claim in load_claims() if claim.id in ids for c in claim.conditions}
    named = [row.name for row in numbers]
    assert rules <= set(named)
    assert len(named) == len(set(named))


def test_a_quick_run_decides_the_central_claims() -> None:
    named = {row.name for row in values(*_made_up(arms.arms(PROFILES["quick"])))}
    quick = {
        claim.id
        for claim in load_claims()
        if claim.chapter == "03" and claim.conditions
        if all(c.value.removeprefix("03.") in named for c in claim.conditions)
    }
    assert quick >= {"C13", "C14", "C17", "C18"}


def test_variance_shares_of_a_known_factorial() -> None:
    """Effects 3, 1 and 0 and no interaction: the squares are as 9 to 1."""
    rows = [
        row("moved", 0.3 * policy + 0.1 * tower, depth="embedding", factor="background")
        | {"arm": label(arm), "seed": seed, "stage": "trained"}
        for (policy, tower, _), arm in arms.FACTORIAL.items()
        for seed in range(SEEDS)
    ]
    table = pd.DataFrame(rows)
    shares = variance_shares(table, "moved")
    expected = {"captions": 90.0, "architecture": 10.0, "augmentation": 0.0, "interactions": 0.0}
    assert all(shares.loc[seed].to_dict() == pytest.approx(expected, abs=1e-6) for seed in range(SEEDS))
    crossed = table.assign(value=[float(p and t) for p, t, _ in arms.FACTORIAL for _ in range(SEEDS)])
    assert variance_shares(crossed, "moved").loc[0].to_dict() == pytest.approx(
        {"captions": 100 / 3, "architecture": 100 / 3, "augmentation": 0.0, "interactions": 100 / 3}, abs=1e-6
    )
    assert (variance_shares(table.assign(value=1.0), "moved") == 0).all(axis=None)


def test_the_matrix_knows_what_captions_mention(whole: Tables) -> None:
    matrix = tables.matrix_table(whole[0], whole[2])
    mentioned = matrix[(matrix["depth"] == "zero-shot") & matrix["mentioned"]]
    assert {tuple(cell) for cell in mentioned[["row", "factor"]].to_numpy()} == {
        (name, factor) for name, arm in tables.POLICIES.items() for factor in (FACTORS if arm.others else arm.mentioned)
    }
    assert mentioned["skill"].to_list() == pytest.approx([80.0] * len(mentioned))
    assert matrix[matrix["row"] == "shuffled labels"]["skill"].abs().max() < 1e-6


FIGURES: dict[FigureSpec, Callable[[pd.DataFrame, pd.DataFrame, pd.DataFrame], pd.DataFrame]] = {
    figures.MATRIX: lambda m, c, p: tables.matrix_table(m, p),
    figures.DOSE: lambda m, c, p: tables.dose_table(m, p),
    figures.CONTROL: lambda m, c, p: tables.control_table(m),
    figures.SCALE: lambda m, c, p: tables.scale_table(m),
    geometry_figures.COURSE: lambda m, c, p: tables.course_table(c),
    geometry_figures.POINT: lambda m, c, p: tables.point_table(m),
    geometry_figures.MOVED: lambda m, c, p: tables.moved_table(m),
    geometry_figures.HEADS: lambda m, c, p: tables.head_table(m, p),
    geometry_figures.FACTORIAL: lambda m, c, p: tables.factorial_table(m),
}


@pytest.mark.parametrize("spec", FIGURES, ids=lambda spec: spec.name)
def test_figures_draw_what_a_profile_has_and_say_so(spec: FigureSpec, made_up: tuple[str, Tables]) -> None:
    profile, measured = made_up
    table = FIGURES[spec](*measured)
    with style("light"):
        figure = spec.draw(table)
    texts = [text.get_text() for ax in figure.axes for text in ax.texts]
    plt.close(figure)
    missing = profile == "quick" and spec.name in ("scale", "factorial")
    assert (NOT_RUN in texts) == missing
    assert len(spec.describe(table)) > 40 or missing


def test_every_number_names_a_figure_of_the_notebook(numbers: list[NamedValue]) -> None:
    assert {row.figure for row in numbers} <= {*(spec.name for spec in FIGURES), "trifeature"}


def test_tables_hold_what_the_encoders_know(whole: Tables) -> None:
    doses = tables.dose_table(whole[0], whole[2]).set_index(["factor", "source", "rate"])["value"]
    assert doses["mean", "embedding", 0.1] == pytest.approx(26.0, abs=0.25)  # a tenth of the way from 20 to 80
    points = tables.point_table(whole[0]).set_index(["stage", "depth"])["value"]
    assert points["untrained", "span"] == pytest.approx(90.0)
    assert points["trained", "span"] == pytest.approx(40.0)


def test_example_captions_belong_to_their_pictures() -> None:
    examples = tables.examples()
    for _, example in examples.iterrows():
        wordings = scenes.WORDS.phrases["object"][scenes.FACTORS["object"].index(example["factor_object"])]
        assert any(noun in example["object"] for noun in wordings)
        assert any(noun in example["everything"] for noun in wordings)
    with style("dark"):
        figure = figures.EXAMPLE_SCENES.draw(examples)
    assert len(figure.axes) == len(examples)
    plt.close(figure)


def test_the_trifeature_table_sets_the_paper_beside_us(
    whole: Tables,
) -> None:
    table = tables.trifeature_table(whole[0]).set_index(["captions name", "asked for"])
    assert table.loc[("shape", "shape"), "CoMM"] == 100.0
    assert table.loc[("shape", "colour and texture"), "CoMM"] == 11.6
    assert table.loc[("shape", "shape"), "embedding"] == pytest.approx(82.0, abs=0.5)  # skill 80 of ten values
    few = tables.trifeature_table(_made_up([arms.SHAPE])[0])
    assert few["captions name"].tolist() == ["shape", "shape"]
    assert few.notna().all(axis=None)
    assert table.loc[("shape, three times the steps", "colour and texture"), "CoMM"] == 11.6
    assert len(table) == 8
