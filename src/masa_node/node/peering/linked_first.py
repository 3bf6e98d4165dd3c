"""Linked peers are asked before those that are only known by their adverts and have to be dialed first."""

import random
from collections.abc import Callable, Collection, Sequence

from masa_node.network.transport.interfaces import NodeId
from masa_node.node.no_stakes import StakeRules
from masa_node.routing.peer_policy import Selection
from masa_node.routing.provider import Provider

MAX_DIALED = 8  # for one request: an advert may name any address, and each is dialed
MAX_WEIGHED = 256  # of those that are not linked, by their stakes: some microseconds each

Names = Callable[[], Collection[str]]

_GOOD, _BAD = ("staked", "allowed"), "not staked"


class LinkedFirst:
    """A `PeerPolicy`: what `rules` say, once of the linked peers and once, behind them, of some others at random.

    `linked` are the names of the peers that are linked now. Of the others those with a known stake come first, and
    then `members`: a node that was let in once is not lost among strangers that claim to serve the same, however many.
    """

    def __init__(self, rules: StakeRules, linked: Names, members: Names, rng: random.Random) -> None:
        self._rules = rules
        self._linked = linked
        self._members = members
        self._rng = rng

    def select(self, peers: Sequence[Provider]) -> Selection:
        """See `PeerPolicy`."""
        near, distant = self._parted(peers)
        if not distant:
            return self._rules.select(peers)
        last = self._rules.select(distant)
        if not near:
            return last
        first = self._rules.select(near)
        groups = (*first.groups, *last.groups)
        return Selection(groups, None if groups else first.refusal)

    async def refresh(self, peers: Sequence[Provider]) -> None:
        """See `PeerPolicy`."""
        near, distant = self._parted(peers)
        await self._rules.refresh([*distant, *near])

    def _parted(self, peers: Sequence[Provider]) -> tuple[Sequence[Provider], list[Provider]]:
        linked = self._linked()
        near = [peer for peer in peers if peer.name in linked]
        if len(near) == len(peers):
            return near, []
        distant = [peer for peer in peers if peer.name not in linked]
        members = self._members()
        let_in = [peer for peer in distant if peer.name in members]
        strangers = [peer for peer in distant if peer.name not in members]
        weighed = self._sample(let_in, MAX_WEIGHED)
        weighed += self._sample(strangers, MAX_WEIGHED - len(weighed))
        return near, sorted(weighed, key=self._rank)[:MAX_DIALED]

    def _sample(self, peers: list[Provider], most: int) -> list[Provider]:
        return self._rng.sample(peers, min(most, len(peers)))

    def _rank(self, peer: Provider) -> int:
        row = self._rules.row(NodeId(peer.name))
        if row is None or row.verdict in _GOOD:
            return 0
        return 2 if row.verdict == _BAD else 1
