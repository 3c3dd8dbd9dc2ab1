"""The site as a whole: staging, what a build leaves, and what makes it refuse."""

from __future__ import annotations

import base64
import functools
import gzip
import io
import json
import re
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup
from fontTools.ttLib import TTFont

from clip_invariance.errors import ReportError, UsageError
from clip_invariance.report.verify import rerun_page
from clip_invariance.report.words import duration, plain
from clip_invariance.results import NOTEBOOK
from clip_invariance.rules.claims import CLAIMS_FILE
from clip_invariance.site.build import (
    Inputs,
    build_site,
    inputs_digest,
    last_change,
    origin,
    read_inputs,
    stage,
    status_page,
)
from clip_invariance.site.figures import readable_share
from clip_invariance.site.sphinx_pages import Origin, banner, citation
from site_fixture import REPOSITORY, STEM, built_project, make_project, sign, write_results


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
            assert text.get_text() == "Published results · profile standard · CPU · not a full run"


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
                if found is None and address.fragment not in ("", "search-input") and "=" not in address.fragment:
                    broken.append(f"{path.relative_to(site)} -> {address.geturl()}")
    assert broken == []


def test_no_foreign_script_is_named_in_any_page(site: Path) -> None:
    for path in pages(site):
        for script in soup(path).select("script"):
            assert "http" not in script.get_text(), path


CITED = Origin(
    own=[],
    title="A 100 % report",
    author="Its authors",
    institution="Their house",
    version="1.2.0",
    commit="ab12",
    date="2027-01-31",
)


def test_citation_is_pinned_to_version_and_commit(site: Path) -> None:
    assert citation(Origin(own=[])) == ""
    assert "url         = {https://example.org/t}" in citation({**CITED, "url": "https://example.org/t"})
    lines = citation(CITED).splitlines()
    assert lines[0] == "@techreport{captionsdefineinvariance,"
    for line in (
        r"title       = {A 100 \% report},",
        "author      = {{Its authors}},",
        "institution = {Their house},",
        "year        = {2027},",
        "note        = {Version 1.2.0, pages last changed in commit ab12}",
    ):
        assert f"  {line}" in lines
    assert "note        = {Version 1.2.0}" in citation({**CITED, "commit": ""})  # without git


