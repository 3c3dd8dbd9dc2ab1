"""Units on the workers of a Dask cluster, through joblib's Dask backend.

Workers share the file system with the run: a worker reads what a unit needs from the store and puts its result there,
so that nothing but names and parameters travels, and a worker that dies takes only its unit in flight with it.
Import this module only where a cluster was asked for: Dask takes a second.
"""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import joblib

from clip_invariance.errors import ReportError, UsageError
from clip_invariance.run import provenance

try:
    import distributed
    from joblib._dask import DaskDistributedBackend
except ImportError:
    raise UsageError("a cluster needs Dask, which is not installed here: `pip install distributed`") from None

#: How long to wait for the scheduler's answer, and for its first worker.
CONNECT_SECONDS = 30.0
WORKERS_SECONDS = 60.0
#: How long a worker waits for the scheduler to hear that it ends.
GOODBYE_SECONDS = 5.0


class _Expected(NamedTuple):
    """What a worker must share with the run for its results to be filed under the run's keys."""

    package: str
    versions: dict[str, str]

    def objection(self, worker: distributed.Worker, path: Path) -> str:
        """What keeps this worker from running units, or "". ``path`` must be visible from here."""
        try:
            versions = provenance.versions()
        except UsageError as error:
            return str(error)
        differing = [name for name, version in self.versions.items() if versions.get(name) != version]
        if __file__ != self.package:
            return f"it runs {__file__}, not {self.package}: start it from the environment that the run uses"
        if differing:
            name = differing[0]
            return f"it has {name} {versions.get(name)}, the run has {self.versions[name]}: install the same lock file"
        if worker.state.nthreads != 1:
            return f"it takes {worker.state.nthreads} units at a time in one process: start it with --nthreads 1"
        if os.environ.get("OMP_NUM_THREADS") != "1":
            return "a unit must compute in one thread: start it with OMP_NUM_THREADS=1"
        if not path.exists():
            return f"it does not see the store {path.parent}: run and workers must share a file system"
        return ""


def _expected() -> _Expected:
    return _Expected(__file__, provenance.versions())


@contextmanager
def connected(scheduler: str, root: Path) -> Iterator[distributed.Client]:
    """A client of the cluster, once it has a worker and every worker can run units for the store at ``root``.

    Raises:
        UsageError: if nobody answers, there is no worker, or one lacks something; the message says what to do.
    """
    client = None
    with suppress(OSError, ValueError, TypeError):
        client = distributed.Client(  # type: ignore[no-untyped-call]
            scheduler, timeout=CONNECT_SECONDS, set_as_default=False
        )
    if client is None:
        gc.collect()  # Dask's half-made client ends here: found while another one starts, it would wait for a lock for ever
        raise UsageError(f"no Dask scheduler answers at {scheduler}: start one or correct the address")
    with client:
        try:
            client.wait_for_workers(1, timeout=WORKERS_SECONDS)
        except TimeoutError:
            raise UsageError(
                f"the scheduler at {scheduler} had no worker for {WORKERS_SECONDS:.0f} s: "
                f"start one with `dask worker {scheduler} --nthreads 1`"
            ) from None
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=root, prefix=".seen-") as marker:
            _check_workers(client, Path(marker.name))
        yield client


def _check_workers(client: distributed.Client, marker: Path) -> None:
    found = client.run(_objection, _expected(), marker, on_error="return")
    present = client.nthreads()  # type: ignore[no-untyped-call]  # one that died meanwhile is no obstacle
    objections = {worker: text for worker, text in found.items() if text and worker in present}
    if objections:
        worker, text = min(objections.items())
        if isinstance(text, Exception):  # the package is not there, or is an older one
            text = f"it cannot load this package ({text}): start it from the environment that the run uses"
        more = f" (and {len(objections) - 1} more)" if len(objections) > 1 else ""
        raise UsageError(f"worker {worker}: {text}{more}")


