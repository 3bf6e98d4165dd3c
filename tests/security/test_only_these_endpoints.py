"""Management endpoints of LLM servers and of other gateways do not exist here, and are never forwarded.

Ollama CVE-2024-37032 and later `/api/pull` bugs, CVE-2025-63389; Bifrost CVE-2026-90898; LiteLLM CVE-2026-42203.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from masa_node.chat.request import ENDPOINT_PATHS
from tests.api.raw_http import chat, head, line_to, post
from tests.api.recording_server import OLLAMA_MODEL, RecordingServer, as_ollama
from tests.api.serving import ServingNode

GROUPS = [
    [path for line in group.splitlines() if not line.startswith("#") for path in line.split()]
    for group in (Path(__file__).parent / "management_endpoints.txt").read_text("utf-8").split("\n\n")
]


@pytest.fixture(scope="module")
def llm() -> Iterator[RecordingServer]:
    """An Ollama that would do as it is told."""
    with RecordingServer(as_ollama) as canary:
        yield canary


@pytest.fixture(scope="module")
def fronting(tmp_path_factory: pytest.TempPathFactory, llm: RecordingServer) -> Iterator[ServingNode]:
    """A node in front of it."""
    directory: Path = tmp_path_factory.mktemp("fronting")
    (directory / "masa.toml").write_text("# secret-of-the-settings\n")
    with ServingNode(directory, {"DEMO": "", "LLM_CHAT_URL": llm.url}) as running:
        yield running


async def test_the_upstream_is_there(fronting: ServingNode, llm: RecordingServer) -> None:
    async with line_to(fronting.port) as line:
        assert (await line.ask(post(chat(OLLAMA_MODEL), target=b"/api/chat"))).status == 200
    assert llm.chats()


@pytest.mark.parametrize("paths", GROUPS, ids=["ollama", "servers", "gateways", "scanners"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
async def test_management_is_404_and_never_forwarded(
    fronting: ServingNode, llm: RecordingServer, paths: list[str], method: str
) -> None:
    body = json.dumps({"name": OLLAMA_MODEL, "model": OLLAMA_MODEL, "from": OLLAMA_MODEL, "stream": False}).encode()
    request = post(body)[len(b"POST /v1/chat/completions") :]
    llm.forget()
    async with line_to(fronting.port) as line:
        for path in paths:
            reply = await line.ask(method.encode() + b" " + path.encode() + request)
            assert (path, reply.status) == (path, 404)
            assert b"secret-of-the-settings" not in reply.body
    assert not llm.chats()


@pytest.mark.parametrize("path", [path for paths in ENDPOINT_PATHS.values() for path in paths])
async def test_a_chat_endpoint_takes_post_only(fronting: ServingNode, llm: RecordingServer, path: str) -> None:
    llm.forget()
    async with line_to(fronting.port) as line:
        for method in (b"GET", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"LINK", b"PURGE"):
            reply = await line.ask(head(method, path.encode()))
            assert (reply.status, reply.header("allow")) == (405, "POST")
            await line.send(head(method, path.encode() + b"/"))
            assert (await line.reply()).status == 404
    assert not llm.chats()


async def test_a_model_cannot_be_deleted_through_its_entry(fronting: ServingNode, llm: RecordingServer) -> None:
    """OpenAI's `DELETE /v1/models/{id}`."""
    llm.forget()
    async with line_to(fronting.port) as line:
        for method in (b"DELETE", b"POST", b"PUT", b"PATCH"):
            assert (await line.ask(head(method, b"/v1/models/m"))).status == 405
    assert not llm.chats()


async def test_trace_echoes_no_credentials(fronting: ServingNode) -> None:
    async with line_to(fronting.port) as line:
        reply = await line.ask(head(b"TRACE", b"/healthz", b"Cookie: secret-cookie\r\nMax-Forwards: 0\r\n"))
    assert reply.status == 405
    assert b"secret-cookie" not in reply.body


async def test_a_websocket_is_not_accepted(fronting: ServingNode) -> None:
    lines = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    lines += b"Sec-WebSocket-Key: dGhlIHNhbXBsZQ==\r\nSec-WebSocket-Version: 13\r\n"
    async with line_to(fronting.port) as line:
        for target, status in ((b"/ws", 404), (b"/v1/realtime", 404), (b"/v1/models", 200), (b"/api/chat", 426)):
            assert (await line.ask(head(b"GET", target, lines))).status == status


async def test_codex_is_told_at_once_to_go_on_without_a_websocket(fronting: ServingNode) -> None:
    lines = b"Connection: Upgrade\r\nUpgrade: websocket\r\nOpenAI-Beta: responses_websockets=2026-02-06\r\n"
    lines += b"Sec-WebSocket-Key: dGhlIHNhbXBsZQ==\r\nSec-WebSocket-Version: 13\r\n"
    async with line_to(fronting.port) as line:
        reply = await line.ask(head(b"GET", b"/v1/responses", lines))
        assert reply.status == 426
        assert reply.header("upgrade") == "HTTP/1.1"
        assert b"takes POST" in reply.body
        assert (await line.ask(head(b"GET", b"/v1/responses", b""))).status == 405  # the connection goes on
