"""Figures of chapter 3 about which factors captions mention: what is read, at which depth, when, and at which scale."""

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

from clip_invariance.chapters.c3_captions.caption_policies import (
    EFFECTS,
    FACTORS,
    LABELLED,
    LABELLED_LONGER,
    OMITTED,
    UNTRAINED,
    ZERO_SHOT,
)
from clip_invariance.chapters.c3_captions.training import SIZE
from clip_invariance.marks.alt import cells, listed
from clip_invariance.marks.marks import (
    NOT_RUN,
    band,
    bounded,
    dot,
    end_labels,
    errors,
    headline,
    key,
    legend_below,
    level,
    not_run,
    row_names,
)
from clip_invariance.marks.style import PALETTE, SMALL, WIDTH, faint
from clip_invariance.worlds import scenes

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


def _means(table: pd.DataFrame, row: str, column: str) -> dict[tuple[str, str], float]:
    """Means by two columns of names."""
    return {(str(a), str(b)): float(v) for a, b, v in zip(table[row], table[column], table["value"], strict=True)}


# ---------------------------------------------------------------- the world


def example_scenes(examples: pd.DataFrame) -> Figure:
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
    """Alt text of :func:`example_scenes`."""
    pairs = zip(examples["object"], examples["everything"], strict=True)
    parts = [f"“{short}” and “{long}”" for short, long in pairs]
    return f"{len(examples)} pictures of {SIZE} by {SIZE} pixels, each with two captions: {'; '.join(parts)}."


# ---------------------------------------------------------------- the matrix


def decodability_matrix(table: pd.DataFrame) -> Figure:
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
    headline(figure, "What can be read, by what captions mention")
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
    """Alt text of :func:`decodability_matrix`."""
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


# ---------------------------------------------------------------- dose and response


#: What is drawn of the mean and of each factor.
MEAN_SOURCES, FACTOR_SOURCES = ("backbone", "embedding", "span", ZERO_SHOT), ("embedding", ZERO_SHOT)
#: Probes to compare with, and how their lines are drawn.
LEVELS: dict[str, tuple[str, Literal["--", ":"]]] = {UNTRAINED: ("encoder", "--"), "raw pixels": ("raw pixels", ":")}


def dose_response(table: pd.DataFrame) -> Figure:
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
    headline(figure, "What can be read, by how often captions mention it")
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
    """Alt text of :func:`dose_response`."""
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


def controls(table: pd.DataFrame) -> Figure:
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
    headline(figure, "What can be read, under the controls")
    return figure


def describe_controls(table: pd.DataFrame) -> str:
    """Alt text of :func:`controls`."""
    rows = table.assign(arm=table["arm"].map(NAMES))
    return (
        f"Skill, {SKILL}, by what captions name, on the object and on the five other factors. In this order: "
        f"{'; '.join(label for label, _, _ in LINES.values())}. {cells(rows, 'arm', 'source', LINES)}."
    )


# ---------------------------------------------------------------- collapse


PAIRS = {
    "all but the caption": ("all but the caption", PALETTE["green"]),
    "caption": ("only the caption", PALETTE["orange"]),
    "background": ("only the background", PALETTE["blue"]),
    "nothing": ("nothing", PALETTE["grey"]),
}


def time_course(table: pd.DataFrame) -> Figure:
    """Over training: cosine of pairs by what they share, and what can be read.

    Open diamonds are the control: the same picture tower, trained on labels of the object.
    """
    table = bounded(table, low=-np.inf)
    control, table = table[table["arm"] == LABELLED_LONGER], table[table["arm"] != LABELLED_LONGER]
    figure, axes = plt.subplots(2, 1, figsize=(WIDTH, 6.0), sharex=True, layout="constrained")
    steps = sorted(table["step"].unique())
    for ax, panel in zip(axes, ("cosine", "skill"), strict=True):
        rows = table[table["panel"] == panel]
        ends = {}
        for line in rows["line"].drop_duplicates():
            one = rows[rows["line"] == line].sort_values("step")
            label, colour = PAIRS[line] if panel == "cosine" else LINES[line][:2]
            style, marker = (
                ("--", "o") if line == "others, zero-shot" else ("-", "o" if panel == "cosine" else LINES[line][2])
            )
            band(ax, range(len(one)), one, colour, style, marker)
            ends[label.replace("probe on the ", "probe,\n").replace("probe in the ", "probe,\n")] = (
                float(one["value"].iloc[-1]),
                colour,
            )
        pulled = control.loc[control["line"] == "caption", "value"]
        if panel == "cosine" and len(pulled):
            ends["labels instead"] = (float(pulled.iloc[0]), PAIRS["caption"][1])
        ax.set_xlim(-0.25, len(steps) - 0.75)
        ax.set_ylim(*((-0.5, 1.05) if panel == "cosine" else (-8, 106)))
        end_labels(ax, len(steps) - 0.75, ends, gap=0.075 if panel == "cosine" else 0.13)
    for _, row in control.iterrows():
        axes[0].plot(len(steps) - 1, row["value"], "D", color=PAIRS[row["line"]][1], mfc="none", markersize=9)
    axes[0].axhline(0, color=faint(), linewidth=0.8)
    axes[1].axhline(0, color=faint(), linewidth=0.8)
    axes[0].set_title("how alike two pictures are that share …", fontweight="normal")
    axes[0].set_ylabel("centred cosine")
    axes[1].set_title(f"what can be read, {SKILL}", fontweight="normal")
    axes[1].set_xticks(range(len(steps)), labels=[f"{step:,}" for step in steps])
    axes[1].set_xlabel("training steps; captions name the object")
    headline(figure, "How alike pictures are and what can be read, over training")
    return figure


