"""Tells a peer that the LLM works on its request, while there is nothing to pass on: before the first piece, and
after.
"""

import asyncio

from masa_node.chat.answer import StreamedAnswer
from masa_node.network.requests.response_writer import ResponseWriter

FIRST_AFTER_S = 0.1  # most answers begin sooner, and need no frame of their own
EVERY_S = 1.0  # a part of any LLM_IDLE_TIMEOUT that makes sense; that of the peer is not known here
MOST_IN_A_ROW = 4_000  # without a piece; beyond 4 096 a peer takes it for a flood


class SignTeller:
    """Of one request. Call `sign` at each sign of life before the first piece, then `stop`, then `follow` if it
    streams, and `stop` in every case.
    """

    __slots__ = ("_frames", "_left", "_loop", "_out", "_received", "_timer", "_told_s")

    def __init__(self, out: ResponseWriter) -> None:
        self._out = out
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._told_s: float | None = None

    def sign(self) -> None:
        """The LLM has shown that it works: the peer is told now, or with the signs of the next second."""
        if self._timer is not None:
            return
        now_s = self._loop.time()
        at_s = now_s + FIRST_AFTER_S if self._told_s is None else max(now_s, self._told_s + EVERY_S)
        self._timer = self._loop.call_at(at_s, self._tell)

    def follow(self, answer: StreamedAnswer) -> None:
        """This is passed on from now on. A frame of megabytes is held back until all of it is here: meanwhile the peer
        is told once in EVERY_S that its bytes go on to come.
        """
        self._left = MOST_IN_A_ROW
        self._note(answer)

    def stop(self) -> None:
        """Send no more signs. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()

    def _tell(self) -> None:
        self._timer = None
        self._told_s = self._loop.time()
        self._out.alive()

    def _note(self, answer: StreamedAnswer) -> None:
        self._received, self._frames = answer.received(), self._out.frames
        self._timer = self._loop.call_later(EVERY_S, self._look, answer)

    def _look(self, answer: StreamedAnswer) -> None:
        has_sent = self._out.frames != self._frames
        has_come = answer.received() > self._received
        self._note(answer)
        if has_sent:
            self._left = MOST_IN_A_ROW
        elif has_come and self._left:
            self._left -= 1
            self._out.alive()
