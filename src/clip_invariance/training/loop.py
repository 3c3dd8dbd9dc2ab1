"""The one loop that trains towers, whatever the loss: AdamW, one cycle or a constant rate, a new order after every pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from clip_invariance.errors import UsageError

Loss = Callable[[Tensor], Tensor]
"""Which pictures a step shows, int64 (batch,) on the CPU -> a number to minimise."""

WEIGHT_DECAY = 0.1
#: AdamW's memory of gradients falls from the second to the first while the rate rises, and returns while it falls
#: (Smith 2018, https://arxiv.org/abs/1803.09820); its memory of their squares stays.
MOMENTA, BETA2 = (0.85, 0.95), 0.98
#: Share of the steps in which the rate rises to its peak.
WARMING = 0.2
#: Fewer steps than this have the rates of the first steps of so many.
SHORTEST_CYCLE = 10


def minimise(
    loss: Loss,
    trained: Iterable[nn.Parameter],
    pictures: int,
    *,
    steps: int,
    batch: int,
    rate: float,
    generator: torch.Generator,
    constant_after: int | None = None,
    after_step: Callable[[], None] = lambda: None,
    watch: Callable[[int], bool | None] = lambda _: None,
    watch_at: Sequence[int] = (),
) -> int:
    """Train in place; returns how many steps were taken.

    Args:
        loss: of the pictures of a step.
        trained: the parameters that move.
        pictures: how many there are.
        steps: gradient steps; 0 changes nothing.
        batch: pictures per step.
        rate: peak learning rate.
        constant_after: None for one cycle of the rate over all steps; a number for a rate that rises for so many steps and
            then stays, so that a training can go on until something is learned.
        generator: on the CPU; it draws the order of the pictures. A rest that fills no batch is left out of its pass.
        after_step: called after each step.
        watch: called after each number of steps in ``watch_at``, 0 and ``steps`` included if they are named; the training
            ends where it says True.
        watch_at: when.

    Raises:
        UsageError: if there are fewer pictures than one batch holds.
    """
    if pictures < batch:
        raise UsageError(f"{pictures} images cannot fill a batch of {batch}")
    groups = decay_groups(trained)
    if constant_after is None:
        optimiser, schedule = one_cycle(groups, rate, steps)
    else:
        optimiser, schedule = constant(groups, rate, constant_after)
    order = torch.empty(0, dtype=torch.long)
    for step in range(steps + 1):
        if (step in watch_at and watch(step)) or step == steps:
            break
        if len(order) < batch:
            order = torch.randperm(pictures, generator=generator)
        chosen, order = order[:batch], order[batch:]
        optimiser.zero_grad(set_to_none=True)
        loss(chosen).backward()
        optimiser.step()
        schedule.step()
        after_step()
    return step


Schedule = torch.optim.lr_scheduler.LRScheduler


def constant(groups: list[dict[str, object]], rate: float, rising: int) -> tuple[torch.optim.AdamW, Schedule]:
    """AdamW, and a rate that rises in equal steps, reaches ``rate`` after so many and stays there."""
    optimiser = torch.optim.AdamW(groups, lr=rate, betas=(MOMENTA[1], BETA2), fused=True)
    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min((step + 1) / max(rising, 1), 1.0))


def one_cycle(groups: list[dict[str, object]], rate: float, steps: int) -> tuple[torch.optim.AdamW, Schedule]:
    """AdamW, and the schedule of its rate and its momentum over so many steps."""
    optimiser = torch.optim.AdamW(groups, lr=rate, betas=(MOMENTA[1], BETA2), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        max_lr=rate,
        total_steps=max(steps, SHORTEST_CYCLE),
        pct_start=WARMING,
        base_momentum=MOMENTA[0],
        max_momentum=MOMENTA[1],
    )
    return optimiser, schedule


def decay_groups(trained: Iterable[nn.Parameter]) -> list[dict[str, object]]:
    """Weight decay for matrices and kernels; none for biases, norms and the temperature."""
    moving = [p for p in trained if p.requires_grad]
    return [
        {"params": [p for p in moving if p.ndim > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in moving if p.ndim <= 1], "weight_decay": 0.0},
    ]


def mixed(device: torch.device) -> torch.autocast:
    """A context in which towers compute in bfloat16 on a GPU, and as ever on a CPU."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")
