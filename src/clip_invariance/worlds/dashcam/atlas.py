"""Every drawing in every size and light, in one table of texels, and how a picture reads from it.

Drawing means sampling this table where a thing is, and nowhere else: the pixels of all things of one layer, over all
pictures of a batch, form one ragged list. Bilinear sampling is a weighted sum of four rows of the table, which is what
``embedding_bag`` computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from clip_invariance.worlds.dashcam.artwork import Halo, Sketch
from clip_invariance.worlds.dashcam.light import CONDITIONS, LAMPS, TINT

_STEP = 2**-0.5  # from one copy of a drawing to the next smaller one
_LEVELS = 10
_BORDER = 1  # transparent texels around each copy


@dataclass(frozen=True)
class Atlas:
    """Drawings, numbered; each has one copy per level and condition.

    Attributes:
        texels: float32 (texels, 4), premultiplied colour and alpha.
        start: int64 (drawings, levels), first texel of the copy under condition 0.
        across, down: int64 (drawings, levels), texels without the border.
        frame: float32 (drawings, 3), width, height and lower edge of the frame in metres.
    """

    texels: Tensor
    start: Tensor
    across: Tensor
    down: Tensor
    frame: Tensor

    def to(self, device: torch.device | str) -> Atlas:
        """The same atlas on another device."""
        return Atlas(*(getattr(self, name).to(device) for name in ("texels", "start", "across", "down", "frame")))


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
        torch.tensor(start).view(shape),
        torch.tensor(across).view(shape),
        torch.tensor(down).view(shape),
        torch.tensor([[s.width, s.height, s.below] for s in sketches]),
    )


@dataclass(frozen=True)
class Boxes:
    """k things to draw: which picture, which drawing and where.

    Attributes:
        row: int64 (k,), the picture.
        drawing: int64 (k,).
        left, top, width, height: float32 (k,), the frame in pixels; negative width: mirrored.
    """

    row: Tensor
    drawing: Tensor
    left: Tensor
    top: Tensor
    width: Tensor
    height: Tensor


@dataclass(frozen=True)
class Pixels:
    """The N pixels that a layer touches.

    Attributes:
        place: int64 (N,), index into the pictures' pixels, n * size * size in all; no index twice if no two boxes of a
            picture overlap.
        thing: int64 (N,), which box.
        colour: float32 (N, 4), premultiplied colour and alpha.
    """

    place: Tensor
    thing: Tensor
    colour: Tensor


def pixels(atlas: Atlas, boxes: Boxes, condition: Tensor, size: int) -> Pixels:
    """Sample the drawings at the pixels inside their boxes.

    Args:
        atlas: the drawings.
        boxes: k things.
        condition: int64 (k,), the light under which each is seen.
        size: side of the pictures.
    """
    device = boxes.row.device
    mirrored = boxes.width < 0
    width = boxes.width.abs()
    across, down = atlas.across[boxes.drawing], atlas.down[boxes.drawing]
    # The smallest copy that is no smaller than the box in either direction.
    enough = (across >= width[:, None]) & (down >= boxes.height[:, None])
    level = (enough.sum(1) - 1).clamp(min=0)[:, None]
    w, h = across.gather(1, level)[:, 0], down.gather(1, level)[:, 0]
    stride = w + 2 * _BORDER
    start = atlas.start[boxes.drawing].gather(1, level)[:, 0] + condition * stride * (h + 2 * _BORDER)

    # Half a texel around the frame fades to nothing: take the pixels there too.
    spill_x, spill_y = 0.5 * width / w, 0.5 * boxes.height / h
    x0 = (boxes.left - spill_x).floor().clamp(0, size).long()
    x1 = (boxes.left + width + spill_x).ceil().clamp(0, size).long()
    y0 = (boxes.top - spill_y).floor().clamp(0, size).long()
    y1 = (boxes.top + boxes.height + spill_y).ceil().clamp(0, size).long()
    wide = (x1 - x0).clamp(min=0)
    tall = (y1 - y0).clamp(min=0) * (wide > 0)

    # Lines: one per box and row of pixels.
    lines = int(tall.sum())
    box = torch.repeat_interleave(torch.arange(len(tall), device=device), tall, output_size=lines)
    line = torch.arange(lines, device=device) - (tall.cumsum(0) - tall)[box]
    y = y0[box] + line
    v = (y + 0.5 - boxes.top[box]) * (h / boxes.height)[box] - 0.5 + _BORDER
    limit = (h + 2 * _BORDER)[box] - 1.001
    v = torch.minimum(v.clamp(min=0), limit)
    above = v.floor()
    texel_line = start[box] + above.long() * stride[box]
    step = w / width
    first = (x0 + 0.5 - boxes.left) * step - 0.5
    first = torch.where(mirrored, w - 1 - first, first) + _BORDER
    step = torch.where(mirrored, -step, step)
    numbers = torch.stack([first[box], step[box], stride[box] - 1.001, v - above], dim=1)

    # Pixels.
    wide = wide[box]
    total = int(wide.sum())
    of = torch.repeat_interleave(torch.arange(lines, device=device), wide, output_size=total)
    begin = wide.cumsum(0) - wide
    walk = torch.arange(total, device=device)
    wholes = torch.stack([boxes.row[box] * (size * size) + y * size + x0[box] - begin, texel_line, stride[box], box], 1)
    here = numbers.index_select(0, of)
    there = wholes.index_select(0, of)
    u = here[:, 0] + here[:, 1] * (walk - begin.index_select(0, of))
    u = torch.minimum(u.clamp(min=0), here[:, 2])
    left = u.floor()
    fx, fy = u - left, here[:, 3]
    corner = there[:, 1] + left.long()
    below = corner + there[:, 2]
    taps = torch.stack([corner, corner + 1, below, below + 1], dim=1)
    gx, gy = 1 - fx, 1 - fy
    weights = torch.stack([gx * gy, fx * gy, gx * fy, fx * fy], dim=1)
    colour = F.embedding_bag(taps, atlas.texels, per_sample_weights=weights, mode="sum")
    return Pixels(walk + there[:, 0], there[:, 3], colour)
