"""Every notebook runs from top to bottom at the smoke profile, through the command line, as a reader would run it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from clip_invariance.results import load_results, notebooks, read_run
from clip_invariance.rules.claims import evaluate, load_claims
from clip_invariance.run import provenance
from clip_invariance.run.progress import path_beside

PROJECT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("chapter", notebooks(PROJECT))
def test_a_notebook_runs_and_decides_nothing_at_smoke(chapter: str) -> None:
    (PROJECT / "_build" / "run" / "smoke" / ".partial" / f"{chapter}.inputs").unlink(missing_ok=True)  # run it afresh
    before = provenance.now()
    command = [sys.executable, "-m", "clip_invariance.cli", "run", chapter, "--profile", "smoke"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    folder = PROJECT / "_build" / "run" / "smoke" / "figures" / chapter
    run = read_run(folder)
    assert run.profile == "smoke"
    assert run.started >= before
    assert run.figures

    said = [json.loads(line) for line in path_beside(folder.parents[1] / ".partial" / chapter).read_text().splitlines()]
    announced = next(number for number, line in enumerate(said) if "computed" in line)
    late = {line["unit"] for line in said[announced:] if line.get("unit")}
    assert not late, "the next chapter starts when all is said to be computed: these belong into all_units"

    claims = [claim for claim in load_claims() if claim.chapter == chapter and claim.conditions]
    rows = evaluate(claims, load_results(PROJECT, "smoke"))
    assert {row.verdict for row in rows} == {"inconclusive"}, "every rule finds its value, and smoke decides nothing"


def test_what_notebooks_import_is_light() -> None:
    """Each kernel waits for it. Workers train and measure, and have the slow libraries imported once for all."""
    slow = ["open_clip", "timm", "torchvision", "transformers", "peft", "torch._dynamo"]
    cells = [cell for path in notebooks(PROJECT).values() for cell in nbformat.read(path, as_version=4).cells]
    trees = [ast.parse(cell.source) for cell in cells if cell.cell_type == "code"]
    imports = {
        ast.unparse(node) for tree in trees for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert any("chapters.c5_recovery" in line for line in imports)
    script = "\n".join(["import sys", *sorted(imports), f"print([name for name in {slow} if name in sys.modules])"])
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
