"""What is unusual, but HTTP/1.1: it is answered properly, and the connection stays in step or is closed."""

import asyncio
import socket
from pathlib import Path

import pytest

from tests.api.raw_http import (
    CHAT,
    CHUNKED,
    LAST_CHUNK,
    ask_once,
    chat,
    chunk,
    get,
    head,
    line_to,
    post,
    post_chunked,
)
from tests.api.recording_server import OLLAMA_MODEL, RecordingServer, as_openai
from tests.api.serving import ServingNode
from tests.security.conftest import KEY

H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
WEBSOCKET = b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
LOOKS_LIKE_A_REQUEST = get(b"/healthz")


@pytest.mark.parametrize("offer", [H2C, WEBSOCKET, H2C + H2C], ids=["h2c", "websocket", "twice"])
@pytest.mark.parametrize(
    "raw_request", [post(chat(), b"%b"), post_chunked(chunk(chat()) + LAST_CHUNK, CHUNKED + b"%b")]
)
async def test_an_offered_upgrade_is_ignored_and_the_body_kept(
    node: ServingNode, raw_request: bytes, offer: bytes
) -> None:
    """Java's HttpClient offers h2c with its first POST. httptools takes the body for bytes of the other protocol."""
    async with line_to(node.port) as line:
        reply = await line.ask(raw_request.replace(b"%b", offer))
        assert (reply.status, reply.json()["model"]) == (200, "masa-demo")
        assert await line.is_sane()


async def test_the_body_of_an_upgrade_is_never_a_request(node: ServingNode) -> None:
    raw_request = post(LOOKS_LIKE_A_REQUEST, H2C)
    at = len(raw_request) - len(LOOKS_LIKE_A_REQUEST)
    async with line_to(node.port) as line:
        await line.send(raw_request[:at])
        await asyncio.sleep(0.05)  # so that the body comes in a read of its own
        reply = await line.ask(raw_request[at:])
        assert (reply.status, reply.error_code) == (400, "bad_json")
        assert await line.is_sane()


async def test_an_upgrade_is_ignored_byte_by_byte_too(node: ServingNode) -> None:
    raw_request = post(chat(), H2C)
    async with line_to(node.port) as line:
        await line.send(*(raw_request[at : at + 1] for at in range(len(raw_request))))
        assert (await line.reply()).status == 200
        assert await line.is_sane()


async def test_a_get_with_an_upgrade_is_just_a_get(node: ServingNode) -> None:
    async with line_to(node.port) as line:
        await line.send(get(b"/healthz", WEBSOCKET) + get(b"/healthz", H2C) + get(b"/readyz"))
        assert [(await line.reply()).status for _ in range(3)] == [200, 200, 200]


async def test_the_body_is_asked_for_and_the_connection_then_closed(node: ServingNode) -> None:
    raw_request = post(chat(), b"Expect: 100-continue\r\n")
    at = raw_request.index(b"\r\n\r\n") + 4
    async with line_to(node.port) as line:
        assert (await line.ask(raw_request[:at])).status == 100
        assert (await line.ask(raw_request[at:])).status == 200
        assert await line.is_closed()


async def test_a_body_that_was_not_asked_for_cannot_be_mistaken(guarded: ServingNode) -> None:
    """After an answer instead of `100 Continue` nobody knows whether the body still comes: the connection ends."""
    async with line_to(guarded.port) as line:
        reply = await line.ask(post(LOOKS_LIKE_A_REQUEST, b"Expect: 100-continue\r\n"))
        assert (reply.status, reply.header("connection")) == (401, "close")
        assert await line.is_closed()


