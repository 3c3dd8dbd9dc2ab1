"""How many claims have which verdict: scores, the ledger's filter, the key to its badges and the cards of the front page."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective

from clip_invariance.rules.claims import ClaimRow, Verdict
from clip_invariance.rules.reliability import ASKS, CHECKS, count_same
from clip_invariance.site.nodes import (
    MEANINGS,
    VERDICTS,
    badge,
    box,
    claim_badges,
    claim_label,
    element,
    find_page,
    labels,
    link_to,
    page_link,
    shown,
    slug,
)


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

    ``_static/site.js`` does the filtering and keeps the choice in the address, ``#verdict=supported&chapter=01,02``. Of the
    checks that are chosen, ``firm=seeds,many``, a row must pass all.
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
        checks = shown(self.env).checks.values()
        by_check = [
            self.choice(
                "firm", name, nodes.Text(ASKS[name]), element("span", "score-count", str(count_same(checks, name)))
            )
            for name in CHECKS
            if count_same(checks, name)
        ]
        asked = (("Verdict", "verdicts", by_verdict), ("Firm", "firm", by_check), ("Chapter", "chapters", by_chapter))
        groups = [
            element("fieldset", f"filter-{kind}", element("legend", "", name), *choices)
            for name, kind, choices in asked
            if choices
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
        whom = " and ".join(f"{source}'s" for source in dict.fromkeys(row.claim.source for row in measured))
        said = f"Verdicts on the {whom} claims ({len(measured)} of {len(rows)} measured): "
        node = element("p", "chapter-answer", said)
        for row in measured:
            badges = element("span", "", *claim_badges(row, f"{row.claim.id} "), title=row.claim.claim)
            node += [link_to(claim_label(row.claim.id), badges, self.env.docname), nodes.Text(" ")]
        return node
