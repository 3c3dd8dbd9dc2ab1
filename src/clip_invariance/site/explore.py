"""Sphinx extension: ``{explore} 03/dose_response``, a published table in which the reader chooses what captions mention.

It stands below the figure of that name and shows the same CSV file: one column is chosen from, one names the rows, one the
marks in a row. The page carries the marks of every choice; ``_static/explore.js`` moves them. Without JavaScript, and on
paper, the style sheet hides all this, and the figure above is what there is to see.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from clip_invariance.report.numbers import NARROW_SPACE, NO_BREAK_SPACE, number
from clip_invariance.site.nodes import box, element, figure_label, link_to, shown

logger = logging.getLogger(__name__)

Row = Mapping[str, str]
Names = dict[str, str]


@dataclass(frozen=True)
class Mark:
    """A mean and its interval in the units of the table; without an interval all three are the same."""

    value: float
    low: float
    high: float

    def text(self) -> str:
        """As printed below the marks: "74.7 [69.7, 79.8]", and not beyond 100, above which no accuracy lies.

        A narrow column may put the interval below its value, but does not break it.
        """
        if self.low >= self.high:
            return number(self.value, 1)
        return f"{number(self.value, 1)} [{number(self.low, 1)},{NO_BREAK_SPACE}{number(min(self.high, 100), 1)}]"

    def place(self) -> str:
        """Where the style sheet draws it."""
        return f"--value: {self.value:.4g}; --low: {self.low:.4g}; --high: {self.high:.4g}"


@dataclass(frozen=True)
class Explorer:
    """A table as a reader explores it: value of a column -> what it is called, each in the order shown.

    ``marks`` holds a mark by choice, row and series, ``fixed`` by row and level. Marks that were not measured are missing.
    """

    choices: Names
    rows: Names
    series: Names
    levels: Names
    marks: Mapping[tuple[str, str, str], Mark]
    fixed: Mapping[tuple[str, str], Mark]
    mentioned: frozenset[tuple[str, str]]

    def axis(self) -> tuple[int, int]:
        """Ends of the axis: from 0, or the ten below every interval, to 100, above which no accuracy lies."""
        least = min(mark.low for mark in [*self.marks.values(), *self.fixed.values()])
        return min(0, 10 * math.floor(least / 10)), 100

    def data(self) -> list[dict[str, Any]]:
        """What ``explore.js`` needs, by choice: its name, each mark's place and text, and which rows are mentioned."""
        cells = [(row, one) for row in self.rows for one in self.series]
        found = [[self.marks.get((choice, *cell)) for cell in cells] for choice in self.choices]
        return [
            {
                "name": name,
                "marks": [[mark.place(), mark.text()] if mark else None for mark in marks],
                "mentioned": [(choice, row) in self.mentioned for row in self.rows],
            }
            for (choice, name), marks in zip(self.choices.items(), found, strict=True)
        ]


# ---------------------------------------------------------------- from a table to what is explored


def names(option: str) -> Names:
    """Read "value = words for it; another value", in order.

    >>> names("zero-shot = words; span")
    {'zero-shot': 'words', 'span': 'span'}
    """
    pairs = [part.partition("=") for part in option.split(";") if part.strip()]
    return {value.strip(): words.strip() or value.strip() for value, _, words in pairs}


def rate(text: str) -> float | None:
    """A cell as a mention rate, from 0 to 1; None if it is something else."""
    try:
        return float(text)
    except ValueError:
        return None


def rate_in_words(share: float) -> str:
    """
    >>> [rate_in_words(share) for share in (0.0, 0.03, 1.0)]
    ['never', 'in 3\\u202f%', 'always']
    """
    return {0.0: "never", 1.0: "always"}.get(share, f"in {100 * share:g}{NARROW_SPACE}%")


def mark_in(rows: Sequence[Row]) -> Mark | None:
    """The mark of the only row; None if there is no row, or its value is missing.

    Raises:
        ValueError: if there are several rows, or a number is not finite.
    """
    if len(rows) > 1:
        raise ValueError(f"several rows for one mark, such as {dict(rows[0])}")
    if not rows or not rows[0]["value"]:
        return None
    row = rows[0]
    value, low, high = (float(row.get(name) or row["value"]) for name in ("value", "low", "high"))
    if not all(math.isfinite(x) for x in (value, low, high)):
        raise ValueError(f"a number is not finite in {dict(row)}")
    return Mark(value, low, high)


