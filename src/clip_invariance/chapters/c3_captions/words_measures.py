"""Chapter 3, claims C15 and C20 to C24: what the encoders of :mod:`caption_words_training` make of new pictures.

Every unit returns rows of ``measure``, ``group``, ``metric``, ``value``; which encoder and which seed are parameters.
All test pictures of one seed come from the same scenes, changed in one factor at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import pandas as pd
import torch
from safetensors.torch import load
from torch import Tensor

from clip_invariance.captions import prompts
from clip_invariance.chapters.c3_captions.words_training import (
    ARMS,
    BACKGROUNDS,
    FLAT,
    FULL,
    LINE,
    NOUN_WORDS,
    OBJECTS,
    PROFILE_ARMS,
    SIZE,
    TOKEN,
    captions_of,
    careless,
    collection,
    group_of,
    held_out,
    train_labels,
    train_nouns,
    train_pictures,
    train_sources,
    training,
    treatments,
)
from clip_invariance.measure.decodability import probe_factors
from clip_invariance.measure.depths import depths
from clip_invariance.measure.geometry import project_on_span
from clip_invariance.measure.invariance import class_distance
from clip_invariance.measure.zero_shot import zero_shot_accuracy, zero_shot_weights
from clip_invariance.models import clip, sentences
from clip_invariance.profiles import Profile
from clip_invariance.training import encoders
from clip_invariance.units import Unit
from clip_invariance.worlds import scenes
from clip_invariance.worlds.scenes import Scenes

if TYPE_CHECKING:
    from open_clip.model import CLIP

#: Test pictures of each kind; probes are fitted on as many others.
TESTS = {"smoke": 96, "quick": 2000, "standard": 2000, "full": 4000}
#: Seeds of test scenes, far from those of training.
TEST_SEED, PROBE_SEED = 100_000, 200_000
SMALL = scenes.FACTORS["size"].index("small")
FACTORS = ("object", "group", "background", "place")
#: The arms whose probes C24 compares: captions of objects and of groups, labels, tags, and no training.
PROBED = ("unnamed_plain", "group_captions", "object_labels", "group_labels", "tags", "untrained")
#: Arms that a smoke run measures nothing of: the others reach every line.
NOT_IN_SMOKE = ("named_plain", "unrelated", "augmented")
#: The sentence encoder in the place of an arm.
SENTENCES = "sentences"

Row = tuple[str, str, float]
Encode = Callable[[Sequence[str]], Tensor]


def units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Everything that is measured on the arms of a profile, in the order of the chapter."""
    tests = TESTS[profile.name]
    arms = [arm for arm in PROFILE_ARMS[profile.name] if profile.name != "smoke" or arm not in NOT_IN_SMOKE]
    found = [Unit(sentence_texts, {"arm": SENTENCES, "seed": 0})]
    for seed in range(seeds):
        for arm in arms:
            encoder = {"encoder": training(arm, profile, seed, device)}
            params = {"arm": arm, "tests": tests, "seed": seed, "device": device}
            measures = {train_nouns: noun_pairs, train_sources: token_prompts}
            if ARMS[arm].function in measures:
                found.append(Unit(measures[ARMS[arm].function], params, encoder))
            elif arm not in ("group_captions", "untrained") and ARMS[arm].function is train_pictures:
                found.append(Unit(transfer, params, encoder))
            if arm == "named_drawn":
                found.append(Unit(medium_texts, {"arm": arm, "seed": seed, "device": device}, encoder))
            if arm in PROBED and "group_captions" in arms:
                found.append(Unit(label_probes, params, encoder))
    return found


def _rows(measure: str, rows: Iterable[Row]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["group", "metric", "value"]).assign(measure=measure)


def _encoder(table: pd.DataFrame, arm: str, seed: int, device: str) -> CLIP:
    params = ARMS[arm].params
    width = sentences.WIDTH if params.get("text") == "frozen" else 64
    return encoders.trained(
        table, tower=params.get("tower", "conv"), size=SIZE, seed=seed, embed_dim=width, device=device
    )


def _draw(pictures: Scenes, device: str) -> Tensor:
    return scenes.render(pictures, size=SIZE, device=device)


# ---------------------------------------------------------------- C20 and C21


