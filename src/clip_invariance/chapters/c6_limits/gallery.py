"""Chapter 6: the pictures that it shows: of its worlds, and of things without their parts or their look (C42)."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from clip_invariance.chapters.c6_limits.figures import PERCENT
from clip_invariance.chapters.c6_limits.measures import misleading
from clip_invariance.chapters.c6_limits.tables import CHANCE
from clip_invariance.marks.alt import listed
from clip_invariance.marks.marks import bounded, dots, headline, key, level, picture
from clip_invariance.marks.spec import FigureSpec
from clip_invariance.marks.style import PALETTE, SMALL, WIDTH
from clip_invariance.worlds import cards, collages
from clip_invariance.worlds.collages import Layer
from clip_invariance.worlds.openmoji import ATTRIBUTION


def worlds() -> pd.DataFrame:
    """Collages at random, one collage with one thing changed at a time, and cards: set, name, row, pixels."""
    parts = [_pixels("collages", str(i), image) for i, image in enumerate(collages.render(collages.sample(8, 7)))]
    one = collages.sample(1, 11, given={"object": 3, "part": 1, "count": 2, "background": 0, "quality": 0})
    changes = {
        "look-alike": ("object", 1),
        "other part": ("part", 2),
        "fewer": ("count", 0),
        "other background": ("background", 2),
        "grainy": ("quality", 1),
    }
    same = {"as it is": one} | {name: collages.change(one, *change) for name, change in changes.items()}
    parts += [_pixels("one thing changed", name, collages.render(scene)[0]) for name, scene in same.items()]
    drawn = cards.sample(6, 3, given={"hand": torch.tensor([0, 0, 0, 1, 1, 1])})
    parts += [_pixels("cards", str(i), image) for i, image in enumerate(cards.render(drawn, "train"))]
    return pd.concat(parts, ignore_index=True)


def looks() -> pd.DataFrame:
    """A thing whole, its look alone, its parts alone, and its parts on the look of another thing; as :func:`worlds`."""
    objects = torch.tensor([1, 5, 10])
    scenes = collages.sample(3, 5, given={"object": objects, "quality": 0, "count": 0})
    layers: dict[str, list[tuple[Layer, Tensor]]] = {
        "whole": [("full", objects)],
        "look": [("look", objects)],
        "parts": [("parts", objects)],
        "conflict": [("look", misleading(scenes)), ("parts", objects)],
    }
    parts = []
    for name, chosen in layers.items():
        images = collages.render(scenes, layers=chosen)
        parts += [_pixels(name, str(i), image) for i, image in enumerate(images)]
    return pd.concat(parts, ignore_index=True)


def _pixels(group: str, name: str, image: Tensor) -> pd.DataFrame:
    rows = [bytes(line.flatten().tolist()).hex() for line in image.permute(1, 2, 0)]
    return pd.DataFrame({"set": group, "name": name, "row": range(len(rows)), "pixels": rows})


# ---------------------------------------------------------------- figures


def draw_pictures(table: pd.DataFrame) -> Figure:
    """Collages at random, one collage with one thing changed at a time, and cards."""
    rows = {"collages": 2, "one thing changed": 2, "cards": 1}
    titles = {
        "collages": "collages, at random",
        "one thing changed": "one collage, one thing changed",
        "cards": "cards",
    }
    figure = plt.figure(figsize=(WIDTH, 6.6), layout="constrained")
    parts = np.asarray(figure.subfigures(len(rows), 1, height_ratios=[2.1, 2.7, 1.25]))
    for part, (name, lines) in zip(parts, rows.items(), strict=True):
        here = table[table["set"] == name]
        shown = list(dict.fromkeys(here["name"]))
        axes = part.subplots(lines, -(-len(shown) // lines), squeeze=False)
        for ax, which in zip(axes.flat, shown, strict=True):
            ax.imshow(picture(here[here["name"] == which]), interpolation="nearest")
            ax.set_axis_off()
            if name == "one thing changed":
                ax.set_title(which, fontweight="normal", fontsize=SMALL, pad=3, loc="center")
        part.suptitle(titles[name], x=0.02, ha="left", fontsize=9)
    return figure


def describe_pictures(table: pd.DataFrame) -> str:
    """Alt text of :func:`draw_pictures`."""
    changed = list(dict.fromkeys(table.loc[table["set"] == "one thing changed", "name"]))
    return (
        "Small pictures. Collages: a drawn car, flower or bird before a coloured background with one to four small "
        "tomatoes, lemons, broccolis or raindrops around it, half of them grainy. One collage in six versions: "
        f"{', '.join(changed)}. "
        "Cards: three printed and three handwritten digits on coloured paper."
    )


PICTURES = FigureSpec(
    "pictures",
    "What the encoders see",
    "Random collages, one collage with one thing changed at a time, and cards, as drawn for training.",
    draw_pictures,
    describe_pictures,
    (ATTRIBUTION,),
)


LOOKS = {"whole": "whole", "look": "look alone", "parts": "parts alone", "conflict": "parts of one,\nlook of another"}
TRAINED_ON = {"captions": PALETTE["blue"], "labels": PALETTE["green"]}


def draw_look_and_parts(table: pd.DataFrame) -> Figure:
    """Above: three things in four versions. Below: what two encoders answer."""
    table = bounded(table)
    shown, rows = table[table["pixels"].notna()], table[table["value"].notna()]
    figure = plt.figure(figsize=(WIDTH, 6.2), layout="constrained")
    above, below = np.asarray(figure.subfigures(2, 1, height_ratios=[1.25, 1]))
    names = list(dict.fromkeys(shown["name"]))
    axes = above.subplots(len(names), len(LOOKS))
    for column, (version, title) in enumerate(LOOKS.items()):
        for row, name in enumerate(names):
            ax = axes[row, column]
            ax.imshow(picture(shown[(shown["set"] == version) & (shown["name"] == name)]), interpolation="nearest")
            ax.set_axis_off()
        axes[0, column].set_title(title, fontweight="normal", fontsize=SMALL, loc="center", pad=4)
    ax = below.subplots()
    line = [
        f"disagree: named {answer}" if picture == "conflict" else f"{LOOKS[picture]}: named {answer}"
        for picture, answer in zip(rows["picture"], rows["answer"], strict=True)
    ]
    dots(ax, rows.assign(line=line), "line", TRAINED_ON, series="encoder")
    level(ax, CHANCE["object"])
    ax.set(xlim=PERCENT, xlabel="share of the answers, % (dotted: chance)")
    key(below, {f"trained on {name}": colour for name, colour in TRAINED_ON.items()})
    headline(figure, LOOK_AND_PARTS.title)
    return figure


def describe_look_and_parts(table: pd.DataFrame) -> str:
    """Alt text of :func:`draw_look_and_parts`."""
    rows = table[table["value"].notna()]
    return (
        "Three drawn things in four versions: whole; a coarse mosaic of their colours; their outlines alone; their outlines "
        "on the mosaic of another thing. Below, shares of answers in percent: "
        f"{listed(rows, ['encoder', 'picture'], 'answer')}. Chance is {CHANCE['object']:.0f}."
    )


LOOK_AND_PARTS = FigureSpec(
    "look_and_parts",
    "Taking the parts away, and taking the look away",
    "Answers of encoders trained on captions and on labels, for whole, stripped and contradictory drawings.",
    draw_look_and_parts,
    describe_look_and_parts,
    (ATTRIBUTION,),
)