def explorer(table: Sequence[Row], choose: str, of: str, by: str, asked: Mapping[str, Names]) -> Explorer:
    """Arrange a table for its reader.

    Args:
        choose, of, by: the columns to choose from, of the rows, and of the marks within a row.
        asked: "choices", "rows" and "marks" pick, order and rename values of these columns, by default all; "levels" does
            so for values of ``choose`` or ``by`` that do not depend on the choice, or for a whole column ("chance"). What
            a table lacks is left out: a smaller profile has fewer arms.

    Raises:
        KeyError: if a column is missing.
        ValueError: if nothing is left to show, or rows contradict each other.
    """
    levels = asked.get("levels", {})

    def values(column: str, option: str) -> Names:
        found = dict.fromkeys(row[column] for row in table if row[column] and row[column] not in levels)
        wanted = {value: words for value, words in asked.get(option, {}).items() if value in found}
        return wanted or {value: value.replace("_", " ") for value in found}

    choices, rows, series = values(choose, "choices"), values(of, "rows"), values(by, "marks")
    rates = {text: rate(text) for text in choices}
    if shares := {text: share for text, share in rates.items() if share is not None}:
        choices = {text: rate_in_words(share) for text, share in sorted(shares.items(), key=lambda item: item[1])}
    marks, fixed = {}, {}
    for row in rows:
        inside = [cells for cells in table if cells[of] == row]
        for choice in choices:
            for one in series:
                found = [cells for cells in inside if cells[choose] == choice and cells[by] == one]
                if mark := mark_in(found):
                    marks[choice, row, one] = mark
        for level in levels:
            if level in table[0]:
                found = [{"value": text} for text in sorted({cells[level] for cells in inside if cells[level]})]
            else:
                found = [cells for cells in inside if level in (cells[choose], cells[by])]
            if mark := mark_in(found):
                fixed[row, level] = mark
    if not marks:
        raise ValueError("no row of the table has what is asked for")
    said = frozenset((cells[choose], cells[of]) for cells in table if cells.get("mentioned") == "True")
    there = {level: words for level, words in levels.items() if any(name == level for _, name in fixed)}
    return Explorer(choices, rows, series, there, marks, fixed, said)


# ---------------------------------------------------------------- as HTML


def picture(what: Explorer, unit: str) -> box:
    """One line of marks per row, at the first choice. Screen readers get :func:`table_of` instead."""
    first = next(iter(what.choices))
    low, high = what.axis()
    lines = []
    for row, name in what.rows.items():
        levels = [
            element("i", f"explore-level level-{k}", style=what.fixed[row, level].place())
            for k, level in enumerate(what.levels)
            if (row, level) in what.fixed
        ]
        marks = [
            element("i", f"explore-mark mark-{k}", style=mark.place() if mark else "", **hidden(mark is None))
            for k, mark in enumerate(what.marks.get((first, row, one)) for one in what.series)
        ]
        said = element("span", "explore-said", "mentioned", **hidden((first, row) not in what.mentioned))
        track = element("span", "explore-track", *levels, *marks)
        lines.append(element("div", "explore-row", element("span", "explore-name", name, " ", said), track))
    ticks = [element("span", "", number(x, 0), style=f"--value: {x}") for x in (low, 0, 50, 100) if low <= x]
    lines.append(
        element("div", "explore-row", element("span", "explore-unit", unit), element("span", "explore-axis", *ticks))
    )
    size = f"--from: {low}; --to: {high}; --lanes: {len(what.series)}"
    return element("div", "explore-picture", *lines, style=size, **{"aria-hidden": "true"})


def hidden(yes: bool) -> dict[str, str]:
    """The attribute that hides an element."""
    return {"hidden": "hidden"} if yes else {}


def table_of(what: Explorer, unit: str) -> box:
    """The same numbers to be read, folded away."""
    first = next(iter(what.choices))

    def line(row: str, name: str) -> box:
        marks = [what.marks.get((first, row, one)) for one in what.series]
        fixed = [what.fixed.get((row, level)) for level in what.levels]
        cells = [element("td", "num explore-number", mark.text() if mark else "") for mark in marks]
        cells += [element("td", "num", mark.text() if mark else "") for mark in fixed]
        return element("tr", "", element("th", "", name, scope="row"), *cells)

    heads = [element("th", "", words, scope="col") for words in ("", *what.series.values(), *what.levels.values())]
    body = element("tbody", "", *(line(row, name) for row, name in what.rows.items()))
    table = element("table", "table", element("thead", "", element("tr", "", *heads)), body, **{"aria-label": unit})
    region = {"role": "region", "tabindex": "0", "aria-label": unit}
    summary = element("summary", "", "The same in numbers")
    return element("details", "explore-numbers", summary, element("div", "table-scroll", table, **region))


