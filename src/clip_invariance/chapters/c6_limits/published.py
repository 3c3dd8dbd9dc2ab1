"""Numbers that others published or that follow from tables they published, beside chapter 6's own. Nothing is run here.

Typed once, with their source; figures draw them and prose quotes them with the ``elsewhere`` role. Computed ones were
computed from the public tables named here, when this report was planned; they carry no seeds of ours.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import pandas as pd


@dataclass(frozen=True)
class Source:
    """Where numbers come from.

    Attributes:
        key: in ``book/references.bib``.
        what: which table, and what was done with it.
    """

    key: str
    what: str


CHECKPOINTS = Source(
    "cherti2023openclip", "open_clip's table of results, 112 public checkpoints, correlations computed"
)
PROBES = Source("clipbenchmark2022", "CLIP_benchmark's table of results, mean of 12 checkpoints, computed")
TAGS = Source("udandarao2024zeroshot", "published counts of tags in pictures and words in captions, ratios computed")
CURATION = Source("cherti2023openclip", "open_clip's table of results, checkpoints of one size and budget, read")


@dataclass(frozen=True)
class Correlation:
    """Pearson correlation, over checkpoints, of zero-shot accuracy on a data set with that on ImageNet.

    Attributes:
        task: what has to be told.
        low, high: 95 % bootstrap interval over checkpoints, where it was computed.
    """

    dataset: str
    task: str
    value: float
    low: float | None = None
    high: float | None = None


CORRELATIONS = (
    Correlation("Food-101", "dishes", 0.99),
    Correlation("Pets", "breeds", 0.97),
    Correlation("Cars", "car models", 0.96),
    Correlation("GTSRB", "traffic signs", 0.94),
    Correlation("MNIST", "digits", 0.90),
    Correlation("EuroSAT", "land use", 0.88),
    Correlation("CLEVR", "number of things", 0.56),
    Correlation("PatchCamelyon", "tumour or not", 0.17),
    Correlation("CLEVR", "distance", 0.13),
    Correlation("KITTI", "distance of the next car", -0.33, -0.46, -0.20),
)


@dataclass(frozen=True)
class Readings:
    """Mean accuracy of 12 checkpoints in three ways, in [0, 1].

    Attributes:
        dataset, task: what has to be told.
        zero_shot: by words.
        ten_shot: by a linear probe with ten labels per class.
        full: by a linear probe with all labels.
    """

    dataset: str
    task: str
    zero_shot: float
    ten_shot: float
    full: float


READINGS = (
    Readings("Pets", "breeds", 0.91, 0.86, 0.92),
    Readings("ImageNet", "objects", 0.70, 0.67, 0.80),
    Readings("EuroSAT", "land use", 0.58, 0.88, 0.97),
    Readings("SVHN", "house numbers", 0.40, 0.40, 0.74),
    Readings("CLEVR", "number of things", 0.24, 0.32, 0.73),
    Readings("KITTI", "distance of the next car", 0.22, 0.42, 0.52),
    Readings("CLEVR", "distance", 0.17, 0.27, 0.54),
    Readings("smallNORB", "direction of view", 0.06, 0.08, 0.14),
    Readings("dSprites", "horizontal place", 0.03, 0.09, 0.53),
    Readings("dSprites", "orientation", 0.03, 0.21, 0.77),
)


@dataclass(frozen=True)
class MentionRate:
    """P(the caption mentions it | it is in the picture), in [0, 1]. The order is firmer than the levels."""

    thing: str
    cc3m: float
    cc12m: float
    yfcc15m: float
    laion400m: float


MENTION_RATES = (
    MentionRate("dog", 0.435, 0.259, 0.138, 0.091),
    MentionRate("car", 0.324, 0.212, 0.068, 0.071),
    MentionRate("pedestrian", 0.156, 0.110, 0.023, 0.046),
    MentionRate("traffic light", 0.108, 0.049, 0.009, 0.052),
)
CORPORA = {"cc3m": "CC3M", "cc12m": "CC12M", "yfcc15m": "YFCC15M", "laion400m": "LAION-400M"}


@dataclass(frozen=True)
class Contrast:
    """Zero-shot accuracy on two data sets of two models that differ in how their pairs were chosen, in [0, 1].

    Attributes:
        choice: how the training pairs were chosen.
        imagenet: accuracy on ImageNet.
        other: name of the second data set.
        accuracy: accuracy on it.
    """

    pair: str
    choice: str
    imagenet: float
    other: str
    accuracy: float


CONTRASTS = (
    Contrast("ResNet-50", "CC12M", 0.359, "ImageNet Sketch", 0.235),
    Contrast("ResNet-50", "YFCC15M", 0.324, "ImageNet Sketch", 0.073),
    Contrast("same pool and compute", "filtered by text", 0.561, "MNIST", 0.259),
    Contrast("same pool and compute", "filtered by CLIP", 0.578, "MNIST", 0.703),
)


def correlations() -> pd.DataFrame:
    """Columns dataset, task, value, low, high, source; from the strongest to the weakest."""
    return pd.DataFrame([asdict(row) for row in CORRELATIONS]).assign(source=CHECKPOINTS.key)


def readings() -> pd.DataFrame:
    """Columns dataset, task, reader, value (percent), source; in the order of the words."""
    names = {"zero_shot": "words", "ten_shot": "ten labels per class", "full": "all labels"}
    rows = [
        {"dataset": row.dataset, "task": row.task, "reader": name, "value": round(100 * getattr(row, field), 1)}
        for row in READINGS
        for field, name in names.items()
    ]
    return pd.DataFrame(rows).assign(source=PROBES.key)


def mention_rates() -> pd.DataFrame:
    """Columns thing, corpus, value (percent), source."""
    rows = [
        {"thing": row.thing, "corpus": name, "value": round(100 * getattr(row, field), 1)}
        for row in MENTION_RATES
        for field, name in CORPORA.items()
    ]
    return pd.DataFrame(rows).assign(source=TAGS.key)


def contrasts() -> pd.DataFrame:
    """Columns pair, choice, imagenet, other, accuracy, source."""
    return pd.DataFrame([asdict(row) for row in CONTRASTS]).assign(source=CURATION.key)
