"""A caller that is slow, or silent, is not waited for; one that is slow because the answer takes its time is."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.api.raw_http import (
    CHAT,
    Reply,
    chat,
    chunk,
    get,
    head,
    line_to,
    post,
    post_chunked,
)
from tests.api.recording_server import COMPLETION, OLLAMA_MODEL, RecordingServer, as_openai, response
from tests.api.serving import ServingNode

A_HEAD = get(b"/healthz")
HUGE_CHUNK = b"ffffffffffffffff\r\n{}"  # lawful, never allocated: only what comes is counted


async def the_end_of(node: ServingNode, *parts: bytes, answered: int = 1) -> Reply | None:
    """Send these and nothing more: the last of so many replies, after which the connection must be closed."""
    reply = None
    async with line_to(node.port) as line:
        await line.send(*parts)
        for _ in range(answered):
            reply = await line.reply()
        assert await line.is_closed()
    return reply


async def statuses(node: ServingNode, requests: Sequence[bytes], *, answered: int = 1) -> list[int]:
    """The same for several at once."""
    replies = await asyncio.gather(*(the_end_of(node, request, answered=answered) for request in requests))
    return [reply.status for reply in replies if reply is not None]


async def test_a_silent_connection_is_closed(impatient: ServingNode) -> None:
    assert await the_end_of(impatient, answered=0) is None


async def test_blank_lines_are_silence_too(impatient: ServingNode) -> None:
    assert await the_end_of(impatient, b"\r\n", b"\r\n", answered=0) is None


async def test_a_head_that_does_not_come_is_not_waited_for(impatient: ServingNode) -> None:
    heads = [b"G", b"GET / HTTP/1.1\r\n", A_HEAD[:-2], post(chat())[:40]]
    assert await statuses(impatient, heads) == [408] * 4


async def test_nor_is_it_on_a_used_connection(impatient: ServingNode) -> None:
    assert await statuses(impatient, [A_HEAD + A_HEAD[:-2]], answered=2) == [408]


async def test_dripping_does_not_lengthen_the_time_for_a_head(impatient: ServingNode) -> None:
    async with line_to(impatient.port) as line:
        await line.send(A_HEAD[:-2])
        for _ in range(200):
            await line.send(b"X: y\r\n")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    assert (await line.reader.read(4096)).startswith(b"HTTP/1.1 408 ")
                    return
    pytest.fail("10 s, and still no answer")


async def test_a_body_that_does_not_come_is_not_waited_for(impatient: ServingNode) -> None:
    begun = [post(chat())[:-1], post(chat())[: -len(chat())], post_chunked(b""), post_chunked(chunk(b"{"))]
    begun.append(post_chunked(HUGE_CHUNK))
    begun += [request.replace(CHAT, b"/api/show", 1) for request in begun]
    assert await statuses(impatient, begun) == [408] * 10


async def test_the_rest_of_a_body_that_was_answered_is_not_waited_for(impatient: ServingNode) -> None:
    begun = [post(chat(), target=b"/nowhere")[:-1], head(b"GET", b"/nowhere", b"Content-Length: 9\r\n")]
    assert await statuses(impatient, begun) == [404, 404]


async def test_an_idle_connection_is_closed(impatient: ServingNode) -> None:
    requests = [A_HEAD, post(chat()), A_HEAD + b"\r\n", A_HEAD + b"\r\n\r\n"]
    assert await statuses(impatient, requests) == [200] * 4


async def test_blank_lines_after_an_answer_do_not_keep_a_connection_for_ever(impatient: ServingNode) -> None:
    async with line_to(impatient.port) as line:
        assert await line.is_sane()
        await line.send(b"\r\n")
        assert await line.is_closed()


async def test_a_connection_whose_body_was_dropped_is_closed_when_idle(impatient: ServingNode) -> None:
    request = post(chat(), target=b"/nowhere")
    async with line_to(impatient.port) as line:
        assert (await line.ask(request[:-1])).status == 404
        await line.send(request[-1:])
        assert await line.is_closed()


async def test_a_long_answer_is_not_cut_by_the_time_for_heads(impatient: ServingNode) -> None:
    async with line_to(impatient.port) as line:
        assert (await line.ask(post(chat(stream=True)))).body.endswith(b"data: [DONE]\n\n")


async def test_half_a_request_sent_in_advance_does_not_cut_the_answer(impatient: ServingNode) -> None:
    async with line_to(impatient.port) as line:
        await line.send(post(chat(stream=True)) + A_HEAD[:-2])
        await asyncio.sleep(0.4)
        await line.send(b"\r\n")
        assert (await line.reply()).body.endswith(b"data: [DONE]\n\n")
        assert (await line.reply()).status == 200


def test_an_answer_that_is_not_taken_is_not_kept_for_ever(tmp_path: Path) -> None:
    """A caller that asks for much and reads nothing would hold it in our memory as long as they like."""
    big = COMPLETION | {"padding": "x" * 20_000_000}
    constants = {"masa_node.api.http1.protocol.FLUSH_STALL_S": 0.3, "masa_node.node.server.KEEP_ALIVE_S": 0.3}
    with RecordingServer(lambda raw: response(200, big) if b"/chat/completions " in raw else as_openai(raw)) as llm:
        settings = {"DEMO": "", "LLM_CHAT_URL": f"{llm.url}/v1/chat/completions"}
        with ServingNode(tmp_path, settings, constants) as node, contextlib.ExitStack() as lines:
            for ending in (b"", b"Connection: close\r\n"):
                line = lines.enter_context(socket.create_connection(("127.0.0.1", node.port)))
                line.sendall(post(chat(OLLAMA_MODEL), ending))
            node.requests_logged(2)
            give_up_at_s = time.monotonic() + 5
            while established_at(node.port):
                assert time.monotonic() < give_up_at_s
                time.sleep(0.05)


def established_at(port: int) -> list[str]:
    """The connections that the node holds."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [row[2] for row in rows if row[3] == "01" and row[1] == f"0100007F:{port:04X}"]
