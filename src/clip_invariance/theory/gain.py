"""What a mention is worth: the contrastive loss of the best score that knows some factors of a picture, at any batch size.

A *policy* is what captions say of pictures whose factors are independent: how frequent each value is, and which factors a
caption names together, how often; what it names it names rightly. The best score that sees a set S of factors is
log p(c | x_S) / p(c): for each factor of S that the caption names, minus the logarithm of the value's probability if the
caption names it rightly, minus infinity otherwise. How often factors are named cancels.

The loss is a mean of log sums over random batches. From log s = integral over t > 0 of (exp(-t) - exp(-ts)) / t, and as the
members of a batch are independent, each log sum is one integral of a power (:func:`_mean_log_sum`): exact up to quadrature
for any batch, where a table of batches (:func:`theory.tabular.info_nce`) ends at a handful and sampling has noise.

Everything is float64, in nats. The theory page, section 7, has statements and proofs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clip_invariance.errors import UsageError

Direction = Literal["image", "text", "both"]
Floats = NDArray[np.float64]

#: Step of the quadrature in log t. The integrand is analytic within pi/2 of the real axis: the error is exp(-pi^2 / step).
_STEP = 0.25
#: Cells of pictures and numbers (cells x mention sets x points) that are enumerated; beyond these, cells are sampled.
_MOST_CELLS, _MOST_TERMS = 4096, 4e7


@dataclass(frozen=True)
class Policy:
    """What captions say of pictures with independent factors.

    Attributes:
        values: factor -> probability of each of its values, positive, with sum 1.
        mentions: set of factors -> probability that a caption names these and no others.

    Raises:
        UsageError: for probabilities that are not positive or do not sum to 1, or an unknown factor.
    """

    values: Mapping[str, Sequence[float]]
    mentions: Mapping[frozenset[str], float]

    def __post_init__(self) -> None:
        for factor, probabilities in self.values.items():
            if not probabilities or min(probabilities) <= 0 or abs(math.fsum(probabilities) - 1) > 1e-9:
                raise UsageError(f"values of {factor}: need positive probabilities with sum 1")
        total = math.fsum(self.mentions.values())
        if not self.mentions or min(self.mentions.values()) < 0 or abs(total - 1) > 1e-9:
            raise UsageError(f"mentions: probabilities must not be negative and must sum to 1, not {total:g}")
        for named in self.mentions:
            for factor in named:
                self.check(factor)

    @classmethod
    def independent(cls, values: Mapping[str, Sequence[float]], rates: Mapping[str, float]) -> Policy:
        """Each factor is named with its rate (0 if it has none), whatever else is.

        Raises:
            UsageError: for a rate outside [0, 1] or of an unknown factor.
        """
        for factor, rate in rates.items():
            if factor not in values:
                raise UsageError(f"rate of {factor}: there is no such factor")
            if not 0 <= rate <= 1:
                raise UsageError(f"rate of {factor} is {rate:g}: a probability is between 0 and 1")
        mentions: dict[frozenset[str], float] = {}
        for said in itertools.product((True, False), repeat=len(rates)):
            probability = math.prod(rate if yes else 1 - rate for yes, rate in zip(said, rates.values(), strict=True))
            if probability > 0:
                mentions[frozenset(itertools.compress(rates, said))] = probability
        return cls(values, mentions)

    def check(self, factor: str) -> None:
        """Raises a UsageError unless there is such a factor."""
        if factor not in self.values:
            raise UsageError(f"unknown factor {factor!r}: choose from {', '.join(self.values)}")

    @cached_property
    def named(self) -> frozenset[str]:
        """The factors that captions name at all."""
        return frozenset().union(*(factors for factors, p in self.mentions.items() if p > 0))

    def rate(self, factor: str) -> float:
        """How often captions name the factor."""
        self.check(factor)
        return math.fsum(p for named, p in self.mentions.items() if factor in named)

    def entropy(self, factor: str) -> float:
        """Of the factor's values, in nats."""
        self.check(factor)
        return -math.fsum(p * math.log(p) for p in self.values[factor])


