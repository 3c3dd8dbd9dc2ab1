"""The training loop: the loss it says, the gradients of a plain loop, the optimum that theory names."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import torch
from open_clip.loss import ClipLoss
from open_clip.model import CLIP
from torch import Tensor

from clip_invariance.captions import Captions
from clip_invariance.errors import UsageError
from clip_invariance.models import clip
from clip_invariance.models.clip import Tower
from clip_invariance.theory.tabular import dashcam_world, distance_to_optimum, pointwise_mutual_information
from clip_invariance.training import contrastive
from clip_invariance.training.augment import crop_and_colour
from clip_invariance.training.contrastive import fit, masked_loss
from clip_invariance.training.loop import constant

SIZE = 16
CAPTIONS = Captions(
    ("a red car", "a car", "a small banana on a blue background"), torch.tensor([0, 1, 2, 1, 1, 0, 2, 1])
)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@cache
def _fresh(tower: Tower, size: int) -> CLIP:
    return clip.create(tower, size=size, embed_dim=16, seed=0)


def model(tower: Tower = "vit", size: int = SIZE) -> CLIP:
    return copy.deepcopy(_fresh(tower, size))


def pictures(n: int = 8) -> Tensor:
    """Picture i has brightness 20 + 25 i and some noise."""
    noise = torch.randint(0, 20, (n, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(0))
    return (20 + 25 * torch.arange(n)[:, None, None, None] + noise).to(torch.uint8)


def state(trained: CLIP) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in trained.state_dict().items()}


def differing(a: dict[str, Tensor], b: dict[str, Tensor]) -> set[str]:
    """Names of the tensors that are not bit for bit the same."""
    assert a.keys() == b.keys()
    return {name for name in a if not torch.equal(a[name], b[name])}


def gradients(trained: CLIP) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in trained.named_parameters() if p.grad is not None}


def gradients_of_one_step(start: CLIP, images: Tensor, captions: Captions, **options: object) -> dict[str, Tensor]:
    """What the loop hands to the optimiser in its first step, with all pictures in the batch."""
    found: dict[str, Tensor] = {}
    fit(
        start,
        images,
        captions,
        steps=1,
        batch=len(images),
        watch=lambda _step, now: found.update(gradients(now)),
        watch_at=[1],
        **options,  # type: ignore[arg-type]
    )
    return found


# --- the loss -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tower", ["conv", "vit"])
def test_gradients_are_those_of_a_plain_loop(tower: Tower) -> None:
    """Encoding each distinct caption once, without its padding, of the word embedding only the words that occur:
    nothing of this changes what is learned from a batch with repeated captions."""
    images = pictures()
    ours = gradients_of_one_step(model(tower), images, CAPTIONS)

    plain = model(tower).train()
    seen = plain.encode_image(clip.prepare(images), normalize=True)
    said = torch.cat([plain.encode_text(clip.tokenize([text]), normalize=True) for text in CAPTIONS.strings()])
    scores = plain.logit_scale.exp() * seen @ said.T
    loss = sum(-scores.log_softmax(axis).diagonal().mean() for axis in (0, 1)) / 2
    loss.backward()  # type: ignore[union-attr]
    theirs = gradients(plain)

    words = clip.tokenize(CAPTIONS.texts).unique()
    whole = theirs.pop("token_embedding.weight")
    theirs["token_embedding.rows"] = whole[words]
    whole[words] = 0
    assert not whole.any()
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        scale = float(gradient.abs().max()) + 1e-6
        torch.testing.assert_close(ours[name] / scale, gradient / scale, atol=2e-3, rtol=0, msg=name)


def random_batch(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images, texts = torch.nn.functional.normalize(torch.randn(2, n, 6, generator=generator), dim=-1)
    return images, texts


def test_with_distinct_captions_masking_changes_nothing() -> None:
    images, texts = random_batch(9)
    scale = torch.tensor(12.0)
    torch.testing.assert_close(masked_loss(images, texts, scale, torch.randperm(9)), ClipLoss()(images, texts, scale))


def test_the_masked_loss_by_hand() -> None:
    """Two of three pairs share their caption. Unmasked, each is a negative of the other and costs log 2 at least."""
    red, green = torch.eye(2)
    images, texts = torch.stack([red, red, green]), torch.stack([red, red, green])
    scale, e = torch.tensor(3.0), torch.tensor(-3.0).exp()
    masked = (2 * (1 + e).log() + (1 + 2 * e).log()) / 3
    torch.testing.assert_close(masked_loss(images, texts, scale, torch.tensor([7, 7, 4])), masked)
    unmasked = (2 * (2 + e).log() + (1 + 2 * e).log()) / 3
    torch.testing.assert_close(ClipLoss()(images, texts, scale), unmasked)
    torch.testing.assert_close(masked_loss(images, texts, scale, torch.tensor([7, 5, 4])), unmasked)


def test_masked_pairs_neither_attract_nor_repel() -> None:
    """The similarity of an image to the caption of another image with the same caption is no part of the loss."""
    images, texts = random_batch(6)
    texts.requires_grad_()
    captions = torch.tensor([0, 0, 0, 1, 2, 3])
    logits = (images @ texts.T).detach().requires_grad_()
    masked_loss(logits, torch.eye(6), torch.tensor(1.0), captions).backward()  # scores as features: d loss / d score
    assert logits.grad is not None
    same = (captions[:, None] == captions) & ~torch.eye(6, dtype=torch.bool)
    assert not logits.grad[same].any()
    assert bool((logits.grad[~same] != 0).all())


def test_the_loop_masks_when_asked() -> None:
    """If all captions are the same, a masked batch has no negatives and teaches nothing."""
    images, same = pictures(), Captions(("a car",), torch.zeros(8, dtype=torch.long))
    masked = gradients_of_one_step(model(), images, same, mask_duplicates=True)
    assert masked
    assert all(not gradient.any() for gradient in masked.values())
    unmasked = gradients_of_one_step(model(), images, same)
    assert unmasked["visual.proj"].any()


# --- the optimum ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mention_rate", "steps"), [(0.0, 120), (0.5, 240)])
def test_training_reaches_pointwise_mutual_information(mention_rate: float, steps: int) -> None:
    """Real towers, real captions, the loop as it is, on a world of four pictures and six captions: scale x cosine
    arrives at log p(c|x)/p(c), up to the one number that the loss leaves free. So pictures that differ in the light
    only get the same scores if captions never mention the light, and other ones if they do."""
    joint = dashcam_world(mention_rate, carelessness=0.3)
    cars = ("black", "white")
    texts = (*cars, *(f"{car} {light}" for light in ("red", "green") for car in cars))
    noise = torch.Generator().manual_seed(0)  # four pictures that are easy to tell apart
    four = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8, generator=noise)
    pairs = torch.arange(24).repeat_interleave((joint * 4096).round().long().flatten())
    trained = fit(model(size=8), four[pairs // 6], Captions(texts, pairs % 6), steps=steps, batch=64, rate=2e-3)

    with torch.inference_mode():
        scores = trained.logit_scale.exp() * clip.embed(trained, four) @ clip.encode_texts(trained, texts).T
    assert distance_to_optimum(scores.double(), joint) < 0.5  # it starts at 4.9
    optimum = pointwise_mutual_information(joint)
    by_light, expected = (float((table[0::2] - table[1::2]).abs().max()) for table in (scores, optimum))
    assert expected == pytest.approx(0.0 if mention_rate == 0 else 2.08, abs=0.01)
    assert by_light == pytest.approx(expected, abs=0.35)


# --- what the arguments promise -------------------------------------------------------------------------------------


@pytest.mark.parametrize("augment", [None, crop_and_colour])
def test_the_seed_decides(augment: contrastive.Augment | None) -> None:
    def trained(seed: int) -> dict[str, Tensor]:
        return state(fit(model("conv"), pictures(), CAPTIONS, steps=3, batch=4, seed=seed, augment=augment))

    first = trained(1)
    torch.manual_seed(123)  # the state of PyTorch's own generator does not matter
    assert not differing(first, trained(1))
    assert "visual.head.proj.weight" in differing(first, trained(2))


def test_every_picture_is_seen_once_in_a_pass() -> None:
    batches: list[list[int]] = []

    def look(images: Tensor, _generator: torch.Generator) -> Tensor:
        brightness = (images * clip.STD + clip.MEAN).mean(dim=(1, 2, 3)) * 255
        batches.append([int((value - 20) / 25) for value in brightness])
        return images

    fit(model(), pictures(), CAPTIONS, steps=6, batch=4, seed=0, augment=look)
    passes = [first + second for first, second in zip(batches[::2], batches[1::2], strict=True)]
    assert [sorted(one) for one in passes] == [list(range(8))] * 3
    assert len({tuple(one) for one in passes}) == 3


def test_a_pass_leaves_out_what_does_not_fill_a_batch() -> None:
    sizes: list[int] = []

    def look(images: Tensor, _generator: torch.Generator) -> Tensor:
        sizes.append(len(images))
        return images

    fit(model(), pictures(), CAPTIONS, steps=4, batch=5, augment=look)
    assert sizes == [5, 5, 5, 5]


def test_a_fixed_temperature_stays_and_a_learned_one_moves() -> None:
    fixed = fit(model(), pictures(), CAPTIONS, steps=3, batch=4, temperature=0.2)
    assert fixed.logit_scale.exp().item() == pytest.approx(5.0)
    start = model()
    before = start.logit_scale.item()
    assert fit(start, pictures(), CAPTIONS, steps=3, batch=4).logit_scale.item() != before


def test_frozen_texts_leave_the_text_tower_alone() -> None:
    start = model()
    before = state(start)
    texts = torch.nn.functional.normalize(torch.randn(3, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    moved = differing(before, state(fit(start, pictures(), CAPTIONS, steps=3, batch=4, frozen_text=texts)))
    assert "logit_scale" in moved
    assert {name.split(".")[0] for name in moved} == {"visual", "logit_scale"}


def test_frozen_texts_are_what_images_are_trained_towards() -> None:
    """With the text tower's own embeddings as frozen texts, the image tower gets the very same first gradient."""
    texts = clip.encode_texts(model(), CAPTIONS.texts).clone()
    frozen = gradients_of_one_step(model(), pictures(), CAPTIONS, frozen_text=texts)
    learned = gradients_of_one_step(model(), pictures(), CAPTIONS)
    assert all(name.startswith("visual") or name == "logit_scale" for name in frozen)
    for name, gradient in frozen.items():
        torch.testing.assert_close(gradient, learned[name], atol=1e-5, rtol=1e-3)


