"""Connections to a server that are kept, seen from the caller: he never notices, and nothing is asked twice.

Covers: `http.client`.
"""

import asyncio

import pytest

from tests.fakes.dialect_samples import OPENAI, SAMPLES, DialectSample
from tests.fakes.http_bytes import whole
from tests.fakes.llm_server import Line, Step, close, reset, send
from tests.fakes.raw_http import post
from tests.fakes.running import node_before

every_dialect = pytest.mark.parametrize("speech", SAMPLES, ids=str)


@every_dialect
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("ending", [close, reset])
async def test_a_kept_connection_that_closes_on_the_request_costs_the_caller_no_error(
    speech: DialectSample, ending: Step, *, stream: bool
) -> None:
    good = (send(speech.stream if stream else speech.whole),)
    body = speech.ask(stream=stream)
    async with node_before(speech) as (llm, node):
        llm.answer(speech.endpoint, good, (ending,), good)
        replies = [await post(node.port, speech.endpoint, body) for _ in range(2)]
    expected = b"".join(speech.frames) if stream else speech.answer
    assert [(reply.status, reply.body, reply.is_whole) for reply in replies] == [(200, expected, True)] * 2
    first, lost, again = llm.asked(speech.endpoint)
    assert (lost.connection, lost.body, lost.headers) == (first.connection, body, again.headers)
    assert (again.connection, again.raw) == (first.connection + 1, lost.raw)
    assert (
        replies[1].header(
            "x-masa-attempts",
        )
        is not None
    )
    assert (replies[1].header("x-masa-attempts") or "").startswith(f"{speech.provider}=won;")


@every_dialect
@pytest.mark.parametrize("ending", [close, reset])
async def test_a_request_that_a_fresh_connection_lost_is_not_sent_again(speech: DialectSample, ending: Step) -> None:
    async with node_before(speech) as (llm, node):
        llm.answer(speech.endpoint, (ending,), (send(speech.whole),))
        reply = await post(node.port, speech.endpoint, speech.ask(stream=False))
    assert (reply.status, len(llm.asked(speech.endpoint))) == (502, 1)


async def test_a_server_that_closes_after_each_answer_never_costs_an_error() -> None:
    """llama.cpp's, which announces that it keeps the connection."""
    async with node_before(OPENAI, send(OPENAI.stream), close) as (llm, node):
        for _ in range(4):
            replies = await asyncio.gather(*(post(node.port, OPENAI.endpoint, OPENAI.ask()) for _ in range(25)))
            assert {(reply.status, reply.body, reply.is_whole) for reply in replies} == {
                (200, b"".join(OPENAI.frames), True)
            }
    assert len(llm.asked(OPENAI.endpoint)) == 100


@every_dialect
async def test_one_connection_serves_one_request_after_the_other(speech: DialectSample) -> None:
    async with node_before(speech, send(speech.stream)) as (llm, node):
        before = llm.connections
        for _ in range(5):
            assert (await post(node.port, speech.endpoint, speech.ask())).is_whole
        assert llm.connections == before + 1


async def test_an_error_answer_keeps_the_connection() -> None:
    async with node_before(OPENAI, send(whole(OPENAI.error_answer, status=400))) as (llm, node):
        before = llm.connections
        for _ in range(5):
            assert (await post(node.port, OPENAI.endpoint, OPENAI.ask())).status == 400
        assert llm.connections == before + 1


async def test_the_answers_of_two_callers_are_never_mixed_up() -> None:
    async with node_before(OPENAI) as (llm, node):

        async def is_ones_own(number: int) -> bool:
            reply = await post(node.port, OPENAI.endpoint, b'{"model":"m","n":%d}' % number)
            return reply.body == b'{"choices":[%d]}' % number

        async def answer_with_its_number(line: Line) -> None:
            number = llm.requests[-1].body.rpartition(b":")[2][:-1]
            await line.write(whole(b'{"choices":[%b]}' % number))

        llm.answer(OPENAI.endpoint, (answer_with_its_number,))
        assert all(await asyncio.gather(*(is_ones_own(number) for number in range(100))))
