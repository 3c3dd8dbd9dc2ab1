"""Figures of chapter 2, part one: what averages over orbits, whole or sampled, do."""

from __future__ import annotations

import textwrap

import matplotlib.pyplot as plt
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from clip_invariance.chapters.c2_orbits.orbits import ARTWORK, DIGITS
from clip_invariance.marks.alt import along, count
from clip_invariance.marks.marks import (
    band,
    headline,
    key,
    level,
    log_ticks,
)
from clip_invariance.marks.spec import FigureSpec
from clip_invariance.marks.style import PALETTE, SMALL, WIDTH, faint
from clip_invariance.models.orbit import crops, rotations, torus_shifts, zero_filled_shifts
from clip_invariance.worlds.digits import load_digits

#: C07's threshold, and the smallest deviation that a log axis can show here.
TOLERANCE, FLOOR = 1e-5, 1e-16
WORLDS = {DIGITS: "digits", ARTWORK: "drawings"}
WORLD_COLOURS = {DIGITS: PALETTE["blue"], ARTWORK: PALETTE["orange"]}


def in_order(rows: pd.DataFrame, column: str, names: dict[str, str]) -> pd.DataFrame:
    """The rows whose ``column`` is among ``names``, in the order of these, and under their words."""
    drawn = rows[rows[column].isin(list(names))]
    place = {name: number for number, name in enumerate(names)}
    drawn = drawn.sort_values(column, key=lambda values: values.map(place), kind="stable")
    return drawn.assign(**{column: drawn[column].map(names)})


# ---------------------------------------------------------------- what an orbit is


def example_pixels(digit: int = 3) -> pd.DataFrame:
    """One training digit moved by some elements of four sets: set, closed, element, row, column, value in [0, 1]."""
    image = load_digits(8, "train").images[digit : digit + 1]
    scene = F.pad(image, [2] * 4)
    sets = {
        "torus shifts": (torus_shifts(8, 8), image, [0, 3, 26, 44, 37, 61]),
        "quarter turns": (rotations(4), image, [0, 1, 2, 3]),
        "shifts that lose pixels": (zero_filled_shifts(8, 8, 4, 2), image, [12, 13, 2, 9, 20, 24]),
        "crops of a larger scene": (crops(12, 12, 8), scene, [12, 13, 2, 9, 20, 24]),
    }
    return pd.DataFrame(
        [
            {"set": name, "closed": group.closed, "element": element, "row": row, "column": column, "value": value}
            for name, (group, start, chosen) in sets.items()
            for element, moved in enumerate(group.act(start, torch.tensor(chosen))[0, :, 0].tolist())
            for row, line in enumerate(moved)
            for column, value in enumerate(line)
        ]
    )


def orbit_pictures(pixels: pd.DataFrame) -> Figure:
    """One row of small pictures per set of transforms."""
    names = list(dict.fromkeys(pixels["set"]))
    columns = pixels["element"].max() + 1
    figure, axes = plt.subplots(
        len(names), columns, figsize=(WIDTH, 4.4), gridspec_kw={"hspace": 0.42, "wspace": 0.06}, squeeze=False
    )
    figure.subplots_adjust(left=0.02, right=0.98, top=0.87, bottom=0.02)
    for row, name in enumerate(names):
        for column in range(columns):
            ax = axes[row, column]
            ax.set_axis_off()
            cells = pixels[(pixels["set"] == name) & (pixels["element"] == column)]
            if len(cells):
                image = cells.pivot(index="row", columns="column", values="value").to_numpy()
                ax.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        is_closed = bool(pixels.loc[pixels["set"] == name, "closed"].iloc[0])
        closed = "closed: an orbit" if is_closed else "not closed: no orbit"
        axes[row, 0].set_title(f"{name} ({closed})", loc="left", pad=4, fontweight="normal")
    headline(figure, ORBITS.title)
    return figure


def describe_orbit_pictures(pixels: pd.DataFrame) -> str:
    """Alt text of :func:`orbit_pictures`."""
    closed = pixels.groupby("set", sort=False)["closed"].first()
    rows = [f"{name} ({'closed' if is_closed else 'not closed'})" for name, is_closed in closed.items()]
    return f"One handwritten digit of 8 by 8 pixels under four sets of transforms, one row each: {', '.join(rows)}."


# ---------------------------------------------------------------- C07


