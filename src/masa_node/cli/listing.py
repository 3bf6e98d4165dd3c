"""`masa-node models`: asks a running node what it serves."""

from collections.abc import Sequence

import msgspec
from rich.table import Table

from masa_node.chat.errors import ConnectionRefused, ProviderError
from masa_node.cli.output import console
from masa_node.upstreams.http import HttpClient
from masa_node.upstreams.server import get_json


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


class _Models(msgspec.Struct):
    models: list[_Model]


async def fetch_models(url: str, api_keys: Sequence[str]) -> bytes:
    """The node's own list, as JSON. Raises `ProviderError`, `ConnectionRefused` when nothing listens there."""
    headers = (("Authorization", f"Bearer {api_keys[0]}"),) if api_keys else ()
    async with HttpClient() as http:
        try:
            return await get_json(http, f"{url.rstrip('/')}/api/v1/llm/models", headers)
        except ConnectionRefused as exc:
            raise no_node_at(url) from exc
        except ProviderError as exc:
            exc.place = f"the node at {url}"
            raise


def no_node_at(url: str) -> ConnectionRefused:
    """In words that are about a node, not about an LLM server."""
    error = ConnectionRefused("no node listens there. Start it with `masa-node up`, or name its address with --url.")
    error.place = url
    return error


def print_models(answer: bytes) -> None:
    """The list as a table."""
    models = msgspec.json.decode(answer, type=_Models).models
    if not models:
        print("No model can be asked: no LLM server behind the node was reached, and no linked peer shares one.")
        print("`masa-node up` says what it finds, `masa-node peers` who is linked.")
        return
    table = Table("model", "served by", "dialects", "context", box=None, pad_edge=False)
    for model in models:
        servers = ", ".join(_called(server) for server in model.served_by[:MAX_SERVERS_SHOWN])
        if len(model.served_by) > MAX_SERVERS_SHOWN:
            servers += f" and {len(model.served_by) - MAX_SERVERS_SHOWN} more"
        context = f"{model.context_tokens:,}" if model.context_tokens else "-"
        table.add_row(model.id, servers, ", ".join(model.dialects), context)
    console().print(table)


def _called(server: _Server) -> str:
    return server.provider if server.local else f"peer {server.provider[:PEER_CHARS]}"
