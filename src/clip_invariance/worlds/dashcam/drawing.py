"""From scenes to pictures, and to the masks of what is where: both walk through the same layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from clip_invariance.errors import UsageError
from clip_invariance.worlds.dashcam import artwork, atlas, backdrops
from clip_invariance.worlds.dashcam.atlas import Atlas, Boxes
from clip_invariance.worlds.dashcam.backdrops import CAMERA_HEIGHT, HORIZON, PITCH
from clip_invariance.worlds.dashcam.light import AIR, HAZE, LAMPS
from clip_invariance.worlds.dashcam.scenes import BACKDROPS, NOISE_SEEDS, NUISANCES, OVERHEAD, RIGHT
from clip_invariance.worlds.factored import Scenes

SIZES = (16, 512)
_RAIN = 0.3  # brightness of its streaks, of the air's
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
    backdrop: Tensor  # uint8 (3, texels)
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
    sketches += [
        artwork.pedestrian(pose, clothes, size / 8 * NUISANCES["pedestrian_scale"].most)
        for pose in range(3)
        for clothes in range(8)
    ]
    sketches += [artwork.housing(style, size * _HOUSING * 4) for style in range(3)]
    sketches += [artwork.disc(size * _HOUSING * 4 * artwork.LAMP_RADIUS), artwork.Halo(size / 4)]
    sketches += [artwork.pole(size / 4, upright=True), artwork.pole(size / 4, upright=False)]
    sketches += [artwork.tree(kind, size / 13) for kind in range(6)]
    sketches += [artwork.building(kind, size / 13) for kind in range(6)]
    sketches += [artwork.sign(kind, size / 9) for kind in range(4)]
    noise = torch.randn(NOISE_SEEDS + size * size * 3, generator=torch.Generator().manual_seed(0))
    return _Assets(
        size,
        atlas.build(sketches).to(device),
        backdrops.bank(size).reshape(3, -1).to(device),
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
    """At most one thing in each picture. The owners are those of OWNERS that the thing belongs to."""

    boxes: Boxes
    owners: tuple[str, ...] = ()


class _Geometry:
    """What the layers of a batch of scenes have in common."""

    def __init__(self, scenes: Scenes, assets: _Assets) -> None:
        self.labels, self.nuisances, self.assets, self.size = scenes.labels, scenes.nuisances, assets, assets.size
        self.device = assets.air.device
        self.rows = torch.arange(len(scenes), device=self.device)
        self.condition = 3 * self.labels["time"] + self.labels["weather"]
        self.shift = (self.nuisances["pitch"] * (PITCH * self.size)).round()
        self.horizon = self.shift + round(HORIZON * self.size)
        self.haze = assets.haze[self.condition] * self.nuisances["haze"]
        self.air = assets.air[self.condition]

    def fade(self, metres: Tensor) -> Tensor:
        """How far things at this distance have faded to the colour of the air, 0 to 1."""
        thickness = metres * self.haze
        return thickness / (1 + thickness)

    def boxes(self, drawing: Tensor | int, place: Sequence[Tensor], tint: Tensor | float, fade: Tensor) -> Boxes:
        """Things at ``place`` (left, top, width, height), tinted (n, 3) and faded (n,)."""
        n = len(self.rows)
        fade = fade[:, None]
        # Pictures are drawn on a scale from 0 to 255.
        keep = (255 * tint * (1 - fade)).expand(n, 3)
        veil = 255 * fade * self.air
        return Boxes(self.rows, drawing + torch.zeros_like(self.rows), torch.stack(list(place), dim=1), keep, veil)

    def stand(
        self, drawing: Tensor, x: Tensor, z: Tensor, gain: Tensor | float = 1.0, mirror: Tensor | float = 1.0
    ) -> Boxes:
        """Things that stand on the ground at (x, z) metres."""
        wide, high, below = self.assets.atlas.frame[drawing].unbind(1)
        scale = self.size / z * gain
        middle = self.size * (0.5 + (x - self.nuisances["lane_offset"]) / z)
        foot = self.horizon + self.size * CAMERA_HEIGHT / z
        width, height = wide * scale, high * scale
        place = (middle - width / 2, foot - (high + below) * scale, width * mirror, height)
        return self.boxes(drawing, place, 1.0, self.fade(z))


class _Bits:
    """Independent small random numbers out of one large one."""

    def __init__(self, seed: Tensor) -> None:
        self.seed, self.used = seed, 0

    def take(self, bits: int) -> Tensor:
        """The next ``bits`` bits, int64 (n,)."""
        value: Tensor = (self.seed >> self.used) & (2**bits - 1)
        self.used += bits
        return value

    def between(self, low: float, high: float, bits: int = 4) -> Tensor:
        """A number from [low, high]."""
        number: Tensor = low + (high - low) / (2**bits - 1) * self.take(bits)
        return number


def _clutter(g: _Geometry) -> Iterator[_Layer]:
    """Trees and buildings far and near, parked cars, signs and street lamps."""
    bits = _Bits(g.nuisances["clutter"])
    city = g.labels["place"] == 0
    for nearest, furthest, middle, often in ((24.0, 34.0, 6.6, 1), (13.0, 19.0, 7.6, 0)):
        for side in (-1, 1):
            here, kind = bits.take(2) > often, bits.take(4)
            z, x = bits.between(nearest, furthest, 3), side * bits.between(middle, middle + 1.5, 2)
            drawing = torch.where(
                city,
                torch.where(kind < 10, _BUILDINGS + kind % 4, _TREES + kind % 4),
                torch.where(kind < 14, _TREES + kind % 6, _BUILDINGS + 4 + kind % 2),
            )
            yield _Layer(g.stand(drawing, x, z)[here])
    bits = _Bits(g.nuisances["roadside"])
    for side in (-1, 1):
        here = bits.take(2) < torch.where(city, 3, 1)
        body, paint = (bits.take(1) + 1) // 2, bits.take(2) + 2
        z = bits.between(8.5, 12.0, 2)
        parked = g.stand(_CARS + (body * 6 + paint) * 2, torch.full_like(z, side * 4.75), z)
        yield _Layer(parked[here])
    here, side_of_road, kind = bits.take(2) > 0, 2.0 * bits.take(1) - 1, bits.take(2)
    z = bits.between(9.5, 13.0, 3)
    yield _Layer(g.stand(_SIGNS + kind, side_of_road * 4.1, z, mirror=side_of_road)[here])


def _car(g: _Geometry) -> _Layer:
    drawing = _CARS + (g.labels["body"] * 6 + g.labels["car_colour"]) * 2 + g.nuisances["car_braking"]
    u = g.nuisances["car_depth"]
    near, far = (low + (high - low) * u for low, high in (_NEAR, _FAR))
    z = torch.where(g.labels["distance"] == 0, near, far)
    return _Layer(g.stand(drawing, g.nuisances["car_offset"], z), ("car",))


def _pedestrian(g: _Geometry) -> _Layer:
    state, nuisances = g.labels["pedestrian"], g.nuisances
    side, u = 2.0 * nuisances["pedestrian_side"] - 1, nuisances["pedestrian_x"]
    crossing = state == 2
    x = side * torch.where(crossing, 2.3 + 0.8 * u, 3.85 + 0.45 * u)
    pose = torch.where(crossing, 1 + nuisances["pedestrian_stride"], 0)
    drawing = _PEDESTRIANS + pose * 8 + nuisances["pedestrian_clothes"]
    # They walk towards the middle of the road.
    boxes = g.stand(drawing, x, nuisances["pedestrian_distance"], nuisances["pedestrian_scale"], -side)
    return _Layer(boxes[state > 0], ("pedestrian",))


def _light(g: _Geometry) -> tuple[list[_Layer], list[_Layer]]:
    """Pole and arm; housing, glow and the lit lamp: red above, green below."""
    nuisances, size = g.nuisances, g.size
    side, u, z = nuisances["light_side"], nuisances["light_x"], nuisances["light_distance"]
    metre = nuisances["light_scale"] * (_HOUSING * size / artwork.HOUSING_HEIGHT)  # pixels per metre of the light
    overhead = side == OVERHEAD
    band = 0.12 + 0.14 * u
    x = size * torch.where(overhead, 0.36 + 0.28 * u, torch.where(side == RIGHT, 1 - band, band))
    x = torch.minimum(torch.maximum(x, 0.31 * metre), size - 0.31 * metre)
    y = torch.maximum(size * (0.10 + 0.18 * nuisances["light_height"]), 0.65 * metre)
    fade = g.fade(z)

    thick = size * 0.3 / z  # of the pole's frame, twice the pole itself
    foot = g.horizon + size * CAMERA_HEIGHT / z
    arm = y - 0.45 * metre
    post = torch.where(overhead, torch.full_like(x, 0.94 * size), x)
    top = torch.where(overhead, arm, y)
    pole = g.boxes(_POLE, (post - thick / 2, top, thick, (foot - top).clamp(min=1)), 1.0, fade)
    beam = g.boxes(_ARM, (x, arm - thick / 2, (post - x).clamp(min=1), thick), 1.0, fade)

    wide, high, _ = g.assets.atlas.frame[_HOUSINGS]
    place = (x - wide * metre / 2, y - high * metre / 2, wide * metre, high * metre)
    housing = g.boxes(_HOUSINGS + nuisances["light_housing"], place, 1.0, fade)

    green, hue = g.labels["light"] == 1, nuisances["light_hue"]
    colour = torch.stack(
        [
            torch.where(green, 0.10 - 0.08 * hue, torch.ones_like(hue)),
            torch.where(green, torch.full_like(hue, 0.95), 0.16 + 0.10 * hue),
            torch.where(green, 0.48 + 0.18 * hue, torch.full_like(hue, 0.10)),
        ],
        dim=1,
    )
    lamp_y = y + torch.where(green, artwork.LAMP_STEP, -artwork.LAMP_STEP) * metre
    radius = artwork.LAMP_RADIUS * metre
    reach = _GLOW * radius
    strength = (0.30 + 0.45 * g.assets.lamps[g.condition])[:, None]
    place = (x - reach, lamp_y - reach, 2 * reach, 2 * reach)
    halo = g.boxes(_HALO, place, colour * strength, torch.zeros_like(fade))
    half = 1.3 * radius
    place = (x - half, lamp_y - half, 2 * half, 2 * half)
    disc = g.boxes(_DISC, place, colour, 0.3 * fade)  # a lamp shines through fog
    return [_Layer(pole), _Layer(beam[overhead])], [
        _Layer(housing, ("light",)),
        _Layer(halo, ("glow",)),
        _Layer(disc, ("light", "lamp", "glow")),
    ]


def _layers(g: _Geometry) -> list[_Layer]:
    """From back to front. Pole and arm stand behind the car; a pedestrian and the light hide whatever they meet."""
    pole, light = _light(g)
    return [*_clutter(g), *pole, _car(g), _pedestrian(g), *light]


def _windows(g: _Geometry) -> Tensor:
    """Where each line of each picture begins in a channel's plane of backdrops, int64 (n, size)."""
    size = g.size
    margin, width = backdrops.margin(size), backdrops.WIDTH * size
    rows = torch.arange(size, device=g.device)
    below = rows - g.horizon[:, None]
    # The window moves over the sky with pan; over the ground with the lane offset, the more the nearer.
    lane = 0.5 * size + g.nuisances["lane_offset"][:, None] * (below + 0.5) / CAMERA_HEIGHT
    column = torch.where(below < 0, g.nuisances["pan"][:, None] * (size - 1), lane)
    halves = (column * backdrops.PHASES).floor().clamp(0, backdrops.PHASES * size - 1).long()
    copy = (g.condition * 2 + g.labels["place"]) * BACKDROPS + g.nuisances["backdrop"]
    phase, whole = halves % backdrops.PHASES, halves // backdrops.PHASES
    line = (copy[:, None] * backdrops.PHASES + phase) * (size + 2 * margin) + rows + margin - g.shift[:, None].long()
    return line * width + whole


