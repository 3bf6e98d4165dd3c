"""Who this node knows: their standing, where they are, whom to dial when. Pure: time and randomness are given."""

import heapq
import random
from collections import OrderedDict
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from masa_node.network.transport import MAX_ADDRESSES, NodeId, PeerAddress, is_node_id

MAX_PEERS = 10_000  # beside the blocked ones; about 1 kB each
MAX_BLOCKED = 10_000  # of their own, so that a full book never lets a blocked one back in
MAX_ADDRESS_CHARS = 64  # `[ip6%zone]:port`
MAX_RELAY_CHARS = 256
MAX_NAME_CHARS = 64
FIRST_PAUSE_S = 1.0  # after the first failure to dial; doubles with each further one
LONGEST_PAUSE_S = 300.0
STABLE_LINK_S = 30  # a link that held so long clears the failures before it
SEEN_STEP_S = 600  # "last seen" is kept no finer, or every advert heard would be a write to the disk


class Standing(StrEnum):
    """How a peer came to be known, strongest last but one. A weaker standing never replaces a stronger one."""

    HEARD = "heard"  # of, by gossip or on the LAN; not a member
    OPEN = "open"  # accepted because OPEN_NETWORK=1; a member only while that is set
    VOUCHED = "vouched"  # a member vouched for it
    INVITED = "invited"  # it came with an invite
    LISTED = "listed"  # the owner named it: BOOTNODES, a join link
    BLOCKED = "blocked"  # by the owner; ends by unblock or forget only


_STRENGTH = {standing: strength for strength, standing in enumerate(Standing)}
_MEMBERS = frozenset({Standing.OPEN, Standing.VOUCHED, Standing.INVITED, Standing.LISTED})
_GIVEN_UP = (Standing.HEARD, Standing.OPEN, Standing.VOUCHED, Standing.INVITED)  # in this order when the book is full

UnixTime = Annotated[int, Meta(ge=0, lt=1 << 40)]


class PeerRecord(msgspec.Struct, frozen=True):
    """One peer, as it is kept. Times are Unix seconds; `last_linked_at_unix_s` is 0 when it never was linked.

    `addresses` are `ip:port`, what last worked first. `standing_before` is what a blocked one goes back to.
    """

    node_id: Annotated[NodeId, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    standing: Standing
    addresses: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=MAX_ADDRESS_CHARS)], ...], Meta(max_length=MAX_ADDRESSES)
    ] = ()
    relay_url: Annotated[str, Meta(max_length=MAX_RELAY_CHARS)] | None = None
    name: Annotated[str, Meta(max_length=MAX_NAME_CHARS)] = ""
    is_trusted: bool = False
    first_seen_at_unix_s: UnixTime = 0
    last_seen_at_unix_s: UnixTime = 0
    last_linked_at_unix_s: UnixTime = 0
    standing_before: Standing | None = None

    @property
    def address(self) -> PeerAddress:
        """Where to dial it."""
        return PeerAddress(self.node_id, self.addresses, self.relay_url)


class _Retry(msgspec.Struct, frozen=True):
    failures: int
    not_before_s: float


