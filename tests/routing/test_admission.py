import asyncio
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from masa_node.chat.errors import Overloaded
from masa_node.routing.admission import RETRY_AFTER_S, Admission, GuestAdmission
from tests.virtual_time import VirtualTimeLoop, settle, virtual_time


async def waiters(admission: Admission, count: int) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(admission.enter()) for _ in range(count)]
    await settle()
    return tasks


@virtual_time
async def test_places_are_given_at_once_while_there_are_some() -> None:
    admission = Admission(max_running=2, max_waiting=0)
    await admission.enter()
    await admission.enter()
    assert (admission.running, admission.waiting) == (2, 0)


@virtual_time
async def test_when_the_queue_is_full_the_next_is_told_at_once() -> None:
    admission = Admission(max_running=1, max_waiting=1)
    await admission.enter()
    (waiter,) = await waiters(admission, 1)
    with pytest.raises(Overloaded, match=r"1 requests are under way and 1 wait.*MAX_CONCURRENT, MAX_QUEUE") as refused:
        await admission.enter()
    assert refused.value.retry_after_s == RETRY_AFTER_S
    assert (admission.running, admission.waiting) == (1, 1)
    waiter.cancel()


@virtual_time
async def test_without_a_queue_nobody_waits() -> None:
    admission = Admission(max_running=1, max_waiting=0)
    await admission.enter()
    with pytest.raises(Overloaded):
        await admission.enter()
    admission.leave()
    await admission.enter()


@virtual_time
async def test_who_came_first_is_let_in_first() -> None:
    admission = Admission(max_running=1, max_waiting=9)
    await admission.enter()
    tasks = await waiters(admission, 4)
    for done in range(1, 5):
        admission.leave()
        await settle()
        assert [task.done() for task in tasks] == [True] * done + [False] * (4 - done)
        assert admission.running == 1


@virtual_time
async def test_nobody_overtakes_those_who_wait() -> None:
    admission = Admission(max_running=1, max_waiting=9)
    await admission.enter()
    (first,) = await waiters(admission, 1)
    admission.leave()  # the place is `first`'s, who has not run yet
    late = asyncio.create_task(admission.enter())
    await settle()
    assert (first.done(), late.done(), admission.running) == (True, False, 1)
    late.cancel()


@virtual_time
async def test_who_goes_away_while_waiting_holds_no_place() -> None:
    admission = Admission(max_running=1, max_waiting=9)
    await admission.enter()
    first, second = await waiters(admission, 2)
    first.cancel()
    await settle()
    assert (admission.running, admission.waiting) == (1, 1)
    admission.leave()
    await second
    assert (admission.running, admission.waiting) == (1, 0)


@pytest.mark.parametrize(
    "order",
    [
        lambda admission, task: (admission.leave(), task.cancel()),
        lambda admission, task: (task.cancel(), admission.leave()),
    ],
    ids=["given, then gone", "gone, then given"],
)
@virtual_time
async def test_a_place_given_to_one_who_goes_away_at_that_moment_is_handed_on(
    order: Callable[[Admission, asyncio.Task[None]], object],
) -> None:
    admission = Admission(max_running=1, max_waiting=9)
    await admission.enter()
    gone, next_one = await waiters(admission, 2)
    order(admission, gone)
    await settle()
    assert gone.cancelled()
    assert next_one.done()
    assert (admission.running, admission.waiting) == (1, 0)
    admission.leave()
    assert admission.running == 0


@virtual_time
async def test_when_all_who_wait_go_away_at_once_the_place_is_free() -> None:
    admission = Admission(max_running=1, max_waiting=9)
    await admission.enter()
    tasks = await waiters(admission, 3)
    for task in tasks:
        task.cancel()
    admission.leave()
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
        self.came += [loop.create_task(self.admission.enter()) for _ in range(count)]
        self.turn()

    @precondition(lambda self: self.inside_now())
    @rule(data=st.data(), gone=st.integers(0, 3), first=st.booleans())
    def one_leaves_while_others_go_away(self, data: st.DataObject, gone: int, *, first: bool) -> None:
        leaver = data.draw(st.sampled_from(self.inside_now()))
        waiting = [task for task in self.came if not task.done()]
        self.came.remove(leaver)
        if first:
            self.admission.leave()
        for task in waiting[:gone]:
            task.cancel()
        if not first:
            self.admission.leave()
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


TestAdmissionMachine = AdmissionMachine.TestCase
TestAdmissionMachine.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


# ---- guests ----


async def guests_waiting(guests: GuestAdmission, count: int) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(guests.enter()) for _ in range(count)]
    await settle()
    return tasks


@virtual_time
async def test_guests_have_places_of_their_own_within_the_owners() -> None:
    main = Admission(max_running=3, max_waiting=9)
    guests = GuestAdmission(main, max_running=2, max_waiting=9)
    for _ in range(2):
        await guests.enter()
    (third,) = await guests_waiting(guests, 1)
    assert (guests.running, guests.waiting, main.running) == (2, 1, 2)
    await main.enter()
    main.leave()
    await settle()
    assert not third.done()  # a place of the owner's is free, but two guests are the most
    guests.leave()
    await third
    assert (guests.running, main.running) == (2, 2)


@virtual_time
async def test_a_guest_too_many_is_told_at_once() -> None:
    guests = GuestAdmission(Admission(9, 9), max_running=1, max_waiting=1)
    await guests.enter()
    (waiter,) = await guests_waiting(guests, 1)
    with pytest.raises(Overloaded, match=r"MAX_PEER_JOBS, MAX_PEER_QUEUE"):
        await guests.enter()
    waiter.cancel()


