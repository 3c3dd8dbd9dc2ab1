"""Many CLIPs of one architecture trained at once, for a device that a single small one cannot fill.

The weights of all models are stacked along a new first axis and one call computes all forward passes (``torch.vmap``
turns a convolution into a grouped one, a product of matrices into a batched one). AdamW treats every number by itself,
so one optimiser over the stacks does what one for each model would. Each model sees the pictures and captions, in the
order, that :func:`training.contrastive.fit` would show it alone: results agree up to rounding
(``tests/test_together.py``).

What is decided by data is decided beforehand, on the CPU: which pictures and which captions each step shows. So all
shapes are fixed, and a step can be recorded once as a CUDA graph and replayed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from clip_invariance.captions import Captions
from clip_invariance.errors import UsageError
from clip_invariance.models.clip import MEAN, STD, tokenize
from clip_invariance.training.contrastive import MAX_LOG_SCALE
from clip_invariance.training.loop import WEIGHT_DECAY, mixed, one_cycle

if TYPE_CHECKING:
    from open_clip.model import CLIP

Watch = Callable[[int, "Sequence[CLIP]"], None]
"""Called with the number of steps done and all models, in evaluation mode."""

_WORDS = "token_embedding.weight"
_BEFORE_RECORDING = 3  # calls before a step is recorded, as PyTorch asks for


def fit(
    models: Sequence[CLIP],
    images: Sequence[Tensor],
    captions: Sequence[Captions],
    *,
    steps: int,
    seeds: Sequence[int],
    batch: int = 128,
    rate: float = 2e-3,
    mask_duplicates: Sequence[bool] | None = None,
    temperatures: Sequence[float | None] | None = None,
    watch: Watch | None = None,
    watch_at: Sequence[int] = (),
    record: bool = False,
) -> list[CLIP]:
    """Train m models at once; the arguments are those of :func:`training.contrastive.fit`, one for each model.

    Left out are augmentation, whose random numbers would have to be drawn for each model in turn, and frozen texts.

    Args:
        models: m of one architecture, on one device, trained in place.
        images: uint8 (n, 3, h, w) for each model, equally many; models that share pictures share one tensor.
        captions: for each model one for each of its images.
        steps, batch, rate: the same for all.
        seeds: of the order of the images.
        mask_duplicates: whether an image with the very same caption is no negative; default: it is one.
        temperatures: fixed temperature of the softmax, None to learn it; default: learned.
        watch, watch_at: what to call, and after which numbers of steps.
        record: on a GPU, record forward and backward pass as a CUDA graph. It saves the time of launching kernels.

    Returns:
        the same models, in evaluation mode.

    Raises:
        UsageError: if lengths or architectures disagree, there are fewer images than one batch holds, or ``record`` is
            asked for without a GPU.
    """
    m = len(models)
    masked = [False] * m if mask_duplicates is None else list(mask_duplicates)
    fixed = [None] * m if temperatures is None else list(temperatures)
    _check(models, images, captions, batch, seeds, masked, fixed)
    device = images[0].device
    if record and device.type != "cuda":
        raise UsageError(f"record: a step can be recorded on a GPU only, the images are on {device.type}")
    for model, temperature in zip(models, fixed, strict=True):
        if temperature is not None:
            model.logit_scale.data.fill_(-torch.tensor(temperature).log())
    plan = _plan(captions, len(images[0]), seeds, steps, batch)
    stack = _Stack(models, plan, device)
    pictures = _Pictures(images)
    learned = torch.tensor([temperature is None for temperature in fixed], device=device)
    apart = torch.tensor(masked, device=device)
    optimiser, schedule = one_cycle(stack.groups(), rate, steps)

    def gradients(shown: _Step) -> None:
        stack.clear()
        _losses(stack, pictures, shown, learned, apart).sum().backward()

    take: Callable[[_Step], None] = gradients
    for step in range(steps + 1):
        if watch is not None and step in watch_at:
            watch(step, stack.write_back())
        if step == steps:
            break
        shown = plan.step(step, device)
        if record and step == 0:
            take = _recorded(gradients, shown, stack)
        take(shown)
        optimiser.step()
        schedule.step()
        stack.weights["logit_scale"].data.clamp_(0, MAX_LOG_SCALE)
    return stack.write_back()


# ---------------------------------------------------------------- what each step shows


@dataclass(frozen=True)
class _Step:
    """What one step shows to m models, b pictures each.

    Attributes:
        chosen: int64 (m, b), pictures.
        said: int64 (m, b), captions, equal numbers for equal captions.
        words: int64 (m, u, length), the distinct captions of each model's batch as rows of the small word embedding.
        end: int64 (m, u), where each caption ends.
        place: int64 (m, b), which of the u captions belongs to each picture.
    """

    chosen: Tensor
    said: Tensor
    words: Tensor
    end: Tensor
    place: Tensor

    def copy_(self, other: _Step) -> None:
        """Take over the other's content; the memory stays where it is."""
        for name in ("chosen", "said", "words", "end", "place"):
            getattr(self, name).copy_(getattr(other, name))


