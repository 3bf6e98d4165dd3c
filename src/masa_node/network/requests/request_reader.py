"""The request that a peer sends on a stream of its own: header, body, and what is heard of it while it is served."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType

from masa_node.chat.errors import BodyTooSlow, LinkLost, PeerRefused, ProtocolFault, StreamReset
from masa_node.chat.request import DIALECT_OF_ENDPOINT, Endpoint
from masa_node.network.links.frames import Frame, FrameKind, FrameStream, read_header
from masa_node.network.requests.frames import MIN_CHUNK_BYTES, RequestHeader
from masa_node.network.requests.quotas import PeerQuota, Quotas
from masa_node.network.transport.foreign_text import sanitize

SLOWEST_BYTES_A_SECOND = 350_000  # of a body so large that it may take longer than others

_ENDPOINTS = {endpoint.value: endpoint for endpoint in DIALECT_OF_ENDPOINT}


class RequesterGone(Exception):
    """The peer has given its request up, or is gone: whatever is done for it is to be stopped."""


class RequestReader:
    """`header`, `body`, then a `with` block that answers, and `finished`. Holds what it has read of the body against
    the peer's quota until `close`. `came` are frames that were received already.

    The block is cancelled, and ends by `RequesterGone`, when the peer finishes or is gone before all is said; also for
    anything that it sends, and then `fault` is set.
    """

    def __init__(
        self, stream: FrameStream, quotas: Quotas, quota: PeerQuota, within_s: float, came: Sequence[Frame] = ()
    ) -> None:
        self._stream = stream
        self._quotas = quotas
        self._quota = quota
        self._within_s = within_s
        self._until_s = asyncio.get_running_loop().time() + within_s
        self._held_bytes = 0
        self._came: deque[Frame] = deque()
        self._note(came)
        self._has_left = False
        self._left: Callable[[], object] = _nothing  # called once
        self.fault: ProtocolFault | None = None

    async def header(self) -> tuple[RequestHeader, Endpoint]:
        """What is asked. Raises `PeerRefused` for an unknown endpoint, `ProtocolFault`, `RequesterGone`."""
        kind, payload = await self._next()
        if kind is not FrameKind.REQUEST:
            raise ProtocolFault(f"it began a stream with {kind.name}.")
        return read_request(payload)

    async def body(self, size: int) -> bytes:
        """The whole body. Raises `PeerBusy` when no more can be held, `ProtocolFault`, `RequesterGone`."""
        longer_s = max(0.0, size / SLOWEST_BYTES_A_SECOND - self._within_s)
        self._within_s += longer_s
        self._until_s += longer_s
        parts: list[bytes] = []
        missing = size
        while missing:
            kind, payload = await self._next()
            if kind is not FrameKind.BODY or len(payload) > missing:
                raise ProtocolFault(
                    f"it sent a {kind.name} frame of {len(payload)} bytes; {missing} of a body are due."
                )
            missing -= len(payload)
            if missing and len(payload) < MIN_CHUNK_BYTES:
                raise ProtocolFault(f"it sent a BODY frame of {len(payload)} bytes.")
            self._quotas.hold_bytes(self._quota, len(payload))
            self._held_bytes += len(payload)
            parts.append(payload)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def __enter__(self) -> None:
        self._stream.listen(self._look)
        self._look()
        if self._has_left:
            raise RequesterGone
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine is run by one
        self._task, self._cancels = task, task.cancelling()
        self._left = task.cancel

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left = _nothing
        if self._has_left and self._task.uncancel() <= self._cancels and kind is asyncio.CancelledError:
            raise RequesterGone from None

    async def finished(self, within_s: float) -> None:
        """Until the peer has finished or is gone, and no longer than this."""
        if self._has_left:
            return
        loop = asyncio.get_running_loop()
        left = loop.create_future()
        self._left = partial(_settle, left)
        timer = loop.call_later(within_s, self._left)
        try:
            await left
        finally:
            self._left = _nothing
            timer.cancel()

    def close(self) -> None:
        """Nothing of it is held any more. Idempotent."""
        self._stream.listen(None)
        self._quotas.release_bytes(self._quota, self._held_bytes)
        self._held_bytes = 0

    def _look(self) -> None:
        """What does the peer say behind its request?"""
        frames = self._stream.receive_now()
        for kind, _ in (*self._came, *(frames or ())):
            if kind is not FrameKind.IGNORED and self.fault is None:
                self.fault = went_on(kind)
        self._came.clear()
        if (frames is None or self.fault is not None) and not self._has_left:
            self._has_left = True
            self._left()

    async def _next(self) -> Frame:
        while not self._came:
            self._note(self._stream.receive_now() or await self._receive())
        return self._came.popleft()

    def _note(self, frames: Sequence[Frame]) -> None:
        self._came.extend(frame for frame in frames if frame[0] is not FrameKind.IGNORED)

    async def _receive(self) -> list[Frame]:
        try:
            async with asyncio.timeout_at(self._until_s):
                frames = await self._stream.receive()
        except (StreamReset, LinkLost) as exc:
            raise RequesterGone from exc
        except TimeoutError:
            raise BodyTooSlow(f"the request did not arrive within {self._within_s:g} s.") from None
        if not frames:
            raise RequesterGone
        return frames


def read_request(payload: bytes) -> tuple[RequestHeader, Endpoint]:
    """What a REQUEST asks. Raises `PeerRefused` for an unknown endpoint, `ProtocolFault`."""
    header = read_header(payload, RequestHeader)
    endpoint = _ENDPOINTS.get(header.endpoint)
    if endpoint is None:
        raise PeerRefused(f"it does not know the endpoint {sanitize(header.endpoint)!r}.")
    return header, endpoint


def went_on(kind: FrameKind) -> ProtocolFault:
    """A peer says more than its request."""
    return ProtocolFault(f"it sent a {kind.name} frame behind its request.")


def _nothing() -> None:
    """Nobody waits."""


def _settle(left: asyncio.Future[None]) -> None:
    if not left.done():
        left.set_result(None)
