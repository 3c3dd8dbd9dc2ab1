"""Units run at most once, and a stored result is used only if nothing it depends on has changed."""

from __future__ import annotations

import errno
import importlib
import json
import multiprocessing
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from clip_invariance.errors import ReportError, UsageError
from clip_invariance.profiles import PROFILES
from clip_invariance.run import store as store_module
from clip_invariance.run.store import Entry, Progress, Store, run_units, sources, unit_key
from clip_invariance.units import Unit

ENVIRONMENT = {"numpy": "0", "torch": "1"}


class Notes(Progress):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture
def experiment(project: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("FAKELAB_LOG", str(project / "log"))
    return importlib.import_module("fakelab.experiment")


@pytest.fixture
def units(experiment: Any) -> list[Unit]:
    return experiment.units(PROFILES["smoke"], 2, "cpu")


@pytest.fixture
def store(project: Path) -> Store:
    return Store(project / "_build" / "store")


def run(units: list[Unit], store: Store, jobs: int = 1, notes: Notes | None = None) -> tuple[list[Entry], int]:
    entries, _, reused = run_units(units, store, ENVIRONMENT, jobs, notes or Notes())
    return entries, reused


def calls(project: Path) -> list[str]:
    return (project / "log").read_text().splitlines() if (project / "log").exists() else []


def test_units_run_once_and_come_in_the_order_asked(project: Path, units: list[Unit], store: Store) -> None:
    asked = [units[3], units[0], units[3]]
    first, reused = run(asked, store)
    assert reused == 0
    assert calls(project) == ["soft 1", "hard 0"]
    assert first[0].table.equals(first[2].table)
    again, reused = run(asked, store)
    assert reused == 2
    assert calls(project) == ["soft 1", "hard 0"]
    assert [e.table.to_csv() for e in again] == [e.table.to_csv() for e in first]


def test_processes_give_the_same_tables_as_one(project: Path, units: list[Unit], store: Store) -> None:
    alone, _ = run(units, store)
    together, reused = run(units, Store(project / "other"), jobs=2)
    assert reused == 0
    assert len(calls(project)) == 2 * len(units)
    assert [e.table.to_csv() for e in together] == [e.table.to_csv() for e in alone]


def test_key_covers_imported_source_and_nothing_else(project: Path, units: list[Unit]) -> None:
    def key() -> str:
        return unit_key(units[0], sources("fakelab.experiment"), ENVIRONMENT)

    before, package = key(), project / "lib" / "fakelab"
    assert {"fakelab", "fakelab.helper", "clip_invariance.units"} <= {s.module for s in sources("fakelab.experiment")}
    (package / "unrelated.py").write_text("NOTHING = 1\n")
    assert key() == before
    (package / "helper.py").write_text("OFFSET = 2.0\n")
    assert (edited := key()) != before
    (package / "__init__.py").write_text("from fakelab import unrelated\n")
    assert (imported := key()) != edited
    (package / "unrelated.py").write_text("NOTHING = 2\n")  # now reached through the package's __init__
    assert key() != imported


def test_key_covers_parameters_and_environment(units: list[Unit]) -> None:
    closure = sources("fakelab.experiment")
    keys = {unit_key(unit, closure, ENVIRONMENT) for unit in units}
    keys |= {unit_key(units[0], closure, {**ENVIRONMENT, name: "9"}) for name in ENVIRONMENT}
    assert len(keys) == len(units) + 2


def _change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def _zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _other_unit(folder: Path) -> None:
    """Swapped as a whole: table and record agree with one another."""
    store = Store(folder.parents[1])
    experiment = importlib.import_module("fakelab.experiment")
    unit = Unit(experiment.measure, {"arm": "soft", "seed": 9, "device": "cpu"})
    (other,), _ = run([unit], store)
    shutil.rmtree(folder)
    store.folder(other.key).rename(folder)
    (Path(os.environ["FAKELAB_LOG"])).write_text("hard 0\n")


def _older(path: Path) -> None:
    """As if it had been stored before records held digests of tables."""
    meta = json.loads(path.read_text())
    del meta["sha256"], meta["digest"]
    path.write_text(json.dumps(meta))


def _instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: _flip(folder / "table.parquet"),
        lambda folder: (folder / "table.parquet").write_bytes((folder / "table.parquet").read_bytes()[:100]),
        lambda folder: (folder / "table.parquet").unlink(),
        lambda folder: (folder / "meta.json").write_text('{"sha256": '),
        lambda folder: (folder / "meta.json").write_text("[]"),
        lambda folder: (folder / "meta.json").unlink(),
        lambda folder: _zero(folder / "table.parquet"),
        lambda folder: _zero(folder / "meta.json"),
        lambda folder: _change(folder / "meta.json", '"wall_seconds": ', '"wall_seconds": 1'),
        lambda folder: _change(folder / "meta.json", "hard", "soft"),
        lambda folder: _older(folder / "meta.json"),
        lambda folder: _instead(folder / "table.parquet"),
        lambda folder: _instead(folder / "meta.json"),
        lambda folder: (folder / "table.parquet").write_bytes((folder / "meta.json").read_bytes()),
        lambda folder: _other_unit(folder),
    ],
    ids=[
        *("bit flipped", "truncated", "no table", "bad json", "other json", "no meta", "table zeroed", "meta zeroed"),
        *("other time", "other parameter", "older", "table a folder", "meta a folder", "swapped", "another unit's"),
    ],
)
def test_damaged_entry_is_noted_and_computed_again(project: Path, units: list[Unit], store: Store, damage: Any) -> None:
    (before,), _ = run(units[:1], store)
    damage(store.folder(before.key))
    notes = Notes()
    (after,), reused = run(units[:1], store, notes=notes)
    assert reused == 0
    assert len(calls(project)) == 2
    assert after.table.equals(before.table)
    assert len(notes.notes) == 1
    assert "damaged" in notes.notes[0]
    assert "\n" not in notes.notes[0]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_needed_unit_runs_once_and_before_those_that_need_it(
    project: Path, experiment: Any, units: list[Unit], store: Store, jobs: int
) -> None:
    first = units[0]
    both = [Unit(experiment.twice, {"plus": plus}, needs={"first": first}) for plus in (0, 1)]
    entries, needed, reused = run_units(both, store, ENVIRONMENT, jobs, Notes())
    (before,) = needed
    assert reused == 0
    assert calls(project) == ["hard 0", "twice", "twice"]
    assert before.table.empty  # the weights of all encoders would fill the memory of who only counts them
    stored = store.load(before.key, pytest.fail)
    assert stored is not None
    assert [entry.table.value[0] for entry in entries] == [2 * stored.table.score[0] + plus for plus in (0, 1)]
    # Measured again in another way: the needed unit is taken from the store.
    _, _, reused = run_units(
        [Unit(experiment.twice, {"plus": 2}, needs={"first": first})], store, ENVIRONMENT, 1, Notes()
    )
    assert reused == 1
    assert calls(project) == ["hard 0", *3 * ["twice"]]


