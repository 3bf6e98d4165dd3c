"""Which peers are dialed, and when: those that the owner let in, always, and some of all others, at random.

A network of thousands is no full mesh. Random links, half of them dialed by this node itself, keep it whole, and
strangers that dial this node cannot be all that it knows. Any other node is dialed when it is to be asked.
"""

import asyncio
import contextlib
import math
import random
from collections import Counter
from collections.abc import Callable

from masa_node.chat.errors import ProviderError
from masa_node.network.gossip.drawing import drawn
from masa_node.network.links.links import MAX_LINKS, NOT_NEEDED, Links
from masa_node.network.links.peer_book import PeerBook
from masa_node.network.transport.interfaces import NodeId, PeerAddress
from masa_node.network.transport.sources import subnet_of

LINKS_KEPT_FREE = 32  # for peers that dial this node
MAX_RANDOM_DIALED = 8  # at once, half of the links: others dial, too; and anybody can tell of addresses where nobody is
MAX_AT_ONE_PLACE = 2  # of these: adverts of many nodes may name one victim, and every node of the network hears them
OTHERS_DIAL_WITHIN_S = 1.0  # nodes that start together: one that has dialed its half waits so long before it dials more
SHORTEST_REST_S = 1.0  # between two looks at which peers to dial, where one is due that cannot be dialed now;
SHORTEST_LOOK_S = 0.05  # where something has happened, or one becomes due; and
REST_A_PEER_S = 0.000_1  # for each peer that is known: a look takes some 2 us for each
MAX_LOOKED_AT = 1_000  # of the others, at once: to look at 10 000 takes 25 ms
LET_GO_EVERY_S = 60.0


class Dialing:
    """`run` it in a task. `failed` is told of each peer that was not linked with, and why."""

    def __init__(
        self, links: Links, book: PeerBook, rng: random.Random, failed: Callable[[NodeId, ProviderError], None]
    ) -> None:
        self._links = links
        self._book = book
        self._rng = rng
        self._failed = failed
        self._dialing: dict[NodeId, PeerAddress] = {}
        self._changed = asyncio.Event()
        self.look = self._changed.set  # something has changed: somebody else may have to be dialed

    def is_spare(self, peer: NodeId) -> bool:
        """Is it being dialed at random?"""
        return peer in self._dialing and peer not in self._book.wanted

    async def run(self) -> None:
        """Until cancelled; what it dials ends with it."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                now_s = self._now_s()
                for address in self._due(now_s):
                    self._dialing[address.node_id] = address
                    group.create_task(self._dial(address))
                rest_s = self._rest_s(now_s)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(rest_s if rest_s is None or rest_s > 0 else SHORTEST_REST_S):
                        await self._changed.wait()
                # More may happen: one look for all of it.
                await asyncio.sleep(max(SHORTEST_LOOK_S, REST_A_PEER_S * len(self._book.ids)))

    def _due(self, now_s: float) -> list[PeerAddress]:
        """Those to dial now. Others make room for those that the owner let in (`Links`), who come first."""
        wanted, busy = self._book.wanted, {*self._links.sessions, *self._dialing}
        due = self._book.due(now_s, busy, MAX_LINKS + LINKS_KEPT_FREE - len(busy), wanted)
        busy.update(address.node_id for address in due)
        room = self._random_room(busy, now_s)
        if room <= 0:
            return due
        others = list(drawn([*self._book.ids], MAX_LOOKED_AT, self._rng))
        return due + self._spread_out(self._book.due(now_s, busy | wanted, 4 * room, others))[:room]

    def _spread_out(self, addresses: list[PeerAddress]) -> list[PeerAddress]:
        """Those of them that may be dialed at random, beside each other and what is being dialed."""
        counts: Counter[str] = Counter()
        for peer, address in self._dialing.items():
            counts.update(_places(address) if peer not in self._book.wanted else ())
        return [address for address in addresses if _has_room(counts, _places(address))]

    def _rest_s(self, now_s: float) -> float | None:
        """How long nothing is to be done, if nothing happens; None: for ever."""
        busy = {*self._links.sessions, *self._dialing}
        times = [self._book.next_due_s(now_s, busy, self._book.wanted)]
        for from_s in (now_s, now_s + OTHERS_DIAL_WITHIN_S):
            if self._random_room(busy, from_s) > 0:
                times.append(self._book.next_due_s(from_s, busy | self._book.wanted))
                break
        if self._let_go(now_s):
            times.append(now_s + LET_GO_EVERY_S)
        return min((at_s - now_s for at_s in times if at_s is not None), default=None)

    def _random_room(self, busy: set[NodeId], now_s: float) -> int:
        """How many more random links this node wants to dial now."""
        target, at_random = self._links.random_links, busy - self._book.wanted
        if len(at_random) >= 2 * target:
            return 0
        sessions = self._links.sessions
        dialed_s = [each.since_s for peer, each in sessions.items() if each.link.is_dialed and peer in at_random]
        dialing = len(self._dialing.keys() - self._book.wanted)
        more = min(target // 2 - dialing - len(dialed_s), 2 * target - len(at_random))
        if now_s >= max(dialed_s, default=-math.inf) + OTHERS_DIAL_WITHIN_S:
            more = max(more, target - len(at_random))
        return min(more, MAX_RANDOM_DIALED - dialing, MAX_LINKS - LINKS_KEPT_FREE - len(busy))

    def _let_go(self, now_s: float) -> bool:
        """Close what was dialed to ask somebody, and was not used lately; is it to be looked at again?"""
        sessions, most = self._links.sessions, 2 * self._links.random_links
        if len(sessions) <= most:
            return False
        spare = [each for each in sessions.values() if each.peer not in self._book.wanted and not each.why]
        surplus = len(spare) - most
        if surplus <= 0:
            return False
        idle = [session for session in spare if session.link.is_dialed and session.is_idle(now_s)]
        for session in sorted(idle, key=lambda session: session.used_s)[:surplus]:
            session.close(NOT_NEEDED)
        return True

    async def _dial(self, address: PeerAddress) -> None:
        peer = address.node_id
        try:
            await self._links.connect(address, is_spare=peer not in self._book.wanted)
        except ProviderError as exc:
            self._failed(peer, exc)
        finally:
            del self._dialing[peer]
            self._changed.set()  # the next one's turn, and this one's once more

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()


def _places(address: PeerAddress) -> set[str]:
    """The networks that it leads to; one behind a relay disturbs nobody else."""
    return {subnet_of(each) for each in address.direct}


def _has_room(counts: Counter[str], places: set[str]) -> bool:
    """May one more be dialed at these places? It is counted then."""
    if any(counts[place] >= MAX_AT_ONE_PLACE for place in places):
        return False
    counts.update(places)
    return True
