"""The numbers that rules and pages read; a number whose arm a profile lacks is left out."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from clip_invariance.chapters.c3_captions.words import arms
from clip_invariance.chapters.c3_captions.words.collection import OTHER, RELATED, SYNONYM
from clip_invariance.chapters.c3_captions.words.measures import SENTENCES
from clip_invariance.chapters.c3_captions.words.tables import (
    accuracy,
    probe,
    separation,
    slope_meaning,
    slope_shared,
    spreads,
    text_gap,
    token_gain,
)
from clip_invariance.measure.statistics import Estimate, NamedValue
from clip_invariance.measure.tables import gap, made, mean

#: Figures that show the numbers.
MEDIUM, TEXTS, NOUNS = "medium_transfer", "text_neighbours", "caption_closeness"
CURATION, SOURCE, PROBES = "curation", "source_token", "labels_and_captions"

Values = Iterator[NamedValue | None]


def values(table: pd.DataFrame) -> list[NamedValue]:
    """Every number of the experiment that a claim's rule or its prose uses, as far as its arms were run."""
    parts = (_media, _texts, _nouns, _curations, _sources, _probes)
    return made(value for part in parts for value in part(table))


def _media(table: pd.DataFrame) -> Values:
    what, never = "zero-shot accuracy", "of four things never drawn in training"
    named = "other things drawn, captions name thing and medium"
    silent = "other things drawn, each called “a sketch of a thing”"
    for name, arm, metric, words in (
        ("drawings", arms.NAMED_DRAWN, "among_held_out", f"line drawings {never}, chance 25 %; {named}"),
        ("banana", arms.NAMED_DRAWN, "banana", f"line drawings of the banana, one {never}, chance 25 %; {named}"),
        ("silent_drawn", arms.SILENT_DRAWN, "among_held_out", f"line drawings {never}, chance 25 %; {silent}"),
    ):
        right = accuracy(table, arm, "line_held_out", metric)
        yield mean(f"c21_accuracy_{name}", right, MEDIUM, f"{what} on {words}", kind="share")
    both = accuracy(table, arms.NAMED_DRAWN, "line_held_out")
    for name, arm, difference in (
        ("both", arms.UNNAMED_PLAIN, "other things drawn and the medium named, minus neither"),
        ("language", arms.SILENT_DRAWN, "other things drawn and named minus drawn but called “a sketch of a thing”"),
        ("naming", arms.UNNAMED_DRAWN, "other things drawn, captions name thing and medium minus the thing alone"),
    ):
        words = f"{what} on line drawings {never}: {difference}"
        yield gap(f"c21_gain_{name}", both, accuracy(table, arm, "line_held_out"), MEDIUM, words)
    for name, arm, said in (
        ("named_drawn", arms.NAMED_DRAWN, named),
        ("unnamed_drawn", arms.UNNAMED_DRAWN, "other things drawn, captions name the thing alone"),
    ):
        words = f"{what} among twelve things, chance 8 %, on line drawings {never}; {said}"
        right = accuracy(table, arm, "line_held_out", "among_all")
        yield mean(f"c21_among_all_{name}", right, CURATION, words, kind="share")


def _texts(table: pd.DataFrame) -> Values:
    picture = "“a picture of X” and"
    what = f"cosine of the texts {picture} “a sketch of X” minus that of {picture} “a picture of Y”"
    trained, hidden = (text_gap(table, arms.NAMED_DRAWN, held_out_only=only) for only in (False, True))
    words = f"{what}, text tower trained here"
    yield mean("c22_gap_trained", trained, TEXTS, words, kind="difference", unit="")
    yield mean("c22_gap_held_out", hidden, TEXTS, f"{words}, X never called a sketch", kind="difference", unit="")
    for fixed in text_gap(table, SENTENCES):
        words = f"{what}, published sentence encoder, which has no seeds"
        yield NamedValue("c22_gap_sentences", Estimate(fixed, fixed, fixed, 0, 0.0), "", TEXTS, words, 2, "difference")


