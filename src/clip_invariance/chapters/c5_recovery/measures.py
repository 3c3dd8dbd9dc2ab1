"""Chapter 5, measuring: what can be read from a frozen encoder, with how many labels, at which depth, under which shift.

Rows are those of :func:`measure.tables.row`, of the embedding unless it says otherwise; ``labels`` are labelled pictures
in all, those for validation included. Two more columns: ``test`` (of :data:`pictures.TESTS`) and ``share`` (position
between the original and the tuned weights, 1 where nothing is interpolated).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor

from clip_invariance.captions import prompts
from clip_invariance.chapters.c4_dashcam.measures import ASKED, Pictures
from clip_invariance.chapters.c4_dashcam.training import SIZE, TOWER
from clip_invariance.chapters.c4_dashcam.training import Arm as DashcamArm
from clip_invariance.chapters.c5_recovery.pictures import CAPTIONED, LOST, USUAL, budget, exams, pool
from clip_invariance.chapters.c5_recovery.training import Arm
from clip_invariance.measure.decodability import fit_probes, probe_factors
from clip_invariance.measure.stages import stages
from clip_invariance.measure.tables import Row
from clip_invariance.measure.tables import row as any_row
from clip_invariance.measure.word_map import fit_word_map
from clip_invariance.measure.zero_shot import zero_shot_accuracy, zero_shot_weights
from clip_invariance.models import clip
from clip_invariance.training import encoders
from clip_invariance.worlds.dashcam import WORDS

if TYPE_CHECKING:
    from open_clip.model import CLIP

#: One of chapter 4's encoders, or one of this chapter's own.
Encoder = DashcamArm | Arm

#: Inverse penalties that a probe chooses from: wider than chapter 4's, as budgets go down to a few labels.
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


@dataclass(frozen=True)
class Amount:
    """Pictures that labels can be bought for, and pictures of each test."""

    pool: int
    test: int

    def known(self, seed: int, device: str) -> Pictures:
        """The pool."""
        return pool(self.pool, seed, device)

    def tests(self, names: Sequence[str], seed: int, device: str) -> dict[str, Pictures]:
        """Some of the tests; see :func:`pictures.exams`."""
        drawn = exams(self.test, seed, device)
        return {name: drawn[name] for name in names}


def row(metric: str, factor: str, value: float, *, depth: str = "embedding", test: str = USUAL, labels: int = 0,
        share: float = 1.0) -> Row:  # fmt: skip
    """One measurement of this chapter."""
    return any_row(metric, value, depth=depth, factor=factor, labels=labels, test=test, share=share)


def restored(encoder: pd.DataFrame, seed: int, device: str) -> CLIP:
    """The encoder from the table of its training."""
    return encoders.trained(encoder, tower=TOWER, size=SIZE, seed=seed, device=device)


def read(
    arm: Encoder,
    words: bool,
    tests: Sequence[str],
    amount: Amount,
    seed: int,
    device: str,
    encoder: pd.DataFrame,
) -> pd.DataFrame:
    """What can be read from a frozen encoder about everything: by probes with all labels of the pool, and in words.

    Args:
        arm: which encoder that is, for the table.
        words: whether the encoder was trained with captions.
        tests: those in which words are asked, the usual one among them.
        amount: how many pictures.
        encoder: the table of its training.

    Returns:
        metrics "probe" (as usual) and "zero_shot"; the latter for what captions name in every test.
    """
    known, asked = amount.known(seed, device), amount.tests(tests, seed, device)
    return pd.DataFrame(read_everything(restored(encoder, seed, device), words, known, asked, seed))


def read_everything(
    model: CLIP, words: bool, known: Pictures, asked: Mapping[str, Pictures], seed: int
) -> Iterator[Row]:
    """The rows of :func:`read`."""
    embeddings = {name: clip.embed(model, pictures.images) for name, pictures in asked.items()}
    accuracies = probe_factors(
        clip.embed(model, known.images), known.labels, embeddings[USUAL], asked[USUAL].labels, seed=seed
    )
    yield from (row("probe", factor, value) for factor, value in accuracies.items())
    if words:
        classes = word_classes(model, ASKED)
        everywhere = {factor: classes[factor] for factor in (*CAPTIONED, *LOST)}
        for name, pictures in asked.items():
            yield from ask_in_words(embeddings[name], pictures, classes if name == USUAL else everywhere, name)


def word_classes(model: CLIP, factors: Sequence[str] | Mapping[str, Any]) -> dict[str, Tensor]:
    """Zero-shot classifiers as :func:`chapters.c4_dashcam.measures.word_classes` makes them, all texts encoded at once."""
    wordings = {factor: [prompts(WORDS, factor)[value] for value in ASKED[factor]] for factor in factors}
    texts = list(dict.fromkeys(text for values in wordings.values() for wording in values for text in wording))
    encoded = dict(zip(texts, clip.encode_texts(model, texts), strict=True))
    return {
        factor: zero_shot_weights(lambda wording: torch.stack([encoded[text] for text in wording]), values)
        for factor, values in wordings.items()
    }


def ask_in_words(
    embeddings: Tensor, pictures: Pictures, classes: Mapping[str, Tensor], test: str = USUAL, share: float = 1.0
) -> Iterator[Row]:
    """Zero-shot accuracy from the embeddings of pictures."""
    for factor, weights in classes.items():
        right = zero_shot_accuracy(embeddings, weights, pictures.labels[factor])
        yield row("zero_shot", factor, right, test=test, share=share)


def probe_by_labels(
    arm: Encoder,
    budgets: Sequence[int],
    every_depth: bool,
    tests: Sequence[str],
    amount: Amount,
    seed: int,
    device: str,
    encoder: pd.DataFrame,
) -> pd.DataFrame:
    """Probes for light and pedestrian by number of labelled pictures, their regularisation chosen within the budget.

    Args:
        budgets: labelled pictures in all.
        every_depth: read the stages of the tower as well.
        arm, tests, amount, encoder: as in :func:`read`.

    Returns:
        metric "frozen" by depth, labels and test.
    """
    model = restored(encoder, seed, device)
    known, asked = amount.known(seed, device), amount.tests(tests, seed, device)
    x = stages(model, known.images)
    z = {name: stages(model, part.images) for name, part in asked.items()}
    depths = [depth for depth in x if every_depth or depth in ("backbone", "embedding")]
    return pd.DataFrame(
        found
        for depth in depths
        for found in _by_labels(depth, x[depth], {name: z[name][depth] for name in z}, known, asked, budgets, seed)
    )


def pixels_by_labels(budgets: Sequence[int], amount: Amount, seed: int, device: str) -> pd.DataFrame:
    """The control of :func:`probe_by_labels` without any network: probes on the pixels of the same labelled pictures.

    Returns:
        metric "frozen", depth "pixels", by labels, tested as usual.
    """
    known, asked = amount.known(seed, device), amount.tests([USUAL], seed, device)
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
                yield row("frozen", task, right, depth=depth, test=name, labels=n)


def map_words(
    arm: Encoder, budgets: Sequence[int], amount: Amount, seed: int, device: str, encoder: pd.DataFrame
) -> pd.DataFrame:
    """Zero-shot through one linear map that was fitted to a few labelled pictures, beside plain words and a probe.

    Args:
        arm, amount, encoder: as in :func:`read`.
        budgets: pictures that are labelled with everything.

    Returns:
        metrics "zero_shot" (no labels), "mapped" and "frozen" (a probe on the embedding, the same labels) by labels.
    """
    model = restored(encoder, seed, device)
    known, asked = amount.known(seed, device), amount.tests([USUAL], seed, device)[USUAL]
    classes, x, z = word_classes(model, ASKED), clip.embed(model, known.images), clip.embed(model, asked.images)
    scale = model.logit_scale.exp().item()
    found = list(ask_in_words(z, asked, classes))
    for n in budgets:
        chosen = torch.cat(budget(known.labels, tuple(ASKED), n, seed))
        answers = {factor: values[chosen] for factor, values in known.labels.items()}
        mapped = z @ fit_word_map(x[chosen], answers, classes, scale=scale)
        for factor, weights in classes.items():
            right = zero_shot_accuracy(mapped, weights, asked.labels[factor])
            found.append(row("mapped", factor, right, labels=n))
        probes = fit_probes(x[chosen], answers, strengths=STRENGTHS, seed=seed)
        found += [row("frozen", f, v, labels=n) for f, v in probes.accuracy(z, asked.labels).items()]
    return pd.DataFrame(found)
