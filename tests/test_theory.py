"""The first six statements of the theory page, each checked where every image and caption can be written down."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from clip_invariance.errors import UsageError
from clip_invariance.theory.tabular import (
    Direction,
    check_world,
    collapse_bound,
    cross_entropy,
    dashcam_world,
    deep_head_counterexample,
    distance_to_optimum,
    embed_with_hidden_factor,
    fit_embeddings,
    fit_scores,
    info_nce,
    jensen_gaps,
    linear_family_minima,
    merge_images,
    mutual_information,
    orbit_loss,
    pointwise_mutual_information,
    random_features,
    random_heads,
    random_world,
    restricted_family,
    sampled_loss,
    second_order_gap,
    split_by_text_span,
)

LIGHT = [0, 1, 0, 1]  # red, green: the factor of dashcam_world that captions may leave out
CAR = [0, 0, 1, 1]


def loss_of(joint: Tensor, scores: Tensor, batch: int, direction: Direction = "both") -> float:
    return float(info_nce(scores, joint, batch, direction))


# --- 1: the optimum of the contrastive loss --------------------------------------------------------------------------


def test_the_exact_loss_is_what_batches_give_on_average() -> None:
    """Guards the enumeration: CLIP's loss on sampled batches has the enumerated loss as its mean."""
    joint, batch, repeats = random_world(3, 4, 0), 3, 40_000
    scores = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    pairs = torch.multinomial(joint.flatten(), batch * repeats, True, generator=torch.Generator().manual_seed(2))
    images, captions = (pairs // 4).reshape(repeats, batch), (pairs % 4).reshape(repeats, batch)
    logits = scores[images[:, :, None], captions[:, None, :]]
    for direction, axis in (("image", 2), ("text", 1)):
        sampled = -logits.log_softmax(axis).diagonal(dim1=1, dim2=2).mean(1)
        error = float(sampled.std()) / math.sqrt(repeats)
        assert abs(float(sampled.mean()) - loss_of(joint, scores, batch, direction)) < 4 * error  # type: ignore[arg-type]


@pytest.mark.parametrize("batch", [2, 4])
@pytest.mark.parametrize("direction", ["image", "text", "both"])
def test_the_optimum_is_pointwise_mutual_information(direction: Direction, batch: int) -> None:
    """At every batch size, not only in the limit of large batches; up to exactly the constant named on the page."""
    joint = random_world(3, 4, seed=batch)
    fitted = fit_scores(joint, batch, direction)
    assert distance_to_optimum(fitted, joint, direction) < 1e-6
    assert (
        abs(
            loss_of(joint, fitted, batch, direction)
            - loss_of(joint, pointwise_mutual_information(joint), batch, direction)
        )
        < 1e-12
    )


def test_which_constant_is_free_depends_on_the_direction() -> None:
    joint = random_world(3, 4, seed=1)
    optimum = pointwise_mutual_information(joint)
    per_image, per_caption = torch.randn(3, 1, dtype=torch.float64), torch.randn(1, 4, dtype=torch.float64)

    def change(scores: Tensor, direction: Direction) -> float:
        return loss_of(joint, scores, 3, direction) - loss_of(joint, optimum, 3, direction)

    assert abs(change(optimum + per_image, "image")) < 1e-12
    assert abs(change(optimum + per_caption, "text")) < 1e-12
    assert change(optimum + per_caption, "image") > 1e-3
    assert change(optimum + per_image, "both") > 1e-3
    assert abs(change(optimum + 5.0, "both")) < 1e-12


def test_training_two_towers_approaches_the_optimum() -> None:
    """Unit-norm embeddings with a learned temperature, wide enough for the table: loss and scores both arrive."""
    joint = random_world(3, 3, seed=2)
    best = loss_of(joint, pointwise_mutual_information(joint), 3)
    distances = []
    for steps in (20, 80, 320):
        model = fit_embeddings(joint, width=6, batch=3, steps=steps, seed=0)
        assert all(loss > best - 1e-12 for loss in model.losses)
        distances.append(distance_to_optimum(model.scores, joint))
    assert distances[0] > distances[1] > distances[2]
    assert distances[2] < 0.02
    assert model.losses[-1] - best < 1e-5


def test_a_narrow_embedding_cannot_reach_the_optimum() -> None:
    """The table of optimal scores needs its rank (up to the constant) in dimensions."""
    joint = random_world(4, 4, seed=3)
    best = loss_of(joint, pointwise_mutual_information(joint), 2)
    assert fit_embeddings(joint, width=1, batch=2, steps=150, seed=0).losses[-1] - best > 1e-2


# --- 1, continued: the distribution of captions matters, not the caption drawn ------------------------------------


def test_equal_caption_distributions_get_equal_scores_and_unequal_ones_do_not() -> None:
    never, rarely = (pointwise_mutual_information(dashcam_world(rate)) for rate in (0.0, 0.1))
    assert (never[0] - never[1]).abs().max() < 1e-12  # the light is never mentioned: red and green are interchangeable
    # Mentioned once in ten captions: the most likely caption is still the same for red and green, the scores are not.
    joint = dashcam_world(0.1)
    assert int(joint[0].argmax()) == int(joint[1].argmax())
    assert (rarely[0] - rarely[1]).abs().max() > 3.0


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), cells=st.lists(st.integers(0, 2), min_size=5, max_size=5))
def test_optimal_scores_identify_images_up_to_their_caption_distribution(seed: int, cells: list[int]) -> None:
    """Statement 4 in a table: rows of the optimum agree exactly where those of p(c|x) do, at any image rate."""
    generator = torch.Generator().manual_seed(seed)
    given_cell = torch.rand(3, 4, generator=generator, dtype=torch.float64) + 0.1
    frequency = torch.rand(5, generator=generator, dtype=torch.float64) + 0.1
    joint = (given_cell / given_cell.sum(1, keepdim=True))[cells] * frequency[:, None]
    scores = pointwise_mutual_information(joint / joint.sum())
    same = (scores[:, None] - scores[None]).abs().amax(2) < 1e-9
    assert torch.equal(same, torch.tensor(cells)[:, None] == torch.tensor(cells)[None])


