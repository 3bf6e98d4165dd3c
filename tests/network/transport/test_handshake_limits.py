from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from masa_node.network.transport.handshake_limits import (
    MAX_HANDSHAKES,
    MAX_HANDSHAKES_PER_SITE,
    MAX_LINKS,
    MAX_LINKS_PER_SITE,
    UNPROVEN_HANDSHAKES,
    Arrivals,
    Verdict,
)


def knock(arrivals: Arrivals, site: str) -> Verdict:
    verdict = arrivals.verdict(site)
    if verdict in (Verdict.SHAKE, Verdict.PROVE):
        arrivals.begun(site)
    return verdict


def test_who_begins_handshakes_for_ever_keeps_nobody_else_out() -> None:
    arrivals = Arrivals()
    verdicts = Counter(knock(arrivals, "hostile") for _ in range(10_000))
    assert verdicts[Verdict.LATER] == 10_000 - MAX_HANDSHAKES_PER_SITE
    assert knock(arrivals, "other") in (Verdict.SHAKE, Verdict.PROVE)


def test_a_crowd_proves_its_addresses_and_then_has_to_wait() -> None:
    arrivals = Arrivals()
    verdicts = [knock(arrivals, f"site {number}") for number in range(MAX_HANDSHAKES + 10)]
    assert verdicts[:UNPROVEN_HANDSHAKES] == [Verdict.SHAKE] * UNPROVEN_HANDSHAKES
    assert set(verdicts[UNPROVEN_HANDSHAKES:MAX_HANDSHAKES]) == {Verdict.PROVE}
    assert verdicts[MAX_HANDSHAKES:] == [Verdict.LATER] * 10


def test_one_site_cannot_take_all_links() -> None:
    arrivals = Arrivals()
    for _ in range(MAX_LINKS_PER_SITE):
        assert knock(arrivals, "office") is Verdict.SHAKE
        arrivals.ended("office")
        arrivals.linked("office")
    assert knock(arrivals, "office") is Verdict.NO
    assert knock(arrivals, "other") is Verdict.SHAKE
    arrivals.unlinked("office")
    assert knock(arrivals, "office") is Verdict.SHAKE


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["knock", "fail", "link", "leave"]))))
def test_what_is_held_is_what_came_and_did_not_go(events: list[tuple[str, str]]) -> None:
    arrivals = Arrivals()
    shaking: Counter[str] = Counter()
    linked: Counter[str] = Counter()
    for site, event in events:
        if event == "knock" and knock(arrivals, site) in (Verdict.SHAKE, Verdict.PROVE):
            shaking[site] += 1
        elif event in ("fail", "link") and shaking[site]:
            arrivals.ended(site)
            shaking[site] -= 1
            if event == "link":
                arrivals.linked(site)
                linked[site] += 1
        elif event == "leave" and linked[site]:
            arrivals.unlinked(site)
            linked[site] -= 1
    assert arrivals._handshakes == +shaking
    assert arrivals._links == +linked
    assert (arrivals._under_way, arrivals._linked) == (shaking.total(), linked.total())
    assert arrivals._linked <= MAX_LINKS
    assert all(count > 0 for count in (*arrivals._handshakes.values(), *arrivals._links.values()))
