"""An audit of captions: counted with progress, printed, and kept as a table, a figure, a record and a page."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from tqdm import tqdm

from clip_invariance.audit.captions import page
from clip_invariance.audit.captions.counting import Tally, bits_of, count
from clip_invariance.audit.captions.factors import Factors, read_factors
from clip_invariance.audit.captions.reading import Source, sources
from clip_invariance.audit.captions.worth import Worth, value_counts, worths
from clip_invariance.errors import UsageError
from clip_invariance.marks.style import Theme, style
from clip_invariance.results import find_project, write_bytes, write_json
from clip_invariance.run import provenance

RECORD, TABLE, PAGE, FIGURE = "captions.json", "captions.csv", "captions.md", "captions"
PNG_DPI = 144
_THEMES: tuple[tuple[Theme, str], ...] = (("light", ""), ("dark", ".dark"))
_QUIET_SECONDS = 10.0  # between two lines of progress where there is no terminal


@dataclass(frozen=True)
class CaptionAudit:
    """What was found and where it was written."""

    table: pd.DataFrame
    record: dict[str, Any]
    folder: Path


def run(
    paths: Sequence[Path], factors: Path | None, batch: int, *, column: str | None, output: Path | None, force: bool
) -> CaptionAudit:
    """Count, compute and write ``captions.csv``, ``.json``, ``.md``, ``.png``, and ``.dark.png``.

    Args:
        paths: files, or folders of files.
        factors: what to look for; None for driving scenes.
        batch: N, pairs in a batch of the training that the captions are for.
        column: name of the captions' column, or its number in files without a header line; None: a usual name.
        output: the folder; None for one named after the files and a digest of all inputs.
        force: write over results that were made from other inputs.

    Raises:
        UsageError: for wrong arguments and inputs, in one line, by file, row and factor.
    """
    started, clock = provenance.now(), time.perf_counter()
    if batch < 2:
        raise UsageError(f"--batch {batch}: a contrast needs at least 2 pairs")
    wanted, files = read_factors(factors), sources(paths, column)
    inputs = _inputs(files, wanted, str(factors) if factors else "driving.toml", batch)
    folder = _folder(output, files, inputs, force)
    tally, sample = _count(files, wanted)
    if not tally.read:
        raise UsageError(f"{tally.captions:,} captions were read, and all are empty: is this the right column?")
    found = worths(tally, sample, wanted, batch)
    table = tabulate(tally, wanted, found)
    record: dict[str, Any] = {
        "inputs": inputs,
        "captions": tally.captions,
        "empty": tally.empty,
        "sampled": len(sample),
        "created": started,
        "wall_seconds": round(time.perf_counter() - clock, 1),
        "peak_memory_mb": provenance.peak_memory_mb(),
        "rows": json.loads(table.to_json(orient="records")),
    }
    _write(folder, table, record)
    return CaptionAudit(table, record, folder)


def tabulate(tally: Tally, factors: Factors, found: Sequence[Worth]) -> pd.DataFrame:
    """All results in one table.

    Returns:
        Columns what ("factor", "value" or "pair"), factor, value (of a value), other (factor of a pair), captions,
        percent (of those not empty), several, order, gain_nats, at_least, at_most, entropy_nats. Factors come in the
        order of their gains. What does not apply is missing.
    """
    bits, named = bits_of(factors), {factor.name: factor for factor in factors.factors}
    rows: list[dict[str, Any]] = []
    for worth in found:
        rows.append({
            "what": "factor", "factor": worth.factor, "captions": worth.named, "several": worth.several,
            "order": worth.order, "gain_nats": worth.gain, "at_least": worth.low, "at_most": worth.high,
            "entropy_nats": worth.entropy,
        })  # fmt: skip
    for worth in found:
        factor = named[worth.factor]
        counts = value_counts(tally, factors, factor)
        rows += [
            {"what": "value", "factor": factor.name, "value": value, "captions": number}
            for value, number in zip(factor.values, counts, strict=True)
        ]
    order = [worth.factor for worth in found]
    for place, one in enumerate(order):
        rows += [
            {"what": "pair", "factor": one, "other": other, "captions": tally.having_both(bits[one], bits[other])}
            for other in order[place + 1 :]
        ]
    columns = ["what", "factor", "value", "other", "captions", "percent", "several", "order", "gain_nats",
               "at_least", "at_most", "entropy_nats"]  # fmt: skip
    table = pd.DataFrame(rows).reindex(columns=columns)
    table["percent"] = 100 * table["captions"] / tally.read
    return table.astype({"several": "Int64", "order": "Int64"})


def _count(files: Sequence[Source], factors: Factors) -> tuple[Tally, Any]:
    patience = 0.2 if sys.stderr.isatty() else _QUIET_SECONDS
    bar: tqdm[Any] = tqdm(
        total=sum(file.size for file in files), unit="B", unit_scale=True, desc="reading", mininterval=patience,
        file=sys.stderr, delay=0 if sys.stderr.isatty() else _QUIET_SECONDS,
    )  # fmt: skip
    seen = 0

    def progress(bytes_read: int, captions: int) -> None:
        nonlocal seen
        seen += captions
        bar.set_postfix_str(f"{seen / 1e6:.1f} M captions", refresh=False)
        bar.update(bytes_read)

    with bar:
        return count(files, factors, progress)


# ---------------------------------------------------------------- files


def _inputs(files: Sequence[Source], factors: Factors, name: str, batch: int) -> dict[str, Any]:
    """Everything that decides the results, as far as it can be known without reading the files twice."""
    return {
        "files": [
            {"path": str(file.path.resolve()), "bytes": file.size, "modified_ns": file.modified,
             "column": file.column if file.column is not None else file.number + 1}
            for file in files
        ],
        "factors": name,
        "factors_sha256": factors.digest,
        "batch": batch,
    }  # fmt: skip


def _folder(output: Path | None, files: Sequence[Source], inputs: dict[str, Any], force: bool) -> Path:
    """Where to write; refuses to write over results of other inputs."""
    known = {key: value for key, value in inputs.items() if key != "factors"}
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:10]
    if output is None:
        name = files[0].path.name.split(".")[0] or "captions"
        try:
            parent = find_project() / "_build"
        except UsageError:  # used outside the report's folder
            parent = Path("clip-invariance")
        return parent / "captions" / f"{name}-{digest}"
    if output.exists() and not output.is_dir():
        raise UsageError(f"--output {output}: is a file, not a folder")
    record = output / RECORD
    if record.is_file() and not force:
        try:
            before = json.loads(record.read_text(encoding="utf-8"))["inputs"]
            same = {key: value for key, value in before.items() if key != "factors"} == known
        except (ValueError, KeyError, AttributeError, TypeError):
            same = False
        if not same:
            raise UsageError(f"--output {output}: holds results made from other inputs: add --force to replace them")
    output.mkdir(parents=True, exist_ok=True)  # fails now rather than after the counting
    return output


def _write(folder: Path, table: pd.DataFrame, record: dict[str, Any]) -> None:
    for theme, ending in _THEMES:
        with style(theme) as ink:
            figure = page.overview(table)
            png = io.BytesIO()
            figure.savefig(png, format="png", dpi=PNG_DPI, facecolor=ink.page)
            plt.close(figure)
        write_bytes(folder / f"{FIGURE}{ending}.png", png.getvalue())
    write_bytes(folder / TABLE, table.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode())
    write_bytes(folder / PAGE, page.markdown(table, record).encode())
    write_json(folder / RECORD, record)
