"""What every world with named factors is: columns drawn independently, changed one at a time, and drawn as pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from clip_invariance.captions import Vocabulary
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


@dataclass(frozen=True)
class Nuisance:
    """A column that no caption speaks of: drawn uniformly from [low, high], may be set anywhere in [least, most].

    Attributes:
        whole: whole numbers only, ``high`` included.
        centred: the range lies around 0, and is drawn as a share of its half-width. (Up to rounding the same as any other.)
    """

    low: float
    high: float
    least: float
    most: float
    whole: bool = False
    centred: bool = False

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """n values: int64 if whole, else float32."""
        if self.whole:
            return torch.randint(int(self.high) + 1, (n,), generator=generator)
        share = torch.rand(n, generator=generator)
        return (2 * share - 1) * self.high if self.centred else self.low + (self.high - self.low) * share


def real(low: float, high: float, least: float | None = None, most: float | None = None) -> Nuisance:
    """A real number from [low, high]; may be set from ``least`` to ``most``, by default within the same range."""
    return Nuisance(low, high, low if least is None else least, high if most is None else most)


def jitter(width: float) -> Nuisance:
    """A real number up to ``width`` away from 0, on both sides."""
    return Nuisance(-width, width, -width, width, centred=True)


def choice(count: int) -> Nuisance:
    """A whole number from 0 to ``count - 1``: one of so many, or the seed of something."""
    return Nuisance(0, count - 1, 0, count - 1, whole=True)


@dataclass(frozen=True)
class World:
    """A world of pictures: what decides each of them, how English names it, and how it is drawn.

    Attributes:
        factors: what a caption may mention, independent and uniform.
        nuisances: everything else that decides the pixels, by name.
        words: how captions name the factors.
        draw: scenes -> uint8 (n, 3, size, size), with options of its own. A picture depends on its own columns only.
    """

    factors: Factors
    nuisances: Mapping[str, Nuisance]
    words: Vocabulary
    draw: Callable[..., Tensor]

    def sample(
        self, n: int, seed: int, *, given: Mapping[str, int | float | Tensor] | None = None, apart: bool = False
    ) -> Scenes:
        """Draw n scenes, every factor and nuisance independently and uniformly but for ``given``.

        What is given replaces what was drawn and touches nothing else: scenes of one seed agree in all that is not given.

        Args:
            n: how many, at least 0.
            seed: decides everything.
            given: factor or nuisance -> one value for all, or a tensor (n,).
            apart: every column draws from a generator of its own, made of the seed and the column's name, so that a
                factor more or less changes no other column. Otherwise the columns take turns at one generator.

        Raises:
            UsageError: naming an unknown factor, a wrong shape or a value out of range.
        """
        if n < 0:
            raise UsageError(f"n is {n}: expected a number of pictures")
        shared = torch.Generator().manual_seed(seed)

        def generator(name: str) -> torch.Generator:
            return torch.Generator().manual_seed(_seed_of(name, seed)) if apart else shared

        labels = {f: torch.randint(len(values), (n,), generator=generator(f)) for f, values in self.factors.items()}
        scenes = Scenes(labels, {name: spread.draw(n, generator(name)) for name, spread in self.nuisances.items()})
        for name, value in (given or {}).items():
            scenes = self.change(scenes, name, value)
        return scenes

    def change(self, scenes: Scenes, factor: str, value: int | float | Tensor) -> Scenes:
        """Matched counterfactuals: the same scenes with one factor (or nuisance) set to another value, all else identical.

        Args:
            scenes: n scenes; they stay as they are.
            factor: a factor or a nuisance.
            value: one for all scenes, or a tensor (n,).

        Raises:
            UsageError: naming an unknown factor, a wrong shape or a value out of range.
        """
        if factor not in self.factors and factor not in self.nuisances:
            raise UsageError(f"unknown factor {factor!r}: choose from {', '.join((*self.factors, *self.nuisances))}")
        columns = scenes.labels if factor in self.factors else scenes.nuisances
        column = self._column(factor, value, columns[factor])
        if factor in self.factors:
            return replace(scenes, labels={**columns, factor: column})
        return replace(scenes, nuisances={**columns, factor: column})

    def check(self, scenes: Scenes) -> None:
        """Raises UsageError if the scenes lack a factor or hold a value out of range."""
        for name in self.factors:
            if name not in scenes.labels:
                raise UsageError(f"factor {name} is missing")
            self._column(name, scenes.labels[name], scenes.labels[name])

    def _column(self, name: str, value: int | float | Tensor, old: Tensor) -> Tensor:
        """A value as a column like the one it replaces, checked."""
        values = self.factors.get(name, ())
        span = self.nuisances[name] if name not in self.factors else choice(len(values))
        new = torch.as_tensor(value, device=old.device)
        if new.ndim and new.shape != old.shape:
            raise UsageError(f"{name} has shape {tuple(new.shape)}: expected one number, or one for each of {len(old)}")
        if span.whole and (new.is_floating_point() or new.is_complex()):
            raise UsageError(f"{name} has type {new.dtype}: expected whole numbers")
        outside = ~((new >= span.least) & (new <= span.most))
        if bool(outside.any()):
            meaning = f" ({', '.join(values)})" if values else ""
            raise UsageError(f"{name}={new[outside][0].item()}: expected {span.least:g} to {span.most:g}{meaning}")
        return new.to(old.dtype).expand_as(old).clone()


def _seed_of(name: str, seed: int) -> int:
    """A seed for one column, the same in every run, on every machine."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "little") >> 1
