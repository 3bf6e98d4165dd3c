"""What `masa-node peers` and `masa-node invites` show: asked of the running node or remembered in MASA_DIR."""

import time
from collections.abc import Sequence

import msgspec
from rich.table import Table
from rich.text import Text

from masa_node.chat.errors import ConnectionRefused, NotAnAnswer, ProviderError
from masa_node.cli.models import check_status, no_node_at
from masa_node.cli.output import ago, calendar_time, console, key_header, plain
from masa_node.network.links.peer_book import MembershipLevel, PeerRecord
from masa_node.network.store.rows import KeptInvite
from masa_node.network.transport.interfaces import short_id
from masa_node.node.owner.invites import invite_id
from masa_node.routing.answers.reader import read_whole
from masa_node.upstreams.http.client import HttpClient
from masa_node.upstreams.http.proxies import NO_PROXIES, Proxies

MAX_PEERS_ANSWER_BYTES = 64 * 1024 * 1024  # 10 000 peers with 256 models each would take less
MAX_SHOWN_MODELS = 3
MAX_CELL_CHARS = 60
MAX_WHY_CHARS = 300
MAX_REASONS_SHOWN = 5
MAX_STAKES_SHOWN = 20
_MINUTE_S = 60
_NO_SUCH_ENDPOINT = 404


