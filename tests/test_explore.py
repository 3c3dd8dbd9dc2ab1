"""A table that a reader explores shows what was measured, at the choices that were measured, and nothing in between."""

from __future__ import annotations

import csv
from collections.abc import Mapping

import pytest

from clip_invariance.site.explore import Explorer, Mark, explorer, mark_in, names, rate_in_words
from site_fixture import MENTION, REPOSITORY

POLICIES = """row,depth,factor,mentioned,value,low,high,n,chance
object,embedding,object,True,80,77,83,5,8.5
object,embedding,place,False,57,53,61,5,25
everything,embedding,object,True,58,50,66,5,8.5
everything,embedding,place,True,53,50,56,5,25
everything,words,place,True,-4,-14,6,5,25
raw pixels,controls,object,False,54,53,55,5,8.5
raw pixels,controls,place,False,91,90,92,5,25
"""


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def by_policy(**asked: Mapping[str, str]) -> Explorer:
    wanted = {"marks": names("words; embedding = probe"), "levels": names("chance; raw pixels = pixels")}
    return explorer(read(POLICIES), "row", "factor", "depth", {**wanted, **{k: dict(v) for k, v in asked.items()}})


def by_rate() -> Explorer:
    return explorer(read(MENTION), "mention", "panel", "series", {"levels": names("chance; untrained")})


def test_mention_rates_are_in_order_and_in_words() -> None:
    assert list(by_rate().choices.values()) == ["never", "in 10\u202f%", "always"]
    assert rate_in_words(0.025) == "in 2.5\u202f%"


def test_a_choice_shows_what_was_measured_for_it_and_leaves_out_the_rest() -> None:
    what = by_rate()
    assert what.marks["0.1", "small light", "probe, embedding"] == Mark(66.0, 61.0, 71.0)
    assert ("0.1", "large light", "words") not in what.marks
    tenth = what.data()[1]
    assert tenth["name"] == "in 10\u202f%"
    assert [mark and mark[1] for mark in tenth["marks"]] == [
        "51.0 [49.0,\u00a053.0]",
        "66.0 [61.0,\u00a071.0]",
        None,
        None,
    ]
    assert tenth["marks"][0][0] == "--value: 51; --low: 49; --high: 53"


def test_levels_do_not_depend_on_the_choice() -> None:
    assert by_rate().fixed == {
        ("small light", "chance"): Mark(50, 50, 50),
        ("large light", "chance"): Mark(50, 50, 50),
        ("small light", "untrained"): Mark(60, 58, 62),
    }
    assert by_policy().fixed["place", "raw pixels"] == Mark(91, 90, 92)
    assert by_policy().fixed["object", "chance"].text() == "8.5"  # a column of its own


def test_policies_are_chosen_by_name_and_say_what_they_mention() -> None:
    what = by_policy()
    assert what.choices == {"object": "object", "everything": "everything"}
    assert [choice["mentioned"] for choice in what.data()] == [[True, False], [True, True]]
    assert what.axis() == (-20, 100)  # skill may lie below chance, and its whole interval is drawn


def test_what_a_smaller_profile_lacks_is_left_out() -> None:
    what = by_policy(choices=names("nothing; everything = all of it; object"))
    assert what.choices == {"everything": "all of it", "object": "object"}


@pytest.mark.parametrize("wrong", [{"choose": "nowhere"}, {"of": "nowhere"}, {"by": "nowhere"}])
def test_a_column_that_is_missing(wrong: dict[str, str]) -> None:
    columns = {"choose": "row", "of": "factor", "by": "depth"} | wrong
    with pytest.raises(KeyError, match="nowhere"):
        explorer(read(POLICIES), **columns, asked={})


def test_rows_that_contradict_each_other_are_refused() -> None:
    twice = read(POLICIES + "object,embedding,object,True,10,9,11,5,8.5\n")
    with pytest.raises(ValueError, match="several rows for one mark"):
        explorer(twice, "row", "factor", "depth", {})


@pytest.mark.parametrize("number", ["nan", "inf", "many"])
def test_numbers_that_cannot_be_drawn_are_refused(number: str) -> None:
    with pytest.raises(ValueError, match=r"finite|many"):
        mark_in([{"value": number, "low": "1", "high": "2"}])


def test_nothing_to_show() -> None:
    with pytest.raises(ValueError, match="no row of the table"):
        explorer(read(POLICIES.splitlines()[0]), "row", "factor", "depth", {})


def test_published_tables_can_be_explored() -> None:
    doses = read((REPOSITORY / "figures" / "03" / "dose_response.csv").read_text())
    what = explorer(doses, "rate", "factor", "source", {"levels": names("untrained; raw pixels")})
    assert list(what.choices.values())[::4] == ["never", "always"]
    assert len(what.marks) == len(what.choices) * len(what.rows) * len(what.series)
    assert len(what.fixed) == 2 * len(what.rows)
