"""What opens a server's breaker: its own failures. Callers who ask for nonsense move nobody else to another server.

Covers: `dispatch`, `health`.
"""

import pytest

from masa_node.chat.errors import BrokenAnswer, ConnectionRefused, ProviderError
from masa_node.routing.health import OPENS_AFTER
from tests.routing.scripted import WHOLE, ScriptedPeer, ScriptedProvider, World, http_error
from tests.virtual_time import now_s, virtual_time


async def asked_often(world: World) -> None:
    """More often than the breaker needs to open."""
    for _ in range(2 * OPENS_AFTER):
        with pytest.raises(ProviderError):
            await world.answer()
        world.outcomes.clear()


def is_well(world: World, provider: ScriptedProvider) -> bool:
    return world.dispatcher.stats.health.of(provider.name).is_well(now_s() + 1000.0)


@pytest.mark.parametrize("status", [400, 404, 405, 409, 411, 413, 414, 415, 418, 422, 429, 431])
@virtual_time
async def test_a_callers_fault_opens_no_breaker_and_moves_no_other_caller(status: int) -> None:
    own = ScriptedProvider("own", http_error(status))
    world = World([own])
    await asked_often(world)
    assert is_well(world, own)
    world.catalog.put(ScriptedProvider("dear", WHOLE), [*world.catalog.all_offers()[0][1:]])
    with_choice = await world.dispatcher.common.candidates.choose(world.ask())
    assert [provider.name for provider in with_choice.own] == ["own", "dear"]


@pytest.mark.parametrize("error", [http_error(500), http_error(503), ConnectionRefused("gone"), BrokenAnswer("cut")])
@virtual_time
async def test_a_servers_own_failures_open_it(error: ProviderError) -> None:
    own = ScriptedProvider("own", error)
    world = World([own])
    await asked_often(world)
    assert world.dispatcher.stats.health.of(own.name).failures >= OPENS_AFTER


@virtual_time
async def test_a_peer_whose_account_has_a_limit_is_busy_and_not_broken() -> None:
    peer = ScriptedPeer("peer", http_error(429))
    world = World([peer])
    await asked_often(world)
    assert world.dispatcher.stats.health.of(peer.name).failures == 0
