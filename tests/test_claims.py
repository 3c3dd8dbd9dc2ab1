"""Results files are read with distrust; verdicts follow from registered rules and published intervals alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from clip_invariance.errors import ReportError, UsageError
from clip_invariance.results import load_results, read_results, read_run, read_sidecar, read_values
from clip_invariance.rules import claims as claims_module
from clip_invariance.rules.claims import evaluate, load_claims, rules_digest
from results_fixture import value, write_results

RULES = """
[[claim]]
id = "C02"
chapter = "01"
claim = "A torus net carries over."
where = "somewhere"
[[claim.condition]]
role = "essential"
value = "01.drop"
relation = "<"
threshold = 2.0
reads = "the drop is below 2 points"
[[claim.condition]]
role = "qualifier"
value = "01.other"
relation = ">"
threshold = 10.0
reads = "the other net drops more than 10 points"

[[claim]]
id = "C12"
chapter = "03"
claim = "People's captions ignore place."
where = "elsewhere"
cited_only = true

[[claim]]
id = "C13"
chapter = "03"
claim = "No rule yet."
where = "elsewhere"
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "claims.toml"
    path.write_text(RULES)
    return path


def verdict(tmp_path: Path, rules: Path, values: dict[str, Any], **run: Any) -> str:
    folder = write_results(_new(tmp_path), values, **run)
    return evaluate(load_claims(rules), {"01": read_results(folder)})[0].verdict


def _new(tmp_path: Path) -> Path:
    folder = tmp_path / "figures" / "01"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.parametrize(
    ("drop", "other", "expected"),
    [
        (value(1.0), value(20.0), "supported"),
        (value(1.0), value(10.2), "qualified"),  # the qualifier is open
        (value(1.0), value(5.0), "qualified"),
        (value(1.8), value(20.0), "inconclusive"),  # the interval crosses the threshold
        (value(1.8), value(5.0), "inconclusive"),
        (value(9.0), value(20.0), "contradicted"),
        (value(1.0), None, "not yet measured"),
        (None, value(20.0), "not yet measured"),
        (value(1.0, n=2), value(20.0), "inconclusive"),
        (value(1.0), value(20.0, n=2), "inconclusive"),
        (value(1.5), value(20.0), "inconclusive"),  # an interval that touches the threshold is not below it
    ],
)
def test_verdicts(tmp_path: Path, rules: Path, drop: Any, other: Any, expected: str) -> None:
    values = {name: entry for name, entry in (("drop", drop), ("other", other)) if entry}
    assert verdict(tmp_path, rules, values) == expected


def test_smoke_runs_decide_nothing(tmp_path: Path, rules: Path) -> None:
    values = {"drop": value(9.0), "other": value(20.0)}
    assert verdict(tmp_path, rules, values, profile="smoke") == "inconclusive"


def test_rows_carry_the_first_essential_value(tmp_path: Path, rules: Path) -> None:
    results = {"01": read_results(write_results(_new(tmp_path), {"drop": value(1.0), "other": value(20.0)}))}
    measured, cited, unmeasured = [row.as_json() for row in evaluate(load_claims(rules), results)]
    assert measured == {
        "id": "C02",
        "chapter": "01",
        "verdict": "supported",
        "value": 1.0,
        "low": 0.5,
        "high": 1.5,
        "seeds": 5,
        "profile": "standard",
        "device": "cpu",
        "figure": "01/accuracy",
        "as_amended": None,
    }
    assert cited["verdict"] == "cited only"
    assert unmeasured == dict.fromkeys(measured) | {"id": "C13", "chapter": "03", "verdict": "not yet measured"}


