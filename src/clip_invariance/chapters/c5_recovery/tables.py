"""Chapter 5, tables: from the measurements to what the figures show. Accuracies are in percent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from clip_invariance.chapters.c4_dashcam.arms import LONGER, SILENT, TALKATIVE, VIEWS
from clip_invariance.chapters.c4_dashcam.measures import ASKED
from clip_invariance.chapters.c4_dashcam.tables import CHANCE
from clip_invariance.chapters.c5_recovery.arms import (
    BESIDE,
    ENCODERS,
    EVERYTHING,
    FIFTH,
    GENERALIST,
    ON_LABELS,
    PULL,
    UNTRAINED,
    Budgets,
)
from clip_invariance.chapters.c5_recovery.measures import Encoder
from clip_invariance.chapters.c5_recovery.pictures import CAPTIONED, LOST, OTHERS, TESTS, USUAL
from clip_invariance.chapters.c5_recovery.tuning import ALL, GoingOn, Pairs, Tuning
from clip_invariance.chapters.c5_recovery.units import LINE
from clip_invariance.measure.statistics import Estimate, paired_difference
from clip_invariance.measure.tables import Row, interval, mean_over, percent, point, select
from clip_invariance.training.tuning import Method
from clip_invariance.worlds import dashcam

#: Encoders by what they learned from.
NAMES: dict[Encoder, str] = {
    SILENT: "captions name the car",
    TALKATIVE: "captions name all three",
    UNTRAINED: "untrained",
    ON_LABELS: "labels",
    VIEWS: "two views",
    LONGER: "three times as long",
    BESIDE: "two views beside captions",
    FIFTH: "a fifth rewritten",
    EVERYTHING: "all captions rewritten",
    GENERALIST: "labels for everything",
}
TUNED_FOR_ALL = "tuned for all at once"
SHORT = {factor: name.short for factor, name in dashcam.NAMES.items()}

# Ways to read or to tune.
PROBE, BACKBONE, PIXELS = "probe on the embedding", "probe before the projection", "raw pixels"
#: As deep in the network as a probe can be put, and where the light turned out to be.
EARLY, FIRST_STAGE = "probe on the first stage", "stage 1"
EARLY_UNTRAINED = "the same stage untrained"
PROJECTION, LORA, FULL = "projection only", "low-rank adaptation", "full fine-tuning"
SCRATCH, MENTIONED, CEILING = "trained from scratch", "captions had named it: probe", "trained on labels"
TUNED_AS: dict[str, Method] = {PROJECTION: "projection", LORA: "lora", FULL: "full"}
#: Depths at which the silent encoder is read, and the same network untrained, from the input on.
DEPTHS = (FIRST_STAGE, "stage 2", "stage 3", "backbone", "embedding")

#: An encoder this close to the best on a task, in points, is tied with it.
TIE = 2.0
#: Points above chance from which on an accuracy is worth having.
CLEAR = 10.0


@dataclass(frozen=True)
class Measured:
    """The tables of :mod:`chapters.c5_recovery.units`, and the budgets of their profile."""

    budgets: Budgets
    reads: pd.DataFrame
    probes: pd.DataFrame
    tuned: pd.DataFrame
    captions: pd.DataFrame
    pairs: pd.DataFrame
    maps: pd.DataFrame

    def probe(self, factors: str | Sequence[str], arm: Encoder = SILENT) -> pd.Series:
        """A probe with all labels on a frozen embedding, tested as usual; the mean over several factors."""
        return probed(select(self.reads, arm=arm), factors)

    def frozen(
        self, task: str, labels: int, arm: Encoder = SILENT, depth: str = "embedding", test: str = USUAL
    ) -> pd.Series:
        """A probe with so many labels."""
        return percent(self.probes, arm=arm, metric="frozen", factor=task, depth=depth, labels=labels, test=test)

    def of_pixels(self, task: str, labels: int) -> pd.Series:
        """A probe on raw pixels with so many labels, tested as usual."""
        return percent(self.probes, metric="frozen", factor=task, depth="pixels", labels=labels)

    def best_frozen(self, task: str, labels: int, depths: Sequence[str] = ("embedding", "backbone")) -> pd.Series:
        """The probe at the depth that is best on average over seeds."""
        return max((self.frozen(task, labels, depth=depth) for depth in depths), key=lambda data: float(data.mean()))

    def accuracy(self, arm: Tuning, test: str = USUAL, share: float = 1.0) -> pd.Series:
        """Accuracy of a tuned encoder and its head at its task."""
        return percent(self.tuned, arm=arm, metric="tuned", factor=arm.task, test=test, share=share)

    def words_before(self, test: str = USUAL, arm: Encoder = SILENT) -> pd.Series:
        """What words know of the car before anything is tuned."""
        return on_car(select(self.reads, arm=arm), test)

    def words_after(self, arm: Tuning, test: str = USUAL, share: float = 1.0) -> pd.Series:
        """And after."""
        return on_car(select(self.tuned, arm=arm, share=share), test)


def probed(rows: pd.DataFrame, factors: str | Sequence[str]) -> pd.Series:
    """Accuracy of a probe on the embedding, of the rows of one arm, tested as usual; the mean over several factors."""
    names = [factors] if isinstance(factors, str) else factors
    return 100 * mean_over(rows, "factor", names, metric="probe", depth="embedding", test=USUAL)


def in_words(rows: pd.DataFrame, factor: str, test: str = USUAL) -> pd.Series:
    """Zero-shot accuracy, of the rows of one arm."""
    return percent(rows, metric="zero_shot", factor=factor, test=test)


def on_car(rows: pd.DataFrame, test: str = USUAL, metric: str = "zero_shot") -> pd.Series:
    """Zero-shot accuracy at what captions name, of the rows of one arm: mean of the car's colour and body."""
    return 100 * mean_over(rows, "factor", CAPTIONED, metric=metric, test=test)


