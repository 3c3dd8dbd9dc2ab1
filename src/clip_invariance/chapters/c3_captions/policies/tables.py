"""Chapter 3, claims C13, C14, C16 to C19 and C25: tables for its figures, and the numbers that decide the claims.

The measurements are those of :mod:`clip_invariance.chapters.c3_captions.reading`. *Skill* makes factors with different
numbers of values comparable: how far an accuracy gets from chance to perfect, in percent. 0 is chance, 100 is every
picture right.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd

from clip_invariance.chapters.c3_captions import caption_words
from clip_invariance.chapters.c3_captions import reading as caption_reading
from clip_invariance.chapters.c3_captions.reading import PIXELS
from clip_invariance.chapters.c3_captions.training import WORLDS, caption_policy
from clip_invariance.measure.depths import DEPTHS
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
from clip_invariance.worlds import scenes

FACTORS = tuple(scenes.FACTORS)
#: What "object" captions leave out.
OMITTED = tuple(factor for factor in FACTORS if factor != "object")
SHAPE_FACTORS = ("shape", "colour", "texture")
SHAPE, SHAPE_LONGER = "trifeature shape", "trifeature shape, three times longer"
#: Arms on Trifeature: the arm -> the factor that captions name, and how tables call the arm.
SHAPE_ARMS = {
    SHAPE: ("shape", "shape"),
    SHAPE_LONGER: ("shape", "shape, three times the steps"),
    "trifeature colour": ("colour", "colour"),
    "trifeature texture": ("texture", "texture"),
}

#: Arms whose captions differ in what they always mention, by the factors that they mention.
POLICIES: dict[str, tuple[str, ...]] = {
    "object": ("object",),
    "object, background": ("object", "background"),
    "object, medium": ("object", "medium"),
    "object, place": ("object", "place"),
    "everything": FACTORS,
    "background": ("background",),
    "three times longer": ("object",),
    "everything, three times longer": FACTORS,
}
#: Arms by the rate at which captions mention each of the omitted factors.
RATES = {
    "object": 0.0,
    "others at .01": 0.01,
    "others at .03": 0.03,
    "others at .1": 0.1,
    "others at .3": 0.3,
    "everything": 1.0,
}
CONTROLS = (
    "object",
    "filler words",
    "duplicates masked",
    "temperature .07",
    "everything",
    "three times longer",
    "filler words, three times longer",
    "duplicates masked, three times longer",
    "everything, three times longer",
)
SCALES = ("an eighth of the pictures", "width 16", "object", "width 256", "three times longer")
#: The factorial: arm by (captions mention the background, transformer, augmented).
FACTORIAL: dict[tuple[bool, bool, bool], str] = {
    (policy, tower, augmented): ", ".join(
        ["object"] + ["background"] * policy + ["vit"] * tower + ["augmented"] * augmented
    )
    for policy, tower, augmented in itertools.product((False, True), repeat=3)
}
EFFECTS = ("captions", "architecture", "augmentation")
UNTRAINED, ZERO_SHOT = "untrained", "zero-shot"
LONGER, FEWER, WIDER = "three times longer", "an eighth of the pictures", "width 256"
EVERYTHING_LONGER = "everything, three times longer"
LABELLED, LABELLED_LONGER = "labels of the object", "labels of the object, three times longer"

#: What Dufumier et al. (2025) report for their cross-modal objective on Trifeature, accuracies in percent.
PUBLISHED = {"shared": 100.0, "unshared": 11.6}

TRIFEATURE, MATRIX, DOSE, CONTROL = "trifeature", "decodability_matrix", "dose_response", "controls"
COURSE, POINT, MOVED = "time_course", "same_point", "moved_by_factor"
HEADS, SCALE, FACTORIAL_FIGURE = "heads_by_place", "scale", "factorial"


def all_units(profile: Profile, seeds: int, device: str) -> list[Unit]:
    """Every unit of the chapter."""
    reading = (caption_reading.units, caption_reading.course_units, caption_reading.pixel_units)
    return [unit for make in (*reading, caption_words.units) for unit in make(profile, seeds, device)]


# ---------------------------------------------------------------- reading tables


def with_skill(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a column ``skill``, in percent, for accuracies; not a number for everything else."""
    chance = {factor: 1 / len(names) for world in WORLDS.values() for factor, names in world.FACTORS.items()}
    base = table["factor"].map(chance)
    accuracy = table["metric"].isin(["probe", "shuffled", "zero_shot", "head_here", "head_elsewhere"])
    return table.assign(skill=(100 * (table["value"] - base) / (1 - base)).where(accuracy))


def has(table: pd.DataFrame, *arms: str) -> bool:
    """Whether this profile measured these arms."""
    return set(arms) <= set(table["arm"])


def select(
    table: pd.DataFrame,
    arm: str,
    metric: str,
    depth: str = "embedding",
    factors: Iterable[str] = FACTORS,
    *,
    untrained: bool = False,
) -> pd.DataFrame:
    """Rows of one arm at the end of its training, or before it."""
    rows: pd.DataFrame = table[table["arm"].to_numpy() == arm]
    rows = rows[(rows["metric"].to_numpy() == metric) & (rows["depth"].to_numpy() == depth)]
    rows = rows[rows["factor"].isin(list(factors))]
    return rows[rows["step"] == (0 if untrained else rows["step"].max())]


def skill(
    table: pd.DataFrame,
    arm: str,
    metric: str = "probe",
    depth: str = "embedding",
    factors: Iterable[str] = OMITTED,
    *,
    untrained: bool = False,
) -> pd.Series:
    """Mean skill over factors, one number per seed, in percent."""
    rows = with_skill(select(table, arm, metric, depth, factors, untrained=untrained))
    return rows.groupby("seed")["skill"].mean()


