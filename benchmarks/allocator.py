"""What it saves to let glibc keep the memory that PyTorch frees, as every unit of a run does.

Run: python benchmarks/allocator.py            (each side in processes of its own, about half a minute)

Processor seconds of a few contrastive steps, and of an ImageNet encoder on photographs, with ``keep_freed_memory`` and
without. Results are the same bit by bit; off glibc both sides are the same.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = "1"  # before PyTorch is imported

from table import show

from clip_invariance.report.speed import Ratio

REPEATS = 3
PHOTOGRAPHS = 96


def steps() -> float:
    """Seconds of a few steps of chapter 3's training."""
    import contrastive_step as step

    drawn = step.scenes.sample(step.IMAGES, 0)
    images = step.scenes.render(drawn, size=step.SIZE)
    return (
        step.ours(images, step.POLICIES["object only"].sample(step.scenes.WORDS, drawn.labels, 0)) / 1000 * step.STEPS
    )


def photographs() -> float:
    """Seconds of chapter 4's ImageNet encoder on some photographs, a first batch not counted."""
    from clip_invariance.models import imagenet
    from clip_invariance.worlds import traffic_lights

    images = traffic_lights.red_green("test", imagenet.SIZE).images[:PHOTOGRAPHS]
    encode = imagenet.encoder()
    encode(images[:32])
    start = time.process_time()
    encode(images)
    return time.process_time() - start


WORK: dict[str, Callable[[], float]] = {"training": steps, "encoding": photographs}


def measure(work: str, kept: bool) -> float:
    """Seconds of one piece of work in this process."""
    import torch

    from clip_invariance.run.store import keep_freed_memory

    torch.set_num_threads(1)
    if kept:
        keep_freed_memory()
    return WORK[work]()


def ratios() -> list[Ratio]:
    """One comparison for each piece of work, alternating."""
    found = []
    for work in WORK:
        pairs = [(_apart(work, "kept"), _apart(work, "given back")) for _ in range(REPEATS)]
        found.append(Ratio.of(f"{work}, freed memory kept", "glibc's default", "s", pairs, None))
    return found


def _apart(work: str, side: str) -> float:
    command = [sys.executable, __file__, work, side]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


if __name__ == "__main__":
    if sys.argv[1:]:
        print(measure(sys.argv[1], sys.argv[2] == "kept"))
    else:
        show(ratios())
