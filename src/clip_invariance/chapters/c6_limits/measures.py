"""Chapter 6: what its encoders make of new pictures, asked in words, by probes, and by pictures that mislead.

Every unit returns rows of ``measure``, ``group``, ``metric``, ``value``; which arm and which seed are parameters.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from clip_invariance.captions import prompts
from clip_invariance.chapters.c6_limits.training import (
    ARMS,
    CARD_ARMS,
    TOWER,
    Arm,
    CardArm,
    Text,
    card_policy,
    training_scenes,
    usual_background,
    width,
)
from clip_invariance.measure.decodability import Probes, fit_probes
from clip_invariance.measure.geometry import project_on_span
from clip_invariance.measure.zero_shot import zero_shot_scores, zero_shot_weights
from clip_invariance.models import clip, sentences
from clip_invariance.training import encoders
from clip_invariance.worlds import cards, collages
from clip_invariance.worlds.collages import Layer
from clip_invariance.worlds.digits import load_digits
from clip_invariance.worlds.factored import Scenes

if TYPE_CHECKING:
    from open_clip.model import CLIP

#: What collages are asked about; "lookalike" is the object among the four of its own group.
ASKED = ("object", "group", "part", "count", "background", "quality")
LOOKALIKE = "lookalike"
#: Which slot of a caption answers which question.
SLOTS = {"object": "object", "group": "group", "part": "detail", "count": "detail"}
SLOTS |= {"background": "background", "quality": "quality"}
#: Seeds of test pictures and of those that probes are fitted on, far from those of training.
TEST_SEED, PROBE_SEED = 100_000, 200_000
#: Added to a seed: other backgrounds than a picture has are drawn apart from the picture.
OTHERS = 700_000
RECALLS = (1, 5, 10, 50)
QUERIES = ("thing", "all")
SHARP, GRAINY = range(2)
PARTS = len(collages.FACTORS["part"])

Row = tuple[str, str, str, float]


# ---------------------------------------------------------------- questions


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


def accuracy(scores: Tensor, labels: Tensor) -> float:
    """Share of rows whose highest score (n, classes) is that of their label, in [0, 1]."""
    return float((scores.argmax(1).cpu() == labels).float().mean())


def among_lookalikes(scores: Tensor, objects: Tensor) -> float:
    """Accuracy when only the four things of the right group may be answered, in [0, 1]; chance is a quarter."""
    groups = torch.arange(scores.shape[1]) // collages.PER_GROUP
    allowed = groups[None, :] == (objects // collages.PER_GROUP)[:, None]
    return accuracy(scores.cpu().masked_fill(~allowed, -torch.inf), objects)


# ---------------------------------------------------------------- pictures


@lru_cache(maxsize=4)
def new_pictures(n: int, seed: int, together: float, device: str) -> tuple[Scenes, Tensor]:
    """Collages that no encoder was trained on, drawn once for all arms that a process measures."""
    drawn = training_scenes(n, seed, together)
    return drawn, collages.render(drawn, device=device)


def _model(table: pd.DataFrame, size: int, seed: int, device: str, text: Text) -> CLIP:
    return encoders.trained(table, tower=TOWER, size=size, seed=seed, embed_dim=width(text), device=device)


def say(model: CLIP, text: Text, said: Sequence[str]) -> Tensor:
    """Unit embeddings (n, d) of texts: by the model's own text tower, or by the frozen one that it was trained beside."""
    return _sentences(tuple(said)).to(model.logit_scale.device) if text == "frozen" else clip.encode_texts(model, said)


@lru_cache(maxsize=4)
def _sentences(said: tuple[str, ...]) -> Tensor:
    """The same for every seed."""
    return sentences.encode(said)


# ---------------------------------------------------------------- collages


def measure(*, arm: str, tests: int, seed: int, device: str, encoder: pd.DataFrame) -> pd.DataFrame:
    """Ask one encoder of collages everything that its arm is there for (:func:`asked_of`).

    Args:
        arm: name in :data:`limits_training.ARMS`.
        tests: test pictures of each kind; probes are fitted on as many others.
        seed, device: as in training.
        encoder: the table of its training.
    """
    model = _model(encoder, collages.SIZE, seed, device, ARMS[arm].text)
    reader = Reader(ARMS[arm], model, tests, seed, device)
    rows = [row for ask in asked_of(arm) for row in ask(reader)]
    return pd.DataFrame(rows, columns=["measure", "group", "metric", "value"])


