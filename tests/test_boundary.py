"""Nothing that is exchanged may run code: the corpus in ``hostile/`` against what reads, shows and publishes runs.

Pictures and tables are refused one by one. All else goes into one run, which is verified, built and opened in a browser:
it may leave none of the marks that ``hostile/README.md`` names.
"""

from __future__ import annotations

import base64
import csv
import http.server
import io
import json
import os
import shutil
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from PIL import Image
from playwright.sync_api import Browser, Page, Request, Route, sync_playwright

from clip_invariance.errors import ReportError, printable
from clip_invariance.report import boundary
from clip_invariance.report.verify import verify_folder
from clip_invariance.results import NOTEBOOK, complete_folders, read_bytes, read_results, read_sidecar, write_json
from clip_invariance.rules.claims import CLAIMS_FILE
from clip_invariance.site.build import build_site, read_inputs, stage
from clip_invariance.site.seal import check_files_of, sealed
from site_fixture import REPOSITORY, STEM, built_project, make_project, sign, write_results
from test_browser import ARGUMENTS, LAPTOP, find_chromium

HOSTILE = Path(__file__).parent / "hostile"
SECRET = "what nobody but the reader should read"


def png(side: int = 2) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side)).save(file, format="PNG")
    return file.getvalue()


# ---------------------------------------------------------------- pictures and tables


@pytest.mark.parametrize("path", sorted((HOSTILE / "pictures").iterdir()), ids=lambda path: path.stem)
def test_a_picture_that_could_act_is_refused_by_name(path: Path) -> None:
    with pytest.raises(ReportError, match=rf"{path.name}: .*is not shown on pages") as caught:
        boundary.check_picture(path, path.read_bytes())
    assert len(str(caught.value).splitlines()) == 1


def test_deep_and_many_elements_are_refused() -> None:
    svg = '<svg xmlns="http://www.w3.org/2000/svg">{}</svg>'
    for inside in ("<g>" * 100_000, "<g>" * 70 + "</g>" * 70, "<g/>" * 300_000):
        with pytest.raises(ReportError, match="too many elements, or too deep"):
            boundary.check_picture(Path("x.svg"), svg.format(inside).encode())


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "attribute",
    [
        f'transform="{"scale(1)  " * 5000}!"',
        f'transform="{" " * 100_000}!"',
        f'style="fill:{" " * 100_000}!"',
        f'style="{"fill: red ; " * 5000}!"',
        f'fill="{" " * 100_000}!"',
        f'width="{"1" * 100_000}!"',
        f'd="{"M0 0" * 50_000}!"',
    ],
    ids=lambda text: text[:20],
)
def test_no_value_takes_for_ever_to_be_refused(attribute: str) -> None:
    svg = f'<svg xmlns="http://www.w3.org/2000/svg"><g {attribute}/></svg>'
    with pytest.raises(ReportError, match="the attribute"):
        boundary.check_picture(Path("x.svg"), svg.encode())


def test_a_picture_with_letters_colours_and_a_photograph_passes() -> None:
    data = base64.b64encode(png()).decode()
    svg = f"""<?xml version="1.0" encoding="utf-8" standalone="no"?>
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">
<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="1pt" viewBox="0 0 1 1">
<defs><style type="text/css">*{{stroke-linejoin: round; stroke-linecap: butt}}</style></defs>
<g style="fill: #1f77b4; clip-path: url(#p1)" clip-path="url(#p1)" transform="matrix(1 0 0 1 0 0)">
<image xlink:href="data:image/png;base64,
{data}" id="i" width="1" height="1"/>
<use xlink:href="#m" x="1"/><text font-family="DejaVu Sans, sans-serif">javascript:</text>
</g></svg>"""
    boundary.check_picture(Path("x.svg"), svg.encode())


@pytest.mark.parametrize("path", sorted((HOSTILE / "tables").iterdir()), ids=lambda path: path.stem)
def test_a_table_that_is_more_than_text_is_refused_by_name(path: Path) -> None:
    with pytest.raises(ReportError, match=rf"{path.name}: .*is not shown on pages") as caught:
        boundary.check_table(path, path.read_bytes())
    assert str(caught.value).isprintable()


def test_tables_may_hold_numbers_signs_and_lines() -> None:
    boundary.check_table(
        Path("x.csv"), b'a,b\n-1.5e-7,"two\nlines"\n+3,- none -\n-inf,-\n-0.5,-.5\n1e-5,"one; -2 points"\n'
    )


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", ["a ", "- ", "a-", "a", " ", "1", "1.", ";-", "; ", "'", "\n "])
def test_no_cell_takes_for_ever(text: str) -> None:
    cell = "-" + (text * boundary.MAX_CELL)[: boundary.MAX_CELL - 4] + "!;="
    with pytest.raises(ReportError, match="the formula"):
        boundary.check_table(Path("x.csv"), b"a\n" + b'"%b"\n' % cell.encode() * 200)


def test_a_large_part_shown_again_too_often_is_refused() -> None:
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><g id="a">{}</g>{}</svg>'
    boundary.check_picture(Path("x.svg"), svg.format("<g/>" * 1000, '<use href="#a"/>' * 1000).encode())
    with pytest.raises(ReportError, match="shown again too often"):
        boundary.check_picture(Path("x.svg"), svg.format("<g/>" * 10_000, '<use href="#a"/>' * 1000).encode())


def with_part(kind: bytes, body: bytes = b"") -> bytes:
    """A PNG with one more part before its last."""
    part = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return png()[:-12] + part + png()[-12:]


