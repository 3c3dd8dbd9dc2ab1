"""Finished units carried to another machine: all or nothing, as they were, and nothing else."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from clip_invariance.cli import main
from clip_invariance.errors import ReportError, UsageError
from clip_invariance.profiles import PROFILES
from clip_invariance.results import sha256
from clip_invariance.run import Chapter
from clip_invariance.run import store as store_module
from clip_invariance.run.packed import Packed, merge, pack
from clip_invariance.run.store import Entry, Progress, Store, run_units, unit_key
from clip_invariance.units import Unit
from fake_project import files_below

UNITS = 4


@pytest.fixture
def experiment(project: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("FAKELAB_LOG", str(project / "log"))
    return importlib.import_module("fakelab.experiment")


@pytest.fixture
def theirs(project: Path, experiment: Any, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store of another machine."""
    store = Store(project / "theirs")
    monkeypatch.setattr(store_module, "device_name", lambda device: "A large machine")
    assert len(run(experiment, store)) == UNITS
    monkeypatch.undo()
    monkeypatch.chdir(project)
    monkeypatch.syspath_prepend(str(project / "lib"))
    return store


@pytest.fixture
def ours(project: Path) -> Store:
    return Store(project / "_build" / "store")


def run(experiment: Any, store: Store) -> list[Entry]:
    from clip_invariance.run import provenance

    units = experiment.units(PROFILES["smoke"], 2, "cpu")
    return run_units(units, store, provenance.environment(), 1, Progress())[0]


def packed(store: Store, target: Path, most_files: int = 0, most_mb: float = 0) -> Packed:
    return pack(store, target, most_files, most_mb, pytest.fail)


def test_units_arrive_as_they_were_and_are_not_computed_again(
    project: Path, experiment: Any, theirs: Store, ours: Store, tmp_path: Path
) -> None:
    done = packed(theirs, tmp_path / "carried")
    assert done == Packed((tmp_path / "carried" / "units-1.zip",), UNITS, 0)
    assert merge(ours, done.files) == merge(Store(project / "again"), [tmp_path / "carried"])
    assert files_below(ours.root) == files_below(theirs.root)
    for path in ours.root.rglob("meta.json"):
        meta = json.loads(path.read_text())
        assert (meta["device"], meta["device_name"]) == ("cpu", "A large machine")
        assert {"torch", "python"} <= meta["versions"].keys()
        assert meta["wall_seconds"] >= 0
        assert meta["created"].startswith("20")
    (project / "log").unlink(missing_ok=True)
    assert len(run(experiment, ours)) == UNITS
    assert not (project / "log").exists()
    assert [merge(ours, [tmp_path / "carried"]).known for _ in range(2)] == [UNITS, UNITS]


def test_a_chapter_says_which_machines_made_its_numbers(
    project: Path, experiment: Any, theirs: Store, ours: Store, tmp_path: Path
) -> None:
    merge(ours, packed(theirs, tmp_path / "carried").files)
    chapter = Chapter("01", profile="smoke", device="cpu", jobs=1)
    chapter.run(experiment.units(chapter.profile, chapter.seeds, chapter.device))
    assert chapter._origin()["device_name"] == "A large machine"
    chapter.run([Unit(experiment.measure, {"arm": "hard", "seed": 7, "device": "cpu"})])
    assert "A large machine, " in f"{chapter._origin()['device_name']}, "
    assert len(str(chapter._origin()["device_name"]).split(", ")) == 2


