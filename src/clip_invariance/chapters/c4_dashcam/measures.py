"""Chapter 4, measuring: what can be read about a dashcam picture from an encoder, in words and with labels.

Nothing before the last section asks for our own encoders: a :class:`chapters.c4_dashcam.readers.Reader` is two functions,
and whatever offers them can be measured the same way, on the same scenes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor

from clip_invariance.captions import prompts
from clip_invariance.chapters.c4_dashcam.readers import Reader, clip_reader, pixel_reader, wordless_reader
from clip_invariance.chapters.c4_dashcam.training import (
    CROSSING,
    NOBODY,
    SIZE,
    TOWER,
    Arm,
    Schedule,
    captions_of,
    sample_scenes,
)
from clip_invariance.errors import UsageError
from clip_invariance.measure.counterfactual import d_prime
from clip_invariance.measure.decodability import few_shot, fit_probes, knn_accuracy, probe_factors
from clip_invariance.measure.invariance import class_distance
from clip_invariance.measure.tables import Row, row, rows
from clip_invariance.measure.zero_shot import zero_shot_accuracy, zero_shot_scores, zero_shot_weights
from clip_invariance.models import clip
from clip_invariance.training import encoders
from clip_invariance.worlds import dashcam
from clip_invariance.worlds.dashcam import WORDS, Scenes

if TYPE_CHECKING:
    from open_clip.model import CLIP

#: What is asked for, and the values of the factor that occur.
ASKED: dict[str, tuple[int, ...]] = {
    "light": (0, 1),
    "pedestrian": (NOBODY, CROSSING),
    "car_colour": (0, 1, 2, 3, 4, 5),
    "body": (0, 1, 2),
    "distance": (0, 1),
    "weather": (0, 1),
    "time": (0, 1, 2),
    "place": (0, 1),
}
#: Matched pairs: factor -> its two values. The car changes its colour as the light does.
PAIRED = {"light": (0, 1), "pedestrian": (NOBODY, CROSSING), "car_colour": (0, 2)}
#: Of the factors with few-shot curves.
FEW = ("light", "pedestrian", "car_colour")
RED, GREEN = 0, 1
#: A car may brake needlessly at this share of the green lights.
FALSE_STOPS = 0.01
SHUFFLES = 3
#: Depths at which only probes are asked: parts of the embedding, which nobody uses on their own.
PARTS = ("span", "rest")
#: Measured scenes are none of those trained on.
_MEASURED, _MATCHED = 100_000, 200_000


# ---------------------------------------------------------------- pictures


@dataclass(frozen=True)
class Pictures:
    """Scenes drawn and labelled: ``labels`` number the values in ASKED from 0."""

    images: Tensor
    labels: dict[str, Tensor]

    def __getitem__(self, which: slice) -> Pictures:
        return Pictures(self.images[which], {factor: values[which] for factor, values in self.labels.items()})


@lru_cache(maxsize=2)
def measured_pictures(n: int, seed: int, light_size: str, device: str) -> Pictures:
    """Scenes to measure on, like those of training and none of them."""
    return drawn(sample_scenes(n, seed + _MEASURED, light_size), device)


def drawn(scenes: Scenes, device: str) -> Pictures:
    """Scenes as pictures of SIZE pixels, with the labels of everything in ASKED."""
    images = dashcam.render(scenes, size=SIZE, device=device)
    return Pictures(images, {factor: column.to(device) for factor, column in labels_of(scenes).items()})


def labels_of(scenes: Scenes) -> dict[str, Tensor]:
    """Factor of ASKED -> the values that occur, numbered from 0."""
    return {factor: torch.searchsorted(torch.tensor(values), scenes.labels[factor]) for factor, values in ASKED.items()}


@lru_cache(maxsize=2)
def matched_pictures(n: int, seed: int, light_size: str, device: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Factor of PAIRED -> n pictures with its first and the same n scenes with its second value, noise included."""
    scenes = sample_scenes(n, seed + _MATCHED, light_size)

    def picture(factor: str, value: int) -> Tensor:
        return dashcam.render(dashcam.change(scenes, factor, value), size=SIZE, device=device)

    return {factor: (picture(factor, one), picture(factor, other)) for factor, (one, other) in PAIRED.items()}


# ---------------------------------------------------------------- measures


