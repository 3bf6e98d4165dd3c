"""Addresses of nodes: reading them, and which of those learnt from others may be dialled.

Pure. The owner's own words (BOOTNODES, an invite) are dialled as they stand. What a peer, an advert or the LAN says
could point this node at machines behind its firewall, so it goes through `may_dial`.
"""

import functools
import ipaddress
import re
from collections.abc import Set as AbstractSet
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import urlsplit

from masa_node.network.transport.interfaces import MAX_ADDRESSES, PeerAddress

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_PORT = 65535
PUBLIC_RELAYS = "public"  # instead of a URL: the relays of iroh's makers
MAX_RELAY_CHARS = 256  # as in adverts
KEPT_READ = 8_192  # addresses: each renewal of an advert names those of the last one again
MAX_ADDRESS_CHARS = 64  # of one with a host name, as in records of peers; IP addresses are shorter

_RELAY_PORTS = {"https": 443, "http": 80}
_ADDRESS = re.compile(r"(\[(?P<ip6>[0-9a-fA-F:.]{2,45})\]|(?P<ip4>[0-9.]{7,15})):(?P<port>[0-9]{1,5})")
_NAMED = re.compile(r"(?P<host>[a-zA-Z0-9.-]+):(?P<port>[0-9]{1,5})")
_VISIBLE = re.compile(rf"[!-~]{{1,{MAX_RELAY_CHARS}}}")
_LABEL = re.compile(r"(?!-)[a-zA-Z0-9-]{1,63}(?<!-)")  # RFC 1123

# Each is a network of its own: a peer in one of them may tell of others in it, and of no other. The block of RFC 6598
# is what carriers and VPNs of nodes (Tailscale) use.
_BLOCKS = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fec0::/10")
)
# An IPv4 address inside an IPv6 one leads wherever a gateway sends it; no node advertises itself so: 6to4, NAT64 (RFC
# 6052, RFC 8215), Teredo, IPv4-compatible, and the 6to4 relays.
_TUNNELS = tuple(
    ipaddress.ip_network(text)
    for text in ("2002::/16", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "::/96", "192.88.99.0/24")
)
_CARRIER = ipaddress.ip_network("100.64.0.0/10")
_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")  # Linux takes 0.0.0.0 for this machine


class AddressScope(StrEnum):
    """From where an address can be reached."""

    PUBLIC = "public"
    PRIVATE = "private"  # RFC 1918, RFC 4193, carrier-grade NAT, and all else that is not routed in the internet
    LINK_LOCAL = "link-local"
    LOOPBACK = "loopback"
    NOWHERE = "nowhere"  # malformed, port 0, multicast, unspecified, reserved, an IPv4 address inside an IPv6 one


@functools.lru_cache(KEPT_READ)
def read_address(text: str) -> tuple[IpAddress, int] | None:
    """`ip:port` or `[ip6]:port`; None for anything else. IPv4-mapped IPv6 comes out as IPv4; no scopes, no names."""
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > MAX_PORT:
        return None
    try:
        ip = ipaddress.IPv6Address(match["ip6"]) if match["ip6"] else ipaddress.IPv4Address(match["ip4"])
    except ValueError:
        return None
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return mapped or ip, int(match["port"])


def write_address(ip: IpAddress, port: int) -> str:
    """The one form in which an address is kept and compared."""
    return f"[{ip}]:{port}" if isinstance(ip, ipaddress.IPv6Address) else f"{ip}:{port}"


def pack_address(address: str) -> bytes:
    """In 6 or 18 bytes. Raises `ValueError` for what is no address."""
    read = read_address(address)
    if read is None or read[1] == 0:
        raise ValueError(f"not an address: {address!r}")
    return read[0].packed + read[1].to_bytes(2, "big")


def unpack_address(packed: bytes) -> str:
    """The address in 6 or 18 bytes. Raises `ValueError` for what is none."""
    ip = ipaddress.ip_address(packed[:-2])
    read = read_address(write_address(ip, int.from_bytes(packed[-2:], "big")))
    if read is None or read[1] == 0:
        raise ValueError("no address")
    return write_address(*read)


def scope_of(address: str) -> AddressScope:
    """From where this address can be reached."""
    read = read_address(address)
    return AddressScope.NOWHERE if read is None or read[1] == 0 else _reach(read[0])


def is_shared_by_carrier(address: str) -> bool:
    """Is it one that a carrier gives to many customers (RFC 6598)? Behind it nobody can open a port."""
    read = read_address(address)
    return read is not None and read[0] in _CARRIER


