"""The image tower of a CLIP trained on labels instead of captions: classes, or tags of which several may be set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip_invariance.errors import UsageError
from clip_invariance.models.clip import prepare
from clip_invariance.training.loop import minimise, mixed

if TYPE_CHECKING:
    from open_clip.model import CLIP


def fit(
    model: CLIP,
    images: Tensor,
    labels: Mapping[str, Tensor],
    *,
    steps: int,
    batch: int,
    rate: float,
    seed: int,
) -> nn.ModuleDict:
    """Train the image tower with one linear layer for each factor on the embedding: the supervised ceiling.

    Args:
        model: trained in place, on the device of ``images``; its text tower stays as it is.
        images: uint8 (n, 3, h, w).
        labels: factor -> classes, int64 (n,), for cross-entropy; or tags, float (n, tags) of 0 and 1, for one binary
            cross-entropy each. The losses of the factors are added.
        steps, batch, rate: as in :func:`training.contrastive.fit`.
        seed: of the linear layers and of the order of the images.

    Returns:
        factor -> linear layer (classes or tags, embed_dim); they and the model are in evaluation mode.

    Raises:
        UsageError: if images and labels do not match, or there are fewer images than one batch holds.
    """
    if wrong := [len(values) for values in labels.values() if len(values) != len(images)]:
        raise UsageError(f"{len(images)} images but {wrong[0]} labels")
    answers = {factor: values.to(images.device) for factor, values in labels.items()}
    heads = _heads(model.text_projection.shape[1], answers, seed).to(images.device)

    def loss(chosen: Tensor) -> Tensor:
        chosen = chosen.to(images.device)
        with mixed(images.device):
            seen = model.encode_image(prepare(images[chosen]))
            given = {factor: head(seen) for factor, head in heads.items()}
        parts = [_wrongness(given[factor].float(), values[chosen]) for factor, values in answers.items()]
        return torch.stack(parts).sum()

    model.train()
    minimise(
        loss,
        [*model.visual.parameters(), *heads.parameters()],
        len(images),
        steps=steps,
        batch=batch,
        rate=rate,
        generator=torch.Generator().manual_seed(seed),
    )
    model.eval()
    return heads.eval()


def _wrongness(logits: Tensor, answers: Tensor) -> Tensor:
    tags = answers.is_floating_point()
    return F.binary_cross_entropy_with_logits(logits, answers) if tags else F.cross_entropy(logits, answers)


def _heads(width: int, answers: Mapping[str, Tensor], seed: int) -> nn.ModuleDict:
    """Fresh linear layers that leave torch's random state as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.ModuleDict(
            {
                factor: nn.Linear(width, values.shape[1] if values.is_floating_point() else int(values.max()) + 1)
                for factor, values in answers.items()
            }
        )
