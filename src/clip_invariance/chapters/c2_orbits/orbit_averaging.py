"""Chapter 2: from the tables of its experiments to what its figures show and its claims are decided by."""

from __future__ import annotations

import numpy as np
import pandas as pd

from clip_invariance.chapters.c2_orbits import cost as orbit_cost
from clip_invariance.chapters.c2_orbits import sampling as orbit_sampling
from clip_invariance.chapters.c2_orbits import training as orbit_training
from clip_invariance.chapters.c2_orbits.orbits import ARTWORK, CUTS, DIGITS, WIDTH
from clip_invariance.chapters.c2_orbits.sampling import TRAININGS
from clip_invariance.chapters.c2_orbits.training import ALL_IMAGES, LONG, NARROW, NONE, TORUS_NET, WHOLE
from clip_invariance.measure.statistics import Estimate, NamedValue, mean_over_seeds, paired_difference, summarise
from clip_invariance.profiles import Profile
from clip_invariance.units import Unit

EXACT = "exactness"
SAMPLES = "deviation_by_samples"
LOSS = "gap_by_samples"
BOUND = "broken_bounds"
TRAINING = "orbit_loss_by_training"
WIDTHS = "orbit_loss_by_width"
VARIANCE = "orbit_variance"
TEST_TIME = "test_time_averaging"
SIZE = "accuracy_by_training_set"
WIDE = str(WIDTH)
LONGER = {steps for lengths in LONG.values() for steps in lengths}
TORUS = "torus shifts"


def all_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Every unit of the chapter."""
    training = (orbit_training.units, orbit_training.width_units, orbit_training.size_units)
    makers = (orbit_sampling.units, *training, orbit_cost.units)
    return [unit for make in makers for unit in make(profile, seeds, device)]


# ---------------------------------------------------------------- tables behind the figures


def exactness_table(sampling: pd.DataFrame) -> pd.DataFrame:
    """Largest deviation of each average in any seed, nets trained on shifted pictures: world, group, largest_over_seeds.

    Not the mean over seeds, which the prose quotes: the figure shows that not one seed breaks an exact invariance.
    """
    rows = sampling[sampling["metric"] == "exactness"]
    return rows.groupby(["world", "group"], sort=False)["value"].max().rename("largest_over_seeds").reset_index()


def deviation_table(sampling: pd.DataFrame) -> pd.DataFrame:
    """Deviation against K in percent of the distance between classes, for nets trained on shifted pictures.

    Leaves out all |G| elements without replacement, which is the exact average.
    """
    rows = sampling[(sampling["metric"] == "deviation") & (sampling["training"] == "shifted")].copy()
    rows["value"] *= 100
    rows = rows[rows["replacement"].astype(bool) | (rows["k"] < rows["k"].max())]
    return summarise(rows, ["world", "replacement", "k"], "value")


def gap_table(sampling: pd.DataFrame, world: str = DIGITS) -> pd.DataFrame:
    """Sampled and predicted minus orbit loss, within each seed, nets trained on shifted pictures: group, metric, k."""
    rows = sampling[(sampling["training"] == "shifted") & (sampling["world"] == world)]
    orbit = rows[rows["metric"] == "orbit_loss"].set_index(["group", "seed"])["value"]
    rows = rows[rows["metric"].isin(["loss", "predicted_loss"])].copy()
    rows["value"] -= orbit.loc[list(zip(rows["group"], rows["seed"], strict=True))].to_numpy()
    return summarise(rows, ["group", "metric", "k"], "value")


def bound_table(sampling: pd.DataFrame) -> pd.DataFrame:
    """How often one sample's loss lies below the orbit loss, in percent of the pictures, and by how much at worst."""
    failures = sampling[sampling["metric"] == "failures"].copy()
    failures["value"] *= 100
    table = summarise(failures, ["world", "training", "group"], "value")
    worst = sampling[sampling["metric"] == "worst_gap"].groupby(["world", "training", "group"])["value"].min()
    shown = table.merge(worst.rename("worst").reset_index(), on=["world", "training", "group"])
    order = [shown[name].map(list(names).index) for name, names in (("training", TRAININGS), ("group", CUTS))]
    shown = shown.iloc[np.lexsort((order[0], shown["world"] != DIGITS, order[1]))]
    return pd.DataFrame(
        {
            "after the average": shown["group"].map({"linear": "linear layer", "deep": "one more layer"}),
            "pictures": shown["world"].map({DIGITS: "digits", ARTWORK: "drawings"}),
            "training": shown["training"],
            "bound broken (% of pictures)": shown["value"].round(1),
            "worst gap (nats)": np.where(shown["worst"] < 0, shown["worst"].round(3), 0.0),
        }
    ).reset_index(drop=True)


