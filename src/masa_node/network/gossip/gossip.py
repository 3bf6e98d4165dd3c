"""Spreads the nodes' adverts over the links: news are pushed, digests find what was missed. Sans-IO, bounded.

After chitchat, SWIM (news ride along a few hops) and scuttlebutt. From the latter (van Renesse et al., "Efficient
Reconciliation and Flow Control for Anti-Entropy Protocols") is the fixed budget: what does not fit is sent later.

Only linked peers need to know a node's load at once. That an advert was renewed is told in a few bytes.
"""

import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from enum import StrEnum

import msgspec

from masa_node.chat.errors import ProtocolFault
from masa_node.network.gossip.advert_set import AdvertSet, Entry
from masa_node.network.gossip.adverts import (
    ADVERT_LIFETIME_S,
    SignedAdvert,
    check_signature,
    is_from_future,
    is_in_force,
    read_advert,
    says_the_same,
)
from masa_node.network.gossip.digest_times import DigestTimes
from masa_node.network.gossip.drawing import Rounds
from masa_node.network.gossip.messages import (
    MAX_LISTING_BYTES,
    MAX_WANTED,
    BucketListing,
    Digest,
    Push,
    Want,
    prefixes_of,
    read_message,
    sequences_of,
)
from masa_node.network.gossip.outbox import BUDGET_BYTES_PER_S, BURST_BYTES, Outbox
from masa_node.network.links.frames import HEAD_BYTES
from masa_node.network.links.token_bucket import TokenBucket
from masa_node.network.transport.interfaces import Keys, NodeId

FANOUT = 4  # peers that news are passed on to: reaches 98 % of a random network (Eugster et al.), digests the rest
RENEWED_FANOUT = 2  # of what says nothing new: it is in no hurry, and digests bring it to the fifth that is missed
NEWS_EVERY_S = 1.0  # a node's news are passed on no more often,
NEWS_BYTES_PER_S = 1024  # and no faster than this: one node cannot fill everybody's budget
SPREAD_AGAIN_AFTER_S = ADVERT_LIFETIME_S / 3  # an advert that only renews is passed on after this
FEW = 8  # missed adverts in one message: they are passed on as news are
INBOUND_BYTES_PER_S = 2 * BUDGET_BYTES_PER_S  # clocks differ
INBOUND_BURST_BYTES = 4 * BURST_BYTES  # a line that stalled for 30 s brings everything at once
CHECKS_PER_S = 64  # signatures for one peer, 0.1 ms each; its budget holds 43 of the smallest adverts a second
CHECKS_BURST = 1024
SLICE = 16  # adverts of a message that are looked at in one go: some ms, a message may hold hundreds
EXCHANGES_PER_S = 8  # digests, listings and requests answered for one peer; an eager node sends 6
EXCHANGES_BURST = 32
EXPIRE_EVERY_S = 5.0
MAX_FORGOTTEN = 10_000
MAX_LEFT = 256  # peers no longer linked whose allowances are remembered: relinking must not fill them


class AdvertHeard(msgspec.Struct, frozen=True, gc=False):
    """A node has a newer advert, told by this peer."""

    advert: SignedAdvert
    teller: NodeId


class AdvertExpired(msgspec.Struct, frozen=True):
    """Nothing is known of this node any more: its advert expired, or had to make room."""

    node_id: NodeId


class OwnAdvertElsewhere(msgspec.Struct, frozen=True):
    """Others hold an advert of this node with this sequence, which it has not issued now: it was restored from an
    old copy, or its key is used twice. Its next advert must have a higher one.
    """

    sequence: int


Change = AdvertHeard | AdvertExpired | OwnAdvertElsewhere


class Ignored(StrEnum):
    """Why an advert or a message was not taken."""

    OLD = "old"
    CONFLICT = "conflict"  # another advert with the same sequence: the first one counts
    EXPIRED = "expired"
    FUTURE = "future"
    TOO_MANY = "too_many"


class _Peer:
    __slots__ = ("checks", "exchanges", "inbound", "outbox")

    def __init__(self, now_s: float) -> None:
        self.outbox = Outbox(now_s)
        self.inbound = TokenBucket(INBOUND_BYTES_PER_S, INBOUND_BURST_BYTES, now_s)
        self.checks = TokenBucket(CHECKS_PER_S, CHECKS_BURST, now_s)
        self.exchanges = TokenBucket(EXCHANGES_PER_S, EXCHANGES_BURST, now_s)


