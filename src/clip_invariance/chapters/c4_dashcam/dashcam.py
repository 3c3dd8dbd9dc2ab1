"""Chapter 4: what it measures, and from the tables to what its figures show and its claims are decided by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pandas as pd

from clip_invariance.chapters.c4_dashcam import photographs
from clip_invariance.chapters.c4_dashcam.arms import (
    ARMS,
    CONTROLS,
    LABELS,
    LARGE,
    PATIENT,
    SILENT,
    SIX_IN_TEN,
    SOMETIMES,
    TALKATIVE,
    UNTRAINED,
    UNTRAINED_WIDE,
    VIEWS,
    Arm,
    train_unit,
)
from clip_invariance.chapters.c4_dashcam.measures import ASKED, measure, measure_course, measure_pixels
from clip_invariance.chapters.c4_dashcam.story import tell
from clip_invariance.chapters.c4_dashcam.training import CROSSING, SIZE, scenes
from clip_invariance.measure.bootstrap import accuracy_over_seeds_and_images, difference_over_seeds_and_images
from clip_invariance.measure.statistics import (
    Estimate,
    NamedValue,
    mean_over_seeds,
    paired_difference,
    percent_of,
    summarise,
)
from clip_invariance.profiles import Profile
from clip_invariance.units import Unit
from clip_invariance.worlds import dashcam

#: Pictures that probes are fitted on and tested on, matched pairs, and labels per class of the few-shot probes.
FIT = {"smoke": 120, "quick": 2000, "standard": 2000, "full": 2000}
TEST = {"smoke": 120, "quick": 2500, "standard": 2500, "full": 2500}
PAIRED = {"smoke": 12, "quick": 600, "standard": 600, "full": 600}
SHOTS = {"smoke": [1, 4], "quick": [1, 4, 16, 64], "standard": [1, 4, 16, 64], "full": [1, 4, 16, 64]}
#: Photographs of each split at most; in how many scenes a test photograph appears.
MOST = {"smoke": 32, "quick": 2000, "standard": 2000, "full": 2000}
COPIES = 3

#: Encoders that are shown photographs in the place of the light.
PASTED = (SILENT, TALKATIVE, LABELS["small"])
CHANCE = {factor: 100 / len(values) for factor, values in ASKED.items()}
#: What the captions of SILENT leave out.
UNMENTIONED = ("light", "pedestrian", "distance", "weather", "time", "place")
SIZES = ("small", "large")

# Names of the figures, for the values that they show.
PAIR, MENTION, PAIRS, LEFT = "pair", "mention", "matched_pairs", "unmentioned"
LABELLED, DECISION, SALIENCE, COURSE, OTHERS = "labels_needed", "decision", "size_and_mention", "course", "controls"
ALONE, IN_SCENES = "photographs_alone", "photographs_in_scenes"


# ---------------------------------------------------------------- units


def _with_encoder(
    function: Callable[..., pd.DataFrame], arms: Sequence[Arm], names: Sequence[str], more: dict[str, Any],
    profile: Profile, seeds: int, device: str,
) -> list[Unit]:  # fmt: skip
    """A unit for each arm and seed: some of the arm's parameters by name, and its encoder."""
    found = []
    for seed in range(seeds):
        for arm in arms:
            trained = train_unit(arm, profile.name, seed, device)
            params = {name: trained.params[name] for name in names} | more | {"seed": seed, "device": device}
            found.append(Unit(function, params, {"encoder": trained}))
    return found


def _amounts(profile: Profile) -> dict[str, Any]:
    return {"fit": FIT[profile.name], "test": TEST[profile.name]}


def all_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Every unit below."""
    makers = (units, pixel_units, course_units, photograph_units, pasted_units)
    found = [unit for make in makers for unit in make(profile, seeds, device)]
    return [*found, *story_units(profile, device)]


def units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """All measures of all encoders."""
    names = ("objective", "mention", "light_size", "embed_dim", "filler", "masked", "steps", "images")
    more = _amounts(profile) | {"pairs": PAIRED[profile.name], "shots": SHOTS[profile.name]}
    return _with_encoder(measure, ARMS[profile.name], names, more, profile, seeds, device)


def pixel_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """The same measures on raw pixels."""
    sizes = dict.fromkeys(arm.light_size for arm in ARMS[profile.name])
    more = _amounts(profile) | {"pairs": PAIRED[profile.name], "shots": SHOTS[profile.name], "device": device}
    return [Unit(measure_pixels, {"light_size": size, **more, "seed": seed}) for seed in range(seeds) for size in sizes]


def course_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """What can be read at several moments of a training."""
    names = ("mention", "light_size", "embed_dim", "steps")
    arms = [arm for arm in ARMS[profile.name] if arm.course]
    return _with_encoder(measure_course, arms, names, _amounts(profile), profile, seeds, device)


def story_units(profile: Profile, device: str) -> list[Unit]:
    """What two encoders, of the first seed, make of one matched pair."""
    names = ("mention", "light_size", "embed_dim")
    return _with_encoder(tell, (SILENT, TALKATIVE), names, _amounts(profile), profile, 1, device)


def photograph_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Photographs alone: few-shot probes on ImageNet features and on pixels."""
    most = MOST[profile.name]
    needs = {
        split: Unit(photographs.encode, {"split": split, "most": most, "device": device}) for split in ("train", "test")
    }
    return [
        Unit(
            photographs.read_alone,
            {"shots": _photograph_shots(profile), "most": most, "seed": seed, "device": device},
            needs,
        )
        for seed in range(seeds)
    ]


