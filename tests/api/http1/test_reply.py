"""An answer as bytes: its framing by version and method, and a caller that does not read."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.api.http1.reply import PART_BYTES, RawHeaders, Reply
from masa_node.api.http1.request import Head, HttpRequest


class Caller:
    """A connection that keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_paused = False
        self.is_last = False
        self.kept: list[bool] = []
        self.reads = asyncio.Event()
        self.waited_for = ""

    def standard_lines(self) -> bytes:
        return b"date: now\r\n"

    def write(self, data: bytes) -> None:
        self.written.append(data)

    async def drained(self, *, is_whole: bool = False) -> None:
        self.waited_for = "the rest" if is_whole else "what went before"
        await self.reads.wait()
        self.is_paused = False

    def reply_is_over(self, *, keep: bool) -> None:
        self.kept.append(keep)


def asked(method: str = "POST", *, is_whole: bool = True) -> HttpRequest:
    request = HttpRequest(Head(method, b"/", ()), None, lambda: None)
    if is_whole:
        request.complete()
    return request


def reply_to(
    caller: Caller, request: HttpRequest | None = None, *, is_http10: bool = False, keep: bool = True
) -> Reply:
    return Reply(request or asked(), caller, caller, is_http10=is_http10, keep=keep and not is_http10)


async def test_a_whole_answer_is_one_write_with_its_length() -> None:
    caller = Caller()
    await reply_to(caller).whole(200, [(b"x", b"y")], b"body")
    assert caller.written == [b"HTTP/1.1 200 OK\r\ndate: now\r\nx: y\r\ncontent-length: 4\r\n\r\nbody"]
    assert caller.kept == [True]


async def test_chunks_may_be_written_behind_the_first_piece_of_a_chunked_answer() -> None:
    caller = Caller()
    reply = reply_to(caller)
    assert reply.chunks is None
    await reply.begin(200, [])
    assert reply.chunks is None, "its head is still to be written"
    await reply.piece(b"a")
    assert reply.chunks is caller  # type: ignore[comparison-overlap]


@pytest.mark.parametrize("is_gone", [True, False])
async def test_no_chunks_may_be_written_to_an_old_client_or_one_that_left(*, is_gone: bool) -> None:
    request = asked()
    reply = reply_to(Caller(), request, is_http10=not is_gone)
    if is_gone:
        request.lose()
    await reply.begin(200, [])
    await reply.piece(b"a")
    assert reply.chunks is None


async def test_a_large_answer_is_written_in_parts_and_others_have_their_turn_between_them() -> None:
    caller, body = Caller(), bytes(range(250)) * 10_500
    turns: list[int] = []

    async def other() -> None:
        while not caller.kept:
            turns.append(len(caller.written))
            await asyncio.sleep(0)

    seen = asyncio.create_task(other())
    await reply_to(caller).whole(200, [], body)
    await seen
    assert max(map(len, caller.written)) <= PART_BYTES + 100
    assert b"".join(caller.written).endswith(b"content-length: %d\r\n\r\n%b" % (len(body), body))
    assert set(turns) >= {1, 2}
    assert caller.kept == [True]


async def test_a_large_answer_to_a_caller_that_leaves_is_not_complete() -> None:
    caller, request = Caller(), asked()
    reply = reply_to(caller, request)
    writing = asyncio.create_task(reply.whole(200, [], bytes(3 * PART_BYTES)))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    request.lose()
    await writing
    assert (len(caller.written), caller.kept, reply.is_complete) == (1, [], False)


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("POST", 304)])
async def test_of_a_large_answer_without_a_body_goes_the_head(method: str, status: int) -> None:
    caller = Caller()
    await reply_to(caller, asked(method)).whole(status, [], bytes(3 * PART_BYTES))
    assert (len(caller.written), caller.kept) == (1, [True])
    assert caller.written[0].endswith(b"content-length: %d\r\n\r\n" % (3 * PART_BYTES))


async def test_a_large_answer_waits_for_a_caller_that_does_not_read_yet() -> None:
    caller = Caller()
    caller.is_paused = True
    writing = asyncio.create_task(reply_to(caller).whole(200, [], bytes(PART_BYTES + 1)))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    assert caller.written == []
    caller.reads.set()
    await writing
    assert len(caller.written) == 2


async def test_of_a_large_answer_no_more_is_written_than_the_caller_takes() -> None:
    """What is written lies in the loop's transport, where no budget counts it."""
    caller, body = Caller(), bytes(range(250)) * 10_500
    reply = reply_to(caller)
    writing = asyncio.create_task(reply.whole(200, [], body))  # type: ignore[arg-type]
    for part in range(1, 4):
        await asyncio.sleep(0)
        caller.is_paused = True
        for _ in range(5):
            await asyncio.sleep(0)
        assert (len(caller.written), reply.is_complete) == (part, False)
        assert caller.waited_for == "the rest"
        caller.reads.set()
        caller.reads = asyncio.Event()
    caller.is_paused = False
    caller.reads.set()
    await writing
    assert b"".join(caller.written).endswith(b"\r\n\r\n" + body)


async def test_to_head_goes_the_length_without_the_body() -> None:
    caller = Caller()
    await reply_to(caller, asked("HEAD")).whole(404, [], b"body")
    assert caller.written == [b"HTTP/1.1 404 Not Found\r\ndate: now\r\ncontent-length: 4\r\n\r\n"]


