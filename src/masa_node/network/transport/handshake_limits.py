"""Which of the connections that arrive at a node's port may shake hands. Pure.

A handshake costs little, but strangers can begin many. What they can hold is bounded for each customer and each site
that they come from. So peers that begin handshakes and never end them keep nobody else out.
"""

from collections import Counter
from enum import Enum, auto
from typing import NamedTuple

from masa_node.network.transport.sources import Source

MAX_TAKEN_LINKS = 512  # that were taken: twice what the packages above keep, for those that still introduce themselves
MAX_LINKS_PER_CUSTOMER = 128  # an office behind one address
MAX_LINKS_PER_SITE = 256  # half of all: a site has many such addresses, and a relay many nodes
MAX_HANDSHAKES = 256  # under way at once
MAX_HANDSHAKES_PER_CUSTOMER = 64
MAX_HANDSHAKES_PER_SITE = 128
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
    """Counts handshakes and taken links by where they come from (`sources.source_of`)."""

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

    def by_network(self) -> tuple[Counter[str], Counter[str]]:
        """The same, each by network; none is named that has none."""
        return Counter(self._handshakes), Counter(self._links)

    def decide(self, source: Source) -> Decision:
        """For a connection from there, now. One that has proved its address is not sent `RETRY` again: take that as
        `ACCEPT`.
        """
        shaking, linked = self._handshakes, self._links
        of_site, of_customer = (shaking[network] + linked[network] for network in source)
        if self._under_way >= MAX_HANDSHAKES or (
            shaking[source.site] >= MAX_HANDSHAKES_PER_SITE or shaking[source.customer] >= MAX_HANDSHAKES_PER_CUSTOMER
        ):
            return Decision.IGNORE
        is_full = self._linked + self._under_way >= MAX_TAKEN_LINKS
        if is_full or of_site >= MAX_LINKS_PER_SITE or of_customer >= MAX_LINKS_PER_CUSTOMER:
            return Decision.REFUSE
        return Decision.RETRY if self._under_way >= UNPROVEN_HANDSHAKES else Decision.ACCEPT

    def begun(self, source: Source) -> None:
        """A handshake is under way."""
        self._under_way += 1
        self._handshakes.update(set(source))

    def ended(self, source: Source) -> None:
        """It is over, well or not."""
        self._under_way -= 1
        self._handshakes -= Counter(set(source))  # which forgets those that come to nothing

    def linked(self, source: Source) -> None:
        """A link has come of it."""
        self._linked += 1
        self._links.update(set(source))

    def unlinked(self, source: Source) -> None:
        """The link is gone."""
        self._linked -= 1
        self._links -= Counter(set(source))
