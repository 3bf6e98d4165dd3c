from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from masa_node.network.transport.handshake_limits import (
    MAX_HANDSHAKES,
    MAX_HANDSHAKES_PER_CUSTOMER,
    MAX_HANDSHAKES_PER_SITE,
    MAX_LINKS_PER_CUSTOMER,
    MAX_LINKS_PER_SITE,
    MAX_TAKEN_LINKS,
    UNPROVEN_HANDSHAKES,
    Decision,
    HandshakeLimits,
)
from masa_node.network.transport.sources import Source


def knock(arrivals: HandshakeLimits, customer: str, site: str = "") -> Decision:
    source = Source(site or f"around {customer}", customer)
    verdict = arrivals.decide(source)
    if verdict in (Decision.ACCEPT, Decision.RETRY):
        arrivals.begun(source)
    return verdict


def linked(arrivals: HandshakeLimits, customer: str, site: str) -> None:
    source = Source(site, customer)
    arrivals.ended(source)
    arrivals.linked(source)


def test_who_begins_handshakes_for_ever_keeps_nobody_else_out() -> None:
    arrivals = HandshakeLimits()
    verdicts = Counter(knock(arrivals, "hostile") for _ in range(10_000))
    assert verdicts[Decision.IGNORE] == 10_000 - MAX_HANDSHAKES_PER_CUSTOMER
    assert knock(arrivals, "other") in (Decision.ACCEPT, Decision.RETRY)


def test_a_crowd_proves_its_addresses_and_then_has_to_wait() -> None:
    arrivals = HandshakeLimits()
    verdicts = [knock(arrivals, f"customer {number}") for number in range(MAX_HANDSHAKES + 10)]
    assert verdicts[:UNPROVEN_HANDSHAKES] == [Decision.ACCEPT] * UNPROVEN_HANDSHAKES
    assert set(verdicts[UNPROVEN_HANDSHAKES:MAX_HANDSHAKES]) == {Decision.RETRY}
    assert verdicts[MAX_HANDSHAKES:] == [Decision.IGNORE] * 10


def test_one_customer_cannot_take_all_links() -> None:
    arrivals = HandshakeLimits()
    for _ in range(MAX_LINKS_PER_CUSTOMER):
        assert knock(arrivals, "office", "town") is Decision.ACCEPT
        linked(arrivals, "office", "town")
    assert knock(arrivals, "office", "town") is Decision.REFUSE
    assert knock(arrivals, "other", "town") is Decision.ACCEPT
    arrivals.unlinked(Source("town", "office"))
    assert knock(arrivals, "office", "town") is Decision.ACCEPT


def test_a_site_with_many_customers_cannot_take_all_links_nor_all_handshakes() -> None:
    arrivals = HandshakeLimits()
    verdicts = Counter(knock(arrivals, f"customer {number}", "town") for number in range(10_000))
    assert verdicts[Decision.IGNORE] == 10_000 - MAX_HANDSHAKES_PER_SITE
    assert knock(arrivals, "other") is Decision.RETRY
    arrivals = HandshakeLimits()
    for number in range(MAX_LINKS_PER_SITE):
        assert knock(arrivals, f"customer {number}", "town") is Decision.ACCEPT
        linked(arrivals, f"customer {number}", "town")
    assert knock(arrivals, "one more", "town") is Decision.REFUSE
    assert knock(arrivals, "other") is Decision.ACCEPT


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["knock", "fail", "link", "leave"]))))
def test_what_is_held_is_what_came_and_did_not_go(events: list[tuple[str, str]]) -> None:
    arrivals = HandshakeLimits()
    shaking: Counter[Source] = Counter()
    standing: Counter[Source] = Counter()
    for customer, event in events:
        source = Source(f"site {customer in 'abc'}", customer)
        if event == "knock" and knock(arrivals, customer, source.site) in (Decision.ACCEPT, Decision.RETRY):
            shaking[source] += 1
        elif event in ("fail", "link") and shaking[source]:
            arrivals.ended(source)
            shaking[source] -= 1
            if event == "link":
                arrivals.linked(source)
                standing[source] += 1
        elif event == "leave" and standing[source]:
            arrivals.unlinked(source)
            standing[source] -= 1
    assert arrivals.by_network() == (by_network(shaking), by_network(standing))
    assert arrivals.counts() == (shaking.total(), standing.total())
    assert arrivals.counts().links <= MAX_TAKEN_LINKS
    assert all(count > 0 for counts in arrivals.by_network() for count in counts.values())


def by_network(sources: Counter[Source]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for source, count in sources.items():
        counts.update({source.site: count, source.customer: count})
    return +counts