def choice_of(what: Explorer, ask: str, name: str) -> box:
    """A slider for mention rates, radio buttons for anything else."""
    first, last = next(iter(what.choices.values())), len(what.choices) - 1
    if any(rate(text) is not None for text in what.choices):
        slider = element(
            "input", "", type="range", min="0", max=str(last), step="1", value="0", **{"aria-valuetext": first}
        )
        said = element("output", "explore-choice", first)
        stops = (
            element("span", "", words.removeprefix("in "), style=f"--stop: {k}")
            for k, words in enumerate(what.choices.values())
        )
        scale = element("span", "explore-stops", *stops, style=f"--last: {last}", **{"aria-hidden": "true"})
        return element("label", "explore-slider", element("span", "explore-ask", ask, " ", said), slider, scale)
    buttons = [
        element(
            "label", "choice", element("input", "", type="radio", name=name, value=str(k), **checked(k == 0)), words
        )
        for k, words in enumerate(what.choices.values())
    ]
    return element("fieldset", "explore-radios", element("legend", "explore-ask", ask), *buttons)


def checked(yes: bool) -> dict[str, str]:
    """The attribute that ticks a box."""
    return {"checked": "checked"} if yes else {}


def legend(what: Explorer) -> box:
    """What the marks mean; each series can be switched off."""
    boxes = [
        element(
            "label",
            "choice",
            element("input", "", type="checkbox", value=str(k), checked="checked"),
            element("i", f"explore-key mark-{k}"),
            words,
        )
        for k, words in enumerate(what.series.values())
    ]
    lines = [
        element("span", "explore-line", element("i", f"explore-key level-{k}"), words)
        for k, words in enumerate(what.levels.values())
    ]
    return element("fieldset", "explore-legend", element("legend", "explore-ask", "Read by"), *boxes, *lines)


class Explore(SphinxDirective):
    """``{explore} 03/dose_response``; its body is the caption.

    ``:choose:``, ``:of:``, ``:by:``, ``:choices:``, ``:rows:``, ``:marks:`` and ``:levels:`` are those of
    :func:`explorer`, with ``value = words; value`` for names. ``:ask:`` is the question above the choice, ``:unit:`` what
    the axis shows.
    """

    required_arguments = 1
    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {
        **dict.fromkeys(("choose", "of", "by", "ask", "unit"), directives.unchanged_required),
        **dict.fromkeys(("choices", "rows", "marks", "levels"), names),
    }

    def run(self) -> list[nodes.Node]:
        figure_id, options = self.arguments[0], self.options
        sidecar = shown(self.env).figure(figure_id)
        try:
            if sidecar is None:
                raise ValueError("no such figure in the results")
            path = shown(self.env).figures / sidecar.chapter / f"{sidecar.name}.csv"
            with path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            what = explorer(rows, options["choose"], options["of"], options["by"], options)
            ask, unit = options["ask"], options["unit"]
        except (KeyError, ValueError) as error:
            logger.warning("explore %s: %s", figure_id, error, location=self.get_location())
            return []
        link = link_to(figure_label(figure_id), nodes.Text("the figure above"), self.env.docname)
        caption = element("div", "result-caption", *self.parse_content_to_nodes())
        scale = f" · profile {sidecar.profile}, {sidecar.seeds} seeds, {sidecar.device.upper()}"
        source = element("p", "result-source", "from the table behind ", link, scale)
        parts = choice_of(what, ask, figure_label(figure_id)), picture(what, unit), legend(what), table_of(what, unit)
        form = element("form", "", *parts, autocomplete="off", **{"aria-label": ask})
        data = json.dumps(what.data(), ensure_ascii=False, separators=(",", ":"))
        figure = element("figure", "explore", form, **{"data-choices": data})
        figure += element("figcaption", "", caption, source)
        return [figure]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx, after :mod:`sphinx_ext`, which knows the nodes used here."""
    app.add_directive("explore", Explore)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