# ---------------------------------------------------------------- labels, depths, price


def labels_needed(data: Measured) -> pd.DataFrame:
    """Accuracy by labelled pictures: task, series, labels (0 for a level), value ..."""
    rows: list[Row] = []
    for task in LOST:
        for labels in data.budgets.curve:
            series = {
                PROBE: data.frozen(task, labels),
                BACKBONE: data.frozen(task, labels, depth="backbone"),
                EARLY: data.frozen(task, labels, depth=FIRST_STAGE),
                EARLY_UNTRAINED: data.frozen(task, labels, UNTRAINED, FIRST_STAGE),
                PIXELS: data.of_pixels(task, labels),
                **{name: data.accuracy(Tuning(SILENT, how, task, labels)) for name, how in TUNED_AS.items()},
                SCRATCH: data.accuracy(Tuning(UNTRAINED, "scratch", task, labels)),
                MENTIONED: data.frozen(task, labels, TALKATIVE),
            }
            for name, samples in series.items():
                rows += point(samples, task=task, series=name, labels=labels)
        rows += point(data.probe(task, ON_LABELS), task=task, series=CEILING, labels=0)
        rows.append({"task": task, "series": "chance", "labels": 0, "value": CHANCE[task]})
    return pd.DataFrame(rows)


def depths(data: Measured) -> pd.DataFrame:
    """Probes at every depth of the silent encoder and of the same network untrained, and what tuning reaches.

    Returns:
        task, depth, encoder, labels, value ...; the last depths are "low-rank adaptation" and "full fine-tuning" of
        either, as far as they were run. Full fine-tuning of the untrained network is training from scratch.
    """
    rows: list[Row] = []
    for task in LOST:
        for labels in (data.budgets.few, data.budgets.many):
            series = {(d, arm): data.frozen(task, labels, arm, d) for d in DEPTHS for arm in (SILENT, UNTRAINED)}
            for name in (LORA, FULL):
                series[name, SILENT] = data.accuracy(Tuning(SILENT, TUNED_AS[name], task, labels))
            series[LORA, UNTRAINED] = data.accuracy(Tuning(UNTRAINED, "lora", task, labels))
            series[FULL, UNTRAINED] = data.accuracy(Tuning(UNTRAINED, "scratch", task, labels))
            for (depth, arm), samples in series.items():
                rows += point(samples, task=task, depth=depth, encoder=NAMES[arm], labels=labels)
    return pd.DataFrame(rows)


