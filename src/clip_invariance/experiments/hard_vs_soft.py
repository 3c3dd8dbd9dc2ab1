"""Chapter 1: from the tables of its experiments to the numbers its claims are decided by."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from clip_invariance.experiments import place_informative
from clip_invariance.measure.statistics import Estimate, NamedValue, mean_over_seeds, paired_difference

PLACES = "accuracy_by_place"
HEIGHT = "accuracy_by_height"
KEPT_BELOW = "objects_kept_below"
COUNT = "number_of_places"
SHIFT = "shift_error"
LABELS = "labels_define_place"
INFORMATIVE = "cost_of_global_invariance"
CONSISTENCY = "shift_consistency"


def per_seed(table: pd.DataFrame, metric: str, group: str | None = None, **arm: str) -> pd.Series:
    """One number per seed: the mean of a metric in an arm, indexed by seed.

    Args:
        table: results of ``place_support``.
        metric: the metric's name.
        group: its group, if it has groups.
        arm: any of architecture, support and labels.
    """
    chosen = table["metric"] == metric
    if group is not None:
        chosen &= table["group"] == group
    for column, value in arm.items():
        chosen &= table[column] == value
    return table[chosen].groupby("seed")["value"].mean()


def drop(table: pd.DataFrame, architecture: str, support: str) -> Estimate:
    """Accuracy at places like those of training minus accuracy outside them, in points."""
    arm = {"architecture": architecture, "support": support, "labels": "object"}
    seen = per_seed(table, "accuracy", "seen", **arm)
    return paired_difference(100 * seen, 100 * per_seed(table, "accuracy", "unseen", **arm))


def gain_from_places(table: pd.DataFrame, architecture: str) -> Estimate:
    """Accuracy at new places, trained everywhere minus trained at one place, in points."""
    everywhere, one = (
        per_seed(table, "accuracy", "unseen", architecture=architecture, support=support, labels="object")
        for support in ("everywhere", "one")
    )
    return paired_difference(100 * everywhere, 100 * one)


def largest_shift_error(table: pd.DataFrame, architecture: str) -> Estimate:
    """Largest shift error of the trained features, in percent of the distance between classes; mean over supports."""
    return mean_over_seeds(100 * per_seed(table, "shift_error", architecture=architecture, labels="object"))


def restricted_drop(table: pd.DataFrame, architecture: str) -> Estimate:
    """Biscione's control: objects never seen above the midline, while others were. Accuracy below minus above, points."""
    below, above = (
        per_seed(table, "accuracy", f"restricted {half}", architecture=architecture, support="mixed")
        for half in ("below", "above")
    )
    return paired_difference(100 * below, 100 * above)


def place_probe(table: pd.DataFrame, labels: str, architectures: Sequence[str] = ("zero_flatten", "mlp")) -> pd.Series:
    """Accuracy of the place probe in percent, one number per seed, mean over architectures; trained everywhere."""
    arms = [
        per_seed(table, "place_probe", architecture=net, support="everywhere", labels=labels) for net in architectures
    ]
    return 100 * pd.concat(arms, axis=1).mean(axis=1)


def restricted_minus_global(table: pd.DataFrame, at_home: float, group: str) -> pd.Series:
    """Accuracy of the net that knows the half minus that of the globally invariant one, in points, per seed."""
    chosen = table[(table["at_home"] == at_home) & (table["group"] == group)]
    by_net = chosen.pivot(index="seed", columns="architecture", values="value")
    return 100 * (by_net[place_informative.RESTRICTED] - by_net[place_informative.GLOBAL])


