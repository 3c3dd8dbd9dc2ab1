"""Worlds small enough to write down: every image and every caption in one table, every loss exact.

The theory page states six things and checks each here. Two tools carry all of it:

* a *world* is a joint distribution p(x, c), a (images, captions) table of positive numbers with sum 1. The contrastive
  loss of a score table f(x, c) is an exact sum over all batches (:func:`info_nce`), so its optimum is computed, not
  sampled;
* an *orbit table* holds the logits of n images under each of |G| transforms, (n, |G|, classes), so that the loss of the
  averaged logits and the average of the losses can be compared exactly.

Everything is float64. Information is in nats.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from clip_invariance.errors import UsageError

Direction = Literal["image", "text", "both"]
MAX_TERMS = 200_000


# --- worlds ----------------------------------------------------------------------------------------------------------


def dashcam_world(mention_rate: float, carelessness: float = 0.02) -> Tensor:
    """Four equally frequent images, car {black, white} x light {red, green}, and six captions.

    People name the car's colour; with probability ``mention_rate`` they name the light as well. With probability
    ``carelessness`` they write any of the six captions at random, so that no entry is zero and all optima are finite.

    Returns:
        (4, 6): images black-red, black-green, white-red, white-green; captions "a black car", "a white car", then these
        "... and a red light", then "... and a green light".

    Raises:
        UsageError: naming an argument outside [0, 1], or zero carelessness.
    """
    if not 0.0 <= mention_rate <= 1.0:
        raise UsageError(f"mention_rate: must be within [0, 1], got {mention_rate}")
    if not 0.0 < carelessness <= 1.0:
        raise UsageError(f"carelessness: must be within (0, 1], got {carelessness}")
    captions = torch.full((4, 6), carelessness / 6, dtype=torch.float64)
    for image, (car, light) in enumerate(itertools.product(range(2), range(2))):
        captions[image, car] += (1 - carelessness) * (1 - mention_rate)
        captions[image, 2 + 2 * light + car] += (1 - carelessness) * mention_rate
    return captions / 4


def random_world(images: int, captions: int, seed: int) -> Tensor:
    """A joint distribution (images, captions) with independent log-normal entries, normalised."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(images, captions, generator=generator, dtype=torch.float64).exp()
    return table / table.sum()


def check_world(joint: Tensor) -> None:
    """Raise a UsageError naming ``joint`` unless it is a positive (images, captions) table with sum 1."""
    if joint.ndim != 2 or not bool((joint > 0).all()) or abs(float(joint.sum()) - 1.0) > 1e-9:
        raise UsageError("joint: need a table (images, captions) of positive probabilities with sum 1")


def pointwise_mutual_information(joint: Tensor) -> Tensor:
    """log p(c|x)/p(c) in nats, (images, captions)."""
    check_world(joint)
    return (joint / (joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True))).log()


def mutual_information(joint: Tensor) -> float:
    """I(image; caption) in nats."""
    return float((joint * pointwise_mutual_information(joint)).sum())


def merge_images(joint: Tensor, cells: Sequence[int]) -> Tensor:
    """The world as seen by an encoder that maps image i to cell ``cells[i]``: (number of cells, captions)."""
    if len(cells) != len(joint) or sorted(set(cells)) != list(range(max(cells) + 1)):
        raise UsageError(f"cells: need one number for each of the {len(joint)} images, using all of 0 .. the largest")
    return torch.zeros(max(cells) + 1, joint.shape[1], dtype=joint.dtype).index_add(0, torch.tensor(cells), joint)


# --- the contrastive loss --------------------------------------------------------------------------------------------


