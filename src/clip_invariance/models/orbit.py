"""The orbit model: a network averaged over everything a group does to its input.

The essay's footnote 1 defines it: transform the image by every element of a group, collect the feature vectors, average
them, and put the average through the last layer. Three things that the footnote runs together are kept apart here:

* a :class:`Group` is a finite set of image transforms, *closed* or not. Only a closed set has orbits;
* :class:`OrbitModel` averages over all of it (exactly invariant if the set is closed) or over K sampled elements
  (invariant only in expectation);
* :class:`FrameModel` averages over a *frame*, a small subset of the group that moves along with the image
  (Puny et al. 2022), which is exactly invariant at a fraction of the cost.

Shapes throughout: n images, c channels, h x w pixels, k group elements.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from clip_invariance.errors import UsageError

Transform = Callable[[Tensor, Tensor], Tensor]
Average = Literal["features", "logits", "probabilities"]
AVERAGES: tuple[Average, ...] = ("features", "logits", "probabilities")


@dataclass(frozen=True, eq=False)
class Group:
    """A finite set of image transforms that one hopes is a group.

    Attributes:
        name: for tables and figures.
        elements: (|G|, p), one row of parameters per element; what they mean is the transform's business.
        transform: maps images (m, c, h, w) and elements (m or 1, k, p) to transformed images (m, k, c, h', w').
        closed: doing one element after another is again an element, and the identity is one. True by construction.
        size: (h, w) in pixels of the images it acts on; ``None`` if any size will do.
    """

    name: str
    elements: Tensor
    transform: Transform
    closed: bool
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.elements.ndim != 2 or len(self.elements) == 0:
            raise UsageError("elements: a group needs at least one element, and one row of parameters for each")

    def __len__(self) -> int:
        return len(self.elements)

    @property
    def is_lattice(self) -> bool:
        """Whether every element only moves pixels (quarter turns, torus shifts), so that nothing is ever rounded."""
        return self.transform is _move_pixels

    def act(self, images: Tensor, indices: Tensor | None = None) -> Tensor:
        """Transform images by elements of the group.

        Args:
            images: (n, c, h, w).
            indices: element numbers in [0, |G|): (k,) the same for all images, or (n, k) each image its own.
                ``None``: all elements.

        Returns:
            (n, k, c, h', w'), of the same dtype; h' x w' differs from h x w only for crops.

        Raises:
            UsageError: naming ``images`` or ``indices``, if their shape does not suit the group.
        """
        if images.ndim != 4:
            raise UsageError(f"images: expected shape (n, c, h, w), got {tuple(images.shape)}")
        height, width = int(images.shape[-2]), int(images.shape[-1])
        if self.size is not None and (height, width) != self.size:
            raise UsageError(f"images: {self.name} acts on {self.size[0]}x{self.size[1]} pixels, got {height}x{width}")
        if height != width and self._needs_square():
            raise UsageError(f"images: {self.name} turns by 90 degrees and needs square images, got {height}x{width}")
        if indices is None:
            indices = torch.arange(len(self))
        if indices.ndim not in (1, 2) or (indices.ndim == 2 and len(indices) != len(images)):
            raise UsageError(f"indices: expected (k,) or ({len(images)}, k), got {tuple(indices.shape)}")
        elements = self.elements.to(images.device)[indices.to(images.device)]
        return self.transform(images, elements if indices.ndim == 2 else elements[None])

    def _needs_square(self) -> bool:
        return self.transform is _turn_by_interpolation or (self.is_lattice and bool((self.elements[:, 0] % 2).any()))


def torus_shifts(height: int, width: int, step: int = 1) -> Group:
    """All shifts by multiples of ``step`` pixels of an image whose opposite edges are glued together.

    Closed (the group Z_{h/step} x Z_{w/step}) and exact on pixels.

    Raises:
        UsageError: naming ``step``, if it does not divide both sides (the set would not be closed).
    """
    if step < 1 or height % step or width % step:
        raise UsageError(f"step: {step} must divide the image's sides {height} and {width}, or the shifts are no group")
    downs, rights = torch.meshgrid(torch.arange(0, height, step), torch.arange(0, width, step), indexing="ij")
    elements = torch.stack([torch.zeros_like(downs), downs, rights], dim=-1).reshape(-1, 3)
    return Group(f"torus shifts {height}x{width} step {step}", elements, _move_pixels, True, (height, width))


def rotations(n: int) -> Group:
    """Rotations by multiples of 360/n degrees, counter-clockwise as displayed.

    n = 1, 2, 4: exact permutations of pixels, a group. Any other n: the *angles* form a group, the pixel operators do
    not. Turning by 30 degrees twice blurs twice and cuts the corners twice, turning by 60 degrees once does each once,
    so ``closed`` is False and the name says "interpolated". One part stays exact: an element is a quarter turn (exact)
    followed by less than 90 degrees (bilinear, zeros outside), so when 4 divides n the set is invariant under C_4.

    Raises:
        UsageError: naming ``n``, if it is below 1.
    """
    if n < 1:
        raise UsageError(f"n: a rotation group needs at least one element, got {n}")
    if 4 % n == 0:
        turns = torch.arange(0, 4, 4 // n)
        elements = torch.stack([turns, torch.zeros_like(turns), torch.zeros_like(turns)], dim=-1)
        return Group(f"rotations C_{n}", elements, _move_pixels, True)
    degrees = (360.0 / n) * torch.arange(n, dtype=torch.float64)
    return Group(f"rotations C_{n} (interpolated)", degrees[:, None], _turn_by_interpolation, False)


def zero_filled_shifts(height: int, width: int, reach: int, step: int = 1) -> Group:
    """Shifts by up to ``reach`` pixels each way, zeros moving in: what "pad and crop" augmentation does. Not closed.

    Two shifts of ``reach`` leave the set, and what left the picture does not come back.

    Raises:
        UsageError: naming ``reach`` or ``step``.
    """
    if not 0 <= reach < min(height, width):
        raise UsageError(f"reach: must be at least 0 and smaller than the image ({height}x{width}), got {reach}")
    if step < 1 or reach % step:
        raise UsageError(f"step: {step} must divide reach {reach}")
    offsets = torch.arange(-reach, reach + 1, step)
    elements = torch.stack(torch.meshgrid(offsets, offsets, indexing="ij"), dim=-1).reshape(-1, 2)
    name = f"zero-filled shifts up to {reach} step {step}"
    return Group(name, elements, _shift_with_zeros, reach == 0, (height, width))


def crops(height: int, width: int, size: int, step: int = 1) -> Group:
    """All ``size`` x ``size`` windows of an image, ``step`` pixels apart. Not closed: a window is not an image.

    Raises:
        UsageError: naming ``size`` or ``step``.
    """
    if not 1 <= size <= min(height, width):
        raise UsageError(f"size: must be between 1 and the image's smaller side {min(height, width)}, got {size}")
    if step < 1:
        raise UsageError(f"step: must be at least 1, got {step}")
    tops, lefts = torch.arange(0, height - size + 1, step), torch.arange(0, width - size + 1, step)
    elements = torch.stack(torch.meshgrid(tops, lefts, indexing="ij"), dim=-1).reshape(-1, 2)

    return Group(f"crops {size}x{size} step {step}", elements, partial(_cut, size=size), False, (height, width))


def product(first: Group, second: Group) -> Group:
    """Every element of ``first`` followed by every element of ``second``, each transform once. Pixel moves only.

    The set of products of two groups need not be a group. It is one exactly if multiplying it by the elements of both
    factors leads nowhere else, which is checked here (C_4 with shifts of a square torus: yes, the group p4).

    Raises:
        UsageError: naming ``first`` or ``second``, if one is not made of pixel moves, or if no image size is known.
    """
    for name, factor in (("first", first), ("second", second)):
        if not factor.is_lattice:
            raise UsageError(f"{name}: products need exact pixel moves (torus shifts, C_2, C_4), not {factor.name}")
    size = first.size or second.size
    if size is None or (second.size or size) != size:
        raise UsageError("second: the factors of a product must act on images of one known size")
    if size[0] != size[1] and (first._needs_square() or second._needs_square()):
        raise UsageError(f"first: quarter turns need square images, and the other factor acts on {size[0]}x{size[1]}")
    elements = torch.unique(_compose(first.elements[:, None], second.elements[None], size).reshape(-1, 3), dim=0)
    codes = _codes(elements, size)
    generators = torch.cat([first.elements, second.elements])
    closed = all(bool(torch.isin(_codes(_compose(elements, g[None], size), size), codes).all()) for g in generators)
    return Group(f"{first.name} x {second.name}", elements, _move_pixels, closed, size)


class OrbitModel(nn.Module):
    """A network whose features, logits or probabilities are averaged over a group's orbit.

    Cut the network where the average shall stand: ``before`` computes what is averaged, ``after`` turns it into logits.
    The essay's model has the penultimate features before and the last linear layer after.

    **Exactness.** With a closed group and ``samples=None`` the model sees the same set of images for x and for g x, so
    it is invariant up to the order of summation. The sum runs in float64: below 1e-5 of the feature scale in float32,
    1e-12 in float64. With ``samples=K`` it is invariant only in expectation; its standard error falls as K^-1/2.

    **Memory.** At most ``chunk`` transformed images exist at a time. Peak memory beyond inputs and outputs is below
    ``chunk`` x (64 bytes of indices per pixel + one image + its activations in the net) + the averaged values in
    float64, whatever |G| is. Training recomputes each chunk in the backward pass to keep that bound: one forward pass
    more, and layers with running statistics (batch norm in train mode) count each chunk twice.

    Args:
        before: maps images (m, c, h, w) to what may be averaged, (m, ...).
        after: maps that to logits (m, classes).
        group: what to average over.
        average: ``"features"``: mean of ``before``, then ``after`` once. ``"logits"``: mean of ``after(before(.))``.
            ``"probabilities"``: log of the mean softmax (so that the result still serves as logits).
        samples: K, elements drawn anew for each image in each call; ``None``: all of them.
        replacement: whether one call may draw an element twice. Without, K = |G| is the exact average.
        chunk: largest number of transformed images in one forward pass.
        promise_exact: refuse a set that is not closed when all of it is averaged. Say False for a counterexample.
        seed: for the draws. In eval mode each call starts from it, so the same images give the same output.

    Raises:
        UsageError: naming ``group``, ``average``, ``samples`` or ``chunk``.
    """

    def __init__(
        self,
        before: Callable[[Tensor], Tensor],
        after: Callable[[Tensor], Tensor],
        group: Group,
        average: Average = "features",
        *,
        samples: int | None = None,
        replacement: bool = True,
        chunk: int = 256,
        promise_exact: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if average not in AVERAGES:
            raise UsageError(f"average: choose one of {', '.join(AVERAGES)}, not {average!r}")
        if chunk < 1:
            raise UsageError(f"chunk: must be at least 1, got {chunk}")
        if samples is not None and samples < 1:
            raise UsageError(f"samples: draw at least one element, got {samples}")
        if samples is not None and not replacement and samples > len(group):
            raise UsageError(f"samples: {samples} without replacement, but {group.name} has only {len(group)} elements")
        if samples is None and promise_exact and not group.closed:
            raise UsageError(f"group: {group.name} is not closed, so no average over it is invariant (promise_exact)")
        self.before = before
        self.after = after
        self.group = group
        self.average: Average = average
        self.samples = samples
        self.replacement = replacement
        self.chunk = chunk
        self.promise_exact = promise_exact
        self.seed = seed
        self._generator = torch.Generator().manual_seed(seed)

    def sampled(self, samples: int | None, replacement: bool = True, seed: int = 0) -> OrbitModel:
        """The same network (shared weights) with another number of sampled elements, in the same train or eval mode."""
        other = OrbitModel(
            self.before,
            self.after,
            self.group,
            self.average,
            samples=samples,
            replacement=replacement,
            chunk=self.chunk,
            promise_exact=self.promise_exact,
            seed=seed,
        )
        return other.train(self.training)

    def forward(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Logits (n, classes) of images (n, c, h, w); ``generator`` overrides the model's own for the draws."""
        indices = torch.arange(len(self.group)) if self.samples is None else self._draw(len(images), generator)
        averaged = [
            self._mean(block, indices if indices.ndim == 1 else indices[start : start + len(block)])
            for start, block in _blocks(images, self.chunk)
        ]
        mean = torch.cat(averaged)
        if self.average == "features":
            return self.after(mean)
        return mean.log() if self.average == "probabilities" else mean

    def _draw(self, count: int, generator: torch.Generator | None) -> Tensor:
        assert self.samples is not None
        if generator is None:
            generator = self._generator if self.training else torch.Generator().manual_seed(self.seed)
        if self.replacement:
            return torch.randint(len(self.group), (count, self.samples), generator=generator, device=generator.device)
        order = torch.rand(count, len(self.group), generator=generator, device=generator.device)
        return order.topk(self.samples, dim=1).indices

    def _averaged(self, images: Tensor) -> Tensor:
        """What the mean is taken of, for transformed images (m, c, h, w)."""
        features = self.before(images)
        if self.average == "features":
            return features
        logits = self.after(features)
        return logits.softmax(dim=-1) if self.average == "probabilities" else logits

    def _sum(self, images: Tensor, indices: Tensor) -> Tensor:
        return _apply(self._averaged, self.group, images, indices).double().sum(dim=1)

    def _mean(self, images: Tensor, indices: Tensor) -> Tensor:
        count = indices.shape[-1]
        parts = [indices[..., part] for part in _parts(count, max(1, self.chunk // len(images)))]
        recompute = torch.is_grad_enabled() and len(parts) > 1
        total: Tensor | None = None
        for part in parts:
            value = checkpoint(self._sum, images, part, use_reentrant=False) if recompute else self._sum(images, part)
            total = value if total is None else total + value
        assert total is not None
        dtype = images.dtype if images.is_floating_point() else torch.get_default_dtype()
        return (total / count).to(dtype)


class FrameModel(nn.Module):
    """Exact invariance from a few group elements: average over the frame of the image instead of the whole group.

    A frame F(x) is a non-empty subset of the group with F(h x) = F(x) h^-1; averaging over it is exactly invariant
    (Puny et al. 2022) whatever its size. :func:`frame` gives one that has a single element unless the image has
    symmetries, so the model costs about one forward pass. What it loses against the orbit average is continuity: where
    the best element changes, the output jumps. A blank image costs the whole group.

    Args:
        before, after, chunk: as for :class:`OrbitModel`.
        group: closed and made of pixel moves.

    Raises:
        UsageError: naming ``group`` or ``chunk``.
    """

    def __init__(
        self, before: Callable[[Tensor], Tensor], after: Callable[[Tensor], Tensor], group: Group, *, chunk: int = 256
    ) -> None:
        super().__init__()
        if not (group.closed and group.is_lattice):
            raise UsageError(f"group: a frame needs a closed group of exact pixel moves, not {group.name}")
        if chunk < 1:
            raise UsageError(f"chunk: must be at least 1, got {chunk}")
        self.before = before
        self.after = after
        self.group = group
        self.chunk = chunk

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, classes) of images (n, c, h, w)."""
        # One block of images at a time: the score map has a value for every image and every shift.
        return torch.cat([self._block(block) for _, block in _blocks(images, self.chunk)])

    def _block(self, images: Tensor) -> Tensor:
        members = frame(self.group, images)
        pairs = members.nonzero()
        total: Tensor | None = None
        for part in _parts(len(pairs), self.chunk):
            owners, elements = pairs[part.to(pairs.device)].unbind(dim=1)
            values = self.before(self.group.act(images[owners], elements[:, None])[:, 0]).double()
            if total is None:
                total = values.new_zeros(len(images), *values.shape[1:])
            total = total.index_add(0, owners, values)
        assert total is not None
        counts = members.sum(dim=1).reshape(-1, *[1] * (total.ndim - 1))
        dtype = images.dtype if images.is_floating_point() else torch.get_default_dtype()
        return self.after((total / counts).to(dtype))


@torch.no_grad()
def frame(group: Group, images: Tensor) -> Tensor:
    """Which elements bring each image into its canonical pose: (n, |G|) booleans, at least one true per row.

    An element is in the frame if it maximises a fixed score of the transformed image: local contrast weighted by a bump
    around the centre that leans to one side: the canonical pose has the detail in the middle, and the same side up.
    Ties (symmetric or blank images) all belong to the frame.

    The score is built from element-wise operations in a fixed order only, so two images that are shifts of one another
    get *bitwise* equal scores; a convolution or a matrix product would round them differently and break ties at random.
    """
    if not group.is_lattice:
        raise UsageError(f"group: a frame needs exact pixel moves, not {group.name}")
    group.act(images[:1], torch.zeros(1, dtype=torch.long))  # checks sizes
    elements = group.elements.to(images.device)
    scores = torch.empty(len(images), len(group), dtype=torch.float64, device=images.device)
    for turns in torch.unique(elements[:, 0]).tolist():
        chosen = elements[:, 0] == turns
        maps = _pose_score(torch.rot90(images.double(), turns, dims=(-2, -1)))
        scores[:, chosen] = maps[:, elements[chosen, 1], elements[chosen, 2]]
    best: Tensor = scores == scores.max(dim=1, keepdim=True).values
    return best


def _pose_score(images: Tensor) -> Tensor:
    """Score (n, h, w) of images (n, c, h, w) after a torus shift by (down, right) = the position in the map."""
    height, width = images.shape[-2:]
    contrast = torch.zeros_like(images[:, 0])
    for channel in images.unbind(dim=1):
        for axis in (-2, -1):
            difference = channel - channel.roll(1, dims=axis)
            contrast = contrast + difference * difference
    score = contrast
    for axis, length, lean in ((-2, height, 0.5), (-1, width, 0.2)):
        # value at shift d is sum_i weight_i contrast[i - d]
        mirrored = score.flip(axis).roll(1, dims=axis)
        score = torch.zeros_like(mirrored)
        for position, weight in enumerate(_bump(length, lean)):
            score = score + weight * mirrored.roll(position, dims=axis)
    return score


def _bump(length: int, lean: float) -> list[float]:
    """A smooth periodic bump around the middle, leaning to one side so that it has no mirror symmetry."""
    angle = 2 * torch.pi * (torch.arange(length, dtype=torch.float64) - length / 2) / length
    weights: list[float] = torch.exp(2 * angle.cos() + lean * (2 * angle).sin()).tolist()
    return weights


def _move_pixels(images: Tensor, elements: Tensor) -> Tensor:
    """Quarter turns counter-clockwise, then a torus shift down and right: elements (m or 1, k, 3)."""
    height, width = images.shape[-2:]
    turns = elements[..., 0, None, None]
    rows, columns = _shifted_grid(elements[..., 1], elements[..., 2], height, width)
    rows, columns = rows % height, columns % width
    # rot90 once: y[i, j] = x[j, w-1-i]; twice: x[h-1-i, w-1-j]; three times: x[h-1-j, i]
    source_rows = torch.where(turns == 0, rows, torch.where(turns == 1, columns, height - 1 - rows))
    source_rows = torch.where(turns == 3, height - 1 - columns, source_rows)
    source_columns = torch.where(turns == 0, columns, torch.where(turns == 3, rows, width - 1 - columns))
    source_columns = torch.where(turns == 1, width - 1 - rows, source_columns)
    return _gather(images, source_rows, source_columns)


def _shift_with_zeros(images: Tensor, elements: Tensor) -> Tensor:
    """Shift down and right by elements (m or 1, k, 2), zeros where nothing arrives."""
    height, width = images.shape[-2:]
    rows, columns = _shifted_grid(elements[..., 0], elements[..., 1], height, width)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    moved: Tensor = _gather(images, rows % height, columns % width) * inside[:, :, None].to(images.dtype)
    return moved


def _cut(images: Tensor, elements: Tensor, size: int) -> Tensor:
    """Windows of ``size`` x ``size`` pixels whose top left corners are elements (m or 1, k, 2)."""
    return _gather(images, *_shifted_grid(-elements[..., 0], -elements[..., 1], size, size))


def _turn_by_interpolation(images: Tensor, elements: Tensor) -> Tensor:
    """Turn by degrees (m or 1, k, 1): whole quarter turns exactly, the rest bilinearly with zeros outside."""
    if not images.is_floating_point():
        raise UsageError(f"images: interpolated rotations need floating-point images, got {images.dtype}")
    count, channels, height, width = images.shape
    degrees = elements[..., 0].expand(count, -1)
    quarters = torch.div(degrees + 1e-9, 90.0, rounding_mode="floor")
    turned = _move_pixels(images, F.pad(quarters.long()[..., None], (0, 2)))
    rest = torch.deg2rad(degrees - 90.0 * quarters).to(images.dtype).flatten()
    cosine, sine, zero = rest.cos(), rest.sin(), torch.zeros_like(rest)
    matrix = torch.stack([cosine, -sine, zero, sine, cosine, zero], dim=-1).reshape(-1, 2, 3)
    flat = turned.reshape(-1, channels, height, width)
    grid = F.affine_grid(matrix, list(flat.shape), align_corners=False)
    blurred = F.grid_sample(flat, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    exact = (rest.abs() < 1e-6)[:, None, None, None]
    return torch.where(exact, flat, blurred).reshape(turned.shape)


def _shifted_grid(down: Tensor, right: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Rows and columns (m, k, height, width) that pixels come from when the picture moves by (m, k) down and right."""
    shape = (*down.shape, height, width)
    rows = torch.arange(height, device=down.device)[:, None] - down[..., None, None]
    columns = torch.arange(width, device=down.device)[None, :] - right[..., None, None]
    return rows.expand(shape), columns.expand(shape)


def _gather(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Pixels of images (m, c, h, w) at rows and columns (m or 1, k, h', w') -> (m, k, c, h', w')."""
    count, channels, _, width = images.shape
    source = (rows * width + columns).flatten(2)  # (m or 1, k, h'w')
    shape = (count, source.shape[1], channels, source.shape[2])
    pixels = images.flatten(2)[:, None].expand(-1, source.shape[1], -1, -1)
    return pixels.gather(3, source[:, :, None].expand(shape)).reshape(*shape[:3], *rows.shape[2:])


def _compose(first: Tensor, second: Tensor, size: tuple[int, int]) -> Tensor:
    """Pixel move ``first`` followed by ``second``: turning a shifted picture turns the shift too."""
    down, right, turns = first[..., 1], first[..., 2], second[..., 0]
    turned_down = torch.where(turns == 0, down, torch.where(turns == 1, -right, torch.where(turns == 2, -down, right)))
    turned_right = torch.where(turns == 0, right, torch.where(turns == 1, down, torch.where(turns == 2, -right, -down)))
    new_turns = (first[..., 0] + turns) % 4
    return torch.stack(
        [new_turns, (turned_down + second[..., 1]) % size[0], (turned_right + second[..., 2]) % size[1]], -1
    )


def _codes(elements: Tensor, size: tuple[int, int]) -> Tensor:
    """One integer per pixel move."""
    return (elements[..., 0] * size[0] + elements[..., 1]) * size[1] + elements[..., 2]


def _parts(count: int, size: int) -> list[Tensor]:
    """The numbers 0 .. count-1 in runs of ``size``."""
    return [torch.arange(start, min(start + size, count)) for start in range(0, count, size)]


def _blocks(images: Tensor, size: int) -> list[tuple[int, Tensor]]:
    """The images in runs of ``size``, each with the number of its first image."""
    if len(images) == 0:
        raise UsageError("images: the batch is empty")
    return [(start, images[start : start + size]) for start in range(0, len(images), size)]


def _apply(function: Callable[[Tensor], Tensor], group: Group, images: Tensor, indices: Tensor) -> Tensor:
    """The function's values (m, k, ...) on images (m, c, h, w) moved by k elements."""
    moved = group.act(images, indices)
    values = function(moved.flatten(0, 1))
    return values.reshape(*moved.shape[:2], *values.shape[1:])
