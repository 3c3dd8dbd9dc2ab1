"""Batch normalisation of networks that were never trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def plain_statistics(model: nn.Module) -> Iterator[Sequence[nn.Module]]:
    """Within it, batch normalisation takes the plain mean over the batches that it is shown; gives its layers.

    Its usual moving average would still be two thirds of what an untrained layer begins with after four batches.
    """
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
        layer.train()
    try:
        yield layers
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
            layer.eval()