def describe_time_course(table: pd.DataFrame) -> str:
    """Alt text of :func:`time_course`."""
    control, followed = table[table["arm"] == LABELLED_LONGER], table[table["arm"] != LABELLED_LONGER]
    steps = sorted(followed["step"].unique())
    cosine, skill = (followed[followed["panel"] == panel] for panel in ("cosine", "skill"))
    cosine = cosine.assign(line=[PAIRS[line][0] for line in cosine["line"]])
    skill = skill.assign(line=[LINES[line][0] for line in skill["line"]])
    instead = ", ".join(f"{PAIRS[row['line']][0]} {row['value']:.2f}" for _, row in control.iterrows())
    return (
        f"Two panels after {', '.join(f'{step:,}' for step in steps)} training steps. Centred cosine of the embeddings of "
        f"two pictures that share {cells(cosine, 'line', 'step', steps, digits=2)}. "
        + (f"After training on labels of the object instead, at the end: {instead}. " if instead else "")
        + f"Skill, {SKILL}: {cells(skill, 'line', 'step', steps)}."
    )


STAGES = {
    UNTRAINED: "untrained",
    "trained": "captions name the object",
    "three times longer": "captions, three times as long",
    LABELLED: "labels of the object",
    LABELLED_LONGER: "labels, three times as long",
}


def same_point(table: pd.DataFrame) -> Figure:
    """Share of the variance that is left among pictures of one object."""
    table = bounded(table, high=np.inf)
    stages = [stage for stage in STAGES if stage in set(table["stage"])]
    figure, ax = plt.subplots(figsize=(WIDTH, 0.42 * len(stages) + 1.3), layout="constrained")
    shown = {
        "embedding": ("in the whole embedding", "blue", -0.12),
        "span": ("in the span of the captions", "pink", 0.12),
    }
    for y, stage in enumerate(stages):
        for depth, (_, colour, offset) in shown.items():
            for _, row in table[(table["stage"] == stage) & (table["depth"] == depth)].iterrows():
                dot(ax, row, y + offset, PALETTE[colour])
    row_names(ax, [STAGES[stage] for stage in stages])
    level(ax, 0, "the same point")
    level(ax, 100, "as different as\nany pictures")
    ax.set_xlim(-4, 108)
    ax.set_xlabel("variance left among pictures of one object, %")
    key(figure, {label: (PALETTE[colour], "o", True) for label, colour, _ in shown.values()})
    headline(figure, "How far apart pictures of one object remain")
    return figure


def describe_same_point(table: pd.DataFrame) -> str:
    """Alt text of :func:`same_point`."""
    names = {"embedding": "embedding", "span": "span of the captions"}
    rows = table.assign(stage=table["stage"].map(STAGES), depth=table["depth"].map(names))
    return (
        "Variance left among pictures of one object, in percent, in the whole embedding and, where there are captions, in "
        f"their span: {listed(rows, ['stage'], 'depth')}."
    )


MOVERS = {
    UNTRAINED: ("untrained", faint, False),
    "object": ("captions name the object", lambda: PALETTE["orange"], True),
    "everything": ("captions name everything", lambda: PALETTE["blue"], True),
}