def pasted_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Photographs in the place of the drawn light."""
    names = ("objective", "mention", "light_size", "embed_dim")
    more = {"shots": _photograph_shots(profile), "copies": COPIES, "most": MOST[profile.name]}
    return _with_encoder(photographs.read_pasted, PASTED, names, more, profile, seeds, device)


def _photograph_shots(profile: Profile) -> list[int]:
    return SHOTS[profile.name] if profile.name == "smoke" else [*SHOTS[profile.name], 256]


# ---------------------------------------------------------------- reading the tables


def of_arm(table: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    """The rows of one encoder, all seeds; none where it was not trained."""
    usual = table.loc[table["steps"] > 0, "steps"].min()
    chosen = table["steps"] == arm.length * usual
    for name in ("objective", "mention", "light_size", "embed_dim", "filler", "masked"):
        if name in table:
            chosen &= table[name] == getattr(arm, name)
    rows: pd.DataFrame = table[chosen]
    return rows


def read(table: pd.DataFrame, arm: Arm, metric: str, depth: str, factor: str = "light", labels: int = 0) -> pd.Series:
    """One number per seed, as measured; empty where the arm was not trained."""
    rows = of_arm(table, arm)
    chosen = (rows["metric"] == metric) & (rows["depth"] == depth)
    chosen &= (rows["factor"] == factor) & (rows["labels"] == labels)
    return rows[chosen].set_index("seed")["value"]


def percent(*args: Any, **kwargs: Any) -> pd.Series:
    """:func:`read` in percent."""
    return 100 * read(*args, **kwargs)


def probe(table: pd.DataFrame, arm: Arm, factor: str = "light", depth: str = "embedding") -> pd.Series:
    """Accuracy of a linear probe with all labels, in percent, per seed."""
    return percent(table, arm, "probe", depth, factor)


def kept(table: pd.DataFrame, factor: str) -> pd.Series:
    """How far a matched change moves SILENT's embedding, in percent of how far it moves TALKATIVE's, per seed.

    Both in units of the distance between car colours, which both are told about.
    """
    silent, talkative = (read(table, arm, "distance", "embedding", factor) for arm in (SILENT, TALKATIVE))
    return percent_of(silent, talkative)


def middle(table: pd.DataFrame, metric: str = "probe", depth: str = "embedding") -> pd.Series:
    """Where mentioning the light once in ten times lies between never (0) and always (100), per seed."""
    never, sometimes, always = (percent(table, arm, metric, depth) for arm in (SILENT, SOMETIMES, TALKATIVE))
    return percent_of(sometimes - never, always - never)


def rates(table: pd.DataFrame, light_size: str = "small") -> list[float]:
    """The mention rates that were trained, rising."""
    rows = table[(table["objective"] == "captions") & (table["light_size"] == light_size) & (table["steps"] > 0)]
    return sorted(rows["mention"].unique())


def reversal(table: pd.DataFrame) -> Estimate:
    """The largest loss of probe accuracy from one mention rate to the next higher one, in points; negative if none.

    Of all neighbouring rates, the pair whose interval reaches highest: what must stay below a threshold anywhere must do
    so there.
    """
    accuracies = [probe(table, Arm(mention=rate)) for rate in rates(table)]
    losses = [paired_difference(a, b) for a, b in pairwise(accuracies)]
    return max(losses, key=lambda loss: loss.high)


# ---------------------------------------------------------------- figures


_SERIES = (
    ("words", "zero_shot", "words"),
    ("probe, embedding", "probe", "embedding"),
    ("probe, backbone", "probe", "backbone"),
)


def mention_table(table: pd.DataFrame, pixels: pd.DataFrame) -> pd.DataFrame:
    """Accuracy against mention rate for the light of each size and the pedestrian, with the lines to compare it with.

    Returns:
        panel, series, mention (nan for a level that has none), value, low, high, n. Accuracies in percent.
    """
    parts = []
    for panel, light_size, factor in (
        ("small light", "small", "light"),
        ("large light", "large", "light"),
        ("somebody crossing", "small", "pedestrian"),
    ):
        for rate in rates(table, light_size):
            for series, metric, depth in _SERIES:
                found = percent(table, Arm(mention=rate, light_size=light_size), metric, depth, factor)
                parts.append({"panel": panel, "series": series, "mention": rate, **_interval(found)})
        levels = {
            "trained on labels": probe(table, LABELS[light_size], factor),
            "untrained": probe(table, UNTRAINED[light_size], factor),
            "pixels": _pixels(pixels, light_size, factor),
        }
        parts += [{"panel": panel, "series": name, **_interval(x)} for name, x in levels.items() if len(x)]
        parts.append({"panel": panel, "series": "chance", "value": CHANCE[factor]})
    return pd.DataFrame(parts)[["panel", "series", "mention", "value", "low", "high", "n"]]


def _pixels(pixels: pd.DataFrame, light_size: str, factor: str, depth: str = "pixels") -> pd.Series:
    chosen = (pixels["light_size"] == light_size) & (pixels["depth"] == depth) & (pixels["factor"] == factor)
    return 100 * pixels[chosen & (pixels["metric"] == "probe")].set_index("seed")["value"]


def _interval(samples: pd.Series) -> dict[str, float]:
    return _described(mean_over_seeds(samples.to_numpy()))


def _described(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}


def pair_table(table: pd.DataFrame) -> pd.DataFrame:
    """d' and distance of matched pairs, for what captions skip and what they mention.

    Returns:
        metric ("d_prime" or "distance", in percent of the distance between car colours), change, captions, value ...
    """
    encoders = {"never": SILENT, "in one of ten": SOMETIMES, "always": TALKATIVE, "untrained": UNTRAINED["small"]}
    changes = {"small light": "light", "somebody crossing": "pedestrian", "car: red or green": "car_colour"}
    parts = []
    for metric, unit in (("d_prime", 1), ("distance", 100)):
        for change, factor in changes.items():
            for captions, arm in encoders.items():
                found = unit * read(table, arm, metric, "embedding", factor)
                parts.append({"metric": metric, "change": change, "captions": captions, **_interval(found)})
        large = {"never": LARGE, "always": Arm(mention=1.0, light_size="large"), "untrained": UNTRAINED["large"]}
        for captions, arm in large.items():
            found = unit * read(table, arm, metric, "embedding", "light")
            if len(found):
                parts.append({"metric": metric, "change": "large light", "captions": captions, **_interval(found)})
    return pd.DataFrame(parts)


def unmentioned_table(table: pd.DataFrame, pixels: pd.DataFrame) -> pd.DataFrame:
    """What can be read about every factor from the encoder whose captions name the car alone, and the controls.

    Returns:
        factor, mentioned, series, value ... Accuracies in percent; series "chance" without an interval.
    """
    parts = []
    for factor in ASKED:
        series = {
            "embedding": probe(table, SILENT, factor),
            "backbone": probe(table, SILENT, factor, "backbone"),
            "span of the texts": probe(table, SILENT, factor, "span"),
            "untrained": probe(table, UNTRAINED["small"], factor),
            "shuffled labels": percent(table, SILENT, "shuffled", "embedding", factor),
            "pixels": _pixels(pixels, "small", factor),
            "grey pixels": _pixels(pixels, "small", factor, "grey pixels"),
        }
        parts += [{"factor": factor, "series": name, **_interval(found)} for name, found in series.items()]
        parts.append({"factor": factor, "series": "chance", "value": CHANCE[factor]})
    found = pd.DataFrame(parts)
    return found.assign(mentioned=~found["factor"].isin(UNMENTIONED))


_LABELLED = {
    "captions never mention it": (SILENT, "embedding"),
    "the same, backbone": (SILENT, "backbone"),
    "captions always mention it": (TALKATIVE, "embedding"),
    "trained on labels": (LABELS["small"], "embedding"),
    "untrained": (UNTRAINED["small"], "embedding"),
    "two views, no captions": (VIEWS, "embedding"),
}


def labels_table(table: pd.DataFrame) -> pd.DataFrame:
    """Accuracy for the small light against labels per class (0: all), and zero-shot and neighbours for the same.

    Returns:
        encoder, metric ("few_shot", "probe", "knn", "zero_shot"), labels, value ...
    """
    parts = []
    for name, (arm, depth) in _LABELLED.items():
        rows = of_arm(table, arm)
        light = rows[(rows["factor"] == "light") & rows["metric"].isin(["few_shot", "probe", "knn", "zero_shot"])]
        light = light[light["depth"].isin([depth, "words"] if depth == "embedding" else [depth])]
        for (metric, labels), group in light.groupby(["metric", "labels"], sort=False):
            found = 100 * group.set_index("seed")["value"]
            parts.append({"encoder": name, "metric": metric, "labels": labels, **_interval(found)})
    return pd.DataFrame(parts)


def decision_table(table: pd.DataFrame) -> pd.DataFrame:
    """False-go rate at 1 % false stops, by mention rate, light size and way of reading.

    Returns:
        light_size, reader ("words", "probe, embedding", "probe, backbone"; "trained on labels" and "untrained": probes on
        the embedding), mention, value ...
    """
    readers = {"words": "words", "probe, embedding": "embedding", "probe, backbone": "backbone"}
    parts = []
    for light_size in SIZES:
        for rate in rates(table, light_size):
            for reader, depth in readers.items():
                found = percent(table, Arm(mention=rate, light_size=light_size), "false_go", depth)
                parts.append({"light_size": light_size, "reader": reader, "mention": rate, **_interval(found)})
        for reader, arm in (("trained on labels", LABELS[light_size]), ("untrained", UNTRAINED[light_size])):
            found = percent(table, arm, "false_go", "embedding")
            if len(found):
                parts.append({"light_size": light_size, "reader": reader, **_interval(found)})
    return pd.DataFrame(parts)


def salience_table(table: pd.DataFrame) -> pd.DataFrame:
    """How well a thing is read against how much of the picture it takes, mentioned or not.

    Returns:
        thing, area (median visible pixels), mention, value ... Values are 0 for chance and 100 for always right.
    """
    parts = []
    for light_size in SIZES:
        area = _areas(light_size)
        things = {f"{light_size} light": ("light", area["lamp"])}
        if light_size == "small":
            things |= {"somebody crossing": ("pedestrian", area["pedestrian"]), "car": ("car_colour", area["car"])}
        for thing, (factor, pixels) in things.items():
            for rate in rates(table, light_size):
                found = probe(table, Arm(mention=rate, light_size=light_size), factor)
                above = 100 * (found - CHANCE[factor]) / (100 - CHANCE[factor])
                mention = 1.0 if factor == "car_colour" else rate
                if factor != "car_colour" or rate == 0:
                    parts.append({"thing": thing, "area": pixels, "mention": mention, **_interval(above)})
    return pd.DataFrame(parts)


def _areas(light_size: str, n: int = 300) -> dict[str, float]:
    shown = dashcam.change(scenes(n, 0, light_size), "pedestrian", CROSSING)
    return {owner: round(float(area.median()), 1) for owner, area in dashcam.areas(shown, size=SIZE).items()}


def course_table(course: pd.DataFrame) -> pd.DataFrame:
    """Accuracy during training: mention, steps, at, factor, series, value ... in percent."""
    names = {("probe", "embedding"): "probe, embedding", ("probe", "backbone"): "probe, backbone"}
    names |= {("zero_shot", "words"): "words"}
    series = [names[key] for key in zip(course["metric"], course["depth"], strict=True)]
    rows = course.assign(series=series, value=100 * course["value"])
    return summarise(rows, ["mention", "steps", "at", "factor", "series"], "value")


def control_table(table: pd.DataFrame) -> pd.DataFrame:
    """The small light under every control: encoder, series, value ... in percent."""
    arms = {
        "captions never mention it": SILENT,
        **CONTROLS,
        "two views, no captions": VIEWS,
        "untrained": UNTRAINED["small"],
        "untrained, wider embedding": UNTRAINED_WIDE,
        "captions always mention it": TALKATIVE,
        "the same, three times as long": PATIENT[1.0],
        "trained on labels": LABELS["small"],
    }
    parts = []
    for name, arm in arms.items():
        for series, metric, depth in _SERIES:
            found = percent(table, arm, metric, depth)
            if len(found):
                parts.append({"encoder": name, "series": series, **_interval(found)})
    return pd.DataFrame(parts)


def photograph_table(alone: pd.DataFrame) -> pd.DataFrame:
    """Photographs alone: representation, metric, labels (0: all), value ... in percent."""
    return _by_photograph(alone, ["representation", "metric", "labels"])


def pasted_table(pasted: pd.DataFrame) -> pd.DataFrame:
    """Photographs in scenes: encoder, representation, metric, labels, value ... in percent."""
    names = {("captions", 0.0): "captions never mention it", ("captions", 1.0): "captions always mention it"}
    names |= {("labels", 0.0): "trained on labels"}
    encoder = [names[key] for key in zip(pasted["objective"], pasted["mention"], strict=True)]
    return _by_photograph(pasted.assign(encoder=encoder), ["encoder", "representation", "metric", "labels"])


def _by_photograph(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """One row for each group, in percent: over seeds and photographs with all labels, over seeds with few."""
    few = table[table["labels"] > 0]
    parts = [summarise(few.assign(value=100 * few["value"]), by, "value")]
    for key, group in table[table["labels"] == 0].groupby(list(by), sort=False):
        found = accuracy_over_seeds_and_images(_right(group))
        parts.append(pd.DataFrame([dict(zip(by, key, strict=True)) | _described(found)]))
    return pd.concat(parts, ignore_index=True)


def _right(rows: pd.DataFrame) -> pd.DataFrame:
    """Seeds by photographs: what was classified right, of rows of one measure with all labels."""
    return rows.pivot(index="seed", columns="photograph", values="value")


# ---------------------------------------------------------------- values


def values(table: pd.DataFrame, pixels: pd.DataFrame, alone: pd.DataFrame, pasted: pd.DataFrame) -> list[NamedValue]:
    """Every number of chapter 4 that a claim's rule or its prose uses; those of arms that were not trained are left out."""
    return [
        row
        for row in [
            *_pair_values(table),
            *_left_values(table, pixels),
            *_reading_values(table, pixels),
            *_mention_values(table),
            *_control_values(table),
            *_photograph_values(alone, pasted),
        ]
        if row is not None
    ]


