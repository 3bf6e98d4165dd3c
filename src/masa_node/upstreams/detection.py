"""The kinds of LLM servers; finds out which one answers at an address, and which endpoints it has."""

import contextlib
from collections.abc import Callable

import msgspec

from masa_node.chat.errors import NotAnAnswer, ProviderError
from masa_node.chat.request import DialectName, Endpoint, Headers
from masa_node.dialects.fields import FIELDS, TEXT, read
from masa_node.dialects.registry import DIALECTS
from masa_node.routing.answers.reader import check_status, read_whole
from masa_node.upstreams.access import Access
from masa_node.upstreams.http.answer import HttpAnswer
from masa_node.upstreams.http.urls import anthropic_base, deployment_of, openai_bases
from masa_node.upstreams.places import Place, place_of
from masa_node.upstreams.servers.anthropic import AnthropicServer
from masa_node.upstreams.servers.azure import AzureServer
from masa_node.upstreams.servers.cloudflare import CloudflareServer
from masa_node.upstreams.servers.missing import NO_SUCH_PATH, looks_missing
from masa_node.upstreams.servers.ollama import OllamaServer
from masa_node.upstreams.servers.openai import OpenAiServer
from masa_node.upstreams.servers.server import (
    ListRefused,
    NoListing,
    Server,
    bearer,
    entries,
    field,
    get_listing,
    is_masa_node,
)
from masa_node.upstreams.spec import UpstreamKind, UpstreamSpec

MAX_PROBE_BYTES = 64 * 1024
JSON_TYPE = "application/json"

# What a server says that is not up yet, or the proxy before it: nothing of what it is.
_NOT_NOW = frozenset({429, 502, 503, 504})
_FIRST_REFUSAL = 400
_LABELS = {"llama.cpp": "llama.cpp"}  # servers that name themselves in the Server header


class ServerKind(msgspec.Struct, frozen=True):
    """One kind of server. `make` gives one of a spec; None: the address is asked what it is.

    `is_hosted`: all of this kind cost their owner money.
    """

    make: Callable[[UpstreamSpec], Server] | None = None
    is_hosted: bool = False


def _anthropic(spec: UpstreamSpec) -> Server:
    url = spec.url.rstrip("/")
    return AnthropicServer(anthropic_base(url), spec.key, speaks_openai=url.endswith("/chat/completions"))


# By the word for it in masa.toml. A new kind is a file in `servers/` and a row here (CONTRIBUTING.md).
SERVER_KINDS: dict[str, ServerKind] = {
    UpstreamKind.AUTO: ServerKind(),
    UpstreamKind.OLLAMA: ServerKind(),
    UpstreamKind.OPENAI: ServerKind(),
    UpstreamKind.ANTHROPIC: ServerKind(_anthropic, is_hosted=True),
    UpstreamKind.CLOUDFLARE: ServerKind(
        lambda spec: CloudflareServer(spec.url, spec.key, spec.api_url), is_hosted=True
    ),
}


async def identify(spec: UpstreamSpec, http: Access) -> Server:
    """The server at the spec's address. Raises `ProviderError` when it has to be asked what it is and is not there."""
    make = SERVER_KINDS[spec.kind].make
    if make is not None:
        return make(spec)
    url = spec.url.rstrip("/")
    if spec.kind != UpstreamKind.OLLAMA:
        deployment = deployment_of(url)
        if deployment is not None:
            return AzureServer(deployment[0], spec.key)
        if spec.hosted:
            return OpenAiServer(openai_bases(url), spec.key, label="OpenAI")
    return await _ask_what_it_is(spec, url, http)


