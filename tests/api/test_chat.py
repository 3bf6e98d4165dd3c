"""An answer through each endpoint, whole and streamed, and the headers that every answer carries.

Covers: `reply_sink`.
"""

import asyncio
import json
import re

import anthropic
import ollama
import openai
import pytest

from tests.api.raw_http import CHAT, MODEL, ask_once, chat, get, head, post
from tests.api.serving import ServingNode

SAYS = "Hello! I am masa-demo"
ENDPOINTS = ["/v1/chat/completions", "/v1/messages", "/api/chat", "/api/generate", "/api/v1/chat", "/v1/api/chat"]
NATIVE = ENDPOINTS[-2:]
OTHERS = ["/healthz", "/v1/models", "/api/tags", "/metrics", "/nowhere"]


def test_openais_sdk_gets_an_answer_and_a_stream(node: ServingNode) -> None:
    with openai.OpenAI(base_url=f"{node.address}/v1", api_key="none", max_retries=0) as client:
        whole = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hi"}])
        assert str(whole.choices[0].message.content).startswith(SAYS)
        stream = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hi"}], stream=True)
        said = "".join(piece.choices[0].delta.content or "" for piece in stream if piece.choices)
    assert said == whole.choices[0].message.content


def test_anthropics_sdk_gets_an_answer_and_a_stream(node: ServingNode) -> None:
    with anthropic.Anthropic(base_url=node.address, api_key="none", max_retries=0) as client:
        whole = client.messages.create(model=MODEL, max_tokens=9, messages=[{"role": "user", "content": "Hi"}])
        assert whole.content[0].type == "text"
        assert whole.content[0].text.startswith(SAYS)
        with client.messages.stream(model=MODEL, max_tokens=9, messages=[{"role": "user", "content": "Hi"}]) as stream:
            assert stream.get_final_text() == whole.content[0].text


def test_ollamas_sdk_gets_an_answer_and_a_stream(node: ServingNode) -> None:
    with ollama.Client(host=node.address) as client:
        whole = client.chat(MODEL, [{"role": "user", "content": "Hi"}])
        assert str(whole.message.content).startswith(SAYS)
        pieces = client.chat(MODEL, [{"role": "user", "content": "Hi"}], stream=True)
        assert "".join(str(piece.message.content) for piece in pieces) == whole.message.content
        assert client.generate(MODEL, "Hi").response == whole.message.content


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_says_who_gave_it(node: ServingNode, endpoint: str, *, stream: bool) -> None:
    reply = await ask_once(node.port, post(chat(stream=stream), b"X-Request-Id: mine-1\r\n", target=endpoint.encode()))
    assert reply.status == 200
    assert reply.header("x-request-id") == "mine-1"
    assert reply.header("x-masa-model") == MODEL
    assert reply.header("x-masa-served-by") == "local"
    assert re.fullmatch(r"demo=won;ms=\d+", str(reply.header("x-masa-attempts")))
    assert reply.header("x-masa-translated") is None


@pytest.mark.parametrize("endpoint", NATIVE)
async def test_the_native_endpoint_gives_ollamas_answer_and_says_so(node: ServingNode, endpoint: str) -> None:
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}).encode()
    for _ in range(20):
        reply = await ask_once(node.port, post(body, target=endpoint.encode()))
        assert (reply.header("x-masa-format"), reply.header("content-type")) == ("ollama", "application/x-ndjson")
    whole = await ask_once(node.port, post(body.replace(b"}]", b'}],"stream":false'), target=endpoint.encode()))
    assert str(json.loads(whole.body)["message"]["content"]).startswith(SAYS)


FORMATS = {
    "openai": lambda body: body["choices"][0]["message"]["content"],
    "anthropic": lambda body: body["content"][0]["text"],
    "ollama": lambda body: body["message"]["content"],
    "cloudflare": lambda body: body["result"]["response"],
    "openai.responses": lambda body: body["output"][0]["content"][0]["text"],
}


@pytest.mark.parametrize("name", FORMATS)
async def test_the_native_endpoint_answers_in_the_format_that_the_header_names(node: ServingNode, name: str) -> None:
    content = {"input": "Hi"} if name == "openai.responses" else {"messages": [{"role": "user", "content": "Hi"}]}
    body = json.dumps({"model": MODEL, "max_tokens": 9, "stream": False, **content}).encode()
    headers = b"X-Masa-Format: %b\r\n" % name.upper().encode()
    reply = await ask_once(node.port, post(body, headers, target=b"/api/v1/chat"))
    assert (reply.status, reply.header("x-masa-format")) == (200, name)
    assert str(FORMATS[name](json.loads(reply.body))).startswith(SAYS)


