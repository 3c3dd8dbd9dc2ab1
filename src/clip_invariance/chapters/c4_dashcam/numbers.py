"""Chapter 4, numbers: what the rules of its claims read and what its page quotes. What a profile left out has none."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pandas as pd

from clip_invariance.chapters.c4_dashcam.arms import (
    BY_RATE,
    CONTROLS,
    LABELS,
    LARGE,
    LONGER,
    PATIENT,
    SILENT,
    SIX_IN_TEN,
    SOMETIMES,
    TALKATIVE,
    UNTRAINED,
    UNTRAINED_WIDE,
    VIEWS,
)
from clip_invariance.chapters.c4_dashcam.tables import UNMENTIONED, of_pixels, probe
from clip_invariance.chapters.c4_dashcam.training import Arm
from clip_invariance.measure.statistics import Estimate, NamedValue, paired_difference, percent_of
from clip_invariance.measure.tables import gap, made, mean, per_seed, percent, seeds_in_which
from clip_invariance.worlds import dashcam

Values = Iterator[NamedValue | None]

#: How factors, encoders and readings are called in descriptions.
WHAT = {factor: name.sentence for factor, name in dashcam.NAMES.items()} | {"light": "the small light"}
NEVER, ALWAYS, ON_LABELS = (
    "captions never mention the light",
    "captions always mention the light",
    "net trained on labels",
)
FRESH = "untrained encoder"
PROBE, BEFORE, WORDS = ("probe", "embedding"), ("probe", "backbone"), ("zero_shot", "words")
_RUN = "red lights driven through at one needless stop in a hundred green ones"
#: Metric and depth -> the text of a number read so, of ``what`` from ``whom``.
READ = {
    WORDS: "zero-shot accuracy for {what}, {whom}",
    PROBE: "accuracy of a probe on the embedding for {what}, {whom}",
    BEFORE: "accuracy of a probe before the projection for {what}, {whom}",
    ("knn", "embedding"): "accuracy for {what} by vote of the ten nearest neighbours in the embedding, {whom}",
    ("false_go", "embedding"): f"{_RUN}, by a probe on the embedding, {{whom}}",
    ("false_go", "words"): f"{_RUN}, by words (zero-shot), {{whom}}",
}
#: Metric -> the figure that shows it.
SHOWN_IN = {"zero_shot": "mention", "probe": "mention", "knn": "labels_needed", "false_go": "decision"}
#: The accuracy above which words count as knowing red from green, in percent.
KNOWN = 60


def values(table: pd.DataFrame, pixels: pd.DataFrame) -> list[NamedValue]:
    """All but those of photographs, from the measures of all encoders and of pixels."""
    return made(
        [
            *_matched_pairs(table),
            *_unmentioned(table, pixels),
            *_readings(table),
            *_gaps(table),
            *_mention_rates(table),
            *_controls(table),
        ]
    )


def _read(
    table: pd.DataFrame, name: str, arm: Arm, how: tuple[str, str], whom: str, factor: str = "light", what: str = "",
    figure: str = "",
) -> NamedValue | None:  # fmt: skip
    """One accuracy or rate of one encoder."""
    metric, depth = how
    samples = percent(table, arm=arm, metric=metric, depth=depth, factor=factor, labels=0)
    text = READ[how].format(what=what or WHAT[factor], whom=whom)
    return mean(name, samples, figure or SHOWN_IN[metric], text, kind="share")


def kept(table: pd.DataFrame, factor: str) -> pd.Series:
    """How far a matched change moves SILENT's embedding, in percent of how far it moves TALKATIVE's, per seed.

    Both in units of the distance between car colours, which both are told about.
    """
    silent, talkative = (
        per_seed(table, arm=arm, metric="distance", depth="embedding", factor=factor) for arm in (SILENT, TALKATIVE)
    )
    return percent_of(silent, talkative)


def middle(table: pd.DataFrame, metric: str = "probe", depth: str = "embedding") -> pd.Series:
    """Where mentioning the light once in ten times lies between never (0) and always (100), per seed."""
    never, sometimes, always = (
        percent(table, arm=arm, metric=metric, depth=depth, factor="light") for arm in (SILENT, SOMETIMES, TALKATIVE)
    )
    return percent_of(sometimes - never, always - never)


def reversal(table: pd.DataFrame) -> Estimate:
    """The largest loss of probe accuracy from one mention rate to the next higher one, in points; negative if none.

    Of all neighbouring rates, the pair whose interval reaches highest: what must stay below a threshold anywhere must do
    so there.
    """
    accuracies = [samples for arm in BY_RATE["small"].values() if len(samples := probe(table, arm))]
    losses = [paired_difference(a, b) for a, b in pairwise(accuracies)]
    return max(losses, key=lambda loss: loss.high)


def _matched_pairs(table: pd.DataFrame) -> Values:
    def moved(arm: Arm, metric: str, factor: str, depth: str = "embedding") -> pd.Series:
        return per_seed(table, arm=arm, metric=metric, depth=depth, factor=factor)

    figure, along = "matched_pairs", "along the best direction"
    for claim, suffix, factor, first, second, what in (
        ("c26", "_small", "light", "red", "green of the small light", "the light"),
        ("c27", "", "pedestrian", "nobody", "somebody crossing", "pedestrians"),
    ):
        never, always = f"captions never mention {what}", f"captions always mention {what}"
        apart = f"distance between {first} and {second} in the embedding"
        detected = f"detectability d' of {first} against {second}"
        for arm, ending, whom in (
            (SILENT, suffix, never),
            (TALKATIVE, "_mentioned", always),
            (UNTRAINED["small"], "_untrained", FRESH),
        ):
            yield mean(f"{claim}_dprime{ending}", moved(arm, "d_prime", factor), figure,
                       f"{detected} {along} of the embedding, {whom}", kind="number")  # fmt: skip
            yield mean(f"{claim}_distance{ending}", 100 * moved(arm, "distance", factor), figure,
                       f"{apart}, in percent of that between car colours, {whom}", kind="ratio")  # fmt: skip
        yield mean(f"{claim}_dprime_backbone", moved(SILENT, "d_prime", factor, "backbone"), figure,
                   f"{detected} {along} before the projection, {never}", kind="number")  # fmt: skip
        yield mean(f"{claim}_kept{suffix}", kept(table, factor), figure,
                   f"{apart}, relative to car colours, {never}, in percent of where they always do",
                   kind="ratio")  # fmt: skip
    yield mean("c26_dprime_large", moved(LARGE, "d_prime", "light"), figure,
               f"detectability d' of red against green of a light twice as wide, in the embedding, {NEVER}",
               kind="number")  # fmt: skip
    yield mean("c26_dprime_car", moved(SILENT, "d_prime", "car_colour"), figure,
               "detectability d' of a red against a green car, in the embedding, captions always mention the car's colour",
               kind="number")  # fmt: skip


def _unmentioned(table: pd.DataFrame, pixels: pd.DataFrame) -> Values:
    for factor in UNMENTIONED:
        trained, alone = probe(table, SILENT, factor), "captions name the car alone"
        shuffled = percent(table, arm=SILENT, metric="shuffled", depth="embedding", factor=factor)
        what = f"accuracy of a probe on the embedding for {WHAT[factor]}"
        yield gap(f"c28_left_{factor}", trained, shuffled, "unmentioned",
                  f"{what}, {alone}: fitted to true labels minus to shuffled ones")  # fmt: skip
        yield gap(f"c28_gain_{factor}", trained, probe(table, UNTRAINED["small"], factor), "unmentioned",
                  f"{what}: {alone} minus untrained encoder")  # fmt: skip
    for name, depth, text in (
        ("c28_pixels_light", "pixels", "raw pixels"),
        ("c29_grey", "grey pixels", "pixels without colour"),
    ):
        samples = of_pixels(pixels, "small", "light", depth)
        yield mean(name, samples, "unmentioned", f"accuracy of a probe on {text} for the small light", kind="share")


def _readings(table: pd.DataFrame) -> Values:
    fresh, labels = UNTRAINED["small"], LABELS["small"]
    knn, stops, word_stops = ("knn", "embedding"), ("false_go", "embedding"), ("false_go", "words")
    for name, arm, how, whom in (
        ("c29_zero_shot", SILENT, WORDS, NEVER),
        ("c29_zero_shot_mentioned", TALKATIVE, WORDS, ALWAYS),
        ("c29_probe", SILENT, PROBE, NEVER),
        ("c29_probe_backbone", SILENT, BEFORE, NEVER),
        ("c29_probe_mentioned", TALKATIVE, PROBE, ALWAYS),
        ("c29_ceiling", labels, PROBE, ON_LABELS),
        ("c29_untrained", fresh, PROBE, FRESH),
        ("c29_untrained_backbone", fresh, BEFORE, FRESH),
        ("c29_knn", SILENT, knn, NEVER),
        ("c29_knn_untrained", fresh, knn, FRESH),
        ("c29_false_go", SILENT, stops, NEVER),
        ("c29_false_go_untrained", fresh, stops, FRESH),
        ("c29_false_go_large", LARGE, stops, f"large light, {NEVER}"),
        ("c29_false_go_words", SILENT, word_stops, NEVER),
        ("c29_false_go_mentioned", TALKATIVE, stops, ALWAYS),
        ("c29_false_go_mentioned_words", TALKATIVE, word_stops, ALWAYS),
        ("c29_false_go_ceiling", labels, stops, ON_LABELS),
    ):
        yield _read(table, name, arm, how, whom)
    yield _read(table, "c29_ceiling_pedestrian", labels, PROBE, ON_LABELS, "pedestrian")
    yield _read(table, "light_untrained_large", UNTRAINED["large"], PROBE, FRESH, what="the large light")


def _gaps(table: pd.DataFrame) -> Values:
    on_embedding, small, large = READ[PROBE].partition(" for {")[0], "for the small light", "for the large light"
    fresh, labels = UNTRAINED["small"], LABELS["small"]
    silent, silent_large = probe(table, SILENT), probe(table, LARGE)
    ceiling, told = probe(table, labels), probe(table, TALKATIVE)
    neighbours = {
        arm: percent(table, arm=arm, metric="knn", depth="embedding", factor="light") for arm in (fresh, SILENT)
    }
    red, green = (
        percent(table, arm=SILENT, metric="called_red", depth="words", factor=f"{colour} car")
        for colour in ("red", "green")
    )
    by_vote = f"accuracy {small} by vote of the ten nearest neighbours in the embedding"
    for name, a, b, figure, text in (
        ("c27_gap_probe", probe(table, labels, "pedestrian"), probe(table, SILENT, "pedestrian"), "matched_pairs",
         f"{on_embedding} for somebody crossing: {ON_LABELS} minus captions that never mention pedestrians"),
        ("c29_gap_probe", ceiling, silent, "mention",
         f"{on_embedding} {small}: {ON_LABELS} minus captions that never mention it"),
        ("c29_gap_backbone", ceiling, probe(table, SILENT, depth="backbone"), "mention",
         f"accuracy {small}: probe on the embedding, {ON_LABELS}, minus probe before the projection, {NEVER}"),
        ("c29_gap_large", probe(table, LABELS["large"]), silent_large, "mention",
         f"{on_embedding} {large}: {ON_LABELS} minus captions that never mention it"),
        ("c29_knn_lost", neighbours[fresh], neighbours[SILENT], "labels_needed", f"{by_vote}: {FRESH} minus {NEVER}"),
        ("called_red", red, green, "decision",
         f"lights called red by words (zero-shot): behind a red car minus behind a green car, {NEVER}"),
        ("c30_size", silent_large, silent, "size_and_mention",
         f"{on_embedding}, {NEVER}: for a large light minus for a small one"),
        ("c30_mention", told, silent, "size_and_mention", f"{on_embedding} {small}: captions always mention it minus never"),
        ("c30_word_beats_size", told, silent_large, "size_and_mention",
         f"{on_embedding}: for a small light always mentioned minus for a large one never mentioned"),
        ("large_light_taken", probe(table, UNTRAINED["large"]), silent_large, "mention",
         f"{on_embedding} {large}: untrained network minus {NEVER}"),
        ("control_wider_learned", probe(table, CONTROLS["wider embedding"]), probe(table, UNTRAINED_WIDE), "controls",
         f"{on_embedding} {small}, embedding four times as wide: {NEVER} minus untrained"),
    ):  # fmt: skip
        yield gap(name, a, b, figure, text)
    for depth, ending, how in (("embedding", "", PROBE), ("backbone", "_backbone", BEFORE)):
        usual, late, start = (probe(table, arm, depth=depth) for arm in (SILENT, LONGER, fresh))
        what = READ[how].partition(", ")[0].format(what="the small light")
        yield gap(f"lost_in_three_times_as_long{ending}", usual, late, "course",
                  f"{what}, {NEVER}: usual number of steps minus three times as many")  # fmt: skip
        yield gap(f"three_times_as_long_below_untrained{ending}", start, late, "course",
                  f"{what}: untrained network minus {NEVER}, three times as many steps")  # fmt: skip


def _rate(rate: float) -> str:
    """A mention rate in words."""
    ends = {0.0: "never mentioned by captions", 1.0: "always mentioned by captions"}
    return ends.get(rate, f"mentioned in {100 * rate:g} % of captions")


def _mention_rates(table: pd.DataFrame) -> Values:
    for light_size, arms in BY_RATE.items():
        for rate, arm in arms.items():
            for short, how in (("words", WORDS), ("probe", PROBE)):
                name = f"light_{short}_{light_size}_p{round(100 * rate):03d}"
                yield _read(table, name, arm, how, _rate(rate), what=f"the {light_size} light")
    for rate, arm in {0.0: LONGER, **PATIENT}.items():
        for factor in ("light", "pedestrian"):
            name, whom = f"long_{factor}_{{}}_p{round(100 * rate):03d}", f"{_rate(rate)}, three times the steps"
            for short, how in (("words", WORDS), ("probe", PROBE)):
                yield _read(table, name.format(short), arm, how, whom, factor, figure="course")
            words = percent(table, arm=arm, metric="zero_shot", depth="words", factor=factor)
            text = f"seeds in which {READ[WORDS].format(what=WHAT[factor], whom=whom)}, is above {KNOWN} %"
            yield seeds_in_which(f"{name.format('words')}_seeds", words > KNOWN, "course", text)
    words = percent(table, arm=SIX_IN_TEN, metric="zero_shot", depth="words", factor="light")
    text = f"seeds in which zero-shot accuracy for the small light is above {KNOWN} %, {_rate(0.6)}"
    yield seeds_in_which("seeds_words_small_p060", words > KNOWN, "mention", text)
    way = "mentioned in one caption of ten: this far on the way from never (0) to always (100)"
    for name, how in (("c31_middle", PROBE), ("c31_middle_zero_shot", WORDS)):
        text = READ[how].format(what="the small light", whom=way)
        yield mean(name, middle(table, *how), "mention", text, kind="ratio")
    loss = "largest loss from one mention rate to the next higher, negative if none"
    text = f"accuracy of a probe on the embedding for the small light: {loss}"
    yield NamedValue("c31_reversal", reversal(table), "points", "mention", text, kind="difference")


def _controls(table: pd.DataFrame) -> Values:
    for name, arm, whom in (
        ("wider_embedding", CONTROLS["wider embedding"], f"{NEVER}, embedding four times as wide"),
        ("equally_long_captions", CONTROLS["equally long captions"], f"{NEVER}, empty words in the place of a mention"),
        ("equal_captions_no_negatives", CONTROLS["equal captions no negatives"],
         f"{NEVER}, equal captions not counted as negatives"),
        ("three_times_as_long", LONGER, f"{NEVER}, three times the steps"),
        ("narrower_embedding", CONTROLS["narrower embedding"], f"{NEVER}, embedding a quarter as wide"),
        ("views", VIEWS, "trained without captions, to recognise a picture under random crops and colours"),
        ("wider_untrained", UNTRAINED_WIDE, "untrained, embedding four times as wide"),
    ):  # fmt: skip
        yield _read(table, f"control_{name}", arm, PROBE, whom, figure="controls")
