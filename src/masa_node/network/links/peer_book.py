"""The peers that this node knows: membership, addresses, which to dial when. Pure: time and randomness are given."""

import heapq
import random
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet

from msgspec.structs import replace

from masa_node.network.links.peer_record import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    MAX_ADDRESS_CHARS,
    MAX_NAME_CHARS,
    SEEN_STEP_S,
    STRENGTH,
    MembershipLevel,
    PeerRecord,
    Retry,
    UnixTime,
    heard_of,
    last_use,
    new_record,
    retry_after,
    seen_at,
    with_address,
    worked_at,
)
from masa_node.network.links.vouched import MAX_VOUCHED, Vouched
from masa_node.network.transport.interfaces import NodeId, PeerAddress, is_node_id

__all__ = ["FIRST_PAUSE_S", "LONGEST_PAUSE_S", "MAX_ADDRESS_CHARS", "MAX_NAME_CHARS", "SEEN_STEP_S"]
__all__ += ["MembershipLevel", "PeerBook", "PeerRecord", "UnixTime"]

MAX_PEERS = 10_000  # beside the blocked ones; about 1 kB each
MAX_BLOCKED = 10_000  # of their own, so that a full book never lets a blocked one back in
STABLE_LINK_S = 30  # a link that held so long clears the failures before it

_MEMBERS = frozenset({MembershipLevel.OPEN, MembershipLevel.VOUCHED, MembershipLevel.INVITED, MembershipLevel.LISTED})
_GIVEN_UP = (MembershipLevel.HEARD, MembershipLevel.OPEN, MembershipLevel.VOUCHED, MembershipLevel.INVITED)

Among = Iterable[NodeId] | None  # these known peers only; None: all


