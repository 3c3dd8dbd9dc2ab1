"""What a linear classifier, few labels or the nearest neighbours can read from a representation.

One representation is asked about all its factors at once (class of the object, place, colour, ...), on the device it
lives on. :func:`fit_probes` is multinomial logistic regression with the minimum that scikit-learn's
``LogisticRegression`` has at the same inverse strength, found several times faster (``benchmarks/probes.py``): features
are standardised and turned to their principal axes once, and every factor and penalty is solved together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from clip_invariance.errors import UsageError

#: Inverse strengths of the L2 penalty tried on the validation part (scikit-learn's ``C``).
STRENGTHS: Sequence[float] = (0.01, 0.1, 1.0)
#: Wider representations (raw pixels) are first projected on this many leading principal components.
WIDEST = 256
#: Up to this many dimensions principal axes are exact; beyond, the leading ones are found by random projection.
EXACT_AXES = 1024
#: A probe is converged when no entry of its mean loss's gradient exceeds this (scikit-learn's ``tol``).
TOLERANCE = 1e-4
MAX_STEPS = 1000


@dataclass(frozen=True)
class Axes:
    """Standardisation and principal axes of the training rows. No label enters.

    Attributes:
        mean, scale: (d,).
        basis: (d, k), orthonormal columns in order of falling variance, k <= WIDEST.
    """

    mean: Tensor
    scale: Tensor
    basis: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """(n, d) -> (n, k + 1): coordinates along the axes and a column of ones for the intercept."""
        rows = _floating(features, self.basis.device)
        turn = self.basis / self.scale[:, None]
        coordinates = (rows - self.mean) @ turn
        return torch.cat([coordinates, coordinates.new_ones(len(rows), 1)], dim=1)


@dataclass(frozen=True)
class Probes:
    """Fitted linear classifiers, one per factor.

    Attributes:
        axes: how features are standardised and turned.
        weights: factor -> (classes, k + 1), rows sum to zero over the classes; the last column is the intercept.
        classes: factor -> (classes,) int64, the labels in the order of the logits.
        strengths: factor -> the inverse penalty that the validation part chose.
    """

    axes: Axes
    weights: Mapping[str, Tensor]
    classes: Mapping[str, Tensor]
    strengths: Mapping[str, float]

    def logits(self, features: Tensor) -> dict[str, Tensor]:
        """(n, d) -> factor -> (n, classes). For a binary factor, the second minus the first column is the log odds."""
        rows = self.axes(features)
        return {factor: rows @ weights.mT for factor, weights in self.weights.items()}

    def answers(self, features: Tensor) -> dict[str, Tensor]:
        """(n, d) -> factor -> the class of each row, int64 (n,)."""
        return {factor: self.classes[factor][z.argmax(1)] for factor, z in self.logits(features).items()}

    def accuracy(self, features: Tensor, labels: Mapping[str, Tensor]) -> dict[str, float]:
        """Share of rows classified right, in [0, 1], per factor. A label never seen in training counts as wrong.

        Raises:
            UsageError: if a factor's labels are missing or do not fit the features.
        """
        if missing := sorted(set(self.weights) - set(labels)):
            raise UsageError(f"{missing[0]}: no test labels for this factor")
        _check(features, {factor: labels[factor] for factor in self.weights}, classes=1)
        return {
            factor: float((answers == labels[factor].to(answers.device)).float().mean())
            for factor, answers in self.answers(features).items()
        }


def fit_probes(
    features: Tensor, labels: Mapping[str, Tensor], *, strengths: Sequence[float] = STRENGTHS, seed: int = 0
) -> Probes:
    """Fit one linear probe per factor, all together.

    A random quarter of the rows chooses each factor's penalty by accuracy (the stronger one on a tie); the probe is
    then fitted again on all rows, ten times as precisely. The penalty is on the standardised features, as in a
    scikit-learn pipeline of ``StandardScaler``, ``PCA(WIDEST)`` where needed, and ``LogisticRegression(C=strength)``.

    Args:
        features: (n, d), any device; float64 is kept, everything else is computed in float32.
        labels: factor -> (n,) int64.
        strengths: inverse penalties to choose from; a single one skips the choice.
        seed: of the split, and of the random projection for more than EXACT_AXES dimensions.

    Raises:
        UsageError: naming the factor, for fewer than two classes, lengths that disagree or features not finite.
    """
    _check(features, labels)
    if not strengths or min(strengths) <= 0:
        raise UsageError(f"strengths: need positive numbers, got {list(strengths)}")
    axes = _axes(features, seed)
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed)).to(features.device)
    x, cut = axes(features[order]), len(order) * 3 // 4
    ranked = x.new_tensor(sorted(strengths))
    classes: dict[str, Tensor] = {}
    batches: dict[int, dict[str, Tensor]] = {}  # factors with equally many classes are one batch of problems
    for factor, values in labels.items():
        classes[factor], codes = torch.unique(values.to(order.device)[order], return_inverse=True)
        batches.setdefault(len(classes[factor]), {})[factor] = codes
    weights: dict[str, Tensor] = {}
    chosen: dict[str, float] = {}
    for count, batch in batches.items():
        codes = torch.stack(list(batch.values()))
        best, start = torch.zeros(len(codes), dtype=torch.long, device=order.device), None
        if len(ranked) > 1:
            tried = solve(
                x[:cut],
                codes[:, :cut].repeat_interleave(len(ranked), 0),
                ranked.repeat(len(codes)),
                classes=count,
                tolerance=10 * TOLERANCE,
            ).unflatten(0, (len(codes), len(ranked)))
            right = ((tried @ x[cut:].mT).argmax(2) == codes[:, None, cut:]).sum(2)
            best = right.argmax(1)  # the first of equals: the stronger penalty
            start = tried[torch.arange(len(codes), device=order.device), best]
        solved = solve(x, codes, ranked[best], classes=count, start=start)
        weights |= dict(zip(batch, solved, strict=True))
        chosen |= {factor: sorted(strengths)[i] for factor, i in zip(batch, best.tolist(), strict=True)}
    return Probes(
        axes,
        weights={f: weights[f] for f in labels},
        classes=classes,
        strengths={f: chosen[f] for f in labels},
    )


def probe_factors(
    train: Tensor,
    train_labels: Mapping[str, Tensor],
    test: Tensor,
    test_labels: Mapping[str, Tensor],
    *,
    strengths: Sequence[float] = STRENGTHS,
    shuffle: bool = False,
    seed: int = 0,
) -> dict[str, float]:
    """Test accuracy of a linear probe for every factor, in [0, 1].

    Args:
        train, train_labels: (n, d) and factor -> (n,), see :func:`fit_probes`.
        test, test_labels: used once, for the numbers that are returned.
        shuffle: permute the training labels first, the control that is at chance on average over seeds (one shuffle
            is noisy where features form few clusters: it names whole clusters right or wrong).
        seed: of the split and of the shuffle.

    Raises:
        UsageError: see :func:`fit_probes`.
    """
    _check(train, train_labels)
    if shuffle:
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed + 1))
        train_labels = {factor: values[order.to(values.device)] for factor, values in train_labels.items()}
    return fit_probes(train, train_labels, strengths=strengths, seed=seed).accuracy(test, test_labels)


def few_shot(
    train: Tensor,
    labels: Mapping[str, Tensor],
    test: Tensor,
    test_labels: Mapping[str, Tensor],
    *,
    counts: Sequence[int] = (1, 2, 4, 8, 16, 32),
    draws: int = 5,
    strengths: Sequence[float] = STRENGTHS,
    seed: int = 0,
) -> pd.DataFrame:
    """Accuracy of linear probes that see only a few labels per class.

    Standardisation and principal axes come from all training pictures, without their labels. From four labels per
    class on, a quarter of them chooses the penalty (per draw) and the probe is fitted again on all; with fewer, nothing
    can be held out and the middle strength is used.

    Args:
        train, labels, test, test_labels: as in :func:`probe_factors`.
        counts: labels per class.
        draws: random choices of the labelled pictures; larger counts contain the smaller ones of the same draw.

    Returns:
        columns ``factor``, ``count`` (labels per class), ``draw``, ``accuracy``.

    Raises:
        UsageError: naming the factor, also when a class has fewer than ``max(counts)`` pictures.
    """
    _check(train, labels)
    _check(test, test_labels, classes=1)
    axes = _axes(train, seed)
    x, held_out = axes(train), axes(test)
    ranked = x.new_tensor(sorted(strengths))
    rows = []
    for factor, values in labels.items():
        classes, codes = torch.unique(values.to(x.device), return_inverse=True)
        fewest = int(codes.bincount().min())
        if fewest < max(counts):
            raise UsageError(f"{factor}: {max(counts)} labels per class asked, one class has only {fewest} pictures")
        generator = torch.Generator().manual_seed(seed)
        members = [(codes == c).nonzero()[:, 0].cpu() for c in range(len(classes))]
        pool = torch.stack(
            [torch.stack([m[torch.randperm(len(m), generator=generator)[: max(counts)]] for m in members])
             for _ in range(draws)]
        ).to(x.device)  # fmt: skip
        answers = test_labels[factor].to(x.device)
        for count in counts:
            weights = _few(x, codes, pool[:, :, :count], ranked)
            predicted = classes[(weights @ held_out.mT).argmax(1)]
            accuracies = (predicted == answers).float().mean(1).tolist()
            rows += [
                {"factor": factor, "count": count, "draw": draw, "accuracy": accuracy}
                for draw, accuracy in enumerate(accuracies)
            ]
    return pd.DataFrame(rows)


def _few(x: Tensor, codes: Tensor, chosen: Tensor, ranked: Tensor) -> Tensor:
    """Weights (draws, classes, k + 1) from the rows ``chosen`` (draws, classes, labels per class)."""
    draws, classes, count = chosen.shape
    strengths = ranked[len(ranked) // 2].expand(draws)
    if count >= 4 and len(ranked) > 1:
        fitted, held = (part.flatten(1) for part in chosen.split([count - count // 4, count // 4], dim=2))
        tried = solve(
            x[fitted].repeat_interleave(len(ranked), 0),
            codes[fitted].repeat_interleave(len(ranked), 0),
            ranked.repeat(draws),
            classes=classes,
        ).unflatten(0, (draws, len(ranked)))
        right = ((tried @ x[held].mT[:, None]).argmax(2) == codes[held][:, None]).sum(2)
        strengths = ranked[right.argmax(1)]
    return solve(x[chosen.flatten(1)], codes[chosen.flatten(1)], strengths, classes=classes)


def knn_accuracy(
    train: Tensor, labels: Mapping[str, Tensor], test: Tensor, test_labels: Mapping[str, Tensor], *, k: int = 10
) -> dict[str, float]:
    """Accuracy of :func:`knn_answers`, in [0, 1], per factor.

    Raises:
        UsageError: naming the factor; also for k outside 1 .. n.
    """
    _check(test, test_labels, classes=1)
    answers = knn_answers(train, labels, test, k=k)
    return {
        factor: float((said == test_labels[factor].to(said.device)).float().mean()) for factor, said in answers.items()
    }


def knn_answers(train: Tensor, labels: Mapping[str, Tensor], test: Tensor, *, k: int) -> dict[str, Tensor]:
    """The class that wins a vote among the k training rows nearest in cosine, factor -> int64 (n,).

    A tie goes to the class whose voters are nearer.

    Raises:
        UsageError: naming the factor; also for k outside 1 .. n.
    """
    _check(train, labels)
    if not 1 <= k <= len(train):
        raise UsageError(f"k: need between 1 and {len(train)} neighbours, got {k}")
    unit = torch.nn.functional.normalize(_floating(train), dim=1)
    queries = torch.nn.functional.normalize(_floating(test, unit.device), dim=1)
    near = [(block @ unit.mT).topk(k, dim=1) for block in queries.split(1024)]
    similar, who = (torch.cat(parts) for parts in zip(*near, strict=True))
    votes = 1 + similar / (2 * k + 1)  # the second terms never add up to a vote: they only break ties
    result = {}
    for factor, values in labels.items():
        classes, codes = torch.unique(values.to(unit.device), return_inverse=True)
        counts = votes.new_zeros(len(votes), len(classes)).scatter_add_(1, codes[who], votes)
        result[factor] = classes[counts.argmax(1)]
    return result


def solve(
    x: Tensor,
    codes: Tensor,
    strengths: Tensor,
    *,
    classes: int,
    start: Tensor | None = None,
    tolerance: float = TOLERANCE,
) -> Tensor:
    """Minimise many penalised softmax losses together.

    Problem p minimises over its weights W (classes, k + 1), intercept not penalised,

        mean_i -log softmax(W x_i)[y_i] + |W|^2 / (2 C n)        (scikit-learn's objective divided by C n)

    by preconditioned nonlinear conjugate gradients (Polak-Ribiere+). Along principal axes the Hessian at W = 0 is
    diagonal, x_j^2 / classes + penalty (the shape of Boehning's bound, 1992), and serves as preconditioner throughout.
    A step needs no search over losses: its length comes from a bound (:func:`_safe_step`), every step decreases the loss.

    With two classes scikit-learn penalises one vector w = W_1 - W_0, |w|^2 = 2 |W|^2 at the symmetric solution; the
    penalty here is doubled to agree.

    Args:
        x: (n, k + 1) shared by all problems, or (problems, n, k + 1). The last column is ones.
        codes: (problems, n) int64 in 0 .. classes - 1.
        strengths: (problems,) inverse penalties C.
        start: (problems, classes, k + 1) to begin at; zeros by default.
        tolerance: see TOLERANCE.

    Returns:
        (problems, classes, k + 1).
    """
    n, width = x.shape[-2:]
    look = 4 if x.is_cuda else 1  # every look at convergence waits for the device
    drawn = torch.nn.functional.one_hot(codes, classes).mT.to(x.dtype) @ x
    penalty = ((2.0 if classes == 2 else 1.0) / (strengths * n))[:, None, None].repeat(1, 1, width)
    penalty[..., -1] = 0
    scale = torch.linalg.vecdot(x, x, dim=-2).reshape(-1, 1, width) / (n * classes) + penalty
    result = x.new_zeros(len(codes), classes, width) if start is None else start
    running, weights, z = torch.arange(len(codes), device=x.device), result, result @ x.mT
    direction, old, before = torch.zeros_like(weights), torch.zeros_like(weights), torch.ones_like(penalty[:, :1, :1])
    for step in range(MAX_STEPS):
        p = z.softmax(1)
        gradient = (p @ x - drawn) / n + penalty * weights
        if step % look == 0:
            result = result.index_copy(0, running, weights)
            unfinished = gradient.abs().amax((1, 2)) >= tolerance
            if not bool(unfinished.any()):
                return result
            if not bool(unfinished.all()):
                running, weights, z, p, drawn, penalty, scale, gradient, direction, old, before = (
                    t[unfinished]
                    for t in (running, weights, z, p, drawn, penalty, scale, gradient, direction, old, before)
                )
                if x.ndim == 3:
                    x = x[unfinished]
        scaled = gradient / scale
        now = _inner(gradient, scaled)
        direction = ((now - _inner(old, scaled)) / before).clamp(min=0) * direction - scaled
        slope = _inner(gradient, direction)
        direction = torch.where(slope < 0, direction, -scaled)
        slope = torch.where(slope < 0, slope, -now)
        along = direction @ x.mT
        length = _safe_step(p, along, -slope[..., 0], _inner(penalty * direction, direction)[..., 0])[..., None]
        weights = weights + length * direction
        z.addcmul_(along, length)
        before, old = now.clamp(min=torch.finfo(x.dtype).tiny), gradient
    return result.index_copy(0, running, weights)


def _safe_step(p: Tensor, along: Tensor, want: Tensor, stiffness: Tensor) -> Tensor:
    """A step length t that never overshoots the minimum of h, the mean loss along a direction.

    Row i of the logits moves along D_i; its part of h'' is the variance v_i of D_i under p_i and grows at most as
    e^{R_i t}, R_i the range of D_i, because a third central moment is at most the range times the variance (Bach 2010).
    With the penalty's part s the slope has risen by no more than

        B(t) = mean_i v_i (e^{R_i t} - 1) / R_i + s t,        and t is safe while B(t) <= -h'(0).

    One common R has the solution log(1 + R want / (v + s)) / R, safe but short. B is convex: its tangent there leads
    beyond the solution, the chord between the two points to before it.

    Args:
        p: (problems, classes, n) probabilities; used as scratch space.
        along: (problems, classes, n), D.
        want: (problems, 1), -h'(0).
        stiffness: (problems, 1), s.

    Returns:
        (problems, 1).
    """
    n, tiny = p.shape[2], torch.finfo(p.dtype).tiny
    reach = (along.amax(1) - along.amin(1)).clamp_(min=tiny)
    p *= along
    bend = ((p * along).sum(1) - p.sum(1).square_()).clamp_(min=0) / n
    farthest = reach.amax(1, keepdim=True)
    low = torch.log1p(farthest * want / (bend.sum(1, keepdim=True) + stiffness).clamp(min=tiny)) / farthest
    grown = bend * (reach * low).exp_()
    rise = ((grown - bend) / reach).sum(1, keepdim=True) + stiffness * low
    high = low + (want - rise).clamp(min=0) / (grown.sum(1, keepdim=True) + stiffness).clamp(min=tiny)
    above = (bend * (reach * high).clamp(max=80).expm1_() / reach).sum(1, keepdim=True) + stiffness * high
    chord = (high - low) * (want - rise) / (above - rise).clamp(min=tiny)
    return (low + chord.clamp(min=0)).minimum(high)


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """Inner product per problem, shape (problems, 1, 1)."""
    product: Tensor = torch.linalg.vecdot(a.flatten(1), b.flatten(1))
    return product[:, None, None]


def _axes(features: Tensor, seed: int) -> Axes:
    x = _floating(features)
    mean = x.mean(0)
    x = x - mean
    scale = (torch.linalg.vecdot(x, x, dim=0) / len(x)).sqrt()
    scale = torch.where(scale > 1e-6 * (1 + mean.abs()), scale, 1.0)  # a constant column stays constant
    if x.shape[1] <= EXACT_AXES:
        _, basis = torch.linalg.eigh(x.mT @ x / (len(x) * scale * scale[:, None]))
        return Axes(mean, scale, basis.flip(1)[:, :WIDEST].contiguous())
    x = x / scale
    # Randomised range finder with power iterations (Halko, Martinsson and Tropp 2011, algorithm 4.4).
    generator = torch.Generator().manual_seed(seed)
    probe = torch.randn(x.shape[1], min(WIDEST + 10, *x.shape), generator=generator, dtype=x.dtype).to(x.device)
    for _ in range(4):
        probe, _ = torch.linalg.qr(x.mT @ (x @ probe))
    inside = x @ probe
    _, turn = torch.linalg.eigh(inside.mT @ inside / len(x))
    return Axes(mean, scale, (probe @ turn.flip(1))[:, :WIDEST].contiguous())


def _floating(features: Tensor, device: torch.device | None = None) -> Tensor:
    rows = features.detach().flatten(1).to(device or features.device)
    return rows if rows.dtype == torch.float64 else rows.float()


def _check(features: Tensor, labels: Mapping[str, Tensor], classes: int = 2) -> None:
    names = ", ".join(labels) or "labels"
    if not labels:
        raise UsageError("labels: need at least one factor")
    if features.ndim < 2 or not len(features):
        raise UsageError(f"{names}: features must be (n, d) with n > 0, got shape {tuple(features.shape)}")
    if not bool(features.sum(dtype=torch.float64).isfinite()):  # one pass; inf - inf is nan
        raise UsageError(f"{names}: features must be finite numbers")
    for factor, values in labels.items():
        if values.shape != features.shape[:1]:
            raise UsageError(f"{factor}: {len(features)} rows of features, labels of shape {tuple(values.shape)}")
        if values.is_floating_point():
            raise UsageError(f"{factor}: labels must be whole numbers, got {values.dtype}")
        if len(torch.unique(values)) < classes:
            raise UsageError(f"{factor}: a probe needs at least two classes")
