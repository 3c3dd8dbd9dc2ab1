"""Chapter 3, claims C15 and C20 to C24: from what was measured to what figures show and claims are decided by.

A profile may leave arms out: then the rows and the numbers that need them are left out, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from clip_invariance.chapters.c3_captions.words_measures import PROBED, SENTENCES, units
from clip_invariance.chapters.c3_captions.words_training import OTHER, RELATED, SYNONYM
from clip_invariance.measure.statistics import Estimate, NamedValue, mean_over_seeds, paired_difference, summarise

__all__ = [
    "curation_table",
    "medium_table",
    "noun_table",
    "probe_table",
    "source_table",
    "text_table",
    "units",
    "values",
]

MEDIUM = "medium_transfer"
TEXTS = "text_neighbours"
NOUNS = "caption_closeness"
CURATION = "curation"
SOURCE = "source_token"
PROBES = "labels_and_captions"

#: Arms of the medium experiment, as its figure lists them.
MEDIA = ("named_drawn", "unnamed_drawn", "silent_drawn", "named_plain", "unnamed_plain")
#: Ways to curate, and ways to train on one of these collections.
CURATIONS = ("unnamed_plain", "unrelated", "named_plain", "named_drawn", "unnamed_drawn", "silent_drawn")
RECIPES = ("unnamed_plain", "vit", "augmented")
#: Test sets that are new to every arm.
SHIFTED = ("line_held_out", "flat", "backgrounds", "small")
TRAINED, FROZEN = "nouns_trained", "nouns_frozen"


def _arm(table: pd.DataFrame, measure: str, *, percent: bool = False) -> pd.DataFrame:
    """The rows of one measure, in percent if asked."""
    rows = table[table["measure"] == measure].copy()
    if percent:
        rows["value"] *= 100
    return rows


def _present(rows: pd.DataFrame, arms: Sequence[str]) -> list[str]:
    """Those of ``arms`` that were run, in the given order."""
    ran = set(rows["arm"])
    return [arm for arm in arms if arm in ran]


def _summary(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """:func:`summarise`, with the columns also where there is no row."""
    return summarise(rows, by, "value") if len(rows) else pd.DataFrame(columns=[*by, "value", "low", "high", "n"])


# ---------------------------------------------------------------- C21


def medium_table(table: pd.DataFrame) -> pd.DataFrame:
    """Accuracy in percent among the four held-out objects, by arm and by test set (line drawings, full colour)."""
    rows = _arm(table, "transfer", percent=True)
    rows = rows[rows["arm"].isin(MEDIA) & (rows["metric"] == "among_held_out")]
    return _summary(rows, ["arm", "group"])


def accuracy(table: pd.DataFrame, arm: str, test_set: str, metric: str = "among_held_out") -> pd.Series:
    """Zero-shot accuracy in percent, one number per seed."""
    rows = _arm(table, "transfer", percent=True)
    rows = rows[(rows["arm"] == arm) & (rows["group"] == test_set) & (rows["metric"] == metric)]
    return rows.set_index("seed")["value"]


# ---------------------------------------------------------------- C22


def text_table(table: pd.DataFrame) -> pd.DataFrame:
    """Cosines of "a picture of X" in percent of one: with "a sketch of X", and with pictures of other objects; per encoder.

    Rows of the trained tower are split by whether any of its captions called the object a sketch.
    """
    rows = _text_rows(table)
    rows["encoder"] = np.where(
        rows["arm"] == SENTENCES, SENTENCES, np.where(rows["held_out"] > 0, "never sketched", "sketched")
    )
    means = rows.groupby(["encoder", "seed"])[["other_medium", "other_object"]].mean().reset_index()
    found = []
    for encoder, group in means.groupby("encoder", sort=False):
        for metric in ("other_medium", "other_object"):
            found.append({"encoder": encoder, "metric": metric, **_numbers(group[metric])})
    return pd.DataFrame(found)


def text_gap(table: pd.DataFrame, arm: str, *, held_out_only: bool = False) -> pd.Series:
    """Cosine with the same object in another medium minus that with other objects in the same one, per seed."""
    rows = _text_rows(table)
    rows = rows[rows["arm"] == arm]
    if held_out_only:
        rows = rows[rows["held_out"] > 0]
    return (rows["other_medium"] - rows["other_object"]).groupby(rows["seed"]).mean()


def _text_rows(table: pd.DataFrame) -> pd.DataFrame:
    """One row per encoder, seed and object."""
    rows = _arm(table, "texts")
    return rows.pivot(index=["arm", "seed", "group"], columns="metric", values="value").reset_index()


def _numbers(samples: pd.Series) -> dict[str, float]:
    """Mean and interval; a single number, such as that of an encoder that has no seeds, is its own interval."""
    if len(samples) == 1:
        only = float(samples.iloc[0])
        return {"value": only, "low": only, "high": only, "n": 1}
    estimate = mean_over_seeds(samples)
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}


# ---------------------------------------------------------------- C15


def noun_rows(table: pd.DataFrame) -> pd.DataFrame:
    """One row per arm, seed and object: arm, seed, group, closeness, kind, separation, shared."""
    rows = _arm(table, "nouns")
    if rows.empty:
        return pd.DataFrame(columns=["arm", "seed", "group", "closeness", "kind", "separation", "shared"])
    wide = rows.pivot(index=["arm", "seed", "group"], columns="metric", values="value").reset_index()
    return wide.rename_axis(columns=None)


def noun_table(table: pd.DataFrame) -> pd.DataFrame:
    """What the figure of C15 shows: one point per object and seed, with how its two names are related.

    ``names`` is "shared" where the two backgrounds share the name in part, else "synonym", "related", "other".
    """
    rows = noun_rows(table)
    names = {SYNONYM: "synonym", RELATED: "related", OTHER: "other"}
    rows["names"] = rows["kind"].map(names).where(rows["shared"] == 0, "shared")
    return rows[["arm", "seed", "group", "names", "shared", "closeness", "separation"]]


def separation(table: pd.DataFrame, arm: str, kind: int, shared: float = 0.0) -> pd.Series:
    """Mean separation of the objects with one treatment, per seed."""
    rows = noun_rows(table)
    rows = rows[(rows["arm"] == arm) & (rows["kind"] == kind) & (rows["shared"] == shared)]
    return rows.groupby("seed")["separation"].mean()


def slope_shared(table: pd.DataFrame, arm: str) -> pd.Series:
    """Least-squares slope of separation on the share of captions with the same name, per seed; unlike names only."""
    rows = noun_rows(table)
    return _slopes(rows[(rows["arm"] == arm) & (rows["kind"] == OTHER)], "shared")


def slope_meaning(table: pd.DataFrame, arm: str) -> pd.Series:
    """Least-squares slope of separation on the closeness of two names that are never shared, per seed."""
    rows = noun_rows(table)
    return _slopes(rows[(rows["arm"] == arm) & (rows["shared"] == 0)], "closeness")


def _slopes(rows: pd.DataFrame, x: str) -> pd.Series:
    fits = {
        seed: float(np.polyfit(group[x].astype(float), group["separation"].astype(float), 1)[0])
        for seed, group in rows.groupby("seed")
    }
    return pd.Series(fits, dtype=float)


# ---------------------------------------------------------------- C20


def curation_table(table: pd.DataFrame) -> pd.DataFrame:
    """Accuracy in percent among all objects, by arm and test set: pictures like those of training, and shifted ones."""
    rows = _arm(table, "transfer", percent=True)
    rows = rows[(rows["metric"] == "among_all") & rows["group"].isin(["same", *SHIFTED])]
    rows = rows[rows["arm"].isin([*CURATIONS, *RECIPES])]
    return _summary(rows, ["arm", "group"])


def spreads(table: pd.DataFrame) -> pd.DataFrame:
    """Root mean square spread of accuracy on the shifted test sets, in points, one row per seed.

    Columns: "curations" and "recipes", the standard deviation between arms; "seeds", how far arms lie from their own
    means over the seeds (scaled as a standard deviation). Empty unless there are two arms of both kinds.
    """
    rows = _arm(table, "transfer", percent=True)
    rows = rows[(rows["metric"] == "among_all") & rows["group"].isin(SHIFTED)]
    curations, recipes = _present(rows, CURATIONS), _present(rows, RECIPES)
    if len(recipes) < 2 or len(curations) < 2:
        return pd.DataFrame(columns=["curations", "recipes", "seeds"])
    cells = rows.pivot(index=["seed", "group"], columns="arm", values="value")
    n = len(cells.index.unique("seed"))
    noise = (cells[curations] - cells[curations].groupby("group").transform("mean")).pow(2).mean(axis=1) * n / (n - 1)
    variances = pd.DataFrame(
        {"curations": cells[curations].var(axis=1), "recipes": cells[recipes].var(axis=1), "seeds": noise}
    )
    return variances.groupby("seed").mean().pow(0.5)


# ---------------------------------------------------------------- C23


def source_table(table: pd.DataFrame) -> pd.DataFrame:
    """Accuracy in percent with and without the token, by arm and by source of the pictures."""
    return _summary(_arm(table, "sources", percent=True), ["arm", "group", "metric"])


def token_gain(table: pd.DataFrame, arm: str, pictures: str) -> pd.Series:
    """Points of accuracy that prompts gain by the token, per seed."""
    rows = _arm(table, "sources", percent=True)
    rows = rows[(rows["arm"] == arm) & (rows["group"] == pictures)]
    by = rows.pivot(index="seed", columns="metric", values="value")
    return by["token"] - by["plain"]


# ---------------------------------------------------------------- C24


def probe_table(table: pd.DataFrame) -> pd.DataFrame:
    """Accuracy in percent of probes for object, group, background and place, by arm and depth."""
    rows = _arm(table, "labels", percent=True)
    return _summary(rows[rows["arm"].isin(PROBED)], ["arm", "group", "metric"])


def probe(table: pd.DataFrame, arm: str, depth: str = "embedding", factor: str = "object") -> pd.Series:
    """Accuracy of one probe in percent, per seed."""
    rows = _arm(table, "labels", percent=True)
    rows = rows[(rows["arm"] == arm) & (rows["group"] == depth) & (rows["metric"] == factor)]
    return rows.set_index("seed")["value"]


# ---------------------------------------------------------------- numbers


def values(table: pd.DataFrame) -> list[NamedValue]:
    """Every number of this half of chapter 3 that a claim's rule or its prose uses, as far as its arms were run."""
    ran = set(table["arm"])
    found = [*_medium_values(table, ran), *_text_values(table)]
    if {TRAINED, FROZEN} <= ran:
        found += _noun_values(table)
    if len(spreads(table)):
        found += _curation_values(table)
    if {"marked_source", "marked_random"} <= ran:
        found += _source_values(table)
    if set(PROBED) <= ran and "labels" in set(table["measure"]):
        found += _probe_values(table)
    return found


