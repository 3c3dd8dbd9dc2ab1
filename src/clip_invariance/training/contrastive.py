"""CLIP's training: which pictures go with which captions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip_invariance.captions import Captions
from clip_invariance.errors import UsageError
from clip_invariance.models.clip import encode_tokens, prepare, tokenize
from clip_invariance.training.loop import minimise, mixed

if TYPE_CHECKING:
    from open_clip.model import CLIP

Augment = Callable[[Tensor, torch.Generator], Tensor]
"""Changes a batch of prepared images (n, 3, h, w) at random; the generator is on the CPU."""
Watch = Callable[[int, "CLIP"], bool | None]
"""Called with the number of steps done and the model in evaluation mode; True ends the training."""

#: The original CLIP's largest logit scale, exp(4.6052) = 100.
MAX_LOG_SCALE = 4.6052


def fit(
    model: CLIP,
    images: Tensor,
    captions: Captions,
    *,
    steps: int,
    batch: int = 128,
    rate: float = 2e-3,
    seed: int = 0,
    mask_duplicates: bool = False,
    temperature: float | None = None,
    augment: Augment | None = None,
    frozen_text: Tensor | None = None,
    beside: Callable[[Tensor], Tensor] | None = None,
    constant_after: int | None = None,
    watch: Watch | None = None,
    watch_at: Sequence[int] = (),
) -> CLIP:
    """Train with the contrastive loss and AdamW; reshuffle after every pass over the data.

    On a GPU the towers run in bfloat16, the loss in float32.

    Args:
        model: trained in place, on the device of ``images``.
        images: uint8 (n, 3, h, w).
        captions: one for each image. A caption that occurs twice in a batch is encoded once.
        steps: gradient steps; 0 leaves the model as it is.
        batch: images per step; the others of the batch are the negatives.
        rate: peak learning rate.
        seed: of the order of the images and of the augmentation (the initialisation is the caller's).
        mask_duplicates: do not count an image with the very same caption as a negative.
        temperature: fixed temperature of the softmax; None learns it, as the original does.
        augment: applied to every batch.
        frozen_text: unit-norm text embeddings (distinct captions, embed_dim) to use in place of the text tower.
        beside: a loss of the prepared images of a batch (n, 3, h, w) that is added to the contrastive one.
        constant_after: see :func:`training.loop.minimise`; by default the rate goes through one cycle.
        watch: called after each number of steps in ``watch_at``, 0 and ``steps`` included if they are named; the training
            ends where it says True.
        watch_at: when.

    Returns:
        the same model, in evaluation mode.

    Raises:
        UsageError: if images and captions do not match, or there are fewer images than one batch holds.
    """
    if len(images) != len(captions):
        raise UsageError(f"{len(images)} images but {len(captions)} captions")
    from open_clip.loss import ClipLoss

    device = images.device
    generator = torch.Generator().manual_seed(seed)
    tokens = tokenize(captions.texts, model.context_length).to(device)
    contrast = ClipLoss()
    if temperature is not None:
        model.logit_scale.data.fill_(-torch.tensor(temperature).log())
    model.logit_scale.requires_grad_(temperature is None)

    def loss(chosen: Tensor) -> Tensor:
        said_here = captions.index[chosen].to(device)
        x = prepare(images[chosen.to(device)])
        if augment is not None:
            x = augment(x, generator)
        distinct, place = said_here.unique(return_inverse=True)
        with mixed(device):
            seen = model.encode_image(x, normalize=True)
            said = frozen_text[distinct] if frozen_text is not None else encode_tokens(model, tokens[distinct])
        seen, said, scale = seen.float(), said.float()[place], model.logit_scale.exp()
        own = masked_loss(seen, said, scale, said_here) if mask_duplicates else contrast(seen, said, scale)
        return own if beside is None else own + beside(x)

    def show(step: int) -> bool | None:
        if watch is None:
            return None
        enough = watch(step, model.eval())
        model.train()
        return enough

    model.train()
    with _used_words_only(model, tokens):
        minimise(
            loss,
            model.parameters(),
            len(images),
            steps=steps,
            batch=batch,
            rate=rate,
            generator=generator,
            constant_after=constant_after,
            after_step=lambda: _limit_scale(model),
            watch=show,
            watch_at=watch_at,
        )
    return cast("CLIP", model.eval())


def _limit_scale(model: CLIP) -> None:
    model.logit_scale.data.clamp_(0, MAX_LOG_SCALE)


def masked_loss(images: Tensor, texts: Tensor, scale: Tensor, captions: Tensor) -> Tensor:
    """The contrastive loss of a batch in which pairs with the same caption are not negatives of one another.

    Args:
        images, texts: unit-norm embeddings (n, d).
        scale: inverse temperature.
        captions: (n,), equal numbers for equal captions.
    """
    logits = scale * images @ texts.T
    same = (captions[:, None] == captions) & ~torch.eye(len(captions), dtype=torch.bool, device=captions.device)
    logits = logits.masked_fill(same, float("-inf"))
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


class _UsedRows(nn.Module):
    """A word embedding of which only the rows that occur in training are trained; the others are read as they are."""

    def __init__(self, weight: Tensor, used: Tensor) -> None:
        super().__init__()
        self.rows = nn.Parameter(weight[used].clone())
        self._weight = weight
        self._place = torch.full((len(weight),), -1, dtype=torch.long, device=weight.device)
        self._place[used] = torch.arange(len(used), device=weight.device)

    def forward(self, tokens: Tensor) -> Tensor:
        place = self._place[tokens]
        known = place >= 0
        found = F.embedding(place.clamp(min=0), self.rows)
        return found if known.all() else torch.where(known[..., None], found, self._weight[tokens])


@contextmanager
def _used_words_only(model: CLIP, tokens: Tensor) -> Iterator[None]:
    """Train the rows of the word embedding that occur in ``tokens``.

    Our captions use some hundred of 49,408 tokens; an optimiser step over all rows would take longer than the text
    tower. The rows of words that do not occur get no gradient anyway: what is left out is their weight decay.
    """
    whole, used = model.token_embedding, tokens.unique()
    trained = _UsedRows(whole.weight.detach(), used)
    model.token_embedding = trained
    try:
        yield
    finally:
        whole.weight.data[used] = trained.rows.detach()
        model.token_embedding = whole