def price(data: Measured) -> pd.DataFrame:
    """The light against what captions name, on the line from the original weights to the tuned ones, in every test.

    Returns:
        shown (the test), series ("low-rank adaptation", "full fine-tuning": lines; others: points), share, light,
        captioned (both means over seeds) and their intervals light_low ... captioned_high.
    """
    many = data.budgets.many
    again = select(data.captions, arm=GoingOn(many))
    rows: list[Row] = []
    for test in TESTS:
        series = [
            (name, share, data.accuracy(arm, test, share), data.words_after(arm, test, share))
            for name, arm in ((name, Tuning(SILENT, TUNED_AS[name], "light", many)) for name in (LORA, FULL))
            for share in LINE
        ]
        series.append(("captions rewritten: words", 1.0, in_words(again, "light", test), on_car(again, test)))
        early = data.frozen("light", many, depth=FIRST_STAGE, test=test)
        series.append((EARLY, 0.0, early, data.words_before(test)))
        for name, share, light, car in series:
            y, x = interval(light), interval(car)
            row: Row = {"shown": test, "series": name, "share": share}
            row |= {"light": y["value"], "light_low": y["low"], "light_high": y["high"]}
            rows.append(row | {"captioned": x["value"], "captioned_low": x["low"], "captioned_high": x["high"]})
    return pd.DataFrame(rows)


# ---------------------------------------------------------------- invariances, one linear map, other losses


_LIGHT = {"light: probe": ("probe", ("light",)), "light: words": ("zero_shot", ("light",))}
_PEDESTRIAN = {
    "somebody crossing: probe": ("probe", ("pedestrian",)),
    "somebody crossing: words": ("zero_shot", ("pedestrian",)),
}
_TIME = {"time of day: probe": ("probe", ("time",))}
_REST: dict[str, tuple[str, tuple[str, ...]]] = {
    "weather, place, distance: probe": ("probe", tuple(factor for factor in OTHERS if factor != "time")),
    "car's colour and body: words": ("zero_shot", CAPTIONED),
}
#: What is tried to the invariance, and where that may show: first where it should, then where it should not.
MOVED_BY = {"captions": _LIGHT | _PEDESTRIAN | _TIME | _REST, "pairs": _TIME | _LIGHT | _PEDESTRIAN | _REST}


def invariances(data: Measured) -> pd.DataFrame:
    """What was read before and after an invariance was removed with captions, or added with pairs, and under the controls.

    Returns:
        by ("captions" or "pairs"), measure, series ("before"; "as before", "rewritten", "rewritten, longer" and "four
        times as many, longer"; "no pull" and "pulled together"; "chance"), value ...
    """
    many, most = data.budgets.many, data.budgets.curve[-1]
    before = {"before": select(data.reads, arm=SILENT)}
    series = {
        "captions": {
            name: select(data.captions, arm=arm)
            for name, arm in {
                "as before": GoingOn(many, mention=0.0),
                "rewritten": GoingOn(many),
                "rewritten, longer": GoingOn(many, longer=True),
                "four times as many, longer": GoingOn(most, longer=True),
            }.items()
        },
        "pairs": {
            name: select(data.pairs, arm=Pairs(many, pull=pull))
            for name, pull in {"no pull": 0.0, "pulled together": PULL}.items()
        },
    }
    rows: list[Row] = []
    for by, tables in series.items():
        for measure, (metric, factors) in MOVED_BY[by].items():
            for name, table in (before | tables).items():
                samples = 100 * mean_over(table, "factor", factors, metric=metric, test=USUAL)
                rows += point(samples, by=by, measure=measure, series=name)
            guessing = float(np.mean([CHANCE[factor] for factor in factors]))
            rows.append({"by": by, "measure": measure, "series": "chance", "value": guessing})
    return pd.DataFrame(rows)