def may_dial(address: str, teller_address: str, *, allow_private: bool) -> bool:
    """May an address learnt from another node be dialled?

    `teller_address` is the address that the teller is linked over (`Path.address`; "" or a relay's URL: none). What is
    not public is dialled only if ALLOW_PRIVATE_PEERS, or the teller is in the same private network, or on this machine.
    """
    spot = _place(address)
    return spot is not None and (allow_private or _may_dial(spot, _place(teller_address)))


def filter_dialable(
    address: PeerAddress, teller_address: str, *, allow_private: bool, relays: AbstractSet[str]
) -> PeerAddress:
    """The part of an address learnt from another node that may be dialled; see `may_dial`.

    `relays` are those that this node uses, in any spelling: no other is contacted, for its URL could be anything.
    """
    relay_url = address.relay_url
    if relay_url is not None and relay_key(relay_url) not in {relay_key(url) for url in relays}:
        relay_url = None
    teller = _place(teller_address)
    dialable: dict[str, None] = {}
    for text in address.direct[:MAX_ADDRESSES]:
        place = _place(text)
        if place is not None and (allow_private or _may_dial(place, teller)):
            dialable[place.text] = None
    direct = tuple(dialable)
    if direct == address.direct and relay_url is address.relay_url:
        return address  # mostly, and it may be kept: then it is there once
    return PeerAddress(address.node_id, direct, relay_url)


def canonical(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Each once, in the form in which they are compared; what cannot be read is left out."""
    return tuple(dict.fromkeys(form for text in addresses if (form := _form(text)) is not None))


def is_host_and_port(text: str) -> bool:
    """Is it `host:port`, with a name that an owner may write instead of an address?"""
    match = _NAMED.fullmatch(text)
    if match is None or not 0 < int(match["port"]) <= MAX_PORT or len(text) > MAX_ADDRESS_CHARS:
        return False
    labels = match["host"].removesuffix(".").split(".")
    return all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdigit()  # digits at the end: a mistyped IPv4 address


def is_relay_url(text: str) -> bool:
    """Is it `https://host[:port][/]` (or http, for a relay on the LAN)?"""
    if not _VISIBLE.fullmatch(text):
        return False
    try:
        parts = urlsplit(text)
        is_whole = parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, half of an IPv6 address
        return False
    return is_whole and "@" not in parts.netloc and parts.path in ("", "/") and not parts.query and not parts.fragment


def relay_key(url: str) -> str:
    """The form in which relays are compared: `https://Relay.example.org`, `...org:443/` and `...org./` are one.

    For what is no URL of a relay, the text itself.
    """
    if not is_relay_url(url):
        return url
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    port = parts.port or _RELAY_PORTS[parts.scheme]
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


class _Place(NamedTuple):
    """An address as it is kept and compared, from where it can be reached, and the private network that it is in: one
    of _BLOCKS itself.
    """

    text: str
    scope: AddressScope
    block: ipaddress.IPv4Network | ipaddress.IPv6Network | None


@functools.lru_cache(KEPT_READ)
def _place(address: str) -> _Place | None:
    """None for what nobody can be at."""
    read = read_address(address)
    if read is None or read[1] == 0 or _reach(read[0]) is AddressScope.NOWHERE:
        return None
    return _Place(write_address(*read), _reach(read[0]), _block(read[0]))


def _may_dial(spot: _Place, teller: _Place | None) -> bool:
    if spot.scope is AddressScope.PUBLIC:
        return True
    if teller is None:
        return False
    return teller.scope is AddressScope.LOOPBACK or (spot.scope is teller.scope and spot.block is teller.block)


@functools.lru_cache(KEPT_READ)
def _reach(ip: IpAddress) -> AddressScope:
    if ip.is_loopback:
        return AddressScope.LOOPBACK
    if _is_nowhere(ip):
        return AddressScope.NOWHERE
    if ip.is_link_local:
        return AddressScope.LINK_LOCAL
    return AddressScope.PUBLIC if ip.is_global and _block(ip) is None else AddressScope.PRIVATE


@functools.lru_cache(KEPT_READ)
def _form(text: str) -> str | None:
    """The form in which an address is kept and compared; None for what is none."""
    read = read_address(text)
    return None if read is None else write_address(*read)


def _is_nowhere(ip: IpAddress) -> bool:
    is_odd = ip.is_multicast or ip.is_unspecified or ip.is_reserved
    return is_odd or ip in _THIS_NETWORK or any(ip in network for network in _TUNNELS)


@functools.lru_cache(KEPT_READ)
def _block(ip: IpAddress) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    return next((block for block in _BLOCKS if ip in block), None)
