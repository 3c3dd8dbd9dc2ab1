"""Candidate laws of when a rarely mentioned factor is learned: each predicts every cell of a grid before any is trained.

A law predicts steps to learn up to one scale, which one reference cell gives; two of them also say what is never learned,
by a drive that must exceed a threshold. The threshold lies between cells marked for fitting; all others are predictions.

``python -m clip_invariance.theory.laws > predictions.csv`` writes what follows without any measurement: steps and drives as
multiples of the reference cell's.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import pandas as pd

from clip_invariance.errors import UsageError
from clip_invariance.theory.escape import escape_time
from clip_invariance.theory.gain import Policy, dashcam_policy, mention_gain

FACTOR = "light"
#: How much of a picture a light takes: twice as wide is four times as much, which is how a mean over the picture sees it.
VISIBILITY = {"small": 1.0, "large": 4.0}


@dataclass(frozen=True)
class Cell:
    """One setting of the grid.

    Attributes:
        mention: share of captions that name the light.
        batch: pairs in a batch.
        rate: learning rate, in multiples of the recipe's.
        car: share of captions that name the car's colour and body.
        pedestrian: share of captions that say whether somebody crosses.
        size: of the light.
        fresh: every batch has new pictures; False: the same pictures come again and again.
        fitting: laws may be fitted on this cell; on all others they are judged.
    """

    mention: float
    batch: int
    rate: float = 1.0
    car: float = 1.0
    pedestrian: float = 0.0
    size: Literal["small", "large"] = "small"
    fresh: bool = True
    fitting: bool = False

    @property
    def policy(self) -> Policy:
        """What captions say here."""
        return dashcam_policy(self.mention, self.car, self.pedestrian)

    @property
    def gain(self) -> float:
        """What the light's mention is worth here, in nats."""
        return mention_gain(self.policy, FACTOR, self.batch) if self.mention > 0 else 0.0

    @property
    def name(self) -> str:
        """Short and unique: only what differs from the usual is said."""
        parts = [f"p{self.mention:g}", f"n{self.batch}"]
        usual = Cell(self.mention, self.batch)
        for label in ("rate", "car", "pedestrian", "size"):
            if getattr(self, label) != getattr(usual, label):
                parts.append(f"{label}{getattr(self, label)}")
        return "-".join(parts) + ("" if self.fresh else "-reused")


REFERENCE = Cell(1.0, 128, fitting=True)
#: Rates from always to never at the usual batch; then batch and rate apart; then what else is said; size; reused pictures.
GRID: tuple[Cell, ...] = (
    REFERENCE,
    Cell(0.6, 128),
    Cell(0.3, 128, fitting=True),
    Cell(0.1, 128, fitting=True),
    Cell(0.03, 128),
    Cell(0.0, 128),
    Cell(1.0, 32),
    Cell(0.3, 32),
    Cell(0.1, 32),
    Cell(0.3, 512),
    Cell(0.1, 512, fitting=True),
    Cell(0.03, 512),
    Cell(1.0, 128, rate=0.25),
    Cell(0.3, 128, rate=0.25),
    Cell(0.1, 128, rate=0.25),
    Cell(0.1, 32, rate=0.25),
    Cell(0.3, 128, car=0.3),
    Cell(0.3, 128, car=0.0),
    Cell(0.1, 128, car=0.0),
    Cell(0.3, 128, pedestrian=1.0),
    Cell(0.3, 128, size="large"),
    Cell(0.1, 128, size="large"),
    Cell(0.3, 128, fresh=False),
    Cell(0.1, 128, fresh=False),
)


@dataclass(frozen=True)
class Law:
    """A candidate.

    Attributes:
        name: one letter.
        statement: what it says, in words.
        falsified_when: what measurement would end it.
        predict: steps to learn in a cell up to one scale for all cells; infinite: never.
        drive: where it exceeds a threshold, the light is learned, elsewhere never; None: it is always learned.
    """

    name: str
    statement: str
    falsified_when: str
    predict: Callable[[Cell], float]
    drive: Callable[[Cell], float] | None = None


@dataclass(frozen=True)
class Fitted:
    """A law with its scale, and its threshold if it has one."""

    law: Law
    scale: float
    threshold: float = 0.0

    def steps(self, cell: Cell) -> float:
        """Predicted steps to learn; infinite: never."""
        if self.law.drive is not None and self.law.drive(cell) <= self.threshold:
            return math.inf
        return self.scale * self.law.predict(cell)


