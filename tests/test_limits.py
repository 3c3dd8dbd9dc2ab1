"""Chapter 6's experiments: captions and pictures are what they say, and the numbers mean what their names say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from clip_invariance.chapters.c6_limits import asking, figures, gallery, measures, numbers, tables
from clip_invariance.chapters.c6_limits import training as limits_training
from clip_invariance.chapters.c6_limits.arms import (
    ARMS,
    CARDS_BOTH,
    CARDS_SILENT,
    CARDS_UNTRAINED,
    CLEANED,
    COARSE,
    DETAILED,
    FROZEN,
    LABELS,
    NOISY,
    PLAIN,
    RARE,
    TIED,
    TIED_LABELS,
    TIED_THING,
    UNTRAINED,
    Arm,
    CardArm,
    Size,
    arms,
    listed,
    noisy,
)
from clip_invariance.chapters.c6_limits.asking import LOOKALIKE
from clip_invariance.chapters.c6_limits.training import TASKS, training_scenes, usual_background, width
from clip_invariance.chapters.c6_limits.units import all_units, train_unit
from clip_invariance.errors import UsageError
from clip_invariance.marks.spec import FigureSpec
from clip_invariance.marks.style import style
from clip_invariance.measure.statistics import Estimate
from clip_invariance.measure.tables import Row, row, rows, select
from clip_invariance.models import clip
from clip_invariance.profiles import PROFILES
from clip_invariance.rules.claims import load_claims
from clip_invariance.units import label
from clip_invariance.worlds import cards, collages

SMOKE, QUICK = PROFILES["smoke"], PROFILES["quick"]
HANDS = cards.FACTORS["hand"]


def answered(arm: Arm | CardArm | None) -> list[tuple[Row, float]]:
    """The rows that an arm's measures give, or those of raw pixels, with a level for each."""
    factors = dict.fromkeys((*asking.ASKED, LOOKALIKE), 0.0)
    by_hand = [row("probe", 0, depth=depth, factor="digit", pictures=hand)
               for depth in (("embedding", "backbone") if arm else ("pixels",)) for hand in HANDS]  # fmt: skip
    if arm is None:
        return [(one, 0.6) for one in (*rows("probe", factors, depth="pixels"), *by_hand)]
    if isinstance(arm, CardArm):
        captioned = arm.objective == "captions" and arm.trained
        words = [row("words", 0, factor=factor, pictures=hand) for factor in ("digit", "card") for hand in HANDS]
        return [(one, 0.6) for one in (*by_hand, *(words if captioned else ()))]
    layers = ("look", "parts")
    found: dict[str, list[tuple[Row, float]]] = {
        "words": [(one, 0.7) for one in rows("words", factors)],
        "probes": [
            *((one, 0.8) for depth in ("backbone", "embedding", "span") for one in rows("probe", factors, depth=depth)),
            *((one, 0.8) for one in rows("shuffled", factors, depth="embedding")),
        ],
        "surroundings": [
            *((row("right", 0, pictures=name), 0.9 - 0.4 * arm.together) for name in ("usual", "other")),
            *((row("lured", 0, pictures="other"), 0.6), (row("fits", 0, pictures="bare"), 0.5)),
        ],
        "looks": [
            (row("right", 0, pictures="whole"), 0.95),
            *((row(metric, 0, pictures=layer), 0.5) for layer in layers for metric in ("right", "legible")),
            *((row(metric, 0, pictures="conflict"), 0.3) for metric in ("as_look", "as_parts")),
        ],
        "search": [
            (row(f"{metric}_{k}", 0, factor=query), min(1.0, 0.2 + 0.01 * k))
            for query in asking.QUERIES
            for k in measures.RECALLS
            for metric in ("recall", "chance")
        ],
        "filtering": [(row("ranked", 0, factor="quality", pictures=damage), 0.8) for damage in ("grain", "blur")],
    }
    return [one for ask in measures.asked_of(arm) for one in found[ask.__name__]]


def invented(profile: str, seeds: int = 3) -> pd.DataFrame:
    """A table with the rows that a run of a profile gives, and invented numbers."""
    generator = np.random.default_rng(0)
    return pd.DataFrame(
        [
            {
                **({"arm": label(arm)} if arm else {}),
                "seed": seed,
                **one,
                "value": float(np.clip(level + 0.02 * generator.standard_normal(), 0, 1)),
            }
            for arm in (*arms(PROFILES[profile]), None)
            for one, level in answered(arm)
            for seed in range(seeds)
        ]
    )


@pytest.fixture(scope="module")
def standard() -> pd.DataFrame:
    return invented("standard")


@pytest.fixture(scope="module")
def quick() -> pd.DataFrame:
    return invented("quick")


