"""Processes for units: one thread each, one import for all, their parent's environment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import threadpoolctl

from clip_invariance.chapters.c5_recovery import units
from clip_invariance.profiles import PROFILES
from clip_invariance.run.processes import processes
from clip_invariance.run.store import _imports, _job


def variable(name: str) -> str | None:
    return os.environ.get(name)


def threads(_: int) -> list[int]:
    """Of every numerical library of this process."""
    import torch

    return [torch.get_num_threads(), *(library["num_threads"] for library in threadpoolctl.threadpool_info())]


def origin(modules: Sequence[str]) -> tuple[int, int, list[str]]:
    """This process's parent, how many threads that has, and which of the modules are imported already."""
    parent = os.getppid()
    return parent, len(os.listdir(f"/proc/{parent}/task")), [name for name in modules if name in sys.modules]


def test_workers_see_what_was_set_after_the_first_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SET_LATER", raising=False)
    with processes(1) as executor:
        assert executor.submit(variable, "SET_LATER").result() is None
    monkeypatch.setenv("SET_LATER", "seen")
    with processes(1) as executor:
        assert executor.submit(variable, "SET_LATER").result() == "seen"


def test_the_environment_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with processes(1):
        assert variable("OMP_NUM_THREADS") == variable("MKL_NUM_THREADS") == "1"
    assert variable("OMP_NUM_THREADS") == "7"
    assert variable("MKL_NUM_THREADS") is None


LONG = """
import sys
sys.path.insert(0, sys.argv[1])
import test_processes as here
with here.processes(2) as executor:
    print(executor.submit(here.variable, "TMPDIR").result())
"""


def test_the_folder_for_temporary_files_may_have_a_long_name(tmp_path: Path) -> None:
    """Longer than the path of a socket may be, as on clusters that give every job one of its own."""
    folder = tmp_path / ("a" * 120)
    folder.mkdir()
    command = [sys.executable, "-c", LONG, os.path.dirname(__file__)]
    more = os.environ | {"TMPDIR": str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=more)
    assert done.stdout == f"{folder}\n", done.stderr
    assert list(folder.iterdir()) == []


SHARED = """
import sys
sys.path.insert(0, sys.argv[1])
import test_processes as here
with here.processes(2, here.imports_of_tuning()) as executor:
    found = list(executor.map(here.origin, [here.HEAVY] * 2))
    counts = executor.submit(here.threads, 0).result()
assert found[0] == found[1], found
parent, threads, imported = found[0]
assert threads == 1, "a fork server with threads must not be copied"
assert imported == here.HEAVY, imported
assert set(counts) == {1}, counts
"""
HEAVY = ["clip_invariance.run.store", "open_clip", "peft", "torch", "torch._dynamo"]


def imports_of_tuning() -> list[str]:
    (unit, *_) = units.tune_units(PROFILES["smoke"], 2, "cpu")
    return _imports([_job(unit, {}, {})])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has Python's fork server as its default")
def test_workers_are_copies_of_one_process_that_has_imported_everything() -> None:
    """In a fresh process: a fork server imports when it starts, and this one's may be long started."""
    here = os.path.dirname(__file__)
    command = [sys.executable, "-W", "error::DeprecationWarning", "-c", SHARED, here]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
