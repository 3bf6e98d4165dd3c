"""Bytes are sacred: every recorded exchange, through every endpoint it may take, in every cut of the stream.

Covers: `upstream`, `http.client`.
"""

import json

import pytest

from masa_node.chat.request import ENDPOINT_PATHS, Endpoint
from tests.fakes.http_bytes import LAST_CHUNK, chunk, stream_head, whole
from tests.fakes.llm_server import FakeLlm, Script, send, send_each
from tests.fakes.raw_http import post
from tests.fakes.recorded import Exchange, exchanges
from tests.fakes.running import running_node

PATHS = frozenset(path for paths in ENDPOINT_PATHS.values() for path in paths)
# A request without a model's name never gets past the node, and an error that is no JSON is told in the dialect.
RECORDED = [
    each
    for each in exchanges()
    if each.path in PATHS and each.name != "err_no_model" and each.content_type != "text/plain"
]
CHATS = (Endpoint.OPENAI_CHAT, Endpoint.ANTHROPIC_MESSAGES, Endpoint.OLLAMA_CHAT, Endpoint.OLLAMA_GENERATE)
NATIVE = [each for each in RECORDED if each.path in [ENDPOINT_PATHS[endpoint][0] for endpoint in CHATS]]
STREAMED = [each for each in RECORDED if each.is_chunked]
# llama.cpp's answer to the empty request with which the node finds out whether it has an endpoint for Anthropic's
# clients
NO_MESSAGES = (send(whole(b'{"error":{"code":500,"message":"key \'messages\' not found"}}', status=500)),)
OLLAMA_VERSION = (send(whole(b'{"version":"0.32.15"}')),)


def oddly_written(request: dict[str, object]) -> bytes:
    """The same request as no serialiser would write it: keys backwards, white space, escapes, fields of our own."""
    fields = {"zz_unknown": [1.0, 1e5, None, {"é": "\u2028"}], **dict(reversed(request.items()))}
    return b" " + json.dumps(fields, indent=3, separators=(" ,", "  :\t")).replace("/", "\\/").encode() + b"\r\n\n"


def replayed(exchange: Exchange, pieces: tuple[bytes, ...]) -> Script:
    if not exchange.is_chunked:
        return (send(whole(exchange.body, status=exchange.status, content_type=exchange.content_type)),)
    head = stream_head(exchange.content_type, status=exchange.status)
    return (send(head), send_each(chunk(piece) for piece in pieces), send(LAST_CHUNK))


def fake_of(exchange: Exchange, pieces: tuple[bytes, ...]) -> FakeLlm:
    """The server that was recorded, at its base URL."""
    script = replayed(exchange, pieces)
    if "ollama" in exchange.server:
        return FakeLlm().answer("/api/version", OLLAMA_VERSION).answer(exchange.path, script)
    fake = FakeLlm().answer("/v1/messages", NO_MESSAGES)
    return fake.answer(exchange.path, *[NO_MESSAGES] * (exchange.path == "/v1/messages"), script)


def one_by_one(body: bytes) -> tuple[bytes, ...]:
    return tuple(body[at : at + 1] for at in range(len(body)))


@pytest.mark.parametrize("exchange", RECORDED, ids=str)
async def test_a_recorded_exchange_passes_byte_for_byte_through_its_own_endpoint(exchange: Exchange) -> None:
    assert exchange.request is not None
    body = oddly_written(exchange.request)
    async with fake_of(exchange, exchange.chunks) as llm, running_node(LLM_CHAT_URL=llm.url) as node:
        reply = await post(node.port, exchange.path, body)
    assert llm.asked(exchange.path)[-1].body == body
    assert (reply.status, reply.header("content-type"), reply.body, reply.is_whole) == (
        exchange.status,
        exchange.content_type,
        exchange.body,
        True,
    )


@pytest.mark.parametrize("exchange", NATIVE, ids=str)
async def test_a_recorded_exchange_passes_byte_for_byte_through_the_native_endpoint(exchange: Exchange) -> None:
    assert exchange.request is not None
    body = oddly_written(exchange.request)
    async with FakeLlm() as llm, running_node(LLM_CHAT_URL=llm.url + exchange.path) as node:
        llm.answer(exchange.path, replayed(exchange, exchange.chunks))
        replies = [await post(node.port, path, body) for path in ENDPOINT_PATHS[Endpoint.NATIVE]]
    assert [got.body for got in llm.asked(exchange.path)[-2:]] == [body, body]
    for reply in replies:
        assert (reply.status, reply.body, reply.is_whole) == (exchange.status, exchange.body, True)
        assert reply.header("content-type") == exchange.content_type


