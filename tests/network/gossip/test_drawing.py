"""Each linked peer is as likely to be drawn, and a draw from many costs no more than one from few."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from masa_node.network.gossip.drawing import drawn
from masa_node.network.transport.interfaces import NodeId

PEERS = [NodeId(f"{number:064x}") for number in range(25)]
DRAWS = 20_000


@given(st.integers(0, 25), st.integers(1, 30), st.sets(st.sampled_from(PEERS), max_size=2), st.integers(0, 1000))
def test_each_is_drawn_once_and_none_that_is_spared(size: int, count: int, spared: set[NodeId], seed: int) -> None:
    order = PEERS[:size]
    chosen = list(drawn(order, count, spared, random.Random(seed)))  # noqa: S311 - a simulation
    assert len(set(chosen)) == len(chosen) == min(count, len(set(PEERS[:size]) - spared))
    assert not spared & set(chosen)
    assert sorted(order) == PEERS[:size]


def test_each_is_as_likely_whatever_was_drawn_before() -> None:
    rng, order, counts = random.Random(7), list(PEERS), Counter[NodeId]()  # noqa: S311 - a simulation
    for _ in range(DRAWS):
        counts.update(drawn(order, 4, (PEERS[3], None), rng))
    expected = DRAWS * 4 / 24
    assert counts[PEERS[3]] == 0
    assert all(abs(counts[peer] - expected) < 5 * expected**0.5 for peer in PEERS if peer != PEERS[3])


def test_no_more_is_drawn_from_many_than_is_needed() -> None:
    class Counting(random.Random):
        calls = 0

        def random(self) -> float:
            self.calls += 1
            return super().random()

    rng = Counting(1)
    assert len(list(drawn([NodeId(str(number)) for number in range(256)], 4, (NodeId("7"), None), rng))) == 4
    assert rng.calls <= 5