def test_the_same_units_make_the_same_bytes(theirs: Store, tmp_path: Path) -> None:
    first, second = (packed(theirs, tmp_path / name).files[0] for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_limits_hold_and_small_units_go_first(theirs: Store, ours: Store, experiment: Any, tmp_path: Path) -> None:
    unit = Unit(experiment.measure, {"arm": "weights", "seed": 0, "device": "cpu"})
    large = pd.DataFrame({"weights": [os.urandom(60_000)]})
    theirs.save(unit_key(unit, [], {}), unit, large, 1.0)
    small = max(sum(file.stat().st_size for file in f.iterdir()) for f in theirs.root.glob("*/*") if not large_in(f))
    most_mb = (2 * small + 3500) / 1e6  # room for two
    done = packed(theirs, tmp_path / "few", most_files=2, most_mb=most_mb)
    assert (len(done.files), done.units, done.left_out) == (2, UNITS, 1)
    assert all(path.stat().st_size <= most_mb * 1e6 for path in done.files)
    one = packed(theirs, tmp_path / "one", most_files=1, most_mb=most_mb)
    assert (len(one.files), one.units, one.left_out) == (1, 2, UNITS - 1)
    assert packed(theirs, tmp_path / "all").units == UNITS + 1
    assert merge(ours, [tmp_path / "few"]).new == UNITS
    assert merge(ours, [tmp_path / "all"]).new == 1
    with pytest.raises(UsageError, match="holds packed units already"):
        packed(theirs, tmp_path / "few")
    with pytest.raises(UsageError, match="positive"):
        packed(theirs, tmp_path / "other", most_files=-1)
    with pytest.raises(ReportError, match="holds no finished units"):
        packed(Store(tmp_path / "nowhere"), tmp_path / "other")


def large_in(folder: Path) -> bool:
    return (folder / "table.parquet").stat().st_size > 50_000


def test_damaged_units_are_not_packed_and_sound_ones_replace_damaged_ones(
    theirs: Store, ours: Store, tmp_path: Path
) -> None:
    first = sorted(theirs.root.glob("*/*"))[0]
    merge(ours, packed(theirs, tmp_path / "whole").files)
    hurt = ours.folder(first.name) / "table.parquet"
    hurt.write_bytes(hurt.read_bytes()[:-1])
    notes: list[str] = []
    assert pack(ours, tmp_path / "hurt", 0, 0, notes.append).units == UNITS - 1
    (note,) = notes
    assert f"stored result {first.name[:12]} is damaged" in note
    merged = merge(ours, [tmp_path / "whole"])
    assert (merged.new, merged.known) == (1, UNITS - 1)
    assert files_below(ours.root) == files_below(theirs.root)


# ---------------------------------------------------------------- damaged and hostile archives


def rewritten(path: Path, change: Callable[[dict[str, bytes]], object], how: int = zipfile.ZIP_STORED) -> None:
    """The archive with other members."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def indexed(members: dict[str, bytes]) -> None:
    """Renew the index, as somebody would who knows of it."""
    index: dict[str, dict[str, str]] = {}
    for name, content in members.items():
        if name != "index.json":
            key, _, file = name.rpartition("/")
            (at := Path(os.environ["SCRATCH"])).write_bytes(content)
            index.setdefault(key, {})[file.partition(".")[0]] = sha256(at)
    members["index.json"] = json.dumps({"schema": 1, "units": index}).encode()


def member(members: dict[str, bytes], file: str) -> str:
    return next(name for name in members if name.endswith(file))


def other_table(members: dict[str, bytes], content: bytes) -> None:
    """Another table under a unit's key, its record and the index made to fit."""
    name = member(members, "table.parquet")
    (at := Path(os.environ["SCRATCH"])).write_bytes(content)
    meta = json.loads(members[name.replace("table.parquet", "meta.json")]) | {"sha256": sha256(at)}
    del meta["digest"]
    members[name] = content
    members[name.replace("table.parquet", "meta.json")] = json.dumps(meta).encode()
    indexed(members)


def renamed(members: dict[str, bytes], key: str) -> None:
    old = member(members, "meta.json").partition("/")[0]
    for file in ("meta.json", "table.parquet"):
        members[f"{key}/{file}"] = members.pop(f"{old}/{file}")
    indexed(members)


class Run:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)


ATTACKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (lambda p: p.write_bytes(p.read_bytes()[:-200]), "damaged or no packed store"),
    "empty": (lambda p: p.write_bytes(b""), "damaged or no packed store"),
    "zeroed": (lambda p: p.write_bytes(bytes(p.stat().st_size)), "damaged or no packed store"),
    "a byte of a table": (
        lambda p: p.write_bytes(p.read_bytes().replace(b"PAR1", b"PAR2", 1)),
        "damaged or no packed store",
    ),
    "no index": (lambda p: rewritten(p, lambda m: m.pop("index.json")), "index.json"),
    "index of another kind": (lambda p: rewritten(p, lambda m: m.update({"index.json": b"[]"})), "index.json"),
    "older schema": (
        lambda p: rewritten(
            p, lambda m: m.update({"index.json": m["index.json"].replace(b'"schema": 1', b'"schema": 0')})
        ),
        "index.json",
    ),
    "a unit lost": (lambda p: rewritten(p, lambda m: m.pop(member(m, "table.parquet"))), "but not in both"),
    "a table changed": (
        lambda p: rewritten(p, lambda m: m.update({member(m, "table.parquet"): b"other"})),
        "table.parquet of unit",
    ),
    "a record changed": (
        lambda p: rewritten(
            p, lambda m: m.update({(n := member(m, "meta.json")): m[n].replace(b"A large", b"My fine")}) or indexed(m)
        ),
        "meta.json is not the one that was stored",
    ),
    "another unit's key": (lambda p: rewritten(p, lambda m: renamed(m, "0" * 64)), "it is another unit's"),
    "a path upwards": (
        lambda p: rewritten(p, lambda m: m.update({"../../evil": b"x"})),
        "../../evil is in the index or",
    ),
    "an absolute path": (
        lambda p: rewritten(p, lambda m: m.update({"/tmp/evil": b"x"})),
        "/tmp/evil is in the index or",
    ),
    "a path as a key": (lambda p: rewritten(p, lambda m: renamed(m, "../" * 5 + "a" * 49)), "index.json"),
    "a terminal's escapes": (lambda p: rewritten(p, lambda m: m.update({"\x1b[2J\n": b"x"})), r"\x1b[2J"),
    "compressed": (lambda p: rewritten(p, lambda m: None, zipfile.ZIP_DEFLATED), "compressed or encrypted"),
    "a pickle": (lambda p: rewritten(p, lambda m: other_table(m, pickle.dumps(Run()))), "a table cannot be read"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("attack", ATTACKS)
def test_damaged_and_hostile_archives_are_refused_as_a_whole(
    project: Path,
    theirs: Store,
    ours: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    attack: str,
) -> None:
    monkeypatch.setenv("SCRATCH", str(tmp_path / "scratch"))
    target = tmp_path / "carried"
    small = max(sum(file.stat().st_size for file in f.iterdir()) for f in theirs.root.glob("*/*"))
    assert len(packed(theirs, target, most_mb=(2 * small + 3500) / 1e6).files) == 2
    change, message = ATTACKS[attack]
    change(target / "units-2.zip")  # after a whole one
    before = {name: content for name, content in files_below(tmp_path).items() if name != "scratch"}
    assert main(["store", "merge", str(target)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{target / 'units-2.zip'}" in line
    assert message in line
    assert "a bug?" not in line
    assert {name: content for name, content in files_below(tmp_path).items() if name != "scratch"} == before
    assert not (project / "executed").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(theirs: Store, ours: Store, tmp_path: Path) -> None:
    (path,) = packed(theirs, tmp_path / "carried").files
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(archive.namelist()[1], b"another")
    with pytest.raises(ReportError, match="is there twice"):
        merge(ours, [path])


def test_the_command_packs_and_merges(
    project: Path, theirs: Store, ours: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["store", "pack", "carried"]) == 1
    assert "holds no finished units: run something first" in capsys.readouterr().err
    shutil.copytree(theirs.root, ours.root)
    assert main(["store", "pack", "carried", "--most-files", "8", "--most-mb", "16"]) == 0
    assert capsys.readouterr().out == "carried/units-1.zip\n"
    shutil.rmtree(ours.root)
    assert main(["store", "merge", "carried"]) == 0
    assert capsys.readouterr().out == f"{UNITS} units merged, 0 were there already\n"
    assert files_below(ours.root) == files_below(theirs.root)
    assert main(["store", "merge", "nowhere"]) == 2
    assert "nowhere: no packed units are there" in capsys.readouterr().err
    assert main(["store"]) == 2


@pytest.mark.parametrize("whole_shard", [True, False])
def test_a_link_in_the_store_is_refused_and_nothing_behind_it_is_touched(
    theirs: Store, ours: Store, experiment: Any, tmp_path: Path, whole_shard: bool
) -> None:
    run(experiment, theirs)
    packed(theirs, tmp_path / "packed")
    key = sorted(path.name for path in theirs.root.glob("[0-9a-f][0-9a-f]/*"))[-1]
    elsewhere = tmp_path / "elsewhere"
    damaged = elsewhere / key if whole_shard else elsewhere
    damaged.mkdir(parents=True)
    (damaged / "precious.txt").write_text("the reader's own")
    link = ours.root / key[:2] if whole_shard else ours.root / key[:2] / key
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(elsewhere)
    for use in (lambda: merge(ours, [tmp_path / "packed"]), lambda: ours.load(key, print)):
        with pytest.raises(ReportError, match=f"{link.name} is a link, which a store may not hold"):
            use()
    assert (damaged / "precious.txt").read_text() == "the reader's own"
    assert [path.name for path in elsewhere.iterdir()] == [key if whole_shard else "precious.txt"]
    assert len(list(ours.root.glob("[0-9a-f][0-9a-f]"))) == 1
