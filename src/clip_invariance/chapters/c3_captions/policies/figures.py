"""Figures about what can be read: by what captions mention and how often, at which depth, and at which scale."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from clip_invariance.chapters.c3_captions.policies.questions import FACTORS, OMITTED, UNTRAINED, ZERO_SHOT
from clip_invariance.chapters.c3_captions.policies.training import SIZE
from clip_invariance.marks.alt import cells, listed
from clip_invariance.marks.marks import (
    band,
    bounded,
    dot,
    end_labels,
    headline,
    key,
    level,
    not_run,
    row_names,
)
from clip_invariance.marks.spec import FigureSpec
from clip_invariance.marks.style import PALETTE, SMALL, WIDTH, faint
from clip_invariance.worlds import openmoji, scenes

SKILL = "from chance (0) to perfect (100), %"
#: What each way of asking is called and drawn in, from what language reaches to what labels reach.
SOURCES = {
    ZERO_SHOT: ("zero-shot", PALETTE["orange"]),
    "span": ("probe, inside the span of the captions", PALETTE["pink"]),
    "embedding": ("probe, whole embedding", PALETTE["blue"]),
    "rest": ("probe, outside the span", PALETTE["green"]),
    "backbone": ("probe, before the projection", PALETTE["sky"]),
}
#: What a matrix's row or a training is called in figures.
NAMES = {
    "object": "object",
    "object, background": "object, background",
    "object, medium": "object, medium",
    "object, place": "object, place",
    "background": "background",
    "everything": "everything",
    UNTRAINED: "untrained",
    "filler words": "object, filler words",
    "duplicates masked": "object, duplicates masked",
    "temperature .07": "object, temperature fixed",
    "an eighth of the pictures": "an eighth of the pictures",
    "width 16": "width 16",
    "width 256": "width 256",
    "three times longer": "object, 3 × the steps",
    "everything, three times longer": "everything, 3 × the steps",
    "filler words, three times longer": "object, filler words, 3 × the steps",
    "duplicates masked, three times longer": "object, duplicates masked, 3 × the steps",
}
#: Lines of the two figures that compare the object with the five others.
LINES = {
    "object, zero-shot": ("object, zero-shot", PALETTE["orange"], "s"),
    "others, embedding": ("others, probe on the embedding", PALETTE["blue"], "o"),
    "others, span": ("others, probe in the span", PALETTE["pink"], "o"),
    "others, zero-shot": ("others, zero-shot", PALETTE["orange"], "o"),
}


# ---------------------------------------------------------------- the world


def draw_example_scenes(examples: pd.DataFrame) -> Figure:
    """Pictures as the encoders see them, with a caption of the object alone and one of everything."""
    drawn = scenes.sample(len(examples), int(examples["seed"].iloc[0]))
    images = scenes.render(drawn, size=SIZE).permute(0, 2, 3, 1).numpy()
    figure, axes = plt.subplots(len(images), 1, figsize=(WIDTH, 1.12 * len(images)))
    figure.subplots_adjust(left=0.0, right=1.0, top=1.0, bottom=0.0, hspace=0.08)
    for ax, image, (_, row) in zip(axes, images, examples.iterrows(), strict=True):
        ax.imshow(image, interpolation="nearest", extent=(0, 1, 0, 1))
        ax.set(xlim=(0, WIDTH / 1.1), ylim=(0, 1))
        ax.set_axis_off()
        for y, name, colour in ((0.86, "object", "orange"), (0.46, "everything", "blue")):
            text = "\n".join(textwrap.wrap(f"“{row[name]}”", 52))
            ax.text(1.12, y, name, color=PALETTE[colour], fontsize=SMALL, fontweight="bold", va="center")
            ax.text(1.12, y - 0.12, text, fontsize=SMALL, va="top", linespacing=1.15)
    return figure


def describe_example_scenes(examples: pd.DataFrame) -> str:
    """Alt text of :func:`draw_example_scenes`."""
    pairs = zip(examples["object"], examples["everything"], strict=True)
    parts = [f"“{short}” and “{long}”" for short, long in pairs]
    return f"{len(examples)} pictures of {SIZE} by {SIZE} pixels, each with two captions: {'; '.join(parts)}."


EXAMPLE_SCENES = FigureSpec(
    "example_scenes",
    "The same pictures under two caption policies",
    "Random scenes with one caption each of two policies.",
    draw_example_scenes,
    describe_example_scenes,
    attribution=(openmoji.ATTRIBUTION,),
)


# ---------------------------------------------------------------- the matrix


def draw_decodability_matrix(table: pd.DataFrame) -> Figure:
    """Accuracy by caption policy (rows) and factor (columns), one panel per depth, coloured by skill."""
    policies = [name for name in table.loc[table["depth"] == "embedding", "row"].drop_duplicates()]
    controls = list(table.loc[table["depth"] == "controls", "row"].drop_duplicates())
    high, low = len(policies) + 1.0, len(controls) + 2.0
    figure, axes = plt.subplots(
        4, 2, figsize=(WIDTH, 0.2 * (3 * high + low) + 1.8), gridspec_kw={"height_ratios": [high, high, high, low]}
    )
    figure.subplots_adjust(left=0.245, right=0.99, top=1 - 1.3 / figure.get_figheight(), bottom=0.01, wspace=0.06,
                           hspace=0.25)  # fmt: skip
    for ax, depth in zip(axes.flat, SOURCES, strict=False):
        title = SOURCES[depth][0].replace("inside the span of the captions", "in the span")
        _matrix(ax, table[table["depth"] == depth], policies, title)
    _matrix(axes[3, 0], table[table["depth"] == "controls"], [*controls, "chance"], "controls")
    for ax in axes[:3, 1]:
        ax.set_yticklabels([])
    for ax in axes[0]:
        ax.tick_params(axis="x", labeltop=True, labelbottom=False, pad=15)
        ax.set_xticks(range(len(FACTORS)), labels=list(FACTORS), rotation=90)
    axes[0, 0].annotate("captions\nmention", (0, 1), (-6, 4), xycoords="axes fraction", textcoords="offset points",
                        ha="right", va="bottom", color=faint(), fontsize=SMALL)  # fmt: skip
    for ax in (axes[2, 1], axes[3, 1]):
        ax.set_axis_off()
    key = [
        Rectangle((0, 0), 1, 1, facecolor="none", edgecolor=PALETTE["orange"], linewidth=1.8, label="mentioned"),
        *(Patch(facecolor=_shade(s), edgecolor=faint(), linewidth=0.5, label=t)
          for s, t in ((100, "always right"), (50, "halfway"), (0, "at chance"))),
    ]  # fmt: skip
    axes[2, 1].legend(handles=key, loc="upper left", bbox_to_anchor=(0.0, 1.0), handlelength=1.3, handleheight=1.1)
    axes[2, 1].annotate("numbers: accuracy, %", (0.05, 0.1), xycoords="axes fraction", fontsize=SMALL,
                        va="bottom")  # fmt: skip
    headline(figure, MATRIX.title)
    return figure


def _matrix(ax: Axes, rows: pd.DataFrame, names: Sequence[str], title: str) -> None:
    ax.annotate(title, (0.5, 1), (0, 3), xycoords="axes fraction", textcoords="offset points", ha="center", va="bottom",
                fontsize=SMALL)  # fmt: skip
    columns = [rows[name] for name in ("row", "factor", "value", "skill", "mentioned")]
    cells = {(row, factor): cell for row, factor, *cell in zip(*columns, strict=True)}
    for y, name in enumerate(names):
        for x, factor in enumerate(FACTORS):
            if name == "chance":
                value, skill, mentioned = 100 / len(scenes.FACTORS[factor]), 0.0, False
            else:
                value, skill, mentioned = cells[name, factor]
            ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=_shade(skill), edgecolor="none"))
            ax.text(x, y + 0.03, f"{value:.0f}", ha="center", va="center", fontsize=SMALL)
            if mentioned:
                ax.add_patch(Rectangle((x - 0.44, y - 0.44), 0.88, 0.88, facecolor="none",
                                       edgecolor=PALETTE["orange"], linewidth=1.6, zorder=3))  # fmt: skip
    ax.set(xlim=(-0.5, len(FACTORS) - 0.5), ylim=(len(names) - 0.5, -0.5), xticks=[])
    ax.set_yticks(range(len(names)), labels=[NAMES.get(name, name) for name in names])
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)


def _shade(skill: float) -> tuple[float, float, float, float]:
    """Blue, the more opaque the further from chance; shows on light and on dark pages."""
    red, green, blue = (int(PALETTE["blue"][i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue, float(np.clip(0.05 + 0.8 * skill / 100, 0.05, 0.85))


def describe_decodability_matrix(table: pd.DataFrame) -> str:
    """Alt text of :func:`draw_decodability_matrix`."""
    titles = {depth: title for depth, (title, _) in SOURCES.items()} | {"controls": "controls"}
    rows = table.assign(row=[NAMES.get(row, row) for row in table["row"]])
    parts = [
        f"{title[0].upper()}{title[1:]}: {cells(rows[rows['depth'] == depth], 'row', 'factor', FACTORS)}"
        for depth, title in titles.items()
        if (rows["depth"] == depth).any()
    ]
    chance = ", ".join(f"{100 / len(scenes.FACTORS[factor]):.0f}" for factor in FACTORS)
    return (
        "Tables of accuracies in percent, one for each way of asking; rows are what captions mention, columns "
        f"{', '.join(FACTORS)}. {'. '.join(parts)}; chance: {chance}."
    )


MATRIX = FigureSpec(
    "decodability_matrix",
    "What can be read, by what captions mention",
    "Zero-shot and probe accuracy on new pictures for every factor, by caption policy and depth.",
    draw_decodability_matrix,
    describe_decodability_matrix,
    values="share",
)


# ---------------------------------------------------------------- dose and response


#: What is drawn of the mean and of each factor.
MEAN_SOURCES, FACTOR_SOURCES = ("backbone", "embedding", "span", ZERO_SHOT), ("embedding", ZERO_SHOT)
#: Probes to compare with, and how their lines are drawn.
LEVELS: dict[str, tuple[str, Literal["--", ":"]]] = {UNTRAINED: ("encoder", "--"), "raw pixels": ("raw pixels", ":")}


def draw_dose_response(table: pd.DataFrame) -> Figure:
    """Skill against mention rate: the mean over five factors, and each of them."""
    table = bounded(table, low=-np.inf)
    figure = plt.figure(figsize=(WIDTH, 6.4), layout="constrained")
    above, below = np.asarray(figure.subfigures(2, 1, height_ratios=[1, 1]))
    axes = {"mean": above.subplots()} | below.subplot_mosaic([list(OMITTED[:3]), [*OMITTED[3:], "key"]])
    for name in ("mean", *OMITTED):
        rows = table[table["factor"] == name]
        shown = MEAN_SOURCES if name == "mean" else FACTOR_SOURCES
        _dose_panel(axes[name], rows, shown, large=name == "mean")
        title = "mean of five factors, from chance (0) to perfect (100)" if name == "mean" else name
        axes[name].set_title(title, fontweight="normal")
    axes["key"].set_axis_off()
    levels = [
        Line2D([], [], color=faint(), linestyle=style, linewidth=1, label=text) for text, style in LEVELS.values()
    ]
    axes["key"].legend(handles=levels, loc="upper left", title="probes without training", alignment="left")
    for name in OMITTED:
        axes[name].set_yticks([0, 50, 100])
    axes[OMITTED[3]].set_xlabel("share of captions that mention the factor", loc="left")
    headline(figure, DOSE.title)
    return figure


def _dose_panel(ax: Axes, rows: pd.DataFrame, shown: Sequence[str], *, large: bool) -> None:
    rates = sorted(rows["rate"].dropna().unique())
    ends = {}
    for source in shown:
        line = rows[rows["source"] == source].sort_values("rate")
        label, colour = SOURCES[source]
        band(ax, range(len(line)), line, colour)
        name = label if source == ZERO_SHOT else f"probe, {source}"
        ends[name] = (float(line["value"].iloc[-1]), colour)
    for source, (_, style) in LEVELS.items():
        level = float(rows.loc[rows["source"] == source, "value"].iloc[0])
        ax.axhline(level, color=faint(), linestyle=style, linewidth=1)
    ax.axhline(0, color=faint(), linewidth=0.8)
    ax.set_ylim(-8, 106)
    labels = [f"{rate:g}".removeprefix("0") or "0" for rate in rates]
    if not large and len(labels) > 4:
        labels = [label if i % 2 == 0 or i == len(labels) - 1 else "" for i, label in enumerate(labels)]
    ax.set_xticks(range(len(rates)), labels=labels)
    if large:
        ax.set_xlim(-0.15, len(rates) - 0.8)
        end_labels(ax, len(rates) - 0.8, ends, gap=0.075)


def describe_dose_response(table: pd.DataFrame) -> str:
    """Alt text of :func:`draw_dose_response`."""
    rates = sorted(table["rate"].dropna().unique())
    mean = table["factor"] == "mean"
    drawn = table[table["rate"].notna() & table["source"].isin(MEAN_SOURCES)]
    drawn = drawn[mean[drawn.index] | drawn["source"].isin(FACTOR_SOURCES)]
    lines = drawn.assign(line=[f"{f}, {SOURCES[s][0]}" for f, s in zip(drawn["factor"], drawn["source"], strict=True)])
    return (
        f"Skill, {SKILL}, at these shares of captions that mention a factor: {', '.join(f'{rate:g}' for rate in rates)}. "
        f"Mean of five factors, and each of them: {cells(lines, 'line', 'rate', rates)}. Probes without training: "
        f"{listed(table[table['rate'].isna()], ['factor'], 'source')}."
    )


DOSE = FigureSpec(
    "dose_response",
    "What can be read, by how often captions mention it",
    "Captions name the object always and each of five other factors independently at one rate.",
    draw_dose_response,
    describe_dose_response,
    values="ratio",
)


def draw_controls(table: pd.DataFrame) -> Figure:
    """Skill on the object and on the five other factors under the controls."""
    table = bounded(table, low=-np.inf)
    arms = list(table["arm"].drop_duplicates())
    figure, ax = plt.subplots(figsize=(WIDTH, 0.44 * len(arms) + 1.5), layout="constrained")
    for y, arm in enumerate(arms):
        rows = table[table["arm"] == arm].set_index("source")
        for offset, (line, (_, colour, marker)) in zip((-0.24, -0.08, 0.08, 0.24), LINES.items(), strict=True):
            dot(ax, rows.loc[line], y + offset, colour, marker, filled=line != "others, zero-shot")
    row_names(ax, [NAMES[arm] for arm in arms])
    level(ax, 0, "chance")
    ax.set_xlim(-6, 104)
    ax.set_xlabel(SKILL)
    ax.set_ylabel("captions name")
    key(figure, {label: (colour, marker, line != "others, zero-shot")
                     for line, (label, colour, marker) in LINES.items()})  # fmt: skip
    headline(figure, CONTROL.title)
    return figure


def describe_controls(table: pd.DataFrame) -> str:
    """Alt text of :func:`draw_controls`."""
    rows = table.assign(arm=table["arm"].map(NAMES))
    return (
        f"Skill, {SKILL}, by what captions name, on the object and on the five other factors. In this order: "
        f"{'; '.join(label for label, _, _ in LINES.values())}. {cells(rows, 'arm', 'source', LINES)}."
    )


CONTROL = FigureSpec(
    "controls",
    "What can be read, under the controls",
    "Trainings that remove two other explanations of the effect.",
    draw_controls,
    describe_controls,
    values="ratio",
)


# ---------------------------------------------------------------- scale


SCALE_LINES = {
    "object, zero-shot": ("object, zero-shot", PALETTE["orange"], "s"),
    "all five": ("five omitted factors, probe on the embedding", PALETTE["blue"], "o"),
    "place": ("place alone, probe on the embedding", PALETTE["green"], "D"),
}


def _scale_name(arm: str) -> str:
    """What a training is called beside others that name the object alone."""
    return {"object": "the usual", "everything": "captions name everything"}.get(arm, NAMES[arm])


def draw_scale(table: pd.DataFrame) -> Figure:
    """Skill on place, on all five omitted factors and on the object, by scale."""
    table = bounded(table, low=-np.inf)
    arms = list(table["arm"].drop_duplicates())
    if len(arms) < 3:
        return not_run(SCALE.title)
    figure, ax = plt.subplots(figsize=(WIDTH, 0.42 * len(arms) + 1.7), layout="constrained")
    for y, arm in enumerate(arms):
        for offset, (line, (_, colour, marker)) in zip((-0.2, 0.0, 0.2), SCALE_LINES.items(), strict=True):
            dot(ax, table[(table["arm"] == arm) & (table["line"] == line)].iloc[0], y + offset, colour, marker)
    ax.axhline(len(arms) - 1.5, color=faint(), linewidth=0.8)
    row_names(ax, [_scale_name(arm) for arm in arms])
    level(ax, 0, "chance")
    ax.set_xlim(-6, 104)
    ax.set_xlabel(SKILL)
    key(figure, {label: (colour, marker, True) for label, colour, marker in SCALE_LINES.values()}, columns=1)
    headline(figure, SCALE.title)
    return figure


def describe_scale(table: pd.DataFrame) -> str:
    """Alt text of :func:`draw_scale`."""
    rows = table.assign(arm=table["arm"].map(_scale_name))
    return (
        f"Skill, {SKILL}, by training; captions name the object where nothing else is said. In this order: "
        f"{'; '.join(label for label, _, _ in SCALE_LINES.values())}. {cells(rows, 'arm', 'line', SCALE_LINES)}."
    )


SCALE = FigureSpec(
    "scale",
    "What can be read, by scale of the training",
    "Probes for what captions leave out, by number of training pictures, width of the embedding and steps.",
    draw_scale,
    describe_scale,
    values="ratio",
)
