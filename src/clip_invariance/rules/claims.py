"""Registered rules in, verdicts out.

``claims.toml`` states for every claim which numbers decide it, and was committed before the runs that decide it; a
digest of a chapter's rules is stored with each run, so that rules changed afterwards are noticed.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from clip_invariance.errors import ReportError
from clip_invariance.results import ChapterId, Results, Value

CLAIMS_FILE = Path(__file__).with_name("claims.toml")
MIN_SEEDS = 3

State = Literal["holds", "fails", "open", "missing"]
Verdict = Literal["supported", "qualified", "contradicted", "inconclusive", "not yet measured", "cited only"]

_STRICT = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class Condition(BaseModel):
    """``value relation threshold``, judged on the whole interval. ``value`` is an id such as "01.c02_drop_torus".

    ``reads`` says in words what holds if the condition does, ``name`` what the number is.
    """

    model_config = _STRICT
    role: Literal["essential", "qualifier"]
    value: Annotated[str, StringConstraints(pattern=r"^[0-9]{2}\.[a-z0-9_]+$")]
    relation: Literal["<", ">"]
    threshold: float
    reads: str
    name: str = ""

    @property
    def chapter(self) -> str:
        return self.value.partition(".")[0]

    def state(self, value: Value | None) -> State:
        """Holds or fails only if the whole interval is on one side of the threshold."""
        if value is None:
            return "missing"
        below, above = value.high < self.threshold, value.low > self.threshold
        if not below and not above:
            return "open"
        return "holds" if below == (self.relation == "<") else "fails"


class Claim(BaseModel):
    """One row of the ledger as registered."""

    model_config = _STRICT
    id: Annotated[str, StringConstraints(pattern=r"^C[0-9]{2}[a-z]?$")]
    chapter: ChapterId
    claim: str
    where: str
    hypothesis: str = ""
    experiment: str = ""
    falsified_when: str = ""
    remark: str = ""  # what a reader of the verdict should know, written after the run; it decides nothing
    cited_only: bool = False
    conditions: list[Condition] = Field(default=[], alias="condition")

    @model_validator(mode="after")
    def _decidable(self) -> Self:
        if self.conditions and all(c.role != "essential" for c in self.conditions):
            raise ValueError("qualifiers alone decide nothing: one condition must be essential")
        return self


@dataclass(frozen=True)
class ClaimRow:
    """One row of the ledger as judged.

    The numbers are those of the condition that decided: the first that fails or is open, or else the first essential
    one. They are None if it is not measured.
    """

    claim: Claim
    verdict: Verdict
    reason: str
    states: tuple[State, ...]
    decided_by: Condition | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    seeds: int | None = None
    profile: str | None = None
    device: str | None = None
    figure: str | None = None

    def as_json(self) -> dict[str, str | float | int | None]:
        """The row of ``clip-invariance claims --json``; ``figure`` reads "01/accuracy_by_place"."""
        fields = ("verdict", "value", "low", "high", "seeds", "profile", "device", "figure")
        return {"id": self.claim.id, "chapter": self.claim.chapter, **{name: getattr(self, name) for name in fields}}


def load_claims(path: Path | None = None) -> list[Claim]:
    """Read the registered claims, by default those of :data:`CLAIMS_FILE`.

    Raises:
        ReportError: naming claim and field, if the file is missing or malformed or an id comes twice.
    """
    path = path or CLAIMS_FILE
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8")).get("claim", [])
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ReportError(f"{path} cannot be read: {error}") from None
    claims = []
    for row in rows:
        try:
            claims.append(Claim.model_validate(row))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise ReportError(f"{path}: {row.get('id', 'a claim without id')}: {field}: {first['msg']}") from None
    ids = [claim.id for claim in claims]
    if twice := sorted({i for i in ids if ids.count(i) > 1}):
        raise ReportError(f"{path}: {', '.join(twice)} comes more than once")
    return claims


def rules_digest(claims: Sequence[Claim], chapter: str) -> str:
    """SHA-256 over the conditions that use this chapter's values. Wording may change, rules may not.

    Conditions count for the chapter whose value they judge, wherever the claim itself is listed.
    """
    rules = [
        [claim.id, c.role, c.value, c.relation, c.threshold]
        for claim in claims
        for c in claim.conditions
        if c.chapter == chapter
    ]
    return hashlib.sha256(json.dumps(sorted(rules), allow_nan=False).encode()).hexdigest()


def evaluate(claims: Sequence[Claim], results: Mapping[str, Results]) -> list[ClaimRow]:
    """Judge every claim by the given results (by chapter id, see :func:`results.load_results`)."""
    return [_judge(claim, results) for claim in claims]


def find_value(results: Mapping[str, Results], value_id: str) -> Value | None:
    """Look up "01.c02_drop_torus"; None if the chapter or the value is not there."""
    chapter, _, name = value_id.partition(".")
    return results[chapter].values.values.get(name) if chapter in results else None


def _judge(claim: Claim, results: Mapping[str, Results]) -> ClaimRow:
    if claim.cited_only:
        return ClaimRow(claim, "cited only", "nothing is run; published evidence is collected", ())
    if not claim.conditions:
        return ClaimRow(claim, "not yet measured", "no rule is registered", ())
    values = [find_value(results, condition.value) for condition in claim.conditions]
    states = tuple(c.state(v) for c, v in zip(claim.conditions, values, strict=True))
    verdict, decisive, reason = _verdict(claim.conditions, states)
    measured = [(c, v) for c, v in zip(claim.conditions, values, strict=True) if v is not None]
    if verdict != "not yet measured":
        if any(results[c.chapter].run.profile == "smoke" for c, _ in measured):
            verdict, reason = "inconclusive", "the smoke profile is too small to judge anything"
        elif any(0 < v.n < MIN_SEEDS for _, v in measured):
            verdict, reason = "inconclusive", f"fewer than {MIN_SEEDS} seeds"
    shown = find_value(results, decisive.value)
    if shown is None:
        return ClaimRow(claim, verdict, reason, states, decisive)
    run = results[decisive.chapter].run
    return ClaimRow(
        claim,
        verdict,
        reason,
        states,
        decisive,
        value=shown.value,
        low=shown.low,
        high=shown.high,
        seeds=shown.n,
        profile=run.profile,
        device=run.device,
        figure=f"{decisive.chapter}/{shown.figure}" if shown.figure else None,
    )


def _verdict(conditions: Sequence[Condition], states: Sequence[State]) -> tuple[Verdict, Condition, str]:
    """The verdict, the condition that decided it, and why, in words."""

    def first(role: str, *wanted: State) -> Condition | None:
        pairs = zip(conditions, states, strict=True)
        return next((c for c, s in pairs if c.role == role and s in wanted), None)

    if "missing" in states:
        missing = conditions[list(states).index("missing")]
        return "not yet measured", missing, f"no result yet for {missing.value}"
    if failed := first("essential", "fails"):
        return "contradicted", failed, f"“{failed.reads}” fails"
    if undecided := first("essential", "open"):
        return "inconclusive", undecided, f"“{undecided.reads}” is undecided"
    if failed := first("qualifier", "fails"):
        return "qualified", failed, f"“{failed.reads}” fails"
    if undecided := first("qualifier", "open"):
        return "qualified", undecided, f"“{undecided.reads}” is undecided"
    return "supported", next(c for c in conditions if c.role == "essential"), "every condition holds"
