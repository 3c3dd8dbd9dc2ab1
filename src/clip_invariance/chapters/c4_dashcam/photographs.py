"""Chapter 4: real photographs of traffic lights, alone and in the place of the drawn light."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from clip_invariance.chapters.c4_dashcam.measures import restored, word_classes
from clip_invariance.chapters.c4_dashcam.training import SIZE, Arm, sample_scenes
from clip_invariance.measure.decodability import few_shot, fit_probes, knn_answers
from clip_invariance.measure.tables import Row, row
from clip_invariance.measure.zero_shot import zero_shot_scores
from clip_invariance.models import clip, imagenet
from clip_invariance.worlds import dashcam, traffic_lights
from clip_invariance.worlds.dashcam import Scenes
from clip_invariance.worlds.traffic_lights import COUNTS, NAMES, SPLITS, Photographs, Split

#: Side of the photographs as pixels for a probe, as pictures to paste, and for the encoder that learned ImageNet.
PIXELS, PASTED, ENCODED = 16, 32, imagenet.SIZE
#: The smallest light that the world draws: its glow does not reach out from behind a photograph.
_HIDDEN = 0.4
_PASTED = 400_000
#: Scenes in which a test photograph appears; training photographs appear in one.
COPIES = 3
#: Right answers, in percent, of whoever says red to every test photograph.
ALWAYS_RED = 100 * COUNTS["test"]["red"] / (COUNTS["test"]["red"] + COUNTS["test"]["green"])
_BACKBONE = "backbone_"


@dataclass(frozen=True)
class Amount:
    """How much is read.

    Attributes:
        most: photographs of each split; see :func:`chosen`.
        shots: labels per class of the few-shot probes.
    """

    most: int
    shots: tuple[int, ...]


def inventory() -> pd.DataFrame:
    """How many photographs of each class there are, and which were left out because they are damaged.

    Returns:
        columns split, class, photographs, left_out (how many), damage (one line each, "" for none).
    """
    rows = []
    for split in SPLITS:
        loaded = traffic_lights.load(split, PIXELS)
        for number, name in enumerate(NAMES):
            damaged = [line for line in loaded.skipped if f"/dataset_{split}/{name}/" in line]
            rows.append(
                {
                    "split": split,
                    "class": name,
                    "photographs": int((loaded.labels == number).sum()),
                    "left_out": len(damaged),
                    "damage": "; ".join(damaged),
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
    photographs = chosen(split, ENCODED, most)
    features = imagenet.encoder(device, ENCODED)(photographs.images)["backbone"]
    table = pd.DataFrame(features.numpy()).add_prefix(_BACKBONE)
    return table.assign(label=photographs.labels.numpy())


def read_alone(amount: Amount, seed: int, device: str, train: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """Red or green, from photographs alone: ImageNet features, small pictures, small grey pictures.

    Args:
        amount: how much.
        seed: of the choice of labels.
        train, test: see :func:`encode`.

    Returns:
        rows as :func:`measure.tables.row` with depth (what was read), labels (per class; 0: all), metric ("probe",
        "nearest") and photograph. With all labels there is a row for each test photograph, 1 if it was classified right;
        with few, one row for the accuracy.
    """
    parts = {split: chosen(split, PIXELS, amount.most) for split in SPLITS}
    pixels = {split: part.images.float().flatten(1) / 255 for split, part in parts.items()}
    grey = {split: part.images.float().mean(1).flatten(1) / 255 for split, part in parts.items()}
    learned: dict[Split, Tensor] = {"train": _features(train), "test": _features(test)}
    labels = {split: {"light": part.labels} for split, part in parts.items()}
    return pd.DataFrame(
        found
        for name, x in (("ImageNet features", learned), ("pixels", pixels), ("grey pixels", grey))
        for found in _read(name, x, labels, amount.shots, seed)
    )


def _features(table: pd.DataFrame) -> Tensor:
    return torch.from_numpy(table.filter(like=_BACKBONE).to_numpy(copy=True)).float()


def _read(
    depth: str,
    x: Mapping[Split, Tensor],
    labels: Mapping[Split, Mapping[str, Tensor]],
    shots: Sequence[int],
    seed: int,
    copies: int = 1,
) -> Iterator[Row]:
    few = few_shot(x["train"], labels["train"], x["test"], labels["test"], counts=shots, seed=seed)
    for count, accuracy in few.groupby("count")["accuracy"].mean().items():
        yield row("probe", float(accuracy), depth=depth, factor="light", labels=int(str(count)))
    right = labels["test"]["light"]
    answers = fit_probes(x["train"], labels["train"], seed=seed).answers(x["test"])["light"]
    yield from _each("probe", depth, answers, right, copies)
    answers = knn_answers(x["train"], labels["train"], x["test"], k=1)["light"]
    yield from _each("nearest", depth, answers, right, copies)


def _each(metric: str, depth: str, answers: Tensor, right: Tensor, copies: int = 1) -> Iterator[Row]:
    """Whether each photograph was classified right, or how many of its copies, one behind the other."""
    shares = (answers == right.to(answers.device)).float().unflatten(0, (copies, -1)).mean(0)
    for number, value in enumerate(shares.tolist()):
        yield row(metric, value, depth=depth, factor="light", photograph=number)


# ---------------------------------------------------------------- pasted


def light_boxes(scenes: Scenes, size: int = SIZE) -> Tensor:
    """Where the light of each scene is: float (n, 4) left, top, right, bottom in pixels."""
    covered = dashcam.masks(scenes, size=size)["light"].int()
    across, down = covered.amax(1), covered.amax(2)
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
    scenes = sample_scenes(n, seed + _PASTED + SPLITS.index(split), light_size)
    bare = dashcam.render(dashcam.change(scenes, "light_scale", _HIDDEN), size=SIZE)
    nuisances = scenes.nuisances
    pictures = traffic_lights.paste(
        bare,
        photographs.images.repeat(copies, 1, 1, 1),
        light_boxes(scenes),
        gains=nuisances["exposure"],
        blur=(nuisances["blur"] / 2).sqrt(),  # the standard deviation of the world's own blur
        noise=255 * nuisances["noise"],
        seeds=nuisances["noise_seed"],
    )
    return pictures.to(device), photographs.labels.repeat(copies).to(device)


def read_pasted(arm: Arm, amount: Amount, seed: int, device: str, encoder: pd.DataFrame) -> pd.DataFrame:
    """Red or green, from scenes with a photographed light, by one of the chapter's encoders.

    Args:
        arm, seed, encoder: see :func:`measures.measure`.
        amount: how much.

    Returns:
        rows as :func:`read_alone`; depth is "embedding", "backbone" or, for metric "zero_shot", "words".
    """
    model = restored(encoder, arm, seed, device)
    pictures: dict[Split, Tensor] = {}
    labels: dict[Split, dict[str, Tensor]] = {}
    for split in SPLITS:
        copies = COPIES if split == "test" else 1
        pictures[split], answers = pasted(split, copies, amount.most, arm.light_size, seed, device)
        labels[split] = {"light": answers}
    found: list[Row] = []
    for depth, encode_images in (("embedding", clip.embed), ("backbone", clip.backbone)):
        x = {split: encode_images(model, images) for split, images in pictures.items()}
        found += _read(depth, x, labels, amount.shots, seed, COPIES)
        if depth == "embedding" and arm.objective == "captions":
            classes = word_classes(lambda texts: clip.encode_texts(model, texts), "light")
            answers = zero_shot_scores(x["test"], classes).argmax(1)
            found += _each("zero_shot", "words", answers, labels["test"]["light"], COPIES)
    return pd.DataFrame(found)
