"""The ASGI application: guard, then the chat endpoints (plain ASGI) or the ordinary ones (Starlette)."""

import re
from collections.abc import Awaitable, Sequence

import structlog

from masa_node.api import models
from masa_node.api.chat import MODEL_IN_PATH, ChatEndpoints, request_id_of
from masa_node.api.families import offers_for
from masa_node.api.guard import ADMITTED, Guard
from masa_node.api.paths import CHAT_ENDPOINTS, dialect_of_path, not_done_here, place_of, replaced_by
from masa_node.api.request_body import HELD_BODY, ClientDisconnected, HeldBody
from masa_node.api.responses import (
    AsgiMessage,
    RawHeaders,
    Receive,
    Scope,
    Send,
    request_headers,
    send_error,
    send_whole,
)
from masa_node.api.routes import GET_PATHS, NodeView, is_get, ordinary_endpoints
from masa_node.api.show import ShowEndpoint
from masa_node.chat.errors import Bug, MasaError, UnknownPath, WrongMethod
from masa_node.chat.request import DIALECT_OF_ENDPOINT, DialectName, Endpoint
from masa_node.routing.byte_budget import ByteBudget

_GET = frozenset({"GET", "HEAD"})
_ALLOWED_HEADERS = b"authorization, content-type, x-api-key, anthropic-version, anthropic-beta, x-request-id"
_HEADER_NAMES = re.compile(rb"[A-Za-z0-9-]{1,64}(?: ?, ?[A-Za-z0-9-]{1,64}){0,31}")
_PREFLIGHT_AGE_S = b"600"
_CORS_PREFIX = b"access-control-"
# What the SDKs and people's scripts look at: without being named here, no script of a page gets to see it.
_EXPOSED = frozenset(
    b"x-request-id request-id x-masa-node x-masa-model x-masa-served-by x-masa-attempts x-masa-alias x-masa-format "
    b"x-masa-translated x-masa-dropped x-masa-estimated "
    b"retry-after retry-after-ms x-should-retry allow www-authenticate content-length".split()
)

log = structlog.get_logger()


