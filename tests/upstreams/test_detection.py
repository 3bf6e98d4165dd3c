"""What the node takes a server for, from its URL and from how it answers; and that it does not stay with a mistake.

Covers: `places`.
"""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from masa_node.chat.errors import ErrorAnswer, ProviderError
from masa_node.chat.request import Endpoint
from masa_node.upstreams.detection import identify
from masa_node.upstreams.http.client import HttpClient
from masa_node.upstreams.servers.anthropic import AnthropicServer
from masa_node.upstreams.servers.cloudflare import CloudflareServer
from masa_node.upstreams.servers.ollama import OllamaServer
from masa_node.upstreams.servers.openai import OpenAiServer
from masa_node.upstreams.servers.server import Server
from masa_node.upstreams.spec import UpstreamKind, UpstreamSpec
from tests.fakes.http_bytes import whole
from tests.fakes.llm_server import FakeLlm, Line, Script, close, send, stall

VERSION: Script = (send(whole(b'{"version":"0.32.15"}')),)
ENDLESS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nword \r\n"
REFUSED: Script = (send(whole(b'{"error":{"message":"messages: required"}}', status=400)),)
KEY = "sk-upstream"


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with HttpClient() as client:
        yield client


async def found(http: HttpClient, url: str, kind: UpstreamKind = UpstreamKind.AUTO, **more: object) -> Server:
    return await identify(UpstreamSpec("x", kind, url, **more), http)  # type: ignore[arg-type]


def path(llm: FakeLlm, server: Server, endpoint: Endpoint) -> str | None:
    url = server.target(endpoint, "m")
    return url.removeprefix(llm.url) if url is not None else None


# ---- Ollama ----


@pytest.mark.parametrize(
    ("url", "native"),
    [
        ("", "/api/chat"),
        ("/", "/api/chat"),
        ("/api/chat", "/api/chat"),
        ("/api/chat/", "/api/chat"),
        ("/api/generate", "/api/generate"),
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/messages", "/v1/messages"),
    ],
)
async def test_an_ollama_speaks_all_its_dialects_and_the_native_endpoint_is_the_one_that_was_named(
    http: HttpClient, url: str, native: str
) -> None:
    async with FakeLlm().answer("/api/version", VERSION) as llm:
        server = await found(http, llm.url + url)
        assert isinstance(server, OllamaServer)
        assert path(llm, server, Endpoint.NATIVE) == native
        assert path(llm, server, Endpoint.OLLAMA_CHAT) == "/api/chat"
        assert path(llm, server, Endpoint.OPENAI_CHAT) == "/v1/chat/completions"
        assert path(llm, server, Endpoint.ANTHROPIC_MESSAGES) == "/v1/messages"
        assert path(llm, server, Endpoint.CLOUDFLARE_RUN) is None


@pytest.mark.parametrize("url", ["/api/chat", "/api/generate"])
async def test_an_ollama_endpoint_need_not_be_asked(http: HttpClient, url: str) -> None:
    assert isinstance(await found(http, f"http://127.0.0.1:1{url}"), OllamaServer)


# Told as OpenAI's clients and as Ollama's: nothing, unreadable, refused, or names.
OF_NO_OLLAMA = {
    "llama-swap": (b'{"object":"list","data":[{"id":"m","owned_by":"llama-swap"}]}', None),
    "LocalAI": (b'{"object":"list","data":[{"id":"gpt-4","object":"model"}]}', b'{"models":[{"name":"gpt-4:latest"}]}'),
    "LocalAI, with a tag": (
        b'{"object":"list","data":[{"id":"qwen:4b"},{"id":"gpt-4"}]}',
        b'{"models":[{"name":"qwen:4b"},{"name":"gpt-4:latest"}]}',
    ),
}
OF_AN_OLLAMA = {
    "one model": (b'{"object":"list","data":[{"id":"m:latest"}]}', b'{"models":[{"name":"m:latest"}]}'),
    "one that was pulled just now": (b'{"data":[{"id":"a"}]}', b'{"models":[{"name":"a"},{"name":"b"}]}'),
    "no model": (b'{"object":"list","data":null}', b'{"models":null}'),
    "none of the lists, behind a proxy": (None, None),
    "of before 0.2": (None, b'{"models":[{"name":"m:latest"}]}'),
    "of which one cannot be read": (b'{"data":[{"id":"m"}]}', b"<html>"),
}


