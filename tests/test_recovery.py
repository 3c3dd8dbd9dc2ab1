"""Chapter 5: tuning changes what it says and nothing else, labels are counted, and numbers mean what their names say."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from torch import nn

from clip_invariance.captions import Captions
from clip_invariance.chapters.c4_dashcam import measures as dashcam_measures
from clip_invariance.chapters.c4_dashcam.arms import train_units
from clip_invariance.chapters.c4_dashcam.measures import ASKED, word_classes
from clip_invariance.chapters.c4_dashcam.training import Schedule, captions_of, sample_scenes
from clip_invariance.chapters.c5_recovery import arms, figures, numbers, tables, units
from clip_invariance.chapters.c5_recovery import pictures as recovery_pictures
from clip_invariance.chapters.c5_recovery import training as recovery_training
from clip_invariance.chapters.c5_recovery.arms import GENERALIST, SILENT, UNTRAINED, encoder_unit, tunings
from clip_invariance.chapters.c5_recovery.measures import pixels_by_labels
from clip_invariance.chapters.c5_recovery.measures import word_classes as classes_at_once
from clip_invariance.chapters.c5_recovery.pictures import (
    CAPTIONED,
    CLOSE,
    DARK,
    FOG,
    LOST,
    TESTS,
    USUAL,
    at_another_time,
    budget,
    exams,
    pool_scenes,
)
from clip_invariance.chapters.c5_recovery.tables import FIRST_STAGE, LORA, NAMES, PIXELS, SCRATCH, Measured
from clip_invariance.chapters.c5_recovery.tuning import BOLD, GENTLE, RATES, Tuning
from clip_invariance.errors import UsageError
from clip_invariance.marks.style import style
from clip_invariance.measure.decodability import fit_probes
from clip_invariance.measure.stages import linear_heads, stages
from clip_invariance.measure.statistics import Estimate
from clip_invariance.measure.tables import select
from clip_invariance.measure.word_map import fit_word_map
from clip_invariance.measure.zero_shot import zero_shot_accuracy
from clip_invariance.models import clip
from clip_invariance.profiles import PROFILES
from clip_invariance.rules.claims import load_claims
from clip_invariance.run.chapter import _with_params
from clip_invariance.run.store import describe
from clip_invariance.training import contrastive, tuning
from clip_invariance.training.tuning import METHODS
from clip_invariance.training.views import loss_of_views
from clip_invariance.units import Unit

SMOKE = PROFILES["smoke"]
PAGE = Path(__file__).resolve().parent.parent / "book" / "05_recovering_lost_information.md"

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Noise, half of it with a bright top half."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 120, (48, 3, 32, 32), generator=generator)
    noise[::2, :, :16] += 100
    return noise.byte()


@pytest.fixture(scope="module")
def model(images: torch.Tensor) -> CLIP:
    torch.set_num_threads(1)
    return clip.calibrate_batch_norm(clip.create("conv", size=32, embed_dim=16, seed=0), images)


def labels_of(images: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"bright": (torch.arange(len(images)) + 1) % 2}


def head() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({"bright": nn.Linear(16, 2)})


# ---------------------------------------------------------------- tuning


def test_lora_starts_as_the_very_same_encoder_and_trains_its_updates_alone(model: CLIP, images: torch.Tensor) -> None:
    """B is zero at the beginning, so that the low-rank update B A is zero and the layer is what it was."""
    tuned = tuning.copy_with_own_tower(model)
    before = clip.embed(model, images)
    tower = tuning.with_lora(tuned.visual, seed=3)
    with torch.inference_mode():
        after = F.normalize(tower.eval()(clip.prepare(images)), dim=1)
    torch.testing.assert_close(after, before)
    trained = [name for name, p in tower.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)


def test_merging_lora_gives_a_plain_tower_whose_change_has_low_rank(model: CLIP, images: torch.Tensor) -> None:
    options = {"steps": 4, "batch": 16, "rate": 1e-2, "seed": 0}
    tuned, _ = tuning.fit(model, head(), images, labels_of(images), method="lora", **options)
    assert set(tuned.visual.state_dict()) == set(model.visual.state_dict())
    assert not torch.allclose(clip.embed(tuned, images), clip.embed(model, images), atol=1e-4)
    change = tuned.visual.head.proj.weight - model.visual.head.proj.weight
    assert int(torch.linalg.matrix_rank(change, rtol=1e-4)) <= tuning.RANK < min(change.shape)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_moves_its_own_weights_and_leaves_the_original_alone(
    model: CLIP, images: torch.Tensor, method: tuning.Method
) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    start = head()
    options = {"steps": 4, "batch": 16, "rate": 1e-2, "seed": 0}
    tuned, heads = tuning.fit(model, start, images, labels_of(images), method=method, **options)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)
    torch.testing.assert_close(start.state_dict(), head().state_dict())
    assert not torch.equal(heads["bright"].weight, start["bright"].weight)
    moved = {n for n, t in tuned.visual.state_dict().items() if not torch.equal(t, before[f"visual.{n}"])}
    statistics = {name for name in moved if "running" in name or "batches" in name}
    assert bool(statistics) == (method == "scratch")
    if method == "projection":
        assert moved == {"head.proj.weight"}
    else:
        assert any(name.startswith("trunk.stem") for name in moved)
    said = clip.encode_texts(model, ["a red light"])
    torch.testing.assert_close(clip.encode_texts(tuned, ["a red light"]), said)


def test_full_tuning_learns_what_a_random_head_cannot_read(model: CLIP, images: torch.Tensor) -> None:
    answers = labels_of(images)
    tuned, heads = tuning.fit(model, head(), images, answers, method="full", steps=25, batch=48, rate=3e-3, seed=0)
    with torch.inference_mode():
        right = (heads["bright"](clip.embed(tuned, images)).argmax(1) == answers["bright"]).float().mean()
    assert right > 0.9


def test_unknown_methods_and_missing_labels_are_named(model: CLIP, images: torch.Tensor) -> None:
    options = {"steps": 1, "batch": 8, "rate": 1e-3, "seed": 0}
    with pytest.raises(UsageError, match="sideways"):
        tuning.fit(model, head(), images, labels_of(images), method="sideways", **options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="bright"):
        tuning.fit(model, head(), images, {}, method="full", **options)
    with pytest.raises(UsageError, match="pairs"):
        tuning.fit_pairs(model, images, images[:3], Captions(("a",), torch.zeros(48).long()), pull=1.0, **options)


def test_shares_of_trained_weights_are_ordered(model: CLIP) -> None:
    projection, lora, full = (tuning.trainable_share(model, method) for method in ("projection", "lora", "full"))
    assert 0 < projection < lora < 1
    assert full == 1


def test_the_line_between_two_models_ends_in_them(model: CLIP, images: torch.Tensor) -> None:
    other = clip.calibrate_batch_norm(clip.create("conv", size=32, embed_dim=16, seed=1), images)
    for share, end in ((0.0, model), (1.0, other)):
        between = tuning.interpolate(model.visual, other.visual, share)
        torch.testing.assert_close(between.state_dict(), end.visual.state_dict(), rtol=0, atol=0)
    middle = tuning.interpolate(model.visual, other.visual, 0.25).head.proj.weight
    torch.testing.assert_close(middle, 0.75 * model.visual.head.proj.weight + 0.25 * other.visual.head.proj.weight)
    wider = clip.create("conv", size=32, embed_dim=8, seed=1)
    with pytest.raises(UsageError, match="same weights"):
        tuning.interpolate(model.visual, wider.visual, 0.5)


def test_pairs_that_are_pulled_come_together_and_others_stay_apart(model: CLIP, images: torch.Tensor) -> None:
    one, other = images[::2], images[1::2]
    captions = Captions(("a car", "a van"), torch.arange(24) % 2)

    def apart(encoder: CLIP) -> float:
        """One minus the mean cosine of a pair."""
        return 1 - float((clip.embed(encoder, one) * clip.embed(encoder, other)).sum(1).mean())

    options = {"steps": 15, "batch": 24, "rate": 2e-3, "seed": 0}
    pulled = tuning.fit_pairs(model, one, other, captions, pull=10.0, **options)
    loose = tuning.fit_pairs(model, one, other, captions, pull=0.0, **options)
    assert apart(pulled) < 0.3 * apart(loose)


def test_views_beside_the_captions_move_the_image_tower(images: torch.Tensor) -> None:
    captions = Captions(("a red car", "a blue van"), torch.arange(48) % 2)

    def trained(views: bool) -> torch.Tensor:
        fresh = clip.create("conv", size=32, embed_dim=16, seed=0)
        beside = loss_of_views(fresh, 0) if views else None
        contrastive.fit(fresh, images, captions, steps=2, batch=16, rate=1e-3, seed=0, beside=beside)
        return fresh.visual.head.proj.weight.detach()

    torch.testing.assert_close(trained(True), trained(True))
    assert not torch.allclose(trained(True), trained(False), atol=1e-4)


# ---------------------------------------------------------------- heads, stages, one linear map


def test_a_probe_as_a_layer_gives_the_probes_own_logits() -> None:
    x = torch.randn(80, 6, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 5, 0.1, 1, 1, 1]) + 3
    answers = {"a": (x[:, 1] > 3).long(), "b": torch.arange(80) % 3}
    probes = fit_probes(x, answers)
    heads = linear_heads(probes)
    for factor, logits in probes.logits(x).items():
        torch.testing.assert_close(heads[factor](x), logits, rtol=1e-3, atol=1e-3)
    with pytest.raises(UsageError, match="labels must be 0"):
        linear_heads(fit_probes(x, {"a": 1 + answers["a"]}))


def test_every_stage_of_the_tower_is_seen_once(model: CLIP, images: torch.Tensor) -> None:
    found = stages(model, images)
    assert list(found) == ["stage 1", "stage 2", "stage 3", "backbone", "embedding"]
    assert [x.shape[1] for x in found.values()] == [64, 128, 256, 256, 16]
    torch.testing.assert_close(found["backbone"], clip.backbone(model, images))
    again = stages(model, images)
    torch.testing.assert_close(found["stage 1"], again["stage 1"])
    with pytest.raises(UsageError, match="stages"):
        stages(clip.create("vit", size=32), images)


def test_a_linear_map_brings_words_to_what_the_embedding_holds() -> None:
    """Pictures know the answer in directions that no word points to: words are at chance, a rotation away from right."""
    generator = torch.Generator().manual_seed(0)
    answer = torch.randint(2, (400,), generator=generator)
    x = 0.1 * torch.randn(400, 8, generator=generator)
    x[:, 2] += 1
    x[:, 3] += 0.5 * (2 * answer - 1)
    x = F.normalize(x, dim=1)
    classes = {"light": F.normalize(torch.eye(8)[[0, 1]] + 0.01, dim=1)}
    plain = zero_shot_accuracy(x[200:], classes["light"], answer[200:])
    fitted = fit_word_map(x[:200], {"light": answer[:200]}, classes, scale=20.0)
    mapped = zero_shot_accuracy(x[200:] @ fitted, classes["light"], answer[200:])
    assert plain < 0.65
    assert mapped > 0.98


def test_a_linear_map_cannot_find_what_is_not_there() -> None:
    """The data-processing limit: whatever is fitted on features, answers that do not depend on them stay at chance."""
    generator = torch.Generator().manual_seed(1)
    x = F.normalize(torch.randn(1200, 8, generator=generator), dim=1)
    answer = torch.randint(2, (1200,), generator=generator)
    classes = {"light": torch.eye(8)[:2]}
    fitted = fit_word_map(x[:200], {"light": answer[:200]}, classes, scale=20.0)
    assert zero_shot_accuracy(x[200:] @ fitted, classes["light"], answer[200:]) == pytest.approx(0.5, abs=0.06)


def test_a_linear_map_that_costs_too_much_does_nothing() -> None:
    x = F.normalize(torch.randn(40, 8, generator=torch.Generator().manual_seed(2)), dim=1)
    answers, classes = {"light": torch.arange(40) % 2}, {"light": torch.eye(8)[:2]}
    held = fit_word_map(x, answers, classes, scale=20.0, penalties=(1e6,))
    torch.testing.assert_close(held, torch.eye(8), rtol=0, atol=1e-4)
    with pytest.raises(UsageError, match="body"):
        fit_word_map(x, {"body": answers["light"]}, classes, scale=20.0)


# ---------------------------------------------------------------- pictures and labels


@pytest.mark.parametrize("n", [8, 32, 301])
@pytest.mark.parametrize("tasks", [("light",), ("car_colour",), tuple(ASKED)])
def test_a_budget_is_all_that_a_method_sees(n: int, tasks: tuple[str, ...]) -> None:
    """Pictures to fit on and to choose settings on are together exactly as many as were paid for."""
    shown = sample_scenes(600, 0, "small")
    labels = {factor: torch.searchsorted(torch.tensor(v), shown.labels[factor]) for factor, v in ASKED.items()}
    fitted, held = budget(labels, tasks, n, 0)
    assert len(fitted) + len(held) == len(set(torch.cat([fitted, held]).tolist())) == n
    assert len(held) == n // 4
    task = max(tasks, key=lambda factor: len(ASKED[factor]))
    counts = labels[task][torch.cat([fitted, held])].bincount(minlength=len(ASKED[task]))
    assert counts.max() - counts.min() <= 1
    smaller = set(torch.cat(budget(labels, tasks, 4, 0)).tolist())
    assert smaller <= set(torch.cat([fitted, held]).tolist())


def test_budgets_that_cannot_be_had_are_refused() -> None:
    labels = {"light": torch.arange(20) % 2}
    for n in (3, 21):
        with pytest.raises(UsageError, match=f"{n} asked"):
            budget(labels, ("light",), n, 0)


def test_shifted_tests_change_what_they_say_and_nothing_else() -> None:
    shown = exams(30, 0, "cpu")
    assert tuple(shown) == TESTS
    brightness = {name: part.images.float().mean() for name, part in shown.items()}
    assert brightness[DARK] < 0.7 * brightness[USUAL]
    assert (shown[FOG].labels["weather"] == 2).all()
    different = (shown[CLOSE].images != shown[USUAL].images).any(1).float().mean((1, 2))
    assert 0 < different.max() < 0.3
    for name in TESTS:
        assert torch.equal(shown[name].labels["light"], shown[USUAL].labels["light"])


def test_pool_tests_and_training_share_no_scene() -> None:
    def clutter(labelled: object) -> set[int]:
        return set(labelled.nuisances["clutter"].tolist())  # type: ignore[attr-defined]

    drawn = [
        clutter(pool_scenes(500, 0)),
        *(
            clutter(sample_scenes(500, first, "small"))
            for first in (0, recovery_pictures._TEST, dashcam_measures._MEASURED, dashcam_measures._MATCHED)
        ),
    ]
    for one, other in itertools.combinations(drawn, 2):
        assert not one & other


def test_another_time_is_never_the_same_time() -> None:
    shown = pool_scenes(300, 0)
    later = at_another_time(shown, 0)
    assert (later.labels["time"] != shown.labels["time"]).all()
    assert set(later.labels["time"].tolist()) == {0, 1, 2}
    assert torch.equal(later.labels["light"], shown.labels["light"])


def test_a_share_of_captions_is_rewritten_to_mention_everything() -> None:
    shown = sample_scenes(1000, 0, "small")
    plain, some = recovery_training.rewritten(shown, 0.0, 0), recovery_training.rewritten(shown, 0.2, 0)
    everything = recovery_training.rewritten(shown, 1.0, 0)
    assert plain.strings() == captions_of(shown, 0.0, False, 0).strings()
    mentioned = [" light" in text for text in some.strings()]
    assert sum(mentioned) / len(mentioned) == pytest.approx(0.2, abs=0.04)
    assert all(" light" in text and len(text.split()) > 20 for text in everything.strings())
    assert sum(a == b for a, b in zip(some.strings(), plain.strings(), strict=True)) == 1000 - sum(mentioned)


def test_texts_encoded_at_once_make_the_same_classifiers(model: CLIP) -> None:
    together = classes_at_once(model, ["light", "body"])
    for factor, weights in together.items():
        alone = word_classes(lambda texts: clip.encode_texts(model, texts), factor)
        torch.testing.assert_close(weights, alone, rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- units


TRAINED: dict[str, pd.DataFrame] = {}


def trained(unit: Unit) -> pd.DataFrame:
    """What a unit without needs returns, computed once."""
    if (name := describe(unit)) not in TRAINED:
        TRAINED[name] = unit.function(**unit.params)
    return TRAINED[name]


def ran(unit: Unit) -> pd.DataFrame:
    """The unit's table, what it needs included."""
    return unit.function(**unit.params, **{name: trained(need) for name, need in unit.needs.items()})


