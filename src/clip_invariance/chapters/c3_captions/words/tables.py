"""What the figures show, and the questions that they and the numbers ask of the measurements.

Questions return one number per seed, none for an arm that a profile lacks.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch

from clip_invariance.chapters.c3_captions.words import arms
from clip_invariance.chapters.c3_captions.words.collection import (
    FLAT,
    LINE,
    OTHER,
    RELATED,
    SIZE,
    SYNONYM,
    careless,
    collection,
)
from clip_invariance.chapters.c3_captions.words.measures import FACTORS, SENTENCES
from clip_invariance.chapters.c3_captions.words.training import Arm
from clip_invariance.measure.statistics import Estimate, mean_over_seeds
from clip_invariance.measure.tables import described, intervals, percent, select
from clip_invariance.worlds import scenes

#: The names that the data of figures give to arms: those of the medium, ways to curate, ways to train on one collection.
MEDIA = {
    "named_drawn": arms.NAMED_DRAWN,
    "silent_drawn": arms.SILENT_DRAWN,
    "unnamed_plain": arms.UNNAMED_PLAIN,
    "unnamed_drawn": arms.UNNAMED_DRAWN,
    "named_plain": arms.NAMED_PLAIN,
}
CURATIONS = MEDIA | {"unrelated": arms.UNRELATED}
RECIPES = {"unnamed_plain": arms.UNNAMED_PLAIN, "vit": arms.TRANSFORMER, "augmented": arms.AUGMENTED}
NOUNS = {"nouns_frozen": arms.NOUNS_FROZEN, "nouns_trained": arms.NOUNS_TRAINED}
MARKED = {"marked_source": arms.MARKED_SOURCE, "marked_random": arms.MARKED_RANDOM}
PROBED = {
    "unnamed_plain": arms.UNNAMED_PLAIN,
    "group_captions": arms.GROUP_CAPTIONS,
    "object_labels": arms.OBJECT_LABELS,
    "group_labels": arms.GROUP_LABELS,
    "tags": arms.TAGS,
    "untrained": arms.UNTRAINED,
}
#: Test sets that are new to every arm.
SHIFTED = ("line_held_out", "flat", "backgrounds", "small")

# ---------------------------------------------------------------- C20 and C21


def accuracy(table: pd.DataFrame, arm: Arm, pictures: str, metric: str = "among_held_out") -> pd.Series:
    """Zero-shot accuracy in percent on a test set."""
    return percent(table, arm=arm, metric=metric, pictures=pictures)


def _transfer(table: pd.DataFrame, named: Mapping[str, Arm], sets: tuple[str, ...], metric: str) -> pd.DataFrame:
    return intervals(
        (
            ({"arm": name, "group": one}, accuracy(table, arm, one, metric))
            for name, arm in named.items()
            for one in sets
        ),
        columns=["arm", "group"],
    )


def medium_table(table: pd.DataFrame) -> pd.DataFrame:
    """Accuracy in percent among the four held-out objects, by arm and by test set (line drawings, full colour)."""
    return _transfer(table, MEDIA, ("line_held_out", "full_held_out"), "among_held_out")


def curation_table(table: pd.DataFrame) -> pd.DataFrame:
    """Accuracy in percent among all objects, by arm and test set: pictures like those of training, and shifted ones."""
    return _transfer(table, CURATIONS | RECIPES, ("same", "flat", "backgrounds", "small", "line_held_out"), "among_all")


def spreads(table: pd.DataFrame) -> pd.DataFrame:
    """Root mean square spread of accuracy on the shifted test sets, in points, one row per seed.

    Columns: "curations" and "recipes", the standard deviation between arms; "seeds", how far arms lie from their own
    means over the seeds (scaled as a standard deviation). Empty unless there are two arms of both kinds.
    """
    cells = {
        kind: pd.concat(
            {(one, name): accuracy(table, arm, one, "among_all") for one in SHIFTED for name, arm in named.items()},
            names=["group", "arm"],
        ).unstack("arm")
        for kind, named in (("curations", CURATIONS), ("recipes", RECIPES))
    }  # (test set, seed) x arm
    if min(each.shape[1] for each in cells.values()) < 2:
        return pd.DataFrame(columns=["curations", "recipes", "seeds"])
    curations = cells["curations"]
    n = len(curations.index.unique("seed"))
    noise = (curations - curations.groupby("group").transform("mean")).pow(2).mean(axis=1) * n / (n - 1)
    variances = pd.DataFrame({kind: each.var(axis=1) for kind, each in cells.items()} | {"seeds": noise})
    return variances.groupby("seed").mean().pow(0.5)


# ---------------------------------------------------------------- C22


def text_table(table: pd.DataFrame) -> pd.DataFrame:
    """Cosines of "a picture of X" in percent of one: with "a sketch of X", and with pictures of other objects; per encoder.

    Rows of the trained tower are split by whether any of its captions called the object a sketch.
    """
    trained = _by_thing(table, arms.NAMED_DRAWN, "other_medium", "other_object", "held_out")
    published = _by_thing(table, SENTENCES, "other_medium", "other_object")
    encoders = {
        "never sketched": trained[trained["held_out"] > 0],
        "sentences": published,
        "sketched": trained[trained["held_out"] == 0],
    }
    lines = []
    for encoder, rows in encoders.items():
        for metric in ("other_medium", "other_object"):
            if len(rows):
                lines.append({"encoder": encoder, "metric": metric, **_described(rows[metric].groupby("seed").mean())})
    return pd.DataFrame(lines)


def _described(samples: pd.Series) -> dict[str, float]:
    """Mean and interval; a single number, such as that of an encoder that has no seeds, is its own interval."""
    only = float(samples.iloc[0])
    return described(Estimate(only, only, only, 1, 0.0) if len(samples) == 1 else mean_over_seeds(samples))


def text_gap(table: pd.DataFrame, arm: Arm | str, *, held_out_only: bool = False) -> pd.Series:
    """Cosine with the same object in another medium minus that with other objects in the same one, per seed."""
    rows = _by_thing(table, arm, "other_medium", "other_object", "held_out")
    if held_out_only:
        rows = rows[rows["held_out"] > 0]
    difference: pd.Series = (rows["other_medium"] - rows["other_object"]).groupby("seed").mean()
    return difference


def _by_thing(table: pd.DataFrame, arm: Arm | str, *metrics: str) -> pd.DataFrame:
    """One row per seed and thing, one column per metric."""
    rows = select(table, arm=arm, metric=metrics)
    return rows.pivot(index=["seed", "thing"], columns="metric", values="value").reindex(columns=list(metrics))


# ---------------------------------------------------------------- C15


def noun_table(table: pd.DataFrame) -> pd.DataFrame:
    """What the figure of C15 shows: one point per object and seed, with how its two names are related.

    ``names`` is "shared" where the two backgrounds share the name in part, else "synonym", "related", "other".
    """
    names = {SYNONYM: "synonym", RELATED: "related", OTHER: "other"}
    columns = ["arm", "seed", "group", "names", "shared", "closeness", "separation"]
    parts = []
    for name, arm in NOUNS.items():
        rows = _nouns(table, arm).reset_index().rename(columns={"thing": "group"})
        parts.append(rows.assign(arm=name, names=rows["kind"].map(names).where(rows["shared"] == 0, "shared")))
    return pd.concat(parts, ignore_index=True)[columns]


def _nouns(table: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    return _by_thing(table, arm, "closeness", "kind", "separation", "shared")


def separation(table: pd.DataFrame, arm: Arm, kind: int, shared: float = 0.0) -> pd.Series:
    """Mean separation of the objects with one treatment, per seed."""
    rows = _nouns(table, arm)
    chosen: pd.Series = rows.loc[(rows["kind"] == kind) & (rows["shared"] == shared), "separation"]
    return chosen.groupby("seed").mean()


def slope_shared(table: pd.DataFrame, arm: Arm) -> pd.Series:
    """Least-squares slope of separation on the share of captions with the same name, per seed; unlike names only."""
    rows = _nouns(table, arm)
    return _slopes(rows[rows["kind"] == OTHER], "shared")


def slope_meaning(table: pd.DataFrame, arm: Arm) -> pd.Series:
    """Least-squares slope of separation on the closeness of two names that are never shared, per seed."""
    rows = _nouns(table, arm)
    return _slopes(rows[rows["shared"] == 0], "closeness")


def _slopes(rows: pd.DataFrame, x: str) -> pd.Series:
    fits = {seed: float(np.polyfit(group[x], group["separation"], 1)[0]) for seed, group in rows.groupby("seed")}
    return pd.Series(fits, dtype=float)


# ---------------------------------------------------------------- C23 and C24


def source_table(table: pd.DataFrame) -> pd.DataFrame:
    """Accuracy in percent with and without the token, by arm and by source of the pictures."""
    return intervals(
        (
            ({"arm": name, "group": source, "metric": metric}, percent(table, arm=arm, metric=metric, pictures=source))
            for name, arm in MARKED.items()
            for source in ("careful", "careless")
            for metric in ("plain", "token")
        ),
        columns=["arm", "group", "metric"],
    )


def token_gain(table: pd.DataFrame, arm: Arm, pictures: str) -> pd.Series:
    """Points of accuracy that prompts gain by the token, per seed."""
    plain, token = (percent(table, arm=arm, metric=metric, pictures=pictures) for metric in ("plain", "token"))
    return token - plain


def probe_table(table: pd.DataFrame) -> pd.DataFrame:
    """Accuracy in percent of probes for object, group, background and place, by arm and depth."""
    return intervals(
        (
            ({"arm": name, "group": depth, "metric": factor}, probe(table, arm, depth, factor))
            for name, arm in PROBED.items()
            for depth in ("backbone", "embedding", "span")
            for factor in FACTORS
        ),
        columns=["arm", "group", "metric"],
    )


def probe(table: pd.DataFrame, arm: Arm, depth: str = "embedding", factor: str = "object") -> pd.Series:
    """Accuracy of one probe in percent, per seed."""
    return percent(table, arm=arm, metric="probe", depth=depth, factor=factor)


# ---------------------------------------------------------------- the pictures

#: What is shown of one picture of an object: its name, the object's number, and what is changed.
EXAMPLES = {
    "in training": (0, {}),
    "line drawing": (0, {"medium": LINE}),
    "flat colours": (0, {"medium": FLAT}),
    "other background": (0, {"background": 3}),
    "small": (0, {"size": 0}),
    "careless source": (0, {}),
    "in training ": (4, {}),
    "also in training": (4, {"medium": LINE}),
}


def example_pixels(seed: int = 3) -> pd.DataFrame:
    """One banana and one mushroom as the experiments show them: picture, row, column, red, green, blue."""
    plain = collection(1, seed)
    parts = []
    for name, (number, changes) in EXAMPLES.items():
        scene = scenes.change(plain, "object", number)
        scene = scenes.change(scenes.change(scene, "rotation", 1), "place", 0)
        for factor, value in changes.items():
            scene = scenes.change(scene, factor, value)
        image = scenes.render(scene, size=SIZE)
        image = careless(image, seed) if name == "careless source" else image
        rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
        red, green, blue = (channel.flatten().numpy() for channel in image[0])
        parts.append(
            pd.DataFrame(
                {"picture": name, "row": rows.flatten().numpy(), "column": columns.flatten().numpy(),
                 "red": red, "green": green, "blue": blue}
            )
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)
