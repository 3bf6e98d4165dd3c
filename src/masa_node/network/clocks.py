"""How far this machine's clock is ahead of those of peers, by the time at which each vouched for this node. Pure."""

import msgspec

from masa_node.network.links.vouchers import said_at_unix_s
from masa_node.network.transport.interfaces import MAX_CLOCK_SKEW_S, NodeId

MAX_CLOCKS = 1_000  # as many peers as reasons are kept of
REMEMBERED_S = 3600.0  # of a peer that went because of it: its clock may be right by now
APART = "peer_clock"  # the code of the reason why such a peer is not linked


class _Read(msgspec.Struct, frozen=True):
    ahead_s: float
    until_s: float


class Clocks:
    """Of linked peers, and for an hour of those that went because their clock is too far from this one."""

    def __init__(self) -> None:
        self._read: dict[NodeId, _Read] = {}

    def vouched(self, peer: NodeId, signed: bytes, now_s: float, at_unix_s: float) -> None:
        """Its word for this node, made for this link a moment ago, came now. Nothing of it is checked: it is a hint."""
        made_at_unix_s = said_at_unix_s(signed)
        if made_at_unix_s is None:
            return
        self._read.pop(peer, None)
        self._read[peer] = _Read(at_unix_s - made_at_unix_s, now_s + REMEMBERED_S)
        while len(self._read) > MAX_CLOCKS:
            self._read.pop(next(iter(self._read)))

    def unlinked(self, peer: NodeId, code: str) -> str:
        """Why is it gone? `code`, or APART where the clocks are."""
        if self.is_apart(peer):
            return APART
        self._read.pop(peer, None)
        return code

    def is_apart(self, peer: NodeId) -> bool:
        """Do the two refuse what the other one signs? Also while it is not known who of them is right."""
        read = self._read.get(peer)
        return read is not None and abs(read.ahead_s) > MAX_CLOCK_SKEW_S

    def known(self, now_s: float) -> list[tuple[NodeId, float]]:
        """Each peer, and how many seconds this machine's clock is ahead of its."""
        return [
            (peer, read.ahead_s) for peer, read in self._read.items() if now_s < read.until_s or not self.is_apart(peer)
        ]