def test_encoders_of_chapter_4_are_needed_not_trained_again() -> None:
    """The very units that chapter 4 asks for, so that the store has each encoder once."""
    for profile, seeds in (("quick", 3), ("standard", 5)):
        known = train_units(PROFILES[profile], seeds, "cpu")
        for unit in units.all_units(PROFILES[profile], seeds, "cpu"):
            if unit.function is not pixels_by_labels:  # the control without an encoder
                need = unit.needs["encoder"]
                assert need in known or need.function is recovery_training.train
    with pytest.raises(UsageError, match="objective='poems'"):
        recovery_training.train(recovery_training.Arm("poems"), Schedule(1, 128), 0, "cpu")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="not trained in the profile smoke"):
        encoder_unit(replace(SILENT, embed_dim=7), SMOKE, 0, "cpu")


@pytest.mark.parametrize("profile", list(PROFILES))
def test_every_tuning_has_its_steps_and_stays_within_the_pool(profile: str) -> None:
    wanted = tunings(PROFILES[profile])
    assert len(set(wanted)) == len(wanted)
    pool = units.AMOUNT.at(PROFILES[profile]).pool
    assert all(tuning.labels in arms.LENGTHS and tuning.labels <= pool for tuning in wanted)
    budgets = arms.BUDGETS.at(PROFILES[profile])
    assert {budgets.few, budgets.many} <= set(budgets.curve)