def _objection(expected: _Expected, path: Path, dask_worker: distributed.Worker) -> str:
    return expected.objection(dask_worker, path)


class _Backend(DaskDistributedBackend):  # type: ignore[misc]
    """joblib's Dask backend without two of its traps (as of joblib 1.6)."""

    def effective_n_jobs(self, n_jobs: int) -> int:
        """At least two: for one, joblib would run the units in this process."""
        return max(2, int(super().effective_n_jobs(n_jobs)))

    def submit(self, func: Any, callback: Any = None) -> Any:
        """Also report a unit that Dask gave up, for which joblib would wait for ever."""
        future = super().submit(func, callback)
        future.add_done_callback(lambda done: callback(done.exception()) if done.exception() else None)
        return future

    def retrieve_result_callback(self, out: Any) -> Any:
        if isinstance(out, BaseException):
            raise out
        return super().retrieve_result_callback(out)


def spread(calls: Sequence[Callable[[], str]], scheduler: str, root: Path) -> Iterator[str]:
    """Make the calls on the cluster's workers; yields what they return, in the order in which they end.

    A call whose worker dies is made again on another one. When this process ends, calls in flight end too.

    Raises:
        UsageError: as :func:`connected`.
        ReportError: if a call raises one, ends several workers, or the scheduler is lost.
    """
    with connected(scheduler, root) as client:
        expected = _expected()
        with joblib.parallel_config(backend=_Backend(client=client)):
            # all handed over at once: workers that join later find work, too
            parallel = joblib.Parallel(n_jobs=-1, batch_size=1, pre_dispatch="all", return_as="generator_unordered")
        try:
            yield from parallel(joblib.delayed(_call)(call, expected, root) for call in calls)
        except distributed.KilledWorker as error:
            raise ReportError(
                f"a unit ended {error.allowed_failures + 1} workers, one after the other (the last was "
                f"{error.last_worker.address}): their logs say why; mostly, memory ran out"
            ) from None
        except distributed.CancelledError:
            raise ReportError(f"the scheduler at {scheduler} was lost: finished units stay; run again") from None


def _call(call: Callable[[], str], expected: _Expected, root: Path) -> str:
    worker = distributed.get_worker()
    if objection := expected.objection(worker, root):  # of a worker that joined late
        raise ReportError(f"worker {worker.address}: {objection}")
    # Otherwise what a unit calls (scikit-learn, say) would spread over the cluster in its turn.
    with _ending_when_cancelled(worker), joblib.parallel_config(backend="sequential"):
        return call()


@contextmanager
def _ending_when_cancelled(worker: distributed.Worker) -> Iterator[None]:
    """End this process when nobody waits for its unit any more: Dask cannot stop a running task.

    The nanny then starts a fresh process. Where there is no nanny, the unit runs to its end and is stored.
    """
    key, finished = worker.get_current_task(), threading.Event()

    def watch() -> None:
        while not finished.wait(0.5):
            task = worker.state.tasks.get(key)
            unwanted = task is None or task.state == "cancelled"
            if unwanted and not finished.is_set():  # what is finished may be forgotten, too
                _leave(worker)

    if worker.nanny:
        threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        finished.set()


def _leave(worker: distributed.Worker) -> None:
    """End this process; its nanny starts a fresh one."""
    loop = worker.loop.asyncio_loop  # type: ignore[attr-defined]  # tornado's type names the base class only
    with suppress(Exception):  # the scheduler may be gone
        asyncio.run_coroutine_threadsafe(_goodbye(worker), loop).result(GOODBYE_SECONDS)
    os._exit(1)


async def _goodbye(worker: distributed.Worker) -> None:
    """Announce the end: Dask would blame an unexpected one on the units that wait their turn here, too."""
    # Hearing that the scheduler knows it no more, a worker closes, and tells its nanny not to start another one.
    worker.nanny = None
    why = f"unit-cancelled-{time.time()}"
    await worker.scheduler.unregister(address=worker.address, expected=True, close=False, stimulus_id=why)
