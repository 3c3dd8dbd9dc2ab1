"""Chapter 6: what its encoders make of new pictures, asked in words, by probes, and by pictures that mislead.

Rows have the columns of :func:`measure.tables.row`, and ``pictures`` where other pictures than those of training are shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from clip_invariance.chapters.c6_limits import arms
from clip_invariance.chapters.c6_limits.arms import Arm, CardArm
from clip_invariance.chapters.c6_limits.asking import (
    ASKED,
    LOOKALIKE,
    PROBE_SEED,
    QUERIES,
    TEST_SEED,
    Encoder,
    accuracy,
    always_named,
    among_lookalikes,
    card_questions,
    encode_texts,
    new_pictures,
    queries,
    sayable,
)
from clip_invariance.chapters.c6_limits.training import trained, usual_background
from clip_invariance.measure.decodability import fit_probes
from clip_invariance.measure.geometry import project_on_span
from clip_invariance.measure.tables import Row, row, rows
from clip_invariance.measure.zero_shot import zero_shot_scores, zero_shot_weights
from clip_invariance.models import clip
from clip_invariance.worlds import cards, collages
from clip_invariance.worlds.factored import Scenes

#: Added to a seed: other backgrounds than a picture has are drawn apart from the picture.
_OTHER_BACKGROUNDS = 700_000
RECALLS = (1, 5, 10, 50)
SHARP, GRAINY = range(2)


def measure(*, arm: Arm, tests: int, seed: int, device: str, encoder: pd.DataFrame) -> pd.DataFrame:
    """Ask one encoder of collages everything that its arm is there for (:func:`asked_of`).

    Args:
        arm: what it was trained on.
        tests: test pictures of each kind; probes are fitted on as many others.
        seed, device: as in training.
        encoder: the table of its training.
    """
    asked = Encoder(encoder, arm, tests, seed, device)
    return pd.DataFrame([found for ask in asked_of(arm) for found in ask(asked)])


def asked_of(arm: Arm) -> list[Callable[[Encoder], list[Row]]]:
    """The questions that an arm is there for."""
    asks: list[tuple[Callable[[Encoder], list[Row]], bool]] = [
        (words, arm.objective == "captions" and arm.trained),
        (
            probes,
            (arm.details > 0 and arm.text == "trained")
            or arm in (arms.PLAIN, arms.COARSE, arms.LABELS, arms.UNTRAINED),
        ),
        (surroundings, arm.together > 0 or arm in (arms.PLAIN, arms.LABELS, arms.THING)),
        (looks, arm in (arms.PLAIN, arms.LABELS)),
        (search, arm in (arms.PLAIN, arms.DETAILED)),
        (filtering, arm in (arms.PLAIN, arms.COARSE)),
    ]
    return [ask for ask, wanted in asks if wanted]


def words(encoder: Encoder) -> list[Row]:
    """Zero-shot accuracy for every factor; "lookalike" chooses among the four things of the right group."""
    scores = {factor: zero_shot_scores(encoder.embedded, encoder.classifier(factor)) for factor in ASKED}
    return rows("words", _accuracies(scores, encoder.labels))


def _accuracies(scores: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> dict[str, float]:
    """Accuracy for each factor, and among look-alikes."""
    right = {factor: accuracy(scores[factor], labels[factor]) for factor in ASKED}
    return right | {LOOKALIKE: among_lookalikes(scores["object"], labels["object"])}


def probes(encoder: Encoder) -> list[Row]:
    """Linear probes at every depth, and on the embedding with shuffled labels.

    "span" is the part of the embedding that the arm's own words can read; only for captions.
    """
    scenes, images = new_pictures(encoder.tests, PROBE_SEED + encoder.seed, 0.0, encoder.device)
    known = collages.columns(scenes)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(encoder.seed))
    shuffled = {name: column[order] for name, column in known.items()}
    fit, test = _depths(encoder, images), _depths(encoder, encoder.images)
    found = [
        one
        for depth in fit
        for one in _probe("probe", depth, fit[depth], known, test[depth], encoder.labels, encoder.seed)
    ]
    return found + _probe(
        "shuffled", "embedding", fit["embedding"], shuffled, test["embedding"], encoder.labels, encoder.seed
    )


def _depths(encoder: Encoder, images: Tensor) -> dict[str, Tensor]:
    """The representations that probes may read: three of those of :func:`measure.depths.depths`."""
    embedding = clip.embed(encoder.model, images)
    found = {"backbone": clip.backbone(encoder.model, images), "embedding": embedding}
    if encoder.arm.objective == "captions":
        texts = {text for slot in always_named(encoder.arm) for text in sayable(encoder.arm, slot)}
        found["span"], _ = project_on_span(embedding, encoder.encode_texts(sorted(texts)))
    return found


def _probe(
    metric: str,
    depth: str,
    fit: Tensor,
    known: Mapping[str, Tensor],
    test: Tensor,
    labels: Mapping[str, Tensor],
    seed: int,
) -> list[Row]:
    """Probes fitted on one representation with what is known of it, for every factor."""
    scores = fit_probes(fit, {factor: known[factor].to(fit.device) for factor in ASKED}, seed=seed).logits(test)
    return rows(metric, _accuracies(scores, labels), depth=depth)


# ---------------------------------------------------------------- pictures that mislead


def surroundings(encoder: Encoder) -> list[Row]:
    """Accuracy for the thing before its usual background and before another one.

    "lured": of the errors before another background, the share that names the look-alike which belongs to it.
    "fits": the background alone; the share of answers that belong to it, a quarter by chance.
    """
    objects = encoder.labels["object"]
    usual = usual_background(objects)
    generator = torch.Generator().manual_seed(_OTHER_BACKGROUNDS + encoder.seed)
    other = (usual + torch.randint(1, 4, usual.shape, generator=generator)) % 4
    scores = {
        name: encoder.object_scores(encoder.encode(collages.change(encoder.scenes, "background", background))).cpu()
        for name, background in (("usual", usual), ("other", other))
    }
    answers = scores["other"].argmax(1)
    wrong = answers != objects
    lure = collages.PER_GROUP * (objects // collages.PER_GROUP) + other
    lured = (answers[wrong] == lure[wrong]).float()
    bare = encoder.object_scores(encoder.encode(encoder.scenes, layers=[])).argmax(1).cpu()
    fits = usual_background(bare) == encoder.scenes.labels["background"]
    return [
        *(row("right", accuracy(scores[name], objects), factor="object", pictures=name) for name in scores),
        row("lured", float(lured.mean()) if len(lured) else 0.0, factor="object", pictures="other"),
        row("fits", float(fits.float().mean()), factor="object", pictures="bare"),
    ]


def misleading(scenes: Scenes) -> Tensor:
    """For each picture a thing of another group, int64 (n,), whose look its outlines are laid on."""
    objects, count = scenes.labels["object"], len(collages.FACTORS["object"])
    step = collages.PER_GROUP + scenes.nuisances["texture"] % (count - collages.PER_GROUP)
    return (collages.PER_GROUP * (objects // collages.PER_GROUP) + step) % count


def looks(encoder: Encoder) -> list[Row]:
    """The whole drawing, its look without its parts, its parts without its look, and one thing's parts on another's look.

    Metric "right" for the first three; for the last one, the shares of answers that follow the look and the parts.
    "legible" is the accuracy of a probe that was fitted on such pictures: what could have been read.
    """
    objects, other = encoder.labels["object"], misleading(encoder.scenes)
    scenes, _ = new_pictures(encoder.tests, PROBE_SEED + encoder.seed, 0.0, encoder.device)

    def right(embedded: Tensor, pictures: str) -> Row:
        return row("right", accuracy(encoder.object_scores(embedded), objects), factor="object", pictures=pictures)

    found = [right(encoder.embedded, "whole")]
    for layer in ("look", "parts"):
        embedded = encoder.encode(encoder.scenes, layers=[(layer, objects)])
        fit = encoder.encode(scenes, layers=[(layer, scenes.labels["object"])])
        probe = fit_probes(fit, {"object": scenes.labels["object"].to(fit.device)}, seed=encoder.seed)
        legible = accuracy(probe.logits(embedded)["object"], objects)
        found += [right(embedded, layer), row("legible", legible, factor="object", pictures=layer)]
    answers = encoder.object_scores(
        encoder.encode(encoder.scenes, layers=[("look", other), ("parts", objects)])
    ).argmax(1)
    for metric, followed in (("as_look", other), ("as_parts", objects)):
        share = float((answers.cpu() == followed).float().mean())
        found.append(row(metric, share, factor="object", pictures="conflict"))
    return found


# ---------------------------------------------------------------- search and filtering


def search(encoder: Encoder) -> list[Row]:
    """Recall at k of text-to-picture search: the share of queries for which one of the k best pictures is right.

    Factor "thing": the query names the thing. "all": it lists the parts as well, and all must be right. "chance" is what
    random pictures give.
    """
    found: list[Row] = []
    for group in QUERIES:
        wanted = _answers(encoder.labels, group)
        texts = encoder.encode_texts(queries(group))
        order = zero_shot_scores(encoder.embedded, texts).mT.argsort(1, descending=True)
        answered = wanted.any(1)
        hits = wanted.gather(1, order.cpu())[answered]
        for k in RECALLS:
            found.append(row(f"recall_{k}", float(hits[:, :k].any(1).float().mean()), factor=group))
            found.append(row(f"chance_{k}", _random_recall(wanted[answered], k), factor=group))
    return found


def _answers(labels: Mapping[str, Tensor], group: str) -> Tensor:
    """Which pictures answer each of :func:`asking.queries`, bool (queries, n)."""
    objects, details = labels["object"], labels["detail"]
    number = torch.arange(len(collages.FACTORS["object"]))
    if group == "thing":
        return number[:, None] == objects
    detail = torch.arange(len(collages.WORDS.phrases["detail"]))
    return ((number[:, None, None] == objects) & (detail[:, None] == details)).flatten(0, 1)


def _random_recall(wanted: Tensor, k: int) -> float:
    """Mean probability that k pictures drawn without replacement hold a right one."""
    n = wanted.shape[1]
    return float(sum(1 - math.comb(n - m, k) / math.comb(n, k) for m in wanted.sum(1).tolist()) / len(wanted))


def filtering(encoder: Encoder) -> list[Row]:
    """How well words about quality rank pictures: the probability that a sharp one ranks above a worse one.

    "grain" is the damage that training shows; "blur" it never shows.
    """
    sharp = collages.change(encoder.scenes, "quality", SHARP)
    blurred = F.avg_pool2d(collages.render(sharp).float(), 3, stride=1, padding=1, count_include_pad=False)
    damaged = {
        "grain": encoder.encode(collages.change(encoder.scenes, "quality", GRAINY)),
        "blur": clip.embed(encoder.model, blurred.round().to(torch.uint8).to(encoder.device)),
    }
    weights = encoder.classifier("quality")

    def score(embedded: Tensor) -> Tensor:
        scores = zero_shot_scores(embedded, weights)
        return scores[:, SHARP] - scores[:, GRAINY]

    best = score(encoder.encode(sharp))
    return [
        row("ranked", ranked_right(best, score(embedded)), factor="quality", pictures=name)
        for name, embedded in damaged.items()
    ]


def ranked_right(better: Tensor, worse: Tensor) -> float:
    """Probability that a score of ``better`` (n,) exceeds one of ``worse`` (m,), ties count half: the area under the ROC."""
    ordered, _ = worse.sort()
    below, upto = (torch.searchsorted(ordered, better, right=right) for right in (False, True))
    return float((below + upto).float().mean() / (2 * len(worse)))


# ---------------------------------------------------------------- cards, and raw pixels

Cards = tuple[Scenes, Tensor]


@lru_cache(maxsize=2)
def _card_pictures(tests: int, seed: int, device: str) -> tuple[Cards, dict[str, Cards]]:
    """Cards of the training split to fit probes on, and for each hand cards of the test split."""
    fit, tested = cards.sample(tests, PROBE_SEED + seed), {}
    for number, hand in enumerate(cards.FACTORS["hand"]):
        scenes = cards.sample(tests, TEST_SEED + seed, given={"hand": number})
        tested[hand] = (scenes, cards.render(scenes, "test", device=device))
    return (fit, cards.render(fit, "train", device=device)), tested


def measure_cards(*, arm: CardArm, tests: int, seed: int, device: str, encoder: pd.DataFrame) -> pd.DataFrame:
    """Digits printed in new typefaces and written by other people, read in words and by probes; the card, in words."""
    model = trained(encoder, arm, cards.SIZE, seed, device)
    fit, tested = _card_pictures(tests, seed, device)
    found: list[Row] = []
    if arm.objective == "captions" and arm.trained:
        for factor in ("digit", "card"):
            asked = card_questions(arm, factor)
            weights = zero_shot_weights(lambda texts: encode_texts(model, arm.text, texts), asked)
            for hand, (scenes, images) in tested.items():
                scores = zero_shot_scores(clip.embed(model, images), weights)
                found.append(row("words", accuracy(scores, scenes.labels[factor]), factor=factor, pictures=hand))
    found += _probe_digits("embedding", lambda images: clip.embed(model, images), fit, tested, seed)
    return pd.DataFrame(
        found + _probe_digits("backbone", lambda images: clip.backbone(model, images), fit, tested, seed)
    )


def _probe_digits(
    depth: str, features: Callable[[Tensor], Tensor], fit: Cards, tested: dict[str, Cards], seed: int
) -> list[Row]:
    """Accuracy of a probe for the digit, by hand."""
    x = features(fit[1])
    probe = fit_probes(x, {"digit": fit[0].labels["digit"].to(x.device)}, seed=seed)
    right = {
        hand: accuracy(probe.logits(features(images))["digit"], scenes.labels["digit"])
        for hand, (scenes, images) in tested.items()
    }
    return [row("probe", value, depth=depth, factor="digit", pictures=hand) for hand, value in right.items()]


def measure_pixels(*, tests: int, seed: int, device: str) -> pd.DataFrame:
    """The same probes on the raw pixels of the same collages and cards."""

    def flat(images: Tensor) -> Tensor:
        return images.flatten(1).float()

    scenes, images = new_pictures(tests, PROBE_SEED + seed, 0.0, device)
    tested, others = new_pictures(tests, TEST_SEED + seed, 0.0, device)
    known, labels = collages.columns(scenes), collages.columns(tested)
    return pd.DataFrame(
        _probe("probe", "pixels", flat(images), known, flat(others), labels, seed)
        + _probe_digits("pixels", flat, *_card_pictures(tests, seed, device), seed)
    )
