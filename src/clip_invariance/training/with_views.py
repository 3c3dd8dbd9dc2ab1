"""CLIP's loss with a self-supervised term beside it (SLIP, Mu et al. 2022)."""

from __future__ import annotations

from typing import cast

import torch
from open_clip.loss import ClipLoss
from open_clip.model import CLIP
from torch import Tensor

from clip_invariance.captions import Captions
from clip_invariance.models.clip import encode_tokens, prepare, tokenize
from clip_invariance.training.augment import crop_and_colour
from clip_invariance.training.contrastive import (  # the same loop, with one more term
    _MAX_LOG_SCALE,
    _groups,
    _used_words_only,
)
from clip_invariance.training.images_only import TEMPERATURE


def fit(
    model: CLIP,
    images: Tensor,
    captions: Captions,
    *,
    steps: int,
    batch: int = 128,
    rate: float = 2e-3,
    seed: int = 0,
    weight: float = 1.0,
) -> CLIP:
    """Train as :func:`training.contrastive.fit` does, and ask as well that two views of a picture be recognised.

    A step costs about three times as much on the image side: the picture itself, for its caption, and two views of it.

    Args:
        model: trained in place, on the device of ``images``.
        images: uint8 (n, 3, h, w), at least one batch of them.
        captions: one for each image.
        steps, batch, rate, seed: as in :func:`training.contrastive.fit`.
        weight: of the self-supervised term.

    Returns:
        the same model, in evaluation mode.
    """
    generator, views = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed + 1)
    tokens = tokenize(captions.texts, model.context_length).to(images.device)
    contrast, view_scale = ClipLoss(), torch.tensor(1 / TEMPERATURE, device=images.device)
    with _used_words_only(model, tokens):
        optimiser = torch.optim.AdamW(_groups(model), lr=rate, betas=(0.9, 0.98), fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, max_lr=rate, total_steps=max(steps, 10), pct_start=0.2
        )
        order = torch.empty(0, dtype=torch.long)
        model.train()
        for _ in range(steps):
            if len(order) < batch:
                order = torch.randperm(len(images), generator=generator)
            chosen, order = order[:batch], order[batch:]
            distinct, place = captions.index[chosen].to(images.device).unique(return_inverse=True)
            x = prepare(images[chosen.to(images.device)])
            with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=images.is_cuda):
                seen = model.encode_image(x, normalize=True)
                said = encode_tokens(model, tokens[distinct])
                one, other = (
                    model.encode_image(crop_and_colour(x, views), normalize=True).float() for _view in range(2)
                )
            loss = contrast(seen.float(), said.float()[place], model.logit_scale.exp())
            loss = loss + weight * contrast(one, other, view_scale)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            model.logit_scale.data.clamp_(0, _MAX_LOG_SCALE)
    return cast(CLIP, model.eval())
