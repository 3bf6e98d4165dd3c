"""`masa-node models`: asks a running node what it serves."""

from collections.abc import Sequence

import msgspec
from rich.table import Table

from masa_node.chat.errors import ConnectionRefused, NotAnAnswer, ProviderError
from masa_node.cli.output import cell, check_url, console, key_header
from masa_node.dialects.fields import read
from masa_node.routing.answers.reader import read_whole
from masa_node.upstreams.http.client import HttpClient
from masa_node.upstreams.http.proxies import NO_PROXIES, Proxies
from masa_node.upstreams.servers.server import MAX_LISTING_BYTES


class _Server(msgspec.Struct):
    provider: str
    local: bool = True


MAX_SERVERS_SHOWN = 4
PEER_CHARS = 10  # of an id, as the other commands show them


class _Model(msgspec.Struct):
    id: str
    served_by: list[_Server]
    dialects: list[str]
    context_tokens: int | None
    alias_of: str | None = None


class _Models(msgspec.Struct):
    models: list[_Model]


class _Ready(msgspec.Struct):
    why: str | None = None


_READY = msgspec.json.Decoder(_Ready)
_OK = 200
_KEYS_WANTED = {401: "it wants an API key", 403: "it does not tell that to a key with a name"}


class KeyRefused(NotAnAnswer):
    """The node tells that neither to the key that it was given, nor without one: `why`, and the `fix`."""

    fix = "Set API_KEY to one of its own keys, or to one with --admin."

    def __init__(self, why: str) -> None:
        super().__init__(f"{why}. {self.fix}")
        self.why = why


async def fetch_models(url: str, api_keys: Sequence[str], proxies: Proxies = NO_PROXIES) -> tuple[bytes, str]:
    """The node's own list, as JSON, and why it is empty if it is.

    Raises `ConfigurationError` for what is no URL, `ProviderError`, `ConnectionRefused` when nothing listens there.
    """
    check_url(url)
    headers = key_header(api_keys)
    async with HttpClient(proxies) as http:
        try:
            answer = await http.get(f"{url.rstrip('/')}/api/v1/llm/models", headers)
            body = await read_whole(answer, MAX_LISTING_BYTES)
            check_status(answer.status, "a list of models")
            return body, "" if _decoded(body) else await _why_nothing(http, url)
        except ConnectionRefused as exc:
            raise no_node_at(url) from exc
        except ProviderError as exc:
            exc.location = f"the node at {url}"
            raise


async def fetch_models_unproven(url: str, *, has_keys: bool) -> tuple[bytes, str]:
    """The same of what listens where the node would, which may be anybody's program: without the owner's keys."""
    try:
        return await fetch_models(url, ())
    except KeyRefused as exc:
        if has_keys:
            exc.message += (
                " It was not given API_KEY: no node with this MASA_DIR says that it serves there. If it is yours, "
                f"name it: --url {url}"
            )
        raise


def _decoded(answer: bytes) -> list[_Model]:
    try:
        return msgspec.json.decode(answer, type=_Models).models
    except msgspec.DecodeError as exc:
        raise NotAnAnswer("what answers there is not a Masa node.") from exc


async def _why_nothing(http: HttpClient, url: str) -> str:
    """In the node's own words, which `/readyz` has."""
    ready = await http.get(f"{url.rstrip('/')}/readyz", ())
    body = read(await read_whole(ready, MAX_LISTING_BYTES), _READY)
    return (body.why if body is not None else None) or "No model can be asked."


def check_status(status: int, what: str) -> None:
    """Raise `KeyRefused` or `NotAnAnswer` where a node answered a command with this status instead of `what`."""
    if status in _KEYS_WANTED:
        raise KeyRefused(_KEYS_WANTED[status])
    if status != _OK:
        raise NotAnAnswer(f"it answered {status} instead of {what}. See its log.")


def no_node_at(url: str) -> ConnectionRefused:
    """In words that are about a node, not about an LLM server."""
    error = ConnectionRefused("no node listens there. Start it with `masa-node up`, or name its address with --url.")
    error.location = url
    return error


def print_models(answer: bytes, why_empty: str) -> None:
    """The list as a table."""
    models = _decoded(answer)
    if not models:
        print(why_empty)
        print("No linked peer shares a model either: `masa-node peers` lists them.")
        return
    table = Table("model", "served by", "dialects", "context", box=None, pad_edge=False)
    for model in models:
        servers = ", ".join(_called(server) for server in model.served_by[:MAX_SERVERS_SHOWN])
        if len(model.served_by) > MAX_SERVERS_SHOWN:
            servers += f" and {len(model.served_by) - MAX_SERVERS_SHOWN} more"
        context = f"{model.context_tokens:,}" if model.context_tokens else "-"
        name = f"{model.id} (alias of {model.alias_of})" if model.alias_of else model.id
        table.add_row(cell(name), cell(servers), ", ".join(model.dialects), context)
    console().print(table)


def _called(server: _Server) -> str:
    return server.provider if server.local else f"peer {server.provider[:PEER_CHARS]}"
