"""What is told of the peers, of nodes over the in-memory network."""

import asyncio

from masa_node.network.links.peer_record import MembershipLevel
from masa_node.network.transport.interfaces import NodeId, PeerAddress
from masa_node.network.transport.memory import MemoryNetwork
from masa_node.node.views import view_of
from tests.network.nodes import introduce, make, running
from tests.virtual_time import virtual_time


@virtual_time
async def test_the_view_tells_by_whose_word_a_peer_is_in() -> None:
    (first,) = make(MemoryNetwork(seed=1), 1)
    host, guest = NodeId("ab" * 32), NodeId("cd" * 32)
    first.network.book.admit(host, MembershipLevel.LISTED, None, 0)
    first.network.book.admit(guest, MembershipLevel.VOUCHED, None, 0, host)
    rows = {row.id: row for row in view_of(first.network, "off", lambda _: None).peers}
    assert (rows[host].vouched_by, rows[guest].vouched_by) == (None, host)


@virtual_time
async def test_a_peer_that_was_never_linked_was_never_seen() -> None:
    first, other = nodes = make(MemoryNetwork(seed=1), 2)
    absent = NodeId("ab" * 32)
    introduce(nodes)
    async with running(*nodes):
        first.network.want([PeerAddress(absent, ("127.0.0.1:1",))])
        await asyncio.sleep(30)  # a dial into the void takes long
        rows = {row.id: row for row in view_of(first.network, "off", lambda _: None).peers}
    assert (rows[other.id].connected, rows[absent].connected) == (True, False)
    assert rows[other.id].last_seen_at_unix_s is not None
    assert rows[absent].last_seen_at_unix_s is None
    assert rows[absent].error