class Gossip:
    """What this node knows of others. `now_s` is monotonic and does not go back. No method waits."""

    def __init__(self, keys: Keys, rng: random.Random) -> None:
        self.ignored: Counter[Ignored] = Counter()
        self._keys = keys
        self._rng = rng
        self._me = keys.node_id
        self._pinned = {self._me}
        self.known = AdvertSet(self._pinned)
        self._peers: dict[NodeId, _Peer] = {}
        self._rounds = Rounds(rng, FANOUT + 2)  # the same peers; news are not for their node, nor for who told them
        self._left: dict[NodeId, _Peer] = {}
        self._filled: dict[NodeId, Outbox] = {}  # of the linked peers, those to be told something
        self._forgotten: dict[NodeId, None] = {}
        self._changes: dict[NodeId, Change] = {}
        self._later: dict[NodeId, float] = {}  # news that are passed on at that time
        self._greeted: list[NodeId] = []  # new links, whose digests come first
        self.digests = DigestTimes(rng)
        self._looked_unix_s = -math.inf

    # ---- what its owner does ----

    def set_own(self, advert: SignedAdvert) -> None:
        """This node's newest advert. Raises `ValueError` if its sequence is not higher than the last one's."""
        entry = self.known.get(self._me)
        if advert.node_id != self._me or (entry and advert.advert.sequence <= entry.newest.advert.sequence):
            raise ValueError("an own advert must have a higher sequence than the one before")
        self._keep(entry, advert, teller=self._me)
        for peer in self._peers:
            self._outbox(peer).tell_own(advert)

    def linked(self, peer: NodeId, now_s: float) -> None:
        """From now on this peer is sent news, and may send some."""
        if peer in self._peers:
            return
        left = self._left.pop(peer, None)
        self._peers[peer] = _Peer(now_s) if left is None else left
        self._rounds.add(peer)
        self._pinned.add(peer)
        own = self.known.get(self._me)
        if own is not None:
            self._outbox(peer).tell_own(own.newest)
        self._greeted.append(peer)
        self.digests.linked(now_s)

    def unlinked(self, peer: NodeId) -> None:
        """The link is gone. The adverts that the peer sent stay."""
        state = self._peers.pop(peer, None)
        if state is None:
            return
        self._rounds.remove(peer)
        self._pinned.discard(peer)
        state.outbox.clear()
        self._filled.pop(peer, None)
        self._left[peer] = state
        while len(self._left) > MAX_LEFT:
            del self._left[next(iter(self._left))]
        self._greeted = [greeted for greeted in self._greeted if greeted != peer]
        if not self._peers:
            self.digests.alone()

    def forget(self, node_id: NodeId) -> None:
        """Show nothing of this node any more, whatever others tell. It is still passed on; `recall` ends it."""
        self._forgotten[node_id] = None
        while len(self._forgotten) > MAX_FORGOTTEN:
            del self._forgotten[next(iter(self._forgotten))]
        self._changes.pop(node_id, None)

    def recall(self, node_id: NodeId) -> None:
        """The end of `forget`."""
        self._forgotten.pop(node_id, None)

    def expire(self, at_unix_s: float) -> None:
        """Drop what is not in force any more; looks once in EXPIRE_EVERY_S."""
        if not 0 <= at_unix_s - self._looked_unix_s < EXPIRE_EVERY_S:
            self._looked_unix_s = at_unix_s
            self._note_gone(self.known.expire(at_unix_s))

    def changes(self) -> list[Change]:
        """What has changed since the last call; of each node the last change only."""
        changes = list(self._changes.values())
        self._changes.clear()
        return changes

    def advert_of(self, node_id: NodeId) -> SignedAdvert | None:
        """The newest of this node. It may have expired up to EXPIRE_EVERY_S ago."""
        entry = self.known.get(node_id)
        return None if entry is None or node_id in self._forgotten else entry.newest

    def all(self) -> list[SignedAdvert]:
        """The newest of every other node."""
        hidden = {self._me, *self._forgotten}
        return [entry.newest for entry in self.known if entry.newest.node_id not in hidden]

    # ---- what goes out ----

    def due(self, now_s: float) -> list[tuple[NodeId, bytes]]:
        """The messages to send now, each at most MAX_MESSAGE_BYTES."""
        if now_s >= self.digests.at_s and self._peers:
            self._send_digest(now_s)
        for node_id in [node_id for node_id, at_s in self._later.items() if now_s >= at_s]:
            del self._later[node_id]
            self._pass_on(node_id, None, now_s)
        messages: list[tuple[NodeId, bytes]] = []
        for peer, outbox in list(self._filled.items()):
            messages += [(peer, message) for message in outbox.messages(self.known, now_s)]
            if outbox.is_empty:
                del self._filled[peer]
        return messages

    def next_due_s(self, now_s: float) -> float:
        """When `due` has something, if nothing happens before; infinity for never."""
        times = [outbox.when_s(self.known, now_s) for outbox in self._filled.values()]
        return min((*times, self.digests.at_s, *self._later.values()))

    def outbox_of(self, peer: NodeId) -> Outbox:
        """What is still to be sent to a linked peer."""
        return self._peers[peer].outbox

    def _outbox(self, peer: NodeId) -> Outbox:
        """The outbox of a linked peer, to put something into."""
        outbox = self._filled[peer] = self._peers[peer].outbox
        return outbox

    def _send_digest(self, now_s: float) -> None:
        peer = self._greeted.pop(0) if self._greeted else self._rounds.any()
        self._outbox(peer).reply(self.known.digest())
        self.digests.sent(now_s, are_more_greeted=bool(self._greeted))

    def _pass_on(self, node_id: NodeId, teller: NodeId | None, now_s: float) -> None:
        """Send it to some peers, now or when enough time has passed since it was last sent."""
        entry = self.known.get(node_id)
        if entry is None:
            return
        spacing_s = max(NEWS_EVERY_S, len(entry.spread.signed) / NEWS_BYTES_PER_S)
        if now_s < entry.passed_on_s + spacing_s:
            self._later.setdefault(node_id, entry.passed_on_s + spacing_s)
            return
        entry.passed_on_s = now_s
        others = len(self._peers) - (teller in self._peers) - (node_id in self._peers)
        fanout = RENEWED_FANOUT if entry.is_renewal and others > FANOUT else FANOUT
        tell = Outbox.list_renewed if entry.is_renewal and self.known.is_short(entry) else Outbox.tell_news
        for peer in self._rounds.some(fanout, (teller, node_id), now_s):
            tell(self._outbox(peer), node_id, now_s)

    # ---- what comes in ----

    def received(self, peer: NodeId, data: bytes, now_s: float, at_unix_s: float) -> None:
        """A message of a linked peer. Raises `ProtocolFault` for what a well-behaved peer never sends."""
        for _ in self.taking(peer, data, now_s, at_unix_s):
            pass

    def taking(self, peer: NodeId, data: bytes, now_s: float, at_unix_s: float) -> Iterator[None]:
        """The same in slices: between two of them others may have their turn, and the peer may go. Raises as above."""
        state = self._peers.get(peer)
        if state is None:
            return
        if not state.inbound.take(len(data) + HEAD_BYTES, now_s):
            raise ProtocolFault("it sends far more gossip than its budget.")
        message = read_message(data)
        if isinstance(message, Push):
            yield from self._take_all(peer, message, now_s, at_unix_s)
        elif not state.exchanges.take(1, now_s):
            self.ignored[Ignored.TOO_MANY] += 1
        elif isinstance(message, Digest):
            self._compare(self._outbox(peer), message, now_s)
        elif isinstance(message, BucketListing):
            self._answer_listing(peer, message, now_s)
        else:
            self._answer_want(self._outbox(peer), message, now_s)

    def _take_all(self, peer: NodeId, message: Push, now_s: float, at_unix_s: float) -> Iterator[None]:
        is_passed_on = message.is_news or len(message.adverts) <= FEW
        holder_of, state = self.known.holder_of, self._peers[peer]
        for first in range(0, len(message.adverts), SLICE):
            if first:
                yield
                if peer not in self._peers:
                    return
            has: list[NodeId] = []
            for signed in message.adverts[first : first + SLICE]:
                node_id = holder_of(signed)  # mostly, for several peers tell of everything
                if node_id is None and (node_id := self._take(peer, state, signed, now_s, at_unix_s)) and is_passed_on:
                    self._pass_on(node_id, peer, now_s)
                if node_id is not None:
                    has.append(node_id)
            state.outbox.has(has)

    def _take(self, peer: NodeId, state: _Peer, signed: bytes, now_s: float, at_unix_s: float) -> NodeId | None:
        """One advert from this peer, checked cheapest first. Returns its node if it is news."""
        opened = read_advert(signed)
        node_id = opened.advert.node_id
        entry = self.known.get(node_id)
        why = self._why_not(opened, entry, at_unix_s)
        if why is None and not state.checks.take(1, now_s):
            why = Ignored.TOO_MANY
            self.digests.changed(now_s)  # a digest brings it later
        if why is not None:
            self.ignored[why] += 1
            if why is Ignored.OLD:
                self._outbox(peer).tell_news(node_id, now_s)
            return None
        check_signature(opened, self._keys)
        if node_id == self._me:
            self._changes[node_id] = OwnAdvertElsewhere(opened.advert.sequence)
            return None
        is_spread = self._keep(entry, opened, peer)
        if self.advert_of(node_id) is opened:  # else what is newest was told by another peer
            self._changes[node_id] = AdvertHeard(opened, peer)
        if not is_spread:
            state.outbox.has((node_id,))
        elif len(self._peers) > FANOUT:  # where there are fewer, a push misses nobody
            self.digests.changed(now_s)
        return node_id if is_spread else None

    def _why_not(self, opened: SignedAdvert, entry: Entry | None, at_unix_s: float) -> Ignored | None:
        """Why it is of no use, before its signature is checked."""
        sequence = opened.advert.sequence
        if entry is not None:
            newest = entry.newest
            if sequence == newest.advert.sequence and opened.signed != newest.signed:
                return None if opened.node_id == self._me else Ignored.CONFLICT
            if sequence <= entry.sequence:
                return Ignored.OLD if sequence < entry.sequence else Ignored.CONFLICT
        elif self.known.is_gone(opened.advert):
            return Ignored.EXPIRED
        if not is_in_force(opened.advert, at_unix_s):
            return Ignored.EXPIRED
        return Ignored.FUTURE if is_from_future(opened.advert, at_unix_s) else None

    def _keep(self, entry: Entry | None, opened: SignedAdvert, teller: NodeId) -> bool:
        """Is it to be sent to others? Not if it came from its own node and only its load is new."""
        if entry is not None:
            old, new = entry.spread.advert, opened.advert
            is_old = new.issued_at_unix_s - old.issued_at_unix_s >= SPREAD_AGAIN_AFTER_S
            entry.is_renewal = says_the_same(old, new)
            if entry.is_renewal and not is_old and teller == opened.node_id:
                if new.sequence > entry.newest.advert.sequence:
                    entry.newest = opened
                return False
        if gone := self.known.put(opened, teller):
            self._note_gone(gone)
        return True

    def _note_gone(self, node_ids: Iterable[NodeId]) -> None:
        gone = (node_id for node_id in node_ids if node_id not in self._forgotten)
        self._changes.update((node_id, AdvertExpired(node_id)) for node_id in gone)

    # ---- what was missed ----

    def _compare(self, outbox: Outbox, digest: Digest, now_s: float) -> None:
        """The side that knows fewer nodes lists what it knows: the list is short, and it is sent the rest."""
        if len(self.known) > digest.known:
            if self.known.bits != digest.bits or self.known.differing(digest):
                self.digests.changed(now_s)
                outbox.reply(self.known.digest())
            return
        differing = self.known.differing(digest)
        if not differing:
            return
        self.digests.changed(now_s)
        if 2 * len(differing) > 1 << digest.bits:
            self.digests.missed_much(now_s)
        self._rng.shuffle(differing)
        outbox.reply(self.known.listing(digest.bits, differing, MAX_LISTING_BYTES))

    def _answer_listing(self, peer: NodeId, listing: BucketListing, now_s: float) -> None:
        outbox = self._outbox(peer)
        self.digests.changed(now_s)
        theirs: dict[bytes, int] = {}
        for _number, joined in listing.buckets:
            theirs |= sequences_of(joined)
        wanted = [prefix for prefix, sequence in theirs.items() if self._is_wanted(prefix, sequence, peer, now_s)]
        if wanted:
            outbox.reply(Want(b"".join(wanted[:MAX_WANTED])))
        mine = (
            entry
            for number, _joined in listing.buckets
            for entry in self.known.bucket(listing.bits, number, self._rng)
            if theirs.get(entry.prefix, -1) < entry.spread.advert.sequence
        )
        outbox.tell_missed(mine, now_s)

    def _answer_want(self, outbox: Outbox, want: Want, now_s: float) -> None:
        found = (self.known.find(prefix) for prefix in prefixes_of(want.prefixes))
        outbox.tell_missed((entry for entry in found if entry is not None), now_s)

    def _is_wanted(self, prefix: bytes, sequence: int, peer: NodeId, now_s: float) -> bool:
        entry = self.known.find(prefix)
        if entry is None:
            return sequence > self.known.gone_sequence(prefix) and not self.known.is_full
        return sequence > entry.sequence and entry.is_to_be_asked_for(peer, now_s)
