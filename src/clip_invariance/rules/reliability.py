"""How much a verdict hangs on: one seed, chance among many conditions, one publication, the length of the training.

Each check asks whether the registered rule would give the same verdict otherwise. None of them decides anything.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from scipy import stats

from clip_invariance.errors import ReportError
from clip_invariance.measure.statistics import CONFIDENCE
from clip_invariance.results import Results, Value
from clip_invariance.rules.claims import Claim, ClaimRow, Condition, State, Verdict, decide, find_value, judge
from clip_invariance.rules.history import ClaimHistory, History

LONGER_FILE = Path(__file__).with_name("longer.toml")
#: With fewer seeds nothing is left to judge by when one is taken out.
FEWEST_SEEDS = 4
GRID = 401

CheckName = Literal["seeds", "many", "published", "longer"]
Answer = Literal["same", "other", "open", "none"]
CHECKS: tuple[CheckName, ...] = get_args(CheckName)
#: What a check asks, as the label of a filter: a row that passes is "same".
ASKS: dict[CheckName, str] = {
    "seeds": "without any one seed",
    "many": "corrected for all conditions",
    "published": "in every publication",
    "longer": "in a longer training",
}


@dataclass(frozen=True)
class Check:
    """The answer to one question about one verdict.

    Attributes:
        answer: "same" or "other" verdict; "open" where the published numbers cannot tell; "none" where it cannot be asked.
        words: the answer in one sentence.
    """

    name: CheckName
    answer: Answer
    words: str


class Longer(BaseModel):
    """Values that stand for those of a rule after a longer training."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")
    claim: Annotated[str, StringConstraints(pattern=r"^C[0-9]{2}[a-z]?$")]
    training: str
    values: dict[str, str]


def read_longer(path: Path | None = None) -> dict[str, Longer]:
    """The longer trainings by claim, by default those of :data:`LONGER_FILE`.

    Raises:
        ReportError: if the file is missing or malformed.
    """
    path = path or LONGER_FILE
    try:
        rows = [Longer.model_validate(row) for row in tomllib.loads(path.read_text(encoding="utf-8")).get("longer", [])]
    except (OSError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise ReportError(f"{path} cannot be read: {str(error).partition(chr(10))[0]}") from None
    return {row.claim: row for row in rows}


@dataclass(frozen=True)
class Multiplicity:
    """Holm's procedure over every condition that is judged by seeds.

    Attributes:
        conditions: how many there are.
        decided: of these, how many hold or fail, each judged alone.
        survive: how many of those hold or fail at 5 % in all.
        kept: which, as (claim, place in its registered rule).
    """

    conditions: int
    decided: int
    survive: int
    kept: frozenset[tuple[str, int]]


def multiplicity(claims: Sequence[Claim], results: Mapping[str, Results]) -> Multiplicity:
    """Judge all registered conditions together (Holm 1979): the chance that any is on the wrong side is at most 5 %."""
    found: list[tuple[float, tuple[str, int], State]] = []
    for claim in claims:
        for place, condition in enumerate(claim.registered):
            value = find_value(results, condition.value)
            if value is not None and value.n > 1:
                found.append((p_value(value, condition.threshold), (claim.id, place), condition.state(value)))
    found.sort(key=lambda entry: entry[0])
    kept: set[tuple[str, int]] = set()
    for rank, (p, key, _) in enumerate(found):
        if p > (1 - CONFIDENCE) / (len(found) - rank):
            break
        kept.add(key)
    decided = sum(state in ("holds", "fails") for _, _, state in found)
    return Multiplicity(len(found), decided, len(kept), frozenset(kept))


def p_value(value: Value, threshold: float) -> float:
    """Two-sided p of the hypothesis that the true mean is the threshold, from the published interval.

    It is below 5 % exactly where the whole interval is on one side, also where the interval has other sources than seeds.
    """
    half = value.value - value.low if threshold < value.value else value.high - value.value
    distance = abs(value.value - threshold)
    if half <= 0:
        return 0.0 if distance > 0 else 1.0
    return float(2 * stats.t.sf(distance / (half / _quantile(value.n)), value.n - 1))


def _quantile(n: int) -> float:
    return float(stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1))


