"""A whole run without a Jupyter kernel, here or in a process that can be killed. Light: every child imports it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat

from clip_invariance.cli import main
from clip_invariance.run import run as run_module

RUN = ("run", "--profile", "quick", "--device", "cpu", "--jobs", "1", "--seeds", "6")
#: What a fork server imports once for all children.
IMPORTED = ["clip_invariance.cli", "clip_invariance.run.run", "clip_invariance.run.store", "matplotlib.pyplot"]
IMPORTED += ["clip_invariance.run.chapter", "pyarrow.parquet", "pandas", "nbformat", "papermill", "scipy.stats"]


def execute_here(project: Path, notebook: Path, output: Path, parameters: Mapping[str, Any], *_: object) -> None:
    """Stands in for papermill and a kernel."""
    content = nbformat.read(notebook, as_version=4)
    names: dict[str, Any] = {}
    for cell in content.cells:
        exec(cell.source, names)
        if "parameters" in cell.metadata.get("tags", []):
            names |= parameters
    nbformat.write(content, output)


def run_in_child(project: Path, pause: str) -> None:
    """A whole run in a process of its own."""
    os.chdir(project)
    os.environ["FAKELAB_SLEEP"] = pause
    sys.path.insert(0, str(project / "lib"))
    run_module._execute = execute_here
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    sys.exit(main(list(RUN)))