def test_readme_pages_and_citation_file_say_the_same_about_how_to_cite() -> None:
    told = origin(Inputs(REPOSITORY, "published", CLAIMS_FILE, {}, {}))
    report = citation({**told, "commit": ""})
    blocks = {
        name: re.findall(r"^@.*?^}$", (REPOSITORY / name).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        for name in ("README.md", "book/reproduce.md")
    }
    assert blocks["README.md"] == blocks["book/reproduce.md"]
    assert blocks["README.md"][0] == report
    software = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    preferred, (essay,) = software["preferred-citation"], software["references"]
    assert {name: preferred[name] for name in ("title", "authors", "version")} == {
        name: software[name] for name in ("title", "authors", "version")
    }
    assert preferred["year"] == software["date-released"].year
    for part in (essay["title"], essay["institution"]["name"], str(essay["year"])):
        assert f"{{{part}}}" in blocks["README.md"][1]


def test_every_page_can_be_cited_and_a_chapter_with_the_commit_of_its_results(site: Path) -> None:
    said = {
        path.stem: soup(path).select(".cite-text")
        for path in [*site.glob("book/*.html"), *site.glob("notebooks/*.html")]
    }
    assert {name for name, found in said.items() if len(found) != 1} == set()
    assert "note        = {Version " in said["index"][0].get_text()
    for page in ("book", "notebooks"):
        text = soup(site / page / f"{STEM}.html").select(".cite-text")[0].get_text()
        assert "@techreport{captionsdefineinvariance:1," in text
        assert "Chapter 1: Hard and soft invariance, version " in text
        assert "results of commit 0123456789abcdef0123456789abcdef01234567, profile standard, 5 seeds}" in text


def test_last_change_is_the_newest_commit_that_concerns_the_pages(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main"]
        done = subprocess.run(["git", *who, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert last_change(tmp_path) == ""
    git("init")
    for name in ("_config.yml", "elsewhere.txt"):
        (tmp_path / name).write_text("a: 1")
        git("add", name)
        git("commit", "-m", name)
    commit = last_change(tmp_path)
    assert commit == git("rev-parse", "HEAD~1")
    (tmp_path / "_config.yml").write_text("a: 2")
    assert last_change(tmp_path) == f"{commit} with uncommitted changes"


def test_banner_is_silent_about_full_results_only() -> None:
    results = read_inputs(built_project()[0], "published", built_project()[1]).results
    full = {"01": replace(results["01"], run=results["01"].run.model_copy(update={"profile": "full"}))}
    assert "not" not in banner(full, [])
    assert banner(results, [], "methods.html").endswith('<a href="methods.html">not a full run</a></span>')
    assert "not all from a full run" in banner({**full, "02": results["01"]}, [])


def test_pages_load_only_what_they_need(site: Path) -> None:
    def loaded(page: str) -> str:
        tags = soup(site / page).select("script[src], link[rel=stylesheet]")
        return " ".join(str(tag.get("src") or tag.get("href")) for tag in tags)

    front, chapter, notebook = (loaded(p) for p in ("book/index.html", f"book/{STEM}.html", f"notebooks/{STEM}.html"))
    for name in ("mathjax", "mystnb", "pygments", "copybutton", "clipboard", "fontawesome"):
        assert name not in front
    assert "mathjax" in chapter
    assert "mystnb" in notebook
    assert "pygments" in notebook
    assert "mathjax" not in notebook


def test_every_icon_that_a_page_uses_is_in_our_small_font(site: Path) -> None:
    folder = site / "_static" / "icons"
    sheet = (folder / "icons.css").read_text()
    code_of = dict(re.findall(r'\.(fa-[a-z-]+)::before \{ content: "\\([0-9a-f]+)"', sheet))
    font_inside = re.search(r'url\("data:font/woff;base64,([^"]+)"\)', sheet)
    assert font_inside
    with TTFont(io.BytesIO(base64.b64decode(font_inside[1]))) as font:
        drawn = set(font.getBestCmap())
    # in the text, because scripts write some buttons
    used = {name for path in pages(site) for name in re.findall(r"\bfa-[a-z-]+", path.read_text(encoding="utf-8"))}
    used -= {"fa-solid", "fa-lg"}
    assert {"fa-bars", "fa-sun", "fa-moon", "fa-magnifying-glass"} <= used
    assert {name for name in used if int(code_of.get(name, "0"), 16) not in drawn} == set()


def test_published_pictures_can_be_read_on_a_phone_without_much_scrolling() -> None:
    """Their smallest letters are 9 pixels high at, or before, nine tenths of the size as drawn."""
    pictures = sorted((REPOSITORY / "figures").glob("*/*.svg"))
    shares = {str(path): readable_share(path.read_text(encoding="utf-8")) for path in pictures}
    assert any(shares.values())
    assert {name: share for name, share in shares.items() if share > 0.9} == {}


def test_status_page(site: Path) -> None:
    text = soup(site / "book" / "status.html").get_text(" ")
    for part in ("standard, 5 seeds", "2026-11-20", "7 min 11 s", "13 min 32 s", "7 of 24", "Example CPU @ 2.10GHz"):
        assert part in text.replace("\u00a0", " ").replace("\u2011", "-")
    assert "0123456" in text
    assert "torch 2.14.1" in text
    assert "all reused" not in text


def test_run_that_computed_nothing_says_so_beside_its_short_time(tmp_path: Path) -> None:
    project, claims_file = make_project(tmp_path)
    path = project / "figures" / "01" / "run.json"
    path.write_text(path.read_text().replace('"reused": 7', '"reused": 24'))
    assert "7\u00a0min\u00a011\u00a0s, all reused" in status_page(read_inputs(project, "published", claims_file))


def test_no_more_units_are_reused_than_there_are(tmp_path: Path) -> None:
    """Records of older runs count a unit twice that two figures ask for."""
    project, claims_file = make_project(tmp_path)
    path = project / "figures" / "01" / "run.json"
    path.write_text(path.read_text().replace('"reused": 7', '"reused": 31'))
    text = status_page(read_inputs(project, "published", claims_file))
    assert "24 of 24" in text
    assert "31" not in text.replace("7 min 11", "")


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
    assert "the essay's claims (5 of 6 measured)" in first.replace("’", "'")
    assert [b.get_text() for b in cards[0].select(".verdict")][:2] == ["✓ C01 supported", "≈ C02 qualified"]
    assert all("planned" in card.get_text() for card in cards[1:])


def test_data_behind_a_figure_can_be_downloaded(site: Path) -> None:
    path = site / "book" / f"{STEM}.html"
    (figure,) = soup(path).select("figure.result-figure:has(a.download)")
    links = [str(a["href"]) for a in figure.select(".result-links a.download")]
    csv, sidecar = (path.parent / link for link in links[:2])
    assert csv.read_text() == "place,accuracy\n0,0.98\n1,0.97\n"
    assert json.loads(sidecar.read_text())["name"] == "accuracy_by_place"
    (name,) = figure.select("a.result-name")
    assert (name.get_text(), name["href"]) == ("01/accuracy_by_place", f"#{figure['id']}")


@pytest.mark.parametrize("page", [STEM, "claims", "status"])
def test_all_numbers_of_a_chapter_are_one_click_away(site: Path, page: str) -> None:
    path = site / "book" / f"{page}.html"
    (link,) = [str(a["href"]) for a in soup(path).select("a.download") if str(a["href"]).endswith("/values.json")]
    assert json.loads((path.parent / link).read_text())["values"]["c02_drop_torus"]["value"] == 1.24


def test_texts_of_results_are_shown_and_never_run(site: Path) -> None:
    showing = {path.stem for path in pages(site) if "from a result file" in soup(path).get_text()}
    assert showing >= {STEM, "status"}
    for path in pages(site):
        for script in soup(path).select("script"):
            assert "from a result file" not in script.get_text(), path


def test_second_build_does_nothing(site: Path) -> None:
    project, claims_file, _ = built_project()
    before = (site / "index.html").stat().st_mtime_ns
    start = time.perf_counter()
    assert build_site(project, claims_file=claims_file) == site
    assert time.perf_counter() - start < 3
    assert (site / "index.html").stat().st_mtime_ns == before


def test_nothing_is_written_outside_build(site: Path) -> None:
    names = {path.name for path in built_project()[0].iterdir()}
    settings = {"_config.yml", "_toc.yml", "CITATION.cff", "claims.toml"}
    assert names == settings | {"_build", "book", "figures", "notebooks"}


def test_digest_covers_pages_results_and_rules(tmp_path: Path) -> None:
    project, claims_file = make_project(tmp_path / "p")
    seen = {inputs_digest(read_inputs(project, "published", claims_file))}
    for path in (project / "book" / "methods.md", project / "_config.yml", project / "CITATION.cff", claims_file):
        path.write_text(path.read_text() + "\n# more\n")
        seen.add(inputs_digest(read_inputs(project, "published", claims_file)))
    assert len(seen) == 5


def test_a_run_is_shown_beside_what_is_published(tmp_path: Path) -> None:
    project, claims_file = make_project(tmp_path / "p")
    write_results(project / "_build" / "run" / "quick" / "figures" / "01", claims_file, "quick", shift=0.5)
    page = project / "book" / f"{STEM}.md"  # what others measured, and this run, too, by chance: no reason to fail
    page.write_text(page.read_text(encoding="utf-8") + "\n\nOthers report 1.7 points.\n", encoding="utf-8")
    site = build_site(project, "quick", claims_file)
    chapter = soup(site / "book" / f"{STEM}.html")
    assert chapter.select_one(".source-banner").get_text().startswith("Your run · profile quick · CPU · chapter 1.")
    assert "1.7\u00a0points [1.3, 2.2]" in chapter.get_text()
    comparison = soup(site / "book" / "your_run.html")
    for label in comparison.select(".cell-label"):
        label.extract()
    rows = [[td.get_text().strip() for td in tr.select("td")] for tr in comparison.select("tr")]
    by_name = {row[0].split()[0]: row for row in rows if row}
    assert by_name["c02_drop_torus"][-1] == "✓ yes, as would 0"  # 0.5 within the tolerance of 2.2, and so is 1.2
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
    path.write_text(path.read_text().replace("1.24", "1.34"))
    with pytest.raises(ReportError, match=r"values\.json was changed after the run"):
        build_site(project, claims_file=claims_file)


@pytest.mark.parametrize(("source", "error"), [("nightly", UsageError), ("quick", ReportError)])
def test_source_without_results(tmp_path: Path, source: str, error: type[Exception]) -> None:
    project, claims_file = make_project(tmp_path / "p")
    with pytest.raises(error):
        build_site(project, source, claims_file)


def test_failed_cell_is_refused(tmp_path: Path) -> None:
    project, claims_file = make_project(tmp_path / "p")
    path = project / "figures" / "01" / NOTEBOOK
    notebook = nbformat.read(path, as_version=4)
    failure = nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=[])
    notebook.cells[-1].outputs = [failure]
    nbformat.write(notebook, path)
    sign(path.parent)
    inputs = read_inputs(project, "published", claims_file)
    with pytest.raises(ReportError, match="a cell failed in this run"):
        stage(inputs, tmp_path / "staging")


def test_before_anything_was_run(tmp_path: Path) -> None:
    project, claims_file = make_project(tmp_path / "p", results=False)
    inputs = read_inputs(project, "published", claims_file)
    stage(inputs, tmp_path / "staging")
    assert "No results yet" in banner(inputs.results, [])
    assert "not run" in (tmp_path / "staging" / "book" / "status.md").read_text()
    staged = nbformat.read(tmp_path / "staging" / "notebooks" / f"{STEM}.ipynb", as_version=4)
    assert "was not run" in staged.cells[1].source


def test_run_of_an_unpublished_chapter_has_nothing_to_compare_with(tmp_path: Path) -> None:
    project, claims_file = make_project(tmp_path / "p", results=False)
    write_results(project / "_build" / "run" / "quick" / "figures" / "01", claims_file, "quick")
    inputs = read_inputs(project, "quick", claims_file)
    assert "nothing to compare with" in rerun_page(inputs.published, inputs.own(), [])


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.42, "0.4 s"), (59.7, "1 min 0 s"), (185.0, "3 min 5 s"), (7800.0, "2 h 10 min")]
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds).replace("\u00a0", " ") == words


