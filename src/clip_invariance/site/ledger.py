"""The ledger: one card per claim, with its verdict, the number that decided it and the rule."""

from __future__ import annotations

from collections.abc import Sequence
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
from clip_invariance.rules.claims import ClaimRow, Condition, falsifier, find_value
from clip_invariance.rules.record import KNOWN, Event, events
from clip_invariance.rules.reliability import ASKS, Check
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
    whose,
)

logger = logging.getLogger(__name__)

LEDGER = "book/claims"


def asked(condition: Condition, value: Value | None) -> str:
    """What a condition asks of its number: "below 2 points"; without the unit where there is no result yet."""
    side = {"<": "below", ">": "above"}[condition.relation]
    tiny = 0 < abs(condition.threshold) < 0.001
    printed = power_of_ten(condition.threshold) if tiny else f"{condition.threshold:g}".replace("-", MINUS)
    return f"{side} {with_unit(printed, value.unit if value else '')}"


def rule_in_words(
    conditions: Sequence[Condition], states: Sequence[str], results: dict[str, Results]
) -> list[nodes.Node]:
    """Conditions as a sentence and a list, each with how it came out."""

    def line(condition: Condition, state: str) -> box:
        outcome = {"missing": "no result yet", "open": "undecided"}.get(state, state)
        value = find_value(results, condition.value)
        found = f", {'' if is_undetermined(value) else 'measured '}{in_full(value)}" if value else ""
        test = element("span", "claim-test", element("code", "", condition.value), f" {asked(condition, value)}{found}")
        return element("li", "", f"{condition.reads}: ", element("strong", "", outcome), " (", test, ")")

    pairs = list(zip(conditions, states, strict=True))
    essential = [line(c, s) for c, s in pairs if c.role == "essential"]
    qualifiers = [line(c, s) for c, s in pairs if c.role == "qualifier"]
    parts: list[nodes.Node] = [
        element("p", "", "Supported if the whole interval says so for each of these; contradicted if one fails:"),
        element("ul", "", *essential),
    ]
    if qualifiers:
        parts += [element("p", "", "Only qualified unless these hold too:"), element("ul", "", *qualifiers)]
    return parts


def details_of(row: ClaimRow, results: dict[str, Results]) -> box:
    """Expectation, what would count against it, and the rule, folded away; both rules where one was amended."""
    claim = row.claim
    facts = [("Expected", claim.hypothesis), ("Counts against it", falsifier(claim.registered))]
    terms = [node for name, text in facts if text for node in (element("dt", "", name), element("dd", "", text))]
    summary = element("summary", "", "Registered rule" if claim.conditions else "What would decide it")
    node = element("details", "claim-rule", summary, element("dl", "", *terms))
    if claim.conditions:
        node += rule_in_words(claim.registered, row.states, results)
    if row.amended:
        node += element("p", "claim-key", "The rule as amended:")
        node += rule_in_words(claim.in_force, row.amended.states, results)
    return node


# ---------------------------------------------------------------- what a verdict hangs on, and its record

ANSWERS: dict[str, tuple[str, str]] = {
    "same": ("=", "same verdict"),
    "other": ("≠", "another verdict"),
    "open": ("·", "cannot be told"),
}


def checks_beside(checks: Sequence[Check]) -> list[nodes.Node]:
    """The answers of the checks as marks and words, small; what each says in full is its hover text."""
    items = []
    for check in checks:
        if check.answer in ANSWERS:
            sign, spoken = ANSWERS[check.answer]
            mark = element("span", "check-mark", sign, **{"aria-hidden": "true"})
            aloud = element("span", "visually-hidden", f"{spoken} ")
            asks = element("span", "", ASKS[check.name])
            items.append(element("li", f"check check-{check.answer}", mark, aloud, asks, title=check.words))
    return [element("ul", "checks", *items)] if items else []


def record_of(env: BuildEnvironment, row: ClaimRow) -> list[nodes.Node]:
    """The record of a rule, folded away: when it was registered, changed and judged, and how firm the verdict is."""
    told = events(row.claim, shown(env).history, shown(env).editions)
    checks = [check for check in shown(env).checks.get(row.claim.id, []) if check.answer != "none"]
    if not told and not checks:
        return []
    parts: list[nodes.Node] = [element("summary", "", *(record_line(told) if told else ["How firm the verdict is"]))]
    if checks:
        parts += [
            element("p", "claim-key", "How firm the verdict is"),
            element("ul", "", *(element("li", "", check.words) for check in checks)),
        ]
    if told:
        parts += [element("p", "claim-key", "The record (times in UTC)"), element("ol", "", *map(event_item, told))]
    return [element("details", "claim-rule claim-record", *parts)]


