"""The record of one claim, told in order: registered, amended, judged at each publication, with why a verdict moved.

Dates, commits and numbers come from :mod:`history`, reasons and what was known from :mod:`editions`. The site and
``clip-invariance claims --history`` print the same events.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from clip_invariance.rules.claims import Claim
from clip_invariance.rules.editions import Amendment, Editions
from clip_invariance.rules.history import Change, ClaimHistory, History, Judged

EventKind = Literal["registered", "amended", "how it is measured", "reworded", "judged"]

KNOWN = {
    "nothing": "nothing",
    "cannot be told": "cannot be told from the record; nothing had been published",
    "pilot of these arms": "trials had been run",
    "results": "results had been published",
}
_KINDS: dict[str, EventKind] = {
    "rule": "amended",
    "falsifier": "amended",
    "code": "how it is measured",
    "words": "reworded",
}


@dataclass(frozen=True)
class Event:
    """One thing that happened to a claim.

    Attributes:
        when: "2026-11-22 07:36", in UTC.
        commit: ten digits; "" for what is not committed yet.
        subject: the commit's first line.
        summary: what happened, in a sentence or two.
        details: more of it, one line each.
        known: what was known then; "" where that is no question.
    """

    kind: EventKind
    when: str
    commit: str
    subject: str
    summary: str
    details: tuple[str, ...] = ()
    known: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def events(claim: Claim, history: History, editions: Editions) -> list[Event]:
    """Everything that happened to a claim, oldest first; empty for one that has no rule."""
    past = history.claims.get(claim.id)
    if past is None or not past.registered:
        return []
    found = [*_rule_events(past, history, editions.of(claim.id)), *_judged_events(past, history)]
    return sorted(found, key=lambda event: (event.when or "9", event.kind != "registered"))


def _at(kind: EventKind, commit: str, history: History, summary: str, *details: str, known: str = "") -> Event:
    when = history.commits.get(commit)
    return Event(kind, when.minute if when else "", commit, when.subject if when else "", summary, details, known)


def _rule_events(past: ClaimHistory, history: History, amendments: Sequence[Amendment]) -> Iterator[Event]:
    yield _at("registered", past.registered, history, "The rule was committed:", *past.rules[0])
    told = {a.commit for a in amendments if a.kind != "code"}
    for a in amendments:
        changes = (
            [_in_words(change) for change in past.changes if change.commit == a.commit] if a.kind != "code" else []
        )
        yield _at(
            _KINDS[a.kind], a.commit, history, a.what, *changes, f"Reason: {a.reason}",
            known=f"{KNOWN[a.known]}. {a.evidence}",
        )  # fmt: skip
    for change in past.changes:
        if change.commit not in told:
            yield _at("reworded", change.commit, history, _in_words(change))


def _in_words(change: Change) -> str:
    if change.what == "falsified_when":
        if not change.after:
            return f"The sentence on what falsifies it, “{change.before}”, was dropped: it is made from the rule since."
        return f"What would falsify it: “{change.before}” became “{change.after}”"
    if change.what == "claim":
        return f"The claim: “{change.before}” became “{change.after}”"
    if change.what == "condition added":
        return f"Added: {change.after}"
    if change.what == "condition removed":
        return f"Removed: {change.before}"
    return f"Changed: {change.before} became {change.after}"


def _judged_events(past: ClaimHistory, history: History) -> Iterator[Event]:
    before: Judged | None = None
    for judged in past.judged:
        if before is None:
            yield _at("judged", judged.commits[0], history, f"{judged.verdict}: {judged.reason}.")
        elif before.verdict != judged.verdict:
            summary = f"{judged.verdict} (was {before.verdict}): {judged.reason}."
            yield _at("judged", judged.commits[0], history, summary, *why_moved(past, before, judged))
        before = judged


def why_moved(past: ClaimHistory, before: Judged, after: Judged) -> Iterator[str]:
    """From which conditions a verdict moved: the rule, or numbers that came to lie elsewhere."""
    if before.rule != after.rule:
        yield "The rule had been amended in between."
    old = dict(zip(past.rules[before.rule], zip(before.states, before.numbers, strict=True), strict=True))
    for rule, state, numbers in zip(past.rules[after.rule], after.states, after.numbers, strict=True):
        was = old.get(rule)
        if was and was[0] != state:
            yield f"{rule}: {_span(was[1])} {_OUTCOME[was[0]]}, then {_span(numbers)} {_OUTCOME[state]}."


_OUTCOME = {"holds": "holds", "fails": "fails", "open": "is undecided", "missing": "is missing"}


def _span(numbers: Sequence[float]) -> str:
    if not numbers:
        return "nothing"
    mean, low, high = (f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.4g}" for x in numbers)
    return f"{mean} [{low}, {high}]".replace("-", "−")


def former_verdicts(past: ClaimHistory | None) -> list[str]:
    """The verdicts that publications gave before the last one, each once, in order, without the last."""
    if past is None or not past.judged:
        return []
    verdicts = list(dict.fromkeys(judged.verdict for judged in past.judged))
    return [verdict for verdict in verdicts if verdict != past.judged[-1].verdict]
