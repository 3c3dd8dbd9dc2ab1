"""Stage the pages, the results and the notebooks in ``_build/site-src`` and turn them into ``_build/site``.

Nothing is executed here and nothing outside ``_build`` is written. A build starts from an empty folder, because an
incremental one would not repeat the warnings of pages that did not change; it is skipped when no input has changed.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from clip_invariance.errors import ReportError
from clip_invariance.report import boundary
from clip_invariance.report.verify import rerun_page
from clip_invariance.report.words import NO_BREAK_HYPHEN, duration, machine, plain, run_line, short_commit, table
from clip_invariance.results import (
    NOTEBOOK,
    PUBLISHED,
    Results,
    check_files,
    complete_folders,
    notebooks,
    read_folders,
    results_folders,
    run_folder,
    swap_folder,
    write_json,
)
from clip_invariance.rules.claims import CLAIMS_FILE, load_claims
from clip_invariance.run.provenance import git
from clip_invariance.site.seal import seal
from clip_invariance.site.sphinx_pages import Origin

STAMP = "build.json"
PDF = "captions-define-invariance.pdf"
CITATION = "CITATION.cff"
#: Folders of the package that pages are made by.
MAKERS = ("rules", "report", "site")
PAGE_SOURCES = (
    *("_config.yml", "_toc.yml", CITATION, "book", "notebooks", "figures"),
    *(f"src/clip_invariance/{part}" for part in (*MAKERS, "chapters/*/README.md")),
)
TOOLS = ("jupyter-book", "sphinx", "sphinx-book-theme", "pydata-sphinx-theme", "myst-nb", "myst-parser")
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Inputs:
    """What one build is made from.

    Attributes:
        source: "published" or the profile of a run.
        results: what the pages show, by chapter.
        published: what is published, by chapter; the same unless ``source`` is a run.
    """

    project: Path
    source: str
    claims_file: Path
    results: dict[str, Results]
    published: dict[str, Results]

    @property
    def is_run(self) -> bool:
        return self.source != PUBLISHED

    def own(self) -> dict[str, Results]:
        """The chapters that come from the run itself, not from what is published."""
        mine = run_folder(self.project, self.source)
        return {c: r for c, r in self.results.items() if self.is_run and r.folder.is_relative_to(mine)}


def build_site(project: Path, source: str = PUBLISHED, claims_file: Path = CLAIMS_FILE) -> Path:
    """Build the site and return its folder, ``_build/site``, with ``index.html`` at its root.

    Args:
        source: "published", or a profile's name to show the results of that run.
        claims_file: the registered claims.

    Raises:
        UsageError: if ``source`` is unknown.
        ReportError: if results are missing or malformed, or a page has a problem; the last good site stays in place.
    """
    project = project.resolve()
    inputs = read_inputs(project, source, claims_file)
    site, staging = project / "_build" / "site", project / "_build" / "site-src"
    digest = inputs_digest(inputs)
    paper = printed(project, digest)
    stamp = {"source": source, "inputs": digest, "pdf": paper is not None}
    if (site / "index.html").is_file() and read_stamp(site) == stamp:
        return site
    stage(inputs, staging, paper)
    try:
        built = run_jupyter_book(staging)
        seal(built, staging)
    except ReportError as error:
        before = f"; {site} still holds the pages built before" if (site / "index.html").is_file() else ""
        raise ReportError(f"{error}{before}") from error
    if paper:
        shutil.copyfile(paper, built / PDF)
    write_json(built / STAMP, stamp)
    swap_folder(built, site)
    return site


def read_inputs(project: Path, source: str, claims_file: Path) -> Inputs:
    """Read the results to show, and check that no file was changed after its run."""
    results = read_folders(results_folders(project, source))
    for chapter in results.values():
        check_files(chapter)
    published = read_folders(complete_folders(project / "figures"))
    return Inputs(project, source, claims_file, results, published)


# ---------------------------------------------------------------- has anything changed?


def input_files(inputs: Inputs) -> Iterator[Path]:
    """Every file that a page is made from, in a fixed order."""
    project = inputs.project
    settings = (project / name for name in ("_config.yml", "_toc.yml", CITATION))
    yield from (path for path in (*settings, inputs.claims_file) if path.is_file())
    for part in MAKERS:
        yield from sorted((Path(__file__).parents[1] / part).glob("*.py"))
    yield from _rooms()
    for folder in (project / "book", project / "notebooks"):
        yield from (path for path in sorted(folder.rglob("*")) if path.is_file())
    for group in (inputs.results, inputs.published):
        for results in group.values():  # not whatever else lies there
            paths = (results.folder / name for name in sorted([*results.run.files, "run.json"]))
            yield from (path for path in paths if path.is_file() and not path.is_symlink())


def inputs_digest(inputs: Inputs) -> str:
    """SHA-256 over the names and bytes of all inputs, the commit they were changed in and the versions of the tools."""
    about = [inputs.source, last_change(inputs.project), *(f"{tool} {version(tool)}" for tool in TOOLS)]
    digest = hashlib.sha256(json.dumps(about).encode())
    for path in input_files(inputs):
        name = path.relative_to(inputs.project) if path.is_relative_to(inputs.project) else path.name
        digest.update(f"{name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def last_change(project: Path) -> str:
    """The commit that last changed what pages are made from; "" without git.

    Not simply the newest commit, for which a site would have to be built again although no page has changed.
    """

    commit = git(project, "log", "-1", "--format=%H", "--", *PAGE_SOURCES)
    if not commit:
        return ""
    return commit + (" with uncommitted changes" if git(project, "status", "--porcelain", "--", *PAGE_SOURCES) else "")


def read_stamp(folder: Path) -> dict[str, Any]:
    """What a site or a PDF was built from; empty if there is none."""
    try:
        stamp = json.loads((folder / STAMP).read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def pdf_folder(project: Path) -> Path:
    """Where :mod:`pdf` leaves the printed report."""
    return project / "_build" / "pdf"


def printed(project: Path, digest: str) -> Path | None:
    """The report as PDF, if it was printed from these inputs."""
    folder = pdf_folder(project)
    return folder / PDF if read_stamp(folder).get("inputs") == digest and (folder / PDF).is_file() else None


# ---------------------------------------------------------------- staging


def stage(inputs: Inputs, staging: Path, paper: Path | None = None) -> None:
    """Lay out what Jupyter Book reads in an empty folder; the pages link to ``paper``, the report as PDF."""
    shutil.rmtree(staging, ignore_errors=True)
    shutil.copytree(inputs.project / "book", staging / "book")
    for chapter, results in inputs.results.items():
        stage_results(results, staging / "figures" / chapter)
    (staging / "notebooks").mkdir()
    for chapter, notebook in notebooks(inputs.project).items():
        stage_notebook(inputs, chapter, notebook, staging / "notebooks" / notebook.name)
    pages = {"book/status": status_page(inputs), "book/rooms": rooms_page()}
    if inputs.is_run:
        claims = load_claims(inputs.claims_file)
        explained = "methods.md#checking-a-re-run"
        pages["book/your_run"] = rerun_page(inputs.published, inputs.own(), claims, explained)
    for name, text in pages.items():
        (staging / f"{name}.md").write_text(text, encoding="utf-8")
    stage_config(inputs, staging, list(pages), paper)


def rooms_page() -> str:
    """The READMEs of the chapters' folders, one after the other: each chapter's path through its files."""
    parts = [path.read_text(encoding="utf-8").strip() for path in _rooms()]
    lower = [re.sub(r"^(#+ )", r"#\1", part, flags=re.MULTILINE) for part in parts]
    intro = (
        "Each chapter's folder in `src/clip_invariance/chapters/` has a README, and these are they: which way leads through "
        "its files, and where to change what. What they have in common stands on [](change_an_experiment.md)."
    )
    return "\n\n".join(["# The chapters' code", intro, *lower]) + "\n"


def _rooms() -> list[Path]:
    return sorted((Path(__file__).parents[1] / "chapters").glob("c*/README.md"))


def stage_results(results: Results, target: Path) -> None:
    """Write what the boundary lets through, and nothing else that may lie in the run's folder."""
    target.mkdir(parents=True)
    for name, content in boundary.passed(results).items():
        (target / name).write_bytes(content)


