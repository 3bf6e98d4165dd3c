"""Requests that are sent to peers without waiting: what the peer reads, and what becomes of them.

Covers: `remote_peer`, `frames`.
"""

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from masa_node.chat.answer import WholeAnswer
from masa_node.chat.errors import LinkLost, PeerRefused
from masa_node.chat.request import Request
from masa_node.network.requests.frames import CHUNK_BYTES, REQUEST_ID_CHARS, ShortRequest, request_frames
from masa_node.network.requests.remote_peer import BegunRequest
from masa_node.routing.provider import Together
from tests.network.requests.request_world import Node, World, ask, world
from tests.routing.scripted import WHOLE, ScriptedProvider
from tests.virtual_time import settle, virtual_time

WHOLE_BODY = b'{"model":"tiny","stream":false}'
HEADERS = (("anthropic-version", "2023-06-01"), ("x-other", "stays here"))


def nobody() -> None:
    """Wakes nobody."""


async def opened(linked: World) -> None:
    """The first channel is there, and free again."""
    stream = await linked.link.open()
    await stream.begin()
    await settle()
    stream.abort()
    await settle()


def begun(linked: World, request: Request, wake: Callable[[], None] = nobody) -> BegunRequest:
    sent = linked.peer.begin(Together(request), wake)
    assert sent is not None
    return sent


@virtual_time
async def test_what_is_encoded_once_reads_as_what_is_encoded_for_each_peer() -> None:
    request = msgspec.structs.replace(ask(headers=HEADERS, model=16 * "0"), query="beta=true")
    short = ShortRequest(request, 2.5)
    for request_id in ("0123456789abcdef", "f" * REQUEST_ID_CHARS):
        assert list(short.frames(request_id)) == list(request_frames(request, 2.5, request_id))


@virtual_time
async def test_each_peer_gets_another_name_for_the_request() -> None:
    own = ScriptedProvider("own", 1.0, WHOLE)
    node = Node((own,))
    async with world(node.serve) as linked:
        await opened(linked)
        together = Together(ask())
        for _ in range(3):
            sent = linked.peer.begin(together, nobody)
            assert sent is not None
            await asyncio.sleep(0.5)
            sent.close()
            await asyncio.sleep(1)
    assert len({asked.request_id for asked in own.asked}) == 3


@virtual_time
async def test_it_is_answered_as_one_that_was_waited_for() -> None:
    own = ScriptedProvider("own", 1.0, WHOLE)
    node = Node((own,))
    async with world(node.serve) as linked:
        await opened(linked)
        woken = asyncio.Event()
        request = ask(WHOLE_BODY, wants_stream=False)
        sent = begun(linked, request, woken.set)
        await asyncio.wait_for(woken.wait(), 5)
        answer = await sent.answer(request)
        assert isinstance(answer, WholeAnswer)
        assert answer.body == WHOLE.body
        answer.close()
    assert [asked.body for asked in own.asked] == [WHOLE_BODY]


@virtual_time
async def test_one_that_is_given_up_stops_the_llm() -> None:
    own = ScriptedProvider("own")
    node = Node((own,))
    async with world(node.serve) as linked:
        await opened(linked)
        sent = begun(linked, ask())
        await asyncio.sleep(1)
        assert own.at_work == 1
        sent.close()
        await asyncio.sleep(1)
        assert own.at_work == 0


@virtual_time
async def test_a_lost_link_wakes_whoever_asked() -> None:
    node = Node((ScriptedProvider("own"),))
    async with world(node.serve) as linked:
        await opened(linked)
        woken: list[bool] = []
        request = ask()
        sent = begun(linked, request, lambda: woken.append(True))
        await asyncio.sleep(1)
        assert woken == []
        linked.link.close("it is over")
        await asyncio.sleep(1)
        assert woken == [True]
        with pytest.raises(LinkLost):
            await sent.answer(request)


@virtual_time
async def test_what_would_have_to_wait_is_not_begun() -> None:
    node = Node((ScriptedProvider("own", WHOLE),))
    async with world(node.serve) as linked:
        assert linked.peer.begin(Together(ask()), nobody) is None  # no channel is open yet
        await opened(linked)
        assert linked.peer.begin(Together(ask(b"x" * (CHUNK_BYTES + 1))), nobody) is None
        refused = ask(headers=(("anthropic-beta", "x" * 2_000),))
        assert linked.peer.begin(Together(refused), nobody) is None
        with pytest.raises(PeerRefused):
            await linked.peer.answer(refused)
        first = begun(linked, ask())
        assert linked.peer.begin(Together(ask()), nobody) is None  # the next one gets a channel of its own
        first.close()
        linked.link.close("it is over")
        await asyncio.sleep(1)
        assert linked.peer.begin(Together(ask()), nobody) is None
