"""A scripted LLM server of one kind, on a free port of this machine. It has only the endpoints of that kind."""

import contextlib
import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from masa_node import Settings
from tools.scripted.formats import CHAT, MESSAGES, OLLAMA, RESPONSES, RUN, Format
from tools.scripted.script import Asked, answer_to

MODEL = "scripted"
_ACCOUNT = "/client/v4/accounts/me/ai"


@dataclass(frozen=True)
class Kind:
    """What a server of this kind has at which path, and what it lists. `setting` is where a node takes its URL."""

    posts: dict[str, Format]
    gets: dict[str, dict[str, Any]]
    setting: str
    base: str = ""
    more: dict[str, str] = field(default_factory=dict)


_MODELS = {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "tests", "type": "model"}]}
_TAGS = {"models": [{"name": MODEL, "model": MODEL, "digest": "1", "size": 1, "modified_at": "2023-11-14T22:13:20Z"}]}
_FOUND = {"success": True, "result": [{"name": MODEL, "task": {"name": "Text Generation"}}]}
KINDS = {
    "openai": Kind({"/v1/chat/completions": CHAT}, {"/v1/models": _MODELS}, "llm_chat_url"),
    "responses": Kind({"/v1/responses": RESPONSES}, {"/v1/models": _MODELS}, "llm_chat_url"),
    "anthropic": Kind(
        {"/v1/messages": MESSAGES},
        {"/v1/models": _MODELS},
        "anthropic_base_url",
        more={"anthropic_api_key": "scripted"},
    ),
    "ollama": Kind(
        {"/api/chat": OLLAMA},
        {"/api/tags": _TAGS, "/api/version": {"version": "0.12.0"}},
        "llm_chat_url",
    ),
    "cloudflare": Kind(
        {f"{_ACCOUNT}/run/{MODEL}": RUN},
        {f"{_ACCOUNT}/models/search": _FOUND},
        "llm_cf_url",
        f"{_ACCOUNT}/run",
        {"llm_cf_token": "scripted"},
    ),
}


class Scripted:
    """A server of one kind. `settings` put it behind a node, `asked` are the paths that were asked."""

    def __init__(self, kind: str) -> None:
        self.kind = KINDS[kind]
        self.asked: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self._server = _Server(("127.0.0.1", 0), self)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def settings(self) -> dict[str, str]:
        """Those of a node that serves it."""
        return {self.kind.setting: self.url + self.kind.base, **self.kind.more}

    @contextlib.contextmanager
    def running(self) -> Iterator["Scripted"]:
        """It listens for the time of the block."""
        thread = threading.Thread(target=self._server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


def node_settings(folder: str, **more: object) -> Settings:
    """Of a node on this machine only, which keeps its files in `folder`."""
    empty = Path(folder) / "masa.toml"
    empty.touch()
    near: dict[str, Any] = {"port": 0, "find_local": False, "masa_dir": folder, "masa_config": str(empty)}
    return Settings(**near, peer_host="127.0.0.1", log_level="error", **more)  # type: ignore[arg-type]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], owner: Scripted) -> None:
        super().__init__(address, _Handler)
        self.owner = owner

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Clients may leave."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        found = self.server.owner.kind.gets.get(urlsplit(self.path).path)
        self._send(404 if found is None else 200, found or {"detail": "Not Found"})

    def do_POST(self) -> None:
        owner = self.server.owner
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or b"{}")
        path = urlsplit(self.path).path
        owner.asked.append(path)
        form = owner.kind.posts.get(path)
        if form is None:
            return self._send(404, {"detail": "Not Found"})
        owner.bodies.append(body)
        try:
            asked = form.read(body)
        except KeyError as missing:
            return self._send(400, {"error": {"message": f"{missing} is missing", "type": "invalid_request_error"}})
        if asked.stream:
            return self._send_stream(form, asked)
        return self._send(200, form.whole(asked, answer_to(asked)))

    def _send_stream(self, form: Format, asked: Asked) -> None:
        self._send_head(200, form.stream_type, ("Transfer-Encoding", "chunked"))
        for frame in form.frames(asked, answer_to(asked)):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(frame), frame))
        self.wfile.write(b"0\r\n\r\n")

    def _send(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self._send_head(status, "application/json", ("Content-Length", str(len(data))))
        self.wfile.write(data)

    def _send_head(self, status: int, media_type: str, more: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in [("Content-Type", media_type), more]:
            self.send_header(name, value)
        self.end_headers()
