"""Look-ups: one of a kind, few at once, a bounded line, and an end that leaves nobody waiting."""

import asyncio

import pytest

from masa_node.staking.ethereum.crypto import Address
from masa_node.staking.gate.query_queue import MAX_QUERIES, MAX_WAITING, MAX_WAITING_STRANGERS, QueryQueue
from masa_node.staking.gate.values import Query
from tests.virtual_time import settle, virtual_time


def query(number: int) -> Address:
    return Address(f"0x{number}")


class Chain:
    def __init__(self) -> None:
        self.asked: list[Query] = []
        self.lets = asyncio.Event()

    async def look_up(self, query: Query) -> None:
        self.asked.append(query)
        await self.lets.wait()


@virtual_time
async def test_what_is_under_way_is_not_asked_again_and_what_is_done_may_be() -> None:
    chain = Chain()
    lookups = QueryQueue(chain.look_up)
    lookups.open()
    runs = asyncio.create_task(lookups.run())
    for _ in range(3):
        assert lookups.want(query(1), is_first=False)
        await settle()
    assert lookups.is_under_way(query(1))
    assert (lookups.running, lookups.waiting, len(chain.asked)) == (1, 0, 1)
    chain.lets.set()
    await lookups.wait_for(query(1))
    assert not lookups.is_under_way(query(1))
    await lookups.wait_for(query(1))  # nothing to wait for
    lookups.want(query(1), is_first=False)
    await lookups.wait_for(query(1))
    assert len(chain.asked) == 2
    runs.cancel()
    with pytest.raises(asyncio.CancelledError):
        await runs


@virtual_time
async def test_the_line_is_bounded_and_keeps_places_for_those_who_go_first() -> None:
    chain = Chain()
    lookups = QueryQueue(chain.look_up)
    assert not lookups.want(query(0), is_first=True)  # not open yet
    lookups.open()
    runs = asyncio.create_task(lookups.run())
    for number in range(MAX_QUERIES):
        lookups.want(query(number), is_first=False)
    await settle()
    taken = [lookups.want(query(number), is_first=False) for number in range(100, 2_000)]
    assert taken.count(True) == lookups.waiting == MAX_WAITING_STRANGERS
    taken = [lookups.want(query(number), is_first=True) for number in range(3_000, 5_000)]
    assert taken.count(True) == MAX_WAITING - MAX_WAITING_STRANGERS
    assert lookups.waiting == MAX_WAITING
    assert len(chain.asked) == lookups.running == MAX_QUERIES
    chain.lets.set()
    await settle(MAX_WAITING)
    assert (len(chain.asked), lookups.running) == (MAX_QUERIES + MAX_WAITING, 0)
    assert not any(lookups.is_under_way(query(number)) for number in range(5_000))
    runs.cancel()
    with pytest.raises(asyncio.CancelledError):
        await runs


@virtual_time
async def test_an_end_leaves_nobody_waiting_and_nothing_in_the_line() -> None:
    chain = Chain()
    lookups = QueryQueue(chain.look_up)
    lookups.open()
    runs = asyncio.create_task(lookups.run())
    for number in range(MAX_QUERIES + 5):
        lookups.want(query(number), is_first=False)
    waiters = [asyncio.create_task(lookups.wait_for(query(number))) for number in range(MAX_QUERIES + 5)]
    await settle()
    runs.cancel()
    with pytest.raises(asyncio.CancelledError):
        await runs
    lookups.close()
    lookups.close()
    await asyncio.gather(*waiters)
    assert (lookups.running, lookups.waiting) == (0, 0)
    assert not lookups.want(query(1), is_first=True)


@virtual_time
async def test_a_line_closed_before_it_ran_leaves_nobody_waiting() -> None:
    lookups = QueryQueue(Chain().look_up)
    lookups.open()
    lookups.want(query(1), is_first=False)
    waiter = asyncio.create_task(lookups.wait_for(query(1)))
    await settle()
    lookups.close()
    await waiter


@virtual_time
async def test_a_line_closed_while_it_runs_lets_what_runs_end() -> None:
    chain = Chain()
    lookups = QueryQueue(chain.look_up)
    lookups.open()
    runs = asyncio.create_task(lookups.run())
    lookups.want(query(1), is_first=False)
    await settle()
    lookups.close()
    lookups.open()
    lookups.want(query(1), is_first=False)  # asked again, beside the one that was given up
    waiter = asyncio.create_task(lookups.wait_for(query(1)))
    await settle()
    assert not waiter.done()
    chain.lets.set()
    await waiter
    await settle()
    assert not runs.done()
    assert lookups.running == 0
    runs.cancel()
    with pytest.raises(asyncio.CancelledError):
        await runs


@virtual_time
async def test_who_goes_first_does_so_however_long_the_line_and_the_others_keep_their_order() -> None:
    chain = Chain()
    lookups = QueryQueue(chain.look_up)
    lookups.open()
    for number in (1, 2, 3):
        lookups.want(query(number), is_first=False)
    for number in (8, 9):
        lookups.want(query(number), is_first=True)
    runs = asyncio.create_task(lookups.run())
    await settle()
    assert chain.asked == [query(number) for number in (8, 9, 1, 2, 3)]
    runs.cancel()
    with pytest.raises(asyncio.CancelledError):
        await runs
