"""The extras of this program, and how they come into the environment that it is installed in."""

import shlex
import sys
from importlib.util import find_spec
from pathlib import Path


def how_to_add(extra: str) -> str:
    """The command that adds `masa-node[extra]` there: pipx and uv make environments that have no pip."""
    named = f"'masa-node[{extra}]'"
    if (Path(sys.prefix) / "pipx_metadata.json").is_file():
        return f"pipx inject masa-node {named}"
    if find_spec("pip") is None:
        return f"uv pip install --python {shlex.quote(sys.prefix)} {named}"
    return f"{shlex.quote(sys.executable)} -m pip install {named}"