EXACT_NAMES = {
    "torus shifts, double precision": "torus shifts, double precision",
    "torus shifts": "torus shifts",
    "quarter turns": "quarter turns",
    "torus shifts and quarter turns": "shifts and turns together",
    "frame of torus shifts": "frame of torus shifts",
    "twelve rotations, interpolated": "twelve rotations, interpolated",
    "shifts, zeros moving in": "shifts that lose pixels",
    "crops": "crops",
}


def exactness(table: pd.DataFrame) -> Figure:
    """Largest deviation of averages over whole sets in any seed, log scale, one line per set."""
    names = [name for name in EXACT_NAMES if name in set(table["group"])]
    figure, ax = plt.subplots(figsize=(WIDTH, 0.36 * len(names) + 1.6), layout="constrained")
    for y, name in enumerate(reversed(names)):
        rows = table[table["group"] == name]
        for world, value in zip(rows["world"], rows["largest_over_seeds"], strict=True):
            up = 0.12 if world == DIGITS else -0.12
            ax.plot(max(value, FLOOR), y + up, "o", color=WORLD_COLOURS[world], markersize=7)
    level(ax, TOLERANCE, "the claim's\nlimit")
    level(ax, 1.0, "distance\nbetween classes")
    ax.set_xscale("log")
    ax.set_xticks([1e-15, 1e-10, 1e-5, 1])
    ax.set_xlim(FLOOR / 3, 60)
    ax.set_ylim(-0.6, len(names) - 0.35)
    ax.set_yticks(range(len(names)), labels=[textwrap.fill(EXACT_NAMES[name], 18) for name in reversed(names)])
    ax.set_xlabel("largest change of the averaged answer when\nthe picture moves, in distances between classes")
    headline(figure, EXACT.title)
    key(figure, {name: WORLD_COLOURS[world] for world, name in WORLDS.items()})
    return figure


def describe_exactness(table: pd.DataFrame) -> str:
    """Alt text of :func:`exactness`."""
    rows = in_order(in_order(table, "world", WORLDS), "group", EXACT_NAMES)
    parts = []
    for name, here in rows.groupby("group", sort=False):
        read = zip(here["world"], here["largest_over_seeds"], strict=True)
        parts.append(f"{name}: " + ", ".join(f"{world} {value:.2g}" for world, value in read))
    return (
        "Largest change in any seed of the averaged answer when a picture is moved by an element of the set, in distances "
        f"between classes, on a log scale. {'; '.join(parts)}. The claim's limit is {TOLERANCE:.0e}."
    )


# ---------------------------------------------------------------- C08


def deviation_by_samples(table: pd.DataFrame) -> Figure:
    """Deviation against K, both axes logarithmic; with and without replacement."""
    figure, axes = plt.subplots(2, 1, figsize=(WIDTH, 5.6), sharex=True, sharey=True, layout="constrained")
    for ax, (world, name) in zip(axes, WORLDS.items(), strict=True):
        rows = table[table["world"] == world]
        colour = WORLD_COLOURS[world]
        repeated, single = (rows[rows["replacement"].astype(bool) == kind] for kind in (True, False))
        ks = repeated["k"].to_numpy(dtype=float)
        ax.plot(ks, 1.35 * repeated["value"].iloc[0] * ks**-0.5, color=faint(), linestyle=":", linewidth=1.2)
        ax.annotate("slope −1/2", (ks[3], 1.35 * repeated["value"].iloc[0] * ks[3] ** -0.5), (4, 3),
                    textcoords="offset points", color=faint(), fontsize=SMALL)  # fmt: skip
        band(ax, repeated["k"], repeated, colour)
        ax.plot(single["k"], single["value"], "--", color=colour, marker="o", markersize=4, mfc="none")
        ax.annotate("with\nreplacement", (ks[-1], repeated["value"].iloc[-1]), (6, 0), textcoords="offset points",
                    color=colour, va="center", annotation_clip=False)  # fmt: skip
        ax.annotate("without", (single["k"].iloc[-1], single["value"].iloc[-1]), (2, -6), textcoords="offset points",
                    ha="right", va="top", color=colour)  # fmt: skip
        ax.set_yscale("log")
        ax.set_title(name, fontweight="normal")
        ax.set_ylabel("distance of two answers, %")
        ax.yaxis.set_minor_locator(NullLocator())
        ticks = [2, 5, 10, 20, 50, 100]
        ax.set_yticks(ticks, labels=[str(tick) for tick in ticks])
    lowest, highest = table["value"].min(), table["value"].max()
    axes[0].set_ylim(lowest / 1.7, highest * 1.8)
    log_ticks(axes[1], sorted(table["k"].unique()))
    axes[1].set_xlabel("samples K of the 64 shifts")
    headline(figure, SAMPLES.title)
    return figure


