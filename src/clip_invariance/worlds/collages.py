"""Collages of chapter 6: one thing in the middle, one to four small copies of one part around it.

The things come in three groups of look-alikes (cars, flowers, birds), so that a caption may be coarse or fine; the
parts can be listed and counted; the background may go with the thing or not; half of all pictures are grainy. Every
thing can also be drawn without its parts (a mosaic of its colours) or without its look (its outlines alone).

Pictures are pasted together from small sprites at whole pixels: some ten thousand a second on one core.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from clip_invariance.captions import Vocabulary
from clip_invariance.errors import UsageError
from clip_invariance.worlds.canvas import GREY, GROUNDS, Canvas
from clip_invariance.worlds.factored import Scenes, World, choice, real
from clip_invariance.worlds.openmoji import DrawnObject, Medium, sprites

SIZE = 32
"""Side of a picture in pixels."""

GROUPS: dict[str, tuple[str, ...]] = {
    "car": ("sedan", "taxi", "jeep", "pickup"),
    "flower": ("tulip", "rose", "hibiscus", "sunflower"),
    "bird": ("duck", "eagle", "parrot", "swan"),
}
"""Coarse name -> its four fine names."""

_ARTWORK = {
    **{"sedan": "1F697", "taxi": "1F695", "jeep": "1F699", "pickup": "1F6FB"},
    **{"tulip": "1F337", "rose": "1F339", "hibiscus": "1F33A", "sunflower": "1F33B"},
    **{"duck": "1F986", "eagle": "1F985", "parrot": "1F99C", "swan": "1F9A2"},
    **{"tomato": "1F345", "lemon": "1F34B", "broccoli": "1F966", "raindrop": "1F4A7"},
}

FACTORS: dict[str, tuple[str, ...]] = {
    "object": tuple(name for names in GROUPS.values() for name in names),
    "part": ("tomato", "lemon", "broccoli", "raindrop"),
    "count": ("one", "two", "three", "four"),
    "background": tuple(GROUNDS),
    "quality": ("sharp", "grainy"),
}
PER_GROUP = 4

_PLURALS = {"tomato": "tomatoes", "lemon": "lemons", "broccoli": "broccolis", "raindrop": "raindrops"}
#: "with one tomato", "with one lemon", ... in the order of the column "detail": count * 4 + part.
_DETAILS = tuple(
    f"with {count} {part if count == 'one' else _PLURALS[part]}"
    for count in FACTORS["count"]
    for part in FACTORS["part"]
)

WORDS = Vocabulary(
    phrases={
        "object": tuple((f"a {name}",) for name in FACTORS["object"]),
        "group": tuple((f"a {name}",) for name in GROUPS),
        "detail": tuple((text,) for text in _DETAILS),
        "background": tuple((f"on {colour}",) for colour in FACTORS["background"]),
        "quality": tuple((f"a {quality} picture of",) for quality in FACTORS["quality"]),
    },
    templates=("{quality} {group} {object} {detail} {background}",),
    noun="object",
)
"""Words for :func:`columns`. Part and count are one slot: a caption that lists the parts lists all of them."""

Layer = Literal["full", "look", "parts"]
"""The drawing; a mosaic of its colours, three by three, without its parts; its outlines, without its colours."""
_MEDIUM: dict[Layer, Medium] = {"full": "full", "look": "full", "parts": "line"}
MOSAIC = 3

_THING, _PARTS = 14, (6, 8)  # sides in pixels; the parts of one picture are all small or all large
_CELLS = ((0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (2, 2))  # places of parts: all round, row and column
_CELL = (0, 12, 23)  # where a cell starts, in pixels
_CENTRE = 8  # the thing's upper left corner, before it is moved
_TEXTURE = 0.7
_GRAIN = 25.0  # standard deviation of the grain, in grey levels
_NOISES = 512
_LAYOUTS = tuple(itertools.permutations(range(len(_CELLS)), len(FACTORS["count"])))
_BATCH = 2000


NUISANCES = {
    **{name: choice(3) for name in ("x", "y")},  # shift of the thing, pixels
    "mirror": choice(2),
    "layout": choice(len(_LAYOUTS)),  # which cells the parts take
    "jitter": choice(4 ** len(FACTORS["count"])),  # their places inside the cells, two bits for each
    "large": choice(2),  # size of the parts
    "texture": choice(2**60),
    "grain": choice(_NOISES),
    "brightness": real(0.85, 1.15),  # relative
}


def columns(scenes: Scenes) -> dict[str, Tensor]:
    """The factors, with what captions say in other ways: ``group`` of the thing and ``detail``, part and count in one."""
    labels = dict(scenes.labels)
    return labels | {
        "group": labels["object"] // PER_GROUP,
        "detail": labels["count"] * len(FACTORS["part"]) + labels["part"],
    }


def render(
    scenes: Scenes, *, layers: Sequence[tuple[Layer, Tensor]] | None = None, device: torch.device | str = "cpu"
) -> Tensor:
    """Paste the collages together; each picture depends on its own factors and nuisances only.

    Args:
        scenes: n collages, on the CPU.
        layers: what to draw in the middle, from back to front: how, and which objects, int64 (n,). None for the full
            drawing of each collage's own object; an empty list for nothing.
        device: where to put the pictures.

    Returns:
        uint8 (n, 3, SIZE, SIZE).

    Raises:
        UsageError: naming a factor or layer out of range.
    """
    WORLD.check(scenes)
    drawn: list[tuple[Layer, Tensor]] = [("full", scenes.labels["object"])] if layers is None else list(layers)
    for name, objects in drawn:
        if name not in _MEDIUM:
            raise UsageError(f"layer {name!r}: choose one of {', '.join(_MEDIUM)}")
        change(scenes, "object", objects)  # raises for what is no object
    if not len(scenes):
        return torch.empty(0, 3, SIZE, SIZE, dtype=torch.uint8, device=device)
    parts = []
    for start in range(0, len(scenes), _BATCH):
        which = slice(start, start + _BATCH)
        parts.append(_draw(scenes[which], [(name, objects[which]) for name, objects in drawn]))
    return torch.cat(parts).to(device)


WORLD = World(FACTORS, NUISANCES, WORDS, render)
sample, change = WORLD.sample, WORLD.change


def _draw(scenes: Scenes, layers: Sequence[tuple[Layer, Tensor]]) -> Tensor:
    labels, nuisances = scenes.labels, scenes.nuisances
    colours = torch.tensor([*GROUNDS.values()]) - GREY
    images = _textures(nuisances["texture"]) + colours[labels["background"]][:, :, None, None]
    layout = torch.tensor(_LAYOUTS)[nuisances["layout"]]
    corners, starts = torch.tensor(_CELLS), torch.tensor(_CELL)
    for number in range(len(FACTORS["count"])):
        rows = (labels["count"] >= number).nonzero().squeeze(1)
        cell = corners[layout[rows, number]]
        bits = nuisances["jitter"][rows] >> (2 * number)
        sprite = _part_sprites()[nuisances["large"][rows], labels["part"][rows]]
        _paste(images, rows, sprite, starts[cell[:, 0]] + (bits & 1), starts[cell[:, 1]] + (bits >> 1 & 1))
    everyone = torch.arange(len(scenes))
    for name, objects in layers:
        sprite = _thing_sprites(name)[objects]
        sprite = torch.where(nuisances["mirror"][:, None, None, None] == 1, sprite.flip(3), sprite)
        colour = torch.minimum(sprite[:, :3] * nuisances["brightness"][:, None, None, None], sprite[:, 3:])
        sprite = torch.cat([colour, sprite[:, 3:]], dim=1)
        _paste(images, everyone, sprite, _CENTRE + nuisances["y"], _CENTRE + nuisances["x"])
    grainy = (labels["quality"] == FACTORS["quality"].index("grainy"))[:, None, None, None]
    images = torch.where(grainy, images + _noises()[nuisances["grain"]], images)
    return images.round().clamp(0, 255).to(torch.uint8)


def _paste(images: Tensor, rows: Tensor, sprites_: Tensor, top: Tensor, left: Tensor) -> None:
    """Blend sprites (m, 4, k, k), premultiplied, 0 to 255, into some of the images (n, 3, SIZE, SIZE), in place."""
    side = torch.arange(sprites_.shape[-1])
    place = ((top[:, None] + side)[:, :, None] * SIZE + (left[:, None] + side)[:, None, :]).flatten(1)
    flat = images.flatten(2)
    index = place[:, None, :].expand(-1, 3, -1)
    pixels = flat[rows]
    behind = pixels.gather(2, index)
    colour, alpha = sprites_[:, :3].flatten(2), sprites_[:, 3:].flatten(2) / 255
    flat[rows] = pixels.scatter(2, index, behind * (1 - alpha) + colour)


@lru_cache(maxsize=1)
def _canvas() -> Canvas:
    return Canvas(SIZE, _THING, objects=(_artwork("sedan"),), contrast=_TEXTURE)


def _textures(seeds: Tensor) -> Tensor:
    """float (n, 3, SIZE, SIZE): the grey textures of chapter 1's canvas."""
    return _canvas().backgrounds(seeds).float()


