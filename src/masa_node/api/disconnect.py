"""Watches for the caller's leaving while an answer is being made."""

import asyncio
from types import TracebackType
from typing import Self

from masa_node.api.request_body import ClientDisconnected
from masa_node.api.responses import Receive

# Most answers to quick questions are given before; those do not pay for a task.
WATCH_AFTER_S = 0.02


class DisconnectWatcher:
    """An async context manager: its body is cancelled, and `ClientDisconnected` raised, when the caller closes the
    connection.

    The body must not raise anything but `CancelledError`. Nothing is left running afterwards.
    """

    __slots__ = ("_group", "_receive", "_timer", "_watcher")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._group = asyncio.TaskGroup()
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER_S, self._start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        is_gone = False
        try:
            await self._group.__aexit__(kind, error, trace)
        except BaseExceptionGroup as ended:
            ended.__traceback__ = None  # the task group's frame, which holds this error: a circle
            gone, others = ended.split(ClientDisconnected)
            if others is not None:
                raise others from None
            is_gone = gone is not None
        finally:
            self._watcher = None  # the trace of what ended it refers to this object
        if is_gone:
            raise ClientDisconnected

    def _start(self) -> None:
        self._watcher = self._group.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnected
