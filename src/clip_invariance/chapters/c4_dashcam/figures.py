"""Figures of chapter 4: what encoders of dashcam pictures keep of a traffic light and of a pedestrian."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clip_invariance.chapters.c4_dashcam.tables import ALWAYS, CHANCE, NEVER, ON_LABELS, READINGS
from clip_invariance.marks.alt import along, cells, count, listed, share
from clip_invariance.marks.marks import (
    band,
    bounded,
    dots,
    end_labels,
    errors,
    floor,
    headline,
    key,
    level,
    log_ticks,
    row_levels,
    share_ticks,
)
from clip_invariance.marks.spec import FigureSpec
from clip_invariance.marks.style import PALETTE, SMALL, WIDTH, faint
from clip_invariance.worlds import dashcam

SERIES_COLOURS = {
    "words": PALETTE["orange"],
    "probe, embedding": PALETTE["blue"],
    "probe, backbone": PALETTE["sky"],
    ON_LABELS: PALETTE["green"],
}
#: How the ends of an axis of mention rates are called.
OFTEN = {0.0: "never", 1.0: "always"}
ROWS = {factor: name.row for factor, name in dashcam.NAMES.items()}


# ---------------------------------------------------------------- mention rate


DASHES = {"chance": ":", "pixels": "-."}


def _by_rate(axes: Mapping[str, Axes], table: pd.DataFrame, panel: str, series: str) -> None:
    """One panel of lines against the mention rate, with levels to compare them with."""
    rates = sorted(table["mention"].dropna().unique())
    for name, ax in axes.items():
        rows, place, ends = table[table[panel] == name], share_ticks(ax, rates, OFTEN), {}
        for which in dict.fromkeys(rows[series]):
            line = rows[rows[series] == which].sort_values("mention")
            colour = SERIES_COLOURS.get(which, faint())
            if line["mention"].notna().any():
                band(ax, line["mention"].map(place).to_list(), line, colour, "--" if "backbone" in which else "-")
            else:
                steady = line.iloc[0]
                ax.axhline(steady["value"], color=colour, linestyle=DASHES.get(which, "--"), linewidth=1.1)
                if pd.notna(steady["low"]):
                    ax.axhspan(steady["low"], steady["high"], color=colour, alpha=0.12, linewidth=0)
            end = float(line["value"].iloc[-1])
            # A label that had to move away from its grey line says where the line is.
            ends[f"{which} {end:.0f}" if which in ("untrained", "pixels") else which] = (end, colour)
        ax.set_title(name, fontweight="normal")
        end_labels(ax, len(rates) - 0.8, ends, gap=0.105)


def mention(table: pd.DataFrame) -> Figure:
    """Accuracy against mention rate: words, probes, and the lines to compare them with."""
    table = bounded(table)
    panels = list(dict.fromkeys(table["panel"]))
    figure, axes = plt.subplots(len(panels), 1, figsize=(WIDTH, 7.4), sharex=True, sharey=True, layout="constrained")
    for ax in axes:
        ax.set(ylim=(min(40.0, float(table["low"].min())) - 2, 102), ylabel="right, %")
    _by_rate(dict(zip(panels, axes, strict=True)), table, "panel", "series")
    axes[-1].set_xlabel("captions that mention it")
    headline(figure, MENTION.title)
    return figure


def describe_mention(table: pd.DataFrame) -> str:
    """Alt text of :func:`mention`."""
    return (
        "Accuracy in percent against the share of captions that mention it: "
        f"{along(table, ['panel', 'series'], 'mention', share)}."
    )


MENTION = FigureSpec(
    "mention",
    "What can be read, by how often captions mention it",
    "Encoders whose captions mention light and pedestrian at a rate, asked in words and by linear probes.",
    mention,
    describe_mention,
)


def decision(table: pd.DataFrame) -> Figure:
    """False-go rate against mention rate for both sizes of the light."""
    table = bounded(table)
    sizes = list(dict.fromkeys(table["light_size"]))
    figure, axes = plt.subplots(len(sizes), 1, figsize=(WIDTH, 5.4), sharex=True, sharey=True, layout="constrained")
    for ax in axes:
        ax.set(ylim=(-4, 104), ylabel="red lights run, %")
    _by_rate(dict(zip(sizes, axes, strict=True)), table.rename(columns={"reader": "series"}), "light_size", "series")
    for ax, size in zip(axes, sizes, strict=True):
        floor(ax, 99)
        ax.set_title(f"{size} light", fontweight="normal")
    axes[-1].set_xlabel("captions that mention the light")
    headline(figure, DECISION.title)
    return figure


def describe_decision(table: pd.DataFrame) -> str:
    """Alt text of :func:`decision`."""
    rows = table.assign(light=table["light_size"] + " light")
    return (
        "Share of red lights driven through, in percent, at one percent of needless stops, against the share of captions "
        f"that mention the light: {along(rows, ['light', 'reader'], 'mention', share)}. Guessing: 99."
    )


DECISION = FigureSpec(
    "decision",
    "Red lights run by a car that brakes for one green light in a hundred",
    "False-go rate by mention rate, size of the light and way of reading.",
    decision,
    describe_decision,
)


# ---------------------------------------------------------------- pairs and unmentioned factors


CAPTIONS = {
    "never": PALETTE["orange"],
    "in one of ten": PALETTE["pink"],
    "always": PALETTE["blue"],
    "untrained": PALETTE["grey"],
}


def matched_pairs(table: pd.DataFrame) -> Figure:
    """d' and distance of matched pairs, one line of dots for each change."""
    figure, axes = plt.subplots(2, 1, figsize=(WIDTH, 6.2), layout="constrained")
    labels = {"d_prime": "d′ along the best direction", "distance": "distance, % of that between car colours"}
    rows = table.rename(columns={"captions": "series"})
    for ax, (metric, label) in zip(axes, labels.items(), strict=True):
        dots(ax, rows[rows["metric"] == metric], "change", CAPTIONS)
        ax.set_xlabel(label)
    level(axes[0], 1)
    axes[0].axvline(0, color=faint(), linewidth=0.6)
    axes[1].set_xlim(left=0)
    headline(figure, MATCHED_PAIRS.title)
    key(figure, {f"mentioned {name}" if name != "untrained" else name: c for name, c in CAPTIONS.items()})
    return figure


