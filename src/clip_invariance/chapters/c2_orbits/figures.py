"""Figures of chapter 2: what averages over orbits, whole or sampled, do."""

from __future__ import annotations

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from clip_invariance.chapters.c2_orbits.orbits import ARTWORK, DIGITS
from clip_invariance.chapters.c2_orbits.training import NONE, WHOLE
from clip_invariance.marks.alt import along, count
from clip_invariance.marks.marks import (
    band,
    bounded,
    dot,
    end_labels,
    errors,
    floor,
    headline,
    key,
    legend_below,
    level,
    log_ticks,
)
from clip_invariance.marks.style import PALETTE, SMALL, WIDTH, faint

FLOAT_ERROR = float(np.finfo(np.float32).eps)
#: C07's threshold, and the smallest deviation that a log axis can show here.
TOLERANCE, FLOOR = 1e-5, 1e-16
CHANCE = 10.0
WORLDS = {DIGITS: "digits", ARTWORK: "drawings"}
WORLD_COLOURS = {DIGITS: PALETTE["blue"], ARTWORK: PALETTE["orange"]}
OBJECTIVES = {
    NONE: "as written",
    "1": "one sample",
    "2": "2 samples",
    "4": "4 samples",
    "8": "8 samples",
    WHOLE: "the whole orbit",
}
OBJECTIVE_COLOURS = dict(
    zip(OBJECTIVES, (PALETTE[c] for c in ("grey", "orange", "pink", "green", "sky", "blue")), strict=True)
)


def _in_order(rows: pd.DataFrame, column: str, names: dict[str, str]) -> pd.DataFrame:
    """The rows whose ``column`` is among ``names``, in the order of these, and under their words."""
    drawn = rows[rows[column].isin(list(names))]
    place = {name: number for number, name in enumerate(names)}
    drawn = drawn.sort_values(column, key=lambda values: values.map(place), kind="stable")
    return drawn.assign(**{column: drawn[column].map(names)})


# ---------------------------------------------------------------- what an orbit is


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
    headline(figure, "What a set of transforms makes of one digit")
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
    headline(figure, "How far the averaged answer moves")
    key(figure, {name: WORLD_COLOURS[world] for world, name in WORLDS.items()})
    return figure


def describe_exactness(table: pd.DataFrame) -> str:
    """Alt text of :func:`exactness`."""
    rows = _in_order(_in_order(table, "world", WORLDS), "group", EXACT_NAMES)
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
    headline(figure, "How far two sampled answers lie apart, by samples")
    return figure


def describe_deviation_by_samples(table: pd.DataFrame) -> str:
    """Alt text of :func:`deviation_by_samples`."""
    rows = _in_order(table, "world", WORLDS)
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
    headline(figure, "Sampled loss less orbit loss, by samples")
    return figure


def describe_gap_by_samples(table: pd.DataFrame) -> str:
    """Alt text of :func:`gap_by_samples`."""
    rows = _in_order(table, "metric", {"loss": "measured", "predicted_loss": "predicted from the curvature"})
    rows = _in_order(rows, "group", {"linear": "averaged before the last, linear layer", "deep": "one layer earlier"})
    return (
        "Two panels, sampled loss minus orbit loss in nats against the number of samples. "
        f"{along(rows, ['group', 'metric'], 'k', count, digits=3)}."
    )


# ---------------------------------------------------------------- C10


def orbit_loss_by_training(table: pd.DataFrame) -> Figure:
    """Orbit loss reached against gradient steps and against passes through the net, one line per objective."""
    figure, axes = plt.subplots(2, 1, figsize=(WIDTH, 6.2), sharey=True, layout="constrained")
    objectives = [name for name in OBJECTIVES if name in set(table["objective"])]
    columns = {"steps": "gradient steps", "passes": "pictures put through the net in training"}
    for ax, (column, label) in zip(axes, columns.items(), strict=True):
        for objective in objectives:
            rows = table[table["objective"] == objective].sort_values(column)
            band(ax, rows[column], rows, OBJECTIVE_COLOURS[objective])
        ax.set_xscale("log")
        ax.xaxis.set_minor_locator(NullLocator())
        ticks = sorted(table["steps"].unique()) if column == "steps" else [1e4, 1e5, 1e6]
        ax.set_xticks(ticks, labels=[f"{tick:,.0f}" for tick in ticks])
        ax.set(xlabel=label, ylabel="orbit loss, nats", ylim=(0, 1.12 * table["value"].max()))
    axes[0].set_title("Equal steps")
    axes[1].set_title("Equal compute")
    handles = [
        Line2D([], [], marker="o", markersize=4, color=OBJECTIVE_COLOURS[name], label=f"trained on {OBJECTIVES[name]}")
        for name in objectives[::-1]
    ]
    legend_below(figure, handles[::-1])
    return figure