def told(llm: FakeLlm, lists: tuple[bytes | None, bytes | None]) -> FakeLlm:
    for where, body in zip(("/v1/models", "/api/tags"), lists, strict=True):
        if body is not None:
            llm.answer(where, (send(whole(body)),))
    return llm.answer("/api/version", VERSION)


@pytest.mark.parametrize("case", OF_NO_OLLAMA)
async def test_a_server_is_no_ollama_if_its_models_are_others_for_ollamas_clients(http: HttpClient, case: str) -> None:
    async with told(FakeLlm(), OF_NO_OLLAMA[case]) as llm:
        server = await found(http, llm.url)
        assert isinstance(server, OpenAiServer)
        assert path(llm, server, Endpoint.OPENAI_RERANK) == "/v1/rerank"
        assert [offer.model for offer in await server.list_models(http)][-1] in ("m", "gpt-4")
        assert isinstance(await found(http, llm.url, UpstreamKind.OLLAMA), OllamaServer)


@pytest.mark.parametrize("case", OF_AN_OLLAMA)
async def test_an_ollama_is_one_whatever_it_has(http: HttpClient, case: str) -> None:
    async with told(FakeLlm(), OF_AN_OLLAMA[case]) as llm:
        assert isinstance(await found(http, llm.url), OllamaServer)


async def test_an_ollama_that_refuses_a_list_is_one(http: HttpClient) -> None:
    refused = (send(whole(b"", status=403)),)
    async with told(FakeLlm(), (b'{"data":[{"id":"m"}]}', None)).answer("/api/tags", refused) as llm:
        assert isinstance(await found(http, llm.url), OllamaServer)


# ---- OpenAI-compatible ----


@pytest.mark.parametrize(
    ("url", "chat"),
    [
        ("", "/v1/chat/completions"),
        ("/v1", "/v1/chat/completions"),
        ("/v1/", "/v1/chat/completions"),
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/openai/v1", "/openai/v1/chat/completions"),
        ("/api/v3/chat/completions", "/api/v3/chat/completions"),
        ("/some/path/chat/completions", "/some/path/chat/completions"),
        ("/deep/base", "/deep/base/v1/chat/completions"),
    ],
)
async def test_the_chat_url_of_a_compatible_server_is_found(http: HttpClient, url: str, chat: str) -> None:
    async with FakeLlm() as llm:
        server = await found(http, llm.url + url)
        assert isinstance(server, OpenAiServer)
        assert path(llm, server, Endpoint.OPENAI_CHAT) == path(llm, server, Endpoint.NATIVE) == chat
        assert path(llm, server, Endpoint.OLLAMA_CHAT) is None


async def test_a_server_that_refuses_an_empty_message_speaks_anthropics_dialect(http: HttpClient) -> None:
    async with FakeLlm().answer("/v1/messages", REFUSED) as llm:
        server = await found(http, llm.url)
        assert path(llm, server, Endpoint.ANTHROPIC_MESSAGES) == "/v1/messages"


async def test_a_server_that_looks_for_the_model_of_an_empty_message_has_the_endpoint(http: HttpClient) -> None:
    """llama-swap: which server it is for, it learns from the body."""
    body = b'{"src":"llama-swap","error":{"message":"no model id could be identified","code":"not_found"}}'
    async with FakeLlm().answer("/v1/messages", (send(whole(body, status=404)),)) as llm:
        assert path(llm, await found(http, llm.url), Endpoint.ANTHROPIC_MESSAGES) == "/v1/messages"


