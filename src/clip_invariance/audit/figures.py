"""The figure of an audit: what can be read from an encoder, in words and with labels, beside the controls."""

from __future__ import annotations

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from clip_invariance.audit.measures import READINGS, THINGS, find
from clip_invariance.marks.marks import headline, key
from clip_invariance.marks.style import PALETTE, WIDTH, faint

#: Reading -> colour and marker. Controls are hollow.
SERIES = {
    "words": (PALETTE["orange"], "D"),
    "probe, embedding": (PALETTE["blue"], "o"),
    "probe, backbone": (PALETTE["sky"], "o"),
    "untrained, embedding": (PALETTE["grey"], "o"),
    "pixels": (PALETTE["pink"], "s"),
}
_CONTROLS = ("untrained, embedding", "pixels")


def overview(table: pd.DataFrame, name: str) -> Figure:
    """A line of dots with intervals for each thing that was asked for; a short dotted line is chance.

    Args:
        table: see :func:`audit.measures.tabulate`.
        name: of the checkpoint.
    """
    figure, ax = plt.subplots(figsize=(WIDTH, 1.5 + 0.62 * len(THINGS)), layout="constrained")
    for row, (pictures, factor) in enumerate(THINGS.values()):
        for number, (series, (colour, marker)) in enumerate(SERIES.items()):
            encoder, metric, depth = READINGS[series]
            found = find(table, encoder, pictures, metric, depth, factor)
            if found is None:
                continue
            y = row + 0.15 * (number - (len(SERIES) - 1) / 2)
            low, high = max(0.0, found["low"]), min(100.0, found["high"])
            ax.plot([low, high], [y, y], color=colour, linewidth=1.2)
            fill = "none" if series in _CONTROLS else colour
            ax.plot(found["value"], y, marker, color=colour, markerfacecolor=fill, markersize=4.5)
            ax.plot([found["chance"]] * 2, [row - 0.42, row + 0.42], ":", color=faint(), linewidth=1.3)
    for y in np.arange(1, len(THINGS)) - 0.5:
        ax.axhline(y, color=faint(), alpha=0.25, linewidth=0.6)
    ax.set_yticks(range(len(THINGS)), labels=list(THINGS))
    ax.set(ylim=(len(THINGS) - 0.5, -0.5), xlim=(0, 102), xlabel="right, % (dotted: chance)")
    headline(
        figure, "\n".join(textwrap.wrap(f"What can be read from {name}", 50))
    )  # names may be long and without spaces
    key(figure, {name: (colour, marker, name not in _CONTROLS) for name, (colour, marker) in SERIES.items()}, columns=3)
    return figure


def describe_overview(table: pd.DataFrame, name: str) -> str:
    """Alt text of :func:`overview`."""
    parts = []
    for thing, (pictures, factor) in THINGS.items():
        rows = {series: find(table, *_where(series, pictures, factor)) for series in SERIES}
        found = [f"{series} {row['value']:.0f}" for series, row in rows.items() if row is not None]
        parts.append(f"{thing}: {', '.join(found)}")
    return f"Accuracy in percent for {name} and its controls. {'; '.join(parts)}."


def _where(series: str, pictures: str, factor: str) -> tuple[str, str, str, str, str]:
    encoder, metric, depth = READINGS[series]
    return encoder, pictures, metric, depth, factor
