"""Reads and writes of iroh's streams by direct calls into Rust.

For each of them iroh's generated Python code makes two coroutines, a future and a lock, and each wake-up makes a Python
thread state for Rust's thread. Here the event loop polls Rust's future itself, and the thread state is made once.

A future of Rust's is polled with a key. Rust answers each poll once: READY from inside of the poll, or MAYBE_READY
later, from a thread of its own; then it is to be polled again. See `docs/decisions/0011-iroh-glue.md`.
"""

# ruff: noqa: SLF001 - the generated module has no other way in

import asyncio
import ctypes
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import import_module
from itertools import count
from threading import get_ident
from typing import Protocol

import iroh

from masa_node.network.transport.interfaces import MAX_READ_BYTES
from masa_node.network.transport.iroh.keys import FOREIGN
from masa_node.network.transport.iroh.patches.wake_ups import never_freed

IN_A_ROW = 4  # reads of one stream that wait for nothing, before others have their turn
FEW_BYTES = 4096  # each read that waits holds a buffer of its size; streams of small pieces get a small one
RARE_S = 0.002  # between two writes: one request, from its first piece to its end, takes less
_PREFIX_BYTES = 4  # the length before bytes that cross, big-endian

_glue = import_module("iroh.iroh_ffi")  # whose names are private, all of them
_rust = _glue._UniffiLib
_Status = _glue._UniffiRustCallStatus


class _Answers:
    """What Rust calls with its answers, in whichever thread. It must not raise, also while the interpreter ends and the
    names of this module are gone.
    """

    def __init__(self) -> None:
        self.calls: dict[int, _Call] = {}  # that Rust will answer, by key
        self.keys = count(1)
        self._threads: set[int] = set()  # of Rust's, that have a thread state
        self._this_thread = get_ident
        self._keep_state = ctypes.pythonapi.PyGILState_Ensure

    def __call__(self, key: int, code: int) -> None:
        call = self.calls.get(key)
        if call is None:  # it was given up
            return
        if not code:  # READY
            call.is_ready = True
            return
        call.wake()
        thread = self._this_thread()
        if thread not in self._threads:
            self._threads.add(thread)
            self._keep_state()  # and never let go of: the thread state of this thread stays


_answers = _Answers()
_ANSWERED = never_freed(_glue._UNIFFI_RUST_FUTURE_CONTINUATION_CALLBACK(_answers))


class _Pointer(Protocol):
    def __getitem__(self, part: slice) -> bytes: ...


class _Buffer(Protocol):
    """Bytes that Rust owns."""

    len: int
    data: _Pointer


