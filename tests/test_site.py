"""The site as a whole: staging, what a build leaves, and what makes it refuse."""

from __future__ import annotations

import functools
import json
import re
import shutil
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from bs4 import BeautifulSoup

from clip_invariance.errors import ReportError, UsageError
from clip_invariance.report.claims import CLAIMS_FILE
from clip_invariance.report.results import NOTEBOOK
from clip_invariance.report.site import (
    banner,
    build_site,
    duration,
    inputs_digest,
    plain,
    read_inputs,
    rerun_page,
    stage,
)
from site_fixture import REPOSITORY, STEM, built_project, make_project, write_results


@pytest.fixture(scope="session")
def site() -> Path:
    return built_project()[2]


@functools.cache
def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def pages(site: Path) -> list[Path]:
    return [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]


def test_pages_are_there(site: Path) -> None:
    names = {str(path.relative_to(site)) for path in pages(site)}
    chapter = {f"book/{STEM}.html", f"notebooks/{STEM}.html"}
    others = {f"book/{name}.html" for name in ("index", "claims", "methods", "reproduce", "references", "status")}
    assert names >= {"index.html", "search.html"} | chapter | others
    assert "book/your_run.html" not in names  # only a run has something to compare


def test_every_page_says_which_results_it_shows(site: Path) -> None:
    for path in pages(site):
        if path.name not in ("index.html", "genindex.html", "search.html") or path.parent.name == "book":
            text = soup(path).select_one(".source-banner")
            assert text is not None, path
            assert text.get_text() == "Published results · profile standard · CPU"


def test_links_and_assets_stay_inside_and_lead_somewhere(site: Path) -> None:
    broken = []
    for path in pages(site):
        page = soup(path)
        for tag in page.select("script[src], link[href], img[src]"):
            address = urlsplit(str(tag.get("src") or tag.get("href")))
            assert not address.netloc, f"{path.name} loads {address.geturl()}"
        for tag in page.select("a[href], script[src], img[src], link[rel=stylesheet]"):
            address = urlsplit(str(tag.get("href") or tag.get("src")))
            if address.scheme or address.netloc:
                continue
            target = (path.parent / unquote(address.path)).resolve() if address.path else path
            if not target.exists():
                broken.append(f"{path.relative_to(site)} -> {address.geturl()}")
            elif address.fragment and target.suffix == ".html":
                found = soup(target).find(id=unquote(address.fragment))
                if found is None and address.fragment not in ("", "search-input"):
                    broken.append(f"{path.relative_to(site)} -> {address.geturl()}")
    assert broken == []


def test_no_foreign_script_is_named_in_any_page(site: Path) -> None:
    for path in pages(site):
        for script in soup(path).select("script"):
            assert "http" not in script.get_text(), path


def test_status_page(site: Path) -> None:
    text = soup(site / "book" / "status.html").get_text(" ")
    for part in ("standard, 5 seeds", "2026-11-20", "7 min 11 s", "13 min 32 s", "7 of 24", "Example CPU @ 2.10GHz"):
        assert part in text.replace("\u00a0", " ").replace("\u2011", "-")
    assert "0123456" in text
    assert "torch 2.14.1" in text


def test_executed_notebook_is_shown_without_its_injected_parameters(site: Path) -> None:
    text = soup(site / "notebooks" / f"{STEM}.html").get_text()
    assert "Executed with profile standard" in text
    assert "accuracy 0.98" in text
    assert 'profile = "quick"' in text
    assert 'profile = "standard"' not in text


def test_front_page_answers_from_the_verdicts(site: Path) -> None:
    page = soup(site / "book" / "index.html")
    cards = page.select(".chapter-card")
    assert len(cards) == 6
    first = cards[0].get_text(" ")
    assert "5 of 6 claims measured" in first
    assert [b.get_text() for b in cards[0].select(".verdict")][:2] == ["✓ C01 supported", "≈ C02 qualified"]
    assert all("planned" in card.get_text() for card in cards[1:])


def test_data_behind_a_figure_can_be_downloaded(site: Path) -> None:
    path = site / "book" / f"{STEM}.html"
    links = [str(a["href"]) for a in soup(path).select(".result-links a.download")]
    csv, sidecar = (path.parent / link for link in links[:2])
    assert csv.read_text() == "place,accuracy\n0,0.98\n1,0.97\n"
    assert json.loads(sidecar.read_text())["name"] == "accuracy_by_place"


def test_second_build_does_nothing(site: Path) -> None:
    project, claims_file, _ = built_project()
    before = (site / "index.html").stat().st_mtime_ns
    start = time.perf_counter()
    assert build_site(project, claims_file=claims_file) == site
    assert time.perf_counter() - start < 3
    assert (site / "index.html").stat().st_mtime_ns == before


def test_nothing_is_written_outside_build(site: Path) -> None:
    names = {path.name for path in built_project()[0].iterdir()}
    assert names == {"_build", "_config.yml", "_toc.yml", "book", "claims.toml", "figures", "notebooks"}


def test_digest_covers_pages_results_and_rules(tmp_path: Path) -> None:
    project, claims_file = make_project(tmp_path / "p")
    seen = {inputs_digest(read_inputs(project, "published", claims_file))}
    for path in (project / "book" / "methods.md", project / "_config.yml", claims_file):
        path.write_text(path.read_text() + "\n# more\n")
        seen.add(inputs_digest(read_inputs(project, "published", claims_file)))
    assert len(seen) == 4


