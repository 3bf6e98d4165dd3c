"""A scriptable LLM server on a raw socket: records the bytes of each request, and answers as its script says.

A script is a list of steps (`send`, `wait_for`, `stall`, `close`, `reset`, ...). After a script that did not close,
the connection is kept and the next request read from it.
"""

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.fakes.http_bytes import whole

NOT_FOUND = whole(b"404 page not found", status=404, content_type="text/plain")
REFUSED = whole(b'{"error":{"message":"model: required"}}', status=400, headers=[("Connection", "close")])
PROBED = ("/chat/completions", "/api/chat")
SMALL_BUFFER_BYTES = 64 * 1024
PATIENCE_S = 10.0  # for what comes at once, on a busy machine
_POLL_S = 0.002
_STILL_LOOKS = 25  # looks and not a time: while the machine does something else nothing is sent, either


class HungUp(Exception):
    """The connection is over; whoever ended it."""


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came. `connection` counts from 1; header names are as they were written."""

    connection: int
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    raw: bytes

    @property
    def header_names(self) -> list[str]:
        return sorted(name.lower() for name, _ in self.headers)

    def header(self, name: str) -> list[str]:
        return [value for known, value in self.headers if known.lower() == name]


class Line:
    """The server's end of one connection."""

    def __init__(self, server: "FakeLlm", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        self.server = server
        self.number = server.connections
        self.reader = reader
        self.writer = writer

    async def write(self, data: bytes) -> None:
        """Send, and wait as long as the other side does not take it. Raises `HungUp`."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except OSError as exc:
            raise self._left() from exc

    async def until_left(self) -> None:
        """Wait until the other side closes. Always raises `HungUp`."""
        try:
            while await self.reader.read(65_536):
                pass
        except OSError as exc:
            raise self._left() from exc
        raise self._left()

    async def request(self) -> Received | None:
        """The next request; None when the other side closed instead."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            method, target, _ = lines[0].split(" ")
            headers = tuple((line.partition(":")[0], line.partition(":")[2].strip()) for line in lines[1:-2])
            size = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
            self.server.heads += 1
            body = await self.reader.readexactly(size)
        except (asyncio.IncompleteReadError, OSError):
            return None
        return Received(self.number, method, target, headers, body, head + body)

    def _left(self) -> HungUp:
        self.server.departures += 1
        return HungUp()


Step = Callable[[Line], Awaitable[None]]
Script = Sequence[Step]


def send(data: bytes) -> Step:
    """Write these bytes at once."""
    return lambda line: line.write(data)


def send_each(pieces: Iterable[bytes]) -> Step:
    """Write each piece by itself; the other side gets to read between two of them."""
    given = tuple(pieces)

    async def step(line: Line) -> None:
        for piece in given:
            await line.write(piece)
            await asyncio.sleep(0)

    return step


def wait_for(event: asyncio.Event) -> Step:
    """Say nothing until the test says so."""

    async def step(line: Line) -> None:
        await event.wait()

    return step


async def stall(line: Line) -> None:
    """Say nothing more, for as long as the other side stays."""
    await line.until_left()


async def close(line: Line) -> None:
    """Close in good order (FIN)."""
    line.writer.close()
    raise HungUp


async def reset(line: Line) -> None:
    """Break the connection (RST)."""
    sock: socket.socket = line.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.writer.transport.abort()
    raise HungUp


def flood(piece: bytes, after: Callable[[int], None] = lambda _: None) -> Step:
    """Write the same bytes again and again for as long as the other side stays; `after` hears the total, in bytes."""

    async def step(line: Line) -> None:
        sock: socket.socket = line.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER_BYTES)
        line.writer.transport.set_write_buffer_limits(SMALL_BUFFER_BYTES)
        sent_bytes = 0
        while True:
            await line.write(piece)
            await asyncio.sleep(0)
            sent_bytes += len(piece)
            after(sent_bytes)

    return step


class FakeLlm:
    """The server: an async context manager, listening on a port of its own of 127.0.0.1.

    `on_connect` is played before anything is read. `departures` counts connections that the other side closed while
    this one was still sending or stalling. An empty request, by which a server without a list is seen to be
    there, is refused as real servers do, on a connection that is closed and not counted. An empty message of
    Anthropic's is refused only if it `refuses_the_empty`.
    """

    def __init__(self, *, on_connect: Script = (), tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.requests: list[Received] = []
        self.connections = 0
        self.departures = 0
        self.heads = 0
        self.open = 0
        self.port = port
        self.on_connect = on_connect
        self._tls = tls
        self.refuses_the_empty = False
        self.plays_for_the_empty = False  # its scripts, instead of refusing an empty request
        self._routes: dict[str, list[Script]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def answer(self, target: str, *scripts: Script) -> Self:
        """What requests for this target (exact, or without its query) get: one script each, the last one for ever."""
        self._routes[target] = list(scripts)
        return self

    def asked(self, target: str) -> list[Received]:
        """The requests for this target (exact, or without its query), in order."""
        return [got for got in self.requests if target in (got.target, got.target.partition("?")[0])]

    async def until(self, is_so: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
        """Wait until it is so. Raises `TimeoutError`."""
        await until(is_so, within_s)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Stop listening and break every connection. Idempotent."""
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.open += 1
        try:
            await self._talk(Line(self, reader, writer))
        except (HungUp, asyncio.CancelledError):
            pass  # the end of this task is the end of the connection, however it came
        finally:
            self.open -= 1
            self._tasks.discard(task)
            if writer.transport.is_closing():
                writer.transport.close()
            else:
                writer.transport.abort() if task.cancelling() else writer.close()

    async def _talk(self, line: Line) -> None:
        for step in self.on_connect:
            await step(line)
        while (got := await line.request()) is not None:
            probed = (*PROBED, "/messages") if self.refuses_the_empty else PROBED
            if not self.plays_for_the_empty and got.body == b"{}" and got.target.partition("?")[0].endswith(probed):
                self.heads, self.connections = self.heads - 1, self.connections - 1
                await line.write(REFUSED if got.target.partition("?")[0] in self._routes else NOT_FOUND)
                return
            self.requests.append(got)
            for step in self._script(got.target):
                await step(line)

    def _script(self, target: str) -> Script:
        scripts = self._routes.get(target) or self._routes.get(target.partition("?")[0])
        if not scripts:
            return (send(NOT_FOUND),)
        return scripts.pop(0) if len(scripts) > 1 else scripts[0]


async def until(is_so: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
    """Wait until it is so; looks every two milliseconds. Raises `TimeoutError`."""
    async with asyncio.timeout(within_s):
        while not is_so():  # noqa: ASYNC110 - what is waited for happens elsewhere, and tells nobody
            await asyncio.sleep(_POLL_S)


async def stands_still(sent: list[int]) -> int:
    """Wait until look after look nothing more was sent; the last of it. Raises `TimeoutError` if it goes on."""
    seen, still = -1, 0
    async with asyncio.timeout(PATIENCE_S):
        while still < _STILL_LOOKS:
            seen, still = len(sent), still + 1 if seen == len(sent) else 0
            await asyncio.sleep(_POLL_S)
    return sent[-1]
