"""Zero-shot classification from prompt ensembles."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from clip_invariance.errors import UsageError
from clip_invariance.measure.zero_shot import zero_shot_accuracy, zero_shot_scores, zero_shot_weights

EMBEDDINGS = {
    "a red light": [3.0, 0.0, 0.0],
    "a light that is red": [0.0, 0.0, 5.0],
    "a green light": [0.0, 2.0, 0.0],
}


def encode(texts: Sequence[str]) -> Tensor:
    return torch.tensor([EMBEDDINGS[text] for text in texts])


def test_weights_are_the_unit_mean_of_unit_embeddings() -> None:
    """Every prompt counts the same, however long its embedding."""
    weights = zero_shot_weights(encode, [["a red light", "a light that is red"], ["a green light"]])
    half = 0.5**0.5
    torch.testing.assert_close(weights, torch.tensor([[half, 0, half], [0, 1, 0]]))


def test_accuracy_counts_the_nearest_class_in_cosine() -> None:
    weights = zero_shot_weights(encode, [["a red light"], ["a green light"]])
    pictures = torch.tensor([[10.0, 9.0, 0.0], [0.1, 0.2, 50.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    scores = zero_shot_scores(pictures, weights)
    assert scores.shape == (4, 2)
    assert float(scores.abs().max()) <= 1
    assert zero_shot_accuracy(pictures, weights, torch.tensor([0, 1, 0, 0])) == 0.75


def test_what_lies_outside_the_span_of_the_texts_changes_no_decision() -> None:
    """Null space: prompts span two of three dimensions, so the third may carry the label and zero-shot stays at chance."""
    weights = zero_shot_weights(encode, [["a red light"], ["a green light"]])
    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (2000,), generator=rng)
    pictures = torch.randn(2000, 3, generator=rng)
    pictures[:, 2] = 4 * labels.float() - 2
    assert zero_shot_accuracy(pictures, weights, labels) == pytest.approx(0.5, abs=0.04)
    assert float(((pictures[:, 2] > 0) == labels.bool()).float().mean()) == 1


def test_errors() -> None:
    weights = zero_shot_weights(encode, [["a red light"], ["a green light"]])
    with pytest.raises(UsageError, match="two classes"):
        zero_shot_weights(encode, [["a red light"]])
    with pytest.raises(UsageError, match="class 1"):
        zero_shot_weights(encode, [["a red light"], []])
    with pytest.raises(UsageError, match="class 0"):
        zero_shot_weights(encode, ["a red light", "a green light"])
    with pytest.raises(UsageError, match=r"0 \.\. 1"):
        zero_shot_accuracy(torch.eye(3), weights, torch.tensor([0, 1, 2]))
    with pytest.raises(UsageError, match="3 pictures"):
        zero_shot_accuracy(torch.eye(3), weights, torch.tensor([0, 1]))
    with pytest.raises(UsageError, match="dimensions"):
        zero_shot_scores(torch.eye(4), weights)
