"""Random changes of training images: reproducible, mild, and absent when their strength is none."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from clip_invariance.models.clip import prepare
from clip_invariance.training import augment
from clip_invariance.training.augment import crop_and_colour


def pictures(n: int = 16, size: int = 24) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return prepare(torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=generator))


def changed(images: Tensor, seed: int = 0) -> Tensor:
    return crop_and_colour(images, torch.Generator().manual_seed(seed))


def without(monkeypatch: pytest.MonkeyPatch, **strength: float) -> None:
    """All changes off but those named."""
    for name, value in ({"SMALLEST_CROP": 1.0, "COLOUR": 0.0, "GREY": 0.0} | strength).items():
        monkeypatch.setattr(augment, name, value)


def test_the_generator_decides() -> None:
    images = pictures()
    before = images.clone()
    assert torch.equal(changed(images, 1), changed(images, 1))
    assert not torch.equal(changed(images, 1), changed(images, 2))
    assert torch.equal(images, before)
    generator = torch.Generator().manual_seed(1)
    assert not torch.equal(crop_and_colour(images, generator), crop_and_colour(images, generator))


def test_shape_memory_order_and_range_stay() -> None:
    images = pictures()
    result = changed(images)
    assert result.shape == images.shape
    assert result.dtype == images.dtype
    assert result.is_contiguous(memory_format=torch.channels_last)
    furthest = float(images.abs().max())
    assert float(result.abs().max()) <= (1 + augment.COLOUR) * furthest + augment.COLOUR


def test_no_strength_is_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch)
    torch.testing.assert_close(changed(pictures()), pictures(), atol=1e-4, rtol=0)


def test_colours_change_by_one_gain_and_offset_for_each_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each channel of each picture is an affine function of what it was: shapes stay."""
    without(monkeypatch, COLOUR=0.4)
    images = pictures()
    old, new = images.flatten(2), changed(images).flatten(2)
    spread = (old - old.mean(2, keepdim=True)).square().mean(2)
    gain = ((old - old.mean(2, keepdim=True)) * new).mean(2) / spread
    offset = new.mean(2) - gain * old.mean(2)
    torch.testing.assert_close(gain[..., None] * old + offset[..., None], new, atol=1e-3, rtol=0)
    assert 0.6 <= float(gain.min()) < 0.8 < 1.2 < float(gain.max()) <= 1.4
    assert -0.4 <= float(offset.min()) < -0.2 < 0.2 < float(offset.max()) <= 0.4


def test_grey_pictures_are_as_frequent_as_said(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, GREY=0.2)
    result = changed(pictures(n=2000, size=4))
    grey = (result == result[:, :1]).flatten(1).all(1)
    assert float(grey.float().mean()) == pytest.approx(0.2, abs=0.03)
    torch.testing.assert_close(result[grey][:, 0], pictures(n=2000, size=4)[grey].mean(1), atol=1e-4, rtol=0)


def test_crops_show_a_part_of_the_picture_the_right_way_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a ramp from left to right: still a ramp, never flipped, at most as long, inside the picture."""
    without(monkeypatch, SMALLEST_CROP=0.7)
    side = 24
    ramp = torch.arange(side, dtype=torch.float32).expand(200, 3, side, side).contiguous()
    rows = changed(ramp)[:, 0, side // 2]
    steps = rows.diff(dim=1)[:, 2:-2]  # the outermost pixels may see the reflected edge
    assert float(steps.min()) > 0.69
    assert float(steps.max()) < 1.01
    assert float(rows.min()) >= -1e-4
    assert float(rows.max()) <= side - 1 + 1e-4
    assert float(steps.mean(1).std()) > 0.05  # several zooms
    assert float(rows[:, side // 2].std()) > 0.5  # several places
