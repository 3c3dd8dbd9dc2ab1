"""Numbers of others are in range, sourced, and shown as they are typed."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from clip_invariance.chapters.c6_limits import published
from clip_invariance.marks.spec import FigureSpec
from clip_invariance.marks.style import style

BIBLIOGRAPHY = Path(__file__).parents[1] / "book" / "references.bib"


def test_every_source_is_in_the_bibliography() -> None:
    text = BIBLIOGRAPHY.read_text(encoding="utf-8")
    for source in (published.CHECKPOINTS, published.PROBES, published.TAGS):
        assert f"{{{source.key}," in text, source.key


def test_numbers_are_possible() -> None:
    table = published.correlations()
    assert table["value"].between(-1, 1).all()
    intervals = table.dropna()
    assert (intervals["low"] < intervals["value"]).all()
    assert (intervals["value"] < intervals["high"]).all()
    assert published.readings()["value"].between(0, 100).all()
    assert published.mention_rates()["value"].between(0, 100).all()


def test_labels_read_more_than_words_wherever_the_full_probe_was_run() -> None:
    """The pattern that the chapter draws on: a typing error would likely break it."""
    wide = published.readings().pivot(index=["dataset", "task"], columns="reader", values="value")
    assert (wide["all labels"] > wide["words"]).all()
    assert (wide["all labels"] >= wide["ten labels per class"]).all()


@pytest.mark.parametrize("name", ["correlations", "readings", "mention_rates"])
def test_figures_draw_every_row(name: str) -> None:
    table, spec = getattr(published, name)(), getattr(published, f"PUBLISHED_{name.upper()}")
    assert isinstance(spec, FigureSpec)
    with style("light"):
        figure = spec.draw(table)
    described = spec.describe(table)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    key = "corpus" if name == "mention_rates" else "dataset"
    assert all(any(value in label for label in labels) for value in table[key])
    assert all(value in described for value in table[key])
    plt.close(figure)
