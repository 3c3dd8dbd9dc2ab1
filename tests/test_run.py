"""Whole runs through papermill, killed, stopped, failing and repeated, on a project small enough for that."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import psutil
import pytest
from matplotlib.figure import Figure

from clip_invariance.cli import main
from clip_invariance.errors import ReportError, UsageError
from clip_invariance.marks.spec import FigureSpec
from clip_invariance.measure.statistics import Estimate, digits_of
from clip_invariance.results import check_files, read_results, read_sidecar, select_chapters
from clip_invariance.run import Chapter
from clip_invariance.run.chapter import _tolerance
from clip_invariance.run.run import _inputs, _locked, default_profile, run_folder, typed_parameters
from fake_project import CELLS, command, environment, files_below, run_cli, write_notebook, write_project

Finished = tuple[Path, subprocess.CompletedProcess[str]]
RUN = ("run", "--profile", "quick", "--device", "cpu")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A project after one complete run with two processes."""
    folder = write_project(tmp_path_factory.mktemp("finished") / "project")
    return folder, run_cli(folder, *RUN, "--jobs", "2", "--set", "rate=2")


def figures(project: Path) -> Path:
    return project / "_build" / "run" / "quick" / "figures" / "01"


def test_run_leaves_complete_results(finished: Finished) -> None:
    project, process = finished
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip() == str(figures(project))
    assert "01: 6/6 units" in process.stderr
    assert "Traceback" not in process.stderr
    assert "WARNING" not in process.stderr
    results = read_results(figures(project))
    check_files(results)
    assert set(results.run.files) == {
        *("accuracy.svg", "accuracy.dark.svg", "accuracy.csv", "accuracy.json", "arms.csv", "arms.json"),
        *("values.json", "notebook.ipynb"),
    }
    assert (results.run.units, results.run.reused, results.run.seeds) == (6, 0, 3)
    assert results.run.parameters == {"profile": "quick", "device": "cpu", "seeds": 0, "jobs": 2, "rate": 2.0}
    assert list(results.values.values) == ["gap"]  # noqa: PD011
    gap = results.values.values["gap"]  # noqa: PD011
    assert gap.low <= gap.value <= gap.high
    sidecar = read_sidecar(figures(project) / "accuracy.json")
    assert sidecar.kind == "figure"
    assert sidecar.width_px > sidecar.height_px > 0
    assert sidecar.attribution == ["Somebody, CC BY-SA 4.0"]
    assert read_sidecar(figures(project) / "arms.json").kind == "table"
    table = pd.read_csv(figures(project) / "accuracy.csv")
    assert list(table.columns) == ["arm", "seed", "device", "probe", "score"]
    assert list(table["arm"]) == ["hard"] * 6 + ["soft"] * 6
    assert list(table["seed"]) == [0, 0, 1, 1, 2, 2] * 2


def test_a_second_run_executes_nothing_while_nothing_has_changed(finished: Finished) -> None:
    project, _ = finished
    record = figures(project) / "run.json"
    written = record.stat().st_mtime_ns
    again = run_cli(project, *RUN, "--jobs", "2", "--set", "rate=2")
    assert again.returncode == 0, again.stderr
    assert "6 units (6 reused)" in again.stderr
    assert record.stat().st_mtime_ns == written

    (figures(project) / "accuracy.csv").write_text("damaged")
    assert run_cli(project, *RUN, "--jobs", "2", "--set", "rate=2").returncode == 0
    assert record.stat().st_mtime_ns > written
    check_files(read_results(figures(project)))


@pytest.mark.parametrize("name", ["module.py", "tower.json", "rules.toml"])
def test_a_new_file_that_a_run_may_read_makes_it_run_again(finished: Finished, name: str) -> None:
    project, _ = finished
    before = _inputs(project, None, {})
    assert before == _inputs(project, None, {})
    (project / name).write_text("")
    assert _inputs(project, None, {}) != before
    (project / name).unlink()