class StakeOfPeer(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on one peer's stake, as the node tells it."""

    verdict: str = ""
    reason: str = ""
    owner: str | None = None
    stake_wei: str | None = None
    minimum_wei: str | None = None
    nodes: int | None = None
    block: int | None = None
    age_s: int | None = None


class PeerView(msgspec.Struct, frozen=True, kw_only=True):
    """One peer as `GET /api/v1/peers` tells it. `route` and `rtt_ms` are null while it is not linked."""

    id: str
    name: str | None = None
    membership: str | None = None
    vouched_by: str | None = None
    trusted: bool = False
    connected: bool = False
    route: str | None = None
    address: str | None = None
    rtt_ms: float | None = None
    models: list[str] | None = None
    version: str | None = None
    running: int | None = None
    slots: int | None = None
    failures: int | None = None
    error: str | None = None
    last_seen_at_unix_s: float | None = None
    stake: StakeOfPeer | None = None


class NetworkView(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer; `state` is "on", "off", or, where the node was not reached, "unknown". `why` tells why."""

    node_id: str | None = None
    state: str = "off"
    why: str | None = None
    addresses: list[str] = []
    staking: str = ""
    peers: list[PeerView] = []


async def fetch_peers(url: str, api_keys: Sequence[str], proxies: Proxies = NO_PROXIES) -> NetworkView:
    """What the node at this URL tells. Raises `ProviderError`, `Unreachable` when nothing listens there."""
    headers = key_header(api_keys)
    async with HttpClient(proxies) as http:
        try:
            answer = await http.get(f"{url.rstrip('/')}/api/v1/peers", headers)
            body = await read_whole(answer, MAX_PEERS_ANSWER_BYTES)
            return _read(answer.status, body)
        except ConnectionRefused as exc:
            raise no_node_at(url) from exc
        except ProviderError as exc:
            exc.location = f"the node at {url}"
            raise


def remembered(node_id: str, records: Sequence[PeerRecord]) -> NetworkView:
    """The same of what MASA_DIR remembers."""
    why = "no node is on the network with this MASA_DIR (if one runs, its log says why); this is what it remembers."
    return NetworkView(node_id=node_id or None, why=why, peers=[_remembered(record) for record in records])


def print_peers(network: NetworkView, *, shows_all: bool) -> None:
    """A table of the members, connected and blocked peers. With `shows_all` also of peers that are only heard of."""
    out = console()
    if network.state != "on":
        what = "Not connected" if network.state == "off" else "Which peers are connected is not known"
        out.print(Text(f"{what}: {plain(network.why or 'no reason given', MAX_WHY_CHARS)}"))
    peers = sorted(network.peers, key=_rank)
    rows = [peer for peer in peers if shows_all or peer.connected or peer.membership != MembershipLevel.HEARD]
    if rows:
        titles = ("peer", "name", "membership", "stake", "connection", "models", "load", "seen")
        table = Table(*titles, box=None, pad_edge=False)
        now_unix_s = time.time()
        for peer in rows:
            table.add_row(*(Text(cell) for cell in _cells(peer, now_unix_s)))
        out.print(table)
    for line in _stake_lines(network, rows):
        out.print(Text(line))
    for peer in [peer for peer in rows if _is_not_reached(peer)][:MAX_REASONS_SHOWN]:
        out.print(Text(f"{short_id(peer.id)} is not reached: {plain(peer.error or '', MAX_WHY_CHARS)}"))
    if len(rows) < len(peers):
        out.print(f"{len(peers) - len(rows)} more are only heard of; --all shows them.")
    if not peers:
        out.print("No peers yet. `masa-node invite` makes a link for another node, `masa-node join LINK` uses one.")


def _stake_lines(network: NetworkView, rows: Sequence[PeerView]) -> list[str]:
    """What holds here, and the reason of each verdict on a linked peer."""
    staked = [peer for peer in rows if peer.stake is not None and peer.connected][:MAX_STAKES_SHOWN]
    said = [f"staking: {plain(network.staking, MAX_WHY_CHARS)}"] if network.staking else []
    return [*said, *(_stake_line(peer) for peer in staked)]


def _stake_line(peer: PeerView) -> str:
    """Amount and block are in the reason, as the node words it."""
    stake = peer.stake or StakeOfPeer()
    said = f"{short_id(plain(peer.id, MAX_CELL_CHARS))} is {plain(stake.verdict, MAX_CELL_CHARS)}: "
    reason = plain(stake.reason, MAX_WHY_CHARS)
    if stake.age_s is None:
        return said + reason
    read = ago(stake.age_s) if stake.age_s >= _MINUTE_S else f"{stake.age_s} s ago"
    return f"{said}{reason.rstrip('.')}; read {read}"


def print_invites(invites: Sequence[KeptInvite], now_unix_s: float) -> None:
    """A table, newest first."""
    out = console()
    if not invites:
        out.print("No invites are open. `masa-node invite` makes one.")
        return
    table = Table("invite", "made", "ends", "used", "note", box=None, pad_edge=False)
    for invite in invites:
        ends = "over" if invite.expires_at_unix_s <= now_unix_s else calendar_time(invite.expires_at_unix_s)
        made = calendar_time(invite.made_at_unix_s)
        used = f"{invite.used} of {invite.uses}"
        note = plain(invite.note, MAX_CELL_CHARS)
        table.add_row(*(Text(cell) for cell in (invite_id(invite), made, ends, used, note)))
    out.print(table)


def _read(status: int, body: bytes) -> NetworkView:
    if status == _NO_SUCH_ENDPOINT:
        raise NotAnAnswer(
            "it knows no peers: it is not a Masa node, or an old one. Name the node's address with --url."
        )
    check_status(status, "a list of peers")
    try:
        return msgspec.json.decode(body, type=NetworkView)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise NotAnAnswer("its answer is not a list of peers. Name the node's address with --url.") from exc


def _remembered(record: PeerRecord) -> PeerView:
    return PeerView(
        id=record.node_id,
        name=record.shown_name,
        membership=record.membership,
        vouched_by=record.vouched_by,
        trusted=record.is_trusted,
        address=record.addresses[0] if record.addresses else record.relay_url,
        last_seen_at_unix_s=record.last_linked_at_unix_s or None,
    )


def _rank(peer: PeerView) -> tuple[bool, bool, float, str]:
    return (not peer.connected, peer.membership == MembershipLevel.HEARD, -(peer.last_seen_at_unix_s or 0), peer.id)


def _cells(peer: PeerView, now_unix_s: float) -> tuple[str, ...]:
    models = [plain(model, MAX_CELL_CHARS) for model in (peer.models or [])[:MAX_SHOWN_MODELS]]
    more = len(peer.models or []) - len(models)
    membership = plain(peer.membership or "", MAX_CELL_CHARS)
    if peer.vouched_by:
        membership = f"{membership} by {short_id(plain(peer.vouched_by, MAX_CELL_CHARS))}"
    load = f"{peer.running or 0}/{peer.slots}" if peer.connected and peer.slots is not None else ""
    seen = "" if peer.last_seen_at_unix_s is None else ago(now_unix_s - peer.last_seen_at_unix_s)
    return (
        short_id(plain(peer.id, MAX_CELL_CHARS)),
        plain(peer.name or "", MAX_CELL_CHARS),
        f"{membership}, trusted" if peer.trusted else membership,
        plain(peer.stake.verdict, MAX_CELL_CHARS) if peer.stake is not None else "not checked",
        _connection(peer),
        ", ".join(models) + (f" and {more} more" if more > 0 else ""),
        load,
        seen,
    )


def _connection(peer: PeerView) -> str:
    if peer.connected:
        rtt = "" if peer.rtt_ms is None else f", {peer.rtt_ms:.0f} ms"
        return plain(peer.route or "unknown", MAX_CELL_CHARS) + rtt
    return "not reached" if _is_not_reached(peer) else "-"


def _is_not_reached(peer: PeerView) -> bool:
    return not peer.connected and bool(peer.error) and peer.membership != MembershipLevel.BLOCKED
