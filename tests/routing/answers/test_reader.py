"""Whole answers while they are read: the budget that all of them share."""

import asyncio
import gc
import tracemalloc
import weakref
from collections.abc import Callable, Sequence

import pytest

from masa_node.chat.answer import Answer
from masa_node.chat.errors import ErrorAnswer, MasaError, MemoryFull, NotAnAnswer
from masa_node.chat.outcome import Attempt
from masa_node.chat.request import DialectName, Headers, Request
from masa_node.dialects.registry import DIALECTS
from masa_node.routing.answers import reader
from masa_node.routing.answers.byte_budget import ByteBudget, Pieces
from masa_node.routing.answers.reader import ANSWERS, read_whole, take_answer
from masa_node.routing.provider import Sign, Taker, no_sign
from tests.fakes.sinks import TakesAll
from tests.routing.scripted import ALL, ScriptedPeer, World
from tests.virtual_time import settle, virtual_time

HEAD = b'{"object":"chat.completion","choices":[{"index":0,"finish_reason":"stop","message":{"content":"'
TAIL = b'"}}]}'
BUDGET_BYTES = 1_000_000


class Body:
    """A response that gives a piece whenever it is told to."""

    status = 200
    headers: Headers = (("content-type", "application/json"),)
    content_type = "application/json"

    def __init__(self, *pieces: bytes, status: int = 200) -> None:
        self.status = status
        self.closed = 0
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue()
        for piece in pieces:
            self.give(piece)

    def give(self, piece: bytes) -> None:
        self._pieces.put_nowait(piece)

    async def read_piece(self) -> bytes:
        return await self._pieces.get()

    def listen(self, came: Callable[[], None] | None, taker: Taker | None = None) -> None:
        """Nothing is given without a task."""

    def take_now(self) -> bytes | None:
        return b""

    async def read_trailer(self) -> bytes:
        return b""

    def close(self) -> None:
        self.closed += 1


def taking(body: Body) -> asyncio.Task[Answer]:
    return asyncio.create_task(take_answer(body, DIALECTS[DialectName.OPENAI], is_stream=False))


@pytest.fixture(autouse=True)
def budget(monkeypatch: pytest.MonkeyPatch) -> ByteBudget:
    small = ByteBudget(BUDGET_BYTES)
    monkeypatch.setattr(reader, "ANSWERS", small)
    return small


def test_the_budget_of_a_process_holds_two_of_the_largest_answers() -> None:
    assert ANSWERS.most_bytes == 2 * reader.MAX_ANSWER_BYTES


@virtual_time
async def test_a_whole_answer_counts_until_it_is_closed() -> None:
    answer = await taking(Body(HEAD, b"x" * 500, TAIL, b""))
    held = reader.ANSWERS.held_bytes
    assert held > 500
    answer.close()
    answer.close()
    assert reader.ANSWERS.held_bytes == 0


@virtual_time
async def test_one_huge_answer_goes_and_a_small_one_beside_it_comes() -> None:
    huge, small = Body(HEAD, b"x" * 900_000), Body(HEAD)
    first, second = taking(huge), taking(small)
    await settle()
    small.give(b"y" * 200_000 + TAIL)
    small.give(b"")
    answer = await second
    assert 200_000 < reader.ANSWERS.held_bytes < 210_000
    huge.give(b"z")
    with pytest.raises(MemoryFull, match="Ask for a stream"):
        await first
    assert huge.closed
    answer.close()
    assert reader.ANSWERS.held_bytes == 0


@pytest.mark.parametrize("status", [200, 500])
@virtual_time
async def test_one_that_goes_when_all_of_it_has_come_is_not_taken_for_an_empty_one(status: int) -> None:
    huge = Body(HEAD, b"x" * 900_000, status=status)
    first, second = taking(huge), taking(Body(HEAD, b"y" * 200_000, TAIL, b""))
    await settle()
    await second
    huge.give(b"")
    with pytest.raises(MemoryFull):
        await first


@virtual_time
async def test_many_answers_at_once_hold_no_more_than_the_budget() -> None:
    bodies = [Body(HEAD) for _ in range(8)]
    tasks = [taking(body) for body in bodies]
    for _ in range(50):
        for body in bodies:
            body.give(b"x" * 20_000)
        await settle()
        assert reader.ANSWERS.held_bytes <= BUDGET_BYTES
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert reader.ANSWERS.held_bytes == 0


@pytest.mark.parametrize("last", [b"no JSON", b""])
@virtual_time
async def test_an_answer_that_fails_its_check_holds_nothing(last: bytes) -> None:
    with pytest.raises(NotAnAnswer):
        await taking(Body(HEAD, last, b""))
    assert reader.ANSWERS.held_bytes == 0


@virtual_time
async def test_the_body_of_an_error_counts_while_it_is_read() -> None:
    body = Body(b'{"error":"', b"x" * 5_000, status=500)
    task = taking(body)
    await settle()
    assert reader.ANSWERS.held_bytes > 5_000
    body.give(b'"}')
    body.give(b"")
    with pytest.raises(ErrorAnswer):
        await task
    assert reader.ANSWERS.held_bytes == 0


@pytest.mark.untraced
def test_a_body_that_comes_byte_by_byte_takes_little_more_than_its_bytes() -> None:
    count = 200_000
    held = Pieces()
    tracemalloc.start()
    try:
        for _ in range(count):
            held.add(b"x")
        taken_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken_bytes < 2 * count
    assert held.whole() == b"x" * count


@virtual_time
async def test_large_and_small_pieces_stay_in_order() -> None:
    pieces = [b"a", b"b" * 65_536, b"c" * 131_072, b"d", b"e" * 65_536, b"f", b""]
    assert await read_whole(Body(*pieces), 1_000_000) == b"".join(pieces)


def test_a_body_in_one_piece_is_that_piece() -> None:
    piece = b"x" * 100_000
    held = Pieces()
    held.add(piece)
    assert held.whole() is piece


@virtual_time
async def test_of_the_errors_of_many_peers_one_is_kept() -> None:
    errors: list[weakref.ref[ErrorAnswer]] = []

    class Fails(ScriptedPeer):
        async def answer(self, ask: Request, sign: Sign = no_sign) -> Answer:
            error = ErrorAnswer("no", status=500, headers=(), body=b"x" * 1000, is_json=True)
            errors.append(weakref.ref(error))
            raise error

    class Counts(TakesAll):
        kept = 0

        async def failed(self, error: MasaError, attempts: Sequence[Attempt]) -> int:
            gc.collect()
            self.kept = sum(each() is not None for each in errors)
            return 0

    world, caller = World([Fails(f"peer {number}") for number in range(20)]), Counts()
    await world.dispatcher.answer(world.ask(race=ALL), caller)
    assert (len(world.outcome.attempts), len(errors)) == (20, 20)
    assert 1 <= caller.kept <= 2  # the most useful, and the newest


@virtual_time
async def test_that_memory_is_full_is_not_held_against_the_peer() -> None:
    peer = ScriptedPeer("peer", MemoryFull("full"))
    world = World([peer])
    for _ in range(10):
        with pytest.raises(MemoryFull):
            await world.answer()
    assert len(peer.asked) == 10
