"""Chapter 4's measurement for any encoder: what it keeps of a traffic light, a pedestrian and a car.

Scenes are drawn at the size that the encoder wants, block by block; only features are kept. Every repetition has scenes
of its own, for the encoder, for its untrained twin and for the pixels alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from clip_invariance.chapters.c4_dashcam import photographs
from clip_invariance.chapters.c4_dashcam.measures import (
    ASKED,
    FALSE_STOPS,
    FEW,
    PAIRED,
    Pictures,
    labels_of,
    read_pairs,
    read_scenes,
    word_classes,
)
from clip_invariance.chapters.c4_dashcam.readers import Reader, pixel_reader
from clip_invariance.chapters.c4_dashcam.tables import CHANCE
from clip_invariance.chapters.c4_dashcam.training import SIZE, sample_scenes
from clip_invariance.errors import UsageError
from clip_invariance.measure.bootstrap import share_of_images
from clip_invariance.measure.decodability import few_shot, knn_accuracy, probe_factors
from clip_invariance.measure.statistics import summarise
from clip_invariance.measure.zero_shot import zero_shot_accuracy
from clip_invariance.worlds import dashcam
from clip_invariance.worlds.dashcam import Scenes
from clip_invariance.worlds.traffic_lights import SPLITS, Split

Row = dict[str, Any]

AUDITED, UNTRAINED, PIXELS, GREY = "this encoder", "untrained", "pixels", "grey pixels"
"""Whose features were read."""
PHOTOGRAPHS = "photographs"
"""Beside the sizes of the light, the other kind of picture."""
SHOTS = (1, 4, 16, 64)
#: Fewer scenes leave too few of each class, and no hundredth of the green lights to stop at.
FEWEST_SCENES = 200
#: Sides in pixels that scenes are drawn at; a larger encoder gets them enlarged.
_SMALLEST, _LARGEST = 16, 512
#: Scenes drawn before they are encoded, at 224 pixels.
_DRAWN = 128
_SETTLING = 128
#: Audited scenes are none that an encoder of ours was trained on.
_SCENES, _MATCHED = 500_000, 600_000


@dataclass(frozen=True)
class Subject:
    """What is measured: a reader, and the side in pixels of the pictures that it wants."""

    reader: Reader
    size: int


@dataclass(frozen=True)
class Amounts:
    """How much one repetition measures.

    Attributes:
        scenes: random scenes; probes are fitted on one half and tested on the other.
        pairs: matched pairs of each factor.
        shots: labels per class of the few-shot probes, on scenes and on photographs.
        photographs: of each split, at most.
    """

    scenes: int
    pairs: int
    shots: tuple[int, ...]
    photographs: int = 2000

    def pictures(self) -> int:
        """Drawn pictures that an encoder sees in one repetition."""
        return sum(self.scenes + 2 * self.pairs * len(factors) for factors in CHANGED.values())


#: Light size -> what changes in the matched pairs. The large light differs from the small one in nothing else.
CHANGED: dict[str, tuple[str, ...]] = {"small": tuple(PAIRED), "large": ("light",)}


def amounts(scenes_each: int, seeds: int) -> Amounts:
    """What fits ``scenes_each`` scenes for each repetition and light size.

    Raises:
        UsageError: for fewer than FEWEST_SCENES.
    """
    if scenes_each < FEWEST_SCENES:
        raise UsageError(f"--scenes {scenes_each}: at least {FEWEST_SCENES} are needed")
    fit = scenes_each // 2
    smallest = min(
        int(torch.bincount(labels[factor][:fit], minlength=len(ASKED[factor])).min())
        for labels in (labels_of(_random_scenes(scenes_each, seed, "small")) for seed in range(seeds))
        for factor in FEW
    )
    return Amounts(scenes_each, scenes_each // 4, tuple(count for count in SHOTS if count <= smallest))


# ---------------------------------------------------------------- drawing and encoding


def _random_scenes(n: int, seed: int, light_size: str) -> Scenes:
    return sample_scenes(n, seed + _SCENES, light_size)


def drawn_size(size: int) -> int:
    """Side of the drawn pictures for an encoder that wants ``size`` pixels."""
    return min(max(size, _SMALLEST), _LARGEST)


def encode(subject: Subject, shown: Scenes, device: str, advance: Callable[[int], None]) -> dict[str, Tensor]:
    """Features of scenes, drawn block by block: depth -> (n, d). ``advance`` hears how many are done."""
    size = drawn_size(subject.size)
    block = max(1, _DRAWN * 224 * 224 // size**2)
    parts: dict[str, list[Tensor]] = {}
    for start in range(0, len(shown), block):
        pictures = dashcam.render(shown[start : start + block], size=size, device=device)
        for depth, x in subject.reader.features(pictures).items():
            parts.setdefault(depth, []).append(x)
        advance(len(pictures))
    return {depth: torch.cat(part) for depth, part in parts.items()}


def settling_pictures(size: int, seed: int, device: str) -> Tensor:
    """Scenes that batch normalisation of an untrained encoder may see."""
    return dashcam.render(_random_scenes(_SETTLING, seed, "small"), size=drawn_size(size), device=device)


# ---------------------------------------------------------------- measures


def read_drawn(
    subject: Subject, much: Amounts, seed: int, device: str, advance: Callable[[int], None] = lambda _: None
) -> Iterator[Row]:
    """Everything that is measured on drawn pictures, for one repetition.

    Yields:
        rows as :func:`chapters.c4_dashcam.measures.read_scenes` and :func:`read_pairs`, with ``pictures``, the size of the
        light. With the large light only what concerns the light: all else is as with the small one.
    """
    for light_size, factors in CHANGED.items():
        shown = _random_scenes(much.scenes, seed, light_size)
        paired = sample_scenes(much.pairs, seed + _MATCHED, light_size)
        changed = [dashcam.change(paired, factor, value) for factor in factors for value in PAIRED[factor]]
        encoded = [encode(subject, part, device, advance) for part in (shown, *changed)]
        table = {depth: torch.cat([part[depth] for part in encoded]) for depth in encoded[0]}
        reader = Reader(_looked_up(table), subject.reader.texts)
        rows = torch.arange(len(next(iter(table.values()))), device=device)
        scene_rows, *pair_rows = rows.split([much.scenes, *[much.pairs] * len(changed)])
        pictures = Pictures(scene_rows, {factor: x.to(device) for factor, x in labels_of(shown).items()})
        fit, test = pictures[: much.scenes // 2], pictures[much.scenes // 2 :]
        pairs = dict(zip(factors, zip(pair_rows[::2], pair_rows[1::2], strict=True), strict=True))
        found = [
            *read_scenes(reader, fit, test, shots=much.shots, seed=seed),
            *read_pairs(reader, pairs, test, seed=seed),
        ]
        for row in found:
            if light_size == "small" or row["factor"] == "light":
                yield row | {"pictures": light_size}


def _looked_up(table: Mapping[str, Tensor]) -> Callable[[Tensor], Mapping[str, Tensor]]:
    """Features of numbered pictures: nothing is encoded twice."""
    return lambda rows: {depth: x[rows] for depth, x in table.items()}


def read_photographs(
    features: Mapping[Split, Mapping[str, Tensor]], labels: Mapping[Split, Tensor], much: Amounts, seed: int,
    texts: Callable[[Sequence[str]], Tensor] | None = None,
) -> Iterator[Row]:  # fmt: skip
    """Red or green, from photographs of traffic lights alone, fitted and tested on the package's own split.

    Args:
        features: split -> depth -> (n, d).
        labels: split -> (n,), 0 red and 1 green.
        much: how many labels.
        seed: of the choice of labels.
        texts: see :class:`Reader`.

    Yields:
        rows metric ("probe", "few_shot", "knn", "zero_shot"), depth, factor, labels, value, pictures.
    """
    known, asked = ({"light": labels[split].to(next(iter(features[split].values())).device)} for split in SPLITS)
    shots = [count for count in much.shots if count <= int(torch.bincount(known["light"]).min())]

    def row(metric: str, depth: str, value: float, count: int = 0) -> Row:
        return {
            "metric": metric, "depth": depth, "factor": "light", "labels": count, "value": value,
            "pictures": PHOTOGRAPHS,
        }  # fmt: skip

    for depth, x in features["train"].items():
        there = features["test"][depth]
        yield row("probe", depth, probe_factors(x, known, there, asked, seed=seed)["light"])
        yield row("knn", depth, knn_accuracy(x, known, there, asked)["light"])
        few = few_shot(x, known, there, asked, counts=shots, seed=seed)
        for count, accuracy in few.groupby("count")["accuracy"].mean().items():
            yield row("few_shot", depth, float(accuracy), int(str(count)))
    if texts is not None:
        right = zero_shot_accuracy(features["test"]["embedding"], word_classes(texts, "light"), asked["light"])
        yield row("zero_shot", "words", right)


def photograph_features(
    subject: Subject, most: int, device: str, advance: Callable[[int], None] = lambda _: None
) -> tuple[dict[Split, dict[str, Tensor]], dict[Split, Tensor]]:
    """Features and labels of the photographs, see :func:`read_photographs`.

    The crops are twice as high as wide and are stretched to squares: cut to a square, they would lose lamps.
    """
    features: dict[Split, dict[str, Tensor]] = {}
    labels: dict[Split, Tensor] = {}
    size = drawn_size(subject.size)
    for split in SPLITS:
        shown = photographs.chosen(split, size, most)
        parts: dict[str, list[Tensor]] = {}
        for block in shown.images.split(max(1, _DRAWN * 224 * 224 // size**2)):
            for depth, x in subject.reader.features(block.to(device)).items():
                parts.setdefault(depth, []).append(x)
            advance(len(block))
        features[split] = {depth: torch.cat(part) for depth, part in parts.items()}
        labels[split] = shown.labels
    return features, labels


def read_pixels(much: Amounts, seed: int, device: str) -> Iterator[Row]:
    """The same scenes and photographs without an encoder, at the chapter's own small sizes."""
    reader = pixel_reader()
    photos = photograph_features(Subject(reader, photographs.PIXELS), much.photographs, device)
    yield from read_drawn(Subject(reader, SIZE), much, seed, device)
    yield from read_photographs(*photos, much, seed)