def training_table(training: pd.DataFrame) -> pd.DataFrame:
    """Orbit loss on training pictures by objective and length, with the passes each took: wide net."""
    chosen = training[(training["net"] == WIDE) & (training["objective"] != NONE)]
    table = summarise(_metric(chosen, "orbit_loss", "train"), ["objective", "steps"], "value")
    passes = _metric(chosen, "passes").groupby(["objective", "steps"])["value"].first().rename("passes").reset_index()
    return table.merge(passes, on=["objective", "steps"])


def width_table(widths: pd.DataFrame) -> pd.DataFrame:
    """Orbit loss on training pictures by objective, width and gradient steps."""
    rows = _metric(widths, "orbit_loss", "train").copy()
    rows["width"] = rows["net"].astype(int)
    keys = ["objective", "steps", "width"]
    return summarise(rows, keys, "value").sort_values(keys, ignore_index=True)


def share_table(training: pd.DataFrame) -> pd.DataFrame:
    """Share of the output's variance that place causes, in percent: trained as written and on one random shift."""
    rows = training[(training["metric"] == "place_share") & training["objective"].isin([NONE, "1"])].copy()
    rows = rows[rows["steps"] == rows["steps"].max()]
    rows["value"] *= 100
    return summarise(rows, ["objective", "group"], "value")


def test_time_table(training: pd.DataFrame) -> pd.DataFrame:
    """Accuracy in percent against the number of places averaged over at test time, by training objective."""
    rows = training[(training["metric"] == "accuracy") & (training["group"] != "upright")].copy()
    rows = rows[(rows["steps"] == rows["steps"].max()) & rows["objective"].isin([NONE, "1", "4", WHOLE])]
    rows["value"] *= 100
    rows["k"] = rows["group"].astype(int)
    return summarise(rows, ["objective", "k"], "value")


def size_table(sizes: pd.DataFrame) -> pd.DataFrame:
    """Accuracy in percent on shifted test digits against training-set size, by method."""
    rows = []
    for method, (net, objective, k) in METHODS.items():
        arm = (sizes["net"] == net) & (sizes["objective"] == objective)
        chosen = _metric(sizes[arm], "accuracy", k).copy()
        chosen["value"] *= 100
        rows.append(summarise(chosen, ["images"], "value").assign(method=method))
    return pd.concat(rows, ignore_index=True)


#: Method -> net, objective, samples at test time.
METHODS = {
    "torus net": (TORUS_NET, NONE, "1"),
    "feature averaging": (WIDE, WHOLE, "16"),
    "augmentation, averaged at test": (WIDE, "1", "16"),
    "augmentation": (WIDE, "1", "1"),
    "neither": (WIDE, NONE, "1"),
}


def cost_table(cost: pd.DataFrame) -> pd.DataFrame:
    """Median time, mean error in percent of the distance between classes, mean accuracy in percent, by method."""
    table = cost.groupby(["method", "k"], sort=False).agg(
        microseconds=("microseconds", "median"), error=("error", "mean"), accuracy=("accuracy", "mean")
    )
    return table.assign(error=100 * table["error"], accuracy=100 * table["accuracy"]).reset_index()


# ---------------------------------------------------------------- numbers


def exactness(sampling: pd.DataFrame, world: str, group: str) -> Estimate:
    """Largest deviation, nets trained on shifted pictures, in distances between classes; mean over seeds."""
    rows = sampling[(sampling["metric"] == "exactness") & (sampling["world"] == world) & (sampling["group"] == group)]
    return mean_over_seeds(rows.groupby("seed")["value"].max())


def slope(sampling: pd.DataFrame, world: str, replacement: bool) -> Estimate:
    """Least-squares slope of log deviation on log K, one fit per seed; K < |G| if elements cannot repeat."""
    rows = sampling[(sampling["metric"] == "deviation") & (sampling["world"] == world)]
    rows = rows[(rows["training"] == "shifted") & (rows["replacement"].astype(bool) == replacement)]
    rows = rows if replacement else rows[rows["k"] < rows["k"].max()]
    fits = {
        seed: np.polyfit(np.log(group["k"].astype(float)), np.log(group["value"]), 1)[0]
        for seed, group in rows.groupby("seed")
    }
    return mean_over_seeds(list(fits.values()))


