"""The unit of work: one training run or one evaluation, described but not yet run.

Experiments return lists of units; :mod:`clip_invariance.run.store` runs each at most once and keeps its table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class Unit:
    """A module-level function and the keyword arguments to call it with.

    Attributes:
        function: returns a tidy table, one row per measurement. Must be importable by name, so that another process
            can run it, and deterministic given ``params``.
        params: JSON-like values only (str, int, float, bool, None and lists of these). ``device`` and ``seed`` are
            ordinary entries. They become columns of the result, in front of the function's own.
        needs: units that must have run before, by argument name: ``function`` gets their tables as further keyword
            arguments. So an encoder is trained once and measured in several ways, by several chapters.
    """

    function: Callable[..., pd.DataFrame]
    params: Mapping[str, Any]
    needs: Mapping[str, Unit] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Module and function, without the package: ``chapters.c1_places.place_support.accuracy_by_place``."""
        return f"{self.function.__module__}.{self.function.__qualname__}".removeprefix("clip_invariance.")
