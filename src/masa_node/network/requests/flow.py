"""How much of an answer may be under way: a window that the requester opens again as its own caller takes what came.

Without it a caller who does not read would fill the transport's buffers, and in the end cost the whole connection, with
every other stream on it. Both sides count the same frames (PIECE) and the same bytes (their payloads).
"""

import asyncio

from masa_node.chat.errors import ProtocolFault
from masa_node.network.requests.frames import Credit

CREDIT_FRAMES = 512  # iroh 1.2.0 closes a connection at about 2 049 small writes that nobody reads on one stream
CREDIT_BYTES = 256 * 1024


class SendWindow:
    """The side that serves. One task sends; `grant` may come from another one."""

    __slots__ = ("_bytes", "_frames", "_waiter")

    def __init__(self) -> None:
        self._frames = CREDIT_FRAMES  # that may be sent now
        self._bytes = CREDIT_BYTES
        self._waiter: asyncio.Future[None] | None = None

    def spend(self, size: int) -> bool:
        """Take the room for one frame with so many bytes; False, and nothing taken, when there is none now."""
        if self._frames < 1 or self._bytes < size:
            return False
        self._frames -= 1
        self._bytes -= size
        return True

    async def reserve(self, size: int) -> None:
        """The same, waiting for room. `size` is at most CREDIT_BYTES."""
        while not self.spend(size):
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def grant(self, credit: Credit) -> None:
        """The requester has taken so much. Raises `ProtocolFault` for more than was sent, and for nothing: a peer
        must not keep this node busy with credit that never ends.
        """
        if not (credit.frames or credit.bytes):
            raise ProtocolFault("it gave credit for nothing.")
        self._frames += credit.frames
        self._bytes += credit.bytes
        if self._frames > CREDIT_FRAMES or self._bytes > CREDIT_BYTES:
            raise ProtocolFault("it gave credit for more than it was sent.")
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class ReceiveWindow:
    """The side that asked. Pure."""

    __slots__ = ("_bytes", "_frames")

    def __init__(self) -> None:
        self._frames = 0  # that came and are not granted again
        self._bytes = 0

    def came(self, frames: int, size: int) -> None:
        """So much has come. Raises `ProtocolFault` when that is more than was allowed."""
        self._frames += frames
        self._bytes += size
        if self._frames > CREDIT_FRAMES or self._bytes > CREDIT_BYTES:
            raise ProtocolFault("it sent more than it was given credit for.")

    def taken(self) -> Credit | None:
        """Everything that came was taken: what to grant now, if it is worth a frame."""
        if 2 * self._frames < CREDIT_FRAMES and 2 * self._bytes < CREDIT_BYTES:
            return None
        credit = Credit(self._frames, self._bytes)
        self._frames = self._bytes = 0
        return credit
