"""What every world with named factors shares: scenes as columns, drawn independently, changed one factor at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from clip_invariance.errors import UsageError

Factors = Mapping[str, tuple[str, ...]]
"""Categorical factor -> names of its values."""


@dataclass(frozen=True)
class Scenes:
    """What is in each of n pictures.

    Attributes:
        labels: factor -> int64 (n,), the value of each picture.
        nuisances: everything else that decides the pixels, each (n,): jitter and the seeds of noise.

    Raises:
        UsageError: naming a column of another length or type.
    """

    labels: Mapping[str, Tensor]
    nuisances: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        for name, column in (*self.labels.items(), *self.nuisances.items()):
            if column.shape != (len(self),):
                raise UsageError(f"{name} has shape {tuple(column.shape)}: expected one number for each of {len(self)}")
        for name, column in self.labels.items():
            if column.dtype != torch.int64:
                raise UsageError(f"factor {name} has type {column.dtype}: expected int64")

    def __len__(self) -> int:
        return len(next(iter(self.labels.values())))

    def __getitem__(self, which: slice | Tensor) -> Scenes:
        """The pictures chosen by a slice, a boolean mask or a tensor of indices."""
        return Scenes(
            {name: column[which] for name, column in self.labels.items()},
            {name: column[which] for name, column in self.nuisances.items()},
        )

    def to(self, device: torch.device | str) -> Scenes:
        """The same scenes on another device."""
        return Scenes(
            {name: column.to(device) for name, column in self.labels.items()},
            {name: column.to(device) for name, column in self.nuisances.items()},
        )


def draw_labels(
    factors: Factors, n: int, generator: torch.Generator, given: Mapping[str, int | Tensor] | None
) -> dict[str, Tensor]:
    """Draw all factors, independently and uniformly; those in ``given`` are set afterwards.

    ``given`` does not change what else is drawn from the generator: scenes of one seed agree in everything else.

    Args:
        factors: the world's factors.
        n: how many pictures, at least 0.
        generator: a CPU generator.
        given: factor -> one value for all pictures, or a tensor (n,).

    Raises:
        UsageError: naming an unknown factor, a wrong shape or a value out of range.
    """
    if n < 0:
        raise UsageError(f"n is {n}: expected a number of pictures")
    labels = {name: torch.randint(len(values), (n,), generator=generator) for name, values in factors.items()}
    for name, value in (given or {}).items():
        labels[name] = _column(factors, name, value, n)
    return labels


def change(factors: Factors, scenes: Scenes, factor: str, value: int | Tensor) -> Scenes:
    """Matched counterfactuals: the same scenes with one factor set to another value, all else identical.

    Raises:
        UsageError: naming an unknown factor, a wrong shape or a value out of range.
    """
    column = _column(factors, factor, value, len(scenes)).to(next(iter(scenes.labels.values())).device)
    return replace(scenes, labels={**scenes.labels, factor: column})


def check(factors: Factors, scenes: Scenes) -> None:
    """Raises UsageError if the scenes lack a factor or hold a value out of range."""
    for name in factors:
        if name not in scenes.labels:
            raise UsageError(f"factor {name} is missing")
        _column(factors, name, scenes.labels[name], len(scenes))


def _column(factors: Factors, name: str, value: int | Tensor, n: int) -> Tensor:
    """A factor's value as a column (n,), checked."""
    if name not in factors:
        raise UsageError(f"unknown factor {name!r}: choose from {', '.join(factors)}")
    column = value if isinstance(value, Tensor) else torch.full((n,), value)
    if column.shape != (n,) or column.dtype != torch.int64:
        raise UsageError(f"factor {name} is {tuple(column.shape)} {column.dtype}: expected ({n},) int64 or one number")
    outside = (column < 0) | (column >= len(factors[name]))
    if bool(outside.any()):
        raise UsageError(f"factor {name} is {int(column[outside][0])}: its values are 0 to {len(factors[name]) - 1}")
    return column
