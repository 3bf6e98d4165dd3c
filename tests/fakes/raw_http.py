"""A tiny HTTP client that tidies nothing up: exact bytes, and whether the body ended as it was announced."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

HEADERS = (("Content-Type", "application/json"),)
PATIENCE_S = 20.0  # for anything that should come at once, on a busy machine; a node waits 30 s for an LLM


@dataclass(frozen=True, slots=True)
class Reply:
    """A response. `is_whole`: the body has its announced length, or its last chunk. `chunks` only where chunked."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    is_whole: bool
    chunks: tuple[bytes, ...] = ()

    def header(self, name: str) -> str | None:
        """The value of a (lower-case) header; fails the test if there are several."""
        values = [value for known, value in self.headers if known.lower() == name]
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None


class Call:
    """One request on a connection of its own, and its response piece by piece."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.status = 0
        self.headers: tuple[tuple[str, str], ...] = ()
        self.chunks: list[bytes] = []

    async def read_head(self) -> int:
        """Wait for the response's head; gives the status."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        lines = head.split("\r\n")
        self.status = int(lines[0].split(" ")[1])
        self.headers = tuple((line.partition(":")[0], line.partition(":")[2].strip()) for line in lines[1:-2])
        return self.status

    async def read_chunk(self) -> bytes | None:
        """The next chunk; b"" is the last one; None when the connection ended before it."""
        try:
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            data = (await self.reader.readexactly(size + 2))[:-2]
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        self.chunks.append(data)
        return data

    async def read_rest(self) -> Reply:
        """All that is left of the response."""
        length = next((int(value) for name, value in self.headers if name.lower() == "content-length"), None)
        if length is not None:
            try:
                body, is_whole = await self.reader.readexactly(length), True
            except asyncio.IncompleteReadError as exc:
                body, is_whole = exc.partial, False
            return Reply(self.status, self.headers, body, is_whole)
        piece: bytes | None = b"-"
        while piece:
            piece = await self.read_chunk()
        return Reply(self.status, self.headers, b"".join(self.chunks), piece == b"", tuple(self.chunks))

    def leave(self) -> None:
        """Go away at once."""
        self.writer.transport.abort()


def request(path: str, body: bytes, headers: Iterable[tuple[str, str]] = HEADERS, *, method: str = "POST") -> bytes:
    """The bytes of a request to a node on this machine."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode("latin-1") + body


@contextlib.asynccontextmanager
async def calling(port: int, data: bytes, *, receive_buffer_bytes: int | None = None) -> AsyncIterator[Call]:
    """Send these bytes over a new connection; leaving the block leaves the connection. Bounded in time."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if receive_buffer_bytes is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    sock.setblocking(False)  # noqa: FBT003 - the only way to say it
    try:
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    except BaseException:
        sock.close()
        raise
    reader, writer = await asyncio.open_connection(sock=sock, limit=receive_buffer_bytes or 2**20)
    call = Call(reader, writer)
    try:
        async with asyncio.timeout(PATIENCE_S):
            writer.write(data)
            yield call
    finally:
        call.leave()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def post(port: int, path: str, body: bytes, headers: Iterable[tuple[str, str]] = HEADERS) -> Reply:
    """POST and read the whole response."""
    async with calling(port, request(path, body, headers)) as call:
        await call.read_head()
        return await call.read_rest()


async def get(port: int, path: str, headers: Iterable[tuple[str, str]] = (), *, method: str = "GET") -> Reply:
    """GET, or another method without a body, and read the whole response."""
    async with calling(port, request(path, b"", headers, method=method)) as call:
        await call.read_head()
        return await call.read_rest()
