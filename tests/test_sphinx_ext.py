"""What the roles and directives print, and that wrong names and typed results are noticed."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

from clip_invariance.rules.claims import CLAIMS_FILE, load_claims
from clip_invariance.site.figures import cell, column_digits, readable_share
from clip_invariance.site.nodes import MARKS, MEANINGS, VERDICTS
from site_fixture import make_project


def test_smallest_letters_decide_how_far_a_picture_may_shrink() -> None:
    letters = '<g transform="translate(1 2) scale(0.09 -0.09)"/><g transform="translate(3 4) scale(0.075 -0.075)"/>'
    assert readable_share(letters) * 7.5 * 96 / 72 == pytest.approx(9)
    assert readable_share("<svg><image/></svg>") == 0


@pytest.mark.parametrize(
    ("text", "shown", "classes"),
    [("0.98765", "0.99", ["num"]), ("-3", "−3", ["num"]), ("same_circular", "same circular", []), ("", "", [])],
)
def test_table_cells(text: str, shown: str, classes: list[str]) -> None:
    node = cell(text, 2)
    assert (node.astext(), node["classes"]) == (shown, classes)


def test_columns_have_the_decimals_they_need_and_one_style() -> None:
    assert column_digits(["51.2", "48.75", "valid", ""], 3) == 2
    assert column_digits(["51.2000001", "48.0"], 3) == 1  # what a computer left of 51.2
    assert column_digits(["100.0", "98.0"], 3) == 0
    assert column_digits(["1.23456"], 2) == 2
    assert column_digits(["valid"], 2) == 0


def test_every_verdict_has_its_own_mark_and_a_meaning() -> None:
    assert len({MARKS[v] for v in VERDICTS}) == len(VERDICTS) == len(MEANINGS)


def test_all_claims_are_registered_in_order() -> None:
    claims = load_claims(CLAIMS_FILE)
    assert [c.id for c in claims] == [f"C{i:02d}" for i in range(1, 45)]
    assert [c.chapter for c in claims] == sorted(c.chapter for c in claims)
    assert [c.id for c in claims if c.cited_only] == ["C12", "C44"]
    assert all(c.claim and c.where and c.hypothesis and c.experiment for c in claims)


# ---------------------------------------------------------------- small builds without the theme

PAGES = {
    "01_ok": (
        "# Fine\n\n{value}`01.c02_drop_torus` and {value}`01.accuracy_torus:point`, {verdict}`C02`\n\n"
        "*Claim C02: {verdict}`C02`*\n\n| a | b |\n|---|---|\n| 1 | {verdict}`C02` |\n\n"
        "Others found {elsewhere}`98.2` %, we ran version 1.2.3 and `1.2`, $x = 1.2$, and 99.8 % is no result.\n\n"
        "```{result-figure} 01/accuracy_by_place\nA caption.\n```\n\n```{claims}\n:chapter: 01\n```\n"
    ),
    "01_words": "# Signs\n\nThe other is {value}`01.c04_drop_vit:ahead|behind`, ours {value}`01.c03_slope:ahead|behind`.\n",
    "01_table": "# Table\n\n```{result-table} 01/kayhan\n```\n",
    "01_missing_value": "# A\n\n{value}`01.nowhere`\n",
    "01_missing_chapter": "# A\n\n{value}`09.c02_drop_torus`\n",
    "01_bad_form": "# A\n\n{value}`01.c02_drop_torus:bare`\n",
    "01_missing_claim": "# A\n\n{verdict}`C99`\n",
    "01_missing_figure": "# A\n\n```{result-figure} 01/nothing\nCaption.\n```\n",
    "01_wrong_kind": "# A\n\n```{result-table} 01/accuracy_by_place\n```\n",
    "01_outside": "# A\n\n```{result-figure} 01/../../secret\n```\n",
    "01_missing_column": "# A\n\n```{result-table} 01/kayhan\n:columns: padding, nope\n```\n",
    "01_no_claims": "# A\n\n```{claims}\n:chapter: 77\n```\n",
    "01_explore": (
        "# A\n\n```{explore} 01/mention\n:ask: How often?\n:choose: mention\n:of: panel\n:by: series\n"
        ":levels: chance; untrained\n:unit: accuracy, %\n\nChoose.\n```\n"
    ),
    "01_explore_nothing": "# A\n\n```{explore} 01/nothing\nCaption.\n```\n",
    "01_explore_column": (
        "# A\n\n```{explore} 01/mention\n:ask: Q\n:choose: rate\n:of: panel\n:by: series\n:unit: %\n```\n"
    ),
    "01_typed": "# A\n\nThe net loses 1.2 points.\n",
    "01_typed_negative": "# A\n\nIt loses −31.6 points.\n",
    "01_typed_percent": "# A\n\nIt is right in 98.2 % of cases.\n",
    "01_typed_caption": "# A\n\n```{result-figure} 01/accuracy_by_place\nIt gains **18.3** points.\n```\n",
    "other_page": "# A\n\nPages that are no chapter may say 1.2.\n",
}

WARNED = {
    "01_explore_nothing": "explore 01/nothing: no such figure",
    "01_explore_column": "explore 01/mention: 'rate'",
    "01_missing_value": "no value '01.nowhere'",
    "01_missing_chapter": "no value '09.c02_drop_torus'",
    "01_bad_form": "unknown form 'bare'",
    "01_missing_claim": "no claim 'C99'",
    "01_missing_figure": "no figure '01/nothing'",
    "01_wrong_kind": "no table '01/accuracy_by_place'",
    "01_outside": "no figure '01/../../secret'",
    "01_missing_column": "kayhan has no column nope",
    "01_no_claims": "no claims for chapter '77'",
    "01_typed": "1.2 is typed by hand, but it is a result: write {value}`01.c02_drop_torus`",
    "01_typed_negative": "31.6 is typed by hand",
    "01_typed_percent": "98.2 is typed by hand",
    "01_typed_caption": "18.3 is typed by hand",
}


def small_build(folder: Path, pages: dict[str, str], profile: str = "") -> tuple[Path, list[str]]:
    """The pages in one plain Sphinx build: the folder with the HTML, and the warnings."""
    project, claims_file = make_project(folder / "project")
    source, out = project / "small", project / "out"
    (source / "book").mkdir(parents=True)
    shutil.copytree(project / "figures", source / "figures")
    if profile:
        for path in source.rglob("*.json"):
            path.write_text(re.sub(r'"profile": "\w+"', f'"profile": "{profile}"', path.read_text()))
    for name, text in pages.items():
        (source / "book" / f"{name}.md").write_text(text, encoding="utf-8")
    (source / "book" / "claims.md").write_text("# Ledger\n\n```{ledger-filter}\n```\n\n```{claims}\n```\n")
    (source / "book" / "zz_score.md").write_text("# Score\n\n```{ledger-score}\n```\n")
    (source / "index.md").write_text("# Index\n\n```{toctree}\n:glob:\nbook/*\n```\n")
    warnings = io.StringIO()
    settings = {
        "extensions": ["myst_parser", "clip_invariance.site.sphinx_ext", "clip_invariance.site.explore"],
        "myst_enable_extensions": ["dollarmath"],
        "clip_invariance_claims": str(claims_file),
    }
    with patch_docutils(), docutils_namespace():
        app = Sphinx(source, None, out, out / "trees", "html", settings, status=None, warning=warnings)
        app.build()
    return out, warnings.getvalue().splitlines()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """All pages above."""
    return small_build(tmp_path_factory.mktemp("ext"), PAGES)


def test_a_number_that_a_quick_run_did_not_measure_is_said_to_be_missing(tmp_path: Path) -> None:
    """A quick run trains fewer arms; among published results the same gap is a mistake."""
    out, warnings = small_build(tmp_path, {"01_missing_value": PAGES["01_missing_value"]}, profile="quick")
    assert not about(warnings, "01_missing_value")
    assert "not in so short a run" in (out / "book" / "01_missing_value.html").read_text()


def test_links_to_a_figure_lead_to_its_chapter_wherever_else_it_is_shown(tmp_path: Path) -> None:
    figure = "# A\n\n```{result-figure} 01/accuracy_by_place\nA caption.\n```\n"
    out, _ = small_build(tmp_path, {"00_before": figure, "01_chapter": figure, "zz_after": figure})
    ledger = (out / "book" / "claims.html").read_text()
    assert set(re.findall(r'href="([^"]*)#result-01-accuracy-by-place"', ledger)) == {"01_chapter.html"}


def about(warnings: list[str], page: str) -> list[str]:
    return [line for line in warnings if f"/book/{page}.md" in line]


@pytest.mark.parametrize("page", WARNED)
def test_problem_is_a_warning_at_its_page(built: tuple[Path, list[str]], page: str) -> None:
    found = about(built[1], page)
    assert len(found) == 1
    assert WARNED[page] in found[0]


@pytest.mark.parametrize("page", sorted(PAGES.keys() - WARNED.keys()))
def test_good_pages_have_no_warning(built: tuple[Path, list[str]], page: str) -> None:
    assert about(built[1], page) == []


def test_chapter_page(built: tuple[Path, list[str]]) -> None:
    page = (built[0] / "book" / "01_ok.html").read_text(encoding="utf-8")
    assert "1.2\u00a0points [0.8, 1.7]</span>" in page
    assert "98.2\u202f%</span>" in page  # :point leaves the interval out
    for part in ("5 seeds", "profile standard", "95 % interval [0.8, 1.7]", "commit 0123456", "Example CPU"):
        assert part in page
    assert 'href="claims.html#c02"' in page
    assert 'alt="Two curves: the torus net stays high, the perceptron falls."' in page
    assert "OpenMoji, CC BY-SA 4.0" in page
    assert "<code>git show 0123456789:notebooks/01_hard_vs_soft_invariance.ipynb</code>" in page


def test_pictures_carry_their_size_and_wait_until_they_are_seen(built: tuple[Path, list[str]]) -> None:
    page = BeautifulSoup((built[0] / "book" / "01_ok.html").read_text(encoding="utf-8"), "html.parser")
    frames = page.select("figure.result-figure .result-picture")
    assert [frame["style"] for frame in frames] == ["--width: 520; --height: 260; --least: 412"]
    assert [img["loading"] for img in frames[0].select("img")] == ["lazy", "lazy"]


def test_table_has_its_title_where_a_phone_does_not_cut_it_off(built: tuple[Path, list[str]]) -> None:
    page = BeautifulSoup((built[0] / "book" / "01_table.html").read_text(encoding="utf-8"), "html.parser")
    title = page.select_one("figure.result-table > .result-title")
    assert title is not None
    assert title.get_text() == "Kayhan"
    assert [t["aria-label"] for t in page.select(".table-scroll table")] == ["Kayhan"]


def test_verdicts_of_a_chapter_stand_below_the_run_they_come_from(built: tuple[Path, list[str]]) -> None:
    page = BeautifulSoup((built[0] / "book" / "01_ok.html").read_text(encoding="utf-8"), "html.parser")
    line = page.select_one(".result-links:has(+ .ledger)")
    assert line is not None
    numbers, run = line.select("li")
    assert numbers.get_text() == "all numbers of chapter 1 (JSON)"
    assert run.get_text() == "run of 2026-11-20, profile standard, 5 seeds, CPU, commit 0123456"


def test_ledger_has_an_anchor_per_claim_and_the_rule_in_words(built: tuple[Path, list[str]]) -> None:
    page = (built[0] / "book" / "claims.html").read_text(encoding="utf-8")
    assert [f'id="c{i:02d}"' in page for i in range(1, 45)] == [True] * 44
    assert "the torus net loses less than 2 points at unseen places" in page
    assert "<code>01.c02_drop_torus</code> below 2\u00a0points, measured 1.2\u00a0points [0.8, 1.7]" in page
    assert 'href="01_ok.html#result-01-accuracy-by-place"' in page


def test_every_number_of_the_ledger_says_what_it_is_and_what_was_asked(built: tuple[Path, list[str]]) -> None:
    page = BeautifulSoup((built[0] / "book" / "claims.html").read_text(encoding="utf-8"), "html.parser")
    names = [name.get_text() for name in page.select(".claim-value > .claim-name")]
    assert len(names) == len(page.select(".claim-number")) == 5
    assert names[1].startswith(
        "an invented number for the tests"
    )  # a condition without a name: the value's description
    assert names[1].endswith("; rule: above 99\u202f%")  # the undecided qualifier decided


def test_rows_are_found_under_their_id_in_either_case(built: tuple[Path, list[str]]) -> None:
    page = BeautifulSoup((built[0] / "book" / "claims.html").read_text(encoding="utf-8"), "html.parser")
    row, same = page.find(id="c28"), page.find(id="C28")
    assert row is not None
    assert same is not None
    assert same.parent is row


def test_words_agree_with_the_sign(built: tuple[Path, list[str]]) -> None:
    page = (built[0] / "book" / "01_words.html").read_text(encoding="utf-8")
    assert "31.6\u00a0points [28.0, 35.2] behind</span>" in page
    assert "18.3\u00a0points [15.1, 21.5] ahead</span>" in page


def test_ledger_can_be_filtered_by_what_each_row_says_about_itself(built: tuple[Path, list[str]]) -> None:
    page = BeautifulSoup((built[0] / "book" / "claims.html").read_text(encoding="utf-8"), "html.parser")
    form = page.select_one("form.ledger-filter")
    assert form is not None
    assert form.select_one("[role=status]").get_text() == "5 of 44 claims measured."  # type: ignore[union-attr]
    for name in ("verdict", "chapter"):
        offered = [box["value"] for box in form.select(f"input[name={name}]")]
        there = {row[f"data-{name}"] for row in page.select("article.claim")}
        assert len(offered) == len(set(offered))
        assert set(offered) == there
    passing = {"verdict": "[data-verdict={}]", "firm": "[data-firm~={}]"}
    counted = [(label.input, label.select_one(".score-count")) for label in form.select("label")]
    kinds = {choice["name"] for choice, count in counted if count is not None}  # type: ignore[index]
    assert kinds == {"verdict", "firm"}
    for choice, count in counted:
        if count is not None:
            rows = passing[choice["name"]].format(choice["value"])  # type: ignore[index]
            assert int(count.get_text()) == len(page.select(f"article.claim{rows}")) > 0


def test_a_badge_says_whose_sentence_it_judges_and_no_page_says_so_twice(built: tuple[Path, list[str]]) -> None:
    page = BeautifulSoup((built[0] / "book" / "01_ok.html").read_text(encoding="utf-8"), "html.parser")
    first, named, tabled = (badges.get_text() for badges in page.select("span.verdicts")[:3])
    assert re.fullmatch("≈ Essay.s claim C02: qualified", first)
    assert named == first
    assert page.select_one("em").get_text() == first  # type: ignore[union-attr]
    assert tabled == "≈ C02 qualified"


def test_score_leads_to_the_filtered_ledger(built: tuple[Path, list[str]]) -> None:
    page = BeautifulSoup((built[0] / "book" / "zz_score.html").read_text(encoding="utf-8"), "html.parser")
    assert "5 of 44 claims measured." in page.get_text()
    links = [a["href"] for a in page.select(".score a")]
    assert links[:2] == ["claims.html#verdict=supported", "claims.html#verdict=qualified"]


def test_explorer_is_complete_before_any_script_runs(built: tuple[Path, list[str]]) -> None:
    page = BeautifulSoup((built[0] / "book" / "01_explore.html").read_text(encoding="utf-8"), "html.parser")
    figure = page.select_one("figure.explore")
    assert figure is not None
    assert [choice["name"] for choice in json.loads(str(figure["data-choices"]))] == ["never", "in 10\u202f%", "always"]
    assert str(figure.select(".explore-mark")[0]["style"]).startswith("--value: 49.5;")
    cells = [cell.get_text() for cell in figure.select("tbody tr")[1].select("td")]
    assert cells == ["50.5 [48.0,\u00a053.0]", "80.0 [78.0,\u00a082.0]", "50.0", ""]
    (slider,) = figure.select("input[type=range]")
    assert (slider["min"], slider["max"], slider["aria-valuetext"]) == ("0", "2", "never")
