"""Handwritten digits that come with scikit-learn: 1,797 images of 8x8 pixels, 10 classes.

Order and writers. scikit-learn documents that the set is a copy of the test part of UCI's "Optical Recognition of
Handwritten Digits", written by 13 people; it documents neither who wrote what nor any order. The labels show one: they
run through the same preprinted sequence 14 times, so images come form by form (:data:`FORM_STARTS`; scikit-learn's own
course, "Sample grouping", cuts at the same places and takes each form for one writer). A shuffled split would test on
hands seen in training. :func:`load_digits` keeps the order and cuts between forms. As there are 14 forms and 13
writers, one writer may still appear on both sides of the cut; nothing in the data can rule that out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from sklearn import datasets
from torch import Tensor

from clip_invariance.errors import UsageError

NATIVE_SIZE = 8
FORM_STARTS = (0, 130, 256, 386, 516, 646, 776, 915, 1029, 1157, 1287, 1415, 1545, 1667)
"""Index of each form's first image."""

TRAIN_IMAGES = FORM_STARTS[9]
"""1,157 images of nine forms, the cut between forms nearest to two thirds of 1,797. The other 640 are for testing."""


@dataclass(frozen=True)
class Digits:
    """Images with their labels, in the order of the source.

    Attributes:
        images: (n, 1, size, size), white on black; float32 in [0, 1] or uint8 in [0, 255].
        labels: (n,) int64, 0..9.
        forms: (n,) int64, which form an image was written on, 0..13: the group for a grouped split.
    """

    images: Tensor
    labels: Tensor
    forms: Tensor


def load_digits(
    size: int = 32, split: Literal["train", "test", "all"] = "train", dtype: torch.dtype = torch.float32
) -> Digits:
    """Load the digits, enlarged bilinearly (reduced with anti-aliasing) to ``size`` x ``size`` pixels.

    Args:
        size: side in pixels, at least 1; 8 leaves the source as it is.
        split: ``"train"`` (first 1,157 images), ``"test"`` (last 640) or ``"all"``.
        dtype: ``torch.float32`` or ``torch.uint8``.

    Raises:
        UsageError: naming ``size``, ``split`` or ``dtype``.
    """
    if size < 1:
        raise UsageError(f"size: must be at least 1 pixel, got {size}")
    ranges = {"train": slice(0, TRAIN_IMAGES), "test": slice(TRAIN_IMAGES, None), "all": slice(None)}
    if split not in ranges:
        raise UsageError(f"split: choose one of {', '.join(ranges)}, not {split!r}")
    if dtype not in (torch.float32, torch.uint8):
        raise UsageError(f"dtype: choose torch.float32 or torch.uint8, not {dtype}")
    source = datasets.load_digits()
    images = torch.from_numpy(source.images).float()[ranges[split], None] / 16.0
    if size != NATIVE_SIZE:
        images = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    images = images.clamp(0.0, 1.0)
    if dtype == torch.uint8:
        images = (images * 255.0).round().to(torch.uint8)
    labels = torch.from_numpy(source.target).long()[ranges[split]]
    forms = torch.bucketize(torch.arange(len(source.target)), torch.tensor(FORM_STARTS[1:]), right=True)[ranges[split]]
    return Digits(images, labels, forms)


def shift(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Shift each image on the torus by its own whole number of pixels; any dtype, nothing is lost.

    Args:
        images: (n, c, h, w).
        down, right: (n,) integers, negative for up and left.

    Raises:
        UsageError: naming ``down`` or ``right``.
    """
    for name, offsets in (("down", down), ("right", right)):
        if offsets.shape != (len(images),) or offsets.is_floating_point():
            raise UsageError(
                f"{name}: need {len(images)} whole numbers, got shape {tuple(offsets.shape)} {offsets.dtype}"
            )
    height, width = images.shape[-2:]
    numbers = torch.arange(len(images), device=images.device)[:, None, None]
    rows = (torch.arange(height, device=images.device)[None, :, None] - down[:, None, None]) % height
    columns = (torch.arange(width, device=images.device)[None, None, :] - right[:, None, None]) % width
    return images.permute(0, 2, 3, 1)[numbers, rows, columns].permute(0, 3, 1, 2).contiguous()