def test_words_that_no_caption_uses_keep_their_embedding() -> None:
    start = model()
    before = start.token_embedding.weight.detach().clone()
    table = start.token_embedding
    after = fit(start, pictures(), CAPTIONS, steps=3, batch=4)
    assert after.token_embedding is table  # an open_clip model again
    used = torch.zeros(len(before), dtype=torch.bool)
    used[clip.tokenize(CAPTIONS.texts).unique()] = True
    same = (after.token_embedding.weight == before).all(dim=1)
    assert bool(same[~used].all())
    assert not bool(same[used & (torch.arange(len(used)) > 0)].any())  # 0 is the padding, which is not read


def test_watching_happens_when_asked_and_changes_nothing() -> None:
    seen: list[tuple[int, bool]] = []
    kept: dict[int, bytes] = {}

    def watch(step: int, now: CLIP) -> None:
        seen.append((step, now.training))
        kept[step] = clip.weights(now, CAPTIONS.texts)

    start = model("conv")
    untrained = clip.weights(start, CAPTIONS.texts)
    watched = fit(start, pictures(), CAPTIONS, steps=4, batch=4, watch=watch, watch_at=[0, 2, 4])
    assert seen == [(0, False), (2, False), (4, False)]
    assert not differing(state(watched), state(fit(model("conv"), pictures(), CAPTIONS, steps=4, batch=4)))
    assert kept[0] == untrained
    assert kept[4] == clip.weights(watched, CAPTIONS.texts)
    assert kept[2] not in (kept[0], kept[4])


