"""Registered rules in, verdicts out.

``claims.toml`` states for every claim which numbers decide it. A rule that was changed after it had been committed stays
there in both forms, and both are judged, the registered one first: see :class:`Condition`. By which entry a rule may be
changed at all is in :mod:`clip_invariance.rules.editions`, when it was in :mod:`clip_invariance.rules.history`.
A digest of a chapter's rules is stored with each run, so that rules changed afterwards are noticed.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from clip_invariance.errors import ReportError, UsageError
from clip_invariance.results import ChapterId, Results, Value

CLAIMS_FILE = Path(__file__).with_name("claims.toml")
MIN_SEEDS = 3

State = Literal["holds", "fails", "open", "missing"]
Verdict = Literal["supported", "qualified", "contradicted", "inconclusive", "not yet measured", "cited only"]

_STRICT = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class Condition(BaseModel):
    """``value relation threshold``, judged on the whole interval. ``value`` is an id such as "01.c02_drop_torus".

    Attributes:
        reads: in words, what holds if the condition does.
        name: what the number is.
        edition: the edition of the rules that it belongs to.
        since: the amendment that put it in, "" if it is as registered.
        until: the amendment that took it out, "" if it is in force.
    """

    model_config = _STRICT
    role: Literal["essential", "qualifier"]
    value: Annotated[str, StringConstraints(pattern=r"^[0-9]{2}\.[a-z0-9_]+$")]
    relation: Literal["<", ">"]
    threshold: float
    reads: str
    name: str = ""
    edition: Annotated[int, Field(ge=1)] = 1
    since: Annotated[str, StringConstraints(pattern=r"^(A[0-9]+)?$")] = ""
    until: Annotated[str, StringConstraints(pattern=r"^(A[0-9]+)?$")] = ""

    @property
    def key(self) -> tuple[str, str, str, float]:
        """What decides: role, value, relation and threshold."""
        return self.role, self.value, self.relation, self.threshold

    @property
    def chapter(self) -> str:
        return self.value.partition(".")[0]

    def state(self, value: Value | None) -> State:
        """Holds or fails only if the whole interval is on one side of the threshold."""
        return "missing" if value is None else self.state_of(value.low, value.high)

    def state_of(self, low: float, high: float) -> State:
        """The same for an interval alone; ends that touch the threshold are on neither side."""
        below, above = high < self.threshold, low > self.threshold
        if not below and not above:
            return "open"
        return "holds" if below == (self.relation == "<") else "fails"


class Claim(BaseModel):
    """One row of the ledger. ``conditions`` are all that it ever had; a verdict is over those of one edition."""

    model_config = _STRICT
    id: Annotated[str, StringConstraints(pattern=r"^C[0-9]{2}[a-z]?$")]
    chapter: ChapterId
    claim: str
    where: str
    hypothesis: str = ""
    experiment: str = ""
    remark: str = ""  # what a reader of the verdict should know, written after the run; it decides nothing
    cited_only: bool = False
    conditions: list[Condition] = Field(default=[], alias="condition")

    @property
    def edition(self) -> int:
        """The edition whose rules decide: the newest that has any for this claim; 0 without conditions."""
        return max((c.edition for c in self.conditions), default=0)

    @property
    def registered(self) -> list[Condition]:
        """The rule as it was first committed."""
        return [c for c in self.conditions if c.edition == self.edition and not c.since]

    @property
    def in_force(self) -> list[Condition]:
        """The rule with every amendment."""
        return [c for c in self.conditions if c.edition == self.edition and not c.until]

    @property
    def amended(self) -> bool:
        """Whether the two differ in what decides."""
        return [c.key for c in self.registered] != [c.key for c in self.in_force]

    @property
    def source(self) -> str:
        """Whose sentence is judged: "essay" or "article"."""
        return "article" if "companion" in self.where else "essay"

    @model_validator(mode="after")
    def _decidable(self) -> Self:
        for rule in (self.registered, self.in_force):
            if rule and all(c.role != "essential" for c in rule):
                raise ValueError("qualifiers alone decide nothing: one condition must be essential")
        if self.conditions and not (self.registered and self.in_force):
            raise ValueError("a rule cannot be amended away: an edition needs conditions before and after")
        return self


@dataclass(frozen=True)
class Judgement:
    """What a rule says of some values.

    Attributes:
        states: how each condition came out, in order.
        decided_by: the first condition that fails or is open, or else the first essential one; None without a rule.
    """

    verdict: Verdict
    reason: str
    states: tuple[State, ...] = ()
    decided_by: Condition | None = None


@dataclass(frozen=True)
class ClaimRow:
    """One row of the ledger as judged, by the rule as registered.

    The numbers are those of the condition that decided. They are None if it is not measured. ``amended`` is what the rule
    with its amendments says; None if there are none.
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
    amended: Judgement | None = None

    @property
    def in_force(self) -> Verdict:
        """The verdict of the rule with its amendments."""
        return self.amended.verdict if self.amended else self.verdict

    @property
    def verdict_words(self) -> str:
        """The verdict, with that of the amended rule where it is another: "contradicted; as amended: qualified"."""
        differs = self.in_force != self.verdict
        return f"{self.verdict}; as amended: {self.in_force}" if differs else self.verdict

    def as_json(self) -> dict[str, str | float | int | None]:
        """The row of ``clip-invariance claims --json``; ``figure`` reads "01/accuracy_by_place"."""
        fields = ("verdict", "value", "low", "high", "seeds", "profile", "device", "figure")
        row = {"id": self.claim.id, "chapter": self.claim.chapter, **{name: getattr(self, name) for name in fields}}
        return row | {"as_amended": self.amended.verdict if self.amended else None}


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


