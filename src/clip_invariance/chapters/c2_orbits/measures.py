"""Chapter 2, claims C08, C10 and C11: what trainings on one sample, on K samples and on the whole orbit have reached.

Nets are measured on digits from other forms, each shown at every one of 16 places, as they stand and as orbit models.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import torch

from clip_invariance.chapters.c2_orbits.arms import GROUP_SIZE, Arm
from clip_invariance.chapters.c2_orbits.orbits import orbit_features, pictures, sampled_means, shifts
from clip_invariance.chapters.c2_orbits.training import sample_count, trained
from clip_invariance.measure.invariance import place_share
from clip_invariance.measure.tables import Row, row
from clip_invariance.models.orbit import rotations
from clip_invariance.theory.tabular import cross_entropy


@torch.no_grad()
def measure(training: pd.DataFrame, arm: Arm, test: int, seed: int, device: str) -> pd.DataFrame:
    """Losses on training and test pictures, accuracy with 1 to all samples, and what share of the output is place.

    Args:
        training: what ``training.train`` returned for the same arm, seed and device.
        test: test pictures, at most 640.

    Returns:
        one row per measurement; see :func:`tables.row`. Further columns: ``steps`` of the training, ``pictures``
        ("train", "test", "turned", or "upright": test digits as written), ``k`` samples at test time. Losses in nats,
        accuracies and shares in [0, 1]; "passes" counts pictures put through the net in training.
    """
    steps = int(training["step"].iloc[0])
    passes = row("passes", steps * arm.batch * (sample_count(arm.objective) or GROUP_SIZE), pictures="train", k=0)
    return pd.DataFrame([*_measured(training, arm, test, seed, device), passes]).assign(steps=steps)


def _measured(training: pd.DataFrame, arm: Arm, test: int, seed: int, device: str) -> Iterator[Row]:
    net, group = trained(training, arm, seed, device), shifts(arm.world, arm.spacing)
    images = {"train": pictures(arm.world, "train", arm.images, seed, device)}
    images["test"] = other, labels = pictures(arm.world, "test", test, seed, device)
    for split, (inputs, wanted) in images.items():
        logits = net.after(orbit_features(net, group, inputs)).double()
        yield row("orbit_loss", cross_entropy(logits.mean(1), wanted).mean().item(), pictures=split, k=0)
        yield row("single_loss", cross_entropy(logits, wanted).mean().item(), pictures=split, k=0)
    sizes = [1, 2, 4, 8, GROUP_SIZE]
    answers = sampled_means(logits, sizes, torch.Generator().manual_seed(seed), replacement=False).argmax(3)
    right = (answers == labels[:, None, None]).double().mean((0, 1))
    for k, value in zip(sizes, right.tolist(), strict=True):
        yield row("accuracy", value, pictures="test", k=k)
    upright = net(other).argmax(1) == labels
    yield row("accuracy", upright.double().mean().item(), pictures="upright", k=1)
    yield row("place_share", place_share(logits), pictures="test", k=0)
    turned = rotations(4).act(other, torch.tensor([1]))[:, 0]
    sideways = net.after(orbit_features(net, group, turned))
    yield row("place_share", place_share(sideways), pictures="turned", k=0)
