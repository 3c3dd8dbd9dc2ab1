"""Largest memory of a process that trains contrastively, ours against open_clip's own loop.

Run: python benchmarks/memory.py            (each side in processes of its own, about half a minute)

Pictures, captions and the model are those of ``contrastive_step.py``. What Python and its packages take is in both.
"""

from __future__ import annotations

import os
import subprocess
import sys

os.environ["OMP_NUM_THREADS"] = "1"  # before PyTorch is imported

from table import show

from clip_invariance.report.speed import Ratio
from clip_invariance.run.provenance import peak_memory_mb

REPEATS = 2


def train(side: str) -> float:
    """Train a few steps here; the peak in MB."""
    import contrastive_step as step
    from torch.utils.data import DataLoader

    drawn = step.scenes.sample(step.IMAGES, 0)
    images = step.scenes.render(drawn, size=step.SIZE)
    captions = step.POLICIES["everything"].sample(step.scenes.WORDS, drawn.labels, 0)
    if side == "ours":
        step.ours(images, captions)
    else:
        tokens = step.clip.tokenize(captions.texts)[captions.index]
        loader = DataLoader(step.InMemory(images, tokens), step.BATCH, shuffle=True, drop_last=True)
        step.theirs(step.SomeBatches(loader))
    return peak_memory_mb()


def ratios() -> list[Ratio]:
    """One comparison, alternating."""
    pairs = [(_apart("ours"), _apart("theirs")) for _ in range(REPEATS)]
    return [Ratio.of("memory of contrastive training", "open_clip_train's loop", "MB", pairs, None)]


def _apart(side: str) -> float:
    done = subprocess.run([sys.executable, __file__, side], capture_output=True, text=True, check=True)
    return float(done.stdout)


if __name__ == "__main__":
    if sys.argv[1:]:
        print(train(sys.argv[1]))
    else:
        show(ratios())
