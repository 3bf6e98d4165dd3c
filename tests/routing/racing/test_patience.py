"""How long a request waits: a provider that shows it works is not silent, and one that shows nothing is."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest
import uvloop

from masa_node.chat.errors import BrokenAnswer, FirstPieceTimeout, Stalled
from masa_node.chat.request import RaceRule
from masa_node.routing.health import OPENS_AFTER, Health
from masa_node.routing.provider import no_sign
from masa_node.routing.racing.patience import Asked, Patience
from tests.routing.scripted import (
    BEGIN_S,
    DEADLINE_S,
    HEDGE,
    IDLE_S,
    SIGN,
    WHOLE,
    ScriptedPeer,
    ScriptedProvider,
    Step,
    World,
    http_error,
)
from tests.virtual_time import now_s, virtual_time


def results(world: World) -> dict[str, str]:
    return {attempt.provider: attempt.result for attempt in world.outcome.attempts}


def beats(every_s: float, times: int) -> list[Step]:
    """Signs of life, one each so many seconds."""
    return [step for _ in range(times) for step in (SIGN, every_s)]


@virtual_time
async def test_a_server_that_has_begun_may_take_longer_than_the_deadline() -> None:
    world = World([ScriptedProvider("own", 0.005, SIGN, IDLE_S - 1, WHOLE)])
    await world.answer()
    assert (results(world), round(now_s())) == ({"own": "won"}, IDLE_S - 1)


@virtual_time
async def test_a_server_that_shows_nothing_is_given_up_at_the_deadline() -> None:
    world = World([ScriptedProvider("own")])
    with pytest.raises(FirstPieceTimeout, match=r"within 30 s \(LLM_TIMEOUT\)"):
        await world.answer()
    assert (results(world), now_s()) == ({"own": "first_piece_timeout"}, DEADLINE_S)


@virtual_time
async def test_a_server_that_begins_and_falls_silent_is_given_up_after_the_idle_time() -> None:
    world = World([ScriptedProvider("own", 10.0, SIGN)])
    with pytest.raises(Stalled, match=r"nothing came for 120 s \(LLM_IDLE_TIMEOUT\)"):
        await world.answer()
    assert (results(world), now_s()) == ({"own": "stalled"}, 10.0 + IDLE_S)


@virtual_time
async def test_each_sign_gives_the_idle_time_again() -> None:
    world = World([ScriptedProvider("own", *beats(100.0, 4), WHOLE)])
    await world.answer()
    assert (results(world), now_s()) == ({"own": "won"}, 400.0)


@virtual_time
async def test_signs_alone_keep_no_request_for_ever() -> None:
    world = World([ScriptedProvider("own", *beats(10.0, 1000))])
    with pytest.raises(FirstPieceTimeout, match=r"within 600 s \(LLM_BEGIN_TIMEOUT\).*asked: own"):
        await world.answer()
    assert (results(world), now_s()) == ({"own": "first_piece_timeout"}, BEGIN_S)


@virtual_time
async def test_a_deadline_longer_than_the_bound_on_signs_counts() -> None:
    world = World([ScriptedProvider("own", SIGN, DEADLINE_S - 1, WHOLE)])
    await world.answer(msgspec.structs.replace(world.ask(), begin_deadline_s=asyncio.get_running_loop().time() + 1))
    assert results(world) == {"own": "won"}


@virtual_time
async def test_an_idle_time_shorter_than_the_deadline_ends_nobody_before_it() -> None:
    world = World([ScriptedProvider("own", SIGN, DEADLINE_S - 1, WHOLE)])
    await world.answer(msgspec.structs.replace(world.ask(), idle_timeout_s=1.0))
    assert results(world) == {"own": "won"}


@virtual_time
async def test_at_the_deadline_the_silent_ones_have_failed_and_those_at_work_go_on() -> None:
    world = World([ScriptedPeer("works", 1.0, SIGN, 89.0, WHOLE), ScriptedPeer("silent")])
    asked = asyncio.create_task(world.answer())
    await asyncio.sleep(DEADLINE_S + 0.001)
    assert [provider.at_work for provider in world.providers] == [1, 0]
    assert await asked is WHOLE
    assert (results(world), now_s()) == ({"silent": "first_piece_timeout", "works": "won"}, 90.0)


@virtual_time
async def test_a_sign_never_wins_and_cancels_nobody() -> None:
    world = World([ScriptedPeer("works", SIGN, 100.0, WHOLE), ScriptedPeer("quick", 5.0, WHOLE)])
    await world.answer()
    assert (results(world), now_s()) == ({"works": "cancelled", "quick": "won"}, 5.0)


@virtual_time
async def test_one_that_works_may_still_be_hedged_against() -> None:
    world = World([ScriptedPeer("works", SIGN, 100.0, WHOLE), ScriptedPeer("quick", 5.0, WHOLE)])
    await world.answer(world.ask(race=HEDGE))
    assert world.outcome.served_by == "quick"


@virtual_time
async def test_when_all_that_worked_have_failed_before_the_deadline_it_holds_for_the_others() -> None:
    world = World([ScriptedPeer("broke", SIGN, 5.0, BrokenAnswer("cut")), ScriptedPeer("silent")])
    with pytest.raises(FirstPieceTimeout):
        await world.answer()
    assert now_s() == DEADLINE_S


@virtual_time
async def test_who_is_asked_after_one_that_worked_for_long_has_the_time_of_a_first() -> None:
    broke = ScriptedProvider("broke", SIGN, 100.0, BrokenAnswer("cut"))
    world = World([broke, ScriptedProvider("next", DEADLINE_S - 1, WHOLE)])
    await world.answer()
    assert (results(world), now_s()) == ({"broke": "broken_answer", "next": "won"}, 100.0 + DEADLINE_S - 1)


@virtual_time
async def test_who_is_asked_then_and_shows_nothing_ends_the_request() -> None:
    broke = ScriptedProvider("broke", SIGN, 100.0, BrokenAnswer("cut"))
    world = World([broke, ScriptedProvider("silent"), ScriptedProvider("third", WHOLE)])
    with pytest.raises(FirstPieceTimeout):
        await world.answer()
    assert (results(world), now_s()) == ({"broke": "broken_answer", "silent": "first_piece_timeout"}, 130.0)


@virtual_time
async def test_one_that_stalls_is_followed_by_the_next() -> None:
    world = World([ScriptedProvider("stalls", SIGN), ScriptedProvider("next", 1.0, WHOLE)])
    await world.answer()
    assert (results(world), now_s()) == ({"stalls": "stalled", "next": "won"}, IDLE_S + 1)


@virtual_time
async def test_who_was_asked_late_has_not_been_silent_for_long_at_the_deadline() -> None:
    line = [ScriptedPeer("works", SIGN, 60.0, WHOLE), ScriptedPeer("fails", 25.0, http_error(500))]
    world = World([*line, ScriptedPeer("late", 20.0, WHOLE)])
    await world.answer(world.ask(race=RaceRule(width=2)))
    assert world.outcome.served_by in ("late", "works")
    assert "first_piece_timeout" not in results(world).values()


@virtual_time
async def test_a_peer_that_works_is_not_blamed_when_a_later_one_is_faster() -> None:
    slow, quick = ScriptedPeer("slow", SIGN, 100.0, WHOLE), ScriptedPeer("quick", WHOLE)
    world = World([slow, quick])
    health = world.dispatcher.stats.health.of(slow.name)
    for _ in range(OPENS_AFTER):
        await world.answer(world.ask(race=HEDGE))
        world.outcomes.clear()
    assert health.failures == 0


@virtual_time
async def test_who_leaves_while_a_server_works_stops_it() -> None:
    own = ScriptedProvider("own", SIGN, 100.0, WHOLE)
    world = World([own])
    asked = asyncio.create_task(world.answer())
    await asyncio.sleep(50)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert own.at_work == 0
    assert world.admission.running == 0


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_one_that_worked_and_fails_as_its_request_is_taken_up_after_the_deadline_is_no_fault_of_ours(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """A timer that is due at once is no timer on uvloop."""

    async def late() -> None:
        loop = asyncio.get_running_loop()
        came_s = loop.time() - DEADLINE_S - 1
        ask = World().ask()
        request = msgspec.structs.replace(ask, first_piece_deadline_s=came_s + DEADLINE_S)
        async with Patience(request, came_s, loop, no_sign) as patience:
            asked = Asked(ScriptedProvider("own"), Health(), patience, came_s, 0.0)
            asked.seen_s = loop.time()
            with pytest.raises(BrokenAnswer):
                async with asked:
                    raise BrokenAnswer("it is in another format")
            assert patience.has_signs

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(late())
