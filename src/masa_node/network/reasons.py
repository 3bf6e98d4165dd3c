"""Why peers are not linked: the last reason of each, for people and for what they should do. Pure."""

import msgspec

from masa_node.network.transport.interfaces import NodeId

MAX_REASONS = 1_000  # as many as `masa-node peers` shows


class Reason(msgspec.Struct, frozen=True):
    """`code` is a `RefusalCode`, or the code of an error; `words` are for people."""

    code: str = ""
    words: str = ""


UNKNOWN = Reason()


class Reasons:
    """Of MAX_REASONS peers; the oldest goes for a new one."""

    def __init__(self) -> None:
        self._by_peer: dict[NodeId, Reason] = {}

    def note(self, peer: NodeId, words: str, code: str = "") -> None:
        """This is why now."""
        self._by_peer.pop(peer, None)
        self._by_peer[peer] = Reason(code, words)
        if len(self._by_peer) > MAX_REASONS:
            del self._by_peer[next(iter(self._by_peer))]

    def forget(self, peer: NodeId) -> None:
        """It is linked."""
        self._by_peer.pop(peer, None)

    def of(self, peer: NodeId) -> Reason:
        """The last one; `UNKNOWN` where there is none."""
        return self._by_peer.get(peer, UNKNOWN)
