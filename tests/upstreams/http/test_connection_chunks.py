"""Between two chunks, what comes is offered to whoever takes it, and is what the parser would have made of it."""

import asyncio
import re
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masa_node.chat.errors import ProviderError
from masa_node.upstreams.http.connection import MAX_OFFERED_BYTES, Connection
from tests.examples import times
from tests.fakes.http_bytes import LAST_CHUNK, chunk, stream_head, whole
from tests.upstreams.http.test_connection import REQUEST, connected, cut

HEAD = stream_head("text/event-stream")
PIECE = b"data: a\n\n"


_SIZE_LINE = re.compile(rb"([1-9a-f][0-9a-f]*|[1-9A-F][0-9A-F]*)\r\n")


def whole_chunk(data: bytes) -> bytes:
    """What is in the chunk that this begins with, if it is a whole one beyond doubt."""
    line = _SIZE_LINE.match(data)
    if line is None:
        return b""
    start, size = line.end(), int(line[1], 16)
    return data[start : start + size] if data[start + size : start + size + 2] == b"\r\n" else b""


class Reader:
    """Takes the chunks that it is offered, as far as it `wants` what is in them, and reads the rest as it comes."""

    def __init__(self, wants: Callable[[bytes], bool]) -> None:
        self._wants = wants
        self.taken: list[bytes] = []
        self.offers: list[bytes] = []
        self.body = b""

    async def read(self, pieces: Sequence[bytes]) -> tuple[bytes, str | None, bool]:
        """The body, the error behind it, and whether the connection may be used again."""
        connection, transport = connected()
        connection.send(REQUEST)
        connection.listen(lambda: self._came(connection), self)
        for piece in pieces:
            if transport.is_closing():
                break
            connection.data_received(piece)
        connection.connection_lost(None) if transport.is_closing() else None
        try:
            await asyncio.wait_for(connection.head(), 0)
            assert await asyncio.wait_for(connection.read_piece(), 0) == b""
        except TimeoutError:
            return self.body, "more has to come", connection.is_reusable()
        except ProviderError as exc:
            return self.body, f"{type(exc).__name__}: {exc.message}", connection.is_reusable()
        return self.body, None, connection.is_reusable()

    def _came(self, connection: Connection) -> None:
        self.body += connection.take_now() or b""

    def take(self, data: bytes) -> bytes:
        self.offers.append(data)
        while (body := whole_chunk(data)) and self._wants(body):
            self.taken.append(body)
            self.body += body
            data = data[len(chunk(body)) :]
        return data


async def both(pieces: Sequence[bytes], wants: Callable[[bytes], bool] = lambda _: True) -> list[bytes]:
    """What was taken, where that reads as if nothing had been, and as if nobody had been there to take it."""
    reader = Reader(wants)
    assert await reader.read(pieces) == await Reader(lambda _: False).read(pieces)
    return reader.taken


async def test_chunks_are_taken_from_the_second_read_on() -> None:
    pieces = [HEAD + chunk(PIECE), *[chunk(b"%d\n\n" % number) for number in range(40)], LAST_CHUNK]
    assert await both(pieces) == [b"%d\n\n" % number for number in range(40)]


@pytest.mark.parametrize("line", [b"2b\r\n", b"2B\r\n", b"b\r\n", b"12c\r\n", b"12C\r\n"])
async def test_sizes_of_both_cases_are_known(line: bytes) -> None:
    piece = b"x" * (int(line, 16) - 1) + b"\n"
    assert await both([HEAD + chunk(PIECE), line + piece + b"\r\n"]) == [piece]