def test_a_unit_starts_when_what_it_needs_is_there(experiment: Any, store: Store) -> None:
    """Not when all that anyone needs is there: nobody idles while a long training ends. Here it waits for others."""
    first, last = (Unit(experiment.measure, {"arm": arm, "seed": 0, "device": "cpu"}) for arm in ("hard", "patient"))
    both = [Unit(experiment.twice, {"plus": plus}, needs={"first": need}) for plus, need in enumerate((last, first))]

    class Order(Notes):
        def done(self, unit: Unit, seconds: float) -> None:
            self.notes.append(str(unit.params.get("arm", unit.params.get("plus"))))

    order = Order()
    run_units(both, store, ENVIRONMENT, 2, order)
    assert order.notes == ["hard", "1", "patient", "0"]


def test_key_covers_the_units_that_are_needed(experiment: Any, units: list[Unit], store: Store) -> None:
    entries, _ = run([Unit(experiment.twice, {"plus": 0}, needs={"first": unit}) for unit in units[:2]], store)
    assert entries[0].key != entries[1].key


def test_key_covers_data_beside_a_module(project: Path, units: list[Unit]) -> None:
    before = unit_key(units[0], sources("fakelab.experiment"), ENVIRONMENT)
    (project / "lib" / "fakelab" / "config.json").write_text("{}\n")
    assert unit_key(units[0], sources("fakelab.experiment"), ENVIRONMENT) != before


@pytest.mark.parametrize("jobs", [1, 2])
def test_failing_unit_is_named_and_finished_ones_stay(units: list[Unit], store: Store, jobs: int) -> None:
    run(units[:2], store)
    broken = [Unit(units[0].function, {**units[0].params, "arm": "broken", "seed": seed}) for seed in (0, 1)]
    with pytest.raises(
        ReportError, match=r"measure\(arm='broken', seed=\d, device='cpu'\) failed: ValueError: the arm"
    ):
        run([*units[:2], *broken], store, jobs=jobs)
    assert run(units, store)[1] == 2


