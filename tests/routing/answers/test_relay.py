"""What is passed on in its chunks, or at a glance, is what a caller would get otherwise: bytes, end, counts and order.

From a connection as it is read to a caller as it is written to, with all that is between them.
"""

import asyncio
import itertools
import re
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masa_node.api.http1.reply import Reply
from masa_node.api.reply_sink import ReplySink
from masa_node.chat.answer import Answer, ChunkWriter, Usage, WholeAnswer
from masa_node.chat.outcome import Attempt
from masa_node.chat.request import DialectName, Request
from masa_node.dialects.choices import Endings
from masa_node.dialects.dialect import Dialect
from masa_node.dialects.framing import NDJSON
from masa_node.dialects.registry import DIALECTS
from masa_node.routing.answers.reader import take_answer
from masa_node.routing.answers.relay import Relay
from masa_node.routing.provider import Sign, Taker, TakeWhole, no_sign
from masa_node.routing.running.turn_of_writes import TurnOfWrites, Writer
from masa_node.upstreams.http.answer import HttpAnswer
from masa_node.upstreams.http.connection import Connection
from tests.api.http1.test_reply import asked
from tests.dialects import recorded
from tests.dialects.recorded import Stream, sse
from tests.examples import times
from tests.fakes.http_bytes import LAST_CHUNK, chunk, stream_head, unchunked
from tests.fakes.http_bytes import NDJSON as NDJSON_TYPE
from tests.routing.scripted import ScriptedProvider, World
from tests.upstreams.http.test_connection import REQUEST, MemoryTransport, connected
from tests.virtual_time import settle, virtual_time

OPENAI = DIALECTS[DialectName.OPENAI]
STREAMS = recorded.streams()
FINISH = sse(b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}')
USAGE = sse(b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5}}')
DONE = sse(b"[DONE]")


def piece(words: bytes, index: int = 0) -> bytes:
    return sse(b'{"choices":[{"index":%d,"delta":{"content":"%b"},"finish_reason":null}]}' % (index, words))


HEAD = stream_head("text/event-stream")
BEGIN = [HEAD + chunk(piece(b"a")), chunk(piece(b"b"))]  # from the third on they are usual
END = [chunk(FINISH), chunk(DONE), LAST_CHUNK]


# ---- a server, of which a test says what is read from its connection ----


class Asked:
    """One request to it; see `AskedNow`. `takes`: is what comes offered at all?"""

    heard = int

    def __init__(self, dialect: Dialect, *, takes: bool) -> None:
        self.dialect = dialect
        self.endings = Endings()
        self.asked = 0
        self.connection, self.transport = connected()
        self.takes = takes
        self._response: HttpAnswer | None = None
        self.connection.send(REQUEST)
        self.close = self.connection.close

    @property
    def is_odd(self) -> bool:
        return self.connection.has_failed

    def listen(self, came: Callable[[], None] | None, taker: Taker | None = None) -> None:
        self.connection.listen(came, taker if self.takes else None)

    def listen_for_whole(self, came: Callable[[], None], take: TakeWhole) -> None:
        self.connection.listen_for_whole(came, take, lambda: None)

    def head(self) -> HttpAnswer | None:
        if self._response is None and self.connection.head_done:
            self._response = HttpAnswer(cast("Connection", self), cast("Any", None), lambda *_: None)
        return self._response

    def answered(self, usage: Usage) -> None:
        pass

    async def answer(self, request: Request, sign: Sign = no_sign) -> Answer:
        await self.connection.head()
        response = self.head()
        assert response is not None
        return await take_answer(response, self.dialect, is_stream=True, endings=self.endings, sign=sign)

    def __getattr__(self, name: str) -> object:
        return getattr(self.connection, name)  # to the response this is the connection


class Server(ScriptedProvider):
    """It is asked by calls, or by a task."""

    def __init__(self, dialect: Dialect, *, takes: bool) -> None:
        super().__init__("own")
        self.asked = Asked(dialect, takes=takes)

    def ask_now(self, request: Request) -> Asked:
        return self.asked

    async def answer(self, request: Request, sign: Sign = no_sign) -> Answer:
        return await self.asked.answer(request, sign)


# ---- a caller, of whom a test says when they read ----


