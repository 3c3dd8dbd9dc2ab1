"""What encoders know of what their captions said and left out, on pictures that no training showed.

:func:`measure` at the end of a training and before it, :func:`follow` along the way, :func:`pixels` without an encoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from clip_invariance.captions import prompts
from clip_invariance.chapters.c3_captions.policies.training import SIZE, WORLDS, Arm, World
from clip_invariance.measure.counterfactual import compare_pairs, d_prime
from clip_invariance.measure.decodability import fit_probes, probe_factors
from clip_invariance.measure.depths import backbone_and_embedding
from clip_invariance.measure.geometry import project_on_span, text_span, value_variance
from clip_invariance.measure.invariance import centred_cosine
from clip_invariance.measure.tables import Row, row, rows
from clip_invariance.measure.zero_shot import zero_shot_accuracy, zero_shot_weights
from clip_invariance.models import clip
from clip_invariance.training import encoders
from clip_invariance.worlds.factored import Scenes

if TYPE_CHECKING:
    from open_clip.model import CLIP

#: Seeds of pictures to measure on; those of training pictures start at 0.
UNSEEN = 10_000
#: Added to a seed: other values than a picture has are drawn apart from the picture.
CHANGED = 700_000
#: Pictures whose captions define the span of the texts.
TEXTS = 500
#: Depths that are read along the way.
FOLLOWED_DEPTHS = ("embedding", "span")
#: What stands in the place of an arm, and of a depth, where there is no encoder.
PIXELS = "pixels"
#: Sets of pictures that a process keeps, 15 MB each: those of the next seeds, which other encoders are shown as well.
REMEMBERED = 6


@dataclass(frozen=True)
class Pictures:
    """How many pictures probes are fitted on and tested on, and how many matched pairs make a comparison."""

    fitted: int
    tested: int
    pairs: int


# ---------------------------------------------------------------- measures


def measure(encoder: pd.DataFrame, arm: Arm, scale: Pictures, seed: int, device: str) -> pd.DataFrame:
    """Everything about one encoder at the end of its training, and before it if those weights were kept.

    Args:
        encoder: weights, see :func:`encoders.train`.
        seed: that of the training; the pictures here are others.

    Returns:
        rows of :func:`measure.tables.row` with a column ``stage``, "untrained" or "trained". Metrics: "probe", "shuffled"
        and "zero_shot" are accuracies in [0, 1]; "variance" is the factor's share of the variance; "moved" how far
        changing it alone moves the picture, over the distance of unrelated pictures; "d_prime" for its first two values;
        "rank" the dimensions of the span; "head_here" and "head_elsewhere" accuracies of heads trained at a single place.
    """
    labels, images, texts = _unseen(arm, scale, seed, device)
    last, found = int(encoder.step.iloc[-1]), list[Row]()
    for step in [step for step in encoder.step.tolist() if step in {0, last}]:
        model = _encoder(encoder, arm, step, seed, device)
        language = Language.of(model, arm.world, texts)
        features = _depths(model, images, language)
        measured: list[Row] = []
        for depth in features:
            measured += _probes(features, depth, labels, scale.fitted, seed)
        measured += _probes(features, "embedding", labels, scale.fitted, seed, shuffle=True)
        if language:
            measured += _zero_shot(features["embedding"], language, labels, scale.fitted)
            measured.append(row("rank", text_span(language.captions).shape[1], depth="span"))
        measured += _variances(features, labels)
        measured += _moved(model, arm.world, language, scale.pairs, seed, device)
        if arm.world == "scenes":
            measured += _heads(features["embedding"], labels, scale.fitted, seed, "embedding")
        found += _at(step, last, measured)
    return pd.DataFrame(found)


def follow(encoder: pd.DataFrame, arm: Arm, scale: Pictures, seed: int, device: str) -> pd.DataFrame:
    """One encoder after each number of steps whose weights were kept; the arguments are those of :func:`measure`.

    Returns:
        rows as of :func:`measure` with a column ``step``; a stage between the ends is "on the way". Metrics: "probe" (depths
        embedding and span), "zero_shot", and "cosine" between the two pictures of a pair, centred, where ``factor`` says
        what the pair has in common (see :func:`related`).
    """
    labels, images, texts = _unseen(arm, scale, seed, device)
    drawn = _drawn(arm.world, scale.fitted + scale.tested, seed)
    partners = {
        shared: WORLDS[arm.world].render(scene, size=SIZE, device=device)
        for shared, scene in related(arm.world, arm.mentioned[0], drawn[: scale.pairs], UNSEEN + seed).items()
    }
    last, found = int(encoder.step.iloc[-1]), list[Row]()
    for step in encoder.step.tolist():
        model = _encoder(encoder, arm, step, seed, device)
        language = Language.of(model, arm.world, texts)
        features = _depths(model, images, language)
        embedding, measured = features["embedding"], list[Row]()
        for depth in [depth for depth in features if depth in FOLLOWED_DEPTHS]:
            measured += _probes(features, depth, labels, scale.fitted, seed)
        if language:
            measured += _zero_shot(embedding, language, labels, scale.fitted)
        for shared, partner in partners.items():
            cosine = centred_cosine(embedding[: scale.pairs], clip.embed(model, partner), embedding.mean(0)).mean()
            measured.append(row("cosine", float(cosine), depth="embedding", factor=shared))
        found += [one | {"step": step} for one in _at(step, last, measured)]
    return pd.DataFrame(found)


def pixels(arm: str, world: World, scale: Pictures, seed: int, device: str) -> pd.DataFrame:
    """Linear probes, and heads trained at a single place, on the raw pixels; rows as of :func:`measure`, of no stage."""
    drawn, images = _rendered(world, scale.fitted + scale.tested, seed, device)
    labels = drawn.to(device).labels
    features = {PIXELS: images.flatten(1).float() / 255}
    found = _probes(features, PIXELS, labels, scale.fitted, seed)
    if world == "scenes":
        found += _heads(features[PIXELS], labels, scale.fitted, seed, PIXELS)
    return pd.DataFrame([one | {"stage": ""} for one in found])


def _at(step: int, last: int, measured: Sequence[Row]) -> list[Row]:
    stage = "trained" if step == last else "on the way" if step else "untrained"
    return [one | {"stage": stage} for one in measured]


# ---------------------------------------------------------------- pictures, texts and encoders


def related(world: World, named: str, pictures: Scenes, seed: int) -> dict[str, Scenes]:
    """Partners for pictures, by what the two have in common.

    Args:
        named: the factor that captions mention.
        pictures: n scenes.
        seed: of what differs.

    Returns:
        "caption": the named factor and nothing else; "background": another factor and nothing else (in a world without
        background, its last one); "nothing": every factor differs; "all but the caption": the very same picture with
        another value of the named factor. Where a factor differs, its value is a random other one.
    """
    factors = WORLDS[world].FACTORS
    unnamed = "background" if "background" in factors else list(factors)[-1]
    generator = torch.Generator().manual_seed(CHANGED + seed)
    other = {factor: _other(pictures.labels[factor], len(values), generator) for factor, values in factors.items()}
    shared = {"caption": named, "background": unnamed, "nothing": ""}
    found: dict[str, Scenes] = {
        name: WORLDS[world].sample(
            len(pictures),
            seed + 1,
            given={f: pictures.labels[f] if f == factor else other[f] for f in factors},
        )
        for name, factor in shared.items()
    }
    return found | {"all but the caption": WORLDS[world].change(pictures, named, other[named])}


def _other(values: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """For each value another one, uniformly."""
    return (values + torch.randint(1, count, values.shape, generator=generator)) % count


def _drawn(world: World, n: int, seed: int) -> Scenes:
    drawn: Scenes = WORLDS[world].sample(n, UNSEEN + seed)
    return drawn


@lru_cache(maxsize=REMEMBERED)
def _rendered(world: World, n: int, seed: int, device: str) -> tuple[Scenes, Tensor]:
    drawn = _drawn(world, n, seed)
    return drawn, WORLDS[world].render(drawn, size=SIZE, device=device)


def _unseen(arm: Arm, scale: Pictures, seed: int, device: str) -> tuple[Mapping[str, Tensor], Tensor, tuple[str, ...]]:
    """Labels and pictures to measure on, and the texts that define the span; none for an arm without captions."""
    drawn, images = _rendered(arm.world, scale.fitted + scale.tested, seed, device)
    return drawn.to(device).labels, images, () if arm.labels else texts_of_span(arm, drawn, seed)


def texts_of_span(arm: Arm, drawn: Scenes, seed: int) -> tuple[str, ...]:
    """Captions that the encoder might have been trained with: of some pictures, as texts come sorted by what they name."""
    some = {factor: values[:TEXTS] for factor, values in drawn.labels.items()}
    return arm.captions().sample(WORLDS[arm.world].WORDS, some, seed).texts


def _encoder(table: pd.DataFrame, arm: Arm, step: int, seed: int, device: str) -> CLIP:
    return encoders.trained(
        table, tower=arm.tower, size=SIZE, seed=seed, embed_dim=arm.embed_dim, step=step, device=device
    )


@dataclass(frozen=True)
class Language:
    """What an encoder's text tower says, encoded once.

    Attributes:
        captions: (m, d), the captions whose span counts.
        prompts: factor -> (values, d), zero-shot classifiers.
    """

    captions: Tensor
    prompts: dict[str, Tensor]

    @staticmethod
    def of(model: CLIP, world: World, captions: Sequence[str]) -> Language | None:
        """None for an encoder without captions."""
        if not captions:
            return None
        classes = {factor: prompts(WORLDS[world].WORDS, factor) for factor in WORLDS[world].FACTORS}
        texts = list(
            dict.fromkeys([*captions, *(text for each in classes.values() for value in each for text in value)])
        )
        encoded = clip.encode_texts(model, texts)
        place = {text: number for number, text in enumerate(texts)}
        return Language(
            encoded[: len(captions)],
            {
                factor: zero_shot_weights(lambda asked: encoded[[place[text] for text in asked]], values)
                for factor, values in classes.items()
            },
        )


def _depths(model: CLIP, images: Tensor, language: Language | None) -> dict[str, Tensor]:
    """Representations at four depths, as :func:`measure.depths.depths`; without language there is no span."""
    backbone, embedding = backbone_and_embedding(model, images)
    found = {"backbone": backbone, "embedding": embedding}
    if language:
        found["span"], found["rest"] = project_on_span(found["embedding"], language.captions)
    return found


def _spoken(model: CLIP, images: Tensor, language: Language | None) -> dict[str, Tensor]:
    """The embedding, and its part inside the span."""
    embedding = clip.embed(model, images)
    return {"embedding": embedding} | ({"span": project_on_span(embedding, language.captions)[0]} if language else {})


# ---------------------------------------------------------------- rows


def _probes(
    features: Mapping[str, Tensor],
    depth: str,
    labels: Mapping[str, Tensor],
    first: int,
    seed: int,
    shuffle: bool = False,
) -> list[Row]:
    """Linear probes of every factor, fitted on the first pictures and tested on the others."""
    fitted, held_out = encoders.split(labels, first)
    x = features[depth]
    accuracy = probe_factors(x[:first], fitted, x[first:], held_out, shuffle=shuffle, seed=seed)
    return rows("shuffled" if shuffle else "probe", accuracy, depth=depth)


def _zero_shot(embedding: Tensor, language: Language, labels: Mapping[str, Tensor], first: int) -> list[Row]:
    accuracy = {
        factor: zero_shot_accuracy(embedding[first:], language.prompts[factor], values[first:])
        for factor, values in labels.items()
    }
    return rows("zero_shot", accuracy, depth="embedding")


def _variances(features: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> Iterator[Row]:
    """Shares of the variance that the factors explain, one at a time."""
    for depth in [depth for depth in ("embedding", "span") if depth in features]:
        total = float(features[depth].double().var(0, correction=0).sum())
        for factor, values in labels.items():
            yield row("variance", value_variance(features[depth], values) / total, depth=depth, factor=factor)


def _moved(model: CLIP, world: World, language: Language | None, pairs: int, seed: int, device: str) -> Iterator[Row]:
    """Matched counterfactuals: how far changing one factor moves a picture, and how well that shows along one direction."""
    base, unchanged, changed = _counterfactuals(world, pairs, seed, device)
    before = _spoken(model, unchanged, language)
    for factor, (moved, first, second) in changed.items():
        after = _spoken(model, moved, language)
        reference = base.labels[next(other for other in changed if other != factor)]
        for depth in after:
            compared = compare_pairs(before[depth], after[depth], reference, seed=seed)
            yield row("moved", compared.of_unrelated, depth=depth, factor=factor)
        apart = d_prime(clip.embed(model, first), clip.embed(model, second), seed=seed)
        yield row("d_prime", apart, depth="embedding", factor=factor)


@lru_cache(maxsize=REMEMBERED)
def _counterfactuals(
    world: World, pairs: int, seed: int, device: str
) -> tuple[Scenes, Tensor, dict[str, tuple[Tensor, Tensor, Tensor]]]:
    """Scenes, their pictures, and for each factor the pictures with another value of it, its first and its second one."""
    module, factors = WORLDS[world], WORLDS[world].FACTORS
    generator = torch.Generator().manual_seed(CHANGED + seed)
    base = _drawn(world, pairs, seed)

    def drawn(factor: str, value: int | Tensor) -> Tensor:
        picture: Tensor = module.render(module.change(base, factor, value), size=SIZE, device=device)
        return picture

    changed = {
        factor: (
            drawn(factor, _other(base.labels[factor], len(names), generator)),
            drawn(factor, 0),
            drawn(factor, 1),
        )
        for factor, names in factors.items()
    }
    return base, module.render(base, size=SIZE, device=device), changed


def _heads(features: Tensor, labels: Mapping[str, Tensor], first: int, seed: int, depth: str) -> list[Row]:
    """Classifiers of the object trained on pictures at one place, tested there and at the other places."""
    places, objects = labels["place"], labels["object"]
    tested = torch.arange(len(places), device=places.device) >= first
    here: list[float] = []
    elsewhere: list[float] = []
    for place in places.unique():
        own = places == place
        head = fit_probes(features[own & ~tested], {"object": objects[own & ~tested]}, seed=seed)
        for accuracies, chosen in ((here, own & tested), (elsewhere, ~own & tested)):
            accuracies.append(head.accuracy(features[chosen], {"object": objects[chosen]})["object"])
    means = {"head_here": here, "head_elsewhere": elsewhere}
    return [row(name, float(np.mean(each)), depth=depth, factor="object") for name, each in means.items()]