@lru_cache(maxsize=1)
def _noises() -> Tensor:
    """float (_NOISES, 3, SIZE, SIZE): grain, the same in every run."""
    generator = torch.Generator().manual_seed(20240129)
    return _GRAIN * torch.randn(_NOISES, 3, SIZE, SIZE, generator=generator)


def _artwork(name: str) -> DrawnObject:
    return DrawnObject(name, _ARTWORK[name], "thing")


@lru_cache(maxsize=3)
def _thing_sprites(layer: Layer) -> Tensor:
    """float (objects, 4, _THING, _THING)."""
    drawn = sprites(tuple(map(_artwork, FACTORS["object"])), _MEDIUM[layer], _THING).float()
    if layer == "look":
        cells = F.adaptive_avg_pool2d(drawn, MOSAIC)
        drawn = F.interpolate(cells, size=(_THING, _THING), mode="nearest")
    return drawn


@lru_cache(maxsize=1)
def _part_sprites() -> Tensor:
    """float (2, parts, 4, 8, 8): small ones, with an empty margin, and large ones."""
    small, large = _PARTS
    margin = (large - small) // 2
    drawn = tuple(map(_artwork, FACTORS["part"]))
    return torch.stack(
        [F.pad(sprites(drawn, "full", small).float(), [margin] * 4), sprites(drawn, "full", large).float()]
    )
