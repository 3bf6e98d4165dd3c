"""How many requests may be under way at once; the next ones wait in a bounded queue, each key's or peer's in turn.

Peers' requests have slots of their own, within the owner's, and never go before the owner's.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from masa_node.chat.errors import Overloaded
from masa_node.routing.running.sweep import Sweep

RETRY_AFTER_S = 1


class Admission:
    """At most `max_running` hold a slot and `max_waiting` wait for one. `freed` is called when a slot becomes free
    that nobody waits for. In its methods `key` is the name of the key that asks. None keeps the others out:

    1. A free slot goes to the keys in turn; of one key's requests, to the one that has waited longest.
    2. In a full queue, the key with the most requests waiting makes room.
    """

    def __init__(self, max_running: int, max_waiting: int) -> None:
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._waiting: dict[str, deque[asyncio.Future[bool]]] = {}  # by key, the one whose turn it is first
        self._promised = 0
        self.sweep = Sweep()  # of all that waits with a slot
        self.running = 0
        self.freed: Callable[[], None] | None = None

    @property
    def waiting(self) -> int:
        """How many wait now."""
        return sum(map(len, self._waiting.values()))

    def acquire_now(self, key: str = "") -> bool:
        """Take a slot if it needs no waiting. Each success needs one `release`."""
        del key
        if self.running >= self._max_running or self._waiting:
            return False
        self.running += 1
        return True

    async def acquire(self, key: str = "") -> None:
        """The same, waiting if need be. Raises `Overloaded` when too many wait.

        When cancelled while waiting, no slot is taken.
        """
        if self.acquire_now():
            return
        if self.waiting >= self._max_waiting:
            self._make_room(key)
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append(turn)
        try:
            has_slot = await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.result():  # the slot was given just then: it is handed on
                self.release()
            elif turn in (turns := self._waiting.get(key, deque())):
                turns.remove(turn)
                if not turns:
                    del self._waiting[key]
            raise
        if not has_slot:
            raise self._overloaded()

    def _make_room(self, key: str) -> None:
        """Raises `Overloaded` unless another key has far more in the queue."""
        crowd = max(self._waiting, key=lambda each: len(self._waiting[each]), default=key)
        if len(self._waiting.get(key, ())) + 1 >= len(self._waiting.get(crowd, ())):
            raise self._overloaded()
        newest = self._waiting[crowd].pop()
        if not newest.done():
            newest.set_result(False)

    def _overloaded(self) -> Overloaded:
        return Overloaded(
            f"{self.running} requests are under way and {self.waiting} wait, which is all this node takes "
            f"(MAX_CONCURRENT, MAX_QUEUE). Try again in {RETRY_AFTER_S} s.",
            RETRY_AFTER_S,
        )

    def is_wanted(self, key: str = "") -> bool:
        """Would a slot given back now go to one that waits here, and has the promise of none yet?"""
        del key
        return bool(self._waiting) and self.waiting > self._promised

    def promise(self, slots: int) -> None:
        """So many more that have a slot are about to give it back; -1 when one does, or does not."""
        self._promised += slots

    def release(self, key: str = "") -> None:
        """Give the slot back; one that waits gets it."""
        while self._waiting:
            key = next(iter(self._waiting))
            turns = self._waiting.pop(key)
            turn = turns.popleft()
            if turns:
                self._waiting[key] = turns  # behind the others
            if not turn.done():
                turn.set_result(True)  # the slot changes hands, `running` stays
                return
        self.running -= 1
        if self.freed is not None:
            self.freed()


@dataclass(slots=True, eq=False)
class _Turn:
    """One peer's request in the queue; `slot` becomes False when it has to make room for another peer's."""

    peer: str
    slot: asyncio.Future[bool] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class PeerAdmission:
    """Slots for peers' requests: at most `max_running` of those of `main`, given when nobody waits there.

    At most `max_waiting` requests wait. No peer keeps the others out, however long its answers take:

    1. One peer alone gets all slots but the last.
    2. A free slot goes to the peer that has the fewest; of those, to the one that has waited longest.
    3. In a full queue, the peer with the most requests waiting makes room.

    `rank` goes before all that: peers of a lower number are let in first, and in a full queue those of the highest
    make room. `main` has one `freed`, which this takes while any wait.
    """

    def __init__(self, main: Admission, max_running: int, max_waiting: int, rank: Callable[[str], int]) -> None:
        self._rank = rank
        self._main = main
        self._max_running = max_running
        self._max_of_one = max(1, max_running - 1)
        self._max_waiting = max_waiting
        self._waiting: list[_Turn] = []
        self._slots: dict[str, int] = {}  # of those that have any
        self._promised = 0
        self.sweep = main.sweep
        self.running = 0

    @property
    def waiting(self) -> int:
        """How many peers wait now."""
        return len(self._waiting)

    def acquire_now(self, peer: str = "") -> bool:
        """See `Admission`."""
        if self.running >= self._max_running or not self._may_have_more(peer) or not self._main.acquire_now():
            return False
        self.running += 1
        self._slots[peer] = self._slots.get(peer, 0) + 1
        return True

    async def acquire(self, peer: str = "") -> None:
        """See `Admission`."""
        if self.acquire_now(peer):
            return
        self._make_room(peer)
        turn = _Turn(peer)
        self._waiting.append(turn)
        self._main.freed = self._let_in
        try:
            has_slot = await turn.slot
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif not turn.slot.cancelled() and turn.slot.result():
                self.release(peer)
            raise
        if not has_slot:
            raise self._overloaded()

    def is_wanted(self, peer: str = "") -> bool:
        """See `Admission`. A peer that has all that it may have is let in by a slot of its own alone."""
        able = sum(turn.peer == peer or self._may_have_more(turn.peer) for turn in self._waiting)
        return able > self._promised or self._main.is_wanted()

    def promise(self, slots: int) -> None:
        """See `Admission`."""
        self._promised += slots
        self._main.promise(slots)

    def release(self, peer: str = "") -> None:
        """Give the slot back, here and in `main`; the owner's that waits gets it, else a peer."""
        self.running -= 1
        self._slots[peer] -= 1
        if not self._slots[peer]:
            del self._slots[peer]
        self._main.release()

    def _may_have_more(self, peer: str) -> bool:
        return not peer or self._slots.get(peer, 0) < self._max_of_one

    def _let_in(self) -> None:
        while self._waiting and (turn := self._next()) is not None and self.acquire_now(turn.peer):
            self._waiting.remove(turn)
            turn.slot.set_result(True)
        if not self._waiting:
            self._main.freed = None

    def _next(self) -> _Turn | None:
        """The next to get a slot: of the lowest rank, of these with the fewest slots, of these the longest waiting."""
        able = (turn for turn in self._waiting if not turn.slot.done() and self._may_have_more(turn.peer))
        return min(able, key=lambda turn: (self._rank(turn.peer), self._slots.get(turn.peer, 0)), default=None)

    def _make_room(self, peer: str) -> None:
        """Raises `Overloaded` when the queue is full, unless a lesser peer is in it, or another has far more there."""
        if len(self._waiting) < self._max_waiting:
            return
        waits = Counter(turn.peer for turn in self._waiting)
        crowd = max(waits, key=lambda waiting: (self._rank(waiting), waits[waiting]), default=peer)
        worst, own = self._rank(crowd), self._rank(peer)
        if worst < own or (worst == own and waits[peer] + 1 >= waits[crowd]):
            raise self._overloaded()
        newest = next(turn for turn in reversed(self._waiting) if turn.peer == crowd)
        self._waiting.remove(newest)
        if not newest.slot.done():
            newest.slot.set_result(False)

    def _overloaded(self) -> Overloaded:
        return Overloaded(
            f"{self.running} requests of peers are under way and {len(self._waiting)} wait, which is all that the "
            f"owner of this node allows (MAX_PEER_JOBS, MAX_PEER_QUEUE). Try again in {RETRY_AFTER_S} s.",
            RETRY_AFTER_S,
        )


SlotPool = Admission | PeerAdmission
