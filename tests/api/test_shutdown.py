"""SIGTERM and SIGINT: what runs may end, within bounds; nothing new is begun; the exit code is 0.

Covers: `http1.protocol`, `http1.connections`.
"""

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.raw_http import CutShort, Line, chat, get, line_to, post
from tests.api.serving import ServingNode


@pytest.fixture
def talking(tmp_path: Path) -> Iterator[ServingNode]:
    """Its answers take about half a second."""
    with ServingNode(tmp_path, {"DEMO_PIECES_PER_S": "40"}) as running:
        yield running


async def begin_a_stream(line: Line) -> None:
    await line.send(post(chat(stream=True)))
    await line.reader.readuntil(b"data: ")


async def the_rest(line: Line) -> bytes:
    async with asyncio.timeout(10):
        return await line.reader.read()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_what_runs_may_end_nobody_new_is_let_in_and_the_exit_code_is_0(
    talking: ServingNode, number: signal.Signals
) -> None:
    async with line_to(talking.port) as line, line_to(talking.port) as whole:
        async with line_to(talking.port) as idle, line_to(talking.port) as silent:
            assert await idle.is_sane()
            await begin_a_stream(line)
            await whole.send(post(chat()))
            talking.process.send_signal(number)
            assert await idle.is_closed()
            assert await silent.is_closed()
        with pytest.raises(OSError):  # noqa: PT011 - refused, or reset
            async with line_to(talking.port) as late:
                await late.ask(get(b"/healthz"))
        assert (await the_rest(line)).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        assert (await whole.reply()).status == 200
    assert await asyncio.to_thread(talking.process.wait, 5) == 0


async def test_a_stream_that_does_not_end_is_cut_when_the_grace_time_is_over(tmp_path: Path) -> None:
    settings = {"DEMO_PIECES_PER_S": "2"}
    with ServingNode(tmp_path, settings, {"masa_node.node.run.GRACE_S": 0.5}) as node:
        async with line_to(node.port) as line, line_to(node.port) as waiting:
            await begin_a_stream(line)
            await waiting.send(post(chat())[:-1])
            started_s = time.monotonic()
            node.process.send_signal(signal.SIGTERM)
            rest = await the_rest(line)
            assert 0.3 < time.monotonic() - started_s < 4
            assert b'"code":"stopping"' in rest
            assert not rest.endswith(b"0\r\n\r\n")  # a cut stream never looks whole
            reply = await waiting.reply()
            assert (reply.status, reply.error_code) == (503, "stopping")
        assert await asyncio.to_thread(node.process.wait, 5) == 0
        (request,) = node.requests_logged()  # of the other one nothing was asked yet
        assert (request["error"], request["status"]) == ("stopping", 200)
        assert "Traceback" not in node.log


async def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    with ServingNode(tmp_path, {"DEMO_PIECES_PER_S": "3"}) as node:
        async with line_to(node.port) as line:
            await begin_a_stream(line)
            node.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.3)
            node.process.send_signal(signal.SIGTERM)
            with pytest.raises((CutShort, asyncio.IncompleteReadError, ConnectionError)):
                await line.reader.readuntil(b"[DONE]")
        assert await asyncio.to_thread(node.process.wait, 5) == 0
