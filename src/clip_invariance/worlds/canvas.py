"""Drawn objects on a torus: every factor of a picture set independently, drawn in batches on a CPU or a GPU.

A canvas is a square whose edges are glued together, so that shifting a picture moves nothing out of it and the shifts
form a closed group. Coordinates are continuous: pixel ``i`` covers the interval ``[i, i + 1)``, x grows to the right,
y grows downwards.

Each picture depends on its own factors only, never on the batch it is drawn in, and is identical from run to run. A
CPU and a GPU draw the same picture up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F

from clip_invariance.errors import UsageError
from clip_invariance.worlds.openmoji import OBJECTS, DrawnObject, Medium, sprites

Places = Callable[[int, torch.Generator], torch.Tensor]
"""Draws n places: (n, generator) -> float tensor (n, 2) of x and y in pixels."""

_SUPERSAMPLE = 2  # samples per pixel and direction
MIN_SCALE = 0.25
"""Smallest scale: below it the sprite would be sampled too sparsely."""
GREY = 155
"""Mean of a texture."""
GROUNDS = {"blue": (140, 178, 218), "green": (156, 204, 146), "orange": (222, 184, 130), "violet": (196, 158, 216)}
"""Light colours that other worlds move textures to: name -> 8-bit red, green, blue."""
_INTEGER_FACTORS = ("object", "background", "medium")


@dataclass(frozen=True)
class Factors:
    """What is in each of n pictures: eight tensors of length n.

    Attributes:
        object: int64, index into the canvas's objects.
        x: float32, centre of the object from the left edge, pixels, in [0, size).
        y: float32, centre of the object from the top edge, pixels, in [0, size).
        scale: float32, multiplies the canvas's nominal object size, from MIN_SCALE to the canvas's max_scale.
        rotation: float32, degrees, counter-clockwise.
        brightness: float32, multiplies the object's colours (not the background's), in [0, 2].
        background: int64, any number; equal numbers give equal backgrounds.
        medium: int64, index into the canvas's media.
    """

    object: torch.Tensor
    x: torch.Tensor
    y: torch.Tensor
    scale: torch.Tensor
    rotation: torch.Tensor
    brightness: torch.Tensor
    background: torch.Tensor
    medium: torch.Tensor

    def __post_init__(self) -> None:
        for name, tensor in self.columns().items():
            if tensor.ndim != 1 or len(tensor) != len(self.object):
                raise UsageError(
                    f"factor {name} has shape {tuple(tensor.shape)}: expected one number for each of "
                    f"{len(self.object)} pictures"
                )
            if name in _INTEGER_FACTORS and tensor.dtype != torch.int64:
                raise UsageError(f"factor {name} has type {tensor.dtype}: expected int64")

    def __len__(self) -> int:
        return len(self.object)

    def __getitem__(self, which: slice | torch.Tensor) -> Factors:
        """The pictures chosen by a slice, a boolean mask or a tensor of indices."""
        return Factors(**{name: tensor[which] for name, tensor in self.columns().items()})

    def columns(self) -> dict[str, torch.Tensor]:
        """The tensors by factor name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def to(self, device: torch.device | str) -> Factors:
        """The same factors on another device."""
        return Factors(**{name: tensor.to(device) for name, tensor in self.columns().items()})


def everywhere(size: int) -> Places:
    """Places spread evenly over the whole canvas."""
    return lambda n, generator: torch.rand(n, 2, generator=generator) * size


def bottom_half(size: int) -> Places:
    """Places spread evenly over the lower half of the canvas: y in [size / 2, size)."""

    def draw(n: int, generator: torch.Generator) -> torch.Tensor:
        place = torch.rand(n, 2, generator=generator)
        return torch.stack([place[:, 0], (1 + place[:, 1]) / 2], dim=1) * size

    return draw


