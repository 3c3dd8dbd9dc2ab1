"""The report as one PDF: the site's pages behind a title page, printed by a browser that is already there.

It is printed twice: the first time tells on which page each heading lands, the second time has these numbers in the table
of contents. What makes a document of pages is in ``book/_static/print.css`` and ``print.js``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pypdf
import yaml

from clip_invariance.errors import ReportError, UsageError
from clip_invariance.report.words import plain
from clip_invariance.results import PUBLISHED, swap_folder, write_bytes, write_json
from clip_invariance.rules.claims import CLAIMS_FILE
from clip_invariance.site.build import (
    CITATION,
    PDF,
    STAMP,
    Inputs,
    inputs_digest,
    origin,
    pdf_folder,
    printed,
    read_inputs,
    run_jupyter_book,
    stage,
)
from clip_invariance.site.seal import seal
from clip_invariance.site.sphinx_pages import banner

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PRINTING_SECONDS = 300
NUMBERS = "_static/pages.js"


def build_pdf(project: Path, source: str = PUBLISHED, claims_file: Path = CLAIMS_FILE) -> Path:
    """Print what :func:`site.build_site` shows, and return the file; nothing is done while its inputs are unchanged.

    Raises:
        UsageError: if there is no browser to print with, or ``source`` is unknown.
        ReportError: if results are missing or malformed, a page has a problem, or the browser fails.
    """
    project = project.resolve()
    browser = find_browser()
    inputs = read_inputs(project, source, claims_file)
    digest, folder = inputs_digest(inputs), pdf_folder(project)
    if done := printed(project, digest):
        return done
    staging = project / "_build" / "pdf-src"
    stage(inputs, staging)
    bind_pages(inputs, staging)
    html = run_jupyter_book(staging, "singlehtml")
    seal(html, staging)
    new = staging / "printed"
    new.mkdir()
    pages: Mapping[str, int] = {}
    for _ in range(2):
        write_bytes(html / NUMBERS, f"const PAGES = {json.dumps(pages)};\n".encode())
        print_page(browser, html / "index.html", new / PDF)
        pages = pages_of_headings(new / PDF)
    write_json(new / STAMP, {"inputs": digest})
    swap_folder(new, folder)
    return folder / PDF


def find_browser() -> str:
    """The browser that prints: ``$CHROMIUM``, or a Chromium or Chrome on the path.

    Raises:
        UsageError: saying what to install.
    """
    asked = os.environ.get("CHROMIUM")
    found = next((path for name in ([asked] if asked else BROWSERS) if (path := shutil.which(name))), None)
    if found is None:
        missing = f"$CHROMIUM names {asked}, which is no program" if asked else "no Chromium or Chrome was found"
        raise UsageError(
            f"{missing}: the PDF is printed by one. Install it (on Debian and Ubuntu: apt-get install chromium), or set "
            "CHROMIUM to where it is"
        )
    return found


# ---------------------------------------------------------------- one document


def bind_pages(inputs: Inputs, staging: Path) -> None:
    """Turn staged pages into one document: a title page in front, no notebooks, a style sheet for paper."""
    (staging / "index.md").write_text(title_page(inputs), encoding="utf-8")
    for page in (staging / "book").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        page.write_text(re.sub(r"\[([^\]]*)\]\(\.\./notebooks/[^)]*\)", r"\1", text), encoding="utf-8")
    front = staging / "book" / "index.md"
    front.write_text(re.sub(r"\A# .*", "# Introduction", front.read_text(encoding="utf-8")), encoding="utf-8")
    contents = yaml.safe_load((staging / "_toc.yml").read_text(encoding="utf-8"))
    first, *_ = contents["parts"]
    first["chapters"].insert(0, {"file": contents["root"]})
    contents["root"] = "index"
    for part in contents["parts"]:
        part["chapters"] = [{k: v for k, v in entry.items() if k != "sections"} for entry in part["chapters"]]
    (staging / "_toc.yml").write_text(yaml.safe_dump(contents, allow_unicode=True, sort_keys=False), encoding="utf-8")
    config = yaml.safe_load((staging / "_config.yml").read_text(encoding="utf-8"))
    options = config["sphinx"]["config"]
    options["html_css_files"] = [*options["html_css_files"], "print.css"]
    options["html_js_files"] = [["pages.js", {"defer": "defer"}], ["print.js", {"defer": "defer"}]]
    (staging / "_config.yml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    (staging / "book" / NUMBERS).write_text("const PAGES = {};\n")


def title_page(inputs: Inputs) -> str:
    """Title, authors, version, which results, and the abstract, from ``CITATION.cff``."""
    about = origin(inputs)
    path = inputs.project / CITATION
    abstract = yaml.safe_load(path.read_text(encoding="utf-8")).get("abstract", "") if path.is_file() else ""
    commit = about.get("commit", "")
    version = [f"Version {about['version']} of {about['date']}"] if "version" in about else []
    version += [f"pages last changed in commit {commit[:10]}"] if commit else []
    shown = re.sub(r"<[^>]*>", "", banner(inputs.results, about["own"]))
    lines = [f"# {plain(about.get('title', 'Captions Define Invariance'))}", "", ":::{container} title-facts"]
    lines += [f"{plain(fact)}\n" for fact in (about.get("author", ""), ", ".join(version), shown) if fact] + [":::", ""]
    if abstract:
        lines += [":::{container} abstract", f"**Abstract.** {plain(abstract)}", ":::", ""]
    return "\n".join(lines)


# ---------------------------------------------------------------- printing


def print_page(browser: str, page: Path, target: Path) -> None:
    """Print one page into a PDF.

    Raises:
        ReportError: with what the browser said last, if it leaves no file.
    """
    target.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        command += [f"--user-data-dir={profile}", "--virtual-time-budget=15000", "--no-pdf-header-footer"]
        command += [f"--print-to-pdf={target}", page.as_uri()]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PRINTING_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise ReportError(f"{browser} did not finish printing within {PRINTING_SECONDS} s: try again") from None
    if done.returncode or not target.is_file():
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise ReportError(f"{browser} printed no PDF; it said: {said}")


def pages_of_headings(pdf: Path) -> dict[str, int]:
    """The page of every heading that the table of contents links to, by the heading's id."""
    reader = pypdf.PdfReader(pdf)
    found = ((name, reader.get_destination_page_number(place)) for name, place in reader.named_destinations.items())
    return {name.removeprefix("/"): page + 1 for name, page in found if page is not None}
