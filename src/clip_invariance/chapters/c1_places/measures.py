"""Chapter 1: what a trained network does at places where it was, and was not, trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pandas as pd
import torch
from torch import Tensor

from clip_invariance.chapters.c1_places.arms import SOFT, Arm
from clip_invariance.chapters.c1_places.training import CALIBRATION, calibrated, label, places, trained
from clip_invariance.measure.invariance import centred_cosine, class_distance, consistency, place_share, shift_error
from clip_invariance.measure.probes import linear_probe
from clip_invariance.measure.tables import Row, row
from clip_invariance.models.convnets import Classifier
from clip_invariance.training.supervised import accuracy, outputs
from clip_invariance.worlds import placed
from clip_invariance.worlds.canvas import Factors, Places, bottom_half, everywhere, sample_factors, shift
from clip_invariance.worlds.placed import CLASSES, GRID, ONE_PLACE, SIZE

Net = Callable[[Tensor], Tensor]

#: Height at which features are compared with those higher up, in pixels from the top.
LOW = 24.0


def measure(training: pd.DataFrame, arm: Arm, test: int, seed: int, device: str) -> pd.DataFrame:
    """Measure one trained network.

    Args:
        training: what ``training.train`` returned for the same arm, seed and device.
        test: pictures per test set.

    Returns:
        one row per measurement; see :func:`tables.row`. Further columns: ``where`` objects are ("seen" or "unseen" in
        training, or "above" or "below" the midline), which ``objects`` (those that were "free" in training or
        "restricted" to the lower half, the "same" or the "other" of a pair), ``x`` and ``y`` in pixels. Accuracies and
        shares in [0, 1], shift errors in distances between classes.
    """
    net = trained(training, arm, device)
    before = trained(training, arm, device, untrained=True)
    rows = [
        _row("shift_error_untrained", largest_shift_error(before, seed, test, device)),
        _row("shift_error", largest_shift_error(net, seed, test, device)),
        *(seen_and_unseen if arm.support != "mixed" else above_and_below)(net, arm, seed, test, device),
    ]
    if arm.labelling == "object" and arm.support in ("one", "bottom", "everywhere"):
        rows += accuracy_by_place(net, seed, device)
    if arm.support == "bottom":
        rows += cosine_by_height(net.encoder, seed, test // 16, device)
    if arm.support == "everywhere":
        rows.append(_row("consistency", shift_consistency(net, seed, test, device)))
        rows.append(_row("place_probe", place_probe(net.encoder, seed, test, device)))
        rows.append(_row("place_share", share_of_place(net.encoder, seed, device)))
    return pd.DataFrame(rows)


def measure_controls(test: int, seed: int, device: str) -> pd.DataFrame:
    """Place probe and place share on raw pixels and on untrained encoders, and the probe on shuffled cells.

    Returns:
        as :func:`measure`; ``arm`` is "untrained <architecture>", "pixels" or "shuffled labels".
    """
    seen, _ = placed.draw(CALIBRATION, 1000 + seed, everywhere(SIZE), device)
    encoders: dict[str, Net] = {}
    for architecture in SOFT:
        torch.manual_seed(seed)
        encoders[f"untrained {architecture}"] = calibrated(
            Classifier(architecture, SIZE, CLASSES).to(device), seen
        ).encoder
    encoders["pixels"] = pixels = torch.nn.Flatten()
    rows = []
    for name, encoder in encoders.items():
        rows.append(_row("place_probe", place_probe(encoder, seed, test, device)) | {"arm": name})
        rows.append(_row("place_share", share_of_place(encoder, seed, device)) | {"arm": name})
    shuffled = place_probe(pixels, seed, test, device, shuffle=True)
    return pd.DataFrame([*rows, _row("place_probe", shuffled) | {"arm": "shuffled labels"}])


def _row(
    metric: str, value: float, *, where: str = "", objects: str = "", x: float = float("nan"), y: float = float("nan")
) -> Row:
    return row(metric, value, where=where, objects=objects, x=x, y=y)


def seen_and_unseen(net: Classifier, arm: Arm, seed: int, test: int, device: str) -> Iterator[Row]:
    """Accuracy on new pictures at places like those of training, and at places outside them."""
    outside: dict[str, Places] = {"one": placed.away_from(ONE_PLACE, 4.0), "bottom": placed.top_half(SIZE)}
    tests = {"seen": places(arm.support, seed), "unseen": outside.get(arm.support, everywhere(SIZE))}
    for offset, (where, allowed) in enumerate(tests.items()):
        pictures, factors = placed.draw(test, 2000 + 10 * seed + offset, allowed, device)
        yield _row("accuracy", accuracy(net, pictures, label(factors, arm.labelling)), where=where)


def above_and_below(net: Classifier, arm: Arm, seed: int, test: int, device: str) -> Iterator[Row]:
    """Biscione's control: accuracy on either side of the midline, objects seen on both and objects kept below."""
    tests = {"above": placed.top_half(SIZE), "below": bottom_half(SIZE)}
    for offset, (where, allowed) in enumerate(tests.items()):
        pictures, factors = placed.draw(test, 2000 + 10 * seed + offset, allowed, device)
        labels = label(factors, arm.labelling)
        for objects, parity in (("free", 0), ("restricted", 1)):
            chosen = factors.object % 2 == parity
            value = accuracy(net, pictures[chosen], labels[chosen])
            yield _row("accuracy", value, where=where, objects=objects)


