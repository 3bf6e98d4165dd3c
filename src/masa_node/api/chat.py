"""The chat endpoints: from bytes to a `Request`, and from an `Answer` back to bytes."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from masa_node.accounts.access import Access, Caller
from masa_node.api.aliasing import ModelFor, alias_header, alias_words, as_asked, ways_to
from masa_node.api.entry import ChatLimits, Entry, Terms, new_id
from masa_node.api.http1.reply import RawHeaders, Reply
from masa_node.api.http1.request import ClientDisconnected, Head, HeaderPairs, HttpRequest
from masa_node.api.request_body import HeldBody, read_body
from masa_node.api.responses import error_text, raw_headers, request_headers, send_error
from masa_node.api.route_headers import FORMAT_NAME, format_of, is_strict, route_of
from masa_node.chat.answer import Answer, StreamedAnswer, WholeAnswer
from masa_node.chat.errors import CallerStalled, DialectNotServed, MasaError, RequestLoop, UnknownModel
from masa_node.chat.headers import TO_LLMS, VIA
from masa_node.chat.journal_errors import EndedByOwner
from masa_node.chat.outcome import CALLER_GONE, STATUS_CALLER_GONE, Attempt, Outcome
from masa_node.chat.query import query_up
from masa_node.chat.request import (
    DIALECT_OF_ENDPOINT,
    VIA_PEER,
    DialectName,
    Endpoint,
    Headers,
    Privacy,
    Request,
    RequestId,
)
from masa_node.chat.statuses import status_of
from masa_node.dialects.bodies.asking_usage import WITH_STREAM_OPTIONS, asking_usage
from masa_node.dialects.bodies.peek import body_renamed, peek
from masa_node.dialects.condensing import REQUEST_DEPTH
from masa_node.dialects.passed.forms import form_renamed, form_type, peek_form
from masa_node.dialects.registry import DIALECTS
from masa_node.routing.dispatch import Dispatcher
from masa_node.routing.running.steps import in_steps, readable

_TO_LLMS = {name.encode(): name for name in TO_LLMS}
_VIA = VIA.encode()
_USAGE_ASKED = (b"x-masa-usage", b"asked")
_STREAM_HEADERS: RawHeaders = [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]


class ChatEndpoints:
    """Serves the chat endpoints. `instance` is this process' own random name, to notice an LLM URL that leads back
    here; `model_for` tells which model a name stands for; `access` knows what keys with names allow.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        limits: ChatLimits,
        observe: Callable[[Outcome], None],
        instance: str,
        model_for: ModelFor = as_asked,
        access: Access | None = None,
    ) -> None:
        self._access = access if access is not None else Access()
        self._model_for = model_for
        self._dispatcher = dispatcher
        self._limits = limits
        self._observe = observe
        self._instance = instance

    async def serve(self, endpoint: Endpoint, entry: Entry, asked: HttpRequest, reply: Reply, held: HeldBody) -> None:
        """Answer one request; returns when all is written, or without completing it when the answer was cut.

        Cancelled when the caller leaves while its answer is being made.
        """
        came_s = asyncio.get_running_loop().time()
        request_id = entry.own_id or new_id()
        wanted, is_native = None, endpoint is Endpoint.NATIVE
        try:
            wanted = format_of(asked.head.headers) if is_native else None
            body = await read_body(asked, held, self._limits.body_bytes_at(endpoint))
            request = await self._request(endpoint, entry, asked.head, body, request_id, came_s)
            if is_native:
                request = await self._dispatcher.in_one_format(request, wanted)
            if self._limits.asks_usage:
                request = await _asking_usage(request)
            self._access.enter(entry.caller, request)
        except MasaError as error:
            dialect = wanted or DIALECT_OF_ENDPOINT[endpoint]
            headers = [*request_headers(request_id), *_named(dialect, is_native=is_native)]
            size = await send_error(reply, error, dialect, request_id, headers)
            refused = _refused(request_id, endpoint, status_of(error), error.code, size)
            self._observe(msgspec.structs.replace(refused, key=entry.caller.name))
            return
        except ClientDisconnected:
            refused = _refused(request_id, endpoint, STATUS_CALLER_GONE, CALLER_GONE, 0)
            self._observe(msgspec.structs.replace(refused, key=entry.caller.name))
            return
        await self._answer(request, entry.caller, asked, _ReplySink(request, reply, is_native=is_native))

    async def _answer(self, request: Request, caller: Caller, asked: HttpRequest, sink: "_ReplySink") -> None:
        """Have it answered, unless the owner ends it meanwhile."""
        noted = self._access.under_way.add(request)
        try:
            asked.cancel_when_gone()
            await self._dispatcher.answer(request, sink)
        except asyncio.CancelledError:
            if not noted.was_ended():
                raise
            await sink.failed(EndedByOwner("The owner of this node has ended the request."), ())
        finally:
            self._access.under_way.remove(noted)
            self._access.leave(caller)

    async def _request(
        self, endpoint: Endpoint, entry: Entry, head: Head, body: bytes, request_id: RequestId, came_s: float
    ) -> Request:
        terms, limits, in_path = self._terms(entry, head), self._limits, entry.place.model
        form = form_type(terms.headers, endpoint)
        peeked = peek_form(body, form) if form else peek(await readable(body, REQUEST_DEPTH), endpoint, in_path)
        model = await self._model_for(peeked.model, terms.privacy, ways_to(endpoint, may_translate=terms.may_translate))
        if model != peeked.model and in_path is None:
            if form:
                body = form_renamed(body, form, model)
            else:
                body = await in_steps(body_renamed(body, endpoint, peeked.model, model))
        return Request(
            request_id=request_id,
            endpoint=endpoint,
            model=model,
            wants_stream=peeked.wants_stream,
            body=body,
            headers=terms.headers,
            first_piece_deadline_s=came_s + limits.first_piece_timeout_s,
            idle_timeout_s=limits.idle_timeout_s,
            privacy=terms.privacy,
            race=terms.race,
            begin_deadline_s=came_s + limits.begin_timeout_s,
            may_translate=terms.may_translate,
            alias=peeked.model if model != peeked.model else "",
            query=terms.query,
            key=entry.caller.name,
        )

    def _terms(self, entry: Entry, head: Head) -> Terms:
        """What the head says about the way of the request. Raises `BadHeader`, `RequestLoop`."""
        limits, known = self._limits, entry.terms
        if known is not None and known.limits is limits:
            return known
        race, privacy = route_of(head.headers, limits.race, entry.caller.ceiling(limits.privacy))
        entry.terms = known = Terms(
            limits,
            race,
            Privacy.LOCAL if _comes_from_a_peer(head.headers) else privacy,
            not is_strict(head.headers),
            self._headers_up(head.headers),
            query_up(head.query),
        )
        return known

    def _headers_up(self, headers: HeaderPairs) -> Headers:
        via = self._instance
        passed: list[tuple[str, str]] = []
        for name, value in headers:
            if name in _TO_LLMS:
                passed.append((_TO_LLMS[name], value.decode("latin-1")))
            elif name == _VIA:
                came_by = value.decode("latin-1")
                if self._instance in came_by:
                    raise RequestLoop(
                        "The LLM URL of this node leads back to this node. Set LLM_CHAT_URL to an LLM server."
                    )
                via = f"{came_by},{via}"
        passed.append((VIA, via))
        return tuple(passed)


