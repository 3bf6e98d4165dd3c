"""All open connections: how many from each source, and which ones are closed when there are too many.

Connections that lose least are closed first, in this order (`ConnectionState`):
1. a caller that has been answered and still sends;
2. one that asks nothing, or has not presented a key;
3. one whose body is on its way;
4. one that has long read nothing of its answer.

A caller whose request is being worked on is never disconnected.
"""

import ipaddress
import math
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from functools import cache
from heapq import nsmallest
from typing import Protocol

import structlog

MAX_CONNECTIONS = 8_192  # 25 kB each
OWN_DESCRIPTORS = 48  # listening, logs, databases, peers: 25 to 40 are open before anybody connects
CONNECTIONS_PER_DESCRIPTOR = 0.5  # of the rest; the other half is for LLM servers
# This part of all, so that looking for them costs the same for each newcomer, whatever their number.
EVICTED_AT_ONCE = 16
# Of several that go at once these stay: a busy node has yet to read what they ask.
FRESH_S = 2.0
TELL_EVERY_S = 60.0
SOURCE_PART = 2  # one address may have half of the connections: more than any proxy needs, and the rest get in
_IPV6_HOME_BITS = 64  # what one customer gets (RFC 6177), and may take as many addresses of as it likes

log = structlog.get_logger()


class ConnectionState(IntEnum):
    """What a connection is in the middle of; the lower, the sooner it makes room."""

    ANSWERED = 0
    IDLE = 1
    SENDING = 2
    STALLED = 3
    WORKED_ON = 4


class Connection(Protocol):
    """A connection as the crowd sees it, and how it is closed. In its `state` since about `since_s` of the loop."""

    since_s: float

    @property
    def state(self) -> ConnectionState:
        """What it is in the middle of."""
        ...

    def close_if_idle(self) -> None:
        """Close it if nothing is being answered."""
        ...

    def close(self) -> None:
        """Close it when all that was written is sent."""
        ...

    def abort(self) -> None:
        """Close it at once."""
        ...


class Crowd:
    """The connections of one server. `most` gives how many there may be."""

    def __init__(self, most: Callable[[], int]) -> None:
        self._most = most
        self._by_source: dict[str, set[Connection]] = {}
        self._count = 0
        self._told_s = -math.inf

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Connection]:
        return (each for connections in self._by_source.values() for each in connections)

    def add(self, connection: Connection, source: str) -> list[Connection]:
        """Add one. Returns the connections to close for it: itself, if no other can be closed."""
        own = self._by_source.setdefault(source, set())
        own.add(connection)
        self._count += 1
        most = self._most()
        is_all = len(own) <= max(1, most // SOURCE_PART)
        if is_all and self._count <= most:
            return []
        if connection.since_s - self._told_s >= TELL_EVERY_S:
            self._told_s = connection.since_s
            log.warning("connections are closed to make room", open=self._count, most=most, of_one_address=len(own))
        return _least(self, connection, self._count) if is_all else _least(own, connection)

    def remove(self, connection: Connection, source: str) -> None:
        """The connection is closed. Does nothing if it was removed before."""
        own = self._by_source.get(source)
        if own is None or connection not in own:
            return
        own.remove(connection)
        self._count -= 1
        if not own:
            del self._by_source[source]


def source_of(address: str | None) -> str:
    """What counts as one source: an IPv4 address, the /64 of an IPv6 one; "" for a socket without an address."""
    if address is None or ":" not in address:
        return address or ""
    try:
        known = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if known.ipv4_mapped is not None:
        return str(known.ipv4_mapped)
    return str(ipaddress.IPv6Network((known, _IPV6_HOME_BITS), strict=False))


def _least(connections: Iterable[Connection], newcomer: Connection, count: int = 0) -> list[Connection]:
    others = [each for each in connections if each is not newcomer and each.state is not ConnectionState.WORKED_ON]
    if not others:
        return [newcomer]
    several = (count or len(others)) // EVICTED_AT_ONCE + 1
    least = nsmallest(several, others, key=lambda each: (each.state, each.since_s))
    return [each for each in least if newcomer.since_s - each.since_s >= FRESH_S] or least


@cache
def max_connections() -> int:
    """As many as the process may have descriptors for."""
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return MAX_CONNECTIONS
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return min(MAX_CONNECTIONS, max(1, int((descriptors - OWN_DESCRIPTORS) * CONNECTIONS_PER_DESCRIPTOR)))
