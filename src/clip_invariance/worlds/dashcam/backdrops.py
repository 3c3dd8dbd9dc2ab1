"""Sky, skyline and road, drawn once per size and kept: a picture cuts its window out of one of them, row by row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clip_invariance.worlds.dashcam.light import AIR, CONDITIONS, HAZE, LAMPS, SKY, TINT
from clip_invariance.worlds.dashcam.scenes import BACKDROPS

Array = NDArray[Any]

HORIZON = 0.45  # from the top, of the picture's height, at pitch 0
PITCH = 0.04  # the horizon moves by up to this much
CAMERA_HEIGHT = 1.35  # metres; the focal length is one picture width, so x = 1 / 2 + X / Z
WIDTH = 2  # pictures; the window is one picture wide
PHASES = 2  # positions within a pixel, so that a lane line moves by half pixels
_ACROSS, _DOWN = 4, 2  # samples per pixel
_LANE, _EDGE = 1.6, 3.6  # metres from the middle of the lane to its lines, and to the edge of the road


def margin(size: int) -> int:
    """Rows above and below the picture that pitch may bring in."""
    return round(PITCH * size) + 1


def bank(size: int) -> Tensor:
    """Every backdrop, uint8 (3, 9 conditions, 2 places, BACKDROPS, PHASES, size + 2 margin, WIDTH size)."""
    rows = size + 2 * margin(size)
    pictures = np.empty((3, CONDITIONS, 2, BACKDROPS, PHASES, rows, WIDTH * size), dtype=np.uint8)
    horizon = round(HORIZON * size) + margin(size)
    for place in range(2):
        for variant in range(BACKDROPS):
            sky = _sky(np.random.default_rng([0, place, variant]), horizon, size, country=bool(place))
            ground = _ground(np.random.default_rng([1, place, variant]), rows - horizon, size, country=bool(place))
            for condition in range(CONDITIONS):
                full = np.concatenate([sky(condition), ground(condition)])
                # A pixel is the mean over its own width, half a pixel further for the second phase.
                halves = full.reshape(rows, _DOWN, -1, _ACROSS // PHASES, 3).mean(axis=(1, 3))
                pixels = 0.5 * (halves + np.roll(halves, -1, axis=1))
                shades = np.rint(255 * pixels.clip(0, 1))
                for phase in range(PHASES):
                    pictures[:, condition, place, variant, phase] = shades[:, phase::PHASES].transpose(2, 0, 1)
    return torch.from_numpy(pictures)


def _smooth(rng: np.random.Generator, up: Array, across: Array, cell: float, stretch: float = 1.0) -> Array:
    """A smooth random field with mean 0 and spread about 1, the same at every picture size.

    Args:
        rng: decides the field.
        up, across: where it is wanted, (h,) from 0 to 0.7 and (w,) from 0 to WIDTH, in picture widths.
        cell: size of its blobs, in picture widths.
        stretch: they are wider than tall by this factor.
    """
    coarse = rng.standard_normal((int(0.7 / cell) + 3, int(WIDTH / (cell * stretch)) + 3))
    y, x = up / cell, across / (cell * stretch)
    top, left = y.astype(int), x.astype(int)
    v, u = y - top, x - left
    v, u = (v * v * (3 - 2 * v))[:, None], (u * u * (3 - 2 * u))[None]
    upper = coarse[top][:, left] * (1 - u) + coarse[top][:, left + 1] * u
    lower = coarse[top + 1][:, left] * (1 - u) + coarse[top + 1][:, left + 1] * u
    field: Array = (upper * (1 - v) + lower * v).astype(np.float32)
    return field


def _sky(rng: np.random.Generator, rows: int, size: int, *, country: bool) -> Callable[[int], Array]:
    height, width = rows * _DOWN, WIDTH * size * _ACROSS
    up = (height - 0.5 - np.arange(height, dtype=np.float32)) / (size * _DOWN)  # above the horizon
    across = (np.arange(width, dtype=np.float32) + 0.5) / (size * _ACROSS)
    octaves = [_smooth(rng, up, across, 0.09 / 2**k, 2.2) * 0.6**k for k in range(4)]
    clouds = octaves[0] + octaves[1] + octaves[2] + octaves[3]
    top, paint, glow = _skyline(rng, across, country=country)
    built = up[:, None] < top[None]
    colours = paint(up)
    windows = glow(up)
    stars = np.zeros((height, width), dtype=bool)
    for x, y in rng.uniform((0, 0.15), (WIDTH, 0.5), (90, 2)):
        stars[max(0, height - 1 - int(y * size * _DOWN)), int(x * size * _ACROSS)] = True

    def draw(condition: int) -> Array:
        time, weather = divmod(condition, 3)
        ramp = (up / up.max())[:, None]
        low, middle, high = SKY[condition][2], SKY[condition][1], SKY[condition][0]
        sky = np.where(
            ramp < 0.45, low + (middle - low) * ramp / 0.45, middle + (high - middle) * (ramp - 0.45) / 0.55
        )[:, None]
        cover = np.clip((clouds - (0.7, -0.6, 9.0)[weather]) / 0.9, 0, 1)[..., None] * (0.9, 0.6, 0.0)[weather]
        white = ((1.0, 1.0, 1.0), (0.98, 0.66, 0.58), (0.12, 0.12, 0.17))[time]
        cloud = np.array(white) * (1.0, 0.52, 1.0)[weather]
        picture = sky * (1 - cover) + cover * cloud * (0.92 + 0.08 * np.clip(clouds, 0, 1)[..., None])
        if time == 2 and weather == 0:
            picture = picture + 0.8 * stars[..., None]
        fade = _fade(70.0, condition)
        far = colours * TINT[condition] * (1 - fade) + AIR[condition] * fade
        far = far + LAMPS[condition] * windows[..., None] * np.array([0.85, 0.65, 0.32]) * (1 - fade)
        full: Array = np.where(built[..., None], far, picture)
        return full

    return draw


def _skyline(
    rng: np.random.Generator, across: Array, *, country: bool
) -> tuple[Array, Callable[[Array], Array], Callable[[Array], Array]]:
    """Height above the horizon per column, and functions of height that give colours and lit windows."""
    width = len(across)
    ground = np.zeros(1)
    if country:
        hills = 0.055 + 0.03 * _smooth(rng, ground, across, 0.35)[0]
        wood = 0.022 + 0.010 * _smooth(rng, ground, across, 0.025)[0] + 0.006 * _smooth(rng, ground, across, 0.008)[0]
        top = np.maximum(np.maximum(hills, wood), 0.01)

        def paint(up: Array) -> Array:
            near = (up[:, None] < wood[None])[..., None]
            return np.where(near, np.array([0.16, 0.27, 0.13]), np.array([0.36, 0.46, 0.42]))

        return top, paint, lambda up: np.zeros((len(up), width))
    top = np.empty(width)
    shade = np.empty((width, 3))
    edge = np.zeros(width)
    start = 0.0
    while start < WIDTH:
        stop = start + rng.uniform(0.05, 0.14)
        columns = (across >= start) & (across < stop)
        top[columns] = rng.uniform(0.05, 0.2)
        shade[columns] = rng.uniform(0.38, 0.62) + rng.uniform(-0.05, 0.05, 3)
        edge[columns] = start
        start = stop
    storefront = (across - edge) / 0.018

    def windows(up: Array) -> tuple[Array, Array]:
        storey = up[:, None] / 0.02
        glass = (np.mod(storey, 1) > 0.4) & (np.mod(storefront, 1) > 0.4)[None]
        cell = np.floor(storey) * 131 + np.floor(storefront)[None] * 71 + edge[None] * 1700
        return glass, np.mod(np.sin(cell) * 43758.5453, 1) < 0.45

    def paint_city(up: Array) -> Array:
        glass, _ = windows(up)
        return np.where(glass[..., None], shade[None] * 0.72, shade[None])

    def glow(up: Array) -> Array:
        glass, lit = windows(up)
        return (glass & lit).astype(float)

    return top, paint_city, glow


def _ground(rng: np.random.Generator, rows: int, size: int, *, country: bool) -> Callable[[int], Array]:
    height, width = rows * _DOWN, WIDTH * size * _ACROSS
    down = (np.arange(height, dtype=np.float32) + 0.5) / (size * _DOWN)
    across = (np.arange(width, dtype=np.float32) + 0.5) / (size * _ACROSS)
    z = (CAMERA_HEIGHT / down)[:, None]
    x = (across - WIDTH / 2)[None] * z
    phase, tone, zebra = rng.uniform(0, 6), rng.uniform(-0.04, 0.04), rng.random() < 0.7
    grain = _smooth(rng, down, across, 0.02, 3) * 0.5 + _smooth(rng, down, across, 0.006, 2)
    side = np.abs(x)
    asphalt = 0.33 + tone + 0.012 * grain - 0.03 * np.exp(-(((side - 0.8) / 0.3) ** 2))
    colour = asphalt[..., None] * np.array([1.0, 1.0, 1.03])
    beside = np.array([0.30, 0.42, 0.17]) if country else np.array([0.52, 0.51, 0.49])
    shoulder = np.array([0.50, 0.45, 0.36]) if country else np.array([0.64, 0.63, 0.61])
    texture = (1 + (0.10 if country else 0.03) * grain)[..., None]
    colour = np.where((side > _EDGE + 0.25)[..., None], shoulder * texture, colour)
    colour = np.where((side > _EDGE + (0.9 if country else 2.6))[..., None], beside * texture, colour)
    dash = np.mod(z + phase, 6) < 3.2
    lines = ((np.abs(side - _LANE) < 0.085) & dash) | (np.abs(side - _EDGE) < 0.08)
    if zebra and not country:
        crossing = (z > 8.6) & (z < 11.2) & (side < _EDGE)
        lines = (lines & ~((z > 8.2) & (z < 11.6))) | (crossing & (np.mod(x, 1.0) < 0.5))
    colour = np.where(lines[..., None], np.array([0.88, 0.88, 0.84]), colour)
    road = (side < _EDGE)[..., None]
    beam = np.exp(-((x / (1.2 + 0.25 * z)) ** 2)) * np.clip((16 - z) / 13, 0, 1)

    def draw(condition: int) -> Array:
        weather = condition % 3
        light = TINT[condition] + (0.75 * LAMPS[condition] ** 2 * beam)[..., None] * np.array([1.0, 0.95, 0.82])
        picture = colour * light
        if weather == 1:  # a wet road mirrors the sky
            mirror = (0.45 * np.clip(z / 14, 0.15, 1.0) * (0.8 + 0.2 * np.clip(grain, -1, 1)))[..., None]
            picture = np.where(road, picture * (1 - mirror) * 0.85 + SKY[condition][2] * mirror, picture)
        fade = _fade(z, condition)[..., None]
        faded: Array = picture * (1 - fade) + AIR[condition] * fade
        return faded

    return draw


def _fade(metres: Any, condition: int) -> Any:
    """How far a thing at this distance has faded to the colour of the air, 0 to 1 (as things do, see ``_Geometry.fade``)."""
    thickness = metres * HAZE[condition]
    return thickness / (1 + thickness)
