"""The node's HTTP client as the chain reader wants it: `staking.ethereum.rpc.PostJson`."""

import base64
from urllib.parse import unquote, urlsplit

from masa_node.chat.errors import Unreachable
from masa_node.chat.request import Headers
from masa_node.routing.answers.reader import read_whole
from masa_node.upstreams.http.client import HttpClient

_JSON: Headers = (("content-type", "application/json"),)


class ChainHttp:
    """Posts to RPC servers. User and password of a URL travel as a header, as curl sends them."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    async def __call__(self, url: str, body: bytes, max_bytes: int) -> tuple[int, bytes]:
        """The status and body of the answer. Raises `ProviderError` as `PostJson` says."""
        plain_url, headers = _taken_apart(url)
        answer = await self._http.post(plain_url, headers, body)
        return answer.status, await read_whole(answer, max_bytes)


def _taken_apart(url: str) -> tuple[str, Headers]:
    """The URL without user and password, and the headers that go with it. Raises `Unreachable` for what is no URL."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        (parts.path + parts.query).encode("ascii")
        parts.netloc.encode("idna")
    except ValueError as exc:
        raise Unreachable(f"the RPC URL cannot be read ({type(exc).__name__}). Correct RPC_URL.") from exc
    if not usable or not url.isprintable() or " " in url:
        raise Unreachable("the RPC URL is not one of http:// or https://. Correct RPC_URL.")
    user, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, _JSON
    token = base64.b64encode(unquote(user).encode()).decode()
    return parts._replace(netloc=host).geturl(), (*_JSON, ("authorization", f"Basic {token}"))