@virtual_time
async def test_the_owner_goes_before_guests_who_came_earlier() -> None:
    main = Admission(max_running=1, max_waiting=9)
    guests = GuestAdmission(main, max_running=1, max_waiting=9)
    await main.enter()
    (guest,) = await guests_waiting(guests, 1)
    first, second = await waiters(main, 2)
    for owner in (first, second):
        main.leave()
        await settle()
        assert (owner.done(), guest.done()) == (True, False)
    main.leave()
    await guest
    assert (guests.running, main.running) == (1, 1)


@virtual_time
async def test_a_guest_does_not_slip_in_while_the_owner_waits() -> None:
    main = Admission(max_running=1, max_waiting=9)
    guests = GuestAdmission(main, max_running=1, max_waiting=9)
    await guests.enter()
    (owner,) = await waiters(main, 1)
    guests.leave()  # the place is the owner's, who has not run yet
    late = asyncio.create_task(guests.enter())
    await settle()
    assert (owner.done(), late.done()) == (True, False)
    late.cancel()
    await settle()
    assert (guests.running, guests.waiting, main.running) == (0, 0, 1)


@virtual_time
async def test_a_guest_who_goes_away_hands_his_place_on() -> None:
    main = Admission(max_running=1, max_waiting=9)
    guests = GuestAdmission(main, max_running=1, max_waiting=9)
    await main.enter()
    gone, next_one = await guests_waiting(guests, 2)
    main.leave()  # the place was given to the first, who goes away at that moment
    gone.cancel()
    await settle()
    assert (gone.cancelled(), next_one.done()) == (True, True)
    assert (guests.running, guests.waiting, main.running) == (1, 0, 1)
    guests.leave()
    assert (guests.running, main.running) == (0, 0)


RANKS = {"good": 0, "other good": 0, "bad": 2, "unknown": 1}


async def ranked_waiting(guests: GuestAdmission, names: str) -> dict[str, asyncio.Task[None]]:
    """One place is taken; these came after it, in this order."""
    guests.rank = RANKS.__getitem__
    await guests.enter("good")
    tasks = {name: asyncio.create_task(guests.enter(name)) for name in names.split(",")}
    await settle()
    return tasks


@virtual_time
async def test_guests_of_a_better_rank_are_let_in_first() -> None:
    guests = GuestAdmission(Admission(9, 9), max_running=1, max_waiting=9)
    tasks = await ranked_waiting(guests, "bad,unknown,other good")
    order = []
    for _ in tasks:
        guests.leave("good")
        await settle()
        order += [name for name, task in tasks.items() if task.done() and name not in order]
    assert order == ["other good", "unknown", "bad"]


@virtual_time
async def test_in_a_full_queue_a_lesser_guest_makes_room_for_a_better_one() -> None:
    guests = GuestAdmission(Admission(9, 9), max_running=1, max_waiting=2)
    tasks = await ranked_waiting(guests, "bad,unknown")
    better = asyncio.create_task(guests.enter("other good"))
    await settle()
    assert isinstance(tasks["bad"].exception(), Overloaded)
    assert not tasks["unknown"].done()
    guests.leave("good")
    await better
    tasks["unknown"].cancel()


@virtual_time
async def test_in_a_full_queue_no_better_guest_makes_room_for_a_lesser_one() -> None:
    guests = GuestAdmission(Admission(9, 9), max_running=1, max_waiting=1)
    tasks = await ranked_waiting(guests, "other good")
    with pytest.raises(Overloaded):
        await guests.enter("bad")
    assert not tasks["other good"].done()
    tasks["other good"].cancel()


class GuestMachine(RuleBasedStateMachine):
    """Owners and guests come, leave and go away in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.main = Admission(MAX_RUNNING, MAX_WAITING)
        self.guests = GuestAdmission(self.main, 1, 2)
        self.came: dict[bool, list[asyncio.Task[None]]] = {True: [], False: []}  # True: guests

    def teardown(self) -> None:
        for task in (*self.came[True], *self.came[False]):
            task.cancel()
        self.runner.close()

    def inside(self, *, guest: bool) -> list[asyncio.Task[None]]:
        return [task for task in self.came[guest] if task.done()]

    def turn(self) -> None:
        self.runner.run(settle())
        for tasks in self.came.values():
            tasks[:] = [task for task in tasks if not task.done() or (not task.cancelled() and not task.exception())]

    @rule(guests=st.lists(st.booleans(), min_size=1, max_size=3))
    def some_come(self, guests: list[bool]) -> None:
        for guest in guests:
            room = self.guests if guest else self.main
            self.came[guest].append(self.runner.get_loop().create_task(room.enter()))
        self.turn()

    @rule(data=st.data(), guest=st.booleans(), gone=st.booleans())
    def one_leaves_while_another_goes_away(self, data: st.DataObject, *, guest: bool, gone: bool) -> None:
        inside = self.inside(guest=guest)
        waiting = [task for tasks in self.came.values() for task in tasks if not task.done()]
        if inside:
            self.came[guest].remove(data.draw(st.sampled_from(inside)))
            (self.guests if guest else self.main).leave()
        if gone and waiting:
            data.draw(st.sampled_from(waiting)).cancel()
        self.turn()

    @invariant()
    def places_add_up(self) -> None:
        guests, owners = len(self.inside(guest=True)), len(self.inside(guest=False))
        assert self.guests.running == guests <= 1
        assert self.main.running == guests + owners <= MAX_RUNNING
        assert self.guests.waiting == len(self.came[True]) - guests <= 2
        assert self.main.waiting == len(self.came[False]) - owners

    @invariant()
    def nobody_waits_for_a_free_place(self) -> None:
        is_free = self.main.running < MAX_RUNNING
        assert not (is_free and self.main.waiting)
        assert not (is_free and self.guests.waiting and self.guests.running < 1)


TestGuestMachine = GuestMachine.TestCase
TestGuestMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
