"""The orbit model: exact where the set is closed, and only there; cheap where memory is short."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from clip_invariance.errors import UsageError
from clip_invariance.models.orbit import (
    AVERAGES,
    FrameModel,
    Group,
    OrbitModel,
    crops,
    frame,
    product,
    rotations,
    torus_shifts,
    zero_filled_shifts,
)

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
SIZE = 6


def random_net(seed: int, dtype: torch.dtype, width: int = 5) -> tuple[nn.Module, nn.Module]:
    """A net with no invariance of its own (zero padding, a flattening layer), cut before its linear head."""
    torch.manual_seed(seed)
    features = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.GELU(), nn.Flatten(), nn.Linear(4 * SIZE * SIZE, width), nn.Tanh()
    )
    return features.to(dtype).eval(), nn.Linear(width, 3).to(dtype)


def deviation(model: nn.Module, group: Group, images: Tensor) -> float:
    """Largest change of the output over all elements, relative to the scale of the output."""
    with torch.no_grad():
        outputs = model(group.act(images).flatten(0, 1)).unflatten(0, (len(images), len(group)))
        return float((outputs - outputs[:, :1]).abs().max() / outputs.abs().mean())


def closure_error(group: Group, images: Tensor) -> float:
    """How far the set is from closed, seen on pixels: does moving an image by an element change its orbit?

    A closed set only permutes the images of the orbit, so the sorted list of their random projections stays put. Checked for
    16 random elements, or all if there are fewer. Use images without symmetry (noise).

    Returns:
        the largest difference of projections (pixel units x O(1)): 0 for pixel moves, ``inf`` if an element changes the
        size of the image, so that a second one cannot follow.
    """
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(images[0].shape, generator=generator, dtype=torch.float64)

    def projected_orbit(image: Tensor) -> Tensor:
        return (group.act(image[None])[0] * weights).sum(dim=(1, 2, 3)).sort().values

    worst = 0.0
    for image in images.to(torch.float64):
        moved = group.act(image[None], torch.randperm(len(group), generator=generator)[:16])[0]
        if moved.shape[1:] != image.shape:
            return float("inf")
        orbit = projected_orbit(image)
        worst = max(worst, *(float((projected_orbit(other) - orbit).abs().max()) for other in moved))
    return worst


CLOSED = {
    "shifts": torus_shifts(SIZE, SIZE),
    "every second shift": torus_shifts(SIZE, SIZE, 2),
    "C_2": rotations(2),
    "C_4": rotations(4),
    "shifts x C_2": product(torus_shifts(SIZE, SIZE, 3), rotations(2)),
    "shifts x C_4": product(torus_shifts(SIZE, SIZE, 2), rotations(4)),
}
NOT_CLOSED = {
    "C_12": rotations(12),
    "zero-filled shifts": zero_filled_shifts(SIZE, SIZE, 2),
    "crops": crops(SIZE, SIZE, 4),
}


@pytest.mark.parametrize("name", CLOSED)
def test_a_group_only_permutes_its_orbits(name: str) -> None:
    assert CLOSED[name].closed
    assert closure_error(CLOSED[name], torch.randn(2, 2, SIZE, SIZE)) == 0.0


@pytest.mark.parametrize("name", NOT_CLOSED)
def test_sets_that_are_no_groups_are_told_apart_on_pixels(name: str) -> None:
    assert not NOT_CLOSED[name].closed
    assert closure_error(NOT_CLOSED[name], torch.randn(1, 2, SIZE, SIZE)) > 0.1


def test_elements_are_quarter_turns_followed_by_rolls() -> None:
    group = product(torus_shifts(SIZE, SIZE), rotations(4))
    images = torch.randn(2, 3, SIZE, SIZE)
    moved = group.act(images)
    assert len(group) == 4 * SIZE**2
    for number, (turns, down, right) in enumerate(group.elements.tolist()):
        assert torch.equal(moved[:, number], images.rot90(turns, (-2, -1)).roll((down, right), (-2, -1)))


def test_a_product_of_groups_need_not_be_a_group() -> None:
    """Shifts along one axis and quarter turns: the turned shift goes along the other axis, which is missing."""
    both = torus_shifts(4, 4)
    rows_only = Group("rows", both.elements[both.elements[:, 2] == 0], both.transform, True, (4, 4))
    assert closure_error(rows_only, torch.randn(1, 1, 4, 4)) == 0.0
    mixed = product(rows_only, rotations(4))
    assert not mixed.closed
    assert closure_error(mixed, torch.randn(1, 1, 4, 4)) > 0.0


def test_each_image_may_have_its_own_elements_and_any_dtype() -> None:
    images = torch.randint(0, 255, (3, 1, 4, 6), dtype=torch.uint8)
    group = torus_shifts(4, 6)
    indices = torch.tensor([[0, 5], [7, 7], [23, 1]])
    moved = group.act(images, indices)
    assert moved.dtype == torch.uint8
    for image in range(3):
        assert torch.equal(moved[image], group.act(images[image : image + 1], indices[image])[0])


def test_zero_filled_shifts_and_crops_are_what_their_names_say() -> None:
    images = torch.randn(1, 1, SIZE, SIZE)
    shifted = zero_filled_shifts(SIZE, SIZE, 1).act(images)[0, -1, 0]  # down 1, right 1
    assert torch.equal(shifted[1:, 1:], images[0, 0, :-1, :-1])
    assert not shifted[0].any()
    assert not shifted[:, 0].any()
    assert torch.equal(crops(SIZE, SIZE, 4).act(images)[0, -1], images[0, :, 2:, 2:])


def test_interpolated_rotations_are_exact_at_quarter_turns_only() -> None:
    images = torch.randn(1, 2, SIZE, SIZE)
    turned = rotations(8).act(images)[0]
    for quarter in range(4):
        assert torch.equal(turned[2 * quarter], images[0].rot90(quarter, (-2, -1)))
    assert (turned[1] - turned[0]).abs().max() > 0.1
    # So C_8 by interpolation stays exactly invariant under its subgroup C_4, and under nothing else.
    model = OrbitModel(*random_net(0, torch.float64), rotations(8), promise_exact=False)
    assert deviation(model, rotations(4), images.double()) < 1e-12
    assert deviation(model, rotations(8), images.double()) > 1e-3


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    name=st.sampled_from(sorted(CLOSED)),
    average=st.sampled_from(AVERAGES),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    chunk=st.integers(10, 200),
)
def test_the_exact_average_is_invariant(seed: int, name: str, average: str, dtype: torch.dtype, chunk: int) -> None:
    model = OrbitModel(*random_net(seed, dtype), CLOSED[name], average, chunk=chunk).eval()  # type: ignore[arg-type]
    images = torch.randn(2, 2, SIZE, SIZE, dtype=dtype, generator=torch.Generator().manual_seed(seed))
    assert deviation(model, CLOSED[name], images) < TOLERANCE[dtype]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), name=st.sampled_from(sorted(CLOSED)), digits=st.sampled_from([0, 1, 5]))
def test_the_frame_average_is_invariant_also_when_scores_tie(seed: int, name: str, digits: int) -> None:
    """Images rounded to whole numbers, or blank, have symmetric neighbours: the frame then has several elements."""
    images = torch.randn(2, 2, SIZE, SIZE, generator=torch.Generator().manual_seed(seed)).mul(0.5)
    images = (images * 10**digits).round() / 10**digits
    images[1] = images[1, :, :1, :1]
    model = FrameModel(*random_net(seed, torch.float32), CLOSED[name], chunk=7).eval()
    assert deviation(model, CLOSED[name], images) < 1e-5


def test_a_frame_moves_along_with_its_image_and_is_small() -> None:
    group = CLOSED["shifts x C_4"]
    image = torch.randn(1, 2, SIZE, SIZE)
    assert int(frame(group, image).sum()) == 1
    canonical = [group.act(moved[None], frame(group, moved[None]).nonzero()[:, 1])[0] for moved in group.act(image)[0]]
    assert all(torch.equal(pose, canonical[0]) for pose in canonical)
    assert int(frame(group, torch.zeros(1, 2, SIZE, SIZE)).sum()) == len(group)  # blank: everything ties


def test_a_random_subset_is_no_frame() -> None:
    model = OrbitModel(*random_net(1, torch.float64), CLOSED["shifts"], samples=4, replacement=False).eval()
    assert deviation(model, CLOSED["shifts"], torch.randn(1, 2, SIZE, SIZE, dtype=torch.float64)) > 1e-3


@pytest.mark.parametrize("name", ["zero-filled shifts", "crops"])
def test_averaging_over_a_set_that_is_not_closed_is_not_invariant(name: str) -> None:
    images = torch.randn(2, 2, SIZE, SIZE, dtype=torch.float64)
    group = NOT_CLOSED[name]
    torch.manual_seed(0)
    features = nn.Sequential(nn.Flatten(), nn.LazyLinear(4), nn.Tanh())
    features(group.act(images[:1].float())[0])
    model = OrbitModel(features.double(), nn.Linear(4, 3).double(), group, promise_exact=False)
    assert deviation(model, CLOSED["shifts"], images) > 1e-3


def test_with_a_linear_head_features_and_logits_average_alike() -> None:
    before, after = random_net(3, torch.float64)
    images = torch.randn(4, 2, SIZE, SIZE, dtype=torch.float64)
    group = CLOSED["shifts"]
    by_features = OrbitModel(before, after, group, "features")(images)
    by_logits = OrbitModel(before, after, group, "logits")(images)
    by_probabilities = OrbitModel(before, after, group, "probabilities")(images)
    assert torch.allclose(by_features, by_logits, rtol=0, atol=1e-12)
    assert (by_probabilities.softmax(1) - by_features.softmax(1)).abs().max() > 1e-5
    assert torch.allclose(by_probabilities.exp().sum(1), torch.ones(4, dtype=torch.float64))


def test_all_elements_without_replacement_are_the_exact_average() -> None:
    exact = OrbitModel(*random_net(4, torch.float64), CLOSED["shifts"])
    images = torch.randn(3, 2, SIZE, SIZE, dtype=torch.float64)
    everything = exact.sampled(len(exact.group), replacement=False)
    assert torch.allclose(everything(images), exact(images), rtol=0, atol=1e-12)


def test_draws_repeat_in_eval_mode_and_not_in_train_mode() -> None:
    images = torch.randn(3, 2, SIZE, SIZE)
    model = OrbitModel(*random_net(5, torch.float32), CLOSED["shifts"], samples=2).eval()
    assert torch.equal(model(images), model(images))
    assert not torch.equal(model(images, torch.Generator().manual_seed(7)), model(images))
    model.train()
    assert not torch.equal(model(images), model(images))


def test_chunks_change_neither_values_nor_gradients() -> None:
    before, after = random_net(6, torch.float64)
    images = torch.randn(5, 2, SIZE, SIZE, dtype=torch.float64)
    gradients = []
    for chunk in (3, 1000):
        before.zero_grad()
        OrbitModel(before, after, CLOSED["shifts"], chunk=chunk)(images).square().sum().backward()
        gradients.append([p.grad.clone() for p in before.parameters() if p.grad is not None])
    assert len(gradients[0]) == 4
    for small, large in zip(*gradients, strict=True):
        assert torch.allclose(small, large, rtol=1e-10, atol=1e-12)


def test_the_sampled_model_deviates_as_one_over_root_k() -> None:
    """With replacement the standard deviation is sigma / sqrt(K) for every K: the log-log slope is -1/2.

    Without replacement it is smaller by sqrt((|G|-K) / (|G|-1)) and the slope is *steeper*: that is no contradiction.
    """
    exact = OrbitModel(*random_net(7, torch.float64), CLOSED["shifts"], chunk=4096)
    image = torch.randn(1, 2, SIZE, SIZE, dtype=torch.float64)
    copies = image.expand(400, -1, -1, -1)  # each copy draws its own elements
    sizes = [1, 2, 4, 8, 16]
    slopes = {True: [], False: []}  # type: dict[bool, list[float]]
    for replacement in (True, False):
        for seed in range(8):
            with torch.no_grad():
                errors = [
                    float(
                        (exact.sampled(k, replacement, seed=seed).eval()(copies) - exact(image)).square().mean().sqrt()
                    )
                    for k in sizes
                ]
            x = torch.tensor(sizes).double().log2()
            y = torch.tensor(errors).double().log2()
            slopes[replacement].append(float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()))
    with_replacement = torch.tensor(slopes[True])
    half_width = 2.36 * float(with_replacement.std()) / math.sqrt(8)  # 95 % interval, t with 7 degrees of freedom
    assert abs(float(with_replacement.mean()) + 0.5) < half_width + 0.01
    assert torch.tensor(slopes[False]).mean() < -0.55


class Recorder(nn.Module):
    """Remembers how many images came in one call."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0

    def forward(self, images: Tensor) -> Tensor:
        self.largest = max(self.largest, len(images))
        return images.mean(dim=(2, 3))


