"""How results read in print: signs, decimals, units, intervals; and what is better not printed as a number."""

from __future__ import annotations

from pathlib import Path

import pytest

import results_fixture
from clip_invariance.measure.statistics import wilson
from clip_invariance.report.numbers import (
    NO_BREAK_SPACE,
    bounded,
    by_sign,
    in_full,
    in_one_style,
    interval,
    number,
    point,
    sharpened,
    shortest,
    with_unit,
)
from clip_invariance.results import Value, complete_folders, read_folders, read_results
from clip_invariance.rules.claims import Condition
from site_fixture import value_record

FIGURES = Path(__file__).parents[1] / "figures"


def value(x: float, low: float, high: float, unit: str = "points", digits: int = 1) -> Value:
    return Value.model_validate(value_record(x, low, high, 0.1, unit, digits))


@pytest.mark.parametrize(
    ("x", "digits", "printed"),
    [(1.26, 1, "1.3"), (-1.26, 1, "−1.3"), (-0.04, 1, "0.0"), (0.0, 2, "0.00"), (98.0, 0, "98")],
)
def test_number(x: float, digits: int, printed: str) -> None:
    assert number(x, digits) == printed


def test_value_in_print() -> None:
    measured = value(-1.26, -1.7, 0.04)
    assert (point(measured), interval(measured)) == ("−1.3\u00a0points", "[−1.7, 0.0]")
    assert point(value(98.24, 97.1, 99.4, "%")) == "98.2\u202f%"
    assert point(value(0.5, 0.4, 0.6, "")) == "0.5"


def test_a_tiny_value_does_not_read_as_zero() -> None:
    tiny = value(2.1e-7, -1.8e-7, 2.4e-7, "", 3)
    assert (point(tiny), interval(tiny)) == ("2.1 × 10⁻⁷", "[−1.8 × 10⁻⁷, 2.4 × 10⁻⁷]")


def test_zero_within_a_visible_interval_stays_decimal() -> None:
    assert point(value(0.0004, -2.0, 2.0)) == "0.0\u00a0points"


def test_no_decimals_and_no_interval_where_nothing_varies() -> None:
    assert in_full(value(100.0, 100.0, 100.0, "%", 2)) == "100\u202f%"
    assert in_full(value(99.99999, 99.99996, 100.00002, "%", 4)) == "100\u202f%"
    assert in_full(value(62.84722, 62.84722, 62.84722, "%")) == "62.8\u202f%"
    assert in_full(value(0.0, 0.0, 0.0)) == "0\u00a0points"
    assert in_full(value(100.0, 99.9, 100.0, "%")) == "100.0\u202f% [99.9, 100.0]"  # digits match its interval's


@pytest.mark.parametrize(("x", "shown"), [(51.2, "51.2"), (100.0, "100"), (-0.5, "−0.5"), (-0.0001, "0")])
def test_shortest_keeps_what_is_not_zero(x: float, shown: str) -> None:
    assert shortest(x, 3) == shown


@pytest.mark.parametrize(
    ("low", "high", "threshold", "printed"),
    [
        (4.93, 6.97, 5.0, "5.9 points [4.9, 7.0]"),  # [5, 7] would look like a rule that holds
        (-1.86, 1.75, 2.0, "−0.1 points [−1.9, 1.8]"),  # [−2, 2] like one that does not
        (4.2, 6.97, 5.0, "6 points [4, 7]"),  # nothing to make clear
        (4.9999, 6.97, 5.0, "6 points [5, 7]"),  # two more decimals would not do either
    ],
)
def test_an_interval_is_not_rounded_across_its_threshold(
    tmp_path: Path, low: float, high: float, threshold: float, printed: str
) -> None:
    entry = results_fixture.value((low + high) / 2, digits=0) | {"low": low, "high": high}
    (tmp_path / "01").mkdir()
    results = read_results(results_fixture.write_results(tmp_path / "01", {"drop": entry}))
    rule = {"role": "essential", "value": "01.drop", "relation": ">", "threshold": threshold, "reads": ""}
    shown = sharpened(results, [Condition.model_validate(rule)])
    assert in_full(shown.values.values["drop"]).replace(NO_BREAK_SPACE, " ") == printed


def test_numbers_of_others_are_in_our_style() -> None:
    assert in_one_style("-.33 (-.46 to -.20)") == "−0.33 (−0.46 to −0.20)"
    assert (
        in_one_style("at .93, not 1.93; 2026-11-26, ViT-B-32, 3-5, C28-0")
        == "at 0.93, not 1.93; 2026-11-26, ViT-B-32, 3-5, C28-0"
    )
    assert in_one_style("zero-shot -0 and -0.0, not -0.05") == "zero-shot 0 and 0.0, not −0.05"


def test_a_part_of_next_to_nothing_is_not_determined() -> None:
    """C25: the gap that scale could close is about zero, so the share that it closes is noise over noise."""
    noise = value(344.5, -9480.2, 10169.1, "%", 0)
    assert (point(noise), interval(noise), in_full(noise)) == ("not determined", "", "not determined")
    assert point(value(344.5, 300.0, 10169.1, "%", 0)) == "344\u202f%"  # a large ratio, but larger than none
    assert point(value(1.0, -9480.2, 10169.1, "points", 0)) == "1\u00a0point"  # a difference may be anything


def test_interval_of_a_share_ends_at_none_and_all() -> None:
    for high, low, shown in ((100.9, 96.6, "[96.6, 100.0]"), (97.3, -0.1, "[0.0, 97.3]")):
        share = value(97.0, low, high, "%").model_copy(update={"kind": "share"})
        assert interval(bounded(share)) == shown


@pytest.mark.parametrize("kind", ["ratio", "difference", "count", "number"])
def test_intervals_of_differences_and_ratios_stay_whole(kind: str) -> None:
    """Half of the way and back, or more of it than there was, are possible."""
    other = value(98.7, -6.5, 107.1, "%").model_copy(update={"kind": kind})
    assert interval(bounded(other)) == "[−6.5, 107.1]"


def test_published_values_say_what_they_are() -> None:
    """A share is in percent and between none and all; a difference is no share; shares of seeds have Wilson's interval."""
    for results in read_folders(complete_folders(FIGURES)).values():
        for name, found in results.values.values.items():
            where = f"{results.run.chapter}.{name}"
            assert found.kind == "difference" or found.unit not in ("points", "nats"), where
            assert found.kind not in ("difference", "count") or found.unit != "%", where
            if found.kind == "share":
                assert found.unit == "%", where
                assert -1e-9 <= found.value <= 100 + 1e-9, where
            if "seeds in which" in found.description:
                low, high = wilson(round(found.value * found.n / 100), found.n)
                assert (found.kind, found.low, found.high) == ("share", 100 * low, 100 * high), where


def test_words_follow_the_sign_and_the_interval_turns_with_it() -> None:
    assert by_sign(value(-13.0, -18.2, -7.0), "ahead", "behind") == "13.0\u00a0points [7.0, 18.2] behind"
    assert by_sign(value(13.0, -1.0, 18.2), "ahead", "behind") == "13.0\u00a0points [−1.0, 18.2] ahead"


@pytest.mark.parametrize(
    ("printed", "shown"), [("1", "1\u00a0point"), ("−1", "−1\u00a0point"), ("1.0", "1.0\u00a0points")]
)
def test_one_point_is_a_point(printed: str, shown: str) -> None:
    assert with_unit(printed, "points") == shown
