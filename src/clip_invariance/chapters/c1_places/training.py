"""Chapter 1: training one network at the places and with the labels that its arm says."""

from __future__ import annotations

import copy

import pandas as pd
import torch
from torch import Tensor

from clip_invariance.chapters.c1_places.arms import Arm, budget
from clip_invariance.errors import UsageError
from clip_invariance.models.convnets import Classifier
from clip_invariance.models.normalisation import plain_statistics
from clip_invariance.models.weights import from_bytes, to_bytes
from clip_invariance.training.supervised import fit, outputs
from clip_invariance.worlds import placed
from clip_invariance.worlds.canvas import Factors, Places, bottom_half, everywhere, sample_factors
from clip_invariance.worlds.placed import CELLS, CLASSES, MIDLINE, ONE_PLACE, SIZE

#: Pictures that untrained networks see before they are measured.
CALIBRATION = 2048


def train(arm: Arm, length: float, seed: int, device: str) -> pd.DataFrame:
    """Train one network.

    Args:
        arm: what is trained on what.
        length: training length as a multiple of the arm's budget.
        seed: of pictures, initialisation and order.
        device: "cpu" or "cuda".

    Returns:
        its weights before the first step and after the last: ``step``, ``weights`` (bytes). See :func:`trained`.
    """
    full = budget(arm)
    images, steps = max(full.batch, round(full.images * length)), max(2, round(full.steps * length))
    pictures, factors = training_pictures(arm.support, images, seed, device)
    torch.manual_seed(seed)
    net = Classifier(arm.architecture, SIZE, classes(arm.labelling)).to(device)
    untrained = calibrated(net, pictures)
    fit(net, pictures, label(factors, arm.labelling), steps=steps, batch=full.batch, rate=full.rate, seed=seed)
    return pd.DataFrame({"step": [0, steps], "weights": [to_bytes(untrained), to_bytes(net)]})


def trained(table: pd.DataFrame, arm: Arm, device: str, *, untrained: bool = False) -> Classifier:
    """The network from the table that :func:`train` returned, as it was after the last step or before the first."""
    content = table["weights"].iloc[0 if untrained else -1]
    net = from_bytes(Classifier(arm.architecture, SIZE, classes(arm.labelling)), content).to(device)
    if not untrained:
        net.to(memory_format=torch.channels_last)  # as training left it: the same arithmetic to the last digit
    return net


def calibrated(net: Classifier, pictures: Tensor) -> Classifier:
    """A copy whose batch normalisation has seen pictures, weights unchanged: what an untrained network needs to be fair."""
    seeing = copy.deepcopy(net).eval()
    with plain_statistics(seeing):
        outputs(seeing, pictures[:CALIBRATION])
    return seeing


def places(support: str, seed: int) -> Places | Tensor:
    """Where objects may be in training.

    Raises:
        UsageError: for an unknown support.
    """
    if support == "one":
        return torch.tensor([ONE_PLACE], dtype=torch.float32)
    if support == "bottom":
        return bottom_half(SIZE)
    if support in ("everywhere", "mixed"):
        return everywhere(SIZE)
    if support.startswith("places_"):
        return placed.scattered(int(support.removeprefix("places_")), seed)
    raise UsageError(f"support={support!r}: choose one, bottom, everywhere, mixed or places_<n>")


def training_pictures(support: str, images: int, seed: int, device: str) -> tuple[Tensor, Factors]:
    """Training pictures and their factors; in the "mixed" arms the odd objects are moved below the midline."""
    factors = sample_factors(images, 1000 + seed, SIZE, objects=CLASSES, where=places(support, seed))
    if support == "mixed":
        restricted = factors.object % 2 == 1
        below = MIDLINE + factors.y % MIDLINE
        factors.y.copy_(torch.where(restricted, below, factors.y))
    return placed.canvas(device).render(factors), factors.to(device)


def classes(labelling: str) -> int:
    """How many classes a labelling tells apart.

    Raises:
        UsageError: for an unknown labelling.
    """
    counts = {"object": CLASSES, "object_half": 2 * CLASSES, "object_side": 2 * CLASSES, "cell": CELLS * CELLS}
    if labelling not in counts:
        raise UsageError(f"labelling={labelling!r}: choose one of {', '.join(counts)}")
    return counts[labelling]


def label(factors: Factors, labelling: str) -> Tensor:
    """The label of each picture, (n,)."""
    if labelling == "cell":
        return placed.cell(factors)
    if labelling == "object_half":
        return factors.object + CLASSES * (factors.y >= MIDLINE)
    if labelling == "object_side":
        return factors.object + CLASSES * (factors.x >= MIDLINE)
    return factors.object
