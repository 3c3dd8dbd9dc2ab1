"""Figures about the words of captions: media, synonyms, a source token, labels, curation."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clip_invariance.chapters.c3_captions.words import collection
from clip_invariance.chapters.c3_captions.words.tables import CURATIONS, SHIFTED
from clip_invariance.marks.marks import NOT_RUN, Mark, bounded, dot, floor, headline, key, level, not_run, row_names
from clip_invariance.marks.spec import FigureSpec
from clip_invariance.marks.style import PALETTE, SMALL, WIDTH, faint
from clip_invariance.measure.tables import select
from clip_invariance.worlds import openmoji


def _dots(
    ax: Axes, table: pd.DataFrame, y: float, column: str, series: Mapping[str, Mark], apart: float = 0.0, **row: str
) -> None:
    """Means with their intervals in one row of a figure: those that ``column`` tells apart, ``apart`` from each other."""
    for number, (name, (_, colour, filled)) in enumerate(series.items()):
        for _, found in select(table, **row, **{column: name}).iterrows():
            dot(ax, found, y + apart * (number - (len(series) - 1) / 2), colour, filled=filled)


def _at(by: pd.DataFrame, row: str | tuple[str, str], column: str) -> float:
    """One number of a pivoted table."""
    return float(by[column].loc[row])


# ---------------------------------------------------------------- the pictures


def draw_pictures(pixels: pd.DataFrame) -> Figure:
    """Two rows of pictures, enlarged: a banana, as trained and shifted, and a mushroom in two media."""
    names = list(dict.fromkeys(pixels["picture"]))
    figure, axes = plt.subplots(2, 4, figsize=(WIDTH, 3.1), layout="constrained")
    for ax, name in zip(axes.flat, names, strict=True):
        cells = pixels[pixels["picture"] == name]
        ax.imshow(cells[["red", "green", "blue"]].to_numpy().reshape(collection.SIZE, collection.SIZE, 3).astype("uint8"),
                  interpolation="nearest")  # fmt: skip
        ax.set(xticks=[], yticks=[])
        ax.set_title(name.strip(), loc="center", fontweight="normal", fontsize=SMALL, pad=4)
        ax.spines[:].set_visible(False)
    headline(figure, PICTURES.title)
    return figure


def describe_pictures(pixels: pd.DataFrame) -> str:
    """Alt text of :func:`draw_pictures`."""
    names = list(dict.fromkeys(name.strip() for name in pixels["picture"]))
    return (
        f"Small pictures of {collection.SIZE} by {collection.SIZE} pixels: a drawn banana {', '.join(names[:6])}; "
        "a mushroom in full colour and as a line drawing, both in training."
    )


PICTURES = FigureSpec(
    "word_pictures",
    "One thing as training shows it, and as it does not",
    "A banana in the plain collection and in every kind of test picture; a mushroom in both media of training.",
    draw_pictures,
    describe_pictures,
    attribution=(openmoji.ATTRIBUTION,),
)


# ---------------------------------------------------------------- C21

ARM_WORDS = {
    "named_drawn": "drawings: yes\nmedium: named",
    "unnamed_drawn": "drawings: yes\nmedium: not named",
    "silent_drawn": "drawings: yes, called\n“a sketch of a thing”",
    "named_plain": "drawings: none\nmedium: named",
    "unnamed_plain": "drawings: none\nmedium: not named",
}
CHANCE_AMONG_HELD_OUT = 100 / collection.HELD_OUT
LINES, COLOURS = "line_held_out", "full_held_out"


def draw_medium_transfer(table: pd.DataFrame) -> Figure:
    """Accuracy on the held-out objects, drawn in lines and in full colour, one row per arm."""
    arms = [arm for arm in ARM_WORDS if arm in set(table["arm"])]
    table = bounded(table)
    sets = {COLOURS: ("in full colour", faint(), False), LINES: ("as line drawings", PALETTE["blue"], True)}
    figure, ax = plt.subplots(figsize=(WIDTH, 0.62 * len(arms) + 1.5), layout="constrained")
    for y, arm in enumerate(arms):
        _dots(ax, table, y, "group", sets, arm=arm)
    level(ax, CHANCE_AMONG_HELD_OUT, "chance")
    row_names(ax, [ARM_WORDS[arm] for arm in arms])
    ax.set_xlim(0, 104)
    ax.set_xlabel("zero-shot accuracy among\nthe four held-out objects, %")
    key(figure, {"as line drawings": PALETTE["blue"], "in full colour": (faint(), "o", False)})
    headline(figure, MEDIUM.title)
    return figure


def describe_medium_transfer(table: pd.DataFrame) -> str:
    """Alt text of :func:`draw_medium_transfer`."""
    by = table.pivot(index="arm", columns="group", values="value")
    parts = [
        f"{words.replace(chr(10), ', ')}: {_at(by, arm, LINES):.0f} % drawn, {_at(by, arm, COLOURS):.0f} % in full colour"
        for arm, words in ARM_WORDS.items()
        if arm in by.index
    ]
    return (
        "Zero-shot accuracy among four objects whose line drawings never occur in training, by what occurs and what the "
        f"captions say: {'; '.join(parts)}. Chance is {CHANCE_AMONG_HELD_OUT:.0f} %."
    )


MEDIUM = FigureSpec(
    "medium_transfer",
    "Line drawings of held-out objects, by what captions say",
    "Zero-shot accuracy on four objects never drawn in training, by what occurs there and what captions say.",
    draw_medium_transfer,
    describe_medium_transfer,
    values="share",
)


# ---------------------------------------------------------------- C22

ENCODERS = {
    "sketched": "trained here, objects that\nsome captions call a sketch",
    "never sketched": "trained here, objects that\nno caption calls a sketch",
    "sentences": "published\nsentence encoder",
}
NEIGHBOURS = {
    "other_medium": ("“a sketch of X”", PALETTE["blue"], True),
    "other_object": ("“a picture of Y”", PALETTE["orange"], False),
}


def draw_text_neighbours(table: pd.DataFrame) -> Figure:
    """Cosines of "a picture of X" with its two kinds of neighbours, one row per text encoder."""
    names = [name for name in ENCODERS if name in set(table["encoder"])]
    figure, ax = plt.subplots(figsize=(WIDTH, 0.62 * len(names) + 1.4), layout="constrained")
    for y, name in enumerate(names):
        _dots(ax, table, y, "metric", NEIGHBOURS, encoder=name)
    row_names(ax, [ENCODERS[name] for name in names])
    ax.set_xlim(min(0.0, float(table["low"].min())) - 0.03, 1.03)
    ax.set_xlabel("cosine with “a picture of X”")
    key(figure, {label: (colour, "o", filled) for label, colour, filled in NEIGHBOURS.values()})
    headline(figure, TEXTS.title)
    return figure


def describe_text_neighbours(table: pd.DataFrame) -> str:
    """Alt text of :func:`draw_text_neighbours`."""
    by = table.pivot(index="encoder", columns="metric", values="value")
    parts = [
        f"{ENCODERS[name].replace(chr(10), ' ')}: sketch of X {_at(by, name, 'other_medium'):.2f}, "
        f"picture of Y {_at(by, name, 'other_object'):.2f}"
        for name in ENCODERS
        if name in by.index
    ]
    return f"Cosine of the text “a picture of X” with two other texts, by text encoder. {'; '.join(parts)}."


TEXTS = FigureSpec(
    "text_neighbours",
    "Same thing or same medium: which texts are closer?",
    "Cosines of text embeddings, in the arm that names the medium and in a published sentence encoder.",
    draw_text_neighbours,
    describe_text_neighbours,
    values="number",
)


# ---------------------------------------------------------------- C15

TEXT_TOWERS = {
    "nouns_trained": ("text tower trained from nothing", PALETTE["orange"], "o"),
    "nouns_frozen": ("text tower that knows meanings", PALETTE["blue"], "s"),
}


def draw_caption_closeness(table: pd.DataFrame) -> Figure:
    """Distance of two pictures against the share of equal captions, and against the closeness of two names."""
    if table.empty:
        return not_run(CLOSENESS.title)
    figure, axes = plt.subplots(2, 1, figsize=(WIDTH, 6.0), sharey=True, layout="constrained")
    shared = table[table["names"].isin(["shared", "other"])]
    never = table[table["names"] != "shared"]
    columns = (("shared", shared), ("closeness", never))
    for ax, (x, rows) in zip(axes, columns, strict=True):
        for number, (arm, (_, colour, marker)) in enumerate(TEXT_TOWERS.items()):
            own = rows[rows["arm"] == arm]
            if own.empty:
                continue
            where = own[x].astype(float) + (0.012 * (2 * number - 1) if x == "shared" else 0.0)
            ax.plot(where, own["separation"], marker, color=colour, markersize=4, alpha=0.45, markeredgewidth=0)
            ends = np.array([own[x].min(), own[x].max()], dtype=float)
            slope, start = np.polyfit(own[x].astype(float), own["separation"].astype(float), 1)
            ax.plot(ends, start + slope * ends, color=colour)
        floor(ax, 1)
        ax.set_ylabel("distance of two pictures,\nin distances between objects")
        ax.set_ylim(0, 1.08 * max(1.2, float(table["separation"].max())))
    axes[0].set_xlabel("share of captions with the same name")
    axes[1].set_xlabel("cosine of the two captions\nin a published sentence encoder")
    axes[0].set_title("two unlike names, shared to some degree", fontweight="normal")
    axes[1].set_title("two names, never shared: from unlike to synonym", fontweight="normal")
    axes[0].text(0.995, 1, "as far as another object", transform=axes[0].get_yaxis_transform(), ha="right",
                 va="bottom", color=faint(), fontsize=SMALL)  # fmt: skip
    key(figure, {label: (colour, marker, True) for label, colour, marker in TEXT_TOWERS.values()})
    headline(figure, CLOSENESS.title)
    return figure


def describe_caption_closeness(table: pd.DataFrame) -> str:
    """Alt text of :func:`draw_caption_closeness`."""
    if table.empty:
        return f"Distance of two pictures of one thing by how alike their captions are: {NOT_RUN}."
    kinds = {"other": "unlike names", "related": "related names", "synonym": "synonyms"}
    never = table[table["names"].isin(list(kinds))]
    kind = never.groupby(["arm", "names"])["separation"].mean()
    degree = table[table["shared"] > 0].groupby(["arm", "shared"])["separation"].mean()
    cosines = never.groupby("names")["closeness"].mean()
    parts = [
        f"{label}: " + ", ".join(f"{word} {kind[arm, name]:.2f}" for name, word in kinds.items())
        + "".join(f", {'the same name' if part == 1 else f'the same name in {100 * part:g} %'} {mean:.2f}"
                  for part, mean in degree[arm].items())
        for arm, (label, _, _) in TEXT_TOWERS.items()
        if arm in set(table["arm"])
    ]  # fmt: skip
    return (
        "Mean distance of two pictures of one thing before two backgrounds, in distances between objects, by the names that "
        f"captions give it. {'; '.join(parts)}. Mean cosine of two captions in a published sentence encoder: "
        f"{', '.join(f'{word} {cosines[name]:.2f}' for name, word in kinds.items())}."
    )


CLOSENESS = FigureSpec(
    "caption_closeness",
    "Distance of two pictures, by how alike their captions are",
    "Distance of two pictures that differ in the background, by how alike the names are that captions give them.",
    draw_caption_closeness,
    describe_caption_closeness,
)


# ---------------------------------------------------------------- C20

CURATION_WORDS = {
    "unnamed_plain": "clean captions",
    "unrelated": "40 % unrelated captions",
    "named_plain": "captions name the medium",
    "named_drawn": "+ drawings, medium named",
    "unnamed_drawn": "+ drawings, not named",
    "silent_drawn": "+ drawings called things",
    "vit": "clean captions, a ViT",
    "augmented": "clean captions, augmented",
}
SET_WORDS = {
    "same": "as in\ntraining",
    "line_held_out": "line\ndrawing",
    "flat": "flat\ncolours",
    "backgrounds": "other\nbackground",
    "small": "small",
}


def draw_curation(table: pd.DataFrame) -> Figure:
    """Accuracy as a table of shaded numbers: one row per way to curate or to train, one column per test set."""
    arms, sets = [arm for arm in CURATION_WORDS if arm in set(table["arm"])], ["same", *SHIFTED]
    curated = [arm for arm in arms if arm in CURATIONS]
    by = table.pivot(index="arm", columns="group", values="value").loc[arms, sets]
    figure, ax = plt.subplots(figsize=(WIDTH, 0.36 * len(arms) + 1.1), layout="constrained")
    ax.imshow(by.to_numpy(dtype=float), cmap="cividis", vmin=0, vmax=100, aspect="auto")
    for y, arm in enumerate(arms):
        for x, name in enumerate(sets):
            value = _at(by, arm, name)
            ax.text(x, y, f"{value:.0f}", ha="center", va="center", color="black" if value > 55 else "white")
    if len(curated) < len(arms):
        ax.axhline(len(curated) - 0.5, color=plt.rcParams["text.color"], linewidth=2.5)
    ax.axvline(0.5, color=plt.rcParams["text.color"], linewidth=2.5)
    ax.set_xticks(range(len(sets)), labels=[SET_WORDS[name] for name in sets])
    ax.set_yticks(range(len(arms)), labels=[textwrap.fill(CURATION_WORDS[arm], 16) for arm in arms])
    ax.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("zero-shot accuracy, % (chance 8 %)")
    headline(figure, CURATION.title)
    return figure


def describe_curation(table: pd.DataFrame) -> str:
    """Alt text of :func:`draw_curation`."""
    by = table.pivot(index="arm", columns="group", values="value")
    parts = [
        f"{words}: "
        + ", ".join(f"{SET_WORDS[name].replace(chr(10), ' ')} {_at(by, arm, name):.0f}" for name in SET_WORDS)
        for arm, words in CURATION_WORDS.items()
        if arm in by.index
    ]
    return f"Zero-shot accuracy in percent, one row per way to curate or to train. {'; '.join(parts)}."


CURATION = FigureSpec(
    "curation",
    "Robustness by curation and by way of training",
    "Zero-shot accuracy on pictures like those of training and on four shifted test sets.",
    draw_curation,
    describe_curation,
    values="share",
)


# ---------------------------------------------------------------- C23

SOURCES = {
    ("marked_source", "careful"): "token of the source,\ncareful pictures",
    ("marked_source", "careless"): "token of the source,\ncareless pictures",
    ("marked_random", "careful"): "token at random,\ncareful pictures",
    ("marked_random", "careless"): "token at random,\ncareless pictures",
}
PROMPTS = {
    "plain": ("prompt: “a banana”", PALETTE["grey"], False),
    "token": ("prompt: “itap a banana”", PALETTE["blue"], True),
}
CHANCE_AMONG_ALL = 100 / len(collection.OBJECTS)


def draw_source_token(table: pd.DataFrame) -> Figure:
    """Accuracy with and without the token, one row per arm and source of the pictures."""
    if table.empty:
        return not_run(SOURCE.title)
    table = bounded(table)
    figure, ax = plt.subplots(figsize=(WIDTH, 3.9), layout="constrained")
    for y, (arm, group) in enumerate(SOURCES):
        _dots(ax, table, y, "metric", PROMPTS, apart=0.24, arm=arm, group=group)
    level(ax, CHANCE_AMONG_ALL, "chance")
    row_names(ax, list(SOURCES.values()))
    ax.set_xlim(0, 104)
    ax.set_xlabel("zero-shot accuracy among twelve objects, %")
    key(figure, {label: (colour, "o", filled) for label, colour, filled in PROMPTS.values()})
    headline(figure, SOURCE.title)
    return figure


def describe_source_token(table: pd.DataFrame) -> str:
    """Alt text of :func:`draw_source_token`."""
    if table.empty:
        return f"Zero-shot accuracy with and without a planted source token: {NOT_RUN}."
    by = table.pivot(index=["arm", "group"], columns="metric", values="value")
    parts = [
        f"{words.replace(chr(10), ' ')}: {_at(by, key, 'plain'):.0f} % without, {_at(by, key, 'token'):.0f} % with it"
        for key, words in SOURCES.items()
        if key in by.index
    ]
    return (
        f"Zero-shot accuracy with and without the token “{collection.TOKEN}” in the prompt. {'; '.join(parts)}. Chance is "
        f"{CHANCE_AMONG_ALL:.0f} %."
    )


SOURCE = FigureSpec(
    "source_token",
    "Accuracy with and without a source’s token in the prompt",
    "Zero-shot accuracy with and without the token, planted in one source's captions or at random.",
    draw_source_token,
    describe_source_token,
    values="share",
)


# ---------------------------------------------------------------- C24

TARGETS = {
    "object_labels": "labels: objects",
    "group_labels": "labels: groups",
    "tags": "tags: group and place",
    "unnamed_plain": "captions: objects",
    "group_captions": "captions: groups",
    "untrained": "untrained",
}
PROBE_DEPTHS = {
    "backbone": ("backbone", PALETTE["green"], False),
    "embedding": ("embedding", PALETTE["blue"], True),
    "span": ("what labels or captions can read", PALETTE["orange"], True),
}


def guess_within_group() -> float:
    """Accuracy in percent of guessing an object whose group is known."""
    return 100 * len(collection.GROUPS) / len(collection.OBJECTS)


def draw_labels_and_captions(table: pd.DataFrame) -> Figure:
    """Probe accuracy for the object, one row per kind of training, one mark per depth."""
    if table.empty:
        return not_run(PROBES.title)
    rows = bounded(table[table["metric"] == "object"])
    targets = [name for name in TARGETS if name in set(rows["arm"])]
    figure, ax = plt.subplots(figsize=(WIDTH, 0.5 * len(targets) + 1.5), layout="constrained")
    for y, target in enumerate(targets):
        _dots(ax, rows, y, "group", PROBE_DEPTHS, apart=0.2, arm=target)
    level(ax, guess_within_group(), "group known,\nobject guessed")
    row_names(ax, [TARGETS[name] for name in targets])
    ax.set_xlim(0, 104)
    ax.set_xlabel("accuracy of a linear probe for the object, %")
    key(figure, {label: (colour, "o", filled) for label, colour, filled in PROBE_DEPTHS.values()}, columns=3)
    headline(figure, PROBES.title)
    return figure


def describe_labels_and_captions(table: pd.DataFrame) -> str:
    """Alt text of :func:`draw_labels_and_captions`."""
    if table.empty:
        return f"Accuracy of linear probes for the object after training on labels, tags and captions: {NOT_RUN}."
    by = table[table["metric"] == "object"].pivot(index="arm", columns="group", values="value")
    parts = []
    for arm, words in TARGETS.items():
        if arm in by.index:
            depths = [f"{_at(by, arm, depth):.0f} % on the {depth}" for depth in ("backbone", "embedding")]
            if not np.isnan(_at(by, arm, "span")):
                depths.append(f"{_at(by, arm, 'span'):.0f} % on what these can read")
            parts.append(f"{words} {', '.join(depths)}")
    return (
        f"Accuracy of a linear probe for the object, by what the encoder was trained on. {'; '.join(parts)}. Guessing "
        f"within a known group is right {guess_within_group():.0f} % of the time."
    )


PROBES = FigureSpec(
    "labels_and_captions",
    "Probes for the object, by what the encoder was trained on",
    "Linear probes for the object after training on objects, groups or tags, as labels and as captions.",
    draw_labels_and_captions,
    describe_labels_and_captions,
    values="share",
)
