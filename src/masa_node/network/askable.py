"""Which peers stand in the catalog: linked ones, and those that are known by their adverts and are dialed to be asked.

A peer that was not reached stands there again when it says something new, or when the way there may be another.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from itertools import islice

from masa_node.network.gossip.adverts import Advert, is_in_force
from masa_node.network.gossip.gossip import Gossip
from masa_node.network.gossip.own_advert import offers_of
from masa_node.network.links.frames import OpensRequests
from masa_node.network.links.links import Links
from masa_node.network.links.peer_book import MembershipLevel, PeerBook
from masa_node.network.requests.remote_peer import RemotePeer
from masa_node.network.transport.interfaces import NodeId
from masa_node.routing.catalog import Catalog

MAX_DISTANT_MODELS = 32_768  # of nodes that are not linked: as many as 128 linked ones may have
LOOKED_AT = 16  # of them, when there is no room for one more: the one that takes most of it goes
MAX_TRIED_AGAIN = 256  # at once, 0.03 ms each; of the others the next advert is waited for

Reach = Callable[[NodeId], Awaitable[OpensRequests]]


class Askable:
    """Keeps the catalog's peers true. `reach` dials one that is not linked; `is_trusted` is the owner's word now."""

    def __init__(
        self,
        catalog: Catalog,
        book: PeerBook,
        gossip: Gossip,
        links: Links,
        reach: Reach,
        is_trusted: Callable[[NodeId], bool],
    ) -> None:
        self._catalog = catalog
        self._book = book
        self._gossip = gossip
        self._sessions = links.sessions
        self._reach = reach
        self._is_trusted = is_trusted
        self._linked = links.linked
        self._remotes: dict[NodeId, RemotePeer] = {}
        self.members: set[NodeId] = set()  # of those that may be asked; the others are strangers, whom nobody let in
        self._distant: dict[NodeId, int] = {}  # those that are not linked: how many models each has
        self._models = 0  # of them all
        self._unreached: dict[NodeId, float] = {}  # the sequence of the advert with which one was not reached

    @property
    def peers(self) -> list[NodeId]:
        """Those that may be asked now."""
        return list(self._remotes)

    def offer(self, peer: NodeId) -> None:
        """Put what the peer offers into the catalog, if it may be asked now."""
        signed = self._gossip.advert_of(peer)
        if signed is not None:
            self.offer_what(signed.advert, time.time())

    def offer_what(self, advert: Advert, at_unix_s: float) -> None:
        """The same, of a peer whose newest advert this is."""
        peer = advert.node_id
        if not is_in_force(advert, at_unix_s):
            return
        is_linked = peer in self._sessions
        if not is_linked and not self._may_be_dialed(advert):
            return
        if is_linked:
            self._unreached.pop(peer, None)
        offers = offers_of(advert)
        if not self._has_room(peer, 0 if is_linked else len(offers)) or not (is_linked or offers):
            self.withdraw(peer)
            return
        remote = self._remotes.get(peer)
        if remote is None:
            remote = RemotePeer(peer, self._reach, self._is_trusted, advert.name, self._linked)
            self._remotes[peer] = remote
        if is_linked or self._book.is_member(peer):
            self.members.add(peer)
        else:
            self.members.discard(peer)
        self._catalog.put(remote, offers)

    def withdraw(self, peer: NodeId, *, may_be_back: bool = False) -> None:
        """It may not be asked any more."""
        self._has_room(peer, 0)
        self.members.discard(peer)
        remote = self._remotes.pop(peer, None)
        if remote is not None:
            now_s = asyncio.get_running_loop().time()
            self._catalog.remove(remote, now_s if may_be_back else None)

    def not_reached(self, peer: NodeId, *, is_refused: bool = False) -> None:
        """Its link was lost, or it could not be linked with. If it refused this node, its next advert tells nothing."""
        if peer in self._sessions:
            return
        signed = self._gossip.advert_of(peer)
        if signed is not None:
            self._unreached[peer] = math.inf if is_refused else signed.advert.sequence
        self.withdraw(peer, may_be_back=self._book.is_member(peer))

    def expired(self, peer: NodeId) -> None:
        """Nothing is known of it any more."""
        self._unreached.pop(peer, None)
        self.withdraw(peer)

    def try_again(self) -> None:
        """Those that were not reached may be now."""
        tried_again = list(self._unreached)[:MAX_TRIED_AGAIN]
        self._unreached.clear()
        for peer in tried_again:
            self.offer(peer)

    def book_changed(self) -> None:
        """The owner changed the book: forgotten and blocked peers, and those that they vouched for, are not asked."""
        for peer in self.peers:
            if self._book.get(peer) is None or self._book.is_blocked(peer):
                self.withdraw(peer)

    def _may_be_dialed(self, advert: Advert) -> bool:
        peer = advert.node_id
        record = self._book.get(peer)
        if record is None or record.membership is MembershipLevel.BLOCKED or not (record.addresses or record.relay_url):
            return False
        return self._unreached.get(peer, -1) < advert.sequence

    def _has_room(self, peer: NodeId, models: int) -> bool:
        """Does it fit beside the others that are not linked, some of which may have to go? It is counted then."""
        self._models -= self._distant.pop(peer, 0)
        while self._models + models > MAX_DISTANT_MODELS:
            greedy = self._greedy()
            if greedy is None or self._takes(greedy, self._distant[greedy]) <= self._takes(peer, models):
                return False
            self.withdraw(greedy)
        self._models += models
        if models:
            self._distant[peer] = models
        return True

    def _greedy(self) -> NodeId | None:
        """Of LOOKED_AT the one whose place costs others most; the next time it is others' turn."""
        looked_at = list(islice(self._distant, LOOKED_AT))
        for peer in looked_at:
            self._distant[peer] = self._distant.pop(peer)
        return max(looked_at, key=lambda peer: self._takes(peer, self._distant[peer]), default=None)

    def _takes(self, peer: NodeId, models: int) -> tuple[bool, int]:
        """Anybody can make up any number of strangers with any number of models: members, and few models, go first."""
        return not self._book.is_member(peer), models