DAMAGED = {
    "HTML": b"<html><script>document.title='HACKED'</script>",
    "HTML after the picture": png() + b"<script>",
    "cut off": png()[:-5],
    "no end": png()[:-12],
    "a wrong sum": png()[:40] + b"\0" + png()[41:],
    "moving": with_part(b"acTL", b"\0" * 8),
    "text that unpacks": with_part(b"zTXt", b"a\0\0" + zlib.compress(b"a" * 1000)),
    "a huge length": png()[:8] + b"\xff\xff\xff\xffIHDR" + png()[16:],
    "no signature": png()[1:],
    "nothing": b"",
    "a signature alone": png()[:8],
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_what_is_no_whole_png_is_refused(content: bytes) -> None:
    with pytest.raises(ReportError, match="PNG"):
        boundary.check_png("x", content)


def test_too_large_a_png_is_refused() -> None:
    boundary.check_png("x", png(boundary.MAX_SIDE // 4))
    header = struct.pack(">IIBBBBB", boundary.MAX_SIDE + 1, 1, 8, 2, 0, 0, 0)
    changed = (
        png()[:8]
        + struct.pack(">I", 13)
        + b"IHDR"
        + header
        + struct.pack(">I", zlib.crc32(b"IHDR" + header))
        + png()[33:]
    )
    with pytest.raises(ReportError, match="too large"):
        boundary.check_png("x", changed)


# ---------------------------------------------------------------- notebooks


def results_with(tmp_path: Path, content: str | bytes) -> Any:
    """A run with this as its executed notebook, and all digests right."""
    project, _ = make_project(tmp_path / "p")
    folder = project / "figures" / "01"
    (folder / NOTEBOOK).write_bytes(content.encode() if isinstance(content, str) else content)
    sign(folder)
    return read_results(folder)


def with_output(output: dict[str, Any]) -> str:
    cell = {"cell_type": "code", "source": "1", "metadata": {}, "execution_count": None, "outputs": [output]}
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]})


OURS = REPOSITORY / "notebooks" / f"{STEM}.ipynb"


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({"application/javascript": "document.title='HACKED'", "text/plain": "x"}, "application/javascript"),
        ({"application/vnd.jupyter.widget-view+json": {"model_id": "0"}}, "widget-view"),
        ({"image/svg+xml": "<svg/>"}, "image/svg"),
        ({"text/latex": r"$\href{javascript:1}{x}$"}, "text/latex"),
        ({"text/markdown": "[x](../../secret.txt)"}, "text/markdown"),
        ({"text/html\u202e": "x"}, "text/html"),
        ({"image/png": base64.b64encode(b"<script>").decode()}, "no PNG"),
        ({"image/png": "../../../../secret.txt"}, "base64"),
        ({"text/html": '<img src="data:image/png;base64,PHN2Zy8+">'}, "no PNG"),
        ({"text/html": {"a": 1}}, "text/html"),
    ],
)
def test_outputs_of_other_kinds_are_refused_by_type(tmp_path: Path, data: dict[str, Any], named: str) -> None:
    results = results_with(tmp_path, with_output({"output_type": "display_data", "metadata": {}, "data": data}))
    with pytest.raises(ReportError, match=named) as caught:
        boundary.notebook(OURS, results)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        "{}",
        '{"nbformat": 3, "cells": []}',
        '{"nbformat": 4, "cells": "x"}',
        b"\xff\xfe",
    ],
    ids=["deep list", "deep object", "empty", "old", "no cells", "no text"],
)
def test_what_is_no_notebook_is_refused(tmp_path: Path, content: str | bytes) -> None:
    with pytest.raises(ReportError, match=r"notebook\.ipynb is no notebook"):
        boundary.notebook(OURS, results_with(tmp_path, content))


def test_outputs_keep_tables_and_pictures_and_lose_what_acts() -> None:
    data = f"data:image/png;base64,{base64.b64encode(png()).decode()}"
    table = '<div><style scoped>a</style><table border="1" class="dataframe"><thead><tr style="text-align: right;"><th></th>'
    table += '</tr></thead><tbody><tr><td colspan="2">1 &lt; 2</td></tr></tbody></table></div>'
    picture = f'<img src="{data}" alt="a &quot;b&quot;" style="max-width: 100%">'
    assert boundary.clean_html("x", table) == table.replace("<style scoped>a</style>", "")
    assert boundary.clean_html("x", picture) == picture
    cleaned = boundary.clean_html("x", (HOSTILE / "outputs" / "everything.html").read_text())
    assert {tag.name for tag in BeautifulSoup(cleaned, "html.parser").find_all()} <= boundary.TAGS
    for word in ("HACKED'>", "script", "hostile", "secret", "onerror", "position", "math"):
        assert not [tag for tag in BeautifulSoup(cleaned, "html.parser").find_all() if word in str(tag.attrs)], word
    assert "\x1b" not in boundary.clean_html("x", "<p>&#27;[31m&#x1b;</p>")


def test_a_strangers_prose_and_metadata_are_not_taken(attack: Attacked) -> None:
    project = attack.root / "project"
    theirs = read_results(project / "_build" / "run" / "quick" / "figures" / "01")
    shown = boundary.notebook(project / "notebooks" / f"{STEM}.ipynb", theirs)
    texts = [cell["source"] for cell in shown.notebook["cells"] if cell["cell_type"] != "code"]
    assert texts == ["# Notebook: hard and soft invariance"]
    assert shown.notebook["metadata"].keys() == {"kernelspec", "language_info"}
    assert shown.notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert all(cell["metadata"] == {} for cell in shown.notebook["cells"])
    assert (shown.cells, shown.differing) == (3, 1)


