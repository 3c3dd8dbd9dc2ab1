"""Numbers that others published or that follow from tables they published, beside chapter 6's own. Nothing is run here.

Typed once, with their source; figures draw them and prose quotes them with the ``elsewhere`` role. Computed ones were
computed from the public tables named here, when this report was planned; they carry no seeds of ours.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from clip_invariance.marks.marks import headline, key
from clip_invariance.marks.spec import FigureSpec
from clip_invariance.marks.style import PALETTE, SMALL, WIDTH, faint


@dataclass(frozen=True)
class Source:
    """Where numbers come from.

    Attributes:
        key: in ``book/references.bib``.
        what: which table, and what was done with it.
    """

    key: str
    what: str


CHECKPOINTS = Source(
    "cherti2023openclip", "open_clip's table of results, 112 public checkpoints, correlations computed"
)
PROBES = Source("clipbenchmark2022", "CLIP_benchmark's table of results, mean of 12 checkpoints, computed")
TAGS = Source("udandarao2024zeroshot", "published counts of tags in pictures and words in captions, ratios computed")


@dataclass(frozen=True)
class Correlation:
    """Pearson correlation, over checkpoints, of zero-shot accuracy on a data set with that on ImageNet.

    Attributes:
        task: what has to be told.
        low, high: 95 % bootstrap interval over checkpoints, where it was computed.
    """

    dataset: str
    task: str
    value: float
    low: float | None = None
    high: float | None = None


CORRELATIONS = (
    Correlation("Food-101", "dishes", 0.99),
    Correlation("Pets", "breeds", 0.97),
    Correlation("Cars", "car models", 0.96),
    Correlation("GTSRB", "traffic signs", 0.94),
    Correlation("MNIST", "digits", 0.90),
    Correlation("EuroSAT", "land use", 0.88),
    Correlation("CLEVR", "number of things", 0.56),
    Correlation("PatchCamelyon", "tumour or not", 0.17),
    Correlation("CLEVR", "distance", 0.13),
    Correlation("KITTI", "distance of the next car", -0.33, -0.46, -0.20),
)


@dataclass(frozen=True)
class Readings:
    """Mean accuracy of 12 checkpoints in three ways, in [0, 1].

    Attributes:
        dataset, task: what has to be told.
        zero_shot: by words.
        ten_shot: by a linear probe with ten labels per class.
        full: by a linear probe with all labels.
    """

    dataset: str
    task: str
    zero_shot: float
    ten_shot: float
    full: float


READINGS = (
    Readings("Pets", "breeds", 0.91, 0.86, 0.92),
    Readings("ImageNet", "objects", 0.70, 0.67, 0.80),
    Readings("EuroSAT", "land use", 0.58, 0.88, 0.97),
    Readings("SVHN", "house numbers", 0.40, 0.40, 0.74),
    Readings("CLEVR", "number of things", 0.24, 0.32, 0.73),
    Readings("KITTI", "distance of the next car", 0.22, 0.42, 0.52),
    Readings("CLEVR", "distance", 0.17, 0.27, 0.54),
    Readings("smallNORB", "direction of view", 0.06, 0.08, 0.14),
    Readings("dSprites", "horizontal place", 0.03, 0.09, 0.53),
    Readings("dSprites", "orientation", 0.03, 0.21, 0.77),
)


@dataclass(frozen=True)
class MentionRate:
    """P(the caption mentions it | it is in the picture), in [0, 1]. The order is firmer than the levels."""

    thing: str
    cc3m: float
    cc12m: float
    yfcc15m: float
    laion400m: float


MENTION_RATES = (
    MentionRate("dog", 0.435, 0.259, 0.138, 0.091),
    MentionRate("car", 0.324, 0.212, 0.068, 0.071),
    MentionRate("pedestrian", 0.156, 0.110, 0.023, 0.046),
    MentionRate("traffic light", 0.108, 0.049, 0.009, 0.052),
)
CORPORA = {"cc3m": "CC3M", "cc12m": "CC12M", "yfcc15m": "YFCC15M", "laion400m": "LAION-400M"}


def correlations() -> pd.DataFrame:
    """Columns dataset, task, value, low, high, source; from the strongest to the weakest."""
    return pd.DataFrame([asdict(row) for row in CORRELATIONS]).assign(source=CHECKPOINTS.key)


def readings() -> pd.DataFrame:
    """Columns dataset, task, reader, value (percent), source; in the order of the words."""
    names = {"zero_shot": "words", "ten_shot": "ten labels per class", "full": "all labels"}
    rows = [
        {"dataset": row.dataset, "task": row.task, "reader": name, "value": round(100 * getattr(row, field), 1)}
        for row in READINGS
        for field, name in names.items()
    ]
    return pd.DataFrame(rows).assign(source=PROBES.key)


def mention_rates() -> pd.DataFrame:
    """Columns thing, corpus, value (percent), source."""
    rows = [
        {"thing": row.thing, "corpus": name, "value": round(100 * getattr(row, field), 1)}
        for row in MENTION_RATES
        for field, name in CORPORA.items()
    ]
    return pd.DataFrame(rows).assign(source=TAGS.key)


# ---------------------------------------------------------------- figures

READERS = {
    "words": PALETTE["orange"],
    "ten labels per class": PALETTE["sky"],
    "all labels": PALETTE["blue"],
}
THINGS = {
    "dog": PALETTE["blue"],
    "car": PALETTE["green"],
    "pedestrian": PALETTE["pink"],
    "traffic light": PALETTE["red"],
}


def draw_correlations(table: pd.DataFrame) -> Figure:
    """One bar from zero for each data set, with its interval where there is one."""
    figure, ax = plt.subplots(figsize=(WIDTH, 4.2), layout="constrained")
    y = np.arange(len(table))
    colours = [PALETTE["blue"] if value > 0.8 else PALETTE["orange"] for value in table["value"]]
    ax.hlines(y, 0, table["value"], color=colours, linewidth=5, alpha=0.35)
    ax.scatter(table["value"], y, color=colours, s=30, zorder=3)
    for place, (value, low, high) in enumerate(table[["value", "low", "high"]].to_numpy(dtype=float).tolist()):
        ax.plot([low, high], [place, place], color=colours[place], linewidth=1.4)  # nothing where there is no interval
        right = value > 0
        outer = np.nanmax([value, high]) if right else np.nanmin([value, low])
        ax.annotate(f"{value:.2f}", (outer, place), (7 if right else -7, 0), va="center",
                    textcoords="offset points", ha="left" if right else "right", fontsize=SMALL)  # fmt: skip
    ax.set_yticks(y, labels=[f"{row.dataset}: {row.task}" for row in table.itertuples()])
    ax.tick_params(axis="y", length=0)
    ax.axvline(0, color=faint(), linewidth=0.8)
    ax.set(
        xlim=(-0.9, 1.2), ylim=(len(table) - 0.4, -0.6), xlabel="correlation with ImageNet accuracy,\n112 checkpoints"
    )
    ax.set_xticks([-0.5, 0, 0.5, 1])
    headline(figure, PUBLISHED_CORRELATIONS.title)
    return figure


def describe_correlations(table: pd.DataFrame) -> str:
    """Alt text of :func:`draw_correlations`."""
    names = [f"{dataset} {task}" for dataset, task in zip(table["dataset"], table["task"], strict=True)]
    parts = [
        f"{name} {value:.2f}" + ("" if np.isnan(low) else f" ({low:.2f} to {high:.2f})")
        for name, (value, low, high) in zip(
            names, table[["value", "low", "high"]].to_numpy(dtype=float).tolist(), strict=True
        )
    ]
    return (
        f"Correlation of zero-shot accuracy with that on ImageNet over 112 published checkpoints: {', '.join(parts)}."
    )


PUBLISHED_CORRELATIONS = FigureSpec(
    "published_correlations",
    "Better on ImageNet is better on names, not on distances",
    "Correlation over 112 published checkpoints, computed from open_clip's table of results.",
    draw_correlations,
    describe_correlations,
)


def draw_readings(table: pd.DataFrame) -> Figure:
    """For each task the accuracy by words, by ten labels and by all labels, joined by a line."""
    tasks = list(dict.fromkeys(zip(table["dataset"], table["task"], strict=True)))
    figure, ax = plt.subplots(figsize=(WIDTH, 4.6), layout="constrained")
    for y, (dataset, task) in enumerate(tasks):
        rows = table[(table["dataset"] == dataset) & (table["task"] == task)].set_index("reader")["value"]
        ax.plot([rows.min(), rows.max()], [y, y], color=faint(), linewidth=1, alpha=0.6)
        for number, (reader, colour) in enumerate(READERS.items()):
            ax.plot(rows[reader], y + 0.15 * (number - 1), "o", color=colour, markersize=6)  # none hides another
    ax.set_yticks(range(len(tasks)), labels=[f"{dataset}: {task}" for dataset, task in tasks])
    ax.tick_params(axis="y", length=0)
    ax.set(xlim=(0, 100), ylim=(len(tasks) - 0.5, -0.5), xlabel="right, %, mean of 12 checkpoints")
    key(figure, READERS, columns=3)
    headline(figure, PUBLISHED_READINGS.title)
    return figure


def describe_readings(table: pd.DataFrame) -> str:
    """Alt text of :func:`draw_readings`."""
    parts = []
    for (dataset, task), rows in table.groupby(["dataset", "task"], sort=False):
        parts.append(f"{dataset} {task} " + " / ".join(f"{value:.0f}" for value in rows["value"]))
    return f"Accuracy in percent by words, with ten labels per class and with all labels: {'; '.join(parts)}."


PUBLISHED_READINGS = FigureSpec(
    "published_readings",
    "What words read from public models, and what labels do",
    "Mean of twelve published checkpoints, computed from CLIP_benchmark's table of results.",
    draw_readings,
    describe_readings,
)


def draw_mention_rates(table: pd.DataFrame) -> Figure:
    """One line of dots for each corpus, on a logarithmic scale."""
    corpora = list(dict.fromkeys(table["corpus"]))
    figure, ax = plt.subplots(figsize=(WIDTH, 3.0), layout="constrained")
    for y, corpus in enumerate(corpora):
        rows = table[table["corpus"] == corpus].set_index("thing")["value"]
        ax.plot([rows.min(), rows.max()], [y, y], color=faint(), linewidth=1, alpha=0.6)
        for thing, colour in THINGS.items():
            ax.plot(rows[thing], y, "o", color=colour, markersize=6.5)
    ax.set_xscale("log")
    ax.set_xticks([1, 2, 5, 10, 20, 50], labels=["1", "2", "5", "10", "20", "50"])
    ax.minorticks_off()
    ax.set_yticks(range(len(corpora)), labels=corpora)
    ax.tick_params(axis="y", length=0)
    ax.set(
        ylim=(len(corpora) - 0.5, -0.5), xlim=(0.7, 60), xlabel="of the pictures that show it, the caption says so, %"
    )
    key(figure, THINGS, columns=4)
    headline(figure, PUBLISHED_MENTION_RATES.title)
    return figure


def describe_mention_rates(table: pd.DataFrame) -> str:
    """Alt text of :func:`draw_mention_rates`."""
    parts = []
    for corpus, rows in table.groupby("corpus", sort=False):
        parts.append(f"{corpus}: " + ", ".join(f"{row.thing} {row.value:g}" for row in rows.itertuples()))
    return f"Share of pictures showing a thing whose caption mentions it, in percent. {'; '.join(parts)}."


PUBLISHED_MENTION_RATES = FigureSpec(
    "published_mention_rates",
    "Web captions mention dogs more often than traffic lights",
    "Computed from published counts of tags in pictures and of words in captions.",
    draw_mention_rates,
    describe_mention_rates,
)
