"""All bodies together are bounded, and every byte is given back however its request ends."""

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.api.http1.request import ClientDisconnected, Head, HttpRequest
from masa_node.api.request_body import HeldBody, read_body
from masa_node.chat.errors import BodyTooLarge, Overloaded
from masa_node.routing.answers.byte_budget import ByteBudget
from tests.api.bodies import coming
from tests.virtual_time import now_s, virtual_time

MAX = 100_000
TOTAL = 200_000


async def read(held: HeldBody, request: HttpRequest) -> bytes:
    return await read_body(request, held, MAX)


async def test_a_body_counts_until_its_request_is_over() -> None:
    budget = ByteBudget(TOTAL)
    with HeldBody(budget) as held:
        assert await read(held, coming(b"x" * 50_000, b"y" * 50_000)) == b"x" * 50_000 + b"y" * 50_000
        assert budget.held_bytes >= 100_000
    assert budget.held_bytes == 0


async def test_beyond_the_total_the_next_one_is_told_to_come_again() -> None:
    budget = ByteBudget(TOTAL)
    with HeldBody(budget) as first, HeldBody(budget) as second:
        await read(first, coming(b"x" * MAX))
        with pytest.raises(Overloaded, match="MAX_BODIES_TOTAL") as refused:
            await read(second, coming(b"x" * MAX))
        assert refused.value.retry_after_s > 0
        assert len(await read(HeldBody(budget).__enter__(), coming(b"x" * 1_000))) == 1_000


async def test_of_those_that_arrive_the_largest_goes_not_the_one_that_comes_last() -> None:
    budget = ByteBudget(TOTAL)
    waiting = asyncio.Event()

    def slowly() -> None:
        waiting.set()
        request.feed(b"x" * 95_000)

    request = HttpRequest(Head("POST", b"/", ()), None, slowly)
    with HeldBody(budget) as large, HeldBody(budget) as other, HeldBody(budget) as usual:
        await read(other, coming(b"x" * 95_000))
        task = asyncio.create_task(read(large, request))
        await waiting.wait()
        assert len(await read(usual, coming(b"x" * 50_000))) == 50_000
        request.feed(b"x")
        request.complete()
        with pytest.raises(Overloaded):
            await task


async def test_one_that_goes_in_the_moment_in_which_it_is_whole_is_not_taken_for_an_empty_one() -> None:
    budget = ByteBudget(TOTAL)
    request = HttpRequest(Head("POST", b"/", ()), None, lambda: request.feed(b"x" * 95_000))
    with HeldBody(budget) as large, HeldBody(budget) as usual, HeldBody(budget) as other:
        task = asyncio.create_task(read(large, request))
        await asyncio.sleep(0)
        request.complete()
        usual.add(b"x" * 60_000)
        other.add(b"x" * 60_000)
        with pytest.raises(Overloaded):
            await task


@pytest.mark.parametrize("size", [MAX + 1, 10 * MAX])
async def test_what_is_too_large_by_itself_is_still_told_so(size: int) -> None:
    budget = ByteBudget(TOTAL)
    with HeldBody(budget) as held, pytest.raises(BodyTooLarge):
        await read(held, coming(b"x" * size))
    assert budget.held_bytes == 0


@virtual_time
async def test_who_leaves_or_is_cancelled_gives_all_back() -> None:
    budget = ByteBudget(TOTAL)
    with pytest.raises(ClientDisconnected), HeldBody(budget) as held:
        await read(held, coming(b"x" * 1_000, ends=False))
    assert budget.held_bytes == 0

    async def serve() -> None:
        with HeldBody(budget) as held:
            held.add(b"x" * 1_000)
            await read(held, HttpRequest(Head("POST", b"/", ()), None, lambda: None))

    task = asyncio.create_task(serve())
    await asyncio.sleep(1)
    assert budget.held_bytes >= 1_000
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert budget.held_bytes == 0


@given(st.lists(st.lists(st.integers(0, 60_000), max_size=4), max_size=12))
async def test_any_crowd_stays_within_the_total(crowd: list[list[int]]) -> None:
    budget = ByteBudget(TOTAL)
    with contextlib.ExitStack() as stack:
        for sizes in crowd:
            held = stack.enter_context(HeldBody(budget))
            with contextlib.suppress(Overloaded, BodyTooLarge):
                await read(held, coming(*(bytes(size) for size in sizes)))
            assert budget.held_bytes <= TOTAL
    assert budget.held_bytes == 0


@virtual_time
async def test_whose_body_is_dropped_is_told_at_once_even_if_no_byte_comes_any_more() -> None:
    budget = ByteBudget(TOTAL)

    stalling = HttpRequest(Head("POST", b"/", ()), None, lambda: None)
    stalling.feed(b"x" * 90_000)
    with HeldBody(budget) as large, HeldBody(budget) as usual, HeldBody(budget) as other:
        task = asyncio.create_task(read(large, stalling))
        await asyncio.sleep(1)
        await read(usual, coming(b"x" * 60_000))
        await read(other, coming(b"x" * 60_000))
        with pytest.raises(Overloaded):
            await task
    assert now_s() == pytest.approx(1)


async def test_nobody_is_told_of_a_body_that_is_not_read_any_more() -> None:
    """Its request is being refused for another reason when its bytes are dropped."""
    budget = ByteBudget(TOTAL)
    with contextlib.ExitStack() as stack:
        refused, *others = (stack.enter_context(HeldBody(budget)) for _ in range(4))
        with pytest.raises(BodyTooLarge):
            await read(refused, coming(b"x" * 60_000, b"x" * 60_000))
        for other in others:
            other.add(b"x" * 50_000)
        with pytest.raises(Overloaded):
            refused.check()