async def test_no_body_is_asked_for_after_a_refusal(node: ServingNode) -> None:
    """The fuzz found it: `100 Continue` on a connection that was being closed."""
    async with line_to(node.port) as line:
        await line.send(head(b"POST", CHAT, b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n") + b"x\r\n")
        assert (await line.reply()).status == 400
        assert await line.is_closed()


@pytest.mark.parametrize("line_of_trailer", [b"Authorization: Bearer " + KEY.encode(), b"X-Api-Key: " + KEY.encode()])
async def test_a_trailer_is_no_header(guarded: ServingNode, line_of_trailer: bytes) -> None:
    async with line_to(guarded.port) as line:
        reply = await line.ask(post_chunked(chunk(chat()) + b"0\r\n" + line_of_trailer + b"\r\n\r\n"))
        assert reply.status == 401


async def test_a_trailer_harms_nothing(node: ServingNode) -> None:
    async with line_to(node.port) as line:
        body = chunk(chat()) + b"0\r\nHost: evil.example\r\nContent-Encoding: gzip\r\n\r\n"
        assert (await line.ask(post_chunked(body))).status == 200
        assert await line.is_sane()


@pytest.mark.parametrize(
    "body",
    [
        chunk(chat())[:-2].replace(b"\r\n", b";name=value\r\n", 1) + b"\r\n" + LAST_CHUNK,
        chunk(chat()).replace(b"\r\n", b';name="v;a l"\r\n', 1) + LAST_CHUNK,
        b"000" + chunk(chat()) + LAST_CHUNK,
        b"".join(chunk(bytes([byte])) for byte in chat()) + LAST_CHUNK,
        chunk(chat()).replace(b"\r\n", b"\r\n", 1).upper()[:4] + chunk(chat())[4:] + LAST_CHUNK,
    ],
    ids=["extension", "quoted extension", "leading zeros", "a byte each", "upper case size"],
)
async def test_a_lawful_chunked_body_is_taken(node: ServingNode, body: bytes) -> None:
    async with line_to(node.port) as line:
        assert (await line.ask(post_chunked(body))).status == 200
        assert await line.is_sane()


async def test_blank_lines_before_a_request_are_skipped(node: ServingNode) -> None:
    async with line_to(node.port) as line:
        assert (await line.ask(b"\r\n\r\n" + get(b"/healthz"))).status == 200
        assert (await line.ask(b"\r\n" + get(b"/healthz"))).status == 200


async def test_requests_sent_in_advance_are_answered_in_order(node: ServingNode) -> None:
    async with line_to(node.port) as line:
        await line.send(post(chat(stream=True)) + get(b"/healthz") + post(chat()) + get(b"/nowhere"))
        assert [(await line.reply()).status for _ in range(4)] == [200, 200, 200, 404]
        assert await line.is_sane()


async def test_too_many_requests_in_advance_are_refused(node: ServingNode) -> None:
    async with line_to(node.port) as line:
        await line.send(get(b"/healthz") * 1000)
        statuses = [(await line.reply()).status]
        while statuses[-1] == 200:
            statuses.append((await line.reply()).status)
        assert statuses[-1] == 400
        assert len(statuses) <= 17
        assert await line.is_closed()


async def test_nothing_is_answered_after_connection_close(node: ServingNode) -> None:
    async with line_to(node.port) as line:
        reply = await line.ask(get(b"/healthz", b"Connection: close\r\n") + get(b"/healthz") * 3)
        assert (reply.status, reply.header("connection")) == (200, "close")
        assert await line.is_closed()


async def test_the_body_of_a_get_is_not_the_next_request(node: ServingNode) -> None:
    async with line_to(node.port) as line:
        length = b"Content-Length: %d\r\n" % len(LOOKS_LIKE_A_REQUEST)
        assert (await line.ask(get(b"/nowhere", length) + LOOKS_LIKE_A_REQUEST)).status == 404
        assert await line.is_sane()


async def test_head_gets_no_body(node: ServingNode) -> None:
    async with line_to(node.port) as line:
        for target, status in ((b"/", 200), (b"/api/tags", 200), (b"/metrics", 200), (b"/nowhere", 404), (CHAT, 405)):
            await line.send(head(b"HEAD", target))
            assert (await line.reply(to_head=True)).status == status
        assert await line.is_sane()


async def test_http_1_0_gets_a_whole_answer_and_the_end(node: ServingNode) -> None:
    async with line_to(node.port) as line:
        await line.send(post(chat()).replace(b"HTTP/1.1", b"HTTP/1.0", 1) + get(b"/healthz"))
        assert (await line.reply()).status == 200
        assert await line.is_closed()


async def test_http_1_0_needs_no_host(node: ServingNode) -> None:
    """RFC 1945 has none. HAProxy's `option httpchk GET /healthz` sends nothing else."""
    assert (await ask_once(node.port, b"GET /healthz HTTP/1.0\r\n\r\n")).status == 200
    assert (await ask_once(node.port, b"GET /healthz HTTP/1.0\r\nHost: evil.example\r\n\r\n")).status == 403
    assert (await ask_once(node.port, b"GET /healthz HTTP/1.0\r\nOrigin: https://evil.example\r\n\r\n")).status == 403
    assert (await ask_once(node.port, b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n")).status == 400


async def test_http_1_0_gets_a_stream_without_chunks(node: ServingNode) -> None:
    """RFC 9112, 6.1: no Transfer-Encoding to HTTP/1.0. nginx speaks that to its upstreams unless told otherwise."""
    async with line_to(node.port) as line:
        reply = await line.ask(post(chat(stream=True)).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
        assert reply.header("transfer-encoding") is None
        assert reply.body.startswith(b"data: {")
        assert reply.body.endswith(b"data: [DONE]\n\n")


async def test_http_1_0_gets_no_clean_end_of_a_cut_stream(tmp_path: Path) -> None:
    """Without chunks only a reset tells that it was cut."""
    head_of_stream = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    piece = b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}\n\n'
    with RecordingServer(lambda raw: head_of_stream + piece if b"/chat/completions " in raw else as_openai(raw)) as llm:
        llm.hangs_up = True
        with ServingNode(tmp_path, {"DEMO": "", "LLM_CHAT_URL": f"{llm.url}/v1/chat/completions"}) as running:
            async with line_to(running.port) as line:
                await line.send(post(chat(OLLAMA_MODEL, stream=True)).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
                with pytest.raises(ConnectionResetError):
                    await line.reader.read()


async def test_a_url_as_target_is_taken_if_it_names_this_host(node: ServingNode) -> None:
    async with line_to(node.port) as line:
        assert (await line.ask(head(target=b"http://localhost/healthz"))).json() == {"status": "ok"}
        assert (await line.ask(head(target=b"HTTP://LOCALHOST"))).status == 200
        assert (await line.ask(head(target=b"http://localhost?x"))).status == 200


async def test_a_caller_who_resets_leaves_nothing_behind(node: ServingNode) -> None:
    for asked in (b"", b"GET / HT", post(chat())[:-5], post(chat(stream=True))):
        with socket.create_connection(("127.0.0.1", node.port)) as line:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            line.sendall(asked)
    async with line_to(node.port) as line:
        assert await line.is_sane()
