"""What the experiments of chapter 2 share: pictures, networks without any invariance, and averages over orbits.

Two worlds: handwritten digits of 8x8 pixels, and drawn things in the middle of a 32x32 canvas. In both, opposite edges
are glued together, so that the shifts form a group.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clip_invariance.errors import UsageError
from clip_invariance.models.convnets import Wrap, dense, mean_pool
from clip_invariance.models.orbit import Group, torus_shifts
from clip_invariance.training.orbits import CutNet
from clip_invariance.training.supervised import prepare
from clip_invariance.worlds import placed
from clip_invariance.worlds.digits import load_digits

DIGITS, ARTWORK = "digits", "artwork"
#: World -> side in pixels, channels, classes, distance between neighbouring shifts in pixels.
SHAPES = {DIGITS: (8, 1, 10, 1), ARTWORK: (32, 3, placed.CLASSES, 4)}
WIDTH = 128
#: Order in which an average may stand in the multilayer perceptron: "linear" leaves a linear head, "deep" one more layer.
CUTS = ("linear", "deep")


def shifts(world: str, step: int = 0) -> Group:
    """The torus shifts of a world, 64 of them unless ``step`` (pixels) says otherwise."""
    size, _, _, usual = _shape(world)
    return torus_shifts(size, size, step or usual)


def pictures(world: str, split: str, count: int, seed: int, device: str) -> tuple[Tensor, Tensor]:
    """Pictures in the pose in which people wrote or drew them.

    Args:
        world: "digits" or "artwork".
        split: "train" or "test": digits from other forms; drawings in other sizes, turns and backgrounds.
        count: how many, at most all; a random choice that depends on the seed.
        seed: any whole number.
        device: "cpu" or "cuda".

    Returns:
        images (count, c, size, size), float in [0, 1] for digits and uint8 for artwork; labels (count,).

    Raises:
        UsageError: for an unknown world or split.
    """
    _shape(world)
    if split not in ("train", "test"):
        raise UsageError(f"split={split!r}: choose train or test")
    if world == ARTWORK:
        centre = torch.tensor([[placed.SIZE / 2, placed.SIZE / 2]])
        images, factors = placed.draw(count, 2 * seed + (split == "test"), centre, device)
        return images, factors.object
    digits = load_digits(8, "train" if split == "train" else "test")
    chosen = torch.randperm(len(digits.labels), generator=torch.Generator().manual_seed(seed))[:count]
    return digits.images[chosen].to(device), digits.labels[chosen].to(device)


def perceptron(world: str, width: int, seed: int) -> CutNet:
    """Two hidden layers of ``width`` ReLU units and a linear head; cut before the head, as the essay has it.

    ``width`` 0 has no hidden layer: the features are the pixels, the net is a linear model.
    """
    size, channels, classes, _ = _shape(world)
    pixels = channels * size * size
    torch.manual_seed(seed)
    if width == 0:
        return CutNet(nn.Flatten(), nn.Linear(pixels, classes))
    hidden = [nn.Linear(pixels, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
    return CutNet(nn.Sequential(nn.Flatten(), *hidden), nn.Linear(width, classes))


def torus_net(seed: int) -> CutNet:
    """A hard-invariant net for digits: two circular convolutions without stride, mean over all places, two layers."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for inputs, outputs in ((1, 16), (16, 32)):
        layers += [Wrap(1), nn.Conv2d(inputs, outputs, 3), nn.ReLU()]
    return CutNet(nn.Sequential(*layers, *mean_pool(), *dense(32, 64)), nn.Linear(64, 10))


def cut_at(net: CutNet, cut: str) -> CutNet:
    """The same perceptron, same weights, cut where ``cut`` says.

    Raises:
        UsageError: for an unknown cut.
    """
    if cut == "linear":
        return net
    if cut != "deep":
        raise UsageError(f"cut={cut!r}: choose one of {', '.join(CUTS)}")
    assert isinstance(net.before, nn.Sequential)
    return CutNet(net.before[:3], nn.Sequential(*net.before[3:], net.after))


@torch.no_grad()
def orbit_features(net: CutNet, group: Group, images: Tensor, block: int = 32) -> Tensor:
    """Features of every picture of every orbit, (n, |G|, d), in the net's precision."""
    kind = next(net.parameters()).dtype
    rows = []
    for part in images.split(block):
        orbits = group.act(part)
        rows.append(net.before(prepare(orbits.flatten(0, 1)).to(kind)).unflatten(0, orbits.shape[:2]))
    return torch.cat(rows)


def sampled_means(values: Tensor, sizes: list[int], generator: torch.Generator, replacement: bool = True) -> Tensor:
    """Means over K elements drawn uniformly from each row's second axis, |G| independent-looking times, for several K.

    The K elements of one draw are the first K of one sequence. With replacement, the |G| draws together show each
    element exactly once at each position of the sequence (Latin hypercube sampling): each draw alone is uniform and
    independent along its sequence, and the mean over the draws carries no luck to first order.

    Args:
        values: (n, |G|, d).
        sizes: the K, between 1 and |G|.
        generator: on the CPU.
        replacement: whether a sequence may show an element twice.

    Returns:
        (n, |G|, len(sizes), d): draws along the second axis.
    """
    count, size = values.shape[:2]
    order = torch.rand(count, size, max(sizes) if replacement else size, generator=generator)
    drawn = order.argsort(dim=1) if replacement else order.argsort(dim=2)[:, :, : max(sizes)]
    rows = torch.arange(count, device=values.device)[:, None, None]
    totals = values[rows, drawn.to(values.device)].cumsum(2)
    chosen = torch.tensor(sizes, device=values.device)
    means: Tensor = totals[:, :, chosen - 1] / chosen[:, None]
    return means


def _shape(world: str) -> tuple[int, int, int, int]:
    if world not in SHAPES:
        raise UsageError(f"world={world!r}: choose one of {', '.join(SHAPES)}")
    return SHAPES[world]
