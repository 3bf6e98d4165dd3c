"""What to send one linked peer by gossip, in which order, and within its budget. Pure; time is given."""

import math
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from masa_node.network.gossip.advert_set import AdvertSet, Entry
from masa_node.network.gossip.adverts import MAX_ADVERT_BYTES, SignedAdvert
from masa_node.network.gossip.messages import (
    MAX_BITS,
    MAX_LISTING_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_PUSHED,
    GossipMessage,
    Push,
    write_message,
)
from masa_node.network.links.frames import HEAD_BYTES
from masa_node.network.links.token_bucket import TokenBucket
from masa_node.network.transport.interfaces import NodeId

# To each linked peer, with the heads of frames. A node with one link learns 1 000 adverts of 500 bytes in about 50 s,
# one with eight in about 5 s. A home line (1 Mbit/s up) with 8 links is half full while there is that much to send.
BUDGET_BYTES_PER_S = 8 * 1024
BURST_BYTES = 128 * 1024
RESERVED_BYTES = (
    MAX_ADVERT_BYTES + 1024
)  # of the burst, for this node's own advert: a model that is gone is told at once
NEWS_DELAY_S = 0.1  # news of others wait for more of them: few frames;
CROWD_DELAY_S = 0.3  # longer after a batch of many, when a crowd starts: a message costs as much as ten adverts in it
MANY_SENT = 4
OWN_EVERY_S = 0.1  # after one own advert the next waits so long, and only the newest is told
MAX_PENDING_NEWS = 2_000  # nodes whose adverts wait for the budget; what is forgotten here, digests find again
REPAIR_BYTES = 64 * 1024  # of adverts in answer to one listing or request
MAX_REPLIES = 4
_AROUND_BYTES = 16  # of a message of adverts
_BEFORE_BYTES = 5  # of each advert in it


class OutboxCounts(NamedTuple):
    """How much waits to be sent, of each sort."""

    replies: int
    news: int
    repair: int


