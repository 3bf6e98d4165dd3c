"""The whole network: links, gossip, adverts and the peer book, wired. Peers come and go in the catalog as they do here.

Everything that this node knows of a peer ends in one question: may it be asked now (`askable.py`)? It may while its
newest advert is in force, and it is linked (its key proved, let in by `links/membership.py`) or can be dialed for it.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Collection, Iterator, Sequence

import msgspec
import structlog

from masa_node.chat.errors import LinkLost, LinkRefused, ProtocolFault, ProviderError
from masa_node.network.askable import Askable
from masa_node.network.clocks import Clocks
from masa_node.network.dialing import Dialing
from masa_node.network.gossip.adverts import SignedAdvert
from masa_node.network.gossip.gossip import AdvertExpired, AdvertHeard, Gossip, OwnAdvertElsewhere
from masa_node.network.gossip.own_advert import Advertiser
from masa_node.network.links.control import Hello, Referral, RefusalCode
from masa_node.network.links.frames import FrameStream, OpensRequests
from masa_node.network.links.links import MAX_LINKS, NOT_NEEDED, RANDOM_LINKS, Links
from masa_node.network.links.membership import Membership, UseInvite
from masa_node.network.links.peer_book import MembershipLevel, PeerBook
from masa_node.network.links.peer_record import not_needed_before
from masa_node.network.links.session import Session
from masa_node.network.links.token_bucket import TokenBucket
from masa_node.network.links.vouchers import make_voucher, open_voucher, vouchers_to_show
from masa_node.network.placing import Placing
from masa_node.network.reasons import Reasons
from masa_node.network.referrals import Referrals
from masa_node.network.requests.latecomers import latecomers
from masa_node.network.requests.server import PeerServer
from masa_node.network.transport.interfaces import NodeId, PeerAddress, Transport, short_id
from masa_node.routing.catalog import Catalog

LOG_BURST = MAX_LINKS  # lines about links that come and go: all of a start,
LOG_PER_S = 0.2  # and then so many, for a peer can come and go a hundred times a second
SHORTEST_CUT_S = 10.0  # alone for less a node was not cut off, and its pauses are short
SHORTEST_REST_S = 0.1  # what comes meanwhile is spread together: in a crowd there are hundreds of messages a second
LONGEST_REST_S = 1.0  # what this node announces is looked at again after this

log = structlog.get_logger()


class NetworkRules(msgspec.Struct, frozen=True):
    """What the owner decided; `trusted` are the ids of TRUSTED_PEERS."""

    version: str = ""
    name: str = ""
    is_open: bool = False
    allow_private: bool = False
    trusted: frozenset[str] = frozenset()
    random_links: int = RANDOM_LINKS


class NetworkParts(msgspec.Struct, frozen=True):
    """What the network is made of; the composition root makes them, tests make them in memory."""

    transport: Transport
    catalog: Catalog
    server: PeerServer
    advertiser: Advertiser
    book: PeerBook
    use_invite: UseInvite
    rng: random.Random


class Network:
    """`run` it in a task. Nothing happens before, and nothing is left after."""

    def __init__(self, parts: NetworkParts, rules: NetworkRules) -> None:
        self._parts = parts
        self._rules = rules
        self._keys = parts.transport.keys
        self._vouchers: dict[NodeId, bytes] = {}
        self._new_vouchers: dict[NodeId, tuple[bytes, int]] = {}  # as many as there are links, until they are saved
        self._invites: dict[NodeId, bytes] = {}
        self.reasons, self.clocks = Reasons(), Clocks()
        self.refused_join = ""  # why the last join was refused, until there is another
        self._awaited: dict[NodeId, asyncio.Event] = {}
        self._lines = TokenBucket(LOG_PER_S, LOG_BURST, 0.0)
        self._news = asyncio.Event()
        self._started_s = self._last_lost_s = float("-inf")
        self._refused_by: set[NodeId] = set()  # since the start; members that will not let this node in
        self.book = parts.book
        self.stop_serving = parts.server.stop
        self.gossip = Gossip(self._keys, parts.rng)
        membership = Membership(parts.book, self._keys, parts.use_invite, is_open=rules.is_open)
        self.links = Links(parts.transport, membership, self, random_links=rules.random_links)
        self._dialing = Dialing(self.links, self.book, parts.rng, self._note_failure)
        self._askable = Askable(parts.catalog, self.book, self.gossip, self.links, self._reach, self.is_trusted)
        look, allows = self._dialing.look, rules.allow_private
        self._placing = Placing(parts.transport, self.book, self.links, look, allow_private=allows)
        self._referrals = Referrals(self._keys, self.gossip, self.links, parts.rng)

    @property
    def node_id(self) -> NodeId:
        """This node's id."""
        return self._keys.node_id

    def address(self) -> PeerAddress:
        """Where others may find this node now."""
        return self._parts.transport.address()

    async def run(self) -> None:
        """Until cancelled."""
        self._started_s = self._now_s()
        stop_watching = self._parts.server.shared.catalog.watch(self._offers_changed)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.links.run())
                group.create_task(self._spread())
                group.create_task(self._dialing.run())
        finally:
            stop_watching()
            for peer in self._askable.peers:
                self._askable.withdraw(peer)

    # ---- what the owner does ----

    def want(self, addresses: Sequence[PeerAddress], invite: bytes | None = None) -> None:
        """The owner named these peers: they are members, and are dialed now and whenever they are not linked."""
        for address in addresses:
            if address.node_id == self.node_id:
                continue
            self.book.admit(address.node_id, MembershipLevel.LISTED, address, time.time())
            if invite is not None:
                self._invites[address.node_id] = invite
        self._dialing.look()

    def heard_on_lan(self, address: PeerAddress) -> None:
        """LAN discovery found a node. It is dialed; whether it is let in is decided as for any other."""
        if address.node_id != self.node_id:
            self.book.heard(address, "", time.time())
            self._dialing.look()

    def book_changed(self) -> None:
        """The owner changed the book (forget, block, trust): make it true now."""
        for peer in list(self.links.sessions):
            if self.book.get(peer) is None or self.book.is_blocked(peer):
                self.links.drop(peer, "the owner of one of the two blocked or forgot the other")
        self._askable.book_changed()
        absences = self._parts.catalog.absences
        for name in absences.names():
            if not self.book.is_member(NodeId(name)):
                absences.back(name)
        for record in self.book.all():
            if record.membership is MembershipLevel.BLOCKED:
                self.gossip.forget(record.node_id)
            else:
                self.gossip.recall(record.node_id)
        self._dialing.look()

    async def join(self, address: PeerAddress, invite: bytes) -> None:
        """Join through this peer now, unless that was done before and both are linked. Returns once the link holds.

        A peer that refuses the invite is forgotten, if it was no member before. Raises `LinkRefused`,
        `PeerUnreachable`, `LinkLost`, `ProtocolFault`.
        """
        peer = address.node_id
        known = self.book.get(peer)
        if known is not None and known.membership is MembershipLevel.LISTED and peer in self.links.sessions:
            await self.links.sessions[peer].held()
            return
        was_member = self.book.is_member(peer)
        self.want([address], invite)
        self.links.drop(peer, "joining again")
        await self.links.wait_for_attempt(peer)
        try:
            await (await self.links.connect(address)).held()
        except LinkRefused as exc:
            if exc.refusal != RefusalCode.FULL:  # it may have room later
                self._invites.pop(peer, None)
                if not was_member:
                    self.book.forget(peer)
            raise

    def dial_again(self) -> None:
        """What kept peers from being reached may be over: dial them now, without the pauses after failures."""
        for session in self.links.sessions.values():
            session.way_changed()
        self._end_pauses(of_refused=True)
        self._dialing.look()

    def _end_pauses(self, *, of_refused: bool) -> None:
        """`of_refused`: also before those are dialed again that were reached, and refused this node."""
        retries, refused = self.book.retries, frozenset(RefusalCode)
        for peer in [peer for peer in retries if of_refused or self.reasons.of(peer).code not in refused]:
            del retries[peer]
        self._askable.try_again()

    # ---- what the links tell (LinksOwner) ----

    def greeting(self, peer: NodeId, theirs: Hello | None = None) -> Hello:
        """See `LinksOwner`."""
        received = theirs.vouchers if theirs is not None else ()
        vouchers = vouchers_to_show(self._vouchers, received, self._parts.rng.sample)
        return Hello(self._rules.version, self._rules.name, self._invites.get(peer), vouchers)

    def linked(self, session: Session, membership: MembershipLevel, hello: Hello) -> None:
        """See `LinksOwner`."""
        peer, at_unix_s = session.peer, time.time()
        path = session.link.path()
        address = PeerAddress(peer, (path.address,) if path.route == "direct" else ())
        announced = None if session.link.is_dialed else address
        if not self.book.admit(peer, membership, announced, at_unix_s, session.vouched_by):
            session.close("it knows as many peers as it keeps, or as one member may vouch for")
            return
        self.book.linked(peer, at_unix_s, address)
        self._invites.pop(peer, None)
        self.reasons.forget(peer)
        self._refused_by.discard(peer)
        if not self.book.is_vouched_for(peer):  # what this node was told itself is not its own word
            session.send_voucher(make_voucher(peer, self._keys, at_unix_s))
        self.gossip.linked(peer, self._now_s())
        self._askable.offer(peer)
        if len(self.links.sessions) == 1 and self._now_s() - self._last_lost_s > SHORTEST_CUT_S:
            self._end_pauses(of_refused=False)  # what was in the way of this one is over for others, too
        self._dialing.look()
        self._news.set()
        if self._lines.take(1, self._now_s()):
            log.info("peer linked", peer=short_id(peer), name=hello.name, route=path.route, membership=membership)

    def turned_away(self, peer: NodeId, why: LinkRefused) -> None:
        """See `LinksOwner`."""
        if why.refusal == RefusalCode.VERSION and self.book.is_member(peer):
            self.reasons.note(peer, why.message, why.refusal)

    def referral(self, peer: NodeId, membership: MembershipLevel) -> Referral:
        """See `LinksOwner`."""
        return self._referrals.give(peer, membership, self._now_s(), time.time())

    def referred(self, peer: NodeId, address: str, referral: Referral) -> None:
        """See `LinksOwner`."""
        is_member = self.book.is_member(peer)  # a stranger's word would take another one's place
        if referral.voucher is not None and is_member:
            with contextlib.suppress(ProtocolFault):
                self._keep_voucher(peer, referral.voucher)
        for advert in self._referrals.take(referral, self._now_s(), time.time()):
            self._placing.note(advert, address, time.time())

    def unlinked(self, session: Session) -> None:
        """See `LinksOwner`."""
        self._last_lost_s = self._now_s()
        self.gossip.unlinked(session.peer)
        self._awaited.pop(session.peer, None)
        code = self.clocks.unlinked(session.peer, LinkLost.code)
        self.book.unlinked(session.peer, time.time(), self._now_s(), self._parts.rng)
        if NOT_NEEDED in session.why:
            if self.book.get(session.peer) is not None:
                self.book.retries[session.peer] = not_needed_before(self._now_s(), self._parts.rng.random())
            self._askable.offer(session.peer)
        else:
            self._askable.not_reached(session.peer)
            self.reasons.note(session.peer, session.why, code)
        self._dialing.look()
        if self._lines.take(1, self._now_s()):
            log.info("peer gone", peer=short_id(session.peer), why=session.why)

    def gossip_came(self, peer: NodeId, message: bytes) -> Iterator[None]:
        """See `SessionOwner`."""
        try:
            yield from self.gossip.taking(peer, message, self._now_s(), time.time())
        finally:  # also what came before a fault in it
            self._take_changes()
            self._news.set()

    def voucher_came(self, peer: NodeId, signed: bytes) -> None:
        """See `SessionOwner`."""
        self.clocks.vouched(peer, signed, self._now_s(), time.time())
        self._keep_voucher(peer, signed)

    def _keep_voucher(self, peer: NodeId, signed: bytes) -> None:
        """This peer's word for this node. Raises `ProtocolFault`."""
        voucher = open_voucher(signed, self._keys, time.time())
        if voucher.member != self.node_id or voucher.by != peer:
            raise ProtocolFault("it sent a voucher that is not its own word for this node.")
        self.remember_vouchers([(peer, signed)])
        self._new_vouchers[peer] = (signed, voucher.expires_at_unix_s)

    def remember_vouchers(self, vouchers: Sequence[tuple[NodeId, bytes]]) -> None:
        """Members' words for this node, the newest last: one of each, of as many as there are links at most."""
        for by, signed in vouchers:
            self._vouchers.pop(by, None)
            self._vouchers[by] = signed
        while len(self._vouchers) > MAX_LINKS:
            self._vouchers.pop(next(iter(self._vouchers)))

    def take_new_vouchers(self) -> list[tuple[NodeId, bytes, int]]:
        """The members that vouched since the last call, with what, until when (Unix seconds)."""
        new, self._new_vouchers = self._new_vouchers, {}
        return [(by, signed, expires_at_unix_s) for by, (signed, expires_at_unix_s) in new.items()]

    async def advert_of(self, peer: NodeId) -> SignedAdvert:
        """The newest advert of this peer; waits, as long as the caller wants to, for the first."""
        while (signed := self.gossip.advert_of(peer)) is None:
            await self._awaited.setdefault(peer, asyncio.Event()).wait()
        return signed

    def serve_stream(self, peer: NodeId, stream: FrameStream, group: asyncio.TaskGroup) -> None:
        """See `SessionOwner`."""
        self._parts.server.serve_stream(peer, stream, group)

    # ---- adverts: in and out ----

    def _offers_changed(self) -> None:
        self._parts.advertiser.offers_changed()
        self._news.set()

    async def _spread(self) -> None:
        """Issue the own advert when it is due, send gossip when it is due."""
        while True:
            self._news.clear()
            now_s, at_unix_s = self._now_s(), time.time()
            if (advert := self._parts.advertiser.due(now_s, at_unix_s, len(self.gossip.known))) is not None:
                self.gossip.set_own(advert)
            self.gossip.expire(at_unix_s)
            self._take_changes()
            self._place()
            for peer, message in self.gossip.due(now_s):
                if (session := self.links.sessions.get(peer)) is not None:
                    session.send_gossip(message)
            await asyncio.sleep(SHORTEST_REST_S)
            if not self._news.is_set():
                rest_s = min(max(self.gossip.next_due_s(self._now_s()) - self._now_s(), 0.01), LONGEST_REST_S)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(rest_s):
                        await self._news.wait()

    def _take_changes(self) -> None:
        at_unix_s, ways = time.time(), dict[NodeId, str | None]()  # of those that told something, and not of all
        for change in self.gossip.changes():
            match change:
                case AdvertHeard(signed, teller):
                    if teller not in ways:
                        ways[teller] = self._placing.way_of(teller)
                    self._placing.heard(signed.advert, teller, ways[teller], at_unix_s)
                    if self._awaited and (awaited := self._awaited.pop(signed.node_id, None)):
                        awaited.set()
                    self._askable.offer_what(signed.advert, at_unix_s)
                case AdvertExpired(node_id=peer):
                    self._askable.expired(peer)
                case OwnAdvertElsewhere(sequence=sequence):
                    self._parts.advertiser.raise_above(sequence)
                    self._news.set()

    def _place(self) -> None:
        """Those that peers told of before it was known where these are."""
        for peer, told_at in self._placing.placed():
            if (signed := self.gossip.advert_of(peer)) is not None:
                self._placing.note(signed.advert, told_at, time.time())
                self._askable.offer_what(signed.advert, time.time())

    # ---- peers in the catalog ----

    @property
    def askable_members(self) -> Collection[str]:
        """The peers that may be asked, without those that are only heard of."""
        return self._askable.members

    def arriving(self) -> list[str]:
        """Members that may still come, in words, while this node has just started."""
        not_waited_for = {*self._askable.peers, *self._refused_by}
        return latecomers(self.book, not_waited_for, self._now_s() - self._started_s)

    def is_trusted(self, peer: NodeId) -> bool:
        """Did the owner mark this peer as trusted?"""
        return self.book.is_trusted(peer) or (peer in self._rules.trusted and self.book.is_member(peer))

    async def _reach(self, peer: NodeId) -> OpensRequests:
        """A link to ask it over, made now if need be. Raises as `Links.reach`."""
        record = self.book.get(peer)
        address = record.address if record is not None else PeerAddress(peer)
        try:
            if self._dialing.is_spare(peer):
                await self.links.wait_for_attempt(peer)  # it may be refused for lack of room, and this one not
            return await self.links.reach(address)
        except ProviderError as exc:
            self._note_failure(peer, exc)
            raise

    def _note_failure(self, peer: NodeId, error: ProviderError) -> None:
        self.book.failed(peer, self._now_s(), self._parts.rng)
        refusal = error.refusal if isinstance(error, LinkRefused) else ""
        if refusal != RefusalCode.FULL:
            self._askable.not_reached(peer, is_refused=bool(refusal))
        if refusal not in ("", RefusalCode.FULL) and self.book.is_member(peer):
            self._refused_by.add(peer)
        is_told = self.reasons.of(peer).words != error.message and self.book.is_member(peer)
        if is_told and self._lines.take(1, self._now_s()):
            log.info("peer not reached", peer=short_id(peer), why=error.message)
        self.reasons.note(peer, error.message, refusal or error.code)

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()
