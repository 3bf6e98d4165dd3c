"""The answer to a peer's request: HEAD, PIECEs, and END or FAIL. A write waits while the requester takes nothing."""

import asyncio
from collections.abc import Awaitable

from masa_node.chat.answer import WRITTEN, StreamedAnswer, Usage, WholeAnswer
from masa_node.chat.errors import ErrorAnswer, LinkLost, StreamReset
from masa_node.chat.request import DialectName, Headers
from masa_node.network.links.frames import Frame, FrameKind, FrameStream, header_payload
from masa_node.network.requests.frames import (
    CHUNK_BYTES,
    Alive,
    AnswerHead,
    RequestFailure,
    chunks,
    end_of,
    headers_from_peer,
)
from masa_node.network.requests.request_reader import RequesterGone

_PIECE = FrameKind.PIECE  # read off the enum once
_ALIVE = header_payload(FrameKind.ALIVE, Alive())
MAX_AT_ONCE_BYTES = 2 * CHUNK_BYTES  # of a whole answer, in one write: half of a window
WHOLE_STALL_S = 30.0  # for one more frame of a whole answer to be taken; as the endpoint's own FLUSH_STALL_S


class ResponseWriter:
    """Give `begin`, `write`, `end` for a stream, `whole` or `error` for what is here in full, `fail` at any time.

    Each raises `RequesterGone` when the peer is, and gives something to wait for only where it has to wait. Nothing is
    kept back: while one write is under way, what the LLM says next waits in its connection, and comes as one piece.
    """

    __slots__ = ("_bytes", "_frames", "_model", "_pending", "_stream", "has_ended")

    def __init__(self, stream: FrameStream, model: str) -> None:
        self._stream = stream
        self._model = model
        self._pending = b""  # a HEAD that goes with the first piece
        self._frames = 0
        self._bytes = 0
        self.has_ended = False  # was END or FAIL sent?

    def begin(self, answer: StreamedAnswer | WholeAnswer) -> None:
        """The head of this answer; it is sent with the first piece."""
        is_stream = isinstance(answer, StreamedAnswer) and answer.is_framed
        self._head(answer.status, answer.headers, answer.dialect, is_stream=is_stream)

    def alive(self) -> None:
        """Say that the LLM works while there is nothing to pass on yet; a peer that reads nothing now is not told."""
        self._send_now((FrameKind.ALIVE, _ALIVE))

    @property
    def frames(self) -> int:
        """How many PIECEs were given."""
        return self._frames

    def write(self, piece: bytes) -> Awaitable[None]:
        """One piece, split where it is too long for a frame; waits for the requester and for the transport, if it has
        to.
        """
        if len(piece) > CHUNK_BYTES:
            return self._write(piece)
        if not (self._send_now((_PIECE, piece)) if self._pending else self._stream.send_now((_PIECE, piece))):
            return self._write(piece)
        self._frames += 1
        self._bytes += len(piece)
        return WRITTEN

    async def _write(self, piece: bytes) -> None:
        for part in chunks(piece):
            self._frames += 1
            self._bytes += len(part)
            await self._send(_PIECE, part)

    def end(self, usage: Usage) -> Awaitable[None]:
        """The answer is whole."""
        end = end_of(usage, self._frames, self._bytes)
        return self._finish(FrameKind.END, header_payload(FrameKind.END, end))

    def whole(self, answer: WholeAnswer, idle_s: float) -> Awaitable[None]:
        """All of it; `RequesterGone` also when the peer takes nothing for `idle_s`, or for WHOLE_STALL_S.

        No LLM is waited for, and what is not taken counts against the budget of all whole answers. Nothing is waited
        for where it has at most MAX_AT_ONCE_BYTES, if it is the first that is sent and the stream `has_room`.
        """
        self.begin(answer)
        return self._all(answer.body, answer.usage, idle_s)

    def error(self, error: ErrorAnswer, dialect: DialectName, idle_s: float) -> Awaitable[None]:
        """An error that the LLM itself gave, as it gave it."""
        self._head(error.status, error.headers, dialect, is_stream=False)
        return self._all(error.body, Usage(), idle_s)

    def fail(self, failure: RequestFailure) -> Awaitable[None]:
        """There is no answer, or not the rest of it."""
        return self._finish(FrameKind.FAIL, header_payload(FrameKind.FAIL, failure))

    def _head(self, status: int, headers: Headers, dialect: DialectName, *, is_stream: bool) -> None:
        head = AnswerHead(status, self._model, dialect, is_stream, headers_from_peer(headers))
        self._pending = header_payload(FrameKind.HEAD, head)

    def _all(self, body: bytes, usage: Usage, idle_s: float) -> Awaitable[None]:
        return WRITTEN if self._all_now(body, usage) else self._all_in_turn(body, usage, idle_s)

    async def _all_in_turn(self, body: bytes, usage: Usage, idle_s: float) -> None:
        stall_s, loop = min(idle_s, WHOLE_STALL_S), asyncio.get_running_loop()
        try:
            async with asyncio.timeout(stall_s) as stall:
                for part in chunks(body):
                    await self.write(part)
                    stall.reschedule(loop.time() + stall_s)
                await self.end(usage)
        except TimeoutError:
            raise RequesterGone from None

    def _all_now(self, body: bytes, usage: Usage) -> bool:
        """The same in one write, if it is short enough; False, and nothing is sent, where it is not."""
        if not 0 < len(body) <= MAX_AT_ONCE_BYTES:
            return False
        pieces: list[Frame] = [(_PIECE, part) for part in chunks(body)]
        end = header_payload(FrameKind.END, end_of(usage, len(pieces), len(body)))
        if not self._send_now(*pieces, (FrameKind.END, end), is_last=True):
            return False
        self._frames, self._bytes = len(pieces), len(body)
        return True

    def _send_now(self, *frames: Frame, is_last: bool = False) -> bool:
        """With what is pending, in one write; False where that would mean to wait or to raise."""
        if self._pending:
            frames = ((FrameKind.HEAD, self._pending), *frames)
        if not self._stream.send_now(*frames, is_last=is_last):
            return False
        self._pending = b""
        self.has_ended = is_last
        return True

    async def _send(self, kind: FrameKind, payload: bytes) -> None:
        try:
            if self._pending:
                head, self._pending = self._pending, b""
                await self._stream.send(FrameKind.HEAD, head)
            await self._stream.send(kind, payload)
        except (StreamReset, LinkLost) as exc:
            raise RequesterGone from exc

    def _finish(self, kind: FrameKind, payload: bytes) -> Awaitable[None]:
        return WRITTEN if self._send_now((kind, payload), is_last=True) else self._finish_later(kind, payload)

    async def _finish_later(self, kind: FrameKind, payload: bytes) -> None:
        await self._send(kind, payload)
        try:
            self._stream.finish()
            self.has_ended = True
        except (StreamReset, LinkLost) as exc:
            raise RequesterGone from exc
