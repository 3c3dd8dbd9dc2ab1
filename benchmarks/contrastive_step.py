"""A step of our contrastive training against a step of open_clip's own loop, on the same model, pictures and captions.

Run: python benchmarks/contrastive_step.py            (one process, one thread, about a minute)

Theirs is ``open_clip_train.train.train_one_epoch`` with the optimiser of ``open_clip_train.main``, fed as its users
would: a shuffling ``DataLoader`` over a dataset that holds uint8 pictures and token ids in memory and normalises each
picture as it is asked for. How much of their step is loading is shown, so that it can be left out of the comparison.
Both start from the same weights. That both compute the same gradients is tested in tests/test_contrastive.py.
"""

from __future__ import annotations

import os
import time
from argparse import Namespace
from collections.abc import Iterator

os.environ["OMP_NUM_THREADS"] = "1"  # before PyTorch is imported

import open_clip
import torch
from open_clip.loss import ClipLoss
from open_clip_train.scheduler import cosine_lr
from open_clip_train.train import train_one_epoch
from table import show
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import Normalize

from clip_invariance.captions import CaptionPolicy, Captions
from clip_invariance.models import clip
from clip_invariance.report.speed import Ratio
from clip_invariance.training import contrastive, loop
from clip_invariance.worlds import scenes

IMAGES, SIZE, BATCH, RATE = 12_000, 32, 128, 4e-3
STEPS, REPEATS = 6, 5
POLICIES = {
    "object only": CaptionPolicy(mention={"object": 1.0}),
    "everything": CaptionPolicy(mention=dict.fromkeys(scenes.FACTORS, 1.0)),
}


class InMemory(Dataset[tuple[Tensor, Tensor]]):
    """Pictures and token ids, one pair at a time."""

    def __init__(self, images: Tensor, tokens: Tensor) -> None:
        self.images, self.tokens = images, tokens
        self.normalise = Normalize([clip.MEAN] * 3, [clip.STD] * 3)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return self.normalise(self.images[i].float() / 255), self.tokens[i]


class SomeBatches:
    """What the loop asks of a data loader: one warming step, then ``STEPS`` that count."""

    num_batches, num_samples = STEPS + 1, (STEPS + 1) * BATCH

    def __init__(self, loader: DataLoader[tuple[Tensor, Tensor]]) -> None:
        self.dataloader, self.loader = self, loader
        self.start = self.loading = 0.0

    def set_epoch(self, epoch: int) -> None:
        torch.manual_seed(epoch)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        batches = iter(self.loader)
        for number in range(STEPS + 1):
            asked = time.process_time()
            if number == 1:
                self.start, self.loading = asked, 0.0
            batch = next(batches)
            self.loading += time.process_time() - asked
            yield batch


def model() -> open_clip.CLIP:
    return clip.create("conv", size=SIZE, seed=0)


def ours(images: Tensor, captions: Captions) -> float:
    """Milliseconds of processor time per step, after the first."""
    marks: list[float] = []
    contrastive.fit(
        model(),
        images,
        captions,
        steps=STEPS + 1,
        batch=BATCH,
        rate=RATE,
        watch=lambda _step, _model: marks.append(time.process_time()),
        watch_at=(1, STEPS + 1),
    )
    return (marks[1] - marks[0]) / STEPS * 1000


def theirs(data: SomeBatches) -> tuple[float, float]:
    """Milliseconds of processor time per step after the first, and how much of it was loading."""
    trained = model().to(memory_format=torch.contiguous_format)
    trained.output_dict = True
    named = list(trained.named_parameters())
    plain = [p for name, p in named if p.ndim < 2 or "bn" in name or "ln" in name or "logit_scale" in name]
    others = [p for _, p in named if not any(p is other for other in plain)]
    groups = [{"params": plain, "weight_decay": 0.0}, {"params": others, "weight_decay": loop.WEIGHT_DECAY}]
    optimiser = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98), eps=1e-6)
    args = Namespace(
        device="cpu",
        precision="fp32",
        distill=False,
        accum_freq=1,
        skip_scheduler=False,
        horovod=False,
        grad_clip_norm=None,
        rank=0,
        world_size=1,
        batch_size=BATCH,
        log_every_n_steps=100,
        wandb=False,
    )
    scheduler = cosine_lr(optimiser, RATE, 1, STEPS + 1)
    train_one_epoch(trained, {"train": data}, ClipLoss(), 0, optimiser, None, scheduler, None, args)
    return (time.process_time() - data.start) / STEPS * 1000, data.loading / STEPS * 1000


def ratios() -> list[Ratio]:
    """One comparison for each kind of captions, with and without open_clip's loading."""
    torch.set_num_threads(1)
    drawn = scenes.sample(IMAGES, 0)
    images = scenes.render(drawn, size=SIZE)
    found = []
    for name, policy in POLICIES.items():
        captions = policy.sample(scenes.WORDS, drawn.labels, 0)
        tokens = clip.tokenize(captions.texts)[captions.index]
        data = SomeBatches(DataLoader(InMemory(images, tokens), BATCH, shuffle=True, drop_last=True))
        whole, net = [], []
        for _ in range(REPEATS):  # alternating, so that a slow minute of the machine hits both
            slow, loading = theirs(data)
            fast = ours(images, captions)
            whole.append((fast, slow))
            net.append((fast, slow - loading))
        task = f"contrastive step, {BATCH} pictures of {SIZE} px, captions: {name}"
        found.append(Ratio.of(task, "open_clip_train's loop and loader", "ms", whole, 1.3))
        found.append(Ratio.of(task, "open_clip_train's loop without its loading", "ms", net, None))
    return found


if __name__ == "__main__":
    show(ratios())
