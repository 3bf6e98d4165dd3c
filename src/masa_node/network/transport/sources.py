"""From which networks packets come: whatever one owner of many addresses can hold is counted by these. Pure."""

import functools
import ipaddress
from typing import NamedTuple

from masa_node.network.transport.addresses import read_address

# Of addresses in one network, the largest first: a provider's, a site's, a customer's. Whoever has a /48 has 65 536 of
# IPv6's smallest (RFC 6177), and a provider's least allocation is a /32. Bitcoin's address manager counts by /16, /32.
_NETWORK_BITS = {4: (16, 24, 32), 6: (32, 48, 64)}
_KEPT = 4_096  # of the networks looked up: the same peers come again, and are dialed again


class Source(NamedTuple):
    """Where packets come from: the networks of a whole site, and of one customer."""

    site: str
    customer: str


@functools.lru_cache(_KEPT)
def networks_of(address: str) -> tuple[str, ...]:
    """The networks that it lies in: a provider's, a site's, a customer's. For a relay's URL, that alone."""
    read = read_address(address)
    if read is None:
        return (address,)
    ip = read[0]
    whole, *rest = (ipaddress.ip_network((ip, bits), strict=False) for bits in reversed(_NETWORK_BITS[ip.version]))
    customer = str(ip) if whole.prefixlen == whole.max_prefixlen else str(whole)
    return (*map(str, reversed(rest)), customer)


def source_of(address: str) -> Source:
    """The smaller two of these networks."""
    networks = networks_of(address)
    return Source(*networks[-2:]) if len(networks) > 1 else Source(address, address)


def subnet_of(address: str) -> str:
    """The network of one customer: an IPv4 address alone, or the /64 of an IPv6 address."""
    return networks_of(address)[-1]
