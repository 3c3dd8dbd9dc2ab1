"""Sphinx extension: prose quotes results by name, the ledger draws itself, and hand-typed results fail the build.

Roles: ``{value}`01.c02_drop_torus``` (append ``:point`` for the number without its interval, or ``:ahead|behind`` for a
word that agrees with its sign), ``{verdict}`C02```, and
``{elsewhere}`99.8``` for a number that comes from somebody else's publication.
Directives: ``{result-figure} 01/name``, ``{result-table} 01/name``, ``{claims}``, ``{ledger-filter}``,
``{chapter-card} 01``, ``{ledger-score}``, ``{verdict-key}``. What surrounds the text of a page is in
:mod:`clip_invariance.site.sphinx_pages`.

Results are read from ``figures/`` beside the sources, where :mod:`clip_invariance.site.build` puts them. Every problem
is a Sphinx warning, which the build turns into an error.
"""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast, get_args

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole
from sphinx.util.nodes import make_refnode

from clip_invariance.profiles import PROFILES
from clip_invariance.report.numbers import (
    MINUS,
    NO_BREAK_SPACE,
    by_sign,
    ends,
    in_full,
    in_one_style,
    interval,
    is_undetermined,
    number,
    point,
    power_of_ten,
    prints,
    sharpened,
    shortest,
    with_unit,
    within_bounds,
)
from clip_invariance.report.words import machine, short_commit
from clip_invariance.results import (
    Results,
    RunRecord,
    Sidecar,
    Value,
    complete_folders,
    read_folders,
    read_sidecar,
)
from clip_invariance.rules.claims import (
    CLAIMS_FILE,
    Claim,
    ClaimRow,
    Condition,
    Verdict,
    evaluate,
    find_value,
    load_claims,
)

logger = logging.getLogger(__name__)

LEDGER = "book/claims"
LINK = "clip-invariance"
CHAPTER_PAGE = re.compile(r"^book/(\d\d)_")
VOID_TAGS = {"input"}
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
MARKS: dict[Verdict, str] = {
    "supported": "✓",
    "qualified": "≈",
    "contradicted": "✗",
    "inconclusive": "?",
    "not yet measured": "○",
    "cited only": "❝",
}
MEANINGS: dict[Verdict, str] = {
    "supported": "every condition holds, with its whole interval",
    "qualified": "the claim holds, but some of its fine print does not, or is undecided",
    "contradicted": "a condition that carries the claim fails",
    "inconclusive": "the interval is too wide to say, or the run was too small",
    "not yet measured": "no rule is registered yet, or a result is missing",
    "cited only": "nothing is run; the row collects published evidence",
}


# ---------------------------------------------------------------- what the pages show


@dataclass(frozen=True)
class Shown:
    """The results and judged claims that these pages show; the numbers as :func:`within_bounds` prints them."""

    figures: Path
    results: dict[str, Results]
    rows: dict[str, ClaimRow]

    def figure(self, figure_id: str) -> Sidecar | None:
        """Sidecar of a figure or table by id, "01/accuracy_by_place"; None if there is no such thing.

        Raises:
            ReportError: if it is there but malformed.
        """
        chapter, _, name = figure_id.partition("/")
        known = chapter in self.results and name in self.results[chapter].run.figures
        return read_sidecar(self.figures / chapter / f"{name}.json") if known else None


def load_shown(source_dir: Path, claims_file: Path = CLAIMS_FILE) -> Shown:
    """Read every results folder in ``figures/`` and judge the claims by them.

    Raises:
        ReportError: naming file and field, if something there is malformed.
    """
    figures = source_dir / "figures"
    results = read_folders(complete_folders(figures))
    claims = load_claims(claims_file)
    rows = evaluate(claims, results)
    conditions = [condition for claim in claims for condition in claim.conditions]
    in_print = {chapter: within_bounds(sharpened(found, conditions)) for chapter, found in results.items()}
    return Shown(figures, in_print, {row.claim.id: row for row in rows})


def shown(env: BuildEnvironment) -> Shown:
    """The results of this build, read once."""
    app: Any = env.app  # which lives as long as one build; Sphinx has no slot for things like this
    if not hasattr(app, "clip_invariance_shown"):
        app.clip_invariance_shown = load_shown(Path(app.srcdir), Path(app.config.clip_invariance_claims or CLAIMS_FILE))
    return cast(Shown, app.clip_invariance_shown)


# ---------------------------------------------------------------- where numbers come from


