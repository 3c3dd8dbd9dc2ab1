"""Roles: results, verdicts and other people's numbers inside a sentence."""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

from clip_invariance.errors import ReportError
from clip_invariance.report.numbers import by_sign, in_full, in_one_style, point
from clip_invariance.results import Value
from clip_invariance.site.nodes import badge, claim_label, element, is_short, link_to, shown, value_box

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
