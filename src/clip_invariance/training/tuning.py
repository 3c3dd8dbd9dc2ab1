"""Tuning a trained encoder: which of its weights move is the method.

Everything here changes copies: the encoder that was trained once stays as it was. Batch normalisation keeps the
statistics of the original training (few labelled pictures cannot estimate them, and two models that share them can be
interpolated), except where a network is trained from the start.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip_invariance.captions import Captions
from clip_invariance.errors import UsageError
from clip_invariance.models.clip import encode_texts, prepare
from clip_invariance.training.loop import minimise, mixed

if TYPE_CHECKING:
    from open_clip.model import CLIP

#: "projection": the last linear layer; "lora": a low-rank update of every layer (Hu et al. 2022); "full": every weight;
#: "scratch": every weight, and batch normalisation as in training from the start.
Method = Literal["projection", "lora", "full", "scratch"]
METHODS: tuple[Method, ...] = get_args(Method)

#: Rank of LoRA's updates, and their scale: alpha / rank multiplies them.
RANK, ALPHA = 8, 16


def fit(
    model: CLIP,
    heads: nn.ModuleDict,
    images: Tensor,
    labels: Mapping[str, Tensor],
    *,
    method: Method,
    steps: int,
    batch: int,
    rate: float,
    seed: int,
) -> tuple[CLIP, nn.ModuleDict]:
    """Tune the image tower and linear heads on its unit-norm embedding with cross-entropy.

    Args:
        model: stays as it is.
        heads: factor -> linear layer on the embedding, to start from; they stay as they are. Starting from a probe
            (Kumar et al. 2022) spares the features the gradients of a random head.
        images: uint8 (n, 3, h, w) on the model's device.
        labels: factor of ``heads`` -> (n,) int64. The losses of the factors are averaged.
        method: which weights of the tower move.
        steps: gradient steps of AdamW with a one-cycle rate.
        batch: pictures per step; all of them where there are fewer.
        rate: peak learning rate.
        seed: of the order of the pictures and of LoRA's random half.

    Returns:
        the tuned model, in evaluation mode and without adapters (a low-rank update is added to the weights), and its
        heads. The text tower is that of ``model``.

    Raises:
        UsageError: for an unknown method, or heads without labels.
    """
    if missing := sorted(set(heads) - set(labels)):
        raise UsageError(f"{missing[0]}: no labels for this head")
    answers = {factor: labels[factor].to(images.device) for factor in heads}
    tuned, heads = copy_with_own_tower(model), copy.deepcopy(heads)
    trained = _trainable(tuned, method, seed)

    def loss(chosen: Tensor) -> Tensor:
        chosen = chosen.to(images.device)
        with mixed(images.device):
            seen = trained(prepare(images[chosen]))
        seen = F.normalize(seen.float(), dim=-1)
        parts = [F.cross_entropy(heads[factor](seen), values[chosen]) for factor, values in answers.items()]
        return torch.stack(parts).mean()

    moving = [p for p in (*trained.parameters(), *heads.parameters()) if p.requires_grad]
    trained.train(method == "scratch")
    minimise(
        loss,
        moving,
        len(images),
        steps=steps,
        batch=min(batch, len(images)),
        rate=rate,
        generator=torch.Generator().manual_seed(seed),
    )
    if method == "lora":
        tuned.visual = trained.merge_and_unload()  # type: ignore[operator]
    tuned.visual.requires_grad_(True)
    return cast("CLIP", tuned.eval()), heads


def fit_pairs(
    model: CLIP,
    one: Tensor,
    other: Tensor,
    captions: Captions,
    *,
    pull: float,
    steps: int,
    batch: int,
    rate: float,
    seed: int,
) -> CLIP:
    """Add an invariance: pull together the embeddings of two pictures that should be the same to the encoder.

    The image tower is trained with CLIP's loss on both pictures of a pair, whose caption is the same, plus ``pull``
    times one minus their cosine. Texts keep their embeddings.

    Args:
        model: stays as it is.
        one, other: uint8 (n, 3, h, w), the two pictures of each pair.
        captions: one for each pair.
        pull: weight of the second term; 0 leaves it to the captions.
        steps, batch, rate, seed: as in :func:`fit`.

    Returns:
        the tuned model, in evaluation mode.

    Raises:
        UsageError: if the pictures and the captions are not equally many.
    """
    if not len(one) == len(other) == len(captions):
        raise UsageError(f"pairs: {len(one)} and {len(other)} pictures, {len(captions)} captions")
    from open_clip.loss import ClipLoss

    tuned, contrast = copy_with_own_tower(model), ClipLoss()
    said, scale = encode_texts(model, captions.texts).clone(), model.logit_scale.detach().exp()
    caption = captions.index.to(one.device)

    def loss(chosen: Tensor) -> Tensor:
        chosen = chosen.to(one.device)
        with mixed(one.device):
            both = tuned.encode_image(prepare(torch.cat([one[chosen], other[chosen]])), normalize=True)
        seen, again = both.float().chunk(2)
        texts = said[caption[chosen]]
        told = (contrast(seen, texts, scale) + contrast(again, texts, scale)) / 2
        return cast(Tensor, told + pull * (1 - (seen * again).sum(1)).mean())

    tuned.visual.eval()
    minimise(
        loss,
        tuned.visual.parameters(),
        len(one),
        steps=steps,
        batch=min(batch, len(one)),
        rate=rate,
        generator=torch.Generator().manual_seed(seed),
    )
    return cast("CLIP", tuned.eval())


def with_lora(visual: nn.Module, seed: int) -> nn.Module:
    """The tower with a trainable low-rank update in every convolution and linear layer; nothing else is trainable.

    Before training the updates are zero. ``visual`` is changed in place.
    """
    from peft import LoraConfig, get_peft_model  # as slow to import as open_clip

    layers = [name for name, layer in visual.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return cast(nn.Module, get_peft_model(visual, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=layers)))


def trainable_share(model: CLIP, method: Method) -> float:
    """Share of the image tower's weights that a method trains, in (0, 1]; for LoRA, those that it adds."""
    whole = sum(p.numel() for p in model.visual.parameters())
    trained = _trainable(copy_with_own_tower(model), method, 0)
    return float(sum(p.numel() for p in trained.parameters() if p.requires_grad) / whole)


