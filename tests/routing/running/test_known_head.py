"""Which message has a head that is known: its body is the same that a parser would find, or it has to be parsed."""

import os
import tracemalloc

import pytest

from masa_node.routing.running.known_head import MAX_KNOWN_BYTES, MAX_LESSONS, KnownHead

DATES = [b"Sun, 06 Nov 1994 08:49:37 GMT", b"Mon, 07 Nov 1994 08:49:38 GMT"]
TYPE = b"Content-Type: application/json\r\n"


def answer(body: bytes, *, status: int = 200, date: bytes = DATES[0], more: bytes = TYPE, end: bytes = b"") -> bytes:
    head = b"HTTP/1.1 %d OK\r\nDate: %b\r\n%bContent-Length: %d\r\n%b\r\n" % (status, date, more, len(body), end)
    return head + body


def lessons(*heads: bytes, any_date: bool = True) -> KnownHead[str]:
    known: KnownHead[str] = KnownHead(any_date=any_date)
    for number, head in enumerate(heads):
        known.learn(head, f"the head {number}")
    return known


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (answer(b"{}"), b"{}"),
        (answer(b"x" * 2000, date=DATES[1]), b"x" * 2000),
        (answer(b""), b""),
        (answer(b"{}")[:-1], b""),
        (answer(b"{}") + b"x", b""),
        (answer(b"{}", date=b"soon"), b""),
        (answer(b"{}", status=404), b""),
        (answer(b"{}", more=b"Content-Type: text/plain\r\n"), b""),
        (answer(b"{}").replace(b": 2", b": +2"), b""),
        (answer(b"{}").replace(b": 2", b": " + b"0" * 10 + b"2"), b""),
        (b"\r\n" + answer(b"{}"), b""),
    ],
)
def test_only_a_whole_answer_with_the_same_head_has_a_body(raw: bytes, body: bytes) -> None:
    assert lessons(answer(b"{}"), answer(b'{"a":1}', date=DATES[1])).body_of(raw) == body


@pytest.mark.parametrize(
    "heads",
    [
        (answer(b"{}"),),
        (answer(b"{}"), answer(b"{}", status=404)),
        (answer(b"{}", more=b"X: %b\r\n" % (b"x" * MAX_KNOWN_BYTES)),) * 2,
        (answer(b"{}", end=b"Content-Length: 2\r\n"),) * 2,
        (answer(b"{}", end=b"Transfer-Encoding: chunked\r\n"),) * 2,
        (answer(b"{}", end=b"X: y\ntransfer-encoding: chunked\r\n"),) * 2,
        (b"HTTP/1.1 200 OK\r\n\r\n{}",) * 2,
        tuple(answer(b"{}", more=b"X-Request-Id: %d\r\n" % number) for number in range(MAX_LESSONS)) * 2,
    ],
)
def test_what_came_once_or_is_large_or_has_two_lengths_is_not_known(heads: tuple[bytes, ...]) -> None:
    assert lessons(*heads).body_of(heads[-1]) == b""


def test_what_was_made_of_the_head_is_the_newest() -> None:
    known = lessons(answer(b"{}"), answer(b"{}"), answer(b"{}", status=201), answer(b"{}", status=201))
    assert known.parsed == "the head 3"
    assert known.body_of(answer(b"{}", status=201)) == b"{}"
    assert known.body_of(answer(b"{}")) == b""


def test_a_date_may_be_another_only_where_nobody_looks_at_it() -> None:
    same, other = answer(b"{}"), answer(b"{}", date=DATES[1])
    assert lessons(same, same, any_date=True).body_of(other) == b"{}"
    assert lessons(same, same, any_date=False).body_of(other) == b""
    assert lessons(same, other, any_date=False).body_of(other) == b""


@pytest.mark.untraced
def test_what_is_learnt_of_heads_takes_little_more_than_they_do() -> None:
    """One is kept for each connection, and anybody may send one of its own on each."""
    count, known = 50, list[KnownHead[str]]()
    heads = [answer(b"{}", more=b"X: %b\r\n" % os.urandom(1_900).hex().encode()) for _ in range(count)]
    tracemalloc.start()
    try:
        known.extend(lessons(head, head) for head in heads)
        taken_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert all(each.body_of(head) == b"{}" for each, head in zip(known, heads, strict=True))
    assert taken_bytes < 2 * count * MAX_KNOWN_BYTES
