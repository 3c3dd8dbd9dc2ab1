"""Chapter 6: from what was measured to what its figures show and its claims are decided by.

A profile may leave arms out: then the rows and the numbers that need them are left out, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise

import pandas as pd
import torch

from clip_invariance.chapters.c6_limits.measures import (
    LOOKALIKE,
    RECALLS,
    measure,
    measure_cards,
    measure_pixels,
    misleading,
)
from clip_invariance.chapters.c6_limits.training import (
    ALONE,
    ARMS,
    CARD_ARMS,
    NOISE_RATES,
    PROFILE_ARMS,
    SHARES,
    TASKS,
    TIES,
    listed,
    noisy,
    tied,
    train_unit,
)
from clip_invariance.measure.statistics import Estimate, NamedValue, mean_over_seeds, paired_difference, percent_of
from clip_invariance.profiles import Profile
from clip_invariance.units import Unit
from clip_invariance.worlds import cards, collages
from clip_invariance.worlds.collages import Layer

#: Test pictures of each kind; probes are fitted on as many others.
TESTS = {"smoke": 100, "quick": 2000, "standard": 2000, "full": 4000}

#: Chance in percent.
CHANCE = {name: 100 / len(values) for name, values in collages.FACTORS.items()}
CHANCE |= {"group": 100 / len(collages.GROUPS), LOOKALIKE: 100 / collages.PER_GROUP}
CHANCE_DIGIT = 100 / len(cards.FACTORS["digit"])
HANDS = cards.FACTORS["hand"]

PLAIN, COARSE, LABELS, UNTRAINED = "plain", "coarse", "labels", "untrained"
#: Labels for the thing alone; a text tower that knows words which no caption uses.
THING, FROZEN = "thing", "frozen"
DETAILED, RARE = listed(1.0), listed(0.05)
#: The encoder that is asked in words about each task in C35: one whose captions always name it.
NAMED_BY = {"object": PLAIN, "part": DETAILED, "count": DETAILED, "quality": COARSE}
#: What the plain captions never name.
UNNAMED = ("part", "count", "background", "quality")

# Names of the figures, for the values that they show.
TASKS_FIGURE, FINE, COUNT, DIGITS, NOISE_FIGURE = "words_and_labels", "fine_and_coarse", "counting", "digits", "noise"
RARE_FIGURE, TOGETHER, LOOKS, SEARCH, FILTER = "rare_details", "surroundings", "look_and_parts", "search", "filtering"


# ---------------------------------------------------------------- units


def all_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Every unit below."""
    return [unit for make in (units, card_units, pixel_units) for unit in make(profile, seeds, device)]


def units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """All measures of the encoders of collages; one seed after the other, as arms of one seed share their pictures."""
    return _with_encoder(measure, ARMS, profile, seeds, device)


def card_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """All measures of the encoders of cards."""
    return _with_encoder(measure_cards, CARD_ARMS, profile, seeds, device)


def _with_encoder(
    function: Callable[..., pd.DataFrame], arms: Iterable[str], profile: Profile, seeds: int, device: str
) -> list[Unit]:
    known, scale = set(arms), {"tests": TESTS[profile.name], "device": device}
    return [
        Unit(function, {"arm": arm, **scale, "seed": seed}, {"encoder": train_unit(arm, profile, seed, device)})
        for seed in range(seeds)
        for arm in PROFILE_ARMS[profile.name]
        if arm in known
    ]


def pixel_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """The same probes on raw pixels."""
    return [
        Unit(measure_pixels, {"tests": TESTS[profile.name], "seed": seed, "device": device}) for seed in range(seeds)
    ]


# ---------------------------------------------------------------- reading the tables


def read(table: pd.DataFrame, arm: str, measured: str, group: str, metric: str) -> pd.Series:
    """One number per seed in percent; empty where the arm was not trained or not asked."""
    chosen = (table["measure"] == measured) & (table["group"] == group) & (table["metric"] == metric)
    if "arm" in table:
        chosen &= table["arm"] == arm
    return 100 * table[chosen].set_index("seed")["value"]


def words(table: pd.DataFrame, arm: str, factor: str) -> pd.Series:
    """Zero-shot accuracy in percent, per seed."""
    return read(table, arm, "words", "words", factor)


def probe(table: pd.DataFrame, arm: str, factor: str, depth: str = "embedding") -> pd.Series:
    """Accuracy of a linear probe in percent, per seed."""
    return read(table, arm, "probe", depth, factor)


def above_chance(samples: pd.Series, factor: str) -> pd.Series:
    """Accuracy in percent scaled so that chance is 0 and always right is 100."""
    return 100 * (samples - CHANCE[factor]) / (100 - CHANCE[factor])


def gap(table: pd.DataFrame, factor: str, arm: str) -> pd.Series:
    """Points that the supervised net is better than the words of an arm, per seed."""
    return probe(table, LABELS, factor) - words(table, arm, factor)


def recovered(table: pd.DataFrame, share: float) -> pd.Series:
    """How far words for the parts are on the way from never (0) to always listed (100), per seed."""
    never, here, always = (words(table, listed(x), "part") for x in (0.0, share, 1.0))
    return percent_of(here - never, always - never)


def kept_of_look(table: pd.DataFrame, arm: str, layer: str) -> pd.Series:
    """Accuracy above chance with one layer alone, in percent of that on the whole drawing, per seed."""
    whole, alone = (above_chance(read(table, arm, "looks", name, "right"), "object") for name in ("whole", layer))
    return percent_of(alone, whole)


