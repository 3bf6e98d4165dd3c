"""Whose link goes for a newcomer: weaker members' first, then the longest idle, and no origin gains by making keys."""

import random

from hypothesis import given
from hypothesis import strategies as st

from masa_node.network.links.peer_record import MembershipLevel, is_weaker
from masa_node.network.links.room import Newcomer, TakenLink, has_spare_room, link_that_goes

OPEN, VOUCHED, INVITED = MembershipLevel.OPEN, MembershipLevel.VOUCHED, MembershipLevel.INVITED


def link(origin: str, used_s: float = 0.0, level: MembershipLevel | None = OPEN, *, may_go: bool = True) -> TakenLink:
    return TakenLink(level, origin, used_s, may_go)


def test_the_longest_idle_goes_for_one_that_wants_to_ask() -> None:
    links = [link("a", 3), link("b", 1), link("c", 2), link("d", 0, may_go=False)]
    assert link_that_goes(links, Newcomer(OPEN, "new")) == 1


def test_none_goes_for_one_that_can_do_without() -> None:
    assert link_that_goes([link("a")], Newcomer(OPEN, "new", is_spare=True)) is None


def test_none_goes_where_all_are_in_use() -> None:
    assert link_that_goes([link("a", may_go=False)] * 3, Newcomer(OPEN, "new")) is None


def test_a_stronger_or_weaker_one_is_no_equal() -> None:
    assert link_that_goes([link("a", level=INVITED), link("b", level=VOUCHED)], Newcomer(OPEN, "new")) is None
    assert link_that_goes([link("a", level=INVITED)], Newcomer(INVITED, "new")) == 0
    assert link_that_goes([link("a", level=None)], Newcomer(OPEN, "new")) is None


def test_members_take_the_oldest_of_strangers_else_the_newest_by_a_voucher_in_use_or_not() -> None:
    links = [link("a", level=VOUCHED), link("b", may_go=False), link("c"), link("d", level=VOUCHED)]
    assert link_that_goes(links, Newcomer(VOUCHED, "new")) == 1
    assert link_that_goes(links, Newcomer(INVITED, "new", is_spare=True)) == 1
    members = [each for each in links if each.membership is VOUCHED]
    assert link_that_goes(members, Newcomer(INVITED, "new")) == 1
    assert link_that_goes(members, Newcomer(VOUCHED, "a")) == 0, "of its own voucher's"


def test_one_that_makes_keys_exchanges_its_own_once_it_has_as_many_as_any_other_origin() -> None:
    links = [link("honest", 0), link("other", 1), link("keys", 2)]
    assert link_that_goes(links, Newcomer(OPEN, "keys")) == 2
    links[2] = link("keys", 2, may_go=False)
    assert link_that_goes(links, Newcomer(OPEN, "keys")) is None


@given(st.lists(st.integers(0, 9), min_size=8, max_size=40), st.integers(0, 2**32))
def test_however_many_keys_come_from_one_origin_it_holds_no_more_links_than_the_largest_other(
    origins: list[int], seed: int
) -> None:
    rng = random.Random(seed)  # noqa: S311 - a simulation
    links = [link(f"origin {each}", rng.random()) for each in origins]
    largest = max(origins.count(each) for each in origins)
    for _ in range(200):
        number = link_that_goes(links, Newcomer(OPEN, "keys"))
        if number is not None:
            links[number] = link("keys", 1 + rng.random())
    held = sum(each.origin == "keys" for each in links)
    assert 0 < held <= max(1, largest)
    assert len({each.origin for each in links}) >= len(set(origins)), "nobody is crowded out"


@given(
    st.lists(st.sampled_from([None, OPEN, VOUCHED, INVITED]), max_size=20), st.sampled_from([OPEN, VOUCHED, INVITED])
)
def test_what_goes_is_never_stronger_than_the_newcomer(
    levels: list[MembershipLevel | None], newcomer: MembershipLevel
) -> None:
    number = link_that_goes([link("a", level=level) for level in levels], Newcomer(newcomer, "a"))
    if number is not None:
        assert levels[number] is newcomer or is_weaker(levels[number], newcomer)


def test_room_for_spare_links_is_twice_the_random_ones() -> None:
    assert has_spare_room([OPEN, VOUCHED, None, INVITED, INVITED], 2)
    assert not has_spare_room([OPEN, VOUCHED, None, None], 2)
