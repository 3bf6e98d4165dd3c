"""What the environment and `.env` give, by name."""

import os
import re
from collections.abc import Collection, Mapping
from io import StringIO
from pathlib import Path

from masa_node.chat.errors import ConfigurationError
from masa_node.node.settings.words import read_text
from masa_node.upstreams.http.proxies import proxy_settings

_FIRST_NAME = re.compile(r"\s*(?:export\s+)?['\"]?(\w+)")


def given_names(environ: Mapping[str, str], dotenv: Path, known: Collection[str] = ()) -> dict[str, str]:
    """All names with their values: the environment wins over `.env`. Raises as `read_dotenv`.

    Proxies stand under their names in capitals, whichever case they were given in.
    """
    in_file = read_dotenv(dotenv, known)
    return {**in_file, **proxy_settings(in_file), **environ, **proxy_settings(environ)}


def read_dotenv(path: Path, known: Collection[str] = ()) -> dict[str, str]:
    """What stands in the file; nothing if there is none. Raises `ConfigurationError` if it cannot be read.

    Also for a line that begins with a setting (one of `known`) and gives it no value. Others may be of other programs.
    """
    if not os.access(path, os.F_OK):
        return {}
    from dotenv.parser import parse_stream  # noqa: PLC0415 - most nodes have no such file

    names = {name.upper() for name in known}
    found: dict[str, str] = {}
    for binding in parse_stream(StringIO(read_text(path))):
        if binding.error and (said := _FIRST_NAME.match(binding.original.string)) and said[1] in names:
            where = f"{path}, line {binding.original.line}, about {said[1]},"
            raise ConfigurationError(f"{where} cannot be read. Write {said[1]}=value, or take it out.")
        if binding.key is not None and binding.value is not None:
            found[binding.key] = binding.value
    return found