def test_a_rare_mention_costs_little_loss_but_separates_scores_fully() -> None:
    """At the optimum a mention rate decides how much loss rests on the light, not whether the scores hold it."""
    stakes, separations = [], []
    for rate in (0.01, 0.1, 1.0):
        joint = dashcam_world(rate, carelessness=0.001)
        blind = merge_images(joint, CAR)
        scores = pointwise_mutual_information(joint)
        stakes.append(loss_of(blind, pointwise_mutual_information(blind), 4) - loss_of(joint, scores, 4))
        separations.append(float((scores[0] - scores[1]).abs().max()))
    assert stakes[0] < 0.02 * stakes[2]
    assert separations[0] > 0.45 * separations[2]


# --- 2: the null space -----------------------------------------------------------------------------------------------


def test_the_same_scores_leave_room_for_a_factor_no_caption_names() -> None:
    joint = dashcam_world(0.0)
    optimum = pointwise_mutual_information(joint)
    model = embed_with_hidden_factor(optimum, LIGHT)
    assert torch.allclose(model.scores, optimum, rtol=0, atol=1e-12)  # so its loss is the smallest there is
    for vectors in (model.images, model.texts):
        assert torch.allclose(vectors.norm(dim=1), torch.ones(len(vectors), dtype=torch.float64))
    inside, outside = split_by_text_span(model.images, model.texts)
    assert (inside[0] - inside[1]).norm() < 1e-12
    assert (outside[0] - outside[1]).norm() >= 1.0 - 1e-12
    # A linear probe on the part outside reads the light without error.
    probe = outside @ (outside[0] + outside[2] - outside[1] - outside[3])
    assert ((probe > 0) == torch.tensor([light == 0 for light in LIGHT])).all()