@dataclass(frozen=True)
class _Plan:
    """All steps.

    Attributes:
        chosen, said, place: int64 (steps, m, b), see :class:`_Step`.
        distinct: int64 (steps, m, u), numbers of captions; padded with the first one, which nobody reads there.
        words: for each model int64 (captions, length), rows of the small word embedding.
        end: for each model int64 (captions,).
        used: int64 (r,), the tokens that any model's captions use: the rows of the small word embedding.
        own: for each model int64, which of these rows its own captions use.
    """

    chosen: Tensor
    said: Tensor
    distinct: Tensor
    place: Tensor
    words: Sequence[Tensor]
    end: Sequence[Tensor]
    used: Tensor
    own: Sequence[Tensor]

    def step(self, number: int, device: torch.device) -> _Step:
        """What one step shows, on the device."""
        distinct = self.distinct[number]
        words = torch.stack([mine[shown] for mine, shown in zip(self.words, distinct, strict=True)])
        end = torch.stack([mine[shown] for mine, shown in zip(self.end, distinct, strict=True)])
        parts = (self.chosen[number], self.said[number], words, end, self.place[number])
        return _Step(*(part.to(device, non_blocking=True) for part in parts))


def _plan(captions: Sequence[Captions], n: int, seeds: Sequence[int], steps: int, batch: int) -> _Plan:
    """Draw the order of the images as :func:`training.contrastive.fit` does, and look up the captions."""
    chosen = torch.stack([_order(n, seed, steps, batch) for seed in seeds], dim=1)
    said = torch.stack([each.index[chosen[:, i]] for i, each in enumerate(captions)], dim=1)
    found = [[row.unique(return_inverse=True) for row in step] for step in said]
    most = max((len(distinct) for step in found for distinct, _ in step), default=1)
    padded = torch.zeros(steps, len(captions), most, dtype=torch.long)
    place = torch.zeros_like(chosen)
    for number, step in enumerate(found):
        for i, (distinct, where) in enumerate(step):
            padded[number, i, : len(distinct)], place[number, i] = distinct, where
    tokens = [tokenize(each.texts) for each in captions]
    length = max(int((each != 0).sum(1).max()) for each in tokens)
    end = [each.argmax(1) for each in tokens]  # the end-of-text token has the largest id
    used = torch.cat([each.flatten() for each in tokens]).unique()
    words = [torch.searchsorted(used, each[:, :length].contiguous()) for each in tokens]
    own = [torch.searchsorted(used, each.unique()) for each in tokens]
    return _Plan(chosen, said, padded, place, words, end, used, own)


