"""`masa-node models`: asks a running node what it serves."""

from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.table import Table

from masa_node.chat.errors import ProviderError
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
    """The node's own list, as JSON. Raises `ProviderError` when it is not there."""
    headers = (("Authorization", f"Bearer {api_keys[0]}"),) if api_keys else ()
    async with HttpClient() as http:
        try:
            return await get_json(http, f"{url.rstrip('/')}/api/v1/llm/models", headers)
        except ProviderError as exc:
            exc.place = f"the node at {url}"
            raise


def print_models(answer: bytes) -> None:
    """The list as a table."""
    table = Table("model", "served by", "dialects", "context", box=None, pad_edge=False)
    for model in msgspec.json.decode(answer, type=_Models).models:
        servers = ", ".join(_called(server) for server in model.served_by[:MAX_SERVERS_SHOWN])
        if len(model.served_by) > MAX_SERVERS_SHOWN:
            servers += f" and {len(model.served_by) - MAX_SERVERS_SHOWN} more"
        context = f"{model.context_tokens:,}" if model.context_tokens else "-"
        table.add_row(model.id, servers, ", ".join(model.dialects), context)
    Console().print(table)


def _called(server: _Server) -> str:
    return server.provider if server.local else f"peer {server.provider[:PEER_CHARS]}"
