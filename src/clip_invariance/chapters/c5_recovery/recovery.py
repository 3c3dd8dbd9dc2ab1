"""Chapter 5: what it measures, and from the tables to what its figures show and its claims are decided by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from clip_invariance.chapters.c4_dashcam.arms import (
    CONTROLS,
    LABELS,
    SCHEDULE,
    SILENT,
    TALKATIVE,
    UNTRAINED,
    VIEWS,
    arms_of,
    train_unit,
)
from clip_invariance.chapters.c4_dashcam.measures import ASKED
from clip_invariance.chapters.c4_dashcam.training import Arm
from clip_invariance.chapters.c5_recovery import training as recovery_training
from clip_invariance.chapters.c5_recovery.pictures import CAPTIONED, CLOSE, DARK, FOG, LOST, OTHERS, TESTS, USUAL
from clip_invariance.chapters.c5_recovery.tuning import (
    ALL,
    BOLD,
    GENTLE,
    RATES,
    map_words,
    pixels_by_labels,
    probe_by_labels,
    pull_together,
    read,
    recaption,
    tune,
)
from clip_invariance.errors import UsageError
from clip_invariance.measure.statistics import Estimate, NamedValue, mean_over_seeds, paired_difference, percent_of
from clip_invariance.profiles import Profile
from clip_invariance.training.tuning import Method
from clip_invariance.units import Unit

#: Pictures that labels can be bought for, and pictures of each test.
POOL = {"smoke": 64, "quick": 2000, "standard": 2000, "full": 2000}
TEST = {"smoke": 40, "quick": 1500, "standard": 1500, "full": 1500}
#: Labelled pictures in all: budgets of the curves, and the two that rules speak of.
_CURVE = [8, 32, 128, 512, 2000]
BUDGETS = {"smoke": [8, 32], "quick": [32, 512], "standard": _CURVE, "full": _CURVE}
FEW = {"smoke": 8, "quick": 32, "standard": 32, "full": 32}
MANY = {"smoke": 32, "quick": 512, "standard": 512, "full": 512}
#: Labelled pictures -> gradient steps and batch of one tuning. Few pictures are learned by heart in few steps.
TUNING = {8: (30, 32), 32: (50, 32), 128: (80, 32), 512: (120, 32), 2000: (160, 64)}
#: Steps of going on with captions, and of pulling pairs together; pairs in a step; weight of the pull.
CAPTION_STEPS, PAIR_STEPS, PAIRS = 50, 50, 64
PULL = 10.0
#: Where between the original weights and the tuned ones models are tested.
LINE = [0.0, 0.25, 0.5, 0.75, 1.0]
#: An encoder this close to the best on a task, in points, is tied with it.
TIE = 2.0
#: Points above chance from which on an accuracy is worth having.
CLEAR = 10.0

CHANCE = {factor: 100 / len(values) for factor, values in ASKED.items()}

# Encoders by what they learned from.
SILENT_, TALKATIVE_, UNTRAINED_, LABELS_ = "captions name the car", "captions name all three", "untrained", "labels"
VIEWS_, LONGER_, BESIDE_ = "two views", "three times as long", "two views beside captions"
FIFTH_, EVERYTHING_ = "a fifth rewritten", "all captions rewritten"
REWRITTEN = {FIFTH_: 0.2, EVERYTHING_: 1.0}
#: The fair rival of all specialists, made after C34's rule: as many labels as the ceiling had, for every task.
GENERALIST_ = "labels for everything"
ARMS: dict[str, Arm] = {
    SILENT_: SILENT,
    TALKATIVE_: TALKATIVE,
    UNTRAINED_: UNTRAINED["small"],
    LABELS_: LABELS["small"],
    VIEWS_: VIEWS,
    LONGER_: CONTROLS["three times as long"],
}
WORDLESS = (UNTRAINED_, LABELS_, VIEWS_, GENERALIST_)
#: No encoder at all.
PIXELS_ = "raw pixels"
#: Trained for this chapter, in standard and full runs.
OWN = (BESIDE_, FIFTH_, EVERYTHING_, GENERALIST_)

# Names of the figures, for the values that they show.
CURVES, DEPTHS, LINES, MOVED = "labels_needed", "depths", "price", "invariances"
MAPPED, KEPT, PARETO, COSTS = "word_map", "kept_from_the_start", "one_or_many", "cost_of_tuning"
ADVICE = {"light": "what_to_do_light", "pedestrian": "what_to_do_crossing"}


class Tuning(NamedTuple):
    """One tuning: which encoder, how, for which task, with how many labelled pictures."""

    origin: str
    method: Method
    task: str
    labels: int


# ---------------------------------------------------------------- units


def encoder_unit(name: str, profile: Profile, seed: int, device: str) -> Unit:
    """The training of an encoder by its name; chapter 4's own where that trains it.

    Raises:
        UsageError: for an unknown name.
    """
    if name in ARMS:
        return train_unit(ARMS[name], profile, seed, device)
    schedule = SCHEDULE.at(profile)
    more: dict[str, Any] = {"light_size": SILENT.light_size, "steps": schedule.steps, "images": schedule.images}
    more |= {"seed": seed, "device": device}
    if name == BESIDE_:
        return Unit(recovery_training.train_with_views, more)
    if name in REWRITTEN:
        return Unit(recovery_training.train_rewritten, {"share": REWRITTEN[name], **more})
    if name == GENERALIST_:
        return Unit(recovery_training.train_on_labels, {"tasks": list(ASKED), **more})
    raise UsageError(f"unknown encoder {name!r}: choose one of {', '.join((*ARMS, *OWN))}")


def encoders_of(profile: Profile) -> list[str]:
    """The encoders that a profile reads: those of :data:`ARMS` that chapter 4 trains in it, and this chapter's own."""
    known = [name for name, arm in ARMS.items() if arm in arms_of(profile)]
    return known if profile.name in ("smoke", "quick") else [*known, *OWN]


def _needs(name: str, profile: Profile, seed: int, device: str) -> dict[str, Unit]:
    return {"encoder": encoder_unit(name, profile, seed, device)}


def _shared(profile: Profile, seed: int, device: str) -> dict[str, Any]:
    return {"pictures": POOL[profile.name], "test": TEST[profile.name], "seed": seed, "device": device}


def _steps(profile: Profile, usual: int) -> int:
    return 2 if profile.name == "smoke" else usual


def _tests_of(shifted: bool) -> list[str]:
    """Pictures as usual, and under shift for what a figure shows there."""
    return list(TESTS) if shifted else [USUAL]


