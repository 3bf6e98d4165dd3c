"""Which requests are let in: Host, Origin and API key, decided from the raw head before anything else happens."""

import hmac
import re
import socket

import msgspec

from masa_node.accounts.access import KEYS_OWNER, OWNERS, Access, Caller
from masa_node.api.http1.request import HeaderPairs
from masa_node.api.origins import MAX_PORT, Origin, address_of, fits_host, host_rule, origin_rule, read_origin
from masa_node.chat.errors import BadHost, ConfigurationError, HostRefused, OriginRefused, Unauthorized

SESSION_PATH = b"/api/v1/console/session"
# Nothing behind these: liveness probes and the Ollama CLI's first `HEAD /` carry no key, nor does a page whose link
# from `masa-node console` is still to be exchanged.
OPEN_PATHS = frozenset({b"/", b"/healthz", b"/readyz", b"/health", b"/v1/health", b"/console", SESSION_PATH})
_OPEN_FILES = b"/console/"  # the shell of the console: it holds no data
MAX_REMEMBERED_HOSTS = 64

_HOST = re.compile(rb"(?P<name>\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}))(?::(?P<port>[0-9]{1,5}))?")
_APP_SCHEMES = frozenset({"app", "tauri", "vscode-webview", "vscode-file"})  # as Ollama's defaults
_WEB_SCHEMES = ("http", "https")
# Names of this machine that nobody can have lead elsewhere and then here: RFC 6761, 6.3, and what containers call the
# machine that they run on. Nobody can register a name below `.internal`.
_OWN_NAMES = ("localhost", "*.localhost", "host.docker.internal", "host.containers.internal")
_KEY_HEADERS = frozenset({b"x-api-key", b"x-goog-api-key"})  # Anthropic's SDKs, Google's
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


class GuardRules(msgspec.Struct, frozen=True):
    """What the owner allows. No keys, and none with a name: nobody needs one (only possible on a loopback bind)."""

    api_keys: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()


class Guard:
    """Checks each request's headers. Every refusal is one of `chat.errors`' policy errors. `access`: keys with names.

    Raises `ConfigurationError` for rules that could never match, or would match everybody.
    """

    def __init__(self, rules: GuardRules, access: Access | None = None) -> None:
        self._access = access if access is not None else Access()
        self._keys = [_sendable(key).encode() for key in rules.api_keys]
        self._named_hosts = tuple(map(host_rule, rules.allowed_hosts))
        self._hosts = (*self._named_hosts, *_OWN_NAMES, socket.gethostname().lower())
        self._origins = tuple(map(origin_rule, rules.allowed_origins))
        self._good_hosts: set[bytes] = set()

    def check_host_and_origin(self, headers: HeaderPairs) -> bytes | None:
        """Check that the request is for this node, and not from a foreign page. Returns the Origin, for CORS.

        Raises `BadHost`, `HostRefused`, `OriginRefused`.
        """
        hosts = [value for name, value in headers if name == b"host"]
        origins = [value for name, value in headers if name == b"origin"]
        if len(hosts) != 1:
            raise BadHost("The request needs exactly one Host header.")
        if hosts[0] not in self._good_hosts:
            self._check_host(hosts[0])
        for origin in origins:
            self._check_origin(origin, hosts[0])
        if not origins and _is_part_of_a_foreign_page(headers):
            raise OriginRefused(
                "Web pages of other sites may not use this node, as pictures, frames or scripts of theirs neither."
            )
        return origins[0] if origins else None

    def check_key(self, raw_path: bytes, headers: HeaderPairs) -> Caller | None:
        """Whose key it is. None where none is needed at this path, so that none was checked. Raises `Unauthorized`."""
        for key in _offered_keys(headers) if self._access.sessions else ():
            if (caller := self._access.in_session(key)) is not None:
                return caller
        if not self.needs_key:
            return OWNERS
        if raw_path in OPEN_PATHS or raw_path.startswith(_OPEN_FILES):
            return None
        for key in _offered_keys(headers):
            # No early exit: the time taken says nothing about which key, or how much of it, was right.
            if sum(hmac.compare_digest(key, known) for known in self._keys):
                return KEYS_OWNER
            caller = self._access.find(key)
            if caller is not None:
                return caller
        raise Unauthorized(
            "This node needs an API key: send it as `Authorization: Bearer <key>`, `x-api-key: <key>` or "
            "`x-goog-api-key: <key>`."
        )

    @property
    def needs_key(self) -> bool:
        """Must callers send a key, or a session of the console?"""
        return bool(self._keys) or self._access.is_needed

    @property
    def keys_version(self) -> int:
        """Another number whenever the keys with names have changed."""
        return self._access.version

    def still_takes(self, caller: Caller, keys_version: int) -> bool:
        """Would `check_key` say the same as when the keys had this number?"""
        return keys_version == self._access.ring.version and (caller is OWNERS or self._access.is_in_force(caller))

    def _check_host(self, host: bytes) -> None:
        match = _HOST.fullmatch(host)
        if match is None or int(match["port"] or 0) > MAX_PORT:
            raise BadHost("The Host header is malformed.")
        name = match["name"].decode().lower()
        # With a dot behind it, the owner's name is complete, and the same one (RFC 1034). Those of this machine are
        # taken as programs write them: `localhost.` may be looked up.
        whole = name.removesuffix(".")
        is_known = any(fits_host(rule, name) for rule in self._hosts) or any(
            fits_host(rule, whole) for rule in self._named_hosts
        )
        if not (_is_usable_address(name) or is_known):
            raise HostRefused(
                f"This node does not answer for the host {name!r}, so that web pages cannot reach it by "
                f"renaming (DNS rebinding). Add it to ALLOWED_HOSTS if it is yours."
            )
        if len(self._good_hosts) < MAX_REMEMBERED_HOSTS:
            self._good_hosts.add(host)

    def _check_origin(self, header: bytes, host: bytes) -> None:
        text = header.decode("latin-1")
        origin = read_origin(text)
        if origin is None or not (
            _is_local_origin(origin) or _is_own_origin(origin, host) or any(rule.fits(origin) for rule in self._origins)
        ):
            raise OriginRefused(
                f"Web pages of {text[:100]!r} may not use this node. Add that origin to ALLOWED_ORIGINS if they should."
            )


