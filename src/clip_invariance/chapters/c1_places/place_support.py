"""Chapter 1, main experiment: what a network does at places where it was, and was not, trained.

One unit trains one network (architecture x places seen in training x what the labels say about place) and measures it.
Arms that share a seed share their pictures.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from clip_invariance.errors import UsageError
from clip_invariance.measure.invariance import (
    centred_cosine,
    class_distance,
    consistency,
    place_share,
    shift_error,
)
from clip_invariance.measure.probes import linear_probe
from clip_invariance.models.convnets import Classifier
from clip_invariance.models.normalisation import plain_statistics
from clip_invariance.profiles import Profile
from clip_invariance.training.supervised import accuracy, fit, outputs
from clip_invariance.units import Unit
from clip_invariance.worlds import placed as scenes
from clip_invariance.worlds.canvas import Factors, Places, bottom_half, everywhere, sample_factors, shift
from clip_invariance.worlds.placed import CLASSES, GRID, MIDLINE, ONE_PLACE, SIZE

Row = dict[str, Any]

#: The transformer "vit" again, trained ten times as long: so long it takes to use its positions. (In single runs of
#: seed 100 it told an object's half after 2,000 steps and did not after 1,000.)
PATIENT = "vit_patient"
#: Architectures with no invariance built in.
SOFT = ("zero_flatten", "mlp", "vit")
#: Pictures that untrained networks see before they are measured.
SETTLING = 2048
CELLS = 4  # the place probe tells CELLS x CELLS cells apart


@dataclass(frozen=True)
class Budget:
    """Training pictures, gradient steps, pictures per step, and peak learning rate."""

    images: int
    steps: int
    batch: int
    rate: float


#: One pass over the pictures, three for the MLP: it is quick but learns slowly; the transformer is slow.
DEFAULT_BUDGET = Budget(images=8000, steps=250, batch=32, rate=3e-3)
BUDGETS = {
    "mlp": Budget(images=9600, steps=900, batch=32, rate=1e-3),
    "vit": Budget(images=6400, steps=200, batch=32, rate=3e-3),
    PATIENT: Budget(images=64_000, steps=2000, batch=32, rate=3e-3),
}


@dataclass(frozen=True)
class Scale:
    """Training length as a multiple of the budgets above, and pictures per test set."""

    length: float
    test: int


SCALES = {
    "smoke": Scale(length=0.01, test=96),
    "quick": Scale(length=1.0, test=768),
    "standard": Scale(length=1.0, test=768),
    "full": Scale(length=1.0, test=768),
}

#: Arms as (architecture, support, labels). The quick profile has those that decide a claim.
QUICK_ARMS = (
    ("torus_pool", "one", "object"),
    ("torus_pool", "bottom", "object"),
    ("zero_pool", "bottom", "object"),
    ("zero_pool", "everywhere", "object"),
    ("zero_pool_blur", "everywhere", "object"),
    ("circular_pool", "everywhere", "object"),
    ("aligned_pool", "everywhere", "object"),
    *((net, support, "object") for net in ("zero_flatten", "mlp") for support in ("one", "bottom", "everywhere")),
    ("vit", "bottom", "object"),
    ("zero_flatten", "everywhere", "object_half"),
    ("mlp", "everywhere", "object_half"),
    ("zero_flatten", "mixed", "object"),
)
#: Does the transformer use its positions, and does it reach the upper half when it does?
PATIENT_ARMS = (
    (PATIENT, "everywhere", "object_half"),
    (PATIENT, "bottom", "object"),
    (PATIENT, "bottom", "object_side"),
)
ALL_ARMS = (
    *QUICK_ARMS,
    ("torus_pool", "everywhere", "object"),
    ("zero_pool", "one", "object"),
    ("vit", "one", "object"),
    ("vit", "everywhere", "object"),
    *((net, f"places_{count}", "object") for net in SOFT for count in (4, 16, 64)),
    ("vit", "everywhere", "object_half"),
    ("torus_pool", "everywhere", "object_half"),
    ("zero_flatten", "everywhere", "cell"),
    ("mlp", "everywhere", "cell"),
    ("zero_pool", "mixed", "object"),
    ("vit", "mixed", "object"),
    ("mlp", "mixed", "object"),
    *PATIENT_ARMS,
)
ARMS = {"smoke": (*QUICK_ARMS, *PATIENT_ARMS), "quick": QUICK_ARMS, "standard": ALL_ARMS, "full": ALL_ARMS}


def units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """All arms of a profile, ``seeds`` times each, the longest first."""
    scale = SCALES[profile.name]
    slow_first = sorted(
        ARMS[profile.name], key=lambda arm: (arm[0] != PATIENT, arm[0] not in ("vit", "zero_pool_blur"))
    )
    return [
        Unit(
            train_and_measure,
            {
                "architecture": architecture,
                "support": support,
                "labels": labels,
                "seed": seed,
                "length": scale.length,
                "test": scale.test,
                "device": device,
            },
        )
        for architecture, support, labels in slow_first
        for seed in range(seeds)
    ]


def control_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """The place probe on things that were never trained, and on shuffled labels."""
    scale = SCALES[profile.name]
    return [Unit(probe_controls, {"seed": seed, "test": scale.test, "device": device}) for seed in range(seeds)]


def train_and_measure(
    architecture: str, support: str, labels: str, seed: int, length: float, test: int, device: str
) -> pd.DataFrame:
    """Train one network and measure it.

    Args:
        architecture: one of ``models.convnets.ENCODERS``, or PATIENT.
        support: where objects are in training: "one" place, "bottom" half, "everywhere", "places_<n>" (n scattered
            places), or "mixed" (even classes everywhere, odd ones in the bottom half: Biscione & Bowers 2021).
        labels: "object" (place does not matter), "object_half" (upper and lower half are different classes),
            "object_side" (left and right half are), or "cell" (only place matters: the ceiling of the place probe).
        seed: of pictures, initialisation and order.
        length: training length as a multiple of the architecture's budget.
        test: pictures per test set.
        device: "cpu" or "cuda".

    Returns:
        one row per measurement: metric, group, x, y, value. Places in pixels; accuracies in [0, 1].
    """
    where = places(support, seed)
    budget = BUDGETS.get(architecture, DEFAULT_BUDGET)
    images = max(budget.batch, round(budget.images * length))
    steps = max(2, round(budget.steps * length))
    pictures, factors = training_pictures(support, images, seed, where, device)
    torch.manual_seed(seed)
    net = Classifier("vit" if architecture == PATIENT else architecture, SIZE, len(label_names(labels))).to(device)
    untrained = shift_errors(settled(net, pictures), seed, test, device)
    rows = [{"metric": "shift_error_untrained", "value": v} for v in untrained]
    fit(net, pictures, label(factors, labels), steps=steps, batch=budget.batch, rate=budget.rate, seed=seed)

    rows += seen_and_unseen(net, support, labels, where, seed, test, device)
    rows += [{"metric": "shift_error", "value": v} for v in shift_errors(net, seed, test, device)]
    if labels == "object" and support in ("one", "bottom", "everywhere"):
        rows += accuracy_by_place(net, seed, device)
    if support == "bottom":
        rows += cosine_by_height(net, seed, test // 16, device)
    if support == "everywhere":
        rows += [{"metric": "consistency", "value": shift_consistency(net, seed, test, device)}]
        rows += place_in_features(net.encoder, seed, test, device)
    return pd.DataFrame(rows).reindex(columns=["metric", "group", "x", "y", "value"])


def probe_controls(seed: int, test: int, device: str) -> pd.DataFrame:
    """Place probes on raw pixels, on untrained encoders, and on shuffled place labels."""
    seen, _ = scenes.draw(SETTLING, 1000 + seed, everywhere(SIZE), device)
    rows = []
    for architecture in SOFT:
        torch.manual_seed(seed)
        net = settled(Classifier(architecture, SIZE, CLASSES).to(device), seen)
        rows += [
            row | {"group": f"untrained {architecture}"} for row in place_in_features(net.encoder, seed, test, device)
        ]
    pixels = torch.nn.Flatten()
    rows += [row | {"group": "pixels"} for row in place_in_features(pixels, seed, test, device)]
    shuffled = place_in_features(pixels, seed, test, device, shuffle=True)
    rows += [row | {"group": "shuffled labels"} for row in shuffled if row["metric"] == "place_probe"]
    return pd.DataFrame(rows).reindex(columns=["metric", "group", "value"])


def settled(net: Classifier, pictures: Tensor) -> Classifier:
    """A copy whose batch normalisation has seen pictures, weights unchanged: what an untrained network needs to be fair."""
    seeing = copy.deepcopy(net).eval()
    with plain_statistics(seeing):
        outputs(seeing, pictures[:SETTLING])
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
        return scenes.scattered(int(support.removeprefix("places_")), seed)
    raise UsageError(f"support={support!r}: choose one, bottom, everywhere, mixed or places_<n>")


def training_pictures(
    support: str, images: int, seed: int, where: Places | Tensor, device: str
) -> tuple[Tensor, Factors]:
    """Training pictures and their factors; in the "mixed" arm the odd objects are moved below the midline."""
    factors = sample_factors(images, 1000 + seed, SIZE, objects=CLASSES, where=where)
    if support == "mixed":
        restricted = factors.object % 2 == 1
        below = MIDLINE + factors.y % MIDLINE
        factors.y.copy_(torch.where(restricted, below, factors.y))
    return scenes.canvas(device).render(factors), factors.to(device)


def label_names(labels: str) -> range:
    """The classes of a labelling.

    Raises:
        UsageError: for an unknown labelling.
    """
    counts = {"object": CLASSES, "object_half": 2 * CLASSES, "object_side": 2 * CLASSES, "cell": CELLS * CELLS}
    if labels not in counts:
        raise UsageError(f"labels={labels!r}: choose one of {', '.join(counts)}")
    return range(counts[labels])


def label(factors: Factors, labels: str) -> Tensor:
    """The label of each picture, (n,)."""
    if labels == "cell":
        return cell(factors)
    if labels == "object_half":
        return factors.object + CLASSES * (factors.y >= MIDLINE)
    if labels == "object_side":
        return factors.object + CLASSES * (factors.x >= MIDLINE)
    return factors.object


def cell(factors: Factors) -> Tensor:
    """Which of CELLS x CELLS cells holds the object's centre, (n,)."""
    side = SIZE / CELLS
    return (factors.y // side).long() * CELLS + (factors.x // side).long()


def seen_and_unseen(
    net: Classifier, support: str, labels: str, where: Places | Tensor, seed: int, test: int, device: str
) -> Iterator[Row]:
    """Accuracy on new pictures at places like those of training, and at places outside them."""
    outside: dict[str, Places] = {
        "one": scenes.away_from(ONE_PLACE, 4.0),
        "bottom": scenes.top_half(SIZE),
    }
    tests = {"seen": where, "unseen": outside.get(support, everywhere(SIZE))}
    if support == "mixed":
        tests = {"above": scenes.top_half(SIZE), "below": bottom_half(SIZE)}
    for offset, (name, allowed) in enumerate(tests.items()):
        pictures, factors = scenes.draw(test, 2000 + 10 * seed + offset, allowed, device)
        if support != "mixed":
            yield {"metric": "accuracy", "group": name, "value": accuracy(net, pictures, label(factors, labels))}
            continue
        for half, parity in (("free", 0), ("restricted", 1)):
            chosen = factors.object % 2 == parity
            value = accuracy(net, pictures[chosen], factors.object[chosen])
            yield {"metric": "accuracy", "group": f"{half} {name}", "value": value}


def accuracy_by_place(net: Classifier, seed: int, device: str, copies: int = 1) -> Iterator[Row]:
    """Accuracy at each point of the grid: every object ``copies`` times at every point."""
    points = torch.cartesian_prod(torch.tensor(GRID), torch.tensor(GRID)).float()  # x, y
    per_point = CLASSES * copies
    factors = sample_factors(len(points) * per_point, 3000 + seed, SIZE, objects=CLASSES)
    factors.object.copy_(torch.arange(CLASSES).repeat(copies * len(points)))
    factors.x.copy_(points[:, 0].repeat_interleave(per_point))
    factors.y.copy_(points[:, 1].repeat_interleave(per_point))
    predicted = outputs(net, scenes.canvas(device).render(factors)).argmax(1).cpu()
    right = (predicted == factors.object).float().view(len(points), per_point).mean(1)
    for (x, y), value in zip(points.tolist(), right.tolist(), strict=True):
        yield {"metric": "accuracy_map", "x": x, "y": y, "value": value}


def cosine_by_height(net: Classifier, seed: int, pairs: int, device: str) -> Iterator[Row]:
    """Cosine between a picture's features low on the canvas and the same picture's with the object moved up.

    Control, group "other": the features of another object at the low place.
    """
    low = 24.0
    factors = sample_factors(pairs, 4000 + seed, SIZE, objects=CLASSES)
    drawn = scenes.canvas(device)

    def features_at(y: float, other: bool = False) -> Tensor:
        factors.y.fill_(y)
        moved = factors if not other else factors[torch.arange(pairs)]
        if other:
            moved.object.copy_((moved.object + 1 + CLASSES // 2) % CLASSES)
        return outputs(net.encoder, drawn.render(moved))

    reference = features_at(low)
    by_height = {float(y): features_at(float(y)) for y in GRID}
    mean = torch.stack(list(by_height.values())).mean((0, 1))
    for y, features in by_height.items():
        value = centred_cosine(reference, features, mean).mean().item()
        yield {"metric": "cosine", "group": "same object", "y": y, "value": value}
    other = centred_cosine(reference, features_at(low, other=True), mean).mean().item()
    yield {"metric": "cosine", "group": "other object", "y": low, "value": other}


def _shifted_copies(seed: int, n: int, device: str) -> tuple[Tensor, Tensor, Factors]:
    """Pictures, and the same rolled around the torus by random whole pixels, background and all."""
    pictures, factors = scenes.draw(n, 5000 + seed, everywhere(SIZE), device)
    amount = torch.randint(1, SIZE, (2, n), generator=torch.Generator().manual_seed(6000 + seed)).to(device)
    return pictures, shift(pictures, amount[0], amount[1]), factors


def shift_errors(net: Classifier, seed: int, test: int, device: str) -> list[float]:
    """The largest error of the features under random shifts, in units of the distance between classes."""
    pictures, shifted, factors = _shifted_copies(seed, test // 2, device)
    features = outputs(net.encoder, pictures)
    scale = class_distance(features, factors.object)
    return [shift_error(features, outputs(net.encoder, shifted), scale).max().item()]


def shift_consistency(net: Classifier, seed: int, test: int, device: str) -> float:
    """Share of pictures that keep their predicted class under a random shift."""
    pictures, shifted, _ = _shifted_copies(seed, test, device)
    return consistency(outputs(net, pictures), outputs(net, shifted))


def place_in_features(encoder: torch.nn.Module, seed: int, test: int, device: str, shuffle: bool = False) -> list[Row]:
    """How well a linear probe reads the cell of the object, and how much of the variance is place."""
    train_pictures, train_factors = scenes.draw(2 * test, 7000 + seed, everywhere(SIZE), device)
    test_pictures, test_factors = scenes.draw(test, 8000 + seed, everywhere(SIZE), device)
    target = cell(train_factors)
    if shuffle:
        target = target[torch.randperm(len(target), generator=torch.Generator().manual_seed(seed)).to(device)]
    read = linear_probe(outputs(encoder, train_pictures), target, outputs(encoder, test_pictures), cell(test_factors))
    items = sample_factors(2 * CLASSES, 9000 + seed, SIZE, objects=CLASSES)
    spots = scenes.scattered(16, seed)
    moved = [outputs(encoder, scenes.canvas(device).render(_placed(items, spot))) for spot in spots]
    return [
        {"metric": "place_probe", "value": read},
        {"metric": "place_share", "value": place_share(torch.stack(moved, dim=1))},
    ]


def _placed(factors: Factors, spot: Tensor) -> Factors:
    factors.x.fill_(float(spot[0]))
    factors.y.fill_(float(spot[1]))
    return factors
