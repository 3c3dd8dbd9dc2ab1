"""Small image encoders that differ in how they treat place: padding, subsampling, pooling, position.

Each maps images of shape (n, 3, size, size), float in [0, 1], to features of shape (n, WIDTH). The seven convolutional
ones share one trunk: three convolutions, each followed by batch norm and ReLU, each halving the grid. They differ only
in what happens at the border, in how a grid is halved, and in how the last grid becomes a vector.

| name | border | halving | last grid | invariant to torus shifts |
|---|---|---|---|---|
| ``torus_pool`` | circular | phase-aligned stride | global mean | exactly, to float error |
| ``torus_halves`` | circular | phase-aligned stride | mean of the upper and of the lower half | within a half, roughly |
| ``zero_pool`` | zeros | stride | global mean | no: an ordinary small CNN |
| ``circular_pool`` | circular | stride | global mean | no: by multiples of 8 pixels only |
| ``aligned_pool`` | zeros | phase-aligned stride | global mean | no: the border shows |
| ``zero_pool_blur`` | zeros | low-pass, then stride | global mean | no, but closer |
| ``zero_flatten`` | zeros | stride | flattened | no: place is kept |
| ``mlp`` | | | | no notion of place |
| ``vit`` | | patches | mean of tokens | no: learned position embeddings |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from clip_invariance.errors import UsageError

#: Width of the features of every encoder.
WIDTH = 64
#: The three convolutions: channels in, channels out, kernel.
CONVOLUTIONS = ((3, 16, 5), (16, 32, 3), (32, WIDTH, 3))

Halving = Literal["stride", "blur"]


def align_phase(x: Tensor, stride: int, margin: int, dims: tuple[int, ...] = (2, 3)) -> Tensor:
    """Roll each image by less than ``stride`` pixels so that striding commutes with every torus shift.

    A stride of eight looks at one of 64 interleaved grids of pixels. Here the image is rolled until that is the grid with
    the most energy, wherever it was: a shifted image shows the network the same pixels, in shifted order. This is
    adaptive polyphase sampling (Chaman & Dokmanic 2021), done once for all strides instead of before each.

    Args:
        x: (n, channels, h, w), h and w multiples of ``stride``.
        stride: product of the strides that follow.
        margin: width of the circular border to add on each side, in the same gather.
        dims: axes to align: 2 is vertical, 3 is horizontal.

    Returns:
        the rolled images with their border, (n, channels, h + 2 margin, w + 2 margin).
    """
    n, channels, height, width = x.shape
    # Irrational weights, in float64: equal energies, which would make the choice depend on the place, do not occur.
    weights = torch.arange(2, channels + 2, device=x.device, dtype=torch.float64).sqrt()
    energy = torch.einsum("nchw,c->nhw", x.detach().double().square(), weights)
    rows, columns = (
        torch.arange(-margin, length + margin, device=x.device).expand(n, -1) for length in (height, width)
    )
    if 2 in dims and 3 in dims:
        phase = energy.view(n, height // stride, stride, width // stride, stride).sum((1, 3)).flatten(1).argmax(1)
        rows, columns = rows + (phase // stride)[:, None], columns + (phase % stride)[:, None]
    elif 3 in dims:
        columns = columns + energy.view(n, -1, stride).sum(1).argmax(1)[:, None]
    image = torch.arange(n, device=x.device)[:, None, None]
    rolled = x.permute(0, 2, 3, 1)[image, rows[:, :, None] % height, columns[:, None, :] % width]
    return rolled.permute(0, 3, 1, 2)


def wrap(x: Tensor, margin: int) -> Tensor:
    """Circular border. Twice as fast to train through as ``padding_mode="circular"`` on a CPU."""
    x = torch.cat([x[:, :, -margin:], x, x[:, :, :margin]], dim=2)
    return torch.cat([x[:, :, :, -margin:], x, x[:, :, :, :margin]], dim=3)


class Wrap(nn.Module):
    """:func:`wrap` as a layer."""

    def __init__(self, margin: int) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, x: Tensor) -> Tensor:
        return wrap(x, self.margin)


class AlignPhase(nn.Module):
    """:func:`align_phase` as a layer."""

    def __init__(self, stride: int, margin: int, dims: tuple[int, ...] = (2, 3)) -> None:
        super().__init__()
        self.stride, self.margin, self.dims = stride, margin, dims

    def forward(self, x: Tensor) -> Tensor:
        return align_phase(x, self.stride, self.margin, self.dims)


def halving(inputs: int, outputs: int, kernel: int, border: int, how: Halving = "stride") -> nn.Module:
    """Convolution, batch norm, ReLU, on a grid of half the size.

    Batch norm and ReLU act on every place alike, so they commute with shifts.

    Args:
        inputs, outputs: channels.
        kernel: side of the kernel.
        border: width of zero padding; 0 if the input already carries its border.
        how: "stride", or "blur": the stride moves behind the non-linearity, after a low-pass filter (Zhang 2019).
    """
    convolution = nn.Conv2d(inputs, outputs, kernel, 1 if how == "blur" else 2, border, bias=False)
    layers: list[nn.Module] = [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]
    if how == "blur":
        from timm.layers.blur_pool import BlurPool2d  # timm takes seconds to import

        layers.append(BlurPool2d(outputs, filt_size=3, stride=2, pad_mode="constant"))
    return nn.Sequential(*layers)


class PoolHalves(nn.Module):
    """Mean of the upper and of the lower half of a grid, side by side: (n, c, h, w) to (n, 2c)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([half.mean((2, 3)) for half in x.chunk(2, dim=2)], dim=1)


