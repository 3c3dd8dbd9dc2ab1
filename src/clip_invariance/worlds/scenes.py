"""Scenes of chapter 3: a drawn thing in one of three media, somewhere, in some size and pose, before some background.

Drawn by the torus canvas of chapter 1 on a margin that is cut off, so that nothing wraps around. The two sizes are two
canvases, so that the lines of small drawings are rasterised at their own size.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from clip_invariance.captions import Vocabulary
from clip_invariance.errors import UsageError
from clip_invariance.worlds.canvas import GREY, GROUNDS, Canvas
from clip_invariance.worlds.canvas import Factors as CanvasFactors
from clip_invariance.worlds.factored import Scenes, World, choice, jitter
from clip_invariance.worlds.openmoji import MEDIA, OBJECTS, DrawnObject

__all__ = ["FACTORS", "NUISANCES", "SIZE", "WORDS", "WORLD", "Scenes", "change", "render", "sample"]

SIZE = 48
"""Default side of a picture in pixels."""

#: Name in this world -> name in the artwork list. Chosen for everyday names and different colours and outlines.
_ARTWORK = {
    "banana": "banana",
    "car": "automobile",
    "umbrella": "umbrella",
    "crown": "crown",
    "mushroom": "mushroom",
    "turtle": "turtle",
    "tree": "evergreen tree",
    "horse": "horse",
    "pig": "pig",
    "rabbit": "rabbit",
    "burger": "hamburger",
    "shirt": "t-shirt",
}

FACTORS: dict[str, tuple[str, ...]] = {
    "object": tuple(_ARTWORK),
    "medium": MEDIA,
    "place": ("top left", "top right", "bottom left", "bottom right"),
    "size": ("small", "large"),
    "background": tuple(GROUNDS),
    "rotation": ("counterclockwise", "upright", "clockwise"),
}

WORDS = Vocabulary(
    phrases={
        "object": (
            ("banana", "plantain"),
            ("car", "automobile"),
            ("umbrella", "parasol"),
            ("crown", "coronet"),
            ("mushroom", "toadstool"),
            ("turtle", "tortoise"),
            ("tree", "conifer"),
            ("horse", "pony"),
            ("pig", "hog"),
            ("rabbit", "bunny"),
            ("burger", "hamburger"),
            ("shirt", "tee"),
        ),
        "medium": (
            ("a picture of a", "an image of a"),
            ("a cutout of a", "a collage of a"),
            ("a sketch of a", "a drawing of a"),
        ),
        "place": (
            ("in the top left corner", "at the upper left side"),
            ("in the top right corner", "at the upper right side"),
            ("in the bottom left corner", "at the lower left side"),
            ("in the bottom right corner", "at the lower right side"),
        ),
        "size": (("small", "tiny"), ("large", "big")),
        "background": tuple(
            (f"on a {first} background", f"before a {second} backdrop")
            for first, second in (("blue", "azure"), ("green", "mint"), ("orange", "tan"), ("violet", "purple"))
        ),
        # No "left" and "right", which are words for places here.
        "rotation": (
            ("tilted counterclockwise", "turned counterclockwise"),
            ("standing upright", "standing straight"),
            ("tilted clockwise", "turned clockwise"),
        ),
    },
    templates=(
        "{medium} {size} {object} {rotation} {place} {background}",
        "{medium} {size} {object} {background} {place} {rotation}",
        "{place} {medium} {size} {object} {rotation} {background}",
        "{background} {medium} {size} {object} {place} {rotation}",
    ),
    unmentioned={"object": ("thing", "object"), "medium": ("a",)},
    fillers={
        "object": ("item", "matter"),
        "medium": ("here is now a", "there is also a"),
        "place": ("for the rest of today", "since the end of spring"),
        "size": ("nice", "fine"),
        "background": ("on a normal day", "for a good friend"),
        "rotation": ("as usual", "once more"),
    },
    noun="object",
)

_MARGIN = 1 / 12  # of the picture's side, on each side: what a tilted drawing needs beyond the edge
_OBJECT = {"small": 15 / 48, "large": 25 / 48}  # side of the square around an object, in sides of the picture
_CENTRES = (16.5 / 48, 31.5 / 48)  # left and right, top and bottom: as far out as a large object stays inside
_ANGLES = (30.0, 0.0, -30.0)  # degrees counter-clockwise, by the values of factor rotation
_JITTER = {"x": 2.5 / 48, "y": 2.5 / 48, "zoom": 0.06, "turn": 5.0, "brightness": 0.15}  # half-widths, uniform
_TEXTURE = 0.7  # contrast of the texture: a line drawing must stay visible before all of it


NUISANCES = {
    **{name: jitter(_JITTER[name]) for name in ("x", "y")},  # place within the quadrant, in sides of the picture
    "zoom": jitter(_JITTER["zoom"]),  # relative change of size
    "turn": jitter(_JITTER["turn"]),  # degrees
    "brightness": jitter(_JITTER["brightness"]),  # relative change of the object's colours
    "texture": choice(2**60),  # seed of the background
}


def render(scenes: Scenes, *, size: int = SIZE, device: torch.device | str = "cpu") -> Tensor:
    """Draw the scenes; each picture depends on its own factors and nuisances only.

    Args:
        scenes: n scenes, on any device.
        size: side of the pictures in pixels, 24 to 256.
        device: where to draw and where the pictures are.

    Returns:
        uint8 (n, 3, size, size).

    Raises:
        UsageError: naming a size or factor out of range.
    """
    if not 24 <= size <= 256:
        raise UsageError(f"size is {size}: a scene is drawn in 24 to 256 pixels")
    WORLD.check(scenes)
    scenes = scenes.to(device)
    images = torch.empty(len(scenes), 3, size, size, dtype=torch.uint8, device=device)
    for value, name in enumerate(FACTORS["size"]):
        rows = scenes.labels["size"] == value
        canvas = _canvas(size, name, str(device))
        margin = (canvas.size - size) // 2
        drawn = canvas.render(_on_canvas(scenes[rows], size, margin))
        images[rows] = drawn[:, :, margin : margin + size, margin : margin + size]
    return images


WORLD = World(FACTORS, NUISANCES, WORDS, render)
sample, change = WORLD.sample, WORLD.change


class _ColouredCanvas(Canvas):
    """A canvas whose backgrounds have one of four colours: background number = 4 * texture seed + colour."""

    def backgrounds(self, seeds: Tensor) -> Tensor:
        """uint8 (n, 3, size, size): the grey textures of the canvas, moved to the colour."""
        texture = super().backgrounds(seeds // len(GROUNDS)).to(torch.int16)
        colours = torch.tensor([*GROUNDS.values()], dtype=torch.int16, device=self.device) - GREY
        return texture.add_(colours[seeds % len(GROUNDS)][:, :, None, None]).clamp_(0, 255).to(torch.uint8)


@lru_cache(maxsize=8)
def _canvas(size: int, name: str, device: str) -> _ColouredCanvas:
    known = {drawn.name: drawn for drawn in OBJECTS}
    objects: tuple[DrawnObject, ...] = tuple(known[name] for name in _ARTWORK.values())
    return _ColouredCanvas(
        size + 2 * round(_MARGIN * size),
        _OBJECT[name] * size,
        objects=objects,
        media=MEDIA,
        device=device,
        max_scale=1 + _JITTER["zoom"],
        max_rotation=max(_ANGLES) + _JITTER["turn"],
        contrast=_TEXTURE,
    )


def _on_canvas(scenes: Scenes, size: int, margin: int) -> CanvasFactors:
    labels, nuisances = scenes.labels, scenes.nuisances
    device = labels["object"].device
    centres, angles = torch.tensor(_CENTRES, device=device), torch.tensor(_ANGLES, device=device)
    return CanvasFactors(
        object=labels["object"],
        x=margin + size * (centres[labels["place"] % 2] + nuisances["x"]),
        y=margin + size * (centres[labels["place"] // 2] + nuisances["y"]),
        scale=1 + nuisances["zoom"],
        rotation=angles[labels["rotation"]] + nuisances["turn"],
        brightness=1 + nuisances["brightness"],
        background=nuisances["texture"] * len(GROUNDS) + labels["background"],
        medium=labels["medium"],
    )
