"""Events for pages that look on: which requests began and ended, what changed. Bounded, and next to free for nobody.

An event is encoded once, as a frame of a stream of server-sent events, and the same bytes wait for every subscriber.
Never a prompt or an answer.
"""

import asyncio
from collections import deque

import msgspec

from masa_node.chat.errors import Overloaded

MAX_SUBSCRIBERS = 16  # pages of one owner, and of a team
MAX_WAITING = 256  # events of a subscriber that does not read: some hundred requests
MAX_PIECE_BYTES = 64 * 1024  # given at once
FULL_RETRY_AFTER_S = 10  # somebody closes a page


class Subscriber:
    """One that looks on. `key`: only events about requests of this key; None: all."""

    def __init__(self, key: str | None) -> None:
        self.key = key
        self.is_over = False  # the node ends
        self._waiting: deque[bytes] = deque()
        self._dropped = 0
        self._news = asyncio.Event()

    def put(self, event: bytes) -> None:
        """One more; the oldest goes where too many wait."""
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft()
            self._dropped += 1
        self._waiting.append(event)
        self._news.set()

    def end(self) -> None:
        """Nothing comes any more."""
        self.is_over = True
        self._news.set()

    async def news(self) -> None:
        """Returns once something waits, or it is over."""
        await self._news.wait()

    def take(self) -> bytes:
        """What waits, oldest first, about MAX_PIECE_BYTES at most; first of all how many were dropped. b"": nothing."""
        taken: list[bytes] = []
        if self._dropped:
            taken.append(frame("dropped", {"events": self._dropped}))
            self._dropped = 0
        size = 0
        while self._waiting and size < MAX_PIECE_BYTES:
            event = self._waiting.popleft()
            size += len(event)
            taken.append(event)
        if not (self._waiting or self.is_over):
            self._news.clear()
        return b"".join(taken)


class Events:
    """All that look on: at most MAX_SUBSCRIBERS."""

    def __init__(self) -> None:
        self._subscribers: set[Subscriber] = set()
        self._is_over = False

    @property
    def is_heard(self) -> bool:
        """Does anybody look on? If not, an event need not be made."""
        return bool(self._subscribers)

    def subscribe(self, key: str | None) -> Subscriber:
        """One more; `leave` ends it. Raises `Overloaded`."""
        if len(self._subscribers) >= MAX_SUBSCRIBERS:
            raise Overloaded(
                f"{MAX_SUBSCRIBERS} pages look on already, as many as may. Close one, or try again.", FULL_RETRY_AFTER_S
            )
        subscriber = Subscriber(key)
        if self._is_over:
            subscriber.end()
        self._subscribers.add(subscriber)
        return subscriber

    def leave(self, subscriber: Subscriber) -> None:
        """It looks on no more."""
        self._subscribers.discard(subscriber)

    def tell(self, name: str, value: object, key: str | None = None) -> None:
        """Something happened: to a request of `key`, or what concerns all. Costs nothing unless `is_heard`."""
        if not self._subscribers:
            return
        event = frame(name, value)
        for subscriber in self._subscribers:
            if key is None or subscriber.key in (None, key):
                subscriber.put(event)

    def end(self) -> None:
        """The node ends: nobody is kept waiting."""
        self._is_over = True
        for subscriber in self._subscribers:
            subscriber.end()


def frame(name: str, value: object) -> bytes:
    """An event as a stream of server-sent events has it."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(value))
