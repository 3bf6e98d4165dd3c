"""From an `Answer` back to bytes: its head, its pieces, its end, or its error in the caller's format."""

import asyncio
import contextlib
from collections.abc import Awaitable, Sequence

from masa_node.api.aliasing import alias_header, alias_words
from masa_node.api.http1.reply import RawHeaders, Reply
from masa_node.api.responses import error_text, raw_headers, request_headers, send_error
from masa_node.api.route_headers import FORMAT_NAME
from masa_node.chat.answer import WRITTEN, Answer, ChunkWriter, StreamedAnswer, WholeAnswer
from masa_node.chat.errors import CallerStalled, DialectNotServed, MasaError, UnknownModel
from masa_node.chat.outcome import Attempt
from masa_node.chat.request import DIALECT_OF_ENDPOINT, DialectName, Request
from masa_node.dialects.registry import DIALECTS

_USAGE_ASKED = (b"x-masa-usage", b"asked")
_STREAM_HEADERS: RawHeaders = [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]


class ReplySink:
    """Writes one answer, or its error, to the caller.

    A cut answer is never ended cleanly: the error in the dialect, then the connection breaks (no last chunk).
    """

    __slots__ = ("_answer", "_attempts", "_is_native", "_request", "piece", "reply")

    def __init__(self, request: Request, reply: Reply, *, is_native: bool) -> None:
        self._request = request
        self._is_native = is_native
        self.reply = reply
        self.piece = reply.piece  # see `Sink`
        self._answer: Answer | None = None
        self._attempts: Sequence[Attempt] = ()

    def head(self, answer: Answer, attempts: Sequence[Attempt]) -> Awaitable[None]:
        """See `Sink`. That of a whole answer is written with its body."""
        self._answer, self._attempts = answer, attempts
        if isinstance(answer, WholeAnswer):
            return WRITTEN
        return self.reply.begin(answer.status, self._headers(attempts) + _STREAM_HEADERS + raw_headers(answer.headers))

    @property
    def chunks(self) -> ChunkWriter | None:
        """See `Sink`."""
        return self.reply.chunks

    def end(self, last: bytes) -> Awaitable[None]:
        """See `Sink`. A whole answer may take longer: it is in memory, and no LLM waits."""
        answer, reply = self._answer, self.reply
        if isinstance(answer, WholeAnswer):
            return reply.whole(answer.status, self._headers(self._attempts) + raw_headers(answer.headers), last)
        if last or reply.is_paused:
            return self._end_slowly(last)
        return reply.end()

    async def _end_slowly(self, last: bytes) -> None:
        if last:
            await self._within_idle_time(self.reply.piece(last))
        await self._within_idle_time(self.reply.end())

    async def failed(self, error: MasaError, attempts: Sequence[Attempt]) -> int:
        """See `Sink`."""
        request_id = self._request.request_id
        if isinstance(error, UnknownModel | DialectNotServed):
            error.message += alias_words(self._request.alias, self._request.model)
        if self._answer is None or not self.reply.has_begun:
            return await send_error(self.reply, error, self._dialect, request_id, self._headers(attempts))
        if not (isinstance(self._answer, StreamedAnswer) and self._answer.is_framed):
            return 0
        frame = DIALECTS[self._answer.dialect].error_frame(error_text(error, request_id))
        with contextlib.suppress(CallerStalled):
            await self._within_idle_time(self.piece(frame))
        return 0

    async def _within_idle_time(self, last: Awaitable[None]) -> None:
        """Write the end of the answer. A caller that does not read cannot hold the slot for ever."""
        if not self.reply.is_paused:
            await last
            return
        try:
            async with asyncio.timeout(self._request.idle_timeout_s):
                await last
        except TimeoutError:
            raise CallerStalled("The caller did not read the end of the answer.") from None

    def _headers(self, attempts: Sequence[Attempt]) -> RawHeaders:
        request = self._request
        headers = request_headers(request.request_id, request.model, attempts)
        headers += named(self._dialect, is_native=self._is_native)
        if request.alias:
            headers += alias_header(request.alias, request.model)
        if request.asks_usage:
            headers.append(_USAGE_ASKED)
        return headers

    @property
    def _dialect(self) -> DialectName:
        return self._answer.dialect if self._answer is not None else DIALECT_OF_ENDPOINT[self._request.endpoint]


def named(dialect: DialectName, *, is_native: bool) -> RawHeaders:
    """At the product's own endpoint an answer names its format."""
    return [(FORMAT_NAME, dialect.encode())] if is_native else []
