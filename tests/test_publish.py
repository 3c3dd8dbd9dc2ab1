"""Published results change only through complete, untouched runs of committed code; verify holds runs against them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup

from clip_invariance.cli import main
from clip_invariance.errors import ReportError, UsageError
from clip_invariance.report.publish import publish
from clip_invariance.report.verify import Ruling, compare
from clip_invariance.results import check_files, load_results, read_results, read_run, sha256
from clip_invariance.rules.claims import Claim
from fake_project import files_below
from results_fixture import replace_in_run, value, write_results


def a_run(project: Path, profile: str = "standard", number: float = 1.0, chapter: str = "01", **fields: Any) -> Path:
    folder = project / "_build" / "run" / profile / "figures" / chapter
    folder.mkdir(parents=True, exist_ok=True)
    return write_results(folder, {"drop": value(number)}, profile=profile, **fields)


def test_publish_copies_and_notes_in_the_changelog(project: Path) -> None:
    run = a_run(project)
    (run / "stray.txt").write_text("not part of the run")
    (project / "CHANGELOG.md").write_text("# Changelog\n\n## Published results\n\n- earlier\n\n## 0.1.0\n\n- first\n")
    assert main(["publish", "1"]) == 0
    published = read_results(project / "figures" / "01")
    check_files(published)
    assert published.values.values["drop"].value == 1.0
    assert not (project / "figures" / "01" / "stray.txt").exists()
    lines = (project / "CHANGELOG.md").read_text().splitlines()
    assert lines[:3] == ["# Changelog", "", "## Published results"]
    assert lines[4].endswith("chapter 01 at profile standard (5 seeds, A processor, commit c0ffeec0ff): first results")
    assert lines[5:] == ["- earlier", "", "## 0.1.0", "", "- first"]
    assert {path.name for path in (project / "figures").iterdir()} == {"01"}


def test_the_changelog_says_what_a_publication_changed_and_keeps_no_old_line_that_says_nothing(project: Path) -> None:
    told = []
    for number in (1.0, 1.0, 1.0, 1.0001, 2.0):
        a_run(project, number=number)
        assert main(["publish", "1"]) == 0
        listed = (project / "CHANGELOG.md").read_text().splitlines()
        told.append([line.rpartition(": ")[2] for line in listed if line.startswith("- ")])
    assert told[0] == ["first results"]
    assert told[1] == told[2] == told[3] == ["values as before", "first results"]
    assert told[4] == ["1 changed", "first results"]


def _tamper(run: Path) -> None:
    (run / "accuracy.csv").write_text("seed,score\n0,99.0\n")


def _enlarge(run: Path) -> None:
    (run / "accuracy.svg").write_text(" " * 300_001)
    replace_in_run(run, files=read_run(run).files | {"accuracy.svg": sha256(run / "accuracy.svg")})


@pytest.mark.parametrize(
    ("change", "message", "forced"),
    [
        (_tamper, r"accuracy\.csv was changed after the run", False),
        (lambda run: (run / "accuracy.dark.svg").unlink(), r"accuracy\.dark\.svg is missing", False),
        (lambda run: replace_in_run(run, rules="0" * 64), r"rules in claims\.toml changed", False),
        (_enlarge, "takes 300 kB, more than 300", False),
        (lambda run: replace_in_run(run, files={}), r"lacks accuracy\.csv, accuracy\.json, notebook\.ipynb", False),
        (lambda run: replace_in_run(run, dirty=True), "edited but not committed", True),
        (lambda run: replace_in_run(run, commit="unknown"), "no git repository of its own", True),
        (lambda run: replace_in_run(run, seeds=2), "2 seeds instead of the 5", True),
        (
            lambda run: replace_in_run(run, parameters={"profile": "standard", "steps": 7}),
            "changed by --set steps",
            True,
        ),
    ],
)
def test_publish_refuses(
    project: Path, capsys: pytest.CaptureFixture[str], change: Any, message: str, forced: bool
) -> None:
    a_run(project, number=0.5)
    assert main(["publish"]) == 0
    before = files_below(project / "figures")
    change(a_run(project, number=1.5))
    with pytest.raises(ReportError, match=message):
        publish(project, [], None, force=False)
    assert files_below(project / "figures") == before
    capsys.readouterr()
    assert main(["publish", "--force"]) == (0 if forced else 1)
    assert (files_below(project / "figures") != before) == forced


def test_publish_refuses_smaller_profiles_and_smoke(project: Path) -> None:
    a_run(project, "full", seeds=10)
    publish(project, [], None, force=False)
    a_run(project, "quick")
    with pytest.raises(ReportError, match="quick is smaller than the published full"):
        publish(project, ["01"], "quick", force=False)
    publish(project, ["01"], "quick", force=True)
    assert read_results(project / "figures" / "01").run.profile == "quick"
    a_run(project, "smoke")
    with pytest.raises(ReportError, match="smoke profile is for tests"):
        publish(project, [], "smoke", force=True)


def test_publish_takes_the_largest_run_and_needs_one(project: Path) -> None:
    with pytest.raises(UsageError, match="no complete run of anything at any profile"):
        publish(project, [], None, force=False)
    a_run(project, "quick")
    a_run(project, "standard")
    assert "profile standard" in publish(project, [], None, force=False)[0]
    with pytest.raises(UsageError, match="no complete run of chapter 01 at profile full"):
        publish(project, ["1"], "full", force=False)


def test_failed_copy_leaves_the_published_results(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_run(project, number=0.5)
    publish(project, [], None, force=False)
    before = files_below(project / "figures")
    a_run(project, number=1.5)

    def full(target: Path, content: bytes) -> None:
        target.write_bytes(content[:4])
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr("clip_invariance.report.publish.write_bytes", full)
    assert main(["publish"]) == 1
    assert files_below(project / "figures") == before


# ---------------------------------------------------------------- verify


def publish_value(project: Path, profile: str = "quick", **values: dict[str, Any]) -> None:
    folder = project / "figures" / "01"
    folder.mkdir(parents=True)
    write_results(folder, values, profile=profile)


@pytest.mark.parametrize(
    ("number", "code", "counts"),
    [(1.0, 0, (1, 0, 0)), (2.0, 0, (1, 0, 0)), (2.001, 1, (0, 1, 0)), (-1.0, 1, (0, 1, 0)), (None, 1, (0, 0, 1))],
)
def test_verify_counts_and_exit_codes(
    project: Path, capsys: pytest.CaptureFixture[str], number: float | None, code: int, counts: tuple[int, int, int]
) -> None:
    publish_value(project, drop=value(1.0))
    run = a_run(project, "quick")
    write_results(run, {"other": value(0.0)} | ({"drop": value(number)} if number is not None else {}), profile="quick")
    assert main(["verify", "--profile", "quick", "--json"]) == code
    printed, errors = capsys.readouterr()
    report = json.loads(printed)
    assert (report["within"], report["outside"], report["missing"]) == counts
    (row,) = report["rows"]
    held = {"name": "01.drop", "published": 1.0, "yours": number, "due": True, "tolerance": 1.0, "ok": code == 0}
    assert row == held | {"vague": True, "unit": "points", "digits": 1}
    assert report["verdicts"] == []  # no claim is decided by "drop"
    assert json.loads((project / "_build/run/quick/verify.json").read_text()) == report
    assert len(errors.splitlines()) == (1 if code else 0)
    assert main(["verify", "--profile", "quick"]) == code
    assert re.search(r"01\.drop\s+1\.0\spoints", capsys.readouterr().out)


def test_verify_leaves_a_page_that_says_who_ran_what(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish_value(project, "standard", drop=value(1.0, description="accuracy lost"), gone=value(5.0))
    write_results(
        a_run(project, "quick"),
        {"drop": value(1.5, description="accuracy lost"), "gone": value(5.0, description="what it is not")},
        profile="quick",
        seeds=3,
        device_name="<b>Mine</b> | [x](y)",
        versions={"torch": "2.15.0"},
    )
    assert main(["verify", "--profile", "quick"]) == 0  # a smaller profile need not measure everything
    path = project / "_build" / "run" / "quick" / "verify.html"
    assert str(path) in capsys.readouterr().out
    page = BeautifulSoup(path.read_text(), "html.parser")
    rows = [[cell.get_text() for cell in row.select("td")] for row in page.select("tbody tr")]
    assert [row[0].removeprefix("value ") for row in rows] == ["drop accuracy lost", "gone"]
    assert [row[-1].removeprefix("within? ") for row in rows] == ["✓ yes, as would 0", "not measured"]
    text = page.get_text()
    assert "In all: 1 of 1 values within tolerance, 1 not measured at this profile." in text
    assert "For 1 of those within, 0 would be within the tolerance too" in text
    for part in ("Published: standard on A processor", "5 seeds", "torch 2.14.1"):
        assert part in text
    for part in ("Yours: quick on <b>Mine</b> | [x](y) (CPU)", "3 seeds", "torch 2.15.0"):
        assert part in text
    assert page.select("script, link, img, b, a") == []


def test_verify_names_what_is_missing_from_a_run_of_the_same_size(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish_value(project, drop=value(1.0), gone=value(5.0))
    a_run(project, "quick")
    assert main(["verify", "--profile", "quick"]) == 1
    printed, error = capsys.readouterr()
    assert "1 of 2 values within tolerance, 1 missing from your run" in printed
    assert error.rstrip().endswith("1 are missing (chance puts one in a thousand outside): 01.gone")
    page = BeautifulSoup((project / "_build/run/quick/verify.html").read_text(), "html.parser").get_text()
    assert "In all: 1 of 2 values within tolerance, 1 missing from your run." in page


TABLE = "arm,seed,score,low\nhard,0,50.25,1.5\nsoft,0,60.75,2.5\n"


def signed(folder: Path, **files: str) -> None:
    """Change files as somebody would who knows of the digests."""
    for name, text in files.items():
        (folder / name.replace("_csv", ".csv")).write_text(text)
    listed = {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.name != "run.json"}
    replace_in_run(folder, files=listed)


@pytest.fixture
def theirs(project: Path, tmp_path: Path) -> Path:
    """Somebody's results of chapter 01, which agree with the published ones; tolerances are wide."""
    wide = {"gap": value(60.75, tolerance=99.0, half=99.0), "other": value(7.0, tolerance=99.0, half=99.0)}
    folder = tmp_path / "theirs" / "01"
    for where in (project / "figures" / "01", folder):
        where.mkdir(parents=True)
        write_results(where, wide)
        signed(where, accuracy_csv=TABLE)
    assert main(["verify", "--from", str(folder.parent)]) == 0
    return folder