def info_nce(scores: Tensor, joint: Tensor, batch: int, direction: Direction = "both") -> Tensor:
    """The exact expected InfoNCE loss of a score table, over all batches of independent pairs from the world.

    For one pair (x, c) and N-1 other captions drawn from p(c), the loss is
    -log exp f(x, c) / sum_j exp f(x, c_j), the positive being among the candidates (van den Oord et al. 2018, eq. 4). A
    batch's other captions matter only through how often each occurs, so the expectation is a sum over multinomial
    counts. Duplicates of the positive caption count as negatives, as they do in CLIP's loss.

    Args:
        scores: (images, captions), may require gradients.
        joint: the world.
        batch: N, at least 2.
        direction: ``"image"``: find the caption of an image. ``"text"``: find the image of a caption. ``"both"``: mean
            of the two, CLIP's loss.

    Returns:
        Scalar, in nats.

    Raises:
        UsageError: naming ``joint``, ``scores``, ``direction``, or ``batch`` (below 2, or too large to enumerate).
    """
    check_world(joint)
    if scores.shape != joint.shape:
        raise UsageError(f"scores: shape {tuple(scores.shape)} does not match the world's {tuple(joint.shape)}")
    if batch < 2:
        raise UsageError(f"batch: a contrast needs at least 2 pairs, got {batch}")
    if direction not in ("image", "text", "both"):
        raise UsageError(f"direction: choose image, text or both, not {direction!r}")
    if direction == "both":
        return (info_nce(scores, joint, batch, "image") + info_nce(scores, joint, batch, "text")) / 2
    if direction == "text":
        return info_nce(scores.T, joint.T, batch, "image")
    negatives, probabilities = _count_distribution(joint.sum(0), batch - 1, "batch")
    positives = torch.eye(joint.shape[1], dtype=joint.dtype)
    candidates = (negatives[:, None, :] + positives[None]).log()  # (batches, positive caption, candidate caption)
    losses = torch.logsumexp(scores[:, None, None, :] + candidates[None], dim=-1) - scores[:, None, :]
    return (joint * (losses * probabilities[None, :, None]).sum(1)).sum()


def fit_scores(joint: Tensor, batch: int, direction: Direction = "both") -> Tensor:
    """The score table that minimises :func:`info_nce`, starting from zeros. The loss is convex in the table."""
    scores = torch.zeros_like(joint, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [scores], max_iter=2000, tolerance_grad=1e-11, tolerance_change=0.0, line_search_fn="strong_wolfe"
    )

    def closure() -> float:
        optimiser.zero_grad()
        loss = info_nce(scores, joint, batch, direction)
        loss.backward()
        return float(loss.detach())

    optimiser.step(closure)
    return scores.detach()


def distance_to_optimum(scores: Tensor, joint: Tensor, direction: Direction = "both") -> float:
    """Largest deviation of a score table from pointwise mutual information, up to the constant the loss leaves free.

    The loss that finds a caption for an image does not change when a function of the image is added to the scores; the
    other one leaves a function of the caption free; their sum leaves one number. The free part is removed by its mean.
    """
    difference = scores - pointwise_mutual_information(joint)
    if direction == "both":
        return float((difference - difference.mean()).abs().max())
    axis = 1 if direction == "image" else 0
    return float((difference - difference.mean(axis, keepdim=True)).abs().max())


# --- embeddings ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Embeddings:
    """A two-tower model of a world: scores are ``scale`` x inner products.

    Attributes:
        images: (images, width).
        texts: (captions, width).
        scale: inverse temperature.
        losses: the loss at each training step; empty if not trained.
    """

    images: Tensor
    texts: Tensor
    scale: float
    losses: tuple[float, ...] = ()

    @property
    def scores(self) -> Tensor:
        """(images, captions)."""
        return self.scale * self.images @ self.texts.T


def fit_embeddings(joint: Tensor, width: int, batch: int, steps: int, seed: int, rate: float = 0.05) -> Embeddings:
    """Train free unit-norm embeddings and a temperature on the exact CLIP loss, by Adam from a random start."""
    generator = torch.Generator().manual_seed(seed)
    images, texts = (
        torch.randn(count, width, generator=generator, dtype=joint.dtype).requires_grad_() for count in joint.shape
    )
    log_scale = torch.zeros((), dtype=joint.dtype, requires_grad=True)
    optimiser = torch.optim.Adam([images, texts, log_scale], lr=rate)
    losses = []

    def towers() -> tuple[Tensor, Tensor, Tensor]:
        normalise = torch.nn.functional.normalize
        return normalise(images, dim=1), normalise(texts, dim=1), log_scale.exp()

    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimiser.zero_grad()
        image, text, scale = towers()
        loss = info_nce(scale * image @ text.T, joint, batch)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    with torch.no_grad():
        image, text, scale = towers()
    return Embeddings(image, text, float(scale), tuple(losses))


