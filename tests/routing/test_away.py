"""A model whose provider is away for seconds is told as that: a 503 to ask again after, not an unknown model.

Covers: `candidates`, `catalog`, `dispatch`.
"""

import asyncio

import pytest

from masa_node.api.http1.reply import Reply
from masa_node.api.http1.request import HttpRequest
from masa_node.api.responses import AWAY_RETRY_AFTER_S, send_error
from masa_node.chat.errors import ConnectionRefused, DialectNotServed, ErrorAnswer, ProviderAway, UnknownModel
from masa_node.chat.request import DialectName, Endpoint, Privacy, RequestId
from masa_node.chat.statuses import status_of
from masa_node.dialects.registry import DIALECTS
from masa_node.routing.candidates import ChoiceRules
from masa_node.routing.catalog import AWAY_S
from tests.api.http1.fake_line import FakeLine
from tests.api.raw_http import get
from tests.routing.scripted import WHOLE, ScriptedPeer, ScriptedProvider, TrustedPeer, World, http_error, offer
from tests.virtual_time import virtual_time


def lose(world: World, peer: ScriptedPeer) -> None:
    """Its link is gone."""
    world.catalog.remove(peer, asyncio.get_running_loop().time())


@virtual_time
async def test_a_model_whose_peer_was_lost_is_away_and_the_error_names_the_peer_and_since_when() -> None:
    peer = ScriptedPeer("bob", WHOLE)
    world = World([peer, ScriptedProvider("own")])
    world.catalog.put(world.providers[1], [offer("other")])
    lose(world, peer)
    await asyncio.sleep(4)
    with pytest.raises(ProviderAway, match=r"'tiny', and is away: its link was lost 4 s ago\. Ask again") as told:
        await world.answer()
    assert told.value.location == peer.location


@virtual_time
async def test_it_is_unknown_again_after_a_while() -> None:
    peer = ScriptedPeer("bob", WHOLE)
    world = World([peer])
    lose(world, peer)
    await asyncio.sleep(AWAY_S)
    with pytest.raises(UnknownModel):
        await world.answer()


@virtual_time
async def test_a_peer_that_is_back_is_asked() -> None:
    peer = ScriptedPeer("bob", WHOLE)
    world = World([peer])
    lose(world, peer)
    world.catalog.put(peer, [offer()])
    assert await world.answer() is WHOLE


@virtual_time
async def test_a_model_that_a_peer_no_longer_serves_is_unknown_at_once() -> None:
    peer = ScriptedPeer("bob", WHOLE)
    world = World([peer])
    world.catalog.put(peer, [])
    with pytest.raises(UnknownModel):
        await world.answer()


@virtual_time
async def test_a_model_of_another_peer_is_served_meanwhile() -> None:
    lost, other = ScriptedPeer("lost"), ScriptedPeer("other", WHOLE)
    world = World([lost, other])
    lose(world, lost)
    assert await world.answer() is WHOLE


@pytest.mark.parametrize("privacy", [Privacy.LOCAL, Privacy.TRUSTED])
@virtual_time
async def test_a_peer_that_may_not_be_asked_is_not_waited_for(privacy: Privacy) -> None:
    peer = ScriptedPeer("bob", WHOLE)
    world = World([peer])
    lose(world, peer)
    with pytest.raises(UnknownModel):
        await world.answer(world.ask(privacy=privacy))


@virtual_time
async def test_a_trusted_one_is() -> None:
    peer = TrustedPeer("bob", WHOLE)
    world = World([peer])
    lose(world, peer)
    with pytest.raises(ProviderAway):
        await world.answer(world.ask(privacy=Privacy.TRUSTED))


@virtual_time
async def test_while_known_peers_are_not_linked_yet_no_model_is_unknown() -> None:
    arriving = ["peer 1234 (bob)"]
    world = World(rules=ChoiceRules(arriving=lambda: arriving))
    with pytest.raises(ProviderAway, match=r"just started.*peer 1234 \(bob\)"):
        await world.answer()
    with pytest.raises(UnknownModel):
        await world.answer(world.ask(privacy=Privacy.LOCAL))
    arriving.clear()
    with pytest.raises(UnknownModel):
        await world.answer()


@virtual_time
async def test_a_server_that_was_there_a_short_time_ago_is_away() -> None:
    error = ConnectionRefused("connection refused: nothing listens there.")
    error.away_for_s = 11.2
    world = World([ScriptedProvider("own", error)])
    with pytest.raises(
        ProviderAway, match=r"It is away, and has not answered for 12 s: connection refused.*Ask again"
    ) as told:
        await world.answer()
    assert told.value.location == world.providers[0].location
    (attempt,) = world.outcome.attempts
    assert attempt.result == "connection_refused"


@virtual_time
async def test_what_was_there_just_now_was_there_a_second_ago() -> None:
    error = ConnectionRefused("connection refused: nothing listens there.")
    error.away_for_s = 0.0
    with pytest.raises(ProviderAway, match="It is away, and has not answered for 1 s"):
        await World([ScriptedProvider("own", error)]).answer()


@virtual_time
async def test_an_llms_own_words_say_more_than_that_another_is_away() -> None:
    error = ConnectionRefused("nothing listens there.")
    error.away_for_s = 1.0
    world = World([ScriptedProvider("own", error), ScriptedProvider("two", http_error(429))])
    with pytest.raises(Exception, match="429"):
        await world.answer()


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_it_is_a_503_with_retry_after_in_every_dialect(dialect: DialectName) -> None:
    async def app(request: HttpRequest, reply: Reply) -> None:
        await send_error(reply, ProviderAway("It is away."), dialect, RequestId("r"), [])

    line = FakeLine(app)
    line.send(get(b"/"))
    await line.settled()
    line.leave()
    assert line.answered.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: %d\r\n" % AWAY_RETRY_AFTER_S in line.answered


def test_a_format_that_the_models_llm_does_not_speak_is_a_400() -> None:
    assert status_of(DialectNotServed("no")) == 400


@virtual_time
async def test_while_another_serves_the_model_in_another_format_nobody_is_waited_for() -> None:
    lost, other = ScriptedPeer("lost"), ScriptedPeer("other", http_error(500))
    world = World([lost, other])
    world.catalog.put(other, [offer("tiny", Endpoint.OLLAMA_CHAT)])
    lose(world, lost)
    with pytest.raises(ErrorAnswer):
        await world.answer()
    assert len(other.asked) == 1


@virtual_time
async def test_a_peer_that_could_be_asked_in_another_format_is_waited_for_too() -> None:
    lost = ScriptedPeer("lost", WHOLE)
    world = World()
    world.catalog.put(lost, [offer("tiny", Endpoint.OLLAMA_CHAT)])
    lose(world, lost)
    with pytest.raises(ProviderAway):
        await world.answer()
