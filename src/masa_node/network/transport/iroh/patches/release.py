"""A guarded fix of when iroh's generated Python code lets go of what it holds in Rust: later, on the event loop.

Its own finalizers do it wherever Python's garbage collector happens to run. That may be in Rust's own thread, inside
the callback with which Rust wakes a reader, while Rust holds the connection's lock. Letting go of a stream takes the
same lock, and nothing moves any more: seen with iroh 1.2.0 after some thousand requests.
"""

# ruff: noqa: SLF001 - the generated module has no other way in

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from types import ModuleType

# What takes a connection's lock, or that of its endpoint, when it is let go of.
HELD = ("recvstream", "sendstream", "bistream", "connection", "connecting", "accepting", "incoming")

_Free = Callable[[int, object], None]


def release_on_loop(glue: ModuleType) -> bool:
    """Give this generated module (`iroh.iroh_ffi`) finalizers that only note what is to be let go of. Did it?

    It does nothing when the module is not built as expected.
    """
    try:
        library, call = glue._UniffiLib, glue._uniffi_rust_call
        frees: dict[str, _Free] = {name: getattr(library, f"uniffi_iroh_ffi_fn_free_{name}") for name in HELD}
    except AttributeError:
        return False
    for name, free in frees.items():
        setattr(library, f"uniffi_iroh_ffi_fn_free_{name}", Releasing(partial(call, free)))
    return True


class Releasing:
    """Stands for one of Rust's functions that let go. May be called in any thread, and in the midst of anything."""

    _loop: asyncio.AbstractEventLoop | None = None  # on which things were let go of last; of all kinds together

    def __init__(self, release: Callable[[int], object]) -> None:
        self._release = release
        self._handles: deque[int] = deque()
        self._due_on: asyncio.AbstractEventLoop | None = None

    def __call__(self, handle: int, status: object) -> None:
        """Note it, and have it done in the next turn of the loop. Without a running loop the next one does it."""
        del status
        self._handles.append(handle)
        loop = asyncio._get_running_loop() or Releasing._loop
        if loop is None or self._due_on is loop:
            return
        Releasing._loop = self._due_on = loop
        try:
            loop.call_soon_threadsafe(self._release_all)
        except RuntimeError:  # it is closed
            Releasing._loop = self._due_on = None

    def _release_all(self) -> None:
        self._due_on = None
        while self._handles:
            self._release(self._handles.popleft())
