"""What the architectures promise about shifts, to float error, before and after training."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_invariance.errors import UsageError
from clip_invariance.models.convnets import ENCODERS, WIDTH, Classifier, align_phase
from clip_invariance.training.supervised import fit, prepare
from clip_invariance.worlds.canvas import shift

SIZE = 32
shifts = st.integers(0, SIZE - 1)


def pictures(n: int, seed: int) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def trained(architecture: str) -> Classifier:
    torch.manual_seed(0)
    net = Classifier(architecture, SIZE, 5)
    return fit(net, pictures(64, 1), torch.arange(64) % 5, steps=8, batch=16, rate=3e-3, seed=0)  # type: ignore[return-value]


def change(net: Classifier, images: torch.Tensor, dx: int, dy: int) -> float:
    """Largest change of the features under a shift, relative to the features' size."""
    with torch.inference_mode():
        before, after = net.encoder(prepare(images)), net.encoder(prepare(shift(images, dx, dy)))
    return ((before - after).abs().max() / before.abs().max()).item()


@pytest.fixture(scope="module")
def torus() -> Classifier:
    return trained("torus_pool")


@settings(max_examples=25, deadline=None)
@given(dx=shifts, dy=shifts, seed=st.integers(0, 2**16))
def test_the_torus_net_is_invariant_to_every_shift(torus: Classifier, dx: int, dy: int, seed: int) -> None:
    assert change(torus, pictures(8, seed), dx, dy) < 1e-5


@pytest.mark.parametrize(
    "architecture", ["zero_pool", "circular_pool", "aligned_pool", "zero_pool_blur", "zero_flatten", "mlp", "vit"]
)
def test_the_others_are_not(architecture: str) -> None:
    assert change(trained(architecture), pictures(8, 2), 5, 3) > 1e-3


def test_a_border_that_wraps_helps_against_shifts_by_whole_strides_only() -> None:
    net = trained("circular_pool")
    assert change(net, pictures(8, 4), 8, 16) < 1e-5
    assert change(net, pictures(8, 4), 8, 15) > 1e-3


def test_pooling_halves_ignores_horizontal_shifts_only() -> None:
    net = trained("torus_halves")
    assert change(net, pictures(8, 3), 7, 0) < 1e-5
    assert change(net, pictures(8, 3), 0, 16) > 1e-3


def test_zero_padding_alone_breaks_the_invariance_also_for_shifts_by_the_stride() -> None:
    """A shift by the total stride leaves the sampling grid alone, so what is left is the border."""
    assert change(trained("zero_pool"), pictures(8, 4), 8, 8) > 1e-3


@settings(max_examples=25, deadline=None)
@given(dx=shifts, dy=shifts, seed=st.integers(0, 2**16))
def test_phase_alignment_shows_a_strided_grid_the_same_pixels(dx: int, dy: int, seed: int) -> None:
    images = pictures(4, seed)
    kept, kept_after_shift = (
        align_phase(prepare(x), stride=8, margin=0)[:, :, ::8, ::8].flatten(2).sort(dim=2).values
        for x in (images, shift(images, dx, dy))
    )
    assert torch.equal(kept, kept_after_shift)


def test_the_margin_is_what_wraps_around() -> None:
    x = prepare(pictures(2, 5))
    plain, framed = align_phase(x, stride=8, margin=0), align_phase(x, stride=8, margin=2)
    assert torch.equal(framed[:, :, 2:-2, 2:-2], plain)
    assert torch.equal(framed[:, :, :2, 2:-2], plain[:, :, -2:])
    assert torch.equal(framed[:, :, 2:-2, -2:], plain[:, :, :, :2])


@pytest.mark.parametrize("architecture", ENCODERS)
def test_every_encoder_maps_to_the_same_width(architecture: str) -> None:
    assert Classifier(architecture, SIZE, 3).eval().encoder(prepare(pictures(2, 0))).shape == (2, WIDTH)


def test_bad_input_names_the_argument() -> None:
    with pytest.raises(UsageError, match="unknown architecture 'resnet': choose one of torus_pool"):
        Classifier("resnet", SIZE, 3)
    with pytest.raises(UsageError, match="size must be a multiple of 8, got 30"):
        Classifier("mlp", 30, 3)


def test_training_is_the_same_for_the_same_seed() -> None:
    first, second = trained("zero_pool").state_dict(), trained("zero_pool").state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