#: What the collections of :data:`MEDIA` hold and what their captions say, in the words of descriptions.
_MEDIA_SAID = {
    "named_drawn": "other things drawn, captions name thing and medium",
    "unnamed_drawn": "other things drawn, captions name the thing alone",
    "silent_drawn": "other things drawn, each called “a sketch of a thing”",
    "named_plain": "nothing drawn, captions name thing and medium",
    "unnamed_plain": "nothing drawn, captions name the thing alone",
}


def _medium_values(table: pd.DataFrame, ran: set[str]) -> list[NamedValue]:
    lines = {arm: accuracy(table, arm, "line_held_out") for arm in MEDIA if arm in ran}
    among_all = {arm: accuracy(table, arm, "line_held_out", "among_all") for arm in lines}
    banana = accuracy(table, "named_drawn", "line_held_out", "banana")
    both, usual = lines["named_drawn"], _MEDIA_SAID["named_drawn"]
    what, never = "zero-shot accuracy", "of four things never drawn in training"
    gains = {
        "both": ("unnamed_plain", "other things drawn and the medium named, minus neither"),
        "language": ("silent_drawn", "other things drawn and named minus drawn but called “a sketch of a thing”"),
        "naming": ("unnamed_drawn", "other things drawn, captions name thing and medium minus the thing alone"),
    }
    return [
        NamedValue("c21_accuracy_drawings", mean_over_seeds(both), "%", MEDIUM,
                   f"{what} on line drawings {never}, chance 25 %; {usual}"),
        NamedValue("c21_accuracy_pictures", mean_over_seeds(accuracy(table, "named_drawn", "full_held_out")), "%",
                   MEDIUM, f"{what} on full-colour pictures {never}, chance 25 %; {usual}"),
        NamedValue("c21_accuracy_banana", mean_over_seeds(banana), "%", MEDIUM,
                   f"{what} on line drawings of the banana, one {never}, chance 25 %; {usual}"),
        *(
            NamedValue(f"c21_accuracy_{arm}", mean_over_seeds(found), "%", MEDIUM,
                       f"{what} on line drawings {never}, chance 25 %; {_MEDIA_SAID[arm]}")
            for arm, found in lines.items()
            if arm != "named_drawn"
        ),
        *(
            NamedValue(f"c21_gain_{name}", paired_difference(both, lines[arm]), "points", MEDIUM,
                       f"{what} on line drawings {never}: {difference}")
            for name, (arm, difference) in gains.items()
            if arm in lines
        ),
        *(
            NamedValue(f"c21_among_all_{arm}", mean_over_seeds(found), "%", CURATION,
                       f"{what} among twelve things, chance 8 %, on line drawings {never}; {_MEDIA_SAID[arm]}")
            for arm, found in among_all.items()
        ),
    ]  # fmt: skip


