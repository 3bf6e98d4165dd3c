"""What a node makes of stakes: what is asked of it, and how a node answers that looks at none.

Imports no chain code.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from masa_node.network.transport.interfaces import NodeId
from masa_node.node.views import STAKING_OFF, StakeRow, StakeView, stake_off
from masa_node.routing.peer_policy import AnyPeer, PeerPolicy

if TYPE_CHECKING:
    from masa_node.network.network import Network
    from masa_node.staking.gate.gate import KeepsReadings


class StakeRules(PeerPolicy, Protocol):
    """A `PeerPolicy` for this node's own requests; `vet` and `rank` are for those of peers."""

    @property
    def answers(self) -> Sequence[str]:
        """The verdicts by which peers are counted."""
        ...

    @property
    def summary(self) -> str:
        """One line for people."""
        ...

    async def run(self, network: "Network", keep: "KeepsReadings", own_delegation: Callable[[], bytes | None]) -> None:
        """While the network is up. `own_delegation` gives what this node shows now."""
        ...

    async def vet(self, peer: NodeId) -> None:
        """May this peer be served? Raises `PeerRefused` if not."""
        ...

    def is_vetted(self, peer: NodeId) -> bool:
        """Would `vet` say now, without waiting, that it may?"""
        ...

    def rank(self, peer: str) -> int:
        """A peer's place while requests wait: lower numbers go first."""
        ...

    def row(self, peer: NodeId) -> StakeRow | None:
        """For the list of peers; None where stakes are not checked."""
        ...

    def linked_with(self, answer: str) -> float:
        """How many linked peers have this verdict."""
        ...

    def view(self) -> StakeView:
        """For `GET /api/v1/stake`."""
        ...


class NoStakes(AnyPeer):
    """Nobody's stake is looked at: see `StakeRules`."""

    answers: Sequence[str] = ()
    summary = STAKING_OFF

    async def run(self, network: "Network", keep: "KeepsReadings", own_delegation: Callable[[], bytes | None]) -> None:
        """Nothing is to be done."""

    async def vet(self, peer: NodeId) -> None:
        """Everybody may."""

    def is_vetted(self, peer: NodeId) -> bool:
        """See `StakeRules`."""
        del peer
        return True

    def rank(self, peer: str) -> int:
        """All are equal."""
        del peer
        return 0

    def row(self, peer: NodeId) -> StakeRow | None:
        """None: stakes are not checked."""
        del peer
        return None

    def linked_with(self, answer: str) -> float:
        """Nobody has any."""
        del answer
        return 0.0

    def view(self) -> StakeView:
        """That it is off."""
        return stake_off()
