"""Chapter 2: training one network on one sample, on K samples or on all of each orbit."""

from __future__ import annotations

import pandas as pd
from torch import Tensor

from clip_invariance.chapters.c2_orbits.arms import FRAME, NONE, WHOLE, Arm
from clip_invariance.chapters.c2_orbits.orbits import perceptron, pictures, shifts, torus_net
from clip_invariance.errors import UsageError
from clip_invariance.models.orbit import frame
from clip_invariance.models.weights import from_bytes, to_bytes
from clip_invariance.training.orbits import CutNet, fit_orbits


def train(arm: Arm, full: int, seed: int, device: str) -> pd.DataFrame:
    """Train one network.

    Args:
        arm: what is trained on what.
        full: gradient steps of a training of length 1.
        seed: of the choice of pictures, initialisation, order and draws.
        device: "cpu" or "cuda".

    Returns:
        one row: ``step``, ``weights`` (bytes). See :func:`trained`.

    Raises:
        UsageError: for an unknown objective.
    """
    samples = sample_count(arm.objective)
    steps = max(2, round(arm.length * full)) if arm.length else 0
    net = network(arm, seed).to(device)
    if steps:
        images, labels = pictures(arm.world, "train", arm.images, seed, device)
        orbits = orbits_of(arm, images)
        fit_orbits(net, orbits, labels, samples=samples, steps=steps, batch=arm.batch, rate=arm.rate, seed=seed)
    return pd.DataFrame({"step": [steps], "weights": [to_bytes(net)]})


def trained(table: pd.DataFrame, arm: Arm, seed: int, device: str) -> CutNet:
    """The network from the table that :func:`train` returned for the same arm and seed."""
    return from_bytes(network(arm, seed), table["weights"].iloc[0]).to(device)


def network(arm: Arm, seed: int) -> CutNet:
    """The network of an arm before its first step."""
    return torus_net(seed) if arm.net == "torus" else perceptron(arm.world, arm.width, seed)


def orbits_of(arm: Arm, images: Tensor) -> Tensor:
    """The pictures that training draws from, (n, k, c, h, w): each picture alone, or its orbit."""
    if arm.objective == NONE:
        return images[:, None]
    group = shifts(arm.world, arm.spacing)
    if arm.objective == FRAME:
        return group.act(images, frame(group, images).double().argmax(1)[:, None])
    return group.act(images)


def sample_count(objective: str) -> int | None:
    """K of an objective; None for the whole orbit.

    Raises:
        UsageError: for anything but "none", "frame", "all" or a positive number.
    """
    if objective == WHOLE:
        return None
    if objective in (NONE, FRAME):
        return 1
    if not objective.isdigit() or int(objective) < 1:
        raise UsageError(f"objective={objective!r}: choose none, all, frame or a number of samples")
    return int(objective)