def describe_matched_pairs(table: pd.DataFrame) -> str:
    """Alt text of :func:`matched_pairs`."""
    d_primes, distances = (table[table["metric"] == metric] for metric in ("d_prime", "distance"))
    return (
        "Two pictures of matched pairs in the embedding, by what is changed and how often captions mention it. d-prime: "
        f"{listed(d_primes, ['change'], 'captions', digits=1)}. Distance in percent of that between car colours: "
        f"{listed(distances, ['change'], 'captions')}."
    )


MATCHED_PAIRS = FigureSpec(
    "matched_pairs",
    "How far the embedding moves when one thing changes",
    "d' and distance of matched counterfactual scenes, by how often captions mention what changes.",
    matched_pairs,
    describe_matched_pairs,
)


READ_FROM = {
    "embedding": PALETTE["blue"],
    "backbone": PALETTE["sky"],
    "span of the texts": PALETTE["pink"],
    "untrained": PALETTE["grey"],
    "shuffled labels": PALETTE["red"],
    "pixels": PALETTE["orange"],
    "grey pixels": PALETTE["green"],
}


def unmentioned(table: pd.DataFrame) -> Figure:
    """Probe accuracies of every factor, those that captions leave out first."""
    table = bounded(table)
    ordered = table.sort_values("mentioned", kind="stable")
    figure, ax = plt.subplots(figsize=(WIDTH, 6.6), layout="constrained")
    dots(ax, ordered[ordered["series"] != "chance"], "factor", READ_FROM, ROWS)
    factors = list(dict.fromkeys(ordered["factor"]))
    row_levels(ax, [CHANCE[factor] for factor in factors])
    border = len(set(table.loc[~table["mentioned"], "factor"])) - 0.5
    ax.axhline(border, color=faint(), linewidth=1.4)
    ax.annotate("mentioned in every caption", (0.5, border), (0, -3), xycoords=("axes fraction", "data"),
                textcoords="offset points", ha="center", va="top", color=faint(), fontsize=SMALL)  # fmt: skip
    ax.set_xlabel("probe right, % (dotted: chance)")
    headline(figure, UNMENTIONED.title)
    key(figure, READ_FROM, columns=3)
    return figure


def describe_unmentioned(table: pd.DataFrame) -> str:
    """Alt text of :func:`unmentioned`."""
    ordered = table.sort_values("mentioned", kind="stable")
    rows = ordered.assign(factor=ordered["factor"].map(ROWS))
    columns = [name for name in (*READ_FROM, "chance") if name in set(rows["series"])]
    named = dict.fromkeys(rows.loc[rows["mentioned"].astype(bool), "factor"])
    return (
        f"Accuracy of linear probes in percent, captions naming only the car. In this order: {', '.join(columns)}. "
        f"{cells(rows, 'factor', 'series', columns)}. Mentioned in every caption: {', '.join(named)}."
    )


UNMENTIONED = FigureSpec(
    "unmentioned",
    "What a probe reads where captions name the car alone",
    "Linear probes at several depths, on the untrained encoder, on pixels, and with shuffled labels.",
    unmentioned,
    describe_unmentioned,
)


# ---------------------------------------------------------------- labels