def read_scenes(reader: Reader, fit: Pictures, test: Pictures, *, shots: Sequence[int], seed: int) -> Iterator[Row]:
    """Everything that can be read from random scenes.

    Args:
        reader: the encoder.
        fit: pictures with labels to fit probes on; zero-shot does not use them.
        test: other pictures, used once.
        shots: numbers of labels per class of the few-shot probes.
        seed: of splits, shuffles and choices of labels.

    Yields:
        rows with metric, depth, factor, labels (per class; 0: all), value. Metrics: "probe", "few_shot", "knn",
        "shuffled", "zero_shot" are accuracies, "false_go" a rate (see :func:`false_go_rate`), "called_red" the share
        of the scenes with a car of that colour whose light the words call red.
    """
    fitted, tested = reader.features(fit.images), reader.features(test.images)
    for depth, x in fitted.items():
        z = tested[depth]
        probes = fit_probes(x, fit.labels, seed=seed)
        yield from rows("probe", probes.accuracy(z, test.labels), depth=depth)
        logits = probes.logits(z)["light"]
        rate = false_go_rate(logits[:, RED] - logits[:, GREEN], test.labels["light"])
        yield row("false_go", rate, depth=depth, factor="light")
        if depth in PARTS:
            continue
        yield from rows("knn", knn_accuracy(x, fit.labels, z, test.labels), depth=depth)
        few_labels, few_answers = ({f: part.labels[f] for f in FEW} for part in (fit, test))
        few = few_shot(x, few_labels, z, few_answers, counts=shots, seed=seed)
        means = few.groupby(["factor", "count"], sort=False, as_index=False)["accuracy"].mean()
        for factor, count, accuracy in means.itertuples(index=False):
            yield row("few_shot", float(accuracy), depth=depth, factor=str(factor), labels=int(str(count)))
        if depth == "embedding":
            shuffled = [
                probe_factors(x, fit.labels, z, test.labels, shuffle=True, seed=seed + 1000 * k)
                for k in range(SHUFFLES)
            ]
            means_of = {f: sum(s[f] for s in shuffled) / SHUFFLES for f in fit.labels}
            yield from rows("shuffled", means_of, depth=depth)
    if reader.texts is not None:
        yield from _ask_in_words(reader.texts, tested["embedding"], test.labels)


def _ask_in_words(
    texts: Callable[[Sequence[str]], Tensor], embedding: Tensor, labels: Mapping[str, Tensor]
) -> Iterator[Row]:
    for factor in labels:
        classes = word_classes(texts, factor)
        right = zero_shot_accuracy(embedding, classes, labels[factor])
        yield row("zero_shot", right, depth="words", factor=factor)
        if factor == "light":
            scores = zero_shot_scores(embedding, classes)
            red = scores[:, RED] - scores[:, GREEN]
            yield row("false_go", false_go_rate(red, labels[factor]), depth="words", factor=factor)
            for value, colour in enumerate(dashcam.FACTORS["car_colour"]):
                called_red = red[labels["car_colour"] == value] > 0
                yield row("called_red", float(called_red.float().mean()), depth="words", factor=f"{colour} car")


def word_classes(texts: Callable[[Sequence[str]], Tensor], factor: str) -> Tensor:
    """Zero-shot classifier of a factor: every template with every wording, none chosen."""
    wordings = prompts(WORDS, factor)
    return zero_shot_weights(texts, [wordings[value] for value in ASKED[factor]])


def read_pairs(
    reader: Reader, pairs: Mapping[str, tuple[Tensor, Tensor]], test: Pictures, *, seed: int
) -> Iterator[Row]:
    """How far apart the two pictures of a matched pair are.

    Args:
        reader: the encoder.
        pairs: see :func:`matched_pictures`.
        test: pictures whose mean distance between car colours is the yardstick.
        seed: of the halves that d' is fitted and measured on.

    Yields:
        rows as :func:`read_scenes`: "d_prime" along the best direction, "distance" in yardsticks.
    """
    yardstick = {
        depth: class_distance(x, test.labels["car_colour"]) for depth, x in reader.features(test.images).items()
    }
    for factor, (one, other) in pairs.items():
        before, after = reader.features(one), reader.features(other)
        for depth, x in before.items():
            if depth in PARTS:
                continue
            detected = d_prime(x, after[depth], discriminant=True, seed=seed)
            yield row("d_prime", detected, depth=depth, factor=factor)
            apart = float(torch.linalg.vector_norm(x - after[depth], dim=1).mean())
            yield row("distance", apart / yardstick[depth], depth=depth, factor=factor)


