"""How much faster are the batched probes than scikit-learn's, at the same penalties on the same arrays?

Run: python benchmarks/probes.py            (one process, one thread, about 20 s)
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy and PyTorch are imported

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from clip_invariance.measure.decodability import STRENGTHS, TOLERANCE, WIDEST, probe_factors

CLASSES = {"light": 2, "daylight": 2, "weather": 4, "place": 8, "vehicle": 10, "colour": 6}


def representation(n: int, width: int, seed: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Features (n, width) with correlated noise in which the six factors are readable to different degrees."""
    rng = torch.Generator().manual_seed(seed)
    fixed = torch.Generator().manual_seed(0)
    features = torch.randn(n, width, generator=rng) @ torch.randn(width, width, generator=fixed) / width**0.5
    labels = {}
    for strength, (factor, classes) in zip((0.1, 0.3, 0.5, 0.8, 1.2, 2.0), CLASSES.items(), strict=True):
        labels[factor] = torch.randint(classes, (n,), generator=rng)
        features = features + strength * torch.randn(classes, width, generator=fixed)[labels[factor]]
    return features.relu(), labels


def scikit_learn(x: np.ndarray, y: np.ndarray, tx: np.ndarray, ty: np.ndarray) -> float:
    """The same protocol, one factor: a quarter of the rows chooses the penalty, all rows fit the probe."""
    order = np.random.default_rng(0).permutation(len(y))
    kept, held = order[: len(y) * 3 // 4], order[len(y) * 3 // 4 :]

    def fit(strength: float, rows: np.ndarray) -> LogisticRegression:
        narrow = [PCA(WIDEST, random_state=0)] if min(x[rows].shape) > WIDEST else []
        probe = LogisticRegression(C=strength, max_iter=1000, tol=TOLERANCE)
        return make_pipeline(StandardScaler(), *narrow, probe).fit(x[rows], y[rows])

    best = max(STRENGTHS, key=lambda c: fit(c, kept).score(x[held], y[held]))
    return float(fit(best, order).score(tx, ty))


def timed(work: Callable[[], dict[str, float]], repeats: int = 3) -> tuple[float, dict[str, float]]:
    """Seconds of processor time (both sides use one thread; the clock would also count other programs), best of some."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        result = work()
        seconds.append(time.process_time() - start)
    return min(seconds), result


def main() -> None:
    torch.set_num_threads(1)
    totals = np.zeros(2)
    print("rows  width   scikit-learn   ours   ratio   largest difference in accuracy")
    for n, width in ((2000, 64), (4000, 128), (8000, 256)):
        train, labels = representation(n, width, seed=1)
        test, answers = representation(2000, width, seed=2)
        ours, fast = timed(lambda: probe_factors(train, labels, test, answers))  # noqa: B023
        theirs, slow = timed(
            lambda: {
                f: scikit_learn(train.numpy(), labels[f].numpy(), test.numpy(), answers[f].numpy())  # noqa: B023
                for f in CLASSES
            }
        )
        gap = max(abs(fast[f] - slow[f]) for f in CLASSES)
        totals += theirs, ours
        print(f"{n:4}  {width:5}   {theirs:10.2f} s {ours:6.2f} s {theirs / ours:6.1f}x   {gap:.4f}")
    print(f"ratio {totals[0] / totals[1]:.1f}")


if __name__ == "__main__":
    main()
