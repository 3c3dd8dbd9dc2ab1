"""Chapter 1, claim C05: is it better to ignore place everywhere, or only where it does not matter?

Half of the objects live in the upper half of the canvas, half in the lower one, and are at home with a given
probability. Pictures are noisy, so that what an object looks like does not settle what it is. Two nets that differ in
their pooling only: one averages over the whole canvas and cannot know the height, one averages each half on its own.
"""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor

from clip_invariance.models.convnets import Classifier
from clip_invariance.profiles import Profile
from clip_invariance.training.supervised import accuracy, fit
from clip_invariance.units import Unit
from clip_invariance.worlds import placed as scenes
from clip_invariance.worlds.canvas import sample_factors
from clip_invariance.worlds.placed import CLASSES, MIDLINE, SIZE

#: Standard deviation of the pixel noise, in grey levels.
NOISE = 60.0
GLOBAL, RESTRICTED = "torus_pool", "torus_halves"
QUICK_AT_HOME = (0.5, 0.9)
ALL_AT_HOME = (0.5, 0.75, 0.9, 1.0)
IMAGES = {"smoke": 96, "quick": 8000, "standard": 8000, "full": 8000}
STEPS = {"smoke": 2, "quick": 250, "standard": 250, "full": 250}


def units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Both nets at every probability of being at home."""
    at_home = QUICK_AT_HOME if profile.name in ("smoke", "quick") else ALL_AT_HOME
    return [
        Unit(
            train_and_measure,
            {
                "architecture": architecture,
                "at_home": probability,
                "seed": seed,
                "images": IMAGES[profile.name],
                "steps": STEPS[profile.name],
                "device": device,
            },
        )
        for architecture in (GLOBAL, RESTRICTED)
        for probability in at_home
        for seed in range(seeds)
    ]


def train_and_measure(
    architecture: str, at_home: float, seed: int, images: int, steps: int, device: str
) -> pd.DataFrame:
    """Train one net in one world, test it there and where every object has left its home.

    Args:
        architecture: GLOBAL or RESTRICTED.
        at_home: probability in [0, 1] that an object is in its own half.
        seed: of pictures, initialisation and order.
        images: training pictures.
        steps: gradient steps.
        device: "cpu" or "cuda".

    Returns:
        two rows: group "same world" (home with the same probability) and "moved" (never at home), value = accuracy.
    """
    torch.manual_seed(seed)
    net = Classifier(architecture, SIZE, CLASSES).to(device)
    pictures, labels = noisy_pictures(images, at_home, 1000 + seed, device)
    fit(net, pictures, labels, steps=steps, batch=32, rate=3e-3, seed=seed)
    tests = {"same world": at_home, "moved": 0.0}
    rows = [
        {"group": name, "value": accuracy(net, *noisy_pictures(min(images, 2048), p, 2000 + seed, device))}
        for name, p in tests.items()
    ]
    return pd.DataFrame(rows)


def noisy_pictures(n: int, at_home: float, seed: int, device: str) -> tuple[Tensor, Tensor]:
    """``n`` noisy pictures, uint8, and the objects in them. Even objects live above the midline, odd ones below."""
    generator = torch.Generator().manual_seed(seed)
    factors = sample_factors(n, generator, SIZE, objects=CLASSES)
    home_below = factors.object % 2 == 1
    below = torch.where(torch.rand(n, generator=generator) < at_home, home_below, ~home_below)
    factors.y.copy_(factors.y % MIDLINE + below * MIDLINE)
    clean = scenes.canvas(device).render(factors).float()
    noise = torch.randn(clean.shape, generator=generator).to(device) * NOISE
    return (clean + noise).clamp(0, 255).round().to(torch.uint8), factors.object.to(device)
