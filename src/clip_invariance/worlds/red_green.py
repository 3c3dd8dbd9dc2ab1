"""The red and green squares of Kayhan & van Gemert (2020): can a CNN tell where something is?

An image is black, 32 x 32, with one red and one green 4 x 4 square side by side. The class is the order: red left of
green, or green left of red. In training the first class lies in the upper half and the second in the lower half, so
that place predicts the class as well as the order does. Two test sets tell which of the two a network uses:
``similar`` keeps the places, ``dissimilar`` is the same images moved by half the image height, which swaps them.

The ranges follow the authors' released code. One thing differs: that code seeds the generator anew for each split, so
that its test images are the first thousand training images; here every split is drawn independently.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SIZE = 32
BOX = 4
#: Top edge of a square, upper and lower class: centre of the range and its half-width, in pixels.
TOPS = (7, 23)
HALF_RANGE = 4
SWAP = SIZE // 2


@dataclass(frozen=True)
class Squares:
    """Images (n, 3, 32, 32) float in {0, 1}, and labels (n,): 0 is red left of green, 1 is green left of red."""

    images: Tensor
    labels: Tensor


def draw(n: int, generator: torch.Generator) -> tuple[Squares, Squares]:
    """Draw ``n`` images with place and class correlated, and the same images with places swapped.

    Args:
        n: number of images; classes alternate, as in the authors' code.
        generator: source of all randomness.

    Returns:
        the similar set (places as in training) and the dissimilar set (moved by half the height).
    """
    labels = torch.arange(n) % 2

    def integers(low: int, high: int, count: int) -> Tensor:
        return torch.randint(low, high, (count,), generator=generator)

    span = SIZE - BOX
    left = integers(0, span // 2 - BOX, n)
    # The right square starts at least one pixel after the left one ends; redraw until all do.
    right = left.clone()
    while (clash := (right - left) < BOX + 1).any():
        right[clash] = torch.floor(
            left[clash] + torch.rand(int(clash.sum()), generator=generator) * (span - left[clash])
        ).long()
    centre = torch.tensor(TOPS)[labels]
    tops = torch.stack([centre + integers(-HALF_RANGE, HALF_RANGE, n) for _ in range(2)], dim=1)
    lefts = torch.stack([left, right], dim=1)
    channels = torch.stack([labels, 1 - labels], dim=1)  # class 0: red (channel 0) on the left

    def paint(tops: Tensor) -> Tensor:
        images = torch.zeros(n, 3, SIZE, SIZE)
        rows, columns = torch.meshgrid(torch.arange(BOX), torch.arange(BOX), indexing="ij")
        for side in range(2):
            y = tops[:, side, None, None] + rows
            x = lefts[:, side, None, None] + columns
            images[torch.arange(n)[:, None, None], channels[:, side, None, None], y, x] = 1.0
        return images

    swapped = tops + torch.where(labels == 0, SWAP, -SWAP)[:, None]
    return Squares(paint(tops), labels), Squares(paint(swapped), labels)