def test_a_training_ends_where_who_watches_has_seen_enough() -> None:
    seen = []

    def watch(step: int, _: CLIP) -> bool:
        seen.append(step)
        return step >= 4

    short = fit(
        model(), pictures(), CAPTIONS, steps=100, batch=4, constant_after=2, watch=watch, watch_at=range(0, 100, 2)
    )
    assert seen == [0, 2, 4]
    full = fit(model(), pictures(), CAPTIONS, steps=4, batch=4, constant_after=2)
    for one, other in zip(short.parameters(), full.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_constant_rate_rises_and_stays() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimiser, schedule = constant([{"params": [weight]}], 0.8, 4)
    rates = []
    for _ in range(7):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8, 0.8])


def test_no_steps_leave_the_model_as_it_is() -> None:
    trained = fit(model("conv"), pictures(), CAPTIONS, steps=0, batch=4)
    assert not differing(state(trained), state(model("conv")))
    assert not trained.training


def test_an_error_in_training_leaves_an_open_clip_model() -> None:
    start = model()

    def fail(_images: Tensor, _generator: torch.Generator) -> Tensor:
        raise RuntimeError("no pictures today")

    with pytest.raises(RuntimeError, match="no pictures today"):
        fit(start, pictures(), CAPTIONS, steps=1, batch=4, augment=fail)
    assert isinstance(start.token_embedding, torch.nn.Embedding)


