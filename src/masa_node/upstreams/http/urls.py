"""URLs of LLM servers as people write them, and what has to go along with a request. Pure."""

import base64
import ipaddress
import re
from urllib.parse import unquote, urlsplit

from masa_node.chat.request import Headers

# What of a URL may be a secret: user and password, and the query.
_SECRET_PARTS = re.compile(r"(?<=//)[^/@]*(?=@)|(?<=\?).*")
_DEPLOYMENT = re.compile(r"(?P<base>.*/openai/deployments/(?P<name>[^/]+))(?:/.*)?")
_AZURE = ".azure.com"
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
OLLAMA_PORT = 11434
DEFAULT_PORTS = {"http": 80, "https": 443}  # also where OLLAMA_HOST names the scheme, as Ollama reads it

SIBLINGS = ("/chat/completions", "/completions", "/responses", "/embeddings", "/models", "/messages")


def openai_bases(url: str) -> tuple[str, ...]:
    """Where an OpenAI-compatible API may begin, the likeliest first.

    A path that is given is meant, as the SDK means OPENAI_BASE_URL; without one, `/v1` is usual.
    """
    for ending in SIBLINGS:
        if url.endswith(ending):
            return (url.removesuffix(ending),)
    return (url,) if urlsplit(url).path else (f"{url}/v1", url)


def anthropic_base(url: str) -> str:
    """Up to and with `/v1`, which Anthropic's SDK adds to ANTHROPIC_BASE_URL."""
    url = url.removesuffix("/messages").removesuffix("/chat/completions").rstrip("/")
    return url if url.endswith("/v1") else f"{url}/v1"


def deployment_of(url: str) -> tuple[str, str] | None:
    """The base and the name of a deployment in one of Azure's classic URLs (`.../openai/deployments/NAME/...`)."""
    match = _DEPLOYMENT.fullmatch(url)
    return (match["base"], unquote(match["name"])) if match else None


def is_azure(url: str) -> bool:
    """Is it Azure's, where a key goes into `api-key` and everything costs money?"""
    return (urlsplit(url).hostname or "").endswith(_AZURE) or deployment_of(url) is not None


def with_scheme(url: str, *, hosted: bool) -> str:
    """`host:port` is what people type. A hosted server, which gets a key, is never asked in the clear by that."""
    host = re.match(r"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?(?:/.*)?$", url)
    if host is None:
        return url
    return f"https://{url}" if hosted and not is_loopback(host["host"]) else f"http://{url}"


def is_loopback(host: str) -> bool:
    """Is it this machine, by name or address?"""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = address_of(name)
    return address is not None and address.is_loopback


def address_of(name: str) -> Address | None:
    """The IP address that this is, as it stands in a URL but for the brackets; None for a name."""
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def without_user(url: str) -> tuple[str, Headers]:
    """The URL without user and password, and the header in which they travel, as curl sends them."""
    parts = urlsplit(url)
    user, at, location = parts.netloc.rpartition("@")
    if not at:
        return url, ()
    return parts._replace(netloc=location).geturl(), (("authorization", f"Basic {basic(user)}"),)


def basic(user: str) -> str:
    """The credentials `user:password`, percent-encoded as in a URL, in the form of RFC 7617."""
    name, _, password = user.partition(":")
    return base64.b64encode(f"{unquote(name)}:{unquote(password)}".encode()).decode()


def redacted(url: str) -> str:
    """The URL as it may be shown."""
    return _SECRET_PARTS.sub("***", url)


def merged_query(own: str, asked: str) -> str:
    """Both queries; what the owner has set cannot be set by whoever asks."""
    if not own or not asked:
        return own or asked
    fixed = {unquote(part.partition("=")[0]) for part in own.split("&")}
    return "&".join([own, *(part for part in asked.split("&") if unquote(part.partition("=")[0]) not in fixed)])


def ollama_url(host: str) -> str | None:
    """The URL that OLLAMA_HOST names for a client, read as Ollama reads it; None if it is not set."""
    text = host.strip().strip("\"'")
    if not text:
        return None
    scheme, found, rest = text.partition("://")
    if not found:
        scheme, rest = "http", text
    location, _, path = rest.partition("/")
    name, port = _host_and_port(location)
    if name in ("", "0.0.0.0", "::"):  # noqa: S104 - a server listens there; a client finds it on this machine
        name = "::1" if name == "::" else "127.0.0.1"
    usual = DEFAULT_PORTS.get(scheme, OLLAMA_PORT) if found else OLLAMA_PORT
    host = f"[{name}]" if ":" in name else name
    path = path.strip("/")
    return f"{scheme}://{host}:{port or usual}" + (f"/{path}" if path else "")


def _host_and_port(location: str) -> tuple[str, int | None]:
    address = address_of(location.strip("[]"))
    if address is not None:
        return str(address), None
    host, _, port = location.rpartition(":") if ":" in location else (location, "", "")
    is_port = port.isdecimal() and 0 < int(port) <= 65_535  # noqa: PLR2004 - the largest there is
    return host.strip("[]"), int(port) if is_port else None
