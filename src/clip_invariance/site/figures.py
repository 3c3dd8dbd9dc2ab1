"""Directives that show a figure or a table of results with its caption, its data and where it came from."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from clip_invariance.report.numbers import MINUS, in_one_style, number, shortest
from clip_invariance.results import Sidecar
from clip_invariance.site.nodes import box, download, element, figure_label, find_page, labels, page_link, shown

logger = logging.getLogger(__name__)


class ResultDirective(SphinxDirective):
    """What figures and tables share: looking the sidecar up, the caption, and the line of links."""

    required_arguments = 1
    has_content = True
    kind: ClassVar[str]

    def run(self) -> list[nodes.Node]:
        figure_id = self.arguments[0]
        sidecar = shown(self.env).figure(figure_id)
        if sidecar is None or sidecar.kind != self.kind:
            logger.warning("no %s %r in the results", self.kind, figure_id, location=self.get_location())
            return []
        label = figure_label(figure_id)
        if label not in labels(self.env) or self.env.docname == find_page(self.env, "book", sidecar.chapter):
            labels(self.env)[label] = (
                self.env.docname,
                label,
            )  # links go to the chapter, where the front page shows it too
        folder = f"/figures/{sidecar.chapter}"
        caption = element("div", "result-caption", *self.parse_content_to_nodes())
        node = element("figure", f"result result-{self.kind}", *self.show(sidecar, folder))
        node += element("figcaption", "", caption, self.links(sidecar, folder), source_line(sidecar))
        node["ids"].append(label)
        return [node]

    def show(self, sidecar: Sidecar, folder: str) -> list[nodes.Node]:
        raise NotImplementedError

    def links(self, sidecar: Sidecar, folder: str) -> nodes.Node:
        page = find_page(self.env, "notebooks", sidecar.chapter)
        number = f"{sidecar.chapter}/{sidecar.name}"
        parts = [
            # What to cite it by, and a link to send.
            nodes.reference("", number, refuri=f"#{figure_label(number)}", classes=["result-name"]),
            download(self.env, "data (CSV)", f"{folder}/{sidecar.name}.csv"),
            download(self.env, "provenance (JSON)", f"{folder}/{sidecar.name}.json"),
            *([page_link(self.env, page, nodes.Text("notebook"))] if page else []),
            nodes.Text(f"profile {sidecar.profile}, {sidecar.seeds} seeds, {sidecar.device.upper()}"),
            *(nodes.Text(line) for line in sidecar.attribution),
        ]
        return element("ul", "result-links", *(element("li", "", part) for part in parts))


def source_line(sidecar: Sidecar) -> box:
    """Where the code behind a figure is: a path at a commit, as git understands it."""
    at = f"git show {sidecar.commit[:10]}:" if sidecar.commit not in ("", "unknown") else ""
    code = element("code", "", f"{at}{sidecar.notebook}")
    return element("p", "result-source", "source: ", code, " with uncommitted changes" if sidecar.dirty else "")


#: How matplotlib sets letters that are outlines: scaled down from a font of 100 points.
OUTLINE = re.compile(r"scale\((0\.\d+) -0\.\d+\)")
READABLE_PX = 9


def readable_share(svg: str) -> float:
    """The share of its size that a picture can be shown at with its smallest letters still 9 pixels high; 0 without letters.

    >>> round(readable_share('<g transform="translate(35.6 184.8) scale(0.085 -0.085)">'), 2)
    0.79
    """
    points = min((float(scale) * 100 for scale in OUTLINE.findall(svg)), default=0.0)
    return READABLE_PX / (points * 96 / 72) if points else 0.0


class ResultFigure(ResultDirective):
    """``{result-figure} 01/accuracy_by_place`` with the caption as its body."""

    kind = "figure"

    def show(self, sidecar: Sidecar, folder: str) -> list[nodes.Node]:
        # On paper everything must have loaded; on the site, the other theme's picture never has to.
        loading = {"loading": "lazy"} if self.env.app.builder.name == "html" else {}
        pictures = [
            nodes.image(
                uri=f"{folder}/{sidecar.name}{ending}.svg",
                alt=in_one_style(sidecar.alt),
                classes=[f"only-{theme}"],
                width=f"{sidecar.width_px}px",
                height=f"{sidecar.height_px}px",
                **loading,
            )
            for theme, ending in (("light", ""), ("dark", ".dark"))
        ]
        # In a box of their own, because the theme hides a caption that is a sibling of the other mode's picture.
        # The style sheet needs the size to keep the place free, and the letters large enough on a phone.
        svg = (Path(self.env.srcdir) / folder.lstrip("/") / f"{sidecar.name}.svg").read_text(encoding="utf-8")
        least = math.floor(min(readable_share(svg), 1) * sidecar.width_px)
        size = f"--width: {sidecar.width_px}; --height: {sidecar.height_px}; --least: {least}"
        return [element("div", "result-picture", *pictures, style=size)]


class ResultTable(ResultDirective):
    """``{result-table} 01/kayhan``; ``:digits:`` sets the most decimals shown, ``:columns:`` picks and orders columns.

    By default all columns are shown that have something to say.
    """

    kind = "table"
    option_spec: ClassVar[dict[str, Any]] = {"digits": directives.nonnegative_int, "columns": directives.unchanged}

    def show(self, sidecar: Sidecar, folder: str) -> list[nodes.Node]:
        with (Path(self.env.srcdir) / folder.lstrip("/") / f"{sidecar.name}.csv").open(newline="") as file:
            header, *rows = list(csv.reader(file)) or [[]]
        filled = [name for name, *cells in zip(header, *rows, strict=True) if any(cells)]
        asked = self.options.get("columns")
        wanted = [name.strip() for name in asked.split(",")] if asked else filled
        if unknown := [name for name in wanted if name not in header]:
            logger.warning("%s has no column %s", sidecar.name, ", ".join(unknown), location=self.get_location())
            return []
        order = [header.index(name) for name in wanted]
        digits = [column_digits([row[i] for row in rows], self.options.get("digits", 3)) for i in range(len(header))]
        # Not a <caption>, which would be as wide as the table and be cut off with it on a phone.
        title = element("p", "result-title", sidecar.title)
        head = element("thead", "", element("tr", "", *(element("th", "", cell_text(n), scope="col") for n in wanted)))
        body = element("tbody", "", *(element("tr", "", *(cell(row[i], digits[i]) for i in order)) for row in rows))
        # A focusable region lets keyboard users scroll a table that is wider than the page.
        region = {"role": "region", "tabindex": "0", "aria-label": sidecar.title}
        named = {"aria-label": sidecar.title}
        return [title, element("div", "table-scroll", element("table", "table", head, body, **named), **region)]


def cell_text(name: str) -> str:
    return name.replace("_", " ")


def column_digits(cells: list[str], most: int) -> int:
    """As many decimals as the cells of a column need, and not more than asked for.

    >>> column_digits(["51.2", "48.75", "valid"], 3), column_digits(["100.0", "98.0"], 3), column_digits(["1.2345"], 1)
    (2, 0, 1)
    """
    needed = []
    for text in cells:
        try:
            needed.append(len(shortest(float(text), most).partition(".")[2]))
        except ValueError:
            continue
    return max(needed, default=0)


def cell(text: str, digits: int) -> box:
    """A table cell; decimal numbers are rounded and aligned to the right."""
    try:
        x = float(text)
    except ValueError:
        return element("td", "", in_one_style(cell_text(text)))
    whole = re.fullmatch(r"-?\d+", text) is not None
    return element("td", "num", text.replace("-", MINUS) if whole else number(x, digits))
