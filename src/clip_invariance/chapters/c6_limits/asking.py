"""Chapter 6: how an encoder is asked: new pictures, prompts in the words of its captions, and marks for its answers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor

from clip_invariance.captions import prompts
from clip_invariance.chapters.c6_limits.arms import Arm, CardArm, Text
from clip_invariance.chapters.c6_limits.training import trained, training_scenes
from clip_invariance.measure.decodability import Probes, fit_probes
from clip_invariance.measure.zero_shot import zero_shot_scores, zero_shot_weights
from clip_invariance.models import clip, sentences
from clip_invariance.worlds import cards, collages
from clip_invariance.worlds.collages import Layer
from clip_invariance.worlds.factored import Scenes

if TYPE_CHECKING:
    from open_clip.model import CLIP

#: What collages are asked about; "lookalike" is the object among the four of its own group.
ASKED = ("object", "group", "part", "count", "background", "quality")
LOOKALIKE = "lookalike"
#: Which slot of a caption answers which question.
SLOTS = {"object": "object", "group": "group", "part": "detail", "count": "detail"}
SLOTS |= {"background": "background", "quality": "quality"}
#: What is searched for: every thing, or every thing with every number of every part.
QUERIES = ("thing", "all")
#: Seeds of test pictures and of those that probes are fitted on, far from those of training.
TEST_SEED, PROBE_SEED = 100_000, 200_000
PARTS = len(collages.FACTORS["part"])


# ---------------------------------------------------------------- prompts


def always_named(arm: Arm) -> tuple[str, ...]:
    """The slots that every caption of an arm fills."""
    return tuple(slot for slot, share in arm.policy().mention.items() if share == 1)


def questions(arm: Arm, factor: str) -> list[list[str]]:
    """For each value of a factor its prompts, in the arm's own style: with whatever its captions always mention.

    A prompt for "lemon" in an arm whose captions name the thing reads "a taxi with three lemons", for every thing and
    every number; their mean is the classifier.
    """
    slot = SLOTS[factor]
    naming = ("object", "group")
    others = [name for name in always_named(arm) if name != slot and not (slot in naming and name in naming)]
    contexts = itertools.product(*(range(len(collages.WORDS.phrases[name])) for name in others))
    asked: list[list[str]] = [[] for _ in _values(factor)]
    for values in contexts:
        texts = prompts(collages.WORDS, slot, given=dict(zip(others, values, strict=True)))
        for number, wordings in enumerate(texts):
            asked[_value_of(factor, number)] += wordings
    return asked


def _values(factor: str) -> Sequence[str]:
    return tuple(collages.GROUPS) if factor == "group" else collages.FACTORS[factor]


def _value_of(factor: str, number: int) -> int:
    """The value of a factor that a phrase of its slot tells."""
    return {"part": number % PARTS, "count": number // PARTS}.get(factor, number)


def sayable(arm: Arm, slot: str) -> list[str]:
    """Everything that the prompts of an arm say about one slot."""
    factor = next(name for name, of in SLOTS.items() if of == slot)
    return [text for texts in questions(arm, factor) for text in texts]


def queries(group: str) -> list[str]:
    """What is searched for, one of :data:`QUERIES`."""
    things = prompts(collages.WORDS, "object")
    if group == "thing":
        return [texts[0] for texts in things]
    listed = (prompts(collages.WORDS, "detail", given={"object": number}) for number in range(len(things)))
    return [texts[0] for details in listed for texts in details]


def card_questions(arm: CardArm, factor: str) -> list[list[str]]:
    """For each digit or card its prompts, in the arm's own style."""
    other = "card" if factor == "digit" else "digit"
    if arm.policy().mention[other] != 1:
        return prompts(cards.WORDS, factor)
    contexts = range(len(cards.FACTORS[other]))
    asked = [prompts(cards.WORDS, factor, given={other: value}) for value in contexts]
    return [[text for texts in of_value for text in texts] for of_value in zip(*asked, strict=True)]


