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

import allocator
import captions
import contrastive_step
import growth
import matplotlib as mpl
import matplotlib.pyplot as plt
import matplotlib.ticker
import memory
import orbit
import probes
import render
import rerun
import together
from table import show

from clip_invariance.marks.style import PALETTE, WIDTH, Theme, style
from clip_invariance.report.speed import FIGURE, SPEED, ChapterCost, Point, Ratio, Speed, exponent
from clip_invariance.results import complete_folders, read_folders, write_json
from clip_invariance.run import provenance

PROJECT = Path(__file__).parents[1]
PARTS = {
    "step": contrastive_step.ratios,
    "render": render.ratios,
    "probes": probes.ratios,
    "orbit": orbit.ratios,
    "together": together.ratios,
    "allocator": allocator.ratios,
    "memory": memory.ratios,
    "rerun": rerun.ratios,
    "captions": captions.ratios,
}
VERSIONS = ("python", "torch", "open_clip_torch", "scikit_learn", "pillow")


def chapter_costs() -> list[ChapterCost]:
    """Every chapter of every profile that was run in this folder."""
    folders = sorted((PROJECT / "_build" / "run").glob("*/figures"))
    return [
        ChapterCost.of(results.run) for folder in folders for results in read_folders(complete_folders(folder)).values()
    ]


def draw(points: Sequence[Point], theme: Theme, path: Path) -> None:
    """Time (both axes logarithmic: a power of the amount is a straight line) and memory, which starts at nothing."""
    with style(theme):
        figure, (time_ax, memory_ax) = plt.subplots(1, 2, figsize=(WIDTH, 2.6), layout="constrained")
        for kind, colour in zip(growth.AMOUNTS, (PALETTE["blue"], PALETTE["orange"], PALETTE["green"]), strict=True):
            mine = [point for point in points if point.of == kind]
            x = [point.amount / min(p.amount for p in mine) for point in mine]
            drawn = {"color": colour, "markersize": 4}
            label = f"{kind}, power {exponent(mine, 'seconds'):.1f}"
            time_ax.plot(x, [point.seconds for point in mine], "o-", label=label, **drawn)
            memory_ax.plot(x, [point.memory_mb / 1000 for point in mine], "o-", **drawn)
        for ax, title in ((time_ax, "time (s)"), (memory_ax, "memory (GB)")):
            ax.set(xscale="log", xlabel="times the smallest amount", title=title)
            ax.set_xticks([1, 2, 4, 6], ["1", "2", "4", "6"])
            ax.xaxis.set_minor_locator(mpl.ticker.NullLocator())
        memory_ax.set_ylim(bottom=0)
        time_ax.set_yscale("log")
        time_ax.yaxis.set_major_formatter("{x:g}")
        time_ax.yaxis.set_minor_locator(mpl.ticker.NullLocator())
        low, high = time_ax.get_ylim()
        time_ax.set_ylim(low, high * (high / low) ** 0.6)  # room for the legend
        time_ax.legend(loc="upper left")
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
