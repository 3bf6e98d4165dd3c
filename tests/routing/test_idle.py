import asyncio

import pytest

from masa_node.routing.idle import IdleTimer
from tests.virtual_time import now_s, virtual_time

IDLE_S = 10.0


@virtual_time
async def test_a_block_in_which_nothing_happens_is_ended() -> None:
    async with IdleTimer(IDLE_S) as idle:
        await asyncio.sleep(3600)
    assert idle.expired
    assert now_s() == pytest.approx(IDLE_S)


@virtual_time
async def test_a_block_that_ends_in_time_has_not_expired() -> None:
    async with IdleTimer(IDLE_S) as idle:
        await asyncio.sleep(IDLE_S - 1)
    await asyncio.sleep(3600)
    assert not idle.expired


@virtual_time
async def test_every_touch_starts_the_time_anew() -> None:
    async with IdleTimer(IDLE_S) as idle:
        for _ in range(100):
            await asyncio.sleep(IDLE_S - 0.1)
            idle.touch()
    assert not idle.expired
    assert now_s() == pytest.approx(990)


@virtual_time
async def test_it_ends_exactly_one_idle_time_after_the_last_touch() -> None:
    async with IdleTimer(IDLE_S) as idle:
        await asyncio.sleep(7)
        idle.touch()
        await asyncio.sleep(3600)
    assert idle.expired
    assert now_s() == pytest.approx(7 + IDLE_S)


@virtual_time
async def test_touches_set_no_timers() -> None:
    loop = asyncio.get_running_loop()
    async with IdleTimer(IDLE_S) as idle:
        timers = len(loop._scheduled)  # type: ignore[attr-defined]
        for _ in range(1_000):
            idle.touch()
        assert len(loop._scheduled) == timers  # type: ignore[attr-defined]


@virtual_time
async def test_a_cancel_from_outside_passes_through() -> None:
    async def idles() -> None:
        async with IdleTimer(IDLE_S):
            await asyncio.sleep(3600)

    task = asyncio.create_task(idles())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@virtual_time
async def test_a_cancel_from_outside_at_the_moment_of_expiry_passes_through() -> None:
    async def idles() -> None:
        async with IdleTimer(IDLE_S):
            await asyncio.sleep(3600)

    task = asyncio.create_task(idles())
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(IDLE_S, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("error", [ValueError("boom"), TimeoutError("the block's own")])
@virtual_time
async def test_an_error_of_the_block_passes_through(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)):
        async with IdleTimer(IDLE_S):
            raise error


@virtual_time
async def test_nothing_fires_after_the_block() -> None:
    async with IdleTimer(IDLE_S):
        pass
    assert not asyncio.current_task().cancelling()  # type: ignore[union-attr]
    await asyncio.sleep(3600)
