"""Tells a peer that the LLM works on its request, while there is nothing to pass on: before the first piece, and
after.
"""

import asyncio
from types import TracebackType
from typing import Self

from masa_node.chat.answer import StreamedAnswer
from masa_node.network.requests.response_writer import ResponseWriter

FIRST_AFTER_S = 0.1  # most answers begin sooner, and need no frame of their own
EVERY_S = 1.0  # a part of any LLM_IDLE_TIMEOUT that makes sense; that of the peer is not known here
MOST_IN_A_ROW = 4_000  # without a piece; beyond 4 096 a peer takes it for a flood


class SignTeller:
    """An async context manager around the wait for the first piece: nothing of it is under way afterwards.

    `sign` tells of one sign of life, now or with those of the next second. From the first on `patience`, the time
    that the peer gave, has no end: the peer ends its request itself when it wants no more.
    """

    __slots__ = ("_group", "_loop", "_out", "_patience", "_telling", "_timer", "_told_s")

    def __init__(self, out: ResponseWriter, patience: asyncio.Timeout, group: asyncio.TaskGroup) -> None:
        self._out = out
        self._patience = patience
        self._group = group
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._telling: asyncio.Task[None] | None = None
        self._told_s: float | None = None

    def sign(self) -> None:
        """The LLM has shown that it works."""
        if self._timer is not None:
            return
        now_s = self._loop.time()
        if self._told_s is not None:
            at_s = max(now_s, self._told_s + EVERY_S)
        else:
            at_s = now_s + FIRST_AFTER_S
            if not self._patience.expired():
                self._patience.reschedule(None)
        self._timer = self._loop.call_at(at_s, self._tell)

    def _tell(self) -> None:
        self._timer = None
        self._told_s = self._loop.time()
        if self._telling is None or self._telling.done():  # else the peer takes nothing now
            self._telling = _tell_alive(self._out, self._group)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._telling is not None and not self._telling.done():
            self._telling.cancel()  # it writes all of its frame or nothing
            await asyncio.wait((self._telling,))


class StreamTeller:
    """A context manager around the sending of a stream. A frame of megabytes is held back until all of it is here:
    meanwhile the peer is told once in EVERY_S that its bytes go on to come.
    """

    __slots__ = ("_answer", "_frames", "_group", "_left", "_out", "_received", "_telling", "_timer")

    def __init__(self, out: ResponseWriter, answer: StreamedAnswer, group: asyncio.TaskGroup) -> None:
        self._out = out
        self._answer = answer
        self._group = group
        self._telling: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        self._note()
        self._left = MOST_IN_A_ROW

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()

    def _note(self) -> None:
        self._received, self._frames = self._answer.received(), self._out.frames
        self._timer = asyncio.get_running_loop().call_later(EVERY_S, self._look)

    def _look(self) -> None:
        has_sent = self._out.frames != self._frames
        has_come = self._answer.received() > self._received
        self._note()
        if has_sent:
            self._left = MOST_IN_A_ROW
        elif has_come and self._left and (self._telling is None or self._telling.done()):
            self._left -= 1
            self._telling = _tell_alive(self._out, self._group)


def _tell_alive(out: ResponseWriter, group: asyncio.TaskGroup) -> asyncio.Task[None] | None:
    telling = out.alive()
    try:
        return group.create_task(telling)
    except RuntimeError:  # the group has begun to end: the peer is told how
        telling.close()
        return None