def _mean(name: str, samples: pd.Series, unit: str, figure: str, description: str) -> NamedValue | None:
    """A value from one number per seed; None where there is none."""
    if not len(samples):
        return None
    return NamedValue(name, mean_over_seeds(samples.to_numpy()), unit, figure, description)


def _gap(name: str, a: pd.Series, b: pd.Series, figure: str, description: str) -> NamedValue | None:
    """A difference in points; None where one side is missing."""
    if not len(a) or not len(b):
        return None
    return NamedValue(name, paired_difference(a, b), "points", figure, description)


#: What is asked for, and how often captions mention it, in the words of descriptions.
_ASKED = {
    "light": "the small light",
    "pedestrian": "somebody crossing",
    "distance": "the car's distance (near or far)",
    "weather": "the weather",
    "time": "the time of day",
    "place": "city or country",
}
_PROBE, _BEFORE = "accuracy of a probe on the embedding", "accuracy of a probe before the projection"
_NEVER, _ALWAYS = "captions never mention the light", "captions always mention the light"
_ON_LABELS = "net trained on labels"


def _rate(rate: float) -> str:
    """A mention rate in words."""
    return {0.0: "never mentioned by captions", 1.0: "always mentioned by captions"}.get(
        rate, f"mentioned in {100 * rate:g} % of captions"
    )


def _pair_values(table: pd.DataFrame) -> list[NamedValue | None]:
    def found(arm: Arm, metric: str, factor: str, depth: str = "embedding") -> pd.Series:
        return read(table, arm, metric, depth, factor)

    rows = []
    for claim, factor, suffix, first, second, what in (
        ("c26", "light", "_small", "red", "green of the small light", "the light"),
        ("c27", "pedestrian", "", "nobody", "somebody crossing", "pedestrians"),
    ):
        never, always = f"captions never mention {what}", f"captions always mention {what}"
        apart = f"distance between {first} and {second} in the embedding"
        told = f"detectability d' of {first} against {second}"
        scaled = f"{apart}, in percent of that between car colours"
        rows += [
            _mean(f"{claim}_dprime{suffix}", found(SILENT, "d_prime", factor), "", PAIRS,
                  f"{told} along the best direction of the embedding, {never}"),
            _mean(f"{claim}_kept{suffix}", kept(table, factor), "%", PAIRS,
                  f"{apart}, relative to car colours, {never}, in percent of where they always do"),
            _mean(f"{claim}_distance{suffix}", 100 * found(SILENT, "distance", factor), "%", PAIRS, f"{scaled}, {never}"),
            _mean(f"{claim}_distance_untrained", 100 * found(UNTRAINED["small"], "distance", factor), "%", PAIRS,
                  f"{scaled}, untrained encoder"),
            _mean(f"{claim}_distance_mentioned", 100 * found(TALKATIVE, "distance", factor), "%", PAIRS,
                  f"{scaled}, {always}"),
            _mean(f"{claim}_dprime_backbone", found(SILENT, "d_prime", factor, "backbone"), "", PAIRS,
                  f"{told} along the best direction before the projection, {never}"),
            _mean(f"{claim}_dprime_mentioned", found(TALKATIVE, "d_prime", factor), "", PAIRS,
                  f"{told} along the best direction of the embedding, {always}"),
            _mean(f"{claim}_dprime_untrained", found(UNTRAINED["small"], "d_prime", factor), "", PAIRS,
                  f"{told} along the best direction of the embedding, untrained encoder"),
        ]  # fmt: skip
    ceiling, crossing = (probe(table, arm, "pedestrian") for arm in (LABELS["small"], SILENT))
    return [
        *rows,
        _gap("c27_gap_probe", ceiling, crossing, PAIRS,
             f"{_PROBE} for somebody crossing: {_ON_LABELS} minus captions that never mention pedestrians"),
        _mean("c26_dprime_large", found(LARGE, "d_prime", "light"), "", PAIRS,
              f"detectability d' of red against green of a light twice as wide, in the embedding, {_NEVER}"),
        _mean("c26_dprime_car", found(SILENT, "d_prime", "car_colour"), "", PAIRS,
              "detectability d' of a red against a green car, in the embedding, captions always mention the car's colour"),
    ]  # fmt: skip


