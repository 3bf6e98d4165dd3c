import asyncio

import pytest

from masa_node.routing.running.idle import LONGEST_WITHOUT_COUNTED, LOOKS, IdleTimer, Silence
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
async def test_every_touch_starts_the_time_again() -> None:
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


@virtual_time
async def test_signs_keep_it_alive_as_touches_do() -> None:
    signs = 0
    async with IdleTimer(IDLE_S, signs=lambda: signs) as idle:
        for _ in range(20):
            await asyncio.sleep(IDLE_S / 2)
            signs += 1
        await asyncio.sleep(3600)
    assert idle.expired
    assert now_s() == pytest.approx(10 * IDLE_S + IDLE_S, abs=IDLE_S)
    assert not idle.had_signs


@pytest.mark.parametrize("touches", [True, False])
@virtual_time
async def test_without_anything_that_counts_signs_and_touches_keep_it_alive_for_so_long_only(*, touches: bool) -> None:
    signs = 0
    async with IdleTimer(IDLE_S, signs=lambda: signs, counted=lambda: 7) as idle:
        for _ in range(10_000):
            await asyncio.sleep(IDLE_S / 4)
            signs += not touches
            if touches:
                idle.touch()
    assert idle.expired
    assert idle.had_signs
    assert LONGEST_WITHOUT_COUNTED * IDLE_S <= now_s() <= LONGEST_WITHOUT_COUNTED * IDLE_S + 2 * IDLE_S / LOOKS


@virtual_time
async def test_what_counts_keeps_it_alive_for_ever() -> None:
    counted = 0
    async with IdleTimer(IDLE_S, counted=lambda: counted) as idle:
        for _ in range(1_000):
            await asyncio.sleep(IDLE_S / 2)
            counted += 1
            idle.touch()
    assert not idle.expired


@pytest.mark.parametrize("last_s", [3.0, 9.99, 12.5, 20.0])
@virtual_time
async def test_signs_that_end_are_noticed_an_eighth_of_the_time_later_at_most(last_s: float) -> None:
    began_s = now_s()
    async with IdleTimer(IDLE_S, signs=lambda: int(min(now_s() - began_s, last_s) * 100)) as idle:
        await asyncio.sleep(3600)
    assert idle.expired
    assert last_s + IDLE_S <= now_s() - began_s + 0.01 <= last_s + IDLE_S + IDLE_S / LOOKS + 0.02


@virtual_time
async def test_signs_from_before_the_block_are_no_news() -> None:
    async with IdleTimer(IDLE_S, signs=lambda: 9, counted=lambda: 9) as idle:
        await asyncio.sleep(3600)
    assert idle.expired
    assert now_s() == pytest.approx(IDLE_S)


@virtual_time
async def test_a_touch_between_two_looks_is_as_good_as_one_at_a_look() -> None:
    async with IdleTimer(IDLE_S) as idle:
        await asyncio.sleep(IDLE_S / LOOKS * 1.5)
        idle.touch()
        await asyncio.sleep(3600)
    assert now_s() == pytest.approx(IDLE_S + IDLE_S / LOOKS * 1.5)


@virtual_time
async def test_no_time_at_all_is_over_at_once() -> None:
    async with IdleTimer(0.0) as idle:
        await asyncio.sleep(1)
    assert idle.expired


def test_silence_tells_when_it_is_due() -> None:
    silence = Silence(10.0, 0.0)
    assert silence.due_s == 10.0
    silence.is_too_long(1, 1, 5.0)
    assert silence.due_s == 15.0
    silence.signs_s = 7.0
    assert silence.due_s == 17.0


def test_silence_is_too_long_after_an_idle_time_without_a_sign() -> None:
    silence = Silence(10.0, 0.0)
    assert not silence.is_too_long(1, 1, 5.0)
    assert not silence.is_too_long(1, 1, 14.9)
    assert silence.is_too_long(1, 1, 15.0)
    assert not silence.had_signs(15.0)


def test_signs_alone_break_a_silence_only_so_often() -> None:
    silence = Silence(10.0, 0.0)
    looks = [silence.is_too_long(signs, 1, 5.0 * signs) for signs in range(1, 9)]
    assert looks == [False] * 6 + [True] * 2
    assert silence.had_signs(40.0)
