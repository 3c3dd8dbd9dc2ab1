"""Chapter 1: Kayhan & van Gemert (2020), red and green squares, at the paper's setup.

Published means for accuracy on the similar and on the dissimilar test set are in PUBLISHED, in percent. They come from
the paper's table; the setup (four convolutions, strides 1, 2, 2, 2, global max pooling, Adadelta, weights of the lowest
validation loss) follows the paper and its released code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pandas as pd
import torch
from torch import nn

from clip_invariance.errors import UsageError
from clip_invariance.measure.tables import row
from clip_invariance.profiles import Profile, Scale
from clip_invariance.training.supervised import accuracy, fit_early_stopping
from clip_invariance.units import Unit
from clip_invariance.worlds.red_green import draw

#: Border -> (similar, dissimilar), percent.
PUBLISHED = {
    "valid": (100.0, 0.2),
    "same, zeros": (99.8, 8.4),
    "same, circular": (73.7, 73.7),
    "full, zeros": (89.7, 89.7),
}
#: Border -> (padding, mode) of the four 3 x 3 convolutions.
BORDERS: dict[str, tuple[int, Literal["zeros", "circular"]]] = {
    "valid": (0, "zeros"),
    "same, zeros": (1, "zeros"),
    "same, circular": (1, "circular"),
    "full, zeros": (2, "zeros"),
}


@dataclass(frozen=True)
class Size:
    """Training pictures, passes over them at most, pictures per step, and worse passes before training stops."""

    images: int
    epochs: int
    batch: int
    patience: int = 8


#: The paper trains 50 epochs of 10 batches of 200. The quick profile takes 200 steps of 20 instead of 500 of 200.
SIZES = Scale(
    usual=Size(images=2000, epochs=50, batch=200),
    smoke=Size(images=40, epochs=1, batch=20),
    quick=Size(images=2000, epochs=2, batch=20),
)


def units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Four borders, the slowest first."""
    size = SIZES.at(profile)
    return [
        Unit(train_and_test, {"arm": border, "size": size, "seed": seed, "device": device})
        for border in reversed(BORDERS)
        for seed in range(seeds)
    ]


def network(border: str) -> nn.Sequential:
    """The paper's net: (n, 3, 32, 32) to two logits.

    Raises:
        UsageError: for an unknown border.
    """
    if border not in BORDERS:
        raise UsageError(f"border={border!r}: choose one of {', '.join(BORDERS)}")
    padding, mode = BORDERS[border]
    shapes = ((3, 32, 1), (32, 32, 2), (32, 64, 2), (64, 64, 2))
    layers: list[nn.Module] = []
    for inputs, outputs, stride in shapes:
        layers += [nn.Conv2d(inputs, outputs, 3, stride, padding, padding_mode=mode, bias=False), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(64, 2))


def train_and_test(arm: str, size: Size, seed: int, device: str) -> pd.DataFrame:
    """Train one net, with a border of BORDERS.

    Returns:
        accuracy in [0, 1] by ``test``: "similar" and "dissimilar" (1,000 images each).
    """
    generator = torch.Generator().manual_seed(seed)
    (train, _), (validation, _), tests = (draw(n, generator) for n in (size.images, size.images // 2, 1000))
    torch.manual_seed(seed)
    net = network(arm).to(device)
    fit_early_stopping(
        net,
        (train.images.to(device), train.labels.to(device)),
        (validation.images.to(device), validation.labels.to(device)),
        epochs=size.epochs,
        batch=size.batch,
        patience=size.patience,
        optimiser=lambda weights: torch.optim.Adadelta(weights, lr=1.0, rho=0.9, eps=1e-6, weight_decay=5e-5),
    )
    return pd.DataFrame(
        [
            row("accuracy", accuracy(net, squares.images.to(device), squares.labels.to(device)), test=name)
            for name, squares in zip(("similar", "dissimilar"), tests, strict=True)
        ]
    )
