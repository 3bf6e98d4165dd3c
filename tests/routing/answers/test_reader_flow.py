"""Pieces by direct calls: the same bytes and the same end as by a task, and no task runs for them."""

import asyncio
import inspect
import itertools
from collections.abc import Awaitable, Callable, Coroutine, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.chat.answer import ChunkWriter, Give, StreamedAnswer
from masa_node.chat.errors import BrokenAnswer, NotAnAnswer, ProviderError
from masa_node.chat.request import DialectName, Headers
from masa_node.dialects.condensing import LARGE_BYTES
from masa_node.dialects.registry import DIALECTS
from masa_node.routing.answers.reader import LOOKED_AT_BYTES, take_answer
from masa_node.routing.provider import Taker
from tests.fakes.http_bytes import chunk, unchunked
from tests.virtual_time import settle, virtual_time

CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}\n\n'
LONG = CHUNK.replace(b"hi", b"hi " * LOOKED_AT_BYTES)
ODD = CHUNK.replace(b"content", b"tool_calls").replace(b'"hi"', b'[{"index":0,"function":{"arguments":"{"}}]')
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
ERROR = b'data: {"error":{"message":"boom"}}\n\n'
COMMENT = b": still here\n\n"


class Pushed:
    """A response whose pieces come when a test says so. What ends it is b"" or an error."""

    status = 200
    content_type = "text/event-stream"
    headers: Headers = (("content-type", "text/event-stream"),)

    def __init__(self) -> None:
        self.closed = 0
        self.listener: Callable[[], None] | None = None
        self._taker: Taker | None = None
        self._came: list[bytes] = []
        self._end: bytes | ProviderError | None = None
        self._waiting: asyncio.Future[None] | None = None

    def push(self, piece: bytes | ProviderError) -> None:
        if isinstance(piece, bytes) and piece:
            if self._taker is not None and not self._came and not self._taker.take(chunk(piece)):
                return
            self._came.append(piece)
        else:
            self._end = piece
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
        if self.listener is not None:
            self.listener()

    async def read_piece(self) -> bytes:
        while not self._came:
            if isinstance(self._end, ProviderError):
                raise self._end
            if self._end is not None:
                return b""
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        return self._taken()

    def _taken(self) -> bytes:
        came, self._came = self._came, []
        return b"".join(came)

    def listen(self, came: Callable[[], None] | None, taker: Taker | None = None) -> None:
        self.listener, self._taker = came, taker

    def take_now(self) -> bytes | None:
        return self._taken() if self._came else None if self._end is None else b""

    async def read_trailer(self) -> bytes:
        return await self.read_piece()

    def close(self) -> None:
        self.closed += 1


class Chunks:
    """Takes chunks, and keeps what is in them with what it `got` otherwise."""

    def __init__(self, got: list[bytes]) -> None:
        self.got = got
        self.is_paused = False
        self.taken = 0

    def write_now(self, data: bytes) -> None:
        assert not self.is_paused
        pieces, rest = unchunked(data)
        assert pieces
        assert not rest
        self.got += pieces
        self.taken += sum(map(len, pieces))


async def begun() -> tuple[Pushed, StreamedAnswer]:
    response = Pushed()
    response.push(CHUNK)
    answer = await take_answer(response, DIALECTS[DialectName.OPENAI], is_stream=True)
    assert isinstance(answer, StreamedAnswer)
    assert answer.first == CHUNK
    return response, answer


async def by_turns(answer: StreamedAnswer, give: Give, chunks: ChunkWriter | None = None) -> type[ProviderError] | None:
    """All of it, by direct calls as far as they go; with what it breaks."""
    assert answer.flow is not None
    try:
        while True:
            while (rest := await answer.flow(give, chunks)) is not None:
                await rest
            piece = await answer.next_piece()
            if not piece:
                return None
            rest = give(piece)
            if rest is not None:
                await rest
    except ProviderError as exc:
        return type(exc)


async def by_a_task(answer: StreamedAnswer, give: Give, chunks: ChunkWriter | None) -> type[ProviderError] | None:
    """The same without direct calls."""
    del chunks
    try:
        while piece := await answer.next_piece():
            give(piece)
    except ProviderError as exc:
        return type(exc)
    return None


