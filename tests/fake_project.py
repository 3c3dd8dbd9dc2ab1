"""A project small enough to run in a test: one notebook, one throwaway package with its units, no training."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import nbformat

PARAMETERS = (
    'profile = "quick"\ndevice = "cpu"\nseeds = 0\njobs = 1\noutput = ""\nsteps = 3\nrate = 0.5\nlabel = "plain"'
)

CELLS = (
    "from clip_invariance.run import Chapter\nfrom fakelab import draw, experiment",
    'chapter = Chapter("01", profile=profile, device=device, seeds=seeds, jobs=jobs, output=output)',
    "table = chapter.run(experiment.units(chapter.profile, chapter.seeds, chapter.device))",
    'chapter.figure("accuracy", draw.accuracy, table, title="Arms differ", alt="Two arms.", experiment="None.",'
    ' attribution=["Somebody, CC BY-SA 4.0"])',
    'chapter.table("arms", table, title="All rows", experiment="None.")',
    'chapter.value("gap", experiment.gap(table), unit="points", figure="accuracy")',
    "chapter.finish()",
)

PACKAGE = {
    "__init__.py": '"""Fake."""\n',
    "helper.py": "OFFSET = 1.0\n",
    "unrelated.py": "NOTHING = 0\n",
    "draw.py": """
import matplotlib.pyplot as plt

def accuracy(table):
    figure, axes = plt.subplots(figsize=(2, 1.5))
    axes.plot(table["seed"], table["score"], "o")
    return figure
""",
    "experiment.py": """
import os, time
from dataclasses import dataclass, field
import numpy as np
import pandas as pd
from clip_invariance.measure.statistics import paired_difference
from clip_invariance.units import Unit
from fakelab import helper

@dataclass(frozen=True)
class Arm:
    kind: str = "soft"
    called: str = field(default="", compare=False)

def note(line):
    log = os.environ.get("FAKELAB_LOG")
    if log:
        with open(log, "a") as file:
            file.write(f"{line}\\n")

def measure(arm, seed, device, scales=()):
    arm = getattr(arm, "kind", arm)
    note(f"{arm} {seed}")
    time.sleep(float(os.environ.get("FAKELAB_SLEEP", "0")))
    end = time.monotonic() + 60
    while arm == "patient" and "twice" not in open(os.environ["FAKELAB_LOG"]).read():
        if time.monotonic() > end:
            raise TimeoutError("nobody took the turn")
        time.sleep(0.1)
    if arm == "broken":
        raise ValueError("the arm\\nfell off")
    if arm == "killed":
        os.kill(os.getpid(), 9)
    if arm == "stubborn":  # a call that lets no other thread take its turn
        sum(range(10**11))
    noise = np.random.default_rng([seed, len(arm)]).normal(size=2)
    return pd.DataFrame({"probe": ["a", "b"], "score": 50 + 10 * (arm == "soft") + helper.OFFSET + noise})

def units(profile, seeds, device):
    return [Unit(measure, {"arm": a, "seed": s, "device": device}) for a in ("hard", "soft") for s in range(seeds)]

def twice(first, plus):
    note("twice")
    return pd.DataFrame({"value": [2 * first.score[0] + plus]})

def gap(table):
    means = table.groupby(["arm", "seed"])["score"].mean()
    return paired_difference(means["soft"], means["hard"])
""",
}


def write_notebook(project: Path, cells: Sequence[str] = CELLS, name: str = "01_fake.ipynb") -> Path:
    """Write a notebook whose first cell holds the parameters."""
    notebook = nbformat.v4.new_notebook()
    parameters = nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    notebook.cells = [parameters, *(nbformat.v4.new_code_cell(cell) for cell in cells)]
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
    }
    path = project / "notebooks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def write_project(folder: Path) -> Path:
    """Write the whole project, its package under ``lib/``."""
    write_notebook(folder)
    (folder / "_toc.yml").write_text("format: jb-book\nroot: index\n")
    (folder / "requirements.lock").write_text("fake==1\n")
    package = folder / "lib" / "fakelab"
    package.mkdir(parents=True)
    for name, source in PACKAGE.items():
        (package / name).write_text(source)
    return folder


def environment(project: Path, **more: str) -> dict[str, str]:
    """Environment for processes that must find the throwaway package."""
    path = os.pathsep.join(filter(None, [str(project / "lib"), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **more}


def command(*arguments: str) -> list[str]:
    """The command line, as an installed script would start it."""
    return [sys.executable, "-c", "import sys; from clip_invariance.cli import main; sys.exit(main())", *arguments]


def run_cli(project: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command in the project and wait."""
    return subprocess.run(
        command(*arguments), cwd=project, env=environment(project, **more), capture_output=True, text=True, timeout=120
    )


def files_below(folder: Path) -> Mapping[str, bytes]:
    """Every file with its bytes, to see whether anything changed."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
