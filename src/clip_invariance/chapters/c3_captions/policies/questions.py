"""What the figures and the numbers ask of the measurements: one number per seed, none for an arm that a profile lacks.

*Skill* makes factors with different numbers of values comparable: how far an accuracy gets from chance to perfect, in
percent. 0 is chance, 100 is every picture right.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from clip_invariance.chapters.c3_captions.policies.arms import FACTORIAL
from clip_invariance.chapters.c3_captions.policies.training import WORLDS, Arm
from clip_invariance.measure.statistics import percent_of
from clip_invariance.measure.tables import mean_over, per_seed, percent, select
from clip_invariance.worlds import scenes

FACTORS = tuple(scenes.FACTORS)
#: What "object" captions leave out.
OMITTED = tuple(factor for factor in FACTORS if factor != "object")
CHANCE = {factor: 1 / len(names) for factor, names in scenes.FACTORS.items()}
#: In the place of a depth: not a probe, but the prompts.
ZERO_SHOT = "zero-shot"
#: Stages of a training.
UNTRAINED, TRAINED = "untrained", "trained"
#: What the factorial is about: the background, by how far it moves the embedding and by what probes read of it.
RESPONSES = ("moved", "probe, embedding", "probe, span")
EFFECTS = ("captions", "architecture", "augmentation")


def accuracy(
    table: pd.DataFrame, arm: Arm | str, depth: str, factor: str, *, stage: str = TRAINED, metric: str = "probe"
) -> pd.Series:
    """Accuracy in percent of a probe at a depth, or "zero-shot"; of another reader on the embedding by its ``metric``."""
    metric, depth = ("zero_shot", "embedding") if depth == ZERO_SHOT else (metric, depth)
    return percent(table, arm=arm, metric=metric, depth=depth, factor=factor, stage=stage)


def skill(
    table: pd.DataFrame,
    arm: Arm | str,
    depth: str = "embedding",
    factors: Sequence[str] = OMITTED,
    *,
    stage: str = TRAINED,
    metric: str = "probe",
) -> pd.Series:
    """Mean skill over factors in percent; the arguments are those of :func:`accuracy`."""
    metric, depth = ("zero_shot", "embedding") if depth == ZERO_SHOT else (metric, depth)
    rows = select(table, arm=arm, metric=metric, depth=depth, stage=stage)
    chance = rows["factor"].map(CHANCE).astype(float)
    return mean_over(rows.assign(value=100 * (rows["value"] - chance) / (1 - chance)), "factor", factors)


def moved(table: pd.DataFrame, arm: Arm, factor: str, depth: str = "embedding", *, stage: str = TRAINED) -> pd.Series:
    """How far changing one factor alone moves a picture, in percent of the distance of unrelated ones."""
    return percent(table, arm=arm, metric="moved", depth=depth, factor=factor, stage=stage)


def left(table: pd.DataFrame, arm: Arm, depth: str, *, stage: str = TRAINED) -> pd.Series:
    """Share of the variance among pictures of one object, in percent."""
    return 100 - percent(table, arm=arm, metric="variance", depth=depth, factor="object", stage=stage)


def kept(table: pd.DataFrame, arm: Arm | str, depth: str = "embedding", *, stage: str = TRAINED) -> pd.Series:
    """Skill of heads elsewhere in percent of their skill at the place where they were trained."""
    here, elsewhere = (
        skill(table, arm, depth, ("object",), stage=stage, metric=f"head_{where}") for where in ("here", "elsewhere")
    )
    return percent_of(elsewhere, here)


def cosine(course: pd.DataFrame, arm: Arm, shared: str, *, stage: str = TRAINED) -> pd.Series:
    """Centred cosine of pairs by what they share."""
    return per_seed(course, arm=arm, metric="cosine", factor=shared, stage=stage)


def closer(course: pd.DataFrame, arm: Arm, shared: str, *, stage: str = TRAINED) -> pd.Series:
    """How much closer pairs are that share something than pairs that share nothing, in cosine."""
    return cosine(course, arm, shared, stage=stage) - cosine(course, arm, "nothing", stage=stage)


def trifeature_accuracy(table: pd.DataFrame, arm: Arm, depth: str, *, named: bool, stage: str = TRAINED) -> pd.Series:
    """Accuracy in percent of the factor that captions name, or mean of the two others."""
    metric, depth = ("zero_shot", "embedding") if depth == ZERO_SHOT else ("probe", depth)
    factors = asked_for(arm, named)
    return 100 * mean_over(table, "factor", factors, arm=arm, metric=metric, depth=depth, stage=stage)


def asked_for(arm: Arm, named: bool) -> tuple[str, ...]:
    """The factors of an arm's world that its captions name, or the others."""
    return tuple(factor for factor in WORLDS[arm.world].FACTORS if (factor in arm.mentioned) == named)


def response(table: pd.DataFrame, arm: Arm, asked: str) -> pd.Series:
    """One of the :data:`RESPONSES`, in percent."""
    if asked == "moved":
        return moved(table, arm, "background")
    return skill(table, arm, asked.removeprefix("probe, "), ("background",))


def variance_shares(table: pd.DataFrame, asked: str) -> pd.DataFrame:
    """Variance decomposition of a full 2 x 2 x 2 factorial within each seed.

    The seven contrasts are orthogonal: their squares add up to the variance of the eight cells.

    Returns:
        one row per seed, none where a profile lacks the arms; columns are the EFFECTS and "interactions", shares of the
        variance in percent; all 0 where there is no variance.
    """
    cells = pd.DataFrame({levels: response(table, arm, asked) for levels, arm in FACTORIAL.items()}).dropna()
    signs = 2 * np.array(list(FACTORIAL), dtype=float) - 1  # (8 cells, 3 effects), -1 or 1
    subsets = [subset for k in (1, 2, 3) for subset in itertools.combinations(range(3), k)]
    contrasts = np.stack([signs[:, list(subset)].prod(axis=1) for subset in subsets], axis=1)
    squares = (cells.to_numpy() @ contrasts / len(FACTORIAL)) ** 2  # (seeds, 7)
    total = squares.sum(axis=1, keepdims=True)
    shares = 100 * squares / np.where(total > 0, total, 1.0)
    by_effect = pd.DataFrame(shares[:, :3], columns=list(EFFECTS), index=cells.index)
    return by_effect.assign(interactions=shares[:, 3:].sum(axis=1))
