"""Figures of chapter 6: what practice finds hard for CLIP, measured in small worlds."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from clip_invariance.chapters.c6_limits.asking import LOOKALIKE
from clip_invariance.chapters.c6_limits.tables import CHANCE, ON_THEIR_OWN
from clip_invariance.marks.alt import along, listed, share
from clip_invariance.marks.marks import (
    band,
    bounded,
    dots,
    end_labels,
    errors,
    floor,
    headline,
    key,
    legend_below,
    level,
    share_ticks,
)
from clip_invariance.marks.spec import FigureSpec
from clip_invariance.marks.style import PALETTE, WIDTH, faint

READERS = {
    "words": PALETTE["orange"],
    "probe, span of texts": PALETTE["pink"],
    "probe": PALETTE["blue"],
    "probe, backbone": PALETTE["sky"],
}

#: An axis of shares in percent, with room for the marks at its ends.
PERCENT = (-2, 102)


def _shown(colours: Mapping[str, str], series: pd.Series) -> dict[str, str]:
    """The colours of those series that the table has."""
    return {name: colour for name, colour in colours.items() if name in set(series)}


# ---------------------------------------------------------------- C35 to C38

TASK_SERIES = {
    "words, named": PALETTE["orange"],
    "words, not named": PALETTE["red"],
    "probe, not named": PALETTE["blue"],
    "trained on labels": PALETTE["green"],
    "pixels": PALETTE["grey"],
}
TASK_NAMES = {"object": "thing (12)", "part": "part (4)", "count": "number (4)", "background": "background (4)"}
TASK_NAMES |= {"quality": "quality (2)"}


def draw_words_and_labels(table: pd.DataFrame) -> Figure:
    """Every task by words, by probes and by the supervised net; a tick marks chance."""
    table = bounded(table)
    figure, ax = plt.subplots(figsize=(WIDTH, 4.4), layout="constrained")
    dots(ax, table, "task", TASK_SERIES, TASK_NAMES)
    for y, task in enumerate(dict.fromkeys(table["task"])):
        ax.plot([CHANCE[str(task)]] * 2, [y - 0.42, y + 0.42], ":", color=faint(), linewidth=1.4)
    ax.set(xlim=PERCENT, xlabel="right, % (dotted: chance)")
    key(figure, TASK_SERIES, 3)
    headline(figure, WORDS_AND_LABELS.title)
    return figure


def describe_words_and_labels(table: pd.DataFrame) -> str:
    """Alt text of :func:`draw_words_and_labels`."""
    rows = table.assign(task=table["task"].map(TASK_NAMES))
    return f"Accuracy in percent by task (number of answers) and reader: {listed(rows, ['task'], 'series')}."


WORDS_AND_LABELS = FigureSpec(
    "words_and_labels",
    "Words, probes and labels, task by task",
    "Zero-shot, probes and a supervised net on the same collages, for five tasks.",
    draw_words_and_labels,
    describe_words_and_labels,
)


def draw_fine_and_coarse(table: pd.DataFrame) -> Figure:
    """Two panels, the group and the look-alike; one line of dots for each encoder."""
    table = bounded(table)
    figure, axes = plt.subplots(2, 1, figsize=(WIDTH, 5.4), sharex=True, layout="constrained")
    titles = {"group": "car, flower or bird?", LOOKALIKE: "which of its four kinds?"}
    for ax, (question, title) in zip(axes, titles.items(), strict=True):
        dots(ax, table[table["question"] == question], "encoder", READERS, series="reader")
        level(ax, CHANCE[question])
        ax.set_title(title, fontweight="normal")
    axes[-1].set(xlim=PERCENT, xlabel="right, % (dotted: chance)")
    key(figure, _shown(READERS, table["reader"]), 2)
    headline(figure, FINE_AND_COARSE.title)
    return figure


def describe_fine_and_coarse(table: pd.DataFrame) -> str:
    """Alt text of :func:`draw_fine_and_coarse`."""
    return f"Accuracy in percent by question, encoder and reader: {listed(table, ['question', 'encoder'], 'reader')}."


FINE_AND_COARSE = FigureSpec(
    "fine_and_coarse",
    "Fine and coarse names in the captions",
    "Zero-shot and probes for groups and for look-alikes, under captions with fine and with coarse names.",
    draw_fine_and_coarse,
    describe_fine_and_coarse,
)


def draw_counting(table: pd.DataFrame) -> Figure:
    """One line of dots for each encoder."""
    table = bounded(table)
    figure, ax = plt.subplots(figsize=(WIDTH, 4.6), layout="constrained")
    dots(ax, table, "encoder", READERS, series="reader")
    level(ax, CHANCE["count"])
    ax.set(xlim=PERCENT, xlabel="right about one, two, three or four, % (dotted: chance)")
    key(figure, _shown(READERS, table["reader"]), 2)
    headline(figure, COUNTING.title)
    return figure


def describe_counting(table: pd.DataFrame) -> str:
    """Alt text of :func:`draw_counting`."""
    return f"Accuracy in percent for the number of parts, chance 25: {listed(table, ['encoder'], 'reader')}."


COUNTING = FigureSpec(
    "counting",
    "Counting, by what captions say",
    "Zero-shot and probes for the number of parts, by how often captions say it.",
    draw_counting,
    describe_counting,
)


def draw_digits(table: pd.DataFrame) -> Figure:
    """Two panels, printed and handwritten; one line of dots for each encoder."""
    table = bounded(table)
    hands = list(dict.fromkeys(table["hand"]))
    figure, axes = plt.subplots(len(hands), 1, figsize=(WIDTH, 7.0), sharex=True, layout="constrained")
    for ax, hand in zip(axes, hands, strict=True):
        rows = table[table["hand"] == hand]
        dots(ax, rows, "encoder", READERS, series="reader")
        level(ax, CHANCE["digit"])
        ax.axvline(rows.loc[rows["encoder"] == "pixels", "value"].iloc[0], color=faint(), linestyle="--", linewidth=1)
        ax.set_title(f"{hand}, by other people" if hand == "handwritten" else f"{hand}, in other typefaces",
                     fontweight="normal")  # fmt: skip
    axes[-1].set(xlim=PERCENT, xlabel="right, % (dotted: chance, dashed: pixels)")
    key(figure, _shown(READERS, table["reader"]), 2)
    headline(figure, DIGITS.title)
    return figure


def describe_digits(table: pd.DataFrame) -> str:
    """Alt text of :func:`draw_digits`."""
    return f"Accuracy in percent for digits, chance 10: {listed(table, ['hand', 'encoder'], 'reader')}."


DIGITS = FigureSpec(
    "digits",
    "Digits, by what captions say",
    "Zero-shot and probes for digits of other people and other typefaces, by what captions name.",
    draw_digits,
    describe_digits,
)


# ---------------------------------------------------------------- C39 to C41

KINDS = {
    "all": ("a third of each", PALETTE["blue"]),
    "unrelated": ("off-topic", PALETTE["orange"]),
    "stuffed": ("stuffed", PALETTE["pink"]),
    "nounless": ("no noun", PALETTE["green"]),
}


def draw_noise(table: pd.DataFrame) -> Figure:
    """Accuracy against the share of corrupted captions, one line for each kind."""
    table = bounded(table)
    figure, ax = plt.subplots(figsize=(WIDTH, 3.8), layout="constrained")
    place, ends = share_ticks(ax, sorted(table["rate"].unique())), {}
    for number, (kind, (name, colour)) in enumerate(KINDS.items()):
        rows = table[table["kind"] == kind].sort_values("rate")
        if len(rows) > 1:  # bars side by side, since four bands would hide each other
            x = rows["rate"].map(place) + 0.05 * (number - 1.5)
            ax.errorbar(x, rows["value"], yerr=errors(rows), color=colour, marker="o", markersize=4, capsize=2,
                        elinewidth=1.2)  # fmt: skip
            ends[name] = (float(rows["value"].iloc[-1]), colour)
    for _, row in table[table["kind"] == "left out"].iterrows():
        beside = place[row["rate"]] + 0.2
        ax.errorbar(beside, row["value"], yerr=errors(row), fmt="D", color=faint(), capsize=2, markersize=5)
        ax.annotate("left out", (beside, row["value"]), (6, 6), textcoords="offset points", va="center", color=faint())
    floor(ax, CHANCE["object"])
    ax.set(ylim=(0, 103), ylabel="right about the thing, %", xlabel="corrupted captions (dotted: chance)")
    end_labels(ax, len(place) - 0.8, ends, gap=0.08)
    headline(figure, NOISE.title)
    return figure


def describe_noise(table: pd.DataFrame) -> str:
    """Alt text of :func:`draw_noise`."""
    rows = table.assign(name=[KINDS[kind][0] if kind in KINDS else str(kind) for kind in table["kind"]])
    return (
        "Zero-shot accuracy in percent by how captions are corrupted, against the share of them: "
        f"{along(rows, ['name'], 'rate', share)}. Chance is {CHANCE['object']:.0f}."
    )


NOISE = FigureSpec(
    "noise",
    "Zero-shot accuracy, by how many captions are corrupted",
    "Zero-shot accuracy for the thing by share and kind of corrupted captions, or with these pairs left out.",
    draw_noise,
    describe_noise,
)


_ALONE_MARKS = dict(zip(ON_THEIR_OWN, "Dv", strict=True))


def draw_rare_details(table: pd.DataFrame) -> Figure:
    """Two panels, which part and how many; lines against the share of captions that list them."""
    table = bounded(table)
    figure, axes = plt.subplots(2, 1, figsize=(WIDTH, 6.0), sharex=True, layout="constrained")
    titles = {"part": "which part?", "count": "how many?"}
    shares = sorted(table["share"].dropna().unique())
    for ax, (factor, title) in zip(axes, titles.items(), strict=True):
        rows, place, ends = table[table["factor"] == factor], share_ticks(ax, shares), {}
        for series in dict.fromkeys(rows["series"]):
            line = rows[rows["series"] == series].sort_values("share")
            colour = READERS.get(series, faint())
            if series in ON_THEIR_OWN:
                ax.errorbar(line["share"].map(place) + 0.12, line["value"], yerr=errors(line), fmt=_ALONE_MARKS[series],
                            markersize=5, color=PALETTE["red"], capsize=2)  # fmt: skip
                continue
            if line["share"].notna().any():
                band(ax, line["share"].map(place).to_list(), line, colour, "--" if "backbone" in series else "-")
            else:
                ax.axhline(
                    line["value"].iloc[0], color=colour, linestyle=":" if series == "chance" else "--", linewidth=1.1
                )
            ends[series] = (float(line["value"].iloc[-1]), colour)
        ax.set(ylim=(15, 103), ylabel="right, %")
        ax.set_title(title, fontweight="normal")
        end_labels(ax, len(shares) - 0.8, ends, gap=0.085)
    axes[-1].set_xlabel("captions that list the parts")
    trained_alone = {name: mark for name, mark in _ALONE_MARKS.items() if name in set(table["series"])}
    if trained_alone:
        key(figure, {name: (PALETTE["red"], mark, True) for name, mark in trained_alone.items()})
    headline(figure, RARE_DETAILS.title)
    return figure


def describe_rare_details(table: pd.DataFrame) -> str:
    """Alt text of :func:`draw_rare_details`."""
    return (
        "Accuracy in percent for which part and for how many, against the share of captions that list the parts: "
        f"{along(table, ['factor', 'series'], 'share', share)}."
    )


RARE_DETAILS = FigureSpec(
    "rare_details",
    "What is read about parts, by how many captions list them",
    "Zero-shot and probes for part and number by the share of captions that list them.",
    draw_rare_details,
    describe_rare_details,
)


ENCODERS = {
    "captions name the thing": PALETTE["blue"],
    "they name the background too": PALETTE["orange"],
    "trained on labels": PALETTE["green"],
    "labels for the thing alone": PALETTE["pink"],
}


def draw_surroundings(table: pd.DataFrame) -> Figure:
    """Accuracy against how firmly things and backgrounds go together; open marks and dashes before the usual background."""
    table = bounded(table)
    figure, ax = plt.subplots(figsize=(WIDTH, 4.2), layout="constrained")
    place = share_ticks(ax, sorted(table["together"].unique()))
    for number, (encoder, colour) in enumerate(ENCODERS.items()):
        for background, style in (("usual", "--"), ("other", "-")):
            rows = table[(table["encoder"] == encoder) & (table["background"] == background)].sort_values("together")
            if len(rows):
                x = [place[together] + 0.09 * number for together in rows["together"]]
                ax.errorbar(
                    x,
                    rows["value"],
                    yerr=errors(rows),
                    linestyle=style,
                    marker="o",
                    markersize=4.5,
                    color=colour,
                    mfc="none" if background == "usual" else colour,
                    capsize=2,
                )
    floor(ax, CHANCE["object"])
    ax.set(
        ylim=(0, 103),
        ylabel="right about the thing, %",
        xlabel="training pictures given their thing's usual background\n(the others got any of the four)",
    )
    shown = _shown(ENCODERS, table["encoder"])
    handles = [Line2D([], [], marker="o", color=colour, label=name) for name, colour in shown.items()]
    handles += [
        Line2D([], [], color=faint(), linestyle="--", marker="o", mfc="none", label="before its usual background"),
        Line2D([], [], color=faint(), linestyle="-", marker="o", label="before another one"),
    ]
    legend_below(figure, handles)
    headline(figure, SURROUNDINGS.title)
    return figure


def describe_surroundings(table: pd.DataFrame) -> str:
    """Alt text of :func:`draw_surroundings`."""
    rows = table.assign(before=table["background"] + " background")
    return (
        "Accuracy in percent by encoder and background, against the share of training pictures that were given their "
        "thing's usual background, the others any of the four: "
        f"{along(rows, ['encoder', 'before'], 'together', share)}. Chance is {CHANCE['object']:.0f}."
    )


SURROUNDINGS = FigureSpec(
    "surroundings",
    "Things before their usual background, and before another",
    "Accuracy for the thing before its usual and another background, by how firmly they go together in training.",
    draw_surroundings,
    describe_surroundings,
)


# ---------------------------------------------------------------- C43

CAPTIONS = {
    "list the parts too": PALETTE["blue"],
    "name the thing": PALETTE["orange"],
    "chance": PALETTE["grey"],
}


def draw_search(table: pd.DataFrame) -> Figure:
    """Recall at k in two panels: for the thing, and for the thing with its parts."""
    table = bounded(table)
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.4), sharey=True, layout="constrained")
    titles = {"thing": "“a taxi”", "all": "“a taxi with three lemons”"}
    counts = sorted(table["k"].unique())
    for ax, (query, title) in zip(axes, titles.items(), strict=True):
        for captions, colour in CAPTIONS.items():
            rows = table[(table["query"] == query) & (table["captions"] == captions)].sort_values("k")
            band(ax, [counts.index(k) for k in rows["k"]], rows, colour, ":" if captions == "chance" else "-")
        ax.set_xticks(range(len(counts)), labels=[str(k) for k in counts])
        ax.set_title(title, fontweight="normal")
        ax.set(ylim=(-2, 103), xlabel="best k pictures")
    axes[0].set_ylabel("searches with a right one, %")
    handles = [
        Line2D([], [], marker="o", color=colour, label=f"captions {name}" if name != "chance" else "random pictures")
        for name, colour in CAPTIONS.items()
    ]
    legend_below(figure, handles)
    headline(figure, SEARCH.title)
    return figure


def describe_search(table: pd.DataFrame) -> str:
    """Alt text of :func:`draw_search`."""
    return (
        "Share of searches in percent with a right picture among the best k, by query and what captions do: "
        f"{along(table, ['query', 'captions'], 'k', str)}."
    )


SEARCH = FigureSpec(
    "search",
    "Searching pictures by text",
    "Recall at k for things and for things with their parts, by what captions say.",
    draw_search,
    describe_search,
)


def draw_filtering(table: pd.DataFrame) -> Figure:
    """How often a sharp picture ranks above a grainy and a blurred one."""
    table = bounded(table)
    figure, ax = plt.subplots(figsize=(WIDTH, 2.4), layout="constrained")
    colours = {"grain": PALETTE["blue"], "blur": PALETTE["pink"]}
    names = {"speak of quality": "captions speak\nof quality", "never do": "they never do"}
    dots(ax, table, "captions", colours, names, series="damage")
    level(ax, 50)
    ax.set(xlim=PERCENT, xlabel="a sharp picture ranks above\na worse one, % (dotted: chance)")
    key(figure, {"grain, as in training": colours["grain"], "blur, new": colours["blur"]}, 2)
    headline(figure, FILTERING.title)
    return figure


def describe_filtering(table: pd.DataFrame) -> str:
    """Alt text of :func:`draw_filtering`."""
    rows = table.assign(captions="captions " + table["captions"])
    return f"A sharp picture ranks above a worse one, in percent, chance 50: {listed(rows, ['captions'], 'damage')}."


FILTERING = FigureSpec(
    "filtering",
    "Filtering pictures by words about their quality",
    "How often a sharp picture scores above a grainy or a blurred one, by whether captions speak of quality.",
    draw_filtering,
    describe_filtering,
)
