"""One LLM server behind this node as a `Provider`: finds out what it is, lists its models, asks it."""

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import msgspec

from masa_node.chat.answer import Answer, Usage
from masa_node.chat.errors import (
    ConnectionClosed,
    ConnectionRefused,
    DnsFailed,
    EndpointMissing,
    ErrorAnswer,
    NotAnAnswer,
    ProviderError,
    TlsFailed,
    Unreachable,
)
from masa_node.chat.offer import AnyName, ModelOffer
from masa_node.chat.request import DIALECT_OF_ENDPOINT, ENDPOINT_PATHS, DialectName, Endpoint, Headers, Request
from masa_node.dialects.bodies.peek import is_model
from masa_node.dialects.choices import AskedEndings, Endings, EndingsByModel
from masa_node.dialects.dialect import Dialect
from masa_node.dialects.opening import is_streamed
from masa_node.dialects.passed.forms import form_type
from masa_node.dialects.registry import DIALECTS
from masa_node.routing.answers.reader import read_whole, take_answer
from masa_node.routing.catalog import AWAY_S
from masa_node.routing.provider import Sign, TakeWhole, no_sign
from masa_node.upstreams.access import Access
from masa_node.upstreams.detection import JSON_TYPE, MAX_PROBE_BYTES, identify
from masa_node.upstreams.http.answer import HttpAnswer
from masa_node.upstreams.http.client import HttpClient
from masa_node.upstreams.http.connection import Connection
from masa_node.upstreams.http.target import Target, with_body
from masa_node.upstreams.http.urls import deployment_of
from masa_node.upstreams.servers.anthropic import DEFAULT_VERSION
from masa_node.upstreams.servers.missing import NO_SUCH_PATH, NOT_FOUND, NOT_IMPLEMENTED, is_of_the_path, looks_missing
from masa_node.upstreams.servers.ollama import OllamaServer
from masa_node.upstreams.servers.server import ListRefused, NoListing, Server
from masa_node.upstreams.spec import UpstreamSpec

RUNNING_WITHIN_S = 2.0  # it answers from memory
MAX_WAYS = 128  # heads of requests that are kept ready: a few callers' SDKs, models and endpoints, 1 kB each

_WayKey = tuple[Endpoint, str, Headers, str]


class _KnownWay(msgspec.Struct, frozen=True):
    """What requests for a model at an endpoint, with the same headers and query, have in common."""

    url: str
    target: Target
    head: bytes
    dialect: Dialect
    endings: Endings


