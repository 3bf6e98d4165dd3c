"""A guarded fix of how iroh's generated Python code wakes the task that waits for a call into Rust.

Its own callback goes through the event loop's wake-up pipe even when the call was over at once, on the loop's own
thread. That is a turn of the loop and two system calls for each call. And it fails, with a trace on the terminal, when
Rust answers after the loop was closed.
"""

# ruff: noqa: SLF001 - the generated module has no other way in

import asyncio
import ctypes
from collections.abc import Callable, Coroutine
from types import ModuleType
from typing import TypeVar

_GLUE_FUNCTION = "_uniffi_rust_call_async"
_CALLBACK = "_uniffi_continuation_callback"
_NAMES_IN_IT = {_CALLBACK, "_UniffiContinuationHandleMap", "insert", "create_future"}

Callback = TypeVar("Callback")
_Waiter = tuple[asyncio.AbstractEventLoop, asyncio.Future[int]]


def settle_directly(glue: ModuleType) -> bool:
    """Give this generated module (`iroh.iroh_ffi`) a callback that settles on the spot where it can. Did it?

    Call it before the first call into Rust. It does nothing when the module is not built as expected.
    """
    try:
        names = set(getattr(glue, _GLUE_FUNCTION).__code__.co_names)
        take: Callable[[int], _Waiter] = glue._UniffiContinuationHandleMap.remove
        callback_type = glue._UNIFFI_RUST_FUTURE_CONTINUATION_CALLBACK
        is_as_expected = names >= _NAMES_IN_IT and isinstance(getattr(glue, _CALLBACK), callback_type)
    except (AttributeError, TypeError):
        return False
    if is_as_expected:
        vars(glue)[_CALLBACK] = never_freed(callback_type(Settling(take)))
    return is_as_expected


def never_freed(callback: Callback) -> Callback:
    """The same: Rust may call it as long as the process lives, when the interpreter has let go of all modules too."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(callback))
    return callback


def run_now(call: Coroutine[object, object, object]) -> None:
    """Make a call that never waits in Rust, without a task: it is done when it first yields, or ends. Raises as it."""
    try:
        call.send(None)
    except StopIteration:
        pass
    finally:
        call.close()


class Settling:
    """The callback: Rust calls it with a handle, from any thread, once for each handle."""

    def __init__(self, take: Callable[[int], _Waiter]) -> None:
        self._take = take

    def __call__(self, handle: int, poll_code: int) -> None:
        """Settle the future that was left under this handle; what was cancelled, or whose loop is closed, is let be."""
        loop, future = self._take(handle)
        if _running_here() is loop:
            _settle(future, poll_code)
            return
        try:
            loop.call_soon_threadsafe(_settle, future, poll_code)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return


def _running_here() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:  # a thread of Rust's
        return None


def _settle(future: asyncio.Future[int], poll_code: int) -> None:
    if not future.done():
        future.set_result(poll_code)