async def read(
    way: Callable[[StreamedAnswer, Give, ChunkWriter | None], Awaitable[type[ProviderError] | None]],
    pieces: Sequence[bytes | ProviderError],
    turns: Sequence[bool],
    *,
    takes_chunks: bool = False,
) -> tuple[bytes, type[ProviderError] | None, int, int]:
    """What comes of these pieces, given one after the other, some with a turn of the loop between them."""
    response, answer = await begun()
    got: list[bytes] = []
    chunks = Chunks(got)

    async def reads_slowly(piece: bytes) -> None:
        chunks.is_paused = True
        await asyncio.sleep(0)
        chunks.is_paused = False
        got.append(piece)

    def give(piece: bytes) -> Awaitable[None] | None:
        if way is by_turns and len(got) % 3 == 2:
            return reads_slowly(piece)
        got.append(piece)
        return None

    reading = asyncio.ensure_future(way(answer, give, chunks if takes_chunks else None))
    await settle()
    for number, piece in enumerate(pieces):
        response.push(piece)
        if turns[number % len(turns)]:
            await settle()
    fault = await reading
    assert response.listener is None
    assert answer.in_chunks() == chunks.taken
    return b"".join(got), fault, answer.frames(), answer.received()


@given(
    frames=st.lists(st.sampled_from([CHUNK, CHUNK, CHUNK, LONG, ODD, STOP, DONE, ERROR, COMMENT]), max_size=12),
    cuts=st.lists(st.integers(0, 400), max_size=6),
    end=st.sampled_from([b"", BrokenAnswer("cut")]),
    turns=st.lists(st.booleans(), min_size=1, max_size=5),
)
def test_the_bytes_and_the_end_are_those_that_a_task_would_read(
    frames: list[bytes], cuts: list[int], end: bytes | ProviderError, turns: list[bool]
) -> None:
    data = b"".join(frames)
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    pieces = [data[start:stop] for start, stop in itertools.pairwise(edges) if stop > start]

    @virtual_time
    async def run() -> None:
        expected = await read(by_a_task, [*pieces, end], [True])
        for takes_chunks in (False, True):
            assert await read(by_turns, [*pieces, end], turns, takes_chunks=takes_chunks) == expected

    run()


@virtual_time
async def test_a_piece_is_given_as_it_comes_and_no_task_runs_for_it() -> None:
    response, answer = await begun()
    got: list[bytes] = []
    reading = asyncio.ensure_future(by_turns(answer, got.append))
    await settle()
    for number in range(1, 4):
        response.push(CHUNK)
        assert got == [CHUNK] * number
    response.push(CHUNK[:5])
    assert len(got) == 3
    response.push(CHUNK[5:])
    assert b"".join(got) == CHUNK * 4
    response.push(STOP + DONE)
    response.push(b"")
    assert await reading is None
    assert b"".join(got) == CHUNK * 4 + STOP + DONE
    assert answer.is_whole()


@virtual_time
async def test_usual_pieces_go_on_in_their_chunks_to_whoever_takes_them() -> None:
    response, answer = await begun()
    given: list[bytes] = []
    chunks = Chunks([])
    reading = asyncio.ensure_future(by_turns(answer, given.append, chunks))
    await settle()
    for piece in (CHUNK, CHUNK, CHUNK, ODD, CHUNK, STOP + DONE):
        response.push(piece)
    assert (given, chunks.got) == ([CHUNK, ODD, STOP + DONE], [CHUNK] * 3)
    response.push(b"")
    assert await reading is None
    assert answer.in_chunks() == 3 * len(CHUNK)


@virtual_time
async def test_what_is_not_offered_is_given_and_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a peer's answer, which comes in frames."""
    response, answer = await begun()
    monkeypatch.setattr(Pushed, "listen", lambda self, came, taker=None: setattr(self, "listener", came))
    given: list[bytes] = []
    chunks = Chunks([])
    reading = asyncio.ensure_future(by_turns(answer, given.append, chunks))
    await settle()
    for piece in (CHUNK, CHUNK, CHUNK * 2, CHUNK, STOP + DONE):
        response.push(piece)
    response.push(b"")
    assert await reading is None
    assert (b"".join(given), chunks.got) == (CHUNK * 5 + STOP + DONE, [])
    assert (answer.in_chunks(), answer.frames(), answer.received()) == (0, 8, len(CHUNK * 6 + STOP + DONE))