def _left_values(table: pd.DataFrame, pixels: pd.DataFrame) -> list[NamedValue | None]:
    rows = []
    for factor in UNMENTIONED:
        here, shuffled = probe(table, SILENT, factor), percent(table, SILENT, "shuffled", "embedding", factor)
        what, alone = f"{_PROBE} for {_ASKED[factor]}", "captions name the car alone"
        rows += [
            _gap(f"c28_left_{factor}", here, shuffled, LEFT,
                 f"{what}, {alone}: fitted to true labels minus to shuffled ones"),
            _gap(f"c28_gain_{factor}", here, probe(table, UNTRAINED["small"], factor), LEFT,
                 f"{what}: {alone} minus untrained encoder"),
            _mean(f"c28_probe_{factor}", here, "%", LEFT, f"{what}, {alone}"),
            _mean(f"c28_pixels_{factor}", _pixels(pixels, "small", factor), "%", LEFT,
                  f"accuracy of a probe on raw pixels for {_ASKED[factor]}"),
        ]  # fmt: skip
    return rows


def _reading_values(table: pd.DataFrame, pixels: pd.DataFrame) -> list[NamedValue | None]:
    ceiling = probe(table, LABELS["small"])
    run, light = "red lights driven through at one needless stop in a hundred green ones", "for the small light"
    return [
        _mean("c29_zero_shot", percent(table, SILENT, "zero_shot", "words"), "%", MENTION,
              f"zero-shot accuracy {light}, {_NEVER}"),
        _mean("c29_zero_shot_mentioned", percent(table, TALKATIVE, "zero_shot", "words"), "%", MENTION,
              f"zero-shot accuracy {light}, {_ALWAYS}"),
        _mean("c29_probe", probe(table, SILENT), "%", MENTION, f"{_PROBE} {light}, {_NEVER}"),
        _mean("c29_probe_backbone", probe(table, SILENT, depth="backbone"), "%", MENTION, f"{_BEFORE} {light}, {_NEVER}"),
        _mean("c29_probe_mentioned", probe(table, TALKATIVE), "%", MENTION, f"{_PROBE} {light}, {_ALWAYS}"),
        _mean("c29_ceiling", ceiling, "%", MENTION, f"{_PROBE} {light}, {_ON_LABELS}"),
        _mean("c29_ceiling_pedestrian", probe(table, LABELS["small"], "pedestrian"), "%", MENTION,
              f"{_PROBE} for somebody crossing, {_ON_LABELS}"),
        _mean("c29_untrained", probe(table, UNTRAINED["small"]), "%", MENTION, f"{_PROBE} {light}, untrained encoder"),
        _mean("c29_untrained_backbone", probe(table, UNTRAINED["small"], depth="backbone"), "%", MENTION,
              f"{_BEFORE} {light}, untrained encoder"),
        _mean("c29_grey", _pixels(pixels, "small", "light", "grey pixels"), "%", LEFT,
              f"accuracy of a probe on pixels without colour {light}"),
        _mean("light_untrained_large", probe(table, UNTRAINED["large"]), "%", MENTION,
              f"{_PROBE} for the large light, untrained encoder"),
        _gap("c29_gap_probe", ceiling, probe(table, SILENT), MENTION,
             f"{_PROBE} {light}: {_ON_LABELS} minus captions that never mention it"),
        _gap("c29_gap_backbone", ceiling, probe(table, SILENT, depth="backbone"), MENTION,
             f"accuracy {light}: probe on the embedding, {_ON_LABELS}, minus probe before the projection, {_NEVER}"),
        _gap("c29_gap_large", probe(table, LABELS["large"]), probe(table, LARGE), MENTION,
             f"{_PROBE} for the large light: {_ON_LABELS} minus captions that never mention it"),
        _mean("c29_knn", percent(table, SILENT, "knn", "embedding"), "%", LABELLED,
              f"accuracy {light} by vote of the ten nearest neighbours in the embedding, {_NEVER}"),
        _mean("c29_knn_untrained", percent(table, UNTRAINED["small"], "knn", "embedding"), "%", LABELLED,
              f"accuracy {light} by vote of the ten nearest neighbours in the embedding, untrained encoder"),
        _gap("c29_knn_lost", percent(table, UNTRAINED["small"], "knn", "embedding"),
             percent(table, SILENT, "knn", "embedding"), LABELLED,
             f"accuracy {light} by vote of the ten nearest neighbours in the embedding: untrained encoder minus {_NEVER}"),
        _mean("c29_false_go", percent(table, SILENT, "false_go", "embedding"), "%", DECISION,
              f"{run}, by a probe on the embedding, {_NEVER}"),
        _mean("c29_false_go_untrained", percent(table, UNTRAINED["small"], "false_go", "embedding"), "%", DECISION,
              f"{run}, by a probe on the embedding, untrained encoder"),
        _mean("c29_false_go_large", percent(table, LARGE, "false_go", "embedding"), "%", DECISION,
              f"{run}, by a probe on the embedding, large light, {_NEVER}"),
        _mean("c29_false_go_words", percent(table, SILENT, "false_go", "words"), "%", DECISION,
              f"{run}, by words (zero-shot), {_NEVER}"),
        _mean("c29_false_go_mentioned", percent(table, TALKATIVE, "false_go", "embedding"), "%", DECISION,
              f"{run}, by a probe on the embedding, {_ALWAYS}"),
        _mean("c29_false_go_mentioned_words", percent(table, TALKATIVE, "false_go", "words"), "%", DECISION,
              f"{run}, by words (zero-shot), {_ALWAYS}"),
        _mean("c29_false_go_ceiling", percent(table, LABELS["small"], "false_go", "embedding"), "%", DECISION,
              f"{run}, by a probe on the embedding, {_ON_LABELS}"),
        _gap("called_red", percent(table, SILENT, "called_red", "words", "red car"),
             percent(table, SILENT, "called_red", "words", "green car"), DECISION,
             f"lights called red by words (zero-shot): behind a red car minus behind a green car, {_NEVER}"),
    ]  # fmt: skip


