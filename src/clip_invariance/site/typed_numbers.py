"""No results typed by hand: prose that repeats a computed number is a warning."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

from clip_invariance.report.numbers import number
from clip_invariance.results import Results
from clip_invariance.site.nodes import box, shown

logger = logging.getLogger(__name__)

CHAPTER_PAGE = re.compile(r"^book/(\d\d)_")

DECIMAL = re.compile(r"(?<![\w.])(\d+\.\d+|\d+(?=[\s\u00a0\u202f]*(?:%|per ?cent)))(?!\.?\w)")
#: Text inside these is not prose: quoted results, code, formulas, other people's numbers.
NOT_PROSE = (box, nodes.literal, nodes.literal_block, nodes.math, nodes.math_block, nodes.raw, nodes.comment)


def printed_numbers(results: Results) -> dict[str, str]:
    """Every decimal or percentage of a chapter as printed (without sign) -> the name of the value."""
    found: dict[str, str] = {}
    for name, value in results.values.values.items():
        if value.digits or value.unit == "%":
            found.setdefault(number(abs(value.value), value.digits), name)
    return found


def check_typed_numbers(app: Sphinx, doctree: nodes.document) -> None:
    """Warn about numbers in a chapter's prose that a run has computed.

    Only in the published report: with a reader's numbers in place, what others measured may read the same by chance.
    """
    chapter = CHAPTER_PAGE.match(app.env.docname)
    results = shown(app.env).results.get(chapter[1]) if chapter else None
    if results is None or results.run.chapter in getattr(app.config, "clip_invariance_pages", {}).get("own", []):
        return
    known = printed_numbers(results)
    for text in doctree.findall(nodes.Text):
        if quoted(text):
            continue
        for match in DECIMAL.finditer(text.astext()):
            if name := known.get(match[1]):
                logger.warning(
                    "%s is typed by hand, but it is a result: write {value}`%s.%s`",
                    match[1],
                    results.run.chapter,
                    name,
                    location=text.parent,
                )


def quoted(text: nodes.Text) -> bool:
    """Whether a text is outside the prose: see ``NOT_PROSE``, citations and the role ``elsewhere``."""
    node: Any = text.parent
    while node is not None:
        if isinstance(node, box) and node["tag"] in ("figure", "figcaption", "div", "section"):
            node = node.parent  # captions are prose
            continue
        if isinstance(node, NOT_PROSE) or "elsewhere" in node.get("classes", []):
            return True
        node = node.parent
    return False