def test_code_is_shown_as_it_ran_in_the_place_of_ours(tmp_path: Path) -> None:
    v4 = nbformat.v4

    def cells(*sources: str) -> list[Any]:
        return [v4.new_markdown_cell(s[1:]) if s.startswith("#") else v4.new_code_cell(s) for s in sources]

    ours = tmp_path / "01_x.ipynb"
    nbformat.write(v4.new_notebook(cells=cells("# A", "import new", "same", "# B", "gone", "# C", "last")), ours)
    theirs = v4.new_notebook(cells=cells("# X", "import old", "same", "# Y", "last", "more"))
    for number, cell in enumerate(cell for cell in theirs.cells if cell.cell_type == "code"):
        cell.outputs = [v4.new_output("stream", text=f"out {number}\x1b[31m")]
    shown = boundary.notebook(ours, results_with(tmp_path, nbformat.writes(theirs)))
    assert [cell["source"] for cell in shown.notebook["cells"]] == [
        " A",
        "import old",
        "same",
        " B",
        " C",
        "last",
        "more",
    ]
    said = [cell["outputs"][0]["text"] for cell in shown.notebook["cells"] if cell["cell_type"] == "code"]
    assert said == ["out 0", "out 1", "out 2", "out 3"]
    assert (shown.cells, shown.differing) == (4, 2)


def test_published_notebooks_still_show_all_their_outputs() -> None:
    for folder in complete_folders(REPOSITORY / "figures").values():
        (ours,) = (REPOSITORY / "notebooks").glob(f"{folder.name}_*.ipynb")
        theirs = json.loads((folder / NOTEBOOK).read_text())
        outputs = [out for cell in theirs["cells"] for out in cell.get("outputs", [])]
        shown = boundary.notebook(ours, read_results(folder))
        found = [out for cell in shown.notebook["cells"] for out in cell.get("outputs", [])]
        assert [out["data"].keys() for out in found] == [out["data"].keys() for out in outputs]
        for out, original in zip(found, outputs, strict=True):
            old, new = (BeautifulSoup("".join(o["data"].get("text/html", "")), "html.parser") for o in (original, out))
            assert [img.attrs for img in new.select("img")] == [img.attrs for img in old.select("img")]
            assert [td.get_text() for td in new.select("td, th")] == [td.get_text() for td in old.select("td, th")]
        nbformat.validate(shown.notebook)


# ---------------------------------------------------------------- links, names, messages


def test_links_in_a_results_folder_are_refused(tmp_path: Path) -> None:
    project, claims_file = make_project(tmp_path / "p")
    folder = project / "figures" / "01"
    for name in ("run.json", "values.json", "kayhan.csv", "accuracy_by_place.svg", NOTEBOOK):
        moved = (folder / name).rename(tmp_path / "elsewhere")
        (folder / name).symlink_to(moved)
        with pytest.raises(ReportError, match=rf"{name} is a link"):
            read_inputs(project, "published", claims_file)
        (folder / name).unlink()
        moved.rename(folder / name)
    folder.rename(tmp_path / "01")
    folder.symlink_to(tmp_path / "01")
    with pytest.raises(ReportError, match="01 is a link"):
        complete_folders(project / "figures")


def test_only_ordinary_files_of_bounded_size_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ReportError, match="no ordinary file"):
        read_bytes(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"x" * 11)
    with pytest.raises(ReportError, match="too much"):
        read_bytes(tmp_path / "large", 10)
    assert read_bytes(tmp_path / "large", 11) == b"x" * 11


FIELDS = {
    "title": "a\nb",
    "alt": "\x1b]0;HACKED\x07",
    "device_name": "\u202ecod",
    "notebook": "x; touch MARK",
    "commit": "$(touch MARK)",
    "created": "{{ 7 * 7 }}",
    "device": "<b>",
    "chapter": "02",
    "profile": "quick",
    "name": "mention",
    "width_px": 10**9,
}


@pytest.mark.parametrize("field", FIELDS)
def test_a_sidecar_that_is_not_what_it_says_is_refused(tmp_path: Path, field: str) -> None:
    project, _ = make_project(tmp_path / "p")
    folder = project / "figures" / "01"
    path = folder / "accuracy_by_place.json"
    write_json(path, json.loads(path.read_text()) | {field: FIELDS[field]})
    sign(folder)
    with pytest.raises(ReportError, match=rf"accuracy_by_place\.json: {field}: ") as caught:
        boundary.passed(read_results(folder))
    assert str(caught.value).isprintable()


def test_messages_print_names_on_one_line_without_what_steers_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from clip_invariance.cli import _failed

    assert printable("a\nb\x1b[2J\u202e\u00a0c") == "a b\\x1b[2J\\u202e\u00a0c"
    assert len(printable("x" * 1000, 50)) == 50
    project, _ = make_project(tmp_path / "p")
    path = project / "figures" / "01" / "values.json"
    values = json.loads(path.read_text())
    values["values"]["\x1b[31m\nclip-invariance: all is well"] = {}
    write_json(path, values)
    with pytest.raises(ReportError, match="values") as caught:
        read_results(path.parent)
    assert str(caught.value).isprintable()
    assert _failed("first\x1b[2J\nsecond", 1, debug=True) == 1
    assert "first\\x1b[2J second" in capsys.readouterr().err


# ---------------------------------------------------------------- one run with everything in it


def hostile_texts(root: Path) -> list[str]:
    return (HOSTILE / "texts.txt").read_text().replace("MARK", str(root / "MARK")).splitlines()