async def test_the_head_of_a_stream_goes_with_its_first_piece() -> None:
    caller = Caller()
    reply = reply_to(caller)
    await reply.begin(200, [])
    assert (caller.written, reply.has_begun) == ([], True)
    await reply.piece(b"a" * 16)
    await reply.piece(b"b")
    await reply.end()
    head = b"HTTP/1.1 200 OK\r\ndate: now\r\ntransfer-encoding: chunked\r\n\r\n"
    assert caller.written == [head + b"10\r\n" + b"a" * 16 + b"\r\n", b"1\r\nb\r\n", b"0\r\n\r\n"]
    assert reply.is_complete


async def test_a_stream_without_a_piece_is_a_head_and_an_end() -> None:
    for is_http10, end in ((False, b"0\r\n\r\n"), (True, b"\r\n\r\n")):
        caller = Caller()
        reply = reply_to(caller, is_http10=is_http10)
        await reply.begin(200, [])
        await reply.end()
        assert b"".join(caller.written).endswith(end)


async def test_http_1_0_gets_no_chunks_and_the_end_of_the_connection() -> None:
    caller = Caller()
    reply = reply_to(caller, is_http10=True)
    await reply.begin(200, [])
    await reply.piece(b"a")
    assert reply.needs_reset
    await reply.piece(b"b")
    await reply.end()
    assert b"".join(caller.written) == b"HTTP/1.1 200 OK\r\ndate: now\r\nconnection: close\r\n\r\nab"
    assert (caller.kept, reply.needs_reset) == ([False], False)


@pytest.mark.parametrize(
    ("is_whole", "is_last", "keep"), [(False, False, True), (True, True, True), (True, False, False)]
)
async def test_what_ends_with_the_answer_says_so(*, is_whole: bool, is_last: bool, keep: bool) -> None:
    caller = Caller()
    caller.is_last = is_last
    await reply_to(caller, asked(is_whole=is_whole), keep=keep).whole(200, [], b"")
    assert b"\r\nconnection: close\r\n" in caller.written[0]
    assert caller.kept == [False]


@pytest.mark.parametrize("status", [299, 529, 599])
async def test_a_status_without_a_name_is_given_as_it_is(status: int) -> None:
    caller = Caller()
    await reply_to(caller).whole(status, [], b"")
    assert caller.written[0].startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize("bad", [(b"x", b"a\r\nset-cookie: b"), (b"x", b"a\nb"), (b"x", b"a\rb"), (b"x", b"\x00")])
async def test_nothing_begins_a_header_of_its_own(bad: tuple[bytes, bytes]) -> None:
    for header in (bad, (bad[1], b"x"), (b"", b"x"), (b"a b", b"x"), (b"a:", b"x")):
        caller = Caller()
        reply = reply_to(caller)
        with pytest.raises(ValueError, match="header"):
            await reply.whole(200, [header], b"")
        with pytest.raises(ValueError, match="header"):
            await reply.begin(200, [header])
        assert (caller.written, reply.has_begun) == ([], False)
        await reply.whole(500, [], b"")  # it may still be told what happened
        assert reply.is_complete


@given(st.lists(st.tuples(st.binary(max_size=6), st.binary(max_size=6)), max_size=4))
async def test_any_headers_are_written_one_a_line_or_not_at_all(headers: RawHeaders) -> None:
    caller = Caller()
    try:
        await reply_to(caller).whole(200, [*headers], b"")
    except ValueError:
        assert caller.written == []
        return
    lines = caller.written[0].removesuffix(b"\r\n\r\n").split(b"\r\n")[2:-1]
    assert lines == [b"%b: %b" % pair for pair in headers]


async def test_headers_may_be_added_when_an_answer_begins() -> None:
    caller = Caller()
    reply = reply_to(caller)
    reply.amend = lambda headers: headers.append((b"added", b"%d" % len(headers)))
    await reply.whole(200, [(b"x", b"y")], b"")
    assert b"\r\nadded: 2\r\n" in caller.written[0]


@pytest.mark.parametrize("what", ["whole", "begin", "piece", "end"])
async def test_while_the_caller_does_not_read_nothing_is_written(what: str) -> None:
    caller = Caller()
    reply = reply_to(caller)
    if what in ("piece", "end"):
        await reply.begin(200, [])
        await reply.piece(b"first")
    before = len(caller.written)
    caller.is_paused = True
    steps = {
        "whole": lambda: reply.whole(200, [], b""),
        "begin": lambda: reply.begin(200, []),
        "piece": lambda: reply.piece(b"x"),
        "end": reply.end,
    }
    step = asyncio.ensure_future(steps[what]())
    await asyncio.sleep(0)
    assert not step.done()
    assert (reply.is_paused, len(caller.written)) == (True, before)
    caller.reads.set()
    await step
    assert reply.has_begun
    assert len(caller.written) == before + (what != "begin")


async def test_nothing_is_written_for_a_caller_that_is_gone() -> None:
    for is_paused in (False, True):
        caller, request = Caller(), asked()
        reply = reply_to(caller, request)
        caller.is_paused = is_paused
        request.lose()
        await reply.begin(200, [])
        await reply.piece(b"x")
        await reply.end()
        reply.flush()
        other = reply_to(caller, request)
        await other.whole(200, [], b"")
        assert (caller.written, caller.kept, reply.is_complete, other.is_complete) == ([], [], False, False)


async def test_a_head_alone_is_written_before_its_answer_is_cut() -> None:
    caller = Caller()
    reply = reply_to(caller)
    await reply.begin(200, [])
    reply.flush()
    reply.flush()
    assert len(caller.written) == 1
