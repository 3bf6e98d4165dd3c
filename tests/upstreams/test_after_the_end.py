"""After the terminal frame: the caller that closes then was served, and is told of no fault of the LLM any more.

Covers: `upstream`, `http.client`.
"""

import asyncio

import pytest

from masa_node.chat.outcome import Outcome
from tests.fakes.dialect_samples import OPENAI, SAMPLES, DialectSample
from tests.fakes.http_bytes import chunk, stream_head
from tests.fakes.llm_server import Step, close, reset, send, stall, until
from tests.fakes.raw_http import post, request
from tests.fakes.running import running_node

every_dialect = pytest.mark.parametrize("speech", SAMPLES, ids=str)


def all_but_the_end(speech: DialectSample, *, last: int | None = None) -> bytes:
    """A response with all frames, or all but the last one, and no end of the body."""
    return stream_head(speech.content_type) + b"".join(chunk(frame) for frame in speech.frames[:last])


async def left_after(speech: DialectSample, answer: bytes, last_frame: bytes) -> Outcome:
    """What the node says of a caller that closes as soon as it has read this frame."""
    outcomes: list[Outcome] = []
    async with speech.fake(send(answer), stall) as llm, running_node(**speech.settings(llm.url)) as running:
        running.node.dispatcher.common.observe = outcomes.append
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(request(speech.endpoint, speech.ask()))
        await reader.readuntil(last_frame)
        writer.close()
        await until(lambda: bool(outcomes))
    (outcome,) = outcomes
    return outcome


@every_dialect
async def test_a_caller_that_closes_after_the_terminal_frame_was_served(speech: DialectSample) -> None:
    outcome = await left_after(speech, all_but_the_end(speech), speech.frames[-1])
    assert (outcome.status, outcome.error) == (200, None)


async def test_so_was_one_that_closes_after_the_finish_of_a_server_that_sends_no_done() -> None:
    outcome = await left_after(OPENAI, all_but_the_end(OPENAI, last=-1), OPENAI.frames[-2])
    assert (outcome.status, outcome.error) == (200, None)


@every_dialect
async def test_a_caller_that_closes_before_has_gone(speech: DialectSample) -> None:
    outcome = await left_after(speech, speech.begun(), speech.first)
    assert (outcome.status, outcome.error) == (200, "caller_gone")


@every_dialect
@pytest.mark.parametrize("end", [close, reset, send(b"zzz\r\n")], ids=["closed", "reset", "garbage"])
async def test_no_error_follows_the_terminal_frame_whatever_the_server_does(speech: DialectSample, end: Step) -> None:
    async with (
        speech.fake(send(all_but_the_end(speech)), end) as llm,
        running_node(**speech.settings(llm.url)) as running,
    ):
        reply = await post(running.port, speech.endpoint, speech.ask())
    assert (reply.status, reply.is_whole, reply.body) == (200, True, b"".join(speech.frames))


async def test_no_error_follows_the_finish_of_a_server_that_sends_no_done_either() -> None:
    async with (
        OPENAI.fake(send(all_but_the_end(OPENAI, last=-1)), reset) as llm,
        running_node(**OPENAI.settings(llm.url)) as running,
    ):
        reply = await post(running.port, OPENAI.endpoint, OPENAI.ask())
    assert (reply.status, reply.is_whole, reply.body) == (200, True, b"".join(OPENAI.frames[:-1]))
