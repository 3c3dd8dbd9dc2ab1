"""Chapters executed through papermill into ``_build/run/<profile>/``.

A chapter runs in ``.partial/<chapter>/`` and moves to ``figures/<chapter>/`` only when it is complete, so that a failed
or killed run leaves the earlier one as it was. Sources in ``notebooks/`` and published results are never written.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbclient.exceptions
import nbformat
import papermill
import psutil
import yaml
from filelock import FileLock, Timeout
from papermill.exceptions import PapermillExecutionError, strip_color

from clip_invariance.errors import ReportError, UsageError
from clip_invariance.profiles import get_profile
from clip_invariance.results import (
    NOTEBOOK,
    RunRecord,
    check_files,
    read_results,
    run_folder,
    sha256,
    store_folder,
    swap_folder,
    write_bytes,
    write_json,
)
from clip_invariance.run import progress, provenance
from clip_invariance.run.processes import end_with_parent, variables
from clip_invariance.run.store import KILLED, SCHEDULER

#: So many notebooks may be open at once: one computes, one is drawn.
AT_ONCE = 2
#: A kernel's argument that says whose kernel it is; Jupyter makes nothing of it.
_OUTPUT = "--Execution.output="
#: Parameters that every notebook has and that have options of their own.
RESERVED = {"profile": "--profile", "device": "--device", "seeds": "--seeds", "jobs": "--jobs", "output": None}


@dataclass(frozen=True)
class Options:
    """What a run was asked for; ``extra`` holds ``--set name=value`` as typed.

    ``scheduler`` is a Dask scheduler's address. It says where units run, not what comes out: results do not record it.
    """

    profile: str
    device: str = "auto"
    seeds: int = 0
    jobs: int = 0
    extra: Mapping[str, str] | None = None
    scheduler: str = field(default="", repr=False)


def default_profile() -> str:
    """ "full" where PyTorch finds a GPU, else "quick"."""
    return "full" if provenance.has_cuda() else "quick"


def run_chapters(project: Path, chapters: Mapping[str, Path], options: Options) -> list[Path]:
    """Execute notebooks in turn, each as soon as the units of the one before are computed; returns the results folders.

    A chapter that fails does not stop the next one.

    Raises:
        UsageError: before anything starts, if the profile, the device or a parameter is wrong, a folder is locked or
            the cluster cannot be used.
        ReportError: after the last chapter, in one line per failed chapter.
        KeyboardInterrupt: after the kernels and their workers have ended.
    """
    get_profile(options.profile)
    provenance.resolve_device(options.device)
    if options.seeds < 0 or options.seeds == 1:
        raise UsageError("--seeds: an interval needs at least two seeds (0 for as many as the profile says)")
    if options.jobs < 0:
        raise UsageError("--jobs: give a number of processes, or 0 for one per core")
    extras = {chapter: typed_parameters(path, options.extra or {}) for chapter, path in chapters.items()}
    if options.scheduler:
        from clip_invariance.run import cluster  # imports Dask

        with cluster.connected(options.scheduler, store_folder(project)):
            pass  # a cluster that cannot be used is refused before anything starts
    run = run_folder(project, options.profile)
    failed: list[ReportError] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(variables(_kernel_variables(project, options, stack.enter_context(_ipython_folder()))))
        for chapter in chapters:
            stack.enter_context(_locked(run, chapter))
        show = stack.enter_context(progress.display(len(chapters)))
        waiting = [_Execution(project, run, name, path, options, extras[name]) for name, path in chapters.items()]
        running: list[_Execution] = []
        try:
            while waiting or running:
                if waiting and len(running) < AT_ONCE and all(other.computed for other in running):
                    running.append(waiting.pop(0))
                    running[-1].start()
                    show.start(running[-1].chapter, running[-1].notebook.name)
                time.sleep(0.1)
                for execution in [one for one in running if not one.goes_on(show)]:
                    running.remove(execution)
                    try:
                        show.finish(execution.chapter, execution.finish())
                    except ReportError as error:
                        failed.append(error)
                        show.finish(execution.chapter, f"{execution.chapter}: failed")
        except BaseException:
            _end_kernels()
            for execution in running:
                execution.wait()
            raise
    if failed:
        raise failed[0] if len(failed) == 1 else ReportError("\n".join(str(error) for error in failed))
    return [run / "figures" / chapter for chapter in chapters]


@contextlib.contextmanager
def _ipython_folder() -> Iterator[str]:
    """A folder for IPython of the kernels' own: a user's startup files and settings would change published results.

    Its one startup file lets a kernel end with this process, even after kill -9 and in the middle of a unit.
    """
    with tempfile.TemporaryDirectory(prefix="clip-invariance-", ignore_cleanup_errors=True) as folder:
        startup = Path(folder, "profile_default", "startup")
        startup.mkdir(parents=True)
        module = end_with_parent.__module__
        call = f"__import__({module!r}, fromlist=['']).{end_with_parent.__name__}({os.getpid()})\n"
        (startup / "end_with_parent.py").write_text(call)
        yield folder


def _kernel_variables(project: Path, options: Options, ipython: str) -> dict[str, str]:
    return {
        progress.ENVIRONMENT: "1",
        SCHEDULER: options.scheduler,
        "CLIP_INVARIANCE_PROJECT": str(project),
        "JUPYTER_PREFER_ENV_PATH": "1",  # a kernel "python3" in the home folder must not replace this environment's
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        # multiprocessing's tracker tidies up after a run that was stopped, and need not complain that it had to
        "PYTHONWARNINGS": "ignore:resource_tracker:UserWarning",
        # What a user has set up for sessions of their own: code that is run first, and a backend that wants a screen.
        "IPYTHONDIR": ipython,
        "PYTHONSTARTUP": "",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }


def typed_parameters(notebook: Path, extra: Mapping[str, str]) -> dict[str, Any]:
    """Turn ``name=value`` strings into the types of the notebook's defaults.

    papermill ignores unknown names, so they are checked here.

    Raises:
        UsageError: for an unknown name, one that has its own option, or a value of another type.
        ReportError: if the notebook lacks one of the parameters that every notebook has.
    """
    known = {name: str(field["default"]) for name, field in papermill.inspect_notebook(str(notebook)).items()}
    if absent := sorted(RESERVED.keys() - known.keys()):
        raise ReportError(f"{notebook.name} has no cell tagged `parameters` that sets {', '.join(absent)}")
    typed = {}
    for name, text in extra.items():
        if name in RESERVED:
            raise UsageError(
                f"--set {name}=...: use {RESERVED[name] or 'no such setting; the command line chooses it'}"
            )
        if name not in known:
            raise UsageError(f"{notebook.name} has no parameter {name!r}: it has {', '.join(known)}")
        typed[name] = _typed(name, text, _literal(known[name]))
    return typed


def _literal(source: str) -> object:
    """The default's value; None, which stands for any type, if it is an expression."""
    try:
        return ast.literal_eval(source)
    except (ValueError, SyntaxError):
        return None


