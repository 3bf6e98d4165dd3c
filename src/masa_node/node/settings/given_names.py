"""What the environment and `.env` give, by name."""

import os
from collections.abc import Mapping
from pathlib import Path

from masa_node.chat.errors import ConfigurationError
from masa_node.upstreams.http.proxies import proxy_settings


def given_names(environ: Mapping[str, str], dotenv: Path) -> dict[str, str]:
    """All names with their values: the environment wins over `.env`. Raises as `read_dotenv`.

    Proxies stand under their names in capitals, whichever case they were given in.
    """
    in_file = read_dotenv(dotenv)
    return {**in_file, **proxy_settings(in_file), **environ, **proxy_settings(environ)}


def read_dotenv(path: Path) -> dict[str, str]:
    """What stands in the file; nothing if there is none. Raises `ConfigurationError` if it cannot be read."""
    if not os.access(path, os.F_OK):
        return {}
    from dotenv import dotenv_values  # noqa: PLC0415 - most nodes have no such file

    try:
        return {name: value for name, value in dotenv_values(path, interpolate=False).items() if value is not None}
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"{path} cannot be read: {exc}") from exc
