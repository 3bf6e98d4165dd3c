"""An LLM server that answers as the name of the model says, and leaves nothing to the garbage collector itself."""

import asyncio
import json
import socket
import struct
from collections.abc import Callable
from typing import Self, cast

from tests.fakes.http_bytes import whole

PIECE = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
LAST = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
FAULT = b'data: {"error":{"message":"the GPU fell off","type":"server_error"}}\n\n'
ANSWER = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}]}'
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
RESET = struct.pack("ii", 1, 0)

Answering = Callable[["_Line", bytes], None]


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _well(line: "_Line", body: bytes) -> None:
    if b'"stream":true' in body.replace(b" ", b""):
        line.say(STREAM + chunk(PIECE), chunk(PIECE), chunk(LAST), b"0\r\n\r\n")
    else:
        line.say(whole(ANSWER))


def _says(*parts: bytes, leaves: bool = False, breaks: bool = False) -> Answering:
    def answer(line: "_Line", body: bytes) -> None:
        del body
        line.say(*parts)
        if leaves or breaks:
            line.leave(breaks=breaks)

    return answer


def _refuses(status: int) -> Answering:
    return _says(whole(b'{"error":{"message":"not now","type":"some_error"}}', status=status))


BEGUN = STREAM + chunk(PIECE) + chunk(PIECE)
ANSWERS: dict[str, Answering] = {
    "well": _well,
    "silent": _says(),
    "working": _says(STREAM),
    "endless": _says(BEGUN),
    "cut": _says(BEGUN, leaves=True),
    "reset": _says(BEGUN, breaks=True),
    "ended-early": _says(BEGUN, b"0\r\n\r\n"),
    "gone-at-once": _says(leaves=True),
    "gone-after-head": _says(STREAM, leaves=True),
    "faulty": _says(STREAM + chunk(FAULT), b"0\r\n\r\n"),
    "faulty-later": _says(BEGUN + chunk(FAULT), b"0\r\n\r\n"),
    "page": _says(whole(b"<html>hello</html>", content_type="text/html")),
    "nonsense": _says(b"nonsense\r\n\r\n", leaves=True),
    **{f"status-{status}": _refuses(status) for status in (400, 401, 429, 500)},
}


class MoodyLlm:
    """The server: an async context manager, listening on a port of its own of 127.0.0.1.

    `moods` are the answers of some models instead of those of their names.
    """

    port = 0

    def __init__(self, **moods: str) -> None:
        self.asked = 0
        self.answers = {name: ANSWERS[moods.get(name, name)] for name in ANSWERS}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/chat/completions"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.get_running_loop().create_server(lambda: _Line(self), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *how: object) -> None:
        self._server.close()


class _Line(asyncio.Protocol):
    """The server's end of one connection."""

    transport: asyncio.Transport | None = None

    def __init__(self, server: MoodyLlm) -> None:
        self._server = server
        self._came = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None

    def data_received(self, data: bytes) -> None:
        self._came += data
        head, blank, body = self._came.partition(b"\r\n\r\n")
        lengths = [line.partition(b":")[2] for line in head.split(b"\r\n") if line.lower().startswith(b"content-le")]
        size = int(lengths[0]) if lengths else 0
        if not blank or len(body) < size:
            return
        self._came = body[size:]
        self._answer(head, body[:size])

    def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET "):
            models = [{"id": name, "object": "model"} for name in ANSWERS]
            found = head.split(b" ")[1].endswith(b"/models")
            self.say(whole(json.dumps({"object": "list", "data": models}).encode(), status=200 if found else 404))
        elif not head.split(b" ")[1].endswith(b"/chat/completions"):
            self.say(whole(b"404 page not found", status=404, content_type="text/plain"))
        elif body == b"{}":
            self.say(whole(b'{"error":{"message":"model: required"}}', status=400))
        else:
            self._server.asked += 1
            self._server.answers[json.loads(body)["model"]](self, body)

    def say(self, *parts: bytes) -> None:
        if self.transport is not None:
            for part in parts:
                self.transport.write(part)

    def leave(self, *, breaks: bool) -> None:
        assert self.transport is not None
        if breaks:
            sock: socket.socket = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.transport.abort()
        else:
            self.transport.close()
