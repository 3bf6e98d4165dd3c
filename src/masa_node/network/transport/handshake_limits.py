"""Which of the connections that knock at a node's port may shake hands. Pure.

A handshake costs little, but strangers can begin many: what they can hold is bounded for each place they come from,
so that those who begin handshakes and never end them keep nobody else out.
"""

from collections import Counter
from enum import Enum, auto

MAX_LINKS = 512  # that were taken: twice what the rooms above keep, for those that still introduce themselves
MAX_LINKS_PER_SITE = 128  # an office behind one address
MAX_HANDSHAKES = 256  # under way at once
MAX_HANDSHAKES_PER_SITE = 64
UNPROVEN_HANDSHAKES = 64  # from here on a peer proves first that its address is its own (RFC 9000, 8.1.2)


class Verdict(Enum):
    """What to do with one that knocks."""

    SHAKE = auto()
    PROVE = auto()  # its address, by sending a token back
    LATER = auto()  # nothing is said; it sends its first packet again within a second or so
    NO = auto()  # it is told


class Arrivals:
    """Counts handshakes and taken links by site (`bind.site_of`)."""

    def __init__(self) -> None:
        self._handshakes: Counter[str] = Counter()
        self._links: Counter[str] = Counter()
        self._under_way = 0
        self._linked = 0

    def verdict(self, site: str) -> Verdict:
        """For one from this site, now. Who has proved his address is not asked to `PROVE` again: take it as `SHAKE`."""
        if self._under_way >= MAX_HANDSHAKES or self._handshakes[site] >= MAX_HANDSHAKES_PER_SITE:
            return Verdict.LATER
        is_full = self._linked + self._under_way >= MAX_LINKS
        if is_full or self._links[site] + self._handshakes[site] >= MAX_LINKS_PER_SITE:
            return Verdict.NO
        return Verdict.PROVE if self._under_way >= UNPROVEN_HANDSHAKES else Verdict.SHAKE

    def begun(self, site: str) -> None:
        """A handshake is under way."""
        self._under_way += 1
        self._handshakes[site] += 1

    def ended(self, site: str) -> None:
        """It is over, well or not."""
        self._under_way -= 1
        self._handshakes -= Counter((site,))  # which forgets those that come to nothing

    def linked(self, site: str) -> None:
        """A link has come of it."""
        self._linked += 1
        self._links[site] += 1

    def unlinked(self, site: str) -> None:
        """The link is gone."""
        self._linked -= 1
        self._links -= Counter((site,))
