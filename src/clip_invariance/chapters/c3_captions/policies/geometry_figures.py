"""Figures about where pictures lie: how alike they are and how far they move, by training, place and architecture."""

from __future__ import annotations

from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from clip_invariance.chapters.c3_captions.policies.figures import LINES, SKILL
from clip_invariance.chapters.c3_captions.policies.questions import EFFECTS, FACTORS, UNTRAINED
from clip_invariance.chapters.c3_captions.policies.tables import LABELLED, LABELLED_LONGER
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
from clip_invariance.marks.spec import FigureSpec
from clip_invariance.marks.style import PALETTE, SMALL, WIDTH, faint
from clip_invariance.worlds import scenes

# ---------------------------------------------------------------- collapse


PAIRS = {
    "all but the caption": ("all but the caption", PALETTE["green"]),
    "caption": ("only the caption", PALETTE["orange"]),
    "background": ("only the background", PALETTE["blue"]),
    "nothing": ("nothing", PALETTE["grey"]),
}


def draw_time_course(table: pd.DataFrame) -> Figure:
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
    headline(figure, COURSE.title)
    return figure


def describe_time_course(table: pd.DataFrame) -> str:
    """Alt text of :func:`draw_time_course`."""
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


COURSE = FigureSpec(
    "time_course",
    "How alike pictures are and what can be read, over training",
    "Cosine of pairs of new pictures by what they share, and what can be read, at steps of one training.",
    draw_time_course,
    describe_time_course,
)


STAGES = {
    UNTRAINED: "untrained",
    "trained": "captions name the object",
    "three times longer": "captions, three times as long",
    LABELLED: "labels of the object",
    LABELLED_LONGER: "labels, three times as long",
}


def draw_same_point(table: pd.DataFrame) -> Figure:
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
    headline(figure, POINT.title)
    return figure


def describe_same_point(table: pd.DataFrame) -> str:
    """Alt text of :func:`draw_same_point`."""
    names = {"embedding": "embedding", "span": "span of the captions"}
    rows = table.assign(stage=table["stage"].map(STAGES), depth=table["depth"].map(names))
    return (
        "Variance left among pictures of one object, in percent, in the whole embedding and, where there are captions, in "
        f"their span: {listed(rows, ['stage'], 'depth')}."
    )


POINT = FigureSpec(
    "same_point",
    "How far apart pictures of one object remain",
    "Variance of new pictures within an object, inside the span of the captions and in the whole embedding.",
    draw_same_point,
    describe_same_point,
    values="ratio",
)


MOVER_MARKS = {
    UNTRAINED: ("untrained", faint, False),
    "object": ("captions name the object", lambda: PALETTE["orange"], True),
    "everything": ("captions name everything", lambda: PALETTE["blue"], True),
}


def draw_moved_by_factor(table: pd.DataFrame) -> Figure:
    """How far changing one factor moves a picture, whole embedding and inside the span."""
    table = bounded(table, high=np.inf)
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 4.2), sharey=True, layout="constrained")
    for ax, (depth, title) in zip(axes, {"embedding": "whole embedding", "span": "in the span"}.items(), strict=True):
        for y, factor in enumerate(FACTORS):
            for offset, (arm, (_, colour, filled)) in zip((-0.22, 0.0, 0.22), MOVER_MARKS.items(), strict=True):
                rows = table[(table["arm"] == arm) & (table["depth"] == depth) & (table["factor"] == factor)]
                dot(ax, rows.iloc[0], y + offset, colour(), filled=filled)
        ax.set_title(title, fontweight="normal", pad=14)
        level(ax, 100, "unrelated")
        ax.set_xlim(0, max(112, 1.05 * table["high"].max()))
        ax.set_xlabel("distance moved, %")
    row_names(axes[0], FACTORS)
    axes[0].set_ylabel("the factor that changes")
    key(figure, {label: (colour(), "o", filled) for label, colour, filled in MOVER_MARKS.values()}, columns=1)
    headline(figure, MOVED.title)
    return figure


def describe_moved_by_factor(table: pd.DataFrame) -> str:
    """Alt text of :func:`draw_moved_by_factor`."""
    whole, span = (table[table["depth"] == depth] for depth in ("embedding", "span"))
    return (
        "Distance between a picture and the same picture with one factor changed, in percent of the distance of unrelated "
        f"pictures. In this order: {', '.join(label for label, _, _ in MOVER_MARKS.values())}. Whole embedding: "
        f"{cells(whole, 'factor', 'arm', MOVER_MARKS)}. In the span of the captions: "
        f"{cells(span, 'factor', 'arm', MOVER_MARKS)}."
    )


MOVED = FigureSpec(
    "moved_by_factor",
    "How far a change of one factor moves a picture",
    "Distance between embeddings of pictures that differ in one factor, over that of unrelated pictures.",
    draw_moved_by_factor,
    describe_moved_by_factor,
    values="ratio",
)


