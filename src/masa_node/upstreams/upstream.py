"""One LLM server behind this node as a `Provider`: finds out what it is, lists its models, asks it."""

import asyncio

import msgspec

from masa_node.chat.answer import Answer
from masa_node.chat.ask import DIALECT_OF_DOOR, DOOR_PATHS, Ask, DialectName, Door, Headers
from masa_node.chat.errors import (
    ConnectionClosed,
    ConnectionRefused,
    DnsFailed,
    EndpointMissing,
    ProviderError,
    TlsFailed,
    Unreachable,
)
from masa_node.chat.offer import ModelOffer
from masa_node.dialects.endings import EndingsByModel
from masa_node.dialects.peek import is_model
from masa_node.dialects.registry import DIALECTS
from masa_node.routing.absent import AWAY_S
from masa_node.routing.answers import is_streamed, take_answer
from masa_node.routing.provider import Sign, no_sign
from masa_node.routing.watched import Watched
from masa_node.upstreams.anthropic import DEFAULT_VERSION
from masa_node.upstreams.http import HttpClient
from masa_node.upstreams.ollama import OllamaServer
from masa_node.upstreams.probing import identify
from masa_node.upstreams.server import NoListing, Server
from masa_node.upstreams.spec import UpstreamSpec

RUNNING_WITHIN_S = 2.0  # it answers from memory
JSON_TYPE = "application/json"


class Upstream:
    """An LLM server. It is asked what it is at the first contact, so it may be started after the node."""

    is_local = True
    is_trusted = True

    def __init__(self, spec: UpstreamSpec, http: HttpClient) -> None:
        self.name = spec.name
        self.place = f"{spec.name} ({spec.url})"
        self.is_hosted = spec.hosted
        self._spec = spec
        self._http = http
        self._server: Server | None = None
        self._label = "unknown"
        self._identifying = asyncio.Lock()
        self._doubt = asyncio.Event()
        self._was_listed = False
        self._up_s: float | None = None  # when it was last seen to be up
        self._waited_for_s: float | None = None  # since when it is asked, until it was first up
        self._endings = EndingsByModel()

    @property
    def label(self) -> str:
        """What the server is called in words; "unknown" until it was reached."""
        return self._label

    async def doubted(self) -> None:
        """See `Listed`."""
        await self._doubt.wait()
        self._doubt.clear()

    async def offers(self) -> list[ModelOffer] | None:
        """What the server serves now; None if it has no list, so that any name may be asked of it.

        Raises `ProviderError` when it cannot be reached.
        """
        try:
            offers = await self._list()
        except ProviderError:
            self._was_listed = False
            self._note_down()
            raise
        self._was_listed = True
        self._up_s = asyncio.get_running_loop().time()
        return offers

    async def _list(self) -> list[ModelOffer] | None:
        server = await self._identified()
        try:
            found = await server.list_models(self._http)
        except NoListing:
            if not self._spec.models:
                return None
            found = []
        except ProviderError as exc:
            exc.place = self.place
            self._server = None  # another kind of server may come up in its place
            raise
        listed = {offer.model: offer for offer in found if is_model(offer.model)}
        if not self._spec.models:
            return list(listed.values())
        return [listed.get(model) or ModelOffer(model, server.doors()) for model in self._spec.models]

    async def running(self) -> list[msgspec.Raw]:
        """What an Ollama holds in memory now; nothing of other servers, nor of one that does not tell soon."""
        if not isinstance(self._server, OllamaServer):
            return []
        try:
            async with asyncio.timeout(RUNNING_WITHIN_S):
                return await self._server.running(self._http)
        except (TimeoutError, ProviderError):
            return []

    async def answer(self, ask: Ask, sign: Sign = no_sign) -> Answer:
        """See `Provider`."""
        try:
            server = await self._identified()
            native = server.native if ask.door is Door.NATIVE else ask.door
            dialect = DIALECTS[DIALECT_OF_DOOR[native]]
            url = server.target(ask.door, ask.model)
            if url is None:
                raise _not_spoken(server, ask.door)
            response = await self._http.post(url, _headers_up(ask, native, server), ask.body)
            is_stream = is_streamed(response.content_type, wants_stream=ask.wants_stream)
            watched = Watched(response, sign)
            answer = await take_answer(watched, dialect, is_stream=is_stream, endings=self._endings.of(ask.model))
            watched.done()
        except ProviderError as exc:
            exc.place = self.place
            if isinstance(exc, Unreachable | ConnectionClosed):
                self._found_up(is_up=False)
            exc.away_for_s = self._away_for_s(exc)
            raise
        self._found_up(is_up=True)
        self._up_s = asyncio.get_running_loop().time()
        return answer

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

    def _found_up(self, *, is_up: bool) -> None:
        if is_up is not self._was_listed:
            self._doubt.set()

    async def _identified(self) -> Server:
        if self._server is not None:
            return self._server
        async with self._identifying:
            if self._server is None:
                try:
                    self._server = await identify(self._spec, self._http)
                except ProviderError as exc:
                    exc.place = self.place
                    raise
                self._label = self._server.label
            return self._server


def _not_spoken(server: Server, door: Door) -> EndpointMissing:
    """As any server of this kind would answer: the caller's mistake, and no sign of ill health."""
    paths = ", ".join(f"POST {DOOR_PATHS[other][0]}" for other in sorted(server.doors()) if other in DOOR_PATHS)
    message = f"{server.label} does not speak the format of this door ({door}). Ask for it through: {paths}."
    return EndpointMissing(message, server.doors())


def _headers_up(ask: Ask, native: Door, server: Server) -> Headers:
    headers = (*_as_json(ask.headers), *server.credentials())
    if DIALECT_OF_DOOR[native] is DialectName.ANTHROPIC and not any(
        name == "anthropic-version" for name, _ in ask.headers
    ):
        return (*headers, ("anthropic-version", DEFAULT_VERSION))
    return headers


def _as_json(headers: Headers) -> Headers:
    """The body was found to be JSON, so it is called so: `curl -d` calls it a form, and strict servers refuse that."""
    called = [value.partition(";")[0].strip().lower() for name, value in headers if name == "content-type"]
    if called == [JSON_TYPE]:
        return headers
    return (("content-type", JSON_TYPE), *(pair for pair in headers if pair[0] != "content-type"))
