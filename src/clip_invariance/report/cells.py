"""A number by its place in a figure's table: ``04/mention[panel=small light; series=words; mention=1]``.

So a page can quote whatever a figure shows, and nothing has to be made, named and kept twice.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from clip_invariance.errors import ReportError, printable
from clip_invariance.measure.statistics import UNITS, digits_of
from clip_invariance.results import Sidecar, Value, checked, read_sidecar

ADDRESS = re.compile(r"^(?P<chapter>[0-9]{2})/(?P<figure>[a-z0-9_]+)\[(?P<where>[^\]]*)\]$")
ENDS = ("value", "low", "high", "n")


def is_address(text: str) -> bool:
    """Whether this names a cell of a figure rather than a value."""
    return "[" in text


def find_cell(figures: Path, address: str) -> Value:
    """The number at an address, with its interval.

    Args:
        figures: folder with a folder for each chapter.
        address: ``chapter/figure[column=text; column=text]``. One row of the figure's table must agree with all of them;
            numbers are compared as numbers.

    Raises:
        ReportError: saying what is wrong with the address, and what would be right.
    """
    if not (parts := ADDRESS.match(address)):
        raise ReportError(f"{address!r} is no address: write 04/mention[panel=small light; series=words; mention=1]")
    table = figures / parts["chapter"] / f"{parts['figure']}.csv"
    if not table.is_file():
        raise ReportError(f"{address}: there is no figure {parts['chapter']}/{parts['figure']}")
    sidecar = read_sidecar(table.with_suffix(".json"))
    row = _only_row(table, address, _wanted(parts["where"]))
    kind = row.get("kind") or sidecar.values
    if kind not in UNITS:
        raise ReportError(f"{address}: neither a column 'kind' nor the figure says what kind of number this is")
    low, high = float(row["low"]), float(row["high"])
    return checked(
        Value,
        address,
        value=float(row["value"]),
        low=low,
        high=high,
        n=int(float(row["n"])),
        spread=0.0,
        unit=row.get("unit") or UNITS[kind],
        digits=digits_of((high - low) / 2),
        tolerance=0.0,
        figure=parts["figure"],
        description=_described(sidecar, row),
        kind=kind,
    )


def _wanted(where: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in where.split(";") if part.strip()]
    return {name.strip(): text.strip() for name, _, text in pairs}


def _only_row(table: Path, address: str, wanted: dict[str, str]) -> dict[str, str]:
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = list(rows[0]) if rows else []
    if unknown := [name for name in wanted if name not in columns]:
        raise ReportError(f"{address}: the table has no column {unknown[0]!r}: it has {printable(', '.join(columns))}")
    if missing := [name for name in ENDS if name not in columns]:
        raise ReportError(f"{address}: the table has no column {missing[0]!r}, so that nothing in it has an interval")
    found = [row for row in rows if all(_same(row[name], text) for name, text in wanted.items())]
    if not found:
        for name, text in wanted.items():
            if not any(_same(row[name], text) for row in rows):
                known = printable(", ".join(dict.fromkeys(row[name] for row in rows)))
                raise ReportError(f"{address}: no row has {name}={text}: there are {known}")
        raise ReportError(f"{address}: no row agrees with all of it")
    if len(found) > 1:
        open_ = [c for c in columns if c not in ENDS and len({row[c] for row in found}) > 1]
        raise ReportError(f"{address}: {len(found)} rows agree with it: say which {' and '.join(open_) or 'of them'}")
    if not all(found[0][name] for name in ENDS):
        raise ReportError(f"{address}: this row has no interval")
    return found[0]


def _same(cell: str, text: str) -> bool:
    try:
        return float(cell) == float(text)
    except ValueError:
        return cell == text


def _described(sidecar: Sidecar, row: dict[str, str]) -> str:
    """The figure's title, and the cell's place in words."""
    names = [text for name, text in row.items() if name not in (*ENDS, "kind", "unit") and text]
    return f"{sidecar.title}: {', '.join(names)}"