def edit(folder: Path, **fields: float) -> None:
    """Change the value "gap" and renew its digest."""
    values = json.loads((folder / "values.json").read_text())
    values["values"]["gap"] |= fields
    signed(folder, **{"values.json": json.dumps(values)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "accuracy.csv").unlink(), "accuracy.csv is missing"),
        (lambda folder: (folder / "accuracy.csv").write_text(TABLE + "x"), "accuracy.csv was changed after the run"),
        (
            lambda folder: (folder / "values.json").write_text((folder / "values.json").read_text() + " "),
            "values.json was",
        ),
        (lambda folder: replace_in_run(folder, files={}), "run.json lists no accuracy.csv"),
        (lambda folder: edit(folder, value=10.75), "gap is 10.75, but its table accuracy.csv says 60.75"),
        (lambda folder: edit(folder, value=600.0), "values.gap: value error, value lies outside its own interval"),
        (lambda folder: edit(folder, samples=[1.0, 2, 3, 4, 5]), "gap is not the mean of its numbers by seed"),
        (lambda folder: signed(folder, accuracy_csv=TABLE.replace("60.75", "59.75")), "accuracy.csv says 59.75"),
        (lambda folder: signed(folder, accuracy_csv='a\n"'), "accuracy.csv cannot be read as a table"),
    ],
)
def test_verify_compares_nothing_that_its_run_has_not_left(
    theirs: Path, capsys: pytest.CaptureFixture[str], change: Any, message: str
) -> None:
    change(theirs)
    capsys.readouterr()
    assert main(["verify", "--from", str(theirs.parent)]) == 1
    printed, errors = capsys.readouterr()
    assert printed == ""
    (line,) = errors.splitlines()
    assert message in line
    assert str(theirs) in line


