"""Chapter 1: from the tables of its experiments to the numbers its claims are decided by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from clip_invariance.chapters.c1_places import place_informative, place_support, red_green
from clip_invariance.chapters.c1_places.place_support import PATIENT
from clip_invariance.measure.statistics import Estimate, NamedValue, mean_over_seeds, paired_difference
from clip_invariance.profiles import Profile
from clip_invariance.units import Unit

PLACES = "accuracy_by_place"
HEIGHT = "accuracy_by_height"
KEPT_BELOW = "objects_kept_below"
COUNT = "number_of_places"
SHIFT = "shift_error"
LABELS = "labels_define_place"
INFORMATIVE = "cost_of_global_invariance"
CONSISTENCY = "shift_consistency"
REACH = "positions_and_reach"

#: Architectures as descriptions name them.
NETS = {
    "torus_pool": "torus CNN",
    "zero_pool": "ordinary CNN with global pooling",
    "zero_flatten": "CNN with flattened features",
    "mlp": "MLP",
    "vit": "vision transformer",
}


def all_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Every unit of the chapter."""
    makers = (place_support.units, place_support.control_units, red_green.units, place_informative.units)
    return [unit for make in makers for unit in make(profile, seeds, device)]


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


def drop(table: pd.DataFrame, architecture: str, support: str, labels: str = "object") -> Estimate:
    """Accuracy at places like those of training minus accuracy outside them, in points."""
    arm = {"architecture": architecture, "support": support, "labels": labels}
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
    shifted = "largest change of a picture's features under a torus shift, in percent of the distance between classes"
    halves = "accuracy of a CNN that pools each half apart minus one that pools the whole canvas"
    read = "accuracy of a probe for the object's place (16 cells), mean of flattened CNN and MLP"
    kept = "pictures that keep their predicted object under a random torus shift"
    return [
        NamedValue("c01_shift_error_torus", largest_shift_error(places, "torus_pool"), "%", SHIFT,
                   f"{shifted}, {NETS['torus_pool']}", digits=6),
        NamedValue("c01_shift_error_zero_pool", largest_shift_error(places, "zero_pool"), "%", SHIFT,
                   f"{shifted}, ordinary CNN (zero padding, stride, global pooling)"),
        *(
            NamedValue(f"c01_shift_error_{net}", largest_shift_error(places, net), "%", SHIFT, f"{shifted}, {what}")
            for net, what in (
                ("circular_pool", "CNN with circular padding and plain stride"),
                ("aligned_pool", "CNN with zero padding and aligned stride"),
            )
        ),
        *(
            NamedValue(f"c02_drop_{name}", drop(places, net, "one"), "points", PLACES,
                       f"accuracy at the one training place minus accuracy elsewhere, {NETS[net]}")
            for name, net in (("torus", "torus_pool"), ("zero_flatten", "zero_flatten"), ("mlp", "mlp"))
        ),
        *(
            NamedValue(f"c03_gain_{net}", gain_from_places(places, net), "points", COUNT,
                       f"accuracy at new places, trained everywhere minus trained at one place, {NETS[net]}")
            for net in ("zero_flatten", "mlp")
        ),
        *(
            NamedValue(f"c04_drop_{net}", drop(places, net, "bottom"), "points", HEIGHT,
                       f"accuracy in the trained lower half minus accuracy in the upper half, {NETS[net]}")
            for net in ("torus_pool", "zero_pool", "zero_flatten", "mlp", "vit")
        ),
        NamedValue("c04_restricted_drop_zero_flatten", restricted_drop(places, "zero_flatten"), "points", KEPT_BELOW,
                   "accuracy below minus above the midline for objects kept below it while others were everywhere, "
                   f"{NETS['zero_flatten']}"),
        NamedValue("c05_gain_informative", paired_difference(informed, uninformed), "points", INFORMATIVE,
                   "what pooling each half apart instead of the whole canvas gains in accuracy: objects in their home half "
                   "nine times in ten minus place says nothing"),
        NamedValue("c05_gap_informative", mean_over_seeds(informed), "points", INFORMATIVE,
                   f"{halves}, objects in their home half nine times in ten"),
        NamedValue("c05_gap_uninformative", mean_over_seeds(uninformed), "points", INFORMATIVE,
                   f"{halves}, where place says nothing about the object"),
        NamedValue("c05_gap_moved", mean_over_seeds(moved), "points", INFORMATIVE,
                   f"{halves}, objects out of their home half, trained at home nine times in ten"),
        NamedValue("c06_probe_gain", paired_difference(place_probe(places, "object_half"), place_probe(places, "object")),
                   "points", LABELS, f"{read}: trained on labels that tell its half minus on labels that ignore place"),
        NamedValue("c06_probe_object_labels", mean_over_seeds(place_probe(places, "object")), "%", LABELS,
                   f"{read}, trained on labels that ignore place, chance 6 %"),
        NamedValue("c06_probe_untrained", mean_over_seeds(100 * _untrained_probe(controls)), "%", LABELS,
                   f"{read}, both untrained, chance 6 %"),
        NamedValue("consistency_zero_pool", mean_over_seeds(100 * zero), "%", CONSISTENCY,
                   f"{kept}, {NETS['zero_pool']}, trained with objects everywhere"),
        NamedValue("consistency_gain_blur", paired_difference(100 * blur, 100 * zero), "points", CONSISTENCY,
                   f"{kept}: ordinary CNN with a blur before each subsampling minus without"),
        *_from_one_place(places),
        *_by_network(places, controls),
        *_positions(places),
    ]  # fmt: skip


