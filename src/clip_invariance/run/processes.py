"""Processes on this machine that compute units, one thread each.

On Linux they are copies of one process that has imported what units need, the fork server of ``multiprocessing``:
PyTorch and open_clip are imported once, not once per worker. It has one thread, so that copies are safe. Elsewhere every
worker imports for itself, as is Python's own default there.
"""

from __future__ import annotations

import ctypes
import fcntl
import multiprocessing
import multiprocessing.util
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager

from joblib._parallel_backends import LokyBackend

#: Units share out the cores: a library that spread over all of them would only wait for the others.
_ONE_THREAD = dict.fromkeys(LokyBackend.MAX_NUM_THREADS_VARS, "1")
#: Arrow's allocator would start a thread as soon as it is loaded.
_ONE_THREAD["JE_ARROW_MALLOC_CONF"] = "background_thread:false"
#: A socket's path has at most 104 bytes on some systems; multiprocessing appends 33 to the folder for temporary files.
_LONGEST_FOLDER = 70
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


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
    _choose_socket_folder()
    with variables(_ONE_THREAD):
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
def variables(more: Mapping[str, str]) -> Iterator[None]:
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


def end_with_parent(parent: int) -> None:
    """Let Linux kill this process as soon as its parent is gone, whatever it computes; for others it only looks now.

    Threads that watch a parent wait for their turn, and a call into a library may keep it for minutes.

    Args:
        parent: the process that the caller takes for its parent. If that has ended already, so does this one.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(1)


def _choose_socket_folder() -> None:
    """Where the folder for temporary files has too long a name for sockets, put them elsewhere, for all of this process."""
    if len(os.fsencode(tempfile.gettempdir())) <= _LONGEST_FOLDER:
        return
    before, tempfile.tempdir = tempfile.tempdir, "/tmp"
    try:
        multiprocessing.util.get_temp_dir()  # made when it is first asked for, and then kept
    finally:
        tempfile.tempdir = before


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
    if sys.platform == "linux":
        _end_when_closed(int(parent.sentinel))


def _end_when_closed(pipe: int) -> None:
    """Let Linux end this process when the other end of a pipe is closed, whatever this one computes.

    Its parent, in the system's eyes, is a fork server, which outlives the process that has started it.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)  # ends the process
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
