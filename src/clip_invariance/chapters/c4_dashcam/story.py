"""Chapter 4's pictures: scenes to look at, and one matched pair with what two encoders make of it."""

from __future__ import annotations

import itertools

import pandas as pd
import torch
from torch import Tensor

from clip_invariance.captions import CaptionPolicy
from clip_invariance.chapters.c4_dashcam.measures import (
    ASKED,
    FALSE_STOPS,
    GREEN,
    RED,
    measured_pictures,
    word_classes,
)
from clip_invariance.chapters.c4_dashcam.training import CROSSING, LIGHT_SIZES, NOBODY, SIZE, TOWER, scenes
from clip_invariance.measure.decodability import fit_probes
from clip_invariance.measure.zero_shot import zero_shot_scores
from clip_invariance.models import clip
from clip_invariance.training import encoders
from clip_invariance.worlds import dashcam
from clip_invariance.worlds.dashcam import WORDS, Scenes

#: The essay's picture: a black car ahead, a light over the road, somebody about to cross. Chosen before any training.
PICTURE = {
    "light": RED,
    "pedestrian": CROSSING,
    "car_colour": 5,
    "body": 0,
    "distance": 0,
    "weather": 0,
    "time": 0,
    "place": 0,
    "light_side": 2,
    "light_housing": 0,
    "pedestrian_side": 1,
}
SCENE_SEED = 4
#: What is changed in each column of the gallery.
CHANGES: dict[str, dict[str, int]] = {
    "as it is": {},
    "light green": {"light": GREEN},
    "nobody there": {"pedestrian": NOBODY},
    "car red": {"car_colour": 0},
}
BEST = 3


def essay_scene(light_size: str) -> Scenes:
    """The scene of PICTURE."""
    shown = scenes(1, SCENE_SEED, light_size)
    for name, value in PICTURE.items():
        shown = dashcam.change(shown, name, value)
    return shown


def gallery() -> pd.DataFrame:
    """The essay's picture and its counterfactuals, for both sizes of the light, and some random scenes.

    Returns:
        one row per line of pixels: set, name, row, pixels (hexadecimal, six digits a pixel).
    """
    rows = []
    for light_size in LIGHT_SIZES:
        for name, changes in CHANGES.items():
            shown = essay_scene(light_size)
            for factor, value in changes.items():
                shown = dashcam.change(shown, factor, value)
            rows += _lines(dashcam.render(shown, size=SIZE)[0], {"set": f"{light_size} light", "name": name})
    random = dashcam.render(scenes(len(CHANGES), SCENE_SEED + 1, "small"), size=SIZE)
    for number, picture in enumerate(random):
        rows += _lines(picture, {"set": "at random", "name": str(number)})
    return pd.DataFrame(rows)


def _lines(picture: Tensor, names: dict[str, str]) -> list[dict[str, object]]:
    """A picture (3, h, w) as text, a row for each line of pixels."""
    lines = picture.permute(1, 2, 0).flatten(1).tolist()
    return [{**names, "row": number, "pixels": bytes(line).hex()} for number, line in enumerate(lines)]


def candidate_captions() -> list[str]:
    """One caption for every car colour, body, light and pedestrian that occur."""
    said = ("car_colour", "body", "light", "pedestrian")
    values = list(itertools.product(*(ASKED[factor] for factor in said)))
    labels = {factor: torch.zeros(len(values), dtype=torch.int64) for factor in dashcam.FACTORS}
    labels |= dict(zip(said, torch.tensor(values).unbind(1), strict=True))
    return CaptionPolicy(dict.fromkeys(said, 1.0), varied=False).sample(WORDS, labels, 0).strings()


def tell(
    mention: float,
    light_size: str,
    embed_dim: int,
    fit: int,
    test: int,
    seed: int,
    device: str,
    encoder: pd.DataFrame,
) -> pd.DataFrame:
    """What one encoder makes of the essay's picture with a red and with a green light.

    Args:
        mention, light_size, embed_dim, seed, encoder: see :func:`dashcam_training.train`.
        fit: pictures that the probe is fitted on.
        test: pictures whose green lights set the threshold of the decision.

    Returns:
        rows with light ("red" or "green"), kind, rank, text, value. Kinds: "caption", the nearest captions with
        their cosine; "decision", stop or go by "words" and by "probe", where ``value`` is what speaks for stopping in
        excess of the threshold; "pair", the cosine of the two pictures.
    """
    model = encoders.trained(encoder, tower=TOWER, size=SIZE, seed=seed, embed_dim=embed_dim, device=device)
    pair = torch.cat(
        [
            dashcam.render(dashcam.change(essay_scene(light_size), "light", value), size=SIZE, device=device)
            for value in (RED, GREEN)
        ]
    )
    seen = clip.embed(model, pair)
    texts = candidate_captions()
    cosines = seen @ clip.encode_texts(model, texts).mT

    pictures = measured_pictures(fit + test, seed, light_size, device)
    known, asked = (clip.embed(model, part.images) for part in (pictures[:fit], pictures[fit:]))
    greens = pictures.labels["light"][fit:] == GREEN
    probes = fit_probes(known, {"light": pictures.labels["light"][:fit]}, seed=seed)
    classes = word_classes(lambda wordings: clip.encode_texts(model, wordings), "light")

    def excess(score: Tensor, others: Tensor) -> list[float]:
        """How far what speaks for red exceeds the threshold, for both pictures."""
        red, usual = score[:, RED] - score[:, GREEN], others[:, RED] - others[:, GREEN]
        return [float(x) for x in red - torch.quantile(usual[greens].float(), 1 - FALSE_STOPS)]

    by = {
        "words": excess(zero_shot_scores(seen, classes), zero_shot_scores(asked, classes)),
        "probe": excess(probes.logits(seen)["light"], probes.logits(asked)["light"]),
    }
    rows: list[dict[str, object]] = []
    for number, light in enumerate(dashcam.FACTORS["light"]):
        nearest, which = cosines[number].topk(BEST)
        for rank, (value, caption) in enumerate(zip(nearest.tolist(), which.tolist(), strict=True)):
            rows.append({"light": light, "kind": "caption", "rank": rank, "text": texts[caption], "value": value})
        for rank, (name, found) in enumerate(by.items()):
            rows.append({"light": light, "kind": "decision", "rank": rank, "text": name, "value": found[number]})
        rows.append({"light": light, "kind": "pair", "rank": 0, "text": "", "value": float(seen[0] @ seen[1])})
    return pd.DataFrame(rows)


def pair_pixels(light_size: str) -> pd.DataFrame:
    """The pair that :func:`tell` speaks of, as text: light, row, pixels."""
    rows = []
    for value, light in enumerate(dashcam.FACTORS["light"]):
        picture = dashcam.render(dashcam.change(essay_scene(light_size), "light", value), size=SIZE)[0]
        rows += _lines(picture, {"light": light})
    return pd.DataFrame(rows)


def with_pictures(told: pd.DataFrame, light_size: str) -> pd.DataFrame:
    """The answers of :func:`tell` and the pictures that they are about, in one table (pictures have no ``mention``)."""
    answers = told[["mention", "light", "kind", "rank", "text", "value"]]
    return pd.concat([answers, pair_pixels(light_size)], ignore_index=True)
