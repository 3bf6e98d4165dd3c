"""The application: the guard, then a chat endpoint or something to be read; and the end of every exception."""

import re
from collections.abc import Awaitable
from dataclasses import dataclass, field
from functools import partial

import structlog

from masa_node.accounts.access import OWNERS, Caller
from masa_node.api.chat import ChatEndpoints
from masa_node.api.control.events import EVENTS, EventStreams
from masa_node.api.control.node_view import NodeView
from masa_node.api.control.pages import SAFETY, is_console
from masa_node.api.entry import Entry, new_id, own_id_of
from masa_node.api.families import named_in, offers_for
from masa_node.api.guard import Guard
from masa_node.api.http1.connections import Over
from masa_node.api.http1.reply import RawHeaders, Reply
from masa_node.api.http1.request import ClientDisconnected, Head, HeaderPairs, HttpRequest
from masa_node.api.paths import CHAT_ENDPOINTS, REPLACED, Place, dialect_of_path, is_gemini, not_done_here, place_of
from masa_node.api.plain_chat import PLAIN_ENDPOINTS, Around, PlainChat
from masa_node.api.request_body import HeldBody
from masa_node.api.responses import request_headers, send_error
from masa_node.api.routes import GET_PATHS, answer_at, methods_at
from masa_node.api.views import models
from masa_node.chat.errors import Bug, MasaError, Unauthorized, UnknownPath, WrongMethod
from masa_node.chat.request import DIALECT_OF_ENDPOINT, ENDPOINTS, DialectName
from masa_node.chat.websocket_errors import NoWebSocket
from masa_node.routing.answers.byte_budget import ByteBudget

