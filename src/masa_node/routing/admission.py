"""How many asks may be under way at once; the next ones wait in a bounded queue, first come first served.

Peers' asks have places of their own, within the owner's, and never go before him.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from masa_node.chat.errors import Overloaded

RETRY_AFTER_S = 1


class Admits(Protocol):
    """Gives out places."""

    async def enter(self) -> None:
        """Take a place, waiting if need be. Raises `Overloaded` at once when too many wait already.

        When cancelled while waiting, no place is held. Each successful `enter` needs one `leave`.
        """
        ...

    def leave(self) -> None:
        """Give the place back."""
        ...


class Admission:
    """At most `max_running` hold a place and `max_waiting` wait for one. `freed` is called when a place becomes free
    that nobody waits for.
    """

    def __init__(self, max_running: int, max_waiting: int) -> None:
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.running = 0
        self.freed: Callable[[], None] | None = None

    @property
    def waiting(self) -> int:
        """How many wait now."""
        return len(self._waiting)

    def enter_now(self) -> bool:
        """Take a place if one is free and nobody waits for it."""
        if self.running >= self._max_running or self._waiting:
            return False
        self.running += 1
        return True

    async def enter(self) -> None:
        """See `Admits`."""
        if self.enter_now():
            return
        if len(self._waiting) >= self._max_waiting:
            raise Overloaded(
                f"{self.running} requests are under way and {len(self._waiting)} wait, which is all this node takes "
                f"(MAX_CONCURRENT, MAX_QUEUE). Try again in {RETRY_AFTER_S} s.",
                RETRY_AFTER_S,
            )
        await _turn_in(self._waiting, self.leave)

    def leave(self) -> None:
        """Give the place back; the longest waiting gets it."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)  # the place changes hands, `running` stays
                return
        self.running -= 1
        if self.freed is not None:
            self.freed()


class GuestAdmission:
    """Places for peers' asks: at most `max_running` of those of `main`, given when nobody waits there.

    At most `max_waiting` guests wait. `main` serves one guest room: this takes its `freed`.
    """

    def __init__(self, main: Admission, max_running: int, max_waiting: int) -> None:
        self._main = main
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.running = 0
        main.freed = self._let_in

    @property
    def waiting(self) -> int:
        """How many guests wait now."""
        return len(self._waiting)

    async def enter(self) -> None:
        """See `Admits`."""
        if not self._waiting and self._enter_now():
            return
        if len(self._waiting) >= self._max_waiting:
            raise Overloaded(
                f"{self.running} requests of peers are under way and {len(self._waiting)} wait, which is all that the "
                f"owner of this node allows (MAX_PEER_JOBS, MAX_PEER_QUEUE). Try again in {RETRY_AFTER_S} s.",
                RETRY_AFTER_S,
            )
        await _turn_in(self._waiting, self.leave)

    def leave(self) -> None:
        """Give the place back, here and in `main`; the owner's longest waiting gets it, else a guest."""
        self.running -= 1
        self._main.leave()

    def _enter_now(self) -> bool:
        if self.running >= self._max_running or not self._main.enter_now():
            return False
        self.running += 1
        return True

    def _let_in(self) -> None:
        while self._waiting:
            if self._waiting[0].done():
                self._waiting.popleft()
            elif self._enter_now():
                self._waiting.popleft().set_result(None)
            else:
                return


async def _turn_in(queue: deque[asyncio.Future[None]], leave: Callable[[], None]) -> None:
    """Wait in this queue for a place. When cancelled none is held: one that was given just then is handed on."""
    turn = asyncio.get_running_loop().create_future()
    queue.append(turn)
    try:
        await turn
    except asyncio.CancelledError:
        if not turn.cancelled():
            leave()
        elif turn in queue:
            queue.remove(turn)
        raise
