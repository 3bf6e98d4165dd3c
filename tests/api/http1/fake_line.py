"""A connection without a socket: the protocol as it is, over a transport that keeps what it is given."""

import asyncio
import socket
from typing import Any

from masa_node.api.http1.connections import Application, Connections
from masa_node.api.http1.protocol import BoundedHttpProtocol

_OPEN = socket.socketpair()  # nobody closes it


class FakeTransport(asyncio.Transport):
    """Sends nothing. `unsent` bytes are said to wait in it; `fill` and `drain` are a caller that stops reading."""

    def __init__(self, address: str) -> None:
        super().__init__({"peername": (address, 1)})
        self.written = bytearray()
        self.writes = 0
        self.unsent = 0
        self.is_reading = True
        self.has_ended = self.is_reset = False
        self._is_closing = False

    def write(self, data: bytes) -> None:  # type: ignore[override]
        assert not self.has_ended, "written after the end"
        assert not self._is_closing, "written after the close"
        self.written += data
        self.writes += 1

    def write_eof(self) -> None:
        self.has_ended = True

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self._is_closing = True

    def abort(self) -> None:
        self.is_reset = self._is_closing = True

    def is_closing(self) -> bool:
        return self._is_closing

    def pause_reading(self) -> None:
        assert self.is_reading
        self.is_reading = False

    def resume_reading(self) -> None:
        assert not self.is_reading
        self.is_reading = True

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - as asyncio has it
        return self if name == "socket" else super().get_extra_info(name, default)

    def fileno(self) -> int:
        return _OPEN[0].fileno()

    def setsockopt(self, *option: object) -> None:
        """So that a close becomes a reset."""


class FakeLine:
    """One connection to an application; within a running event loop."""

    def __init__(self, app: Application, keep_alive_s: float = 75, connections: Connections | None = None) -> None:
        self.connections = connections or Connections(app, keep_alive_s)
        self.transport = FakeTransport("127.0.0.1")
        self.protocol = BoundedHttpProtocol(self.connections)
        self.protocol.connection_made(self.transport)

    @property
    def answered(self) -> bytes:
        """What was written so far."""
        return bytes(self.transport.written)

    def send(self, *parts: bytes) -> None:
        """The caller sends these, each in a read of its own, until the connection is closed."""
        for part in parts:
            if not self.transport.is_closing():
                self.protocol.data_received(part)

    def leave(self) -> None:
        """The caller is gone."""
        self.transport.abort()
        self.protocol.connection_lost(None)

    def stop_reading(self) -> None:
        """The caller reads nothing any more."""
        self.protocol.pause_writing()

    def read_on(self) -> None:
        """The caller reads again."""
        self.protocol.resume_writing()

    async def settled(self) -> None:
        """Until no request is being answered."""
        while self.connections.tasks:
            await asyncio.wait(self.connections.tasks)
            await asyncio.sleep(0)
