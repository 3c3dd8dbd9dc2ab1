"""What encoders whose captions differ in their words make of new pictures and of texts.

All test pictures of one seed come from the same scenes, changed in one factor at a time. Every measure takes the table of a
training, its arm, the number of test pictures, the seed and the device, and returns rows of :func:`measure.tables.row`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pandas as pd
import torch
from safetensors.torch import load
from torch import Tensor

from clip_invariance.captions import prompts
from clip_invariance.chapters.c3_captions.words.collection import (
    BACKGROUNDS,
    FLAT,
    FULL,
    LINE,
    NOUN_WORDS,
    OBJECTS,
    SIZE,
    TOKEN,
    captions_of,
    careless,
    collection,
    group_of,
    held_out,
    treatments,
)
from clip_invariance.chapters.c3_captions.words.training import Arm
from clip_invariance.measure.decodability import probe_factors
from clip_invariance.measure.depths import depths
from clip_invariance.measure.geometry import project_on_span
from clip_invariance.measure.invariance import class_distance
from clip_invariance.measure.tables import Row, row, rows
from clip_invariance.measure.zero_shot import zero_shot_accuracy, zero_shot_weights
from clip_invariance.models import clip, sentences
from clip_invariance.training import encoders
from clip_invariance.worlds import scenes
from clip_invariance.worlds.scenes import Scenes

if TYPE_CHECKING:
    from open_clip.model import CLIP

#: Seeds of test scenes, far from those of training.
TEST_SEED, PROBE_SEED = 100_000, 200_000
SMALL = scenes.FACTORS["size"].index("small")
#: What probes are asked for.
FACTORS = ("object", "group", "background", "place")
#: The published sentence encoder in the place of an arm.
SENTENCES = "sentences"


def _encoder(table: pd.DataFrame, arm: Arm, seed: int, device: str) -> CLIP:
    return encoders.trained(table, tower=arm.tower, size=SIZE, seed=seed, embed_dim=arm.embed_dim, device=device)


def _draw(pictures: Scenes, device: str) -> Tensor:
    return scenes.render(pictures, size=SIZE, device=device)


# ---------------------------------------------------------------- C20 and C21


def object_prompts(arm: Arm) -> list[list[str]]:
    """For each object its prompts, in the words of the arm's own captions."""
    if arm.captions not in ("medium", "silent"):
        return prompts(scenes.WORDS, "object")
    media = (FULL, LINE) if arm.drawings else (FULL,)
    by_medium = [prompts(scenes.WORDS, "object", given={"medium": medium}) for medium in media]
    return [[text for texts in of_all_media for text in texts] for of_all_media in zip(*by_medium, strict=True)]


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


def transfer(encoder: pd.DataFrame, arm: Arm, tests: int, seed: int, device: str) -> pd.DataFrame:
    """Zero-shot accuracy on pictures like those of training and on pictures that differ from them in one way.

    ``pictures`` is the test set. Metric "among_all": all objects are prompted; "among_held_out": only the four that have
    no line drawings in training, on their pictures; "banana": the same, on pictures of bananas.
    """
    model = _encoder(encoder, arm, seed, device)
    weights = zero_shot_weights(lambda texts: clip.encode_texts(model, texts), object_prompts(arm))
    hidden, found = held_out(seed), list[Row]()
    for name, pictures in test_sets(tests, seed).items():
        embedded, objects = clip.embed(model, _draw(pictures, device)), pictures.labels["object"]
        accuracy = {"among_all": zero_shot_accuracy(embedded, weights, objects)}
        if name.endswith("held_out"):
            choices, four = torch.searchsorted(hidden, objects), weights[hidden.to(weights.device)]
            accuracy["among_held_out"] = zero_shot_accuracy(embedded, four, choices)
            banana = objects == 0
            accuracy["banana"] = zero_shot_accuracy(embedded[banana.to(device)], four, choices[banana])
        found += [row(metric, value, factor="object", pictures=name) for metric, value in accuracy.items()]
    return pd.DataFrame(found)


# ---------------------------------------------------------------- C22


def medium_texts(encoder: pd.DataFrame, arm: Arm, tests: int, seed: int, device: str) -> pd.DataFrame:
    """For each ``thing`` X the cosine of "a picture of X" with "a sketch of X", and with "a picture of" the others.

    Metrics: "other_medium", "other_object", and "held_out", 1 for things that no caption called a sketch, else 0.
    """
    model = _encoder(encoder, arm, seed, device)
    return _texts(lambda texts: clip.encode_texts(model, texts), held_out(seed))


def sentence_texts(arm: str, seed: int) -> pd.DataFrame:
    """:func:`medium_texts` in the published sentence encoder, which is the same for every seed."""
    return _texts(sentences.encode, torch.empty(0))