def false_go_rate(stop: Tensor, light: Tensor, false_stops: float = FALSE_STOPS) -> float:
    """Share of red lights that a car drives through, if it stops needlessly at ``false_stops`` of the green ones.

    Args:
        stop: (n,) how much speaks for red.
        light: (n,) 0 red, 1 green.
        false_stops: where on the curve of the two errors the rate is read.

    Raises:
        UsageError: if one of the two colours does not occur.
    """
    red, green = stop[light == RED], stop[light == GREEN]
    if not len(red) or not len(green):
        raise UsageError("light: a false-go rate needs red and green lights")
    return float((red <= torch.quantile(green.float(), 1 - false_stops)).float().mean())


# ---------------------------------------------------------------- units


@dataclass(frozen=True)
class Amount:
    """How much an encoder is measured on.

    Attributes:
        fit, test: pictures that probes are fitted on, and other ones that all is tested on.
        pairs: matched pairs of each factor in PAIRED.
        shots: labels per class of the few-shot probes.
    """

    fit: int
    test: int
    pairs: int
    shots: tuple[int, ...]

    def pictures(self, seed: int, light_size: str, device: str) -> tuple[Pictures, Pictures]:
        """To fit on and to test on."""
        both = measured_pictures(self.fit + self.test, seed, light_size, device)
        return both[: self.fit], both[self.fit :]


def restored(encoder: pd.DataFrame, arm: Arm, seed: int, device: str, step: int | None = None) -> CLIP:
    """The encoder from the table of :func:`training.train`, by default as it was at the end."""
    return encoders.trained(
        encoder, tower=TOWER, size=SIZE, seed=seed, embed_dim=arm.embed_dim, step=step, device=device
    )


def measure(
    arm: Arm, schedule: Schedule, amount: Amount, seed: int, device: str, encoder: pd.DataFrame
) -> pd.DataFrame:
    """All measures of one trained encoder.

    Args:
        arm, schedule, seed, device: as it was trained.
        amount: how much it is measured on.
        encoder: the table of :func:`training.train`.

    Returns:
        see :func:`read_scenes` and :func:`read_pairs`.
    """
    model = restored(encoder, arm, seed, device)
    if arm.objective == "captions":
        scenes = sample_scenes(schedule.images, seed, arm.light_size)
        reader = clip_reader(model, captions_of(scenes, arm.mention, arm.filler, seed).texts)
    else:
        reader = wordless_reader(model)
    return _measured(reader, arm.light_size, amount, seed, device)


def measure_pixels(light_size: str, amount: Amount, seed: int, device: str) -> pd.DataFrame:
    """The same measures without an encoder; arguments and result as :func:`measure`."""
    return _measured(pixel_reader(), light_size, amount, seed, device)


def _measured(reader: Reader, light_size: str, amount: Amount, seed: int, device: str) -> pd.DataFrame:
    fit, test = amount.pictures(seed, light_size, device)
    return pd.DataFrame(
        [
            *read_scenes(reader, fit, test, shots=amount.shots, seed=seed),
            *read_pairs(reader, matched_pictures(amount.pairs, seed, light_size, device), test, seed=seed),
        ]
    )


def measure_course(arm: Arm, amount: Amount, seed: int, device: str, encoder: pd.DataFrame) -> pd.DataFrame:
    """What can be read at each moment of a training whose weights were kept; arguments as for :func:`measure`.

    Returns:
        rows as :func:`read_scenes` with a column ``at``, the number of steps; metrics "probe" and "zero_shot".
    """
    fit, test = amount.pictures(seed, arm.light_size, device)
    answers, wanted = ({f: part.labels[f] for f in FEW} for part in (fit, test))
    found: list[Row] = []
    for at in encoder.step.tolist():
        model = restored(encoder, arm, seed, device, at)
        reader = wordless_reader(model)
        x, z = reader.features(fit.images), reader.features(test.images)
        for depth in x:
            found += rows("probe", probe_factors(x[depth], answers, z[depth], wanted, seed=seed), depth=depth, at=at)
        for factor in FEW:
            classes = word_classes(partial(clip.encode_texts, model), factor)
            right = zero_shot_accuracy(z["embedding"], classes, wanted[factor])
            found.append(row("zero_shot", right, depth="words", factor=factor, at=at))
    return pd.DataFrame(found)