def _mention_values(table: pd.DataFrame) -> list[NamedValue | None]:
    small, talkative, large = probe(table, SILENT), probe(table, TALKATIVE), probe(table, LARGE)
    ends = [
        (rate, size, metric, depth, name, what)
        for size in SIZES
        for rate in rates(table, size)
        for metric, depth, name, what in (
            ("zero_shot", "words", "words", "zero-shot accuracy"),
            ("probe", "embedding", "probe", _PROBE),
        )
    ]
    way = "mentioned in one caption of ten: this far on the way from never (0) to always (100)"
    return [
        _gap("c30_size", large, small, SALIENCE, f"{_PROBE}, {_NEVER}: for a large light minus for a small one"),
        _gap("c30_mention", talkative, small, SALIENCE,
             f"{_PROBE} for the small light: captions always mention it minus never"),
        _gap("c30_word_beats_size", talkative, large, SALIENCE,
             f"{_PROBE}: for a small light always mentioned minus for a large one never mentioned"),
        _gap("large_light_taken", probe(table, UNTRAINED["large"]), large, MENTION,
             f"{_PROBE} for the large light: untrained network minus {_NEVER}"),
        _mean("seeds_words_small_p060", 100.0 * (percent(table, SIX_IN_TEN, "zero_shot", "words") > 60), "%", MENTION,
              f"seeds in which zero-shot accuracy for the small light is above 60 %, {_rate(0.6)}"),
        _mean("c31_middle", middle(table), "%", MENTION, f"{_PROBE} for the small light, {way}"),
        _mean("c31_middle_zero_shot", middle(table, "zero_shot", "words"), "%", MENTION,
              f"zero-shot accuracy for the small light, {way}"),
        NamedValue("c31_reversal", reversal(table), "points", MENTION,
                   f"{_PROBE} for the small light: largest loss from one mention rate to the next higher, negative if none"),
        *(
            _mean(f"light_{name}_{size}_p{round(100 * rate):03d}",
                  percent(table, Arm(mention=rate, light_size=size), metric, depth), "%", MENTION,
                  f"{what} for the {size} light, {_rate(rate)}")
            for rate, size, metric, depth, name, what in ends
        ),
    ]  # fmt: skip


