"""The command teaches, refuses in one line, and exits with the right code."""

from __future__ import annotations

import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest

from clip_invariance.cli import app, main
from clip_invariance.errors import ReportError
from clip_invariance.profiles import PROFILES
from fake_project import command, environment

COMMANDS = ("run", "build", "pdf", "report", "verify", "publish", "claims", "audit", "serve", "captions")


def test_help_names_commands_profiles_and_places(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for word in (*COMMANDS, *PROFILES, "_build/run/<profile>/", "figures/", "Exit codes", "--debug"):
        assert word in text, word


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_how_and_where(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"clip-invariance {name}" in text
    if name not in ("serve",):
        assert "Default" in text or "default" in text
    assert {c.callback.__name__ for c in app.registered_commands if c.callback} == set(COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing command"),
        (["fly"], "No such command 'fly'"),
        (["run", "--fast"], "No such option"),
        (["build", "--from", "yesterday"], "yesterday"),
        (["claims", "--from", "yesterday"], "unknown source 'yesterday'"),
        (["publish", "--profile", "huge"], "unknown profile 'huge'"),
        (["verify", "--from", "nowhere"], "nowhere holds no results"),
        (["serve", "--port", "0"], "--port"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(arguments) == 2
    printed, errors = capsys.readouterr()
    assert printed == ""
    assert message in errors
    assert len(errors.splitlines()) == 1
    assert not (project / "_build" / "site").exists()


def test_outside_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLIP_INVARIANCE_PROJECT", raising=False)
    assert main(["claims"]) == 2
    assert "not inside the report" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ReportError("the pages could not be built"), 1, "clip-invariance: the pages could not be built"),
        (OSError(28, "No space left on device", "/full"), 1, "clip-invariance: /full: No space left on device"),
        (ValueError("odd"), 1, "clip-invariance: ValueError: odd (a bug? --debug shows where)"),
        (KeyboardInterrupt(), 130, "clip-invariance: stopped"),
    ],
)
def test_failures_are_one_line_and_debug_shows_more(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    message: str,
) -> None:
    def fail(*_: object) -> Path:
        raise error

    monkeypatch.setattr("clip_invariance.site.build.build_site", fail)
    assert main(["build"]) == code
    assert capsys.readouterr().err == message + "\n"
    assert main(["build", "--debug"]) == code
    assert ("Traceback" in capsys.readouterr().err) == (code != 130)


def test_report_builds_from_its_own_run(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[object] = []

    def fake_run(root: Path, chapters: object, options: object) -> list[Path]:
        asked.append(options)
        return []

    def fake_build(root: Path, source: str) -> Path:
        asked.append(source)
        return root / "_build" / "site"

    monkeypatch.setattr("clip_invariance.run.run.run_chapters", fake_run)
    monkeypatch.setattr("clip_invariance.site.build.build_site", fake_build)
    assert main(["report", "1", "--profile", "smoke", "--set", "steps=4"]) == 0
    assert asked[0].extra == {"steps": "4"}  # type: ignore[attr-defined]
    assert asked[1] == "smoke"
    assert str(project / "_build" / "site" / "index.html") in capsys.readouterr().out


def test_serve_shows_the_site(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve"]) == 1
    assert "there is no site yet" in capsys.readouterr().err
    site = project / "_build" / "site"
    site.mkdir(parents=True)
    (site / "index.html").write_text("<h1>Report</h1>")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main(["serve", "--port", port]) == 2
        assert f"port {port} cannot be used" in capsys.readouterr().err
    process = subprocess.Popen(
        command("serve", "--port", port), cwd=project, env=environment(project), stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert f"http://localhost:{port}/" in process.stdout.readline()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as page:
            assert page.read() == b"<h1>Report</h1>"
    finally:
        process.kill()
        process.communicate(timeout=10)
