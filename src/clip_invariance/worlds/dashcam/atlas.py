"""Every drawing in every size and light, in one table of texels, and how a picture reads from it.

Drawing means sampling this table where a thing is, and nowhere else: the pixels of all things of one layer, over all
pictures of a batch, form one ragged list. Bilinear sampling is a weighted sum of four rows of the table, which is what
``embedding_bag`` computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from clip_invariance.worlds.dashcam.artwork import Halo, Sketch
from clip_invariance.worlds.dashcam.light import CONDITIONS, LAMPS, TINT

_STEP = 2**-0.5  # from one copy of a drawing to the next smaller one
_LEVELS = 10
_STEPS = 32  # between two texels
_BORDER = 1  # transparent texels around each copy


@dataclass(frozen=True)
class Atlas:
    """Drawings, numbered; each has one copy per level and condition.

    Attributes:
        texels: float32 (texels, 4), premultiplied colour and alpha.
        weights: float32 (_STEPS * _STEPS, 4), bilinear weights of the four texels around a point, by its place between
            them in steps, down and across.
        start: int64 (drawings, levels), first texel of the copy under condition 0.
        across, down: int64 (drawings, levels), texels without the border.
        frame: float32 (drawings, 3), width, height and lower edge of the frame in metres.
    """

    texels: Tensor
    weights: Tensor
    start: Tensor
    across: Tensor
    down: Tensor
    frame: Tensor

    def to(self, device: torch.device | str) -> Atlas:
        """The same atlas on another device."""
        return Atlas(
            *(getattr(self, name).to(device) for name in ("texels", "weights", "start", "across", "down", "frame"))
        )


def build(sketches: Sequence[Sketch | Halo]) -> Atlas:
    """Shrink every drawing to every level and light it under every condition."""
    tint = torch.tensor(TINT, dtype=torch.float32)[:, :, None, None]
    lamps = torch.tensor(LAMPS, dtype=torch.float32)[:, None, None, None]
    texels, start, across, down = [], [], [], []
    count = 0
    for sketch in sketches:
        channels = torch.from_numpy(sketch.channels()).permute(2, 0, 1)[None]
        for level in range(_LEVELS):
            w = max(1, round(sketch.width * sketch.density * _STEP**level))
            h = max(1, round(sketch.height * sketch.density * _STEP**level))
            small = F.interpolate(channels, (h, w), mode="bilinear", antialias=True)[0]
            a, b, c, always, alpha = small.split((3, 3, 3, 3, 1))
            lit = tint * (a - lamps * b) + lamps * c + always
            copies = torch.cat([lit, alpha.expand(CONDITIONS, 1, h, w)], dim=1)
            copies = F.pad(copies, (_BORDER,) * 4).permute(0, 2, 3, 1).reshape(-1, 4)
            texels.append(copies)
            start.append(count)
            across.append(w)
            down.append(h)
            count += len(copies)
    shape = (len(sketches), _LEVELS)
    return Atlas(
        torch.cat(texels).contiguous(),
        _bilinear(),
        torch.tensor(start).view(shape),
        torch.tensor(across).view(shape),
        torch.tensor(down).view(shape),
        torch.tensor([[s.width, s.height, s.below] for s in sketches]),
    )


def _bilinear() -> Tensor:
    middle = (torch.arange(_STEPS) + 0.5) / _STEPS
    fy, fx = (f.flatten() for f in torch.meshgrid(middle, middle, indexing="ij"))
    return torch.stack([(1 - fx) * (1 - fy), (1 - fx) * fy, fx * (1 - fy), fx * fy], dim=1)


@dataclass(frozen=True)
class Boxes:
    """k things to draw: where, and how they are coloured.

    Attributes:
        row: int64 (k,), the picture.
        drawing: int64 (k,).
        place: float32 (k, 4), left, top, width and height of the frame in pixels; negative width: mirrored.
        keep, veil: float32 (k, 3): the colour drawn is keep * (colour in the atlas) + alpha * veil.
    """

    row: Tensor
    drawing: Tensor
    place: Tensor
    keep: Tensor
    veil: Tensor

    def __getitem__(self, which: slice | Tensor) -> Boxes:
        """The chosen ones."""
        return Boxes(*(getattr(self, field.name)[which] for field in fields(self)))


def join(boxes: Sequence[Boxes]) -> Boxes:
    """All of them in one."""
    return Boxes(*(torch.cat([getattr(some, field.name) for some in boxes]) for field in fields(Boxes)))


@dataclass(frozen=True)
class Located:
    """Boxes, clipped to whole pixels, with the copy of the drawing that fits.

    Attributes:
        wide, tall: int64 (k,), pixels.
        wholes: int64 (k, 3): first pixel among all pictures' pixels, first texel of the copy, texels per line.
        numbers: float32 (k, 6): texel coordinate at the first pixel, its step and its largest value, for x then y.
        boxes: what was located.
    """

    wide: Tensor
    tall: Tensor
    wholes: Tensor
    numbers: Tensor
    boxes: Boxes


def locate(atlas: Atlas, boxes: Boxes, condition: Tensor, size: int) -> Located:
    """Find the pixels and texels of each box.

    Args:
        atlas: the drawings.
        boxes: k things.
        condition: int64 (k,), the light under which each is seen.
        size: side of the pictures.
    """
    left, top, width, height = boxes.place.unbind(1)
    mirrored, width = width < 0, width.abs()
    # The smallest copy that is no smaller than the box in either direction.
    enough = (atlas.across[boxes.drawing] >= width[:, None]) & (atlas.down[boxes.drawing] >= height[:, None])
    level = (enough.sum(1) - 1).clamp(min=0)
    w, h = atlas.across[boxes.drawing, level], atlas.down[boxes.drawing, level]
    stride = w + 2 * _BORDER
    start = atlas.start[boxes.drawing, level] + condition * stride * (h + 2 * _BORDER)
    step_x, step_y = w / width, h / height
    # Half a texel around the frame fades to nothing: take the pixels there too.
    x0 = (left - 0.5 / step_x).floor().clamp(0, size).long()
    x1 = (left + width + 0.5 / step_x).ceil().clamp(0, size).long()
    y0 = (top - 0.5 / step_y).floor().clamp(0, size).long()
    y1 = (top + height + 0.5 / step_y).ceil().clamp(0, size).long()
    u = (x0 + 0.5 - left) * step_x - 0.5
    u = torch.where(mirrored, w - 1 - u, u) + _BORDER
    v = (y0 + 0.5 - top) * step_y - 0.5 + _BORDER
    wide = (x1 - x0).clamp(min=0)
    return Located(
        wide,
        (y1 - y0).clamp(min=0) * (wide > 0),
        torch.stack([(boxes.row * size + y0) * size + x0, start, stride], dim=1),
        torch.stack(
            [u, torch.where(mirrored, -step_x, step_x), w + 2 * _BORDER - 1.001, v, step_y, h + 2 * _BORDER - 1.001],
            dim=1,
        ),
        boxes,
    )


def sample(atlas: Atlas, located: Located, chosen: slice, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """The pixels of the chosen boxes, box after box.

    Returns:
        the place of each pixel among all pictures' pixels, int64 (N,); its premultiplied colour, float32 (3, N); its
        alpha, float32 (1, N).
    """
    wide, tall = located.wide[chosen], located.tall[chosen]
    wholes, numbers = located.wholes[chosen], located.numbers[chosen]
    of, line = _spread(tall)
    place, start, stride = wholes.index_select(0, of).unbind(1)
    u, du, u_most, v, dv, v_most = numbers.index_select(0, of).unbind(1)
    v = torch.minimum((v + dv * line).clamp_(min=0), v_most)
    above = v.floor()
    fy = v - above
    texel = start + above.long() * stride
    below = texel + stride
    corners = torch.stack([texel, below, texel + 1, below + 1], dim=1)
    across = torch.stack([u, du, u_most, (fy * _STEPS).floor() * _STEPS], dim=1)
    place = place + line * size

    at, walk = _spread(wide.index_select(0, of))
    u, du, u_most, code = across.index_select(0, at).unbind(1)
    u = torch.minimum((u + du * walk).clamp_(min=0), u_most)
    left = u.floor()
    code = ((u - left) * _STEPS).floor().add_(code).int()
    taps = corners.index_select(0, at).add_(left.long()[:, None])
    weights = atlas.weights.index_select(0, code)
    colour = F.embedding_bag(taps, atlas.texels, per_sample_weights=weights, mode="sum")
    # Channels first: arithmetic along pixels is several times as fast as along rows of four channels.
    colour, alpha = colour.t().contiguous().split((3, 1))
    of = of.index_select(0, at)
    keep = located.boxes.keep[chosen].t().contiguous().index_select(1, of)
    veil = located.boxes.veil[chosen].t().contiguous().index_select(1, of)
    return place.index_select(0, at).add_(walk), colour.mul_(keep).add_(veil.mul_(alpha)), alpha


def _spread(counts: Tensor) -> tuple[Tensor, Tensor]:
    """For items that each have some parts: of every part, its item and its number within the item."""
    total = int(counts.sum())
    items = torch.arange(len(counts), device=counts.device)
    of = torch.repeat_interleave(items, counts, output_size=total)
    return of, torch.arange(total, device=counts.device).sub_((counts.cumsum(0) - counts).index_select(0, of))