def _typed(name: str, text: str, default: object) -> object:
    if isinstance(default, str):
        return text
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if default is not None and type(value) is not type(default):
        raise UsageError(f"--set {name}={text}: expected {type(default).__name__}, such as {default!r}")
    return value


@contextlib.contextmanager
def _locked(run: Path, chapter: str) -> Iterator[None]:
    """Keep a second run out of the chapter's folders. The lock ends with the process that holds it."""
    path = run / ".partial" / f"{chapter}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, blocking=False)
        lock.acquire()
    except Timeout:
        raise UsageError(f"chapter {chapter} is already running at profile {run.name}: wait for that run") from None
    except OSError as error:
        raise UsageError(f"cannot write to {path.parent}: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()


class _Execution:
    """One notebook, executed in a thread of its own, so that the main one can show progress and take Ctrl-C.

    Attributes:
        computed: nothing is left to compute, as far as the notebook has said: what is left is drawing.
    """

    def __init__(
        self, project: Path, run: Path, chapter: str, notebook: Path, options: Options, extra: Mapping[str, Any]
    ) -> None:
        self.project, self.run, self.chapter, self.notebook, self.extra = project, run, chapter, notebook, extra
        self.partial = run / ".partial" / chapter
        self.parameters = {
            "profile": options.profile,
            "device": options.device,
            "seeds": options.seeds,
            "jobs": options.jobs,
            "output": str(self.partial.relative_to(project)),
            **extra,
        }
        self.options, self.computed = options, False
        self._tail = progress.Tail(progress.path_beside(self.partial))
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._error: BaseException | None = None
        self._kept: RunRecord | None = None

    def start(self) -> None:
        """Begin, unless nothing has changed since this was executed last."""
        self._clock = time.monotonic()
        self._digest = _inputs(self.project, self.options, self.extra)
        inputs = self.partial.with_suffix(".inputs")
        if inputs.is_file() and inputs.read_text() == self._digest:
            with contextlib.suppress(ReportError):  # damaged or missing results are made again
                results = read_results(self.run / "figures" / self.chapter)
                check_files(results)
                self._kept = results.run.model_copy(update={"reused": results.run.units})
                return
        shutil.rmtree(self.partial, ignore_errors=True)
        self._tail.path.unlink(missing_ok=True)
        self.partial.mkdir()
        self._thread.start()

    def _work(self) -> None:
        try:
            _execute(self.project, self.notebook, self.partial / NOTEBOOK, self.parameters)
        except BaseException as error:
            self._error = error

    def goes_on(self, show: progress.Display) -> bool:
        """Show what the notebook said since the last look; whether it still runs."""
        alive = self._thread.is_alive()
        lines = self._tail.read() if self._kept is None else []
        self.computed |= any("computed" in line for line in lines)
        show.update(lines)
        return alive

    def wait(self) -> None:
        """For the thread, whose kernel was ended."""
        if self._thread.is_alive():
            self._thread.join(5)

    def finish(self) -> str:
        """Move complete results to their place; returns what to tell about them.

        Raises:
            ReportError, UsageError: if the notebook failed, naming the cell and the error, or left no results.
        """
        record = self._kept or self._record()
        reused = f" ({record.reused} reused)" if record.reused else ""
        return f"{self.chapter}: done, {record.units} units{reused} in {time.monotonic() - self._clock:.0f} s"

    def _record(self) -> RunRecord:
        if self._error is not None:
            _end_kernels(self.partial / NOTEBOOK)
            raise _explained(self._error, self.notebook, self.partial / NOTEBOOK) from self._error
        try:
            read_results(self.partial)
        except ReportError as error:
            raise ReportError(
                f"{self.notebook.name} ended without complete results ({error}): call chapter.finish()"
            ) from None
        _tidy_notebook(self.partial / NOTEBOOK)
        record = _seal(self.partial, self.extra)
        results = self.run / "figures" / self.chapter
        swap_folder(self.partial, results)
        write_bytes(self.run / "notebooks" / self.notebook.name, (results / NOTEBOOK).read_bytes())
        write_bytes(self.partial.with_suffix(".inputs"), self._digest.encode())
        return record


def _inputs(project: Path, options: Options, extra: Mapping[str, Any]) -> str:
    """Digest of all that executing a notebook depends on; while it stays the same, the last execution is kept."""
    digest = hashlib.sha256(repr((options, extra, provenance.environment(), provenance.commit(project))).encode())
    for root, folders, files in os.walk(project):
        folders[:] = sorted(name for name in folders if name not in ("_build", "book", "figures") and name[0] != ".")
        for path in (Path(root, name) for name in sorted(files)):
            if path.suffix in (".py", ".toml", ".ipynb", ".json"):
                digest.update(f"{path}{sha256(path)}".encode())
    return digest.hexdigest()


def _seal(partial: Path, extra: Mapping[str, Any]) -> RunRecord:
    """Add to run.json what the kernel could not know: ``--set`` parameters and the executed notebook's digest."""
    record = read_results(partial).run
    record = record.model_copy(
        update={
            "parameters": {**record.parameters, **extra},
            "files": {**record.files, NOTEBOOK: sha256(partial / NOTEBOOK)},
        }
    )
    write_json(partial / "run.json", record)
    return record


def _execute(project: Path, notebook: Path, output: Path, parameters: Mapping[str, Any]) -> None:
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # it would say in its own words what we say in ours
    papermill.execute_notebook(
        notebook,
        output,
        parameters=dict(parameters),
        kernel_name="python3",
        resources={"metadata": {"path": str(project)}},  # not cwd=, which moves this whole process, other threads too
        progress_bar=False,
        start_timeout=300,  # a busy machine with a cold disk
        extra_arguments=[
            "--log-level=CRITICAL",  # the kernel's notes on transport and shutdown are not for readers
            f"{_OUTPUT}{output}",
        ],
    )


def _explained(error: BaseException, notebook: Path, output: Path) -> ReportError:
    if isinstance(error, PapermillExecutionError):
        message = " ".join(strip_color(str(error.evalue)).split())
        if error.ename == "UsageError":
            return UsageError(f"{notebook.name}: {message}")
        cause = message if error.ename == "ReportError" else f"{error.ename}: {message}"
        return ReportError(f"{notebook.name}, cell {error.cell_index + 1}: {cause} (kept: {output})")
    if isinstance(error, nbclient.exceptions.DeadKernelError):
        return ReportError(f"{notebook.name}: its kernel was killed; {KILLED}")
    return ReportError(f"{notebook.name}: {type(error).__name__}: {' '.join(str(error).split())}")


def _end_kernels(output: Path | None = None) -> None:
    """End the kernel whose notebook is written to ``output``, or all that this process started, with their workers."""
    ours = f"{_OUTPUT}{output or ''}"
    kernels, below = [], []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if any(word.startswith(ours) for word in child.cmdline()):
                kernels.append(child)
                below += [child, *child.children(recursive=True)]
    for kernel in kernels:
        _kill(kernel)
    # its workers notice and end by themselves, and multiprocessing's tracker then tidies up after them
    _, alive = psutil.wait_procs(below, timeout=4)
    for process in alive:
        _kill(process)


def _kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


def _tidy_notebook(path: Path) -> None:
    """Hide the injected parameters on the page; drop papermill's notes and libraries' warnings, which name local paths."""
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.metadata["tags"] = ["injected-parameters", "remove-cell"]
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]  # papermill gives every cell an empty list
    write_bytes(path, nbformat.writes(notebook).encode())  # type: ignore[no-untyped-call]
