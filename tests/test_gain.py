"""Section 7 of the theory page: what a mention is worth, how fast its mode grows, and what the candidate laws predict."""

from __future__ import annotations

import io
import itertools
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from torch import Tensor

from clip_invariance.errors import UsageError
from clip_invariance.theory.escape import erasing_rate, escape_time, mode_strength, noisy_growth
from clip_invariance.theory.gain import (
    Direction,
    Policy,
    contrastive_loss_of_known,
    dashcam_policy,
    free_share,
    mention_gain,
    sampled_losses,
    sampled_mention_gain,
)
from clip_invariance.theory.laws import GRID, LAWS, REFERENCE, Cell, fit, predictions, predictions_csv

Axis = Literal["image", "text"]
AXES: tuple[Axis, Axis] = ("image", "text")

#: Two factors, one of them uneven, with mentions that depend on each other.
UNEVEN = Policy(
    {"light": (0.3, 0.7), "car": (0.5, 0.5)},
    {frozenset(): 0.2, frozenset(("light",)): 0.1, frozenset(("car",)): 0.4, frozenset(("light", "car")): 0.3},
)


def chances(policy: Policy, factor: str) -> Sequence[float]:
    """Of a factor's values."""
    return dict(policy.values)[factor]


def worlds(policy: Policy) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]], Tensor]:
    """All pictures, all captions (-1 for what is not said), and p(picture, caption), written down one by one."""
    names = list(policy.values)
    pictures = list(itertools.product(*(range(len(chances(policy, n))) for n in names)))
    captions = list(itertools.product(*(range(-1, len(chances(policy, n))) for n in names)))
    joint = torch.zeros(len(pictures), len(captions), dtype=torch.float64)
    for i, picture in enumerate(pictures):
        chance = math.prod(chances(policy, n)[v] for n, v in zip(names, picture, strict=True))
        for named, p in policy.mentions.items():
            said = tuple(v if n in named else -1 for n, v in zip(names, picture, strict=True))
            joint[i, captions.index(said)] += chance * p
    return pictures, captions, joint


def best_scores(policy: Policy, known: Sequence[str]) -> Tensor:
    """log p(c | x_S) / p(c) by summing the table over everything that is not seen."""
    pictures, _, joint = worlds(policy)
    seen = [tuple(v for n, v in zip(policy.values, picture, strict=True) if n in known) for picture in pictures]
    together = torch.tensor([[float(a == b) for b in seen] for a in seen], dtype=torch.float64)
    cell = together @ joint
    return (cell / cell.sum(1, keepdim=True) / joint.sum(0).clamp_min(1e-300)).log()


def loss_over_all_batches(scores: Tensor, joint: Tensor, batch: int, axis: Axis) -> Tensor:
    """Mean over every possible batch of pairs, duplicates and all: what a table gives at small sizes."""
    pairs = joint.nonzero().tolist()
    total = torch.zeros((), dtype=torch.float64)
    for chosen in itertools.product(pairs, repeat=batch):
        images, captions = [i for i, _ in chosen], [c for _, c in chosen]
        chance = math.prod(float(joint[i, c]) for i, c in chosen)
        others = scores[images[0], captions] if axis == "image" else scores[images, captions[0]]
        total = total + chance * (torch.logsumexp(others, 0) - scores[images[0], captions[0]])
    return total


# --- the loss, computed in three ways ------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [2, 3])
@pytest.mark.parametrize("known", [(), ("light",), ("car",), ("light", "car")])
def test_the_integral_is_the_mean_over_all_batches(known: tuple[str, ...], batch: int) -> None:
    joint = worlds(UNEVEN)[2]
    for axis in AXES:
        listed = float(loss_over_all_batches(best_scores(UNEVEN, known), joint, batch, axis))
        assert contrastive_loss_of_known(UNEVEN, known, batch, axis) == pytest.approx(listed, abs=1e-12)


