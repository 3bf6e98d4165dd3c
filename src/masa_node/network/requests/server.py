"""Answers peers' requests with own, shared LLMs only: one hop, nothing is relayed."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import structlog

from masa_node.accounts.under_way import UnderWay
from masa_node.chat.answer import WRITTEN, Answer, StreamedAnswer, WholeAnswer
from masa_node.chat.errors import (
    BodyTooLarge,
    CallerError,
    CallerStalled,
    EndpointMissing,
    ErrorAnswer,
    MasaError,
    PeerBusy,
    PeerRefused,
    ProtocolFault,
    ProviderError,
)
from masa_node.chat.headers import TO_PEERS, VIA
from masa_node.chat.kept_errors import fresh
from masa_node.chat.outcome import Attempt, Outcome
from masa_node.chat.query import query_to_peer
from masa_node.chat.request import (
    DIALECT_OF_ENDPOINT,
    FORM_ENDPOINTS,
    VIA_PEER,
    Endpoint,
    Headers,
    Privacy,
    Request,
    RequestId,
)
from masa_node.dialects.condensing import REQUEST_DEPTH
from masa_node.dialects.passed.forms import form_type
from masa_node.network.links.frames import FrameStream
from masa_node.network.requests.body_check import check_body
from masa_node.network.requests.errors import ABOUT_THE_OWNERS_KEY, failure_of
from masa_node.network.requests.frames import RequestHeader, is_header_value
from masa_node.network.requests.quotas import MAX_REFUSALS_TOLD, MAX_REQUESTS_PER_PEER, PeerQuota, QuotaRules, Quotas
from masa_node.network.requests.request_reader import RequesterGone, RequestReader
from masa_node.network.requests.response_writer import ResponseWriter
from masa_node.network.requests.sharing import NEVER_SHARED, SharedCatalog
from masa_node.network.requests.sign_teller import SignTeller
from masa_node.network.transport.interfaces import NodeId, short_id
from masa_node.routing.dispatch import Dispatcher
from masa_node.routing.running.steps import readable

REQUEST_WITHIN_S = 30.0  # for all of a request to arrive: MAX_BODY's default over a bad line of 0.5 MB/s takes 20 s
TELL_WITHIN_S = 2.0  # for a refusal to be read: a few round trips
LINGER_S = 2.0  # for the requester to finish, too, so that the last frames are surely read

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


def _count_none(code: str) -> None:
    del code


class ServingHooks(msgspec.Struct, frozen=True):
    """What the rest of the node says, and is told, about serving peers; by default nothing.

    `vet` says whether this peer is served at all: it raises `PeerRefused` if not. `refused` gets the code of each
    refusal of a request that came to no LLM. Those that are answered stand in `under_way` meanwhile.
    """

    vet: Callable[[NodeId], Awaitable[None]] = _serve_any
    refused: Callable[[str], None] = _count_none
    under_way: UnderWay = msgspec.field(default_factory=UnderWay)


NO_HOOKS = ServingHooks()


class PeerServer:
    """`serve` each stream that a peer opens for a request. `dispatcher` answers from `shared.catalog`.

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

    async def serve(self, peer: NodeId, stream: FrameStream) -> None:
        """Answer one request, or refuse it; the stream is over when this returns. Raises nothing but
        `CancelledError`.
        """
        now_s = asyncio.get_running_loop().time()
        quota = self._quotas.of(peer, now_s)
        try:
            quota.acquire(now_s)
            try:
                await self._serve(peer, quota, stream)
            finally:
                quota.release()
        except (PeerBusy, PeerRefused, EndpointMissing, CallerError) as refusal:
            self._hooks.refused(refusal.code)
            if quota.may_log("peer not served", now_s):
                log.info("peer not served", peer=short_id(peer), error=refusal.code, why=refusal.message)
            await _refuse(quota, stream, refusal)
        except RequesterGone:
            pass
        except ProtocolFault as fault:
            if quota.may_log("peer misbehaves", now_s):
                log.warning("peer misbehaves", peer=short_id(peer), why=fault.message)
        except Exception as exc:  # the accept loop goes on whatever a peer sent
            log.exception("bug while a peer was served", peer=short_id(peer), kind=type(exc).__name__)
        finally:
            stream.abort()

    async def _serve(self, peer: NodeId, quota: PeerQuota, stream: FrameStream) -> None:
        came_s = asyncio.get_running_loop().time()
        incoming = RequestReader(stream, self._quotas, quota, REQUEST_WITHIN_S)
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

    def _check(self, header: RequestHeader, endpoint: Endpoint) -> None:
        """May this be asked here at all? Before the body is read.

        Raises `PeerRefused`, `BodyTooLarge`, and `EndpointMissing` for a model that is shared through others only: the
        peer has yet to hear of it, and can translate.
        """
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
                outcome = await self._dispatched(request, _PeerSink(request, out, signs), signs)
            if outcome is None or outcome.error != CallerStalled.code:
                await incoming.finished(LINGER_S)
        except RequesterGone:
            if incoming.fault is None:
                raise
        finally:
            signs.stop()
        if incoming.fault is not None:
            raise fresh(incoming.fault)

    async def _dispatched(self, request: Request, sink: "_PeerSink", signs: SignTeller) -> Outcome | None:
        """Have it answered. None where this node's owner has ended it meanwhile, which the peer is told."""
        noted = self._hooks.under_way.add(request)
        try:
            return await self._dispatcher.answer(request, sink, signs.sign)
        except asyncio.CancelledError:
            if not noted.was_ended():
                raise
            await sink.failed(PeerRefused("its owner has ended the request."), ())
            return None
        finally:
            self._hooks.under_way.remove(noted)


