"""Cards of chapter 6: one digit, printed or written by hand, on a coloured card.

The handwriting is scikit-learn's (:mod:`worlds.digits`), the print comes from the typefaces that matplotlib carries.
Test cards show other people's forms and other typefaces than training cards.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import as_file, files
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from clip_invariance.captions import Vocabulary
from clip_invariance.errors import UsageError
from clip_invariance.worlds.canvas import GREY, GROUNDS, Canvas
from clip_invariance.worlds.digits import load_digits
from clip_invariance.worlds.factored import Scenes, World, choice, real
from clip_invariance.worlds.openmoji import OBJECTS

SIZE = 24
"""Side of a picture in pixels."""
Split = Literal["train", "test"]

FACTORS: dict[str, tuple[str, ...]] = {
    "digit": ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "hand": ("printed", "handwritten"),
    "card": tuple(GROUNDS),
}
PRINTED, HANDWRITTEN = range(2)

TYPEFACES: dict[Split, tuple[str, ...]] = {
    "train": (
        *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSansMono-Bold"),
        *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "cmr10", "cmti10"),
    ),
    "test": ("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "cmss10", "cmtt10"),
}
"""Files among matplotlib's fonts."""

WORDS = Vocabulary(
    phrases={
        "digit": tuple((f"the number {name}",) for name in FACTORS["digit"]),
        "card": tuple((f"on a {colour} card",) for colour in FACTORS["card"]),
    },
    templates=("{digit} {card}",),
    unmentioned={"digit": ("a number",)},
)

_GLYPH = 16  # side of a digit in pixels
_JITTER = 3  # of its place, in pixels to each side
_TEXTURE = 0.7


NUISANCES = {
    **{name: choice(2 * _JITTER + 1) for name in ("x", "y")},  # place, pixels
    "glyph": choice(2**40),  # which of the split's digits of this class and hand
    "texture": choice(2**60),  # seed of the card
    "ink": real(0.6, 1.0),  # darkness of the digit, relative
}


def render(scenes: Scenes, split: Split, *, device: torch.device | str = "cpu") -> Tensor:
    """Draw the cards with the digits of one split.

    Args:
        scenes: n cards, on the CPU.
        split: whose handwriting and which typefaces.
        device: where to put the pictures.

    Returns:
        uint8 (n, 3, SIZE, SIZE).

    Raises:
        UsageError: naming a factor or the split.
    """
    if split not in TYPEFACES:
        raise UsageError(f"split: choose one of {', '.join(TYPEFACES)}, not {split!r}")
    WORLD.check(scenes)
    labels, nuisances = scenes.labels, scenes.nuisances
    colours = torch.tensor([*GROUNDS.values()]) - GREY
    paper = _canvas().backgrounds(nuisances["texture"]).float() + colours[labels["card"]][:, :, None, None]
    ink = torch.zeros(len(scenes), SIZE, SIZE)
    side = torch.arange(_GLYPH)
    margin = (SIZE - _GLYPH) // 2 - _JITTER
    rows, columns_ = ((margin + nuisances[axis])[:, None] + side for axis in ("y", "x"))
    number = torch.arange(len(scenes))[:, None, None]
    ink[number, rows[:, :, None], columns_[:, None, :]] = _chosen_glyphs(scenes, split)
    alpha = (ink * nuisances["ink"][:, None, None])[:, None]
    return (paper * (1 - alpha)).round().clamp(0, 255).to(torch.uint8).to(device)


WORLD = World(FACTORS, NUISANCES, WORDS, render)
sample, change = WORLD.sample, WORLD.change


def _chosen_glyphs(scenes: Scenes, split: Split) -> Tensor:
    """(n, _GLYPH, _GLYPH) in [0, 1]: the glyph that each card shows."""
    chosen = torch.empty(len(scenes), _GLYPH, _GLYPH)
    for hand, digit in torch.cartesian_prod(torch.arange(2), torch.arange(10)).tolist():
        here = (scenes.labels["hand"] == hand) & (scenes.labels["digit"] == digit)
        bank = _glyphs(split)[hand][digit]
        chosen[here] = bank[scenes.nuisances["glyph"][here] % len(bank)]
    return chosen


@lru_cache(maxsize=2)
def _glyphs(split: Split) -> tuple[list[Tensor], list[Tensor]]:
    """Printed and handwritten: for each digit (m, _GLYPH, _GLYPH) in [0, 1], 1 is ink."""
    written = load_digits(_GLYPH, split)
    printed = [torch.stack([_print(face, digit) for face in TYPEFACES[split]]) for digit in range(10)]
    return printed, [written.images[written.labels == digit, 0] for digit in range(10)]


def _print(typeface: str, digit: int) -> Tensor:
    """One printed digit, as high as the glyph, (_GLYPH, _GLYPH) in [0, 1]."""
    with as_file(files("matplotlib") / "mpl-data" / "fonts" / "ttf" / f"{typeface}.ttf") as path:
        font = ImageFont.truetype(str(path), 64)
    sheet = Image.new("L", (128, 128))
    ImageDraw.Draw(sheet).text((32, 32), str(digit), fill=255, font=font)
    box = sheet.getbbox()
    if box is None:
        raise UsageError(f"the typeface {typeface} has no digit {digit}: reinstall matplotlib")
    left, top, right, bottom = box
    width = max(1, round(_GLYPH * (right - left) / (bottom - top)))
    glyph = sheet.crop(box).resize((min(width, _GLYPH), _GLYPH), Image.Resampling.LANCZOS)
    square = Image.new("L", (_GLYPH, _GLYPH))
    square.paste(glyph, ((_GLYPH - glyph.width) // 2, 0))
    return torch.from_numpy(np.asarray(square).copy()).float() / 255


@lru_cache(maxsize=1)
def _canvas() -> Canvas:
    return Canvas(SIZE, 12.0, objects=OBJECTS[:1], contrast=_TEXTURE)