def all_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Every unit below."""
    makers = (read_units, probe_units, tune_units, caption_units, pair_units, map_units)
    return [unit for make in makers for unit in make(profile, seeds, device)]


def read_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Everything that probes and words read from frozen encoders."""
    return [
        Unit(
            read,
            {
                "origin": name,
                "words": name not in WORDLESS,
                "tests": _tests_of(name == SILENT_),
                **_shared(profile, seed, device),
            },
            _needs(name, profile, seed, device),
        )
        for seed in range(seeds)
        for name in encoders_of(profile)
    ]


def probe_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Probes by number of labels: of the silent encoder, and of the network untrained, at every depth; of raw pixels."""
    budgets = {"budgets": BUDGETS[profile.name]}
    of_pixels = [
        Unit(pixels_by_labels, {"origin": PIXELS_, **budgets, **_shared(profile, seed, device)})
        for seed in range(seeds)
    ]
    return of_pixels + [
        Unit(
            probe_by_labels,
            {
                "origin": name,
                **budgets,
                "every_depth": name in (SILENT_, UNTRAINED_),
                "tests": _tests_of(name in (SILENT_, UNTRAINED_)),
                **_shared(profile, seed, device),
            },
            _needs(name, profile, seed, device),
        )
        for seed in range(seeds)
        for name in (SILENT_, TALKATIVE_, UNTRAINED_)
    ]


def tunings(profile: Profile) -> list[Tuning]:
    """What a profile tunes."""
    few, many, budgets = FEW[profile.name], MANY[profile.name], BUDGETS[profile.name]
    frozen: tuple[Method, ...] = ("projection", "lora", "full")
    if profile.name in ("smoke", "quick"):
        return [
            Tuning(SILENT_, "projection", "light", many),
            *(Tuning(SILENT_, method, "light", n) for method in frozen[1:] for n in (few, many)),
            Tuning(SILENT_, "lora", "pedestrian", many),
            Tuning(UNTRAINED_, "scratch", "light", many),
            *(Tuning(SILENT_, "full", task, many) for task in ("time", ALL)),
        ]
    return [
        *(Tuning(SILENT_, method, task, n) for task in LOST for method in frozen for n in budgets),
        *(Tuning(UNTRAINED_, "scratch", task, n) for task in LOST for n in budgets),
        *(Tuning(UNTRAINED_, "lora", "light", n) for n in budgets if n >= many),
        *(Tuning(TALKATIVE_, "lora", "light", n) for n in (few, many)),
        *(Tuning(SILENT_, "full", task, many) for task in (*CAPTIONED, *OTHERS, ALL)),
    ]


def tune_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """All tunings with labels; those that the price is measured on are tested on the whole line of weights."""
    found = []
    for seed in range(seeds):
        for tuning in tunings(profile):
            steps, batch = TUNING[tuning.labels]
            many = tuning.labels == MANY[profile.name]
            on_line = many and tuning in [
                Tuning(SILENT_, method, "light", tuning.labels) for method in ("lora", "full")
            ]
            params = tuning._asdict() | {
                "steps": _steps(profile, steps),
                "batch": batch,
                "shares": LINE if on_line else [1.0],
                "probed": tuning.method == "full" and many,
                "words": tuning.origin not in WORDLESS,
                "tests": _tests_of(on_line),
                **_shared(profile, seed, device),
            }
            found.append(Unit(tune, params, _needs(tuning.origin, profile, seed, device)))
    return found


def caption_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Going on with rewritten captions; in all but quick runs also with captions as they were, and for longer.

    Longer is as many steps as the encoder had in all. These were added after the rule of C33.
    """
    few, many, budgets = FEW[profile.name], MANY[profile.name], BUDGETS[profile.name]
    usual, long = _steps(profile, CAPTION_STEPS), SCHEDULE.at(profile).steps
    runs = [(1.0, n, usual) for n in budgets if n > few]
    if profile.name != "quick":
        runs += [(0.0, many, usual), *((1.0, n, long) for n in budgets if n >= many)]
    return [
        Unit(
            recaption,
            {
                "mention": mention,
                "labels": n,
                "steps": steps,
                "tests": _tests_of((mention, n, steps) == (1.0, many, usual)),
                **_shared(profile, seed, device),
            },
            _needs(SILENT_, profile, seed, device),
        )
        for seed in range(seeds)
        for mention, n, steps in runs
    ]


def pair_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Pulling pairs together that differ in the time of day, and (not in quick runs) the control without the pull."""
    return [
        Unit(
            pull_together,
            {
                "pull": pull,
                "labels": MANY[profile.name],
                "steps": _steps(profile, PAIR_STEPS),
                "batch": PAIRS,
                **_shared(profile, seed, device),
            },
            _needs(SILENT_, profile, seed, device),
        )
        for seed in range(seeds)
        for pull in ((PULL,) if profile.name == "quick" else (0.0, PULL))
    ]


def map_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """One linear map between pictures and words."""
    return [
        Unit(
            map_words,
            {"budgets": BUDGETS[profile.name][-2:], **_shared(profile, seed, device)},
            _needs(SILENT_, profile, seed, device),
        )
        for seed in range(seeds)
    ]


# ---------------------------------------------------------------- reading the tables


class Measured(NamedTuple):
    """The tables of :func:`read_units`, :func:`probe_units`, :func:`tune_units` and so on."""

    reads: pd.DataFrame
    probes: pd.DataFrame
    tuned: pd.DataFrame
    captions: pd.DataFrame
    pairs: pd.DataFrame
    maps: pd.DataFrame


def percent(table: pd.DataFrame, factors: str | Sequence[str], **where: object) -> pd.Series:
    """A metric in percent, one number per seed: the mean over the factors of the rows that agree with ``where``.

    Empty where nothing like it was measured.
    """
    names = [factors] if isinstance(factors, str) else list(factors)
    chosen = table["factor"].isin(names)
    for column, wanted in where.items():
        chosen &= table[column] == wanted
    return 100 * table[chosen].groupby("seed")["value"].mean()


def frozen(found: Measured, task: str, labels: int, origin: str = SILENT_, depth: str = "embedding") -> pd.Series:
    """A probe with so many labels, tested as usual."""
    return percent(found.probes, task, metric="frozen", origin=origin, depth=depth, labels=labels, shown=USUAL)


def early(found: Measured, labels: int, shown: str, origin: str = SILENT_) -> pd.Series:
    """A probe for the light on the first stage of the image tower, in any of the tests."""
    where = {"origin": origin, "depth": FIRST_STAGE, "labels": labels, "shown": shown}
    return percent(found.probes, "light", metric="frozen", **where)


def of_pixels(found: Measured, task: str, labels: int) -> pd.Series:
    """A probe on raw pixels with so many labels, tested as usual."""
    return frozen(found, task, labels, PIXELS_, "pixels")


def best_frozen(found: Measured, task: str, labels: int, depths: Sequence[str]) -> pd.Series:
    """The probe at the depth that is best on average over seeds."""
    tried = [frozen(found, task, labels, depth=depth) for depth in depths]
    return max(tried, key=lambda samples: float(samples.mean()))


def tuned(found: Measured, wanted: Tuning, shown: str = USUAL, share: float = 1.0) -> pd.Series:
    """Accuracy of a tuned encoder and its head at its task."""
    return percent(found.tuned, wanted.task, metric="tuned", shown=shown, share=share, **wanted._asdict())


def captioned(table: pd.DataFrame, shown: str = USUAL, share: float = 1.0, **where: object) -> pd.Series:
    """Zero-shot accuracy at what captions name: mean of the car's colour and body."""
    return percent(table, CAPTIONED, metric="zero_shot", shown=shown, share=share, **where)


