"""Nodes that are not linked with this one: an owner's stake covers all of their nodes, so these are counted, too."""

import asyncio
import time
from collections.abc import Callable

from masa_node.network.gossip.adverts import SignedAdvert
from masa_node.network.network import Network
from masa_node.network.transport.interfaces import NodeId
from masa_node.staking.gate.gate import Gate

SEEN_A_LOOK = 100  # 0.1 ms each at most with coincurve: ten thousand have their turn within two minutes,
LOOKS_FOR_S = 0.02  # and without it, 5 ms a signature, within 42: before a key counts no more
SEEN_AT_ONCE = 32  # then others have their turn
MAX_OF_CONTRACTS = 10_000  # as many as a node knows peers


class IndirectPeers:
    """Their adverts, in turns. Strangers cost no look at the chain: it is read for owners that have a stake.

    Whether a contract signed is asked for one node a look, as everybody can name a contract that has a stake.
    """

    def __init__(self, gate: Gate, network: Network, work_s: Callable[[], float] = time.thread_time) -> None:
        self._gate = gate
        self._network = network
        self._work_s = work_s
        self._line: list[SignedAdvert] = []
        self._of_contracts: dict[NodeId, bytes] = {}

    async def look(self) -> None:
        """At the next SEEN_A_LOOK, or as many as LOOKS_FOR_S of work are enough for."""
        if not self._line:
            self._line = [each for each in self._network.gossip.all() if each.advert.delegation is not None]
        began_s = self._work_s()
        for number in range(1, min(SEEN_A_LOOK, len(self._line)) + 1):
            signed = self._line.pop()
            if signed.node_id not in self._network.links.sessions:
                self._see(signed.node_id, signed.advert.delegation or b"")
            if self._work_s() - began_s >= LOOKS_FOR_S:
                break
            if number % SEEN_AT_ONCE == 0:
                await asyncio.sleep(0)
        if self._of_contracts:
            node_id, delegation = next(iter(self._of_contracts.items()))
            del self._of_contracts[node_id]
            self._gate.verdict(node_id, delegation)

    def _see(self, node_id: NodeId, delegation: bytes) -> None:
        if self._gate.waits_for_a_word(node_id, delegation):
            if len(self._of_contracts) < MAX_OF_CONTRACTS or node_id in self._of_contracts:
                self._of_contracts[node_id] = delegation
        else:
            self._gate.verdict_if_known(node_id, delegation)