def describe_deviation_by_samples(table: pd.DataFrame) -> str:
    """Alt text of :func:`deviation_by_samples`."""
    rows = in_order(table, "world", WORLDS)
    rows = rows.assign(replacement=rows["replacement"].astype(bool).map({True: "with replacement", False: "without"}))
    return (
        "Distance between two sampled answers to the same picture, in percent of the distance between classes, against "
        "the number K of samples, both axes logarithmic. "
        f"{along(rows, ['world', 'replacement'], 'k', count, digits=1)}. A dotted line has the slope minus one half, which "
        "the lines with replacement follow. Those without bend down and would reach zero at K = 64."
    )


# ---------------------------------------------------------------- C09


def gap_by_samples(table: pd.DataFrame) -> Figure:
    """Sampled minus orbit loss against K for both heads, with the second-order prediction for the linear one."""
    figure, axes = plt.subplots(2, 1, figsize=(WIDTH, 5.6), sharex=True, layout="constrained")
    titles = {"linear": "average before the last, linear layer", "deep": "average one layer earlier"}
    for ax, (cut, title) in zip(axes, titles.items(), strict=True):
        rows = table[table["group"] == cut]
        measured, predicted = (rows[rows["metric"] == name] for name in ("loss", "predicted_loss"))
        band(ax, measured["k"], measured, PALETTE["blue"] if cut == "linear" else PALETTE["red"])
        ax.axhline(0, color=faint(), linestyle="--", linewidth=1.2)
        ax.annotate("loss of the whole orbit", (1, 0), (1, -4 if cut == "linear" else 4), textcoords="offset points",
                    va="top" if cut == "linear" else "bottom", color=faint())  # fmt: skip
        if len(predicted):
            ax.plot(predicted["k"], predicted["value"], "x", color=PALETTE["orange"], markersize=7, markeredgewidth=1.8)
            spot = predicted.iloc[1]
            ax.annotate("× predicted from the curvature", (spot["k"], spot["value"]), (10, 8),
                        textcoords="offset points", color=PALETTE["orange"])  # fmt: skip
        ax.set_title(title, fontweight="normal")
        ax.set_ylabel("sampled minus orbit loss, nats")
        low, high = ax.get_ylim()
        ax.set_ylim(low - 0.12 * (high - low), high + 0.12 * (high - low))
    log_ticks(axes[1], sorted(table.loc[table["metric"] == "loss", "k"].unique()))
    axes[1].set_xlabel("samples K of the 64 shifts, with replacement")
    headline(figure, LOSS.title)
    return figure


def describe_gap_by_samples(table: pd.DataFrame) -> str:
    """Alt text of :func:`gap_by_samples`."""
    rows = in_order(table, "metric", {"loss": "measured", "predicted_loss": "predicted from the curvature"})
    rows = in_order(rows, "group", {"linear": "averaged before the last, linear layer", "deep": "one layer earlier"})
    return (
        "Two panels, sampled loss minus orbit loss in nats against the number of samples. "
        f"{along(rows, ['group', 'metric'], 'k', count, digits=3)}."
    )


# ---------------------------------------------------------------- declared once

ORBITS = FigureSpec(
    "orbit_pictures",
    "What a set of transforms makes of one digit",
    "One training digit under elements of four sets of transforms.",
    orbit_pictures,
    describe_orbit_pictures,
)
EXACT = FigureSpec(
    "exactness",
    "How far the averaged answer moves",
    "Answers averaged over every element of a set, before and after the picture is moved by every element.",
    exactness,
    describe_exactness,
)
SAMPLES = FigureSpec(
    "deviation_by_samples",
    "How far two sampled answers lie apart, by samples",
    "Two answers to one picture, each averaged over K random shifts, drawn with and without replacement.",
    deviation_by_samples,
    describe_deviation_by_samples,
)
LOSS = FigureSpec(
    "gap_by_samples",
    "Sampled loss less orbit loss, by samples",
    "Test loss with features averaged over K sampled shifts, in front of a linear layer and one layer earlier.",
    gap_by_samples,
    describe_gap_by_samples,
)