class App:
    """The application. Every exception ends here: as an error in the caller's dialect and a line in the log."""

    def __init__(
        self, guard: Guard, chat: ChatEndpoints, show: ShowEndpoint, view: NodeView, bodies: ByteBudget
    ) -> None:
        self._guard = guard
        self._bodies = bodies
        self._chat = chat
        self._show = show
        self._view = view
        self._ordinary = ordinary_endpoints(view)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. Only HTTP is served."""
        if scope["type"] != "http":
            return
        started = _Started(send)
        try:
            await self._serve(scope, receive, started)
        except MasaError as error:
            await self._tell(scope, started, error)
        except ClientDisconnected:
            return
        except Exception:
            log.exception("bug", path=scope["path"], request_id=request_id_of(scope["headers"]))
            if not started.has_begun:
                await self._tell(scope, started, Bug("The node failed on this request. Its log says more."))

    async def _serve(self, scope: Scope, receive: Receive, send: "_Started") -> None:
        origin = self._guard.check_host_and_origin(scope["headers"])
        if origin is not None:
            send.cors = _cors(origin)
        if scope["method"] == "OPTIONS" and send.cors:  # a browser asks first whether it may ask, and without the key
            await send_whole(send, 204, [*send.cors, *_preflight(scope["headers"])], b"")
            return
        if self._guard.check_key(scope["raw_path"], scope["headers"]):
            scope[ADMITTED] = True
        await self._route(scope, receive, send)

    async def _route(self, scope: Scope, receive: Receive, send: "_Started") -> None:
        location, method = place_of(scope["path"], scope["raw_path"]), scope["method"]
        path = scope["path"] = location.path
        if location.endpoint is not None:
            if method != "POST":
                raise WrongMethod(f"{path} takes POST, not {method}.", "POST")
            if location.model is not None:
                scope[MODEL_IN_PATH] = location.model
            await self._answer(location.endpoint, scope, receive, send)
        elif is_get(path):
            if method not in _GET:
                raise WrongMethod(f"{path} takes GET, not {method}.", "GET, HEAD")
            request_id = request_id_of(scope["headers"])
            send.add = [*request_headers(request_id), *send.cors]
            await self._ordinary(scope, receive, send)
        else:
            raise self._not_here(path)

    async def _answer(self, endpoint: Endpoint, scope: Scope, receive: Receive, send: "_Started") -> None:
        with HeldBody(self._bodies) as scope[HELD_BODY]:
            if endpoint is Endpoint.OLLAMA_SHOW:
                await self._show.serve(scope, receive, send, send.cors)
            else:
                await self._chat.serve(endpoint, scope, receive, send, send.cors)

    def _not_here(self, path: str) -> UnknownPath:
        not_done = not_done_here(path)
        if not_done is not None:
            offers = offers_for(DialectName.OLLAMA, self._view.askable(self._view.catalog.all_offers()))
            return UnknownPath(f"This node {not_done}; it serves: {models.named(offers)}.")
        instead = replaced_by(path)
        if instead is not None:
            return UnknownPath(f"{path} is not served: its vendor gave it up. Use POST {instead}.")
        known = ", ".join(sorted({*CHAT_ENDPOINTS, *GET_PATHS}))
        return UnknownPath(f"There is no {path!r} here. Known paths: {known}.")

    @staticmethod
    async def _tell(scope: Scope, send: "_Started", error: MasaError) -> None:
        request_id = request_id_of(scope["headers"])
        send.add = []
        headers = [*request_headers(request_id), *send.cors]
        await send_error(send, error, _dialect_for(scope), request_id, headers)


class _Started:
    """A `send` that knows whether a response has begun, adds headers to it, and lets an allowed page read them all.

    `cors` names that page; it is empty if no page asks.
    """

    __slots__ = ("_send", "add", "cors", "has_begun")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.add: RawHeaders = []
        self.has_begun = False
        self.cors: RawHeaders = []

    def __call__(self, message: AsgiMessage) -> Awaitable[None]:
        if not self.has_begun:
            self.has_begun = True
            if self.add:
                message["headers"] = [*message["headers"], *self.add]
            if self.cors:
                message["headers"] = [*message["headers"], _exposed(message["headers"])]
        return self._send(message)


def _dialect_for(scope: Scope) -> DialectName:
    """The format of errors on this path: that of the clients that ask for such paths."""
    path: str = scope["path"]
    endpoint = CHAT_ENDPOINTS.get(path)
    if endpoint is not None:
        return DIALECT_OF_ENDPOINT[endpoint]
    if any(name == b"anthropic-version" for name, _ in scope["headers"]):
        return DialectName.ANTHROPIC
    return dialect_of_path(path)


def _cors(origin: bytes) -> RawHeaders:
    return [(b"access-control-allow-origin", origin), (b"vary", b"origin")]


def _exposed(headers: RawHeaders) -> tuple[bytes, bytes]:
    """The headers that the page's script may read: the answer's own, and those that the node may add."""
    names = {name.lower() for name, _ in headers if not name.lower().startswith(_CORS_PREFIX)}
    return _CORS_PREFIX + b"expose-headers", b", ".join(sorted(names | _EXPOSED))


def _preflight(headers: Sequence[tuple[bytes, bytes]]) -> RawHeaders:
    """The origin is one that may use the node, so it may send what its SDK sends (`x-stainless-*` and the like)."""
    wanted = next((value for name, value in headers if name == b"access-control-request-headers"), b"")
    return [
        (b"access-control-allow-methods", b"GET, HEAD, POST"),
        (b"access-control-allow-headers", wanted if _HEADER_NAMES.fullmatch(wanted) else _ALLOWED_HEADERS),
        (b"access-control-max-age", _PREFLIGHT_AGE_S),
    ]