def recaptioned(found: Measured, labels: int, mention: float = 1.0, *, longer: bool = False) -> pd.DataFrame:
    """Going on with captions of so many pictures: in the few steps of C33's rule, or in as many as the encoder had."""
    table = found.captions
    few = table["steps"] == table["steps"].min()
    chosen: pd.Series = (table["labels"] == labels) & (table["mention"] == mention) & (~few if longer else few)
    return table[chosen]


def depths_of(found: Measured) -> list[str]:
    """The depths at which the silent encoder is read, and the same network untrained, from the input on."""
    return list(dict.fromkeys(found.probes.loc[found.probes["origin"] == SILENT_, "depth"]))


def budgets_of(found: Measured) -> list[int]:
    """The numbers of labelled pictures that were tried, rising."""
    return sorted(found.probes["labels"].unique())


def few_and_many(found: Measured) -> tuple[int, int]:
    """The two budgets that rules speak of."""
    budgets = budgets_of(found)
    name = next(name for name, known in BUDGETS.items() if known == budgets)
    return FEW[name], MANY[name]


# ---------------------------------------------------------------- figures


def _interval(samples: pd.Series) -> dict[str, float]:
    estimate = mean_over_seeds(samples.to_numpy())
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}


PROBE, BACKBONE = "probe on the embedding", "probe before the projection"
#: As deep in the network as a probe can be put, and where the light turned out to be.
EARLY, FIRST_STAGE = "probe on the first stage", "stage 1"
EARLY_UNTRAINED = "the same stage untrained"
PROJECTION, LORA, FULL = "projection only", "low-rank adaptation", "full fine-tuning"
SCRATCH, MENTIONED = "trained from scratch", "captions had named it: probe"
TUNED_AS: dict[str, Method] = {PROJECTION: "projection", LORA: "lora", FULL: "full"}


def curve_table(found: Measured) -> pd.DataFrame:
    """Accuracy by labelled pictures: task, series, labels (0 for a level), value ... in percent."""
    parts = []
    for task in LOST:
        for labels in budgets_of(found):
            series = {
                PROBE: frozen(found, task, labels),
                BACKBONE: frozen(found, task, labels, depth="backbone"),
                EARLY: frozen(found, task, labels, depth=FIRST_STAGE),
                EARLY_UNTRAINED: frozen(found, task, labels, UNTRAINED_, FIRST_STAGE),
                PIXELS_: of_pixels(found, task, labels),
                **{name: tuned(found, Tuning(SILENT_, how, task, labels)) for name, how in TUNED_AS.items()},
                SCRATCH: tuned(found, Tuning(UNTRAINED_, "scratch", task, labels)),
                MENTIONED: frozen(found, task, labels, TALKATIVE_),
            }
            parts += [
                {"task": task, "series": name, "labels": labels, **_interval(samples)}
                for name, samples in series.items()
                if len(samples)
            ]
        ceiling = percent(found.reads, task, metric="probe", origin=LABELS_, depth="embedding")
        parts.append({"task": task, "series": "trained on labels", "labels": 0, **_interval(ceiling)})
        parts.append({"task": task, "series": "chance", "labels": 0, "value": CHANCE[task]})
    return pd.DataFrame(parts)


def depth_table(found: Measured) -> pd.DataFrame:
    """Probes at every depth of the silent encoder and of the same network untrained, and what tuning reaches.

    Returns:
        task, depth, encoder, labels, value ... in percent; the last depths are "low-rank adaptation" and "full
        fine-tuning" of either, as far as they were run. Full fine-tuning of the untrained network is training from scratch.
    """
    few, many = few_and_many(found)
    parts = []
    for task in LOST:
        for labels in (few, many):
            rows = {(d, o): frozen(found, task, labels, o, d) for d in depths_of(found) for o in (SILENT_, UNTRAINED_)}
            for name in (LORA, FULL):
                rows[name, SILENT_] = tuned(found, Tuning(SILENT_, TUNED_AS[name], task, labels))
            rows[LORA, UNTRAINED_] = tuned(found, Tuning(UNTRAINED_, "lora", task, labels))
            rows[FULL, UNTRAINED_] = tuned(found, Tuning(UNTRAINED_, "scratch", task, labels))
            parts += [
                {"task": task, "depth": depth, "encoder": encoder, "labels": labels, **_interval(samples)}
                for (depth, encoder), samples in rows.items()
                if len(samples)
            ]
    return pd.DataFrame(parts)


def line_table(found: Measured) -> pd.DataFrame:
    """The light against what captions name, on the line from the original weights to the tuned ones, in every test.

    Returns:
        shown, series ("low-rank adaptation", "full fine-tuning": lines; others: points), share, light, captioned (both
        in percent, means over seeds) and their intervals light_low ... captioned_high.
    """
    _, many = few_and_many(found)
    parts = []

    def add(shown: str, series: str, share: float, light: pd.Series, named: pd.Series) -> None:
        y, x = _interval(light), _interval(named)
        row: dict[str, object] = {"shown": shown, "series": series, "share": share}
        row |= {"light": y["value"], "light_low": y["low"], "light_high": y["high"]}
        parts.append(row | {"captioned": x["value"], "captioned_low": x["low"], "captioned_high": x["high"]})

    for shown in TESTS:
        for name in (LORA, FULL):
            wanted = Tuning(SILENT_, TUNED_AS[name], "light", many)
            for share in LINE:
                named = captioned(found.tuned, shown, share, **wanted._asdict())
                add(shown, name, share, tuned(found, wanted, shown, share), named)
        again = recaptioned(found, many)
        words = percent(again, "light", metric="zero_shot", shown=shown)
        add(shown, "captions rewritten: words", 1.0, words, captioned(again, shown))
        add(shown, EARLY, 0.0, early(found, many, shown), captioned(found.reads, shown, origin=SILENT_))
    return pd.DataFrame(parts)


