"""How firm a verdict is: without a seed, among many conditions, in every publication, in a longer training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from clip_invariance.errors import ReportError
from clip_invariance.measure.statistics import mean_over_seeds
from clip_invariance.results import Results, Value, complete_folders, read_folders
from clip_invariance.rules.claims import Claim, ClaimRow, Condition, evaluate, load_claims
from clip_invariance.rules.history import Change, ClaimHistory, Judged, read_history
from clip_invariance.rules.reliability import (
    CHECKS,
    Longer,
    check_all,
    count_same,
    in_longer,
    in_publications,
    multiplicity,
    p_value,
    read_longer,
    without_a_seed,
)
from results_fixture import value, write_results

PROJECT = Path(__file__).resolve().parents[1]


def condition(name: str = "a", threshold: float = 0.0, role: str = "essential") -> Condition:
    fields = {"role": role, "value": f"01.{name}", "relation": ">", "threshold": threshold, "reads": f"{name} is large"}
    return Condition.model_validate(fields)


def claim(*conditions: Condition, name: str = "C01") -> Claim:
    return Claim(id=name, chapter="01", claim="It is.", where="somewhere", condition=list(conditions))


def measured(samples: list[float], keep: bool = True) -> Value:
    """The published value of some seeds, with or without the numbers by seed."""
    e = mean_over_seeds(samples)
    more = {"low": e.low, "high": e.high, "n": e.n, "spread": e.spread, "samples": e.samples if keep else ()}
    return Value.model_validate(value(e.value) | more)


def results(tmp_path: Path, **values: Value) -> dict[str, Results]:
    folder = tmp_path / "figures" / "01"
    folder.mkdir(parents=True)
    write_results(folder, {name: entry.model_dump(mode="json") for name, entry in values.items()})
    return read_folders({"01": folder})


def judged(tmp_path: Path, *conditions: Condition, **values: Value) -> tuple[ClaimRow, dict[str, Results]]:
    found = results(tmp_path, **values)
    return evaluate([claim(*conditions)], found)[0], found


FIRM, LUCKY = [2.0, 2.2, 1.9, 2.1, 2.0], [0.9, 1.0, 1.1, 1.0, 2.6]


@pytest.mark.parametrize(
    ("samples", "threshold", "keep", "expected"),
    [
        (FIRM, 0.0, True, "same"),
        (FIRM, 0.0, False, "same"),  # no five numbers with this mean and spread fail without one of them
        (
            [3.0, 3.0, 3.0, 3.0, 1.0],
            1.45,
            True,
            "other",
        ),  # an interval that ends just above, and further down without a seed
        ([3.0, 3.0, 3.0, 3.0, 1.0], 1.45, False, "other"),
        (LUCKY, 0.2, True, "other"),
        (LUCKY, 0.0, False, "open"),
    ],
)
def test_without_a_seed(tmp_path: Path, samples: list[float], threshold: float, keep: bool, expected: str) -> None:
    found = measured(samples, keep)
    row, _ = judged(tmp_path, condition(threshold=threshold), a=found)
    assert row.verdict in ("supported", "inconclusive")
    assert without_a_seed(row, [found]).answer == expected


def test_bounds_by_mean_and_spread_agree_with_leaving_seeds_out() -> None:
    """Whatever the numbers are: where mean and spread alone say same, or another, leaving seeds out says so too."""
    draw = np.random.default_rng(0)
    answers = {"same": 0, "other": 0, "open": 0}
    for _ in range(1500):
        samples = draw.normal(draw.uniform(0.5, 3.5), 1, 5).tolist()
        of = condition()
        full, short = measured(samples), measured(samples, keep=False)
        row = ClaimRow(claim(of), "supported" if of.state(full) == "holds" else "inconclusive", "", (of.state(full),))
        by_bounds = without_a_seed(row, [short]).answer
        answers[by_bounds] += 1
        if by_bounds != "open":
            assert without_a_seed(row, [full]).answer == by_bounds
    assert answers["same"] > 20
    assert answers["other"] > 20


def test_three_seeds_are_too_few_to_leave_one_out(tmp_path: Path) -> None:
    few = measured([2.0, 2.1, 2.2])
    row, _ = judged(tmp_path, condition(), a=few)
    assert without_a_seed(row, [few]).answer == "none"


def test_a_p_value_is_below_five_percent_where_the_interval_is_on_one_side_and_agrees_with_a_t_test() -> None:
    found = measured(FIRM)
    assert p_value(found, 1.9) == pytest.approx(stats.ttest_1samp(FIRM, 1.9).pvalue)
    assert p_value(found, found.low - 1e-6) < 0.05 < p_value(found, found.low + 1e-6)
    assert p_value(measured([1.0, 1.0, 1.0]), 0.0) == 0.0


def test_holm_judges_all_conditions_together(tmp_path: Path) -> None:
    """Of three p-values, .001 is compared with .05 / 3, .024 with .05 / 2 and .04 with .05."""

    def with_p(p: float) -> Value:
        sd = 1 / stats.t.isf(p / 2, 4) * 5**0.5
        half = float(stats.t.ppf(0.975, 4)) * sd / 5**0.5
        return Value.model_validate(value(1.0) | {"low": 1 - half, "high": 1 + half, "spread": sd})

    rules = [claim(condition("a"), name="C01"), claim(condition("b"), name="C02"), claim(condition("c"), name="C03")]
    found = results(tmp_path / "1", a=with_p(0.001), b=with_p(0.024), c=with_p(0.04))
    together = multiplicity(rules, found)
    assert (together.conditions, together.decided, together.survive) == (3, 3, 3)
    found = results(tmp_path / "2", a=with_p(0.001), b=with_p(0.026), c=with_p(0.04))
    together = multiplicity(rules, found)
    assert (together.decided, together.survive) == (3, 1)
    rows = evaluate(rules, found)
    answers = {name: checks[1].answer for name, checks in check_all(rows, found, read_history(), {}).items()}
    assert answers == {"C01": "same", "C02": "other", "C03": "other"}


def past(*verdicts: float) -> ClaimHistory:
    numbers = [
        Judged(commits=["0" * 10], verdict="supported", reason="", rule=0, states=["holds"], numbers=[[x, x, x]])
        for x in verdicts
    ]
    changes: list[Change] = []
    return ClaimHistory(registered="0" * 10, rules=[["essential: 01.a > 0"]], changes=changes, judged=numbers)


def test_publications_are_judged_by_the_registered_rule(tmp_path: Path) -> None:
    row, _ = judged(tmp_path, condition(), a=measured(FIRM))
    assert in_publications(row, past(1.0, 2.0)).answer == "same"
    moved = in_publications(row, past(-1.0, 2.0))
    assert (moved.answer, moved.words) == ("other", "It was contradicted in an earlier publication.")
    assert in_publications(row, None).answer == "none"


def test_a_longer_training_takes_the_place_of_what_it_measured(tmp_path: Path) -> None:
    rule = condition(), condition("b", role="qualifier")
    row, found = judged(tmp_path, *rule, a=measured(FIRM), b=measured(FIRM), late=measured([-x for x in FIRM]))
    longer = Longer(claim="C01", training="three times the steps", values={"01.b": "01.late"})
    check = in_longer(row, found, longer)
    assert check.answer == "other"
    assert check.words == "It would be qualified after three times the steps (measured there: 1 of 2 conditions)."
    assert in_longer(row, found, None).answer == "none"
    missing = Longer(claim="C01", training="three times the steps", values={"01.b": "01.nothing"})
    assert in_longer(row, found, missing).answer == "none"


def test_longer_trainings_stand_for_values_of_the_rule_and_are_published() -> None:
    found = read_folders(complete_folders(PROJECT / "figures"))
    rules = {c.id: {x.value for x in c.registered} for c in load_claims()}
    published = {f"{chapter}.{name}" for chapter, r in found.items() for name in r.values.values}
    for claim_id, longer in read_longer().items():
        assert longer.values.keys() <= rules[claim_id], claim_id
        assert set(longer.values.values()) <= published, claim_id


def test_malformed_longer_trainings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "longer.toml"
    path.write_text('[[longer]]\nclaim = "C01"\n')
    with pytest.raises(ReportError, match=r"longer\.toml cannot be read"):
        read_longer(path)


def test_every_measured_claim_is_checked_in_every_way() -> None:
    found = read_folders(complete_folders(PROJECT / "figures"))
    rows = evaluate(load_claims(), found)
    checks = check_all(rows, found, read_history(), read_longer())
    assert {row.claim.id for row in rows if row.verdict not in ("not yet measured", "cited only")} == checks.keys()
    assert all(tuple(check.name for check in of) == CHECKS for of in checks.values())
    assert 0 < count_same(checks.values(), "many") < len(checks)
    words: list[Any] = [check.words for of in checks.values() for check in of]
    assert all(text.endswith(".") and "\n" not in text for text in words)
