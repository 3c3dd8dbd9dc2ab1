"""Chapter 5, tuning: chapter 4's encoders go on with labels, with captions or with pairs, and what that gives and costs.

Every function takes an encoder as it was trained and gives it back unchanged. Rows are those of
:mod:`chapters.c5_recovery.measures`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip_invariance.chapters.c4_dashcam.measures import ASKED, Pictures
from clip_invariance.chapters.c4_dashcam.training import BATCH, RATE, SIZE, TOWER, captions_of
from clip_invariance.chapters.c5_recovery.measures import (
    STRENGTHS,
    Amount,
    Encoder,
    ask_in_words,
    read_everything,
    restored,
    row,
    word_classes,
)
from clip_invariance.chapters.c5_recovery.pictures import (
    CAPTIONED,
    LOST,
    USUAL,
    at_another_time,
    budget,
    pool_scenes,
    subset,
)
from clip_invariance.errors import UsageError
from clip_invariance.measure.decodability import fit_probes
from clip_invariance.measure.stages import linear_heads
from clip_invariance.measure.tables import Row
from clip_invariance.models import clip
from clip_invariance.training import contrastive, tuning
from clip_invariance.training.tuning import Method
from clip_invariance.worlds import dashcam

if TYPE_CHECKING:
    from open_clip.model import CLIP

#: Peak learning rates that validation chooses from; not tuning at all is a further choice.
RATES: dict[Method, tuple[float, ...]] = {
    "projection": (3e-3, 1e-2),
    "lora": (4e-3, 1.6e-2),
    "full": (2e-3, 8e-3),
    "scratch": (2e-3, 6e-3),
}
#: Metrics: what words know after tuning at the smaller and at the larger rate, whichever was chosen.
GENTLE, BOLD = "words at the smaller rate", "words at the larger rate"
#: The same for going on with captions, as shares of the rate that the encoder was trained with.
CAPTION_RATES = (RATE / 6, RATE / 2)
PAIR_RATE = RATE / 6
ALL = "all"
"""A task's name for labels of everything at once."""


# ---------------------------------------------------------------- with labels


@dataclass(frozen=True)
class Tuning:
    """One tuning with labels.

    Attributes:
        encoder: what is tuned.
        method: see :data:`training.tuning.Method`.
        task: a factor, or "all".
        labels: labelled pictures in all.
        since: the smallest profile that does it. No part of what it is.
    """

    encoder: Encoder
    method: Method
    task: str
    labels: int
    since: str = field(default="quick", compare=False)

    def tasks(self) -> tuple[str, ...]:
        """The factors that it has labels of.

        Raises:
            UsageError: for an unknown task.
        """
        if self.task != ALL and self.task not in ASKED:
            raise UsageError(f"unknown task {self.task!r}: choose {ALL} or one of {', '.join(ASKED)}")
        return tuple(ASKED) if self.task == ALL else (self.task,)


