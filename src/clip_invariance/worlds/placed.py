"""The pictures of chapter 1: two dozen drawn things, anywhere on a small torus."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from clip_invariance.worlds.canvas import Canvas, Factors, Places, bottom_half, everywhere, sample_factors
from clip_invariance.worlds.openmoji import OBJECTS

SIZE = 32
OBJECT_SIZE = 14.0
#: Every other pair of the artwork list: twelve animals and twelve things.
CLASSES = 24
#: Places of the accuracy maps, along one axis, in pixels.
GRID = tuple(range(2, SIZE, 4))
#: The one training place of the arm "one": a point of the grid, below the middle.
ONE_PLACE = (14, 22)
MIDLINE = SIZE / 2
#: Cells of the place probe, along one axis.
CELLS = 4


@lru_cache(maxsize=2)
def canvas(device: str) -> Canvas:
    """The canvas all arms draw on, made once per process."""
    return Canvas(SIZE, OBJECT_SIZE, objects=OBJECTS[:CLASSES], device=device)


def scattered(count: int, seed: int) -> Tensor:
    """``count`` different whole-pixel places, (count, 2)."""
    chosen = torch.randperm(SIZE * SIZE, generator=torch.Generator().manual_seed(seed))[:count]
    return torch.stack([chosen % SIZE, chosen // SIZE], dim=1).float()


def top_half(size: int) -> Places:
    """Places spread evenly over the upper half of the canvas: y in [0, size / 2)."""

    def draw(n: int, generator: torch.Generator) -> Tensor:
        place = bottom_half(size)(n, generator)
        return place - torch.tensor([0.0, size / 2])

    return draw


def cell(factors: Factors) -> Tensor:
    """Which of CELLS x CELLS cells holds the object's centre, (n,)."""
    side = SIZE / CELLS
    return (factors.y // side).long() * CELLS + (factors.x // side).long()


def away_from(place: Sequence[float], distance: float) -> Places:
    """Places at least ``distance`` pixels from ``place`` (shortest way on the torus)."""
    centre = torch.tensor(place)

    def draw(n: int, generator: torch.Generator) -> Tensor:
        drawn = torch.empty(0, 2)
        while len(drawn) < n:
            candidates = everywhere(SIZE)(2 * n, generator)
            gap = (candidates - centre).abs()
            gap = torch.minimum(gap, SIZE - gap)
            drawn = torch.cat([drawn, candidates[gap.norm(dim=1) >= distance]])
        return drawn[:n]

    return draw


def draw(n: int, seed: int, where: Places | Tensor | None, device: str) -> tuple[Tensor, Factors]:
    """Random pictures at the allowed places: ``n`` uint8 images on ``device`` and the factors behind them."""
    factors = sample_factors(n, seed, SIZE, objects=CLASSES, where=where)
    return canvas(device).render(factors), factors.to(device)
