"""How far the clocks of peers are from this one, and why a peer is gone because of it."""

import pytest

from masa_node.network.clocks import APART, MAX_CLOCKS, REMEMBERED_S, Clocks
from masa_node.network.links.vouchers import make_voucher
from masa_node.network.transport.interfaces import NodeId
from masa_node.network.transport.memory import MemoryKeys

NOW_UNIX_S = 1_800_000_000.0
PEER, OTHER, LOST = NodeId("be" * 32), NodeId("da" * 32), "peer_lost"
KEYS = MemoryKeys(PEER, {PEER: b"secret"})


def voucher(made_s_ago: float) -> bytes:
    return make_voucher(PEER, KEYS, NOW_UNIX_S - made_s_ago)


def vouched(*, ahead_s: float, at_s: float = 0.0) -> Clocks:
    clocks = Clocks()
    clocks.vouched(PEER, voucher(ahead_s), at_s, NOW_UNIX_S)
    return clocks


@pytest.mark.parametrize("ahead_s", [0.0, 90.0, -600.0])
def test_a_voucher_made_just_now_tells_the_clock_also_if_it_is_not_in_force_here(ahead_s: float) -> None:
    assert vouched(ahead_s=ahead_s).known(1.0) == [(PEER, ahead_s)]


@pytest.mark.parametrize("ahead_s", [600.0, -600.0])
def test_a_peer_that_goes_while_its_clock_is_wrong_is_gone_for_that_and_it_is_remembered(ahead_s: float) -> None:
    clocks = vouched(ahead_s=ahead_s, at_s=5.0)

    assert clocks.unlinked(PEER, LOST) == APART
    assert clocks.known(5.0 + REMEMBERED_S - 1) == [(PEER, ahead_s)]
    assert clocks.known(5.0 + REMEMBERED_S) == []


def test_of_a_peer_with_a_right_clock_nothing_is_left_when_it_goes() -> None:
    clocks = vouched(ahead_s=299.0)

    assert clocks.known(REMEMBERED_S) == [(PEER, 299.0)], "as long as it is linked"
    assert clocks.unlinked(PEER, LOST) == LOST
    assert clocks.known(0.0) == []
    assert clocks.unlinked(OTHER, LOST) == LOST


def test_a_clock_that_was_set_right_is_no_reason_any_more() -> None:
    clocks = vouched(ahead_s=600.0)
    clocks.vouched(PEER, voucher(0.0), 9.0, NOW_UNIX_S)

    assert clocks.unlinked(PEER, LOST) == LOST


@pytest.mark.parametrize("nonsense", [b"", b"\xc1" * 200, voucher(0.0)[:20], b"\x84" * 100_000])
def test_what_is_no_voucher_tells_nothing(nonsense: bytes) -> None:
    clocks = Clocks()
    clocks.vouched(PEER, nonsense, 0.0, NOW_UNIX_S)

    assert clocks.known(0.0) == []


def test_no_more_than_some_are_kept_the_newest() -> None:
    clocks = Clocks()
    for number in range(MAX_CLOCKS + 1):
        clocks.vouched(NodeId(f"{number:064x}"), voucher(0.0), 0.0, NOW_UNIX_S)

    assert [peer for peer, _ in clocks.known(0.0)][:: MAX_CLOCKS - 1] == [f"{1:064x}", f"{MAX_CLOCKS:064x}"]
