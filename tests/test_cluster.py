"""Units on a real Dask cluster of two worker processes on this machine, one of them killed in mid-run."""

from __future__ import annotations

import collections
import functools
import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("distributed")
import distributed

from clip_invariance.cli import main
from clip_invariance.errors import ReportError
from clip_invariance.results import read_results
from clip_invariance.run import cluster as cluster_module
from clip_invariance.run import store as store_module
from clip_invariance.run.store import Progress, Store, run_units
from clip_invariance.units import Unit
from fake_project import command, environment, run_cli, write_notebook, write_project

WORK = """
import os, time
import numpy as np
import pandas as pd

def work(seed, log, seconds=0.0, fails=False, dies=False):
    with open(log, "a") as file:
        file.write(f"{seed} {os.getpid()}\\n")
    time.sleep(seconds)
    if dies:
        os._exit(1)
    if fails:
        raise ValueError("no luck")
    return pd.DataFrame({"value": np.random.default_rng(seed).normal(size=3)})

def total(seed, log, **parts):
    with open(log, "a") as file:
        file.write(f"total {os.getpid()}\\n")
    return pd.DataFrame({"total": [sum(part.value.sum() for part in parts.values())]})

def threads():
    import joblib, torch
    return pd.DataFrame({"torch": [torch.get_num_threads()], "nested": [joblib.effective_n_jobs(-1)]})
"""

CELLS = (
    "from clip_invariance.run import Chapter\nfrom clip_invariance.units import Unit\nfrom clusterlab.work import work",
    'chapter = Chapter("01", profile=profile, device=device, seeds=seeds, jobs=jobs, output=output)',
    'units = [Unit(work, {"seed": seed, "log": label, "seconds": rate}) for seed in range(4)]',
    'chapter.table("all", chapter.run(units), title="All", experiment="None.")\nchapter.finish()',
)
RUN = ("run", "--profile", "quick", "--device", "cpu", "--scheduler")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project whose units say where they ran."""
    project = write_project(tmp_path_factory.mktemp("cluster") / "project")
    write_notebook(project, CELLS)
    package = project / "lib" / "clusterlab"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "work.py").write_text(WORK)
    sys.path.insert(0, str(project / "lib"))
    yield project
    sys.path.remove(str(project / "lib"))


@pytest.fixture(scope="module")
def work(lab: Path) -> Any:
    return importlib.import_module("clusterlab.work")


class Cluster:
    """A scheduler and two workers with their nannies, started as on a real cluster, with ``dask`` commands."""

    def __init__(self, folder: Path, lib: Path, *options: str) -> None:
        self.file = folder / "scheduler.json"
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(lib),
            "OMP_NUM_THREADS": "1",
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
        }
        self.scheduler = self._dask("scheduler", "--port", "0")
        self.workers = self._dask("worker", "--nthreads", "1", "--local-directory", str(folder), *options)
        try:
            wait_for(self.file.exists, seconds=240)
        except AssertionError:
            self._end()
            raise
        self.client = distributed.Client(scheduler_file=str(self.file), set_as_default=False)
        self.address = self.client.scheduler.address

    def _dask(self, role: str, *options: str) -> subprocess.Popen[bytes]:
        arguments = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(self.file), *options]
        return subprocess.Popen(
            [sys.executable, "-m", "dask", role, *arguments], env=self.environment, stderr=subprocess.DEVNULL
        )

    def processes(self) -> set[int]:
        """Process ids of the workers that are there."""
        return set(self.client.run(os.getpid, on_error="ignore").values())

    def tasks(self) -> int:
        """How many tasks the scheduler knows, running or not."""
        count = self.client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
        return int(count)

    def close(self) -> None:
        self.client.close()
        self._end()

    def _end(self) -> None:
        for process in (self.workers, self.scheduler):
            process.terminate()
            process.wait(60)


@pytest.fixture(scope="module")
def cluster(lab: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("dask"), lab / "lib", "--nworkers", "2", "--memory-limit", "0")
    made.client.wait_for_workers(2, timeout=240)
    yield made
    made.close()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def started(log: Path) -> list[tuple[str, int]]:
    """Which unit began in which process, in order."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [(line.split()[0], int(line.split()[1])) for line in lines]


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


