"""Every unit of the chapter, both experiments."""

from __future__ import annotations

from clip_invariance.chapters.c3_captions.policies import arms as policies
from clip_invariance.chapters.c3_captions.words import arms as words
from clip_invariance.profiles import Profile
from clip_invariance.units import Unit


def all_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Measurements of both experiments, in the order of the chapter."""
    each = (policies.units, policies.course_units, policies.pixel_units, words.units)
    return [unit for make in each for unit in make(profile, seeds, device)]
