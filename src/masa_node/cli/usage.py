"""`masa-node usage`: who used what, from the ledger in MASA_DIR; no node has to run.

Where MASA_DIR cannot be used, a node keeps the sums in memory: then it is asked for them.
"""

import asyncio
import csv
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlencode

import msgspec
import typer

from masa_node.accounts.ledger import read_usage
from masa_node.accounts.prices import need_prices
from masa_node.accounts.report import By, Price, UsageLine, UsageQuery, days_of, groups_of
from masa_node.accounts.usage import DAY_S
from masa_node.chat.errors import ConfigurationError, ConnectionRefused, NotAnAnswer, ProviderError
from masa_node.cli.output import Group, Json, cell, check_url, console, key_header, print_json
from masa_node.node.proxies import read_proxies
from masa_node.node.settings.environment import Settings, read_settings
from masa_node.node.settings.words import listed
from masa_node.upstreams.http.proxies import NO_PROXIES, Proxies

if TYPE_CHECKING:
    from rich.text import Text

UNKNOWN = "unknown"
ANSWERS_WITHIN_S = 5.0
_MAX_CELL_CHARS = 60
_FULL = "The disk of MASA_DIR {} is full. What a node counts meanwhile is in its memory: GET /api/v1/usage tells that."
_COSTS = ("cost_usd", "cost_unknown")
_GROUPS = ("day", "key", "model", "provider", "peer", "use")
_ABOUT_PEERS = {"ours": "asked by this node", "theirs": "asked this node", "own": "no peer"}


class _Answer(msgspec.Struct):
    lines: list[UsageLine]


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(rich_help_panel=Group.LOOK)(usage)


def usage(
    by: Annotated[str, typer.Option(help="What to tell apart, comma-separated: key, model, day, provider, peer.")] = (
        "key,model"
    ),
    since: Annotated[str, typer.Option(help="How far back: 1d is today alone (UTC), 7d, 4w.")] = "30d",
    url: Annotated[str, typer.Option(help="Address of a node to ask. Unset: what MASA_DIR holds.")] = "",
    *,
    cost: Annotated[
        bool, typer.Option("--cost", help="Add what vendors charge for it, by list prices (masa-node[prices]).")
    ] = False,
    json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Write CSV instead of text for people.")] = False,
) -> None:
    """Show who used what: requests, errors, tokens as the LLMs counted them, times. A second old at most."""
    settings, query = read_settings(), _query(by, since)
    price = _price(settings) if cost else None
    lines, why_incomplete = _told(settings, query, (by, since), price, url)
    if why_incomplete:
        print(f"masa-node: {why_incomplete}", file=sys.stderr)
    if json:
        print_json(lines)
    elif as_csv:
        _print_csv(lines, query.by, has_costs=cost)
    else:
        _print(lines, query.by, is_known=not why_incomplete, has_costs=cost)


def _price(settings: Settings) -> Price:
    """Raises `ConfigurationError`."""
    from masa_node.node.settings.upstreams import prices_of  # noqa: PLC0415 - as in `_told`

    need_prices()
    return prices_of(settings)


def _told(
    settings: Settings, query: UsageQuery, asked: tuple[str, str], price: Price | None, url: str
) -> tuple[list[UsageLine], str]:
    """What was counted, and why that may not be all; "" if it is.

    Raises `StoreFailed`, `ConfigurationError`; `ProviderError` where the node at `url` does not say.
    """
    from masa_node.node.doctor.local_facts import folder_facts  # noqa: PLC0415 - a command that fails before needs none
    from masa_node.node.doctor.own_checks import FULL_DISK_BYTES  # noqa: PLC0415

    has_costs = price is not None
    if url:
        check_url(url)
        asking = _ask_node(url, listed(settings.api_key), asked, read_proxies(settings), has_costs=has_costs)
        return asyncio.run(asking), ""
    masa_dir = Path(settings.masa_dir).expanduser()
    facts = folder_facts(masa_dir)
    unusable = facts.error
    if not unusable:
        is_full = facts.free_bytes is not None and facts.free_bytes < FULL_DISK_BYTES
        return read_usage(masa_dir, query, price), _FULL.format(masa_dir) if is_full else ""
    url = f"http://127.0.0.1:{settings.port}"  # where anybody's program may listen: it is given no key
    try:
        return asyncio.run(_ask_node(url, (), asked, NO_PROXIES, has_costs=has_costs)), ""
    except ProviderError as exc:
        then = "" if isinstance(exc, ConnectionRefused) else f" If it is yours, name it: --url {url}"
        return read_usage(masa_dir, query, price), (
            f"MASA_DIR {masa_dir} cannot be used: {unusable} A node that runs with it keeps the sums in memory, and at "
            f"{url} none could be asked for them without API_KEY: {exc.message}{then}"
        )


