"""What the figures show: one row for each mean with its interval, none for what a profile leaves out."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd

from clip_invariance.chapters.c3_captions.policies import arms
from clip_invariance.chapters.c3_captions.policies.measures import PIXELS
from clip_invariance.chapters.c3_captions.policies.questions import (
    FACTORS,
    OMITTED,
    RESPONSES,
    TRAINED,
    UNTRAINED,
    ZERO_SHOT,
    accuracy,
    asked_for,
    cosine,
    left,
    moved,
    response,
    skill,
    trifeature_accuracy,
    variance_shares,
)
from clip_invariance.chapters.c3_captions.policies.training import Arm
from clip_invariance.measure.depths import DEPTHS
from clip_invariance.measure.tables import intervals, per_seed, select
from clip_invariance.worlds import scenes

#: A row of a figure's table before its interval is known: what tells it from others, and one number per seed.
Line = tuple[Mapping[str, object], pd.Series]

#: Rows of figures and tables: the name that their data give to an arm, -> the arm.
POLICIES = {
    "object": arms.OBJECT,
    "object, background": arms.OBJECT_BACKGROUND,
    "object, medium": arms.OBJECT_MEDIUM,
    "object, place": arms.OBJECT_PLACE,
    "everything": arms.EVERYTHING,
    "background": arms.BACKGROUND,
    "three times longer": arms.LONGER,
    "everything, three times longer": arms.EVERYTHING_LONGER,
}
CONTROLS = {
    "object": arms.OBJECT,
    "filler words": arms.FILLER,
    "duplicates masked": arms.MASKED,
    "temperature .07": arms.FIXED_TEMPERATURE,
    "everything": arms.EVERYTHING,
    "three times longer": arms.LONGER,
    "filler words, three times longer": arms.FILLER_LONGER,
    "duplicates masked, three times longer": arms.MASKED_LONGER,
    "everything, three times longer": arms.EVERYTHING_LONGER,
}
SCALES = {
    "an eighth of the pictures": arms.FEWER,
    "width 16": arms.NARROWER,
    "object": arms.OBJECT,
    "width 256": arms.WIDER,
    "three times longer": arms.LONGER,
    "everything": arms.EVERYTHING,
}
#: The control of what is followed along the way.
LABELLED, LABELLED_LONGER = "labels of the object", "labels of the object, three times longer"
SHAPES = {
    "shape": arms.SHAPE,
    "shape, three times the steps": arms.SHAPE_LONGER,
    "colour": arms.COLOUR,
    "texture": arms.TEXTURE,
}
#: What Dufumier et al. (2025) report for their cross-modal objective on Trifeature, accuracies in percent.
PUBLISHED = {"shared": 100.0, "unshared": 11.6}
#: The same four ways to ask in two figures: the object that captions name, and the others.
LINES = {
    "object, zero-shot": (ZERO_SHOT, ("object",)),
    "others, zero-shot": (ZERO_SHOT, OMITTED),
    "others, span": ("span", OMITTED),
    "others, embedding": ("embedding", OMITTED),
}

# ---------------------------------------------------------------- tables


def examples(n: int = 4, seed: int = 4) -> pd.DataFrame:
    """Some scenes with one caption under each of two policies; scene i is row i of ``scenes.sample(n, seed)``."""
    drawn = scenes.sample(n, seed)
    table = pd.DataFrame(
        {name: [scenes.FACTORS[name][value] for value in column.tolist()] for name, column in drawn.labels.items()}
    ).add_prefix("factor_")
    captions = {
        name: POLICIES[name].captions().sample(scenes.WORDS, drawn.labels, seed).strings()
        for name in ("object", "everything")
    }
    return table.assign(seed=seed, **captions)


def trifeature_table(measured: pd.DataFrame) -> pd.DataFrame:
    """Accuracy in percent of the factor that captions name and of the other two: published, and here at every depth.

    No rows in a profile that trains none of these encoders.
    """
    depths = ("embedding", ZERO_SHOT, "span", "backbone")
    rows = []
    for name, arm in SHAPES.items():
        # Before training, encoders of trainings of every length are the same.
        usual = arms.SHAPE if arm == arms.SHAPE_LONGER else arm
        for kind, named in (("shared", True), ("unshared", False)):
            here = {depth: trifeature_accuracy(measured, arm, depth, named=named) for depth in depths}
            if here["embedding"].empty:
                continue
            here["untrained"] = trifeature_accuracy(measured, usual, "embedding", named=named, stage=UNTRAINED)
            asked = {"captions name": name, "asked for": " and ".join(asked_for(arm, named)), "CoMM": PUBLISHED[kind]}
            rows.append(asked | {column: each.mean() for column, each in here.items()} | {"chance": 10.0})
    return pd.DataFrame(rows, columns=["captions name", "asked for", "CoMM", *depths, "untrained", "chance"])


def matrix_table(measured: pd.DataFrame, pixels: pd.DataFrame) -> pd.DataFrame:
    """Accuracy and skill in percent by what captions mention, factor and depth; controls at depth "controls"."""
    policies = [(name, arm, TRAINED) for name, arm in POLICIES.items()] + [(UNTRAINED, arms.OBJECT, UNTRAINED)]
    lines: list[Line] = [
        (
            {"row": name, "depth": depth, "factor": factor, "mentioned": _mentions(arm, factor) and stage == TRAINED},
            accuracy(measured, arm, depth, factor, stage=stage),
        )
        for depth, factor in itertools.product((*DEPTHS, ZERO_SHOT), FACTORS)
        for name, arm, stage in policies
    ]
    for factor in FACTORS:
        controls = {
            "raw pixels": accuracy(pixels, PIXELS, PIXELS, factor, stage=""),
            "shuffled labels": accuracy(measured, arms.OBJECT, "embedding", factor, metric="shuffled"),
            "trained on labels": accuracy(measured, arms.LABELS, "embedding", factor),
        }
        for name, series in controls.items():
            lines.append(({"row": name, "depth": "controls", "factor": factor, "mentioned": False}, series))
    table = intervals(lines)
    chance = 100 / table["factor"].map({factor: len(names) for factor, names in scenes.FACTORS.items()})
    return table.assign(chance=chance, skill=100 * (table["value"] - chance) / (100 - chance))


def _mentions(arm: Arm, factor: str) -> bool:
    return arm.others == 1 or factor in arm.mentioned


def dose_table(measured: pd.DataFrame, pixels: pd.DataFrame) -> pd.DataFrame:
    """Skill in percent against mention rate, by factor and over all five ("mean"); lines to compare with have no rate."""
    lines: list[Line] = []
    for name, factors in [("mean", OMITTED), *((factor, (factor,)) for factor in OMITTED)]:
        for (rate, arm), source in itertools.product(arms.RATES.items(), ("backbone", "embedding", "span", ZERO_SHOT)):
            lines.append(({"factor": name, "source": source, "rate": rate}, skill(measured, arm, source, factors)))
        before = skill(measured, arms.OBJECT, factors=factors, stage=UNTRAINED)
        lines.append(({"factor": name, "source": UNTRAINED, "rate": np.nan}, before))
        raw = skill(pixels, PIXELS, PIXELS, factors, stage="")
        lines.append(({"factor": name, "source": "raw pixels", "rate": np.nan}, raw))
    return intervals(lines)


def control_table(measured: pd.DataFrame) -> pd.DataFrame:
    """Skill in percent under the controls: of the five omitted factors at three depths, and of the object."""
    return intervals(
        ({"arm": name, "source": line}, skill(measured, arm, depth, factors))
        for name, arm in CONTROLS.items()
        for line, (depth, factors) in LINES.items()
    )


def course_table(course: pd.DataFrame) -> pd.DataFrame:
    """Over the steps of a training: cosine of pairs by what they share, and skill of zero-shot and probes.

    The longer training where a profile has it. The column ``arm`` tells it from its control, labels in the place of
    captions, at the end.
    """
    longer = len(cosine(course, arms.LONGER, "caption")) > 0
    name, arm = ("three times longer", arms.LONGER) if longer else ("object", arms.OBJECT)
    lines = _cosines(course, name, arm)
    for (line, (depth, factors)), (step, stage, rows) in itertools.product(LINES.items(), _steps(course, arm)):
        where = {"step": step, "line": line, "panel": "skill", "arm": name}
        lines.append((where, skill(rows, arm, depth, factors, stage=stage)))
    table = intervals([*lines, *_cosines(course, LABELLED_LONGER, arms.LABELS_OF_OBJECT_LONGER)])
    return table[["step", "line", "value", "low", "high", "n", "panel", "arm"]]


def _steps(course: pd.DataFrame, arm: Arm) -> list[tuple[int, str, pd.DataFrame]]:
    """The numbers of steps after which an arm was measured, the stages that these are, and their rows."""
    each = select(course, arm=arm).groupby("step")
    return [(int(rows["step"].iloc[0]), str(rows["stage"].iloc[0]), rows) for _, rows in each]


def _cosines(course: pd.DataFrame, name: str, arm: Arm) -> list[Line]:
    return [
        ({"step": step, "line": shared, "panel": "cosine", "arm": name}, cosine(rows, arm, shared, stage=stage))
        for step, stage, rows in _steps(course, arm)
        for shared in ("caption", "background", "nothing", "all but the caption")
    ]


def point_table(measured: pd.DataFrame) -> pd.DataFrame:
    """Share of the variance that is left among pictures of one object, in percent, inside the span and in the whole.

    Networks trained on labels have no captions, and so no span.
    """
    stages = {
        UNTRAINED: (arms.OBJECT, UNTRAINED),
        "trained": (arms.OBJECT, TRAINED),
        "three times longer": (arms.LONGER, TRAINED),
        LABELLED: (arms.LABELS_OF_OBJECT, TRAINED),
        LABELLED_LONGER: (arms.LABELS_OF_OBJECT_LONGER, TRAINED),
    }
    return intervals(
        ({"stage": name, "depth": depth}, left(measured, arm, depth, stage=stage))
        for name, (arm, stage) in stages.items()
        for depth in ("embedding", "span")
    )


#: Encoders that matched counterfactuals compare.
MOVERS = {
    UNTRAINED: (arms.OBJECT, UNTRAINED),
    "object": (arms.OBJECT, TRAINED),
    "everything": (arms.EVERYTHING, TRAINED),
}


def moved_table(measured: pd.DataFrame) -> pd.DataFrame:
    """Matched counterfactuals of each factor: how far the picture moves, in percent of the distance of unrelated ones."""
    return intervals(
        ({"arm": name, "depth": depth, "factor": factor}, moved(measured, arm, factor, depth, stage=stage))
        for name, (arm, stage) in MOVERS.items()
        for depth, factor in itertools.product(("embedding", "span"), FACTORS)
    )


def detectability_table(measured: pd.DataFrame) -> pd.DataFrame:
    """d' between the first two values of each factor, one column per encoder."""
    names = {"object": "captions name the object", "everything": "captions name everything", UNTRAINED: UNTRAINED}
    rows = []
    for factor in FACTORS:
        first, second = scenes.FACTORS[factor][:2]
        row: dict[str, object] = {"factor": factor, "changed from": first, "to": second}
        for name, column in names.items():
            arm, stage = MOVERS[name]
            row[column] = per_seed(measured, arm=arm, metric="d_prime", factor=factor, stage=stage).mean()
        rows.append(row)
    return pd.DataFrame(rows)