def sample_factors(
    n: int,
    seed: int | torch.Generator,
    size: int,
    *,
    objects: int = len(OBJECTS),
    media: int = 1,
    where: Places | torch.Tensor | None = None,
    scale: tuple[float, float] = (0.8, 1.2),
    rotation: tuple[float, float] = (-20.0, 20.0),
    brightness: tuple[float, float] = (0.75, 1.25),
) -> Factors:
    """Draw the factors of n pictures, each independently and uniformly.

    Args:
        n: number of pictures.
        seed: a seed, or a CPU generator to draw from.
        size: side of the canvas in pixels.
        objects: how many objects there are.
        media: how many media there are.
        where: allowed places: a function such as :func:`bottom_half`, a float tensor (m, 2) of x and y to choose
            from, or None for everywhere.
        scale: range of the scale.
        rotation: range of the rotation in degrees.
        brightness: range of the brightness.

    Returns:
        Factors on the CPU.

    Raises:
        UsageError: for an empty list of places or a wrong shape.
    """
    generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
    place = _draw_places(n, generator, everywhere(size) if where is None else where)
    # A float32 just below size may round up to it; on a torus that is 0.
    place = torch.where(place == size, torch.zeros_like(place), place)

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(n, generator=generator)

    return Factors(
        object=torch.randint(objects, (n,), generator=generator),
        x=place[:, 0],
        y=place[:, 1],
        scale=uniform(*scale),
        rotation=uniform(*rotation),
        brightness=uniform(*brightness),
        background=torch.randint(2**62, (n,), generator=generator),
        medium=torch.randint(media, (n,), generator=generator),
    )


def _draw_places(n: int, generator: torch.Generator, where: Places | torch.Tensor) -> torch.Tensor:
    if not isinstance(where, torch.Tensor):
        return where(n, generator)
    if where.ndim != 2 or where.shape[1] != 2 or len(where) == 0:
        raise UsageError(f"where has shape {tuple(where.shape)}: expected (m, 2), one x and y for each place")
    return where.float()[torch.randint(len(where), (n,), generator=generator)]


def matched_pairs(factors: Factors, change: Mapping[str, torch.Tensor | float]) -> tuple[Factors, Factors]:
    """Counterfactual pairs: the same pictures, and again with only the named factors changed.

    Args:
        factors: the pictures to start from.
        change: factor name to its new value, one number for all pictures or a tensor of length n.

    Returns:
        The given factors and the changed ones; everything that is not named is identical, the background included.

    Raises:
        UsageError: for an unknown factor or a tensor of the wrong shape or type.
    """
    columns = factors.columns()
    unknown = sorted(set(change) - set(columns))
    if unknown:
        raise UsageError(f"unknown factor {', '.join(unknown)}: choose from {', '.join(columns)}")
    changed = {
        name: value if isinstance(value, torch.Tensor) else torch.full_like(columns[name], value)
        for name, value in change.items()
    }
    return factors, replace(factors, **changed)


def shift(images: torch.Tensor, dx: torch.Tensor | int, dy: torch.Tensor | int) -> torch.Tensor:
    """Shift each picture on the torus by whole pixels.

    Args:
        images: (n, channels, height, width), any type.
        dx: pixels to the right, an integer or an integer tensor of length n.
        dy: pixels downwards, likewise.

    Returns:
        A new tensor of the same shape.
    """
    n, channels, height, width = images.shape
    rows = (torch.arange(height, device=images.device) - _per_image(dy, n, images.device)) % height
    columns = (torch.arange(width, device=images.device) - _per_image(dx, n, images.device)) % width
    source = rows[:, :, None] * width + columns[:, None, :]
    flat = images.reshape(n, channels, height * width)
    index = source.view(n, 1, height * width).expand(n, channels, height * width)
    return flat.gather(2, index).reshape(images.shape)


def _per_image(offset: torch.Tensor | int, n: int, device: torch.device) -> torch.Tensor:
    """An integer offset as a column (n, 1)."""
    return torch.as_tensor(offset, device=device, dtype=torch.int64).expand(n)[:, None]


