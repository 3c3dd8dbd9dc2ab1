"""Figures of chapter 1, part two: what representations keep, and what a restricted invariance is worth."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clip_invariance.chapters.c1_places.figures import COLOURS, named
from clip_invariance.chapters.c1_places.informative import GLOBAL, RESTRICTED
from clip_invariance.chapters.c1_places.tables import NAMES
from clip_invariance.marks.alt import listed
from clip_invariance.marks.marks import bounded, dot, end_labels, errors, floor, headline, key, level, panel_title
from clip_invariance.marks.spec import FigureSpec
from clip_invariance.marks.style import PALETTE, WIDTH, faint
from clip_invariance.worlds.placed import CELLS, CLASSES

#: Rounding error of 32-bit floats relative to a number of size one.
FLOAT_ERROR = float(np.finfo(np.float32).eps)
PROBE_CHANCE = 1 / CELLS**2


def shift_error(summary: pd.DataFrame) -> Figure:
    """Largest shift error on a log scale, one line per architecture."""
    nets = [net for net in NAMES if net in set(summary["architecture"])]
    figure, ax = plt.subplots(figsize=(WIDTH, 0.42 * len(nets) + 1.5), layout="constrained")
    for y, net in enumerate(reversed(nets)):
        rows = summary[summary["architecture"] == net].set_index("metric")["value"]
        colour = PALETTE[COLOURS[net]]
        floor = FLOAT_ERROR / 10
        ax.plot(max(rows["shift_error_untrained"], floor), y, "o", mfc="none", mec=colour, markersize=8)
        ax.plot(max(rows["shift_error"], floor), y, "o", color=colour, markersize=8)
    for x, text in ((FLOAT_ERROR, "rounding error\nof 32-bit floats"), (1.0, "distance\nbetween classes")):
        level(ax, x, text)
    ax.set_xscale("log")
    ax.set_xlim(FLOAT_ERROR / 12, 30)
    ax.set_ylim(-0.6, len(nets) - 0.4)
    ax.set_yticks(range(len(nets)), labels=[NAMES[net] for net in reversed(nets)])
    ax.set_xlabel("largest change of the features under a shift,\nas a share of the distance between classes")
    headline(figure, SHIFT.title)
    key(figure, {"trained": faint(), "untrained": (faint(), "o", False)})
    return figure


def describe_shift_error(summary: pd.DataFrame) -> str:
    """Alt text of :func:`shift_error`."""
    rows = named(summary)
    by = rows.pivot(index="architecture", columns="metric", values="value")
    columns = {"shift_error_untrained": "untrained", "shift_error": "trained"}
    parts = []
    for net in dict.fromkeys(rows["architecture"]):
        read = [f"{by.loc[net, metric]:#.2g} {when}" for metric, when in columns.items() if metric in by]
        parts.append(f"{net} {', '.join(read)}")
    return (
        "Largest change of the features when the whole picture is shifted around the torus, as a share of the distance "
        f"between classes, on a log scale: {'; '.join(parts)}. Rounding error is {FLOAT_ERROR:.0e}."
    )


def shift_consistency(summary: pd.DataFrame) -> Figure:
    """Share of pictures that keep their prediction under a shift."""
    ordered = (
        bounded(summary, high=1)
        .set_index("architecture")
        .loc[[net for net in NAMES if net in set(summary["architecture"])]]
    )
    figure, ax = plt.subplots(figsize=(WIDTH, 0.42 * len(ordered) + 1.0), layout="constrained")
    for y, (net, row) in enumerate(ordered[::-1].iterrows()):
        colour = PALETTE[COLOURS[str(net)]]
        ax.errorbar(row["value"], y, xerr=errors(row), color=colour, marker="o", markersize=8, capsize=3)
        ax.annotate(
            f"{100 * row['value']:.0f} %",
            (row["value"], y),
            (0, 8),
            textcoords="offset points",
            ha="center",
            color=colour,
        )
    ax.set_yticks(range(len(ordered)), labels=[NAMES[str(net)] for net in ordered.index[::-1]])
    ax.set_ylim(-0.5, len(ordered) - 0.3)
    ax.set_xlim(0, 1.04)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], labels=["0", "25 %", "50 %", "75 %", "100 %"])
    ax.set_xlabel("pictures that keep their predicted object under a shift")
    headline(figure, CONSISTENCY.title)
    return figure


def describe_shift_consistency(summary: pd.DataFrame) -> str:
    """Alt text of :func:`shift_consistency`."""
    parts = [f"{NAMES[net]} {100 * v:.0f} %" for net, v in zip(summary["architecture"], summary["value"], strict=True)]
    return (
        f"Share of pictures that keep their predicted object when shifted, nets trained everywhere: {'; '.join(parts)}."
    )


LABELLINGS = {
    "object": "labels: the object, wherever it is",
    "object_half": "labels: the object and its half",
    "cell": "labels: the place itself (ceiling)",
    "untrained": "untrained net",
    "pixels": "raw pixels",
    "shuffled labels": "pixels, shuffled places",
}


def labels_define_place(summary: pd.DataFrame) -> Figure:
    """What a probe reads about place, and how much of the variance is place, by labelling."""
    summary = bounded(summary, high=1)
    panels = {
        "place_probe": (
            "Can place be read?",
            f"place probe, accuracy ({CELLS * CELLS} cells)",
        ),
        "place_share": ("How much of the features is place?", "share of the features' variance"),
    }
    present = [name for name in LABELLINGS if name in set(summary["labels"])]
    figure, axes = plt.subplots(2, 1, figsize=(WIDTH, 0.6 * len(present) + 2.9), layout="constrained")
    for ax, (metric, (title, label)) in zip(axes, panels.items(), strict=True):
        rows = summary[summary["metric"] == metric]
        measured = [name for name in present if name in set(rows["labels"])]
        for y, labelling in enumerate(reversed(measured)):
            _labelling_row(ax, y, rows[rows["labels"] == labelling])
        names = [textwrap.fill(LABELLINGS[name], 20) for name in reversed(measured)]
        ax.set_yticks(range(len(measured)), labels=names)
        ax.set_ylim(-0.6, len(measured) - 0.4)
        ax.set_xlim(0, 1.02)
        panel_title(ax, title, 40)
        ax.set_xlabel(label)
    level(axes[0], PROBE_CHANCE)
    axes[0].text(PROBE_CHANCE + 0.02, -0.55, "chance", color=faint(), va="bottom")
    nets = [net for net in NAMES if net in set(summary["architecture"])]
    key(figure, {NAMES[net]: PALETTE[COLOURS[net]] for net in nets}, columns=3)
    return figure


def _labelling_row(ax: Axes, y: int, rows: pd.DataFrame) -> None:
    """One labelling: a dot per architecture, side by side in height."""
    offsets = np.linspace(0.22, -0.22, len(rows)) if len(rows) > 1 else np.zeros(1)
    for offset, (_, row) in zip(offsets, rows.iterrows(), strict=True):
        colour = PALETTE[COLOURS[row["architecture"]]] if row["architecture"] in COLOURS else faint()
        dot(ax, row, y + offset, colour)


def describe_labels_define_place(summary: pd.DataFrame) -> str:
    """Alt text of :func:`labels_define_place`."""
    place = {labels: number for number, labels in enumerate(LABELLINGS)}
    rows = named(summary[summary["labels"].isin(list(LABELLINGS))])
    rows = rows.sort_values("labels", key=lambda labels: labels.map(place), kind="stable")
    names = [LABELLINGS[labels].replace("labels: ", "labels say ") for labels in rows["labels"]]
    rows = rows.assign(labels=names, value=100 * rows["value"])
    probe, share = (
        listed(rows[rows["metric"] == metric], ["labels"], "architecture") for metric in ("place_probe", "place_share")
    )
    return (
        f"Accuracy of a linear probe for the object's place, in percent, chance {100 * PROBE_CHANCE:.0f}. {probe}. "
        f"Share of the features' variance that comes from place, in percent. {share}."
    )


POOLINGS: Mapping[str, tuple[str, str]] = {
    GLOBAL: ("ignores place\neverywhere", "green"),
    RESTRICTED: ("knows the half", "orange"),
}


def cost_of_global_invariance(summary: pd.DataFrame) -> Figure:
    """Accuracy where objects are at home, and where they have left it, against how often they are at home in training."""
    summary = bounded(summary, high=1)
    figure, axes = plt.subplots(2, 1, figsize=(WIDTH, 5.4), sharex=True, layout="constrained")
    titles = {
        "same world": "Objects at home as often as in training",
        "moved": "Objects in the wrong half",
    }
    last = summary["at_home"].max()
    for ax, (group, title) in zip(axes, titles.items(), strict=True):
        ends = {}
        for net, (name, colour) in POOLINGS.items():
            line = summary[(summary["architecture"] == net) & (summary["group"] == group)].sort_values("at_home")
            ax.errorbar(line["at_home"], line["value"], errors(line), color=PALETTE[colour], marker="o", capsize=3)
            ends[name] = (float(line["value"].iloc[-1]), PALETTE[colour])
        floor(ax, 1 / CLASSES)
        ax.text(0.5, 1 / CLASSES + 0.015, "chance", ha="left", va="bottom", color=faint())
        ax.set_ylim(0, 1.03)
        ax.set_xlim(0.48, last + 0.02)
        end_labels(ax, last + 0.02, ends, gap=0.11)
        panel_title(ax, title)
        ax.set_ylabel("accuracy")
    ticks = sorted(summary["at_home"].unique())
    axes[1].set_xticks(ticks, labels=[f"{100 * tick:.0f} %" for tick in ticks])
    axes[1].set_xlabel("objects at home in their half during training\n(50 %: place says nothing)")
    return figure


def describe_cost_of_global_invariance(summary: pd.DataFrame) -> str:
    """Alt text of :func:`cost_of_global_invariance`."""
    rows = [
        f"{POOLINGS[net][0].replace(chr(10), ' ')}, at home {100 * home:.0f} % of the time, {group}: {100 * value:.0f} %"
        for net, home, group, value in summary[["architecture", "at_home", "group", "value"]].itertuples(index=False)
    ]
    return f"Accuracy by probability of being at home, for two nets. {'; '.join(rows)}."


# ---------------------------------------------------------------- declared once

SHIFT = FigureSpec(
    "shift_error",
    "How far a shift changes the features",
    "Features of pictures and of their shifted copies, before and after training.",
    shift_error,
    describe_shift_error,
)
CONSISTENCY = FigureSpec(
    "shift_consistency",
    "How often a prediction survives a shift",
    "Predictions for pictures and for their shifted copies; networks trained everywhere.",
    shift_consistency,
    describe_shift_consistency,
)
INFORMATIVE = FigureSpec(
    "cost_of_global_invariance",
    "Ignoring place everywhere, or only where it does not matter",
    "Two nets that differ in pooling only, in worlds where objects are at home with a given probability.",
    cost_of_global_invariance,
    describe_cost_of_global_invariance,
)
LABELS = FigureSpec(
    "labels_define_place",
    "Place in the features: can it be read, and how much of them is it?",
    "A linear probe for the object's cell on networks trained everywhere with different labels.",
    labels_define_place,
    describe_labels_define_place,
)
