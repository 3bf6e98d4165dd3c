"""The client's sockets: however a request ends, none stays open, and none is closed twice.

Covers: `sockets`.
"""

import asyncio
import contextlib
import errno
import gc
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from aiohappyeyeballs import start_connection

from masa_node.chat.errors import (
    ConnectionRefused,
    MemoryFull,
    ProviderError,
    TlsFailed,
    Unreachable,
)
from masa_node.routing.answers.reader import read_whole
from masa_node.upstreams.http import client as http
from masa_node.upstreams.http.client import HttpClient
from masa_node.upstreams.http.proxies import Proxies
from tests.fakes.http_bytes import head, stream_head, whole
from tests.fakes.llm_server import FakeLlm, Script, close, flood, reset, send, stall
from tests.fakes.no_server import closed_port, full_backlog

pytestmark = pytest.mark.on_every_loop

OPEN_FILES = Path("/proc/self/fd")
OK = (send(whole(b'{"ok":1}')),)
LATER_S = 0.05


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    async with HttpClient() as http_client:
        yield http_client


async def ask(client: HttpClient, llm: FakeLlm, body: bytes = b"{}") -> bytes:
    return await read_whole(await client.post(f"{llm.url}/x", (), body), 1_000_000)


# ---- nothing stays open ----


def open_sockets() -> int:
    """How many sockets this process has open. Other files come and go: the trust store, for one."""
    if not OPEN_FILES.is_dir():
        pytest.skip("counts the entries of /proc/self/fd")
    links: list[str] = []
    for file in OPEN_FILES.iterdir():
        with contextlib.suppress(OSError):
            links.append(str(file.readlink()))
    return sum(link.startswith("socket:") for link in links)


async def after_ten(attempt: Callable[[], Any]) -> int:
    """How many sockets more are open after ten attempts than after one."""
    await attempt()
    await asyncio.sleep(LATER_S)
    before = open_sockets()
    for _ in range(10):
        await attempt()
    await asyncio.sleep(LATER_S)
    return open_sockets() - before


FAILING: list[Script] = [
    (close,),
    (reset,),
    (send(b"garbage\r\n\r\n"), stall),
    (send(head(200, [("Content-Length", "9")]) + b"half"), close),
    (send(b"HTTP/1.1 200 OK\r\n"), flood(b"a: " + b"b" * 1000 + b"\r\n")),
]


@pytest.mark.parametrize("script", FAILING)
async def test_no_failure_leaves_a_socket_open(client: HttpClient, script: Script) -> None:
    async with FakeLlm().answer("/x", script) as llm:

        async def attempt() -> None:
            with pytest.raises(ProviderError):
                await ask(client, llm)
            await llm.until(lambda: llm.open == 0)

        assert await after_ten(attempt) == 0


WAITS: list[tuple[Script, bool]] = [
    ((stall,), False),
    ((send(b"HTTP/1.1 200 OK\r\n"), stall), False),
    ((send(head(200, [("Content-Length", "9")]) + b"half"), stall), True),
    ((send(stream_head("a/b")), stall), True),
]


