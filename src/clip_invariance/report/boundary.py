"""The boundary: everything in a results folder may come from a stranger, and leaves this module as data, or not at all.

Records are typed in :mod:`clip_invariance.results`. Here are the other files: pictures and tables are passed on byte for
byte if nothing in them could act, and refused otherwise. Of an executed notebook only code, as text, and outputs are
taken; its prose is that of the report's own notebook, and its metadata are ours. All tests name what is allowed: what
nobody thought of is refused.
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
import json
import re
import struct
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Annotated, Any, Literal
from xml.parsers import expat

import nh3
from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from clip_invariance.errors import ReportError, printable
from clip_invariance.results import (
    MAX_FILE_BYTES,
    NOTEBOOK,
    Results,
    Sidecar,
    parse_record,
    read_bytes,
    to_json,
    what_is_wrong,
)


def passed(results: Results) -> dict[str, bytes]:
    """The files of a run that pages may show, by name, unchanged; what else lies in the folder is left there.

    Raises:
        ReportError: naming the file and what is wrong with it, or the first file that the run lists beyond its figures'.
    """
    files = {"run.json": to_json(results.run), "values.json": results.file("values.json")}
    for name in results.run.figures:
        record = f"{name}.json"
        sidecar = parse_record(results.folder / record, results.file(record), Sidecar)
        for field, said in (("name", name), ("chapter", results.run.chapter), ("profile", results.run.profile)):
            if getattr(sidecar, field) != said:
                raise ReportError(f"{results.folder / record}: {field}: is not {said!r}, as the run says")
        pictures = (f"{name}.svg", f"{name}.dark.svg") if sidecar.kind == "figure" else ()
        files |= {file: results.file(file) for file in (record, f"{name}.csv", *pictures)}
    for name, content in files.items():
        if name.endswith(".csv"):
            check_table(results.folder / name, content)
        elif name.endswith(".svg"):
            check_picture(results.folder / name, content)
    if more := sorted(results.run.files.keys() - files.keys() - {NOTEBOOK}):
        raise refuse(results.folder / "run.json", f"the file {more[0]!r} belongs to no figure of the run")
    return files


def refuse(where: Path | str, what: str) -> ReportError:
    """The error that says what was found, on one line."""
    return ReportError(f"{where}: {printable(what)}, which is not shown on pages")


# ---------------------------------------------------------------- text and tables


ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def without_controls(text: str) -> str:
    """Text of several lines without anything that steers a terminal or the direction of writing.

    >>> without_controls("a\\x1b[31mb\\n\\tc")
    'ab\\n\\tc'
    """
    text = ANSI.sub("", text.replace("\r\n", "\n"))
    if text.isascii():
        return CONTROLS.sub("", text)
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp"))


MAX_ROWS, MAX_COLUMNS, MAX_CELL = 100_000, 200, 2000
#: Where a cell begins, or would if a spreadsheet split it at another separator, and what makes it a formula there, which
#: may fetch or start something. Full-width and small signs count: some spreadsheets read them as the plain ones.
_FORMULA = re.compile(
    r"""(?:\A|[;|\r\n])(?:[^\S\t\r\n]|["'`])*(?:[=@\uff1d\uff20\ufe66\ufe6b]|([+\-\uff0b\uff0d\ufe62\ufe63]))"""
)
#: What may follow a sign: a number, perhaps with its unit, or words. No part may match what another matches, as below.
_WORDS = r"[^\W\d_](?:[^\W\d_]|[ \-])*"
_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+\-]?\d+)?"
_SIGNED = re.compile(rf"""[^\S\n]*(?:{_NUMBER}(?:%|[^\S\n]+(?:%|{_WORDS}))?|{_WORDS})?(?=[;\n"']|\Z)""")
#: A first line by which a file tells a spreadsheet what separates its cells.
_SEPARATOR_LINE = re.compile(r"""[\s"']*sep\s*=""", re.IGNORECASE)