def moved_by_factor(table: pd.DataFrame) -> Figure:
    """How far changing one factor moves a picture, whole embedding and inside the span."""
    table = bounded(table, high=np.inf)
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 4.2), sharey=True, layout="constrained")
    for ax, (depth, title) in zip(axes, {"embedding": "whole embedding", "span": "in the span"}.items(), strict=True):
        for y, factor in enumerate(FACTORS):
            for offset, (arm, (_, colour, filled)) in zip((-0.22, 0.0, 0.22), MOVERS.items(), strict=True):
                rows = table[(table["arm"] == arm) & (table["depth"] == depth) & (table["factor"] == factor)]
                dot(ax, rows.iloc[0], y + offset, colour(), filled=filled)
        ax.set_title(title, fontweight="normal", pad=14)
        level(ax, 100, "unrelated")
        ax.set_xlim(0, max(112, 1.05 * table["high"].max()))
        ax.set_xlabel("distance moved, %")
    row_names(axes[0], FACTORS)
    axes[0].set_ylabel("the factor that changes")
    key(figure, {label: (colour(), "o", filled) for label, colour, filled in MOVERS.values()}, columns=1)
    headline(figure, "How far a change of one factor moves a picture")
    return figure


def describe_moved_by_factor(table: pd.DataFrame) -> str:
    """Alt text of :func:`moved_by_factor`."""
    whole, span = (table[table["depth"] == depth] for depth in ("embedding", "span"))
    return (
        "Distance between a picture and the same picture with one factor changed, in percent of the distance of unrelated "
        f"pictures. In this order: {', '.join(label for label, _, _ in MOVERS.values())}. Whole embedding: "
        f"{cells(whole, 'factor', 'arm', MOVERS)}. In the span of the captions: {cells(span, 'factor', 'arm', MOVERS)}."
    )


# ---------------------------------------------------------------- place


HEADS = {
    "raw pixels": "raw pixels",
    UNTRAINED: "untrained encoder",
    "background": "captions name the background",
    "everything": "captions name everything",
    "object": "captions name the object",
}


def heads_by_place(table: pd.DataFrame) -> Figure:
    """Accuracy of classifiers trained at one place: there (open) and elsewhere (filled)."""
    table = bounded(table)
    names = [name for name in HEADS if name in set(table["on"])]
    figure, ax = plt.subplots(figsize=(WIDTH, 0.38 * len(names) + 1.4), layout="constrained")
    for y, name in enumerate(names):
        pair = table[table["on"] == name].set_index("where")
        colour = faint() if name in ("raw pixels", UNTRAINED) else PALETTE["orange" if name == "object" else "blue"]
        ax.plot(pair["value"], [y, y], color=colour, linewidth=1)
        dot(ax, pair.loc["here"], y, colour, filled=False)
        dot(ax, pair.loc["elsewhere"], y, colour)
    row_names(ax, [HEADS[name] for name in names])
    level(ax, 100 / len(scenes.FACTORS["object"]), "chance")
    ax.set_xlim(0, 100)
    ax.set_xlabel("accuracy for the object, %")
    key(
        figure, {"where the classifier was trained": (faint(), "o", False), "at the other places": (faint(), "o", True)}
    )
    headline(figure, "Classifiers trained at one place, there and elsewhere")
    return figure


def describe_heads_by_place(table: pd.DataFrame) -> str:
    """Alt text of :func:`heads_by_place`."""
    by = _means(table, "on", "where")
    parts = [f"{HEADS[n]} {by[n, 'here']:.0f} and {by[n, 'elsewhere']:.0f}" for n in table["on"].drop_duplicates()]
    return (
        f"Accuracy in percent of a linear classifier where it was trained and at the other places: {'; '.join(parts)}. "
        f"Chance is {100 / len(scenes.FACTORS['object']):.0f}."
    )


# ---------------------------------------------------------------- scale


SCALE_TITLE = "What can be read, by scale of the training"
SCALE_LINES = {
    "object, zero-shot": ("object, zero-shot", PALETTE["orange"], "s"),
    "all five": ("five omitted factors, probe on the embedding", PALETTE["blue"], "o"),
    "place": ("place alone, probe on the embedding", PALETTE["green"], "D"),
}


def _scale_name(arm: str) -> str:
    """What a training is called beside others that name the object alone."""
    return {"object": "the usual", "everything": "captions name everything"}.get(arm, NAMES[arm])


def scale(table: pd.DataFrame) -> Figure:
    """Skill on place, on all five omitted factors and on the object, by scale."""
    table = bounded(table, low=-np.inf)
    arms = list(table["arm"].drop_duplicates())
    if len(arms) < 3:
        return not_run(SCALE_TITLE)
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
    headline(figure, SCALE_TITLE)
    return figure


