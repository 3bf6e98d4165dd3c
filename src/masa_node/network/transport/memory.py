"""A network of nodes inside one process: the same `Transport` as the real one, with latencies, partitions and deaths.

It is made for trying policies and for tests of hundreds of nodes. A seed decides every latency and how bytes are cut,
and on a loop with a virtual clock hours pass in milliseconds.

    network = MemoryNetwork(seed=7)
    ada, bob = network.transport(1), network.transport(2)
    link = await ada.dial(bob.address())
"""

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable, Collection, Iterable
from hashlib import blake2b

from masa_node.chat.errors import LinkLost, PeerUnreachable
from masa_node.network.transport.interfaces import Keys, NodeId, PeerAddress, WayIn
from masa_node.network.transport.memory_links import Deliver, Host, MemoryLink

SILENCE_S = 30.0  # iroh 1.2.0 notices a killed peer after 30 to 35 s, and gives a handshake up as late
MAX_BACKLOG = 256  # handshakes that wait for `accept`; more are not answered, as in the kernel
SECRET_BYTES = 32

Latency = Callable[[random.Random], float]


def fixed(latency_s: float) -> Latency:
    """Every packet takes so long, one way."""
    return lambda _rng: latency_s


def between(least_s: float, most_s: float) -> Latency:
    """Anything between the two is as likely."""
    width_s = most_s - least_s
    return lambda rng: least_s + width_s * rng.random()  # as `uniform` does, without another call


def long_tailed(median_s: float, sigma: float = 1.0) -> Latency:
    """Log-normal, as measured on the internet and in data centres; `sigma` 1 puts p99 at ten times the median."""
    return lambda rng: rng.lognormvariate(math.log(median_s), sigma)


LAN = between(0.000_2, 0.001)


class MemoryKeys:
    """A fast stand-in for ed25519: only the holder of these keys can sign for them, within one `MemoryNetwork`."""

    def __init__(self, node_id: NodeId, secrets: dict[NodeId, bytes]) -> None:
        self._node_id = node_id
        self.secrets_by_node = secrets

    @property
    def node_id(self) -> NodeId:
        """The public key."""
        return self._node_id

    def sign(self, message: bytes) -> bytes:
        """See `interfaces.Keys`."""
        return blake2b(message, key=self.secrets_by_node[self._node_id]).digest()

    def verify(self, node_id: NodeId, message: bytes, signature: bytes) -> bool:
        """See `interfaces.Keys`."""
        secret = self.secrets_by_node.get(node_id)
        return secret is not None and blake2b(message, key=secret).digest() == signature


