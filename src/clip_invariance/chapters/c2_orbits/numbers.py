"""Chapter 2: the numbers that its claims are decided by and that its pages quote."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from clip_invariance.chapters.c2_orbits.arms import (
    ALL_IMAGES,
    FEW,
    GROUP_SIZE,
    LONGER,
    NARROW,
    WHOLE,
    Arm,
    sampled,
)
from clip_invariance.chapters.c2_orbits.orbits import ARTWORK, DIGITS, WIDTH
from clip_invariance.chapters.c2_orbits.sampling import TORUS
from clip_invariance.chapters.c2_orbits.tables import AUGMENTED, AVERAGED, METHODS, PLAIN, method_arms
from clip_invariance.measure.statistics import NamedValue, percent_of
from clip_invariance.measure.tables import gap, made, mean, per_seed, percent, select

EXACT = "exactness"
SAMPLES = "deviation_by_samples"
LOSS = "gap_by_samples"
BOUND = "broken_bounds"
TRAINING = "orbit_loss_by_training"
WIDTHS = "orbit_loss_by_width"
VARIANCE = "orbit_variance"
TEST_TIME = "test_time_averaging"
SIZE = "accuracy_by_training_set"

Values = Iterator[NamedValue | None]
#: The whole orbit as many passes through the net as one sample takes in a full training.
SAME_COMPUTE = Arm(WHOLE, length=1 / GROUP_SIZE)


def values(
    sampling: pd.DataFrame, training: pd.DataFrame, widths: pd.DataFrame, sizes: pd.DataFrame
) -> list[NamedValue]:
    """Every number of chapter 2; those whose arms a profile leaves out are left out."""
    parts = (
        _exact(sampling), _samples(sampling), _bounds(sampling),
        _accuracies(training, widths), _regrets(training, widths),
        _shares(training), _methods(sizes),
    )  # fmt: skip
    return made(value for part in parts for value in part)


def slope(sampling: pd.DataFrame, world: str, replacement: bool) -> pd.Series:
    """Least-squares slope of log deviation on log K, one fit per seed; K < |G| if elements cannot repeat."""
    rows = select(sampling, arm=sampled(world, "shifted"), metric="deviation", replacement=replacement)
    rows = rows if replacement else rows[rows["k"] < rows["k"].max()]
    return pd.Series(
        {
            seed: np.polyfit(np.log(group["k"].astype(float)), np.log(group["value"]), 1)[0]
            for seed, group in rows.groupby("seed")
        }
    )


def accuracy(table: pd.DataFrame, arm: Arm, k: int = GROUP_SIZE) -> pd.Series:
    """Test accuracy in percent per seed, averaged over ``k`` places at test time."""
    return percent(table, arm=arm, metric="accuracy", pictures="test", k=k)


def orbit_loss(table: pd.DataFrame, arm: Arm) -> pd.Series:
    """Orbit loss on training pictures in nats per seed."""
    return per_seed(table, arm=arm, metric="orbit_loss", pictures="train")


def _digits(sampling: pd.DataFrame, metric: str, depth: str, training: str = "shifted", k: int = 0) -> pd.Series:
    """A metric of the averages on digits, per seed."""
    return per_seed(sampling, arm=sampled(DIGITS, training), metric=metric, depth=depth, k=k)


def _exact(sampling: pd.DataFrame) -> Values:
    moved, model = "largest move of the", "orbit model's answer under a torus shift of a"
    for name, world, over, what in (
        ("digits", DIGITS, TORUS, f"{model} digit"),
        ("artwork", ARTWORK, TORUS, f"{model} drawing"),
        ("double", DIGITS, f"{TORUS}, double precision", f"{model} digit, in double precision"),
        ("frame", DIGITS, f"frame of {TORUS}", "frame average's answer under a torus shift of a digit"),
        ("zero_filled", DIGITS, "shifts, zeros moving in",
         "average over shifts that lose pixels when a digit is moved by one of them"),
        ("crops", DIGITS, "crops", "average over crops of a digit with a wide margin when that picture is shifted"),
    ):  # fmt: skip
        samples = per_seed(sampling, arm=sampled(world, "shifted"), metric="exactness", over=over)
        what = f"{moved} {what}, in distances between classes"
        yield mean(f"c07_deviation_{name}", samples, EXACT, what, kind="number")


def _samples(sampling: pd.DataFrame) -> Values:
    slopes = "log-log slope against K of the distance between two answers from K samples each, drawn"
    for name, world, replacement, what in (
        ("digits", DIGITS, True, "with replacement, digits"),
        ("artwork", ARTWORK, True, "with replacement, drawings"),
        ("without", DIGITS, False, "without replacement, digits"),
    ):
        samples = slope(sampling, world, replacement)
        yield mean(f"c08_slope_{name}", samples, SAMPLES, f"{slopes} {what}", kind="number", digits=3)
    one = percent(sampling, arm=sampled(DIGITS, "shifted"), metric="deviation", k=1, replacement=True)
    what = "distance between two single-sample answers to a digit, in percent of the distance between classes"
    yield mean("c08_deviation_one", one, SAMPLES, f"{what}, trained on random shifts", kind="ratio")


def _bounds(sampling: pd.DataFrame) -> Values:
    last, earlier = "average before the last, linear layer", "average one layer earlier"
    broken = "whose single-sample loss is below their orbit loss"
    worst = 100 * select(sampling, metric="failures", depth="linear").groupby("seed")["value"].max()
    what = f"pictures {broken}, {last}, worst of all trainings and of digits and drawings"
    yield mean("c09_failures_linear", worst, BOUND, what, kind="share")
    for name, training, what in (
        ("", "shifted", "trained on random shifts"),
        ("_untrained", "untrained", "untrained net"),
    ):
        samples = 100 * _digits(sampling, "failures", "deep", training)
        yield mean(f"c09_failures_deep{name}", samples, BOUND, f"digits {broken}, {earlier}, {what}", kind="share")
    for depth, where in (("linear", last), ("deep", earlier)):
        what = f"single-sample loss minus orbit loss on test digits, {where}, trained on random shifts"
        yield mean(f"c09_gap_{depth}", _digits(sampling, "gap", depth), LOSS, what, kind="difference", unit="nats")

    def more(metric: str, k: int) -> pd.Series:
        """Sampled (or predicted) minus orbit loss with a linear head."""
        return _digits(sampling, metric, "linear", k=k) - _digits(sampling, "orbit_loss", "linear")

    what = "sampled minus orbit loss with four samples, in percent of that with one, digits"
    left = percent_of(more("loss", 4), more("loss", 1))
    yield mean("c09_gap_left_linear", left, LOSS, f"{what}, {last}", kind="ratio")
    for k in (1, 8):
        share = percent_of(more("predicted_loss", k), more("loss", k))
        what = f"second-order prediction of sampled minus orbit loss at K = {k}, in percent of that measured, digits"
        yield mean(f"c09_prediction_{k}", share, LOSS, f"{what}, {last}", kind="ratio")


def _accuracies(training: pd.DataFrame, widths: pd.DataFrame) -> Values:
    reached = "test accuracy of the orbit model of digits"
    whole, one, four = (accuracy(training, arm) for arm in (AVERAGED, AUGMENTED, Arm("4")))
    for name, other, samples in (("four", four, "four samples"), ("one", one, "one sample")):
        what = f"{reached}: trained on the whole orbit minus trained on {samples}, equal steps"
        yield gap(f"c08_cost_{name}_training", whole, other, TEST_TIME, what)
    what = "test accuracy on digits, trained on one sample: answered from the whole orbit minus from one sample"
    yield gap("c08_cost_one_test", one, accuracy(training, AUGMENTED, 1), TEST_TIME, what)
    averaged, augmented = (accuracy(widths, Arm(objective, NARROW)) for objective in (WHOLE, "1"))
    what = f"{reached}, width {NARROW}: trained on the whole orbit minus trained on one sample, equal steps"
    yield gap("c10_gain_narrow", averaged, augmented, WIDTHS, what)
    what = f"{reached}, width {WIDTH}: trained on one sample minus trained on the whole orbit, equal compute"
    yield gap("c10_gain_compute", one, accuracy(training, SAME_COMPUTE), TRAINING, what)
    what = "test accuracy on digits shown at one place, trained on the whole orbit"
    yield mean("c10_whole_alone", accuracy(training, AVERAGED, 1), TEST_TIME, what, kind="share")
    what = (
        "test accuracy on shifted digits, trained on digits as written: averaged over the orbit minus answered "
        "from one place"
    )
    yield gap("test_time_gain_plain", accuracy(training, PLAIN), accuracy(training, PLAIN, 1), TEST_TIME, what)


def _regrets(training: pd.DataFrame, widths: pd.DataFrame) -> Values:
    """Orbit loss reached by training on one sample, minus that of the whole orbit, in nats."""
    versus = "orbit loss on training digits: trained on one sample minus trained on the whole orbit"
    wide = f"net of width {WIDTH}"
    for name, table, one, whole, figure, what in (
        ("wide", training, AUGMENTED, AVERAGED, TRAINING, f"equal steps, {wide}"),
        ("compute", training, AUGMENTED, SAME_COMPUTE, TRAINING, f"equal compute, {wide}"),
        ("linear", widths, Arm("1", 0), Arm(WHOLE, 0), WIDTHS, "equal steps, linear model"),
        *(
            (f"{name}{long}", widths, Arm("1", width, length=length), Arm(WHOLE, width, length=length), WIDTHS,
             f"{times}equal steps, net of width {width}")
            for name, width, long, length, times in (
                ("narrow", NARROW, "", 1, ""),
                ("narrow", NARROW, "_long", LONGER, "four times as many "),
                ("wide", WIDTH, "_long", LONGER, "four times as many "),
            )
        ),
    ):  # fmt: skip
        reached = orbit_loss(table, one), orbit_loss(table, whole)
        yield gap(f"c10_regret_{name}", *reached, figure, f"{versus}, {what}", unit="nats")
    single = per_seed(training, arm=AUGMENTED, metric="single_loss", pictures="train")
    what = (
        "upper bound on the regret: single-sample loss, trained on one sample, minus orbit loss, trained on the "
        f"whole orbit, {wide}"
    )
    yield gap("c10_regret_bound", single, orbit_loss(training, AVERAGED), TRAINING, what, unit="nats")


def _shares(training: pd.DataFrame) -> Values:
    place = "share of the output's variance that place causes"
    plain, augmented, turned_plain, turned = (
        per_seed(training, arm=arm, metric="place_share", pictures=pictures)
        for pictures in ("test", "turned")
        for arm in (PLAIN, AUGMENTED)
    )
    shifts, written = "trained on random shifts", "trained on digits as written"
    yield mean("c11_share_plain", 100 * plain, VARIANCE, f"{place} on test digits, {written}", kind="share")
    yield mean("c11_share_augmented", 100 * augmented, VARIANCE, f"{place} on test digits, {shifts}", kind="share")
    for name, share, where in (
        ("", percent_of(augmented, plain), "test digits"),
        ("_turned", percent_of(turned, turned_plain), "digits on their side"),
    ):
        what = f"{place} on {where}, {shifts}, in percent of that {written}"
        yield mean(f"c11_share_kept{name}", share, VARIANCE, what, kind="ratio")


def _methods(sizes: pd.DataFrame) -> Values:
    averaging = "feature averaging"
    for name, better, worse, what in (
        ("over_augmentation", averaging, "augmentation", "feature averaging minus augmentation"),
        ("over_test_time", averaging, "augmentation, averaged at test",
         "feature averaging minus augmentation averaged over the orbit at test time"),
        ("torus", "torus net", averaging, "torus net minus feature averaging"),
    ):  # fmt: skip
        for size, images in (("few", FEW), ("all", ALL_IMAGES)):
            a, b = (
                accuracy(sizes, next(arm for arm in method_arms(method) if arm.images == images), METHODS[method][2])
                for method in (better, worse)
            )
            which = f"test accuracy on shifted digits: {what}, {images:,} training digits"
            yield gap(f"gain_{name}_{size}", a, b, SIZE, which)