class Strict(Writer):
    """Nothing goes in its chunks to a caller that does not read."""

    def write_now(self, data: bytes) -> None:
        assert not self.is_paused
        super().write_now(data)


class Caller(asyncio.Transport):
    """One caller's connection. They stop to read at each write whose number is among the `pauses`."""

    is_last = False

    def __init__(self, pauses: Sequence[int] = (), turn: TurnOfWrites | None = None) -> None:
        super().__init__()
        self.writer = Strict(self, turn or TurnOfWrites())
        self.written = b""
        self.writes = 0
        self.has_left = False
        self._pauses = pauses
        self._reads = asyncio.Event()
        self.kept: bool | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.has_left
        self.written += data
        self.writes += 1
        if self.writes in self._pauses:
            self.writer.is_paused = True

    def is_closing(self) -> bool:
        return self.has_left

    def read_on(self) -> None:
        self.writer.is_paused = False
        self._reads.set()
        self._reads = asyncio.Event()

    def standard_lines(self) -> bytes:
        return b""

    async def drained(self, *, is_whole: bool = False) -> None:
        await self._reads.wait()

    def reply_is_over(self, *, keep: bool) -> None:
        self.kept = keep


@dataclass
class Kind:
    """How a caller is answered: by calls or by a task, in chunks or not, and is anything taken at a glance?"""

    by_calls: bool = True
    takes: bool = True
    is_http10: bool = False
    has_chunks: bool = True


class Sink(ReplySink):
    """As a caller's; without `has_chunks`, as one that takes frames alone, such as a peer."""

    has_chunks = True

    @property
    def chunks(self) -> ChunkWriter | None:
        return super().chunks if self.has_chunks else None


@dataclass
class Host:
    """Whoever has a request answered on the plain way."""

    sink: Sink
    task: "asyncio.Task[None] | None" = None
    is_over: bool = False

    @property
    def is_ready(self) -> bool:
        return not self.sink.reply.is_paused

    def give(self, answer: WholeAnswer, attempt: Attempt) -> bool:
        self.sink.head(answer, (attempt,))
        self.sink.end(answer.body)
        return True

    def go_on(self, rest: Coroutine[Any, Any, None]) -> None:
        self.task = asyncio.get_running_loop().create_task(rest)

    def over(self) -> None:
        self.is_over = True


class Exchange:
    """One request of this kind, from its server to its caller."""

    def __init__(self, kind: Kind, dialect: Dialect = OPENAI, caller: Caller | None = None) -> None:
        self.kind = kind
        self.server = Server(dialect, takes=kind.takes)
        self.world = World([self.server])
        self.caller = caller or Caller()
        self.request = asked()
        self.reply = Reply(
            self.request, self.caller, self.caller.writer, is_http10=kind.is_http10, keep=not kind.is_http10
        )
        request = self.world.ask()
        sink = Sink(request, self.reply, is_native=False)
        sink.has_chunks = kind.has_chunks
        self.host = Host(sink)
        way, self.plain = self.world.dispatcher, None
        if kind.by_calls:
            row = way.row(request.model, request.endpoint)
            assert row is not None
            self.plain = way.begin(row, request, self.host)
            assert self.plain is not None
        else:
            self.host.go_on(cast("Coroutine[Any, Any, None]", self.world.dispatcher.answer(request, sink)))

    @property
    def transport(self) -> MemoryTransport:
        return self.server.asked.transport

    def reads(self, *data: bytes) -> None:
        for read in data:
            if not self.transport.is_closing():
                self.server.asked.connection.data_received(read)

    def breaks(self) -> None:
        if not self.transport.is_closing():
            self.server.asked.connection.connection_lost(None)

    def leaves(self) -> None:
        self.caller.has_left = True
        self.request.lose()
        self.caller.read_on()
        if self.host.task is not None:
            self.host.task.cancel()
        elif self.plain is not None:
            self.plain.cancel()

    async def is_over(self) -> None:
        while not self.world.outcomes:
            self.caller.read_on()
            await asyncio.sleep(0.01)
        await settle()

    @property
    def body(self) -> tuple[bytes, bool]:
        """What they got, and was it whole?"""
        head, _, raw = self.caller.written.partition(b"\r\n\r\n")
        if b"transfer-encoding: chunked" not in head:
            return raw, self.reply.is_complete
        pieces, rest = unchunked(raw)
        assert rest in (b"", LAST_CHUNK)
        assert (rest == LAST_CHUNK) == self.reply.is_complete
        return b"".join(pieces), self.reply.is_complete

    @property
    def told(self) -> tuple[object, ...]:
        """All that a caller and the owner hear of it."""
        one = self.world.outcome
        counts = (one.answer_bytes, one.pieces, one.input_tokens, one.output_tokens)
        return (self.body, one.status, one.error, counts, self.server.asked.connection.is_reusable())