def sampled(
    sampling: pd.DataFrame, metric: str, cut: str, training: str = "shifted", k: int | None = None
) -> pd.Series:
    """One number per seed on digits: a metric of ``orbit_sampling`` with the average at ``cut``."""
    chosen = (sampling["world"] == DIGITS) & (sampling["metric"] == metric) & (sampling["training"] == training)
    chosen &= sampling["group"] == cut
    if k is not None:
        chosen &= sampling["k"] == k
    return sampling[chosen].groupby("seed")["value"].mean()


def trained(
    table: pd.DataFrame,
    metric: str,
    group: str,
    objective: str,
    net: str = WIDE,
    images: int = ALL_IMAGES,
    budget: int = -1,
) -> pd.Series:
    """One number per seed: a metric of ``orbit_training``; ``budget`` counts through the lengths that decide claims."""
    chosen = table[(table["net"] == net) & (table["objective"] == objective) & (table["images"] == images)]
    steps = sorted(set(chosen["steps"]) - LONGER)[budget]
    return _metric(chosen[chosen["steps"] == steps], metric, group).groupby("seed")["value"].mean()


def _longest(table: pd.DataFrame, net: str) -> dict[str, pd.Series]:
    """Orbit loss on training digits after the longest training, by objective, per seed; empty where none was longer."""
    chosen = table[(table["net"] == net) & table["steps"].isin(LONGER)]
    losses = _metric(chosen, "orbit_loss", "train")
    return {str(objective): rows.groupby("seed")["value"].mean() for objective, rows in losses.groupby("objective")}


def regret(table: pd.DataFrame, net: str = WIDE, budget: int = -1) -> Estimate:
    """Orbit loss on training pictures reached by training on one sample, minus that of the whole orbit, in nats."""
    one = trained(table, "orbit_loss", "train", "1", net)
    return paired_difference(one, trained(table, "orbit_loss", "train", WHOLE, net, budget=budget))


def gain(better: pd.Series, worse: pd.Series) -> Estimate:
    """Difference of two accuracies, in points."""
    return paired_difference(100 * better, 100 * worse)


def _metric(table: pd.DataFrame, metric: str, group: str | None = None) -> pd.DataFrame:
    chosen = table["metric"] == metric
    return table[chosen if group is None else chosen & (table["group"] == group)]


def _worst_failures(sampling: pd.DataFrame) -> pd.Series:
    """Share of broken bounds with a linear head, the largest over worlds and trainings, per seed."""
    rows = sampling[(sampling["metric"] == "failures") & (sampling["group"] == "linear")]
    return rows.groupby("seed")["value"].max()


def _ratio(part: pd.Series, whole: pd.Series) -> Estimate:
    """One over the other within each seed, in percent."""
    return mean_over_seeds(100 * part / whole.reindex(part.index))


def _gap(sampling: pd.DataFrame, metric: str, k: int) -> pd.Series:
    """Sampled (or predicted) minus orbit loss with a linear head, per seed."""
    return sampled(sampling, metric, "linear", k=k) - sampled(sampling, "orbit_loss", "linear")


def values(
    sampling: pd.DataFrame, training: pd.DataFrame, widths: pd.DataFrame, sizes: pd.DataFrame
) -> list[NamedValue]:
    """Every number of chapter 2 that a claim's rule or its prose uses."""
    return [
        *_exact_values(sampling),
        *_bound_values(sampling),
        *_training_values(training, widths),
        *_use(training, sizes),
    ]