async def _ask_node(
    url: str, api_keys: Sequence[str], asked: tuple[str, str], proxies: Proxies, *, has_costs: bool
) -> list[UsageLine]:
    """What the node at this URL has counted. Raises `ProviderError`."""
    from masa_node.cli.models import no_node_at  # noqa: PLC0415 - as in `_told`
    from masa_node.upstreams.http.client import HttpClient  # noqa: PLC0415
    from masa_node.upstreams.servers.server import get_listing  # noqa: PLC0415

    by, since = asked
    query = urlencode({"by": by, "since": since, **({"cost": "true"} if has_costs else {})})
    headers = key_header(api_keys)
    try:
        async with asyncio.timeout(ANSWERS_WITHIN_S), HttpClient(proxies) as http:
            body = (await get_listing(http, f"{url.rstrip('/')}/api/v1/usage?{query}", headers)).body
            return msgspec.json.decode(body, type=_Answer).lines
    except ConnectionRefused as exc:
        raise no_node_at(url) from exc
    except TimeoutError:
        raise NotAnAnswer(f"no answer within {ANSWERS_WITHIN_S:g} s.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise NotAnAnswer("what answers there is not a Masa node of this release.") from exc


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


def _print_csv(lines: Sequence[UsageLine], by: Sequence[By], *, has_costs: bool) -> None:
    """A field that is empty was not known."""
    left_out = _GROUPS if has_costs else (*_GROUPS, *_COSTS)
    names = [*_columns(by), *(name for name in UsageLine.__struct_fields__ if name not in left_out)]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    for line in lines:
        fields = msgspec.structs.asdict(line)
        writer.writerow([_csv_cell(fields[name]) for name in names])


def _csv_cell(value: object) -> object:
    """A name is a stranger's text: no spreadsheet may take it for a formula."""
    if value is msgspec.UNSET:
        return None
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _print(lines: Sequence[UsageLine], by: Sequence[By], *, is_known: bool, has_costs: bool) -> None:
    from rich.table import Table  # noqa: PLC0415 - takes as long as all else, for programs that want JSON

    if not lines:
        print("Nothing was counted in this time." if is_known else "It is not known what was counted.")
        return
    names = _columns(by)
    columns = (*names, "requests", "errors", "tokens in", "tokens out", "first piece", "time")
    table = Table(*columns, *(["cost"] if has_costs else []), box=None, pad_edge=False)
    for line in lines:
        fields = msgspec.structs.asdict(line)
        first = f"{line.first_piece_ms:,.0f} ms" if line.first_piece_ms is not None else "-"
        tokens = (
            _tokens(line.input_tokens, line.input_unknown),
            _tokens(line.output_tokens, line.output_unknown),
        )
        cells: list[str | Text] = [_cell(name, str(fields[name])) for name in names]
        cells += [f"{line.requests:,}", f"{line.errors:,}", *tokens, first, f"{line.seconds:,.1f} s"]
        table.add_row(*cells, *([_cost(line)] if has_costs else []))
    console().print(table)


def _cell(name: str, text: str) -> "Text":
    return cell((_ABOUT_PEERS[text] if name == "use" else text) or "-", _MAX_CELL_CHARS)


def _cost(line: UsageLine) -> str:
    """In US dollars; what has no list price is never counted as free."""
    if not isinstance(line.cost_usd, float):
        return UNKNOWN
    known = f"{line.cost_usd:,.2f}" if line.cost_usd >= 1 or not line.cost_usd else f"{line.cost_usd:.4f}"
    return f"${known} (+{line.cost_unknown:,} unknown)" if line.cost_unknown else f"${known}"


def _tokens(count: int | None, unknown: int) -> str:
    """Requests whose LLM did not say are never counted as none."""
    if count is None:
        return UNKNOWN
    return f"{count:,} (+{unknown:,} unknown)" if unknown else f"{count:,}"