@pytest.mark.parametrize("batch", [32, 256, 4096])
@pytest.mark.parametrize(("light", "car", "pedestrian"), [(1.0, 1.0, 0.0), (0.1, 0.3, 1.0), (0.3, 0.0, 0.3)])
def test_sampled_batches_agree(light: float, car: float, pedestrian: float, batch: int) -> None:
    policy = dashcam_policy(light, car, pedestrian)
    sampled = sampled_mention_gain(policy, "light", batch, batches=40_000 // batch + 60)
    exact = mention_gain(policy, "light", batch)
    assert abs(sampled.value - exact) < 4 * sampled.error
    assert sampled.error < 0.2 * exact


def test_sampled_batches_are_clip_losses() -> None:
    """Counting kinds instead of forming the N x N scores changes nothing: open_clip's loss has the same mean."""
    from open_clip.loss import ClipLoss

    _, _, joint = worlds(UNEVEN)
    scores = best_scores(UNEVEN, ("light", "car"))
    pairs = torch.multinomial(joint.flatten(), 8 * 2000, True, generator=torch.Generator().manual_seed(0))
    loss, found = ClipLoss(), []
    for drawn in pairs.reshape(-1, 8):
        logits = scores[drawn // joint.shape[1]][:, drawn % joint.shape[1]].clamp_min(-1e4)
        # Image features that are the scores and text features that are unit vectors have these logits.
        found.append(float(loss(logits, torch.eye(8, dtype=torch.float64), 1.0)))
    (ours,) = sampled_losses(UNEVEN, [("light", "car")], 8, 2000, seed=1)
    error = math.hypot(np.std(found), ours.std()) / math.sqrt(2000)
    assert abs(np.mean(found) - ours.mean()) < 4 * error
    assert abs(np.mean(found) - contrastive_loss_of_known(UNEVEN, ("light", "car"), 8)) < 4 * error


def test_values_that_are_sampled_come_close_to_enumeration(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    values = {f"f{i}": tuple(p / p.sum()) for i, p in enumerate(rng.uniform(0.5, 2, size=(6, 4)))}
    policy = Policy.independent(values, dict.fromkeys(values, 0.4))
    exact = mention_gain(policy, "f0", 64)
    monkeypatch.setattr("clip_invariance.theory.gain._MOST_CELLS", 600)
    assert mention_gain(policy, "f0", 64) != exact
    assert mention_gain(policy, "f0", 64) == pytest.approx(exact, rel=0.05)


# --- no score does better -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [("car",), ("light", "car")])
def test_no_score_of_what_is_known_does_better(known: tuple[str, ...]) -> None:
    """Minimise over every function of the known factors and the caption: it ends at the loss that is computed."""
    pictures, captions, joint = worlds(UNEVEN)
    seen = [tuple(v for n, v in zip(UNEVEN.values, p, strict=True) if n in known) for p in pictures]
    rows = torch.tensor([sorted(set(seen)).index(cell) for cell in seen])
    free = torch.zeros(len(set(seen)), len(captions), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([free], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        return sum((loss_over_all_batches(free[rows], joint, 2, axis) for axis in AXES), torch.zeros(())) / 2

    def closure() -> float:
        optimiser.zero_grad()
        value = loss()
        value.backward()
        return float(value.detach())

    optimiser.step(closure)
    reached, computed = float(loss().detach()), contrastive_loss_of_known(UNEVEN, known, 2)
    assert computed < reached + 1e-9  # captions never lie: the optimum is at infinity, so it is approached from above
    assert reached - computed < 2e-3


# --- statements of the page -----------------------------------------------------------------------------------------

policies = st.builds(
    lambda a, b, rates: Policy.independent({"a": (a, 1 - a), "b": (b, 1 - b), "c": (1 / 3,) * 3}, rates),
    st.floats(0.05, 0.95),
    st.floats(0.05, 0.95),
    st.fixed_dictionaries({name: st.floats(0.0, 1.0) for name in "abc"}),
)


@settings(max_examples=60, deadline=None)
@given(policy=policies, batch=st.sampled_from([2, 7, 64, 1000]), direction=st.sampled_from(["image", "text"]))
def test_a_gain_lies_between_nothing_and_the_information(policy: Policy, batch: int, direction: Direction) -> None:
    gain = mention_gain(policy, "a", batch, direction)
    assert -1e-12 < gain < policy.rate("a") * policy.entropy("a") + 1e-12


@settings(max_examples=60, deadline=None)
@given(policy=policies, batch=st.sampled_from([2, 7, 64, 1000]), direction=st.sampled_from(["image", "text"]))
def test_knowing_more_else_never_raises_a_gain(policy: Policy, batch: int, direction: Direction) -> None:
    gains = [mention_gain(policy, "a", batch, direction, known) for known in ((), ("b",), ("b", "c"))]
    assert gains[0] >= gains[1] - 1e-12
    assert gains[1] >= gains[2] - 1e-12


def test_what_is_never_said_is_as_if_it_were_not_known() -> None:
    named = mention_gain(dashcam_policy(0.3, car=1.0), "light", 128, known=("light",))
    assert mention_gain(dashcam_policy(0.3, car=0.0), "light", 128) == pytest.approx(named, abs=1e-12)
    assert named > 1.05 * mention_gain(dashcam_policy(0.3, car=1.0), "light", 128)


def test_large_batches_give_the_rate_times_the_entropy() -> None:
    for policy in (UNEVEN, dashcam_policy(0.1), dashcam_policy(0.3, 0.3, 1.0)):
        limit = policy.rate("light") * policy.entropy("light")
        gaps = [limit - mention_gain(policy, "light", batch) for batch in (2**10, 2**12, 2**14, 2**20)]
        assert all(late < early for early, late in itertools.pairwise(gaps))
        assert gaps[2] < 0.3 * gaps[1]  # as one over the batch, once this is large against what can be told apart
        assert 0 < gaps[3] < 1e-4 * limit


def worth_of_one_mention(agree: float, batch: int) -> float:
    """The page's formula for two equally likely values, where all else is always said: binomial sums."""
    others = np.arange(batch)
    chance = binom.pmf(others, batch - 1, agree)
    agreeing = [np.arange(k + 1) for k in others]
    text = [math.log(1 + k) - binom.pmf(a, k, 0.5) @ np.log1p(a) for k, a in zip(others, agreeing, strict=True)]
    own = np.log1p(others) - np.log1p(others / 2)
    share = 1 / (1 + others)
    others_mention = -(np.log1p(share) + np.log1p(-share.clip(max=1 - 1e-12))) / 2
    return float(chance @ (np.array(text) + own + others * others_mention)) / 2


@pytest.mark.parametrize("batch", [2, 32, 512])
def test_a_rare_mention_is_worth_its_rate_times_a_fixed_amount(batch: int) -> None:
    rate = 1e-6
    gain = mention_gain(dashcam_policy(rate), "light", batch) / rate
    assert gain == pytest.approx(worth_of_one_mention(1 / 18, batch), rel=1e-4)
    assert gain < math.log(2)


# --- growth --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [(), ("car",)])
def test_the_gradient_is_the_covariance_times_the_free_share(known: tuple[str, ...]) -> None:
    """At the best score of what is known, moving along the light lowers the loss as the page says."""
    pictures, captions, joint = worlds(UNEVEN)
    light = list(UNEVEN.values).index("light")
    centre = [p[light] - chances(UNEVEN, "light")[1] for p in pictures]
    word = [0.0 if c[light] < 0 else float(c[light]) for c in captions]
    direction = torch.outer(torch.tensor(centre, dtype=torch.float64), torch.tensor(word, dtype=torch.float64))
    covariance = float((joint * direction).sum())
    amount = torch.zeros((), dtype=torch.float64, requires_grad=True)
    scores = best_scores(UNEVEN, known).clamp_min(-1e3) + amount * direction
    loss = sum((loss_over_all_batches(scores, joint, 3, axis) for axis in AXES), torch.zeros(())) / 2
    loss.backward()
    assert amount.grad is not None
    assert float(-amount.grad) == pytest.approx(covariance * free_share(UNEVEN, "light", 3, known), rel=1e-9)


def test_two_small_towers_escape_when_predicted() -> None:
    """Gradient descent on real batches' expected loss, from a start on the light's mode."""
    policy = Policy.independent({"light": (0.5, 0.5)}, {"light": 0.2})
    pictures, captions, joint = worlds(policy)
    u, v = (torch.eye(len(kind), dtype=torch.float64) for kind in (pictures, captions))
    axis = torch.tensor([1.0, -1.0], dtype=torch.float64) / math.sqrt(2)
    start, rate = 1e-3, 0.5
    a, b = (start * axis).clone(), torch.cat([torch.zeros(1), start * axis])
    a.requires_grad_()
    b.requires_grad_()
    steps = 0
    while float((a @ axis).detach()) < 0.1:
        loss = loss_over_all_batches(torch.outer(u @ a, v @ b), joint, 2, "image")
        loss = (loss + loss_over_all_batches(torch.outer(u @ a, v @ b), joint, 2, "text")) / 2
        slopes = torch.autograd.grad(loss, (a, b))
        with torch.no_grad():
            a -= rate * slopes[0]
            b -= rate * slopes[1]
        steps += 1
    predicted = escape_time(policy, "light", 2, rate, start=start / 0.1)
    assert steps == pytest.approx(predicted, rel=0.05)


def test_escape_follows_rate_mention_and_batch() -> None:
    base = escape_time(dashcam_policy(0.4), "light", 128, 0.01)
    assert escape_time(dashcam_policy(0.1), "light", 128, 0.01) == pytest.approx(4 * base)
    assert escape_time(dashcam_policy(0.4), "light", 128, 0.04) == pytest.approx(base / 4)
    assert escape_time(dashcam_policy(0.4), "light", 32, 0.01) > 1.5 * base  # few of a small batch agree in the car
    assert escape_time(dashcam_policy(0.4, car=0.0), "light", 32, 0.01) < base
    assert escape_time(dashcam_policy(0.0), "light", 128, 0.01) == math.inf
    assert mode_strength(dashcam_policy(0.4), "light") == pytest.approx(0.2)


def test_noise_over_batch_decides_whether_a_mode_grows_or_dies() -> None:
    signal, noise, batch, steps, runs = 0.02, 4.0, 32, 100_000, 40
    critical = erasing_rate(signal, noise, batch)
    rng = np.random.default_rng(0)
    draws = rng.normal(signal, math.sqrt(noise / batch), size=(runs, steps))
    for rate, survives in ((critical / 2, True), (2 * critical, False)):
        grown = np.log(np.abs(1 + rate * draws)).mean(1)
        assert grown.mean() == pytest.approx(noisy_growth(rate, signal, noise, batch), rel=0.2)
        assert (grown > 0).mean() == (1.0 if survives else 0.0)
        assert (1 + rate * draws).mean() > 1  # the mean of the mode grows in either case
    assert erasing_rate(signal, noise, 4 * batch) == pytest.approx(4 * critical, rel=0.02)


# --- laws ------------------------------------------------------------------------------------------------------------


def test_the_grid_tells_the_laws_apart() -> None:
    assert len(GRID) == len({cell.name for cell in GRID}) >= 14
    table = predictions().pivot(index="cell", columns="law", values="relative_steps")
    assert set(table.columns) == {law.name for law in LAWS} == set("abcdef")
    assert (table.loc[REFERENCE.name] == 1).all()
    assert np.isinf(table.loc["p0-n128"]).all()
    finite = table.drop("p0-n128")
    for one, other in itertools.combinations("abcdf", 2):  # e has the times of a and a threshold besides
        ratio = finite[one] / finite[other]
        assert max(ratio.max(), 1 / ratio.min()) > 1.5, (one, other)


def test_predictions_are_a_file_with_a_row_for_each_law_and_cell() -> None:
    table = pd.read_csv(io.StringIO(predictions_csv()))
    assert len(table) == len(LAWS) * len(GRID)
    assert table.loc[table["law"].isin(["e", "f"]), "relative_drive"].notna().all()
    assert table.loc[~table["law"].isin(["e", "f"]), "relative_drive"].isna().all()


def test_a_law_that_is_true_is_found_again() -> None:
    """Times made by the law of gain against noise: its fit on the marked cells predicts all the others."""
    law = next(law for law in LAWS if law.name == "e")
    assert law.drive is not None
    cut = math.sqrt(law.drive(Cell(0.1, 128)) * law.drive(Cell(0.1, 512)))
    made = {cell: 300 * law.predict(cell) if law.drive(cell) > cut else math.inf for cell in GRID}
    fitted = fit(law, {cell: steps for cell, steps in made.items() if cell.fitting})
    assert fitted.scale == pytest.approx(300)
    assert {cell: fitted.steps(cell) for cell in GRID} == pytest.approx(made)
    patient = fit(LAWS[0], {cell: steps for cell, steps in made.items() if cell.fitting})
    assert all(math.isfinite(patient.steps(cell)) for cell in GRID if cell.mention > 0)


def test_the_page_names_tests_that_exist() -> None:
    here = Path(__file__).parent
    page = (here.parent / "book" / "theory.md").read_text(encoding="utf-8")
    tests = "".join(
        (here / name).read_text(encoding="utf-8") for name in ("test_theory.py", "test_gain.py", "test_orbit.py")
    )
    missing = [name for name in set(re.findall(r"`(test_[a-z0-9_]+)`", page)) if f"def {name}(" not in tests]
    assert missing == []


# --- errors ----------------------------------------------------------------------------------------------------------


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(UsageError, match="values of light"):
        Policy({"light": (0.5, 0.6)}, {frozenset(): 1.0})
    with pytest.raises(UsageError, match="must sum to 1"):
        Policy({"light": (0.5, 0.5)}, {frozenset(): 0.5})
    with pytest.raises(UsageError, match="rate of light is 2"):
        Policy.independent({"light": (0.5, 0.5)}, {"light": 2.0})
    with pytest.raises(UsageError, match="rate of van"):
        Policy.independent({"light": (0.5, 0.5)}, {"van": 0.5})
    with pytest.raises(UsageError, match="unknown factor 'van'"):
        mention_gain(UNEVEN, "van", 8)
    with pytest.raises(UsageError, match="batch"):
        mention_gain(UNEVEN, "light", 1)
    with pytest.raises(UsageError, match="direction"):
        contrastive_loss_of_known(UNEVEN, (), 8, "sideways")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="never name light"):
        free_share(dashcam_policy(0.0), "light", 8)
    with pytest.raises(UsageError, match="rate and visibility"):
        escape_time(UNEVEN, "light", 8, 0.0)
    with pytest.raises(UsageError, match="start"):
        escape_time(UNEVEN, "light", 8, 0.1, start=1.0)
    with pytest.raises(UsageError, match="reference"):
        fit(LAWS[0], {})
