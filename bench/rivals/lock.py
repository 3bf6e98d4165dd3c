"""Pins what the rivals need: `python -m bench.rivals.lock` writes `locks/*.txt` from `locks/*.in`.

Another folder may be given: that of LangChain's tests.
Every package to one version, with the hashes of the wheels for Linux and the Pythons below. The hashes of all wheels
would be ten times as many lines, and the benchmark needs Linux.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

LOCKS = Path(__file__).resolve().parent / "locks"
OLDEST = "3.11"
UV = Path(sys.executable).with_name("uv")

# NAME-VERSION-PYTHON-ABI-PLATFORM.whl; several tags of one kind stand with dots between them.
_FITS = re.compile(
    r"-(?:[\w.]*py3[\w.]*-none-|cp3\w+-abi3-|cp3(1[123])-cp3\1-)(?:any|[\w.]*manylinux[\w.]*_(?:x86_64|aarch64))\.whl$"
)


def main(folder: Path = LOCKS) -> None:
    """See the module."""
    for source in sorted(folder.glob("*.in")):
        packages = _resolved(source)
        source.with_suffix(".txt").write_text("".join([f"# Made from {source.name}.\n", *map(locked, packages)]))
        print(f"{source.stem}: {len(packages)} packages")


def _resolved(source: Path) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "pylock.toml"  # PEP 751: with the names of the files
        wanted = ["--python-version", OLDEST, "--only-binary", ":all:", "--format", "pylock.toml", "--quiet"]
        subprocess.run([str(UV), "pip", "compile", *wanted, str(source), "-o", str(out)], check=True)
        packages: list[dict[str, Any]] = tomllib.loads(out.read_text())["packages"]
    return packages


def locked(package: dict[str, Any]) -> str:
    """The lines of one package."""
    fitting = [wheel["hashes"]["sha256"] for wheel in package["wheels"] if fits(wheel["url"])]
    hashes = "".join(f" \\\n    --hash=sha256:{each}" for each in sorted(fitting))
    return f"{package['name']}=={package['version']}{hashes}\n"


def fits(wheel: str) -> bool:
    """Can Linux on x86-64 or aarch64 use this file, with one of the Pythons?"""
    return _FITS.search(wheel) is not None


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
