"""Figures of chapter 1, part one: what networks do at places where they were, and were not, trained."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from clip_invariance.chapters.c1_places.tables import NAMES, REACHES, SUPPORTS, VARIANTS
from clip_invariance.marks.alt import cells, listed
from clip_invariance.marks.marks import (
    NOT_RUN,
    band,
    bounded,
    end_labels,
    errors,
    floor,
    headline,
    key,
    not_run,
    panel_title,
    row_names,
)
from clip_invariance.marks.spec import FigureSpec
from clip_invariance.marks.style import PALETTE, WIDTH, faint
from clip_invariance.worlds import placed
from clip_invariance.worlds.canvas import Factors, sample_factors
from clip_invariance.worlds.openmoji import ATTRIBUTION
from clip_invariance.worlds.placed import CLASSES, GRID, MIDLINE, ONE_PLACE, SIZE

COLOURS = dict(zip(NAMES, ("green", "blue", "sky", "sky", "sky", "orange", "pink", "red"), strict=True))
CHANCE = 1 / CLASSES
HEAT = LinearSegmentedColormap.from_list("accuracy", ["#2b2350", "#3d5f9e", "#38a08c", "#b5cf5a", "#fbe76a"])


def by_net(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each architecture, in the order in which they come."""
    for net, group in rows.groupby("architecture", sort=False):
        yield str(net), group


def named(rows: pd.DataFrame) -> pd.DataFrame:
    """For words: the rows in the order of the architectures, by name without commas; what is none is last, nameless."""
    place = {net: number for number, net in enumerate(NAMES)}
    ordered = rows.sort_values("architecture", key=lambda nets: nets.map(place).fillna(len(place)), kind="stable")
    return ordered.assign(architecture=[NAMES.get(net, "").replace(",", "") for net in ordered["architecture"]])


def samples(seed: int = 4) -> pd.DataFrame:
    """Factors of twelve random pictures, one row each, all of different objects."""
    factors = sample_factors(12, seed, SIZE, objects=CLASSES)
    factors.object.copy_(torch.randperm(CLASSES, generator=torch.Generator().manual_seed(seed))[:12])
    return pd.DataFrame({name: column.numpy() for name, column in factors.columns().items()})