class Record(Progress):
    """What was told; ``on_done`` is called after each unit."""

    def __init__(self, on_done: Callable[[], None] = lambda: None) -> None:
        self.wanted = self.reused = self.computed = 0
        self.on_done = on_done

    def add(self, units: int, reused: int) -> None:
        self.wanted += units
        self.reused += reused

    def done(self, unit: Unit, seconds: float) -> None:
        self.computed += 1
        self.on_done()


def test_units_spread_over_the_workers_and_give_the_same_tables(
    work: Any, cluster: Cluster, store: Store, log: Path, tmp_path: Path
) -> None:
    parts = [Unit(work.work, {"seed": seed, "log": str(log), "seconds": 0.3}) for seed in range(4)]
    units = [*parts, Unit(work.total, {"seed": 9, "log": str(log)}, needs={f"part{i}": p for i, p in enumerate(parts)})]
    record = Record()
    entries, _, reused = run_units(units, store, {}, 1, record, cluster.address)
    names, processes = zip(*started(log), strict=True)
    assert sorted(names) == ["0", "1", "2", "3", "total"]
    assert names[-1] == "total"  # after all that it needs
    assert set(processes) == cluster.processes()
    assert (record.wanted, record.computed, reused) == (5, 5, 0)

    alone, _, _ = run_units(units, Store(tmp_path / "alone"), {}, 1, Record())
    assert [entry.table.to_csv() for entry in entries] == [entry.table.to_csv() for entry in alone]
    assert [entry.key for entry in entries] == [entry.key for entry in alone]

    # What is stored needs no cluster.
    again, _, reused = run_units(units, store, {}, 1, Record(), "tcp://127.0.0.1:1")
    assert reused == 5
    assert [entry.key for entry in again] == [entry.key for entry in entries]


def test_a_unit_gets_one_thread_and_does_not_spread_in_its_turn(work: Any, cluster: Cluster, store: Store) -> None:
    (entry,), _, _ = run_units([Unit(work.threads, {})], store, {}, 1, Record(), cluster.address)
    assert entry.table.to_dict("records") == [{"torch": 1, "nested": 1}]


def test_killed_worker_costs_its_unit_in_flight_and_the_run_ends_complete(
    work: Any, cluster: Cluster, store: Store, log: Path
) -> None:
    killed: list[tuple[str, int]] = []

    def kill_once() -> None:
        if not killed:
            wait_for(lambda: len(started(log)) > 2)  # a unit that has just begun
            killed.append(started(log)[-1])
            os.kill(killed[0][1], signal.SIGKILL)

    units = [Unit(work.work, {"seed": seed, "log": str(log), "seconds": 1.0}) for seed in range(6)]
    record = Record(kill_once)
    entries, _, _ = run_units(units, store, {}, 1, record, cluster.address)
    assert len(entries) == record.computed == 6
    counts = collections.Counter(seed for seed, _ in started(log))
    assert counts == {str(seed): 1 for seed in range(6)} | {killed[0][0]: 2}
    assert not list(store.root.rglob(".seen-*"))


def test_result_lost_with_its_worker_is_not_computed_again(work: Any, store: Store, log: Path) -> None:
    """Dask hands out again what a dead worker had done but not delivered. The result is in the store, though."""
    unit = Unit(work.work, {"seed": 0, "log": str(log)})
    job = store_module._job(unit, {}, {})
    assert store_module._compute(job, store) == store_module._compute(job, store) == job.key
    assert [seed for seed, _ in started(log)] == ["0"]


def test_stopping_units_is_not_held_against_those_behind_them(work: Any, cluster: Cluster, log: Path) -> None:
    """Dask gives up a task on whose workers too much ended, even if it had only waited there."""
    cluster.client.wait_for_workers(2, timeout=120)
    before, expected = cluster.processes(), cluster_module._expected()
    calls = [functools.partial(work.work, seed, str(log), seconds=60.0) for seed in range(2)]
    stopped = [cluster.client.submit(cluster_module._call, call, expected, log.parent) for call in calls]
    wait_for(lambda: len(started(log)) == 2)
    behind = [cluster.client.submit(abs, -number) for number in range(4)]
    wait_for(lambda: cluster.tasks() == 6)
    cluster.client.cancel(stopped)
    assert cluster.client.gather(behind) == [0, 1, 2, 3]
    assert not before & cluster.processes()
    blame = cluster.client.run_on_scheduler(
        lambda dask_scheduler: [t.suspicious for t in dask_scheduler.tasks.values()]
    )
    assert blame == [0, 0, 0, 0]
    cluster.client.wait_for_workers(2, timeout=120)


