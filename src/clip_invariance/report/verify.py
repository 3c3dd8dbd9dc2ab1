"""A run compared with what is published, value by value: as numbers, as a page of the site and as a page of its own."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from mdit_py_plugins.attrs import attrs_plugin

from clip_invariance.errors import ReportError, UsageError
from clip_invariance.profiles import PROFILES
from clip_invariance.report.consistency import check_values
from clip_invariance.report.numbers import bounded, in_full, number, with_unit
from clip_invariance.report.words import plain, run_line, table
from clip_invariance.results import (
    PUBLISHED,
    Results,
    RunRecord,
    check_files,
    complete_folders,
    load_results,
    read_folders,
    run_folder,
    write_bytes,
    write_json,
)
from clip_invariance.rules.claims import Claim, evaluate, load_claims

PAGE = "verify.html"


@dataclass(frozen=True)
class Row:
    """One published value.

    Attributes:
        yours: None where the run does not have it.
        due: whether the run should have it. A smaller profile than the published one leaves arms out.
        ok: whether it lies within the tolerance.
        vague: the published interval excludes 0 but the tolerance does not, so that agreement shows little.
        unit, digits: of the three numbers, and to how many decimals the published one is printed.
    """

    name: str
    published: float
    yours: float | None
    due: bool
    tolerance: float
    ok: bool
    vague: bool
    unit: str
    digits: int

    @property
    def outcome(self) -> str:
        if self.yours is None:
            return "missing" if self.due else "not measured"
        if not self.ok:
            return "✗ no"
        return "✓ yes, as would 0" if self.vague else "✓ yes"

    def printed(self) -> tuple[str, str, str]:
        """Published value, yours ("" if missing) and tolerance, with their unit."""
        tolerance = with_unit(number(self.tolerance, self.digits + 1), self.unit)
        yours = "" if self.yours is None else with_unit(number(self.yours, self.digits), self.unit)
        return with_unit(number(self.published, self.digits), self.unit), yours, tolerance


@dataclass(frozen=True)
class Ruling:
    """The verdict on one claim, as published and with the run's values in place of the published ones."""

    claim: str
    published: str
    yours: str

    def __str__(self) -> str:
        return f"{self.claim}: {self.published} as published, {self.yours} by yours"


@dataclass(frozen=True)
class Comparison:
    """All published values of the compared chapters, and the claims that they decide."""

    rows: tuple[Row, ...]
    rulings: tuple[Ruling, ...] = ()

    @property
    def within(self) -> int:
        return sum(row.ok for row in self.rows)

    @property
    def missing(self) -> int:
        return sum(row.yours is None and row.due for row in self.rows)

    @property
    def left_out(self) -> int:
        """How many values a smaller profile does not measure."""
        return sum(row.yours is None and not row.due for row in self.rows)

    @property
    def outside(self) -> int:
        return len(self.rows) - self.within - self.missing - self.left_out

    @property
    def measured(self) -> int:
        """How many values there are to compare with."""
        return len(self.rows) - self.left_out

    @property
    def vague(self) -> int:
        return sum(row.ok and row.vague for row in self.rows)

    def first_failed(self, most: int = 5) -> str:
        """Names of the values that are outside or missing, a few of them."""
        names = [row.name for row in self.rows if not row.ok and (row.due or row.yours is not None)]
        return ", ".join(names[:most]) + (", ..." if len(names) > most else "")

    def as_json(self) -> dict[str, object]:
        """What ``verify --json`` prints and ``verify.json`` holds: counts, rows, verdicts."""
        return {
            "within": self.within,
            "outside": self.outside,
            "missing": self.missing,
            "left_out": self.left_out,
            "rows": [asdict(row) for row in self.rows],
            "verdicts": [asdict(ruling) for ruling in self.rulings],
        }

    @property
    def judged(self) -> list[Ruling]:
        """The claims that the run can judge; a smaller profile may leave arms out that a rule needs."""
        return [ruling for ruling in self.rulings if ruling.yours != "not yet measured"]

    @property
    def changed(self) -> list[Ruling]:
        """Those that it judges differently."""
        return [ruling for ruling in self.judged if ruling.published != ruling.yours]

    def verdict_line(self) -> str:
        """How many claims come out the same; "" where no claim is decided."""
        if not self.rulings:
            return ""
        rest = len(self.rulings) - len(self.judged)
        line = f"{len(self.judged) - len(self.changed)} of {len(self.judged)} verdicts the same"
        return line + (f", {rest} not judged at this profile" if rest else "")