_LIGHT = {"light: probe": ("probe", ("light",)), "light: words": ("zero_shot", ("light",))}
_PEDESTRIAN = {
    "somebody crossing: probe": ("probe", ("pedestrian",)),
    "somebody crossing: words": ("zero_shot", ("pedestrian",)),
}
_TIME = {"time of day: probe": ("probe", ("time",))}
_REST: dict[str, tuple[str, tuple[str, ...]]] = {
    "weather, place, distance: probe": ("probe", tuple(f for f in OTHERS if f != "time")),
    "car's colour and body: words": ("zero_shot", CAPTIONED),
}
#: What is tried to the invariance, and where that may show: first where it should, then where it should not.
MOVED_BY = {"captions": _LIGHT | _PEDESTRIAN | _TIME | _REST, "pairs": _TIME | _LIGHT | _PEDESTRIAN | _REST}


def moved_table(found: Measured) -> pd.DataFrame:
    """What was read before and after an invariance was removed with captions, or added with pairs, and under the controls.

    Returns:
        by ("captions" or "pairs"), measure, series ("before"; "as before", "rewritten", "rewritten, longer" and "four
        times as many, longer"; "no pull" and "pulled together"; "chance"), value ... in percent.
    """
    _, many = few_and_many(found)
    before = {"before": found.reads[found.reads["origin"] == SILENT_]}
    series = {
        "captions": {
            "as before": recaptioned(found, many, 0.0),
            "rewritten": recaptioned(found, many),
            "rewritten, longer": recaptioned(found, many, longer=True),
            "four times as many, longer": recaptioned(found, budgets_of(found)[-1], longer=True),
        },
        "pairs": {
            "no pull": found.pairs[found.pairs["pull"] == 0],
            "pulled together": found.pairs[found.pairs["pull"] > 0],
        },
    }
    parts = []
    for by, tables in series.items():
        for measure, (metric, factors) in MOVED_BY[by].items():
            for name, table in (before | tables).items():
                samples = percent(table, factors, metric=metric, depth="embedding", shown=USUAL)
                if len(samples):
                    parts.append({"by": by, "measure": measure, "series": name, **_interval(samples)})
            guessing = float(np.mean([CHANCE[factor] for factor in factors]))
            parts.append({"by": by, "measure": measure, "series": "chance", "value": guessing})
    return pd.DataFrame(parts)


def map_table(found: Measured) -> pd.DataFrame:
    """Words, words through one linear map, and probes with the same labels: factor, series, value ... in percent."""
    labels = _most_mapped(found)
    parts = []
    for factor in ASKED:
        series = {
            "words": percent(found.maps, factor, metric="zero_shot"),
            "words through a map": percent(found.maps, factor, metric="mapped", labels=labels),
            "probe": percent(found.maps, factor, metric="frozen", labels=labels),
        }
        parts += [{"factor": factor, "series": name, **_interval(samples)} for name, samples in series.items()]
        parts.append({"factor": factor, "series": "chance", "value": CHANCE[factor]})
    return pd.DataFrame(parts)


def _most_mapped(found: Measured) -> int:
    return int(found.maps["labels"].max())


def kept_table(found: Measured) -> pd.DataFrame:
    """Probes on the embedding of encoders that were trained to keep more: factor, series, value ... in percent."""
    names = [name for name in (SILENT_, LONGER_, BESIDE_, FIFTH_, EVERYTHING_) if name in set(found.reads["origin"])]
    parts = []
    for factor in ASKED:
        for name in names:
            samples = percent(found.reads, factor, metric="probe", depth="embedding", origin=name)
            parts.append({"factor": factor, "series": name, **_interval(samples)})
        parts.append({"factor": factor, "series": "chance", "value": CHANCE[factor]})
    return pd.DataFrame(parts)


def encoders_by_task(found: Measured) -> dict[str, dict[str, pd.Series]]:
    """Encoder -> task -> accuracy of a probe on its frozen embedding: trained ones, and ones tuned for a task or all."""
    result = {
        name: {
            task: percent(found.reads, task, metric="probe", depth="embedding", origin=name) for task in tasks_of(found)
        }
        for name in dict.fromkeys(found.reads["origin"])
        if name != UNTRAINED_
    }
    full = found.tuned[(found.tuned["method"] == "full") & (found.tuned["metric"] == "probe")]
    for purpose in dict.fromkeys(full["task"]):
        rows = full[full["task"] == purpose]
        name = "tuned for all at once" if purpose == ALL else f"tuned for {SHORT[purpose]}"
        result[name] = {
            task: percent(rows, task, metric="probe", depth="embedding", shown=USUAL) for task in tasks_of(found)
        }
    return result


#: Short names of the tasks.
SHORT = {
    "light": "light",
    "pedestrian": "crossing",
    "car_colour": "colour",
    "body": "body",
    "distance": "distance",
    "weather": "weather",
    "time": "time",
    "place": "place",
}


def tasks_of(found: Measured) -> list[str]:
    """Tasks for which some encoder was specialised: what captions name, and what encoders were tuned for."""
    purposes = {*CAPTIONED, *LOST, *found.tuned["task"]}
    return [task for task in ASKED if task in purposes]


def shortfalls(by_task: Mapping[str, Mapping[str, pd.Series]]) -> dict[str, tuple[str, str, Estimate]]:
    """How far each encoder stays below the best one on its worst task.

    GENERALIST_ was added after the rule of C34 had been registered: it is compared with the others, and they are not
    compared with it.

    Returns:
        encoder -> (its worst task, the best encoder there, the difference in points, per seed and then averaged). Which
        encoder is best and which task worst is decided by means over seeds.
    """
    tasks = next(iter(by_task.values()))
    rivals = [name for name in by_task if name != GENERALIST_]
    best = {task: max(rivals, key=lambda name: float(by_task[name][task].mean())) for task in tasks}
    found = {}
    for name, accuracies in by_task.items():
        behind = {task: paired_difference(by_task[best[task]][task], accuracies[task]) for task in tasks}
        worst = max(behind, key=lambda task: behind[task].value)
        found[name] = (worst, best[worst], behind[worst])
    return found