class Outbox:
    """Own advert first, then what was asked for, then news, then what the peer has missed."""

    __slots__ = (
        "_budget",
        "_news_at_s",
        "_own",
        "_own_at_s",
        "_pending_news",
        "_pending_repair",
        "_renewed",
        "_replies",
    )

    def __init__(self, now_s: float) -> None:
        self._budget = TokenBucket(BUDGET_BYTES_PER_S, BURST_BYTES, now_s)
        self._own: SignedAdvert | None = None
        self._own_at_s = -math.inf
        self._replies: deque[bytes] = deque()
        self._pending_news: dict[NodeId, None] = {}  # news
        self._pending_repair: dict[NodeId, None] = {}
        self._renewed: dict[NodeId, None] = {}  # at most MAX_PENDING_NEWS
        self._news_at_s = 0.0

    @property
    def is_empty(self) -> bool:
        """Is there nothing to send?"""
        return not (self._own or self._replies or self._pending_news or self._pending_repair or self._renewed)

    def __repr__(self) -> str:
        return f"Outbox({self.counts()})"

    def counts(self) -> OutboxCounts:
        """How much waits now."""
        return OutboxCounts(len(self._replies), len(self._pending_news), len(self._pending_repair))

    def clear(self) -> None:
        """Send none of it any more. What was sent still counts in the budget."""
        self._own = None
        self._replies.clear()
        self._pending_news.clear()
        self._pending_repair.clear()
        self._renewed.clear()

    def tell_own(self, own: SignedAdvert) -> None:
        """This node's own advert, at once."""
        self._own = own

    def reply(self, message: GossipMessage) -> None:
        """A message that is of use now or never."""
        if len(self._replies) < MAX_REPLIES:
            self._replies.append(write_message(message))

    def tell_news(self, node_id: NodeId, now_s: float) -> None:
        """The newest advert of this node, for the peer to pass on."""
        if not self._pending_news:
            self._wait_for_more(now_s)
        if len(self._pending_news) < MAX_PENDING_NEWS:
            self._pending_news[node_id] = None

    def list_renewed(self, node_id: NodeId, now_s: float) -> None:
        """This node's advert was renewed: the peer is told its sequence, and asks for it if it lacks it."""
        self._wait_for_more(now_s)
        if len(self._renewed) < MAX_PENDING_NEWS:
            self._renewed[node_id] = None

    def tell_missed(self, entries: Iterable[Entry], now_s: float) -> None:
        """The adverts of these nodes, which the peer has missed: as many as the budget and REPAIR_BYTES hold now."""
        room = min(self.room_bytes(now_s), REPAIR_BYTES) if len(self._pending_repair) <= MAX_PUSHED else 0
        self._wait_for_more(now_s)
        for entry in entries:
            room -= len(entry.spread.signed)
            if room < 0:
                return
            self._pending_repair[entry.spread.node_id] = None

    def has(self, node_ids: Iterable[NodeId]) -> None:
        """The peer knows the newest adverts of these nodes."""
        for waiting in (self._pending_news, self._pending_repair, self._renewed):
            if waiting:
                for node_id in node_ids:
                    waiting.pop(node_id, None)

    def room_bytes(self, now_s: float) -> float:
        """How much of others' news could be sent now."""
        return self._budget.level(now_s) - RESERVED_BYTES

    def messages(self, known: AdvertSet, now_s: float) -> list[bytes]:
        """What is to be sent now."""
        out: list[bytes] = []
        if self._own is not None and now_s >= self._own_at_s:
            own = write_message(Push((self._own.signed,)))
            if self._budget.take(len(own) + HEAD_BYTES, now_s):
                out.append(own)
                self._own = None
                self._own_at_s = now_s + OWN_EVERY_S
        while self._replies and self._take(len(self._replies[0]), now_s):
            out.append(self._replies.popleft())
        if now_s >= self._news_at_s:
            if self._renewed:
                out += self._listing(known, now_s)
            sent = 0
            for pending, is_news in ((self._pending_news, True), (self._pending_repair, False)):
                while pending and (batch := self._next_batch(pending, known, now_s)):
                    out.append(write_message(Push(batch, is_news)))
                    self._take(len(out[-1]), now_s)
                    sent += len(batch)
            self._news_at_s = now_s + (CROWD_DELAY_S if sent >= MANY_SENT else NEWS_DELAY_S)
        return out

    def when_s(self, known: AdvertSet, now_s: float) -> float:
        """When `messages` has something to send, if nothing changes."""
        due_s = math.inf
        if self._own is not None:
            due_s = max(self._own_at_s, self._budget.when_s(len(self._own.signed) + _AROUND_BYTES, now_s))
        if self._replies:
            due_s = min(due_s, self._budget.when_s(len(self._replies[0]) + HEAD_BYTES + RESERVED_BYTES, now_s))
        if self._renewed:
            due_s = min(due_s, max(self._news_at_s, self._budget.when_s(MAX_LISTING_BYTES + RESERVED_BYTES, now_s)))
        for pending in (self._pending_news, self._pending_repair):
            if pending:
                entry = known.get(next(iter(pending)))
                size = 0 if entry is None else len(entry.spread.signed) + _AROUND_BYTES + _BEFORE_BYTES
                due_s = min(due_s, max(self._news_at_s, self._budget.when_s(size + RESERVED_BYTES, now_s)))
        return due_s

    def _take(self, size: int, now_s: float) -> bool:
        size += HEAD_BYTES
        return self.room_bytes(now_s) >= size and self._budget.take(size, now_s)

    def _wait_for_more(self, now_s: float) -> None:
        if not self._pending_news and not self._pending_repair and not self._renewed:
            self._news_at_s = max(self._news_at_s, now_s + NEWS_DELAY_S)

    def _listing(self, known: AdvertSet, now_s: float) -> list[bytes]:
        """Of the smallest buckets with those that were renewed; what does not fit is left to digests."""
        entries = (known.get(node_id) for node_id in self._renewed)
        leaves = list(dict.fromkeys(entry.leaf for entry in entries if entry is not None))
        self._renewed.clear()
        if not leaves:
            return []
        message = write_message(known.listing(MAX_BITS, leaves, MAX_LISTING_BYTES))
        return [message] if self._take(len(message), now_s) else []

    def _next_batch(self, pending: dict[NodeId, None], known: AdvertSet, now_s: float) -> tuple[bytes, ...]:
        """As many as fit into one message and the budget."""
        room = min(self.room_bytes(now_s), MAX_MESSAGE_BYTES) - _AROUND_BYTES
        batch: list[bytes] = []
        done: list[NodeId] = []
        for node_id in pending:
            entry = known.get(node_id)
            if entry is not None:
                signed = entry.spread.signed
                room -= len(signed) + _BEFORE_BYTES
                if room < 0 or len(batch) == MAX_PUSHED:
                    break
                batch.append(signed)
            done.append(node_id)
        if len(done) == len(pending):
            pending.clear()
        else:
            for node_id in done:
                del pending[node_id]
        return tuple(batch)
