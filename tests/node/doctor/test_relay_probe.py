import asyncio
import contextlib
from collections.abc import AsyncIterator

from masa_node.node.doctor.relay_probe import ping
from masa_node.upstreams.http.client import HttpClient
from tests.fakes.no_server import closed_port


@contextlib.asynccontextmanager
async def answering(head: bytes) -> AsyncIterator[tuple[str, list[str]]]:
    came: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append((await reader.read(4096)).decode("latin-1"))
        writer.write(head + b"content-length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", came
    finally:
        server.close()
        await server.wait_closed()


async def test_a_relay_answers_a_ping_and_tells_the_time() -> None:
    head = b"HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
    async with answering(head) as (url, came), HttpClient() as http:
        found = await ping(url, http, is_home=True)
    assert came[0].startswith("GET /ping ")
    assert (found.relay.status, found.relay.code) == (200, "")
    assert found.ahead_s is not None
    assert found.ahead_s > 3600  # that day is over


async def test_a_date_that_is_none_tells_nothing() -> None:
    async with answering(b"HTTP/1.1 404 Not Found\r\ndate: soon\r\n") as (url, _), HttpClient() as http:
        found = await ping(f"{url}/", http, is_home=None)
    assert (found.relay.status, found.ahead_s) == (404, None)


async def test_a_sign_in_page_is_no_relay_and_tells_no_time() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
    async with answering(head) as (url, _), HttpClient() as http:
        found = await ping(url, http, is_home=False)
    assert (found.relay.status, found.relay.is_page, found.ahead_s) == (200, True, None)


async def test_where_nothing_listens_or_no_name_leads_is_told_apart() -> None:
    async with HttpClient() as http:
        off = await ping(f"http://127.0.0.1:{closed_port()}", http, is_home=False)
        unknown = await ping("https://no-such-host.invalid", http, is_home=False)
    assert off.relay.code == "connection_refused"
    assert off.relay.why == "connection refused: nothing listens there."
    assert unknown.relay.code == "dns_failed"


async def test_what_is_no_tls_is_known_as_such() -> None:
    async with answering(b"HTTP/1.1 200 OK\r\n") as (url, _), HttpClient() as http:
        found = await ping(url.replace("http:", "https:"), http, is_home=False)
    assert found.relay.code == "tls_failed"


async def test_without_a_relay_nobody_is_asked() -> None:
    async with HttpClient() as http:
        assert (await ping("", http, is_home=None)).relay.url == ""
