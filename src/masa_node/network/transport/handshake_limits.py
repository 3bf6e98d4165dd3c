"""Which of the connections that arrive at a node's port may shake hands. Pure.

A handshake costs little, but strangers can begin many. What they can hold is bounded for each subnet they come from, so
that peers that begin handshakes and never end them keep nobody else out.
"""

from collections import Counter
from enum import Enum, auto
from typing import NamedTuple

MAX_TAKEN_LINKS = 512  # that were taken: twice what the packages above keep, for those that still introduce themselves
MAX_LINKS_PER_SUBNET = 128  # an office behind one address
MAX_HANDSHAKES = 256  # under way at once
MAX_HANDSHAKES_PER_SUBNET = 64
UNPROVEN_HANDSHAKES = 64  # from here on a peer proves first that its address is its own (RFC 9000, 8.1.2)


class Decision(Enum):
    """What to do with a connection that arrives."""

    ACCEPT = auto()
    RETRY = auto()  # its address, by sending a token back
    IGNORE = auto()  # nothing is said; it sends its first packet again within a second or so
    REFUSE = auto()  # it is told


class HandshakeCounts(NamedTuple):
    """How many there are now, together."""

    handshakes: int
    links: int


class HandshakeLimits:
    """Counts handshakes and taken links by subnet (`bind.subnet_of`)."""

    def __init__(self) -> None:
        self._handshakes: Counter[str] = Counter()
        self._links: Counter[str] = Counter()
        self._under_way = 0
        self._linked = 0

    def __repr__(self) -> str:
        return f"HandshakeLimits({self.counts()})"

    def counts(self) -> HandshakeCounts:
        """Handshakes under way, and links that were taken."""
        return HandshakeCounts(self._under_way, self._linked)

    def by_subnet(self) -> tuple[Counter[str], Counter[str]]:
        """The same, each by subnet; no subnet is named that has none."""
        return Counter(self._handshakes), Counter(self._links)

    def decide(self, subnet: str) -> Decision:
        """For a connection from this subnet, now. One that has proved its address is not sent `RETRY` again: take that
        as `ACCEPT`.
        """
        if self._under_way >= MAX_HANDSHAKES or self._handshakes[subnet] >= MAX_HANDSHAKES_PER_SUBNET:
            return Decision.IGNORE
        is_full = self._linked + self._under_way >= MAX_TAKEN_LINKS
        if is_full or self._links[subnet] + self._handshakes[subnet] >= MAX_LINKS_PER_SUBNET:
            return Decision.REFUSE
        return Decision.RETRY if self._under_way >= UNPROVEN_HANDSHAKES else Decision.ACCEPT

    def begun(self, subnet: str) -> None:
        """A handshake is under way."""
        self._under_way += 1
        self._handshakes[subnet] += 1

    def ended(self, subnet: str) -> None:
        """It is over, well or not."""
        self._under_way -= 1
        self._handshakes -= Counter((subnet,))  # which forgets those that come to nothing

    def linked(self, subnet: str) -> None:
        """A link has come of it."""
        self._linked += 1
        self._links[subnet] += 1

    def unlinked(self, subnet: str) -> None:
        """The link is gone."""
        self._linked -= 1
        self._links -= Counter((subnet,))
