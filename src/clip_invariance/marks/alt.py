"""The numbers of a figure in words, for its alt text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd


def share(value: float) -> str:
    """A share as figures write it on their axes."""
    return f"{100 * value:g} %"


def count(value: float) -> str:
    """A number of labels; infinity stands for all."""
    return f"{value:,.0f}" if np.isfinite(value) else "all"


def _known(value: Any) -> bool:
    return bool(pd.notna(value)) and value != ""


def _grouped(table: pd.DataFrame, heads: Sequence[str], say: Callable[[pd.DataFrame], str]) -> str:
    """ "a, b: what is said of their rows; c, d: …" in the order of the table."""
    parts = []
    for names, rows in table.dropna(subset="value").groupby(list(heads), sort=False, dropna=False):
        parts.append(f"{', '.join(str(name) for name in names if _known(name))}: {say(rows)}")
    return "; ".join(parts)


def listed(table: pd.DataFrame, heads: Sequence[str], name: str, *, digits: int = 0) -> str:
    """ "a, b: c 12, d 34; …": each number of the column value after its name, under what stands in ``heads``."""

    def say(rows: pd.DataFrame) -> str:
        pairs = zip(rows[name], rows["value"], strict=True)
        return ", ".join((f"{which} " if _known(which) else "") + f"{value:z.{digits}f}" for which, value in pairs)

    return _grouped(table, heads, say)


def along(
    table: pd.DataFrame, heads: Sequence[str], x: str, where: Callable[[Any], str], *, word: str = "at", digits: int = 0
) -> str:
    """ "a, b: 12 at 0 %, 34 at 100 %; …": lines from left to right; a level, without an ``x``, is its number alone."""

    def say(rows: pd.DataFrame) -> str:
        ordered = rows.sort_values(x, kind="stable")
        pairs = zip(ordered[x], ordered["value"], strict=True)
        return ", ".join(f"{v:z.{digits}f}" + (f" {word} {where(at)}" if _known(at) else "") for at, v in pairs)

    return _grouped(table, heads, say)


def cells(table: pd.DataFrame, row: str, column: str, columns: Iterable[object], *, digits: int = 0) -> str:
    """ "a: 1, 2, 3; b: 4, none, 6": the rows of a matrix, whose columns the caller names before."""
    by = {(r, c): v for r, c, v in zip(table[row], table[column], table["value"], strict=True) if _known(v)}
    wanted = list(columns)
    return "; ".join(
        f"{name}: " + ", ".join(f"{by[name, c]:z.{digits}f}" if (name, c) in by else "none" for c in wanted)
        for name in dict.fromkeys(table[row])
    )