def word_map(data: Measured) -> pd.DataFrame:
    """Words, words through one linear map, and probes with the same labels: factor, series, value ..."""
    rows: list[Row] = []
    for factor in ASKED:
        for name, metric in (("words", "zero_shot"), ("words through a map", "mapped"), ("probe", "frozen")):
            rows += point(mapped(data, metric, factor), factor=factor, series=name)
        rows.append({"factor": factor, "series": "chance", "value": CHANCE[factor]})
    return pd.DataFrame(rows)


def mapped(data: Measured, metric: str, factor: str) -> pd.Series:
    """What the table of the map has with the largest budget; words alone need no labels."""
    labels = 0 if metric == "zero_shot" else data.budgets.curve[-1]
    return percent(data.maps, metric=metric, factor=factor, labels=labels)


def kept_from_the_start(data: Measured) -> pd.DataFrame:
    """Probes on the embedding of encoders that were trained to keep more: factor, series, value ..."""
    rows: list[Row] = []
    for factor in ASKED:
        for arm in (SILENT, LONGER, BESIDE, FIFTH, EVERYTHING):
            rows += point(data.probe(factor, arm), factor=factor, series=NAMES[arm])
        rows.append({"factor": factor, "series": "chance", "value": CHANCE[factor]})
    return pd.DataFrame(rows)


# ---------------------------------------------------------------- one encoder or many


def specialists(data: Measured) -> dict[str, pd.DataFrame]:
    """Task -> what was measured on the encoder that was tuned for it, every weight with many labels."""
    tasks = (*LOST, *CAPTIONED, *OTHERS, ALL)
    rows = {task: select(data.tuned, arm=Tuning(SILENT, "full", task, data.budgets.many)) for task in tasks}
    return {task: table for task, table in rows.items() if len(table)}


def tasks_of(data: Measured) -> list[str]:
    """Tasks for which some encoder was specialised: of captions, of labels, or by tuning."""
    purposes = {*CAPTIONED, *LOST, *specialists(data)}
    return [task for task in ASKED if task in purposes]


def encoders_by_task(data: Measured) -> dict[str, dict[str, pd.Series]]:
    """Encoder -> task -> accuracy of a probe on its frozen embedding: trained ones, and ones tuned for a task or all."""
    read = {NAMES[arm]: select(data.reads, arm=arm) for arm in ENCODERS if arm != UNTRAINED}
    tuned = {
        TUNED_FOR_ALL if task == ALL else f"tuned for {SHORT[task]}": rows for task, rows in specialists(data).items()
    }
    tasks = tasks_of(data)
    return {name: {task: probed(rows, task) for task in tasks} for name, rows in (read | tuned).items() if len(rows)}


def shortfalls(by_task: Mapping[str, Mapping[str, pd.Series]]) -> dict[str, tuple[str, str, Estimate]]:
    """How far each encoder stays below the best one on its worst task.

    GENERALIST was added after the rule of C34 had been registered: it is compared with the others, and they are not
    compared with it.

    Returns:
        encoder -> (its worst task, the best encoder there, the difference in points, per seed and then averaged). Which
        encoder is best and which task worst is decided by means over seeds.
    """
    tasks = next(iter(by_task.values()))
    rivals = [name for name in by_task if name != NAMES[GENERALIST]]
    best = {task: max(rivals, key=lambda name: float(by_task[name][task].mean())) for task in tasks}
    behind_best = {}
    for name, accuracies in by_task.items():
        behind = {task: paired_difference(by_task[best[task]][task], accuracies[task]) for task in tasks}
        worst = max(behind, key=lambda task: behind[task].value)
        behind_best[name] = (worst, best[worst], behind[worst])
    return behind_best