class _ReplySink:
    """Writes one answer, or its error, to the caller.

    A cut answer is never ended cleanly: the error in the dialect, then the connection breaks (no last chunk).
    """

    __slots__ = ("_alias", "_answer", "_attempts", "_is_native", "_reply", "_request", "piece")

    def __init__(self, request: Request, reply: Reply, *, is_native: bool) -> None:
        self._request = request
        self._is_native = is_native
        self._reply = reply
        self.piece = reply.piece  # see `Sink`
        self._alias = alias_header(request.alias, request.model) + [_USAGE_ASKED] * request.asks_usage
        self._answer: Answer | None = None
        self._attempts: Sequence[Attempt] = ()

    async def head(self, answer: Answer, attempts: Sequence[Attempt]) -> None:
        """See `Sink`. That of a whole answer is written with its body."""
        self._answer, self._attempts = answer, attempts
        if isinstance(answer, StreamedAnswer):
            headers = self._headers(attempts) + _STREAM_HEADERS + raw_headers(answer.headers)
            await self._reply.begin(answer.status, headers)

    async def end(self, last: bytes) -> None:
        """See `Sink`. A whole answer may take longer: it is in memory, and no LLM waits."""
        answer, reply = self._answer, self._reply
        if isinstance(answer, WholeAnswer):
            await reply.whole(answer.status, self._headers(self._attempts) + raw_headers(answer.headers), last)
            return
        if last:
            await self._within_idle_time(reply.piece(last))
        await self._within_idle_time(reply.end())

    async def failed(self, error: MasaError, attempts: Sequence[Attempt]) -> int:
        """See `Sink`."""
        request_id = self._request.request_id
        if isinstance(error, UnknownModel | DialectNotServed):
            error.message += alias_words(self._request.alias, self._request.model)
        if self._answer is None:
            return await send_error(self._reply, error, self._dialect, request_id, self._headers(attempts))
        if isinstance(self._answer, StreamedAnswer) and not self._answer.is_framed:
            return 0
        frame = DIALECTS[self._answer.dialect].error_frame(error_text(error, request_id))
        with contextlib.suppress(CallerStalled):
            await self._within_idle_time(self.piece(frame))
        return 0

    async def _within_idle_time(self, last: Awaitable[None]) -> None:
        """Write the end of the answer. A caller that does not read cannot hold the slot for ever."""
        if not self._reply.is_paused:
            await last
            return
        try:
            async with asyncio.timeout(self._request.idle_timeout_s):
                await last
        except TimeoutError:
            raise CallerStalled("The caller did not read the end of the answer.") from None

    def _headers(self, attempts: Sequence[Attempt]) -> RawHeaders:
        named = _named(self._dialect, is_native=self._is_native)
        return request_headers(self._request.request_id, self._request.model, attempts) + named + self._alias

    @property
    def _dialect(self) -> DialectName:
        return self._answer.dialect if self._answer is not None else DIALECT_OF_ENDPOINT[self._request.endpoint]