def test_training_leaves_the_factor_outside_the_span_of_the_texts() -> None:
    """Trained from a random start down to the minimal loss: no caption sees the light, the embedding holds it."""
    joint = dashcam_world(0.0)
    model = fit_embeddings(joint, width=12, batch=2, steps=500, seed=0)
    assert model.losses[-1] - loss_of(joint, pointwise_mutual_information(joint), 2) < 1e-4
    assert (model.scores[0] - model.scores[1]).abs().max() < 0.3
    _, outside = split_by_text_span(model.images, model.texts)
    assert (outside[0] - outside[1]).norm() > 0.3


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_texts_that_span_the_space_leave_no_room(seed: int) -> None:
    """Equal scores then mean equal embeddings; nearly equal ones, as nearly as the weakest text direction allows."""
    generator = torch.Generator().manual_seed(seed)
    texts = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    one, other = torch.randn(2, 4, generator=generator, dtype=torch.float64)
    scale = 3.0
    difference = float((scale * texts @ (one - other)).abs().max())
    assert float((one - other).norm()) <= collapse_bound(texts, scale, difference) * (1 + 1e-9)
    assert collapse_bound(texts, scale, 0.0) == 0.0
    assert collapse_bound(texts[:3], scale, difference) == math.inf


def test_one_sided_training_leaves_even_more_room() -> None:
    """A function of the image is free there, so only *differences* of texts constrain an image: one dimension fewer."""
    joint = dashcam_world(0.0)
    optimum = pointwise_mutual_information(joint)
    shifted = optimum + 4.0 * torch.tensor(LIGHT, dtype=torch.float64)[:, None]
    assert abs(loss_of(joint, shifted, 3, "image") - loss_of(joint, optimum, 3, "image")) < 1e-12
    assert (shifted[0] - shifted[1]).abs().min() > 3.9


# --- 3: sufficient is not minimal ------------------------------------------------------------------------------------


def test_the_loss_does_not_pay_for_forgetting() -> None:
    """Keep the light or merge red with green: the same best loss. Merge the cars, which captions name: a worse one."""
    joint = dashcam_world(0.0)
    everything = loss_of(joint, fit_scores(joint, 3), 3)
    forgets_light, forgets_car = merge_images(joint, CAR), merge_images(joint, LIGHT)
    assert abs(loss_of(forgets_light, fit_scores(forgets_light, 3), 3) - everything) < 1e-9
    assert loss_of(forgets_car, fit_scores(forgets_car, 3), 3) - everything > 0.1
    assert abs(mutual_information(forgets_light) - mutual_information(joint)) < 1e-12


# --- 5: Jensen -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spread", [0.1, 1.0, 5.0])
def test_the_bound_never_fails_with_a_linear_head(spread: float) -> None:
    features, labels = random_features(2000, 6, 4, seed=0, spread=spread)
    assert jensen_gaps(features, labels, random_heads(2000, 4, seed=1)).min() > -1e-12


def test_the_bound_holds_for_averaged_probabilities_too() -> None:
    """-log is convex: averaging class probabilities instead of logits keeps the sign."""
    logits, labels = random_features(2000, 6, 3, seed=2)
    mean = logits.softmax(-1).mean(1).log()
    assert (cross_entropy(logits, labels).mean(1) - cross_entropy(mean, labels)).min() > -1e-12


@pytest.mark.parametrize("replacement", [True, False])
def test_more_samples_never_raise_the_loss(replacement: bool) -> None:
    logits, labels = random_features(300, 5, 3, seed=3)
    losses = torch.stack([sampled_loss(logits, labels, k, replacement) for k in range(1, 6)])
    assert (losses.diff(dim=0) < 1e-12).all()
    assert (losses - orbit_loss(logits, labels) > -1e-12).all()
    assert torch.allclose(losses[0], cross_entropy(logits, labels).mean(1))
    if not replacement:  # all elements, each once, are the orbit
        assert torch.allclose(losses[-1], orbit_loss(logits, labels))


