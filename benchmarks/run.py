"""All benchmarks in one go: print the table, and keep it for the methods page in ``book/_data/speed.json``.

Run: make bench            (up to ten minutes on two idle cores)

Every ratio is measured side by side in this one run. What is slower on a busy machine is slower on both sides; still, the
table says how many other programs were running.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy and PyTorch are imported

import contrastive_step
import growth
import matplotlib as mpl
import matplotlib.pyplot as plt
import memory
import orbit
import probes
import render
import rerun
import together
from table import show

from clip_invariance.plots.style import PALETTE, Theme, style
from clip_invariance.report import provenance
from clip_invariance.report.results import complete_folders, read_folders, write_json
from clip_invariance.report.speed import FIGURE, SPEED, ChapterCost, Point, Ratio, Speed, exponent

PROJECT = Path(__file__).parents[1]
PARTS = {
    "step": contrastive_step.ratios,
    "render": render.ratios,
    "probes": probes.ratios,
    "orbit": orbit.ratios,
    "together": together.ratios,
    "memory": memory.ratios,
    "rerun": rerun.ratios,
}
VERSIONS = ("python", "torch", "open_clip_torch", "scikit_learn", "pillow")


def chapter_costs() -> list[ChapterCost]:
    """Every chapter of every profile that was run in this folder."""
    folders = sorted((PROJECT / "_build" / "run").glob("*/figures"))
    return [
        ChapterCost.of(results.run) for folder in folders for results in read_folders(complete_folders(folder)).values()
    ]


def draw(points: Sequence[Point], theme: Theme, path: Path) -> None:
    """Time and memory against seeds, arms and image side, both axes logarithmic."""
    with style(theme):
        figure, axes = plt.subplots(1, 2, figsize=(5.2, 2.5), layout="constrained")
        kinds = list(dict.fromkeys(point.of for point in points))
        for ax, what, title in zip(axes, ("seconds", "memory_mb"), ("time (s)", "memory (MB)"), strict=True):
            for kind, colour in zip(kinds, (PALETTE["blue"], PALETTE["orange"], PALETTE["green"]), strict=True):
                mine = [point for point in points if point.of == kind]
                least = min(point.amount for point in mine)
                label = f"{kind}, power {exponent(mine, what):.1f}"  # type: ignore[arg-type]
                x, y = [p.amount / least for p in mine], [getattr(p, what) for p in mine]
                ax.plot(x, y, "o-", color=colour, label=label, markersize=4)
            ax.set(xscale="log", yscale="log", xlabel="times the smallest amount", title=title)
            ax.set_xticks([1, 2, 4, 6], ["1", "2", "4", "6"])
            ax.minorticks_off()
            ax.legend(loc="upper left")
            low, high = ax.get_ylim()
            ax.set_ylim(low, high * (high / low) ** 0.6)  # room for the legend
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=[*PARTS, "growth"], action="append", help="print this part, keep nothing")
    chosen = parser.parse_args().only
    mpl.use("agg")
    start, load = time.perf_counter(), os.getloadavg()[0]
    commit, dirty = provenance.commit(PROJECT)
    ratios: list[Ratio] = []
    for name, part in PARTS.items():
        if chosen is None or name in chosen:
            found = part()
            show(found)
            ratios += found
    points = growth.points() if chosen is None or "growth" in chosen else []
    print(f"{time.perf_counter() - start:.0f} s")
    if chosen is not None:
        return
    versions = provenance.versions()
    speed = Speed(
        schema=1,
        device_name=provenance.device_name("cpu"),
        cores=os.cpu_count() or 1,
        load=round(load, 1),
        versions={name: versions[name] for name in VERSIONS},
        commit=commit,
        dirty=dirty,
        created=provenance.now(),
        seconds=round(time.perf_counter() - start, 1),
        ratios=ratios,
        growth=points,
        chapters=chapter_costs(),
    )
    (PROJECT / SPEED).parent.mkdir(exist_ok=True)
    write_json(PROJECT / SPEED, speed)
    for theme, ending in (("light", ""), ("dark", ".dark")):
        draw(points, theme, PROJECT / SPEED.parent / f"{FIGURE}{ending}.svg")  # type: ignore[arg-type]
    print(f"kept in {SPEED}")


if __name__ == "__main__":  # processes that other benchmarks start may import this file
    main()
