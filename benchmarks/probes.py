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
from table import show

from clip_invariance.measure.decodability import STRENGTHS, TOLERANCE, WIDEST, probe_factors
from clip_invariance.report.speed import Ratio

SIZES = ((2000, 64), (4000, 128), (8000, 256))
REPEATS = 3
#: Of the accuracies of both sides: one regularisation strength chosen differently makes this much.
LARGEST_GAP = 0.02
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


def seconds(work: Callable[[], dict[str, float]]) -> tuple[float, dict[str, float]]:
    """Processor time (both sides use one thread; the clock would also count other programs) and the result."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def ratios() -> list[Ratio]:
    """All probes of one representation, at three sizes; both must agree on the accuracies.

    Raises:
        SystemExit: if they do not, as then the comparison says nothing.
    """
    torch.set_num_threads(1)
    found = []
    for n, width in SIZES:
        train, labels = representation(n, width, seed=1)
        test, answers = representation(2000, width, seed=2)
        x, tx = train.numpy(), test.numpy()
        pairs = []
        for _ in range(REPEATS):
            slow, theirs = seconds(
                lambda: {f: scikit_learn(x, labels[f].numpy(), tx, answers[f].numpy()) for f in CLASSES}  # noqa: B023
            )
            fast, ours = seconds(lambda: probe_factors(train, labels, test, answers))  # noqa: B023
            gap = max(abs(ours[f] - theirs[f]) for f in CLASSES)
            if gap > LARGEST_GAP:
                raise SystemExit(f"probes: accuracies differ by {gap:.3f}")
            pairs.append((fast, slow))
        task = f"probes for {len(CLASSES)} factors, {n} rows of {width} features"
        found.append(Ratio.of(task, "scikit-learn, factor by factor", "s", pairs, 5.0))
    return found


if __name__ == "__main__":
    show(ratios())
