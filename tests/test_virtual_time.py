import asyncio

import pytest

from tests.virtual_time import NothingLeftToHappen, now_s, virtual_time


@virtual_time
async def test_an_hour_passes_at_once() -> None:
    await asyncio.sleep(3600)
    assert now_s() == pytest.approx(3600)


@virtual_time
async def test_timers_fire_in_the_order_of_their_times() -> None:
    seen: list[int] = []

    async def note(after_s: int) -> None:
        await asyncio.sleep(after_s)
        seen.append(after_s)

    await asyncio.gather(note(30), note(1), note(500))
    assert seen == [1, 30, 500]


def test_a_test_that_waits_for_nothing_fails_instead_of_hanging() -> None:
    @virtual_time
    async def waits() -> None:
        await asyncio.Event().wait()

    with pytest.raises(NothingLeftToHappen):
        waits()
