"""Captions from files of any size: CSV, TSV, plain lines, Parquet, compressed or not, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as parquet

from clip_invariance.errors import UsageError

#: What open_clip, img2dataset and the large data sets call their captions, in any case.
USUAL = ("caption", "title", "text")
DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": "\x1f"}
_ENDINGS = (".csv", ".tsv", ".tab", ".txt", ".parquet")
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}
#: Bytes of text that are read together, of which dozens are held and which no row may exceed; rows of a Parquet batch.
_BLOCK, _ROWS = 2 << 20, 32_768


@dataclass(frozen=True)
class Batch:
    """Some captions.

    Attributes:
        captions: strings, null where there is none.
        done: bytes of the file that have been read, as they lie on the disk.
    """

    captions: pl.Series
    done: int


@dataclass(frozen=True)
class Source:
    """A file and the column of its captions.

    Attributes:
        path: the file.
        kind: "parquet", or its ending.
        column: name, None for a column of a file without a header line, counted by ``number``.
        number: which column, from 0, as the file has them.
        size, modified: bytes and nanoseconds, as the disk says.
    """

    path: Path
    kind: str
    column: str | None
    number: int
    size: int
    modified: int

    def batches(self) -> Iterator[Batch]:
        """All captions in order.

        Raises:
            UsageError: naming the file, and the row where it is one row's fault.
        """
        try:
            yield from self._parquet() if self.kind == "parquet" else self._text()
        except (pa.ArrowException, OSError, EOFError) as error:
            raise UsageError(f"{self.path}: cannot be read: {_in_a_line(error)}") from None

    def _parquet(self) -> Iterator[Batch]:
        file = parquet.ParquetFile(self.path)
        total, row = max(file.metadata.num_rows, 1), 0
        for batch in file.iter_batches(batch_size=_ROWS, columns=[self.column]):
            column = batch.column(0)
            if pa.types.is_dictionary(column.type):
                column = column.dictionary_decode()
            column = self._decoded(column, row)
            row += len(column)
            yield Batch(_series(column), self.size * row // total)

    def _text(self) -> Iterator[Batch]:
        row = 0
        raw = pa.OSFile(str(self.path))
        with raw, _open_text(raw, self.path, self.kind, self.column) as reader:
            for batch in reader:
                column = self._decoded(batch.column(0 if self.column is not None else self.number), row)
                row += len(column)
                yield Batch(_series(column), raw.tell())

    def _decoded(self, column: Any, row: int) -> Any:
        """Bytes as text; the first that is not UTF-8 is named."""
        try:
            text = column.cast(pa.string())
            text.validate(full=True)
            return text
        except pa.ArrowInvalid:
            for number, value in enumerate(column.cast(pa.binary())):
                try:
                    (value.as_py() or b"").decode()
                except UnicodeDecodeError as error:
                    raise UsageError(
                        f"{self.path}: row {row + number + 1:,} (the header does not count): the caption is not UTF-8 "
                        f"(byte 0x{error.object[error.start]:02x}): convert the file, with iconv for example"
                    ) from None
            raise


def sources(paths: Sequence[Path], column: str | None) -> list[Source]:
    """The files with their caption columns; of a folder, all the files in it that can hold captions.

    Args:
        paths: files and folders.
        column: its name; or a number, for files without a header line, from 1. None: the usual names are looked for.

    Raises:
        UsageError: for a missing, empty or unknown file, or one without the column (the message lists its columns).
    """
    found = [_source(path, column) for given in paths for path in _files(given)]
    repeated = {source.path.resolve() for source in found}
    if len(repeated) < len(found):
        raise UsageError("a file is given twice: its captions would count twice")
    return found


def _files(given: Path) -> list[Path]:
    if not given.is_dir():
        return [given]
    inside = sorted(path for path in given.iterdir() if path.is_file() and _kind(path) is not None)
    if not inside:
        raise UsageError(f"{given}: the folder holds no file ending in {', '.join(_ENDINGS)}")
    return inside


def _kind(path: Path) -> str | None:
    endings = [ending.lower() for ending in path.suffixes[-2:]]
    return next((ending for ending in reversed(endings) if ending in _ENDINGS), None)


def _source(path: Path, wanted: str | None) -> Source:
    try:
        status = path.stat()
        with path.open("rb") as file:
            start = file.read(4)
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file") from None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    if status.st_size == 0:
        raise UsageError(f"{path}: is empty")
    kind = _kind(path)
    if kind is None:
        raise UsageError(f"{path}: unknown kind of file: its name must end in {', '.join(_ENDINGS)}, or that and .gz")
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UsageError(f"{path}: is UTF-16, not UTF-8: convert it, with iconv for example")
    try:
        names, types = _columns(path, kind)
    except (pa.ArrowException, OSError, EOFError) as error:
        raise UsageError(f"{path}: cannot be read: {_in_a_line(error)}") from None
    name, number = _choose(path, kind, names, wanted)
    if types is not None and not _is_text(types[number]):
        raise UsageError(f"{path}: column {names[number]} holds {types[number]}, not text")
    return Source(path, kind if kind != ".parquet" else "parquet", name, number, status.st_size, status.st_mtime_ns)


def _columns(path: Path, kind: str) -> tuple[list[str], list[Any] | None]:
    """Names of the columns, and in Parquet their types."""
    if kind == ".parquet":
        schema = parquet.read_schema(path)
        return schema.names, schema.types
    if kind == ".txt":
        return ["1"], None
    with pa.OSFile(str(path)) as raw, _open_text(raw, path, kind, "") as reader:
        return reader.schema.names, None


def _choose(path: Path, kind: str, names: Sequence[str], wanted: str | None) -> tuple[str | None, int]:
    """Name (None where there is no header) and place of the caption column."""
    if kind == ".txt":
        return None, 0
    listed = ", ".join(name if name.strip() else repr(name) for name in names)
    if wanted is None:
        usual = [name for name in names if name.strip().lower() in USUAL]
        if len(usual) != 1:
            what = "several of its columns may be captions" if usual else "no column has a usual name of captions"
            hint = "" if kind == ".parquet" else "; without a header line, count: --column 1"
            raise UsageError(f"{path}: {what}: choose with --column from {listed}{hint}")
        wanted = usual[0]
    elif wanted not in names and wanted.isdecimal() and kind != ".parquet":
        if not 1 <= int(wanted) <= len(names):
            raise UsageError(f"{path}: there is no column {wanted}: it has {len(names)}")
        return None, int(wanted) - 1
    if wanted not in names:
        raise UsageError(f"{path}: no column is called {wanted}: it has {listed}")
    if list(names).count(wanted) > 1:
        raise UsageError(f"{path}: two columns are called {wanted}")
    return wanted, list(names).index(wanted)


def _is_text(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null,
             pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)  # fmt: skip
    return any(test(kind) for test in tests)


def _open_text(raw: Any, path: Path, kind: str, column: str | None) -> Any:
    """A reader of record batches. ``column``: None reads all of a file without a header, "" all of one with."""
    start = path.open("rb").read(4)
    packing = next((name for magic, name in _COMPRESSED.items() if start.startswith(magic)), None)
    stream = pa.CompressedInputStream(raw, packing) if packing else raw
    bytes_only: dict[str, Any] = {}
    if column:
        bytes_only = {"include_columns": [column], "column_types": {column: pa.binary()}}
    elif column is None:
        # Names that Arrow gives to columns without a header. All as bytes: what is not asked for need not be UTF-8.
        bytes_only = {"column_types": {f"f{number}": pa.binary() for number in range(1000)}}
    return csv.open_csv(
        stream,
        csv.ReadOptions(block_size=_BLOCK, autogenerate_column_names=column is None),
        csv.ParseOptions(
            delimiter=DELIMITERS[kind],
            newlines_in_values=kind != ".txt",
            quote_char=False if kind == ".txt" else '"',
            ignore_empty_lines=kind != ".txt",
        ),
        csv.ConvertOptions(check_utf8=False, strings_can_be_null=False, quoted_strings_can_be_null=False, **bytes_only),
    )


def _series(column: Any) -> pl.Series:
    found = pl.from_arrow(column)
    assert isinstance(found, pl.Series)
    return found.cast(pl.String)


def _in_a_line(error: BaseException) -> str:
    text = " ".join(str(error).split())[:300]
    return f"a row is longer than {_BLOCK >> 20} MB: is a quotation mark never closed?" if "straddl" in text else text
