"""`masa-node usage`: who used what, from the ledger in MASA_DIR; no node has to run."""

import csv
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from masa_node.accounts.ledger import read_usage
from masa_node.accounts.report import By, UsageLine, UsageQuery, days_of, groups_of
from masa_node.accounts.usage import DAY_S
from masa_node.chat.errors import ConfigurationError
from masa_node.cli.output import Group, Json, console, plain, print_json
from masa_node.node.settings.environment import read_settings

UNKNOWN = "unknown"
_MAX_CELL_CHARS = 60
_GROUPS = ("day", "key", "model", "provider", "peer", "use")
_ABOUT_PEERS = {"ours": "asked by this node", "theirs": "asked this node", "own": "no peer"}


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(rich_help_panel=Group.LOOK)(usage)


def usage(
    by: Annotated[str, typer.Option(help="What to tell apart, comma-separated: key, model, day, provider, peer.")] = (
        "key,model"
    ),
    since: Annotated[str, typer.Option(help="How far back: 1d is today alone (UTC), 7d, 4w.")] = "30d",
    *,
    json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Write CSV instead of text for people.")] = False,
) -> None:
    """Show who used what: requests, errors, tokens as the LLMs counted them, times. A second old at most."""
    query = _query(by, since)
    lines = read_usage(Path(read_settings().masa_dir).expanduser(), query)
    if json:
        print_json(lines)
    elif as_csv:
        _print_csv(lines, query.by)
    else:
        _print(lines, query.by)


def _query(by: str, since: str) -> UsageQuery:
    """Raises `ConfigurationError`."""
    option = "--by"
    try:
        groups, option = groups_of(by), "--since"
        return UsageQuery(groups, int(time.time() // DAY_S) + 1 - days_of(since))
    except ValueError as exc:
        raise ConfigurationError(f"{option}: {exc}.") from exc


def _columns(by: Sequence[By]) -> list[str]:
    chosen = {each.value for each in by} | ({"use"} if By.PEER in by else set[str]())
    return [name for name in _GROUPS if name in chosen]


def _print_csv(lines: Sequence[UsageLine], by: Sequence[By]) -> None:
    """A field that is empty was not known."""
    names = [*_columns(by), *(name for name in UsageLine.__struct_fields__ if name not in _GROUPS)]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    for line in lines:
        fields = msgspec.structs.asdict(line)
        writer.writerow([_csv_cell(fields[name]) for name in names])


def _csv_cell(value: object) -> object:
    """A name is a stranger's text: no spreadsheet may take it for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _print(lines: Sequence[UsageLine], by: Sequence[By]) -> None:
    from rich.table import Table  # noqa: PLC0415 - takes as long as all else, for programs that want JSON

    if not lines:
        print("Nothing was counted in this time.")
        return
    names = _columns(by)
    columns = (*names, "requests", "errors", "tokens in", "tokens out", "first piece", "time")
    table = Table(*columns, box=None, pad_edge=False)
    for line in lines:
        fields = msgspec.structs.asdict(line)
        first = f"{line.first_piece_ms:,.0f} ms" if line.first_piece_ms is not None else "-"
        tokens = (
            _tokens(line.input_tokens, line.input_unknown),
            _tokens(line.output_tokens, line.output_unknown),
        )
        cells = [_cell(name, str(fields[name])) for name in names]
        table.add_row(*cells, f"{line.requests:,}", f"{line.errors:,}", *tokens, first, f"{line.seconds:,.1f} s")
    console().print(table)


def _cell(name: str, text: str) -> str:
    from rich.markup import escape  # noqa: PLC0415 - as above

    text = _ABOUT_PEERS[text] if name == "use" else text
    return escape(plain(text, _MAX_CELL_CHARS)) or "-"


def _tokens(count: int | None, unknown: int) -> str:
    """Requests whose LLM did not say are never counted as none."""
    if count is None:
        return UNKNOWN
    return f"{count:,} (+{unknown:,} unknown)" if unknown else f"{count:,}"
