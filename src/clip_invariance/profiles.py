"""How large a run is. A profile changes scale (seeds, arms, images), never what is measured."""

from __future__ import annotations

from dataclasses import dataclass

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