@pytest.mark.parametrize("exchange", STREAMED, ids=str)
async def test_a_stream_that_comes_byte_by_byte_is_the_same_stream(exchange: Exchange) -> None:
    assert exchange.request is not None
    async with fake_of(exchange, one_by_one(exchange.body)) as llm, running_node(LLM_CHAT_URL=llm.url) as node:
        reply = await post(node.port, exchange.path, json.dumps(exchange.request).encode())
    assert (reply.body, reply.is_whole) == (exchange.body, True)


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"])
async def test_comments_pings_blank_lines_and_unknown_events_pass_as_they_are(line_end: bytes) -> None:
    body = line_end.join(
        [
            b": a comment",
            b"",
            b"event: something.new",
            b'data: {"object":"made.up"}',
            b"",
            b'data:{"choices":[{"delta":{"content":"\xc3\xa9"},"finish_reason":"stop"}]}',
            b"id: 7",
            b"retry: 10",
            b"",
            b"",
            b"",
            b"data: [DONE]",
            b"",
            b"",
        ]
    )
    async with FakeLlm() as llm, running_node(LLM_CHAT_URL=llm.url) as node:
        for cut in (1, 7, len(body)):
            pieces = [body[at : at + cut] for at in range(0, len(body), cut)]
            script = (send(stream_head("text/event-stream")), send_each(map(chunk, pieces)), send(LAST_CHUNK))
            llm.answer("/v1/chat/completions", script)
            reply = await post(node.port, "/v1/chat/completions", b'{"model":"m","stream":true}')
            assert (reply.body, reply.is_whole) == (body, True)


async def test_a_large_body_goes_up_byte_for_byte() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"' + b"x" * 9_000_000 + b'"}]}'
    async with FakeLlm() as llm, running_node(LLM_CHAT_URL=llm.url) as node:
        llm.answer("/v1/chat/completions", (send(whole(b'{"choices":[]}')),))
        reply = await post(node.port, "/v1/chat/completions", body)
    assert reply.status == 200
    assert llm.asked("/v1/chat/completions")[0].body == body


# Written from the vendor's documentation, not recorded; streams carry no envelope, and newer models OpenAI's chunks.
CLOUDFLARE_STREAMS = [
    b'data: {"response":"Hi"}\n\ndata: {"response":7}\n\ndata: {"response":"","usage":{}}\n\ndata: [DONE]\n\n',
    b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\ndata: [DONE]\n\n',
    b'data: {"tool_calls":[{"name":"f","arguments":{}}],"response":null}\n\ndata: [DONE]\n\n',
]


@pytest.mark.parametrize("stream", CLOUDFLARE_STREAMS)
async def test_a_stream_of_cloudflares_passes_byte_for_byte_through_the_native_endpoint(stream: bytes) -> None:
    body = rb' {"stream":true,  "model":"@cf/m\u0065ta/x", "prompt":"hi"}'
    async with FakeLlm() as llm, running_node(LLM_CF_URL=f"{llm.url}/accounts/a/ai/run", LLM_CF_TOKEN="t") as node:
        script = (send(stream_head("text/event-stream")), send_each(map(chunk, one_by_one(stream))), send(LAST_CHUNK))
        llm.answer("/accounts/a/ai/run/@cf%2Fmeta%2Fx", script)
        reply = await post(node.port, "/api/v1/chat", body)
    assert llm.requests[-1].body == body
    assert (reply.status, reply.body, reply.is_whole) == (200, stream, True)


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, b'{"result":{"response":"Hi there","usage":{}},"success":true,"errors":[],"messages":[]}'),
        (200, b'{"result":{"response":null,"tool_calls":[{}]},"success":true,"errors":[],"messages":[]}'),
        (400, b'{"result":null,"success":false,"errors":[{"code":5007,"message":"No such model"}],"messages":[]}'),
        (429, b'{"result":null,"success":false,"errors":[{"code":3040,"message":"Busy"}],"messages":[]}'),
    ],
)
async def test_a_whole_answer_of_cloudflares_passes_byte_for_byte(status: int, answer: bytes) -> None:
    async with FakeLlm() as llm, running_node(LLM_CF_URL=f"{llm.url}/accounts/a/ai/run", LLM_CF_TOKEN="t") as node:
        llm.answer("/accounts/a/ai/run/@cf%2Fx", (send(whole(answer, status=status)),))
        reply = await post(node.port, "/v1/api/chat", b'{"model":"@cf/x"}')
    assert (reply.status, reply.body) == (status, answer)
