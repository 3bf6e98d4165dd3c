"""A caller that goes away frees the server within a second, whatever it is doing at that time.

Covers: `upstream`, `http.client`, `http.connection`.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.fakes.dialect_samples import OPENAI, SAMPLES, DialectSample
from tests.fakes.http_bytes import chunk, head, stream_head
from tests.fakes.llm_server import Step, flood, send, stall
from tests.fakes.raw_http import Call, calling, request
from tests.fakes.running import node_before, running_node

every_dialect = pytest.mark.parametrize("speech", SAMPLES, ids=str)
WITHIN_S = 10.0  # on a busy machine; an LLM that is not left is waited for 30 s

BEFORE = [
    pytest.param((stall,), id="before any byte"),
    pytest.param((send(b"HTTP/1.1 200 OK\r\n"), stall), id="in the head"),
    pytest.param((send(stream_head("text/event-stream")), stall), id="after the head"),
    pytest.param((send(stream_head("text/event-stream") + chunk(b"data: ")), stall), id="in the first frame"),
    pytest.param((send(head(200, [("Content-Length", "90")]) + b"{"), stall), id="in a whole body"),
    pytest.param((send(head(500, [("Content-Length", "90")]) + b"{"), stall), id="in an error's body"),
]


@every_dialect
@pytest.mark.parametrize("script", BEFORE)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_a_caller_gone_before_the_first_piece_frees_the_server(
    speech: DialectSample, script: tuple[Step, ...], *, stream: bool
) -> None:
    asked = request(speech.endpoint, speech.ask(stream=stream))
    async with node_before(speech, *script) as (llm, node):
        async with calling(node.port, asked):
            await llm.until(lambda: len(llm.asked(speech.endpoint)) == 1)
            await asyncio.sleep(0.01)
            assert llm.departures == 0
        await llm.until(lambda: llm.departures == 1, WITHIN_S)
        await llm.until(lambda: node.node.admission.running == 0, WITHIN_S)


@every_dialect
@pytest.mark.parametrize("busy", [True, False], ids=["sending", "silent"])
async def test_a_caller_gone_in_a_stream_frees_the_server(speech: DialectSample, *, busy: bool) -> None:
    more = flood(chunk(speech.frames[1])) if busy else stall
    async with node_before(speech, send(speech.begun()), more) as (llm, node):
        async with calling(node.port, request(speech.endpoint, speech.ask())) as call:
            await call.read_head()
            await call.read_chunk()
            assert llm.departures == 0
        await llm.until(lambda: llm.departures == 1, WITHIN_S)
        await llm.until(lambda: node.node.admission.running == 0, WITHIN_S)


async def half_close(call: Call) -> None:
    call.writer.write_eof()


async def send_junk(call: Call) -> None:
    call.writer.write(b"\x00\x00\x00\r\n\r\n")


@pytest.mark.parametrize("leave", [half_close, send_junk])
async def test_a_caller_who_breaks_off_otherwise_frees_the_server_as_well(
    leave: Callable[[Call], Awaitable[None]],
) -> None:
    asked = request(OPENAI.endpoint, OPENAI.ask())
    async with node_before(OPENAI, send(OPENAI.begun()), stall) as (llm, node), calling(node.port, asked) as call:
        await call.read_head()
        await leave(call)
        await llm.until(lambda: llm.departures == 1, WITHIN_S)


async def test_one_of_two_callers_gone_leaves_the_other_his_answer() -> None:
    asked = request(OPENAI.endpoint, OPENAI.ask())
    slowly = flood(chunk(OPENAI.frames[1]))
    async with (
        node_before(OPENAI, send(OPENAI.begun()), slowly) as (llm, node),
        calling(node.port, asked) as staying,
    ):
        async with calling(node.port, asked) as leaving:
            await leaving.read_head()
            await staying.read_head()
            await leaving.read_chunk()
        await llm.until(lambda: llm.departures == 1, WITHIN_S)
        for _ in range(100):
            assert await staying.read_chunk()
        assert llm.departures == 1


async def test_callers_who_come_and_go_leave_no_connection_behind() -> None:
    asked = request(OPENAI.endpoint, OPENAI.ask())

    async def come_and_go(port: int, turns: int) -> None:
        async with calling(port, asked):
            for _ in range(turns):
                await asyncio.sleep(0)

    async with node_before(OPENAI, send(OPENAI.begun()), stall) as (llm, node):
        for turns in range(0, 60, 3):
            await asyncio.gather(*(come_and_go(node.port, turns + more) for more in range(3)))
        await llm.until(lambda: llm.open == 0, WITHIN_S)
        await llm.until(lambda: node.node.admission.running == 0, WITHIN_S)
        assert node.node.admission.waiting == 0


async def test_a_caller_who_waits_for_a_slot_and_goes_never_reaches_the_server() -> None:
    asked = request(OPENAI.endpoint, OPENAI.ask())
    async with node_before(OPENAI, send(OPENAI.begun()), stall, MAX_CONCURRENT="1") as (llm, node):
        async with calling(node.port, asked) as first:
            await first.read_head()
            async with calling(node.port, asked):
                await llm.until(lambda: node.node.admission.waiting == 1)
            await llm.until(lambda: node.node.admission.waiting == 0, WITHIN_S)
        await llm.until(lambda: node.node.admission.running == 0, WITHIN_S)
        assert len(llm.asked(OPENAI.endpoint)) == 1


async def test_a_caller_gone_while_the_server_is_asked_what_it_is_frees_it() -> None:
    async with OPENAI.fake(stall) as llm:
        llm.answer("/api/version", (stall,))
        async with running_node(settled=False, LLM_CHAT_URL=llm.url, LLM_TIMEOUT="5") as node:
            async with calling(node.port, request(OPENAI.endpoint, OPENAI.ask())):
                await llm.until(lambda: node.node.admission.running == 1)
            await llm.until(lambda: node.node.admission.running == 0, WITHIN_S)
