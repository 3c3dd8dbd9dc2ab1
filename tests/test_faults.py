"""What must survive: kill -9 at any moment, a full disk, folders that cannot be written, two runs at once, damaged and
hostile results files.

Runs here execute the notebook's cells in the process that runs them, without a Jupyter kernel, which would take most of the
time; ``test_run.py`` has a kernel and workers killed and stopped.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from child_run import IMPORTED, RUN, execute_here, run_in_child
from clip_invariance.cli import main
from clip_invariance.errors import ReportError
from clip_invariance.results import check_files, read_results, run_folder, sha256
from clip_invariance.rules.claims import CLAIMS_FILE
from clip_invariance.run import run as run_module
from clip_invariance.run.run import _locked
from clip_invariance.site.build import read_inputs, stage
from fake_project import CELLS, files_below, run_cli, write_notebook, write_project
from results_fixture import replace_in_run, value, write_results


@pytest.fixture
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def ours() -> dict[str, str]:
        return {name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")}

    before = ours()
    monkeypatch.setattr(run_module, "_execute", execute_here)
    yield
    assert ours() == before  # what a run tells its kernels is for them


def figures(project: Path) -> Path:
    return project / "_build" / "run" / "quick" / "figures" / "01"


def tables(project: Path) -> dict[str, bytes]:
    """What a run found: every table, number and picture. Times, dates and commits may differ."""
    return {
        n: c for n, c in files_below(figures(project)).items() if n.endswith((".csv", ".svg")) or n == "values.json"
    }


def stored(project: Path) -> dict[str, bytes]:
    """Units that are finished: the store's entries with their contents."""
    store = project / "_build" / "store"
    return {n: c for n, c in files_below(store).items() if ".tmp-" not in n} if store.exists() else {}


# ---------------------------------------------------------------- killed


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_kills_lose_nothing_that_was_finished_and_change_nothing(tmp_path: Path) -> None:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(IMPORTED)

    def start(project: Path) -> Any:
        child = processes.Process(target=run_in_child, args=(project, "0.05"))
        child.start()
        return child

    warm = processes.Process(target=os.getpid)  # the server imports everything once
    warm.start()
    warm.join()
    undisturbed, disturbed = (write_project(tmp_path / name / "project") for name in ("one", "two"))
    run_in = start(undisturbed)
    began = time.monotonic()
    run_in.join()
    duration = time.monotonic() - began
    assert run_in.exitcode == 0

    moments = random.Random(7)
    finished: dict[str, bytes] = {}
    ends = []
    for _ in range(20):
        child = start(disturbed)
        child.join(moments.uniform(0, duration))
        child.kill()
        child.join()
        ends.append(child.exitcode)
        now = stored(disturbed)
        assert {name: now.get(name) for name in finished} == finished  # nothing lost, nothing rewritten
        finished = now
        if figures(disturbed).exists():  # a run that is there is there as a whole
            check_files(read_results(figures(disturbed)))
        if len(finished) == 2 * 12 and figures(disturbed).exists():
            shutil.rmtree(disturbed / "_build")  # done before 20 kills: start over
            finished = {}
    assert ends.count(-9) >= 10
    last = start(disturbed)
    last.join()
    assert last.exitcode == 0
    assert tables(disturbed) == tables(undisturbed)
    assert len(stored(disturbed)) == 2 * 12  # a table and its record per unit, and no more
    assert {path.name for path in figures(disturbed).parent.iterdir()} == {"01"}


# ---------------------------------------------------------------- disks


