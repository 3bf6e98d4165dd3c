"""HTTP by hand: exact bytes out, and what comes back read strictly by RFC 9112."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

PATIENCE_S = 12.0  # for what should come at once, on a busy machine; a node waits longer for what it misses
MODEL = "masa-demo"
CHAT = b"/v1/chat/completions"
LOCALHOST = b"Host: localhost\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Reply:
    """One response, whole."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of a header that may come once."""
        values = [value for known, value in self.headers if known.lower() == name]
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    def json(self) -> dict[str, object]:
        """The body."""
        value: dict[str, object] = json.loads(self.body)
        return value

    @property
    def error_code(self) -> object:
        """The code of an error in OpenAI's shape."""
        error = self.json()["error"]
        assert isinstance(error, dict)
        return error["code"]


class CutShort(AssertionError):
    """The connection ended within a response."""


class Line:
    """The caller's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *parts: bytes) -> None:
        """Each part in a write of its own; a connection that is gone is found out when reading."""
        for part in parts:
            self.writer.write(part)
            with contextlib.suppress(ConnectionError):
                await self.writer.drain()

    async def reply(self, *, to_head: bool = False) -> Reply:
        """The next response (an interim `100 Continue` is one too). Raises `CutShort`."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                status, headers = _read_head(head)
                body = b"" if to_head or status in (100, 204, 304) else await self._body(dict(headers))
        except (asyncio.IncompleteReadError, ConnectionError) as exc:
            raise CutShort(exc) from exc
        return Reply(status, headers, body)

    async def ask(self, *parts: bytes) -> Reply:
        """Send, and read one response."""
        await self.send(*parts)
        return await self.reply()

    async def is_closed(self) -> bool:
        """Does the node close the connection now, without another byte? Fails the test if bytes come."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                rest = await self.reader.read(4096)
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        assert not rest, f"more came: {rest!r}"
        return True

    async def is_sane(self) -> bool:
        """Does the connection still take a request and answer just that?"""
        return (await self.ask(get(b"/healthz"))).json() == {"status": "ok"}

    async def _body(self, headers: dict[str, str]) -> bytes:
        if "transfer-encoding" in headers:
            assert headers["transfer-encoding"] == "chunked"
            assert "content-length" not in headers
            return b"".join([chunk async for chunk in self._chunks()])
        if "content-length" in headers:
            return await self.reader.readexactly(int(headers["content-length"]))
        assert headers.get("connection") == "close"
        return await self.reader.read()

    async def _chunks(self) -> AsyncIterator[bytes]:
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            yield await self.reader.readexactly(size)
            assert await self.reader.readexactly(2) == b"\r\n"
        assert await self.reader.readexactly(2) == b"\r\n"


@contextlib.asynccontextmanager
async def line_to(port: int) -> AsyncIterator[Line]:
    """A connection to a node on this machine."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Line(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def ask_once(port: int, *parts: bytes, to_head: bool = False) -> Reply:
    """One request on a connection of its own."""
    async with line_to(port) as line:
        await line.send(*parts)
        return await line.reply(to_head=to_head)


def head(
    method: bytes = b"GET",
    target: bytes = b"/healthz",
    headers: bytes = b"",
    *,
    host: bytes = LOCALHOST,
    version: bytes = b"HTTP/1.1",
) -> bytes:
    """The head of a request; `headers` and `host` are whole lines."""
    return b"%b %b %b\r\n%b%b\r\n" % (method, target, version, host, headers)


def get(target: bytes, headers: bytes = b"", *, host: bytes = LOCALHOST) -> bytes:
    """A GET."""
    return head(b"GET", target, headers, host=host)


def post(body: bytes, headers: bytes = b"", *, target: bytes = CHAT, host: bytes = LOCALHOST) -> bytes:
    """A POST with a Content-Length."""
    return head(b"POST", target, b"Content-Length: %d\r\n%b" % (len(body), headers), host=host) + body


def post_chunked(chunks: bytes, coding: bytes = CHUNKED, *, target: bytes = CHAT) -> bytes:
    """A POST with these bytes as its chunks."""
    return head(b"POST", target, coding) + chunks


def chunk(data: bytes) -> bytes:
    """One chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def chat(model: str = MODEL, *, stream: bool = False, say: str = "Hello", **more: object) -> bytes:
    """The body of a chat request that every endpoint takes."""
    messages = [{"role": "user", "content": say}]
    return json.dumps({"model": model, "messages": messages, "stream": stream, "max_tokens": 9} | more).encode()


def _read_head(text: str) -> tuple[int, tuple[tuple[str, str], ...]]:
    first, *lines = text.removesuffix("\r\n\r\n").split("\r\n")
    version, status, _ = first.split(" ", 2)
    assert version == "HTTP/1.1"
    pairs = [line.partition(": ") for line in lines]
    return int(status), tuple((name.lower(), value) for name, _, value in pairs)
