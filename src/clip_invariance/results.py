"""Where results lie, and the files in them: read with distrust, written all or nothing.

A results folder belongs to one chapter. It holds figures and tables (``<name>.svg``, ``<name>.dark.svg``,
``<name>.csv`` and the sidecar ``<name>.json``), the numbers that prose quotes (``values.json``), the executed
``notebook.ipynb`` and ``run.json``, which lists the SHA-256 of every other file and is written last: a folder without
it is incomplete.

The folder may come from a stranger (``clip-invariance verify --from``), so that readers check every field and follow no
link. What is in the files that are not records is checked in :mod:`clip_invariance.report.boundary`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from clip_invariance.errors import ReportError, UsageError, printable
from clip_invariance.measure.statistics import Kind
from clip_invariance.profiles import PROFILES, get_profile

PUBLISHED = "published"
NOTEBOOK = "notebook.ipynb"
#: Largest record that is read; published ones take less than a hundredth of it.
MAX_RECORD_BYTES = 10_000_000
#: Largest file of a run that is read; the largest published one takes a tenth of it.
MAX_FILE_BYTES = 20_000_000
#: Decimals that a value may be printed with.
MAX_DIGITS = 6

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$", max_length=80)]
ChapterId = Annotated[str, StringConstraints(pattern=r"^[0-9]{2}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+(\.dark)?\.(svg|csv|json|ipynb)$", max_length=100)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
#: One line of text: no control characters, no separators of lines, nothing that turns the direction of writing.
LINE = r"^[^\p{Cc}\p{Zl}\p{Zp}\x{061C}\x{200E}\x{200F}\x{202A}-\x{202E}\x{2066}-\x{2069}]*$"
Text = Annotated[str, StringConstraints(pattern=LINE, max_length=2000)]
Commit = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{7,64}|unknown|)$")]
Moment = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{1,20}(Z|[+-][0-9:]{4,6})?$")]
NotebookPath = Annotated[str, StringConstraints(pattern=r"^notebooks/[0-9]{2}_[A-Za-z0-9_]{1,80}\.ipynb$")]
Device = Annotated[str, StringConstraints(pattern=r"^[a-z0-9:]{1,20}$")]
Versions = Annotated[dict[Text, Text], Field(max_length=200)]
Parameter = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=80)]
ProfileName = Literal["smoke", "quick", "standard", "full"]
Seconds = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0, le=10**12)]
Pixels = Annotated[int, Field(ge=0, le=10_000)]


class Record(BaseModel):
    """Exactly these fields, exactly these types, finite numbers only."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class Value(Record):
    """One number that prose may quote.

    Attributes:
        value, low, high: the mean over ``n`` seeds and its 95 % interval, in ``unit``.
        n: how many seeds; 0 for what has none, as a published model, and is the same in every run.
        spread: standard deviation over seeds.
        digits: decimals to print.
        tolerance: how far a re-run's value may lie from this one.
        figure: the figure or table that shows it, or "".
        samples: the ``n`` numbers behind the mean, by seed; empty in results of before they were recorded.
        kind: what the number is (:data:`measure.statistics.Kind`); results of before it was recorded say "number".
    """

    value: float
    low: float
    high: float
    n: Annotated[int, Field(ge=0)]
    spread: Annotated[float, Field(ge=0)]
    unit: Annotated[str, StringConstraints(pattern=LINE, max_length=30)]
    digits: Annotated[int, Field(ge=0, le=MAX_DIGITS)]
    tolerance: Annotated[float, Field(ge=0)]
    figure: Name | Literal[""]
    description: Text
    samples: tuple[float, ...] = ()
    kind: Kind = "number"

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError("low lies above high")
        rounding = 1e-6 * max(1.0, abs(self.value))
        if not self.low - rounding <= self.value <= self.high + rounding:
            raise ValueError("value lies outside its own interval")
        if len(self.samples) not in (0, self.n):
            raise ValueError(f"{len(self.samples)} samples are not one for each of {self.n} seeds")
        return self


class ChapterValues(Record):
    """``values.json``: every quotable number of a chapter by name."""

    schema_version: Literal[1] = Field(alias="schema")
    chapter: ChapterId
    profile: ProfileName
    values: Annotated[dict[Name, Value], Field(max_length=10_000)]