ENCODER_COLOURS = {
    NEVER: PALETTE["orange"],
    "the same, backbone": PALETTE["pink"],
    ALWAYS: PALETTE["blue"],
    ON_LABELS: PALETTE["green"],
    "untrained": PALETTE["grey"],
    "two views, no captions": PALETTE["red"],
}


def label_axis(ax: Axes, counts: Sequence[int]) -> dict[int, int]:
    """Labels per class at equal distances; 0 stands for all and comes last."""
    ordered = [*sorted(count for count in counts if count), 0]
    ax.set_xticks(range(len(ordered)), labels=[str(count) if count else "all" for count in ordered])
    ax.set_xlabel("labels per class")
    return {count: position for position, count in enumerate(ordered)}


def all_last(table: pd.DataFrame) -> pd.DataFrame:
    """With infinity in the place of 0, which stands for all labels."""
    return table.assign(labels=table["labels"].astype(float).replace(0, np.inf))


def labels_needed(table: pd.DataFrame) -> Figure:
    """Accuracy for the small light against the number of labels; neighbours as crosses, words as diamonds."""
    table = bounded(table)
    figure, ax = plt.subplots(figsize=(WIDTH, 4.6), layout="constrained")
    curves = table[table["metric"].isin(["few_shot", "probe"])]
    place = label_axis(ax, sorted(curves["labels"].unique()))
    for name, colour in ENCODER_COLOURS.items():
        rows = table[table["encoder"] == name]
        curve = rows[rows["metric"].isin(["few_shot", "probe"])]
        if not len(curve):
            continue
        x = curve["labels"].map(place)
        band(ax, x.sort_values().to_list(), curve.loc[x.sort_values().index], colour)
        neighbours, words = (rows[rows["metric"] == metric] for metric in ("knn", "zero_shot"))
        ax.plot([place[0] + 0.18] * len(neighbours), neighbours["value"], "x", color=colour, markersize=6)
        if name in (NEVER, ALWAYS):
            ax.plot([-0.5] * len(words), words["value"], "D", color=colour, markersize=6)
    floor(ax, 50)
    ticks = [-0.5, *range(len(place))]
    ax.set_xticks(ticks, labels=["words", *[text.get_text() for text in ax.get_xticklabels()]])
    ax.set(ylabel="right, %", ylim=(42, 102), xlim=(-0.75, len(place) - 0.6))
    headline(figure, LABELS_NEEDED.title)
    key(figure, {name: colour for name, colour in ENCODER_COLOURS.items() if name in set(table["encoder"])})
    return figure


def describe_labels_needed(table: pd.DataFrame) -> str:
    """Alt text of :func:`labels_needed`."""
    words = table[(table["metric"] == "zero_shot") & table["encoder"].isin([NEVER, ALWAYS])].assign(reader="words")
    neighbours = table[table["metric"] == "knn"].assign(reader="nearest neighbours, all labels")
    curves = all_last(table[table["metric"].isin(["few_shot", "probe"])])
    parts = [
        *(listed(rows, ["reader"], "encoder") for rows in (words, neighbours) if len(rows)),
        along(curves, ["encoder"], "labels", count, word="with"),
    ]
    return (
        "Accuracy in percent for red or green, chance 50: words, nearest neighbours, and probes by labels per class. "
        f"{'; '.join(parts)}."
    )


LABELS_NEEDED = FigureSpec(
    "labels_needed",
    "The small light, by how many labels a probe is given",
    "Zero-shot, few-shot and full probes and nearest neighbours for the small light.",
    labels_needed,
    describe_labels_needed,
)


# ---------------------------------------------------------------- size, time, controls


THINGS = {
    "small light": PALETTE["orange"],
    "large light": PALETTE["pink"],
    "somebody crossing": PALETTE["blue"],
    "car": PALETTE["green"],
}


def size_and_mention(table: pd.DataFrame) -> Figure:
    """What a probe reads against how much of the picture a thing takes; open marks are never mentioned."""
    table = bounded(table, low=-np.inf)
    figure, ax = plt.subplots(figsize=(WIDTH, 4.2), layout="constrained")
    for thing, colour in THINGS.items():
        rows = table[table["thing"] == thing].sort_values("mention")
        ax.plot(rows["area"], rows["value"], color=colour, linewidth=1, alpha=0.6)
        for _, row in rows.iterrows():
            fill = colour if row["mention"] == 1 else "none"
            ax.errorbar(row["area"], row["value"], yerr=errors(row), fmt="o", color=colour, mfc=fill, capsize=2,
                        markersize=6, linewidth=1.2)  # fmt: skip
        top = rows[["value", "high"]].max(axis=None)
        ax.annotate(thing, (rows["area"].iloc[0], top), (0, 5), textcoords="offset points", color=colour, ha="center",
                    va="bottom", annotation_clip=False)  # fmt: skip
    ax.set_xscale("log")
    ax.set_xlim(table["area"].min() / 1.8, table["area"].max() * 1.8)
    ax.set(ylim=(-8, 112), xlabel="visible area in a picture of 48 × 48 pixels", ylabel="probe, 0: chance, 100: right")
    ticks = [2, 5, 10, 20, 50, 100, 200]
    ax.set_xticks(ticks, labels=[str(tick) for tick in ticks])
    ax.minorticks_off()
    key(figure, {"always mentioned": faint(), "less often or never": (faint(), "o", False)})
    headline(figure, SIZE_AND_MENTION.title)
    return figure


