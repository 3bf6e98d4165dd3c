"""The query of a caller's URL (`?beta=true`, `?api-version=...`): what of it may travel on, and where to. Pure."""

import re
from urllib.parse import unquote

from masa_node.chat.errors import CallerError

MAX_QUERY_CHARS = 1024  # real ones have two or three short words
MAX_PEER_QUERY_CHARS = 128
# RFC 3986, 3.4, and the brackets and bars that real clients leave as they are.
_QUERY = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=:@/?%\[\]|-]*")
# Names under which keys travel in a query: the caller's own go nowhere, as those in headers.
_CREDENTIALS = re.compile(r".*(?:key|token|secret|password|passwd|auth|authorization|signature|sig|credential)s?")
# What could send an LLM server, or a gateway before it, to ask somebody else.
_ADDRESS_NAMES = re.compile(r".*(?:url|uri|base|host|proxy|endpoint|target).*")
# What could name another model than the body does, which was looked up: LiteLLM takes `?model=` before the body's.
_MODEL_NAMES = re.compile(r".*(?:model|deployment|engine).*")
# What a stranger's LLM server gets to see: Anthropic's SDK marks with it that a beta feature is asked for.
_TO_PEERS = re.compile(r"beta=[A-Za-z0-9._-]{1,32}")


def query_up(raw: bytes) -> str:
    """What of this query goes up to an LLM server of this node's own: all but credentials, addresses and models.

    Raises `CallerError`.
    """
    if not raw:
        return ""
    if len(raw) > MAX_QUERY_CHARS or not _QUERY.fullmatch(raw):
        raise CallerError(
            f"The URL's ?query is longer than {MAX_QUERY_CHARS} characters, or holds what must be percent-encoded."
        )
    parts = (part for part in raw.decode("ascii").split("&") if part)
    return "&".join(part for part in parts if all(map(_is_harmless, part.split(";"))))  # which some servers part, too


def _is_harmless(part: str) -> bool:
    name, _, value = unquote(part).lower().partition("=")
    names = (_CREDENTIALS, _ADDRESS_NAMES, _MODEL_NAMES)
    return "//" not in unquote(value) and not any(each.fullmatch(name) for each in names)


def query_to_peer(query: str) -> str:
    """What of it may cross to a peer, and what of a peer's may go up."""
    if not query:
        return ""
    parts = [part for part in query.split("&") if _TO_PEERS.fullmatch(part)]
    return "&".join(parts)[:MAX_PEER_QUERY_CHARS]
