"""The reader ladder: what can be read from a representation by readers of rising power, at equal labels.

"Lost" says nothing without who could not find it. Every sentence of the report about what captions erase or keep stands
on the same four readers:

words        the nearest text embedding; what language reaches (:mod:`measure.zero_shot`)
neighbours   a vote of the nearest labelled pictures; what distances show
linear       logistic regression; what a straight cut tells apart
perceptron   one hidden layer; what is there but folded, so that no straight cut finds it

Each is set beside the same readers on the untrained encoder, on raw pixels, with permuted labels, and on a *random
projection of the backbone to the embedding's width*, which separates a narrow projection from what captions did.
The perceptron is scikit-learn's; like the linear reader it chooses its penalty on a quarter of its labels, so that all
readers are given the same labels and nothing else.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from clip_invariance.errors import UsageError
from clip_invariance.measure.decodability import knn_accuracy, probe_factors
from clip_invariance.measure.statistics import paired_difference
from clip_invariance.measure.tables import Row, rows

Reader = Literal["words", "neighbours", "linear", "perceptron"]
#: From the weakest to the strongest, but for words, which are asked without labels.
READERS: tuple[Reader, ...] = get_args(Reader)
Outcome = Literal["gone", "folded", "narrowed", "lessened", "kept"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

#: Units of the perceptron's hidden layer, and the penalties (scikit-learn's ``alpha``) that it chooses from.
HIDDEN = 128
PENALTIES = (1e-3, 1e-1, 1.0)
EPOCHS = 200
NEIGHBOURS = 10
#: Depth of the control: the backbone through a random matrix as narrow as the embedding.
PROJECTION = "random projection"


def random_projection(features: Tensor, width: int, seed: int) -> Tensor:
    """Features times one random matrix, the same for all calls with this seed and these shapes.

    Distances survive on average (Johnson and Lindenstrauss 1984); what gets lost is lost to the width.

    Args:
        features: (n, d).
        width: columns that are left.
        seed: of the Gaussian matrix (d, width).

    Returns:
        (n, width).

    Raises:
        UsageError: for a width below 1.
    """
    if width < 1:
        raise UsageError(f"width: a projection needs at least one column, got {width}")
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(features.shape[1], width, generator=generator, dtype=torch.float32) / width**0.5
    projected: Tensor = features.float() @ matrix.to(features.device)
    return projected


def perceptron_accuracy(
    train: Tensor, labels: Mapping[str, Tensor], test: Tensor, answers: Mapping[str, Tensor], *, seed: int
) -> dict[str, float]:
    """Test accuracy of a perceptron with one hidden layer for every factor, in [0, 1].

    Args:
        train, labels: (n, d) and factor -> (n,) int64. A random quarter chooses the penalty (the stronger one on a tie).
        test, answers: used once, for the numbers that are returned.
        seed: of the quarter, the initial weights and the order.

    Raises:
        UsageError: if a factor has one class only, or fewer than eight labels.
    """
    scaler = StandardScaler().fit(_array(train))
    x, asked = scaler.transform(_array(train)), scaler.transform(_array(test))
    order = np.random.default_rng(seed).permutation(len(x))
    cut = len(x) * 3 // 4
    scores = {}
    for factor, values in labels.items():
        y, wanted = values.cpu().numpy(), answers[factor].cpu().numpy()
        if len(np.unique(y)) < 2 or len(y) < 8:
            raise UsageError(f"{factor}: a perceptron needs two classes and at least eight labels")
        fitted, held = order[:cut], order[cut:]
        tried = {p: _perceptron(x[fitted], y[fitted], p, seed).score(x[held], y[held]) for p in PENALTIES}
        best = max(PENALTIES, key=lambda p: (tried[p], p))
        scores[factor] = float(_perceptron(x, y, best, seed).score(asked, wanted))
    return scores


def _perceptron(x: np.ndarray, y: np.ndarray, penalty: float, seed: int) -> MLPClassifier:
    net = MLPClassifier((HIDDEN,), alpha=penalty, max_iter=EPOCHS, n_iter_no_change=20, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # stopping after EPOCHS is part of the reader
        return net.fit(x, y)


def _array(features: Tensor) -> np.ndarray:
    return features.detach().flatten(1).float().cpu().numpy()


def climb(
    known: Mapping[str, Tensor],
    labels: Mapping[str, Tensor],
    asked: Mapping[str, Tensor],
    answers: Mapping[str, Tensor],
    *,
    seed: int,
) -> Iterator[Row]:
    """All readers that are given labels, at every depth, with the controls that need no other encoder.

    Args:
        known, asked: depth -> (n, d), of pictures to fit on and to test on. If "backbone" and "embedding" are among the
            depths, the random projection is read as a depth of its own.
        labels, answers: factor -> (n,) int64 of the two.
        seed: of everything random.

    Yields:
        rows of the common table: metric is the reader, or the reader with ", permuted" where the labels were.
    """
    depths = dict(known)
    tests = dict(asked)
    if {"backbone", "embedding"} <= set(depths):
        width = depths["embedding"].shape[1]
        depths[PROJECTION], tests[PROJECTION] = (
            random_projection(part["backbone"], width, seed) for part in (known, asked)
        )
    for depth, x in depths.items():
        yield from _read(x, labels, tests[depth], answers, depth, seed, "")
    last = "embedding" if "embedding" in depths else next(iter(depths))
    order = torch.randperm(len(depths[last]), generator=torch.Generator().manual_seed(seed + 1))
    permuted = {factor: values[order.to(values.device)] for factor, values in labels.items()}
    yield from _read(depths[last], permuted, tests[last], answers, last, seed, ", permuted")


def _read(
    x: Tensor,
    labels: Mapping[str, Tensor],
    test: Tensor,
    answers: Mapping[str, Tensor],
    depth: str,
    seed: int,
    suffix: str,
) -> Iterator[Row]:
    scores = {
        "neighbours": knn_accuracy(x, labels, test, answers, k=min(NEIGHBOURS, len(x))),
        "linear": probe_factors(x, labels, test, answers, seed=seed),
        "perceptron": perceptron_accuracy(x, labels, test, answers, seed=seed),
    }
    for reader, right in scores.items():
        yield from rows(f"{reader}{suffix}", right, depth=depth)


def outcome(
    readers: Mapping[str, pd.Series],
    permuted: Mapping[str, pd.Series],
    before: Mapping[str, pd.Series],
    projection: Mapping[str, pd.Series],
) -> Outcome:
    """What became of a factor, decided by 95 % intervals over seeds.

    Args:
        readers: "neighbours", "linear", "perceptron" -> accuracy per seed on the trained embedding.
        permuted: the same with permuted labels.
        before: the same on the untrained embedding.
        projection: the same on a random projection of the trained backbone to the embedding's width.

    Returns:
        "gone"      no reader is above permuted labels;
        "folded"    the perceptron is, a line and neighbours are not;
        "kept"      the best reader of before training reads no less now;
        "narrowed"  it reads less, and no more from a random projection that is as narrow;
        "lessened"  it reads less, and the width does not explain it.

    Raises:
        UsageError: if a reader is missing somewhere.
    """
    labelled = [reader for reader in READERS if reader != "words"]
    for name, part in (("readers", readers), ("permuted", permuted), ("before", before), ("projection", projection)):
        if missing := [reader for reader in labelled if reader not in part]:
            raise UsageError(f"{name}: the reader {missing[0]!r} is missing")
    above = [reader for reader in labelled if _more(readers[reader], permuted[reader])]
    if not above:
        return "gone"
    if above == ["perceptron"]:
        return "folded"
    strongest = max(labelled, key=lambda reader: float(before[reader].mean()))
    if not _more(before[strongest], readers[strongest]):
        return "kept"
    return "lessened" if _more(projection[strongest], readers[strongest]) else "narrowed"


def _more(a: pd.Series, b: pd.Series) -> bool:
    """Whether ``a`` is above ``b`` with its whole paired interval."""
    return paired_difference(a, b).low > 0


def budgets(total: int, fewest: int = 8) -> Sequence[int]:
    """Numbers of labels for a curve: ``fewest``, four times as many, and so on, up to all.

    >>> budgets(2000)
    [8, 32, 128, 512, 2000]
    """
    found = []
    while fewest < total:
        found.append(fewest)
        fewest *= 4
    return [*found, total]
