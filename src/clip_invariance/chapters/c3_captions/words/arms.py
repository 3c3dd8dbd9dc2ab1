"""The encoders that are trained and what is measured of them: every arm of :func:`words.training.train` with its name.

An arm without ``since`` starts at the profile "standard"; a quick run has those that decide C21 and C22.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from clip_invariance.chapters.c3_captions.words.measures import (
    SENTENCES,
    label_probes,
    medium_texts,
    noun_pairs,
    sentence_texts,
    token_prompts,
    transfer,
)
from clip_invariance.chapters.c3_captions.words.training import Arm, Size, train
from clip_invariance.profiles import Profile, Scale, run_in
from clip_invariance.units import Unit

TRAINED = Scale(Size(images=12_000, steps=300), smoke=Size(images=300, steps=2))
#: Test pictures of each kind; probes are fitted on as many others.
TESTED = Scale(2000, smoke=96, full=4000)

#: The medium: line drawings of other objects in training or not, captions that name it or not, objects named or not.
NAMED_DRAWN = Arm("medium", drawings=True, since="quick")
SILENT_DRAWN = Arm("silent", drawings=True, since="quick")
UNNAMED_PLAIN = Arm(since="quick")
UNNAMED_DRAWN = Arm(drawings=True)
NAMED_PLAIN = Arm("medium")
#: Other ways to curate, and other ways to train.
UNRELATED = Arm("unrelated")
TRANSFORMER = Arm(tower="vit")
AUGMENTED = Arm(augmented=True)
#: Two names for one thing, for a text tower trained from nothing and for one that knows meanings.
NOUNS_TRAINED, NOUNS_FROZEN = Arm("nouns"), Arm("nouns", frozen_text=True)
#: The token of a source, and the same token planted at random.
MARKED_SOURCE, MARKED_RANDOM = Arm(marking="source"), Arm(marking="random")
#: Coarse words, labels and tags, and no training at all.
GROUP_CAPTIONS = Arm("group")
OBJECT_LABELS, GROUP_LABELS, TAGS = Arm(labels="object"), Arm(labels="group"), Arm(labels="tags")
UNTRAINED = Arm(trained=False)


@dataclass(frozen=True)
class Reading:
    """What is measured of which arms, from which profile on."""

    measure: Callable[..., pd.DataFrame]
    arms: tuple[Arm, ...]
    since: str = "quick"


COLLECTIONS = (
    NAMED_DRAWN, SILENT_DRAWN, UNNAMED_PLAIN, UNNAMED_DRAWN, NAMED_PLAIN, UNRELATED, TRANSFORMER, AUGMENTED,
)  # fmt: skip
READINGS = (
    Reading(transfer, COLLECTIONS),
    Reading(medium_texts, (NAMED_DRAWN,)),
    Reading(noun_pairs, (NOUNS_TRAINED, NOUNS_FROZEN)),
    Reading(token_prompts, (MARKED_SOURCE, MARKED_RANDOM)),
    Reading(
        label_probes, (UNNAMED_PLAIN, GROUP_CAPTIONS, OBJECT_LABELS, GROUP_LABELS, TAGS, UNTRAINED), since="standard"
    ),
)
#: Arms that a smoke run leaves out: it has others like them.
SIMILAR = (NAMED_PLAIN, UNRELATED, AUGMENTED)


def training(arm: Arm, profile: Profile, seed: int, device: str) -> Unit:
    """The training of one arm."""
    return Unit(train, {"arm": arm, "scale": TRAINED.at(profile), "seed": seed, "device": device})


def units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Everything that is measured on the arms of a profile."""
    return [
        Unit(sentence_texts, {"arm": SENTENCES, "seed": 0}),
        *(
            Unit(
                reading.measure,
                {"arm": arm, "tests": TESTED.at(profile), "seed": seed, "device": device},
                {"encoder": training(arm, profile, seed, device)},
            )
            for seed in range(seeds)
            for reading in run_in(READINGS, profile, smoke="standard")
            for arm in run_in(reading.arms, profile, smoke="standard")
            if profile.name != "smoke" or arm not in SIMILAR
        ),
    ]