def test_every_profile_tunes_the_same_or_less() -> None:
    quick, standard, full = (set(tunings(PROFILES[name])) for name in ("quick", "standard", "full"))
    assert quick < standard == full


Keys = list[tuple[str, str, str, str, int, float]]
KEY = ["metric", "factor", "depth", "test", "labels", "share"]


def keys_of(unit: Unit) -> Keys:
    """What each kind of unit measures: metric, factor, depth, test, labels, share of the way."""
    params, name = unit.params, unit.function.__name__
    arm = params.get("arm")
    n = getattr(arm, "labels", 0)
    tests = params.get("tests", [USUAL])

    def everything(words: bool) -> Keys:
        probes = [("probe", factor, "embedding", USUAL, n, 1.0) for factor in ASKED]
        asked = {test: ASKED if test == USUAL else (*CAPTIONED, *LOST) for test in tests}
        in_words = [("zero_shot", f, "embedding", test, n, 1.0) for test, factors in asked.items() for f in factors]
        return probes + in_words * words

    if name == "read":
        return everything(params["words"])
    if name == "probe_by_labels":
        depths = ["stage 1", "stage 2", "stage 3"] * params["every_depth"] + ["backbone", "embedding"]
        return [
            ("frozen", task, depth, test, labels, 1.0)
            for depth in depths for task in LOST for labels in params["budgets"] for test in tests
        ]  # fmt: skip
    if name == "pixels_by_labels":
        return [("frozen", task, "pixels", USUAL, labels, 1.0) for task in LOST for labels in params["budgets"]]
    if name == "tune":
        rest = [("rate", arm.task), ("trained", arm.task)]
        named = CAPTIONED if arm.task in LOST and params["words"] else ()
        asked = [("tuned", task) for task in arm.tasks()] + [("zero_shot", factor) for factor in named]
        found = [(m, f, "embedding", test, n, share) for m, f in asked for test in tests for share in params["shares"]]
        rest += [(metric, factor) for metric in (GENTLE, BOLD) for factor in named]
        found += everything(False) * params["probed"]
        return found + [(metric, factor, "embedding", USUAL, n, 1.0) for metric, factor in rest]
    if name == "go_on":
        return [*everything(True), ("rate", "captions", "embedding", USUAL, n, 1.0)]
    if name == "pull_together":
        return everything(True)
    mapped = [(m, f, labels) for m in ("mapped", "frozen") for f in ASKED for labels in params["budgets"]]
    mapped += [("zero_shot", factor, 0) for factor in ASKED]
    return [(metric, factor, "embedding", USUAL, labels, 1.0) for metric, factor, labels in mapped]


