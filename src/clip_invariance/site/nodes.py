"""What the pages show, and the nodes that all of our roles and directives are made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

from clip_invariance.errors import ReportError
from clip_invariance.profiles import PROFILES
from clip_invariance.report.cells import find_cell, is_address
from clip_invariance.report.numbers import bounded, ends, is_undetermined, prints, sharpened, with_unit, within_bounds
from clip_invariance.report.words import machine, short_commit
from clip_invariance.results import Results, RunRecord, Sidecar, Value, complete_folders, read_folders, read_sidecar
from clip_invariance.rules.claims import CLAIMS_FILE, ClaimRow, Verdict, evaluate, find_value, load_claims
from clip_invariance.rules.editions import Editions, read_editions
from clip_invariance.rules.history import NO_HISTORY, History, read_history
from clip_invariance.rules.reliability import Check, Longer, Multiplicity, check_all, multiplicity, read_longer

logger = logging.getLogger(__name__)

LINK = "clip-invariance"
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
    history: History
    editions: Editions
    checks: dict[str, list[Check]]
    together: Multiplicity

    def value(self, name: str) -> Value:
        """A named value, or a cell of a figure by its address.

        Raises:
            ReportError: if there is no such number.
        """
        if is_address(name):
            return bounded(find_cell(self.figures, name))
        if (value := find_value(self.results, name)) is None:
            raise ReportError(f"no value {name!r} in the results")
        return value

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
    history, editions, longer = NO_HISTORY, Editions(edition=[]), dict[str, Longer]()
    if claims_file == CLAIMS_FILE:  # the record is of these claims, and of no others
        history, editions, longer = read_history(), read_editions(), read_longer()
    return Shown(
        figures,
        in_print,
        {row.claim.id: row for row in rows},
        history,
        editions,
        check_all(rows, results, history, longer),
        multiplicity(claims, results),
    )


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


def claim_badges(row: ClaimRow, label: str = "") -> list[nodes.Node]:
    """The badge of a claim, and where its rule was amended and that says something else, the badge of that beside it.

    Args:
        label: what stands before the verdict, for instance "Essay's claim C28: ".
    """
    first = badge(row.verdict, f"{label}{row.verdict}")
    if row.in_force == row.verdict:
        return [first]
    said = element("span", "verdict-note", " by the registered rule; as amended: ")
    return [first, said, badge(row.in_force)]


def whose(row: ClaimRow) -> str:
    """Whose sentence a verdict judges: "Essay's claim", "Article's claim"."""
    return f"{row.claim.source.capitalize()}'s claim"


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
