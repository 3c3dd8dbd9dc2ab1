"""The one form of table that measures return, how it is read, and how numbers are made of it.

A row is one measurement: ``arm`` and ``seed`` come from the unit, ``metric``, ``depth``, ``factor``, ``labels`` and
``value`` from the measure. Nothing else knows these columns. Accuracies are in [0, 1] in tables and in percent as soon as
:func:`percent` has read them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from clip_invariance.errors import UsageError
from clip_invariance.measure.statistics import (
    UNITS,
    Estimate,
    Kind,
    NamedValue,
    mean_over_seeds,
    paired_difference,
    share_of_seeds,
)
from clip_invariance.units import label

Row = dict[str, Any]


def row(metric: str, value: float, *, depth: str = "", factor: str = "", labels: int = 0, **more: object) -> Row:
    """One measurement.

    Args:
        metric: what was measured, such as "probe".
        depth: where in the encoder it was read, such as "embedding".
        factor: of the world, about which it says something.
        labels: labels per class that a reader was given; 0 for all, or where none are used.
        more: further columns of a measure that needs them.
    """
    return {"metric": metric, "depth": depth, "factor": factor, "labels": labels, **more, "value": float(value)}


def rows(metric: str, values: Mapping[str, float], **where: Any) -> list[Row]:
    """One measurement for each factor; ``where`` as for :func:`row`."""
    return [row(metric, value, factor=factor, **where) for factor, value in values.items()]


def select(table: pd.DataFrame, **where: object) -> pd.DataFrame:
    """The rows that agree with ``where``: column -> a value, an arm, or a tuple, list or set of values to choose from.

    Raises:
        UsageError: for a column that the table lacks.
    """
    chosen = pd.Series(True, index=table.index)
    for column, wanted in where.items():
        if column not in table:
            raise UsageError(f"the table has no column {column!r}: it has {', '.join(map(str, table.columns))}")
        if isinstance(wanted, tuple | list | set | frozenset):
            chosen &= table[column].isin([label(one) for one in wanted])
        else:
            chosen &= table[column] == label(wanted)
    return table[chosen]


def per_seed(table: pd.DataFrame, **where: object) -> pd.Series:
    """One number per seed, indexed by seed; empty where nothing like it was measured.

    Args:
        table: as measures return it.
        where: see :func:`select`. It must leave one row for each seed.

    Raises:
        UsageError: if a seed comes twice, which means that ``where`` does not say enough.
    """
    found = select(table, **where)
    if (twice := found["seed"].duplicated()).any():
        seed = found.loc[twice, "seed"].iloc[0]
        alike = found[found["seed"] == seed]
        differ = [str(c) for c in alike.columns if c != "value" and len(set(alike[c].astype(str))) > 1]
        raise UsageError(
            f"seed {seed} comes {len(alike)} times for {_said(where)}: "
            + (f"say which {' and '.join(differ)}" if differ else "the same measurement is there twice")
        )
    return found.set_index("seed")["value"]


def percent(table: pd.DataFrame, **where: object) -> pd.Series:
    """:func:`per_seed` in percent."""
    return 100 * per_seed(table, **where)


def mean_over(table: pd.DataFrame, column: str, names: Iterable[str], **where: object) -> pd.Series:
    """The mean over several values of a column, such as several factors, one number per seed.

    Raises:
        UsageError: as :func:`per_seed`, and if a seed lacks one of them that others have.
    """
    each = [found for name in names if len(found := per_seed(table, **{**where, column: name}))]
    if not each:
        return pd.Series(dtype=float)
    side_by_side = pd.concat(each, axis=1)
    if side_by_side.isna().any(axis=None):
        raise UsageError(f"some seeds lack some {column}s of {_said(where)}")
    return side_by_side.mean(axis=1)


def with_arms(table: pd.DataFrame, arms: Iterable[object], *names: str) -> pd.DataFrame:
    """The rows of these arms, with what the arms say in columns of their own: for figures that are drawn by it.

    Args:
        arms: dataclasses that have the fields ``names``.
    """
    known = {label(arm): arm for arm in arms}
    chosen = table[table["arm"].isin(list(known))]
    return chosen.assign(**{name: [getattr(known[arm], name) for arm in chosen["arm"]] for name in names})


def _said(where: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={label(value)!r}" for name, value in where.items()) or "the whole table"


# ---------------------------------------------------------------- rows of figures


def interval(samples: pd.Series) -> dict[str, float]:
    """Mean over seeds with its interval, as the last columns of a figure's row: value, low, high, n."""
    return described(mean_over_seeds(samples.to_numpy()))


def point(samples: pd.Series, **names: object) -> list[Row]:
    """A figure's row, names first and :func:`interval` last; none where nothing was measured."""
    return [names | interval(samples)] if len(samples) else []


def described(estimate: Estimate) -> dict[str, float]:
    """An estimate as the last columns of a figure's row."""
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}


def intervals(lines: Iterable[tuple[Mapping[str, object], pd.Series]], columns: Sequence[str] = ()) -> pd.DataFrame:
    """A figure's table: a row for each line that was measured.

    Args:
        lines: what tells the row from others, and one number per seed, empty where the profile lacks the arm.
        columns: names of the first columns, for a table whose arms were all left out.
    """
    found = [{**names, **interval(samples)} for names, samples in lines if len(samples)]
    return pd.DataFrame(found) if found else pd.DataFrame(columns=[*columns, "value", "low", "high", "n"])


# ---------------------------------------------------------------- numbers


def mean(
    name: str,
    samples: pd.Series,
    figure: str,
    description: str,
    *,
    kind: Kind,
    unit: str | None = None,
    digits: int | None = None,
) -> NamedValue | None:
    """A value from one number per seed; None where nothing was measured.

    Args:
        kind: what the number is; shares and ratios are in percent, differences in points, unless ``unit`` says otherwise.
    """
    if not len(samples):
        return None
    shown = UNITS[kind] if unit is None else unit
    return NamedValue(name, mean_over_seeds(samples.to_numpy()), shown, figure, description, digits, kind)


def gap(
    name: str,
    a: pd.Series,
    b: pd.Series,
    figure: str,
    description: str,
    *,
    unit: str = "points",
    digits: int | None = None,
) -> NamedValue | None:
    """The difference ``a - b``, paired by seed; None where one side was not measured."""
    if not len(a) or not len(b):
        return None
    return NamedValue(name, paired_difference(a, b), unit, figure, description, digits, "difference")


def seeds_in_which(name: str, right: pd.Series, figure: str, description: str) -> NamedValue | None:
    """The share of seeds in which something happened, from yes or no per seed; None where nothing was measured."""
    if not len(right):
        return None
    return NamedValue(name, share_of_seeds(right.tolist()), "%", figure, description, kind="share")


def made(values: Iterable[NamedValue | None]) -> list[NamedValue]:
    """The values that this profile measured."""
    return [value for value in values if value is not None]
