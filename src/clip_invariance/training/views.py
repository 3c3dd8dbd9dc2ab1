"""Two views of each picture in the place of picture and caption: training without captions (SimCLR, Chen et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from clip_invariance.models.clip import prepare
from clip_invariance.training.augment import crop_and_colour
from clip_invariance.training.loop import minimise, mixed

if TYPE_CHECKING:
    from open_clip.model import CLIP

#: Of the softmax over the other pictures of a batch (Chen et al. 2020 use 0.1 to 0.5).
TEMPERATURE = 0.2

#: Added to a seed: the views are drawn apart from the order of the pictures.
_APART = 1


def loss_of_views(model: CLIP, seed: int) -> Callable[[Tensor], Tensor]:
    """CLIP's own loss with a second view of a picture in the place of its caption.

    What the views change at random is what the encoder is told to ignore: colours among it.

    Args:
        model: its image tower is called.
        seed: of the views.

    Returns:
        the loss of prepared images (n, 3, h, w), with new views in each call.
    """
    from open_clip.loss import ClipLoss

    contrast, scale = ClipLoss(), torch.tensor(1 / TEMPERATURE, device=model.logit_scale.device)
    generator = torch.Generator().manual_seed(seed + _APART)

    def loss(x: Tensor) -> Tensor:
        with mixed(x.device):
            one, other = (model.encode_image(crop_and_colour(x, generator), normalize=True) for _view in range(2))
        return cast(Tensor, contrast(one.float(), other.float(), scale))

    return loss


def fit(model: CLIP, images: Tensor, *, steps: int, batch: int, rate: float, seed: int) -> CLIP:
    """Train the image tower to recognise a picture under random crops and colours.

    Args:
        model: trained in place, on the device of ``images``; its text tower stays as it is.
        images: uint8 (n, 3, h, w).
        steps, batch, rate, seed: as in :func:`training.contrastive.fit`.

    Returns:
        the same model, in evaluation mode.
    """
    of_views = loss_of_views(model, seed)
    model.train()
    minimise(
        lambda chosen: of_views(prepare(images[chosen.to(images.device)])),
        model.visual.parameters(),
        len(images),
        steps=steps,
        batch=batch,
        rate=rate,
        generator=torch.Generator().manual_seed(seed),
    )
    return cast("CLIP", model.eval())
