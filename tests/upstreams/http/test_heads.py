"""A head that comes again is compared instead of parsed: nobody may be able to tell the difference."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.chat.errors import NotAnAnswer, ProviderError
from masa_node.upstreams.http.connection import Connection
from tests.fakes.http_bytes import chunk, stream_head
from tests.upstreams.http.test_connection import REQUEST, MemoryTransport, connected, cut, fed, read_all

DATES = [b"Sun, 06 Nov 1994 08:49:37 GMT", b"Mon, 07 Nov 1994 08:49:38 GMT", b"soon"]
KINDS = [b"Content-Type: application/json\r\n", b"Content-Type: text/plain\r\n", b"content-length: 3\r\n", b""]
ENDS = [b"", b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"X: y\n", b"Transfer-Encoding: chunked\r\n"]


def answer(
    body: bytes, *, status: int = 200, date: bytes = DATES[0], more: bytes = KINDS[0], end: bytes = b""
) -> bytes:
    head = b"HTTP/1.1 %d OK\r\nDate: %b\r\n%bContent-Length: %d\r\n%b\r\n" % (status, date, more, len(body), end)
    return head + body


parts = st.builds(
    answer,
    st.sampled_from([b"", b"{}", b"x" * 9, b"x" * 10, b"0\r\n\r\n"]),
    status=st.sampled_from([200, 200, 200, 404, 204]),
    date=st.sampled_from(DATES),
    more=st.sampled_from([*KINDS[:1] * 4, *KINDS]),
    end=st.sampled_from([*ENDS[:1] * 6, *ENDS]),
)
raws = st.one_of(parts, parts, st.tuples(parts, st.binary(max_size=3)).map(b"".join))
Said = tuple[object, ...]


async def said(connection: Connection, transport: MemoryTransport, raw: bytes, places: list[int]) -> Said:
    """All that whoever asked may look at, but for the date and the length."""
    connection.send(REQUEST)
    await asyncio.sleep(0)  # it is written
    fed(connection, transport, cut(raw, places))
    is_reusable = connection.is_reusable()
    if not connection._complete:
        connection.connection_lost(None)
    try:
        body: bytes | type[ProviderError] = await read_all(connection)
    except ProviderError as error:
        body = type(error)
    if not connection.head_done:  # then there is nothing of it to look at
        return body, is_reusable
    headers = [pair for pair in connection.headers if pair[0] not in ("date", "content-length")]
    return body, is_reusable, connection.status, headers, [*connection.first_headers]


@given(st.lists(st.tuples(raws, st.lists(st.integers(0, 300), max_size=1)), min_size=1, max_size=8))
async def test_one_connection_for_all_answers_says_what_a_new_one_for_each_says(
    answers: list[tuple[bytes, list[int]]],
) -> None:
    kept = connected()
    for raw, places in answers:
        expected = await said(*connected(), raw, places)
        assert await said(*kept, raw, places) == expected
        if not kept[0].renew() or not expected[1]:
            kept = connected()


async def test_the_third_answer_with_the_same_head_is_not_parsed() -> None:
    connection, transport = connected()
    for number, body in enumerate((b"{}", b'{"a":1}', b"[" + b" " * 2000 + b"]")):
        connection.send(REQUEST)
        await asyncio.sleep(0)
        if number == 2:
            connection._parser = object()  # type: ignore[assignment]
        fed(connection, transport, [answer(body, date=DATES[number % 2])])
        assert await read_all(connection) == body
        assert connection.is_reusable()
        assert connection.headers[1] == ("content-type", "application/json")
        connection.renew()


@pytest.mark.parametrize(
    "raws",
    [
        [answer(b"2\r\n{}\r\n0\r\n\r\n", end=ENDS[-1])] * 4,
        [answer(b"", status=204)] * 2 + [answer(b"{}", status=204)],
        [answer(answer(b"{}"), status=103)] * 3,
    ],
    ids=["the length of what is in chunks", "of no body", "before the answer"],
)
async def test_a_length_that_counts_for_nothing_is_not_known(raws: list[bytes]) -> None:
    kept = connected()
    for raw in raws:
        assert await said(*kept, raw, []) == await said(*connected(), raw, [])
        kept[0].renew()


async def test_whoever_waits_for_an_answer_with_a_known_head_is_woken() -> None:
    connection, transport = connected()
    for _ in range(3):
        connection.send(REQUEST)
        waiting = asyncio.ensure_future(read_all(connection))
        await asyncio.sleep(0)
        fed(connection, transport, [answer(b"{}")])
        assert await waiting == b"{}"
        connection.renew()


@pytest.mark.parametrize("status", [100, 103, 199])
@pytest.mark.parametrize(
    ("framing", "body"), [(KINDS[2], b"abc"), (ENDS[-1], b"3\r\nabc\r\n0\r\n\r\n")], ids=["a length", "chunks"]
)
async def test_no_body_of_an_interim_answer_is_taken_for_one_of_the_answer(
    status: int, framing: bytes, body: bytes
) -> None:
    interim = b"HTTP/1.1 %d Soon\r\n%b\r\n" % (status, framing)
    assert await said(*connected(), interim + body + answer(b"{}"), []) == (NotAnAnswer, False)


async def test_an_interim_answer_may_say_that_it_has_none() -> None:
    interim = b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n"
    assert (await said(*connected(), interim + answer(b"{}"), []))[0] == b"{}"


@pytest.mark.parametrize("place", [[], [90], [130]])
async def test_a_trailer_is_no_header(place: list[int]) -> None:
    raw = stream_head("application/json") + chunk(b"{}") + b"0\r\nContent-Type: text/html\r\nX-A: b\r\n\r\n"
    body, is_reusable, status, headers, _ = await said(*connected(), raw, place)
    assert (body, is_reusable, status) == (b"{}", True, 200)
    assert headers == [("content-type", "application/json"), ("transfer-encoding", "chunked")]


@pytest.mark.parametrize("is_taken", [True, False])
async def test_an_answer_with_a_known_head_is_offered_as_a_whole(*, is_taken: bool) -> None:
    connection, transport = connected()
    for body in (b"{}", b'{"a":1}'):
        connection.send(REQUEST)
        fed(connection, transport, [answer(body)])
        await read_all(connection)
        connection.renew()
    offers: list[tuple[object, bytes]] = []
    told: list[str] = []

    def take(headers: object, body: bytes) -> bool:
        offers.append((headers, body))
        return is_taken

    connection.send(REQUEST)
    await asyncio.sleep(0)
    connection.listen_for_whole(lambda: told.append("came"), take, lambda: told.append("taken"))
    fed(connection, transport, [answer(b'{"b":2}', date=DATES[1])])
    assert offers == [((("content-type", "application/json"),), b'{"b":2}')]
    assert told == ["taken" if is_taken else "came"]
    if not is_taken:
        assert await read_all(connection) == b'{"b":2}'
    assert connection.is_reusable()
    assert connection.renew()


@pytest.mark.parametrize("more", [b"Content-Encoding: gzip\r\n", b"Content-Encoding: identity\r\n"])
async def test_what_may_be_compressed_or_is_an_error_is_not_offered(more: bytes) -> None:
    for status, head in ((200, more), (404, KINDS[0])):
        connection, transport = connected()
        for _ in range(3):
            connection.send(REQUEST)
            await asyncio.sleep(0)
            connection.listen_for_whole(lambda: None, lambda *_: pytest.fail("it is odd"), lambda: None)
            fed(connection, transport, [answer(b"{}", status=status, more=head)])
            assert await read_all(connection) == b"{}"
            connection.listen(None)
            connection.renew()