def check_table(where: Path, content: bytes) -> None:
    """Refuse a CSV file that is not a table of plain text.

    Raises:
        ReportError: naming the file and what was found.
    """
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise refuse(where, f"no CSV in UTF-8 ({error})") from None
    width = len(rows[0]) if rows else 0
    if not 0 < width <= MAX_COLUMNS or len(rows) > MAX_ROWS:
        raise refuse(where, f"a table of {len(rows)} rows and {width} columns")
    if _SEPARATOR_LINE.match(rows[0][0]):
        raise refuse(where, f"the separator line {rows[0][0][:40]!r}")
    for number, row in enumerate(rows, 1):
        if len(row) != width:
            raise refuse(where, f"row {number} has {len(row)} cells, the first row {width}")
        for cell in row:
            if len(cell) > MAX_CELL or "\t" in cell or cell != without_controls(cell):
                raise refuse(where, f"row {number} has a cell with control characters, or too long")
            if _is_formula(cell):
                raise refuse(where, f"row {number} has the formula {cell[:40]!r}")


def _is_formula(cell: str) -> bool:
    """Whether a spreadsheet might compute a cell, or a part of it, split at whatever separator.

    >>> [_is_formula(cell) for cell in ("=A1", "-A1", "x;@A1", "-0.5", "- none -", "two\\n-1e-5 points")]
    [True, True, True, False, False, False]
    """
    return any(start[1] not in ("+", "-") or not _SIGNED.match(cell, start.end()) for start in _FORMULA.finditer(cell))


# ---------------------------------------------------------------- pictures

MAX_SIDE = 8000
PNG = b"\x89PNG\r\n\x1a\n"
#: All that Matplotlib and Pillow write, and nothing that unpacks into text or moves.
CHUNKS = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"bKGD", b"pHYs", b"tEXt"}


def check_png(where: Path | str, content: bytes) -> None:
    """Refuse bytes that are not one whole PNG picture and nothing else.

    Raises:
        ReportError: naming where it stands and what was found.
    """
    if not content.startswith(PNG):
        raise refuse(where, "a picture that is no PNG")
    place, kinds = len(PNG), list[bytes]()
    while place < len(content):
        length, kind = struct.unpack_from(">I4s", content, place) if place + 12 <= len(content) else (0, b"")
        body = content[place + 4 : place + 8 + length]
        if (
            kind not in CHUNKS
            or struct.pack(">I", zlib.crc32(body)) != content[place + 8 + length : place + 12 + length]
        ):
            raise refuse(where, f"a PNG with a part {kind!r} that is unknown or damaged")
        kinds.append(kind)
        place += 12 + length
    if kinds[:1] != [b"IHDR"] or kinds[-1] != b"IEND" or kinds.count(b"IEND") != 1:
        raise refuse(where, "a PNG that is not whole")
    if not all(0 < side <= MAX_SIDE for side in struct.unpack_from(">II", content, 16)):
        raise refuse(where, "a PNG that is too large")


DATA_PNG = "data:image/png;base64,"


def check_data_address(where: Path | str, address: str) -> None:
    """Refuse an address that is anything else than a PNG picture inside it.

    Raises:
        ReportError: naming where it stands and what was found.
    """
    if not address.startswith(DATA_PNG):
        raise refuse(where, f"the address {address[:40]!r}")
    try:
        content = base64.b64decode("".join(address.removeprefix(DATA_PNG).split()), validate=True)
    except (binascii.Error, ValueError):
        raise refuse(where, "a picture that is not in base64") from None
    check_png(where, content)


MAX_PARTS, MAX_DEPTH = 200_000, 60
#: Bytes that a picture may make a browser draw by showing parts of it again.
MAX_SHOWN_AGAIN = 20_000_000
_SVG, _XLINK = "http://www.w3.org/2000/svg ", "http://www.w3.org/1999/xlink "
_RDF, _CC = "http://www.w3.org/1999/02/22-rdf-syntax-ns# ", "http://creativecommons.org/ns# "
_DC = "http://purl.org/dc/elements/1.1/ "
#: Elements that draw, and those in which Matplotlib says what made the picture.
ELEMENTS = {
    *(_SVG + name for name in ("svg", "metadata", "defs", "style", "g", "path", "image", "use", "clipPath", "rect")),
    *(_SVG + name for name in ("line", "polyline", "polygon", "circle", "ellipse", "text", "tspan", "title", "desc")),
    *(_RDF + "RDF", _CC + "Work", _CC + "Agent"),
    *(_DC + name for name in ("type", "format", "creator", "title", "date")),
}
DOCTYPE = ("svg", "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd", "-//W3C//DTD SVG 1.1//EN", 0)
STYLE_SHEET = "*{stroke-linejoin: round; stroke-linecap: butt}"  # the only one that Matplotlib writes

