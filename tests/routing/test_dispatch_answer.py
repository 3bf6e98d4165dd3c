"""`Dispatcher.answer`: the one way from a request to what its caller is given."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import pytest

from masa_node.chat.answer import Answer, ChunkWriter, StreamedAnswer
from masa_node.chat.errors import BrokenAnswer, CallerStalled, MasaError
from masa_node.chat.outcome import CALLER_GONE, STATUS_CALLER_GONE, WON, Attempt
from masa_node.chat.request import Request
from masa_node.routing.running.sweep import EVERY_S
from tests.routing.scripted import DEADLINE_S, IDLE_S, SIGN, WHOLE, ScriptedProvider, ScriptedStream, World, http_error
from tests.virtual_time import now_s, settle, virtual_time

Step = Callable[[], Awaitable[None]]


async def _at_once() -> None:
    """Written without waiting."""


@dataclass
class Recorded:
    """A sink that notes what it is given; `at` says what it does at a step, by its name, or at a piece, by its text."""

    at: dict[str | bytes, Step] = field(default_factory=dict)
    came: list[str | bytes] = field(default_factory=list)
    told: MasaError | None = None
    trail: Sequence[Attempt] = ()
    error_bytes: int = 0
    chunks: ChunkWriter | None = None

    async def head(self, answer: Answer, attempts: Sequence[Attempt]) -> None:
        self.trail = attempts
        await self._step("stream" if isinstance(answer, StreamedAnswer) else "whole")

    async def piece(self, data: bytes, /) -> None:
        await self._step(data)

    async def end(self, last: bytes) -> None:
        await self._step("end")
        if last:
            self.came.append(last)

    async def failed(self, error: MasaError, attempts: Sequence[Attempt]) -> int:
        self.told, self.trail = error, attempts
        await self._step("failed")
        return self.error_bytes

    async def _step(self, step: str | bytes) -> None:
        self.came.append(step)
        await self.at.get(step, _at_once)()


def streaming(*steps: bytes | float | BrokenAnswer) -> World:
    return World([ScriptedProvider("own", ScriptedStream(steps))], max_running=1)


async def stands_still() -> None:
    await asyncio.Event().wait()


async def takes_nothing() -> None:
    raise CallerStalled("nobody takes it")


@virtual_time
async def test_a_stream_is_its_head_its_pieces_and_its_end() -> None:
    world, sink = streaming(b"second", 1.0, b"third"), Recorded()
    outcome = await world.dispatcher.answer(world.ask(), sink)
    assert sink.came == ["stream", b"first", b"second", b"third", "end"]
    assert (sink.trail[0].provider, sink.trail[0].result) == ("own", WON)
    assert (outcome.status, outcome.error, outcome.answer_bytes) == (200, None, len(b"firstsecondthird"))
    assert world.outcomes == [outcome]


@virtual_time
async def test_a_whole_answer_comes_with_the_end() -> None:
    world, sink = World([ScriptedProvider("own", WHOLE)]), Recorded()
    outcome = await world.dispatcher.answer(world.ask(), sink)
    assert sink.came == ["whole", "end", WHOLE.body]
    assert (outcome.status, outcome.error, outcome.answer_bytes) == (WHOLE.status, None, len(WHOLE.body))


@virtual_time
async def test_an_error_before_the_answer_is_all_that_is_told() -> None:
    world, sink = World([ScriptedProvider("own", http_error(418))]), Recorded(error_bytes=7)
    outcome = await world.dispatcher.answer(world.ask(), sink)
    assert sink.came == ["failed"]
    assert sink.trail == outcome.attempts
    assert (outcome.status, outcome.error, outcome.answer_bytes) == (418, "error_answer", 7)


@virtual_time
async def test_an_error_in_the_middle_takes_the_place_of_the_rest() -> None:
    world, sink = streaming(b"second", BrokenAnswer("cut")), Recorded()
    outcome = await world.dispatcher.answer(world.ask(), sink)
    assert sink.came == ["stream", b"first", b"second", "failed"]
    assert isinstance(sink.told, BrokenAnswer)
    assert (outcome.status, outcome.error) == (200, BrokenAnswer.code)


@virtual_time
async def test_a_caller_that_takes_nothing_is_told_nothing() -> None:
    world, sink = streaming(b"second"), Recorded({b"first": stands_still})
    outcome = await world.dispatcher.answer(world.ask(), sink)
    assert sink.came == ["stream", b"first"]
    assert (outcome.status, outcome.error) == (200, CallerStalled.code)
    assert IDLE_S <= now_s() <= IDLE_S + 2 * EVERY_S


@virtual_time
async def test_a_caller_that_does_not_take_the_end_was_not_served() -> None:
    world, sink = streaming(), Recorded({"end": takes_nothing})
    outcome = await world.dispatcher.answer(world.ask(), sink)
    assert sink.came == ["stream", b"first", "end"]
    assert outcome.error == CallerStalled.code


@virtual_time
async def test_a_piece_is_written_before_the_next_is_taken() -> None:
    stream = ScriptedStream([b"second", b"third"])
    taken: list[int] = []

    async def slowly() -> None:
        await asyncio.sleep(1)
        taken.append(len(stream.steps))

    world = World([ScriptedProvider("own", stream)])
    await world.dispatcher.answer(world.ask(), Recorded(dict.fromkeys((b"first", b"second", b"third"), slowly)))
    assert taken == [2, 1, 0]


class GoneError(Exception):
    """What a sink raises when nobody is there."""


@pytest.mark.parametrize("step", ["stream", b"first", b"second", "end"])
@virtual_time
async def test_what_a_sink_raises_comes_out_and_ends_everything(step: str | bytes) -> None:
    async def gone() -> None:
        raise GoneError

    world = streaming(b"second")
    with pytest.raises(GoneError):
        await world.dispatcher.answer(world.ask(), Recorded({step: gone}))
    assert (world.outcome.status, world.outcome.error) == (200, CALLER_GONE)
    assert world.admission.running == 0


@virtual_time
async def test_signs_of_life_before_the_first_piece_are_passed_on() -> None:
    signs: list[float] = []
    world = World([ScriptedProvider("own", 1.0, SIGN, 1.0, SIGN, 1.0, WHOLE)])
    await world.dispatcher.answer(world.ask(), Recorded(), lambda: signs.append(now_s()))
    assert signs == [1.0, 2.0]


def given_up_after(seconds: float, world: World) -> Request:
    return msgspec.structs.replace(world.ask(), given_up_s=asyncio.get_running_loop().time() + seconds)


@virtual_time
async def test_a_requester_that_gives_up_is_told_so_and_the_llm_is_not_blamed() -> None:
    provider = ScriptedProvider("own", DEADLINE_S)
    world, sink = World([provider]), Recorded()
    outcome = await world.dispatcher.answer(given_up_after(5.0, world), sink)
    assert now_s() == pytest.approx(5.0)
    assert (outcome.status, outcome.error) == (504, "first_piece_timeout")
    assert "requester" in str(sink.told)
    assert world.dispatcher.stats.health.of(provider.name).failures == 0


@virtual_time
async def test_a_requester_that_has_heard_a_sign_waits_on() -> None:
    world, sink = World([ScriptedProvider("own", 1.0, SIGN, 8.0, WHOLE)]), Recorded()
    outcome = await world.dispatcher.answer(given_up_after(5.0, world), sink)
    assert outcome.error is None


# ---- cancelled at each of its awaits: the LLM is stopped, the slot given back, the outcome told once ----


@pytest.mark.parametrize("step", ["stream", b"first", b"second", "end", "failed"])
@virtual_time
async def test_cancelled_while_something_is_written(step: str) -> None:
    stream = ScriptedStream([b"second", BrokenAnswer("cut")] if step == "failed" else [b"second"])
    world = World([ScriptedProvider("own", stream)], max_running=1)
    answering = asyncio.create_task(world.dispatcher.answer(world.ask(), Recorded({step: stands_still})))
    await settle()
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering
    assert not stream.open
    assert world.admission.running == 0
    assert (world.outcome.status, world.outcome.error) == (200, CALLER_GONE)


@virtual_time
async def test_cancelled_between_two_pieces() -> None:
    stream = ScriptedStream([b"second", 60.0])
    world = World([ScriptedProvider("own", stream)], max_running=1)
    answering = asyncio.create_task(world.dispatcher.answer(world.ask(), Recorded()))
    await settle()
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering
    assert not stream.open
    assert world.admission.running == 0
    assert world.outcome.error == CALLER_GONE


@pytest.mark.parametrize("taken", [0, 1])
@virtual_time
async def test_cancelled_before_the_first_piece(taken: int) -> None:
    provider = ScriptedProvider("own", 60.0)
    world = World([provider], max_running=1)
    for _ in range(taken):
        await world.admission.acquire()
    answering = asyncio.create_task(world.dispatcher.answer(world.ask(), Recorded()))
    await settle()
    assert provider.at_work == 1 - taken
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering
    assert provider.at_work == 0
    assert world.admission.running == taken
    assert (world.outcome.status, world.outcome.error) == (STATUS_CALLER_GONE, CALLER_GONE)


@virtual_time
async def test_cancelled_while_an_error_is_told_before_the_answer() -> None:
    world = World([ScriptedProvider("own", http_error(500))], max_running=1)
    answering = asyncio.create_task(world.dispatcher.answer(world.ask(), Recorded({"failed": stands_still})))
    await settle()
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering
    assert world.admission.running == 0
    assert (world.outcome.status, world.outcome.error) == (500, CALLER_GONE)
