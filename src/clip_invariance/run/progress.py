"""Progress of a run: written by the kernel as JSON lines beside its results folder, shown by the command line.

The command line asks for it with ``$CLIP_INVARIANCE_PROGRESS``. Without it (a notebook opened in Jupyter) a text bar is
drawn in place.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from tqdm import tqdm  # not tqdm.auto: its widgets need a CDN, and warn where ipywidgets is missing

from clip_invariance.run.store import Progress
from clip_invariance.units import Unit

ENVIRONMENT = "CLIP_INVARIANCE_PROGRESS"
PLAIN_EVERY_SECONDS = 5.0


class FileProgress(Progress):
    """Appends {chapter, done, total, reused, unit, seconds} per finished unit, {chapter, note} per note.

    {chapter, computed} says that no unit is left to compute.
    """

    def __init__(self, chapter: str, path: Path) -> None:
        self.chapter, self.path = chapter, path
        self.finished = self.total = self.reused = 0

    def _write(self, **fields: object) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"chapter": self.chapter, **fields}) + "\n")

    def _write_counts(self, unit: str, seconds: float) -> None:
        self._write(done=self.finished, total=self.total, reused=self.reused, unit=unit, seconds=seconds)

    def add(self, units: int, reused: int) -> None:
        self.total += units
        self.reused += reused
        self.finished += reused
        self._write_counts("", 0.0)

    def done(self, unit: Unit, seconds: float) -> None:
        self.finished += 1
        self._write_counts(unit.name, seconds)

    def note(self, message: str) -> None:
        self._write(note=message)

    def computed(self) -> None:
        self._write(computed=True)


class TextProgress(Progress):
    """One text bar for all units of a chapter."""

    def __init__(self, chapter: str) -> None:
        self.bar: tqdm[Any] = tqdm(total=0, desc=f"chapter {chapter}", unit="unit")

    def add(self, units: int, reused: int) -> None:
        self.bar.total = (self.bar.total or 0) + units
        self.bar.update(reused)

    def done(self, unit: Unit, seconds: float) -> None:
        self.bar.update(1)

    def note(self, message: str) -> None:
        self.bar.write(message)


def path_beside(output: Path) -> Path:
    """Where the progress of the run into a results folder is written."""
    return output.with_suffix(".progress.jsonl")


def for_chapter(chapter: str, output: Path) -> Progress:
    """The progress that fits: a file if the command line asked for one, else text."""
    return FileProgress(chapter, path_beside(output)) if os.environ.get(ENVIRONMENT) else TextProgress(chapter)


class Tail:
    """Reads the lines appended to a file since the last look. A line still being written waits for the next look."""

    def __init__(self, path: Path) -> None:
        self.path, self.offset = path, 0

    def read(self) -> list[dict[str, Any]]:
        if not self.path.is_file():
            return []
        with self.path.open("rb") as file:
            file.seek(self.offset)
            lines = file.read().splitlines(keepends=True)
        complete = [line for line in lines if line.endswith(b"\n")]
        self.offset += sum(map(len, complete))
        return [json.loads(line) for line in complete]


class Display:
    """Chapters and their units on a console: bars on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console, bars: Bars, chapters: int) -> None:
        self.console, self.bars = console, bars
        self.overall = bars.add_task("chapters", total=chapters)
        self.units: dict[str, TaskID] = {}
        self.started: dict[str, float] = {}
        self.complete: dict[str, int] = {}
        self.printed = 0.0

    def line(self, message: str) -> None:
        self.bars.console.print(message, markup=False, highlight=False, soft_wrap=True)

    def start(self, chapter: str, title: str) -> None:
        self.started[chapter] = self.printed = time.monotonic()
        self.units[chapter] = self.bars.add_task(f"  {chapter} units", total=None, visible=self.console.is_terminal)
        if not self.console.is_terminal:
            self.line(f"{chapter}: running {title}")

    def update(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            if "note" in line:
                self.line(f"{line['chapter']}: {line['note']}")
            elif "done" in line:
                self.bars.update(self.units[line["chapter"]], completed=line["done"], total=line["total"])
                self._plain(line)

    def _plain(self, line: dict[str, Any]) -> None:
        """A line now and then, with the time left guessed from the units computed so far."""
        clock, chapter = time.monotonic(), line["chapter"]
        computed, left = line["done"] - line["reused"], line["total"] - line["done"]
        last = not left and self.complete.get(chapter) != computed  # tables that are taken from the store are no news
        if self.console.is_terminal or not (last or (left and clock - self.printed >= PLAIN_EVERY_SECONDS)):
            return
        self.printed = clock
        if last:
            self.complete[chapter] = computed
        remaining = (
            f", about {(clock - self.started[chapter]) / computed * left:.0f} s left" if computed and left else ""
        )
        reused = f", {line['reused']} reused" if line["reused"] else ""
        self.line(f"{chapter}: {line['done']}/{line['total']} units{reused}{remaining}")

    def finish(self, chapter: str, message: str) -> None:
        self.bars.remove_task(self.units.pop(chapter))
        self.bars.advance(self.overall)
        self.line(message)


@contextmanager
def display(chapters: int) -> Iterator[Display]:
    """Show progress on stderr, so that stdout stays for results."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console, disable=not console.is_terminal) as bars:
        yield Display(console, bars, chapters)