def sample_pictures(factors: pd.DataFrame) -> Figure:
    """Two rows of pictures as the networks see them, enlarged."""
    columns = {
        name: torch.tensor(
            factors[name].to_numpy(), dtype=torch.int64 if factors[name].dtype == "int64" else torch.float32
        )
        for name in factors.columns
    }
    images = placed.canvas("cpu").render(Factors(**columns)).permute(0, 2, 3, 1).numpy()
    figure, axes = plt.subplots(2, len(images) // 2, figsize=(WIDTH, WIDTH * 0.35), layout="constrained")
    for ax, image in zip(axes.flat, images, strict=True):
        ax.imshow(image, interpolation="nearest")
        ax.set_xticks([])
        ax.set_yticks([])
        for spine in ax.spines.values():
            spine.set_visible(False)
    return figure


def describe_sample_pictures(_: pd.DataFrame) -> str:
    """Alt text of :func:`sample_pictures`."""
    return "Twelve small pictures, each with one drawn animal or thing somewhere on a softly patterned background."


def accuracy_by_place(maps: pd.DataFrame) -> Figure:
    """Heat maps: one row per architecture, one column per set of training places."""
    nets = [net for net in NAMES if net in set(maps["architecture"]) and net not in VARIANTS]
    figure, axes = plt.subplots(
        len(nets), len(SUPPORTS), figsize=(WIDTH, 1.42 * len(nets) + 0.75), layout="constrained", squeeze=False
    )
    image = None
    for row, net in enumerate(nets):
        for column, (support, title) in enumerate(SUPPORTS.items()):
            ax = axes[row, column]
            here = maps[(maps["architecture"] == net) & (maps["support"] == support)]
            if row == 0:
                ax.set_title(title, loc="center", pad=6)
            if column == 0:
                ax.set_ylabel(NAMES[net], fontweight="bold", labelpad=6)
            ax.set(xticks=[], yticks=[], xlim=(0, SIZE), ylim=(SIZE, 0), aspect="equal")
            if here.empty:
                ax.text(SIZE / 2, SIZE / 2, "not run in\nthis profile", ha="center", va="center", color=faint())
                continue
            grid = here.pivot(index="y", columns="x", values="value").loc[list(GRID), list(GRID)].to_numpy()
            image = ax.imshow(grid, cmap=HEAT, vmin=0, vmax=1, extent=(0, SIZE, SIZE, 0), interpolation="nearest")
            _outline_training_places(ax, support)
            ax.set_xlabel(f"mean {100 * grid.mean():.0f} %", labelpad=2)
    if image is not None:
        bar = figure.colorbar(image, ax=axes, location="bottom", shrink=0.75, aspect=30, pad=0.015)
        bar.set_label("accuracy with the object centred here")
        bar.set_ticks([CHANCE, 0.25, 0.5, 0.75, 1], labels=["chance", "25 %", "50 %", "75 %", "100 %"])
        bar.outline.set_visible(False)
    headline(figure, "Trained with the object …")
    return figure


def describe_accuracy_by_place(maps: pd.DataFrame) -> str:
    """Alt text of :func:`accuracy_by_place`."""
    place = {support: number for number, support in enumerate(SUPPORTS)}
    drawn = maps.sort_values("support", key=lambda supports: supports.map(place), kind="stable")
    drawn = named(drawn[~drawn["architecture"].isin(VARIANTS)])
    trained = drawn["architecture"] + " trained " + drawn["support"].map(SUPPORTS)
    drawn = drawn.assign(trained=trained, value=100 * drawn["value"])
    heights = sorted(drawn["y"].unique())
    rows = drawn.groupby(["trained", "y"], sort=False)["value"].mean().reset_index()
    means = drawn.groupby("trained", sort=False)["value"].mean().reset_index().assign(y="mean")
    return (
        "Heat maps of accuracy by the place of the object, one row per network and one column per set of training "
        "places. In percent, the mean over all places, then over the places of each height from the top to the bottom. "
        f"{cells(pd.concat([means, rows]), 'trained', 'y', ['mean', *heights])}. Chance is {100 * CHANCE:.0f}."
    )


def _outline_training_places(ax: Axes, support: str) -> None:
    """A white frame around the places seen in training."""
    if support == "one":
        corner, width, height = (ONE_PLACE[0] - 2.0, ONE_PLACE[1] - 2.0), 4.0, 4.0
    elif support == "bottom":
        corner, width, height = (0.0, MIDLINE), float(SIZE), MIDLINE
    else:
        corner, width, height = (0.0, 0.0), float(SIZE), float(SIZE)
    ax.add_patch(Rectangle(corner, width, height, fill=False, edgecolor="white", linewidth=2, clip_on=True))


def accuracy_by_height(profile: pd.DataFrame) -> Figure:
    """Accuracy, and cosine with the features of the same object lower down, against height."""
    profile = bounded(profile, low=-1, high=1)
    figure, axes = plt.subplots(2, 1, figsize=(WIDTH, 5.6), sharex=True, layout="constrained")
    accuracy = bounded(profile[profile["metric"] == "accuracy_map"], high=1)
    cosine = profile[profile["metric"] == "cosine"]
    panels = ((accuracy, (0, 1.03)), (cosine[cosine["group"] == "same object"], (-0.35, 1.05)))
    for ax, (rows, limits) in zip(axes, panels, strict=True):
        ax.axvspan(MIDLINE, SIZE, color=PALETTE["green"], alpha=0.10, linewidth=0)
        for net, line in by_net(rows):
            band(ax, line["y"], line, PALETTE[COLOURS[net]], marker="")
        last = rows[rows["y"] == min(GRID)]
        ends = {
            NAMES[net]: (y, PALETTE[COLOURS[net]]) for net, y in zip(last["architecture"], last["value"], strict=True)
        }
        ax.set_ylim(*limits)
        end_labels(ax, min(GRID), ends, gap=0.08)
    floor(axes[0], CHANCE)
    axes[0].text(SIZE - 1, CHANCE + 0.015, "chance", ha="left", va="bottom", color=faint())
    other = cosine[cosine["group"] == "other object"]["value"].mean()
    floor(axes[1], other)
    axes[1].text(SIZE - 1, other - 0.02, "another object", ha="left", va="top", color=faint())
    panel_title(axes[0], "Accuracy, by height of the object")
    axes[0].set_ylabel("accuracy")
    panel_title(axes[1], "How alike the features are, by height")
    axes[1].set_ylabel("cosine with the same picture,\nobject low on the canvas")
    axes[1].set_xlabel("height of the object")
    axes[1].set_xticks([min(GRID), MIDLINE, SIZE], labels=["high", "middle", "bottom"])
    axes[1].text(SIZE * 0.75, 0.25, "trained here", ha="center", va="center", color=PALETTE["green"])
    axes[0].set_xlim(SIZE, min(GRID))
    return figure


def describe_accuracy_by_height(profile: pd.DataFrame) -> str:
    """Alt text of :func:`accuracy_by_height`."""
    rows = named(profile)
    accuracy = rows[rows["metric"] == "accuracy_map"].assign(value=100 * rows["value"])
    cosine = rows[rows["metric"] == "cosine"]
    same, other = (cosine[cosine["group"] == f"{which} object"] for which in ("same", "other"))
    heights = sorted(accuracy["y"].unique(), reverse=True)
    parts = [
        f"Two line charts against the height of the object, {len(heights)} heights from the bottom to the top, for "
        f"networks trained on the lower {sum(y > MIDLINE for y in heights)} of these. Accuracy in percent, chance "
        f"{100 * CHANCE:.0f}. {cells(accuracy, 'architecture', 'y', heights)}."
    ]
    if len(same):
        parts.append(
            "Cosine of the features with those of the same object low on the canvas. "
            f"{cells(same, 'architecture', 'y', heights, digits=2)}."
        )
    if len(other):
        parts.append(f"With another object, mean over networks: {other['value'].mean():z.2f}.")
    return " ".join(parts)


def positions_and_reach(summary: pd.DataFrame) -> Figure:
    """Has the transformer learned to use its positions, and if so, does it still recognise objects above the middle?"""
    if not len(summary):
        return not_run(REACH.title)
    summary = bounded(summary, high=1)
    figure, axes = plt.subplots(
        2, 1, figsize=(WIDTH, 3.9), sharex=True, layout="constrained", height_ratios=[2, len(REACHES)]
    )
    looks = {"both": PALETTE["grey"], "below": PALETTE["green"], "above": PALETTE["red"]}
    for ax, panel in zip(axes, ("check", "reach"), strict=True):
        here = summary[summary["panel"] == panel]
        trainings = [name for name in REACHES if name in set(here["training"])]
        for y, training in enumerate(trainings):
            rows = here[here["training"] == training].set_index("half")
            for shift, half in zip((-0.12, 0.12), [half for half in looks if half in rows.index], strict=False):
                row = rows.loc[half]
                place = y if half == "both" else y + shift
                ax.errorbar(row["value"], place, xerr=errors(row), color=looks[half], marker="o", capsize=3)
        row_names(ax, trainings)
    panel_title(axes[0], "Labels tell the upper half from the lower: does it learn that?")
    axes[0].axvline(0.5, color=faint(), linestyle=":", linewidth=1)
    middle = (axes[0].get_ylim()[0] - 0.5) / 2
    axes[0].text(0.51, middle, "knows the object,\nguesses the half", ha="left", va="center", color=faint())
    panel_title(axes[1], "Trained on the lower half: does it reach the upper one?")
    axes[1].axvline(CHANCE, color=faint(), linestyle=":", linewidth=1)
    axes[1].text(CHANCE + 0.01, axes[1].get_ylim()[0] - 0.08, "chance", ha="left", va="bottom", color=faint())
    axes[1].set_xlim(0, 1.04)
    axes[1].set_xticks([0, 0.25, 0.5, 0.75, 1], labels=["0", "25 %", "50 %", "75 %", "100 %"])
    axes[1].set_xlabel("accuracy")
    headline(figure, REACH.title)
    key(figure, {"object below, as in training": looks["below"], "object above": looks["above"]})
    return figure


def describe_positions_and_reach(summary: pd.DataFrame) -> str:
    """Alt text of :func:`positions_and_reach`."""
    if not len(summary):
        return f"{REACH.title}: {NOT_RUN}."
    parts = []
    for (panel, training), rows in summary.groupby(["panel", "training"], sort=False):
        read = ", ".join(f"{100 * v:.0f} % {half}" for half, v in zip(rows["half"], rows["value"], strict=True))
        what = "object and half" if panel == "check" else "trained on the lower half"
        parts.append(f"{what}, {' '.join(str(training).split())}: {read}")
    return f"Accuracy of the vision transformer after a short and a long training. {'; '.join(parts)}."


def objects_kept_below(summary: pd.DataFrame) -> Figure:
    """Slopes from below to above the midline, for objects seen everywhere and objects kept below."""
    summary = bounded(summary, high=1)
    nets = [net for net in NAMES if net in set(summary["architecture"])]
    figure, axes = plt.subplots(1, len(nets), figsize=(WIDTH, 3.0), sharey=True, layout="constrained", squeeze=False)
    looks = {"free": (faint(), "seen everywhere"), "restricted": (PALETTE["orange"], "kept below")}
    for ax, net in zip(axes[0], nets, strict=True):
        for objects, (colour, _) in looks.items():
            line = summary[(summary["architecture"] == net) & (summary["objects"] == objects)]
            line = line.set_index("half").loc[["below", "above"]]
            ax.errorbar([0, 1], line["value"], errors(line), color=colour, marker="o", capsize=3)
        floor(ax, CHANCE)
        ax.set_title(NAMES[net].replace(" ", "\n"), loc="center")
        ax.set_xticks([0, 1], labels=["below", "above"])
        ax.set_xlim(-0.5, 1.5)
        ax.set_ylim(0, 1.03)
    axes[0, 0].set_ylabel("accuracy")
    key(figure, {f"objects {label}": colour for colour, label in looks.values()})
    return figure


def describe_objects_kept_below(summary: pd.DataFrame) -> str:
    """Alt text of :func:`objects_kept_below`."""
    seen = summary["objects"].map({"free": "seen everywhere", "restricted": "kept below"})
    rows = summary.assign(objects=seen, value=100 * summary["value"])
    rows = named(rows.sort_values(["objects", "half"], ascending=False, kind="stable"))
    return (
        "Half of the objects were seen everywhere, half were kept below the midline. Accuracy in percent on each half of "
        f"the canvas, by network. {listed(rows, ['architecture', 'objects'], 'half')}. Chance is {100 * CHANCE:.0f}."
    )


def number_of_places(summary: pd.DataFrame) -> Figure:
    """Accuracy at new places against the number of training places."""
    summary = bounded(summary, high=1)
    figure, ax = plt.subplots(figsize=(WIDTH, 3.4), layout="constrained")
    ends = {}
    for net, line in by_net(summary):
        ordered, colour = line.sort_values("places"), PALETTE[COLOURS[net]]
        ax.errorbar(
            ordered["places"], ordered["value"],
            errors(ordered),
            color=colour, marker="o", markersize=4, capsize=3,
        )  # fmt: skip
        if ordered["places"].max() > 1:
            ends[NAMES[net]] = (float(ordered["value"].iloc[-1]), colour)
        else:
            ax.annotate(
                NAMES[net], (1, ordered["value"].iloc[0]), (8, 0), textcoords="offset points", color=colour, va="center"
            )
    floor(ax, CHANCE)
    ax.text(SIZE * SIZE, CHANCE + 0.015, "chance", ha="right", va="bottom", color=faint())
    ax.set_xscale("log", base=4)
    ax.set_xticks([1, 4, 16, 64, SIZE * SIZE], labels=["1", "4", "16", "64", "everywhere"])
    ax.set_xticks([], minor=True)
    ax.set_xlim(0.7, SIZE * SIZE * 1.4)
    ax.set(xlabel="training places (the same number of pictures)", ylabel="accuracy at new places", ylim=(0, 1.03))
    end_labels(ax, SIZE * SIZE * 1.4, ends, gap=0.07)
    headline(figure, "Accuracy at new places, by how many places training had")
    return figure


def describe_number_of_places(summary: pd.DataFrame) -> str:
    """Alt text of :func:`number_of_places`."""
    parts = []
    for net, line in by_net(summary):
        ordered = line.sort_values("places")
        points = ", ".join(
            f"{100 * v:.0f} % from {n}" for n, v in zip(ordered["places"], ordered["value"], strict=True)
        )
        parts.append(f"{NAMES[net]} {points}")
    return f"Accuracy at new places against the number of training places (1024 is everywhere): {'; '.join(parts)}."


# ---------------------------------------------------------------- declared once

SAMPLES = FigureSpec(
    "sample_pictures",
    "Twelve training pictures, enlarged",
    "Pictures drawn at random places.",
    sample_pictures,
    describe_sample_pictures,
    attribution=(ATTRIBUTION,),
)
MAPS = FigureSpec(
    "accuracy_by_place",
    "Accuracy at places seen in training, and at others",
    "Accuracy with the object centred at each of 64 places.",
    accuracy_by_place,
    describe_accuracy_by_place,
)
COUNT = FigureSpec(
    "number_of_places",
    "Accuracy at new places by the number of training places",
    "The same number of training pictures, spread over more and more places.",
    number_of_places,
    describe_number_of_places,
)
HEIGHT = FigureSpec(
    "accuracy_by_height",
    "Accuracy and features, by height of the object",
    "Networks trained with objects in the lower half of the canvas, tested at every height.",
    accuracy_by_height,
    describe_accuracy_by_height,
)
REACH = FigureSpec(
    "positions_and_reach",
    "The transformer after a short and a long training",
    "The same transformer after a short and a long training, the latter with labels that need positions, too.",
    positions_and_reach,
    describe_positions_and_reach,
)
KEPT_BELOW = FigureSpec(
    "objects_kept_below",
    "Is a restricted invariance the object's own, or shared with others?",
    "Even objects anywhere, odd objects below the midline in training; all tested above and below.",
    objects_kept_below,
    describe_objects_kept_below,
)
