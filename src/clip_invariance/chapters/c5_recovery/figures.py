"""Figures of chapter 5: what tuning brings back, by how many labels, and at what price."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from clip_invariance.chapters.c4_dashcam.arms import LONGER, SILENT
from clip_invariance.chapters.c4_dashcam.figures import ROWS
from clip_invariance.chapters.c4_dashcam.tables import CHANCE
from clip_invariance.chapters.c5_recovery.arms import BESIDE, EVERYTHING, FIFTH, UNTRAINED
from clip_invariance.chapters.c5_recovery.pictures import USUAL
from clip_invariance.chapters.c5_recovery.tables import (
    BACKBONE,
    CEILING,
    EARLY,
    EARLY_UNTRAINED,
    FULL,
    LORA,
    MENTIONED,
    NAMES,
    PIXELS,
    PROBE,
    SCRATCH,
    SHORT,
    TIE,
)
from clip_invariance.marks.alt import along, cells, count, listed
from clip_invariance.marks.marks import bounded, dots, errors, floor, headline, key, level, row_levels, row_names
from clip_invariance.marks.spec import FigureSpec
from clip_invariance.marks.style import PALETTE, SMALL, WIDTH, faint

#: Training the projection alone is in the table only: it is another way to a probe before the projection.
DRAWN = {
    FULL: PALETTE["red"],
    LORA: PALETTE["orange"],
    BACKBONE: PALETTE["sky"],
    EARLY: PALETTE["pink"],
    EARLY_UNTRAINED: PALETTE["pink"],
    PROBE: PALETTE["blue"],
    SCRATCH: PALETTE["grey"],
    MENTIONED: PALETTE["green"],
}
#: What is drawn with open marks: an untrained network that is only read.
OPEN = (EARLY_UNTRAINED, NAMES[UNTRAINED])
THINGS = {"light": "small light", "pedestrian": "somebody crossing"}


# ---------------------------------------------------------------- labels and depths


def labels_needed(table: pd.DataFrame) -> Figure:
    """Accuracy against labelled pictures, a panel for each lost factor."""
    table = bounded(table)
    tasks = list(dict.fromkeys(table["task"]))
    budgets = sorted(set(table["labels"]) - {0})
    colours = DRAWN | {PIXELS: str(plt.rcParams["text.color"])}
    figure, axes = plt.subplots(len(tasks), 1, figsize=(WIDTH, 7.1), sharex=True, sharey=True, layout="constrained")
    for ax, task in zip(axes, tasks, strict=True):
        rows = table[table["task"] == task]
        for number, (name, colour) in enumerate(colours.items()):
            line = rows[rows["series"] == name].sort_values("labels")
            x = np.array([budgets.index(n) for n in line["labels"]]) + 0.04 * (number - 3)
            style = ":" if name == PIXELS else "--" if name in (SCRATCH, MENTIONED, EARLY_UNTRAINED) else "-"
            ax.errorbar(x, line["value"], yerr=errors(line), fmt=f"o{style}", color=colour, markersize=4, capsize=2,
                        linewidth=1.5, elinewidth=1, mfc="none" if name in OPEN else colour)  # fmt: skip
        ceiling = rows[rows["series"] == CEILING].iloc[0]
        ax.axhspan(ceiling["low"], ceiling["high"], color=faint(), alpha=0.3, linewidth=0)
        ax.annotate(CEILING, (0.01, ceiling["value"]), (0, -4), xycoords=("axes fraction", "data"),
                    textcoords="offset points", va="top", fontsize=SMALL, color=faint())  # fmt: skip
        floor(ax, CHANCE[task])
        ax.set(ylabel="right, %", ylim=(40, 103))
        ax.set_title(THINGS[task], fontweight="normal")
    axes[-1].set_xticks(range(len(budgets)), labels=[f"{n:,}" for n in budgets])
    axes[-1].set_xlabel("labelled pictures, those for validation included")
    headline(figure, LABELS_NEEDED.title)
    key(figure, {name: (colour, "o", name not in OPEN) for name, colour in colours.items()})
    return figure


def describe_labels_needed(table: pd.DataFrame) -> str:
    """Alt text of :func:`labels_needed`."""
    drawn = table[table["series"].isin([*DRAWN, PIXELS, CEILING])]
    ceiling = drawn["labels"].astype(float).where(drawn["series"] != CEILING)
    rows = drawn.assign(labels=ceiling)
    panels = [
        f"{THINGS[task]}: {along(rows[rows['task'] == task], ['series'], 'labels', count, word='with')}."
        for task in dict.fromkeys(rows["task"])
    ]
    return (
        "Accuracy in percent against the number of labelled pictures, chance 50; what was trained on labels is a level. "
        f"{' '.join(text[0].upper() + text[1:] for text in panels)}"
    )


LABELS_NEEDED = FigureSpec(
    "labels_needed",
    "What labels bring back, and what they bring to an untrained network",
    "Probes, projection only, low-rank adaptation and full fine-tuning with equal label budgets, and controls.",
    labels_needed,
    describe_labels_needed,
)


def depths(table: pd.DataFrame) -> Figure:
    """Probes from the input to the embedding, then tuning, by budget; open marks are the untrained network."""
    table = bounded(table)
    tasks = list(dict.fromkeys(table["task"]))
    order = list(dict.fromkeys(table["depth"]))
    figure, axes = plt.subplots(len(tasks), 1, figsize=(WIDTH, 6.2), sharex=True, layout="constrained")
    colours = dict(zip(sorted(set(table["labels"])), (PALETTE["blue"], PALETTE["orange"]), strict=True))
    encoders = list(dict.fromkeys(table["encoder"]))
    series = [(n, encoder) for n in colours for encoder in encoders]
    for ax, task in zip(axes, tasks, strict=True):
        here = table[table["task"] == task].set_index(["labels", "encoder"]).sort_index()
        for (n, encoder), shift in zip(series, np.linspace(-0.27, 0.27, len(series)), strict=True):
            rows = here.loc[[(n, encoder)]].set_index("depth").reindex(order)
            ax.errorbar(rows["value"], np.arange(len(order)) + shift, xerr=errors(rows), fmt="o", color=colours[n],
                        markersize=4.5, capsize=2, linewidth=1.1, mfc="none" if encoder in OPEN else colours[n])  # fmt: skip
        level(ax, CHANCE[task])
        ax.axhline(len(order) - 2.5, color=faint(), linewidth=0.8)
        row_names(ax, order)
        ax.set_title(THINGS[task], fontweight="normal")
    axes[-1].set_xlabel("right, % (open marks: the network untrained)")
    headline(figure, DEPTHS.title)
    key(figure, {f"{n} labelled pictures": colour for n, colour in colours.items()})
    return figure


def describe_depths(table: pd.DataFrame) -> str:
    """Alt text of :func:`depths`."""
    pictures = [f"{labels} labelled pictures" for labels in table["labels"]]
    rows = table.assign(task=table["task"].map(THINGS), pictures=pictures)
    read = listed(rows, ["task", "pictures", "encoder"], "depth")
    return f"Accuracy in percent, by what is read or tuned, chance 50. {read}."


DEPTHS = FigureSpec(
    "depths",
    "Probes by depth, then tuning, and the same from an untrained network",
    "Linear probes at every depth of the silent and the untrained encoder; tuning with as many labels.",
    depths,
    describe_depths,
)


# ---------------------------------------------------------------- price


WORDS = "captions rewritten: words"


def price(table: pd.DataFrame) -> Figure:
    """The light against what captions name, along the line of weights; a panel for each test."""
    ends = ["light_low", "light_high", "captioned_low", "captioned_high"]
    table = table.assign(**table[ends].clip(0, 100))
    tests = list(dict.fromkeys(table["shown"]))
    figure, axes = plt.subplots(2, 2, figsize=(WIDTH, 5.6), sharex=True, sharey=True, layout="constrained")
    colours = {LORA: PALETTE["orange"], FULL: PALETTE["red"], WORDS: PALETTE["green"]}
    for ax, test in zip(axes.flat, tests, strict=True):
        for name, colour in colours.items():
            rows = table[(table["shown"] == test) & (table["series"] == name)].sort_values("share")
            ax.plot(rows["captioned"], rows["light"], "-", color=colour, linewidth=1.4)
            ends = rows.iloc[[0, -1]]
            x = np.abs(ends[["captioned_low", "captioned_high"]].to_numpy().T - ends["captioned"].to_numpy())
            y = np.abs(ends[["light_low", "light_high"]].to_numpy().T - ends["light"].to_numpy())
            ax.errorbar(ends["captioned"], ends["light"], xerr=x, yerr=y, fmt="none", color=colour, alpha=0.6,
                        linewidth=1)  # fmt: skip
            ax.plot(rows["captioned"].iloc[1:-1], rows["light"].iloc[1:-1], "o", color=colour, markersize=3.5)
            ax.plot(rows["captioned"].iloc[-1], rows["light"].iloc[-1], "D", color=colour, markersize=6)
        start = table[(table["shown"] == test) & (table["series"] == LORA) & (table["share"] == 0)].iloc[0]
        ax.plot(start["captioned"], start["light"], "o", color=PALETTE["blue"], markersize=7)
        first = table[(table["shown"] == test) & (table["series"] == EARLY)].iloc[0]
        ax.errorbar(first["captioned"], first["light"], fmt="s", color=PALETTE["pink"], markersize=6, linewidth=1,
                    yerr=[[first["light"] - first["light_low"]], [first["light_high"] - first["light"]]])  # fmt: skip
        floor(ax, CHANCE["light"])
        ax.set_title("as usual" if test == USUAL else test, fontweight="normal")
    for ax in axes[:, 0]:
        ax.set_ylabel("light right, %")
    for ax in axes[-1]:
        ax.set_xlabel("car right, in words, %")
    headline(figure, PRICE.title)
    key(
        figure,
        {
            "untuned, probe on the embedding": PALETTE["blue"],
            "untuned, probe on the first stage": (PALETTE["pink"], "s", True),
            **colours,
        },
    )
    return figure


def describe_price(table: pd.DataFrame) -> str:
    """Alt text of :func:`price`."""
    parts = []
    for test in dict.fromkeys(table["shown"]):
        for name in (LORA, FULL):
            rows = table[(table["shown"] == test) & (table["series"] == name)].sort_values("share")
            along = [f"light {row['light']:.0f}, car {row['captioned']:.0f}" for _, row in rows.iterrows()]
            parts.append(f"{test}, {name}: {' then '.join(along)}")
        for name, how in ((WORDS, f"{WORDS}, as the car"), (EARLY, f"{EARLY}, nothing tuned")):
            point = table[(table["shown"] == test) & (table["series"] == name)].iloc[0]
            parts.append(f"{test}, {how}: light {point['light']:.0f}, car {point['captioned']:.0f}")
    return (
        "Accuracy in percent for the light against that for the car's colour and body in words, for weights at the "
        f"beginning, a quarter, half and three quarters of the way and at the end of tuning. {'; '.join(parts)}."
    )


PRICE = FigureSpec(
    "price",
    "What the light costs: from the original weights to the tuned ones",
    "Interpolated weights (WiSE-FT), for the light and, in words, the car: as usual and under shift.",
    price,
    describe_price,
)


# ---------------------------------------------------------------- invariances, one linear map, other losses


_BEFORE = {"before": PALETTE["grey"]}
MOVES = {
    "captions": _BEFORE
    | {
        "as before": PALETTE["pink"],
        "rewritten": PALETTE["orange"],
        "rewritten, longer": PALETTE["red"],
        "four times as many, longer": PALETTE["green"],
    },
    "pairs": _BEFORE | {"no pull": PALETTE["sky"], "pulled together": PALETTE["blue"]},
}
_TRIED = {"captions": "taken out: going on with captions", "pairs": "put in: pairs that differ in the time of day"}


def invariances(table: pd.DataFrame) -> Figure:
    """Before and after: an invariance removed with captions, one added with pairs, and the controls; a panel for each."""
    table = bounded(table)
    figure = plt.figure(figsize=(WIDTH, 8.0), layout="constrained")
    parts = np.asarray(figure.subfigures(2, 1, height_ratios=[1.25, 1]))
    for part, (by, colours) in zip(parts, MOVES.items(), strict=True):
        ax, rows = part.subplots(), table[table["by"] == by]
        wrapped = {name: name.replace(": ", ":\n") for name in dict.fromkeys(rows["measure"])}
        dots(ax, rows, "measure", colours, wrapped)
        row_levels(ax, list(rows.loc[rows["series"] == "chance", "value"]))
        ax.set(xlim=(25, 103), xlabel="right, % (dotted: chance)")
        ax.set_title(_TRIED[by], fontweight="normal")
        key(part, {name: colour for name, colour in colours.items() if name in set(rows["series"])}, columns=3)
    headline(figure, INVARIANCES.title)
    return figure


def describe_invariances(table: pd.DataFrame) -> str:
    """Alt text of :func:`invariances`."""
    return f"Accuracies in percent before and after. {listed(table, ['by', 'measure'], 'series')}."


INVARIANCES = FigureSpec(
    "invariances",
    "What is read before and after going on with captions, or with pairs",
    "Going on with captions that mention more; pulling pairs of two times of day together; controls of both.",
    invariances,
    describe_invariances,
)


MAPS = {"words": PALETTE["orange"], "words through a map": PALETTE["blue"], "probe": PALETTE["grey"]}


def word_map(table: pd.DataFrame) -> Figure:
    """Words, words through a map, and probes for every factor."""
    table = bounded(table)
    figure, ax = plt.subplots(figsize=(WIDTH, 5.0), layout="constrained")
    rows = table[table["series"] != "chance"]
    dots(ax, rows, "factor", MAPS, ROWS)
    row_levels(ax, [CHANCE[factor] for factor in dict.fromkeys(rows["factor"])])
    ax.set_xlabel("right, % (dotted: chance)")
    headline(figure, WORD_MAP.title)
    key(figure, MAPS, columns=3)
    return figure


def describe_word_map(table: pd.DataFrame) -> str:
    """Alt text of :func:`word_map`."""
    parts = []
    for factor in dict.fromkeys(table["factor"]):
        here = table[table["factor"] == factor].set_index("series")["value"]
        parts.append(
            f"{ROWS[factor]}: words {here['words']:.0f}, through a map {here['words through a map']:.0f}, "
            f"probe {here['probe']:.0f}, chance {here['chance']:.0f}"
        )
    return f"Accuracy in percent on the encoder whose captions name the car. {'; '.join(parts)}."


WORD_MAP = FigureSpec(
    "word_map",
    "Words, words through a linear map, and probes",
    "Zero-shot accuracy before and after one linear map, and a probe with the same labels.",
    word_map,
    describe_word_map,
)


KEEPERS = {
    NAMES[SILENT]: PALETTE["grey"],
    NAMES[LONGER]: PALETTE["pink"],
    NAMES[BESIDE]: PALETTE["blue"],
    NAMES[FIFTH]: PALETTE["orange"],
    NAMES[EVERYTHING]: PALETTE["green"],
}


def kept_from_the_start(table: pd.DataFrame) -> Figure:
    """Probes for every factor on encoders that were trained to keep more."""
    table = bounded(table)
    figure, ax = plt.subplots(figsize=(WIDTH, 6.0), layout="constrained")
    rows = table[table["series"] != "chance"]
    dots(ax, rows, "factor", KEEPERS, ROWS)
    row_levels(ax, [CHANCE[factor] for factor in dict.fromkeys(rows["factor"])])
    ax.set_xlabel("probe on the embedding right, % (dotted: chance)")
    headline(figure, KEPT_FROM_THE_START.title)
    key(figure, {name: colour for name, colour in KEEPERS.items() if name in set(rows["series"])})
    return figure


def describe_kept_from_the_start(table: pd.DataFrame) -> str:
    """Alt text of :func:`kept_from_the_start`."""
    rows = table.assign(factor=table["factor"].map(ROWS))
    columns = [name for name in (*KEEPERS, "chance") if name in set(rows["series"])]
    return (
        f"Accuracy of probes on the embedding in percent. In this order: {', '.join(columns)}. "
        f"{cells(rows, 'factor', 'series', columns)}."
    )


KEPT_FROM_THE_START = FigureSpec(
    "kept_from_the_start",
    "Losses and captions meant to keep more from the start",
    "Probes on encoders trained with a self-supervised term, with rewritten captions, and three times as long.",
    kept_from_the_start,
    describe_kept_from_the_start,
)


# ---------------------------------------------------------------- one encoder or many


def one_or_many(table: pd.DataFrame) -> Figure:
    """Encoders by task; what is best, or tied for it, is framed, and the last column is the shortfall."""
    encoders, tasks = (list(dict.fromkeys(table[name])) for name in ("encoder", "task"))
    figure, ax = plt.subplots(figsize=(WIDTH, 1.6 + 0.34 * len(encoders)), layout="constrained")
    values = table.pivot(index="encoder", columns="task", values="value").loc[encoders, tasks]
    skill = (values - pd.Series(CHANCE)[tasks]) / (100 - pd.Series(CHANCE)[tasks])
    ax.imshow(skill.to_numpy(), cmap="Blues", vmin=0, vmax=1.6, aspect="auto", alpha=0.55)
    behind = table.groupby("encoder", sort=False)["shortfall"].first()
    for _, row in table.iterrows():
        x, y = tasks.index(row["task"]), encoders.index(row["encoder"])
        ax.text(x, y, f"{row['value']:.0f}", ha="center", va="center", fontsize=SMALL,
                fontweight="bold" if row["best"] else "normal")  # fmt: skip
        if row["best"]:
            ax.add_patch(Rectangle((x - 0.46, y - 0.42), 0.92, 0.84, fill=False, color=PALETTE["orange"]))
    for y, name in enumerate(encoders):
        ax.text(len(tasks), y, f"{behind[name]:.0f}", ha="center", va="center", fontsize=SMALL, color=PALETTE["red"])
    names = [*(SHORT[task] for task in tasks), "worst gap"]
    ax.set_xticks(range(len(names)), labels=names, fontsize=SMALL, rotation=40, ha="left", rotation_mode="anchor")
    ax.set_yticks(range(len(encoders)), labels=encoders, fontsize=SMALL)
    ax.set_xlim(-0.5, len(tasks) + 0.5)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)
    figure.text(
        0.02, 0, f"framed: within {TIE:g} points of the best", fontsize=SMALL, color=PALETTE["orange"], va="top"
    )
    headline(figure, ONE_OR_MANY.title)
    return figure


def describe_one_or_many(table: pd.DataFrame) -> str:
    """Alt text of :func:`one_or_many`."""
    tasks = list(dict.fromkeys(table["task"]))
    rows = []
    for encoder, accuracies in table.groupby("encoder", sort=False):
        by = accuracies.set_index("task").loc[tasks]
        each = [f"{value:.0f}{'*' if best else ''}" for value, best in zip(by["value"], by["best"], strict=True)]
        rows.append(f"{encoder}: {', '.join(each)}, {accuracies['shortfall'].iloc[0]:.0f}")
    return (
        "Probe accuracy in percent, one row for each encoder. In this order: "
        f"{', '.join(SHORT[task] for task in tasks)}, largest gap to the best; * within {TIE:g} points of the best. "
        f"{'; '.join(rows)}."
    )


ONE_OR_MANY = FigureSpec(
    "one_or_many",
    "Encoders by task: probe on the frozen embedding, % right",
    "Linear probes on frozen embeddings of trained and tuned encoders, for every task.",
    one_or_many,
    describe_one_or_many,
)