#: How each control of the silent encoder differs from it.
_CONTROLLED = {
    "wider embedding": f"{_NEVER}, embedding four times as wide",
    "equally long captions": f"{_NEVER}, empty words in the place of a mention",
    "equal captions no negatives": f"{_NEVER}, equal captions not counted as negatives",
    "three times as long": f"{_NEVER}, three times the steps",
    "narrower embedding": f"{_NEVER}, embedding a quarter as wide",
    "views": "trained without captions, to recognise a picture under random crops and colours",
    "wider untrained": "untrained, embedding four times as wide",
}


def _control_values(table: pd.DataFrame) -> list[NamedValue | None]:
    rows = [
        _mean(f"control_{name.replace(' ', '_')}", probe(table, arm), "%", OTHERS,
              f"{_PROBE} for the small light, {_CONTROLLED[name]}")
        for name, arm in {**CONTROLS, "views": VIEWS, "wider untrained": UNTRAINED_WIDE}.items()
    ]  # fmt: skip
    wide, fresh = CONTROLS["wider embedding"], UNTRAINED_WIDE
    rows.append(_gap("control_wider_learned", probe(table, wide), probe(table, fresh), OTHERS,
                     f"{_PROBE} for the small light, embedding four times as wide: {_NEVER} minus untrained"))  # fmt: skip
    longer = CONTROLS["three times as long"]
    for depth, name, what in (("embedding", "", _PROBE), ("backbone", "_backbone", _BEFORE)):
        usual, late, start = (probe(table, arm, depth=depth) for arm in (SILENT, longer, UNTRAINED["small"]))
        said = f"{what} for the small light, {_NEVER}: usual number of steps minus three times as many"
        rows.append(_gap(f"lost_in_three_times_as_long{name}", usual, late, COURSE, said))
        below = f"{what} for the small light: untrained network minus {_NEVER}, three times as many steps"
        rows.append(_gap(f"three_times_as_long_below_untrained{name}", start, late, COURSE, below))
    rows.append(_mean("control_three_times_as_long_backbone", probe(table, longer, depth="backbone"), "%", COURSE,
                      f"{_BEFORE} for the small light, {_CONTROLLED['three times as long']}"))  # fmt: skip
    for rate, arm in {0.0: longer, **PATIENT}.items():
        for reader, metric, depth, what in (
            ("probe", "probe", "embedding", _PROBE),
            ("words", "zero_shot", "words", "zero-shot accuracy"),
        ):
            for factor in ("light", "pedestrian"):
                found = percent(table, arm, metric, depth, factor)
                name = f"long_{factor}_{reader}_p{round(100 * rate):03d}"
                said = f"{what} for {_ASKED[factor]}, {_rate(rate)}, three times the steps"
                rows.append(_mean(name, found, "%", COURSE, said))
                if reader == "words":
                    rows.append(
                        _mean(
                            f"{name}_seeds", 100.0 * (found > 60), "%", COURSE, f"seeds in which {said}, is above 60 %"
                        )
                    )
    return rows


