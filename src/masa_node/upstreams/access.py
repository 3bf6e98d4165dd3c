"""The way to one LLM server: what its owner has set goes along with every request to it, and nowhere else."""

from masa_node.chat.request import Headers
from masa_node.upstreams.http.answer import HttpAnswer
from masa_node.upstreams.http.client import HttpClient
from masa_node.upstreams.http.target import Target
from masa_node.upstreams.http.urls import merged_query
from masa_node.upstreams.spec import UpstreamSpec


class Access:
    """Asks one server as `HttpClient` does, with the headers and the query of its spec. The owner's win."""

    def __init__(self, http: HttpClient, spec: UpstreamSpec) -> None:
        self._http = http
        self._spec = spec

    async def get(self, url: str, headers: Headers) -> HttpAnswer:
        """See `HttpClient.get`."""
        return await self._http.get(self._url(url), self._all(headers))

    async def post(self, url: str, headers: Headers, body: bytes, query: str = "") -> HttpAnswer:
        """See `HttpClient.post`; `query` is what the caller asks with."""
        return await self._http.post(self._url(url, query), self._all(headers), body)

    def way(self, url: str, headers: Headers, query: str) -> tuple[Target, bytes]:
        """What is posted to, and the head of all requests there with these headers. Raises `ProxyFailed`."""
        target = self._http.target_of(self._url(url, query))
        return target, target.head(b"POST ", self._all(headers))

    def _url(self, url: str, asked: str = "") -> str:
        own = self._spec.query
        if not (own or asked):
            return url
        base, _, query = url.partition("?")
        return f"{base}?{merged_query(merged_query(own, query), asked)}"

    def _all(self, headers: Headers) -> Headers:
        own = self._spec.headers
        names = {name for name, _ in own}
        return (*(pair for pair in headers if pair[0].lower() not in names), *own) if own else headers
