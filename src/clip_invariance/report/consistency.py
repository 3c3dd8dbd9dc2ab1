"""Do a run's numbers agree with its own tables? Digests tell what was changed by accident; this, more of what was not.

A published number that stands in one cell of its figure's table says where it stands in a run's table, too: in the row
with the same words, in the same column. About two numbers in five can be looked up so; the others were worked out from
several rows, and only running again can tell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from clip_invariance.errors import ReportError
from clip_invariance.results import MAX_RECORD_BYTES, Results, Value

#: Row, by its words and whole numbers, and column of a table.
Cell = tuple[tuple[str, ...], str]
#: Columns of whole numbers that say how much was measured, not what.
_AMOUNTS = ("n", "seeds")
_SCALES = (1.0, 100.0)  # tables may have shares where prose has percent
_EQUAL = 1e-9


def check_values(published: Results, mine: Results) -> None:
    """Hold a run's numbers against its own tables.

    Raises:
        ReportError: naming the first number that its table, or the numbers by seed behind it, contradict.
    """
    theirs: dict[str, Mapping[Cell, float]] = {}
    own: dict[str, Mapping[Cell, float]] = {}
    where = mine.folder / "values.json"
    expected = published.values.values  # noqa: PD011
    for name, value in mine.values.values.items():  # noqa: PD011
        if value.samples and not _same(math.fsum(value.samples) / len(value.samples), value.value, 1e-6):
            raise ReportError(
                f"{where}: {name} is not the mean of its numbers by seed: the file was edited after the run"
            )
        known = expected.get(name)
        if known is None or not value.figure or _meaning(known) != _meaning(value):
            continue
        if value.figure not in own:
            theirs[value.figure] = _cells(published.folder / f"{value.figure}.csv")
            own[value.figure] = _cells(mine.folder / f"{value.figure}.csv")
        found = _found(theirs[value.figure], known.value)
        if len(found) != 1:
            continue
        cell, scale = found[0]
        shown = own[value.figure].get(cell)
        if shown is not None and not _same(scale * shown, value.value, 1e-6):
            raise ReportError(
                f"{where}: {name} is {value.value:.6g}, but its table {value.figure}.csv says {scale * shown:.6g}: one of "
                "them was edited after the run"
            )


def _meaning(value: Value) -> tuple[str, str, str]:
    """A smaller profile may know a number by the name of another, as the largest budget that it runs."""
    return value.figure, value.description, value.unit


def _found(cells: Mapping[Cell, float], number: float) -> list[tuple[Cell, float]]:
    return [(cell, scale) for cell, shown in cells.items() for scale in _SCALES if _same(scale * shown, number, _EQUAL)]


def _same(a: float, b: float, tolerance: float) -> bool:
    return abs(a - b) <= tolerance * max(1.0, abs(b))


def _cells(path: Path) -> Mapping[Cell, float]:
    """All fractions of a table whose row can be told from the others by its words and whole numbers.

    Raises:
        ReportError: if the file is no table.
    """
    if path.stat().st_size > MAX_RECORD_BYTES:
        return {}
    try:
        table = pd.read_csv(path)
    except (ValueError, OSError) as error:  # pandas' errors are ValueErrors
        raise ReportError(f"{path} cannot be read as a table: {str(error).splitlines()[0]}") from None
    fractions = [name for name in table.columns if pd.api.types.is_float_dtype(table[name])]
    named = table.drop(columns=[*fractions, *(name for name in _AMOUNTS if name in table.columns)])
    rows = [tuple(map(str, row)) for row in named.itertuples(index=False)]
    alone = ~pd.Series(rows, dtype=object).duplicated(keep=False)
    return {
        (rows[number], name): float(shown)
        for name in fractions
        for number, shown in enumerate(table[name])
        if alone[number] and math.isfinite(shown)
    }