LISTS = (
    units.read_units,
    units.probe_units,
    units.tune_units,
    units.caption_units,
    units.pair_units,
    units.map_units,
)


def invented(profile: str) -> Measured:
    """Tables of three seeds with the rows of a profile and made-up accuracies."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for make in LISTS:
        parts = []
        for unit in make(PROFILES[profile], 3, "cpu"):
            rows = pd.DataFrame(keys_of(unit), columns=KEY)
            noise = 0.01 * torch.randn(len(rows), generator=generator).numpy()
            parts.append(_with_params(unit, rows.assign(value=0.75 + 0.1 * rows["share"] + noise)))
        found.append(pd.concat(parts, ignore_index=True))
    return Measured(arms.BUDGETS.at(PROFILES[profile]), *found)


@pytest.fixture(scope="module")
def measured() -> Measured:
    return invented("smoke")


def one_of_each() -> list[Unit]:
    """The units of the smoke profile, one for each function and, of tunings, for each method."""
    return list({kind(unit): unit for make in LISTS for unit in make(SMOKE, 1, "cpu")}.values())


def kind(unit: Unit) -> str:
    """The function and, of tunings, the method."""
    return f"{unit.function.__name__} {getattr(unit.params.get('arm'), 'method', None)}"


@pytest.mark.slow
@pytest.mark.parametrize("unit", one_of_each(), ids=kind)
def test_a_unit_measures_what_it_says(unit: Unit) -> None:
    torch.set_num_threads(1)
    found = ran(unit)
    assert sorted(map(tuple, found[KEY].to_numpy().tolist())) == sorted(keys_of(unit))
    right = found[~found["metric"].isin(["rate", "trained"])]
    assert right["value"].between(0, 1).all()
    assert found["value"].notna().all()


@pytest.mark.parametrize("profile", ["smoke", "quick", "standard"])
def test_every_rule_and_the_prose_name_values_that_every_profile_measures(profile: str) -> None:
    named = numbers.values(invented(profile))
    assert all(isinstance(row.estimate, Estimate) and row.description for row in named)
    assert len({row.name for row in named}) == len(named)
    rules = {c.value for claim in load_claims() if claim.chapter == "05" for c in claim.conditions}
    assert rules
    known = {f"05.{row.name}" for row in named}
    assert rules <= known
    if profile != "smoke":
        quoted = set(re.findall(r"{value}`(05\.[a-z0-9_]+)", PAGE.read_text(encoding="utf-8")))
        assert len(quoted) > 40
        # The site says so.
        longer = r"05\.(kept_(everything|beside|longer|fifth)|idle_full_body|pedestrian_scratch_512|"
        longer += r"c33_control|c33_longer_.*|c33_idle_longer|light_lora_.*_512|words_cost_of_light|c34_generalist|"
        longer += r"light_full_head_start_.*|c33_.*_2000|.*_(8|128|2000)$)"
        assert [name for name in quoted - known if profile != "quick" or not re.match(longer, name)] == []


def test_all_units_are_those_of_the_steps() -> None:
    """A notebook's later steps find everything stored."""
    every = units.all_units(PROFILES["quick"], 3, "cpu")
    steps = [unit for make in LISTS for unit in make(PROFILES["quick"], 3, "cpu")]
    assert sorted(map(repr, every)) == sorted(map(repr, steps))