async def _asking_usage(request: Request) -> Request:
    """The same, asking for the token counts of a stream that would come without."""
    if not request.wants_stream or request.endpoint not in WITH_STREAM_OPTIONS:
        return request
    body = await in_steps(asking_usage(request.body))
    return request if body == request.body else msgspec.structs.replace(request, body=body, asks_usage=True)


def _named(dialect: DialectName, *, is_native: bool) -> RawHeaders:
    """At the product's own endpoint an answer names its format."""
    return [(FORMAT_NAME, dialect.encode())] if is_native else []


def _comes_from_a_peer(headers: HeaderPairs) -> bool:
    """Did a node send this to its LLM URL while it served a peer? Then it must not go to a peer again."""
    return any(name == _VIA and VIA_PEER in value.decode("latin-1").split(",") for name, value in headers)


def _refused(request_id: RequestId, endpoint: Endpoint, status: int, error: str, answer_bytes: int) -> Outcome:
    return Outcome(
        request_id=request_id,
        endpoint=endpoint,
        model="",
        model_known=False,
        wants_stream=False,
        status=status,
        error=error,
        served_by=None,
        attempts=(),
        body_bytes=0,
        answer_bytes=answer_bytes,
        pieces=0,
        input_tokens=None,
        output_tokens=None,
        queued_s=0.0,
        first_piece_s=None,
        total_s=0.0,
    )