def pareto_table(found: Measured) -> pd.DataFrame:
    """Probe accuracy in percent of every encoder at every task, and its shortfall.

    Returns:
        encoder, task, value ..., best (within TIE of the best), shortfall (points, on its worst task).
    """
    by_task = encoders_by_task(found)
    behind = shortfalls(by_task)
    top = {task: max(float(row[task].mean()) for row in by_task.values()) for task in tasks_of(found)}
    parts = []
    for name, row in by_task.items():
        for task, samples in row.items():
            close = float(samples.mean()) >= top[task] - TIE
            parts.append(
                {"encoder": name, "task": task, **_interval(samples), "best": close, "shortfall": behind[name][2].value}
            )
    return pd.DataFrame(parts)


def advice_table(found: Measured, task: str) -> pd.DataFrame:
    """Which method for so many labelled pictures: what each reaches in percent, and which to take.

    The advice is the cheapest way within TIE of the best mean: a probe on what the encoder puts out, a probe on its first
    stage, one on raw pixels, the same network trained from scratch beside the encoder, then low-rank adaptation, then
    full fine-tuning. The first four leave the encoder as it is; where the advice is to tune it, the best of them is
    named, too. It is to label more where no way has its whole interval CLEAR points above chance. The last column is a
    control and no advice.

    Returns:
        labels, do (text), probe (the better of two depths), first stage, raw pixels, trained from scratch, what tuning
        reaches, and the control: the first stage of the untrained network.
    """
    rows = []
    for labels in budgets_of(found):
        reached = {
            "probe": best_frozen(found, task, labels, ("embedding", "backbone")),
            "first stage": frozen(found, task, labels, depth=FIRST_STAGE),
            PIXELS_: of_pixels(found, task, labels),
            SCRATCH: tuned(found, Tuning(UNTRAINED_, "scratch", task, labels)),
        }
        reached |= {name: tuned(found, Tuning(SILENT_, TUNED_AS[name], task, labels)) for name in (LORA, FULL)}
        means = {name: float(samples.mean()) for name, samples in reached.items() if len(samples)}
        do = next(name for name, value in means.items() if value >= max(means.values()) - TIE)
        if do in TUNED_AS:
            beside = max((name for name in means if name not in TUNED_AS), key=lambda name: means[name])
            do = f"{do}; {beside} if words must stay"
        lowest = max(_interval(samples)["low"] for samples in reached.values() if len(samples))
        row = {"labelled pictures": labels, "do": do if lowest >= CHANCE[task] + CLEAR else "label more"} | means
        control = frozen(found, task, labels, UNTRAINED_, FIRST_STAGE)
        rows.append(row | ({"first stage, untrained": float(control.mean())} if len(control) else {}))
    return pd.DataFrame(rows)


def tuning_cost_table(found: Measured) -> pd.DataFrame:
    """Points that words lose on the car's colour and body when the encoder is tuned for the light, by labelled pictures.

    Returns:
        labelled pictures; for each way to tune, a text with mean and interval, and the three numbers.
    """
    before = captioned(found.reads, origin=SILENT_)
    rows = []
    for labels in budgets_of(found):
        row: dict[str, object] = {"labelled pictures": labels}
        for name in (LORA, FULL):
            after = captioned(found.tuned, **Tuning(SILENT_, TUNED_AS[name], "light", labels)._asdict())
            if len(after):
                lost = paired_difference(before, after)
                row[name] = f"{lost.value:.0f} [{lost.low:.0f}, {lost.high:.0f}]".replace("-", "\u2212")
                row |= {f"{name} {end}": getattr(lost, end) for end in ("value", "low", "high")}
        rows.append(row)
    return pd.DataFrame(rows)


# ---------------------------------------------------------------- values


def values(found: Measured) -> list[NamedValue]:
    """Every number of chapter 5 that a claim's rule or its prose uses; those that were not measured are left out."""
    return [
        row
        for row in [
            *_recovery_values(found),
            *_curve_values(found),
            *_rate_values(found),
            *_line_values(found),
            *_moved_values(found),
            *_map_values(found),
            *_kept_values(found),
            *_pareto_values(found),
        ]
        if row is not None
    ]


def _mean(name: str, samples: pd.Series, figure: str, description: str, unit: str = "%") -> NamedValue | None:
    """A value from one number per seed; None where there is none."""
    if not len(samples):
        return None
    return NamedValue(name, mean_over_seeds(samples.to_numpy()), unit, figure, description)


def _gap(name: str, a: pd.Series, b: pd.Series, figure: str, description: str) -> NamedValue | None:
    """A difference in points; None where one side is missing."""
    if not len(a) or not len(b):
        return None
    return NamedValue(name, paired_difference(a, b), "points", figure, description)


#: What is asked for, in the words of descriptions.
_ASKED = {
    "light": "the small light",
    "pedestrian": "somebody crossing",
    "car_colour": "the car's colour",
    "body": "the car's body",
    "distance": "the car's distance (near or far)",
    "weather": "the weather",
    "time": "the time of day",
    "place": "city or country",
}
_PROBED = "accuracy of a probe on the embedding"
_WORDS = "zero-shot accuracy for the car's colour and body"
_ALONE = "captions name the car alone"