def accuracy_by_place(net: Classifier, seed: int, device: str) -> Iterator[Row]:
    """Accuracy at each point of the grid: every object once at every point."""
    points = torch.cartesian_prod(torch.tensor(GRID), torch.tensor(GRID)).float()  # x, y
    factors = sample_factors(len(points) * CLASSES, 3000 + seed, SIZE, objects=CLASSES)
    factors.object.copy_(torch.arange(CLASSES).repeat(len(points)))
    factors.x.copy_(points[:, 0].repeat_interleave(CLASSES))
    factors.y.copy_(points[:, 1].repeat_interleave(CLASSES))
    predicted = outputs(net, placed.canvas(device).render(factors)).argmax(1).cpu()
    right = (predicted == factors.object).float().view(len(points), CLASSES).mean(1)
    for (x, y), value in zip(points.tolist(), right.tolist(), strict=True):
        yield _row("accuracy_map", value, x=x, y=y)


def cosine_by_height(encoder: Net, seed: int, pairs: int, device: str) -> Iterator[Row]:
    """Cosine between a picture's features low on the canvas and the same picture's with the object moved up.

    Control, objects "other": the features of another object at the low place.
    """
    factors = sample_factors(pairs, 4000 + seed, SIZE, objects=CLASSES)
    others = factors[torch.arange(pairs)]
    others.object.copy_((others.object + 1 + CLASSES // 2) % CLASSES)

    def features_at(y: float, shown: Factors = factors) -> Tensor:
        shown.y.fill_(y)
        return outputs(encoder, placed.canvas(device).render(shown))

    reference = features_at(LOW)
    by_height = {float(y): features_at(float(y)) for y in GRID}
    mean = torch.stack(list(by_height.values())).mean((0, 1))
    for y, features in by_height.items():
        yield _row("cosine", centred_cosine(reference, features, mean).mean().item(), objects="same", y=y)
    other = centred_cosine(reference, features_at(LOW, others), mean).mean().item()
    yield _row("cosine", other, objects="other", y=LOW)


def _shifted_copies(seed: int, n: int, device: str) -> tuple[Tensor, Tensor, Factors]:
    """Pictures, and the same rolled around the torus by random whole pixels, background and all."""
    pictures, factors = placed.draw(n, 5000 + seed, everywhere(SIZE), device)
    amount = torch.randint(1, SIZE, (2, n), generator=torch.Generator().manual_seed(6000 + seed)).to(device)
    return pictures, shift(pictures, amount[0], amount[1]), factors


def largest_shift_error(net: Classifier, seed: int, test: int, device: str) -> float:
    """The largest error of the features under random shifts, in units of the distance between classes."""
    pictures, shifted, factors = _shifted_copies(seed, test // 2, device)
    features = outputs(net.encoder, pictures)
    scale = class_distance(features, factors.object)
    return shift_error(features, outputs(net.encoder, shifted), scale).max().item()


def shift_consistency(net: Classifier, seed: int, test: int, device: str) -> float:
    """Share of pictures that keep their predicted class under a random shift."""
    pictures, shifted, _ = _shifted_copies(seed, test, device)
    return consistency(outputs(net, pictures), outputs(net, shifted))


def place_probe(encoder: Net, seed: int, test: int, device: str, *, shuffle: bool = False) -> float:
    """How well a linear probe reads the cell of the object."""
    train_pictures, train_factors = placed.draw(2 * test, 7000 + seed, everywhere(SIZE), device)
    test_pictures, test_factors = placed.draw(test, 8000 + seed, everywhere(SIZE), device)
    cells = placed.cell(train_factors)
    if shuffle:
        cells = cells[torch.randperm(len(cells), generator=torch.Generator().manual_seed(seed)).to(device)]
    features, test_features = outputs(encoder, train_pictures), outputs(encoder, test_pictures)
    return linear_probe(features, cells, test_features, placed.cell(test_factors))


def share_of_place(encoder: Net, seed: int, device: str) -> float:
    """How much of the features' variance is place: the same objects at the same 16 places."""
    factors = sample_factors(2 * CLASSES, 9000 + seed, SIZE, objects=CLASSES)
    moved = []
    for x, y in placed.scattered(16, seed).tolist():
        factors.x.fill_(x)
        factors.y.fill_(y)
        moved.append(outputs(encoder, placed.canvas(device).render(factors)))
    return place_share(torch.stack(moved, dim=1))
