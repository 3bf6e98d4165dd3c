"""Events for pages that look on: which requests began and ended, what changed. Bounded, and next to free for nobody.

An event is kept once for all that may see it, and encoded once, when the first of them gets it. Where requests come
faster than pages show them, most are dropped before they cost anything. Never a prompt or an answer.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import islice

import msgspec

from masa_node.chat.errors import Overloaded

MAX_SUBSCRIBERS = 16  # pages of one owner, and of a team
MAX_OF_A_KEY = 4  # of these, of one key with a name
KEPT_FOR_OWNERS = 4  # that no key with a name takes
MAX_WAITING = 256  # events for a subscriber that does not read: some hundred requests
MAX_PIECE_BYTES = 32 * 1024  # given at once: some 80 events
FULL_RETRY_AFTER_S = 10  # somebody closes a page


Make = Callable[[], object]


class _Event:
    """One of them. `make` gives what it says; it must hold nothing large."""

    __slots__ = ("_frame", "_make", "_name")

    def __init__(self, name: str, make: Make) -> None:
        self._name = name
        self._make: Make | None = make
        self._frame = b""

    def frame(self) -> bytes:
        """As it is sent, the same bytes to everybody."""
        if self._make is not None:
            self._frame, self._make = frame(self._name, self._make()), None
        return self._frame


class _Log:
    """The last events that one key may see, for all that look on with it."""

    def __init__(self) -> None:
        self.events: deque[_Event] = deque(maxlen=MAX_WAITING)
        self.count = 0  # of all that ever were in it
        self.subscribers: set[Subscriber] = set()
        self.waiters: set[Subscriber] = set()
        self._given = (0, 0, 0, b"")  # what was asked last, and what was given: those that look on ask together

    def put(self, event: _Event) -> None:
        """One more; the oldest goes where there are too many."""
        self.events.append(event)
        self.count += 1
        if self.waiters:
            self.wake()

    def wake(self) -> None:
        """Those that wait go on."""
        for each in self.waiters:
            each.wake()
        self.waiters.clear()

    def since(self, start: int) -> tuple[int, bytes]:
        """The events from this number on, about MAX_PIECE_BYTES at most, and the number of the next."""
        if self._given[:2] != (start, self.count):
            taken: list[bytes] = []
            size = 0
            for event in islice(self.events, start - self.count + len(self.events), None):
                taken.append(event.frame())
                size += len(taken[-1])
                if size >= MAX_PIECE_BYTES:
                    break
            self._given = start, self.count, start + len(taken), b"".join(taken)
        return self._given[2:]


class Subscriber:
    """One that looks on at a log, from now on."""

    def __init__(self, log: _Log) -> None:
        self.is_over = False  # the node ends
        self.log = log
        self._next = log.count
        self._waiter: asyncio.Future[None] | None = None

    def end(self) -> None:
        """Nothing comes any more."""
        self.is_over = True
        self.wake()

    def wake(self) -> None:
        """Go on, if it waits."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def news(self) -> None:
        """Returns once something waits, or it is over."""
        if self._next < self.log.count or self.is_over:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        self.log.waiters.add(self)
        try:
            await self._waiter
        finally:
            self.log.waiters.discard(self)
            self._waiter = None

    def take(self) -> bytes:
        """What waits, oldest first, about MAX_PIECE_BYTES at most; first of all how many were dropped. b"": nothing."""
        oldest = self.log.count - len(self.log.events)
        dropped = max(0, oldest - self._next)
        self._next, data = self.log.since(max(self._next, oldest))
        return frame("dropped", {"events": dropped}) + data if dropped else data


class Events:
    """All that look on: at most MAX_SUBSCRIBERS."""

    def __init__(self) -> None:
        self._logs: dict[str | None, _Log] = {}  # of those that look on now; None: the owner's
        self._count = 0
        self._is_over = False
        self.is_heard = False  # does anybody look on? If not, an event need not be made

    def subscribe(self, key: str | None) -> Subscriber:
        """One more, of a key, or with None one that sees all; `leave` ends it. Raises `Overloaded`."""
        self._check_room(key)
        log = self._logs.setdefault(key, _Log())
        subscriber = Subscriber(log)
        if self._is_over:
            subscriber.end()
        log.subscribers.add(subscriber)
        self._count += 1
        self.is_heard = True
        return subscriber

    def leave(self, subscriber: Subscriber) -> None:
        """It looks on no more. Idempotent."""
        log = subscriber.log
        if subscriber in log.subscribers:
            log.subscribers.discard(subscriber)
            self._count -= 1
            self._logs = {key: each for key, each in self._logs.items() if each.subscribers}
            self.is_heard = bool(self._logs)

    def _check_room(self, key: str | None) -> None:
        """Those that never read keep a place as those that do, so no key has all of them. Raises `Overloaded`."""
        if self._count >= MAX_SUBSCRIBERS:
            why = f"{MAX_SUBSCRIBERS} pages look on already, as many as may."
        elif key is None:
            return
        elif key in self._logs and len(self._logs[key].subscribers) >= MAX_OF_A_KEY:
            why = f"{MAX_OF_A_KEY} pages look on with this key already, as many as may."
        elif self._count - self._of_owners() >= MAX_SUBSCRIBERS - KEPT_FOR_OWNERS:
            why = "As many pages look on already as may with keys that have names."
        else:
            return
        raise Overloaded(f"{why} Close one, or try again.", FULL_RETRY_AFTER_S)

    def _of_owners(self) -> int:
        return len(self._logs[None].subscribers) if None in self._logs else 0

    def tell(self, name: str, make: Make, key: str | None = None) -> None:
        """Something happened: to a request of `key`, or what concerns all. `make` gives what, if anybody gets it."""
        event, logs = _Event(name, make), self._logs
        for each in logs if key is None else (None, key):
            log = logs.get(each)
            if log is not None:
                log.put(event)

    def tell_changed(self, what: str) -> None:
        """What everybody may fetch has changed: `peers`, `models`."""
        self.tell("changed", lambda: {"what": what})

    def end(self) -> None:
        """The node ends: nobody is kept waiting."""
        self._is_over = True
        for log in self._logs.values():
            for subscriber in log.subscribers:
                subscriber.end()


def frame(name: str, value: object) -> bytes:
    """An event as a stream of server-sent events has it."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(value))
