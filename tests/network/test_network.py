"""Nodes that find each other, share, race, die and come back: the whole room over the in-memory network."""

import asyncio
import contextlib
from collections.abc import Set as AbstractSet

import pytest

from masa_node.chat.errors import UnknownModel
from masa_node.chat.request import RaceMode, RaceRule
from masa_node.network.links.invites import TOKEN_BYTES, token_hash
from masa_node.network.links.peer_book import LONGEST_PAUSE_S, MembershipLevel, PeerBook
from masa_node.network.transport.interfaces import NodeId, PeerAddress
from masa_node.network.transport.memory import MemoryNetwork, fixed
from tests.network.nodes import CLOSED, MODEL, MemoryNode, introduce, make, running
from tests.virtual_time import now_s, until, virtual_time

TOKEN = b"t" * TOKEN_BYTES


@virtual_time
async def test_a_model_of_a_peer_is_had_as_if_it_were_ones_own() -> None:
    first, quick, slow = nodes = make(MemoryNetwork(seed=1), 3)
    await quick.serve_demo(100)
    await slow.serve_demo(5)
    introduce(nodes)
    async with running(*nodes):
        await asyncio.sleep(2)
        told = await first.ask()
        assert told.is_whole
        assert told.served_by == quick.id
        await asyncio.sleep(1)
    (outcome,) = first.asked
    assert {attempt.provider: attempt.result for attempt in outcome.attempts} == {quick.id: "won", slow.id: "cancelled"}
    assert [served.error for served in slow.served] == ["caller_gone"]


@virtual_time
async def test_nodes_that_know_only_the_boot_node_come_to_know_each_other() -> None:
    nodes = make(MemoryNetwork(seed=2), 6)
    await nodes[-1].serve_demo()
    introduce(nodes)
    async with running(*nodes):
        await asyncio.sleep(10)
        for node in nodes:
            assert len(node.network.links.sessions) == len(nodes) - 1
            assert node.catalog.knows(MODEL)


@virtual_time
async def test_a_model_that_goes_away_is_no_longer_asked_for_there_within_five_seconds() -> None:
    first, other = nodes = make(MemoryNetwork(seed=3), 2)
    model = await other.serve_demo()
    introduce(nodes)
    async with running(*nodes):
        await asyncio.sleep(2)
        assert first.catalog.knows(MODEL)
        other.catalog.remove(model)
        began_s = now_s()
        await until(lambda: not first.catalog.knows(MODEL))
        assert now_s() - began_s < 5
        assert isinstance((await first.ask()).error, UnknownModel)


@virtual_time
async def test_a_killed_peer_is_out_of_the_catalog_within_nine_seconds() -> None:
    network = MemoryNetwork(seed=4)
    first, other = nodes = make(network, 2)
    await other.serve_demo()
    introduce(nodes)
    async with running(*nodes):
        await asyncio.sleep(3)
        assert first.catalog.knows(MODEL)
        network.kill(other.id)
        began_s = now_s()
        await until(lambda: not first.catalog.knows(MODEL))
        assert now_s() - began_s < 9


@virtual_time
async def test_the_death_of_the_winner_in_the_middle_is_told_and_another_is_asked_next_time() -> None:
    network = MemoryNetwork(seed=5)
    first, quick, slow = nodes = make(network, 3)
    await quick.serve_demo(20)
    await slow.serve_demo(2)
    introduce(nodes)
    async with running(*nodes):
        await asyncio.sleep(3)
        asking = asyncio.create_task(first.ask())
        await asyncio.sleep(0.5)
        network.kill(quick.id)
        told = await asking
        assert told.served_by == quick.id
        assert told.error is not None
        assert told.error.code == "broken_answer"
        assert "heartbeats" in told.error.message
        assert 0 < told.pieces < 20
        again = await first.ask()
        assert again.is_whole
        assert again.served_by == slow.id


