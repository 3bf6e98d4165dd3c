"""Finds out what software answers at an address, and which doors it has."""

from urllib.parse import urlsplit

import msgspec

from masa_node.chat.ask import DialectName, Door, Headers
from masa_node.chat.errors import ProviderError
from masa_node.dialects.fields import read
from masa_node.dialects.registry import DIALECTS
from masa_node.routing.answers import check_status, read_whole
from masa_node.upstreams.anthropic import AnthropicServer
from masa_node.upstreams.cloudflare import CloudflareServer
from masa_node.upstreams.http import HttpAnswer, HttpClient
from masa_node.upstreams.ollama import OllamaServer
from masa_node.upstreams.openai import OpenAiServer, api_base_of
from masa_node.upstreams.server import NO_SUCH_PATH, Server, is_masa_node
from masa_node.upstreams.spec import Kind, UpstreamSpec

MAX_PROBE_BYTES = 64 * 1024

# A full chat endpoint ends like this; what is before it is the base URL.
_ENDPOINTS: tuple[tuple[str, Kind, Door], ...] = (
    ("/api/chat", Kind.OLLAMA, Door.OLLAMA_CHAT),
    ("/api/generate", Kind.OLLAMA, Door.OLLAMA_GENERATE),
    ("/v1/messages", Kind.AUTO, Door.ANTHROPIC_MESSAGES),
    ("/v1/chat/completions", Kind.AUTO, Door.OPENAI_CHAT),
    ("/chat/completions", Kind.OPENAI, Door.OPENAI_CHAT),
)
# What a server says that is not up yet, or the proxy before it: nothing of what it is.
_NOT_NOW = frozenset({429, 502, 503, 504})
_FIRST_REFUSAL = 400
_LABELS = {"llama.cpp": "llama.cpp"}  # servers that name themselves in the Server header


class _Version(msgspec.Struct):
    version: str


_VERSION = msgspec.json.Decoder(_Version)
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


async def identify(spec: UpstreamSpec, http: HttpClient) -> Server:
    """The server at the spec's address. Raises `ProviderError` when it has to be asked what it is and is not there."""
    url = spec.url.rstrip("/")
    match spec.kind:
        case Kind.CLOUDFLARE:
            return CloudflareServer(url, spec.key, spec.api_url)
        case Kind.ANTHROPIC:
            return AnthropicServer(api_base_of(url.removesuffix("/messages")), spec.key)
        case Kind.OPENAI if spec.hosted:
            base, chat_url = _split_chat_url(url)
            return OpenAiServer(base, chat_url, spec.key, label="OpenAI", speaks_anthropic=False)
        case _:
            return await _ask_what_it_is(spec, url, http)


async def _ask_what_it_is(spec: UpstreamSpec, url: str, http: HttpClient) -> Server:
    base, kind, native = _split(url)
    if spec.kind is not Kind.AUTO:
        kind = spec.kind
    if kind is Kind.OLLAMA or (kind is Kind.AUTO and not _has_path(base) and await _is_ollama(http, base, _key(spec))):
        return OllamaServer(base, spec.key, native or Door.OLLAMA_CHAT)
    api_base, chat_url = _split_chat_url(url)
    if native is Door.ANTHROPIC_MESSAGES:
        return AnthropicServer(api_base, spec.key)
    speaks_anthropic, label = await _anthropic_door(http, api_base, _key(spec))
    return OpenAiServer(api_base, chat_url, spec.key, label=label, speaks_anthropic=speaks_anthropic)


def _split(url: str) -> tuple[str, Kind, Door | None]:
    for ending, kind, door in _ENDPOINTS:
        if url.endswith(ending):
            return url.removesuffix(ending), kind, door
    return url, Kind.AUTO, None


def _split_chat_url(url: str) -> tuple[str, str]:
    """The API base (with `/v1`) and the full chat URL, for a base URL or a full chat endpoint."""
    for ending in ("/chat/completions", "/messages"):
        if url.endswith(ending):
            base = url.removesuffix(ending)
            return base, f"{base}/chat/completions"
    base = api_base_of(url)
    return base, f"{base}/chat/completions"


def _has_path(base: str) -> bool:
    return urlsplit(base).path not in ("", "/")


def _key(spec: UpstreamSpec) -> Headers:
    return (("Authorization", f"Bearer {spec.key}"),) if spec.key else ()


async def _is_ollama(http: HttpClient, base: str, key: Headers) -> bool:
    answer = await http.get(f"{base}/api/version", key)
    await _check_is_up(answer)
    body = await read_whole(answer, MAX_PROBE_BYTES)
    return not is_masa_node(answer) and answer.status not in NO_SUCH_PATH and read(body, _VERSION) is not None


async def _anthropic_door(http: HttpClient, api_base: str, key: Headers) -> tuple[bool, str]:
    """Does it serve `/v1/messages`, and what does it call itself? Who serves it refuses an empty request."""
    label = "an OpenAI-compatible server"
    try:
        answer = await http.post(f"{api_base}/messages", (*key, ("Content-Type", "application/json")), b"{}")
    except ProviderError:
        return False, label
    await _check_is_up(answer)
    label = _LABELS.get((answer.header("server") or "").partition("/")[0], label)
    if answer.status < _FIRST_REFUSAL or answer.status in NO_SUCH_PATH:
        answer.close()  # unread: who answers whatever is asked may go on for ever
        return False, label
    try:
        is_json = read(await read_whole(answer, MAX_PROBE_BYTES), _OBJECT) is not None
    except ProviderError:
        return False, label
    return is_json, label


async def _check_is_up(answer: HttpAnswer) -> None:
    """Raises `ErrorAnswer`, with the server's own words, if it says that it is not ready."""
    if answer.status not in _NOT_NOW:
        return
    try:
        await check_status(answer, DIALECTS[DialectName.OPENAI])
    finally:
        answer.close()
