"""Roles: results, verdicts and other people's numbers inside a sentence."""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

from clip_invariance.errors import ReportError
from clip_invariance.report.numbers import by_sign, in_full, in_one_style, point
from clip_invariance.results import Value
from clip_invariance.rules.reliability import CHECKS, count_same
from clip_invariance.site.nodes import (
    box,
    claim_badges,
    claim_label,
    element,
    is_short,
    link_to,
    shown,
    value_box,
    whose,
)

logger = logging.getLogger(__name__)


#: A value's name or a cell's address, and the form after the last colon outside of brackets.
FORM = re.compile(r"([^\[:]*(?:\[[^\]]*\])?)(?::(.*))?", re.DOTALL)


class ValueRole(SphinxRole):
    """``{value}`01.c02_drop_torus``` or ``{value}`04/mention[panel=small light; series=words; mention=1]```.

    In other forms with ``:point`` or ``:ahead|behind`` at the end.

    With two words the number loses its sign, and the first word follows it if it was positive, the second if not.
    """

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        value_id, form = FORM.fullmatch(self.text).groups(default="")  # type: ignore[union-attr]  # it matches anything
        run = results[value_id[:2]].run if value_id[:2] in (results := shown(self.env).results) else None
        value: Value | None = None
        positive, bar, negative = form.partition("|")
        try:
            value = shown(self.env).value(value_id)
            if form not in ("", "point") and not bar:
                raise ReportError(f"unknown form {form!r}, say :point, or :ahead|behind")
        except ReportError as error:
            if value is None and run is not None and is_short(run):
                return [element("span", "ci-not-run", "(not in so short a run)")], []
            logger.warning("%s", error, location=self.get_location())
            return [nodes.Text(f"[{self.text}]")], []
        assert run is not None
        text = by_sign(value, positive, negative) if bar else point(value) if form else in_full(value)
        return [value_box(value, run, text)], []


class VerdictRole(SphinxRole):
    """``{verdict}`C02```: the badge, which says whose claim it judges, linked to the row of the ledger."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        row = shown(self.env).rows.get(self.text)
        if row is None:
            logger.warning("no claim %r is registered", self.text, location=self.get_location())
            return [nodes.Text(f"[{self.text}]")], []
        badges = element(
            "span", "verdicts", *claim_badges(row, f"{whose(row)} {row.claim.id}: "), title=row.claim.claim
        )
        badges["claim"] = row.claim.id
        return [link_to(claim_label(self.text), badges, self.env.docname, required=True)], []


#: What a page may say before a badge that says it as well.
NAMED_BEFORE = re.compile(r"\b[Cc]laim (C\d\d): $")


def shorten_badges(app: Sphinx, doctree: nodes.document) -> None:
    """A badge in a table says its claim's id alone, as the head of the table says the rest; no page says both twice."""
    for badges in [node for node in doctree.findall(box) if "verdicts" in node["classes"]]:
        row = shown(app.env).rows[badges["claim"]]
        place = badges.parent
        while place is not None and not isinstance(place, nodes.entry | nodes.paragraph):
            place = place.parent
        link = badges.parent.parent
        before = link.parent[link.parent.index(link) - 1] if link.parent and link.parent.index(link) else None
        if isinstance(place, nodes.paragraph) and isinstance(place.parent, nodes.entry):
            badges.children = []
            badges.extend(claim_badges(row, f"{row.claim.id} "))
        elif isinstance(before, nodes.Text) and NAMED_BEFORE.search(before.astext()):
            link.parent.replace(before, nodes.Text(NAMED_BEFORE.sub("", before.astext())))


class RulesRole(SphinxRole):
    """``{rules}`count```: how many conditions are judged by seeds; ``decided``: of these, how many hold or fail;
    ``survive``: how many of those still do when all are judged together; ``claims``: how many claims have a rule.
    """

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        here = shown(self.env)
        numbers = {
            "count": here.together.conditions,
            "decided": here.together.decided,
            "survive": here.together.survive,
            "claims": sum(bool(row.claim.conditions) for row in here.rows.values()),
            "amended": sum(a.kind == "rule" for a in here.editions.amendments),
        } | {f"same_{name}": count_same(here.checks.values(), name) for name in CHECKS}
        if self.text not in numbers:
            logger.warning(
                "unknown number of rules %r, say %s", self.text, ", ".join(numbers), location=self.get_location()
            )
            return [nodes.Text(f"[{self.text}]")], []
        return [element("span", "ci-count", str(numbers[self.text]))], []


class ElsewhereRole(SphinxRole):
    """``{elsewhere}`99.8```: a number from somebody else's publication, exempt from the check for typed results."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        return [nodes.inline("", in_one_style(self.text), classes=["elsewhere"])], []