def test_text_from_results_cannot_become_markup() -> None:
    assert plain("a|b <b>*x*</b>\n[y](z)") == r"a\|b \<b\>\*x\*\<\/b\> \[y\]\(z\)"
    assert plain("a\u2028:::\x85- b\x1b[1m") == r"a \:\:\: \- b\\x1b\[1m"  # nothing begins a line


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
    front = soup(site / "book" / "index.html")
    chapters = [li.select_one("details > summary") for li in front.select(".bd-sidebar-primary li:has(> a[href^='0'])")]
    assert len(chapters) == len(written)
    assert all(chapters), "a chapter's notebook cannot be unfolded in the list of pages"
    tags = front.select("link[rel=stylesheet], link[as=font], script[src], img.only-light")
    assets = {(site / "book" / urlsplit(str(t.get("href") or t.get("src"))).path).resolve() for t in tags}
    assets |= {site / "book" / "index.html", site / "_static" / "basic.css"}
    # Over the wire, as any server that compresses sends it; with a picture it is a little more than 500 kB without.
    assert sum(len(gzip.compress(asset.read_bytes())) for asset in assets) <= 250_000, "the first page is too heavy"
    assert sum(asset.stat().st_size for asset in assets) <= 600_000, "the first page is too heavy without compression"
    ledger = soup(site / "book" / "claims.html")
    assert [a["id"] for a in ledger.select("article.claim")] == [f"c{i:02d}" for i in range(1, 45)]
    registered = {*re.findall(r'^value = "(\d\d)\.', CLAIMS_FILE.read_text(), re.MULTILINE)}
    for chapter in registered:  # where rules are registered and results published, verdicts must be drawn from them
        rows = [a for a in ledger.select("article.claim .claim-value") if a]
        assert rows, f"no claim of chapter {chapter} shows a value"
