"""An average over a whole orbit, against the loops that one writes first.

Run: python benchmarks/orbit.py            (one process, one thread, about 20 s)

The net is the perceptron of chapter 2, the group the 64 torus shifts of its digits (8 x 8 pixels) and drawings
(32 x 32). "Element by element" moves the whole batch by one element after the other; "picture by picture" does the same
for one picture after the other, as the definition reads. All three must give the same answers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = "1"  # before PyTorch is imported

import torch
from table import show
from torch import Tensor

from clip_invariance.chapters.c2_orbits.orbits import ARTWORK, DIGITS, WIDTH, perceptron, shifts
from clip_invariance.models.orbit import OrbitModel
from clip_invariance.report.speed import Ratio

PICTURES, REPEATS = {DIGITS: 256, ARTWORK: 64}, 7


def element_by_element(net: OrbitModel, images: Tensor) -> Tensor:
    """The mean over a loop of shifts."""
    total = torch.zeros(())
    for _, down, right in net.group.elements.tolist():
        total = total + net.before(images.roll((down, right), dims=(-2, -1)))
    return net.after(total / len(net.group))


def picture_by_picture(net: OrbitModel, images: Tensor) -> Tensor:
    """The definition, picture after picture."""
    return torch.cat([element_by_element(net, image[None]) for image in images])


@torch.no_grad()
def ratios() -> list[Ratio]:
    """Both loops in both worlds, milliseconds of processor time per batch.

    Raises:
        SystemExit: if the answers differ.
    """
    torch.set_num_threads(1)
    found = []
    for world, count in PICTURES.items():
        net = perceptron(world, WIDTH, seed=0)
        model = OrbitModel(net.before, net.after, shifts(world), chunk=2048).eval()
        size, channels = (8, 1) if world == DIGITS else (32, 3)
        images = torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(0))
        for name, loop, target in (
            ("a loop, picture by picture", picture_by_picture, 3.0),
            ("a loop, element by element", element_by_element, None),
        ):
            if not torch.allclose(loop(model, images), model(images), atol=1e-5):
                raise SystemExit(f"orbit: {name} gives other answers")
            pairs = [
                (_milliseconds(lambda: model(images)), _milliseconds(lambda: loop(model, images)))  # noqa: B023
                for _ in range(REPEATS)
            ]
            task = f"orbit average of {count} {world} over {len(model.group)} shifts"
            found.append(Ratio.of(task, name, "ms", pairs, target))
    return found


def _milliseconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return (time.process_time() - start) * 1000


if __name__ == "__main__":
    show(ratios())
