"""The client: what it writes and reads, which connections it keeps, and what it sends again.

Covers: `answer`, `target`.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from masa_node.chat.errors import (
    BrokenAnswer,
    ConnectionClosed,
    NotAnAnswer,
)
from masa_node.routing.answers.reader import read_whole
from masa_node.upstreams.http import client as http
from masa_node.upstreams.http.answer import HttpAnswer
from masa_node.upstreams.http.client import HttpClient
from masa_node.upstreams.http.connection import MAX_UNREAD_BYTES, Connection
from masa_node.upstreams.http.target import JOINED_BYTES
from tests.fakes.http_bytes import LAST_CHUNK, chunk, chunked, head, stream_head, whole
from tests.fakes.llm_server import (
    FakeLlm,
    Line,
    Script,
    close,
    flood,
    reset,
    send,
    send_each,
    stall,
    stands_still,
    wait_for,
)

pytestmark = pytest.mark.on_every_loop

LIMIT = 1_000_000
OK = (send(whole(b'{"ok":1}')),)
LATER_S = 0.05


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    async with HttpClient() as http_client:
        yield http_client


async def body_of(answer: HttpAnswer) -> bytes:
    return await read_whole(answer, LIMIT)


async def ask(client: HttpClient, llm: FakeLlm, body: bytes = b"{}") -> bytes:
    return await body_of(await client.post(f"{llm.url}/x", (("a", "b"),), body))


# ---- what is written ----


async def test_a_request_is_written_exactly_so(client: HttpClient) -> None:
    async with FakeLlm().answer("/a%2Fb", OK) as llm:
        await body_of(await client.post(f"{llm.url}/a%2Fb?c=%20d", (("X-Odd-Case", " v "), ("x", "\xe9")), b"\x00\xff"))
        await body_of(await client.get(f"{llm.url}/a%2Fb", ()))
    post, get = (got.raw for got in llm.requests)
    host = f"host: 127.0.0.1:{llm.port}\r\nuser-agent: masa-node/".encode()
    assert post.startswith(b"POST /a%2Fb?c=%20d HTTP/1.1\r\n" + host)
    assert post.endswith(
        b"accept-encoding: identity\r\nX-Odd-Case:  v \r\nx: \xe9\r\ncontent-length: 2\r\n\r\n\x00\xff"
    )
    assert get.startswith(b"GET /a%2Fb HTTP/1.1\r\n" + host)
    assert get.endswith(b"accept-encoding: identity\r\n\r\n")


@pytest.mark.parametrize("bad", ["a\r\nb: c", "a\nb", "a\rb", "a\0b"])
async def test_a_header_cannot_hold_another_one(client: HttpClient, bad: str) -> None:
    async with FakeLlm() as llm:
        for headers in ((("x", bad),), ((bad, "x"),)):
            with pytest.raises(ValueError, match="line break"):
                await client.post(f"{llm.url}/x", headers, b"")
        assert llm.connections == 0


# ---- what is read ----


@pytest.mark.parametrize(
    ("response", "body"),
    [
        (whole(b"abc"), b"abc"),
        (whole(b""), b""),
        (stream_head("a/b") + chunked([b"a", b"bc"]), b"abc"),
        (stream_head("a/b") + b"1;x=y\r\na\r\n2\r\nbc\r\n0\r\nx: y\r\n\r\n", b"abc"),
        (head(204, ()), b""),
        (head(304, [("Content-Length", "7")]), b""),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + whole(b"abc"), b"abc"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 3 + whole(b"abc"), b"abc"),
        (b"HTTP/1.1 200\r\ncontent-length: 3\r\n\r\nabc", b"abc"),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nabc", b"abc"),
        (head(200, [("Transfer-Encoding", "Chunked")]) + chunked([b"abc"]), b"abc"),
    ],
)
async def test_every_way_to_delimit_a_body_is_read(client: HttpClient, response: bytes, body: bytes) -> None:
    async with FakeLlm() as llm:
        for cut in (len(response), 1):
            pieces = [response[at : at + cut] for at in range(0, len(response), cut)]
            llm.answer("/x", (send_each(pieces),))
            answer = await client.post(f"{llm.url}/x", (), b"")
            assert ("link", "</x>") not in answer.headers
            assert await body_of(answer) == body
            assert await answer.read_piece() == b""


async def test_a_body_that_ends_with_the_connection_is_read_to_its_end(client: HttpClient) -> None:
    async with FakeLlm().answer("/x", (send(head(200, ()) + b"abc"), send(b"def"), close)) as llm:
        assert await ask(client, llm) == b"abcdef"
        assert await ask(client, llm) == b"abcdef"
    assert llm.connections == 2


async def test_a_body_that_ends_with_a_reset_is_broken(client: HttpClient) -> None:
    async with FakeLlm().answer("/x", (send(head(200, ()) + b"abc"), reset)) as llm:
        with pytest.raises(BrokenAnswer):
            await ask(client, llm)


async def test_pieces_are_given_when_they_come(client: HttpClient) -> None:
    go_on = asyncio.Event()
    script = (send(stream_head("a/b") + chunk(b"one")), wait_for(go_on), send(chunk(b"two") + LAST_CHUNK))
    async with FakeLlm().answer("/x", script) as llm:
        answer = await client.post(f"{llm.url}/x", (), b"")
        assert await answer.read_piece() == b"one"
        go_on.set()
        assert await answer.read_piece() == b"two"
        assert await answer.read_piece() == b""


async def test_a_reader_that_stops_stops_the_server(client: HttpClient) -> None:
    sent: list[int] = []
    script = (send(stream_head("a/b")), flood(chunk(b"x" * 50_000), sent.append))
    async with FakeLlm().answer("/x", script) as llm:
        answer = await client.post(f"{llm.url}/x", (), b"")
        assert await answer.read_piece()
        await stands_still(sent)
        held = answer._connection
        assert held is not None
        assert held._unread_bytes <= MAX_UNREAD_BYTES + 2 * http.NEARBY_READ_BYTES  # of which Linux makes twice as much
        before = len(sent)
        while sum(map(len, [await answer.read_piece()])) and len(sent) < before + 100:
            pass
        answer.close()
        await llm.until(lambda: llm.open == 0)


# ---- connections that are kept ----


async def test_a_connection_is_used_again(client: HttpClient) -> None:
    async with FakeLlm().answer("/x", OK) as llm:
        for _ in range(5):
            assert await ask(client, llm) == b'{"ok":1}'
        assert llm.connections == 1


NOT_KEPT: list[Script] = [
    (send(whole(b"{}", headers=[("Connection", "close")])),),
    (send(whole(b"{}").replace(b"HTTP/1.1", b"HTTP/1.0")),),
    (send(whole(b"{}")), close),
    (send(whole(b"{}") + b"unsolicited"),),
    (send(whole(b"{}") + whole(b"{}")),),
    (send(head(200, ()) + b"{}"), close),
]


@pytest.mark.parametrize("script", NOT_KEPT)
async def test_a_connection_that_cannot_be_used_again_is_closed(client: HttpClient, script: Script) -> None:
    async with FakeLlm().answer("/x", script) as llm:
        for count in range(1, 4):
            assert await ask(client, llm) == b"{}"
            await llm.until(lambda: llm.open == 0)
            assert llm.connections == count


async def test_bytes_that_nobody_asked_for_close_an_idle_connection(client: HttpClient) -> None:
    late = asyncio.Event()
    unsolicited = whole(b'{"not":"yours"}', status=408)
    async with FakeLlm().answer("/x", (send(whole(b"{}")), wait_for(late), send(unsolicited)), OK) as llm:
        assert await ask(client, llm) == b"{}"
        late.set()
        await llm.until(lambda: llm.open == 0)
        assert await ask(client, llm) == b'{"ok":1}'
        assert len(llm.requests) == 2


async def test_an_answer_that_was_not_read_to_its_end_closes_its_connection(client: HttpClient) -> None:
    async with FakeLlm().answer("/x", (send(stream_head("a/b") + chunk(b"a")), stall)) as llm:
        answer = await client.post(f"{llm.url}/x", (), b"")
        assert await answer.read_piece() == b"a"
        answer.close()
        answer.close()
        assert await answer.read_piece() == b""
        await llm.until(lambda: llm.open == 0)


async def test_a_large_body_is_written_as_it_is_and_a_small_one_with_its_head(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[bytes, ...]] = []
    send_to = Connection.send
    monkeypatch.setattr(Connection, "send", lambda self, *parts: (written.append(parts), send_to(self, *parts)))
    large = bytes(JOINED_BYTES + 1)
    async with FakeLlm().answer("/x", OK) as llm:
        for body in (b"{}", large):
            assert await ask(client, llm, body) == b'{"ok":1}'
        assert [request.body for request in llm.requests] == [b"{}", large]
    assert [len(parts) for parts in written] == [1, 2]
    assert written[1][1] is large


async def test_a_connection_whose_body_the_server_did_not_read_is_not_used_again(client: HttpClient) -> None:
    refusal = whole(b'{"error":"too large"}', status=413)

    async def refuse_unread(line: Line) -> None:
        await line.reader.readuntil(b"\r\n\r\n")
        await line.write(refusal)
        await asyncio.Event().wait()

    async with FakeLlm(on_connect=(refuse_unread,)) as llm:
        assert await ask(client, llm, b"x" * 9_000_000) == b'{"error":"too large"}'
        llm.on_connect = ()
        llm.answer("/x", OK)
        async with asyncio.timeout(20):
            assert await ask(client, llm) == b'{"ok":1}'
        assert llm.connections == 2


async def test_a_refusal_of_a_large_body_is_read_although_the_server_closes(client: HttpClient) -> None:
    async def refuse_and_close(line: Line) -> None:
        await line.reader.readuntil(b"\r\n\r\n")
        await line.write(whole(b'{"error":"too large"}', status=413, headers=[("Connection", "close")]))
        await close(line)

    async with FakeLlm(on_connect=(refuse_and_close,)) as llm:
        assert await ask(client, llm, b"x" * 9_000_000) == b'{"error":"too large"}'


async def test_what_was_idle_for_long_is_closed(client: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "KEEP_ALIVE_S", LATER_S)
    async with FakeLlm().answer("/x", OK) as llm:
        await asyncio.gather(*(ask(client, llm) for _ in range(3)))
        assert llm.connections == 3
        await llm.until(lambda: llm.open == 0)
        assert client._sweeper is None
        assert await ask(client, llm) == b'{"ok":1}'


async def test_only_so_many_connections_are_kept() -> None:
    async with FakeLlm().answer("/x", OK) as llm, HttpClient(keep=2) as client:
        await asyncio.gather(*(ask(client, llm) for _ in range(6)))
        await llm.until(lambda: llm.open == 2)


async def test_a_crowd_connects_a_few_at_a_time_and_all_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = ended = most = 0
    a_few = asyncio.Event()  # have begun, and none of them has ended
    start_connection = http.start_connection

    async def counted(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        nonlocal begun, ended, most
        begun += 1
        most = max(most, begun - ended)
        if begun == 4:
            a_few.set()
        await a_few.wait()
        try:
            return await start_connection(*args, **kwargs)
        finally:
            ended += 1

    monkeypatch.setattr(http, "start_connection", counted)
    monkeypatch.setattr(http, "MAX_CONNECTING", 4)
    crowd = 20
    arrived = asyncio.Event()
    async with FakeLlm().answer("/x", (wait_for(arrived), *OK)) as llm, HttpClient(keep=crowd) as client:
        pending = [asyncio.create_task(ask(client, llm)) for _ in range(crowd)]
        await llm.until(lambda: llm.heads == crowd, within_s=15)
        arrived.set()
        await asyncio.gather(*pending)
        assert most == 4
        assert llm.open == llm.connections == crowd


async def test_the_end_of_the_client_closes_what_it_kept() -> None:
    async with FakeLlm().answer("/x", OK) as llm:
        async with HttpClient() as client:
            await asyncio.gather(*(ask(client, llm) for _ in range(3)))
        await llm.until(lambda: llm.open == 0)


async def test_what_comes_back_after_the_end_of_the_client_is_closed() -> None:
    async with FakeLlm().answer("/x", OK) as llm:
        async with HttpClient() as client:
            answer = await client.post(f"{llm.url}/x", (), b"{}")
        assert await answer.read_piece() == b'{"ok":1}'
        assert await answer.read_piece() == b""
        await llm.until(lambda: llm.open == 0)


async def test_targets_are_remembered_within_a_bound(client: HttpClient) -> None:
    for number in range(1000):
        client.target_of(f"http://localhost/{number}")
    assert len(client.targets) <= http.MAX_CACHED_TARGETS


# ---- sending again ----


@pytest.mark.parametrize("ending", [close, reset])
async def test_a_kept_connection_that_closes_on_the_request_costs_no_error(client: HttpClient, ending: Any) -> None:  # noqa: ANN401
    async with FakeLlm().answer("/x", OK, (ending,), OK) as llm:
        assert await ask(client, llm) == b'{"ok":1}'
        assert await ask(client, llm, b"the body") == b'{"ok":1}'
        assert [got.body for got in llm.requests] == [b"{}", b"the body", b"the body"]
        assert [got.connection for got in llm.requests] == [1, 1, 2]
        assert llm.requests[1].raw == llm.requests[2].raw


async def test_a_request_is_sent_again_only_once(client: HttpClient) -> None:
    async with FakeLlm().answer("/x", OK, (close,)) as llm:
        await ask(client, llm)
        with pytest.raises(ConnectionClosed):
            await ask(client, llm)
        assert len(llm.requests) == 3


async def test_a_connection_that_closes_while_idle_is_not_used(client: HttpClient) -> None:
    async with FakeLlm().answer("/x", (*OK, close), OK) as llm:
        await ask(client, llm)
        await llm.until(lambda: llm.open == 0)
        assert await ask(client, llm) == b'{"ok":1}'
        assert len(llm.requests) == 2


@pytest.mark.parametrize("ending", [close, reset])
async def test_a_fresh_connection_that_closes_is_not_asked_again(client: HttpClient, ending: Any) -> None:  # noqa: ANN401
    async with FakeLlm().answer("/x", (ending,), OK) as llm:
        with pytest.raises(ConnectionClosed):
            await ask(client, llm)
        assert len(llm.requests) == 1


@pytest.mark.parametrize(("is_kept", "ends"), [(True, False), (False, True)], ids=["is kept", "was not kept"])
async def test_a_408_of_the_llms_own_is_an_answer(client: HttpClient, *, is_kept: bool, ends: bool) -> None:
    """It worked for too long, say; asked again it would work as long once more."""
    timed_out = (send(whole(b"{}", status=408, headers=[("Connection", "close")] if ends else [])),)
    async with FakeLlm().answer("/x", *([OK] if is_kept else []), timed_out, OK) as llm:
        if is_kept:
            await ask(client, llm)
        assert (await client.post(f"{llm.url}/x", (), b"{}")).status == 408
        assert len(llm.requests) == 1 + is_kept


async def test_once_a_byte_of_an_answer_came_nothing_is_sent_again(client: HttpClient) -> None:
    async with FakeLlm().answer("/x", OK, (send(b"H"), close), OK) as llm:
        await ask(client, llm)
        with pytest.raises(ConnectionClosed):
            await ask(client, llm)
        assert len(llm.requests) == 2


async def test_many_at_once_on_a_server_that_closes_after_each_answer_all_succeed(client: HttpClient) -> None:
    async with FakeLlm().answer("/x", (*OK, close)) as llm:  # llama.cpp announces keep-alive and closes
        for _ in range(10):
            assert await asyncio.gather(*(ask(client, llm) for _ in range(20))) == [b'{"ok":1}'] * 20


@pytest.mark.parametrize("garbage", [b"\x00" * 100, b"HTTP/9.9 xx\r\n\r\n", b"\r\n" * 50, b"HTTP/1.1 20\r\n\r\n"])
async def test_garbage_is_not_an_answer(client: HttpClient, garbage: bytes) -> None:
    async with FakeLlm().answer("/x", (send(garbage), close)) as llm:
        with pytest.raises((NotAnAnswer, ConnectionClosed)):
            await ask(client, llm)