def hostile_notebook(root: Path) -> Any:
    """The report's notebook with prose, metadata, code and outputs that try everything."""
    v4 = nbformat.v4
    prose = (HOSTILE / "prose" / "cells.md").read_text().replace("MARK", str(root / "MARK")).split("====\n")
    cells: list[Any] = [
        v4.new_markdown_cell(text, attachments={"x.svg": {"image/svg+xml": "<svg/>"}}) for text in prose
    ]
    cells.append(v4.new_raw_cell("<script>document.title='HACKED'</script>", metadata={"format": "text/html"}))
    html = (HOSTILE / "outputs" / "everything.html").read_text()
    bundle = {"text/html": html, "text/plain": "\x1b[2J" + "\n".join(hostile_texts(root))}
    outputs = [
        v4.new_output("execute_result", data=bundle, execution_count=1, metadata={"text/html": {"isolated": True}})
    ]
    outputs += [v4.new_output("display_data", data={"image/png": base64.b64encode(png(4)).decode()})]
    outputs += [v4.new_output("stream", name="stderr", text=html + "\x1b]0;HACKED\x07")]
    code = f"open({str(root / 'MARK.executed')!r}, 'w').close()\n# <script>document.title='HACKED'</script>"
    cells += [
        v4.new_code_cell('profile = "quick"', metadata={"tags": ["parameters"], "mystnb": {"execution_mode": "force"}}),
        v4.new_code_cell("print('accuracy 0.98')", outputs=outputs),
        v4.new_code_cell(code, metadata={"mystnb": {"image": {"src": "../../../../secret.txt"}}, "render": {"x": 1}}),
    ]
    forced = {"execution_mode": "force", "execute_notebooks": "force", "render_text_lexer": "html"}
    metadata = {
        "mystnb": forced, "myst_nb": forced, "myst": {"enable_extensions": ["substitution"]}, "substitutions": {"a": "b"},
        "execution": {"mode": "force", "timeout": 9}, "jupyter": {"jupyter_book": forced},
        "jupytext": {"text_representation": {}},
        "kernelspec": {"name": f"python3 && touch {root / 'MARK.kernel'}", "display_name": "<script>"},
        "html_meta": {"http-equiv=refresh": "0; url=https://hostile.invalid/"},
        "widgets": {"application/vnd.jupyter.widget-state+json": {"state": {"0": {"model_module": "https://hostile.invalid/"}}}},
    }  # fmt: skip
    return v4.new_notebook(cells=cells, metadata=metadata)


def write_table(path: Path, texts: list[str]) -> None:
    """Call what the rows are about by these texts instead."""
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    names = dict(zip(dict.fromkeys(row[0] for row in rows), texts, strict=True))
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *([names[row[0]], *row[1:]] for row in rows)])


def hostile_run_in(project: Path, claims_file: Path) -> Path:
    """A run at profile quick with the corpus in every place, all digests right; marks would lie beside the project."""
    root = project.parent
    folder = project / "_build" / "run" / "quick" / "figures" / "01"
    (root / "secret.txt").write_text(SECRET)
    write_results(folder, claims_file, "quick", shift=0.5)
    texts = hostile_texts(root)
    for path in [*folder.glob("*.json")]:
        record = json.loads(path.read_text())
        for name in ("title", "alt", "experiment", "device_name"):
            if name in record:
                record[name] = " ".join(texts)
        if "attribution" in record:
            record["attribution"] = texts
        if "versions" in record:
            record["versions"] = {text: text for text in texts}
        for value in record.get("values", {}).values():
            value |= {"description": " ".join(texts), "unit": texts[2][:30]}
        if "parameters" in record:
            record["parameters"]["label"] = texts
        write_json(path, record)
    write_table(folder / "kayhan.csv", [texts[1], texts[3]])
    write_table(folder / "mention.csv", [texts[2], texts[5]])
    (folder / NOTEBOOK).write_text(nbformat.writes(hostile_notebook(root)))
    (folder / "stray.html").write_text("<script>document.title='HACKED'</script>")
    (folder / "secret.csv").symlink_to(root / "secret.txt")
    (project / "_build" / "run" / "quick" / "notebooks").mkdir()
    (project / "_build" / "run" / "quick" / "notebooks" / f"{STEM}.ipynb").symlink_to(root / "secret.txt")
    sign(folder)
    return folder


@dataclass(frozen=True)
class Attacked:
    root: Path
    site: Path
    verified: Path


@pytest.fixture(scope="module")
def attack(tmp_path_factory: pytest.TempPathFactory) -> Attacked:
    project, claims_file = make_project(tmp_path_factory.mktemp("attacked") / "project")
    run = hostile_run_in(project, claims_file)
    _, page = verify_folder(project, run.parent)
    return Attacked(project.parent, build_site(project, "quick", claims_file), page)


def test_the_run_left_no_mark_and_carried_no_file_away(attack: Attacked) -> None:
    assert sorted(path.name for path in attack.root.iterdir()) == ["project", "secret.txt"]
    assert not list(attack.root.rglob("MARK*"))
    for path in [*attack.site.rglob("*"), attack.verified]:
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path
            assert path.name not in ("stray.html", "secret.csv")


def test_what_strangers_wrote_is_shown_as_text(attack: Attacked) -> None:
    chapter, notebook, run, status = (
        BeautifulSoup((attack.site / name).read_text(), "html.parser").get_text(" ")
        for name in (f"book/{STEM}.html", f"notebooks/{STEM}.html", "book/your_run.html", "book/status.html")
    )
    script, braces = "<script>document.title=", "{{ cycler.__init__"  # quotes may be turned, as in all prose
    for page in (chapter, run, status, BeautifulSoup(attack.verified.read_text(), "html.parser").get_text(" ")):
        assert script in page
        assert braces in page
    assert "accuracy 0.98" in notebook
    assert "MARK.executed" in notebook  # its code, as text
    assert "Code cells that differ from this report’s notebook, shown as they ran: 1 of 3." in notebook
    assert "{include}" not in notebook.replace("`{include}", "")  # no prose of theirs
    source = json.loads((attack.site / "_sources" / "notebooks" / f"{STEM}.ipynb").read_text())
    assert "mystnb" not in json.dumps(source["metadata"])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = find_chromium()
    if path is None:
        pytest.skip(
            "no Chromium or Chrome on the path and none named by CHROMIUM: no hostile page was opened in a browser"
        )
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield chromium
        chromium.close()


