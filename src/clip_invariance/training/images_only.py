"""The image tower of a CLIP trained without any captions: on labels, or on two views of each picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss
from open_clip.model import CLIP
from torch import Tensor, nn

from clip_invariance.models.clip import prepare
from clip_invariance.training.augment import crop_and_colour
from clip_invariance.training.contrastive import WEIGHT_DECAY

#: Of the softmax over the other pictures of a batch (Chen et al. 2020 use 0.1 to 0.5).
TEMPERATURE = 0.2

Loss = Callable[[Tensor, Tensor], Tensor]
"""Prepared images (n, 3, h, w) and their numbers (n,) -> a number to minimise."""


def fit_labels(
    model: CLIP,
    images: Tensor,
    labels: Mapping[str, Tensor],
    *,
    steps: int,
    batch: int = 128,
    rate: float = 2e-3,
    seed: int = 0,
) -> CLIP:
    """Train the image tower with cross-entropy, one linear head per factor on the embedding: the supervised ceiling.

    Args:
        model: trained in place; its text tower stays as it is.
        images: uint8 (n, 3, h, w) on the model's device.
        labels: factor -> (n,) int64. The losses of the factors are added.
        steps, batch, rate, seed: as in :func:`training.contrastive.fit`.

    Returns:
        the same model, in evaluation mode. The heads are thrown away: a probe finds them again.
    """
    answers = {factor: values.to(images.device) for factor, values in labels.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = nn.ModuleDict(
            {
                factor: nn.Linear(model.text_projection.shape[1], int(values.max()) + 1)
                for factor, values in answers.items()
            }
        ).to(images.device)

    def loss(x: Tensor, chosen: Tensor) -> Tensor:
        seen = model.encode_image(x)
        parts = [F.cross_entropy(head(seen), answers[factor][chosen]) for factor, head in heads.items()]
        return torch.stack(parts).sum()

    return _minimise(loss, model, heads, images, steps=steps, batch=batch, rate=rate, seed=seed)


def fit_views(model: CLIP, images: Tensor, *, steps: int, batch: int = 128, rate: float = 2e-3, seed: int = 0) -> CLIP:
    """Train the image tower to recognise a picture under random crops and colours (SimCLR, Chen et al. 2020).

    CLIP's own loss with a second view of the picture in the place of its caption. What the views change at random is
    what the encoder is told to ignore: colours among it.

    Args and returns: as :func:`fit_labels`.
    """
    contrast, scale = ClipLoss(), torch.tensor(1 / TEMPERATURE, device=images.device)
    generator = torch.Generator().manual_seed(seed + 1)

    def loss(x: Tensor, _: Tensor) -> Tensor:
        one, other = (model.encode_image(crop_and_colour(x, generator), normalize=True).float() for _view in range(2))
        return cast(Tensor, contrast(one, other, scale))

    return _minimise(loss, model, nn.ModuleDict(), images, steps=steps, batch=batch, rate=rate, seed=seed)


def _minimise(
    loss: Loss, model: CLIP, heads: nn.Module, images: Tensor, *, steps: int, batch: int, rate: float, seed: int
) -> CLIP:
    """The loop of :func:`training.contrastive.fit`, image tower and heads only."""
    parameters = [*model.visual.parameters(), *heads.parameters()]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=rate, total_steps=max(steps, 10), pct_start=0.2)
    generator = torch.Generator().manual_seed(seed)
    order = torch.empty(0, dtype=torch.long)
    model.train()
    for _ in range(steps):
        if len(order) < batch:
            order = torch.randperm(len(images), generator=generator)
        chosen, order = order[:batch].to(images.device), order[batch:]
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=images.is_cuda):
            value = loss(prepare(images[chosen]), chosen)
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        optimiser.step()
        schedule.step()
    return cast(CLIP, model.eval())
