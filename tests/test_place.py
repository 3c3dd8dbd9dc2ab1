"""Whose code runs and whose commit signs: moved, copied and unpacked folders."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from clip_invariance.cli import main
from clip_invariance.errors import UsageError
from clip_invariance.results import find_project
from clip_invariance.run import Chapter, provenance

ROOT = Path(__file__).resolve().parent.parent


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main"]
    return subprocess.run(
        ["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def committed(folder: Path) -> str:
    """Make the folder a repository; returns its commit."""
    git(folder, "init")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "all")
    return git(folder, "rev-parse", "HEAD")


# ---------------------------------------------------------------- the package


@pytest.mark.parametrize("command", [("claims",), ("build",), ("run", "--device", "cpu"), ("verify",), ("publish",)])
def test_code_of_another_folder_is_refused(
    project: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    """As after `cp -r`: the environment of the copy still imports the original."""
    shutil.copytree(ROOT / "src" / "clip_invariance", project / "src" / "clip_invariance")
    assert main(list(command)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"this is the code of {ROOT}" in line
    assert str(project) in line
    assert "make site" in line
    with pytest.raises(UsageError, match="this is the code of"):  # a notebook opened with a kernel of another folder
        Chapter("01", profile="smoke", device="cpu")
    assert not (project / "_build").exists()


def test_the_package_of_the_project_itself_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CLIP_INVARIANCE_PROJECT", raising=False)
    (tmp_path / "link").symlink_to(ROOT)
    for folder in (ROOT, tmp_path / "link"):
        monkeypatch.chdir(folder)
        assert find_project().samefile(ROOT)


# ---------------------------------------------------------------- the installed marker

FAKE = """#!/bin/sh
echo "$(basename "$0") $*" >>log
case "$*" in *write_bytes*) exec python3 "$@";; esac
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder whose .venv pretends to be installed, and writes down what make asks of it."""
    folder = tmp_path / "it's here"
    scripts = folder / ".venv" / "bin"
    scripts.mkdir(parents=True)
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    for name in ("python", "uv"):
        (scripts / name).write_text(FAKE)
        (scripts / name).chmod(0o755)
    (scripts / "tool").write_text(f"#!{scripts}/python\n")
    (scripts / "binary").write_bytes(b"\0" + bytes(scripts))
    (folder / ".venv" / "installed").touch()
    return folder


def asked(folder: Path) -> list[str]:
    """What `make site` calls."""
    (folder / "log").unlink(missing_ok=True)
    done = subprocess.run(["make", "site"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return (folder / "log").read_text().splitlines()


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_a_moved_or_copied_folder_is_installed_again_once(installed: Path, tmp_path: Path) -> None:
    first = asked(installed)
    assert [line.split()[0] for line in first] == ["uv", "uv", "python"]
    assert "--editable ." in first[1]
    assert asked(installed) == first[2:]  # all is done
    moved, copied = tmp_path / "moved", tmp_path / "copied"
    shutil.copytree(installed, copied)
    installed.rename(moved)
    for folder in (moved, copied):
        again = asked(folder)
        assert sum("--editable ." in line for line in again) == 1
        scripts = folder / ".venv" / "bin"
        assert (scripts / "tool").read_text() == f"#!{scripts}/python\n"
        assert os.fsencode(tmp_path / "it's here") in (scripts / "binary").read_bytes()
        assert (scripts / "uv").stat().st_mode & 0o111
        assert asked(folder) == first[2:]


# ---------------------------------------------------------------- the commit


def test_a_commit_is_believed_only_of_the_projects_own_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer = tmp_path / "thesis"
    project = outer / "report"
    (project / "src").mkdir(parents=True)
    (project / "src" / "module.py").write_text("")
    assert provenance.commit(project) == (provenance.UNKNOWN, False)
    of_others = committed(outer)
    assert provenance.commit(project) == (provenance.UNKNOWN, False)
    own = committed(project)
    assert own != of_others
    assert provenance.commit(project) == (own, False)
    monkeypatch.setenv("GIT_DIR", str(outer / ".git"))  # as in a hook of the other repository
    assert provenance.commit(project) == (own, False)
    (project / "src" / "module.py").write_text("edited = True\n")
    assert provenance.commit(project) == (own, True)
    monkeypatch.setenv("PATH", str(tmp_path))  # no git at all
    assert provenance.commit(project) == (provenance.UNKNOWN, False)
