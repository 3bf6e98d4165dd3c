"""Which of the members' words a node shows: those that the other is likely to believe."""

import random

from hypothesis import given
from hypothesis import strategies as st

from masa_node.network.links.vouchers import MAX_VOUCHERS_SHOWN, make_voucher, vouchers_to_show
from masa_node.network.transport.interfaces import NodeId
from masa_node.network.transport.memory import MemoryNetwork

AT_UNIX_S = 1_800_000_000.0


def test_the_words_of_common_members_go_first_and_all_others_get_their_turn() -> None:
    network = MemoryNetwork(seed=1)
    members = [network.transport(number).keys for number in range(1, 41)]
    own, other = network.transport(50).keys.node_id, network.transport(51).keys.node_id
    kept = {keys.node_id: make_voucher(own, keys, AT_UNIX_S) for keys in members}
    theirs = [make_voucher(other, members[0], AT_UNIX_S), make_voucher(other, members[7], AT_UNIX_S)]
    rng = random.Random(2)  # noqa: S311 - a simulation
    shown = vouchers_to_show(kept, theirs, rng.sample)
    assert shown[:2] == (kept[members[0].node_id], kept[members[7].node_id])
    assert len(set(shown)) == MAX_VOUCHERS_SHOWN
    drawn = {voucher for _ in range(100) for voucher in vouchers_to_show(kept, (), rng.sample)}
    assert drawn == set(kept.values())


@given(st.lists(st.binary(max_size=200), max_size=8), st.integers(0, 9))
def test_no_garbage_keeps_a_node_from_greeting(shown: list[bytes], count: int) -> None:
    kept = {NodeId(f"{number:064x}"): b"word %d" % number for number in range(count)}
    chosen = vouchers_to_show(kept, shown, random.Random(0).sample)  # noqa: S311
    assert len(chosen) == min(count, MAX_VOUCHERS_SHOWN)
    assert set(chosen) <= set(kept.values())
