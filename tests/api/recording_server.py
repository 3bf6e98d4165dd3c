"""A server in a thread of its own that keeps the bytes of every request, and answers as it is told."""

import json
import socketserver
import threading
from collections.abc import Callable
from typing import Self

Answer = Callable[[bytes], bytes]
OLLAMA_MODEL = "m"
COMPLETION = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": OLLAMA_MODEL,
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
}


def response(status: int, body: object, *lines: bytes) -> bytes:
    """A JSON response; `lines` are further headers."""
    raw = json.dumps(body).encode()
    head = b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" % (status, len(raw))
    return head + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + raw


def as_openai(request: bytes) -> bytes:
    """An OpenAI-compatible server with one model."""
    if request.startswith(b"GET /v1/models "):
        return response(200, {"object": "list", "data": [{"id": OLLAMA_MODEL, "object": "model"}]})
    if request.startswith(b"POST /v1/chat/completions "):
        return response(200, COMPLETION)
    return response(404, {"error": {"message": "not found"}})


def as_ollama(request: bytes) -> bytes:
    """An Ollama with one model, which would also do what its management endpoints do."""
    if request.startswith(b"GET /api/version "):
        return response(200, {"version": "0.32.0"})
    if request.startswith(b"GET /api/tags "):
        return response(200, {"models": [{"name": OLLAMA_MODEL, "model": OLLAMA_MODEL}]})
    if request.startswith(b"POST /api/chat "):
        message = {"role": "assistant", "content": "hi"}
        return response(200, {"model": OLLAMA_MODEL, "message": message, "done": True, "done_reason": "stop"})
    return response(200, {"status": "success"})


class RecordingServer:
    """A context manager. `requests` are the whole requests as they came."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.hangs_up = False  # after each answer
        self.requests: list[bytes] = []
        self.connections = 0
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.canary = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def address(self) -> str:
        """`127.0.0.1:<port>`."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def forget(self) -> None:
        """Begin the record again."""
        self.requests.clear()
        self.connections = 0

    def chats(self) -> list[bytes]:
        """The requests but for lists of models and questions what server it is."""
        return [raw for raw in self.requests if raw.startswith(b"POST ") and not raw.endswith(b"\r\n\r\n{}")]


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    canary: RecordingServer


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        canary = self.server.canary
        canary.connections += 1
        while head := self._head():
            length = next(
                (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
            )
            request = head + self.rfile.read(length)
            canary.requests.append(request)
            self.wfile.write(canary.answer(request))
            if canary.hangs_up:
                return

    def _head(self) -> bytes:
        lines = b""
        while line := self.rfile.readline():
            lines += line
            if line == b"\r\n":
                return lines
        return b""
