"""The numbers that rules and pages read.

Names, arms and words of descriptions stand in small tables; a number whose arm a profile lacks is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from clip_invariance.chapters.c3_captions.policies import arms
from clip_invariance.chapters.c3_captions.policies.measures import PIXELS
from clip_invariance.chapters.c3_captions.policies.questions import (
    OMITTED,
    TRAINED,
    UNTRAINED,
    ZERO_SHOT,
    accuracy,
    asked_for,
    closer,
    cosine,
    kept,
    left,
    moved,
    response,
    skill,
    trifeature_accuracy,
    variance_shares,
)
from clip_invariance.chapters.c3_captions.policies.training import Arm
from clip_invariance.measure.statistics import NamedValue, percent_of
from clip_invariance.measure.tables import gap, made, mean, per_seed

#: Figures and tables that show the numbers.
TRIFEATURE, MATRIX, DOSE, CONTROL = "trifeature", "decodability_matrix", "dose_response", "controls"
COURSE, POINT, MOVED = "time_course", "same_point", "moved_by_factor"
HEADS, SCALE, FACTORIAL = "heads_by_place", "scale", "factorial"

# What captions say, what was asked for and in which unit, in the words of descriptions.
NAMED, SAID_ALL = "captions name the object alone", "captions mention everything"
OTHERS, LONG = "five factors beside the object", "three times the steps"
SKILL = "skill (0 chance, 100 perfect)"
READ = {
    "backbone": "probe before the projection",
    "embedding": "probe on the embedding",
    "span": "probe in the span of the texts",
    "rest": "probe on the embedding outside the span of the texts",
    ZERO_SHOT: "zero-shot",
}
FOUR = tuple(factor for factor in OMITTED if factor != "background")


class Encoder(NamedTuple):
    """An arm at a stage of its training, and how descriptions call it."""

    arm: Arm
    words: str
    stage: str = TRAINED


OBJECT = Encoder(arms.OBJECT, NAMED)
UNSEEN = Encoder(arms.OBJECT, "untrained encoder", UNTRAINED)
EVERYTHING = Encoder(arms.EVERYTHING, SAID_ALL)
LONGER = Encoder(arms.LONGER, f"{NAMED}, {LONG}")
LABELS = Encoder(arms.LABELS_OF_OBJECT, "trained on labels of the object")
LABELS_LONGER = Encoder(arms.LABELS_OF_OBJECT_LONGER, f"trained on labels of the object, {LONG}")
BACKGROUND = Encoder(arms.BACKGROUND, "captions name the background alone")
CONVOLUTIONAL = Encoder(arms.OBJECT, f"{NAMED}, convolutional tower")
TRANSFORMER = Encoder(arms.FACTORIAL[False, True, False], f"{NAMED}, vision transformer")

Values = Iterator[NamedValue | None]


def values(measured: pd.DataFrame, course: pd.DataFrame, pixels: pd.DataFrame) -> list[NamedValue]:
    """Every number of the experiment that a claim's rule or its prose uses, as far as the profile has it.

    Args:
        measured, course, pixels: what :func:`arms.units`, :func:`arms.course_units` and :func:`arms.pixel_units` measured.
    """
    return made(
        [
            *_trifeature(measured),
            *_accuracies(measured),
            *_skills(measured, pixels),
            *_cosines(course),
            *_variances(measured),
            *_heads(measured, pixels),
            *_mentions(measured),
            *_controls(measured),
            *_factorial(measured),
            *_scales(measured),
        ]
    )


def _on(factors: Sequence[str]) -> str:
    """What a skill is about, in the words of descriptions."""
    if factors == OMITTED:
        return f"mean {SKILL} on {OTHERS}"
    return f"mean {SKILL} on medium, place, size and rotation" if factors == FOUR else f"{SKILL} on the {factors[0]}"


# ---------------------------------------------------------------- what can be read


def _trifeature(measured: pd.DataFrame) -> Values:
    for name, named, arm in (
        ("shape", "shape", arms.SHAPE),
        ("shape_longer", "shape, three times the steps", arms.SHAPE_LONGER),
        ("colour", "colour", arms.COLOUR),
        ("texture", "texture", arms.TEXTURE),
    ):
        when, others = f"Trifeature pictures, captions name the {named}", " and ".join(asked_for(arm, named=False))
        words = f"{when}: accuracy of a probe on the embedding for the {arm.mentioned[0]}, chance 10 %"
        yield mean(
            f"tri_{name}_shared",
            trifeature_accuracy(measured, arm, "embedding", named=True),
            TRIFEATURE,
            words,
            kind="share",
        )
        for depth, suffix in (("embedding", ""), ("span", "_span")):
            words = f"{when}: accuracy of a {READ[depth]}, mean for {others}, chance 10 %"
            yield mean(
                f"tri_{name}_unshared{suffix}",
                trifeature_accuracy(measured, arm, depth, named=False),
                TRIFEATURE,
                words,
                kind="share",
            )
        before = trifeature_accuracy(measured, arm, "embedding", named=False, stage=UNTRAINED)
        words = (
            f"Trifeature pictures, untrained encoder: accuracy of a probe on the embedding, mean for {others}, "
            "chance 10 %"
        )
        yield mean(f"tri_{name}_unshared_untrained", before, TRIFEATURE, words, kind="share")
    usual, longer = (
        trifeature_accuracy(measured, arm, "embedding", named=False) for arm in (arms.SHAPE, arms.SHAPE_LONGER)
    )
    words = (
        "Trifeature pictures, captions name the shape: accuracy of a probe on the embedding, mean for colour and "
        "texture, usual number of steps minus three times as many"
    )
    yield gap("tri_shape_lost", usual, longer, TRIFEATURE, words)


def _accuracies(measured: pd.DataFrame) -> Values:
    place = SCALE if len(skill(measured, arms.WIDER)) else MATRIX
    chance = ", chance 25 %"
    for name, encoder, depth, factor, figure, more in (
        ("object_zero_shot", OBJECT, ZERO_SHOT, "object", MATRIX, ""),
        *((f"everything_zero_shot_{f}", EVERYTHING, ZERO_SHOT, f, MATRIX, "") for f in ("object", "place", "rotation")),
        *((f"untrained_embedding_{f}", UNSEEN, "embedding", f, MATRIX, "") for f in ("background", "medium", "size")),
        ("object_embedding_background", OBJECT, "embedding", "background", MATRIX, ""),
        *((f"longer_embedding_{f}", LONGER, "embedding", f, COURSE, "") for f in OMITTED),
        *((f"longer_{depth}_background", LONGER, depth, "background", COURSE, "") for depth in ("backbone", "span")),
        ("object_unnamed_embedding", BACKGROUND, "embedding", "object", MATRIX, ""),
        ("c16_place_embedding", OBJECT, "embedding", "place", place, chance),
        ("c16_place_untrained", UNSEEN, "embedding", "place", MATRIX, chance),
        ("c16_place_span", OBJECT, "span", "place", MATRIX, chance),
        ("c16_place_span_untrained", UNSEEN, "span", "place", MATRIX, chance),
    ):
        right = "zero-shot accuracy" if depth == ZERO_SHOT else f"accuracy of a {READ[depth]}"
        words = f"{right} for the {factor}, {encoder.words}{more}"
        yield mean(
            name, accuracy(measured, encoder.arm, depth, factor, stage=encoder.stage), figure, words, kind="share"
        )
    fewer, usual = (accuracy(measured, arm, "embedding", "place") for arm in (arms.FEWER, arms.OBJECT))
    words = (
        f"accuracy of a probe on the embedding for the place, {NAMED}: an eighth of the pictures minus all, equal steps"
    )
    yield gap("c16_fall", fewer, usual, SCALE, words)
    rank = per_seed(measured, arm=arms.OBJECT, metric="rank", stage=TRAINED)
    words = f"dimensions of the embedding, of 64, that the texts of the captions span, {NAMED}"
    yield mean("rank_object", rank, MATRIX, words, kind="number")


def _skills(measured: pd.DataFrame, pixels: pd.DataFrame) -> Values:
    all_labels = Encoder(arms.LABELS, "image tower trained on labels of all factors")
    often = {rate: f"mentioned in {100 * rate:.0f} % of captions" for rate in arms.RATES} | {1.0: "always mentioned"}
    never = Encoder(arms.OBJECT, "never mentioned")
    several = {rate: Encoder(arm, f"each of {OTHERS} {often[rate]}") for rate, arm in arms.RATES.items()}
    for name, encoder, depth, factors, figure in (
        *(
            ("omitted_" + depth.replace("-", "_"), OBJECT, depth, OMITTED, MATRIX)
            for depth in ("embedding", "span", "rest", ZERO_SHOT)
        ),
        ("omitted_untrained", UNSEEN, "embedding", OMITTED, MATRIX),
        ("omitted_labels", all_labels, "embedding", OMITTED, MATRIX),
        *((f"c14_skill_{depth}", OBJECT, depth, OMITTED, MATRIX) for depth in ("embedding", "span")),
        *((f"c14_skill_{depth}_longer", LONGER, depth, OMITTED, COURSE) for depth in ("embedding", "span")),
        ("skill_background_object", OBJECT, "embedding", ("background",), MATRIX),
        ("skill_background_longer", LONGER, "embedding", ("background",), MATRIX),
        ("skill_four_untrained", UNSEEN, "embedding", FOUR, MATRIX),
        ("skill_four_longer", LONGER, "embedding", FOUR, MATRIX),
        ("kept_object_captions", OBJECT, "embedding", ("object",), POINT),
        ("kept_object_labels", LABELS, "embedding", ("object",), POINT),
        ("kept_others_labels", LABELS, "embedding", OMITTED, POINT),
        ("kept_others_labels_longer", LABELS_LONGER, "embedding", OMITTED, POINT),
        ("c18_probe_unmentioned", never, "embedding", OMITTED, DOSE),
        *(
            (f"c18_zero_shot_at_{100 * rate:02.0f}", Encoder(arm, f"each {often[rate]}"), ZERO_SHOT, OMITTED, DOSE)
            for rate, arm in arms.RATES.items()
            if 0 < rate < 1
        ),
        *(
            (f"c18_zero_shot_{factor}_at_{100 * rate:.0f}", several[rate], ZERO_SHOT, (factor,), DOSE)
            for factor in OMITTED
            for rate in (0.1, 1.0)
        ),
    ):
        words = f"{_on(factors)}, {encoder.words}, {READ[depth]}"
        yield mean(name, skill(measured, encoder.arm, depth, factors, stage=encoder.stage), figure, words, kind="ratio")
    words = f"{_on(OMITTED)}, probe on raw pixels"
    yield mean("omitted_pixels", skill(pixels, PIXELS, PIXELS, stage=""), MATRIX, words, kind="ratio")
    for suffix, captions, labels in (("", OBJECT, LABELS), ("_longer", LONGER, LABELS_LONGER)):
        words = f"{_on(OMITTED)}, probe on the embedding: {captions.words} minus trained on labels of the object"
        yield gap(
            f"kept_captions_over_labels{suffix}",
            skill(measured, captions.arm),
            skill(measured, labels.arm),
            POINT,
            words,
        )
    before = skill(measured, arms.OBJECT, stage=UNTRAINED)
    words = f"{_on(OMITTED)}, probe on the embedding: untrained encoder minus trained, {NAMED}"
    yield gap("c18_below_untrained", before, skill(measured, arms.OBJECT), DOSE, words)


# ---------------------------------------------------------------- one caption, one point?


def _cosines(course: pd.DataFrame) -> Values:
    pairs = {"caption": ("caption", "only the caption"), "all but the caption": ("all_but", "all but the caption")}
    for shared, (name, common) in pairs.items():
        for when, stage, said in (
            ("start", UNTRAINED, "before training"),
            ("end", TRAINED, "after the usual training"),
        ):
            words = f"cosine of picture pairs that share {common}, {said}, {NAMED}"
            yield mean(
                f"cosine_{name}_{when}", cosine(course, arms.OBJECT, shared, stage=stage), COURSE, words, kind="number"
            )
    gain, background = (
        closer(course, arms.OBJECT, shared) - closer(course, arms.OBJECT, shared, stage=UNTRAINED)
        for shared in ("caption", "background")
    )
    start, end = (closer(course, arms.OBJECT, "caption", stage=stage) for stage in (UNTRAINED, TRAINED))
    adds = "what training adds to the cosine of picture pairs that share only the caption minus what it adds for pairs that"
    yield gap("c13_gap_gain", end, start, COURSE, f"{adds} share nothing", unit="")
    yield gap("c13_gain_over_background", gain, background, COURSE, f"{adds} share only the background", unit="")
    words = (
        "cosine of picture pairs that share only the caption minus pairs that share all but the caption, "
        "after the usual training"
    )
    yield gap(
        "c13_crossing",
        cosine(course, arms.OBJECT, "caption"),
        cosine(course, arms.OBJECT, "all but the caption"),
        COURSE,
        words,
        unit="",
    )
    more = "cosine of picture pairs that share only the object, less that of pairs that share nothing"
    for suffix, captions, labels in (("", OBJECT, LABELS), ("_longer", LONGER, LABELS_LONGER)):
        spoken, taught = (closer(course, encoder.arm, "caption") for encoder in (captions, labels))
        yield mean(f"c13_gap_captions{suffix}", spoken, COURSE, f"{more}, {captions.words}", kind="number")
        yield mean(f"c13_gap_labels{suffix}", taught, COURSE, f"{more}, {labels.words}", kind="number")
        words = f"{more}: {captions.words} minus trained on labels of the object"
        yield gap(f"c13_captions_over_labels{suffix}", spoken, taught, COURSE, words, unit="")


def _moved(factor: str) -> str:
    return f"how far a changed {factor} moves the embedding, in percent of the distance between unrelated pictures"


def _variances(measured: pd.DataFrame) -> Values:
    for name, encoder, depth in (
        ("embedding", OBJECT, "embedding"),
        ("embedding_longer", LONGER, "embedding"),
        ("span", OBJECT, "span"),
        ("span_longer", LONGER, "span"),
        ("labels", LABELS, "embedding"),
        ("labels_longer", LABELS_LONGER, "embedding"),
    ):
        where = "embedding" if depth == "embedding" else "embedding in the span of the texts"
        share = left(measured, encoder.arm, depth)
        words = f"variance of the {where} left among pictures of one object, in percent of all, {encoder.words}"
        yield mean(f"c14_left_{name}", share, POINT, words, kind="ratio")
        if encoder in (OBJECT, LONGER) and depth == "embedding":
            words = (
                "distance in the embedding of two pictures of one object, in percent of that of any two (root mean "
                f"squares), {encoder.words}"
            )
            yield mean(f"c14_distance_{name}", 10 * share**0.5, POINT, words, kind="ratio")
    for factor, name, encoder in (
        ("background", "object", OBJECT),
        ("background", "everything", EVERYTHING),
        ("medium", "object", OBJECT),
    ):
        words = f"{_moved(factor)}, {encoder.words}"
        yield mean(f"moved_{factor}_{name}", moved(measured, encoder.arm, factor), MOVED, words, kind="ratio")


def _heads(measured: pd.DataFrame, pixels: pd.DataFrame) -> Values:
    head = "classifier of the object trained at one place"
    keeps = f"share of its accuracy above chance that a {head} keeps elsewhere"
    for name, encoder in (("c17_drop", OBJECT), ("c17_drop_untrained", UNSEEN)):
        here, elsewhere = (
            accuracy(measured, encoder.arm, "embedding", "object", stage=encoder.stage, metric=f"head_{where}")
            for where in ("here", "elsewhere")
        )
        words = f"accuracy of a {head}: there minus elsewhere, on the embedding, {encoder.words}"
        yield gap(name, here, elsewhere, HEADS, words)
    for name, encoder in (("", OBJECT), ("_everything", EVERYTHING), ("_labels", LABELS)):
        words = f"{keeps}, on the embedding, {encoder.words}"
        yield mean(f"c17_kept{name}", kept(measured, encoder.arm), HEADS, words, kind="ratio")
    before = kept(measured, arms.OBJECT, stage=UNTRAINED)
    yield mean("c17_kept_untrained", before, HEADS, f"{keeps}, on the untrained encoder's embedding", kind="ratio")
    words = f"{keeps}, on raw pixels"
    yield mean("c17_kept_pixels", kept(pixels, PIXELS, PIXELS, stage=""), HEADS, words, kind="ratio")
    words = f"{keeps}: {NAMED}, minus untrained encoder"
    yield gap("c17_kept_over_untrained", kept(measured, arms.OBJECT), before, HEADS, words)


# ---------------------------------------------------------------- mentions, controls, architecture, scale


def _mentions(measured: pd.DataFrame) -> Values:
    for suffix, always, never, figure, when in (
        ("", arms.EVERYTHING, arms.OBJECT, DOSE, ""),
        ("_longer", arms.EVERYTHING_LONGER, arms.LONGER, CONTROL, f", {LONG}"),
    ):
        for name, depth in (("probe", "embedding"), ("zero_shot", ZERO_SHOT)):
            for which, factors in (("", OMITTED), *((f"_{factor}", (factor,)) for factor in OMITTED)):
                often, not_once = (skill(measured, arm, depth, factors) for arm in (always, never))
                words = f"{_on(factors)}, {READ[depth]}{when}: always mentioned minus never"
                yield gap(f"c18_slope_{name}{suffix}{which}", often, not_once, figure, words)


def _controls(measured: pd.DataFrame) -> Values:
    late = ", after three times as many steps"
    for name, always, control, instead in (
        ("filler", arms.EVERYTHING, arms.FILLER, "replaced by filler words"),
        ("filler_longer", arms.EVERYTHING_LONGER, arms.FILLER_LONGER, f"replaced by filler words{late}"),
        ("masked", arms.EVERYTHING, arms.MASKED, "never, equal captions not counted as negatives"),
        (
            "masked_longer",
            arms.EVERYTHING_LONGER,
            arms.MASKED_LONGER,
            f"never, equal captions not counted as negatives{late}",
        ),
        ("temperature", arms.EVERYTHING, arms.FIXED_TEMPERATURE, "never, temperature fixed at .07"),
    ):
        words = f"{_on(OMITTED)}, {READ['embedding']}: always mentioned minus {instead}"
        yield gap(f"c19_{name}", skill(measured, always), skill(measured, control), CONTROL, words)


def _factorial(measured: pd.DataFrame) -> Values:
    what = {
        "moved": "how far a changed background moves the embedding",
        "probe, embedding": "a probe's skill on the background (embedding)",
    }
    shares = {asked: variance_shares(measured, asked) for asked in what}
    if any(table.empty for table in shares.values()):
        return
    for policy, name, said in ((False, "object", NAMED), (True, "both", "captions name object and background")):
        cells = [response(measured, arm, "moved") for levels, arm in arms.FACTORIAL.items() if levels[0] == policy]
        words = f"{_moved('background')}, {said}, mean of four trainings"
        yield mean(f"c19_moved_{name}", pd.concat(cells, axis=1).mean(axis=1), FACTORIAL, words, kind="ratio")
    for tower, encoder in (("convolutional", CONVOLUTIONAL), ("vit", TRANSFORMER)):
        for depth in ("embedding", "span"):
            words = f"{SKILL} on the background, {READ[depth]}, {encoder.words}"
            yield mean(
                f"c19_{tower}_{depth}",
                skill(measured, encoder.arm, depth, ("background",)),
                FACTORIAL,
                words,
                kind="ratio",
            )
        words = f"zero-shot accuracy for the object, {encoder.words}"
        yield mean(
            f"c19_{tower}_object", accuracy(measured, encoder.arm, ZERO_SHOT, "object"), FACTORIAL, words, kind="share"
        )
    part = "share of the variance between eight trainings in"
    distance, probe = shares["moved"], shares["probe, embedding"]
    for name, effect in (("tower", "architecture"), ("augmentation", "augmentation")):
        words = f"{part} {what['moved']}: captions minus {effect}"
        yield gap(f"c19_policy_over_{name}", distance["captions"], distance[effect], FACTORIAL, words)
    larger = probe[["architecture", "augmentation"]].max(axis=1)
    words = f"{part} {what['probe, embedding']}: captions minus the larger of architecture and augmentation"
    yield gap("c19_probe_policy_over_rest", probe["captions"], larger, FACTORIAL, words)
    for asked, table in shares.items():
        for effect in table.columns:
            words = f"{part} {what[asked]} that is due to {effect}"
            yield mean(
                f"c19_share_{asked.removeprefix('probe, ')}_{effect}", table[effect], FACTORIAL, words, kind="share"
            )


def _scales(measured: pd.DataFrame) -> Values:
    usual, few, everything = (skill(measured, arm) for arm in (arms.OBJECT, arms.FEWER, arms.EVERYTHING))
    wide, longer = skill(measured, arms.WIDER), skill(measured, arms.LONGER)
    on = f"{_on(OMITTED)}, never mentioned, {READ['embedding']}"
    for name, versus, larger, smaller in (
        ("width", "four times the width minus the usual one", wide, usual),
        ("data", "all pictures minus an eighth, equal steps", usual, few),
        ("steps", "three times the steps minus the usual number", longer, usual),
    ):
        yield gap(f"c25_gain_{name}", larger, smaller, SCALE, f"{on}: {versus}")
    adds = f"to a probe's mean skill on {OTHERS}, never mentioned, in percent of what"
    mentioned = everything - usual
    for name, what, part, whole in (
        ("width", f"four times the width adds {adds} mentioning them adds", wide - usual, mentioned),
        ("data", f"eight times the pictures add {adds} mentioning them adds", usual - few, mentioned),
        (
            "data_of_few",
            f"eight times the pictures add {adds} an eighth of the pictures lacks to all pictures that mention them",
            usual - few,
            everything - few,
        ),
    ):
        yield mean(f"c25_closed_{name}", percent_of(part.dropna(), whole), SCALE, f"what {what}", kind="ratio")
    most, least = (skill(measured, arm, ZERO_SHOT, ("object",)) for arm in (arms.OBJECT, arms.FEWER))
    words = f"zero-shot {SKILL} on the object, {NAMED}: all pictures minus an eighth, equal steps"
    yield gap("c25_object_gain_data", most, least, SCALE, words)
