"""Which addresses a node's UDP port is bound to, and which of them it tells others."""

import ipaddress
import socket
from collections.abc import Iterable

from masa_node.chat.errors import ConfigurationError
from masa_node.network.transport.addresses import AddressScope, IpAddress, read_address, scope_of, write_address
from masa_node.network.transport.interfaces import MAX_ADDRESSES

# what other machines can reach, the likeliest first
_BEYOND = (AddressScope.PUBLIC, AddressScope.PRIVATE, AddressScope.LINK_LOCAL)
_BRIDGES = ipaddress.ip_network("172.16.0.0/12")  # where container engines put the networks inside one machine
_PORT_TRIES = 8  # each finds a port that is free in one IP version; it seldom is not in the other


def addresses_to_bind(host: str, port: int) -> list[str]:
    """The host's own address first; then the least that can be bound of the other IP version.

    All addresses of IPv4 go with all of IPv6, on the same port, also when any will do (0). One address goes with the
    loopback of the other version, on any port: the transport would otherwise listen on all its addresses. Raises
    `ConfigurationError`.
    """
    try:
        own = ipaddress.ip_address(host)
    except ValueError as exc:
        raise ConfigurationError(f"PEER_HOST is not an IP address: {host!r}.") from exc
    other = _counterpart(own)
    if free_port(other) is None:
        return [write_address(own, port)]
    if own.is_unspecified:
        port = port or _common_port(own, other)
    return [write_address(own, port), write_address(other, port if own.is_unspecified else 0)]


def advertisable(addresses: Iterable[str]) -> tuple[str, ...]:
    """At most MAX_ADDRESSES of a node's own, the likeliest to be reached first; loopback only if there is no other."""
    by_reach = [(scope_of(address), address) for address in addresses]
    beyond = [(_BEYOND.index(kind), _is_bridge(text), text) for kind, text in by_reach if kind in _BEYOND]
    near = [text for kind, text in by_reach if kind is AddressScope.LOOPBACK]
    return tuple([text for *_, text in sorted(beyond)] or near)[:MAX_ADDRESSES]


def loopback_of(bound: str) -> str:
    """Where a socket that is bound to all addresses can be reached on this machine."""
    read = read_address(bound)
    if read is None or not read[0].is_unspecified:
        return bound
    return write_address(_loopback(read[0]), read[1])


def _counterpart(own: IpAddress) -> IpAddress:
    if isinstance(own, ipaddress.IPv4Address):
        return ipaddress.IPv6Address("::" if own.is_unspecified else "::1")
    return ipaddress.IPv4Address("0.0.0.0" if own.is_unspecified else "127.0.0.1")  # noqa: S104 - as the owner said


def _loopback(ip: IpAddress) -> IpAddress:
    return ipaddress.ip_address("127.0.0.1" if isinstance(ip, ipaddress.IPv4Address) else "::1")


def _is_bridge(address: str) -> bool:
    read = read_address(address)
    return read is not None and read[0] in _BRIDGES


def _common_port(own: IpAddress, other: IpAddress) -> int:
    """A port that is free in both; 0 if there seems to be none."""
    for _ in range(_PORT_TRIES):
        port = free_port(own)
        if port is not None and free_port(other, port) is not None:
            return port
    return 0


def free_port(ip: IpAddress, port: int = 0) -> int | None:
    """This port, or any; None if it cannot be had. Containers often have no IPv6."""
    is_ip6 = isinstance(ip, ipaddress.IPv6Address)
    try:
        with socket.socket(socket.AF_INET6 if is_ip6 else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            if is_ip6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((str(ip), port))
            return int(probe.getsockname()[1])
    except OSError:
        return None
