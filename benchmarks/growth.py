"""How time and memory grow with seeds, arms and the size of pictures.

Run: python benchmarks/growth.py            (every amount in a process of its own, about two minutes of one thread)

Seeds and arms are short trainings of chapter 4, one after the other in one process, the arms on pictures that they share;
sizes are one training of chapter 3's model, its pictures included. Time is processor time without the start of Python.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = "1"  # before PyTorch is imported

from clip_invariance.report.speed import Point, Share
from clip_invariance.run.provenance import peak_memory_mb

AMOUNTS: dict[Share, tuple[int, ...]] = {"seeds": (1, 2, 4), "arms": (1, 2, 4), "image side": (24, 48, 96, 144)}
IMAGES, STEPS, BATCH = 1000, 10, 128
SIZED_STEPS, SIZED_IMAGES = 4, 256


def train_dashcam(seed: int, mention: float) -> None:
    """One short training of chapter 4."""
    from clip_invariance.chapters.c4_dashcam import training as dashcam_training

    arm, schedule = dashcam_training.Arm(mention=mention), dashcam_training.Schedule(STEPS, IMAGES)
    dashcam_training.train(arm, schedule, seed, "cpu")


def train_at(size: int) -> None:
    """One short training of chapter 3's model on pictures of this size."""
    from clip_invariance.captions import CaptionPolicy
    from clip_invariance.models import clip
    from clip_invariance.training import contrastive
    from clip_invariance.worlds import scenes

    drawn = scenes.sample(SIZED_IMAGES, 0)
    captions = CaptionPolicy({"object": 1.0}).sample(scenes.WORDS, drawn.labels, 0)
    images = scenes.render(drawn, size=size)
    contrastive.fit(clip.create("conv", size=size), images, captions, steps=SIZED_STEPS, batch=BATCH)


WORK: dict[Share, Callable[[int], object]] = {
    "seeds": lambda amount: [train_dashcam(seed, 0.0) for seed in range(amount)],
    "arms": lambda amount: [train_dashcam(0, arm / 10) for arm in range(amount)],
    "image side": train_at,
}


def measure(of: Share, amount: int) -> tuple[float, float]:
    """Seconds and MB of one amount, in this process."""
    import torch

    from clip_invariance.run.store import keep_freed_memory

    torch.set_num_threads(1)
    keep_freed_memory()  # as every unit of a run
    importlib.import_module("clip_invariance.chapters.c4_dashcam.training")  # importing is no part of the growth

    start = time.process_time()
    WORK[of](amount)
    return time.process_time() - start, peak_memory_mb()


def points() -> list[Point]:
    """All amounts, each in a fresh process."""
    found = []
    for of, amounts in AMOUNTS.items():
        for amount in amounts:
            command = [sys.executable, __file__, of, str(amount)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            seconds, memory = json.loads(done.stdout.splitlines()[-1])
            found.append(Point(of=of, amount=float(amount), seconds=seconds, memory_mb=memory))
            print(f"{of:>10} {amount:3}  {seconds:7.2f} s  {memory:7.0f} MB", flush=True)
    return found


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))  # type: ignore[arg-type]
    else:
        points()
