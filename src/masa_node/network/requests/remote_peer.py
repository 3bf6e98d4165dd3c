"""A remote peer as a `Provider`: a request on a stream of its own. What comes back is checked as any LLM's answer
is.
"""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Iterator
from itertools import chain, islice

from masa_node.chat.answer import Answer
from masa_node.chat.errors import LinkLost, PeerRefused, PeerUnreachable, ProviderError, StreamReset
from masa_node.chat.request import Request
from masa_node.dialects.choices import Endings
from masa_node.dialects.registry import DIALECTS
from masa_node.network.links.frames import Frame, FrameStream, OpensRequests
from masa_node.network.requests.frames import (
    CHUNK_BYTES,
    FRAMES_OF_A_SHORT_REQUEST,
    REQUEST_ID_CHARS,
    ShortRequest,
    request_frames,
)
from masa_node.network.requests.response_reader import ResponseReader
from masa_node.network.transport.interfaces import NodeId, short_id
from masa_node.routing.answers.reader import take_answer
from masa_node.routing.provider import Sign, TakeWhole, Together, no_sign
from masa_node.routing.running.tidy_group import TidyGroup

ReachPeer = Callable[[NodeId], Awaitable[OpensRequests]]


def _not_linked(peer: NodeId) -> None:
    """It has to be reached first."""
    del peer


class RemotePeer:
    """One peer. `reach` gives a live link with it, or channels on one; `trusted` tells whether the owner trusts it now.

    `label` is what the peer calls itself; it may be any text. `linked` gives what `reach` would give without waiting.
    """

    __slots__ = ("_linked", "_node_id", "_reach", "_trusted", "location", "name")

    is_local = False
    is_hosted = False
    priority = 0

    def __init__(
        self,
        node_id: NodeId,
        reach: ReachPeer,
        trusted: Callable[[NodeId], bool],
        label: str = "",
        linked: Callable[[NodeId], OpensRequests | None] = _not_linked,
    ) -> None:
        self.name: str = node_id
        self._node_id = node_id
        self.location = location_of(node_id, label)
        self._reach = reach
        self._trusted = trusted
        self._linked = linked

    @property
    def is_trusted(self) -> bool:
        """See `Provider`."""
        return self._trusted(self._node_id)

    async def answer(self, request: Request, sign: Sign = no_sign) -> Answer:
        """See `Provider`. Raises also `LinkLost`, `PeerUnreachable`, `ProtocolFault`, `PeerBusy`, `PeerRefused`."""
        return await self.answer_on(None, request, sign)

    def begin(self, together: Together, wake: Callable[[], None]) -> "BegunRequest | None":
        """See `routing.provider.Begin`."""
        stream = self._sent(together)
        if stream is None:
            return None
        stream.listen(wake)
        return BegunRequest(self, stream)

    def ask_now(self, request: Request) -> "AskedPeer | None":
        """See `routing.provider.AskNow`."""
        stream = self._sent(Together(request))
        return None if stream is None else AskedPeer(self, ResponseReader(stream, request, self.location))

    def _sent(self, together: Together) -> FrameStream | None:
        """The stream on which the request went out in this very call; None, and nothing did, if it could not."""
        short, link = _prepared(together), self._linked(self._node_id)
        stream = link.open_now() if short is not None and link is not None else None
        if stream is None or short is None:
            return None
        if not stream.send_now(*short.frames(_new_id())):
            stream.abort()
            return None
        return stream

    async def answer_on(self, begun: ResponseReader | None, request: Request, sign: Sign) -> Answer:
        """As `answer`; from there on, where the request is sent already."""
        try:
            if begun is not None:
                return await _take(begun, sign)
            stream = await (await self._reach(self._node_id)).open()
            try:
                return await self._exchange(stream, request, sign)
            except BaseException:
                stream.abort()
                raise
        except (LinkLost, PeerUnreachable) as exc:
            exc.location = self.location
            exc.away_for_s = 0.0  # it was linked when it was chosen
            raise
        except ProviderError as exc:
            exc.location = exc.location or self.location
            raise

    async def _exchange(self, stream: FrameStream, request: Request, sign: Sign) -> Answer:
        frames = request_frames(request, _left_s(request), _new_id())
        incoming = ResponseReader(stream, request, self.location, sign)
        first = list(islice(frames, FRAMES_OF_A_SHORT_REQUEST))
        if not stream.send_now(*first):
            for kind, payload in first:
                await stream.send(kind, payload)
        second = next(frames, None)
        if second is None:
            return await _take(incoming, sign)
        # A long body: what the peer says meanwhile, that it is busy for one, is heard at once.
        try:
            async with TidyGroup() as group:
                group.create_task(_send(stream, chain([second], frames)))
                return await _take(incoming, sign)
        except* ProviderError as failed:
            error = failed.exceptions[0]
        try:
            raise error
        finally:
            del error  # its frames are these