def test_a_run_is_shown_beside_what_is_published(tmp_path: Path) -> None:
    project, claims_file = make_project(tmp_path / "p")
    write_results(project / "_build" / "run" / "quick" / "figures" / "01", claims_file, "quick", shift=0.5)
    site = build_site(project, "quick", claims_file)
    chapter = soup(site / "book" / f"{STEM}.html")
    assert chapter.select_one(".source-banner").get_text().startswith("Your run · profile quick · CPU · chapter 1.")
    assert "1.7\u00a0points [1.3, 2.2]" in chapter.get_text()
    rows = [[td.get_text() for td in tr.select("td")] for tr in soup(site / "book" / "your_run.html").select("tr")]
    by_name = {row[0]: row for row in rows if row}
    assert by_name["c02_drop_torus"][-1] == "✓ yes"  # 0.5 within the tolerance of 2.2
    assert by_name["c01_shift_error"][-1] == "✗ no"
    assert by_name["c02_drop_torus"][1:3] == ["1.2\u00a0points [0.8, 1.7]", "1.7\u00a0points [1.3, 2.2]"]


def test_a_problem_fails_the_build_in_one_line_and_keeps_the_last_site(tmp_path: Path) -> None:
    project, claims_file = make_project(tmp_path / "p")
    good = project / "_build" / "site"
    good.mkdir(parents=True)
    (good / "index.html").write_text("the last good site")
    page = project / "book" / "methods.md"
    page.write_text(page.read_text() + "\n\n{value}`01.nowhere`\n\n[lost](nowhere.md)\n")
    with pytest.raises(ReportError) as caught:
        build_site(project, claims_file=claims_file)
    message = str(caught.value)
    assert "\n" not in message
    assert "2 problem(s)" in message
    assert "book/methods.md" in message
    assert "01.nowhere" in (project / "_build" / "site-src" / "build.log").read_text()
    assert (good / "index.html").read_text() == "the last good site"


def test_results_changed_by_hand_are_refused(tmp_path: Path) -> None:
    project, claims_file = make_project(tmp_path / "p")
    path = project / "figures" / "01" / "values.json"
    path.write_text(path.read_text().replace("1.24", "0.24"))
    with pytest.raises(ReportError, match=r"values\.json was changed after the run"):
        build_site(project, claims_file=claims_file)


@pytest.mark.parametrize(("source", "error"), [("nightly", UsageError), ("quick", ReportError)])
def test_source_without_results(tmp_path: Path, source: str, error: type[Exception]) -> None:
    project, claims_file = make_project(tmp_path / "p")
    with pytest.raises(error):
        build_site(project, source, claims_file)


def test_failed_cell_is_refused(tmp_path: Path) -> None:
    project, claims_file = make_project(tmp_path / "p")
    inputs = read_inputs(project, "published", claims_file)
    path = project / "figures" / "01" / NOTEBOOK
    notebook = nbformat.read(path, as_version=4)
    failure = nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=[])
    notebook.cells[-1].outputs = [failure]
    nbformat.write(notebook, path)
    with pytest.raises(ReportError, match="a cell failed in this run"):
        stage(inputs, tmp_path / "staging")


def test_before_anything_was_run(tmp_path: Path) -> None:
    project, claims_file = make_project(tmp_path / "p", results=False)
    inputs = read_inputs(project, "published", claims_file)
    stage(inputs, tmp_path / "staging")
    assert "No results yet" in banner(inputs)
    assert "not run" in (tmp_path / "staging" / "book" / "status.md").read_text()
    staged = nbformat.read(tmp_path / "staging" / "notebooks" / f"{STEM}.ipynb", as_version=4)
    assert "was not run" in staged.cells[1].source


def test_run_of_an_unpublished_chapter_has_nothing_to_compare_with(tmp_path: Path) -> None:
    project, claims_file = make_project(tmp_path / "p", results=False)
    write_results(project / "_build" / "run" / "quick" / "figures" / "01", claims_file, "quick")
    assert "nothing to compare with" in rerun_page(read_inputs(project, "quick", claims_file))


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.42, "0.4 s"), (59.7, "1 min 0 s"), (185.0, "3 min 5 s"), (7800.0, "2 h 10 min")]
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds).replace("\u00a0", " ") == words


def test_text_from_results_cannot_become_markup() -> None:
    assert plain("a|b <b>*x*</b>\n[y](z)") == r"a\|b \<b\>\*x\*\</b\> \[y\](z)"


@pytest.mark.skipif(
    not list((REPOSITORY / "book").glob("01_*.md")), reason="chapter 1 is not written yet: book/01_*.md is missing"
)
def test_the_report_itself_builds_from_what_is_published(tmp_path: Path) -> None:
    for name in ("book", "notebooks", "figures"):
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    site = build_site(tmp_path)
    written = {path.stem for path in (REPOSITORY / "book").glob("[0-9][0-9]_*.md")}
    assert {path.stem for path in (site / "book").glob("[0-9][0-9]_*.html")} == written
    ledger = soup(site / "book" / "claims.html")
    assert [a["id"] for a in ledger.select("article.claim")] == [f"c{i:02d}" for i in range(1, 45)]
    registered = {*re.findall(r'^value = "(\d\d)\.', CLAIMS_FILE.read_text(), re.MULTILINE)}
    for chapter in registered:  # where rules are registered and results published, verdicts must be drawn from them
        rows = [a for a in ledger.select("article.claim .claim-value") if a]
        assert rows, f"no claim of chapter {chapter} shows a value"