class Reader:
    """One encoder with what it is asked about; what several questions need is computed once."""

    def __init__(self, arm: Arm, model: CLIP, tests: int, seed: int, device: str) -> None:
        self.arm, self.model, self.tests, self.seed, self.device = arm, model, tests, seed, device
        self.scenes, self.images = new_pictures(tests, TEST_SEED + seed, 0.0, device)
        self.labels = collages.columns(self.scenes)
        self.embedded = clip.embed(model, self.images)
        self._probes: Probes | None = None
        asked = {text for factor in ASKED for said in questions(arm, factor) for text in said}
        asked |= {text for group in QUERIES for text in queries(group)}
        self._said = dict(zip(sorted(asked), say(model, arm.text, sorted(asked)), strict=True))

    def say(self, texts: Sequence[str]) -> Tensor:
        """Unit embeddings (n, d) of questions or queries, encoded all together when the reader was made."""
        return torch.stack([self._said[text] for text in texts])

    def classifier(self, factor: str) -> Tensor:
        """Unit vectors (values, d), see :func:`measure.zero_shot.zero_shot_weights`."""
        return zero_shot_weights(self.say, questions(self.arm, factor))

    def see(self, scenes: Scenes, layers: Sequence[tuple[Layer, Tensor]] | None = None) -> Tensor:
        """Embeddings of other pictures; ``layers`` as in :func:`worlds.collages.render`."""
        return clip.embed(self.model, collages.render(scenes, layers=layers, device=self.device))

    def object_scores(self, embedded: Tensor) -> Tensor:
        """(n, objects): cosines with the prompts, or for a net trained on labels the logits of a probe.

        The probe sees pictures like those of training.
        """
        if self.arm.objective == "captions":
            return zero_shot_scores(embedded, self.classifier("object"))
        if self._probes is None:
            drawn, images = new_pictures(self.tests, PROBE_SEED + self.seed, self.arm.together, self.device)
            wanted = {"object": drawn.labels["object"].to(self.device)}
            self._probes = fit_probes(clip.embed(self.model, images), wanted, seed=self.seed)
        return self._probes.logits(embedded)["object"]


Ask = Callable[[Reader], list[Row]]


def words(reader: Reader) -> list[Row]:
    """Zero-shot accuracy for every factor; "lookalike" chooses among the four things of the right group."""
    rows: list[Row] = []
    for factor in ASKED:
        scores = zero_shot_scores(reader.embedded, reader.classifier(factor))
        rows.append(("words", "words", factor, accuracy(scores, reader.labels[factor])))
        if factor == "object":
            rows.append(("words", "words", LOOKALIKE, among_lookalikes(scores, reader.labels["object"])))
    return rows


def probes(reader: Reader) -> list[Row]:
    """Linear probes at every depth, and on the embedding with shuffled labels.

    "span" is the part of the embedding that the arm's own words can read; only for captions.
    """
    drawn, images = new_pictures(reader.tests, PROBE_SEED + reader.seed, 0.0, reader.device)
    known = collages.columns(drawn)
    fit, test = _depths(reader, images), _depths(reader, reader.images)
    rows: list[Row] = []
    for depth in fit:
        rows += _probe_rows(depth, fit[depth], known, test[depth], reader.labels, reader.seed)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(reader.seed))
    shuffled = {name: column[order] for name, column in known.items()}
    return rows + _probe_rows("shuffled", fit["embedding"], shuffled, test["embedding"], reader.labels, reader.seed)


def _depths(reader: Reader, images: Tensor) -> dict[str, Tensor]:
    """The representations that probes may read: three of those of :func:`measure.depths.depths`."""
    embedding = clip.embed(reader.model, images)
    found = {"backbone": clip.backbone(reader.model, images), "embedding": embedding}
    if reader.arm.objective == "captions":
        texts = {text for slot in always_named(reader.arm) for text in _sayable(reader.arm, slot)}
        found["span"], _ = project_on_span(embedding, reader.say(sorted(texts)))
    return found


