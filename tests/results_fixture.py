"""Results folders written by hand, as a run would have left them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clip_invariance.results import NOTEBOOK, read_run, sha256, write_json
from clip_invariance.rules.claims import load_claims, rules_digest

VERSIONS = {"python": "3.11.7", "torch": "2.14.1"}


def value(number: float, half: float = 0.5, **more: Any) -> dict[str, Any]:
    """One entry of values.json."""
    entry = {
        "value": number,
        "low": number - half,
        "high": number + half,
        "n": 5,
        "spread": half,
        "unit": "points",
        "digits": 1,
        "tolerance": 1.0,
        "figure": "accuracy",
        "description": "",
    }
    return entry | more


def origin_record(chapter: str, profile: str = "standard") -> dict[str, Any]:
    """What run.json and sidecars share."""
    return {
        "chapter": chapter,
        "notebook": "notebooks/01_fake.ipynb",
        "profile": profile,
        "seeds": 5,
        "device": "cpu",
        "device_name": "A processor",
        "versions": VERSIONS,
        "commit": "c0ffee" * 5,
        "dirty": False,
        "compute_seconds": 2.0,
        "wall_seconds": 3.0,
        "peak_memory_mb": 100.0,
        "units": 4,
    }


def sidecar_record(name: str = "accuracy", chapter: str = "01", profile: str = "standard") -> dict[str, Any]:
    """A sidecar."""
    return {
        **origin_record(chapter, profile),
        "name": name,
        "title": "Arms differ",
        "alt": "Two arms.",
        "experiment": "None.",
        "kind": "figure",
        "key": "0" * 64,
        "width_px": 200,
        "height_px": 150,
        "created": "2026-01-01T00:00:00+00:00",
        "attribution": [],
    }


def write_results(folder: Path, values: dict[str, dict[str, Any]], profile: str = "standard", **run: Any) -> Path:
    """Write a complete results folder, named by its chapter; ``run`` replaces fields of run.json."""
    chapter = folder.name
    shared = origin_record(chapter, profile)
    write_json(folder / "accuracy.json", sidecar_record(chapter=chapter, profile=profile))
    svg = '<svg xmlns="http://www.w3.org/2000/svg" width="150pt" height="112pt" viewBox="0 0 150 112"></svg>'
    (folder / "accuracy.svg").write_text(svg)
    (folder / "accuracy.dark.svg").write_text(svg)
    (folder / "accuracy.csv").write_text("seed,score\n0,50.0\n")
    (folder / NOTEBOOK).write_text('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')
    write_json(folder / "values.json", {"schema": 1, "chapter": chapter, "profile": profile, "values": values})
    record = shared | {
        "schema": 1,
        "rules": rules_digest(load_claims(), chapter),
        "parameters": {"profile": profile, "device": "auto", "seeds": 0, "jobs": 0},
        "started": "2026-01-01T00:00:00+00:00",
        "reused": 0,
        "figures": ["accuracy"],
        "files": {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.name != "run.json"},
    }
    write_json(folder / "run.json", record | run)
    return folder


def replace_in_run(folder: Path, **fields: Any) -> None:
    """Change fields of run.json afterwards."""
    write_json(folder / "run.json", read_run(folder).model_dump(by_alias=True) | fields)