def test_sampled_loss_by_drawing_agrees_with_enumeration() -> None:
    logits, labels = random_features(2000, 4, 3, seed=4)
    for replacement in (True, False):
        exact = sampled_loss(logits, labels, 2, replacement).mean()
        drawn = sampled_loss(logits, labels, 2, replacement, 50, torch.Generator().manual_seed(0)).mean()
        assert abs(float(exact - drawn)) < 0.01


def test_equality_needs_constant_probabilities_not_constant_logits() -> None:
    """Adding a number to all logits of one orbit element changes the logits, no probability, and opens no gap."""
    logits, labels = random_features(50, 1, 3, seed=5)
    generator = torch.Generator().manual_seed(0)
    shifts = torch.randn(50, 6, 1, generator=generator, dtype=torch.float64)
    common = logits + shifts
    assert (cross_entropy(common, labels).mean(1) - orbit_loss(common, labels)).abs().max() < 1e-12
    other = torch.cat([common[..., :1] + 0.5 * shifts, common[..., 1:]], dim=-1)
    assert (cross_entropy(other, labels).mean(1) - orbit_loss(other, labels)).min() > 0.0


@pytest.mark.parametrize("replacement", [True, False])
def test_the_second_order_prediction_is_right_for_small_variation(replacement: bool) -> None:
    centre, labels = random_features(200, 1, 3, seed=6)
    around, _ = random_features(200, 5, 3, seed=7)
    errors = []
    for spread in (0.4, 0.1):
        logits = centre + spread * around
        gap = (sampled_loss(logits, labels, 2, replacement) - orbit_loss(logits, labels)).mean()
        errors.append(abs(float(second_order_gap(logits, 2, replacement).mean() / gap) - 1))
    assert errors[0] < 0.1
    assert errors[1] < 0.02


def test_the_bound_fails_for_a_nonlinear_head_after_averaging() -> None:
    losses = deep_head_counterexample(weight=3.0)
    assert losses.orbit == pytest.approx(math.log(2))
    assert losses.single == pytest.approx(math.log1p(math.exp(-3)))
    assert losses.single < losses.orbit  # the "upper bound" lies below


@pytest.mark.parametrize("hidden", [2, 8, 64])
def test_random_nonlinear_heads_break_the_bound_often(hidden: int) -> None:
    features, labels = random_features(2000, 6, 4, seed=8)
    gaps = jensen_gaps(features, labels, random_heads(2000, 4, seed=9, hidden=hidden))
    assert 0.2 < float((gaps < -1e-9).double().mean()) < 0.5


def test_only_the_uniform_measure_makes_a_group_average_invariant() -> None:
    values = torch.randn(6, dtype=torch.float64)  # one network's output on the six elements of an orbit
    orbit = torch.stack([values.roll(shift) for shift in range(6)])  # what it sees when the input is moved first
    uniform = torch.full((6,), 1 / 6, dtype=torch.float64)
    uneven = torch.arange(1, 7, dtype=torch.float64) / 21
    assert (orbit @ uniform).std() < 1e-12
    assert (orbit @ uneven).std() > 1e-2


# --- 5, continued: an order of values, not of minimisers -----------------------------------------------------------


def test_the_minimiser_of_the_bound_can_miss_the_orbit_optimum() -> None:
    family = restricted_family()
    assert (family.single >= family.orbit - 1e-12).all()  # the bound holds everywhere ...
    assert float(family.parameters[family.at_single]) == pytest.approx(0.618, abs=0.002)
    assert float(family.parameters[family.at_orbit]) == 3.0  # ... and its minimiser is somewhere else
    assert family.regret > 0.25
    assert family.regret <= family.regret_bound
    # A larger family of the same kind has a better orbit model, and the bound's minimiser does not move: the gap grows.
    regrets = [restricted_family(reach).regret for reach in (1.0, 2.0, 4.0)]
    assert regrets[0] < regrets[1] < regrets[2]


