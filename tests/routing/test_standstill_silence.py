"""A stream of which nothing comes, or no piece, is ended; what comes of it in time keeps it alive."""

import asyncio
import math
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from masa_node.chat.errors import CallerStalled, Stalled
from masa_node.routing.admission import Admission
from masa_node.routing.running.sweep import EVERY_S
from masa_node.routing.standstill import LONGEST_WITHOUT_PIECE, LOOKS, Standstill
from tests.routing.scripted import ScriptedStream
from tests.virtual_time import now_s, virtual_time

IDLE_S = 10.0
LATE_S = EVERY_S + 0.01  # by the sweep


def standing(idle_s: float = IDLE_S, received: Callable[[], int] = int, pieces: Callable[[], int] = int) -> Standstill:
    answer = msgspec.structs.replace(ScriptedStream([]).as_answer(), received=received, frames=pieces)
    return Standstill(answer, idle_s, Admission(1, 0), "", asyncio.get_running_loop().time())


async def given(still: Standstill, giving: Callable[[Standstill], Awaitable[None]]) -> None:
    async with still:
        await giving(still)


@virtual_time
async def test_a_stream_of_which_nothing_comes_is_ended() -> None:
    with pytest.raises(Stalled, match="nothing came for 10 s"):
        async with standing():
            await asyncio.sleep(3600)
    assert IDLE_S <= now_s() <= IDLE_S + LATE_S


@virtual_time
async def test_one_that_ends_in_time_has_not_stood_still() -> None:
    async with standing():
        await asyncio.sleep(IDLE_S - 1)
    assert not asyncio.current_task().cancelling()  # type: ignore[union-attr]
    await asyncio.sleep(3600)


@virtual_time
async def test_whatever_comes_starts_the_time_again() -> None:
    pieces = 0
    async with (still := standing(pieces=lambda: pieces)):
        for _ in range(100):
            await asyncio.sleep(IDLE_S - 0.1)
            still.came()
            pieces += 1
    assert now_s() == pytest.approx(990)


@pytest.mark.parametrize("came_s", [7.0, IDLE_S / LOOKS * 1.5])
@virtual_time
async def test_it_ends_one_idle_time_after_what_came_last(came_s: float) -> None:
    async def something_comes(still: Standstill) -> None:
        await asyncio.sleep(came_s)
        still.came()
        await asyncio.sleep(3600)

    with pytest.raises(Stalled):
        await given(standing(), something_comes)
    assert came_s + IDLE_S <= now_s() <= came_s + IDLE_S + LATE_S


@virtual_time
async def test_what_comes_sets_no_timers() -> None:
    loop = asyncio.get_running_loop()
    async with (still := standing()):
        timers = len(loop._scheduled)  # type: ignore[attr-defined]
        for _ in range(1_000):
            still.came()
        assert len(loop._scheduled) == timers  # type: ignore[attr-defined]


@pytest.mark.parametrize("after_s", [1.0, math.ceil(IDLE_S / EVERY_S) * EVERY_S])
@virtual_time
async def test_a_cancel_from_outside_passes_through_at_the_moment_of_the_end_too(after_s: float) -> None:
    async def idles() -> None:
        async with standing():
            await asyncio.sleep(3600)

    task = asyncio.create_task(idles())
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(after_s, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("error", [ValueError("boom"), TimeoutError("the block's own")])
@virtual_time
async def test_an_error_of_the_block_passes_through(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)):
        async with standing():
            raise error


@virtual_time
async def test_a_caller_that_takes_nothing_is_named_and_not_the_llm() -> None:
    with pytest.raises(CallerStalled, match="The caller read nothing for 10 s"):
        async with (still := standing()):
            await still.taken(asyncio.sleep(3600))
    assert IDLE_S <= now_s() <= IDLE_S + LATE_S


@virtual_time
async def test_the_time_of_the_caller_is_not_the_llms() -> None:
    async def is_taken_late(still: Standstill) -> None:
        await still.taken(asyncio.sleep(IDLE_S - 1))
        await asyncio.sleep(3600)

    with pytest.raises(Stalled):
        await given(standing(), is_taken_late)
    assert 2 * IDLE_S - 1 <= now_s() <= 2 * IDLE_S - 1 + LATE_S


@pytest.mark.parametrize("comes_by_calls", [True, False])
@virtual_time
async def test_without_a_piece_signs_keep_it_alive_for_so_long_only(*, comes_by_calls: bool) -> None:
    received = 0

    async def shows_signs(still: Standstill) -> None:
        nonlocal received
        for _ in range(10_000):
            await asyncio.sleep(IDLE_S / 4)
            received += comes_by_calls
            if not comes_by_calls:
                still.came()

    with pytest.raises(Stalled, match="no piece of it came for 30 s"):
        await given(standing(received=lambda: received, pieces=lambda: 7), shows_signs)
    assert LONGEST_WITHOUT_PIECE * IDLE_S <= now_s() <= LONGEST_WITHOUT_PIECE * IDLE_S + 2 * IDLE_S / LOOKS


@pytest.mark.parametrize("last_s", [3.0, 9.99, 12.5, 20.0])
@virtual_time
async def test_bytes_that_end_are_noticed_an_eighth_of_the_time_later_at_most(last_s: float) -> None:
    began_s = now_s()
    with pytest.raises(Stalled):
        async with standing(received=lambda: int(min(now_s() - began_s, last_s) * 100)):
            await asyncio.sleep(3600)
    assert last_s + IDLE_S <= now_s() - began_s + 0.01 <= last_s + IDLE_S + IDLE_S / LOOKS + 2 * LATE_S


@virtual_time
async def test_what_came_before_the_block_is_no_news() -> None:
    with pytest.raises(Stalled):
        async with standing(received=lambda: 9, pieces=lambda: 9):
            await asyncio.sleep(3600)
    assert IDLE_S <= now_s() <= IDLE_S + LATE_S


@pytest.mark.parametrize("idle_s", [0.0, 2.0])
@virtual_time
async def test_one_that_stood_still_before_it_is_watched_ends_at_once(idle_s: float) -> None:
    still = standing(idle_s)
    await asyncio.sleep(3.0)
    with pytest.raises(Stalled):
        async with still:
            await asyncio.sleep(1)
    assert now_s() == pytest.approx(3.0)


@virtual_time
async def test_it_tells_when_it_has_been_silent_for_too_long() -> None:
    received, began_s = 0, asyncio.get_running_loop().time()
    still = standing(received=lambda: received)
    received = 1
    assert not still.is_silent(began_s + 5.0)
    assert not still.is_silent(began_s + 14.9)
    assert still.is_silent(began_s + 15.0)
