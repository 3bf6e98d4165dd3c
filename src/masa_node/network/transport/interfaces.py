"""What the packages above need of a transport: keys, links to peers, streams on a link. Two implementations: iroh
(`iroh/endpoint.py`) and the in-memory network (`memory.py`).
"""

import re
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import NewType, Protocol

import msgspec

NodeId = NewType("NodeId", str)  # an ed25519 public key: 64 lower-case hexadecimal digits

_NODE_ID = re.compile(r"[0-9a-f]{64}")
ALPN = b"masa"  # the protocol; which version of it is agreed on in the greeting (`links/control.py`)
SHORT_ID_CHARS = 10  # what people read of a NodeId
MAX_READ_BYTES = 64 * 1024  # each read crosses into the transport's runtime: few and large ones
MAX_ADDRESSES = 8  # of one node: a few interfaces, each with IPv4 and IPv6
MAX_CLOCK_SKEW_S = 5 * 60  # nodes' clocks may differ by this


class Route(StrEnum):
    """How packets to a peer travel now."""

    DIRECT = "direct"
    RELAY = "relay"
    UNKNOWN = "unknown"


class Path(msgspec.Struct, frozen=True):
    """The way to a linked peer: `address` is `ip:port` or the relay's URL; `rtt_s` None when not measured yet."""

    route: Route
    address: str
    rtt_s: float | None


class PeerAddress(msgspec.Struct, frozen=True, gc=False):
    """Where a node may be found. `direct` are `ip:port` (`[ip6]:port`), at most MAX_ADDRESSES."""

    node_id: NodeId
    direct: tuple[str, ...] = ()
    relay_url: str | None = None


class WayIn(msgspec.Struct, frozen=True):
    """How packets of others come in. `bound` are the sockets (`ip:port`), `relays` the URLs of the relays it may use.

    `home_relay` is the one that it is connected to now. `is_mapped`: a router forwards a port here, as it was asked to.
    """

    bound: tuple[str, ...] = ()
    relays: tuple[str, ...] = ()
    home_relay: str | None = None
    is_mapped: bool = False


class Keys(Protocol):
    """This node's key pair, and checking the signatures of others (ed25519, RFC 8032)."""

    @property
    def node_id(self) -> NodeId:
        """The public key."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The signature, 64 bytes."""
        ...

    def verify(self, node_id: NodeId, message: bytes, signature: bytes) -> bool:
        """Did this node sign the message? False for anything malformed."""
        ...


class Stream(Protocol):
    """A bidirectional stream of bytes on a link. One task reads and one task writes at a time."""

    async def read(self) -> bytes:
        """The next bytes, at most MAX_READ_BYTES; b"" when the peer has finished.

        Raises `StreamReset`, `LinkLost`. When cancelled, bytes may be lost: only abort the stream then.
        """
        ...

    async def write(self, data: bytes) -> None:
        """Give these bytes to the transport; waits while its buffers are full. Raises `StreamReset`, `LinkLost`.

        When cancelled, part of them may be on their way: only abort the stream then.
        """
        ...

    async def flow(self, came: Callable[[bytes], object]) -> None:
        """Read for as long as `came` gives a true value: it gets what `read` would give, by direct calls.

        b"" is the last that it gets. Raises as `read` does, and whatever `came` raises.
        """
        ...

    def write_now(self, data: bytes) -> Awaitable[None] | None:
        """As `write`, at once. None when the transport has all of it; else what has to be waited for next."""
        ...

    async def finish(self) -> None:
        """Nothing more will be written. Raises `StreamReset`, `LinkLost`."""
        ...

    def abort(self) -> None:
        """Give both directions up at once; the peer sees `StreamReset`. Never waits, never raises; idempotent.

        After both sides have finished it does nothing.
        """
        ...


class Link(Protocol):
    """One encrypted connection with one peer, whose key the handshake has proved."""

    @property
    def peer(self) -> NodeId:
        """The node at the other end."""
        ...

    @property
    def is_dialed(self) -> bool:
        """Did this node open the connection?"""
        ...

    async def open(self) -> Stream:
        """A new stream. The peer hears of it with the first bytes written. Raises `LinkLost`."""
        ...

    async def accept(self) -> Stream:
        """The next stream that the peer opened. Raises `LinkLost`."""
        ...

    def path(self) -> Path:
        """How packets travel now."""
        ...

    async def closed(self) -> str:
        """Returns when the link is gone, with the reason in words."""
        ...

    def close(self, reason: str) -> None:
        """Close it and every stream on it, at once; the peer is told the reason (at most 100 bytes). Idempotent."""
        ...


class Transport(Protocol):
    """Makes and takes links."""

    @property
    def keys(self) -> Keys:
        """This node's."""
        ...

    def address(self) -> PeerAddress:
        """Where others may find this node now."""
        ...

    @property
    def relays(self) -> frozenset[str]:
        """The URLs of the relays that this node may use now."""
        ...

    async def way_in(self) -> WayIn:
        """How packets of others come in now; bounded to a fraction of a second."""
        ...

    async def use_relay(self, url: str, token: str | None = None) -> None:
        """From now on use this relay too (`public`: those of iroh's makers). Raises `ConfigurationError`."""
        ...

    async def connect_again(self, relay_url: str) -> bool:
        """This relay was lost, or all are where it is none of them: connect at once to what answers by now.

        Bounded to half a second. True: one answers, and `way_in` names it soon.
        """
        ...

    async def leave_relays(self) -> None:
        """From now on use none. Links that go through one find another way, or end."""
        ...

    async def dial(self, address: PeerAddress) -> Link:
        """Connect, also through the relay in `address`, which is used from then on: it has to be the owner's word.

        Raises `PeerUnreachable`; holds no deadline of its own. When cancelled nothing stays open.
        """
        ...

    def restart_dials(self) -> None:
        """What kept them from arriving may be over: those that are under way begin again at once, if they can."""
        ...

    async def accept(self) -> Link:
        """The next link that a peer made. Handshakes that fail are not seen here.

        Raises `LinkLost` once the transport is closed.
        """
        ...

    async def close(self) -> None:
        """Close all links and the sockets; bounded in time."""
        ...


def short_id(node_id: str) -> str:
    """The first digits, for people."""
    return node_id[:SHORT_ID_CHARS]


def is_node_id(text: str) -> bool:
    """Has it the form of a NodeId?"""
    return _NODE_ID.fullmatch(text) is not None
