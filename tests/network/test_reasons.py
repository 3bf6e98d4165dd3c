from masa_node.network.reasons import MAX_REASONS, UNKNOWN, Reason, Reasons
from masa_node.network.transport.interfaces import NodeId

ADA, BOB = NodeId("a" * 64), NodeId("b" * 64)


def test_the_last_reason_counts_until_the_peer_is_linked() -> None:
    reasons = Reasons()
    reasons.note(ADA, "no connection.", "peer_unreachable")
    reasons.note(ADA, "it is blocked.", "blocked")
    assert reasons.of(ADA) == Reason("blocked", "it is blocked.")
    assert reasons.of(BOB) is UNKNOWN
    reasons.forget(ADA)
    assert reasons.of(ADA) is UNKNOWN


def test_as_many_are_kept_as_are_shown_the_newest_of_them() -> None:
    reasons = Reasons()
    peers = [NodeId(f"{number:064x}") for number in range(MAX_REASONS + 1)]
    for peer in peers:
        reasons.note(peer, "gone.")
    assert reasons.of(peers[0]) is UNKNOWN
    assert reasons.of(peers[-1]).words == "gone."
