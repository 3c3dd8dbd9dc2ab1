"""From scenes to pictures, and to the masks of what is where: both walk through the same layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from clip_invariance.errors import UsageError
from clip_invariance.worlds.dashcam import artwork, atlas, backdrops
from clip_invariance.worlds.dashcam.atlas import Atlas, Boxes, Pixels
from clip_invariance.worlds.dashcam.backdrops import CAMERA_HEIGHT, HORIZON, PITCH
from clip_invariance.worlds.dashcam.light import AIR, HAZE, LAMPS
from clip_invariance.worlds.dashcam.scenes import BACKDROPS, NOISE_SEEDS, OVERHEAD, RIGHT, Scenes

SIZES = (16, 512)
#: What masks and areas are given for.
OWNERS = ("light", "lamp", "glow", "pedestrian", "car")

_HOUSING = 0.11  # height of the housing at light_scale 1, of the picture
_GLOW = 4.2  # radius of the glow, in lamp radii
_NEAR, _FAR = (5.4, 6.4), (9.5, 12.5)  # metres to the car ahead
_RAIN_ROWS = 1024

# Numbers of the drawings.
_CARS = 0  # (body * 6 + colour) * 2 + braking
_PEDESTRIANS = _CARS + 36  # pose * 8 + clothes
_HOUSINGS = _PEDESTRIANS + 24
_DISC, _HALO, _POLE, _ARM = range(_HOUSINGS + 3, _HOUSINGS + 7)
_TREES = _ARM + 1
_BUILDINGS = _TREES + 6
_SIGNS = _BUILDINGS + 6


@dataclass(frozen=True)
class _Assets:
    """All that is drawn beforehand, for one size on one device."""

    size: int
    atlas: Atlas
    backdrop: Tensor  # uint8 (texels, 4)
    air: Tensor  # (9, 3)
    haze: Tensor  # (9,)
    lamps: Tensor  # (9,)
    noise: Tensor  # standard normal, flat
    rain: Tensor  # streaks, 0 to 1, flat rows of ``size``


@lru_cache(maxsize=4)
def _assets(size: int, device: str) -> _Assets:
    sketches: list[artwork.Sketch | artwork.Halo] = [
        artwork.vehicle(body, paint, size / _NEAR[0], braking=braking)
        for body in range(3)
        for paint in artwork.PAINTS
        for braking in (False, True)
    ]
    sketches += [artwork.pedestrian(pose, clothes, size / 8) for pose in range(3) for clothes in range(8)]
    sketches += [artwork.housing(style, size * _HOUSING * 4) for style in range(3)]
    sketches += [artwork.disc(size * _HOUSING * 4 * artwork.LAMP_RADIUS), artwork.Halo(size / 4)]
    sketches += [artwork.pole(size / 4, upright=True), artwork.pole(size / 4, upright=False)]
    sketches += [artwork.tree(kind, size / 13) for kind in range(6)]
    sketches += [artwork.building(kind, size / 13) for kind in range(6)]
    sketches += [artwork.sign(kind, size / 9) for kind in range(4)]
    noise = torch.randn(NOISE_SEEDS + size * size * 4, generator=torch.Generator().manual_seed(0))
    return _Assets(
        size,
        atlas.build(sketches).to(device),
        backdrops.bank(size).reshape(-1, 4).to(device),
        torch.tensor(AIR, dtype=torch.float32, device=device),
        torch.tensor(HAZE, dtype=torch.float32, device=device),
        torch.tensor(LAMPS, dtype=torch.float32, device=device),
        noise.to(device),
        _streaks(size).to(device),
    )


def _streaks(size: int) -> Tensor:
    """Falling rain: slanted strokes, float32, _RAIN_ROWS + size rows of ``size``, flat."""
    rng = np.random.default_rng(0)
    field = np.zeros((_RAIN_ROWS + size, size), dtype=np.float32)
    for _ in range(len(field) * size // 90):
        y, x = rng.integers(len(field)), rng.uniform(0, size)
        strength = rng.uniform(0.2, 1.0)
        for step in range(int(size * rng.uniform(0.03, 0.12))):
            if y + step < len(field):
                field[y + step, int(x - 0.2 * step) % size] += strength
    return torch.from_numpy(field.clip(0, 1)).flatten()


@dataclass(frozen=True)
class _Layer:
    """Things that do not overlap within a picture, their sampled pixels and how they are coloured.

    Attributes:
        pixels: what the layer touches.
        keep, veil: (k, 4) per thing: colour = keep * drawing + alpha * veil.
        owners: which of OWNERS the things belong to.
    """

    pixels: Pixels
    keep: Tensor
    veil: Tensor
    owners: tuple[str, ...] = ()


class _Geometry:
    """Where everything is in a batch of scenes, in pixels."""

    def __init__(self, scenes: Scenes, assets: _Assets) -> None:
        self.scenes, self.assets, self.size = scenes, assets, assets.size
        self.device = assets.air.device
        self.rows = torch.arange(len(scenes), device=self.device)
        self.condition = 3 * scenes.labels["time"] + scenes.labels["weather"]
        self.shift = (scenes.nuisances["pitch"] * (PITCH * self.size)).round()
        self.horizon = self.shift + round(HORIZON * self.size)
        self.haze = assets.haze[self.condition] * scenes.nuisances["haze"]
        self.air = assets.air[self.condition]

    def fade(self, metres: Tensor) -> Tensor:
        """How far things at this distance have faded to the colour of the air, 0 to 1."""
        thickness = metres * self.haze
        return thickness / (1 + thickness)

    def stand(
        self, drawing: Tensor, x: Tensor, z: Tensor, chosen: Tensor, gain: Tensor | float = 1.0, mirror: bool = False
    ) -> tuple[Boxes, Tensor]:
        """Boxes of things that stand on the ground at (x, z) metres, for the chosen pictures; and their fading."""
        pick = chosen.nonzero()[:, 0]
        frame = self.assets.atlas.frame[drawing]
        scale = self.size / z * gain
        middle = self.size * (0.5 + (x - self.scenes.nuisances["lane_offset"]) / z)
        foot = self.horizon + self.size * CAMERA_HEIGHT / z
        width, height = frame[:, 0] * scale, frame[:, 1] * scale
        top = foot - (frame[:, 1] + frame[:, 2]) * scale
        sides = torch.sign(x) if mirror else torch.ones_like(x)
        boxes = Boxes(self.rows, drawing, middle - width / 2, top, width * sides, height)
        columns = (boxes.row, boxes.drawing, boxes.left, boxes.top, boxes.width, boxes.height)
        return Boxes(*(column[pick] for column in columns)), self.fade(z)[pick]

    def layer(self, *groups: tuple[Boxes, Tensor], owners: tuple[str, ...] = ()) -> _Layer:
        """Sample things that reflect light and fade with distance."""
        boxes = _join([group[0] for group in groups])
        fade = torch.cat([group[1] for group in groups])[:, None]
        keep = torch.cat([(1 - fade).expand(-1, 3), torch.ones_like(fade)], dim=1)
        veil = torch.cat([fade * self.air[boxes.row], torch.zeros_like(fade)], dim=1)
        return _Layer(self.sample(boxes), keep, veil, owners)

    def sample(self, boxes: Boxes) -> Pixels:
        return atlas.pixels(self.assets.atlas, boxes, self.condition[boxes.row], self.size)


def _join(boxes: list[Boxes]) -> Boxes:
    return Boxes(
        *(torch.cat([getattr(b, name) for b in boxes]) for name in ("row", "drawing", "left", "top", "width", "height"))
    )


class _Bits:
    """Independent small random numbers out of one large one."""

    def __init__(self, seed: Tensor) -> None:
        self.seed, self.used = seed, 0

    def take(self, bits: int) -> Tensor:
        """The next ``bits`` bits, int64 (n,)."""
        value = (self.seed >> self.used) & (2**bits - 1)
        self.used += bits
        return value

    def between(self, low: float, high: float, bits: int = 4) -> Tensor:
        """A number from [low, high]."""
        return low + (high - low) / (2**bits - 1) * self.take(bits)


def _clutter(g: _Geometry) -> Iterator[_Layer]:
    """Trees and buildings far and near, parked cars, signs and street lamps."""
    bits = _Bits(g.scenes.nuisances["clutter"])
    city = g.scenes.labels["place"] == 0
    for nearest, furthest, middle in ((24.0, 34.0, 6.6), (13.0, 19.0, 7.4)):
        groups = []
        for side in (-1, 1):
            here, kind = bits.take(2) > 0, bits.take(4)
            z, x = bits.between(nearest, furthest), side * bits.between(middle, middle + 1.5, 2)
            drawing = torch.where(
                city,
                torch.where(kind < 11, _BUILDINGS + kind % 4, _TREES + kind % 4),
                torch.where(kind < 14, _TREES + kind % 6, _BUILDINGS + 4 + kind % 2),
            )
            groups.append(g.stand(drawing, x, z, here))
        yield g.layer(*groups)
    groups = []
    for side in (-1, 1):
        dice, kind = bits.take(3), bits.take(4)
        here = dice < torch.where(city, 5, 1)
        body, paint = (kind >= 12).long(), kind % 4 + 2 * (kind < 8)
        z = bits.between(8.5, 12.0, 2)
        groups.append(g.stand(_CARS + (body * 6 + paint) * 2, torch.full_like(z, side * 4.75), z, here))
    yield g.layer(*groups)
    here, side, kind = bits.take(2) > 0, 2 * bits.take(1) - 1, bits.take(2)
    z = bits.between(9.5, 13.0, 3)
    yield g.layer(g.stand(_SIGNS + kind, side * 4.1, z, here, mirror=True))


def _car(g: _Geometry) -> _Layer:
    labels, nuisances = g.scenes.labels, g.scenes.nuisances
    drawing = _CARS + (labels["body"] * 6 + labels["car_colour"]) * 2 + nuisances["car_braking"]
    u = nuisances["car_depth"]
    z = torch.where(labels["distance"] == 0, _NEAR[0] + (_NEAR[1] - _NEAR[0]) * u, _FAR[0] + (_FAR[1] - _FAR[0]) * u)
    return g.layer(g.stand(drawing, nuisances["car_offset"], z, z > 0), owners=("car",))


def _pedestrian(g: _Geometry) -> _Layer:
    state, nuisances = g.scenes.labels["pedestrian"], g.scenes.nuisances
    side = 2.0 * nuisances["pedestrian_side"] - 1
    outwards = torch.where(state == 2, 2.3 + 0.8 * nuisances["pedestrian_x"], 3.85 + 0.45 * nuisances["pedestrian_x"])
    pose = torch.where(state == 2, 1 + nuisances["pedestrian_stride"], 0)
    drawing = _PEDESTRIANS + pose * 8 + nuisances["pedestrian_clothes"]
    stand = g.stand(
        drawing,
        side * outwards,
        nuisances["pedestrian_distance"],
        state > 0,
        nuisances["pedestrian_scale"],
        mirror=True,
    )
    return g.layer(stand, owners=("pedestrian",))


def _light(g: _Geometry) -> Iterator[_Layer]:
    """Pole and arm, housing, glow and the lit lamp: red above, green below."""
    nuisances, size = g.scenes.nuisances, g.size
    side, u, scale = nuisances["light_side"], nuisances["light_x"], nuisances["light_scale"]
    metre = scale * (_HOUSING * size / artwork.HOUSING_HEIGHT)  # pixels per metre of the light
    half = 0.65 * metre
    left_band = 0.12 + 0.14 * u
    x = size * torch.where(side == OVERHEAD, 0.36 + 0.28 * u, torch.where(side == RIGHT, 1 - left_band, left_band))
    x = torch.minimum(torch.maximum(x, 0.31 * metre), size - 0.31 * metre)
    y = torch.maximum(size * (0.10 + 0.18 * nuisances["light_height"]), half)
    z = nuisances["light_distance"]
    foot = g.horizon + size * CAMERA_HEIGHT / z
    thick = size * 0.55 / z  # of the pole's frame, four times the pole itself
    overhead = side == OVERHEAD
    at = torch.where(overhead, 0.94 * size, x)
    arm = y - 0.45 * metre
    top = torch.where(overhead, arm, y)
    rows = g.rows
    fade = g.fade(z)
    pole = Boxes(rows, torch.full_like(rows, _POLE), at - thick / 2, top, thick, (foot - top).clamp(min=1))
    over = overhead.nonzero()[:, 0]
    beam = Boxes(
        rows[over],
        torch.full_like(over, _ARM),
        x[over],
        (arm - thick / 2)[over],
        (at - x)[over].clamp(min=1),
        thick[over],
    )
    yield g.layer((pole, fade))
    yield g.layer((beam, fade[over]))

    frame = g.assets.atlas.frame[_HOUSINGS]
    width, height = frame[0] * metre, frame[1] * metre
    shell = Boxes(rows, _HOUSINGS + nuisances["light_housing"], x - width / 2, y - height / 2, width, height)
    yield g.layer((shell, fade), owners=("light",))

    green = g.scenes.labels["light"] == 1
    lamp_y = y + torch.where(green, 1.0, -1.0) * artwork.LAMP_STEP * metre
    radius = artwork.LAMP_RADIUS * metre
    hue = nuisances["light_hue"]
    colour = torch.stack(
        [
            torch.where(green, 0.10 - 0.08 * hue, 1.0),
            torch.where(green, 0.95, 0.16 + 0.10 * hue),
            torch.where(green, 0.48 + 0.18 * hue, 0.10),
        ],
        dim=1,
    )
    dark = g.assets.lamps[g.condition][:, None]
    nothing = torch.zeros(len(rows), 4, device=g.device)
    reach = _GLOW * radius
    halo = Boxes(rows, torch.full_like(rows, _HALO), x - reach, lamp_y - reach, 2 * reach, 2 * reach)
    keep = torch.cat([colour * (0.30 + 0.45 * dark), nothing[:, :1]], dim=1)
    yield _Layer(g.sample(halo), keep, nothing, ("glow",))
    disc = Boxes(
        rows, torch.full_like(rows, _DISC), x - 1.3 * radius, lamp_y - 1.3 * radius, 2.6 * radius, 2.6 * radius
    )
    through = (1 - 0.3 * fade)[:, None]  # a lamp shines through fog
    keep = torch.cat([colour * through, torch.ones_like(through)], dim=1)
    veil = torch.cat([(1 - through) * g.air, nothing[:, :1]], dim=1)
    yield _Layer(g.sample(disc), keep, veil, ("light", "lamp", "glow"))


def _layers(g: _Geometry) -> Iterator[_Layer]:
    yield from _clutter(g)
    light = _light(g)
    yield next(light)  # pole and arm stand behind the car
    yield next(light)
    yield _car(g)
    yield _pedestrian(g)
    yield from light


def _backdrop(g: _Geometry) -> Tensor:
    """Sky, skyline and road, float32 (n * size * size, 4) in [0, 255]."""
    size, nuisances = g.size, g.scenes.nuisances
    margin, width = backdrops.margin(size), backdrops.WIDTH * size
    rows = torch.arange(size, device=g.device)
    below = rows - g.horizon[:, None]  # (n, size)
    # The window moves over the sky with pan; over the ground with the lane offset, the more the nearer.
    lane = 0.5 * size + nuisances["lane_offset"][:, None] * (below + 0.5) / CAMERA_HEIGHT
    column = torch.where(below < 0, nuisances["pan"][:, None] * (size - 1), lane)
    halves = (column * backdrops.PHASES).floor().clamp(0, backdrops.PHASES * size - 1).long()
    copy = (g.condition * 2 + g.scenes.labels["place"]) * BACKDROPS + nuisances["backdrop"]
    phase, whole = halves % backdrops.PHASES, halves // backdrops.PHASES
    line = (copy[:, None] * backdrops.PHASES + phase) * (size + 2 * margin) + rows + margin - g.shift[:, None].long()
    start = (line * width + whole) * 4
    windows = g.assets.backdrop.view(-1).unfold(0, 4 * size, 1)
    return windows.index_select(0, start.view(-1)).view(-1, 4).float()


def _draw(scenes: Scenes, assets: _Assets) -> Tensor:
    """uint8 (n, 3, size, size) for one batch."""
    g = _Geometry(scenes, assets)
    canvas = _backdrop(g)
    for layer in _layers(g):
        p = layer.pixels
        colour = p.colour * (255 * layer.keep).index_select(0, p.thing)
        colour += p.colour[:, 3:] * (255 * layer.veil).index_select(0, p.thing)
        under = canvas.index_select(0, p.place)
        canvas.index_copy_(0, p.place, under.mul_(1 - p.colour[:, 3:]).add_(colour))
    return _camera(canvas.view(len(scenes), g.size, g.size, 4), g)


def _camera(canvas: Tensor, g: _Geometry) -> Tensor:
    """Rain before the lens, exposure, blur and sensor noise: (n, size, size, 4) in [0, 255] to uint8 pictures."""
    nuisances, size, n = g.scenes.nuisances, g.size, len(canvas)
    seed = nuisances["noise_seed"]
    rainy = (g.scenes.labels["weather"] == 1).nonzero()[:, 0]
    streaks = g.assets.rain.unfold(0, size * size, 1).index_select(0, (seed[rainy] % _RAIN_ROWS) * size)
    air = torch.cat([g.air[rainy] * (255 * 0.30), torch.zeros(len(rainy), 1, device=g.device)], dim=1)
    canvas.index_add_(0, rainy, streaks.view(-1, size, size, 1) * air[:, None, None])
    canvas *= nuisances["exposure"][:, None, None, None]
    side = (nuisances["blur"] / 4)[:, None, None, None]
    for axis in (1, 2):
        # A share of each pixel goes to its two neighbours; the picture's edge gives to itself.
        flow = (canvas.narrow(axis, 1, size - 1) - canvas.narrow(axis, 0, size - 1)) * side
        canvas.narrow(axis, 0, size - 1).add_(flow)
        canvas.narrow(axis, 1, size - 1).sub_(flow)
    noise = g.assets.noise.unfold(0, size * size * 4, 1).index_select(0, seed).view(n, size, size, 4)
    canvas += noise.mul_((255 * nuisances["noise"])[:, None, None, None])
    return canvas.add_(0.5).clamp_(0, 255).to(torch.uint8)[..., :3].permute(0, 3, 1, 2).contiguous()


def _batches(scenes: Scenes, size: int, device: str) -> Iterator[tuple[Scenes, _Assets]]:
    low, high = SIZES
    if not low <= size <= high:
        raise UsageError(f"size={size}: expected {low} to {high} pixels")
    assets = _assets(size, device)
    # On a CPU a batch should stay in the cache; a GPU wants enough to do.
    batch = max(1, (64 if assets.air.device.type == "cpu" else 4096) * 64 * 64 // (size * size))
    for start in range(0, len(scenes), batch):
        yield scenes[start : start + batch].to(device), assets


@torch.inference_mode()
def render(scenes: Scenes, *, size: int = 64, device: str = "cpu") -> Tensor:
    """Draw the scenes.

    Each picture depends on its own factors only, not on the batch, and is the same in every run; a CPU and a GPU draw
    the same picture up to rounding.

    Args:
        scenes: n scenes, on any device.
        size: side of the pictures in pixels.
        device: where to draw.

    Returns:
        uint8 (n, 3, size, size) on ``device``.

    Raises:
        UsageError: for a size out of range.
    """
    pictures = torch.empty(len(scenes), 3, size, size, dtype=torch.uint8, device=device)
    done = 0
    for batch, assets in _batches(scenes, size, device):
        pictures[done : done + len(batch)] = _draw(batch, assets)
        done += len(batch)
    return pictures


@torch.inference_mode()
def coverage(scenes: Scenes, *, size: int = 64, device: str = "cpu") -> dict[str, Tensor]:
    """How much of each pixel shows a thing, after what stands before it: float32 (n, size, size), from 0 to 1.

    Of the things in OWNERS: "light" is the housing with its lamps, "lamp" the lit lamp, "glow" every pixel that the
    state of the light may change (1 there), "pedestrian" and "car" include their shadows. Blur spreads a thing by one
    pixel more.

    Raises:
        UsageError: for a size out of range.
    """
    parts = []
    for batch, assets in _batches(scenes, size, device):
        g = _Geometry(batch, assets)
        canvas = torch.zeros(len(batch) * size * size, len(OWNERS), device=device)
        for layer in _layers(g):
            p = layer.pixels
            belongs = torch.tensor([float(owner in layer.owners) for owner in OWNERS], device=device)
            alpha = p.colour[:, 3:]
            shown = alpha
            if layer.owners == ("glow",):  # adds light and hides nothing
                shown = (p.colour[:, :1] > 0).float()
            canvas[p.place] = canvas[p.place] * (1 - alpha) + belongs * shown
        parts.append(canvas.clamp_(0, 1).view(len(batch), size, size, len(OWNERS)))
    if not parts:
        return {owner: torch.zeros(0, size, size, device=device) for owner in OWNERS}
    full = torch.cat(parts)
    return {owner: full[..., k].contiguous() for k, owner in enumerate(OWNERS)}


def masks(scenes: Scenes, size: int = 64) -> dict[str, Tensor]:
    """Where each thing of OWNERS has any influence, before blur: bool (n, size, size). See :func:`coverage`."""
    return {owner: cover > 0 for owner, cover in coverage(scenes, size=size).items()}


def areas(scenes: Scenes, size: int = 64) -> dict[str, Tensor]:
    """Visible area of each thing of OWNERS in pixels, float32 (n,). See :func:`coverage`."""
    return {owner: cover.sum(dim=(1, 2)) for owner, cover in coverage(scenes, size=size).items()}
