"""A figure as a chapter declares it: everything but the data, once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from clip_invariance.measure.statistics import Kind


@dataclass(frozen=True)
class FigureSpec:
    """One figure of a chapter; :meth:`run.chapter.Chapter.show` draws and saves it.

    Attributes:
        name: file name without suffix, ``[a-z0-9_]+``; values name it as the figure that shows them.
        title: the title beside the figure.
        experiment: what was done, in a sentence.
        draw: the table -> the figure.
        describe: the table -> what a reader who cannot see the figure should know.
        attribution: credits that must stand beside the figure.
        values: what kind of number the table's column ``value`` holds; None where a column ``kind`` says it row by row.
    """

    name: str
    title: str
    experiment: str
    draw: Callable[[pd.DataFrame], Figure]
    describe: Callable[[pd.DataFrame], str]
    attribution: tuple[str, ...] = ()
    values: Kind | None = None
