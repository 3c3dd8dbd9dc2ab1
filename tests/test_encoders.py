"""Encoders are trained once, kept as a table, and come back as they were."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor

from clip_invariance.captions import Captions
from clip_invariance.errors import UsageError
from clip_invariance.models import clip
from clip_invariance.training import contrastive, encoders

SIZE = 16
CAPTIONS = Captions(("a red car", "a banana"), torch.arange(12) % 2)


def pictures() -> Tensor:
    return torch.randint(0, 256, (12, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@cache
def kept() -> pd.DataFrame:
    return encoders.train(
        pictures(), CAPTIONS, tower="conv", seed=4, steps=4, embed_dim=16, keep_at=[0, 2], rate=1e-2, batch=6
    )


def embeddings(step: int | None, table: pd.DataFrame | None = None) -> Tensor:
    model = encoders.trained(
        kept() if table is None else table, tower="conv", size=SIZE, seed=4, embed_dim=16, step=step
    )
    return torch.cat([clip.embed(model, pictures()), clip.encode_texts(model, CAPTIONS.texts)])


def test_the_table_gives_the_encoder_that_was_trained() -> None:
    model = clip.create("conv", size=SIZE, embed_dim=16, seed=4)
    clip.calibrate_batch_norm(model, pictures())
    untrained = torch.cat([clip.embed(model, pictures()), clip.encode_texts(model, CAPTIONS.texts)])
    contrastive.fit(model, pictures(), CAPTIONS, steps=4, seed=4, rate=1e-2, batch=6)
    trained = torch.cat([clip.embed(model, pictures()), clip.encode_texts(model, CAPTIONS.texts)])
    assert kept().step.tolist() == [0, 2, 4]
    torch.testing.assert_close(embeddings(None), trained)
    torch.testing.assert_close(embeddings(4), trained)
    torch.testing.assert_close(embeddings(0), untrained)
    assert not torch.allclose(embeddings(2), trained, atol=1e-3)
    assert not torch.allclose(untrained, trained, atol=1e-3)


def test_the_table_survives_the_store(tmp_path: Path) -> None:
    kept().to_parquet(tmp_path / "table.parquet")
    assert torch.equal(embeddings(2, pd.read_parquet(tmp_path / "table.parquet")), embeddings(2))


def test_the_untrained_control_has_seen_the_pictures() -> None:
    """Its batch normalisation has, or its features would be those of no fair control; its weights are the initial ones."""
    table = encoders.train(pictures(), CAPTIONS, tower="conv", seed=4, steps=0, embed_dim=16, batch=6)
    assert table.step.tolist() == [0]
    torch.testing.assert_close(embeddings(0, table), embeddings(0))
    control = encoders.trained(table, tower="conv", size=SIZE, seed=4, embed_dim=16)
    fresh = clip.create("conv", size=SIZE, embed_dim=16, seed=4)
    for (name, one), other in zip(control.named_parameters(), fresh.parameters(), strict=True):
        assert torch.equal(one, other), name
    assert not torch.allclose(clip.embed(control, pictures()), clip.embed(fresh.eval(), pictures()), atol=1e-3)


def test_augmentation_and_rate_reach_the_training() -> None:
    def trained(**options: object) -> bytes:
        table = encoders.train(
            pictures(),
            CAPTIONS,
            tower="vit",
            seed=0,
            steps=2,
            embed_dim=16,
            batch=6,
            **options,  # type: ignore[arg-type]
        )
        return table.weights.iloc[-1]

    plain = trained()
    assert plain == trained(rate=encoders.RATES["vit"])
    assert len({plain, trained(augmented=True), trained(rate=1e-4), trained(temperature=0.5)}) == 4


def test_asking_for_weights_that_were_not_kept_says_which_were() -> None:
    with pytest.raises(UsageError, match="weights after 3 steps were not kept: there are 0, 2, 4"):
        embeddings(3)


def test_split() -> None:
    first, rest = encoders.split({"object": torch.arange(5), "size": torch.arange(5) * 2}, 3)
    assert first["object"].tolist() == [0, 1, 2]
    assert first["size"].tolist() == [0, 2, 4]
    assert rest["object"].tolist() == [3, 4]
    assert rest["size"].tolist() == [6, 8]