def _photograph_values(alone: pd.DataFrame, pasted: pd.DataFrame) -> list[NamedValue | None]:
    def seen(representation: str, metric: str, labels: int) -> pd.DataFrame:
        chosen = (alone["representation"] == representation) & (alone["metric"] == metric) & (alone["labels"] == labels)
        return alone[chosen]

    def in_scene(arm: Arm, representation: str = "embedding", metric: str = "probe") -> pd.DataFrame:
        chosen = (pasted["objective"] == arm.objective) & (pasted["mention"] == arm.mention) & (pasted["labels"] == 0)
        chosen &= (pasted["representation"] == representation) & (pasted["metric"] == metric)
        return _right(pasted[chosen])

    def accuracy(name: str, right: pd.DataFrame, figure: str, description: str) -> NamedValue:
        return NamedValue(name, accuracy_over_seeds_and_images(right), "%", figure, description)

    rows = []
    for name, short, said in (
        ("ImageNet features", "imagenet", "features of an encoder trained on ImageNet's labels"),
        ("pixels", "pixels", "pixels"),
        ("grey pixels", "grey", "grey pixels"),
    ):
        of = "red or green in photographs of lights alone: accuracy of"
        rows += [
            _mean(f"photo_{short}_{count}", 100 * seen(name, "probe", count).set_index("seed")["value"], "%", ALONE,
                  f"{of} a probe on {said}, {count} labels per class")
            for count in (4, 16, 64)
        ]  # fmt: skip
        rows.append(accuracy(f"photo_{short}_all", _right(seen(name, "probe", 0)), ALONE,
                             f"{of} a probe on {said}, all labels"))  # fmt: skip
        rows.append(accuracy(f"photo_{short}_nearest", _right(seen(name, "nearest", 0)), ALONE,
                             f"{of} the nearest training photograph in {said}"))  # fmt: skip
    photographed = "for photographed lights in drawn scenes"
    return [
        *rows,
        NamedValue("c29_gap_photographs",
                   difference_over_seeds_and_images(in_scene(LABELS["small"]), in_scene(SILENT)), "points", IN_SCENES,
                   f"{_PROBE} {photographed}: {_ON_LABELS} minus captions that never mention the light"),
        accuracy("pasted_silent", in_scene(SILENT), IN_SCENES, f"{_PROBE} {photographed}, {_NEVER}"),
        accuracy("pasted_talkative", in_scene(TALKATIVE), IN_SCENES, f"{_PROBE} {photographed}, {_ALWAYS}"),
        accuracy("pasted_labels", in_scene(LABELS["small"]), IN_SCENES, f"{_PROBE} {photographed}, {_ON_LABELS}"),
        accuracy("pasted_words", in_scene(SILENT, "words", "zero_shot"), IN_SCENES,
                 f"zero-shot accuracy {photographed}, {_NEVER}"),
        accuracy("pasted_words_mentioned", in_scene(TALKATIVE, "words", "zero_shot"), IN_SCENES,
                 f"zero-shot accuracy {photographed}, {_ALWAYS}"),
    ]  # fmt: skip
