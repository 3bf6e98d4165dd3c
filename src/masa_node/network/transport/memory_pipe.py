"""One direction of a stream of the in-memory network (`memory_links.py`), and how those that wait for it are woken."""

import asyncio
import random
from collections import deque

from masa_node.chat.errors import LinkLost, StreamReset
from masa_node.network.transport.interfaces import MAX_READ_BYTES

MEMORY_WINDOW_BYTES = 256 * 1024  # sent and not yet read; QUIC stacks have 256 KiB to 1 MiB


class Signal:
    """Wakes every task that waits for it now."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Returns after the next `wake`."""
        future: asyncio.Future[None] = asyncio.Future()
        self._waiting.append(future)
        try:
            await future
        finally:
            if future in self._waiting:
                self._waiting.remove(future)

    def wake(self) -> None:
        """Let them go on."""
        waiting = self._waiting
        if not waiting:
            return
        self._waiting = []
        for future in waiting:
            if not future.done():
                future.set_result(None)


class Pipe:
    """One direction of a stream: what its sender knows, what its receiver knows, and what is on the way.

    Each packet that arrives brings the oldest segment, so that bytes stay in order whatever the latencies are. `rng`
    says where bytes are cut; without it they are not.
    """

    def __init__(self, rng: random.Random | None) -> None:
        self._rng = rng
        self._on_the_way: deque[bytes] = deque()
        self._read_bytes = 0  # which the sender does not know of yet
        self.buffer = bytearray()
        self.unread_bytes = 0  # as the sender knows
        self.used = False  # was anything put on the way?
        self.finished = False
        self.finish_arrived = False
        self.sender_error: LinkLost | StreamReset | None = None
        self.receiver_error: LinkLost | StreamReset | None = None
        self.room = Signal()
        self.arrived = Signal()

    def segments(self, data: bytes) -> int:
        """Put data on the way; into how many packets it was cut."""
        self.used = True
        self.unread_bytes += len(data)
        if self._rng is not None and len(data) > 1 and self._rng.random() < 0.25:  # noqa: PLR2004 - often enough to be met by every test
            cut = self._rng.randrange(1, len(data))
            self._on_the_way.extend((data[:cut], data[cut:]))
            return 2
        self._on_the_way.append(data)
        return 1

    def arrive(self) -> None:
        """The next segment is there; an empty one is the end."""
        segment = self._on_the_way.popleft()
        if self.receiver_error is not None:
            return
        self.buffer += segment
        self.finish_arrived = not segment
        self.arrived.wake()

    def finish(self) -> None:
        """The sender has said all: the last segment is empty."""
        self.used = self.finished = True
        self._on_the_way.append(b"")

    def take(self) -> tuple[bytes, int]:
        """Some of what is there, and how many bytes the sender should now hear of as read."""
        most = min(len(self.buffer), MAX_READ_BYTES)
        if self._rng is not None and self._rng.random() < 0.5:  # noqa: PLR2004 - codecs must not rely on how bytes are cut
            most = self._rng.randint(1, most)
        if most == len(self.buffer):
            data = bytes(self.buffer)
            self.buffer.clear()
        else:
            data = bytes(self.buffer[:most])
            del self.buffer[:most]
        self._read_bytes += most
        if self._read_bytes < MEMORY_WINDOW_BYTES // 2:  # as QUIC does: few updates
            return data, 0
        released, self._read_bytes = self._read_bytes, 0
        return data, released

    def release(self, size: int) -> None:
        """The sender hears that so much was read."""
        self.unread_bytes -= size
        self.room.wake()

    def fail_sender(self, error: LinkLost | StreamReset) -> None:
        """No more can be sent. Whoever has finished does not learn of a reset."""
        if self.sender_error is None and not (self.finished and isinstance(error, StreamReset)):
            self.sender_error = error
        self.room.wake()

    def fail_receiver(self, error: LinkLost | StreamReset, *, keep: bool) -> None:
        """`keep`: what has arrived can still be read."""
        if self.receiver_error is None:
            self.receiver_error = error
        if not keep:
            self.buffer.clear()
        self.arrived.wake()
