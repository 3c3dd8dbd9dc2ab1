"""The same seed on the same machine at the same profile gives the same table, to the last bit: in another process, in
another folder, and whatever the number of jobs. A real training of a few steps, and a measurement of what it trained."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import hashlib, sys
from pathlib import Path
from clip_invariance.experiments import caption_reading
from clip_invariance.profiles import PROFILES
from clip_invariance.report.store import Progress, Store, run_units

folder, jobs, seeds = Path(sys.argv[1]), int(sys.argv[2]), [int(seed) for seed in sys.argv[3].split(",")]
units = caption_reading.units(PROFILES["smoke"], 2, "cpu")
arm = units[0].params["arm"]
wanted = [unit for unit in units if unit.params["arm"] == arm and unit.params["seed"] in seeds]
measured, trained, reused = run_units(wanted, Store(folder), {}, jobs, Progress())
assert reused == 0
for entry in [*measured, *sorted(trained, key=lambda entry: entry.key)]:
    table = entry.table.to_csv(index=False, float_format="%.17g")
    print(entry.key, len(table), hashlib.sha256(table.encode()).hexdigest())
"""


def tables(folder: Path, jobs: int, seeds: str, threads: str) -> list[str]:
    """Key, size and digest of every table that a process of its own finds: the measurements, then the trainings."""
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "PYTHONHASHSEED": "random"}
    command = [sys.executable, "-c", PROGRAM, str(folder), str(jobs), seeds]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_training_and_its_measurement_repeat_to_the_last_bit(tmp_path: Path) -> None:
    first = tables(tmp_path / "first", jobs=1, seeds="0,1", threads="1")
    assert len(first) == 4
    assert len({line.split()[2] for line in first}) == 4  # other seeds, other numbers
    assert tables(tmp_path / "second", jobs=2, seeds="0,1", threads="2") == first