def record_line(told: Sequence[Event]) -> list[nodes.Node]:
    """The record in one line, with dates that do not break: "Registered 2026-11-22, amended 2026-11-22"."""
    amended = dict.fromkeys(event.when[:10] for event in told if event.kind == "amended")
    parts = [("Registered", told[0].when[:10]), *(("amended", day) for day in amended)]
    if moved := [event for event in told if event.kind == "judged"][1:]:
        parts.append(("verdict moved", moved[-1].when[:10]))
    return [
        node
        for place, (what, day) in enumerate(parts)
        for node in (nodes.Text(f"{', ' if place else ''}{what} "), element("span", "record-when", day))
    ]


def event_item(event: Event) -> box:
    """One line of the record, with what belongs to it."""
    head = [
        element("span", "record-when", event.when),
        " ",
        element("code", "", event.commit, title=event.subject),
        " ",
        element("span", "claim-key", f"{event.kind}: "),
        event.summary,
    ]
    item = element("li", f"record-{slug_of(event.kind)}", element("p", "", *head))
    lines = [*event.details, *([f"Known then: {event.known}"] if event.known else [])]
    if lines:
        item += element("ul", "", *(element("li", "", line) for line in lines))
    return item


def slug_of(words: str) -> str:
    return words.replace(" ", "-")


def amended_note(env: BuildEnvironment, row: ClaimRow) -> list[nodes.Node]:
    """That the rule was amended, when, knowing what, and what it says since; nothing for other rules."""
    if row.amended is None:
        return []
    found: list[nodes.Node] = []
    for amendment in shown(env).editions.of(row.claim.id):
        if amendment.kind == "rule":
            when = shown(env).history.commits.get(amendment.commit)
            on = f"{when.minute if when else amendment.date} ({amendment.commit or 'not committed'})"
            same = "the same" if row.in_force == row.verdict else None
            said: list[nodes.Node | str] = [
                f"{amendment.what} Known then: {KNOWN[amendment.known]}. By the rule as amended: "
            ]
            said.append(same if same else badge(row.in_force))
            key = element("span", "claim-key", f"Rule amended {on}: ")
            found.append(element("p", "claim-reason claim-amended", key, *said, "." if same else ""))
    return found


# ---------------------------------------------------------------- one row


def claim_card(env: BuildEnvironment, row: ClaimRow) -> box:
    """One row of the ledger."""
    claim, docname = row.claim, env.docname
    anchor = claim.id.lower()
    name = element("a", "claim-id", claim.id, href=f"#{anchor}", title="Link to this claim")
    heading = element("div", "claim-head", name, element("span", "claim-whose", whose(row)))
    side = element("div", "claim-side", heading, badge(row.verdict))
    if row.in_force != row.verdict:
        side += element("span", "claim-whose", "by the registered rule")
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
    checks = shown(env).checks.get(claim.id, [])
    side += checks_beside(checks)
    main = element("div", "claim-main", element("p", "claim-text", claim.claim))
    main += element("p", "claim-measure", element("span", "claim-key", "Measured: "), claim.experiment)
    if row.reason and claim.conditions and row.verdict != "supported":
        main += element("p", "claim-reason", element("span", "claim-key", "Why: "), row.reason)
    main += amended_note(env, row)
    if claim.remark and row.verdict not in ("not yet measured", "cited only"):
        main += element("p", "claim-reason", element("span", "claim-key", "Read with care: "), claim.remark)
    main += details_of(row, shown(env).results)
    main += record_of(env, row)
    where: list[nodes.Node | str] = [f"Essay: {claim.where}" if claim.source == "essay" else claim.where]
    page = find_page(env, "book", claim.chapter)
    if page and page != docname:
        where += [" · ", page_link(env, page, nodes.Text(f"chapter{NO_BREAK_SPACE}{int(claim.chapter)}"))]
    if row.figure:
        where += [" · ", link_to(figure_label(row.figure), nodes.Text("figure"), docname)]
    main += element("p", "claim-where", *where)
    firm = " ".join(check.name for check in checks if check.answer == "same")
    facets = {"data-verdict": slug(row.verdict), "data-chapter": claim.chapter, "data-firm": firm}
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
