"""Chapter 6: the numbers that its claims' rules read or its page quotes, with what each is in words.

A profile may leave arms out: then the numbers that need them are left out, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import pandas as pd

from clip_invariance.chapters.c6_limits import arms
from clip_invariance.chapters.c6_limits.arms import Arm, CardArm
from clip_invariance.chapters.c6_limits.asking import LOOKALIKE
from clip_invariance.chapters.c6_limits.tables import BACKBONE, CHANCE, NAMED_BY, PIXELS, PROBE, UNNAMED, WORDS, Where
from clip_invariance.measure.statistics import NamedValue, paired_difference, percent_of
from clip_invariance.measure.tables import gap, made, mean, percent

Made = list[NamedValue | None]

#: Ways to read something from an encoder: which rows of the measures, and in words.
_WAYS: dict[str, tuple[Where, str]] = {
    "words": (WORDS, "zero-shot accuracy"),
    "probe": (PROBE, "accuracy of a probe on the embedding"),
    "backbone": (BACKBONE, "accuracy of a probe before the projection"),
}
_WORDS, _PROBE, _BEFORE = (text for _, text in _WAYS.values())
_THE = {"object": "the thing", "part": "the part", "count": "the number of parts"}
_ON_LABELS, _ON_THING = "net trained on labels", "net trained on labels for the thing alone"
_KNOWN = "text tower frozen and trained on language before"
_EMPTY = pd.Series(dtype=float)

#: Name -> how it is read, of which encoder, and that encoder in words.
Readings = Mapping[str, tuple[str, Arm | CardArm, str]]


def values(table: pd.DataFrame) -> list[NamedValue]:
    """Every number of chapter 6 from the table of all its measures."""
    parts = (_tasks, _fine, _counts, _digits, _noise, _details, _surroundings, _looks, _search)
    return made(value for part in parts for value in part(table))


def _shares(table: pd.DataFrame, figure: str, what: str, where: Where, readings: Readings, chance: str) -> Made:
    """Accuracies in percent; ``what`` is asked and ``where`` its answers are, ``chance`` ends the description."""
    return [
        mean(name, percent(table, arm=arm, **_WAYS[how][0], **where), figure,
             f"{_WAYS[how][1]} {what}, {encoder}{chance}", kind="share")
        for name, (how, arm, encoder) in readings.items()
    ]  # fmt: skip


def _minus(a: pd.Series, b: pd.Series) -> pd.Series:
    """``a - b`` per seed; empty where one of them was not measured."""
    return a - b if len(a) and len(b) else _EMPTY


def _average(samples: Sequence[pd.Series]) -> pd.Series:
    """The mean per seed; empty where one of them was not measured."""
    return pd.concat(samples, axis=1).mean(axis=1, skipna=False) if all(map(len, samples)) else _EMPTY


def above_chance(samples: pd.Series, factor: str) -> pd.Series:
    """Accuracy in percent scaled so that chance is 0 and always right is 100."""
    return 100 * (samples - CHANCE[factor]) / (100 - CHANCE[factor])


# ---------------------------------------------------------------- C35 to C38


def _tasks(table: pd.DataFrame) -> Made:
    figure = "words_and_labels"

    def both(task: str, arm: Arm) -> tuple[pd.Series, pd.Series]:
        return percent(table, arm=arms.LABELS, **PROBE, factor=task), percent(table, arm=arm, **WORDS, factor=task)

    named = {task: both(task, NAMED_BY[task]) for task in _THE}
    means = {
        "named": ([_minus(*pair) for pair in named.values()], "thing, part and number",
                  "encoders whose captions always name them"),
        "unnamed": ([_minus(*both(task, arms.PLAIN)) for task in UNNAMED], "part, number, background and quality",
                    "captions that name the thing alone"),
    }  # fmt: skip
    return [
        *(
            mean(f"c35_gap_{name}", _average(gaps), figure,
                 f"accuracy, mean for {tasks}: {_ON_LABELS} minus zero-shot of {encoders}", kind="difference")
            for name, (gaps, tasks, encoders) in means.items()
        ),
        *(
            gap(f"c35_gap_{task}", *pair, figure,
                f"accuracy for {_THE[task]}: {_ON_LABELS} minus zero-shot of captions that always name it")
            for task, pair in named.items()
        ),
    ]  # fmt: skip


def _fine(table: pd.DataFrame) -> Made:
    figure, which = "fine_and_coarse", "which of four look-alikes"
    coarse, fine = "captions with coarse names", "captions with fine names"

    def read(arm: Arm, how: str, factor: str = LOOKALIKE) -> pd.Series:
        return percent(table, arm=arm, **_WAYS[how][0], factor=factor)

    readings: Readings = {
        "c36_fine_words": ("words", arms.PLAIN, fine),
        "c36_coarse_words": ("words", arms.COARSE, coarse),
        "c36_coarse_probe": ("probe", arms.COARSE, coarse),
        "c36_coarse_backbone": ("backbone", arms.COARSE, coarse),
        "c36_fine_probe": ("probe", arms.PLAIN, fine),
        "c36_untrained": ("probe", arms.UNTRAINED, "untrained encoder"),
        "c36_untrained_backbone": ("backbone", arms.UNTRAINED, "untrained encoder"),
    }
    group: Readings = {"c36_group_words": ("words", arms.COARSE, coarse)}
    return [
        *(
            gap(f"c36_gap_{how}", above_chance(read(arms.COARSE, how, "group"), "group"),
                above_chance(read(arms.COARSE, how), LOOKALIKE), figure,
                f"{_WAYS[how][1]}, scaled from chance (0) to right (100), {coarse}: for the group minus for {which}")
            for how in ("words", "probe")
        ),
        gap("c36_loss_probe", read(arms.PLAIN, "probe"), read(arms.COARSE, "probe"), figure,
            f"{_PROBE} for {which}: {fine} minus {coarse}"),
        *_shares(table, figure, f"for {which}", {"factor": LOOKALIKE}, readings, ", chance 25 %"),
        *_shares(table, figure, "for the group (car, flower or bird)", {"factor": "group"}, group, ", chance 33 %"),
    ]  # fmt: skip


def _counts(table: pd.DataFrame) -> Made:
    figure, what = "counting", f"for {_THE['count']}"
    never, always = "captions never say it", "captions always say it"
    silent, said = (percent(table, arm=arm, **WORDS, factor="count") for arm in (arms.PLAIN, arms.DETAILED))
    labels = percent(table, arm=arms.LABELS, **PROBE, factor="count")
    against = f"accuracy {what}: {_ON_LABELS} minus zero-shot of captions that"
    readings: Readings = {
        "c37_words_silent": ("words", arms.PLAIN, never),
        "c37_words_named": ("words", arms.DETAILED, always),
        "c37_probe_silent": ("probe", arms.PLAIN, never),
        "c37_probe_backbone": ("backbone", arms.PLAIN, never),
        "c37_probe_named": ("probe", arms.DETAILED, always),
        "c37_probe_backbone_named": ("backbone", arms.DETAILED, always),
        "c37_untrained": ("probe", arms.UNTRAINED, "untrained encoder"),
        "c37_untrained_backbone": ("backbone", arms.UNTRAINED, "untrained encoder"),
        "c37_words_known": ("words", arms.FROZEN, f"{never}, {_KNOWN}"),
        "c37_words_known_named": ("words", arms.FROZEN_DETAILED, f"{always}, {_KNOWN}"),
        "c37_labels": ("probe", arms.LABELS, _ON_LABELS),
    }
    return [
        gap("c37_gained", said, silent, figure, f"{_WORDS} {what}: {always} minus never"),
        gap("c37_gap_silent", labels, silent, figure, f"{against} never say it"),
        gap("c37_gap_named", labels, said, figure, f"{against} always say it"),
        *_shares(table, figure, what, {"factor": "count"}, readings, ", chance 25 %"),
    ]


def _digits(table: pd.DataFrame) -> Made:
    figure, what, printed = "digits", "for handwritten digits", "for printed digits in new typefaces"
    never, always = "captions never name them", "captions always name them"
    on_pixels = "minus logistic regression on pixels"
    by_hand = {"factor": "digit", "pictures": "handwritten"}
    in_print = {"factor": "digit", "pictures": "printed"}

    def read(arm: CardArm, how: str, where: Where = by_hand) -> pd.Series:
        return percent(table, arm=arm, **_WAYS[how][0], **where)

    pixels = percent(table, **PIXELS, **by_hand)
    untrained = read(arms.CARDS_UNTRAINED, "probe")
    readings: Readings = {
        "c38_words_silent": ("words", arms.CARDS_SILENT, never),
        "c38_words_named": ("words", arms.CARDS_NAMED, always),
        "c38_words_known": ("words", arms.CARDS_FROZEN_SILENT, f"{never}, {_KNOWN}"),
        "c38_words_known_named": ("words", arms.CARDS_FROZEN_NAMED, f"{always}, {_KNOWN}"),
        "c38_probe_silent": ("probe", arms.CARDS_SILENT, never),
        "c38_probe_backbone": ("backbone", arms.CARDS_SILENT, never),
        "c38_probe_named": ("probe", arms.CARDS_NAMED, always),
        "c38_untrained": ("probe", arms.CARDS_UNTRAINED, "untrained encoder"),
    }
    card: Readings = {"c38_card_named": ("words", arms.CARDS_SILENT, "captions name it alone")}
    on_card = "for the colour of the card that handwritten digits are on"
    return [
        gap("c38_probe_gap", read(arms.CARDS_SILENT, "probe"), pixels, figure, f"{_PROBE} {what}, {never}, {on_pixels}"),
        gap("c38_backbone_gap", read(arms.CARDS_SILENT, "backbone"), pixels, figure,
            f"{_BEFORE} {what}, {never}, {on_pixels}"),
        gap("c38_printed_gap", read(arms.CARDS_SILENT, "probe", in_print), percent(table, **PIXELS, **in_print), figure,
            f"{_PROBE} {printed}, {never}, {on_pixels}"),
        gap("c38_untrained_gap", untrained, pixels, figure, f"{_PROBE} {what}, untrained encoder, {on_pixels}"),
        gap("c38_lost", untrained, read(arms.CARDS_SILENT, "probe"), figure,
            f"{_PROBE} {what}: untrained encoder minus {never}"),
        gap("c38_words_gap", read(arms.CARDS_NAMED, "words"), pixels, figure, f"{_WORDS} {what}, {always}, {on_pixels}"),
        mean("c38_pixels", pixels, figure, f"accuracy of logistic regression on pixels {what}, chance 10 %", kind="share"),
        *_shares(table, figure, what, by_hand, readings, ", chance 10 %"),
        *_shares(table, figure, on_card, {"factor": "card", "pictures": "handwritten"}, card, ""),
    ]  # fmt: skip


# ---------------------------------------------------------------- C39 to C41


def _noise(table: pd.DataFrame) -> Made:
    figure, what, mixed = "noise", f"{_WORDS} for the thing", "corrupted captions, a third of each kind"
    kinds = {
        "unrelated": "off-topic captions",
        "stuffed": "captions stuffed with wrong nouns",
        "nounless": "captions without a noun",
    }

    def read(arm: Arm) -> pd.Series:
        return percent(table, arm=arm, **WORDS, factor="object")

    clean, corrupted = read(arms.PLAIN), read(arms.NOISY)
    return [
        gap("c39_loss_40", clean, corrupted, figure, f"{what}: clean captions minus 40 % {mixed}"),
        *(
            gap(f"c39_loss_{kind}_{round(100 * rate)}", clean, read(arms.noisy(kind, rate)), figure,
                f"{what}: clean captions minus {round(100 * rate)} % {words}")
            for kind, words in kinds.items()
            for rate in arms.NOISE_RATES[kind]
        ),
        gap("c39_loss_cleaned", read(arms.CLEANED), corrupted, figure,
            f"{what}: the 40 % of pairs with corrupted captions left out of training minus kept in"),
        mean("c39_clean", clean, figure, f"{what}, clean captions", kind="share"),
        mean("c39_noisy", corrupted, figure, f"{what}, 40 % {mixed}", kind="share"),
    ]  # fmt: skip


def _details(table: pd.DataFrame) -> Made:
    figure, what, probed = "rare_details", f"{_WORDS} for the part", f"{_PROBE} for the part"
    never, always = "never listed", "always listed"

    def read(arm: Arm, how: str = "words") -> pd.Series:
        return percent(table, arm=arm, **_WAYS[how][0], factor="part")

    def recovered(arm: Arm) -> pd.Series:
        return percent_of(_minus(read(arm), read(arms.PLAIN)), _minus(read(arms.DETAILED), read(arms.PLAIN)))

    readings: Readings = {
        "c40_words_never": ("words", arms.PLAIN, never),
        "c40_words_5": ("words", arms.RARE, "listed in 5 % of the captions"),
        "c40_words_20": ("words", arms.listed(0.2), "listed in 20 % of the captions"),
        "c40_words_always": ("words", arms.DETAILED, always),
        "c40_words_known_always": ("words", arms.FROZEN_DETAILED, f"{always}, {_KNOWN}"),
        "c40_probe_never": ("probe", arms.PLAIN, never),
        "c40_probe_5": ("probe", arms.RARE, "listed in 5 % of the captions"),
        "c40_probe_always": ("probe", arms.DETAILED, always),
        "c40_untrained": ("probe", arms.UNTRAINED, "untrained encoder"),
    }
    found = [
        gap("c40_gain_5", read(arms.RARE), read(arms.PLAIN), figure, f"{what}: listed in 5 % of the captions minus {never}"),
        gap("c40_probe_short", read(arms.DETAILED, "probe"), read(arms.RARE, "probe"), figure,
            f"{probed}: {always} in captions minus listed in 5 % of the captions"),
        *_shares(table, figure, "for the part", {"factor": "part"}, readings, ", chance 25 %"),
    ]  # fmt: skip
    for share in arms.ALONE:
        n = round(100 * share)
        beside, alone, brief = (
            arms.listed(share),
            arms.listed(share, alone=True),
            arms.listed(share, alone=True, brief=True),
        )
        trained = f"trained on {n} % of the pictures, all with lists"
        parts: Readings = {
            f"c40_alone_part_{n}": ("words", alone, trained),
            f"c40_brief_part_{n}": ("words", brief, f"{trained}, and for {n} % of the steps"),
        }
        counts: Readings = {
            f"c40_count_beside_{n}": ("words", beside, f"listed in {n} % of the captions"),
            f"c40_count_brief_{n}": ("words", brief, f"{trained}, for {n} % of the steps"),
            f"c40_count_alone_{n}": ("words", alone, trained),
        }
        found += [
            mean(f"c40_recovered_{n}", recovered(beside), figure,
                 f"{what}, listed in {n} % of the captions: this far on the way from never (0) to always (100)",
                 kind="ratio"),
            gap(f"c40_brief_gain_{n}", read(brief), read(beside), figure,
                f"{what}: {trained}, for {n} % of the steps, minus on all pictures, {n} % with lists"),
            gap(f"c40_shown_gain_{n}", read(alone), read(brief), figure,
                f"{what}, {trained}: for all steps minus for {n} % of them"),
            *_shares(table, figure, "for the part", {"factor": "part"}, parts, ""),
            *_shares(table, figure, f"for {_THE['count']}", {"factor": "count"}, counts, ", chance 25 %"),
        ]  # fmt: skip
    return found


def _surroundings(table: pd.DataFrame) -> Made:
    figure = "surroundings"

    def right(arm: Arm, background: str = "other") -> pd.Series:
        return percent(table, arm=arm, metric="right", pictures=background)

    def drop(before: Arm, after: Arm) -> pd.Series:
        return _minus(right(before), right(after))

    by_captions, by_labels = drop(arms.PLAIN, arms.TIED), drop(arms.LABELS, arms.TIED_LABELS)
    by_thing = drop(arms.THING, arms.TIED_THING)
    elsewhere, usual = f"{_WORDS} before an unusual background", f"{_WORDS} before the thing's usual background"
    apart, together = "thing and background independent in training", "together in 90 % of training"
    tied, named = f"thing and background {together}", "captions name the background, too"
    dropped = f"accuracy before an unusual background, {apart} minus {together}"
    gaps = {
        "c41_gap": (arms.TIED, f"{usual} minus before another one, {tied}"),
        "c41_gap_named": (arms.TIED_NAMED, f"{usual} minus before another one, {tied}, {named}"),
        "c41_gap_labels": (
            arms.TIED_LABELS,
            f"accuracy before the thing's usual background minus before another one, {tied}: {_ON_LABELS} for thing and "
            "background",
        ),
        "c41_gap_thing": (
            arms.TIED_THING,
            f"accuracy before the thing's usual background minus before another one, {tied}: {_ON_THING}",
        ),
    }
    shares = {
        "c41_other": (right(arms.TIED), f"{elsewhere}, {tied}"),
        "c41_usual": (right(arms.TIED, "usual"), f"{usual}, {tied}"),
        "c41_usual_named": (right(arms.TIED_NAMED, "usual"), f"{usual}, {tied}, {named}"),
        "c41_other_always": (
            right(Arm(together=1.0)),
            f"{elsewhere}, thing and background always together in training",
        ),
        "c41_lured": (
            percent(table, arm=arms.TIED, metric="lured"),
            f"errors before an unusual background that name the look-alike which belongs to it, {tied}",
        ),
        "c41_bare": (
            percent(table, arm=arms.TIED, metric="fits"),
            f"zero-shot answers to a background without a thing that belong to it, {tied}, chance 25 %",
        ),
    }
    return [
        gap("c41_drop", right(arms.PLAIN), right(arms.TIED), figure, f"{elsewhere}: {apart} minus {together}"),
        gap("c41_captions", by_captions, by_labels, figure, f"{dropped}: captions minus {_ON_LABELS}"),
        gap("c41_captions_thing", by_captions, by_thing, figure, f"{dropped}: captions minus {_ON_THING}"),
        mean("c41_thing_drop", by_thing, figure, f"{dropped}: {_ON_THING}", kind="difference"),
        gap("c41_named_drop", right(arms.PLAIN), right(arms.TIED_NAMED), figure,
            f"{elsewhere}: {apart} minus {together} with the background named"),
        *(gap(name, right(arm, "usual"), right(arm), figure, text) for name, (arm, text) in gaps.items()),
        _rise([right(Arm(together=together)) for together in (0.0, *arms.TIES)], figure,
              f"{elsewhere}: largest gain from one degree of going together to the next, negative if none"),
        *(mean(name, samples, figure, text, kind="share") for name, (samples, text) in shares.items()),
    ]  # fmt: skip


def _rise(samples: Sequence[pd.Series], figure: str, description: str) -> NamedValue | None:
    """The largest gain before an unusual background from one tie to the next firmer one, in points; negative if none.

    Of all neighbouring ties, the pair whose interval reaches highest: what must stay below a threshold anywhere must do
    so there.
    """
    if not all(map(len, samples)):
        return None
    largest = max((paired_difference(b, a) for a, b in pairwise(samples)), key=lambda rise: rise.high)
    return NamedValue("c41_rise", largest, "points", figure, description, kind="difference")


# ---------------------------------------------------------------- C42 and C43


def _looks(table: pd.DataFrame) -> Made:
    figure, conflict = "look_and_parts", "outlines of one thing on the look of another"
    names = {"look": "its look alone (a mosaic of its colours)", "parts": "its parts alone (its outlines)"}
    follow = f"{conflict}: answers that follow the look minus the outlines"

    def kept(layer: str) -> pd.Series:
        """Accuracy above chance with one layer alone, in percent of that on the whole drawing."""
        whole, alone = (
            above_chance(percent(table, arm=arms.PLAIN, metric="right", pictures=pictures), "object")
            for pictures in ("whole", layer)
        )
        return percent_of(alone, whole)

    as_look, as_parts = (percent(table, arm=arms.PLAIN, metric=metric) for metric in ("as_look", "as_parts"))
    by_labels = _minus(*(percent(table, arm=arms.LABELS, metric=metric) for metric in ("as_look", "as_parts")))
    return [
        *(
            mean(f"c42_kept{end}", kept(layer), figure, f"accuracy above chance for a thing shown by {names[layer]}, "
                 "in percent of that on the whole drawing, zero-shot", kind="ratio")
            for layer, end in (("look", ""), ("parts", "_parts"))
        ),
        gap("c42_follows_look", as_look, as_parts, figure, f"{follow}, zero-shot"),
        gap("c42_captions", _minus(as_look, as_parts), by_labels, figure, f"{follow}; zero-shot minus {_ON_LABELS}"),
        *(
            mean(name, samples, figure, f"{conflict}: zero-shot answers that follow the {layer}, chance 8 %", kind="share")
            for name, samples, layer in (("c42_as_look", as_look, "look"), ("c42_as_parts", as_parts, "outlines"))
        ),
        mean("c42_neither", 100 - as_look - as_parts, figure, f"answers that follow neither look nor parts, {conflict}",
             kind="ratio"),
        *(
            mean(f"c42_legible_{layer}", percent(table, arm=arms.PLAIN, metric="legible", pictures=layer), figure,
                 f"{_PROBE} for a thing shown by {name}, fitted on such pictures, chance 8 %", kind="share")
            for layer, name in names.items()
        ),
    ]  # fmt: skip


def _search(table: pd.DataFrame) -> Made:
    def recall(arm: Arm, query: str, k: int) -> pd.Series:
        return percent(table, arm=arm, metric=f"recall_{k}", factor=query)

    listing, silent = recall(arms.DETAILED, "all", 5), recall(arms.PLAIN, "all", 5)
    right = "searches for a thing with its parts that find a right picture among the best five"
    sharp = "captions always say whether it is sharp or grainy"
    shares = {
        "c43_recall_thing": (
            recall(arms.PLAIN, "thing", 1),
            "searches for a thing by its name whose best picture is right, captions name the thing alone",
        ),
        "c43_recall_all": (listing, f"{right}, captions always list the parts"),
        "c43_recall_all_silent": (silent, f"{right}, captions never list the parts"),
    }
    ranked = {
        "c43_ranked": (arms.COARSE, "grain", sharp),
        "c43_ranked_blur": (arms.COARSE, "blur", sharp),
        "c43_ranked_silent": (arms.PLAIN, "grain", "captions never speak of quality"),
    }
    return [
        gap("c43_gain", listing, silent, "search", f"{right}: captions always list the parts minus never"),
        *(mean(name, samples, "search", text, kind="share") for name, (samples, text) in shares.items()),
        *(
            mean(name, percent(table, arm=arm, metric="ranked", pictures=damage), "filtering",
                 f"how often words rank a sharp picture above one with {damage}, {captions}, chance 50 %", kind="share")
            for name, (arm, damage, captions) in ranked.items()
        ),
    ]  # fmt: skip
