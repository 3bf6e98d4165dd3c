"""What `GET /api/v1/peers` and `GET /api/v1/stake` tell. Imports nothing that a node without a network or without
stakes does not need.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from masa_node.network.transport.interfaces import NodeId, Route

if TYPE_CHECKING:
    from masa_node.network.links.peer_book import PeerRecord
    from masa_node.network.network import Network
    from masa_node.staking.contract.profile import Profile
    from masa_node.staking.gate.gate import GateSummary
    from masa_node.staking.gate.values import Verdict


# ---- stake view ----

# What `GET /api/v1/stake` tells, and what `GET /api/v1/peers` tells of a peer's stake. Imports no chain code.

STAKING_OFF = "off - stakes are not checked"
INSTANT_WITHDRAWAL = (
    "A stake in this contract can be withdrawn at once, so it can be borrowed for a block: it shows less than one "
    "that is bound for days."
)


class StakeRow(msgspec.Struct, frozen=True):
    """A verdict. Amounts are text, in the token's smallest unit: they are larger than what JSON readers hold exactly.

    `verdict` is `staked`, `not staked`, `unknown`, or `allowed` (by STAKE_ALLOW). `nodes` are the node keys seen of the
    owner; `age_s` is how long ago the chain was read.
    """

    verdict: str
    reason: str
    owner: str | None
    stake_wei: str | None
    minimum_wei: str | None
    nodes: int | None
    block: int | None
    age_s: int | None


class StakeNetworkView(msgspec.Struct, frozen=True):
    """The profile in force, without its RPC URLs: they may hold keys. `warning` is "" for a contract that unbonds."""

    name: str
    chain_id: int
    contract: str
    shape: str
    block_tag: str
    symbol: str
    decimals: int
    warning: str


class ChainView(msgspec.Struct, frozen=True):
    """How reading the chain goes. `block` is the highest that was read; `failure` says what went wrong last, "" if
    nothing has since the node started.
    """

    owners: int
    lookups_running: int
    lookups_waiting: int
    block: int | None
    failure: str
    failed_s_ago: int | None


class StakeView(msgspec.Struct, frozen=True):
    """All of it. `staking` is one line for people; `peers` counts the linked ones by verdict; `chain` is how reading
    it goes.
    """

    staking: str
    providers: str
    callers: str
    network: StakeNetworkView | None
    own: StakeRow | None
    peers: dict[str, int]
    chain: ChainView | None


def stake_off() -> StakeView:
    """While stakes are not checked."""
    return StakeView(STAKING_OFF, "off", "off", None, None, {}, None)


def network_row(profile: "Profile") -> StakeNetworkView:
    """The chain and contract, for status pages."""
    return StakeNetworkView(
        profile.name,
        profile.chain_id,
        profile.contract,
        profile.shape.value,
        profile.block_tag.value,
        profile.symbol,
        profile.decimals,
        INSTANT_WITHDRAWAL if profile.shape == "masa" else "",
    )


def chain_row(summary: "GateSummary", at_unix_s: float) -> ChainView:
    """How reading the chain goes, for status pages."""
    failure, newest = summary.last_failure, summary.newest
    return ChainView(
        summary.owners,
        summary.lookups_running,
        summary.lookups_waiting,
        None if newest is None else newest.block,
        "" if failure is None else failure.reason,
        None if failure is None else max(int(at_unix_s - failure.at_unix_s), 0),
    )


def stake_row(verdict: "Verdict", at_unix_s: float) -> StakeRow:
    """One node's verdict, for status pages."""
    read_at_unix_s = verdict.read_at_unix_s
    return StakeRow(
        verdict.answer.value,
        verdict.reason,
        verdict.owner,
        None if verdict.stake_wei is None else str(verdict.stake_wei),
        None if verdict.minimum_wei is None else str(verdict.minimum_wei),
        verdict.nodes,
        verdict.block,
        None if read_at_unix_s is None else max(int(at_unix_s - read_at_unix_s), 0),
    )


# ---- peers view ----

# What `GET /api/v1/peers` tells. Imports nothing that a node without a network does not need.

MAX_SHOWN = 1_000  # linked ones first; the rest of a full book is of no use to a reader


class PeerRow(msgspec.Struct, frozen=True):
    """One peer. `route` is None while it is not linked; `error` says why it is not, if that is known.

    `vouched_by` is by whose word it is a member, if its membership level is that. It is seen when it is linked; None if
    it never was.
    """

    id: str
    name: str
    membership: str
    vouched_by: str | None
    trusted: bool
    connected: bool
    route: Route | None
    address: str
    rtt_ms: float | None
    models: list[str]
    version: str
    running: int
    slots: int
    failures: int
    error: str
    last_seen_at_unix_s: int | None
    stake: StakeRow | None  # None: stakes are not checked


StakeOf = Callable[[NodeId], StakeRow | None]


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


def view_of(network: "Network", staking: str, stake_of: StakeOf) -> PeersView:
    """The network as it is now. `staking` is one line about it; `stake_of` gives one peer's."""
    own = network.address()
    records = sorted(network.book.all(), key=lambda record: _rank(network, record))
    rows = [_row(network, record, stake_of) for record in records[:MAX_SHOWN]]
    return PeersView(network.node_id, "on", "", own.direct, own.relay_url, staking, len(records), rows)


def _rank(network: "Network", record: "PeerRecord") -> tuple[bool, int]:
    return record.node_id not in network.links.sessions, -record.last_seen_at_unix_s


def _row(network: "Network", record: "PeerRecord", stake_of: StakeOf) -> PeerRow:
    peer = record.node_id
    session = network.links.sessions.get(peer)
    path = session.link.path() if session is not None else None
    signed = network.gossip.advert_of(peer)
    advert = signed.advert if signed is not None else None
    rtt_s = None if session is None else session.rtt_s
    return PeerRow(
        id=peer,
        name=record.called or (advert.name if advert is not None else "") or record.name,
        membership=record.membership.value,
        vouched_by=record.vouched_by,
        trusted=network.is_trusted(peer),
        connected=session is not None,
        route=path.route if path is not None else None,
        address=path.address if path is not None else next(iter(record.addresses), ""),
        rtt_ms=None if rtt_s is None else round(rtt_s * 1000, 1),
        models=[model.id for model in advert.models] if advert is not None else [],
        version=advert.version if advert is not None else "",
        running=advert.running if advert is not None else 0,
        slots=advert.slots if advert is not None else 0,
        failures=network.book.failures(peer),
        error="" if session is not None else network.reasons.of(peer).words,
        last_seen_at_unix_s=int(time.time()) if session is not None else record.last_linked_at_unix_s or None,
        stake=stake_of(peer),
    )
