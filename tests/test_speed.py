"""What ``make bench`` keeps, and how the methods page prints it."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

from clip_invariance.errors import ReportError
from clip_invariance.report.speed import SPEED, ChapterCost, Point, Ratio, Speed, exponent, predicted, read_speed
from clip_invariance.results import write_json
from site_fixture import make_project

PAIRS = [(1.0, 4.0), (2.0, 5.0), (1.0, 3.0)]


def points(of: str, costs: dict[float, tuple[float, float]]) -> list[Point]:
    return [Point(of=of, amount=x, seconds=s, memory_mb=m) for x, (s, m) in costs.items()]  # type: ignore[arg-type]


def record(**changes: Any) -> Speed:
    fields: dict[str, Any] = {
        "schema": 1,
        "device_name": "Example CPU",
        "cores": 2,
        "load": 0.1,
        "versions": {"torch": "2.0"},
        "commit": "0123456789",
        "dirty": False,
        "created": "2026-11-22T01:52:27+00:00",
        "seconds": 500.0,
        "ratios": [Ratio.of("a step", "another loop", "ms", PAIRS, 1.3), Ratio.of("a dream", "sleep", "s", PAIRS, 9.0)],
        "growth": points("seeds", {1.0: (3.0, 500.0), 2.0: (5.0, 500.0)}),
        "chapters": [
            ChapterCost(chapter="01", profile="quick", seeds=3, units=60, compute_seconds=7200.0, peak_memory_mb=900.0)
        ],
    }
    return Speed(**(fields | changes))


def test_a_ratio_is_taken_within_each_repeat() -> None:
    """Repeats alternate, so that a slow minute hits both sides of one ratio."""
    ratio = Ratio.of("a step", "another loop", "ms", PAIRS, None)
    assert (ratio.ours, ratio.theirs) == (1.0, 4.0)
    assert (ratio.low, ratio.ratio, ratio.high) == (2.5, 3.0, 4.0)
    even = Ratio.of("a step", "another loop", "ms", [(1.0, 2.0), (1.0, 4.0)], None)
    assert even.ratio == 3.0


def test_growth_is_a_power_of_the_amount() -> None:
    square = points("image side", {16.0: (2.56, 100.0), 32.0: (10.24, 100.0), 64.0: (40.96, 100.0)})
    assert exponent(square, "seconds") == pytest.approx(2)
    assert exponent(square, "memory_mb") == pytest.approx(0)
    assert predicted(square, "seconds", 100) == pytest.approx(4096)  # ten times the side, a hundred times the pixels


def test_prediction_does_not_multiply_what_is_paid_once() -> None:
    seeds = points("seeds", {1.0: (12.0, 500.0), 2.0: (14.0, 501.0), 4.0: (18.0, 499.0)})  # 10 s at the start, 2 s each
    assert predicted(seeds, "seconds", 10) == pytest.approx(90)
    assert predicted(seeds, "memory_mb", 100) == 499  # less memory for more work is luck, not a trend


def test_memory_of_more_trainings_flattens_and_of_more_pixels_does_not() -> None:
    seeds = points("seeds", {1.0: (1.0, 1000.0), 2.0: (1.0, 1050.0), 4.0: (1.0, 1080.0)})
    line = 1080 + (1080 - 1050) / (4 - 2) * (400 - 4)
    assert 1080 < predicted(seeds, "memory_mb", 100) < line / 4
    sides = points("image side", {10.0: (1.0, 1100.0), 20.0: (1.0, 1400.0)})  # 1 MB for each pixel, and 1 GB
    assert predicted(sides, "memory_mb", 100) == pytest.approx(1000 + 100 * 400)


def test_record_is_read_back_and_a_bad_one_is_named(tmp_path: Path) -> None:
    assert read_speed(tmp_path) is None
    (tmp_path / SPEED).parent.mkdir(parents=True)
    write_json(tmp_path / SPEED, record())
    assert read_speed(tmp_path) == record()
    (tmp_path / SPEED).write_text('{"schema": 2}')
    with pytest.raises(ReportError, match=r"speed\.json: schema"):
        read_speed(tmp_path)


def build(tmp_path: Path, speed: Speed | None) -> tuple[BeautifulSoup, str]:
    """One page with everything, in plain Sphinx: the page and the warnings."""
    project, claims_file = make_project(tmp_path / "project")
    (project / "book").mkdir(exist_ok=True)
    source = tmp_path / "small"
    (source / "book").mkdir(parents=True)
    shutil.copytree(project / "figures", source / "figures")
    if speed is not None:
        (source / SPEED).parent.mkdir()
        write_json(source / SPEED, speed)
        for ending in ("", ".dark"):
            (source / SPEED.parent / f"growth{ending}.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    tables = "".join(f"```{{speed-table}} {kind}\n```\n\n" for kind in ("ratios", "growth", "chapters", "nonsense"))
    page = f"# Cost\n\n{tables}```{{speed-figure}}\n:alt: Lines rise.\nA caption.\n```\n"
    (source / "index.md").write_text(page, encoding="utf-8")
    warnings = io.StringIO()
    extensions = ["myst_parser", "clip_invariance.site.sphinx_ext", "clip_invariance.site.speed_pages"]
    settings = {"extensions": extensions, "clip_invariance_claims": str(claims_file)}
    with patch_docutils(), docutils_namespace():
        Sphinx(
            source, None, tmp_path / "out", tmp_path / "trees", "html", settings, status=None, warning=warnings
        ).build()
    html = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    return BeautifulSoup(html, "html.parser"), warnings.getvalue()


def lines(page: BeautifulSoup, number: int) -> list[list[str]]:
    return [
        [cell.get_text().replace("\u00a0", " ") for cell in row.select("th, td")]
        for row in page.select("table")[number].select("tr")
    ]


def test_page_says_what_was_reached_and_what_was_missed(tmp_path: Path) -> None:
    page, warnings = build(tmp_path, record())
    assert warnings.count("WARNING") == 1
    assert "unknown table 'nonsense'" in warnings
    ratios, growth, chapters = (lines(page, number) for number in range(3))
    assert ratios[1] == ["a step", "another loop", "1.00 ms", "4.00 ms", "3.00", "2.50 to 4.00", "1.3 ✓"]
    assert ratios[2][-1] == "9.0 missed"
    aligned = ["num" in cell.get("class", []) for cell in page.select("table")[0].select("tbody tr:first-child td")]
    assert aligned == [False, False, True, True, True, True, True]  # names to the left, numbers to the right
    assert growth[1] == ["seeds", "time", "2", "5.0 s", "41.0 s", "6.7 min"]
    assert growth[2] == ["seeds", "memory", "2", "0.5 GB", "0.5 GB", "0.5 GB"]
    # What is published comes from the results themselves, other profiles from the record.
    assert [row[:2] for row in chapters[1:]] == [["1", "quick"], ["1", "standard"]]
    assert chapters[1][4:] == ["60.0 min", "0.9 GB", "10.0 h", "4.2 days"]
    assert page.select("figure img")[0]["alt"] == "Lines rise."
    assert "Example CPU, 2 cores" in page.get_text()


def test_before_the_first_measurement_the_page_says_so(tmp_path: Path) -> None:
    page, _ = build(tmp_path, None)
    assert page.get_text().count("Not measured yet") == 5
