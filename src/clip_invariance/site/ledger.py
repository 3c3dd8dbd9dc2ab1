"""The ledger: one card per claim, with its verdict, the number that decided it and the rule."""

from __future__ import annotations

from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from clip_invariance.report.numbers import (
    MINUS,
    NO_BREAK_SPACE,
    in_full,
    interval,
    is_undetermined,
    point,
    power_of_ten,
    with_unit,
)
from clip_invariance.results import Results, Value
from clip_invariance.rules.claims import Claim, ClaimRow, Condition, falsifier, find_value
from clip_invariance.site.nodes import (
    badge,
    box,
    claim_label,
    element,
    figure_label,
    find_page,
    labels,
    link_to,
    page_link,
    provenance,
    run_links,
    shown,
    slug,
)

logger = logging.getLogger(__name__)

LEDGER = "book/claims"


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
    facts = [("Expected", claim.hypothesis), ("Counts against it", falsifier(claim.registered))]
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
