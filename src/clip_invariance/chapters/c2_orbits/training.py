"""Chapter 2, claims C08, C10 and C11: what training on one sample, on K samples and on the whole orbit reaches.

One unit trains one net on digits under the 16 torus shifts by even numbers of pixels (a group small enough to train on
all of it) and measures it on digits from other forms, each shown at every one of the 16 places.
"""

from __future__ import annotations

from collections.abc import Iterator
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
    sampled_means,
    shifts,
    torus_net,
)
from clip_invariance.errors import UsageError
from clip_invariance.measure.invariance import place_share
from clip_invariance.models.orbit import rotations
from clip_invariance.profiles import Profile
from clip_invariance.theory.tabular import cross_entropy
from clip_invariance.training.orbits import CutNet, fit_orbits
from clip_invariance.units import Unit

Row = dict[str, Any]

STEP = 2
GROUP_SIZE = 16
#: All training digits, from nine forms.
ALL_IMAGES = 1157
#: What a net is trained on: pictures as written; K samples of each orbit per step; the whole orbit.
NONE, WHOLE = "none", "all"
BATCH, RATE = 32, 1e-2
#: The torus net has no shifts to learn, and each of its steps takes several times as long.
TORUS_STEPS = {"smoke": 8, "quick": 800, "standard": 800, "full": 800}
NARROW = 8
TORUS_NET = "torus"

#: Gradient steps; the last number decides the claims.
BUDGETS = {"smoke": (8, 16), "quick": (125, 500, 2000), "standard": (125, 500, 2000), "full": (125, 500, 2000)}
#: Four times the longest, in a wide and in a narrow net: which regret is a matter of time? No rule uses it.
LONG = {"smoke": (64,), "quick": (), "standard": (8000,), "full": (8000,)}
SAMPLES = {"smoke": ("1", "4"), "quick": ("1", "4"), "standard": ("1", "2", "4", "8"), "full": ("1", "2", "4", "8")}
WIDTHS = {
    "smoke": (0, NARROW),
    "quick": (0, NARROW),
    "standard": (0, 4, NARROW, 16, 64),
    "full": (0, 4, NARROW, 16, 32, 64),
}
SIZES = {"smoke": (64,), "quick": (64,), "standard": (64, 128, 256), "full": (64, 128, 256)}
TEST = {"smoke": 64, "quick": 640, "standard": 640, "full": 640}


def units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Objectives x training lengths in the wide net, and the longest training without any shifts."""
    longest = BUDGETS[profile.name][-1]
    arms = [
        (str(WIDTH), objective, ALL_IMAGES, steps)
        for objective in (WHOLE, *SAMPLES[profile.name])
        for steps in BUDGETS[profile.name]
    ]
    return _units(profile, seeds, device, [*arms, (str(WIDTH), NONE, ALL_IMAGES, longest)])


def width_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """One sample against the whole orbit in nets of other widths (0 is a linear model), in two of them for longer."""
    longest = BUDGETS[profile.name][-1]
    lengths = [(width, steps) for steps in LONG[profile.name] for width in (WIDTH, NARROW)]
    lengths += [(width, longest) for width in (*WIDTHS[profile.name], WIDTH)]
    arms = [(str(width), objective, ALL_IMAGES, steps) for width, steps in lengths for objective in (WHOLE, "1")]
    return _units(profile, seeds, device, arms)


def size_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Training-set sizes x {as written, augmented, averaged}, and the hard-invariant net."""
    longest = BUDGETS[profile.name][-1]
    sizes = (*SIZES[profile.name], ALL_IMAGES)
    arms = [(TORUS_NET, NONE, size, TORUS_STEPS[profile.name]) for size in sizes]
    arms += [(str(WIDTH), objective, size, longest) for objective in (WHOLE, "1", NONE) for size in sizes]
    return _units(profile, seeds, device, arms)