def _nouns(table: pd.DataFrame) -> Values:
    trained, frozen = arms.NOUNS_TRAINED, arms.NOUNS_FROZEN
    nothing, knows = "text tower trained from nothing", "text tower that knows meanings"
    apart = "distance of one thing before two backgrounds, in distances between things"
    words = f"{apart}: change as captions go from never to always the same name, {nothing}"
    yield mean("c15_slope_shared", slope_shared(table, trained), NOUNS, words, kind="number")
    by_tower = slope_meaning(table, frozen), slope_meaning(table, trained)
    slopes = f"{apart}: slope on the cosine of its captions"
    for name, slope, tower in zip(("frozen", "trained"), by_tower, (knows, nothing), strict=True):
        yield mean(f"c15_slope_meaning_{name}", slope, NOUNS, f"{slopes}, {tower}", kind="number")
    yield gap("c15_slope_meaning_difference", *by_tower, NOUNS, f"{slopes}, {knows} minus trained one", unit="")
    same, synonyms = separation(table, frozen, OTHER, 1.0), separation(table, frozen, SYNONYM)
    words = f"{apart}: captions with synonyms minus with the same name, {knows}"
    yield gap("c15_synonym_gap", synonyms, same, NOUNS, words, unit="")
    for name, samples, names in (
        ("same", same, "the same name"),
        ("synonym", synonyms, "synonyms"),
        ("related", separation(table, frozen, RELATED), "related names"),
        ("other", separation(table, frozen, OTHER), "unlike names"),
    ):
        words = f"{apart}, captions with {names}, {knows}"
        yield mean(f"c15_separation_{name}_frozen", samples, NOUNS, words, kind="number")


def _curations(table: pd.DataFrame) -> Values:
    by = spreads(table)
    what = "standard deviation of zero-shot accuracy on pictures unlike those of training"
    between = {"curations": "ways to curate", "recipes": "ways to train", "seeds": "seeds"}
    for name, varied in between.items():
        words = f"{what}, between {varied}"
        yield mean(f"c20_spread_{name}", by[name], CURATION, words, kind="difference")
    for name in ("seeds", "recipes"):
        words = f"{what}: between {between['curations']} minus between {between[name]}"
        yield gap(f"c20_excess_over_{name}", by["curations"], by[name], CURATION, words)


def _sources(table: pd.DataFrame) -> Values:
    careful, careless = (token_gain(table, arms.MARKED_SOURCE, pictures) for pictures in ("careful", "careless"))
    control = token_gain(table, arms.MARKED_RANDOM, "careful")
    gain = "zero-shot accuracy with the token “itap” in the prompt minus without"
    for name, samples, where in (
        ("careful", careful, "on pictures of the careful source, whose captions begin with it"),
        ("careless", careless, "on pictures of the careless source, whose captions lack it"),
        ("random", control, "on pictures of the careful source, token planted in captions at random"),
    ):
        yield mean(f"c23_gain_{name}", samples, SOURCE, f"{gain}, {where}", kind="difference")
    words = f"{gain}, on careful pictures: token of the careful source minus token planted at random"
    yield gap("c23_gain_over_random", careful, control, SOURCE, words)
    words = f"{gain}, token of the careful source: on careful pictures minus on careless ones"
    yield gap("c23_gain_difference", careful, careless, SOURCE, words)


def _probes(table: pd.DataFrame) -> Values:
    what, before = "accuracy of a probe on the embedding for the object", "accuracy of a probe before the projection"
    minus = "trained on labels of objects minus on"
    for name, fine, coarse, depth, words in (
        ("groups", arms.OBJECT_LABELS, arms.GROUP_LABELS, "embedding", f"{what}: {minus} labels of groups"),
        ("tags", arms.OBJECT_LABELS, arms.TAGS, "embedding", f"{what}: {minus} incomplete tags of group and place"),
        ("groups_backbone", arms.OBJECT_LABELS, arms.GROUP_LABELS, "backbone",
         f"{before} for the object: {minus} labels of groups"),
        ("captions", arms.UNNAMED_PLAIN, arms.GROUP_CAPTIONS, "embedding",
         f"{what}: trained on captions that name it minus on captions that name its group"),
    ):  # fmt: skip
        yield gap(f"c24_loss_{name}", probe(table, fine, depth), probe(table, coarse, depth), PROBES, words)
    for name, arm, reader, source in (
        ("groups", arms.GROUP_LABELS, "labels", "labels of groups"),
        ("tags", arms.TAGS, "tags", "incomplete tags of group and place"),
        ("captions", arms.GROUP_CAPTIONS, "captions", "captions that name the group"),
        ("objects", arms.OBJECT_LABELS, "labels", "labels of objects"),
    ):
        part = f"accuracy of a probe for the object in the part of the embedding that the {reader} can read"
        yield mean(
            f"c24_probe_{name}_span", probe(table, arm, "span"), PROBES, f"{part}, trained on {source}", kind="share"
        )
    words = f"{what}, untrained image tower, chance 8 %"
    yield mean("c24_probe_untrained", probe(table, arms.UNTRAINED), PROBES, words, kind="share")
