"""Nothing in a request moves an upstream, and a key never leaves the origin it was configured for.

LiteLLM CVE-2024-6587 (`api_base` in the body), SSRF in LocalAI, Bifrost, new-api and Portkey, AntSeed VULN-002 (the
caller's credentials forwarded).
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from masa_node.chat.request import ENDPOINT_PATHS
from tests.api.raw_http import CHAT, ask_once, chat, get, post
from tests.api.recording_server import OLLAMA_MODEL, RecordingServer, as_openai, response
from tests.api.serving import ServingNode

UPSTREAM_KEY = "key-of-the-upstream"
CALLERS_KEY = "key-of-the-caller"
URL_FIELDS = (
    "api_base",
    "base_url",
    "api_url",
    "url",
    "endpoint",
    "host",
    "proxy",
    "proxies",
    "upstream",
    "callback",
    "webhook",
    "azure_endpoint",
    "custom_llm_provider",
    "organization",
    "extra_headers",
    "fallbacks",
    "litellm_params",
    "metadata",
    "provider",
    "route",
)


@pytest.fixture(scope="module")
def llm() -> Iterator[RecordingServer]:
    """The upstream that the settings name."""
    with RecordingServer(as_openai) as canary:
        yield canary


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[RecordingServer]:
    """Where nobody may ever be sent."""
    with RecordingServer(as_openai) as canary:
        yield canary


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory, llm: RecordingServer) -> Iterator[ServingNode]:
    """A node in front of an upstream that wants a key."""
    settings = {
        "DEMO": "",
        "LLM_CHAT_URL": f"{llm.url}/v1/chat/completions",
        "LLM_CHAT_TOKEN": UPSTREAM_KEY,
        "API_KEY": CALLERS_KEY,
    }
    with ServingNode(tmp_path_factory.mktemp("keyed"), settings) as running:
        yield running


def lines(*more: bytes) -> bytes:
    return b"".join(line + b"\r\n" for line in (b"x-api-key: " + CALLERS_KEY.encode(), *more))


async def test_no_field_of_a_body_moves_the_upstream(
    keyed: ServingNode, llm: RecordingServer, elsewhere: RecordingServer
) -> None:
    values = (elsewhere.url, f"{elsewhere.url}/v1", {"api_base": elsewhere.url, "url": elsewhere.url}, [elsewhere.url])
    for value in values:
        body = json.dumps(json.loads(chat(OLLAMA_MODEL)) | dict.fromkeys(URL_FIELDS, value)).encode()
        for endpoint in (CHAT, b"/api/v1/chat"):
            llm.forget()
            reply = await ask_once(keyed.port, post(body, lines(), target=endpoint))
            assert reply.status == 200
            assert [raw.endswith(body) for raw in llm.chats()] == [True]
    assert elsewhere.connections == 0


async def test_no_header_or_query_moves_the_upstream(
    keyed: ServingNode, llm: RecordingServer, elsewhere: RecordingServer
) -> None:
    llm.forget()
    names = (
        b"X-Api-Base X-Base-Url X-Forwarded-Host X-Forwarded-Server X-Forwarded-For Forwarded X-Original-Url Referer "
        b"X-Rewrite-Url X-Upstream X-Portkey-Custom-Host X-Portkey-Config Helicone-Target-Url X-Proxy-Url Destination "
        b"Proxy X-Masa-Upstream X-Masa-Peer X-Masa-Via OpenAI-Organization X-HTTP-Host-Override X-Host True-Client-Ip"
    ).split()
    named = lines(*(name + b": " + elsewhere.url.encode() for name in names))
    query = CHAT + b"?api_base=" + elsewhere.url.encode() + b"&url=" + elsewhere.url.encode()
    reply = await ask_once(keyed.port, post(chat(OLLAMA_MODEL), named, target=query))
    assert reply.status == 200
    assert len(llm.chats()) == 1
    assert elsewhere.connections == 0
    head = llm.chats()[0].partition(b"\r\n\r\n")[0]
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    via = b"".join(line for line in head.split(b"\r\n") if line.lower().startswith(b"x-masa-via"))
    assert elsewhere.address.encode() not in head.replace(via, b"")


@pytest.mark.parametrize("path", [path for paths in ENDPOINT_PATHS.values() for path in paths])
async def test_a_model_that_is_a_url_is_just_an_unknown_model(
    keyed: ServingNode, elsewhere: RecordingServer, path: str
) -> None:
    for model in (elsewhere.url, f"//{elsewhere.address}", f"openai/{elsewhere.url}/v1", f"@{elsewhere.address}/"):
        reply = await ask_once(keyed.port, post(chat(model, name=model), lines(), target=path.encode()))
        assert reply.status in (404, 405)
    assert elsewhere.connections == 0


async def test_exactly_these_headers_reach_the_upstream(keyed: ServingNode, llm: RecordingServer) -> None:
    """The golden list: whoever adds one here must know what it may carry."""
    llm.forget()
    sent = lines(
        b"Content-Type: application/json",
        b"Accept: text/event-stream",
        b"User-Agent: curl/8",
        b"Cookie: session=secret",
        b"Referer: http://localhost/",
        b"X-Request-Id: an-id",
        b"X-Forwarded-For: 10.0.0.1",
        b"X-Real-Ip: 10.0.0.1",
        b"X-Stainless-Lang: python",
        b"OpenAI-Organization: org-1",
        b"OpenAI-Beta: assistants=v2",
        b"Anthropic-Version: 2023-06-01",
        b"Anthropic-Beta: files",
        b"Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        b"Tracestate: a=b",
        b"TE: trailers",
        b"Proxy-Authorization: Basic c2VjcmV0",
        b"Connection: X-Own-Token",
        b"X-Own-Token: secret",
    )
    await ask_once(keyed.port, post(chat(OLLAMA_MODEL), sent))
    head = llm.chats()[0].partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    assert sorted(line.partition(b":")[0].lower() for line in head) == [
        b"accept",
        b"accept-encoding",
        b"anthropic-beta",
        b"anthropic-version",
        b"authorization",
        b"content-length",
        b"content-type",
        b"host",
        b"openai-beta",
        b"traceparent",
        b"tracestate",
        b"user-agent",
        b"x-masa-via",
    ]
    assert CALLERS_KEY.encode() not in llm.chats()[0]
    assert f"authorization: Bearer {UPSTREAM_KEY}".lower().encode() in llm.chats()[0].lower()


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed_and_the_key_stays(
    keyed: ServingNode, llm: RecordingServer, elsewhere: RecordingServer, status: int
) -> None:
    llm.forget()
    llm.answer = lambda _: response(status, {}, b"Location: " + elsewhere.url.encode() + b"/v1/chat/completions")
    try:
        reply = await ask_once(keyed.port, post(chat(OLLAMA_MODEL), lines()))
    finally:
        llm.answer = as_openai
    assert reply.status == 502
    assert "redirect" in str(reply.json())
    assert reply.header("location") is None
    assert elsewhere.connections == 0


async def test_no_header_of_the_upstream_but_a_few_reaches_the_caller(keyed: ServingNode, llm: RecordingServer) -> None:
    evil = (
        b"Set-Cookie: a=b",
        b"Access-Control-Allow-Origin: *",
        b"Location: http://evil.example",
        b"X-Masa-Served-By: another",
        b"X-Request-Id: another",
        b"Server: evil",
        b"Refresh: 0; url=http://evil.example",
        b"Strict-Transport-Security: max-age=1",
    )
    llm.answer = lambda raw: as_openai(raw).replace(b"\r\n", b"\r\n" + b"\r\n".join(evil) + b"\r\n", 1)
    try:
        reply = await ask_once(keyed.port, post(chat(OLLAMA_MODEL), lines(b"X-Request-Id: mine")))
    finally:
        llm.answer = as_openai
    assert reply.status == 200
    names = {name for name, _ in reply.headers}
    assert names.isdisjoint({"set-cookie", "access-control-allow-origin", "location", "server", "refresh"})
    assert (reply.header("x-masa-served-by"), reply.header("x-request-id")) == ("local", "mine")


async def test_each_key_goes_to_its_own_origin_only(tmp_path: Path) -> None:
    """Three hosted services behind one node; whichever is asked, the others' keys stay at home."""
    keys = {name: f"secret-of-{name}" for name in ("openai", "anthropic", "cloudflare")}
    with (
        RecordingServer(as_openai) as openai,
        RecordingServer(as_openai) as anthropic,
        RecordingServer(as_openai) as cloudflare,
    ):
        servers = {"openai": openai, "anthropic": anthropic, "cloudflare": cloudflare}
        settings = {
            "DEMO": "",
            "OPENAI_API_KEY": keys["openai"],
            "OPENAI_BASE_URL": f"{openai.url}/v1",
            "ANTHROPIC_API_KEY": keys["anthropic"],
            "ANTHROPIC_BASE_URL": anthropic.url,
            "LLM_CF_URL": f"{cloudflare.url}/accounts/a/ai/run",
            "LLM_CF_TOKEN": keys["cloudflare"],
            "LLM_CF_API_URL": cloudflare.url,
        }
        with ServingNode(tmp_path, settings) as running:
            for endpoint in (CHAT, b"/v1/messages", b"/api/v1/chat"):
                await ask_once(running.port, post(chat(OLLAMA_MODEL), target=endpoint))
                await ask_once(running.port, post(chat("@cf/x/y"), target=endpoint))
            await ask_once(running.port, get(b"/v1/models/unheard-of"))
        for name, server in servers.items():
            seen = b"".join(server.requests)
            assert [whose for whose, key in keys.items() if key.encode() in seen] == [name]
