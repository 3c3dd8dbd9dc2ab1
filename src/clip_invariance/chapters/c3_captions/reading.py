"""Chapter 3, measurements: what encoders know of what their captions said and left out.

Encoders come from :mod:`clip_invariance.chapters.c3_captions.training`. All are measured on pictures that no training
showed: :func:`read` at the end of training, :func:`follow` along the way, :func:`pixels` without an encoder.
:mod:`clip_invariance.chapters.c3_captions.caption_policies` makes figures and numbers of the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from clip_invariance.captions import prompts
from clip_invariance.chapters.c3_captions.training import ARMS, SIZE, WORLDS, Arm, World, caption_policy, encoder
from clip_invariance.measure.counterfactual import compare_pairs, d_prime
from clip_invariance.measure.decodability import fit_probes, probe_factors
from clip_invariance.measure.depths import backbone_and_embedding
from clip_invariance.measure.geometry import project_on_span, text_span, value_variance
from clip_invariance.measure.invariance import centred_cosine
from clip_invariance.measure.zero_shot import zero_shot_accuracy, zero_shot_weights
from clip_invariance.models import clip
from clip_invariance.models.clip import Tower
from clip_invariance.profiles import Profile
from clip_invariance.training import encoders
from clip_invariance.units import Unit
from clip_invariance.worlds.factored import Scenes

if TYPE_CHECKING:
    from open_clip.model import CLIP

Row = dict[str, Any]

#: Pictures to fit probes on, and to test them on.
PICTURES = {"smoke": 240, "quick": 3000, "standard": 3000, "full": 3000}
TEST = {"smoke": 200, "quick": 2000, "standard": 2000, "full": 2000}
#: Matched pairs for each comparison.
PAIRS = {"smoke": 30, "quick": 300, "standard": 300, "full": 300}
#: Seeds of pictures to measure on; those of training pictures start at 0.
UNSEEN = 10_000
#: Added to a seed: other values than a picture has are drawn apart from the picture.
OTHERS = 700_000
#: Pictures whose captions define the span of the texts.
TEXTS = 500
#: Trainings that the smoke profile leaves out: arms like others that it has.
SIMILAR = {
    "others at .03",
    "others at .3",
    "trifeature colour",
    "trifeature texture",
    "trifeature shape, three times longer",
}
#: Trainings that are followed along the way, and controls that are read before and after theirs.
FOLLOWED = ("object", "three times longer", "labels of the object", "labels of the object, three times longer")
#: Depths that are read along the way.
FOLLOWED_DEPTHS = ("embedding", "span")

PIXELS = "pixels"
#: Sets of pictures that a process keeps, 15 MB each: those of the next seeds, which other encoders are shown as well.
REMEMBERED = 6


# ---------------------------------------------------------------- units


def units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Measurements of every encoder at the end of its training."""
    return [
        _unit(read, name, arm, profile, seed, device)
        for name, arm in ARMS[profile.name].items()
        if profile.name != "smoke" or name not in SIMILAR
        for seed in range(seeds)
    ]


def course_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Measurements along the way of the trainings that are followed."""
    arms = {name: arm for name, arm in ARMS[profile.name].items() if name in FOLLOWED}
    return [_unit(follow, name, arm, profile, seed, device) for name, arm in arms.items() for seed in range(seeds)]


def pixel_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Probes of the raw pixels of both worlds."""
    return [
        Unit(pixels, {"arm": PIXELS, "world": world} | _scale(profile, seed, device))
        for world in WORLDS
        for seed in range(seeds)
    ]


def _scale(profile: Profile, seed: int, device: str) -> Row:
    size = {"size": SIZE, "pictures": PICTURES[profile.name], "test": TEST[profile.name]}
    return size | {"seed": seed, "device": device}


def _unit(function: Callable[..., pd.DataFrame], name: str, arm: Arm, profile: Profile, seed: int, device: str) -> Unit:
    what: Row = {
        "arm": name,
        "world": arm.world,
        "policy": arm.policy,
        "spoken": not arm.labels,
        "others": arm.others,
        "filler": arm.filler,
        "tower": arm.tower,
        "embed_dim": arm.embed_dim,
        "pairs": PAIRS[profile.name],
    }
    needs = {"encoder": encoder(arm, profile, seed, device)}
    return Unit(function, what | _scale(profile, seed, device), needs)


# ---------------------------------------------------------------- measures


