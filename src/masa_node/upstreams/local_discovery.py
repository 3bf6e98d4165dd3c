"""Looks for LLM servers on this machine, at the ports where they listen unless told otherwise."""

import asyncio

from masa_node.chat.errors import ProviderError
from masa_node.upstreams.http.client import HttpClient
from masa_node.upstreams.servers.server import entries, get_listing
from masa_node.upstreams.spec import UpstreamKind, UpstreamSpec

# A server on this machine lists its models in milliseconds, unless it is busy with something else.
PROBE_WITHIN_S = 1.0

# Documented default ports of the projects named.
KNOWN_PORTS: tuple[tuple[int, str], ...] = (
    (11434, "ollama"),
    (1234, "lmstudio"),
    (8000, "vllm"),
    (8080, "llamacpp"),
)


def usual_places() -> dict[str, str]:
    """The URLs on this machine where LLM servers listen unless told otherwise, by their names."""
    return {name: f"http://127.0.0.1:{port}" for port, name in KNOWN_PORTS}


async def find_local(http: HttpClient, places: dict[str, str], *, skip: frozenset[str]) -> list[UpstreamSpec]:
    """The servers that answer there within PROBE_WITHIN_S, but for those named in `skip`. Never raises."""
    wanted = [(name, url) for name, url in places.items() if name not in skip]
    async with asyncio.TaskGroup() as group:
        probes = [group.create_task(_kind_of(http, url)) for _, url in wanted]
    return [
        UpstreamSpec(name=name, kind=kind, url=url)
        for (name, url), probe in zip(wanted, probes, strict=True)
        if (kind := probe.result()) is not None
    ]


async def _kind_of(http: HttpClient, url: str) -> UpstreamKind | None:
    """Does it list models as the OpenAI API does, which all four do, or as Ollama alone did before 0.2?

    None for a Masa node, and for what is no LLM server.
    """
    if await _lists_models(http, f"{url}/v1/models", "data", "id"):
        return UpstreamKind.AUTO
    return UpstreamKind.OLLAMA if await _lists_models(http, f"{url}/api/tags", "models", "name") else None


async def _lists_models(http: HttpClient, url: str, key: str, name: str) -> bool:
    try:
        async with asyncio.timeout(PROBE_WITHIN_S):
            listing = await get_listing(http, url, ())
        is_listed = bool(await entries(listing, key, name)) or f'"{key}"'.encode() in listing.body
    except (ProviderError, TimeoutError):
        return False
    return is_listed and not listing.is_masa
