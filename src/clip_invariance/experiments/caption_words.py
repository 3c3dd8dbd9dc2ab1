"""Chapter 3, claims C15 and C20 to C24: from what was measured to what figures show and claims are decided by.

A profile may leave arms out: then the rows and the numbers that need them are left out, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from clip_invariance.experiments.caption_words_measuring import PROBED, SENTENCES, units
from clip_invariance.experiments.caption_words_training import OTHER, RELATED, SYNONYM
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


def _medium_values(table: pd.DataFrame, ran: set[str]) -> list[NamedValue]:
    lines = {arm: accuracy(table, arm, "line_held_out") for arm in MEDIA if arm in ran}
    among_all = {arm: accuracy(table, arm, "line_held_out", "among_all") for arm in lines}
    banana = accuracy(table, "named_drawn", "line_held_out", "banana")
    both = lines["named_drawn"]
    what = "zero-shot accuracy on line drawings of four objects never drawn in training"
    gains = {"both": "unnamed_plain", "language": "silent_drawn", "naming": "unnamed_drawn"}
    return [
        NamedValue("c21_accuracy_drawings", mean_over_seeds(both), "%", MEDIUM, f"{what}, chance 25 %, arm named_drawn"),
        NamedValue("c21_accuracy_pictures", mean_over_seeds(accuracy(table, "named_drawn", "full_held_out")), "%",
                   MEDIUM, "the same objects in full colour"),
        NamedValue("c21_accuracy_banana", mean_over_seeds(banana), "%", MEDIUM, "line drawings of the banana alone"),
        *(
            NamedValue(f"c21_accuracy_{arm}", mean_over_seeds(found), "%", MEDIUM, f"{what}, chance 25 %, arm {arm}")
            for arm, found in lines.items()
            if arm != "named_drawn"
        ),
        *(
            NamedValue(f"c21_gain_{name}", paired_difference(both, lines[arm]), "points", MEDIUM,
                       f"{what}, arm named_drawn minus arm {arm}")
            for name, arm in gains.items()
            if arm in lines
        ),
        *(
            NamedValue(f"c21_among_all_{arm}", mean_over_seeds(found), "%", CURATION,
                       f"{what}, all twelve objects to choose from, chance 8 %, arm {arm}")
            for arm, found in among_all.items()
        ),
    ]  # fmt: skip


def _text_values(table: pd.DataFrame) -> list[NamedValue]:
    trained = text_gap(table, "named_drawn")
    fixed = float(text_gap(table, SENTENCES).iloc[0])
    return [
        NamedValue("c22_gap_trained", mean_over_seeds(trained), "", TEXTS,
                   "cosine of a sketch of X with a picture of X, minus that of two pictures of different objects"),
        NamedValue("c22_gap_held_out", mean_over_seeds(text_gap(table, "named_drawn", held_out_only=True)), "", TEXTS,
                   "the same for the objects that no caption called a sketch"),
        NamedValue("c22_gap_sentences", Estimate(fixed, fixed, fixed, len(trained), 0.0), "", TEXTS,
                   "the same in the published sentence encoder, which has no seeds", digits=2),
    ]  # fmt: skip


def _noun_values(table: pd.DataFrame) -> list[NamedValue]:
    frozen, trained = slope_meaning(table, FROZEN), slope_meaning(table, TRAINED)
    same = separation(table, FROZEN, OTHER, 1.0)
    return [
        NamedValue("c15_slope_shared", mean_over_seeds(slope_shared(table, TRAINED)), "", NOUNS,
                   "change of the distance of two pictures, in distances between objects, when the share of captions with "
                   "the same name goes from none to all"),
        NamedValue("c15_slope_meaning_frozen", mean_over_seeds(frozen), "", NOUNS,
                   "the same per unit of cosine between the two captions, text tower that knows meanings"),
        NamedValue("c15_slope_meaning_trained", mean_over_seeds(trained), "", NOUNS,
                   "the same, text tower trained from nothing"),
        NamedValue("c15_slope_meaning_difference", paired_difference(frozen, trained), "", NOUNS,
                   "difference of these two slopes"),
        NamedValue("c15_synonym_gap", paired_difference(separation(table, FROZEN, SYNONYM), same), "", NOUNS,
                   "distance of two pictures with synonymous names minus that of two with the same name"),
        *(
            NamedValue(f"c15_separation_{name}_{arm.removeprefix('nouns_')}",
                       mean_over_seeds(separation(table, arm, kind, shared)), "", NOUNS,
                       f"distance of two pictures of one thing in distances between objects, names: {name}")
            for arm in (TRAINED, FROZEN)
            for name, kind, shared in (
                ("same", OTHER, 1.0), ("synonym", SYNONYM, 0.0), ("related", RELATED, 0.0), ("other", OTHER, 0.0),
            )
        ),
    ]  # fmt: skip


def _curation_values(table: pd.DataFrame) -> list[NamedValue]:
    by = spreads(table)
    return [
        *(
            NamedValue(f"c20_spread_{name}", mean_over_seeds(by[name]), "points", CURATION,
                       f"standard deviation of accuracy on shifted test sets between {name}")
            for name in ("curations", "recipes", "seeds")
        ),
        NamedValue("c20_excess_over_seeds", paired_difference(by["curations"], by["seeds"]), "points", CURATION,
                   "spread between curations minus spread between seeds"),
        NamedValue("c20_excess_over_recipes", paired_difference(by["curations"], by["recipes"]), "points", CURATION,
                   "spread between curations minus spread between ways to train"),
    ]  # fmt: skip


def _source_values(table: pd.DataFrame) -> list[NamedValue]:
    careful, careless = (token_gain(table, "marked_source", pictures) for pictures in ("careful", "careless"))
    control = token_gain(table, "marked_random", "careful")
    return [
        NamedValue("c23_gain_careful", mean_over_seeds(careful), "points", SOURCE,
                   "accuracy with the token minus without, pictures like those of its source"),
        NamedValue("c23_gain_careless", mean_over_seeds(careless), "points", SOURCE,
                   "the same on pictures of the other source"),
        NamedValue("c23_gain_random", mean_over_seeds(control), "points", SOURCE,
                   "the same on careful pictures, with a token planted at random"),
        NamedValue("c23_gain_over_random", paired_difference(careful, control), "points", SOURCE,
                   "gain by the token of a source minus gain by a token planted at random, careful pictures"),
        NamedValue("c23_gain_difference", paired_difference(careful, careless), "points", SOURCE,
                   "gain on pictures of the token's source minus gain on pictures of the other source"),
    ]  # fmt: skip


def _probe_values(table: pd.DataFrame) -> list[NamedValue]:
    fine = probe(table, "object_labels")
    arms = {"groups": "group_labels", "tags": "tags"}
    return [
        *(
            NamedValue(f"c24_loss_{name}", paired_difference(fine, probe(table, arm)), "points", PROBES,
                       f"probe for the object on the embedding: trained on objects minus trained on {name}")
            for name, arm in arms.items()
        ),
        *(
            NamedValue(f"c24_loss_{name}_backbone",
                       paired_difference(probe(table, "object_labels", "backbone"), probe(table, arm, "backbone")), "points",
                       PROBES, f"the same on the features before the projection, {name}")
            for name, arm in arms.items()
        ),
        *(
            NamedValue(f"c24_probe_{name}_span", mean_over_seeds(probe(table, arm, "span")), "%", PROBES,
                       f"probe for the object on what the labels themselves can read, {name}")
            for name, arm in {**arms, "captions": "group_captions", "objects": "object_labels"}.items()
        ),
        NamedValue("c24_loss_captions",
                   paired_difference(probe(table, "unnamed_plain"), probe(table, "group_captions")), "points", PROBES,
                   "probe for the object on the embedding: captions that name it minus captions that name its group"),
        NamedValue("c24_probe_untrained", mean_over_seeds(probe(table, "untrained")), "%", PROBES,
                   "probe for the object on the embedding of an untrained tower"),
    ]  # fmt: skip
