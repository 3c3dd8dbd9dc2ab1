"""The methods page says how long things are trained: what it says is compared with the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clip_invariance.chapters.c1_places import informative, red_green
from clip_invariance.chapters.c1_places.arms import PATIENT, Arm, budget
from clip_invariance.chapters.c2_orbits import arms as orbit_arms
from clip_invariance.chapters.c3_captions.policies import arms as policies
from clip_invariance.chapters.c3_captions.policies import training as policy_training
from clip_invariance.chapters.c3_captions.words import arms as words
from clip_invariance.chapters.c3_captions.words import collection as word_collection
from clip_invariance.chapters.c3_captions.words import training as word_training
from clip_invariance.chapters.c4_dashcam import arms as dashcam_arms
from clip_invariance.chapters.c4_dashcam import training as dashcam_training
from clip_invariance.chapters.c5_recovery import arms as recovery_arms
from clip_invariance.chapters.c6_limits import arms as limits_arms
from clip_invariance.profiles import PROFILES
from clip_invariance.training import encoders
from clip_invariance.worlds import cards, collages, placed
from clip_invariance.worlds.digits import NATIVE_SIZE
from clip_invariance.worlds.red_green import SIZE as SQUARES_SIZE

PAGE = (Path(__file__).parents[1] / "book" / "methods.md").read_text(encoding="utf-8")


def of_networks(arm: Arm) -> tuple[object, ...]:
    full = budget(arm)
    return "1", full.images, placed.SIZE, full.steps, full.batch, full.rate


def rows(profile: str) -> dict[str, tuple[object, ...]]:
    """First column of the table -> the others."""
    car = dashcam_training
    collage, card = (sizes.at(PROFILES[profile]) for sizes in (limits_arms.COLLAGES, limits_arms.CARDS))
    caption, word = policies.TRAINED.at(PROFILES[profile]), words.TRAINED.at(PROFILES[profile])
    rate = encoders.RATES["conv"]
    digits, homes = orbit_arms.TRAINED[-1], informative.SIZES.at(PROFILES[profile])
    schedule = dashcam_arms.SCHEDULE.at(PROFILES[profile])
    shapes = {
        name: (
            "3", caption.images, policy_training.SIZE, caption.steps * arm.longer, caption.batch, rate,
        )
        for name, arm in (
            ("CLIPs, Trifeature", policies.SHAPE),
            ("CLIPs, Trifeature, three times as long", policies.SHAPE_LONGER),
        )
    }  # fmt: skip
    return {
        "CNNs": of_networks(Arm("zero_pool", "everywhere")),
        "MLP": of_networks(Arm("mlp", "everywhere")),
        "ViT": of_networks(Arm("vit", "everywhere")),
        "ViT, ten times as long": of_networks(PATIENT[0]),
        "torus CNNs of claim C05, noisy pictures": (
            "1", homes.images, placed.SIZE, homes.steps, informative.BATCH, informative.RATE,
        ),
        "orbit models": (
            "2", digits.images, NATIVE_SIZE, orbit_arms.STEPS.at(PROFILES[profile]), digits.batch, digits.rate,
        ),
        "CLIPs, caption policies": (
            "3", caption.images, policy_training.SIZE, caption.steps, caption.batch, rate,
        ),
        **shapes,
        "CLIPs, words of captions": ("3", word.images, word_collection.SIZE, word.steps, word_training.BATCH, rate),
        "CLIPs of the dashcam": (
            "4, 5", schedule.images, car.SIZE, schedule.steps, car.BATCH, car.RATE,
        ),
        "CLIPs of collages": (
            "6", collage.images, collages.SIZE, collage.steps, collage.batch, collage.rate,
        ),
        "CLIPs of cards": ("6", card.images, cards.SIZE, card.steps, card.batch, card.rate),
    }  # fmt: skip


@pytest.mark.parametrize("profile", ["quick", "standard", "full"])
def test_the_table_of_trainings_says_what_the_code_does(profile: str) -> None:
    for name, cells in rows(profile).items():
        written = " | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in cells)
        assert f"| {name} | {written} |" in PAGE
    assert len(re.findall(r"^\| .* \| \d+ \| 0\.\d+ \|$", PAGE, re.MULTILINE)) == len(rows(profile)), "a row too many"


def test_the_table_and_the_text_below_it_say_how_the_squares_are_trained() -> None:
    usual, quick = (red_green.SIZES.at(PROFILES[name]) for name in ("standard", "quick"))
    steps = usual.epochs * usual.images // usual.batch
    assert f"as published | 1 | {usual.images:,} | {SQUARES_SIZE} | {steps} at most | {usual.batch} |" in PAGE
    assert f"trains them for {quick.epochs * quick.images // quick.batch} steps of {quick.batch} pictures" in PAGE


def test_tuning_takes_as_many_steps_as_the_page_says() -> None:
    steps = [steps for steps, _ in recovery_arms.LENGTHS.values()]
    assert f"between {min(steps)} and {max(steps)} steps" in PAGE
