"""Figures of chapter 4: what encoders of dashcam pictures keep of a traffic light and of a pedestrian."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clip_invariance.chapters.c4_dashcam.dashcam import CHANCE
from clip_invariance.chapters.c4_dashcam.photographs import ALWAYS_RED
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
    picture,
    row_levels,
    share_ticks,
)
from clip_invariance.marks.style import PALETTE, SMALL, WIDTH, faint
from clip_invariance.worlds.traffic_lights import REPORTED_ACCURACY

SERIES_COLOURS = {
    "words": PALETTE["orange"],
    "probe, embedding": PALETTE["blue"],
    "probe, backbone": PALETTE["sky"],
    "trained on labels": PALETTE["green"],
}
#: How the ends of an axis of mention rates are called.
OFTEN = {0.0: "never", 1.0: "always"}
NEVER, ALWAYS = "captions never mention it", "captions always mention it"


# ---------------------------------------------------------------- pictures


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
    headline(figure, "One scene, one thing changed at a time; below, others")
    return figure


def describe_scenes(table: pd.DataFrame) -> str:
    """Alt text of :func:`scenes`."""
    names = list(dict.fromkeys(table.loc[table["set"] != "at random", "name"]))
    return (
        "Small drawn dashcam pictures: a road with a black car ahead, a traffic light above it and somebody crossing. "
        f"In columns: {', '.join(names)}. The first row has a light of a few pixels, the second one twice as wide. "
        "The third row shows other random scenes."
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
    headline(figure, "The same scene with a red and with a green light")
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
            said = ", ".join(
                f"{'stop' if excess > 0 else 'go'} by {by}"
                for by, excess in zip(decisions["text"], decisions["value"], strict=True)
            )
            parts.append(f"captions {name}, light {light}: nearest captions {nearest}; {said}")
    return f"Two pictures that differ in the colour of a small traffic light, and what two encoders say. {'. '.join(parts)}."


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
    headline(figure, "What can be read, by how often captions mention it")
    return figure


def describe_mention(table: pd.DataFrame) -> str:
    """Alt text of :func:`mention`."""
    return (
        "Accuracy in percent against the share of captions that mention it: "
        f"{along(table, ['panel', 'series'], 'mention', share)}."
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
    headline(figure, "Red lights run by a car that brakes for one green light in a hundred")
    return figure


def describe_decision(table: pd.DataFrame) -> str:
    """Alt text of :func:`decision`."""
    rows = table.assign(light=table["light_size"] + " light")
    return (
        "Share of red lights driven through, in percent, at one percent of needless stops, against the share of captions "
        f"that mention the light: {along(rows, ['light', 'reader'], 'mention', share)}. Guessing: 99."
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
    headline(figure, "How far the embedding moves when one thing changes")
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


LEFT = {
    "embedding": PALETTE["blue"],
    "backbone": PALETTE["sky"],
    "span of the texts": PALETTE["pink"],
    "untrained": PALETTE["grey"],
    "shuffled labels": PALETTE["red"],
    "pixels": PALETTE["orange"],
    "grey pixels": PALETTE["green"],
}
FACTOR_NAMES = {
    "light": "light",
    "pedestrian": "somebody crossing",
    "car_colour": "car's colour",
    "body": "car's body",
    "distance": "car near or far",
    "weather": "weather",
    "time": "time of day",
    "place": "city or country",
}


def unmentioned(table: pd.DataFrame) -> Figure:
    """Probe accuracies of every factor, those that captions leave out first."""
    table = bounded(table)
    ordered = table.sort_values("mentioned", kind="stable")
    figure, ax = plt.subplots(figsize=(WIDTH, 6.6), layout="constrained")
    dots(ax, ordered[ordered["series"] != "chance"], "factor", LEFT, FACTOR_NAMES)
    factors = list(dict.fromkeys(ordered["factor"]))
    row_levels(ax, [CHANCE[factor] for factor in factors])
    border = len(set(table.loc[~table["mentioned"], "factor"])) - 0.5
    ax.axhline(border, color=faint(), linewidth=1.4)
    ax.annotate("mentioned in every caption", (0.5, border), (0, -3), xycoords=("axes fraction", "data"),
                textcoords="offset points", ha="center", va="top", color=faint(), fontsize=SMALL)  # fmt: skip
    ax.set_xlabel("probe right, % (dotted: chance)")
    headline(figure, "What a probe reads where captions name the car alone")
    key(figure, LEFT, columns=3)
    return figure


def describe_unmentioned(table: pd.DataFrame) -> str:
    """Alt text of :func:`unmentioned`."""
    ordered = table.sort_values("mentioned", kind="stable")
    rows = ordered.assign(factor=ordered["factor"].map(FACTOR_NAMES))
    columns = [name for name in (*LEFT, "chance") if name in set(rows["series"])]
    named = dict.fromkeys(rows.loc[rows["mentioned"].astype(bool), "factor"])
    return (
        f"Accuracy of linear probes in percent, captions naming only the car. In this order: {', '.join(columns)}. "
        f"{cells(rows, 'factor', 'series', columns)}. Mentioned in every caption: {', '.join(named)}."
    )


# ---------------------------------------------------------------- labels


ENCODERS = {
    NEVER: PALETTE["orange"],
    "the same, backbone": PALETTE["pink"],
    ALWAYS: PALETTE["blue"],
    "trained on labels": PALETTE["green"],
    "untrained": PALETTE["grey"],
    "two views, no captions": PALETTE["red"],
}


def _label_axis(ax: Axes, counts: Sequence[int]) -> dict[int, int]:
    """Labels per class at equal distances; 0 stands for all and comes last."""
    ordered = [*sorted(count for count in counts if count), 0]
    ax.set_xticks(range(len(ordered)), labels=[str(count) if count else "all" for count in ordered])
    ax.set_xlabel("labels per class")
    return {count: position for position, count in enumerate(ordered)}


def _all_last(table: pd.DataFrame) -> pd.DataFrame:
    """With infinity in the place of 0, which stands for all labels."""
    return table.assign(labels=table["labels"].astype(float).replace(0, np.inf))


def labels_needed(table: pd.DataFrame) -> Figure:
    """Accuracy for the small light against the number of labels; neighbours as crosses, words as diamonds."""
    table = bounded(table)
    figure, ax = plt.subplots(figsize=(WIDTH, 4.6), layout="constrained")
    curves = table[table["metric"].isin(["few_shot", "probe"])]
    place = _label_axis(ax, sorted(curves["labels"].unique()))
    for name, colour in ENCODERS.items():
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
    headline(figure, "The small light, by how many labels a probe is given")
    key(figure, {name: colour for name, colour in ENCODERS.items() if name in set(table["encoder"])})
    return figure


def describe_labels_needed(table: pd.DataFrame) -> str:
    """Alt text of :func:`labels_needed`."""
    words = table[(table["metric"] == "zero_shot") & table["encoder"].isin([NEVER, ALWAYS])].assign(reader="words")
    neighbours = table[table["metric"] == "knn"].assign(reader="nearest neighbours, all labels")
    curves = _all_last(table[table["metric"].isin(["few_shot", "probe"])])
    parts = [
        *(listed(rows, ["reader"], "encoder") for rows in (words, neighbours) if len(rows)),
        along(curves, ["encoder"], "labels", count, word="with"),
    ]
    return (
        "Accuracy in percent for red or green, chance 50: words, nearest neighbours, and probes by labels per class. "
        f"{'; '.join(parts)}."
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
    headline(figure, "Size and mention: what a probe reads from the embedding")
    return figure


def describe_size_and_mention(table: pd.DataFrame) -> str:
    """Alt text of :func:`size_and_mention`."""
    rows = table.assign(size=[f"{area:.0f} pixels" for area in table["area"]])
    return (
        "Probe accuracy scaled from 0 (chance) to 100 (always right), against visible area, at the share of captions that "
        f"mention the thing: {along(rows, ['thing', 'size'], 'mention', share)}."
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
    headline(figure, "The small light during training")
    return figure


def describe_course(table: pd.DataFrame) -> str:
    """Alt text of :func:`course`."""
    light = _longest(table)
    rows = light.assign(often=light["mention"].map(_often))
    return (
        "Accuracy in percent for the small light after so many training steps, chance 50. "
        f"{along(rows, ['often', 'series'], 'at', count)}."
    )


def controls(table: pd.DataFrame) -> Figure:
    """Words and probes for the small light, one line of dots for each encoder."""
    table = bounded(table)
    rows = len(set(table["encoder"]))
    figure, ax = plt.subplots(figsize=(WIDTH, 1.6 + 0.5 * rows), layout="constrained")
    series = {name: SERIES_COLOURS[name] for name in ("words", "probe, embedding", "probe, backbone")}
    dots(ax, table, "encoder", series, {name: "\n".join(textwrap.wrap(name, 18)) for name in set(table["encoder"])})
    level(ax, 50)
    ax.set(xlim=(min(42.0, float(table["low"].min()) - 2), 102), xlabel="right, % (dotted: chance)")
    headline(figure, "The small light, under the controls")
    key(figure, series, columns=3)
    return figure


def describe_controls(table: pd.DataFrame) -> str:
    """Alt text of :func:`controls`."""
    return f"Accuracy for the small light, in percent, chance 50: {listed(table, ['encoder'], 'series')}."


# ---------------------------------------------------------------- photographs


REPRESENTATIONS = {
    "ImageNet features": PALETTE["blue"],
    "pixels": PALETTE["orange"],
    "grey pixels": PALETTE["grey"],
}


def _guessing(ax: Axes) -> dict[str, tuple[float, str]]:
    """Draws what takes no picture, a coin and the more frequent colour; returns their :func:`end_labels`."""
    levels = {"a coin": 50.0, "always red": ALWAYS_RED}
    for height in levels.values():
        floor(ax, height)
    return {name: (height, faint()) for name, height in levels.items()}


def photographs_alone(table: pd.DataFrame) -> Figure:
    """Accuracy on test photographs against labels per class, by representation."""
    table = bounded(table)
    probes = table[table["metric"] == "probe"]
    figure, ax = plt.subplots(figsize=(WIDTH, 3.9), layout="constrained")
    place = _label_axis(ax, sorted(probes["labels"].unique()))
    ends = {}
    for name, colour in REPRESENTATIONS.items():
        curve = probes[probes["representation"] == name]
        curve = curve.assign(x=curve["labels"].map(place)).sort_values("x")
        band(ax, curve["x"].to_list(), curve, colour)
        ends[name] = (float(curve["value"].iloc[-1]), colour)
    ax.axhline(100 * REPORTED_ACCURACY, color=PALETTE["green"], linestyle="--", linewidth=1.1)
    ends["hand-made"] = (100 * REPORTED_ACCURACY, PALETTE["green"])
    ax.set(ylabel="right, %", ylim=(42, 103), xlim=(-0.3, len(place) - 0.8))
    end_labels(ax, len(place) - 0.8, ends | _guessing(ax), gap=0.075)
    headline(figure, "Photographs of lights alone: red or green?")
    return figure


def describe_photographs_alone(table: pd.DataFrame) -> str:
    """Alt text of :func:`photographs_alone`."""
    parts = []
    for name in REPRESENTATIONS:
        rows = table[(table["representation"] == name) & (table["metric"] == "probe")].set_index("labels")["value"]
        counts = sorted(count for count in rows.index if count)
        along = ", ".join(f"{rows[count]:.0f} with {count}" for count in counts)
        parts.append(f"{name}: {along}, {rows[0]:.1f} with all")
    return (
        f"Accuracy in percent on test photographs against labels per class. {'; '.join(parts)}. "
        f"The package's own hand-made classifier reports {100 * REPORTED_ACCURACY:.2f}. A coin is right in 50, saying red "
        f"every time in {ALWAYS_RED:.0f}."
    )


def photographs_in_scenes(table: pd.DataFrame) -> Figure:
    """Accuracy for photographed lights in scenes against labels per class; diamonds are words."""
    table = bounded(table)
    figure, ax = plt.subplots(figsize=(WIDTH, 4.2), layout="constrained")
    place = _label_axis(ax, sorted(table.loc[table["metric"] == "probe", "labels"].unique()))
    encoders = {name: ENCODERS[name] for name in (NEVER, ALWAYS, "trained on labels")}
    for name, colour in encoders.items():
        for depth, style in (("embedding", "-"), ("backbone", "--")):
            chosen = (table["encoder"] == name) & (table["representation"] == depth) & (table["metric"] == "probe")
            curve = table[chosen].assign(x=table["labels"].map(place)).sort_values("x")
            band(ax, curve["x"].to_list(), curve, colour, style)
        words = table[(table["encoder"] == name) & (table["metric"] == "zero_shot")]
        ax.plot([-0.5] * len(words), words["value"], "D", color=colour, markersize=6)
    names = [text.get_text() for text in ax.get_xticklabels()]
    ax.set_xticks([-0.5, *range(len(place))], labels=["words", *names])
    ax.set(ylabel="right, %", ylim=(38, 103), xlim=(-0.75, len(place) - 0.8))
    end_labels(ax, len(place) - 0.8, _guessing(ax))
    headline(figure, "Photographed lights in drawn scenes: red or green?")
    key(figure, encoders)
    return figure


def describe_photographs_in_scenes(table: pd.DataFrame) -> str:
    """Alt text of :func:`photographs_in_scenes`."""
    words = table[table["metric"] == "zero_shot"].assign(reader="words")
    probes = _all_last(table[table["metric"] == "probe"])
    parts = [
        *([listed(words, ["reader"], "encoder")] if len(words) else []),
        along(probes, ["encoder", "representation"], "labels", count, word="with"),
    ]
    return (
        "Accuracy in percent for photographed red and green lights in the place of the drawn one: words, and probes by "
        f"labels per class. {'; '.join(parts)}. A coin is right in 50, saying red every time in {ALWAYS_RED:.0f}."
    )
