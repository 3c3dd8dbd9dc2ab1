"""Chapter 4, measuring: what can be read about a dashcam picture from an encoder, in words and with labels.

Nothing here asks for our own encoders: a :class:`Reader` is two functions, and whatever offers them can be measured
the same way, on the same scenes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor

from clip_invariance.captions import prompts
from clip_invariance.chapters.c4_dashcam.training import (
    CROSSING,
    NOBODY,
    SIZE,
    TOWER,
    Objective,
    captions_of,
    scenes,
)
from clip_invariance.errors import UsageError
from clip_invariance.measure.counterfactual import d_prime
from clip_invariance.measure.decodability import few_shot, fit_probes, knn_accuracy, probe_factors
from clip_invariance.measure.depths import backbone_and_embedding, depths
from clip_invariance.measure.invariance import class_distance
from clip_invariance.measure.zero_shot import zero_shot_accuracy, zero_shot_scores, zero_shot_weights
from clip_invariance.models import clip
from clip_invariance.training import encoders
from clip_invariance.worlds import dashcam
from clip_invariance.worlds.dashcam import WORDS

if TYPE_CHECKING:
    from open_clip.model import CLIP

Row = dict[str, Any]

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
PAIRS = {"light": (0, 1), "pedestrian": (NOBODY, CROSSING), "car_colour": (0, 2)}
#: Of the factors with few-shot curves.
FEW = ("light", "pedestrian", "car_colour")
RED, GREEN = 0, 1
#: A car may brake needlessly at this share of the green lights.
FALSE_STOPS = 0.01
SHUFFLES = 3
#: Measured scenes are none of those trained on.
_MEASURED, _PAIRED = 100_000, 200_000


@dataclass(frozen=True)
class Reader:
    """An encoder, as far as the measures know it.

    Attributes:
        features: uint8 pictures (n, 3, h, w) -> depth -> (n, d), any number of depths. "embedding" must be one of
            them if there are texts.
        texts: texts -> (m, d) in the space of "embedding"; None for an encoder that knows no words.
    """

    features: Callable[[Tensor], Mapping[str, Tensor]]
    texts: Callable[[Sequence[str]], Tensor] | None = None


def clip_reader(model: CLIP, captions: Sequence[str]) -> Reader:
    """One of our CLIPs at four depths; ``captions`` say what it can put into words."""
    spoken = clip.encode_texts(model, captions)
    return Reader(
        lambda images: {str(depth): x for depth, x in depths(model, images, spoken).items()},
        partial(clip.encode_texts, model),
    )


def wordless_reader(model: CLIP) -> Reader:
    """The image tower alone, of an encoder that was trained without captions."""

    def features(images: Tensor) -> dict[str, Tensor]:
        backbone, embedding = backbone_and_embedding(model, images)
        return {"backbone": backbone, "embedding": embedding}

    return Reader(features)


def pixel_reader() -> Reader:
    """No encoder at all: the pixels, and the pixels without colour."""

    def features(images: Tensor) -> dict[str, Tensor]:
        pixels = images.float() / 255
        return {"pixels": pixels.flatten(1), "grey pixels": pixels.mean(1).flatten(1)}

    return Reader(features)


# ---------------------------------------------------------------- pictures


@dataclass(frozen=True)
class Pictures:
    """Scenes drawn and labelled: ``labels`` number the values in ASKED from 0."""

    images: Tensor
    labels: dict[str, Tensor]

    def __getitem__(self, which: slice) -> Pictures:
        return Pictures(self.images[which], {factor: values[which] for factor, values in self.labels.items()})


@lru_cache(maxsize=2)
def measured_pictures(n: int, seed: int, light_size: str, device: str, size: int = SIZE) -> Pictures:
    """Scenes to measure on, like those of training and none of them."""
    drawn = scenes(n, seed + _MEASURED, light_size)
    labels = {factor: _numbered(drawn.labels[factor], values) for factor, values in ASKED.items()}
    return Pictures(dashcam.render(drawn, size=size, device=device), {f: v.to(device) for f, v in labels.items()})


def _numbered(column: Tensor, values: tuple[int, ...]) -> Tensor:
    return torch.searchsorted(torch.tensor(values), column)


@lru_cache(maxsize=2)
def matched_pictures(
    n: int, seed: int, light_size: str, device: str, size: int = SIZE
) -> dict[str, tuple[Tensor, Tensor]]:
    """Factor of PAIRS -> n pictures with its first and the same n scenes with its second value, noise included."""
    drawn = scenes(n, seed + _PAIRED, light_size)

    def picture(factor: str, value: int) -> Tensor:
        return dashcam.render(dashcam.change(drawn, factor, value), size=size, device=device)

    return {factor: (picture(factor, one), picture(factor, other)) for factor, (one, other) in PAIRS.items()}


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
    known, asked = reader.features(fit.images), reader.features(test.images)
    for depth, x in known.items():
        probes = fit_probes(x, fit.labels, seed=seed)
        yield from _rows("probe", depth, probes.accuracy(asked[depth], test.labels))
        logits = probes.logits(asked[depth])["light"]
        rate = false_go_rate(logits[:, RED] - logits[:, GREEN], test.labels["light"])
        yield _row("false_go", depth, "light", rate)
        if depth in ("span", "rest"):
            continue
        yield from _rows("knn", depth, knn_accuracy(x, fit.labels, asked[depth], test.labels))
        few_labels, few_answers = ({f: part.labels[f] for f in FEW} for part in (fit, test))
        few = few_shot(x, few_labels, asked[depth], few_answers, counts=shots, seed=seed)
        means = few.groupby(["factor", "count"], sort=False, as_index=False)["accuracy"].mean()
        for factor, count, accuracy in means.itertuples(index=False):
            yield _row("few_shot", depth, factor, accuracy, count)
        if depth == "embedding":
            shuffled = [
                probe_factors(x, fit.labels, asked[depth], test.labels, shuffle=True, seed=seed + 1000 * k)
                for k in range(SHUFFLES)
            ]
            yield from _rows("shuffled", depth, {f: sum(s[f] for s in shuffled) / SHUFFLES for f in fit.labels})
    if reader.texts is not None:
        yield from _ask_in_words(reader.texts, asked["embedding"], test.labels)


def _ask_in_words(
    texts: Callable[[Sequence[str]], Tensor], embedding: Tensor, labels: Mapping[str, Tensor]
) -> Iterator[Row]:
    for factor in labels:
        classes = word_classes(texts, factor)
        yield _row("zero_shot", "words", factor, zero_shot_accuracy(embedding, classes, labels[factor]))
        if factor == "light":
            scores = zero_shot_scores(embedding, classes)
            red = scores[:, RED] - scores[:, GREEN]
            yield _row("false_go", "words", factor, false_go_rate(red, labels[factor]))
            for value, colour in enumerate(dashcam.FACTORS["car_colour"]):
                cars = labels["car_colour"] == value
                yield _row("called_red", "words", f"{colour} car", float((red[cars] > 0).float().mean()))


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
            if depth in ("span", "rest"):
                continue
            yield _row("d_prime", depth, factor, d_prime(x, after[depth], discriminant=True, seed=seed))
            apart = float(torch.linalg.vector_norm(x - after[depth], dim=1).mean())
            yield _row("distance", depth, factor, apart / yardstick[depth])


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


def _row(metric: str, depth: str, factor: object, value: float, labels: object = 0) -> Row:
    return {"metric": metric, "depth": depth, "factor": factor, "labels": labels, "value": float(value)}


def _rows(metric: str, depth: str, values: Mapping[str, float]) -> Iterator[Row]:
    return (_row(metric, depth, factor, value) for factor, value in values.items())


# ---------------------------------------------------------------- units


def measure(
    objective: Objective,
    mention: float,
    light_size: str,
    embed_dim: int,
    filler: bool,
    masked: bool,
    steps: int,
    images: int,
    fit: int,
    test: int,
    pairs: int,
    shots: Sequence[int],
    seed: int,
    device: str,
    encoder: pd.DataFrame,
) -> pd.DataFrame:
    """All measures of one trained encoder; the first eight arguments are those it was trained with.

    Args:
        fit, test, pairs: pictures to fit on, to test on, and matched pairs.
        shots: labels per class of the few-shot probes.
        encoder: the table of :func:`dashcam_training.train`.

    Returns:
        see :func:`read_scenes` and :func:`read_pairs`.
    """
    model = encoders.trained(encoder, tower=TOWER, size=SIZE, seed=seed, embed_dim=embed_dim, device=device)
    if objective == "captions":
        shown = scenes(images, seed, light_size)
        reader = clip_reader(model, captions_of(shown, mention, filler, seed).texts)
    else:
        reader = wordless_reader(model)
    return _measured(reader, light_size, fit, test, pairs, shots, seed, device)


def measure_pixels(
    light_size: str, fit: int, test: int, pairs: int, shots: Sequence[int], seed: int, device: str
) -> pd.DataFrame:
    """The same measures without an encoder; arguments and result as :func:`measure`."""
    return _measured(pixel_reader(), light_size, fit, test, pairs, shots, seed, device)


def _measured(
    reader: Reader, light_size: str, fit: int, test: int, pairs: int, shots: Sequence[int], seed: int, device: str
) -> pd.DataFrame:
    pictures = measured_pictures(fit + test, seed, light_size, device)
    known, asked = pictures[:fit], pictures[fit:]
    rows = [
        *read_scenes(reader, known, asked, shots=shots, seed=seed),
        *read_pairs(reader, matched_pictures(pairs, seed, light_size, device), asked, seed=seed),
    ]
    return pd.DataFrame(rows)


def measure_course(
    mention: float,
    light_size: str,
    embed_dim: int,
    steps: int,
    fit: int,
    test: int,
    seed: int,
    device: str,
    encoder: pd.DataFrame,
) -> pd.DataFrame:
    """What can be read at each moment of a training whose weights were kept; ``steps`` is all of it.

    Returns:
        rows as :func:`read_scenes` with a column ``at``, the number of steps; metrics "probe" and "zero_shot".
    """
    pictures = measured_pictures(fit + test, seed, light_size, device)
    known, asked = pictures[:fit], pictures[fit:]
    answers, wanted = ({f: part.labels[f] for f in FEW} for part in (known, asked))
    rows = []
    for at in encoder.step.tolist():
        model = encoders.trained(
            encoder, tower=TOWER, size=SIZE, seed=seed, embed_dim=embed_dim, step=at, device=device
        )
        reader = wordless_reader(model)
        x, y = reader.features(known.images), reader.features(asked.images)
        found = [
            row
            for depth in x
            for row in _rows("probe", depth, probe_factors(x[depth], answers, y[depth], wanted, seed=seed))
        ]
        for factor in FEW:
            classes = word_classes(partial(clip.encode_texts, model), factor)
            found.append(
                _row("zero_shot", "words", factor, zero_shot_accuracy(y["embedding"], classes, wanted[factor]))
            )
        rows += [row | {"at": at, "steps": steps} for row in found]
    return pd.DataFrame(rows)