class Upstream:
    """An LLM server. It is asked what it is at the first contact, so it may be started after the node.

    `label` is what it is called in words, `note` what its owner should know of it, "" if nothing.
    """

    is_local = True
    is_trusted = True

    def __init__(self, spec: UpstreamSpec, http: HttpClient) -> None:
        self.name = spec.name
        self.location = f"{spec.name} ({spec.url})"
        self.is_hosted = spec.hosted
        self.priority = int(spec.hosted) if spec.priority is None else spec.priority  # what costs nothing goes first
        self.note = ""
        self._spec = spec
        self.http = http
        self._access = Access(http, spec)
        self._server: Server | None = None
        self.label = "unknown"
        self._identifying = asyncio.Lock()
        self.invalidation = asyncio.Event()
        self._was_listed = False
        self._up_s: float | None = None  # when it was last seen to be up
        self._waited_for_s: float | None = None  # since when it is asked, until it was first up
        deployment = deployment_of(spec.url)
        self._named = spec.models or ((deployment[1],) if deployment else ())  # by its owner, or by a URL of Azure's
        self._endings = EndingsByModel()
        self._last: list[ModelOffer] | None = None  # what it listed when it last did
        self._ways: dict[_WayKey, _KnownWay] = {}

    async def offers(self) -> list[ModelOffer] | None:
        """What the server serves now; None if it has no list, so that any name may be asked of it.

        Raises `ProviderError` when it cannot be reached.
        """
        try:
            server, was_refused = await self._identified(), bool(self.note)
            found = await self._found(server)
            if was_refused and not self.note:
                server, found = await self._seen_again(server, found)
        except ProviderError as exc:
            exc.location = self.location
            self._forget()  # another kind of server may come up in its place
            self._was_listed = False
            self._note_down()
            raise
        self._was_listed = True
        self._up_s = asyncio.get_running_loop().time()
        if found is None:
            return None
        listed = {offer.model: self._as_offered(offer, server) for offer in found if is_model(offer.model)}
        return list(listed.values())

    async def _seen_again(
        self, server: Server, found: list[ModelOffer] | None
    ) -> tuple[Server, list[ModelOffer] | None]:
        """While it refused to answer, nobody could see what it is. If nobody can now either, it stays what it was."""
        try:
            again = await identify(self._spec, self._access)
            if again.label == server.label:
                return server, found
            found_again = await self._found(again)
        except ProviderError:
            return server, found
        self._forget()
        self._server, self.label = again, again.label
        return again, found_again

    def _forget(self) -> None:
        """What it is, is asked again before anything else."""
        self._server = None
        self._ways.clear()

    async def _found(self, server: Server) -> list[ModelOffer] | None:
        """What it lists, or what its owner says it serves; None if any name may be asked of it."""
        try:
            self._last = await server.list_models(self._access)
            self.note = ""
        except ListRefused as exc:
            self.note = f"it does not give its list of models: {exc.message}"
            if self._last is None and not self._spec.models:
                return None
        except NoListing as exc:
            await self._check_is_there(server, exc)
            self._last = None
            if not self._named:
                return None
        found = self._last or []
        if not self._named:
            return found
        by_name = {offer.model: offer for offer in found}
        return [by_name.get(model) or ModelOffer(model, server.endpoints()) for model in self._named]

    def _as_offered(self, offer: ModelOffer, server: Server) -> ModelOffer:
        """Without the endpoints that were found missing."""
        any_name = AnyName.NO if self._named else offer.any_name  # the owner's list of names is all there is
        if self._spec.any_model:
            any_name = AnyName.DECLARED
        endpoints = offer.endpoints
        if server.missing:
            urls = {each: server.target(each, offer.model) for each in endpoints}
            endpoints = frozenset(each for each, url in urls.items() if not server.lacks(url, offer.model))
        if endpoints == offer.endpoints and any_name is offer.any_name:
            return offer
        return msgspec.structs.replace(offer, endpoints=endpoints, any_name=any_name)

    async def _check_is_there(self, server: Server, why: NoListing) -> None:
        """It has no list; is there a server at all? Whoever has answered is; else an empty request, refused, shows it.

        Raises `NotAnAnswer` with what was tried.
        """
        url = server.probe_url()
        if server.answered or server.was_seen or url is None:
            return
        headers = (*server.credentials(), ("content-type", JSON_TYPE))
        answer = await self._access.post(url, headers, b"{}")
        if answer.status not in NO_SUCH_PATH and answer.content_type != JSON_TYPE:
            answer.close()  # unread: a server that answers anything may go on for ever
            return
        try:
            body = await read_whole(answer, MAX_PROBE_BYTES)
        except NotAnAnswer:  # much is said: something is there
            return
        if looks_missing(answer.status, body):
            raise NotAnAnswer(
                f"no LLM server is there. {why.message} POST {url} answered {answer.status}. Is the URL right?"
            )

    async def running(self) -> list[msgspec.Raw]:
        """What an Ollama holds in memory now; nothing of other servers, nor of one that does not tell soon."""
        if not isinstance(self._server, OllamaServer):
            return []
        try:
            async with asyncio.timeout(RUNNING_WITHIN_S):
                return await self._server.running(self._access)
        except (TimeoutError, ProviderError):
            return []

    def ask_now(self, request: Request) -> "AskedNow | None":
        """See `provider.AskNow`."""
        key = request.endpoint, request.model, request.headers, request.query
        known = self._ways.get(key) or self._new_way(key, request)
        connection = self.http.post_now(known.target, known.head, request.body) if known is not None else None
        return None if known is None or connection is None else AskedNow(self, known, request, connection)

    def _new_way(self, key: _WayKey, request: Request) -> _KnownWay | None:
        endpoint, model, _, query = key
        server = self._server
        url = server.target(endpoint, model) if server is not None else None
        if server is None or url is None or server.lacks(url, model):
            return None
        try:
            target, head = self._access.way(url, _headers_up(request, endpoint, server), query)
        except (ProviderError, ValueError):  # no such URL, or head, can be sent: `answer` says so
            return None
        if len(self._ways) >= MAX_WAYS:
            self._ways.clear()
        dialect = DIALECTS[DIALECT_OF_ENDPOINT[endpoint]]
        known = self._ways[key] = _KnownWay(url, target, head, dialect, self._endings.of(model))
        return known

    async def answer(self, request: Request, sign: Sign = no_sign, sent: "AskedNow | None" = None) -> Answer:
        """See `Provider`. What was `sent` already is not sent again, but where a kept connection had died."""
        try:
            return await self._answer(await self._identified(), request, sign, sent)
        except ProviderError as exc:
            exc.location = self.location
            if self._was_listed and isinstance(exc, Unreachable | ConnectionClosed):
                self.invalidation.set()
            exc.away_for_s = self._away_for_s(exc)
            raise

    def answered_at(self, url: str, endpoint: Endpoint, now_s: float) -> None:
        """An answer came from there."""
        if not self._was_listed:
            self.invalidation.set()
        self._up_s = now_s
        server = self._server
        if server is not None and url not in server.answered and self._is_fixed(server, endpoint, url):
            server.answered.add(url)

    def _note_down(self) -> float:
        """How long it has been away, or coming up."""
        now_s = asyncio.get_running_loop().time()
        if self._waited_for_s is None:
            self._waited_for_s = now_s
        return now_s - (self._waited_for_s if self._up_s is None else self._up_s)

    def _away_for_s(self, error: ProviderError) -> float | None:
        """The same, if it may be back soon. The address of one that was never there may be wrong instead."""
        may_be_back = Unreachable if self._up_s is not None else ConnectionRefused
        if not isinstance(error, may_be_back) or isinstance(error, DnsFailed | TlsFailed):
            return None
        away_s = self._note_down()
        return away_s if away_s < AWAY_S else None

    async def _answer(self, server: Server, request: Request, sign: Sign, sent: "AskedNow | None") -> Answer:
        native = server.native if request.endpoint is Endpoint.NATIVE else request.endpoint
        url = server.target(request.endpoint, request.model)
        if url is None or server.lacks(url, request.model):
            raise self._not_spoken(server, request)
        dialect, endings = DIALECTS[DIALECT_OF_ENDPOINT[native]], self._endings.of(request.model)
        if sent is not None:
            asked = AskedEndings(endings, sent.asked)
            response = await sent.waited_for()
        else:
            endings.asked += 1
            asked = AskedEndings(endings, endings.asked)
            response = await self._access.post(url, _headers_up(request, native, server), request.body, request.query)
        is_stream = is_streamed(response.content_type, wants_stream=request.wants_stream)
        try:
            answer = await take_answer(response, dialect, is_stream=is_stream, endings=asked, sign=sign)
        except ErrorAnswer as exc:
            if url in server.answered or not self._is_fixed(server, request.endpoint, url):
                raise
            if not is_of_the_path(exc, url, request.model):
                raise
            raise self._found_missing(server, request, url, exc) from exc
        self.answered_at(url, request.endpoint, asyncio.get_running_loop().time())
        return answer

    @staticmethod
    def _is_fixed(server: Server, endpoint: Endpoint, url: str) -> bool:
        """Is this the endpoint's URL for every model? What is learnt of one model's says nothing of the others."""
        return server.probe_url() is not None or server.target(endpoint, "m") == server.target(endpoint, "n") == url

    def _found_missing(self, server: Server, request: Request, url: str, error: ErrorAnswer) -> EndpointMissing:
        """The server has no such endpoint: it is offered no more, until the server is looked at again."""
        server.found_missing(url, request.model)
        self._ways.clear()
        self.invalidation.set()
        missing = self._not_spoken(server, request, f"has no {urlsplit(url).path}: {error.message}.")
        status = NOT_FOUND if error.status == NOT_IMPLEMENTED else error.status  # of 5xx an SDK would try again
        return EndpointMissing(missing.message, missing.endpoints, error.headers, status)

    @staticmethod
    def _not_spoken(server: Server, request: Request, why: str = "") -> EndpointMissing:
        """As any server of this kind would answer: the caller's mistake, and no sign of ill health."""
        endpoint, model = request.endpoint, request.model
        urls = {each: server.target(each, "m") for each in server.endpoints()}
        left = frozenset(each for each, url in urls.items() if not server.lacks(url, model))
        paths = ", ".join(f"POST {ENDPOINT_PATHS[each][0]}" for each in sorted(left) if each in ENDPOINT_PATHS)
        advice = f"Ask for it through: {paths}." if paths else "Is the URL right?"
        message = f"{server.label} {why or f'does not speak the format of this endpoint ({endpoint}).'} {advice}"
        return EndpointMissing(message, left)

    async def _identified(self) -> Server:
        if self._server is not None:
            return self._server
        async with self._identifying:
            if self._server is None:
                self._server = await identify(self._spec, self._access)
                self.label = self._server.label
            return self._server


