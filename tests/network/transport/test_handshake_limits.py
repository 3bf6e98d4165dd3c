from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from masa_node.network.transport.handshake_limits import (
    MAX_HANDSHAKES,
    MAX_HANDSHAKES_PER_SUBNET,
    MAX_LINKS_PER_SUBNET,
    MAX_TAKEN_LINKS,
    UNPROVEN_HANDSHAKES,
    Decision,
    HandshakeLimits,
)


def knock(arrivals: HandshakeLimits, subnet: str) -> Decision:
    verdict = arrivals.decide(subnet)
    if verdict in (Decision.ACCEPT, Decision.RETRY):
        arrivals.begun(subnet)
    return verdict


def test_who_begins_handshakes_for_ever_keeps_nobody_else_out() -> None:
    arrivals = HandshakeLimits()
    verdicts = Counter(knock(arrivals, "hostile") for _ in range(10_000))
    assert verdicts[Decision.IGNORE] == 10_000 - MAX_HANDSHAKES_PER_SUBNET
    assert knock(arrivals, "other") in (Decision.ACCEPT, Decision.RETRY)


def test_a_crowd_proves_its_addresses_and_then_has_to_wait() -> None:
    arrivals = HandshakeLimits()
    verdicts = [knock(arrivals, f"subnet {number}") for number in range(MAX_HANDSHAKES + 10)]
    assert verdicts[:UNPROVEN_HANDSHAKES] == [Decision.ACCEPT] * UNPROVEN_HANDSHAKES
    assert set(verdicts[UNPROVEN_HANDSHAKES:MAX_HANDSHAKES]) == {Decision.RETRY}
    assert verdicts[MAX_HANDSHAKES:] == [Decision.IGNORE] * 10


def test_one_subnet_cannot_take_all_links() -> None:
    arrivals = HandshakeLimits()
    for _ in range(MAX_LINKS_PER_SUBNET):
        assert knock(arrivals, "office") is Decision.ACCEPT
        arrivals.ended("office")
        arrivals.linked("office")
    assert knock(arrivals, "office") is Decision.REFUSE
    assert knock(arrivals, "other") is Decision.ACCEPT
    arrivals.unlinked("office")
    assert knock(arrivals, "office") is Decision.ACCEPT


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["knock", "fail", "link", "leave"]))))
def test_what_is_held_is_what_came_and_did_not_go(events: list[tuple[str, str]]) -> None:
    arrivals = HandshakeLimits()
    shaking: Counter[str] = Counter()
    linked: Counter[str] = Counter()
    for subnet, event in events:
        if event == "knock" and knock(arrivals, subnet) in (Decision.ACCEPT, Decision.RETRY):
            shaking[subnet] += 1
        elif event in ("fail", "link") and shaking[subnet]:
            arrivals.ended(subnet)
            shaking[subnet] -= 1
            if event == "link":
                arrivals.linked(subnet)
                linked[subnet] += 1
        elif event == "leave" and linked[subnet]:
            arrivals.unlinked(subnet)
            linked[subnet] -= 1
    handshakes, links = arrivals.by_subnet()
    assert (handshakes, links) == (+shaking, +linked)
    assert arrivals.counts() == (shaking.total(), linked.total())
    assert arrivals.counts().links <= MAX_TAKEN_LINKS
    assert all(count > 0 for count in (*handshakes.values(), *links.values()))
