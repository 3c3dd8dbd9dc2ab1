"""Chapter 1: the numbers that its claims are decided by and that its pages quote."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from clip_invariance.chapters.c1_places.arms import PATIENCE, Arm
from clip_invariance.chapters.c1_places.informative import GLOBAL, RESTRICTED, Home
from clip_invariance.chapters.c1_places.tables import OBJECTS
from clip_invariance.measure.statistics import NamedValue
from clip_invariance.measure.tables import gap, made, mean, mean_over, percent
from clip_invariance.units import label

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
#: The two whose probes claim C06 averages.
PROBED = ("zero_flatten", "mlp")
PROBE, SHARE = "accuracy of a probe for the object's place (16 cells)", "share of the features' variance due to place"
TOLD = {"object": "labels that ignore place", "object_half": "labels that tell its half"}

Values = Iterator[NamedValue | None]


def values(places: pd.DataFrame, controls: pd.DataFrame, informative: pd.DataFrame) -> list[NamedValue]:
    """Every number of chapter 1; those whose arms a profile leaves out are left out."""
    parts = (_shifts(places), _supports(places), _positions(places), _home(informative), _labels(places, controls))
    return made(value for part in parts for value in part)


def seen_and_unseen(places: pd.DataFrame, arm: Arm) -> tuple[pd.Series, pd.Series]:
    """Accuracy at places like those of training and outside them, in percent per seed."""
    seen, unseen = (percent(places, arm=arm, metric="accuracy", where=where) for where in ("seen", "unseen"))
    return seen, unseen


def place_probe(table: pd.DataFrame, *arms: object) -> pd.Series:
    """Accuracy of the place probe in percent per seed, mean over arms."""
    return 100 * mean_over(table, "arm", [str(label(arm)) for arm in arms], metric="place_probe")


def restricted_minus_global(table: pd.DataFrame, at_home: float, world: str) -> pd.Series:
    """Accuracy of the net that knows the half minus that of the globally invariant one, in points per seed."""
    restricted, everywhere = (percent(table, arm=Home(net, at_home), world=world) for net in (RESTRICTED, GLOBAL))
    return restricted - everywhere


def _shifts(places: pd.DataFrame) -> Values:
    shifted = "largest change of a picture's features under a torus shift, in percent of the distance between classes"
    variants = (
        ("torus", "torus_pool", NETS["torus_pool"], 6),
        ("zero_pool", "zero_pool", "ordinary CNN (zero padding, stride, global pooling)", None),
        ("circular_pool", "circular_pool", "CNN with circular padding and plain stride", None),
        ("aligned_pool", "aligned_pool", "CNN with zero padding and aligned stride", None),
    )
    for name, net, what, digits in variants:
        arms = [str(label(arm)) for arm in OBJECTS if arm.architecture == net]
        errors = 100 * mean_over(places, "arm", arms, metric="shift_error")
        yield mean(f"c01_shift_error_{name}", errors, SHIFT, f"{shifted}, {what}", kind="ratio", digits=digits)
    kept = "pictures that keep their predicted object under a random torus shift"
    plain, blurred = (
        percent(places, arm=Arm(net, "everywhere"), metric="consistency") for net in ("zero_pool", "zero_pool_blur")
    )
    what = f"{kept}, {NETS['zero_pool']}, trained with objects everywhere"
    yield mean("consistency_zero_pool", plain, CONSISTENCY, what, kind="share")
    what = f"{kept}: ordinary CNN with a blur before each subsampling minus without"
    yield gap("consistency_gain_blur", blurred, plain, CONSISTENCY, what)


def _supports(places: pd.DataFrame) -> Values:
    """What a net knows of places where it was not trained."""
    for net, what in NETS.items():
        name = "torus" if net == "torus_pool" else net
        drop = f"accuracy at the one training place minus accuracy elsewhere, {what}"
        yield gap(f"c02_drop_{name}", *seen_and_unseen(places, Arm(net, "one")), PLACES, drop)
        drop = f"accuracy in the trained lower half minus accuracy in the upper half, {what}"
        yield gap(f"c04_drop_{net}", *seen_and_unseen(places, Arm(net, "bottom")), HEIGHT, drop)
    for net in (*PROBED, "vit"):
        everywhere, one, many = (
            seen_and_unseen(places, Arm(net, support))[1] for support in ("everywhere", "one", "places_64")
        )
        gain = f"accuracy at new places, trained everywhere minus trained at one place, {NETS[net]}"
        yield gap(f"c03_gain_{net}", everywhere, one, COUNT, gain)
        if net in PROBED:
            gain = f"accuracy all over the canvas, trained at 64 places minus at one, {NETS[net]}"
            yield gap(f"c03_gain_64_{net}", many, one, COUNT, gain)
        else:
            for support, samples, where in (("one", one, "at one place"), ("everywhere", everywhere, "everywhere")):
                reached = f"accuracy at new places, {NETS[net]} trained {where}"
                yield mean(f"c03_vit_{support}", samples, COUNT, reached, kind="share")
    below, above = (
        percent(places, arm=Arm("zero_flatten", "mixed"), metric="accuracy", objects="restricted", where=where)
        for where in ("below", "above")
    )
    drop = "accuracy below minus above the midline for objects kept below it while others were everywhere"
    yield gap("c04_restricted_drop_zero_flatten", below, above, KEPT_BELOW, f"{drop}, {NETS['zero_flatten']}")


def _positions(places: pd.DataFrame) -> Values:
    """Whether the transformer has learned to use its positions, and how far it reaches then."""
    patient = f"{NETS['vit']} trained ten times as long"
    for name, longer, what in (("usual", 1, NETS["vit"]), ("patient", PATIENCE, patient)):
        told, _ = seen_and_unseen(places, Arm("vit", "everywhere", "object_half", longer))
        what = f"accuracy at naming the object and its half, chance 2 %, {what}"
        yield mean(f"positions_vit_{name}", told, REACH, what, kind="share")
    drop = f"accuracy in the trained lower half minus accuracy in the upper half, {patient}"
    for name, labelling, what in (
        ("patient", "object", "labels ignore place"),
        ("side", "object_side", "labels tell left from right"),
    ):
        both = seen_and_unseen(places, Arm("vit", "bottom", labelling, PATIENCE))
        yield gap(f"c04_drop_vit_{name}", *both, REACH, f"{drop}, {what}")


def _home(informative: pd.DataFrame) -> Values:
    informed, uninformed, moved = (
        restricted_minus_global(informative, at_home, world)
        for at_home, world in ((0.9, "same world"), (0.5, "same world"), (0.9, "moved"))
    )
    gain = (
        "what pooling each half apart instead of the whole canvas gains in accuracy: objects in their home half "
        "nine times in ten minus place says nothing"
    )
    yield gap("c05_gain_informative", informed, uninformed, INFORMATIVE, gain)
    halves = "accuracy of a CNN that pools each half apart minus one that pools the whole canvas"
    for name, samples, where in (
        ("informative", informed, "objects in their home half nine times in ten"),
        ("uninformative", uninformed, "where place says nothing about the object"),
        ("moved", moved, "objects out of their home half, trained at home nine times in ten"),
    ):
        yield mean(f"c05_gap_{name}", samples, INFORMATIVE, f"{halves}, {where}", kind="difference")


def _labels(places: pd.DataFrame, controls: pd.DataFrame) -> Values:
    """What labels do to place in the features."""
    both = f"{PROBE}, mean of flattened CNN and MLP"
    told, ignored = (
        place_probe(places, *(Arm(net, "everywhere", labelling) for net in PROBED))
        for labelling in ("object_half", "object")
    )
    untrained = place_probe(controls, *(f"untrained {net}" for net in PROBED))
    gain = "trained on labels that tell its half minus on labels that ignore place"
    yield gap("c06_probe_gain", told, ignored, LABELS, f"{both}: {gain}")
    what = f"{both}, trained on labels that ignore place, chance 6 %"
    yield mean("c06_probe_object_labels", ignored, LABELS, what, kind="share")
    yield mean("c06_probe_untrained", untrained, LABELS, f"{both}, both untrained, chance 6 %", kind="share")
    for metric, means in (("place_probe", PROBE), ("place_share", SHARE)):
        for net, name in NETS.items():
            for labelling, what in TOLD.items():
                samples = percent(places, arm=Arm(net, "everywhere", labelling), metric=metric)
                what = f"{means}, {name} trained on {what}"
                yield mean(f"{metric}_{net}_{labelling}", samples, LABELS, what, kind="share")
        samples = percent(controls, arm="pixels", metric=metric)
        yield mean(f"{metric}_pixels", samples, LABELS, f"{means}, raw pixels", kind="share")
        for net in PROBED:
            samples = percent(controls, arm=f"untrained {net}", metric=metric)
            yield mean(f"{metric}_{net}_untrained", samples, LABELS, f"{means}, {NETS[net]} untrained", kind="share")
    for net in PROBED:
        tell, ignore = (place_probe(places, Arm(net, "everywhere", which)) for which in ("object_half", "object"))
        yield gap(f"c06_probe_gain_{net}", tell, ignore, LABELS, f"{PROBE}, {NETS[net]}: {gain}")