def test_the_first_stage_of_the_untrained_network_is_a_control_of_the_trained_one(measured: Measured) -> None:
    """Read with the same budgets at the same depths, beside the silent encoder in values and figures."""
    where = {"metric": "frozen", "factor": "light", "depth": FIRST_STAGE}
    probes = set_to(measured.probes, 0.9, arm=SILENT, **where)
    probes = set_to(probes, 0.7, arm=UNTRAINED, **where)
    found = replace(measured, probes=probes)
    named = values_of(found)
    assert named["light_early_untrained_32"] == pytest.approx(70)
    assert named["light_early_learned_8"] == pytest.approx(20)
    assert named["light_untrained_at_stage_1"] == pytest.approx(70)
    assert named["light_learned_at_stage_1"] == pytest.approx(20)
    by_depth = tables.depths(found).set_index(["task", "labels", "depth", "encoder"])["value"]
    assert by_depth["light", 32, "stage 1", NAMES[UNTRAINED]] == pytest.approx(70)
    for arm in (SILENT, UNTRAINED):
        read = by_depth.xs(NAMES[arm], level="encoder").xs("light", level="task").index.get_level_values("depth")
        assert {"stage 1", "stage 2", "stage 3", "backbone", "embedding"} <= set(read)
    curves = tables.labels_needed(found).set_index(["task", "labels", "series"])["value"]
    assert curves["light", 32, tables.EARLY_UNTRAINED] == pytest.approx(70)


