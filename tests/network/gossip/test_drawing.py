"""Each linked peer is as likely to be drawn, a draw from many costs no more than one from few, and a round lasts."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from masa_node.network.gossip.drawing import ROUND_S, Rounds, drawn
from masa_node.network.transport.interfaces import NodeId

PEERS = [NodeId(f"{number:064x}") for number in range(25)]
DRAWS = 20_000


def rounds_of(peers: list[NodeId], most: int = 6, seed: int = 1) -> Rounds:
    rounds = Rounds(random.Random(seed), most)  # noqa: S311 - a simulation
    for peer in peers:
        rounds.add(peer)
    return rounds


@given(st.integers(0, 25), st.integers(1, 30), st.integers(0, 1000))
def test_each_is_drawn_once(size: int, count: int, seed: int) -> None:
    order = PEERS[:size]
    chosen = list(drawn(order, count, random.Random(seed)))  # noqa: S311 - a simulation
    assert len(set(chosen)) == len(chosen) == min(count, size)
    assert sorted(order) == PEERS[:size]


def test_each_is_as_likely_whatever_was_drawn_before_and_none_that_is_spared() -> None:
    rounds, counts = rounds_of(PEERS), Counter[NodeId]()
    for turn in range(DRAWS):
        counts.update(rounds.some(4, (PEERS[3], None), turn * ROUND_S))
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
    assert len(list(drawn([NodeId(str(number)) for number in range(256)], 4, rng))) == 4
    assert rng.calls == 4


def test_news_of_one_round_go_to_the_same_peers_and_those_of_the_next_to_others() -> None:
    rounds = rounds_of(PEERS)
    first = rounds.some(4, (), 10.0)
    assert rounds.some(4, (), 10.0 + 0.9 * ROUND_S) == first
    assert rounds.some(2, (first[0],), 10.0 + 0.9 * ROUND_S) == first[1:3]
    assert rounds.some(4, (), 10.0 + ROUND_S) != first


def test_what_is_not_for_two_of_them_still_goes_to_as_many() -> None:
    rounds = rounds_of(PEERS)
    first = rounds.some(6, (), 10.0)
    assert rounds.some(4, first[:2], 10.0) == first[2:]


def test_who_was_linked_or_is_no_longer_counts_at_once() -> None:
    rounds = rounds_of(PEERS[:3])
    assert set(rounds.some(4, (), 10.0)) == set(PEERS[:3])
    rounds.add(PEERS[3])
    assert set(rounds.some(4, (), 10.0)) == set(PEERS[:4])
    rounds.remove(PEERS[0])
    assert set(rounds.some(4, (), 10.0)) == set(PEERS[1:4])
    assert rounds.any() in PEERS[1:4]
