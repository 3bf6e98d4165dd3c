"""`masa.toml`: several LLM servers behind one node. Unknown keys are errors."""

import os
import tomllib
from pathlib import Path

import msgspec

from masa_node.chat.errors import ConfigurationError
from masa_node.node.settings import Settings
from masa_node.upstreams.spec import Kind, UpstreamSpec, check_spec

FILE_NAME = "masa.toml"


class UpstreamTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[[upstream]]`. `key_env` names the environment variable that holds the key: none need stand in a file."""

    name: str
    url: str = ""
    kind: Kind = Kind.AUTO
    key: str = ""
    key_env: str = ""
    models: list[str] = []
    hosted: bool = False
    api_url: str = ""


class ConfigFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    upstream: list[UpstreamTable] = []


def upstreams_in_file(settings: Settings) -> list[UpstreamSpec]:
    """The servers that the file names; none without a file. Raises `ConfigurationError`."""
    path = _path(settings)
    if path is None:
        return []
    try:
        config = msgspec.convert(tomllib.loads(path.read_text("utf-8")), ConfigFile)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as exc:
        raise ConfigurationError(f"{path}: {exc}.") from exc
    return [_spec(table, path) for table in config.upstream]


def _path(settings: Settings) -> Path | None:
    if settings.masa_config:
        return Path(settings.masa_config).expanduser()
    places = (Path(FILE_NAME), Path(settings.masa_dir).expanduser() / FILE_NAME)
    return next((path for path in places if path.is_file()), None)


def _spec(table: UpstreamTable, path: Path) -> UpstreamSpec:
    where = f"{path}, upstream {table.name!r}"
    key = table.key
    if table.key_env:
        key = os.environ.get(table.key_env, "").strip()
        if not key:
            raise ConfigurationError(f"{where}: the environment variable {table.key_env} (key_env) is not set.")
    hosted = table.hosted or table.kind in (Kind.ANTHROPIC, Kind.CLOUDFLARE)
    spec = UpstreamSpec(table.name, table.kind, table.url, key, tuple(table.models), hosted, table.api_url)
    return check_spec(spec, where)
