"""How fast are captions counted, beside a loop over pandas columns and beside grep, and in how much memory?

Run: python benchmarks/captions.py            (a million captions, twenty values; about a minute)

Each side runs in a process of its own and is timed from reading the file to the last count, by the clock: two of the three
use more than one thread. Ours also counts what is named together; grep neither reads CSV nor knows longer phrases.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from table import show

from clip_invariance.audit.captions.counting import count
from clip_invariance.audit.captions.factors import read_factors
from clip_invariance.audit.captions.reading import sources
from clip_invariance.report.speed import Ratio
from clip_invariance.run.provenance import peak_memory_mb

ROWS, REPEATS, VALUES = 1_000_000, 3, 20
#: A million captions in ten seconds on two cores was promised, in a gigabyte whatever the size of the files.
SECONDS, MEGABYTES = 10.0, 1000.0


def write_inputs(folder: Path) -> None:
    """Captions of dashcam scenes in ``captions.csv``, one column of three, and what to look for, for each side."""
    import torch  # here: the sides' processes are to hold what they need and no more

    from clip_invariance.captions import CaptionPolicy
    from clip_invariance.worlds.dashcam import WORDS

    generator = torch.Generator().manual_seed(0)
    labels = {f: torch.randint(len(v), (ROWS,), generator=generator) for f, v in WORDS.phrases.items()}
    rates = dict.fromkeys(WORDS.phrases, 0.3) | {"car_colour": 1.0, "body": 1.0}
    captions = CaptionPolicy(rates).sample(WORDS, labels, 0).strings()
    with (folder / "captions.csv").open("w", encoding="utf-8") as file:
        file.write("url,caption,key\n")
        file.writelines(f"https://example.org/{i}.jpg,{text},{i}\n" for i, text in enumerate(captions))
    listed = [(factor, list(wordings)) for factor, values in WORDS.phrases.items() for wordings in values][:VALUES]
    (folder / "words.json").write_text(json.dumps([wordings for _, wordings in listed]))
    with (folder / "factors.toml").open("w", encoding="utf-8") as file:
        for factor in dict.fromkeys(factor for factor, _ in listed):
            mine = [wordings for name, wordings in listed if name == factor]
            file.write(f"[{factor}.values]\n")
            file.writelines(f"v{number} = {json.dumps(wordings)}\n" for number, wordings in enumerate(mine))


def words(folder: Path) -> list[list[str]]:
    """The words of each value."""
    return json.loads((folder / "words.json").read_text())


def ours(folder: Path) -> list[int]:
    """Counts of each value, by the command's own code."""
    factors = read_factors(folder / "factors.toml")
    tally, _ = count(sources([folder / "captions.csv"], None), factors, lambda *_: None)
    return [tally.having(1 << bit) for bit in range(len(factors.bits()))]


def pandas(folder: Path) -> list[int]:
    """The loop that one would write."""
    captions = pd.read_csv(folder / "captions.csv")["caption"]
    patterns = [rf"\b(?:{'|'.join(wordings)})\b" for wordings in words(folder)]
    return [int(captions.str.contains(pattern, case=False, regex=True).sum()) for pattern in patterns]


def grep(folder: Path) -> list[int]:
    """One grep for each value."""

    def lines(pattern: str) -> int:
        command = ["grep", "-c", "-i", "-w", "-E", pattern, str(folder / "captions.csv")]
        return int(subprocess.run(command, capture_output=True, text=True, check=False).stdout)

    return [lines("|".join(wordings)) for wordings in words(folder)]


SIDES = {"ours": ours, "pandas": pandas, "grep": grep}


def ratios() -> list[Ratio]:
    """Time against both, memory against pandas.

    Raises:
        SystemExit: if the sides count differently, as then the comparison says nothing.
    """
    with tempfile.TemporaryDirectory() as name:
        write_inputs(Path(name))
        rounds = [{side: _apart(side, name) for side in SIDES} for _ in range(REPEATS)]
    for found in rounds:
        if not found["ours"]["counts"] == found["pandas"]["counts"] == found["grep"]["counts"]:
            raise SystemExit("captions: the sides count differently")
    task = f"{ROWS:,} captions searched for {VALUES} values"

    def pairs(what: str, other: str | float) -> list[tuple[float, float]]:
        return [(found["ours"][what], found[other][what] if isinstance(other, str) else other) for found in rounds]

    return [
        Ratio.of(task, "ten seconds, as promised", "s", pairs("seconds", SECONDS), 1.0),
        Ratio.of(task, "a loop over pandas columns", "s", pairs("seconds", "pandas"), None),
        Ratio.of(task, "grep, once for each value", "s", pairs("seconds", "grep"), None),
        Ratio.of(f"memory of {task}", "a gigabyte, as promised", "MB", pairs("megabytes", MEGABYTES), 1.0),
        Ratio.of(f"memory of {task}", "a loop over pandas columns", "MB", pairs("megabytes", "pandas"), None),
    ]


def _apart(side: str, folder: str) -> dict[str, list[int] | float]:
    done = subprocess.run([sys.executable, __file__, side, folder], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    if sys.argv[1:]:
        clock = time.perf_counter()
        counts = SIDES[sys.argv[1]](Path(sys.argv[2]))
        taken = time.perf_counter() - clock
        print(json.dumps({"counts": counts, "seconds": taken, "megabytes": peak_memory_mb()}))
    else:
        show(ratios())