# ---------------------------------------------------------------- the table


def tabulate(rows: Sequence[Row], tested_photographs: int) -> pd.DataFrame:
    """Collapse repetitions into the table of an audit.

    Args:
        rows: all rows, with ``encoder`` and ``seed``.
        tested_photographs: how many there are.

    Returns:
        encoder, pictures, factor, metric, depth, labels (per class; 0: all), value, low, high, n, interval ("repetitions"
        or "photographs"), chance. In percent, but for d_prime; distance is in percent of that between car colours. The
        interval is over repetitions. Where nothing varies between them, this encoder read with all labels on the same
        photographs, it is Wilson's, over test photographs.
    """
    frame = pd.DataFrame(rows)
    names = frame["encoder"].where(~frame["depth"].isin([PIXELS, GREY]), frame["depth"])
    frame = frame.assign(encoder=names, value=frame["value"].where(frame["metric"] == "d_prime", 100 * frame["value"]))
    by = ["encoder", "pictures", "factor", "metric", "depth", "labels"]
    table = summarise(frame, by, "value").assign(interval="repetitions")
    fixed = (table["pictures"] == PHOTOGRAPHS) & (table["labels"] == 0) & (table["encoder"] != UNTRAINED)
    for index, value in table.loc[fixed, "value"].items():
        low, high = share_of_images(value / 100, tested_photographs)
        ends_in_percent = (100 * low, 100 * high, tested_photographs, "photographs")
        table.loc[index, ["low", "high", "n", "interval"]] = pd.Series(
            ends_in_percent, ["low", "high", "n", "interval"]
        )
    return table.assign(chance=list(map(_chance, table["metric"], table["factor"], table["pictures"], table["labels"])))


