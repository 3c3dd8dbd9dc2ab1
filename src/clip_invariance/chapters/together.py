"""Trainings of chapters 3 and 4 that can be done at once, for a GPU that one small model cannot fill.

A run on a processor trains one encoder at a time, in as many processes as there are cores. On a GPU the store asks
:func:`groups` which of its units are trainings of one architecture, length and number of pictures, and :func:`train` for
their tables. The results are those of the units' own functions up to rounding (:mod:`training.together`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import pandas as pd
from torch import Tensor

from clip_invariance.captions import Captions
from clip_invariance.chapters.c3_captions.policies import training as caption_training
from clip_invariance.chapters.c4_dashcam import training as dashcam_training
from clip_invariance.models import clip
from clip_invariance.training import together
from clip_invariance.training.encoders import Plan
from clip_invariance.units import Unit

if TYPE_CHECKING:
    from open_clip.model import CLIP

#: So many models at once: enough to fill a large card, and their pictures, 80 MB for each seed, still fit a small one.
MOST = 24


#: Functions that train, and what says how: the same arguments, a plan; None for what has to be trained alone.
PLANS: dict[Callable[..., pd.DataFrame], Callable[..., Plan | None]] = {
    caption_training.train: caption_training.plan,
    dashcam_training.train: dashcam_training.plan,
}


def planned(unit: Unit) -> Plan | None:
    """The plan of a training that can be done with others; augmentation is drawn model by model."""
    describe = PLANS.get(unit.function)
    plan = describe(**unit.params) if describe else None
    # Nothing is to be gained where nothing is trained.
    return plan if plan is not None and plan.steps > 0 and not plan.augmented else None


def alike(plan: Plan) -> tuple[object, ...]:
    """What trainings must have in common to be done at once."""
    return plan.tower, plan.size, plan.embed_dim, plan.steps, plan.batch, plan.rate, plan.images, plan.device


def groups(units: Sequence[Unit]) -> list[list[int]]:
    """The units by number, those together that can be trained at once, at most MOST; all others alone."""
    found: dict[object, list[int]] = {}
    for number, unit in enumerate(units):
        plan = planned(unit)
        # Worlds and functions may differ, as long as shapes agree; one function at a time keeps pictures shared.
        key = (unit.function, alike(plan)) if plan else number
        found.setdefault(key, []).append(number)
    return [part for numbers in found.values() for part in _parts(numbers)]


def _parts(numbers: list[int]) -> Iterable[list[int]]:
    return (numbers[start : start + MOST] for start in range(0, len(numbers), MOST))


def train(units: Sequence[Unit]) -> list[pd.DataFrame]:
    """The tables of units of one group, as :func:`training.encoders.train` gives them."""
    plans = [plan for unit in units if (plan := planned(unit)) is not None]
    assert len(plans) == len(units)
    first = plans[0]
    images, captions = zip(*(_shared(plans)), strict=True)
    models = [
        clip.create(first.tower, size=first.size, embed_dim=first.embed_dim, seed=plan.seed, device=first.device)
        for plan in plans
    ]
    for model, shown in zip(models, images, strict=True):
        clip.calibrate_batch_norm(model, shown)
    rows: list[list[dict[str, object]]] = [[] for _ in plans]

    def keep(step: int, current: Sequence[CLIP]) -> None:
        for mine, plan, model, said in zip(rows, plans, current, captions, strict=True):
            if step in (*plan.keep_at, plan.steps):
                mine.append({"step": step, "weights": clip.weights(model, said.texts)})

    together.fit(
        models,
        images,
        captions,
        steps=first.steps,
        seeds=[plan.seed for plan in plans],
        batch=first.batch,
        rate=first.rate,
        mask_duplicates=[plan.mask_duplicates for plan in plans],
        temperatures=[plan.temperature for plan in plans],
        watch=keep,
        watch_at=(*{step for plan in plans for step in plan.keep_at}, first.steps),
    )
    return [pd.DataFrame(mine) for mine in rows]


def _shared(plans: Sequence[Plan]) -> Iterable[tuple[Tensor, Captions]]:
    """Pictures and captions of each; equal pictures are one tensor, so that they are kept once."""
    kept: list[Tensor] = []
    for plan in plans:
        images, captions = plan.data()
        same = next((other for other in kept if other is images or other.equal(images)), None)
        if same is None:
            kept.append(images)
        yield (images if same is None else same), captions
