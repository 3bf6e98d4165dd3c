"""The end of an answer: a caller that has all of it was served, whatever happens then."""

import asyncio
from collections.abc import Sequence

import pytest

from masa_node.chat.answer import StreamedAnswer
from masa_node.chat.errors import BrokenAnswer, ProviderError
from masa_node.chat.outcome import CALLER_GONE
from masa_node.routing.dispatch import Exchange
from tests.routing.scripted import IDLE_S, ScriptedProvider, ScriptedStream, World
from tests.virtual_time import now_s, virtual_time

Steps = Sequence[bytes | float | ProviderError]


def world_of(*steps: bytes | float | ProviderError, whole_at: int | None = 3) -> World:
    """An own server that streams these pieces after `first`; the third piece is the terminal frame."""
    return World([ScriptedProvider("own", ScriptedStream(steps, whole_at=whole_at))])


async def begun(world: World) -> tuple[Exchange, StreamedAnswer]:
    exchange = world.dispatcher.open(world.ask())
    answer = await exchange.answer()
    assert isinstance(answer, StreamedAnswer)
    exchange.begun(answer.status)
    return exchange, answer


class Caller:
    """Takes pieces, and leaves at this one: its connection is closed when it has been read."""

    def __init__(self, leaves_at: bytes, *, is_read: bool = True) -> None:
        self._leaves_at = leaves_at
        self._is_read = is_read
        self.left = asyncio.Event()

    async def write(self, piece: bytes) -> None:
        if piece == self._leaves_at:
            self.left.set()
            if not self._is_read:
                await asyncio.Event().wait()

    async def served(self, exchange: Exchange, answer: StreamedAnswer) -> None:
        """As the endpoint does: the exchange is cancelled when the caller has left, and closed."""
        sending = asyncio.create_task(exchange.send(answer, self.write))
        await self.left.wait()
        await asyncio.sleep(0.1)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        exchange.close()


@virtual_time
async def test_a_caller_that_leaves_after_the_terminal_frame_has_a_whole_answer() -> None:
    world = world_of(b"second", b"done", 60.0)
    await Caller(b"done").served(*await begun(world))
    assert (world.outcome.error, world.outcome.status) == (None, 200)
    assert world.outcome.answer_bytes == len(b"firstseconddone")


@virtual_time
async def test_a_caller_that_leaves_before_it_has_gone() -> None:
    world = world_of(b"second", 60.0, b"done")
    await Caller(b"second").served(*await begun(world))
    assert (world.outcome.error, world.outcome.status) == (CALLER_GONE, 200)


@virtual_time
async def test_a_caller_that_does_not_take_the_terminal_frame_has_gone() -> None:
    world = world_of(b"second", b"done", 60.0)
    await Caller(b"done", is_read=False).served(*await begun(world))
    assert world.outcome.error == CALLER_GONE


@virtual_time
async def test_a_caller_that_leaves_before_anything_was_sent_has_gone() -> None:
    world = world_of(whole_at=1)
    exchange, _ = await begun(world)
    exchange.close()
    assert world.outcome.error == CALLER_GONE


@pytest.mark.parametrize("then", [(BrokenAnswer("cut"),), (60.0, BrokenAnswer("cut")), (2 * IDLE_S,)])
@virtual_time
async def test_what_happens_to_the_llm_after_the_terminal_frame_is_no_matter(then: Steps) -> None:
    world = world_of(b"second", b"done", *then)
    (provider,) = world.providers
    exchange, answer = await begun(world)
    await exchange.send(answer, Caller(b"").write)
    exchange.ended(None)
    exchange.close()
    assert world.outcome.error is None
    assert world.dispatcher.health_of(provider).failures == 0
    assert now_s() <= IDLE_S


@virtual_time
async def test_an_llm_that_breaks_off_before_it_gave_no_whole_answer() -> None:
    world = world_of(b"second", BrokenAnswer("cut"))
    exchange, answer = await begun(world)
    with pytest.raises(BrokenAnswer):
        await exchange.send(answer, Caller(b"").write)
    exchange.close()