@dataclass
class Watched:
    """A page and all that it asked for and complained of."""

    page: Page
    asked: list[str]
    said: list[str]


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    context = browser.new_context(viewport=LAPTOP)
    found = Watched(context.new_page(), [], [])

    def guard(route: Route) -> None:
        route.continue_() if route.request.url.startswith(("file:", "data:")) else route.abort()

    def asked(request: Request) -> None:
        if not request.url.startswith(("file:", "data:")):
            found.asked.append(request.url)

    context.route("**/*", guard)
    found.page.on("request", asked)
    found.page.on("console", lambda said: found.said.append(said.text) if said.type in ("error", "warning") else None)
    found.page.on("pageerror", lambda error: found.said.append(str(error)))
    found.page.on("dialog", lambda dialog: found.said.append(dialog.message) or dialog.dismiss())
    yield found
    context.close()


@pytest.mark.browser
def test_no_page_of_a_hostile_run_acts_or_asks_anybody(attack: Attacked, watched: Watched) -> None:
    pages = [*attack.site.glob("book/*.html"), *attack.site.glob("notebooks/*.html"), attack.verified]
    pages += [*attack.site.glob("_images/*.svg")]
    for path in sorted(pages):
        watched.page.goto(path.as_uri(), wait_until="load")
        watched.page.wait_for_timeout(200)
        for link in watched.page.locator(".bd-article a, body > table a").all()[:40]:
            assert not (link.get_attribute("href") or "").lower().strip().startswith(("javascript", "data"))
        assert "HACKED" not in watched.page.title()
        assert watched.page.url.split("#")[0] == path.as_uri(), "the page went elsewhere"
        assert watched.page.locator("iframe, object, embed, .output form").count() == 0
    assert (watched.asked, watched.said) == ([], [])
    watched.page.goto((attack.site / "book" / f"{STEM}.html").as_uri())
    watched.page.wait_for_selector("mjx-container[display=true] mjx-math")
    inside = (
        "article .result-links mjx-container, .claim mjx-container, .explore mjx-container, .result-table mjx-container"
    )
    assert watched.page.locator(inside).count() == 0, "a result was typeset as math"
    for query in ("cycler", "hacked", "hostile"):
        watched.page.goto((attack.site / "search.html").as_uri() + f"?q={query}")
        watched.page.wait_for_selector("#search-results p.search-summary")
        watched.page.wait_for_timeout(200)
        assert "HACKED" not in watched.page.title()
    assert (watched.asked, watched.said) == ([], [])


@pytest.mark.browser
def test_what_would_slip_through_does_nothing(attack: Attacked, browser: Browser) -> None:
    """The policy of a page by itself: markup that never passed the boundary is put in after the page was sealed."""
    asked: list[str] = []

    class Host(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            """Nothing: requests are counted."""

    page = attack.site / "book" / "methods.html"
    smuggled = (HOSTILE / "outputs" / "everything.html").read_text().split("<xmp>")[0]
    smuggled = "\n".join(line for line in smuggled.splitlines() if "refresh" not in line)  # a policy stops no refresh
    link = "<a id='smuggled' href=\"javascript:document.title='HACKED'\">x</a>"
    copy, context = page.with_name("smuggled.html"), browser.new_context()
    tab, said = context.new_page(), list[str]()
    tab.on("console", lambda message: said.append(message.text))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Host) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        text = page.read_text().replace("<article", f"{link}{smuggled}<article", 1)
        copy.write_text(text.replace("https://hostile.invalid", address))
        try:
            for name, expected in (
                (copy.as_uri(), 0),
                (address, 1),
            ):  # the second shows that the host would have noticed
                tab.goto(name, wait_until="load")
                if expected == 0:
                    tab.evaluate("document.getElementById('smuggled').click()")
                    tab.wait_for_timeout(300)
                    assert "HACKED" not in tab.title()
                assert bool(asked) == bool(expected), asked
        finally:
            copy.unlink()
            context.close()
            server.shutdown()
    assert any("Content Security Policy" in message for message in said)


@pytest.mark.browser
def test_an_honest_site_works_from_its_folder_under_its_policy(watched: Watched) -> None:
    site = built_project()[2]
    page = watched.page
    page.goto((site / "index.html").as_uri())
    page.wait_for_url("**/book/index.html")
    page.goto((site / "book" / f"{STEM}.html").as_uri())
    page.wait_for_selector("mjx-container[display=true] mjx-math")
    slider = page.locator(".explore input[type=range]")
    before = page.locator(".explore-choice").inner_text()
    slider.focus()
    slider.press("ArrowRight")
    assert page.locator(".explore-choice").inner_text() != before
    for _ in range(3):
        if page.evaluate("document.documentElement.dataset.theme") == "dark":
            break
        page.locator("button.theme-switch-button:visible").first.click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.locator("details.cite summary").click()
    page.locator(".cite-copy").click()
    page.locator(".cite-done:not(:empty)").wait_for()
    page.evaluate("window.print = () => { window.printed = true }")
    page.evaluate("document.querySelector('.btn-download-pdf-button').click()")
    assert page.evaluate("window.printed") is True
    page.goto((site / "notebooks" / f"{STEM}.html").as_uri())
    page.locator("button.copybtn").first.wait_for(state="attached")
    page.goto((site / "search.html").as_uri() + "?q=torus")
    page.wait_for_selector("#search-results ul.search li a")
    assert (watched.asked, watched.said) == ([], [])


# ---------------------------------------------------------------- the last look

HEAD = '<!DOCTYPE html><html><head><meta charset="utf-8" /></head><body>{}</body></html>'