def test_worker_that_has_said_goodbye_is_replaced_even_if_it_lingers(work: Any, cluster: Cluster) -> None:
    """On a busy machine a heartbeat comes between the goodbye and the end of the process."""
    cluster.client.wait_for_workers(2, timeout=120)
    before = cluster.processes()
    leaving = min(cluster.client.nthreads())

    async def linger(dask_worker: Any) -> None:
        await cluster_module._goodbye(dask_worker)
        await dask_worker.heartbeat()

    cluster.client.run(linger, workers=[leaving], wait=False)
    wait_for(lambda: leaving not in cluster.client.nthreads())
    cluster.client.wait_for_workers(2, timeout=120)
    assert len(cluster.processes() & before) == 1


def test_failing_unit_is_named_and_nothing_is_left_running(
    work: Any, cluster: Cluster, store: Store, log: Path
) -> None:
    good = Unit(work.work, {"seed": 0, "log": str(log)})
    bad = Unit(work.work, {"seed": 1, "log": str(log), "seconds": 0.5, "fails": True})
    rest = [Unit(work.work, {"seed": seed, "log": str(log), "seconds": 60.0}) for seed in (2, 3)]
    run_units([good], store, {}, 1, Record(), cluster.address)
    with pytest.raises(ReportError, match=r"work\(seed=1, .*\) failed: ValueError: no luck"):
        run_units([bad, *rest], store, {}, 1, Record(), cluster.address)
    wait_for(lambda: cluster.tasks() == 0)
    running = {process for seed, process in started(log) if seed in "23"}
    wait_for(lambda: not running & cluster.processes())
    cluster.client.wait_for_workers(2, timeout=120)  # the nannies started fresh ones
    assert run_units([good], store, {}, 1, Record())[2] == 1


def test_unit_that_ends_its_workers_fails_the_run(work: Any, cluster: Cluster, store: Store, log: Path) -> None:
    with pytest.raises(ReportError, match=r"ended 2 workers, .* memory ran out"):
        run_units(
            [Unit(work.work, {"seed": 0, "log": str(log), "dies": True})],
            store,
            {},
            1,
            Record(),
            cluster.address,
        )
    cluster.client.wait_for_workers(2, timeout=120)


def test_command_runs_a_chapter_on_the_cluster(lab: Path, cluster: Cluster, log: Path) -> None:
    arguments = (*RUN, cluster.address, "--set", f"label={log}", "--set", "rate=0.1")
    process = run_cli(lab, *arguments)
    assert process.returncode == 0, process.stderr
    assert "01: 4/4 units" in process.stderr
    assert {pid for _, pid in started(log)} <= cluster.processes()
    record = read_results(lab / "_build/run/quick/figures/01").run
    assert (record.units, record.reused) == (4, 0)
    assert "scheduler" not in record.parameters
    wait_for(lambda: cluster.tasks() == 0)

    # Where units run is no input of the results: the same run without the cluster finds nothing to do.
    again = run_cli(lab, *arguments[:5], *arguments[7:])
    assert "4 units (4 reused)" in again.stderr


def test_ctrl_c_leaves_no_task(lab: Path, cluster: Cluster, log: Path) -> None:
    arguments = (*RUN, cluster.address, "--set", f"label={log}", "--set", "rate=60")
    process = subprocess.Popen(
        command(*arguments),
        cwd=lab,
        env=environment(lab),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore Ctrl-C
    )
    try:
        wait_for(lambda: len(started(log)) == 2)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "clip-invariance: stopped"
    wait_for(lambda: cluster.tasks() == 0)
    running = {pid for _, pid in started(log)}
    wait_for(lambda: not running & cluster.processes())


# ---------------------------------------------------------------- refused before anything starts


def refused(lab: Path, address: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The one line that the command prints about this cluster."""
    monkeypatch.chdir(lab)
    assert main([*RUN, address]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix("clip-invariance: ")


@pytest.fixture
def small_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., distributed.LocalCluster]]:
    """Makes clusters in this process, for what is refused before a unit runs."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made = []

    def make(**options: Any) -> distributed.LocalCluster:
        made.append(
            distributed.LocalCluster(
                processes=False,
                protocol="tcp://",
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                local_directory=str(tmp_path),
                **options,
            )
        )
        return made[-1]

    yield make
    for cluster in made:
        cluster.close()


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "127.0.0.1:1", "nonsense", "ftp://127.0.0.1:1"])
def test_scheduler_that_does_not_answer(
    lab: Path, address: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "CONNECT_SECONDS", 0.5)
    assert f"no Dask scheduler answers at {address}" in refused(lab, address, capsys, monkeypatch)


