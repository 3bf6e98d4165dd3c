"""How many asks may be under way at once; the next ones wait in a bounded queue, first come first served.

Peers' asks have places of their own, within the owner's, and never go before him.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from masa_node.chat.errors import Overloaded

RETRY_AFTER_S = 1


class Admits(Protocol):
    """Gives out places."""

    async def enter(self, guest: str = "") -> None:
        """Take a place, waiting if need be. Raises `Overloaded` at once when too many wait already.

        `guest` is the peer who asks, "" for the owner. When cancelled while waiting, no place is held. Each successful
        `enter` needs one `leave` with the same guest.
        """
        ...

    def leave(self, guest: str = "") -> None:
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

    async def enter(self, guest: str = "") -> None:
        """See `Admits`."""
        del guest  # it is the owner's door
        if self.enter_now():
            return
        if len(self._waiting) >= self._max_waiting:
            raise Overloaded(
                f"{self.running} requests are under way and {len(self._waiting)} wait, which is all this node takes "
                f"(MAX_CONCURRENT, MAX_QUEUE). Try again in {RETRY_AFTER_S} s.",
                RETRY_AFTER_S,
            )
        await _turn_in(self._waiting, self.leave)

    def leave(self, guest: str = "") -> None:
        """Give the place back; the longest waiting gets it."""
        del guest
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)  # the place changes hands, `running` stays
                return
        self.running -= 1
        if self.freed is not None:
            self.freed()


@dataclass(slots=True, eq=False)
class _Turn:
    """One guest's ask in the queue; `place` becomes False when it has to make room for another guest's."""

    guest: str
    place: asyncio.Future[bool] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class GuestAdmission:
    """Places for peers' asks: at most `max_running` of those of `main`, given when nobody waits there.

    At most `max_waiting` guests wait. No guest keeps the others out, however long his answers take: one alone gets all
    places but the last, a free place goes to the guest who has fewest, and in a full queue who waits most makes room.
    `rank`, where there is one, goes before all that: guests of a lower number are let in first, and in a full queue
    those of the highest make room. `main` serves one guest room: this takes its `freed`.
    """

    rank: Callable[[str], int] | None = None

    def __init__(self, main: Admission, max_running: int, max_waiting: int) -> None:
        self._main = main
        self._max_running = max_running
        self._max_of_one = max(1, max_running - 1)
        self._max_waiting = max_waiting
        self._waiting: list[_Turn] = []
        self._places: Counter[str] = Counter()
        self.running = 0
        main.freed = self._let_in

    @property
    def waiting(self) -> int:
        """How many guests wait now."""
        return len(self._waiting)

    async def enter(self, guest: str = "") -> None:
        """See `Admits`."""
        if self._enter_now(guest):
            return
        self._make_room(guest)
        turn = _Turn(guest)
        self._waiting.append(turn)
        try:
            has_place = await turn.place
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif not turn.place.cancelled() and turn.place.result():
                self.leave(guest)
            raise
        if not has_place:
            raise self._overloaded()

    def leave(self, guest: str = "") -> None:
        """Give the place back, here and in `main`; the owner's longest waiting gets it, else a guest."""
        self.running -= 1
        self._places -= Counter((guest,))  # which forgets those that come to nothing
        self._main.leave()

    def _enter_now(self, guest: str) -> bool:
        if self.running >= self._max_running or not self._may_have_more(guest) or not self._main.enter_now():
            return False
        self.running += 1
        self._places[guest] += 1
        return True

    def _may_have_more(self, guest: str) -> bool:
        return not guest or self._places[guest] < self._max_of_one

    def _let_in(self) -> None:
        while (turn := self._next()) is not None and self._enter_now(turn.guest):
            self._waiting.remove(turn)
            turn.place.set_result(True)

    def _next(self) -> _Turn | None:
        """Of the best guests those who have the fewest places, of them who has waited longest."""
        able = (turn for turn in self._waiting if not turn.place.done() and self._may_have_more(turn.guest))
        return min(able, key=lambda turn: (self._rank(turn.guest), self._places[turn.guest]), default=None)

    def _rank(self, guest: str) -> int:
        return self.rank(guest) if self.rank is not None else 0

    def _make_room(self, guest: str) -> None:
        """Raises `Overloaded` when the queue is full, unless a lesser guest is in it, or another has far more there."""
        if len(self._waiting) < self._max_waiting:
            return
        waits = Counter(turn.guest for turn in self._waiting)
        crowd = max(waits, key=lambda waiting: (self._rank(waiting), waits[waiting]), default=guest)
        worst, own = self._rank(crowd), self._rank(guest)
        if worst < own or (worst == own and waits[guest] + 1 >= waits[crowd]):
            raise self._overloaded()
        newest = next(turn for turn in reversed(self._waiting) if turn.guest == crowd)
        self._waiting.remove(newest)
        if not newest.place.done():
            newest.place.set_result(False)

    def _overloaded(self) -> Overloaded:
        return Overloaded(
            f"{self.running} requests of peers are under way and {len(self._waiting)} wait, which is all that the "
            f"owner of this node allows (MAX_PEER_JOBS, MAX_PEER_QUEUE). Try again in {RETRY_AFTER_S} s.",
            RETRY_AFTER_S,
        )


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