def head_table(measured: pd.DataFrame, pixels: pd.DataFrame) -> pd.DataFrame:
    """Accuracy in percent of heads trained at one place, there and elsewhere, by what they stand on."""
    heads: dict[str, tuple[pd.DataFrame, Arm | str, str, str]] = {
        "raw pixels": (pixels, PIXELS, PIXELS, ""),
        UNTRAINED: (measured, arms.OBJECT, "embedding", UNTRAINED),
        "background": (measured, arms.BACKGROUND, "embedding", TRAINED),
        "everything": (measured, arms.EVERYTHING, "embedding", TRAINED),
        "object": (measured, arms.OBJECT, "embedding", TRAINED),
    }
    return intervals(
        ({"on": name, "where": where}, accuracy(table, arm, depth, "object", stage=stage, metric=f"head_{where}"))
        for name, (table, arm, depth, stage) in heads.items()
        for where in ("here", "elsewhere")
    )


def scale_table(measured: pd.DataFrame) -> pd.DataFrame:
    """Skill in percent by size of model, data and training, captions naming the object; everything as the goal."""
    lines = {
        "place": ("embedding", ("place",)),
        "all five": ("embedding", OMITTED),
        "object, zero-shot": (ZERO_SHOT, ("object",)),
    }
    return intervals(
        ({"arm": name, "line": line}, skill(measured, arm, depth, factors))
        for name, arm in SCALES.items()
        for line, (depth, factors) in lines.items()
    )


def factorial_table(measured: pd.DataFrame) -> pd.DataFrame:
    """The eight cells of the factorial and the variance shares of its effects; empty where arms were not trained."""
    lines: list[Line] = []
    for asked in RESPONSES:
        shares = variance_shares(measured, asked)
        for (policy, tower, augmented), arm in arms.FACTORIAL.items() if len(shares) else ():
            where = {
                "response": asked,
                "captions": "object and background" if policy else "object",
                "tower": "vit" if tower else "conv",
                "augmented": augmented,
                "effect": "",
            }
            lines.append((where, response(measured, arm, asked)))
        lines += [({"response": asked, "effect": effect}, shares[effect]) for effect in shares.columns]
    return intervals(lines, columns=["response", "captions", "tower", "augmented", "effect"])
