"""Figures of chapter 2, part two: what trainings reach, and what invariance costs."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from clip_invariance.chapters.c2_orbits.arms import NONE, WHOLE
from clip_invariance.chapters.c2_orbits.figures import in_order
from clip_invariance.marks.alt import along, count
from clip_invariance.marks.marks import (
    band,
    bounded,
    dot,
    end_labels,
    errors,
    floor,
    headline,
    legend_below,
    log_ticks,
)
from clip_invariance.marks.spec import FigureSpec
from clip_invariance.marks.style import PALETTE, SMALL, WIDTH, faint

CHANCE = 10.0
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
    rows = in_order(table, "objective", OBJECTIVES)
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
    headline(figure, VARIANCE.title)
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
    headline(figure, TEST_TIME.title)
    ax.annotate("trained on", (right, 104), (4, 2), textcoords="offset points", va="bottom", color=faint(),
                fontsize=SMALL, annotation_clip=False)  # fmt: skip
    return figure


def describe_test_time_averaging(table: pd.DataFrame) -> str:
    """Alt text of :func:`test_time_averaging`."""
    rows = in_order(table, "objective", OBJECTIVES)
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
    headline(figure, SIZE.title)
    return figure


def describe_accuracy_by_training_set(table: pd.DataFrame) -> str:
    """Alt text of :func:`accuracy_by_training_set`."""
    rows = in_order(table, "method", {method: method for method in METHOD_COLOURS})
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
    headline(figure, COST.title)
    return figure


def describe_cost_of_invariance(table: pd.DataFrame) -> str:
    """Alt text of :func:`cost_of_invariance`."""
    parts = [
        f"{row['method']} {row['microseconds']:.0f} microseconds, change {row['error']:.2g} %, {row['accuracy']:.0f} % right"
        for _, row in table.iterrows()
    ]
    return f"Processor time per picture against the change of the answer under a random shift: {'; '.join(parts)}."


# ---------------------------------------------------------------- declared once

TRAINING = FigureSpec(
    "orbit_loss_by_training",
    "Orbit loss by training, at equal steps and at equal compute",
    "Orbit loss on the training digits after training on one sample, on K samples and on the whole orbit.",
    orbit_loss_by_training,
    describe_orbit_loss_by_training,
)
WIDTHS = FigureSpec(
    "orbit_loss_by_width",
    "Orbit loss reached by width of the network",
    "Orbit loss on the training digits after equal steps on one sample and on the whole orbit, by width.",
    orbit_loss_by_width,
    describe_orbit_loss_by_width,
)
VARIANCE = FigureSpec(
    "orbit_variance",
    "How much place matters, with and without augmentation",
    "Variance of the logits over 16 places, as a share of their whole variance, on upright and turned digits.",
    orbit_variance,
    describe_orbit_variance,
)
TEST_TIME = FigureSpec(
    "test_time_averaging",
    "Accuracy, by how many places a net averages over at test",
    "Accuracy on shifted test digits with features averaged over K places at test time.",
    test_time_averaging,
    describe_test_time_averaging,
)
SIZE = FigureSpec(
    "accuracy_by_training_set",
    "Averaging in training, and averaging at test",
    "Five ways to handle place, trained for equal steps on training sets of several sizes.",
    accuracy_by_training_set,
    describe_accuracy_by_training_set,
)
COST = FigureSpec(
    "cost_of_invariance",
    "What invariance costs in time, by method",
    "Six ways to get an invariance to 64 shifts: time per picture, change of the answer, accuracy.",
    cost_of_invariance,
    describe_cost_of_invariance,
)