@virtual_time
async def test_a_caller_that_pauses_is_waited_for_and_its_chunks_go_on_behind_that() -> None:
    response, answer = await begun()
    may_go_on = asyncio.Event()
    got: list[bytes] = []
    chunks = Chunks(got)

    async def wait(piece: bytes) -> None:
        await may_go_on.wait()
        chunks.is_paused = False
        got.append(piece)

    def give(piece: bytes) -> Awaitable[None] | None:
        return wait(piece) if chunks.is_paused else got.append(piece)

    reading = asyncio.ensure_future(by_turns(answer, give, chunks))
    await settle()
    numbered = [CHUNK.replace(b"hi", b"%d" % number) for number in range(6)]
    for piece in numbered[:2]:
        response.push(piece)
    chunks.is_paused = True
    for piece in numbered[2:4]:
        response.push(piece)
        await settle()
    assert response.listener is None
    assert got == numbered[:2]
    may_go_on.set()
    await settle()
    for piece in numbered[4:]:
        response.push(piece)
    assert b"".join(got) == b"".join(numbered)
    response.push(BrokenAnswer("cut"))
    assert await reading is BrokenAnswer


@virtual_time
async def test_what_comes_before_a_task_goes_on_with_something_large_is_behind_that() -> None:
    """In one turn of the loop, which may read a connection several times where very many can be read."""
    response, answer = await begun()
    got: list[bytes] = []
    reading = asyncio.ensure_future(by_turns(answer, got.append, Chunks(got)))
    await settle()
    large = CHUNK * (LARGE_BYTES // len(CHUNK) + 1)
    for piece in (CHUNK, CHUNK, large, CHUNK, STOP + DONE, b""):
        response.push(piece)
    assert await reading is None
    assert b"".join(got) == CHUNK * 2 + large + CHUNK + STOP + DONE


@virtual_time
async def test_nothing_is_given_while_what_was_given_has_to_wait() -> None:
    response, answer = await begun()
    got: list[bytes] = []
    may_go_on = asyncio.Event()

    async def wait(piece: bytes) -> None:
        await may_go_on.wait()
        got.append(piece)

    reading = asyncio.ensure_future(by_turns(answer, wait))
    await settle()
    response.push(CHUNK)
    response.push(ODD)
    await settle()
    assert response.listener is None
    assert got == []
    may_go_on.set()
    await settle()
    assert b"".join(got) == CHUNK + ODD
    assert response.listener is not None
    response.push(BrokenAnswer("cut"))
    assert await reading is BrokenAnswer


@virtual_time
async def test_whoever_stops_waiting_is_given_nothing_more() -> None:
    response, answer = await begun()
    got: list[bytes] = []
    reading = asyncio.ensure_future(by_turns(answer, got.append))
    await settle()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert response.listener is None
    response.push(CHUNK)
    assert got == []


@virtual_time
async def test_what_had_to_be_waited_for_is_dropped_with_whoever_waits() -> None:
    """In the turn of the loop in which it came: else Python warns that it was never awaited."""
    response, answer = await begun()
    rests: list[Coroutine[None, None, None]] = []

    async def wait() -> None:
        pass

    def give(piece: bytes) -> Coroutine[None, None, None]:
        rests.append(wait())
        return rests[-1]

    reading = asyncio.ensure_future(by_turns(answer, give))
    await settle()
    response.push(CHUNK)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert [inspect.getcoroutinestate(rest) for rest in rests] == [inspect.CORO_CLOSED]


@virtual_time
async def test_what_a_sink_raises_comes_out() -> None:
    response, answer = await begun()

    def give(piece: bytes) -> None:
        raise LookupError

    reading = asyncio.ensure_future(by_turns(answer, give))
    await settle()
    response.push(CHUNK)
    response.push(CHUNK)
    with pytest.raises(LookupError):
        await reading
    assert response.listener is None


@virtual_time
async def test_a_frame_without_an_end_is_refused_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("masa_node.dialects.framing.MAX_FRAME_BYTES", 1_000)
    response, answer = await begun()
    reading = asyncio.ensure_future(by_turns(answer, lambda piece: None))
    await settle()
    response.push(b"data: " + b"x" * 2_000)
    assert await reading is NotAnAnswer
