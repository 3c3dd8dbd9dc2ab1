"""An audit of one checkpoint: measured with progress, saved as a table, a figure, a record and a page to read."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import torch
from tqdm import tqdm

from clip_invariance.audit import checkpoints
from clip_invariance.audit import figures as draw
from clip_invariance.audit import measures as audit
from clip_invariance.audit.checkpoints import LOCAL, Checkpoint, Encoder
from clip_invariance.audit.measures import AUDITED, DEPTHS, PIXELS, READINGS, THINGS, UNTRAINED, find
from clip_invariance.chapters.c4_dashcam import photographs
from clip_invariance.chapters.c4_dashcam.readers import Reader
from clip_invariance.errors import ReportError, UsageError, printable
from clip_invariance.marks.style import Theme, style
from clip_invariance.report.words import plain
from clip_invariance.results import find_project, to_json, write_bytes, write_json
from clip_invariance.run import provenance
from clip_invariance.run.store import keep_freed_memory
from clip_invariance.worlds.traffic_lights import ATTRIBUTION

PNG_DPI = 144
THEMES: tuple[Theme, Theme] = ("light", "dark")
#: Pictures that the time is guessed from.
_TIMED = {"cpu": 16, "cuda": 256}
_QUIET_SECONDS = 10.0  # between two lines of progress where there is no terminal


@dataclass(frozen=True)
class Audit:
    """What was found and where it was written.

    Attributes:
        unwritten: why files are missing there; "" where none are. The table is what was measured even so.
    """

    name: str
    table: pd.DataFrame
    folder: Path
    unwritten: str = ""


def run(model: str, pretrained: str, *, device: str, scenes: int, seeds: int, output: Path | None) -> Audit:
    """Measure one checkpoint and write ``table.csv``, ``audit.json``, ``audit.png``, ``audit.dark.png``, ``audit.md``.

    Args:
        model, pretrained: see :func:`checkpoints.find`.
        device: "auto", "cpu" or "cuda".
        scenes: random scenes for each repetition and size of the light.
        seeds: repetitions, at least two.
        output: the folder; None for ``_build/audit/<name>`` in the report's folder, or, where the audit of another
            checkpoint or of other scenes lies there, ``_build/audit/<name>-<digest>``.

    Raises:
        UsageError: for wrong arguments, a checkpoint that cannot be had, or an ``output`` that holds another audit.
        ReportError: if the package of photographs is missing or broken, or memory runs out.
    """
    started, clock = provenance.now(), time.perf_counter()
    device = provenance.resolve_device(device)
    if seeds < 2:
        raise UsageError(f"--seeds {seeds}: an interval needs at least two repetitions")
    if output is not None and output.exists() and not output.is_dir():
        raise UsageError(f"--output {output}: is a file, not a folder")
    where = output or find_project() / "_build" / "audit"
    much = audit.amounts(scenes, seeds)
    stock = photographs.inventory()
    shown = stock[stock["class"] != "yellow"].groupby("split")["photographs"].sum()
    checkpoint = checkpoints.find(model, pretrained)
    encoder = checkpoints.load(checkpoint, device)
    name = name_of(model, pretrained)
    record: dict[str, Any] = {
        "model": model,
        "pretrained": pretrained,
        "device": device,
        "files": checkpoint.digests(),
        "notes": list(checkpoint.notes),
        "parameters": encoder.parameters,
        "preprocessing": encoder.preprocessing,
        "drawn_at_px": audit.drawn_size(encoder.size),
        "scenes": much.scenes,
        "pairs": much.pairs,
        "repetitions": seeds,
        "damaged_photographs": [line for line in stock["damage"] if line],
    }
    pictures = seeds * 2 * much.pictures() + (1 + seeds) * int(shown.sum())
    folder = _place(where, name, record, output is not None)
    folder.mkdir(parents=True, exist_ok=True)  # fails now rather than after the measuring
    if not os.access(folder, os.W_OK):
        raise UsageError(f"--output {folder}: cannot be written to")
    keep_freed_memory()
    try:
        _announce(name, encoder, checkpoint, device, pictures)
        with _bar(pictures) as bar:
            rows = _measure(checkpoint, encoder, much, seeds, device, bar.update)
    except torch.OutOfMemoryError:
        raise ReportError(f"{name} does not fit into the memory of the device: try --device cpu") from None
    table = audit.tabulate(rows, int(shown["test"]))
    record |= {
        "device_name": provenance.device_name(device),
        "versions": provenance.versions(),
        "created": started,
        "wall_seconds": round(time.perf_counter() - clock, 1),
        "peak_memory_mb": provenance.peak_memory_mb(),
        "attribution": [ATTRIBUTION],
        **_commit(),
    }
    folder = _place(where, name, record, output is not None)  # another audit of this name may have ended meanwhile
    return Audit(name, table, folder, _write(folder, name, table, record))


def name_of(model: str, pretrained: str) -> str:
    """A folder's name for a checkpoint: letters, digits, dots, dashes."""
    if pretrained and Path(pretrained).suffix:
        pretrained = Path(pretrained).stem
    short = Path(model.removeprefix(checkpoints.LOCAL)).name if model.startswith(checkpoints.LOCAL) else model
    joined = "-".join(part for part in (short.removeprefix(checkpoints.HUB), pretrained) if part)
    return re.sub(r"[^\w.-]+", "-", joined).strip(".-") or "encoder"


