"""Chapter 2: what invariance costs, in time per picture, by six ways of getting it.

Digits under all 64 torus shifts. Times are processor times of one CPU thread, medians of repeats on whatever machine
runs this, so they differ from run to run; everything else is deterministic.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from clip_invariance.chapters.c2_orbits.orbits import (
    DIGITS,
    WIDTH,
    orbit_features,
    perceptron,
    pictures,
    shifts,
    torus_net,
)
from clip_invariance.measure.invariance import class_distance, shift_error
from clip_invariance.models.orbit import FrameModel, Group, OrbitModel, frame
from clip_invariance.profiles import Profile
from clip_invariance.training.orbits import CutNet, fit_orbits
from clip_invariance.units import Unit

Row = dict[str, Any]
Model = Callable[[Tensor], Tensor]

IMAGES, BATCH, RATE = 1157, 32, 1e-2
STEPS = {"smoke": 16, "quick": 1200, "standard": 1200, "full": 1200}
REPEATS = {"smoke": 1, "quick": 5, "standard": 9, "full": 9}
TEST = {"smoke": 32, "quick": 320, "standard": 640, "full": 640}
#: The torus net has no shifts to learn, and each of its steps takes several times as long.
TORUS_SHARE = 0.6
SAMPLES = (1, 2, 4, 8, 16, 32)
TIMED = 64
"""Pictures per timed call."""


def units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """One comparison of all methods per seed. Runs on the CPU whatever the device: times on a GPU mean something else."""
    return [
        Unit(
            compare,
            {
                "seed": seed,
                "steps": STEPS[profile.name],
                "test": TEST[profile.name],
                "repeats": REPEATS[profile.name],
                "device": "cpu",
            },
        )
        for seed in range(seeds)
    ]


def compare(seed: int, steps: int, test: int, repeats: int, device: str) -> pd.DataFrame:
    """Train one net per way of training, then measure every way of answering.

    Returns:
        one row per method: method, k (samples), microseconds (median processor time per picture), error (root mean
        square change of the logits under a random shift, in distances between classes), accuracy in [0, 1] on shifted
        test digits.
    """
    group = shifts(DIGITS)
    images, labels = pictures(DIGITS, "test", test, seed, device)
    generator = torch.Generator().manual_seed(seed)
    places = torch.randint(len(group), (2, len(images), 1), generator=generator)
    first, second = (group.act(images, place)[:, 0] for place in places)
    rows = []
    for method, k, model, scale in _methods(seed, steps, images, labels, group):
        with torch.no_grad():
            answer, again = model(first), model(second)
            rows.append(
                {
                    "method": method,
                    "k": k,
                    "microseconds": _microseconds(model, first[:TIMED], repeats),
                    "error": shift_error(answer, again, scale).square().mean().sqrt().item(),
                    "accuracy": (answer.argmax(1) == labels).double().mean().item(),
                }
            )
    return pd.DataFrame(rows)


def _methods(
    seed: int, steps: int, images: Tensor, labels: Tensor, group: Group
) -> Iterator[tuple[str, int, Model, float]]:
    """Method, samples, model, and the distance between classes of its averaged logits."""
    shown, wanted = pictures(DIGITS, "train", IMAGES, seed, "cpu")

    def fitted(net: CutNet, orbits: Tensor, length: int = steps) -> tuple[CutNet, float]:
        fit_orbits(net, orbits, wanted, samples=1, steps=length, batch=BATCH, rate=RATE, seed=seed)
        with torch.no_grad():
            return net, class_distance(net.after(orbit_features(net, group, images)).mean(1), labels)

    net, scale = fitted(perceptron(DIGITS, WIDTH, seed), shown[:, None])
    yield "no augmentation", 1, net, scale
    net, scale = fitted(perceptron(DIGITS, WIDTH, seed), group.act(shown))
    yield "augmentation", 1, net, scale
    for k in SAMPLES[1:]:
        sampled = OrbitModel(net.before, net.after, group, samples=k, chunk=2048, seed=seed)
        yield f"{k} samples", k, sampled, scale  # in training mode, so that each call draws anew
    yield "whole orbit", len(group), OrbitModel(net.before, net.after, group, chunk=2048).eval(), scale
    canonical = group.act(shown, frame(group, shown).double().argmax(1)[:, None])
    net, scale = fitted(perceptron(DIGITS, WIDTH, seed), canonical)
    yield "frame", 1, FrameModel(net.before, net.after, group), scale
    net, scale = fitted(torus_net(seed), shown[:, None], round(TORUS_SHARE * steps))
    yield "torus net", 1, net, scale


def _microseconds(model: Model, images: Tensor, repeats: int) -> float:
    """Median processor time per picture, after one call to warm up."""
    model(images)
    times = []
    for _ in range(repeats):
        start = time.process_time()
        model(images)
        times.append(time.process_time() - start)
    return 1e6 * statistics.median(times) / len(images)
