"""Chapter 5, numbers: what the rules of its claims read and what its page quotes. What a profile left out has none."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from clip_invariance.chapters.c4_dashcam.arms import LONGER, SILENT, TALKATIVE
from clip_invariance.chapters.c4_dashcam.measures import ASKED
from clip_invariance.chapters.c4_dashcam.tables import CHANCE
from clip_invariance.chapters.c5_recovery.arms import (
    BESIDE,
    EVERYTHING,
    FIFTH,
    GENERALIST,
    ON_LABELS,
    PULL,
    UNTRAINED,
)
from clip_invariance.chapters.c5_recovery.pictures import CAPTIONED, CLOSE, DARK, FOG, LOST, OTHERS, USUAL
from clip_invariance.chapters.c5_recovery.tables import (
    BACKBONE,
    DEPTHS,
    EARLY,
    FIRST_STAGE,
    FULL,
    LORA,
    NAMES,
    PROBE,
    TUNED_AS,
    TUNED_FOR_ALL,
    Measured,
    encoders_by_task,
    in_words,
    mapped,
    on_car,
    probed,
    shortfalls,
)
from clip_invariance.chapters.c5_recovery.tuning import BOLD, GENTLE, RATES, GoingOn, Pairs, Tuning
from clip_invariance.measure.statistics import NamedValue, percent_of
from clip_invariance.measure.tables import gap, made, mean, percent, seeds_in_which, select
from clip_invariance.worlds import dashcam

Values = Iterator[NamedValue | None]

#: How factors are called in descriptions.
WHAT = {factor: name.sentence for factor, name in dashcam.NAMES.items()} | {"light": "the small light"}
#: The tables that advise on a task.
ADVICE = {"light": "what_to_do_light", "pedestrian": "what_to_do_crossing"}
_PROBED = "accuracy of a probe on the embedding"
_WORDS = "zero-shot accuracy for the car's colour and body"
_ALONE = "captions name the car alone"
_SMALL = "accuracy for the small light"


def values(data: Measured) -> list[NamedValue]:
    """All of them."""
    makers = (_recovery, _curves, _head_starts, _depths, _rates, _price, _captions, _pairs, _map, _kept, _pareto)
    return made(value for make in makers for value in make(data))


def _recovery(data: Measured) -> Values:
    few, many = data.budgets.few, data.budgets.many
    light, crossing = (data.accuracy(Tuning(SILENT, "lora", task, many)) for task in LOST)
    probe, before = data.best_frozen("light", many), data.words_before()
    net = "on the small light over the better probe minus what words lose on the car's colour and body"
    for n in data.budgets.curve:
        arm = Tuning(SILENT, "lora", "light", n)
        gained = data.accuracy(arm) - data.best_frozen("light", n)
        name, figure = ("c32_net", "price") if n == many else (f"net_lora_{n}", "cost_of_tuning")
        yield gap(name, gained, before - data.words_after(arm), figure,
                  f"what {LORA} with {n:,} labelled pictures gains {net}")  # fmt: skip
    better = f"{LORA} minus the better of the probes on the embedding and before the projection"
    for name, a, b, figure, text in (
        ("c32_gain", light, probe, "labels_needed", f"{_SMALL}, {many} labelled pictures: {better}"),
        ("c32_gain_pedestrian", crossing, data.best_frozen("pedestrian", many), "labels_needed",
         f"accuracy for somebody crossing, {many} labelled pictures: {better}"),
        ("c32_gain_depths", light, data.best_frozen("light", many, DEPTHS), "depths",
         f"{_SMALL}, {many} labelled pictures: {LORA} minus the probe at the best of all depths"),
        ("c32_gain_few", data.accuracy(Tuning(SILENT, "lora", "light", few)), data.best_frozen("light", few),
         "labels_needed", f"{_SMALL}, {few} labelled pictures: {better}"),
        ("c32_head_start", light, data.accuracy(Tuning(UNTRAINED, "scratch", "light", many)), "labels_needed",
         f"{_SMALL}: {LORA} with {many} labelled pictures minus the untrained network trained on the same pictures"),
        ("c32_left", data.probe("light", ON_LABELS), light, "labels_needed",
         f"{_SMALL}: network trained on labels from the start minus {LORA} with {many} labelled pictures"),
        ("c32_cost", before, data.words_after(Tuning(SILENT, "lora", "light", many)), "price",
         f"{_WORDS}: before minus after {LORA} for the small light with {many} labelled pictures"),
    ):  # fmt: skip
        yield gap(name, a, b, figure, text)
    share = percent(data.tuned, arm=Tuning(SILENT, "lora", "light", many), metric="trained")
    yield mean("trained_lora", share, "labels_needed",
               "weights that low-rank adaptation adds, in percent of the image tower's", kind="share")  # fmt: skip


def _curves(data: Measured) -> Values:
    few, many, most = data.budgets.few, data.budgets.many, data.budgets.curve[-1]
    told = "captions always mention light and pedestrian"
    for task, n, names in (
        ("light", few, "early early_untrained lora mentioned pixels"),
        ("light", many, "probe backbone early early_untrained projection lora lora_untrained full scratch pixels"),
        ("pedestrian", many, "early early_untrained scratch pixels"),
        *([("pedestrian", most, "scratch pixels")] if most != many else []),
    ):
        labels = f"{n:,} labelled pictures"
        ways = {
            "probe": (data.frozen(task, n), f"{PROBE}, {_ALONE}, {labels}"),
            "backbone": (data.frozen(task, n, depth="backbone"), f"{BACKBONE}, {_ALONE}, {labels}"),
            "early": (data.frozen(task, n, depth=FIRST_STAGE), f"{EARLY}, {_ALONE}, {labels}"),
            "early_untrained": (data.frozen(task, n, UNTRAINED, FIRST_STAGE),
                                f"{EARLY} of the untrained network, {labels}"),
            "mentioned": (data.frozen(task, n, TALKATIVE), f"{PROBE}, {told}, {labels}"),
            "pixels": (data.of_pixels(task, n), f"probe on raw pixels, {labels}"),
            "projection": (data.accuracy(Tuning(SILENT, "projection", task, n)),
                           f"tuning of the projection only, {_ALONE}, {labels}"),
            "lora": (data.accuracy(Tuning(SILENT, "lora", task, n)), f"{LORA}, {_ALONE}, {labels}"),
            "lora_untrained": (data.accuracy(Tuning(UNTRAINED, "lora", task, n)),
                               f"{LORA} of the untrained network, {labels}"),
            "full": (data.accuracy(Tuning(SILENT, "full", task, n)), f"{FULL}, {_ALONE}, {labels}"),
            "scratch": (data.accuracy(Tuning(UNTRAINED, "scratch", task, n)),
                        f"untrained network trained on {labels} alone"),
        }  # fmt: skip
        for name in names.split():
            samples, text = ways[name]
            figure = (
                "labels_needed" if name != "pixels" else {"light": "what_to_do_light"}.get(task, "what_to_do_crossing")
            )
            yield mean(f"{task}_{name}_{n}", samples, figure, f"accuracy for {WHAT[task]}: {text}", kind="share")


def _head_starts(data: Measured) -> Values:
    few, many = data.budgets.few, data.budgets.many
    for n in (n for n in data.budgets.curve if n >= few):
        full = data.accuracy(Tuning(SILENT, "full", "light", n))
        scratch = data.accuracy(Tuning(UNTRAINED, "scratch", "light", n))
        yield gap(f"light_full_head_start_{n}", full, scratch, "labels_needed",
                  f"{_SMALL}, {n:,} labelled pictures: {FULL}, {_ALONE}, minus of the untrained network")  # fmt: skip
        lora, fresh = (data.accuracy(Tuning(arm, "lora", "light", n)) for arm in (SILENT, UNTRAINED))
        yield gap(f"light_lora_head_start_{n}", lora, fresh, "labels_needed",
                  f"{_SMALL}, {n:,} labelled pictures: {LORA}, {_ALONE}, minus of the untrained network")  # fmt: skip
    learned, start = (data.frozen("light", few, arm, FIRST_STAGE) for arm in (SILENT, UNTRAINED))
    yield gap(f"light_early_learned_{few}", learned, start, "labels_needed",
              f"{_SMALL}: {EARLY}, {few:,} labelled pictures, {_ALONE} minus untrained network")  # fmt: skip
    first, pixels = data.frozen("light", many, depth=FIRST_STAGE), data.of_pixels("light", many)
    yield gap(f"light_early_over_pixels_{many}", first, pixels, ADVICE["light"],
              f"{_SMALL}: {EARLY}, {_ALONE}, minus probe on raw pixels, {many:,} labelled pictures")  # fmt: skip


def _depths(data: Measured) -> Values:
    many = data.budgets.many
    for depth in DEPTHS:
        samples, control = (data.frozen("light", many, arm, depth) for arm in (SILENT, UNTRAINED))
        place = depth.replace(" ", "_")
        where = {"backbone": BACKBONE, "embedding": PROBE}.get(depth, f"probe on {depth} of the image tower")
        what, labels = f"{_SMALL}: {where}", f"{many} labelled pictures"
        yield mean(f"light_at_{place}", samples, "depths", f"{what}, {_ALONE}, {labels}", kind="share")
        yield mean(
            f"light_untrained_at_{place}", control, "depths", f"{what}, untrained network, {labels}", kind="share"
        )
        yield gap(f"light_learned_at_{place}", samples, control, "depths",
                  f"{what}, {labels}, {_ALONE} minus untrained network")  # fmt: skip


def _rates(data: Measured) -> Values:
    """Why tuning costs what it costs: which rate was chosen, and what words lose at either."""
    before = data.words_before()
    for n in data.budgets.curve:
        arm, how = Tuning(SILENT, "lora", "light", n), f"{LORA} for the small light with {n:,} labelled pictures"
        rate = percent(data.tuned, arm=arm, metric="rate") / 100
        bold = pd.Series(np.isclose(rate, max(RATES["lora"])), rate.index)
        yield seeds_in_which(f"lora_bold_{n}", bold, "cost_of_tuning",
                             f"seeds in which validation chose the larger learning rate, {how}")  # fmt: skip
        yield seeds_in_which(f"lora_idle_{n}", rate == 0, "cost_of_tuning",
                             f"seeds in which validation chose not to tune, {how}")  # fmt: skip
        for name, metric, which in (("gentle", GENTLE, "smaller"), ("bold", BOLD, "larger")):
            after = on_car(select(data.tuned, arm=arm), metric=metric)
            yield gap(f"cost_lora_{name}_{n}", before, after, "cost_of_tuning",
                      f"{_WORDS}: before minus after {how}, {which} rate")  # fmt: skip


def _price(data: Measured) -> Values:
    many = data.budgets.many
    labels = f"{many} labelled pictures"
    for test, short, where, drawn in (
        (USUAL, "usual", "on usual pictures", "on usual pictures"),
        (FOG, "fog", "in fog", "in fog"),
        (DARK, "dark", "at half the exposure", "at half the exposure"),
        (CLOSE, "wide", "with a light twice as wide", "drawn twice as wide"),
    ):
        before, light = data.words_before(test), f"accuracy for the light {drawn}"
        for name, samples, text in (
            ("words", before, f"{_WORDS} {where}, {_ALONE}, nothing tuned"),
            ("backbone", data.frozen("light", many, depth="backbone", test=test),
             f"{light}: {BACKBONE}, {_ALONE}, {labels}"),
            ("early", data.frozen("light", many, depth=FIRST_STAGE, test=test), f"{light}: {EARLY}, {_ALONE}, {labels}"),
            ("early_untrained", data.frozen("light", many, UNTRAINED, FIRST_STAGE, test),
             f"{light}: {EARLY}, untrained network, {labels}"),
        ):  # fmt: skip
            yield mean(f"{name}_{short}", samples, "price", text, kind="share")
        for way in (LORA, FULL):
            arm = Tuning(SILENT, TUNED_AS[way], "light", many)
            for share, place, of, far in ((0.5, "half", "weights half way to ", ""), (1.0, "end", "", "after ")):
                if share < 1 and test != USUAL:
                    continue
                yield mean(f"{arm.method}_{short}_{place}", data.accuracy(arm, test, share), "price",
                           f"{light}: {of}{way}, {labels}", kind="share")  # fmt: skip
                yield gap(f"cost_{arm.method}_{short}_{place}", before, data.words_after(arm, test, share), "price",
                          f"{_WORDS} {where}: before minus {far}{of}{way} for the light, {labels}")  # fmt: skip


def _captions(data: Measured) -> Values:
    many = data.budgets.many
    before, after = select(data.reads, arm=SILENT), select(data.captions, arm=GoingOn(many))
    more = select(data.captions, arm=GoingOn(2000))
    control = select(data.captions, arm=GoingOn(many, mention=0.0))
    on, mentioning = "further training on", "captions that mention light and pedestrian"
    figure, told = "invariances", f"after {on} {many} {mentioning}"
    for name, a, b, text in (
        ("c33_gain", probed(after, "light"), probed(before, "light"), f"{_PROBED} for the small light: {told} minus before"),
        ("c33_cost", on_car(before), on_car(after), f"{_WORDS}: before minus {told}"),
        ("c33_gain_pedestrian", probed(after, "pedestrian"), probed(before, "pedestrian"),
         f"{_PROBED} for somebody crossing: {told} minus before"),
        ("c33_gain_2000", probed(more, "light"), probed(before, "light"),
         f"{_PROBED} for the small light: after {on} 2,000 {mentioning} minus before"),
        ("c33_cost_others", probed(before, OTHERS), probed(after, OTHERS),
         f"{_PROBED}, mean for weather, time, place and distance: before minus {told}"),
        ("c33_control", probed(control, "light"), probed(before, "light"),
         f"{_PROBED} for the small light: after {on} {many} captions that name the car alone minus before"),
    ):  # fmt: skip
        yield gap(name, a, b, figure, text)
    words = "zero-shot accuracy for the small light"
    yield mean("c33_words", in_words(after, "light"), figure, f"{words} {told}", kind="share")
    yield mean(
        "c33_words_2000", in_words(more, "light"), figure, f"{words} after {on} 2,000 {mentioning}", kind="share"
    )
    yield mean("c33_words_pedestrian", in_words(after, "pedestrian"), figure,
               f"zero-shot accuracy for somebody crossing {told}", kind="share")  # fmt: skip
    for n in (n for n in data.budgets.curve if n >= many):
        longer = select(data.captions, arm=GoingOn(n, longer=True))
        far = f"after eight times as many steps of {on} {n} {mentioning}"
        yield gap(f"c33_longer_gain_{n}", probed(longer, "light"), probed(before, "light"), figure,
                  f"{_PROBED} for the small light: {far} minus before")  # fmt: skip
        yield mean(f"c33_longer_words_{n}", in_words(longer, "light"), figure, f"{words} {far}", kind="share")
        yield gap(f"c33_longer_cost_{n}", on_car(before), on_car(longer), figure, f"{_WORDS}: before minus {far}")


def _pairs(data: Measured) -> Values:
    before, pulled = select(data.reads, arm=SILENT), select(data.pairs, arm=Pairs(data.budgets.many, pull=PULL))
    figure, time, chance = "invariances", probed(pulled, "time"), CHANCE["time"]
    left = percent_of(time - chance, probed(before, "time") - chance)
    yield mean("c33_time_left", left, figure,
               "accuracy above chance of a probe for the time of day, in percent of before, after pulling together pairs "
               "that differ in it", kind="ratio")  # fmt: skip
    yield gap("c33_time_cost", on_car(before), on_car(pulled), figure,
              f"{_WORDS}: before minus after pulling together pairs that differ in the time of day")  # fmt: skip
    what = f"{_PROBED} for the time of day"
    yield mean("time_before", probed(before, "time"), figure, f"{what}, {_ALONE}", kind="share")
    yield mean("time_after", time, figure, f"{what} after pulling together pairs that differ in it", kind="share")


def _map(data: Measured) -> Values:
    with_labels = f"{data.budgets.curve[-1]:,} labelled pictures"
    for factor in ASKED:
        plain, through, probe = (mapped(data, metric, factor) for metric in ("zero_shot", "mapped", "frozen"))
        what, fitted = (
            f"zero-shot accuracy for {WHAT[factor]}, {_ALONE}",
            f"through one linear map fitted to {with_labels}",
        )
        yield mean(f"words_{factor}", plain, "word_map", what, kind="share")
        yield mean(f"mapped_{factor}", through, "word_map", f"{what}, {fitted}", kind="share")
        yield gap(f"map_gain_{factor}", through, plain, "word_map", f"{what}: {fitted} minus without it")
        yield mean(f"probed_{factor}", probe, "word_map", f"{_PROBED} for {WHAT[factor]}, {_ALONE}, {with_labels}",
                   kind="share")  # fmt: skip


def _kept(data: Measured) -> Values:
    figure = "kept_from_the_start"
    for short, arm, whom in (
        ("silent", SILENT, _ALONE),
        ("longer", LONGER, f"{_ALONE}, three times the steps"),
        ("beside", BESIDE, f"{_ALONE}, a self-supervised term beside them"),
        ("fifth", FIFTH, "a fifth of the captions rewritten to mention everything"),
        ("everything", EVERYTHING, "all captions rewritten to mention everything"),
    ):
        rows = select(data.reads, arm=arm)
        for ending, samples, text in (
            ("", probed(rows, (*LOST, *OTHERS)), f"{_PROBED}, mean for six factors that plain captions leave out"),
            ("_light", probed(rows, "light"), f"{_PROBED} for the small light"),
            ("_words", in_words(rows, "light"), "zero-shot accuracy for the small light"),
            ("_captioned", on_car(rows), _WORDS),
        ):
            yield mean(f"kept_{short}{ending}", samples, figure, f"{text}, {whom}", kind="share")
    text = f"{_WORDS}: {_ALONE} minus captions that always mention light and pedestrian, too, from the start"
    yield gap("words_cost_of_light", data.words_before(), data.words_before(arm=TALKATIVE), figure, text)


def _pareto(data: Measured) -> Values:
    many, figure = data.budgets.many, "one_or_many"
    behind = shortfalls(encoders_by_task(data))
    # What must exceed a threshold for every encoder must do so for the one whose interval reaches lowest.
    least = min((name for name in behind if name != NAMES[GENERALIST]), key=lambda name: behind[name][2].low)
    worst = "accuracy of the best encoder's probe minus this one's on its worst task"
    for name, encoder, text in (
        ("c34_silent", NAMES[SILENT], f"shortfall, {worst}: {_ALONE}"),
        ("c34_best_single", least,
         f"smallest shortfall of all encoders but the one with labels of every task, {worst}: {least}, on {{task}}"),
        ("c34_all_at_once", TUNED_FOR_ALL, f"shortfall, {worst}: encoder tuned for all tasks at once"),
        ("c34_generalist", NAMES[GENERALIST], f"shortfall, {worst}: network trained on labels of every task, on {{task}}"),
    ):  # fmt: skip
        if encoder in behind:
            task, _, short = behind[encoder]
            yield NamedValue(name, short, "points", figure, text.format(task=WHAT[task]), kind="difference")
    specialist = select(data.tuned, arm=Tuning(SILENT, "full", "light", many))
    yield gap("c34_specialist_cost", data.probe(CAPTIONED), probed(specialist, CAPTIONED), figure,
              f"{_PROBED}, mean for the car's colour and body: before minus after {FULL} for the light")  # fmt: skip
    rate = percent(data.tuned, arm=Tuning(SILENT, "full", "body", many), metric="rate")
    yield seeds_in_which("idle_full_body", rate == 0, figure,
                         f"seeds in which validation chose not to tune, {FULL} for the car's body with {many} labelled "
                         "pictures")  # fmt: skip
