"""What ``make bench`` measured, and what follows for larger runs.

The numbers lie in ``book/_data/speed.json``, one file, written by one run on one machine. :mod:`speed_pages` prints them.
Nothing of Sphinx is imported here: benchmarks measure their processes' memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import linear_regression, median
from typing import Annotated, Literal

from pydantic import Field

from clip_invariance.results import Count, ProfileName, Record, RunRecord, Seconds, Text, read_record

SPEED = Path("book/_data/speed.json")
FIGURE = "growth"

Positive = Annotated[float, Field(gt=0)]
Share = Literal["seeds", "arms", "image side"]


class Ratio(Record):
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
        ours, theirs = (median([pair[side] for pair in pairs]) for side in (0, 1))
        ratios = [theirs / ours for ours, theirs in pairs]
        return cls(
            task=task,
            instead=instead,
            unit=unit,
            ours=ours,
            theirs=theirs,
            ratio=median(ratios),
            low=min(ratios),
            high=max(ratios),
            target=target,
        )


class Point(Record):
    """What so much of something took: processor time of the work and the largest memory of its process."""

    of: Share
    amount: Positive
    seconds: Positive
    memory_mb: Positive


class ChapterCost(Record):
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


class Speed(Record):
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
    return read_record(path, Speed) if path.is_file() else None


def exponent(points: Sequence[Point], what: Literal["seconds", "memory_mb"]) -> float:
    """Slope of log cost on log amount by least squares: 1 is proportional, 0 does not grow."""
    x = [math.log(point.amount) for point in points]
    y = [math.log(getattr(point, what)) for point in points]
    return linear_regression(x, y).slope


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