def follows_look(table: pd.DataFrame, arm: str) -> pd.Series:
    """Answers that follow the look minus those that follow the parts, points, where the two disagree."""
    return read(table, arm, "looks", "conflict", "look") - read(table, arm, "looks", "conflict", "parts")


def rises(table: pd.DataFrame) -> Estimate | None:
    """The largest gain before an unusual background from one tie to the next firmer one, in points; negative if none.

    Of all neighbouring ties, the pair whose interval reaches highest: what must stay below a threshold anywhere must do
    so there.
    """
    found = [read(table, tied(together), "surroundings", "other", "right") for together in (0.0, *TIES)]
    if not all(len(samples) for samples in found):
        return None
    return max((paired_difference(b, a) for a, b in pairwise(found)), key=lambda rise: rise.high)


# ---------------------------------------------------------------- figures

Row = dict[str, object]


def _row(samples: pd.Series, **names: object) -> list[Row]:
    """A row with the mean and its interval; none where nothing was measured."""
    if not len(samples):
        return []
    estimate = mean_over_seeds(samples.to_numpy())
    return [{**names, "value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}]


def _table(rows: Iterable[Sequence[Row]]) -> pd.DataFrame:
    return pd.DataFrame([row for group in rows for row in group])


def tasks_table(table: pd.DataFrame, pixels: pd.DataFrame) -> pd.DataFrame:
    """Every task by every reader: task, series, value ... in percent; series "chance" has no interval.

    "words, named": the encoder whose captions always name it; "words, not named": the one that names the thing alone.
    """
    rows: list[list[Row]] = []
    for task in TASKS:
        series = {
            "words, named": words(table, NAMED_BY[task], task) if task in NAMED_BY else pd.Series(dtype=float),
            "words, not named": words(table, PLAIN, task) if task in UNNAMED else pd.Series(dtype=float),
            "probe, not named": probe(table, PLAIN, task) if task in UNNAMED else pd.Series(dtype=float),
            "trained on labels": probe(table, LABELS, task),
            "pixels": read(pixels, "", "probe", "pixels", task),
        }
        rows += [_row(samples, task=task, series=name) for name, samples in series.items()]
        rows.append([{"task": task, "series": "chance", "value": CHANCE[task]}])
    return _table(rows)


_READERS = {"words": "words", "probe": "embedding", "probe, span of texts": "span", "probe, backbone": "backbone"}
_CURVES = ("words", "probe", "probe, backbone")
_NAMINGS = {"fine names": PLAIN, "coarse names": COARSE, "trained on labels": LABELS, "untrained": UNTRAINED}


def fine_table(table: pd.DataFrame, pixels: pd.DataFrame) -> pd.DataFrame:
    """Group and look-alikes under fine and coarse names: question, encoder, reader, value ... in percent."""
    rows: list[list[Row]] = []
    for question in ("group", LOOKALIKE):
        for encoder, arm in _NAMINGS.items():
            for reader, depth in _READERS.items():
                # Fine names never say "a car": only the captions that name groups can be asked for them.
                asked = reader != "words" or question == LOOKALIKE or arm == COARSE
                measured = "words" if reader == "words" else "probe"
                samples = read(table, arm, measured, depth, question) if asked else pd.Series(dtype=float)
                rows.append(_row(samples, question=question, encoder=encoder, reader=reader))
        for encoder, samples in _probe_controls(table, pixels, question).items():
            rows.append(_row(samples, question=question, encoder=encoder, reader="probe"))
        rows.append([{"question": question, "encoder": "chance", "reader": "", "value": CHANCE[question]}])
    return _table(rows)


_COUNTERS = {
    "number never said": PLAIN,
    "said in 5 %": RARE,
    "always said": DETAILED,
    "never said, words known": FROZEN,
    "always said, words known": f"{FROZEN}_{DETAILED}",
    "trained on labels": LABELS,
    "untrained": UNTRAINED,
}


def count_table(table: pd.DataFrame, pixels: pd.DataFrame) -> pd.DataFrame:
    """Counting by words and probes: encoder, reader, value ... in percent."""
    rows: list[list[Row]] = []
    for encoder, arm in _COUNTERS.items():
        for reader, depth in _READERS.items():
            samples = read(table, arm, "words" if reader == "words" else "probe", depth, "count")
            rows.append(_row(samples, encoder=encoder, reader=reader))
    for encoder, samples in _probe_controls(table, pixels, "count").items():
        rows.append(_row(samples, encoder=encoder, reader="probe"))
    return _table(rows)


def _probe_controls(table: pd.DataFrame, pixels: pd.DataFrame, factor: str) -> dict[str, pd.Series]:
    """Probes that no training of ours helps: on raw pixels, and on the plain encoder with shuffled labels."""
    shuffled = probe(table, PLAIN, factor, "shuffled")
    return {"pixels": read(pixels, "", "probe", "pixels", factor), "shuffled labels": shuffled}


_CARD_NAMES = {
    "digit never said": "cards_silent",
    "digit and card said": "cards_both",
    "digit said": "cards_named",
    "never said, words known": "cards_frozen_silent",
    "digit said, words known": "cards_frozen_named",
    "trained on labels": "cards_labels",
    "untrained": "cards_untrained",
}


def digit_table(table: pd.DataFrame, pixels: pd.DataFrame) -> pd.DataFrame:
    """Digits by words and probes: hand, encoder, reader, value ... in percent."""
    rows: list[list[Row]] = []
    for hand in HANDS:
        for encoder, arm in _CARD_NAMES.items():
            for reader, group in _READERS.items():
                rows.append(_row(read(table, arm, "cards", group, hand), hand=hand, encoder=encoder, reader=reader))
        rows.append(_row(read(pixels, "", "cards", "pixels", hand), hand=hand, encoder="pixels", reader="probe"))
    return _table(rows)


def noise_table(table: pd.DataFrame) -> pd.DataFrame:
    """Zero-shot accuracy for the thing by share and kind of corrupted captions: kind, rate, value ... in percent."""
    rows = [
        _row(words(table, noisy(kind, rate), "object"), kind=kind, rate=rate)
        for kind, rates in NOISE_RATES.items()
        for rate in (0.0, *rates)
    ]
    rows += [_row(words(table, "cleaned_040", "object"), kind="left out", rate=0.4)]
    return _table(rows)


#: Series: words of encoders that were trained on the detailed captions, and on nothing else: in as many steps, or with
#: each shown as often as among the others. And what the names of their arms end in.
ON_THEIR_OWN = {"words, these alone": "_alone", "words, these alone, shown as often": "_alone_brief"}


def details_table(table: pd.DataFrame) -> pd.DataFrame:
    """What is read about the parts by share of captions that list them: factor, series, share, value ... in percent.

    Series "trained on labels" and "untrained" have no share.
    """
    rows: list[list[Row]] = []
    for factor in ("part", "count"):
        for share in (0.0, *SHARES):
            for series in _CURVES:
                measured = "words" if series == "words" else "probe"
                samples = read(table, listed(share), measured, _READERS[series], factor)
                rows.append(_row(samples, factor=factor, series=series, share=share))
        for share in ALONE:
            for series, arm in ON_THEIR_OWN.items():
                samples = words(table, f"{listed(share)}{arm}", factor)
                rows.append(_row(samples, factor=factor, series=series, share=share))
        for series, arm in (("trained on labels", LABELS), ("untrained", UNTRAINED)):
            rows.append(_row(probe(table, arm, factor), factor=factor, series=series))
        rows.append([{"factor": factor, "series": "chance", "value": CHANCE[factor]}])
    return _table(rows)


_TIED = {
    "captions name the thing": "",
    "they name the background too": "_named",
    "trained on labels": "_labels",
    "labels for the thing alone": "_thing",
}
_UNTIED = {"_labels": LABELS, "_thing": THING}


def surroundings_table(table: pd.DataFrame) -> pd.DataFrame:
    """Accuracy before the usual and before another background: encoder, background, together, value ... in percent."""
    rows: list[list[Row]] = []
    for encoder, suffix in _TIED.items():
        for together in (0.0, *TIES):
            arm = _UNTIED[suffix] if suffix in _UNTIED and together == 0 else f"{tied(together)}{suffix}"
            for background in ("usual", "other"):
                samples = read(table, arm, "surroundings", background, "right")
                rows.append(_row(samples, encoder=encoder, background=background, together=together))
    return _table(rows)


def looks_table(table: pd.DataFrame) -> pd.DataFrame:
    """Shares of answers on whole, stripped and contradictory drawings: encoder, picture, answer, value ... in percent."""
    rows: list[list[Row]] = []
    for encoder, arm in (("captions", PLAIN), ("labels", LABELS)):
        for picture, metric, answer in (
            ("whole", "right", "right"),
            ("look", "right", "right"),
            ("parts", "right", "right"),
            ("conflict", "look", "by look"),
            ("conflict", "parts", "by parts"),
        ):
            samples = read(table, arm, "looks", picture, metric)
            rows.append(_row(samples, encoder=encoder, picture=picture, answer=answer))
    return _table(rows)


def search_table(table: pd.DataFrame) -> pd.DataFrame:
    """Recall at k of search by text: query, captions, k, value ... in percent; captions "chance" for random pictures."""
    rows: list[list[Row]] = []
    for query in ("thing", "all"):
        for k in RECALLS:
            for captions, arm in (("name the thing", PLAIN), ("list the parts too", DETAILED)):
                samples = read(table, arm, "search", query, f"recall_{k}")
                rows.append(_row(samples, query=query, captions=captions, k=k))
            samples = read(table, PLAIN, "search", query, f"chance_{k}")
            rows.append(_row(samples, query=query, captions="chance", k=k))
    return _table(rows)


def filtering_table(table: pd.DataFrame) -> pd.DataFrame:
    """How often a sharp picture ranks above a worse one: captions, damage, value ... in percent, chance 50."""
    rows = [
        _row(read(table, arm, "filtering", damage, "ranked"), captions=captions, damage=damage)
        for captions, arm in (("speak of quality", COARSE), ("never do", PLAIN))
        for damage in ("grain", "blur")
    ]
    return _table(rows)


def gallery() -> pd.DataFrame:
    """Pictures that the figures show: set, name, row, and the pixels of that row as hexadecimal text."""
    shown = collages.sample(8, 7)
    parts = [_pixels("collages", str(i), image) for i, image in enumerate(collages.render(shown))]
    one = collages.sample(1, 11, given={"object": 3, "part": 1, "count": 2, "background": 0, "quality": 0})
    same: dict[str, dict[str, int]] = {
        "as it is": {},
        "look-alike": {"object": 1},
        "other part": {"part": 2},
        "fewer": {"count": 0},
        "other background": {"background": 2},
        "grainy": {"quality": 1},
    }
    for name, changes in same.items():
        scene = one
        for factor, value in changes.items():
            scene = collages.change(scene, factor, value)
        parts.append(_pixels("one thing changed", name, collages.render(scene)[0]))
    drawn = cards.sample(6, 3, given={"hand": torch.tensor([0, 0, 0, 1, 1, 1])})
    for i, image in enumerate(cards.render(drawn, "train")):
        parts.append(_pixels("cards", str(i), image))
    return pd.concat(parts, ignore_index=True)


def looks_gallery() -> pd.DataFrame:
    """A thing whole, its look alone, its parts alone, and its parts on the look of another thing; as :func:`gallery`."""
    objects = torch.tensor([1, 5, 10])
    scenes = collages.sample(3, 5, given={"object": objects, "quality": 0, "count": 0})
    other = misleading(scenes)
    layers: dict[str, list[tuple[Layer, torch.Tensor]]] = {
        "whole": [("full", objects)],
        "look": [("look", objects)],
        "parts": [("parts", objects)],
        "conflict": [("look", other), ("parts", objects)],
    }
    parts = []
    for name, chosen in layers.items():
        images = collages.render(scenes, layers=chosen)
        parts += [_pixels(name, str(i), image) for i, image in enumerate(images)]
    return pd.concat(parts, ignore_index=True)


def _pixels(group: str, name: str, image: torch.Tensor) -> pd.DataFrame:
    rows = [bytes(line.flatten().tolist()).hex() for line in image.permute(1, 2, 0)]
    return pd.DataFrame({"set": group, "name": name, "row": range(len(rows)), "pixels": rows})


# ---------------------------------------------------------------- values


def values(table: pd.DataFrame, of_cards: pd.DataFrame, pixels: pd.DataFrame) -> list[NamedValue]:
    """Every number of chapter 6 that a claim's rule or its prose uses; those of arms that were not trained are left out."""
    found = [
        *_task_values(table),
        *_fine_values(table),
        *_count_values(table),
        *_digit_values(of_cards, pixels),
        *_noise_values(table),
        *_detail_values(table),
        *_surroundings_values(table),
        *_look_values(table),
        *_search_values(table),
    ]
    return [value for value in found if value is not None]


def _mean(name: str, samples: pd.Series, figure: str, description: str, unit: str = "%") -> NamedValue | None:
    """A value from one number per seed; None where an arm was not trained. A seed that is missing is an error."""
    if samples.isna().all():
        return None
    return NamedValue(name, mean_over_seeds(samples.to_numpy()), unit, figure, description)


def _points(name: str, samples: pd.Series, figure: str, description: str) -> NamedValue | None:
    """A difference in points from one number per seed, paired by seed."""
    return _mean(name, samples, figure, description, "points")


def _average(samples: Sequence[pd.Series]) -> pd.Series:
    return pd.concat(list(samples), axis=1).mean(axis=1, skipna=False)


#: What is asked for, what captions say and what is compared with them, in the words of descriptions.
_ASKED = {
    "object": "the thing",
    "part": "the part",
    "count": "the number of parts",
    "background": "the background",
    "quality": "the quality (sharp or grainy)",
}
_WORDS, _PROBE = "zero-shot accuracy", "accuracy of a probe on the embedding"
_BEFORE, _ON_LABELS = "accuracy of a probe before the projection", "net trained on labels"
_ON_THING = "net trained on labels for the thing alone"
_ALONE = "captions name the thing alone"
_KNOWN = "text tower frozen and trained on language before"


def _task_values(table: pd.DataFrame) -> list[NamedValue | None]:
    named = {task: gap(table, task, NAMED_BY[task]) for task in ("object", "part", "count")}
    return [
        _points("c35_gap_named", _average(list(named.values())), TASKS_FIGURE,
                f"accuracy, mean for thing, part and number: {_ON_LABELS} minus zero-shot of encoders whose captions always "
                "name them"),
        _points("c35_gap_unnamed", _average([gap(table, task, PLAIN) for task in UNNAMED]), TASKS_FIGURE,
                f"accuracy, mean for part, number, background and quality: {_ON_LABELS} minus zero-shot of captions that "
                "name the thing alone"),
        *(
            _points(f"c35_gap_{task}", samples, TASKS_FIGURE,
                    f"accuracy for {_ASKED[task]}: {_ON_LABELS} minus zero-shot of captions that always name it")
            for task, samples in named.items()
        ),
        *(
            _mean(f"c35_words_{task}", words(table, arm, task), TASKS_FIGURE,
                  f"{_WORDS} for {_ASKED[task]}, captions always name it")
            for task, arm in NAMED_BY.items()
        ),
        *(
            _mean(f"c35_labels_{task}", probe(table, LABELS, task), TASKS_FIGURE,
                  f"{_PROBE} for {_ASKED[task]}, {_ON_LABELS}")
            for task in TASKS
        ),
        *(
            _mean(f"c35_silent_{task}", words(table, PLAIN, task), TASKS_FIGURE, f"{_WORDS} for {_ASKED[task]}, {_ALONE}")
            for task in UNNAMED
        ),
    ]  # fmt: skip


def _fine_values(table: pd.DataFrame) -> list[NamedValue | None]:
    coarse = {reader: read(table, COARSE, m, d, "group") for reader, m, d in _ASKED_WAYS}
    fine = {reader: read(table, COARSE, m, d, LOOKALIKE) for reader, m, d in _ASKED_WAYS}
    named = probe(table, PLAIN, LOOKALIKE)
    ways = {"words": _WORDS, "probe": _PROBE}
    which, by_group, by_name = "which of four look-alikes", "captions with coarse names", "captions with fine names"
    return [
        *(
            _points(f"c36_gap_{reader}", above_chance(coarse[reader], "group") - above_chance(fine[reader], LOOKALIKE), FINE,
                    f"{ways[reader]}, scaled from chance (0) to right (100), {by_group}: for the group minus for {which}")
            for reader in coarse
        ),
        _points("c36_loss_probe", named - fine["probe"], FINE, f"{_PROBE} for {which}: {by_name} minus {by_group}"),
        _mean("c36_fine_words", words(table, PLAIN, LOOKALIKE), FINE, f"{_WORDS} for {which}, {by_name}, chance 25 %"),
        _mean("c36_coarse_words", fine["words"], FINE, f"{_WORDS} for {which}, {by_group}, chance 25 %"),
        _mean("c36_coarse_probe", fine["probe"], FINE, f"{_PROBE} for {which}, {by_group}, chance 25 %"),
        _mean("c36_coarse_backbone", probe(table, COARSE, LOOKALIKE, "backbone"), FINE,
              f"{_BEFORE} for {which}, {by_group}, chance 25 %"),
        _mean("c36_fine_probe", named, FINE, f"{_PROBE} for {which}, {by_name}, chance 25 %"),
        _mean("c36_group_words", coarse["words"], FINE,
              f"{_WORDS} for the group (car, flower or bird), {by_group}, chance 33 %"),
        _mean("c36_untrained", probe(table, UNTRAINED, LOOKALIKE), FINE,
              f"{_PROBE} for {which}, untrained encoder, chance 25 %"),
        _mean("c36_untrained_backbone", probe(table, UNTRAINED, LOOKALIKE, "backbone"), FINE,
              f"{_BEFORE} for {which}, untrained encoder, chance 25 %"),
    ]  # fmt: skip


_ASKED_WAYS = (("words", "words", "words"), ("probe", "probe", "embedding"))


def _count_values(table: pd.DataFrame) -> list[NamedValue | None]:
    silent, said = words(table, PLAIN, "count"), words(table, DETAILED, "count")
    what, never, always = f"for {_ASKED['count']}", "captions never say it", "captions always say it"
    return [
        _mean("c37_words_silent", silent, COUNT, f"{_WORDS} {what}, {never}, chance 25 %"),
        _points("c37_gap_silent", gap(table, "count", PLAIN), COUNT,
                f"accuracy {what}: {_ON_LABELS} minus zero-shot of captions that never say it"),
        _points("c37_gained", said - silent, COUNT, f"{_WORDS} {what}: {always} minus never"),
        _points("c37_gap_named", gap(table, "count", DETAILED), COUNT,
                f"accuracy {what}: {_ON_LABELS} minus zero-shot of captions that always say it"),
        _mean("c37_words_named", said, COUNT, f"{_WORDS} {what}, {always}, chance 25 %"),
        _mean("c37_probe_silent", probe(table, PLAIN, "count"), COUNT, f"{_PROBE} {what}, {never}, chance 25 %"),
        _mean("c37_probe_backbone", probe(table, PLAIN, "count", "backbone"), COUNT,
              f"{_BEFORE} {what}, {never}, chance 25 %"),
        _mean("c37_probe_named", probe(table, DETAILED, "count"), COUNT, f"{_PROBE} {what}, {always}, chance 25 %"),
        _mean("c37_probe_backbone_named", probe(table, DETAILED, "count", "backbone"), COUNT,
              f"{_BEFORE} {what}, {always}, chance 25 %"),
        _mean("c37_untrained", probe(table, UNTRAINED, "count"), COUNT, f"{_PROBE} {what}, untrained encoder, chance 25 %"),
        _mean("c37_untrained_backbone", probe(table, UNTRAINED, "count", "backbone"), COUNT,
              f"{_BEFORE} {what}, untrained encoder, chance 25 %"),
        _mean("c37_words_known", words(table, FROZEN, "count"), COUNT,
              f"{_WORDS} {what}, {never}, {_KNOWN}, chance 25 %"),
        _mean("c37_words_known_named", words(table, f"{FROZEN}_{DETAILED}", "count"), COUNT,
              f"{_WORDS} {what}, {always}, {_KNOWN}, chance 25 %"),
        _mean("c37_labels", probe(table, LABELS, "count"), COUNT, f"{_PROBE} {what}, {_ON_LABELS}, chance 25 %"),
    ]  # fmt: skip


def _digit_values(of_cards: pd.DataFrame, pixels: pd.DataFrame) -> list[NamedValue | None]:
    def seen(arm: str, group: str, hand: str = "handwritten") -> pd.Series:
        return read(of_cards, arm, "cards", group, hand)

    raw = {hand: read(pixels, "", "cards", "pixels", hand) for hand in HANDS}
    what, printed = "for handwritten digits", "for printed digits in new typefaces"
    never, always = "captions never name them", "captions always name them"
    on_pixels = "minus logistic regression on pixels"
    return [
        _points("c38_probe_gap", seen("cards_silent", "embedding") - raw["handwritten"], DIGITS,
                f"{_PROBE} {what}, {never}, {on_pixels}"),
        _points("c38_backbone_gap", seen("cards_silent", "backbone") - raw["handwritten"], DIGITS,
                f"{_BEFORE} {what}, {never}, {on_pixels}"),
        _points("c38_printed_gap", seen("cards_silent", "embedding", "printed") - raw["printed"], DIGITS,
                f"{_PROBE} {printed}, {never}, {on_pixels}"),
        _points("c38_untrained_gap", seen("cards_untrained", "embedding") - raw["handwritten"], DIGITS,
                f"{_PROBE} {what}, untrained encoder, {on_pixels}"),
        _points("c38_lost", seen("cards_untrained", "embedding") - seen("cards_silent", "embedding"), DIGITS,
                f"{_PROBE} {what}: untrained encoder minus {never}"),
        _points("c38_words_gap", seen("cards_named", "words") - raw["handwritten"], DIGITS,
                f"{_WORDS} {what}, {always}, {on_pixels}"),
        _mean("c38_words_silent", seen("cards_silent", "words"), DIGITS, f"{_WORDS} {what}, {never}, chance 10 %"),
        _mean("c38_words_named", seen("cards_named", "words"), DIGITS, f"{_WORDS} {what}, {always}, chance 10 %"),
        _mean("c38_words_known", seen("cards_frozen_silent", "words"), DIGITS,
              f"{_WORDS} {what}, {never}, {_KNOWN}, chance 10 %"),
        _mean("c38_words_known_named", seen("cards_frozen_named", "words"), DIGITS,
              f"{_WORDS} {what}, {always}, {_KNOWN}, chance 10 %"),
        _mean("c38_probe_silent", seen("cards_silent", "embedding"), DIGITS, f"{_PROBE} {what}, {never}, chance 10 %"),
        _mean("c38_probe_backbone", seen("cards_silent", "backbone"), DIGITS, f"{_BEFORE} {what}, {never}, chance 10 %"),
        _mean("c38_probe_named", seen("cards_named", "embedding"), DIGITS, f"{_PROBE} {what}, {always}, chance 10 %"),
        _mean("c38_untrained", seen("cards_untrained", "embedding"), DIGITS,
              f"{_PROBE} {what}, untrained encoder, chance 10 %"),
        _mean("c38_labels", seen("cards_labels", "embedding"), DIGITS, f"{_PROBE} {what}, {_ON_LABELS}, chance 10 %"),
        _mean("c38_pixels", raw["handwritten"], DIGITS, f"accuracy of logistic regression on pixels {what}, chance 10 %"),
        _mean("c38_pixels_printed", raw["printed"], DIGITS,
              f"accuracy of logistic regression on pixels {printed}, chance 10 %"),
        _mean("c38_card_named", read(of_cards, "cards_silent", "cards", "words for the card", "handwritten"), DIGITS,
              f"{_WORDS} for the colour of the card that handwritten digits are on, captions name it alone"),
    ]  # fmt: skip


def _noise_values(table: pd.DataFrame) -> list[NamedValue | None]:
    clean, all_kinds = words(table, PLAIN, "object"), words(table, noisy("all", 0.4), "object")
    kinds = {
        "all": "corrupted captions, a third of each kind",
        "unrelated": "off-topic captions",
        "stuffed": "captions stuffed with wrong nouns",
        "nounless": "captions without a noun",
    }
    what = f"{_WORDS} for the thing"
    return [
        _points("c39_loss_40", clean - all_kinds, NOISE_FIGURE, f"{what}: clean captions minus 40 % {kinds['all']}"),
        *(
            _points(f"c39_loss_{kind}_{round(100 * rate)}", clean - words(table, noisy(kind, rate), "object"), NOISE_FIGURE,
                    f"{what}: clean captions minus {round(100 * rate)} % {kinds[kind]}")
            for kind, rates in NOISE_RATES.items()
            for rate in rates
            if (kind, rate) != ("all", 0.4)
        ),
        _points("c39_loss_cleaned", words(table, "cleaned_040", "object") - all_kinds, NOISE_FIGURE,
                f"{what}: the 40 % of pairs with corrupted captions left out of training minus kept in"),
        _mean("c39_clean", clean, NOISE_FIGURE, f"{what}, clean captions"),
        _mean("c39_noisy", all_kinds, NOISE_FIGURE, f"{what}, 40 % {kinds['all']}"),
    ]  # fmt: skip


def _detail_values(table: pd.DataFrame) -> list[NamedValue | None]:
    never, rare, often, always = (words(table, arm, "part") for arm in (PLAIN, RARE, listed(0.2), DETAILED))
    what, probed = f"{_WORDS} for the part", f"{_PROBE} for the part"
    said = {"never": "never listed", "always": "always listed"}
    said |= {share: f"listed in {share} % of the captions" for share in ("5", "20")}
    return [
        *(
            _mean(f"c40_recovered_{share}", recovered(table, share / 100), RARE_FIGURE,
                  f"{what}, listed in {share} % of the captions: this far on the way from never (0) to always (100)")
            for share in (5, 1, 20)
        ),
        _points("c40_gain_5", rare - never, RARE_FIGURE, f"{what}: {said['5']} minus {said['never']}"),
        _points("c40_probe_short", probe(table, DETAILED, "part") - probe(table, RARE, "part"), RARE_FIGURE,
                f"{probed}: {said['always']} in captions minus {said['5']}"),
        *(
            _mean(f"c40_words_{name}", samples, RARE_FIGURE, f"{what}, {said[name]}, chance 25 %")
            for name, samples in (("never", never), ("5", rare), ("20", often), ("always", always))
        ),
        *(
            _mean(f"c40_probe_{name}", probe(table, arm, "part"), RARE_FIGURE, f"{probed}, {said[name]}, chance 25 %")
            for name, arm in (("never", PLAIN), ("5", RARE), ("always", DETAILED))
        ),
        *(
            _mean(f"c40_alone_{name}_{round(100 * share)}", words(table, f"{listed(share)}_alone", factor), RARE_FIGURE,
                  f"{_WORDS} for {_ASKED[factor]}, trained on {round(100 * share)} % of the pictures, all with lists")
            for name, factor in (("part", "part"), ("thing", "object"))
            for share in ALONE
        ),
        *(
            _points(f"c40_alone_gain_{round(100 * share)}",
                    words(table, f"{listed(share)}_alone", "part") - words(table, listed(share), "part"), RARE_FIGURE,
                    f"{what}: trained on {round(100 * share)} % of the pictures, all with lists, minus on all pictures, "
                    f"{round(100 * share)} % with lists")
            for share in ALONE
        ),
        *(
            _mean(f"c40_brief_part_{round(100 * share)}", words(table, f"{listed(share)}_alone_brief", "part"), RARE_FIGURE,
                  f"{what}, trained on {round(100 * share)} % of the pictures, all with lists, and for "
                  f"{round(100 * share)} % of the steps")
            for share in ALONE
        ),
        *(
            _points(f"c40_brief_gain_{round(100 * share)}",
                    words(table, f"{listed(share)}_alone_brief", "part") - words(table, listed(share), "part"), RARE_FIGURE,
                    f"{what}: trained on {round(100 * share)} % of the pictures, all with lists, for {round(100 * share)} % "
                    f"of the steps, minus on all pictures, {round(100 * share)} % with lists")
            for share in ALONE
        ),
        *(
            _points(f"c40_shown_gain_{round(100 * share)}",
                    words(table, f"{listed(share)}_alone", "part") - words(table, f"{listed(share)}_alone_brief", "part"),
                    RARE_FIGURE, f"{what}, trained on {round(100 * share)} % of the pictures, all with lists: for all steps "
                    f"minus for {round(100 * share)} % of them")
            for share in ALONE
        ),
        *(
            _mean(f"c40_count_{name}_{round(100 * share)}", words(table, f"{listed(share)}{suffix}", "count"), RARE_FIGURE,
                  f"{_WORDS} for {_ASKED['count']}, {how.format(round(100 * share))}, chance 25 %")
            for name, suffix, how in (
                ("beside", "", "listed in {} % of the captions"),
                ("brief", "_alone_brief", "trained on {0} % of the pictures, all with lists, for {0} % of the steps"),
                ("alone", "_alone", "trained on {} % of the pictures, all with lists"),
            )
            for share in ALONE
        ),
        _mean("c40_words_known", words(table, FROZEN, "part"), RARE_FIGURE,
              f"{what}, {said['never']}, {_KNOWN}, chance 25 %"),
        _mean("c40_words_known_always", words(table, f"{FROZEN}_{DETAILED}", "part"), RARE_FIGURE,
              f"{what}, {said['always']}, {_KNOWN}, chance 25 %"),
        _mean("c40_untrained", probe(table, UNTRAINED, "part"), RARE_FIGURE, f"{probed}, untrained encoder, chance 25 %"),
    ]  # fmt: skip


def _surroundings_values(table: pd.DataFrame) -> list[NamedValue | None]:
    def right(arm: str, background: str = "other") -> pd.Series:
        return read(table, arm, "surroundings", background, "right")

    firm = tied(0.9)
    drop, by_labels = right(PLAIN) - right(firm), right(LABELS) - right(f"{firm}_labels")
    by_thing = right(THING) - right(f"{firm}_thing")
    rise = rises(table)
    elsewhere, usual = f"{_WORDS} before an unusual background", f"{_WORDS} before the thing's usual background"
    apart, together = "thing and background independent in training", "together in 90 % of training"
    tied_firmly = f"thing and background {together}"
    return [
        _points("c41_drop", drop, TOGETHER, f"{elsewhere}: {apart} minus {together}"),
        _points("c41_gap", right(firm, "usual") - right(firm), TOGETHER,
                f"{usual} minus before another one, {tied_firmly}"),
        _mean("c41_lured", read(table, firm, "surroundings", "other", "lured"), TOGETHER,
              f"errors before an unusual background that name the look-alike which belongs to it, {tied_firmly}"),
        _mean("c41_bare", read(table, firm, "surroundings", "bare", "fits"), TOGETHER,
              f"zero-shot answers to a background without a thing that belong to it, {tied_firmly}, chance 25 %"),
        _points("c41_captions", drop - by_labels, TOGETHER,
                f"accuracy before an unusual background, {apart} minus {together}: captions minus {_ON_LABELS}"),
        _points("c41_thing_drop", by_thing, TOGETHER,
                f"accuracy before an unusual background, {apart} minus {together}: {_ON_THING}"),
        _points("c41_captions_thing", drop - by_thing, TOGETHER,
                f"accuracy before an unusual background, {apart} minus {together}: captions minus {_ON_THING}"),
        _points("c41_named_drop", right(PLAIN) - right(f"{firm}_named"), TOGETHER,
                f"{elsewhere}: {apart} minus {together} with the background named"),
        *(
            _points(f"c41_gap_{name}", right(f"{firm}_{name}", "usual") - right(f"{firm}_{name}"), TOGETHER,
                    f"{how} before the thing's usual background minus before another one, {tied_firmly}{said}")
            for name, how, said in (
                ("named", _WORDS, ", captions name the background, too"),
                ("labels", "accuracy", f": {_ON_LABELS} for thing and background"),
                ("thing", "accuracy", f": {_ON_THING}"),
            )
        ),
        _mean("c41_usual_named", right(f"{firm}_named", "usual"), TOGETHER,
              f"{usual}, {tied_firmly}, captions name the background, too"),
        _mean("c41_other_named", right(f"{firm}_named"), TOGETHER,
              f"{elsewhere}, {tied_firmly}, captions name the background, too"),
        NamedValue("c41_rise", rise, "points", TOGETHER,
                   f"{elsewhere}: largest gain from one degree of going together to the next, negative if none")
        if rise is not None else None,
        _mean("c41_other", right(firm), TOGETHER, f"{elsewhere}, {tied_firmly}"),
        _mean("c41_usual", right(firm, "usual"), TOGETHER, f"{usual}, {tied_firmly}"),
        _mean("c41_other_free", right(PLAIN), TOGETHER, f"{elsewhere}, {apart}"),
        _mean("c41_other_always", right(tied(1.0)), TOGETHER,
              f"{elsewhere}, thing and background always together in training"),
    ]  # fmt: skip


def _look_values(table: pd.DataFrame) -> list[NamedValue | None]:
    look, parts = "its look alone (a mosaic of its colours)", "its parts alone (its outlines)"
    kept, whole = "accuracy above chance for a thing shown by", "in percent of that on the whole drawing"
    conflict = "outlines of one thing on the look of another"
    follow = f"{conflict}: answers that follow the look minus the outlines"
    return [
        _mean("c42_kept", kept_of_look(table, PLAIN, "look"), LOOKS, f"{kept} {look}, {whole}, zero-shot"),
        _mean("c42_kept_parts", kept_of_look(table, PLAIN, "parts"), LOOKS, f"{kept} {parts}, {whole}, zero-shot"),
        _points("c42_follows_look", follows_look(table, PLAIN), LOOKS, f"{follow}, zero-shot"),
        _points("c42_captions", follows_look(table, PLAIN) - follows_look(table, LABELS), LOOKS,
                f"{follow}; zero-shot minus {_ON_LABELS}"),
        _mean("c42_labels_kept", kept_of_look(table, LABELS, "look"), LOOKS, f"{kept} {look}, {whole}, {_ON_LABELS}"),
        _mean("c42_labels_kept_parts", kept_of_look(table, LABELS, "parts"), LOOKS,
              f"{kept} {parts}, {whole}, {_ON_LABELS}"),
        _mean("c42_as_look", read(table, PLAIN, "looks", "conflict", "look"), LOOKS,
              f"{conflict}: zero-shot answers that follow the look, chance 8 %"),
        _mean("c42_neither", 100 - read(table, PLAIN, "looks", "conflict", "look")
              - read(table, PLAIN, "looks", "conflict", "parts"), LOOKS,
              "answers that follow neither look nor parts, outlines of one thing on the look of another"),
        _mean("c42_as_parts", read(table, PLAIN, "looks", "conflict", "parts"), LOOKS,
              f"{conflict}: zero-shot answers that follow the outlines, chance 8 %"),
        _mean("c42_legible_look", read(table, PLAIN, "looks", "look", "legible"), LOOKS,
              f"{_PROBE} for a thing shown by {look}, fitted on such pictures, chance 8 %"),
        _mean("c42_legible_parts", read(table, PLAIN, "looks", "parts", "legible"), LOOKS,
              f"{_PROBE} for a thing shown by {parts}, fitted on such pictures, chance 8 %"),
    ]  # fmt: skip


def _search_values(table: pd.DataFrame) -> list[NamedValue | None]:
    def recall(arm: str, query: str, k: int) -> pd.Series:
        return read(table, arm, "search", query, f"recall_{k}")

    chance = read(table, PLAIN, "search", "all", "chance_5")
    ranked: Mapping[str, tuple[str, str, str]] = {
        "c43_ranked": (COARSE, "grain", "captions always say whether it is sharp or grainy"),
        "c43_ranked_blur": (COARSE, "blur", "captions always say whether it is sharp or grainy"),
        "c43_ranked_silent": (PLAIN, "grain", "captions never speak of quality"),
    }
    found = "searches for a thing with its parts that find a right picture among the"
    return [
        _mean("c43_recall_thing", recall(PLAIN, "thing", 1), SEARCH,
              f"searches for a thing by its name whose best picture is right, {_ALONE}"),
        _mean("c43_recall_all", recall(DETAILED, "all", 5), SEARCH, f"{found} best five, captions always list the parts"),
        _mean("c43_recall_all_silent", recall(PLAIN, "all", 5), SEARCH, f"{found} best five, captions never list the parts"),
        _mean("c43_recall_all_chance", chance, SEARCH, f"{found} first five, pictures in random order"),
        _points("c43_gain", recall(DETAILED, "all", 5) - recall(PLAIN, "all", 5), SEARCH,
                f"{found} best five: captions always list the parts minus never"),
        *(
            _mean(name, read(table, arm, "filtering", damage, "ranked"), FILTER,
                  f"how often words rank a sharp picture above one with {damage}, {said}, chance 50 %")
            for name, (arm, damage, said) in ranked.items()
        ),
    ]  # fmt: skip