def stage_config(inputs: Inputs, staging: Path, pages: list[str], paper: Path | None) -> None:
    """Copy configuration and contents, with the origin of the results and the generated pages added."""
    config = yaml.safe_load((inputs.project / "_config.yml").read_text(encoding="utf-8"))
    options = config["sphinx"]["config"]
    options["clip_invariance_claims"] = str(inputs.claims_file)
    options["clip_invariance_pages"] = dict(origin(inputs)) | ({"pdf": paper.name} if paper else {})
    (staging / "_config.yml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    contents = yaml.safe_load((inputs.project / "_toc.yml").read_text(encoding="utf-8"))
    contents["parts"][-1]["chapters"] += [{"file": page} for page in reversed(pages)]
    (staging / "_toc.yml").write_text(yaml.safe_dump(contents, allow_unicode=True, sort_keys=False), encoding="utf-8")


def origin(inputs: Inputs) -> Origin:
    """What the pages say about where they come from; how to cite them is read from ``CITATION.cff``."""
    found = Origin(own=list(inputs.own()))
    if not (inputs.project / CITATION).is_file():
        return found
    software = yaml.safe_load((inputs.project / CITATION).read_text(encoding="utf-8"))
    cited = software["preferred-citation"]
    found["title"] = cited["title"]
    found["author"] = " and ".join(author["name"] for author in cited["authors"])
    found["institution"] = cited["institution"]["name"]
    found["version"] = str(software["version"])
    found["date"] = str(software["date-released"])
    found["commit"] = last_change(inputs.project)
    if address := cited.get("url") or (f"https://doi.org/{cited['doi']}" if "doi" in cited else ""):
        found["url"] = address
    return found


def stage_notebook(inputs: Inputs, chapter: str, notebook: Path, target: Path) -> None:
    """Write the notebook with what its run left, or without output if it was never run, and a line that says which it is.

    Raises:
        ReportError: as :func:`boundary.notebook`.
    """
    results = inputs.results.get(chapter)
    executed = results if results and NOTEBOOK in results.run.files else None
    shown = boundary.notebook(notebook, executed)
    if executed:
        note = f"*Executed with profile {run_line(executed.run)}. The text is this report's, code and output are the run's.*"
        if shown.differing:
            which = f"{shown.differing} of {shown.cells}"
            note += f" *Code cells that differ from this report's notebook, shown as they ran: {which}.*"
    else:
        note = "*This notebook was not run for these pages, so it shows code without output.*"
    shown.notebook["cells"].insert(
        min(1, len(shown.notebook["cells"])),
        {"cell_type": "markdown", "id": "provenance", "metadata": {}, "source": note},
    )
    write_json(target, shown.notebook)


# ---------------------------------------------------------------- what the pages show, in words


def status_page(inputs: Inputs) -> str:
    """When, where and how long each notebook ran, and with what."""
    text = [
        "# Status of the notebooks",
        "",
        "What these pages were made from, notebook by notebook. *Run* is the time from start to end. *Compute* is the sum",
        "over all units of work (a unit is one training or one evaluation), including those taken from an earlier run;",
        "*reused* says how many were. Where all were, the run only drew the figures again, and *compute* says what the",
        "results took. With *n* seeds, these are the numbers 0 to *n* − 1. [Methods](methods.md#profiles) says what the",
        "profiles are.",
        "",
    ]
    header = ["notebook", "profile", "date, commit", "run", "compute", "reused", "device"]
    rows = []
    contents = (inputs.project / "_toc.yml").read_text(encoding="utf-8")
    for chapter, notebook in notebooks(inputs.project).items():
        has_page = f"notebooks/{notebook.stem}" in contents
        link = f"[{int(chapter)}](../notebooks/{notebook.name})" if has_page else str(int(chapter))
        if chapter not in inputs.results:
            rows.append([link, "not run", *[""] * (len(header) - 2)])
            continue
        run = inputs.results[chapter].run
        origin = f"{plain(run.started[:10].replace('-', NO_BREAK_HYPHEN))}, {plain(short_commit(run))}"
        # Older records count a unit that was asked for twice as reused twice.
        reused = min(run.reused, run.units)
        wall = duration(run.wall_seconds) + (", all reused" if run.units and reused == run.units else "")
        times = wall, duration(run.compute_seconds), f"{reused} of {run.units}"
        rows.append([link, f"{run.profile}, {run.seeds} seeds", origin, *times, plain(machine(run))])
    text.append(table(header, rows))
    if files := [f"[{int(chapter)}](../figures/{chapter}/values.json)" for chapter in inputs.results]:
        what = "a chapter's numbers, each with its interval, unit and tolerance"
        text.append(f"One file, `values.json`, holds all of {what}: chapter {', '.join(files)}.\n")
    runs = {chapter: results.run for chapter, results in inputs.results.items()}
    versions = {chapter: tuple(sorted(run.versions.items())) for chapter, run in runs.items()}
    for group in dict.fromkeys(versions.values()):
        those = [chapter for chapter, mine in versions.items() if mine == group]
        used = ", ".join(f"{plain(name)} {plain(number)}" for name, number in group)
        text.append(f"**{chapters_in_words(those)}** ran with {used}.\n")
    memory = [f"{run.peak_memory_mb / 1000:.1f} GB in chapter {int(chapter)}" for chapter, run in runs.items()]
    if memory:
        text.append(f"One process took up to {', '.join(memory)}.\n")
    return "\n".join(text)


def chapters_in_words(chapters: list[str]) -> str:
    """
    >>> chapters_in_words(["02"]), chapters_in_words(["01", "02", "05"])
    ('Chapter 2', 'Chapters 1, 2 and 5')
    """
    numbers = [str(int(chapter)) for chapter in chapters]
    many = f"Chapters {', '.join(numbers[:-1])} and {numbers[-1]}"
    return many if len(numbers) > 1 else f"Chapter {numbers[0]}"


# ---------------------------------------------------------------- Jupyter Book


def run_jupyter_book(staging: Path, builder: str = "html") -> Path:
    """Build the staged pages and return the folder with the HTML: one file per page, or one for all with "singlehtml".

    Raises:
        ReportError: with the first problem and where to find the others.
    """
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    command += ["build", "-W", "--keep-going", "--builder", builder, str(staging)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=staging, check=False)
    output = ANSI.sub("", done.stdout + done.stderr)
    log = staging / "build.log"
    log.write_text(output, encoding="utf-8")
    # Jupyter Book has been seen to return 0 after errors, so what it says and what it leaves count too.
    problems = [line for line in output.splitlines() if re.search(r"\b(WARNING|ERROR|CRITICAL|SEVERE):", line)]
    built = staging / "_build" / builder
    if problems or done.returncode != 0 or not (built / "index.html").is_file():
        first = problems[0].replace(f"{staging}/", "") if problems else "Jupyter Book stopped"
        raise ReportError(f"the site was not built, {max(len(problems), 1)} problem(s), first: {first} (all in {log})")
    return built
