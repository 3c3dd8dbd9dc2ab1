"""Chapter 2: what its figures show."""

from __future__ import annotations

import numpy as np
import pandas as pd

from clip_invariance.chapters.c2_orbits.arms import (
    BY_SIZE,
    BY_WIDTH,
    LONG,
    NONE,
    SAMPLED,
    TRAINED,
    TRAININGS,
    WHOLE,
    Arm,
    sampled,
)
from clip_invariance.chapters.c2_orbits.orbits import ARTWORK, CUTS, DIGITS
from clip_invariance.measure.statistics import summarise
from clip_invariance.measure.tables import interval, percent, select, with_arms

#: Nets of both worlds after training on shifted pictures.
SHIFTED = tuple(arm for arm in SAMPLED if arm.training == "shifted")
#: Those trained for the whole length.
FULL = tuple(arm for arm in TRAINED if arm.length == 1)
AUGMENTED, AVERAGED, PLAIN = Arm("1"), Arm(WHOLE), Arm(NONE)


def exactness_table(sampling: pd.DataFrame) -> pd.DataFrame:
    """Largest deviation of each average in any seed, nets trained on shifted pictures: world, group, largest_over_seeds.

    Not the mean over seeds, which the prose quotes: the figure shows that not one seed breaks an exact invariance.
    """
    rows = with_arms(select(sampling, metric="exactness"), SHIFTED, "world").rename(columns={"over": "group"})
    return rows.groupby(["world", "group"], sort=False)["value"].max().rename("largest_over_seeds").reset_index()


def deviation_table(sampling: pd.DataFrame) -> pd.DataFrame:
    """Deviation against K in percent of the distance between classes: world, replacement, k, value.

    Leaves out all |G| elements without replacement, which is the exact average.
    """
    rows = with_arms(select(sampling, metric="deviation"), SHIFTED, "world")
    rows = rows[rows["replacement"] | (rows["k"] < rows["k"].max())]
    rows = rows.assign(value=100 * rows["value"], k=rows["k"].astype(float))
    return summarise(rows, ["world", "replacement", "k"], "value")


def gap_table(sampling: pd.DataFrame) -> pd.DataFrame:
    """Sampled and predicted minus orbit loss on digits, within each seed: group (where the average stands), metric, k."""
    rows = select(sampling, arm=sampled(DIGITS, "shifted"))
    orbit = select(rows, metric="orbit_loss").set_index(["depth", "seed"])["value"]
    rows = select(rows, metric=("loss", "predicted_loss")).rename(columns={"depth": "group"})
    whole = orbit.loc[list(zip(rows["group"], rows["seed"], strict=True))].to_numpy()
    rows = rows.assign(value=rows["value"] - whole, k=rows["k"].astype(float))
    return summarise(rows, ["group", "metric", "k"], "value")


def bound_table(sampling: pd.DataFrame) -> pd.DataFrame:
    """How often one sample's loss lies below the orbit loss, in percent of the pictures, and by how much at worst."""
    rows = []
    for cut in CUTS:
        for world, pictures in ((DIGITS, "digits"), (ARTWORK, "drawings")):
            for training in TRAININGS:
                here = select(sampling, arm=sampled(world, training), depth=cut)
                broken = interval(percent(here, metric="failures"))["value"]
                worst = select(here, metric="worst_gap")["value"].min()
                rows.append(
                    {
                        "after the average": {"linear": "linear layer", "deep": "one more layer"}[cut],
                        "pictures": pictures,
                        "training": training,
                        "bound broken (% of pictures)": np.round(broken, 1),
                        "worst gap (nats)": np.round(worst, 3) if worst < 0 else 0.0,
                    }
                )
    return pd.DataFrame(rows)


def training_table(training: pd.DataFrame) -> pd.DataFrame:
    """Orbit loss on training pictures: objective, steps, value, and the passes that the training took."""
    rows = with_arms(training, [arm for arm in TRAINED if arm.objective != NONE], "objective")
    table = summarise(select(rows, metric="orbit_loss", pictures="train"), ["objective", "steps"], "value")
    passes = select(rows, metric="passes").groupby(["objective", "steps"])["value"].first().rename("passes")
    return table.merge(passes.reset_index(), on=["objective", "steps"])


def width_table(widths: pd.DataFrame) -> pd.DataFrame:
    """Orbit loss on training pictures: objective, steps, width, value."""
    rows = with_arms(select(widths, metric="orbit_loss", pictures="train"), (*BY_WIDTH, *LONG), "objective", "width")
    keys = ["objective", "steps", "width"]
    return summarise(rows, keys, "value").sort_values(keys, ignore_index=True)


def share_table(training: pd.DataFrame) -> pd.DataFrame:
    """Share of the output's variance that place causes, in percent: trained as written and on one random shift."""
    rows = with_arms(select(training, metric="place_share"), (AUGMENTED, PLAIN), "objective")
    rows = rows.assign(group=rows["pictures"], value=100 * rows["value"])
    return summarise(rows, ["objective", "group"], "value")


def test_time_table(training: pd.DataFrame) -> pd.DataFrame:
    """Accuracy in percent against the number of places averaged over at test time, by training objective."""
    arms = [arm for arm in FULL if arm.objective in (NONE, "1", "4", WHOLE)]
    rows = with_arms(select(training, metric="accuracy", pictures="test"), arms, "objective")
    return summarise(rows.assign(value=100 * rows["value"]), ["objective", "k"], "value")


#: Method -> net, objective, samples at test time.
METHODS = {
    "torus net": ("torus", NONE, 1),
    "feature averaging": ("perceptron", WHOLE, 16),
    "augmentation, averaged at test": ("perceptron", "1", 16),
    "augmentation": ("perceptron", "1", 1),
    "neither": ("perceptron", NONE, 1),
}


def method_arms(method: str) -> list[Arm]:
    """The trainings of a method, one for each size of the training set."""
    net, objective, _ = METHODS[method]
    return [arm for arm in BY_SIZE if (arm.net, arm.objective) == (net, objective)]


def size_table(sizes: pd.DataFrame) -> pd.DataFrame:
    """Accuracy in percent on shifted test digits against training-set size: images, value, method."""
    parts = []
    for method, (_, _, k) in METHODS.items():
        rows = with_arms(select(sizes, metric="accuracy", pictures="test", k=k), method_arms(method), "images")
        parts.append(summarise(rows.assign(value=100 * rows["value"]), ["images"], "value").assign(method=method))
    return pd.concat(parts, ignore_index=True)


def cost_table(cost: pd.DataFrame) -> pd.DataFrame:
    """Median time, mean error in percent of the distance between classes, mean accuracy in percent, by method."""

    def each(metric: str, how: str) -> pd.Series:
        return select(cost, metric=metric).groupby(["method", "k"], sort=False)["value"].agg(how)

    times, error, accuracy = each("microseconds", "median"), 100 * each("error", "mean"), 100 * each("accuracy", "mean")
    return pd.DataFrame({"microseconds": times, "error": error, "accuracy": accuracy}).reset_index()