class PeerBook:
    """All peers, at most MAX_PEERS and MAX_BLOCKED.

    When it is full the least worth one is given up: HEARD longest unseen first, then OPEN, VOUCHED, INVITED ones
    longest not linked. Never given up are LISTED, trusted and linked ones. A newcomer never displaces a stronger
    standing than its own: strangers cannot push members out. `own` is this node, which is never kept.
    """

    def __init__(self, records: Iterable[PeerRecord] = (), *, own: NodeId | None = None, is_open: bool = False) -> None:
        self._own = own
        self._is_open = is_open
        self._records: dict[NodeId, PeerRecord] = {}
        self._blocked: set[NodeId] = set()
        self._linked: set[NodeId] = set()
        self._retries: dict[NodeId, _Retry] = {}
        self._queues: dict[Standing, OrderedDict[NodeId, None]] = {each: OrderedDict() for each in _GIVEN_UP}
        self._changed: set[NodeId] = set()
        self._saved: set[NodeId] = set()  # what the store holds, so that only these are told as gone
        self._gone: set[NodeId] = set()
        for record in sorted(records, key=_last_use):
            self._saved.add(record.node_id)
            if not self._add(record):
                self._gone.add(record.node_id)
        self._changed.clear()

    def get(self, node_id: NodeId) -> PeerRecord | None:
        """The record of this peer."""
        return self._records.get(node_id)

    def all(self) -> list[PeerRecord]:
        """Every record, blocked ones too."""
        return list(self._records.values())

    def is_member(self, node_id: NodeId) -> bool:
        """May it be linked with and ask? False for unknown ones; OPEN ones are while the network is open."""
        record = self._records.get(node_id)
        return record is not None and self._counts_as_member(record)

    def is_blocked(self, node_id: NodeId) -> bool:
        """Did the owner block it?"""
        return node_id in self._blocked

    def is_trusted(self, node_id: NodeId) -> bool:
        """Is it a member that the owner trusts?"""
        record = self._records.get(node_id)
        return record is not None and record.is_trusted and self._counts_as_member(record)

    # ---- what happens ----

    def heard(self, address: PeerAddress, name: str, at_unix_s: float) -> bool:
        """Somebody told of this peer, or it told of itself. False when it is not kept: blocked, own, no room."""
        known = self._records.get(address.node_id)
        if known is None:
            return self._add(_with_address(_new(address.node_id, Standing.HEARD, at_unix_s), address, name))
        if known.standing is Standing.BLOCKED:
            return False
        seen = _seen(_with_address(known, address, name), at_unix_s)
        self._put(seen)
        if seen.standing is Standing.HEARD:
            self._queue_again(seen)
        return True

    def admit(self, node_id: NodeId, standing: Standing, address: PeerAddress | None, at_unix_s: float) -> bool:
        """It is a member now, with at least this standing. False when it is not: blocked, own, no room.

        Raises `ValueError` for a standing that makes no member.
        """
        if standing not in _MEMBERS:
            raise ValueError(standing)
        known = self._records.get(node_id)
        if known is None:
            record = _new(node_id, standing, at_unix_s)
            return self._add(_with_address(record, address, "") if address else record)
        if known.standing is Standing.BLOCKED:
            return False
        record = replace(_seen(known, at_unix_s), standing=max(known.standing, standing, key=_STRENGTH.__getitem__))
        self._put(_with_address(record, address, "") if address else record)
        if record.standing is not known.standing:
            self._queue_again(record)
        return True

    def linked(self, node_id: NodeId, at_unix_s: float, address: PeerAddress | None = None) -> None:
        """A link with it stands; `address` is where, and goes first from now on. Nothing happens for unknown ones."""
        known = self._records.get(node_id)
        if known is None or known.standing is Standing.BLOCKED:
            return
        self._linked.add(node_id)
        if address is not None:
            known = _worked_at(known, address)
        at = int(at_unix_s)
        self._put(replace(known, last_linked_at_unix_s=at, last_seen_at_unix_s=at))
        self._unqueue(node_id)

    def unlinked(self, node_id: NodeId, at_unix_s: float, now_s: float, rng: random.Random) -> None:
        """Its link is gone. It is due again after a pause, the first one if the link held for STABLE_LINK_S."""
        known = self._records.get(node_id)
        if known is None or node_id not in self._linked:
            return
        at = int(at_unix_s)
        if at - known.last_linked_at_unix_s >= STABLE_LINK_S:
            self._retries.pop(node_id, None)
        self._put(replace(known, last_linked_at_unix_s=at, last_seen_at_unix_s=at))
        self.failed(node_id, now_s, rng)

    def failed(self, node_id: NodeId, now_s: float, rng: random.Random) -> None:
        """It could not be dialed, or refused this node. It is not due for 1 s, doubling to 5 min, less up to half.

        The jitter keeps nodes that lost the same peer from coming back together (M. Brooker, Exponential Backoff
        and Jitter: "equal jitter").
        """
        known = self._records.get(node_id)
        if known is None:
            return
        self._linked.discard(node_id)
        self._queue_if_absent(known)
        failures = self.failures(node_id) + 1
        whole = min(FIRST_PAUSE_S * 2.0 ** min(failures - 1, 16), LONGEST_PAUSE_S)
        self._retries[node_id] = _Retry(failures, now_s + whole * (0.5 + 0.5 * rng.random()))

    def failures(self, node_id: NodeId) -> int:
        """How often in a row it could not be linked with."""
        retry = self._retries.get(node_id)
        return retry.failures if retry else 0

    # ---- whom to dial ----

    def due(self, now_s: float, linked: AbstractSet[NodeId], room: int) -> list[PeerAddress]:
        """Whom to dial now, best first, at most `room`: LISTED ones, then members by how lately they were linked,
        then others that have an address. `linked` are those that need none: linked ones and those being dialed.
        """
        if room <= 0:
            return []
        ready = [
            record
            for node_id, record in self._records.items()  # 10 000 at most, nearly all of them resting: the cheap first
            if ((retry := self._retries.get(node_id)) is None or retry.not_before_s <= now_s)
            and node_id not in linked
            and self._is_dialed(record)
        ]
        return [record.address for record in heapq.nsmallest(room, ready, key=self._rank)]

    def next_due_s(self, now_s: float, linked: AbstractSet[NodeId]) -> float | None:
        """When somebody is due (not before `now_s`); None when nobody will be until something happens."""
        dialed = (record.node_id for record in self._records.values() if self._is_dialed(record))
        earliest = min((self._not_before_s(node_id) for node_id in dialed if node_id not in linked), default=None)
        return None if earliest is None else max(earliest, now_s)

    # ---- what the owner wants ----

    def forget(self, node_id: NodeId) -> bool:
        """Know nothing of it any more, not even that it is blocked. False when it was not known."""
        if node_id not in self._records:
            return False
        self._drop(node_id)
        return True

    def block(self, node_id: NodeId, at_unix_s: float) -> bool:
        """Have nothing to do with it, known or not; trust ends. False when it is own or MAX_BLOCKED are blocked."""
        known = self._records.get(node_id)
        if known is None:
            return self._add(_new(node_id, Standing.BLOCKED, at_unix_s))
        if known.standing is Standing.BLOCKED:
            return True
        if len(self._blocked) >= MAX_BLOCKED:
            return False
        self._linked.discard(node_id)
        self._retries.pop(node_id, None)
        self._put(replace(known, standing=Standing.BLOCKED, standing_before=known.standing, is_trusted=False))
        self._unqueue(node_id)
        return True

    def unblock(self, node_id: NodeId) -> bool:
        """It is again what it was before it was blocked; trust does not come back. False when it was not blocked."""
        known = self._records.get(node_id)
        if known is None or known.standing is not Standing.BLOCKED:
            return False
        self._drop(node_id)
        if known.standing_before is not None:
            self._add(replace(known, standing=known.standing_before, standing_before=None))
        return True

    def trust(self, node_id: NodeId, *, is_trusted: bool) -> bool:
        """May it see requests marked `X-Masa-Privacy: trusted`? False when it is not known, or blocked."""
        known = self._records.get(node_id)
        if known is None or known.standing is Standing.BLOCKED:
            return False
        self._put(replace(known, is_trusted=is_trusted))
        self._queue_again(self._records[node_id])
        return True

    def take_changes(self) -> tuple[list[PeerRecord], list[NodeId]]:
        """The records that changed and the ids that are gone since the last call, for the store."""
        changed = [self._records[node_id] for node_id in self._changed]
        gone = list(self._gone)
        self._saved -= self._gone
        self._saved |= self._changed
        self._changed.clear()
        self._gone.clear()
        return changed, gone

    # ---- inside ----

    def _counts_as_member(self, record: PeerRecord) -> bool:
        return record.standing in _MEMBERS and (self._is_open or record.standing is not Standing.OPEN)

    def _is_dialed(self, record: PeerRecord) -> bool:
        if record.standing is Standing.BLOCKED:
            return False
        return bool(record.addresses) or bool(record.relay_url) or self._counts_as_member(record)

    def _not_before_s(self, node_id: NodeId) -> float:
        retry = self._retries.get(node_id)
        return retry.not_before_s if retry else float("-inf")

    def _rank(self, record: PeerRecord) -> tuple[bool, bool, int, int, int]:
        first = (record.standing is not Standing.LISTED, not self._counts_as_member(record))
        return (*first, -record.last_linked_at_unix_s, -_STRENGTH[record.standing], self.failures(record.node_id))

    def _add(self, record: PeerRecord) -> bool:
        node_id = record.node_id
        if node_id == self._own or not is_node_id(node_id) or not self._make_room(record.standing):
            return False
        if record.standing is Standing.BLOCKED:
            self._blocked.add(node_id)
        self._records[node_id] = record
        self._changed.add(node_id)
        self._gone.discard(node_id)
        self._queue_again(record)
        return True

    def _make_room(self, standing: Standing) -> bool:
        if standing is Standing.BLOCKED:
            return len(self._blocked) < MAX_BLOCKED
        if len(self._records) - len(self._blocked) < MAX_PEERS:
            return True
        for weaker in _GIVEN_UP:
            if _STRENGTH[weaker] > _STRENGTH[standing]:
                return False
            if self._queues[weaker]:
                self._drop(next(iter(self._queues[weaker])))
                return True
        return False

    def _put(self, record: PeerRecord) -> None:
        node_id = record.node_id
        if record.standing is Standing.BLOCKED:
            self._blocked.add(node_id)
        if self._records[node_id] != record:
            self._records[node_id] = record
            self._changed.add(node_id)

    def _drop(self, node_id: NodeId) -> None:
        del self._records[node_id]
        self._unqueue(node_id)
        self._blocked.discard(node_id)
        self._linked.discard(node_id)
        self._retries.pop(node_id, None)
        self._changed.discard(node_id)
        if node_id in self._saved:
            self._gone.add(node_id)

    def _queue_again(self, record: PeerRecord) -> None:
        """Put it at the end of those that may be given up, if it may."""
        self._unqueue(record.node_id)
        if record.standing in self._queues and not record.is_trusted and record.node_id not in self._linked:
            self._queues[record.standing][record.node_id] = None

    def _queue_if_absent(self, record: PeerRecord) -> None:
        """Its link is gone, or there was none: then it keeps its place."""
        if record.standing in self._queues and record.node_id not in self._queues[record.standing]:
            self._queue_again(record)

    def _unqueue(self, node_id: NodeId) -> None:
        for queue in self._queues.values():
            queue.pop(node_id, None)


