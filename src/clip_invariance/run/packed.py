"""Finished units carried between machines: packed into a few files, merged into another store.

A packed store is a folder of zip archives ``units-<n>.zip``. Each holds ``index.json``, the SHA-256 of every file in
it, and of every unit ``<key>/meta.json`` and ``<key>/table.parquet``, as the store has them. Nothing is compressed
(tables are already), so that an archive is never larger unpacked. Merging reads what the index names, under names that
it makes itself: no path of an archive is ever used, and nothing in it is run.

A merged unit is used where its key is asked for: by the same source, parameters and versions.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Literal

import pyarrow as pa
import pyarrow.parquet
from pydantic import Field, StringConstraints, ValidationError

from clip_invariance.errors import ReportError, UsageError, printable
from clip_invariance.results import Digest, Record, sha256, to_json
from clip_invariance.run.store import Store, checked_meta

#: Bytes of a megabyte as ``--most-mb`` counts them.
MB = 1_000_000
META, TABLE, INDEX = "meta.json", "table.parquet", "index.json"
_KEY = re.compile(r"[0-9a-f]{64}")
_ARCHIVES = "units-*.zip"
#: What an archive spends on a unit besides its two files: their names and lengths, and its lines of the index.
_PER_UNIT = 1000
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same units make the same bytes
#: Largest index and largest meta.json that are read.
_MAX_INDEX, _MAX_META = 100 * MB, MB
_CHUNK = 2**20

Key = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Digests(Record):
    meta: Digest
    table: Digest


class _Index(Record):
    schema_version: Literal[1] = Field(alias="schema")
    units: dict[Key, _Digests]


# ---------------------------------------------------------------- packing


@dataclass(frozen=True)
class Packed:
    """What was packed into which files, and how many units found no room."""

    files: tuple[Path, ...]
    units: int
    left_out: int


def pack(store: Store, target: Path, most_files: int, most_mb: float, note: Callable[[str], None]) -> Packed:
    """Write all sound units of a store to ``units-1.zip``, ``units-2.zip``, ... in a folder.

    Where room is short, small units come first: those are results, which a run needs; large ones are trained weights,
    which it needs only to measure anew.

    Args:
        most_files: at most so many files; 0 for any number.
        most_mb: at most so many megabytes in each; 0 for all in one file.
        note: is told of damaged units, which are left out.

    Raises:
        UsageError: for negative limits, or if the folder holds packed units already.
        ReportError: if there is nothing to pack.
    """
    if most_files < 0 or most_mb < 0:
        raise UsageError("--most-files and --most-mb: give positive numbers, or 0 for no limit")
    if any(target.glob(_ARCHIVES)):
        raise UsageError(f"{printable(target)} holds packed units already: choose another folder")
    sizes = {
        folder: sum((folder / name).stat().st_size for name in (META, TABLE)) + _PER_UNIT
        for folder in sorted(store.root.glob("[0-9a-f][0-9a-f]/*"))
        if _KEY.fullmatch(folder.name) and _sound(store.folder(folder.name), note)
    }
    if not sizes:
        raise ReportError(f"{printable(store.root)} holds no finished units: run something first")
    groups, left_out = _groups(sizes, most_files, most_mb * MB)
    target.mkdir(parents=True, exist_ok=True)
    files = [target / f"units-{number}.zip" for number, _ in enumerate(groups, start=1)]
    for path, folders in zip(files, groups, strict=True):
        _write(path, folders)
    return Packed(tuple(files), sum(map(len, groups)), left_out)


def _groups(sizes: dict[Path, int], most_files: int, most_bytes: float) -> tuple[list[list[Path]], int]:
    """Units by archive, small ones first, and how many have no room."""
    groups: list[list[Path]] = [[]]
    filled = _PER_UNIT  # the archive's own directory
    for folder in sorted(sizes, key=lambda folder: (sizes[folder], folder)):
        if most_bytes and groups[-1] and filled + sizes[folder] > most_bytes:
            groups.append([])
            filled = _PER_UNIT
        if (most_bytes and filled + sizes[folder] > most_bytes) or (most_files and len(groups) > most_files):
            break  # all that follow are at least as large
        groups[-1].append(folder)
        filled += sizes[folder]
    groups = [group for group in groups if group]
    return groups, len(sizes) - sum(map(len, groups))


def _sound(folder: Path, note: Callable[[str], None]) -> bool:
    try:
        _check(folder, folder.name)
    except (OSError, ValueError, KeyError) as error:
        note(f"stored result {folder.name[:12]} is damaged ({printable(error)}) and is left out")
        return False
    return True


def _check(folder: Path, key: str) -> None:
    """Hold a unit against its own record.

    Raises:
        ValueError, KeyError, OSError: saying what is wrong with it.
    """
    if (folder / META).stat().st_size > _MAX_META:
        raise ValueError("meta.json is too large")
    meta = checked_meta((folder / META).read_bytes(), key)
    if meta["sha256"] != sha256(folder / TABLE):
        raise ValueError("the table is not the one that was stored")


def _write(path: Path, folders: Sequence[Path]) -> None:
    """One archive, all or nothing."""
    index = {"schema": 1, "units": {f.name: {"meta": sha256(f / META), "table": sha256(f / TABLE)} for f in folders}}
    new = path.with_name(f".{path.name}.new")
    try:
        with zipfile.ZipFile(new, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(zipfile.ZipInfo(INDEX, _EPOCH), to_json(index))
            for folder in folders:
                for name in (META, TABLE):
                    info = zipfile.ZipInfo(f"{folder.name}/{name}", _EPOCH)
                    info.file_size = (folder / name).stat().st_size
                    with (folder / name).open("rb") as source, archive.open(info, "w") as member:
                        shutil.copyfileobj(source, member, _CHUNK)
        new.replace(path)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        new.unlink(missing_ok=True)


# ---------------------------------------------------------------- merging


@dataclass(frozen=True)
class Merged:
    """How many units came new into the store, and how many were there already."""

    new: int
    known: int


def merge(store: Store, paths: Sequence[Path]) -> Merged:
    """Take the units of packed stores into a store, as they are: device, versions and times stay.

    Everything is checked before anything is taken. A unit that the store has already is left as it is, unless that one is
    damaged.

    Args:
        paths: archives, or folders of them.

    Raises:
        UsageError: if there is no archive.
        ReportError: naming the first archive, and unit, that is damaged or is not what packing leaves.
    """
    archives = [archive for path in paths for archive in _archives(path)]
    store.root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=store.root, prefix=".tmp-", ignore_cleanup_errors=True) as temporary:
        found: dict[str, Path] = {}
        for number, path in enumerate(archives):
            folder = Path(temporary, str(number))
            folder.mkdir()
            found |= {key: folder / key for key in _unpacked(path, folder)}
        for key in found:
            store.folder(key)  # refuses links
        new = [key for key in found if _take(store, key, found[key])]
    return Merged(len(new), len(found) - len(new))


def _archives(path: Path) -> list[Path]:
    found = sorted(path.glob(_ARCHIVES)) if path.is_dir() else [path]
    if not found or not path.exists():
        raise UsageError(f"{printable(path)}: no packed units are there ({_ARCHIVES})")
    return found


def _unpacked(path: Path, folder: Path) -> Iterator[str]:
    """Keys of an archive's units, each written to a folder of its own and held against its digests.

    Raises:
        ReportError: if the archive is damaged or holds anything else.
    """
    shown = printable(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive)
            index = _Index.model_validate_json(_content(archive, members.pop(INDEX), _MAX_INDEX))
            names = {f"{key}/{name}" for key in index.units for name in (META, TABLE)}
            if odd := sorted(names ^ members.keys()):
                raise ValueError(f"{printable(odd[0], 80)} is in the index or in the archive, but not in both")
            for key, digests in index.units.items():
                new = folder / key
                new.mkdir()
                for name, digest in ((META, digests.meta), (TABLE, digests.table)):
                    if _extract(archive, members[f"{key}/{name}"], new / name) != digest:
                        raise ValueError(f"{name} of unit {key[:12]} is not what was packed")
                _check(new, key)
                _check_table(new / TABLE)
                yield key
    except ValidationError as error:
        raise ReportError(f"{shown}: {INDEX}: {printable(error.errors()[0]['msg'].lower())}") from None
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, NotImplementedError, RuntimeError) as error:
        raise ReportError(f"{shown} is damaged or no packed store ({printable(error)}): copy it again") from None


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """What is in an archive by name.

    Raises:
        ValueError: if something is there twice, or compressed, or encrypted.
    """
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        if member.filename in members:
            raise ValueError(f"{printable(member.filename, 80)} is there twice")
        if (
            member.compress_type != zipfile.ZIP_STORED
            or member.file_size != member.compress_size
            or member.flag_bits & 1
        ):
            raise ValueError(f"{printable(member.filename, 80)} is compressed or encrypted")
        members[member.filename] = member
    return members


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> bytes:
    if member.file_size > most:
        raise ValueError(f"{member.filename} is too large")
    return archive.read(member)


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> str:
    """Write a member to a file; returns its SHA-256."""
    digest = hashlib.sha256()
    source: IO[bytes]
    with archive.open(member) as source, path.open("wb") as file:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _check_table(path: Path) -> None:
    """Refuse what is no plain table: tables of ours have no types that a library would have to be loaded for.

    Raises:
        ValueError: saying so.
    """
    try:
        schema = pa.parquet.read_schema(path)
    except (pa.ArrowInvalid, OSError):
        raise ValueError("a table cannot be read") from None
    if any(isinstance(field.type, pa.BaseExtensionType) for field in schema):
        raise ValueError("a table holds values of a type of its own")


def _take(store: Store, key: str, new: Path) -> bool:
    """Move a unit into the store, unless a sound one is there; whether it was moved."""
    folder = store.folder(key)
    if folder.exists():
        if _sound(folder, lambda _: None):
            return False
        shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        new.rename(folder)
    except OSError:
        if not folder.exists():  # otherwise a run finished the same unit meanwhile: keep that one
            raise
        return False
    return True