def dashcam_policy(light: float, car: float = 1.0, pedestrian: float = 0.0) -> Policy:
    """Captions as in chapter 4: six colours and three bodies of a car, two of a light, a pedestrian or none.

    Args:
        light: how often the light is named.
        car: how often colour and body are named, always together.
        pedestrian: how often it is said whether somebody crosses.
    """
    values = {"colour": [1 / 6] * 6, "body": [1 / 3] * 3, "light": [1 / 2] * 2, "pedestrian": [1 / 2] * 2}
    rest = Policy.independent(values, {"light": light, "pedestrian": pedestrian})
    both = frozenset(("colour", "body"))
    mentions = {named | both: car * p for named, p in rest.mentions.items()}
    for named, p in rest.mentions.items():
        mentions[named] = mentions.get(named, 0.0) + (1 - car) * p
    return Policy(values, {named: p for named, p in mentions.items() if p > 0})


# --- the loss of the best score that knows some factors -----------------------------------------------------------


def contrastive_loss_of_known(
    policy: Policy, known: Iterable[str], batch: int, direction: Direction = "both", seed: int = 0
) -> float:
    """The least contrastive loss, in nats, of a score that sees the ``known`` factors of a picture and the whole caption.

    Equal captions in a batch count as negatives, as in CLIP's loss.

    Args:
        policy: what captions say.
        known: the factors that the score sees; those that captions never name make no difference.
        batch: N, at least 2.
        direction: ``"image"``: find a picture's caption, ``"text"``: a caption's picture, ``"both"``: their mean.
        seed: for the values that are sampled where there are too many to enumerate.

    Raises:
        UsageError: naming an unknown factor, batch or direction.
    """
    pictures = _Pictures.of(policy, known, batch, seed)
    losses = {"image": pictures.image_loss, "text": pictures.text_loss}
    if direction == "both":
        return (pictures.image_loss(batch) + pictures.text_loss(batch)) / 2
    if direction not in losses:
        raise UsageError(f"direction: choose image, text or both, not {direction!r}")
    return losses[direction](batch)


def mention_gain(
    policy: Policy,
    factor: str,
    batch: int,
    direction: Direction = "both",
    known: Iterable[str] | None = None,
    seed: int = 0,
) -> float:
    """By how much the best loss falls, in nats, when the score sees ``factor`` besides the ``known`` ones.

    Args:
        policy, batch, direction, seed: as for :func:`contrastive_loss_of_known`.
        factor: whose mention is priced.
        known: what the score sees before; by default all other factors that captions name.
    """
    policy.check(factor)
    before = (policy.named if known is None else frozenset(known)) - {factor}
    without = contrastive_loss_of_known(policy, before, batch, direction, seed)
    return without - contrastive_loss_of_known(policy, before | {factor}, batch, direction, seed)


def free_share(policy: Policy, factor: str, batch: int, known: Iterable[str] | None = None, seed: int = 0) -> float:
    """Share of the softmax that the best score knowing ``known`` leaves off the right pair, where ``factor`` is named.

    Mean of both directions over random batches: (N - 1)/N if nothing is known, near 0 if ``known`` tells all pairs of a
    batch apart. The gradient of the loss with respect to ``factor`` is the covariance times this (section 7).

    Raises:
        UsageError: if captions never name the factor.
    """
    if policy.rate(factor) <= 0:
        raise UsageError(f"captions never name {factor}: there is no share to compute")
    before = (policy.named if known is None else frozenset(known)) - {factor}
    naming = {named: p for named, p in policy.mentions.items() if factor in named}
    return _Pictures.of(policy, before, batch, seed).free_share(batch, naming)