def test_what_words_lose_is_told_apart_by_learning_rate(measured: Measured) -> None:
    lora = {"arm": Tuning(SILENT, "lora", "light", 32)}
    tuned = set_to(measured.tuned, max(RATES["lora"]), metric="rate", **lora)
    tuned = set_to(tuned, 0.8, metric=GENTLE, **lora)
    tuned = set_to(tuned, 0.3, metric=BOLD, **lora)
    reads = set_to(measured.reads, 0.9, metric="zero_shot", arm=SILENT)
    named = values_of(replace(measured, tuned=tuned, reads=reads))
    assert named["lora_bold_32"] == 100
    assert named["lora_bold_8"] == 0
    assert named["cost_lora_gentle_32"] == pytest.approx(10)
    assert named["cost_lora_bold_32"] == pytest.approx(60)


def values_of(found: Measured) -> dict[str, float]:
    """The numbers by name."""
    return {value.name: value.estimate.value for value in numbers.values(found)}


def set_to(table: pd.DataFrame, value: float, **where: object) -> pd.DataFrame:
    """The table with another value in the rows that agree with ``where``."""
    chosen = select(table, **where).index
    assert len(chosen)
    return table.assign(value=table["value"].mask(table.index.isin(chosen), value))


def test_known_answers_reach_the_values(measured: Measured) -> None:
    probes = set_to(measured.probes, 0.55, metric="frozen", factor="light", labels=32, arm=SILENT)
    probes = set_to(probes, 0.6, depth="backbone", factor="light", labels=32, arm=SILENT)
    probes = set_to(probes, 0.7, depth="stage 1", factor="light", labels=32, arm=SILENT)
    lora = Tuning(SILENT, "lora", "light", 32)
    tuned = set_to(measured.tuned, 0.9, metric="tuned", arm=lora)
    tuned = set_to(tuned, 0.8, metric="zero_shot", arm=lora)
    tuned = set_to(tuned, 0.5, metric="tuned", arm=Tuning(UNTRAINED, "scratch", "light", 32))
    reads = set_to(measured.reads, 0.95, metric="zero_shot", arm=SILENT)
    reads = set_to(reads, 0.97, metric="probe", factor="light", arm=arms.ON_LABELS)
    named = values_of(replace(measured, probes=probes, tuned=tuned, reads=reads))
    expected = {
        "c32_gain": 30, "c32_cost": 15, "c32_net": 15, "c32_gain_depths": 20, "c32_head_start": 40, "c32_left": 7,
    }  # fmt: skip
    for name, value in expected.items():
        assert named[name] == pytest.approx(value), name