def test_executed_notebook_shows_the_figure_and_hides_parameters(
    finished: Finished,
) -> None:
    project, _ = finished
    path = project / "_build/run/quick/notebooks/01_fake.ipynb"
    assert path.read_bytes() == (figures(project) / "notebook.ipynb").read_bytes()
    notebook = nbformat.read(path, as_version=4)
    (injected,) = [cell for cell in notebook.cells if "injected-parameters" in cell.metadata.get("tags", [])]
    assert "remove-cell" in injected.metadata["tags"]
    assert "rate = 2.0" in injected.source
    shown = [
        output.data["text/html"] for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output
    ]
    assert any("data:image/png;base64," in html and 'alt="Two arms."' in html for html in shown)
    assert str(project) not in path.read_text()
    source = nbformat.read(project / "notebooks" / "01_fake.ipynb", as_version=4)
    assert all(not cell.outputs and cell.execution_count is None for cell in source.cells)
    assert sorted(p.name for p in project.iterdir()) == ["_build", "_toc.yml", "lib", "notebooks", "requirements.lock"]


def test_no_process_is_left_after_a_run(finished: Finished) -> None:
    assert processes_of(finished[0]) == []


def processes_of(project: Path) -> list[psutil.Process]:
    """Kernels and workers that belong to the project: they inherit its place in their environment."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            path = process.environ().get("PYTHONPATH", "")
            if path.startswith(str(project / "lib")) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@contextlib.contextmanager
def started(project: Path, *arguments: str, **more: str) -> Iterator[subprocess.Popen[str]]:
    """A run in the background, as from a terminal; whatever is left of it ends with the test."""
    process = subprocess.Popen(
        command(*arguments),
        cwd=project,
        env=environment(project, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        # Tests that were started in the background ignore Ctrl-C, and what they start inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield process
    finally:
        for left in processes_of(project):
            left.kill()
        process.wait(10)


def wait_for(condition: object, seconds: float = 60) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def finished_units(project: Path) -> int:
    return len(list((project / "_build" / "store").glob("*/*/meta.json")))


def test_killed_run_leaves_no_process_and_resumes(project: Path) -> None:
    log = project / "log"
    with started(project, *RUN, "--jobs", "2", FAKELAB_LOG=str(log), FAKELAB_SLEEP="1") as process:
        wait_for(lambda: finished_units(project) >= 2)
        assert len(processes_of(project)) >= 4  # the command, its kernel, two workers
        process.kill()
        wait_for(lambda: not processes_of(project), seconds=10)
    before = finished_units(project)
    assert before < 6
    assert not figures(project).exists()
    again = run_cli(project, *RUN, FAKELAB_LOG=str(log))
    assert again.returncode == 0, again.stderr
    record = read_results(figures(project)).run
    assert (record.units, record.reused) == (6, before)
    assert len(log.read_text().splitlines()) <= 6 + 2  # at most the two in flight ran twice


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_nothing_outlives_a_killed_run_even_where_threads_get_no_turn(project: Path, jobs: str) -> None:
    """A unit in the kernel, or in its workers, that is in a long call of a library."""
    stubborn = (
        "from clip_invariance.units import Unit\n"
        'chapter.run([Unit(experiment.measure, {"arm": "stubborn", "seed": s, "device": "cpu"}) for s in (0, 1)])'
    )
    write_notebook(project, [*CELLS[:2], stubborn, *CELLS[2:]])
    log = project / "log"
    with started(project, *RUN, "--jobs", jobs, FAKELAB_LOG=str(log)) as process:
        wait_for(lambda: log.exists() and len(log.read_text().splitlines()) == int(jobs))
        time.sleep(0.3)
        process.kill()
        wait_for(lambda: not processes_of(project) and is_free(project), seconds=4)


def is_free(project: Path) -> bool:
    """Whether another run could begin."""
    try:
        with _locked(run_folder(project, "quick"), "01"):
            return True
    except UsageError:
        return False


def test_a_killed_kernel_is_told_like_a_killed_worker(project: Path) -> None:
    write_notebook(project, [*CELLS[:2], "import os\nos.kill(os.getpid(), 9)", *CELLS[2:]])
    done = run_cli(project, *RUN)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "clip-invariance: 01_fake.ipynb: its kernel was killed; mostly, memory ran out. Finished units stay: run again, "
        "with fewer --jobs"
    )


def test_a_users_own_settings_change_nothing(finished: Finished, project: Path, tmp_path: Path) -> None:
    """Code that IPython and Python run first, matplotlib's settings, and a backend that wants a screen."""
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    meddling = "import fakelab.helper, matplotlib\nfakelab.helper.OFFSET = 9\nmatplotlib.rcParams['font.size'] = 20\n"
    for path in (startup / "mine.py", tmp_path / "python.py"):
        path.write_text(f"open({str(tmp_path / path.stem)!r}, 'w')\n{meddling}")
    (startup.parent / "ipython_kernel_config.py").write_text(f"open({str(tmp_path / 'config')!r}, 'w')\n")
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfont.weight: bold\nbackend: TkAgg\n")
    done = run_cli(
        project,
        *(*RUN, "--jobs", "1"),
        IPYTHONDIR=str(tmp_path / "ipython"),
        PYTHONSTARTUP=str(tmp_path / "python.py"),
        MATPLOTLIBRC=str(tmp_path / "matplotlibrc"),
        MPLBACKEND="TkAgg",
    )
    assert done.returncode == 0, done.stderr
    assert not [name for name in ("mine", "python", "config") if (tmp_path / name).exists()]
    mine, theirs = files_below(figures(finished[0])), files_below(figures(project))
    for name in ("accuracy.svg", "accuracy.dark.svg", "accuracy.csv", "values.json"):
        assert mine[name] == theirs[name], name


