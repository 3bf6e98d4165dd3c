"""Joining by invite: once, twice, and with one that is spent. Over the in-memory network.

Covers: `network`, `links.control`, `links.session`.
"""

import asyncio

import pytest
from structlog.testing import capture_logs

from masa_node.chat.errors import LinkLost, LinkRefused
from masa_node.network.links.invites import token_hash
from masa_node.network.transport.interfaces import PeerAddress
from masa_node.network.transport.memory import MemoryNetwork
from tests.network.nodes import CLOSED, MemoryNode, introduce, make, running
from tests.virtual_time import now_s, until, virtual_time

TOKEN = bytes(range(16))


def host_and_guest(uses: int) -> tuple[MemoryNode, MemoryNode]:
    """Two nodes that do not know each other; the first gave an invite."""
    host, guest = make(MemoryNetwork(seed=1), 2, CLOSED)
    host.invites[token_hash(TOKEN)] = uses
    return host, guest


@virtual_time
async def test_who_joins_by_an_invite_is_linked() -> None:
    host, guest = host_and_guest(uses=1)
    async with running(host, guest):
        await asyncio.sleep(0.1)
        await guest.network.join(host.transport.address(), TOKEN)
        await asyncio.sleep(1)
        assert set(host.network.links.sessions) == {guest.id}


@virtual_time
async def test_joining_again_leaves_the_link_and_what_runs_over_it_alone() -> None:
    host, guest = host_and_guest(uses=1)
    async with running(host, guest):
        await asyncio.sleep(0.1)
        await guest.network.join(host.transport.address(), TOKEN)
        await asyncio.sleep(60)
        before = guest.network.links.sessions[host.id]
        await guest.network.join(host.transport.address(), TOKEN)
        await asyncio.sleep(1)
        assert guest.network.links.sessions[host.id] is before
        assert not before.why


@virtual_time
async def test_a_spent_invite_leaves_nothing_behind() -> None:
    host, guest = host_and_guest(uses=0)
    async with running(host, guest):
        await asyncio.sleep(0.1)
        with pytest.raises(LinkRefused, match="used up"):
            await guest.network.join(host.transport.address(), TOKEN)
        await asyncio.sleep(5)  # the host tells of this once
        with capture_logs() as lines:
            await asyncio.sleep(3600)
    assert guest.network.book.get(host.id) is None
    assert [line for line in lines if line["event"] == "peer refused"] == []


@virtual_time
async def test_a_member_that_was_known_before_stays_so_when_an_invite_is_spent() -> None:
    host, guest = host_and_guest(uses=0)
    guest.network.want([host.transport.address()])
    async with running(host, guest):
        await asyncio.sleep(0.1)
        with pytest.raises(LinkRefused):
            await guest.network.join(host.transport.address(), TOKEN)
        await asyncio.sleep(1)
    assert guest.network.book.is_member(host.id)


@virtual_time
async def test_nobody_is_warned_when_two_nodes_dial_each_other_at_once() -> None:
    nodes = make(MemoryNetwork(seed=5), 4)
    introduce(nodes)
    introduce(nodes[::-1])
    with capture_logs() as lines:
        async with running(*nodes):
            await asyncio.sleep(30)
            assert all(len(node.network.links.sessions) == 3 for node in nodes)
    assert [line for line in lines if line["log_level"] == "warning"] == []


@virtual_time
async def test_a_peer_that_has_no_room_after_all_is_not_joined() -> None:
    """It welcomes this node, and closes the link when its book takes no more."""
    host, guest = host_and_guest(uses=1)
    async with running(host, guest):
        await asyncio.sleep(0.1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(host.network.book, "admit", lambda *_, **__: False)
            with pytest.raises(LinkLost, match="as many peers as it keeps"):
                await guest.network.join(host.transport.address(), TOKEN)


@virtual_time
async def test_a_relay_that_a_peer_uses_is_known_of_it_only_where_this_node_uses_it_too() -> None:
    first, same, other = nodes = make(MemoryNetwork(seed=1), 3)
    await first.transport.use_relay("https://relay.example.org./")
    await same.transport.use_relay("https://relay.example.org")
    for node in (same, other):  # without the relay: that would be the owner's own word
        node.network.want([PeerAddress(first.id, first.transport.address().direct)])
    async with running(*nodes):
        await asyncio.sleep(3)
        records = [node.network.book.get(first.id) for node in (same, other)]
    assert [record.relay_url if record else None for record in records] == ["https://relay.example.org./", None]


@virtual_time
async def test_a_peer_is_dialed_at_once_when_what_kept_it_away_may_be_over() -> None:
    network = MemoryNetwork(seed=1)
    first, other = make(network, 2)
    introduce([first, other])
    async with running(other):
        await asyncio.sleep(600)
        assert other.network.book.retries[first.id].not_before_s > now_s() + 60
        async with running(first):
            other.network.dial_again()
            began_s = now_s()
            await until(lambda: first.id in other.network.links.sessions)
            assert now_s() - began_s < 3
