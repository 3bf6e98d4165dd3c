"""A network of `Gossip` objects on a clock of its own: a heap of events, latencies, loss, partitions; no asyncio.

Every message is counted, and the budget of its pair is checked as it is sent.
"""

import contextlib
import functools
import heapq
import itertools
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from unittest import mock

import pytest

from masa_node.network.gossip import advert_set
from masa_node.network.gossip import gossip as gossip_module
from masa_node.network.gossip.adverts import (
    ADVERT_LIFETIME_S,
    Advert,
    AdvertModel,
    SignedAdvert,
    read_advert,
    sign_advert,
)
from masa_node.network.gossip.gossip import Gossip
from masa_node.network.gossip.outbox import BUDGET_BYTES_PER_S, BURST_BYTES
from masa_node.network.links.frames import HEAD_BYTES
from masa_node.network.transport.interfaces import NodeId
from masa_node.network.transport.memory import MemoryKeys, MemoryNetwork

AT_UNIX_S = 1_800_000_000
ENDPOINTS = ("openai_chat", "ollama_chat", "anthropic_messages")


def an_advert(keys: MemoryKeys, sequence: int, models: int = 3, issued_at_unix_s: int = AT_UNIX_S) -> SignedAdvert:
    """About 500 bytes with three models."""
    return sign_advert(
        Advert(
            node_id=keys.node_id,
            sequence=sequence,
            issued_at_unix_s=issued_at_unix_s,
            expires_at_unix_s=issued_at_unix_s + ADVERT_LIFETIME_S,
            version="0.1.0",
            name=f"node of {sequence}",
            addresses=("192.168.1.17:41234", "[2001:db8::17]:41234"),
            models=tuple(
                AdvertModel(f"model-{number}-of-{sequence % 7}:8b-q4", ENDPOINTS, 8192, ("tools",))
                for number in range(models)
            ),
            slots=4,
        ),
        keys,
    )


