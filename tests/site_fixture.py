"""A small project for the tests of the site: the repository's pages, an invented chapter 01 and invented results.

The real chapter is left out on purpose: the site's tests must not depend on what a run has found.
"""

from __future__ import annotations

import atexit
import functools
import json
import re
import shutil
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import nbformat
import yaml

from clip_invariance.results import NOTEBOOK, RunRecord, sha256, write_json
from clip_invariance.rules.claims import CLAIMS_FILE, load_claims, rules_digest
from clip_invariance.site.build import build_site

REPOSITORY = Path(__file__).resolve().parents[1]
STEM = "01_hard_vs_soft_invariance"
#: A text of a results file that would be noticed if it ever became part of a page's markup: browser tests fail on errors.
HOSTILE = "<script>console.error('from a result file')</script>"
OPENMOJI = "Artwork: OpenMoji, CC BY-SA 4.0"

#: name -> value, low, high, spread, unit, digits
VALUES = {
    "c01_shift_error": (2.1e-7, 1.8e-7, 2.4e-7, 0.2e-7, "", 3),
    "c02_drop_torus": (1.24, 0.81, 1.67, 0.35, "points", 1),
    "c03_slope": (18.3, 15.1, 21.5, 2.6, "points", 1),
    "c04_drop_vit": (-31.6, -35.2, -28.0, 2.9, "points", 1),
    "c05_cost": (0.4, -2.1, 2.9, 2.0, "points", 1),
    "accuracy_torus": (98.24, 97.1, 99.38, 0.92, "%", 1),
}

CONDITIONS = {
    "C01": [("essential", "c01_shift_error", "<", 0.001, "the shift error of the torus net is floating-point noise")],
    "C02": [
        ("essential", "c02_drop_torus", "<", 2.0, "the torus net loses less than 2 points at unseen places"),
        ("qualifier", "accuracy_torus", ">", 99.0, "it is almost always right at all"),
    ],
    "C03": [("essential", "c03_slope", ">", 5.0, "accuracy at held-out places gains more than 5 points")],
    "C04": [("essential", "c04_drop_vit", ">", -5.0, "the transformer loses less than 5 points above the midline")],
    "C05": [("essential", "c05_cost", ">", 0.0, "global invariance costs accuracy")],
}

SUMMARY = "\nA torus net loses little.\n\n"

PAGE = """# Hard and soft invariance

A net that is built to ignore shifts ({verdict}`C02`) loses {value}`01.c02_drop_torus` at unseen places, so it is right
{value}`01.accuracy_torus:point` of the time; its features move by {value}`01.c01_shift_error`.
Others {cite}`kayhan2020translation` report {elsewhere}`18.3`.

$$f(g \\cdot x) = f(x) \\quad \\text{for all } g \\in G$$

```{result-figure} 01/accuracy_by_place
Accuracy by place. Trained at one place, the torus net does not care where the object is.
```

```{explore} 01/mention
:ask: Captions mention the light:
:choose: mention
:of: panel
:by: series
:marks: words; probe, embedding = probe
:levels: chance; untrained
:unit: accuracy, %

Only rates that were trained can be chosen.
```

```{result-table} 01/kayhan
:digits: 1
Published numbers beside ours.
```

## What this says about the essay

```{claims}
:chapter: 01
```
"""

MENTION = """panel,series,mention,value,low,high,n
small light,words,0.0,49.5,47.0,52.0,5
small light,"probe, embedding",0.0,54.2,52.1,56.3,5
large light,words,0.0,50.5,48.0,53.0,5
large light,"probe, embedding",0.0,80.0,78.0,82.0,5
small light,words,1.0,99.0,98.0,100.0,5
small light,"probe, embedding",1.0,99.5,99.0,100.0,5
large light,words,1.0,100.0,100.0,100.0,5
small light,words,0.1,51.0,49.0,53.0,5
small light,"probe, embedding",0.1,66.0,61.0,71.0,5
small light,untrained,,60.0,58.0,62.0,5
small light,chance,,50.0,,,
large light,chance,,50.0,,,
"""

