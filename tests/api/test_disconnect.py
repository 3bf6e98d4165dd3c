"""The caller leaves: it is noticed at once, whatever was being done for him, and the LLM is stopped."""

import asyncio
import contextlib
import gc
import socket
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from masa_node.api.disconnect import WATCH_AFTER_S, DisconnectWatcher
from masa_node.api.request_body import ClientDisconnected
from masa_node.api.responses import AsgiMessage
from tests.api.raw_http import chat, get, line_to, post
from tests.api.recording_server import OLLAMA_MODEL, as_openai
from tests.api.serving import ServingNode

RESET = b"\x01\x00\x00\x00\x00\x00\x00\x00"
AT_ONCE_S = 1.0


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
    await asyncio.sleep(3 * WATCH_AFTER_S)  # in which the node takes up what it is asked
    for line, leave in zip(lines, LEAVE, strict=True):
        leave(line)
    left_s = time.monotonic()
    ended = await asyncio.to_thread(own.requests_logged, logged + len(lines))
    assert time.monotonic() - left_s < AT_ONCE_S
    assert [request["error"] for request in ended[logged:]] == ["caller_gone"] * len(lines)
    for line in lines:
        line.close()


def read_until(line: socket.socket, end: bytes) -> None:
    line.settimeout(5)
    came = b""
    while end not in came:
        came += line.recv(4096)


async def test_the_llm_is_told_at_once(tmp_path: Path) -> None:
    """Before its first byte: the canary never answers."""
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()

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
            await asyncio.sleep(5 * WATCH_AFTER_S)
        left_s = loop.time()
        async with asyncio.timeout(5):
            await gone.wait()
        assert loop.time() - left_s < AT_ONCE_S
        await asyncio.to_thread(node.__exit__, None, None, None)


# ---- the watch itself ----


class Caller:
    """An ASGI `receive` that tells of the disconnect when told to."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[AsgiMessage] = asyncio.Queue()

    async def receive(self) -> AsgiMessage:
        return await self.messages.get()

    def leave(self) -> None:
        self.messages.put_nowait({"type": "http.disconnect"})


async def test_the_watch_cancels_its_block_when_the_caller_leaves() -> None:
    caller = Caller()
    caller.leave()
    ended: list[str] = []

    async def block() -> None:
        async with DisconnectWatcher(caller.receive):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise

    with pytest.raises(ClientDisconnected):
        await block()
    assert ended == ["cancelled"]


async def test_the_watch_ignores_what_else_comes() -> None:
    caller = Caller()
    caller.messages.put_nowait({"type": "http.request", "body": b"", "more_body": False})
    caller.leave()
    with pytest.raises(ClientDisconnected):
        async with DisconnectWatcher(caller.receive):
            await asyncio.Event().wait()


@pytest.mark.parametrize("for_s", [0.0, 2 * WATCH_AFTER_S])
async def test_a_block_that_ends_by_itself_leaves_nothing_running(for_s: float) -> None:
    before = asyncio.all_tasks()
    async with DisconnectWatcher(Caller().receive):
        await asyncio.sleep(for_s)
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("after_s", [0.0, 2 * WATCH_AFTER_S])
async def test_a_cancel_from_outside_passes_through_the_watch(after_s: float) -> None:
    async def watched() -> None:
        async with DisconnectWatcher(Caller().receive):
            await asyncio.Event().wait()

    before = asyncio.all_tasks()
    task = asyncio.create_task(watched())
    await asyncio.sleep(after_s)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == before


class Held:
    """Something that a request holds while it is answered."""


async def test_what_a_request_held_is_gone_when_its_caller_is_without_a_collector() -> None:
    seen: list[weakref.ref[Held]] = []

    async def gone() -> AsgiMessage:
        return {"type": "http.disconnect"}

    async def answer() -> None:
        held = Held()
        seen.append(weakref.ref(held))
        with contextlib.suppress(ClientDisconnected):
            async with DisconnectWatcher(gone):
                await asyncio.Event().wait()

    gc.disable()
    try:
        await asyncio.create_task(answer())
        await asyncio.sleep(0)
        assert [ref() for ref in seen] == [None]
    finally:
        gc.enable()