def _exact_values(sampling: pd.DataFrame) -> list[NamedValue]:
    deviation = sampling[(sampling["metric"] == "deviation") & (sampling["training"] == "shifted")]
    one = deviation[(deviation["world"] == DIGITS) & (deviation["k"] == 1) & deviation["replacement"].astype(bool)]
    moved, unit = "largest move of the", "in distances between classes"
    slopes = "log-log slope against K of the distance between two answers from K samples each"
    return [
        NamedValue("c07_deviation_digits", exactness(sampling, DIGITS, TORUS), "", EXACT,
                   f"{moved} orbit model's answer under a torus shift of a digit, {unit}"),
        NamedValue("c07_deviation_artwork", exactness(sampling, ARTWORK, TORUS), "", EXACT,
                   f"{moved} orbit model's answer under a torus shift of a drawing, {unit}"),
        NamedValue("c07_deviation_double", exactness(sampling, DIGITS, f"{TORUS}, double precision"), "", EXACT,
                   f"{moved} orbit model's answer under a torus shift of a digit, in double precision, {unit}"),
        NamedValue("c07_deviation_frame", exactness(sampling, DIGITS, f"frame of {TORUS}"), "", EXACT,
                   f"{moved} frame average's answer under a torus shift of a digit, {unit}"),
        NamedValue("c07_deviation_zero_filled", exactness(sampling, DIGITS, "shifts, zeros moving in"), "", EXACT,
                   f"{moved} average over shifts that lose pixels when a digit is moved by one of them, {unit}"),
        NamedValue("c07_deviation_crops", exactness(sampling, DIGITS, "crops"), "", EXACT,
                   f"{moved} average over crops of a digit with a wide margin when that picture is shifted, {unit}"),
        *(
            NamedValue(f"c08_slope_{world}", slope(sampling, world, True), "", SAMPLES,
                       f"{slopes}, drawn with replacement, {name}", digits=3)
            for world, name in ((DIGITS, "digits"), (ARTWORK, "drawings"))
        ),
        NamedValue("c08_slope_without", slope(sampling, DIGITS, False), "", SAMPLES,
                   f"{slopes}, drawn without replacement, digits", digits=3),
        NamedValue("c08_deviation_one", mean_over_seeds(100 * one.groupby("seed")["value"].mean()), "%", SAMPLES,
                   "distance between two single-sample answers to a digit, in percent of the distance between classes, "
                   "trained on random shifts"),
    ]  # fmt: skip


def _bound_values(sampling: pd.DataFrame) -> list[NamedValue]:
    broken = "whose single-sample loss is below their orbit loss, average"
    gap = "single-sample loss minus orbit loss on test digits, average"
    last, earlier, trained_on = "before the last, linear layer", "one layer earlier", "trained on random shifts"
    return [
        NamedValue("c09_failures_linear", mean_over_seeds(100 * _worst_failures(sampling)), "%", BOUND,
                   f"pictures {broken} {last}, worst of all trainings and of digits and drawings"),
        NamedValue("c09_failures_deep", mean_over_seeds(100 * sampled(sampling, "failures", "deep")), "%", BOUND,
                   f"digits {broken} {earlier}, {trained_on}"),
        NamedValue("c09_failures_deep_untrained",
                   mean_over_seeds(100 * sampled(sampling, "failures", "deep", "untrained")), "%", BOUND,
                   f"digits {broken} {earlier}, untrained net"),
        NamedValue("c09_gap_linear", mean_over_seeds(sampled(sampling, "gap", "linear")), "nats", LOSS,
                   f"{gap} {last}, {trained_on}"),
        NamedValue("c09_gap_deep", mean_over_seeds(sampled(sampling, "gap", "deep")), "nats", LOSS,
                   f"{gap} {earlier}, {trained_on}"),
        NamedValue("c09_gap_left_linear", _ratio(_gap(sampling, "loss", 4), _gap(sampling, "loss", 1)), "%", LOSS,
                   f"sampled minus orbit loss with four samples, in percent of that with one, digits, average {last}"),
        *(
            NamedValue(f"c09_prediction_{k}", _ratio(_gap(sampling, "predicted_loss", k), _gap(sampling, "loss", k)),
                       "%", LOSS,
                       f"second-order prediction of sampled minus orbit loss at K = {k}, in percent of that measured, "
                       f"digits, average {last}")
            for k in (1, 8)
        ),
    ]  # fmt: skip