def share(table: pd.DataFrame, arm: str, metric: str, depth: str, factor: str, *, untrained: bool = False) -> pd.Series:
    """A metric of one factor, one number per seed, in percent."""
    return 100 * select(table, arm, metric, depth, [factor], untrained=untrained).groupby("seed")["value"].mean()


def accuracy(table: pd.DataFrame, arm: str, depth: str, factor: str, *, untrained: bool = False) -> pd.Series:
    """Accuracy of a probe at a depth, or "zero-shot", one number per seed, in percent."""
    metric, depth = ("zero_shot", "embedding") if depth == ZERO_SHOT else ("probe", depth)
    return share(table, arm, metric, depth, factor, untrained=untrained)


def _described(series: pd.Series, **names: object) -> dict[str, object]:
    """One row of a figure's table."""
    estimate = mean_over_seeds(series.to_numpy())
    return {**names, "value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}


# ---------------------------------------------------------------- tables


def examples(n: int = 4, seed: int = 4) -> pd.DataFrame:
    """Some scenes with one caption under each of two policies; scene i is row i of ``scenes.sample(n, seed)``."""
    drawn = scenes.sample(n, seed)
    table = pd.DataFrame(
        {name: [scenes.FACTORS[name][value] for value in column.tolist()] for name, column in drawn.labels.items()}
    ).add_prefix("factor_")
    captions = {
        name: caption_policy("scenes", "object", others, False).sample(scenes.WORDS, drawn.labels, seed).strings()
        for name, others in (("object", 0.0), ("everything", 1.0))
    }
    return table.assign(seed=seed, **captions)


def trifeature_table(measured: pd.DataFrame) -> pd.DataFrame:
    """Accuracy in percent of the factor that captions name and of the other two: published, and here at every depth.

    No rows in a profile that trains none of these encoders.
    """
    depths = ("embedding", ZERO_SHOT, "span", "backbone")
    rows = []
    for arm, (named, label) in SHAPE_ARMS.items():
        if not has(measured, arm):
            continue
        others = _not_named(named)
        for kind, factors in (("shared", (named,)), ("unshared", others)):
            row: dict[str, object] = {"captions name": label, "asked for": " and ".join(factors)}
            row["CoMM"] = PUBLISHED[kind]
            for depth in depths:
                row[depth] = _mean_accuracy(measured, arm, depth, factors).mean()
            # before training, encoders of trainings of every length are the same
            row["untrained"] = _mean_accuracy(
                measured, f"trifeature {named}", "embedding", factors, untrained=True
            ).mean()
            rows.append(row | {"chance": 10.0})
    return pd.DataFrame(rows, columns=["captions name", "asked for", "CoMM", *depths, "untrained", "chance"])


def _not_named(named: str) -> tuple[str, ...]:
    return tuple(factor for factor in SHAPE_FACTORS if factor != named)


def _mean_accuracy(
    measured: pd.DataFrame, arm: str, depth: str, factors: Sequence[str], *, untrained: bool = False
) -> pd.Series:
    """Accuracy in percent, mean over factors, per seed."""
    each = [accuracy(measured, arm, depth, factor, untrained=untrained) for factor in factors]
    return pd.concat(each, axis=1).mean(axis=1)


def matrix_table(measured: pd.DataFrame, pixels: pd.DataFrame) -> pd.DataFrame:
    """Accuracy and skill in percent by what captions mention, factor and depth; controls at depth "controls"."""
    rows = []
    policies = {arm: named for arm, named in POLICIES.items() if has(measured, arm)}
    for depth, factor in itertools.product((*DEPTHS, ZERO_SHOT), FACTORS):
        for arm, named in policies.items():
            series = accuracy(measured, arm, depth, factor)
            rows.append(_described(series, row=arm, depth=depth, factor=factor, mentioned=factor in named))
        series = accuracy(measured, "object", depth, factor, untrained=True)
        rows.append(_described(series, row=UNTRAINED, depth=depth, factor=factor, mentioned=False))
    for factor in FACTORS:
        controls = {
            "raw pixels": accuracy(pixels, PIXELS, PIXELS, factor),
            "shuffled labels": share(measured, "object", "shuffled", "embedding", factor),
        }
        if has(measured, "labels"):
            controls["trained on labels"] = accuracy(measured, "labels", "embedding", factor)
        for name, series in controls.items():
            rows.append(_described(series, row=name, depth="controls", factor=factor, mentioned=False))
    table = pd.DataFrame(rows)
    chance = 100 / table["factor"].map({factor: len(names) for factor, names in scenes.FACTORS.items()})
    return table.assign(chance=chance, skill=100 * (table["value"] - chance) / (100 - chance))


def dose_table(measured: pd.DataFrame, pixels: pd.DataFrame) -> pd.DataFrame:
    """Skill in percent against mention rate, by factor and over all five ("mean"); lines to compare with have no rate."""
    rows = []
    sources = {"backbone": "probe", "embedding": "probe", "span": "probe", ZERO_SHOT: "zero_shot"}
    for name, factors in [("mean", OMITTED), *((factor, (factor,)) for factor in OMITTED)]:
        for arm, rate in RATES.items():
            for source, metric in sources.items() if has(measured, arm) else ():
                depth = "embedding" if source == ZERO_SHOT else source
                series = skill(measured, arm, metric, depth, factors)
                rows.append(_described(series, factor=name, source=source, rate=rate))
        series = skill(measured, "object", factors=factors, untrained=True)
        rows.append(_described(series, factor=name, source=UNTRAINED, rate=np.nan))
        series = skill(pixels, PIXELS, "probe", PIXELS, factors)
        rows.append(_described(series, factor=name, source="raw pixels", rate=np.nan))
    return pd.DataFrame(rows)


def control_table(measured: pd.DataFrame) -> pd.DataFrame:
    """Skill in percent under the controls: of the five omitted factors at three depths, and of the object."""
    rows = []
    for arm in [arm for arm in CONTROLS if has(measured, arm)]:
        for source, metric, depth, factors in (
            ("object, zero-shot", "zero_shot", "embedding", ("object",)),
            ("others, zero-shot", "zero_shot", "embedding", OMITTED),
            ("others, span", "probe", "span", OMITTED),
            ("others, embedding", "probe", "embedding", OMITTED),
        ):
            rows.append(_described(skill(measured, arm, metric, depth, factors), arm=arm, source=source))
    return pd.DataFrame(rows)


def course_table(course: pd.DataFrame) -> pd.DataFrame:
    """Over the steps of a training: cosine of pairs by what they share, and skill of zero-shot and probes.

    The column ``arm`` tells the training from its control, labels in the place of captions, at the end.
    """
    chosen = course[course["arm"] == (LONGER if has(course, LONGER) else "object")]
    cosines = chosen[chosen["metric"] == "cosine"].rename(columns={"factor": "line"})
    parts = [summarise(cosines, ["step", "line"], "value").assign(panel="cosine")]
    rated = with_skill(chosen)
    for line, metric, depth, factors in (
        ("object, zero-shot", "zero_shot", "embedding", ("object",)),
        ("others, zero-shot", "zero_shot", "embedding", OMITTED),
        ("others, span", "probe", "span", OMITTED),
        ("others, embedding", "probe", "embedding", OMITTED),
    ):
        rows = rated[(rated["metric"] == metric) & (rated["depth"] == depth) & rated["factor"].isin(factors)]
        parts.append(summarise(rows, ["step"], "skill").assign(panel="skill", line=line))
    followed = pd.concat(parts, ignore_index=True).assign(arm=chosen["arm"].iloc[0])
    labelled = course[(course["arm"] == LABELLED_LONGER) & (course["metric"] == "cosine")]
    ends = summarise(labelled.rename(columns={"factor": "line"}), ["step", "line"], "value")
    return pd.concat([followed, ends.assign(panel="cosine", arm=LABELLED_LONGER)], ignore_index=True)


def point_table(measured: pd.DataFrame) -> pd.DataFrame:
    """Share of the variance that is left among pictures of one object, in percent, inside the span and in the whole.

    Networks trained on labels have no captions, and so no span.
    """
    stages = {UNTRAINED: ("object", True), "trained": ("object", False), LONGER: (LONGER, False)}
    stages |= {arm: (arm, False) for arm in (LABELLED, LABELLED_LONGER)}
    return pd.DataFrame(
        [
            _described(left(measured, arm, depth, untrained=untrained), stage=stage, depth=depth)
            for stage, (arm, untrained) in stages.items()
            if has(measured, arm)
            for depth in (("embedding",) if arm in (LABELLED, LABELLED_LONGER) else ("embedding", "span"))
        ]
    )


def moved_table(measured: pd.DataFrame) -> pd.DataFrame:
    """Matched counterfactuals of each factor: how far the picture moves, in percent of the distance of unrelated ones."""
    arms = {UNTRAINED: ("object", True), "object": ("object", False), "everything": ("everything", False)}
    rows = []
    for (name, (arm, untrained)), depth, factor in itertools.product(arms.items(), ("embedding", "span"), FACTORS):
        series = share(measured, arm, "moved", depth, factor, untrained=untrained)
        rows.append(_described(series, arm=name, depth=depth, factor=factor))
    return pd.DataFrame(rows)


def detectability_table(measured: pd.DataFrame) -> pd.DataFrame:
    """d' between the first two values of each factor, one column per encoder."""
    arms = {
        "captions name the object": ("object", False),
        "captions name everything": ("everything", False),
        "untrained": ("object", True),
    }
    rows = []
    for factor in FACTORS:
        first, second = scenes.FACTORS[factor][:2]
        row: dict[str, object] = {"factor": factor, "changed from": first, "to": second}
        for name, (arm, untrained) in arms.items():
            row[name] = select(measured, arm, "d_prime", factors=[factor], untrained=untrained)["value"].mean()
        rows.append(row)
    return pd.DataFrame(rows)


def head_table(measured: pd.DataFrame, pixels: pd.DataFrame) -> pd.DataFrame:
    """Accuracy in percent of heads trained at one place, there and elsewhere, by what they stand on."""
    arms = {
        "raw pixels": (pixels, PIXELS, PIXELS, False),
        UNTRAINED: (measured, "object", "embedding", True),
        "background": (measured, "background", "embedding", False),
        "everything": (measured, "everything", "embedding", False),
        "object": (measured, "object", "embedding", False),
    }
    return pd.DataFrame(
        [
            _described(share(table, arm, f"head_{where}", depth, "object", untrained=untrained), on=name, where=where)
            for name, (table, arm, depth, untrained) in arms.items()
            if has(table, arm)
            for where in ("here", "elsewhere")
        ]
    )


def scale_table(measured: pd.DataFrame) -> pd.DataFrame:
    """Skill in percent by size of model, data and training, captions naming the object; everything as the goal."""
    rows = []
    for arm in [arm for arm in (*SCALES, "everything") if has(measured, arm)]:
        for line, factors in (("place", ("place",)), ("all five", OMITTED)):
            rows.append(_described(skill(measured, arm, factors=factors), arm=arm, line=line))
        series = skill(measured, arm, "zero_shot", "embedding", ("object",))
        rows.append(_described(series, arm=arm, line="object, zero-shot"))
    return pd.DataFrame(rows)


def factorial_table(measured: pd.DataFrame) -> pd.DataFrame:
    """The eight cells of the factorial and the variance shares of its effects; empty where arms were not trained."""
    if not has(measured, *FACTORIAL.values()):
        return pd.DataFrame(
            columns=["response", "captions", "tower", "augmented", "effect", "value", "low", "high", "n"]
        )
    rows = []
    for response in RESPONSES:
        for (policy, tower, augmented), arm in FACTORIAL.items():
            rows.append(
                _described(
                    _response(measured, arm, response),
                    response=response,
                    captions="object and background" if policy else "object",
                    tower="vit" if tower else "conv",
                    augmented=augmented,
                    effect="",
                )
            )
        shares = variance_shares(measured, response)
        rows += [_described(shares[effect], response=response, effect=effect) for effect in shares.columns]
    return pd.DataFrame(rows)


# ---------------------------------------------------------------- numbers


def left(measured: pd.DataFrame, arm: str, depth: str, *, untrained: bool = False) -> pd.Series:
    """Share of the variance among pictures of one object, one number per seed, in percent."""
    return 100 - share(measured, arm, "variance", depth, "object", untrained=untrained)


#: What the factorial is about: the background, by how far it moves the embedding and by what probes read of it.
RESPONSES = ("moved", "probe, embedding", "probe, span")


def _response(measured: pd.DataFrame, arm: str, response: str) -> pd.Series:
    if response == "moved":
        return share(measured, arm, "moved", "embedding", "background")
    return skill(measured, arm, depth=response.removeprefix("probe, "), factors=("background",))


def variance_shares(measured: pd.DataFrame, response: str) -> pd.DataFrame:
    """Variance decomposition of a full 2 x 2 x 2 factorial within each seed.

    The seven contrasts are orthogonal: their squares add up to the variance of the eight cells.

    Returns:
        one row per seed; columns are the EFFECTS and "interactions", shares of the variance in percent; all 0 where
        there is no variance.
    """
    cells = pd.DataFrame({levels: _response(measured, arm, response) for levels, arm in FACTORIAL.items()})
    signs = 2 * np.array(list(FACTORIAL), dtype=float) - 1  # (8 cells, 3 effects), -1 or 1
    subsets = [subset for k in (1, 2, 3) for subset in itertools.combinations(range(3), k)]
    contrasts = np.stack([signs[:, list(subset)].prod(axis=1) for subset in subsets], axis=1)
    squares = (cells.to_numpy() @ contrasts / len(FACTORIAL)) ** 2  # (seeds, 7)
    total = squares.sum(axis=1, keepdims=True)
    shares = 100 * squares / np.where(total > 0, total, 1.0)
    table = pd.DataFrame(shares[:, :3], columns=list(EFFECTS), index=cells.index)
    return table.assign(interactions=shares[:, 3:].sum(axis=1))


def closed(measured: pd.DataFrame, larger: pd.Series, smaller: pd.Series, never: str = "object") -> Estimate:
    """What a larger scale adds to the skill on omitted factors, in percent of what mentioning them adds.

    Mentioning them adds what captions of everything leave a probe more than the arm ``never`` does.
    """
    gap = skill(measured, "everything") - skill(measured, never)
    return mean_over_seeds(percent_of(larger - smaller, gap).to_numpy())


def kept(table: pd.DataFrame, arm: str, *, untrained: bool = False) -> pd.Series:
    """Skill of heads elsewhere in percent of their skill at the place where they were trained, per seed."""
    here, elsewhere = (
        skill(table, arm, f"head_{where}", "embedding", ("object",), untrained=untrained)
        for where in ("here", "elsewhere")
    )
    return percent_of(elsewhere, here)


def cosine(course: pd.DataFrame, line: str, arm: str = "object", *, untrained: bool = False) -> pd.Series:
    """Cosine of pairs by what they share, one number per seed, at the end of a training or before it."""
    return select(course, arm, "cosine", factors=[line], untrained=untrained).groupby("seed")["value"].mean()


def gap(course: pd.DataFrame, line: str, arm: str = "object", *, untrained: bool = False) -> pd.Series:
    """How much closer pairs are that share something than pairs that share nothing, in cosine."""
    return cosine(course, line, arm, untrained=untrained) - cosine(course, "nothing", arm, untrained=untrained)


def values(measured: pd.DataFrame, course: pd.DataFrame, pixels: pd.DataFrame) -> list[NamedValue]:
    """Every number of chapter 3's first half that a claim's rule or its prose uses, as far as the profile has it."""
    return [
        *_trifeature_values(measured),
        *_matrix_values(measured, pixels),
        *_collapse_values(measured, course),
        *_labelled_values(measured, course),
        *_place_values(measured, pixels),
        *_dose_values(measured),
        *_control_values(measured),
        *_factorial_values(measured),
        *_scale_values(measured),
    ]


def _percent(name: str, series: pd.Series, figure: str, description: str) -> NamedValue:
    return NamedValue(name, mean_over_seeds(series.to_numpy()), "%", figure, description)


def _points(name: str, a: pd.Series, b: pd.Series, figure: str, description: str) -> NamedValue:
    return NamedValue(name, paired_difference(a, b), "points", figure, description)


#: How descriptions say what was read, and from which depth.
READ = {
    "backbone": "probe before the projection",
    "embedding": "probe on the embedding",
    "span": "probe in the span of the texts",
    "rest": "probe on the embedding outside the span of the texts",
    ZERO_SHOT: "zero-shot",
}
#: What pairs share that differ in the object alone, as :func:`caption_reading.related` calls it.
BUT = "all but the caption"
#: What captions say, what was asked for and in which unit, in the words of descriptions.
NAMED, SAID_ALL = "captions name the object alone", "captions mention everything"
OTHERS, LONG = "five factors beside the object", "three times the steps"
SKILL = "skill (0 chance, 100 perfect)"


def _right(depth: str) -> str:
    """An accuracy at a depth, or zero-shot, in the words of descriptions."""
    return "zero-shot accuracy" if depth == ZERO_SHOT else f"accuracy of a {READ[depth]}"


def _trifeature_values(measured: pd.DataFrame) -> Iterator[NamedValue]:
    suffixes = {"embedding": "", "span": "_span", ZERO_SHOT: "_zero_shot"}
    for arm, (named, label) in SHAPE_ARMS.items():
        if not has(measured, arm):
            continue
        name, others = f"tri_{named}" + "_longer" * (arm == SHAPE_LONGER), _not_named(named)
        when, pair = f"Trifeature pictures, captions name the {label}", " and ".join(others)
        yield _percent(f"{name}_shared", accuracy(measured, arm, "embedding", named), TRIFEATURE,
                       f"{when}: accuracy of a probe on the embedding for the {named}, chance 10 %")  # fmt: skip
        for depth, suffix in suffixes.items():
            yield _percent(f"{name}_unshared{suffix}", _mean_accuracy(measured, arm, depth, others), TRIFEATURE,
                           f"{when}: {_right(depth)}, mean for {pair}, chance 10 %")  # fmt: skip
        if arm != SHAPE_LONGER:
            before = _mean_accuracy(measured, arm, "embedding", others, untrained=True)
            yield _percent(f"{name}_unshared_untrained", before, TRIFEATURE,
                           "Trifeature pictures, untrained encoder: accuracy of a probe on the embedding, mean for "
                           f"{pair}, chance 10 %")  # fmt: skip
    if has(measured, SHAPE, SHAPE_LONGER):
        usual, longer = (
            _mean_accuracy(measured, arm, "embedding", _not_named("shape")) for arm in (SHAPE, SHAPE_LONGER)
        )
        yield _points("tri_shape_lost", usual, longer, TRIFEATURE,
                      "Trifeature pictures, captions name the shape: accuracy of a probe on the embedding, mean for "
                      "colour and texture, usual number of steps minus three times as many")  # fmt: skip


def _matrix_values(measured: pd.DataFrame, pixels: pd.DataFrame) -> Iterator[NamedValue]:
    stages = (
        ("object", True, "untrained", "untrained encoder"),
        ("object", False, "object", NAMED),
        (LONGER, False, "longer", f"{NAMED}, {LONG}"),
    )
    yield _percent("object_zero_shot", accuracy(measured, "object", ZERO_SHOT, "object"), MATRIX,
                   f"zero-shot accuracy for the object, {NAMED}")  # fmt: skip
    for factor in OMITTED:
        named = accuracy(measured, "everything", ZERO_SHOT, factor)
        yield _percent(f"everything_zero_shot_{factor}", named, MATRIX,
                       f"zero-shot accuracy for the {factor}, {SAID_ALL}")  # fmt: skip
        for arm, untrained, name, which in stages:
            if has(measured, arm):
                series = accuracy(measured, arm, "embedding", factor, untrained=untrained)
                yield _percent(f"{name}_embedding_{factor}", series, MATRIX if name != "longer" else COURSE,
                               f"accuracy of a probe on the embedding for the {factor}, {which}")  # fmt: skip
    four = tuple(factor for factor in OMITTED if factor != "background")
    for arm, untrained, name, which in stages:
        for factors, short, on in (
            (("background",), "background", f"{SKILL} on the background"),
            (four, "four", f"mean {SKILL} on medium, place, size and rotation"),
        ):
            if has(measured, arm):
                yield _percent(f"skill_{short}_{name}", skill(measured, arm, factors=factors, untrained=untrained), MATRIX,
                               f"{on}, {which}, probe on the embedding")  # fmt: skip
    yield _percent("everything_zero_shot_object", accuracy(measured, "everything", ZERO_SHOT, "object"), MATRIX,
                   f"zero-shot accuracy for the object, {SAID_ALL}")  # fmt: skip
    if has(measured, LONGER):
        yield _percent("longer_zero_shot_object", accuracy(measured, LONGER, ZERO_SHOT, "object"), COURSE,
                       f"zero-shot accuracy for the object, {NAMED}, {LONG}")  # fmt: skip
        for depth in ("backbone", "span"):
            yield _percent(f"longer_{depth}_background", accuracy(measured, LONGER, depth, "background"), COURSE,
                           f"accuracy of a {READ[depth]} for the background, {NAMED}, {LONG}")  # fmt: skip
    for depth in (*DEPTHS, ZERO_SHOT):
        name = depth.replace("-", "_")
        metric, at = ("zero_shot", "embedding") if depth == ZERO_SHOT else ("probe", depth)
        yield _percent(f"omitted_{name}", skill(measured, "object", metric, at), MATRIX,
                       f"mean {SKILL} on {OTHERS}, {NAMED}, {READ[depth]}")  # fmt: skip
        yield _percent(f"mentioned_{name}", skill(measured, "everything", metric, at), MATRIX,
                       f"mean {SKILL} on {OTHERS}, {SAID_ALL}, {READ[depth]}")  # fmt: skip
        yield _percent(f"background_{name}", accuracy(measured, "object", depth, "background"), MATRIX,
                       f"{_right(depth)} for the background, {NAMED}")  # fmt: skip
    if has(measured, "background"):
        for depth in ("embedding", "span"):
            yield _percent(f"object_unnamed_{depth}", accuracy(measured, "background", depth, "object"), MATRIX,
                           f"{_right(depth)} for the object, captions name the background alone")  # fmt: skip
    yield _percent("omitted_untrained", skill(measured, "object", untrained=True), MATRIX,
                   f"mean {SKILL} on {OTHERS}, untrained encoder, probe on the embedding")  # fmt: skip
    yield _percent("omitted_pixels", skill(pixels, PIXELS, "probe", PIXELS), MATRIX,
                   f"mean {SKILL} on {OTHERS}, probe on raw pixels")  # fmt: skip
    if has(measured, "labels"):
        yield _percent("omitted_labels", skill(measured, "labels"), MATRIX,
                       f"mean {SKILL} on {OTHERS}, image tower trained on labels of all factors, probe on the embedding"
                       )  # fmt: skip
    for arm, said in (("object", NAMED), ("everything", SAID_ALL)):
        rank = select(measured, arm, "rank", "span", [""]).groupby("seed")["value"].mean()
        yield NamedValue(f"rank_{arm}", mean_over_seeds(rank.to_numpy()), "", MATRIX,
                         f"dimensions of the embedding, of 64, that the texts of the captions span, {said}")  # fmt: skip


def _collapse_values(measured: pd.DataFrame, course: pd.DataFrame) -> Iterator[NamedValue]:
    start, end = gap(course, "caption", untrained=True), gap(course, "caption")
    background = gap(course, "background") - gap(course, "background", untrained=True)
    crossing = paired_difference(cosine(course, "caption"), cosine(course, BUT))
    yield NamedValue("c13_gap_gain", paired_difference(end, start), "", COURSE,
                     "what training adds to the cosine of picture pairs that share only the caption minus what it adds for "
                     "pairs that share nothing")  # fmt: skip
    yield NamedValue("c13_gain_over_background", paired_difference(end - start, background), "", COURSE,
                     "what training adds to the cosine of picture pairs that share only the caption minus what it adds for "
                     "pairs that share only the background")  # fmt: skip
    yield NamedValue("c13_crossing", crossing, "", COURSE,
                     "cosine of picture pairs that share only the caption minus pairs that share all but the caption, after "
                     "the usual training")  # fmt: skip
    for line, name, shared in (("caption", "caption", "only the caption"), (BUT, "all_but", BUT)):
        for when, untrained, said in (("start", True, "before training"), ("end", False, "after the usual training")):
            estimate = mean_over_seeds(cosine(course, line, untrained=untrained).to_numpy())
            yield NamedValue(f"cosine_{name}_{when}", estimate, "", COURSE,
                             f"cosine of picture pairs that share {shared}, {said}, {NAMED}")  # fmt: skip
    for depth, where in (("embedding", "embedding"), ("span", "embedding in the span of the texts")):
        spread = f"variance of the {where} left among pictures of one object, in percent of all"
        apart = (
            f"distance in the {where} of two pictures of one object, in percent of that of any two (root mean squares)"
        )
        yield _percent(f"c14_left_{depth}", left(measured, "object", depth), POINT, f"{spread}, {NAMED}")
        yield _percent(f"c14_distance_{depth}", 10 * left(measured, "object", depth) ** 0.5, POINT,
                       f"{apart}, {NAMED}")  # fmt: skip
        yield _percent(f"c14_left_{depth}_untrained", left(measured, "object", depth, untrained=True), POINT,
                       f"{spread}, untrained encoder")  # fmt: skip
        if has(measured, LONGER):
            yield _percent(f"c14_left_{depth}_longer", left(measured, LONGER, depth), POINT,
                           f"{spread}, {NAMED}, {LONG}")  # fmt: skip
            yield _percent(f"c14_distance_{depth}_longer", 10 * left(measured, LONGER, depth) ** 0.5, POINT,
                           f"{apart}, {NAMED}, {LONG}")  # fmt: skip
            yield _percent(f"c14_skill_{depth}_longer", skill(measured, LONGER, depth=depth), COURSE,
                           f"mean {SKILL} on {OTHERS}, {NAMED}, {LONG}, {READ[depth]}")  # fmt: skip
        yield _percent(f"c14_skill_{depth}", skill(measured, "object", depth=depth), MATRIX,
                       f"mean {SKILL} on {OTHERS}, {NAMED}, {READ[depth]}")  # fmt: skip
    for (arm, said), factor in itertools.product((("object", NAMED), ("everything", SAID_ALL)), FACTORS):
        yield _percent(f"moved_{factor}_{arm}", share(measured, arm, "moved", "embedding", factor), MOVED,
                       f"{_moved(factor)}, {said}")  # fmt: skip


def _labelled_values(measured: pd.DataFrame, course: pd.DataFrame) -> Iterator[NamedValue]:
    """The control of C13 and C14: labels of the object in the place of captions that name it."""
    for captions, labelled, suffix, long in (
        ("object", LABELLED, "", ""),
        (LONGER, LABELLED_LONGER, "_longer", f", {LONG}"),
    ):
        if not has(measured, captions, labelled):
            continue
        spoken, taught = f"{NAMED}{long}", f"trained on labels of the object{long}"
        more = "cosine of picture pairs that share only the object, less that of pairs that share nothing"
        yield NamedValue(f"c13_gap_captions{suffix}", mean_over_seeds(gap(course, "caption", captions).to_numpy()), "",
                         COURSE, f"{more}, {spoken}")  # fmt: skip
        yield NamedValue(f"c13_gap_labels{suffix}", mean_over_seeds(gap(course, "caption", labelled).to_numpy()), "",
                         COURSE, f"{more}, {taught}")  # fmt: skip
        over = paired_difference(gap(course, "caption", captions), gap(course, "caption", labelled))
        yield NamedValue(f"c13_captions_over_labels{suffix}", over, "", COURSE,
                         f"{more}: {spoken} minus trained on labels of the object")  # fmt: skip
        yield _percent(f"c14_left_labels{suffix}", left(measured, labelled, "embedding"), POINT,
                       f"variance of the embedding left among pictures of one object, in percent of all, {taught}"
                       )  # fmt: skip
        for arm, name, trained in ((captions, "captions", spoken), (labelled, "labels", taught)):
            yield _percent(f"kept_object_{name}{suffix}", skill(measured, arm, factors=("object",)), POINT,
                           f"{SKILL} on the object, {trained}, probe on the embedding")  # fmt: skip
        yield _percent(f"kept_others_labels{suffix}", skill(measured, labelled), POINT,
                       f"mean {SKILL} on {OTHERS}, {taught}, probe on the embedding")  # fmt: skip
        yield _points(f"kept_captions_over_labels{suffix}", skill(measured, captions), skill(measured, labelled), POINT,
                      f"mean {SKILL} on {OTHERS}, probe on the embedding: {spoken} minus trained on labels of the object"
                      )  # fmt: skip


def _moved(factor: str) -> str:
    """What "moved" measures."""
    return f"how far a changed {factor} moves the embedding, in percent of the distance between unrelated pictures"


def _place_values(measured: pd.DataFrame, pixels: pd.DataFrame) -> Iterator[NamedValue]:
    usual = accuracy(measured, "object", "embedding", "place")
    figure = SCALE if has(measured, WIDER) else MATRIX
    for name, depth, untrained, shown in (
        ("c16_place_embedding", "embedding", False, figure),
        ("c16_place_span", "span", False, MATRIX),
        ("c16_place_span_untrained", "span", True, MATRIX),
        ("c16_place_untrained", "embedding", True, MATRIX),
    ):
        which = "untrained encoder" if untrained else NAMED
        yield _percent(name, accuracy(measured, "object", depth, "place", untrained=untrained), shown,
                       f"accuracy of a {READ[depth]} for the place, {which}, chance 25 %")  # fmt: skip
    if has(measured, FEWER):
        fewer = accuracy(measured, FEWER, "embedding", "place")
        yield _points("c16_fall", fewer, usual, SCALE,
                      f"accuracy of a probe on the embedding for the place, {NAMED}: an eighth of the pictures minus all, "
                      "equal steps")  # fmt: skip
    here, elsewhere = (share(measured, "object", f"head_{w}", "embedding", "object") for w in ("here", "elsewhere"))
    head = "classifier of the object trained at one place"
    keeps = f"share of its accuracy above chance that a {head} keeps elsewhere"
    for arm, untrained, name, which in (
        ("object", True, "untrained", "untrained encoder"),
        ("everything", False, "everything", SAID_ALL),
        ("background", False, "background", "captions name the background alone"),
    ):
        if has(measured, arm):
            ends = [
                share(measured, arm, f"head_{w}", "embedding", "object", untrained=untrained)
                for w in ("here", "elsewhere")
            ]
            yield _points(f"c17_drop_{name}", ends[0], ends[1], HEADS,
                          f"accuracy of a {head}: there minus elsewhere, on the embedding, {which}")  # fmt: skip
    yield _points("c17_drop", here, elsewhere, HEADS,
                  f"accuracy of a {head}: there minus elsewhere, on the embedding, {NAMED}")  # fmt: skip
    yield _percent("c17_here", here, HEADS, f"accuracy of a {head} and tested there, on the embedding, {NAMED}")
    yield _percent("c17_kept", kept(measured, "object"), HEADS, f"{keeps}, on the embedding, {NAMED}")
    yield _percent("c17_kept_untrained", kept(measured, "object", untrained=True), HEADS,
                   f"{keeps}, on the untrained encoder's embedding")  # fmt: skip
    yield _points("c17_kept_over_untrained", kept(measured, "object"), kept(measured, "object", untrained=True), HEADS,
                  f"{keeps}: {NAMED}, minus untrained encoder")  # fmt: skip
    yield _percent("c17_kept_everything", kept(measured, "everything"), HEADS,
                   f"{keeps}, on the embedding, {SAID_ALL}")  # fmt: skip
    if has(measured, LABELLED):
        yield _percent("c17_kept_labels", kept(measured, LABELLED), HEADS,
                       f"{keeps}, on the embedding, trained on labels of the object")  # fmt: skip
    pixel = [skill(pixels, PIXELS, f"head_{w}", PIXELS, ("object",)) for w in ("elsewhere", "here")]
    yield _percent("c17_kept_pixels", percent_of(*pixel), HEADS, f"{keeps}, on raw pixels")


def _dose_values(measured: pd.DataFrame) -> Iterator[NamedValue]:
    readers = (("probe", "probe", READ["embedding"]), ("zero_shot", "zero_shot", READ[ZERO_SHOT]))
    for name, metric, what in readers:
        never, always = skill(measured, "object", metric), skill(measured, "everything", metric)
        yield _points(f"c18_slope_{name}", always, never, DOSE,
                      f"mean {SKILL} on {OTHERS}, {what}: always mentioned minus never")  # fmt: skip
        for arm, rate in RATES.items():
            if 0 < rate < 1 and has(measured, arm):
                yield _percent(f"c18_{name}_at_{round(100 * rate):02d}", skill(measured, arm, metric), DOSE,
                               f"mean {SKILL} on {OTHERS}, each mentioned in {100 * rate:.0f} % of captions, {what}"
                               )  # fmt: skip
        for factor in OMITTED:
            for arm, when in (("others at .1", "mentioned in 10 % of captions"), ("everything", "always mentioned")):
                if has(measured, arm):
                    yield _percent(f"c18_{name}_{factor}_at_{round(100 * RATES[arm])}",
                                   skill(measured, arm, metric, factors=(factor,)), DOSE,
                                   f"{SKILL} on the {factor}, each of {OTHERS} {when}, {what}")  # fmt: skip
            slopes = [skill(measured, arm, metric, factors=(factor,)) for arm in ("everything", "object")]
            yield _points(f"c18_slope_{name}_{factor}", slopes[0], slopes[1], DOSE,
                          f"{SKILL} on the {factor}, {what}: always mentioned minus never")  # fmt: skip
    if has(measured, LONGER, EVERYTHING_LONGER):
        for name, metric, what in readers:
            for suffix, on, chosen in (
                ("", f"mean {SKILL} on {OTHERS}", OMITTED),
                *((f"_{factor}", f"{SKILL} on the {factor}", (factor,)) for factor in OMITTED),
            ):
                pair = [skill(measured, arm, metric, factors=chosen) for arm in (EVERYTHING_LONGER, LONGER)]
                yield _points(f"c18_slope_{name}_longer{suffix}", pair[0], pair[1], CONTROL,
                              f"{on}, {what}, {LONG}: always mentioned minus never")  # fmt: skip
    probe = skill(measured, "object")
    yield _points("c18_below_untrained", skill(measured, "object", untrained=True), probe, DOSE,
                  f"mean {SKILL} on {OTHERS}, probe on the embedding: untrained encoder minus trained, {NAMED}")  # fmt: skip
    yield _percent("c18_probe_unmentioned", probe, DOSE,
                   f"mean {SKILL} on {OTHERS}, never mentioned, {READ['embedding']}")  # fmt: skip
    yield _percent("c18_zero_shot_unmentioned", skill(measured, "object", "zero_shot"), DOSE,
                   f"mean {SKILL} on {OTHERS}, never mentioned, {READ[ZERO_SHOT]}")  # fmt: skip


def _control_values(measured: pd.DataFrame) -> Iterator[NamedValue]:
    for suffix, more, ceiling, when in (
        ("", "", "everything", ""),
        ("_longer", ", three times longer", EVERYTHING_LONGER, ", after three times as many steps"),
    ):
        for arm, name, instead in (
            ("filler words", "filler", "replaced by filler words"),
            ("duplicates masked", "masked", "never, equal captions not counted as negatives"),
            ("temperature .07", "temperature", "never, temperature fixed at .07"),
        ):
            if has(measured, arm + more, ceiling):
                yield _points(f"c19_{name}{suffix}", skill(measured, ceiling), skill(measured, arm + more), CONTROL,
                              f"mean {SKILL} on {OTHERS}, {READ['embedding']}: always mentioned minus {instead}{when}"
                              )  # fmt: skip


def _factorial_values(measured: pd.DataFrame) -> Iterator[NamedValue]:
    if not has(measured, *FACTORIAL.values()):
        return
    moved, probe = (variance_shares(measured, response) for response in ("moved", "probe, embedding"))
    for policy, name, said in ((False, "object", NAMED), (True, "both", "captions name object and background")):
        cells = [_response(measured, arm, "moved") for levels, arm in FACTORIAL.items() if levels[0] == policy]
        yield _percent(f"c19_moved_{name}", pd.concat(cells, axis=1).mean(axis=1), FACTORIAL_FIGURE,
                       f"{_moved('background')}, {said}, mean of four trainings")  # fmt: skip
    for tower, arm, built in (
        ("convolutional", "object", "convolutional tower"),
        ("vit", "object, vit", "vision transformer"),
    ):
        which = f"{NAMED}, {built}"
        for response, short in (("probe, embedding", "embedding"), ("probe, span", "span")):
            yield _percent(f"c19_{tower}_{short}", _response(measured, arm, response), FACTORIAL_FIGURE,
                           f"{SKILL} on the background, {READ[short]}, {which}")  # fmt: skip
        yield _percent(f"c19_{tower}_object", accuracy(measured, arm, ZERO_SHOT, "object"), FACTORIAL_FIGURE,
                       f"zero-shot accuracy for the object, {which}")  # fmt: skip
    what = {
        "moved": "how far a changed background moves the embedding",
        "probe, embedding": "a probe's skill on the background (embedding)",
        "probe, span": "a probe's skill on the background (span of the texts)",
    }
    part = "share of the variance between eight trainings in"
    yield _points("c19_policy_over_tower", moved["captions"], moved["architecture"], FACTORIAL_FIGURE,
                  f"{part} {what['moved']}: captions minus architecture")  # fmt: skip
    yield _points("c19_policy_over_augmentation", moved["captions"], moved["augmentation"], FACTORIAL_FIGURE,
                  f"{part} {what['moved']}: captions minus augmentation")  # fmt: skip
    yield _points("c19_probe_policy_over_rest", probe["captions"], probe[["architecture", "augmentation"]].max(axis=1),
                  FACTORIAL_FIGURE,
                  f"{part} {what['probe, embedding']}: captions minus the larger of architecture and augmentation"
                  )  # fmt: skip
    for response in RESPONSES:
        shares, name = variance_shares(measured, response), response.replace("probe, ", "")
        for effect in shares.columns:
            yield _percent(f"c19_share_{name}_{effect}", shares[effect], FACTORIAL_FIGURE,
                           f"{part} {what[response]} that is due to {effect}")  # fmt: skip


def _scale_values(measured: pd.DataFrame) -> Iterator[NamedValue]:
    usual = skill(measured, "object")
    on = f"mean {SKILL} on {OTHERS}, never mentioned, {READ['embedding']}"
    pairs: Sequence[tuple[str, str, str, pd.Series, pd.Series]] = [
        (name, text, versus, skill(measured, larger), skill(measured, smaller))
        for name, text, versus, larger, smaller in (
            ("width", "four times the width adds", "four times the width minus the usual one", WIDER, "object"),
            ("data", "eight times the pictures add", "all pictures minus an eighth, equal steps", "object", FEWER),
            ("steps", "three times the steps add", "three times the steps minus the usual number", LONGER, "object"),
        )
        if has(measured, larger, smaller)
    ]
    for name, text, versus, larger, smaller in pairs:
        yield _points(f"c25_gain_{name}", larger, smaller, SCALE, f"{on}: {versus}")
        if name != "steps":
            yield NamedValue(f"c25_closed_{name}", closed(measured, larger, smaller), "%", SCALE,
                             f"what {text} to a probe's mean skill on {OTHERS}, never mentioned, in percent of what "
                             "mentioning them adds")  # fmt: skip
    if has(measured, FEWER):
        yield NamedValue("c25_closed_data_of_few", closed(measured, usual, skill(measured, FEWER), FEWER), "%", SCALE,
                         f"what eight times the pictures add to a probe's mean skill on {OTHERS}, never mentioned, in "
                         "percent of what an eighth of the pictures lacks to all pictures that mention them")  # fmt: skip
        yield _points("c25_object_gain_data", skill(measured, "object", "zero_shot", factors=("object",)),
                      skill(measured, FEWER, "zero_shot", factors=("object",)), SCALE,
                      f"zero-shot {SKILL} on the object, {NAMED}: all pictures minus an eighth, equal steps")  # fmt: skip
    yield _percent("c25_omitted", usual, SCALE if pairs else MATRIX, f"{on}, usual size")