class Sidecar(Record):
    """``<figure>.json``: what a figure or table shows and how it came to be.

    ``values`` is the kind of number in the column ``value`` of its table; None if it holds several, or did not say.
    """

    name: Name
    title: Text
    alt: Text
    chapter: ChapterId
    notebook: NotebookPath
    experiment: Text
    kind: Literal["figure", "table"]
    profile: ProfileName
    seeds: Count
    device: Device
    device_name: Text
    versions: Versions
    commit: Commit
    dirty: bool
    key: Digest
    units: Count
    compute_seconds: Seconds
    wall_seconds: Seconds
    peak_memory_mb: Annotated[float, Field(ge=0)]
    width_px: Pixels
    height_px: Pixels
    created: Moment
    attribution: Annotated[list[Text], Field(max_length=100)]
    values: Kind | None = None


class RunRecord(Record):
    """``run.json``: a finished run of one chapter. ``rules`` is :func:`claims.rules_digest` when the run started."""

    schema_version: Literal[1] = Field(alias="schema")
    chapter: ChapterId
    notebook: NotebookPath
    profile: ProfileName
    seeds: Count
    device: Device
    device_name: Text
    versions: Versions
    commit: Commit
    dirty: bool
    rules: Digest
    parameters: dict[Parameter, Any]
    started: Moment
    wall_seconds: Seconds
    compute_seconds: Seconds
    units: Count
    reused: Count
    peak_memory_mb: Annotated[float, Field(ge=0)]
    figures: Annotated[list[Name], Field(max_length=1000)]
    files: Annotated[dict[FileName, Digest], Field(max_length=5000)]


@dataclass(frozen=True)
class Results:
    """One complete results folder, read and checked."""

    folder: Path
    values: ChapterValues
    run: RunRecord

    def file(self, name: str) -> bytes:
        """The bytes of one of the run's files, which must be those that it wrote.

        Raises:
            ReportError: naming the file, if it is missing, no ordinary file, too large or was changed.
        """
        path = self.folder / name
        if name not in self.run.files:
            raise ReportError(f"{path} is not among the files of the run: run the chapter again")
        content = read_bytes(path, MAX_FILE_BYTES, "run the chapter again")
        if hashlib.sha256(content).hexdigest() != (digest := self.run.files[name]):
            if _other_line_endings(content, digest):
                raise ReportError(
                    f"{path} has other line endings than when it was written, as git and unpackers may change them: get it "
                    "again as it was (git: `git config core.autocrlf false`, delete the file, `git checkout -- .`)"
                )
            raise ReportError(f"{path} was changed after the run: run the chapter again")
        return content


def _other_line_endings(content: bytes, digest: str) -> bool:
    """Whether content of that digest was written, and its line endings are all that changed."""
    unix = content.replace(b"\r\n", b"\n")
    return digest in (hashlib.sha256(text).hexdigest() for text in (unix, unix.replace(b"\n", b"\r\n")))


# ---------------------------------------------------------------- readers

R = TypeVar("R", bound=Record)


def read_bytes(path: Path, most: int = MAX_RECORD_BYTES, if_missing: str = "the results there are incomplete") -> bytes:
    """The content of an ordinary file of at most ``most`` bytes.

    Links are not followed: a stranger's folder could so name a file of the reader's. A pipe or a device would never end.

    Raises:
        ReportError: naming the file, if it is anything else.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise ReportError(f"{path} is missing: {if_missing}") from None
    except OSError as error:
        why = "is a link: copy the file itself there" if path.is_symlink() else f"cannot be read: {error.strerror}"
        raise ReportError(f"{path} {why}") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)  # fdopen would refuse a folder, and say less
        raise ReportError(f"{path} is no ordinary file")
    with os.fdopen(handle, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ReportError(f"{path} takes more than {most / 1e6:.0f} MB, too much for a file of results")
    return content


def read_record(path: Path, model: type[R]) -> R:
    """Read a record of at most ``MAX_RECORD_BYTES``.

    Raises:
        ReportError: naming file and field, if it is missing or malformed.
    """
    return parse_record(path, read_bytes(path), model)


def parse_record(path: Path, content: bytes, model: type[R]) -> R:
    """The record in ``content``, which was read from ``path``.

    Raises:
        ReportError: naming file and field, if it is malformed.
    """
    try:
        # bytes, so that JSON's own rules apply (strings stay strings, NaN is refused by the model)
        return model.model_validate_json(content)
    except ValidationError as error:
        raise ReportError(f"{path}: {what_is_wrong(error)}") from None
    except ValueError as error:
        raise ReportError(f"{path} cannot be read: {printable(error)}") from None


def what_is_wrong(error: ValidationError) -> str:
    """Field and message of the first problem, on one line."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = printable(".".join(str(part) for part in first["loc"]), 80) or "the file"
    return f"{field}: {printable(first['msg'].lower())}"


