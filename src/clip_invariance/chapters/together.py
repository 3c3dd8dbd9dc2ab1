"""Trainings of chapters 3 and 4 that can be done at once, for a GPU that one small model cannot fill.

A run on a processor trains one encoder at a time, in as many processes as there are cores. On a GPU the store asks
:func:`groups` which of its units are trainings of one architecture, length and number of pictures, and :func:`train` for
their tables. The results are those of the units' own functions up to rounding (:mod:`training.together`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from torch import Tensor

from clip_invariance.captions import Captions
from clip_invariance.chapters.c3_captions import training as caption_training
from clip_invariance.chapters.c4_dashcam import training as dashcam_training
from clip_invariance.models import clip
from clip_invariance.training import together
from clip_invariance.units import Unit

if TYPE_CHECKING:
    from open_clip.model import CLIP

#: So many models at once: enough to fill a large card, and their pictures, 80 MB for each seed, still fit a small one.
MOST = 24


@dataclass(frozen=True)
class _Training:
    """What one unit trains.

    Attributes:
        alike: what trainings must have in common to be done at once: tower, size, embed_dim, steps, batch, rate, number
            of pictures, device.
        data: draws its pictures and captions.
        masked, temperature, seed, keep_at: as its function's arguments.
    """

    alike: tuple[Any, ...]
    data: Callable[[], tuple[Tensor, Captions]]
    masked: bool
    temperature: float | None
    seed: int
    keep_at: Sequence[int]


def _of_captions(p: dict[str, Any]) -> _Training | None:
    """A unit of :func:`caption_training.train_on_captions`; None with augmentation, which is drawn model by model."""
    if p["augmented"]:
        return None

    def data() -> tuple[Tensor, Captions]:
        world = caption_training.WORLDS[p["world"]]
        policy = caption_training.caption_policy(p["world"], p["policy"], p["others"], p["filler"])
        images, labels = _drawn_captions(p["world"], p["images"], p["seed"], p["size"], p["device"])
        return images, policy.sample(world.WORDS, labels, p["seed"])

    alike = tuple(p[name] for name in ("tower", "size", "embed_dim", "steps", "batch", "rate", "images", "device"))
    return _Training(alike, data, p["masked"], p["temperature"], p["seed"], p["keep_at"])


def _drawn_captions(world: str, images: int, seed: int, size: int, device: str) -> tuple[Tensor, dict[str, Tensor]]:
    drawn = caption_training.WORLDS[world].sample(images, seed)
    return caption_training.WORLDS[world].render(drawn, size=size, device=device), drawn.labels


def _of_dashcam(p: dict[str, Any]) -> _Training | None:
    """A unit of :func:`dashcam_training.train`; None for its controls without captions."""
    if p["objective"] != "captions":
        return None

    def data() -> tuple[Tensor, Captions]:
        shown, images = dashcam_training.training_pictures(p["images"], p["seed"], p["light_size"], p["device"])
        return images, dashcam_training.captions_of(shown, p["mention"], p["filler"], p["seed"])

    fixed = (dashcam_training.TOWER, dashcam_training.SIZE, p["embed_dim"], p["steps"])
    alike = (*fixed, dashcam_training.BATCH, dashcam_training.RATE, p["images"], p["device"])
    return _Training(alike, data, p["masked"], None, p["seed"], p["keep_at"])


_KNOWN: dict[Callable[..., pd.DataFrame], Callable[[dict[str, Any]], _Training | None]] = {
    caption_training.train_on_captions: _of_captions,
    dashcam_training.train: _of_dashcam,
}


def _training(unit: Unit) -> _Training | None:
    describe = _KNOWN.get(unit.function)
    found = describe(dict(unit.params)) if describe else None
    return found if found is not None and found.alike[3] > 0 else None  # nothing to gain where nothing is trained


def groups(units: Sequence[Unit]) -> list[list[int]]:
    """The units by number, those together that can be trained at once, at most MOST; all others alone."""
    found: dict[object, list[int]] = {}
    for number, unit in enumerate(units):
        training = _training(unit)
        # Worlds and functions may differ, as long as shapes agree; one function at a time keeps pictures shared.
        key = (unit.function, training.alike) if training else number
        found.setdefault(key, []).append(number)
    return [together_ for all_ in found.values() for together_ in _parts(all_)]


def _parts(numbers: list[int]) -> Iterable[list[int]]:
    return (numbers[start : start + MOST] for start in range(0, len(numbers), MOST))


def train(units: Sequence[Unit]) -> list[pd.DataFrame]:
    """The tables of units of one group, as :func:`training.encoders.train` gives them."""
    trainings = [training for unit in units if (training := _training(unit)) is not None]
    assert len(trainings) == len(units)
    tower, size, embed_dim, steps, batch, rate, _, device = trainings[0].alike
    images, captions = zip(*(_shared(trainings)), strict=True)
    models = [clip.create(tower, size=size, embed_dim=embed_dim, seed=t.seed, device=device) for t in trainings]
    for model, shown in zip(models, images, strict=True):
        clip.settle(model, shown)
    rows: list[list[dict[str, object]]] = [[] for _ in trainings]

    def keep(step: int, current: Sequence[CLIP]) -> None:
        for mine, training, model, said in zip(rows, trainings, current, captions, strict=True):
            if step in (*training.keep_at, steps):
                mine.append({"step": step, "weights": clip.weights(model, said.texts)})

    together.fit(
        models,
        images,
        captions,
        steps=steps,
        seeds=[t.seed for t in trainings],
        batch=batch,
        rate=rate,
        mask_duplicates=[t.masked for t in trainings],
        temperatures=[t.temperature for t in trainings],
        watch=keep,
        watch_at=(*{step for t in trainings for step in t.keep_at}, steps),
    )
    return [pd.DataFrame(mine) for mine in rows]


def _shared(trainings: Sequence[_Training]) -> Iterable[tuple[Tensor, Captions]]:
    """Pictures and captions of each; equal pictures are one tensor, so that they are kept once."""
    kept: list[Tensor] = []
    for training in trainings:
        images, captions = training.data()
        same = next((other for other in kept if other is images or other.equal(images)), None)
        if same is None:
            kept.append(images)
        yield (images if same is None else same), captions
