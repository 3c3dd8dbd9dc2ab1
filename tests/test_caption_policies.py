"""Chapter 3, core: trainings are what their arms say, measures mean what their names say, numbers follow from tables."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch

from clip_invariance.chapters.c3_captions import caption_policies
from clip_invariance.chapters.c3_captions import figures as draw
from clip_invariance.chapters.c3_captions import reading as caption_reading
from clip_invariance.chapters.c3_captions import training as caption_training
from clip_invariance.chapters.c3_captions.caption_policies import FACTORIAL, FACTORS, OMITTED, values, variance_shares
from clip_invariance.chapters.c3_captions.reading import TEXTS, follow, pixels, read, related, texts_of_span
from clip_invariance.chapters.c3_captions.training import ARMS, FULL, QUICK, STANDARD, WORLDS, Arm, caption_policy
from clip_invariance.marks.style import style
from clip_invariance.measure.depths import DEPTHS
from clip_invariance.measure.statistics import NamedValue
from clip_invariance.profiles import PROFILES
from clip_invariance.rules.claims import load_claims
from clip_invariance.worlds import scenes, trifeature

SEEDS = 2
Tables = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]


# ---------------------------------------------------------------- trainings


def test_a_smaller_profile_runs_fewer_of_the_same_trainings() -> None:
    def trained(profile: str) -> set[str]:
        return {str(dict(unit.params)) for unit in caption_training.units(PROFILES[profile], 2, "cpu")}

    assert trained("quick") < trained("standard") < trained("full")


def test_no_two_arms_are_the_same_training() -> None:
    assert len(set(FULL.values())) == len(FULL)
    assert all(arm == FULL[name] for name, arm in {**QUICK, **STANDARD}.items())
    assert set(FACTORIAL.values()) <= set(STANDARD)


def test_captions_mention_what_the_arm_says_at_the_rate_it_says() -> None:
    drawn = scenes.sample(4000, 0)
    texts = caption_policy("scenes", "object", 0.3, False).sample(scenes.WORDS, drawn.labels, 0).strings()
    backgrounds = [any(word in text for word in ("background", "backdrop")) for text in texts]
    assert sum(backgrounds) / len(texts) == pytest.approx(0.3, abs=0.03)
    nouns = [noun for wordings in scenes.WORDS.phrases["object"] for noun in wordings]
    assert all(any(noun in text for noun in nouns) for text in texts)


def test_filler_words_make_captions_as_long_as_captions_of_everything() -> None:
    labels = scenes.sample(2000, 0).labels

    def length(others: float, filler: bool) -> float:
        texts = caption_policy("scenes", "object", others, filler).sample(scenes.WORDS, labels, 0).strings()
        return sum(len(text.split()) for text in texts) / len(texts)

    assert length(0.0, True) == pytest.approx(length(1.0, False), abs=1.0)
    assert length(0.0, False) < 3


def test_texts_that_define_the_span_name_every_object() -> None:
    drawn = scenes.sample(2000, 0)
    for policy, others in (("object", 0.0), ("object", 0.3), ("+".join(FACTORS), 0.0)):
        texts = texts_of_span("scenes", policy, others, False, drawn, 0)
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


def _run(arm: str, function: Any = read, tower_arms: dict[str, Arm] = FULL) -> pd.DataFrame:
    unit = caption_reading._unit(function, arm, tower_arms[arm], PROFILES["smoke"], 1, "cpu")
    need = unit.needs["encoder"]
    table: pd.DataFrame = function(need.function(**need.params), **unit.params)
    return table.assign(**unit.params)


@pytest.fixture(scope="module")
def smoke() -> pd.DataFrame:
    torch.set_num_threads(1)
    arms = ("object", "labels", "labels of the object", "trifeature shape")
    return pd.concat([_run(arm) for arm in arms], ignore_index=True)


def test_an_encoder_is_read_at_every_depth_before_and_after_training(smoke: pd.DataFrame) -> None:
    rows = smoke[smoke["arm"] == "object"]
    probes = rows[rows["metric"] == "probe"]
    assert set(probes["depth"]) == set(DEPTHS)
    assert len(probes) == 2 * len(DEPTHS) * len(FACTORS)
    assert set(rows["step"]) == {0, caption_training.STEPS["smoke"]}
    accuracies = rows[rows["metric"].isin(["probe", "shuffled", "zero_shot", "head_here", "head_elsewhere"])]
    assert accuracies["value"].between(0, 1).all()
    assert set(rows[rows["metric"] == "zero_shot"]["factor"]) == set(FACTORS)
    assert (rows[rows["metric"] == "moved"]["value"] > 0).all()
    assert rows[rows["metric"] == "rank"]["value"].between(1, 64).all()


def test_the_background_of_an_untrained_encoder_can_be_read_and_moves_it_most(smoke: pd.DataFrame) -> None:
    """A known fact about this world: the background fills the picture, so no training is needed to see it."""
    untrained = smoke[(smoke["arm"] == "object") & (smoke["step"] == 0) & (smoke["depth"] == "embedding")]
    by = untrained.set_index(["metric", "factor"])["value"]
    assert by["probe", "background"] > 0.9
    assert by["shuffled", "background"] < 0.5
    assert by["moved", "background"] == by["moved"].max()


def test_an_encoder_without_captions_has_no_span(smoke: pd.DataFrame) -> None:
    rows = smoke[smoke["arm"].isin(["labels", "labels of the object"])]
    assert set(rows["depth"]) == {"backbone", "embedding"}
    assert "zero_shot" not in set(rows["metric"])


def test_trifeature_has_its_own_factors(smoke: pd.DataFrame) -> None:
    rows = smoke[smoke["arm"] == "trifeature shape"]
    assert set(rows[rows["metric"] == "probe"]["factor"]) == set(trifeature.FACTORS)
    assert "head_here" not in set(rows["metric"])


def test_a_training_is_followed_where_weights_were_kept() -> None:
    rows = _run("object", follow)
    assert set(rows["step"]) == set(range(4))
    cosines = rows[rows["metric"] == "cosine"].set_index(["step", "factor"])["value"]
    assert cosines[0, "all but the caption"] > cosines[0, "nothing"]
    assert cosines.between(-1, 1).all()


def test_a_control_without_captions_is_followed_to_its_end() -> None:
    rows = _run("labels of the object", follow)
    assert set(rows["step"]) == {caption_training.STEPS["smoke"]}
    assert set(rows["metric"]) == {"probe", "cosine"}
    assert set(rows["depth"]) == {"embedding"}


def test_pixels_show_the_background_and_not_what_labels_were_shuffled_to() -> None:
    rows = pixels(caption_reading.PIXELS, "scenes", caption_training.SIZE, 240, 200, 0, "cpu")
    by = rows.set_index(["metric", "factor"])["value"]
    assert by["probe", "background"] > 0.8
    assert by["probe", "object"] < 0.6


# ---------------------------------------------------------------- tables with known answers


def _chance(factor: str) -> float:
    return next(1 / len(world.FACTORS[factor]) for world in WORLDS.values() if factor in world.FACTORS)


def _at(factor: str, skill: float) -> float:
    """The accuracy that has this skill, in percent."""
    return _chance(factor) + (1 - _chance(factor)) * skill / 100


def _skill_of(arm: Arm, metric: str, depth: str, step: int, factor: str) -> float:
    """What the made-up encoders know: mentioned 80; else 20 on the embedding, 10 in the span, nothing zero-shot.

    After the longest training half of that is left.
    """
    if step == 0:
        return 0.0 if metric == "zero_shot" else 50.0
    named = 1.0 if factor in arm.policy.split("+") else arm.others
    floor = {"zero_shot": 0.0}.get(metric, {"span": 10.0, "embedding": 20.0}.get(depth, 40.0)) / (1 + (arm.longer > 3))
    return floor + (80.0 - floor) * named


def _made_up(arms: dict[str, Arm]) -> Tables:
    measured: list[tuple[Any, ...]] = []
    course: list[tuple[Any, ...]] = []
    for (name, arm), seed in ((item, seed) for item in arms.items() for seed in range(SEEDS)):
        factors, wobble = list(WORLDS[arm.world].FACTORS), 0.001 * seed
        for step in ([0] if arm.kept else []) + [300]:
            row = (name, seed, step)
            for factor in factors:
                for depth in ("backbone", "embedding") if arm.labels else DEPTHS:
                    skill = _skill_of(arm, "probe", depth, step, factor)
                    measured.append((*row, "probe", depth, factor, _at(factor, skill) + wobble))
                measured.append((*row, "shuffled", "embedding", factor, _chance(factor)))
                zero_shot = _skill_of(arm, "zero_shot", "embedding", step, factor)
                measured.append((*row, "zero_shot", "embedding", factor, _at(factor, zero_shot)))
                measured.append((*row, "d_prime", "embedding", factor, 1.0 + seed))
                for depth in ("embedding", "span"):
                    measured.append((*row, "variance", depth, factor, 0.6 if factor == "object" and step else 0.1))
                    away = 0.2 + 0.4 * ("background" in arm.policy) + 0.1 * (arm.tower == "vit") + wobble
                    measured.append((*row, "moved", depth, factor, away))
            measured.append((*row, "rank", "span", "", 24.0))
            for where, skill in (("here", 60.0), ("elsewhere", 57.0 if step else 30.0)):
                measured.append((*row, f"head_{where}", "embedding", "object", _at("object", skill)))
        if name in caption_reading.FOLLOWED:
            for step in (0, 100, 300):
                for line, start, end in (("caption", 0.1, 0.7), ("background", 0.9, 0.3), ("nothing", 0.0, 0.1),
                                         ("all but the caption", 0.9, 0.4)):  # fmt: skip
                    less = 0.2 if arm.labels and line == "caption" else 0.0
                    value = start + (end - less - start) * step / 300
                    course.append((name, seed, step, "cosine", "embedding", line, value))
                for factor in factors:
                    for metric, depth in (("probe", "embedding"), ("probe", "span"), ("zero_shot", "embedding")):
                        skill = _skill_of(arm, metric, depth, step, factor)
                        course.append((name, seed, step, metric, depth, factor, _at(factor, skill)))
    raw = [("pixels", s, 0, "probe", "pixels", f, _at(f, 30.0)) for s in range(SEEDS) for f in FACTORS]
    raw += [("pixels", s, 0, f"head_{w}", "pixels", "object", _at("object", v)) for s in range(SEEDS)
            for w, v in (("here", 20.0), ("elsewhere", 5.0))]  # fmt: skip
    columns = ["arm", "seed", "step", "metric", "depth", "factor", "value"]
    first, second, third = (pd.DataFrame(rows, columns=columns) for rows in (measured, course, raw))
    return first, second, third


@pytest.fixture(scope="module", params=["quick", "full"])
def made_up(request: pytest.FixtureRequest) -> tuple[str, Tables]:
    return request.param, _made_up(ARMS[request.param])


@pytest.fixture(scope="module")
def whole() -> Tables:
    return _made_up(FULL)


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
        "c14_left_span_untrained": 90.0,
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
        "c18_probe_at_10": 26.0,  # a tenth of the way from 20 to 80
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
    named = {row.name for row in values(*_made_up(QUICK))}
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
        (arm, seed, 300, "moved", "embedding", "background", 0.3 * policy + 0.1 * tower)
        for (policy, tower, _), arm in FACTORIAL.items()
        for seed in range(SEEDS)
    ]
    table = pd.DataFrame(rows, columns=["arm", "seed", "step", "metric", "depth", "factor", "value"])
    shares = variance_shares(table, "moved")
    expected = {"captions": 90.0, "architecture": 10.0, "augmentation": 0.0, "interactions": 0.0}
    assert all(shares.loc[seed].to_dict() == pytest.approx(expected, abs=1e-6) for seed in range(SEEDS))
    crossed = table.assign(value=[float(p and t) for p, t, _ in FACTORIAL for _ in range(SEEDS)])
    assert variance_shares(crossed, "moved").loc[0].to_dict() == pytest.approx(
        {"captions": 100 / 3, "architecture": 100 / 3, "augmentation": 0.0, "interactions": 100 / 3}, abs=1e-6
    )
    assert (variance_shares(table.assign(value=1.0), "moved") == 0).all(axis=None)


def test_the_matrix_knows_what_captions_mention(whole: Tables) -> None:
    matrix = caption_policies.matrix_table(whole[0], whole[2])
    mentioned = matrix[(matrix["depth"] == "zero-shot") & matrix["mentioned"]]
    assert {tuple(cell) for cell in mentioned[["row", "factor"]].to_numpy()} == {
        (arm, factor) for arm, named in caption_policies.POLICIES.items() for factor in named
    }
    assert mentioned["skill"].to_list() == pytest.approx([80.0] * len(mentioned))
    assert matrix[matrix["row"] == "shuffled labels"]["skill"].abs().max() < 1e-6


FIGURES = {
    "decodability_matrix": lambda m, c, p: caption_policies.matrix_table(m, p),
    "dose_response": lambda m, c, p: caption_policies.dose_table(m, p),
    "controls": lambda m, c, p: caption_policies.control_table(m),
    "time_course": lambda m, c, p: caption_policies.course_table(c),
    "same_point": lambda m, c, p: caption_policies.point_table(m),
    "moved_by_factor": lambda m, c, p: caption_policies.moved_table(m),
    "heads_by_place": lambda m, c, p: caption_policies.head_table(m, p),
    "scale": lambda m, c, p: caption_policies.scale_table(m),
    "factorial": lambda m, c, p: caption_policies.factorial_table(m),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_draw_what_a_profile_has_and_say_so(name: str, made_up: tuple[str, Tables]) -> None:
    profile, tables = made_up
    table = FIGURES[name](*tables)
    with style("light"):
        figure = getattr(draw, name)(table)
    texts = [text.get_text() for ax in figure.axes for text in ax.texts]
    plt.close(figure)
    missing = profile == "quick" and name in ("scale", "factorial")
    assert (draw.NOT_RUN in texts) == missing
    assert len(getattr(draw, f"describe_{name}")(table)) > 40 or missing


def test_every_number_names_a_figure_of_the_notebook(numbers: list[NamedValue]) -> None:
    assert {row.figure for row in numbers} <= {*FIGURES, "trifeature"}


def test_example_captions_belong_to_their_pictures() -> None:
    examples = caption_policies.examples()
    for _, row in examples.iterrows():
        wordings = scenes.WORDS.phrases["object"][scenes.FACTORS["object"].index(row["factor_object"])]
        assert any(noun in row["object"] for noun in wordings)
        assert any(noun in row["everything"] for noun in wordings)
    with style("dark"):
        figure = draw.example_scenes(examples)
    assert len(figure.axes) == len(examples)
    plt.close(figure)


def test_the_trifeature_table_sets_the_paper_beside_us(
    whole: Tables,
) -> None:
    table = caption_policies.trifeature_table(whole[0]).set_index(["captions name", "asked for"])
    assert table.loc[("shape", "shape"), "CoMM"] == 100.0
    assert table.loc[("shape", "colour and texture"), "CoMM"] == 11.6
    assert table.loc[("shape", "shape"), "embedding"] == pytest.approx(82.0, abs=0.5)  # skill 80 of ten values
    assert table.loc[("shape, three times the steps", "colour and texture"), "CoMM"] == 11.6
    assert len(table) == 8
