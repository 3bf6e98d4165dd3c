"""What is read in one turn of the loop is bounded, so that everything else has its turn, too.

A loop that finds as many connections to read as it asks for at once asks again, up to 48 times, before it does anything
else: tasks, timers and new callers wait for a second and more. So from then on connections rest once they were read,
and go on in the order in which they came to rest.

See docs/decisions/0045-writes-of-a-turn.md.
"""

import asyncio
from collections import deque
from typing import Protocol

LOOK_AFTER = 512  # reads, maybe of several turns: from then on the end of a turn is waited for, which costs time, too
MAX_READS = LOOK_AFTER + 1024  # in a turn, before any rests: uvloop asks for so many at once
GO_ON = 256  # of those that rest, in each turn: 5 ms of pieces of streams


class Rests(Protocol):
    """A connection that rests."""

    def go_on(self) -> None:
        """It may be read again."""
        ...


class TurnOfReads:
    """Counts the reads of connections of one loop."""

    __slots__ = ("_loop", "count", "resting")

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self.count = 0
        self.resting: deque[Rests] = deque()

    def has_to_rest(self, connection: Rests) -> bool:
        """This one was read. True: not again before its `go_on` is called."""
        count = self.count
        if count > MAX_READS or self.resting:
            self.resting.append(connection)
            return True
        if count == LOOK_AFTER:
            self._loop = self._loop or asyncio.get_running_loop()
            self._loop.call_soon(self._end, self._loop)
        return False

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        self.count, resting = 0, self.resting
        for _ in range(min(GO_ON, len(resting))):
            resting.popleft().go_on()
        if resting:
            loop.call_soon(self._end, loop)
