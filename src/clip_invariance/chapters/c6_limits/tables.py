"""Chapter 6: what its figures show. One row is a mean over seeds in percent with its interval: value, low, high, n.

A profile may leave arms out: then the rows that need them are left out, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import pandas as pd

from clip_invariance.chapters.c6_limits import arms
from clip_invariance.chapters.c6_limits.arms import Arm
from clip_invariance.chapters.c6_limits.asking import LOOKALIKE
from clip_invariance.chapters.c6_limits.measures import RECALLS
from clip_invariance.chapters.c6_limits.training import TASKS
from clip_invariance.measure.tables import Row, interval, percent
from clip_invariance.worlds import cards, collages

#: Which rows of the measures to read, see :func:`measure.tables.select`.
Where = Mapping[str, object]

#: The ways to read something from an encoder, and what no training of ours helps: raw pixels, shuffled labels.
WORDS: Where = {"metric": "words"}
PROBE: Where = {"metric": "probe", "depth": "embedding"}
BACKBONE: Where = {"metric": "probe", "depth": "backbone"}
SPAN: Where = {"metric": "probe", "depth": "span"}
PIXELS: Where = {"metric": "probe", "depth": "pixels"}
SHUFFLED: Where = {"metric": "shuffled", "depth": "embedding"}

#: Chance in percent.
CHANCE = {name: 100 / len(values) for name, values in collages.FACTORS.items()}
CHANCE |= {"group": 100 / len(collages.GROUPS), LOOKALIKE: 100 / collages.PER_GROUP}
CHANCE |= {"digit": 100 / len(cards.FACTORS["digit"])}

#: The encoder that is asked in words about each task in C35: one whose captions always name it.
NAMED_BY = {"object": arms.PLAIN, "part": arms.DETAILED, "count": arms.DETAILED, "quality": arms.COARSE}
#: What the plain captions never name.
UNNAMED = ("part", "count", "background", "quality")

_READERS = {"words": WORDS, "probe": PROBE, "probe, span of texts": SPAN, "probe, backbone": BACKBONE}
#: Series: words of encoders that were trained on the detailed captions, and on nothing else: in as many steps, or with
#: each shown as often as among the others. And whether that is in fewer steps.
ON_THEIR_OWN = {"words, these alone": False, "words, these alone, shown as often": True}


def _means(table: pd.DataFrame, lines: Iterable[tuple[Row, Where]]) -> list[Row]:
    """A figure's row for each pair of what it is called and which rows of the measures it is the mean of."""
    return [{**names, **interval(samples)} for names, where in lines if len(samples := percent(table, **where))]


def tasks_table(table: pd.DataFrame) -> pd.DataFrame:
    """Every task by every reader: task, series; series "chance" has no interval.

    "words, named": the encoder whose captions always name it; "words, not named": the one that names the thing alone.
    """
    found: list[Row] = []
    for task in TASKS:
        series: dict[str, Where] = {}
        if task in NAMED_BY:
            series["words, named"] = {"arm": NAMED_BY[task], **WORDS}
        if task in UNNAMED:
            series |= {
                "words, not named": {"arm": arms.PLAIN, **WORDS},
                "probe, not named": {"arm": arms.PLAIN, **PROBE},
            }
        series |= {"trained on labels": {"arm": arms.LABELS, **PROBE}, "pixels": PIXELS}
        found += _means(
            table, (({"task": task, "series": s}, {**where, "factor": task}) for s, where in series.items())
        )
        found.append({"task": task, "series": "chance", "value": CHANCE[task]})
    return pd.DataFrame(found)


def _encoders(encoders: Mapping[str, object], where: Where, **names: object) -> list[tuple[Row, Where]]:
    """Lines for every encoder, by name, and every reader."""
    return [
        ({**names, "encoder": encoder, "reader": reader}, {"arm": arm, **how, **where})
        for encoder, arm in encoders.items()
        for reader, how in _READERS.items()
    ]


def _controls(where: Where, **names: object) -> list[tuple[Row, Where]]:
    """Lines for probes on raw pixels, and on the plain encoder with shuffled labels."""
    shuffled = {"arm": arms.PLAIN, **SHUFFLED, **where}
    return [
        ({**names, "encoder": "pixels", "reader": "probe"}, {**PIXELS, **where}),
        ({**names, "encoder": "shuffled labels", "reader": "probe"}, shuffled),
    ]


def fine_table(table: pd.DataFrame) -> pd.DataFrame:
    """Group and look-alikes under fine and coarse names: question, encoder, reader."""
    encoders = {
        "fine names": arms.PLAIN,
        "coarse names": arms.COARSE,
        "trained on labels": arms.LABELS,
        "untrained": arms.UNTRAINED,
    }
    found: list[Row] = []
    for question in ("group", LOOKALIKE):
        lines = _encoders(encoders, {"factor": question}, question=question)
        # Fine names never say "a car": only the captions that name groups can be asked for them.
        lines = [line for line in lines if line[1] != {"arm": arms.PLAIN, **WORDS, "factor": "group"}]
        found += _means(table, lines + _controls({"factor": question}, question=question))
        found.append({"question": question, "encoder": "chance", "reader": "", "value": CHANCE[question]})
    return pd.DataFrame(found)


def count_table(table: pd.DataFrame) -> pd.DataFrame:
    """Counting by words and probes: encoder, reader."""
    encoders = {
        "number never said": arms.PLAIN,
        "said in 5 %": arms.RARE,
        "always said": arms.DETAILED,
        "never said, words known": arms.FROZEN,
        "always said, words known": arms.FROZEN_DETAILED,
        "trained on labels": arms.LABELS,
        "untrained": arms.UNTRAINED,
    }
    where = {"factor": "count"}
    return pd.DataFrame(_means(table, _encoders(encoders, where) + _controls(where)))