def values(places: pd.DataFrame, controls: pd.DataFrame, informative: pd.DataFrame) -> list[NamedValue]:
    """Every number of chapter 1 that a claim's rule or its prose uses."""
    zero, blur = (
        per_seed(places, "consistency", architecture=net, support="everywhere", labels="object")
        for net in ("zero_pool", "zero_pool_blur")
    )
    informed = restricted_minus_global(informative, 0.9, "same world")
    uninformed = restricted_minus_global(informative, 0.5, "same world")
    moved = restricted_minus_global(informative, 0.9, "moved")
    return [
        NamedValue("c01_shift_error_torus", largest_shift_error(places, "torus_pool"), "%", SHIFT,
                   "largest change of a picture's features under a torus shift, torus CNN", digits=6),
        NamedValue("c01_shift_error_zero_pool", largest_shift_error(places, "zero_pool"), "%", SHIFT,
                   "the same, ordinary CNN with zero padding, stride and global pooling"),
        NamedValue("c02_drop_torus", drop(places, "torus_pool", "one"), "points", PLACES,
                   "accuracy at the training place minus accuracy elsewhere, torus CNN"),
        NamedValue("c02_drop_zero_flatten", drop(places, "zero_flatten", "one"), "points", PLACES,
                   "the same, CNN with flattened features"),
        NamedValue("c02_drop_mlp", drop(places, "mlp", "one"), "points", PLACES, "the same, MLP"),
        NamedValue("c03_gain_zero_flatten", gain_from_places(places, "zero_flatten"), "points", COUNT,
                   "accuracy at new places, trained everywhere minus trained at one place, CNN with flattened features"),
        NamedValue("c03_gain_mlp", gain_from_places(places, "mlp"), "points", COUNT, "the same, MLP"),
        *(
            NamedValue(f"c04_drop_{net}", drop(places, net, "bottom"), "points", HEIGHT,
                       f"accuracy in the trained lower half minus accuracy in the upper half, {net}")
            for net in ("torus_pool", "zero_pool", "zero_flatten", "mlp", "vit")
        ),
        NamedValue("c04_restricted_drop_zero_flatten", restricted_drop(places, "zero_flatten"), "points", KEPT_BELOW,
                   "objects kept below the midline while others were everywhere: accuracy below minus above, flattened CNN"),
        NamedValue("c05_gain_informative", paired_difference(informed, uninformed), "points", INFORMATIVE,
                   "advantage of the restricted invariance where place is informative, beyond its advantage where not"),
        NamedValue("c05_gap_informative", mean_over_seeds(informed), "points", INFORMATIVE,
                   "restricted minus global invariance, objects at home nine times in ten"),
        NamedValue("c05_gap_uninformative", mean_over_seeds(uninformed), "points", INFORMATIVE,
                   "restricted minus global invariance, place says nothing"),
        NamedValue("c05_gap_moved", mean_over_seeds(moved), "points", INFORMATIVE,
                   "restricted minus global invariance on objects that left their home half"),
        NamedValue("c06_probe_gain", paired_difference(place_probe(places, "object_half"), place_probe(places, "object")),
                   "points", LABELS, "place probe, place-dependent minus place-independent labels"),
        NamedValue("c06_probe_object_labels", mean_over_seeds(place_probe(places, "object")), "%", LABELS,
                   "place probe on nets trained with place-independent labels"),
        NamedValue("c06_probe_untrained", mean_over_seeds(100 * _untrained_probe(controls)), "%", LABELS,
                   "place probe on untrained nets"),
        NamedValue("consistency_zero_pool", mean_over_seeds(100 * zero), "%", CONSISTENCY,
                   "pictures that keep their prediction under a shift, ordinary CNN"),
        NamedValue("consistency_gain_blur", paired_difference(100 * blur, 100 * zero), "points", CONSISTENCY,
                   "gain of low-pass filtering before subsampling"),
    ]  # fmt: skip


def _untrained_probe(controls: pd.DataFrame) -> pd.Series:
    """Place probe on untrained nets of the two architectures of claim C06, per seed."""
    chosen = (controls["metric"] == "place_probe") & controls["group"].isin(["untrained zero_flatten", "untrained mlp"])
    return controls[chosen].groupby("seed")["value"].mean()