def describe_orbit_loss_by_training(table: pd.DataFrame) -> str:
    """Alt text of :func:`orbit_loss_by_training`."""
    rows = _in_order(table, "objective", OBJECTIVES)
    rows = rows.assign(pictures=[f"{number:,.0f} pictures a step" for number in rows["passes"] / rows["steps"]])
    return (
        "Orbit loss on training pictures in nats, by training objective and gradient steps. "
        f"{along(rows, ['objective', 'pictures'], 'steps', count, word='after', digits=3)}. A second panel has the same "
        "losses against compute, which is steps times the pictures put through the net in a step."
    )


def orbit_loss_by_width(table: pd.DataFrame) -> Figure:
    """Orbit loss reached by training on one sample and on the whole orbit, by width; open marks after longer training."""
    widths = sorted(table["width"].unique())
    place = {width: position for position, width in enumerate(widths)}
    usual = table["steps"].min()
    figure, ax = plt.subplots(figsize=(WIDTH, 3.8), layout="constrained")
    for objective, marker in (("1", "o"), (WHOLE, "s")):
        rows = table[table["objective"] == objective]
        colour = OBJECTIVE_COLOURS[objective]
        now, longer = rows[rows["steps"] == usual], rows[rows["steps"] > usual]
        nets, linear = now[now["width"] > 0], now[now["width"] == 0]
        band(ax, nets["width"].map(place), nets, colour, marker=marker)
        ax.plot(linear["width"].map(place), linear["value"], marker, color=colour, markersize=4 if marker == "s" else 8)
        for _, row in longer.iterrows():
            ax.errorbar(place[row["width"]] + 0.12, row["value"], yerr=errors(row), fmt=marker, color=colour, mfc="none",
                        markersize=7, capsize=3)  # fmt: skip
    handles = [
        Line2D(
            [], [], marker=marker, markersize=5, color=OBJECTIVE_COLOURS[name], label=f"trained on {OBJECTIVES[name]}"
        )
        for name, marker in (("1", "o"), (WHOLE, "s"))
    ]
    if table["steps"].max() > usual:
        note = f"{table['steps'].max() / usual:.0f} times as many steps"
        handles.append(Line2D([], [], linestyle="", marker="o", markersize=7, mfc="none", mec=faint(), label=note))
    ax.legend(handles=handles, loc="upper right")
    ax.set_xticks(range(len(widths)), labels=["linear\nmodel" if width == 0 else f"{width}" for width in widths])
    ax.set_xlabel("units per hidden layer")
    ax.set_ylabel("orbit loss reached, nats")
    ax.set_ylim(bottom=0)
    ax.set_xlim(-0.4, len(widths) - 0.4)
    headline(figure, "Trained on one sample or on the whole orbit, by width of the net")
    return figure


def describe_orbit_loss_by_width(table: pd.DataFrame) -> str:
    """Alt text of :func:`orbit_loss_by_width`."""
    parts = []
    for steps, rows in table.groupby("steps"):
        by = rows.pivot(index="width", columns="objective", values="value")
        losses = [
            f"{'linear model' if width == 0 else f'width {width}'} {row['1']:.2f} and {row[WHOLE]:.2f}"
            for width, row in by.iterrows()
        ]
        parts.append(f"after {steps:,} steps, {'; '.join(losses)}")
    return f"Orbit loss in nats reached by training on one sample and on the whole orbit: {'. '.join(parts)}."


# ---------------------------------------------------------------- C11


