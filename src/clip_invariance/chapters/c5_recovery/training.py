"""Chapter 5: encoders trained from the start with losses, captions or labels that keep more."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch

from clip_invariance.captions import CaptionPolicy, Captions
from clip_invariance.chapters.c4_dashcam.training import (
    BATCH,
    CAR,
    RATE,
    SIZE,
    TOWER,
    captions_of,
    training_pictures,
)
from clip_invariance.models import clip
from clip_invariance.training import contrastive, encoders, labels
from clip_invariance.training.views import loss_of_views
from clip_invariance.worlds import dashcam
from clip_invariance.worlds.dashcam import WORDS, Scenes

_CHOICE = 800_000


def rewritten(shown: Scenes, share: float, seed: int) -> Captions:
    """Captions that name the car, some of them written again to mention everything in the picture.

    Args:
        shown: the scenes.
        share: of the pictures whose caption is rewritten, each with this probability.
        seed: of captions and choice.
    """
    plain = captions_of(shown, 0.0, False, seed).strings()
    everything = CaptionPolicy(CAR | dict.fromkeys(dashcam.FACTORS, 1.0)).sample(WORDS, shown.labels, seed).strings()
    draws = torch.rand(len(shown), generator=torch.Generator().manual_seed(seed + _CHOICE))
    said = [more if draw < share else less for less, more, draw in zip(plain, everything, draws.tolist(), strict=True)]
    place = {text: number for number, text in enumerate(dict.fromkeys(said))}
    return Captions(tuple(place), torch.tensor([place[text] for text in said]))


def train_rewritten(share: float, light_size: str, steps: int, images: int, seed: int, device: str) -> pd.DataFrame:
    """Train as chapter 4 does, with captions of which a share mentions everything; see :func:`rewritten`.

    Returns:
        see :func:`training.encoders.train`.
    """
    shown, pictures = training_pictures(images, seed, light_size, device)
    captions = rewritten(shown, share, seed)
    return encoders.train(pictures, captions, tower=TOWER, seed=seed, steps=steps, batch=BATCH, rate=RATE)


def train_with_views(light_size: str, steps: int, images: int, seed: int, device: str) -> pd.DataFrame:
    """Train as chapter 4's silent encoder, with a self-supervised term beside CLIP's loss (SLIP, Mu et al. 2022).

    A step costs about three times as much on the image side: the picture itself, for its caption, and two views of it.

    Returns:
        see :func:`training.encoders.train`.
    """
    shown, pictures = training_pictures(images, seed, light_size, device)
    captions = captions_of(shown, 0.0, False, seed)
    model = clip.calibrate_batch_norm(clip.create(TOWER, size=SIZE, seed=seed, device=device), pictures)
    views = loss_of_views(model, seed)
    contrastive.fit(model, pictures, captions, beside=views, steps=steps, batch=BATCH, rate=RATE, seed=seed)
    return pd.DataFrame([{"step": steps, "weights": clip.weights(model, captions.texts)}])


def train_on_labels(
    tasks: Sequence[str], light_size: str, steps: int, images: int, seed: int, device: str
) -> pd.DataFrame:
    """Train as chapter 4's ceiling, but on labels of several tasks at once.

    Args:
        tasks: factors of the scenes, each with a linear layer of its own.
        light_size, steps, images, seed, device: as in :func:`dashcam_training.train`.

    Returns:
        see :func:`training.encoders.train`.
    """
    shown, pictures = training_pictures(images, seed, light_size, device)
    model = clip.calibrate_batch_norm(clip.create(TOWER, size=SIZE, seed=seed, device=device), pictures)
    wanted = {task: shown.labels[task] for task in tasks}
    labels.fit(model, pictures, wanted, steps=steps, batch=BATCH, rate=RATE, seed=seed)
    return pd.DataFrame([{"step": steps, "weights": clip.weights(model, ["a"])}])
