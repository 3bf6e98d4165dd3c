"""Looks for LLM servers on this machine, at the ports where they listen unless told otherwise."""

import asyncio

from masa_node.chat.errors import ProviderError
from masa_node.routing.answers import read_whole
from masa_node.routing.steps import in_steps
from masa_node.upstreams.http import HttpClient
from masa_node.upstreams.listing import read_models
from masa_node.upstreams.server import MAX_LISTING_BYTES, is_masa_node
from masa_node.upstreams.spec import Kind, UpstreamSpec

_OK = 200
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
        probes = [group.create_task(_is_llm_server(http, url)) for _, url in wanted]
    return [
        UpstreamSpec(name=name, kind=Kind.AUTO, url=url)
        for (name, url), probe in zip(wanted, probes, strict=True)
        if probe.result()
    ]


async def _is_llm_server(http: HttpClient, url: str) -> bool:
    """Does it list models as the OpenAI API does, and is it not a Masa node? All four kinds do."""
    try:
        async with asyncio.timeout(PROBE_WITHIN_S):
            answer = await http.get(f"{url}/v1/models", ())
            body = await read_whole(answer, MAX_LISTING_BYTES)
        if answer.status != _OK or is_masa_node(answer):
            return False
        return bool(await in_steps(read_models(body))) or b'"data"' in body
    except (ProviderError, TimeoutError):
        return False