def orbit_variance(table: pd.DataFrame) -> Figure:
    """Share of the output's variance that place causes, with and without augmentation, on familiar and strange pictures."""
    table = bounded(table)
    figure, ax = plt.subplots(figsize=(WIDTH, 2.5), layout="constrained")
    groups = {"turned": "digits on their side,\nnever shown in training", "test": "new digits"}
    for y, group in enumerate(groups):
        for objective in (NONE, "1"):
            row = table[(table["group"] == group) & (table["objective"] == objective)].iloc[0]
            colour = OBJECTIVE_COLOURS[objective] if objective == "1" else faint()
            dot(ax, row, y, colour)
            text = "trained as written" if objective == NONE else "trained with shifts"
            side = (0, 9)
            if y == 1:
                ax.annotate(text, (row["value"], y), side, textcoords="offset points", color=colour,
                            ha="left" if objective == "1" else "right", va="bottom")  # fmt: skip
    ax.set_yticks(range(len(groups)), labels=list(groups.values()))
    ax.set_ylim(-0.5, 1.6)
    ax.set_xlim(0, 103)
    ax.set_xlabel("the output's variance caused by place, %\n(0: invariant, 100: nothing but place)")
    headline(figure, "How much place matters, with and without augmentation")
    return figure


def describe_orbit_variance(table: pd.DataFrame) -> str:
    """Alt text of :func:`orbit_variance`."""
    share = table.set_index(["objective", "group"])["value"]
    return (
        "Share of the output's variance that place causes. New digits: "
        f"{share[NONE, 'test']:.0f} % trained as written, {share['1', 'test']:.0f} % trained with random shifts. Digits on "
        f"their side: {share[NONE, 'turned']:.0f} % and {share['1', 'turned']:.0f} %."
    )


# ---------------------------------------------------------------- use


def test_time_averaging(table: pd.DataFrame) -> Figure:
    """Test accuracy against the number of places averaged over, one line per training objective."""
    table = bounded(table)
    figure, ax = plt.subplots(figsize=(WIDTH, 3.9), layout="constrained")
    log_ticks(ax, sorted(table["k"].unique()))
    ends = {}
    for objective in [name for name in OBJECTIVES if name in set(table["objective"])]:
        rows = table[table["objective"] == objective].sort_values("k")
        colour = faint() if objective == NONE else OBJECTIVE_COLOURS[objective]
        band(ax, rows["k"], rows, colour)
        ends[OBJECTIVES[objective]] = (rows["value"].iloc[-1], colour)
    floor(ax, CHANCE)
    ax.text(1, CHANCE - 1, "chance", va="top", color=faint(), fontsize=SMALL)
    ax.set_ylim(0, 104)
    right = 1.2 * table["k"].max()
    ax.set_xlim(0.9, right)
    end_labels(ax, right, ends, gap=0.075)
    ax.set_ylabel("accuracy on shifted test digits, %")
    ax.set_xlabel("places averaged over at test time, of 16")
    headline(figure, "Accuracy, by how many places a net averages over at test")
    ax.annotate("trained on", (right, 104), (4, 2), textcoords="offset points", va="bottom", color=faint(),
                fontsize=SMALL, annotation_clip=False)  # fmt: skip
    return figure


def describe_test_time_averaging(table: pd.DataFrame) -> str:
    """Alt text of :func:`test_time_averaging`."""
    rows = _in_order(table, "objective", OBJECTIVES)
    return (
        "Accuracy in percent on shifted test digits, by what the net was trained on and the number of places, of 16, that "
        f"it averages over at test. {along(rows, ['objective'], 'k', count)}. Chance is {CHANCE:.0f}."
    )


METHOD_COLOURS = {
    "torus net": PALETTE["green"],
    "feature averaging": PALETTE["blue"],
    "augmentation, averaged at test": PALETTE["pink"],
    "augmentation": PALETTE["orange"],
    "neither": PALETTE["grey"],
}


