"""Chapter 4, tables: from the measurements to what the figures show. Accuracies and rates are in percent."""

from __future__ import annotations

import pandas as pd

from clip_invariance.chapters.c4_dashcam.arms import (
    ARMS,
    BY_RATE,
    CONTROLS,
    LABELS,
    LARGE,
    PATIENT,
    SILENT,
    SOMETIMES,
    TALKATIVE,
    UNTRAINED,
    UNTRAINED_WIDE,
    VIEWS,
)
from clip_invariance.chapters.c4_dashcam.measures import ASKED
from clip_invariance.chapters.c4_dashcam.training import CROSSING, SIZE, Arm, sample_scenes
from clip_invariance.measure.tables import Row, interval, per_seed, percent, point, select
from clip_invariance.worlds import dashcam

CHANCE = {factor: 100 / len(values) for factor, values in ASKED.items()}
#: What the captions of SILENT leave out.
UNMENTIONED = ("light", "pedestrian", "distance", "weather", "time", "place")
#: Ways to ask an encoder: name -> metric and depth.
READINGS = {
    "words": {"metric": "zero_shot", "depth": "words"},
    "probe, embedding": {"metric": "probe", "depth": "embedding"},
    "probe, backbone": {"metric": "probe", "depth": "backbone"},
}
NEVER, ALWAYS, ON_LABELS = "captions never mention it", "captions always mention it", "trained on labels"


def probe(table: pd.DataFrame, arm: Arm, factor: str = "light", depth: str = "embedding") -> pd.Series:
    """Accuracy of a linear probe with all labels, per seed."""
    return percent(table, arm=arm, metric="probe", depth=depth, factor=factor)


def of_pixels(pixels: pd.DataFrame, light_size: str, factor: str, depth: str = "pixels") -> pd.Series:
    """The same without an encoder."""
    return percent(pixels, light_size=light_size, metric="probe", depth=depth, factor=factor)


def mention(table: pd.DataFrame, pixels: pd.DataFrame) -> pd.DataFrame:
    """Accuracy against mention rate for the light of each size and the pedestrian, with the lines to compare it with.

    Returns:
        panel, series, mention (nan for a level that has none), value, low, high, n.
    """
    rows: list[Row] = []
    for panel, light_size, factor in (
        ("small light", "small", "light"),
        ("large light", "large", "light"),
        ("somebody crossing", "small", "pedestrian"),
    ):
        for rate, arm in BY_RATE[light_size].items():
            for series, reading in READINGS.items():
                samples = percent(table, arm=arm, factor=factor, **reading)
                rows += point(samples, panel=panel, series=series, mention=rate)
        levels = {
            ON_LABELS: probe(table, LABELS[light_size], factor),
            "untrained": probe(table, UNTRAINED[light_size], factor),
            "pixels": of_pixels(pixels, light_size, factor),
        }
        for series, samples in levels.items():
            rows += point(samples, panel=panel, series=series)
        rows.append({"panel": panel, "series": "chance", "value": CHANCE[factor]})
    return pd.DataFrame(rows)[["panel", "series", "mention", "value", "low", "high", "n"]]


def matched_pairs(table: pd.DataFrame) -> pd.DataFrame:
    """d' and distance of matched pairs, for what captions skip and what they mention.

    Returns:
        metric ("d_prime" or "distance", in percent of the distance between car colours), change, captions, value ...
    """
    small = {"never": SILENT, "in one of ten": SOMETIMES, "always": TALKATIVE, "untrained": UNTRAINED["small"]}
    large = {"never": LARGE, "always": BY_RATE["large"][1.0], "untrained": UNTRAINED["large"]}
    rows: list[Row] = []
    for metric, unit in (("d_prime", 1), ("distance", 100)):
        for change, factor, arms in (
            ("small light", "light", small),
            ("somebody crossing", "pedestrian", small),
            ("car: red or green", "car_colour", small),
            ("large light", "light", large),
        ):
            for captions, arm in arms.items():
                samples = unit * per_seed(table, arm=arm, metric=metric, depth="embedding", factor=factor)
                rows += point(samples, metric=metric, change=change, captions=captions)
    return pd.DataFrame(rows)


def unmentioned(table: pd.DataFrame, pixels: pd.DataFrame) -> pd.DataFrame:
    """What can be read about every factor from the encoder whose captions name the car alone, and the controls.

    Returns:
        factor, series, value ..., mentioned; series "chance" without an interval.
    """
    rows: list[Row] = []
    for factor in ASKED:
        series = {
            "embedding": probe(table, SILENT, factor),
            "backbone": probe(table, SILENT, factor, "backbone"),
            "span of the texts": probe(table, SILENT, factor, "span"),
            "untrained": probe(table, UNTRAINED["small"], factor),
            "shuffled labels": percent(table, arm=SILENT, metric="shuffled", depth="embedding", factor=factor),
            "pixels": of_pixels(pixels, "small", factor),
            "grey pixels": of_pixels(pixels, "small", factor, "grey pixels"),
        }
        rows += [{"factor": factor, "series": name, **interval(samples)} for name, samples in series.items()]
        rows.append({"factor": factor, "series": "chance", "value": CHANCE[factor]})
    frame = pd.DataFrame(rows)
    return frame.assign(mentioned=~frame["factor"].isin(UNMENTIONED))


