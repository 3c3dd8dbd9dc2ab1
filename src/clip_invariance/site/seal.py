"""The last look at a built site: only files that were staged, only scripts that are known, and a policy that says so.

Nothing foreign should get this far (see :mod:`clip_invariance.report.boundary`). What does is refused here, or does nothing:
every page carries a Content-Security-Policy by which a browser runs no script but those listed and asks no other host, also
when the page is opened straight from its folder.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from clip_invariance.errors import ReportError, printable

#: The theme's scripts that stand in its pages, by SHA-256. A new version of a theme may bring others: read them first.
THEME_SCRIPTS = {
    "P1Gd/Wqjqq8uduID7MOciZi3jIWvAuyCldpRMjsiEjw=",  # light or dark, before anything is drawn
    "lsDjnafHQ68zUxMui1IA598rGFWlv6Wsb1Z+wXuEnts=",  # the search field,
    "LF96sWcXccMzvAMeWDn9wNCYHg+MmQlOUvamZq9ACqY=",  # its button,
    "ymVQCFLrz1wZEVyK7Hz4xFmKL+n6/my1jt/wFORn88g=",  # and the switch between light and dark, for those with JavaScript
    "mNyD6WQ4vKGmtbf2Mk6RMjMo7k6Ib4wzc6b1fvYgVHE=",  # the cursor into the field of the search page
}
#: Sphinx's own: the name of the page, and the settings of MathJax, which are JSON.
PAGE_NAME = re.compile(r"DOCUMENTATION_OPTIONS\.pagename = '[\w/]+';")
MATHJAX = "window.MathJax = "
#: The theme's only handler that stands in a tag; ``site.js`` does the same.
PRINT = ' onclick="window.print()"'

CHARSET = '<meta charset="utf-8" />'
POLICY = (
    "default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'"
)
FRONT = (
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8" />'
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'" />'
    '<meta http-equiv="Refresh" content="0; url=book/index.html" /><title>Captions Define Invariance</title></head>'
    '<body><a href="book/index.html">Captions Define Invariance</a></body></html>\n'
)
REFRESH = '<meta http-equiv="Refresh" content="0; url=book/index.html" />'

#: What a page can do without.
FORBIDDEN = {"iframe", "frame", "object", "embed", "applet", "base", "portal", "audio", "video", "source", "track"}
ADDRESSES = {"src", "href", "action", "formaction", "data", "poster", "srcset", "background", "ping", "xlink:href"}
#: What a click on a link may do; everything else is loaded from the site itself.
SCHEMES = re.compile(r"(?:https?:|mailto:)", re.IGNORECASE)
LOADED = re.compile(r"(?![a-zA-Z][\w+.\-]*:|[/\\])[^\\\x00-\x20]*")
SITE_FILES = {
    *[".css", ".gif", ".ico", ".js", ".json", ".map", ".mo", ".po", ".png", ".svg", ".ttf", ".txt", ".woff", ".woff2"],
    "",
}


class Page(HTMLParser):
    """Reads a page as a browser does, and notes scripts that stand in it and everything that it should not do."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.scripts: list[str] = []
        self.problems: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in FORBIDDEN:
            self.problems.append(f"the element {tag}")
        if tag == "meta" and "http-equiv" in given:
            self.problems.append(f"the instruction {given['http-equiv']}")
        for name, value in given.items():
            if name.startswith("on"):
                self.problems.append(f"the handler {name} = {value}")
            elif name in ADDRESSES and not allowed_address(tag, name, value):
                self.problems.append(f"{tag} with {name} = {value}")
        self._inside = tag == "script"
        if self._inside and "src" not in given:
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self._inside and self.scripts:
            self.scripts[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._inside = False


def allowed_address(tag: str, name: str, value: str) -> bool:
    """Whether a page may name this address there: links lead anywhere on the web, all else stays in the site."""
    if tag == "img" and name == "src" and value.startswith("data:image/png;base64,"):
        return True
    if tag == "a" and name == "href" and SCHEMES.match(value):
        return True
    return name != "ping" and LOADED.fullmatch(value.strip()) is not None


def known_script(text: str) -> bool:
    """Whether a script that stands in a page is the theme's or Sphinx's."""
    if hashed(text) in THEME_SCRIPTS or PAGE_NAME.fullmatch(text):
        return True
    try:
        return text.startswith(MATHJAX) and isinstance(json.loads(text.removeprefix(MATHJAX)), dict)
    except ValueError:
        return False


def hashed(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def sealed(text: str, where: str) -> str:
    """A page with its policy.

    Raises:
        ReportError: if there is anything in it that acts and is not known.
    """
    text = text.replace(PRINT, "")
    page = Page()
    page.feed(text)
    page.close()
    page.problems += [f"the script {script.strip()}" for script in page.scripts if not known_script(script)]
    if page.problems:
        raise ReportError(f"{where} was not built: it would contain {printable(page.problems[0], 120)}")
    if text.count(CHARSET) < 1:
        raise ReportError(f"{where} was not built: it does not name its encoding")
    scripts = " ".join(["'self'", *(f"'sha256-{digest}'" for digest in sorted({hashed(s) for s in page.scripts}))])
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY.format(scripts=scripts)}" />'
    return text.replace(CHARSET, CHARSET + policy, 1)


def seal(site: Path, staging: Path) -> None:
    """Give every page its policy, and look at every file of the site.

    Args:
        site: what Jupyter Book left.
        staging: what it was made from.

    Raises:
        ReportError: naming the first page or file that should not be there.
    """
    for path in (site / "_static").glob("*webpack-macros.html"):  # the theme's templates, no pages
        path.unlink()
    front = site / "index.html"
    if front.read_text(encoding="utf-8").strip() == REFRESH:
        front.write_text(FRONT, encoding="utf-8")
    for path in sorted(site.rglob("*.html")):
        if path != front or front.read_text(encoding="utf-8") != FRONT:
            name = str(path.relative_to(site))
            path.write_text(sealed(path.read_bytes().decode("utf-8"), name), encoding="utf-8", newline="")
    check_files_of(site, staging)


def check_files_of(site: Path, staging: Path) -> None:
    """Refuse a site with a file that was not staged.

    Raises:
        ReportError: naming it.
    """
    known = set(staged_digests(staging))
    for path in sorted(site.rglob("*")):
        name = path.relative_to(site)
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ReportError(f"{name} was not built: it is no ordinary file")
        if path.is_dir():
            continue
        copied = name.parts[0] in ("_downloads", "_images", "_sources")
        if copied and hashlib.sha256(path.read_bytes()).digest() not in known:
            raise ReportError(f"{name} was not built: it is no file of the report")
        if name.parts[0] == "_static" and path.suffix not in SITE_FILES:
            raise ReportError(f"{name} was not built: there is no use for such a file")


def staged_digests(staging: Path) -> Iterator[bytes]:
    """SHA-256 of everything that pages may carry along: what was staged, and pictures that stand in notebooks."""
    for folder in ("book", "figures", "notebooks"):
        for path in (staging / folder).rglob("*"):
            if path.is_file():
                yield hashlib.sha256(path.read_bytes()).digest()
    for path in (staging / "notebooks").glob("*.ipynb"):
        for cell in json.loads(path.read_bytes())["cells"]:
            for output in cell.get("outputs", ()):
                if picture := output.get("data", {}).get("image/png"):
                    yield hashlib.sha256(base64.b64decode("".join(picture))).digest()
