"""What each stage of a convolutional tower holds, and probes as layers of a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from clip_invariance.errors import UsageError
from clip_invariance.measure.decodability import Probes
from clip_invariance.measure.depths import backbone_and_embedding

if TYPE_CHECKING:
    from open_clip.model import CLIP


@torch.inference_mode()
def stages(model: CLIP, images: Tensor) -> dict[str, Tensor]:
    """Every depth of a convolutional image tower.

    Args:
        model: with timm's residual net as image tower.
        images: uint8 (n, 3, h, w) on the model's device.

    Returns:
        "stage 1" and so on, mean and maximum over the places of all stages but the last, (n, 2 channels) each: a mean
        alone hides what is small; "backbone", the pooled features before the projection; "embedding".

    Raises:
        UsageError: for a tower without stages.
    """
    blocks = getattr(getattr(model.visual, "trunk", None), "stages", None)
    if blocks is None:
        raise UsageError("stages: this image tower has none; a convolutional one is needed")
    early = list(blocks)[:-1]
    with _watched(early) as pooled:
        backbone, embedding = backbone_and_embedding(model, images)
    found = {f"stage {number}": torch.cat(parts) for number, parts in enumerate(pooled, start=1)}
    return found | {"backbone": backbone, "embedding": embedding}


@contextmanager
def _watched(blocks: list[nn.Module]) -> Iterator[list[list[Tensor]]]:
    """For each block, mean and maximum over the places of what it puts out, batch by batch."""
    pooled: list[list[Tensor]] = [[] for _ in blocks]

    def collect(parts: list[Tensor], x: Tensor) -> None:
        parts.append(torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1))

    hooks = [
        block.register_forward_hook(lambda _module, _input, output, parts=parts: collect(parts, output))
        for block, parts in zip(blocks, pooled, strict=True)
    ]
    try:
        yield pooled
    finally:
        for hook in hooks:
            hook.remove()


def linear_heads(probes: Probes) -> nn.ModuleDict:
    """Fitted probes as linear layers on the features themselves: factor -> layer with the same logits.

    Raises:
        UsageError: if the labels of a factor are not 0, 1, ... in this order, as a layer's outputs are.
    """
    axes, heads = probes.axes, nn.ModuleDict()
    turn = axes.basis / axes.scale[:, None]
    for factor, weights in probes.weights.items():
        if probes.classes[factor].tolist() != list(range(len(weights))):
            raise UsageError(f"{factor}: labels must be 0 to {len(weights) - 1} to become outputs of a layer")
        layer = nn.Linear(len(turn), len(weights), device=weights.device, dtype=weights.dtype)
        layer.weight.data = weights[:, :-1] @ turn.mT
        layer.bias.data = weights[:, -1] - layer.weight.data @ axes.mean
        heads[factor] = layer
    return heads.float()