def digit_table(table: pd.DataFrame) -> pd.DataFrame:
    """Digits by words and probes: hand, encoder, reader."""
    encoders = {
        "digit never said": arms.CARDS_SILENT,
        "digit and card said": arms.CARDS_BOTH,
        "digit said": arms.CARDS_NAMED,
        "never said, words known": arms.CARDS_FROZEN_SILENT,
        "digit said, words known": arms.CARDS_FROZEN_NAMED,
        "trained on labels": arms.CARDS_LABELS,
        "untrained": arms.CARDS_UNTRAINED,
    }
    lines: list[tuple[Row, Where]] = []
    for hand in cards.FACTORS["hand"]:
        where = {"factor": "digit", "pictures": hand}
        lines += _encoders(encoders, where, hand=hand)
        lines.append(({"hand": hand, "encoder": "pixels", "reader": "probe"}, {**PIXELS, **where}))
    return pd.DataFrame(_means(table, lines))


def noise_table(table: pd.DataFrame) -> pd.DataFrame:
    """Zero-shot accuracy for the thing by share and kind of corrupted captions: kind, rate."""
    kinds = [(kind, rate, arms.noisy(kind, rate)) for kind, rates in arms.NOISE_RATES.items() for rate in (0.0, *rates)]
    lines: Iterable[tuple[Row, Where]] = (
        ({"kind": kind, "rate": rate}, {"arm": arm, **WORDS, "factor": "object"})
        for kind, rate, arm in (*kinds, ("left out", arms.CLEANED.noise_rate, arms.CLEANED))
    )
    return pd.DataFrame(_means(table, lines))


def details_table(table: pd.DataFrame) -> pd.DataFrame:
    """What is read about the parts by share of captions that list them: factor, series, share.

    Series "trained on labels" and "untrained" have no share.
    """
    found: list[Row] = []
    for factor in ("part", "count"):
        lines: list[tuple[Row, Where]] = [
            ({"series": series, "share": share}, {"arm": arms.listed(share), **_READERS[series]})
            for share in (0.0, *arms.SHARES)
            for series in ("words", "probe", "probe, backbone")
        ]
        lines += [
            ({"series": series, "share": share}, {"arm": arms.listed(share, alone=True, brief=brief), **WORDS})
            for share in arms.ALONE
            for series, brief in ON_THEIR_OWN.items()
        ]
        lines += [({"series": "trained on labels"}, {"arm": arms.LABELS, **PROBE})]
        lines += [({"series": "untrained"}, {"arm": arms.UNTRAINED, **PROBE})]
        found += _means(table, (({"factor": factor, **names}, {**where, "factor": factor}) for names, where in lines))
        found.append({"factor": factor, "series": "chance", "value": CHANCE[factor]})
    return pd.DataFrame(found)


def surroundings_table(table: pd.DataFrame) -> pd.DataFrame:
    """Accuracy before the usual and before another background: encoder, background, together."""
    encoders = {
        "captions name the thing": arms.PLAIN,
        "they name the background too": Arm(surroundings=True),
        "trained on labels": arms.LABELS,
        "labels for the thing alone": arms.THING,
    }
    lines: Iterable[tuple[Row, Where]] = (
        (
            {"encoder": encoder, "background": background, "together": together},
            {"arm": replace(arm, together=together), "metric": "right", "pictures": background},
        )
        for encoder, arm in encoders.items()
        for together in (0.0, *arms.TIES)
        for background in ("usual", "other")
    )
    return pd.DataFrame(_means(table, lines))


def looks_table(table: pd.DataFrame) -> pd.DataFrame:
    """Shares of answers on whole, stripped and contradictory drawings: encoder, picture, answer."""
    asked = [(picture, "right", "right") for picture in ("whole", "look", "parts")]
    asked += [("conflict", "as_look", "by look"), ("conflict", "as_parts", "by parts")]
    lines: Iterable[tuple[Row, Where]] = (
        (
            {"encoder": encoder, "picture": picture, "answer": answer},
            {"arm": arm, "metric": metric, "pictures": picture},
        )
        for encoder, arm in (("captions", arms.PLAIN), ("labels", arms.LABELS))
        for picture, metric, answer in asked
    )
    return pd.DataFrame(_means(table, lines))


def search_table(table: pd.DataFrame) -> pd.DataFrame:
    """Recall at k of search by text: query, captions, k; captions "chance" for random pictures."""
    captions = [("name the thing", arms.PLAIN, "recall"), ("list the parts too", arms.DETAILED, "recall")]
    lines: Iterable[tuple[Row, Where]] = (
        ({"query": query, "captions": name, "k": k}, {"arm": arm, "metric": f"{metric}_{k}", "factor": query})
        for query in ("thing", "all")
        for k in RECALLS
        for name, arm, metric in (*captions, ("chance", arms.PLAIN, "chance"))
    )
    return pd.DataFrame(_means(table, lines))


def filtering_table(table: pd.DataFrame) -> pd.DataFrame:
    """How often a sharp picture ranks above a worse one: captions, damage; chance is 50."""
    lines: Iterable[tuple[Row, Where]] = (
        ({"captions": captions, "damage": damage}, {"arm": arm, "metric": "ranked", "pictures": damage})
        for captions, arm in (("speak of quality", arms.COARSE), ("never do", arms.PLAIN))
        for damage in ("grain", "blur")
    )
    return pd.DataFrame(_means(table, lines))