@virtual_time
async def test_while_all_peers_are_linked_nobody_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    due = PeerBook.due

    def counted(book: PeerBook, now_s: float, linked: AbstractSet[NodeId], room: int) -> list[PeerAddress]:
        nonlocal looks
        looks += 1
        return due(book, now_s, linked, room)

    nodes = make(MemoryNetwork(seed=7), 3)
    introduce(nodes)
    async with running(*nodes):
        await asyncio.sleep(60)
        monkeypatch.setattr(PeerBook, "due", counted)
        await asyncio.sleep(600)
        assert looks < 10


@virtual_time
async def test_a_peer_that_is_back_is_dialed_when_its_pause_is_over() -> None:
    network = MemoryNetwork(seed=8)
    first, other = nodes = make(network, 2)
    introduce(nodes)
    async with running(*nodes):
        await asyncio.sleep(5)
        network.partition([first.id], [other.id])
        await until(lambda: not first.network.links.sessions and not other.network.links.sessions)
        await asyncio.sleep(300)
        network.heal()
        began_s = now_s()
        await until(lambda: bool(first.network.links.sessions))
        assert now_s() - began_s <= LONGEST_PAUSE_S + 5


@virtual_time
async def test_a_partition_that_heals_is_forgotten() -> None:
    network = MemoryNetwork(seed=6)
    nodes = make(network, 5)
    await nodes[4].serve_demo()
    introduce(nodes)
    async with running(*nodes):
        await asyncio.sleep(5)
        network.partition([node.id for node in nodes[:3]], [node.id for node in nodes[3:]])
        await asyncio.sleep(60)
        assert not nodes[1].catalog.knows(MODEL)
        assert nodes[3].catalog.knows(MODEL)
        network.heal()
        await asyncio.sleep(90)  # the longest that two sides wait before they dial again by then
        for node in nodes:
            assert len(node.network.links.sessions) == len(nodes) - 1
            assert (await node.ask()).is_whole


@virtual_time
async def test_a_node_that_restarts_joins_through_those_it_remembers_although_the_boot_node_is_gone() -> None:
    network = MemoryNetwork(seed=7)
    boot, ada, bob = make(network, 3, CLOSED)
    await bob.serve_demo()
    for guest in (ada, bob):
        boot.network.want([guest.transport.address()])
        guest.network.want([boot.transport.address()])
    async with running(bob):
        async with running(boot, ada):
            await asyncio.sleep(10)
            assert bob.id in ada.network.links.sessions  # let in by the boot node's word
            assert ada.book is not None
            records, _ = ada.book.take_changes()
        await boot.transport.close()
        await ada.transport.close()
        again = MemoryNode(network.transport(2), CLOSED, PeerBook(records, own=ada.id))
        async with running(again):
            await asyncio.sleep(30)
            assert set(again.network.links.sessions) == {bob.id}
            assert (await again.ask()).is_whole


@virtual_time
async def test_a_stranger_is_not_asked_nor_served_in_a_closed_network() -> None:
    network = MemoryNetwork(seed=8)
    ada, bob = make(network, 2, CLOSED)
    stranger = MemoryNode(network.transport(9))
    await bob.serve_demo()
    await stranger.serve_demo()
    ada.network.want([bob.transport.address()])
    bob.network.want([ada.transport.address()])
    stranger.network.want([ada.transport.address(), bob.transport.address()])
    async with running(ada, bob, stranger):
        await asyncio.sleep(20)
        assert not stranger.network.links.sessions
        assert set(ada.network.links.sessions) == {bob.id}
        assert (await ada.ask()).served_by == bob.id
        assert not stranger.served


@virtual_time
async def test_blocking_a_peer_ends_its_link_at_once_and_unblocking_lets_it_come_back() -> None:
    ada, bob = nodes = make(MemoryNetwork(seed=9), 2)
    await bob.serve_demo()
    introduce(nodes)
    async with running(*nodes):
        await asyncio.sleep(3)
        assert ada.book is not None
        ada.book.block(bob.id, 0)
        ada.network.book_changed()
        await asyncio.sleep(0.5)
        assert not ada.network.links.sessions
        assert not ada.catalog.knows(MODEL)
        await asyncio.sleep(60)
        assert not ada.network.links.sessions
        ada.book.unblock(bob.id)
        ada.network.book_changed()
        await asyncio.sleep(400)  # the other side's longest pause
        assert set(ada.network.links.sessions) == {bob.id}
        assert ada.catalog.knows(MODEL)