def test_ctrl_c_ends_everything(project: Path) -> None:
    with started(project, *RUN, "--jobs", "2", FAKELAB_LOG=str(project / "log"), FAKELAB_SLEEP="30") as process:
        wait_for(lambda: (project / "log").exists() and len((project / "log").read_text().splitlines()) == 2)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 130
        assert processes_of(project) == []
    progress = re.compile(r"01: (running 01_fake\.ipynb|\d+/\d+ units.*)")
    assert [line for line in errors.splitlines() if not progress.fullmatch(line)] == ["clip-invariance: stopped"]


def test_failing_cell_leaves_the_earlier_run(finished: Finished, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(finished[0], project)
    before = files_below(figures(project))
    broken = (
        "from clip_invariance.units import Unit\n"
        'chapter.run([Unit(experiment.measure, {"arm": "broken", "seed": 0, "device": "cpu"})])'
    )
    write_notebook(project, [*CELLS[:3], broken, *CELLS[3:]])
    process = run_cli(project, *RUN)
    assert process.returncode == 1
    assert process.stdout == ""
    message = process.stderr.splitlines()[-1]
    assert "01_fake.ipynb, cell 6:" in message
    assert "measure(arm='broken', seed=0, device='cpu') failed: ValueError: the arm fell off" in message
    assert "Traceback" not in process.stderr
    assert files_below(figures(project)) == before
    assert (project / "_build/run/quick/.partial/01/notebook.ipynb").is_file()


def test_the_next_chapter_computes_while_one_is_drawn(project: Path) -> None:
    """It starts in the project's folder, and when it fails that is its own affair."""
    announced, second = (f"pathlib.Path({name!r})" for name in ("announced", "second"))
    compute = "chapter.compute(experiment.units(chapter.profile, chapter.seeds, chapter.device))"
    wait = f"""import pathlib, time, psutil
def next_is_open():
    return any("/.partial/02/" in word for one in psutil.process_iter(["cmdline"]) for word in one.info["cmdline"] or [])
end = time.monotonic() + 60
while not {second}.exists() or next_is_open():
    assert time.monotonic() < end, "the next chapter did not start, or did not end"
    time.sleep(0.1)
time.sleep(1)"""
    write_notebook(project, [*CELLS[:2], f"import pathlib\n{announced}.touch()", compute, wait, *CELLS[2:]])
    fails = f"import pathlib\nassert {announced}.exists()\n{second}.touch()\nraise ValueError('nothing works')"
    write_notebook(project, [*CELLS[:2], fails], name="02_fails.ipynb")
    process = run_cli(project, *RUN, "--jobs", "2")
    assert process.returncode == 1
    lines = process.stderr.splitlines()
    assert "02_fails.ipynb, cell 5: ValueError: nothing works" in lines[-1]
    assert "02: failed" in lines
    assert read_results(figures(project)).run.units == 6
    assert processes_of(project) == []


def test_notebook_without_finish_is_not_a_run(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("clip_invariance.run.run._execute", lambda *_: None)
    assert main(list(RUN)) == 1
    assert "call chapter.finish()" in capsys.readouterr().err.splitlines()[-1]
    assert not figures(project).exists()


# ---------------------------------------------------------------- refused before anything starts


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--profile", "huge"], "unknown profile 'huge'"),
        (["--device", "tpu"], "unknown device 'tpu'"),
        (["--seeds", "1"], "at least two seeds"),
        (["--seeds", "many"], "Invalid value for '--seeds'"),
        (["--jobs", "-1"], "number of processes"),
        (["7"], "there is no chapter '7': choose from 01"),
        (["../01_fake.ipynb"], "../01_fake.ipynb is not a chapter's notebook: those are in"),
        (["elsewhere/01_fake"], "elsewhere/01_fake is not a chapter's notebook"),
        (["1", "01"], "chapter 01 is named twice"),
        (["--profile", ""], "unknown profile ''"),
        (["--set", "steps=2", "--set", "steps=4"], "--set steps is given twice"),
        (["--set", "speed=1"], "no parameter 'speed': it has profile, device, seeds, jobs, output, steps, rate, label"),
        (["--set", "profile=full"], "use --profile"),
        (["--set", "output=/tmp"], "the command line chooses it"),
        (["--set", "steps"], "write it as name=value"),
        (["--set", "steps=2.5"], "expected int, such as 3"),
        (["--set", "steps=true"], "expected int, such as 3"),
    ],
)
def test_bad_arguments_start_nothing(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    asked = arguments if "--profile" in arguments else ["--profile", "smoke", *arguments]
    asked = asked if "--device" in asked else [*asked, "--device", "cpu"]
    assert main(["run", *asked]) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert len(errors.splitlines()) == 1
    assert not (project / "_build").exists()


def test_cuda_where_there_is_none(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clip_invariance.run.provenance.has_cuda", lambda: False)
    assert default_profile() == "quick"
    assert main(["run", "--device", "cuda"]) == 2
    assert "PyTorch finds none here" in capsys.readouterr().err
    with pytest.raises(UsageError, match="PyTorch finds none here"):
        Chapter("01", profile="quick", device="cuda")
    monkeypatch.setattr("clip_invariance.run.provenance.has_cuda", lambda: True)
    assert default_profile() == "full"


def test_two_runs_of_a_chapter_exclude_each_other(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with _locked(run_folder(project, "quick"), "01"):
        assert main(list(RUN)) == 2
    assert "chapter 01 is already running at profile quick" in capsys.readouterr().err


def test_folder_that_cannot_be_written(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "_build").write_text("a file where a folder should be")
    assert main(list(RUN)) == 2
    errors = capsys.readouterr().err
    assert "cannot write to" in errors
    assert len(errors.splitlines()) == 1


def test_missing_data_package_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clip_invariance.run.provenance.PACKAGES", ("no-such-artwork",))
    with pytest.raises(UsageError, match="no-such-artwork is not installed"):
        Chapter("01", profile="quick", device="cpu")


def test_chapters_have_several_names(project: Path) -> None:
    write_notebook(project, name="02_more.ipynb")
    there = ("notebooks/02_more.ipynb", "./notebooks/02_more", str(project / "notebooks" / "02_more.ipynb"))
    for name in ("2", "02", "02_more", "02_more.ipynb", *there):
        assert list(select_chapters(project, [name])) == ["02"]
    assert list(select_chapters(project, ["2", "1"])) == list(select_chapters(project, [])) == ["01", "02"]


def test_parameters_take_the_defaults_type(project: Path) -> None:
    notebook = select_chapters(project, ["1"])["01"]
    typed = typed_parameters(notebook, {"steps": "7", "rate": "2", "label": "3"})
    assert typed == {"steps": 7, "rate": 2.0, "label": "3"}
    assert type(typed["rate"]) is float
    write_notebook(project).write_text(notebook.read_text().replace("jobs = 1", "workers = 1"))
    with pytest.raises(ReportError, match="sets jobs"):
        typed_parameters(notebook, {})


# ---------------------------------------------------------------- what a notebook talks to


@pytest.fixture
def chapter(project: Path) -> Chapter:
    return Chapter("01", profile="smoke", device="cpu", jobs=1)


def finish(chapter: Chapter) -> dict[str, bytes]:
    from fakelab import draw, experiment

    table = chapter.run(experiment.units(chapter.profile, chapter.seeds, chapter.device))
    chapter.figure("accuracy", draw.accuracy, table, title="T", alt='A "b"', experiment="E")
    chapter.value("gap", experiment.gap(table), unit="points", figure="accuracy")
    chapter.finish()
    return dict(files_below(chapter.output))


def test_same_seed_same_bytes(chapter: Chapter) -> None:
    first = finish(chapter)
    second = finish(Chapter("01", profile="smoke", device="cpu", output="_build/elsewhere"))
    assert second.keys() == first.keys()
    for name in ("accuracy.svg", "accuracy.dark.svg", "accuracy.csv", "values.json"):
        assert first[name] == second[name], name
    assert first["accuracy.svg"] != first["accuracy.dark.svg"]
    assert json.loads(first["accuracy.json"])["key"] == json.loads(second["accuracy.json"])["key"]
    assert json.loads(second["run.json"])["reused"] == 4


def test_a_unit_that_is_asked_for_twice_counts_once(chapter: Chapter) -> None:
    from fakelab import experiment

    units = experiment.units(chapter.profile, chapter.seeds, chapter.device)
    chapter.run(units[:3])
    chapter.run(units)
    chapter.finish()
    record = read_results(chapter.output).run
    assert (record.units, record.reused) == (4, 0)


def test_all_units_are_computed_one_seed_after_the_other(
    chapter: Chapter, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process draws the pictures of a seed once. What follows takes their tables from the store."""
    from fakelab import experiment

    monkeypatch.setenv("FAKELAB_LOG", str(project / "log"))
    units = experiment.units(chapter.profile, chapter.seeds, chapter.device)
    assert chapter.compute(units) == 4
    assert len(chapter.run(units)) == 2 * 4  # rows
    assert (project / "log").read_text().splitlines() == ["hard 0", "soft 0", "hard 1", "soft 1"]


def test_restarted_chapter_is_incomplete_until_finished(chapter: Chapter) -> None:
    finish(chapter)
    assert (chapter.output / "run.json").is_file()
    Chapter("01", profile="smoke", device="cpu")
    assert not (chapter.output / "run.json").exists()


def test_values_are_checked(chapter: Chapter) -> None:
    good = Estimate(1.0, 0.5, 1.5, 3, 0.2)
    with pytest.raises(ReportError, match=r"value 01\.gap: value: .*finite"):
        chapter.value("gap", Estimate(float("nan"), 0.5, 1.5, 3, 0.2), unit="", figure="")
    with pytest.raises(ReportError, match=r"value 01\.a/b"):
        chapter.value("a/b", good, unit="", figure="")
    chapter.value("gap", good, unit="", figure="nowhere")
    with pytest.raises(ReportError, match="saved twice"):
        chapter.value("gap", good, unit="", figure="")
    with pytest.raises(ReportError, match="'nowhere', which was not saved"):
        chapter.finish()
    assert not (chapter.output / "run.json").exists()


def test_figures_are_checked(chapter: Chapter) -> None:
    table = pd.DataFrame({"x": [1.0]})
    with pytest.raises(ReportError, match=r"table 01/\.\./x: name"):
        chapter.table("../x", table, title="", experiment="")
    chapter.table("x", table, title="", experiment="")
    with pytest.raises(ReportError, match="saved twice"):
        chapter.table("x", table, title="", experiment="")
    assert {path.name for path in chapter.output.iterdir()} == {"x.csv", "x.json"}


def test_a_declared_figure_is_saved_with_all_that_was_declared(chapter: Chapter) -> None:
    def draw(table: pd.DataFrame) -> Figure:
        figure, ax = plt.subplots(figsize=(2, 1))
        ax.plot(table["x"])
        return figure

    spec = FigureSpec("line", "A line", "Two points.", draw, lambda table: f"{len(table)} points", ("by nobody",))
    picture = chapter.show(spec, pd.DataFrame({"x": [1.0, 2.0]}))
    sidecar = read_sidecar(chapter.output / "line.json")
    assert (picture.title, picture.alt) == (sidecar.title, sidecar.alt) == ("A line", "2 points")
    assert (sidecar.experiment, sidecar.attribution) == ("Two points.", ["by nobody"])
    assert (chapter.output / "line.svg").is_file()


def test_arms_become_text_and_what_they_are_called_is_no_part_of_it(chapter: Chapter) -> None:
    from fakelab import experiment

    from clip_invariance.units import Unit

    class Unlike:
        pass

    arm = experiment.Arm("hard", called="the hard one")
    table = chapter.run([Unit(experiment.measure, {"arm": arm, "seed": 0, "device": "cpu"})])
    assert set(table["arm"]) == {"Arm(kind='hard')"}
    with pytest.raises(UsageError, match="JSON-like"):
        chapter.run([Unit(experiment.measure, {"arm": Unlike(), "seed": 0, "device": "cpu"})])


def test_parameters_become_the_first_columns(chapter: Chapter) -> None:
    from fakelab import experiment

    from clip_invariance.units import Unit

    params = {"arm": "hard", "seed": 0, "device": "cpu"}
    table = chapter.run([Unit(experiment.measure, {**params, "scales": [1, 2]}), Unit(experiment.measure, params)])
    assert list(table.columns) == ["arm", "seed", "device", "scales", "probe", "score"]
    assert table["scales"].iloc[0] == "[1, 2]"
    assert table["scales"].isna().tolist() == [False, False, True, True]
    with pytest.raises(ReportError, match="no unit"):
        chapter.run([])


@pytest.mark.parametrize(("half", "digits"), [(0.4, 1), (3.0, 0), (0.02, 2), (0.0, 1), (1e-9, 4), (1.0, 0)])
def test_digits_follow_the_interval(half: float, digits: int) -> None:
    assert digits_of(half) == digits


def test_tolerance_admits_reruns_and_not_much_more() -> None:
    assert _tolerance(0.0, 10, 1) == 0.05
    assert _tolerance(0.0, 1, 0) == 0.5
    assert _tolerance(1.0, 10, 1) == pytest.approx(4.781 * (1 / 10 + 1 / 3) ** 0.5, rel=1e-3)


def test_project_is_found_from_below(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(project / "notebooks")
    assert Chapter("01", profile="smoke", device="cpu").project == project
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="not inside the report"):
        Chapter("01", profile="smoke", device="cpu")
    monkeypatch.setenv("CLIP_INVARIANCE_PROJECT", os.fspath(project))
    assert Chapter("01", profile="smoke", device="cpu").project == project