def describe_size_and_mention(table: pd.DataFrame) -> str:
    """Alt text of :func:`size_and_mention`."""
    rows = table.assign(size=[f"{area:.0f} pixels" for area in table["area"]])
    return (
        "Probe accuracy scaled from 0 (chance) to 100 (always right), against visible area, at the share of captions that "
        f"mention the thing: {along(rows, ['thing', 'size'], 'mention', share)}."
    )


SIZE_AND_MENTION = FigureSpec(
    "size_and_mention",
    "Size and mention: what a probe reads from the embedding",
    "Probe accuracy against visible area, for what is mentioned never, sometimes or always.",
    size_and_mention,
    describe_size_and_mention,
)


def _longest(table: pd.DataFrame) -> pd.DataFrame:
    """The light in the longest training of each mention rate."""
    light = table[table["factor"] == "light"].sort_values("mention", kind="stable")
    return light[light["steps"] == light.groupby("mention")["steps"].transform("max")]


def _often(mention: float) -> str:
    """A mention rate in words."""
    return f"mentioned {OFTEN.get(mention, f'in {100 * mention:.0f} % of the captions')}"


def course(table: pd.DataFrame) -> Figure:
    """Accuracy for the light during training, one panel for each mention rate: the longest training of it."""
    light = _longest(bounded(table))
    runs = sorted(set(light["mention"].tolist()))
    figure, axes = plt.subplots(
        len(runs), 1, figsize=(WIDTH, 1.2 + 1.9 * len(runs)), sharey=True, squeeze=False, layout="constrained"
    )
    for ax, mention in zip(axes[:, 0], runs, strict=True):
        rows = light[light["mention"] == mention]
        ends = {}
        for series in dict.fromkeys(rows["series"]):
            line = rows[rows["series"] == series].sort_values("at")
            colour = SERIES_COLOURS[series]
            band(ax, line["at"].to_list(), line, colour, "--" if "backbone" in series else "-")
            ends[series] = (float(line["value"].iloc[-1]), colour)
        floor(ax, 50)
        ax.set(ylim=(42, 102), ylabel="right, %")
        log_ticks(ax, sorted(rows["at"].unique()))
        ax.set_title(_often(mention), fontweight="normal")
        ax.set_xlim(rows["at"].min() / 1.1, rows["at"].max() * 1.1)
        end_labels(ax, rows["at"].max() * 1.1, ends, gap=0.14)
    axes[-1, 0].set_xlabel("steps so far")
    headline(figure, COURSE.title)
    return figure


def describe_course(table: pd.DataFrame) -> str:
    """Alt text of :func:`course`."""
    light = _longest(table)
    rows = light.assign(often=light["mention"].map(_often))
    return (
        "Accuracy in percent for the small light after so many training steps, chance 50. "
        f"{along(rows, ['often', 'series'], 'at', count)}."
    )


COURSE = FigureSpec(
    "course",
    "The small light during training",
    "Words and probes after several numbers of training steps.",
    course,
    describe_course,
)


def controls(table: pd.DataFrame) -> Figure:
    """Words and probes for the small light, one line of dots for each encoder."""
    table = bounded(table)
    rows = len(set(table["encoder"]))
    figure, ax = plt.subplots(figsize=(WIDTH, 1.6 + 0.5 * rows), layout="constrained")
    series = {name: SERIES_COLOURS[name] for name in READINGS}
    dots(ax, table, "encoder", series, {name: "\n".join(textwrap.wrap(name, 18)) for name in set(table["encoder"])})
    level(ax, 50)
    ax.set(xlim=(min(42.0, float(table["low"].min()) - 2), 102), xlabel="right, % (dotted: chance)")
    headline(figure, CONTROLS.title)
    key(figure, series, columns=3)
    return figure


def describe_controls(table: pd.DataFrame) -> str:
    """Alt text of :func:`controls`."""
    return f"Accuracy for the small light, in percent, chance 50: {listed(table, ['encoder'], 'series')}."


CONTROLS = FigureSpec(
    "controls",
    "The small light, under the controls",
    "Wider embeddings, equally long captions, duplicates masked, longer training, no captions, labels.",
    controls,
    describe_controls,
)
