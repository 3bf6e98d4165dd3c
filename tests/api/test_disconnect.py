"""The caller leaves: it is noticed at once, whatever was being done for them, and the LLM is stopped.

Covers: `http1.protocol`, `http1.request`.
"""

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.api.raw_http import chat, get, line_to, post
from tests.api.recording_server import OLLAMA_MODEL, as_openai
from tests.api.serving import ServingNode

RESET = b"\x01\x00\x00\x00\x00\x00\x00\x00"
AT_ONCE_S = 10.0  # on a busy machine; a caller who is not missed has 30 s and more
TAKEN_UP_S = 0.2  # in which the node takes up what it is asked


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingNode]:
    """A node whose answers take a second to begin, and many to end; nobody else writes into its log."""
    with ServingNode(tmp_path_factory.mktemp("own"), {"DEMO_PIECES_PER_S": "1"}) as running:
        yield running


def hang_up(line: socket.socket) -> None:
    line.close()


def reset(line: socket.socket) -> None:
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    line.close()


def half_close(line: socket.socket) -> None:
    """Not a hang-up in TCP, but nobody can tell it from one; a client that wants its answer stays."""
    line.shutdown(socket.SHUT_WR)


LEAVE: list[Callable[[socket.socket], None]] = [hang_up, reset, half_close]


@pytest.mark.parametrize(
    ("asked", "begun"),
    [
        (post(chat())[:-1], b""),
        (post(chat()), b""),
        (post(chat(stream=True)), b"data: "),
        (post(chat(stream=True)) + get(b"/healthz") * 3, b"data: "),
    ],
    ids=["in the body", "before the first piece", "within a stream", "with more asked in advance"],
)
async def test_leaving_is_noticed_whatever_is_being_done(own: ServingNode, asked: bytes, begun: bytes) -> None:
    logged = len(own.requests_logged(0))
    lines = [socket.create_connection(("127.0.0.1", own.port)) for _ in LEAVE]
    for line in lines:
        line.sendall(asked)
    await asyncio.gather(*(asyncio.to_thread(read_until, line, begun) for line in lines))
    await asyncio.sleep(TAKEN_UP_S)
    for line, leave in zip(lines, LEAVE, strict=True):
        leave(line)
    left_s = time.monotonic()
    ended = await asyncio.to_thread(own.requests_logged, logged + len(lines))
    assert time.monotonic() - left_s < AT_ONCE_S
    assert [request["error"] for request in ended[logged:]] == ["caller_gone"] * len(lines)
    for line in lines:
        line.close()


def read_until(line: socket.socket, end: bytes) -> None:
    line.settimeout(AT_ONCE_S)
    came = b""
    while end not in came:
        came += line.recv(4096)


async def test_the_llm_is_told_at_once(tmp_path: Path) -> None:
    """Before its first byte: the canary never answers."""
    gone = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/chat/completions" in head:
            while await reader.read(4096):
                pass
            gone.set()
        else:
            writer.write(as_openai(head))
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = {"DEMO": "", "LLM_CHAT_URL": f"http://127.0.0.1:{port}/v1/chat/completions"}
    node = await asyncio.to_thread(ServingNode(tmp_path, settings).__enter__)
    async with server:
        async with line_to(node.port) as line:
            await line.send(post(chat(OLLAMA_MODEL)))
            await asyncio.sleep(TAKEN_UP_S)
        async with asyncio.timeout(AT_ONCE_S):
            await gone.wait()
        await asyncio.to_thread(node.__exit__, None, None, None)
