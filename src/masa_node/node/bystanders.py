"""Nodes that are not linked with this one: an owner's stake is for all of his nodes, so these are seen, too."""

import asyncio

from masa_node.network.adverts import SignedAdvert
from masa_node.network.network import Network
from masa_node.network.transport import NodeId
from masa_node.staking.gate import Gate

SEEN_A_LOOK = 100  # 0.1 ms each at most: ten thousand have their turn long before a key counts no more
SEEN_AT_ONCE = 32  # then others have their turn
MAX_OF_CONTRACTS = 10_000  # as many as a node knows peers


class Bystanders:
    """Their adverts, in turns. Strangers cost no look at the chain: it is read for owners who have a stake.

    Whether a contract signed is asked for one node a look, as everybody can name one that has a stake.
    """

    def __init__(self, gate: Gate, network: Network) -> None:
        self._gate = gate
        self._network = network
        self._line: list[SignedAdvert] = []
        self._of_contracts: dict[NodeId, bytes] = {}

    async def look(self) -> None:
        """At the next SEEN_A_LOOK."""
        if not self._line:
            self._line = [each for each in self._network.gossip.all() if each.advert.delegation is not None]
        for number, signed in enumerate(self._line[-SEEN_A_LOOK:], 1):
            if signed.node_id not in self._network.links.sessions:
                self._see(signed.node_id, signed.advert.delegation or b"")
            if number % SEEN_AT_ONCE == 0:
                await asyncio.sleep(0)
        del self._line[-SEEN_A_LOOK:]
        if self._of_contracts:
            node_id, delegation = next(iter(self._of_contracts.items()))
            del self._of_contracts[node_id]
            self._gate.verdict(node_id, delegation)

    def _see(self, node_id: NodeId, delegation: bytes) -> None:
        if self._gate.waits_for_a_word(node_id, delegation):
            if len(self._of_contracts) < MAX_OF_CONTRACTS or node_id in self._of_contracts:
                self._of_contracts[node_id] = delegation
        else:
            self._gate.held(node_id, delegation)