def _text_values(table: pd.DataFrame) -> list[NamedValue]:
    trained = text_gap(table, "named_drawn")
    fixed = float(text_gap(table, SENTENCES).iloc[0])
    picture = "“a picture of X” and"
    what = f"cosine of the texts {picture} “a sketch of X” minus that of {picture} “a picture of Y”"
    return [
        NamedValue("c22_gap_trained", mean_over_seeds(trained), "", TEXTS, f"{what}, text tower trained here"),
        NamedValue("c22_gap_held_out", mean_over_seeds(text_gap(table, "named_drawn", held_out_only=True)), "", TEXTS,
                   f"{what}, text tower trained here, X never called a sketch"),
        NamedValue("c22_gap_sentences", Estimate(fixed, fixed, fixed, 0, 0.0), "", TEXTS,
                   f"{what}, published sentence encoder, which has no seeds", digits=2),
    ]  # fmt: skip


def _noun_values(table: pd.DataFrame) -> list[NamedValue]:
    frozen, trained = slope_meaning(table, FROZEN), slope_meaning(table, TRAINED)
    same = separation(table, FROZEN, OTHER, 1.0)
    apart = "distance of one thing before two backgrounds, in distances between things"
    slopes = f"{apart}: slope on the cosine of its captions"
    towers = {TRAINED: "text tower trained from nothing", FROZEN: "text tower that knows meanings"}
    names = {"same": "the same name", "synonym": "synonyms", "related": "related names", "other": "unlike names"}
    return [
        NamedValue("c15_slope_shared", mean_over_seeds(slope_shared(table, TRAINED)), "", NOUNS,
                   f"{apart}: change as captions go from never to always the same name, {towers[TRAINED]}"),
        NamedValue("c15_slope_meaning_frozen", mean_over_seeds(frozen), "", NOUNS, f"{slopes}, {towers[FROZEN]}"),
        NamedValue("c15_slope_meaning_trained", mean_over_seeds(trained), "", NOUNS, f"{slopes}, {towers[TRAINED]}"),
        NamedValue("c15_slope_meaning_difference", paired_difference(frozen, trained), "", NOUNS,
                   f"{slopes}, {towers[FROZEN]} minus trained one"),
        NamedValue("c15_synonym_gap", paired_difference(separation(table, FROZEN, SYNONYM), same), "", NOUNS,
                   f"{apart}: captions with synonyms minus with the same name, {towers[FROZEN]}"),
        *(
            NamedValue(f"c15_separation_{name}_{arm.removeprefix('nouns_')}",
                       mean_over_seeds(separation(table, arm, kind, shared)), "", NOUNS,
                       f"{apart}, captions with {names[name]}, {towers[arm]}")
            for arm in (TRAINED, FROZEN)
            for name, kind, shared in (
                ("same", OTHER, 1.0), ("synonym", SYNONYM, 0.0), ("related", RELATED, 0.0), ("other", OTHER, 0.0),
            )
        ),
    ]  # fmt: skip


