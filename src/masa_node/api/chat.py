"""The chat endpoints: from bytes to a `Request`, and from an `Answer` back to bytes."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from masa_node.accounts.access import Access, Caller
from masa_node.api.aliasing import Aliasing, alias_header, ways_to
from masa_node.api.entry import ChatLimits, Entry, Terms, new_id
from masa_node.api.http1.connections import Over
from masa_node.api.http1.reply import Reply
from masa_node.api.http1.request import ClientDisconnected, Head, HttpRequest
from masa_node.api.plain_chat import Around, PlainChat
from masa_node.api.reply_sink import ReplySink, named
from masa_node.api.request_body import HeldBody, read_body
from masa_node.api.responses import request_headers, send_error
from masa_node.api.route_headers import format_of, is_strict, route_of
from masa_node.api.show import known_elsewhere
from masa_node.api.views.models import ollama_show
from masa_node.chat.errors import CallerError, MasaError, RequestLoop
from masa_node.chat.headers import TO_LLMS, VIA
from masa_node.chat.outcome import CALLER_GONE, STATUS_CALLER_GONE, Outcome
from masa_node.chat.query import query_up
from masa_node.chat.request import (
    DIALECT_OF_ENDPOINT,
    VIA_PEER,
    DialectName,
    Endpoint,
    Privacy,
    Request,
    RequestId,
)
from masa_node.chat.statuses import status_of
from masa_node.dialects.bodies.asking_usage import WITH_STREAM_OPTIONS, asking_usage
from masa_node.dialects.bodies.glance import glance, renamed
from masa_node.dialects.bodies.peek import Peeked, body_renamed, peek
from masa_node.dialects.condensing import LARGE_BYTES, REQUEST_DEPTH, Steps, at_once
from masa_node.dialects.fields import may_be_odd
from masa_node.dialects.passed.forms import form_renamed, form_type, peek_form
from masa_node.routing.dispatch import Dispatcher
from masa_node.routing.running.steps import MENDED_BY_READERS_BYTES, in_steps, readable

_TO_LLMS = {name.encode(): name for name in TO_LLMS}
_VIA = VIA.encode()
_JSON = (b"content-type", b"application/json")


@dataclass(slots=True, eq=False)
class ChatEndpoints:
    """Serves the chat endpoints. `instance` is this process' own random name, to notice an LLM URL that leads back
    here; `aliasing` tells which model a name stands for; `access` knows what keys with names allow.
    """

    _dispatcher: Dispatcher
    _limits: ChatLimits
    _observe: Callable[[Outcome], None]
    _instance: str
    _aliasing: Aliasing
    _access: Access

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
            if endpoint is Endpoint.OLLAMA_SHOW:
                described = await known_elsewhere(self._aliasing, body, entry.caller)
                if described is not None:
                    headers = [_JSON, *alias_header(described.model, described.alias_of or described.model)]
                    await reply.whole(200, headers, msgspec.json.encode(ollama_show(described)))
                    return
            request = await self._request(endpoint, entry, asked.head, body, request_id, came_s)
            if is_native:
                request = await self._dispatcher.in_one_format(request, wanted)
            if self._limits.asks_usage:
                request = await in_steps(_asking_usage(request))
            self._access.enter(entry.caller, request)
        except MasaError as error:
            dialect = wanted or DIALECT_OF_ENDPOINT[endpoint]
            headers = [*request_headers(request_id), *named(dialect, is_native=is_native)]
            size = await send_error(reply, error, dialect, request_id, headers)
            self._observe(_refused(request_id, endpoint, entry, status_of(error), error.code, size))
            return
        except ClientDisconnected:
            self._observe(_refused(request_id, endpoint, entry, STATUS_CALLER_GONE, CALLER_GONE))
            return
        await self._answer(request, entry.caller, asked, ReplySink(request, reply, is_native=is_native))

    def begin(self, entry: Entry, asked: HttpRequest, reply: Reply, around: Around, over: Over) -> PlainChat | None:
        """Answer one request by calls, if it is plain; None, and nothing has happened, if not."""
        way, place, caller, body = self._dispatcher, entry.place, entry.caller, asked.body()
        # It has to be small, and of one reading.
        if place.endpoint is None or body is None or (size := len(body)) > self._limits.max_body_bytes:
            return None
        glanced = None
        if size > MENDED_BY_READERS_BYTES:
            glanced = glance(body, place.endpoint, place.model) if caller.allows_all and size <= LARGE_BYTES else None
            if glanced is None and (size > LARGE_BYTES or may_be_odd(body)):
                return None
        try:
            terms = self._terms(place.endpoint, entry, asked.head)
            peeked = glanced or peek(body, terms.endpoint, place.model, allows_all=caller.allows_all)
            is_odd = terms.is_packed or (self._aliasing.has_any and self._aliasing.is_alias(peeked.model))
            row = None if is_odd else way.row(peeked.model, terms.endpoint)
            if row is None:
                return None
            request = _made(terms, peeked, body, entry.own_id or new_id(), way.common.loop.time())
            if self._limits.asks_usage:
                request = at_once(_asking_usage(request))
            self._access.enter(caller, request)
        except MasaError:
            return None  # which the task finds out, too, and tells
        chat = PlainChat(request, caller, self._access, reply, around)
        if chat.begin(way, row, over):
            return chat
        self._access.undo(caller)
        return None

    async def _answer(self, request: Request, caller: Caller, asked: HttpRequest, sink: ReplySink) -> None:
        """Have it answered, unless the owner ends it meanwhile."""
        noted = self._access.under_way.add(request)
        try:
            asked.cancel_when_gone()
            await self._dispatcher.answer(request, sink)
        except asyncio.CancelledError:
            why = noted.why_ended()
            if why is None:
                raise
            await sink.failed(why, ())
        finally:
            self._access.under_way.remove(noted)
            self._access.leave(caller)

    async def _request(
        self, endpoint: Endpoint, entry: Entry, head: Head, body: bytes, request_id: RequestId, came_s: float
    ) -> Request:
        terms, in_path, any_model = self._terms(endpoint, entry, head), entry.place.model, entry.caller.allows_all
        form = form_type(terms.headers, endpoint)
        glanced = glance(body, endpoint, in_path) if any_model and not form else None
        if form:
            peeked = peek_form(body, form)
        else:
            peeked = glanced or peek(await readable(body, REQUEST_DEPTH), endpoint, in_path, allows_all=any_model)
        ways = ways_to(endpoint, may_translate=terms.may_translate)
        if DIALECT_OF_ENDPOINT[endpoint] == DialectName.GEMINI:
            peeked = msgspec.structs.replace(peeked, model=self._aliasing.at_googles(peeked.model))
        model = await self._aliasing.model_for(peeked.model, terms.privacy, ways)
        if model != peeked.model and in_path is None:
            change = renamed if glanced is not None else body_renamed
            steps = change(body, endpoint, peeked.model, model)
            body = form_renamed(body, form, model) if form else await in_steps(steps)
        made = _made(terms, msgspec.structs.replace(peeked, model=model), body, request_id, came_s)
        return made if model == peeked.model else msgspec.structs.replace(made, alias=peeked.model)

    def _terms(self, endpoint: Endpoint, entry: Entry, head: Head) -> Terms:
        """What the head says about the way of the request. Raises `BadHeader`, `RequestLoop`."""
        limits, known = self._limits, entry.terms
        if known is not None and known.limits is limits:
            return known
        headers = head.headers
        race, privacy = route_of(headers, limits.race, entry.caller.ceiling(limits.privacy))
        came_by = b",".join(value for name, value in headers if name == _VIA).decode("latin-1")
        if self._instance in came_by:
            raise RequestLoop("The LLM URL of this node leads back to this node. Set LLM_CHAT_URL to an LLM server.")
        if VIA_PEER in came_by.split(","):  # a node sent it to its LLM URL for a peer: it must not go to a peer again
            privacy = Privacy.LOCAL
        passed = [(_TO_LLMS[name], value.decode("latin-1")) for name, value in headers if name in _TO_LLMS]
        via = f"{came_by},{self._instance}" if came_by else self._instance
        entry.terms = known = Terms(
            limits,
            endpoint,
            race,
            privacy,
            not is_strict(headers),
            (*passed, (VIA, via)),
            _query_up(endpoint, head.query),
            any(name == b"content-encoding" for name, _ in headers),
            entry.caller.name,
        )
        return known


def _query_up(endpoint: Endpoint, query: bytes) -> str:
    """That of Google's clients is about how they want to be answered. Raises `CallerError`."""
    if DIALECT_OF_ENDPOINT[endpoint] != DialectName.GEMINI:
        return query_up(query)
    if endpoint is Endpoint.GEMINI_STREAM and b"alt=sse" not in query.split(b"&"):
        raise CallerError("Gemini's streams are given as server-sent events alone. Add `?alt=sse` to the URL.")
    return ""


