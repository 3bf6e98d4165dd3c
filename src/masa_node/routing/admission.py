"""How many asks may be under way at once; the next ones wait in a bounded queue, first come first served."""

import asyncio
from collections import deque

from masa_node.chat.errors import Overloaded

RETRY_AFTER_S = 1


class Admission:
    """At most `max_running` hold a place and `max_waiting` wait for one."""

    def __init__(self, max_running: int, max_waiting: int) -> None:
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.running = 0

    @property
    def waiting(self) -> int:
        """How many wait now."""
        return len(self._waiting)

    async def enter(self) -> None:
        """Take a place, waiting if need be. Raises `Overloaded` at once when the queue is full.

        When cancelled while waiting, no place is held. Each successful `enter` needs one `leave`.
        """
        if self.running < self._max_running and not self._waiting:
            self.running += 1
            return
        if len(self._waiting) >= self._max_waiting:
            raise Overloaded(
                f"{self.running} requests are under way and {len(self._waiting)} wait, which is all this node takes "
                f"(MAX_CONCURRENT, MAX_QUEUE). Try again in {RETRY_AFTER_S} s.",
                RETRY_AFTER_S,
            )
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.leave()  # the place was given at the moment of the cancel: hand it on
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def leave(self) -> None:
        """Give the place back; the longest waiting gets it."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)  # the place changes hands, `running` stays
                return
        self.running -= 1
