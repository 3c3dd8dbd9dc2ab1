"""Chapter 4: how the scenes, and the one pair that an answer is shown for, are drawn."""

from __future__ import annotations

import textwrap

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clip_invariance.marks.marks import headline, picture
from clip_invariance.marks.spec import FigureSpec
from clip_invariance.marks.style import PALETTE, SMALL, WIDTH


def scenes(table: pd.DataFrame) -> Figure:
    """A row of pictures for each set; the first two change one thing at a time."""
    sets = list(dict.fromkeys(table["set"]))
    columns = table.groupby("set")["name"].nunique().max()
    figure, axes = plt.subplots(len(sets), columns, figsize=(WIDTH, 4.5), squeeze=False)
    figure.subplots_adjust(left=0.02, right=0.98, top=0.86, bottom=0.01, hspace=0.3, wspace=0.05)
    for row, name in enumerate(sets):
        pictures = table[table["set"] == name]
        for column, which in enumerate(dict.fromkeys(pictures["name"])):
            ax = axes[row, column]
            ax.set_axis_off()
            ax.imshow(picture(pictures[pictures["name"] == which]), interpolation="nearest")
            if name != "at random":
                ax.set_title(which, fontweight="normal", fontsize=SMALL, pad=3, loc="center")
        if name == "at random":
            axes[row, 0].set_title(name, fontweight="normal", fontsize=SMALL, pad=3)
    headline(figure, SCENES.title)
    return figure


def describe_scenes(table: pd.DataFrame) -> str:
    """Alt text of :func:`scenes`."""
    names = list(dict.fromkeys(table.loc[table["set"] != "at random", "name"]))
    return (
        "Small drawn dashcam pictures: a road with a black car ahead, a traffic light above it and somebody crossing. "
        f"In columns: {', '.join(names)}. The first row has a light of a few pixels, the second one twice as wide. "
        "The third row shows other random scenes."
    )


SCENES = FigureSpec(
    "scenes",
    "One scene, one thing changed at a time; below, others",
    "A scene with a small and a large light, three of its counterfactuals, and random scenes, 48 x 48 pixels.",
    scenes,
    describe_scenes,
)


def pair(table: pd.DataFrame) -> Figure:
    """A matched pair, and below each picture what two encoders make of it."""
    figure, axes = plt.subplots(
        3, 2, figsize=(WIDTH, 7.2), gridspec_kw={"height_ratios": [1.05, 1, 1], "hspace": 0.08, "wspace": 0.06}
    )
    figure.subplots_adjust(left=0.01, right=0.99, top=0.95, bottom=0.01)
    titles = {0.0: "Captions never mentioned lights", 1.0: "Captions always mentioned lights"}
    for column, light in enumerate(("red", "green")):
        here = table[table["light"] == light]
        axes[0, column].imshow(picture(here[here["pixels"].notna()]), interpolation="nearest")
        axes[0, column].set_axis_off()
        for row, mention in enumerate(titles, start=1):
            ax = axes[row, column]
            ax.set_axis_off()
            ax.set(xlim=(0, 1), ylim=(0, 1))
            if column == 0:
                ax.text(0, 1, titles[mention], fontweight="bold", fontsize=9, va="top")
            rows = here[here["mention"] == mention]
            _answers(ax, rows)
    headline(figure, PAIR.title)
    return figure


def _answers(ax: Axes, rows: pd.DataFrame) -> None:
    """Nearest captions, then what the car would do."""
    captions = rows[rows["kind"] == "caption"].sort_values("rank")
    lines = [
        "\n".join(textwrap.wrap(f"{value:.2f} {text}", 30, subsequent_indent="     "))
        for text, value in zip(captions["text"], captions["value"], strict=True)
    ]
    ax.text(0, 0.88, "\n".join(lines), fontsize=SMALL, va="top", linespacing=1.2)
    decisions = rows[rows["kind"] == "decision"].sort_values("rank")
    for number, (by, excess) in enumerate(zip(decisions["text"], decisions["value"], strict=True)):
        verdict, colour = ("STOP", PALETTE["red"]) if excess > 0 else ("GO", PALETTE["green"])
        y = 0.14 - 0.1 * number
        ax.text(0, y, f"by {by}:", fontsize=SMALL, va="baseline")
        ax.text(0.33, y, verdict, fontsize=9.5, va="baseline", fontweight="bold", color=colour)


def describe_pair(table: pd.DataFrame) -> str:
    """Alt text of :func:`pair`."""
    parts = []
    for mention, name in ((0.0, "never mentioned"), (1.0, "always mentioned")):
        for light in ("red", "green"):
            rows = table[(table["light"] == light) & (table["mention"] == mention)]
            captions = rows[rows["kind"] == "caption"].sort_values("rank")
            nearest = ", ".join(
                f"“{text}” {value:.2f}" for text, value in zip(captions["text"], captions["value"], strict=True)
            )
            decisions = rows[rows["kind"] == "decision"]
            verdicts = ", ".join(
                f"{'stop' if excess > 0 else 'go'} by {by}"
                for by, excess in zip(decisions["text"], decisions["value"], strict=True)
            )
            parts.append(f"captions {name}, light {light}: nearest captions {nearest}; {verdicts}")
    return f"Two pictures that differ in the colour of a small traffic light, and what two encoders say. {'. '.join(parts)}."


PAIR = FigureSpec(
    "pair",
    "The same scene with a red and with a green light",
    "Nearest of 72 captions and the decision at 1 % false stops, for two encoders of the first seed.",
    pair,
    describe_pair,
)