async def test_a_server_below_a_path_is_asked_for_messages_at_its_v1_too(http: HttpClient) -> None:
    """llama.cpp behind nginx (`location /llm/`): `/llm/models` is there, `/llm/messages` only at `/llm/v1`."""
    models = (send(whole(b'{"data":[{"id":"m"}]}')),)
    async with FakeLlm().answer("/llm/models", models).answer("/llm/v1/models", models) as llm:
        server = await found(http, f"{llm.url}/llm")
        assert path(llm, server, Endpoint.OPENAI_CHAT) == "/llm/chat/completions"
        llm.answer("/llm/v1/messages", REFUSED)
        server = await found(http, f"{llm.url}/llm")
        assert path(llm, server, Endpoint.ANTHROPIC_MESSAGES) == "/llm/v1/messages"
        assert path(llm, server, Endpoint.OPENAI_CHAT) == "/llm/v1/chat/completions"


NOT_ANTHROPIC: list[Script] = [
    (send(whole(b'{"detail":"Not Found"}', status=404)),),
    (send(whole(b'{"detail":"Method Not Allowed"}', status=405)),),
    (send(whole(b"404 page not found", status=404, content_type="text/plain")),),
    (send(whole(b"<html>No model is here", status=404, content_type="text/html")),),
    (send(ENDLESS.replace(b"200 OK", b"404 Not Found")), close),
    (send(whole(b"<html>", content_type="text/html")),),
    # LM Studio: "Unexpected endpoint or method. (POST /v1/messages). Returning 200 anyway"
    (send(whole(b'{"error":"Unexpected endpoint or method. (POST /v1/messages)"}')),),
    (send(ENDLESS), stall),
    (close,),
]


@pytest.mark.parametrize("script", NOT_ANTHROPIC)
async def test_a_server_without_that_endpoint_is_not_taken_to_have_it(http: HttpClient, script: Script) -> None:
    async with FakeLlm().answer("/v1/messages", script) as llm:
        async with asyncio.timeout(20):
            server = await found(http, llm.url)
        assert isinstance(server, OpenAiServer)
        assert path(llm, server, Endpoint.ANTHROPIC_MESSAGES) is None


async def test_a_llama_cpp_is_called_by_its_name(http: HttpClient) -> None:
    refused = whole(b'{"error":{"code":500}}', status=500, headers=[("Server", "llama.cpp")])
    async with FakeLlm().answer("/v1/messages", (send(refused),)) as llm:
        assert (await found(http, llm.url)).label == "llama.cpp"


# ---- hosted ones are not asked ----


@pytest.mark.parametrize(
    ("kind", "url", "cls", "native"),
    [
        (UpstreamKind.OPENAI, "https://api.openai.com/v1", OpenAiServer, "https://api.openai.com/v1/chat/completions"),
        (UpstreamKind.OPENAI, "https://api.openai.com", OpenAiServer, "https://api.openai.com/v1/chat/completions"),
        (UpstreamKind.ANTHROPIC, "https://api.anthropic.com", AnthropicServer, "https://api.anthropic.com/v1/messages"),
        (
            UpstreamKind.ANTHROPIC,
            "https://api.anthropic.com/v1",
            AnthropicServer,
            "https://api.anthropic.com/v1/messages",
        ),
        (UpstreamKind.ANTHROPIC, "https://x.example/v1/messages", AnthropicServer, "https://x.example/v1/messages"),
        (
            UpstreamKind.ANTHROPIC,
            "https://x.example/v1/chat/completions",
            AnthropicServer,
            "https://x.example/v1/chat/completions",
        ),
        (UpstreamKind.CLOUDFLARE, "https://x.example/ai/run/", CloudflareServer, "https://x.example/ai/run/m"),
    ],
)
async def test_a_hosted_server_is_what_its_owner_says(
    http: HttpClient, kind: UpstreamKind, url: str, cls: type, native: str
) -> None:
    server = await found(http, url, kind, hosted=True)
    assert isinstance(server, cls)
    assert server.target(Endpoint.NATIVE, "m") == native


