"""The request that a peer sends on a stream of its own: header, body, and what is heard of it while it is served."""

from collections import deque
from typing import Protocol

from masa_node.chat.errors import LinkLost, PeerRefused, ProtocolFault, StreamReset
from masa_node.chat.kept_errors import fresh
from masa_node.chat.request import DIALECT_OF_ENDPOINT, Endpoint
from masa_node.network.links.frames import Frame, FrameKind, FrameStream, read_header
from masa_node.network.requests.frames import MIN_CHUNK_BYTES, RequestHeader
from masa_node.network.requests.quotas import PeerQuota, Quotas
from masa_node.network.transport.foreign_text import sanitize

_ENDPOINTS = {endpoint.value: endpoint for endpoint in DIALECT_OF_ENDPOINT}


class RequesterGone(Exception):
    """The peer has given its request up, or is gone: whatever is done for it is to be stopped."""


class ResponseInProgress(Protocol):
    """The response under way, as far as the reader needs it."""

    is_over: bool


class RequestReader:
    """`header`, `body`, then `watch`. Holds what it has read of the body against the peer's quota until `close`."""

    def __init__(self, stream: FrameStream, quotas: Quotas, quota: PeerQuota) -> None:
        self._stream = stream
        self._quotas = quotas
        self._quota = quota
        self._held_bytes = 0
        self._came: deque[Frame] = deque()
        self.fault: ProtocolFault | None = None

    async def header(self) -> tuple[RequestHeader, Endpoint]:
        """What is asked. Raises `PeerRefused` for an unknown endpoint, `ProtocolFault`, `RequesterGone`."""
        kind, payload = await self._next()
        if kind is not FrameKind.REQUEST:
            raise ProtocolFault(f"it began a stream with {kind.name}.")
        header = read_header(payload, RequestHeader)
        endpoint = _ENDPOINTS.get(header.endpoint)
        if endpoint is None:
            raise PeerRefused(f"it does not know the endpoint {sanitize(header.endpoint)!r}.")
        return header, endpoint

    async def body(self, size: int) -> bytes:
        """The whole body. Raises `PeerBusy` when no more can be held, `ProtocolFault`, `RequesterGone`."""
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

    async def watch(self, answer: "ResponseInProgress") -> None:
        """Wait until the peer finishes. Raises `RequesterGone` when it does so, or is gone, before all is said; also
        for anything that it sends, and then `fault` is set.
        """
        try:
            kind, _ = await self._next()
        except RequesterGone:
            if not answer.is_over:
                raise
            return
        except ProtocolFault as fault:
            self.fault = fresh(fault)
        else:
            self.fault = ProtocolFault(f"it sent a {kind.name} frame behind its request.")
        raise RequesterGone

    def close(self) -> None:
        """Nothing of it is held any more. Idempotent."""
        self._quotas.release_bytes(self._quota, self._held_bytes)
        self._held_bytes = 0

    async def _next(self) -> Frame:
        while not self._came:
            try:
                frames = await self._stream.receive()
            except (StreamReset, LinkLost) as exc:
                raise RequesterGone from exc
            if not frames:
                raise RequesterGone
            self._came.extend(frame for frame in frames if frame[0] is not FrameKind.IGNORED)
        return self._came.popleft()