def _recovery_values(found: Measured) -> list[NamedValue | None]:
    few, many = few_and_many(found)
    usual = ("embedding", "backbone")
    light, crossing = (tuned(found, Tuning(SILENT_, "lora", task, many)) for task in LOST)
    least = tuned(found, Tuning(SILENT_, "lora", "light", few))
    probe = best_frozen(found, "light", many, usual)
    before = captioned(found.reads, origin=SILENT_)
    after = captioned(found.tuned, **Tuning(SILENT_, "lora", "light", many)._asdict())
    ceiling = percent(found.reads, "light", metric="probe", origin=LABELS_, depth="embedding")
    scratch = tuned(found, Tuning(UNTRAINED_, "scratch", "light", many))
    everywhere = best_frozen(found, "light", many, depths_of(found))
    net = "on the small light over the better probe minus what words lose on the car's colour and body"
    share = percent(found.tuned, "light", metric="trained", **Tuning(SILENT_, "lora", "light", many)._asdict())
    better = f"{LORA} minus the better of the probes on the embedding and before the projection"
    small = "accuracy for the small light"
    return [
        _gap("c32_gain", light, probe, CURVES, f"{small}, {many} labelled pictures: {better}"),
        _gap("c32_net", light - probe, before - after, LINES,
             f"what {LORA} with {many} labelled pictures gains {net}"),
        *(
            _gap(f"net_lora_{n}",
                 tuned(found, Tuning(SILENT_, "lora", "light", n)) - best_frozen(found, "light", n, usual),
                 before - captioned(found.tuned, **Tuning(SILENT_, "lora", "light", n)._asdict()), COSTS,
                 f"what {LORA} with {n:,} labelled pictures gains {net}")
            for n in budgets_of(found) if n != many
        ),
        _gap("c32_cost", before, after, LINES,
             f"{_WORDS}: before minus after {LORA} for the small light with {many} labelled pictures"),
        _gap("c32_gain_pedestrian", crossing, best_frozen(found, "pedestrian", many, usual), CURVES,
             f"accuracy for somebody crossing, {many} labelled pictures: {better}"),
        _gap("c32_gain_depths", light, everywhere, DEPTHS,
             f"{small}, {many} labelled pictures: {LORA} minus the probe at the best of all depths"),
        _gap("c32_gain_few", least, best_frozen(found, "light", few, usual), CURVES,
             f"{small}, {few} labelled pictures: {better}"),
        _gap("c32_head_start", light, scratch, CURVES,
             f"{small}: {LORA} with {many} labelled pictures minus the untrained network trained on the same pictures"),
        _gap("c32_left", ceiling, light, CURVES,
             f"{small}: network trained on labels from the start minus {LORA} with {many} labelled pictures"),
        _mean("c32_ceiling", ceiling, CURVES, f"{_PROBED} for the small light, network trained on labels from the start"),
        _mean("trained_lora", share, CURVES, "weights that low-rank adaptation adds, in percent of the image tower's"),
    ]  # fmt: skip


def _curve_values(found: Measured) -> list[NamedValue | None]:
    rows = []
    tunes = {PROJECTION: "tuning of the projection only"}
    for task in LOST:
        what = f"accuracy for {_ASKED[task]}"
        for n in budgets_of(found):
            ways: dict[tuple[str, str], pd.Series] = {
                ("probe", PROBE): frozen(found, task, n),
                ("backbone", BACKBONE): frozen(found, task, n, depth="backbone"),
                ("early", EARLY): frozen(found, task, n, depth=FIRST_STAGE),
                **{(how, name): tuned(found, Tuning(SILENT_, how, task, n)) for name, how in TUNED_AS.items()},
            }
            labels = f"{n:,} labelled pictures"
            rows += [
                _mean(f"{task}_{short}_{n}", samples, CURVES, f"{what}: {tunes.get(name, name)}, {_ALONE}, {labels}")
                for (short, name), samples in ways.items()
            ]
            scratch = tuned(found, Tuning(UNTRAINED_, "scratch", task, n))
            untrained = frozen(found, task, n, UNTRAINED_, FIRST_STAGE)
            rows.append(_mean(f"{task}_early_untrained_{n}", untrained, CURVES,
                              f"{what}: {EARLY} of the untrained network, {labels}"))  # fmt: skip
            rows.append(
                _mean(f"{task}_scratch_{n}", scratch, CURVES, f"{what}: untrained network trained on {labels} alone")
            )
            fresh = tuned(found, Tuning(UNTRAINED_, "lora", task, n))
            rows += [
                _gap(f"{task}_full_head_start_{n}", ways["full", FULL], scratch, CURVES,
                     f"{what}, {labels}: {FULL}, {_ALONE}, minus of the untrained network"),
                _mean(f"{task}_lora_untrained_{n}", fresh, CURVES, f"{what}: {LORA} of the untrained network, {labels}"),
                _gap(f"{task}_lora_head_start_{n}", ways["lora", LORA], fresh, CURVES,
                     f"{what}, {labels}: {LORA}, {_ALONE}, minus of the untrained network"),
            ]  # fmt: skip
            first, pixels = frozen(found, task, n, depth=FIRST_STAGE), of_pixels(found, task, n)
            advice = ADVICE[task]
            rows += [
                _mean(f"{task}_pixels_{n}", pixels, advice, f"{what}: probe on raw pixels, {labels}"),
                _gap(f"{task}_early_learned_{n}", first, untrained, CURVES,
                     f"{what}: {EARLY}, {labels}, {_ALONE} minus untrained network"),
                _gap(f"{task}_early_over_pixels_{n}", first, pixels, advice,
                     f"{what}: {EARLY}, {_ALONE}, minus probe on raw pixels, {labels}"),
            ]  # fmt: skip
            told = frozen(found, task, n, TALKATIVE_)
            rows.append(_mean(f"{task}_mentioned_{n}", told, CURVES,
                              f"{what}: {PROBE}, captions always mention light and pedestrian, {labels}"))  # fmt: skip
    _, many = few_and_many(found)
    for depth in depths_of(found):
        samples, control = (frozen(found, "light", many, origin, depth) for origin in (SILENT_, UNTRAINED_))
        place = depth.replace(" ", "_")
        where = {"backbone": BACKBONE, "embedding": PROBE}.get(depth, f"probe on {depth} of the image tower")
        what = f"accuracy for the small light: {where}"
        rows += [
            _mean(f"light_at_{place}", samples, DEPTHS, f"{what}, {_ALONE}, {many} labelled pictures"),
            _mean(f"light_untrained_at_{place}", control, DEPTHS, f"{what}, untrained network, {many} labelled pictures"),
            _gap(f"light_learned_at_{place}", samples, control, DEPTHS,
                 f"{what}, {many} labelled pictures, {_ALONE} minus untrained network"),
        ]  # fmt: skip
    return rows


