"""One timer looks at all that waits, and only while anything does."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from masa_node.routing.running.sweep import AT_ONCE, EVERY_S, Sweep
from tests.virtual_time import virtual_time


@dataclass(eq=False)
class Waits:
    sweep: Sweep
    times: int = 3
    seen_s: list[float] = field(default_factory=list)

    def look(self, now_s: float) -> None:
        self.seen_s.append(now_s)
        if len(self.seen_s) == self.times:
            self.sweep.discard(self)


@dataclass(eq=False)
class Turns:
    """Counts the turns of the loop from the first look on: some, since time stands still meanwhile."""

    count: int = 0
    seen: list[tuple[int, int]] = field(default_factory=list)

    def next(self) -> None:
        self.count += 1
        if self.count < 10:
            asyncio.get_running_loop().call_soon(self.next)


@dataclass(eq=False)
class Counts:
    turns: Turns
    number: int

    def look(self, now_s: float) -> None:
        del now_s
        if not self.turns.seen:
            self.turns.next()
        self.turns.seen.append((self.turns.count, self.number))


@virtual_time
async def test_what_waits_is_looked_at_until_it_waits_no_more() -> None:
    sweep, began_s = Sweep(), asyncio.get_running_loop().time()
    one, two = Waits(sweep), Waits(sweep, times=1)
    sweep.add(one)
    sweep.add(two)
    await asyncio.sleep(10 * EVERY_S)
    assert [round((at_s - began_s) / EVERY_S) for at_s in one.seen_s] == [1, 2, 3]
    assert len(two.seen_s) == 1
    assert len(sweep) == 0


@virtual_time
async def test_of_many_some_are_looked_at_in_each_turn_and_all_in_order() -> None:
    sweep, turns = Sweep(), Turns()
    for number in range(3 * AT_ONCE + 1):
        sweep.add(Counts(turns, number))
    await asyncio.sleep(1.5 * EVERY_S)
    assert [number for _, number in turns.seen] == list(range(3 * AT_ONCE + 1))
    assert list(Counter(turn for turn, _ in turns.seen).values()) == [AT_ONCE, AT_ONCE, AT_ONCE, 1]


@virtual_time
async def test_what_is_discarded_between_two_turns_is_not_looked_at() -> None:
    sweep = Sweep()
    many = [Waits(sweep, times=1) for _ in range(AT_ONCE)]
    last = Waits(sweep)
    for each in (*many, last):
        sweep.add(each)
    many[-1].look = lambda now_s: sweep.discard(last)  # type: ignore[method-assign]
    await asyncio.sleep(EVERY_S / 2)
    await asyncio.sleep(EVERY_S)
    assert last.seen_s == []


@virtual_time
async def test_it_begins_again_after_an_idle_time() -> None:
    sweep = Sweep()
    sweep.add(Waits(sweep, times=1))
    await asyncio.sleep(10 * EVERY_S)
    later = Waits(sweep, times=1)
    sweep.add(later)
    await asyncio.sleep(2 * EVERY_S)
    assert len(later.seen_s) == 1


@virtual_time
async def test_what_was_discarded_is_not_looked_at() -> None:
    sweep = Sweep()
    waits = Waits(sweep)
    sweep.add(waits)
    sweep.discard(waits)
    sweep.discard(waits)
    await asyncio.sleep(3 * EVERY_S)
    assert waits.seen_s == []


@dataclass(eq=False)
class Breaks(Waits):
    def look(self, now_s: float) -> None:
        super().look(now_s)
        raise RuntimeError("a bug")


@virtual_time
async def test_a_bug_in_one_of_them_is_told_and_costs_the_others_nothing() -> None:
    logged: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))
    sweep = Sweep()
    broken, other = Breaks(sweep), Waits(sweep)
    sweep.add(broken)
    sweep.add(other)
    await asyncio.sleep(10 * EVERY_S)
    assert (len(broken.seen_s), len(other.seen_s)) == (1, 3)
    assert [str(context["exception"]) for context in logged] == ["a bug"]
    assert len(sweep) == 0
