import itertools

from hypothesis import given
from hypothesis import strategies as st

from masa_node.network.links.peer_record import (
    SEEN_STEP_S,
    MembershipLevel,
    heard_of,
    is_weaker,
    last_use,
    new_record,
    seen_at,
    with_address,
    worked_at,
)
from masa_node.network.transport.interfaces import MAX_ADDRESSES, NodeId, PeerAddress

BOB = NodeId("b" * 64)
AT = 1_795_389_247.5


def told(*direct: str, relay_url: str | None = None) -> PeerAddress:
    return PeerAddress(BOB, direct, relay_url)


def test_seen_again_within_ten_minutes_changes_nothing() -> None:
    record = new_record(BOB, MembershipLevel.HEARD, AT)
    assert seen_at(record, AT + SEEN_STEP_S - 1) is record
    assert seen_at(record, AT + SEEN_STEP_S).last_seen_at_unix_s == int(AT) + SEEN_STEP_S


def test_an_address_that_worked_stays_first_whatever_others_tell() -> None:
    worked = worked_at(new_record(BOB, MembershipLevel.INVITED, AT), told("192.0.2.1:1"))
    linked = type(worked)(BOB, worked.membership, worked.addresses, last_linked_at_unix_s=int(AT))
    assert with_address(linked, told("198.51.100.1:1"), "").addresses == ("192.0.2.1:1", "198.51.100.1:1")


def test_one_that_only_was_told_gives_way_to_what_is_told_next() -> None:
    record = with_address(new_record(BOB, MembershipLevel.HEARD, AT), told("192.0.2.1:1"), "bob")
    assert with_address(record, told("192.0.2.2:2"), "").addresses == ("192.0.2.2:2", "192.0.2.1:1")


@given(
    st.lists(st.text(max_size=70) | st.sampled_from(["192.0.2.1:1", "192.0.2.2:2"]), max_size=12),
    st.none() | st.text(max_size=300) | st.sampled_from(["https://relay.example", "https://" + "r" * 300]),
    st.text(max_size=80),
)
def test_one_heard_of_for_the_first_time_is_as_one_that_was_known_without_an_address(
    direct: list[str], relay_url: str | None, name: str
) -> None:
    address = told(*direct, relay_url=relay_url)
    assert heard_of(address, name, AT) == with_address(new_record(BOB, MembershipLevel.HEARD, AT), address, name)


def test_names_and_relays_that_nobody_could_show_are_as_if_they_were_not_told() -> None:
    record = with_address(new_record(BOB, MembershipLevel.HEARD, AT), told(relay_url="https://relay.example"), "bob")
    again = with_address(record, told(relay_url="https://" + "r" * 300), "bo\x1b[31mb")
    assert (again.relay_url, again.name) == ("https://relay.example", "bob")


def test_too_many_addresses_cost_those_that_worked_before_and_not_those_that_were_told() -> None:
    old = tuple(f"192.0.2.1:{port}" for port in range(1, MAX_ADDRESSES + 1))
    record = with_address(new_record(BOB, MembershipLevel.HEARD, AT), told(*old), "")
    assert worked_at(record, told("192.0.2.1:9999")).addresses == ("192.0.2.1:9999", *old[1:])


def test_of_a_member_counts_when_it_was_linked_and_of_others_when_they_were_seen() -> None:
    heard, member = (
        type(new_record(BOB, level, AT))(BOB, level, last_seen_at_unix_s=9, last_linked_at_unix_s=5)
        for level in (MembershipLevel.HEARD, MembershipLevel.LISTED)
    )
    assert (last_use(heard), last_use(member)) == (9, 5)


def test_levels_are_in_order_and_an_unknown_peer_is_weakest() -> None:
    levels = list(MembershipLevel)
    assert all(is_weaker(None, level) for level in levels)
    assert all(is_weaker(one, other) for one, other in itertools.pairwise(levels))
    assert not is_weaker(MembershipLevel.OPEN, MembershipLevel.OPEN)
