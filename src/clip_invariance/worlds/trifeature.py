"""Trifeature: one shape, in one colour, with one texture, on a plain light ground; ten values each.

After Hermann & Lampinen (2020, "What shapes feature representations?"), drawn anew: some of the shapes, colours and
textures differ from theirs. Place, angle and size of the shape, angle and phase of its texture and the lightness of the
ground vary. Each picture depends on its own columns only.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from clip_invariance.captions import Vocabulary
from clip_invariance.errors import UsageError
from clip_invariance.worlds.factored import Scenes, World, jitter, real

__all__ = ["FACTORS", "NUISANCES", "SIZE", "WORDS", "WORLD", "Scenes", "change", "render", "sample"]

Mask = NDArray[np.bool_]

SIZE = 48
"""Default side of a picture in pixels."""

FACTORS: dict[str, tuple[str, ...]] = {
    "shape": ("circle", "triangle", "square", "plus", "rhombus", "star", "heart", "crescent", "arrow", "ring"),
    "colour": ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "brown", "grey"),
    "texture": (
        *("solid", "striped", "checked", "dotted", "gridded"),
        *("zigzag", "brick", "speckled", "crossed", "ringed"),
    ),
}

WORDS = Vocabulary(
    phrases={
        "shape": (
            ("circle", "disc"),
            ("triangle", "wedge"),
            ("square", "box"),
            ("plus", "cross"),
            ("rhombus", "diamond"),
            ("star", "pentagram"),
            ("heart", "valentine"),
            ("crescent", "moon"),
            ("arrow", "pointer"),
            ("ring", "hoop"),
        ),
        "colour": (
            ("red", "crimson"),
            ("orange", "tangerine"),
            ("yellow", "lemon"),
            ("green", "emerald"),
            ("cyan", "turquoise"),
            ("blue", "navy"),
            ("purple", "violet"),
            ("pink", "rose"),
            ("brown", "chocolate"),
            ("grey", "silver"),
        ),
        "texture": (
            ("solid", "plain"),
            ("striped", "stripy"),
            ("checked", "chequered"),
            ("dotted", "spotted"),
            ("gridded", "latticed"),
            ("zigzag", "chevron"),
            ("brick", "tiled"),
            ("speckled", "noisy"),
            ("crossed", "pluses"),
            ("ringed", "bubbly"),
        ),
    },
    templates=("a {colour} {texture} {shape}", "a {texture} {colour} {shape}", "a {shape} {texture} {colour}"),
    unmentioned={"shape": ("thing", "shape")},
    fillers={"shape": ("item", "matter"), "colour": ("nice", "usual"), "texture": ("fine", "single")},
    noun="shape",
)

#: 8-bit red, green, blue of the light parts of a texture; its dark parts are _DARK times that.
_COLOURS = (
    *((228, 26, 28), (255, 140, 0), (250, 220, 20), (40, 165, 50), (30, 205, 215)),
    *((30, 70, 225), (135, 45, 190), (255, 125, 190), (135, 80, 35), (150, 150, 150)),
)
_DARK = 0.3
_RADIUS = 14 / 48  # of the circle around a shape, in sides of the picture
_JITTER = {"zoom": 0.08, "turn": 45.0, "grain": 45.0, "x": 0.18, "y": 0.18}  # half-widths; no shape is cut off
_TILE = 24 / 48  # side of the square after which every texture repeats, in sides of the picture
_BANK = 256  # samples along a shape's and a tile's side; a power of two, so that repeating is cheap
_SUPERSAMPLE = 2  # samples per pixel and direction


NUISANCES = {
    "zoom": jitter(_JITTER["zoom"]),  # relative change of size
    **{name: jitter(_JITTER[name]) for name in ("turn", "grain")},  # degrees, of the shape and of its texture
    **{name: jitter(_JITTER[name]) for name in ("x", "y")},  # of the centre, from the middle, in sides of the picture
    **{name: real(0.0, 1.0) for name in ("u", "v")},  # phase of the texture
    "ground": real(0.85, 1.0),  # lightness
}


def render(scenes: Scenes, *, size: int = SIZE, device: torch.device | str = "cpu") -> Tensor:
    """Draw the scenes; each picture depends on its own factors and nuisances only.

    Args:
        scenes: n scenes, on any device.
        size: side of the pictures in pixels, 16 to 256.
        device: where to draw and where the pictures are.

    Returns:
        uint8 (n, 3, size, size).

    Raises:
        UsageError: naming a size or factor out of range.
    """
    if not 16 <= size <= 256:
        raise UsageError(f"size is {size}: a scene is drawn in 16 to 256 pixels")
    WORLD.check(scenes)
    batch = 8192 if torch.device(device).type == "cuda" else 64
    images = torch.empty(len(scenes), 3, size, size, dtype=torch.uint8, device=device)
    for start in range(0, len(scenes), batch):
        images[start : start + batch] = _draw(scenes[start : start + batch].to(device), size)
    return images


WORLD = World(FACTORS, NUISANCES, WORDS, render)
sample, change = WORLD.sample, WORLD.change


def _draw(scenes: Scenes, size: int) -> Tensor:
    labels, at = scenes.labels, scenes.nuisances
    n, device = len(scenes), at["x"].device
    shapes, textures = _banks(str(device))
    # Only the square of pixels around the shape is sampled: in x, pixels left to left + patch.
    patch = math.ceil(2 * _RADIUS * (1 + _JITTER["zoom"]) * size) + 1
    x, y = ((0.5 + at[name]) * size for name in ("x", "y"))
    left, top = ((centre - patch / 2).floor().long().clamp(0, size - patch) for centre in (x, y))
    line = (torch.arange(patch * _SUPERSAMPLE, device=device) + 0.5) / _SUPERSAMPLE
    along, down = line + (left - x)[:, None], line + (top - y)[:, None]

    to_shape = _BANK / (2 * _RADIUS * size * (1 + at["zoom"]))
    mask = _look_up(shapes, labels["shape"], _turned(along, down, at["turn"], to_shape), _BANK / 2)
    phase = torch.stack([at["u"], at["v"]]) * _BANK
    to_tile = _BANK / (_TILE * size)
    tone = _look_up(textures, labels["texture"], _turned(along, down, at["grain"], to_tile), phase, repeat=True)

    # A pixel is the mean of its samples: ground where the mask is empty, colour times tone where it is full.
    inside, light = (F.avg_pool2d(samples, _SUPERSAMPLE).flatten(1)[:, None] for samples in (mask, tone.mul_(mask)))
    colours = torch.tensor(_COLOURS, dtype=torch.float32, device=device)[labels["colour"]][:, :, None]
    ground = (255 * at["ground"]).round()[:, None, None]
    drawn = ground * (1 - inside) + colours * (_DARK * inside + (1 - _DARK) * light)

    pixel = torch.arange(patch, device=device)
    target = ((top[:, None] + pixel)[:, :, None] * size + (left[:, None] + pixel)[:, None, :]).view(n, 1, -1)
    images = ground.to(torch.uint8).repeat(1, 3, size * size)
    return images.scatter_(2, target.expand_as(drawn), drawn.round_().to(torch.uint8)).view(n, 3, size, size)


def _turned(along: Tensor, down: Tensor, degrees: Tensor, zoom: Tensor | float) -> tuple[Tensor, Tensor]:
    """Columns and rows (n, side, side) in the own frame of something turned counter-clockwise, in bank samples."""
    angle = torch.deg2rad(degrees)
    cosine, sine = (torch.cos(angle) * zoom)[:, None], (torch.sin(angle) * zoom)[:, None]
    columns = (cosine * along)[:, None, :] - (sine * down)[:, :, None]
    rows = (sine * along)[:, None, :] + (cosine * down)[:, :, None]
    return columns, rows


def _look_up(
    bank: Tensor, which: Tensor, at: tuple[Tensor, Tensor], offset: Tensor | float, *, repeat: bool = False
) -> Tensor:
    """The nearest sample of a bank (m, _BANK, _BANK); beyond its edge the edge (which is empty), or again from 0."""
    parts = offset[:, :, None, None] if isinstance(offset, Tensor) else (offset, offset)
    columns, rows = ((a + b).floor_().to(torch.int32) for a, b in zip(at, parts, strict=True))
    if repeat:
        columns, rows = columns.bitwise_and_(_BANK - 1), rows.bitwise_and_(_BANK - 1)
    else:
        columns, rows = columns.clamp_(0, _BANK - 1), rows.clamp_(0, _BANK - 1)
    start = (which * _BANK**2).to(torch.int32)[:, None, None]
    index = rows.mul_(_BANK).add_(columns).add_(start)
    return bank.flatten().index_select(0, index.flatten()).view(index.shape)


@lru_cache(maxsize=4)
def _banks(device: str) -> tuple[Tensor, Tensor]:
    """Shapes and textures, float32 (10, _BANK, _BANK) each, 0 or 1, made once on the CPU."""
    shapes = np.stack([_shape(name) for name in FACTORS["shape"]])
    textures = np.stack([_texture(name) for name in FACTORS["texture"]])
    return torch.from_numpy(shapes).float().to(device), torch.from_numpy(textures).float().to(device)


def _shape(name: str) -> Mask:
    """Whether each sample of the square [-1, 1]^2 lies in the shape, which lies in the unit circle. y points up."""
    line = (np.arange(_BANK) + 0.5) / _BANK * 2 - 1
    x, y = np.meshgrid(line, -line)
    distance = np.hypot(x, y)
    match name:
        case "circle":
            return distance < 0.85
        case "ring":
            return (distance < 0.95) & (distance > 0.5)
        case "triangle":
            return _polygon(x, y, _star(3, 0.5, 0.98))
        case "square":
            return np.maximum(abs(x), abs(y)) < 0.68
        case "plus":
            return (np.minimum(abs(x), abs(y)) < 0.27) & (np.maximum(abs(x), abs(y)) < 0.9)
        case "rhombus":
            return abs(x) / 0.52 + abs(y) / 0.98 < 1
        case "star":
            return _polygon(x, y, _star(5, 0.42, 0.98))
        case "heart":
            # The classical sextic (x^2 + y^2 - 1)^3 = x^2 y^3, scaled into the circle.
            x, y = x * 1.3, y * 1.3 + 0.12
            return (x**2 + y**2 - 1) ** 3 < x**2 * y**3
        case "crescent":
            return (distance < 0.93) & (np.hypot(x - 0.45, y) > 0.68)
        case _:  # arrow
            head = _polygon(x, y, [(0, 0.98), (-0.75, 0.1), (0.75, 0.1)])
            return head | ((abs(x) < 0.28) & (y > -0.85) & (y < 0.15))


def _star(points: int, inner: float, outer: float) -> list[tuple[float, float]]:
    """Corners of a star, counter-clockwise from the top; a regular polygon if the inner corners lie on its edges."""
    turns = [(k / (2 * points) + 0.25) * 2 * math.pi for k in range(2 * points)]
    return [
        (radius * math.cos(turn), radius * math.sin(turn))
        for turn, radius in zip(turns, [outer, inner] * points, strict=True)
    ]


def _polygon(x: NDArray[np.float64], y: NDArray[np.float64], corners: list[tuple[float, float]]) -> Mask:
    """Even-odd rule: inside if a ray to the left crosses the outline an odd number of times."""
    inside = np.zeros(x.shape, dtype=bool)
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x > x0 + (y - y0) / (y1 - y0) * (x1 - x0))
    return inside


def _texture(name: str) -> Mask:
    """Whether each sample of a tile is light. Coordinates are pixels of a 48-pixel picture: a tile is 24 of them."""
    line = (np.arange(_BANK) + 0.5) / _BANK * 24
    x, y = np.meshgrid(line, line)

    def cell(period: float) -> NDArray[np.float64]:
        """Distance from the centre of the nearest cell."""
        return np.hypot(x % period - period / 2, y % period - period / 2)

    match name:
        case "solid":
            return np.ones(x.shape, dtype=bool)
        case "striped":
            return y % 6 < 3
        case "checked":
            return (x // 4 + y // 4) % 2 < 1
        case "dotted":
            return cell(6) > 2
        case "gridded":
            return (x % 6 > 1.6) & (y % 6 > 1.6)
        case "zigzag":
            return (y + abs(x % 8 - 4)) % 6 < 3
        case "brick":
            return (y % 6 > 1.5) & ((x + 6 * (y // 6 % 2)) % 12 > 1.5)
        case "speckled":
            # Cells of 1.5 pixels, three in five light.
            cells = np.random.default_rng(20200612).random((16, 16))
            return cells.repeat(_BANK // 16, axis=0).repeat(_BANK // 16, axis=1) < 0.6
        case "crossed":
            along, across = abs(x % 8 - 4), abs(y % 8 - 4)
            return (np.minimum(along, across) > 1.1) | (np.maximum(along, across) > 3.2)
        case _:  # ringed
            return abs(cell(8) - 2.5) > 0.9