def test_no_forward_pass_exceeds_the_chunk() -> None:
    for images, chunk in ((3, 8), (20, 8), (1, 1)):
        recorder = Recorder()
        OrbitModel(recorder, nn.Linear(2, 3), CLOSED["shifts"], chunk=chunk)(torch.randn(images, 2, SIZE, SIZE))
        assert 0 < recorder.largest <= chunk
        recorder = Recorder()
        FrameModel(recorder, nn.Linear(2, 3), CLOSED["shifts"], chunk=chunk)(torch.zeros(images, 2, SIZE, SIZE))
        assert 0 < recorder.largest <= chunk


MEMORY_SCRIPT = """
import torch
from torch import nn
from clip_invariance.run.provenance import peak_memory_mb  # not getrusage: a child begins at its parent's peak
from clip_invariance.models.orbit import OrbitModel, torus_shifts
torch.set_num_threads(1)
net = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 8, 3, stride=4), nn.Flatten())
peaks = []
for step in (8, 2):  # 64, then 1,024 elements
    group = torus_shifts(64, 64, step)
    OrbitModel(net, nn.LazyLinear(2), group, chunk=32)(torch.randn(1, 3, 64, 64)).sum().backward()
    peaks.append(peak_memory_mb() * 1e6 / 2**30)
assert len(group) == 1024
print(*peaks)
"""


