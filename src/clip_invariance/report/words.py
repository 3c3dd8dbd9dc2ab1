"""What pages say about runs, in Markdown that no text from a results file can break out of."""

from __future__ import annotations

import re

from clip_invariance.errors import printable
from clip_invariance.report.numbers import NO_BREAK_SPACE
from clip_invariance.results import RunRecord, Sidecar

NO_BREAK_HYPHEN = "\u2011"


def run_line(run: RunRecord) -> str:
    """Profile, device, date, duration and commit of a run in one line."""
    took = f"in {duration(run.wall_seconds)}"
    if run.reused >= run.units:
        took = f"{duration(run.compute_seconds)} of computing, all of it done before"
    return f"{run.profile} on {plain(machine(run))}, {run.started[:10]}, {took}; commit {plain(short_commit(run))}"


def duration(seconds: float) -> str:
    """Seconds in words a reader likes, kept on one line: "0.4 s", "42 s", "3 min 5 s", "2 h 10 min"."""
    whole = round(seconds)
    if seconds < 10:
        words = f"{seconds:.1f} s"
    elif whole < 60:
        words = f"{whole} s"
    elif whole < 3600:
        words = f"{whole // 60} min {whole % 60} s"
    else:
        words = f"{whole // 3600} h {whole % 3600 // 60} min"
    return words.replace(" ", NO_BREAK_SPACE)


def plain(text: str) -> str:
    """Text from a results file, safe anywhere in Markdown: one line, in which no character is markup.

    >>> plain("a|b {{ c }}")
    'a\\\\|b \\\\{\\\\{ c \\\\}\\\\}'
    """
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", printable(text, 10_000))


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; on a phone each row becomes a list, where every cell needs its label."""
    labelled = [
        [f"[{name}]{{.cell-label}} {cell}" if cell else "" for name, cell in zip(header, row, strict=True)]
        for row in rows
    ]
    lines = [f"| {' | '.join(cells)} |" for cells in [header, ["---"] * len(header), *labelled]]
    return "\n".join([":::{container} table-stacks", *lines, ":::", ""])


def machine(run: RunRecord | Sidecar) -> str:
    """Device as readers know it: the processor's name, and CPU or GPU where the name does not tell."""
    kind = "GPU" if run.device == "cuda" else "CPU"
    return run.device_name if kind in run.device_name else f"{run.device_name} ({kind})"


def short_commit(run: RunRecord | Sidecar) -> str:
    """Seven digits of the commit, and whether the tree had changes on top."""
    return (run.commit[:7] or "unknown") + (" with uncommitted changes" if run.dirty else "")