def spoken_media(arm: str) -> tuple[int, ...]:
    """The media that an arm's training captions name."""
    params = ARMS[arm].params
    if params["captions"] not in ("medium", "silent"):
        return ()
    return (FULL, LINE) if params["drawings"] else (FULL,)


def object_prompts(arm: str) -> list[list[str]]:
    """For each object its prompts, in the words of the arm's own captions."""
    media = spoken_media(arm)
    if not media:
        return prompts(scenes.WORDS, "object")
    by_medium = [prompts(scenes.WORDS, "object", given={"medium": medium}) for medium in media]
    return [[text for texts in together for text in texts] for together in zip(*by_medium, strict=True)]


def test_sets(tests: int, seed: int) -> dict[str, Scenes]:
    """Pictures like those of the plain collection, and the same scenes with one thing new."""
    plain = collection(tests, TEST_SEED + seed)
    hidden = held_out(seed)
    kept = scenes.change(plain, "object", hidden[plain.labels["object"] % len(hidden)])
    others = torch.tensor([number for number in range(len(OBJECTS)) if number not in hidden])
    rest = scenes.change(plain, "object", others[plain.labels["object"] % len(others)])
    return {
        "same": plain,
        "flat": scenes.change(plain, "medium", FLAT),
        "backgrounds": scenes.change(plain, "background", plain.labels["background"] + BACKGROUNDS),
        "small": scenes.change(plain, "size", SMALL),
        "line_held_out": scenes.change(kept, "medium", LINE),
        "full_held_out": kept,
        "line_others": scenes.change(rest, "medium", LINE),
    }


def transfer(*, arm: str, tests: int, seed: int, device: str, encoder: pd.DataFrame) -> pd.DataFrame:
    """Zero-shot accuracy on pictures like those of training and on pictures that differ from them in one way.

    ``group`` is the test set. Metric "among_all": all objects are prompted; "among_held_out": only the four that have
    no line drawings in training, on their pictures; "banana": the same, on pictures of bananas.
    """
    model = _encoder(encoder, arm, seed, device)
    weights = zero_shot_weights(lambda texts: clip.encode_texts(model, texts), object_prompts(arm))
    hidden = held_out(seed)
    rows: list[Row] = []
    for name, pictures in test_sets(tests, seed).items():
        embedded, objects = clip.embed(model, _draw(pictures, device)), pictures.labels["object"]
        rows.append((name, "among_all", zero_shot_accuracy(embedded, weights, objects)))
        if name.endswith("held_out"):
            choices, four = torch.searchsorted(hidden, objects), weights[hidden.to(weights.device)]
            rows.append((name, "among_held_out", zero_shot_accuracy(embedded, four, choices)))
            banana = objects == 0
            rows.append((name, "banana", zero_shot_accuracy(embedded[banana.to(device)], four, choices[banana])))
    return _rows("transfer", rows)


# ---------------------------------------------------------------- C22


def _text_rows(encode: Encode, hidden: Tensor) -> pd.DataFrame:
    """For each object the cosine of "a sketch of X" with "a picture of X", and of that with "a picture of" the others."""
    sketch, picture = (
        encode([texts[0] for texts in prompts(scenes.WORDS, "object", given={"medium": medium})])
        for medium in (LINE, FULL)
    )
    between = picture @ picture.T
    n = len(OBJECTS)
    rows: list[Row] = []
    for number, name in enumerate(OBJECTS):
        rows.append((name, "other_medium", float(sketch[number] @ picture[number])))
        rows.append((name, "other_object", float((between[number].sum() - between[number, number]) / (n - 1))))
        rows.append((name, "held_out", float(number in hidden)))
    return _rows("texts", rows)


def medium_texts(*, arm: str, seed: int, device: str, encoder: pd.DataFrame) -> pd.DataFrame:
    """Text cosines in a tower whose captions named the medium; "held_out" marks objects never called a sketch."""
    model = _encoder(encoder, arm, seed, device)
    return _text_rows(lambda texts: clip.encode_texts(model, texts), held_out(seed))


def sentence_texts(*, arm: str, seed: int) -> pd.DataFrame:
    """The same in the published sentence encoder, which is the same for every seed."""
    return _text_rows(sentences.encode, torch.empty(0))


# ---------------------------------------------------------------- C15