class Simulation:
    """`size` nodes, each linked with at least `links` others at random."""

    def __init__(self, size: int, links: int, seed: int, *, loss: float = 0.0) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - a simulation
        self.network = MemoryNetwork(seed)
        self.loss = loss
        self.now_s = 0.0
        self.keys = [self.network.keys(number) for number in range(size)]
        self.ids = [keys.node_id for keys in self.keys]
        self.number_of = {node_id: number for number, node_id in enumerate(self.ids)}
        self.gossips = [self.a_gossip(keys) for keys in self.keys]
        self.sent_bytes: dict[tuple[int, NodeId], dict[int, int]] = defaultdict(lambda: defaultdict(int))
        self.messages = 0
        self.links: set[tuple[int, int]] = set()
        self.is_cut: Callable[[int, int], bool] = lambda _one, _other: False
        self._levels: dict[tuple[int, NodeId], tuple[float, float]] = {}
        self._wakes = [float("inf")] * size
        self._events: list[tuple[float, int, int, int, bytes]] = []
        self._order = itertools.count()
        for number in range(size):
            others = [other for other in range(size) if other != number]
            for other in self.rng.sample(others, min(links // 2, len(others))):
                self.links.add((min(number, other), max(number, other)))

    def a_gossip(self, keys: MemoryKeys) -> Gossip:
        return Gossip(keys, random.Random(self.rng.random()))  # noqa: S311 - a simulation

    def know_everything(self, adverts: list[SignedAdvert]) -> None:
        """As if they had been linked for long."""
        for number, gossip in enumerate(self.gossips):
            for advert in adverts:
                gossip.known.put(advert, self.ids[number])

    def set_own(self, number: int, sequence: int, models: int = 3) -> SignedAdvert:
        advert = an_advert(self.keys[number], sequence, models)
        self.gossips[number].set_own(advert)
        self.wake(number)
        return advert

    def link_all(self) -> None:
        for one, other in sorted(self.links):
            self.link(one, other)

    def link(self, one: int, other: int) -> None:
        self.gossips[one].linked(self.ids[other], self.now_s)
        self.gossips[other].linked(self.ids[one], self.now_s)
        self.wake(one)
        self.wake(other)

    def wake(self, number: int) -> None:
        due_s = max(self.gossips[number].next_due_s(self.now_s), self.now_s)
        if due_s < self._wakes[number]:
            self._wakes[number] = due_s
            heapq.heappush(self._events, (due_s, next(self._order), number, -1, b""))

    def run_until(self, end_s: float) -> None:
        while self._events and self._events[0][0] <= end_s:
            self.now_s, _, number, sender, message = heapq.heappop(self._events)
            if sender >= 0:
                self.gossips[number].received(self.ids[sender], message, self.now_s, AT_UNIX_S + self.now_s)
            elif self.now_s < self._wakes[number]:
                continue  # it was woken earlier
            else:
                self._wakes[number] = float("inf")
                for peer, data in self.gossips[number].due(self.now_s):
                    self._send(number, peer, data)
                self.now_s += 0.001  # nobody acts twice in a millisecond
            self.wake(number)
        self.now_s = end_s

    def run_until_true(self, is_done: Callable[[], bool], end_s: float, step_s: float = 0.5) -> float:
        """Seconds until it is so."""
        began_s = self.now_s
        while not is_done():
            if self.now_s - began_s > end_s:
                pytest.fail(f"not done after {end_s} simulated seconds")
            self.run_until(self.now_s + step_s)
        return self.now_s - began_s

    def all_know(self, adverts: list[SignedAdvert]) -> bool:
        return all(gossip.known.holder_of(advert.signed) is not None for advert in adverts for gossip in self.gossips)

    def knows(self, number: int, advert: SignedAdvert) -> bool:
        newest = self.gossips[number].advert_of(advert.node_id)
        return newest is not None and newest.advert.sequence >= advert.advert.sequence

    def busiest_second(self) -> int:
        """The most bytes that any node sent to any one peer in a second."""
        return max(count for seconds in self.sent_bytes.values() for count in seconds.values())

    def bytes_per_node_and_s(self, since_s: float) -> float:
        """What a node sends a second, all its links together, on average."""
        counts = (seconds.items() for seconds in self.sent_bytes.values())
        total = sum(count for second in counts for at_s, count in second if at_s >= since_s)
        return total / len(self.gossips) / (self.now_s - since_s)

    def _send(self, number: int, peer: NodeId, data: bytes) -> None:
        self.messages += 1
        self._spend((number, peer), len(data) + HEAD_BYTES)
        other = self.number_of[peer]
        if self.rng.random() >= self.loss and not self.is_cut(number, other):
            arrives_s = self.now_s + self.rng.uniform(0.01, 0.06)
            heapq.heappush(self._events, (arrives_s, next(self._order), other, number, data))

    def _spend(self, pair: tuple[int, NodeId], size: int) -> None:
        level, at_s = self._levels.get(pair, (float(BURST_BYTES), 0.0))
        level = min(BURST_BYTES, level + (self.now_s - at_s) * BUDGET_BYTES_PER_S) - size
        assert level >= -0.01, f"node {pair[0]} spent {-level:.0f} bytes more than its budget at {self.now_s}"
        self._levels[pair] = (level, self.now_s)
        self.sent_bytes[pair][int(self.now_s)] += size


@contextlib.contextmanager
def reading_shared() -> Iterator[None]:
    """All nodes of one process share what they have read: a thousand nodes are to fit into memory."""
    tags: dict[bytes, tuple[bytes, int]] = {}
    compute = advert_set.tag_and_hash

    def tag_of(signed: SignedAdvert) -> tuple[bytes, int]:
        return tags.get(signed.signed) or tags.setdefault(signed.signed, compute(signed))

    with (
        mock.patch.object(gossip_module, "read_advert", functools.cache(read_advert)),
        mock.patch.object(advert_set, "tag_and_hash", tag_of),
    ):
        yield


@pytest.fixture
def shared_adverts() -> Iterator[None]:
    """See `reading_shared`."""
    with reading_shared():
        yield