SVG = """<svg xmlns="http://www.w3.org/2000/svg" width="520" height="260" viewBox="0 0 520 260">
<g fill="none" stroke="{ink}" stroke-width="1"><path d="M40 20V220H500"/></g>
<path d="M40 60H500" stroke="#3a8fd0" stroke-width="3"/>
<path d="M40 70C200 80 300 190 500 205" fill="none" stroke="#d9582b" stroke-width="3"/>
<text x="360" y="50" fill="#3a8fd0" font-size="13">torus net</text>
<text x="360" y="160" fill="#d9582b" font-size="13">perceptron</text>
<g transform="translate(40 240) scale(0.085 -0.085)"><path d="M0 0H90V90"/></g>
</svg>
"""


def value_record(value: float, low: float, high: float, spread: float, unit: str, digits: int) -> dict[str, Any]:
    """One entry of values.json."""
    return {
        "value": value, "low": low, "high": high, "n": 5, "spread": spread, "unit": unit, "digits": digits,
        "tolerance": max(8.6 * spread * 0.73, 0.5 * 10**-digits), "figure": "accuracy_by_place",
        "description": f"an invented number for the tests {HOSTILE}",
    }  # fmt: skip


def common(profile: str, seeds: int) -> dict[str, Any]:
    """Fields that sidecars and run records share."""
    return {
        "chapter": "01", "notebook": f"notebooks/{STEM}.ipynb", "profile": profile, "seeds": seeds, "device": "cpu",
        "device_name": "Example CPU @ 2.10GHz",
        "versions": {"python": "3.11.9", "torch": "2.14.1", "numpy": "2.4.6", HOSTILE: HOSTILE},
        "commit": "0123456789abcdef0123456789abcdef01234567", "dirty": False, "units": 24, "compute_seconds": 812.5,
        "wall_seconds": 431.0, "peak_memory_mb": 611.0,
    }  # fmt: skip


def sidecar(name: str, kind: str, profile: str, seeds: int) -> dict[str, Any]:
    """One figure's or table's sidecar."""
    return {
        **common(profile, seeds), "name": name, "kind": kind, "title": name.replace("_", " ").capitalize(),
        "alt": "Two curves: the torus net stays high, the perceptron falls.", "experiment": "place_support",
        "key": "0" * 64, "width_px": 520 if kind == "figure" else 0, "height_px": 260 if kind == "figure" else 0,
        "created": "2026-11-20T10:00:00Z", "attribution": [OPENMOJI, HOSTILE] if kind == "figure" else [],
    }  # fmt: skip


def write_results(folder: Path, claims_file: Path, profile: str = "standard", shift: float = 0.0) -> None:
    """Write a complete results folder for chapter 01; ``shift`` is added to every value."""
    folder.mkdir(parents=True)
    seeds = 5 if profile == "standard" else 3
    values = {n: value_record(v + shift, lo + shift, hi + shift, *rest) for n, (v, lo, hi, *rest) in VALUES.items()}
    write_json(folder / "values.json", {"schema": 1, "chapter": "01", "profile": profile, "values": values})
    write_json(folder / "accuracy_by_place.json", sidecar("accuracy_by_place", "figure", profile, seeds))
    write_json(folder / "kayhan.json", sidecar("kayhan", "table", profile, seeds))
    write_json(folder / "mention.json", sidecar("mention", "table", profile, seeds))
    (folder / "mention.csv").write_text(MENTION)
    (folder / "accuracy_by_place.svg").write_text(SVG.format(ink="#1f2328"))
    (folder / "accuracy_by_place.dark.svg").write_text(SVG.format(ink="#e6e9ec"))
    (folder / "accuracy_by_place.csv").write_text("place,accuracy\n0,0.98\n1,0.97\n")
    (folder / "kayhan.csv").write_text(
        "padding,published_similar,published_dissimilar,similar_here,dissimilar_here,seeds\n"
        f"valid {HOSTILE},100,0.2,99.91234,0.41,5\nsame_circular,73.7,73.7,75.2499,-1.25,5\n"
    )
    nbformat.write(notebook(executed=True), folder / NOTEBOOK)
    files = {path.name: sha256(path) for path in sorted(folder.iterdir())}
    run = {
        **common(profile, seeds), "schema": 1, "rules": rules_digest(load_claims(claims_file), "01"),
        "parameters": {"profile": profile, "device": "auto"}, "started": "2026-11-20T10:00:00Z", "reused": 7,
        "figures": ["accuracy_by_place", "kayhan", "mention"], "files": files,
    }  # fmt: skip
    RunRecord.model_validate_json(json.dumps(run))
    write_json(folder / "run.json", run)