def noun_pairs(*, arm: str, tests: int, seed: int, device: str, encoder: pd.DataFrame) -> pd.DataFrame:
    """How far one thing moves when only the background changes, and with it the name that captions give it.

    ``group`` is the object. Metrics: "separation", the mean distance of the two pictures over the distance between
    objects; "closeness", the cosine of the two pictures' captions that one expects in the published sentence encoder;
    "shared" and "kind", the object's treatment.
    """
    model = _encoder(encoder, arm, seed, device)
    pictures = collection(tests, TEST_SEED + seed)
    before, after = (
        clip.embed(model, _draw(scenes.change(pictures, "background", background), device)) for background in (0, 1)
    )
    objects = pictures.labels["object"].to(before.device)
    yardstick = class_distance(before, objects)
    distance = torch.linalg.vector_norm(before - after, dim=1) / yardstick
    rows: list[Row] = []
    for card in treatments(seed):
        name = OBJECTS[card.object]
        near = card.shared + (1 - card.shared) * caption_cosine(card.noun, card.other)
        rows.append((name, "separation", float(distance[objects == card.object].mean())))
        rows.append((name, "closeness", near))
        rows.append((name, "shared", card.shared))
        rows.append((name, "kind", float(card.kind)))
    return _rows("nouns", rows)


def caption_cosine(noun: str, other: str) -> float:
    """Cosine of two captions that differ in the noun only, in the published sentence encoder; mean over templates."""
    first, second = (
        sentences.encode([template.format(noun=word) for template in NOUN_WORDS.templates]) for word in (noun, other)
    )
    return float((first * second).sum(1).mean())


# ---------------------------------------------------------------- C23


def token_prompts(*, arm: str, tests: int, seed: int, device: str, encoder: pd.DataFrame) -> pd.DataFrame:
    """Zero-shot accuracy with and without the token, on pictures of the careful and of the careless source."""
    model = _encoder(encoder, arm, seed, device)
    pictures = scenes.sample(tests, TEST_SEED + seed)
    careful = _draw(pictures, device)
    plain = prompts(scenes.WORDS, "object")
    marked = [[f"{TOKEN} {text}" for text in texts] for texts in plain]
    rows: list[Row] = []
    for name, images in {"careful": careful, "careless": careless(careful, TEST_SEED + seed)}.items():
        embedded = clip.embed(model, images)
        for metric, texts in {"plain": plain, "token": marked}.items():
            weights = zero_shot_weights(lambda chosen: clip.encode_texts(model, chosen), texts)
            rows.append((name, metric, zero_shot_accuracy(embedded, weights, pictures.labels["object"])))
    return _rows("sources", rows)


# ---------------------------------------------------------------- C24


def label_probes(*, arm: str, tests: int, seed: int, device: str, encoder: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of linear probes for the object and for other factors, at every depth.

    "span" is what the training's own words or labels can read: the part of the embedding inside the span of the text
    embeddings or of the label layer's rows. ``group`` is the depth, ``metric`` the factor.
    """
    model = _encoder(encoder, arm, seed, device)
    pictures = [collection(tests, first + seed) for first in (PROBE_SEED, TEST_SEED)]
    known = [{**chosen.labels, "group": group_of(chosen.labels["object"])} for chosen in pictures]
    labels = [{factor: columns[factor].to(device) for factor in FACTORS} for columns in known]
    fitted, tested = (_features(model, arm, encoder, _draw(chosen, device), seed) for chosen in pictures)
    return _rows(
        "labels",
        [
            (depth, factor, accuracy)
            for depth in fitted
            for factor, accuracy in probe_factors(fitted[depth], labels[0], tested[depth], labels[1], seed=seed).items()
        ],
    )


def _features(model: CLIP, arm: str, table: pd.DataFrame, images: Tensor, seed: int) -> dict[str, Tensor]:
    """Backbone, embedding and span; no span where nothing was trained."""
    if ARMS[arm].function is train_labels:
        embedding = clip.embed(model, images)
        rows = load(table["head"].iloc[-1])["weight"].to(embedding.device)
        return {
            "backbone": clip.backbone(model, images),
            "embedding": embedding,
            "span": project_on_span(embedding, rows)[0],
        }
    words = captions_of(ARMS[arm].params["captions"], collection(500, seed).labels, seed).texts
    found = depths(model, images, words)
    names = ("backbone", "embedding") if arm == "untrained" else ("backbone", "embedding", "span")
    return {name: tensor for name, tensor in found.items() if name in names}
