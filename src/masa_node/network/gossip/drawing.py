"""Draws the linked peers that hear of something: each is as likely. Pure; randomness is given."""

import random
from collections.abc import Collection, Iterator

from masa_node.network.transport.interfaces import NodeId


def drawn(order: list[NodeId], count: int, spared: Collection[NodeId | None], rng: random.Random) -> Iterator[NodeId]:
    """So many of these, each once and none of `spared`; all of them where there are no more.

    The first steps of a shuffle (Fisher and Yates), which leaves `order` in another order. However many there are, it
    takes as long as those that are drawn.
    """
    size, draw = len(order), rng.random
    for at in range(size):
        other = at + int(draw() * (size - at))
        peer = order[other]
        order[other], order[at] = order[at], peer
        if peer in spared:
            continue
        yield peer
        count -= 1
        if not count:
            return