@pytest.mark.parametrize(
    "odd",
    [
        b"0009\r\n" + PIECE + b"\r\n",
        b"9;x=y\r\n" + PIECE + b"\r\n",
        b"9\n" + PIECE + b"\n",
        b"9 \r\n" + PIECE + b"\r\n",
        b"a\r\n" + PIECE + b"\r\n",
        b"8\r\n" + PIECE + b"\r\n",
        b"\r\n",
        b"0\r\n",
        b"0\r\n\r\n",
        b"9\r\n" + PIECE + b"\n\n",
        b"15\r\n9\r\ndata: a\n\n\r\n9\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
)
async def test_what_is_not_just_one_chunk_is_the_parsers(odd: bytes) -> None:
    assert await both([HEAD + chunk(PIECE), odd]) == []


@pytest.mark.parametrize("before", [b"", b"\n", b"8\n", b"data: a\n\r\n", b"\r\n\r\n", b"\r\n\r\n\r\n", b"9\r\n9\n"])
@pytest.mark.parametrize(
    "behind", [b"", b"\r", b"\r\n", b"\r\n9", b"\r\n9\r", b"\r\n9\r\n", b"\r\n0\r\n", b"\r\n0\r\na: b\r\n"]
)
async def test_a_chunk_inside_of_what_has_begun_is_none(before: bytes, behind: bytes) -> None:
    """A part of the body that looks like a chunk, behind a part that ends like one."""
    inner = chunk(PIECE)
    for size in (len(before), len(before) + len(inner)):
        begun = HEAD + b"%x\r\n" % max(1, size) + before + behind
        taken = await both([begun, inner, b"\r\n" + LAST_CHUNK])
        assert not taken or (behind == b"\r\n" and size == len(before))


async def test_several_in_one_read_are_offered_together_and_the_rest_is_the_parsers() -> None:
    pieces = [b"%d\n\n" % number for number in range(6)]
    several = b"".join(map(chunk, pieces))
    for behind in (b"", LAST_CHUNK, b"9\r\n", chunk(PIECE)[:9], b"9;x=y\r\n" + PIECE + b"\r\n"):
        assert await both([HEAD + chunk(PIECE), several + behind]) == pieces
    assert await both([HEAD + chunk(PIECE), several], lambda piece: piece < b"3") == pieces[:3]
    reader = Reader(lambda _: True)
    await reader.read([HEAD + chunk(PIECE), several, several])
    assert (reader.taken, reader.offers) == (pieces * 2, [several] * 2)


@pytest.mark.parametrize(("size", "is_offered"), [(MAX_OFFERED_BYTES - 1, True), (MAX_OFFERED_BYTES, False)])
async def test_much_in_one_read_is_not_offered(size: int, is_offered: bool) -> None:  # noqa: FBT001
    much = chunk(b"\n" * (size - 7))
    assert len(much) == size
    taken = await both([HEAD + chunk(PIECE), much, chunk(PIECE)])
    assert taken == [b"\n" * (size - 7)] * is_offered + [PIECE]


async def test_while_nobody_takes_nothing_is_lost_and_then_it_is_offered() -> None:
    connection, _ = connected()
    connection.send(REQUEST)
    reader = Reader(lambda _: True)
    for piece in (HEAD + chunk(b"1"), chunk(b"2\n")):
        connection.data_received(piece)
    assert connection.take_now() == b"12\n"
    connection.listen(lambda: pytest.fail("it is taken"), reader)
    connection.data_received(chunk(b"3\n"))
    connection.listen(None)
    connection.data_received(chunk(b"4\n"))
    assert (reader.taken, connection.take_now()) == ([b"3\n"], b"4\n")


async def test_what_was_not_taken_is_read_and_the_next_is_offered_again() -> None:
    pieces = [HEAD + chunk(PIECE), *[chunk(b"%d\n" % number) for number in range(6)], LAST_CHUNK]
    assert await both(pieces, lambda piece: piece in (b"0\n", b"3\n", b"4\n")) == [b"0\n", b"3\n", b"4\n"]


async def test_a_body_of_known_length_is_read_as_ever() -> None:
    body = PIECE + b"\r\n" + chunk(PIECE) + b"\r\n"
    at = len(whole(body)) - len(body)
    raw = whole(body)
    assert await both([raw[: at + len(PIECE) + 2], raw[at + len(PIECE) + 2 : -2], raw[-2:]]) == []


bodies = st.one_of(
    st.binary(min_size=1, max_size=40),
    st.binary(max_size=300).map(lambda data: data + b"\n"),
    st.sampled_from([PIECE, b"\n", b"9\r\n", chunk(PIECE), b"\r\n\r\n", b"data: a\r\n\r\n", b"0\r\n\r\n"]),
)
parts = st.lists(bodies, min_size=1, max_size=12)
places = st.lists(st.integers(0, 4_000), max_size=6)


def cut_between_chunks(bodies: Sequence[bytes], where: Sequence[int]) -> list[bytes]:
    """A chunked answer as servers send it, a write for each chunk, and cut at some other places too."""
    reads = [HEAD + chunk(bodies[0]), *map(chunk, bodies[1:]), LAST_CHUNK]
    parts = [part for read in reads for part in (cut(read, [place for place in where if place < len(read)]))]
    for place in where:
        if place > 2_000 and len(parts) > 1:  # or two come in one read
            at = place % (len(parts) - 1)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts


@settings(max_examples=times(4))
@given(parts, places, st.lists(st.booleans(), min_size=1, max_size=5))
async def test_any_chunks_in_any_reads_are_the_same_body(
    bodies: list[bytes], where: list[int], answers: list[bool]
) -> None:
    wishes = [*answers] * 20
    await both(cut_between_chunks(bodies, where), lambda _: wishes.pop())


@settings(max_examples=times(4))
@given(parts, places, st.lists(st.booleans(), min_size=1, max_size=5))
async def test_what_is_offered_begins_where_a_chunk_does(
    bodies: list[bytes], where: list[int], answers: list[bool]
) -> None:
    reads, wishes = cut_between_chunks(bodies, where), [*answers] * 20
    raw, edges = b"".join(reads), {len(HEAD)}
    for body in bodies:
        edges.add(max(edges) + len(chunk(body)))
    reader = Reader(lambda _: wishes.pop())
    places = []
    take, fed = reader.take, 0

    def noted(data: bytes) -> bytes:
        assert raw[fed : fed + len(data)] == data
        places.append(fed)
        return take(data)

    reader.take = noted  # type: ignore[method-assign]
    connection, _ = connected()
    connection.send(REQUEST)
    connection.listen(lambda: None, reader)
    for read in reads:
        connection.data_received(read)
        fed += len(read)
    assert edges.issuperset(places)


@settings(max_examples=times(8))
@given(parts, places, st.data())
async def test_a_damaged_stream_is_found_to_be_damaged_either_way(
    bodies: list[bytes], where: list[int], data: st.DataObject
) -> None:
    reads = cut_between_chunks(bodies, where)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(reads) - 1))
        read, place = reads[at], data.draw(st.integers(0, len(reads[at])))
        mends = st.sampled_from([b"", b"\r", b"\n", b"\r\n", b"0", b"9", b"a", b";", b" ", b"0\r\n\r\n", chunk(PIECE)])
        reads[at] = read[:place] + data.draw(mends) + read[place + data.draw(st.integers(0, 3)) :]
    await both([read for read in reads if read])