# ---------------------------------------------------------------- arms and captions


def said(arm: Arm, n: int = 2000) -> list[str]:
    labels = collages.columns(collages.sample(n, 0))
    return arm.policy().sample(collages.WORDS, labels, 0).strings()


def test_plain_captions_name_the_thing_and_nothing_else() -> None:
    assert set(said(PLAIN)) == {f"a {name}".replace("a e", "an e") for name in collages.FACTORS["object"]}


def test_coarse_captions_name_group_and_quality() -> None:
    texts = set(said(COARSE))
    assert texts == {f"a {q} picture of a {g}" for q in collages.FACTORS["quality"] for g in collages.GROUPS}


@pytest.mark.parametrize("share", [0.05, 0.2, 1.0])
def test_details_are_listed_in_that_share_of_captions(share: float) -> None:
    texts = said(listed(share))
    assert np.mean([" with " in text for text in texts]) == pytest.approx(share, abs=0.02)


def test_detailed_captions_alone_are_those_of_as_many_pictures_and_of_no_others() -> None:
    arm, size = listed(0.05, alone=True), Size(images=8000, steps=300)
    assert arm.images(size) == 400
    assert all(" with " in text for text in said(arm, 400))
    assert RARE.images(size) == PLAIN.images(size) == 8000
    assert CLEANED.images(size) == 4800


def test_details_alone_in_fewer_steps_are_shown_as_often_as_among_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    def stop(*_: object, steps: int, **__: object) -> None:
        taken.append(steps)
        raise InterruptedError

    monkeypatch.setattr(limits_training.encoders, "train", stop)
    for arm in (RARE, listed(0.05, alone=True), listed(0.05, alone=True, brief=True), UNTRAINED):
        with pytest.raises(InterruptedError):
            limits_training.train(arm=arm, scale=Size(images=200, steps=300), seed=0, device="cpu")
    assert taken == [300, 300, 15, 0]


def test_a_frozen_text_tower_knows_words_that_no_caption_used() -> None:
    texts = ["a taxi with one lemon", "a taxi with a single lemon", "a taxi with four lemons"]
    spoken = asking.encode_texts(clip.create("conv", size=collages.SIZE), "frozen", texts)
    assert spoken.shape == (3, width("frozen"))
    assert spoken[0] @ spoken[1] > spoken[0] @ spoken[2]


def test_corrupted_captions_have_their_rate_and_cleaned_ones_none() -> None:
    clean = set(said(PLAIN))
    noises = [(noisy(kind, rate), rate) for kind, rate in (("all", 0.2), ("stuffed", 0.4), ("nounless", 0.8))]
    for arm, rate in (*noises, (CLEANED, 0.0)):
        texts = said(arm)
        assert np.mean([text not in clean for text in texts]) == pytest.approx(rate, abs=0.03), label(arm)


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
    assert set(arms(QUICK)) <= set(arms(SMOKE)) <= set(arms(PROFILES["standard"]))
    for arm in arms(QUICK):
        assert train_unit(arm, QUICK, 0, "cpu").params == train_unit(arm, PROFILES["standard"], 0, "cpu").params
    units = all_units(SMOKE, 2, "cpu")
    trained = [need for unit in units for need in unit.needs.values()]
    assert len(trained) == 2 * len(arms(SMOKE)) == 2 * len(set(arms(SMOKE)))
    assert [unit.params["seed"] for unit in units] == sorted(unit.params["seed"] for unit in units)


def test_bad_input_is_named() -> None:
    with pytest.raises(UsageError, match="unknown noise 'rude'"):
        Arm(noise="rude")
    with pytest.raises(UsageError, match="together is 2"):
        Arm(together=2)
    with pytest.raises(UsageError, match=r"CardArm\(names='both'\) is not trained in the profile quick"):
        train_unit(CARDS_BOTH, QUICK, 0, "cpu")


# ---------------------------------------------------------------- questions


def test_prompts_are_in_the_words_of_the_arms_own_captions() -> None:
    assert asking.questions(PLAIN, "object")[1] == ["a taxi"]
    parts = asking.questions(PLAIN, "part")
    assert "a taxi with three lemons" in parts[1]
    assert all(("lemon" in text) == (value == 1) for value, texts in enumerate(parts) for text in texts)
    counts = asking.questions(DETAILED, "count")
    assert all(" three " in text for text in counts[2])
    assert len(counts[2]) == 12 * 4
    assert set(asking.questions(COARSE, "quality")[0]) == {f"a sharp picture of a {g}" for g in collages.GROUPS}
    assert "a grainy picture of a taxi" in asking.questions(COARSE, "object")[1]
    named = asking.questions(DETAILED, "object")
    assert len(named) == 12
    assert all("a taxi with" in text for text in named[1])