#: Fields of a record that say what was asked. Audits that agree in them are one, measured again.
_ASKED = ("files", "preprocessing", "drawn_at_px", "scenes", "pairs", "repetitions", "device")


def _place(where: Path, name: str, record: Mapping[str, Any], chosen: bool) -> Path:
    """The folder for an audit: never that of another one, whose numbers it would replace.

    Args:
        where: the folder itself where the user has ``chosen`` it, else the one that holds all audits.

    Raises:
        UsageError: if the chosen folder holds another audit.
    """
    folder = where if chosen else where / name
    if _is_free(folder, record):
        return folder
    if chosen:
        raise UsageError(
            f"--output {folder}: holds the audit of another checkpoint or of other scenes: choose another one"
        )
    asked = to_json([_kind(record), *(record[field] for field in _ASKED)])
    return where / f"{name}-{hashlib.sha256(asked).hexdigest()[:8]}"


def _is_free(folder: Path, record: Mapping[str, Any]) -> bool:
    """Whether an audit may be written there: none is, or one of the same."""
    try:
        before = json.loads((folder / "audit.json").read_bytes())
        return all(to_json(before[field]) == to_json(record[field]) for field in _ASKED) and _kind(before) == _kind(
            record
        )
    except FileNotFoundError:
        return not (folder / "table.csv").exists()  # whose record was lost
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _kind(record: Mapping[str, Any]) -> str:
    """The architecture's name; that of a folder is in its files."""
    model = str(record["model"])
    return LOCAL if model.startswith(LOCAL) else model.replace("/", "-")


def _measure(
    checkpoint: Checkpoint, encoder: Encoder, much: audit.Amounts, seeds: int, device: str,
    advance: Callable[[int], object],
) -> list[audit.Row]:  # fmt: skip
    """Rows of the encoder, of the same architecture untrained, and of pixels, each with ``encoder`` and ``seed``."""
    rows: list[audit.Row] = []

    def done(count: int) -> None:
        advance(count)

    def add(found: Sequence[audit.Row], whose: str, seed: int) -> None:
        rows.extend(row | {"encoder": whose, "seed": seed} for row in found)

    subject = audit.Subject(Reader(encoder.images, encoder.texts), encoder.size)
    photos = audit.photograph_features(subject, much.photographs, device, done)
    for seed in range(seeds):
        add([*audit.read_drawn(subject, much, seed, device, done)], AUDITED, seed)
        add([*audit.read_photographs(*photos, much, seed, encoder.texts)], AUDITED, seed)
        add([*audit.read_pixels(much, seed, device)], PIXELS, seed)
    del encoder, subject, photos  # two large models need not be in memory together
    for seed in range(seeds):
        control = checkpoints.untrained(checkpoint, seed, device)
        control.settle(audit.settling_pictures(control.size, seed, device))
        subject = audit.Subject(Reader(control.images), control.size)  # its words mean nothing
        add([*audit.read_drawn(subject, much, seed, device, done)], UNTRAINED, seed)
        photos = audit.photograph_features(subject, much.photographs, device, done)
        add([*audit.read_photographs(*photos, much, seed)], UNTRAINED, seed)
    return rows


