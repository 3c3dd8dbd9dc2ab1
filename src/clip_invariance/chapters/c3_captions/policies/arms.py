"""The encoders that are trained and what is measured of them: every arm of :func:`policies.training.train` with its name.

An arm without ``since`` starts at the profile "standard".
"""

from __future__ import annotations

import itertools

from clip_invariance.chapters.c3_captions.policies.measures import PIXELS, Pictures, follow, measure, pixels
from clip_invariance.chapters.c3_captions.policies.training import WORLDS, Arm, Size, train
from clip_invariance.profiles import Profile, Scale, run_in
from clip_invariance.units import Unit

#: Steps are chosen by what captions *name*: after 300 of them, captions of everything taught little of the object and
#: nothing of the place. Shapes and textures take three times as many.
TRAINED = Scale(Size(images=12_000, steps=500), smoke=Size(images=300, steps=3, batch=32))
MEASURED = Scale(Pictures(fitted=3000, tested=2000, pairs=300), smoke=Pictures(fitted=240, tested=200, pairs=30))

#: The encoder that the chapter is about, and its opposite: captions name the object alone, or everything.
OBJECT = Arm(kept="course", since="quick")
EVERYTHING = Arm(others=1.0, since="quick")
#: What captions name beside the object, or in its place.
BACKGROUND = Arm(("background",))
OBJECT_BACKGROUND = Arm(("object", "background"))
OBJECT_MEDIUM, OBJECT_PLACE = (Arm(("object", factor), since="full") for factor in ("medium", "place"))
#: Captions that name the object always, and each other factor at this rate.
RATES = {
    0.0: OBJECT,
    0.01: Arm(others=0.01, since="full"),
    0.03: Arm(others=0.03),
    0.1: Arm(others=0.1, since="quick"),
    0.3: Arm(others=0.3),
    1.0: EVERYTHING,
}

#: Controls of captions that name the object, one thing changed in each.
FILLER, MASKED = Arm(filler=True), Arm(masked=True)
FIXED_TEMPERATURE = Arm(temperature=0.07, since="full")
LONGER, EVERYTHING_LONGER = Arm(longer=3, kept="course"), Arm(others=1.0, longer=3)
FILLER_LONGER, MASKED_LONGER = Arm(filler=True, longer=3), Arm(masked=True, longer=3)
FEWER, WIDER, NARROWER = Arm(fewer=8), Arm(embed_dim=256), Arm(embed_dim=16, since="full")

#: Labels in the place of captions: of all factors, or of the object alone.
LABELS = Arm(others=1.0, labels=True)
LABELS_OF_OBJECT, LABELS_OF_OBJECT_LONGER = Arm(labels=True), Arm(labels=True, longer=3)

#: The factorial: (captions mention the background, transformer, augmented) -> the arm.
FACTORIAL = {
    (policy, tower, augmented): Arm(
        ("object", "background") if policy else ("object",), tower="vit" if tower else "conv", augmented=augmented
    )
    for policy, tower, augmented in itertools.product((False, True), repeat=3)
} | {(False, False, False): OBJECT}

#: Shapes with colours and textures, as Dufumier et al. (2025) use them.
SHAPE, COLOUR, TEXTURE = (
    Arm((factor,), world="trifeature", longer=3, kept="ends") for factor in ("shape", "colour", "texture")
)
SHAPE_LONGER = Arm(("shape",), world="trifeature", longer=9)

ARMS = tuple(
    dict.fromkeys(
        (
            *RATES.values(), BACKGROUND, OBJECT_BACKGROUND, OBJECT_MEDIUM, OBJECT_PLACE,
            FILLER, MASKED, FIXED_TEMPERATURE, LONGER, EVERYTHING_LONGER, FILLER_LONGER, MASKED_LONGER,
            LABELS, LABELS_OF_OBJECT, LABELS_OF_OBJECT_LONGER, FEWER, WIDER, NARROWER,
            *FACTORIAL.values(), SHAPE, COLOUR, TEXTURE, SHAPE_LONGER,
        )
    )
)  # fmt: skip
#: Arms that a smoke run leaves out: it has others like them.
SIMILAR = (RATES[0.03], RATES[0.3], COLOUR, TEXTURE, SHAPE_LONGER)
#: Arms that are measured along the way, and controls of theirs, at the end.
FOLLOWED = (OBJECT, LONGER, LABELS_OF_OBJECT, LABELS_OF_OBJECT_LONGER)


def arms(profile: Profile) -> list[Arm]:
    """What a profile trains."""
    chosen = run_in(ARMS, profile, smoke="standard")
    return [arm for arm in chosen if arm not in SIMILAR] if profile.name == "smoke" else chosen


def training(arm: Arm, profile: Profile, seed: int, device: str) -> Unit:
    """The training of one arm."""
    return Unit(train, {"arm": arm, "scale": TRAINED.at(profile), "seed": seed, "device": device})


def units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Measurements of every encoder at the end of its training, and of untrained ones."""
    return [
        Unit(measure, _measured(arm, profile, seed, device), {"encoder": training(arm, profile, seed, device)})
        for arm in arms(profile)
        for seed in range(seeds)
    ]


def course_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Measurements along the way of the trainings that are followed."""
    return [
        Unit(follow, _measured(arm, profile, seed, device), {"encoder": training(arm, profile, seed, device)})
        for arm in arms(profile)
        if arm in FOLLOWED
        for seed in range(seeds)
    ]


def pixel_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Probes of the raw pixels of both worlds."""
    return [
        Unit(pixels, {"world": world} | _measured(PIXELS, profile, seed, device))
        for world in WORLDS
        for seed in range(seeds)
    ]


def _measured(arm: Arm | str, profile: Profile, seed: int, device: str) -> dict[str, object]:
    return {"arm": arm, "scale": MEASURED.at(profile), "seed": seed, "device": device}