def test_a_failing_unit_ends_the_others_at_once(experiment: Any, store: Store) -> None:
    """Units may take minutes. Here the other one would wait for a minute."""
    both = [Unit(experiment.measure, {"arm": arm, "seed": 0, "device": "cpu"}) for arm in ("patient", "broken")]
    start = time.monotonic()
    with pytest.raises(ReportError, match="the arm"):
        run(both, store, jobs=2)
    assert time.monotonic() - start < 30
    assert multiprocessing.active_children() == []


def test_a_killed_worker_is_told_in_one_line(experiment: Any, units: list[Unit], store: Store) -> None:
    killed = Unit(experiment.measure, {"arm": "killed", "seed": 0, "device": "cpu"})
    with pytest.raises(ReportError, match="was killed; mostly, memory ran out") as caught:
        run([killed, killed, Unit(experiment.measure, {**killed.params, "seed": 1})], store, jobs=2)
    assert "\n" not in str(caught.value)
    assert run(units[:2], store, jobs=2)[1] == 0  # the next run has processes again


def test_full_disk_leaves_nothing_half_written(
    units: list[Unit], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: pd.DataFrame, path: Path, **_: object) -> None:
        path.write_bytes(b"PAR1")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(ReportError, match="No space left on device"):
        run(units[:1], store)
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


def test_second_process_may_finish_the_same_unit(units: list[Unit], store: Store) -> None:
    (entry,), _ = run(units[:1], store)
    store.save(entry.key, units[0], entry.table, 9.0)
    assert store.load(entry.key, pytest.fail).seconds == entry.seconds
    assert not list(store.root.rglob(".tmp-*"))


def test_edit_after_import_is_refused(units: list[Unit], store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    path = next(s.path for s in sources("fakelab.experiment") if s.module == "clip_invariance.units")
    monkeypatch.setitem(store_module._AT_START, path, "0" * 64)
    with pytest.raises(ReportError, match=r"units\.py was edited while this ran"):
        run(units, store)


def test_edit_during_a_unit_is_not_stored(
    project: Path, units: list[Unit], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = project / "lib" / "fakelab" / "helper.py"
    monkeypatch.setattr("time.sleep", lambda _: helper.write_text("OFFSET = 3.0\n"))
    with pytest.raises(ReportError, match=r"helper\.py was edited"):
        run(units[:1], store)
    assert not [path for path in store.root.rglob("*") if path.is_file()]


def test_units_must_be_importable_and_plain(experiment: Any, store: Store) -> None:
    def local() -> pd.DataFrame:
        return pd.DataFrame({"x": [1]})

    local.__module__ = "__main__"
    with pytest.raises(UsageError, match="installed package"):
        run([Unit(local, {})], store)
    with pytest.raises(UsageError, match="JSON-like"):
        run([Unit(experiment.measure, {"arm": object(), "seed": 0, "device": "cpu"})], store)
    with pytest.raises(UsageError, match="JSON-like"):
        run([Unit(experiment.measure, {"arm": "hard", "seed": float("nan"), "device": "cpu"})], store)


PAGES = """
import resource, sys, torch
from torch import nn
from clip_invariance.run.store import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
torch.set_num_threads(1)
net = nn.Sequential(nn.Conv2d(3, 24, 3, 2, 1), nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, 32, 3, 2, 1))
images = torch.randn(128, 3, 48, 48)
def steps(n):
    for _ in range(n):
        net(images).square().mean().backward()
steps(3)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
steps(5)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep freed memory")
def test_freed_memory_is_asked_for_once() -> None:
    """Also where glibc was told to give everything back; left alone it does so more or less, by what came before."""
    generous = os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}

    def new_pages(side: str) -> int:
        command = [sys.executable, "-c", PAGES, side]
        return int(subprocess.run(command, capture_output=True, text=True, check=True, env=generous).stdout)

    assert new_pages("given back") > 5 * new_pages("kept") + 1000


HELD = """
import sys, torch
from clip_invariance.run.store import give_back_freed_memory, keep_freed_memory
def held():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]) // 1024
keep_freed_memory()
blocks = [torch.ones(2**20) for _ in range(100)]
del blocks
before = held()
give_back_freed_memory()
print(before - held())
"""


@pytest.mark.skipif(platform.system() != "Linux" or platform.libc_ver()[0] != "glibc", reason="speaks of glibc")
def test_a_unit_leaves_the_memory_that_it_freed_to_the_system() -> None:
    freed = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, check=True).stdout
    assert int(freed) > 300  # of 400 MB
