"""Which hosts and web pages an owner may name in ALLOWED_HOSTS and ALLOWED_ORIGINS, and whether a header fits. Pure.

What people write is brought into the form that browsers send. An entry that could never match is refused in words,
because its owner would look for the fault everywhere else; so is one that would let every page in.
"""

import ipaddress
import re
from collections.abc import Callable

import msgspec

from masa_node.chat.errors import ConfigurationError

DEFAULT_PORTS = {"http": "80", "https": "443"}  # browsers leave them out
MAX_PORT = 65_535

_ENTRY = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<rest>.*)", re.DOTALL)
_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?"
)
_AUTHORITY = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*)(?::(?P<port>[^:]*))?")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,252})")
_WEB = frozenset(DEFAULT_PORTS)
_ANY = "*"


class Origin(msgspec.Struct, frozen=True):
    """An Origin header in parts, in one spelling; `port` is "" for the scheme's own."""

    scheme: str
    host: str
    port: str


class OriginRule(Origin, frozen=True):
    """One entry of ALLOWED_ORIGINS. `host` may be `*`, or `*.` and a domain; `port` may be `*`."""

    def fits(self, origin: Origin) -> bool:
        """Is that origin meant?"""
        return (
            origin.scheme == self.scheme
            and self.port in (_ANY, origin.port)
            and (self.host == _ANY or fits_host(self.host, origin.host))
        )


def read_origin(header: str) -> Origin | None:
    """The Origin header of a request; None for `null` and whatever else is no place of a page."""
    match = _ORIGIN.fullmatch(header)
    if match is None or not _is_port(match["port"] or "0"):
        return None
    scheme = match["scheme"]
    return Origin(scheme, _one_spelling(match["host"]), _port(scheme, match["port"]))


def fits_host(rule: str, name: str) -> bool:
    """Does the rule mean this host (lower case, without port)?"""
    return name.endswith(rule[1:]) if rule.startswith("*.") else name == rule


def origin_rule(entry: str) -> OriginRule:
    """One entry of ALLOWED_ORIGINS, read. Raises `ConfigurationError`, with the entry and what may stand there."""
    refuse = _refuser("ALLOWED_ORIGINS", entry)
    if entry == _ANY:
        raise refuse("would let every web page use this node. Name the pages' origins: https://chat.example.org")
    if entry.lower() == "null" or entry.lower().startswith("file:"):
        raise refuse("cannot be told apart: any page can make its origin `null`. Serve the page over HTTP")
    match = _ENTRY.fullmatch(entry)
    if match is None:
        raise refuse("has no scheme. Write it as browsers send it: https://chat.example.org")
    if match["rest"] not in ("", "/"):
        raise refuse("has a path, and browsers send none. Write https://chat.example.org")
    scheme = match["scheme"].lower()
    parts = _AUTHORITY.fullmatch(match["authority"])
    if parts is None or not parts["host"]:
        raise refuse("names no host. Write https://chat.example.org")
    if not (_is_port(parts["port"] or "0") or parts["port"] == _ANY):
        raise refuse(f"has a port that is not a number up to {MAX_PORT}. Write https://chat.example.org:8443")
    host = parts["host"]
    if host == _ANY and scheme in _WEB:
        raise refuse("would let every web page use this node. A star may stand for subdomains: https://*.example.org")
    name = _ANY if host == _ANY else _rule_name(host, refuse)
    port = _ANY if parts["port"] == _ANY else _port(scheme, parts["port"])
    return OriginRule(scheme, name, port)


def host_rule(entry: str) -> str:
    """One of ALLOWED_HOSTS: a name in lower case without port, or `*.` and a domain. Raises `ConfigurationError`."""
    refuse = _refuser("ALLOWED_HOSTS", entry)
    if entry == _ANY:
        raise refuse("would let pages reach this node by DNS rebinding. Name the hosts: node.example.org")
    if "/" in entry:
        raise refuse("is more than a host name. Write node.example.org alone, without scheme and path")
    parts = _AUTHORITY.fullmatch(f"[{entry}]" if entry.count(":") > 1 and entry[0] != "[" else entry)
    if parts is None or not parts["host"] or not _is_port(parts["port"] or "0"):
        raise refuse("is not a host name. Write node.example.org")
    name = _rule_name(parts["host"], refuse)
    address = address_of(name)
    if address is not None and address.is_unspecified:
        raise refuse("cannot be connected to, and browsers let any page call it. Name the host itself")
    return name


def _rule_name(host: str, refuse: Callable[[str], ConfigurationError]) -> str:
    """A host as browsers write it, perhaps after `*.`."""
    if host.startswith("["):
        if address_of(host) is None:
            raise refuse("has brackets around something that is not an IPv6 address")
        return _one_spelling(host)
    star, rest = ("*.", host[2:]) if host.startswith("*.") else ("", host)
    if _ANY in rest:
        raise refuse("has a star that is neither the whole first part nor the port: https://*.example.org:*")
    try:
        name = rest.rstrip(".").lower() if rest.isascii() else rest.rstrip(".").encode("idna").decode()
    except UnicodeError:
        raise refuse("holds a name that DNS cannot have") from None
    if _NAME.fullmatch(name) is None:
        raise refuse("holds a name that no host can have")
    if star and ("." not in name or address_of(name) is not None):
        raise refuse("stands for too many: after `*.` there must be a domain with a dot, example.org")
    return star + name


def _refuser(setting: str, entry: str) -> Callable[[str], ConfigurationError]:
    return lambda why: ConfigurationError(f"{setting}: {entry!r} {why}.")


def _port(scheme: str, port: str | None) -> str:
    text = str(int(port)) if port else ""
    return "" if text == DEFAULT_PORTS.get(scheme) else text


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_PORT)) and int(text) <= MAX_PORT


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that this host is, with brackets or without; None for a name."""
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


def _one_spelling(host: str) -> str:
    """Lower case; an IPv6 address in its shortest form, in brackets."""
    address = address_of(host) if host.startswith("[") else None
    return f"[{address.compressed}]" if address is not None else host.lower()
