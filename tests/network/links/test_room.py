"""Whose link goes for a newcomer: weaker members' first, then the longest idle, and no origin gains by making keys."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.network.links.peer_record import MembershipLevel, is_weaker
from masa_node.network.links.room import Newcomer, TakenLink, has_spare_room, link_that_goes
from masa_node.network.transport.sources import networks_of

OPEN, VOUCHED, INVITED = MembershipLevel.OPEN, MembershipLevel.VOUCHED, MembershipLevel.INVITED


def link(origin: str, used_s: float = 0.0, level: MembershipLevel | None = OPEN, *, may_go: bool = True) -> TakenLink:
    return TakenLink(level, (origin,), used_s, may_go)


def at(address: str, used_s: float = 0.0) -> TakenLink:
    return TakenLink(OPEN, networks_of(address), used_s, may_go=True)


def new(origin: str, level: MembershipLevel = OPEN, *, is_spare: bool = False) -> Newcomer:
    return Newcomer(level, (origin,), is_spare)


def test_the_longest_idle_goes_for_one_that_wants_to_ask() -> None:
    links = [link("a", 3), link("b", 1), link("c", 2), link("d", 0, may_go=False)]
    assert link_that_goes(links, new("new")) == 1


def test_none_goes_for_one_that_can_do_without() -> None:
    assert link_that_goes([link("a")], new("new", is_spare=True)) is None


def test_none_goes_where_all_are_in_use() -> None:
    assert link_that_goes([link("a", may_go=False)] * 3, new("new")) is None


def test_a_stronger_or_weaker_one_is_no_equal() -> None:
    assert link_that_goes([link("a", level=INVITED), link("b", level=VOUCHED)], new("new")) is None
    assert link_that_goes([link("a", level=INVITED)], new("new", INVITED)) == 0
    assert link_that_goes([link("a", level=None)], new("new")) is None


def test_members_take_the_oldest_of_strangers_else_the_newest_by_a_voucher_in_use_or_not() -> None:
    links = [link("a", level=VOUCHED), link("b", may_go=False), link("c"), link("d", level=VOUCHED)]
    assert link_that_goes(links, new("new", VOUCHED)) == 1
    assert link_that_goes(links, new("new", INVITED, is_spare=True)) == 1
    members = [each for each in links if each.membership is VOUCHED]
    assert link_that_goes(members, new("new", INVITED)) == 1
    assert link_that_goes(members, new("a", VOUCHED)) == 0, "of its own voucher's"


def test_one_that_makes_keys_exchanges_its_own_once_it_has_as_many_as_any_other_origin() -> None:
    links = [link("honest", 0), link("other", 1), link("keys", 2)]
    assert link_that_goes(links, new("keys")) == 2
    links[2] = link("keys", 2, may_go=False)
    assert link_that_goes(links, new("keys")) is None


@given(st.lists(st.integers(0, 9), min_size=8, max_size=40), st.integers(0, 2**32))
def test_however_many_keys_come_from_one_origin_it_holds_no_more_links_than_the_largest_other(
    origins: list[int], seed: int
) -> None:
    rng = random.Random(seed)  # noqa: S311 - a simulation
    links = [link(f"origin {each}", rng.random()) for each in origins]
    largest = max(origins.count(each) for each in origins)
    for _ in range(200):
        number = link_that_goes(links, new("keys"))
        if number is not None:
            links[number] = link("keys", 1 + rng.random())
    held = sum(each.origin == ("keys",) for each in links)
    assert 0 < held <= max(1, largest)
    assert len({each.origin for each in links}) >= len(set(origins)), "nobody is crowded out"


WHERE = {
    "the /64s of a /48": lambda rng: f"[2001:db8:7:{rng.randrange(1 << 16):x}::1]:7",
    "the /48s of a /32": lambda rng: f"[2001:db8:{rng.randrange(1 << 16):x}::1]:7",
    "the addresses of a /24": lambda rng: f"192.0.2.{rng.randrange(256)}:7",
    "the /24s of a /16": lambda rng: f"198.18.{rng.randrange(256)}.{rng.randrange(256)}:7",
}


@pytest.mark.parametrize("where", WHERE)
def test_whoever_owns_many_networks_of_a_larger_one_takes_no_more_links_than_any_other_has(where: str) -> None:
    rng = random.Random(1)  # noqa: S311 - a simulation
    honest = [at(f"{number}.{number}.0.1:7", rng.random()) for number in range(1, 100)]
    honest += [at(f"[2a{number:02x}:1::1]:7", rng.random()) for number in range(100)]
    honest += [at("9.9.9.9:7"), at("9.9.8.8:7"), TakenLink(OPEN, ("https://relay.example/",), 0.0, may_go=True)]
    links = list(honest)
    for _ in range(1_000):
        address = WHERE[where](rng)
        number = link_that_goes(links, Newcomer(OPEN, networks_of(address)))
        if number is not None:
            links[number] = at(address, 1 + rng.random())
    taken = len([each for each in links if each not in honest])
    assert 0 < taken <= 3, "as many as the largest other network has"


def test_one_customer_of_a_site_takes_no_place_of_another_one_there() -> None:
    links = [at("[2001:db8:7:1::1]:7"), at("[2001:db8:7:2::1]:7", 1), at("[2001:db8:7:2::2]:7", 2)]
    assert link_that_goes(links, Newcomer(OPEN, networks_of("[2001:db8:7:1::9]:7"))) == 0, "its own"
    assert link_that_goes(links[:2], Newcomer(OPEN, networks_of("[2001:db8:7:2::9]:7"))) == 1, "its own"
    assert link_that_goes(links[1:], Newcomer(OPEN, networks_of("[2001:db8:7:3::9]:7"))) == 0, "of one that has two"


@given(
    st.lists(st.sampled_from([None, OPEN, VOUCHED, INVITED]), max_size=20), st.sampled_from([OPEN, VOUCHED, INVITED])
)
def test_what_goes_is_never_stronger_than_the_newcomer(
    levels: list[MembershipLevel | None], newcomer: MembershipLevel
) -> None:
    number = link_that_goes([link("a", level=level) for level in levels], new("a", newcomer))
    if number is not None:
        assert levels[number] is newcomer or is_weaker(levels[number], newcomer)


def test_room_for_spare_links_is_twice_the_random_ones() -> None:
    assert has_spare_room([OPEN, VOUCHED, None, INVITED, INVITED], 2)
    assert not has_spare_room([OPEN, VOUCHED, None, None], 2)