@pytest.mark.parametrize(
    "arm",
    [arm for arm in ARMS if arm.objective == "captions" and arm.trained and (not arm.noise or arm.cleaned)],
    ids=label,
)
def test_whatever_captions_always_say_the_prompts_say_too(arm: Arm) -> None:
    asked = {text for factor in asking.ASKED for texts in asking.questions(arm, factor) for text in texts}
    spoken = [text for text in said(arm, 300) if arm.details in (0, 1) or " with " not in text]
    assert set(spoken) <= asked


def test_card_prompts_are_in_the_words_of_their_captions() -> None:
    assert asking.card_questions(CardArm("digit"), "digit")[7] == ["the number seven"]
    assert asking.card_questions(CardArm("card"), "card")[0] == ["a number on a blue card"]
    assert len(asking.card_questions(CardArm("both"), "digit")[7]) == 4


def test_among_look_alikes_only_the_right_group_can_be_answered() -> None:
    objects = torch.tensor([0, 5, 11])
    scores = torch.zeros(3, 12)
    scores[0, 4] = 1  # a flower, but the picture shows a car: not allowed
    scores[torch.arange(3), objects] = 0.5
    assert asking.among_lookalikes(scores, objects) == 1
    assert asking.accuracy(scores, objects) == pytest.approx(2 / 3)


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
    for group in asking.QUERIES:
        texts, answers = asking.queries(group), measures._answers(labels, group)
        assert answers.shape == (len(texts), 300)
        assert (answers.sum(0) == 1).all()
    picture = int((labels["object"] == 1).nonzero()[0])
    text = asking.queries("all")[int(measures._answers(labels, "all")[:, picture].nonzero())]
    assert text.startswith("a taxi with")
    part = collages.FACTORS["part"][int(labels["part"][picture])]
    assert part in text
    assert collages.FACTORS["count"][int(labels["count"][picture])] in text


@pytest.mark.parametrize(
    "arm", [PLAIN, LABELS, TIED_THING, listed(0.05, alone=True), FROZEN, CARDS_SILENT, CARDS_UNTRAINED], ids=label
)
def test_a_trained_encoder_answers_everything_it_is_asked(arm: Arm | CardArm) -> None:
    torch.set_num_threads(1)
    unit = next(unit for unit in all_units(SMOKE, 1, "cpu") if unit.params.get("arm") == arm)
    need = unit.needs["encoder"]
    table = unit.function(**{**unit.params, "tests": 60}, encoder=need.function(**need.params))
    assert table["value"].between(0, 1).all()
    # What was asked is what the tables below, and so the numbers, are invented for.
    columns = [name for name in table.columns if name not in ("value", "labels", "factor")]
    expected = pd.DataFrame([one for one, _ in answered(arm)]).reindex(columns=columns)
    depths = {"span"} if isinstance(arm, Arm) and arm.objective != "captions" else set()
    assert set(map(str, table[columns].itertuples(index=False))) == {
        str(one) for one in expected.itertuples(index=False) if one.depth not in depths
    }
    assert not table.duplicated([name for name in table.columns if name != "value"]).any()


def test_pixels_are_asked_what_encoders_are() -> None:
    table = measures.measure_pixels(tests=60, seed=0, device="cpu")
    assert table["value"].between(0, 1).all()
    assert set(table["factor"]) == {*asking.ASKED, LOOKALIKE, "digit"}
    assert set(table["depth"]) == {"pixels"}


# ---------------------------------------------------------------- numbers and rules


def test_every_rule_of_the_chapter_names_a_value_that_is_measured(standard: pd.DataFrame, quick: pd.DataFrame) -> None:
    named = numbers.values(invented("smoke"))
    assert all(isinstance(value.estimate, Estimate) and value.description for value in named)
    assert len({value.name for value in named}) == len(named)
    rules = [c for claim in load_claims() if claim.chapter == "06" for c in claim.conditions]
    assert rules
    assert {c.value for c in rules} <= {f"06.{value.name}" for value in named}
    assert {value.name for value in named} <= {value.name for value in numbers.values(standard)}
    fewer = {f"06.{value.name}" for value in numbers.values(quick)}
    assert {c.value for c in rules if c.role == "essential"} <= fewer


def with_value(table: pd.DataFrame, value: float, **where: object) -> pd.DataFrame:
    """The table with another value in the rows that agree with ``where``."""
    chosen = select(table, **where).index
    assert len(chosen), where
    return table.assign(value=table["value"].where(~table.index.isin(chosen), value))


