"""The same seed on the same machine at the same profile gives the same table, to the last bit: in another process, in
another folder, whatever the number of threads. A real training of a few steps, and a measurement of what it trained."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import hashlib, sys
from pathlib import Path
from clip_invariance.chapters.c3_captions.policies import arms
from clip_invariance.profiles import PROFILES
from clip_invariance.run.store import Progress, Store, run_units

measurement = arms.units(PROFILES["smoke"], 2, "cpu")[0]
measured, trained, reused = run_units([measurement], Store(Path(sys.argv[1])), {}, 1, Progress())
assert reused == 0
for entry in (*measured, *trained):
    table = entry.table.to_csv(index=False, float_format="%.17g")
    print(entry.key, entry.table.shape, hashlib.sha256(table.encode()).hexdigest())
"""


def start(folder: Path, threads: str) -> subprocess.Popen[str]:
    """A process of its own that measures one encoder, which it has to train first."""
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "PYTHONHASHSEED": "random"}
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_training_and_its_measurement_repeat_to_the_last_bit(tmp_path: Path) -> None:
    both = [start(tmp_path / name, threads) for name, threads in (("first", "1"), ("second", "2"))]
    (first, errors), (second, _) = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert len(first.splitlines()) == 2  # the measurement and the training: key, size and digest of the table
    assert second == first