# ---------------------------------------------------------------- progress


def _announce(name: str, encoder: Encoder, checkpoint: Checkpoint, device: str, pictures: int) -> None:
    """Say what will be done and how long it may take, from a few pictures."""
    for note in checkpoint.notes:
        print(f"note: {printable(note, 1000)}", file=sys.stderr)
    count, side = _TIMED[device], audit.drawn_size(encoder.size)
    few = torch.zeros(count, 3, side, side, dtype=torch.uint8, device=device)
    encoder.images(few)
    clock = time.perf_counter()
    encoder.images(few)
    rate = count / (time.perf_counter() - clock)
    seconds = pictures / rate
    about = f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"
    print(
        f"{name}: {encoder.parameters / 1e6:.1f} M parameters, {encoder.size} px, on {device}. {pictures:,} pictures "
        f"at {rate:.3g}/s: about {about}, and a little for the probes. Fewer: --scenes, --seeds.",
        file=sys.stderr,
    )


def _bar(pictures: int) -> tqdm[Any]:
    """A bar on a terminal, a line now and then elsewhere."""
    patience = 0.1 if sys.stderr.isatty() else _QUIET_SECONDS
    return tqdm(total=pictures, desc="encoding", unit=" pictures", mininterval=patience, file=sys.stderr)


def _commit() -> dict[str, Any]:
    try:
        commit, dirty = provenance.commit(find_project())
    except UsageError:  # used outside the report's folder
        return {"commit": provenance.UNKNOWN, "dirty": False}
    return {"commit": commit, "dirty": dirty}


# ---------------------------------------------------------------- files


def _write(folder: Path, name: str, table: pd.DataFrame, record: dict[str, Any]) -> str:
    """Write what was measured, numbers first; returns why something could not be written, or ""."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / "table.csv", table.round(3).to_csv(index=False, lineterminator="\n").encode())
        write_json(folder / "audit.json", record)
        write_bytes(folder / "audit.md", page(name, table, record).encode())
        plt.switch_backend("agg")  # a user's choice may want a screen
        for theme, file in zip(THEMES, ("audit.png", "audit.dark.png"), strict=True):
            write_bytes(folder / file, _png(table, name, theme))
    except Exception as error:  # of disks, of fonts: an hour's numbers must not be lost for it
        reason = error.strerror if isinstance(error, OSError) and error.strerror else f"{type(error).__name__}: {error}"
        return f"{folder}: {reason}"
    return ""


def _png(table: pd.DataFrame, name: str, theme: Theme) -> bytes:
    with style(theme) as ink:
        figure, png = draw.overview(table, name), io.BytesIO()
        figure.savefig(png, format="png", dpi=PNG_DPI, facecolor=ink.page)
        plt.close(figure)
    return png.getvalue()


def accuracies(table: pd.DataFrame, cell: Callable[[pd.Series], str]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: every thing that was asked for, by every reading."""
    rows = []
    for thing, (pictures, factor) in THINGS.items():
        found = [find(table, e, pictures, metric, depth, factor) for e, metric, depth in READINGS.values()]
        chance = next(row["chance"] for row in found if row is not None)
        rows.append([thing, f"{chance:.0f}", *["-" if row is None else cell(row) for row in found]])
    return ["right, %", "chance", *READINGS], rows


def changes(
    table: pd.DataFrame, metric: str, heading: str, cell: Callable[[pd.Series], str]
) -> tuple[list[str], list[list[str]]]:
    """Header and rows of what matched pairs do: light, pedestrian and car by depth, for "d_prime" or "distance"."""
    rows = []
    for thing in ("small light", "large light", "somebody crossing", "car: colour"):
        pictures, factor = THINGS[thing]
        found = [find(table, e, pictures, metric, depth, factor) for e, depth in DEPTHS.values()]
        rows.append([thing, *["-" if row is None else cell(row) for row in found]])
    return [heading, *DEPTHS], rows