class PeerBook:
    """All peers, at most MAX_PEERS and MAX_BLOCKED.

    When it is full the least worth one is given up: HEARD longest unseen first, then OPEN, VOUCHED, INVITED ones
    longest not linked. Never given up are LISTED, trusted and linked ones. A newcomer never displaces a stronger
    membership level than its own: strangers cannot push members out. `own` is this node, which is never kept.
    """

    def __init__(self, records: Iterable[PeerRecord] = (), *, own: NodeId | None = None, is_open: bool = False) -> None:
        self._own = own
        self._is_open = is_open
        self._records: dict[NodeId, PeerRecord] = {}
        self.get: Callable[[NodeId], PeerRecord | None] = self._records.get  # the record of this peer
        self.ids: AbstractSet[NodeId] = self._records.keys()  # of all, blocked ones too; as they are now
        self._blocked: set[NodeId] = set()
        self._linked: set[NodeId] = set()
        self.wanted: set[NodeId] = set()  # LISTED, INVITED, trusted: linked whenever possible
        self._vouched = Vouched()
        self.retries: dict[NodeId, Retry] = {}
        self.queues: dict[MembershipLevel, dict[NodeId, None]] = {each: {} for each in _GIVEN_UP}
        self._changed: set[NodeId] = set()
        self._saved: set[NodeId] = set()  # what the store holds, so that only these are told as gone
        self._gone: set[NodeId] = set()
        for record in sorted(records, key=last_use):
            self._saved.add(record.node_id)
            if not self._add(record):
                self._gone.add(record.node_id)
        self._changed.clear()

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
        """This peer was announced, by itself or by another. False when it is not added: blocked, own, no room."""
        known = self._records.get(address.node_id)
        if known is None:
            return self._add(heard_of(address, name, at_unix_s))
        if known.membership is MembershipLevel.BLOCKED:
            return False
        seen = seen_at(with_address(known, address, name), at_unix_s)
        self._put(seen)
        if seen.membership is MembershipLevel.HEARD:
            self._queue_again(seen)
        return True

    def admit(
        self,
        node_id: NodeId,
        membership: MembershipLevel,
        address: PeerAddress | None,
        at_unix_s: float,
        vouched_by: NodeId | None = None,
    ) -> bool:
        """It is a member now, with at least this membership level. False when it is not: blocked, own, no room, or its
        voucher (`vouched_by`, for VOUCHED) has vouched for too many.

        Raises `ValueError` for a membership level that makes no member.
        """
        if membership not in _MEMBERS:
            raise ValueError(membership)
        known = self._records.get(node_id)
        if known is not None and known.membership is MembershipLevel.BLOCKED:
            return False
        if known is not None and STRENGTH[known.membership] >= STRENGTH[membership]:
            record = seen_at(known, at_unix_s)
        elif vouched_by is not None and not self._make_room_of(vouched_by):
            return False
        else:
            record = known or new_record(node_id, membership, at_unix_s)
            record = replace(seen_at(record, at_unix_s), membership=membership, vouched_by=vouched_by)
        if known is None:
            return self._add(with_address(record, address, "") if address else record)
        self._put(with_address(record, address, "") if address else record)
        if record.membership is not known.membership:
            self._queue_again(record)
        return True

    def is_vouched_for(self, node_id: NodeId) -> bool:
        """Is it a member by a voucher alone?"""
        record = self._records.get(node_id)
        return record is not None and record.membership is MembershipLevel.VOUCHED

    def may_vouch(self, node_id: NodeId) -> bool:
        """Is its voucher for one more taken? Members that the owner let in directly may vouch, for some each."""
        record = self._records.get(node_id)
        if record is None or record.membership not in MAX_VOUCHED:
            return False
        return not self._vouched.is_full(record) or self._vouched.least_needed(node_id, self._linked) is not None

    def vouched_by(self, node_id: NodeId) -> list[NodeId]:
        """The members let in by this one's voucher, the newest last."""
        return [record.node_id for record in self._vouched.by(node_id)]

    def linked(self, node_id: NodeId, at_unix_s: float, address: PeerAddress | None = None) -> None:
        """A link with it stands; `address` is where, and goes first from now on. Nothing happens for unknown ones."""
        known = self._records.get(node_id)
        if known is None or known.membership is MembershipLevel.BLOCKED:
            return
        self._linked.add(node_id)
        if address is not None:
            known = worked_at(known, address)
        at = int(at_unix_s)
        self._put(replace(known, last_linked_at_unix_s=at, last_seen_at_unix_s=at))
        self._unqueue(node_id)

    def unlinked(self, node_id: NodeId, at_unix_s: float, now_s: float, rng: random.Random) -> None:
        """Its link is gone. It is due again after a pause, the first one if the link held for STABLE_LINK_S."""
        if (known := self._records.get(node_id)) is None or node_id not in self._linked:
            return
        at = int(at_unix_s)
        if at - known.last_linked_at_unix_s >= STABLE_LINK_S:
            self.retries.pop(node_id, None)
        self._put(replace(known, last_linked_at_unix_s=at, last_seen_at_unix_s=at))
        self.failed(node_id, now_s, rng)

    def failed(self, node_id: NodeId, now_s: float, rng: random.Random) -> None:
        """It could not be dialed, or refused this node. It is not due for 1 s, doubling to 5 min, less up to half."""
        known = self._records.get(node_id)
        if known is None:
            return
        self._linked.discard(node_id)
        if known.membership in self.queues and node_id not in self.queues[known.membership]:  # else it keeps its place
            self._queue_again(known)
        self.retries[node_id] = retry_after(self.failures(node_id) + 1, now_s, rng.random())

    def failures(self, node_id: NodeId) -> int:
        """How often in a row it could not be linked with."""
        return retry.failures if (retry := self.retries.get(node_id)) else 0

    def remember(self, records: Iterable[PeerRecord]) -> None:
        """What the store held and could not be read before. Of two records of one peer the stronger membership level
        counts, so that a block that was kept is a block again.
        """
        for record in records:
            known = self._records.get(record.node_id)
            self._saved.add(record.node_id)
            if known is None:
                self._add(record)
            elif record.membership is MembershipLevel.BLOCKED:
                self.block(record.node_id, record.last_seen_at_unix_s)
            elif STRENGTH[record.membership] > STRENGTH[known.membership]:
                self._put(record)
                self._queue_again(record)

    # ---- which peers to dial ----

    def due(self, now_s: float, linked: AbstractSet[NodeId], room: int, among: Among = None) -> list[PeerAddress]:
        """The peers to dial now, best first, at most `room`: LISTED ones, then members by how lately they were linked,
        then others that have an address; of those that are as good the first. `linked` are those that need none.
        """
        if room <= 0:
            return []
        ready = [
            self._records[node_id]
            for node_id in (self._records if among is None else among)  # 10 000 at most, nearly all of them resting
            if node_id not in linked
            and ((retry := self.retries.get(node_id)) is None or retry.not_before_s <= now_s)
            and self._is_dialed(self._records[node_id])
        ]
        return [record.address for record in heapq.nsmallest(room, ready, key=self._rank)]

    def next_due_s(self, now_s: float, linked: AbstractSet[NodeId], among: Among = None) -> float | None:
        """When one of them is due (not before `now_s`); None when none will be until something happens."""
        earliest_s = float("inf")
        for node_id in self._records if among is None else among:
            if node_id not in linked and self._is_dialed(self._records[node_id]):
                earliest_s = min(earliest_s, self._not_before_s(node_id))
                if earliest_s <= now_s:
                    return now_s
        return earliest_s if earliest_s < float("inf") else None

    # ---- what the owner wants ----

    def forget(self, node_id: NodeId) -> bool:
        """Know nothing of it any more, not even that it is blocked, nor of those that are in by its word alone.

        False when it was not known.
        """
        if node_id not in self._records:
            return False
        for each in self.vouched_by(node_id):
            self._drop(each)
        self._drop(node_id)
        return True

    def block(self, node_id: NodeId, at_unix_s: float) -> bool:
        """Have nothing to do with it, known or not, nor with those that are in by its word alone; trust ends.

        False when it is own or MAX_BLOCKED are blocked.
        """
        known = self._records.get(node_id)
        if known is None:
            return self._add(new_record(node_id, MembershipLevel.BLOCKED, at_unix_s))
        if known.membership is MembershipLevel.BLOCKED:
            return True
        if len(self._blocked) >= MAX_BLOCKED:
            return False
        self._linked.discard(node_id)
        self.retries.pop(node_id, None)
        for each in self.vouched_by(node_id):
            self._drop(each)
        was = known.membership if known.vouched_by is None else MembershipLevel.HEARD  # a word has to be shown again
        blocked = {"membership": MembershipLevel.BLOCKED, "vouched_by": None, "is_trusted": False}
        self._put(replace(known, membership_before=was, **blocked))
        self._unqueue(node_id)
        return True

    def unblock(self, node_id: NodeId) -> bool:
        """It is again what it was before it was blocked; trust does not come back. False when it was not blocked."""
        known = self._records.get(node_id)
        if known is None or known.membership is not MembershipLevel.BLOCKED:
            return False
        self._drop(node_id)
        if known.membership_before is not None:
            self._add(replace(known, membership=known.membership_before, membership_before=None))
        return True

    def trust(self, node_id: NodeId, *, is_trusted: bool) -> bool:
        """May it see requests marked `X-Masa-Privacy: trusted`? False when it is not known, or blocked."""
        known = self._records.get(node_id)
        if known is None or known.membership is MembershipLevel.BLOCKED:
            return False
        self._put(replace(known, is_trusted=is_trusted))
        self._queue_again(self._records[node_id])
        return True

    def call(self, node_id: NodeId, called: str) -> None:
        """The owner's own name for this peer, which it does not choose itself. Nothing happens for an unknown one."""
        known = self._records.get(node_id)
        if known is not None and called.isprintable():
            self._put(replace(known, called=called[:MAX_NAME_CHARS]))

    def leave_relays(self) -> None:
        """The owner uses none any more: only those that the owner named are still dialed through theirs."""
        for record in self.all():
            if record.relay_url and record.membership is not MembershipLevel.LISTED:
                self._put(replace(record, relay_url=None))

    def take_changes(self) -> tuple[list[PeerRecord], list[NodeId]]:
        """The records that changed and the ids that are gone since the last call, for the store."""
        changed, gone = [self._records[node_id] for node_id in self._changed], list(self._gone)
        self._saved -= self._gone
        self._saved |= self._changed
        self._changed.clear()
        self._gone.clear()
        return changed, gone

    # ---- inside ----

    def _counts_as_member(self, record: PeerRecord) -> bool:
        return record.membership in _MEMBERS and (self._is_open or record.membership is not MembershipLevel.OPEN)

    def _is_dialed(self, record: PeerRecord) -> bool:
        is_anywhere = bool(record.addresses or record.relay_url) or self._counts_as_member(record)
        return is_anywhere and record.membership is not MembershipLevel.BLOCKED

    def _not_before_s(self, node_id: NodeId) -> float:
        return retry.not_before_s if (retry := self.retries.get(node_id)) else float("-inf")

    def _rank(self, record: PeerRecord) -> tuple[bool, bool, int, int, int]:
        first = (record.membership is not MembershipLevel.LISTED, not self._counts_as_member(record))
        return (*first, -record.last_linked_at_unix_s, -STRENGTH[record.membership], self.failures(record.node_id))

    def _add(self, record: PeerRecord) -> bool:
        node_id = record.node_id
        if node_id == self._own or not is_node_id(node_id) or not self._make_room(record.membership):
            return False
        if record.membership is MembershipLevel.BLOCKED:
            self._blocked.add(node_id)
        self._hold(record)
        self._gone.discard(node_id)
        self._queue(record)
        return True

    def _make_room(self, membership: MembershipLevel) -> bool:
        if membership is MembershipLevel.BLOCKED:
            return len(self._blocked) < MAX_BLOCKED
        if len(self._records) - len(self._blocked) < MAX_PEERS:
            return True
        for weaker in _GIVEN_UP:
            if STRENGTH[weaker] > STRENGTH[membership]:
                return False
            if self.queues[weaker]:
                self._drop(next(iter(self.queues[weaker])))
                return True
        return False

    def _put(self, record: PeerRecord) -> None:
        node_id = record.node_id
        if record.membership is MembershipLevel.BLOCKED:
            self._blocked.add(node_id)
        if self._records[node_id] != record:
            if self._records[node_id].vouched_by != record.vouched_by:
                self._vouched.drop(self._records[node_id])
            self._hold(record)

    def _hold(self, record: PeerRecord) -> None:
        self._records[record.node_id] = record
        if record.vouched_by is not None:
            self._vouched.note(record)
        self._changed.add(record.node_id)
        is_wanted = record.membership in MAX_VOUCHED or record.is_trusted
        (self.wanted.add if is_wanted else self.wanted.discard)(record.node_id)

    def _drop(self, node_id: NodeId) -> None:
        self._vouched.drop(self._records.pop(node_id))
        self._unqueue(node_id)
        self._blocked.discard(node_id)
        self.wanted.discard(node_id)
        self._linked.discard(node_id)
        self.retries.pop(node_id, None)
        self._changed.discard(node_id)
        if node_id in self._saved:
            self._gone.add(node_id)

    def _make_room_of(self, voucher: NodeId) -> bool:
        """May it bring one more in? One that it brought, and that is not linked, goes for it if need be."""
        if not self.may_vouch(voucher):
            return False
        least = self._vouched.least_needed(voucher, self._linked)
        if least is not None and self._vouched.is_full(self._records[voucher]):
            self._drop(least.node_id)
        return True

    def _queue_again(self, record: PeerRecord) -> None:
        """Put it at the end of those that may be given up, if it may."""
        self._unqueue(record.node_id)
        self._queue(record)

    def _queue(self, record: PeerRecord) -> None:
        """The same with one that is in no queue."""
        if record.membership in self.queues and not record.is_trusted and record.node_id not in self._linked:
            self.queues[record.membership][record.node_id] = None

    def _unqueue(self, node_id: NodeId) -> None:
        for queue in self.queues.values():
            queue.pop(node_id, None)
