"""An LLM server that talks until it is told to stop: a stream that lasts for as long as a test looks at it."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

TALKER = "until-told"  # its only model
_CHAT = "/v1/chat/completions"
_PIECE_EVERY_S = 0.1


class Talker:
    """Speaks OpenAI's dialect at `chat_url`, within the block. Every answer ends whole after `be_told`."""

    def __init__(self) -> None:
        self._told = threading.Event()
        talker = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = json.dumps({"object": "list", "data": [{"id": TALKER, "object": "model"}]}).encode()
                self.send_response(200 if self.path == "/v1/models" else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                if self.path != _CHAT:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Connection", "close")
                self.end_headers()
                told = talker._told
                with contextlib.suppress(OSError):  # its caller has gone
                    while not told.wait(_PIECE_EVERY_S):
                        self.wfile.write(_piece({"content": "word "}, None))
                    self.wfile.write(_piece({}, "stop") + b"data: [DONE]\n\n")

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def chat_url(self) -> str:
        """For LLM_CHAT_URL."""
        return f"http://127.0.0.1:{self._server.server_port}{_CHAT}"

    def be_told(self) -> None:
        """What runs ends now; what is asked from here on talks until told again."""
        told, self._told = self._told, threading.Event()
        told.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.be_told()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _piece(delta: dict[str, Any], finish_reason: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    chunk = {"id": "talk", "object": "chat.completion.chunk", "created": 0, "model": TALKER, "choices": [choice]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"
