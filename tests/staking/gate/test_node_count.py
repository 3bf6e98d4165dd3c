"""How many nodes an owner has: it counts what is proven, for as long as it matters, and within bounds."""

from hypothesis import given
from hypothesis import strategies as st

from masa_node.staking.delegation import MAX_CLOCK_SKEW_S, Delegation
from masa_node.staking.ethereum.crypto import Address
from masa_node.staking.gate.node_count import MAX_KEYS, MAX_KEYS_PER_OWNER, SEEN_FOR_S, NodeCounter
from tests.staking.delegations import AT, DAY_S, DOMAIN

X, Y = Address("0xX"), Address("0xY")


def of(owner: Address, number: int, *, epoch: int = 0, not_after: int = AT + DAY_S) -> Delegation:
    return Delegation(owner, (number + 1).to_bytes(32), epoch, AT - DAY_S, not_after, DOMAIN)


def test_each_key_counts_once_and_for_its_owner_only() -> None:
    seen = NodeCounter()
    assert [seen.saw(of(X, number), AT) for number in (1, 2, 1, 2)] == [True, True, False, False]
    assert seen.saw(of(Y, 1), AT)
    assert (seen.count(X, 0, AT), seen.count(Y, 0, AT), seen.count(Address("0xZ"), 0, AT)) == (2, 1, 0)


def test_a_key_counts_for_an_hour_after_it_was_last_seen() -> None:
    seen = NodeCounter()
    seen.saw(of(X, 1), AT)
    seen.saw(of(X, 1), AT + 100)
    assert seen.count(X, 0, AT + 100 + SEEN_FOR_S - 1) == 1
    assert seen.count(X, 0, AT + 100 + SEEN_FOR_S) == 0
    assert seen.saw(of(X, 1), AT + 100 + SEEN_FOR_S)  # it is news again
    assert seen.count(X, 0, AT + 100 + SEEN_FOR_S) == 1


def test_a_count_is_renewed_after_a_second_though_nothing_is_seen() -> None:
    seen = NodeCounter()
    seen.saw(of(X, 1), AT)
    assert seen.count(X, 0, AT + SEEN_FOR_S - 0.5) == 1
    assert seen.count(X, 0, AT + SEEN_FOR_S + 0.6) == 0


def test_a_revoked_key_does_not_count() -> None:
    seen = NodeCounter()
    seen.saw(of(X, 1, epoch=0), AT)
    seen.saw(of(X, 2, epoch=1), AT)
    assert [seen.count(X, epoch, AT) for epoch in (0, 1, 2)] == [2, 1, 0]
    assert seen.saw(of(X, 1, epoch=1), AT)
    assert seen.count(X, 1, AT) == 2
    assert not seen.saw(of(X, 1, epoch=0), AT)  # an old delegation shown again does not hide the newer one
    assert seen.count(X, 1, AT) == 2


def test_a_key_whose_delegation_ended_does_not_count() -> None:
    seen = NodeCounter()
    seen.saw(of(X, 1, not_after=AT + 100), AT)
    assert seen.count(X, 0, AT + 99 + MAX_CLOCK_SKEW_S) == 1
    assert seen.count(X, 0, AT + 100 + MAX_CLOCK_SKEW_S) == 0


def test_a_short_delegation_shown_last_does_not_hide_a_node() -> None:
    seen = NodeCounter()
    seen.saw(of(X, 1), AT)
    seen.saw(of(X, 1, not_after=AT + 1), AT)
    assert seen.count(X, 0, AT + 1000) == 1


def test_a_key_from_the_future_does_not_count_after_the_clock_was_set_back() -> None:
    seen = NodeCounter()
    seen.saw(of(X, 1, not_after=AT + 30 * DAY_S), AT + DAY_S)
    assert seen.count(X, 0, AT + DAY_S - 4) == 1  # a clock put right by a little
    assert seen.count(X, 0, AT) == 0