@virtual_time
async def test_a_thousand_requests_while_peers_come_and_go_each_end_in_a_whole_answer_or_a_true_error() -> None:
    network = MemoryNetwork(seed=10)
    first, *others = nodes = make(network, 10)
    for other in others:
        await other.serve_demo(200)
    introduce(nodes)
    async with running(first):
        async with asyncio.TaskGroup() as group:
            lives = [group.create_task(_live(network, number, other, first)) for number, other in enumerate(others)]
            await asyncio.sleep(5)
            requests = [group.create_task(_ask_after(first, number * 0.02)) for number in range(1000)]
            tolds = [await request for request in requests]
            for life in lives:
                life.cancel()
        await asyncio.sleep(40)
        assert len(tolds) == 1000
        whole = sum(told.is_whole for told in tolds)
        assert all(told.is_whole or told.error is not None for told in tolds)
        assert whole > 500
        assert first.admission.running == 0
        assert network.open_streams <= 2 * len(nodes)  # the control streams


async def _ask_after(node: MemoryNode, delay_s: float):  # type: ignore[no-untyped-def]  # noqa: ANN202
    await asyncio.sleep(delay_s)
    mode = RaceMode.HEDGE if int(delay_s * 50) % 2 else RaceMode.ALL
    return await node.ask(RaceRule(mode))


async def _live(network: MemoryNetwork, number: int, node: MemoryNode, first: MemoryNode) -> None:
    """Run a while, die, come back; some die without a word."""
    while True:
        task = asyncio.create_task(node.network.run())
        try:
            await asyncio.sleep(3 + number * 1.7)
            if number % 2:
                network.kill(node.id)
        finally:
            task.cancel()
            await asyncio.wait([task])
            await node.transport.close()
        await asyncio.sleep(1)
        node = MemoryNode(network.transport(number + 2))
        await node.serve_demo(200)
        node.network.want([first.transport.address()])


@pytest.mark.parametrize("after_s", [0.01, 0.05, 0.15, 0.25, 0.35, 0.45])
@virtual_time
async def test_an_invite_is_used_although_a_dial_without_it_is_under_way(after_s: float) -> None:
    host, guest = make(MemoryNetwork(seed=9, latency=fixed(0.1)), 2, CLOSED)
    host.invites[token_hash(TOKEN)] = 1
    guest.network.want([host.transport.address()])
    async with running(host, guest):
        await asyncio.sleep(after_s)
        await guest.network.join(host.transport.address(), TOKEN)
        assert set(guest.network.links.sessions) == {host.id}
        await asyncio.sleep(1)
        assert set(host.network.links.sessions) == {guest.id}
    assert host.invites[token_hash(TOKEN)] == 0


@virtual_time
async def test_who_joins_again_is_linked_when_he_is_told_so() -> None:
    host, guest = make(MemoryNetwork(seed=9, latency=fixed(0.1)), 2)
    host.network.want([guest.transport.address()])
    host.invites[token_hash(TOKEN)] = 1
    async with running(host, guest):
        await until(lambda: bool(guest.network.links.sessions))
        before = guest.network.links.sessions[host.id]
        await guest.network.join(host.transport.address(), TOKEN)
        session = guest.network.links.sessions[host.id]
        assert session is not before
        await asyncio.sleep(5)
        assert guest.network.links.sessions == {host.id: session}
        assert guest.book is not None
        record = guest.book.get(host.id)
        assert record is not None
        assert record.membership is MembershipLevel.LISTED


@virtual_time
async def test_whoever_comes_late_into_a_closed_network_meets_all_who_came_before() -> None:
    network = MemoryNetwork(seed=10)
    boot = MemoryNode(network.transport(1))
    guests = [MemoryNode(network.transport(number), CLOSED) for number in range(2, 14)]
    introduce([boot, *guests])
    async with contextlib.AsyncExitStack() as stack:
        for node in (boot, *guests):
            await stack.enter_async_context(running(node))
            await asyncio.sleep(3)
        await asyncio.sleep(30)
        for node in (boot, *guests):
            assert len(node.network.links.sessions) == len(guests)
