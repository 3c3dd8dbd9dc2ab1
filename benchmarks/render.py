"""How fast the dashcam world draws, against Pillow drawing the same scenes one by one.

Run: python benchmarks/render.py            (one process, one thread, some seconds)

Both draw sky and clouds, skyline, road, trees and buildings, rain, fog, the car ahead, the traffic light, the pedestrian,
blur and sensor noise of the same scenes at 64 x 64. Pillow draws on a canvas twice as wide and high, reduced at the end,
and more simply: fewer and plainer shapes, no glow, no haze. ``--sheet pictures.png`` shows both.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from random import Random

os.environ["OMP_NUM_THREADS"] = "1"  # before PyTorch is imported

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from table import show

from clip_invariance.report.speed import Ratio
from clip_invariance.worlds import dashcam
from clip_invariance.worlds.factored import Scenes

SIZE = 64
WORLD, PILLOW, REPEATS = 2048, 256, 5
_SUPERSAMPLE = 2
_SKY = (((60, 115, 205), (190, 215, 235)), ((70, 55, 110), (240, 160, 95)), ((6, 8, 20), (26, 26, 46)))
_PAINT = ((200, 24, 28), (34, 82, 190), (28, 130, 58), (240, 196, 22), (236, 237, 238), (30, 31, 34))
_DIM = (1.0, 0.75, 0.35)
Colour = tuple[int, ...]


def draw_with_pillow(scene: dict[str, float]) -> Image.Image:
    """One scene, drawn as people would: shape after shape on a canvas of twice the size."""
    side = SIZE * _SUPERSAMPLE
    picture = Image.new("RGB", (side, side))
    draw = ImageDraw.Draw(picture)
    horizon = round(0.45 * side)
    time_of_day = int(scene["time"])

    def lit(colour: Colour) -> Colour:
        return tuple(int(c * _DIM[time_of_day]) for c in colour)

    top, low = _SKY[time_of_day]
    for line in range(horizon):
        colour = tuple(int(a + (b - a) * line / horizon) for a, b in zip(top, low, strict=True))
        draw.line((0, line, side, line), fill=colour)
    random = Random(int(scene["clutter"]))
    for _ in range(6):
        x, y, wide = random.uniform(0, side), random.uniform(0, 0.3 * side), random.uniform(0.05, 0.15) * side
        draw.ellipse((x - wide, y - wide / 4, x + wide, y + wide / 4), fill=lit((235, 235, 240)))
    for k in range(12):
        tone = random.randint(90, 160)
        draw.rectangle(
            (k * side / 12, horizon - random.uniform(5, 25), (k + 1) * side / 12, horizon), fill=lit((tone,) * 3)
        )
    draw.rectangle((0, horizon, side, side), fill=lit((77, 107, 43) if scene["place"] else (132, 130, 125)))

    def ground(x: float, z: float) -> tuple[float, float]:
        return side * (0.5 + (x - scene["lane_offset"]) / z), horizon + side * 1.35 / z

    draw.polygon([ground(-3.6, 60), ground(3.6, 60), ground(3.6, 2.2), ground(-3.6, 2.2)], fill=lit((84, 84, 87)))
    for x in (-1.6, 1.6):
        for z in (2.6, 8.6, 14.6, 20.6):
            near, far = z, z + 3.2
            quad = [ground(x - 0.08, near), ground(x - 0.08, far), ground(x + 0.08, far), ground(x + 0.08, near)]
            draw.polygon(quad, fill=lit((224, 224, 214)))

    for x, z in ((-6.6, 28.0), (6.6, 30.0), (-7.6, 15.0), (7.6, 17.0)):
        middle, foot = ground(x, z)
        metre = side / z
        if scene["place"]:
            draw.line((middle, foot, middle, foot - 3 * metre), fill=lit((84, 62, 44)), width=2)
            for _ in range(8):
                a, b = middle + random.gauss(0, 0.7) * metre, foot - (4 + random.gauss(0, 0.7)) * metre
                draw.ellipse((a - metre, b - metre, a + metre, b + metre), fill=lit((60, random.randint(80, 115), 46)))
        else:
            wall = (middle - 3.2 * metre, foot - 8 * metre, middle + 3.2 * metre, foot)
            draw.rectangle(wall, fill=lit((168, 142, 118)))
            for i in range(4):
                for j in range(3):
                    a, b = middle + (1.6 * i - 2.8) * metre, foot - (2.2 * j + 2.2) * metre
                    draw.rectangle(
                        (a, b, a + 0.8 * metre, b + 1.1 * metre), fill=(238, 196, 112) if i > j else lit((74, 88, 104))
                    )

    z = (5.4 + scene["car_depth"]) if scene["distance"] == 0 else 9.5 + 3 * scene["car_depth"]
    half, tall = ((0.9, 1.45), (0.98, 2.15), (1.18, 3.05))[int(scene["body"])]
    (left, foot), (right, _) = ground(scene["car_offset"] - half, z), ground(scene["car_offset"] + half, z)
    metre = side / z
    paint = _PAINT[int(scene["car_colour"])]
    draw.ellipse((left, foot - 0.15 * metre, right, foot + 0.15 * metre), fill=lit((30, 30, 32)))
    for wheel in (left, right - 0.26 * metre):
        draw.rectangle((wheel, foot - 0.4 * metre, wheel + 0.26 * metre, foot), fill=(18, 18, 19))
    body = (left, foot - tall * metre, right, foot - 0.28 * metre)
    draw.rounded_rectangle(body, 0.15 * metre, fill=lit(paint))
    window = (left + 0.25 * metre, foot - 0.92 * tall * metre, right - 0.25 * metre, foot - 0.65 * tall * metre)
    draw.rectangle(window, fill=lit((52, 62, 74)))
    for lamp in (left + 0.05 * metre, right - 0.3 * metre):
        draw.rectangle((lamp, foot - 0.86 * metre, lamp + 0.25 * metre, foot - 0.66 * metre), fill=(190, 24, 22))
    plate = ((left + right) / 2, foot - 0.55 * metre)
    draw.rectangle(
        (plate[0] - 0.26 * metre, plate[1] - 3, plate[0] + 0.26 * metre, plate[1]), fill=lit((225, 222, 205))
    )

    if scene["pedestrian"]:
        sign = 2 * scene["pedestrian_side"] - 1
        x, foot = ground(sign * (2.7 if scene["pedestrian"] == 2 else 4.0), scene["pedestrian_distance"])
        metre = side / scene["pedestrian_distance"] * scene["pedestrian_scale"]
        stride = (0.3 if scene["pedestrian"] == 2 else 0.1) * metre
        for step in (-stride, stride):
            draw.line((x, foot - 0.9 * metre, x + step, foot), fill=lit((44, 52, 82)), width=3)
        torso = (x - 0.22 * metre, foot - 1.46 * metre, x + 0.22 * metre, foot - 0.8 * metre)
        draw.rectangle(torso, fill=lit((178, 44, 44)))
        head = (x - 0.13 * metre, foot - 1.76 * metre, x + 0.13 * metre, foot - 1.47 * metre)
        draw.ellipse(head, fill=lit((224, 172, 138)))

    lamp_metre = scene["light_scale"] * 0.11 * side
    x = side * (0.12 + 0.14 * scene["light_x"])
    x = side - x if scene["light_side"] == 1 else x
    y = side * (0.1 + 0.18 * scene["light_height"])
    draw.line((x, y, x, ground(0, scene["light_distance"])[1]), fill=lit((96, 98, 100)), width=2)
    draw.rectangle(
        (x - 0.19 * lamp_metre, y - 0.5 * lamp_metre, x + 0.19 * lamp_metre, y + 0.5 * lamp_metre), fill=(20, 20, 22)
    )
    radius = 0.135 * lamp_metre
    for k, (unlit, shine) in enumerate(
        (((66, 22, 22), (255, 40, 25)), ((66, 52, 20), None), ((18, 58, 40), (25, 242, 122)))
    ):
        colour = shine if shine and scene["light"] == k // 2 else unlit
        middle = y + (k - 1) * 0.31 * lamp_metre
        draw.ellipse((x - radius, middle - radius, x + radius, middle + radius), fill=colour)
    if scene["weather"] == 1:
        for _ in range(40):
            x, y = random.uniform(0, side), random.uniform(0, side)
            draw.line((x, y, x - 2, y + 10), fill=lit((205, 205, 215)))
    elif scene["weather"] == 2:
        picture = Image.blend(picture, Image.new("RGB", picture.size, lit((204, 212, 219))), 0.5)
    picture = picture.reduce(_SUPERSAMPLE).filter(ImageFilter.GaussianBlur(scene["blur"]))
    grain = np.random.default_rng(int(scene["noise_seed"])).normal(0, 255 * scene["noise"], (SIZE, SIZE, 3))
    noisy = np.asarray(picture) * scene["exposure"] + grain
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def seconds(run: Callable[[], object]) -> float:
    """Processor time."""
    start = time.process_time()
    run()
    return time.process_time() - start


def ratios() -> list[Ratio]:
    """Drawing in one thread on both sides, milliseconds of processor time per thousand scenes."""
    torch.set_num_threads(1)
    scenes = dashcam.sample(WORLD, seed=0)
    rows = as_rows(scenes[:PILLOW])
    dashcam.render(scenes[:1], size=SIZE)  # draws what all scenes share, once per process and size
    pairs = [
        (
            seconds(lambda: dashcam.render(scenes, size=SIZE)) / WORLD * 1e6,
            seconds(lambda: [draw_with_pillow(row) for row in rows]) / PILLOW * 1e6,
        )
        for _ in range(REPEATS)
    ]
    return [Ratio.of(f"a thousand dashcam scenes of {SIZE} px", "Pillow, scene by scene", "ms", pairs, 3.0)]


def as_rows(scenes: Scenes) -> list[dict[str, float]]:
    """Each scene as a dictionary."""
    columns = {name: column.tolist() for name, column in (*scenes.labels.items(), *scenes.nuisances.items())}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def main() -> None:
    """Print the comparison, or write pictures of both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sheet", help="write a PNG of eight scenes, Pillow's below the world's, here, and stop")
    options = parser.parse_args()
    if not options.sheet:
        show(ratios())
        return
    scenes = dashcam.sample(8, seed=0)
    sheet = Image.new("RGB", (8 * SIZE, 2 * SIZE))
    for k, (picture, row) in enumerate(zip(dashcam.render(scenes, size=SIZE), as_rows(scenes), strict=True)):
        sheet.paste(Image.fromarray(picture.permute(1, 2, 0).numpy()), (k * SIZE, 0))
        sheet.paste(draw_with_pillow(row), (k * SIZE, SIZE))
    sheet.resize((24 * SIZE, 6 * SIZE), Image.Resampling.NEAREST).save(options.sheet)


if __name__ == "__main__":
    main()
