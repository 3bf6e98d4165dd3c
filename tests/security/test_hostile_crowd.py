"""Many connections that do nothing: memory stays flat, others are served, and after a while they are gone."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.raw_http import ask_once, chat, get, line_to, post
from tests.api.serving import ServingNode

CROWD = 2_000
BYTES_A_CONNECTION = 50_000  # about 25 kB each: the transport, the parser, the protocol
DESCRIPTORS = 200


@contextlib.contextmanager
def crowd(port: int, size: int, begun: bytes = b"") -> Iterator[list[socket.socket]]:
    """So many connections, each with these bytes sent."""
    with contextlib.ExitStack() as stack:
        sockets: list[socket.socket] = []
        for _ in range(size):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            with contextlib.suppress(ConnectionError):  # it may have been dropped already
                connection.sendall(begun)
            sockets.append(connection)
        yield sockets


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nX: ", post(chat())[:-1]], ids=["silent", "head", "body"])
async def test_others_are_served_and_memory_stays_flat(tmp_path: Path, begun: bytes) -> None:
    constants: dict[str, object] = {
        "masa_node.api.protocol.HEAD_TIMEOUT_S": 3.0,
        "masa_node.api.body.BODY_TIMEOUT_S": 3.0,
        "masa_node.api.protocol.LINGER_S": 0.5,
        "masa_node.api.protocol.DROP_TIMEOUT_S": 0.5,
    }
    with ServingNode(tmp_path, {}, constants) as node:
        assert (await ask_once(node.port, post(chat()))).status == 200
        before = node.rss_bytes()
        rounds: list[int] = []
        for _ in range(2):
            with crowd(node.port, CROWD, begun):
                assert (await ask_once(node.port, post(chat()))).status == 200
                assert (await ask_once(node.port, post(chat(stream=True)))).status == 200
                rounds.append(node.rss_bytes() - before)
        assert max(rounds) < CROWD * BYTES_A_CONNECTION
        assert rounds[1] < rounds[0] * 1.5 + 5_000_000  # the second crowd lives in the memory of the first
        async with line_to(node.port) as line:
            assert await line.is_sane()


async def test_the_longest_idle_make_room_when_descriptors_run_short(tmp_path: Path) -> None:
    slow = {"DEMO_PIECES_PER_S": "50"}
    with contextlib.ExitStack() as stack:
        node = stack.enter_context(ServingNode(tmp_path, slow, descriptors=DESCRIPTORS))
        busy = stack.enter_context(socket.create_connection(("127.0.0.1", node.port)))
        busy.sendall(post(chat(stream=True)))
        with crowd(node.port, 3 * DESCRIPTORS):
            assert (await ask_once(node.port, get(b"/healthz"))).status == 200
            assert (await ask_once(node.port, post(chat()))).status == 200
            answer = await asyncio.to_thread(read_until, busy, b"data: [DONE]\n\n")
        assert b'"finish_reason":"stop"' in answer  # who is being answered keeps his place
        assert "Too many open files" not in json.dumps(node.log)


def read_until(connection: socket.socket, end: bytes) -> bytes:
    connection.settimeout(10)
    came = b""
    while end not in came:
        piece = connection.recv(65536)
        assert piece, came
        came += piece
    return came