def test_doctored_value_flips_the_printed_verdict(
    project: Path, rules: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from clip_invariance.cli import main

    monkeypatch.setattr(claims_module, "CLAIMS_FILE", rules)
    folder = project / "figures" / "01"
    folder.mkdir(parents=True)
    write_results(folder, {"drop": value(1.0), "other": value(20.0)})
    assert main(["claims", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["verdict"] == "supported"
    text = (folder / "values.json").read_text()
    for field, old, new in (("high", 1.5, 9.5), ("low", 0.5, 8.5), ("value", 1.0, 9.0)):
        text = text.replace(f'"{field}": {old}', f'"{field}": {new}')
    (folder / "values.json").write_text(text)
    assert main(["claims", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["verdict"] == "contradicted"
    assert main(["claims"]) == 0
    assert "contradicted" in capsys.readouterr().out


def test_rules_digest_follows_rules_not_words(rules: Path) -> None:
    before = rules_digest(load_claims(rules), "01")
    rules.write_text(RULES.replace("carries over", "generalises").replace("is below 2", "stays below 2"))
    assert rules_digest(load_claims(rules), "01") == before
    rules.write_text(RULES.replace("threshold = 2.0", "threshold = 3.0"))
    assert rules_digest(load_claims(rules), "01") != before
    assert rules_digest(load_claims(rules), "03") == rules_digest([], "03")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('relation = "<"', 'relation = "="', "C02: condition.0.relation"),
        ('id = "C13"', 'id = "C02"', "C02 comes more than once"),
        ('role = "essential"', 'role = "qualifier"', "one condition must be essential"),
        ("threshold = 2.0", 'threshold = "2"', "C02: condition.0.threshold"),
        ('where = "somewhere"', 'wher = "somewhere"', "C02: where"),
        ("[[claim]]", "[[claim", "cannot be read"),
    ],
)
def test_malformed_rules_are_named(rules: Path, old: str, new: str, message: str) -> None:
    rules.write_text(RULES.replace(old, new, 1) if "C13" not in old else RULES.replace(old, new))
    with pytest.raises(ReportError, match=message.replace(".", r"\.")):
        load_claims(rules)


def test_registered_claims_are_well_formed() -> None:
    registered = load_claims()
    assert len(registered) > 30
    assert {row.verdict for row in evaluate(registered, {})} <= {"not yet measured", "cited only"}


def test_registered_conditions_can_be_read_one_by_one() -> None:
    """The ledger quotes the one that decided, without those before it, and says what its number is."""
    leaning = re.compile(
        r"(and|so|also|but|nor|neither|the same (holds|gain|on|for|in)|it (is as|moves)|with(out)? less)\b"
    )
    conditions = [(claim.id, condition) for claim in load_claims() for condition in claim.conditions]
    assert [(c.reads, where) for where, c in conditions if leaning.match(c.reads)] == []
    assert [(c.value, where) for where, c in conditions if not c.name or leaning.match(c.name)] == []
    assert [c.reads for _, c in conditions if re.search(r"\s-\d", c.reads + c.name)] == []  # a minus sign is no hyphen


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('"value": 1.0', '"value": NaN', "values.drop.value"),
        ('"value": 1.0', '"value": Infinity', "values.drop.value"),
        ('"value": 1.0', '"value": "1.0"', "values.drop.value"),
        ('"high": 1.5', '"high": -1.5', "low lies above high"),
        ('"n": 5', '"n": -1', "values.drop.n"),
        ('"n": 5', '"n": true', "values.drop.n"),
        ('"drop"', '"../drop"', "values"),
        ('"figure": "accuracy"', '"figure": "../../etc/passwd"', "values.drop.figure"),
        ('"schema": 1', '"schema": 2', "schema"),
        ('"unit": "points"', '"unit": "points", "more": 1', "values.drop.more"),
        ('"chapter": "01"', '"chapter": "1/"', "chapter"),
        ('"chapter": "01"', '"chapter": "02"', "chapter: differs from run.json"),
        ("}", "", "the file"),
    ],
)
def test_strangers_values_are_refused_by_file_and_field(tmp_path: Path, old: str, new: str, field: str) -> None:
    folder = write_results(_new(tmp_path), {"drop": value(1.0)})
    path = folder / "values.json"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ReportError) as caught:
        read_results(folder)
    assert str(path) in str(caught.value)
    assert field in str(caught.value)
    assert "\n" not in str(caught.value)


def test_strangers_runs_and_sidecars_are_refused(tmp_path: Path) -> None:
    folder = write_results(_new(tmp_path), {"drop": value(1.0)})
    assert read_sidecar(folder / "accuracy.json").title == "Arms differ"
    (folder / "other.json").write_bytes((folder / "accuracy.json").read_bytes())
    with pytest.raises(ReportError, match="name: is 'accuracy'"):
        read_sidecar(folder / "other.json")
    for old, new in (('"accuracy.csv"', '"../accuracy.csv"'), ('"seeds": 5', '"seeds": -5'), ('"dirty"', '"dirt"')):
        write_results(folder, {"drop": value(1.0)})
        (folder / "run.json").write_text((folder / "run.json").read_text().replace(old, new))
        with pytest.raises(ReportError, match=r"run\.json"):
            read_run(folder)
    (folder / "values.json").unlink()
    with pytest.raises(ReportError, match=r"values\.json is missing"):
        read_values(folder)


def test_a_run_lies_over_what_is_published(project: Path) -> None:
    for chapter in ("01", "02"):
        folder = project / "figures" / chapter
        folder.mkdir(parents=True)
        write_results(folder, {"drop": value(1.0)})
    own = project / "_build" / "run" / "quick" / "figures" / "02"
    own.mkdir(parents=True)
    write_results(own, {"drop": value(3.0)}, profile="quick")
    results = load_results(project, "quick")
    assert [r.values.values["drop"].value for r in results.values()] == [1.0, 3.0]
    with pytest.raises(ReportError, match="nothing was run at profile full"):
        load_results(project, "full")
    with pytest.raises(UsageError, match="unknown source 'yesterday'"):
        load_results(project, "yesterday")