class _Call(ABC):
    """One call at a time on one half of a stream: a future of Rust's, polled until it is over."""

    __slots__ = ("_done", "_future", "_handle", "_key", "_loop", "_status", "is_ready")

    # Of the kind of future, by what it gives.
    _poll: Callable[[int | None, object, int], None]
    _complete: Callable[[int, object], _Buffer]
    _free: Callable[[int], None]

    _answers = _answers

    def __init__(self, half: iroh.RecvStream | iroh.SendStream, loop: asyncio.AbstractEventLoop) -> None:
        self._handle: int = vars(half)["_handle"]
        self._loop = loop
        self._key = next(self._answers.keys)
        self._status = _Status()
        self._future: int | None = None
        self._done: asyncio.Future[None] | None = None
        self.is_ready = False

    def wake(self) -> None:
        """Go on soon; called from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._go_on)
        except RuntimeError:  # the loop is closed: nobody waits any more
            self._answers.calls.pop(self._key, None)

    def give_up(self, error: Exception | None = None) -> None:
        """Let go of the half of the stream, at once. Whoever waits gets the error. Idempotent."""
        self._answers.calls.pop(self._key, None)
        self._key = next(self._answers.keys)  # an answer may be on its way
        future, done = self._future, self._done
        self._future = self._done = None
        if future is not None:
            type(self)._free(future)
        if error is not None and done is not None and not done.done():
            done.set_exception(error)
            done.exception()  # whoever waits may be cancelled before it learns of it

    def _is_over(self) -> bool:
        self.is_ready = False
        self._answers.calls[self._key] = self
        type(self)._poll(self._future, _ANSWERED, self._key)
        return self.is_ready

    def _result(self) -> _Buffer:
        """What came of it. Raises what is in FOREIGN."""
        del self._answers.calls[self._key]
        future, self._future = self._future, None
        assert future is not None  # noqa: S101 - it was polled
        result = type(self)._complete(future, self._status)
        type(self)._free(future)
        if self._status.code:
            status, self._status = self._status, _Status()
            _glue._uniffi_check_call_status(_glue._UniffiFfiConverterTypeIrohError__as_error, status)
        return result

    def _end(self, error: Exception | None) -> None:
        done, self._done = self._done, None
        if done is None or done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    @abstractmethod
    def _go_on(self) -> None:
        """Poll, if there is something to be polled."""


def _nobody(data: bytes) -> object:
    del data
    return False


class Reading(_Call):
    """`start` gives what comes to `came`, by direct calls, until that says by a false value that it has enough for now.
    The last that it gives is b"", when the peer has finished.
    """

    __slots__ = ("_came", "_in_a_row", "_want")

    _poll = _rust.ffi_iroh_ffi_rust_future_poll_rust_buffer
    _complete = _rust.ffi_iroh_ffi_rust_future_complete_rust_buffer
    _free = _rust.ffi_iroh_ffi_rust_future_free_rust_buffer

    def __init__(self, half: iroh.RecvStream, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(half, loop)
        self._want = FEW_BYTES
        self._in_a_row = 0
        self._came: Callable[[bytes], object] = _nobody

    def give_up(self, error: Exception | None = None) -> None:
        """See `_Call`. `came` is let go of, too: it may hold the stream, which holds what Rust has of it."""
        super().give_up(error)
        self._came = _nobody

    def start(self, came: Callable[[bytes], object]) -> asyncio.Future[None]:
        """Done when `came` has enough. Raises what is in FOREIGN, and whatever `came` raises."""
        self._came = came
        done = self._done = self._loop.create_future()
        self._go_on()
        return done

    def _go_on(self) -> None:
        try:
            while self._done is not None and not self._done.done():
                if self._in_a_row == IN_A_ROW:
                    self._in_a_row = 0
                    self._loop.call_soon(self._go_on)
                    return
                if self._future is None:
                    self._future = self._begun()
                if not self._is_over():
                    self._in_a_row = 0
                    return
                self._in_a_row += 1
                data = self._taken(self._result())
                if not self._came(data) or not data:
                    self._end(None)
        except Exception as exc:  # noqa: BLE001 - raised to whoever waits
            self._end(exc)

    def _begun(self) -> int:
        handle = _rust.uniffi_iroh_ffi_fn_clone_recvstream(self._handle, self._status)
        future: int = _rust.uniffi_iroh_ffi_fn_method_recvstream_read(handle, self._want)
        return future

    def _taken(self, buffer: _Buffer) -> bytes:
        data: bytes = buffer.data[_PREFIX_BYTES : buffer.len]
        _rust.ffi_iroh_ffi_rustbuffer_free(buffer, self._status)
        size = len(data)
        if size == self._want:
            self._want = MAX_READ_BYTES
        elif size < FEW_BYTES:
            self._want = FEW_BYTES
        return data


def _go_on_at_once() -> None:
    """Where a thread cannot step aside."""


_step_aside: Callable[[], None] = getattr(os, "sched_yield", _go_on_at_once)


class Writing(_Call):
    """`start` gives bytes to the transport.

    A thread of Rust's sends them. Where that shares a core with this one, it runs when this one sleeps: after the last
    bytes of an answer that is 0.2 ms of accounts and logs later. So after the only write in a while this thread steps
    aside. Where writes are many it would be one more switch for each of them.
    """

    __slots__ = ()

    _wrote_s = 0.0  # of the loop's clock; the last write of this process

    _poll = _rust.ffi_iroh_ffi_rust_future_poll_void
    _complete = _rust.ffi_iroh_ffi_rust_future_complete_void
    _free = _rust.ffi_iroh_ffi_rust_future_free_void

    def start(self, data: bytes) -> asyncio.Future[None] | None:
        """None if it took them all at once; else done when it has. Raises what is in FOREIGN, at once or then."""
        payload = len(data).to_bytes(_PREFIX_BYTES, "big") + data
        buffer = _rust.ffi_iroh_ffi_rustbuffer_alloc(len(payload), self._status)
        ctypes.memmove(buffer.data, payload, len(payload))
        buffer.len = len(payload)
        handle = _rust.uniffi_iroh_ffi_fn_clone_sendstream(self._handle, self._status)
        self._future = _rust.uniffi_iroh_ffi_fn_method_sendstream_write_all(handle, buffer)
        if self._is_over():
            self._result()
            self._step_aside()
            return None
        done = self._done = self._loop.create_future()
        return done

    def _step_aside(self) -> None:
        now_s = self._loop.time()
        if now_s - Writing._wrote_s >= RARE_S:
            _step_aside()
        Writing._wrote_s = now_s

    def _go_on(self) -> None:
        if self._done is None or self._done.done():
            return
        try:
            if self._is_over():
                self._result()
                self._end(None)
        except FOREIGN as exc:
            self._end(exc)