def _made(terms: Terms, peeked: Peeked, body: bytes, request_id: RequestId, came_s: float) -> Request:
    limits = terms.limits
    return Request(
        request_id, terms.endpoint, peeked.model, peeked.wants_stream, body, terms.headers,
        came_s + limits.first_piece_timeout_s, limits.idle_timeout_s, terms.privacy, terms.race, None,
        came_s + limits.begin_timeout_s, terms.may_translate, terms.query, key=terms.key,
    )  # fmt: skip


def _asking_usage(request: Request) -> Steps[Request]:
    """The same, asking for the token counts of a stream that would come without."""
    if not request.wants_stream or request.endpoint not in WITH_STREAM_OPTIONS:
        return request
    body = yield from asking_usage(request.body)
    return request if body == request.body else msgspec.structs.replace(request, body=body, asks_usage=True)


def _refused(
    request_id: RequestId, endpoint: Endpoint, entry: Entry, status: int, error: str, answer_bytes: int = 0
) -> Outcome:
    return Outcome(
        request_id=request_id,
        endpoint=endpoint,
        model="",
        model_known=False,
        wants_stream=False,
        status=status,
        error=error,
        answer_bytes=answer_bytes,
        key=entry.caller.name,
        ended_at_unix_ns=time.time_ns(),
    )
