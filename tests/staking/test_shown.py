"""What nodes show is remembered within bounds, and few owners of each are looked up."""

from masa_node.staking.delegation import MAX_BYTES
from masa_node.staking.shown import MAX_OWNERS_SHOWN, OWNERS_WITHIN_S, OwnersShown, ShownDelegations
from tests.staking.delegations import AT, DOMAIN, Owner, node, of_contract

OWNERS = [Owner(f"{number}") for number in range(MAX_OWNERS_SHOWN + 1)]
A, B = node(1), node(2)


def test_what_is_shown_is_read_once_and_the_least_recently_looked_at_go() -> None:
    shown = ShownDelegations(DOMAIN, most=2)
    first = shown.of(A, b"1")
    shown.of(A, b"2")
    assert shown.of(A, b"1") is first
    shown.of(A, b"3")
    assert list(shown.by_node_and_bytes) == [(A, b"1"), (A, b"3")]


def test_what_is_too_large_to_be_a_delegation_is_not_held() -> None:
    shown = ShownDelegations(DOMAIN)
    assert shown.of(A, bytes(MAX_BYTES + 1)).fault is not None
    assert shown.by_node_and_bytes == {}


def test_the_same_bytes_of_another_node_are_another_matter() -> None:
    shown = ShownDelegations(DOMAIN)
    data = OWNERS[0].delegates(A)
    assert shown.fault(shown.of(A, data), A, AT) is None
    assert shown.fault(shown.of(B, data), B, AT) is not None


def test_a_node_may_show_few_owners_in_a_while() -> None:
    shown, owners = ShownDelegations(DOMAIN), OwnersShown()
    each = [shown.of(A, owner.delegates(A)) for owner in OWNERS]
    assert [owners.admits(A, one, AT) for one in each] == [True] * MAX_OWNERS_SHOWN + [False]
    assert owners.admits(A, each[0], AT)
    assert owners.admits(B, shown.of(B, OWNERS[-1].delegates(B)), AT)
    assert not owners.admits(A, each[-1], AT + OWNERS_WITHIN_S - 1)
    assert owners.admits(A, each[-1], AT + OWNERS_WITHIN_S)
    assert owners.admits(A, shown.of(A, Owner("late").delegates(A)), AT - 1000)  # the clock was set back


def test_a_new_delegation_of_the_same_owner_is_no_other_owner_but_another_word_of_a_contract_is() -> None:
    shown, owners = ShownDelegations(DOMAIN), OwnersShown()
    for number in range(20):
        assert owners.admits(A, shown.of(A, OWNERS[0].delegates(A, epoch=number)), AT)
    of_safe = [shown.of(B, of_contract(OWNERS[0].address, B, bytes([number]))) for number in range(5)]
    assert [owners.admits(B, one, AT) for one in of_safe] == [True] * MAX_OWNERS_SHOWN + [False]


def test_the_nodes_whose_owners_are_counted_are_bounded() -> None:
    shown, owners = ShownDelegations(DOMAIN), OwnersShown(most=3)
    for number in range(1, 10):
        owners.admits(node(number), shown.of(node(number), OWNERS[0].delegates(node(number))), AT)
    assert list(owners._by_node) == [node(7), node(8), node(9)]