def describe_scale(table: pd.DataFrame) -> str:
    """Alt text of :func:`scale`."""
    rows = table.assign(arm=table["arm"].map(_scale_name))
    return (
        f"Skill, {SKILL}, by training; captions name the object where nothing else is said. In this order: "
        f"{'; '.join(label for label, _, _ in SCALE_LINES.values())}. {cells(rows, 'arm', 'line', SCALE_LINES)}."
    )


# ---------------------------------------------------------------- the factorial


RESPONSES = {
    "moved": "distance moved, %",
    "probe, embedding": "probe, embedding",
    "probe, span": "probe, span",
}
CELLS: dict[tuple[str, bool], tuple[str, str, Literal["-", "--"]]] = {
    ("conv", False): ("conv", "blue", "-"),
    ("conv", True): ("conv, augmented", "sky", "--"),
    ("vit", False): ("ViT", "red", "-"),
    ("vit", True): ("ViT, augmented", "orange", "--"),
}
SHARE_COLOURS = dict(zip((*EFFECTS, "interactions"), ("orange", "blue", "green", "grey"), strict=True))


def factorial(table: pd.DataFrame) -> Figure:
    """The eight cells of the factorial for three responses, and the share of their variance that each effect explains."""
    title = "The background, by captions, architecture and augmentation"
    if not len(table):
        return not_run(title)
    distances = table["effect"].eq("") & table["response"].eq("moved")  # in percent, but of what is not an upper limit
    table = pd.concat([bounded(table[distances], high=np.inf), bounded(table[~distances])])
    figure = plt.figure(figsize=(WIDTH, 5.9), layout="constrained")
    above, below = np.asarray(figure.subfigures(2, 1, height_ratios=[1, 1.1]))
    axes = above.subplot_mosaic([list(RESPONSES)]) | {"shares": below.subplots()}
    cells = table[table["effect"] == ""]
    policies = ["object", "object and background"]
    for response, label in RESPONSES.items():
        ax = axes[response]
        for (tower, augmented), (_, colour, style) in CELLS.items():
            rows = cells[(cells["response"] == response) & (cells["tower"] == tower)]
            rows = rows[rows["augmented"].astype(bool) == augmented].set_index("captions").loc[policies]
            ax.errorbar([0, 1], rows["value"], yerr=errors(rows), color=PALETTE[colour], linestyle=style, marker="o",
                        markersize=4, capsize=2)  # fmt: skip
        ax.set_xticks([0, 1], labels=["object", "+ back-\nground"])
        ax.set_xlim(-0.25, 1.25)
        ax.set_ylim(0, None if response == "moved" else 104)
        ax.set_title(label, fontweight="normal", fontsize=SMALL)
    axes["moved"].set_xlabel("captions name", loc="left")
    shares = table[table["effect"] != ""]
    for y, response in enumerate(RESPONSES):
        rows = shares[shares["response"] == response].set_index("effect")
        for offset, (effect, colour) in zip((-0.27, -0.09, 0.09, 0.27), SHARE_COLOURS.items(), strict=True):
            dot(axes["shares"], rows.loc[effect], y + offset, PALETTE[colour])
    row_names(axes["shares"], [label.removesuffix(", %") for label in RESPONSES.values()])
    axes["shares"].set_xlim(-4, 104)
    axes["shares"].set_xlabel("share of the variance between the eight cells, %")
    lines = [
        Line2D([], [], color=PALETTE[colour], linestyle=style, marker="o", markersize=4, label=label)
        for label, colour, style in CELLS.values()
    ]
    dots = [
        Line2D([], [], linestyle="", marker="o", color=PALETTE[colour], label=effect)
        for effect, colour in SHARE_COLOURS.items()
    ]
    legend_below(below, [*lines, *dots])
    headline(figure, title)
    return figure


def describe_factorial(table: pd.DataFrame) -> str:
    """Alt text of :func:`factorial`."""
    if not len(table):
        return f"This figure was {NOT_RUN}."
    is_share = table["effect"].isin(list(SHARE_COLOURS))
    trained = table[~is_share]
    kinds = zip(trained["tower"], trained["augmented"], strict=True)
    trained = trained.assign(
        net=[CELLS[str(tower), bool(augmented)][0] for tower, augmented in kinds],
        response=trained["response"].map(RESPONSES),
    )
    return (
        "Eight trainings: two caption policies, two architectures, with and without augmentation. For the background, by "
        f"what captions name: {listed(trained, ['response', 'net'], 'captions')}. Shares of the variance between the eight, "
        f"in percent: {listed(table[is_share], ['response'], 'effect')}."
    )
