"""What nodes show is remembered within bounds, and few of each are looked at."""

from masa_node.staking.delegation import MAX_BYTES
from masa_node.staking.gate.delegation_cache import (
    DELEGATIONS_WITHIN_S,
    MAX_DELEGATIONS_OF_ONE,
    DelegationCache,
    DelegationRate,
)
from tests.staking.delegations import AT, DOMAIN, Owner, node

OWNER = Owner()
A, B = node(1), node(2)


def test_what_is_shown_is_read_once_and_the_least_recently_looked_at_go() -> None:
    shown = DelegationCache(DOMAIN, most=2)
    first = shown.of(A, b"1")
    shown.of(A, b"2")
    assert shown.of(A, b"1") is first
    shown.of(A, b"3")
    assert list(shown.by_node_and_bytes) == [(A, b"1"), (A, b"3")]


def test_what_is_too_large_to_be_a_delegation_is_not_held() -> None:
    shown = DelegationCache(DOMAIN)
    assert shown.of(A, bytes(MAX_BYTES + 1)).fault is not None
    assert shown.by_node_and_bytes == {}


def test_the_same_bytes_of_another_node_are_another_matter() -> None:
    shown = DelegationCache(DOMAIN)
    data = OWNER.delegates(A)
    assert shown.fault(shown.of(A, data), AT) is None
    assert shown.fault(shown.of(B, data), AT) is not None


def test_a_node_may_show_few_delegations_in_a_while() -> None:
    shown = DelegationRate()
    each = [bytes([number]) for number in range(MAX_DELEGATIONS_OF_ONE + 1)]
    assert [shown.admits(A, data, AT) for data in each] == [True] * MAX_DELEGATIONS_OF_ONE + [False]
    assert shown.admits(A, each[0], AT)
    assert shown.admits(B, each[-1], AT)
    assert not shown.admits(A, each[-1], AT + DELEGATIONS_WITHIN_S - 1)
    assert shown.admits(A, each[-1], AT + DELEGATIONS_WITHIN_S)
    assert shown.admits(A, b"late", AT - 1000)  # the clock was set back


def test_the_nodes_whose_delegations_are_counted_are_bounded() -> None:
    shown = DelegationRate(most=3)
    for number in range(1, 10):
        shown.admits(node(number), b"1", AT)
    assert list(shown.by_node) == [node(7), node(8), node(9)]
