"""The marks that figures are made of: means with intervals, bands, levels, names and keys. Each is drawn in one way only."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from clip_invariance.marks.style import SMALL, WIDTH, faint

NOT_RUN = "not run in this profile"
#: Colour, marker, and whether it is filled.
Mark = tuple[str, str, bool]

# ---------------------------------------------------------------- words around the axes


def headline(figure: Figure, text: str) -> None:
    """The figure's title, flush with its left edge whatever the axes' labels take, on as many lines as it needs."""
    figure.suptitle(text, x=0.01, ha="left", fontsize=9.5, fontweight="bold", wrap=True)


def panel_title(ax: Axes, text: str, width: int = 46) -> None:
    """A panel's title above it, on lines of ``width`` letters: so many fit between its left and the figure's right edge."""
    ax.set_title(textwrap.fill(text, width))


def key(figure: Figure | SubFigure, entries: Mapping[str, str | Mark], columns: int = 2) -> None:
    """Names of colours, or of colours with marks, below the axes, in as many of the ``columns`` as the figure is wide."""
    handles = []
    for name, entry in entries.items():
        colour, marker, filled = (entry, "o", True) if isinstance(entry, str) else entry
        fill = colour if filled else "none"
        handles.append(Line2D([], [], linestyle="", marker=marker, markersize=5, color=colour, mfc=fill, label=name))
    legend_below(figure, handles, columns)


def legend_below(figure: Figure | SubFigure, handles: Sequence[Line2D], columns: int = 2) -> None:
    """A legend below the axes, in as many of the ``columns`` as the figure is wide."""
    for number in range(columns, 0, -1):
        legend = figure.legend(handles=list(handles), loc="outside lower left", ncols=number, columnspacing=1.2,
                               handletextpad=0.4)  # fmt: skip
        if number == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def not_run(title: str) -> Figure:
    """What stands in the place of a figure whose arms a profile leaves out."""
    figure, ax = plt.subplots(figsize=(WIDTH, 1.2), layout="constrained")
    ax.set_axis_off()
    ax.text(0.5, 0.5, NOT_RUN, ha="center", va="center", color=faint(), transform=ax.transAxes)
    headline(figure, title)
    return figure


def row_names(ax: Axes, labels: Sequence[str]) -> None:
    """Names of the rows from top to bottom; row ``i`` lies at height ``i``."""
    ax.set_ylim(len(labels) - 0.5, -0.5)
    ax.set_yticks(range(len(labels)), labels=list(labels))
    ax.tick_params(axis="y", length=0)


def share_ticks(ax: Axes, shares: Sequence[float], names: Mapping[float, str] | None = None) -> dict[float, int]:
    """Ticks for shares (0 to 1) at equal distances; returns where each lies."""
    ax.set_xticks(range(len(shares)), labels=[(names or {}).get(share, f"{100 * share:g} %") for share in shares])
    ax.set_xlim(-0.2, len(shares) - 0.8)
    return {share: place for place, share in enumerate(shares)}


def log_ticks(ax: Axes, values: Sequence[float]) -> None:
    """A logarithmic x axis with ticks at the values measured and nowhere else."""
    ax.set_xscale("log", base=2)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(list(values), labels=[f"{value:,.0f}" for value in values])


def end_labels(ax: Axes, x: float, ends: Mapping[str, tuple[float, str]], pad: float = 4, gap: float = 0.062) -> None:
    """Write each line's name beside its end, moved as little as keeps them apart and within the axes' height.

    Args:
        ax: the axes, with its limits set.
        x: where the names begin, data coordinates; the axes should end there, lest its levels run through the names.
        ends: name -> (y of the line's end, colour).
        pad: horizontal distance from ``x`` in points.
        gap: least distance between two names as a share of the axes' height.
    """
    low, high = ax.get_ylim()
    names = sorted(ends, key=lambda name: ends[name][0])
    steps = gap * (high - low) * np.arange(len(names))
    apart = isotonic_regression(np.array([ends[name][0] for name in names]) - steps).x  # nearest with these distances
    for name, y in zip(names, np.clip(apart, low, high - steps[-1]) + steps, strict=True):
        ax.annotate(name, (x, y), (pad, 0), textcoords="offset points", color=ends[name][1], va="center",
                    annotation_clip=False)  # fmt: skip


# ---------------------------------------------------------------- intervals


def bounded(table: pd.DataFrame, low: float = 0.0, high: float = 100.0) -> pd.DataFrame:
    """The table with the ends of its intervals brought into the range that the quantity can have.

    A t interval of values near a bound crosses it, and nobody is right more often than always. The saved data keep the ends
    as computed.
    """
    return table.assign(low=table["low"].clip(low, high), high=table["high"].clip(low, high))


def errors(rows: Any) -> NDArray[np.float64]:
    """Lengths of error bars below and above, (2, n), from the columns value, low and high; (2, 1) from one row."""
    value, low, high = (np.atleast_1d(np.asarray(rows[name], dtype=float)) for name in ("value", "low", "high"))
    return np.array([np.abs(value - low), np.abs(high - value)], dtype=np.float64)


def dot(ax: Axes, row: Any, y: float, colour: str, marker: str = "o", *, filled: bool = True) -> None:
    """A mean with its interval, horizontally."""
    ax.errorbar(row["value"], y, xerr=errors(row), fmt=marker, color=colour, markersize=6, capsize=2.5,
                mfc=colour if filled else "none")  # fmt: skip


def dots(
    ax: Axes,
    table: pd.DataFrame,
    row: str,
    colours: Mapping[str, str],
    names: Mapping[str, str] | None = None,
    *,
    series: str = "series",
) -> None:
    """A line of dots with intervals for each value of ``row`` that has any, from top to bottom in the order of the table.

    Args:
        table: columns ``row``, ``series``, value, low, high.
        colours: of the series to show, in the order in which they stand below each other.
        names: of the rows, where they differ from the values.
    """
    order = list(dict.fromkeys(table.loc[table[series].isin(list(colours)), row]))
    present = [name for name in colours if name in set(table[series])]
    step = min(0.15, 0.8 / len(present))
    for number, name in enumerate(present):
        rows = table[table[series] == name].set_index(row).reindex(order)
        y = np.arange(len(order)) + step * (number - (len(present) - 1) / 2)
        ax.errorbar(rows["value"], y, xerr=errors(rows), fmt="o", color=colours[name], markersize=4.5, capsize=2,
                    linewidth=1.2)  # fmt: skip
    for y in np.arange(1, len(order)) - 0.5:
        ax.axhline(y, color=faint(), alpha=0.25, linewidth=0.6)
    row_names(ax, [(names or {}).get(name, name) for name in order])


def band(
    ax: Axes, x: Sequence[float] | pd.Series, rows: pd.DataFrame, colour: str, style: str = "-", marker: str = "o"
) -> None:
    """A line through the means, with its interval as a band."""
    ax.plot(x, rows["value"], style, color=colour, marker=marker, markersize=4)
    ax.fill_between(x, rows["low"], rows["high"], color=colour, alpha=0.2, linewidth=0)


# ---------------------------------------------------------------- levels to compare with


def level(ax: Axes, x: float, text: str = "") -> None:
    """A vertical dotted line at a level to compare with, its name above the axes."""
    ax.axvline(x, color=faint(), linestyle=":", linewidth=1.1)
    ax.annotate(text, (x, 1), (0, 2), xycoords=("data", "axes fraction"), textcoords="offset points", ha="center",
                va="bottom", color=faint(), fontsize=SMALL)  # fmt: skip


def floor(ax: Axes, y: float) -> None:
    """A horizontal dotted line at the level of guessing."""
    ax.axhline(y, color=faint(), linestyle=":", linewidth=1.1)


def row_levels(ax: Axes, values: Sequence[float]) -> None:
    """A short dotted line across each row, from top to bottom: what guessing reaches there."""
    for y, value in enumerate(values):
        ax.plot([value, value], [y - 0.45, y + 0.45], color=faint(), linestyle=":", linewidth=1.2)


# ---------------------------------------------------------------- pictures


def picture(lines: pd.DataFrame) -> NDArray[np.uint8]:
    """The pixels of one picture, (height, width, 3), from rows of hexadecimal text in the columns row and pixels."""
    rows = [np.frombuffer(bytes.fromhex(text), dtype=np.uint8) for text in lines.sort_values("row")["pixels"]]
    return np.array(rows).reshape(len(rows), -1, 3)