def choose(claims: Sequence[Claim], ids: Sequence[str]) -> list[Claim]:
    """The claims with these ids, in either case; all without any.

    Raises:
        UsageError: if there is no such claim.
    """
    wanted = {claim_id.upper() for claim_id in ids}
    if unknown := sorted(wanted - {claim.id.upper() for claim in claims}):
        raise UsageError(f"there is no claim {', '.join(unknown)}: clip-invariance claims lists them")
    return [claim for claim in claims if not wanted or claim.id.upper() in wanted]


def rules_digest(claims: Sequence[Claim], chapter: str) -> str:
    """SHA-256 over the conditions in force that use this chapter's values. Wording may change, rules may not.

    Conditions count for the chapter whose value they judge, wherever the claim itself is listed.
    """
    rules = [[claim.id, *c.key] for claim in claims for c in claim.in_force if c.chapter == chapter]
    return hashlib.sha256(json.dumps(sorted(rules), allow_nan=False).encode()).hexdigest()


def falsifier(conditions: Sequence[Condition]) -> str:
    """What would contradict the claim, made from its conditions so that it cannot disagree with them."""
    essential = [c.reads for c in conditions if c.role == "essential"]
    if not essential:
        return ""
    if len(essential) == 1:
        return f"Contradicted if this fails: {essential[0]}."
    listed = "; ".join(f"({number}) {reads}" for number, reads in enumerate(essential, 1))
    return f"Contradicted if one of these {len(essential)} fails, whatever the others do: {listed}."


def evaluate(claims: Sequence[Claim], results: Mapping[str, Results]) -> list[ClaimRow]:
    """Judge every claim by the given results (by chapter id, see :func:`results.load_results`)."""
    return [_row(claim, results) for claim in claims]


def find_value(results: Mapping[str, Results], value_id: str) -> Value | None:
    """Look up "01.c02_drop_torus"; None if the chapter or the value is not there."""
    chapter, _, name = value_id.partition(".")
    return results[chapter].values.values.get(name) if chapter in results else None


def judge(conditions: Sequence[Condition], values: Sequence[Value | None], smoke: bool = False) -> Judgement:
    """What a rule says of its values, given in the order of its conditions.

    Args:
        smoke: whether one of them is from a run too small to judge anything.
    """
    states = tuple(c.state(v) for c, v in zip(conditions, values, strict=True))
    verdict, decisive, reason = decide(conditions, states)
    if verdict != "not yet measured":
        if smoke:
            verdict, reason = "inconclusive", "the smoke profile is too small to judge anything"
        elif any(v is not None and 0 < v.n < MIN_SEEDS for v in values):
            verdict, reason = "inconclusive", f"fewer than {MIN_SEEDS} seeds"
    return Judgement(verdict, reason, states, decisive)


def judge_results(conditions: Sequence[Condition], results: Mapping[str, Results]) -> Judgement:
    """The same for values that are looked up in results."""
    values = [find_value(results, c.value) for c in conditions]
    measured = [c for c, v in zip(conditions, values, strict=True) if v is not None]
    return judge(conditions, values, any(results[c.chapter].run.profile == "smoke" for c in measured))


def _row(claim: Claim, results: Mapping[str, Results]) -> ClaimRow:
    if claim.cited_only:
        return ClaimRow(claim, "cited only", "nothing is run; published evidence is collected", ())
    if not claim.conditions:
        return ClaimRow(claim, "not yet measured", "no rule is registered", ())
    found = judge_results(claim.registered, results)
    amended = judge_results(claim.in_force, results) if claim.amended else None
    row = ClaimRow(claim, found.verdict, found.reason, found.states, found.decided_by, amended=amended)
    decisive = found.decided_by
    shown = find_value(results, decisive.value) if decisive else None
    if decisive is None or shown is None:
        return row
    run = results[decisive.chapter].run
    return replace(
        row,
        value=shown.value,
        low=shown.low,
        high=shown.high,
        seeds=shown.n,
        profile=run.profile,
        device=run.device,
        figure=f"{decisive.chapter}/{shown.figure}" if shown.figure else None,
    )


def decide(conditions: Sequence[Condition], states: Sequence[State]) -> tuple[Verdict, Condition, str]:
    """The verdict that states of conditions make, the condition that decided it, and why, in words."""

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
