import asyncio
import threading
from collections.abc import Callable, Coroutine
from types import ModuleType

import pytest

from masa_node.network.transport.iroh.patches.wake_ups import Settling, run_now, settle_directly
from tests.network.transport.iroh.patches.test_byte_copy import fresh_glue

Waiter = tuple[asyncio.AbstractEventLoop, asyncio.Future[int]]


class Calls:
    """Stands for Rust: futures under handles."""

    def __init__(self) -> None:
        self.waiting: dict[int, Waiter] = {}
        self.settling = Settling(self.waiting.pop)

    def begin(self) -> tuple[int, asyncio.Future[int]]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int] = loop.create_future()
        handle = len(self.waiting) + 1
        self.waiting[handle] = (loop, future)
        return handle, future


async def test_a_call_that_is_over_at_once_is_settled_on_the_spot() -> None:
    calls = Calls()
    handle, future = calls.begin()
    calls.settling(handle, 0)
    assert future.done()
    assert not calls.waiting


async def test_a_call_that_ends_in_another_thread_wakes_the_loop() -> None:
    calls = Calls()
    handle, future = calls.begin()
    threading.Timer(0.01, calls.settling, (handle, 1)).start()
    assert await asyncio.wait_for(future, 10) == 1


async def test_an_answer_for_a_call_that_was_cancelled_is_let_be() -> None:
    calls = Calls()
    for in_thread in (False, True):
        handle, future = calls.begin()
        future.cancel()
        if in_thread:
            await asyncio.to_thread(calls.settling, handle, 0)
        else:
            calls.settling(handle, 0)
        await asyncio.sleep(0)
        assert future.cancelled()


def test_an_answer_for_a_loop_that_is_closed_is_let_be() -> None:
    calls = Calls()

    async def begin() -> int:
        return calls.begin()[0]

    handle = asyncio.run(begin())
    calls.settling(handle, 0)
    assert not calls.waiting


def test_a_call_that_never_waits_is_made_without_a_task() -> None:
    made: list[str] = []

    async def call() -> None:
        made.append("made")

    run_now(call())
    assert made == ["made"]


async def test_a_call_is_let_go_of_at_its_first_wait() -> None:
    steps: list[str] = []

    async def call() -> None:
        steps.append("made")
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            steps.append("freed")

    run_now(call())
    assert steps == ["made", "freed"]


def test_what_a_call_raises_is_raised() -> None:
    async def call() -> None:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - which is all there is
        run_now(call())


def without_the_function(glue: ModuleType) -> None:
    del glue._uniffi_rust_call_async


def without_handles(glue: ModuleType) -> None:
    del glue._UniffiContinuationHandleMap


def with_another_function(glue: ModuleType) -> None:
    async def call(rust_future: int) -> Coroutine[object, object, object]:
        raise AssertionError("only its shape is looked at")

    glue._uniffi_rust_call_async = call


def with_another_callback(glue: ModuleType) -> None:
    glue._uniffi_continuation_callback = print


@pytest.mark.parametrize(
    "change", [without_the_function, without_handles, with_another_function, with_another_callback]
)
def test_a_glue_that_is_not_as_expected_stays_as_it_was(change: Callable[[ModuleType], None]) -> None:
    glue = fresh_glue()
    change(glue)
    before = glue._uniffi_continuation_callback
    assert settle_directly(glue) is False
    assert glue._uniffi_continuation_callback is before


def test_a_glue_that_is_as_expected_gets_the_callback() -> None:
    glue = fresh_glue()
    before = glue._uniffi_continuation_callback
    assert settle_directly(glue)
    assert glue._uniffi_continuation_callback is not before
