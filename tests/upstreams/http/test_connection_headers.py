"""Headers of answers as text: the same whether they were seen before or not. Covers: `upstreams/http/connection.py`."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from masa_node.routing.running.turn_of_reads import TurnOfReads
from masa_node.routing.running.turn_of_writes import TurnOfWrites
from masa_node.upstreams.http.connection import Connection
from masa_node.upstreams.http.heads import MAX_KNOWN_BYTES

PLAIN = bytes(range(0x21, 0x7F)) + bytes(range(0xA1, 0x100))
ODD = b"\x01\x0b\x1f\x7f"  # a lenient parser lets them in
VALUES = st.builds(
    lambda begin, size, end: begin + b"y" * size + end,
    st.lists(st.sampled_from(PLAIN + ODD + b" "), max_size=6).map(bytes).map(bytes.strip),
    st.sampled_from([0, 1, MAX_KNOWN_BYTES - 3, MAX_KNOWN_BYTES, 4 * MAX_KNOWN_BYTES]),
    st.sampled_from([b"z", b"Z", b"\xe9"]),
)
HEADERS = st.lists(
    st.tuples(st.sampled_from([b"Server", b"server", b"X-RateLimit-Left", b"x" * (MAX_KNOWN_BYTES + 1)]), VALUES),
    max_size=8,
)


class Wire(asyncio.Transport):
    """Nobody is at its other end."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        pass


async def read_headers(headers: list[tuple[bytes, bytes]], times: int) -> list[list[tuple[str, str]]]:
    """As a connection gives those of equal answers that follow each other."""
    connection = Connection(asyncio.get_running_loop(), TurnOfWrites(), TurnOfReads())
    connection.connection_made(Wire())
    lines = b"".join(b"%b: %b\r\n" % pair for pair in headers)
    found: list[list[tuple[str, str]]] = []
    for _ in range(times):
        connection.send(b"POST / HTTP/1.1\r\n\r\n")
        await asyncio.sleep(0)  # the turn in which it is written ends
        connection.data_received(b"HTTP/1.1 200 OK\r\n%bcontent-length: 0\r\n\r\n" % lines)
        found.append(connection.headers)
        assert connection.first_headers == dict(reversed(connection.headers))
        assert connection.is_reusable()
        connection.renew()
    return found


def as_text(value: bytes) -> str:
    """Each run of controls is a space."""
    return "".join(" " if byte in ODD else chr(byte) for byte in value)


@given(HEADERS)
def test_headers_are_the_same_text_each_time(headers: list[tuple[bytes, bytes]]) -> None:
    first, *others = asyncio.run(read_headers(headers, 3))
    assert all(each == first for each in others)
    assert [name for name, _ in first] == [*(name.decode().lower() for name, _ in headers), "content-length"]
    for (_, text), (_, value) in zip(first, headers, strict=False):
        assert text.split() == as_text(value).split()


@given(st.lists(VALUES, min_size=2, max_size=6))
def test_an_answer_has_its_own_headers_whatever_came_before(values: list[bytes]) -> None:
    alone = [asyncio.run(read_headers([(b"server", value)], 1))[0] for value in values]
    again = [asyncio.run(read_headers([(b"server", value)], 1))[0] for value in reversed(values)]
    assert again == alone[::-1]