_NUMBERS = r"[\d\s.,eE+\-]*"
# No part of these may match in two ways what another part matches too: a long value would take for ever.
_PAINT = r"(?:\s*url\(#[\w.\-]+\)\s*|[\w#.,%+\-\s]*)"  # a word, a colour, a length, a place in the same file
_PROPERTIES = (
    *("fill", "stroke", "opacity", "fill-opacity", "fill-rule", "clip-rule", "stroke-width", "stroke-linecap"),
    *("stroke-linejoin", "stroke-miterlimit", "stroke-opacity", "stroke-dasharray", "stroke-dashoffset"),
    *("font-size", "font-weight", "font-style", "text-anchor", "dominant-baseline"),
)
_LENGTHS = ("width", "height", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "rx", "ry", "dx", "dy", "version")
#: Attribute -> what its whole value must look like.
ATTRIBUTES = {
    **{name: re.compile(rf"{_NUMBERS}(?:px|pt|%)?") for name in (*_LENGTHS, "viewBox", "points")},
    **{name: re.compile(_PAINT) for name in (*_PROPERTIES, "clip-path", "preserveAspectRatio")},
    "style": re.compile(rf"(?:\s*(?:{'|'.join((*_PROPERTIES, 'clip-path'))})\s*:{_PAINT}(?:;|$))*\s*"),
    "d": re.compile(r"[MmLlHhVvCcSsQqTtAaZz\d\s.,eE+\-]*"),
    "transform": re.compile(rf"[\s,]*(?:(?:matrix|translate|scale|rotate|skewX|skewY)\({_NUMBERS}\)[\s,]*)*"),
    "id": re.compile(r"[\w.\-]+"),
    "type": re.compile(r"text/css"),
    "font-family": re.compile(r"[\w ,'\-]*"),
    _RDF + "resource": re.compile(re.escape("http://purl.org/dc/dcmitype/StillImage")),
}
_HERE = re.compile(r"#[\w.\-]+")
_REFERENCE = re.compile(r"url\(#([\w.\-]+)\)")


def check_picture(where: Path, content: bytes) -> None:
    """Refuse an SVG file with anything but shapes, text and PNG pictures inside it.

    A part that is shown again (``use``) or clips (``clip-path``) may not itself refer to others: nested, few lines would
    make a browser draw for ever.

    Raises:
        ReportError: naming the file and what was found.
    """
    parser = expat.ParserCreate("utf-8", namespace_separator=" ")
    inside: list[str] = []
    count, sheet = 0, list[str]()
    opened: list[tuple[str | None, int]] = []  # the id of each open element, and the byte where it began
    sizes: dict[str, int] = {}
    referring, referred = set[str](), list[str]()

    def doctype(*found: Any) -> None:
        if found != DOCTYPE:
            raise refuse(where, f"the document type {found[0]!r}")

    def entity(name: str, *_: Any) -> None:
        raise refuse(where, f"the entity {name!r}")

    def instruction(target: str, _: str) -> None:
        raise refuse(where, f"the instruction {target!r}")

    def declaration(_: str, encoding: str | None, __: int) -> None:
        if encoding and encoding.lower() != "utf-8":
            raise refuse(where, f"the encoding {encoding!r}")

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal count
        inside.append(tag)
        count += 1
        if tag not in ELEMENTS or (len(inside) == 1 and tag != _SVG + "svg"):
            raise refuse(where, f"the element {tag.rpartition(' ')[2]!r}")
        if count > MAX_PARTS or len(inside) > MAX_DEPTH:
            raise refuse(where, "too many elements, or too deep")
        for name, value in attributes.items():
            if name in ("href", _XLINK + "href"):
                if tag == _SVG + "image":
                    check_data_address(where, value)
                elif tag != _SVG + "use" or not _HERE.fullmatch(value):
                    raise refuse(where, f"the address {value[:40]!r}")
            elif name not in ATTRIBUTES or not ATTRIBUTES[name].fullmatch(value):
                raise refuse(where, f"the attribute {name.rpartition(' ')[2]} = {value[:40]!r}")
        opened.append((attributes.get("id"), parser.CurrentByteIndex))
        found = [target for value in attributes.values() for target in _REFERENCE.findall(value)]
        if tag == _SVG + "use":
            found += [value[1:] for name, value in attributes.items() if name in ("href", _XLINK + "href")]
        if found:
            referred.extend(found)
            referring.update(name for name, _ in opened if name is not None)

    def end(_: str) -> None:
        name, began = opened.pop()
        if name is not None:
            sizes[name] = max(sizes.get(name, 0), parser.CurrentByteIndex - began + len("</g>"))
        if inside.pop() == _SVG + "style" and "".join(sheet).strip() != STYLE_SHEET:
            raise refuse(where, f"the style sheet {''.join(sheet).strip()[:40]!r}")

    def characters(text: str) -> None:
        if inside[-1:] == [_SVG + "style"]:
            sheet.append(text)

    parser.XmlDeclHandler, parser.ProcessingInstructionHandler = declaration, instruction
    parser.StartDoctypeDeclHandler, parser.EntityDeclHandler = doctype, entity
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, characters
    try:
        content.decode("utf-8")
        parser.Parse(content, True)
    except (expat.ExpatError, UnicodeDecodeError) as error:
        raise refuse(where, f"no SVG in UTF-8 ({error})") from None
    if nested := referring & set(referred):
        raise refuse(where, f"the part {min(nested)!r}, which is shown again and refers to other parts,")
    if sum(sizes.get(name, 0) for name in referred) > MAX_SHOWN_AGAIN:
        raise refuse(where, "parts that are shown again too often")


