"""Processes on this machine that compute units, one thread each.

On Linux they are copies of one process that has imported what units need, the fork server of ``multiprocessing``:
PyTorch and open_clip are imported once, not once per worker. It has one thread, so that copies are safe. Elsewhere every
worker imports for itself, as is Python's own default there.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager

from joblib._parallel_backends import LokyBackend

#: Units share out the cores: a library that spread over all of them would only wait for the others.
_ONE_THREAD = dict.fromkeys(LokyBackend.MAX_NUM_THREADS_VARS, "1")
#: Arrow's allocator would start a thread as soon as it is loaded.
_ONE_THREAD["JE_ARROW_MALLOC_CONF"] = "background_thread:false"


@contextmanager
def processes(number: int, imported: Sequence[str] = ()) -> Iterator[Executor]:
    """An executor with so many processes. They end with the context, at once if an exception ends it.

    Args:
        number: at least one; each starts when there is work for it.
        imported: modules that the fork server imports when it starts, which is for the first context of this process.
            What later contexts need beyond that, every worker imports for itself.
    """
    context = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
    context.set_forkserver_preload(list(imported))
    others = set(multiprocessing.active_children())
    with _environment(_ONE_THREAD):
        executor = ProcessPoolExecutor(number, context, initializer=_begin, initargs=(dict(os.environ),))
        try:
            yield executor
        except BaseException:  # of a unit, of a worker that was killed, or Ctrl-C
            for worker in set(multiprocessing.active_children()) - others:
                worker.kill()
            raise
        finally:
            executor.shutdown(cancel_futures=True)


@contextmanager
def _environment(more: Mapping[str, str]) -> Iterator[None]:
    """Further variables for processes that start meanwhile: libraries read them when they are imported."""
    before = {name: os.environ.get(name) for name in more}
    os.environ |= more
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _begin(environment: Mapping[str, str]) -> None:
    """Make a worker's environment its parent's, leave Ctrl-C to the parent, and end with it, even after kill -9."""
    os.environ.clear()  # a fork server's is of the time when that started
    os.environ |= environment
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
