"""Sphinx extension: what surrounds the text of every page.

The line at the top that says which results are shown, the box at the foot that says how to cite them, and only those
scripts and style sheets that the page needs. :mod:`clip_invariance.site.build` tells in the setting
``clip_invariance_pages`` where the pages come from, see :class:`Origin`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from sphinx.application import Sphinx

from clip_invariance.results import Results, RunRecord
from clip_invariance.site.nodes import shown

PAGE_OF_CHAPTER = re.compile(r"^(?:book|notebooks)/(\d\d)_")
PROFILES_EXPLAINED = "book/methods"

#: Part of an asset's name (or of an inline script, in lower case) -> what the HTML of a page that needs it contains.
#: All other assets are on every page.
NEEDED_BY = {
    "mathjax": 'class="math',
    "mystnb": 'class="cell',
    "pygments": 'class="highlight',
    "copybutton": 'class="highlight',
    "clipboard": 'class="highlight',
    "explore": 'class="explore',
}


#: Roles that docutils gives the list of sources, of which the inner one is deprecated and so no item of a list.
BAD_ROLES = re.compile(r' role="(?:doc-biblioentry|list)"(?=[^<>]*>)')


class Origin(TypedDict):
    """Where the pages come from.

    ``own`` lists chapters that show a run of the reader's instead of what is published. Without ``title`` (and what goes
    with it) no page offers a citation. ``date`` is when the version was released, ``commit`` the last one that changed a
    page, "" where git does not tell. ``url`` is a permanent address, where there is one. ``pdf`` is the printed report
    beside ``index.html``.
    """

    own: list[str]
    title: NotRequired[str]
    author: NotRequired[str]
    institution: NotRequired[str]
    version: NotRequired[str]
    commit: NotRequired[str]
    date: NotRequired[str]
    url: NotRequired[str]
    pdf: NotRequired[str]


# ---------------------------------------------------------------- which results


def banner(results: Mapping[str, Results], own: list[str], explained: str = "", pdf: str = "") -> str:
    """One line of HTML for the top of a page that shows ``results``.

    ``explained`` is the address of what profiles are, ``pdf`` of the printed report; without them nothing is linked.
    """
    mine = {chapter: r for chapter, r in results.items() if chapter in own}
    if mine:
        chapters = ", ".join(str(int(chapter)) for chapter in mine)
        rest = " Other chapters show what is published." if len(mine) < len(results) else ""
        text = f"<strong>Your run</strong> · {scale(mine)} · chapter {chapters}.{rest}"
    elif results:
        text = f"<strong>Published results</strong> · {scale(results)}{smaller(results, explained)}"
    else:
        text = "<strong>No results yet</strong> · nothing is published so far"
    if pdf:
        text += f' · <a href="{html.escape(pdf)}">the report as PDF</a>'
    return f'<span class="source-banner">{text}</span>'


def scale(results: Mapping[str, Results]) -> str:
    """Profiles and devices of some results: "profile standard · CPU"."""
    profiles = sorted({r.run.profile for r in results.values()})
    devices = sorted({"GPU" if r.run.device == "cuda" else "CPU" for r in results.values()})
    return html.escape(f"profile {' and '.join(profiles)} · {' and '.join(devices)}")


def smaller(results: Mapping[str, Results], explained: str) -> str:
    """A remark unless everything shown is from the full profile."""
    full = [r.run.profile == "full" for r in results.values()]
    if all(full):
        return ""
    words = "not all from a full run" if any(full) else "not a full run"
    return " · " + (f'<a href="{html.escape(explained)}">{words}</a>' if explained else words)


# ---------------------------------------------------------------- how to cite


def escape_bibtex(text: str) -> str:
    """Text that LaTeX prints as it stands.

    >>> escape_bibtex("100 % of R&D")
    '100 \\\\% of R\\\\&D'
    """
    return re.sub(r"([&%$#_{}])", r"\\\1", text.replace("\\", ""))


def citation(origin: Origin, chapter_title: str = "", run: RunRecord | None = None) -> str:
    """BibTeX pinned to the version and a commit: for a chapter the one that computed its results, else the pages' last.

    Empty if the project does not say how to cite it.
    """
    if "title" not in origin:
        return ""
    commit = run.commit + " with uncommitted changes" * run.dirty if run else origin["commit"]
    of_commit = "results of" if run else "pages last changed in"
    parts = [
        f"chapter {int(run.chapter)}: {chapter_title}" if run else "",
        f"version {origin['version']}",
        f"{of_commit} commit {commit}" if commit and not commit.startswith("unknown") else "",
        f"profile {run.profile}, {run.seeds} seeds" if run else "",
    ]
    note = ", ".join(part for part in parts if part)
    fields = {
        "title": f"{{{escape_bibtex(origin['title'])}}}",
        "author": f"{{{{{escape_bibtex(origin['author'])}}}}}",
        "institution": f"{{{escape_bibtex(origin['institution'])}}}",
        "year": f"{{{(run.started if run else origin['date'])[:4]}}}",
        "type": "{Executable technical report}",
        "note": f"{{{escape_bibtex(note[0].upper() + note[1:])}}}",
        "url": f"{{{origin.get('url', '')}}}",
    }
    key = "captionsdefineinvariance" + (f":{int(run.chapter)}" if run else "")
    lines = [f"  {name:<11} = {value}" for name, value in fields.items() if value != "{}"]
    return f"@techreport{{{key},\n" + ",\n".join(lines) + "\n}"


# ---------------------------------------------------------------- every page


def surround(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Set the line at the top and the citation."""
    if app.builder.format != "html":
        return
    origin: Origin = app.config.clip_invariance_pages
    results = shown(app.env).results
    match = PAGE_OF_CHAPTER.match(pagename)
    chapter = match[1] if match else ""
    own_page = {chapter: results[chapter]} if chapter in results else results
    known = PROFILES_EXPLAINED in app.env.found_docs
    explained = context["pathto"](PROFILES_EXPLAINED).rstrip("#") + "#profiles" if known else ""
    pdf = context["pathto"](origin["pdf"], resource=True) if "pdf" in origin else ""
    context["theme_announcement"] = banner(own_page, origin["own"], explained, pdf)
    if pagename in app.env.found_docs:
        run = results[chapter].run if chapter in results else None
        title = chapter_title(app, chapter) if run else ""
        context["citation"] = citation(origin, title, run)