def _rate_values(found: Measured) -> list[NamedValue | None]:
    """Why tuning costs what it costs: which rate was chosen, and what words lose at either."""
    before, rows = captioned(found.reads, origin=SILENT_), list[NamedValue | None]()
    for way in (LORA, FULL):
        method = TUNED_AS[way]
        for n in budgets_of(found):
            wanted = Tuning(SILENT_, method, "light", n)
            rate = percent(found.tuned, "light", metric="rate", **wanted._asdict()) / 100
            bold = 100.0 * np.isclose(rate, max(RATES[wanted.method]))
            with_labels = f"{way} for the small light with {n:,} labelled pictures"
            rows.append(_mean(f"{method}_bold_{n}", pd.Series(bold, rate.index), COSTS,
                              f"seeds in which validation chose the larger learning rate, {with_labels}"))  # fmt: skip
            rows.append(_mean(f"{method}_idle_{n}", 100.0 * (rate == 0), COSTS,
                              f"seeds in which validation chose not to tune, {with_labels}"))  # fmt: skip
            for name, metric, which in (("gentle", GENTLE, "smaller"), ("bold", BOLD, "larger")):
                after = percent(found.tuned, CAPTIONED, metric=metric, **wanted._asdict())
                rows.append(_gap(f"cost_{method}_{name}_{n}", before, after, COSTS,
                                 f"{_WORDS}: before minus after {with_labels}, {which} rate"))  # fmt: skip
    return rows


def _line_values(found: Measured) -> list[NamedValue | None]:
    _, many = few_and_many(found)
    rows: list[NamedValue | None] = []
    for shown, short, where, drawn in (
        (USUAL, "usual", "on usual pictures", "on usual pictures"),
        (FOG, "fog", "in fog", "in fog"),
        (DARK, "dark", "at half the exposure", "at half the exposure"),
        (CLOSE, "wide", "with a light twice as wide", "drawn twice as wide"),
    ):
        probe = percent(
            found.probes, "light", metric="frozen", origin=SILENT_, depth="backbone", labels=many, shown=shown
        )
        before = captioned(found.reads, shown, origin=SILENT_)
        rows.append(_mean(f"words_{short}", before, LINES, f"{_WORDS} {where}, {_ALONE}, nothing tuned"))
        rows.append(_mean(f"backbone_{short}", probe, LINES,
                          f"accuracy for the light {drawn}: {BACKBONE}, {_ALONE}, {many} labelled pictures"))  # fmt: skip
        for origin, key, of in ((SILENT_, "early", _ALONE), (UNTRAINED_, "early_untrained", "untrained network")):
            rows.append(_mean(f"{key}_{short}", early(found, many, shown, origin), LINES,
                              f"accuracy for the light {drawn}: {EARLY}, {of}, {many} labelled pictures"))  # fmt: skip
        for way in (LORA, FULL):
            method = TUNED_AS[way]
            wanted = Tuning(SILENT_, method, "light", many)
            for share, place, of, far in ((0.5, "half", "weights half way to ", ""), (1.0, "end", "", "after ")):
                light = tuned(found, wanted, shown, share)
                cost = captioned(found.tuned, shown, share, **wanted._asdict())
                rows += [
                    _mean(f"{method}_{short}_{place}", light, LINES,
                          f"accuracy for the light {drawn}: {of}{way}, {many} labelled pictures"),
                    _gap(f"cost_{method}_{short}_{place}", before, cost, LINES,
                         f"{_WORDS} {where}: before minus {far}{of}{way} for the light, {many} labelled pictures"),
                ]  # fmt: skip
    return rows


def _moved_values(found: Measured) -> list[NamedValue | None]:
    _, many = few_and_many(found)
    before = found.reads[found.reads["origin"] == SILENT_]
    told, control, most = recaptioned(found, many), recaptioned(found, many, 0.0), recaptioned(found, _CURVE[-1])
    pulled, loose = found.pairs[found.pairs["pull"] > 0], found.pairs[found.pairs["pull"] == 0]
    longer = {n: recaptioned(found, n, longer=True) for n in budgets_of(found) if n >= many}

    def probe(table: pd.DataFrame, factors: str | Sequence[str]) -> pd.Series:
        return percent(table, factors, metric="probe", depth="embedding", shown=USUAL)

    def words(table: pd.DataFrame, factor: str) -> pd.Series:
        return percent(table, factor, metric="zero_shot", shown=USUAL)

    def words_wide(table: pd.DataFrame) -> pd.Series:
        return percent(table, "light", metric="zero_shot", shown=CLOSE)

    def left(table: pd.DataFrame) -> pd.Series:
        after = probe(table, "time")
        return percent_of(after - CHANCE["time"], probe(before, "time") - CHANCE["time"])

    steps, said = "further training on", "captions that mention light and pedestrian"
    pull = "pulling together pairs that differ in the time of day"
    kept = "accuracy above chance of a probe for the time of day, in percent of before,"
    return [
        _gap("c33_gain", probe(told, "light"), probe(before, "light"), MOVED,
             f"{_PROBED} for the small light: after {steps} {many} {said} minus before"),
        _gap("c33_cost", captioned(before), captioned(told), MOVED, f"{_WORDS}: before minus after {steps} {many} {said}"),
        _gap("c33_gain_pedestrian", probe(told, "pedestrian"), probe(before, "pedestrian"), MOVED,
             f"{_PROBED} for somebody crossing: after {steps} {many} {said} minus before"),
        _gap("c33_gain_2000", probe(most, "light"), probe(before, "light"), MOVED,
             f"{_PROBED} for the small light: after {steps} 2,000 {said} minus before"),
        _mean("c33_words_2000", words(most, "light"), MOVED,
              f"zero-shot accuracy for the small light after {steps} 2,000 {said}"),
        _mean("c33_words", words(told, "light"), MOVED,
              f"zero-shot accuracy for the small light after {steps} {many} {said}"),
        *(
            _gap(f"c33_longer_gain_{n}", probe(table, "light"), probe(before, "light"), MOVED,
                 f"{_PROBED} for the small light: after eight times as many steps of {steps} {n} {said} minus before")
            for n, table in longer.items()
        ),
        *(
            _mean(f"c33_longer_words_{n}", words(table, "light"), MOVED,
                  f"zero-shot accuracy for the small light after eight times as many steps of {steps} {n} {said}")
            for n, table in longer.items()
        ),
        *(
            _gap(f"c33_longer_cost_{n}", captioned(before), captioned(table), MOVED,
                 f"{_WORDS}: before minus after eight times as many steps of {steps} {n} {said}")
            for n, table in longer.items()
        ),
        *(
            _mean(f"c33_idle_{name}", 100.0 * (percent(table, "captions", metric="rate") == 0), MOVED,
                  f"seeds in which validation chose not to go on, {steps} {many} {said}{what}")
            for name, table, what in (
                ("usual", told, ""), ("longer", longer[many], ", eight times as many steps"))
        ),
        _mean("c33_words_before", words(before, "light"), MOVED, f"zero-shot accuracy for the small light, {_ALONE}"),
        _mean("c33_words_wide_before", words_wide(before), LINES,
              f"zero-shot accuracy for the light drawn twice as wide, {_ALONE}"),
        _mean("c33_words_wide", words_wide(told), LINES,
              f"zero-shot accuracy for the light drawn twice as wide after {steps} {many} {said}"),
        _gap("c33_words_wide_gain", words_wide(told), words_wide(before), LINES,
             f"zero-shot accuracy for the light drawn twice as wide: after {steps} {many} {said} minus before"),
        _mean("c33_words_pedestrian", words(told, "pedestrian"), MOVED,
              f"zero-shot accuracy for somebody crossing after {steps} {many} {said}"),
        _gap("c33_cost_others", probe(before, OTHERS), probe(told, OTHERS), MOVED,
             f"{_PROBED}, mean for weather, time, place and distance: before minus after {steps} {many} {said}"),
        _gap("c33_control", probe(control, "light"), probe(before, "light"), MOVED,
             f"{_PROBED} for the small light: after {steps} {many} captions that name the car alone minus before"),
        _mean("c33_time_left", left(pulled), MOVED, f"{kept} after pulling together pairs that differ in it"),
        _mean("c33_time_left_control", left(loose), MOVED,
              f"{kept} after training on pairs that differ in it, not pulled together"),
        _gap("c33_time_cost", captioned(before), captioned(pulled), MOVED, f"{_WORDS}: before minus after {pull}"),
        _gap("words_cost_of_light", captioned(before), captioned(found.reads, origin=TALKATIVE_), KEPT,
             f"{_WORDS}: {_ALONE} minus captions that always mention light and pedestrian, too, from the start"),
        _mean("time_before", probe(before, "time"), MOVED, f"{_PROBED} for the time of day, {_ALONE}"),
        _mean("time_after", probe(pulled, "time"), MOVED,
              f"{_PROBED} for the time of day after pulling together pairs that differ in it"),
    ]  # fmt: skip