def embed_with_hidden_factor(scores: Tensor, hidden: Sequence[int]) -> Embeddings:
    """Unit-norm embeddings with exactly the given scores that also hold a factor no caption can see.

    Text c gets coordinate axis c. Image x needs scores[x] / scale along those axes, which leaves sqrt(1 - length^2) to
    be spent on a further axis, number ``hidden[x]``. The scale is such that at least half the squared length is left.

    Args:
        scores: (images, captions).
        hidden: the factor's value, 0, 1, ..., for each image.
    """
    count, captions = scores.shape
    scale = math.sqrt(2) * float(scores.norm(dim=1).max())
    seen = scores / scale
    rest = (1 - seen.square().sum(1)).sqrt()
    unseen = torch.zeros(count, max(hidden) + 1, dtype=scores.dtype)
    unseen[torch.arange(count), torch.tensor(hidden)] = rest
    texts = torch.eye(captions, captions + unseen.shape[1], dtype=scores.dtype)
    return Embeddings(torch.cat([seen, unseen], dim=1), texts, scale)


def split_by_text_span(images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
    """Split image embeddings (images, width) into their part inside the linear span of the texts, and the rest."""
    _, values, axes = torch.linalg.svd(texts, full_matrices=False)
    axes = axes[values > 1e-10 * values.max()]
    inside = images @ axes.T @ axes
    return inside, images - inside


def collapse_bound(texts: Tensor, scale: float, score_difference: float) -> float:
    """How far apart two image embeddings may be if no caption tells them apart by more than ``score_difference``.

    |difference| <= score_difference sqrt(captions) / (scale x smallest singular value of the texts): infinite if the
    texts do not span the space, and large already if they nearly do not.
    """
    smallest = float(torch.linalg.svdvals(texts)[-1]) if texts.shape[0] >= texts.shape[1] else 0.0
    return score_difference * math.sqrt(len(texts)) / (scale * smallest) if smallest > 0 else math.inf


# --- losses over orbits ----------------------------------------------------------------------------------------------


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy in nats for logits (n, ..., classes) and labels (n,): (n, ...)."""
    index = labels.reshape(-1, *[1] * (logits.ndim - 1)).expand(*logits.shape[:-1], 1)
    return -logits.log_softmax(-1).gather(-1, index).squeeze(-1)


def orbit_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """L_inf per image: loss of the mean logits. logits (n, |G|, classes), labels (n,) -> (n,)."""
    return cross_entropy(logits.mean(1), labels)


def sampled_loss(
    logits: Tensor,
    labels: Tensor,
    samples: int,
    replacement: bool = True,
    draws: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """L_K per image: expected loss of the mean of K sampled logits.

    Args:
        logits: (n, |G|, classes), all elements of the orbit.
        labels: (n,).
        samples: K.
        replacement: whether an element may be drawn twice.
        draws: Monte-Carlo repetitions; ``None``: exact, by enumeration (small |G| and K only).
        generator: for Monte Carlo.

    Returns:
        (n,), in nats.

    Raises:
        UsageError: naming ``samples``, if below 1, above |G| without replacement, or too many to enumerate.
    """
    size = logits.shape[1]
    if samples < 1 or (not replacement and samples > size):
        raise UsageError(f"samples: need between 1 and {size} (no upper limit with replacement), got {samples}")
    if draws is None:
        weights, probabilities = _sample_weights(size, samples, replacement)
        means = torch.einsum("mg,ngc->nmc", weights.to(logits), logits)
        return cross_entropy(means, labels) @ probabilities.to(logits)
    total = torch.zeros(len(logits), dtype=logits.dtype, device=logits.device)
    rows = torch.arange(len(logits), device=logits.device)[:, None]
    for _ in range(draws):
        if replacement:
            chosen = torch.randint(size, (len(logits), samples), generator=generator)
        else:
            chosen = torch.rand(len(logits), size, generator=generator).topk(samples, dim=1).indices
        total = total + cross_entropy(logits[rows, chosen.to(logits.device)].mean(1), labels)
    return total / draws


def second_order_gap(logits: Tensor, samples: int = 1, replacement: bool = True) -> Tensor:
    """The second-order prediction of L_K - L_inf per image: tr(H Cov_orbit[logits]) / 2K, (n,).

    H = diag(p) - p p' is the Hessian of cross-entropy at the mean logits; the label does not enter it. Without
    replacement the covariance of the mean shrinks by (|G| - K) / (|G| - 1).
    """
    size = logits.shape[1]
    centred = logits - logits.mean(1, keepdim=True)
    probabilities = logits.mean(1).softmax(-1)[:, None]
    variance = (probabilities * centred.square()).sum(-1) - (probabilities * centred).sum(-1).square()
    shrink = 1.0 if replacement else (size - samples) / max(size - 1, 1)
    return variance.mean(1) * shrink / (2 * samples)


Head = Callable[[Tensor], Tensor]


def random_features(draws: int, elements: int, width: int, seed: int, spread: float = 1.0) -> tuple[Tensor, Tensor]:
    """One random orbit per draw: normal features (draws, elements, width), and labels (draws,) in {0, 1, 2}."""
    generator = torch.Generator().manual_seed(seed)
    features = spread * torch.randn(draws, elements, width, generator=generator, dtype=torch.float64)
    return features, torch.randint(3, (draws,), generator=generator)


def random_heads(draws: int, width: int, seed: int, hidden: int = 0) -> Head:
    """One random head with three classes per draw: linear, or with one hidden ReLU layer of ``hidden`` units.

    Returns:
        A function from features (draws, ..., width) to logits (draws, ..., 3).
    """
    generator = torch.Generator().manual_seed(seed)

    def layer(inputs: int, outputs: int) -> tuple[Tensor, Tensor]:
        weight = torch.randn(draws, inputs, outputs, generator=generator, dtype=torch.float64) / math.sqrt(inputs)
        return weight, torch.randn(draws, 1, outputs, generator=generator, dtype=torch.float64) * 0.1

    layers = [layer(width, hidden), layer(hidden, 3)] if hidden else [layer(width, 3)]

    def head(features: Tensor) -> Tensor:
        values = features.reshape(draws, -1, width)
        for number, (weight, bias) in enumerate(layers):
            values = (values.relu() if number else values) @ weight + bias
        return values.reshape(*features.shape[:-1], 3)

    return head


def jensen_gaps(features: Tensor, labels: Tensor, head: Head) -> Tensor:
    """L_1 - L_inf of features averaged *before* the head, one per draw: non-negative for a linear head."""
    losses = cross_entropy(head(features), labels).mean(1)
    return losses - cross_entropy(head(features.mean(1, keepdim=True)).squeeze(1), labels)


@dataclass(frozen=True)
class Losses:
    """Orbit loss and single-sample loss of one model, in nats."""

    orbit: float
    single: float


def deep_head_counterexample(weight: float = 3.0) -> Losses:
    """A head with two ReLU units for which the sampled loss is *below* the orbit loss.

    The picture is (1, 0) on a torus of two pixels, so its orbit is (1, 0), (0, 1). The feature is the difference of the
    pixels, +1 or -1; the head gives the right class the margin ``weight`` x |f| = weight (relu(f) + relu(-f)). Each
    sample has margin ``weight``; the mean feature is 0, so the averaged model is undecided and its loss is log 2.
    """
    features = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    return Losses(
        orbit=float(_margin_loss(weight * features.mean(0).abs())[0]),
        single=float(_margin_loss(weight * features.abs()).mean()),
    )


@dataclass(frozen=True)
class FamilyMinima:
    """A one-parameter family of models, and what minimising each loss reaches.

    Attributes:
        parameters, single, orbit: (m,) grid, L_1 and L_inf there.
        at_single, at_orbit: positions on the grid where L_1 and L_inf are smallest.
    """

    parameters: Tensor
    single: Tensor
    orbit: Tensor
    at_single: int
    at_orbit: int

    @property
    def regret(self) -> float:
        """Orbit loss at the minimiser of L_1, minus the best orbit loss in the family."""
        return float(self.orbit[self.at_single] - self.orbit[self.at_orbit])

    @property
    def regret_bound(self) -> float:
        """min L_1 - min L_inf, which the regret can never exceed."""
        return float(self.single[self.at_single] - self.orbit[self.at_orbit])


def restricted_family(reach: float = 3.0, points: int = 3001) -> FamilyMinima:
    """A convex family in which minimising the bound misses the best orbit model.

    The picture is (1, 0) on a torus of two pixels; linear models with weights (3t, 1 - t), 0 <= t <= ``reach``, give
    the right class the margins 3t and 1 - t on its two shifts. The mean margin (1 + 2t)/2 grows with t, so the orbit
    loss is smallest at t = reach; but one shift gets worse with t, so L_1 is smallest near t = 0.62. The family misses
    the average of (a, b) and (b, a): with all weights allowed, both losses have the same minimum.
    """
    parameters = torch.linspace(0.0, reach, points, dtype=torch.float64)
    margins = torch.stack([3 * parameters, 1 - parameters], dim=1)
    single, orbit = _margin_loss(margins).mean(1), _margin_loss(margins.mean(1))
    return FamilyMinima(parameters, single, orbit, int(single.argmin()), int(orbit.argmin()))


def linear_family_minima(images: Tensor, labels: Tensor, penalty: float = 0.01) -> tuple[Losses, Losses]:
    """Train an unrestricted linear model on L_1 and on L_inf over all cyclic shifts of its input.

    This family contains the orbit average of each of its members, so both trainings must reach the same orbit loss.

    Args:
        images: (n, pixels), one-dimensional pictures on a torus.
        labels: (n,) of -1 and +1.
        penalty: times |weights|^2, added to both losses. It respects the shifts too, and makes the minima finite.

    Returns:
        Losses (penalty included) of the model trained on L_1, and of the one trained on L_inf.
    """
    orbits = torch.stack([images.roll(shift, dims=1) for shift in range(images.shape[1])], dim=1)

    def losses(weights: Tensor) -> tuple[Tensor, Tensor]:
        margins = (orbits @ weights[:-1] + weights[-1]) * labels[:, None]
        regulariser = penalty * weights[:-1].square().sum()
        return _margin_loss(margins.mean(1)).mean() + regulariser, _margin_loss(margins).mean() + regulariser

    results = []
    for objective in (1, 0):
        generator = torch.Generator().manual_seed(0)
        weights = torch.randn(images.shape[1] + 1, generator=generator, dtype=images.dtype).requires_grad_()
        optimiser = torch.optim.LBFGS(
            [weights], max_iter=2000, tolerance_grad=1e-12, tolerance_change=0.0, line_search_fn="strong_wolfe"
        )

        def closure(
            objective: int = objective, weights: Tensor = weights, optimiser: torch.optim.LBFGS = optimiser
        ) -> float:
            optimiser.zero_grad()
            loss = losses(weights)[objective]
            loss.backward()
            return float(loss.detach())

        optimiser.step(closure)
        orbit, single = losses(weights.detach())
        results.append(Losses(float(orbit), float(single)))
    return results[0], results[1]


def _margin_loss(margin: Tensor) -> Tensor:
    """Two-class cross-entropy of the right class's margin: log(1 + exp(-margin))."""
    return torch.nn.functional.softplus(-margin)


# --- enumeration -----------------------------------------------------------------------------------------------------


def _count_distribution(probabilities: Tensor, total: int, argument: str) -> tuple[Tensor, Tensor]:
    """All ways to draw ``total`` times with replacement: counts (m, items) and multinomial probabilities (m,)."""
    items = len(probabilities)
    if math.comb(total + items - 1, total) > MAX_TERMS:
        raise UsageError(
            f"{argument}: {total} draws from {items} kinds are too many to enumerate: take fewer, or sample"
        )
    bars = torch.tensor(list(itertools.combinations(range(total + items - 1), items - 1)), dtype=torch.long)
    edges = torch.nn.functional.pad(bars.reshape(-1 if items > 1 else 1, items - 1), (1, 1), value=-1)
    edges[:, -1] = total + items - 1
    counts = (edges.diff(dim=1) - 1).to(probabilities)
    log_coefficients = math.lgamma(total + 1) - torch.lgamma(counts + 1).sum(1)
    return counts, (log_coefficients + counts @ probabilities.log()).exp()


def _sample_weights(size: int, samples: int, replacement: bool) -> tuple[Tensor, Tensor]:
    """Weights (m, size) of all means of ``samples`` out of ``size`` elements, and their probabilities (m,)."""
    if replacement:
        uniform = torch.full((size,), 1 / size, dtype=torch.float64)
        counts, probabilities = _count_distribution(uniform, samples, "samples")
        return counts / samples, probabilities
    if math.comb(size, samples) > MAX_TERMS:
        raise UsageError(f"samples: {samples} out of {size} elements are too many subsets to enumerate: give draws")
    subsets = torch.tensor(list(itertools.combinations(range(size), samples)))
    weights = torch.zeros(len(subsets), size, dtype=torch.float64).scatter(1, subsets, 1 / samples)
    return weights, torch.full((len(subsets),), 1 / len(subsets), dtype=torch.float64)
