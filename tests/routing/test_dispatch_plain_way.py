"""The way in to the plain way: for which models there is just one provider to ask, and when it is asked by calls."""

import asyncio
from collections.abc import Callable, Sequence

import msgspec
import pytest

from masa_node.chat.errors import NoStakedPeer
from masa_node.chat.request import Endpoint, Privacy, RaceMode, RaceRule
from masa_node.routing.admission import Admission, PeerAdmission
from masa_node.routing.candidates import ChoiceRules
from masa_node.routing.dispatch import Dispatcher
from masa_node.routing.peer_policy import AnyPeer, Selection
from masa_node.routing.provider import Provider
from tests.routing.scripted import (
    ALL,
    HEDGE,
    MODEL,
    ScriptedPeer,
    ScriptedProvider,
    ScriptedStream,
    World,
    all_equal,
    offer,
)
from tests.routing.talking import WHOLE, PlainCaller, TalkingServer, begin, world_of
from tests.virtual_time import virtual_time

CHAT = Endpoint.OPENAI_CHAT


class TalkingPeer(TalkingServer):
    is_local = False
    is_trusted = False


# ---- the table ----


def test_one_own_server_that_can_be_asked_by_calls_has_a_row() -> None:
    server = TalkingServer()
    _, way = world_of(server)
    row = way.row(MODEL, CHAT)
    assert row is not None
    assert row.provider is server
    assert way.row(MODEL, CHAT) is row


@pytest.mark.parametrize("servers", [(), (TalkingServer("a"), TalkingServer("b")), (ScriptedProvider("a"),)])
def test_whatever_is_a_choice_has_none(servers: tuple[ScriptedProvider, ...]) -> None:
    _, way = world_of(*servers)
    assert way.row(MODEL, CHAT) is None


def test_a_model_at_another_endpoint_has_none() -> None:
    _, way = world_of(TalkingServer())
    assert way.row(MODEL, Endpoint.ANTHROPIC_MESSAGES) is None
    assert way.row("other", CHAT) is None


def test_a_row_holds_until_the_catalog_changes() -> None:
    server = TalkingServer()
    world, way = world_of(server)
    assert way.row(MODEL, CHAT) is not None
    world.catalog.put(TalkingServer("b"), [offer()])
    assert way.row(MODEL, CHAT) is None
    world.catalog.remove(server)
    assert way.row(MODEL, CHAT) is not None


# ---- the way in ----


def refused_server(world: World, server: TalkingServer) -> None:
    world.dispatcher.stats.health.of(server.name).failed(0.0)


def no_slot(world: World, server: TalkingServer) -> None:
    del server
    while world.admission.acquire_now():
        pass


def no_connection(world: World, server: TalkingServer) -> None:
    del world
    server.is_free = False


def watched(world: World, server: TalkingServer) -> None:
    del server
    world.dispatcher.stats.watch = lambda event: None


@pytest.mark.parametrize("spoil", [refused_server, no_slot, no_connection, watched])
@virtual_time
async def test_what_is_not_plain_leaves_no_trace(spoil: Callable[[World, TalkingServer], None]) -> None:
    server, caller = TalkingServer(), PlainCaller()
    world, way = world_of(server)
    spoil(world, server)
    running = world.admission.running
    assert begin(world, way, caller) is None
    assert (world.admission.running, server.talks, world.outcomes, len(way.sweep)) == (running, [], [], 0)


# ---- peers ----


class Refusing(AnyPeer):
    """Keeps every request from every peer."""

    def select(self, peers: Sequence[Provider]) -> Selection:
        del peers
        return Selection((), NoStakedPeer("none is staked"))


def test_the_only_peer_has_a_row_where_no_own_server_does() -> None:
    peer, server = TalkingPeer("peer"), TalkingServer()
    world, way = world_of(peer)
    row = way.row(MODEL, CHAT)
    assert row is not None
    assert row.provider is peer
    world.catalog.put(server, [offer()])
    row = way.row(MODEL, CHAT)
    assert row is not None
    assert row.provider is server
    world.catalog.remove(server)
    world.catalog.put(TalkingPeer("other"), [offer()])
    assert way.row(MODEL, CHAT) is None


@pytest.mark.parametrize("race", [ALL, HEDGE, RaceRule(RaceMode.HEDGE, 1)])
@virtual_time
async def test_the_only_peer_is_asked_as_by_a_race_that_has_no_other(race: RaceRule) -> None:
    peer, caller = TalkingPeer("peer"), PlainCaller()
    world, way = world_of(peer)
    request = world.ask(race=race)
    row = way.row(MODEL, CHAT)
    assert row is not None
    assert way.begin(row, request, caller) is not None
    peer.talk.heads(content_type="application/json")
    peer.talk.says(WHOLE, is_over=True)
    assert caller.text == WHOLE
    assert (world.outcome.race, world.outcome.hedges, world.outcome.served_by) == (race.mode, 0, "peer")
    assert [*map(len, world.dispatcher.stats.latency._recent.values())] == [1]


