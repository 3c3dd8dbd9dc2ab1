"""What a notebook talks to: run units, save figures, tables and values, finish."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import math
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import joblib
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from clip_invariance.errors import ReportError, UsageError
from clip_invariance.marks.spec import FigureSpec
from clip_invariance.marks.style import Theme, style
from clip_invariance.measure.statistics import Estimate, Kind, NamedValue, digits_of
from clip_invariance.profiles import get_profile
from clip_invariance.results import (
    ChapterId,
    ChapterValues,
    RunRecord,
    Sidecar,
    Value,
    checked,
    find_project,
    notebooks,
    run_folder,
    sha256,
    store_folder,
    to_json,
    write_bytes,
    write_json,
)
from clip_invariance.rules.claims import load_claims, rules_digest
from clip_invariance.run import provenance
from clip_invariance.run.progress import for_chapter
from clip_invariance.run.store import SCHEDULER, Entry, Store, run_units
from clip_invariance.units import Unit, label

#: Seeds of the smallest run that anyone would compare with the published one.
RERUN_SEEDS = 3
PNG_DPI = 144
#: Attributes of an SVG file that hold coordinates, and the decimals that nobody can see.
_COORDINATES = re.compile(rb' (?:d|x|y)="[^"]*"|translate\([^)]*\)')
_DECIMALS = re.compile(rb"(\.\d\d)\d+")
_INDENT = re.compile(rb">\n +<")


@dataclass(frozen=True)
class Picture:
    """A saved figure; Jupyter shows it as an image with its alt text."""

    title: str
    alt: str
    png: bytes

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.png).decode()
        return f'<img src="data:image/png;base64,{data}" alt="{html.escape(self.alt)}" style="max-width: 100%">'

    def __repr__(self) -> str:
        return f"{self.title}: {self.alt}"


class Chapter:
    """One run of one chapter.

    Attributes:
        profile: the :class:`~clip_invariance.profiles.Profile` that scales the run.
        seeds: how many seeds each arm gets.
        device: "cpu" or "cuda".
        output: the results folder.

    Args:
        chapter: two digits.
        profile: a profile's name.
        device: "auto", "cpu" or "cuda".
        seeds: 0 for as many as the profile says.
        jobs: processes on CPU; 0 for one per core.
        output: the results folder, "" for ``_build/run/<profile>/figures/<chapter>``; relative to the project.

    Raises:
        UsageError: if an argument is wrong or the project is not found.
    """

    def __init__(
        self, chapter: str, *, profile: str, device: str = "auto", seeds: int = 0, jobs: int = 0, output: str = ""
    ) -> None:
        if seeds < 0 or seeds == 1:
            raise UsageError(f"seeds={seeds}: an interval needs at least two (0 for as many as the profile says)")
        if jobs < 0:
            raise UsageError(f"jobs={jobs}: give a number of processes, or 0 for one per core")
        self.project = find_project()
        self.chapter: ChapterId = chapter
        if chapter not in notebooks(self.project):
            raise UsageError(f"there is no chapter {chapter!r}: choose one of {', '.join(notebooks(self.project))}")
        self.profile = get_profile(profile)
        self.seeds = seeds or self.profile.seeds
        self.device = provenance.resolve_device(device)
        self.jobs = jobs or joblib.cpu_count()
        self.output = self.project / (output or run_folder(self.project, profile) / "figures" / chapter)
        self.output.mkdir(parents=True, exist_ok=True)
        (self.output / "run.json").unlink(missing_ok=True)  # incomplete until finish()
        self._parameters = {"profile": profile, "device": device, "seeds": seeds, "jobs": jobs}
        self._versions = provenance.versions()
        self._environment = provenance.environment()
        self._commit, self._dirty = provenance.commit(self.project)
        self._rules = rules_digest(load_claims(), chapter)
        self._started, self._clock = provenance.now(), time.perf_counter()
        self._progress = for_chapter(chapter, self.output)
        self._entries: dict[str, Entry] = {}
        self._computed = 0
        self._figures: list[str] = []
        self._values: dict[str, Value] = {}
        self._written: list[str] = []

    def compute(self, units: Sequence[Unit]) -> int:
        """Run everything that this chapter will need, and keep it for :meth:`run`; returns how many units that are.

        Nothing waits for drawing then, and in a run of several chapters the next one starts when this is done. One seed
        comes after the other: a process draws the pictures of a seed once.

        Raises:
            UsageError, ReportError: as :func:`store.run_units`.
        """
        self._entries_of(sorted(units, key=lambda unit: int(unit.params.get("seed", 0))))
        self._progress.computed()
        return len(units)

    def run(self, units: Sequence[Unit]) -> pd.DataFrame:
        """Run the units, or take them from the store.

        They run here, or on the Dask cluster whose scheduler ``$CLIP_INVARIANCE_SCHEDULER`` names.

        Returns:
            Their tables one after the other in the order of ``units``, parameters as the first columns (lists as
            JSON text). The same units give the same table, whatever the number of jobs.

        Raises:
            UsageError, ReportError: as :func:`store.run_units`.
        """
        entries = self._entries_of(units)
        tables = [_with_params(unit, entry.table) for unit, entry in zip(units, entries, strict=True)]
        names = list(dict.fromkeys(name for unit in units for name in unit.params))
        table = pd.concat(tables, ignore_index=True)
        return table[names + [column for column in table.columns if column not in names]]

    def _entries_of(self, units: Sequence[Unit]) -> list[Entry]:
        if not units:
            raise ReportError(f"chapter {self.chapter}: there is no unit to run")
        store = Store(store_folder(self.project))
        entries, needed, reused = run_units(
            units, store, self._environment, self.jobs, self._progress, os.environ.get(SCHEDULER, "")
        )
        found = {entry.key: entry for entry in [*entries, *needed]}
        self._computed += len(found) - reused  # a unit that a chapter asks for twice is reused once
        self._entries |= {key: entry.without_rows() for key, entry in found.items()}
        return entries

    def figure(
        self,
        name: str,
        draw: Callable[[pd.DataFrame], Figure],
        data: pd.DataFrame,
        *,
        title: str,
        alt: str,
        experiment: str,
        attribution: Sequence[str] = (),
        values: Kind | None = None,
    ) -> Picture:
        """Draw ``data`` for light and for dark pages, and save both with the data and where they came from.

        Args:
            name: file name without suffix, ``[a-z0-9_]+``.
            alt: what a reader who cannot see the figure should know.
            experiment: what was done, in a sentence.
            attribution: credits that must stand beside the figure.
            values: what kind of number the data's column ``value`` holds, so that pages can quote it; None where there are
                several, which a column ``kind`` may tell apart.

        Raises:
            ReportError: if the name is taken or not a file name.
        """
        light, png = _draw(draw, data, "light", "svg", "png")
        (dark,) = _draw(draw, data, "dark", "svg")
        self._save("figure", name, data, title, alt, experiment, attribution, (light, dark), values)
        return Picture(title, alt, png)

    def show(self, spec: FigureSpec, data: pd.DataFrame) -> Picture:
        """Draw and save a figure that the chapter has declared; see :meth:`figure`."""
        return self.figure(
            spec.name,
            spec.draw,
            data,
            title=spec.title,
            alt=spec.describe(data),
            experiment=spec.experiment,
            attribution=spec.attribution,
            values=spec.values,
        )

    def table(
        self,
        name: str,
        data: pd.DataFrame,
        *,
        title: str,
        experiment: str,
        alt: str = "",
        attribution: Sequence[str] = (),
        values: Kind | None = None,
    ) -> pd.DataFrame:
        """Save a result that is shown as a table; the arguments are those of :meth:`figure`. Returns ``data``."""
        self._save("table", name, data, title, alt, experiment, attribution, None, values)
        return data

    def value(
        self,
        name: str,
        estimate: Estimate,
        *,
        unit: str,
        figure: str,
        digits: int | None = None,
        description: str = "",
        kind: Kind = "number",
    ) -> None:
        """Save a number that prose may quote as ``{value}`<chapter>.<name>```.

        Args:
            unit: "points", "%", "x"...; "" for none. The estimate is already in it.
            figure: the figure or table that shows it.
            digits: decimals to print; by default as many as the interval's first digit.
            kind: what the number is.

        Raises:
            ReportError: if the name is taken or a number is not finite.
        """
        where = f"value {self.chapter}.{name}"
        if name in self._values:
            raise ReportError(f"{where} is saved twice")
        if digits is None:
            digits = digits_of((estimate.high - estimate.low) / 2)
        numbers = {field: float(getattr(estimate, field)) for field in ("value", "low", "high", "spread")}
        tolerance = _tolerance(numbers["spread"], estimate.n, digits)
        value = checked(
            Value,
            where,
            **numbers,
            n=int(estimate.n),
            unit=unit,
            digits=digits,
            tolerance=tolerance,
            figure=figure,
            description=description,
            samples=estimate.samples,
            kind=kind,
        )
        self._checked_values(where, {name: value})
        self._values[name] = value

    def values(self, rows: Sequence[NamedValue]) -> pd.DataFrame:
        """Save many values (see :meth:`value`) and show them as a table: what was estimated, with its interval."""
        for row in rows:
            self.value(
                row.name,
                row.estimate,
                unit=row.unit,
                figure=row.figure,
                digits=row.digits,
                description=row.description,
                kind=row.kind,
            )
        columns = ["value", "low", "high", "n", "unit", "description"]
        return pd.DataFrame({row.name: self._values[row.name].model_dump() for row in rows}).T[columns]

    def finish(self) -> None:
        """Write ``values.json`` and, last, ``run.json``.

        Raises:
            ReportError: if a value names a figure that was not saved.
        """
        for name, value in self._values.items():
            if value.figure and value.figure not in self._figures:
                raise ReportError(f"value {self.chapter}.{name} names the figure {value.figure!r}, which was not saved")
        values = self._checked_values(f"values of chapter {self.chapter}", self._values)
        self._write("values.json", to_json(values))
        files = {file: sha256(self.output / file) for file in self._written}
        record = checked(
            RunRecord,
            f"run of chapter {self.chapter}",
            schema=1,
            **self._origin(),
            rules=self._rules,
            parameters=self._parameters,
            started=self._started,
            reused=len(self._entries) - self._computed,
            figures=self._figures,
            files=files,
        )
        write_json(self.output / "run.json", record)

    def _checked_values(self, where: str, values: dict[str, Value]) -> ChapterValues:
        return checked(ChapterValues, where, schema=1, chapter=self.chapter, profile=self.profile.name, values=values)

    def _write(self, file: str, content: bytes) -> None:
        write_bytes(self.output / file, content)
        self._written.append(file)

    def _save(
        self,
        kind: str,
        name: str,
        data: pd.DataFrame,
        title: str,
        alt: str,
        experiment: str,
        attribution: Sequence[str],
        svgs: tuple[bytes, bytes] | None,
        values: Kind | None,
    ) -> None:
        where = f"{kind} {self.chapter}/{name}"
        if name in self._figures:
            raise ReportError(f"{where} is saved twice")
        width, height = _size_px(svgs[0]) if svgs else (0, 0)
        sidecar = checked(
            Sidecar,
            where,
            **self._origin(),
            name=name,
            title=title,
            alt=alt,
            experiment=experiment,
            kind=kind,
            key=hashlib.sha256("".join(sorted(self._entries)).encode()).hexdigest(),
            width_px=width,
            height_px=height,
            created=provenance.now(),
            attribution=list(attribution),
            values=values,
        )
        if svgs:
            self._write(f"{name}.svg", svgs[0])
            self._write(f"{name}.dark.svg", svgs[1])
        self._write(f"{name}.csv", data.to_csv(index=False, lineterminator="\n").encode())
        self._write(f"{name}.json", to_json(sidecar))
        self._figures.append(name)

    def _origin(self) -> dict[str, object]:
        """What sidecars and run record share; counts and times are those of the chapter so far."""
        entries = self._entries.values()
        return {
            "chapter": self.chapter,
            "notebook": f"notebooks/{notebooks(self.project)[self.chapter].name}",
            "profile": self.profile.name,
            "seeds": self.seeds,
            "device": self.device,
            # Units of the store may have been carried here from other machines.
            "device_name": ", ".join(sorted({e.device_name for e in entries if e.device_name}))
            or provenance.device_name(self.device),
            "versions": self._versions,
            "commit": self._commit,
            "dirty": self._dirty,
            "units": len(entries),
            "compute_seconds": round(sum(entry.seconds for entry in entries), 3),
            "wall_seconds": round(time.perf_counter() - self._clock, 3),
            "peak_memory_mb": max([provenance.peak_memory_mb(), *(entry.peak_memory_mb for entry in entries)]),
        }


def _draw(draw: Callable[[pd.DataFrame], Figure], data: pd.DataFrame, theme: Theme, *suffixes: str) -> list[bytes]:
    """The figure as "svg" (the same bytes for the same data) or as "png" on the page's colour, or as both."""
    saved = []
    with style(theme) as ink:
        figure = draw(data.copy())  # a copy: every drawing must see what is saved
        how: dict[str, dict[str, Any]] = {
            "svg": {"metadata": {"Date": None, "Creator": None}},
            "png": {"dpi": PNG_DPI, "facecolor": ink.page},
        }
        for suffix in suffixes:
            file = io.BytesIO()
            figure.savefig(file, format=suffix, **how[suffix])
            saved.append(shortened(file.getvalue()) if suffix == "svg" else file.getvalue())
        plt.close(figure)
    return saved