# ---------------------------------------------------------------- the four checks


def check_all(
    rows: Sequence[ClaimRow], results: Mapping[str, Results], history: History, longer: Mapping[str, Longer]
) -> dict[str, list[Check]]:
    """The checks of every verdict that can be checked, by claim."""
    together = multiplicity([row.claim for row in rows], results)
    found = {}
    for row in rows:
        if row.verdict in ("not yet measured", "cited only"):
            continue
        values = [find_value(results, c.value) for c in row.claim.registered]
        past = history.claims.get(row.claim.id)
        found[row.claim.id] = [
            without_a_seed(row, values),
            among_many(row, values, together),
            in_publications(row, past),
            in_longer(row, results, longer.get(row.claim.id)),
        ]
    return found


def without_a_seed(row: ClaimRow, values: Sequence[Value | None]) -> Check:
    """Whether the verdict stays whichever seed is left out.

    Where the numbers by seed were not published, mean and spread bound what they can be: if no numbers with this mean and
    spread would change the verdict, it stays; if all would, it does not.
    """
    present = [v for v in values if v is not None]
    seeds = [v.n for v in present if v.n]
    if not seeds:
        return Check("seeds", "none", "No number of this rule has seeds.")
    if min(seeds) < FEWEST_SEEDS:
        return Check("seeds", "none", f"Leaving a seed out takes at least {FEWEST_SEEDS} of them.")
    conditions = row.claim.registered
    if all(v.samples or not v.n for v in present):
        verdicts = [_without(conditions, present, i) for i in range(max(seeds))]
        lost = [i for i, verdict in enumerate(verdicts) if verdict != row.verdict]
        if not lost:
            return Check("seeds", "same", "The verdict is the same whichever seed is left out.")
        named = ", ".join(map(str, lost))
        other = ", ".join(dict.fromkeys(verdicts[i] for i in lost))
        return Check("seeds", "other", f"Without seed {named} it would be {other}.")
    anyhow = [_possible(c, v, whole=True) for c, v in zip(conditions, present, strict=True)]
    verdicts_possible = {decide(conditions, states)[0] for states in product(*anyhow)}
    if verdicts_possible == {row.verdict}:
        return Check("seeds", "same", "The verdict is the same whichever seed is left out, by mean and spread alone.")
    for place, (condition, value) in enumerate(zip(conditions, present, strict=True)):
        some = [*anyhow[:place], _possible(condition, value, whole=False), *anyhow[place + 1 :]]
        if row.verdict not in {decide(conditions, states)[0] for states in product(*some)}:
            return Check("seeds", "other", f"Without some seed “{condition.reads}” would not be decided the same way.")
    return Check("seeds", "open", "Numbers by seed were not recorded in this publication; mean and spread cannot tell.")


def _without(conditions: Sequence[Condition], values: Sequence[Value], seed: int) -> Verdict:
    """The verdict without one seed; values with fewer seeds, or none, stay as they are."""
    states: list[State] = []
    for condition, value in zip(conditions, values, strict=True):
        if seed >= value.n:
            states.append(condition.state(value))
            continue
        rest = np.delete(np.asarray(value.samples), seed)
        low, high = _ends(value, np.array([rest.mean()]), np.array([rest.std(ddof=1)]))
        states.append(condition.state_of(float(low[0]), float(high[0])))
    return decide(conditions, states)[0]


def _possible(condition: Condition, value: Value, whole: bool) -> set[State]:
    """How a condition can come out without one seed, given mean and spread of all.

    A number lies at most (n - 1) / sqrt(n) spreads from its mean, and one of them lies no further than sqrt((n - 1) / n).

    Args:
        whole: over all distances that a number can have, or only over those that one certainly has.
    """
    n = value.n
    if not n:
        return {condition.state(value)}
    most = value.spread * ((n - 1) / n**0.5 if whole else ((n - 1) / n) ** 0.5)
    distance = np.linspace(-most, most, GRID)
    squares = np.maximum((n - 1) * value.spread**2 - distance**2 * n / (n - 1), 0)
    low, high = _ends(value, value.value - distance / (n - 1), np.sqrt(squares / (n - 2)))
    return {condition.state_of(float(a), float(b)) for a, b in zip(low, high, strict=True)}


