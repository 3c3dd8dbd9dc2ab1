"""Every notebook runs from top to bottom at the smoke profile, through the command line, as a reader would run it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from clip_invariance.report import provenance
from clip_invariance.report.claims import evaluate, load_claims
from clip_invariance.report.progress import path_beside
from clip_invariance.report.results import load_results, notebooks, read_run

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