def compare(
    published: Mapping[str, Results],
    yours: Mapping[str, Results],
    chapters: Container[str],
    claims: Sequence[Claim] = (),
) -> Comparison:
    """Hold every published value of ``chapters`` against the run's, and judge the claims again that the run concerns.

    A claim is judged by the run's values, and by published ones of chapters that the run lacks.
    """
    rows = []
    for chapter, results in published.items():
        if chapter not in chapters:
            continue
        own = yours[chapter].values.values if chapter in yours else {}
        due = chapter not in yours or _rank(yours[chapter]) >= _rank(results)
        for name, value in results.values.values.items():
            # A smaller profile may know a number by the name of another, as the largest budget that it runs.
            known = name in own and (due or own[name].description == value.description)
            found = own[name].value if known else None
            ok = found is not None and abs(found - value.value) <= value.tolerance
            vague = not value.low <= 0 <= value.high and abs(value.value) <= value.tolerance
            judged = (value.value, found, due, value.tolerance, ok, vague)
            rows.append(Row(f"{chapter}.{name}", *judged, unit=value.unit, digits=value.digits))
    concerned = [c for c in claims if any(condition.chapter in yours for condition in c.conditions)]
    pairs = zip(evaluate(concerned, published), evaluate(concerned, {**published, **yours}), strict=True)
    rulings = [Ruling(a.claim.id, a.verdict, b.verdict) for a, b in pairs if a.verdict != "not yet measured"]
    return Comparison(tuple(rows), tuple(rulings))


def _rank(results: Results) -> int:
    return PROFILES[results.run.profile].rank


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
    yours = read_folders(complete_folders(run_folder(project, profile) / "figures"))
    yours = {c: r for c, r in yours.items() if c in chapters}
    published = published_chapters(project)
    _check(published, yours)
    return write(run_folder(project, profile), published, yours, chapters)


def verify_folder(project: Path, folder: Path) -> tuple[Comparison, Path]:
    """Compare somebody's results (``folder`` or ``folder/figures`` with one folder per chapter); see :func:`write`.

    Raises:
        UsageError: if there are no results in it.
        ReportError: if a file in it is malformed, missing or was changed after the run, a value contradicts its own
            table, or nothing is published.
    """
    yours = read_folders(complete_folders(folder / "figures") or complete_folders(folder))
    if not yours:
        raise UsageError(f"{folder} holds no results: expected {folder / '01' / 'run.json'} or the like")
    profile = next(iter(yours.values())).run.profile
    published = published_chapters(project)
    _check(published, yours)
    return write(run_folder(project, profile), published, yours, published)


def _check(published: Mapping[str, Results], yours: Mapping[str, Results]) -> None:
    """Compare nothing that is not what its run left."""
    for chapter, results in yours.items():
        check_files(results)
        if chapter in published:
            check_files(published[chapter])
            check_values(published[chapter], results)


def write(
    folder: Path, published: Mapping[str, Results], yours: Mapping[str, Results], chapters: Mapping[str, object]
) -> tuple[Comparison, Path]:
    """Compare what is published of ``chapters``, and leave ``verify.json`` and a page in the folder. Returns both."""
    claims = load_claims()
    comparison = compare(published, yours, chapters, claims)
    write_json(folder / "verify.json", comparison.as_json())
    asked = {chapter: results for chapter, results in published.items() if chapter in chapters}
    write_bytes(folder / PAGE, as_html(rerun_page(asked, yours, claims)).encode())
    return comparison, folder / PAGE


# ---------------------------------------------------------------- as a page


