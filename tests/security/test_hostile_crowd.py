"""Many connections that do nothing: memory stays flat, others are served, and after a while they are gone."""

import asyncio
import contextlib
import json
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from masa_node.api.http1.connections import Connections
from masa_node.api.http1.protocol import BoundedHttpProtocol
from masa_node.api.http1.reply import Reply
from masa_node.api.http1.request import HttpRequest
from tests.api.raw_http import CHAT, ask_once, chat, get, head, line_to, post
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
    constants = {f"{api}.http1.protocol.HEAD_TIMEOUT_S": 3.0, f"{api}.request_body.BODY_TIMEOUT_S": 3.0}
    constants |= {f"{api}.http1.protocol.LINGER_S": 0.5, f"{api}.http1.protocol.DROP_TIMEOUT_S": 0.5}
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


# ---- callers that ask and leave as fast as they can ----

RESET = struct.pack("ii", 1, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="others do not tell that a caller has left before all is read")
@pytest.mark.parametrize(
    ("asked", "linger"),
    [
        (post(chat()), RESET),
        (post(chat())[:-3], RESET),
        (get(b"/healthz"), RESET),
        (post(chat()), b""),
        (post(chat())[:-3], b""),
    ],
    ids=["reset", "half and reset", "probe and reset", "closed", "half and closed"],
)
async def test_who_has_left_before_being_looked_at_is_not_begun_to_be_answered(asked: bytes, linger: bytes) -> None:
    begun: list[str] = []

    async def app(request: HttpRequest, reply: Reply) -> None:
        begun.append(request.head.path)
        await reply.whole(200, [], b"")

    connections = Connections(app, keep_alive_s=75)
    loop = asyncio.get_running_loop()
    async with await loop.create_server(lambda: BoundedHttpProtocol(connections), "127.0.0.1", 0) as server:
        port: int = server.sockets[0].getsockname()[1]
        for _ in range(50):  # all in one turn of the event loop, which accepts none of them meanwhile
            with socket.create_connection(("127.0.0.1", port)) as attacker:
                if linger:
                    attacker.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                attacker.sendall(asked)
        assert (await ask_once(port, get(b"/models"))).status == 200
        await connections.all_gone()
    assert begun == ["/models"]


async def test_a_probe_that_closes_its_end_at_once_is_answered() -> None:
    async def app(request: HttpRequest, reply: Reply) -> None:
        del request
        await reply.whole(200, [], b"ok")

    loop = asyncio.get_running_loop()
    connections = Connections(app, keep_alive_s=75)
    async with await loop.create_server(lambda: BoundedHttpProtocol(connections), "127.0.0.1", 0) as server:
        with socket.create_connection(server.sockets[0].getsockname()) as probe:
            probe.sendall(get(b"/healthz"))
            probe.shutdown(socket.SHUT_WR)
            assert (await asyncio.to_thread(read_until, probe, b"ok")).startswith(b"HTTP/1.1 200 ")
        await connections.all_gone()


def read_until(connection: socket.socket, end: bytes) -> bytes:
    connection.settimeout(10)
    came = b""
    while end not in came:
        piece = connection.recv(65536)
        assert piece, came
        came += piece
    return came


# ---- connections that are answered, or could be, and stay (0 bytes of a key) ----

