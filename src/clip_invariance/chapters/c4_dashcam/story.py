"""Chapter 4's pictures: scenes to look at, and one matched pair with what two encoders make of it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from clip_invariance.captions import CaptionPolicy
from clip_invariance.chapters.c4_dashcam.measures import (
    ASKED,
    FALSE_STOPS,
    GREEN,
    RED,
    Amount,
    restored,
    word_classes,
)
from clip_invariance.chapters.c4_dashcam.training import CROSSING, LIGHT_SIZES, NOBODY, SIZE, Arm, sample_scenes
from clip_invariance.measure.decodability import fit_probes
from clip_invariance.measure.tables import select
from clip_invariance.measure.zero_shot import zero_shot_scores
from clip_invariance.models import clip
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


def essay_scene(light_size: str, **changes: int) -> Scenes:
    """The scene of PICTURE, or one of its counterfactuals."""
    scene = sample_scenes(1, SCENE_SEED, light_size)
    for name, value in (PICTURE | changes).items():
        scene = dashcam.change(scene, name, value)
    return scene


def gallery() -> pd.DataFrame:
    """The essay's picture and its counterfactuals, for both sizes of the light, and some random scenes.

    Returns:
        one row per line of pixels: set, name, row, pixels (hexadecimal, six digits a pixel).
    """
    lines = []
    for light_size in LIGHT_SIZES:
        for name, changes in CHANGES.items():
            picture = dashcam.render(essay_scene(light_size, **changes), size=SIZE)[0]
            lines += _lines(picture, {"set": f"{light_size} light", "name": name})
    random = dashcam.render(sample_scenes(len(CHANGES), SCENE_SEED + 1, "small"), size=SIZE)
    for number, picture in enumerate(random):
        lines += _lines(picture, {"set": "at random", "name": str(number)})
    return pd.DataFrame(lines)


def _lines(picture: Tensor, names: dict[str, str]) -> list[dict[str, object]]:
    """A picture (3, h, w) as text, a row for each line of pixels."""
    lines = picture.permute(1, 2, 0).flatten(1).tolist()
    return [{**names, "row": number, "pixels": bytes(line).hex()} for number, line in enumerate(lines)]


def candidate_captions() -> list[str]:
    """One caption for every car colour, body, light and pedestrian that occur."""
    named = ("car_colour", "body", "light", "pedestrian")
    values = list(itertools.product(*(ASKED[factor] for factor in named)))
    labels = {factor: torch.zeros(len(values), dtype=torch.int64) for factor in dashcam.FACTORS}
    labels |= dict(zip(named, torch.tensor(values).unbind(1), strict=True))
    return CaptionPolicy(dict.fromkeys(named, 1.0), varied=False).sample(WORDS, labels, 0).strings()


def tell(arm: Arm, amount: Amount, seed: int, device: str, encoder: pd.DataFrame) -> pd.DataFrame:
    """What one encoder makes of the essay's picture with a red and with a green light.

    Args:
        arm, seed, device, encoder: see :func:`measures.measure`.
        amount: how many pictures the probe is fitted on, and of how many the green lights set the threshold.

    Returns:
        rows with light ("red" or "green"), kind, rank, text, value. Kinds: "caption", the nearest captions with
        their cosine; "decision", stop or go by "words" and by "probe", where ``value`` is what speaks for stopping in
        excess of the threshold; "pair", the cosine of the two pictures.
    """
    model = restored(encoder, arm, seed, device)
    scenes = [essay_scene(arm.light_size, light=value) for value in (RED, GREEN)]
    pair = clip.embed(model, torch.cat([dashcam.render(scene, size=SIZE, device=device) for scene in scenes]))
    captions = candidate_captions()
    cosines = pair @ clip.encode_texts(model, captions).mT

    fit, test = amount.pictures(seed, arm.light_size, device)
    fitted, tested = (clip.embed(model, part.images) for part in (fit, test))
    greens = test.labels["light"] == GREEN
    probes = fit_probes(fitted, {"light": fit.labels["light"]}, seed=seed)
    classes = word_classes(lambda wordings: clip.encode_texts(model, wordings), "light")

    def excess(score: Tensor, others: Tensor) -> list[float]:
        """How far what speaks for red exceeds the threshold, for both pictures."""
        red, usual = score[:, RED] - score[:, GREEN], others[:, RED] - others[:, GREEN]
        return [float(x) for x in red - torch.quantile(usual[greens].float(), 1 - FALSE_STOPS)]

    decisions = {
        "words": excess(zero_shot_scores(pair, classes), zero_shot_scores(tested, classes)),
        "probe": excess(probes.logits(pair)["light"], probes.logits(tested)["light"]),
    }
    rows: list[dict[str, object]] = []
    for number, light in enumerate(dashcam.FACTORS["light"]):
        nearest, which = cosines[number].topk(BEST)
        for rank, (value, caption) in enumerate(zip(nearest.tolist(), which.tolist(), strict=True)):
            rows.append({"light": light, "kind": "caption", "rank": rank, "text": captions[caption], "value": value})
        for rank, (by, excesses) in enumerate(decisions.items()):
            rows.append({"light": light, "kind": "decision", "rank": rank, "text": by, "value": excesses[number]})
        rows.append({"light": light, "kind": "pair", "rank": 0, "text": "", "value": float(pair[0] @ pair[1])})
    return pd.DataFrame(rows)


def with_pictures(answers: pd.DataFrame, arms: Sequence[Arm]) -> pd.DataFrame:
    """The answers of :func:`tell` for some encoders, and the pictures that they are about, in one table.

    Returns:
        mention (of the encoder; none for pictures), light, kind, rank, text, value, row, pixels.
    """
    columns = ["mention", "light", "kind", "rank", "text", "value"]
    parts = [select(answers, arm=arm).assign(mention=arm.mention)[columns] for arm in arms]
    lines = []
    for value, light in enumerate(dashcam.FACTORS["light"]):
        picture = dashcam.render(essay_scene(arms[0].light_size, light=value), size=SIZE)[0]
        lines += _lines(picture, {"light": light})
    return pd.concat([*parts, pd.DataFrame(lines)], ignore_index=True)