PARSED = {by_calls: Kind(by_calls=by_calls, takes=False) for by_calls in (True, False)}
KINDS = [
    Kind(by_calls=by_calls, **caller)
    for by_calls in (True, False)
    for caller in list[dict[str, bool]](({}, {"has_chunks": False}, {"is_http10": True}))
]


async def served(
    kind: Kind,
    dialect: Dialect,
    reads: Sequence[bytes],
    turns: Sequence[bool] = (True,),
    pauses: Sequence[int] = (),
    leaves_at: int = -1,
) -> tuple[object, ...]:
    """What is told of these reads, some with a turn of the loop behind them."""
    one = Exchange(kind, dialect, Caller(pauses))
    await settle()
    for number, read in enumerate(reads):
        if number == leaves_at:
            one.leaves()
            await settle()
            break
        one.reads(read)
        if turns[number % len(turns)]:
            await settle()
            one.caller.read_on()
            await settle()
    one.breaks()
    await one.is_over()
    return one.told


async def all_alike(dialect: Dialect, reads: Sequence[bytes], *how: Any) -> tuple[object, ...]:  # noqa: ANN401
    """What every kind of caller is told."""
    expected = {by_calls: await served(PARSED[by_calls], dialect, reads, *how) for by_calls in PARSED}
    for kind in KINDS:
        assert await served(kind, dialect, reads, *how) == expected[kind.by_calls], kind
    if expected[True][2] is expected[False][2] is None:
        assert expected[True][:3] == expected[False][:3]
    return expected[True]


# ---- all of it ----

_WORDS = re.compile(rb'("(?:content|text|response|thinking|delta)":\s?")([^"\\]+)(?=")')
words = st.lists(
    st.sampled_from(
        [b"a", b" hello", b"\\n", b'\\"', b"\\\\", b"\xc3\xa9", b"data: ", b"[DONE]", b"\\u0000", b"x" * 80]
    ),
    max_size=3,
).map(b"".join)
odd_words = st.one_of(words, st.sampled_from([b'"', b"\n", b"\r", b"\\", b"\n\n", b'","finish_reason":"stop', b"\r\n"]))
edges = st.lists(st.integers(0, 1 << 16), max_size=6)


@st.composite
def frames_of(draw: st.DrawFn, stream: Stream, said: st.SearchStrategy[bytes]) -> list[bytes]:
    """Those of the stream, with more of each that has words in it."""
    frames: list[bytes] = []
    for frame in stream.frames:
        frames.append(frame)
        found = _WORDS.search(frame)
        if found is not None:
            more = draw(st.lists(said, max_size=6))
            frames += [frame[: found.start(2)] + one + frame[found.end(2) :] for one in more]
    return frames


def in_reads(draw: st.DrawFn, frames: Sequence[bytes], dialect: Dialect) -> list[bytes]:
    """In chunks, most with a frame each, most in a read each, and some cut anywhere."""
    size = draw(st.sampled_from([b"%x", b"%X"]))
    joins = draw(st.lists(st.sampled_from([1, 1, 1, 2]), min_size=1, max_size=5))
    left, chunks = list(frames), list[bytes]()
    for count in itertools.cycle(joins):
        if not left:
            break
        body, left = b"".join(left[:count]), left[count:]
        chunks.append((size + b"\r\n%b\r\n") % (len(body), body))
    reads = [stream_head(NDJSON_TYPE if dialect.framing is NDJSON else "text/event-stream"), *chunks]
    several = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    joined, at = list[bytes](), 0
    for count in itertools.cycle(several):
        if at >= len(reads):
            break
        joined.append(b"".join(reads[at : at + count]))
        at += count
    if draw(st.booleans()):
        joined.append(LAST_CHUNK)
    else:
        joined[-1] += LAST_CHUNK
    for place in draw(edges):
        number = place % len(joined)
        read = joined[number]
        at = place % (len(read) + 1)
        joined[number : number + 1] = [part for part in (read[:at], read[at:]) if part]
    return joined


