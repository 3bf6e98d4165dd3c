"""Which member each voucher let in, and how many one member may bring in. Pure."""

from collections.abc import Container, Iterable

from masa_node.network.links.peer_record import MembershipLevel, PeerRecord, last_use
from masa_node.network.transport.interfaces import NodeId

# For how many others one member's voucher is taken. A member that invited this node, or that its owner named, may bring
# in half of all links. One that this node invited itself may bring a few friends. A member by voucher brings nobody.
MAX_VOUCHED = {MembershipLevel.LISTED: 128, MembershipLevel.INVITED: 16}


class Vouched:
    """The records of members that are in by a word alone; those of one voucher in the order in which they came."""

    def __init__(self) -> None:
        self._by: dict[NodeId, dict[NodeId, PeerRecord]] = {}

    def __len__(self) -> int:
        """How many members have vouched for somebody."""
        return len(self._by)

    def by(self, voucher: NodeId) -> list[PeerRecord]:
        """The members let in by this one's voucher, the newest last."""
        return list(self._by.get(voucher, {}).values())

    def note(self, record: PeerRecord) -> None:
        """This is the record of a peer now."""
        if record.vouched_by is not None:
            self._by.setdefault(record.vouched_by, {})[record.node_id] = record

    def drop(self, record: PeerRecord) -> None:
        """This is no longer its record."""
        if record.vouched_by is not None:
            vouched = self._by[record.vouched_by]
            del vouched[record.node_id]
            if not vouched:
                del self._by[record.vouched_by]

    def is_full(self, voucher: PeerRecord) -> bool:
        """Has it brought in as many as it may?"""
        return len(self._by.get(voucher.node_id, ())) >= MAX_VOUCHED.get(voucher.membership, 0)

    def least_needed(self, voucher: NodeId, linked: Container[NodeId]) -> PeerRecord | None:
        """Of those it brought the one that goes for another: longest not linked, and not trusted by the owner."""
        return _longest_unused(each for each in self.by(voucher) if each.node_id not in linked and not each.is_trusted)


def _longest_unused(records: Iterable[PeerRecord]) -> PeerRecord | None:
    return min(records, key=last_use, default=None)
