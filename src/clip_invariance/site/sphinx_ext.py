"""Sphinx extension: prose quotes results by name, the ledger draws itself, and hand-typed results fail the build.

Roles: ``{value}`01.c02_drop_torus``` (append ``:point`` for the number without its interval, or ``:ahead|behind`` for a
word that agrees with its sign), ``{verdict}`C02```, ``{rules}`count``` for how many conditions are judged, and
``{elsewhere}`99.8``` for a number that comes from somebody else's publication.
Directives: ``{result-figure} 01/name``, ``{result-table} 01/name``, ``{claims}``, ``{ledger-filter}``,
``{chapter-card} 01``, ``{ledger-score}``, ``{verdict-key}``, ``{rule-changes} rule``, ``{moved-verdicts}``. What surrounds
the text of a page is in :mod:`clip_invariance.site.sphinx_pages`.

Results are read from ``figures/`` beside the sources, where :mod:`clip_invariance.site.build` puts them. Every problem
is a Sphinx warning, which the build turns into an error.
"""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

from clip_invariance.site.figures import ResultFigure, ResultTable
from clip_invariance.site.ledger import ClaimsDirective
from clip_invariance.site.nodes import box, depart_box, resolve_link, skip, visit_box
from clip_invariance.site.roles import ElsewhereRole, RulesRole, ValueRole, VerdictRole, shorten_badges
from clip_invariance.site.rule_pages import MovedVerdicts, RuleChanges
from clip_invariance.site.scores import ChapterCard, LedgerFilter, LedgerScore, VerdictKey
from clip_invariance.site.typed_numbers import check_typed_numbers


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
    app.add_role("rules", RulesRole())
    app.add_directive("result-figure", ResultFigure)
    app.add_directive("result-table", ResultTable)
    app.add_directive("claims", ClaimsDirective)
    app.add_directive("ledger-filter", LedgerFilter)
    app.add_directive("ledger-score", LedgerScore)
    app.add_directive("verdict-key", VerdictKey)
    app.add_directive("chapter-card", ChapterCard)
    app.add_directive("rule-changes", RuleChanges)
    app.add_directive("moved-verdicts", MovedVerdicts)
    app.connect("missing-reference", resolve_link)
    app.connect("doctree-read", shorten_badges)
    app.connect("doctree-read", check_typed_numbers)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}
