"""One readable training loop for orbit models.

The loss is cross-entropy of logits computed from features that are averaged over K pictures of each orbit. With K = 1
that is data augmentation, with all elements it is the orbit model's own loss, in between that of a sampled model.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip_invariance.training.supervised import prepare


class CutNet(nn.Module):
    """A network in two parts, cut where an average over the orbit may stand.

    Args:
        before: maps images (n, c, h, w), float, to features (n, d).
        after: maps features to logits (n, classes).
    """

    def __init__(self, before: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.before = before
        self.after = after

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, classes), nothing averaged."""
        logits: Tensor = self.after(self.before(images))
        return logits


def averaged_logits(net: CutNet, orbits: Tensor) -> Tensor:
    """Logits (n, classes) of features averaged over the k pictures given of each orbit.

    Args:
        orbits: (n, k, c, h, w), float or uint8 (see :func:`supervised.prepare`).
    """
    features: Tensor = net.before(prepare(orbits.flatten(0, 1))).unflatten(0, orbits.shape[:2])
    logits: Tensor = net.after(features.mean(1))
    return logits


def fit_orbits(
    net: CutNet,
    orbits: Tensor,
    labels: Tensor,
    *,
    samples: int | None,
    steps: int,
    batch: int,
    rate: float,
    seed: int,
) -> CutNet:
    """Train with cross-entropy, AdamW and a one-cycle rate; reshuffle after every pass over the orbits.

    Args:
        net: trained in place, on the device of ``orbits``.
        orbits: (n, |G|, c, h, w), float or uint8; |G| = 1 trains on the pictures as they are.
        labels: (n,) class indices.
        samples: K, drawn uniformly with replacement and anew for each orbit in each step; ``None``: all |G| elements.
        steps: gradient steps.
        batch: orbits per step. A step costs ``batch`` x K passes through the net.
        rate: peak learning rate.
        seed: of the order and of the draws (the initialisation is the caller's).

    Returns:
        the same network, in evaluation mode.
    """
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=1e-4, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=rate, total_steps=steps, pct_start=0.25)
    net.train()
    batch = min(batch, len(orbits))
    order = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        if len(order) < batch:
            order = torch.randperm(len(orbits), generator=generator)
        chosen, order = order[:batch], order[batch:]
        if samples is None:
            shown = orbits[chosen]
        else:
            elements = torch.randint(orbits.shape[1], (batch, samples), generator=generator)
            shown = orbits[chosen[:, None], elements]
        loss = F.cross_entropy(averaged_logits(net, shown), labels[chosen])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
    return net.eval()