def test_a_shortfall_is_the_gap_to_the_best_on_the_worst_task() -> None:
    def three(value: float) -> pd.Series:
        return pd.Series([value - 1, value, value + 1])

    by_task = {
        "knows cars": {"car": three(95), "light": three(55)},
        "knows lights": {"car": three(70), "light": three(90)},
        "knows both": {"car": three(92), "light": three(89)},
    }
    found = tables.shortfalls(by_task)
    assert found["knows cars"][:2] == ("light", "knows lights")
    assert {name: round(row[2].value) for name, row in found.items()} == {
        "knows cars": 35, "knows lights": 25, "knows both": 3,
    }  # fmt: skip
    alone = tables.shortfalls({"best everywhere": by_task["knows both"]})
    assert alone["best everywhere"][2].value == 0
    added = tables.shortfalls({**by_task, NAMES[GENERALIST]: {"car": three(99), "light": three(80)}})
    assert {name: added[name] for name in by_task} == found  # it moves nobody's: the rule was there before it
    assert added[NAMES[GENERALIST]][:2] == ("light", "knows lights")
    assert round(added[NAMES[GENERALIST]][2].value) == 10


def test_labels_of_several_tasks_train_the_tower(images: torch.Tensor) -> None:
    def trained(tasks: list[str]) -> bytes:
        arm = recovery_training.Arm("labels", tasks=tuple(tasks))
        found = recovery_training.train(arm, Schedule(steps=2, images=128), 0, "cpu")
        assert found["step"].tolist() == [2]
        return bytes(found["weights"].iloc[0])

    assert trained(["light"]) != trained(["light", "time"])


