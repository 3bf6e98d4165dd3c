"""One timer looks at all that waits, and only while anything does."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from masa_node.routing.running.sweep import EVERY_S, Sweep
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
