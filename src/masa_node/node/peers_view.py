"""What `GET /api/v1/peers` tells. Imports nothing that a node without a network does not need."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from masa_node.network.transport import NodeId, Route
from masa_node.node.stake_view import STAKING_OFF, StakeRow

if TYPE_CHECKING:
    from masa_node.network.network import Network
    from masa_node.network.peers import PeerRecord

MAX_SHOWN = 1_000  # linked ones first; the rest of a full book is of no use to a reader


class PeerRow(msgspec.Struct, frozen=True):
    """One peer. `route` is None while it is not linked; `error` says why it is not, if that is known.

    `vouched_by` is by whose word it is a member, if its standing is that. It is seen when it is linked; None if it
    never was.
    """

    id: str
    name: str
    standing: str
    vouched_by: str | None
    trusted: bool
    connected: bool
    route: Route | None
    address: str
    rtt_ms: float | None
    models: list[str]
    version: str
    running: int
    places: int
    failures: int
    error: str
    last_seen_at_unix_s: int | None
    stake: StakeRow | None  # None: stakes are not checked


StakeOf = Callable[[NodeId], StakeRow]


class PeersView(msgspec.Struct, frozen=True):
    """All of it. `why` says why there is no network."""

    node_id: str
    state: str
    why: str
    addresses: tuple[str, ...]
    relay_url: str | None
    staking: str
    known: int
    peers: list[PeerRow]


def no_network(why: str, staking: str = STAKING_OFF) -> PeersView:
    """While there is none."""
    return PeersView("", "off", why, (), None, staking, 0, [])


def view_of(network: "Network", staking: str, stake_of: StakeOf | None) -> PeersView:
    """The network as it is now. `staking` is one line about it; `stake_of` gives one peer's, if stakes are checked."""
    own = network.address()
    records = sorted(network.book.all(), key=lambda record: _rank(network, record))
    rows = [_row(network, record, stake_of) for record in records[:MAX_SHOWN]]
    return PeersView(network.node_id, "on", "", own.direct, own.relay_url, staking, len(records), rows)


def _rank(network: "Network", record: "PeerRecord") -> tuple[bool, int]:
    return record.node_id not in network.links.sessions, -record.last_seen_at_unix_s


def _row(network: "Network", record: "PeerRecord", stake_of: StakeOf | None) -> PeerRow:
    peer = record.node_id
    session = network.links.sessions.get(peer)
    path = session.link.path() if session is not None else None
    signed = network.gossip.advert_of(peer)
    advert = signed.advert if signed is not None else None
    rtt_s = None if session is None else session.rtt_s
    return PeerRow(
        id=peer,
        name=advert.name if advert is not None and advert.name else record.name,
        standing=record.standing.value,
        vouched_by=record.vouched_by,
        trusted=network.is_trusted(peer),
        connected=session is not None,
        route=path.route if path is not None else None,
        address=path.address if path is not None else next(iter(record.addresses), ""),
        rtt_ms=None if rtt_s is None else round(rtt_s * 1000, 1),
        models=[model.id for model in advert.models] if advert is not None else [],
        version=advert.version if advert is not None else "",
        running=advert.running if advert is not None else 0,
        places=advert.places if advert is not None else 0,
        failures=network.book.failures(peer),
        error="" if session is not None else network.why_not(peer),
        last_seen_at_unix_s=int(time.time()) if session is not None else record.last_linked_at_unix_s or None,
        stake=stake_of(peer) if stake_of is not None else None,
    )