def read(
    encoder: pd.DataFrame,
    arm: str,
    world: World,
    policy: str,
    spoken: bool,
    others: float,
    filler: bool,
    tower: Tower,
    embed_dim: int,
    pairs: int,
    size: int,
    pictures: int,
    test: int,
    seed: int,
    device: str,
) -> pd.DataFrame:
    """Everything about one encoder at the end of its training, and before it if those weights were kept.

    Args:
        encoder: weights, see :func:`encoders.train`.
        arm: its name; decides nothing.
        policy: the factors that its captions always mention, joined by "+".
        spoken: whether there were captions; labels of the same factors took their place otherwise.
        others, filler: see :class:`caption_training.Arm`.
        world, tower, embed_dim, size: what the encoder was built for.
        pairs: matched pairs for each comparison.
        pictures, test: how many to fit probes on and to test them on.
        seed: that of the training; the pictures here are others.

    Returns:
        columns ``step``, ``metric``, ``depth``, ``factor``, ``value``. Metrics: "probe", "shuffled" and "zero_shot" are
        accuracies in [0, 1]; "variance" is the factor's share of the variance; "moved" how far changing it alone moves
        the picture, over the distance of unrelated pictures; "d_prime" for its first two values; "rank" the
        dimensions of the span; "head_here" and "head_elsewhere" accuracies of heads trained at a single place.
    """
    drawn, images = _unseen(world, pictures + test, size, seed, device)
    labels = drawn.to(device).labels
    fitted, held_out = encoders.split(labels, pictures)
    texts = texts_of_span(world, policy, others, filler, drawn, seed) if spoken else ()
    last = int(encoder.step.iloc[-1])
    rows: list[Row] = []
    for step in [step for step in encoder.step.tolist() if step in {0, last}]:
        model = encoders.trained(
            encoder, tower=tower, size=size, seed=seed, embed_dim=embed_dim, step=step, device=device
        )
        language = Language.of(model, world, texts)
        found = _depths(model, images, language)
        for depth, features in found.items():
            accuracy = probe_factors(features[:pictures], fitted, features[pictures:], held_out, seed=seed)
            rows += [_row(step, "probe", depth, factor, value) for factor, value in accuracy.items()]
        embedding = found["embedding"]
        shuffled = probe_factors(embedding[:pictures], fitted, embedding[pictures:], held_out, shuffle=True, seed=seed)
        rows += [_row(step, "shuffled", "embedding", factor, value) for factor, value in shuffled.items()]
        if language:
            rows += _zero_shot(language, step, embedding[pictures:], held_out)
            rows.append(_row(step, "rank", "span", "", text_span(language.captions).shape[1]))
        rows += _variances(found, labels, step)
        rows += _moved(model, world, language, pairs, size, seed, step, device)
        if world == "scenes":
            rows += _heads(embedding, labels, pictures, seed, step, "embedding")
    return pd.DataFrame(rows)


def follow(
    encoder: pd.DataFrame,
    arm: str,
    world: World,
    policy: str,
    spoken: bool,
    others: float,
    filler: bool,
    tower: Tower,
    embed_dim: int,
    pairs: int,
    size: int,
    pictures: int,
    test: int,
    seed: int,
    device: str,
) -> pd.DataFrame:
    """One encoder after each number of steps whose weights were kept; the arguments are those of :func:`read`.

    Returns:
        columns as :func:`read`. Metrics: "probe" (depths embedding and span), "zero_shot", and "cosine" between the two
        pictures of a pair, centred, where ``factor`` says what the pair has in common (see :func:`related`).
    """
    drawn, images = _unseen(world, pictures + test, size, seed, device)
    labels = drawn.to(device).labels
    fitted, held_out = encoders.split(labels, pictures)
    texts = texts_of_span(world, policy, others, filler, drawn, seed) if spoken else ()
    named = policy.split("+")[0]
    partners = related(world, named, drawn[:pairs], UNSEEN + seed)
    drawings = {name: WORLDS[world].render(scene, size=size, device=device) for name, scene in partners.items()}
    rows: list[Row] = []
    for step in encoder.step.tolist():
        model = encoders.trained(
            encoder, tower=tower, size=size, seed=seed, embed_dim=embed_dim, step=step, device=device
        )
        language = Language.of(model, world, texts)
        found = _depths(model, images, language)
        embedding = found["embedding"]
        for depth, features in found.items():
            if depth not in FOLLOWED_DEPTHS:
                continue
            accuracy = probe_factors(features[:pictures], fitted, features[pictures:], held_out, seed=seed)
            rows += [_row(step, "probe", depth, factor, value) for factor, value in accuracy.items()]
        if language:
            rows += _zero_shot(language, step, embedding[pictures:], held_out)
        for name, partner in drawings.items():
            cosine = centred_cosine(embedding[:pairs], clip.embed(model, partner), embedding.mean(0)).mean()
            rows.append(_row(step, "cosine", "embedding", name, float(cosine)))
    return pd.DataFrame(rows)


