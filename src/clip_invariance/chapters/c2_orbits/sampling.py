"""Chapter 2, claims C07 to C09: what an orbit average is worth when all of it, or K samples of it, are taken.

One perceptron is asked about orbits: how far the exact average still moves, how far two sampled answers to the same
picture lie apart, and what the sampled loss is against the orbit loss, with the average before the linear head and with
it one layer earlier.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip_invariance.chapters.c2_orbits.arms import Arm
from clip_invariance.chapters.c2_orbits.orbits import (
    CUTS,
    DIGITS,
    cut_at,
    orbit_features,
    pictures,
    sampled_means,
    shifts,
)
from clip_invariance.chapters.c2_orbits.training import trained
from clip_invariance.measure.invariance import class_distance
from clip_invariance.measure.tables import Row, row
from clip_invariance.models.orbit import (
    FrameModel,
    Group,
    OrbitModel,
    crops,
    product,
    rotations,
    torus_shifts,
    zero_filled_shifts,
)
from clip_invariance.theory.tabular import cross_entropy, second_order_gap
from clip_invariance.training.orbits import CutNet
from clip_invariance.training.supervised import prepare

#: The group itself, as what is averaged over.
TORUS = "torus shifts"
#: Pictures whose whole orbit is moved by the whole group.
FEW = 4
#: Pictures whose draws are in memory at a time.
BLOCK = 16
#: Rounding in float64 that does not count as a broken bound, in nats.
ROUNDING = 1e-9


@torch.no_grad()
def measure(training: pd.DataFrame, arm: Arm, test: int, seed: int, device: str) -> pd.DataFrame:
    """Take the averages of one net apart.

    Deviations are measured only where the average still tells classes apart, or they have no unit.

    Args:
        training: what ``training.train`` returned for the same arm, seed and device.
        test: test pictures.

    Returns:
        one row per measurement; see :func:`tables.row`. ``depth`` is where the average stands, one of CUTS. Further
        columns: the set that is averaged ``over``, ``k`` samples, drawn with ``replacement``. Deviations in units of the
        distance between classes, losses in nats, failures as a share of pictures.
    """
    net = trained(training, arm, seed, device)
    images, labels = pictures(arm.world, "test", test, seed, device)
    double = copy.deepcopy(net).double()  # so that small differences are not rounding
    parts = {cut: cut_at(double, cut) for cut in CUTS}
    features = {cut: orbit_features(part, shifts(arm.world), images) for cut, part in parts.items()}
    rows = [one for cut in CUTS for one in bound(parts[cut], cut, features[cut], labels)]
    if arm.training == "shifted":
        rows += [one for cut in CUTS for one in losses(parts[cut], cut, features[cut], labels, seed)]
        logits = double.after(features["linear"])
        scale = class_distance(logits.mean(1), labels)
        rows += deviations(logits, scale, seed)
        rows += exactness(net, arm.world, images[:FEW], scale)
    return pd.DataFrame(rows)


def _row(metric: str, value: float, *, depth: str = "", over: str = TORUS, k: int = 0, replacement: bool = True) -> Row:
    return row(metric, value, depth=depth, over=over, k=k, replacement=replacement)


def sample_sizes(size: int) -> list[int]:
    """K = 1, 2, 4 ... up to |G|."""
    return [2**power for power in range(size.bit_length()) if 2**power <= size]


def deviations(logits: Tensor, scale: float, seed: int) -> Iterator[Row]:
    """How far two sampled answers to one picture lie apart, the picture having moved in between.

    Moving the picture permutes its orbit, so a uniform draw from the moved orbit is a uniform draw from the orbit: the
    two answers are two independent draws. Root mean square over pictures and draws, in units of ``scale``.

    Args:
        logits: (n, |G|, classes).
    """
    sizes = sample_sizes(logits.shape[1])
    generator = torch.Generator().manual_seed(seed)
    for replacement in (True, False):
        squared = torch.zeros(len(sizes), dtype=logits.dtype, device=logits.device)
        for block in logits.split(BLOCK):
            first, second = (sampled_means(block, sizes, generator, replacement) for _ in range(2))
            squared += (first - second).square().sum(3).mean(1).sum(0) / len(logits)
        for k, value in zip(sizes, squared.sqrt().tolist(), strict=True):
            yield _row("deviation", value / scale, depth="linear", k=k, replacement=replacement)


def bound(net: CutNet, cut: str, features: Tensor, labels: Tensor) -> Iterator[Row]:
    """Loss of one sample against the orbit loss, picture by picture: how often, and how far, the bound is broken."""
    orbit = cross_entropy(net.after(features.mean(1)), labels)
    single = cross_entropy(net.after(features), labels).mean(1)
    yield _row("orbit_loss", orbit.mean().item(), depth=cut)
    yield _row("gap", (single - orbit).mean().item(), depth=cut)
    yield _row("worst_gap", (single - orbit).min().item(), depth=cut)
    yield _row("failures", (single < orbit - ROUNDING).double().mean().item(), depth=cut)


def losses(net: CutNet, cut: str, features: Tensor, labels: Tensor, seed: int) -> Iterator[Row]:
    """Sampled loss against K, drawn with replacement, and its second-order prediction for the linear head."""
    sizes = sample_sizes(features.shape[1])
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(len(sizes), dtype=features.dtype, device=features.device)
    for block, wanted in zip(features.split(BLOCK), labels.split(BLOCK), strict=True):
        answers = net.after(sampled_means(block, sizes, generator))
        total += cross_entropy(answers, wanted).mean(1).sum(0)
    for k, value in zip(sizes, (total / len(features)).tolist(), strict=True):
        yield _row("loss", value, depth=cut, k=k)
    if cut == "linear":
        logits = net.after(features)
        orbit = cross_entropy(logits.mean(1), labels)
        for k in sizes:
            predicted = (orbit + second_order_gap(logits, k)).mean().item()
            yield _row("predicted_loss", predicted, depth=cut, k=k)


def exactness(net: CutNet, world: str, images: Tensor, scale: float) -> Iterator[Row]:
    """Largest deviation of averages over *all* of a set, when a picture is moved by every element of it.

    In units of ``scale``, the distance between classes of the logits averaged over the torus.
    """
    few = prepare(images)
    for name, model, moves, start in _averages(net, world, few):
        yield _row("exactness", largest_deviation(model, moves, start) / scale, depth="linear", over=name)
    double, group = copy.deepcopy(net).double(), shifts(world)
    exact = OrbitModel(double.before, double.after, group, chunk=512)
    worst = largest_deviation(exact, group, few.double()) / scale
    yield _row("exactness", worst, depth="linear", over=f"{TORUS}, double precision")


def _averages(net: CutNet, world: str, images: Tensor) -> Iterator[tuple[str, nn.Module, Group, Tensor]]:
    """Name, model, what its pictures are moved by, and the pictures."""

    def average(group: Group) -> OrbitModel:
        return OrbitModel(net.before, net.after, group, chunk=512, promise_exact=False)

    group, size = shifts(world), images.shape[-1]
    yield TORUS, average(group), group, images
    yield f"frame of {TORUS}", FrameModel(net.before, net.after, group, chunk=512), group, images
    yield "quarter turns", average(rotations(4)), rotations(4), images
    reach = size // 4
    filled = zero_filled_shifts(size, size, reach, step=reach // 2)
    yield "shifts, zeros moving in", average(filled), filled, images
    if world == DIGITS:
        both = product(group, rotations(4))
        yield f"{TORUS} and quarter turns", average(both), both, images[:1]
        twelve = rotations(12)
        yield "twelve rotations, interpolated", average(twelve), twelve, images
        wide = F.pad(images, [size // 4] * 4)  # a larger scene, seen through a window of the net's size
        side = wide.shape[-1]
        yield "crops", average(crops(side, side, size)), torus_shifts(side, side), wide


def largest_deviation(model: nn.Module, moves: Group, images: Tensor) -> float:
    """Largest distance between the answers to a picture and to the picture moved, over all moves and pictures."""
    moved = moves.act(images)
    answers = torch.cat([model(part) for part in moved.flatten(0, 1).split(256)]).unflatten(0, moved.shape[:2])
    return float(torch.linalg.vector_norm((answers - model(images)[:, None]).double(), dim=2).max())
