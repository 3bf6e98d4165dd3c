"""What is dear to make is made once for all that asked before it was begun."""

import asyncio

import pytest

from masa_node.node.doctor.one_at_a_time import OneAtATime
from tests.virtual_time import virtual_time


class Maker:
    """Takes a second for each; fails when told to."""

    def __init__(self) -> None:
        self.made = self.at_once = self.most_at_once = 0
        self.fails = False

    async def make(self) -> int:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(1)
            if self.fails:
                self.fails = False
                raise OSError("this once")
            self.made += 1
            return self.made
        finally:
            self.at_once -= 1


@virtual_time
async def test_all_that_wait_share_the_next_and_nobody_gets_one_that_was_begun_before() -> None:
    maker = Maker()
    one = OneAtATime(maker.make)
    first = asyncio.create_task(one.get())
    await asyncio.sleep(0.5)
    later = [asyncio.create_task(one.get()) for _ in range(20)]
    assert await first == 1
    assert await asyncio.gather(*later) == [2] * 20
    assert (maker.made, maker.most_at_once) == (2, 1)
    assert await one.get() == 3


@virtual_time
async def test_when_one_fails_or_is_cancelled_the_next_makes_it() -> None:
    maker = Maker()
    maker.fails = True
    one = OneAtATime(maker.make)
    failing, cancelled = asyncio.create_task(one.get()), asyncio.create_task(one.get())
    waiting = asyncio.create_task(one.get())
    with pytest.raises(OSError, match="this once"):
        await failing
    await asyncio.sleep(0.5)
    cancelled.cancel()
    assert await waiting == 1
    assert cancelled.cancelled()