@pytest.mark.parametrize(
    "inside",
    [
        "<script>document.title='HACKED'</script>",
        "<script src='https://hostile.invalid/x.js'></script>",
        "<script src='data:text/javascript,1'></script>",
        "<script>window.MathJax = {}; document.title = 1</script>",
        '<script>window.MathJax = {"a": document.cookie}</script>',
        "<script>DOCUMENTATION_OPTIONS.pagename = 'a'; alert(1);</script>",
        "<p onclick='x()'>",
        "<img src=x onerror=x>",
        "<img src='//hostile.invalid/x'>",
        "<img src='\\\\hostile.invalid\\x'>",
        "<img srcset='https://hostile.invalid/x 2x'>",
        "<a href='java&#115;cript:x'>",
        "<a href=' \tjavascript:x'>",
        "<a href='file:///etc/passwd'>",
        "<a href='/etc/passwd'>",
        "<a href='x' ping='x'>",
        "<meta http-equiv='refresh' content='0; url=x'>",
        "<iframe src=x>",
        "<object data=x>",
        "<base href=x>",
        "<form action='https://hostile.invalid/'>",
        "<button formaction='javascript:x'>",
        "<svg><a xlink:href='javascript:x'/></svg>",
    ],
)
def test_a_page_with_anything_unknown_in_it_is_not_built(inside: str) -> None:
    with pytest.raises(ReportError, match=r"x\.html was not built: it would contain "):
        sealed(HEAD.format(inside), "x.html")


def test_every_page_has_its_policy_before_anything_is_loaded() -> None:
    site = built_project()[2]
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 10
    for path in pages:
        text = path.read_text()
        page = BeautifulSoup(text, "html.parser")
        (policy,) = page.select("meta[http-equiv=Content-Security-Policy]")
        assert "default-src 'none'" in policy["content"]
        assert "unsafe-inline" not in policy["content"].split("style-src")[0]
        assert "unsafe-eval" not in policy["content"]
        assert text.index("Content-Security-Policy") < min(text.find("<script") % 10**9, text.find("<link") % 10**9)
        assert text.index("charset") < 1024
        assert not [tag for tag in page.find_all() if any(name.startswith("on") for name in tag.attrs)]


def test_a_file_that_was_not_staged_is_noticed(tmp_path: Path) -> None:
    for name in ("site/_downloads/ab", "site/_static", "stage/figures/01", "stage/book", "stage/notebooks"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "stage" / "figures" / "01" / "a.csv").write_text("a,b\n")
    (tmp_path / "site" / "_downloads" / "ab" / "a.csv").write_text("a,b\n")
    check_files_of(tmp_path / "site", tmp_path / "stage")
    for name, content in (("_downloads/ab/secret.txt", SECRET), ("_static/x.exe", "x"), ("_images/x.svg", "<svg/>")):
        path = tmp_path / "site" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        with pytest.raises(ReportError, match=f"{name} was not built"):
            check_files_of(tmp_path / "site", tmp_path / "stage")
        path.unlink()
    (tmp_path / "site" / "link").symlink_to("/etc/passwd")
    with pytest.raises(ReportError, match="no ordinary file"):
        check_files_of(tmp_path / "site", tmp_path / "stage")


def test_pages_insert_no_files(tmp_path: Path) -> None:
    """Even the report's own prose cannot pull a file into the site."""
    project, claims_file = make_project(tmp_path / "p")
    (tmp_path / "secret.txt").write_text(SECRET)
    page = project / "book" / "methods.md"
    page.write_text(page.read_text() + "\n```{literalinclude} ../../../../secret.txt\n```\n")
    with pytest.raises(ReportError, match=r"book/methods\.md"):
        build_site(project, claims_file=claims_file)


def test_an_honest_run_of_another_machine_verifies_and_builds(tmp_path: Path) -> None:
    """Published results as if a stranger had sent them: everything passes as it is."""
    for folder in complete_folders(REPOSITORY / "figures").values():
        passed = boundary.passed(read_results(folder))
        assert all(content == (folder / name).read_bytes() for name, content in passed.items())
        assert read_sidecar(folder / f"{read_results(folder).run.figures[0]}.json").chapter == folder.name
    inputs = read_inputs(REPOSITORY, "published", CLAIMS_FILE)
    stage(inputs, tmp_path / "staging")
    assert len(list((tmp_path / "staging" / "figures").glob("*/*.svg"))) == len(
        list((REPOSITORY / "figures").glob("*/*.svg"))
    )
    copy = tmp_path / "copy"
    shutil.copytree(REPOSITORY / "figures", copy / "figures")
    compared, page = verify_folder(copy, REPOSITORY / "figures")
    assert compared.within == compared.measured > 100
    assert page.is_file()


# ---------------------------------------------------------------- models

