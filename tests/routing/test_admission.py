import asyncio
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from masa_node.chat.errors import Overloaded
from masa_node.routing.admission import RETRY_AFTER_S, Admission, PeerAdmission
from tests.routing.scripted import all_equal
from tests.virtual_time import VirtualTimeLoop, settle, virtual_time


async def waiters(admission: Admission, count: int) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(admission.acquire()) for _ in range(count)]
    await settle()
    return tasks


@virtual_time
async def test_slots_are_given_at_once_while_there_are_some() -> None:
    admission = Admission(max_running=2, max_waiting=0)
    await admission.acquire()
    await admission.acquire()
    assert (admission.running, admission.waiting) == (2, 0)


@virtual_time
async def test_when_the_queue_is_full_the_next_is_told_at_once() -> None:
    admission = Admission(max_running=1, max_waiting=1)
    await admission.acquire()
    (waiter,) = await waiters(admission, 1)
    with pytest.raises(Overloaded, match=r"1 requests are under way and 1 wait.*MAX_CONCURRENT, MAX_QUEUE") as refused:
        await admission.acquire()
    assert refused.value.retry_after_s == RETRY_AFTER_S
    assert (admission.running, admission.waiting) == (1, 1)
    waiter.cancel()


@virtual_time
async def test_without_a_queue_nobody_waits() -> None:
    admission = Admission(max_running=1, max_waiting=0)
    await admission.acquire()
    with pytest.raises(Overloaded):
        await admission.acquire()
    admission.release()
    await admission.acquire()


@virtual_time
async def test_who_came_first_is_let_in_first() -> None:
    admission = Admission(max_running=1, max_waiting=9)
    await admission.acquire()
    tasks = await waiters(admission, 4)
    for done in range(1, 5):
        admission.release()
        await settle()
        assert [task.done() for task in tasks] == [True] * done + [False] * (4 - done)
        assert admission.running == 1


async def waiters_of(admission: Admission, keys: str) -> "dict[str, asyncio.Task[None]]":
    """A waiter for each letter, which is its key."""
    tasks = {f"{key}{number}": asyncio.create_task(admission.acquire(key)) for number, key in enumerate(keys)}
    await settle()
    return tasks


@virtual_time
async def test_a_key_with_many_waiting_lets_those_of_others_in_between() -> None:
    admission = Admission(max_running=1, max_waiting=9)
    await admission.acquire("a")
    tasks = await waiters_of(admission, "aaabbc")
    let_in: list[str] = []
    while len(let_in) < len(tasks):
        admission.release("a")
        await settle()
        let_in += [name for name, task in tasks.items() if task.done() and name not in let_in]
    assert let_in == ["a0", "b3", "c5", "a1", "b4", "a2"]
    assert (admission.running, admission.waiting) == (1, 0)


@virtual_time
async def test_in_a_full_queue_the_key_with_the_most_waiting_makes_room() -> None:
    admission = Admission(max_running=1, max_waiting=3)
    await admission.acquire("a")
    tasks = await waiters_of(admission, "aaab")
    assert [name for name, task in tasks.items() if task.done()] == ["a2"]
    assert isinstance(tasks["a2"].exception(), Overloaded)
    for key in "ab":  # none has more than one more than the other would
        with pytest.raises(Overloaded):
            await admission.acquire(key)
    tasks["a1"].cancel()
    await settle()
    assert admission.waiting == 2
    for _ in range(3):
        admission.release()
        await settle()
    assert (admission.running, admission.waiting) == (0, 0)
    assert tasks["a0"].done()
    assert tasks["b3"].done()


@virtual_time
async def test_nobody_overtakes_those_who_wait() -> None:
    admission = Admission(max_running=1, max_waiting=9)
    await admission.acquire()
    (first,) = await waiters(admission, 1)
    admission.release()  # the slot is `first`'s, who has not run yet
    late = asyncio.create_task(admission.acquire())
    await settle()
    assert (first.done(), late.done(), admission.running) == (True, False, 1)
    late.cancel()


@virtual_time
async def test_who_goes_away_while_waiting_holds_no_slot() -> None:
    admission = Admission(max_running=1, max_waiting=9)
    await admission.acquire()
    first, second = await waiters(admission, 2)
    first.cancel()
    await settle()
    assert (admission.running, admission.waiting) == (1, 1)
    admission.release()
    await second
    assert (admission.running, admission.waiting) == (1, 0)


@pytest.mark.parametrize(
    "order",
    [
        lambda admission, task: (admission.release(), task.cancel()),
        lambda admission, task: (task.cancel(), admission.release()),
    ],
    ids=["given, then gone", "gone, then given"],
)
@virtual_time
async def test_a_slot_given_to_one_who_goes_away_at_that_moment_is_handed_on(
    order: Callable[[Admission, asyncio.Task[None]], object],
) -> None:
    admission = Admission(max_running=1, max_waiting=9)
    await admission.acquire()
    gone, next_one = await waiters(admission, 2)
    order(admission, gone)
    await settle()
    assert gone.cancelled()
    assert next_one.done()
    assert (admission.running, admission.waiting) == (1, 0)
    admission.release()
    assert admission.running == 0


