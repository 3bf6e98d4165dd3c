"""The adverts that a node knows, and what it tells of them in short: hashes of buckets of node ids. Pure and bounded.

A bucket's hash is the sum of the hashes of its entries (Bellare and Micciancio's AdHash). So one advert more or less
is one addition, and coarser buckets are sums of finer ones.
"""

import functools
import math
import random
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import chain
from typing import NamedTuple

from masa_node.network.gossip.adverts import MAX_LIFETIME_S, Advert, SignedAdvert, is_in_force
from masa_node.network.gossip.messages import ENTRY_BYTES, HASH_BYTES, MAX_BITS, PREFIX_BYTES, BucketListing, Digest
from masa_node.network.transport.interfaces import MAX_CLOCK_SKEW_S, NodeId

MAX_KNOWN = 10_000  # nodes; 5 MB of adverts of usual size
MAX_KNOWN_BYTES = 8 * 1024 * 1024  # of adverts as they travel; the worst made ones take 17 times that in memory
BUCKET_SHOULD_HOLD = 16  # adverts: listing a bucket is 256 bytes, and 1 000 nodes have a digest of 512
WANTED_AGAIN_AFTER_S = 0.3  # several peers tell of one renewal; the first brings it,
MAX_ASKED = 8  # or the next: one that did not bring it is waited for no second time, and of this many none is
_LEAVES = 1 << MAX_BITS
_WRAP = 1 << 8 * HASH_BYTES


class Entry:
    """What is known of one node. `spread` is what others are sent; `newest` may be newer in its load only."""

    __slots__ = (
        "asked",
        "hash",
        "is_renewal",
        "newest",
        "passed_on_s",
        "prefix",
        "spread",
        "tag",
        "teller",
        "wanted_s",
    )

    def __init__(self, spread: SignedAdvert, teller: NodeId) -> None:
        self.teller = teller
        self.passed_on_s = self.wanted_s = -math.inf
        self.is_renewal = False  # does `spread` say what the one before it said?
        self.take(spread)
        self.prefix = self.tag[:PREFIX_BYTES]

    def take(self, spread: SignedAdvert) -> None:
        """A newer one, to be sent to others."""
        self.spread = self.newest = spread
        self.asked: tuple[NodeId, ...] = ()  # for the next one, in vain so far
        self.tag, self.hash = tag_and_hash(spread)

    def is_to_be_asked_for(self, peer: NodeId, now_s: float) -> bool:
        """This peer claims to know a newer one: is it to send that? It is waited for then."""
        if now_s - self.wanted_s < WANTED_AGAIN_AFTER_S:
            return False
        if peer not in self.asked and len(self.asked) < MAX_ASKED:
            self.asked = (*self.asked, peer)
            self.wanted_s = now_s
        return True

    @property
    def leaf(self) -> int:
        """The number of its bucket where there are as many as there may be."""
        return self.prefix[0]

    @property
    def sequence(self) -> int:
        """Of what others are sent."""
        return self.spread.advert.sequence


def prefix_of(node_id: NodeId) -> bytes:
    """What stands for a node in listings."""
    return bytes.fromhex(node_id[: 2 * PREFIX_BYTES])


def tag_and_hash(signed: SignedAdvert) -> tuple[bytes, int]:
    """What stands for an advert in listings, and what it adds to a bucket's hash."""
    advert = signed.advert
    tag = prefix_of(advert.node_id) + advert.sequence.to_bytes(ENTRY_BYTES - PREFIX_BYTES, "big")
    return tag, int.from_bytes(blake2b(tag, digest_size=HASH_BYTES).digest(), "big")


@functools.cache  # of as many as there are numbers of bits
def _form_of(bits: int) -> struct.Struct:
    """The hashes of a digest as they travel."""
    return struct.Struct(f">{1 << bits}Q")


class AdvertCounts(NamedTuple):
    """How much is known. `nodes`, `tagged` and `signed` are the same number, each counted in a table of its own."""

    nodes: int
    tagged: int
    signed: int
    size_bytes: int
    expired: int  # of which it is remembered that no older advert may come back