async def _ask_what_it_is(spec: UpstreamSpec, url: str, http: Access) -> Server:
    location = place_of(url)
    kind: str = location.kind if spec.kind == UpstreamKind.AUTO else spec.kind
    base = url if location.base is None else location.base
    is_ollama = False
    if kind == UpstreamKind.AUTO and location.base is not None:
        answer, is_ollama = await _is_ollama(http, base, bearer(spec.key))
        if is_masa_node(answer) and location.native is None:  # as of Ollama's, `/api` is a base URL of it
            location = Place(base, (f"{base}/v1",))
        is_ollama = is_ollama and not await _lists_otherwise(http, base, bearer(spec.key))
    if is_ollama or kind == UpstreamKind.OLLAMA:
        ollama = OllamaServer(base, spec.key, location.native or Endpoint.OLLAMA_CHAT)
        ollama.was_seen = is_ollama
        return ollama
    if location.native is Endpoint.ANTHROPIC_MESSAGES:
        return AnthropicServer(location.api_bases[0], spec.key)
    server = OpenAiServer(location.api_bases, spec.key)
    if len(location.api_bases) > 1:
        with contextlib.suppress(NotAnAnswer):  # the listing to come says what is wrong
            await server.list_models(http)
    await _look_for_messages(server, http, bearer(spec.key))
    return server if server.was_seen else await _further_down(server, location, http)


async def _further_down(server: OpenAiServer, location: Place, http: Access) -> OpenAiServer:
    """The same server at the `/v1` below the path where it was found, if only there it serves `/v1/messages`: llama.cpp
    and LiteLLM, behind a proxy that gives them a path, have the rest at both.
    """
    below = f"{server.base}/v1"
    if below not in location.api_bases:
        return server
    other = OpenAiServer((below,), server.key)
    with contextlib.suppress(ProviderError):
        await other.list_models(http)
        await _look_for_messages(other, http, bearer(server.key))
    return other if other.was_seen else server


async def _is_ollama(http: Access, base: str, key: Headers) -> tuple[HttpAnswer, bool]:
    """What it answers when it is asked for Ollama's version, and whether that is one's answer."""
    answer = await http.get(f"{base}/api/version", key)
    await _check_is_up(answer)
    version = read(field(await read_whole(answer, MAX_PROBE_BYTES), "version"), TEXT)
    return answer, not is_masa_node(answer) and answer.status not in NO_SUCH_PATH and version is not None


async def _lists_otherwise(http: Access, base: str, key: Headers) -> bool:
    """Has it models for OpenAI's clients that Ollama's are not told of, or by other names? llama-swap tells its version
    where Ollama does, and has nothing else of Ollama's. LocalAI adds a tag to each name, which it knows nowhere else.
    """
    try:
        listed = await _names(http, f"{base}/v1/models", key)
        return not listed <= await _names(http, f"{base}/api/tags", key)
    except ProviderError:  # a list that is refused, or cannot be read, says nothing of what is in it
        return False


async def _names(http: Access, url: str, key: Headers) -> set[str]:
    """The models in this list; none where it says that it has no such list. Raises `ProviderError`."""
    try:
        return {model.name for model in await entries(await get_listing(http, url, key))}
    except ListRefused:
        raise
    except NoListing:
        return set()


async def _look_for_messages(server: OpenAiServer, http: Access, key: Headers) -> None:
    """Does it serve `/v1/messages`, and what does it call itself? A server that has it refuses an empty request."""
    try:
        answer = await http.post(f"{server.base}/messages", (*key, ("Content-Type", "application/json")), b"{}")
    except ProviderError:
        return
    await _check_is_up(answer)
    server.label = _LABELS.get((answer.header("server") or "").partition("/")[0], server.label)
    is_said = answer.status not in NO_SUCH_PATH or answer.content_type == JSON_TYPE  # in words, and not by a page
    if answer.status < _FIRST_REFUSAL or not is_said:
        answer.close()  # unread: a server that answers anything may go on for ever
        return
    try:
        body = await read_whole(answer, MAX_PROBE_BYTES)
    except ProviderError:
        return
    if read(body, FIELDS) is not None and not looks_missing(answer.status, body):
        server.speak_anthropic()


async def _check_is_up(answer: HttpAnswer) -> None:
    """Raises `ErrorAnswer`, with the server's own words, if it says that it is not ready."""
    if answer.status in _NOT_NOW:
        await check_status(answer, DIALECTS[DialectName.OPENAI])