def _map_values(found: Measured) -> list[NamedValue | None]:
    labels = _most_mapped(found)
    rows = []
    for factor in ASKED:
        plain = percent(found.maps, factor, metric="zero_shot")
        mapped = percent(found.maps, factor, metric="mapped", labels=labels)
        probe = percent(found.maps, factor, metric="frozen", labels=labels)
        what = f"zero-shot accuracy for {_ASKED[factor]}"
        rows += [
            _mean(f"words_{factor}", plain, MAPPED, f"{what}, {_ALONE}"),
            _mean(f"mapped_{factor}", mapped, MAPPED,
                  f"{what}, {_ALONE}, through one linear map fitted to {labels:,} labelled pictures"),
            _gap(f"map_gain_{factor}", mapped, plain, MAPPED,
                 f"{what}, {_ALONE}: through one linear map fitted to {labels:,} labelled pictures minus without it"),
            _mean(f"probed_{factor}", probe, MAPPED,
                  f"{_PROBED} for {_ASKED[factor]}, {_ALONE}, {labels:,} labelled pictures"),
        ]  # fmt: skip
    return rows


def _kept_values(found: Measured) -> list[NamedValue | None]:
    names = {
        "silent": (SILENT_, _ALONE),
        "longer": (LONGER_, f"{_ALONE}, three times the steps"),
        "beside": (BESIDE_, f"{_ALONE}, a self-supervised term beside them"),
        "fifth": (FIFTH_, "a fifth of the captions rewritten to mention everything"),
        "everything": (EVERYTHING_, "all captions rewritten to mention everything"),
    }
    unmentioned = (*LOST, *OTHERS)
    rows: list[NamedValue | None] = []
    for short, (name, said) in names.items():
        there = found.reads[found.reads["origin"] == name]
        rows += [
            _mean(f"kept_{short}", percent(there, unmentioned, metric="probe", depth="embedding"), KEPT,
                  f"{_PROBED}, mean for six factors that plain captions leave out, {said}"),
            _mean(f"kept_{short}_light", percent(there, "light", metric="probe", depth="embedding"), KEPT,
                  f"{_PROBED} for the small light, {said}"),
            _mean(f"kept_{short}_words", percent(there, "light", metric="zero_shot", shown=USUAL), KEPT,
                  f"zero-shot accuracy for the small light, {said}"),
            _mean(f"kept_{short}_captioned", captioned(there), KEPT, f"{_WORDS}, {said}"),
        ]  # fmt: skip
    return rows


def _pareto_values(found: Measured) -> list[NamedValue | None]:
    _, many = few_and_many(found)
    by_task = encoders_by_task(found)
    behind = shortfalls(by_task)
    # What must exceed a threshold for every encoder must do so for the one whose interval reaches lowest.
    least = min((name for name in behind if name != GENERALIST_), key=lambda name: behind[name][2].low)
    before = percent(found.reads, CAPTIONED, metric="probe", depth="embedding", origin=SILENT_)
    specialist = Tuning(SILENT_, "full", "light", many)
    after = percent(found.tuned, CAPTIONED, metric="probe", depth="embedding", **specialist._asdict())
    worst = "accuracy of the best encoder's probe minus this one's on its worst task"
    idle = {
        task: percent(found.tuned, task, metric="rate", **Tuning(SILENT_, "full", task, many)._asdict()) == 0
        for task in dict.fromkeys(found.tuned["task"])
    }
    return [
        *(
            _mean(f"idle_full_{task}", 100.0 * seeds, PARETO,
                  f"seeds in which validation chose not to tune, {FULL} for {_ASKED.get(task, 'everything at once')} with "
                  f"{many} labelled pictures")
            for task, seeds in idle.items()
        ),
        NamedValue("c34_silent", behind[SILENT_][2], "points", PARETO, f"shortfall, {worst}: {_ALONE}"),
        NamedValue("c34_best_single", behind[least][2], "points", PARETO,
                   f"smallest shortfall of all encoders but the one with labels of every task, {worst}: {least}, "
                   f"on {_ASKED[behind[least][0]]}"),
        NamedValue("c34_all_at_once", behind["tuned for all at once"][2], "points", PARETO,
                   f"shortfall, {worst}: encoder tuned for all tasks at once"),
        None if GENERALIST_ not in behind else NamedValue(
            "c34_generalist", behind[GENERALIST_][2], "points", PARETO,
            f"shortfall, {worst}: network trained on labels of every task, on {_ASKED[behind[GENERALIST_][0]]}"),
        _gap("c34_specialist_cost", before, after, PARETO,
             f"{_PROBED}, mean for the car's colour and body: before minus after {FULL} for the light"),
    ]  # fmt: skip
