"""One linear map between pictures and words, so that words reach what an embedding holds but does not say.

Koishigarina et al. (2025) put the map on the side of the texts; in the score x A t it is one and the same matrix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from clip_invariance.errors import UsageError
from clip_invariance.measure.zero_shot import zero_shot_accuracy

#: Penalties on the distance from doing nothing that the validation part chooses from, strongest first.
PENALTIES: Sequence[float] = (1e-1, 1e-2, 1e-3, 1e-4)
ITERATIONS = 60


def fit_word_map(
    features: Tensor,
    labels: Mapping[str, Tensor],
    classes: Mapping[str, Tensor],
    *,
    scale: float,
    penalties: Sequence[float] = PENALTIES,
) -> Tensor:
    """The matrix A for which texts name the labelled pictures best: x -> x A, one for all factors.

    Minimises the mean cross-entropy of zero-shot classification plus penalty |A - 1|^2. The last quarter of the
    pictures chooses the penalty by accuracy; then the map is fitted again to all.

    Args:
        features: (n, d) unit-norm picture embeddings, in random order.
        labels: factor -> (n,) int64.
        classes: factor -> (values, d) unit-norm class embeddings, see :func:`zero_shot.zero_shot_weights`.
        scale: inverse temperature of the softmax.
        penalties: to choose from; a single one skips the choice.

    Returns:
        (d, d).

    Raises:
        UsageError: if a factor has labels but no classes, or there are fewer than four pictures.
    """
    if missing := sorted(set(labels) - set(classes)):
        raise UsageError(f"{missing[0]}: no class embeddings for this factor")
    if len(features) < 4:
        raise UsageError(f"a map needs at least four labelled pictures, got {len(features)}")
    x, best = features.float().clone(), penalties[0]
    answers = {factor: values.to(x.device) for factor, values in labels.items()}
    if len(penalties) > 1:
        cut = len(x) * 3 // 4
        first = {factor: values[:cut] for factor, values in answers.items()}

        def right(penalty: float) -> float:
            mapped = x[cut:] @ _fit(x[:cut], first, classes, scale, penalty)
            found = [zero_shot_accuracy(mapped, classes[f], values[cut:]) for f, values in answers.items()]
            return sum(found) / len(found)

        best = max(penalties, key=right)
    return _fit(x, answers, classes, scale, best)


def _fit(
    x: Tensor, answers: Mapping[str, Tensor], classes: Mapping[str, Tensor], scale: float, penalty: float
) -> Tensor:
    identity = torch.eye(x.shape[1], device=x.device)
    change = torch.zeros_like(identity, requires_grad=True)
    optimiser = torch.optim.LBFGS([change], max_iter=ITERATIONS, line_search_fn="strong_wolfe")
    texts = {factor: classes[factor].float().clone() for factor in answers}

    def loss() -> Tensor:
        optimiser.zero_grad()
        mapped = F.normalize(x + x @ change, dim=1)
        parts = [F.cross_entropy(scale * mapped @ texts[factor].mT, y) for factor, y in answers.items()]
        value = torch.stack(parts).mean() + penalty * change.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    return identity + change.detach()