def pixels(arm: str, world: World, size: int, pictures: int, test: int, seed: int, device: str) -> pd.DataFrame:
    """Linear probes, and heads trained at a single place, on the raw pixels; columns as :func:`read`."""
    drawn, images = _unseen(world, pictures + test, size, seed, device)
    labels = drawn.to(device).labels
    fitted, held_out = encoders.split(labels, pictures)
    features = images.flatten(1).float() / 255
    accuracy = probe_factors(features[:pictures], fitted, features[pictures:], held_out, seed=seed)
    rows = [_row(0, "probe", PIXELS, factor, value) for factor, value in accuracy.items()]
    if world == "scenes":
        rows += _heads(features, labels, pictures, seed, 0, PIXELS)
    return pd.DataFrame(rows)


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
    generator = torch.Generator().manual_seed(OTHERS + seed)
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


@lru_cache(maxsize=REMEMBERED)
def _unseen(world: World, n: int, size: int, seed: int, device: str) -> tuple[Scenes, Tensor]:
    drawn: Scenes = WORLDS[world].sample(n, UNSEEN + seed)
    return drawn, WORLDS[world].render(drawn, size=size, device=device)


def texts_of_span(world: World, policy: str, others: float, filler: bool, drawn: Scenes, seed: int) -> tuple[str, ...]:
    """Captions that the encoder might have been trained with: of some pictures, as texts come sorted by what they name."""
    some = {factor: values[:TEXTS] for factor, values in drawn.labels.items()}
    return caption_policy(world, policy, others, filler).sample(WORLDS[world].WORDS, some, seed).texts


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


def _row(step: int, metric: str, depth: str, factor: str, value: float) -> Row:
    return {"step": step, "metric": metric, "depth": depth, "factor": factor, "value": float(value)}


def _zero_shot(language: Language, step: int, embedding: Tensor, labels: Mapping[str, Tensor]) -> Iterator[Row]:
    for factor, values in labels.items():
        accuracy = zero_shot_accuracy(embedding, language.prompts[factor], values)
        yield _row(step, "zero_shot", "embedding", factor, accuracy)


def _variances(found: dict[str, Tensor], labels: Mapping[str, Tensor], step: int) -> Iterator[Row]:
    """Shares of the variance that the factors explain, one at a time."""
    for depth in [depth for depth in ("embedding", "span") if depth in found]:
        total = float(found[depth].double().var(0, correction=0).sum())
        for factor, values in labels.items():
            yield _row(step, "variance", depth, factor, value_variance(found[depth], values) / total)


def _moved(
    model: CLIP, world: World, language: Language | None, pairs: int, size: int, seed: int, step: int, device: str
) -> Iterator[Row]:
    """Matched counterfactuals: how far changing one factor moves a picture, and how well that shows along one direction."""
    base, unchanged, changed = _counterfactuals(world, pairs, size, seed, device)
    before = _spoken(model, unchanged, language)
    for factor, (moved, first, second) in changed.items():
        after = _spoken(model, moved, language)
        reference = base.labels[next(other for other in changed if other != factor)]
        for depth in after:
            compared = compare_pairs(before[depth], after[depth], reference, seed=seed)
            yield _row(step, "moved", depth, factor, compared.of_unrelated)
        apart = d_prime(clip.embed(model, first), clip.embed(model, second), seed=seed)
        yield _row(step, "d_prime", "embedding", factor, apart)


@lru_cache(maxsize=REMEMBERED)
def _counterfactuals(
    world: World, pairs: int, size: int, seed: int, device: str
) -> tuple[Scenes, Tensor, dict[str, tuple[Tensor, Tensor, Tensor]]]:
    """Scenes, their pictures, and for each factor the pictures with another value of it, its first and its second one."""
    module, factors = WORLDS[world], WORLDS[world].FACTORS
    generator = torch.Generator().manual_seed(OTHERS + seed)
    base = module.sample(pairs, UNSEEN + seed)

    def drawn(factor: str, value: int | Tensor) -> Tensor:
        picture: Tensor = module.render(module.change(base, factor, value), size=size, device=device)
        return picture

    changed = {
        factor: (
            drawn(factor, _other(base.labels[factor], len(names), generator)),
            drawn(factor, 0),
            drawn(factor, 1),
        )
        for factor, names in factors.items()
    }
    return base, module.render(base, size=size, device=device), changed


def _heads(
    features: Tensor, labels: Mapping[str, Tensor], pictures: int, seed: int, step: int, depth: str
) -> Iterator[Row]:
    """Classifiers of the object trained on pictures at one place, tested there and at the other places."""
    places, objects = labels["place"], labels["object"]
    tested = torch.arange(len(places), device=places.device) >= pictures
    here: list[float] = []
    elsewhere: list[float] = []
    for place in places.unique():
        own = places == place
        head = fit_probes(features[own & ~tested], {"object": objects[own & ~tested]}, seed=seed)
        for accuracies, rows in ((here, own & tested), (elsewhere, ~own & tested)):
            accuracies.append(head.accuracy(features[rows], {"object": objects[rows]})["object"])
    yield _row(step, "head_here", depth, "object", float(np.mean(here)))
    yield _row(step, "head_elsewhere", depth, "object", float(np.mean(elsewhere)))