@pytest.mark.parametrize(("race", "hedges"), [(ALL, 1), (HEDGE, 3)])
@virtual_time
async def test_requests_of_the_only_peer_count_for_the_hedges_of_others(race: RaceRule, hedges: int) -> None:
    peer = TalkingPeer("peer")
    world = World((peer,), max_running=30)
    way = world.dispatcher
    row = way.row(MODEL, CHAT)
    assert row is not None
    for _ in range(30):
        assert way.begin(row, world.ask(race=race), PlainCaller()) is not None
    budget, now_s = world.dispatcher.stats.budget, asyncio.get_running_loop().time()
    assert [budget.take(now_s) for _ in range(4)].count(True) == hedges


@pytest.mark.parametrize(
    ("privacy", "trust", "asked"),
    [
        (Privacy.ANY, "none", 1),
        (Privacy.TRUSTED, "trusted", 1),
        (Privacy.TRUSTED, "none", 0),
        (Privacy.LOCAL, "trusted", 0),
    ],
)
@virtual_time
async def test_a_peer_gets_what_it_may_see(privacy: Privacy, trust: str, asked: int) -> None:
    peer = TalkingPeer("peer")
    peer.is_trusted = trust == "trusted"
    world, way = world_of(peer)
    row = way.row(MODEL, CHAT)
    assert row is not None
    plain = way.begin(row, world.ask(privacy=privacy), PlainCaller())
    assert (plain is not None) is bool(asked)
    assert (len(peer.talks), world.admission.running) == (asked, asked)


@virtual_time
async def test_a_peer_that_a_rule_keeps_requests_from_is_not_asked() -> None:
    peer = TalkingPeer("peer")
    world = World((peer,), rules=ChoiceRules(Refusing()))
    way = world.dispatcher
    assert begin(world, way, PlainCaller()) is None
    assert (peer.talks, world.admission.running) == ([], 0)


@virtual_time
async def test_another_peer_that_came_meanwhile_is_asked_when_the_only_one_has_failed() -> None:
    peer, caller = TalkingPeer("peer"), PlainCaller()
    world, way = world_of(peer)
    assert begin(world, way, caller) is not None
    other = ScriptedPeer("other", 0.1, ScriptedStream([]))
    world.catalog.put(other, [offer()])
    peer.talk.breaks()
    await asyncio.sleep(1)
    assert [(each.provider, each.result) for each in world.outcome.attempts] == [
        ("peer", "connection_closed"),
        ("other", "won"),
    ]
    assert (len(peer.talks), len(peer.asked), len(other.asked)) == (1, 0, 1)


# ---- requests of peers ----


@virtual_time
async def test_a_request_of_a_peer_has_one_of_the_peers_slots_until_it_is_over() -> None:
    server, caller, main = TalkingServer(), PlainCaller(), Admission(9, 9)
    world = World((server,))
    slots = PeerAdmission(main, max_running=2, max_waiting=9, rank=all_equal)
    way = Dispatcher(world.catalog, slots, world.refresh, world.outcomes.append)
    request = msgspec.structs.replace(world.ask(), requester="ada")
    row = way.row(MODEL, CHAT)
    assert row is not None
    assert way.begin(row, request, caller) is not None
    assert (slots.running, main.running) == (1, 1)
    assert way.begin(row, request, PlainCaller()) is None, "one peer leaves a slot to others"
    assert way.begin(row, msgspec.structs.replace(request, requester="bob"), PlainCaller()) is not None
    server.talks[0].heads(content_type="application/json")
    server.talks[0].says(WHOLE, is_over=True)
    assert (caller.text, slots.running, main.running) == (WHOLE, 1, 1)
    assert way.begin(row, request, PlainCaller()) is not None


@virtual_time
async def test_where_no_connection_is_free_the_peers_slot_is_given_back() -> None:
    server = TalkingServer()
    world = World((server,))
    server.is_free = False
    slots = PeerAdmission(Admission(9, 9), max_running=2, max_waiting=9, rank=all_equal)
    way = Dispatcher(world.catalog, slots, world.refresh, world.outcomes.append)
    row = way.row(MODEL, CHAT)
    assert row is not None
    for _ in range(3):
        assert way.begin(row, msgspec.structs.replace(world.ask(), requester="ada"), PlainCaller()) is None
    assert slots.running == 0
    assert slots.acquire_now("ada")
