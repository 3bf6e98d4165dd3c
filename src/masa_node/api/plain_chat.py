"""A chat request on the plain way, between its connection and routing: answered by calls as far as it is plain."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec

from masa_node.accounts.access import Access, Caller
from masa_node.accounts.under_way import Entry
from masa_node.api.http1.connections import Over
from masa_node.api.http1.reply import Reply
from masa_node.api.http1.request import HttpRequest
from masa_node.api.reply_sink import ReplySink
from masa_node.api.responses import whole_lines
from masa_node.chat.answer import WholeAnswer
from masa_node.chat.errors import MasaError
from masa_node.chat.outcome import Attempt
from masa_node.chat.request import FORM_ENDPOINTS, Endpoint, Request
from masa_node.routing.answers.byte_budget import ByteBudget
from masa_node.routing.dispatch import Dispatcher
from masa_node.routing.plain import Plain, Row

PLAIN_ENDPOINTS = frozenset(Endpoint) - FORM_ENDPOINTS - {Endpoint.NATIVE, Endpoint.OLLAMA_SHOW}

Guarded = Callable[[Awaitable[None], HttpRequest, Reply], Coroutine[Any, Any, None]]


class Around(msgspec.Struct, frozen=True):
    """What is around all requests: the budget of bodies, and the end of all exceptions."""

    bodies: ByteBudget
    guarded: Guarded


class PlainChat(Entry):
    """One request, as `Answering` (of its connection, and of what is under way), and as routing's `Host`."""

    __slots__ = ("_access", "_around", "_caller", "_over", "_plain", "_running", "_sink", "reply")

    def __init__(self, request: Request, caller: Caller, access: Access, reply: Reply, around: Around) -> None:
        Entry.__init__(self, request, None)  # `super()` is made for each call
        self._caller = caller
        self._access = access
        self.reply = reply
        self._around = around
        self._sink: ReplySink | None = None
        self._running: asyncio.Task[None] | None = None

    def begin(self, way: Dispatcher, row: Row, over: Over) -> bool:
        """False, and nothing has happened, where it is not plain. `over` is called at its end."""
        bodies, size = self._around.bodies, len(self.request.body)
        if not bodies.lend(size):
            return False
        plain = way.begin(row, self.request, self)
        if plain is None:
            bodies.give_back(size)
            return False
        self._plain: Plain | None = plain
        self._over = over
        self.task = self  # a circle, which `over` opens
        self._access.under_way.put(self)
        self.reply.request.is_cancelled_when_gone = True
        return True

    # ---- see `Answering`, of the connection and of what is under way ----

    def cancel(self) -> None:
        """The caller has left, the owner ends it, or the server stops."""
        if self._running is not None:
            # Not now: a task that is cancelled before its first step never takes one, and what it was given stays open.
            self._running.get_loop().call_soon(self._running.cancel)
        elif self._plain is not None:
            self._plain.cancel()
            if self.ended_by is not None and not self.reply.request.is_gone:
                self.go_on(self._tell(self.ended_by))
            else:
                self.over()

    def uncancel(self) -> int:
        """See `asyncio.Task`."""
        return self._running.uncancel() if self._running is not None else 0

    # ---- see `Host` ----

    @property
    def is_ready(self) -> bool:
        """Does the caller read?"""
        return not self.reply.is_paused

    @property
    def sink(self) -> ReplySink:
        """Made when it is needed: most whole answers do without."""
        if self._sink is None:
            self._sink = ReplySink(self.request, self.reply, is_native=False)
        return self._sink

    def give(self, answer: WholeAnswer, attempt: Attempt) -> bool:
        """A whole answer, which is not large. Its headers are ready, unless more than usual are told."""
        request, reply = self.request, self.reply
        if reply.is_paused:
            return False
        if reply.amend is not None or request.asks_usage:
            self.sink.head(answer, (attempt,))
            self.sink.end(answer.body)
        else:
            lines = whole_lines(request.request_id, request.model, attempt, answer)
            reply.whole_now(answer.status, lines, answer.body)
        return True

    def go_on(self, rest: Coroutine[Any, Any, None]) -> None:
        """The rest is a task's."""
        self._running = asyncio.get_running_loop().create_task(self._run(rest))

    def over(self) -> None:
        """All is told."""
        self._plain = None
        self._access.under_way.remove(self)
        self._access.leave(self._caller)
        self._around.bodies.give_back(len(self.request.body))
        self._over(self.reply, self)

    # ---- inside ----

    async def _run(self, rest: Coroutine[Any, Any, None]) -> None:
        try:
            with contextlib.suppress(asyncio.CancelledError):  # see `BoundedHttpProtocol`
                await self._around.guarded(self._rest(rest), self.reply.request, self.reply)
        finally:  # not in the next turn: the next request of the connection has begun, and may be one too many of a key
            self._running = None
            self.over()

    async def _rest(self, rest: Coroutine[Any, Any, None]) -> None:
        try:
            await rest
        except asyncio.CancelledError:
            why = self.why_ended()
            if why is None:
                raise
            await self._tell(why)

    async def _tell(self, why: MasaError) -> None:
        await self.sink.failed(why, ())
