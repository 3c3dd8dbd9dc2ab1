"""Training many CLIPs at once must be training each alone, up to rounding."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from open_clip.model import CLIP
from safetensors.torch import load
from torch import Tensor

from clip_invariance.captions import Captions
from clip_invariance.chapters import together as at_once
from clip_invariance.chapters.c3_captions.policies import training as caption_training
from clip_invariance.chapters.c4_dashcam import arms as dashcam_arms
from clip_invariance.chapters.c4_dashcam import training as dashcam_training
from clip_invariance.errors import UsageError
from clip_invariance.models import clip
from clip_invariance.models.clip import Tower
from clip_invariance.run import store as store_module
from clip_invariance.run.store import Progress, Store, _job, run_units
from clip_invariance.training import contrastive, together
from clip_invariance.units import Unit

SIZE, N, BATCH = 16, 20, 8
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

#: Arms with captions of different lengths, words and numbers, the last one of pictures of its own.
CAPTIONS = [
    Captions(("a red car", "a car"), torch.arange(N) % 2),
    Captions(("a small banana on a blue background", "a picture of a dog", "a car"), torch.arange(N) % 3),
    Captions(tuple(f"number {k}" for k in range(N)), torch.arange(N)),
]
SEEDS = (0, 0, 1)


def pictures(seed: int, device: str = "cpu") -> Tensor:
    """Noise whose brightness and colour differ from picture to picture."""
    generator = torch.Generator().manual_seed(seed)
    shade = torch.randint(0, 180, (N, 3, 1, 1), generator=generator)
    return (shade + torch.randint(0, 70, (N, 3, SIZE, SIZE), generator=generator)).to(torch.uint8).to(device)


def arms(tower: Tower = "conv", device: str = "cpu") -> tuple[list[CLIP], list[Tensor]]:
    shared = pictures(0, device)
    models = [clip.create(tower, size=SIZE, embed_dim=16, seed=seed, device=device) for seed in SEEDS]
    return models, [shared, shared, pictures(1, device)]


def alone(models: list[CLIP], images: list[Tensor], steps: int, **options: list[object]) -> None:
    for i, model in enumerate(models):
        mine = {name: values[i] for name, values in options.items()}
        contrastive.fit(
            model, images[i], CAPTIONS[i], steps=steps, batch=BATCH, rate=1e-3, seed=SEEDS[i], **mine  # type: ignore[arg-type]
        )  # fmt: skip


@pytest.mark.parametrize("tower", ["conv", "vit"])
def test_each_model_becomes_what_it_becomes_alone(tower: Tower) -> None:
    """Nine steps with two reshuffles. Embeddings are compared, not weights: AdamW divides a gradient by its size, so
    that a weight whose gradient is nothing but rounding (a key's bias, which attention ignores) moves at random."""
    models, images = arms(tower)
    before = clip.embed(models[0], images[0])
    singly = copy.deepcopy(models)
    alone(singly, images, steps=9)
    together.fit(models, images, CAPTIONS, steps=9, batch=BATCH, rate=1e-3, seeds=SEEDS)
    for mine, other, shown, captions in zip(models, singly, images, CAPTIONS, strict=True):
        assert not mine.training
        torch.testing.assert_close(clip.embed(mine, shown), clip.embed(other, shown), atol=2e-3, rtol=0)
        for texts in (captions.texts, ("words that no caption used",)):
            torch.testing.assert_close(
                clip.encode_texts(mine, texts), clip.encode_texts(other, texts), atol=2e-3, rtol=0
            )
        torch.testing.assert_close(mine.logit_scale, other.logit_scale, atol=1e-5, rtol=0)
        statistics = [(a, b) for a, b in zip(mine.buffers(), other.buffers(), strict=True)]
        assert all(torch.allclose(a.float(), b.float(), atol=1e-3, rtol=1e-3) for a, b in statistics)
    # Otherwise the comparison would say nothing: training and captions make more of a difference.
    assert (clip.embed(models[0], images[0]) - before).abs().max() > 0.1
    assert (clip.embed(models[0], images[0]) - clip.embed(models[1], images[0])).abs().max() > 0.05


def test_keys_of_what_is_trained_together_cover_what_trains_it() -> None:
    assert set(store_module.TRAINED_TOGETHER) == {Unit(function, {}).name for function in at_once.PLANS}


def test_options_belong_to_one_model_each() -> None:
    models, images = arms("vit")
    singly, plain = copy.deepcopy(models), copy.deepcopy(models)
    alone(singly, images, steps=4, mask_duplicates=[True, False, False], temperature=[None, 0.1, None])
    together.fit(
        models, images, CAPTIONS, steps=4, batch=BATCH, rate=1e-3, seeds=SEEDS,
        mask_duplicates=[True, False, False], temperatures=[None, 0.1, None],
    )  # fmt: skip
    together.fit(plain, images, CAPTIONS, steps=4, batch=BATCH, rate=1e-3, seeds=SEEDS)
    for mine, other, shown in zip(models, singly, images, strict=True):
        torch.testing.assert_close(clip.embed(mine, shown), clip.embed(other, shown), atol=2e-3, rtol=0)
    assert models[1].logit_scale.exp().item() == pytest.approx(10)
    difference = [
        (clip.embed(a, i) - clip.embed(b, i)).abs().max() for a, b, i in zip(models, plain, images, strict=True)
    ]
    assert difference[0] > 5e-3
    assert difference[1] > 5e-3
    assert difference[2] == 0  # nothing of the others' options reaches it


def test_weights_can_be_looked_at_along_the_way() -> None:
    models, images = arms("vit")
    seen: list[tuple[int, list[Tensor]]] = []
    together.fit(
        models, images, CAPTIONS, steps=3, batch=BATCH, rate=1e-3, seeds=SEEDS, watch_at=(0, 1, 3),
        watch=lambda step, now: seen.append((step, [clip.embed(m, i) for m, i in zip(now, images, strict=True)])),
    )  # fmt: skip
    assert [step for step, _ in seen] == [0, 1, 3]
    start, images = arms("vit")
    for step, embedded in seen:
        for i, model in enumerate(copy.deepcopy(start)):
            contrastive.fit(
                model, images[i], CAPTIONS[i], steps=3, batch=BATCH, rate=1e-3, seed=SEEDS[i], watch_at=[step],
                watch=lambda _, now, i=i, embedded=embedded: torch.testing.assert_close(
                    clip.embed(now, images[i]), embedded[i], atol=2e-3, rtol=0
                ),
            )  # fmt: skip


def test_what_cannot_be_trained_together_is_named() -> None:
    models, images = arms("vit")
    others, _ = arms("conv")
    options = {"steps": 1, "batch": BATCH}
    with pytest.raises(UsageError, match="equally many"):
        together.fit(models, images, CAPTIONS[:2], seeds=SEEDS, **options)
    with pytest.raises(UsageError, match="equally many"):
        together.fit([], [], [], seeds=[], **options)
    with pytest.raises(UsageError, match="different architectures"):
        together.fit([models[0], others[1], models[2]], images, CAPTIONS, seeds=SEEDS, **options)
    with pytest.raises(UsageError, match="of one size"):
        together.fit(models, [*images[:2], images[2][:9]], CAPTIONS, seeds=SEEDS, **options)
    with pytest.raises(UsageError, match=f"{N} images but 1 captions"):
        together.fit(
            models, images, [*CAPTIONS[:2], Captions(("a",), torch.zeros(1, dtype=torch.long))], seeds=SEEDS, **options
        )
    with pytest.raises(UsageError, match="cannot fill a batch of 99"):
        together.fit(models, images, CAPTIONS, seeds=SEEDS, steps=1, batch=99)
    with pytest.raises(UsageError, match="on a GPU only"):
        together.fit(models, images, CAPTIONS, seeds=SEEDS, record=True, **options)


@needs_gpu
def test_a_recorded_step_is_the_step() -> None:
    models, images = arms("conv", "cuda")
    plain = copy.deepcopy(models)
    for chosen, record in ((models, True), (plain, False)):
        together.fit(chosen, images, CAPTIONS, steps=6, batch=BATCH, rate=1e-3, seeds=SEEDS, record=record)
    for mine, other, shown in zip(models, plain, images, strict=True):
        torch.testing.assert_close(clip.embed(mine, shown), clip.embed(other, shown), atol=2e-2, rtol=0)


# ---------------------------------------------------------------- the units of chapters 3 and 4


def caption_unit(steps: int = 2, seed: int = 0, device: str = "cpu", **arm: Any) -> Unit:
    scale = caption_training.Size(images=40, steps=steps, batch=16)
    params = {"arm": caption_training.Arm(**arm), "scale": scale, "seed": seed, "device": device}
    return Unit(caption_training.train, params)


def dashcam_unit(seed: int = 0, **changes: object) -> Unit:
    arm, schedule = replace(dashcam_arms.SOMETIMES, **changes), dashcam_training.Schedule(steps=1, images=128)  # type: ignore[arg-type]
    return Unit(dashcam_training.train, {"arm": arm, "schedule": schedule, "seed": seed, "device": "cpu"})


def test_units_of_one_architecture_and_length_form_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    units = [
        caption_unit(),
        caption_unit(augmented=True),
        dashcam_unit(),
        caption_unit(others=1.0, seed=3, world="trifeature"),
        caption_unit(steps=5),
        dashcam_unit(objective="views"),
        dashcam_unit(mention=1.0),
        dashcam_unit(length=0),
        caption_unit(masked=True),
        caption_unit(labels=True),
    ]
    assert at_once.groups(units) == [[0, 3, 8], [1], [2, 6], [4], [5], [7], [9]]
    monkeypatch.setattr(at_once, "MOST", 2)
    assert at_once.groups(units)[:2] == [[0, 3], [8]]


@pytest.mark.parametrize(
    "units",
    [
        [caption_unit(), caption_unit(others=1.0, seed=1, kept="course"), caption_unit(temperature=0.1, masked=True)],
        [dashcam_unit(), dashcam_unit(mention=1.0, seed=1)],
    ],
    ids=["chapter 3", "chapter 4"],
)
def test_tables_of_units_are_those_of_their_functions(units: list[Unit]) -> None:
    """Weights agree but for AdamW's first steps, which blow rounding up where a gradient is nearly zero."""
    for unit, mine in zip(units, at_once.train(units), strict=True):
        other = unit.function(**unit.params)
        assert mine["step"].tolist() == other["step"].tolist()
        for a, b in zip(mine["weights"], other["weights"], strict=True):
            found, wanted = load(a), load(b)
            assert found.keys() == wanted.keys()
            assert torch.equal(found["words"], wanted["words"])
            near = torch.cat([((found[n] - wanted[n]).abs() < 1e-4).flatten() for n in wanted])
            assert near.float().mean() > 0.97


def test_store_keeps_each_unit_of_a_group_under_its_own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU. Its key covers the source of what trains them at once; a processor's does not."""
    trained: list[int] = []

    def train(units: list[Unit]) -> list[pd.DataFrame]:
        trained.append(len(units))
        return [pd.DataFrame({"step": [unit.params["seed"]]}) for unit in units]

    monkeypatch.setattr(at_once, "train", train)
    monkeypatch.setattr(store_module, "device_name", lambda device: f"a {device} device")
    units = [caption_unit(device="cuda", seed=seed) for seed in range(3)]
    store = Store(tmp_path)
    entries, _, reused = run_units(units, store, {}, 1, Progress())
    assert (trained, reused) == ([3], 0)
    assert [entry.table["step"].tolist() for entry in entries] == [[0], [1], [2]]
    _, _, reused = run_units(
        [*units, caption_unit(device="cuda", seed=3), caption_unit(device="cuda", seed=4)], store, {}, 1, Progress()
    )
    assert (trained, reused) == ([3, 2], 3)
    on_gpu, on_cpu = (_job(caption_unit(device=device), {}, {}) for device in ("cuda", "cpu"))
    assert {source.module for source in on_gpu.depends_on} > {"clip_invariance.training.together"}
    assert "clip_invariance.training.together" not in {source.module for source in on_cpu.depends_on}