def provenance(value: Value, run: RunRecord) -> str:
    """One line for the hover text of a value."""
    measured = with_unit(prints(value)[0], value.unit)
    parts = [
        value.description,
        f"measured {measured}, but its interval rules nothing out" if is_undetermined(value) else "",
        f"95 % interval {ends(value)}" if value.n else "no seeds: the same in every run",
        f"{value.n} seeds" if value.n else "",
        f"profile {run.profile}",
        machine(run),
        f"commit {short_commit(run)}",
        f"figure {value.figure}" if value.figure else "",
    ]
    return " · ".join(part for part in parts if part)


# ---------------------------------------------------------------- one node for all our markup


class box(nodes.General, nodes.TextElement):  # type: ignore[misc]  # docutils has no types
    """An HTML element by its tag name; other builders see only what is inside.

    It is a TextElement because Sphinx accepts links only inside one.
    """


def element(tag: str, classes: str, *children: nodes.Node | str, **attributes: Any) -> box:
    """Make a :class:`box`; strings become text."""
    node = box("", "", *(nodes.Text(child) if isinstance(child, str) else child for child in children), tag=tag)
    node["classes"] += classes.split()
    node["html"] = attributes
    return node


def visit_box(writer: Any, node: box) -> None:
    writer.body.append(writer.starttag(node, node["tag"], "", **node["html"]))


def depart_box(writer: Any, node: box) -> None:
    if node["tag"] not in VOID_TAGS:
        writer.body.append(f"</{node['tag']}>")


def skip(writer: Any, node: box) -> None:
    """Other builders see only what is inside."""


def slug(verdict: Verdict) -> str:
    """A verdict as it appears in class names and addresses."""
    return verdict.replace(" ", "-")


def badge(verdict: Verdict, label: str = "") -> box:
    """A verdict as mark and word, so that it does not depend on colour."""
    mark = element("span", "verdict-mark", MARKS[verdict], **{"aria-hidden": "true"})
    return element("span", f"verdict verdict-{slug(verdict)}", mark, nodes.Text(f" {label or verdict}"))


def is_short(run: RunRecord) -> bool:
    """Whether this run has fewer arms than the published ones, so that a number may be missing without a mistake."""
    return PROFILES[run.profile].rank < PROFILES["standard"].rank


def value_box(value: Value, run: RunRecord, text: str) -> box:
    """A number that shows where it comes from when hovered over, focused or tapped."""
    return element("span", "ci-value", text, title=provenance(value, run), tabindex="0")


def link_to(label: str, content: nodes.Node, docname: str, required: bool = False) -> addnodes.pending_xref:
    """A link to a label of ours, for :func:`resolve_link`; Sphinx's own kind would drop the badge inside."""
    inner = nodes.inline("", "", content)
    return addnodes.pending_xref(
        "", inner, refdomain="", reftype=LINK, reftarget=label, refdoc=docname, refwarn=False, ci_required=required
    )


def resolve_link(app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, content: nodes.Node) -> Any:
    """Turn our pending links into links; plain content if no page has the label, with a warning where one must."""
    if node["reftype"] != LINK:
        return None
    place = labels(env).get(node["reftarget"])
    if place is None:
        if node["ci_required"]:
            logger.warning("no page shows %r, which this links to", node["reftarget"], location=node)
        return content
    return make_refnode(app.builder, node["refdoc"], *place, content)


def page_link(env: BuildEnvironment, target: str, content: nodes.Node) -> nodes.Node:
    """A link to a page of the site, or the plain content if there is no such page."""
    if target not in env.found_docs:
        return content
    inner = nodes.inline("", "", content)
    return addnodes.pending_xref(
        "", inner, refdomain="std", reftype="doc", reftarget=f"/{target}", refexplicit=True, refdoc=env.docname
    )


def labels(env: BuildEnvironment) -> dict[str, tuple[str, str]]:
    """Our labels: ledger rows and results -> page and anchor."""
    found: Any = env
    if not hasattr(found, "clip_invariance_labels"):
        found.clip_invariance_labels = {}
    return cast(dict[str, tuple[str, str]], found.clip_invariance_labels)


def claim_label(claim_id: str) -> str:
    return f"claim-{claim_id.lower()}"


def figure_label(figure_id: str) -> str:
    return f"result-{figure_id.replace('/', '-').replace('_', '-')}"


def find_page(env: BuildEnvironment, folder: str, chapter: str) -> str:
    """The chapter's page in ``book`` or ``notebooks``; "" if it is not written yet."""
    return next((doc for doc in sorted(env.found_docs) if doc.startswith(f"{folder}/{chapter}_")), "")