def _order(n: int, seed: int, steps: int, batch: int) -> Tensor:
    """Pictures of each step, (steps, batch): reshuffled after every pass, a rest that fills no batch is left out."""
    generator = torch.Generator().manual_seed(seed)
    passes = -(-steps // (n // batch))
    rows = [torch.randperm(n, generator=generator)[: n // batch * batch].view(-1, batch) for _ in range(passes)]
    return torch.cat(rows)[:steps] if rows else torch.empty(0, batch, dtype=torch.long)


class _Pictures:
    """The pictures of all models, those that several share kept once."""

    def __init__(self, images: Sequence[Tensor]) -> None:
        distinct = list({id(each): each for each in images}.values())
        numbers = {id(each): number for number, each in enumerate(distinct)}
        self.pixels = torch.stack(distinct)
        self.of = torch.tensor([numbers[id(each)] for each in images], device=self.pixels.device)[:, None]

    def __getitem__(self, chosen: Tensor) -> Tensor:
        """Pictures (m, b) as the towers want them: float (m, b, 3, h, w)."""
        return (self.pixels[self.of, chosen].float() / 255 - MEAN) / STD


# ---------------------------------------------------------------- m models as one


class _Towers(nn.Module):
    """Both towers of a CLIP, from pictures and words to embeddings, with a word embedding of the used rows only."""

    def __init__(self, model: CLIP, used: Tensor) -> None:
        super().__init__()
        self.clip = copy.deepcopy(model).train()
        self.clip.token_embedding = nn.Embedding.from_pretrained(
            model.token_embedding.weight[used].clone(), freeze=False
        )

    def forward(self, x: Tensor, words: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """Unit-norm embeddings of pictures (b, 3, h, w) and captions (u, length)."""
        model, length = self.clip, words.shape[1]
        h = model.token_embedding(words) + model.positional_embedding[:length]
        h = model.ln_final(model.transformer(h, attn_mask=model.attn_mask[:length, :length]))
        said = h[torch.arange(len(h), device=h.device), end] @ model.text_projection
        return model.encode_image(x, normalize=True), F.normalize(said, dim=-1)


class _Stack:
    """The weights of m models, stacked by name; ``weights`` are trained, ``statistics`` (batch norm) are updated."""

    def __init__(self, models: Sequence[CLIP], plan: _Plan, device: torch.device) -> None:
        self.models, self.plan = models, plan
        self.used = plan.used.to(device)
        self.towers = _Towers(models[0], self.used).to(device)
        states = [{**model.state_dict(), _WORDS: model.token_embedding.weight[self.used]} for model in models]
        trained = [name.removeprefix("clip.") for name, _ in self.towers.named_parameters()]
        updated = [name.removeprefix("clip.") for name, _ in self.towers.named_buffers()]
        self.weights = {name: torch.stack([s[name] for s in states]).detach().requires_grad_() for name in trained}
        # The attention mask is no part of the state, and the same for all.
        self.statistics = {name: torch.stack([s[name] for s in states]) for name in updated if name in states[0]}

    def groups(self) -> list[dict[str, object]]:
        """Weight decay for matrices and kernels of each model; none for biases, norms and the temperature."""
        every = list(self.weights.values())
        return [
            {"params": [w for w in every if w.ndim > 2], "weight_decay": WEIGHT_DECAY},
            {"params": [w for w in every if w.ndim <= 2], "weight_decay": 0.0},
        ]

    def clear(self) -> None:
        """Forget gradients, keeping their memory where it is."""
        for weight in self.weights.values():
            if weight.grad is not None:
                weight.grad.zero_()

    def __call__(self, x: Tensor, words: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings (m, b, d) and (m, u, d)."""

        def one(weights: dict[str, Tensor], statistics: dict[str, Tensor], *shown: Tensor) -> tuple[Tensor, Tensor]:
            state = {f"clip.{name}": tensor for name, tensor in (weights | statistics).items()}
            found: tuple[Tensor, Tensor] = functional_call(self.towers, state, shown)
            return found

        with sdpa_kernel(SDPBackend.MATH):  # captions are short, and not every fused attention knows vmap
            found: tuple[Tensor, Tensor] = torch.vmap(one)(self.weights, self.statistics, x, words, end)
        return found

    @torch.no_grad()
    def write_back(self) -> list[CLIP]:
        """Give each model its weights, of the word embedding only the rows that its own captions use."""
        for i, (model, own) in enumerate(zip(self.models, self.plan.own, strict=True)):
            state = model.state_dict()  # views of the model's own memory
            for name, tensor in (self.weights | self.statistics).items():
                if name != _WORDS:
                    state[name].copy_(tensor[i])
            mine = own.to(self.used.device)
            state[_WORDS][self.used[mine]] = self.weights[_WORDS][i, mine]
        return [model.eval() for model in self.models]


def _losses(stack: _Stack, pictures: _Pictures, shown: _Step, learned: Tensor, apart: Tensor) -> Tensor:
    """Each model's contrastive loss, (m,).

    Args:
        learned: bool (m,), whether the temperature is trained.
        apart: bool (m,), whether pictures with the same caption are no negatives of one another.
    """
    with mixed(shown.chosen.device):
        seen, said = stack(pictures[shown.chosen], shown.words, shown.end)
    said = said.float().gather(1, shown.place[..., None].expand(-1, -1, said.shape[2]))
    scale = stack.weights["logit_scale"]
    scale = torch.where(learned, scale, scale.detach()).exp()
    logits = scale[:, None, None] * seen.float() @ said.mT
    batch = logits.shape[1]
    here = torch.arange(batch, device=logits.device)
    same = (shown.said[:, :, None] == shown.said[:, None]) & (here[:, None] != here) & apart[:, None, None]
    logits = logits.masked_fill(same, float("-inf"))
    matched = logits.diagonal(dim1=1, dim2=2)
    return ((logits.logsumexp(1) + logits.logsumexp(2)) / 2 - matched).mean(1)


def _recorded(gradients: Callable[[_Step], None], first: _Step, stack: _Stack) -> Callable[[_Step], None]:
    """The same computation, replayed from a CUDA graph; the batch-norm statistics stay as they are meanwhile."""
    held = _Step(*(getattr(first, name).clone() for name in ("chosen", "said", "words", "end", "place")))
    before = {name: tensor.clone() for name, tensor in stack.statistics.items()}
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_BEFORE_RECORDING):
            gradients(held)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        gradients(held)
    for name, tensor in stack.statistics.items():
        tensor.copy_(before[name])

    def replay(shown: _Step) -> None:
        held.copy_(shown)
        graph.replay()

    return replay


def _check(
    models: Sequence[CLIP],
    images: Sequence[Tensor],
    captions: Sequence[Captions],
    batch: int,
    *others: Sequence[object],
) -> None:
    counts = {len(each) for each in (models, images, captions, *others)}
    if counts == {0} or len(counts) > 1:
        raise UsageError(f"models, images, captions and options must be equally many, got {sorted(counts)}")
    shapes = {tuple((name, tuple(p.shape)) for name, p in model.named_parameters()) for model in models}
    if len(shapes) > 1:
        raise UsageError("models of different architectures cannot be trained together")
    if len({each.shape for each in images}) > 1:
        raise UsageError("models that are trained together need equally many images of one size")
    n = len(images[0])
    if wrong := [len(each) for each in captions if len(each) != n]:
        raise UsageError(f"{n} images but {wrong[0]} captions")
    if n < batch:
        raise UsageError(f"{n} images cannot fill a batch of {batch}")
