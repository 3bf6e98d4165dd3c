"""After a thousand races nothing is left of them. `python -m bench.leaks` does it with ten thousand.

Covers: `network`, `links.mux_stream`, `requests.server`.
"""

import asyncio

import pytest
import uvloop

from bench.leaks import World, in_memory, look_for_leaks, over_iroh
from tests.virtual_time import virtual_time

RACES = 1_000


@virtual_time
async def test_nothing_is_left_after_a_thousand_races_in_memory() -> None:
    faults, counted = await look_for_leaks(in_memory, RACES)
    assert faults == [], counted


def test_nothing_is_left_after_a_thousand_races_over_iroh() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        faults, counted = runner.run(look_for_leaks(over_iroh, RACES))
    assert faults == [], counted


@virtual_time
async def test_a_task_that_is_left_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    race, left = World._race, []

    async def leaky(self: World) -> None:
        await race(self)
        left.append(asyncio.create_task(asyncio.sleep(3600)))

    monkeypatch.setattr(World, "_race", leaky)
    faults, _ = await look_for_leaks(in_memory, 20)
    assert any("tasks" in fault for fault in faults)
    for task in left:
        task.cancel()


@virtual_time
async def test_an_answer_that_is_left_open_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    race, opened = World._race, []

    async def leaky(self: World) -> None:
        await race(self)
        opened.append(self._asking.dispatcher.common.admission)
        await opened[-1].acquire()

    monkeypatch.setattr(World, "_race", leaky)
    faults, _ = await look_for_leaks(in_memory, 20)
    assert any("streams" in fault for fault in faults)
