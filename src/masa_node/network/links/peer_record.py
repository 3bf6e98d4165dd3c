"""One peer as it is kept, and what becomes of its record when something is heard of it. Pure."""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from masa_node.network.transport.interfaces import MAX_ADDRESSES, NodeId, PeerAddress

MAX_ADDRESS_CHARS = 64  # `[ip6%zone]:port`
MAX_RELAY_CHARS = 256
MAX_NAME_CHARS = 64
FIRST_PAUSE_S = 1.0  # after the first failure to dial; doubles with each further one
LONGEST_PAUSE_S = 300.0
SEEN_STEP_S = 600  # "last seen" is kept no finer, or every advert heard would be a write to the disk


class Retry(msgspec.Struct, frozen=True, gc=False):
    """How often in a row a peer was not reached, and when it is dialed again, on the loop's clock."""

    failures: int
    not_before_s: float


class MembershipLevel(StrEnum):
    """How a peer came to be known, strongest last but one. A weaker membership level never replaces a stronger one."""

    HEARD = "heard"  # of, by gossip or on the LAN; not a member
    OPEN = "open"  # accepted because OPEN_NETWORK=1; a member only while that is set
    VOUCHED = "vouched"  # a member vouched for it
    INVITED = "invited"  # it came with an invite
    LISTED = "listed"  # the owner named it: BOOTNODES, a join link
    BLOCKED = "blocked"  # by the owner; ends by unblock or forget only


STRENGTH = {membership: strength for strength, membership in enumerate(MembershipLevel)}

UnixTime = Annotated[int, Meta(ge=0, lt=1 << 40)]
Id = Annotated[NodeId, Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class PeerRecord(msgspec.Struct, frozen=True, gc=False):
    """One peer, as it is kept. Times are Unix seconds; `last_linked_at_unix_s` is 0 when it never was linked.

    `addresses` are `ip:port`, what last worked first. `membership_before` is what a blocked one goes back to.
    `vouched_by` is the member by whose word it was let in, while its membership level is VOUCHED.
    `name` is what it calls itself, `called` what this node's owner calls it.
    """

    node_id: Id
    membership: MembershipLevel
    addresses: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=MAX_ADDRESS_CHARS)], ...], Meta(max_length=MAX_ADDRESSES)
    ] = ()
    relay_url: Annotated[str, Meta(max_length=MAX_RELAY_CHARS)] | None = None
    name: Annotated[str, Meta(max_length=MAX_NAME_CHARS)] = ""
    is_trusted: bool = False
    first_seen_at_unix_s: UnixTime = 0
    last_seen_at_unix_s: UnixTime = 0
    last_linked_at_unix_s: UnixTime = 0
    membership_before: MembershipLevel | None = None
    vouched_by: Id | None = None
    called: Annotated[str, Meta(max_length=MAX_NAME_CHARS)] = ""

    @property
    def shown_name(self) -> str:
        """What its owner here calls it, else what it calls itself."""
        return self.called or self.name

    @property
    def address(self) -> PeerAddress:
        """Where to dial it."""
        return PeerAddress(self.node_id, self.addresses, self.relay_url)


def retry_after(failures: int, now_s: float, chance: float) -> Retry:
    """Not for 1 s, doubling to 5 min, less up to half; `chance` is from 0 to 1.

    The jitter keeps nodes that lost the same peer from coming back together (M. Brooker, Exponential Backoff
    and Jitter: "equal jitter").
    """
    whole = min(FIRST_PAUSE_S * 2.0 ** min(failures - 1, 16), LONGEST_PAUSE_S)
    return Retry(failures, now_s + whole * (0.5 + 0.5 * chance))


def not_needed_before(now_s: float, chance: float) -> Retry:
    """Its link was closed because nobody used it. It is dialed without being asked after 5 min, less up to half."""
    return Retry(0, now_s + LONGEST_PAUSE_S * (0.5 + 0.5 * chance))


def is_weaker(one: MembershipLevel | None, other: MembershipLevel) -> bool:
    """Does the first count for less? None is of one that is not known."""
    return one is None or STRENGTH[one] < STRENGTH[other]


def last_use(record: PeerRecord) -> int:
    """When it was of use, Unix seconds: heard of, linked, or let in."""
    if record.membership is MembershipLevel.HEARD:
        return record.last_seen_at_unix_s
    return max(record.last_linked_at_unix_s, record.first_seen_at_unix_s)


def new_record(node_id: NodeId, membership: MembershipLevel, at_unix_s: float) -> PeerRecord:
    """One that was not known before."""
    at = int(at_unix_s)
    return PeerRecord(node_id, membership, first_seen_at_unix_s=at, last_seen_at_unix_s=at)


def heard_of(address: PeerAddress, name: str, at_unix_s: float) -> PeerRecord:
    """One that was not known before, and has told where it is or was told of: what is not sound in that is left out."""
    at = int(at_unix_s)
    return PeerRecord(
        address.node_id,
        MembershipLevel.HEARD,
        _bounded(address.direct),
        _sound_relay(address.relay_url) if address.relay_url else None,
        _shown(name),
        first_seen_at_unix_s=at,
        last_seen_at_unix_s=at,
    )


def seen_at(record: PeerRecord, at_unix_s: float) -> PeerRecord:
    """Seen now."""
    at = int(at_unix_s)
    return replace(record, last_seen_at_unix_s=at) if at >= record.last_seen_at_unix_s + SEEN_STEP_S else record


def with_address(record: PeerRecord, address: PeerAddress, name: str) -> PeerRecord:
    """With this address. One that worked, or that the owner gave, stays first whatever others tell."""
    is_proved = record.last_linked_at_unix_s > 0 or record.membership is MembershipLevel.LISTED
    proved = record.addresses[:1] if is_proved else ()
    announced, addresses = _bounded(address.direct), record.addresses
    if not set(announced) <= set(addresses):
        addresses = _bounded((*proved, *announced, *addresses))
    relay_url = _sound_relay(address.relay_url) or record.relay_url or None
    name = _shown(name) or record.name
    if (addresses, relay_url, name) == (record.addresses, record.relay_url, record.name):
        return record
    return replace(record, addresses=addresses, relay_url=relay_url, name=name)


def worked_at(record: PeerRecord, address: PeerAddress) -> PeerRecord:
    """With this address first. When there are too many, those that worked before it go, not those that were told:
    a peer behind a NAT comes from another port each time.
    """
    worked = _bounded(address.direct)
    others = [each for each in record.addresses if each not in worked]
    too_many = max(0, len(worked) + len(others) - MAX_ADDRESSES)
    return replace(record, addresses=(*worked, *others[too_many:]))


def _bounded(addresses: tuple[str, ...]) -> tuple[str, ...]:
    each_once = dict.fromkeys([text for text in addresses if 0 < len(text) <= MAX_ADDRESS_CHARS and text.isascii()])
    bounded = tuple(each_once)[:MAX_ADDRESSES]
    return addresses if bounded == addresses else bounded  # the very one that others hold, too


def _sound_relay(url: str | None) -> str | None:
    return url if url is not None and 0 < len(url) <= MAX_RELAY_CHARS and url.isascii() else None


def _shown(name: str) -> str:
    return name[:MAX_NAME_CHARS] if name.isprintable() else ""