def damaged(draw: st.DrawFn, reads: list[bytes]) -> list[bytes]:
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(reads) - 1))
        read, place = reads[at], draw(st.integers(0, len(reads[at])))
        if at == 0 and b"HTTP/" in read:
            continue  # what becomes of a head is no matter here
        put = draw(st.sampled_from([b"", b"\r", b"\n", b"\r\n", b"0", b"9", b"a", b'"', b" ", LAST_CHUNK, chunk(DONE)]))
        reads[at] = read[:place] + put + read[place + draw(st.integers(0, 3)) :]
    return [read for read in reads if read]


def of_one_stream(data: st.DataObject, said: st.SearchStrategy[bytes]) -> tuple[Dialect, list[bytes]]:
    stream = data.draw(st.sampled_from(STREAMS))
    frames = data.draw(frames_of(stream, said))
    return stream.dialect, data.draw(st.composite(in_reads)(frames, stream.dialect))


turns = st.lists(st.booleans(), min_size=1, max_size=5)


@pytest.mark.untraced
@settings(max_examples=times(3))
@given(st.data(), turns)
def test_every_caller_of_any_stream_is_told_the_same(data: st.DataObject, turns: list[bool]) -> None:
    dialect, reads = of_one_stream(data, words)

    @virtual_time
    async def run() -> None:
        (body, is_whole), _, error, (size, *_), _ = cast("Any", await all_alike(dialect, reads, turns))
        if error is None:
            assert is_whole
            assert (body, size) == (b"".join(unchunked(b"".join(reads).partition(b"\r\n\r\n")[2])[0]), len(body))

    run()


@pytest.mark.untraced
@settings(max_examples=times(4))
@given(st.data(), turns)
def test_so_is_that_of_a_damaged_one(data: st.DataObject, turns: list[bool]) -> None:
    dialect, reads = of_one_stream(data, odd_words)
    reads = data.draw(st.composite(damaged)(reads))
    virtual_time(lambda: all_alike(dialect, reads, turns))()


@pytest.mark.untraced
@settings(max_examples=times(2))
@given(st.data(), turns, st.lists(st.integers(1, 12), min_size=1, max_size=4))
def test_so_is_one_that_pauses(data: st.DataObject, turns: list[bool], pauses: list[int]) -> None:
    dialect, reads = of_one_stream(data, words)
    virtual_time(lambda: all_alike(dialect, reads, turns, pauses))()


@pytest.mark.untraced
@given(st.data(), st.integers(0, 20))
def test_so_is_the_owner_of_one_that_leaves(data: st.DataObject, leaves_at: int) -> None:
    dialect, reads = of_one_stream(data, words)
    virtual_time(lambda: all_alike(dialect, reads, [True], (), leaves_at))()


# ---- by itself ----


class Chunks:
    """Takes chunks, if they are not paused."""

    def __init__(self) -> None:
        self.is_paused = False
        self.written: list[bytes] = []

    def write_now(self, data: bytes) -> None:
        assert not self.is_paused
        self.written.append(data)


def learnt(to: Callable[[bytes], Awaitable[None] | None], chunks: Chunks | None = None) -> Relay:
    """One that knows the usual frame."""
    relay = Relay(OPENAI)
    for words in (b"a", b"b"):
        relay.feed(piece(words))
    return relay.to(to, chunks)


def not_given(data: bytes) -> None:
    pytest.fail("it goes in its chunk")


USUAL = [chunk(piece(words)) for words in (b"one", b"", b"x" * 500, b"\\n", b"four")]


def test_usual_chunks_are_written_as_they_came() -> None:
    chunks = Chunks()
    relay = learnt(not_given, chunks)
    for usual in USUAL:
        assert relay.take(usual) == b""
    assert chunks.written == USUAL
    assert relay.in_chunks == sum(len(unchunked(usual)[0][0]) for usual in USUAL)
    assert relay.frames == 2 + len(USUAL)