def test_the_guarantee_holds_for_families_closed_under_orbit_averaging() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(40, 5, generator=generator, dtype=torch.float64)
    noise = torch.randn(40, generator=generator, dtype=torch.float64)
    labels = torch.where(images.sum(1) + noise > 0, 1.0, -1.0).double()
    trained_on_single, trained_on_orbit = linear_family_minima(images, labels)
    assert trained_on_single.orbit == pytest.approx(trained_on_orbit.orbit, abs=1e-9)
    assert trained_on_single.single == pytest.approx(trained_on_single.orbit, abs=1e-9)  # and it is invariant


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), members=st.integers(2, 50))
def test_the_regret_is_bounded_by_the_difference_of_the_minima(seed: int, members: int) -> None:
    """For any family: orbit loss at the minimiser of L_1, minus the best, is at most min L_1 - min L_inf."""
    logits, labels = random_features(members, 4, 3, seed=seed)
    single, orbit = cross_entropy(logits, labels).mean(1), orbit_loss(logits, labels)
    assert orbit[single.argmin()] - orbit.min() <= single.min() - orbit.min() + 1e-12


# --- 6: InfoNCE is capped --------------------------------------------------------------------------------------------


def test_the_information_estimate_stops_at_log_batch() -> None:
    """Sixteen images, each with its own caption: log 16 nats are there, a batch of four can show less than log 4."""
    joint = torch.full((16, 16), 1e-6, dtype=torch.float64) + torch.eye(16, dtype=torch.float64)
    joint = joint / joint.sum()
    assert mutual_information(joint) > math.log(16) - 0.01
    estimate = math.log(4) - loss_of(joint, pointwise_mutual_information(joint), 4)
    assert 1.0 < estimate < math.log(4)


def test_the_estimate_is_a_lower_bound_that_rises_with_the_batch() -> None:
    joint = random_world(3, 3, seed=10)
    optimum = pointwise_mutual_information(joint)
    estimates = [math.log(batch) - loss_of(joint, optimum, batch) for batch in (2, 4, 8, 32)]
    assert estimates == sorted(estimates)
    assert estimates[-1] < mutual_information(joint) < estimates[-1] + 0.05
    worse = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert math.log(8) - loss_of(joint, worse, 8) < estimates[2]


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("joint", lambda: check_world(torch.eye(2) / 2)),
        ("joint", lambda: pointwise_mutual_information(torch.ones(2, 2))),
        ("mention_rate", lambda: dashcam_world(1.5)),
        ("carelessness", lambda: dashcam_world(0.5, 0.0)),
        ("batch", lambda: info_nce(torch.zeros(2, 2), random_world(2, 2, 0), 1)),
        ("batch", lambda: info_nce(torch.zeros(9, 9), random_world(9, 9, 0), 100)),
        ("scores", lambda: info_nce(torch.zeros(2, 3), random_world(2, 2, 0), 2)),
        ("direction", lambda: info_nce(torch.zeros(2, 2), random_world(2, 2, 0), 2, "up")),  # type: ignore[arg-type]
        ("cells", lambda: merge_images(random_world(3, 2, 0), [0, 2, 2])),
        ("samples", lambda: sampled_loss(torch.zeros(1, 3, 2), torch.zeros(1).long(), 4, replacement=False)),
        ("samples", lambda: sampled_loss(torch.zeros(1, 64, 2), torch.zeros(1).long(), 32)),
        ("samples", lambda: sampled_loss(torch.zeros(1, 64, 2), torch.zeros(1).long(), 32, replacement=False)),
    ],
)
def test_bad_input_is_refused_naming_the_argument(argument: str, call: object) -> None:
    with pytest.raises(UsageError, match=rf"^{argument}: "):
        call()  # type: ignore[operator]
