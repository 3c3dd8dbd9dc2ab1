"""Units of work, each run at most once.

A finished unit lies at ``<root>/<key[:2]>/<key>/{table.parquet,meta.json}``. The key covers its parameters, the source
of every module that its function's module imports from the package, and the installed versions, so that an edited
module repeats exactly the units that depend on it. Whoever computes a unit stores it, atomically: a killed run loses
the units in flight and nothing else.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.util
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import grimp
import pandas as pd

from clip_invariance.errors import ReportError, UsageError, printable
from clip_invariance.results import sha256, to_json
from clip_invariance.run.processes import processes
from clip_invariance.run.provenance import device_name, environment, now, peak_memory_mb
from clip_invariance.units import Unit, label, plain

PACKAGE = "clip_invariance"
#: What trains several units at once on a GPU, and the units that it may train: their keys cover its source there.
TOGETHER = f"{PACKAGE}.chapters.together"
TRAINED_TOGETHER = ("chapters.c3_captions.policies.training.train", "chapters.c4_dashcam.training.train")
#: Environment variable with the address of a Dask scheduler, by which the command line tells the notebook's kernel.
SCHEDULER = "CLIP_INVARIANCE_SCHEDULER"
#: Why processes are killed that nobody has killed, and what to do.
KILLED = "mostly, memory ran out. Finished units stay: run again, with fewer --jobs"
#: A network file system may show a file that another machine wrote this late (NFS remembers absence up to a minute).
LATE_SECONDS = 60.0


# ---------------------------------------------------------------- keys


class Source(NamedTuple):
    """A module that a unit depends on, and the SHA-256 of its file."""

    module: str
    path: Path
    digest: str


#: The package as this process imported it. A notebook kernel outlives edits, and would file old code's results as new.
_AT_START = {path: sha256(path) for path in Path(__file__).parents[1].rglob("*.py")}


def sources(module: str) -> list[Source]:
    """The module and everything it imports, directly or not, from its own package and from this one.

    Raises:
        UsageError: if the module is not part of an importable package (a function typed into a notebook, say).
    """
    package = module.partition(".")[0]
    spec = importlib.util.find_spec(package) if package != "__main__" else None
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(f"units must be functions of an installed package, but {module} is not in one")
    graph = grimp.build_graph(package, *({PACKAGE} - {package}), cache_dir=None)
    todo, closure = [module], set[str]()
    while todo:
        name = todo.pop()
        if name in closure:
            continue
        closure.add(name)
        todo += graph.find_modules_directly_imported_by(name)
        if "." in name:  # importing a.b runs a/__init__.py
            todo.append(name.rpartition(".")[0])
    files = [(name, path) for name in sorted(closure) if (path := _file(name)) is not None]
    # Data that a module may read lies beside it: the configurations of the small CLIPs.
    beside = {data: f"{name}:{data.name}" for name, path in files for data in sorted(path.parent.glob("*.json"))}
    files += [(name, path) for path, name in beside.items()]
    return [Source(name, path, sha256(path)) for name, path in files]


def _file(module: str) -> Path | None:
    root, *rest = module.split(".")
    spec = importlib.util.find_spec(root)
    assert spec is not None
    assert spec.submodule_search_locations
    path = Path(spec.submodule_search_locations[0], *rest)
    candidates = (path.with_suffix(".py"), path / "__init__.py") if rest else (path / "__init__.py",)
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def unit_key(
    unit: Unit, depends_on: Sequence[Source], environment: Mapping[str, str], needs: Mapping[str, str] | None = None
) -> str:
    """SHA-256 over all that a unit's result depends on, the keys of the units that it needs included.

    Raises:
        UsageError: if a parameter is not JSON-like.
    """
    content = {
        "unit": unit.name,
        "params": {name: plain(value) for name, value in unit.params.items()},
        "sources": {source.module: source.digest for source in depends_on},
        "environment": dict(environment),
        "needs": dict(needs or {}),
    }
    try:
        return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()
    except (TypeError, ValueError) as error:
        raise UsageError(f"{describe(unit)}: parameters must be JSON-like ({error})") from None


def describe(unit: Unit) -> str:
    """``chapters.c1_places.training.train(seed=0, length=1.0)``, for messages."""
    return f"{unit.name}({', '.join(f'{name}={label(value)!r}' for name, value in unit.params.items())})"


def _check_unchanged(depends_on: Sequence[Source]) -> None:
    for source in depends_on:
        if sha256(source.path) != source.digest or _AT_START.get(source.path, source.digest) != source.digest:
            raise ReportError(
                f"{source.path.name} was edited while this ran: start the run (the kernel, the workers) again"
            )


# ---------------------------------------------------------------- entries


@dataclass(frozen=True)
class Entry:
    """A finished unit.

    Attributes:
        table: what its function returned, parameters not included.
        seconds: wall time of that call.
        peak_memory_mb: see :func:`provenance.peak_memory_mb`.
        device_name: what computed it, perhaps of another machine (see :mod:`packed`).
    """

    key: str
    table: pd.DataFrame
    seconds: float
    peak_memory_mb: float
    device_name: str = ""

    def without_rows(self) -> Entry:
        """What it cost. Tables of trainings hold weights, more than a process should keep that only counts them."""
        return replace(self, table=self.table.iloc[:0].copy())


class Store:
    """A folder of finished units. Several processes may use it at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, key: str) -> Path:
        """Where a unit lies, or would.

        Raises:
            ReportError: if a link there leads elsewhere: what is damaged is removed, which may only be the store's own.
        """
        folder = self.root / key[:2] / key
        for path in (folder.parent, folder):
            if path.is_symlink():
                raise ReportError(f"{printable(path)} is a link, which a store may not hold: remove it")
        return folder

    def load(self, key: str, note: Callable[[str], None]) -> Entry | None:
        """The entry, or None if there is none. A damaged one is noted in one line and removed."""
        folder = self.folder(key)
        if not folder.exists():
            return None
        try:
            meta = checked_meta((folder / "meta.json").read_bytes(), key)
            if sha256(folder / "table.parquet") != meta["sha256"]:
                raise ValueError("the table is not the one that was stored")
            table = pd.read_parquet(folder / "table.parquet")
            costs = float(meta["wall_seconds"]), float(meta["peak_memory_mb"])
            return Entry(key, table, *costs, str(meta["device_name"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            note(f"stored result {key[:12]} is damaged ({printable(error)}) and is computed again")
            shutil.rmtree(folder, ignore_errors=True)
            return None

    def save(self, key: str, unit: Unit, table: pd.DataFrame, seconds: float) -> None:
        """Keep a finished unit: written beside its place, then renamed."""
        folder = self.folder(key)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".tmp-", ignore_cleanup_errors=True) as temporary:
            new = Path(temporary) / "entry"
            new.mkdir()
            table.to_parquet(new / "table.parquet", index=False)
            device = str(unit.params.get("device", "cpu"))
            meta = {
                "key": key,
                "unit": unit.name,
                "params": {name: plain(value) for name, value in unit.params.items()},
                "wall_seconds": round(seconds, 3),
                "peak_memory_mb": peak_memory_mb(),
                "device": device,
                "device_name": device_name(device),
                "versions": environment(),
                "created": now(),
                "sha256": sha256(new / "table.parquet"),
            }
            (new / "meta.json").write_bytes(to_json(meta | {"digest": _digest(meta)}))
            try:
                new.rename(folder)
            except OSError:
                if not folder.exists():  # otherwise another process finished the same unit first: keep that one
                    raise


def checked_meta(content: bytes, key: str) -> dict[str, Any]:
    """What ``meta.json`` of a unit says, if it is whole and this unit's. Those of before it held key and digest pass.

    Raises:
        ValueError: if it is not.
    """
    meta = json.loads(content)
    if not isinstance(meta, dict):
        raise ValueError("meta.json is no record")
    if meta.get("key", key) != key:
        raise ValueError("it is another unit's")
    rest = {name: field for name, field in meta.items() if name != "digest"}
    if meta.get("digest", digest := _digest(rest)) != digest:
        raise ValueError("meta.json is not the one that was stored")
    return meta


def _digest(meta: Mapping[str, Any]) -> str:
    return hashlib.sha256(to_json(meta)).hexdigest()


# ---------------------------------------------------------------- running


#: Libraries that functions of these modules import when they are called: whoever has the modules imported in advance
#: should have them imported, too. An optimiser imports torch._dynamo.
_LATER = {
    f"{PACKAGE}.models.convnets": "timm",
    f"{PACKAGE}.models.clip": "open_clip",
    f"{PACKAGE}.training.tuning": "peft",
    f"{PACKAGE}.training.loop": "torch._dynamo",
    f"{PACKAGE}.training.supervised": "torch._dynamo",
}
#: Largest block that a process keeps; glibc takes no larger number.
KEPT_BYTES = 32 * 2**20


class Progress:
    """What :func:`run_units` tells its caller; the base class keeps quiet."""

    def add(self, units: int, reused: int) -> None:
        """So many units are wanted, so many of them were already stored."""

    def done(self, unit: Unit, seconds: float) -> None:
        """One unit was computed."""

    def note(self, message: str) -> None:
        """Something a reader should know, in one line."""

    def computed(self) -> None:
        """Nothing is left to compute."""


class _Job(NamedTuple):
    """A unit with its key, what that key covers, and the keys of the units that it needs."""

    unit: Unit
    key: str
    depends_on: Sequence[Source]
    needs: dict[str, _Job]


def run_units(
    units: Sequence[Unit],
    store: Store,
    environment: Mapping[str, str],
    jobs: int,
    progress: Progress,
    scheduler: str = "",
) -> tuple[list[Entry], list[Entry], int]:
    """Run what is not stored yet, and the units that it needs before it.

    On CPU, units run in ``jobs`` processes with one thread each, so that results do not depend on ``jobs``, each as soon
    as what it needs is there; with one job in turn in this process. On a GPU they run in turn here, but trainings of one
    architecture at once; with the address of a Dask ``scheduler``, on its workers instead (see :mod:`cluster`). Equal
    units run once.

    Returns:
        all entries in the order of ``units``; the entries of the units that these need, without rows; how many were
        reused.

    Raises:
        UsageError: if a unit cannot be run anywhere else (see :func:`sources`, :func:`unit_key`), or the cluster
            cannot be used.
        ReportError: if a unit failed, naming it. Those that finished before stay stored.
    """
    closures: dict[str, list[Source]] = {}
    wanted = [_job(unit, closures, environment) for unit in units]
    for closure in closures.values():
        _check_unchanged(closure)
    keys = [job.key for job in wanted]
    entries, reused = _run_jobs(wanted, set(keys), store, jobs, progress, scheduler)
    return [entries[key] for key in keys], [entries[key] for key in entries.keys() - set(keys)], reused


def _job(unit: Unit, closures: dict[str, list[Source]], environment: Mapping[str, str]) -> _Job:
    needs = {name: _job(need, closures, environment) for name, need in unit.needs.items()}
    modules = [unit.function.__module__, *([TOGETHER] if _on_gpu(unit) and unit.name in TRAINED_TOGETHER else [])]
    for module in modules:
        if module not in closures:
            closures[module] = sources(module)
    depends_on = list(dict.fromkeys(source for module in modules for source in closures[module]))
    key = unit_key(unit, depends_on, environment, {name: need.key for name, need in needs.items()})
    return _Job(unit, key, depends_on, needs)


def _run_jobs(
    wanted: Sequence[_Job], shown: Set[str], store: Store, jobs: int, progress: Progress, scheduler: str
) -> tuple[dict[str, Entry], int]:
    """Entries by key, those of needed units included, and how many of them were stored before.

    Only the keys in ``shown`` get their rows.
    """

    def kept(entry: Entry) -> Entry:
        return entry if entry.key in shown else entry.without_rows()

    entries: dict[str, Entry] = {}
    levels = [{job.key: job for job in wanted}]  # each level holds what the one before it needs
    while levels[-1]:
        for key in levels[-1].keys() - entries.keys():
            if (entry := store.load(key, progress.note)) is not None:
                entries[key] = kept(entry)
        levels.append(
            {
                need.key: need
                for job in levels[-1].values()
                for need in job.needs.values()
                if job.key not in entries or store.folder(need.key).exists()  # what nobody waits for is not repeated
            }
        )
    order = {key: job for level in reversed(levels) for key, job in level.items()}
    reused = len(entries)
    progress.add(len(order), reused)
    missing = [job for key, job in order.items() if key not in entries]
    for key in _computed(missing, store, jobs, scheduler):
        entry = _stored(store, key, progress.note)
        if entry is None:
            raise ReportError(f"{describe(order[key].unit)}: its stored result could not be read back: check the disk")
        entries[key] = kept(entry)
        progress.done(order[key].unit, entry.seconds)
    return entries, reused


def _computed(missing: Sequence[_Job], store: Store, jobs: int, scheduler: str) -> Iterator[str]:
    """Keys of the jobs, as they are done; what a job needs comes before it in ``missing``, or is stored."""
    if scheduler:
        from clip_invariance.run import cluster  # imports Dask

        for level in _levels(missing):
            calls = [functools.partial(_compute, job, store) for job in level]
            yield from cluster.spread(calls, scheduler, store.root)
    elif any(_on_gpu(job.unit) for job in missing):
        for level in _levels(missing):
            yield from _in_groups(level, store)
    elif (workers := min(jobs, len(missing))) > 1:
        yield from _in_processes(missing, store, workers)
    else:
        for job in missing:
            yield _compute(job, store)


def _levels(missing: Sequence[_Job]) -> list[list[_Job]]:
    """The jobs in groups, each of which needs only groups before it."""
    depth: dict[str, int] = {}
    levels: list[list[_Job]] = []
    for job in missing:  # a need that is stored has no depth
        depth[job.key] = 1 + max((depth.get(need.key, -1) for need in job.needs.values()), default=-1)
        if depth[job.key] == len(levels):
            levels.append([])
        levels[depth[job.key]].append(job)
    return levels


def _on_gpu(unit: Unit) -> bool:
    return str(unit.params.get("device")).startswith("cuda")


def _in_groups(missing: Sequence[_Job], store: Store) -> Iterator[str]:
    """On a GPU: trainings of one architecture at once, all else in turn."""
    from clip_invariance.chapters import together  # imports PyTorch

    for numbers in together.groups([job.unit for job in missing]):
        group = [missing[number] for number in numbers]
        if len(group) == 1:
            yield _compute(group[0], store)
        else:
            yield from _compute_together(group, store)


def _compute_together(group: Sequence[_Job], store: Store) -> Iterator[str]:
    """Run units of one group here and store each; each is said to have taken its share of the time."""
    from clip_invariance.chapters import together

    start = time.perf_counter()
    try:
        tables = together.train([job.unit for job in group])
        seconds = (time.perf_counter() - start) / len(group)
        for job, table in zip(group, tables, strict=True):
            _check_unchanged(job.depends_on)
            store.save(job.key, job.unit, table, seconds)
    except ReportError:
        raise
    except Exception as error:
        more = f" and {len(group) - 1} trained with it"
        raise ReportError(f"{describe(group[0].unit)}{more} failed: {type(error).__name__}: {error}") from error
    yield from (job.key for job in group)


def _in_processes(missing: Sequence[_Job], store: Store, workers: int) -> Iterator[str]:
    """Each job as soon as a process is free and what it needs is there, in their order otherwise."""
    waiting, lacking = list(missing), {job.key for job in missing}
    running: dict[Future[str], _Job] = {}
    ended: set[Future[str]] = set()
    try:
        with processes(workers, _imports(missing)) as executor:
            while waiting or running or ended:
                ready = [job for job in waiting if lacking.isdisjoint(need.key for need in job.needs.values())]
                for job in ready[: workers - len(running)]:
                    waiting.remove(job)
                    running[executor.submit(_compute, job, store)] = job
                yield from (future.result() for future in ended)  # while the next ones run
                ended = wait(running, return_when=FIRST_COMPLETED).done if running else set()
                lacking -= {running.pop(future).key for future in ended}
    except BrokenProcessPool:
        raise ReportError(f"a process that computed units was killed; {KILLED}") from None


def _imports(jobs: Sequence[_Job]) -> list[str]:
    """What the units' source imports: this module, those of this package that their keys cover, and :data:`_LATER`.

    Of no other package: what it was at its import would be run, while keys cover what it is now.
    """
    covered = {source.module for job in jobs for source in job.depends_on if ":" not in source.module}
    ours = {module for module in covered if module.partition(".")[0] == PACKAGE}
    return sorted({__name__, *ours, *(library for module, library in _LATER.items() if module in ours)})


def _compute(job: _Job, store: Store) -> str:
    """Run one unit here and store it, unless somebody did meanwhile. Returns the key."""
    if store.folder(job.key).exists():  # by another run, or by a worker that died before it could say so
        return job.key
    _check_unchanged(job.depends_on)  # a worker of a cluster may have been started long before
    keep_freed_memory()
    unit, start = job.unit, time.perf_counter()
    try:
        tables = {name: _needed(need, store) for name, need in job.needs.items()}
        with _threads(None if _on_gpu(unit) else 1):
            table = unit.function(**tables, **unit.params)
        seconds = time.perf_counter() - start
        if not isinstance(table, pd.DataFrame) or table.empty:
            raise ValueError("it must return a table with at least one row")
        _check_unchanged(job.depends_on)
        store.save(job.key, unit, table, seconds)
    except ReportError:
        raise
    except Exception as error:
        raise ReportError(f"{describe(unit)} failed: {type(error).__name__}: {error}") from error
    finally:
        give_back_freed_memory()
    return job.key


def _needed(need: _Job, store: Store) -> pd.DataFrame:
    entry = _stored(store, need.key, lambda message: None)
    if entry is None:
        raise ReportError(f"{describe(need.unit)}: its stored result was lost while this ran: run again")
    return entry.table


def _stored(store: Store, key: str, note: Callable[[str], None]) -> Entry | None:
    """The entry of a unit that is done, perhaps on another machine."""
    folder, end = store.folder(key), time.monotonic() + LATE_SECONDS
    while not folder.exists() and time.monotonic() < end:
        for above in (store.root, folder.parent):  # listing a folder makes a network file system ask its server
            if above.is_dir():
                os.listdir(above)
        time.sleep(0.1)
    return store.load(key, note)


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """Limit PyTorch's threads: sums over more threads round differently. Does not import torch for it."""
    torch = sys.modules.get("torch")
    if torch is None or number is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@functools.cache
def keep_freed_memory() -> None:
    """Let glibc keep what PyTorch frees: a training step asks for the same large blocks again.

    By default each goes back to the system and returns page by page, filled with zeros: up to a fifth of a step on a CPU.
    Blocks above ``KEPT_BYTES`` still go back: what is needed once should not stay. Elsewhere than on glibc this does
    nothing.
    """
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # malloc.h
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(mmap_threshold, KEPT_BYTES)
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(top_pad, 64 * 2**20)


def give_back_freed_memory() -> None:
    """Let glibc give back what :func:`keep_freed_memory` made it keep: the next unit asks for blocks of other sizes."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