# ---------------------------------------------------------------- notebooks

Json = dict[str, Any]
MAX_CELLS, MAX_OUTPUTS = 1000, 200
MAX_SOURCE, MAX_OUTPUT = 200_000, 5_000_000


def _joined(value: Any) -> Any:
    """Jupyter writes a text of several lines as a list of them."""
    several = isinstance(value, list) and all(isinstance(line, str) for line in value)
    return "".join(value) if several else value


Source = Annotated[str, BeforeValidator(_joined), Field(max_length=MAX_SOURCE)]
Shown = Annotated[str, BeforeValidator(_joined), Field(max_length=MAX_OUTPUT)]


class _Data(BaseModel, extra="allow"):
    """What an output is shown as, by type. Others are only named."""

    plain: Shown | None = Field(None, alias="text/plain")
    html: Shown | None = Field(None, alias="text/html")
    png: Shown | None = Field(None, alias="image/png")


class _Output(BaseModel):
    output_type: Literal["stream", "display_data", "execute_result", "error"]
    text: Shown = ""
    data: _Data = Field(default_factory=lambda: _Data.model_validate({}))


class _Metadata(BaseModel):
    tags: list[str] = []


class _Cell(BaseModel):
    cell_type: Literal["code", "markdown", "raw"]
    source: Source
    metadata: _Metadata = _Metadata()
    outputs: Annotated[list[_Output], Field(max_length=MAX_OUTPUTS)] = []

    @property
    def is_code(self) -> bool:
        """Whether it is code of the notebook's own, and not papermill's."""
        return self.cell_type == "code" and "injected-parameters" not in self.metadata.tags


class _Notebook(BaseModel):
    nbformat: Literal[4]
    cells: Annotated[list[_Cell], Field(max_length=MAX_CELLS)]


@dataclass(frozen=True)
class Executed:
    """A notebook for the pages, and in how many code cells what ran is not what the report's notebook says today."""

    notebook: Json
    cells: int
    differing: int


def read_notebook(where: Path, content: bytes) -> _Notebook:
    try:
        return _Notebook.model_validate_json(content)
    except ValidationError as error:
        raise ReportError(f"{where} is no notebook: {what_is_wrong(error)}") from None


def notebook(ours: Path, theirs: Results | None) -> Executed:
    """The report's own notebook, with the code and the outputs of a run where there is one.

    Prose, and what stands around the cells, are always ours. A code cell of the run is shown as it ran, in the place of
    ours: they are matched by their text, and between those by their order.

    Args:
        ours: the notebook in ``notebooks/``.
        theirs: the run; None to show code without outputs.

    Raises:
        ReportError: if one is no notebook, or holds an output that is not shown, or of a cell that failed.
    """
    own = read_notebook(ours, read_bytes(ours, MAX_FILE_BYTES)).cells
    if theirs is None:
        return Executed(_assembled([_rebuilt(cell) for cell in own]), 0, 0)
    where = theirs.folder / NOTEBOOK
    ran = [cell for cell in read_notebook(where, theirs.file(NOTEBOOK)).cells if cell.is_code]
    groups = _matched([cell.source for cell in own if cell.is_code], [cell.source for cell in ran])
    made, place = list[Json](), 0
    for cell in own:
        if not cell.is_code:
            made.append(_rebuilt(cell))
            continue
        made += [_as_it_ran(where, number, ran[number]) for number in groups[place]]
        place += 1
    made += [_as_it_ran(where, number, ran[number]) for number in groups[place]]
    today = {cell.source for cell in own if cell.is_code}
    return Executed(_assembled(made), len(ran), sum(cell.source not in today for cell in ran))


