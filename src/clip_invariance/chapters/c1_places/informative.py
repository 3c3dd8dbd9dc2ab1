"""Chapter 1, claim C05: is it better to ignore place everywhere, or only where it does not matter?

Half of the objects live in the upper half of the canvas, half in the lower one, and are at home with a given
probability. Pictures are noisy, so that what an object looks like does not settle what it is. Two nets that differ in
their pooling only: one averages over the whole canvas and cannot know the height, one averages each half on its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd
import torch
from torch import Tensor

from clip_invariance.measure.tables import row
from clip_invariance.models.convnets import Classifier
from clip_invariance.profiles import Profile, Scale, run_in
from clip_invariance.training.supervised import accuracy, fit
from clip_invariance.units import Unit
from clip_invariance.worlds import placed
from clip_invariance.worlds.canvas import sample_factors
from clip_invariance.worlds.placed import CLASSES, MIDLINE, SIZE

#: Standard deviation of the pixel noise, in grey levels.
NOISE = 60.0
#: Pooling of the whole canvas, and of each half apart.
GLOBAL, RESTRICTED = "torus_pool", "torus_halves"


@dataclass(frozen=True)
class Home:
    """A net, and the probability in [0, 1] that an object is in its own half in training."""

    architecture: str
    at_home: float
    since: str = field(default="quick", compare=False)


@dataclass(frozen=True)
class Size:
    """Training pictures, and gradient steps."""

    images: int
    steps: int


SIZES = Scale(usual=Size(images=8000, steps=250), smoke=Size(images=96, steps=2))
BATCH, RATE = 32, 3e-3
#: Probabilities of being at home, and the profile from which on they are run.
AT_HOME = {0.5: "quick", 0.75: "standard", 0.9: "quick", 1.0: "standard"}
HOMES = tuple(Home(net, at_home, since) for net in (GLOBAL, RESTRICTED) for at_home, since in AT_HOME.items())


def units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Both nets at every probability of being at home."""
    size = SIZES.at(profile)
    return [
        Unit(train_and_test, {"arm": arm, "size": size, "seed": seed, "device": device})
        for arm in run_in(HOMES, profile)
        for seed in range(seeds)
    ]


def train_and_test(arm: Home, size: Size, seed: int, device: str) -> pd.DataFrame:
    """Train one net in one world, test it there and where every object has left its home.

    Args:
        seed: of pictures, initialisation and order.

    Returns:
        accuracy in [0, 1] by ``world``: "same world" (home with the same probability) and "moved" (never at home).
    """
    torch.manual_seed(seed)
    net = Classifier(arm.architecture, SIZE, CLASSES).to(device)
    pictures, labels = noisy_pictures(size.images, arm.at_home, 1000 + seed, device)
    fit(net, pictures, labels, steps=size.steps, batch=BATCH, rate=RATE, seed=seed)
    test = min(size.images, 2048)
    tests = {"same world": arm.at_home, "moved": 0.0}
    return pd.DataFrame(
        [
            row("accuracy", accuracy(net, *noisy_pictures(test, at_home, 2000 + seed, device)), world=world)
            for world, at_home in tests.items()
        ]
    )


def noisy_pictures(n: int, at_home: float, seed: int, device: str) -> tuple[Tensor, Tensor]:
    """``n`` noisy pictures, uint8, and the objects in them. Even objects live above the midline, odd ones below."""
    generator = torch.Generator().manual_seed(seed)
    factors = sample_factors(n, generator, SIZE, objects=CLASSES)
    home_below = factors.object % 2 == 1
    below = torch.where(torch.rand(n, generator=generator) < at_home, home_below, ~home_below)
    factors.y.copy_(factors.y % MIDLINE + below * MIDLINE)
    clean = placed.canvas(device).render(factors).float()
    noise = torch.randn(clean.shape, generator=generator).to(device) * NOISE
    return (clean + noise).clamp(0, 255).round().to(torch.uint8), factors.object.to(device)
