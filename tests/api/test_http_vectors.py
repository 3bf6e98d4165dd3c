"""The vectors of `tests/vectors/http/`: a node gives these bytes to callers and LLM servers, and tells these outcomes.

Covers: `http1.protocol`, `http1.reply`.
"""

import asyncio
from collections.abc import AsyncIterator
from unittest import mock

import pytest
import pytest_asyncio

from masa_node.chat.outcome import Outcome
from masa_node.node import node as node_module
from tests.fakes.http_vectors import Llm, Run, Vector, all_vectors, normal, read_bytes, written
from tests.fakes.running import running_node

LONGEST_S = 20.0
LEAST = 40


@pytest_asyncio.fixture
async def llm() -> AsyncIterator[tuple[Llm, str]]:
    server = Llm()
    async with await server.serve() as listening:
        port = listening.sockets[0].getsockname()[1]
        yield server, f"http://127.0.0.1:{port}/v1/chat/completions"


def is_told(said: str, outcome: Outcome) -> bool:
    """Does the outcome say this, as in `status=200 error=None`?"""
    pairs = [word.partition("=") for word in said.split()]
    return all(str(getattr(outcome, name)) == value for name, _, value in pairs)


@pytest.mark.parametrize("is_plain", [True, False], ids=["plain", "not plain"])
@pytest.mark.parametrize("vector", all_vectors(), ids=lambda vector: vector.name)
async def test_a_node_gives_just_these_bytes(
    vector: Vector, llm: tuple[Llm, str], monkeypatch: pytest.MonkeyPatch, *, is_plain: bool
) -> None:
    server, url = llm
    outcomes: list[Outcome] = []
    with mock.patch.object(node_module, "log_outcome", outcomes.append):
        async with asyncio.timeout(LONGEST_S), running_node(LLM_CHAT_URL=url) as running:
            if not is_plain:
                monkeypatch.setattr(running.node.dispatcher, "begin", lambda *asked: None)
            run = Run(vector, "127.0.0.1", running.port, server)
            await run.run()
    assert len(outcomes) == len(run.outcomes)
    for said, outcome in zip(run.outcomes, outcomes, strict=True):
        assert is_told(said, outcome), f"{said}: {outcome}"


def test_there_are_enough_of_them() -> None:
    assert len(all_vectors()) >= LEAST


def test_a_recorded_vector_stands_for_the_bytes_that_came() -> None:
    came = b"HTTP/1.1 200 OK\r\nx: \xe2\\\t\r\n\r\ndata: 1\n\ndata: " + b"y" * 300 + b"\n\n"
    assert read_bytes(written(came)) == came


def test_a_body_in_chunks_is_compared_by_its_content() -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    assert normal(head + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n") == head + b"abc{end}"
    assert normal(head + b"2\r\nab\r\n") == head + b"ab"