def tune(
    arm: Tuning,
    steps: int,
    batch: int,
    shares: Sequence[float],
    probed: bool,
    words: bool,
    tests: Sequence[str],
    amount: Amount,
    seed: int,
    device: str,
    encoder: pd.DataFrame,
) -> pd.DataFrame:
    """Tune an encoder for one task, or for all at once, and see what that gives and costs.

    The tower and a linear head start from a probe; three quarters of the labelled pictures are tuned on, the last
    quarter chooses the learning rate, or not to tune. Nothing is fitted again afterwards, to the disadvantage of
    tuning: a probe is.

    Args:
        arm: what is tuned, and how.
        steps, batch: of each tuning.
        shares: how far to go from the original weights (0) to the tuned ones (1): interpolated models are tested too.
        probed: whether to ask probes, fitted with all labels of the pool, what the tuned embedding holds of everything.
        words, tests, amount, encoder: as in :func:`chapters.c5_recovery.measures.read`.

    Returns:
        metrics "tuned" (head) and "zero_shot" (what captions name), both by test and share, the latter for tasks of LOST
        only; GENTLE and BOLD, likewise, as usual; "probe"; "rate" (chosen; 0 for none); "trained" (share of weights).
    """
    tasks = arm.tasks()
    model = restored(encoder, seed, device)
    known, asked = amount.known(seed, device), amount.tests(tests, seed, device)
    fitted, held = (subset(known, which) for which in budget(known.labels, tasks, arm.labels, seed))
    start = _probe_heads(model, fitted, tasks, seed)
    tried = _tried(model, start, fitted, tasks, arm.method, steps, batch, seed)
    rate, tuned, heads = _best(tried, held, tasks)

    classes = word_classes(model, CAPTIONED) if words and arm.task in LOST else {}
    rows: list[Row] = []
    for share in shares:
        between, layers = (tuned, heads) if share == 1 else _between(model, tuned, start, heads, share)
        for name, part in asked.items():
            embeddings = clip.embed(between, part.images)
            right = _right(layers, embeddings, part, tasks)
            rows += [row("tuned", factor, value, test=name, share=share) for factor, value in right.items()]
            rows += ask_in_words(embeddings, part, classes, name, share)
    for (_, encoder_there, _), metric in zip(tried[1:], (GENTLE, BOLD), strict=True):
        after = ask_in_words(clip.embed(encoder_there, asked[USUAL].images), asked[USUAL], classes) if classes else ()
        rows += [{**found, "metric": metric} for found in after]
    if probed:
        rows += read_everything(tuned, False, known, {USUAL: asked[USUAL]}, seed)
    rows.append(row("rate", arm.task, rate))
    rows.append(row("trained", arm.task, _trained_share(arm.method)))
    return pd.DataFrame(rows).assign(labels=arm.labels)


@cache  # the same for all encoders, which have one architecture
def _trained_share(method: Method) -> float:
    return tuning.trainable_share(clip.create(TOWER, size=SIZE), method)


def _probe_heads(model: CLIP, fitted: Pictures, tasks: Sequence[str], seed: int) -> nn.ModuleDict:
    answers = {task: fitted.labels[task] for task in tasks}
    return linear_heads(fit_probes(clip.embed(model, fitted.images), answers, strengths=STRENGTHS, seed=seed))


Candidate = tuple[float, "CLIP", nn.ModuleDict]
"""A learning rate (0: not tuned), and the encoder and the heads that it leads to."""


def _tried(
    model: CLIP,
    start: nn.ModuleDict,
    fitted: Pictures,
    tasks: Sequence[str],
    method: Method,
    steps: int,
    batch: int,
    seed: int,
) -> list[Candidate]:
    """All candidates: untuned, then tuned at each of RATES."""
    answers = {task: fitted.labels[task] for task in tasks}
    tried = [(0.0, model, start)]
    for rate in RATES[method]:
        done = tuning.fit(
            model, start, fitted.images, answers, method=method, steps=steps, batch=batch, rate=rate, seed=seed
        )
        tried.append((rate, *done))
    return tried


def _best(tried: Sequence[Candidate], held: Pictures, tasks: Sequence[str]) -> Candidate:
    """The candidate that validation prefers: by accuracy, then by loss."""

    def quality(candidate: Candidate) -> tuple[float, float]:
        _, encoder, heads = candidate
        embeddings = clip.embed(encoder, held.images)
        loss = sum(float(F.cross_entropy(_logits(heads, embeddings)[task], held.labels[task])) for task in tasks)
        return sum(_right(heads, embeddings, held, tasks).values()), -loss

    return max(tried, key=quality)


@torch.inference_mode()
def _logits(heads: nn.Module, embeddings: Tensor) -> dict[str, Tensor]:
    return {factor: head(embeddings) for factor, head in heads.named_children()}


def _right(heads: nn.Module, embeddings: Tensor, pictures: Pictures, tasks: Sequence[str]) -> dict[str, float]:
    """Accuracy of each head."""
    scores = _logits(heads, embeddings)
    return {task: float((scores[task].argmax(1) == pictures.labels[task]).float().mean()) for task in tasks}