def download(env: BuildEnvironment, text: str, path: str) -> addnodes.download_reference:
    """A link to a file beside the sources, which so becomes part of the site."""
    return addnodes.download_reference("", "", nodes.inline("", text), refdoc=env.docname, reftarget=path)


def run_links(env: BuildEnvironment, run: RunRecord) -> box:
    """Which run the numbers of a chapter come from, and the file that holds them all."""
    scale = f"run of {run.started[:10]}, profile {run.profile}, {run.seeds} seeds, {run.device.upper()}"
    parts = [
        download(env, f"all numbers of chapter {int(run.chapter)} (JSON)", f"/figures/{run.chapter}/values.json"),
        nodes.Text(f"{scale}, commit {short_commit(run)}"),
    ]
    return element("ul", "result-links", *(element("li", "", part) for part in parts))


# ---------------------------------------------------------------- roles


class ValueRole(SphinxRole):
    """``{value}`01.c02_drop_torus```, and in other forms with ``:point`` or ``:ahead|behind`` at the end.

    With two words the number loses its sign, and the first word follows it if it was positive, the second if not.
    """

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        value_id, _, form = self.text.partition(":")
        results = shown(self.env).results
        value = find_value(results, value_id)
        if value is None and value_id[:2] in results and is_short(results[value_id[:2]].run):
            return [element("span", "ci-not-run", "(not in so short a run)")], []
        positive, bar, negative = form.partition("|")
        if value is None or (form not in ("", "point") and not bar):
            unknown = f"unknown form {form!r}, say :point, or :ahead|behind"
            problem = f"no value {value_id!r} in the results" if value is None else unknown
            logger.warning("%s", problem, location=self.get_location())
            return [nodes.Text(f"[{self.text}]")], []
        text = by_sign(value, positive, negative) if bar else point(value) if form else in_full(value)
        return [value_box(value, results[value_id[:2]].run, text)], []


class VerdictRole(SphinxRole):
    """``{verdict}`C02```: the badge, linked to the row of the ledger."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        row = shown(self.env).rows.get(self.text)
        if row is None:
            logger.warning("no claim %r is registered", self.text, location=self.get_location())
            return [nodes.Text(f"[{self.text}]")], []
        content = badge(row.verdict, f"{row.claim.id} {row.verdict}")
        content["html"] = {"title": row.claim.claim}
        return [link_to(claim_label(self.text), content, self.env.docname, required=True)], []


class ElsewhereRole(SphinxRole):
    """``{elsewhere}`99.8```: a number from somebody else's publication, exempt from the check for typed results."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        return [nodes.inline("", in_one_style(self.text), classes=["elsewhere"])], []


# ---------------------------------------------------------------- figures and tables


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
    points = [float(scale) * 100 for scale in OUTLINE.findall(svg)]
    return READABLE_PX / (min(points) * 96 / 72) if points else 0.0


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


# ---------------------------------------------------------------- the ledger


def asked(condition: Condition, value: Value | None) -> str:
    """What a condition asks of its number: "below 2 points"; without the unit where there is no result yet."""
    side = {"<": "below", ">": "above"}[condition.relation]
    tiny = 0 < abs(condition.threshold) < 0.001
    printed = power_of_ten(condition.threshold) if tiny else f"{condition.threshold:g}".replace("-", MINUS)
    return f"{side} {with_unit(printed, value.unit if value else '')}"


def rule_in_words(row: ClaimRow, results: dict[str, Results]) -> list[nodes.Node]:
    """The registered conditions as a sentence and a list, each with how it came out."""
    if not row.claim.conditions:
        return []

    def line(condition: Condition, state: str) -> box:
        outcome = {"missing": "no result yet", "open": "undecided"}.get(state, state)
        value = find_value(results, condition.value)
        found = f", {'' if is_undetermined(value) else 'measured '}{in_full(value)}" if value else ""
        test = element("span", "claim-test", element("code", "", condition.value), f" {asked(condition, value)}{found}")
        return element("li", "", f"{condition.reads}: ", element("strong", "", outcome), " (", test, ")")

    pairs = list(zip(row.claim.conditions, row.states, strict=True))
    essential = [line(c, s) for c, s in pairs if c.role == "essential"]
    qualifiers = [line(c, s) for c, s in pairs if c.role == "qualifier"]
    parts: list[nodes.Node] = [
        element("p", "", "Supported if the whole interval says so for each of these; contradicted if one fails:"),
        element("ul", "", *essential),
    ]
    if qualifiers:
        parts += [element("p", "", "Only qualified unless these hold too:"), element("ul", "", *qualifiers)]
    return parts