def _units(profile: Profile, seeds: int, device: str, arms: list[tuple[str, str, int, int]]) -> list[Unit]:
    return [
        Unit(
            train_and_measure,
            {
                "net": net,
                "objective": objective,
                "images": images,
                "steps": steps,
                "seed": seed,
                "test": TEST[profile.name],
                "device": device,
            },
        )
        for net, objective, images, steps in arms
        for seed in range(seeds)
    ]


def train_and_measure(
    net: str, objective: str, images: int, steps: int, seed: int, test: int, device: str
) -> pd.DataFrame:
    """Train one net and measure it as it stands and as an orbit model.

    Args:
        net: width of the perceptron's hidden layers ("0": linear), or "torus".
        objective: "none" (pictures as written), "all" (whole orbit), or K as a number.
        images: training pictures, a random choice of the 1,157.
        steps: gradient steps.
        seed: of the choice of pictures, initialisation, order and draws.
        test: test pictures, at most 640.
        device: "cpu" or "cuda".

    Returns:
        one row per measurement: metric, group, value. Losses in nats, accuracies and shares in [0, 1]; "passes" counts
        pictures put through the net in training.

    Raises:
        UsageError: for an unknown objective.
    """
    samples = sample_count(objective)
    group = shifts(DIGITS, STEP)
    shown, labels = pictures(DIGITS, "train", images, seed, device)
    model = (torus_net(seed) if net == TORUS_NET else perceptron(DIGITS, int(net), seed)).to(device)
    orbits = shown[:, None] if objective == NONE else group.act(shown)
    fit_orbits(model, orbits, labels, samples=samples, steps=steps, batch=BATCH, rate=RATE, seed=seed)
    with torch.no_grad():
        rows = list(measure(model, shown, labels, seed, test, device))
    rows.append({"metric": "passes", "value": float(steps * BATCH * (samples or GROUP_SIZE))})
    return pd.DataFrame(rows).reindex(columns=["metric", "group", "value"])


def sample_count(objective: str) -> int | None:
    """K of an objective; None for the whole orbit.

    Raises:
        UsageError: for anything but "none", "all" or a positive number.
    """
    if objective == WHOLE:
        return None
    if objective == NONE:
        return 1
    if not objective.isdigit() or int(objective) < 1:
        raise UsageError(f"objective={objective!r}: choose none, all or a number of samples")
    return int(objective)


def measure(net: CutNet, shown: Tensor, labels: Tensor, seed: int, test: int, device: str) -> Iterator[Row]:
    """Losses on training and test pictures, accuracy with 1, 4 and all samples, and what share of the output is place."""
    group = shifts(DIGITS, STEP)
    other, other_labels = pictures(DIGITS, "test", test, seed, device)
    for split, images, wanted in (("train", shown, labels), ("test", other, other_labels)):
        logits = net.after(orbit_features(net, group, images)).double()
        yield {"metric": "orbit_loss", "group": split, "value": cross_entropy(logits.mean(1), wanted).mean().item()}
        yield {"metric": "single_loss", "group": split, "value": cross_entropy(logits, wanted).mean().item()}
    sizes = [1, 2, 4, 8, GROUP_SIZE]
    answers = sampled_means(logits, sizes, torch.Generator().manual_seed(seed), replacement=False).argmax(3)
    right = (answers == other_labels[:, None, None]).double().mean((0, 1))
    for k, value in zip(sizes, right.tolist(), strict=True):
        yield {"metric": "accuracy", "group": str(k), "value": value}
    upright = net(other).argmax(1) == other_labels
    yield {"metric": "accuracy", "group": "upright", "value": upright.double().mean().item()}
    turned = rotations(4).act(other, torch.tensor([1]))[:, 0]
    yield {"metric": "place_share", "group": "test", "value": place_share(logits)}
    sideways = net.after(orbit_features(net, group, turned))
    yield {"metric": "place_share", "group": "turned", "value": place_share(sideways)}
