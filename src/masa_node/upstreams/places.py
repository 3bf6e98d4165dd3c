"""What may answer at a URL, judged by the URL alone; `detection.py` then asks. Pure."""

import re
from urllib.parse import urlsplit

import msgspec

from masa_node.chat.request import Endpoint
from masa_node.upstreams.http.urls import SIBLINGS, openai_bases
from masa_node.upstreams.spec import UpstreamKind

_VERSIONED = re.compile(r"/v\d+[a-z0-9]*$")

# Where a Masa node's own chat is, and LM Studio's: beside it, at `/v1`, is all that is asked of a server.
_OWN_CHAT = re.compile(r"/(?:api/v1|v1/api)/chat$")
# A full endpoint ends like this; what is before it is the base URL.
_ENDPOINTS: tuple[tuple[str, UpstreamKind, Endpoint], ...] = (
    ("/api/chat", UpstreamKind.OLLAMA, Endpoint.OLLAMA_CHAT),
    ("/api/generate", UpstreamKind.OLLAMA, Endpoint.OLLAMA_GENERATE),
    ("/api/tags", UpstreamKind.OLLAMA, Endpoint.OLLAMA_CHAT),
    ("/v1/messages", UpstreamKind.AUTO, Endpoint.ANTHROPIC_MESSAGES),
    ("/v1/chat/completions", UpstreamKind.AUTO, Endpoint.OPENAI_CHAT),
    ("/chat/completions", UpstreamKind.OPENAI, Endpoint.OPENAI_CHAT),
)


class Place(msgspec.Struct, frozen=True):
    """What may be at a URL. `base` is where an Ollama's paths begin, None where none can be; `api_bases` are where an
    OpenAI-compatible server's may (`<it>/chat/completions`), the likeliest first; `native` is the endpoint named.
    """

    base: str | None
    api_bases: tuple[str, ...]
    kind: UpstreamKind = UpstreamKind.AUTO
    native: Endpoint | None = None


def place_of(url: str) -> Place:
    """What may be at this URL, a base URL or a full endpoint."""
    url = _OWN_CHAT.sub("/v1/chat/completions", url)
    for ending, kind, endpoint in _ENDPOINTS:
        if url.endswith(ending):
            base = url.removesuffix(ending)
            return Place(None if kind is UpstreamKind.OPENAI else base, openai_bases(url), kind, endpoint)
    if url.endswith(SIBLINGS):
        return Place(None, openai_bases(url))
    path = urlsplit(url).path
    if path.endswith("/v1"):
        return Place(url.removesuffix("/v1"), (url,), native=Endpoint.OPENAI_CHAT)
    if path.endswith("/api"):  # what Ollama's documentation calls its base URL; Open WebUI's API begins so, too
        return Place(url.removesuffix("/api"), (url, f"{url}/v1"))
    if _VERSIONED.search(path):
        return Place(None, (url,))
    return Place(url, (url, f"{url}/v1") if path else (f"{url}/v1", url))