def _texts(encode: Callable[[Sequence[str]], Tensor], hidden: Tensor) -> pd.DataFrame:
    sketch, picture = (
        encode([texts[0] for texts in prompts(scenes.WORDS, "object", given={"medium": medium})])
        for medium in (LINE, FULL)
    )
    between, n, found = picture @ picture.T, len(OBJECTS), list[Row]()
    for number, name in enumerate(OBJECTS):
        others = float((between[number].sum() - between[number, number]) / (n - 1))
        found.append(row("other_medium", float(sketch[number] @ picture[number]), thing=name))
        found.append(row("other_object", others, thing=name))
        found.append(row("held_out", float(number in hidden), thing=name))
    return pd.DataFrame(found)


# ---------------------------------------------------------------- C15


def noun_pairs(encoder: pd.DataFrame, arm: Arm, tests: int, seed: int, device: str) -> pd.DataFrame:
    """How far one ``thing`` moves when only the background changes, and with it the name that captions give it.

    Metrics: "separation", the mean distance of the two pictures over the distance between objects; "closeness", the cosine
    of the two pictures' captions that one expects in the published sentence encoder; "shared" and "kind", its treatment.
    """
    model = _encoder(encoder, arm, seed, device)
    pictures = collection(tests, TEST_SEED + seed)
    before, after = (
        clip.embed(model, _draw(scenes.change(pictures, "background", background), device)) for background in (0, 1)
    )
    objects = pictures.labels["object"].to(before.device)
    yardstick = class_distance(before, objects)
    distance, found = torch.linalg.vector_norm(before - after, dim=1) / yardstick, list[Row]()
    for card in treatments(seed):
        known = {
            "separation": float(distance[objects == card.object].mean()),
            "closeness": card.shared + (1 - card.shared) * caption_cosine(card.noun, card.other),
            "shared": card.shared,
            "kind": float(card.kind),
        }
        found += [row(metric, value, thing=OBJECTS[card.object]) for metric, value in known.items()]
    return pd.DataFrame(found)


def caption_cosine(noun: str, other: str) -> float:
    """Cosine of two captions that differ in the noun only, in the published sentence encoder; mean over templates."""
    first, second = (
        sentences.encode([template.format(noun=word) for template in NOUN_WORDS.templates]) for word in (noun, other)
    )
    return float((first * second).sum(1).mean())


# ---------------------------------------------------------------- C23


def token_prompts(encoder: pd.DataFrame, arm: Arm, tests: int, seed: int, device: str) -> pd.DataFrame:
    """Zero-shot accuracy without the token (metric "plain") and with it ("token"), by source of the ``pictures``."""
    model = _encoder(encoder, arm, seed, device)
    scene = scenes.sample(tests, TEST_SEED + seed)
    careful = _draw(scene, device)
    plain = prompts(scenes.WORDS, "object")
    asked = {"plain": plain, "token": [[f"{TOKEN} {text}" for text in texts] for texts in plain]}
    found: list[Row] = []
    for source, images in {"careful": careful, "careless": careless(careful, TEST_SEED + seed)}.items():
        embedded = clip.embed(model, images)
        for metric, texts in asked.items():
            weights = zero_shot_weights(lambda chosen: clip.encode_texts(model, chosen), texts)
            accuracy = zero_shot_accuracy(embedded, weights, scene.labels["object"])
            found.append(row(metric, accuracy, factor="object", pictures=source))
    return pd.DataFrame(found)


# ---------------------------------------------------------------- C24


def label_probes(encoder: pd.DataFrame, arm: Arm, tests: int, seed: int, device: str) -> pd.DataFrame:
    """Accuracy of linear probes for the object and for other factors, at every depth.

    "span" is what the training's own words or labels can read: the part of the embedding inside the span of the text
    embeddings or of the label layer's rows.
    """
    model = _encoder(encoder, arm, seed, device)
    pictures = [collection(tests, first + seed) for first in (PROBE_SEED, TEST_SEED)]
    known = [{**chosen.labels, "group": group_of(chosen.labels["object"])} for chosen in pictures]
    labels = [{factor: columns[factor].to(device) for factor in FACTORS} for columns in known]
    fitted, tested = (_features(model, arm, encoder, _draw(chosen, device), seed) for chosen in pictures)
    found: list[Row] = []
    for depth in fitted:
        accuracy = probe_factors(fitted[depth], labels[0], tested[depth], labels[1], seed=seed)
        found += rows("probe", accuracy, depth=depth)
    return pd.DataFrame(found)


def _features(model: CLIP, arm: Arm, table: pd.DataFrame, images: Tensor, seed: int) -> dict[str, Tensor]:
    """Backbone, embedding and span; no span where nothing was trained."""
    if arm.labels:
        embedding = clip.embed(model, images)
        layer = load(table["head"].iloc[-1])["weight"].to(embedding.device)
        return {
            "backbone": clip.backbone(model, images),
            "embedding": embedding,
            "span": project_on_span(embedding, layer)[0],
        }
    words = captions_of(arm.captions, collection(500, seed).labels, seed).texts
    found = depths(model, images, words)
    names = ("backbone", "embedding", "span") if arm.trained else ("backbone", "embedding")
    return {name: tensor for name, tensor in found.items() if name in names}
