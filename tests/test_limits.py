"""Chapter 6's experiments: captions and pictures are what they say, and the numbers mean what their names say."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from clip_invariance.chapters.c6_limits import figures as draw
from clip_invariance.chapters.c6_limits import limits
from clip_invariance.chapters.c6_limits import measures as measures
from clip_invariance.chapters.c6_limits import training as limits_training
from clip_invariance.chapters.c6_limits.training import (
    ARMS,
    CARD_ARMS,
    PROFILE_ARMS,
    TASKS,
    Arm,
    CardArm,
    train_unit,
    train_units,
    training_scenes,
    usual_background,
    width,
)
from clip_invariance.errors import UsageError
from clip_invariance.marks.style import style
from clip_invariance.measure.statistics import Estimate
from clip_invariance.models import clip
from clip_invariance.profiles import PROFILES
from clip_invariance.rules.claims import load_claims
from clip_invariance.worlds import collages

SMOKE, QUICK = PROFILES["smoke"], PROFILES["quick"]
TABLES = ("table", "of_cards", "pixels")


def invented(profile: str, seeds: int = 3) -> dict[str, pd.DataFrame]:
    """Tables with the rows that a run of a profile gives, and invented numbers."""
    generator = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    cards: list[dict[str, Any]] = []
    pixels: list[dict[str, Any]] = []

    def add(to: list[dict[str, Any]], arm: str, measure: str, group: str, metrics: Any, level: float) -> None:
        for metric in metrics:
            for seed in range(seeds):
                value = float(np.clip(level + 0.02 * generator.standard_normal(), 0, 1))
                to.append(
                    {"arm": arm, "seed": seed, "measure": measure, "group": group, "metric": metric, "value": value}
                )

    asked = (*measures.ASKED, measures.LOOKALIKE)
    for arm in PROFILE_ARMS[profile]:
        if arm in CARD_ARMS:
            setting = CARD_ARMS[arm]
            groups = ["embedding", "backbone"]
            if setting.objective == "captions" and setting.trained:
                groups += ["words", "words for the card"]
            for group in groups:
                add(cards, arm, "cards", group, limits.HANDS, 0.6)
            continue
        for ask in measures.asked_of(arm):
            name = ask.__name__
            if name == "words":
                add(rows, arm, "words", "words", asked, 0.7)
            elif name == "probes":
                for depth in ("backbone", "embedding", "span", "shuffled"):
                    add(rows, arm, "probe", depth, asked, 0.8)
            elif name == "surroundings":
                for background in ("usual", "other"):
                    add(rows, arm, name, background, ("right",), 0.9 - 0.4 * ARMS[arm].together)
                add(rows, arm, name, "other", ("lured",), 0.6)
                add(rows, arm, name, "bare", ("fits",), 0.5)
            elif name == "looks":
                add(rows, arm, name, "whole", ("right",), 0.95)
                for layer in ("look", "parts"):
                    add(rows, arm, name, layer, ("right", "legible"), 0.5)
                add(rows, arm, name, "conflict", ("look", "parts"), 0.3)
            elif name == "search":
                for query in measures.QUERIES:
                    for k in measures.RECALLS:
                        add(rows, arm, name, query, (f"recall_{k}", f"chance_{k}"), min(1.0, 0.2 + 0.01 * k))
            elif name == "filtering":
                for damage in ("grain", "blur"):
                    add(rows, arm, name, damage, ("ranked",), 0.8)
    add(pixels, "", "probe", "pixels", asked, 0.6)
    for group in ("pixels", "bare"):
        add(pixels, "", "cards", group, limits.HANDS, 0.7)
    return {
        "table": pd.DataFrame(rows),
        "of_cards": pd.DataFrame(cards),
        "pixels": pd.DataFrame(pixels).drop(columns="arm"),
    }


@pytest.fixture(scope="module")
def standard() -> dict[str, pd.DataFrame]:
    return invented("standard")


@pytest.fixture(scope="module")
def quick() -> dict[str, pd.DataFrame]:
    return invented("quick")


# ---------------------------------------------------------------- arms and captions


def said(arm: Arm, n: int = 2000) -> list[str]:
    labels = collages.columns(collages.sample(n, 0))
    return arm.policy().sample(collages.WORDS, labels, 0).strings()


def test_plain_captions_name_the_thing_and_nothing_else() -> None:
    assert set(said(ARMS["plain"])) == {f"a {name}".replace("a e", "an e") for name in collages.FACTORS["object"]}


def test_coarse_captions_name_group_and_quality() -> None:
    texts = set(said(ARMS["coarse"]))
    assert texts == {f"a {q} picture of a {g}" for q in collages.FACTORS["quality"] for g in collages.GROUPS}


@pytest.mark.parametrize("share", [0.05, 0.2, 1.0])
def test_details_are_listed_in_that_share_of_captions(share: float) -> None:
    texts = said(ARMS[limits.listed(share)])
    assert np.mean([" with " in text for text in texts]) == pytest.approx(share, abs=0.02)


def test_detailed_captions_alone_are_those_of_as_many_pictures_and_of_no_others() -> None:
    arm = ARMS["details_005_alone"]
    assert arm.kept(8000) == 400
    assert all(" with " in text for text in said(arm, 400))
    assert ARMS["details_005"].kept(8000) == ARMS["plain"].kept(8000) == 8000
    assert ARMS["cleaned_040"].kept(8000) == 4800


def test_details_alone_in_fewer_steps_are_shown_as_often_as_among_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    def stop(*_: object, steps: int, **__: object) -> None:
        taken.append(steps)
        raise InterruptedError

    monkeypatch.setattr(limits_training.encoders, "train", stop)
    for name in ("details_005", "details_005_alone", "details_005_alone_brief"):
        with pytest.raises(InterruptedError):
            limits_training.train(**asdict(ARMS[name]), images=200, steps=300, seed=0, device="cpu")
    assert taken == [300, 300, 15]


def test_a_frozen_text_tower_knows_words_that_no_caption_used() -> None:
    texts = ["a taxi with one lemon", "a taxi with a single lemon", "a taxi with four lemons"]
    spoken = measures.say(clip.create("conv", size=collages.SIZE), "frozen", texts)
    assert spoken.shape == (3, width("frozen"))
    assert spoken[0] @ spoken[1] > spoken[0] @ spoken[2]


def test_corrupted_captions_have_their_rate_and_cleaned_ones_none() -> None:
    clean = set(said(ARMS["plain"]))
    for name, rate in (("all_020", 0.2), ("stuffed_040", 0.4), ("nounless_080", 0.8), ("cleaned_040", 0.0)):
        texts = said(ARMS[name])
        assert np.mean([text not in clean for text in texts]) == pytest.approx(rate, abs=0.03), name


@pytest.mark.parametrize("together", [0.0, 0.5, 1.0])
def test_things_and_backgrounds_go_together_as_often_as_asked(together: float) -> None:
    drawn = training_scenes(4000, 1, together)
    usual = drawn.labels["background"] == usual_background(drawn.labels["object"])
    assert usual.double().mean() == pytest.approx(together + (1 - together) / 4, abs=0.025)
    free = training_scenes(4000, 1, 0.0)
    assert all(torch.equal(free.labels[name], drawn.labels[name]) for name in ("object", "part", "count", "quality"))


def test_look_alikes_have_different_usual_backgrounds() -> None:
    backgrounds = usual_background(torch.arange(12)).reshape(3, 4)
    assert all(set(row) == {0, 1, 2, 3} for row in backgrounds.tolist())


def test_every_profile_trains_the_same_arms_or_fewer_at_the_same_length() -> None:
    assert set(PROFILE_ARMS["quick"]) <= set(PROFILE_ARMS["smoke"]) <= set(PROFILE_ARMS["standard"])
    for name in PROFILE_ARMS["quick"]:
        assert train_unit(name, QUICK, 0, "cpu").params == train_unit(name, PROFILES["standard"], 0, "cpu").params
    assert len(train_units(SMOKE, 2, "cpu")) == 2 * len(PROFILE_ARMS["smoke"])


def test_bad_input_is_named() -> None:
    with pytest.raises(UsageError, match="unknown noise 'rude'"):
        Arm(noise="rude")
    with pytest.raises(UsageError, match="together is 2"):
        Arm(together=2)
    with pytest.raises(UsageError, match="arm cards_both is not trained in the profile quick"):
        train_unit("cards_both", QUICK, 0, "cpu")


# ---------------------------------------------------------------- questions


def test_prompts_are_in_the_words_of_the_arms_own_captions() -> None:
    assert measures.questions(ARMS["plain"], "object")[1] == ["a taxi"]
    parts = measures.questions(ARMS["plain"], "part")
    assert "a taxi with three lemons" in parts[1]
    assert all(("lemon" in text) == (value == 1) for value, texts in enumerate(parts) for text in texts)
    counts = measures.questions(ARMS["details_100"], "count")
    assert all(" three " in text for text in counts[2])
    assert len(counts[2]) == 12 * 4
    assert set(measures.questions(ARMS["coarse"], "quality")[0]) == {
        f"a sharp picture of a {g}" for g in collages.GROUPS
    }
    assert "a grainy picture of a taxi" in measures.questions(ARMS["coarse"], "object")[1]
    named = measures.questions(ARMS["details_100"], "object")
    assert len(named) == 12
    assert all("a taxi with" in text for text in named[1])


@pytest.mark.parametrize("arm", [name for name, arm in ARMS.items() if arm.objective == "captions" and arm.trained])
def test_whatever_captions_always_say_the_prompts_say_too(arm: str) -> None:
    setting = ARMS[arm]
    if setting.noise and not setting.cleaned:
        return
    asked = {text for factor in measures.ASKED for texts in measures.questions(setting, factor) for text in texts}
    spoken = [text for text in said(setting, 300) if setting.details in (0, 1) or " with " not in text]
    assert set(spoken) <= asked


def test_card_prompts_are_in_the_words_of_their_captions() -> None:
    assert measures.card_questions(CardArm("digit"), "digit")[7] == ["the number seven"]
    assert measures.card_questions(CardArm("card"), "card")[0] == ["a number on a blue card"]
    assert len(measures.card_questions(CardArm("both"), "digit")[7]) == 4


def test_among_look_alikes_only_the_right_group_can_be_answered() -> None:
    objects = torch.tensor([0, 5, 11])
    scores = torch.zeros(3, 12)
    scores[0, 4] = 1  # a flower, but the picture shows a car: not allowed
    scores[torch.arange(3), objects] = 0.5
    assert measures.among_lookalikes(scores, objects) == 1
    assert measures.accuracy(scores, objects) == pytest.approx(2 / 3)


def test_misleading_looks_come_from_every_other_group() -> None:
    scenes = collages.sample(4000, 3)
    other = measures.misleading(scenes)
    own = scenes.labels["object"] // collages.PER_GROUP
    assert not (other // collages.PER_GROUP == own).any()
    assert set(other[own == 0].tolist()) == set(range(4, 12))


def test_recall_of_random_pictures_is_a_hypergeometric_probability() -> None:
    wanted = torch.zeros(2, 10, dtype=torch.bool)
    wanted[0, :5] = True
    wanted[1, 0] = True
    assert measures._random_recall(wanted, 1) == pytest.approx((0.5 + 0.1) / 2)
    assert measures._random_recall(wanted, 10) == 1


def test_ranking_counts_pairs_and_half_of_the_ties() -> None:
    better, worse = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 2.0])
    assert measures.ranked_right(better, worse) == pytest.approx((1 + 1.5 + 2) / 6)
    assert measures.ranked_right(worse, worse) == 0.5


def test_queries_and_answers_are_in_one_order() -> None:
    labels = collages.columns(collages.sample(300, 4))
    for group in measures.QUERIES:
        texts, answers = measures.queries(group), measures._answers(labels, group)
        assert answers.shape == (len(texts), 300)
        assert (answers.sum(0) == 1).all()
    picture = int((labels["object"] == 1).nonzero()[0])
    text = measures.queries("all")[int(measures._answers(labels, "all")[:, picture].nonzero())]
    assert text.startswith("a taxi with")
    part = collages.FACTORS["part"][int(labels["part"][picture])]
    assert part in text
    assert collages.FACTORS["count"][int(labels["count"][picture])] in text


@pytest.mark.parametrize(
    "arm", ["plain", "labels", "together_090_thing", "details_005_alone", "frozen", "cards_silent"]
)
def test_a_trained_encoder_answers_everything_it_is_asked(arm: str) -> None:
    torch.set_num_threads(1)
    unit = next(
        unit
        for unit in (*limits.units(SMOKE, 1, "cpu"), *limits.card_units(SMOKE, 1, "cpu"))
        if unit.params["arm"] == arm
    )
    need = unit.needs["encoder"]
    table = unit.function(**{**unit.params, "tests": 60}, encoder=need.function(**need.params))
    assert table["value"].between(0, 1).all()
    assert not table.duplicated(["measure", "group", "metric"]).any()
    if arm == "plain":
        assert set(table["measure"]) == {"words", "probe", "surroundings", "looks", "search", "filtering"}
        assert {"backbone", "embedding", "span", "shuffled"} <= set(table["group"])


# ---------------------------------------------------------------- numbers and rules


def test_every_rule_of_the_chapter_names_a_value_that_is_measured(
    standard: dict[str, pd.DataFrame], quick: dict[str, pd.DataFrame]
) -> None:
    named = limits.values(*(invented("smoke")[name] for name in TABLES))
    assert all(isinstance(row.estimate, Estimate) and row.description for row in named)
    assert len({row.name for row in named}) == len(named)
    rules = [c for claim in load_claims() if claim.chapter == "06" for c in claim.conditions]
    assert rules
    assert {c.value for c in rules} <= {f"06.{row.name}" for row in named}
    assert {row.name for row in named} <= {row.name for row in limits.values(*(standard[name] for name in TABLES))}
    fewer = {f"06.{row.name}" for row in limits.values(*(quick[name] for name in TABLES))}
    assert {c.value for c in rules if c.role == "essential"} <= fewer


def set_value(table: pd.DataFrame, value: float, **keys: str) -> None:
    chosen = np.logical_and.reduce([table[name] == wanted for name, wanted in keys.items()])
    assert chosen.any(), keys
    table.loc[chosen, "value"] = value


def test_known_answers_reach_the_values(standard: dict[str, pd.DataFrame]) -> None:
    table, of_cards, pixels = (standard[name].copy() for name in TABLES)
    words = {"measure": "words", "metric": "part"}
    for arm, value in (("plain", 0.25), ("details_005", 0.4), ("details_100", 0.85)):
        set_value(table, value, arm=arm, **words)
    for arm, value in (("plain", 0.97), ("details_100", 0.7)):
        set_value(table, value, arm=arm, measure="words", metric="object" if arm == "plain" else "count")
    for task in TASKS:
        set_value(table, 1.0, arm="labels", measure="probe", group="embedding", metric=task)
    set_value(table, 0.55, arm="all_040", measure="words", metric="object")
    set_value(table, 0.9, arm="plain", measure="surroundings", group="other", metric="right")
    set_value(table, 0.3, arm="together_090", measure="surroundings", group="other", metric="right")
    for picture, value in (("whole", 1.0), ("look", 0.625), ("parts", 0.25)):
        set_value(table, value, arm="plain", measure="looks", group=picture, metric="right")
    set_value(table, 0.5, arm="plain", measure="looks", group="conflict", metric="look")
    set_value(table, 0.2, arm="plain", measure="looks", group="conflict", metric="parts")
    set_value(of_cards, 0.4, arm="cards_silent", group="embedding", metric="handwritten")
    set_value(pixels, 0.75, measure="cards", group="pixels", metric="handwritten")
    named = {row.name: row.estimate.value for row in limits.values(table, of_cards, pixels)}
    expected = {
        "c40_recovered_5": 25,
        "c40_gain_5": 15,
        "c35_gap_named": (3 + 15 + 30) / 3,
        "c39_loss_40": 42,
        "c41_drop": 60,
        "c42_kept": 100 * (0.625 - 1 / 12) / (11 / 12),
        "c42_follows_look": 30,
        "c38_probe_gap": -35,
    }
    for name, value in expected.items():
        assert named[name] == pytest.approx(value), name


def test_groups_and_look_alikes_are_compared_above_their_own_chance(standard: dict[str, pd.DataFrame]) -> None:
    table = standard["table"].copy()
    set_value(table, 1 / 3, arm="coarse", measure="words", metric="group")
    set_value(table, 1 / 4, arm="coarse", measure="words", metric="lookalike")
    named = {row.name: row.estimate.value for row in limits.values(table, standard["of_cards"], standard["pixels"])}
    assert named["c36_gap_words"] == pytest.approx(0, abs=1e-9)


FIGURES: dict[str, tuple[Any, Any, Any]] = {
    "words_and_labels": (limits.tasks_table, ("table", "pixels"), draw.words_and_labels),
    "fine_and_coarse": (limits.fine_table, ("table", "pixels"), draw.fine_and_coarse),
    "counting": (limits.count_table, ("table", "pixels"), draw.counting),
    "digits": (limits.digit_table, ("of_cards", "pixels"), draw.digits),
    "noise": (limits.noise_table, ("table",), draw.noise),
    "rare_details": (limits.details_table, ("table",), draw.rare_details),
    "surroundings": (limits.surroundings_table, ("table",), draw.surroundings),
    "search": (limits.search_table, ("table",), draw.search),
    "filtering": (limits.filtering_table, ("table",), draw.filtering),
}


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("profile", ["quick", "standard"])
def test_figures_draw_and_describe_any_profile(name: str, profile: str, request: pytest.FixtureRequest) -> None:
    tables = request.getfixturevalue(profile)
    make, needs, figure_of = FIGURES[name]
    rows = make(*(tables[need] for need in needs))
    assert rows["value"].between(-100, 101).all()
    with style("dark"):
        figure = figure_of(rows)
    assert len(getattr(draw, f"describe_{name}")(rows)) > 60
    plt.close(figure)


def test_pictures_are_drawn_from_what_is_saved(quick: dict[str, pd.DataFrame]) -> None:
    gallery = limits.gallery()
    looks = pd.concat([limits.looks_gallery(), limits.looks_table(quick["table"])], ignore_index=True)
    with style("light"):
        figures = [draw.pictures(gallery), draw.look_and_parts(looks)]
    assert "tomatoes" in draw.describe_pictures(gallery)
    assert "outlines" in draw.describe_look_and_parts(looks)
    for figure in figures:
        plt.close(figure)