def _curation_values(table: pd.DataFrame) -> list[NamedValue]:
    by = spreads(table)
    what = "standard deviation of zero-shot accuracy on pictures unlike those of training"
    between = {"curations": "ways to curate", "recipes": "ways to train", "seeds": "seeds"}
    return [
        *(
            NamedValue(f"c20_spread_{name}", mean_over_seeds(by[name]), "points", CURATION, f"{what}, between {said}")
            for name, said in between.items()
        ),
        NamedValue("c20_excess_over_seeds", paired_difference(by["curations"], by["seeds"]), "points", CURATION,
                   f"{what}: between {between['curations']} minus between {between['seeds']}"),
        NamedValue("c20_excess_over_recipes", paired_difference(by["curations"], by["recipes"]), "points", CURATION,
                   f"{what}: between {between['curations']} minus between {between['recipes']}"),
    ]  # fmt: skip


def _source_values(table: pd.DataFrame) -> list[NamedValue]:
    careful, careless = (token_gain(table, "marked_source", pictures) for pictures in ("careful", "careless"))
    control = token_gain(table, "marked_random", "careful")
    gain = "zero-shot accuracy with the token “itap” in the prompt minus without"
    return [
        NamedValue("c23_gain_careful", mean_over_seeds(careful), "points", SOURCE,
                   f"{gain}, on pictures of the careful source, whose captions begin with it"),
        NamedValue("c23_gain_careless", mean_over_seeds(careless), "points", SOURCE,
                   f"{gain}, on pictures of the careless source, whose captions lack it"),
        NamedValue("c23_gain_random", mean_over_seeds(control), "points", SOURCE,
                   f"{gain}, on pictures of the careful source, token planted in captions at random"),
        NamedValue("c23_gain_over_random", paired_difference(careful, control), "points", SOURCE,
                   f"{gain}, on careful pictures: token of the careful source minus token planted at random"),
        NamedValue("c23_gain_difference", paired_difference(careful, careless), "points", SOURCE,
                   f"{gain}, token of the careful source: on careful pictures minus on careless ones"),
    ]  # fmt: skip