class Canvas:
    """Draws pictures of one size from :class:`Factors`.

    Args:
        size: side of the square canvas in pixels.
        object_size: side in pixels of the square around an object at scale 1.
        objects: the drawings that factor ``object`` counts through.
        media: the media that factor ``medium`` counts through.
        device: where to draw.
        max_scale: largest scale that may be asked for.
        max_rotation: largest rotation, in degrees, either way, that may be asked for.
        contrast: strength of the background texture; 0 gives plain grey.

    Raises:
        UsageError: if an object at its largest does not fit the canvas.
    """

    def __init__(
        self,
        size: int,
        object_size: float,
        objects: tuple[DrawnObject, ...] = OBJECTS,
        media: tuple[Medium, ...] = ("full",),
        device: torch.device | str = "cpu",
        *,
        max_scale: float = 1.2,
        max_rotation: float = 20.0,
        contrast: float = 1.0,
    ) -> None:
        self.size = size
        self.object_size = object_size
        self.objects = objects
        self.media = media
        self.device = torch.device(device)
        self.max_scale = max_scale
        self.max_rotation = max_rotation
        turn = math.radians(min(max_rotation, 45.0))
        extent = object_size * max_scale * (math.cos(turn) + math.sin(turn))
        self.patch = math.ceil(extent) + 1  # one pixel more: the centre lies anywhere inside its pixel
        if object_size < 2 or self.patch > size:
            raise UsageError(
                f"object size {object_size:g} does not fit a canvas of {size} pixels: at scale {max_scale:g} and "
                f"rotation {max_rotation:g} an object needs {self.patch} pixels, and 2 is the smallest size"
            )
        # One sprite pixel per sample at scale 1: bilinear sampling then neither blurs nor aliases visibly.
        sprite_size = max(4, math.ceil(object_size * _SUPERSAMPLE))
        stack = torch.stack([sprites(objects, medium, sprite_size) for medium in media])
        self._sprites = stack.flatten(0, 1).float().to(self.device)  # (media * objects, 4, s, s), 0 .. 255
        self._textures = _texture_bank(size, contrast).to(self.device)  # (bank, 3, size * size), uint8
        # Sample positions along one side of the patch, from its corner: (samples in a pixel, pixels).
        inside = (torch.arange(_SUPERSAMPLE, device=self.device) + 0.5) / _SUPERSAMPLE
        self._samples = inside[:, None] + torch.arange(self.patch, device=self.device)

    def render(self, factors: Factors, batch: int | None = None) -> torch.Tensor:
        """Draw the pictures.

        Args:
            factors: n pictures, on any device.
            batch: how many to draw at once; the result does not depend on it.

        Returns:
            uint8 tensor (n, 3, size, size) on the canvas's device.

        Raises:
            UsageError: naming the factor that is out of range.
        """
        self._check(factors)
        factors = factors.to(self.device)
        batch = batch or (8192 if self.device.type == "cuda" else 256)
        images = torch.empty(len(factors), 3, self.size, self.size, dtype=torch.uint8, device=self.device)
        for start in range(0, len(factors), batch):
            part = factors[start : start + batch]
            images[start : start + batch] = self._draw(part)
        return images

    def backgrounds(self, seeds: torch.Tensor) -> torch.Tensor:
        """The backgrounds alone.

        Each is one of a bank of periodic textures, mirrored or not, rolled by a uniformly random shift: its
        distribution does not change under shifts of the torus.

        Args:
            seeds: int64 tensor of length n.

        Returns:
            uint8 tensor (n, 3, size, size) on the canvas's device.
        """
        bits = _hash(seeds.to(self.device))
        bank, mirrored = bits % len(self._textures), (bits >> 20) & 1
        dx, dy = (bits >> 24) % self.size, (bits >> 44) % self.size
        line = torch.arange(self.size, device=self.device)
        columns = (torch.where(mirrored[:, None] == 1, -line, line) - dx[:, None]) % self.size
        rows = (line - dy[:, None]) % self.size
        source = (rows[:, :, None] * self.size + columns[:, None, :]).view(len(seeds), 1, self.size**2)
        textures = self._textures[bank]
        return textures.gather(2, source.expand_as(textures)).reshape(-1, 3, self.size, self.size)

    def _draw(self, factors: Factors) -> torch.Tensor:
        images = self.backgrounds(factors.background).flatten(2)
        left = torch.floor(factors.x - self.patch / 2).long()
        top = torch.floor(factors.y - self.patch / 2).long()
        patch = self._object_patch(factors, factors.x - left, factors.y - top)

        line = torch.arange(self.patch, device=self.device)
        rows, columns = (top[:, None] + line) % self.size, (left[:, None] + line) % self.size
        target = (rows[:, :, None] * self.size + columns[:, None, :]).view(len(factors), 1, self.patch**2)
        target = target.expand(-1, 3, -1)

        alpha = patch[:, 3:]
        colour = torch.minimum(patch[:, :3] * factors.brightness[:, None, None], alpha)
        behind = images.gather(2, target).float()
        mixed = behind - behind * (alpha / 255) + colour
        return images.scatter_(2, target, mixed.round_().to(torch.uint8)).reshape(-1, 3, self.size, self.size)

    def _object_patch(self, factors: Factors, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Objects with their centres at (x, y) in a small patch: premultiplied (n, 4, patch * patch), 0 to 255."""
        # The inverse rotation and scaling takes a sample of the patch back to the sprite's own square [-1, 1]^2. It is
        # a sum of a part that depends on the column only and a part that depends on the row only.
        n, k = len(factors), _SUPERSAMPLE
        angle = torch.deg2rad(factors.rotation)
        zoom = 2 / (self.object_size * factors.scale)
        cosine, sine = torch.cos(angle) * zoom, torch.sin(angle) * zoom
        along = (self._samples - x[:, None, None])[:, None, :, None, :]
        down = (self._samples - y[:, None, None])[:, :, None, :, None]
        cosine, sine = cosine.view(n, 1, 1, 1, 1), sine.view(n, 1, 1, 1, 1)
        grid = torch.empty(n, k, k, self.patch, self.patch, 2, device=self.device)
        torch.sub(cosine * along, sine * down, out=grid[..., 0])
        torch.add(sine * along, cosine * down, out=grid[..., 1])
        sprite = self._sprites[factors.medium * len(self.objects) + factors.object]
        flat_grid = grid.view(n, k * k * self.patch, self.patch, 2)
        samples = F.grid_sample(sprite, flat_grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return samples.view(n, 4, k * k, self.patch * self.patch).mean(dim=2)

    def _check(self, factors: Factors) -> None:
        ranges = {
            "object": (0, len(self.objects) - 1),
            "x": (0, self.size),
            "y": (0, self.size),
            "scale": (MIN_SCALE, self.max_scale),
            "rotation": (-self.max_rotation, self.max_rotation),
            "brightness": (0, 2),
            "medium": (0, len(self.media) - 1),
        }
        for name, (low, high) in ranges.items():
            values = getattr(factors, name)
            # Limits in the values' own precision: 1.2 as float32 is a little more than 1.2.
            limits = torch.tensor([low, high], dtype=values.dtype, device=values.device)
            below = values < limits[1] if name in ("x", "y") else values <= limits[1]
            outside = ~((values >= limits[0]) & below)
            if bool(outside.any()):
                closing = ")" if name in ("x", "y") else "]"
                raise UsageError(
                    f"factor {name} is {values[outside][0].item():g}: this canvas takes [{low:g}, {high:g}{closing}"
                )


def _texture_bank(size: int, contrast: float, count: int = 256) -> torch.Tensor:
    """Smooth periodic textures in muted colours, uint8 (count, 3, size * size).

    Sums of the torus's lowest Fourier modes with random phases and amplitudes falling as frequency to the -1.5, around
    a light grey: mostly light and dark, a little colour. Made on the CPU from a fixed seed, so that every device and
    every run has the same bank.
    """
    generator = torch.Generator().manual_seed(20210901)
    frequency = torch.arange(-3, 4)
    fy, fx = torch.meshgrid(frequency, frequency, indexing="ij")
    length = torch.sqrt((fx**2 + fy**2).float())
    amplitude = torch.where((length > 0) & (length <= 3), length.clamp(min=1) ** -1.5, torch.zeros(()))
    modes = torch.complex(
        torch.randn(count, 3, *length.shape, generator=generator),
        torch.randn(count, 3, *length.shape, generator=generator),
    )
    spectrum = torch.zeros(count, 3, size, size, dtype=torch.complex64)
    spectrum[:, :, fy % size, fx % size] = modes * amplitude
    waves = torch.fft.ifft2(spectrum, norm="forward").real
    waves = waves / waves.std(dim=(1, 2, 3), keepdim=True)
    light, tint = waves[:, :1], waves[:, 1:]
    tints = torch.cat([tint, -tint.sum(dim=1, keepdim=True)], dim=1)
    base = torch.randn(count, 3, 1, 1, generator=generator) * 10
    textures: torch.Tensor = GREY + contrast * (base + 18 * light + 5 * tints)
    return textures.clamp(0, 255).round().to(torch.uint8).flatten(2)


def _hash(seeds: torch.Tensor) -> torch.Tensor:
    """Mix the bits of each seed into a non-negative int64 (finaliser of SplitMix64, Steele et al. 2014).

    int64 multiplication wraps around in torch on every device; shifts are masked because ``>>`` keeps the sign.
    """

    def mixed(value: torch.Tensor, right: int, factor: int) -> torch.Tensor:
        return (value ^ ((value >> right) & ((1 << (64 - right)) - 1))) * factor

    value = seeds + _signed(0x9E3779B97F4A7C15)
    value = mixed(value, 30, _signed(0xBF58476D1CE4E5B9))
    value = mixed(value, 27, _signed(0x94D049BB133111EB))
    return (value ^ ((value >> 31) & ((1 << 33) - 1))) & (2**63 - 1)


def _signed(bits: int) -> int:
    """The int64 with the same 64 bits."""
    return bits - 2**64 if bits >= 2**63 else bits