def one_or_many(data: Measured) -> pd.DataFrame:
    """Probe accuracy of every encoder at every task, and its shortfall.

    Returns:
        encoder, task, value ..., best (within TIE of the best), shortfall (points, on its worst task).
    """
    by_task = encoders_by_task(data)
    behind = shortfalls(by_task)
    top = {task: max(float(row[task].mean()) for row in by_task.values()) for task in tasks_of(data)}
    rows: list[Row] = []
    for name, accuracies in by_task.items():
        for task, samples in accuracies.items():
            more = {"best": float(samples.mean()) >= top[task] - TIE, "shortfall": behind[name][2].value}
            rows.append({"encoder": name, "task": task, **interval(samples), **more})
    return pd.DataFrame(rows)


# ---------------------------------------------------------------- what to do


def advice(data: Measured, task: str) -> pd.DataFrame:
    """Which method for so many labelled pictures: what each reaches, and which to take.

    The advice is the cheapest way within TIE of the best mean: a probe on what the encoder puts out, a probe on its first
    stage, one on raw pixels, the same network trained from scratch beside the encoder, then low-rank adaptation, then
    full fine-tuning. The first four leave the encoder as it is; where the advice is to tune it, the best of them is
    named, too. It is to label more where no way has its whole interval CLEAR points above chance. The last column is a
    control and no advice.

    Returns:
        labelled pictures, do (text), probe (the better of two depths), first stage, raw pixels, trained from scratch, what
        tuning reaches, and the control: the first stage of the untrained network.
    """
    rows = []
    for labels in data.budgets.curve:
        reached = {
            "probe": data.best_frozen(task, labels),
            "first stage": data.frozen(task, labels, depth=FIRST_STAGE),
            PIXELS: data.of_pixels(task, labels),
            SCRATCH: data.accuracy(Tuning(UNTRAINED, "scratch", task, labels)),
        }
        reached |= {name: data.accuracy(Tuning(SILENT, TUNED_AS[name], task, labels)) for name in (LORA, FULL)}
        reached = {name: samples for name, samples in reached.items() if len(samples)}
        means = {name: float(samples.mean()) for name, samples in reached.items()}
        do = next(name for name, value in means.items() if value >= max(means.values()) - TIE)
        if do in TUNED_AS:
            beside = max((name for name in means if name not in TUNED_AS), key=lambda name: means[name])
            do = f"{do}; {beside} if words must stay"
        lowest = max(interval(samples)["low"] for samples in reached.values())
        row = {"labelled pictures": labels, "do": do if lowest >= CHANCE[task] + CLEAR else "label more"} | means
        control = data.frozen(task, labels, UNTRAINED, FIRST_STAGE)
        rows.append(row | ({"first stage, untrained": float(control.mean())} if len(control) else {}))
    return pd.DataFrame(rows)


def cost_of_tuning(data: Measured) -> pd.DataFrame:
    """Points that words lose on the car's colour and body when the encoder is tuned for the light, by labelled pictures.

    Returns:
        labelled pictures; for each way to tune, a text with mean and interval, and the three numbers.
    """
    rows = []
    for labels in data.budgets.curve:
        row: Row = {"labelled pictures": labels}
        for name in (LORA, FULL):
            after = data.words_after(Tuning(SILENT, TUNED_AS[name], "light", labels))
            if len(after):
                lost = paired_difference(data.words_before(), after)
                row[name] = f"{lost.value:.0f} [{lost.low:.0f}, {lost.high:.0f}]".replace("-", "\u2212")
                row |= {f"{name} {end}": getattr(lost, end) for end in ("value", "low", "high")}
        rows.append(row)
    return pd.DataFrame(rows)