class AskedNow:
    """See `provider.AskedNow`."""

    __slots__ = ("_connection", "_known", "_request", "_upstream", "asked", "dialect", "endings")

    def __init__(self, upstream: Upstream, known: _KnownWay, request: Request, connection: Connection) -> None:
        self._upstream = upstream
        self._known = known
        self._request = request
        self._connection = connection
        self.dialect = known.dialect
        self.endings = endings = known.endings
        endings.asked = self.asked = endings.asked + 1

    def listen(self, came: Callable[[], None] | None) -> None:
        """See `provider.AskedNow`."""
        self._connection.listen(came)

    def close(self) -> None:
        """See `provider.AskedNow`."""
        self._connection.close()

    @property
    def is_odd(self) -> bool:
        """See `provider.AskedNow`."""
        return self._connection.has_failed

    def listen_for_whole(self, came: Callable[[], None], take: TakeWhole) -> None:
        """See `provider.AskedNow`."""
        self._connection.listen_for_whole(came, take, self._taken)

    def _taken(self) -> None:
        connection = self._connection
        self._upstream.http.give_back(self._known.target, connection)
        self._upstream.answered_at(self._known.url, self._request.endpoint, connection.idle_since_s)

    def head(self) -> HttpAnswer | None:
        """See `provider.AskedNow`."""
        return self._upstream.http.head_of(self._known.target, self._connection)

    def heard(self) -> int:
        """See `provider.AskedNow`."""
        return 0

    def answer(self, request: Request, sign: Sign = no_sign) -> Awaitable[Answer]:
        """See `provider.Begun`."""
        return self._upstream.answer(request, sign, self)

    def waited_for(self) -> Awaitable[HttpAnswer]:
        """The response, once its head is here."""
        request = with_body(self._known.head, self._request.body)
        return self._upstream.http.answer_on(self._connection, self._known.target, request)

    def answered(self, usage: Usage) -> None:
        """See `provider.AskedNow`."""
        del usage  # all of it stands in the answer
        self._upstream.answered_at(self._known.url, self._request.endpoint, self._connection.loop.time())


def _headers_up(request: Request, native: Endpoint, server: Server) -> Headers:
    given = request.headers if form_type(request.headers, native) else _as_json(request.headers)
    headers = (*given, *server.credentials(native))
    if DIALECT_OF_ENDPOINT[native] == DialectName.ANTHROPIC and not any(
        name == "anthropic-version" for name, _ in request.headers
    ):
        return (*headers, ("anthropic-version", DEFAULT_VERSION))
    return headers


def _as_json(headers: Headers) -> Headers:
    """The body was found to be JSON in UTF-8, so it is called so: strict servers refuse the form of `curl -d`, and in
    another charset, such as UTF-7, a server could read another model.
    """
    called = [value.replace(" ", "").replace('"', "").lower() for name, value in headers if name == "content-type"]
    if called in ([JSON_TYPE], [f"{JSON_TYPE};charset=utf-8"]):
        return headers
    return (("content-type", JSON_TYPE), *(pair for pair in headers if pair[0] != "content-type"))
