"""A node from its start to its end: signals, running answers, and a part that fails.

Covers: `signals`.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from unittest import mock

import pytest

from masa_node.node import run as run_module
from masa_node.node import serve as serve_module
from masa_node.node.node import Node
from masa_node.upstreams import local_discovery
from masa_node.upstreams.poller import ModelPoller
from tests.fakes.dialect_samples import OPENAI
from tests.fakes.http_bytes import LAST_CHUNK, chunk
from tests.fakes.llm_server import FakeLlm, close, send, stall, until, wait_for
from tests.fakes.raw_http import calling, get, request
from tests.fakes.running import settings_of

ENDS_WITHIN_S = 7.0  # on a busy machine; an answer under way would hold it up for GRACE_S, which is 10


@dataclass(slots=True)
class Started:
    """Hears how the start went."""

    port: int = 0
    is_settled: bool = False

    def on_listening(self, address: str, node: Node) -> None:
        self.port = int(address.rpartition(":")[2])

    def on_ready(self, address: str, node: Node) -> None:
        self.is_settled = True


@asynccontextmanager
async def started(**settings: str) -> AsyncIterator[tuple[Started, asyncio.Task[None]]]:
    """A node that is run as its user runs it, with its own signal handling."""
    heard = Started()
    with (
        mock.patch.object(local_discovery, "KNOWN_PORTS", ()),
        mock.patch.object(run_module, "_calm_the_collector"),  # for a process of its own
    ):
        running = asyncio.create_task(run_module.run(settings_of(**settings), heard))
        try:
            await until(lambda: heard.is_settled or running.done(), 5)
            yield heard, running
        finally:
            running.cancel()
            await asyncio.wait((running,))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_an_idle_node(number: signal.Signals) -> None:
    async with started() as (heard, running):
        assert (await get(heard.port, "/healthz")).status == 200
        os.kill(os.getpid(), number)
        async with asyncio.timeout(ENDS_WITHIN_S):
            await running
        with pytest.raises(ConnectionRefusedError):
            await get(heard.port, "/healthz")


async def test_an_answer_under_way_may_end_and_nobody_new_comes_in() -> None:
    go_on = asyncio.Event()
    rest = b"".join(map(chunk, OPENAI.frames[1:])) + LAST_CHUNK
    async with (
        OPENAI.fake(send(OPENAI.begun()), wait_for(go_on), send(rest)) as llm,
        started(**OPENAI.settings(llm.url)) as (heard, running),
        calling(heard.port, request(OPENAI.endpoint, OPENAI.ask())) as call,
    ):
        await call.read_head()
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: not_taken(heard.port), ENDS_WITHIN_S)
        assert not running.done()
        go_on.set()
        reply = await call.read_rest()
        async with asyncio.timeout(ENDS_WITHIN_S):
            await running
    assert (reply.body, reply.is_whole) == (b"".join(OPENAI.frames), True)


def not_taken(port: int) -> bool:
    import socket  # noqa: PLC0415 - a plain one, beside the event loop's

    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) != 0


async def test_a_second_signal_waits_for_nobody() -> None:
    async with (
        OPENAI.fake(send(OPENAI.begun()), stall) as llm,
        started(**OPENAI.settings(llm.url)) as (heard, running),
        calling(heard.port, request(OPENAI.endpoint, OPENAI.ask())) as call,
    ):
        await call.read_head()
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.05)
        async with asyncio.timeout(ENDS_WITHIN_S):
            await running


async def test_an_answer_that_outlasts_the_grace_is_cut_and_does_not_look_whole() -> None:
    with mock.patch.object(run_module, "GRACE_S", 0.1):
        async with (
            OPENAI.fake(send(OPENAI.begun()), stall) as llm,
            started(**OPENAI.settings(llm.url)) as (heard, running),
            calling(heard.port, request(OPENAI.endpoint, OPENAI.ask())) as call,
        ):
            await call.read_head()
            os.kill(os.getpid(), signal.SIGTERM)
            async with asyncio.timeout(ENDS_WITHIN_S):
                await running
            reply = await call.read_rest()
            assert reply.body.startswith(OPENAI.first + b'data: {"error":')
            assert not reply.is_whole
            await llm.until(lambda: llm.departures == 1)


async def test_a_part_that_fails_ends_the_node_instead_of_leaving_it_half_alive() -> None:
    async def failing(self: ModelPoller) -> None:
        raise ArithmeticError

    with mock.patch.object(ModelPoller, "run", failing):
        async with started() as (_, running):
            with pytest.raises(ExceptionGroup) as caught:
                async with asyncio.timeout(ENDS_WITHIN_S):
                    await running
    assert caught.value.subgroup(ArithmeticError) is not None


async def test_the_start_says_when_every_server_was_asked() -> None:
    async with FakeLlm().answer("/v1/models", (close,)) as llm, started(**OPENAI.settings(llm.url)) as (heard, _):
        assert heard.is_settled
        assert llm.requests


async def test_a_server_that_says_nothing_delays_that_by_a_bound() -> None:
    with mock.patch.object(serve_module, "READY_WITHIN_S", 0.1):
        async with FakeLlm(on_connect=(stall,)) as llm, started(LLM_CHAT_URL=llm.url) as (heard, _):
            assert heard.is_settled