class BegunRequest:
    """A request that is on its way to a peer. See `routing.provider.Begun`."""

    __slots__ = ("_peer", "_stream")

    def __init__(self, peer: RemotePeer, stream: FrameStream) -> None:
        self._peer = peer
        self._stream = stream

    def close(self) -> None:
        """See `Begun`."""
        self._stream.listen(None)
        self._stream.abort()

    def answer(self, request: Request, sign: Sign = no_sign) -> Awaitable[Answer]:
        """See `Begun`."""
        self._stream.listen(None)
        return self._peer.answer_on(ResponseReader(self._stream, request, self._peer.location, sign), request, sign)


class AskedPeer:
    """A request that is on its way to the only peer there is. See `routing.provider.AskedNow`."""

    __slots__ = ("_incoming", "_peer", "answered", "asked", "close", "dialect", "endings", "head", "listen")

    def __init__(self, peer: RemotePeer, incoming: ResponseReader) -> None:
        self._peer = peer
        self._incoming = incoming
        self.dialect = DIALECTS[incoming.dialect]
        self.endings = judged_by_the_peer()
        self.asked = 0
        self.listen = incoming.listen
        self.head = incoming.take_head
        self.answered = incoming.note_usage
        self.close = incoming.close

    @property
    def is_odd(self) -> bool:
        """See `AskedNow`."""
        return self._incoming.is_odd

    def heard(self) -> int:
        """See `AskedNow`."""
        return self._incoming.heard

    def listen_for_whole(self, came: Callable[[], None], take: TakeWhole) -> None:
        """See `AskedNow`. Nothing is offered: what comes is in frames."""
        del take
        self._incoming.listen(came)

    def answer(self, request: Request, sign: Sign = no_sign) -> Awaitable[Answer]:
        """See `Begun`."""
        self._incoming.hear(sign)
        return self._peer.answer_on(self._incoming, request, sign)


def judged_by_the_peer() -> Endings:
    """A peer that says END has judged that its LLM's stream is whole, knowing that LLM: see `Endings`."""
    return Endings(has_shown=True)


def _prepared(together: Together) -> ShortRequest | None:
    """The request, encoded once for all peers; None where it is long, or where no peer would take it."""
    if together.prepared is None:
        together.prepared = request = together.request
        if 0 < len(request.body) <= CHUNK_BYTES:
            try:
                together.prepared = ShortRequest(request, _left_s(request))
            except PeerRefused:
                return None
    return together.prepared if isinstance(together.prepared, ShortRequest) else None


def _new_id() -> str:
    """Not the caller's own: see `request_frames`."""
    return os.urandom(REQUEST_ID_CHARS // 2).hex()


def _left_s(request: Request) -> float:
    return request.first_piece_deadline_s - asyncio.get_running_loop().time()


def location_of(node_id: NodeId, label: str = "") -> str:
    """A peer in words."""
    known_as = "".join(filter(str.isprintable, label[:64])) if label else ""
    return f"peer {short_id(node_id)} ({known_as})" if known_as else f"peer {short_id(node_id)}"


async def _take(incoming: ResponseReader, sign: Sign) -> Answer:
    try:
        head = await incoming.head()
        answer = await take_answer(
            incoming,
            DIALECTS[incoming.dialect],
            is_stream=head.is_stream,
            endings=judged_by_the_peer(),
            heard=lambda: incoming.heard,
            sign=sign,
        )
    except BaseException:
        incoming.close()
        raise
    incoming.note_usage(answer.usage)
    return answer


async def _send(stream: FrameStream, frames: Iterator[Frame]) -> None:
    with contextlib.suppress(StreamReset, LinkLost):  # the reader hears of it, and perhaps why
        for kind, payload in frames:
            await stream.send(kind, payload)
