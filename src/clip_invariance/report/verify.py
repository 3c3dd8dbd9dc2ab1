"""A run compared with what is published, value by value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from clip_invariance.errors import ReportError, UsageError
from clip_invariance.report.results import (
    PUBLISHED,
    Results,
    complete_folders,
    load_results,
    read_folders,
    run_folder,
    write_json,
)


@dataclass(frozen=True)
class Row:
    """One published value. ``yours`` is None where the run does not have it."""

    name: str
    published: float
    yours: float | None
    tolerance: float
    ok: bool


@dataclass(frozen=True)
class Comparison:
    """All published values of the compared chapters."""

    rows: tuple[Row, ...]

    @property
    def within(self) -> int:
        return sum(row.ok for row in self.rows)

    @property
    def missing(self) -> int:
        return sum(row.yours is None for row in self.rows)

    @property
    def outside(self) -> int:
        return len(self.rows) - self.within - self.missing

    def as_json(self) -> dict[str, object]:
        """{within, outside, missing, rows}, as ``verify --json`` prints and ``verify.json`` holds it."""
        rows = [asdict(row) for row in self.rows]
        return {"within": self.within, "outside": self.outside, "missing": self.missing, "rows": rows}


def compare(published: Mapping[str, Results], yours: Mapping[str, Results]) -> Comparison:
    """Hold every published value against the run's, within the published tolerance."""
    rows = []
    for chapter, results in published.items():
        own = yours[chapter].values.values if chapter in yours else {}
        for name, value in results.values.values.items():
            found = own[name].value if name in own else None
            ok = found is not None and abs(found - value.value) <= value.tolerance
            rows.append(Row(f"{chapter}.{name}", value.value, found, value.tolerance, ok))
    return Comparison(tuple(rows))


def published_chapters(project: Path) -> dict[str, Results]:
    """What there is to verify.

    Raises:
        ReportError: if nothing is published.
    """
    published = load_results(project, PUBLISHED)
    if not published:
        raise ReportError(f"nothing is published in {project / 'figures'} yet, so there is nothing to verify")
    return published


def verify_run(project: Path, profile: str, chapters: Mapping[str, object]) -> Comparison:
    """Compare the run at a profile with the published values of ``chapters``, and write ``verify.json`` beside it."""
    published = {c: r for c, r in published_chapters(project).items() if c in chapters}
    comparison = compare(published, read_folders(complete_folders(run_folder(project, profile) / "figures")))
    _write(project, profile, comparison)
    return comparison


def verify_folder(project: Path, folder: Path) -> Comparison:
    """Compare somebody's results (``folder`` or ``folder/figures`` with one folder per chapter).

    Raises:
        UsageError: if there are no results in it.
        ReportError: if a file in it is malformed, or nothing is published.
    """
    yours = read_folders(complete_folders(folder / "figures") or complete_folders(folder))
    if not yours:
        raise UsageError(f"{folder} holds no results: expected {folder / '01' / 'run.json'} or the like")
    comparison = compare(published_chapters(project), yours)
    _write(project, next(iter(yours.values())).run.profile, comparison)
    return comparison


def _write(project: Path, profile: str, comparison: Comparison) -> None:
    write_json(run_folder(project, profile) / "verify.json", comparison.as_json())