async def test_the_native_endpoint_answers_in_the_format_that_the_body_shows(node: ServingNode) -> None:
    for mark, name in (({"stop_sequences": ["x"]}, "anthropic"), ({"n": 1}, "openai"), ({"options": {}}, "ollama")):
        body = json.dumps({"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], **mark})
        reply = await ask_once(node.port, post(body.encode(), target=b"/v1/api/chat"))
        assert (reply.status, reply.header("x-masa-format")) == (200, name)


async def test_errors_of_the_native_endpoint_are_in_its_format(node: ServingNode) -> None:
    for body in (b"{", b"{}", b'{"model":"nobodys"}'):
        reply = await ask_once(node.port, post(body, target=b"/api/v1/chat"))
        assert isinstance(json.loads(reply.body)["error"], str)
        assert reply.header("x-masa-format") == "ollama"
        reply = await ask_once(node.port, post(body, b"X-Masa-Format: anthropic\r\n", target=b"/api/v1/chat"))
        assert json.loads(reply.body)["type"] == "error"
        assert reply.header("x-masa-format") == "anthropic"


async def test_an_unknown_format_is_refused_with_those_there_are(node: ServingNode) -> None:
    for headers in (b"X-Masa-Format: gemini\r\n", b"X-Masa-Format: ollama\r\nX-Masa-Format: openai\r\n"):
        reply = await ask_once(node.port, post(chat(), headers, target=b"/api/v1/chat"))
        assert (reply.status, b"X-Masa-Format" in reply.body) == (400, True)
        other = await ask_once(node.port, post(chat(), headers, target=CHAT))
        assert (other.status, other.header("x-masa-format")) == (200, None)
    refused = await ask_once(node.port, post(chat(), b"X-Masa-Format: x\r\n", target=b"/api/v1/chat"))
    assert all(name.encode() in refused.body for name in FORMATS)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_stream_is_not_to_be_held_back(node: ServingNode, endpoint: str) -> None:
    """An nginx with its defaults turned 31 pieces into 5 bursts."""
    reply = await ask_once(node.port, post(chat(stream=True), target=endpoint.encode()))
    assert (reply.header("x-accel-buffering"), reply.header("cache-control")) == ("no", "no-cache")
    assert reply.header("content-type") in ("text/event-stream", "application/x-ndjson")


async def test_pieces_come_as_they_are_said(slow: ServingNode) -> None:
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection("127.0.0.1", slow.port)
    try:
        asked_s = loop.time()
        writer.write(post(chat(stream=True)))
        await reader.readuntil(b"Hello!")
        first_s = loop.time()
        await reader.readuntil(b" model")
        assert first_s - asked_s < 3  # all of it takes five seconds
        assert loop.time() - first_s > 0.15  # five words; one may be taken late
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("target", [*ENDPOINTS, *OTHERS])
async def test_every_answer_has_one_request_id(node: ServingNode, target: str) -> None:
    ids = set[str]()
    for _ in range(3):
        reply = await ask_once(node.port, get(target.encode()))
        ids.add(str(reply.header("x-request-id")))
    assert len(ids) == 3
    assert all(re.fullmatch(r"[0-9a-f]{16}", text) for text in ids)


@pytest.mark.parametrize("target", [*ENDPOINTS, *OTHERS])
async def test_the_callers_own_request_id_is_kept(node: ServingNode, target: str) -> None:
    assert (await ask_once(node.port, get(target.encode(), b"X-Request-Id: A.b_c-9\r\n"))).header(
        "x-request-id"
    ) == "A.b_c-9"


@pytest.mark.parametrize("given", [b"", b"x" * 65, b"a b", b"a;b", b"\xff", b'"><script>', b"../x", b"a,b", b"%0d%0a"])
async def test_a_request_id_that_is_no_plain_word_is_replaced(node: ServingNode, given: bytes) -> None:
    reply = await ask_once(node.port, post(chat(), b"X-Request-Id: " + given + b"\r\n"))
    assert re.fullmatch(r"[0-9a-f]{16}", str(reply.header("x-request-id")))


async def test_an_error_before_anybody_was_asked_names_nobody(node: ServingNode) -> None:
    reply = await ask_once(node.port, post(chat("unheard-of")))
    assert reply.header("x-masa-served-by") is None
    assert reply.header("x-masa-attempts") is None
    assert reply.header("x-masa-model") == "unheard-of"


async def test_any_content_type_or_none_is_taken(node: ServingNode) -> None:
    """Ollama's clients and LiteLLM send none."""
    for line in (b"", b"Content-Type: text/plain\r\n", b"Content-Type: application/json; charset=utf-8\r\n"):
        assert (await ask_once(node.port, post(chat(), line))).status == 200


async def test_a_body_may_begin_with_white_space_and_hold_any_unicode(node: ServingNode) -> None:
    body = b" \r\n\t" + json.dumps(json.loads(chat(say="é 模型 🦙 \u2028")), ensure_ascii=False).encode()
    reply = await ask_once(node.port, post(body, target=CHAT))
    assert "🦙" in reply.body.decode()


async def test_head_of_the_root_is_what_the_ollama_cli_asks_first(node: ServingNode) -> None:
    reply = await ask_once(node.port, head(b"HEAD", b"/"), to_head=True)
    assert (reply.status, reply.header("content-type")) == (200, "text/plain; charset=utf-8")
    assert "is running" in (await ask_once(node.port, get(b"/"))).body.decode()
