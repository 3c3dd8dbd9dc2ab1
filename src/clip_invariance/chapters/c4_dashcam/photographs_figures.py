"""Chapter 4: the two figures of real photographs: their tables, the numbers read from them, and how they are drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clip_invariance.chapters.c4_dashcam import numbers
from clip_invariance.chapters.c4_dashcam.arms import LABELS, SILENT, TALKATIVE
from clip_invariance.chapters.c4_dashcam.figures import ENCODER_COLOURS, all_last, label_axis
from clip_invariance.chapters.c4_dashcam.photographs import ALWAYS_RED
from clip_invariance.chapters.c4_dashcam.tables import ALWAYS, NEVER, ON_LABELS
from clip_invariance.marks.alt import along, count, listed
from clip_invariance.marks.marks import band, bounded, end_labels, floor, headline, key
from clip_invariance.marks.spec import FigureSpec
from clip_invariance.marks.style import PALETTE, WIDTH, faint
from clip_invariance.measure.bootstrap import accuracy_over_seeds_and_images, difference_over_seeds_and_images
from clip_invariance.measure.statistics import NamedValue, summarise
from clip_invariance.measure.tables import described, made, mean, percent, select
from clip_invariance.models import imagenet
from clip_invariance.units import label
from clip_invariance.worlds import traffic_lights
from clip_invariance.worlds.traffic_lights import REPORTED_ACCURACY

#: Encoders by their names in the figure.
ENCODERS = {NEVER: SILENT, ALWAYS: TALKATIVE, ON_LABELS: LABELS["small"]}


def alone_table(alone: pd.DataFrame) -> pd.DataFrame:
    """Photographs alone: representation, metric, labels (0: all), value ... in percent."""
    return _by_photograph(alone, ["representation", "metric", "labels"])


def pasted_table(pasted: pd.DataFrame) -> pd.DataFrame:
    """Photographs in scenes: encoder, representation, metric, labels, value ... in percent."""
    encoder = pasted["arm"].map({label(arm): name for name, arm in ENCODERS.items()})
    return _by_photograph(pasted.assign(encoder=encoder), ["encoder", "representation", "metric", "labels"])


def _by_photograph(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """One row for each group, in percent: over seeds and photographs with all labels, over seeds with few."""
    table = table.rename(columns={"depth": "representation"})
    few = table[table["labels"] > 0]
    parts = [summarise(few.assign(value=100 * few["value"]), by, "value")]
    for names, group in table[table["labels"] == 0].groupby(list(by), sort=False):
        estimate = accuracy_over_seeds_and_images(right(group))
        parts.append(pd.DataFrame([dict(zip(by, names, strict=True)) | described(estimate)]))
    return pd.concat(parts, ignore_index=True)


def right(rows: pd.DataFrame) -> pd.DataFrame:
    """Seeds by photographs: what was classified right, of rows of one measure with all labels."""
    return rows.pivot(index="seed", columns="photograph", values="value")


def values(alone: pd.DataFrame, pasted: pd.DataFrame) -> list[NamedValue]:
    """The chapter's numbers that come from photographs, as :func:`chapters.c4_dashcam.numbers.values`."""
    return made(_values(alone, pasted))


def _values(alone: pd.DataFrame, pasted: pd.DataFrame) -> Iterator[NamedValue | None]:
    def accuracy(name: str, rows: pd.DataFrame, figure: str, description: str) -> NamedValue:
        return NamedValue(name, accuracy_over_seeds_and_images(right(rows)), "%", figure, description, kind="share")

    figure, of = "photographs_alone", "red or green in photographs of lights alone: accuracy of"
    for depth, short, text in (
        ("ImageNet features", "imagenet", "features of an encoder trained on ImageNet's labels"),
        ("pixels", "pixels", "pixels"),
        ("grey pixels", "grey", "grey pixels"),
    ):
        few = percent(alone, depth=depth, metric="probe", labels=16)
        yield mean(f"photo_{short}_16", few, figure, f"{of} a probe on {text}, 16 labels per class", kind="share")
        every = select(alone, depth=depth, metric="probe", labels=0)
        yield accuracy(f"photo_{short}_all", every, figure, f"{of} a probe on {text}, all labels")
        nearest = select(alone, depth=depth, metric="nearest")
        yield accuracy(f"photo_{short}_nearest", nearest, figure, f"{of} the nearest training photograph in {text}")

    figure, photographed = "photographs_in_scenes", "photographed lights in drawn scenes"
    by_probe = [select(pasted, arm=arm, depth="embedding", metric="probe", labels=0) for arm in ENCODERS.values()]
    by_words = [select(pasted, arm=arm, metric="zero_shot") for arm in (SILENT, TALKATIVE)]
    for name, rows, how, whom in (
        ("silent", by_probe[0], numbers.PROBE, numbers.NEVER),
        ("talkative", by_probe[1], numbers.PROBE, numbers.ALWAYS),
        ("labels", by_probe[2], numbers.PROBE, numbers.ON_LABELS),
        ("words", by_words[0], numbers.WORDS, numbers.NEVER),
        ("words_mentioned", by_words[1], numbers.WORDS, numbers.ALWAYS),
    ):
        yield accuracy(f"pasted_{name}", rows, figure, numbers.READ[how].format(what=photographed, whom=whom))
    lost = difference_over_seeds_and_images(right(by_probe[2]), right(by_probe[0]))
    text = f"accuracy of a probe on the embedding for {photographed}: {numbers.ON_LABELS} minus captions that never "
    yield NamedValue("c29_gap_photographs", lost, "points", figure, f"{text}mention the light", kind="difference")


