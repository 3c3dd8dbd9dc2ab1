"""Pictures and notebooks from results folders must not act when a reader opens a page with them.

Tables and records need no check: Sphinx escapes their text. A picture may be opened as a document of its own, though, and
a notebook's outputs and prose are put on the page as they are.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from clip_invariance.errors import ReportError

#: What runs, embeds or fetches something. Nothing that Matplotlib, pandas or this package draws contains any of it.
ACTIVE = re.compile(
    r"<\s*/?\s*(script|iframe|frame|object|embed|foreignobject|base|meta|link|form|audio|video|animate|set)\b"
    r"|<[^>]*[\s/\"']on\w+\s*=|(java|vb)script\s*:|<!entity|@import|(href|src)\s*=\s*[\"']?\s*(https?:)?//|url\(\s*[\"']?\s*(https?:)?//",
    re.IGNORECASE,
)
#: Directives that read files or pass markup through.
DIRECTIVE = re.compile(
    r"\{\s*(include|literalinclude|raw|eval-rst|download|image|figure|csv-table)\s*\}", re.IGNORECASE
)
OUTPUTS = {"text/plain", "text/html", "image/png"}


def check_picture(path: Path) -> None:
    """Refuse an SVG file that would do more than show something.

    Raises:
        ReportError: naming the file and what was found.
    """
    refuse(path, path.read_text(encoding="utf-8", errors="replace"))


def check_notebook(path: Path, notebook: Any) -> None:
    """Refuse an executed notebook whose prose or outputs would do more than show something.

    Raises:
        ReportError: naming the file and what was found.
    """
    for cell in notebook.cells:
        if cell.cell_type != "code":
            refuse(path, cell.source)
            if found := DIRECTIVE.search(cell.source):
                raise ReportError(f"{path}: {found.group()} is not allowed in a notebook's text")
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if unknown := sorted(data.keys() - OUTPUTS):
                raise ReportError(f"{path}: an output of type {unknown[0]} is not shown on pages")
            refuse(path, str(data.get("text/html", "")))


def refuse(path: Path, text: str) -> None:
    """Raise if the text contains something active."""
    if found := ACTIVE.search(text):
        raise ReportError(f"{path}: contains {found.group()[:40]!r}, which could act on a reader's machine")