def details_of(claim: Claim, row: ClaimRow, results: dict[str, Results]) -> box:
    """Expectation, what would count against it, and the rule, folded away."""
    facts = [("Expected", claim.hypothesis), ("Counts against it", claim.falsified_when)]
    terms = [node for name, text in facts if text for node in (element("dt", "", name), element("dd", "", text))]
    rule = rule_in_words(row, results)
    summary = element("summary", "", "Registered rule" if rule else "What would decide it")
    return element("details", "claim-rule", summary, element("dl", "", *terms), *rule)


def claim_card(env: BuildEnvironment, row: ClaimRow) -> box:
    """One row of the ledger."""
    claim, docname = row.claim, env.docname
    anchor = claim.id.lower()
    name = element("a", "claim-id", claim.id, href=f"#{anchor}", title="Link to this claim")
    side = element("div", "claim-side", name, badge(row.verdict))
    decisive = row.decided_by
    value = find_value(shown(env).results, decisive.value) if decisive else None
    if decisive and value:
        run = shown(env).results[decisive.chapter].run
        quoted = element("span", "ci-value", title=provenance(value, run), tabindex="0")
        quoted += element("span", "claim-number", point(value))
        if interval(value):
            quoted += element("span", "claim-interval", interval(value))
        what = f"{decisive.name or value.description}; rule: {asked(decisive, value)}"
        side += element("div", "claim-value", quoted, element("p", "claim-name", what))
    main = element("div", "claim-main", element("p", "claim-text", claim.claim))
    main += element("p", "claim-measure", element("span", "claim-key", "Measured: "), claim.experiment)
    if row.reason and claim.conditions and row.verdict != "supported":
        main += element("p", "claim-reason", element("span", "claim-key", "Why: "), row.reason)
    if claim.remark and row.verdict not in ("not yet measured", "cited only"):
        main += element("p", "claim-reason", element("span", "claim-key", "Read with care: "), claim.remark)
    main += details_of(claim, row, shown(env).results)
    where: list[nodes.Node | str] = [f"Essay: {claim.where}" if "companion" not in claim.where else claim.where]
    page = find_page(env, "book", claim.chapter)
    if page and page != docname:
        where += [" · ", page_link(env, page, nodes.Text(f"chapter{NO_BREAK_SPACE}{int(claim.chapter)}"))]
    if row.figure:
        where += [" · ", link_to(figure_label(row.figure), nodes.Text("figure"), docname)]
    main += element("p", "claim-where", *where)
    facets = {"data-verdict": slug(row.verdict), "data-chapter": claim.chapter}
    card = element("article", f"claim claim-{slug(row.verdict)}", side, main, **facets)
    card["ids"] += [anchor, claim.id]  # readers type the address as the row is printed
    if docname == LEDGER:
        labels(env)[claim_label(claim.id)] = docname, anchor
    return card