def accuracy_by_training_set(table: pd.DataFrame) -> Figure:
    """Test accuracy against training-set size, one line per method."""
    table = bounded(table)
    figure, ax = plt.subplots(figsize=(WIDTH, 4.2), layout="constrained")
    sizes = sorted(table["images"].unique())
    log_ticks(ax, sizes)
    for method, colour in METHOD_COLOURS.items():
        rows = table[table["method"] == method].sort_values("images")
        band(ax, rows["images"], rows, colour)
    floor(ax, CHANCE)
    ax.text(sizes[0], CHANCE - 1, "chance", va="top", color=faint(), fontsize=SMALL)
    ax.set_ylim(0, 100)
    handles = [
        Line2D([], [], marker="o", markersize=4, color=colour, label=method)
        for method, colour in METHOD_COLOURS.items()
    ]
    legend_below(figure, handles)
    ax.set_ylabel("accuracy on shifted test digits, %")
    ax.set_xlabel("training digits")
    headline(figure, "Averaging in training, and averaging at test")
    return figure


def describe_accuracy_by_training_set(table: pd.DataFrame) -> str:
    """Alt text of :func:`accuracy_by_training_set`."""
    rows = _in_order(table, "method", {method: method for method in METHOD_COLOURS})
    return (
        "Accuracy in percent on shifted test digits against the number of training digits. "
        f"{along(rows, ['method'], 'images', count, word='with')}. Chance is {CHANCE:.0f}."
    )


#: Where a method's label stands, in points from its mark.
OFFSETS = {"frame": (2, 8), "whole orbit": (-6, 8), "torus net": (-6, 8)}


def cost_of_invariance(table: pd.DataFrame) -> Figure:
    """Time per picture against invariance error, both logarithmic; accuracy beside each point."""
    figure, ax = plt.subplots(figsize=(WIDTH, 4.6), layout="constrained")
    least = 1e-7
    sampled = table[table["method"].str.endswith("samples") | table["method"].isin(["augmentation"])]
    ax.plot(sampled["microseconds"], sampled["error"], color=PALETTE["orange"], linewidth=1.2)
    colours = {
        "no augmentation": faint(),
        "whole orbit": PALETTE["blue"],
        "frame": PALETTE["pink"],
        "torus net": PALETTE["green"],
    }
    for _, row in table.iterrows():
        colour = colours.get(row["method"], PALETTE["orange"])
        y = max(row["error"], least)
        ax.plot(row["microseconds"], y, "o", color=colour, markersize=7)
        above = row["error"] > 1e-3
        name = row["method"] if row["k"] == 1 or row["k"] == table["k"].max() else f"{row['k']:.0f}"
        if name in ("2", "4", "8", "16"):
            continue
        label = {"32": "32 samples"}.get(name, name)
        ax.annotate(f"{label}\n{row['accuracy']:.0f} % right", (row["microseconds"], y),
                    OFFSETS.get(row["method"], (6, -4)), textcoords="offset points", color=colour, fontsize=SMALL,
                    va="top" if above else "bottom", ha="right" if row["method"] == "frame" else "left")  # fmt: skip
    floor(ax, 100)
    ax.text(0.99, 100, "distance between classes", transform=ax.get_yaxis_transform(), ha="right", va="bottom",
            color=faint(), fontsize=SMALL)  # fmt: skip
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_ylim(least / 4, 1e4)
    ax.yaxis.set_minor_locator(NullLocator())
    ticks = {least: "0", 1e-5: "0.00001", 1e-3: "0.001", 0.1: "0.1", 10: "10", 1000: "1000"}
    ax.set_yticks(list(ticks), labels=list(ticks.values()))
    ax.set_xlim(right=table["microseconds"].max() * 3)
    ax.set_xlabel("processor time per picture, microseconds")
    ax.set_ylabel("change of the answer under a shift,\n% of the distance between classes")
    headline(figure, "What invariance costs in time, by method")
    return figure


def describe_cost_of_invariance(table: pd.DataFrame) -> str:
    """Alt text of :func:`cost_of_invariance`."""
    parts = [
        f"{row['method']} {row['microseconds']:.0f} microseconds, change {row['error']:.2g} %, {row['accuracy']:.0f} % right"
        for _, row in table.iterrows()
    ]
    return f"Processor time per picture against the change of the answer under a random shift: {'; '.join(parts)}."