def decisions(table: pd.DataFrame, cell: Callable[[pd.Series], str]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the red lights that are run, by who is trusted."""
    readers = {"words": (AUDITED, "words"), **{f"probe, {name}": where for name, where in DEPTHS.items()}}
    rows = []
    for thing in ("small light", "large light"):
        found = [find(table, e, THINGS[thing][0], "false_go", depth) for e, depth in readers.values()]
        rows.append([thing, *["-" if row is None else cell(row) for row in found]])
    return ["red lights run, %", *readers], rows


#: Columns that a terminal of 80 characters has no room for.
_ON_THE_PAGE_ONLY = ("neighbours", "untrained, backbone", "probe, untrained, backbone")


def summary(table: pd.DataFrame) -> list[tuple[list[str], list[list[str]]]]:
    """Header and rows of the tables for a terminal."""
    made = []
    for header, rows in (
        accuracies(table, plus_minus),
        changes(table, "d_prime", "d' of matched pairs", plus_minus),
        decisions(table, plus_minus),
    ):
        kept = [column for column, name in enumerate(header) if name not in _ON_THE_PAGE_ONLY]
        made.append(([header[column] for column in kept], [[row[column] for column in kept] for row in rows]))
    return made


def _few_labels(table: pd.DataFrame, cell: Callable[[pd.Series], str]) -> tuple[list[str], list[list[str]]]:
    few = table[table["metric"] == "few_shot"]
    counts = sorted(few["labels"].unique())
    rows = []
    for thing in ("small light", "large light", "photographed light"):
        pictures, factor = THINGS[thing]
        for name, (encoder, depth) in DEPTHS.items():
            found = [find(table, encoder, pictures, "few_shot", depth, factor, count) for count in counts]
            found.append(find(table, encoder, pictures, "probe", depth, factor))
            rows.append([f"{thing}, {name}", *["-" if row is None else cell(row) for row in found]])
    return ["right, %", *[f"{count} per class" for count in counts], "all"], rows


def _called_red(table: pd.DataFrame, cell: Callable[[pd.Series], str]) -> tuple[list[str], list[list[str]]]:
    found = table[(table["metric"] == "called_red") & (table["pictures"] == "small")]
    return ["behind a", *found["factor"]], [["called red, %", *[cell(row) for _, row in found.iterrows()]]]


def plus_minus(row: pd.Series) -> str:
    """A number and half its interval's width, for a narrow table."""
    low, high = _ends(row)
    digits = 2 if row["metric"] == "d_prime" else 0
    return f"{row['value']:.{digits}f} ±{(high - low) / 2:.{digits}f}"


def bracketed(row: pd.Series) -> str:
    """A number and its interval."""
    low, high = _ends(row)
    digits = 2 if row["metric"] == "d_prime" else 0
    return f"{row['value']:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _ends(row: pd.Series) -> tuple[float, float]:
    """Ends of the interval; those of shares stay within 0 and 100."""
    if row["metric"] in ("d_prime", "distance"):
        return row["low"], row["high"]
    return max(row["low"], 0.0), min(row["high"], 100.0)


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def page(name: str, table: pd.DataFrame, record: dict[str, Any]) -> str:
    """The audit as Markdown, for a person to read."""
    light, probe = (
        find(table, AUDITED, "small", metric, depth)
        for metric, depth in (("zero_shot", "words"), ("probe", "embedding"))
    )
    untrained = find(table, UNTRAINED, "small", "probe")
    run_red = find(table, AUDITED, "small", "false_go")
    damaged = record["damaged_photographs"]
    fitted = record["scenes"] // 2
    answer = (
        f"Asked in words for the small traffic light, it is right in {bracketed(light)} % of the scenes (chance: 50). "
        if light is not None
        else ""
    )
    if probe is not None and untrained is not None and run_red is not None:
        answer += (
            f"A linear probe on its embedding, with {fitted} labelled scenes, is right in {bracketed(probe)} %; on the "
            f"same architecture with random weights, in {bracketed(untrained)} %. A car that trusted the probe, and "
            f"braked needlessly at one green light in a hundred, would run {bracketed(run_red)} % of the red ones."
        )
    files = "\n".join(f"- {plain(file)}, SHA-256 `{digest}`" for file, digest in record["files"].items())
    notes = "".join(f"\n- Note: {plain(note)}." for note in record["notes"])
    hurt = "".join(f"\n- {line}" for line in damaged) or " none."
    prepared = record["preprocessing"]
    resized = f"{plain(str(prepared['interpolation']))}, {plain(str(prepared['resize_mode']))}"
    preparation = (
        f"{_numbers(prepared['size'])} px, {resized}, mean "
        f"{_numbers(prepared['mean'])}, standard deviation {_numbers(prepared['std'])}"
    )
    versions, minutes = record["versions"], record["wall_seconds"] / 60
    machine = (
        f"{record['parameters'] / 1e6:.1f} million parameters, on {record['device_name']} in {minutes:.1f} minutes, "
        f"with {record['peak_memory_mb'] / 1000:.1f} GB of memory at most"
    )
    software = (
        f"Python {versions['python']}, torch {versions['torch']}, open_clip {versions['open_clip_torch']}, commit "
        f"{record['commit'][:10]}{' with changes' if record['dirty'] else ''}, {record['created']}"
    )
    return f"""# Audit of {name}

{answer}

<picture><source media="(prefers-color-scheme: dark)" srcset="audit.dark.png"><img src="audit.png" width="560"
alt="{draw.describe_overview(table, name)}"></picture>

All numbers with 95 % intervals are in [table.csv](table.csv); what was run, and on what, in [audit.json](audit.json).

## What can be read

{_markdown(*accuracies(table, bracketed))}

- *Words*: the class whose prompts are nearest, over all templates and wordings of the report's vocabulary. None was
  chosen, and none was written for this encoder; better prompts may exist. No labels.
- *Neighbours*: a vote of the ten nearest labelled pictures in the embedding.
- *Probe*: logistic regression, on the embedding that is compared with texts or on the features before its projection.
- *Untrained*: the probe on the same architecture with random weights. What it reads, the architecture gives away for
  nothing. *Pixels*: the probe on the same scenes, 48 pixels wide, and on photographs, 16 pixels wide.
- *Chance* is equal guessing. On photographs it is saying "red" to all: most of them are.
- A thing is **kept** if the probe is well above both controls, and **within reach of language** if words are well above
  chance. A probe that fails does not prove that the thing is gone.

## Matched pairs

The same scene twice, with one thing changed: red or green light, nobody or somebody crossing, a red or a green car.

{_markdown(*changes(table, "d_prime", "d'", bracketed))}

d' is how far apart the two means lie along the best direction, in standard deviations; 0 is chance, and at 1 the best
threshold is right 69 times in a hundred.

{_markdown(*changes(table, "distance", "distance, %", bracketed))}

Distance is that of the two pictures, in percent of the distance between car colours in the same features.

## Would you let it drive?

Red lights that a car would run if it may brake needlessly at 1 % of the green ones. A car that guesses runs 99 %.

{_markdown(*decisions(table, bracketed))}

With {record["scenes"] - fitted} test scenes in each repetition, 1 % of the green lights are about
{(record["scenes"] - fitted) / 200:.2g} pictures: take this as a comparison, not as a rate on a road.

## Few labels

{_markdown(*_few_labels(table, bracketed))}

## Where words put the colour

How often words call the small light red, by the colour of the car ahead. Half of the lights are red, whatever the car.

{_markdown(*_called_red(table, bracketed))}

## What was measured

- {record["repetitions"]} repetitions, each with {record["scenes"]} random scenes for each size of the light (half to
  fit on, half to test on) and {record["pairs"]} matched pairs of each kind, drawn at {record["drawn_at_px"]} pixels.
- Intervals are Student's t over repetitions: other scenes, and for the control other random weights. The encoder itself
  is one. For photographs with all labels they are Wilson's, over test photographs.
- Prepared as the model asks: {preparation}.
- Photographs are stretched to squares; their two splits share drives, so that high numbers on them say little about
  unseen roads. Damaged and left out:{hurt}
- {machine}. {software}.
{files}{notes}

{" ".join(record["attribution"])}.
"""


def _numbers(values: float | Sequence[float]) -> str:
    return " ".join(f"{value:.3g}" for value in (values if isinstance(values, list | tuple) else [values]))