def checked(model: type[R], where: str, **fields: object) -> R:
    """Build a record from our own numbers, held to the rules that readers apply.

    Raises:
        ReportError: naming ``where`` and the field, for instance for a number that is not finite.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ReportError(f"{where}: {field}: {first['msg'].lower()} (got {first['input']!r})") from None


def read_values(folder: Path) -> ChapterValues:
    """Read ``values.json`` of a results folder.

    Raises:
        ReportError: naming file and field, if it is missing or malformed.
    """
    return read_record(folder / "values.json", ChapterValues)


def read_sidecar(path: Path) -> Sidecar:
    """Read ``<figure>.json``; the name inside must be the file's.

    Raises:
        ReportError: naming file and field, if it is missing or malformed.
    """
    sidecar = read_record(path, Sidecar)
    if sidecar.name != path.stem:
        raise ReportError(f"{path}: name: is {sidecar.name!r}, not the file's name")
    return sidecar


def read_run(folder: Path) -> RunRecord:
    """Read ``run.json`` of a results folder.

    Raises:
        ReportError: naming file and field, if it is missing or malformed.
    """
    return read_record(folder / "run.json", RunRecord)


def read_results(folder: Path) -> Results:
    """Read a folder's values and run, which must speak of the same chapter and profile.

    Raises:
        ReportError: naming file and field.
    """
    values, run = read_values(folder), read_run(folder)
    for field in ("chapter", "profile"):
        if getattr(values, field) != getattr(run, field):
            raise ReportError(f"{folder / 'values.json'}: {field}: differs from run.json")
    return Results(folder, values, run)


def check_files(results: Results) -> None:
    """Compare every file of a run with the digest taken when it was written.

    Raises:
        ReportError: as :meth:`Results.file`, for the first file with a problem, and naming a file that should be listed,
            or should not.
    """
    run = results.run
    expected = {"values.json", *(f"{name}{end}" for name in run.figures for end in (".csv", ".json"))}
    if lacking := sorted(expected - run.files.keys()):
        raise ReportError(f"{results.folder / 'run.json'} lists no {lacking[0]}: run the chapter again")
    pictures = {f"{name}{end}" for name in run.figures for end in (".svg", ".dark.svg")}
    if more := sorted(run.files.keys() - expected - pictures - {NOTEBOOK}):
        raise ReportError(
            f"{results.folder / 'run.json'} lists {printable(more[0])}, which belongs to no figure of the run"
        )
    for name in run.files:
        results.file(name)


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---------------------------------------------------------------- places


def find_project() -> Path:
    """The report's folder: ``$CLIP_INVARIANCE_PROJECT``, or the nearest one upwards with _toc.yml and notebooks/.

    Raises:
        UsageError: if there is none, or if it has a package of its own and another one is imported here: results of that
            code would be signed with this folder's commit.
    """
    asked = os.environ.get("CLIP_INVARIANCE_PROJECT")
    start = Path(asked) if asked else Path.cwd()
    for folder in [start.resolve()] if asked else [start, *start.parents]:
        if (folder / "_toc.yml").is_file() and (folder / "notebooks").is_dir():
            _check_package(folder)
            return folder
    raise UsageError(f"{start} is not inside the report (no _toc.yml and notebooks/): change to its folder first")


def _check_package(project: Path) -> None:
    own, imported = project / "src" / "clip_invariance", Path(__file__).parent
    if own.is_dir() and not own.samefile(imported):
        raise UsageError(
            f"this is the code of {printable(str(imported))}, but the report is in {printable(str(project))}: after a move "
            "or a copy call `make site` there once, and use its own .venv/bin/clip-invariance (without make: "
            "pip install --editable .)"
        )


def notebooks(project: Path) -> dict[str, Path]:
    """The chapters' notebooks by chapter id, in order."""
    return {path.name[:2]: path for path in sorted((project / "notebooks").glob("[0-9][0-9]_*.ipynb"))}