@dataclass(frozen=True)
class _Pictures:
    """Distinguishable pictures, and how likely a random one agrees with what a caption says.

    Attributes:
        known: the factors seen, in the order of the columns.
        weights: (pictures,), sum 1.
        log_values: (pictures, known) log probability of each one's values.
        sets: (sets, known) which of them a caption names; ``often`` (sets,) how often.
        agree: (pictures, sets) probability that a random picture agrees with the picture on what is named.
        t: (points,) of the quadrature.
    """

    known: tuple[str, ...]
    weights: Floats
    log_values: Floats
    sets: NDArray[np.bool_]
    often: Floats
    agree: Floats
    t: Floats

    @classmethod
    def of(cls, policy: Policy, known: Iterable[str], batch: int, seed: int) -> _Pictures:
        if batch < 2:
            raise UsageError(f"batch: a contrast needs at least 2 pairs, got {batch}")
        wanted = frozenset(known)
        for factor in wanted:
            policy.check(factor)
        order = tuple(factor for factor in policy.values if factor in wanted & policy.named)
        sets, often = _joined(policy.mentions, order)
        numbers = [list(policy.values).index(factor) for factor in order]
        weights, log_values = _cells([policy.values[factor] for factor in order], len(sets), seed, numbers)
        agree = np.exp(log_values @ sets.T.astype(np.float64))
        low, high = math.log(1e-15 / (batch + 1 / agree.min())), math.log(45.0)
        return cls(order, weights, log_values, sets, often, agree, np.exp(np.arange(low, high + _STEP, _STEP)))

    def image_loss(self, batch: int) -> float:
        """Finding the caption of a picture: the own one scores 1/agree, the others what falls to them by chance."""
        total = 0.0
        for weight, agree in zip(self.weights, self.agree, strict=True):
            own = np.exp(-self.t[:, None] / agree) @ self.often
            sums = _mean_log_sum(self.t, own * np.exp((batch - 1) * self._others(agree)))
            total += weight * (sums + float(self.often @ np.log(agree)))
        return total

    def text_loss(self, batch: int) -> float:
        """Finding the picture of a caption: log of how many pictures of the batch agree with it, the own one included."""
        shares, amounts = _grouped(self.agree.ravel(), np.outer(self.weights, self.often).ravel())
        powers = -self.t[:, None] + (batch - 1) * _log_one_less(-shares * np.expm1(-self.t)[:, None])
        return _mean_log_sum(self.t, np.exp(powers) @ amounts)

    def free_share(self, batch: int, naming: Mapping[frozenset[str], float]) -> float:
        """See :func:`free_share`; ``naming``: probabilities of the mention sets that the mean runs over."""
        sets, often = _joined(naming, self.known)
        own = np.exp(self.log_values @ sets.T.astype(np.float64))
        often = often / often.sum()
        left = 0.0
        for weight, agree, mine in zip(self.weights, self.agree, own, strict=True):
            others = np.exp((batch - 1) * self._others(agree))[:, None]
            image = _STEP * (self.t[:, None] / mine * np.exp(-self.t[:, None] / mine) * others).sum(0)
            text = _mean_inverse(mine, batch)
            left += weight * float(often @ (1 - (image + text) / 2))
        return left

    def _others(self, agree: Floats) -> Floats:
        """log E exp(-t score ratio) of a random caption for one picture: (points,)."""
        return _log_one_less(-np.expm1(-self.t[:, None] / agree) @ (self.often * agree))


def _mean_log_sum(t: Floats, laplace: Floats) -> float:
    """E log s from E exp(-ts) at the points ``t``."""
    return _STEP * float((np.exp(-t) - laplace).sum())


def _mean_inverse(agree: Floats, batch: int) -> Floats:
    """E 1/(1 + K) for K binomial of batch - 1 draws with chance ``agree``."""
    return -np.expm1(batch * _log_one_less(agree)) / (batch * agree)


def _log_one_less(share: Floats) -> Floats:
    """log(1 - share), where rounding may have brought the share to 1 or beyond."""
    return np.log1p(-np.minimum(share, 1 - 1e-15))


def _joined(mentions: Mapping[frozenset[str], float], order: Sequence[str]) -> tuple[NDArray[np.bool_], Floats]:
    """Mention sets cut down to the factors of ``order``: (sets, factors) and their probabilities."""
    found: dict[tuple[bool, ...], float] = {}
    for named, p in mentions.items():
        cut = tuple(factor in named for factor in order)
        found[cut] = found.get(cut, 0.0) + p
    return np.array(list(found), dtype=bool).reshape(len(found), len(order)), np.array(list(found.values()))


def _cells(values: Sequence[Sequence[float]], sets: int, seed: int, numbers: Sequence[int]) -> tuple[Floats, Floats]:
    """Weights (n,) and log value probabilities (n, factors) of pictures; values that are equally likely are one.

    Where there are too many, a sample of them; the ``numbers`` of the factors in the policy choose their draws, which so
    stay the same with one factor more or less.
    """
    columns = [_grouped(np.asarray(p, dtype=np.float64), np.asarray(p, dtype=np.float64)) for p in values]
    count = math.prod(len(shares) for shares, _ in columns)
    most = max(64, min(_MOST_CELLS, int(_MOST_TERMS / (200 * sets))))
    if count <= most:
        shape = [range(len(shares)) for shares, _ in columns]
        chosen = np.array(list(itertools.product(*shape)), dtype=np.int64).reshape(count, len(columns))
        weights = np.ones(count)
        for number, (_, amounts) in enumerate(columns):
            weights = weights * amounts[chosen[:, number]]
    else:
        draws = [np.random.default_rng((seed, number)) for number in numbers]
        picked = [
            rng.choice(len(shares), most, p=amounts / amounts.sum())
            for rng, (shares, amounts) in zip(draws, columns, strict=True)
        ]
        chosen, weights = np.stack(picked, axis=1), np.full(most, 1 / most)
    logs = [np.log(shares)[chosen[:, number]] for number, (shares, _) in enumerate(columns)]
    return weights, np.stack(logs, axis=1) if logs else np.zeros((len(weights), 0))