_ALLOWED_HEADERS = b"authorization, content-type, x-api-key, anthropic-version, anthropic-beta, x-request-id"
_HEADER_NAMES = re.compile(rb"[A-Za-z0-9_.-]{1,64}(?: ?, ?[A-Za-z0-9_.-]{1,64}){0,63}")
_OF_A_HANDSHAKE = b"sec-websocket-key"  # RFC 6455, 4.1; the reader leaves out the offer itself
_PREFLIGHT_AGE_S = b"600"
# What the SDKs and people's scripts look at: without being named here, no script of a page gets to see it.
_EXPOSED = frozenset(
    b"x-request-id request-id x-masa-node x-masa-model x-masa-served-by x-masa-attempts x-masa-alias x-masa-format "
    b"x-masa-translated x-masa-dropped x-masa-estimated x-masa-usage "
    b"retry-after retry-after-ms x-should-retry allow www-authenticate content-length".split()
)

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class App:
    """The application. Every exception ends here: as an error in the caller's dialect and a line in the log.

    `guard` may be replaced while requests come; `bodies` bounds those of all requests together.
    """

    guard: Guard
    _chat: ChatEndpoints
    _view: NodeView
    _events: EventStreams
    _bodies: ByteBudget
    _around: Around = field(init=False)

    def __post_init__(self) -> None:
        self._around = Around(self._bodies, self._guarded)

    async def __call__(self, request: HttpRequest, reply: Reply) -> None:
        """Answer one request, or leave its answer cut."""
        await self._guarded(self._answer(request, reply), request, reply)

    def may_begin(self, request: HttpRequest, reply: Reply) -> bool:
        """See `WithoutTask`."""
        return self._plain_entry(request, reply) is not None

    def begin(self, request: HttpRequest, reply: Reply, over: Over) -> PlainChat | None:
        """See `WithoutTask`."""
        entry = self._plain_entry(request, reply)
        return self._chat.begin(entry, request, reply, self._around, over) if entry is not None else None

    def _plain_entry(self, request: HttpRequest, reply: Reply) -> Entry | None:
        try:
            entry = self._let_in(request, reply)
        except MasaError:
            return None  # the task says why, and does not wait for the body
        return entry if entry.place.endpoint in PLAIN_ENDPOINTS else None

    async def _answer(self, request: HttpRequest, reply: Reply) -> None:
        entry = self._let_in(request, reply)
        endpoint = entry.place.endpoint
        if endpoint is None:
            await self._give(entry, request, reply)
            return
        with HeldBody(self._bodies) as body:
            await self._chat.serve(endpoint, entry, request, reply, body)

    async def _guarded(self, answering: Awaitable[None], request: HttpRequest, reply: Reply) -> None:
        """Whatever it raises is told to the caller, and what is a bug to the log."""
        try:
            await answering
        except MasaError as error:
            await self._tell(request, reply, error)
        except ClientDisconnected:
            return
        except Exception:
            request_id = own_id_of(request.head.headers) or new_id()
            log.exception("bug", path=request.path, request_id=request_id)
            if not reply.has_begun:
                await self._tell(request, reply, Bug("The node failed on this request. Its log says more."))

    def _let_in(self, request: HttpRequest, reply: Reply) -> Entry:
        head = request.head
        entry = head.memo
        guard = self.guard
        # A key that was revoked meanwhile lets nobody in, also on a connection that is open.
        if not (
            isinstance(entry, Entry) and entry.guard is guard and guard.still_takes(entry.caller, entry.keys_version)
        ):
            entry = head.memo = self._entry(request, reply)
        elif entry.origin is not None:
            reply.amend = partial(_allow, entry.origin)
        request.is_admitted = entry.is_admitted
        request.path = entry.place.path
        return entry

    def _may_look_on(self, entry: Entry, head: Head) -> bool:
        """Would the same head still be let in, as the same caller?"""
        try:
            return self.guard.check_key(head.raw_path, head.headers) == entry.caller
        except Unauthorized:
            return False

    def _entry(self, request: HttpRequest, reply: Reply) -> Entry:
        """What becomes of requests with this head. What it raises is told in the format that `request.path` says."""
        head, guard = request.head, self.guard
        headers, method, version = head.headers, head.method, guard.keys_version
        origin = guard.check_host_and_origin(headers)
        if origin is not None:
            reply.amend = partial(_allow, origin)
            if method == "OPTIONS":  # a browser asks first whether it may ask, and without the key
                return Entry(guard, origin, request.is_admitted, Place(head.path), None, OWNERS, version)
        caller = guard.check_key(head.raw_path, headers)
        request.is_admitted = caller is not None
        place = place_of(head.path, head.raw_path)
        path = request.path = place.path
        allowed = self._methods_at(place)
        if not allowed:
            raise self._not_here(path, caller or OWNERS)
        if method not in allowed:
            if is_gemini(path) and place.endpoint is None:
                raise self._not_here(path, caller or OWNERS)
            is_handshake = place.endpoint is not None and any(name == _OF_A_HANDSHAKE for name, _ in headers)
            kind, what = (NoWebSocket, "a WebSocket") if is_handshake else (WrongMethod, method)
            raise kind(f"{path} takes {allowed[0]}, not {what}.", ", ".join(allowed))
        own_id = own_id_of(headers)
        return Entry(guard, origin, request.is_admitted, place, own_id, caller or OWNERS, version)

    async def _give(self, entry: Entry, request: HttpRequest, reply: Reply) -> None:
        """What can be read, what is changed, or leave for a page to ask."""
        head = request.head
        if head.method == "OPTIONS":
            await reply.whole(204, _preflight(head.headers), b"")
            return
        path, caller, ids = entry.place.path, entry.caller, request_headers(entry.own_id or new_id())
        if path == EVENTS.path:
            await self._events.serve(request, reply, caller, ids, partial(self._may_look_on, entry, head))
            return
        status, headers, text = await answer_at(self._view, request, path, caller, self._bodies)
        await reply.whole(status, headers + ids, text)

    def _methods_at(self, place: Place) -> list[str]:
        """Those that may be used there; none where nothing is."""
        if place.endpoint is not None:
            return ["POST"]
        path = place.path
        if path == EVENTS.path:
            return ["GET"]  # an answer that does not end has no HEAD
        return methods_at(path) if not is_console(path) or self._view.pages.holds(path) else []

    def _not_here(self, path: str, caller: Caller) -> UnknownPath:
        if is_console(path):
            return self._view.pages.missing(path)
        not_done = not_done_here(path)
        if not_done is not None:
            offers = self._view.aliasing.askable(self._view.catalog.all_offers())
            offers = [pair for pair in offers_for(DialectName.OLLAMA, offers) if caller.allows(pair[1].model)]
            return UnknownPath(f"This node {not_done}; it serves: {models.named(offers)}.")
        if path in REPLACED:
            return UnknownPath(f"{path} is not served: its vendor gave it up. Use POST {REPLACED[path]}.")
        if is_gemini(path):
            spoken = [facts.paths[0] for facts in ENDPOINTS.values() if facts.dialect == DialectName.GEMINI]
            return UnknownPath(
                f"{path[:200]!r} of Google's own API (Gemini) is not spoken here. There are: POST "
                f"{', '.join(spoken)}; GET /v1beta/models."
            )
        known = ", ".join(sorted({*CHAT_ENDPOINTS, *GET_PATHS, EVENTS.path}))
        return UnknownPath(f"There is no {path!r} here. Known paths: {known}.")

    @staticmethod
    async def _tell(request: HttpRequest, reply: Reply, error: MasaError) -> None:
        request_id = own_id_of(request.head.headers) or new_id()
        headers = [*request_headers(request_id), *(SAFETY if is_console(request.path) else [])]
        await send_error(reply, error, _dialect_for(request), request_id, headers)


def _dialect_for(request: HttpRequest) -> DialectName:
    """The format of errors on this path: that of the clients that ask for such paths."""
    endpoint = CHAT_ENDPOINTS.get(request.path)
    if endpoint is not None:
        return DIALECT_OF_ENDPOINT[endpoint]
    return named_in(request.head.headers) or dialect_of_path(request.path)


def _allow(origin: bytes, headers: RawHeaders) -> None:
    """Let the page of that origin read the answer, with all of its headers: its own, and those that the node adds."""
    headers += [(b"access-control-allow-origin", origin), (b"vary", b"origin")]
    names = {name.lower() for name, _ in headers if not name.lower().startswith(b"access-control-")}
    headers.append((b"access-control-expose-headers", b", ".join(sorted(names | _EXPOSED))))


def _preflight(headers: HeaderPairs) -> RawHeaders:
    """The origin is one that may use the node, so it may send what its SDK sends (`x-stainless-*` and the like)."""
    wanted = next((value for name, value in headers if name == b"access-control-request-headers"), b"")
    return [
        (b"access-control-allow-methods", b"GET, HEAD, POST, DELETE"),
        (b"access-control-allow-headers", wanted if _HEADER_NAMES.fullmatch(wanted) else _ALLOWED_HEADERS),
        (b"access-control-max-age", _PREFLIGHT_AGE_S),
    ]
