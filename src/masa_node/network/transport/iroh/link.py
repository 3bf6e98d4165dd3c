"""A link and its streams over iroh: what `interfaces.Link` and `interfaces.Stream` promise, on iroh's own."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress

import iroh

from masa_node.chat.errors import LinkLost, StreamReset
from masa_node.network.transport.foreign_text import sanitize
from masa_node.network.transport.interfaces import MAX_READ_BYTES, NodeId, Path, Route
from masa_node.network.transport.iroh.keys import FOREIGN
from masa_node.network.transport.iroh.patches.wake_ups import run_now

MAX_STREAMS = 1024  # that a peer may have open on a link; iroh holds up to 1.2 MB unread of each
MAX_REASON_BYTES = 100
_FEW_BYTES = 4096  # each read that waits holds a buffer of its size; streams of small pieces get a small one
_GAVE_UP = 1  # the code of a stream that was given up; of a link that was closed


class IrohStream:
    """A stream on a link. Nothing runs in the background for it."""

    __slots__ = ("_ended", "_finished", "_given_up", "_link", "_reader", "_receive", "_send", "_want", "_writer")

    def __init__(self, link: "IrohLink", stream: iroh.BiStream) -> None:
        self._link = link
        self._send = stream.send()
        self._receive = stream.recv()
        self._reader: asyncio.Task[object] | None = None
        self._writer: asyncio.Task[object] | None = None
        self._want = _FEW_BYTES
        self._given_up = self._finished = self._ended = False

    async def read(self) -> bytes:
        """See `interfaces.Stream`."""
        self._check()
        task = self._reader = _this_task()
        cancels = task.cancelling()
        try:
            data = await self._receive.read(self._want)
        except asyncio.CancelledError:
            if self._given_up:
                _end(self._receive.stop(_GAVE_UP))
                self._let_go(task, cancels)
            raise
        except FOREIGN as exc:
            raise self._link.loss() or StreamReset("it gave the stream up.") from exc
        finally:
            self._reader = None
        if len(data) == self._want:
            self._want = MAX_READ_BYTES
        elif len(data) < _FEW_BYTES:
            self._want = _FEW_BYTES
            self._ended = not data
        return data

    async def write(self, data: bytes) -> None:
        """See `interfaces.Stream`."""
        self._check()
        task = self._writer = _this_task()
        cancels = task.cancelling()
        try:
            await self._send.write_all(data)
        except asyncio.CancelledError:
            if self._given_up:
                _end(self._send.reset(_GAVE_UP))
                self._let_go(task, cancels)
            raise
        except FOREIGN as exc:
            raise self._link.loss() or StreamReset("it gave the stream up.") from exc
        finally:
            self._writer = None

    async def finish(self) -> None:
        """See `interfaces.Stream`."""
        self._check()
        if not self._finished:
            try:
                await self._send.finish()
            except FOREIGN as exc:
                raise self._link.loss() or StreamReset("it gave the stream up.") from exc
            self._finished = True

    def abort(self) -> None:
        """See `interfaces.Stream`. A read or write under way ends with `StreamReset`."""
        if self._given_up or (self._finished and self._ended):
            return
        self._given_up = True
        # iroh does not let go of half a stream while somebody waits on it: the waiter is woken, and lets go itself.
        if self._reader is not None:
            self._reader.cancel()
        elif not self._ended:
            _end(self._receive.stop(_GAVE_UP))
        if self._writer is not None:
            self._writer.cancel()
        else:
            _end(self._send.reset(_GAVE_UP))

    def _check(self) -> None:
        if self._given_up:
            raise StreamReset("this node gave the stream up.")

    def _let_go(self, task: asyncio.Task[object], cancels: int) -> None:
        """The task was woken by `abort`. Unless it was cancelled for another reason too it goes on, and learns why."""
        if task.uncancel() <= cancels:
            raise StreamReset("this node gave the stream up.") from None


class IrohLink:
    """A connection with `peer`; `is_dialed`: this node made it."""

    def __init__(self, connection: iroh.Connection, *, is_dialed: bool) -> None:
        self._connection = connection
        self.peer = NodeId(str(connection.remote_id()))
        self.is_dialed = is_dialed
        connection.set_max_concurrent_bi_streams(MAX_STREAMS)

    async def open(self) -> IrohStream:
        """See `interfaces.Link`. Waits while MAX_STREAMS are open."""
        try:
            return IrohStream(self, await self._connection.open_bi())
        except FOREIGN as exc:
            raise self.loss() or LinkLost("the connection failed.") from exc

    async def accept(self) -> IrohStream:
        """See `interfaces.Link`. A stream that comes while this is cancelled is given up."""
        try:
            return IrohStream(self, await self._connection.accept_bi())
        except FOREIGN as exc:
            raise self.loss() or LinkLost("the connection failed.") from exc

    def path(self) -> Path:
        """See `interfaces.Link`; `rtt_s` is measured in whole milliseconds."""
        for path in self._connection.paths():
            if path.is_selected:
                route = Route.RELAY if path.is_relay else Route.DIRECT if path.is_ip else Route.UNKNOWN
                return Path(route, path.remote_addr, path.rtt_ms / 1000)
        return Path(Route.UNKNOWN, "", None)

    async def closed(self) -> str:
        """See `interfaces.Link`."""
        return sanitize(await self._connection.closed())

    def close(self, reason: str) -> None:
        """See `interfaces.Link`."""
        self._connection.close(_GAVE_UP, reason.encode()[:MAX_REASON_BYTES])

    async def refuse_one_way_streams(self) -> None:
        """Until the link is gone. No node opens such streams, and nobody would read what a peer leaves in them."""
        with suppress(*FOREIGN):
            await self._connection.accept_uni()
            self.close("one-way streams are not used here")

    def loss(self) -> LinkLost | None:
        """None while the connection stands."""
        reason = self._connection.close_reason()
        return None if reason is None else LinkLost(f"the connection is gone: {sanitize(reason)}.")


def _this_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("streams are used from tasks")
    return task


def _end(half: Coroutine[object, object, object]) -> None:
    with suppress(*FOREIGN):  # what is over already needs not be given up
        run_now(half)
