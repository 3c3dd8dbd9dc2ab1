"""The image tower of a CLIP trained on labels instead of captions: classes, or tags of which several may be set."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from torch import Tensor, nn

from clip_invariance.errors import UsageError
from clip_invariance.models.clip import prepare
from clip_invariance.training.contrastive import WEIGHT_DECAY


def fit(
    model: CLIP, images: Tensor, labels: Tensor, *, steps: int, batch: int = 128, rate: float = 2e-3, seed: int = 0
) -> nn.Linear:
    """Train the image tower and a linear layer on its embedding, as :func:`training.contrastive.fit` trains: AdamW, a
    one-cycle rate, a new order after every pass over the data. The text tower stays as it is.

    Args:
        model: trained in place, on the device of ``images``.
        images: uint8 (n, 3, h, w).
        labels: classes, int64 (n,), for cross-entropy; or tags, float (n, tags) of 0 and 1, for one binary
            cross-entropy each.
        steps: gradient steps.
        batch: images per step.
        rate: peak learning rate.
        seed: of the linear layer and of the order of the images.

    Returns:
        the linear layer (classes or tags, embed_dim); the model is in evaluation mode.

    Raises:
        UsageError: if images and labels do not match, or there are fewer images than one batch holds.
    """
    if len(images) != len(labels):
        raise UsageError(f"{len(images)} images but {len(labels)} labels")
    if len(images) < batch:
        raise UsageError(f"{len(images)} images cannot fill a batch of {batch}")
    outputs = labels.shape[1] if labels.is_floating_point() else int(labels.max()) + 1
    loss_of = F.binary_cross_entropy_with_logits if labels.is_floating_point() else F.cross_entropy
    generator = torch.Generator().manual_seed(seed)
    head = _head(model.text_projection.shape[1], outputs, seed).to(images.device)
    trained = [*model.visual.parameters(), *head.parameters()]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=rate, total_steps=max(steps, 10), pct_start=0.2)
    order = torch.empty(0, dtype=torch.long)
    model.train()
    for _ in range(steps):
        if len(order) < batch:
            order = torch.randperm(len(images), generator=generator)
        chosen, order = order[:batch].to(images.device), order[batch:]
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=images.device.type == "cuda"):
            logits = head(model.encode_image(prepare(images[chosen])))
        loss = loss_of(logits.float(), labels.to(images.device)[chosen])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
    model.eval()
    return head.eval()


def _head(width: int, outputs: int, seed: int) -> nn.Linear:
    """A fresh linear layer that leaves torch's random state as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Linear(width, outputs)
