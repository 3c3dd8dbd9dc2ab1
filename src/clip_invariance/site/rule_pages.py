"""Directives that print the record of the rules: what was amended, and which verdicts moved between publications."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from docutils import nodes
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from clip_invariance.rules.editions import Amendment, Kind
from clip_invariance.rules.record import KNOWN, events
from clip_invariance.site.nodes import box, claim_label, element, link_to, shown

logger = logging.getLogger(__name__)


def claim_links(env: BuildEnvironment, claim_ids: list[str]) -> Iterator[nodes.Node | str]:
    """Links to rows of the ledger: "C27, C28"; runs of more than two are shortened: "C13 to C43"."""
    known = list(shown(env).rows)
    runs: list[list[str]] = []
    for claim_id in claim_ids:
        follows = runs and known.index(claim_id) == known.index(runs[-1][-1]) + 1
        runs[-1].append(claim_id) if follows else runs.append([claim_id])
    for i, run in enumerate(runs):
        ends = run if len(run) < 3 else [run[0], run[-1]]
        for k, claim_id in enumerate(ends):
            yield "" if not (i or k) else " to " if k and len(run) > 2 else ", "
            yield link_to(claim_label(claim_id), nodes.Text(claim_id), env.docname)


class RuleChanges(SphinxDirective):
    """``{rule-changes} rule falsifier words code``: the amendments of these kinds, with date, commit and what was known."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        kinds = self.arguments[0].split()
        if unknown := sorted(set(kinds) - set(get_args(Kind))):
            logger.warning("unknown kind of change %s", ", ".join(unknown), location=self.get_location())
        found = [a for a in shown(self.env).editions.amendments if a.kind in kinds]
        commits = shown(self.env).history.commits
        found.sort(key=lambda a: commits[a.commit].date if a.commit in commits else f"{a.date}T99")
        return [element("ul", "rule-changes", *map(self.item, found))]

    def item(self, amendment: Amendment) -> box:
        when = shown(self.env).history.commits.get(amendment.commit)
        commit = element("code", "", amendment.commit or "not committed", title=when.subject if when else "")
        stamp = element("span", "record-when", when.minute if when else amendment.date)
        claims = element("strong", "", *claim_links(self.env, amendment.claims))
        why = [("Reason", amendment.reason), ("Known then", f"{KNOWN[amendment.known]}. {amendment.evidence}")]
        lines = [element("p", "rule-why", element("span", "claim-key", f"{key}: "), said) for key, said in why]
        return element("li", "", element("p", "", stamp, " ", commit, " ", claims, f": {amendment.what}"), *lines)


class MovedVerdicts(SphinxDirective):
    """``{moved-verdicts}``: every verdict that differed from that of the publication before, and from which numbers."""

    def run(self) -> list[nodes.Node]:
        here = shown(self.env)
        items = []
        for row in here.rows.values():
            judged = [event for event in events(row.claim, here.history, here.editions) if event.kind == "judged"]
            for event in judged[1:]:
                link = element("strong", "", *claim_links(self.env, [row.claim.id]))
                stamp = element("span", "record-when", event.when)
                code = element("code", "", event.commit, title=event.subject)
                moved = element("ul", "", *(element("li", "", line) for line in event.details))
                items.append(element("li", "", link, f" {event.summary} ", stamp, " ", code, moved))
        return [element("ul", "rule-changes", *items)]
