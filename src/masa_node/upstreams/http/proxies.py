"""Which proxy leads to a server, by HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY. Pure.

They mean what they mean to curl, Go and Python's requests. Where those differ:

1. The lower-case name wins over the one in capitals (curl). HTTP_PROXY in capitals counts too: only a CGI program has
   to distrust it (requests, httpx, Go).
2. A proxy without a port is asked at port 80 (requests, httpx, Go).
3. `example.org`, `.example.org` and `*.example.org` in NO_PROXY all mean that name and every name below it (curl).
4. This machine is never reached through a proxy (Go).
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from masa_node.chat.errors import ConfigurationError
from masa_node.upstreams.http.urls import DEFAULT_PORTS, Address, address_of, basic, is_loopback

PROXY_NAMES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
_OTHER_KINDS = frozenset({"https", "socks", "socks4", "socks4a", "socks5", "socks5h"})
_WITH_PORT = re.compile(r"(?P<name>\[[^\]]*\]|[^:]*):(?P<port>\d{1,5})")

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy. `setting` is the name of the setting that names it, `authorization` a header's value, secret."""

    setting: str
    host: str
    port: int
    authorization: str = field(default="", repr=False)

    @property
    def named(self) -> str:
        """In words, without user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"the proxy http://{host}:{self.port} ({self.setting})"


@dataclass(frozen=True, slots=True)
class _Exempt:
    """One entry of NO_PROXY; `port` None is every port, `name` "*" every host."""

    name: str
    network: _Network | None
    port: int | None

    def covers(self, name: str, address: Address | None, port: int) -> bool:
        """Is this server meant? Names are not looked up to find out."""
        if self.port not in (None, port):
            return False
        if self.name == "*":
            return True
        if self.network is not None:
            return address is not None and address in self.network
        return address is None and (name == self.name or name.endswith(f".{self.name}"))


class Proxies:
    """What these settings, by their names in capitals, say. An unusable one is an error only where it would be used."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._named = {
            scheme: next(((name, settings[name]) for name in names if settings.get(name)), None)
            for scheme, names in (("https", ("HTTPS_PROXY", "ALL_PROXY")), ("http", ("HTTP_PROXY", "ALL_PROXY")))
        }
        entries = settings.get("NO_PROXY", "").replace(",", " ").split()
        self._exempt = [entry for text in entries if (entry := _entry(text)).name]

    def proxy_for(self, scheme: str, host: str, port: int) -> Proxy | None:
        """The proxy through which to ask this server; None: none. Raises `ConfigurationError` if it is unusable."""
        named = self._named.get(scheme)
        if named is None or self._is_exempt(host, port):
            return None
        return _read(*named, host)

    def check(self, urls: Iterable[str]) -> None:
        """Raises `ConfigurationError` if a proxy would be used for one of these and cannot be."""
        for url in urls:
            try:
                parts = urlsplit(url)
                port = parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
            except ValueError:
                continue  # the reader of that URL says what is wrong with it
            if parts.hostname:
                self.proxy_for(parts.scheme, parts.hostname, port)

    def _is_exempt(self, host: str, port: int) -> bool:
        name = _plain(host)
        address = address_of(name)
        if is_loopback(name) or (address is not None and address.is_unspecified):
            return True
        return any(entry.covers(name, address, port) for entry in self._exempt)


NO_PROXIES = Proxies({})


def proxy_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Those of PROXY_NAMES that stand there in either case; in lower case they win, unless they are empty."""
    return {
        name: environ.get(name.lower(), "").strip() or environ.get(name, "").strip()
        for name in PROXY_NAMES
        if name in environ or name.lower() in environ
    }


def _entry(text: str) -> _Exempt:
    match = _WITH_PORT.fullmatch(text)
    name, port = (match["name"], int(match["port"])) if match else (text, None)
    if name == "*":
        return _Exempt(name, None, port)
    try:
        network = ipaddress.ip_network(name.strip("[]"), strict=False)
    except ValueError:
        network = None
    return _Exempt(_plain(name.removeprefix("*").lstrip(".")), network, port)


def _plain(host: str) -> str:
    """A name as it can be compared: in lower case, in ASCII, without the root's dot."""
    name = host.strip("[]").rstrip(".").lower()
    if name.isascii():
        return name
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError:
        return name


def _read(setting: str, text: str, target: str) -> Proxy:
    """The proxy that a setting names. Its value may hold a password, so no error quotes it."""
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = 80 if parts.port is None else parts.port
    except ValueError:
        raise _malformed(setting) from None
    if parts.scheme in _OTHER_KINDS:
        raise ConfigurationError(
            f"{setting} names a proxy of the kind {parts.scheme}://, and only http:// ones can be used here (https "
            f"goes through them too). Set {setting} to one, or name in NO_PROXY what needs no proxy: {target}."
        )
    can_be_sent = text.isprintable() and " " not in text
    is_plain = parts.path in ("", "/") and not (parts.query or parts.fragment)
    if parts.scheme != "http" or not parts.hostname or not port or not is_plain or not can_be_sent:
        raise _malformed(setting)
    user, at, _ = parts.netloc.rpartition("@")
    return Proxy(setting, _plain(parts.hostname), port, f"Basic {basic(user)}" if at else "")


def _malformed(setting: str) -> ConfigurationError:
    return ConfigurationError(
        f"{setting}: its value is not a proxy. Write it like http://proxy.example.org:3128 or "
        "http://user:password@proxy.example.org:3128, with / ? # @ % in a password percent-encoded (@ is %40)."
    )
