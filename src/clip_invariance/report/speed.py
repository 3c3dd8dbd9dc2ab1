"""What ``make bench`` measured: its record, and the Sphinx directives that print it on the methods page.

``{speed-table} ratios`` sets our code beside what one would use instead, ``{speed-table} growth`` says how cost grows and
what ten and a hundred times as much would take, ``{speed-table} chapters`` what each chapter took, and
``{speed-figure}`` draws the growth. The numbers lie in ``book/_data/speed.json``, one file, written by one run on one
machine; chapters' own times come from their results.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from docutils import nodes
from docutils.parsers.rst import directives
from pydantic import Field
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from clip_invariance.report.numbers import NO_BREAK_SPACE, number
from clip_invariance.report.results import Count, ProfileName, RunRecord, Seconds, Text, _read, _Record
from clip_invariance.report.sphinx_ext import box, element, shown

SPEED = Path("book/_data/speed.json")
FIGURE = "growth"
CORES = 2  # of the machine that budgets are meant for
TIMES = (10, 100)

Positive = Annotated[float, Field(gt=0)]
Share = Literal["seeds", "arms", "image side"]

logger = logging.getLogger(__name__)


class Ratio(_Record):
    """One task, done by us and by what one would use instead.

    Attributes:
        ours, theirs: medians over repeats, in ``unit``; less is better.
        ratio, low, high: theirs over ours, repeat by repeat: the median, the lowest and the highest.
        target: what the ratio should reach; None where nothing was promised.
    """

    task: Text
    instead: Text
    unit: Annotated[str, Field(max_length=20)]
    ours: Positive
    theirs: Positive
    ratio: Positive
    low: Positive
    high: Positive
    target: Positive | None

    @classmethod
    def of(
        cls, task: str, instead: str, unit: str, pairs: Sequence[tuple[float, float]], target: float | None
    ) -> Ratio:
        """From (ours, theirs) of each repeat."""
        ours, theirs = (_median([pair[side] for pair in pairs]) for side in (0, 1))
        ratios = [theirs / ours for ours, theirs in pairs]
        return cls(
            task=task,
            instead=instead,
            unit=unit,
            ours=ours,
            theirs=theirs,
            ratio=_median(ratios),
            low=min(ratios),
            high=max(ratios),
            target=target,
        )


class Point(_Record):
    """What so much of something took: processor time of the work and the largest memory of its process."""

    of: Share
    amount: Positive
    seconds: Positive
    memory_mb: Positive


class ChapterCost(_Record):
    """What a run of a chapter took: the sum over its units, those included that were not repeated."""

    chapter: Annotated[str, Field(pattern=r"^[0-9]{2}$")]
    profile: ProfileName
    seeds: Count
    units: Count
    compute_seconds: Seconds
    peak_memory_mb: Seconds

    @classmethod
    def of(cls, run: RunRecord) -> ChapterCost:
        """From the record of a run."""
        return cls(**{name: getattr(run, name) for name in cls.model_fields})


class Speed(_Record):
    """``speed.json``."""

    schema_version: Literal[1] = Field(alias="schema")
    device_name: Text
    cores: Count
    load: Annotated[float, Field(ge=0)]
    versions: dict[str, Text]
    commit: Text
    dirty: bool
    created: Text
    seconds: Seconds
    ratios: list[Ratio]
    growth: list[Point]
    chapters: list[ChapterCost]


def read_speed(project: Path) -> Speed | None:
    """The record; None if nothing was measured yet.

    Raises:
        ReportError: naming file and field, if it is malformed.
    """
    path = project / SPEED
    return _read(path, Speed) if path.is_file() else None


def exponent(points: Sequence[Point], what: Literal["seconds", "memory_mb"]) -> float:
    """Slope of log cost on log amount by least squares: 1 is proportional, 0 does not grow."""
    x = [math.log(point.amount) for point in points]
    y = [math.log(getattr(point, what)) for point in points]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((a - mean_x) ** 2 for a in x)
    return float(sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread)


def predicted(points: Sequence[Point], what: Literal["seconds", "memory_mb"], times: float) -> float:
    """Cost of ``times`` the most work that was measured; work is counted in trainings, or in pixels.

    A line through the two largest amounts, because fixed costs fade: a power fitted to small amounts would carry what
    every process costs at its start into the future. Not so the memory of more trainings. Each is forgotten when it is
    done, and what still grows are the buffers of the first ones, more slowly with every other: a power is the cautious
    reading, a line would have the hundredth training add as much as the second.
    """
    first, last = sorted(points, key=lambda point: point.amount)[-2:]
    before, now = float(getattr(first, what)), float(getattr(last, what))
    if what == "memory_mb" and last.of != "image side":
        return float(now * times ** max(0.0, exponent(points, what)))
    power = 2 if last.of == "image side" else 1
    low, high = first.amount**power, last.amount**power
    return max(now, now + (now - before) / (high - low) * (times - 1) * high)


def _median(values: Sequence[float]) -> float:
    ranked, middle = sorted(values), len(values) // 2
    return ranked[middle] if len(ranked) % 2 else (ranked[middle - 1] + ranked[middle]) / 2


# ---------------------------------------------------------------- on the page


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
    """Three digits that count: "0.0123", "1.23", "123", "1230".

    >>> three(0.01234), three(1.234), three(1234.5)
    ('0.0123', '1.23', '1234')
    """
    digits = max(0, 2 - math.floor(math.log10(x)))
    return number(x, digits)


def long(seconds: float) -> str:
    """A duration of any size: "3.1 s", "12 min", "2.4 h", "31 days".

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
