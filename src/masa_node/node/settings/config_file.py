"""`masa.toml`: several LLM servers behind one node, and other names for models. Unknown keys are errors."""

import os
import stat
import tomllib
from pathlib import Path
from typing import Annotated, cast

import msgspec

from masa_node.chat.aliases import ANYTHING, Aliases, read_aliases
from masa_node.chat.errors import ConfigurationError
from masa_node.chat.request import Headers
from masa_node.dialects.bodies.peek import is_model
from masa_node.node.settings.environment import Settings
from masa_node.node.settings.unknown_names import nearest_name
from masa_node.node.settings.words import read_text
from masa_node.upstreams.detection import SERVER_KINDS
from masa_node.upstreams.spec import UpstreamKind, UpstreamSpec, check_spec

FILE_NAME = "masa.toml"
MAX_PRIORITY = 65_535  # as in DNS records (MX, SRV), where the lowest number comes first, too


class UpstreamTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[[upstream]]`. `key_env` and `headers_env` name environment variables: no secret need stand in a file."""

    name: str
    url: str = ""
    kind: str = UpstreamKind.AUTO
    key: str = ""
    key_env: str = ""
    models: list[str] = []
    hosted: bool = False
    api_url: str = ""
    headers: dict[str, str] = {}
    headers_env: dict[str, str] = {}
    any_model: bool = False
    priority: Annotated[int, msgspec.Meta(ge=0, le=MAX_PRIORITY)] | None = None


class ConfigFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    upstream: list[UpstreamTable] = []
    alias: dict[str, str | list[str]] = {}


def upstreams_in_file(settings: Settings) -> list[UpstreamSpec]:
    """The servers that the file names; none without a file. Raises `ConfigurationError`."""
    path = _path(settings)
    if path is None:
        return []
    return [_spec(table, path) for table in _read(path).upstream]


def aliases_in_file(settings: Settings) -> Aliases:
    """The other names that the file gives to models; none without a file. Raises `ConfigurationError`."""
    path = _path(settings)
    if path is None:
        return Aliases()
    table = {name: [given] if isinstance(given, str) else given for name, given in _read(path).alias.items()}
    where = f"{path}, [alias]"
    for name, models in table.items():
        _check_alias(name, models, where)
    try:
        return read_aliases(table)
    except ConfigurationError as exc:
        raise ConfigurationError(f"{where}: {exc.message}") from None


def _check_alias(name: str, models: list[str], where: str) -> None:
    if not models:
        raise ConfigurationError(f"{where}: {name[:64]!r} stands for no model. Name one, or leave the line out.")
    for text in (name, *models):
        if not is_model(text):
            raise ConfigurationError(f"{where}: {text[:64]!r} cannot be a model's name.")
    for model in models:
        if ANYTHING in model:
            raise ConfigurationError(f"{where}: {name[:64]!r} names {model[:64]!r}. A `*` may stand at the left only.")


def key_variables(settings: Settings) -> list[str]:
    """The environment variables that the file names as holding keys. Raises `ConfigurationError`."""
    path = _path(settings)
    return [table.key_env for table in _read(path).upstream if table.key_env] if path is not None else []


def _read(path: Path) -> ConfigFile:
    try:
        found = tomllib.loads(read_text(path))
        _check_keys(found, path)
        return msgspec.convert(found, ConfigFile)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as exc:
        raise ConfigurationError(f"{path}: {exc}.") from exc


def _check_keys(found: dict[str, object], path: Path) -> None:
    """Names an unknown key with the one that was probably meant. What else is wrong is found later."""
    _check_table(found, ConfigFile.__struct_fields__, str(path))
    aliases = found.get("alias")
    for name, given in cast("dict[str, object]", aliases).items() if isinstance(aliases, dict) else ():
        if isinstance(given, dict):  # gpt-4.1 = "..." is a table to TOML
            raise ConfigurationError(f"{path}, [alias]: put the name that begins with {name[:64]!r} in quotes.")
    tables = found.get("upstream")
    if not isinstance(tables, list):
        return
    for number, table in enumerate(cast("list[object]", tables), 1):
        if isinstance(table, dict):
            where = f"{path}, upstream number {number}"
            _check_table(cast("dict[str, object]", table), UpstreamTable.__struct_fields__, where)


def _check_table(table: dict[str, object], known: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in known:
            nearest = nearest_name(key, known)
            meant = f"Did you mean `{nearest}`?" if nearest else f"There are: {', '.join(known)}."
            raise ConfigurationError(f"{where}: unknown field `{key[:64]}`. {meant}")


def _path(settings: Settings) -> Path | None:
    if settings.masa_config:
        return Path(settings.masa_config).expanduser()
    here, own = Path(FILE_NAME), Path(settings.masa_dir).expanduser() / FILE_NAME
    if os.access(here, os.F_OK) and here.is_file():  # `sudo -u masa` leaves a user where it may see nothing
        return here
    return own if _is_there(own) else None


def _is_there(path: Path) -> bool:
    """As `Path.is_file`; raises `ConfigurationError` where it cannot be told."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as exc:
        raise ConfigurationError(f"{path} cannot be looked at: {exc.strerror}.") from exc


def _spec(table: UpstreamTable, path: Path) -> UpstreamSpec:
    where = f"{path}, upstream {table.name!r}"
    key = table.key
    if table.key_env:
        key = os.environ.get(table.key_env, "").strip()
        if not key:
            raise ConfigurationError(f"{where}: the environment variable {table.key_env} (key_env) is not set.")
    kind = _kind(table.kind, where)
    spec = UpstreamSpec(
        table.name,
        kind,
        table.url,
        key,
        tuple(table.models),
        table.hosted or (kind in SERVER_KINDS and SERVER_KINDS[kind].is_hosted),
        table.api_url,
        headers=(*table.headers.items(), *_headers_from_environment(table, where)),
        any_model=table.any_model,
        priority=table.priority,
    )
    return check_spec(spec, where)


def _kind(word: str, where: str) -> str:
    """The kind of this name: an `UpstreamKind` where it is one. Raises `ConfigurationError`."""
    known = {str(kind): kind for kind in (*SERVER_KINDS, UpstreamKind.EMBEDDED, UpstreamKind.DEMO)}
    if word not in known:
        raise ConfigurationError(f"{where}: there is no kind {word[:64]!r}. It may be {', '.join(known)}.")
    return known[word]


def _headers_from_environment(table: UpstreamTable, where: str) -> Headers:
    values = [(name, os.environ.get(variable, "").strip()) for name, variable in table.headers_env.items()]
    missing = [table.headers_env[name] for name, value in values if not value]
    if missing:
        raise ConfigurationError(f"{where}: the environment variable {missing[0]} (headers_env) is not set.")
    return tuple(values)
