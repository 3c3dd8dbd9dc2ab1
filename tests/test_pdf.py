"""The report as one PDF: what is in it, that the contents lead to the right pages, and what happens without a browser."""

from __future__ import annotations

import re
from pathlib import Path

import pypdf
import pytest

from clip_invariance.cli import main
from clip_invariance.errors import ReportError, UsageError
from clip_invariance.site.build import PDF, build_site, inputs_digest, printed, read_inputs
from clip_invariance.site.pdf import build_pdf, find_browser, print_page, title_page
from site_fixture import make_project


def browser_or_skip() -> str:
    try:
        return find_browser()
    except UsageError as error:
        pytest.skip(f"the PDF was not printed: {error}")


def test_without_a_browser_the_command_says_what_to_install(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CHROMIUM", raising=False)
    assert main(["pdf"]) == 2
    errors = capsys.readouterr().err
    assert "no Chromium or Chrome was found" in errors
    assert "apt-get install chromium" in errors
    assert len(errors.splitlines()) == 1
    monkeypatch.setenv("CHROMIUM", "/nowhere/chromium")
    with pytest.raises(UsageError, match="CHROMIUM names /nowhere/chromium"):
        find_browser()
    assert not (project / "_build").exists()


def test_a_browser_that_prints_nothing(tmp_path: Path) -> None:
    target = tmp_path / "x.pdf"
    target.write_text("an older one")
    with pytest.raises(ReportError, match="printed no PDF"):
        print_page("false", tmp_path / "x.html", target)
    assert not target.exists()  # an older one must not pass for the new one


def test_title_page_says_which_results_and_who(tmp_path: Path) -> None:
    project, claims_file = make_project(tmp_path / "p")
    text = title_page(read_inputs(project, "published", claims_file))
    assert text.startswith("# Captions Define Invariance\\: an executable technical report\n")  # no character is markup
    for part in ("The Captions Define Invariance authors", "profile standard · CPU · not a full run", "**Abstract.**"):
        assert part in text
    (project / "CITATION.cff").unlink()
    assert "Abstract" not in title_page(read_inputs(project, "published", claims_file))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Project, claims file and its PDF, printed once."""
    browser_or_skip()
    project, claims_file = make_project(tmp_path_factory.mktemp("pdf") / "p")
    return project, claims_file, build_pdf(project, claims_file=claims_file)


@pytest.mark.browser
def test_document_is_complete_and_its_contents_lead_to_the_right_pages(report: tuple[Path, Path, Path]) -> None:
    pages = [page.extract_text() for page in pypdf.PdfReader(report[2]).pages]
    assert "Captions Define Invariance" in pages[0]
    assert "Abstract." in pages[0]
    listed = {
        name: int(number) for name, number in re.findall(r"^(.+?) +(\d+)$", pages[1] + "\n" + pages[2], re.MULTILINE)
    }
    for heading in ("Introduction", "The ledger of claims", "Methods", "Run it yourself", "Sources"):
        assert heading in pages[listed[heading] - 1], heading
    text = "\n".join(pages)
    for part in ("1 \u00a0 Hard and soft invariance", "Figure 1. Accuracy by place", "Table 1. Published numbers"):
        assert part.replace("\u00a0", " ") in text.replace("\u00a0", " ")
    assert "loses less than 2 points" in text  # the ledger's rules are unfolded
    assert "Yarin Gal" in "\n".join(pages[listed["Sources"] - 1 :])
    for part in ("data (CSV)", "Move the slider", "Only rates that were trained", "Skip to main content"):
        assert part not in text


@pytest.mark.browser
def test_links_stay_inside_the_document(report: tuple[Path, Path, Path]) -> None:
    reader = pypdf.PdfReader(report[2])
    notes = [note.get_object() for page in reader.pages for note in page.get("/Annots", [])]
    inside = [note for note in notes if "/Dest" in note]
    addresses = {str(note["/A"]["/URI"]) for note in notes if "/A" in note}
    assert len(inside) > 50
    assert all(address.startswith("https://") for address in addresses), addresses


@pytest.mark.browser
def test_site_links_to_the_pdf_that_shows_the_same(report: tuple[Path, Path, Path]) -> None:
    project, claims_file, paper = report
    before = paper.stat().st_mtime_ns
    assert build_pdf(project, claims_file=claims_file) == paper
    assert paper.stat().st_mtime_ns == before  # nothing has changed, nothing is printed again
    site = build_site(project, claims_file=claims_file)
    assert (site / PDF).read_bytes() == paper.read_bytes()
    assert f'href="../{PDF}"' in (site / "book" / "methods.html").read_text()
    page = project / "book" / "methods.md"
    page.write_text(page.read_text() + "\nOne more sentence.\n")
    assert printed(project, inputs_digest(read_inputs(project, "published", claims_file))) is None


@pytest.mark.browser
def test_failed_printing_keeps_the_last_pdf(report: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    project, claims_file, paper = report
    before = paper.read_bytes()
    (project / "book" / "claims.md").write_text("# Changed\n")

    def fail(*_: object) -> Path:
        raise ReportError("the site was not built")

    monkeypatch.setattr("clip_invariance.site.pdf.run_jupyter_book", fail)
    with pytest.raises(ReportError, match="not built"):
        build_pdf(project, claims_file=claims_file)
    assert paper.read_bytes() == before