def _ends(
    value: Value, mean: NDArray[np.float64], spread: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The interval of n - 1 seeds with this mean and spread; what the published one has beyond its seeds stays in it."""
    n = value.n
    all_seeds = _quantile(n) * value.spread / n**0.5
    beyond = [max(half**2 - all_seeds**2, 0) for half in (value.value - value.low, value.high - value.value)]
    seeds = _quantile(n - 1) * spread / (n - 1) ** 0.5
    return mean - np.sqrt(seeds**2 + beyond[0]), mean + np.sqrt(seeds**2 + beyond[1])


def among_many(row: ClaimRow, values: Sequence[Value | None], together: Multiplicity) -> Check:
    """Whether the verdict stays if a condition counts as decided only where Holm's procedure decides it, too."""
    states: list[State] = [
        state if value is None or value.n < 2 or (row.claim.id, place) in together.kept else "open"
        for place, (state, value) in enumerate(zip(row.states, values, strict=True))
    ]
    verdict = decide(row.claim.registered, states)[0]
    over = f"corrected (Holm) for all {together.conditions} conditions of the report"
    if verdict == row.verdict:
        return Check("many", "same", f"The verdict is the same {over}.")
    return Check("many", "other", f"It would be {verdict} {over}.")


def in_publications(row: ClaimRow, past: ClaimHistory | None) -> Check:
    """Whether the registered rule gives this verdict for the numbers of every publication."""
    verdicts = past_verdicts(row.claim, past)
    if not verdicts:
        return Check("published", "none", "Nothing was published yet.")
    times = sum(count for _, count in verdicts)
    others = list(dict.fromkeys(v for v, _ in verdicts if v != row.verdict))
    if not others:
        return Check("published", "same", f"The verdict was the same in all {times} publications of its numbers.")
    return Check("published", "other", f"It was {' and '.join(others)} in an earlier publication.")


def past_verdicts(claim: Claim, past: ClaimHistory | None) -> list[tuple[Verdict, int]]:
    """The verdict of the registered rule on the numbers of each publication, and in how many in a row.

    A publication counts if the rule that was valid then asked for all numbers of the registered one.
    """
    found: list[tuple[Verdict, int]] = []
    if past is None:
        return found
    for judged in past.judged:
        rule = past.rules[judged.rule]
        valid = {text.split()[1]: numbers for text, numbers in zip(rule, judged.numbers, strict=True)}
        numbers = [valid.get(c.value, []) for c in claim.registered]
        if all(numbers):
            states = [c.state_of(x[1], x[2]) for c, x in zip(claim.registered, numbers, strict=True)]
            found.append((decide(claim.registered, states)[0], len(judged.commits)))
    return found


def in_longer(row: ClaimRow, results: Mapping[str, Results], longer: Longer | None) -> Check:
    """Whether the verdict stays with the numbers of a longer training in the place of those that there are."""
    if longer is None:
        return Check("longer", "none", "There is no longer training of these arms.")
    conditions = row.claim.registered
    values = [find_value(results, longer.values.get(c.value, c.value)) for c in conditions]
    replaced = [c for c in conditions if c.value in longer.values]
    if any(v is None for v in values):
        return Check("longer", "none", f"This run has no arms with {longer.training}.")
    found = judge(conditions, values)
    part = f" (measured there: {len(replaced)} of {len(conditions)} conditions)"
    scope = "" if len(replaced) == len(conditions) else part
    moved = [c.reads for c, a, b in zip(conditions, row.states, found.states, strict=True) if a != b]
    if found.verdict != row.verdict:
        return Check("longer", "other", f"It would be {found.verdict} after {longer.training}{scope}.")
    but = f", but this comes out otherwise: {'; '.join(moved)}" if moved else ""
    return Check("longer", "same", f"The verdict is the same after {longer.training}{scope}{but}.")


def count_same(checks: Iterable[Sequence[Check]], name: CheckName) -> int:
    """Of how many claims a check finds the same verdict."""
    return sum(check.name == name and check.answer == "same" for of_claim in checks for check in of_claim)