@pytest.mark.parametrize(("script", "has_head"), WAITS)
async def test_a_cancel_closes_the_socket_wherever_it_comes(
    client: HttpClient, script: Script, *, has_head: bool
) -> None:
    async with FakeLlm().answer("/x", script) as llm:

        async def attempt() -> None:
            task = asyncio.ensure_future(ask(client, llm))
            await llm.until(lambda: len(llm.requests) == llm.connections > 0 and llm.open == 1)
            await asyncio.sleep(0.005 if has_head else 0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await llm.until(lambda: llm.open == 0)

        assert await after_ten(attempt) == 0


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_cancel_at_any_turn_of_the_loop_leaves_nothing_open(client: HttpClient, scheme: str) -> None:
    async with FakeLlm().answer("/x", (stall,)) as llm:
        url = llm.url.replace("http:", f"{scheme}:")
        turns = iter(range(40))

        async def attempt() -> None:
            task = asyncio.ensure_future(client.post(f"{url}/x", (), b"{}"))
            for _ in range(next(turns, 0)):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises((asyncio.CancelledError, ProviderError)):
                await task

        for _ in range(3):
            assert await after_ten(attempt) == 0
        await llm.until(lambda: llm.open == 0)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_no_way_of_not_connecting_leaves_a_socket_open(
    client: HttpClient, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "CONNECT_TIMEOUT_S", 0.02)
    async with FakeLlm(on_connect=(stall,)) as llm, FakeLlm(on_connect=(reset,)) as breaking:

        async def attempt() -> None:
            for url in (llm.url, breaking.url):
                with pytest.raises((ProviderError, TimeoutError)):
                    async with asyncio.timeout(0.03):
                        await client.get(url.replace("http:", f"{scheme}:"), ())

        assert await after_ten(attempt) == 0


async def test_a_socket_that_the_loop_has_closed_is_not_closed_a_second_time(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As uvloop leaves it when the connection breaks while it is made: fd closed, Python's object still holding it."""

    async def closes_it(factory: object, *, sock: socket.socket, **_: object) -> NoReturn:
        os.close(sock.fileno())
        raise ConnectionResetError

    async with FakeLlm() as llm:
        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", closes_it)
        with pytest.raises(TlsFailed):
            await client.get(llm.url, ())
        read_end, write_end = os.pipe()  # takes the number that became free
        gc.collect()
        os.fstat(read_end)
        os.fstat(write_end)
        os.close(read_end)
        os.close(write_end)


# ---- several addresses ----


def resolving_to(*ports: int) -> Callable[..., Awaitable[socket.socket]]:
    """`start_connection` for a name with these addresses."""
    found: list[Any] = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]
    return lambda _, **options: start_connection(found, **options)


async def test_the_next_address_is_tried_when_one_refuses(client: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeLlm().answer("/x", OK) as llm:
        monkeypatch.setattr(http, "start_connection", resolving_to(closed_port(), llm.port))
        assert await ask(client, llm) == b'{"ok":1}'


async def test_the_next_address_is_tried_when_one_does_not_answer(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "HAPPY_EYEBALLS_DELAY_S", LATER_S)
    async with FakeLlm().answer("/x", OK) as llm:
        with full_backlog() as silent_port:
            monkeypatch.setattr(http, "start_connection", resolving_to(silent_port, llm.port))
            async with asyncio.timeout(4):  # less than CONNECT_TIMEOUT_S
                assert await ask(client, llm) == b'{"ok":1}'


async def test_when_all_addresses_refuse_it_is_a_refusal(client: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "start_connection", resolving_to(closed_port(), closed_port()))
    with pytest.raises(ConnectionRefused):
        await client.get("http://localhost/x", ())


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (ssl.SSLError(1, "x"), TlsFailed),
        (ConnectionAbortedError(), Unreachable),
        (OSError(101, "Network is unreachable"), Unreachable),
        (TimeoutError(), Unreachable),
        (OSError(errno.EMFILE, "Too many open files"), MemoryFull),
        (OSError(errno.ENFILE, "Too many open files in system"), MemoryFull),
    ],
)
async def test_every_failure_of_the_system_is_an_error_of_ours(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch, raised: Exception, error: type[ProviderError]
) -> None:
    async def failing(*_: object, **__: object) -> NoReturn:
        raise raised

    monkeypatch.setattr(http, "start_connection", failing)
    with pytest.raises(error) as caught:
        await client.get("http://127.0.0.1:1/x", ())
    assert caught.value.message
    assert caught.value.__cause__ is raised


async def test_want_of_files_is_the_nodes_and_not_the_proxys(monkeypatch: pytest.MonkeyPatch) -> None:
    async def failing(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(http, "start_connection", failing)
    async with HttpClient(Proxies({"ALL_PROXY": "http://127.0.0.1:1"})) as client:
        with pytest.raises(MemoryFull, match=r"^this node may open no more connections"):
            await client.get("http://llm.test/x", ())