def test_those_of_one_read_are_written_together() -> None:
    chunks = Chunks()
    relay = learnt(not_given, chunks)
    assert relay.take(b"".join(USUAL)) == b""
    assert chunks.written == [b"".join(USUAL)]
    assert relay.frames == 2 + len(USUAL)


def test_whoever_takes_no_chunks_is_given_the_frames() -> None:
    given: list[bytes] = []
    relay = learnt(given.append)
    assert relay.take(USUAL[0]) == relay.take(b"".join(USUAL)) == b""
    frames = unchunked(b"".join(USUAL))[0]
    assert given == [frames[0], b"".join(frames)]
    assert relay.in_chunks == 0


ODD = {
    "another frame": chunk(FINISH),
    "another choice": chunk(piece(b"a", index=1)),
    "usage": chunk(USAGE),
    "the end": chunk(DONE),
    "two frames": chunk(piece(b"a") * 2),
    "half a frame": chunk(piece(b"a")[:-9]),
    "a frame and a half": chunk(piece(b"a") + b"data:"),
    "the last chunk": LAST_CHUNK,
    "a size with zeros": b"0" + USUAL[0],
    "a size with an extension": USUAL[0].replace(b"\r\n", b";a=b\r\n", 1),
    "a larger size": b"%x\r\n%b\r\n" % (len(piece(b"a")) + 1, piece(b"a")),
    "a smaller size": b"%x\r\n%b\r\n" % (len(piece(b"a")) - 1, piece(b"a")),
    "no end of the chunk": USUAL[0][:-2] + b"xx",
    "half an end": USUAL[0][:-2] + b"\rx",
    "the other half": USUAL[0][:-2] + b"x\n",
    "cut before its end": USUAL[0][:-1],
    "cut in its size": USUAL[0][:1],
    "a quote": chunk(piece(b'a"b')),
    "a line end": chunk(piece(b"a\nb")),
    "another line end": chunk(piece(b"a\rb")),
    "a long frame": chunk(piece(b"x" * 1_000)),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("takes_chunks", [True, False])
def test_what_is_not_just_a_usual_frame_in_a_chunk_is_left(odd: bytes, *, takes_chunks: bool) -> None:
    for before, behind in ((0, 0), (1, 0), (2, 0), (0, 2), (2, 2)):
        chunks, given = Chunks(), list[bytes]()
        relay = learnt(given.append, chunks if takes_chunks else None)
        seen = relay.frames, relay.received
        taken, left = USUAL[:before], odd + b"".join(USUAL[:behind])
        assert relay.take(b"".join(taken) + left) == left
        frames = unchunked(b"".join(taken))[0]
        assert chunks.written == ([b"".join(taken)] if takes_chunks and taken else [])
        assert given == ([b"".join(frames)] if taken and not takes_chunks else [])
        assert (relay.frames, relay.received) == (seen[0] + before, seen[1] + sum(map(len, frames)))


def test_before_it_has_learnt_and_while_a_frame_has_begun_nothing_is_taken() -> None:
    relay = Relay(OPENAI).to(not_given, Chunks())
    assert relay.take(USUAL[0]) == USUAL[0]
    relay = learnt(not_given, Chunks())
    relay.feed(piece(b"a")[:9])
    assert relay.take(USUAL[0]) == USUAL[0]


def test_nothing_goes_to_a_caller_that_does_not_read() -> None:
    chunks = Chunks()
    relay = learnt(not_given, chunks)
    chunks.is_paused = True
    for data in (USUAL[0], b"".join(USUAL)):
        assert relay.take(data) == data
    assert relay.frames == 2
    chunks.is_paused = False
    assert relay.take(USUAL[0]) == b""


# ---- between a connection and a caller ----


@virtual_time
async def test_usual_pieces_reach_the_caller_in_the_call_that_reads_them() -> None:
    one = Exchange(Kind())
    one.reads(*BEGIN)
    await settle()
    for usual in [*USUAL, b"".join(USUAL), *[usual.replace(usual[:2], usual[:2].upper(), 1) for usual in USUAL]]:
        before = len(one.caller.written)
        one.reads(usual)
        assert one.caller.written[before:] == usual
    one.reads(*END)
    assert one.host.is_over
    assert one.host.task is None
    await settle()
    assert one.body[1]


@virtual_time
async def test_they_are_behind_what_waits_for_the_end_of_the_turn() -> None:
    one = Exchange(Kind())
    one.reads(*BEGIN)
    await settle()
    other = FINISH.replace(b'"stop"', b"null")
    one.reads(chunk(other), chunk(other), chunk(piece(b"c")), *USUAL)
    await settle()
    one.reads(*END)
    await settle()
    assert one.body == (
        b"".join(unchunked(b"".join([*BEGIN, chunk(other) * 2, chunk(piece(b"c")), *USUAL, *END])[len(HEAD) :])[0]),
        True,
    )


@virtual_time
async def test_a_terminal_frame_in_the_same_read_ends_the_answer() -> None:
    one = Exchange(Kind())
    one.reads(*BEGIN, b"".join([*USUAL, chunk(FINISH), chunk(USAGE), chunk(DONE), LAST_CHUNK]))
    assert one.host.is_over
    await settle()
    assert one.body[1]
    assert (one.world.outcome.input_tokens, one.world.outcome.output_tokens) == (3, 5)
    assert one.world.outcome.answer_bytes == len(one.body[0])
    assert one.server.asked.connection.is_reusable()


@pytest.mark.parametrize("by_calls", [True, False])
@virtual_time
async def test_an_error_of_the_llms_own_is_passed_on_and_told_of(*, by_calls: bool) -> None:
    one = Exchange(Kind(by_calls=by_calls))
    await settle()
    error = sse(b'{"error":{"message":"no"}}')
    one.reads(*BEGIN, *USUAL, chunk(error), chunk(DONE), LAST_CHUNK)
    await one.is_over()
    assert one.body[0].endswith(error + DONE)
    assert (one.body[1], one.world.outcome.error) == (True, "error_in_stream")


@virtual_time
async def test_several_choices_take_turns() -> None:
    several = [chunk(piece(b"%d" % number, number % 2)) for number in range(12)]
    ends = [chunk(FINISH), chunk(FINISH.replace(b'"index":0', b'"index":1')), chunk(DONE), LAST_CHUNK]
    await all_alike(OPENAI, [*BEGIN, *several, b"".join(several), *several[::2], *ends])
    (body, is_whole), *_ = cast("Any", await all_alike(OPENAI, [*BEGIN, *several, ends[0], *ends[2:]]))
    assert not is_whole, "one of its choices was cut"
    assert DONE not in body


@pytest.mark.parametrize("by_calls", [True, False])
@virtual_time
async def test_a_caller_that_leaves_is_sent_nothing_more_and_the_server_is_stopped(*, by_calls: bool) -> None:
    one = Exchange(Kind(by_calls=by_calls))
    await settle()
    one.reads(*BEGIN)
    await settle()
    one.reads(USUAL[0])
    one.leaves()
    one.reads(USUAL[1])  # `Caller` takes nothing now
    await settle()
    assert one.transport.is_closing()
    assert one.world.outcome.error == "caller_gone"
    assert one.world.outcome.pieces >= 3


@pytest.mark.untraced
@pytest.mark.parametrize("by_calls", [True, False])
@virtual_time
async def test_a_server_that_falls_silent_behind_usual_pieces_is_left_after_an_idle_time(*, by_calls: bool) -> None:
    one = Exchange(Kind(by_calls=by_calls))
    await settle()
    one.reads(*BEGIN)
    loop, idle_s = asyncio.get_running_loop(), one.world.ask().idle_timeout_s
    for usual in USUAL * 4:
        await asyncio.sleep(idle_s * 0.4)
        one.reads(usual)
    last_s = loop.time()
    await one.is_over()
    assert one.world.outcome.error == "stalled"
    assert idle_s <= loop.time() - last_s <= 1.2 * idle_s


@virtual_time
async def test_nothing_of_a_stream_goes_into_the_next_answer_of_a_connection() -> None:
    one = Exchange(Kind())
    one.reads(*BEGIN, *USUAL, *END)
    await settle()
    before = one.caller.written
    one.reads(*USUAL)  # nobody has asked
    await settle()
    assert one.caller.written == before
    assert one.transport.is_closing()
