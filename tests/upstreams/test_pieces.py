"""Pieces are passed on when they come, no faster than the caller takes them.

Covers: `upstream`, `http.client`.
"""

import asyncio
import gc
import tracemalloc
from collections.abc import Callable

import pytest

from tests.fakes.dialect_samples import OPENAI, SAMPLES, DialectSample
from tests.fakes.http_bytes import LAST_CHUNK, chunk, stream_head
from tests.fakes.llm_server import Line, Script, Step, flood, send, stands_still, wait_for
from tests.fakes.raw_http import calling, post, request
from tests.fakes.running import node_before

every_dialect = pytest.mark.parametrize("speech", SAMPLES, ids=str)
SMALL_BYTES = 16 * 1024
LOOK_S = 0.05


@every_dialect
@pytest.mark.parametrize("endpoint", ["", "/api/v1/chat"], ids=["own endpoint", "native endpoint"])
async def test_the_caller_has_a_piece_before_the_server_makes_the_next(speech: DialectSample, endpoint: str) -> None:
    made = [asyncio.Event() for _ in speech.frames]
    steps: list[Step] = [send(stream_head(speech.content_type))]
    for event, frame in zip(made, speech.frames, strict=True):
        steps += [wait_for(event), send(chunk(frame))]
    async with (
        node_before(speech, *steps, send(LAST_CHUNK)) as (_, node),
        calling(node.port, request(endpoint or speech.endpoint, speech.ask())) as call,
    ):
        made[0].set()
        await call.read_head()
        assert await call.read_chunk() == speech.frames[0]
        for event, frame in zip(made[1:], speech.frames[1:], strict=True):
            event.set()
            assert await call.read_chunk() == frame
        assert await call.read_chunk() == b""


@every_dialect
async def test_a_frame_that_comes_in_two_halves_waits_for_the_second(speech: DialectSample) -> None:
    second_half = asyncio.Event()
    frame, rest = speech.frames[1], speech.frames[2:]
    script = (
        send(speech.begun(chunk(frame[:-4]))),
        wait_for(second_half),
        send(chunk(frame[-4:]) + b"".join(map(chunk, rest)) + LAST_CHUNK),
    )
    async with (
        node_before(speech, *script) as (_, node),
        calling(node.port, request(speech.endpoint, speech.ask())) as call,
    ):
        await call.read_head()
        assert await call.read_chunk() == speech.first
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await call.read_chunk()
        second_half.set()
        reply = await call.read_rest()
    assert (reply.body, reply.is_whole) == (b"".join(speech.frames), True)


def endless(speech: DialectSample, after: Callable[[int], None] = lambda _: None) -> Script:
    """A stream of frames of 20 kB that never ends."""
    frame = next(frame for frame in speech.frames if b'lo"' in frame)
    return (send(speech.begun()), flood(chunk(frame.replace(b'lo"', b"lo" + b"x" * 20_000 + b'"')), after))


@every_dialect
async def test_a_caller_who_does_not_read_stops_the_server_and_fills_no_memory(speech: DialectSample) -> None:
    sent: list[int] = []
    async with node_before(speech, *endless(speech, sent.append)) as (llm, node):
        asked = request(speech.endpoint, speech.ask())
        async with calling(node.port, asked, receive_buffer_bytes=SMALL_BYTES) as call:
            await call.read_head()
            stopped_bytes = await stands_still(sent)
            tracemalloc.start()
            await asyncio.sleep(2 * LOOK_S)
            gc.collect()
            grown_bytes, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert sent[-1] == stopped_bytes
            assert stopped_bytes < 20_000_000  # what the kernel's buffers on the way take, 4 MB a socket at most
            assert grown_bytes < 500_000
            for _ in range(20):
                await call.read_chunk()
        await llm.until(lambda: llm.departures == 1)


async def test_a_caller_who_never_reads_again_is_given_up_and_the_server_freed() -> None:
    asked = request(OPENAI.endpoint, OPENAI.ask())
    async with (
        node_before(OPENAI, *endless(OPENAI), LLM_IDLE_TIMEOUT="0.15") as (llm, node),
        calling(node.port, asked, receive_buffer_bytes=SMALL_BYTES) as call,
    ):
        await call.read_head()
        await llm.until(lambda: llm.departures == 1)
        await llm.until(lambda: node.node.admission.running == 0)


async def test_a_stream_that_breaks_under_a_caller_who_never_reads_again_gives_its_place_back() -> None:
    asked = request(OPENAI.endpoint, OPENAI.ask())
    sent: list[int] = []
    async with (
        node_before(OPENAI, *endless(OPENAI, sent.append), LLM_IDLE_TIMEOUT="0.3") as (llm, node),
        calling(node.port, asked, receive_buffer_bytes=SMALL_BYTES) as call,
    ):
        await call.read_head()
        await stands_still(sent)
        await llm.stop()
        await llm.until(lambda: node.node.admission.running == 0)


async def test_a_slow_caller_does_not_slow_his_neighbour() -> None:
    sent: list[int] = []
    async with node_before(OPENAI) as (llm, node):
        llm.answer(OPENAI.endpoint, endless(OPENAI, sent.append), (send(OPENAI.stream),))
        asked = request(OPENAI.endpoint, OPENAI.ask())
        async with calling(node.port, asked, receive_buffer_bytes=SMALL_BYTES) as call:
            await call.read_head()
            await stands_still(sent)
            for _ in range(10):
                reply = await post(node.port, OPENAI.endpoint, OPENAI.ask())
                assert (reply.body, reply.is_whole) == (b"".join(OPENAI.frames), True)


async def test_a_huge_frame_passes_whole() -> None:
    huge = OPENAI.frames[1].replace(b'lo"', b"lo" + b"x" * 3_000_000 + b'"')
    frames = (OPENAI.first, huge, *OPENAI.frames[2:])
    async with node_before(OPENAI, send(OPENAI.begun(*map(chunk, frames[1:]), LAST_CHUNK))) as (_, node):
        reply = await post(node.port, OPENAI.endpoint, OPENAI.ask())
    assert (reply.body, reply.is_whole) == (b"".join(frames), True)


async def test_a_stream_may_take_longer_than_both_timers_as_long_as_it_goes_on() -> None:
    async def slowly(line: Line) -> None:
        for _ in range(8):
            await asyncio.sleep(0.15)
            await line.write(chunk(OPENAI.frames[1]))

    ending = send(chunk(OPENAI.frames[2]) + chunk(OPENAI.frames[3]) + LAST_CHUNK)
    timers = {"LLM_TIMEOUT": "1", "LLM_IDLE_TIMEOUT": "1"}  # much longer than a pause, as the machine has its own, too
    async with node_before(OPENAI, send(OPENAI.begun()), slowly, ending, **timers) as (_, node):
        reply = await post(node.port, OPENAI.endpoint, OPENAI.ask())
    assert reply.is_whole
    assert reply.body.count(b"data:") == 11
