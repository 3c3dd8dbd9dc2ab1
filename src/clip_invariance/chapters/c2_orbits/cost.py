"""Chapter 2: what invariance costs, in time per picture, by six ways of getting it.

Digits under all 64 torus shifts. Times are processor times of one CPU thread, medians of repeats on whatever machine
runs this, so they differ from run to run; everything else is deterministic.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping

import pandas as pd
import torch
from torch import Tensor

from clip_invariance.chapters.c2_orbits.arms import PAID
from clip_invariance.chapters.c2_orbits.orbits import DIGITS, orbit_features, pictures, shifts
from clip_invariance.chapters.c2_orbits.training import trained
from clip_invariance.measure.invariance import class_distance, shift_error
from clip_invariance.measure.tables import row
from clip_invariance.models.orbit import FrameModel, Group, OrbitModel
from clip_invariance.training.orbits import CutNet

Model = Callable[[Tensor], Tensor]

SAMPLES = (2, 4, 8, 16, 32)
#: Pictures per timed call.
TIMED = 64


@torch.no_grad()
def compare(
    plain: pd.DataFrame,
    augmented: pd.DataFrame,
    framed: pd.DataFrame,
    torus: pd.DataFrame,
    test: int,
    repeats: int,
    seed: int,
    device: str,
) -> pd.DataFrame:
    """Measure every way of answering on nets of the same seed.

    Args:
        plain, augmented, framed, torus: what ``training.train`` returned for the arms of that name in ``arms.PAID``.
        test: test pictures.
        repeats: timed calls, of which the median counts.
        device: "cpu".

    Returns:
        three rows per ``method`` and ``k`` (samples): "microseconds" (median processor time per picture), "error" (root
        mean square change of the logits under a random shift, in distances between classes), "accuracy" in [0, 1] on
        shifted test digits.
    """
    nets = {
        name: trained(table, PAID[name], seed, device)
        for name, table in (("plain", plain), ("augmented", augmented), ("framed", framed), ("torus", torus))
    }
    group = shifts(DIGITS)
    images, labels = pictures(DIGITS, "test", test, seed, device)
    generator = torch.Generator().manual_seed(seed)
    places = torch.randint(len(group), (2, len(images), 1), generator=generator)
    first, second = (group.act(images, place)[:, 0] for place in places)
    rows = []
    for method, k, net, model in _methods(nets, group, seed):
        scale = class_distance(net.after(orbit_features(net, group, images)).mean(1), labels)
        answer, again = model(first), model(second)
        measured = {
            "microseconds": _microseconds(model, first[:TIMED], repeats),
            "error": shift_error(answer, again, scale).square().mean().sqrt().item(),
            "accuracy": (answer.argmax(1) == labels).double().mean().item(),
        }
        rows += [row(metric, value, method=method, k=k) for metric, value in measured.items()]
    return pd.DataFrame(rows)


def _methods(nets: Mapping[str, CutNet], group: Group, seed: int) -> Iterator[tuple[str, int, CutNet, Model]]:
    """Method, samples, the net whose averaged logits give the distance between classes, and what answers."""
    yield "no augmentation", 1, nets["plain"], nets["plain"]
    net = nets["augmented"]
    yield "augmentation", 1, net, net
    for k in SAMPLES:
        # in training mode, so that each call draws anew
        yield f"{k} samples", k, net, OrbitModel(net.before, net.after, group, samples=k, chunk=2048, seed=seed)
    yield "whole orbit", len(group), net, OrbitModel(net.before, net.after, group, chunk=2048).eval()
    net = nets["framed"]
    yield "frame", 1, net, FrameModel(net.before, net.after, group)
    yield "torus net", 1, nets["torus"], nets["torus"]


def _microseconds(model: Model, images: Tensor, repeats: int) -> float:
    """Median processor time per picture, after one call to warm up."""
    model(images)
    times = []
    for _ in range(repeats):
        start = time.process_time()
        model(images)
        times.append(time.process_time() - start)
    return 1e6 * statistics.median(times) / len(images)
