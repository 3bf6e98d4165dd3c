"""Many connections that do nothing: memory stays flat, others are served, and after a while they are gone."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.raw_http import ask_once, chat, get, post
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


@pytest.fixture(scope="module")
def besieged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingNode]:
    """A node that waits three seconds for heads and bodies."""
    api = "masa_node.api"
    constants = {f"{api}.protocol.HEAD_TIMEOUT_S": 3.0, f"{api}.body.BODY_TIMEOUT_S": 3.0}
    constants |= {f"{api}.protocol.LINGER_S": 0.5, f"{api}.protocol.DROP_TIMEOUT_S": 0.5}
    with ServingNode(tmp_path_factory.mktemp("besieged"), {}, constants) as running:
        yield running


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nX: ", post(chat())[:-1]], ids=["silent", "head", "body"])
async def test_others_are_served_and_memory_stays_flat(besieged: ServingNode, begun: bytes) -> None:
    assert (await ask_once(besieged.port, post(chat()))).status == 200
    before = besieged.rss_bytes()
    rounds: list[int] = []
    for _ in range(2):
        with crowd(besieged.port, CROWD, begun):
            assert (await ask_once(besieged.port, post(chat()))).status == 200
            assert (await ask_once(besieged.port, post(chat(stream=True)))).status == 200
            rounds.append(besieged.rss_bytes() - before)
    assert max(rounds) < CROWD * BYTES_A_CONNECTION
    assert rounds[1] - rounds[0] < CROWD * BYTES_A_CONNECTION / 4  # the second crowd lives in the memory of the first
    assert (await ask_once(besieged.port, get(b"/healthz"))).status == 200


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
