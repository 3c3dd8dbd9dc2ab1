"""A complete run promoted into ``figures/``, where git keeps it and prose quotes it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from clip_invariance.errors import ReportError, UsageError
from clip_invariance.profiles import PROFILES, get_profile
from clip_invariance.report import boundary
from clip_invariance.report.words import plain
from clip_invariance.results import (
    NOTEBOOK,
    PUBLISHED,
    Results,
    Value,
    check_files,
    complete_folders,
    load_results,
    read_folders,
    run_folder,
    select_chapters,
    swap_folder,
    write_bytes,
)
from clip_invariance.rules.claims import load_claims, rules_digest
from clip_invariance.run.provenance import UNKNOWN, now

MAX_FIGURE_BYTES = 300_000
HEADING = "## Published results"
NO_NEWS = "values as before"


def publish(project: Path, chapters: Sequence[str], profile: str | None, force: bool) -> list[str]:
    """Promote the runs of the given chapters (none given: of all that were run) at ``profile``.

    Everything is checked before anything is copied.

    Args:
        profile: by default the largest one that was run.
        force: accept a run that is smaller than the published one, changed by options, or from an edited tree.

    Returns:
        One line per published chapter, as added to the changelog.

    Raises:
        UsageError: if a chapter or profile does not exist or was not run.
        ReportError: naming the first reason to refuse.
    """
    runs = _runs(project, chapters, profile)
    before = load_results(project, PUBLISHED)
    claims = load_claims()
    files = {}
    for chapter, results in runs.items():
        files[chapter] = _checked(project, results, rules_digest(claims, chapter))
        if not force and (objection := _objection(results, before.get(chapter))):
            raise ReportError(f"chapter {chapter}: {objection}, or publish it with --force")
    lines = []
    for chapter, results in runs.items():
        _write(files[chapter], project / "figures" / chapter)
        run = results.run
        edited = ", edited tree" if run.dirty else ""
        lines.append(
            f"- {now()[:10]}: chapter {chapter} at profile {run.profile} "
            f"({run.seeds} seeds, {plain(run.device_name)}, commit {run.commit[:10]}{edited}): "
            f"{_news(results, before.get(chapter))}"
        )
        _add_to_changelog(project / "CHANGELOG.md", lines[-1], chapter)
    return lines


def _runs(project: Path, chapters: Sequence[str], profile: str | None) -> dict[str, Results]:
    asked = select_chapters(project, chapters) if chapters else None
    names = [get_profile(profile).name] if profile is not None else sorted(PROFILES, key=lambda p: -PROFILES[p].rank)
    for name in names:
        found = complete_folders(run_folder(project, name) / "figures")
        if found and (asked is None or asked.keys() <= found.keys()):
            return read_folders({c: f for c, f in found.items() if asked is None or c in asked})
    what = f"chapter {', '.join(asked)}" if asked else "anything"
    where = f"at profile {profile}" if profile else "at any profile"
    raise UsageError(f"no complete run of {what} {where}: start one with `clip-invariance run`")


def _checked(project: Path, results: Results, rules: str) -> dict[str, bytes]:
    """The run's files by name, as they were when they passed; what is refused here no --force can mend."""
    run, folder = results.run, results.folder
    if run.profile == "smoke":
        raise ReportError(f"chapter {run.chapter}: the smoke profile is for tests and is not published")
    if run.rules != rules:
        raise ReportError(f"chapter {run.chapter}: the rules in claims.toml changed after this run: run it again")
    expected = {NOTEBOOK, "values.json", *(f"{name}{end}" for name in run.figures for end in (".csv", ".json"))}
    if lacking := sorted(expected - run.files.keys()):
        raise ReportError(f"{folder} lacks {', '.join(lacking)}: run the chapter with `clip-invariance run`")
    check_files(results)
    for name in run.files:
        if name.endswith(".svg") and (size := (folder / name).stat().st_size) > MAX_FIGURE_BYTES:
            raise ReportError(
                f"{folder / name} takes {size / 1000:.0f} kB, more than {MAX_FIGURE_BYTES // 1000}: rasterise its parts"
            )
    files = boundary.passed(results)
    boundary.check_publishable(select_chapters(project, [run.chapter])[run.chapter], results)
    return files | {NOTEBOOK: results.file(NOTEBOOK)}


def _objection(results: Results, before: Results | None) -> str:
    """Why a reader of the published page would be worse off; "" if not."""
    run, profile = results.run, PROFILES[results.run.profile]
    if run.commit == UNKNOWN:
        return (
            "its folder has no git repository of its own, so that nobody can tell which code ran: run it in a checkout"
        )
    if run.dirty:
        return "the code was edited but not committed when it ran: commit and run again"
    if run.seeds < profile.seeds:
        return f"it has {run.seeds} seeds instead of the {profile.seeds} of its profile: run it without --seeds"
    if extra := sorted(run.parameters.keys() - {"profile", "device", "seeds", "jobs"}):
        return f"it was changed by --set {', '.join(extra)}: run it without"
    if before and profile.rank < PROFILES[before.run.profile].rank:
        return f"profile {profile.name} is smaller than the published {before.run.profile}: run that one"
    return ""


def _write(files: Mapping[str, bytes], target: Path) -> None:
    new = target.with_name(f".{target.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        for name, content in files.items():
            write_bytes(new / name, content)
        swap_folder(new, target)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _news(results: Results, before: Results | None) -> str:
    """How many values differ from the published ones in what is printed of them."""
    if before is None:
        return "first results"
    old, new = before.values.values, results.values.values
    counts = {
        "changed": sum(_printed(new[name]) != _printed(old[name]) for name in new.keys() & old.keys()),
        "new": len(new.keys() - old.keys()),
        "gone": len(old.keys() - new.keys()),
    }
    return ", ".join(f"{n} {what}" for what, n in counts.items() if n) or NO_NEWS


def _printed(value: Value) -> list[float]:
    return [round(number, value.digits) for number in (value.value, value.low, value.high)]


def _add_to_changelog(path: Path, line: str, chapter: str) -> None:
    """Put the line first under its heading, and drop older ones of its chapter that told nothing new."""
    text = path.read_text(encoding="utf-8") if path.is_file() else "# Changelog\n"
    if HEADING not in text:
        text = f"{text.rstrip()}\n\n{HEADING}\n"
    head, _, rest = text.partition(HEADING)
    stale = f": chapter {chapter} at profile "
    rest = "".join(
        old
        for old in rest.lstrip("\n").splitlines(keepends=True)
        if not (stale in old and old.endswith(f": {NO_NEWS}\n"))
    )
    gap = "\n" if rest and not rest.startswith("- ") else ""
    write_bytes(path, f"{head}{HEADING}\n\n{line}\n{gap}{rest}".encode())
