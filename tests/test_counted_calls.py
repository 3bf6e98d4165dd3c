import asyncio

from tests.counted_calls import CountedCalls, calls_by_turn


def nothing() -> None:
    pass


def test_calls_in_python_and_in_c_are_counted_until_the_block_ends() -> None:
    with CountedCalls() as few:
        nothing()
    with CountedCalls() as many:
        for _ in range(10):
            nothing()
            len("")
    nothing()
    assert many.count - few.count == 19


async def test_each_turn_of_the_loop_has_its_own_calls() -> None:
    async def work() -> None:
        for calls in (1, 100, 40, 1):
            for _ in range(calls):
                nothing()
            await asyncio.sleep(0)

    turns = await calls_by_turn(work)
    _, second, third, *_ = turns
    assert second - third == 60
