"""Any bytes, in any pieces: an answer or the end of the connection, never a 500, never a hang, never a dead server."""

import asyncio
import re
import time
from collections.abc import Iterable

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.api.raw_http import CHAT, CHUNKED, LAST_CHUNK, LOCALHOST, chat, chunk, get, head, line_to, post, post_chunked
from tests.api.serving import ServingNode

STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")
ENOUGH_S = 3.0
LAWFUL = {100, 200, 204, 400, 401, 403, 404, 405, 408, 413, 415, 417, 431}

# What requests are made of, and what makes parsers disagree.
TOKENS = st.sampled_from(
    [
        *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\n\n", b" ", b"\t", b"\0", b"\x0b", b"\xff", b":", b";", b",", b"%"),
        *(
            b"GET ",
            b"POST ",
            b"HEAD ",
            b"OPTIONS ",
            b"CONNECT ",
            b"PRI ",
            b"/",
            b"/healthz",
            b"/v1/models/",
            CHAT,
            b"*",
        ),
        *(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/2.0\r\n", b" HTTP/1.1\n", b"http://localhost/", LOCALHOST),
        *(b"Host: ", b"Content-Length: ", b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", CHUNKED, LAST_CHUNK),
        *(b"Connection: close\r\n", b"Connection: Upgrade\r\n", b"Upgrade: h2c\r\n", b"Expect: 100-continue\r\n"),
        *(
            b"Transfer-Encoding: ",
            b"chunked",
            b"identity",
            b"gzip",
            b"0",
            b"5",
            b"ffffffff",
            b"hello",
            b"{}",
            b"x" * 300,
        ),
        *(get(b"/healthz"), post(chat()), post(b"{}"), post_chunked(chunk(chat()) + LAST_CHUNK), chat()),
    ]
)
STREAMS = st.lists(TOKENS | st.binary(max_size=20), min_size=1, max_size=25).map(b"".join)
VALID = st.sampled_from(
    [
        get(b"/healthz"),
        get(b"/v1/models"),
        post(chat()),
        post(chat(stream=True)),
        post_chunked(chunk(chat()) + LAST_CHUNK),
        post(chat(), b"Connection: Upgrade\r\nUpgrade: h2c\r\n"),
        post(chat(), b"Expect: 100-continue\r\n"),
        head(b"OPTIONS", CHAT, b"Origin: http://localhost\r\nAccess-Control-Request-Method: POST\r\n"),
    ]
)
FUZZ = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


async def answers_to(node: ServingNode, pieces: Iterable[bytes]) -> list[int]:
    """Send these, say that nothing more comes, and give the statuses of what comes until the connection ends."""
    started_s = time.monotonic()
    async with line_to(node.port) as line:
        await line.send(*pieces)
        try:
            line.writer.write_eof()
            async with asyncio.timeout(ENOUGH_S):
                came = await line.reader.read()
        except OSError:  # it was closed before we did
            came = b""
    assert time.monotonic() - started_s < ENOUGH_S
    return [int(status) for status in STATUS.findall(came)]


@FUZZ
@given(STREAMS)
async def test_any_tokens_get_lawful_answers(node: ServingNode, raw: bytes) -> None:
    assert set(await answers_to(node, [raw])) <= LAWFUL


@FUZZ
@given(VALID, st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=3), st.integers(0, 3)), max_size=3))
@example(post(chat()), [])
async def test_a_request_with_a_few_bytes_changed_gets_a_lawful_answer(
    node: ServingNode, raw: bytes, changes: list[tuple[int, bytes, int]]
) -> None:
    for at, new, dropped in changes:
        at %= len(raw)  # noqa: PLW2901
        raw = raw[:at] + new + raw[at + dropped :]
    assert set(await answers_to(node, [raw])) <= LAWFUL


@FUZZ
@given(VALID, st.lists(st.integers(1, 400), max_size=5))
async def test_a_request_in_any_pieces_is_answered_alike(node: ServingNode, raw: bytes, cuts: list[int]) -> None:
    async with line_to(node.port) as line:
        for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), None], strict=True):
            await line.send(raw[start:end])
            await asyncio.sleep(0)
        reply = await line.reply()
        if reply.status == 100:
            reply = await line.reply()
        assert reply.status in (200, 204)


async def test_it_is_alive_after_all_that(node: ServingNode) -> None:
    async with line_to(node.port) as line:
        assert await line.is_sane()
    assert node.process.poll() is None
    assert '"bug"' not in node.log