class _PeerSink:
    """Writes one answer, or its failure, to the peer. Raises `RequesterGone`, also when nothing is taken for the idle
    time: a peer that does not read does not hold the slot for ever.
    """

    __slots__ = ("_answer", "_out", "_request", "_signs", "piece")

    def __init__(self, request: Request, out: ResponseWriter, signs: SignTeller) -> None:
        self._request = request
        self._out = out
        self._signs = signs
        self._answer: Answer | None = None
        self.piece = out.write

    async def head(self, answer: Answer, attempts: Sequence[Attempt]) -> None:
        """See `Sink`. It is written with the first bytes that follow."""
        del attempts
        self._signs.stop()
        self._answer = answer
        if isinstance(answer, StreamedAnswer):
            self._out.begin(answer)
            self._signs.follow(answer)

    async def end(self, last: bytes) -> None:
        """See `Sink`."""
        del last  # of a whole answer, which is here already
        self._signs.stop()
        if isinstance(self._answer, WholeAnswer):
            await self._out.whole(self._answer, self._request.idle_timeout_s)
        elif self._answer is not None:
            await self._in_time(self._out.end(self._answer.usage))

    async def failed(self, error: MasaError, attempts: Sequence[Attempt]) -> int:
        """See `Sink`. An LLM's own words are passed on as they are, but for those about the key of its owner."""
        del attempts
        self._signs.stop()
        if self._answer is None and isinstance(error, ErrorAnswer) and _may_be_read(error):
            await self._out.error(error, DIALECT_OF_ENDPOINT[self._request.endpoint], self._request.idle_timeout_s)
        else:
            await self._in_time(self._out.fail(failure_of(error)))
        return 0

    async def _in_time(self, last: Awaitable[None]) -> None:
        if last is WRITTEN:
            return
        try:
            async with asyncio.timeout(self._request.idle_timeout_s):
                await last
        except TimeoutError:
            raise RequesterGone from None


def _may_be_read(error: ErrorAnswer) -> bool:
    return error.is_json and error.status not in ABOUT_THE_OWNERS_KEY


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
    passed = tuple(pair for pair in headers if pair[0] in TO_PEERS)
    if not all(is_header_value(value) for _, value in passed):
        raise PeerRefused("a header of the request holds a character that HTTP headers cannot hold.")
    return passed