class MemoryNetwork:
    """All nodes, what lies between them, and what befalls them. Use it inside one running loop. `cuts`: bytes are cut
    anywhere on their way, as codecs have to bear; where thousands of nodes are simulated, that costs half of the time.
    """

    def __init__(self, seed: int = 0, latency: Latency = LAN, *, cuts: bool = True) -> None:
        self._seed = seed
        self._cuts = cuts
        self._rng = random.Random(seed)  # noqa: S311 - a simulation
        self._latency = latency
        self._latencies: dict[frozenset[NodeId], Latency] = {}
        self.secrets_by_node: dict[NodeId, bytes] = {}
        self._transports: dict[NodeId, MemoryTransport] = {}
        self._side_of: dict[NodeId, int] = {}
        self._waiting: list[tuple[Host, Host, Deliver]] = []

    # ---- nodes ----

    def keys(self, who: int | NodeId) -> MemoryKeys:
        """The keys of a node, named by a number or its id: the same ones each time."""
        secret = blake2b(f"{self._seed} {who}".encode(), digest_size=SECRET_BYTES).digest()
        node_id = NodeId(blake2b(secret, digest_size=SECRET_BYTES).hexdigest()) if isinstance(who, int) else who
        self.secrets_by_node.setdefault(node_id, secret)
        return MemoryKeys(node_id, self.secrets_by_node)

    def transport(self, who: int | NodeId, direct: tuple[str, ...] | None = None) -> "MemoryTransport":
        """Start a node; `direct` are the addresses it says it has. Again after `kill` or its `close`: it restarts.

        Raises `ValueError` while it is up.
        """
        keys = self.keys(who)
        if keys.node_id in self._transports:
            raise ValueError(f"node {who} is up already")
        position = list(self.secrets_by_node).index(keys.node_id) + 1
        address = f"10.{position & 255}.{position >> 8 & 255}.{position >> 16 & 255}:4433"
        transport = MemoryTransport(self, keys, (address,) if direct is None else direct)
        self._transports[keys.node_id] = transport
        return transport

    # ---- what lies between them, and what befalls them ----

    def set_latency(self, latency: Latency, between: Collection[NodeId] = ()) -> None:
        """One way, for packets from now on: between these two, or wherever no pair has one of its own."""
        if between:
            self._latencies[frozenset(between)] = latency
        else:
            self._latency = latency

    def lose_link(self, one: NodeId, other: NodeId) -> None:
        """Every connection between the two breaks, and both notice at once."""
        for link in self._links():
            if {link.host.node_id, link.peer} == {one, other}:
                link.go_down("the network lost it.")

    def partition(self, *sides: Iterable[NodeId]) -> None:
        """Nothing passes between these sides; nodes of no side reach everybody. Ends an earlier partition.

        What is sent meanwhile arrives after `heal`; a link that was silent for SILENCE_S is gone.
        """
        self.heal()
        self._side_of = {node_id: number for number, side in enumerate(sides) for node_id in side}
        for link in self._links():
            self._watch(link)

    def heal(self) -> None:
        """The network is whole again."""
        self._side_of = {}
        self._send_held()
        for link in self._links():
            if link.silence is not None and not link.other.host.is_dead:
                link.silence.cancel()
                link.silence = None

    def kill(self, node_id: NodeId) -> None:
        """As SIGKILL or a power cut: nobody is told; its peers notice after SILENCE_S.

        What the node itself awaits never comes; close its transport to end its tasks.
        """
        host = self._transports.pop(node_id).host
        host.is_dead = True
        self._waiting = [sending for sending in self._waiting if host not in sending[:2]]
        for link in [*host.links]:
            self._watch(link.other)

    def hang(self, node_id: NodeId) -> None:
        """Its process does nothing any more, but its machine keeps the connections up."""
        self._transports[node_id].host.is_hung = True

    def resume(self, node_id: NodeId) -> None:
        """It goes on after `hang`."""
        host = self._transports[node_id].host
        host.is_hung = False
        host.changed.wake()

    # ---- for tests that look for what is left ----

    @property
    def open_links(self) -> int:
        """Ends of links that are up, of all nodes."""
        return len(self._links())

    @property
    def open_streams(self) -> int:
        """Ends of streams that are not over, of all nodes."""
        return sum(len(link.streams) for link in self._links())

    # ---- for the transports ----

    def transport_of(self, node_id: NodeId) -> "MemoryTransport | None":
        """This node's end of the network; None while it is not there."""
        return self._transports.get(node_id)

    def find(self, address: PeerAddress) -> "MemoryTransport | None":
        """The node that answers there, if it is up."""
        found = self._transports.get(address.node_id)
        if found is None or not set(address.direct) & set(found.address().direct):
            return None
        return found

    def link(self, dialer: Host, taker: Host) -> MemoryLink:
        """Connect two nodes; the dialer's end."""
        rng = random.Random(self._rng.random()) if self._cuts else None  # noqa: S311 - a simulation
        link = MemoryLink.pair(dialer, taker, self.carry, rng)
        link.rtt_s = link.other.rtt_s = 2 * self._draw(dialer, taker)
        self._watch(link)
        self._watch(link.other)
        return link

    def carry(self, source: Host, target: Host, deliver: Deliver) -> None:
        """Have something happen at the target, a latency later; after `heal` if a partition is between."""
        if self._can_pass(source, target, deliver):
            delay_s = self._draw(source, target)
            asyncio.get_running_loop().call_later(delay_s, self._arrive, source, target, deliver)

    def leave(self, transport: "MemoryTransport") -> None:
        """That transport is closed."""
        if self._transports.get(transport.keys.node_id) is transport:
            del self._transports[transport.keys.node_id]

    def _arrive(self, source: Host, target: Host, deliver: Deliver) -> None:
        if self._can_pass(source, target, deliver):
            deliver()

    def _can_pass(self, source: Host, target: Host, deliver: Deliver) -> bool:
        if source.is_dead or target.is_dead:
            return False
        if self._side_of and self._is_cut(source, target):
            self._waiting.append((source, target, deliver))
            return False
        return True

    def _send_held(self) -> None:
        waiting, self._waiting = self._waiting, []
        for source, target, deliver in waiting:
            self.carry(source, target, deliver)

    def _is_cut(self, one: Host, other: Host) -> bool:
        if not self._side_of:
            return False
        sides = {self._side_of.get(one.node_id), self._side_of.get(other.node_id)} - {None}
        return len(sides) > 1

    def _watch(self, link: MemoryLink) -> None:
        """Count the silence on this end, if there is any."""
        is_silent = link.other.host.is_dead or self._is_cut(link.host, link.other.host)
        if is_silent and link.silence is None and not link.is_down:
            why = f"the peer was silent for {SILENCE_S:g} s."
            link.silence = asyncio.get_running_loop().call_later(SILENCE_S, link.go_down, why)

    def _links(self) -> list[MemoryLink]:
        return [link for transport in self._transports.values() for link in transport.host.links]

    def _draw(self, one: Host, other: Host) -> float:
        if not self._latencies:
            return self._latency(self._rng)
        return self._latencies.get(frozenset((one.node_id, other.node_id)), self._latency)(self._rng)