# ---- keys ----


async def test_a_server_behind_a_key_is_recognised_with_it(http: HttpClient) -> None:
    """Ollama behind a proxy that wants a key for every path."""

    async def guarded(line: Line) -> None:
        has_key = line.server.requests[-1].header("authorization") == [f"Bearer {KEY}"]
        await line.write(whole(b'{"version":"1"}') if has_key else whole(b'{"error":"no key"}', status=401))

    async with FakeLlm().answer("/api/version", (guarded,)).answer("/v1/messages", (guarded,)) as llm:
        assert isinstance(await found(http, llm.url, key=KEY), OllamaServer)


async def test_a_key_is_sent_to_the_server_it_is_for_and_nowhere_else(http: HttpClient) -> None:
    async with FakeLlm() as canary, FakeLlm() as llm:
        moved = (send(whole(b"", status=307, headers=[("Location", f"{canary.url}/x")])),)
        llm.answer("/api/version", moved).answer("/v1/messages", moved)
        await found(http, llm.url, key=KEY)
    assert canary.connections == 0


# ---- mistakes ----


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_proxy_whose_server_is_not_up_yet_is_not_taken_for_the_server(http: HttpClient, status: int) -> None:
    async with FakeLlm().answer("/api/version", (send(whole(b"<html>", status=status)),), VERSION) as llm:
        with pytest.raises(ProviderError, match=str(status)):
            await found(http, llm.url)
        assert isinstance(await found(http, llm.url), OllamaServer)


async def test_a_server_that_loads_its_model_says_so_in_its_own_words(http: HttpClient) -> None:
    """llama.cpp answers 503 to every path until it is ready."""
    loading = b'{"error":{"message":"Loading model","type":"unavailable_error","code":503}}'
    async with FakeLlm().answer("/api/version", (send(whole(loading, status=503)),)) as llm:
        with pytest.raises(ErrorAnswer) as caught:
            await found(http, llm.url)
    assert (caught.value.status, caught.value.body, caught.value.is_json) == (503, loading, True)


@pytest.mark.parametrize("url", ["", "/v1", "/api", "/api/v1/chat", "/v1/api/chat", "/api/", "/v1/chat/completions"])
async def test_every_way_to_write_a_masa_nodes_url_leads_to_its_v1(http: HttpClient, url: str) -> None:
    masa = whole(json.dumps({"version": "0.32.15"}).encode(), headers=[("X-Masa-Node", "0.1.0")])
    async with FakeLlm().answer("/api/version", (send(masa),)).answer("/v1/messages", REFUSED) as llm:
        server = await found(http, llm.url + url)
        assert path(llm, server, Endpoint.OPENAI_CHAT) == "/v1/chat/completions"
        assert path(llm, server, Endpoint.ANTHROPIC_MESSAGES) == "/v1/messages"


async def test_lm_studios_own_chat_is_not_asked(http: HttpClient) -> None:
    async with FakeLlm() as llm:
        server = await found(http, f"{llm.url}/api/v1/chat")
        assert path(llm, server, Endpoint.OPENAI_CHAT) == path(llm, server, Endpoint.NATIVE) == "/v1/chat/completions"


async def test_a_masa_node_is_not_taken_for_an_ollama(http: HttpClient) -> None:
    masa = whole(json.dumps({"version": "0.32.15"}).encode(), headers=[("X-Masa-Node", "0.1.0")])
    async with FakeLlm().answer("/api/version", (send(masa),)).answer("/v1/messages", REFUSED) as llm:
        server = await found(http, llm.url)
        assert isinstance(server, OpenAiServer)
        assert path(llm, server, Endpoint.ANTHROPIC_MESSAGES) == "/v1/messages"
