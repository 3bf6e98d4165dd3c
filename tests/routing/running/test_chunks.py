"""How a whole chunk of each length begins, and what ends just where a chunk does."""

import pytest

from masa_node.routing.running.chunks import MAX_SHORT_CHUNK_BYTES, SIZE_LINES, ends_with_a_chunk
from tests.fakes.http_bytes import chunk


def test_the_length_of_a_whole_chunk_says_how_it_begins() -> None:
    size = 1
    while len(whole := chunk(b"\n" * size)) < MAX_SHORT_CHUNK_BYTES:
        assert set(SIZE_LINES[len(whole)]) == {b"%x\r\n" % size, b"%X\r\n" % size}
        size += 1
    assert size > 1_000


def test_no_other_length_is_that_of_a_chunk() -> None:
    lengths = {len(chunk(b"\n" * size)) for size in range(1, MAX_SHORT_CHUNK_BYTES)}
    for length, lines in enumerate(SIZE_LINES):
        assert bool(lines) == (length in lengths)
        assert len(set(map(len, lines))) <= 1


@pytest.mark.parametrize(
    ("data", "part", "is_so"),
    [
        (chunk(b"data: a\n\n"), b"data: a\n\n", True),
        (b"a\n\r\n", b"a\n", True),
        (b"\r\n", b"", False),
        (chunk(b"a"), b"a", False),
        (chunk(b"a\n")[:-1], b"a\n", False),
        (chunk(b"a\n\r\n")[:-2], b"a\n\r\n", False),
        (b"a\n\r\n9\r\n", b"a\n", False),
    ],
)
def test_what_ends_with_a_chunk(data: bytes, part: bytes, *, is_so: bool) -> None:
    assert ends_with_a_chunk(data, part) == is_so
