"""Bytes to requests, however they are cut. (What is refused: `tests/security/test_malformed_requests.py`.)"""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.api.http1 import reader
from masa_node.api.http1.raw_responses import HEAD_TOO_LARGE, MALFORMED
from masa_node.api.http1.reader import Incoming, Refused, RequestReader
from masa_node.api.http1.request import HttpRequest
from masa_node.routing.running.known_head import MAX_KNOWN_BYTES
from tests.api.raw_http import LAST_CHUNK, chunk, get, head, post, post_chunked

SEQUENCE = [
    get(b"/healthz"),
    post(b"one"),
    b"\r\n" + post_chunked(chunk(b"tw") + chunk(b"o") + LAST_CHUNK),
    post(b"GET / HTTP/1.1\r\n\r\n", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"),
    head(b"POST", b"http://localhost/a%20b?c=d", b"Content-Length: 0\r\n"),
    head(b"GET", b"/last", version=b"HTTP/1.0"),
]


class Taken:
    """What a reader gave."""

    def __init__(self) -> None:
        self.requests: list[tuple[Incoming, HttpRequest]] = []
        self.reader = RequestReader(self.take)

    def take(self, incoming: Incoming, length: int | None, body: bytes | None) -> HttpRequest:
        request = HttpRequest(incoming.head, length, lambda: None, body)
        self.requests.append((incoming, request))
        return request

    def told(self) -> list[tuple[object, ...]]:
        return [
            (
                *(each.head.method, each.head.path, each.head.raw_path, each.head.query, [*each.head.headers]),
                *(request.take(), request.content_length, each.is_http10, each.keep, request.is_whole),
            )
            for each, request in self.requests
        ]


def read(*parts: bytes) -> Taken:
    taken = Taken()
    for part in parts:
        taken.reader.feed(part)
    return taken


def test_a_sequence_of_requests_is_read_as_what_it_is() -> None:
    told = read(b"".join(SEQUENCE)).told()
    assert [(row[0], row[1], row[3], row[5], row[6], row[8]) for row in told] == [
        ("GET", "/healthz", b"", b"", None, True),
        ("POST", "/v1/chat/completions", b"", b"one", 3, True),
        ("POST", "/v1/chat/completions", b"", b"two", None, True),
        ("POST", "/v1/chat/completions", b"", b"GET / HTTP/1.1\r\n\r\n", 18, True),
        ("POST", "/a b", b"c=d", b"", 0, True),
        ("GET", "/last", b"", b"", None, False),
    ]
    assert all(row[9] for row in told)


@given(st.lists(st.integers(0, len(b"".join(SEQUENCE)))))
def test_the_same_however_it_is_cut(cuts: list[int]) -> None:
    raw = b"".join(SEQUENCE)
    places = [0, *sorted(cuts), len(raw)]
    parts = [raw[begin:end] for begin, end in itertools.pairwise(places)]
    assert read(*parts).told() == read(raw).told()


@given(cuts=st.lists(st.integers(0, len(b"".join(SEQUENCE)))))
def test_the_same_where_the_rest_of_a_body_is_not_parsed(cuts: list[int]) -> None:
    raw = b"".join(SEQUENCE)
    places = [0, *sorted(cuts), len(raw)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "UNPARSED_FROM_BYTES", 1)
        told = read(*(raw[begin:end] for begin, end in itertools.pairwise(places))).told()
    assert told == read(raw).told()


@pytest.mark.parametrize("size", [10, 200_000])
@pytest.mark.parametrize("are_together", [True, False])
def test_what_follows_a_request_that_closes_is_not_taken_however_large_its_body_is(
    size: int, *, are_together: bool
) -> None:
    last, rest = post(b"x" * size, b"Connection: close\r\n"), get(b"/") * 40 + b"no request"
    half = len(last) // 2
    parts = [last[:half], last[half:] + rest] if are_together else [last[:half], last[half:], rest, rest]
    told = read(*parts).told()
    assert [(row[5], row[8], row[9]) for row in told] == [(b"x" * size, False, True)]


@pytest.mark.parametrize("more", [b"", b"Connection: Upgrade\r\nUpgrade: x\r\n"])
def test_a_connect_is_refused_and_never_taken(more: bytes) -> None:
    taken = Taken()
    with pytest.raises(Refused):
        taken.reader.feed(head(b"CONNECT", b"/healthz", more))
    assert not taken.requests


def test_many_tiny_reads_of_a_body_that_is_not_parsed_are_refused_too() -> None:
    taken = read(post(b"x" * 200_000)[:-190_000])
    for _ in range(reader.FREE_CHUNKS - 1):
        taken.reader.feed(b"x")
    with pytest.raises(Refused):
        taken.reader.feed(b"x")


def test_the_same_byte_by_byte() -> None:
    raw = b"".join(SEQUENCE)
    assert read(*(raw[at : at + 1] for at in range(len(raw)))).told() == read(raw).told()


def test_the_length_is_no_header_so_that_heads_can_be_compared() -> None:
    first, second = read(post(b"a") + post(b"bc")).requests
    assert first[0].head.headers == second[0].head.headers
    assert (first[1].content_length, second[1].content_length) == (1, 2)


NAMES = [b"Host: localhost", b"host: localhost", b"X: y", b"X:  y ", b"Accept: */*", b"Connection: close"]
NAMES += [b"Expect: 100-continue", b"Transfer-Encoding: chunked", b"Upgrade: h2c\r\nConnection: Upgrade", b"X: \r\n y"]
LENGTHS = [
    b"Content-Length: %d",
    b"content-length:%d",
    b"CONTENT-LENGTH: \t%d ",
    b"Content-Length: 00%d",
    b"X: %d",
    b"%d",
]


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request that may be wrong, out of so few parts that the same ones often follow each other."""
    body = draw(st.sampled_from([b"", b"{}", b"hello", b"\r\n\r\n", get(b"/")]))
    size = len(body) + draw(st.sampled_from([0, 0, 0, 0, 1, -1]))
    lines = [*draw(st.sampled_from([NAMES[:1], NAMES[:3], NAMES])), draw(st.sampled_from(LENGTHS)) % size]
    if draw(st.booleans()):
        lines = draw(st.permutations(draw(st.lists(st.sampled_from(lines), max_size=4))))
    first = draw(st.sampled_from([b"POST /a", b"POST /b", b"GET /a", b"\r\nPOST /a"]))
    return b"%b HTTP/1.1\r\n%b\r\n" % (first, b"".join(line + b"\r\n" for line in lines)) + body


def outcome(parts: list[bytes]) -> tuple[list[tuple[object, ...]], bytes]:
    taken, refused = Taken(), b""
    try:
        for part in parts:
            taken.reader.feed(part)
    except Refused as refusal:
        refused = refusal.answer
    for _, request in taken.requests:
        request.is_gone = False
    return taken.told(), refused


@given(st.lists(requests(), min_size=1, max_size=3), st.integers(1, 4))
def test_what_is_remembered_of_a_head_changes_nothing(few: list[bytes], times: int) -> None:
    """One read each, so that heads are compared, is the same as two, where the parser reads all of it."""
    asked = [each for one in few for each in [one] * times] + few
    halves = [half for each in asked for half in (each[:-1], each[-1:])]
    assert outcome(asked) == outcome(halves)


def test_equal_heads_are_one_whatever_their_bodies_and_others_are_others() -> None:
    lines = [b"A: b\r\n", b"A: b\r\n", b"A: b\r\n", b"A: c\r\n", b"A: b\r\n"]
    taken = read(*(post(b"x" * n, line) for n, line in enumerate(lines)))
    heads = [incoming.head for incoming, _ in taken.requests]
    assert heads[0] is heads[1] is heads[2] is heads[4]
    assert heads[3] is not heads[0]
    assert [request.take() for _, request in taken.requests] == [b"x" * n for n in range(5)]


def test_a_known_head_needs_no_parser() -> None:
    taken = read(post(b"one"), post(b"two"))
    fed = taken.reader._parser
    taken.reader._parser = None  # type: ignore[assignment]
    taken.reader.feed(post(b"a third, longer one"))
    taken.reader._parser = fed
    taken.reader.feed(post(b"four", b"X: y\r\n"))
    assert [row[5] for row in taken.told()] == [b"one", b"two", b"a third, longer one", b"four"]


def test_one_too_many_with_a_known_head_is_refused_like_any_other() -> None:
    taken = read(post(b"one"), post(b"two"))

    def full(incoming: Incoming, length: int | None, body: bytes | None) -> HttpRequest:
        raise ValueError((incoming, length, body))

    taken.reader._take = full
    with pytest.raises(Refused) as refused:
        taken.reader.feed(post(b"three"))
    assert refused.value.answer == MALFORMED


def test_a_large_head_is_not_kept() -> None:
    taken = read(*[post(b"a", b"X: %b\r\n" % (b"y" * MAX_KNOWN_BYTES))] * 3)
    assert len({id(incoming.head) for incoming, _ in taken.requests}) == 3


def test_10_000_small_chunks_are_one_body() -> None:
    chunks = b"".join(chunk(b"%064d" % n) for n in range(10_000))
    ((_, request),) = read(post_chunked(chunks + LAST_CHUNK)).requests
    assert request.take() == b"".join(b"%064d" % n for n in range(10_000))


@pytest.mark.parametrize("cut", [1, 7, 4096])
def test_10_000_tiny_chunks_are_refused(cut: int) -> None:
    raw = post_chunked(chunk(b"x") * 10_000 + LAST_CHUNK)
    with pytest.raises(Refused) as refused:
        read(*(raw[at : at + cut] for at in range(0, len(raw), cut)))
    assert refused.value.answer == MALFORMED


@pytest.mark.parametrize("cut", [1_000, 1 << 20])
def test_a_head_over_the_bound_is_refused_as_one(cut: int) -> None:
    raw = get(b"/", b"X: %b\r\n" % (b"y" * 70_000))
    with pytest.raises(Refused) as refused:
        read(*(raw[at : at + cut] for at in range(0, len(raw), cut)))
    assert refused.value.answer == HEAD_TOO_LARGE


@pytest.mark.parametrize(
    ("asked", "expects"),
    [
        (head(b"POST", b"/", b"Expect: 100-Continue\r\nContent-Length: 1\r\n"), True),
        (head(b"POST", b"/", b"Content-Length: 1\r\n"), False),
        (head(b"POST", b"/", b"Expect: 100-continue\r\nContent-Length: 1\r\n", version=b"HTTP/1.0"), False),
    ],
)
def test_who_expects_to_be_told_to_go_on(asked: bytes, *, expects: bool) -> None:
    ((incoming, _),) = read(asked).requests
    assert incoming.expects_continue is expects
    assert incoming.keep is (not expects and not incoming.is_http10)


def test_an_expectation_ends_with_its_request() -> None:
    asked = head(b"POST", b"/", b"Expect: 100-continue\r\nContent-Length: 0\r\n") + post(b"")
    assert [incoming.expects_continue for incoming, _ in read(asked).requests] == [True, False]


@pytest.mark.parametrize(
    ("version", "lines", "keep"),
    [
        (b"HTTP/1.1", b"", True),
        (b"HTTP/1.1", b"Connection: close\r\n", False),
        (b"HTTP/1.1", b"Connection: keep-alive, CLOSE\r\n", False),
        (b"HTTP/1.0", b"", False),
        (b"HTTP/1.0", b"Connection: keep-alive\r\n", False),
    ],
)
def test_a_connection_is_kept_only_for_http_1_1(version: bytes, lines: bytes, *, keep: bool) -> None:
    ((incoming, _),) = read(head(b"GET", b"/", lines, version=version)).requests
    assert incoming.keep is keep


def test_what_is_on_its_way_is_known() -> None:
    taken = Taken()
    states: list[tuple[bool, bool, bool]] = []
    for part in (b"PO", post(b"ab")[2:-1], b"b", b"\r\n"):
        taken.reader.feed(part)
        reader = taken.reader
        states.append((reader.is_within, reader.in_head, reader.receiving is not None))
    assert states == [(True, True, False), (True, False, True), (False, False, False), (False, False, False)]


@given(st.binary(max_size=300), st.integers(1, 50))
def test_garbage_is_refused_or_waited_for_and_nothing_else(garbage: bytes, cut: int) -> None:
    taken = Taken()
    try:
        for at in range(0, len(garbage), cut):
            taken.reader.feed(garbage[at : at + cut])
    except Refused as refused:
        assert refused.answer.startswith(b"HTTP/1.1 4")  # noqa: PT017 - it need not be raised
