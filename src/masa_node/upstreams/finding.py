"""Looks for LLM servers on this machine, at the ports where they listen unless told otherwise."""

from masa_node.chat.errors import ProviderError
from masa_node.upstreams.http import HttpClient
from masa_node.upstreams.server import entries, read_whole
from masa_node.upstreams.spec import Kind, UpstreamSpec

MAX_PROBE_BYTES = 16 * 1024 * 1024
_OK = 200

# Documented default ports of the projects named.
KNOWN_PORTS: tuple[tuple[int, str], ...] = (
    (11434, "ollama"),
    (1234, "lmstudio"),
    (8000, "vllm"),
    (8080, "llamacpp"),
)


async def find_local(http: HttpClient, *, skip: frozenset[str]) -> list[UpstreamSpec]:
    """The servers that answer on loopback now, but for those named in `skip`. Never raises; bounded by the caller."""
    found: list[UpstreamSpec] = []
    for port, name in KNOWN_PORTS:
        url = f"http://127.0.0.1:{port}"
        if name not in skip and await _is_llm_server(http, url):
            found.append(UpstreamSpec(name=name, kind=Kind.AUTO, url=url))
    return found


async def _is_llm_server(http: HttpClient, url: str) -> bool:
    """Does it list models as the OpenAI API does, and is it not a Masa node? All four kinds do."""
    try:
        answer = await http.get(f"{url}/v1/models", ())
        is_masa = answer.header("x-masa-node") is not None
        body = await read_whole(answer, MAX_PROBE_BYTES)
        if answer.status != _OK or is_masa:
            return False
        entries(body, "data")
    except ProviderError:
        return False
    return True
