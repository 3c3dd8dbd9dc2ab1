"""Chapter 1: what its figures show. Architectures, supports and labellings get their names here."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from clip_invariance.chapters.c1_places.arms import ARMS, PATIENCE, SOFT, Arm
from clip_invariance.chapters.c1_places.informative import HOMES
from clip_invariance.chapters.c1_places.red_green import PUBLISHED
from clip_invariance.measure.statistics import summarise
from clip_invariance.measure.tables import interval, per_seed, percent, select, with_arms
from clip_invariance.worlds.placed import SIZE

NAMES = {
    "torus_pool": "torus CNN",
    "zero_pool": "ordinary CNN",
    "circular_pool": "CNN, border wraps",
    "aligned_pool": "CNN, strides aligned",
    "zero_pool_blur": "CNN, blurred",
    "zero_flatten": "flattened CNN",
    "mlp": "MLP",
    "vit": "ViT",
}
#: Variants of the ordinary CNN that are there for the question of what a shift does.
VARIANTS = ("circular_pool", "aligned_pool", "zero_pool_blur")
SUPPORTS = {"one": "one place", "bottom": "lower half", "everywhere": "everywhere"}
#: Support -> training places.
COUNTS = {"one": 1, "places_4": 4, "places_16": 16, "places_64": 64, "everywhere": SIZE * SIZE}
#: Trained as long as the others; the patient transformers have a figure of their own.
USUAL = tuple(arm for arm in ARMS if arm.longer == 1)
OBJECTS = tuple(arm for arm in USUAL if arm.labelling == "object")


def accuracy_map(table: pd.DataFrame) -> pd.DataFrame:
    """Accuracy at each place, mean over seeds: architecture, support, x, y, value, seeds."""
    rows = with_arms(select(table, metric="accuracy_map"), OBJECTS, "architecture", "support")
    keys = ["architecture", "support", "x", "y"]
    return rows.groupby(keys, sort=False)["value"].agg(value="mean", seeds="size").reset_index()


def height_profile(table: pd.DataFrame) -> pd.DataFrame:
    """Trained on the lower half: accuracy and feature cosine by height: architecture, metric, group, y, value."""
    below = [arm for arm in OBJECTS if arm.support == "bottom"]
    rows = with_arms(select(table, metric=("accuracy_map", "cosine")), below, "architecture")
    pairs = rows["objects"].map({"": "same object", "same": "same object", "other": "other object"})
    return summarise(rows.assign(group=pairs), ["architecture", "metric", "group", "y"], "value")


#: Row of the figure of the patient transformers -> its arm.
REACHES: Mapping[str, Arm] = {
    "as long as the others": Arm("vit", "bottom"),
    "ten times as long": Arm("vit", "bottom", longer=PATIENCE),
    "ten times as long,\nlabels tell left from right": Arm("vit", "bottom", "object_side", longer=PATIENCE),
}


def positions_table(table: pd.DataFrame) -> pd.DataFrame:
    """The transformer after a short and a long training; empty where a profile leaves the long one out.

    Returns:
        panel "check" (trained everywhere, labels tell the half) or "reach" (trained on the lower half), training, half
        ("below": where it was trained, "above"; "both" for the check), value and interval.
    """
    rows = []
    if not select(table, arm=tuple(REACHES.values())[1:]).empty:
        for training, arm in REACHES.items():
            for half, where in (("below", "seen"), ("above", "unseen")):
                samples = per_seed(table, arm=arm, metric="accuracy", where=where)
                rows.append({"panel": "reach", "training": training, "half": half, **interval(samples)})
            told = Arm("vit", "everywhere", "object_half", longer=arm.longer)
            if arm.labelling == "object" and len(samples := per_seed(table, arm=told, metric="accuracy", where="seen")):
                rows.append({"panel": "check", "training": training, "half": "both", **interval(samples)})
    return pd.DataFrame(rows, columns=["panel", "training", "half", "value", "low", "high", *(["n"] if rows else [])])


def kept_below(table: pd.DataFrame) -> pd.DataFrame:
    """Biscione's control, by half: objects seen everywhere ("free") and objects kept below ("restricted")."""
    mixed = [arm for arm in USUAL if arm.support == "mixed"]
    rows = with_arms(select(table, metric="accuracy"), mixed, "architecture").rename(columns={"where": "half"})
    return summarise(rows, ["architecture", "objects", "half"], "value")


def by_number_of_places(table: pd.DataFrame) -> pd.DataFrame:
    """Accuracy at new places against the number of training places: architecture, places, value."""
    counted = [arm for arm in OBJECTS if arm.support in COUNTS and arm.architecture not in VARIANTS]
    rows = with_arms(select(table, metric="accuracy", where="unseen"), counted, "architecture", "support")
    return summarise(rows.assign(places=rows["support"].map(COUNTS)), ["architecture", "places"], "value")


def shift_errors(table: pd.DataFrame) -> pd.DataFrame:
    """Largest shift error before and after training, mean over supports: architecture, metric, value."""
    rows = with_arms(select(table, metric=("shift_error", "shift_error_untrained")), OBJECTS, "architecture")
    return summarise(rows, ["architecture", "metric"], "value")


def consistencies(table: pd.DataFrame) -> pd.DataFrame:
    """Share of pictures that keep their prediction under a shift, trained everywhere: architecture, value."""
    return summarise(with_arms(select(table, metric="consistency"), OBJECTS, "architecture"), ["architecture"], "value")


def labels_and_place(table: pd.DataFrame, controls: pd.DataFrame) -> pd.DataFrame:
    """Place probe and place share, trained everywhere, by what the labels say, with the controls.

    Returns:
        labels (an arm's, or "untrained", "pixels", "shuffled labels"), architecture ("pixels" for none), metric, value.
    """
    arms = [arm for arm in USUAL if arm.architecture not in VARIANTS]
    trained = with_arms(select(table, metric=("place_probe", "place_share")), arms, "architecture", "labelling")
    without = {f"untrained {net}": ("untrained", net) for net in SOFT}
    without |= {name: (name, "pixels") for name in ("pixels", "shuffled labels")}
    labels, architecture = zip(*controls["arm"].map(without), strict=True)
    both = [
        trained.rename(columns={"labels": "given"}).rename(columns={"labelling": "labels"}),
        controls.assign(labels=labels, architecture=architecture),
    ]
    return summarise(pd.concat(both, ignore_index=True), ["labels", "architecture", "metric"], "value")


def informative_accuracy(table: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of both poolings against how often objects are at home: architecture, at_home, group, value."""
    rows = with_arms(table, HOMES, "architecture", "at_home").rename(columns={"world": "group"})
    return summarise(rows, ["architecture", "at_home", "group"], "value")


def paper_and_here(table: pd.DataFrame) -> pd.DataFrame:
    """Kayhan & van Gemert's table: accuracy in percent, paper beside this run, one row per border."""
    rows = []
    for border, published in PUBLISHED.items():
        cells: dict[str, object] = {"border": border}
        for test, paper in zip(("similar", "dissimilar"), published, strict=True):
            here = interval(percent(table, arm=border, test=test))
            low, high = max(0.0, here["low"]), min(100.0, here["high"])
            cells[f"{test} (paper)"] = paper
            cells[f"{test} (here)"] = f"{here['value']:.1f} [{low:.1f}, {high:.1f}]"
        rows.append(cells)
    return pd.DataFrame(rows)