#: The style that pandas writes into every table, and nothing else in place of its numbers: pages leave it out.
_PANDAS_STYLE = re.compile(
    r"<style scoped>\n    \.dataframe tbody tr th:only-of-type \{\n        vertical-align: middle;\n    \}\n\n"
    r"    \.dataframe tbody tr th \{\n        vertical-align: top;\n    \}\n\n"
    r"    \.dataframe thead th \{\n        text-align: right;\n    \}\n</style>"
)


def check_publishable(ours: Path, theirs: Results) -> None:
    """Refuse an executed notebook that could not be copied as it is: its bytes are published, and not what pages show.

    Its prose must be that of our notebook, its outputs what :func:`notebook` would make of them, and nothing may stand
    beside these.

    Raises:
        ReportError: naming the first cell with anything else.
    """
    where, content = theirs.folder / NOTEBOOK, theirs.file(NOTEBOOK)
    cells = read_notebook(where, content).cells
    raw = json.loads(content)
    if more := sorted((raw.keys() - _KEYS) | (_names(raw.get("metadata", {})) - _KERNEL_KEYS)):
        raise refuse(where, f"the field {more[0]!r}")
    prose = [cell.source for cell in read_notebook(ours, read_bytes(ours, MAX_FILE_BYTES)).cells if _is_prose(cell)]
    place = 0
    for number, (cell, fields) in enumerate(zip(cells, raw["cells"], strict=True), 1):
        named = f"{where}, cell {number}"
        if more := sorted((fields.keys() - _CELL_KEYS) | (fields.get("metadata", {}).keys() - _CELL_METADATA)):
            raise refuse(named, f"the field {more[0]!r}")
        if cell.cell_type != "code":
            if not _is_prose(cell) or prose[place : place + 1] != [cell.source]:
                text = printable(repr(cell.source[:40]))
                raise ReportError(
                    f"{named}: the text {text} is not that of notebooks/{ours.name}: run the chapter again"
                )
            place += 1
        if cell.source != without_controls(cell.source):
            raise refuse(named, "code with control characters")
        for output, shown in zip(cell.outputs, fields.get("outputs", []), strict=True):
            _check_output(named, output, shown)
    if place < len(prose):
        text = printable(repr(prose[place][:40]))
        raise ReportError(f"{where} lacks the text {text} of notebooks/{ours.name}: run the chapter again")


_KEYS, _KERNEL_KEYS = {"cells", "metadata", "nbformat", "nbformat_minor"}, {"kernelspec", "language_info"}
_CELL_KEYS = {"cell_type", "execution_count", "id", "metadata", "outputs", "source"}
_CELL_METADATA = {"execution", "tags"}
_OUTPUT_KEYS = {"data", "execution_count", "metadata", "name", "output_type", "text"}


def _is_prose(cell: _Cell) -> bool:
    return cell.cell_type == "markdown"


def _names(metadata: Any) -> set[str]:
    return set(metadata) if isinstance(metadata, dict) else {"metadata"}


def _check_output(where: str, output: _Output, fields: Json) -> None:
    """Refuse an output from which :func:`_shown` would leave anything out but pandas' own style.

    It writes apostrophes as such, which Python's ``html.escape`` does not.
    """
    if more := sorted(fields.keys() - _OUTPUT_KEYS) or sorted(_names(fields.get("metadata", {}))):
        raise refuse(where, f"an output with the field {more[0]!r}")
    clean = _Output.model_validate(_shown(where, output))
    html = output.data.html and _PANDAS_STYLE.sub("", output.data.html).replace("&#x27;", "'")
    png = output.data.png and "".join(output.data.png.split())
    held = (output.text, output.data.plain, html, png)
    if held != (clean.text, clean.data.plain, clean.data.html, clean.data.png):
        raise refuse(where, "an output with more than text, tables and pictures")


