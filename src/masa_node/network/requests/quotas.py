"""How much of this node one peer, and all of them together, may use. Pure; time is given."""

import msgspec

from masa_node.chat.errors import PeerBusy, PeerRefused
from masa_node.network.transport.interfaces import NodeId

MAX_REQUESTS_PER_PEER = 16  # at work or in the queue; MAX_PEER_JOBS and MAX_PEER_QUEUE are 12 by default, for all peers
MAX_REFUSALS_TOLD = 16  # refusals to one peer that are being told; beyond that its streams are reset without a word
BODIES_PER_PEER = 4  # of the greatest size, held at a time
BODIES = 16  # the same, of all peers together: 160 MB with MAX_BODY's default
MAX_QUOTAS = 10_000  # peers that are remembered, as in the peer store
LOG_EVERY_S = 60.0  # of what one peer does wrong


class QuotaRules(msgspec.Struct, frozen=True):
    """`requests_per_minute` of one peer, also the most at once; `requests_per_peer` under way.

    A body has at most `max_body_bytes`, or `max_form_bytes` where that is more.
    """

    requests_per_minute: int
    max_body_bytes: int
    requests_per_peer: int = MAX_REQUESTS_PER_PEER
    max_form_bytes: int = 0

    def held_bytes(self, bodies: int) -> int:
        """How many may be held for so many bodies: one form at least."""
        return max(bodies * self.max_body_bytes, self.max_form_bytes)


class PeerQuota:
    """What one peer uses now. Every `acquire` needs one `release`."""

    __slots__ = ("_logged_s", "_rules", "_seen_s", "_tokens", "at_work", "held_bytes", "telling")

    def __init__(self, rules: QuotaRules, now_s: float) -> None:
        self._rules = rules
        self._tokens = float(rules.requests_per_minute)
        self._seen_s = now_s
        self._logged_s: dict[str, float] = {}
        self.at_work = 0
        self.telling = 0
        self.held_bytes = 0

    def acquire(self, now_s: float) -> None:
        """Count one more request. Raises `PeerBusy`, `PeerRefused`."""
        self._refill(now_s)
        if self._tokens < 1:
            raise PeerRefused(f"this node asked it more than {self._rules.requests_per_minute} times a minute.")
        self._tokens -= 1
        if self.at_work >= self._rules.requests_per_peer:
            raise PeerBusy(f"it has {self.at_work} requests of this node under way, which is all it takes of one peer.")
        self.at_work += 1

    def take(self) -> None:
        """The same, just after it was said to have room."""
        self._tokens -= 1
        self.at_work += 1

    def has_room(self, now_s: float) -> bool:
        """Would one more be counted?"""
        self._refill(now_s)
        return self._tokens >= 1 and self.at_work < self._rules.requests_per_peer

    def release(self) -> None:
        """That request is over."""
        self.at_work -= 1

    def may_log(self, event: str, now_s: float) -> bool:
        """May this, of a few things it does wrong, be logged now? Each once in LOG_EVERY_S."""
        if now_s - self._logged_s.get(event, float("-inf")) < LOG_EVERY_S:
            return False
        self._logged_s[event] = now_s
        return True

    def is_idle(self, now_s: float) -> bool:
        """Is nothing of it under way, and would a new record allow it no more?"""
        self._refill(now_s)
        return not (self.at_work or self.telling) and self._tokens >= self._rules.requests_per_minute

    def _refill(self, now_s: float) -> None:
        most = float(self._rules.requests_per_minute)
        self._tokens = min(most, self._tokens + (now_s - self._seen_s) * most / 60)
        self._seen_s = now_s


class Quotas:
    """Those of all peers; at most MAX_QUOTAS."""

    def __init__(self, rules: QuotaRules) -> None:
        self._rules = rules
        self._of_peer, self._of_all = rules.held_bytes(BODIES_PER_PEER), rules.held_bytes(BODIES)
        self._peers: dict[NodeId, PeerQuota] = {}
        self.held_bytes = 0

    def of(self, peer: NodeId, now_s: float) -> PeerQuota:
        """The record of this peer. When there are too many, those that tell nothing are dropped, then the oldest."""
        quota = self._peers.get(peer)
        if quota is None:
            if len(self._peers) >= MAX_QUOTAS:
                self._make_room(now_s)
            quota = self._peers[peer] = PeerQuota(self._rules, now_s)
        return quota

    def has_room(self, quota: PeerQuota, size: int) -> bool:
        """May so many more bytes of its bodies be held?"""
        return quota.held_bytes + size <= self._of_peer and self.held_bytes + size <= self._of_all

    def hold_bytes(self, quota: PeerQuota, size: int) -> None:
        """Count so many more bytes of its bodies in memory. Raises `PeerBusy`, with the count as it was."""
        if not self.has_room(quota, size):
            raise PeerBusy("it holds as many requests in memory as it can.")
        quota.held_bytes += size
        self.held_bytes += size

    def release_bytes(self, quota: PeerQuota, size: int) -> None:
        """They are freed."""
        quota.held_bytes -= size
        self.held_bytes -= size

    @property
    def at_work(self) -> int:
        """How many requests of all peers are under way."""
        return sum(quota.at_work for quota in self._peers.values())

    def __len__(self) -> int:
        return len(self._peers)

    def _make_room(self, now_s: float) -> None:
        self._peers = {peer: quota for peer, quota in self._peers.items() if not quota.is_idle(now_s)}
        while len(self._peers) >= MAX_QUOTAS:
            del self._peers[next(iter(self._peers))]