# ---------------------------------------------------------------- place


HEAD_NAMES = {
    "raw pixels": "raw pixels",
    UNTRAINED: "untrained encoder",
    "background": "captions name the background",
    "everything": "captions name everything",
    "object": "captions name the object",
}


def draw_heads_by_place(table: pd.DataFrame) -> Figure:
    """Accuracy of classifiers trained at one place: there (open) and elsewhere (filled)."""
    table = bounded(table)
    names = [name for name in HEAD_NAMES if name in set(table["on"])]
    figure, ax = plt.subplots(figsize=(WIDTH, 0.38 * len(names) + 1.4), layout="constrained")
    for y, name in enumerate(names):
        pair = table[table["on"] == name].set_index("where")
        colour = faint() if name in ("raw pixels", UNTRAINED) else PALETTE["orange" if name == "object" else "blue"]
        ax.plot(pair["value"], [y, y], color=colour, linewidth=1)
        dot(ax, pair.loc["here"], y, colour, filled=False)
        dot(ax, pair.loc["elsewhere"], y, colour)
    row_names(ax, [HEAD_NAMES[name] for name in names])
    level(ax, 100 / len(scenes.FACTORS["object"]), "chance")
    ax.set_xlim(0, 100)
    ax.set_xlabel("accuracy for the object, %")
    key(
        figure, {"where the classifier was trained": (faint(), "o", False), "at the other places": (faint(), "o", True)}
    )
    headline(figure, HEADS.title)
    return figure


def describe_heads_by_place(table: pd.DataFrame) -> str:
    """Alt text of :func:`draw_heads_by_place`."""
    by = {(on, where): value for on, where, value in zip(table["on"], table["where"], table["value"], strict=True)}
    parts = [f"{HEAD_NAMES[n]} {by[n, 'here']:.0f} and {by[n, 'elsewhere']:.0f}" for n in table["on"].drop_duplicates()]
    return (
        f"Accuracy in percent of a linear classifier where it was trained and at the other places: {'; '.join(parts)}. "
        f"Chance is {100 / len(scenes.FACTORS['object']):.0f}."
    )


HEADS = FigureSpec(
    "heads_by_place",
    "Classifiers trained at one place, there and elsewhere",
    "Linear classifiers of the object on the embedding, trained on pictures at a single place.",
    draw_heads_by_place,
    describe_heads_by_place,
    values="share",
)


# ---------------------------------------------------------------- the factorial


RESPONSE_NAMES = {
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


def draw_factorial(table: pd.DataFrame) -> Figure:
    """The eight cells of the factorial for three responses, and the share of their variance that each effect explains."""
    if not len(table):
        return not_run(FACTORIAL.title)
    distances = table["effect"].eq("") & table["response"].eq("moved")  # in percent, but of what is not an upper limit
    table = pd.concat([bounded(table[distances], high=np.inf), bounded(table[~distances])])
    figure = plt.figure(figsize=(WIDTH, 5.9), layout="constrained")
    above, below = np.asarray(figure.subfigures(2, 1, height_ratios=[1, 1.1]))
    axes = above.subplot_mosaic([list(RESPONSE_NAMES)]) | {"shares": below.subplots()}
    cells = table[table["effect"] == ""]
    policies = ["object", "object and background"]
    for response, label in RESPONSE_NAMES.items():
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
    for y, response in enumerate(RESPONSE_NAMES):
        rows = shares[shares["response"] == response].set_index("effect")
        for offset, (effect, colour) in zip((-0.27, -0.09, 0.09, 0.27), SHARE_COLOURS.items(), strict=True):
            dot(axes["shares"], rows.loc[effect], y + offset, PALETTE[colour])
    row_names(axes["shares"], [label.removesuffix(", %") for label in RESPONSE_NAMES.values()])
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
    headline(figure, FACTORIAL.title)
    return figure


def describe_factorial(table: pd.DataFrame) -> str:
    """Alt text of :func:`draw_factorial`."""
    if not len(table):
        return f"This figure was {NOT_RUN}."
    is_share = table["effect"].isin(list(SHARE_COLOURS))
    trained = table[~is_share]
    kinds = zip(trained["tower"], trained["augmented"], strict=True)
    trained = trained.assign(
        net=[CELLS[str(tower), bool(augmented)][0] for tower, augmented in kinds],
        response=trained["response"].map(RESPONSE_NAMES),
    )
    return (
        "Eight trainings: two caption policies, two architectures, with and without augmentation. For the background, by "
        f"what captions name: {listed(trained, ['response', 'net'], 'captions')}. Shares of the variance between the eight, "
        f"in percent: {listed(table[is_share], ['response'], 'effect')}."
    )


FACTORIAL = FigureSpec(
    "factorial",
    "The background, by captions, architecture and augmentation",
    "Two caption policies x two image towers x augmentation on and off: what becomes of the background.",
    draw_factorial,
    describe_factorial,
)