def test_verify_allows_what_a_table_cannot_tell(theirs: Path) -> None:
    """Another run has other numbers in its tables, and a smaller one has fewer rows."""
    edit(theirs, value=59.75)
    signed(theirs, accuracy_csv=TABLE.replace("60.75", "59.75"))
    assert main(["verify", "--from", str(theirs.parent)]) == 0
    signed(theirs, accuracy_csv="arm,seed,score,low\nhard,0,50.25,1.5\n")
    assert main(["verify", "--from", str(theirs.parent)]) == 0


def test_verify_holds_published_files_to_their_digests_too(
    theirs: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "figures" / "01" / "accuracy.csv").write_text("arm\n")
    assert main(["verify", "--from", str(theirs.parent)]) == 1
    assert f"{project / 'figures' / '01' / 'accuracy.csv'} was changed after the run" in capsys.readouterr().err


def test_verify_of_nothing_fails(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish_value(project, "standard", drop=value(1.0))
    write_results(a_run(project, "quick"), {"other": value(1.0)}, profile="quick")
    assert main(["verify", "--profile", "quick"]) == 1
    assert "nothing was compared" in capsys.readouterr().err


RULE = {"role": "essential", "value": "01.drop", "relation": ">", "threshold": 1.0, "reads": "it drops"}


@pytest.mark.parametrize(
    ("number", "verdict", "line", "changes"),
    [
        (2.2, "supported", "1 of 1 verdicts the same", []),
        (1.2, "inconclusive", "0 of 1 verdicts the same", ["C01: supported as published, inconclusive by yours"]),
        (0.1, "contradicted", "0 of 1 verdicts the same", ["C01: supported as published, contradicted by yours"]),
    ],
)
def test_verify_judges_the_claims_again(
    project: Path, number: float, verdict: str, line: str, changes: list[str]
) -> None:
    claim = Claim.model_validate({"id": "C01", "chapter": "01", "claim": "", "where": "", "condition": [RULE]})
    publish_value(project, drop=value(2.0))
    yours = read_results(write_results(a_run(project, "quick"), {"drop": value(number)}, profile="quick"))
    published = load_results(project, "published")
    compared = compare(published, {"01": yours}, published, [claim])
    assert compared.rulings == (Ruling("C01", "supported", verdict),)
    assert compared.verdict_line() == line
    assert [str(ruling) for ruling in compared.changed] == changes


@pytest.mark.parametrize(
    ("number", "tolerance", "vague"),
    [(2.0, 1.0, False), (2.0, 2.0, True), (-2.0, 3.0, True), (0.2, 1.0, False)],  # the last is itself no more than 0
)
def test_verify_says_where_agreement_shows_little(project: Path, number: float, tolerance: float, vague: bool) -> None:
    publish_value(project, drop=value(number, tolerance=tolerance))
    published = load_results(project, "published")
    (row,) = compare(published, published, published).rows
    assert row.ok
    assert row.vague == vague
    assert row.outcome == ("✓ yes, as would 0" if vague else "✓ yes")


def test_verify_takes_a_strangers_folder(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish_value(project, drop=value(1.0))
    theirs = tmp_path / "theirs"
    assert main(["verify", "--from", str(theirs)]) == 2
    (theirs / "figures" / "01").mkdir(parents=True)
    folder = write_results(theirs / "figures" / "01", {"drop": value(1.5)}, profile="quick")
    assert main(["verify", "--from", str(theirs)]) == 0
    assert main(["verify", "--from", str(theirs / "figures")]) == 0
    capsys.readouterr()
    (folder / "values.json").write_text((folder / "values.json").read_text().replace("1.5", "NaN"))
    assert main(["verify", "--from", str(theirs)]) == 1
    assert "values.drop.value" in capsys.readouterr().err
    assert main(["verify", "--from", str(theirs), "--profile", "quick"]) == 2


def test_verify_needs_something_published(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_run(project, "quick")
    assert main(["verify", "--profile", "quick"]) == 1
    assert "nothing is published" in capsys.readouterr().err