def sign(folder: Path) -> None:
    """Write the digests of what now lies in a results folder into its run.json, as an attacker would."""
    run = json.loads((folder / "run.json").read_text())
    run["files"] = {name: sha256(folder / name) for name in run["files"]}
    write_json(folder / "run.json", run)


def notebook(executed: bool) -> Any:
    """A notebook with a parameters cell, hidden injected parameters and one output."""
    v4 = nbformat.v4
    outputs = [v4.new_output("stream", name="stdout", text=f"accuracy 0.98\n{HOSTILE}\n")] if executed else []
    injected = v4.new_code_cell('profile = "standard"', metadata={"tags": ["injected-parameters", "remove-cell"]})
    cells = [
        v4.new_markdown_cell("# Notebook: hard and soft invariance"),
        v4.new_code_cell('profile = "quick"', metadata={"tags": ["parameters"]}),
        *([injected] if executed else []),
        v4.new_code_cell("print('accuracy 0.98')", outputs=outputs),
    ]
    return v4.new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})


def write_claims(path: Path) -> None:
    """The registered claims with the conditions of this fixture in place of the real ones."""
    rows = []
    for claim in tomllib.loads(CLAIMS_FILE.read_text(encoding="utf-8"))["claim"]:
        plain = {key: value for key, value in claim.items() if key != "condition"}
        lines = ["[[claim]]", *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in plain.items())]
        for role, value, relation, threshold, reads in CONDITIONS.get(claim["id"], []):
            fields = {"role": role, "value": f"01.{value}", "relation": relation, "threshold": threshold}
            fields["reads"] = reads
            lines += ["[[claim.condition]]", *(f"{k} = {json.dumps(v)}" for k, v in fields.items())]
        rows.append("\n".join(lines))
    path.write_text("\n\n".join(rows) + "\n", encoding="utf-8")


def make_project(folder: Path, results: bool = True) -> tuple[Path, Path]:
    """Write the project; return its folder and its claims file."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(REPOSITORY / "book", folder / "book")
    for name in ("_config.yml", "_toc.yml", "CITATION.cff"):
        shutil.copy(REPOSITORY / name, folder / name)
    for page in (folder / "book").glob("*.md"):  # real values are not here
        text = page.read_text(encoding="utf-8")
        text = re.sub(r"\{value\}`[^`]*`", "some", text)
        text = re.sub(r"\]\(0[2-9]_\w+\.md[^)]*\)", "](claims.md)", text)  # nor are later chapters
        page.write_text(text, encoding="utf-8")
    for page in (folder / "book").glob("[0-9][0-9]_*.md"):
        page.unlink()
    index = folder / "book" / "index.md"  # its summary shows results of later chapters
    before, rest = index.read_text(encoding="utf-8").split("## The answer\n")
    index.write_text(f"{before}## The answer\n{SUMMARY}## The score\n{rest.split('## The score')[1]}", encoding="utf-8")
    (folder / "book" / f"{STEM}.md").write_text(PAGE if results else "# Hard and soft invariance\n", encoding="utf-8")
    toc = (folder / "_toc.yml").read_text(encoding="utf-8")
    (folder / "_toc.yml").write_text(keep_chapter_one(toc), encoding="utf-8")
    (folder / "notebooks").mkdir()
    nbformat.write(notebook(executed=False), folder / "notebooks" / f"{STEM}.ipynb")
    claims_file = folder / "claims.toml"
    write_claims(claims_file)
    if results:
        write_results(folder / "figures" / "01", claims_file)
    return folder, claims_file


def keep_chapter_one(toc: str) -> str:
    """The table of contents without the chapters after the first, which this project does not have."""
    contents = yaml.safe_load(toc)
    for part in contents["parts"]:
        later = re.compile(r"book/0[2-9]_")
        part["chapters"] = [entry for entry in part["chapters"] if not later.match(entry["file"])]
    return str(yaml.safe_dump(contents, sort_keys=False))


@functools.cache
def built_project() -> tuple[Path, Path, Path]:
    """Project folder, claims file and site with published results; built once for all tests."""
    folder = Path(tempfile.mkdtemp(prefix="clip-invariance-site-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    project, claims_file = make_project(folder / "project")
    return project, claims_file, build_site(project, claims_file=claims_file)