def zero_trunk(how: Halving) -> list[nn.Module]:
    """The three convolutions with zero padding: (n, 3, s, s) to (n, WIDTH, s / 8, s / 8)."""
    return [halving(*shape, border=shape[2] // 2, how=how) for shape in CONVOLUTIONS]


def circular_trunk() -> list[nn.Module]:
    """The three convolutions with circular padding and plain strides: one of the two remedies of :func:`torus_trunk`."""
    return [layer for shape in CONVOLUTIONS for layer in (Wrap(shape[2] // 2), halving(*shape, border=0))]


def aligned_trunk() -> list[nn.Module]:
    """The three convolutions with zero padding on an aligned image: the other remedy of :func:`torus_trunk`."""
    return [AlignPhase(stride=8, margin=0), *zero_trunk("stride")]


def torus_trunk(dims: tuple[int, ...]) -> list[nn.Module]:
    """The same on a torus; commutes with shifts along ``dims``."""
    first, second, third = CONVOLUTIONS
    return [
        AlignPhase(stride=8, margin=first[2] // 2, dims=dims),
        halving(*first, border=0),
        Wrap(second[2] // 2),
        halving(*second, border=0),
        Wrap(third[2] // 2),
        halving(*third, border=0),
    ]


def mean_pool() -> list[nn.Module]:
    """Global average pooling: (n, c, h, w) to (n, c)."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten()]


def dense(inputs: int, outputs: int) -> list[nn.Module]:
    """A fully connected layer with ReLU."""
    return [nn.Linear(inputs, outputs), nn.ReLU()]


class ViT(nn.Module):
    """timm's vision transformer, small, with learned position embeddings; features are the mean of the tokens."""

    def __init__(self, size: int) -> None:
        from timm.models.vision_transformer import VisionTransformer

        super().__init__()
        self.net = VisionTransformer(
            img_size=size,
            patch_size=4,
            embed_dim=WIDTH,
            depth=2,
            num_heads=4,
            mlp_ratio=2,
            num_classes=0,
            class_token=False,
            global_pool="avg",
        )

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.net(x)
        return features


def _flatten_head(size: int) -> list[nn.Module]:
    return [nn.Flatten(), *dense(WIDTH * (size // 8) ** 2, WIDTH)]


ENCODERS: dict[str, Callable[[int], nn.Module]] = {
    "torus_pool": lambda size: nn.Sequential(*torus_trunk((2, 3)), *mean_pool()),
    "torus_halves": lambda size: nn.Sequential(*torus_trunk((3,)), PoolHalves(), *dense(2 * WIDTH, WIDTH)),
    "zero_pool": lambda size: nn.Sequential(*zero_trunk("stride"), *mean_pool()),
    "circular_pool": lambda size: nn.Sequential(*circular_trunk(), *mean_pool()),
    "aligned_pool": lambda size: nn.Sequential(*aligned_trunk(), *mean_pool()),
    "zero_pool_blur": lambda size: nn.Sequential(*zero_trunk("blur"), *mean_pool()),
    "zero_flatten": lambda size: nn.Sequential(*zero_trunk("stride"), *_flatten_head(size)),
    "mlp": lambda size: nn.Sequential(nn.Flatten(), *dense(3 * size * size, 256), *dense(256, WIDTH)),
    "vit": ViT,
}


class Classifier(nn.Module):
    """An encoder and a linear head.

    Args:
        architecture: one of ENCODERS.
        size: side of the images, in pixels; a multiple of 8.
        classes: number of logits.

    Raises:
        UsageError: for an unknown architecture or a size that cannot be halved three times.
    """

    def __init__(self, architecture: str, size: int, classes: int) -> None:
        super().__init__()
        if architecture not in ENCODERS:
            raise UsageError(f"unknown architecture {architecture!r}: choose one of {', '.join(ENCODERS)}")
        if size % 8:
            raise UsageError(f"size must be a multiple of 8, got {size}")
        self.encoder = ENCODERS[architecture](size)
        self.head = nn.Linear(WIDTH, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.encoder(x))
        return logits
