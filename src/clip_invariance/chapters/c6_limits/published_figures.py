"""Figures of numbers that others published."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from clip_invariance.marks.marks import headline, key
from clip_invariance.marks.style import PALETTE, SMALL, WIDTH, faint

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


def correlations(table: pd.DataFrame) -> Figure:
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
    headline(figure, "Better on ImageNet is better on names, not on distances")
    return figure


def describe_correlations(table: pd.DataFrame) -> str:
    """Alt text of :func:`correlations`."""
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


def readings(table: pd.DataFrame) -> Figure:
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
    headline(figure, "What words read from public models, and what labels do")
    return figure


def describe_readings(table: pd.DataFrame) -> str:
    """Alt text of :func:`readings`."""
    parts = []
    for (dataset, task), rows in table.groupby(["dataset", "task"], sort=False):
        parts.append(f"{dataset} {task} " + " / ".join(f"{value:.0f}" for value in rows["value"]))
    return f"Accuracy in percent by words, with ten labels per class and with all labels: {'; '.join(parts)}."


def mention_rates(table: pd.DataFrame) -> Figure:
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
    headline(figure, "Web captions mention dogs more often than traffic lights")
    return figure


def describe_mention_rates(table: pd.DataFrame) -> str:
    """Alt text of :func:`mention_rates`."""
    parts = []
    for corpus, rows in table.groupby("corpus", sort=False):
        parts.append(f"{corpus}: " + ", ".join(f"{row.thing} {row.value:g}" for row in rows.itertuples()))
    return f"Share of pictures showing a thing whose caption mentions it, in percent. {'; '.join(parts)}."
