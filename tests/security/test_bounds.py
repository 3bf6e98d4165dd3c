"""What a caller can make grow, or wait for, has an end: heads, bodies, chunks, silence.

Ollama's gzip bomb, aiohttp's zip bomb and its many tiny chunks; slow heads and slow bodies (slowloris).
"""

import asyncio
import gzip
import zlib

import pytest

from tests.api.raw_http import (
    CHAT,
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
from tests.api.serving import ServingNode

OVER_HEAD = 64 * 1024 + 1
MAX_BODY = 100_000  # of the small node
PADDED = chat(say="x" * (MAX_BODY - len(chat(say=""))))


@pytest.mark.parametrize(
    "body", [gzip.compress(b"\0" * 10_000_000), zlib.compress(chat()), chat()], ids=["bomb", "zlib", "not compressed"]
)
@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"br", b"zstd", b"identity, gzip", b"GZip", b"x"])
@pytest.mark.parametrize("endpoint", [CHAT, b"/api/show"])
async def test_a_compressed_body_is_refused_unread(
    node: ServingNode, body: bytes, coding: bytes, endpoint: bytes
) -> None:
    async with line_to(node.port) as line:
        assert (await line.ask(post(body, b"Content-Encoding: " + coding + b"\r\n", target=endpoint))).status == 415
        assert await line.is_sane()


async def test_two_codings_in_two_headers_are_no_way_around(node: ServingNode) -> None:
    lines = b"Content-Encoding: identity\r\nContent-Encoding: gzip\r\n"
    assert (await ask_once(node.port, post(chat(), lines))).status == 415


async def test_a_body_of_the_largest_size_is_taken(small: ServingNode) -> None:
    assert len(PADDED) == MAX_BODY
    assert (await ask_once(small.port, post(PADDED))).status == 200
    assert (await ask_once(small.port, post_chunked(chunk(PADDED) + LAST_CHUNK))).status == 200


@pytest.mark.parametrize("target", [CHAT, b"/v1/messages", b"/api/chat", b"/api/show", b"/api/v1/chat"])
@pytest.mark.parametrize("is_announced", [True, False])
async def test_a_body_over_the_bound_gets_a_413_that_a_client_which_sends_all_first_can_read(
    small: ServingNode, target: bytes, *, is_announced: bool
) -> None:
    body = PADDED + b" " * 300_000
    raw_request = post(body, target=target) if is_announced else post_chunked(chunk(body) + LAST_CHUNK, target=target)
    async with line_to(small.port) as line:
        await line.send(raw_request)
        reply = await line.reply()
        assert (reply.status, reply.header("connection")) == (413, "close")  # answered before the body was all here
        assert await line.is_closed()


async def test_413_can_be_read_before_connection_close_too(small: ServingNode) -> None:
    raw_request = post(PADDED + b" " * 400_000, b"Connection: close\r\n")
    async with line_to(small.port) as line:
        await line.send(*(raw_request[at : at + 10_000] for at in range(0, len(raw_request), 10_000)))
        assert (await line.reply()).status == 413
        assert await line.is_closed()


async def test_what_comes_after_a_413_is_bounded_too(small: ServingNode) -> None:
    async with line_to(small.port) as line:
        assert (await line.ask(head(b"POST", CHAT, b"Content-Length: 100000000000\r\n"))).status == 413
        await line.send(*[b"x" * 100_000] * 10)
        assert await line.is_closed()


@pytest.mark.parametrize(
    "raw_request",
    [
        get(b"/" + b"x" * OVER_HEAD),
        get(b"/healthz", b"X: " + b"y" * OVER_HEAD + b"\r\n"),
        get(b"/healthz", b"X-" + b"y" * OVER_HEAD + b": z\r\n"),
        get(b"/healthz", b"".join(b"X-%d: y\r\n" % n for n in range(200))),
        get(b"/healthz", b"X: y\r\n" * 20_000),
        get(b"/healthz", b"Host: localhost\r\n" * 200),
    ],
    ids=["target", "value", "name", "200 headers", "20 000 headers", "200 hosts"],
)
@pytest.mark.parametrize("is_complete", [True, False])
async def test_a_head_over_the_bound_is_refused(node: ServingNode, raw_request: bytes, *, is_complete: bool) -> None:
    async with line_to(node.port) as line:
        reply = await line.ask(raw_request if is_complete else raw_request[:-2])
        assert (reply.status, reply.error_code) == (431, "head_too_large")
        assert await line.is_closed()


async def test_a_head_without_end_is_refused_also_while_one_header_grows(node: ServingNode) -> None:
    async with line_to(node.port) as line:
        await line.send(b"GET / HTTP/1.1\r\nX: ")
        for _ in range(600):
            await line.send(b"y" * 1024)
            await asyncio.sleep(0)
        assert (await line.reply()).status == 431
        assert await line.is_closed()


async def test_100_headers_are_taken(node: ServingNode) -> None:
    """Browsers and proxies send up to about 40."""
    lines = b"".join(b"X-%d: %s\r\n" % (n, b"y" * 300) for n in range(100))
    assert (await ask_once(node.port, get(b"/healthz", lines))).status == 200


@pytest.mark.parametrize(
    "raw_request",
    [
        post_chunked(chunk(b" ") * 20_000),
        post_chunked(b"1;" + b"x" * 1_000_000),
        post_chunked(b"0" * 1_000_000),
        post_chunked(chunk(chat()) + b"0\r\n" + b"X: y\r\n" * 200_000),
        post_chunked(chunk(chat()) + b"0\r\nX: " + b"y" * 1_000_000),
        post_chunked(b"".join(b"1;%b\r\n \r\n" % (b"x" * 900) for _ in range(1000))),
    ],
    ids=["tiny chunks", "extension", "zeros", "trailers", "trailer", "extensions"],
)
async def test_chunks_cost_no_more_than_their_content(node: ServingNode, raw_request: bytes) -> None:
    async with line_to(node.port) as line:
        await line.send(*(raw_request[at : at + 50_000] for at in range(0, len(raw_request), 50_000)))
        assert (await line.reply()).status == 400
        assert await line.is_closed()


async def test_a_large_body_in_small_chunks_is_taken(node: ServingNode) -> None:
    """What a client library sends that is given an iterator of short lines."""
    body = chat(say="x" * 2_000_000)
    chunks = b"".join(chunk(body[at : at + 80]) for at in range(0, len(body), 80))
    assert (await ask_once(node.port, post_chunked(chunks + LAST_CHUNK))).status == 200