def test_known_answers_reach_the_values(standard: pd.DataFrame) -> None:
    by_hand: dict[str, object] = {"depth": "embedding", "factor": "digit", "pictures": "handwritten"}
    known: list[tuple[float, dict[str, object]]] = [
        (0.25, {"arm": PLAIN, "metric": "words", "factor": "part"}),
        (0.4, {"arm": RARE, "metric": "words", "factor": "part"}),
        (0.85, {"arm": DETAILED, "metric": "words", "factor": "part"}),
        (0.97, {"arm": PLAIN, "metric": "words", "factor": "object"}),
        (0.7, {"arm": DETAILED, "metric": "words", "factor": "count"}),
        *((1.0, {"arm": LABELS, "metric": "probe", "depth": "embedding", "factor": task}) for task in TASKS),
        (0.55, {"arm": NOISY, "metric": "words", "factor": "object"}),
        (0.9, {"arm": PLAIN, "metric": "right", "pictures": "other"}),
        (0.3, {"arm": TIED, "metric": "right", "pictures": "other"}),
        (0.8, {"arm": LABELS, "metric": "right", "pictures": "other"}),
        (0.7, {"arm": TIED_LABELS, "metric": "right", "pictures": "other"}),
        (1.0, {"arm": PLAIN, "metric": "right", "pictures": "whole"}),
        (0.625, {"arm": PLAIN, "metric": "right", "pictures": "look"}),
        (0.25, {"arm": PLAIN, "metric": "right", "pictures": "parts"}),
        (0.5, {"arm": PLAIN, "metric": "as_look"}),
        (0.2, {"arm": PLAIN, "metric": "as_parts"}),
        (0.4, {"arm": CARDS_SILENT, "metric": "probe", **by_hand}),
        (0.75, {"metric": "probe", **by_hand, "depth": "pixels"}),
    ]
    table = standard
    for value, where in known:
        table = with_value(table, value, **where)
    named = {value.name: value.estimate.value for value in numbers.values(table)}
    expected = {
        "c40_recovered_5": 25,
        "c40_gain_5": 15,
        "c35_gap_named": (3 + 15 + 30) / 3,
        "c39_loss_40": 42,
        "c41_drop": 60,
        "c41_captions": 50,
        "c42_kept": 100 * (0.625 - 1 / 12) / (11 / 12),
        "c42_follows_look": 30,
        "c38_probe_gap": -35,
    }
    for name, value in expected.items():
        assert named[name] == pytest.approx(value), name


def test_groups_and_look_alikes_are_compared_above_their_own_chance(standard: pd.DataFrame) -> None:
    table = with_value(standard, 1 / 3, arm=COARSE, metric="words", factor="group")
    table = with_value(table, 1 / 4, arm=COARSE, metric="words", factor=LOOKALIKE)
    named = {value.name: value.estimate.value for value in numbers.values(table)}
    assert named["c36_gap_words"] == pytest.approx(0, abs=1e-9)


FIGURES: list[tuple[FigureSpec, Callable[[pd.DataFrame], pd.DataFrame]]] = [
    (figures.WORDS_AND_LABELS, tables.tasks_table),
    (figures.FINE_AND_COARSE, tables.fine_table),
    (figures.COUNTING, tables.count_table),
    (figures.DIGITS, tables.digit_table),
    (figures.NOISE, tables.noise_table),
    (figures.RARE_DETAILS, tables.details_table),
    (figures.SURROUNDINGS, tables.surroundings_table),
    (figures.SEARCH, tables.search_table),
    (figures.FILTERING, tables.filtering_table),
]


@pytest.mark.parametrize(("spec", "make"), FIGURES, ids=lambda of: getattr(of, "name", ""))
@pytest.mark.parametrize("profile", ["quick", "standard"])
def test_figures_draw_and_describe_any_profile(
    spec: FigureSpec, make: Any, profile: str, request: pytest.FixtureRequest
) -> None:
    shown = make(request.getfixturevalue(profile))
    assert shown["value"].between(-100, 101).all()
    with style("dark"):
        figure = spec.draw(shown)
    assert figure.get_suptitle() == spec.title
    assert len(spec.describe(shown)) > 60
    plt.close(figure)


def test_pictures_are_drawn_from_what_is_saved(quick: pd.DataFrame) -> None:
    worlds = gallery.worlds()
    looks = pd.concat([gallery.looks(), tables.looks_table(quick)], ignore_index=True)
    with style("light"):
        drawn = [gallery.PICTURES.draw(worlds), gallery.LOOK_AND_PARTS.draw(looks)]
    assert "tomatoes" in gallery.PICTURES.describe(worlds)
    assert "outlines" in gallery.LOOK_AND_PARTS.describe(looks)
    for figure in drawn:
        plt.close(figure)
