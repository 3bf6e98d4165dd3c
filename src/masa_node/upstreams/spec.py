"""How an LLM server is described in settings: one `UpstreamSpec` each. Pure."""

import re
from enum import StrEnum
from urllib.parse import urlsplit

import msgspec

from masa_node.chat.errors import ConfigurationError
from masa_node.chat.request import Headers
from masa_node.upstreams.http.urls import is_azure, redacted, with_scheme, without_user

# What the connection needs, or the body: set by the client alone.
_OWN_HEADERS = frozenset(
    {
        *("host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade", "expect"),
        *("content-type", "content-encoding", "accept-encoding", "user-agent", "keep-alive"),
    }
)
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
DEMO_MODEL = "masa-demo"  # what the kind DEMO serves


class UpstreamKind(StrEnum):
    """The kinds of what answers that the code names; `AUTO` asks it. All kinds of servers: `detection.SERVER_KINDS`."""

    AUTO = "auto"
    OLLAMA = "ollama"
    OPENAI = "openai"  # OpenAI itself and every server compatible with it
    ANTHROPIC = "anthropic"
    CLOUDFLARE = "cloudflare"
    EMBEDDED = "embedded"  # a model file that the node serves itself
    DEMO = "demo"


class UpstreamSpec(msgspec.Struct, frozen=True):
    """One LLM server. `url` is a base URL or a full chat endpoint; "" for the demo, a model file for an embedded one.

    `query` is what goes along with it.

    `models`, where given, is the list to offer instead of the server's own. `key` and `headers` are secrets: never
    shown, and sent to this server only; so may be `query`. `kind` is an `UpstreamKind` or any other word of
    `SERVER_KINDS`. `hosted` marks a server that costs its owner money;
    `any_model` one that answers whatever name it is asked for.
    `priority` is that of `Provider`; None stands for 0, and for 1 where the server costs money.
    """

    name: str
    kind: str
    url: str
    key: str = ""
    models: tuple[str, ...] = ()
    hosted: bool = False
    api_url: str = ""  # Cloudflare: where models are listed, if not derived from `url`
    query: str = ""
    headers: Headers = ()
    any_model: bool = False
    priority: int | None = None

    def __repr__(self) -> str:
        return f"UpstreamSpec(name={self.name!r}, kind={str(self.kind)!r}, url={self.url!r})"


def check_spec(spec: UpstreamSpec, setting: str) -> UpstreamSpec:
    """The spec as it can be used: its URL has a scheme, and neither user nor query. Raises `ConfigurationError`."""
    if not _NAME.fullmatch(spec.name):
        raise ConfigurationError(
            f"{setting}: the name {spec.name!r} may hold a-z, 0-9, dot, dash and underscore, at most 32 characters."
        )
    if spec.kind in (UpstreamKind.DEMO, UpstreamKind.EMBEDDED):
        return spec
    url = with_scheme(spec.url, hosted=spec.hosted)
    _check_url(url, setting)
    if spec.api_url:
        _check_bare(spec.api_url, f"{setting}, API URL")
    if not (spec.key.isascii() and spec.key.isprintable()):
        raise ConfigurationError(
            f"{setting}: the key holds a character that HTTP headers cannot hold. Was it copied in full?"
        )
    _check_headers(spec.headers, setting)
    return _taken_apart(spec, url, setting)


def _taken_apart(spec: UpstreamSpec, url: str, setting: str) -> UpstreamSpec:
    """User, password and query out of the URL, and what is known of an address of Azure's."""
    url, user = without_user(url)
    if user and spec.key and spec.kind != UpstreamKind.ANTHROPIC and not is_azure(url):
        raise ConfigurationError(
            f"{setting}: there is a user in the URL and a key, and only one of them can be sent as Authorization. "
            "Take one away, or name the other's header in masa.toml (headers)."
        )
    url, _, query = url.partition("?")
    headers = (*user, *((name.lower(), value) for name, value in spec.headers))
    azure = is_azure(url)
    changed = msgspec.structs.replace(
        spec, url=url, query=query or spec.query, headers=headers, hosted=spec.hosted or azure
    )
    return spec if changed == spec else changed


def _check_headers(headers: Headers, setting: str) -> None:
    for name, value in headers:
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _OWN_HEADERS or name.lower().startswith("x-masa-"):
            raise ConfigurationError(
                f"{setting}: a header {name!r} cannot be set; the node sends its own, or this is not a header name."
            )
        if not (value.isascii() and value.isprintable()):
            raise ConfigurationError(f"{setting}: the header {name} holds a character that HTTP headers cannot hold.")


def _check_bare(url: str, setting: str) -> None:
    _check_url(url, setting)
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise ConfigurationError(f"{setting}: this URL may not hold a user or password.")
    if parts.query:
        raise ConfigurationError(f"{setting}: {redacted(url)!r} may not have a ?query.")


def _check_url(url: str, setting: str) -> None:
    quoted = repr(redacted(url))
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port is None or parts.port > 0
        parts.netloc.rpartition("@")[2].encode("idna")
    except ValueError as exc:
        raise ConfigurationError(f"{setting}: {quoted} is not a URL ({exc}).") from exc
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine:
        raise ConfigurationError(f"{setting}: {quoted} is not a URL. Write it like http://localhost:11434.")
    if parts.fragment or url.endswith("#"):
        raise ConfigurationError(f"{setting}: {quoted} may not have a #fragment.")
    if not ((parts.path + parts.query).isascii() and url.isprintable()) or " " in url:
        raise ConfigurationError(
            f"{setting}: {quoted} holds what a URL cannot; write it percent-encoded (a space: %20)."
        )