def _sayable(arm: Arm, slot: str) -> list[str]:
    """Everything that the prompts of an arm say about one slot."""
    factor = next(name for name, of in SLOTS.items() if of == slot)
    return [text for said in questions(arm, factor) for text in said]


def _probe_rows(
    group: str, fit: Tensor, known: Mapping[str, Tensor], test: Tensor, labels: Mapping[str, Tensor], seed: int
) -> list[Row]:
    """Accuracy of one probe for each factor, and among look-alikes."""
    found = fit_probes(fit, {factor: known[factor].to(fit.device) for factor in ASKED}, seed=seed).logits(test)
    rows: list[Row] = [("probe", group, factor, accuracy(found[factor], labels[factor])) for factor in ASKED]
    return [*rows, ("probe", group, LOOKALIKE, among_lookalikes(found["object"], labels["object"]))]


def surroundings(reader: Reader) -> list[Row]:
    """Accuracy for the thing before its usual background and before another one.

    "lured": of the errors before another background, the share that names the look-alike which belongs to it.
    "bare": the background alone; the share of answers that belong to it, a quarter by chance.
    """
    objects = reader.labels["object"]
    usual = usual_background(objects)
    generator = torch.Generator().manual_seed(OTHERS + reader.seed)
    other = (usual + torch.randint(1, 4, usual.shape, generator=generator)) % 4
    rows: list[Row] = []
    for name, background in (("usual", usual), ("other", other)):
        scores = reader.object_scores(reader.see(collages.change(reader.scenes, "background", background))).cpu()
        rows.append(("surroundings", name, "right", accuracy(scores, objects)))
        if name == "other":
            answers = scores.argmax(1)
            wrong = answers != objects
            lure = collages.PER_GROUP * (objects // collages.PER_GROUP) + background
            lured = (answers[wrong] == lure[wrong]).float()
            rows.append(("surroundings", name, "lured", float(lured.mean()) if len(lured) else 0.0))
    answers = reader.object_scores(reader.see(reader.scenes, layers=[])).argmax(1).cpu()
    fits = usual_background(answers) == reader.scenes.labels["background"]
    return [*rows, ("surroundings", "bare", "fits", float(fits.float().mean()))]


def misleading(scenes: Scenes) -> Tensor:
    """For each picture a thing of another group, int64 (n,), whose look its outlines are laid on."""
    objects, count = scenes.labels["object"], len(collages.FACTORS["object"])
    step = collages.PER_GROUP + scenes.nuisances["texture"] % (count - collages.PER_GROUP)
    return (collages.PER_GROUP * (objects // collages.PER_GROUP) + step) % count


def looks(reader: Reader) -> list[Row]:
    """The whole drawing, its look without its parts, its parts without its look, and one thing's parts on another's look.

    Metric "right" for the first three; for the last one, the shares of answers that follow "look" and "parts".
    "legible" is the accuracy of a probe that was fitted on such pictures: what could have been read.
    """
    objects, other = reader.labels["object"], misleading(reader.scenes)
    drawn, _ = new_pictures(reader.tests, PROBE_SEED + reader.seed, 0.0, reader.device)
    rows: list[Row] = [("looks", "whole", "right", accuracy(reader.object_scores(reader.embedded), objects))]
    for layer in ("look", "parts"):
        seen = reader.see(reader.scenes, layers=[(layer, objects)])
        rows.append(("looks", layer, "right", accuracy(reader.object_scores(seen), objects)))
        fit = reader.see(drawn, layers=[(layer, drawn.labels["object"])])
        probe = fit_probes(fit, {"object": drawn.labels["object"].to(fit.device)}, seed=reader.seed)
        rows.append(("looks", layer, "legible", accuracy(probe.logits(seen)["object"], objects)))
    answers = reader.object_scores(reader.see(reader.scenes, layers=[("look", other), ("parts", objects)])).argmax(1)
    for name, followed in (("look", other), ("parts", objects)):
        rows.append(("looks", "conflict", name, float((answers.cpu() == followed).float().mean())))
    return rows


def search(reader: Reader) -> list[Row]:
    """Recall at k of text-to-picture search: the share of queries for which one of the k best pictures is right.

    "thing": the query names the thing. "all": it lists the parts as well, and all must be right. "chance" is what
    random pictures give.
    """
    rows: list[Row] = []
    for group in QUERIES:
        wanted = _answers(reader.labels, group)
        order = zero_shot_scores(reader.embedded, reader.say(queries(group))).mT.argsort(1, descending=True)
        answered = wanted.any(1)
        hits = wanted.gather(1, order.cpu())[answered]
        for k in RECALLS:
            rows.append(("search", group, f"recall_{k}", float(hits[:, :k].any(1).float().mean())))
            rows.append(("search", group, f"chance_{k}", _random_recall(wanted[answered], k)))
    return rows


def queries(group: str) -> list[str]:
    """What is searched for: every thing, or every thing with every number of every part."""
    things = prompts(collages.WORDS, "object")
    if group == "thing":
        return [texts[0] for texts in things]
    listed = (prompts(collages.WORDS, "detail", given={"object": number}) for number in range(len(things)))
    return [texts[0] for details in listed for texts in details]


def _answers(labels: Mapping[str, Tensor], group: str) -> Tensor:
    """Which pictures answer each of :func:`queries`, bool (queries, n)."""
    objects, details = labels["object"], labels["detail"]
    number = torch.arange(len(collages.FACTORS["object"]))
    if group == "thing":
        return number[:, None] == objects
    detail = torch.arange(len(collages.WORDS.phrases["detail"]))
    return ((number[:, None, None] == objects) & (detail[:, None] == details)).flatten(0, 1)


def filtering(reader: Reader) -> list[Row]:
    """How well words about quality rank pictures: the probability that a sharp one ranks above a worse one.

    "grain" is the damage that training shows; "blur" it never shows.
    """
    sharp = collages.change(reader.scenes, "quality", SHARP)
    blurred = F.avg_pool2d(collages.render(sharp).float(), 3, stride=1, padding=1, count_include_pad=False)
    seen = {
        "grain": reader.see(collages.change(reader.scenes, "quality", GRAINY)),
        "blur": clip.embed(reader.model, blurred.round().to(torch.uint8).to(reader.device)),
    }
    weights = reader.classifier("quality")

    def score(embedded: Tensor) -> Tensor:
        scores = zero_shot_scores(embedded, weights)
        return scores[:, SHARP] - scores[:, GRAINY]

    best = score(reader.see(sharp))
    return [("filtering", name, "ranked", ranked_right(best, score(embedded))) for name, embedded in seen.items()]


def _random_recall(wanted: Tensor, k: int) -> float:
    """Mean probability that k pictures drawn without replacement hold a right one."""
    n = wanted.shape[1]
    return float(sum(1 - math.comb(n - m, k) / math.comb(n, k) for m in wanted.sum(1).tolist()) / len(wanted))


def ranked_right(better: Tensor, worse: Tensor) -> float:
    """Probability that a score of ``better`` (n,) exceeds one of ``worse`` (m,), ties count half: the area under the ROC."""
    ordered, _ = worse.sort()
    below, upto = (torch.searchsorted(ordered, better, right=right) for right in (False, True))
    return float((below + upto).float().mean() / (2 * len(worse)))


def asked_of(arm: str) -> list[Ask]:
    """The questions that an arm is there for."""
    setting = ARMS[arm]
    captioned = setting.objective == "captions" and setting.trained
    asks: list[Ask] = [words] if captioned else []
    if (setting.details and setting.text == "trained") or arm in ("plain", "coarse", "labels", "untrained"):
        asks.append(probes)
    if setting.together or arm in ("plain", "labels", "thing"):
        asks.append(surroundings)
    if arm in ("plain", "labels"):
        asks.append(looks)
    if arm in ("plain", "details_100"):
        asks.append(search)
    if arm in ("plain", "coarse"):
        asks.append(filtering)
    return asks


def measure_pixels(*, tests: int, seed: int, device: str) -> pd.DataFrame:
    """The same probes on the raw pixels of the same collages and cards; "bare": on the handwriting itself, 8 x 8 pixels."""
    drawn, images = new_pictures(tests, PROBE_SEED + seed, 0.0, device)
    tested, pictures = new_pictures(tests, TEST_SEED + seed, 0.0, device)
    flat = [part.flatten(1).float() for part in (images, pictures)]
    rows = _probe_rows("pixels", flat[0], collages.columns(drawn), flat[1], collages.columns(tested), seed)
    fit, tests_by_hand = _card_pictures(tests, seed, device)
    rows += _card_rows("pixels", lambda shown: shown.flatten(1).float(), fit, tests_by_hand, seed)
    train, test = (load_digits(8, split) for split in ("train", "test"))
    bare = fit_probes(train.images.flatten(1), {"digit": train.labels}, seed=seed)
    rows.append(("cards", "bare", "handwritten", accuracy(bare.logits(test.images.flatten(1))["digit"], test.labels)))
    return pd.DataFrame(rows, columns=["measure", "group", "metric", "value"])


# ---------------------------------------------------------------- cards

Drawn = tuple[Scenes, Tensor]


@lru_cache(maxsize=2)
def _card_pictures(tests: int, seed: int, device: str) -> tuple[Drawn, dict[str, Drawn]]:
    """Cards of the training split to fit probes on, and for each hand cards of the test split."""
    fit = cards.sample(tests, PROBE_SEED + seed)
    shown = {}
    for number, hand in enumerate(cards.FACTORS["hand"]):
        drawn = cards.sample(tests, TEST_SEED + seed, given={"hand": number})
        shown[hand] = (drawn, cards.render(drawn, "test", device=device))
    return (fit, cards.render(fit, "train", device=device)), shown


def _card_rows(
    group: str, features: Callable[[Tensor], Tensor], fit: Drawn, shown: dict[str, Drawn], seed: int
) -> list[Row]:
    """Accuracy of a probe for the digit, by hand."""
    x = features(fit[1])
    probe = fit_probes(x, {"digit": fit[0].labels["digit"].to(x.device)}, seed=seed)
    return [
        ("cards", group, hand, accuracy(probe.logits(features(images))["digit"], drawn.labels["digit"]))
        for hand, (drawn, images) in shown.items()
    ]


def card_questions(arm: CardArm, factor: str) -> list[list[str]]:
    """For each digit or card its prompts, in the arm's own style."""
    other = "card" if factor == "digit" else "digit"
    if card_policy(arm.names).mention[other] != 1:
        return prompts(cards.WORDS, factor)
    contexts = range(len(cards.FACTORS[other]))
    asked = [prompts(cards.WORDS, factor, given={other: value}) for value in contexts]
    return [[text for texts in of_value for text in texts] for of_value in zip(*asked, strict=True)]


def measure_cards(*, arm: str, tests: int, seed: int, device: str, encoder: pd.DataFrame) -> pd.DataFrame:
    """Digits printed in new typefaces and written by other people, read in words and by probes; the card, in words."""
    setting = CARD_ARMS[arm]
    model = _model(encoder, cards.SIZE, seed, device, setting.text)
    fit, shown = _card_pictures(tests, seed, device)
    rows: list[Row] = []
    if setting.objective == "captions" and setting.trained:
        for factor in ("digit", "card"):
            asked = card_questions(setting, factor)
            weights = zero_shot_weights(lambda said: say(model, setting.text, said), asked)
            for hand, (drawn, images) in shown.items():
                scores = zero_shot_scores(clip.embed(model, images), weights)
                group = "words" if factor == "digit" else "words for the card"
                rows.append(("cards", group, hand, accuracy(scores, drawn.labels[factor])))
    rows += _card_rows("embedding", lambda images: clip.embed(model, images), fit, shown, seed)
    rows += _card_rows("backbone", lambda images: clip.backbone(model, images), fit, shown, seed)
    return pd.DataFrame(rows, columns=["measure", "group", "metric", "value"])
