"""Chapter 5, units: chapter 4's encoders tuned in several ways with the same labels, and what that costs.

Every function takes an encoder as chapter 4 trained it and gives it back unchanged. Rows of all tables: metric, factor,
depth, shown (a test of :mod:`recovery_pictures`), labels (labelled pictures in all, those for validation included),
share (position between the original and the tuned weights), value. Accuracies are in [0, 1].
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip_invariance.captions import Captions, prompts
from clip_invariance.chapters.c4_dashcam.measures import ASKED, Pictures
from clip_invariance.chapters.c4_dashcam.training import BATCH, RATE, SIZE, TOWER, captions_of
from clip_invariance.chapters.c5_recovery.pictures import (
    CAPTIONED,
    LOST,
    USUAL,
    at_another_time,
    budget,
    exams,
    pool,
    pool_scenes,
    subset,
)
from clip_invariance.errors import UsageError
from clip_invariance.measure.decodability import fit_probes, probe_factors
from clip_invariance.measure.stages import linear_heads, stages
from clip_invariance.measure.word_map import fit_word_map
from clip_invariance.measure.zero_shot import zero_shot_accuracy, zero_shot_weights
from clip_invariance.models import clip
from clip_invariance.training import contrastive, encoders, tuning
from clip_invariance.training.tuning import Method
from clip_invariance.worlds import dashcam
from clip_invariance.worlds.dashcam import WORDS

if TYPE_CHECKING:
    from open_clip.model import CLIP

Row = dict[str, Any]

#: Inverse penalties that a probe chooses from: wider than chapter 4's, as budgets go down to a few labels.
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
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


def _row(
    metric: str, factor: str, value: float, *, depth: str = "embedding", shown: str = USUAL, labels: int = 0,
    share: float = 1.0,
) -> Row:  # fmt: skip
    return {
        "metric": metric,
        "factor": factor,
        "depth": depth,
        "shown": shown,
        "labels": labels,
        "share": share,
        "value": float(value),
    }


def _restored(encoder: pd.DataFrame, seed: int, device: str) -> CLIP:
    return encoders.trained(encoder, tower=TOWER, size=SIZE, seed=seed, device=device)


def _tasks(task: str) -> tuple[str, ...]:
    if task != ALL and task not in ASKED:
        raise UsageError(f"unknown task {task!r}: choose {ALL} or one of {', '.join(ASKED)}")
    return tuple(ASKED) if task == ALL else (task,)


# ---------------------------------------------------------------- frozen encoders


def read(
    encoder: pd.DataFrame,
    origin: str,
    words: bool,
    tests: Sequence[str],
    pictures: int,
    test: int,
    seed: int,
    device: str,
) -> pd.DataFrame:
    """What can be read from a frozen encoder about everything: by probes with all labels of the pool, and in words.

    Args:
        encoder: the table of :func:`dashcam_training.train`.
        origin: which encoder that is, for the table.
        words: whether the encoder was trained with captions.
        tests: those in which words are asked, the usual one among them.
        pictures, test: in the pool and in each test.

    Returns:
        metrics "probe" (embedding, as usual) and "zero_shot"; the latter for what captions name in every test.
    """
    model = _restored(encoder, seed, device)
    return pd.DataFrame(_read(model, words, pool(pictures, seed, device), _tests(tests, test, seed, device), seed))


def _tests(names: Sequence[str], test: int, seed: int, device: str) -> dict[str, Pictures]:
    """Some of the tests; see :func:`recovery_pictures.exams`."""
    drawn = exams(test, seed, device)
    return {name: drawn[name] for name in names}


def _read(model: CLIP, words: bool, known: Pictures, asked: Mapping[str, Pictures], seed: int) -> Iterator[Row]:
    seen = {name: clip.embed(model, pictures.images) for name, pictures in asked.items()}
    found = probe_factors(clip.embed(model, known.images), known.labels, seen[USUAL], asked[USUAL].labels, seed=seed)
    yield from (_row("probe", factor, value) for factor, value in found.items())
    if words:
        classes = _classes(model, ASKED)
        everywhere = {factor: classes[factor] for factor in (*CAPTIONED, *LOST)}
        for name, pictures in asked.items():
            yield from _ask_in_words(seen[name], pictures, classes if name == USUAL else everywhere, name)


def _classes(model: CLIP, factors: Sequence[str] | Mapping[str, Any]) -> dict[str, Tensor]:
    """Zero-shot classifiers as :func:`dashcam_measures.word_classes` makes them, all texts encoded at once."""
    wordings = {factor: [prompts(WORDS, factor)[value] for value in ASKED[factor]] for factor in factors}
    texts = list(dict.fromkeys(text for values in wordings.values() for said in values for text in said))
    rows = dict(zip(texts, clip.encode_texts(model, texts), strict=True))
    return {
        factor: zero_shot_weights(lambda said: torch.stack([rows[text] for text in said]), values)
        for factor, values in wordings.items()
    }


def _ask_in_words(
    seen: Tensor, pictures: Pictures, classes: Mapping[str, Tensor], shown: str = USUAL, share: float = 1.0
) -> Iterator[Row]:
    """Zero-shot accuracy from the embeddings of pictures."""
    for factor, weights in classes.items():
        right = zero_shot_accuracy(seen, weights, pictures.labels[factor])
        yield _row("zero_shot", factor, right, shown=shown, share=share)


def probe_by_labels(
    encoder: pd.DataFrame,
    origin: str,
    budgets: Sequence[int],
    every_depth: bool,
    tests: Sequence[str],
    pictures: int,
    test: int,
    seed: int,
    device: str,
) -> pd.DataFrame:
    """Probes for light and pedestrian by number of labelled pictures, their regularisation chosen within the budget.

    Args:
        budgets: labelled pictures in all.
        every_depth: read the stages of the tower as well.
        tests: names.
        encoder, origin, pictures, test: as in :func:`read`.

    Returns:
        metric "frozen" by depth, labels and test.
    """
    model = _restored(encoder, seed, device)
    known, asked = pool(pictures, seed, device), _tests(tests, test, seed, device)
    x = stages(model, known.images)
    z = {name: stages(model, part.images) for name, part in asked.items()}
    read = [depth for depth in x if every_depth or depth in ("backbone", "embedding")]
    return pd.DataFrame(
        row
        for depth in read
        for row in _by_labels(depth, x[depth], {name: z[name][depth] for name in z}, known, asked, budgets, seed)
    )


def pixels_by_labels(
    origin: str, budgets: Sequence[int], pictures: int, test: int, seed: int, device: str
) -> pd.DataFrame:
    """The control of :func:`probe_by_labels` without any network: probes on the pixels of the same labelled pictures.

    Returns:
        metric "frozen", depth "pixels", by labels, tested as usual.
    """
    known, asked = pool(pictures, seed, device), _tests([USUAL], test, seed, device)
    z = {name: part.images.flatten(1) for name, part in asked.items()}
    return pd.DataFrame(_by_labels("pixels", known.images.flatten(1), z, known, asked, budgets, seed))


def _by_labels(
    depth: str,
    x: Tensor,
    z: Mapping[str, Tensor],
    known: Pictures,
    asked: Mapping[str, Pictures],
    budgets: Sequence[int],
    seed: int,
) -> Iterator[Row]:
    """Probes on features ``x`` of the pool, by task and number of labels, tested on features ``z`` of every test."""
    for task in LOST:
        for n in budgets:
            chosen = torch.cat(budget(known.labels, [task], n, seed))
            probes = fit_probes(x[chosen], {task: known.labels[task][chosen]}, strengths=STRENGTHS, seed=seed)
            for name, part in asked.items():
                right = probes.accuracy(z[name], part.labels)[task]
                yield _row("frozen", task, right, depth=depth, shown=name, labels=n)


# ---------------------------------------------------------------- tuning with labels


def tune(
    encoder: pd.DataFrame,
    origin: str,
    method: Method,
    task: str,
    labels: int,
    steps: int,
    batch: int,
    shares: Sequence[float],
    probed: bool,
    words: bool,
    tests: Sequence[str],
    pictures: int,
    test: int,
    seed: int,
    device: str,
) -> pd.DataFrame:
    """Tune an encoder for one task, or for all at once, and see what that gives and costs.

    The tower and a linear head start from a probe; three quarters of the labelled pictures are tuned on, the last
    quarter chooses the learning rate, or not to tune. Nothing is fitted again afterwards, to the disadvantage of
    tuning: a probe is.

    Args:
        encoder, origin, words, tests, pictures, test: as in :func:`read`.
        method: see :data:`tuning.Method`.
        task: a factor, or "all".
        labels: labelled pictures in all.
        steps, batch: of each tuning.
        shares: how far to go from the original weights (0) to the tuned ones (1): interpolated models are tested too.
        probed: whether to ask probes, fitted with all labels of the pool, what the tuned embedding holds of everything.

    Returns:
        metrics "tuned" (head) and "zero_shot" (what captions name), both by test and share, the latter for tasks of LOST
        only; GENTLE and BOLD, likewise, as usual; "probe"; "rate" (chosen; 0 for none); "trained" (share of weights).
    """
    tasks = _tasks(task)
    model = _restored(encoder, seed, device)
    known, asked = pool(pictures, seed, device), _tests(tests, test, seed, device)
    fitted, held = (subset(known, which) for which in budget(known.labels, tasks, labels, seed))
    start = _probe_heads(model, fitted, tasks, seed)
    tried = _tried(model, start, fitted, tasks, method, steps, batch, seed)
    rate, tuned, heads = _best(tried, held, tasks)

    classes = _classes(model, CAPTIONED) if words and task in LOST else {}
    rows: list[Row] = []
    for share in shares:
        between, layers = (tuned, heads) if share == 1 else _between(model, tuned, start, heads, share)
        for name, part in asked.items():
            seen = clip.embed(between, part.images)
            right = _right(layers, seen, part, tasks)
            rows += [_row("tuned", factor, value, shown=name, share=share) for factor, value in right.items()]
            rows += _ask_in_words(seen, part, classes, name, share)
    for (_, encoder_there, _), metric in zip(tried[1:], (GENTLE, BOLD), strict=True):
        after = _ask_in_words(clip.embed(encoder_there, asked[USUAL].images), asked[USUAL], classes) if classes else ()
        rows += [{**row, "metric": metric} for row in after]
    if probed:
        rows += _read(tuned, False, known, {USUAL: asked[USUAL]}, seed)
    rows.append(_row("rate", task, rate))
    rows.append(_row("trained", task, _trained_share(method)))
    return pd.DataFrame(rows).assign(labels=labels)


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
        seen = clip.embed(encoder, held.images)
        loss = sum(float(F.cross_entropy(_logits(heads, seen)[task], held.labels[task])) for task in tasks)
        return sum(_right(heads, seen, held, tasks).values()), -loss

    return max(tried, key=quality)


@torch.inference_mode()
def _logits(heads: nn.Module, seen: Tensor) -> dict[str, Tensor]:
    return {factor: head(seen) for factor, head in heads.named_children()}


def _right(heads: nn.Module, seen: Tensor, pictures: Pictures, tasks: Sequence[str]) -> dict[str, float]:
    """Accuracy of each head."""
    scores = _logits(heads, seen)
    return {task: float((scores[task].argmax(1) == pictures.labels[task]).float().mean()) for task in tasks}


def _between(
    model: CLIP, tuned: CLIP, start: nn.ModuleDict, heads: nn.ModuleDict, share: float
) -> tuple[CLIP, nn.Module]:
    """The original model with an image tower, and heads, on the way to the tuned ones."""
    between = tuning.copy_with_own_tower(model)
    between.visual = tuning.interpolate(model.visual, tuned.visual, share)
    return between, tuning.interpolate(start, heads, share)


# ---------------------------------------------------------------- going on with captions


def recaption(
    encoder: pd.DataFrame,
    mention: float,
    labels: int,
    steps: int,
    tests: Sequence[str],
    pictures: int,
    test: int,
    seed: int,
    device: str,
) -> pd.DataFrame:
    """Go on with CLIP's own loss on some pictures whose captions are written again, with everything that was lost.

    The last quarter of these pictures chooses the learning rate, or not to go on, by zero-shot accuracy at what their
    captions say.

    Args:
        encoder, tests, pictures, test: as in :func:`read`.
        mention: rate at which the new captions mention light and pedestrian: 1, or 0 for the control.
        labels: pictures with new captions.
        steps: of each training.

    Returns:
        see :func:`read`, and metric "rate".
    """
    known, asked = pool(pictures, seed, device), _tests(tests, test, seed, device)
    fitted, held = budget(known.labels, ("light",), labels, seed)
    images = known.images[fitted]
    captions = captions_of(pool_scenes(pictures, seed)[fitted], mention, False, seed)
    said = (*CAPTIONED, *LOST) if mention else CAPTIONED
    before, batch = _restored(encoder, seed, device), min(BATCH, len(images))
    tried = [(0.0, before)]
    for rate in CAPTION_RATES:
        model = copy.deepcopy(before)
        tried.append((rate, contrastive.fit(model, images, captions, steps=steps, batch=batch, rate=rate, seed=seed)))

    def quality(candidate: tuple[float, CLIP]) -> float:
        seen, part = clip.embed(candidate[1], known.images[held]), subset(known, held)
        return float(sum(row["value"] for row in _ask_in_words(seen, part, _classes(candidate[1], said))))

    rate, best = max(tried, key=quality)
    rows = [*_read(best, True, known, asked, seed), _row("rate", "captions", rate)]
    return pd.DataFrame(rows).assign(labels=labels)


def pull_together(
    encoder: pd.DataFrame,
    pull: float,
    labels: int,
    steps: int,
    batch: int,
    pictures: int,
    test: int,
    seed: int,
    device: str,
) -> pd.DataFrame:
    """Make an encoder indifferent to the time of day with pairs of pictures that differ in nothing else.

    Args:
        encoder, pictures, test: as in :func:`read`.
        pull: see :func:`tuning.fit_pairs`; 0 is the control, the same pictures and captions without the pull.
        labels: pairs; their captions name the car alone.
        steps, batch: of the tuning; ``batch`` pairs a step.

    Returns:
        see :func:`read`.
    """
    model = _restored(encoder, seed, device)
    chosen = pool_scenes(pictures, seed)[:labels]
    captions: Captions = captions_of(chosen, 0.0, False, seed)
    one = pool(pictures, seed, device).images[:labels]
    other = dashcam.render(at_another_time(chosen, seed), size=SIZE, device=device)
    tuned = tuning.fit_pairs(
        model, one, other, captions, pull=pull, steps=steps, batch=batch, rate=PAIR_RATE, seed=seed
    )
    rows = _read(tuned, True, pool(pictures, seed, device), _tests([USUAL], test, seed, device), seed)
    return pd.DataFrame(rows).assign(labels=labels)


# ---------------------------------------------------------------- one linear map


def map_words(
    encoder: pd.DataFrame, budgets: Sequence[int], pictures: int, test: int, seed: int, device: str
) -> pd.DataFrame:
    """Zero-shot through one linear map that was fitted to a few labelled pictures, beside plain words and a probe.

    Args:
        encoder, pictures, test: as in :func:`read`.
        budgets: pictures that are labelled with everything.

    Returns:
        metrics "zero_shot" (no labels), "mapped" and "frozen" (a probe on the embedding, the same labels) by labels.
    """
    model = _restored(encoder, seed, device)
    known, asked = pool(pictures, seed, device), _tests([USUAL], test, seed, device)[USUAL]
    classes, x, z = _classes(model, ASKED), clip.embed(model, known.images), clip.embed(model, asked.images)
    scale = model.logit_scale.exp().item()
    rows = list(_ask_in_words(z, asked, classes))
    for n in budgets:
        chosen = torch.cat(budget(known.labels, tuple(ASKED), n, seed))
        answers = {factor: values[chosen] for factor, values in known.labels.items()}
        mapped = z @ fit_word_map(x[chosen], answers, classes, scale=scale)
        for factor, weights in classes.items():
            right = zero_shot_accuracy(mapped, weights, asked.labels[factor])
            rows.append(_row("mapped", factor, right, labels=n))
        probes = fit_probes(x[chosen], answers, strengths=STRENGTHS, seed=seed)
        rows += [_row("frozen", f, v, labels=n) for f, v in probes.accuracy(z, asked.labels).items()]
    return pd.DataFrame(rows)