def lighten(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Leave out assets that this page does not need, and roles that mislead screen readers."""
    if app.builder.format != "html":
        return
    body = context.get("body", "")
    for kind in ("css_files", "script_files"):
        context[kind] = [asset for asset in context[kind] if needed(asset, body)]
    if body:
        context["body"] = BAD_ROLES.sub("", body)


def chapter_title(app: Sphinx, chapter: str) -> str:
    """The title of a chapter's page in the book, or of its notebook while there is no such page."""
    pages = [doc for doc in sorted(app.env.titles) if (match := PAGE_OF_CHAPTER.match(doc)) and match[1] == chapter]
    return str(app.env.titles[pages[0]].astext())


def needed(asset: Any, body: str) -> bool:
    """Whether a page with this HTML needs an asset."""
    inline = getattr(asset, "attributes", {}).get("body") or ""
    name = f"{getattr(asset, 'filename', asset) or ''} {inline}".lower()
    return all(mark in body for part, mark in NEEDED_BY.items() if part in name)


def read_no_files(app: Sphinx) -> None:
    """No page inserts files or raw markup by directives; none needs it."""
    app.env.settings.update(file_insertion_enabled=False, raw_enabled=False)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx: before the theme looks for empty templates, and after others have added their assets."""
    app.add_config_value("clip_invariance_pages", Origin(own=[]), "html")
    app.connect("builder-inited", read_no_files)
    app.connect("html-page-context", surround, priority=400)
    app.connect("html-page-context", lighten, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