@pytest.mark.slow
def test_training_through_an_orbit_of_1024_elements_fits_in_two_gigabytes() -> None:
    run = subprocess.run([sys.executable, "-c", MEMORY_SCRIPT], capture_output=True, text=True, check=True, timeout=120)
    small, large = (float(gibibytes) for gibibytes in run.stdout.split())
    assert large < 2.0
    assert large - small < 0.1  # sixteen times the elements, the same peak


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("elements", lambda: Group("empty", torch.zeros(0, 3), CLOSED["C_4"].transform, True)),
        ("n", lambda: rotations(0)),
        ("step", lambda: torus_shifts(6, 6, 4)),
        ("reach", lambda: zero_filled_shifts(6, 6, 6)),
        ("size", lambda: crops(6, 6, 7)),
        ("samples", lambda: OrbitModel(Recorder(), nn.Identity(), rotations(4), samples=5, replacement=False)),
        ("samples", lambda: OrbitModel(Recorder(), nn.Identity(), rotations(4), samples=0)),
        ("average", lambda: OrbitModel(Recorder(), nn.Identity(), rotations(4), "inputs")),  # type: ignore[arg-type]
        ("chunk", lambda: OrbitModel(Recorder(), nn.Identity(), rotations(4), chunk=0)),
        ("group", lambda: OrbitModel(Recorder(), nn.Identity(), zero_filled_shifts(6, 6, 1))),
        ("group", lambda: FrameModel(Recorder(), nn.Identity(), rotations(8))),
        ("images", lambda: rotations(4).act(torch.zeros(1, 1, 4, 6))),
        ("images", lambda: rotations(8).act(torch.zeros(1, 1, 4, 6))),
        ("images", lambda: torus_shifts(4, 4).act(torch.zeros(1, 1, 6, 6))),
        ("images", lambda: torus_shifts(4, 4).act(torch.zeros(1, 4, 4))),
        ("images", lambda: OrbitModel(Recorder(), nn.Identity(), rotations(4))(torch.zeros(0, 1, 4, 4))),
        ("indices", lambda: rotations(4).act(torch.zeros(2, 1, 4, 4), torch.zeros(3, 1, dtype=torch.long))),
        ("second", lambda: product(rotations(2), rotations(8))),
        ("second", lambda: product(rotations(2), rotations(4))),
    ],
)
def test_bad_input_is_refused_naming_the_argument(argument: str, call: object) -> None:
    with pytest.raises(UsageError, match=rf"^{argument}: ") as caught:
        call()  # type: ignore[operator]
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_half_turns_need_no_square() -> None:
    images = torch.randn(1, 1, 4, 6)
    assert torch.equal(rotations(2).act(images)[0, 1], images[0].rot90(2, (-2, -1)))