MOST = 6  # connections in all; one address may have half of them
RIGHT = b"Authorization: Bearer right\r\n"
CHUNKS = b"Transfer-Encoding: chunked\r\n"
LONG = b"Content-Length: 1000\r\n"
STAYS = {
    "401 for a body that stays away": head(b"POST", CHAT, LONG),
    "401 for chunks that stay away": head(b"POST", CHAT, CHUNKS),
    "401 and half of the body": post(chat())[:-1],
    "401 for a GET with a body": head(b"GET", b"/v1/models", LONG),
    "404": head(b"POST", b"/nowhere", LONG),
    "400 of Host": head(b"POST", CHAT, LONG, host=b"Host: a/b\r\n"),
    "403 of Host": head(b"POST", CHAT, LONG, host=b"Host: evil.example\r\n"),
    "403 of Origin": head(b"POST", CHAT, LONG + b"Origin: https://evil.example\r\n"),
    "405 of a probe": head(b"POST", b"/healthz", LONG),
    "200 of a probe with a body": head(b"GET", b"/healthz", LONG),
    "200 of a probe": get(b"/healthz"),
    "100 probes and one to come": get(b"/healthz") * 100 + get(b"/healthz")[:-2],
    "204 of a preflight": head(b"OPTIONS", CHAT, LONG + b"Origin: http://localhost\r\n"),
    "100-continue": head(b"POST", CHAT, LONG + b"Expect: 100-continue\r\n"),
    "not HTTP": b"\x16\x03\x01\r\n\r\n",
    "half a head": get(b"/healthz")[:-2],
    "nothing": b"",
}
# With the key (or where none is needed) more can be begun. The last resort, but nobody is locked out by it either.
STAYS_WITH_KEY = {
    "413": head(b"POST", CHAT, RIGHT + b"Content-Length: 100000000\r\n"),
    "415": head(b"POST", CHAT, RIGHT + LONG + b"Content-Encoding: gzip\r\n"),
    "a body that stays away": head(b"POST", CHAT, RIGHT + LONG),
    "half a body": post(chat(), RIGHT)[:-1],
}


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingNode]:
    constants = {"masa_node.api.http1.crowd.MAX_CONNECTIONS": MOST}
    with ServingNode(tmp_path_factory.mktemp("keyed"), {"API_KEY": "right"}, constants) as running:
        yield running


@pytest.mark.parametrize("begun", [*STAYS.values(), *STAYS_WITH_KEY.values()], ids=[*STAYS, *STAYS_WITH_KEY])
@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2"])
async def test_nobody_locks_the_owner_out_by_staying(keyed: ServingNode, begun: bytes, source: str) -> None:
    """At once, not when some timer ends; also when they come again and again."""
    for _ in range(2):
        with contextlib.ExitStack() as stack:
            for _ in range(2 * MOST):
                stay(stack, keyed.port, begun, source)
            for _ in range(3):
                assert (await ask_once(keyed.port, post(chat(), RIGHT))).status == 200
            assert (await ask_once(keyed.port, get(b"/v1/models", RIGHT))).status == 200


def stay(stack: contextlib.ExitStack, port: int, begun: bytes, source: str) -> None:
    """Connect, send, and read what is answered at once, if anything is."""
    connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), source_address=(source, 0)))
    connection.settimeout(0.02)
    with contextlib.suppress(OSError):  # it may be dropped at any time, and some are never answered
        connection.sendall(begun)
        connection.recv(65536)


async def test_two_addresses_that_stay_leave_room_for_a_third(keyed: ServingNode) -> None:
    with contextlib.ExitStack() as stack:
        for n in range(2 * MOST):
            stay(stack, keyed.port, head(b"POST", CHAT, LONG), f"127.0.0.{2 + n % 2}")
        assert (await ask_once(keyed.port, post(chat(), RIGHT))).status == 200


async def test_whoever_is_being_answered_keeps_its_place_whoever_comes(tmp_path: Path) -> None:
    slow, constants = (
        {"API_KEY": "right", "DEMO_PIECES_PER_S": "30"},
        {"masa_node.api.http1.crowd.MAX_CONNECTIONS": MOST},
    )
    with contextlib.ExitStack() as stack:
        node = stack.enter_context(ServingNode(tmp_path, slow, constants))
        busy = stack.enter_context(socket.create_connection(("127.0.0.1", node.port)))
        busy.sendall(post(chat(stream=True), RIGHT))
        for _ in range(2 * MOST):
            stay(stack, node.port, head(b"POST", CHAT, LONG), "127.0.0.1")
        assert b'"finish_reason":"stop"' in await asyncio.to_thread(read_until, busy, b"data: [DONE]\n\n")


async def test_an_answer_before_the_end_of_the_body_is_the_last_on_its_connection(keyed: ServingNode) -> None:
    """Its caller is told so, and may still send the rest to get to read the answer."""
    async with line_to(keyed.port) as line:
        reply = await line.ask(head(b"POST", CHAT, b"Content-Length: 9\r\n"))
        assert (reply.status, reply.header("connection")) == (401, "close")
        await line.send(b"x" * 9 + post(chat(), RIGHT))
        assert await line.is_closed()
