"""Facts about the peers' side: of a network that is up, or of what MASA_DIR remembers."""

import asyncio
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from masa_node.network.links.control import RefusalCode
from masa_node.network.links.peer_record import MembershipLevel, PeerRecord
from masa_node.network.transport.addresses import read_address
from masa_node.network.transport.bind import free_port
from masa_node.network.transport.interfaces import PeerAddress
from masa_node.node.doctor.facts import NetworkFacts, PeerFacts, WayInFacts

if TYPE_CHECKING:
    from masa_node.network.network import Network
    from masa_node.network.transport.interfaces import Transport

MAX_PEERS = 100  # members, linked ones last; people read no more


async def facts_of(network: "Network", transport: "Transport", external: str) -> tuple[NetworkFacts, str | None]:
    """The network that is up, and the relay to which it is connected."""
    way_in, address = await transport.way_in(), transport.address()
    found = WayInFacts(
        bound=way_in.bound,
        address=address,
        own_ips=_own(address),
        is_mapped=way_in.is_mapped,
        external=external,
    )
    records = sorted(network.book.all(), key=lambda record: record.node_id in network.links.sessions)
    now_s, at_unix_s = asyncio.get_running_loop().time(), time.time()
    peers = tuple(
        _peer(network, record, now_s, at_unix_s) for record in records if record.membership is not MembershipLevel.HEARD
    )
    facts = NetworkFacts("on", way_in=found, peers=peers[:MAX_PEERS], refused_join=network.refused_join)
    return facts, way_in.home_relay


def remembered(records: Iterable[PeerRecord], refused_join: str) -> NetworkFacts:
    """While no node runs."""
    at_unix_s = time.time()
    peers = (
        PeerFacts(
            record.node_id,
            record.shown_name,
            record.membership,
            last_linked_s_ago=_since(record, at_unix_s),
        )
        for record in records
        if record.membership is not MembershipLevel.HEARD
    )
    return NetworkFacts("not running", peers=tuple(peers)[:MAX_PEERS], refused_join=refused_join)


def _peer(network: "Network", record: PeerRecord, now_s: float, at_unix_s: float) -> PeerFacts:
    peer = record.node_id
    session, reason, retry = network.links.sessions.get(peer), network.reasons.of(peer), network.book.retries.get(peer)
    is_blocked = record.membership is MembershipLevel.BLOCKED
    return PeerFacts(
        peer,
        record.shown_name,
        record.membership,
        is_linked=session is not None,
        route=session.link.path().route.value if session is not None else "",
        code=RefusalCode.BLOCKED if is_blocked else reason.code,
        why=reason.words,
        failures=network.book.failures(peer),
        next_try_s=None if retry is None else max(retry.not_before_s - now_s, 0.0),
        last_linked_s_ago=_since(record, at_unix_s),
    )


def _since(record: PeerRecord, at_unix_s: float) -> float | None:
    return max(at_unix_s - record.last_linked_at_unix_s, 0.0) if record.last_linked_at_unix_s else None


def _own(address: PeerAddress) -> frozenset[str]:
    """Those of these addresses whose IP can be bound to: this machine's, not a router's. Takes microseconds."""
    read = ((text, read_address(text)) for text in address.direct)
    return frozenset(text for text, where in read if where is not None and free_port(where[0]) is not None)
