"""The things in a scene, each drawn once with Pillow, in metres: x from the middle, y up from the ground."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]

PAINTS: tuple[Colour, ...] = (
    (200, 24, 28),
    (34, 82, 190),
    (28, 130, 58),
    (240, 196, 22),
    (236, 237, 238),
    (30, 31, 34),
)
_GLASS, _DARK, _TYRE = (52, 62, 74), (28, 28, 30), (18, 18, 19)
_SUPERSAMPLE = 4


@dataclass
class Sketch:
    """A drawing of one thing in three layers: its paint, what shines at night, and what always shines.

    Attributes:
        width, height: of the frame, metres. The middle of its lower edge is at x = 0, y = below.
        below: how far the frame reaches under the ground (for the shadow), a negative number.
        density: pixels per metre of the finest copy that will be needed.
    """

    width: float
    height: float
    density: float
    below: float = 0.0
    layers: dict[str, Image.Image] = field(init=False)

    def __post_init__(self) -> None:
        self._scale = self.density * _SUPERSAMPLE
        size = (max(2, round(self.width * self._scale)), max(2, round(self.height * self._scale)))
        self.layers = {name: Image.new("RGBA", size) for name in ("paint", "night", "always")}

    def _points(self, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        w, h = self.layers["paint"].size
        return [((x / self.width + 0.5) * w - 0.5, (1 - (y - self.below) / self.height) * h - 0.5) for x, y in points]

    def polygon(self, points: Sequence[tuple[float, float]], colour: Colour, layer: str = "paint") -> None:
        """A filled polygon."""
        ImageDraw.Draw(self.layers[layer]).polygon(self._points(points), fill=(*colour, 255))

    def rectangle(
        self,
        left: float,
        low: float,
        right: float,
        high: float,
        colour: Colour,
        layer: str = "paint",
        corner: float = 0,
    ) -> None:
        """A filled rectangle with rounded corners."""
        (x0, y0), (x1, y1) = self._points([(left, high), (right, low)])
        ImageDraw.Draw(self.layers[layer]).rounded_rectangle(
            (x0, y0, max(x0, x1), max(y0, y1)), corner * self._scale, fill=(*colour, 255)
        )

    def ellipse(
        self, x: float, y: float, across: float, up: float, colour: Colour, layer: str = "paint", alpha: int = 255
    ) -> None:
        """A filled ellipse by its centre and half axes."""
        (x0, y0), (x1, y1) = self._points([(x - across, y + up), (x + across, y - up)])
        if alpha == 255:
            ImageDraw.Draw(self.layers[layer]).ellipse((x0, y0, x1, y1), fill=(*colour, 255))
            return
        veil = Image.new("RGBA", self.layers[layer].size)
        ImageDraw.Draw(veil).ellipse((x0, y0, x1, y1), fill=(*colour, alpha))
        self.layers[layer] = Image.alpha_composite(self.layers[layer], veil)

    def line(self, points: Sequence[tuple[float, float]], thick: float, colour: Colour) -> None:
        """A stroke with round joints."""
        ImageDraw.Draw(self.layers["paint"]).line(
            self._points(points), fill=(*colour, 255), width=max(1, round(thick * self._scale)), joint="curve"
        )

    def channels(self) -> NDArray[np.float32]:
        """(height, width, 13): A, B, C, W (3 each) and alpha, such that under a tint t and with lamps at s from 0 to 1
        the premultiplied colour is t (A - s B) + s C + W."""
        paint, night, always = (np.asarray(self.layers[k], dtype=np.float32) / 255 for k in self.layers)
        alpha = paint[..., 3:]
        dim = 1 - always[..., 3:]
        a = paint[..., :3] * alpha * dim
        c = night[..., :3] * night[..., 3:] * dim * alpha
        w = always[..., :3] * always[..., 3:] * alpha
        return np.concatenate([a, a * night[..., 3:], c, w, alpha], axis=-1)


def _shade(colour: Colour, gain: float) -> Colour:
    return (min(255, int(colour[0] * gain)), min(255, int(colour[1] * gain)), min(255, int(colour[2] * gain)))


def vehicle(body: int, colour: Colour, density: float, *, braking: bool) -> Sketch:
    """A car, van or truck from behind, with its shadow."""
    half, tall = ((0.90, 1.45), (0.98, 2.15), (1.18, 3.05))[body]
    s = Sketch(2 * half + 0.2, tall + 0.2, density, below=-0.15)
    s.ellipse(0, 0.02, half + 0.08, 0.14, (0, 0, 0), alpha=130)
    for side in (-1, 1):
        s.rectangle(side * half * 0.78 - 0.13, 0, side * half * 0.78 + 0.13, 0.5, _TYRE, corner=0.05)
    dark, light = _shade(colour, 0.72), _shade(colour, 1.12)
    lamp = (255, 40, 30) if braking else (150, 16, 20)
    if body == 0:
        s.rectangle(-half, 0.28, half, 0.98, colour, corner=0.16)
        s.polygon([(-0.80, 0.92), (-0.60, 1.43), (0.60, 1.43), (0.80, 0.92)], light)
        s.polygon([(-0.67, 0.95), (-0.53, 1.35), (0.53, 1.35), (0.67, 0.95)], _GLASS)
        s.polygon([(-0.35, 0.97), (-0.18, 1.34), (0.05, 1.34), (-0.10, 0.97)], (92, 104, 118))
        s.rectangle(-half, 0.26, half, 0.42, dark, corner=0.06)
        lamps, plate = (0.58, 0.66, 0.86, 0.86), 0.56
    elif body == 1:
        s.rectangle(-half, 0.28, half, 2.13, colour, corner=0.22)
        s.rectangle(-0.78, 1.18, 0.78, 1.86, _GLASS, corner=0.1)
        s.rectangle(-half + 0.1, 2.0, half - 0.1, 2.13, light, corner=0.06)
        s.rectangle(-0.02, 0.42, 0.02, 1.9, dark)
        s.rectangle(-half, 0.26, half, 0.46, dark, corner=0.06)
        lamps, plate = (0.80, 0.62, 0.95, 1.08), 0.66
    else:
        s.rectangle(-0.95, 0.42, 0.95, 0.72, _DARK)
        s.rectangle(-half, 0.66, half, 3.03, colour, corner=0.05)
        s.rectangle(-half, 2.90, half, 3.03, light)
        for x in (-half, -0.02, half - 0.04):
            s.rectangle(x, 0.66, x + 0.04, 2.9, dark)
        for x in (-0.5, 0.44):
            s.rectangle(x, 0.8, x + 0.06, 2.8, (150, 150, 152))
        s.rectangle(-1.05, 0.40, 1.05, 0.52, (190, 190, 190))
        lamps, plate = (0.78, 0.50, 1.02, 0.68), 0.58
    x0, y0, x1, y1 = lamps
    for left, right in ((-x1, -x0), (x0, x1)):
        s.rectangle(left, y0, right, y1, lamp, corner=0.03)
        s.rectangle(left, y0, right, y1, lamp if braking else (205, 30, 26), layer="night", corner=0.03)
        if braking:
            s.rectangle(left, y0, right, y1, (255, 52, 40), layer="always", corner=0.03)
    s.rectangle(-0.26, plate - 0.07, 0.26, plate + 0.07, (225, 222, 205))
    return s


_CLOTHES: tuple[tuple[Colour, Colour, Colour], ...] = (  # top, trousers, skin
    ((178, 44, 44), (44, 52, 82), (224, 172, 138)),
    ((238, 232, 220), (62, 60, 62), (140, 92, 64)),
    ((44, 92, 160), (140, 126, 100), (236, 190, 158)),
    ((232, 176, 40), (36, 40, 48), (96, 62, 44)),
    ((52, 124, 88), (84, 88, 96), (214, 160, 120)),
    ((60, 60, 66), (42, 44, 56), (232, 184, 150)),
    ((206, 104, 150), (54, 66, 110), (168, 116, 84)),
    ((150, 152, 158), (98, 70, 52), (120, 80, 58)),
)


def pedestrian(pose: int, clothes: int, density: float) -> Sketch:
    """A pedestrian, 1.75 m tall. Pose 0: standing, seen from the front; 1 and 2: walking to the right."""
    top, trousers, skin = _CLOTHES[clothes]
    s = Sketch(1.2, 2.0, density, below=-0.12)
    s.ellipse(0, 0.02, 0.40, 0.08, (0, 0, 0), alpha=120)
    sleeve = _shade(top, 0.8)
    if pose == 0:
        for side in (-1, 1):
            s.line([(side * 0.10, 0.9), (side * 0.11, 0.06)], 0.19, trousers)
            s.line([(side * 0.26, 1.40), (side * 0.31, 0.86)], 0.13, sleeve)
            s.ellipse(side * 0.31, 0.82, 0.06, 0.06, skin)
            s.ellipse(side * 0.13, 0.05, 0.10, 0.05, _DARK)
        s.rectangle(-0.25, 0.82, 0.25, 1.46, top, corner=0.1)
    else:
        reach = 0.36 if pose == 1 else 0.18
        s.line([(0, 1.36), (-0.75 * reach - 0.08, 0.95)], 0.13, sleeve)
        s.line([(0, 0.9), (-0.7 * reach, 0.48), (-reach - 0.05, 0.08)], 0.19, _shade(trousers, 0.75))
        s.line([(0, 0.9), (0.8 * reach, 0.5), (reach, 0.06)], 0.2, trousers)
        s.ellipse(reach + 0.06, 0.05, 0.11, 0.05, _DARK)
        s.ellipse(-reach, 0.07, 0.10, 0.05, _DARK)
        s.rectangle(-0.17, 0.82, 0.20, 1.46, top, corner=0.1)
        s.line([(0.02, 1.36), (0.1 + 0.5 * reach, 1.08), (0.2 + reach, 1.0)], 0.12, sleeve)
        s.ellipse(0.22 + reach, 1.0, 0.06, 0.06, skin)
    s.ellipse(0.02 if pose else 0, 1.62, 0.13, 0.15, skin)
    s.ellipse(0.0 if pose else 0, 1.69, 0.14, 0.10, (48, 34, 28))
    return s


HOUSING_HEIGHT = 1.0
LAMP_RADIUS = 0.135
LAMP_STEP = 0.31  # from lamp to lamp: red above, amber, green below


def housing(style: int, density: float) -> Sketch:
    """A traffic light with three unlit lamps; y = 0 is its middle."""
    frame = Sketch(0.62, 1.3, density, below=-0.65)
    shell = (_DARK, (206, 160, 28), (24, 25, 27))[style]
    if style == 2:
        frame.rectangle(-0.28, -0.60, 0.28, 0.60, (228, 228, 224), corner=0.06)
        frame.rectangle(-0.24, -0.56, 0.24, 0.56, shell, corner=0.05)
    frame.rectangle(-0.19, -0.5, 0.19, 0.5, shell, corner=0.06)
    for k, unlit in enumerate(((66, 22, 22), (66, 52, 20), (18, 58, 40))):
        frame.ellipse(0, (1 - k) * LAMP_STEP, LAMP_RADIUS + 0.02, LAMP_RADIUS + 0.02, (12, 12, 13))
        frame.ellipse(0, (1 - k) * LAMP_STEP, LAMP_RADIUS, LAMP_RADIUS, unlit)
    return frame


def disc(density: float) -> Sketch:
    """A white disc of radius 1 in a frame 2.6 wide, to be tinted: a lit lamp."""
    s = Sketch(2.6, 2.6, density, below=-1.3)
    s.ellipse(0, 0, 1, 1, (255, 255, 255))
    s.ellipse(0, 0, 1, 1, (255, 255, 255), layer="always")
    return s


def pole(density: float, *, upright: bool) -> Sketch:
    """A grey pole in a frame twice as thick, to be stretched."""
    s = Sketch(0.24, 0.24, density, below=-0.12)
    if upright:
        s.rectangle(-0.06, -0.12, 0.06, 0.13, (96, 98, 100))
    else:
        s.rectangle(-0.12, -0.06, 0.13, 0.06, (96, 98, 100))
    return s


def tree(kind: int, density: float) -> Sketch:
    """Six trees: four with a round crown, two conifers."""
    rng = random.Random(kind)
    height = (5.2, 6.4, 7.4, 4.6, 7.8, 6.0)[kind]
    s = Sketch(4.0 if kind >= 4 else 4.4, height + 0.4, density, below=-0.3)
    s.ellipse(0, 0, 1.8, 0.25, (0, 0, 0), alpha=90)
    s.rectangle(-0.16, 0, 0.16, height * 0.5, (84, 62, 44))
    green = ((58, 98, 44), (74, 110, 40), (46, 84, 46), (92, 116, 48), (34, 70, 46), (40, 80, 50))[kind]
    if kind >= 4:
        for k in range(5):
            low, wide = height * (0.16 + 0.16 * k), 1.75 * (1 - 0.17 * k)
            s.polygon([(-wide, low), (0, low + height * 0.30), (wide, low)], _shade(green, 0.8 + 0.08 * k))
        return s
    crown = height * 0.66
    for gain in (0.72, 0.9, 1.1, 1.28):
        for _ in range(14):
            x, y = rng.gauss(0, 0.75), crown + rng.gauss(0, height * 0.10)
            lift = 0.25 * (gain - 0.9)
            radius = rng.uniform(0.4, 0.75)
            s.ellipse(
                max(-1.5, min(1.5, x - lift)), min(height - 0.8, y + 2 * lift), radius, radius, _shade(green, gain)
            )
    return s


def building(kind: int, density: float) -> Sketch:
    """Six buildings: four blocks of flats or offices, two houses with gables."""
    rng = random.Random(100 + kind)
    wall = ((168, 122, 98), (196, 186, 166), (140, 146, 154), (182, 160, 120), (214, 206, 190), (176, 104, 84))[kind]
    wide, tall = ((6.5, 9.0), (7.0, 7.6), (6.0, 9.4), (7.0, 8.4), (6.4, 3.6), (6.0, 4.2))[kind]
    gable = 2.2 if kind >= 4 else 0.0
    s = Sketch(wide + 0.4, tall + gable + 0.3, density, below=-0.1)
    s.rectangle(-wide / 2, 0, wide / 2, tall, wall)
    if gable:
        s.polygon([(-wide / 2 - 0.2, tall), (0, tall + gable), (wide / 2 + 0.2, tall)], (112, 62, 50))
    else:
        s.rectangle(-wide / 2, tall - 0.3, wide / 2, tall, _shade(wall, 0.75))
    columns, storeys = (3, 1) if gable else (4, int(tall // 2.2))
    for i in range(columns):
        for j in range(storeys):
            x = (i + 0.5) / columns * wide - wide / 2
            y = (1.3 if gable else 1.1) + 2.0 * j
            box = (x - 0.42, y, x + 0.42, y + 1.15)
            s.rectangle(*box, (74, 88, 104))
            if rng.random() < 0.55:
                s.rectangle(*box, (238, 196, 112), layer="night")
    s.rectangle(-0.45, 0, 0.45, 1.0, (70, 52, 44))
    return s


def sign(kind: int, density: float) -> Sketch:
    """A speed limit, a warning triangle, a blue direction sign, or a street lamp."""
    s = Sketch((1.1, 1.2, 1.5, 1.7)[kind], 3.4 if kind < 3 else 6.3, density, below=-0.05)
    s.rectangle(-0.05, 0, 0.05, s.height - 0.6, (122, 124, 126))
    if kind == 0:
        s.ellipse(0, 2.75, 0.46, 0.46, (196, 30, 34))
        s.ellipse(0, 2.75, 0.33, 0.33, (240, 240, 238))
        s.rectangle(-0.18, 2.62, 0.18, 2.88, (40, 40, 40))
    elif kind == 1:
        s.polygon([(-0.55, 2.35), (0, 3.25), (0.55, 2.35)], (196, 30, 34))
        s.polygon([(-0.32, 2.48), (0, 3.0), (0.32, 2.48)], (240, 238, 228))
    elif kind == 2:
        s.rectangle(-0.7, 2.3, 0.7, 3.2, (240, 240, 240), corner=0.08)
        s.rectangle(-0.64, 2.36, 0.64, 3.14, (30, 84, 166), corner=0.06)
        s.rectangle(-0.4, 2.7, 0.4, 2.8, (240, 240, 240))
    else:
        s.line([(0, 5.7), (-0.15, 6.0), (-0.6, 6.05)], 0.1, (122, 124, 126))
        s.ellipse(-0.6, 6.0, 0.2, 0.1, (200, 200, 190))
        s.ellipse(-0.6, 6.0, 0.2, 0.1, (255, 222, 150), layer="night")
    return s


@dataclass(frozen=True)
class Halo:
    """Light around a lamp: added to what is behind it, covers nothing. A frame of 2 by 2, fading to 0 at radius 1."""

    density: float
    width: float = 2.0
    height: float = 2.0
    below: float = -1.0

    def channels(self) -> NDArray[np.float32]:
        """As :meth:`Sketch.channels`."""
        side = max(4, round(2 * self.density))
        axis = (np.arange(side) + 0.5) / side * 2 - 1
        falloff = np.clip(1 - axis[:, None] ** 2 - axis[None] ** 2, 0, None) ** 3
        out = np.zeros((side, side, 13), dtype=np.float32)
        out[..., 9:12] = falloff[..., None]
        return out
