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
_SAMPLES = 4  # per pixel and direction
_LANE, _EDGE = 1.6, 3.6  # metres from the middle of the lane to its lines, and to the edge of the road


def margin(size: int) -> int:
    """Rows above and below the picture that pitch may bring in."""
    return round(PITCH * size) + 1


def bank(size: int) -> Tensor:
    """Every backdrop, uint8 (9 conditions, 2 places, BACKDROPS, PHASES, size + 2 margin, WIDTH size, 4)."""
    rows = size + 2 * margin(size)
    pictures = np.empty((CONDITIONS, 2, BACKDROPS, PHASES, rows, WIDTH * size, 4), dtype=np.uint8)
    horizon = round(HORIZON * size) + margin(size)
    for place in range(2):
        for variant in range(BACKDROPS):
            rng = np.random.default_rng([place, variant])
            sky = _sky(rng, horizon, size, country=bool(place))
            ground = _ground(rng, rows - horizon, size, country=bool(place))
            for condition in range(CONDITIONS):
                full = np.concatenate([sky(condition), ground(condition)])
                # A pixel is the mean over its own width, half a pixel further for the second phase.
                step = _SAMPLES // PHASES
                for phase in range(PHASES):
                    moved = np.roll(full, -phase * step, axis=1)
                    pixels = moved.reshape(rows, _SAMPLES, -1, _SAMPLES, 3).mean(axis=(1, 3))
                    pictures[condition, place, variant, phase, ..., :3] = np.rint(255 * pixels.clip(0, 1))
    pictures[..., 3] = 0
    return torch.from_numpy(pictures)


def _smooth(rng: np.random.Generator, height: int, width: int, cell: float, stretch: float = 1.0) -> Array:
    """A smooth random field (height, width) with mean 0 and spread 1; blobs of about ``cell`` samples."""
    coarse = rng.standard_normal((max(2, int(height / cell) + 2), max(2, int(width / (cell * stretch)) + 2)))
    y, x = np.linspace(0, coarse.shape[0] - 1.001, height), np.linspace(0, coarse.shape[1] - 1.001, width)
    top, left = y.astype(int), x.astype(int)
    v, u = y - top, x - left
    v, u = (v * v * (3 - 2 * v))[:, None], (u * u * (3 - 2 * u))[None]
    upper = coarse[top][:, left] * (1 - u) + coarse[top][:, left + 1] * u
    lower = coarse[top + 1][:, left] * (1 - u) + coarse[top + 1][:, left + 1] * u
    field: Array = upper * (1 - v) + lower * v
    return field


def _sky(rng: np.random.Generator, rows: int, size: int, *, country: bool) -> Callable[[int], Array]:
    height, width = rows * _SAMPLES, WIDTH * size * _SAMPLES
    unit = size * _SAMPLES  # samples per picture width
    up = (height - 0.5 - np.arange(height)) / unit  # above the horizon
    clouds = sum(
        (_smooth(rng, height, width, unit * 0.09 / 2**k, 2.2) * 0.6**k for k in range(4)), np.zeros((height, width))
    )
    top, paint, glow = _skyline(rng, width, unit, country=country)
    built = up[:, None] < top[None]
    colours = paint(up)
    windows = glow(up)
    stars = (rng.random((height, width)) < 0.0004) & (up[:, None] > 0.15)

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
    rng: np.random.Generator, width: int, unit: int, *, country: bool
) -> tuple[Array, Callable[[Array], Array], Callable[[Array], Array]]:
    """Height above the horizon per column, and functions of height that give colours and lit windows."""
    columns = np.arange(width)
    if country:
        hills = 0.055 + 0.03 * _smooth(rng, 2, width, unit * 0.35)[0]
        wood = 0.022 + 0.010 * _smooth(rng, 2, width, unit * 0.025)[0] + 0.006 * _smooth(rng, 2, width, unit * 0.008)[0]
        top = np.maximum(np.maximum(hills, wood), 0.01)

        def paint(up: Array) -> Array:
            near = (up[:, None] < wood[None])[..., None]
            return np.where(near, np.array([0.16, 0.27, 0.13]), np.array([0.36, 0.46, 0.42]))

        return top, paint, lambda up: np.zeros((len(up), width))
    top = np.empty(width)
    shade = np.empty((width, 3))
    edge = np.zeros(width)
    start = 0
    while start < width:
        stop = start + int(unit * rng.uniform(0.05, 0.14))
        top[start:stop] = rng.uniform(0.05, 0.2)
        shade[start:stop] = rng.uniform(0.38, 0.62) + rng.uniform(-0.05, 0.05, 3)
        edge[start:stop] = start
        start = stop
    across = (columns - edge) / (unit * 0.018)

    def windows(up: Array) -> tuple[Array, Array]:
        storey = up[:, None] / 0.02
        glass = (np.mod(storey, 1) > 0.4) & (np.mod(across, 1) > 0.4)[None]
        cell = np.floor(storey) * 131 + np.floor(across)[None] * 71 + edge[None] * 17
        return glass, np.mod(np.sin(cell) * 43758.5453, 1) < 0.45

    def paint_city(up: Array) -> Array:
        glass, _ = windows(up)
        return np.where(glass[..., None], shade[None] * 0.72, shade[None])

    def glow(up: Array) -> Array:
        glass, lit = windows(up)
        return (glass & lit).astype(float)

    return top, paint_city, glow


def _ground(rng: np.random.Generator, rows: int, size: int, *, country: bool) -> Callable[[int], Array]:
    height, width = rows * _SAMPLES, WIDTH * size * _SAMPLES
    unit = size * _SAMPLES
    down = (np.arange(height) + 0.5) / unit
    z = (CAMERA_HEIGHT / down)[:, None]
    x = ((np.arange(width) + 0.5 - width / 2) / unit)[None] * z
    grain = _smooth(rng, height, width, unit * 0.02, 3) * 0.5 + _smooth(rng, height, width, unit * 0.006, 2)
    side = np.abs(x)
    phase = rng.uniform(0, 6)
    asphalt = 0.33 + rng.uniform(-0.04, 0.04) + 0.012 * grain - 0.03 * np.exp(-(((side - 0.8) / 0.3) ** 2))
    colour = asphalt[..., None] * np.array([1.0, 1.0, 1.03])
    beside = np.array([0.30, 0.42, 0.17]) if country else np.array([0.52, 0.51, 0.49])
    shoulder = np.array([0.50, 0.45, 0.36]) if country else np.array([0.64, 0.63, 0.61])
    texture = (1 + (0.10 if country else 0.03) * grain)[..., None]
    colour = np.where((side > _EDGE + 0.25)[..., None], shoulder * texture, colour)
    colour = np.where((side > _EDGE + (0.9 if country else 2.6))[..., None], beside * texture, colour)
    dash = np.mod(z + phase, 6) < 3.2
    lines = ((np.abs(side - _LANE) < 0.085) & dash) | (np.abs(side - _EDGE) < 0.08)
    if not country and rng.random() < 0.7:
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