# ---------------------------------------------------------------- figures


REPRESENTATIONS = {
    "ImageNet features": PALETTE["blue"],
    "pixels": PALETTE["orange"],
    "grey pixels": PALETTE["grey"],
}


def _guessing(ax: Axes) -> dict[str, tuple[float, str]]:
    """Draws what takes no picture, a coin and the more frequent colour; returns their :func:`end_labels`."""
    levels = {"a coin": 50.0, "always red": ALWAYS_RED}
    for height in levels.values():
        floor(ax, height)
    return {name: (height, faint()) for name, height in levels.items()}


def photographs_alone(table: pd.DataFrame) -> Figure:
    """Accuracy on test photographs against labels per class, by representation."""
    table = bounded(table)
    probes = table[table["metric"] == "probe"]
    figure, ax = plt.subplots(figsize=(WIDTH, 3.9), layout="constrained")
    place = label_axis(ax, sorted(probes["labels"].unique()))
    ends = {}
    for name, colour in REPRESENTATIONS.items():
        curve = probes[probes["representation"] == name]
        curve = curve.assign(x=curve["labels"].map(place)).sort_values("x")
        band(ax, curve["x"].to_list(), curve, colour)
        ends[name] = (float(curve["value"].iloc[-1]), colour)
    ax.axhline(100 * REPORTED_ACCURACY, color=PALETTE["green"], linestyle="--", linewidth=1.1)
    ends["hand-made"] = (100 * REPORTED_ACCURACY, PALETTE["green"])
    ax.set(ylabel="right, %", ylim=(42, 103), xlim=(-0.3, len(place) - 0.8))
    end_labels(ax, len(place) - 0.8, ends | _guessing(ax), gap=0.075)
    headline(figure, PHOTOGRAPHS_ALONE.title)
    return figure


def describe_photographs_alone(table: pd.DataFrame) -> str:
    """Alt text of :func:`photographs_alone`."""
    parts = []
    for name in REPRESENTATIONS:
        rows = table[(table["representation"] == name) & (table["metric"] == "probe")].set_index("labels")["value"]
        counts = sorted(count for count in rows.index if count)
        along = ", ".join(f"{rows[count]:.0f} with {count}" for count in counts)
        parts.append(f"{name}: {along}, {rows[0]:.1f} with all")
    return (
        f"Accuracy in percent on test photographs against labels per class. {'; '.join(parts)}. "
        f"The package's own hand-made classifier reports {100 * REPORTED_ACCURACY:.2f}. A coin is right in 50, saying red "
        f"every time in {ALWAYS_RED:.0f}."
    )


PHOTOGRAPHS_ALONE = FigureSpec(
    "photographs_alone",
    "Photographs of lights alone: red or green?",
    "Linear probes on ImageNet features and on pixels of 1,440 red and green lights, package's own split.",
    photographs_alone,
    describe_photographs_alone,
    attribution=(
        traffic_lights.ATTRIBUTION,
        imagenet.ATTRIBUTION,
    ),
)


def photographs_in_scenes(table: pd.DataFrame) -> Figure:
    """Accuracy for photographed lights in scenes against labels per class; diamonds are words."""
    table = bounded(table)
    figure, ax = plt.subplots(figsize=(WIDTH, 4.2), layout="constrained")
    place = label_axis(ax, sorted(table.loc[table["metric"] == "probe", "labels"].unique()))
    encoders = {name: ENCODER_COLOURS[name] for name in ENCODERS}
    for name, colour in encoders.items():
        for depth, style in (("embedding", "-"), ("backbone", "--")):
            chosen = (table["encoder"] == name) & (table["representation"] == depth) & (table["metric"] == "probe")
            curve = table[chosen].assign(x=table["labels"].map(place)).sort_values("x")
            band(ax, curve["x"].to_list(), curve, colour, style)
        words = table[(table["encoder"] == name) & (table["metric"] == "zero_shot")]
        ax.plot([-0.5] * len(words), words["value"], "D", color=colour, markersize=6)
    names = [text.get_text() for text in ax.get_xticklabels()]
    ax.set_xticks([-0.5, *range(len(place))], labels=["words", *names])
    ax.set(ylabel="right, %", ylim=(38, 103), xlim=(-0.75, len(place) - 0.8))
    end_labels(ax, len(place) - 0.8, _guessing(ax))
    headline(figure, PHOTOGRAPHS_IN_SCENES.title)
    key(figure, encoders)
    return figure


def describe_photographs_in_scenes(table: pd.DataFrame) -> str:
    """Alt text of :func:`photographs_in_scenes`."""
    words = table[table["metric"] == "zero_shot"].assign(reader="words")
    probes = all_last(table[table["metric"] == "probe"])
    parts = [
        *([listed(words, ["reader"], "encoder")] if len(words) else []),
        along(probes, ["encoder", "representation"], "labels", count, word="with"),
    ]
    return (
        "Accuracy in percent for photographed red and green lights in the place of the drawn one: words, and probes by "
        f"labels per class. {'; '.join(parts)}. A coin is right in 50, saying red every time in {ALWAYS_RED:.0f}."
    )


PHOTOGRAPHS_IN_SCENES = FigureSpec(
    "photographs_in_scenes",
    "Photographed lights in drawn scenes: red or green?",
    "Photographed lights pasted over the drawn one, with its exposure, blur and noise, read by three encoders.",
    photographs_in_scenes,
    describe_photographs_in_scenes,
    attribution=(traffic_lights.ATTRIBUTION,),
)
