"""The table that every benchmark prints."""

from __future__ import annotations

from collections.abc import Sequence

from clip_invariance.report.speed import Ratio


def show(ratios: Sequence[Ratio]) -> None:
    """Print one line per comparison: medians, the ratio, the lowest and the highest of its repeats, and its target."""
    width = max(len(r.task) for r in ratios)
    other = max(len(r.instead) for r in ratios)
    print(f"{'task':{width}}  {'instead of':{other}}       ours     theirs  ratio  [lowest, highest]  target")
    for r in ratios:
        target = "" if r.target is None else f"{r.target:g} {'reached' if r.ratio >= r.target else 'MISSED'}"
        print(
            f"{r.task:{width}}  {r.instead:{other}}  {r.ours:9.3g}  {r.theirs:9.3g}  {r.ratio:5.2f}"
            f"  {f'[{r.low:.2f}, {r.high:.2f}]':>17}  {target}",
            flush=True,
        )
