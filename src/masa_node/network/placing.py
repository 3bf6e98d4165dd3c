"""Where nodes are that peers tell of: what may be dialed of that goes into the peer book.

Which addresses of a node may be dialed depends on where its teller is (`transport/addresses.py`). Over iroh that is not
known in the first moment of a link, in which a peer tells of all that it knows. What it told waits until it is, for the
next advert of such a node comes minutes or hours later.
"""

from collections.abc import Callable

from masa_node.network.gossip.advert_set import MAX_KNOWN
from masa_node.network.gossip.adverts import Advert
from masa_node.network.links.links import Links
from masa_node.network.links.peer_book import PeerBook
from masa_node.network.transport.addresses import filter_dialable
from masa_node.network.transport.interfaces import NodeId, PeerAddress, Transport

MAX_WAITING = MAX_KNOWN


class Unplaced:
    """Whom peers told of so, at most MAX_WAITING: those that wait longest go."""

    def __init__(self) -> None:
        self._tellers: dict[NodeId, NodeId] = {}

    def note(self, node_id: NodeId, told_by: NodeId) -> None:
        """This linked peer told of that node, the last one to do so."""
        self._tellers[node_id] = told_by
        if len(self._tellers) > MAX_WAITING:
            del self._tellers[next(iter(self._tellers))]

    def placed(self, way_of: Callable[[NodeId], str | None]) -> list[tuple[NodeId, str]]:
        """Those whose teller's way is known now, with that way: they wait no longer, nor do those of one that is gone.

        `way_of` gives the address that a peer is linked over: "" where it is not known, None where it is not linked.
        """
        if not self._tellers:
            return []
        ways = {teller: way_of(teller) for teller in set(self._tellers.values())}
        waiting = [(node_id, ways[teller]) for node_id, teller in self._tellers.items()]
        self._tellers = {node_id: self._tellers[node_id] for node_id, way in waiting if way == ""}
        return [(node_id, way) for node_id, way in waiting if way]


class Placing:
    """`look` is called when somebody new may be dialed."""

    def __init__(
        self, transport: Transport, book: PeerBook, links: Links, look: Callable[[], None], *, allow_private: bool
    ) -> None:
        self._transport = transport
        self._book = book
        self._sessions = links.sessions
        self._look = look
        self._allow_private = allow_private
        self._unplaced = Unplaced()

    def way_of(self, peer: NodeId) -> str | None:
        """The address that this peer is linked over: "" where it is not known, None where there is no link."""
        session = self._sessions.get(peer)
        return session.link.path().address if session is not None else None

    def heard(self, advert: Advert, teller: NodeId, way: str | None, at_unix_s: float) -> None:
        """This peer, linked over that way (`way_of`), told of that node."""
        self.note(advert, way or "", at_unix_s)
        if way == "":
            self._unplaced.note(advert.node_id, teller)

    def note(self, advert: Advert, told_at: str, at_unix_s: float) -> None:
        """One that is at this address told of that node."""
        peer = advert.node_id
        announced = PeerAddress(peer, advert.addresses, advert.relay_url)
        relays = self._transport.relays if advert.relay_url is not None else frozenset[str]()
        address = filter_dialable(announced, told_at, allow_private=self._allow_private, relays=relays)
        if address.direct or address.relay_url is not None:
            self._book.heard(address, advert.name, at_unix_s)
            if peer not in self._sessions:
                self._look()

    def placed(self) -> list[tuple[NodeId, str]]:
        """See `Unplaced.placed`; they are still to be noted."""
        return self._unplaced.placed(self.way_of)
