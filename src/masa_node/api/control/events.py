"""`GET /api/v1/events`: what happens here, as a stream of server-sent events, for as long as the caller may see it."""

import asyncio
import contextlib
from collections.abc import Callable

from masa_node.accounts.access import Caller
from masa_node.accounts.events import Events, Subscriber, frame
from masa_node.api.http1.reply import RawHeaders, Reply
from masa_node.api.http1.request import HttpRequest
from masa_node.api.views.openapi import NodeEndpoint

EVENTS = NodeEndpoint(
    "/api/v1/events",
    "What happens here, as it happens: `hello`, `began`, `ended`, `changed`, `dropped`",
    "text/event-stream",
)
ALIVE_EVERY_S = 15.0  # proxies close what is silent for a minute
LOOK_EVERY_S = 1.0  # is the caller's key or session still in force?
GIVEN_UP_AFTER_S = 60.0  # one that reads nothing for so long takes a page's place
# All get their pieces at the same beats, so that each is made once, of about MAX_PIECE_BYTES at most: what happens
# meanwhile is gathered, and dropped where it is more than any page shows. A write for each event and page would cost
# more than the requests do.
GATHER_S = 0.25
ALIVE = b": alive\n\n"
_HEADERS: RawHeaders = [(b"content-type", EVENTS.content_type), (b"cache-control", b"no-store")]


class EventStreams:
    """Serves the endpoint. `hello` is what a stream begins with."""

    def __init__(self, events: Events, hello: Callable[[], object]) -> None:
        self._events = events
        self._hello = hello

    async def serve(
        self, request: HttpRequest, reply: Reply, caller: Caller, headers: RawHeaders, holds: Callable[[], bool]
    ) -> None:
        """Until the caller leaves, which cancels it, the node ends, or `holds` is no longer true: the caller's right.

        Raises `Overloaded`.
        """
        subscriber = self._events.subscribe(None if caller.is_owner else caller.name)
        try:
            request.cancel_when_gone()
            await reply.begin(200, [*_HEADERS, *headers])
            await reply.piece(frame("hello", self._hello()))
            await self._pour(subscriber, reply, holds)
            if not reply.is_paused:  # else it is cut: nobody waits for a caller that does not read
                await reply.end()
        finally:
            self._events.leave(subscriber)

    @staticmethod
    async def _pour(subscriber: Subscriber, reply: Reply, holds: Callable[[], bool]) -> None:
        """A caller that does not read is given nothing, and cut in the end: its events wait, the oldest are dropped."""
        loop = asyncio.get_running_loop()
        read_at_s = loop.time()
        alive_at_s = read_at_s + ALIVE_EVERY_S
        while not subscriber.is_over and holds() and loop.time() < read_at_s + GIVEN_UP_AFTER_S:
            if not reply.is_paused:
                read_at_s = loop.time()
            data = b"" if reply.is_paused else subscriber.take()
            if not (data or reply.is_paused) and loop.time() >= alive_at_s:
                data = ALIVE
            if data:
                await reply.piece(data)
                alive_at_s = loop.time() + ALIVE_EVERY_S
            if data or reply.is_paused:
                await asyncio.sleep(GATHER_S - loop.time() % GATHER_S)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await subscriber.news()
