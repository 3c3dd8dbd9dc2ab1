"""How much of two workers' time a cluster spends on units, and not on handing them out or waiting.

Run ``python benchmarks/cluster.py [--units 16] [--seconds 5] [--kind sleep]``. It starts a Dask cluster of worker
processes on this machine and runs units of known length through the whole route: keys, waves, store. Efficiency is the
time inside units over workers x wall time; connecting, the workers' first import of the package and reading results
back are included, starting the workers is not. ``--kind cpu`` takes CPU time instead of sleeping.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
from pathlib import Path

import distributed

from clip_invariance.run.store import Progress, Store, run_units
from clip_invariance.units import Unit

# Units must be functions of a package that workers can import.
_WORK = """
import time
import pandas as pd

def sleep(seed, seconds):
    time.sleep(seconds)
    return pd.DataFrame({"seed": [seed]})

def cpu(seed, seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(10_000))
    return pd.DataFrame({"seed": [seed]})
"""


def efficiency(kind: str, units: int, seconds: float, workers: int, folder: Path) -> tuple[float, float]:
    """Share of the workers' time inside units, and the wall time in seconds."""
    package = folder / "lib" / "benchmarked"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(_WORK)
    sys.path.insert(0, str(package.parent))  # worker processes on this machine inherit it
    function = getattr(importlib.import_module("benchmarked"), kind)
    wanted = [Unit(function, {"seed": seed, "seconds": seconds}) for seed in range(units)]
    with distributed.LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address=None,
        memory_limit=0,
        local_directory=str(folder / "scratch"),
    ) as cluster:
        cluster.wait_for_workers(workers)
        start = time.perf_counter()
        entries, _, _ = run_units(wanted, Store(folder / "store"), {}, 1, Progress(), cluster.scheduler_address)
        wall = time.perf_counter() - start
    return sum(entry.seconds for entry in entries) / (workers * wall), wall


def main() -> None:
    """Print the efficiency and its target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a unit")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kind", choices=["sleep", "cpu"], default="sleep")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        share, wall = efficiency(options.kind, options.units, options.seconds, options.workers, Path(folder))
    print(
        f"{options.units} units of {options.seconds:g} s ({options.kind}), {options.workers} workers: {wall:.1f} s, "
        f"efficiency {share:.3f} (target 0.9)"
    )


if __name__ == "__main__":  # worker processes import this file
    main()