def advised(found: Measured) -> pd.DataFrame:
    """The advice on the light, by labelled pictures."""
    return tables.advice(found, "light").set_index("labelled pictures")


def test_advice_takes_the_cheapest_way_that_is_as_good_as_the_best(measured: Measured) -> None:
    frozen = {"metric": "frozen", "factor": "light"}
    probes, tuned = measured.probes, measured.tuned
    for labels, values in ((8, (0.52, 0.53, 0.52)), (32, (0.7, 0.9, 0.91))):
        probes = set_to(probes, 0.52, depth="pixels", labels=labels, **frozen)
        probes = set_to(probes, values[0], labels=labels, arm=SILENT, **frozen)
        for method, value in zip(("lora", "full"), values[1:], strict=True):
            tuned = set_to(tuned, value, metric="tuned", arm=Tuning(SILENT, method, "light", labels))  # type: ignore[arg-type]
    scratch = {"metric": "tuned", "arm": Tuning(UNTRAINED, "scratch", "light", 32)}
    tuned = set_to(tuned, 0.7, **scratch)
    advice = advised(replace(measured, probes=probes, tuned=tuned))
    assert advice.loc[8, "do"] == "label more"
    assert advice.loc[32, "do"] == f"{LORA}; probe if words must stay"
    early = set_to(probes, 0.9, labels=32, depth=FIRST_STAGE, arm=SILENT, **frozen)
    assert advised(replace(measured, probes=early, tuned=tuned)).loc[32, "do"] == "first stage"
    beside = advised(replace(measured, probes=probes, tuned=set_to(tuned, 0.9, **scratch)))
    assert beside.loc[32, "do"] == SCRATCH  # as good as tuning, and the encoder stays as it is
    lucky = set_to(tuned, 0.2, metric="tuned", arm=Tuning(SILENT, "full", "light", 32), seed=0)
    lucky = set_to(lucky, 0.55, metric="tuned", arm=Tuning(SILENT, "lora", "light", 32))
    lucky = set_to(lucky, 0.55, **scratch)
    nothing = set_to(set_to(probes, 0.52, arm=SILENT, metric="frozen"), 0.52, depth="pixels")
    unsure = advised(replace(measured, probes=nothing, tuned=lucky))
    assert unsure["do"].tolist() == ["label more"] * 2  # a mean that one seed makes is no advice


def test_pixels_compete_with_the_same_labels(measured: Measured) -> None:
    where = {"metric": "frozen", "factor": "light", "labels": 32}
    probes = set_to(measured.probes, 0.7, depth="pixels", **where)
    probes = set_to(probes, 0.9, arm=SILENT, depth=FIRST_STAGE, **where)
    found = replace(measured, probes=probes)
    named = values_of(found)
    assert named["light_pixels_32"] == pytest.approx(70)
    assert named["light_early_over_pixels_32"] == pytest.approx(20)
    advice = advised(found)
    assert advice.loc[32, PIXELS] == pytest.approx(70)
    assert advice.loc[32, "do"] == "first stage"
    better = replace(measured, probes=set_to(probes, 0.95, depth="pixels", **where))
    assert advised(better).loc[32, "do"] == PIXELS


@pytest.mark.parametrize("profile", ["smoke", "standard"])
def test_every_figure_draws_and_describes_itself(profile: str) -> None:
    measured = invented(profile)
    drawn = {
        figures.LABELS_NEEDED: tables.labels_needed(measured),
        figures.DEPTHS: tables.depths(measured),
        figures.PRICE: tables.price(measured),
        figures.INVARIANCES: tables.invariances(measured),
        figures.WORD_MAP: tables.word_map(measured),
        figures.KEPT_FROM_THE_START: tables.kept_from_the_start(measured),
        figures.ONE_OR_MANY: tables.one_or_many(measured),
    }
    with style("dark"):
        for spec, data in drawn.items():
            assert spec.draw(data).axes
            alt = spec.describe(data)
            assert "nan" not in alt
            assert 60 < len(alt) < 2000
    assert set(LOST) == set(drawn[figures.LABELS_NEEDED]["task"])
