"""Python environments under .bench: wheels only, each hash as locked; made again when what is locked changes."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

_WITHIN_S = 600.0


class NotInstallable(Exception):
    """An environment cannot be made here. The text says why, in one line."""


def environment(python: str, folder: Path, requirements: Path) -> Path:
    """The folder of programs of an environment around this Python that has what is locked in this file."""
    mark, programs = folder / ".made", folder / "bin"
    wanted = f"{python} {hashlib.sha256(requirements.read_bytes()).hexdigest()}"
    if mark.is_file() and mark.read_text() == wanted:
        return programs
    print(f"making {folder} ...", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(programs / "python")]
    locked = ["--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", str(requirements)]
    _run([python, "-m", "venv", "--without-pip", str(folder)])
    _run([*pip, "install", "--quiet", *locked])
    mark.write_text(wanted)
    return programs


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_WITHIN_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstallable(str(error)) from error
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        said = [line for line in lines if line.startswith("ERROR")] or lines or ["it said nothing"]
        raise NotInstallable(said[-1].removeprefix("ERROR: "))