def _chance(metric: str, factor: str, pictures: str, labels: int) -> float:
    if pictures == PHOTOGRAPHS and labels == 0:
        return photographs.ALWAYS_RED  # what whoever learned from all of them says without looking
    if metric == "d_prime":
        return 0.0
    if metric == "false_go":
        return 100 * (1 - FALSE_STOPS)
    return CHANCE.get(factor, float("nan")) if metric not in ("distance", "called_red") else float("nan")


def find(
    table: pd.DataFrame, encoder: str, pictures: str, metric: str, depth: str = "embedding", factor: str = "light",
    labels: int = 0,
) -> pd.Series | None:  # fmt: skip
    """One row of the table, None if it was not measured. Pixels have one depth only, which need not be named."""
    chosen = (table["encoder"] == encoder) & (table["pictures"] == pictures) & (table["metric"] == metric)
    chosen &= (table["factor"] == factor) & (table["labels"] == labels)
    if encoder not in (PIXELS, GREY):
        chosen &= table["depth"] == depth
    return table[chosen].iloc[0] if chosen.any() else None


#: Rows of the audit's tables: name -> pictures, factor.
THINGS: dict[str, tuple[str, str]] = {
    "small light": ("small", "light"),
    "large light": ("large", "light"),
    "photographed light": (PHOTOGRAPHS, "light"),
    "somebody crossing": ("small", "pedestrian"),
    "car: colour": ("small", "car_colour"),
    "car: body": ("small", "body"),
    "car: distance": ("small", "distance"),
    "weather": ("small", "weather"),
    "time of day": ("small", "time"),
    "city or country": ("small", "place"),
}
#: Whose features are read, and before or after the projection: name -> encoder, depth.
DEPTHS: dict[str, tuple[str, str]] = {
    "embedding": (AUDITED, "embedding"),
    "backbone": (AUDITED, "backbone"),
    "untrained, embedding": (UNTRAINED, "embedding"),
    "untrained, backbone": (UNTRAINED, "backbone"),
    "pixels": (PIXELS, PIXELS),
}
#: Columns of the accuracies: name -> encoder, metric, depth.
READINGS: dict[str, tuple[str, str, str]] = {
    "words": (AUDITED, "zero_shot", "words"),
    "neighbours": (AUDITED, "knn", "embedding"),
    **{name if "," in name or name == PIXELS else f"probe, {name}": (encoder, "probe", depth)
       for name, (encoder, depth) in DEPTHS.items()},
}  # fmt: skip