def _training_values(training: pd.DataFrame, widths: pd.DataFrame) -> list[NamedValue]:
    whole, four, one = (trained(training, "accuracy", "16", objective) for objective in (WHOLE, "4", "1"))
    bound = paired_difference(
        trained(training, "single_loss", "train", "1"), trained(training, "orbit_loss", "train", WHOLE)
    )
    narrow = [trained(widths, "accuracy", "16", objective, str(NARROW)) for objective in (WHOLE, "1")]
    loss, accuracy = "orbit loss on training digits", "test accuracy of the orbit model of digits"
    versus, wide = "trained on one sample minus trained on the whole orbit", f"net of width {WIDE}"
    return [
        NamedValue("c08_cost_four_training", gain(whole, four), "points", TEST_TIME,
                   f"{accuracy}: trained on the whole orbit minus trained on four samples, equal steps"),
        NamedValue("c08_cost_one_training", gain(whole, one), "points", TEST_TIME,
                   f"{accuracy}: trained on the whole orbit minus trained on one sample, equal steps"),
        NamedValue("c08_cost_one_test", gain(one, trained(training, "accuracy", "1", "1")), "points", TEST_TIME,
                   "test accuracy on digits, trained on one sample: answered from the whole orbit minus from one sample"),
        NamedValue("c10_regret_wide", regret(training), "nats", TRAINING, f"{loss}: {versus}, equal steps, {wide}"),
        NamedValue("c10_regret_compute", regret(training, budget=0), "nats", TRAINING,
                   f"{loss}: {versus}, equal compute, {wide}"),
        NamedValue("c10_regret_bound", bound, "nats", TRAINING,
                   "upper bound on the regret: single-sample loss, trained on one sample, minus orbit loss, trained on the "
                   f"whole orbit, {wide}"),
        NamedValue("c10_regret_narrow", regret(widths, str(NARROW)), "nats", WIDTHS,
                   f"{loss}: {versus}, equal steps, net of width {NARROW}"),
        NamedValue("c10_regret_linear", regret(widths, "0"), "nats", WIDTHS,
                   f"{loss}: {versus}, equal steps, linear model"),
        *(
            NamedValue(f"c10_regret_{name}_long", paired_difference(longest["1"], longest[WHOLE]), "nats", WIDTHS,
                       f"{loss}: {versus}, four times as many equal steps, net of width {net}")
            for name, net in (("wide", WIDE), ("narrow", str(NARROW)))
            if (longest := _longest(widths, net))
        ),
        NamedValue("c10_gain_narrow", gain(*narrow), "points", WIDTHS,
                   f"{accuracy}, width {NARROW}: trained on the whole orbit minus trained on one sample, equal steps"),
        NamedValue("c10_gain_compute", gain(one, trained(training, "accuracy", "16", WHOLE, budget=0)), "points",
                   TRAINING, f"{accuracy}, width {WIDE}: {versus}, equal compute"),
        NamedValue("c10_whole_alone", mean_over_seeds(100 * trained(training, "accuracy", "1", WHOLE)), "%", TEST_TIME,
                   "test accuracy on digits shown at one place, trained on the whole orbit"),
    ]  # fmt: skip


def _use(training: pd.DataFrame, sizes: pd.DataFrame) -> list[NamedValue]:
    share = {
        (objective, group): trained(training, "place_share", group, objective)
        for objective in (NONE, "1")
        for group in ("test", "turned")
    }
    few = int(sizes["images"].min()) if 64 not in set(sizes["images"]) else 64
    accuracy = {
        (method, images): trained(sizes, "accuracy", k, objective, net, images)
        for method, (net, objective, k) in METHODS.items()
        for images in (few, ALL_IMAGES)
    }
    averaging, twice = "feature averaging", "augmentation, averaged at test"
    place = "share of the output's variance that place causes"
    few_or_all = (("few", few), ("all", ALL_IMAGES))
    return [
        NamedValue("c11_share_plain", mean_over_seeds(100 * share[NONE, "test"]), "%", VARIANCE,
                   f"{place} on test digits, trained on digits as written"),
        NamedValue("c11_share_augmented", mean_over_seeds(100 * share["1", "test"]), "%", VARIANCE,
                   f"{place} on test digits, trained on random shifts"),
        NamedValue("c11_share_kept", _ratio(share["1", "test"], share[NONE, "test"]), "%", VARIANCE,
                   f"{place} on test digits, trained on random shifts, in percent of that trained on digits as written"),
        NamedValue("c11_share_kept_turned", _ratio(share["1", "turned"], share[NONE, "turned"]), "%", VARIANCE,
                   f"{place} on digits on their side, trained on random shifts, in percent of that trained on digits as "
                   "written"),
        NamedValue("test_time_gain_plain",
                   gain(trained(training, "accuracy", "16", NONE), trained(training, "accuracy", "1", NONE)),
                   "points", TEST_TIME,
                   "test accuracy on shifted digits, trained on digits as written: averaged over the orbit minus answered "
                   "from one place"),
        *(
            NamedValue(f"gain_{name}_{size}", gain(accuracy[averaging, images], accuracy[other, images]), "points", SIZE,
                       f"test accuracy on shifted digits: feature averaging minus {said}, {images:,} training digits")
            for name, other, said in (
                ("over_augmentation", "augmentation", "augmentation"),
                ("over_test_time", twice, "augmentation averaged over the orbit at test time"),
            )
            for size, images in few_or_all
        ),
        *(
            NamedValue(f"gain_torus_{size}", gain(accuracy["torus net", images], accuracy[averaging, images]), "points",
                       SIZE, f"test accuracy on shifted digits: torus net minus feature averaging, {images:,} training "
                       "digits")
            for size, images in few_or_all
        ),
    ]  # fmt: skip
