"""Draws the linked peers that news are passed on to: each is as likely. Pure; time and randomness are given."""

import math
import random
from collections.abc import Collection, Iterator

from masa_node.network.transport.interfaces import NodeId

# As long as news wait for more of them. In a crowd it halves the messages, each of which costs as much as ten adverts.
ROUND_S = 0.1


class Rounds:
    """The linked peers. News of one round go to the same few of them, so that there are few messages (as in lpbcast:
    Eugster et al., "Lightweight Probabilistic Broadcast"). Where news are rare each has a round of its own.

    At most `most` are drawn in a round; that includes those that a piece of news is not for.
    """

    def __init__(self, rng: random.Random, most: int) -> None:
        self._rng = rng
        self._most = most
        self._peers: list[NodeId] = []
        self._drawn: list[NodeId] = []
        self._ends_s = -math.inf

    def add(self, peer: NodeId) -> None:
        """It is linked now."""
        self._peers.append(peer)
        self._ends_s = -math.inf

    def remove(self, peer: NodeId) -> None:
        """It is no longer."""
        self._peers.remove(peer)
        self._ends_s = -math.inf

    def any(self) -> NodeId:
        """One of them. There must be one."""
        return self._rng.choice(self._peers)

    def some(self, count: int, spared: Collection[NodeId | None], now_s: float) -> list[NodeId]:
        """So many of this round's, none of `spared`; fewer where there are no more."""
        if now_s >= self._ends_s:
            self._ends_s = now_s + ROUND_S
            self._drawn = list(drawn(self._peers, self._most, self._rng))
        return [peer for peer in self._drawn if peer not in spared][:count]


def drawn(order: list[NodeId], count: int, rng: random.Random) -> Iterator[NodeId]:
    """So many of these, each once; all of them where there are no more.

    The first steps of a shuffle (Fisher and Yates), which leaves `order` in another order. However many there are, it
    takes as long as those that are drawn.
    """
    size = len(order)
    for at in range(min(count, size)):
        other = at + int(rng.random() * (size - at))
        order[at], order[other] = order[other], order[at]
        yield order[at]
