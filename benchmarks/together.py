"""Many small CLIPs trained at once against one after the other: trained pictures per second.

Run: python benchmarks/together.py            (about a minute on one processor thread; on a GPU it takes that instead)

On a processor there is little to gain, because one small model keeps it busy already: that row is a check that nothing is
lost. On a GPU, where all models together fill the card, the target is three times the pictures per second.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = "1"  # before PyTorch is imported

import torch
from table import show

from clip_invariance.captions import CaptionPolicy
from clip_invariance.models import clip
from clip_invariance.report.speed import Ratio
from clip_invariance.training import contrastive, together
from clip_invariance.worlds import scenes

SIZE, BATCH, RATE = 32, 128, 4e-3
#: Models, steps and repeats.
SCALE = {"cpu": (4, 3, 3), "cuda": (20, 100, 5)}
MENTION = (0.0, 0.1, 0.3, 1.0)


def ratios() -> list[Ratio]:
    """Milliseconds per step of all models; on a GPU also with the step recorded."""
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    count, steps, repeats = SCALE[device]
    drawn = scenes.sample(2000, 0)
    images = scenes.render(drawn, size=SIZE, device=device)
    captions = [
        CaptionPolicy({"object": 1.0, "background": MENTION[i % len(MENTION)]}).sample(scenes.WORDS, drawn.labels, i)
        for i in range(count)
    ]
    fresh = [clip.create("conv", size=SIZE, seed=seed, device=device) for seed in range(count)]

    def alone() -> None:
        for seed, model in enumerate(copy.deepcopy(fresh)):
            contrastive.fit(model, images, captions[seed], steps=steps, batch=BATCH, rate=RATE, seed=seed)

    def at_once(record: bool) -> None:
        models, seeds = copy.deepcopy(fresh), range(count)
        together.fit(
            models, [images] * count, captions, steps=steps, batch=BATCH, rate=RATE, seeds=seeds, record=record
        )

    found = []
    for record in (False, True) if device == "cuda" else (False,):
        at_once(record)
        pairs = [(_seconds(lambda: at_once(record)), _seconds(alone)) for _ in range(repeats)]  # noqa: B023
        task = f"{count} CLIPs at once on {device}{', recorded' if record else ''}"
        milliseconds = [(ours / steps * 1000, theirs / steps * 1000) for ours, theirs in pairs]
        target = 3.0 if device == "cuda" else None
        found.append(Ratio.of(task, "our loop, one after the other", "ms", milliseconds, target))
    return found


def _seconds(run: Callable[[], object]) -> float:
    """Processor time, or on a GPU the time until it is done."""
    if not torch.cuda.is_available():
        start = time.process_time()
        run()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    show(ratios())