class ClaimsDirective(SphinxDirective):
    """``{claims}``: the ledger, or with ``:chapter: "01"`` the rows of one chapter below the run that they are judged by."""

    option_spec: ClassVar[dict[str, Any]] = {"chapter": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        # YAML reads an unquoted 01 as the number 1
        chapter = str(self.options.get("chapter", "")).zfill(2) if "chapter" in self.options else ""
        rows = [row for row in shown(self.env).rows.values() if chapter in ("", row.claim.chapter)]
        if not rows:
            logger.warning("no claims for chapter %r", chapter, location=self.get_location())
        ledger = element("div", "ledger", *(claim_card(self.env, row) for row in rows))
        results = shown(self.env).results.get(chapter)
        return [run_links(self.env, results.run), ledger] if results else [ledger]


def count_verdicts(env: BuildEnvironment) -> tuple[Counter[Verdict], str]:
    """How many claims have which verdict, and how many were measured, in words."""
    counts = Counter(row.verdict for row in shown(env).rows.values())
    judged = counts.total() - counts["not yet measured"] - counts["cited only"]
    return counts, f"{judged} of {counts.total()} claims measured."


class LedgerScore(SphinxDirective):
    """``{ledger-score}``: how many claims have which verdict, each linked to these claims in the ledger."""

    def run(self) -> list[nodes.Node]:
        counts, words = count_verdicts(self.env)
        items = [
            element(
                "li",
                "",
                element("span", "score-count", str(counts[v])),
                link_to(filter_label(v), badge(v), self.env.docname),
            )
            for v in VERDICTS
            if counts[v]
        ]
        return [element("div", "score", element("ul", "", *items), element("p", "", words))]


def filter_label(verdict: Verdict) -> str:
    return f"verdict-{slug(verdict)}"


class LedgerFilter(SphinxDirective):
    """``{ledger-filter}``: the score, as a choice of verdicts and chapters.

    ``_static/site.js`` does the filtering and keeps the choice in the address, ``#verdict=supported&chapter=01,02``.
    Without JavaScript the style sheet shows only the score.
    """

    def run(self) -> list[nodes.Node]:
        counts, words = count_verdicts(self.env)
        present = [v for v in VERDICTS if counts[v]]
        for v in present:
            labels(self.env)[filter_label(v)] = self.env.docname, f"verdict={slug(v)}"
        by_verdict = [
            self.choice("verdict", slug(v), badge(v), element("span", "score-count", str(counts[v]))) for v in present
        ]
        chapters = sorted({row.claim.chapter for row in shown(self.env).rows.values()})
        by_chapter = [self.choice("chapter", c, nodes.Text(str(int(c)))) for c in chapters]
        status = element("span", "filter-status", words, role="status")
        reset = element("button", "filter-reset", "Show all", type="reset")
        groups = [
            element("fieldset", f"filter-{name.lower()}s", element("legend", "", name), *choices)
            for name, choices in (("Verdict", by_verdict), ("Chapter", by_chapter))
        ]
        attributes = {"aria-label": "Filter the claims", "autocomplete": "off"}
        return [element("form", "ledger-filter", *groups, element("p", "", status, " ", reset), **attributes)]

    def choice(self, name: str, value: str, *shown_as: nodes.Node) -> box:
        return element("label", "choice", element("input", "", type="checkbox", name=name, value=value), *shown_as)


class VerdictKey(SphinxDirective):
    """``{verdict-key}``: what the badges mean."""

    def run(self) -> list[nodes.Node]:
        items = [element("li", "", badge(v), f" {MEANINGS[v]}") for v in VERDICTS]
        summary = element("summary", "", "What the badges mean")
        return [element("details", "verdict-key", summary, element("ul", "", *items))]


class ChapterCard(SphinxDirective):
    """``{chapter-card} 01`` with ``:title:`` and the question as body; the answer is drawn from the verdicts."""

    required_arguments = 1
    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {"title": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        chapter = self.arguments[0]
        rows = [row for row in shown(self.env).rows.values() if row.claim.chapter == chapter]
        page = find_page(self.env, "book", chapter)
        title = nodes.Text(f"{int(chapter)} · {self.options.get('title', '')}")
        head = element("p", "chapter-title", page_link(self.env, page, title))
        if not page:
            head += element("span", "chapter-planned", "planned")
        card = element("section", "chapter-card", head, *self.parse_content_to_nodes())
        if page:
            card += self.answer(rows)
        return [card]

    def answer(self, rows: list[ClaimRow]) -> box:
        measured = [row for row in rows if row.verdict not in ("not yet measured", "cited only")]
        if not measured:
            return element("p", "chapter-answer", "Not measured yet.")
        node = element("p", "chapter-answer", f"Verdicts ({len(measured)} of {len(rows)} claims measured): ")
        for row in measured:
            content = badge(row.verdict, f"{row.claim.id} {row.verdict}")
            content["html"] = {"title": row.claim.claim}
            node += [link_to(claim_label(row.claim.id), content, self.env.docname), nodes.Text(" ")]
        return node


# ---------------------------------------------------------------- no results typed by hand

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


def setup(app: Sphinx) -> dict[str, Any]:
    """Register everything with Sphinx."""
    app.add_config_value("clip_invariance_claims", "", "env")
    app.add_node(
        box,
        html=(visit_box, depart_box),
        latex=(skip, skip),
        text=(skip, skip),
        man=(skip, skip),
        texinfo=(skip, skip),
    )
    app.add_role("value", ValueRole())
    app.add_role("verdict", VerdictRole())
    app.add_role("elsewhere", ElsewhereRole())
    app.add_directive("result-figure", ResultFigure)
    app.add_directive("result-table", ResultTable)
    app.add_directive("claims", ClaimsDirective)
    app.add_directive("ledger-filter", LedgerFilter)
    app.add_directive("ledger-score", LedgerScore)
    app.add_directive("verdict-key", VerdictKey)
    app.add_directive("chapter-card", ChapterCard)
    app.connect("missing-reference", resolve_link)
    app.connect("doctree-read", check_typed_numbers)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}