def _is_local_origin(origin: Origin) -> bool:
    """A page of this machine, or a desktop program: no web page can call itself by those schemes."""
    return origin.scheme in _APP_SCHEMES or (origin.scheme in _WEB_SCHEMES and origin.host in _LOCAL_NAMES)


def _is_own_origin(origin: Origin, host: bytes) -> bool:
    """A page that this node gave: it is asked under the very name and port that the page is from.

    The Host header was checked before, so that no foreign name which leads here counts as the node's own. Whether TLS
    ends at a proxy in front of the node cannot be seen, so the scheme is the page's.
    """
    return origin.scheme in _WEB_SCHEMES and origin == read_origin(f"{origin.scheme}://{host.decode('latin-1')}")


def _is_part_of_a_foreign_page(headers: HeaderPairs) -> bool:
    """A browser says of no picture which page it is for, only that it is another site's: it cannot read it, but ask.

    A person who follows a link may.
    """
    said = {name: value for name, value in headers if name.startswith(b"sec-fetch-")}
    is_link = said.get(b"sec-fetch-mode") == b"navigate" and said.get(b"sec-fetch-dest") == b"document"
    return said.get(b"sec-fetch-site") == b"cross-site" and not is_link


def _sendable(key: str) -> str:
    """A key that a caller can send. Raises `ConfigurationError`."""
    if not key.isprintable():
        raise ConfigurationError("API_KEY: a key holds characters that no header can carry. Use printable ones.")
    if key.lower().startswith("bearer "):
        raise ConfigurationError("API_KEY: a key begins with `Bearer`. Set the key alone; callers send that word.")
    return key


def _offered_keys(headers: HeaderPairs) -> list[bytes]:
    offered = [value for name, value in headers if name in _KEY_HEADERS]
    authorizations = [value for name, value in headers if name == b"authorization"]
    if len(authorizations) == 1:  # of several, nobody can tell which one a proxy looked at
        scheme, _, key = authorizations[0].partition(b" ")
        if scheme.lower() == b"bearer":
            offered.append(key.strip())
    return offered


def _is_usable_address(name: str) -> bool:
    """An IP address cannot be rebound; 0.0.0.0 is refused because browsers let any page call it."""
    address = address_of(name)
    address = getattr(address, "ipv4_mapped", None) or address
    return address is not None and not address.is_unspecified and not address.is_multicast
