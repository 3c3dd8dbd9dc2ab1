"""What an audit of captions shows: tables for the terminal, a figure, a page to read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from clip_invariance.marks.marks import headline, row_names
from clip_invariance.marks.style import PALETTE, WIDTH
from clip_invariance.report.words import plain

#: What is said of the onset until a law of it has been measured.
NO_LAW = (
    "Below which gain a training never learns a factor has not been measured yet: no law is registered, so the order is "
    "all that can be said."
)


def of(table: pd.DataFrame, what: str) -> pd.DataFrame:
    """The rows of factors, values or pairs."""
    return table[table["what"] == what]


def factor_rows(table: pd.DataFrame, shown: Callable[[str], str] = str) -> tuple[list[str], list[list[str]]]:
    """Header and rows, the largest gain first; names as ``shown`` gives them."""
    rows = [
        ["-" if pd.isna(row["order"]) else str(row["order"]), shown(row["factor"]), _percent(row["percent"]),
         *(_nats(row[name]) for name in ("gain_nats", "at_least", "at_most"))]
        for _, row in of(table, "factor").iterrows()
    ]  # fmt: skip
    return ["order", "factor", "named in, %", "gain, nats", "at least", "at most"], rows


def value_rows(table: pd.DataFrame, shown: Callable[[str], str] = str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of how often each value is named; names as ``shown`` gives them."""
    rows = [
        [f"{shown(row['factor'])}: {shown(row['value'])}", f"{row['captions']:,}", _percent(row["percent"])]
        for _, row in of(table, "value").iterrows()
    ]
    return ["value", "captions", "named in, %"], rows


def pair_rows(table: pd.DataFrame, shown: Callable[[str], str] = str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of what is named together: of the captions that name the one on the left, how many name the other.

    Names are as ``shown`` gives them.
    """
    factors = of(table, "factor").set_index("factor")["captions"]
    together = {(row["factor"], row["other"]): row["captions"] for _, row in of(table, "pair").iterrows()}
    rows = []
    for one in factors.index:
        cells = [shown(one)]
        for other in factors.index:
            both = together.get((one, other), together.get((other, one)))
            cells.append("" if both is None else "-" if not factors[one] else _percent(100 * both / factors[one]))
        rows.append(cells)
    return ["of captions naming, %", *map(shown, factors.index)], rows


def overview(table: pd.DataFrame) -> Figure:
    """For each factor how often captions name it and what that is worth, both on logarithmic axes."""
    rows = of(table, "factor").reset_index(drop=True)
    figure, (rate, worth) = plt.subplots(
        1, 2, figsize=(WIDTH, 1.3 + 0.3 * len(rows)), layout="constrained", sharey=True
    )
    places = np.arange(len(rows))
    named, known = rows["percent"] > 0, rows["gain_nats"] > 0
    rate.plot(rows["percent"][named], places[named], "o", color=PALETTE["blue"], markersize=5)
    low = rows["at_least"].where(rows["at_least"] > 0, 1e-9)
    worth.hlines(places[known], low[known], rows["at_most"][known], color=PALETTE["orange"], linewidth=1.4)
    worth.plot(rows["gain_nats"][known], places[known], "o", color=PALETTE["orange"], markersize=5)
    for ax, values, title in (
        (rate, rows["percent"][named], "captions that name it, %"),
        (worth, rows["gain_nats"][known], "gain, nats"),
    ):
        if len(values):
            ax.set_xscale("log")
            ax.set_xlim(values.min() / 8, max(values.max() * 3, 1.0))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xlabel(title)
    row_names(rate, [name.replace("$", r"\$") for name in rows["factor"]])  # else between two of them is a formula
    headline(figure, "What captions name, and what it is worth")
    return figure


def markdown(table: pd.DataFrame, record: dict[str, Any]) -> str:
    """The page. Names, paths and columns are text in it, whatever they hold."""
    inputs = record["inputs"]
    factors = of(table, "factor")
    never = factors.loc[factors["captions"] == 0, "factor"].map(plain).tolist()
    useless = factors.loc[(factors["captions"] > 0) & (factors["at_most"] == 0), "factor"].map(plain).tolist()
    several = [f"{plain(row['factor'])} in {row['several']:,}" for _, row in factors.iterrows() if row["several"]]
    notes = [
        f"{record['captions']:,} captions were read, {record['empty']:,} of them empty. Shares are of the others.",
        NO_LAW,
    ]
    if never:
        notes.append(f"No caption names {', '.join(never)}: nothing in these captions teaches it.")
    if useless:
        notes.append(
            f"Only one value of {', '.join(useless)} is ever named, and silence is not said to mean none: there is "
            'nothing to tell apart. Add values, or say silence = "none".'
        )
    if several:
        notes.append(f"Captions that name more than one value of a factor count for each: {', '.join(several)}.")
    if inputs["batch"] > record["sampled"]:
        notes.append(f"The lower bound is that of a batch of {record['sampled']:,}, as many captions as were sampled.")
    files = "\n".join(
        f"- {plain(file['path'])}, column {plain(str(file['column']))}, {file['bytes']:,} bytes"
        for file in inputs["files"][:50]
    )
    more = len(inputs["files"]) - 50
    return f"""# Audit of captions

{_answer(factors, inputs["batch"])}

{_table(*factor_rows(table, plain))}

![How often captions name each factor, and its gain with bounds](captions.png)

*Gain*: by how much the contrastive loss of the best model falls, at batches of {inputs["batch"]:,}, when it sees the
factor as well. The estimate takes captions to say nothing but these factors, each value independent of the others.
*At most*: the mention rate times the entropy of the values, at any batch. *At least*: what remains if all else that a
caption says is known, so that only captions that agree in every other word are left to tell apart; for captions of many
different words that is close to nothing. *Order*: that of the gains, in which factors are learned if nothing but the gain
decides. The page on theory of "Captions Define Invariance", section 7, has definitions and proofs.

{_list(notes)}

## Values

{_table(*value_rows(table, plain))}

## Named together

{_table(*pair_rows(table, plain))}

## Where this comes from

Factors: {plain(inputs["factors"])}, SHA-256 `{inputs["factors_sha256"]}`. Files:

{files}{f"{chr(10)}- and {more:,} more, in captions.json" if more > 0 else ""}

Made {record["created"]} in {record["wall_seconds"]} s.
"""


def _answer(factors: pd.DataFrame, batch: int) -> str:
    """The first sentences: what comes first, what last."""
    ranked = factors[factors["order"].notna()]
    if ranked.empty:
        return "None of the factors can be learned from these captions: no two values of one are named."
    first, last = ranked.iloc[0], ranked.iloc[-1]
    said = (
        f"At batches of {batch:,}, **{plain(first['factor'])}** is worth most: named in {_percent(first['percent'])} % "
        f"of the captions, a gain of {_nats(first['gain_nats'])} nats."
    )
    if len(ranked) > 1:
        said += (
            f" **{plain(last['factor'])}** is worth least: named in {_percent(last['percent'])} %, "
            f"{_nats(last['gain_nats'])} nats."
        )
    return said


def _percent(value: float) -> str:
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}" if value > 0 else "0"


def _nats(value: float) -> str:
    return "0" if value == 0 else f"{value:.3f}" if value >= 0.01 else f"{value:.2g}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
