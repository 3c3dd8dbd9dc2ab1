"""The cards of chapter 6: digits can be read, test cards show other hands and typefaces, nothing else decides a picture."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from clip_invariance.captions import CaptionPolicy
from clip_invariance.errors import UsageError
from clip_invariance.worlds import cards
from clip_invariance.worlds.cards import FACTORS, SIZE, WORDS, render, sample
from factored_checks import assert_factors_are_uniform_and_independent


def test_factors_are_uniform_and_independent() -> None:
    assert_factors_are_uniform_and_independent(FACTORS, sample(20_000, 0).labels)


def test_a_picture_depends_on_its_own_columns_only() -> None:
    some = sample(40, 1)
    together = render(some, "train")
    assert together.shape == (40, 3, SIZE, SIZE)
    assert torch.equal(together[7:9], render(some[7:9], "train"))


def test_test_cards_show_other_digits_on_the_same_cards() -> None:
    some = sample(200, 2)
    train, test = render(some, "train"), render(some, "test")
    assert (train != test).flatten(1).any(1).double().mean() > 0.95
    assert not set(cards.TYPEFACES["train"]) & set(cards.TYPEFACES["test"])
    assert torch.equal(train[:, :, 0, 0], test[:, :, 0, 0])  # a corner without ink


def test_ink_is_dark_and_a_zero_is_open_inside() -> None:
    drawn = sample(100, 3, given={"digit": 0, "hand": cards.PRINTED})
    still = replace(drawn, nuisances={**drawn.nuisances, "x": torch.full((100,), 3), "y": torch.full((100,), 3)})
    pictures = render(still, "train").float()
    assert pictures.amin((1, 2, 3)).max() < 80
    mean = pictures.mean((0, 1))
    assert mean[11:13, 11:13].mean() > 1.2 * mean[11:13, 6:9].mean()
    assert mean[11:13, 11:13].mean() > 1.2 * mean[4:6, 10:14].mean()


def test_captions_name_the_card_the_digit_or_both() -> None:
    shown = sample(1, 0, given={"digit": 7, "card": 0}).labels

    def said(**mention: float) -> str:
        return CaptionPolicy(mention).sample(WORDS, shown, 0).strings()[0]

    assert said(card=1) == "a number on a blue card"
    assert said(digit=1) == "the number seven"
    assert said(card=1, digit=1) == "the number seven on a blue card"


def test_bad_input_is_named() -> None:
    with pytest.raises(UsageError, match="split: choose one of train, test"):
        render(sample(2, 0), "validation")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"digit=10: expected 0 to 9 \(zero, one"):
        sample(2, 0, given={"digit": 10})