class AdvertSet:
    """At most MAX_KNOWN nodes and MAX_KNOWN_BYTES.

    When there are more, one goes: of the peer that has told most, the advert renewed longest ago. So a peer that floods
    this node loses its own adverts. Nodes in `pinned` never go.
    """

    def __init__(self, pinned: Iterable[NodeId]) -> None:
        self._pinned = pinned
        self._entries: dict[NodeId, Entry] = {}
        self._by_teller: dict[NodeId, dict[NodeId, None]] = {}  # the least recently renewed first
        self._leaves: list[dict[bytes, Entry]] = [{} for _ in range(_LEAVES)]
        self._hashes = [0] * _LEAVES
        self._summed: dict[int, list[int]] = {}  # bits -> hashes, until something changes
        self._signed: dict[bytes, NodeId] = {}
        self.size_bytes = 0
        self._gone: dict[bytes, tuple[int, float]] = {}  # prefix -> sequence, and until when an older one could return
        # What is known of a node, and whose advert this is, if it is among those sent to others. They are the look-ups
        # of the tables themselves, for every advert that is heard is looked up.
        self.get: Callable[[NodeId], Entry | None] = self._entries.get
        self.holder_of: Callable[[bytes], NodeId | None] = self._signed.get

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def __repr__(self) -> str:
        return f"AdvertSet({self.counts()})"

    def counts(self) -> AdvertCounts:
        """How much is known now."""
        tagged = sum(map(len, self._leaves))
        return AdvertCounts(len(self), tagged, len(self._signed), self.size_bytes, len(self._gone))

    @property
    def is_full(self) -> bool:
        """Would one more node push another one out?"""
        return len(self._entries) >= MAX_KNOWN or self.size_bytes >= MAX_KNOWN_BYTES

    def find(self, prefix: bytes) -> Entry | None:
        """What is known of the node whose id begins so."""
        return self._leaves[prefix[0]].get(prefix)

    def gone_sequence(self, prefix: bytes) -> int:
        """The sequence of the node's last advert, when that has expired: older ones must not come back."""
        return self._gone.get(prefix, (-1, 0.0))[0]

    def is_gone(self, advert: Advert) -> bool:
        """Has a later one of that node, of which nothing is known now, expired already?"""
        return bool(self._gone) and advert.sequence <= self.gone_sequence(prefix_of(advert.node_id))

    def put(self, signed: SignedAdvert, teller: NodeId) -> list[NodeId]:
        """Store a newer advert, to be sent to others. Returns the nodes that had to go for it."""
        node_id = signed.advert.node_id
        entry = self._entries.get(node_id)
        if entry is None:
            entry = self._entries[node_id] = Entry(signed, teller)
        else:
            newest = entry.newest
            self._count_out(entry)
            entry.take(signed)
            if newest.advert.sequence > signed.advert.sequence:
                entry.newest = newest
        self._count_in(entry)
        from_teller = self._by_teller.setdefault(entry.teller, {})
        from_teller.pop(node_id, None)
        from_teller[node_id] = None
        return self._make_room(node_id) if self._is_over() else []

    def drop(self, node_id: NodeId) -> None:
        """Forget what is known of this node."""
        entry = self._entries.pop(node_id)
        self._count_out(entry)
        from_teller = self._by_teller[entry.teller]
        del from_teller[node_id]
        if not from_teller:
            del self._by_teller[entry.teller]

    def expire(self, at_unix_s: float) -> list[NodeId]:
        """Drop the adverts that are not in force any more."""
        self._gone = {prefix: gone for prefix, gone in self._gone.items() if gone[1] > at_unix_s}
        expired = [entry for entry in self if not is_in_force(entry.newest.advert, at_unix_s)]
        for entry in expired:
            self.drop(entry.spread.node_id)
            until_unix_s = entry.newest.advert.issued_at_unix_s + MAX_LIFETIME_S + MAX_CLOCK_SKEW_S
            self._gone[entry.prefix] = (entry.newest.advert.sequence, until_unix_s)
        while len(self._gone) > MAX_KNOWN:
            del self._gone[next(iter(self._gone))]
        return [entry.spread.node_id for entry in expired]

    # ---- in short ----

    @property
    def bits(self) -> int:
        """How many bits of node ids make a bucket now."""
        return min(MAX_BITS, max(0, math.ceil(math.log2(max(1, len(self)) / BUCKET_SHOULD_HOLD))))

    def hashes(self, bits: int) -> list[int]:
        """One hash a bucket."""
        summed = self._summed.get(bits)
        if summed is None:
            width = _LEAVES >> bits
            summed = [sum(self._hashes[at : at + width]) % _WRAP for at in range(0, _LEAVES, width)]
            self._summed[bits] = summed
        return summed

    def is_short(self, entry: Entry) -> bool:
        """Is a listing of the smallest bucket with this entry much shorter than the advert?"""
        return 2 * ENTRY_BYTES * len(self._leaves[entry.leaf]) < len(entry.spread.signed)

    def digest(self) -> Digest:
        """What is known here, in short."""
        bits = self.bits
        return Digest(len(self), bits, _form_of(bits).pack(*self.hashes(bits)))

    def differing(self, digest: Digest) -> list[int]:
        """The numbers of the buckets that differ."""
        theirs = _form_of(digest.bits).unpack(digest.hashes)
        pairs = zip(self.hashes(digest.bits), theirs, strict=True)
        return [number for number, (mine, its) in enumerate(pairs) if mine != its]

    def listing(self, bits: int, numbers: Sequence[int], max_bytes: int) -> BucketListing:
        """All entries of as many of these buckets as fit. Of a first one that does not fit, as much as does."""
        buckets: list[tuple[int, bytes]] = []
        room = max_bytes
        for number in numbers:
            joined = b"".join(entry.tag for entry in self.bucket(bits, number))
            if len(joined) > room and buckets:
                break
            buckets.append((number, joined[:room]))
            room = max(0, room - len(joined))
        return BucketListing(bits, tuple(buckets))

    def bucket(self, bits: int, number: int, rng: random.Random | None = None) -> Iterator[Entry]:
        """The entries of one bucket; with `rng`, it begins anywhere in it."""
        width = _LEAVES >> bits
        turn = int(rng.random() * width) if rng is not None else 0
        leaves = self._leaves[number * width : (number + 1) * width]
        return chain.from_iterable([leaf.values() for leaf in leaves[turn:] + leaves[:turn] if leaf])

    # ---- inside ----

    def _count_in(self, entry: Entry) -> None:
        prefix = entry.prefix
        leaf = prefix[0]
        self._leaves[leaf][prefix] = entry
        self._hashes[leaf] = (self._hashes[leaf] + entry.hash) % _WRAP
        self._summed.clear()
        spread = entry.spread
        self._signed[spread.signed] = spread.advert.node_id
        self.size_bytes += len(spread.signed)
        self._gone.pop(prefix, None)

    def _count_out(self, entry: Entry) -> None:
        prefix = entry.prefix
        leaf = prefix[0]
        if self._leaves[leaf].get(prefix) is entry:
            del self._leaves[leaf][prefix]
        self._hashes[leaf] = (self._hashes[leaf] - entry.hash) % _WRAP
        self._summed.clear()
        self._signed.pop(entry.spread.signed, None)
        self.size_bytes -= len(entry.spread.signed)

    def _make_room(self, newcomer: NodeId) -> list[NodeId]:
        gone: list[NodeId] = []
        spared = {newcomer, *self._pinned}
        while self._is_over():
            victim = self._victim(spared)
            if victim is None:
                break
            self.drop(victim)
            gone.append(victim)
        return gone

    def _is_over(self) -> bool:
        return len(self._entries) > MAX_KNOWN or self.size_bytes > MAX_KNOWN_BYTES

    def _victim(self, spared: set[NodeId]) -> NodeId | None:
        for from_teller in sorted(self._by_teller.values(), key=len, reverse=True):
            for node_id in from_teller:
                if node_id not in spared:
                    return node_id
        return None