def _last_use(record: PeerRecord) -> int:
    if record.standing is Standing.HEARD:
        return record.last_seen_at_unix_s
    return max(record.last_linked_at_unix_s, record.first_seen_at_unix_s)


def _new(node_id: NodeId, standing: Standing, at_unix_s: float) -> PeerRecord:
    at = int(at_unix_s)
    return PeerRecord(node_id, standing, first_seen_at_unix_s=at, last_seen_at_unix_s=at)


def _seen(record: PeerRecord, at_unix_s: float) -> PeerRecord:
    at = int(at_unix_s)
    return replace(record, last_seen_at_unix_s=at) if at >= record.last_seen_at_unix_s + SEEN_STEP_S else record


def _with_address(record: PeerRecord, address: PeerAddress, name: str) -> PeerRecord:
    """With what was told. An address that worked, or that the owner gave, stays first whatever others tell."""
    is_proved = record.last_linked_at_unix_s > 0 or record.standing is Standing.LISTED
    kept = record.addresses[:1] if is_proved else ()
    told = _bounded(address.direct)
    if not set(told) <= set(record.addresses):
        record = replace(record, addresses=_bounded((*kept, *told, *record.addresses)))
    relay_url = address.relay_url or ""
    if not 0 < len(relay_url) <= MAX_RELAY_CHARS or not relay_url.isascii():
        relay_url = record.relay_url or ""
    name = name[:MAX_NAME_CHARS] if name.isprintable() else ""
    return replace(record, relay_url=relay_url or None, name=name or record.name)


def _worked_at(record: PeerRecord, address: PeerAddress) -> PeerRecord:
    """With this address first. When there are too many, those that worked before it go, not those that were told:
    a peer behind a NAT comes from another port each time.
    """
    worked = _bounded(address.direct)
    others = [each for each in record.addresses if each not in worked]
    too_many = max(0, len(worked) + len(others) - MAX_ADDRESSES)
    return replace(record, addresses=(*worked, *others[too_many:]))


def _bounded(addresses: Iterable[str]) -> tuple[str, ...]:
    each_once = dict.fromkeys(text for text in addresses if 0 < len(text) <= MAX_ADDRESS_CHARS and text.isascii())
    return tuple(each_once)[:MAX_ADDRESSES]
