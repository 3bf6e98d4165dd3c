"""A group that was cancelled, or failed, leaves nothing to the garbage collector; else it is as asyncio's."""

import asyncio
import contextlib
import gc
from collections.abc import Awaitable, Callable, Generator

import pytest

from masa_node.routing.running.tidy_group import TidyGroup


class Held:
    """What the frames on the way of an error hold."""


@contextlib.contextmanager
def nothing_left() -> Generator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
        assert not [one for one in gc.get_objects() if isinstance(one, Held)]
    finally:
        gc.enable()


async def fail() -> None:
    raise ValueError("no")


async def a_task_fails() -> None:
    held = Held()
    async with TidyGroup() as group:
        group.create_task(fail())
    del held


async def the_body_fails() -> None:
    held = Held()
    async with TidyGroup():
        raise ValueError("no")
    del held


async def the_body_is_cancelled() -> None:
    held = Held()
    task = asyncio.current_task()
    assert task is not None
    async with TidyGroup() as group:
        group.create_task(asyncio.sleep(60))
        task.cancel()
        await asyncio.sleep(60)
    del held


async def the_end_is_cancelled() -> None:
    held = Held()
    task = asyncio.current_task()
    assert task is not None
    async with TidyGroup() as group:
        group.create_task(asyncio.sleep(60))
        asyncio.get_running_loop().call_soon(task.cancel)
    del held


@pytest.mark.parametrize("ends", [a_task_fails, the_body_fails, the_body_is_cancelled, the_end_is_cancelled])
def test_nothing_waits_for_the_collector_when(ends: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        try:
            await ends()
        except (asyncio.CancelledError, ExceptionGroup):
            return
        pytest.fail("it ended well")

    with nothing_left():
        asyncio.run(run())


async def test_the_errors_in_a_group_still_say_where_they_were_raised() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await a_task_fails()
    (error,) = caught.value.exceptions
    traceback = error.__traceback__
    assert traceback is not None
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    assert traceback.tb_frame.f_code.co_name == "fail"


async def test_a_group_whose_tasks_end_well_ends_well() -> None:
    async with TidyGroup() as group:
        task = group.create_task(asyncio.sleep(0, "done"))
    assert task.result() == "done"
