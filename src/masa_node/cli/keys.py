"""`masa-node keys`: gives others keys of their own, with names and limits, and ends them."""

import re
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer

from masa_node.accounts.key_file import change_keys, read_keys
from masa_node.accounts.keys import KeyRules, NamedKey, made_key, revoked_key
from masa_node.chat.errors import ConfigurationError
from masa_node.cli.output import Group, Json, calendar_time, cell, console, print_json
from masa_node.node.settings.environment import read_settings
from masa_node.node.settings.words import listed

MAX_LASTS_S = 3_660 * 86_400  # ten years: longer is for ever
_MAX_MODELS_CHARS = 2_000  # of one key in the list; `--json` has them all
_UNITS_S = {"m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}

Ceiling = Literal["local", "trusted"]

keys_app = typer.Typer(no_args_is_help=True, help="Keys with names: let people use this node, each with limits.")


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    app.add_typer(keys_app, name="keys", rich_help_panel=Group.RUN)


@keys_app.command()
def add(  # noqa: PLR0913 - each is an option
    name: Annotated[str, typer.Argument(help="Of whom or what it is: letters, digits, '.', '_', '-'.")],
    *,
    models: Annotated[str, typer.Option(help="Only these models, comma-separated; `*` stands for anything.")] = "",
    rpm: Annotated[int | None, typer.Option(help="Requests a minute.", min=1)] = None,
    tokens_per_day: Annotated[int | None, typer.Option(help="Tokens a day (UTC), in and out.", min=1)] = None,
    concurrent: Annotated[int | None, typer.Option(help="Requests under way at once.", min=1)] = None,
    privacy: Annotated[
        Ceiling | None, typer.Option(help="How far its requests may travel: local to no peer, trusted to trusted ones.")
    ] = None,
    expires: Annotated[str, typer.Option(help="How long it may be used: 12h, 30d, 52w. Unset: until revoked.")] = "",
    admin: Annotated[
        bool, typer.Option("--admin", help="It may see and end what others do, and change the node.")
    ] = False,
    json: Json = False,
) -> None:
    """Make a key. It goes to stdout, once: only its hash is kept. A running node takes it within a second."""
    rules = KeyRules(listed(models), rpm, tokens_per_day, concurrent, privacy, admin)
    lasts_s = lasts_of(expires) if expires else None
    values = read_settings()
    is_first = read_keys(_masa_dir(values.masa_dir)) is None

    def change(keys: list[NamedKey]) -> tuple[str, list[NamedKey]]:
        return made_key(keys, name, rules, time.time(), lasts_s)

    text = change_keys(_masa_dir(values.masa_dir), change)
    if json:
        print_json({"name": name, "key": text})
        return
    print(text, flush=True)
    _tell(f"\nThis is the only time that the key {name!r} is shown. A running node takes it within a second.")
    _tell(f"To end it: masa-node keys revoke {name}")
    if is_first and not listed(values.api_key):
        _tell("From now on this node asks every caller for a key, you too: set API_KEY, or use a key of your own.")


@keys_app.command("list")
def show(*, json: Json = False) -> None:
    """List the keys, what they allow, and which are over."""
    keys = read_keys(_masa_dir(read_settings().masa_dir)) or ()
    now_unix_s = time.time()
    if json:
        print_json([{**_without_hash(key), "state": _state(key, now_unix_s)} for key in keys])
        return
    if not keys:
        print("No key was made yet: masa-node keys add NAME")
        return
    from rich.table import Table  # noqa: PLC0415 - takes as long as all else

    table = Table("name", "state", "models", "limits", "made", "expires", box=None, pad_edge=False)
    for key in keys:
        until = calendar_time(key.expires_at_unix_s) if key.expires_at_unix_s is not None else "-"
        models = cell(", ".join(key.rules.models) or "all", _MAX_MODELS_CHARS)
        made = calendar_time(key.made_at_unix_s)
        table.add_row(key.name, _state(key, now_unix_s), models, _limits(key.rules), made, until)
    console().print(table)


@keys_app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="The key's name, as `masa-node keys list` shows it.")],
    *,
    json: Json = False,
) -> None:
    """End a key. A running node refuses it within a second; answers under way go on."""

    def change(keys: list[NamedKey]) -> tuple[None, list[NamedKey]]:
        return None, revoked_key(keys, name, time.time())

    change_keys(_masa_dir(read_settings().masa_dir), change)
    words = f"The key {name!r} is revoked. A running node refuses it within a second."
    print_json({"revoked": name}) if json else print(words)


def lasts_of(text: str) -> int:
    """How many seconds. Raises `ConfigurationError`."""
    match = re.fullmatch(r"([0-9]{1,6})([mhdw])", text.strip().lower())
    lasts_s = int(match[1]) * _UNITS_S[match[2]] if match else 0
    if not 1 <= lasts_s <= MAX_LASTS_S:
        raise ConfigurationError(f"--expires: {text!r} is not valid. Write 12h, 30d or 52w; ten years are the limit.")
    return lasts_s


def _limits(rules: KeyRules) -> str:
    parts = [
        f"{rules.rpm:,} requests a minute" if rules.rpm else "",
        f"{rules.tokens_per_day:,} tokens a day" if rules.tokens_per_day else "",
        f"{rules.concurrent:,} at once" if rules.concurrent else "",
        f"privacy {rules.privacy}" if rules.privacy else "",
        "admin" if rules.is_admin else "",
    ]
    return ", ".join(part for part in parts if part) or "none"


def _state(key: NamedKey, now_unix_s: float) -> str:
    if key.revoked_at_unix_s is not None:
        return "revoked"
    return "expired" if key.has_expired(now_unix_s) else "in force"


def _without_hash(key: NamedKey) -> dict[str, object]:
    fields = msgspec.structs.asdict(key)
    rules = msgspec.structs.asdict(fields.pop("rules"))
    return {name: value for name, value in {**fields, **rules}.items() if name != "hash"}


def _masa_dir(text: str) -> Path:
    return Path(text).expanduser()


def _tell(words: str) -> None:
    print(words, file=sys.stderr)