class _Batch:
    """Scenes whose geometry is known, drawn in blocks of ``block`` pictures.

    Geometry is a few numbers per thing: many scenes at once, or the calls would cost more than the arithmetic. Pixels
    are many: few pictures at once, so that they stay in the processor's cache.
    """

    def __init__(self, scenes: Scenes, assets: _Assets, block: int) -> None:
        self.geometry = g = _Geometry(scenes, assets)
        self.layers = _layers(g)
        self.block = block
        boxes = atlas.join([layer.boxes for layer in self.layers])
        layer_of = torch.cat([torch.full_like(layer.boxes.row, k) for k, layer in enumerate(self.layers)])
        count = len(self.layers)
        key = boxes.row // block * count + layer_of
        order = key.argsort(stable=True)
        boxes = boxes[order]
        condition = g.condition[boxes.row]
        local = replace(boxes, row=boxes.row % block)
        self.located = atlas.locate(assets.atlas, local, condition, g.size)
        blocks = -(-len(scenes) // block)
        self.things = torch.bincount(key, minlength=blocks * count).view(blocks, count).sum(1).cumsum(0).tolist()
        area = torch.zeros(blocks * count, dtype=torch.int64, device=g.device)
        area.index_add_(0, key[order], self.located.wide * self.located.tall)
        self.touched: list[list[int]] = area.view(blocks, count).tolist()

    def __iter__(self) -> Iterator[tuple[slice, list[tuple[_Layer, Tensor, Tensor, Tensor]]]]:
        """For each block: its pictures, and for each layer the places, colours and alphas of its pixels."""
        n, begin = len(self.geometry.rows), 0
        for number, (end, touched) in enumerate(zip(self.things, self.touched, strict=True)):
            sampled = atlas.sample(self.geometry.assets.atlas, self.located, slice(begin, end), self.geometry.size)
            begin = end
            parts = zip(self.layers, *(column.split(touched, dim=-1) for column in sampled), strict=True)
            yield slice(number * self.block, min(n, (number + 1) * self.block)), list(parts)


def _draw(batch: _Batch, pictures: Tensor) -> None:
    """Fill uint8 (n, 3, size, size)."""
    g = batch.geometry
    starts = _windows(g)
    windows = g.assets.backdrop.view(-1).unfold(0, g.size, 1)
    planes = torch.arange(3, device=g.device)[:, None] * len(g.assets.backdrop[0])
    for rows, layers in batch:
        canvas = windows.index_select(0, (planes + starts[rows].reshape(-1)).view(-1)).view(3, -1).float()
        for _, place, colour, alpha in layers:
            under = canvas.index_select(1, place)
            canvas.index_copy_(1, place, under.mul_(1 - alpha).add_(colour))
        pictures[rows] = _camera(canvas.view(3, -1, g.size, g.size), g, rows).transpose(0, 1)


def _camera(image: Tensor, g: _Geometry, rows: slice) -> Tensor:
    """Rain before the lens, exposure, blur and sensor noise: (3, n, size, size) in [0, 255] to uint8."""
    size, n = g.size, image.shape[1]
    seed, exposure, blur, noise = (g.nuisances[name][rows] for name in ("noise_seed", "exposure", "blur", "noise"))
    rainy = (g.labels["weather"][rows] == 1).nonzero()[:, 0]
    streaks = g.assets.rain.unfold(0, size * size, 1).index_select(0, (seed[rainy] % _RAIN_ROWS) * size)
    brightness = (255 * _RAIN * g.air[rows][rainy]).t()[:, :, None, None]
    image.index_add_(1, rainy, streaks.view(1, -1, size, size) * brightness)
    image *= exposure[:, None, None]
    share = (blur / 4)[:, None, None]
    for axis in (2, 3):
        # A share of each pixel goes to its two neighbours; the picture's edge gives to itself.
        flow = (image.narrow(axis, 1, size - 1) - image.narrow(axis, 0, size - 1)).mul_(share)
        image.narrow(axis, 0, size - 1).add_(flow)
        image.narrow(axis, 1, size - 1).sub_(flow)
    start = seed + torch.arange(3, device=g.device)[:, None] * (size * size)
    grain = g.assets.noise.unfold(0, size * size, 1).index_select(0, start.view(-1)).view(3, n, size, size)
    image += grain.mul_((255 * noise)[:, None, None])
    return image.add_(0.5).clamp_(0, 255).to(torch.uint8)


def _batches(scenes: Scenes, size: int, device: str) -> Iterator[tuple[slice, _Batch]]:
    low, high = SIZES
    if not low <= size <= high:
        raise UsageError(f"size={size}: expected {low} to {high} pixels")
    assets = _assets(size, device)
    many, block = (1024, 32) if assets.air.device.type == "cpu" else (8192, 2048)
    block = max(1, block * 64 * 64 // (size * size))
    for start in range(0, len(scenes), many):
        rows = slice(start, min(len(scenes), start + many))
        yield rows, _Batch(scenes[rows].to(device), assets, block)


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
    for rows, batch in _batches(scenes, size, device):
        _draw(batch, pictures[rows])
    return pictures


@torch.inference_mode()
def coverage(scenes: Scenes, *, size: int = 64, device: str = "cpu") -> dict[str, Tensor]:
    """How much of each pixel shows a thing, after what stands before it: float32 (n, size, size), from 0 to 1.

    Of the things in OWNERS: "light" is the housing with its lamps, "lamp" the lit lamp, "glow" every pixel that the
    light's state may brighten (1 there), "pedestrian" and "car" include their shadows. Blur spreads a thing by one
    pixel more.

    Raises:
        UsageError: for a size out of range.
    """
    covers = torch.zeros(len(OWNERS), len(scenes), size, size, device=device)
    for start, batch in _batches(scenes, size, device):
        for rows, layers in batch:
            canvas = covers[:, start][:, rows].reshape(len(OWNERS), -1)
            for layer, place, colour, alpha in layers:
                belongs = torch.tensor([float(owner in layer.owners) for owner in OWNERS], device=device)[:, None]
                # A glow adds light and hides nothing.
                shown = (colour.sum(0, keepdim=True) > 0).float() if layer.owners == ("glow",) else alpha
                canvas[:, place] = (canvas[:, place] * (1 - alpha) + belongs * shown).clamp(0, 1)
            covers[:, start][:, rows] = canvas.view(len(OWNERS), -1, size, size)
    return dict(zip(OWNERS, covers, strict=True))


def masks(scenes: Scenes, size: int = 64) -> dict[str, Tensor]:
    """Where each thing of OWNERS has any influence, before blur: bool (n, size, size). See :func:`coverage`."""
    return {owner: cover > 0 for owner, cover in coverage(scenes, size=size).items()}


def areas(scenes: Scenes, size: int = 64) -> dict[str, Tensor]:
    """Visible area of each thing of OWNERS in pixels, float32 (n,). See :func:`coverage`."""
    return {owner: cover.sum(dim=(1, 2)) for owner, cover in coverage(scenes, size=size).items()}
