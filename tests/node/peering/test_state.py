from masa_node.network.transport.interfaces import Route
from masa_node.node.peering.state import Off, Starting


def test_a_node_without_a_network_says_why_and_waits_for_nobody() -> None:
    off = Off("NETWORK=off")
    assert (off.node_id, off.bootnode, off.arriving()) == ("", "", [])
    assert [off.count_linked(route) for route in Route] == [0] * len(Route)
    assert off.own_view() == {"node_id": None, "addresses": [], "relay_url": None}
    assert off.peers_view("off", lambda _peer: None).why == "NETWORK=off"
    assert off.mark() != Starting().mark()


def test_while_it_starts_any_peer_may_still_come() -> None:
    assert Starting().arriving() == ["all of them"]
    assert Starting().own_view() == Off("x").own_view()
