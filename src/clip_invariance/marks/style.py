"""One look for every figure: narrow enough for a phone, drawn once for light pages and once for dark ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import matplotlib.pyplot as plt
import seaborn as sns
from cycler import cycler

Theme = Literal["light", "dark"]

#: Width of every figure in inches, and the smallest letters in points. A phone of 390 pixels shows the
#: whole figure at four fifths of its size, with these letters still 9 pixels high.
WIDTH = 4.6
SMALL = 8.5


@dataclass(frozen=True)
class Ink:
    """Colours that depend on the page behind the figure."""

    text: str
    faint: str
    page: str


INKS: dict[Theme, Ink] = {
    "light": Ink(text="#1f2328", faint="#8a9199", page="#ffffff"),
    "dark": Ink(text="#e6e9ec", faint="#8a9199", page="#14181e"),
}

#: Okabe and Ito's colours that can be told apart with any colour vision and on both backgrounds.
PALETTE = {
    "blue": "#3a8fd0",
    "orange": "#e08214",
    "green": "#1fa27a",
    "pink": "#cf72a8",
    "sky": "#5bb8e8",
    "red": "#d9582b",
    "grey": "#8a9199",
}


def faint() -> str:
    """The quiet colour of axes, chance lines and remarks in the style that is being drawn in."""
    return str(plt.rcParams["axes.edgecolor"])


@contextmanager
def style(theme: Theme) -> Iterator[Ink]:
    """Draw inside this context to get the report's look, whatever a user's matplotlibrc or notebook has set.

    Yields:
        the colours that fit the page.
    """
    colours = INKS[theme]
    rc = {
        **sns.axes_style("ticks"),
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        "savefig.bbox": "tight",
        "savefig.pad_inches": 0.04,
        "figure.dpi": 110,
        "svg.fonttype": "path",  # the same letters on every machine, also where the font is missing
        "svg.hashsalt": "clip-invariance",
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "axes.titlesize": 9.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.labelsize": 9,
        "legend.fontsize": SMALL,
        "legend.frameon": False,
        "xtick.labelsize": SMALL,
        "ytick.labelsize": SMALL,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": colours.faint,
        "axes.labelcolor": colours.text,
        "axes.titlecolor": colours.text,
        "text.color": colours.text,
        "xtick.color": colours.faint,
        "ytick.color": colours.faint,
        "xtick.labelcolor": colours.text,
        "ytick.labelcolor": colours.text,
        "grid.color": colours.faint,
        "grid.alpha": 0.25,
        "axes.grid": False,
        "lines.linewidth": 1.8,
        "axes.prop_cycle": cycler(color=list(PALETTE.values())),
    }
    with plt.style.context(rc, after_reset=True):
        yield colours
