"""The collages of chapter 6: factors are independent, act where they should, and nothing else decides a picture."""

from __future__ import annotations

import pytest
import torch

from clip_invariance.captions import CaptionPolicy
from clip_invariance.errors import UsageError
from clip_invariance.worlds import collages
from clip_invariance.worlds.collages import FACTORS, SIZE, WORDS, change, columns, render, sample
from factored_checks import assert_factors_are_uniform_and_independent


def test_factors_are_uniform_and_independent() -> None:
    assert_factors_are_uniform_and_independent(FACTORS, sample(30_000, 0).labels)


def test_a_picture_depends_on_its_own_columns_only() -> None:
    some = sample(40, 1)
    together = render(some)
    assert together.shape == (40, 3, SIZE, SIZE)
    assert together.dtype == torch.uint8
    assert torch.equal(together[7:9], render(some[7:9]))
    assert torch.equal(together, render(sample(40, 1)))
    assert not torch.equal(together, render(sample(40, 2)))


@pytest.mark.parametrize("factor", FACTORS)
def test_every_factor_changes_the_picture_and_the_thing_stays_in_the_middle(factor: str) -> None:
    one = change(change(sample(30, 3), "quality", 0), factor, 0)
    changed = (render(one) != render(change(one, factor, 1))).any(1)
    assert changed.flatten(1).any(1).all()
    if factor == "object":
        assert not changed[:, :8].any()
        assert not changed[:, 24:].any()


def test_more_parts_cover_more_of_the_picture() -> None:
    plain = change(change(sample(60, 4), "quality", 0), "background", 0)
    bare = render(plain, layers=[])
    areas = []
    for count in range(4):
        shown = render(change(plain, "count", count), layers=[])
        fewer = render(change(plain, "count", max(count - 1, 0)), layers=[])
        areas.append((shown != fewer).any(1).double().mean())
    assert areas[0] == 0
    assert min(areas[1:]) > 0.01  # each number adds one more part and keeps the others
    assert bare.shape == (60, 3, SIZE, SIZE)


def test_look_keeps_the_colours_and_parts_keep_the_outlines() -> None:
    scenes = change(change(sample(24, 5), "quality", 0), "object", torch.arange(24) % 12)
    objects = scenes.labels["object"]
    whole, look, parts, nothing = (
        render(scenes, layers=layers).float()[:, :, 8:24, 8:24].mean((2, 3))
        for layers in (None, [("look", objects)], [("parts", objects)], [])
    )
    moved = (whole - nothing).abs().mean()
    assert (look - whole).abs().mean() < 0.15 * moved  # the mean colour stays
    assert (parts - whole).abs().mean() > 0.3 * moved
    fine = render(scenes, layers=[("look", objects)]).float()
    assert fine.diff(dim=3).abs().mean() < render(scenes).float().diff(dim=3).abs().mean()


def test_captions_say_what_is_there() -> None:
    values = {"object": 1, "part": 1, "count": 2, "background": 2, "quality": 1}
    shown = columns(sample(1, 0, given=values))

    def said(*slots: str) -> str:
        return CaptionPolicy(dict.fromkeys(slots, 1.0)).sample(WORDS, shown, 0).strings()[0]

    assert said("object") == "a taxi"
    assert said("group", "quality") == "a grainy picture of a car"
    assert said("object", "detail") == "a taxi with three lemons"
    assert said("object", "background") == "a taxi on orange"
    names = [name for names in collages.GROUPS.values() for name in names]
    assert tuple(names) == FACTORS["object"]
    assert len(WORDS.phrases["detail"]) == len(FACTORS["part"]) * len(FACTORS["count"])


def test_bad_input_is_named() -> None:
    with pytest.raises(UsageError, match="layer 'shadow'"):
        render(sample(2, 0), layers=[("shadow", torch.zeros(2, dtype=torch.int64))])  # type: ignore[list-item]
    with pytest.raises(UsageError, match=r"object=12: expected 0 to 11 \(sedan, taxi"):
        render(sample(2, 0), layers=[("look", torch.full((2,), 12))])
    with pytest.raises(UsageError, match="unknown factor 'colour'"):
        sample(2, 0, given={"colour": 1})
    assert render(sample(0, 0)).shape == (0, 3, SIZE, SIZE)
