"""Peers that are away for seconds: their models are told as away, and unknown when there is no hope.

Covers: `network`, `requests.latecomers`, `requests.remote_peer`.
"""

import asyncio

from masa_node.chat.errors import ProviderAway, UnknownModel
from masa_node.network.requests.latecomers import WITHIN_S
from masa_node.network.transport.memory import MemoryNetwork
from masa_node.routing.catalog import AWAY_S
from tests.network.nodes import CLOSED, MODEL, introduce, make, running
from tests.virtual_time import until, virtual_time


@virtual_time
async def test_the_model_of_a_killed_peer_is_away_and_unknown_after_a_while() -> None:
    network = MemoryNetwork(seed=4)
    first, other = nodes = make(network, 2)
    await other.serve_demo()
    introduce(nodes)
    async with running(*nodes):
        await asyncio.sleep(WITHIN_S)
        network.kill(other.id)
        assert isinstance((await first.ask()).error, ProviderAway), "before the heartbeat tells"
        await until(lambda: not first.catalog.knows(MODEL))
        told = await first.ask()
        assert isinstance(told.error, ProviderAway)
        assert other.id[:10] in told.error.location
        assert isinstance((await first.ask(model="never-seen")).error, UnknownModel)
        await asyncio.sleep(AWAY_S)
        assert isinstance((await first.ask()).error, UnknownModel)


@virtual_time
async def test_a_peer_that_comes_back_is_asked_again() -> None:
    network = MemoryNetwork(seed=5)
    first, other = nodes = make(network, 2)
    await other.serve_demo()
    introduce(nodes)
    async with running(*nodes):
        await asyncio.sleep(2)
        first.network.links.drop(other.id, "a cable")
        await until(lambda: not first.catalog.knows(MODEL))
        assert isinstance((await first.ask()).error, ProviderAway)
        await until(lambda: first.catalog.knows(MODEL))
        assert (await first.ask()).is_whole


@virtual_time
async def test_a_blocked_peer_is_not_waited_for() -> None:
    first, other = nodes = make(MemoryNetwork(seed=9), 2)
    await other.serve_demo()
    introduce(nodes)
    async with running(*nodes):
        await asyncio.sleep(3)
        assert first.book is not None
        first.book.block(other.id, 0)
        first.network.book_changed()
        await until(lambda: not first.catalog.knows(MODEL))
        assert isinstance((await first.ask()).error, UnknownModel)


@virtual_time
async def test_nor_is_one_that_is_blocked_while_it_is_away() -> None:
    first, other = nodes = make(MemoryNetwork(seed=9), 2)
    await other.serve_demo()
    introduce(nodes)
    async with running(*nodes):
        await asyncio.sleep(3)
        first.network.links.drop(other.id, "a cable")
        await until(lambda: not first.catalog.knows(MODEL))
        assert first.book is not None
        first.book.block(other.id, 0)
        first.network.book_changed()
        assert isinstance((await first.ask()).error, UnknownModel)


@virtual_time
async def test_while_a_node_starts_the_models_of_known_peers_are_not_unknown() -> None:
    first, other = nodes = make(MemoryNetwork(seed=6), 2)
    await other.serve_demo()
    introduce(nodes)
    other.network.want([first.transport.address()])
    first.network.want([other.transport.address()])
    async with running(first):
        await asyncio.sleep(1)
        told = await first.ask()
        assert isinstance(told.error, ProviderAway)
        assert other.id[:10] in told.error.message
        await asyncio.sleep(WITHIN_S)
        assert isinstance((await first.ask()).error, UnknownModel), "it does not come"


@virtual_time
async def test_once_they_are_linked_it_is() -> None:
    first, other = nodes = make(MemoryNetwork(seed=7), 2)
    introduce(nodes)
    first.network.want([other.transport.address()])
    async with running(*nodes):
        await asyncio.sleep(3)
        assert isinstance((await first.ask()).error, UnknownModel)


@virtual_time
async def test_a_peer_that_does_not_let_this_node_in_is_not_waited_for() -> None:
    first, other = make(MemoryNetwork(seed=8), 2, CLOSED)
    first.network.want([other.transport.address()])
    async with running(first, other):
        await asyncio.sleep(0)
        assert isinstance((await first.ask()).error, ProviderAway)
        await asyncio.sleep(3)
        assert isinstance((await first.ask()).error, UnknownModel)