def _between(
    model: CLIP, tuned: CLIP, start: nn.ModuleDict, heads: nn.ModuleDict, share: float
) -> tuple[CLIP, nn.Module]:
    """The original model with an image tower, and heads, on the way to the tuned ones."""
    between = tuning.copy_with_own_tower(model)
    between.visual = tuning.interpolate(model.visual, tuned.visual, share)
    return between, tuning.interpolate(start, heads, share)


# ---------------------------------------------------------------- with captions


@dataclass(frozen=True)
class GoingOn:
    """Going on with CLIP's own loss on some pictures whose captions are written again, with everything that was lost.

    Attributes:
        labels: pictures with new captions.
        mention: rate at which the new captions mention light and pedestrian: 1, or 0 for the control.
        longer: for as many steps as the encoder was trained in all.
        since: as in :class:`Tuning`.
    """

    labels: int
    mention: float = 1.0
    longer: bool = False
    since: str = field(default="quick", compare=False)


def go_on(
    arm: GoingOn, steps: int, tests: Sequence[str], amount: Amount, seed: int, device: str, encoder: pd.DataFrame
) -> pd.DataFrame:
    """Go on with rewritten captions.

    The last quarter of these pictures chooses the learning rate, or not to go on, by zero-shot accuracy at what their
    captions say.

    Args:
        steps: of each training.
        tests, amount, encoder: as in :func:`chapters.c5_recovery.measures.read`.

    Returns:
        see :func:`chapters.c5_recovery.measures.read`, and metric "rate".
    """
    known, asked = amount.known(seed, device), amount.tests(tests, seed, device)
    fitted, held = budget(known.labels, ("light",), arm.labels, seed)
    images = known.images[fitted]
    captions = captions_of(pool_scenes(amount.pool, seed)[fitted], arm.mention, False, seed)
    mentioned = (*CAPTIONED, *LOST) if arm.mention else CAPTIONED
    before, batch = restored(encoder, seed, device), min(BATCH, len(images))
    tried = [(0.0, before)]
    for rate in CAPTION_RATES:
        model = copy.deepcopy(before)
        tried.append((rate, contrastive.fit(model, images, captions, steps=steps, batch=batch, rate=rate, seed=seed)))

    def quality(candidate: tuple[float, CLIP]) -> float:
        embeddings, part = clip.embed(candidate[1], known.images[held]), subset(known, held)
        asked_for = word_classes(candidate[1], mentioned)
        return float(sum(found["value"] for found in ask_in_words(embeddings, part, asked_for)))

    rate, best = max(tried, key=quality)
    rows = [*read_everything(best, True, known, asked, seed), row("rate", "captions", rate)]
    return pd.DataFrame(rows).assign(labels=arm.labels)


# ---------------------------------------------------------------- with pairs


@dataclass(frozen=True)
class Pairs:
    """Making an encoder indifferent to the time of day with pairs of pictures that differ in nothing else.

    Attributes:
        labels: pairs; their captions name the car alone.
        pull: see :func:`training.tuning.fit_pairs`; 0 is the control, the same pictures and captions without the pull.
        since: as in :class:`Tuning`.
    """

    labels: int
    pull: float
    since: str = field(default="quick", compare=False)


def pull_together(
    arm: Pairs, steps: int, batch: int, amount: Amount, seed: int, device: str, encoder: pd.DataFrame
) -> pd.DataFrame:
    """Train on pairs.

    Args:
        steps, batch: of the tuning; ``batch`` pairs a step.
        amount, encoder: as in :func:`chapters.c5_recovery.measures.read`.

    Returns:
        see :func:`chapters.c5_recovery.measures.read`.
    """
    model = restored(encoder, seed, device)
    known, scenes = amount.known(seed, device), pool_scenes(amount.pool, seed)[: arm.labels]
    one = known.images[: arm.labels]
    other = dashcam.render(at_another_time(scenes, seed), size=SIZE, device=device)
    captions = captions_of(scenes, 0.0, False, seed)
    tuned = tuning.fit_pairs(
        model, one, other, captions, pull=arm.pull, steps=steps, batch=batch, rate=PAIR_RATE, seed=seed
    )
    rows = read_everything(tuned, True, known, amount.tests([USUAL], seed, device), seed)
    return pd.DataFrame(rows).assign(labels=arm.labels)
