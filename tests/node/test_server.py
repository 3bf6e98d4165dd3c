import asyncio
import contextlib
import socket
from collections.abc import Iterator

import pytest
import uvloop

from masa_node.api.http1.reply import Reply
from masa_node.api.http1.request import HttpRequest
from masa_node.chat.errors import ConfigurationError
from masa_node.node.server import Server, address_of, bind
from masa_node.node.settings.environment import Settings


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]


def test_a_port_that_was_named_and_is_taken_is_an_error(taken: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"port {taken}: .* Set PORT"):
        bind(Settings(port=taken, port_is_set=True))


def test_the_default_port_moves_to_the_next_free_one(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("masa_node.node.server.FIRST_DEFAULT_PORT", taken)
    monkeypatch.setattr("masa_node.node.server.LAST_DEFAULT_PORT", taken + 20)
    with contextlib.closing(bind(Settings(port=taken))) as sock:
        assert taken < sock.getsockname()[1] <= taken + 20


def test_port_0_takes_a_free_one() -> None:
    with contextlib.closing(bind(Settings(port=0, port_is_set=True))) as sock:
        assert address_of(sock) == f"http://127.0.0.1:{sock.getsockname()[1]}"


def test_an_address_of_another_machine_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match=r"192\.0\.2\.1"):
        bind(Settings(host="192.0.2.1", port=0, port_is_set=True))


@pytest.mark.parametrize("host", ["192.0.2.1", "::2", "no-such-host.invalid"])
def test_where_no_port_would_do_another_host_is_asked_for(host: str) -> None:
    with pytest.raises(ConfigurationError, match="Set HOST to an address of this machine"):
        bind(Settings(host=host, port=0, port_is_set=True))


def test_the_address_of_an_open_bind_is_one_that_can_be_called() -> None:
    with contextlib.closing(bind(Settings(host="0.0.0.0", port=0, port_is_set=True))) as sock:  # noqa: S104
        assert address_of(sock).startswith("http://127.0.0.1:")


def test_a_port_that_a_program_named_does_not_move(taken: int) -> None:
    """`Settings(port=...)` without PORT in any environment: only the default one is not meant literally."""
    with pytest.raises(ConfigurationError, match=rf"port {taken}: .* Set PORT"):
        bind(Settings(port=taken))


CALLERS = 64


def test_a_crowd_of_callers_is_let_in_within_few_turns_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy loop has a hundred turns a second: at one caller a turn the last of these would wait most of one."""
    made: list[asyncio.BaseTransport] = []

    class Counting(asyncio.Protocol):
        def __init__(self, connections: object) -> None:
            del connections

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.append(transport)

    async def nobody(request: object, reply: object) -> None:
        raise AssertionError("nothing was asked")

    async def let_in() -> None:
        server = Server(nobody, 0.0)
        with contextlib.ExitStack() as callers:
            sock = socket.create_server(("127.0.0.1", 0), backlog=CALLERS)
            address = sock.getsockname()
            async with asyncio.TaskGroup() as group:
                group.create_task(server.take_requests(sock))
                await server.listening.wait()
                for _ in range(CALLERS):
                    callers.enter_context(socket.create_connection(address))
                for _ in range(CALLERS // 4):
                    await asyncio.sleep(0)
                assert len(made) == CALLERS
                server.stop()
            for transport in made:
                transport.abort()  # type: ignore[attr-defined]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)

    monkeypatch.setattr("masa_node.node.server.BoundedHttpProtocol", Counting)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(let_in())


def test_what_was_asked_before_a_stop_is_answered_and_the_caller_told_that_it_is_the_last() -> None:
    asked = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"

    async def answer(request: HttpRequest, reply: Reply) -> None:
        del request
        await reply.whole(200, [], b"ok")

    async def ask() -> bytes:
        server = Server(answer, 5.0)
        with socket.create_server(("127.0.0.1", 0)) as sock:
            async with asyncio.TaskGroup() as group:
                group.create_task(server.take_requests(sock))
                await server.listening.wait()
                reader, writer = await asyncio.open_connection(*sock.getsockname())
                writer.write(asked)
                await reader.readuntil(b"ok")
                writer.write(asked)  # it is there, and nobody has read it
                server.stop()
                came = await reader.read()
                writer.close()
        return came

    for factory in (asyncio.new_event_loop, uvloop.new_event_loop):
        with asyncio.Runner(loop_factory=factory) as runner:
            came = runner.run(ask())
        assert came.endswith(b"connection: close\r\n\r\nok")