class _Handshake:
    """A node dials another one: under way until it has a link or is given up."""

    def __init__(self, dialer: Host) -> None:
        self.dialer = dialer
        self.link: MemoryLink | None = None
        self.is_over = False

    def succeed(self, link: MemoryLink) -> None:
        if self.is_over:
            link.close("nobody waits for it any more.")
        else:
            self.link = link
            self.dialer.changed.wake()

    def expire(self) -> None:
        self.is_over = True
        self.dialer.changed.wake()


class MemoryTransport:
    """One node's place in a `MemoryNetwork`."""

    def __init__(self, network: MemoryNetwork, keys: MemoryKeys, direct: tuple[str, ...]) -> None:
        self.host = Host(keys.node_id, direct[0] if direct else "")
        self.network = network
        self._keys = keys
        self._direct = direct
        self._relays: set[str] = set()
        self._backlog: deque[_Handshake] = deque()

    @property
    def keys(self) -> Keys:
        """This node's."""
        return self._keys

    def address(self) -> PeerAddress:
        """Where others find this node."""
        return PeerAddress(self._keys.node_id, self._direct, min(self._relays, default=None))

    @property
    def relays(self) -> frozenset[str]:
        """Relays are not simulated: those named stand here, and are taken to be connected."""
        return frozenset(self._relays)

    async def way_in(self) -> WayIn:
        """See `interfaces.Transport`."""
        return WayIn(self._direct, tuple(sorted(self._relays)), min(self._relays, default=None))

    async def use_relay(self, url: str, token: str | None = None) -> None:
        """See `interfaces.Transport`."""
        del token
        self._relays.add(url)

    async def connect_again(self, relay_url: str) -> bool:
        """See `interfaces.Transport`."""
        return relay_url in self._relays

    async def leave_relays(self) -> None:
        """See `interfaces.Transport`."""
        self._relays.clear()

    async def dial(self, address: PeerAddress) -> MemoryLink:
        """See `interfaces.Transport`. The address must be one that the node has; where none is, SILENCE_S pass."""
        await self.host.running()
        if self.host.is_closed or address.node_id == self._keys.node_id or not address.direct:
            raise PeerUnreachable("there is no address to dial.")
        handshake = _Handshake(self.host)
        target = self.network.find(address)
        if target is not None:
            self.network.carry(self.host, target.host, lambda: target.knock(handshake))
        timer = asyncio.get_running_loop().call_later(SILENCE_S, handshake.expire)
        try:
            return await self._linked(handshake)
        except BaseException:
            if handshake.link is not None:
                handshake.link.close("nobody waits for it any more.")
            raise
        finally:
            handshake.is_over = True
            timer.cancel()

    def restart_dials(self) -> None:
        """See `interfaces.Transport`. Here they cannot."""

    async def _linked(self, handshake: _Handshake) -> MemoryLink:
        while True:
            await self.host.running()
            if handshake.link is not None:
                return handshake.link
            if handshake.is_over or self.host.is_closed:
                raise PeerUnreachable(f"no answer within {SILENCE_S:g} s.")
            await self.host.changed.wait()

    async def accept(self) -> MemoryLink:
        """See `interfaces.Transport`."""
        while True:
            await self.host.running()
            if self.host.is_closed:
                raise LinkLost("this node's transport is closed.")
            while self._backlog:
                handshake = self._backlog.popleft()
                if not handshake.is_over and not handshake.dialer.is_dead:
                    return self._answer(handshake)
            await self.host.changed.wait()

    async def close(self) -> None:
        """Close all links, and leave the network. A killed node's peers are not told."""
        self.network.leave(self)
        for link in [*self.host.links]:
            link.close("the node was stopped.")
        self.host.is_closed = True
        self._backlog.clear()
        self.host.changed.wake()

    def knock(self, handshake: _Handshake) -> None:
        """Somebody's handshake has arrived."""
        if not self.host.is_closed and len(self._backlog) < MAX_BACKLOG:
            self._backlog.append(handshake)
            self.host.changed.wake()

    def _answer(self, handshake: _Handshake) -> MemoryLink:
        link = self.network.link(handshake.dialer, self.host)
        self.network.carry(self.host, handshake.dialer, lambda: handshake.succeed(link))
        return link.other