def labels_needed(table: pd.DataFrame) -> pd.DataFrame:
    """Accuracy for the small light against labels per class (0: all), and zero-shot and neighbours for the same.

    Returns:
        encoder, metric ("few_shot", "probe", "knn", "zero_shot"), labels, value ...
    """
    encoders = {
        NEVER: (SILENT, ["embedding", "words"]),
        "the same, backbone": (SILENT, ["backbone"]),
        ALWAYS: (TALKATIVE, ["embedding", "words"]),
        ON_LABELS: (LABELS["small"], ["embedding"]),
        "untrained": (UNTRAINED["small"], ["embedding", "words"]),
        "two views, no captions": (VIEWS, ["embedding"]),
    }
    rows: list[Row] = []
    for encoder, (arm, depths) in encoders.items():
        metrics = ["few_shot", "probe", "knn", "zero_shot"]
        asked = select(table, arm=arm, factor="light", depth=depths, metric=metrics)
        for (metric, labels), group in asked.groupby(["metric", "labels"], sort=False):
            rows += point(percent(group), encoder=encoder, metric=metric, labels=labels)
    return pd.DataFrame(rows)


def decision(table: pd.DataFrame) -> pd.DataFrame:
    """False-go rate at 1 % false stops, by mention rate, light size and way of reading.

    Returns:
        light_size, reader ("words", "probe, embedding", "probe, backbone"; "trained on labels" and "untrained": probes on
        the embedding), mention, value ...
    """
    rows: list[Row] = []
    for light_size, arms in BY_RATE.items():
        for rate, arm in arms.items():
            for reader, reading in READINGS.items():
                samples = percent(table, arm=arm, metric="false_go", depth=reading["depth"], factor="light")
                rows += point(samples, light_size=light_size, reader=reader, mention=rate)
        for reader, arm in ((ON_LABELS, LABELS[light_size]), ("untrained", UNTRAINED[light_size])):
            samples = percent(table, arm=arm, metric="false_go", depth="embedding", factor="light")
            rows += point(samples, light_size=light_size, reader=reader)
    return pd.DataFrame(rows)


def size_and_mention(table: pd.DataFrame) -> pd.DataFrame:
    """How well a thing is read against how much of the picture it takes, mentioned or not.

    Returns:
        thing, area (median visible pixels), mention, value ... Values are 0 for chance and 100 for always right.
    """
    areas = {light_size: _areas(light_size) for light_size in BY_RATE}
    rows: list[Row] = []
    for thing, light_size, factor, owner in (
        ("small light", "small", "light", "lamp"),
        ("somebody crossing", "small", "pedestrian", "pedestrian"),
        ("car", "small", "car_colour", "car"),
        ("large light", "large", "light", "lamp"),
    ):
        for rate, arm in BY_RATE[light_size].items():
            always = factor == "car_colour"
            if always and rate > 0:
                continue  # the car is named in every caption, whatever else is
            above = 100 * (probe(table, arm, factor) - CHANCE[factor]) / (100 - CHANCE[factor])
            rows += point(above, thing=thing, area=areas[light_size][owner], mention=1.0 if always else rate)
    return pd.DataFrame(rows)


def _areas(light_size: str, n: int = 300) -> dict[str, float]:
    scenes = dashcam.change(sample_scenes(n, 0, light_size), "pedestrian", CROSSING)
    return {owner: round(float(area.median()), 1) for owner, area in dashcam.areas(scenes, size=SIZE).items()}


def controls(table: pd.DataFrame) -> pd.DataFrame:
    """The small light under every control: encoder, series, value ..."""
    arms = {
        NEVER: SILENT,
        **CONTROLS,
        "two views, no captions": VIEWS,
        "untrained": UNTRAINED["small"],
        "untrained, wider embedding": UNTRAINED_WIDE,
        ALWAYS: TALKATIVE,
        "the same, three times as long": PATIENT[1.0],
        ON_LABELS: LABELS["small"],
    }
    rows: list[Row] = []
    for encoder, arm in arms.items():
        for series, reading in READINGS.items():
            rows += point(percent(table, arm=arm, factor="light", **reading), encoder=encoder, series=series)
    return pd.DataFrame(rows)


def course(table: pd.DataFrame) -> pd.DataFrame:
    """Accuracy during training: mention, steps (of the whole training), at, factor, series, value ..."""
    rows: list[Row] = []
    for arm in (arm for arm in ARMS if arm.course):
        of_arm = select(table, arm=arm)
        for (at, metric, depth, factor), group in of_arm.groupby(["at", "metric", "depth", "factor"], sort=False):
            series = next(name for name, reading in READINGS.items() if reading == {"metric": metric, "depth": depth})
            names = {"mention": arm.mention, "steps": of_arm["at"].max(), "at": at, "factor": factor}
            rows += point(percent(group), **names, series=series)
    return pd.DataFrame(rows)
