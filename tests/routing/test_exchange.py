"""The end of an answer: a caller that has all of it was served, whatever happens then."""

import asyncio
from collections.abc import Sequence

import pytest

from masa_node.chat.errors import BrokenAnswer, ProviderError
from masa_node.chat.outcome import CALLER_GONE
from masa_node.routing.running.sweep import EVERY_S
from tests.fakes.sinks import Keeps
from tests.routing.scripted import IDLE_S, ScriptedProvider, ScriptedStream, World
from tests.virtual_time import now_s, virtual_time

Steps = Sequence[bytes | float | ProviderError]


def world_of(*steps: bytes | float | ProviderError, whole_at: int | None = 3) -> World:
    """An own server that streams these pieces after `first`; the third piece is the terminal frame."""
    return World([ScriptedProvider("own", ScriptedStream(steps, whole_at=whole_at))])


async def leaves(world: World, at: bytes, *, is_read: bool = True) -> None:
    """A caller takes pieces, and leaves at this one, as the endpoint sees it: what answers is cancelled then."""
    left = asyncio.Event()

    async def write(piece: bytes) -> None:
        if piece == at:
            left.set()
            if not is_read:
                await asyncio.Event().wait()

    answering = asyncio.create_task(world.dispatcher.answer(world.ask(), Keeps(write)))
    await left.wait()
    await asyncio.sleep(0.1)
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering


@virtual_time
async def test_a_caller_that_leaves_after_the_terminal_frame_has_a_whole_answer() -> None:
    world = world_of(b"second", b"done", 60.0)
    await leaves(world, b"done")
    assert (world.outcome.error, world.outcome.status) == (None, 200)
    assert world.outcome.answer_bytes == len(b"firstseconddone")


@virtual_time
async def test_a_caller_that_leaves_before_it_has_gone() -> None:
    world = world_of(b"second", 60.0, b"done")
    await leaves(world, b"second")
    assert (world.outcome.error, world.outcome.status) == (CALLER_GONE, 200)


@virtual_time
async def test_a_caller_that_does_not_take_the_terminal_frame_has_gone() -> None:
    world = world_of(b"second", b"done", 60.0)
    await leaves(world, b"done", is_read=False)
    assert world.outcome.error == CALLER_GONE


@virtual_time
async def test_a_caller_that_leaves_before_anything_was_sent_has_gone() -> None:
    world = world_of(whole_at=1)
    async with world.begun():
        pass
    assert world.outcome.error == CALLER_GONE


@pytest.mark.parametrize("then", [(BrokenAnswer("cut"),), (60.0, BrokenAnswer("cut")), (2 * IDLE_S,)])
@virtual_time
async def test_what_happens_to_the_llm_after_the_terminal_frame_is_no_matter(then: Steps) -> None:
    world = world_of(b"second", b"done", *then)
    (provider,) = world.providers
    await world.answer()
    assert world.outcome.error is None
    assert world.dispatcher.stats.health.of(provider.name).failures == 0
    assert now_s() <= IDLE_S + 2 * EVERY_S


@virtual_time
async def test_an_llm_that_breaks_off_before_it_gave_no_whole_answer() -> None:
    world = world_of(b"second", BrokenAnswer("cut"))
    with pytest.raises(BrokenAnswer):
        await world.answer()