def test_the_keys_of_one_owner_are_bounded_and_he_gains_nothing_by_more() -> None:
    seen = NodeCounter()
    for number in range(MAX_KEYS_PER_OWNER + 50):
        seen.saw(of(X, number), AT)
    assert seen.count(X, 0, AT) == len(seen) == MAX_KEYS_PER_OWNER
    assert not seen.saw(of(X, 99_999), AT)
    assert seen.saw(of(X, 99_999), AT + SEEN_FOR_S)  # those that count no more make room
    assert len(seen) == MAX_KEYS_PER_OWNER


def test_revoked_keys_leave_the_places_to_those_that_count() -> None:
    """Else an owner that fills its places, revokes, and shows others has as many nodes as it likes for one stake."""
    seen = NodeCounter()
    seen.saw(of(X, 0, epoch=1), AT)  # not seen for longest, and counts
    for number in range(1, MAX_KEYS_PER_OWNER):
        seen.saw(of(X, number, epoch=0), AT + 1)
    assert seen.count(X, 1, AT + 2) == 1
    assert all(seen.saw(of(X, 2_000 + number, epoch=1), AT + 2) for number in range(50))
    assert seen.count(X, 1, AT + 2) == 51
    assert len(seen) == MAX_KEYS_PER_OWNER
    assert not seen.saw(of(X, 2_001, epoch=1), AT + 3)


def test_the_keys_of_all_owners_are_bounded_and_those_unseen_for_longest_go() -> None:
    seen = NodeCounter(most=100)
    for number in range(100):
        seen.saw(of(Address(f"0x{number}"), 1), AT)
    seen.saw(of(Address("0x0"), 1), AT)
    for number in range(100, 150):
        seen.saw(of(Address(f"0x{number}"), 1), AT)
    assert len(seen) == 100
    assert (seen.count(Address("0x0"), 0, AT), seen.count(Address("0x1"), 0, AT)) == (1, 0)
    assert len(seen.by_owner()) == 100
    assert MAX_KEYS > 10_000  # more than there are peers


def test_an_owner_whose_only_key_makes_room_for_his_next_is_still_known() -> None:
    seen = NodeCounter(most=1)
    seen.saw(of(X, 1), AT)
    seen.saw(of(X, 2), AT)
    assert (len(seen), seen.count(X, 0, AT)) == (1, 1)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([X, Y]),
            st.integers(0, 4),
            st.integers(0, 2),
            st.sampled_from([0, 1, 1800, 3599]),
            st.sampled_from([50, 5000, 50_000]),
        ),
        max_size=30,
    ),
    st.integers(1, 3),
    st.integers(1, 4),
)
def test_the_count_is_that_of_the_keys_seen(
    steps: list[tuple[Address, int, int, int, int]], per_owner: int, most: int
) -> None:
    """Against a plain list of everything seen; bounds may only make it smaller, and are kept."""
    seen, bounded = NodeCounter(), NodeCounter(per_owner, most)
    told: list[tuple[Delegation, float]] = []
    at = float(AT)
    for owner, number, epoch, later_s, lasts_s in steps:
        at += later_s
        delegation = of(owner, number, epoch=epoch, not_after=int(at) + lasts_s)
        told.append((delegation, at))
        seen.saw(delegation, at)
        bounded.saw(delegation, at)
        for asked in range(3):
            keys = {each.node_key for each, _ in told if each.owner == owner}
            expected = sum(
                counts([t for t in told if t[0].owner == owner and t[0].node_key == k], asked, at) for k in keys
            )
            assert seen.count(owner, asked, at) == expected
            assert bounded.count(owner, asked, at) <= min(expected, per_owner)
        assert len(bounded) <= most
        assert len(bounded) == sum(bounded.by_owner().values())


def counts(told: list[tuple[Delegation, float]], epoch: int, at: float) -> bool:
    """Of one key: the best that was shown for it."""
    return (
        max(each.epoch for each, _ in told) >= epoch
        and max(each.not_after_unix_s for each, _ in told) + MAX_CLOCK_SKEW_S > at
        and at - max(when for _, when in told) < SEEN_FOR_S
    )