def test_scheduler_without_workers(
    lab: Path, small_cluster: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "WORKERS_SECONDS", 0.5)
    address = small_cluster(n_workers=0).scheduler_address
    line = refused(lab, address, capsys, monkeypatch)
    assert line.endswith(f"start one with `dask worker {address} --nthreads 1`")


def test_workers_that_cannot_run_units(
    lab: Path, small_cluster: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    address = small_cluster(n_workers=1, threads_per_worker=2).scheduler_address
    assert "it takes 2 units at a time" in refused(lab, address, capsys, monkeypatch)
    address = small_cluster(n_workers=1, threads_per_worker=1).scheduler_address
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert "start it with OMP_NUM_THREADS=1" in refused(lab, address, capsys, monkeypatch)


def test_worker_that_differs_from_the_run(
    lab: Path, cluster: Cluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.client.wait_for_workers(2, timeout=120)
    address, here = cluster.address, cluster_module._expected()
    monkeypatch.setattr(cluster_module, "_expected", lambda: here._replace(versions={**here.versions, "torch": "0.1"}))
    line = refused(lab, address, capsys, monkeypatch)
    assert f"it has torch {here.versions['torch']}, the run has 0.1" in line
    assert line.endswith("(and 1 more)")
    monkeypatch.setattr(cluster_module, "_expected", lambda: here._replace(package="/elsewhere/cluster.py"))
    assert "not /elsewhere/cluster.py" in refused(lab, address, capsys, monkeypatch)


def test_worker_that_does_not_see_the_store(
    lab: Path, cluster: Cluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    check = cluster_module._check_workers
    monkeypatch.setattr(
        cluster_module, "_check_workers", lambda client, marker: check(client, Path("/not/shared") / marker.name)
    )
    line = refused(lab, cluster.address, capsys, monkeypatch)
    assert "it does not see the store /not/shared: run and workers must share a file system" in line


def test_without_dask_there_is_one_clear_line(
    lab: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "clip_invariance.run.cluster")
    monkeypatch.delattr("clip_invariance.run.cluster")
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.chdir(lab)
    assert main([*RUN, "tcp://127.0.0.1:1"]) == 2
    assert "a cluster needs Dask, which is not installed here" in capsys.readouterr().err


# ---------------------------------------------------------------- what may go wrong later


def test_lost_scheduler_ends_the_run(work: Any, lab: Path, store: Store, log: Path, tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, lab / "lib", "--no-nanny", "--death-timeout", "5")
    units = [Unit(work.work, {"seed": seed, "log": str(log), "seconds": 0.5}) for seed in range(3)]
    with pytest.raises(ReportError, match="was lost: finished units stay; run again"):
        run_units(units, store, {}, 1, Record(cluster.scheduler.kill), cluster.address)
    cluster.close()
    assert run_units(units[:1], store, {}, 1, Record())[2] == 1


def test_a_worker_that_runs_older_code_computes_nothing(
    work: Any, store: Store, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = Unit(work.work, {"seed": 0, "log": str(log)})
    job = store_module._job(unit, {}, {})
    monkeypatch.setitem(store_module._AT_START, job.depends_on[0].path, "0" * 64)
    with pytest.raises(ReportError, match=r"start the run .* again"):
        store_module._compute(job, store)
    assert started(log) == []


def test_results_that_show_late_are_waited_for(
    work: Any, store: Store, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (entry,), _, _ = run_units([Unit(work.work, {"seed": 0, "log": str(log)})], store, {}, 1, Record())
    hidden = store.folder(entry.key).rename(tmp_path / "hidden")
    threading.Timer(0.3, lambda: hidden.rename(store.folder(entry.key))).start()
    found = store_module._stored(store, entry.key, pytest.fail)
    assert found is not None
    assert found.key == entry.key
    monkeypatch.setattr(store_module, "LATE_SECONDS", 0.2)
    assert store_module._stored(store, "0" * 64, pytest.fail) is None