def fit(law: Law, steps: Mapping[Cell, float], reference: Cell = REFERENCE) -> Fitted:
    """Fit a law on measured cells: the scale on the reference, the threshold between what was learned and what was not.

    Args:
        law: the candidate.
        steps: measured steps to learn; infinite for a cell that was not learned within the time it was given.
        reference: gives the scale.

    Returns:
        The threshold is the geometric mean of the largest drive that did not suffice and the smallest that did; 0 if
        everything was learned. Where the two overlap, the law is wrong already, and the mean is the best compromise.

    Raises:
        UsageError: if the reference was not measured or not learned.
    """
    if not math.isfinite(steps.get(reference, math.inf)):
        raise UsageError(f"{reference.name}: the reference must have been measured, and learned")
    scale = steps[reference] / law.predict(reference)
    if law.drive is None or all(math.isfinite(taken) for taken in steps.values()):
        return Fitted(law, scale)
    failed = max(law.drive(cell) for cell, taken in steps.items() if not math.isfinite(taken))
    enough = min(law.drive(cell) for cell, taken in steps.items() if math.isfinite(taken))
    return Fitted(law, scale, math.sqrt(failed * enough))


def _inverse(amount: float) -> float:
    return 1 / amount if amount > 0 else math.inf


LAWS: tuple[Law, ...] = (
    Law(
        "a",
        "Time goes as one over the gain: steps times learning rate are proportional to 1 / gain.",
        "steps times rate times gain differ between cells by more than a factor of two, or a cell with a gain is never "
        "learned",
        lambda cell: _inverse(cell.gain * cell.rate),
    ),
    Law(
        "b",
        "It takes so many pictures with a mention, whatever batch, rate and the rest of the caption.",
        "at one mention rate, four times the batch does not take about a quarter of the steps",
        lambda cell: _inverse(cell.mention * cell.batch),
    ),
    Law(
        "c",
        "It takes so many pairs of opposite mentions within a batch: steps are proportional to 1 / (p squared times N).",
        "a third of the mention rate does not take about nine times the steps",
        lambda cell: _inverse(cell.mention**2 * cell.batch),
    ),
    Law(
        "d",
        "The mode of the light escapes from a small start: steps go as one over rate, mention rate, visible size and free "
        "share of the softmax.",
        "a light twice as wide is not learned about four times as fast, or a cell with a mention is never learned",
        lambda cell: escape_time(cell.policy, FACTOR, cell.batch, cell.rate, visibility=VISIBILITY[cell.size]),
    ),
    Law(
        "e",
        "Gain against noise: learned where gain times batch over rate exceeds a threshold, in steps proportional to "
        "1 / (gain times rate); never below it.",
        "no threshold of gain times batch over rate parts the cells that are learned from those that are not",
        lambda cell: _inverse(cell.gain * cell.rate),
        lambda cell: cell.gain * cell.batch / cell.rate,
    ),
    Law(
        "f",
        "A mention rate is enough or it is not, whatever batch and learning rate: steps go as 1 / (p times rate) above a "
        "threshold of p.",
        "at one mention rate the light is learned in one cell and never in another",
        lambda cell: _inverse(cell.mention * cell.rate),
        lambda cell: cell.mention,
    ),
)


def predictions(laws: Sequence[Law] = LAWS, cells: Sequence[Cell] = GRID, reference: Cell = REFERENCE) -> pd.DataFrame:
    """What each law says of each cell without any measurement.

    Returns:
        One row for each law and cell: cell, its settings, gain_nats, law, relative_steps (times the reference's; inf:
        never), relative_drive (times the reference's; empty: the law has no threshold).
    """
    rows = []
    for law in laws:
        base = law.predict(reference)
        for cell in cells:
            drive = None if law.drive is None else law.drive(cell) / law.drive(reference)
            rows.append(
                {"cell": cell.name, **asdict(cell), "gain_nats": cell.gain, "law": law.name,
                 "relative_steps": law.predict(cell) / base, "relative_drive": drive}
            )  # fmt: skip
    return pd.DataFrame(rows)


def predictions_csv() -> str:
    """:func:`predictions` as CSV, four digits each."""
    return predictions().to_csv(index=False, float_format="%.4g", lineterminator="\n")


if __name__ == "__main__":
    sys.stdout.write(predictions_csv())
