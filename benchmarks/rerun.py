"""The whole report at the profile "smoke": from nothing, again without any change, and after one module was edited.

Run: python benchmarks/rerun.py            (three runs in a copy of the project, a few minutes)

The edit adds a comment to ``chapters/c6_limits/measures.py``: chapter 6 measures its encoders again, all else stays.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from table import show

from clip_invariance.report.speed import Ratio

PROJECT = Path(__file__).parents[1]
NEEDED = ("src", "notebooks", "figures", "_toc.yml", "requirements.lock", "pyproject.toml")
EDITED = "src/clip_invariance/chapters/c6_limits/measures.py"
#: Seconds that a run without a change may take; as a target for its ratio, so many times less than the first run.
WARM = 60.0


def ratios() -> list[Ratio]:
    """Seconds by the clock: the work is done in several processes.

    Raises:
        CalledProcessError: if a run fails; its messages have been printed.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in NEEDED:
            if (PROJECT / name).is_dir():
                shutil.copytree(PROJECT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(PROJECT / name, copy / name)
        cold, warm = _run(copy), _run(copy)
        with (copy / EDITED).open("a") as file:
            file.write("# edited\n")
        edited = _run(copy)
    task = "the whole report again, profile smoke"
    return [
        Ratio.of(f"{task}, nothing changed", "its first run", "s", [(warm, cold)], cold / WARM),
        Ratio.of(f"{task}, the module of chapter 6's measures edited", "its first run", "s", [(edited, cold)], None),
    ]


def _run(copy: Path) -> float:
    """Seconds of one run. The copy's own source comes before the installed one."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "clip_invariance.cli", "run", "--profile", "smoke", "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=copy, env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    show(ratios())
