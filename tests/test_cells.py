"""Numbers quoted from a figure's table by their place in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clip_invariance.errors import ReportError
from clip_invariance.report.cells import find_cell
from clip_invariance.report.numbers import in_full
from results_fixture import sidecar_record

TABLE = """panel,series,mention,value,low,high,n
small light,words,0.1,51.25,48.0,54.5,5
small light,"probe, embedding",0.1,64.0,60.0,68.0,5
small light,words,1.0,95.0,93.0,97.0,5
small light,chance,,50.0,,,
"""


@pytest.fixture
def figures(tmp_path: Path) -> Path:
    (tmp_path / "04").mkdir()
    (tmp_path / "04" / "mention.csv").write_text(TABLE)
    record = sidecar_record("mention", chapter="04") | {"title": "What can be read", "values": "share"}
    (tmp_path / "04" / "mention.json").write_text(json.dumps(record))
    return tmp_path


def test_a_cell_prints_with_its_interval_and_says_where_it_stands(figures: Path) -> None:
    value = find_cell(figures, "04/mention[panel=small light; series=probe, embedding; mention=.10]")
    assert in_full(value) == "64\u202f% [60, 68]"
    assert (value.kind, value.n, value.figure) == ("share", 5, "mention")
    assert value.description == "What can be read: small light, probe, embedding, 0.1"


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("04/mention[series=words", "is no address: write"),
        ("04/nothing[series=words]", "there is no figure 04/nothing"),
        ("../04/mention[series=words]", "is no address"),
        ("04/mention[serie=words]", "no column 'serie': it has panel, series, mention"),
        ("04/mention[series=word]", "no row has series=word: there are words, probe, embedding, chance"),
        ("04/mention[series=words]", "2 rows agree with it: say which mention"),
        ("04/mention[series=probe, embedding; mention=1]", "no row agrees with all of it"),
        ("04/mention[series=chance]", "this row has no interval"),
    ],
)
def test_an_address_that_names_no_cell_is_told_what_would(figures: Path, address: str, problem: str) -> None:
    with pytest.raises(ReportError) as caught:
        find_cell(figures, address)
    assert problem in str(caught.value)


def test_a_number_of_no_known_kind_is_not_printed(figures: Path) -> None:
    (figures / "04" / "mention.json").write_text(json.dumps(sidecar_record("mention", chapter="04")))
    with pytest.raises(ReportError, match="what kind of number"):
        find_cell(figures, "04/mention[series=words; mention=1]")
    lines = TABLE.splitlines()
    told = "\n".join([f"{lines[0]},kind,unit", *(f"{line},difference,nats" for line in lines[1:])])
    (figures / "04" / "mention.csv").write_text(told)
    assert in_full(find_cell(figures, "04/mention[series=words; mention=1]")) == "95\u00a0nats [93, 97]"