def interpolate(one: nn.Module, other: nn.Module, share: float) -> nn.Module:
    """Weights on the straight line between two models of one architecture (WiSE-FT, Wortsman et al. 2022).

    Args:
        one, other: the models at ``share`` 0 and 1; they stay as they are.
        share: where on the line, in [0, 1].

    Returns:
        a third model, in evaluation mode.

    Raises:
        UsageError: if the models differ in more than their weights.
    """
    ends = one.state_dict(), other.state_dict()
    if {n: t.shape for n, t in ends[0].items()} != {n: t.shape for n, t in ends[1].items()}:
        raise UsageError("interpolate: the two models must have the same weights by name and shape")
    between = copy.deepcopy(one)
    between.load_state_dict(
        {name: torch.lerp(x, ends[1][name], share) if x.is_floating_point() else x for name, x in ends[0].items()}
    )
    return between.eval()


def copy_with_own_tower(model: CLIP) -> CLIP:
    """The model with an image tower of its own; the text tower, which is not tuned, is shared."""
    tuned = copy.copy(model)
    tuned._modules = dict(model._modules)
    tuned.visual = copy.deepcopy(model.visual)
    return tuned


def _trainable(model: CLIP, method: Method, seed: int) -> nn.Module:
    """The model's image tower, made ready: only what the method trains asks for gradients."""
    if method not in METHODS:
        raise UsageError(f"unknown method {method!r}: choose one of {', '.join(METHODS)}")
    visual = cast(nn.Module, model.visual)
    if method == "lora":
        return with_lora(visual, seed)
    visual.requires_grad_(method != "projection")
    if method == "projection":
        cast(nn.Module, visual.head).requires_grad_(True)
    return visual
