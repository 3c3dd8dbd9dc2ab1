from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import pytest

from fake_project import write_project

mpl.use("Agg")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project that is the current one, with its package importable here."""
    folder = write_project(tmp_path / "project")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("CLIP_INVARIANCE_PROJECT", raising=False)
    monkeypatch.delenv("CLIP_INVARIANCE_PROGRESS", raising=False)
    monkeypatch.syspath_prepend(str(folder / "lib"))
    for name in [name for name in sys.modules if name.partition(".")[0] == "fakelab"]:
        monkeypatch.delitem(sys.modules, name)
    return folder
