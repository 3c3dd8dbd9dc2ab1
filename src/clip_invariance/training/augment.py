"""Random changes of training images, on the device of the images and reproducible from a CPU generator."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: Smallest share of the side that a crop keeps.
SMALLEST_CROP = 0.7
#: Largest change of a channel's gain and offset, in standard deviations of the prepared images.
COLOUR = 0.4
#: Probability of a picture without colour.
GREY = 0.2


def crop_and_colour(images: Tensor, generator: torch.Generator) -> Tensor:
    """A random resized crop, then random gain and offset for each channel, sometimes greyscale.

    The recipe of contrastive learning from images alone (Chen et al. 2020) for small pictures, without flips: left and
    right are factors here.

    Args:
        images: prepared float images (n, 3, h, w).
        generator: on the CPU.
    """
    n, device = len(images), images.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return (low + (high - low) * torch.rand(n, *shape, generator=generator)).to(device)

    zoom = uniform(SMALLEST_CROP, 1.0)
    affine = torch.zeros(n, 2, 3, device=device)
    affine[:, 0, 0] = affine[:, 1, 1] = zoom
    affine[:, :, 2] = uniform(-1.0, 1.0, 2) * (1 - zoom)[:, None]
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    x = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    x = x * uniform(1 - COLOUR, 1 + COLOUR, 3, 1, 1) + uniform(-COLOUR, COLOUR, 3, 1, 1)
    grey = uniform(0.0, 1.0, 1, 1, 1) < GREY
    x = torch.where(grey, x.mean(dim=1, keepdim=True).expand_as(x), x)
    return x.contiguous(memory_format=torch.channels_last)