def test_errors() -> None:
    with pytest.raises(UsageError, match="8 images but 7 captions"):
        fit(model(), pictures(), CAPTIONS[:7], steps=1, batch=4)
    with pytest.raises(UsageError, match="8 images cannot fill a batch of 9"):
        fit(model(), pictures(), CAPTIONS, steps=1, batch=9)
    endless = Captions(("car " * 40,), torch.zeros(8, dtype=torch.long))
    with pytest.raises(UsageError, match="more than 32 tokens"):
        fit(model(), pictures(), endless, steps=1, batch=4)


# --- on a GPU -------------------------------------------------------------------------------------------------------


@needs_gpu
@pytest.mark.parametrize("tower", ["conv", "vit"])
@pytest.mark.parametrize("masked", [False, True])
def test_a_step_on_a_gpu_is_close_to_one_on_the_cpu(tower: Tower, masked: bool) -> None:
    """The towers run in bfloat16 there: directions agree, digits do not."""
    there, here = (
        gradients_of_one_step(
            model(tower).to(device),
            pictures().to(device),
            CAPTIONS,
            mask_duplicates=masked,
            augment=crop_and_colour,
        )
        for device in ("cuda", "cpu")
    )
    assert there.keys() == here.keys()
    flat_there, flat_here = (torch.cat([g[name].flatten().cpu() for name in here]) for g in (there, here))
    assert all(gradient.is_cuda for gradient in there.values())
    assert float(torch.nn.functional.cosine_similarity(flat_there, flat_here, dim=0)) > 0.95


@needs_gpu
def test_models_trained_on_a_gpu_are_read_on_the_cpu() -> None:
    trained = fit(model().cuda(), pictures().cuda(), CAPTIONS, steps=3, batch=4)
    embedding = clip.embed(trained, pictures().cuda())
    back = clip.restore("vit", clip.weights(trained, CAPTIONS.texts), size=SIZE, embed_dim=16)
    torch.testing.assert_close(clip.embed(back, pictures()), embedding.cpu(), atol=1e-3, rtol=0)
