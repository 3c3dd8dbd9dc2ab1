"""Linear probes: what a linear classifier can read from a representation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from clip_invariance.errors import UsageError

#: Inverse regularisation strengths tried on the validation part.
STRENGTHS: Sequence[float] = (0.01, 0.1, 1.0)
#: Wider representations (raw pixels) are first projected on this many leading principal components.
WIDEST = 128


def linear_probe(features: Tensor, labels: Tensor, test_features: Tensor, test_labels: Tensor) -> float:
    """Accuracy of logistic regression on a representation.

    The last quarter of the training rows chooses the regularisation; the test rows are used once, for the number that
    is returned.

    Args:
        features, labels: (n, d) and (n,), training rows in random order.
        test_features, test_labels: likewise.

    Returns:
        accuracy on the test rows, in [0, 1].

    Raises:
        UsageError: if the training rows hold fewer than two classes.
    """
    x, y, tx, ty = (t.detach().cpu().numpy() for t in (features, labels, test_features, test_labels))
    if len(np.unique(y)) < 2:
        raise UsageError("labels: a probe needs at least two classes")
    cut = len(y) * 3 // 4

    def fit(strength: float, rows: slice) -> LogisticRegression:
        narrow = [PCA(WIDEST, random_state=0)] if min(x[rows].shape) > WIDEST else []
        model = make_pipeline(StandardScaler(), *narrow, LogisticRegression(C=strength, max_iter=1000, tol=1e-3))
        return model.fit(x[rows], y[rows])

    validation = {c: fit(c, slice(0, cut)).score(x[cut:], y[cut:]) for c in STRENGTHS}
    best = max(STRENGTHS, key=lambda c: validation[c])
    return float(fit(best, slice(None)).score(tx, ty))