def rerun_page(
    published: Mapping[str, Results], yours: Mapping[str, Results], claims: Sequence[Claim], explained: str = ""
) -> str:
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
        *in_all(compare(published, yours, yours, claims)),
    ]
    for chapter, mine in yours.items():
        text += [f"## Chapter {int(chapter)}", ""]
        if chapter not in published:
            text += [f"Yours: {origin_line(mine.run)}", ""]
            text += ["Nothing is published for this chapter yet, so there is nothing to compare with.", ""]
            continue
        theirs = published[chapter]
        compared = compare(published, yours, {chapter})
        text += [f"**{score(compared)}.**", ""]
        text += [f"- Published: {origin_line(theirs.run)}", f"- Yours: {origin_line(mine.run)}", ""]
        rows = [printed_row(row, theirs, mine) for row in compared.rows]
        text.append(table(["value", "published", "yours", "tolerance", "within?"], rows))
    if lacking := sorted(published.keys() - yours.keys()):
        text += [f"Not in your run: chapter {', '.join(str(int(chapter)) for chapter in lacking)}.", ""]
    return "\n".join(text)


def score(compared: Comparison) -> str:
    """How many values agree, as "19 of 22 values within tolerance, 1 missing, 5 not measured at this profile"."""
    parts = [f"{compared.within} of {compared.measured} values within tolerance"]
    parts += [f"{compared.missing} missing from your run"] if compared.missing else []
    parts += [f"{compared.left_out} not measured at this profile"] if compared.left_out else []
    return ", ".join(parts)


def in_all(compared: Comparison) -> list[str]:
    """The outcome over all chapters that were run, and what to look at first; nothing where nothing can be compared."""
    if not compared.rows:
        return []
    outside = [f"`{row.name}`" for row in compared.rows if row.yours is not None and not row.ok]
    text = [f"**In all: {score(compared)}.**", ""]
    if outside:
        text += [f"Outside: {', '.join(outside)}.", ""]
    if compared.vague:
        text += [
            f"For {compared.vague} of those within, 0 would be within the tolerance too, although the published interval"
            " excludes it: so few seeds spread so much there that agreement shows little.",
            "",
        ]
    if compared.rulings:
        text += [
            f"**{compared.verdict_line()}.** Verdicts do not count here: a verdict turns when an interval moves across its"
            " threshold, and with fewer seeds intervals are wider.",
            "",
            *(f"- {ruling}" for ruling in compared.changed),
            "",
        ]
    return text


def origin_line(run: RunRecord) -> str:
    """Profile, seeds, device, commit and versions of a run."""
    versions = ", ".join(f"{plain(name)} {plain(version)}" for name, version in sorted(run.versions.items()))
    return f"{run_line(run)}; {run.seeds} seeds; {versions}."


def printed_row(row: Row, published: Results, mine: Results) -> list[str]:
    """One row of the table: what it is, both values with their intervals, tolerance, outcome."""
    name = row.name.partition(".")[2]
    value, yours = published.values.values[name], mine.values.values.get(name)
    shown = [plain(in_full(bounded(found))) if found else "" for found in (value, yours)]
    return [f"`{name}` {plain(value.description)}", *shown, plain(row.printed()[2]), row.outcome]


STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { padding: 0.3rem 0.9rem 0.3rem 0; border-bottom: 1px solid #8884; text-align: left; }
.cell-label { display: none; }
td:first-child { min-width: 22rem; }
code { overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  table, tbody, tr, td { display: block; }
  thead, td:empty { display: none; }
  tr { padding: 0.5rem 0; border-bottom: 1px solid #8884; }
  td, td:first-child { padding: 0.1rem 0; border: 0; min-width: 0; }
  .cell-label { display: inline-block; width: 6rem; opacity: 0.75; }
}
"""


def as_html(markdown: str) -> str:
    """A page that needs nothing but itself."""
    render = MarkdownIt("commonmark", {"html": False}).enable("table").use(attrs_plugin, spans=True).render
    body = render("\n".join(line for line in markdown.splitlines() if not line.startswith(":::")))
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    head = f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
    head += '<meta name="viewport" content="width=device-width"><title>Your run</title>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head><body>{body}</body></html>\n'