def _probe_values(table: pd.DataFrame) -> list[NamedValue]:
    fine = probe(table, "object_labels")
    arms = {"groups": "group_labels", "tags": "tags"}
    coarse = {"groups": "labels of groups", "tags": "incomplete tags of group and place"}
    readers = {"captions": "captions", "tags": "tags"}
    sources = {**coarse, "captions": "captions that name the group", "objects": "labels of objects"}
    what, before = "accuracy of a probe on the embedding for the object", "accuracy of a probe before the projection"
    return [
        *(
            NamedValue(f"c24_loss_{name}", paired_difference(fine, probe(table, arm)), "points", PROBES,
                       f"{what}: trained on labels of objects minus on {coarse[name]}")
            for name, arm in arms.items()
        ),
        *(
            NamedValue(f"c24_loss_{name}_backbone",
                       paired_difference(probe(table, "object_labels", "backbone"), probe(table, arm, "backbone")), "points",
                       PROBES, f"{before} for the object: trained on labels of objects minus on {coarse[name]}")
            for name, arm in arms.items()
        ),
        *(
            NamedValue(f"c24_probe_{name}_span", mean_over_seeds(probe(table, arm, "span")), "%", PROBES,
                       "accuracy of a probe for the object in the part of the embedding that the "
                       f"{readers.get(name, 'labels')} can read, trained on {sources[name]}")
            for name, arm in {**arms, "captions": "group_captions", "objects": "object_labels"}.items()
        ),
        NamedValue("c24_loss_captions",
                   paired_difference(probe(table, "unnamed_plain"), probe(table, "group_captions")), "points", PROBES,
                   f"{what}: trained on captions that name it minus on captions that name its group"),
        NamedValue("c24_probe_untrained", mean_over_seeds(probe(table, "untrained")), "%", PROBES,
                   f"{what}, untrained image tower, chance 8 %"),
    ]  # fmt: skip