def encode_texts(model: CLIP, text: Text, texts: Sequence[str]) -> Tensor:
    """Unit embeddings (n, d): by the model's own text tower, or by the frozen one that it was trained beside."""
    return (
        _sentences(tuple(texts)).to(model.logit_scale.device) if text == "frozen" else clip.encode_texts(model, texts)
    )


@lru_cache(maxsize=4)
def _sentences(texts: tuple[str, ...]) -> Tensor:
    """The same for every seed."""
    return sentences.encode(texts)


# ---------------------------------------------------------------- an encoder and its pictures


@lru_cache(maxsize=4)
def new_pictures(n: int, seed: int, together: float, device: str) -> tuple[Scenes, Tensor]:
    """Collages that no encoder was trained on, drawn once for all arms that a process measures."""
    scenes = training_scenes(n, seed, together)
    return scenes, collages.render(scenes, device=device)


class Encoder:
    """One encoder of collages with the test pictures it is asked about; what several questions need is computed once.

    Attributes:
        scenes, images, labels: test pictures, with what captions say of them (:func:`worlds.collages.columns`).
        embedded: their embeddings, (tests, d).
    """

    def __init__(self, table: pd.DataFrame, arm: Arm, tests: int, seed: int, device: str) -> None:
        self.arm, self.tests, self.seed, self.device = arm, tests, seed, device
        self.model = trained(table, arm, collages.SIZE, seed, device)
        self.scenes, self.images = new_pictures(tests, TEST_SEED + seed, 0.0, device)
        self.labels = collages.columns(self.scenes)
        self.embedded = clip.embed(self.model, self.images)
        self._probes: Probes | None = None
        asked = {text for factor in ASKED for texts in questions(arm, factor) for text in texts}
        asked |= {text for group in QUERIES for text in queries(group)}
        embeddings = encode_texts(self.model, arm.text, sorted(asked))
        self._embedding_of = dict(zip(sorted(asked), embeddings, strict=True))

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit embeddings (n, d) of questions or queries, encoded all together at the beginning."""
        return torch.stack([self._embedding_of[text] for text in texts])

    def classifier(self, factor: str) -> Tensor:
        """Unit vectors (values, d), see :func:`measure.zero_shot.zero_shot_weights`."""
        return zero_shot_weights(self.encode_texts, questions(self.arm, factor))

    def encode(self, scenes: Scenes, layers: Sequence[tuple[Layer, Tensor]] | None = None) -> Tensor:
        """Embeddings of other pictures; ``layers`` as in :func:`worlds.collages.render`."""
        return clip.embed(self.model, collages.render(scenes, layers=layers, device=self.device))

    def object_scores(self, embedded: Tensor) -> Tensor:
        """(n, objects): cosines with the prompts, or for a net trained on labels the logits of a probe.

        The probe sees pictures like those of training.
        """
        if self.arm.objective == "captions":
            return zero_shot_scores(embedded, self.classifier("object"))
        if self._probes is None:
            scenes, images = new_pictures(self.tests, PROBE_SEED + self.seed, self.arm.together, self.device)
            labels = {"object": scenes.labels["object"].to(self.device)}
            self._probes = fit_probes(clip.embed(self.model, images), labels, seed=self.seed)
        return self._probes.logits(embedded)["object"]


# ---------------------------------------------------------------- marks


def accuracy(scores: Tensor, labels: Tensor) -> float:
    """Share of rows whose highest score (n, classes) is that of their label, in [0, 1]."""
    return float((scores.argmax(1).cpu() == labels).float().mean())


def among_lookalikes(scores: Tensor, objects: Tensor) -> float:
    """Accuracy when only the four things of the right group may be answered, in [0, 1]; chance is a quarter."""
    groups = torch.arange(scores.shape[1]) // collages.PER_GROUP
    allowed = groups[None, :] == (objects // collages.PER_GROUP)[:, None]
    return accuracy(scores.cpu().masked_fill(~allowed, -torch.inf), objects)
