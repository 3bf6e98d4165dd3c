"""Who may come in: Host, Origin and API key, decided from the raw request before anything else happens."""

import hmac
import ipaddress
import re
import socket
from collections.abc import Sequence

import msgspec

from masa_node.chat.errors import BadHost, HostRefused, OriginRefused, Unauthorized

RawHeaders = Sequence[tuple[bytes, bytes]]

# Nothing behind these: liveness probes and the Ollama CLI's first `HEAD /` carry no key.
OPEN_PATHS = frozenset({b"/", b"/healthz", b"/readyz"})
MAX_REMEMBERED_HOSTS = 64
MAX_PORT = 65_535

_HOST = re.compile(rb"(?P<name>\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}))(?::(?P<port>[0-9]{1,5}))?")
_ORIGIN = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_APP_SCHEMES = frozenset({"app", "tauri", "vscode-webview", "vscode-file"})  # as Ollama's defaults
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


class GuardRules(msgspec.Struct, frozen=True):
    """What the owner allows. No keys: nobody needs one (only possible on a loopback bind)."""

    api_keys: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()


class Guard:
    """Checks each request's headers. Every refusal is one of `chat.errors`' policy errors."""

    def __init__(self, rules: GuardRules) -> None:
        self._keys = [key.encode() for key in rules.api_keys]
        self._hosts = {host.lower() for host in rules.allowed_hosts} | {"localhost", socket.gethostname().lower()}
        self._origins = frozenset(rules.allowed_origins)
        self._good_hosts: set[bytes] = set()

    def check_place(self, headers: RawHeaders) -> bytes | None:
        """Is it asked at this node, and by nobody but its owner's pages? Returns the Origin, for the CORS headers.

        Raises `BadHost`, `HostRefused`, `OriginRefused`.
        """
        hosts = [value for name, value in headers if name == b"host"]
        origins = [value for name, value in headers if name == b"origin"]
        if len(hosts) != 1:
            raise BadHost("The request needs exactly one Host header.")
        if hosts[0] not in self._good_hosts:
            self._check_host(hosts[0])
        for origin in origins:
            self._check_origin(origin)
        return origins[0] if origins else None

    def check_key(self, raw_path: bytes, headers: RawHeaders) -> None:
        """Does one of the keys come along, where one is needed? Raises `Unauthorized`."""
        if not self._keys or raw_path in OPEN_PATHS:
            return
        for key in _offered_keys(headers):
            # No early exit: the time taken says nothing about which key, or how much of it, was right.
            if sum(hmac.compare_digest(key, known) for known in self._keys):
                return
        raise Unauthorized(
            "This node needs an API key: send it as `Authorization: Bearer <key>` or `x-api-key: <key>`."
        )

    def _check_host(self, host: bytes) -> None:
        match = _HOST.fullmatch(host)
        if match is None or int(match["port"] or 0) > MAX_PORT:
            raise BadHost("The Host header is malformed.")
        name = match["name"].decode().lower()
        if name not in self._hosts and not _is_usable_address(name):
            raise HostRefused(
                f"This node does not answer for the host {name!r}, so that web pages cannot reach it by "
                f"renaming (DNS rebinding). Add it to ALLOWED_HOSTS if it is yours."
            )
        if len(self._good_hosts) < MAX_REMEMBERED_HOSTS:
            self._good_hosts.add(host)

    def _check_origin(self, origin: bytes) -> None:
        text = origin.decode("latin-1")
        if text in self._origins:
            return
        match = _ORIGIN.fullmatch(text)
        if match is None or not _is_local_origin(match["scheme"], match["host"].lower()):
            raise OriginRefused(
                f"Web pages of {text[:100]!r} may not use this node. Add that origin to ALLOWED_ORIGINS if they should."
            )


def _is_local_origin(scheme: str, host: str) -> bool:
    """A page of this machine, or a desktop program: no web page can call itself by those schemes."""
    return scheme in _APP_SCHEMES or (scheme in ("http", "https") and host in _LOCAL_NAMES)


def _offered_keys(headers: RawHeaders) -> list[bytes]:
    offered = [value for name, value in headers if name == b"x-api-key"]
    authorizations = [value for name, value in headers if name == b"authorization"]
    if len(authorizations) == 1:  # of several, who knows which one a proxy on the way has looked at
        scheme, _, key = authorizations[0].partition(b" ")
        if scheme.lower() == b"bearer":
            offered.append(key.strip())
    return offered


def _is_usable_address(name: str) -> bool:
    """An IP address cannot be rebound; 0.0.0.0 is refused because browsers let any page call it."""
    try:
        address = ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return not address.is_unspecified and not address.is_multicast