def _grouped(shares: Floats, amounts: Floats) -> tuple[Floats, Floats]:
    """Distinct shares and the sum of what belongs to each; differences in the twelfth digit do not count."""
    _, first, place = np.unique(shares.round(12), return_index=True, return_inverse=True)
    return shares[first], np.asarray(np.bincount(place, weights=amounts), dtype=np.float64)


# --- the same by sampling ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sampled:
    """A mean over random batches and its standard error, in nats."""

    value: float
    error: float

    @classmethod
    def of(cls, draws: Floats) -> Sampled:
        """From one number for each batch."""
        return cls(float(draws.mean()), float(draws.std(ddof=1) / math.sqrt(len(draws))))


def sampled_losses(policy: Policy, known: Sequence[Iterable[str]], batch: int, batches: int, seed: int) -> list[Floats]:
    """Contrastive losses of real batches, (batches,) for each set of ``known`` factors; all sets see the same batches.

    A batch counts how often each distinct picture and caption occurs, so that its cost does not grow with N squared.
    """
    pictures, captions, often, log_chance = _table(policy)
    rng = np.random.default_rng(seed)
    joint = _ratio(policy, policy.values, pictures, captions) * np.outer(log_chance[0], often)
    joint = (joint / joint.sum()).ravel()
    ratios = [_ratio(policy, factors, pictures, captions) for factors in known]
    found = [np.empty(batches) for _ in known]
    for number in range(batches):
        counts = rng.multinomial(batch, joint).reshape(len(pictures), len(captions))
        rows, columns = counts.sum(1), counts.sum(0)
        there, said = counts.nonzero()
        drawn = counts[there, said]
        for losses, ratio in zip(found, ratios, strict=True):
            own = np.log(ratio[there, said])
            sums = np.log((ratio @ columns)[there]) + np.log((rows @ ratio)[said])
            losses[number] = drawn @ (sums / 2 - own) / batch
    return found


def sampled_mention_gain(policy: Policy, factor: str, batch: int, batches: int, seed: int = 0) -> Sampled:
    """:func:`mention_gain` by sampling, for comparison; both losses are taken on the same batches."""
    others = policy.named - {factor}
    without, with_it = sampled_losses(policy, [others, others | {factor}], batch, batches, seed)
    return Sampled.of(without - with_it)


def _table(policy: Policy) -> tuple[list[dict[str, int]], list[dict[str, int]], Floats, Floats]:
    """All pictures, all captions (factor -> value of what they name), p(caption), and p(picture) in a row."""
    names = list(policy.values)
    pictures = [
        dict(zip(names, chosen, strict=True))
        for chosen in itertools.product(*(range(len(policy.values[name])) for name in names))
    ]
    captions, often = [], []
    for named, p in policy.mentions.items():
        said = [name for name in names if name in named]
        for chosen in itertools.product(*(range(len(policy.values[name])) for name in said)):
            captions.append(dict(zip(said, chosen, strict=True)))
            often.append(p * math.prod(policy.values[name][v] for name, v in captions[-1].items()))
    chances = [math.prod(policy.values[name][v] for name, v in picture.items()) for picture in pictures]
    return pictures, captions, np.array(often), np.array([chances])


def _ratio(
    policy: Policy, known: Iterable[str], pictures: Sequence[Mapping[str, int]], captions: Sequence[Mapping[str, int]]
) -> Floats:
    """p(c | x_S) / p(c): (pictures, captions)."""
    ratio = np.ones((len(pictures), len(captions)))
    for factor in known:
        seen = np.array([picture[factor] for picture in pictures])
        said = np.array([caption.get(factor, -1) for caption in captions])
        chance = np.array([policy.values[factor][value] if value >= 0 else 1.0 for value in said])
        ratio *= np.where(said < 0, 1.0, (seen[:, None] == said) / chance)
    return ratio