@virtual_time
async def test_when_all_who_wait_go_away_at_once_the_slot_is_free() -> None:
    admission = Admission(max_running=1, max_waiting=9)
    await admission.acquire()
    tasks = await waiters(admission, 3)
    for task in tasks:
        task.cancel()
    admission.release()
    await settle()
    assert (admission.running, admission.waiting) == (0, 0)


MAX_RUNNING, MAX_WAITING = 2, 3


class AdmissionMachine(RuleBasedStateMachine):
    """Any order of coming, leaving and going away, also between two turns of the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.admission = Admission(MAX_RUNNING, MAX_WAITING)
        self.came: list[asyncio.Task[None]] = []  # in the order of coming; who has left or gone away is taken out

    def teardown(self) -> None:
        for task in self.came:
            task.cancel()
        self.runner.close()

    def inside_now(self) -> list[asyncio.Task[None]]:
        return [task for task in self.came if task.done() and not task.cancelled() and task.exception() is None]

    def turn(self) -> None:
        self.runner.run(settle())
        refused = [task for task in self.came if task.done() and not task.cancelled() and task.exception() is not None]
        self.came = [task for task in self.came if not task.cancelled() and task not in refused]

    @rule(count=st.integers(1, 3))
    def some_come(self, count: int) -> None:
        loop = self.runner.get_loop()
        self.came += [loop.create_task(self.admission.acquire()) for _ in range(count)]
        self.turn()

    @precondition(lambda self: self.inside_now())
    @rule(data=st.data(), gone=st.integers(0, 3), first=st.booleans())
    def one_leaves_while_others_go_away(self, data: st.DataObject, gone: int, *, first: bool) -> None:
        leaver = data.draw(st.sampled_from(self.inside_now()))
        waiting = [task for task in self.came if not task.done()]
        self.came.remove(leaver)
        if first:
            self.admission.release()
        for task in waiting[:gone]:
            task.cancel()
        if not first:
            self.admission.release()
        self.turn()

    @rule(data=st.data())
    def one_who_waits_goes_away(self, data: st.DataObject) -> None:
        waiting = [task for task in self.came if not task.done()]
        if waiting:
            data.draw(st.sampled_from(waiting)).cancel()
        self.turn()

    @invariant()
    def the_bounds_hold_and_no_place_is_lost(self) -> None:
        inside = self.inside_now()
        waiting = len(self.came) - len(inside)
        assert self.admission.running == len(inside) <= MAX_RUNNING
        assert self.admission.waiting == waiting <= MAX_WAITING
        assert not waiting or len(inside) == MAX_RUNNING

    @invariant()
    def the_first_to_come_are_inside(self) -> None:
        inside = self.inside_now()
        assert inside == self.came[: len(inside)]


TestAdmissionMachine = pytest.mark.untraced(AdmissionMachine.TestCase)
TestAdmissionMachine.settings = settings(stateful_step_count=25)


# ---- peers ----


async def peers_waiting(peers: PeerAdmission, count: int) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(peers.acquire()) for _ in range(count)]
    await settle()
    return tasks


@virtual_time
async def test_peers_have_slots_of_their_own_within_the_owners() -> None:
    main = Admission(max_running=3, max_waiting=9)
    peers = PeerAdmission(main, max_running=2, max_waiting=9, rank=all_equal)
    for _ in range(2):
        await peers.acquire()
    (third,) = await peers_waiting(peers, 1)
    assert (peers.running, peers.waiting, main.running) == (2, 1, 2)
    await main.acquire()
    main.release()
    await settle()
    assert not third.done()  # a slot of the owner's is free, but two peers are the most
    peers.release()
    await third
    assert (peers.running, main.running) == (2, 2)


@virtual_time
async def test_a_peer_too_many_is_told_at_once() -> None:
    peers = PeerAdmission(Admission(9, 9), max_running=1, max_waiting=1, rank=all_equal)
    await peers.acquire()
    (waiter,) = await peers_waiting(peers, 1)
    with pytest.raises(Overloaded, match=r"MAX_PEER_JOBS, MAX_PEER_QUEUE"):
        await peers.acquire()
    waiter.cancel()


@virtual_time
async def test_the_owner_goes_before_peers_who_came_earlier() -> None:
    main = Admission(max_running=1, max_waiting=9)
    peers = PeerAdmission(main, max_running=1, max_waiting=9, rank=all_equal)
    await main.acquire()
    (peer,) = await peers_waiting(peers, 1)
    first, second = await waiters(main, 2)
    for owner in (first, second):
        main.release()
        await settle()
        assert (owner.done(), peer.done()) == (True, False)
    main.release()
    await peer
    assert (peers.running, main.running) == (1, 1)


@virtual_time
async def test_a_peer_does_not_slip_in_while_the_owner_waits() -> None:
    main = Admission(max_running=1, max_waiting=9)
    peers = PeerAdmission(main, max_running=1, max_waiting=9, rank=all_equal)
    await peers.acquire()
    (owner,) = await waiters(main, 1)
    peers.release()  # the slot is the owner's, who has not run yet
    late = asyncio.create_task(peers.acquire())
    await settle()
    assert (owner.done(), late.done()) == (True, False)
    late.cancel()
    await settle()
    assert (peers.running, peers.waiting, main.running) == (0, 0, 1)


@virtual_time
async def test_a_peer_who_goes_away_hands_his_slot_on() -> None:
    main = Admission(max_running=1, max_waiting=9)
    peers = PeerAdmission(main, max_running=1, max_waiting=9, rank=all_equal)
    await main.acquire()
    gone, next_one = await peers_waiting(peers, 2)
    main.release()  # the slot was given to the first, who goes away at that moment
    gone.cancel()
    await settle()
    assert (gone.cancelled(), next_one.done()) == (True, True)
    assert (peers.running, peers.waiting, main.running) == (1, 0, 1)
    peers.release()
    assert (peers.running, main.running) == (0, 0)


RANKS = {"good": 0, "other good": 0, "bad": 2, "unknown": 1}


async def ranked_waiting(peers: PeerAdmission, names: str) -> dict[str, asyncio.Task[None]]:
    """One slot is taken; these came after it, in this order."""
    await peers.acquire("good")
    tasks = {name: asyncio.create_task(peers.acquire(name)) for name in names.split(",")}
    await settle()
    return tasks


@virtual_time
async def test_peers_of_a_better_rank_are_let_in_first() -> None:
    peers = PeerAdmission(Admission(9, 9), 1, 9, rank=RANKS.__getitem__)
    tasks = await ranked_waiting(peers, "bad,unknown,other good")
    order = []
    for _ in tasks:
        peers.release(order[-1] if order else "good")
        await settle()
        order += [name for name, task in tasks.items() if task.done() and name not in order]
    assert order == ["other good", "unknown", "bad"]


@virtual_time
async def test_in_a_full_queue_a_lesser_peer_makes_room_for_a_better_one() -> None:
    peers = PeerAdmission(Admission(9, 9), 1, 2, rank=RANKS.__getitem__)
    tasks = await ranked_waiting(peers, "bad,unknown")
    better = asyncio.create_task(peers.acquire("other good"))
    await settle()
    assert isinstance(tasks["bad"].exception(), Overloaded)
    assert not tasks["unknown"].done()
    peers.release("good")
    await better
    tasks["unknown"].cancel()


@virtual_time
async def test_in_a_full_queue_no_better_peer_makes_room_for_a_lesser_one() -> None:
    peers = PeerAdmission(Admission(9, 9), 1, 1, rank=RANKS.__getitem__)
    tasks = await ranked_waiting(peers, "other good")
    with pytest.raises(Overloaded):
        await peers.acquire("bad")
    assert not tasks["other good"].done()
    tasks["other good"].cancel()


class PeerMachine(RuleBasedStateMachine):
    """Owners and peers come, leave and go away in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.main = Admission(MAX_RUNNING, MAX_WAITING)
        self.peers = PeerAdmission(self.main, 1, 2, all_equal)
        self.came: dict[bool, list[asyncio.Task[None]]] = {True: [], False: []}  # True: peers

    def teardown(self) -> None:
        for task in (*self.came[True], *self.came[False]):
            task.cancel()
        self.runner.close()

    def inside(self, *, peer: bool) -> list[asyncio.Task[None]]:
        return [task for task in self.came[peer] if task.done()]

    def turn(self) -> None:
        self.runner.run(settle())
        for tasks in self.came.values():
            tasks[:] = [task for task in tasks if not task.done() or (not task.cancelled() and not task.exception())]

    @rule(peers=st.lists(st.booleans(), min_size=1, max_size=3))
    def some_come(self, peers: list[bool]) -> None:
        for peer in peers:
            room = self.peers if peer else self.main
            self.came[peer].append(self.runner.get_loop().create_task(room.acquire()))
        self.turn()

    @rule(data=st.data(), peer=st.booleans(), gone=st.booleans())
    def one_leaves_while_another_goes_away(self, data: st.DataObject, *, peer: bool, gone: bool) -> None:
        inside = self.inside(peer=peer)
        waiting = [task for tasks in self.came.values() for task in tasks if not task.done()]
        if inside:
            self.came[peer].remove(data.draw(st.sampled_from(inside)))
            (self.peers if peer else self.main).release()
        if gone and waiting:
            data.draw(st.sampled_from(waiting)).cancel()
        self.turn()

    @invariant()
    def places_add_up(self) -> None:
        peers, owners = len(self.inside(peer=True)), len(self.inside(peer=False))
        assert self.peers.running == peers <= 1
        assert self.main.running == peers + owners <= MAX_RUNNING
        assert self.peers.waiting == len(self.came[True]) - peers <= 2
        assert self.main.waiting == len(self.came[False]) - owners

    @invariant()
    def nobody_waits_for_a_free_place(self) -> None:
        is_free = self.main.running < MAX_RUNNING
        assert not (is_free and self.main.waiting)
        assert not (is_free and self.peers.waiting and self.peers.running < 1)


TestPeerMachine = pytest.mark.untraced(PeerMachine.TestCase)
TestPeerMachine.settings = settings(stateful_step_count=30)
