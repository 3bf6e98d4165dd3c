"""What a peer tells while the way of its link is not known yet is not lost.

An address in a private network is dialed only if its teller is in that network. Over iroh it takes a moment until the
way of a new link is known, and that is when a peer tells of all nodes that it knows.
"""

import asyncio
import time
from unittest import mock

import pytest

from masa_node.network.gossip.gossip import SLICE
from masa_node.network.gossip.messages import Push, write_message
from masa_node.network.placing import MAX_WAITING, Unplaced
from masa_node.network.transport.interfaces import NodeId, Path, Route
from masa_node.network.transport.memory import MemoryNetwork
from masa_node.network.transport.memory_links import MemoryLink
from tests.network.nodes import MODEL, MemoryNode, introduce, make, running
from tests.security.hostile_peers import advert
from tests.virtual_time import until, virtual_time

ADA, BOB, EVE = (NodeId(letter * 64) for letter in "abe")
KNOWN_AFTER_S = 1.5


@virtual_time
async def test_a_node_in_ones_own_network_is_known_though_the_way_was_not_when_it_was_told_of() -> None:
    nodes = make(MemoryNetwork(seed=2), 3)
    teller, told_of, newcomer = nodes
    await told_of.serve_demo()
    introduce(nodes)
    true_path = MemoryLink.path
    async with running(teller, told_of):
        await until(lambda: teller.catalog.knows(MODEL), 5)
        began_s = asyncio.get_running_loop().time()

        def path(link: MemoryLink) -> Path:
            is_known = asyncio.get_running_loop().time() - began_s > KNOWN_AFTER_S
            return true_path(link) if is_known else Path(Route.UNKNOWN, "", None)

        with mock.patch.object(MemoryLink, "path", path):
            async with running(newcomer):
                await asyncio.sleep(KNOWN_AFTER_S)
                assert newcomer.network.gossip.advert_of(told_of.id) is not None
                assert not newcomer.catalog.knows(MODEL)
                await until(lambda: newcomer.catalog.knows(MODEL), 3)


def adverts_of_neighbours(node: MemoryNode, count: int = 3 * SLICE) -> tuple[list[NodeId], bytes]:
    """A message about so many nodes in `10.0.0.0/8`, which is taken in slices."""
    keys = [node.transport.network.keys(1_000 + number) for number in range(count)]
    signed = (
        advert(each, 1, time.time(), addresses=(f"10.7.0.{number + 1}:4433",)) for number, each in enumerate(keys)
    )
    return [each.node_id for each in keys], write_message(Push(tuple(signed), is_news=False))


def whose_address_is_known(node: MemoryNode, node_ids: list[NodeId]) -> int:
    return sum(bool(record and record.addresses) for record in map(node.network.book.get, node_ids))


async def others_turn(node: MemoryNode, peer: NodeId) -> None:
    """That peer says something meanwhile, and this node looks what is to be sent."""
    own = node.network.gossip.advert_of(peer)
    assert own is not None
    for _ in node.network.gossip_came(peer, write_message(Push((own.signed,)))):
        pass
    await asyncio.sleep(2)


@pytest.mark.parametrize("is_near", [True, False])
@virtual_time
async def test_what_is_taken_in_slices_was_told_by_its_teller_whoever_speaks_meanwhile(*, is_near: bool) -> None:
    """Else the address of a machine behind the firewall, which a far peer told of, counts as a neighbour's word."""
    network = MemoryNetwork(seed=2)
    node, near = make(network, 2)
    far = MemoryNode(network.transport(9, ("8.8.8.8:9",)))
    introduce((node, near, far))
    async with running(node, near, far):
        await until(lambda: len(node.network.links.sessions) == 2, 5)
        await asyncio.sleep(2)
        told_of, message = adverts_of_neighbours(node)
        teller, other = (near, far) if is_near else (far, near)
        taking = node.network.gossip_came(teller.id, message)
        next(taking)
        await others_turn(node, other.id)
        for _ in taking:
            await others_turn(node, other.id)
        assert all(node.network.gossip.advert_of(each) is not None for each in told_of)
        assert whose_address_is_known(node, told_of) == is_near * len(told_of)


def test_each_is_placed_once_by_who_told_of_it_last_and_those_of_a_teller_that_went_are_forgotten() -> None:
    unplaced = Unplaced()
    unplaced.note(ADA, told_by=BOB)
    unplaced.note(ADA, told_by=EVE)
    unplaced.note(BOB, told_by=EVE)
    ways: dict[NodeId, str] = {EVE: ""}
    assert unplaced.placed(ways.get) == []
    ways[EVE] = "10.0.0.1:1"
    assert unplaced.placed(ways.get) == [(ADA, "10.0.0.1:1"), (BOB, "10.0.0.1:1")]
    assert unplaced.placed(ways.get) == []
    unplaced.note(ADA, told_by=BOB)
    assert unplaced.placed(ways.get) == []
    ways[BOB] = "10.0.0.2:1"
    assert unplaced.placed(ways.get) == []


def test_no_more_wait_than_a_node_knows() -> None:
    unplaced = Unplaced()
    for number in range(MAX_WAITING + 5):
        unplaced.note(NodeId(str(number)), told_by=EVE)
    assert [node_id for node_id, _ in unplaced.placed(lambda _: "10.0.0.1:1")][:1] == ["5"]
    assert unplaced.placed(lambda _: "10.0.0.1:1") == []
