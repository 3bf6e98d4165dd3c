from masa_node.network.transport.interfaces import NodeId
from masa_node.node.no_stakes import NoStakes
from masa_node.node.views import STAKING_OFF
from tests.routing.scripted import ScriptedPeer

PEER = NodeId("ab" * 32)


async def test_every_peer_may_be_asked_and_served_and_none_goes_first() -> None:
    peers, stakes = [ScriptedPeer("a"), ScriptedPeer("b")], NoStakes()
    assert [peer for group in stakes.select(peers).groups for peer in group] == peers
    await stakes.refresh(peers)
    await stakes.vet(PEER)
    assert stakes.is_vetted(PEER)
    assert {stakes.rank(PEER), stakes.rank("")} == {0}


def test_it_says_that_stakes_are_off_and_counts_nobody() -> None:
    stakes = NoStakes()
    assert stakes.summary == stakes.view().staking == STAKING_OFF
    assert stakes.row(PEER) is None
    assert (*stakes.answers, stakes.linked_with("staked")) == (0.0,)
