"""Notebooks in git are sources: no outputs, no traces of who ran them, no logic."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


def test_valid_and_never_run(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert not [cell.id for cell in notebook.cells if "papermill" in cell.metadata or "execution" in cell.metadata]


def test_kernel_is_python3_of_any_version(path: Path) -> None:
    metadata = read(path).metadata
    assert metadata.kernelspec.name == "python3"
    assert "version" not in metadata.get("language_info", {})
    assert "papermill" not in metadata


def test_one_parameters_cell_with_the_common_parameters(path: Path) -> None:
    tagged = [cell.source for cell in read(path).cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert set(re.findall(r"^(\w+) *=", tagged[0], re.MULTILINE)) >= {"profile", "device", "seeds", "jobs", "output"}


def test_holds_no_logic(path: Path) -> None:
    """Functions, classes and loops belong into the library, where they are tested."""
    for cell in read(path).cells:
        if cell.cell_type == "code":
            assert not re.search(r"^\s*(def|class|for|while) ", cell.source, re.MULTILINE), cell.source


def test_a_sentence_stands_before_each_cell(path: Path) -> None:
    cells = read(path).cells
    for before, cell in pairwise(cells):
        if cell.cell_type == "code" and "parameters" not in cell.metadata.get("tags", []):
            assert before.cell_type == "markdown", f"no sentence before: {cell.source[:60]}"
