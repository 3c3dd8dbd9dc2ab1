"""The code for a GPU, on a pretended one: every kind of unit of every chapter, and what the pretence is worth."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from clip_invariance.audit import measures as audit
from clip_invariance.audit.audit import run as run_audit
from clip_invariance.audit.measures import Amounts
from clip_invariance.chapters import together
from clip_invariance.models import clip, sentences
from clip_invariance.profiles import get_profile
from clip_invariance.run.store import Progress, Store, run_units
from clip_invariance.training.loop import mixed
from clip_invariance.units import Unit
from pretend_gpu import Refused, pretended_gpu

#: By chapter.
EXPERIMENTS = {
    "01": "c1_places.units",
    "02": "c2_orbits.units",
    "03": "c3_captions.units",
    "04": "c4_dashcam.units",
    "05": "c5_recovery.units",
    "06": "c6_limits.units",
}


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Units for a GPU leave the number of threads alone; several would wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def there(*shape: int) -> Tensor:
    return torch.ones(*shape).to("cuda")


def drawn() -> torch.Generator:
    return torch.Generator().manual_seed(0)


# ---------------------------------------------------------------- the pretence


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: there(3) + torch.ones(3),
        lambda: torch.ones(2, 3) @ there(3, 2),
        lambda: torch.cat([there(3), torch.ones(3)]),
        lambda: nn.Linear(3, 2)(there(1, 3)),
        lambda: nn.Linear(3, 2).to("cuda")(torch.ones(1, 3)),
        lambda: nn.functional.cross_entropy(there(4, 2), torch.zeros(4, dtype=torch.long)),
        lambda: torch.ones(3)[there(2).long()],
        lambda: there(3).index_select(0, torch.zeros(2, dtype=torch.long)),
        lambda: there(3).index_put_((torch.tensor([0]),), torch.tensor([5.0])),
        lambda: there(4).numpy(),
        lambda: np.asarray(there(4)),
        lambda: torch.rand(3, generator=drawn(), device="cuda"),
        lambda: there(3).normal_(generator=drawn()),
        lambda: there(3) + torch.zeros(3, device="cpu"),
        lambda: (there(3) * 2).view(3, 1).T + torch.ones(3, 1),
        lambda: torch.vmap(lambda x: x * torch.ones(3))(there(2, 3)),
    ],
)
def test_it_refuses_what_a_gpu_refuses(wrong: Callable[[], object]) -> None:
    with pretended_gpu(), pytest.raises(Refused):
        wrong()


def test_it_does_what_a_gpu_does_and_leaves_nothing_behind() -> None:
    before = dict(vars(Tensor)), torch.zeros, torch.autocast
    with pretended_gpu():
        x = torch.arange(6.0, device="cuda").view(2, 3).requires_grad_()
        assert x.is_cuda
        assert x.device.type == "cuda"
        layer = nn.Linear(3, 2).to(device="cuda")
        y = (layer(x) * torch.tensor(2.0)).sum()  # a single number may lie anywhere
        y.backward()
        assert y.is_cuda
        assert x.grad is not None
        assert x.grad.is_cuda
        assert layer.weight.grad is not None
        assert layer.weight.grad.is_cuda
        assert x[torch.tensor([1, 0])].is_cuda  # indices may lie on the processor
        assert torch.zeros_like(x).is_cuda
        assert nn.functional.one_hot(x.long()[0]).is_cuda
        assert torch.vmap(lambda row: row * 2)(x).is_cuda
        kept = torch.zeros(2, 3)
        kept.copy_(x.detach())
        assert not kept.is_cuda
        assert x.detach().cpu().numpy().tolist() == [[0, 1, 2], [3, 4, 5]]
        assert x.to(kept).device.type == "cpu"
        assert x.sum().item() == 15
        with mixed(x.device):
            assert layer(x).dtype == torch.bfloat16
    assert (dict(vars(Tensor)), torch.zeros, torch.autocast) == before


# ---------------------------------------------------------------- every unit


#: Parameters that say what is shown or told, not what is done with it.
CONTENT = {"01": ("arm", "support", "labelling"), "03": ("policy", "kept", "marking"), "05": ("origin",)}


def kind(unit: Unit, content: Sequence[str]) -> object:
    """What units have in common that take the same way through the code, as far as parameters show it."""
    names = {
        name: value
        for name, value in _flat(unit.params).items()
        if isinstance(value, str | bool) and name not in content
    }
    return (
        unit.name,
        tuple(sorted(names.items())),
        tuple((name, kind(need, content)) for name, need in unit.needs.items()),
    )


def _flat(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters, and the fields of those that are arms or sizes."""
    found: dict[str, Any] = {}
    for name, value in params.items():
        decisive = (
            {one.name: getattr(value, one.name) for one in fields(value) if one.compare} if is_dataclass(value) else {}
        )
        found |= _flat(decisive) if decisive else {name: value}
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("chapter", EXPERIMENTS)
def test_every_kind_of_unit_runs_there(chapter: str, tmp_path: Path) -> None:
    experiment = importlib.import_module(f"clip_invariance.chapters.{EXPERIMENTS[chapter]}")
    sentences.encode(["loaded before, as it stays on the processor"])
    with pretended_gpu():
        units = {
            kind(unit, CONTENT.get(chapter, ())): unit for unit in experiment.all_units(get_profile("smoke"), 1, "cuda")
        }
        entries, _, _ = run_units([*units.values()], Store(tmp_path), {}, 1, Progress())
    assert len(entries) == len(units)
    assert len(units) > 3


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("chapter", ["03", "04"])
def test_encoders_are_trained_together_there(chapter: str, tmp_path: Path) -> None:
    experiment = importlib.import_module(f"clip_invariance.chapters.{EXPERIMENTS[chapter]}")
    measures = experiment.all_units(get_profile("smoke"), 2, "cuda")
    units = [need for unit in measures for need in unit.needs.values()]
    groups = [group for group in together.groups(units) if len(group) > 1]
    assert groups
    largest = max(groups, key=len)[:4]
    with pretended_gpu():
        entries, _, _ = run_units([units[number] for number in largest], Store(tmp_path), {}, 1, Progress())
    assert [type(entry.table.weights.iloc[-1]) for entry in entries] == [bytes] * len(largest)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_an_audit_runs_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = Amounts(scenes=240, pairs=20, shots=(1, 4), photographs=60)
    monkeypatch.setattr(audit, "amounts", lambda scenes, seeds: few)
    clip.save(clip.create("vit", size=32, embed_dim=16, seed=0), tmp_path / "model", "vit")
    with pretended_gpu():
        done = run_audit(
            f"local-dir:{tmp_path / 'model'}", "", device="cuda", scenes=0, seeds=2, output=tmp_path / "found"
        )
    record = json.loads((done.folder / "audit.json").read_text())
    assert record["device"] == "cuda"
    assert done.table["value"].notna().all()
