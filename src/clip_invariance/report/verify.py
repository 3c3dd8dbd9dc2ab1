"""A run compared with what is published, value by value: as numbers, as a page of the site and as a page of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from mdit_py_plugins.attrs import attrs_plugin

from clip_invariance.errors import ReportError, UsageError
from clip_invariance.report.numbers import bounded, in_full, number, with_unit
from clip_invariance.report.results import (
    PUBLISHED,
    Results,
    RunRecord,
    complete_folders,
    load_results,
    read_folders,
    run_folder,
    write_bytes,
    write_json,
)
from clip_invariance.report.words import plain, run_line, table

PAGE = "verify.html"


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


def verify_run(project: Path, profile: str, chapters: Mapping[str, object]) -> tuple[Comparison, Path]:
    """Compare the run at a profile with the published values of ``chapters``; see :func:`write`."""
    published = {c: r for c, r in published_chapters(project).items() if c in chapters}
    yours = read_folders(complete_folders(run_folder(project, profile) / "figures"))
    return write(run_folder(project, profile), published, {c: r for c, r in yours.items() if c in chapters})


def verify_folder(project: Path, folder: Path) -> tuple[Comparison, Path]:
    """Compare somebody's results (``folder`` or ``folder/figures`` with one folder per chapter); see :func:`write`.

    Raises:
        UsageError: if there are no results in it.
        ReportError: if a file in it is malformed, or nothing is published.
    """
    yours = read_folders(complete_folders(folder / "figures") or complete_folders(folder))
    if not yours:
        raise UsageError(f"{folder} holds no results: expected {folder / '01' / 'run.json'} or the like")
    profile = next(iter(yours.values())).run.profile
    return write(run_folder(project, profile), published_chapters(project), yours)


def write(folder: Path, published: Mapping[str, Results], yours: Mapping[str, Results]) -> tuple[Comparison, Path]:
    """Compare, and leave ``verify.json`` and a page in the folder. Returns both."""
    comparison = compare(published, yours)
    write_json(folder / "verify.json", comparison.as_json())
    write_bytes(folder / PAGE, as_html(rerun_page(published, yours)).encode())
    return comparison, folder / PAGE


# ---------------------------------------------------------------- as a page


def rerun_page(published: Mapping[str, Results], yours: Mapping[str, Results], explained: str = "") -> str:
    """Markdown: for each chapter of yours who ran what where, a summary, and one row per published value.

    Args:
        explained: address of where the tolerance is explained.
    """
    said = f" [Methods]({explained}) says where that comes from." if explained else ""
    text = [
        "# Your run beside the published one",
        "",
        f"A value counts as reproduced when it differs from the published one by no more than the tolerance.{said}",
        "",
        *in_all(compare({c: r for c, r in published.items() if c in yours}, yours)),
    ]
    for chapter, mine in yours.items():
        text += [f"## Chapter {int(chapter)}", ""]
        if chapter not in published:
            text += [f"Yours: {origin_line(mine.run)}", ""]
            text += ["Nothing is published for this chapter yet, so there is nothing to compare with.", ""]
            continue
        theirs = published[chapter]
        compared = compare({chapter: theirs}, {chapter: mine})
        missing = f", {compared.missing} missing" if compared.missing else ""
        text += [f"**{compared.within} of {len(compared.rows)} values within tolerance{missing}.**", ""]
        text += [f"- Published: {origin_line(theirs.run)}", f"- Yours: {origin_line(mine.run)}", ""]
        rows = [printed_row(row, theirs, mine) for row in compared.rows]
        text.append(table(["value", "published", "yours", "tolerance", "within?"], rows))
    for chapter in sorted(published.keys() - yours.keys()):
        text += [f"## Chapter {int(chapter)}", "", "Not in your run.", ""]
    return "\n".join(text)


def in_all(compared: Comparison) -> list[str]:
    """The outcome over all chapters that were run, and what to look at first; nothing where nothing can be compared."""
    if not compared.rows:
        return []
    outside = [f"`{row.name}`" for row in compared.rows if row.yours is not None and not row.ok]
    missing = f", {compared.missing} missing from your run" if compared.missing else ""
    text = [f"**In all: {compared.within} of {len(compared.rows)} values within tolerance{missing}.**", ""]
    return [*text, f"Outside: {', '.join(outside)}.", ""] if outside else text


def origin_line(run: RunRecord) -> str:
    """Profile, seeds, device, commit and versions of a run."""
    versions = ", ".join(f"{plain(name)} {plain(version)}" for name, version in sorted(run.versions.items()))
    return f"{run_line(run)}; {run.seeds} seeds; {versions}."


def printed_row(row: Row, published: Results, mine: Results) -> list[str]:
    """One row of the table: name, both values with their intervals, tolerance, verdict."""
    name = row.name.partition(".")[2]
    value, yours = published.values.values[name], mine.values.values.get(name)
    tolerance = with_unit(number(row.tolerance, value.digits + 1), value.unit)
    shown = [in_full(bounded(row.name, found)) if found else "" for found in (value, yours)]
    texts = *shown, tolerance
    outcome = "✓ yes" if row.ok else "missing" if yours is None else "✗ no"
    return [f"`{name}`", *(plain(text) for text in texts), outcome]


STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { padding: 0.3rem 0.9rem 0.3rem 0; border-bottom: 1px solid #8884; text-align: left; }
.cell-label { display: none; }
code { overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  table, tbody, tr, td { display: block; }
  thead, td:empty { display: none; }
  tr { padding: 0.5rem 0; border-bottom: 1px solid #8884; }
  td { padding: 0.1rem 0; border: 0; }
  .cell-label { display: inline-block; width: 6rem; opacity: 0.75; }
}
"""


def as_html(markdown: str) -> str:
    """A page that needs nothing but itself."""
    render = MarkdownIt("commonmark", {"html": False}).enable("table").use(attrs_plugin, spans=True).render
    body = render("\n".join(line for line in markdown.splitlines() if not line.startswith(":::")))
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Your run</title>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head><body>{body}</body></html>\n'
