"""How long a request took is told to the microsecond, on every loop."""

import asyncio
import time

import uvloop

from masa_node.routing.running.exact_clock import exact_clock
from tests.fakes.sinks import TakesAll
from tests.routing.scripted import WHOLE, ScriptedProvider, World
from tests.virtual_time import VirtualTimeLoop, virtual_time

ASKED = 20


def test_uvloops_own_clock_counts_milliseconds_so_the_systems_is_taken() -> None:
    loop = uvloop.new_event_loop()
    try:
        assert exact_clock(loop) is time.monotonic
        assert exact_clock(loop) != loop.time
    finally:
        loop.close()


def test_a_loop_whose_clock_is_exact_gives_its_own_virtual_ones_too() -> None:
    for loop in (asyncio.SelectorEventLoop(), VirtualTimeLoop()):
        assert exact_clock(loop) == loop.time
        loop.close()


def test_on_uvloop_no_time_of_a_request_is_cut_to_milliseconds() -> None:
    async def ask() -> list[float]:
        world = World([ScriptedProvider("own", WHOLE)], max_running=1)
        outcomes = [await world.dispatcher.answer(world.ask(), TakesAll()) for _ in range(ASKED)]
        assert all(outcome.queued_s <= (outcome.first_piece_s or 0) <= outcome.total_s for outcome in outcomes)
        won = [outcome.attempts[0] for outcome in outcomes]
        told = zip(outcomes, won, strict=True)
        return [time_s for outcome, attempt in told for time_s in (outcome.total_s, attempt.ended_after_s)]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        times_s = runner.run(ask())
    assert len(times_s) == 2 * ASKED
    assert all(time_s > 0 for time_s in times_s)
    assert sum(abs(time_s * 1000 - round(time_s * 1000)) > 1e-6 for time_s in times_s) > ASKED


@virtual_time
async def test_in_virtual_time_a_request_takes_what_its_clock_says() -> None:
    world = World([ScriptedProvider("own", 2.5, WHOLE)], max_running=1)
    outcome = await world.dispatcher.answer(world.ask(), TakesAll())
    assert outcome.first_piece_s == outcome.total_s == 2.5
