"""Chapter 4: real photographs of traffic lights, alone and in the place of the drawn light."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from clip_invariance.chapters.c4_dashcam.measures import word_classes
from clip_invariance.chapters.c4_dashcam.training import SIZE, TOWER, Objective, scenes
from clip_invariance.measure.decodability import few_shot, fit_probes, knn_answers
from clip_invariance.measure.zero_shot import zero_shot_scores
from clip_invariance.models import clip, imagenet
from clip_invariance.training import encoders
from clip_invariance.worlds import dashcam, traffic_lights
from clip_invariance.worlds.dashcam import Scenes
from clip_invariance.worlds.traffic_lights import COUNTS, NAMES, SPLITS, Photographs, Split

Row = dict[str, Any]

#: Side of the photographs as pixels for a probe, as pictures to paste, and for the encoder that learned ImageNet.
PIXELS, PASTED, ENCODED = 16, 32, imagenet.SIZE
#: The smallest light that the world draws: its glow does not reach out from behind a photograph.
_HIDDEN = 0.4
_PASTED = 400_000
#: Right answers, in percent, of whoever says red to every test photograph.
ALWAYS_RED = 100 * COUNTS["test"]["red"] / (COUNTS["test"]["red"] + COUNTS["test"]["green"])
_BACKBONE = "backbone_"


def inventory() -> pd.DataFrame:
    """How many photographs of each class there are, and which were left out because they are damaged.

    Returns:
        columns split, class, photographs, left_out (how many), damage (one line each, "" for none).
    """
    rows = []
    for split in SPLITS:
        loaded = traffic_lights.load(split, PIXELS)
        for number, name in enumerate(NAMES):
            hurt = [line for line in loaded.skipped if f"/dataset_{split}/{name}/" in line]
            rows.append(
                {
                    "split": split,
                    "class": name,
                    "photographs": int((loaded.labels == number).sum()),
                    "left_out": len(hurt),
                    "damage": "; ".join(hurt),
                }
            )
    return pd.DataFrame(rows)


def chosen(split: Split, size: int, most: int) -> Photographs:
    """Red and green photographs of a split: all, or a mixed choice of ``most`` for a run that only tries the code."""
    everything = traffic_lights.red_green(split, size)
    if most >= len(everything):
        return everything
    which = torch.randperm(len(everything), generator=torch.Generator().manual_seed(0))[:most]
    files = tuple(everything.files[i] for i in which.tolist())
    return Photographs(everything.images[which], everything.labels[which], everything.names, files, everything.skipped)


# ---------------------------------------------------------------- alone


def encode(split: Split, most: int, device: str) -> pd.DataFrame:
    """Features of an encoder that learned ImageNet's labels, one row for each red or green photograph.

    Returns:
        column "label" (0 red, 1 green) and the features before the classes.
    """
    shown = chosen(split, ENCODED, most)
    features = imagenet.encoder(device, ENCODED)(shown.images)["backbone"]
    table = pd.DataFrame(features.numpy()).add_prefix(_BACKBONE)
    return table.assign(label=shown.labels.numpy())


def read_alone(
    shots: Sequence[int], most: int, seed: int, device: str, train: pd.DataFrame, test: pd.DataFrame
) -> pd.DataFrame:
    """Red or green, from photographs alone: ImageNet features, small pictures, small grey pictures.

    Args:
        shots: labels per class.
        most: see :func:`chosen`.
        seed: of the choice of labels.
        train, test: see :func:`encode`.

    Returns:
        rows representation, labels (per class; 0: all), metric ("probe", "nearest"), photograph, value. With all labels
        there is a row for each test photograph, 1 if it was classified right; with few, one row for the accuracy.
    """
    parts = {split: chosen(split, PIXELS, most) for split in SPLITS}
    pixels = {split: part.images.float().flatten(1) / 255 for split, part in parts.items()}
    grey = {split: part.images.float().mean(1).flatten(1) / 255 for split, part in parts.items()}
    learned: dict[Split, Tensor] = {"train": _features(train), "test": _features(test)}
    labels = {split: {"light": part.labels} for split, part in parts.items()}
    rows: list[Row] = []
    for name, x in (("ImageNet features", learned), ("pixels", pixels), ("grey pixels", grey)):
        rows += [row | {"representation": name} for row in _read(x, labels, shots, seed)]
    return pd.DataFrame(rows)


def _features(table: pd.DataFrame) -> Tensor:
    return torch.from_numpy(table.filter(like=_BACKBONE).to_numpy(copy=True)).float()


def _read(
    x: Mapping[Split, Tensor],
    labels: Mapping[Split, Mapping[str, Tensor]],
    shots: Sequence[int],
    seed: int,
    copies: int = 1,
) -> Iterator[Row]:
    known = x["train"], labels["train"], x["test"], labels["test"]
    few = few_shot(*known, counts=shots, seed=seed)
    for count, accuracy in few.groupby("count")["accuracy"].mean().items():
        yield {"metric": "probe", "labels": count, "value": float(accuracy)}
    asked, answers = x["test"], labels["test"]["light"]
    yield from _each(
        "probe", fit_probes(x["train"], labels["train"], seed=seed).answers(asked)["light"], answers, copies
    )
    yield from _each("nearest", knn_answers(x["train"], labels["train"], asked, k=1)["light"], answers, copies)


def _each(metric: str, said: Tensor, answers: Tensor, copies: int = 1) -> Iterator[Row]:
    """Whether each photograph was classified right, or how many of its copies, one behind the other."""
    right = (said == answers.to(said.device)).float().unflatten(0, (copies, -1)).mean(0)
    for number, value in enumerate(right.tolist()):
        yield {"metric": metric, "labels": 0, "photograph": number, "value": value}


# ---------------------------------------------------------------- pasted


def light_boxes(shown: Scenes, size: int = SIZE) -> Tensor:
    """Where the light of each scene is: float (n, 4) left, top, right, bottom in pixels."""
    seen = dashcam.masks(shown, size=size)["light"].int()
    across, down = seen.amax(1), seen.amax(2)
    edges = [
        across.argmax(1),
        down.argmax(1),
        across.shape[1] - across.flip(1).argmax(1),
        down.shape[1] - down.flip(1).argmax(1),
    ]
    return torch.stack(edges, dim=1).float()


def pasted(split: Split, copies: int, most: int, light_size: str, seed: int, device: str) -> tuple[Tensor, Tensor]:
    """Photographs in the place of the drawn light, each in ``copies`` random scenes.

    The drawn light is made so small that the photograph hides it with its glow.

    Returns:
        uint8 (n, 3, SIZE, SIZE) and labels (n,), 0 red and 1 green.
    """
    photographs = chosen(split, PASTED, most)
    n = copies * len(photographs)
    shown = scenes(n, seed + _PASTED + SPLITS.index(split), light_size)
    bare = dashcam.render(dashcam.change(shown, "light_scale", _HIDDEN), size=SIZE)
    nuisances = shown.nuisances
    pictures = traffic_lights.paste(
        bare,
        photographs.images.repeat(copies, 1, 1, 1),
        light_boxes(shown),
        gains=nuisances["exposure"],
        blur=(nuisances["blur"] / 2).sqrt(),  # the standard deviation of the world's own blur
        noise=255 * nuisances["noise"],
        seeds=nuisances["noise_seed"],
    )
    return pictures.to(device), photographs.labels.repeat(copies).to(device)


def read_pasted(
    objective: Objective,
    mention: float,
    light_size: str,
    embed_dim: int,
    shots: Sequence[int],
    copies: int,
    most: int,
    seed: int,
    device: str,
    encoder: pd.DataFrame,
) -> pd.DataFrame:
    """Red or green, from scenes with a photographed light, by one of the chapter's encoders.

    Args:
        objective, mention, light_size, embed_dim, seed, encoder: see :func:`dashcam_training.train`.
        shots, most: as in :func:`read_alone`.
        copies: scenes for each test photograph; training photographs appear once.

    Returns:
        rows as :func:`read_alone`; representation is "embedding", "backbone" or, for metric "zero_shot", "words".
    """
    model = encoders.trained(encoder, tower=TOWER, size=SIZE, seed=seed, embed_dim=embed_dim, device=device)
    pictures: dict[Split, Tensor] = {}
    labels: dict[Split, dict[str, Tensor]] = {}
    for split in SPLITS:
        times = copies if split == "test" else 1
        pictures[split], answers = pasted(split, times, most, light_size, seed, device)
        labels[split] = {"light": answers}
    rows: list[Row] = []
    for name, encode_images in (("embedding", clip.embed), ("backbone", clip.backbone)):
        x = {split: encode_images(model, images) for split, images in pictures.items()}
        rows += [row | {"representation": name} for row in _read(x, labels, shots, seed, copies)]
        if name == "embedding" and objective == "captions":
            classes = word_classes(lambda texts: clip.encode_texts(model, texts), "light")
            said = zero_shot_scores(x["test"], classes).argmax(1)
            each = _each("zero_shot", said, labels["test"]["light"], copies)
            rows += [row | {"representation": "words"} for row in each]
    return pd.DataFrame(rows)
