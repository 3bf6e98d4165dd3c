"""A link and its streams over iroh: what `interfaces.Link` and `interfaces.Stream` promise, on iroh's own."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress

import iroh

from masa_node.chat.errors import LinkLost, StreamReset
from masa_node.network.transport.foreign_text import sanitize
from masa_node.network.transport.interfaces import NodeId, Path, Route
from masa_node.network.transport.iroh.direct import Reading, Writing
from masa_node.network.transport.iroh.keys import FOREIGN
from masa_node.network.transport.iroh.patches.wake_ups import run_now
from masa_node.network.transport.iroh.relays import plain_url

MAX_STREAMS = 1024  # that a peer may have open on a link; iroh holds up to 1.2 MB unread of each
MAX_REASON_BYTES = 100
_GAVE_UP = 1  # the code of a stream that was given up; of a link that was closed


class IrohStream:
    """A stream on a link. Nothing runs in the background for it."""

    __slots__ = ("_ended", "_finished", "_given_up", "_link", "_reading", "_receive", "_send", "_writing")

    def __init__(self, link: "IrohLink", stream: iroh.BiStream) -> None:
        self._link = link
        self._send = stream.send()
        self._receive = stream.recv()
        loop = asyncio.get_running_loop()
        self._reading = Reading(self._receive, loop)
        self._writing = Writing(self._send, loop)
        self._given_up = self._finished = self._ended = False

    async def read(self) -> bytes:
        """See `interfaces.Stream`."""
        came: list[bytes] = []
        await self.flow(came.append)
        return came[0]

    async def flow(self, came: Callable[[bytes], object]) -> None:
        """See `interfaces.Stream`."""
        self._check()

        def note(data: bytes) -> object:
            self._ended = not data
            return came(data)

        try:
            await self._reading.start(note)
        except FOREIGN as exc:
            raise self._lost() from exc
        finally:
            self._reading.give_up()

    async def write(self, data: bytes) -> None:
        """See `interfaces.Stream`."""
        rest = self.write_now(data)
        if rest is not None:
            await rest

    def write_now(self, data: bytes) -> Awaitable[None] | None:
        """See `interfaces.Stream`."""
        self._check()
        try:
            rest = self._writing.start(data)
        except FOREIGN as exc:
            raise self._lost() from exc
        return None if rest is None else self._written(rest)

    async def _written(self, rest: Awaitable[None]) -> None:
        try:
            await rest
        except FOREIGN as exc:
            raise self._lost() from exc
        finally:
            self._writing.give_up()

    async def finish(self) -> None:
        """See `interfaces.Stream`."""
        self._check()
        if not self._finished:
            try:
                await self._send.finish()
            except FOREIGN as exc:
                raise self._lost() from exc
            self._finished = True

    def abort(self) -> None:
        """See `interfaces.Stream`. A read or write under way ends with `StreamReset`."""
        if self._given_up or (self._finished and self._ended):
            return
        self._given_up = True
        # iroh does not let go of half a stream while somebody waits on it.
        self._reading.give_up(_given_up())
        if not self._ended:
            _end(self._receive.stop(_GAVE_UP))
        self._writing.give_up(_given_up())
        _end(self._send.reset(_GAVE_UP))

    def _check(self) -> None:
        if self._given_up:
            raise _given_up()

    def _lost(self) -> LinkLost | StreamReset:
        return self._link.loss() or StreamReset("it gave the stream up.")


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
                return Path(route, plain_url(path.remote_addr), path.rtt_ms / 1000)
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


def _given_up() -> StreamReset:
    return StreamReset("this node gave the stream up.")


def _end(half: Coroutine[object, object, object]) -> None:
    with suppress(*FOREIGN):  # what is over already needs not be given up
        run_now(half)
