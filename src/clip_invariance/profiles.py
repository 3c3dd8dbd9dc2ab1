"""How large a run is. A profile changes scale (seeds, arms, images), never what is measured."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from clip_invariance.errors import UsageError


@dataclass(frozen=True)
class Profile:
    """One size of the whole report.

    Attributes:
        name: what ``--profile`` takes.
        seeds: how many independent repetitions each arm gets unless ``--seeds`` says otherwise.
        rank: larger ranks replace smaller ones when results are published.
        purpose: one line for ``--help`` and the status page.
    """

    name: str
    seeds: int
    rank: int
    purpose: str


PROFILES: dict[str, Profile] = {
    p.name: p
    for p in (
        Profile("smoke", 2, 0, "every line of every notebook runs; verdicts are not meaningful"),
        Profile("quick", 3, 1, "a reader's re-run: the same conclusions, fewer arms, wider intervals"),
        Profile("standard", 5, 2, "what is published until a full run exists"),
        Profile("full", 10, 3, "what is published; meant for a GPU"),
    )
}


def get_profile(name: str) -> Profile:
    """Look a profile up by name.

    Raises:
        UsageError: if there is no such profile.
    """
    try:
        return PROFILES[name]
    except KeyError:
        raise UsageError(f"unknown profile {name!r}: choose one of {', '.join(PROFILES)}") from None


T = TypeVar("T")


@dataclass(frozen=True)
class Scale(Generic[T]):
    """A size that is the same in every profile but ``smoke``, unless it says otherwise.

    Attributes:
        usual: what is measured.
        smoke: just enough for every line to run.
        quick, full: where these differ from the usual.
    """

    usual: T
    smoke: T
    quick: T | None = None
    full: T | None = None

    def at(self, profile: Profile) -> T:
        """The size in a profile."""
        own = {"smoke": self.smoke, "quick": self.quick, "full": self.full}.get(profile.name)
        return self.usual if own is None else own


class Staged(Protocol):
    """What is run from a profile on: ``since`` is "quick", "standard" or "full"."""

    @property
    def since(self) -> str: ...


S = TypeVar("S", bound=Staged)


def run_in(arms: Iterable[S], profile: Profile, smoke: str = "quick") -> list[S]:
    """The arms that a profile runs, in the given order; ``smoke`` runs those of the profile of that name.

    >>> @dataclass(frozen=True)
    ... class Arm:
    ...     since: str
    >>> [arm.since for arm in run_in([Arm("quick"), Arm("full")], PROFILES["standard"])]
    ['quick']
    """
    rank = PROFILES[smoke].rank if profile.name == "smoke" else profile.rank
    return [arm for arm in arms if PROFILES[arm.since].rank <= rank]
