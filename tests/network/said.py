"""A request on the mux whose frames a test says and hears as bytes, as they stand in docs/protocol.md.

The product's own interface is there too: one end may be the product's, whichever a test gives it.
"""

import asyncio
import contextlib
from collections.abc import Awaitable

from masa_node.chat.answer import WRITTEN
from masa_node.chat.errors import ProtocolFault, ProviderError
from masa_node.network.links.frames import Frame, FrameKind, FrameReader, frame
from masa_node.network.links.mux import Mux, MuxStream
from masa_node.network.transport.interfaces import Link, NodeId


class SaidStream:
    """One request. Frames are written with the number 0, as `frame` makes them, and go out under the request's."""

    def __init__(self, stream: MuxStream) -> None:
        self._stream = stream
        self._reader = FrameReader()
        self.send = stream.send
        self.receive = stream.receive
        self.is_over = asyncio.Event()  # whoever had it has let go of it
        self.send_now = stream.send_now
        self.receive_now = stream.receive_now
        self.listen = stream.listen

    @property
    def has_room(self) -> bool:
        """See `FrameStream`."""
        return self._stream.has_room

    def abort(self) -> None:
        """See `FrameStream`."""
        self._stream.abort()
        self.is_over.set()

    async def write(self, data: bytes) -> None:
        """Say these frames. A part of one goes out when the rest is there; what is no frame goes out as it is."""
        frames: list[Frame] = []
        rubbish = False
        try:
            frames.extend(self._reader.feed(data))
        except ProtocolFault:
            rubbish = True
        for kind, payload in frames:
            await self._stream.send(kind, payload)
        if rubbish:
            await self._stream._channel._stream.write(data)  # type: ignore[attr-defined]

    def finish(self) -> Awaitable[None]:
        """Nothing more will be said; may be awaited."""
        self._stream.finish()
        return WRITTEN

    async def read(self) -> bytes:
        """The frames that have come; b"" when the peer has finished."""
        return b"".join(frame(kind, payload) for kind, payload in await self._stream.receive())

    async def begin(self) -> None:
        """Let the peer hear of the request, and say nothing that means anything."""
        await self._stream.send(FrameKind.IGNORED, b"")


class SaidMux:
    """One end of a link; what is opened and taken on it are requests on channels. `run` it in a task."""

    def __init__(self, link: Link) -> None:
        self.peer = link.peer
        self.raw = link
        self.close = link.close
        self.closed = link.closed
        self._arrived: asyncio.Queue[MuxStream] = asyncio.Queue()
        self._mux = Mux(link, str, self._arrived.put_nowait)

    def open_now(self) -> SaidStream | None:
        """The same, without waiting."""
        stream = self._mux.open_now()
        return SaidStream(stream) if stream is not None else None

    def linked(self, peer: NodeId) -> Mux:
        """The product's own way to open requests, without waiting."""
        assert peer == self.peer
        return self._mux

    @property
    def streams(self) -> int:
        """How many requests are open."""
        return self._mux.streams

    async def run(self) -> None:
        """Until the link is gone."""
        with contextlib.suppress(BaseExceptionGroup, ProviderError):
            await self._mux.run()
        self.raw.close("the link is gone")

    async def open(self) -> SaidStream:
        """A new request."""
        return SaidStream(await self._mux.open())  # type: ignore[arg-type]

    async def accept(self) -> SaidStream:
        """The next request that the peer opened."""
        return SaidStream(await self._arrived.get())
