"""Answers peers' requests with own, shared LLMs only: one hop, nothing is relayed."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import msgspec
import structlog

from masa_node.accounts.under_way import UnderWay
from masa_node.chat.errors import (
    BodyTooLarge,
    CallerError,
    EndpointMissing,
    MasaError,
    PeerBusy,
    PeerRefused,
    ProtocolFault,
    ProviderError,
)
from masa_node.chat.headers import TO_PEERS, VIA
from masa_node.chat.kept_errors import fresh
from masa_node.chat.query import query_to_peer
from masa_node.chat.request import (
    FORM_ENDPOINTS,
    VIA_PEER,
    Endpoint,
    Headers,
    Privacy,
    Request,
    RequestId,
)
from masa_node.dialects.condensing import REQUEST_DEPTH
from masa_node.dialects.fields import may_be_odd
from masa_node.dialects.passed.forms import form_type
from masa_node.network.links.frames import Frame, FrameKind, FrameStream
from masa_node.network.requests.body_check import check_body
from masa_node.network.requests.errors import failure_of
from masa_node.network.requests.frames import FRAMES_OF_A_SHORT_REQUEST, RequestHeader, is_header_value
from masa_node.network.requests.peer_sink import PeerSink
from masa_node.network.requests.plain_serving import LINGER_S, Around, Arriving, PlainServing, as_told
from masa_node.network.requests.quotas import MAX_REFUSALS_TOLD, MAX_REQUESTS_PER_PEER, PeerQuota, QuotaRules, Quotas
from masa_node.network.requests.request_reader import RequesterGone, RequestReader, read_request
from masa_node.network.requests.response_writer import ResponseWriter
from masa_node.network.requests.sharing import NEVER_SHARED, SharedCatalog
from masa_node.network.requests.sign_teller import SignTeller
from masa_node.network.transport.interfaces import NodeId, short_id
from masa_node.routing.dispatch import Dispatcher
from masa_node.routing.running.steps import MENDED_BY_READERS_BYTES, readable

REQUEST_WITHIN_S = 30.0  # for all of a request to arrive: MAX_BODY's default over a bad line of 0.5 MB/s takes 20 s
TELL_WITHIN_S = 2.0  # for a refusal to be read: a few round trips
LOOK_S = 0.02  # between two looks whether all requests are over
_SHORT_REQUEST = (FrameKind.REQUEST, FrameKind.BODY)
_NOT_PLAIN = FORM_ENDPOINTS | {Endpoint.NATIVE}

log = structlog.get_logger()


class ServingLimits(msgspec.Struct, frozen=True):
    """Bytes and seconds of one request, as for the owner's own; `requests_per_minute` and `requests_per_peer` of
    one peer. `max_form_bytes` holds where a body may be a form, if it is more.
    """

    max_body_bytes: int
    first_piece_timeout_s: float
    idle_timeout_s: float
    requests_per_minute: int
    requests_per_peer: int = MAX_REQUESTS_PER_PEER
    begin_timeout_s: float = 0.0
    max_form_bytes: int = 0

    def body_limit(self, endpoint: Endpoint) -> int:
        """The largest body that this endpoint takes."""
        return max(self.max_body_bytes, self.max_form_bytes) if endpoint in FORM_ENDPOINTS else self.max_body_bytes


async def _serve_any(peer: NodeId) -> None:
    del peer


def _know_none(peer: NodeId) -> bool:
    del peer
    return False


def _know_all(peer: NodeId) -> bool:
    del peer
    return True


def _count_none(code: str) -> None:
    del code


class ServingHooks(msgspec.Struct, frozen=True):
    """What the rest of the node says, and is told, about serving peers; by default nothing.

    `vet` says whether this peer is served at all: it raises `PeerRefused` if not. One that `is_vetted` is known to be.
    `refused` gets the code of each refusal of a request that came to no LLM. Those that are answered stand in
    `under_way` meanwhile.
    """

    vet: Callable[[NodeId], Awaitable[None]] = _serve_any
    refused: Callable[[str], None] = _count_none
    under_way: UnderWay = msgspec.field(default_factory=UnderWay)
    is_vetted: Callable[[NodeId], bool] = _know_none


NO_HOOKS = ServingHooks(is_vetted=_know_all)


class PeerServer:
    """`serve_stream` each that a peer opens for a request. `dispatcher` answers from `shared.catalog`.

    `instance` is this process' own random name, by which an LLM URL that leads back here is noticed.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        shared: SharedCatalog,
        limits: ServingLimits,
        instance: str,
        hooks: ServingHooks = NO_HOOKS,
    ) -> None:
        self._hooks = hooks
        self._dispatcher = dispatcher
        self.shared = shared
        self._limits = limits
        self._via = (VIA, f"{VIA_PEER},{instance}")
        self._quotas = Quotas(
            QuotaRules(
                limits.requests_per_minute, limits.max_body_bytes, limits.requests_per_peer, limits.max_form_bytes
            )
        )
        self._around = Around(self._quotas, hooks.under_way, self._guarded, self._misbehaves)
        self._is_stopping = False

    async def stop(self) -> None:
        """Refuse what is asked from now on; returns when all that was asked before is over, and its requesters know."""
        self._is_stopping = True
        while self._quotas.at_work:  # noqa: ASYNC110 - once in a node's life; an event would be set at each request
            await asyncio.sleep(LOOK_S)

    def serve_stream(self, peer: NodeId, stream: FrameStream, group: asyncio.TaskGroup) -> None:
        """Answer one request, or refuse it: by calls as far as it is plain, else by a task in `group`."""
        Arriving(stream, self._dispatcher.sweep, partial(self._arrived, peer, stream, group))

    def _arrived(self, peer: NodeId, stream: FrameStream, group: asyncio.TaskGroup, came: Sequence[Frame]) -> None:
        try:
            is_begun = self._begin(peer, stream, group, came)
        except Exception:  # noqa: BLE001 - a refusal, which the task tells; or a bug, which it logs
            is_begun = False
        if not is_begun:
            group.create_task(self.serve(peer, stream, came))

    def _begin(self, peer: NodeId, stream: FrameStream, group: asyncio.TaskGroup, came: Sequence[Frame]) -> bool:
        """By calls, if it is plain; False, and nothing has happened, if not. The same if it raises."""
        if len(came) != FRAMES_OF_A_SHORT_REQUEST or (came[0][0], came[1][0]) != _SHORT_REQUEST:
            return False
        (_, head), (_, body) = came
        header, endpoint = read_request(head)
        if len(body) != header.body_bytes or (len(body) > MENDED_BY_READERS_BYTES and may_be_odd(body)):
            return False
        way = self._dispatcher
        now_s = way.common.loop.time()
        row, quota = way.row(header.model, endpoint), self._quotas.of(peer, now_s)
        if row is None or endpoint in _NOT_PLAIN or not self._hooks.is_vetted(peer):
            return False
        if stream.receive_now() is None:  # it has finished, which nobody would tell of again
            return False
        if not (quota.has_room(now_s) and self._quotas.has_room(quota, len(body))):
            return False
        self._check(header, endpoint)
        check_body(body, endpoint, header.model, wants_stream=header.wants_stream)
        request = self._request(peer, header, endpoint, body, now_s)
        return PlainServing(request, quota, stream, group, self._around).begin(way, row)

    async def serve(self, peer: NodeId, stream: FrameStream, came: Sequence[Frame] = ()) -> None:
        """Answer one request in this task, or refuse it; the stream is over when this returns. `came` was received of
        it. Raises nothing but `CancelledError`.
        """
        quota = self._quotas.of(peer, asyncio.get_running_loop().time())
        try:
            await self._guarded(peer, quota, stream, self._serve(peer, quota, stream, came))
        finally:
            stream.abort()

    async def _guarded(self, peer: NodeId, quota: PeerQuota, stream: FrameStream, work: Awaitable[None]) -> None:
        now_s = asyncio.get_running_loop().time()
        try:
            await work
        except (PeerBusy, PeerRefused, EndpointMissing, CallerError) as refusal:
            self._hooks.refused(refusal.code)
            if quota.may_log("peer not served", now_s):
                log.info("peer not served", peer=short_id(peer), error=refusal.code, why=refusal.message)
            await _refuse(quota, stream, refusal)
        except RequesterGone:
            pass
        except ProtocolFault as fault:
            self._misbehaves(peer, quota, fault)
        except Exception as exc:  # the accept loop goes on whatever a peer sent
            log.exception("bug while a peer was served", peer=short_id(peer), kind=type(exc).__name__)

    @staticmethod
    def _misbehaves(peer: NodeId, quota: PeerQuota, fault: ProtocolFault) -> None:
        if quota.may_log("peer misbehaves", asyncio.get_running_loop().time()):
            log.warning("peer misbehaves", peer=short_id(peer), why=fault.message)

    async def _serve(self, peer: NodeId, quota: PeerQuota, stream: FrameStream, came: Sequence[Frame]) -> None:
        came_s = asyncio.get_running_loop().time()
        quota.acquire(came_s)
        incoming = RequestReader(stream, self._quotas, quota, REQUEST_WITHIN_S, came)
        try:
            header, endpoint = await incoming.header()
            self._check(header, endpoint)
            await self._hooks.vet(peer)
            body = await incoming.body(header.body_bytes)
            form = form_type(header.headers, endpoint)
            small = body if form else await readable(body, REQUEST_DEPTH)
            check_body(small, endpoint, header.model, wants_stream=header.wants_stream, form=form)
            request = self._request(peer, header, endpoint, body, came_s)
            await self._answer(request, incoming, ResponseWriter(stream, request.model))
        finally:
            incoming.close()
            quota.release()

    def _check(self, header: RequestHeader, endpoint: Endpoint) -> None:
        """May this be asked here at all? Before the body is read.

        Raises `PeerRefused`, `BodyTooLarge`, and `EndpointMissing` for a model that is shared through others only: the
        peer has yet to hear of it, and can translate.
        """
        if self._is_stopping:
            raise PeerBusy("it is stopping.")
        found = self.shared.catalog.find(header.model, endpoint)
        is_shared = found.own or (found.other_endpoints and endpoint not in NEVER_SHARED)
        if self.shared.is_withheld(header.model) or not is_shared:
            raise PeerRefused("it does not share that model.")
        if not found.own:
            raise EndpointMissing("it has no such endpoint for that model.", frozenset(found.other_endpoints))
        limit = self._limits.body_limit(endpoint)
        if header.body_bytes > limit:
            raise BodyTooLarge(f"the body is larger than the {limit} bytes that it takes.")

    def _request(self, peer: NodeId, header: RequestHeader, endpoint: Endpoint, body: bytes, came_s: float) -> Request:
        """The timers are this node's own: what a peer's impatience ends must not count as a fault of the LLM."""
        return Request(
            request_id=RequestId(header.request_id),
            endpoint=endpoint,
            model=header.model,
            wants_stream=header.wants_stream,
            body=body,
            headers=(*_headers_up(header.headers), self._via),
            first_piece_deadline_s=came_s + self._limits.first_piece_timeout_s,
            idle_timeout_s=self._limits.idle_timeout_s,
            privacy=Privacy.LOCAL,
            requester=peer,
            query=query_to_peer(header.query or ""),
            begin_deadline_s=came_s + self._limits.begin_timeout_s,
            given_up_s=came_s + header.first_piece_within_ms / 1000,
        )

    async def _answer(self, request: Request, incoming: RequestReader, out: ResponseWriter) -> None:
        """From here on everything is stopped at once when the requester gives up, whatever is being waited for."""
        signs = SignTeller(out)
        try:
            with incoming:
                await self._dispatched(request, PeerSink(request, out, signs), signs)
            if out.has_ended:
                await incoming.finished(LINGER_S)
        except RequesterGone:
            if incoming.fault is None:
                raise
        finally:
            signs.stop()
        if incoming.fault is not None:
            raise fresh(incoming.fault)

    async def _dispatched(self, request: Request, sink: PeerSink, signs: SignTeller) -> None:
        """Have it answered. Where this node's owner has ended it meanwhile, the peer is told that."""
        noted = self._hooks.under_way.add(request)
        try:
            await self._dispatcher.answer(request, sink, signs.sign)
        except asyncio.CancelledError:
            why = noted.why_ended()
            if why is None:
                raise
            await sink.failed(as_told(why), ())
        finally:
            self._hooks.under_way.remove(noted)


async def _refuse(quota: PeerQuota, stream: FrameStream, error: MasaError) -> None:
    """Tell the peer, and give it a moment to read that; a peer with too many refusals is told nothing."""
    if quota.telling >= MAX_REFUSALS_TOLD:
        return
    quota.telling += 1
    try:
        async with asyncio.timeout(TELL_WITHIN_S):
            await ResponseWriter(stream, "").fail(failure_of(error))
            while await stream.receive():
                pass
    except (RequesterGone, ProviderError, TimeoutError):
        return
    finally:
        quota.telling -= 1


def _headers_up(headers: Headers) -> Headers:
    """Those that the LLM may see, whoever sends them. Raises `PeerRefused` for what no HTTP header can hold."""
    passed = tuple([pair for pair in headers if pair[0] in TO_PEERS])
    if not all(map(is_header_value, [value for _, value in passed])):
        raise PeerRefused("a header of the request holds a character that HTTP headers cannot hold.")
    return passed
