"""Sphinx directives that print on the methods page what ``make bench`` measured (see :mod:`speed`).

``{speed-table} ratios`` sets our code beside what one would use instead, ``{speed-table} growth`` says how cost grows and
what ten and a hundred times as much would take, ``{speed-table} chapters`` what each chapter took, as its results say, and
``{speed-figure}`` draws the growth.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from clip_invariance.report.numbers import NO_BREAK_SPACE, number
from clip_invariance.report.speed import FIGURE, SPEED, ChapterCost, Speed, predicted, read_speed
from clip_invariance.site.nodes import box, element, shown

CORES = 2  # of the machine that budgets are meant for
TIMES = (10, 100)

logger = logging.getLogger(__name__)


class SpeedDirective(SphinxDirective):
    """Looks the record up; says so in one sentence if there is none."""

    def run(self) -> list[nodes.Node]:
        found = read_speed(Path(self.env.srcdir))
        if found is None:
            return [nodes.paragraph("", "", nodes.Text("Not measured yet: make bench fills this in."))]
        return self.show(found)

    def show(self, speed: Speed) -> list[nodes.Node]:
        raise NotImplementedError


class SpeedTable(SpeedDirective):
    """``{speed-table} ratios``, ``growth`` or ``chapters``."""

    required_arguments = 1

    def show(self, speed: Speed) -> list[nodes.Node]:
        kinds = {"ratios": ratio_rows, "growth": growth_rows, "chapters": self.chapter_rows}
        kind = self.arguments[0]
        if kind not in kinds:
            logger.warning("unknown table %r: choose %s", kind, ", ".join(kinds), location=self.get_location())
            return []
        header, *rows = kinds[kind](speed)
        head = element("thead", "", element("tr", "", *(element("th", "", name, scope="col") for name in header)))
        lines = [element("tr", "", *(_cell(text, first=i == 0) for i, text in enumerate(row))) for row in rows]
        table = element("table", "table", head, element("tbody", "", *lines))
        region = {"role": "region", "tabindex": "0", "aria-label": f"Table: {kind}"}
        parts: list[nodes.Node] = [element("div", "table-scroll", table, **region)]
        return [*parts, element("p", "result-source", measured_on(speed))] if kind != "chapters" else parts

    def chapter_rows(self, speed: Speed) -> list[list[str]]:
        """What each chapter took, published and otherwise known, and what more seeds would take."""
        published = [ChapterCost.of(results.run) for results in shown(self.env).results.values()]
        known = {(cost.chapter, cost.profile): cost for cost in [*speed.chapters, *published]}
        more = [f"{times} times the seeds" for times in TIMES]
        rows = [["chapter", "profile", "seeds", "units", f"on {CORES} cores", "memory of a process", *more]]
        for (chapter, profile), cost in sorted(known.items()):
            wall = cost.compute_seconds / CORES
            scale = [str(cost.seeds), str(cost.units)]
            memory = f"{cost.peak_memory_mb / 1000:.1f}{NO_BREAK_SPACE}GB"
            rows.append([str(int(chapter)), profile, *scale, long(wall), memory, *(long(k * wall) for k in TIMES)])
        return rows


def _cell(text: str, *, first: bool) -> box:
    """Numbers are aligned to the right, but not those in the first column, which name the row."""
    return element("td", "num" if text[:1].isdigit() and not first else "", text)


def ratio_rows(speed: Speed) -> list[list[str]]:
    """Header and one line per comparison."""
    rows = [["task", "instead of", "ours", "theirs", "ratio", "lowest to highest", "target"]]
    for r in speed.ratios:
        target = "" if r.target is None else f"{number(r.target, 1)}{' ✓' if r.ratio >= r.target else ' missed'}"
        spread = f"{number(r.low, 2)} to {number(r.high, 2)}"
        costs = [f"{three(x)}{NO_BREAK_SPACE}{r.unit}" for x in (r.ours, r.theirs)]
        rows.append([r.task, r.instead, *costs, number(r.ratio, 2), spread, target])
    return rows


def growth_rows(speed: Speed) -> list[list[str]]:
    """Header and, for each kind of growth, time and memory of the largest amount measured and of more."""
    rows = [["more", "cost", "measured up to", "there", *(f"{times} times the work" for times in TIMES)]]
    for of in dict.fromkeys(point.of for point in speed.growth):
        points = [point for point in speed.growth if point.of == of]
        last = max(points, key=lambda point: point.amount)
        unit = f"{NO_BREAK_SPACE}px" if of == "image side" else ""
        for name, what in (("time", "seconds"), ("memory", "memory_mb")):
            costs = [getattr(last, what), *(predicted(points, what, times) for times in TIMES)]  # type: ignore[arg-type]
            texts = [long(c) if what == "seconds" else f"{c / 1000:.1f}{NO_BREAK_SPACE}GB" for c in costs]
            rows.append([of, name, f"{last.amount:g}{unit}", *texts])
    return rows


def three(x: float) -> str:
    """As many decimals as make three digits that count, and none for larger numbers.

    >>> three(0.01234), three(1.234), three(1234.5)
    ('0.0123', '1.23', '1234')
    """
    digits = max(0, 2 - math.floor(math.log10(x)))
    return number(x, digits)


def long(seconds: float) -> str:
    """A duration of any size, with one decimal.

    >>> long(3.14).replace(NO_BREAK_SPACE, " "), long(200000).replace(NO_BREAK_SPACE, " ")
    ('3.1 s', '2.3 days')
    """
    for size, unit in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size or (unit == "min" and seconds >= 60):
            return f"{seconds / size:.1f}{NO_BREAK_SPACE}{unit}"
    return f"{seconds:.1f}{NO_BREAK_SPACE}s"


def measured_on(speed: Speed) -> str:
    """Where and when, in one line."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(speed.versions.items()))
    commit = f"commit {speed.commit[:7] or 'unknown'}{' with uncommitted changes' if speed.dirty else ''}"
    busy = f"{speed.load:.1f} programs running at the start"
    return f"{speed.device_name}, {speed.cores} cores, {busy}; {speed.created[:10]}; {commit}; {versions}"


class SpeedFigure(SpeedDirective):
    """``{speed-figure}``: the figure of growth, with its caption as the body."""

    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {"alt": directives.unchanged_required}

    def show(self, speed: Speed) -> list[nodes.Node]:
        folder = f"/{SPEED.parent}"
        pictures = [
            nodes.image(uri=f"{folder}/{FIGURE}{ending}.svg", alt=self.options["alt"], classes=[f"only-{theme}"])
            for theme, ending in (("light", ""), ("dark", ".dark"))
        ]
        caption = element("figcaption", "", element("div", "result-caption", *self.parse_content_to_nodes()))
        return [element("figure", "result result-figure", element("div", "result-picture", *pictures), caption)]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("speed-table", SpeedTable)
    app.add_directive("speed-figure", SpeedFigure)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}
