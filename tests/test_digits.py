"""The bundled digits: order, split, sizes, and moves."""

from __future__ import annotations

import pytest
import torch
from sklearn import datasets

from clip_invariance.errors import UsageError
from clip_invariance.worlds.digits import FORM_STARTS, TRAIN_IMAGES, load_digits, shift


def test_the_labels_repeat_one_preprinted_sequence_per_form() -> None:
    """Why we believe that the order is by form: at each start the labels begin to count from 0 to 9 again."""
    labels = "".join(str(label) for label in datasets.load_digits().target)
    opening = "0123456789" * 2
    for start in FORM_STARTS:
        # Three forms lost an image in their first rows.
        matches = sum(a == b for a, b in zip(labels[start:], opening, strict=False))
        assert matches >= 10, start
        assert labels[start] == "0"
    lengths = [b - a for a, b in zip(FORM_STARTS, (*FORM_STARTS[1:], len(labels)), strict=True)]
    assert all(110 <= length <= 140 for length in lengths)
    assert len(FORM_STARTS) == 14


def test_the_split_keeps_the_order_and_shares_no_form() -> None:
    everything, train, test = (load_digits(8, split) for split in ("all", "train", "test"))  # type: ignore[arg-type]
    assert len(everything.labels) == 1797
    assert len(train.labels) == TRAIN_IMAGES == 1157
    assert torch.equal(torch.cat([train.images, test.images]), everything.images)
    assert torch.equal(torch.cat([train.labels, test.labels]), everything.labels)
    assert not set(train.forms.tolist()) & set(test.forms.tolist())
    assert everything.forms.unique().tolist() == list(range(14))
    assert everything.forms[list(FORM_STARTS)].tolist() == list(range(14))
    assert torch.bincount(test.labels, minlength=10).min() > 50


def test_sizes_and_types() -> None:
    native = load_digits(8, "test")
    source = torch.from_numpy(datasets.load_digits().images[TRAIN_IMAGES:]).float()
    assert torch.equal(native.images[:, 0] * 16, source)
    large = load_digits(32, "test")
    assert large.images.shape == (640, 1, 32, 32)
    assert large.images.dtype == torch.float32
    assert 0.0 <= large.images.min() <= large.images.max() <= 1.0
    assert torch.allclose(large.images.mean(), native.images.mean(), rtol=0.02, atol=0)
    bytes_ = load_digits(32, "test", torch.uint8)
    assert bytes_.images.dtype == torch.uint8
    assert (bytes_.images.float() / 255 - large.images).abs().max() <= 0.5 / 255 + 1e-6


def test_shift_is_a_roll_with_its_own_distance_for_each_image() -> None:
    images = load_digits(8, "test", torch.uint8).images[:3]
    down, right = torch.tensor([0, 3, -2]), torch.tensor([1, 0, 9])
    moved = shift(images, down, right)
    for number in range(3):
        assert torch.equal(moved[number], images[number].roll((int(down[number]), int(right[number])), (-2, -1)))


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("size", lambda: load_digits(0)),
        ("split", lambda: load_digits(8, "validation")),  # type: ignore[arg-type]
        ("dtype", lambda: load_digits(8, dtype=torch.int64)),
        ("down", lambda: shift(torch.zeros(2, 1, 4, 4), torch.zeros(2), torch.zeros(2, dtype=torch.long))),
        (
            "right",
            lambda: shift(torch.zeros(2, 1, 4, 4), torch.zeros(2, dtype=torch.long), torch.zeros(1, dtype=torch.long)),
        ),
    ],
)
def test_bad_input_is_refused_naming_the_argument(argument: str, call: object) -> None:
    with pytest.raises(UsageError, match=rf"^{argument}: "):
        call()  # type: ignore[operator]
