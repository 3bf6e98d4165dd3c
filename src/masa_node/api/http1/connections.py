"""What the connections of one server have in common: the application, the bounds on their number, and their end."""

import asyncio
import select
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from masa_node.api.http1.crowd import Crowd, max_connections
from masa_node.api.http1.raw_responses import NOSNIFF_LINE
from masa_node.api.http1.reply import Reply
from masa_node.api.http1.request import HttpRequest
from masa_node.routing.running.sweep import Sweep
from masa_node.routing.running.turn_of_writes import TurnOfWrites

Application = Callable[[HttpRequest, Reply], Awaitable[None]]


class Answering(Protocol):
    """What answers a request: its task, or what does so without one. It says when it has ended, also when cancelled."""

    def cancel(self) -> object:
        """End it."""
        ...


Over = Callable[[Reply, Answering], None]


class WithoutTask(Protocol):
    """An application that answers some requests by calls."""

    def may_begin(self, request: HttpRequest, reply: Reply) -> bool:
        """May this be such a request, so that its body is worth waiting for?"""
        ...

    def begin(self, request: HttpRequest, reply: Reply, over: Over) -> Answering | None:
        """Begin to answer it, whose body is complete; None, and nothing has happened, where it takes a task."""
        ...


_DAYS = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_HUNG_UP: int = getattr(select, "POLLRDHUP", 0)  # Linux's


class Connections:
    """All that are open. A server gives `BoundedHttpProtocol(connections)` to each that comes.

    `keep_alive_s` is how long one may be idle between two requests; `lines` are headers of every answer, as they are
    sent. `tasks` are those of the requests under way. `by_calls` is the same application, where it can do without them.
    """

    def __init__(
        self, app: Application, keep_alive_s: float, lines: bytes = b"", by_calls: WithoutTask | None = None
    ) -> None:
        self.app = app
        self.by_calls = by_calls
        self.bodies = Sweep()  # requests whose body may be complete in a moment
        self.writes = TurnOfWrites()
        self.keep_alive_s = keep_alive_s
        self.crowd = Crowd(max_connections)
        self.tasks: set[Answering] = set()
        self.is_stopping = False
        self._lines = lines + NOSNIFF_LINE
        self._dated = b""  # while it is not known what time it is
        self._fewer: asyncio.Future[None] | None = None

    def standard_lines(self) -> bytes:
        """The headers of every answer. The time in them is made when it is needed, at most once a second."""
        return self._dated or self._dated_now()

    def _dated_now(self) -> bytes:
        at_unix_s = time.time()
        dated = self._dated = b"date: %b\r\n%b" % (http_date(at_unix_s), self._lines)
        asyncio.get_running_loop().call_later(1 - at_unix_s % 1, self._outdate)
        return dated

    def _outdate(self) -> None:
        self._dated = b""

    def stop(self) -> None:
        """Take no more requests: idle connections are closed now, the others when they have answered."""
        self.is_stopping = True
        for connection in list(self.crowd):
            connection.close_if_idle()

    async def all_gone(self, *, only_requests: bool = False) -> None:
        """Until no connection is open, or `only_requests`, and no request under way."""
        while self.tasks or (len(self.crowd) and not only_requests):
            self._fewer = asyncio.get_running_loop().create_future()
            await self._fewer

    def task_is_over(self, task: Answering) -> None:
        """The task of a request has ended."""
        self.tasks.discard(task)
        if self._fewer is not None:
            self.one_less()

    def one_less(self) -> None:
        """A connection has closed, or a task ended."""
        if self._fewer is not None and not self._fewer.done():
            self._fewer.set_result(None)


def http_date(at_unix_s: float) -> bytes:
    """As the Date header has it (RFC 9110, 5.6.7), whatever the process' locale."""
    year, month, day, hour, minute, second, weekday, _, _ = time.gmtime(at_unix_s)
    return b"%b, %02d %b %d %02d:%02d:%02d GMT" % (_DAYS[weekday], day, _MONTHS[month - 1], year, hour, minute, second)


def has_left(transport: asyncio.BaseTransport, *, may_half_close: bool) -> bool:
    """Has the caller reset the connection already, although there is more to read? 2 us; False where nobody can tell.

    Unless it `may_half_close`, has it closed its end? Whoever connects, asks and leaves as fast as it can would have
    others wait until each such request was begun.
    """
    if not _HUNG_UP:
        return False
    connection: socket.socket = transport.get_extra_info("socket")
    poll = select.poll()
    poll.register(connection.fileno(), 0 if may_half_close else _HUNG_UP)
    return bool(poll.poll(0))
