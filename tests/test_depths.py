"""What is read at each depth, and what language can and cannot tell apart there."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from clip_invariance.measure.depths import DEPTHS, Depth, backbone_and_embedding, depths
from clip_invariance.models import clip

TEXTS = ["a banana", "a car", "a horse", "an umbrella"]


def read(images: Tensor) -> tuple[dict[Depth, Tensor], Tensor]:
    """All depths of an untrained encoder whose batch normalisation has seen the images, and its texts."""
    model = clip.calibrate_batch_norm(clip.create("conv", size=24, embed_dim=16, seed=0), images)
    return depths(model, images, TEXTS), clip.encode_texts(model, TEXTS)


def test_the_four_depths() -> None:
    images = torch.randint(0, 256, (10, 3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found, texts = read(images)
    assert tuple(found) == DEPTHS == ("backbone", "embedding", "span", "rest")
    assert [found[depth].shape for depth in DEPTHS] == [(10, 256), (10, 16), (10, 16), (10, 16)]
    torch.testing.assert_close(found["embedding"].norm(dim=1), torch.ones(10))
    torch.testing.assert_close(found["span"] + found["rest"], found["embedding"])
    torch.testing.assert_close((found["span"] * found["rest"]).sum(1), torch.zeros(10), atol=1e-5, rtol=0)

    # The score of every text is the score of the part in the span; no text reads the rest, though it is not small.
    # (1 % of the texts' variance may count as noise and not as span: scores agree to that order.)
    torch.testing.assert_close(found["span"] @ texts.T, found["embedding"] @ texts.T, atol=0.02, rtol=0)
    assert float((found["rest"] @ texts.T).abs().max()) < 0.02
    assert float(found["rest"].norm(dim=1).min()) > 0.1
    assert torch.linalg.matrix_rank(found["span"], rtol=1e-4) <= len(TEXTS)


@pytest.mark.parametrize("tower", clip.TOWERS)
def test_one_pass_reads_backbone_and_embedding_as_two_do(tower: clip.Tower) -> None:
    images = torch.randint(0, 256, (10, 3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    model = clip.calibrate_batch_norm(clip.create(tower, size=24, embed_dim=16, seed=0), images)
    backbone, embedding = backbone_and_embedding(model, images)
    assert torch.equal(backbone, clip.backbone(model, images))
    assert torch.equal(embedding, clip.embed(model, images))


def test_captions_that_are_already_encoded_tell_the_same() -> None:
    images = torch.randint(0, 256, (10, 3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    model = clip.calibrate_batch_norm(clip.create("conv", size=24, embed_dim=16, seed=0), images)
    spoken, encoded = depths(model, images, TEXTS), depths(model, images, clip.encode_texts(model, TEXTS))
    assert all(torch.equal(spoken[depth], encoded[depth]) for depth in DEPTHS)
