"""`pipx install WHEEL` and `uvx --from WHEEL PROGRAM ...`, without an index: what the wheel needs is there already."""

import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path


def install(wheel: str) -> Path:
    """An environment of its own for the wheel; gives its folder of programs."""
    folder = Path(tempfile.mkdtemp(dir=os.environ["HOME"]))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    options = ["--quiet", "--no-index", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", *options, wheel], check=True)
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    (Path(packages) / "needs.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin"


match Path(sys.argv[0]).name, sys.argv[1:]:
    case "pipx", ["install", wheel]:
        subprocess.run([install(wheel) / "masa-node", "--help"], check=True, stdout=subprocess.DEVNULL)
    case "uvx", ["--from", wheel, program, *arguments]:
        path = install(wheel) / program
        os.execv(path, [str(path), *arguments])  # noqa: S606
    case _:
        sys.exit(f"not how it is used: {sys.argv}")