FOREIGN = {
    "remote code": (
        "open_clip_config.json",
        {"model_cfg": {"text_cfg": {"tokenizer_kwargs": {"trust_remote_code": True}}}},
    ),
    "remote code, deep": ("open_clip_config.json", {"a": [{"b": {"trust_remote_code": "yes"}}]}),
    "other tokenizer settings": (
        "open_clip_config.json",
        {"model_cfg": {"text_cfg": {"tokenizer_kwargs": {"subfolder": "x"}}}},
    ),
    "another vocabulary": (
        "open_clip_config.json",
        {"model_cfg": {"text_cfg": {"tokenizer_kwargs": {"bpe_path": "/x"}}}},
    ),
    "tokenizer's code": ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}),
    "model's code": ("config.json", {"auto_map": {"AutoModel": "evil.Evil"}}),
    "pipelines": ("config.json", {"custom_pipelines": {"x": {"impl": "evil.Evil"}}}),
    "below": ("more/config.json", {"auto_map": {"AutoConfig": "evil.Evil"}}),
    "a class that is none": ("tokenizer_config.json", {"tokenizer_class": "pipeline"}),
    "a file elsewhere": ("tokenizer_config.json", {"vocab_file": "../../secret.txt"}),
    "one of several files elsewhere": (
        "tokenizer_config.json",
        {"fast_tokenizer_files": ["../../tokenizer.4.0.0.json"]},
    ),
    "a file of another format": ("tokenizer_config.json", {"gguf_file": "secret.gguf"}),
    "arguments of its own": ("tokenizer_config.json", {"init_inputs": ["../../secret.txt"]}),
    "another model": ("config.json", {"model_type": "detr", "backbone": "somebody/evil", "use_timm_backbone": False}),
    "a tower on the hub": ("open_clip_config.json", {"model_cfg": {"text_cfg": {"hf_model_name": "somebody/evil"}}}),
    "a tower in a folder": ("open_clip_config.json", {"model_cfg": {"text_cfg": {"hf_model_name": "./evil"}}}),
    "timm from the hub": (
        "open_clip_config.json",
        {"model_cfg": {"vision_cfg": {"timm_model_name": "hf-hub:somebody/evil"}}},
    ),
    "timm from a folder": (
        "open_clip_config.json",
        {"model_cfg": {"vision_cfg": {"timm_model_name": "local-dir:evil"}}},
    ),
}


@pytest.fixture
def small_clip(tmp_path: Path) -> Path:
    from clip_invariance.models import clip

    folder = tmp_path / "theirs"
    clip.save(clip.create("vit", size=32, embed_dim=16, seed=0), folder, "vit")
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'MARK')!r}, 'w').close()\nclass Evil: pass\n")
    return folder


