"""A chat request on the plain way, between its connection and routing: answered by calls as far as it is plain."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec

from masa_node.accounts.access import Access, Caller
from masa_node.api.http1.connections import Over
from masa_node.api.http1.reply import Reply
from masa_node.api.http1.request import HttpRequest
from masa_node.api.reply_sink import ReplySink
from masa_node.chat.journal_errors import EndedByOwner
from masa_node.chat.request import FORM_ENDPOINTS, Endpoint, Request
from masa_node.routing.answers.byte_budget import ByteBudget
from masa_node.routing.plain import Plain, Row
from masa_node.routing.plain_way import PlainWay

PLAIN_ENDPOINTS = frozenset(Endpoint) - FORM_ENDPOINTS - {Endpoint.NATIVE, Endpoint.OLLAMA_SHOW}

Guarded = Callable[[Awaitable[None], HttpRequest, Reply], Coroutine[Any, Any, None]]


class Around(msgspec.Struct, frozen=True, gc=False):
    """What is around a request: the budget of bodies, the end of all exceptions, and what to call when it is over."""

    bodies: ByteBudget
    guarded: Guarded
    over: Over


class PlainChat:
    """One request, as `Answering`, and as routing's `Host`."""

    __slots__ = ("_access", "_around", "_asked", "_caller", "_noted", "_plain", "_request", "_task", "sink")

    def __init__(
        self, request: Request, caller: Caller, access: Access, asked: HttpRequest, sink: ReplySink, around: Around
    ) -> None:
        self._request = request
        self._caller = caller
        self._access = access
        self._asked = asked
        self.sink = sink
        self._around = around
        self._task: asyncio.Task[None] | None = None

    def begin(self, way: PlainWay, row: Row) -> bool:
        """False, and nothing has happened, where it is not plain."""
        if not self._around.bodies.lend(len(self._request.body)):
            return False
        plain = way.begin(row, self._request, self)
        if plain is None:
            self._around.bodies.give_back(len(self._request.body))
            return False
        self._plain: Plain | None = plain
        self._noted = self._access.under_way.add(self._request, self)
        self._asked.take()
        self._asked.is_cancelled_when_gone = True
        return True

    # ---- see `Answering`, of the connection and of what is under way ----

    def cancel(self) -> None:
        """The caller has left, the owner ends it, or the server stops."""
        if self._task is not None:
            # Not now: a task that is cancelled before its first step never takes one, and what it was given stays open.
            self._task.get_loop().call_soon(self._task.cancel)
        elif self._plain is not None:
            self._plain.cancel()
            if self._noted.is_ended and not self._asked.is_gone:
                self.go_on(self._tell_ended())
            else:
                self.over()

    def uncancel(self) -> int:
        """See `asyncio.Task`."""
        return self._task.uncancel() if self._task is not None else 0

    # ---- see `Host` ----

    @property
    def is_ready(self) -> bool:
        """Does the caller read?"""
        return not self.sink.reply.is_paused

    def go_on(self, rest: Coroutine[Any, Any, None]) -> None:
        """The rest is a task's."""
        self._task = asyncio.get_running_loop().create_task(self._run(rest))
        self._task.add_done_callback(self._task_is_over)

    def over(self) -> None:
        """All is told."""
        self._plain = None
        self._access.under_way.remove(self._noted)
        self._access.leave(self._caller)
        self._around.bodies.give_back(len(self._request.body))
        self._around.over(self)

    # ---- inside ----

    async def _run(self, rest: Coroutine[Any, Any, None]) -> None:
        with contextlib.suppress(asyncio.CancelledError):  # see `BoundedHttpProtocol`
            await self._around.guarded(self._rest(rest), self._asked, self.sink.reply)

    async def _rest(self, rest: Coroutine[Any, Any, None]) -> None:
        try:
            await rest
        except asyncio.CancelledError:
            if not self._noted.was_ended():
                raise
            await self._tell_ended()

    async def _tell_ended(self) -> None:
        await self.sink.failed(EndedByOwner("The owner of this node has ended the request."), ())

    def _task_is_over(self, task: asyncio.Task[None]) -> None:
        del task
        self._task = None
        self.over()