@contextlib.contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Callable[[str], None]]:
    """A file system of its own at a folder; the yielded function mounts it again with other options."""
    folder.mkdir(parents=True, exist_ok=True)

    def mount(*arguments: str) -> None:
        done = subprocess.run(["mount", *arguments, str(folder)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no disk of its own can be mounted here: {done.stderr.strip()}")

    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk, so no full or read-only disk was tried")
    mount("-t", "tmpfs", "-o", options, "tmpfs")
    try:
        yield lambda again: mount("-o", f"remount,{again}")
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.usefixtures("no_kernel")
def test_full_disk_fails_in_one_line_and_the_run_goes_on_when_there_is_room(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_disk(project / "_build", "size=120k") as again:
        assert main(list(RUN)) == 1
        errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("clip-invariance:")]
        assert len(errors) == 1
        assert "No space left on device" in errors[0]
        assert not figures(project).exists()
        before = stored(project)
        assert before
        again("size=20m")
        assert main(list(RUN)) == 0
        assert {name: stored(project)[name] for name in before} == before
        results = read_results(figures(project))
        check_files(results)
        assert results.run.reused == len(before) // 2


@pytest.mark.usefixtures("no_kernel")
def test_disk_that_is_full_later_leaves_the_earlier_run(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with small_disk(project / "_build", "size=20m"):
        assert main(list(RUN)) == 0
        kept = files_below(figures(project))
        filler = project / "_build" / "filler"
        with contextlib.suppress(OSError), filler.open("wb") as file:
            while True:
                file.write(bytes(4096))
                file.flush()
        assert main([*RUN, "--set", "steps=4"]) == 1
        assert "No space left on device" in capsys.readouterr().err
        assert files_below(figures(project)) == kept
        filler.unlink()
        assert main([*RUN, "--set", "steps=4"]) == 0


@pytest.mark.usefixtures("no_kernel")
@pytest.mark.parametrize("command", [RUN, ("build",), ("build", "--from", "quick"), ("verify", "--profile", "quick")])
def test_read_only_folder_is_named_in_one_line(
    project: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    (project / "_config.yml").write_text("sphinx: {config: {}}\n")
    (project / "book").mkdir()
    with small_disk(project / "_build", "size=20m") as again:
        run = run_folder(project, "quick") / "figures" / "01"
        for folder in (run, project / "figures" / "01"):
            folder.mkdir(parents=True)
            write_results(folder, {"gap": value(1.0)}, profile="quick")
        again("ro")
        assert main(list(command)) in (1, 2)
        (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("clip-invariance:")]
        assert "_build" in error
        assert "Read-only file system" in error


@pytest.mark.usefixtures("no_kernel")
def test_publish_into_a_read_only_folder_leaves_it_as_it_was(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_folder(project, "standard") / "figures" / "01"
    run.mkdir(parents=True)
    write_results(run, {"gap": value(1.0)})
    with small_disk(project / "figures", "size=20m") as again:
        again("ro")
        assert main(["publish"]) == 1
        assert "Read-only file system" in capsys.readouterr().err
        assert list((project / "figures").iterdir()) == []
    assert not (project / "CHANGELOG.md").exists()


# ---------------------------------------------------------------- two at once


@pytest.mark.slow
def test_of_two_runs_at_once_in_one_folder_one_is_refused_and_the_other_is_whole(tmp_path: Path) -> None:
    processes = multiprocessing.get_context("forkserver")
    project = write_project(tmp_path / "project")
    both = [processes.Process(target=run_in_child, args=(project, "0.2")) for _ in range(2)]
    for child in both:
        child.start()
    for child in both:
        child.join()
    assert sorted(child.exitcode for child in both) == [0, 2]
    check_files(read_results(figures(project)))


@pytest.mark.usefixtures("no_kernel")
def test_runs_at_other_profiles_share_the_store(project: Path) -> None:
    with _locked(run_folder(project, "standard"), "01"):
        assert main(list(RUN)) == 0
    assert main([*RUN[:2], "standard", *RUN[3:]]) == 0
    record = read_results(run_folder(project, "standard") / "figures" / "01").run
    assert (record.units, record.reused) == (12, 12)


# ---------------------------------------------------------------- a notebook that raises


@pytest.mark.slow
def test_report_with_a_failing_cell_builds_no_page(tmp_path: Path) -> None:
    project = write_project(tmp_path / "project")
    write_notebook(project, [*CELLS[:3], 'raise RuntimeError("no such light")', *CELLS[3:]])
    done = run_cli(project, "report", "--profile", "quick", "--device", "cpu", "--jobs", "1")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "01_fake.ipynb, cell 6: RuntimeError: no such light" in last
    assert not (project / "_build" / "site").exists()
    kept = nbformat.read(project / "_build/run/quick/.partial/01/notebook.ipynb", as_version=4)
    assert any(output.output_type == "error" for cell in kept.cells for output in cell.get("outputs", []))


# ---------------------------------------------------------------- damaged files


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0x10
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "flipped": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
    "binary": lambda path: path.write_bytes(bytes(range(256))),
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    "swapped": lambda path: path.write_bytes((path.parent / SWAPPED[path.name]).read_bytes()),
    "older": lambda path: path.write_text(path.read_text().replace('"schema": 1', '"schema": 0')),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "unreadable": lambda path: path.chmod(0),
}
FILES = (
    "values.json",
    "run.json",
    "accuracy.json",
    "accuracy.csv",
    "accuracy.svg",
    "accuracy.dark.svg",
    "notebook.ipynb",
)


#: Each file in the place of another.
SWAPPED = dict(zip(FILES, (*FILES[1:], FILES[0]), strict=True))


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", FILES)
def test_damaged_result_is_refused_by_name(
    project: Path, capsys: pytest.CaptureFixture[str], name: str, damage: str
) -> None:
    folder = project / "figures" / "01"
    folder.mkdir(parents=True)
    write_results(folder, {"gap": value(1.0)})
    (folder / "accuracy.dark.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9pt" height="9pt"/>')
    listed = {path.name: sha256(path) for path in folder.iterdir() if path.name != "run.json"}
    replace_in_run(folder, files=listed)
    before = (folder / name).read_bytes()
    DAMAGE[damage](folder / name)
    if damage == "older" and (folder / name).read_bytes() == before:
        pytest.skip("this file has no schema")
    if damage == "unreadable" and os.geteuid() == 0:
        pytest.skip("root may read everything")
    if (name, damage) == ("run.json", "longer"):  # a space after the record changes nothing in it
        assert main(["verify", "--from", str(project / "figures")]) == 0
        return
    if (name, damage) == ("run.json", "gone"):  # then the folder is not a finished run at all
        assert main(["verify", "--from", str(project / "figures")]) == 2
        return
    assert main(["build"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("clip-invariance: ")
    assert len(error.splitlines()) == 1
    assert name in error
    assert "a bug?" not in error


@pytest.mark.parametrize("name", FILES)
def test_converted_line_endings_are_told_as_such(project: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """As git leaves them where core.autocrlf is set. Running again would not help."""
    folder = project / "figures" / "01"
    folder.mkdir(parents=True)
    write_results(folder, {"gap": value(1.0)})
    (folder / "accuracy.svg").write_bytes((folder / "accuracy.svg").read_bytes() + b"\n")
    (folder / "accuracy.dark.svg").write_bytes((folder / "accuracy.svg").read_bytes())
    (folder / "notebook.ipynb").write_bytes((folder / "notebook.ipynb").read_bytes() + b"\n")
    replace_in_run(folder, files={path.name: sha256(path) for path in folder.iterdir() if path.name != "run.json"})
    path = folder / name
    assert b"\r" not in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    if name == "run.json":  # it holds the digests, and is read as JSON
        check_files(read_results(folder))
        return
    assert main(["build"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{path} has other line endings" in line
    assert "core.autocrlf" in line


def test_no_single_flipped_bit_does_more_than_be_refused_or_change_a_text(project: Path) -> None:
    folder = project / "figures" / "01"
    folder.mkdir(parents=True)
    write_results(folder, {"gap": value(1.0)})
    whole = (folder / "run.json").read_bytes()
    refused = 0
    for place in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[place] ^= 1 << (place % 8)
        (folder / "run.json").write_bytes(changed)
        try:
            check_files(read_results(folder))
        except ReportError:
            refused += 1
    assert refused > len(whole) // 7 * 0.4


# ---------------------------------------------------------------- hostile files

NESTED = "[" * 200_000 + "]" * 200_000
HOSTILE_RECORDS: dict[str, Callable[[Path], object]] = {
    "nested": lambda folder: (folder / "values.json").write_text(NESTED),
    "nested inside": lambda folder: (folder / "values.json").write_text('{"schema": 1, "values": ' + NESTED + "}"),
    "huge": lambda folder: (folder / "values.json").write_bytes(b" " * 20_000_000),
    "huge number": lambda folder: (folder / "values.json").write_text('{"schema": ' + "9" * 100_000 + "}"),
    "a list": lambda folder: (folder / "run.json").write_text("[1, 2]"),
    "text for a number": lambda folder: replace_in_run(folder, seeds="5"),
    "unknown field": lambda folder: replace_in_run(folder, __class__="os.system"),
    "path as a file": lambda folder: replace_in_run(folder, files={"../../evil.csv": "0" * 64}),
    "absolute path": lambda folder: replace_in_run(folder, files={"/etc/passwd": "0" * 64}),
    "path as a figure": lambda folder: replace_in_run(folder, figures=["../../../evil"]),
    "path as a chapter": lambda folder: replace_in_run(folder, chapter="../02"),
    "line break in a name": lambda folder: replace_in_run(folder, figures=["accuracy\n"]),
    "pipe": lambda folder: ((folder / "values.json").unlink(), os.mkfifo(folder / "values.json")),
    "endless": lambda folder: ((folder / "values.json").unlink(), (folder / "values.json").symlink_to("/dev/zero")),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("attack", HOSTILE_RECORDS)
def test_hostile_record_is_refused_in_one_line(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], attack: str
) -> None:
    theirs, ours = tmp_path / "theirs" / "01", project / "figures" / "01"
    for folder in (theirs, ours):
        folder.mkdir(parents=True)
        write_results(folder, {"gap": value(1.0)})
    HOSTILE_RECORDS[attack](theirs)
    before = files_below(project)
    assert main(["verify", "--from", str(theirs.parent)]) == 1
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert len(error) < 1000
    assert "a bug?" not in error
    assert files_below(project) == before


def test_only_files_of_the_run_reach_the_pages(project: Path, tmp_path: Path) -> None:
    for name in ("book", "figures/01"):
        (project / name).mkdir(parents=True)
    (project / "_config.yml").write_text("sphinx: {config: {}}\n")
    (project / "_toc.yml").write_text("format: jb-book\nroot: index\nparts: [{chapters: []}]\n")
    folder = write_results(project / "figures" / "01", {"gap": value(1.0)})
    (folder / "stray.html").write_text("<script>")
    (folder / "passwords.csv").symlink_to("/etc/passwd")
    staging = tmp_path / "staging"
    stage(read_inputs(project, "published", CLAIMS_FILE), staging)
    staged = {path.name for path in (staging / "figures" / "01").iterdir()}
    assert staged == {"accuracy.csv", "accuracy.json", "accuracy.svg", "accuracy.dark.svg", "values.json", "run.json"}