def select_chapters(project: Path, asked: Sequence[str]) -> dict[str, Path]:
    """Notebooks by chapter id; chapters are named 1, 01, or by the notebook's stem or path. None asked: all.

    Raises:
        UsageError: if one does not exist, is another file of that name, or is named twice.
    """
    known = notebooks(project)
    if not known:
        raise UsageError(f"{project / 'notebooks'} holds no notebook named like 01_title.ipynb")
    names = {path.stem: chapter for chapter, path in known.items()} | {chapter: chapter for chapter in known}
    chosen: list[str] = []
    for name in asked:
        key = Path(name).name.removesuffix(".ipynb")
        key = key.zfill(2) if key.isdigit() else key
        if os.sep in name and key in names and Path(name).parent.resolve() != (project / "notebooks").resolve():
            raise UsageError(f"{printable(name)} is not a chapter's notebook: those are in {project / 'notebooks'}")
        if key not in names:
            shown = printable(name)
            raise UsageError(f"there is no chapter '{shown}': choose from {', '.join(known)} or a notebook's name")
        if names[key] in chosen:
            raise UsageError(f"chapter {names[key]} is named twice")
        chosen.append(names[key])
    return {chapter: path for chapter, path in known.items() if not asked or chapter in chosen}


def run_folder(project: Path, profile: str) -> Path:
    """Where runs at a profile land: ``figures/<chapter>/``, ``notebooks/<stem>.ipynb``, ``verify.json``."""
    return project / "_build" / "run" / profile


def store_folder(project: Path) -> Path:
    """Where finished units are kept."""
    return project / "_build" / "store"


def complete_folders(figures: Path) -> dict[str, Path]:
    """Complete results folders in a ``figures/`` folder by chapter id.

    Raises:
        ReportError: if one is a link, which a stranger's folder could use to name one of the reader's.
    """
    found = {path.parent.name: path.parent for path in sorted(figures.glob("[0-9][0-9]/run.json"))}
    for folder in (figures, *found.values()):
        if found and folder.is_symlink():
            raise ReportError(f"{folder} is a link: copy the folder itself there")
    return found


def results_folders(project: Path, source: str) -> dict[str, Path]:
    """Results folders by chapter id.

    Args:
        source: "published", or a profile's name for the results of that run, laid over the published ones.

    Raises:
        UsageError: if ``source`` is neither.
        ReportError: if nothing was run at that profile.
    """
    published = complete_folders(project / "figures")
    if source == PUBLISHED:
        return published
    if source not in PROFILES:
        raise UsageError(f"unknown source {source!r}: choose {PUBLISHED} or one of {', '.join(PROFILES)}")
    run = complete_folders(run_folder(project, get_profile(source).name) / "figures")
    if not run:
        raise ReportError(f"nothing was run at profile {source} yet: clip-invariance run --profile {source}")
    return dict(sorted({**published, **run}.items()))


def load_results(project: Path, source: str) -> dict[str, Results]:
    """Read all of :func:`results_folders`; a folder's name must be its chapter's.

    Raises:
        UsageError, ReportError: as :func:`results_folders` and :func:`read_results`.
    """
    return read_folders(results_folders(project, source))


def read_folders(folders: Mapping[str, Path]) -> dict[str, Results]:
    """Read results folders by chapter id.

    Raises:
        ReportError: if one is malformed or speaks of another chapter.
    """
    found = {chapter: read_results(folder) for chapter, folder in folders.items()}
    for chapter, results in found.items():
        if results.run.chapter != chapter:
            raise ReportError(f"{results.folder / 'run.json'}: chapter: is {results.run.chapter}, not {chapter}")
    return found


# ---------------------------------------------------------------- writers


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never half of it.

    Raises:
        OSError: naming the file, also where the system names none, as of a full disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".tmp-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)  # mkstemp's 0600 would hide published files from others
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)
        raise


def to_json(data: object) -> bytes:
    """Strict JSON that diffs well: sorted keys, one field per line, no NaN, final newline. Takes records too."""
    content = data.model_dump(mode="json", by_alias=True) if isinstance(data, Record) else data
    return (json.dumps(content, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()


def write_json(path: Path, data: object) -> None:
    """Write :func:`to_json` atomically."""
    write_bytes(path, to_json(data))


def swap_folder(new: Path, target: Path) -> None:
    """Put folder ``new`` in the place of ``target``; if that fails, ``target`` is as it was."""
    target.parent.mkdir(parents=True, exist_ok=True)
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    try:
        new.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