@pytest.mark.parametrize("what", FOREIGN)
def test_a_model_that_brings_code_is_refused_by_file_and_key(
    small_clip: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from clip_invariance.cli import main

    name, settings = FOREIGN[what]
    path = small_clip / name
    path.parent.mkdir(exist_ok=True)
    before = json.loads(path.read_text()) if path.exists() else {}
    for key, value in settings.get("model_cfg", {}).items():
        before["model_cfg"][key] |= value
    path.write_text(json.dumps(settings | before))
    assert main(["audit", "--model", f"local-dir:{small_clip}", "--device", "cpu"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert name in line
    assert line.endswith("this is refused")
    assert not (small_clip.parent / "MARK").exists()


def test_a_link_out_of_a_models_folder_is_refused_and_the_hubs_own_links_are_not(
    small_clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An audit's record holds a digest of each file it read: of a short secret, that tells the secret."""
    from clip_invariance.audit import checkpoints
    from clip_invariance.cli import main

    secret = small_clip.parent / "secret.txt"
    secret.write_text("1234")
    (small_clip / "zz.bin").symlink_to(secret)
    assert main(["audit", "--model", f"local-dir:{small_clip}", "--device", "cpu"]) == 2
    assert "zz.bin is a link out of the model's folder" in capsys.readouterr().err
    cache = small_clip.parent / "models--somebody--clip"
    snapshot = cache / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (cache / "blobs").mkdir()
    for number, name in enumerate(("open_clip_config.json", "open_clip_model.safetensors")):
        (small_clip / name).rename(cache / "blobs" / str(number))
        (snapshot / name).symlink_to(Path("../../blobs") / str(number))
    assert checkpoints.load(checkpoints.find(f"local-dir:{snapshot}")).texts(["a red light"]).shape == (1, 16)


def test_the_tokenizer_of_a_folder_is_made_without_a_network(small_clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text tower that open_clip knows may come from the hub; the folder's tokenizer asks nobody, whatever it says."""
    import open_clip
    from huggingface_hub import constants

    from clip_invariance.audit import checkpoints
    from clip_invariance.errors import UsageError

    offline: list[bool] = []
    config = json.loads((small_clip / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"] |= {"hf_model_name": "roberta-base", "hf_tokenizer_name": "roberta-base"}
    (small_clip / "open_clip_config.json").write_text(json.dumps(config))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.get_session", lambda: SimpleNamespace(head=lambda *_, **__: None))
    found = checkpoints.find(f"local-dir:{small_clip}")
    monkeypatch.setattr(open_clip, "get_tokenizer", lambda *_, **__: offline.append(constants.HF_HUB_OFFLINE))
    monkeypatch.setattr(open_clip, "create_model", lambda *_, **__: offline.append(constants.HF_HUB_OFFLINE))
    with pytest.raises((UsageError, AttributeError)):
        checkpoints.load(found)
    assert offline == [True, False]


def test_should_a_setting_slip_through_no_code_is_imported(small_clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import dynamic_module_utils

    from clip_invariance.audit import checkpoints, settings
    from clip_invariance.errors import UsageError

    config = json.loads((small_clip / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"] |= {"hf_tokenizer_name": "x", "tokenizer_kwargs": {"trust_remote_code": True}}
    (small_clip / "open_clip_config.json").write_text(json.dumps(config))
    (small_clip / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}))
    monkeypatch.setattr(settings, "check_folder", lambda *_: None)
    found = checkpoints.find(f"local-dir:{small_clip}")
    with pytest.raises(UsageError):
        checkpoints.load(found)
    with settings.no_foreign_code(), pytest.raises(UsageError, match="trust_remote_code"):
        dynamic_module_utils.get_class_from_dynamic_module("evil.Evil", str(small_clip))
    assert not (small_clip.parent / "MARK").exists()


def test_an_honest_model_in_a_folder_still_loads(small_clip: Path) -> None:
    from clip_invariance.audit import checkpoints

    (small_clip / "tokenizer_config.json").write_text(
        json.dumps(
            {"tokenizer_class": "CLIPTokenizer", "trust_remote_code": False, "special_tokens_map_file": "/elsewhere/x"}
        )
    )
    encoder = checkpoints.load(checkpoints.find(f"local-dir:{small_clip}"))
    assert encoder.texts(["a red light"]).shape == (1, 16)


def test_open_clips_own_towers_pass() -> None:
    import open_clip

    from clip_invariance.audit import settings

    names = set(settings.text_models())
    assert "roberta-base" in names
    for name in open_clip.list_models():
        config = open_clip.get_model_config(name)
        for part in ("vision_cfg", "text_cfg"):
            assert set(config[part].get("tokenizer_kwargs") or {}) <= settings.TOKENIZER_SETTINGS
            assert "timm_model_name" not in config[part] or settings.is_timm(config[part]["timm_model_name"]), name


def test_publishing_passes_the_boundary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clip_invariance.report.publish import publish

    project, _ = make_project(tmp_path / "p")
    run = project / "_build" / "run" / "standard" / "figures" / "01"
    write_results(run, CLAIMS_FILE)
    (run / "accuracy_by_place.dark.svg").write_bytes((HOSTILE / "pictures" / "script.svg").read_bytes())
    sign(run)
    with pytest.raises(ReportError, match=r"accuracy_by_place\.dark\.svg: the element 'script'"):
        publish(project, [], None, force=True)
    assert b"script" not in (project / "figures" / "01" / "accuracy_by_place.dark.svg").read_bytes()


def its_notebook(folder: Path, change: Callable[[Any], object]) -> None:
    made = json.loads((folder / NOTEBOOK).read_text())
    change(made)
    (folder / NOTEBOOK).write_text(json.dumps(made))
    sign(folder)


def output_of(made: Any, **data: Any) -> None:
    made["cells"][-1]["outputs"] = [{"output_type": "display_data", "metadata": {}, "data": data}]


PANDAS = pd.DataFrame({"a": [1]})._repr_html_()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda made: made["cells"][0].update(source="# <script>"), r"cell 1: the text .* is not that of notebooks/"),
        (lambda made: made["cells"].pop(0), r"(?:cell 1: the text|lacks the text) .*run the chapter again"),
        (lambda made: made["cells"].append(made["cells"][0]), r"cell 5: the text .* is not that"),
        (lambda made: made["cells"][0].update(cell_type="raw"), r"cell 1: the text .* is not that"),
        (lambda made: made["cells"][0].update(attachments={"x.svg": {}}), r"cell 1: the field 'attachments'"),
        (lambda made: made["cells"][1]["metadata"].update(mystnb={}), r"cell 2: the field 'mystnb'"),
        (lambda made: made["metadata"].update(widgets={}), r"the field 'widgets'"),
        (lambda made: made.update(metadata=["x"]), r"the field 'metadata'"),
        (lambda made: output_of(made, **{"text/html": "<script>1</script>"}), r"cell 4: an output with more than"),
        (lambda made: output_of(made, **{"text/html": "<p onclick='1'>x</p>"}), r"cell 4: an output with more than"),
        (lambda made: output_of(made, **{"text/html": "<style>a</style>" + PANDAS}), r"cell 4: an output with more"),
        (lambda made: output_of(made, **{"text/plain": "\x1b[2J"}), r"cell 4: an output with more than"),
        (lambda made: output_of(made, **{"application/javascript": "1"}), r"application/javascript"),
        (lambda made: made["cells"][-1]["outputs"][0].update(metadata={"x": 1}), r"cell 4: an output with the field"),
    ],
)
def test_publishing_takes_no_notebook_with_more_than_code_and_clean_outputs(
    tmp_path: Path, change: Callable[[Any], object], message: str
) -> None:
    from clip_invariance.report.publish import publish

    project, _ = make_project(tmp_path / "p", results=False)
    run = project / "_build" / "run" / "standard" / "figures" / "01"
    write_results(run, CLAIMS_FILE)
    its_notebook(run, lambda made: output_of(made, **{"text/html": PANDAS}))
    publish(project, [], None, force=True)
    published = project / "figures" / "01" / NOTEBOOK
    before = published.read_bytes()
    assert before == (run / NOTEBOOK).read_bytes()
    its_notebook(run, change)
    with pytest.raises(ReportError, match=message):
        publish(project, [], None, force=True)
    assert published.read_bytes() == before


@pytest.mark.parametrize("name", ["foo.svg", "foo.csv", "foo.json", "kayhan.svg"])
def test_files_of_no_figure_are_neither_published_nor_shown_nor_compared(tmp_path: Path, name: str) -> None:
    from clip_invariance.report.publish import publish

    project, _ = make_project(tmp_path / "p")
    run = project / "_build" / "run" / "standard" / "figures" / "01"
    write_results(run, CLAIMS_FILE)
    (run / name).write_bytes((HOSTILE / "pictures" / "script.svg").read_bytes())
    record = json.loads((run / "run.json").read_text())
    write_json(run / "run.json", record | {"files": record["files"] | {name: ""}})
    sign(run)
    with pytest.raises(ReportError, match=rf"{name}.* belongs to no figure of the run"):
        publish(project, [], None, force=True)
    with pytest.raises(ReportError, match=rf"{name}.* belongs to no figure of the run"):
        boundary.passed(read_results(run))
    if name != "kayhan.svg":
        with pytest.raises(ReportError, match=rf"{name}, which belongs to no figure of the run"):
            verify_folder(project, run.parent)
    assert not (project / "figures" / "01" / name).exists()


def test_published_notebooks_could_be_published_again() -> None:
    """But for their prose, which may have been edited since."""
    for folder in complete_folders(REPOSITORY / "figures").values():
        boundary.check_publishable(folder / NOTEBOOK, read_results(folder))