def _from_one_place(places: pd.DataFrame) -> Iterator[NamedValue]:
    """What pooling carries away from one place, and what many places teach where most of them are new; no rule uses it."""
    for net in ("zero_pool", "vit"):
        if len(per_seed(places, "accuracy", "seen", architecture=net, support="one", labels="object")):
            yield NamedValue(f"c02_drop_{net}", drop(places, net, "one"), "points", PLACES,
                             f"accuracy at the one training place minus accuracy elsewhere, {NETS[net]}")  # fmt: skip
    if len(per_seed(places, "accuracy", "unseen", architecture="vit", support="one", labels="object")):
        yield NamedValue("c03_gain_vit", gain_from_places(places, "vit"), "points", COUNT,
                         f"accuracy at new places, trained everywhere minus trained at one place, {NETS['vit']}"
                         )  # fmt: skip
    for net in ("zero_flatten", "mlp"):
        many, one = (
            100 * per_seed(places, "accuracy", "unseen", architecture=net, support=support, labels="object")
            for support in ("places_64", "one")
        )
        if len(many):
            yield NamedValue(f"c03_gain_64_{net}", paired_difference(many, one), "points", COUNT,
                             f"accuracy all over the canvas, trained at 64 places minus at one, {NETS[net]}")  # fmt: skip


def _by_network(places: pd.DataFrame, controls: pd.DataFrame) -> Iterator[NamedValue]:
    """What the averages of C04 and C06 are made of; no rule uses it. Arms that a profile leaves out are left out."""
    kinds = {"object": "labels that ignore place", "object_half": "labels that tell its half"}
    probe, room = (
        "accuracy of a probe for the object's place (16 cells)",
        "share of the features' variance due to place",
    )
    for labels, what in kinds.items():
        for net, name in NETS.items():
            for metric, means in (("place_probe", probe), ("place_share", room)):
                found = per_seed(places, metric, architecture=net, support="everywhere", labels=labels)
                if len(found):
                    yield NamedValue(f"{metric}_{net}_{labels}", mean_over_seeds(100 * found), "%", LABELS,
                                     f"{means}, {name} trained on {what}")  # fmt: skip
    without = {"pixels": ("pixels", "raw pixels")}
    without |= {f"{net}_untrained": (f"untrained {net}", f"{NETS[net]} untrained") for net in ("zero_flatten", "mlp")}
    for metric, means in (("place_probe", probe), ("place_share", room)):
        for name, (group, what) in without.items():
            rows = controls[(controls["metric"] == metric) & (controls["group"] == group)]
            if len(rows):
                share = mean_over_seeds(100 * rows.groupby("seed")["value"].mean())
                yield NamedValue(f"{metric}_{name}", share, "%", LABELS, f"{means}, {what}")
    for net in ("zero_flatten", "mlp"):
        gain = paired_difference(*(place_probe(places, labels, [net]) for labels in ("object_half", "object")))
        yield NamedValue(f"c06_probe_gain_{net}", gain, "points", LABELS,
                         f"{probe}, {NETS[net]}: trained on labels that tell its half minus on labels that ignore place"
                         )  # fmt: skip
    for support, where in (("one", "at one place"), ("everywhere", "everywhere")):
        found = per_seed(places, "accuracy", "unseen", architecture="vit", support=support, labels="object")
        if len(found):
            yield NamedValue(f"c03_vit_{support}", mean_over_seeds(100 * found), "%", COUNT,
                             f"accuracy at new places, {NETS['vit']} trained {where}")  # fmt: skip


def _positions(table: pd.DataFrame) -> Iterator[NamedValue]:
    """Whether the transformer has learned to use its positions, and how far it reaches then; no rule uses it."""
    longer = f"{NETS['vit']} trained ten times as long"
    for name, net, what in (("usual", "vit", NETS["vit"]), ("patient", PATIENT, longer)):
        told = per_seed(table, "accuracy", "seen", architecture=net, support="everywhere", labels="object_half")
        if len(told):
            yield NamedValue(f"positions_vit_{name}", mean_over_seeds(100 * told), "%", REACH,
                             f"accuracy at naming the object and its half, chance 2 %, {what}")  # fmt: skip
    if not (table["architecture"] == PATIENT).any():
        return
    for name, labels, what in (
        ("patient", "object", "labels ignore place"),
        ("side", "object_side", "labels tell left from right"),
    ):
        yield NamedValue(f"c04_drop_vit_{name}", drop(table, PATIENT, "bottom", labels), "points", REACH,
                         "accuracy in the trained lower half minus accuracy in the upper half, "
                         f"{longer}, {what}")  # fmt: skip
        below = per_seed(table, "accuracy", "seen", architecture=PATIENT, support="bottom", labels=labels)
        yield NamedValue(f"below_vit_{name}", mean_over_seeds(100 * below), "%", REACH,
                         f"accuracy in the trained lower half, {longer}, {what}")  # fmt: skip


def _untrained_probe(controls: pd.DataFrame) -> pd.Series:
    """Place probe on untrained nets of the two architectures of claim C06, per seed."""
    chosen = (controls["metric"] == "place_probe") & controls["group"].isin(["untrained zero_flatten", "untrained mlp"])
    return controls[chosen].groupby("seed")["value"].mean()