def shortened(svg: bytes) -> bytes:
    """The same picture with two decimals instead of six, as nobody sees a thousandth of a point, and without indentation."""
    return _COORDINATES.sub(lambda found: _DECIMALS.sub(rb"\1", found[0]), _INDENT.sub(b">\n<", svg))


def _size_px(svg: bytes) -> tuple[int, int]:
    """Width and height in CSS pixels; matplotlib writes points, 1/72 inch, where CSS has 1/96."""
    root = ElementTree.fromstring(svg)
    width, height = (float(root.attrib[side].removesuffix("pt")) for side in ("width", "height"))
    return round(width * 96 / 72), round(height * 96 / 72)


def _with_params(unit: Unit, table: pd.DataFrame) -> pd.DataFrame:
    """The unit's table with its parameters as first columns; one that it repeats must agree."""
    params = {k: json.dumps(v) if isinstance(v, list | dict | tuple) else label(v) for k, v in unit.params.items()}
    for name in params.keys() & set(table.columns):
        if not (table[name] == params[name]).all():
            raise ReportError(f"{unit.name} returns a column {name!r} that contradicts its parameter of that name")
    rest = table.drop(columns=list(params), errors="ignore")
    return pd.concat([pd.DataFrame([params] * len(rest), index=rest.index), rest], axis="columns")


def _tolerance(spread: float, n: int, digits: int) -> float:
    """How far the mean of a re-run with three seeds may lie from this mean of ``n``.

    The difference of two such means has standard deviation ``spread * sqrt(1/n + 1/3)``; 1 re-run in 1000 of an
    unchanged result falls outside by chance. Never less than what rounding to ``digits`` hides.
    """
    rounding = 0.5 * 10.0**-digits
    if n < 2:
        return rounding
    quantile = float(stats.t.ppf(0.9995, n - 1))
    return max(quantile * spread * math.sqrt(1 / n + 1 / RERUN_SEEDS), rounding)
