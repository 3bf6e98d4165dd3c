"""A caller that takes nothing of its answer loses its slot to one that waits, and keeps it while nobody does."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import pytest

from masa_node.chat.answer import Answer
from masa_node.chat.errors import BrokenAnswer, CallerStalled, MasaError
from masa_node.chat.outcome import Attempt, Outcome
from masa_node.routing.admission import Admission, PeerAdmission
from masa_node.routing.provider import Sign
from masa_node.routing.running.sweep import EVERY_S
from masa_node.routing.standstill import STALL_S, Standstill
from tests.fakes.sinks import Keeps, TakesAll
from tests.routing.scripted import IDLE_S, WHOLE, ScriptedProvider, ScriptedStream, StandsStill, Step, World, all_equal
from tests.routing.talking import DONE, LAST, PIECE, PlainCaller, TalkingServer
from tests.virtual_time import now_s, settle, virtual_time


async def forever(data: bytes) -> None:
    """A caller that takes nothing."""
    del data
    await asyncio.Event().wait()


class Talks(ScriptedProvider):
    """A server that gives a stream of its own to each that asks."""

    def __init__(self, *steps: bytes | float) -> None:
        super().__init__("own")
        self.said = steps
        self.streams: list[ScriptedStream] = []

    async def play(self, steps: Sequence[Step], sign: Sign) -> Answer:
        del steps, sign
        self.streams.append(ScriptedStream(self.said))
        return self.streams[-1].as_answer()


def ask(world: World, sink: TakesAll) -> "asyncio.Task[Outcome]":
    return asyncio.create_task(world.dispatcher.answer(world.ask(), sink))


async def stalled(world: World, count: int) -> "list[asyncio.Task[Outcome]]":
    """So many callers that take nothing, each a second later than the one before."""
    tasks: list[asyncio.Task[Outcome]] = []
    for _ in range(count):
        tasks.append(ask(world, Keeps(forever)))
        await asyncio.sleep(1)
    return tasks


async def leave(*tasks: "asyncio.Task[Outcome]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


@virtual_time
async def test_the_longest_stalled_makes_room_for_the_one_that_waits_and_no_other_does() -> None:
    server = Talks(b"second")
    world = World([server], max_running=3)
    tasks = await stalled(world, 3)
    await asyncio.sleep(STALL_S)
    came_s = now_s()
    served = Keeps()
    await ask(world, served)
    assert served.came == [b"first", b"second", b""]
    assert now_s() - came_s <= 2 * EVERY_S
    assert [task.done() for task in tasks] == [True, False, False]
    assert [stream.open for stream in server.streams] == [False, True, True, False]
    outcome = tasks[0].result()
    assert (outcome.error, outcome.status) == (CallerStalled.code, 200)
    assert world.admission.running == 2
    await leave(*tasks[1:])
    assert world.admission.running == 0


@virtual_time
async def test_nobody_is_given_up_before_its_time() -> None:
    world = World([Talks()], max_running=1)
    tasks = await stalled(world, 1)
    waiting = ask(world, Keeps())
    await asyncio.sleep(STALL_S - 1 - 2 * EVERY_S)
    assert (tasks[0].done(), waiting.done()) == (False, False)
    await asyncio.sleep(4 * EVERY_S)
    assert (tasks[0].done(), waiting.done()) == (True, True)


@virtual_time
async def test_nobody_is_given_up_while_nobody_waits() -> None:
    world = World([Talks()], max_running=2)
    tasks = await stalled(world, 2)
    await asyncio.sleep(IDLE_S - 3)
    assert not any(task.done() for task in tasks)
    await asyncio.wait(tasks)
    assert {outcome.error for outcome in world.outcomes} == {CallerStalled.code}
    assert len(world.admission.sweep) == 0


@virtual_time
async def test_as_many_are_given_up_as_wait() -> None:
    world = World([Talks(60.0)], max_running=5)
    tasks = await stalled(world, 5)
    await asyncio.sleep(STALL_S)
    waiting = [ask(world, Keeps()) for _ in range(2)]
    await asyncio.sleep(1)
    assert [task.done() for task in tasks] == [True, True, False, False, False]
    assert (world.admission.running, world.admission.waiting) == (5, 0)
    await leave(*tasks, *waiting)
    assert world.admission.running == 0


@virtual_time
async def test_a_caller_that_reads_between_is_none_that_takes_nothing() -> None:
    async def slowly(data: bytes) -> None:
        del data
        await asyncio.sleep(STALL_S - 1)

    world = World([Talks(b"more")], max_running=1)
    slow, waiting = ask(world, Keeps(slowly)), ask(world, Keeps())
    assert (await slow).error is None
    assert (await waiting).error is None
    assert now_s() >= 2 * (STALL_S - 1)


@virtual_time
async def test_a_stalled_caller_on_the_plain_way_makes_room_too() -> None:
    server, caller = TalkingServer(), PlainCaller()
    world = World([server], max_running=1)
    way, request = world.dispatcher, world.ask()
    row = way.row(request.model, request.endpoint)
    assert row is not None
    caller.sink.slow = forever(b"")
    assert way.begin(row, request, caller) is not None
    server.talk.heads()
    server.talk.says(PIECE)
    first = server.talk
    waiting = asyncio.create_task(world.admission.acquire())
    await asyncio.sleep(STALL_S + 2 * EVERY_S)
    assert waiting.done()
    assert world.outcome.error == CallerStalled.code
    assert first.closed
    first.says(LAST + DONE, is_over=True)
    assert caller.text == PIECE


# ---- what is not streamed, or not begun ----


@dataclass
class Reads(TakesAll):
    """A caller that takes an end, or the news of a failure, only when it is let."""

    let: asyncio.Event = field(default_factory=asyncio.Event)
    error: MasaError | None = None

    async def end(self, last: bytes) -> None:
        del last
        await self.let.wait()

    async def failed(self, error: MasaError, attempts: Sequence[Attempt]) -> int:
        del attempts
        self.error = error
        await self.let.wait()
        return 0


@pytest.mark.parametrize("said", [lambda: WHOLE, lambda: BrokenAnswer("cut"), lambda: ScriptedStream([b"more"])])
@virtual_time
async def test_what_is_here_to_its_end_holds_no_slot_while_it_is_read(said: Callable[[], Step]) -> None:
    world = World([ScriptedProvider("own", said())], max_running=1)
    caller = Reads()
    reading = ask(world, caller)
    await settle()
    assert (reading.done(), world.admission.running) == (False, 0)
    caller.let.set()
    await reading
    assert (world.admission.running, len(world.outcomes)) == (0, 1)


@dataclass
class TakesNoHead(StandsStill):
    error: MasaError | None = None

    async def failed(self, error: MasaError, attempts: Sequence[Attempt]) -> int:
        del attempts
        self.error = error
        return 0


@virtual_time
async def test_a_caller_that_takes_no_begin_is_given_up_after_the_idle_time_though_nobody_waits() -> None:
    server = Talks()
    world = World([server])
    caller = TakesNoHead(asyncio.get_running_loop().create_future())
    assert (await ask(world, caller)).status == 408
    assert isinstance(caller.error, CallerStalled)
    assert IDLE_S <= now_s() <= IDLE_S + 2 * EVERY_S
    assert (world.admission.running, server.streams[0].open) == (0, False)


@virtual_time
async def test_a_caller_that_takes_no_begin_is_told_so() -> None:
    server = Talks()
    world = World([server], max_running=1)
    caller = TakesNoHead(asyncio.get_running_loop().create_future())
    first, waiting = ask(world, caller), ask(world, Keeps())
    assert (await waiting).error is None
    assert isinstance(caller.error, CallerStalled)
    assert (await first).status == 408
    assert not any(stream.open for stream in server.streams)


@virtual_time
async def test_a_server_that_gives_up_a_caller_that_takes_nothing_is_not_to_blame() -> None:
    for pause_s, failures in ((STALL_S, 0), (STALL_S - 1, 1)):

        async def slowly(data: bytes, pause_s: float = pause_s) -> None:
            del data
            await asyncio.sleep(pause_s)

        world = World([ScriptedProvider("own", ScriptedStream([b"more", BrokenAnswer("cut")]))])
        caller = Keeps(slowly)
        assert (await ask(world, caller)).error == BrokenAnswer.code
        assert isinstance(caller.error, BrokenAnswer)
        assert world.dispatcher.stats.health.of("own").failures == failures


# ---- peers ----


def standing(slots: PeerAdmission | Admission, peer: str = "") -> Standstill:
    return Standstill(ScriptedStream([]).as_answer(), IDLE_S, slots, peer, asyncio.get_running_loop().time())


async def stall(slots: PeerAdmission | Admission, peer: str = "") -> None:
    """Hold a slot of this peer, and wait for it to take something."""
    await slots.acquire(peer)
    try:
        async with (still := standing(slots, peer)):
            await still.taken(asyncio.Event().wait())
    finally:
        slots.release(peer)


def start(*work: Awaitable[None]) -> "list[asyncio.Future[None]]":
    return [asyncio.ensure_future(each) for each in work]


def given_up(tasks: "Sequence[asyncio.Future[None]]") -> list[bool]:
    return [task.done() and isinstance(task.exception(), CallerStalled) for task in tasks]


@virtual_time
async def test_a_peer_makes_room_for_another_and_for_the_owner() -> None:
    main = Admission(2, 9)
    peers = PeerAdmission(main, 2, 9, all_equal)
    tasks = start(stall(peers, "a"), stall(peers, "b"))
    await settle()
    waiting = start(peers.acquire("c"))
    await asyncio.sleep(STALL_S + 1)
    assert (given_up(tasks), waiting[0].done()) == ([True, False], True)
    owners = start(main.acquire())
    await asyncio.sleep(1)
    assert (given_up(tasks), owners[0].done()) == ([True, True], True)
    assert (main.running, peers.running) == (2, 1)


@virtual_time
async def test_the_owner_makes_no_room_for_a_peer() -> None:
    main = Admission(1, 9)
    peers = PeerAdmission(main, 1, 9, all_equal)
    tasks = start(stall(main))
    await settle()
    waiting = start(peers.acquire("a"))
    await asyncio.sleep(STALL_S + 5)
    assert (given_up(tasks), waiting[0].done()) == ([False], False)
    for task in (*tasks, *waiting):
        task.cancel()
    await asyncio.wait((*tasks, *waiting))


@virtual_time
async def test_a_peer_that_has_all_it_may_have_gets_the_slot_of_its_own_alone() -> None:
    peers = PeerAdmission(Admission(9, 9), 3, 9, all_equal)
    tasks = start(stall(peers, "b"), stall(peers, "a"), stall(peers, "a"))
    await settle()
    waiting = start(peers.acquire("a"))
    await asyncio.sleep(STALL_S + 1)
    assert (given_up(tasks), waiting[0].done()) == ([False, True, False], True)
    tasks[0].cancel()
    tasks[2].cancel()
    await asyncio.wait(tasks)


@pytest.mark.parametrize("is_read_then", [False, True])
@virtual_time
async def test_one_that_is_cancelled_or_reads_as_it_is_given_up_leaves_no_promise(*, is_read_then: bool) -> None:
    main = Admission(1, 9)
    read = asyncio.Event()

    async def reads() -> None:
        await main.acquire()
        try:
            async with (still := standing(main)):
                await still.taken(read.wait())
        finally:
            main.release()

    (task,) = start(reads())
    await settle()
    (waiting,) = start(main.acquire())
    asyncio.get_running_loop().call_later(STALL_S, read.set if is_read_then else task.cancel)
    await asyncio.sleep(STALL_S + 1)
    assert (task.done(), waiting.done()) == (True, True)
    assert (main.running, main.waiting, main.is_wanted(), len(main.sweep)) == (1, 0, False, 0)
    (later,) = start(main.acquire())
    await settle()
    assert main.is_wanted()
    main.release()
    await later
