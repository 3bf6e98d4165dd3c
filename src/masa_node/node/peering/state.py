"""The states of the peers' side of a node - starting, off, up - and what each answers."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from masa_node.network.links.invites import write_bootnode
from masa_node.network.transport.interfaces import NodeId, Route, short_id
from masa_node.node.doctor.facts import NetworkFacts
from masa_node.node.views import PeersView, StakeOf, no_network, view_of

if TYPE_CHECKING:
    from masa_node.network.network import Network
    from masa_node.network.transport.interfaces import Transport


@dataclass(frozen=True, slots=True)
class Off:
    """There is no network, for now or for good; `why` says why. `refused_join`: why the last join was refused."""

    why: str
    refused_join: str = ""
    node_id = ""
    bootnode = ""

    def arriving(self) -> list[str]:
        """Nobody."""
        return []

    def linked(self) -> Collection[str]:
        """Nobody is."""
        return ()

    def members(self) -> Collection[str]:
        """Nobody may be asked."""
        return ()

    async def stop_serving(self) -> None:
        """Nobody is served."""

    def count_linked(self, route: Route) -> int:
        """Nobody is."""
        del route
        return 0

    def mark(self) -> object:
        """Another one whenever there is something new to be seen of peers."""
        return self.why

    def peers_view(self, staking: str, stake_of: StakeOf) -> PeersView:
        """Why there are none."""
        del stake_of
        return no_network(self.why, staking)

    async def look(self) -> "Look":
        """For the doctor: that there is none, and why."""
        return Look(NetworkFacts("off", self.why, refused_join=self.refused_join))

    def own_view(self) -> dict[str, object]:
        """No id and no address."""
        return {"node_id": None, "addresses": [], "relay_url": None}


@dataclass(frozen=True, slots=True)
class Starting(Off):
    """There may be a network in a moment."""

    why: str = "it is starting"

    def arriving(self) -> list[str]:
        """The known peers are not known yet, either."""
        return ["all of them"]

    async def look(self) -> "Look":
        """That it is too early."""
        return Look(NetworkFacts("starting"))


@dataclass(frozen=True, slots=True)
class Up:
    """This node is on its network. `external` is PEER_ADDRESS."""

    network: "Network"
    transport: "Transport"
    external: str = ""

    @property
    def node_id(self) -> NodeId:
        """This node's id."""
        return self.network.node_id

    @property
    def bootnode(self) -> str:
        """This node as others write it into BOOTNODES."""
        return write_bootnode(self.transport.address())

    def arriving(self) -> list[str]:
        """See `Network`."""
        return self.network.arriving()

    def linked(self) -> Collection[str]:
        """The ids of the peers that are linked now."""
        return self.network.links.sessions

    def members(self) -> Collection[str]:
        """The ids of the peers that may be asked, without strangers."""
        return self.network.askable_members

    async def stop_serving(self) -> None:
        """Take no more requests of peers; returns when those under way are over."""
        await self.network.stop_serving()

    def count_linked(self, route: Route) -> int:
        """How many peers are linked by this route now."""
        return sum(session.link.path().route is route for session in self.network.links.sessions.values())

    def mark(self) -> object:
        """See `Off`: links, and what peers are here; 10 000 take 3 ms."""
        known = hash(tuple((each.node_id, each.membership, each.is_trusted) for each in self.network.book.all()))
        return frozenset(self.network.links.sessions), known

    def peers_view(self, staking: str, stake_of: StakeOf) -> PeersView:
        """The peers, for status pages."""
        return view_of(self.network, staking, stake_of)

    async def look(self) -> "Look":
        """For the doctor: peers, addresses, relay."""
        from masa_node.node.doctor.network_facts import facts_of  # noqa: PLC0415 - only the doctor needs it

        facts, home = await facts_of(self.network, self.transport, self.external)
        now_s = asyncio.get_running_loop().time()
        clocks = tuple((f"peer {short_id(peer)}", ahead_s) for peer, ahead_s in self.network.clocks.known(now_s))
        return Look(facts, next(iter(sorted(self.transport.relays)), ""), is_home=home is not None, clocks=clocks)

    def own_view(self) -> dict[str, object]:
        """This node, for status pages."""
        own = self.transport.address()
        return {"node_id": own.node_id, "addresses": own.direct, "relay_url": own.relay_url}


class Look(NamedTuple):
    """What the doctor sees: the facts, the relay in use, is this node connected to it, and how peers' clocks differ."""

    facts: NetworkFacts
    relay: str = ""
    is_home: bool | None = None
    clocks: tuple[tuple[str, float], ...] = ()


PeerState = Off | Starting | Up
