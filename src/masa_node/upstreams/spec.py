"""How an LLM server is described in settings: one `UpstreamSpec` each. Pure."""

import re
from enum import StrEnum
from urllib.parse import urlsplit

import msgspec

from masa_node.chat.errors import ConfigurationError

# What of a refused URL may be a secret: user and password, and the query.
_SECRET_PARTS = re.compile(r"(?<=//)[^/@]*(?=@)|(?<=\?).*")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")


class Kind(StrEnum):
    """What software answers at an address; `AUTO` asks it."""

    AUTO = "auto"
    OLLAMA = "ollama"
    OPENAI = "openai"  # OpenAI itself and every server compatible with it
    ANTHROPIC = "anthropic"
    CLOUDFLARE = "cloudflare"
    EMBEDDED = "embedded"  # a model file that the node serves itself
    DEMO = "demo"


class UpstreamSpec(msgspec.Struct, frozen=True):
    """One LLM server. `url` is a base URL or a full chat endpoint; "" for the demo, a model file for an embedded one.

    `models`, where given, is the list to offer instead of the server's own. `key` is a secret: never shown.
    `hosted` marks a server that costs its owner money.
    """

    name: str
    kind: Kind
    url: str
    key: str = ""
    models: tuple[str, ...] = ()
    hosted: bool = False
    api_url: str = ""  # Cloudflare: where models are listed, if not derived from `url`

    def __repr__(self) -> str:
        return f"UpstreamSpec(name={self.name!r}, kind={self.kind.value!r}, url={self.url!r})"


def check_spec(spec: UpstreamSpec, setting: str) -> UpstreamSpec:
    """The same spec if it can be used. Raises `ConfigurationError` naming `setting`."""
    if not _NAME.fullmatch(spec.name):
        raise ConfigurationError(
            f"{setting}: the name {spec.name!r} may hold a-z, 0-9, dot, dash and underscore, at most 32 characters."
        )
    if spec.kind in (Kind.DEMO, Kind.EMBEDDED):
        return spec
    _check_url(spec.url, setting)
    if spec.api_url:
        _check_url(spec.api_url, f"{setting}, API URL")
    if not (spec.key.isascii() and spec.key.isprintable()):
        raise ConfigurationError(f"{setting}: the key holds a letter that no HTTP header can. Was it copied in full?")
    return spec


def _check_url(url: str, setting: str) -> None:
    shown = repr(_SECRET_PARTS.sub("***", url))
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port is None or parts.port > 0
        parts.netloc.encode("idna")
    except ValueError as exc:
        raise ConfigurationError(f"{setting}: {shown} is not a URL ({exc}).") from exc
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine:
        raise ConfigurationError(f"{setting}: {shown} is not a URL. Write it like http://localhost:11434.")
    if parts.username or parts.password:
        raise ConfigurationError(f"{setting}: no user or password in the URL, please; there is a setting for the key.")
    if parts.query or parts.fragment:
        raise ConfigurationError(f"{setting}: {shown} may not have a ?query or #fragment.")
    if not (parts.path.isascii() and url.isprintable()) or " " in url:
        raise ConfigurationError(
            f"{setting}: {shown} holds what a URL cannot; write it percent-encoded (a space: %20)."
        )
