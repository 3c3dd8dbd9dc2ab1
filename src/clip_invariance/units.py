"""The unit of work: one training run or one evaluation, described but not yet run.

Chapters return lists of units; :mod:`clip_invariance.run.store` runs each at most once and keeps its table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class Unit:
    """A module-level function and the keyword arguments to call it with.

    Attributes:
        function: returns a tidy table, one row per measurement. Must be importable by name, so that another process
            can run it, and deterministic given ``params``.
        params: JSON-like values (str, int, float, bool, None and lists of these) and frozen dataclasses of them: an arm,
            a size. ``arm``, ``device`` and ``seed`` are ordinary entries. They become columns of the result, in front of
            the function's own.
        needs: units that must have run before, by argument name: ``function`` gets their tables as further keyword
            arguments. So an encoder is trained once and measured in several ways, by several chapters.
    """

    function: Callable[..., pd.DataFrame]
    params: Mapping[str, Any]
    needs: Mapping[str, Unit] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Module and function, without the package: ``chapters.c4_dashcam.training.train``."""
        return f"{self.function.__module__}.{self.function.__qualname__}".removeprefix("clip_invariance.")


def plain(value: Any) -> Any:
    """A parameter as keys and records hold it: a dataclass as its name and the fields that are not at their defaults.

    Fields with ``compare=False`` (what an arm is called, from which profile on it is run) decide nothing and are left out.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {type(value).__name__: {f.name: plain(getattr(value, f.name)) for f in _set(value)}}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value


def label(value: Any) -> Any:
    """A parameter as tables hold it: a dataclass as the text that would make it, all else as it is.

    >>> @dataclass(frozen=True)
    ... class Arm:
    ...     mention: float = 0.0
    ...     size: str = "small"
    >>> label(Arm(mention=0.1))
    'Arm(mention=0.1)'
    """
    if is_dataclass(value) and not isinstance(value, type):
        return (
            f"{type(value).__name__}({', '.join(f'{f.name}={label(getattr(value, f.name))!r}' for f in _set(value))})"
        )
    return value


def _set(value: Any) -> list[Field[Any]]:
    """The fields that tell a dataclass from the usual one."""
    return [f for f in fields(value) if f.compare and (f.default is MISSING or getattr(value, f.name) != f.default)]