def _matched(ours: Sequence[str], theirs: Sequence[str]) -> list[list[int]]:
    """For each of our code cells, and for the end, the numbers of their cells that are shown there."""
    groups: list[list[int]] = [[] for _ in range(len(ours) + 1)]
    for _, a, a_end, b, b_end in SequenceMatcher(a=ours, b=theirs, autojunk=False).get_opcodes():
        for number in range(b, b_end):
            groups[min(a + number - b, max(a_end - 1, a))].append(number)
    return groups


def _as_it_ran(where: Path, number: int, cell: _Cell) -> Json:
    return _rebuilt(cell, [_shown(f"{where}, code cell {number + 1}", output) for output in cell.outputs])


def _rebuilt(cell: _Cell, outputs: Sequence[Json] = ()) -> Json:
    """A cell with nothing but its text and checked outputs."""
    made: Json = {"cell_type": cell.cell_type, "metadata": {}, "source": without_controls(cell.source)}
    return made | ({"execution_count": None, "outputs": list(outputs)} if cell.cell_type == "code" else {})


def _assembled(cells: Sequence[Json]) -> Json:
    """A notebook of cells, with metadata of ours: nothing in it can ask to be executed."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python", "pygments_lexer": "ipython3"}}
    named = [{"id": f"cell-{number}", **cell} for number, cell in enumerate(cells)]
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": named}


def _shown(where: str, output: _Output) -> Json:
    """One output, rebuilt from what is allowed in it."""
    if output.output_type == "error":
        raise ReportError(f"{where}: a cell failed in this run: run the chapter again")
    if output.output_type == "stream":
        return {"output_type": "stream", "name": "stdout", "text": without_controls(output.text)}
    if output.data.model_extra:
        raise refuse(where, f"an output of type {min(output.data.model_extra)!r}")
    data = {}
    if output.data.plain is not None:
        data["text/plain"] = without_controls(output.data.plain)
    if output.data.html is not None:
        data["text/html"] = clean_html(where, output.data.html)
    if output.data.png is not None:
        data["image/png"] = "".join(output.data.png.split())
        check_data_address(where, DATA_PNG + data["image/png"])
    return {"output_type": "display_data", "metadata": {}, "data": data}


#: Tables as pandas writes them, and pictures as :class:`clip_invariance.run.chapter.Picture` does.
TAGS = {"div", "p", "table", "thead", "tbody", "tfoot", "tr", "th", "td", "caption", "b", "i", "em", "strong", "code"}
TAGS |= {"pre", "br", "img", "sub", "sup"}
#: Elements that go with what is inside them.
DROPPED = {"style", "script", "title", "textarea", "noscript", "template", "iframe", "svg", "math"}
#: (element, attribute) -> what its whole value must look like.
VALUES = {
    ("table", "class"): re.compile("dataframe"),
    ("table", "border"): re.compile("[01]"),
    ("tr", "style"): re.compile("text-align: right;"),
    ("img", "style"): re.compile("max-width: 100%"),
    **{(tag, name): re.compile(r"\d{1,3}") for tag in ("th", "td") for name in ("colspan", "rowspan")},
    **{("img", name): re.compile(r"\d{1,4}") for name in ("width", "height")},
}


def clean_html(where: str, text: str) -> str:
    """HTML with tables, text and PNG pictures, from which everything else is dropped.

    Raises:
        ReportError: if a picture is no PNG.
    """

    addresses: list[str] = []

    def kept(tag: str, name: str, value: str) -> str | None:
        if (tag, name) == ("img", "src"):
            addresses.append(value)
            return value if value.startswith(DATA_PNG) else None
        if (tag, name) == ("img", "alt"):
            return value[:MAX_CELL]
        found = VALUES.get((tag, name))
        return value if found and found.fullmatch(value) else None

    allowed: dict[str, set[str]] = {"img": {"src", "alt"}}
    for tag, name in VALUES:
        allowed.setdefault(tag, set()).add(name)
    cleaned = nh3.clean(
        without_controls(text),
        tags=TAGS,
        attributes=allowed,
        attribute_filter=kept,
        clean_content_tags=DROPPED,
        url_schemes={"data"},
        strip_comments=True,
        link_rel=None,
    )
    for address in addresses:  # here, because nh3 swallows errors of the function above
        if address.startswith(DATA_PNG):
            check_data_address(where, address)
    return without_controls(cleaned)  # those that stood there as numbers, &#27;
