"""The marks that all figures share, and that a published figure fits a phone with its letters readable."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from clip_invariance.chapters.c3_captions.policies import geometry_figures as captions
from clip_invariance.chapters.c4_dashcam import figures as dashcam
from clip_invariance.chapters.c6_limits import figures as limits
from clip_invariance.marks.marks import bounded, end_labels, errors, headline, key
from clip_invariance.marks.style import SMALL, WIDTH, style
from clip_invariance.run.chapter import shortened

#: Pixels of a figure's width on a phone of 390, less the page's margins, and of the smallest letters there.
PHONE, LETTERS = 358, 9
FIGURES = Path(__file__).parents[1] / "figures"


@pytest.fixture(autouse=True)
def _look() -> Iterator[None]:
    with style("light"):
        yield
        plt.close("all")


def test_shortened_drawings_lose_digits_and_indentation_and_nothing_else() -> None:
    svg = (
        b'<g transform="translate(21.288828 3.5) scale(0.015625)">\n  '
        b'<path d="M 39.105078 -7.5 \nL 1 .129999" style="a: 0.8765"/></g>'
    )
    short = b'<g transform="translate(21.28 3.5) scale(0.015625)">\n<path d="M 39.10 -7.5 \nL 1 .12" style="a: 0.8765"/></g>'
    assert shortened(svg) == short
    assert shortened(short) == short


def test_smallest_letters_stay_readable_on_a_phone() -> None:
    assert SMALL * 96 / 72 * PHONE / (WIDTH * 96) >= LETTERS


def test_intervals_of_shares_end_where_shares_end() -> None:
    """A t interval of 98 % with a half width of 5 reaches 103 %; what is drawn stops at 100 and the mean stays."""
    table = bounded(pd.DataFrame({"value": [98.0, 3.0, 50.0], "low": [93.0, -4.0, 45.0], "high": [103.0, 10.0, 55.0]}))
    np.testing.assert_allclose(table["value"] - errors(table)[0], [93, 0, 45])
    np.testing.assert_allclose(table["value"] + errors(table)[1], [100, 10, 55])
    assert bounded(pd.DataFrame({"low": [-9.0], "high": [120.0]}), low=-np.inf)["low"].tolist() == [-9]  # below chance


def test_names_at_the_ends_of_lines_keep_apart_and_move_little() -> None:
    _, ax = plt.subplots()
    ax.set_ylim(0, 100)
    end_labels(ax, 1, {"high": (100, "red"), "also high": (99, "blue"), "lone": (40, "green")}, gap=0.1)
    heights = {text.get_text(): text.xy[1] for text in ax.texts}
    assert heights["lone"] == 40
    assert heights["high"] - heights["also high"] == pytest.approx(10)
    assert max(heights.values()) <= 100  # within the axes, whose title lies above


def test_a_key_takes_fewer_columns_where_names_are_long() -> None:
    for names, columns in ((["a", "b", "c"], 3), ([letter * 40 for letter in "abc"], 1)):
        figure, _ = plt.subplots(figsize=(WIDTH, 2), layout="constrained")
        key(figure, dict.fromkeys(names, "red"), columns=3)
        (legend,) = figure.legends
        assert legend._ncols == columns
        assert legend.get_window_extent().width <= figure.bbox.width


def test_a_long_headline_breaks() -> None:
    figure, _ = plt.subplots(figsize=(WIDTH, 2), layout="constrained")
    headline(figure, "A headline that says more than fits into a single line of a figure this narrow")
    figure.draw_without_rendering()
    assert figure._suptitle.get_window_extent().x1 <= figure.bbox.x1


PUBLISHED = {
    "03/time_course": captions.COURSE.draw,
    "04/size_and_mention": dashcam.size_and_mention,
    "04/mention": dashcam.mention,
    "06/noise": limits.NOISE.draw,
    "06/surroundings": limits.SURROUNDINGS.draw,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_names_in_published_figures_do_not_overlap(name: str) -> None:
    data = FIGURES / f"{name}.csv"
    if not data.exists():
        pytest.skip(f"{name} is not published")
    figure = PUBLISHED[name](pd.read_csv(data))
    figure.draw_without_rendering()
    assert figure.get_tightbbox().width <= WIDTH + 0.05
    for ax in figure.axes:
        boxes = {text.get_text(): text.get_window_extent() for text in ax.texts}
        for (one, first), (other, second) in itertools.combinations(boxes.items(), 2):
            overlap = min(first.y1, second.y1) - max(first.y0, second.y0)
            beside = min(first.x1, second.x1) <= max(first.x0, second.x0)
            assert beside or overlap <= 0.35 * first.height, f"{one!r} lies on {other!r}"
